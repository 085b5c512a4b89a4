//! The forgotten cron job: writes into the source with its own connection,
//! behind the gateway's back. Capture must see every write of it,
//! and the fence must refuse every one while the target is the authority.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::error::{Policy, StoreResult};
use shearwater_core::value::json;
use shearwater_core::{Document, Value};
use shearwater_engine::records::Shape;
use shearwater_stores::outsider::{self, Outsider};

use super::dice::Dice;
use super::history::{Act, Before, History, KeyId, Op, SortFields, Version};
use super::people;
use super::stage::Stage;
use super::traffic::BY_SCORE;

/// The rest between two direct writes: a busy cron job, not a second gateway.
const REST: Duration = Duration::from_millis(8);

/// How often a write is tried that lost to other transactions: each try meets others.
const TRIES_MAX: u32 = 20;

/// One try of the direct writer, for the question whether the fence held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// When it began, nanoseconds since the demo began.
    pub begun_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Whether the store refused it.
    pub refused: bool,
}

/// What it did.
#[derive(Default)]
pub struct Directly {
    /// Acts that were not refused.
    pub history: History,
    /// Every try.
    pub tries: Vec<Try>,
}

/// The writer; runs on a thread of its own, as another program would.
pub struct DirectWriter {
    stage: Arc<Stage>,
    legacy: Box<dyn Outsider>,
    dice: Dice,
    did: Directly,
    made: Vec<KeyId>,
}

impl DirectWriter {
    /// A writer with this connection.
    pub fn new(stage: Arc<Stage>, legacy: Box<dyn Outsider>) -> DirectWriter {
        let dice = Dice::new(stage.seed, 400);
        DirectWriter { stage, legacy, dice, did: Directly::default(), made: Vec::new() }
    }

    /// Writes until the stage stops.
    pub async fn run(mut self) -> Directly {
        while !self.stage.stopping() {
            self.write().await;
            tokio::time::sleep(REST).await;
        }
        self.did
    }

    async fn write(&mut self) {
        let begun_ns = self.stage.now_ns();
        let done = match self.dice.below(100) {
            0..70 => self.update().await,
            70..90 => self.insert().await,
            _ => self.delete().await,
        };
        let ended_ns = self.stage.now_ns();
        let refused = match done {
            Ok(Some((key, act))) => {
                self.did.history.ops.push(Op { key, act, begun_ns, ended_ns });
                false
            }
            // Nothing to write: the record was not there.
            Ok(None) => return,
            Err(error) if outsider::is_fence(&error) => true,
            Err(error) => return self.stage.error(format!("direct write: {error}")),
        };
        self.did.tries.push(Try { begun_ns, ended_ns, refused });
    }

    async fn update(&mut self) -> StoreResult<Option<(KeyId, Act)>> {
        let rank = self.stage.zipf.draw(&mut self.dice);
        let key = self.stage.popular(rank);
        let text = self.stage.register.text(key);
        let version = self.stage.register.next_version();
        let score = people::score(&mut self.dice).unwrap_or(Value::Null);
        let cron = format!("pass {}", self.dice.below(1_000));
        let mut held = None;
        let stage = self.stage.clone();
        let mut change = |found: &str| {
            let (mut record, before) = read(&stage, found)?;
            held = Some(before);
            record.set("v", i64::from(version.0));
            record.set("score", score.clone());
            record.set("cron", cron.as_str());
            // Noted before it can be seen; if the commit fails nobody will see it.
            stage.register.looks("direct update", key, version, Shape::V1, &stage.comparable(record.clone()));
            Some(json::document_to_string(&record))
        };
        let mut tries = 0;
        let updated = loop {
            tries += 1;
            match self.legacy.update(&text, &mut change).await {
                Err(error) if error.policy() == Policy::Retry && tries < TRIES_MAX => {}
                done => break done?,
            }
        };
        let act = |before| Act::Wrote { version, before: Before::Version(before), touched: BY_SCORE };
        Ok(held.filter(|_| updated).map(|before| (key, act(before))))
    }

    async fn insert(&mut self) -> StoreResult<Option<(KeyId, Act)>> {
        let (key, text) = self.stage.register.add_new(|id| format!("d-{}", id.0));
        let version = self.stage.register.next_version();
        let record = people::person(self.stage.seed ^ u64::from(version.0), key, &text, version);
        let comparable = self.stage.comparable(record.clone());
        self.stage.register.looks("direct insert", key, version, Shape::V1, &comparable);
        let document = json::document_to_string(&record);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.legacy.insert(&text, &document).await {
                Err(error) if error.policy() == Policy::Retry && tries < TRIES_MAX => {}
                done => break done?,
            }
        }
        self.made.push(key);
        Ok(Some((key, Act::Wrote { version, before: Before::Absent, touched: SortFields::ALL })))
    }

    /// Deletes a record that this writer made: what a clean-up job does.
    async fn delete(&mut self) -> StoreResult<Option<(KeyId, Act)>> {
        if self.made.is_empty() {
            return Ok(None);
        }
        let at = self.dice.below(self.made.len());
        let key = self.made[at];
        let text = self.stage.register.text(key);
        let mut tries = 0;
        let deleted = loop {
            tries += 1;
            match self.legacy.delete(&text).await {
                Err(error) if error.policy() == Policy::Retry && tries < TRIES_MAX => {}
                done => break done?,
            }
        };
        self.made.swap_remove(at);
        Ok(deleted.then_some((key, Act::Deleted { before: Before::Present })))
    }
}

/// The document and its version.
fn read(stage: &Stage, text: &str) -> Option<(Document, Version)> {
    let read = json::parse_document(text.as_bytes()).ok().and_then(|record| {
        let version = match record.get("v") {
            Some(Value::Int(version)) => u32::try_from(*version).ok(),
            _ => None,
        };
        version.map(|version| (record, Version(version)))
    });
    if read.is_none() {
        stage.error("direct writer: a document that cannot be read");
    }
    read
}
