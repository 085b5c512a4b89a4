//! The forgotten cron job: writes into the source's file with its own
//! connection, behind the gateway's back. Capture must see every write of it,
//! and the fence must refuse every one while the target is the authority.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use shearwater_core::value::json;
use shearwater_core::{Document, Value};
use shearwater_engine::records::Shape;

use super::dice::Dice;
use super::history::{Act, Before, History, KeyId, Op, SortFields, Version};
use super::people;
use super::stage::Stage;
use super::traffic::BY_SCORE;

/// The rest between two direct writes: a busy cron job, not a second gateway.
const REST: Duration = Duration::from_millis(8);

/// How long it waits for the file's lock.
const BUSY: Duration = Duration::from_secs(10);

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
    file: PathBuf,
    dice: Dice,
    did: Directly,
    made: Vec<KeyId>,
}

impl DirectWriter {
    /// A writer into this file.
    pub fn new(stage: Arc<Stage>, file: PathBuf) -> DirectWriter {
        let dice = Dice::new(stage.seed, 400);
        DirectWriter { stage, file, dice, did: Directly::default(), made: Vec::new() }
    }

    /// Writes until the stage stops.
    pub fn run(mut self) -> Directly {
        match self.work() {
            Ok(()) => {}
            Err(error) => self.stage.error(format!("direct writer: {error}")),
        }
        self.did
    }

    fn work(&mut self) -> rusqlite::Result<()> {
        let mut connection = Connection::open(&self.file)?;
        connection.busy_timeout(BUSY)?;
        while !self.stage.stopping() {
            self.write(&mut connection);
            std::thread::sleep(REST);
        }
        Ok(())
    }

    fn write(&mut self, connection: &mut Connection) {
        let begun_ns = self.stage.now_ns();
        let done = match self.dice.below(100) {
            0..70 => self.update(connection),
            70..90 => self.insert(connection),
            _ => self.delete(connection),
        };
        let ended_ns = self.stage.now_ns();
        let refused = match done {
            Ok(Some((key, act))) => {
                self.did.history.ops.push(Op { key, act, begun_ns, ended_ns });
                false
            }
            // Nothing to write: the record was not there.
            Ok(None) => return,
            Err(error) if is_fence(&error) => true,
            Err(error) => return self.stage.error(format!("direct write: {error}")),
        };
        self.did.tries.push(Try { begun_ns, ended_ns, refused });
    }

    fn update(&mut self, connection: &mut Connection) -> rusqlite::Result<Option<(KeyId, Act)>> {
        let rank = self.stage.zipf.draw(&mut self.dice);
        let key = self.stage.popular(rank);
        let text = self.stage.register.text(key);
        let version = self.stage.register.next_version();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<String> = {
            let mut select = transaction.prepare_cached("SELECT doc FROM users WHERE _id = ?1")?;
            let mut rows = select.query([&*text])?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        let Some(found) = found else { return Ok(None) };
        let Some((mut record, held)) = self.read(&found) else { return Ok(None) };
        record.set("v", i64::from(version.0));
        record.set("score", people::score(&mut self.dice).unwrap_or(Value::Null));
        record.set("cron", format!("pass {}", self.dice.below(1_000)));
        transaction
            .prepare_cached("UPDATE users SET doc = ?2 WHERE _id = ?1")?
            .execute(params![&*text, json::document_to_string(&record)])?;
        // Noted before it can be seen; if the commit fails nobody will see it.
        self.stage.register.looks("direct update", key, version, Shape::V1, &record);
        transaction.commit()?;
        Ok(Some((key, Act::Wrote { version, before: Before::Version(held), touched: BY_SCORE })))
    }

    fn read(&self, text: &str) -> Option<(Document, Version)> {
        let read = json::parse_document(text.as_bytes()).ok().and_then(|record| {
            let version = match record.get("v") {
                Some(Value::Int(version)) => u32::try_from(*version).ok(),
                _ => None,
            };
            version.map(|version| (record, Version(version)))
        });
        if read.is_none() {
            self.stage.error("direct writer: a document that cannot be read");
        }
        read
    }

    fn insert(&mut self, connection: &mut Connection) -> rusqlite::Result<Option<(KeyId, Act)>> {
        let (key, text) = self.stage.register.add_new(|id| format!("d-{}", id.0));
        let version = self.stage.register.next_version();
        let record = people::person(self.stage.seed ^ u64::from(version.0), key, &text, version);
        self.stage.register.looks("direct insert", key, version, Shape::V1, &record);
        connection
            .prepare_cached("INSERT INTO users (_id, doc) VALUES (?1, ?2)")?
            .execute(params![&*text, json::document_to_string(&record)])?;
        self.made.push(key);
        Ok(Some((key, Act::Wrote { version, before: Before::Absent, touched: SortFields::ALL })))
    }

    /// Deletes a record that this writer made: what a clean-up job does.
    fn delete(&mut self, connection: &mut Connection) -> rusqlite::Result<Option<(KeyId, Act)>> {
        if self.made.is_empty() {
            return Ok(None);
        }
        let at = self.dice.below(self.made.len());
        let key = self.made[at];
        let text = self.stage.register.text(key);
        let deleted = connection.prepare_cached("DELETE FROM users WHERE _id = ?1")?.execute([&*text])?;
        self.made.swap_remove(at);
        Ok((deleted == 1).then_some((key, Act::Deleted { before: Before::Present })))
    }
}

/// Whether the store's fence refused the write: its trigger raises a constraint.
fn is_fence(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, message)
        if failure.code == rusqlite::ErrorCode::ConstraintViolation
            && message.as_deref().is_some_and(|m| m.contains("shearwater")))
}
