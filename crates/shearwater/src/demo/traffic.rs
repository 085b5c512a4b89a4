//! Clients of the gateway: reads, creates, updates with and without
//! conditions, key changes, deletes and repeated requests, in shape v1 or v2,
//! over popular and forgotten keys. Each writes down what it was told.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Method;
use shearwater_core::{Document, Value};
use shearwater_engine::records::Shape;

use super::conduct::STEP_COMPLETE;
use super::dice::Dice;
use super::history::{Act, Before, History, KeyId, Seen, SortFields, Version};
use super::people;
use super::stage::{Stage, Timed};
use super::wire::{Told, Wire, Wish};

/// Keys that a client remembers of those it made or deleted.
const REMEMBERED_MAX: usize = 256;

/// `score` in a set of sort fields.
pub const BY_SCORE: SortFields = SortFields(1);
/// `last_name` in a set of sort fields.
pub const BY_LAST_NAME: SortFields = SortFields(2);
/// Fields that clients change and lists are ordered by.
pub const CHANGEABLE: SortFields = SortFields(BY_SCORE.0 | BY_LAST_NAME.0);

/// One client.
pub struct Client {
    number: u32,
    shape: Shape,
    stage: Arc<Stage>,
    dice: Dice,
    wire: Wire,
    history: History,
    made: Vec<KeyId>,
    deleted: Vec<KeyId>,
}

/// What a client saw: its part of the history, and its requests.
pub struct Witness {
    /// Acts.
    pub history: History,
    /// Requests.
    pub timed: Vec<Timed>,
}

/// A record as a client holds it after a read.
struct Held {
    version: Version,
    etag: String,
    record: Document,
}

impl Client {
    /// The n-th client; even ones are outdated and speak v1.
    pub fn new(number: u32, address: SocketAddr, stage: Arc<Stage>) -> Client {
        let shape = if number.is_multiple_of(2) { Shape::V1 } else { Shape::V2 };
        Client {
            number,
            shape,
            dice: Dice::new(stage.seed, 1_000 + u64::from(number)),
            wire: Wire::new(address, shape, stage.clone()),
            stage,
            history: History::default(),
            made: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Works until the stage stops.
    pub async fn run(mut self) -> Witness {
        while !self.stage.stopping() {
            match self.dice.below(100) {
                0..55 => self.read().await,
                55..60 => self.read_if_changed().await,
                60..73 => self.patch().await,
                73..80 => self.patch_if_match().await,
                80..87 => self.replace().await,
                87..92 => self.insert_new().await,
                92..94 => self.insert_existing().await,
                94..96 => self.insert_deleted().await,
                96..98 => self.delete().await,
                _ => self.change_key().await,
            }
        }
        Witness { history: self.history, timed: self.wire.timed }
    }

    /// A key: usually a popular one, sometimes one that this client made.
    fn key(&mut self) -> KeyId {
        if self.dice.percent(15) && !self.made.is_empty() {
            return *self.dice.pick(&self.made);
        }
        let rank = self.stage.zipf.draw(&mut self.dice);
        self.stage.popular(rank)
    }

    /// A key that is not among the most popular, to be deleted or renamed.
    fn quiet_key(&mut self) -> KeyId {
        if self.dice.percent(60) && !self.made.is_empty() {
            return *self.dice.pick(&self.made);
        }
        KeyId(self.dice.below(self.stage.initial_keys()) as u32)
    }

    fn note(&mut self, key: KeyId, act: Act, told: &Told) {
        self.history.ops.push(told.op(key, act));
    }

    /// A refusal shows that there is no record.
    fn saw_none(&mut self, key: KeyId, told: &Told) {
        self.note(key, Act::Saw(Seen::Absent), told);
    }

    async fn read(&mut self) {
        let key = self.key();
        self.fetch(key).await;
    }

    /// Reads a record and notes what was there.
    async fn fetch(&mut self, key: KeyId) -> Option<Held> {
        let told = self.wire.ask(Wish::read(self.wire.path(key))).await?;
        match told.status {
            200 => self.held(key, &told, "read"),
            404 => {
                self.saw_none(key, &told);
                None
            }
            _ => {
                self.wire.unexpected("read", &told);
                None
            }
        }
    }

    /// Takes the record of an answer down as seen.
    fn held(&mut self, key: KeyId, told: &Told, place: &'static str) -> Option<Held> {
        let record = self.wire.record(told)?;
        let version = self.wire.version(&record)?;
        self.note(key, Act::Saw(Seen::Version(version)), told);
        self.wire.looks(place, key, version, &record);
        let etag = told.etag.clone().or_else(|| {
            self.stage.error(format!("{place}: the answer has no ETag"));
            None
        })?;
        Some(Held { version, etag, record })
    }

    async fn read_if_changed(&mut self) {
        let key = self.key();
        let Some(held) = self.fetch(key).await else { return };
        let wish = Wish::read(self.wire.path(key)).header("if-none-match", held.etag);
        let Some(told) = self.wire.ask(wish).await else { return };
        match told.status {
            304 => self.note(key, Act::Saw(Seen::Version(held.version)), &told),
            200 => drop(self.held(key, &told, "read if changed")),
            404 => self.saw_none(key, &told),
            _ => self.wire.unexpected("read if changed", &told),
        }
    }

    /// A merge patch and the sort fields that it changes.
    fn some_patch(&mut self, version: Version) -> (Document, SortFields) {
        let mut patch = Document::new();
        patch.set(self.wire.version_field(), i64::from(version.0));
        let touched = match self.dice.below(6) {
            0 | 1 => {
                let score = people::score(&mut self.dice).unwrap_or(Value::Null);
                patch.set("score", self.stage.tidy_score(score));
                BY_SCORE
            }
            2 | 3 => {
                patch.set("notes", people::note(&mut self.dice));
                SortFields::NONE
            }
            4 if self.shape == Shape::V2 => {
                patch.set("loyalty", format!("tier {}", self.dice.below(5)));
                SortFields::NONE
            }
            _ => {
                patch.set("plan", people::plan(&mut self.dice));
                SortFields::NONE
            }
        };
        match self.shape {
            Shape::V1 => (self.stage.native(patch), touched),
            Shape::V2 => (patch, touched),
        }
    }

    async fn patch(&mut self) {
        let key = self.key();
        let version = self.stage.register.next_version();
        let (patch, touched) = self.some_patch(version);
        let mut wish = Wish::change(Method::PATCH, self.wire.path(key), &patch);
        if self.dice.percent(50) {
            wish = wish.idempotent(self.number, version);
        }
        let Some(told) = self.wire.ask(wish).await else { return };
        let act = Act::Wrote { version, before: Before::Present, touched };
        match told.status {
            200 => {
                self.note(key, act, &told);
                self.wire.wrote(key, version, &told, &patch);
            }
            404 => self.saw_none(key, &told),
            _ if told.unknown => self.note(key, act, &told),
            _ => self.wire.unexpected("patch", &told),
        }
    }

    async fn patch_if_match(&mut self) {
        let key = self.key();
        let Some(held) = self.fetch(key).await else { return };
        let version = self.stage.register.next_version();
        let (patch, touched) = self.some_patch(version);
        let wish = Wish::change(Method::PATCH, self.wire.path(key), &patch).header("if-match", held.etag.clone());
        let Some(told) = self.wire.ask(wish).await else { return };
        let act = Act::Wrote { version, before: Before::Version(held.version), touched };
        match told.status {
            200 => {
                self.note(key, act, &told);
                let expected = merged(&held.record, &patch);
                self.wire.wrote(key, version, &told, &expected);
            }
            412 => {}
            404 => self.saw_none(key, &told),
            _ if told.unknown => self.note(key, act, &told),
            _ => self.wire.unexpected("patch if match", &told),
        }
    }

    /// Reads a record, changes it and puts it back whole.
    async fn replace(&mut self) {
        let key = self.key();
        let Some(held) = self.fetch(key).await else { return };
        let version = self.stage.register.next_version();
        let record = self.edited(&held.record, version);
        let mut wish = Wish::change(Method::PUT, self.wire.path(key), &record);
        let mut before = Before::Anything;
        if self.dice.percent(50) {
            wish = wish.header("if-match", held.etag);
            before = Before::Version(held.version);
        }
        let Some(told) = self.wire.ask(wish).await else { return };
        let act = Act::Wrote { version, before, touched: CHANGEABLE };
        match told.status {
            200 | 201 => {
                self.note(key, act, &told);
                self.wire.wrote(key, version, &told, &record);
            }
            412 if before != Before::Anything => {}
            // With If-Match the record must be there.
            404 if before != Before::Anything => self.saw_none(key, &told),
            _ if told.unknown => self.note(key, act, &told),
            _ => self.wire.unexpected("replace", &told),
        }
    }

    /// The record with another version and some other values.
    fn edited(&mut self, record: &Document, version: Version) -> Document {
        let mut record = record.clone();
        record.set(self.wire.version_field(), i64::from(version.0));
        record.set("notes", people::note(&mut self.dice));
        if self.dice.percent(30) {
            let last = people::last_name(&mut self.dice);
            match self.shape {
                Shape::V1 => {
                    if let Some(Value::Document(name)) = record.get_mut("name") {
                        name.set("last", last);
                    }
                }
                Shape::V2 => drop(record.set("last_name", last)),
            }
        }
        // Computed by the mapping; clients do not set it.
        record.remove("display_name");
        record
    }

    async fn insert_new(&mut self) {
        let (key, text) = self.stage.register.add_new(|id| format!("n{}-{}", self.number, id.0));
        if self.insert(key, &text).await {
            remember(&mut self.made, key);
        }
    }

    async fn insert_existing(&mut self) {
        let key = self.key();
        let text = self.stage.register.text(key);
        self.insert(key, &text).await;
    }

    async fn insert_deleted(&mut self) {
        if self.deleted.is_empty() {
            return self.read().await;
        }
        let key = *self.dice.pick(&self.deleted);
        let text = self.stage.register.text(key);
        self.insert(key, &text).await;
    }

    /// Creates a record; a part of the requests is sent twice under one
    /// Idempotency-Key, as clients do whose answer was lost.
    async fn insert(&mut self, key: KeyId, text: &str) -> bool {
        let version = self.stage.register.next_version();
        let record = self.wire.new_record(key, text, version);
        let wish = Wish::change(Method::POST, self.wire.list_path(), &record).idempotent(self.number, version);
        let Some(told) = self.wire.ask(wish.clone()).await else { return false };
        let act = Act::Wrote { version, before: Before::Absent, touched: SortFields::ALL };
        match told.status {
            201 => {
                self.note(key, act, &told);
                self.wire.wrote(key, version, &told, &record);
                if self.dice.percent(30) {
                    self.repeat(&told, wish).await;
                }
                true
            }
            409 => {
                self.note(key, Act::Saw(Seen::Present), &told);
                false
            }
            _ if told.unknown => {
                self.note(key, act, &told);
                false
            }
            _ => {
                self.wire.unexpected("insert", &told);
                false
            }
        }
    }

    /// The second answer must be the first; were the write done again, the
    /// history would show it. Without a sidecar (before the start and after
    /// `complete`) nothing remembers the first request, and the insert is refused.
    async fn repeat(&mut self, first: &Told, wish: Wish) {
        let Some(again) = self.wire.ask(wish).await else { return };
        let unremembered = !first.is_stamped() || usize::from(self.stage.step()) == STEP_COMPLETE;
        if again.status == 409 && unremembered {
            return;
        }
        if again.status != first.status || self.wire.record(&again) != self.wire.record(first) {
            self.stage.error(format!("repeated insert: {} at first, then {}", first.status, again.status));
        }
    }

    async fn delete(&mut self) {
        let key = self.quiet_key();
        let Some(told) = self.wire.ask(Wish::bare(Method::DELETE, self.wire.path(key))).await else { return };
        let act = Act::Deleted { before: Before::Present };
        match told.status {
            200 | 204 => {
                self.note(key, act, &told);
                remember(&mut self.deleted, key);
            }
            404 => self.saw_none(key, &told),
            _ if told.unknown => self.note(key, act, &told),
            _ => self.wire.unexpected("delete", &told),
        }
    }

    /// Puts a record back under another key.
    async fn change_key(&mut self) {
        let key = self.quiet_key();
        let Some(held) = self.fetch(key).await else { return };
        let (to, text) = self.stage.register.add_new(|id| format!("k{}-{}", self.number, id.0));
        let version = self.stage.register.next_version();
        let mut record = self.edited(&held.record, version);
        record.set(self.wire.key_field(), &*text);
        record.set("bucket", people::bucket(to));
        let wish = Wish::change(Method::PUT, self.wire.path(key), &record).header("if-match", held.etag);
        let Some(told) = self.wire.ask(wish).await else { return };
        let gone = Act::Deleted { before: Before::Version(held.version) };
        let came = Act::Wrote { version, before: Before::Absent, touched: SortFields::ALL };
        match told.status {
            200 | 201 => {
                self.note(key, gone, &told);
                self.note(to, came, &told);
                self.wire.wrote(to, version, &told, &record);
                remember(&mut self.made, to);
                remember(&mut self.deleted, key);
            }
            412 => {}
            404 => self.saw_none(key, &told),
            _ if told.unknown => {
                self.note(key, gone, &told);
                self.note(to, came, &told);
            }
            _ => self.wire.unexpected("change of key", &told),
        }
    }
}

fn remember(keys: &mut Vec<KeyId>, key: KeyId) {
    if keys.len() == REMEMBERED_MAX {
        keys.remove(0);
    }
    keys.push(key);
}

/// What a merge patch of plain values makes of a record.
fn merged(record: &Document, patch: &Document) -> Document {
    let mut merged = record.clone();
    for (name, value) in patch.iter() {
        match value {
            Value::Null => drop(merged.remove(name)),
            value => drop(merged.set(name, value.clone())),
        }
    }
    merged
}
