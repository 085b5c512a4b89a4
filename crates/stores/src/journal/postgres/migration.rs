//! One migration's part of a journal on a server. Each method is one statement
//! that may be repeated (see `link`), and leases are judged by the server's clock.

use std::sync::Arc;

use async_trait::async_trait;
use shearwater_core::journal::{Command, DeadLetter, Entry, Event, Journal, JournalError, Member, Refusal, Request};
use shearwater_core::store::Side;
use tokio_postgres::Row;

use super::Links;
use super::schema::SCHEMA;

/// The server's clock, ms since 1970. Members may have clocks that differ;
/// this is the only one that ends a lease.
pub(super) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

pub(super) struct MigrationJournal {
    id: i64,
    name: String,
    links: Arc<Links>,
}

impl MigrationJournal {
    pub(super) fn new(id: i64, name: String, links: Arc<Links>) -> MigrationJournal {
        MigrationJournal { id, name, links }
    }

    /// What became of an append that moved nothing: its first try may have been
    /// done although its answer was lost.
    async fn settle(&self, after_seq: u64, append_id: &str, events: usize) -> Result<u64, JournalError> {
        let find = format!(
            "SELECT last_seq, (SELECT append_id FROM {SCHEMA}.entry WHERE migration = $1 AND seq = $2::bigint + 1)
             FROM {SCHEMA}.migration WHERE id = $1"
        );
        let rows = self.links.writer.rows(&find, &[&self.id, &to_sql(after_seq)]).await?;
        let row = rows.first().ok_or_else(|| JournalError::Unknown(self.name.clone()))?;
        let (at, there): (i64, Option<String>) = (read(row, 0)?, read(row, 1)?);
        match there.as_deref() == Some(append_id) {
            true => Ok(after_seq + events as u64),
            false => Err(JournalError::Conflict { at: from_sql(at) }),
        }
    }
}

/// An id that no other append or request has.
pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Reads a column.
pub(super) fn read<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, JournalError> {
    row.try_get(at).map_err(|e| JournalError::Damaged(format!("an answer cannot be read: {e}")))
}

/// Sequences and epochs are far below 2^63: they grow by one at each transition.
fn to_sql(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn from_sql(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

pub(super) fn to_text(value: &impl serde::Serialize) -> Result<String, JournalError> {
    serde_json::to_string(value).map_err(|e| JournalError::Unavailable(format!("cannot be written: {e}")))
}

fn from_text<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, JournalError> {
    serde_json::from_str(text).map_err(|e| JournalError::Damaged(format!("{what} cannot be read: {e}")))
}

fn to_request(row: &Row) -> Result<Request, JournalError> {
    let (id, command, at_ms, outcome): (i64, String, i64, Option<String>) =
        (read(row, 0)?, read(row, 1)?, read(row, 2)?, read(row, 3)?);
    let outcome = outcome.map(|text| from_text("a request's outcome", &text)).transpose()?;
    Ok(Request { id: from_sql(id), command: from_text("a request", &command)?, at_ms, outcome })
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

#[async_trait]
impl Journal for MigrationJournal {
    fn migration(&self) -> &str {
        &self.name
    }

    async fn append(&self, after_seq: u64, actor: &str, events: &[Event]) -> Result<u64, JournalError> {
        let texts = events.iter().map(to_text).collect::<Result<Vec<_>, _>>()?;
        let append_id = fresh_id();
        let append = format!(
            "WITH moved AS (UPDATE {SCHEMA}.migration SET last_seq = last_seq + cardinality($5::text[])
                 WHERE id = $1 AND last_seq = $2 RETURNING last_seq),
             written AS (INSERT INTO {SCHEMA}.entry (migration, seq, at_ms, actor, append_id, event)
                 SELECT $1, $2 + given.n, {NOW_MS}, $3, $4, given.event
                 FROM moved, unnest($5::text[]) WITH ORDINALITY AS given (event, n))
             SELECT last_seq FROM moved"
        );
        let bound: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.id, &to_sql(after_seq), &actor, &append_id, &texts];
        match self.links.writer.rows(&append, &bound).await?.first() {
            Some(row) => Ok(from_sql(read(row, 0)?)),
            None => self.settle(after_seq, &append_id, events.len()).await,
        }
    }

    async fn read(&self, after_seq: u64, entries_max: usize) -> Result<Vec<Entry>, JournalError> {
        let find = format!(
            "SELECT seq, at_ms, actor, event FROM {SCHEMA}.entry
             WHERE migration = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        );
        let bound: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.id, &to_sql(after_seq), &to_sql(entries_max as u64)];
        let rows = self.links.reader.rows(&find, &bound).await?;
        let entry = |row: &Row| {
            let (seq, event): (i64, String) = (read(row, 0)?, read(row, 3)?);
            let event = from_text(&format!("entry {seq}"), &event)?;
            Ok(Entry { seq: from_sql(seq), at_ms: read(row, 1)?, actor: read(row, 2)?, event })
        };
        rows.iter().map(entry).collect()
    }

    async fn last_seq(&self) -> Result<u64, JournalError> {
        let find = format!("SELECT last_seq FROM {SCHEMA}.migration WHERE id = $1");
        let rows = self.links.reader.rows(&find, &[&self.id]).await?;
        let row = rows.first().ok_or_else(|| JournalError::Unknown(self.name.clone()))?;
        Ok(from_sql(read(row, 0)?))
    }

    async fn renew(&self, member: &str, epoch: u64, ttl_ms: u64) -> Result<(), JournalError> {
        let renew = format!(
            "INSERT INTO {SCHEMA}.member VALUES ($1, $2, $3, {NOW_MS} + $4) ON CONFLICT (migration, id)
             DO UPDATE SET epoch = excluded.epoch, lease_until_ms = excluded.lease_until_ms"
        );
        self.links.writer.rows(&renew, &[&self.id, &member, &to_sql(epoch), &to_sql(ttl_ms)]).await.map(drop)
    }

    async fn leave(&self, member: &str) -> Result<(), JournalError> {
        let leave = format!("DELETE FROM {SCHEMA}.member WHERE migration = $1 AND id = $2");
        self.links.writer.rows(&leave, &[&self.id, &member]).await.map(drop)
    }

    async fn members(&self) -> Result<Vec<Member>, JournalError> {
        let find = format!(
            "SELECT id, epoch, lease_until_ms FROM {SCHEMA}.member
             WHERE migration = $1 AND lease_until_ms > {NOW_MS} ORDER BY id COLLATE \"C\""
        );
        let rows = self.links.reader.rows(&find, &[&self.id]).await?;
        let member =
            |row: &Row| Ok(Member { id: read(row, 0)?, epoch: from_sql(read(row, 1)?), lease_until_ms: read(row, 2)? });
        rows.iter().map(member).collect()
    }

    async fn acquire(&self, lease: &str, holder: &str, ttl_ms: u64) -> Result<bool, JournalError> {
        // The clock is read again after a wait for the row.
        let acquire = format!(
            "INSERT INTO {SCHEMA}.lease AS held VALUES ($1, $2, $3, {NOW_MS} + $4) ON CONFLICT (migration, name)
             DO UPDATE SET holder = excluded.holder, until_ms = {NOW_MS} + $4
             WHERE held.holder = excluded.holder OR held.until_ms <= {NOW_MS} RETURNING true"
        );
        let rows = self.links.writer.rows(&acquire, &[&self.id, &lease, &holder, &to_sql(ttl_ms)]).await?;
        Ok(!rows.is_empty())
    }

    async fn release(&self, lease: &str, holder: &str) -> Result<(), JournalError> {
        let release = format!("DELETE FROM {SCHEMA}.lease WHERE migration = $1 AND name = $2 AND holder = $3");
        self.links.writer.rows(&release, &[&self.id, &lease, &holder]).await.map(drop)
    }

    async fn ask(&self, command: Command) -> Result<u64, JournalError> {
        // Asked again after a lost answer it is the same request.
        let ask = format!(
            "INSERT INTO {SCHEMA}.request (migration, ask_id, command, at_ms) VALUES ($1, $2, $3, {NOW_MS})
             ON CONFLICT (ask_id) DO UPDATE SET ask_id = excluded.ask_id RETURNING id"
        );
        let rows = self.links.writer.rows(&ask, &[&self.id, &fresh_id(), &to_text(&command)?]).await?;
        let row = rows.first().ok_or_else(|| JournalError::Damaged("a request got no number".into()))?;
        Ok(from_sql(read(row, 0)?))
    }

    async fn open_requests(&self) -> Result<Vec<Request>, JournalError> {
        let find = format!(
            "SELECT id, command, at_ms, outcome FROM {SCHEMA}.request
             WHERE migration = $1 AND outcome IS NULL ORDER BY id"
        );
        self.links.reader.rows(&find, &[&self.id]).await?.iter().map(to_request).collect()
    }

    async fn request(&self, id: u64) -> Result<Option<Request>, JournalError> {
        let find = format!("SELECT id, command, at_ms, outcome FROM {SCHEMA}.request WHERE migration = $1 AND id = $2");
        self.links.reader.rows(&find, &[&self.id, &to_sql(id)]).await?.first().map(to_request).transpose()
    }

    async fn finish(&self, id: u64, outcome: Result<serde_json::Value, Refusal>) -> Result<(), JournalError> {
        // The first outcome stands: a coordinator that lost its lease must not change it.
        let finish =
            format!("UPDATE {SCHEMA}.request SET outcome = $3 WHERE migration = $1 AND id = $2 AND outcome IS NULL");
        self.links.writer.rows(&finish, &[&self.id, &to_sql(id), &to_text(&outcome)?]).await.map(drop)
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), JournalError> {
        let bury = format!(
            "INSERT INTO {SCHEMA}.dead_letter VALUES ($1, $2, $3, $4) ON CONFLICT (migration, key, authority)
             DO UPDATE SET letter = excluded.letter"
        );
        let bound: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&self.id, &letter.key, &side(letter.authority), &to_text(&letter)?];
        self.links.writer.rows(&bury, &bound).await.map(drop)
    }

    async fn resolve(&self, authority: Side, key: &str) -> Result<bool, JournalError> {
        let resolve = format!(
            "DELETE FROM {SCHEMA}.dead_letter WHERE migration = $1 AND key = $2 AND authority = $3 RETURNING true"
        );
        Ok(!self.links.writer.rows(&resolve, &[&self.id, &key, &side(authority)]).await?.is_empty())
    }

    async fn dead_letters(&self, after_key: Option<&str>, letters_max: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let find = format!(
            "SELECT letter FROM {SCHEMA}.dead_letter WHERE migration = $1 AND ($2::text IS NULL OR key > $2)
             ORDER BY key, authority LIMIT $3"
        );
        let bound: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.id, &after_key, &to_sql(letters_max as u64)];
        let rows = self.links.reader.rows(&find, &bound).await?;
        rows.iter().map(|row| from_text("a dead letter", read(row, 0)?)).collect()
    }

    async fn dead_letter_count(&self) -> Result<u64, JournalError> {
        let count = format!("SELECT count(*) FROM {SCHEMA}.dead_letter WHERE migration = $1");
        let rows = self.links.reader.rows(&count, &[&self.id]).await?;
        rows.first().map_or(Ok(0), |row| Ok(from_sql(read(row, 0)?)))
    }

    async fn note(&self, name: &str) -> Result<Option<String>, JournalError> {
        let find = format!("SELECT text FROM {SCHEMA}.note WHERE migration = $1 AND name = $2");
        self.links.reader.rows(&find, &[&self.id, &name]).await?.first().map(|row| read(row, 0)).transpose()
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), JournalError> {
        let set = format!(
            "INSERT INTO {SCHEMA}.note VALUES ($1, $2, $3) ON CONFLICT (migration, name)
             DO UPDATE SET text = excluded.text"
        );
        self.links.writer.rows(&set, &[&self.id, &name, &text]).await.map(drop)
    }

    async fn note_once(&self, name: &str, text: &str) -> Result<String, JournalError> {
        let set = format!("INSERT INTO {SCHEMA}.note VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        self.links.writer.rows(&set, &[&self.id, &name, &text]).await?;
        Ok(self.note(name).await?.unwrap_or_else(|| text.to_owned()))
    }
}
