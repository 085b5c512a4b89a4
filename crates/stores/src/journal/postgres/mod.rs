//! The journal in PostgreSQL: one schema for any number of migrations, and for
//! processes on any number of machines. Its clock is the server's.

use std::sync::Arc;

use shearwater_core::error::StoreError;
use shearwater_core::journal::{Event, Journal, JournalError};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::Create;
use crate::postgres::link;

mod migration;
mod schema;

use migration::{MigrationJournal, NOW_MS, read, to_text};
use schema::SCHEMA;

/// A journal on a server.
#[derive(Clone)]
pub struct JournalServer {
    links: Arc<Links>,
}

/// The connections that every migration's journal of one process uses.
struct Links {
    /// Appends and everything else that must be durable.
    writer: Link,
    /// Reads, so that they do not queue behind a commit's disk sync.
    reader: Link,
}

/// A connection whose errors are the journal's.
struct Link(link::Link);

impl Link {
    async fn open(url: &str) -> Result<Link, JournalError> {
        link::Link::open(url).await.map(Link).map_err(journal_error)
    }

    /// The rows of one statement that may be repeated.
    async fn rows(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, JournalError> {
        self.0.rows(sql, bound).await.map_err(journal_error)
    }
}

fn journal_error(error: StoreError) -> JournalError {
    match error.hint {
        Some(hint) => JournalError::Server { why: error.message, hint },
        None => JournalError::Unavailable(error.message),
    }
}

/// The database of a journal's URL as messages name it; an error, without the
/// URL's secrets, when the URL cannot be read.
pub(super) fn place_of(url: &str) -> Result<String, StoreError> {
    link::place_of(url)
}

impl JournalServer {
    /// Opens the journal in the URL's database; makes its schema when there is
    /// none and `create` allows it.
    pub async fn open(url: &str, create: Create) -> Result<JournalServer, JournalError> {
        let writer = Link::open(url).await?;
        schema::check(&writer, create).await?;
        let reader = Link::open(url).await?;
        Ok(JournalServer { links: Arc::new(Links { writer, reader }) })
    }

    /// Writes a new migration down: its first entry is `Created`.
    pub async fn create(&self, migration: &str, spec: &str, actor: &str) -> Result<Arc<dyn Journal>, JournalError> {
        let event = to_text(&Event::Created { spec: spec.to_owned() })?;
        let append_id = migration::fresh_id();
        // Repeated after a lost answer it makes nothing, and finds what it made.
        let made = self
            .links
            .writer
            .rows(
                &format!(
                    "WITH made AS (INSERT INTO {SCHEMA}.migration (name, last_seq) VALUES ($1, 1)
                         ON CONFLICT DO NOTHING RETURNING id)
                     INSERT INTO {SCHEMA}.entry (migration, seq, at_ms, actor, append_id, event)
                     SELECT made.id, 1, {NOW_MS}, $2, $3, $4 FROM made RETURNING migration"
                ),
                &[&migration, &actor, &append_id, &event],
            )
            .await?;
        let id = match made.first() {
            Some(row) => read(row, 0)?,
            None => self.made_before(migration, &append_id).await?,
        };
        Ok(Arc::new(MigrationJournal::new(id, migration.to_owned(), self.links.clone())))
    }

    async fn made_before(&self, migration: &str, append_id: &str) -> Result<i64, JournalError> {
        let find = format!(
            "SELECT migration.id FROM {SCHEMA}.migration JOIN {SCHEMA}.entry ON entry.migration = migration.id
             WHERE migration.name = $1 AND entry.seq = 1 AND entry.append_id = $2"
        );
        let rows = self.links.writer.rows(&find, &[&migration, &append_id]).await?;
        match rows.first() {
            Some(row) => read(row, 0),
            None => Err(JournalError::Exists(migration.to_owned())),
        }
    }

    /// One migration's journal.
    pub async fn migration(&self, name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        let find = format!("SELECT id FROM {SCHEMA}.migration WHERE name = $1");
        let rows = self.links.reader.rows(&find, &[&name]).await?;
        let row = rows.first().ok_or_else(|| JournalError::Unknown(name.to_owned()))?;
        Ok(Arc::new(MigrationJournal::new(read(row, 0)?, name.to_owned(), self.links.clone())))
    }

    /// The names of the migrations, oldest first.
    pub async fn names(&self) -> Result<Vec<String>, JournalError> {
        let all = format!("SELECT name FROM {SCHEMA}.migration ORDER BY id");
        self.links.reader.rows(&all, &[]).await?.iter().map(|row| read(row, 0)).collect()
    }
}
