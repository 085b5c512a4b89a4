//! One migration's part of a journal file.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shearwater_core::journal::{Command, DeadLetter, Entry, Event, Journal, JournalError, Member, Refusal, Request};
use shearwater_core::store::Side;

use super::Shared;
use super::worker::{Fault, immediate};

pub(super) struct MigrationJournal {
    id: i64,
    name: String,
    shared: Arc<Shared>,
    /// The last sequence with the data version at which the reader read it.
    /// Only the reader's thread uses it.
    seen: Arc<std::sync::Mutex<Option<(i64, u64)>>>,
}

impl MigrationJournal {
    pub(super) fn new(id: i64, name: String, shared: Arc<Shared>) -> MigrationJournal {
        MigrationJournal { id, name, shared, seen: Arc::default() }
    }

    fn now_ms(&self) -> i64 {
        (self.shared.clock)()
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.shared.writer.run(move |connection| immediate(connection, |tx| work(tx))).await
    }

    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.shared.reader.run(|connection| work(connection)).await
    }
}

pub(super) fn insert_entry(
    connection: &Connection,
    migration: i64,
    seq: u64,
    at_ms: i64,
    actor: &str,
    event: &Event,
) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT INTO entry (migration, seq, at_ms, actor, event) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![migration, to_sql(seq), at_ms, actor, to_text(event)?])?;
    Ok(())
}

fn read_last_seq(connection: &Connection, migration: i64) -> Result<u64, Fault> {
    let mut find = connection.prepare_cached("SELECT last_seq FROM migration WHERE id = ?1")?;
    Ok(from_sql(find.query_row([migration], |row| row.get(0))?))
}

/// Sequences and epochs are far below 2^63: they grow by one at each transition.
fn to_sql(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn from_sql(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn to_text(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| JournalError::Unavailable(format!("cannot be written: {e}")).into())
}

fn from_text<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| JournalError::Damaged(format!("{what} cannot be read: {e}")).into())
}

/// When a lease of `ttl_ms` that begins now ends.
fn until(now_ms: i64, ttl_ms: u64) -> i64 {
    now_ms.saturating_add(to_sql(ttl_ms))
}

fn request_of(row: &Row<'_>) -> rusqlite::Result<(i64, String, i64, Option<String>)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn to_request((id, command, at_ms, outcome): (i64, String, i64, Option<String>)) -> Result<Request, Fault> {
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
        let (id, now_ms, actor, events) = (self.id, self.now_ms(), actor.to_owned(), events.to_vec());
        self.write(move |tx| {
            let at = read_last_seq(tx, id)?;
            if at != after_seq {
                return Err(JournalError::Conflict { at }.into());
            }
            let mut seq = at;
            for event in &events {
                seq += 1;
                insert_entry(tx, id, seq, now_ms, &actor, event)?;
            }
            tx.prepare_cached("UPDATE migration SET last_seq = ?2 WHERE id = ?1")?.execute(params![id, to_sql(seq)])?;
            Ok(seq)
        })
        .await
    }

    async fn read(&self, after_seq: u64, entries_max: usize) -> Result<Vec<Entry>, JournalError> {
        let id = self.id;
        self.look(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT seq, at_ms, actor, event FROM entry WHERE migration = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?;
            let mut rows = find.query(params![id, to_sql(after_seq), to_sql(entries_max as u64)])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let (seq, event): (i64, String) = (row.get(0)?, row.get(3)?);
                let event = from_text(&format!("entry {seq}"), &event)?;
                entries.push(Entry { seq: from_sql(seq), at_ms: row.get(1)?, actor: row.get(2)?, event });
            }
            Ok(entries)
        })
        .await
    }

    async fn last_seq(&self) -> Result<u64, JournalError> {
        let (id, seen) = (self.id, self.seen.clone());
        self.look(move |connection| {
            // The data version moves when another connection commits, ours included:
            // while it stands still nothing was appended, and no table is read.
            let mut version = connection.prepare_cached("PRAGMA data_version")?;
            let version: i64 = version.query_row([], |row| row.get(0))?;
            let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match *seen {
                Some((at, seq)) if at == version => Ok(seq),
                _ => {
                    let seq = read_last_seq(connection, id)?;
                    *seen = Some((version, seq));
                    Ok(seq)
                }
            }
        })
        .await
    }

    async fn renew(&self, member: &str, epoch: u64, ttl_ms: u64) -> Result<(), JournalError> {
        let (id, member, until_ms) = (self.id, member.to_owned(), until(self.now_ms(), ttl_ms));
        self.write(move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO member VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                id,
                member,
                to_sql(epoch),
                until_ms
            ])?;
            Ok(())
        })
        .await
    }

    async fn leave(&self, member: &str) -> Result<(), JournalError> {
        let (id, member) = (self.id, member.to_owned());
        self.write(move |tx| {
            tx.execute("DELETE FROM member WHERE migration = ?1 AND id = ?2", params![id, member])?;
            Ok(())
        })
        .await
    }

    async fn members(&self) -> Result<Vec<Member>, JournalError> {
        let (id, now_ms) = (self.id, self.now_ms());
        self.look(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT id, epoch, lease_until_ms FROM member WHERE migration = ?1 AND lease_until_ms > ?2 ORDER BY id",
            )?;
            let members = find
                .query_map(params![id, now_ms], |row| {
                    Ok(Member { id: row.get(0)?, epoch: from_sql(row.get(1)?), lease_until_ms: row.get(2)? })
                })?
                .collect::<Result<_, _>>()?;
            Ok(members)
        })
        .await
    }

    async fn acquire(&self, lease: &str, holder: &str, ttl_ms: u64) -> Result<bool, JournalError> {
        let (id, lease, holder, now_ms) = (self.id, lease.to_owned(), holder.to_owned(), self.now_ms());
        self.write(move |tx| {
            let taken = tx
                .prepare_cached(
                    "INSERT INTO lease VALUES (?1, ?2, ?3, ?4) ON CONFLICT (migration, name)
                     DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
                     WHERE holder = excluded.holder OR until_ms <= ?5",
                )?
                .execute(params![id, lease, holder, until(now_ms, ttl_ms), now_ms])?;
            Ok(taken == 1)
        })
        .await
    }

    async fn release(&self, lease: &str, holder: &str) -> Result<(), JournalError> {
        let (id, lease, holder) = (self.id, lease.to_owned(), holder.to_owned());
        self.write(move |tx| {
            let release = "DELETE FROM lease WHERE migration = ?1 AND name = ?2 AND holder = ?3";
            tx.execute(release, params![id, lease, holder])?;
            Ok(())
        })
        .await
    }

    async fn ask(&self, command: Command) -> Result<u64, JournalError> {
        let (id, now_ms) = (self.id, self.now_ms());
        self.write(move |tx| {
            let insert = "INSERT INTO request (migration, command, at_ms) VALUES (?1, ?2, ?3)";
            tx.execute(insert, params![id, to_text(&command)?, now_ms])?;
            Ok(from_sql(tx.last_insert_rowid()))
        })
        .await
    }

    async fn open_requests(&self) -> Result<Vec<Request>, JournalError> {
        let id = self.id;
        self.look(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT id, command, at_ms, outcome FROM request WHERE migration = ?1 AND outcome IS NULL ORDER BY id",
            )?;
            let rows: Vec<_> = find.query_map([id], request_of)?.collect::<Result<_, _>>()?;
            rows.into_iter().map(to_request).collect()
        })
        .await
    }

    async fn request(&self, id: u64) -> Result<Option<Request>, JournalError> {
        let migration = self.id;
        self.look(move |connection| {
            let mut find = connection
                .prepare_cached("SELECT id, command, at_ms, outcome FROM request WHERE migration = ?1 AND id = ?2")?;
            find.query_row(params![migration, to_sql(id)], request_of).optional()?.map(to_request).transpose()
        })
        .await
    }

    async fn finish(&self, id: u64, outcome: Result<serde_json::Value, Refusal>) -> Result<(), JournalError> {
        let migration = self.id;
        self.write(move |tx| {
            // The first outcome stands: a coordinator that lost its lease must not change it.
            let update = "UPDATE request SET outcome = ?3 WHERE migration = ?1 AND id = ?2 AND outcome IS NULL";
            tx.execute(update, params![migration, to_sql(id), to_text(&outcome)?])?;
            Ok(())
        })
        .await
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), JournalError> {
        let id = self.id;
        self.write(move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO dead_letter VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                id,
                letter.key,
                side(letter.authority),
                to_text(&letter)?
            ])?;
            Ok(())
        })
        .await
    }

    async fn resolve(&self, authority: Side, key: &str) -> Result<bool, JournalError> {
        let (id, key) = (self.id, key.to_owned());
        self.write(move |tx| {
            let delete = "DELETE FROM dead_letter WHERE migration = ?1 AND key = ?2 AND authority = ?3";
            Ok(tx.prepare_cached(delete)?.execute(params![id, key, side(authority)])? > 0)
        })
        .await
    }

    async fn dead_letters(&self, after_key: Option<&str>, letters_max: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let (id, after_key) = (self.id, after_key.map(str::to_owned));
        self.look(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT letter FROM dead_letter WHERE migration = ?1 AND (?2 IS NULL OR key > ?2)
                 ORDER BY key, authority LIMIT ?3",
            )?;
            let texts: Vec<String> = find
                .query_map(params![id, after_key, to_sql(letters_max as u64)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            texts.iter().map(|text| from_text("a dead letter", text)).collect()
        })
        .await
    }

    async fn dead_letter_count(&self) -> Result<u64, JournalError> {
        let id = self.id;
        self.look(move |connection| {
            let mut count = connection.prepare_cached("SELECT count(*) FROM dead_letter WHERE migration = ?1")?;
            Ok(from_sql(count.query_row([id], |row| row.get(0))?))
        })
        .await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, JournalError> {
        let (id, name) = (self.id, name.to_owned());
        self.look(move |connection| read_note(connection, id, &name)).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), JournalError> {
        let (id, name, text) = (self.id, name.to_owned(), text.to_owned());
        self.write(move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO note VALUES (?1, ?2, ?3)")?.execute(params![id, name, text])?;
            Ok(())
        })
        .await
    }

    async fn note_once(&self, name: &str, text: &str) -> Result<String, JournalError> {
        let (id, name, text) = (self.id, name.to_owned(), text.to_owned());
        self.write(move |tx| {
            tx.execute("INSERT OR IGNORE INTO note VALUES (?1, ?2, ?3)", params![id, name, text])?;
            Ok(read_note(tx, id, &name)?.unwrap_or(text))
        })
        .await
    }
}

fn read_note(connection: &Connection, migration: i64, name: &str) -> Result<Option<String>, Fault> {
    let mut find = connection.prepare_cached("SELECT text FROM note WHERE migration = ?1 AND name = ?2")?;
    Ok(find.query_row(params![migration, name], |row| row.get(0)).optional()?)
}
