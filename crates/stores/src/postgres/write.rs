//! Writing as the authority.
//!
//! Three round trips: the first admits the write, locks the rows and reads
//! them; the second changes and stamps them; the third commits. The stamp that
//! was read is compared when the new one is set: see [`Attempt::stamp`].

use async_trait::async_trait;
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Role, Write, Writer, Written};
use shearwater_core::value::hash;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::capture::{BEGIN, absent, admission, admitted};
use super::cell::Cell;
use super::change::{Put, Wrote, delete_record, write_record};
use super::error::{Failure, no_sidecar};
use super::names::SIDECAR_SCHEMA;
use super::record::{Found, parked_text, stamp_of, stored_number};
use super::scan::found_rows;
use super::session::{Session, get, pipelined};
use super::tables::{RawRecord, Sidecar, Tables};
use crate::relational::refused;

/// What stands for the first change's stamp in an idempotency row's answer.
const STAMP_PLACE: &str = "{stamp}";

/// Attempts of a write that met another one on its way: each attempt waits for
/// the other's end, so more than a few mean that something else is wrong.
const ATTEMPTS_MAX: usize = 8;

/// Looks at a unique value that is taken while the record is not there. After the
/// first it is another record's, unless the twin was deleted and made again.
const TWINS_MAX: usize = 2;

/// A change whose cells are made.
struct Prepared {
    key: Vec<Cell>,
    image: Option<(RawRecord, Option<String>)>,
    expect: Expect,
}

fn prepare(tables: &Tables, change: &Change) -> StoreResult<Prepared> {
    let image = match &change.image {
        Some(image) => Some((tables.to_raw(&change.key, &image.record)?, parked_text(image))),
        None => None,
    };
    Ok(Prepared { key: tables.key_to_cells(&change.key)?, image, expect: change.expect })
}

/// Refuses a write that the fence does not admit.
fn check_fence(table: &str, fence: Fence, epoch: Option<u64>) -> StoreResult<()> {
    let closed = |what: String| Err(StoreError::new(StoreErrorKind::FenceClosed, what));
    match fence.role {
        Role::Authority => {}
        Role::Closed => return closed(format!("table {table:?} is closed for writes")),
        Role::Follower => return closed(format!("table {table:?} is a follower: it takes no writes of its own")),
    }
    let told = match epoch {
        Some(epoch) if epoch >= fence.epoch => return Ok(()),
        Some(epoch) => format!("the write has epoch {epoch}, the store is at {}", fence.epoch),
        None => format!("the write has no epoch, but the store has a sidecar at {}", fence.epoch),
    };
    Err(StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, format!("table {table:?}: {told}")))
}

/// What is known of a key while a write runs.
struct Known {
    /// The record there.
    raw: Option<RawRecord>,
    /// Whether there is one.
    exists: bool,
    /// Its stamp; `None` after a change of this write.
    stamp: Option<Stamp>,
}

fn check_expect(tables: &Tables, sidecar: Sidecar, change: &Prepared, at: usize, known: &Known) -> StoreResult<()> {
    let holds = match change.expect {
        Expect::Any => true,
        Expect::Absent => !known.exists,
        Expect::Present => known.exists,
        Expect::Stamp(stamp) => {
            if sidecar == Sidecar::Absent {
                return Err(no_sidecar(tables.name()));
            }
            known.stamp == Some(stamp) && (known.exists || change.image.is_some())
        }
        Expect::Content(expected) => match &known.raw {
            Some(raw) => {
                let key = tables.key_from_cells(&change.key)?;
                hash::document(&tables.record_of(&key, raw)?) == expected
            }
            None => false,
        },
    };
    if holds {
        return Ok(());
    }
    let stamp = known.stamp.filter(|_| known.exists && sidecar == Sidecar::Installed);
    Err(StoreError::new(
        StoreErrorKind::ExpectFailed { change: at, found: stamp, exists: known.exists },
        format!("table {:?}: the record is not as change {at} expects it", tables.name()),
    ))
}

/// The answer to a request whose idempotency key was used before.
fn replayed(asked: &IdempotencyRow, row: IdempotencyRow) -> Result<Written, Failure> {
    if row.request_hash == asked.request_hash {
        return Ok(Written::Replayed(row));
    }
    let what = "the idempotency key was used before by another request";
    Err(StoreError::new(StoreErrorKind::IdempotencyReused, what).into())
}

/// One attempt, inside a transaction.
struct Attempt<'a> {
    session: &'a Session,
    tables: &'a Tables,
    sidecar: Sidecar,
    epoch: Option<u64>,
    changes: &'a [Prepared],
    idempotency: Option<&'a IdempotencyRow>,
}

/// What the first round trip found.
struct Opened {
    fence: Option<Fence>,
    earlier: Option<IdempotencyRow>,
    found: Vec<Found>,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Written, Failure> {
        let opened = self.open().await?;
        if let Some(fence) = opened.fence {
            check_fence(self.tables.name(), fence, self.epoch)?;
        }
        if let (Some(asked), Some(row)) = (self.idempotency, opened.earlier) {
            return replayed(asked, row);
        }
        let mut known = Vec::with_capacity(opened.found.len());
        for found in opened.found {
            if found.missed_sidecar {
                return Err(Failure::missed_sidecar());
            }
            let mark = found.mark?;
            known.push(Known { exists: found.raw.is_some(), raw: found.raw, stamp: Some(mark.stamp) });
        }
        let mut stamps = Vec::with_capacity(self.changes.len());
        for (at, change) in self.changes.iter().enumerate() {
            if let Err(failed) = check_expect(self.tables, self.sidecar, change, at, &known[at]) {
                // What it waited for may have been its own twin, which wrote the
                // idempotency key after we had looked for it.
                return match (self.idempotency, self.remembered().await?) {
                    (Some(asked), Some(row)) => replayed(asked, row),
                    _ => Err(failed.into()),
                };
            }
            self.change(change, &known[at]).await?;
            stamps.push(match opened.fence {
                Some(fence) => Some(self.stamp(change, &known[at], fence).await?),
                None => None,
            });
            for (later, known) in self.changes.iter().zip(&mut known).skip(at + 1) {
                if later.key == change.key {
                    let raw = change.image.as_ref().map(|(raw, _)| raw.clone());
                    *known = Known { exists: raw.is_some(), raw, stamp: None };
                }
            }
        }
        if let Some(row) = self.idempotency {
            self.remember(row, stamps.first().copied().flatten()).await?;
        }
        Ok(Written::Applied(stamps))
    }

    /// What the idempotency key left behind, as of now.
    async fn remembered(&self) -> Result<Option<IdempotencyRow>, Failure> {
        let Some(asked) = self.idempotency.filter(|_| self.sidecar == Sidecar::Installed) else { return Ok(None) };
        let bound: [&(dyn ToSql + Sync); 2] = [&self.tables.names.tbl, &asked.key.as_bytes()];
        let rows = self.session.rows(&recall_sql(), &bound).await?;
        Ok(rows.first().map(|row| row_of(&asked.key, row)).transpose()?)
    }

    /// Admits the write, and reads what it is about under its rows' locks.
    async fn open(&self) -> Result<Opened, Failure> {
        let session = self.session;
        let keys: Vec<&[Cell]> = self.changes.iter().map(|change| change.key.as_slice()).collect();
        let arrays = self.tables.key_arrays(&keys);
        let by_key: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
        let mut statements = Vec::new();
        let tbl: [&(dyn ToSql + Sync); 1] = [&self.tables.names.tbl];
        let idempotency_key = self.idempotency.map(|row| row.key.as_bytes()).unwrap_or_default();
        let by_idempotency: [&(dyn ToSql + Sync); 2] = [&self.tables.names.tbl, &idempotency_key];
        if self.sidecar == Sidecar::Installed {
            let prepared =
                async |sql: &str| session.prepared(sql).await.map_err(|failure| absent(self.tables, failure));
            for sql in admission() {
                statements.push((prepared(&sql).await?, &tbl[..]));
            }
            statements.push((prepared(&recall_sql()).await?, &by_idempotency[..]));
        }
        statements.push((session.prepared(&self.tables.lock()).await?, &by_key[..]));
        statements.push((session.prepared(&self.tables.fetch(self.sidecar)).await?, &by_key[..]));
        let requests = statements.iter().map(|(statement, bound)| session.client.query(statement, bound)).collect();
        let mut answers = Vec::new();
        for answer in pipelined(requests).await {
            answers.push(answer.map_err(|e| absent(self.tables, session.failed("opening a write", &e)))?);
        }
        let read = answers.pop().unwrap_or_default();
        let (fence, earlier) = match self.sidecar {
            Sidecar::Installed => (
                Some(admitted(self.tables, answers[1].first())?),
                answers[2].first().map(|row| row_of(&String::from_utf8_lossy(idempotency_key), row)).transpose()?,
            ),
            Sidecar::Absent => (None, None),
        };
        Ok(Opened { fence, earlier, found: found_rows(self.tables, self.sidecar, &keys, &read)? })
    }

    async fn change(&self, change: &Prepared, known: &Known) -> Result<(), Failure> {
        let Some((raw, _)) = &change.image else {
            return delete_record(self.session, self.tables, &change.key).await;
        };
        let put = match (change.expect, known.exists) {
            (Expect::Absent | Expect::Stamp(_), false) => Put::New,
            _ => Put::Over,
        };
        let wrote = write_record(self.session, self.tables, raw, put).await;
        let wrote = if known.exists { wrote? } else { wrote.map_err(Failure::of_a_new_record)? };
        match (wrote, put) {
            (Wrote::Done, _) => Ok(()),
            (Wrote::Conflict, Put::New) => Err(Failure::raced()),
            (Wrote::Conflict, Put::Over) => {
                let key = self.tables.tree.key.join(", ");
                Err(refused(self.tables.name(), &key, "another record has a key that the column takes for equal")
                    .into())
            }
        }
    }

    async fn stamp(&self, change: &Prepared, known: &Known, fence: Fence) -> Result<Stamp, Failure> {
        let epoch = stored_number(fence.epoch)?;
        let parked = change.image.as_ref().and_then(|(_, parked)| parked.as_deref());
        // Elements can be written without the root's lock, and a row that was not
        // there could not be locked: who was faster has left another stamp.
        let (seen_epoch, seen_counter) = match known.stamp {
            Some(stamp) => (Some(stored_number(stamp.epoch)?), Some(stored_number(stamp.counter)?)),
            None => (None, None),
        };
        let mut bound: Vec<&(dyn ToSql + Sync)> = change.key.iter().map(|cell| cell as _).collect();
        bound.extend::<[&(dyn ToSql + Sync); 4]>([&epoch, &parked, &seen_epoch, &seen_counter]);
        let rows = self.session.rows(&self.tables.stamp, &bound).await?;
        let row = rows.first().ok_or_else(Failure::raced)?;
        Ok(stamp_of(get(row, 0)?, get(row, 1)?))
    }

    async fn remember(&self, row: &IdempotencyRow, first: Option<Stamp>) -> Result<(), Failure> {
        let answer = match first {
            Some(stamp) => row.answer.replace(STAMP_PLACE, &stamp.to_string()),
            None => row.answer.clone(),
        };
        let sql = format!(
            "INSERT INTO {SIDECAR_SCHEMA}.idempotency (tbl, key, request_hash, answer, at_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
        );
        let hash = format!("{:032x}", row.request_hash);
        let (key, answer) = (row.key.as_bytes(), answer.into_bytes());
        match self.session.run(&sql, &[&self.tables.names.tbl, &key, &hash, &answer, &row.at_ms]).await? {
            // The same request, at the same time: the next attempt replays it.
            0 => Err(Failure::raced()),
            _ => Ok(()),
        }
    }
}

/// Where no sidecar is: before the start, and after `complete`.
fn check_plain(tables: &Tables, epoch: Option<u64>, changes: &[Prepared], idempotency: bool) -> StoreResult<()> {
    if let Some(epoch) = epoch {
        let error = no_sidecar(tables.name());
        return Err(StoreError { message: format!("{}, but the write has epoch {epoch}", error.message), ..error });
    }
    if idempotency {
        let what = format!("table {:?} has no sidecar to keep an idempotency key in", tables.name());
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("idempotency keys work from the start of the migration to its end"));
    }
    if changes.iter().any(|change| matches!(&change.image, Some((_, Some(_))))) {
        return Err(no_sidecar(tables.name())
            .with_hint("fields of the other shape can be parked only while the migration runs"));
    }
    Ok(())
}

async fn write(store: &Postgres, write: Write) -> StoreResult<Written> {
    let Write { epoch, changes, idempotency } = write;
    let session = store.pool.lease().await?;
    let mut last = None;
    let mut twins = 0;
    for _ in 0..ATTEMPTS_MAX {
        let tables = store.tables_with(&session).await?;
        let prepared = changes.iter().map(|change| prepare(&tables, change)).collect::<StoreResult<Vec<_>>>()?;
        // Who says an epoch expects a sidecar, and who says none does not.
        let sidecar = if epoch.is_some() { Sidecar::Installed } else { store.sidecar() };
        store.check_key(&session, &tables).await?;
        if sidecar == Sidecar::Absent {
            check_plain(&tables, epoch, &prepared, idempotency.is_some())?;
        }
        let idempotency = idempotency.as_ref();
        let attempt = Attempt { session: &session, tables: &tables, sidecar, epoch, changes: &prepared, idempotency };
        let result: Result<Written, Failure> = session.transaction(BEGIN, attempt.run()).await;
        match result {
            Ok(written) => return Ok(written),
            Err(failure) if failure.is_missed_sidecar() => {
                store.set_sidecar(Sidecar::Installed);
                last = Some(failure.error);
            }
            Err(failure) if failure.error.kind == StoreErrorKind::Sidecar && sidecar == Sidecar::Installed => {
                store.set_sidecar(Sidecar::Absent);
                if epoch.is_some() {
                    return Err(failure.error);
                }
                last = Some(failure.error);
            }
            Err(failure) if failure.is_outdated_plan() || failure.is_absent_column() => {
                store.forget();
                last = Some(failure.error);
            }
            Err(failure) if failure.is_race() => last = Some(failure.error),
            Err(failure) if failure.may_be_a_twin() && twins < TWINS_MAX => {
                twins += 1;
                last = Some(failure.error);
            }
            Err(failure) => return Err(failure.error),
        }
    }
    Err(last.unwrap_or_else(|| super::session::unexpected("nothing was tried")))
}

fn recall_sql() -> String {
    format!("SELECT request_hash, answer, at_ms FROM {SIDECAR_SCHEMA}.idempotency WHERE tbl = $1 AND key = $2")
}

fn row_of(key: &str, row: &tokio_postgres::Row) -> StoreResult<IdempotencyRow> {
    let unreadable =
        || StoreError::new(StoreErrorKind::Sidecar, "the sidecar holds an idempotency row that cannot be read");
    let (hash, answer): (String, Vec<u8>) = (get(row, 0)?, get(row, 1)?);
    Ok(IdempotencyRow {
        key: key.to_owned(),
        request_hash: u128::from_str_radix(&hash, 16).map_err(|_| unreadable())?,
        answer: String::from_utf8(answer).map_err(|_| unreadable())?,
        at_ms: get(row, 2)?,
    })
}

#[async_trait]
impl Writer for Postgres {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        self::write(self, write).await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        let tables = self.tables().await?;
        let session = self.pool.lease().await?;
        match session.rows(&recall_sql(), &[&tables.names.tbl, &idempotency_key.as_bytes()]).await {
            Ok(rows) => rows.first().map(|row| row_of(idempotency_key, row)).transpose(),
            Err(failure) if failure.is_absent_table() => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        let tables = self.tables().await?;
        let sql = format!("DELETE FROM {SIDECAR_SCHEMA}.idempotency WHERE tbl = $1 AND at_ms < $2");
        let session = self.pool.lease().await?;
        match session.run(&sql, &[&tables.names.tbl, &before_ms]).await {
            Ok(count) => Ok(count),
            Err(failure) if failure.is_absent_table() => Ok(0),
            Err(failure) => Err(failure.error),
        }
    }
}
