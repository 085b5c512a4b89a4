//! Writing as the authority.
//!
//! A transaction holds the fence, then for each change the record's row and
//! its mark, and only then takes the stamp's counter. What loses to another
//! transaction is rolled back and run again; nothing of it was seen.

use async_trait::async_trait;
use mysql_async::Value as Wire;
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Role, Write, Writer, Written};
use shearwater_core::value::hash;

use super::cell::Cell;
use super::error::{Failure, Tried, no_sidecar, refused};
use super::install::IDEMPOTENCY_KEY_BYTES_MAX;
use super::names::{places, quoted};
use super::record::{
    Lock, Mark, delete_children, delete_roots, insert_children, insert_roots, mark_of, parked_to_cell, update_root,
    with_children,
};
use super::session::{Session, bind, number_of, text_of};
use super::state::{ForeignKeys, begin_applying};
use super::tables::{Marks, Tables, is_key, is_mark, mark_key_list};
use super::triggers::COUNTER;
use super::{Inner, MySql, Reads, reading};
use crate::relational::RawRecord;

/// What stands for the first change's stamp in an idempotency row's answer.
const STAMP_PLACE: &str = "{stamp}";

/// A change as cells.
struct Prepared {
    key: Vec<Cell>,
    image: Option<(RawRecord<Cell>, Cell)>,
    expect: Expect,
}

fn prepare(tables: &Tables, change: &Change) -> StoreResult<Prepared> {
    let image = match &change.image {
        Some(image) => Some((tables.tree.to_raw(tables, &change.key, &image.record)?, parked_to_cell(image))),
        None => None,
    };
    Ok(Prepared { key: tables.tree.key_to_cells(tables, &change.key)?, image, expect: change.expect })
}

/// Refuses a write that the fence does not admit.
fn check_fence(tables: &Tables, fence: Fence, epoch: Option<u64>) -> StoreResult<()> {
    let table = &tables.name;
    let closed = |what: &str| StoreError::new(StoreErrorKind::FenceClosed, format!("table {table:?} {what}"));
    match fence.role {
        Role::Authority => {}
        Role::Closed => return Err(closed("is closed for writes")),
        Role::Follower => return Err(closed("is a follower: it takes no writes of its own")),
    }
    let stale = |what: String| {
        let what = format!("table {table:?}: {what}, the store is at {}", fence.epoch);
        StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, what)
    };
    match epoch {
        Some(epoch) if epoch >= fence.epoch => Ok(()),
        Some(epoch) => Err(stale(format!("the write has epoch {epoch}"))),
        None => Err(stale("the write has no epoch, but there is a sidecar".to_owned())),
    }
}

/// What is there under a key, locked.
struct Held {
    /// The next counter, taken under the locks.
    counter: u64,
    /// Whether the key has a mark.
    marked: Marked,
    mark: Mark,
    found: Option<RawRecord<Cell>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marked {
    Yes,
    No,
}

/// Which of a record's elements an expectation needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elements {
    Needed,
    Unneeded,
}

async fn hold(session: &mut Session, tables: &Tables, marks: Marks, change: &Prepared) -> Tried<Held> {
    let (columns, root) = (tables.root_list(), quoted(&tables.name));
    let is_key = is_key("r.", &tables.key);
    let (sql, bound) = match marks {
        Marks::Joined => (
            format!(
                "SELECT {COUNTER}, m.epoch, m.counter, m.dirty, m.parked, {columns} FROM (SELECT 1 AS one) o \
                 LEFT JOIN {root} r ON {is_key} LEFT JOIN {} m ON {} FOR UPDATE",
                tables.own.marks,
                is_mark("m.", tables.key.len()),
            ),
            bind(change.key.iter().chain(&change.key)),
        ),
        Marks::Absent => (
            format!("SELECT 0, NULL, NULL, NULL, NULL, {columns} FROM {root} r WHERE {is_key} FOR UPDATE"),
            bind(&change.key),
        ),
    };
    let Some(mut row) = session.rows("reading a record", &sql, bound).await?.pop() else {
        return Ok(Held { counter: 0, marked: Marked::No, mark: Mark::default(), found: None });
    };
    let mut key = row.split_off(5);
    let values = key.split_off(tables.key.len());
    let elements = if matches!(change.expect, Expect::Content(_)) { Elements::Needed } else { Elements::Unneeded };
    let found = if key == change.key {
        match elements {
            Elements::Needed => with_children(session, tables, vec![(key, values)], Lock::Held).await?.pop(),
            Elements::Unneeded => Some(RawRecord { key, values, children: Vec::new() }),
        }
    } else {
        if key.first().is_some_and(|cell| *cell != Cell::Null) && change.image.is_some() {
            let what = "the table holds a key that its collation takes for equal to this one";
            return Err(refused(&tables.name, &tables.tree.key.join(", "), what).into());
        }
        None
    };
    let marked = if row[1] == Cell::Null { Marked::No } else { Marked::Yes };
    let counter = number_of(&row[0]).unwrap_or(0);
    Ok(Held { counter, marked, mark: mark_of(&row[1..], &tables.name)?, found })
}

fn check_expect(tables: &Tables, marks: Marks, change: &Prepared, held: &Held, at: usize) -> StoreResult<()> {
    let holds = match (change.expect, &held.found) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
        (Expect::Absent, Some(_)) | (Expect::Present | Expect::Content(_), None) => false,
        (Expect::Stamp(_), _) if marks == Marks::Absent => return Err(no_sidecar(&tables.name)),
        (Expect::Stamp(stamp), found) => held.mark.stamp == stamp && (found.is_some() || change.image.is_some()),
        (Expect::Content(expected), Some(raw)) => {
            let key = tables.tree.key_from_cells(tables, &change.key)?;
            hash::document(&tables.tree.record_of(tables, &key, raw)?) == expected
        }
    };
    if holds {
        return Ok(());
    }
    let exists = held.found.is_some();
    let found = (exists && marks == Marks::Joined).then_some(held.mark.stamp);
    Err(StoreError::new(
        StoreErrorKind::ExpectFailed { change: at, found, exists },
        format!("table {:?}: the record is not as change {at} expects it", tables.name),
    ))
}

async fn change_record(session: &mut Session, tables: &Tables, change: &Prepared, held: &Held) -> Tried<()> {
    delete_children(session, tables, &[change.key.as_slice()]).await?;
    match (&change.image, &held.found) {
        (Some((raw, _)), Some(_)) => update_root(session, tables, raw).await?,
        (Some((raw, _)), None) => match insert_roots(session, tables, &[raw]).await {
            Err(failure) if is_key_taken(tables, &failure) => return Err(Failure::lost_race()),
            done => done?,
        },
        (None, Some(_)) => delete_roots(session, tables, &[change.key.as_slice()]).await?,
        (None, None) => {}
    }
    match &change.image {
        Some((raw, _)) => insert_children(session, tables, &[raw]).await,
        None => Ok(()),
    }
}

/// Whether a key that was not there is there now.
pub(super) fn is_key_taken(tables: &Tables, failure: &Failure) -> bool {
    let key = StoreErrorKind::Refused { field: Some(tables.tree.key.join(", ")) };
    failure.is_duplicate() && failure.error.kind == key
}

async fn mark(session: &mut Session, tables: &Tables, change: &Prepared, held: &Held, epoch: u64) -> Tried<Stamp> {
    let least = if held.mark.stamp.epoch == epoch { held.mark.stamp.counter + 1 } else { 0 };
    let stamp = Stamp::new(epoch, held.counter.max(least));
    let parts = tables.key.len();
    let parked = change.image.as_ref().map_or(&Cell::Null, |(_, parked)| parked);
    let stamped = [Wire::UInt(stamp.epoch), Wire::UInt(stamp.counter), Wire::from(parked)];
    let marks = &tables.own.marks;
    let (sql, bound) = match held.marked {
        Marked::Yes => (
            format!("UPDATE {marks} SET epoch = ?, counter = ?, parked = ?, dirty = 1 WHERE {}", is_mark("", parts)),
            stamped.into_iter().chain(bind(&change.key)).collect(),
        ),
        Marked::No => (
            format!(
                "INSERT INTO {marks} (epoch, counter, parked, dirty, {}) VALUES (?, ?, ?, 1, {})",
                mark_key_list(parts),
                places(parts)
            ),
            stamped.into_iter().chain(bind(&change.key)).collect(),
        ),
    };
    match session.run("setting a stamp", &sql, bound).await {
        // Somebody marked the key since it was looked at, and may have a later counter.
        Err(failure) if failure.is_duplicate() => Err(Failure::lost_race()),
        Err(failure) => Err(failure),
        Ok(_) => Ok(stamp),
    }
}

async fn write(session: &mut Session, tables: &Tables, write: &Write, changes: &[Prepared]) -> Tried<Written> {
    let fence = begin_applying(session, tables, ForeignKeys::Checked).await?;
    check_fence(tables, fence, write.epoch)?;
    if let Some(asked) = &write.idempotency
        && let Some(row) = recall(session, tables, &asked.key, Lock::None).await?
    {
        return replayed(asked, row);
    }
    let mut stamps = Vec::with_capacity(changes.len());
    for (at, change) in changes.iter().enumerate() {
        let held = hold(session, tables, Marks::Joined, change).await?;
        if let Err(failed) = check_expect(tables, Marks::Joined, change, &held, at) {
            // What it waited for may have been its own twin, which wrote the
            // idempotency key after we had looked for it.
            if let Some(asked) = &write.idempotency
                && let Some(row) = recall(session, tables, &asked.key, Lock::Held).await?
            {
                return replayed(asked, row);
            }
            return Err(failed.into());
        }
        // The mark first: it is what two writers of a new key meet at.
        stamps.push(Some(mark(session, tables, change, &held, fence.epoch).await?));
        change_record(session, tables, change, &held).await?;
    }
    if let Some(row) = &write.idempotency {
        remember(session, tables, row, stamps.first().copied().flatten()).await?;
    }
    Ok(Written::Applied(stamps))
}

/// Writing where no sidecar is: before the start, and after `complete`.
async fn write_plain(session: &mut Session, tables: &Tables, write: &Write, changes: &[Prepared]) -> Tried<Written> {
    if let Some(epoch) = write.epoch {
        let error = no_sidecar(&tables.name);
        let message = format!("{}, but the write has epoch {epoch}", error.message);
        return Err(StoreError { message, ..error }.into());
    }
    if write.idempotency.is_some() {
        let what = format!("table {:?} has no sidecar to keep an idempotency key in", tables.name);
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("idempotency keys work from the start of the migration to its end")
            .into());
    }
    session.begin_writing("DO 0").await?;
    for (at, change) in changes.iter().enumerate() {
        if change.image.as_ref().is_some_and(|(_, parked)| *parked != Cell::Null) {
            let hint = "fields of the other shape can be parked only while the migration runs";
            return Err(no_sidecar(&tables.name).with_hint(hint).into());
        }
        let held = hold(session, tables, Marks::Absent, change).await?;
        check_expect(tables, Marks::Absent, change, &held, at)?;
        change_record(session, tables, change, &held).await?;
    }
    Ok(Written::Applied(vec![None; changes.len()]))
}

/// The answer to a request whose idempotency key was used before.
fn replayed(asked: &IdempotencyRow, row: IdempotencyRow) -> Tried<Written> {
    if row.request_hash == asked.request_hash {
        return Ok(Written::Replayed(row));
    }
    let what = "the idempotency key was used before by another request";
    Err(StoreError::new(StoreErrorKind::IdempotencyReused, what).into())
}

/// With a lock it is what is there now, whatever the transaction has seen.
async fn recall(session: &mut Session, tables: &Tables, key: &str, lock: Lock) -> Tried<Option<IdempotencyRow>> {
    let (own, lock) = (&tables.own.idempotency, lock.clause());
    let sql = format!("SELECT request_hash, answer, at_ms FROM {own} WHERE k = ?{lock}");
    let rows = session.rows("reading an idempotency key", &sql, bind([&Cell::text(key)])).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let hash = row.first().and_then(text_of).and_then(|hash| u128::from_str_radix(&hash, 16).ok());
    let (Some(request_hash), Some(answer), Some(Cell::Int(at_ms))) = (hash, row.get(1).and_then(text_of), row.get(2))
    else {
        let what = "the sidecar holds an idempotency row that cannot be read";
        return Err(StoreError::new(StoreErrorKind::Sidecar, what).into());
    };
    Ok(Some(IdempotencyRow { key: key.to_owned(), request_hash, answer, at_ms: *at_ms }))
}

async fn remember(session: &mut Session, tables: &Tables, row: &IdempotencyRow, first: Option<Stamp>) -> Tried<()> {
    if row.key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let what = format!("an idempotency key has at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what).into());
    }
    let answer = match first {
        Some(stamp) => row.answer.replace(STAMP_PLACE, &stamp.to_string()),
        None => row.answer.clone(),
    };
    let hash = format!("{:032x}", row.request_hash);
    let sql = format!("INSERT INTO {} (k, request_hash, answer, at_ms) VALUES (?, ?, ?, ?)", tables.own.idempotency);
    let cells = [Cell::text(row.key.as_str()), Cell::text(hash), Cell::text(answer), Cell::Int(row.at_ms)];
    match session.run("storing an idempotency key", &sql, bind(&cells)).await {
        // The same request is being answered elsewhere: run again, and replay it.
        Err(failure) if failure.is_duplicate() => Err(Failure::lost_race()),
        done => done.map(|_| ()),
    }
}

async fn write_until_done(inner: &Inner, asked: &Write) -> StoreResult<Written> {
    let mut attempt = 0;
    loop {
        let mut session = inner.pool.session().await?;
        let tables = inner.tables(&mut session).await?;
        tables.check_key()?;
        let changes = asked.changes.iter().map(|change| prepare(&tables, change)).collect::<StoreResult<Vec<_>>>()?;
        let mut result = match inner.marks(&mut session, &tables).await? {
            Marks::Joined => write(&mut session, &tables, asked, &changes).await,
            Marks::Absent => write_plain(&mut session, &tables, asked, &changes).await,
        };
        if result.is_ok() {
            result = session.commit().await.and(result);
        }
        match result {
            Ok(written) => return Ok(written),
            Err(failure) => {
                session.roll_back().await;
                inner.again(failure, &mut attempt).await?;
            }
        }
    }
}

#[async_trait]
impl Writer for MySql {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { write_until_done(&inner, &write).await }).await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        reading!(self.0, Reads::One, |session, tables, marks| async {
            match marks {
                Marks::Joined => recall(session, tables, idempotency_key, Lock::None).await,
                Marks::Absent => Ok(None),
            }
        })
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        reading!(self.0, Reads::One, |session, tables, marks| async {
            match marks {
                Marks::Joined => {
                    let sql = format!("DELETE FROM {} WHERE at_ms < ?", tables.own.idempotency);
                    session.run("forgetting idempotency keys", &sql, vec![Wire::Int(before_ms)]).await
                }
                Marks::Absent => Ok(0),
            }
        })
    }
}
