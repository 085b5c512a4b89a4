//! The journal in SQLite: one file for any number of migrations and processes.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::OptionalExtension;
use shearwater_core::journal::{Event, Journal, JournalError};

mod migration;
mod schema;
mod worker;

use migration::MigrationJournal;
use worker::Worker;

/// The wall clock, ms since 1970; replaced in tests of leases.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A journal file.
#[derive(Clone)]
pub struct JournalFile {
    shared: Arc<Shared>,
}

/// What every migration's journal of one file uses.
struct Shared {
    /// Appends and everything else that must be durable.
    writer: Worker,
    /// Reads, so that they do not queue behind a commit's disk sync.
    reader: Worker,
    clock: Clock,
}

impl JournalFile {
    /// Opens a journal, or makes it when `create` and there is none.
    pub async fn open(path: &Path, create: bool) -> Result<JournalFile, JournalError> {
        JournalFile::open_with_clock(path, create, Arc::new(wall_clock_ms)).await
    }

    /// As [`JournalFile::open`], with another clock for leases and entries.
    pub async fn open_with_clock(path: &Path, create: bool, clock: Clock) -> Result<JournalFile, JournalError> {
        let writer = Worker::open(path, create, "journal-writer").await?;
        let reader = Worker::open(path, false, "journal-reader").await?;
        Ok(JournalFile { shared: Arc::new(Shared { writer, reader, clock }) })
    }

    /// Writes a new migration down: its first entry is `Created`.
    pub async fn create(&self, migration: &str, spec: &str, actor: &str) -> Result<Arc<dyn Journal>, JournalError> {
        let (name, now_ms) = (migration.to_owned(), (self.shared.clock)());
        let event = Event::Created { spec: spec.to_owned() };
        let actor = actor.to_owned();
        let id = self
            .shared
            .writer
            .run(move |connection| {
                worker::immediate(connection, |tx| {
                    let insert = "INSERT INTO migration (name, last_seq) VALUES (?1, 1) ON CONFLICT DO NOTHING";
                    if tx.execute(insert, [&name])? == 0 {
                        return Err(JournalError::Exists(name.clone()).into());
                    }
                    let id = tx.last_insert_rowid();
                    migration::insert_entry(tx, id, 1, now_ms, &actor, &event)?;
                    Ok(id)
                })
            })
            .await?;
        Ok(Arc::new(MigrationJournal::new(id, migration.to_owned(), self.shared.clone())))
    }

    /// One migration's journal.
    pub async fn migration(&self, name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        let wanted = name.to_owned();
        let found: Option<i64> = self
            .shared
            .reader
            .run(move |connection| {
                let mut find = connection.prepare_cached("SELECT id FROM migration WHERE name = ?1")?;
                Ok(find.query_row([&wanted], |row| row.get(0)).optional()?)
            })
            .await?;
        let id = found.ok_or_else(|| JournalError::Unknown(name.to_owned()))?;
        Ok(Arc::new(MigrationJournal::new(id, name.to_owned(), self.shared.clone())))
    }

    /// The names of the migrations, oldest first.
    pub async fn names(&self) -> Result<Vec<String>, JournalError> {
        self.shared
            .reader
            .run(|connection| {
                let mut all = connection.prepare_cached("SELECT name FROM migration ORDER BY id")?;
                let names = all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok(names)
            })
            .await
    }
}

fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
