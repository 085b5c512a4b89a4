//! Writing as the follower: guarded puts in batches.
//!
//! Two transactions that bring the same key must not pass each other, though
//! most keys of a backfill have neither a row nor a mark to lock. So whoever
//! has a stamp writes the mark first and then the row; whoever has none (a
//! record that nobody has written since capture began) writes the row first
//! and looks at the marks afterwards, as they are then: one of the two sees the
//! other, and waits for it, or loses to it and runs again.

use async_trait::async_trait;
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Fence, Follower, Put, Role};

use super::cell::Cell;
use super::error::{Failure, Tried, no_sidecar};
use super::names::places;
use super::record::{Lock, Mark, Rows, insert_children, insert_roots, parked_to_cell, read_marks, row_places};
use super::session::{Session, bind, text_of};
use super::settle::{Batch, Work};
use super::state::{ForeignKeys, begin_applying};
use super::tables::{Marks, Tables, mark_key_list};
use super::{Inner, MySql, Reads, reading};
use crate::relational::RawRecord;

/// Batches side by side that the server takes with profit: beyond that they
/// only wait for the same log.
pub(super) const APPLIERS: usize = 4;

/// A put as cells.
pub(super) struct Prepared {
    /// The key.
    pub(super) key: Vec<Cell>,
    /// The record and the parked fields; `None`: a tombstone.
    pub(super) image: Option<(RawRecord<Cell>, Cell)>,
    /// The authority's stamp.
    pub(super) stamp: Stamp,
}

fn prepare(tables: &Tables, put: &Put) -> StoreResult<Prepared> {
    let image = match &put.image {
        Some(image) => Some((tables.tree.to_raw(tables, &put.key, &image.record)?, parked_to_cell(image))),
        None => None,
    };
    Ok(Prepared { key: tables.tree.key_to_cells(tables, &put.key)?, image, stamp: put.stamp })
}

/// A refusal of one record; any other error stops the batch.
pub(super) fn refusal(error: StoreError) -> Tried<Applied> {
    match error.kind {
        StoreErrorKind::Refused { .. } => Ok(Applied::Refused(error)),
        _ => Err(error.into()),
    }
}

fn check_fence(tables: &Tables, fence: Fence, epoch: u64) -> StoreResult<()> {
    let table = &tables.name;
    if fence.epoch > epoch {
        let what = format!("table {table:?}: the puts have epoch {epoch}, the store is at {}", fence.epoch);
        return Err(StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, what));
    }
    if fence.role == Role::Authority {
        let what = format!("table {table:?} is the authority: it takes no follower's puts");
        return Err(StoreError::new(StoreErrorKind::FenceClosed, what));
    }
    Ok(())
}

async fn apply(
    session: &mut Session,
    tables: &Tables,
    epoch: u64,
    puts: &[StoreResult<Prepared>],
    checkpoint: Option<&CheckpointStep>,
) -> Tried<Vec<Applied>> {
    let fence = begin_applying(session, tables, ForeignKeys::Unchecked).await?;
    check_fence(tables, fence, epoch)?;
    let mut out = vec![Applied::Unchanged; puts.len()];
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for (at, put) in puts.iter().enumerate() {
        match put {
            Ok(put) => {
                // Puts of one key come one after the other.
                let round: &mut usize = seen.entry(put.key.as_slice()).or_insert(0);
                if rounds.len() == *round {
                    rounds.push(Vec::new());
                }
                rounds[*round].push(at);
                *round += 1;
            }
            Err(error) => out[at] = refusal(error.clone())?,
        }
    }
    for round in rounds {
        let mut work: Vec<(usize, &Prepared)> =
            round.into_iter().filter_map(|at| puts[at].as_ref().ok().map(|put| (at, put))).collect();
        // In one order everywhere, so that batches wait for each other rather
        // than in a circle.
        work.sort_by_cached_key(|(_, put)| order_of(&put.key));
        if !put_fresh(session, tables, &work, &mut out).await? {
            put_guarded(session, tables, &work, &mut out).await?;
        }
    }
    if let Some(step) = checkpoint {
        save_checkpoint(session, tables, &step.after(&out)).await?;
    }
    Ok(out)
}

/// Some order of keys; which one does not matter.
fn order_of(key: &[Cell]) -> String {
    super::cell::cells_to_text(key)
}

/// The backfill's way: no record is there and none has a stamp. `false`: it
/// does not apply, and nothing was written.
async fn put_fresh(
    session: &mut Session,
    tables: &Tables,
    work: &[(usize, &Prepared)],
    out: &mut [Applied],
) -> Tried<bool> {
    let mut records = Vec::with_capacity(work.len());
    for (_, put) in work {
        match &put.image {
            Some((raw, Cell::Null)) if put.stamp == Stamp::ZERO => records.push(raw),
            _ => return Ok(false),
        }
    }
    session.script("beginning a batch", "SAVEPOINT fresh").await?;
    let written = match insert_roots(session, tables, &records).await {
        Ok(()) => insert_children(session, tables, &records).await,
        failed => failed,
    };
    let is_fresh = match written {
        Ok(()) => !are_marked(session, tables, work).await?,
        Err(failure) if failure.is_refusal() => false,
        Err(failure) => return Err(failure),
    };
    if !is_fresh {
        session.script("undoing a batch", "ROLLBACK TO SAVEPOINT fresh").await?;
        return Ok(false);
    }
    for (at, _) in work {
        out[*at] = Applied::Changed;
    }
    Ok(true)
}

/// Whether any of the keys has a mark now; waits for who is making one.
async fn are_marked(session: &mut Session, tables: &Tables, work: &[(usize, &Prepared)]) -> Tried<bool> {
    let any = format!(
        "SELECT one FROM (SELECT 1 AS one) o WHERE EXISTS (SELECT 1 FROM {} LOCK IN SHARE MODE)",
        tables.own.marks
    );
    if session.rows("reading stamps", &any, Vec::new()).await?.is_empty() {
        return Ok(false);
    }
    let keys: Vec<&[Cell]> = work.iter().map(|(_, put)| put.key.as_slice()).collect();
    Ok(!read_marks(session, tables, &keys, Lock::Held).await?.is_empty())
}

/// Compares each put with what is held, then writes what has to be written.
async fn put_guarded(
    session: &mut Session,
    tables: &Tables,
    work: &[(usize, &Prepared)],
    out: &mut [Applied],
) -> Tried<()> {
    let has_mark = |put: &&Prepared| put.stamp > Stamp::ZERO || matches!(put.image, Some((_, Cell::Bytes(_))));
    let stamped: Vec<&Prepared> = work.iter().map(|(_, put)| *put).filter(has_mark).collect();
    lock_marks(session, tables, &stamped).await?;
    let keys: Vec<&[Cell]> = work.iter().map(|(_, put)| put.key.as_slice()).collect();
    let mut found = super::settle::read_records(session, tables, &keys).await?;
    let mut marks = read_marks(session, tables, &keys, Lock::Held).await?;
    let mut todo = Vec::with_capacity(work.len());
    for (at, put) in work {
        let held = marks.remove(&put.key).unwrap_or_default();
        if held.stamp > put.stamp {
            out[*at] = Applied::Stale { held: held.stamp };
            continue;
        }
        let found = found.remove(&put.key);
        let same = is_same(tables, put, found.as_ref()) && has_parked(put, &held);
        todo.push(Work { at: *at, put, held, found, same });
    }
    let mut batch = Batch::new(session, tables, todo);
    let changed = batch.write(out).await?;
    // Who has no stamp wrote its row first: a mark that came since is a race lost.
    let fresh: Vec<&[Cell]> = changed.iter().map(|put| put.key.as_slice()).collect();
    if !read_marks(session, tables, &fresh, Lock::Held).await?.is_empty() {
        return Err(Failure::lost_race());
    }
    Ok(())
}

/// Makes sure that every key has a mark, and locks it.
async fn lock_marks(session: &mut Session, tables: &Tables, puts: &[&Prepared]) -> Tried<()> {
    let parts = tables.key.len();
    let head = format!("INSERT INTO {} ({}, epoch, counter, dirty) VALUES ", tables.own.marks, mark_key_list(parts));
    let row = format!("({}, 0, 0, 0)", places(parts));
    let rows = Rows { head: &head, row, tail: " ON DUPLICATE KEY UPDATE dirty = dirty", width: parts };
    let keys: Vec<Vec<&Cell>> = puts.iter().map(|put| put.key.iter().collect()).collect();
    rows.insert(session, "locking stamps", &keys).await
}

/// Whether the store holds this content. What it holds and cannot be read is
/// not the same as anything.
fn is_same(tables: &Tables, put: &Prepared, found: Option<&RawRecord<Cell>>) -> bool {
    match (&put.image, found) {
        (None, None) => true,
        (Some((put, _)), Some(found)) if put == found => true,
        (Some((put, _)), Some(found)) => {
            let read = |raw: &RawRecord<Cell>| {
                let key = tables.tree.key_from_cells(tables, &raw.key);
                key.and_then(|key| tables.tree.record_of(tables, &key, raw)).ok()
            };
            let put = read(put);
            put.is_some() && put == read(found)
        }
        _ => false,
    }
}

fn has_parked(put: &Prepared, held: &Mark) -> bool {
    match &put.image {
        Some((_, Cell::Bytes(text))) => {
            shearwater_core::value::json::parse_document(text).is_ok_and(|parked| parked == held.parked)
        }
        _ => held.parked.is_empty(),
    }
}

/// Sets the marks of puts as confirmed.
pub(super) async fn set_marks(session: &mut Session, tables: &Tables, puts: &[&Prepared]) -> Tried<()> {
    let parts = tables.key.len();
    let head =
        format!("INSERT INTO {} ({}, epoch, counter, parked, dirty) VALUES ", tables.own.marks, mark_key_list(parts));
    let row = row_places(parts + 3).replace(')', ", 0)");
    let tail =
        " ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), counter = VALUES(counter), parked = VALUES(parked), dirty = 0";
    let stamps: Vec<[Cell; 2]> =
        puts.iter().map(|put| [Cell::from_u64(put.stamp.epoch), Cell::from_u64(put.stamp.counter)]).collect();
    let rows: Vec<Vec<&Cell>> = puts
        .iter()
        .zip(&stamps)
        .map(|(put, stamp)| {
            let parked = put.image.as_ref().map_or(&Cell::Null, |(_, parked)| parked);
            put.key.iter().chain(stamp).chain(std::iter::once(parked)).collect()
        })
        .collect();
    Rows { head: &head, row, tail, width: parts + 3 }.insert(session, "setting stamps", &rows).await
}

async fn save_checkpoint(session: &mut Session, tables: &Tables, checkpoint: &Checkpoint) -> Tried<()> {
    let body = serde_json::to_string(checkpoint)
        .map_err(|e| StoreError::new(StoreErrorKind::Unsupported, format!("a checkpoint cannot be written: {e}")))?;
    let sql = format!(
        "INSERT INTO {} (run, part, body) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE body = VALUES(body)",
        tables.own.checkpoints
    );
    let cells = [Cell::text(checkpoint.run.as_str()), Cell::Int(i64::from(checkpoint.range)), Cell::text(body)];
    session.run("saving a checkpoint", &sql, bind(&cells)).await.map(|_| ())
}

async fn load_checkpoints(session: &mut Session, tables: &Tables, run: &str) -> Tried<Vec<Checkpoint>> {
    let sql = format!("SELECT body FROM {} WHERE run = ? ORDER BY part", tables.own.checkpoints);
    let rows = session.rows("reading checkpoints", &sql, bind([&Cell::text(run)])).await?;
    let unreadable = |e| StoreError::new(StoreErrorKind::Sidecar, format!("a checkpoint cannot be read: {e}"));
    let bodies = rows.iter().map(|row| row.first().and_then(text_of).unwrap_or_default());
    let read: StoreResult<Vec<Checkpoint>> =
        bodies.map(|body| serde_json::from_str(&body).map_err(unreadable)).collect();
    Ok(read?)
}

async fn apply_until_done(
    inner: &Inner,
    epoch: u64,
    puts: Vec<Put>,
    checkpoint: Option<CheckpointStep>,
) -> StoreResult<Vec<Applied>> {
    let mut attempt = 0;
    let puts = std::sync::Arc::new(puts);
    loop {
        let mut session = inner.pool.session().await?;
        let tables = inner.tables(&mut session).await?;
        tables.check_key()?;
        if inner.marks(&mut session, &tables).await? == Marks::Absent {
            return Err(no_sidecar(&tables.name));
        }
        let (asked, its) = (puts.clone(), tables.clone());
        let prepared: Vec<StoreResult<Prepared>> =
            tokio::task::spawn_blocking(move || asked.iter().map(|put| prepare(&its, put)).collect())
                .await
                .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "MySQL: preparing a batch failed"))?;
        let mut answers = apply(&mut session, &tables, epoch, &prepared, checkpoint.as_ref()).await;
        if answers.is_ok() {
            answers = session.commit().await.and(answers);
        }
        match answers {
            Ok(answers) => return Ok(answers),
            Err(failure) => {
                session.roll_back().await;
                inner.again(failure, &mut attempt).await?;
            }
        }
    }
}

#[async_trait]
impl Follower for MySql {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { apply_until_done(&inner, epoch, puts, checkpoint).await }).await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        reading!(self.0, Reads::One, |session, tables, marks| async {
            match marks {
                Marks::Joined => load_checkpoints(session, tables, run).await,
                Marks::Absent => Ok(Vec::new()),
            }
        })
    }
}
