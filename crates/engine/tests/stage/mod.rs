//! A migration on real SQLite files, put into any phase by journal entries and
//! fences, as the coordinator would.
#![allow(dead_code)]

pub mod bent;
pub mod frozen;

use std::path::PathBuf;
use std::sync::Arc;

use shearwater_core::journal::{Event, Journal};
use shearwater_core::lifecycle::{BackfillTotals, Lifecycle, Phase, State};
use shearwater_core::mapping::Mapping;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, OrderTerm};
use shearwater_core::spec;
use shearwater_core::store::{ChunkMax, DirtyMark, Fence, Put, Role, ScanRange, Side};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp, Value};
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::{
    ClientChange, Condition, Edit, Got, ListAsk, ListGot, RecordsOptions, ServeError, Shape, WriteDone,
};
use shearwater_engine::{Member, Records, Setup};
use shearwater_stores::Create;
use shearwater_stores::journal::JournalFile;

use bent::Bent;

const SPEC: &str = r#"
migration = "users-move"
kind      = "move"
entity    = "users"
[source]
url   = "sqlite:SOURCE?sync=normal"
table = "users"
key   = "_id"
[target]
url   = "sqlite:TARGET?sync=normal"
table = "users"
key   = "id"
[fields]
id      = { from = "_id", type = "text" }
name    = { from = "name", type = "text" }
email   = { from = "email", type = "text", unique = true }
score   = { from = "score", type = "int" }
display = { sql = '''name || '!' ''', derived = true }
loyalty = { target_only = true, type = "text" }
tags    = { from = "tags", table = "user_tags", scalar = "tag", type = "text" }
[unmapped]
keep_in = "extra"
"#;

/// Everything of one migration.
pub struct Stage {
    dir: tempfile::TempDir,
    pub setup: Setup,
    pub source: Arc<Bent>,
    pub target: Arc<Bent>,
}

/// A document from JSON text.
pub fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::single(text)
}

impl Stage {
    /// A source with these records, in phase `planned` without capture.
    pub async fn new(records: &[&str]) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let source = rusqlite_file(&path("source.db"), records);
        let text = SPEC.replace("SOURCE", &source.display().to_string());
        let text = text.replace("TARGET", &path("target.db").display().to_string());
        let spec =
            spec::parse_move(&text, &|_| None).unwrap_or_else(|p| panic!("{}", spec::render_problems("t", &text, &p)));
        let mapping = Mapping::compile(&spec).unwrap();
        let source = shearwater_stores::open(&spec.source.url, mapping.source().clone(), Create::Never).await.unwrap();
        let target =
            shearwater_stores::open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await.unwrap();
        let (source, target) = (Bent::new(source), Bent::new(target));
        let journal = JournalFile::open(&path("journal"), true).await.unwrap();
        let journal = journal.create("users-move", &text, "test").await.unwrap();
        let setup = Setup {
            spec: Arc::new(spec),
            mapping: Arc::new(mapping),
            journal,
            source: source.clone(),
            target: target.clone(),
        };
        Stage { dir, setup, source, target }
    }

    /// A stage that has been taken to this phase.
    pub async fn at(phase: Phase, records: &[&str]) -> Stage {
        let stage = Stage::new(records).await;
        stage.go(phase).await;
        stage
    }

    pub fn source_path(&self) -> PathBuf {
        self.dir.path().join("source.db")
    }

    pub fn target_path(&self) -> PathBuf {
        self.dir.path().join("target.db")
    }

    pub async fn state(&self) -> State {
        State::replay(&self.setup.journal.read(0, 10_000).await.unwrap()).unwrap()
    }

    pub async fn append(&self, event: Event) -> State {
        let journal: &dyn Journal = &*self.setup.journal;
        let at = journal.last_seq().await.unwrap();
        self.state().await.next(at + 1, &event).unwrap();
        journal.append(at, "test", &[event]).await.unwrap();
        self.state().await
    }

    /// Takes the migration forward until it is in `phase`.
    pub async fn go(&self, phase: Phase) {
        loop {
            let state = self.state().await;
            if state.phase == phase && (phase != Phase::Planned || state.captured) {
                return;
            }
            match state.phase {
                Phase::Planned if !state.captured => self.capture().await,
                Phase::Planned => self.enter(Phase::DualWrite).await,
                Phase::DualWrite => {
                    self.backfill().await;
                    self.enter(Phase::ShadowRead).await;
                }
                Phase::ShadowRead => {
                    self.enter(Phase::ReadRamp).await;
                    self.append(Event::RampSet { percent: 100 }).await;
                }
                Phase::ReadRamp if phase == Phase::Cutover => self.begin_switch(Side::Source).await,
                Phase::ReadRamp => self.switch(Side::Source).await,
                Phase::ReverseWindow if phase == Phase::Rollback => self.begin_switch(Side::Target).await,
                Phase::ReverseWindow => self.complete().await,
                other => panic!("no way from {other} to {phase}"),
            }
        }
    }

    pub async fn capture(&self) {
        self.append(Event::Capturing).await;
        self.setup.target.provision().await.unwrap();
        self.setup.source.install(Fence { role: Role::Authority, epoch: 1 }).await.unwrap();
        self.setup.target.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
        self.append(Event::Captured).await;
    }

    pub async fn enter(&self, to: Phase) {
        let epoch = self.state().await.epoch + 1;
        self.append(Event::Entering { to, epoch }).await;
        for side in [Side::Source, Side::Target] {
            let fence = self.setup.store(side).fence().await.unwrap().unwrap();
            self.fence(side, fence.role, epoch).await;
        }
        self.append(Event::Entered { to }).await;
    }

    pub async fn fence(&self, side: Side, role: Role, epoch: u64) {
        let store = self.setup.store(side);
        let now = store.fence().await.unwrap().unwrap();
        let new = Fence { role, epoch };
        assert_eq!(store.set_fence(now, new).await.unwrap(), new);
    }

    pub async fn backfill(&self) {
        let all = ScanRange { id: 0, low: None, high: None };
        self.append(Event::BackfillStarted { run: "r".into(), ranges: vec![all.clone()] }).await;
        let max = ChunkMax { records: 10_000, bytes: 1 << 30 };
        let chunk = self.setup.source.scan(&all, None, max).await.unwrap();
        let puts = chunk.records.into_iter().filter_map(|record| self.put_of(Side::Target, record.unwrap())).collect();
        self.setup.target.apply(self.state().await.epoch, puts, None).await.unwrap();
        self.append(Event::BackfillFinished { run: "r".into(), totals: BackfillTotals::default() }).await;
    }

    /// A fetched record as a put for the other side; `None` when the mapping refuses it.
    pub fn put_of(&self, side: Side, fetched: shearwater_core::store::Fetched) -> Option<Put> {
        let mapping = &self.setup.mapping;
        let image = fetched.image.as_ref().map(|image| mapping.towards(side, image)).transpose().ok()?;
        let key = mapping.key_towards(side, &fetched.key).ok()?;
        Some(Put { key, image, stamp: fetched.stamp.unwrap_or(Stamp::ZERO) })
    }

    /// Follows every dirty key of the authority, by reading it again.
    pub async fn drain(&self, authority: Side) -> usize {
        let (from, to) = (self.setup.store(authority), self.setup.store(authority.other()));
        let marks = from.dirty(None, 10_000).await.unwrap();
        let epoch = self.state().await.epoch;
        for mark in &marks {
            let fetched = from.fetch(&mark.key).await.unwrap();
            let stamp = fetched.stamp.unwrap();
            let Some(put) = self.put_of(authority.other(), fetched) else { continue };
            to.apply(epoch, vec![put], None).await.unwrap();
            from.clear(vec![DirtyMark { key: mark.key.clone(), stamp }]).await.unwrap();
        }
        marks.len()
    }

    pub async fn begin_switch(&self, from: Side) {
        let epoch = self.state().await.epoch + 1;
        let event = Event::SwitchBegan { from, to: from.other(), epoch, budget_ms: 300, predicted_ms: 1 };
        self.append(event).await;
        self.fence(from, Role::Closed, epoch).await;
    }

    pub async fn finish_switch(&self, from: Side) {
        let drained = self.drain(from).await as u64;
        let state = self.append(Event::Switched { drained }).await;
        self.fence(from.other(), Role::Authority, state.epoch).await;
        if from == Side::Target {
            self.fence(Side::Target, Role::Follower, state.epoch).await;
        }
        self.append(Event::Opened { pause_micros: 1 }).await;
    }

    pub async fn switch(&self, from: Side) {
        self.begin_switch(from).await;
        self.finish_switch(from).await;
    }

    pub async fn complete(&self) {
        let epoch = self.state().await.epoch + 1;
        self.append(Event::Entering { to: Phase::Complete, epoch }).await;
        self.setup.source.remove().await.unwrap();
        self.setup.target.remove().await.unwrap();
        self.append(Event::Entered { to: Phase::Complete }).await;
    }

    /// A member that serves and, once frozen, sees no new entries of the journal.
    pub async fn serve_freezable(&self, options: RecordsOptions) -> (Server, Arc<frozen::Frozen>) {
        let journal = frozen::Frozen::new(self.setup.journal.clone());
        let setup = Setup { journal: journal.clone(), ..self.setup.clone() };
        let member = Member::join(&setup, "frozen", MemberOptions::default()).await.unwrap();
        let records = Arc::new(Records::new(setup, member.clone(), options));
        (Server { member, records, journal: journal.clone() }, journal)
    }

    /// A put of what the authority holds for a key now, as a backfill, a
    /// verifier or a reconciler reads it.
    pub async fn read_for(&self, follower: Side, id: &str) -> Put {
        self.put_of(follower, self.setup.store(follower.other()).fetch(&key(id)).await.unwrap()).unwrap()
    }

    /// Puts something into the follower.
    pub async fn apply(&self, follower: Side, put: Put) {
        let epoch = self.state().await.epoch;
        self.setup.store(follower).apply(epoch, vec![put], None).await.unwrap();
    }

    /// The record's `name` as one store holds it.
    pub async fn name_in(&self, side: Side, id: &str) -> Option<String> {
        let image = self.setup.store(side).fetch(&key(id)).await.unwrap().image?;
        match image.record.get("name") {
            Some(Value::Text(name)) => Some(name.clone()),
            other => panic!("name is {other:?}"),
        }
    }

    /// A member that serves.
    pub async fn serve(&self, options: RecordsOptions) -> Server {
        let member = Member::join(&self.setup, "m", MemberOptions::default()).await.unwrap();
        let records = Arc::new(Records::new(self.setup.clone(), member.clone(), options));
        Server { member, records, journal: self.setup.journal.clone() }
    }

    pub async fn is_dirty(&self, authority: Side, id: &str) -> bool {
        self.setup.store(authority).fetch(&key(id)).await.unwrap().dirty
    }
}

/// One process's data path.
#[derive(Clone)]
pub struct Server {
    pub member: Arc<Member>,
    pub records: Arc<Records>,
    journal: Arc<dyn Journal>,
}

impl Server {
    /// Waits until the member follows the journal's last entry.
    pub async fn sync(&self) {
        let last = self.journal.last_seq().await.unwrap();
        self.member.nudge();
        self.member.seen_above(last - 1).await;
    }

    pub async fn get(&self, shape: Shape, id: &str) -> Option<Got> {
        self.records.get(shape, &key(id)).await.unwrap()
    }

    /// The record's `name`, which both shapes have.
    pub async fn name(&self, shape: Shape, id: &str) -> Option<String> {
        self.get(shape, id).await.map(|got| match got.record.get("name") {
            Some(Value::Text(name)) => name.clone(),
            other => panic!("name is {other:?}"),
        })
    }

    pub async fn edit(&self, shape: Shape, id: &str, edit: Edit) -> Result<WriteDone, ServeError> {
        let change = ClientChange { key: key(id), edit, condition: Condition::None };
        self.records.write(shape, vec![change], None).await
    }

    pub async fn replace(&self, shape: Shape, id: &str, record: &str) -> Result<WriteDone, ServeError> {
        self.edit(shape, id, Edit::Replace(doc(record))).await
    }

    pub async fn patch(&self, shape: Shape, id: &str, patch: &str) -> Result<WriteDone, ServeError> {
        self.edit(shape, id, Edit::MergePatch(doc(patch))).await
    }

    pub async fn list(&self, ask: ListAsk) -> ListGot {
        self.records.list(ask).await.unwrap()
    }

    /// All keys of a list, walked page by page.
    pub async fn walk(&self, mut ask: ListAsk) -> Vec<String> {
        let mut keys = Vec::new();
        loop {
            let page = self.list(ask.clone()).await;
            keys.extend(page.records.iter().map(|got| got.key.to_text()));
            match page.next {
                Some(next) => ask.after = Some(next),
                None => return keys,
            }
        }
    }
}

/// A list of everything by one field.
pub fn by(shape: Shape, field: &str, limit: usize) -> ListAsk {
    let order = vec![OrderTerm { nulls_first: true, ..OrderTerm::by(Path::field(field)) }];
    ListAsk { shape, filter: Filter::All, order, after: None, limit }
}

fn rusqlite_file(path: &std::path::Path, records: &[&str]) -> PathBuf {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("CREATE TABLE users (_id PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID").unwrap();
    for record in records {
        let id = match doc(record).get("_id") {
            Some(Value::Text(id)) => id.clone(),
            other => panic!("_id is {other:?}"),
        };
        connection.execute("INSERT INTO users VALUES (?1, ?2)", [id.as_str(), record]).unwrap();
    }
    path.to_owned()
}
