//! Writing as the authority.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Role, Write, Writer, Written};
use shearwater_core::value::hash;

use super::Sqlite;
use super::capture::{begin_applying, end_applying};
use super::cell::Cell;
use super::error::store_error;
use super::facts::Sidecar;
use super::record::{self, Dirty, Mark, RawRecord, parked_to_cell, prepared, read_mark, set_mark};
use super::session::Session;
use super::tables::Tables;
use super::writer::Durability;

/// What stands for the first change's stamp in an idempotency row's answer.
const STAMP_PLACE: &str = "{stamp}";

/// A change whose cells are made, so that the writing thread only writes.
struct Prepared {
    key: Vec<Cell>,
    image: Option<(RawRecord, Cell)>,
    expect: Expect,
}

fn prepare(tables: &Tables, change: &Change) -> StoreResult<Prepared> {
    let image = match &change.image {
        Some(image) => Some((tables.to_raw(&change.key, &image.record)?, parked_to_cell(image))),
        None => None,
    };
    Ok(Prepared { key: tables.key_to_cells(&change.key)?, image, expect: change.expect })
}

/// Refuses a write that the fence does not admit.
fn check_fence(tables: &Tables, fence: Fence, epoch: Option<u64>) -> StoreResult<()> {
    let table = &tables.name;
    match fence.role {
        Role::Authority => {}
        Role::Closed => {
            return Err(StoreError::new(StoreErrorKind::FenceClosed, format!("table {table:?} is closed for writes")));
        }
        Role::Follower => {
            return Err(StoreError::new(
                StoreErrorKind::FenceClosed,
                format!("table {table:?} is a follower: it takes no writes of its own"),
            ));
        }
    }
    match epoch {
        Some(epoch) if epoch >= fence.epoch => Ok(()),
        Some(epoch) => Err(StoreError::new(
            StoreErrorKind::EpochStale { current: fence.epoch },
            format!("table {table:?}: the write has epoch {epoch}, the store is at {}", fence.epoch),
        )),
        None => Err(StoreError::new(
            StoreErrorKind::EpochStale { current: fence.epoch },
            format!("table {table:?}: the write has no epoch, but the store has a sidecar at {}", fence.epoch),
        )),
    }
}

fn check_expect(session: &Session, tables: &Tables, sidecar: Sidecar, change: &Prepared, at: usize) -> StoreResult<()> {
    if change.expect == Expect::Any {
        return Ok(());
    }
    let found = record::read(session, tables, &change.key)?;
    let mark = match sidecar {
        Sidecar::Installed => read_mark(session, tables, &change.key)?,
        Sidecar::Absent => Mark::default(),
    };
    let holds = match (change.expect, &found) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
        (Expect::Absent, Some(_)) | (Expect::Present | Expect::Content(_), None) => false,
        (Expect::Stamp(stamp), found) => {
            if sidecar == Sidecar::Absent {
                return Err(super::capture::no_sidecar(&tables.name));
            }
            mark.stamp == stamp && (found.is_some() || change.image.is_some())
        }
        (Expect::Content(expected), Some(raw)) => {
            let key = tables.key_from_cells(&change.key)?;
            hash::document(&tables.record_of(&key, raw)?) == expected
        }
    };
    if holds {
        return Ok(());
    }
    let exists = found.is_some();
    let stamp = (exists && sidecar == Sidecar::Installed).then_some(mark.stamp);
    Err(StoreError::new(
        StoreErrorKind::ExpectFailed { change: at, found: stamp, exists },
        format!("table {:?}: the record is not as change {at} expects it", tables.name),
    ))
}

fn change_record(session: &Session, tables: &Tables, change: &Prepared) -> StoreResult<()> {
    match &change.image {
        Some((raw, _)) => record::replace(session, tables, raw),
        None => record::delete(session, tables, &change.key).map(|_| ()),
    }
    .map_err(record::WriteFailure::into_error)
}

fn write(
    session: &Session,
    tables: &Tables,
    epoch: Option<u64>,
    changes: &[Prepared],
    idempotency: Option<IdempotencyRow>,
) -> StoreResult<Written> {
    let facts = session.facts(tables)?;
    facts.check_key(tables)?;
    for (raw, _) in changes.iter().filter_map(|c| c.image.as_ref()) {
        facts.check_kept(tables, raw)?;
    }
    if facts.sidecar == Sidecar::Absent {
        return write_plain(session, tables, epoch, changes, idempotency.is_some());
    }
    let state = begin_applying(session, tables, changes.len())?;
    check_fence(tables, state.fence, epoch)?;
    if let Some(asked) = &idempotency
        && let Some(row) = recall(session, tables, &asked.key)?
    {
        if row.request_hash != asked.request_hash {
            return Err(StoreError::new(
                StoreErrorKind::IdempotencyReused,
                "the idempotency key was used before by another request",
            ));
        }
        end_applying(session, tables)?;
        return Ok(Written::Replayed(row));
    }
    let first = state.counter.unsigned_abs() - changes.len() as u64 + 1;
    let mut stamps = Vec::with_capacity(changes.len());
    for (at, change) in changes.iter().enumerate() {
        check_expect(session, tables, facts.sidecar, change, at)?;
        change_record(session, tables, change)?;
        let stamp = Stamp::new(state.fence.epoch, first + at as u64);
        let parked = change.image.as_ref().map_or(&Cell::Null, |(_, parked)| parked);
        set_mark(session, tables, &change.key, stamp, Dirty::Yes, parked)?;
        stamps.push(Some(stamp));
    }
    if let Some(row) = idempotency {
        remember(session, tables, row, stamps.first().copied().flatten())?;
    }
    end_applying(session, tables)?;
    Ok(Written::Applied(stamps))
}

/// Writing where no sidecar is: before the start, and after `complete`.
fn write_plain(
    session: &Session,
    tables: &Tables,
    epoch: Option<u64>,
    changes: &[Prepared],
    has_idempotency: bool,
) -> StoreResult<Written> {
    if let Some(epoch) = epoch {
        let error = super::capture::no_sidecar(&tables.name);
        return Err(StoreError { message: format!("{}, but the write has epoch {epoch}", error.message), ..error });
    }
    if has_idempotency {
        return Err(StoreError::new(
            StoreErrorKind::Unsupported,
            format!("table {:?} has no sidecar to keep an idempotency key in", tables.name),
        )
        .with_hint("idempotency keys work from the start of the migration to its end"));
    }
    for (at, change) in changes.iter().enumerate() {
        if change.image.as_ref().is_some_and(|(_, parked)| *parked != Cell::Null) {
            return Err(super::capture::no_sidecar(&tables.name)
                .with_hint("fields of the other shape can be parked only while the migration runs"));
        }
        check_expect(session, tables, Sidecar::Absent, change, at)?;
        change_record(session, tables, change)?;
    }
    Ok(Written::Applied(vec![None; changes.len()]))
}

fn recall(session: &Session, tables: &Tables, key: &str) -> StoreResult<Option<IdempotencyRow>> {
    let failed = |e| store_error("reading an idempotency key", e);
    let row: Option<(String, String, i64)> = prepared(
        session,
        "SELECT request_hash, answer, at_ms FROM _shearwater_idempotency WHERE tbl = ?1 AND key = ?2",
    )?
    .query_row(params![tables.name, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    .optional()
    .map_err(failed)?;
    row.map(|(hash, answer, at_ms)| {
        let request_hash = u128::from_str_radix(&hash, 16).map_err(|_| {
            StoreError::new(StoreErrorKind::Sidecar, "the sidecar holds an idempotency row that cannot be read")
        })?;
        Ok(IdempotencyRow { key: key.to_owned(), request_hash, answer, at_ms })
    })
    .transpose()
}

fn remember(session: &Session, tables: &Tables, row: IdempotencyRow, first: Option<Stamp>) -> StoreResult<()> {
    let answer = match first {
        Some(stamp) => row.answer.replace(STAMP_PLACE, &stamp.to_string()),
        None => row.answer,
    };
    prepared(
        session,
        "INSERT INTO _shearwater_idempotency (tbl, key, request_hash, answer, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![tables.name, row.key, format!("{:032x}", row.request_hash), answer, row.at_ms])
    .map_err(|e| store_error("storing an idempotency key", e))?;
    Ok(())
}

#[async_trait]
impl Writer for Sqlite {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        let tables = self.tables.clone();
        let Write { epoch, changes, idempotency } = write;
        let changes = changes.iter().map(|change| prepare(&tables, change)).collect::<StoreResult<Vec<_>>>()?;
        self.writer
            .run(Durability::AsConfigured, move |session| self::write(session, &tables, epoch, &changes, idempotency))
            .await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        self.readers.snapshot(&self.tables, |session, sidecar| match sidecar {
            Sidecar::Installed => recall(session, &self.tables, idempotency_key),
            Sidecar::Absent => Ok(None),
        })
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        let tables = self.tables.clone();
        self.writer
            .run(Durability::AsConfigured, move |session| {
                if session.facts(&tables)?.sidecar == Sidecar::Absent {
                    return Ok(0);
                }
                prepared(session, "DELETE FROM _shearwater_idempotency WHERE tbl = ?1 AND at_ms < ?2")?
                    .execute(params![tables.name, before_ms])
                    .map(|n| n as u64)
                    .map_err(|e| store_error("forgetting idempotency keys", e))
            })
            .await
    }
}
