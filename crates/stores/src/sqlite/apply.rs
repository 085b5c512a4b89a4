//! Writing as the follower: guarded puts in batches.
//!
//! A record that nobody has written since capture began needs no sidecar row,
//! so a backfill is one plain insert for each row. What cannot go that way (a
//! record is there already, a stamp, a tombstone) is compared first, inside a
//! savepoint of its own.

use std::cell::RefCell;

use async_trait::async_trait;
use rusqlite::params;
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Follower, Put, Role};

use super::Sqlite;
use super::capture::{begin_applying, end_applying, no_sidecar};
use super::cell::Cell;
use super::error::store_error;
use super::facts::{Facts, Sidecar};
use super::record::{self, Dirty, Inserter, RawRecord, WriteFailure, parked_to_cell, prepared, read_mark, set_mark};
use super::session::{Session, run};
use super::tables::{Tables, marks_name, quoted};
use super::writer::{Durability, ForeignKeys};

/// Puts whose cells are made by the caller itself; more of them would hold up
/// the other tasks of its thread.
const PREPARE_INLINE_MAX: usize = 16;

/// A put whose cells are made, so that the writing thread only writes.
struct Prepared {
    key: Vec<Cell>,
    image: Option<(RawRecord, Cell)>,
    stamp: Stamp,
}

fn prepare(tables: &Tables, put: &Put) -> StoreResult<Prepared> {
    let image = match &put.image {
        Some(image) => Some((tables.to_raw(&put.key, &image.record)?, parked_to_cell(image))),
        None => None,
    };
    Ok(Prepared { key: tables.key_to_cells(&put.key)?, image, stamp: put.stamp })
}

/// One batch while it is being applied.
struct Batch<'a> {
    session: &'a Session,
    tables: &'a Tables,
    facts: &'a Facts,
    marks: Marks,
    inserter: RefCell<Inserter<'a>>,
}

/// Whether the follower has any mark: a first backfill need not look for each key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    None,
    Some,
}

impl Batch<'_> {
    /// Applies one put; after an error nothing of it is left.
    fn put(&self, put: &Prepared) -> Result<Applied, WriteFailure> {
        if let Some((raw, _)) = &put.image {
            self.facts.check_kept(self.tables, raw)?;
        }
        if put.stamp == Stamp::ZERO
            && let Some((raw, Cell::Null)) = &put.image
            && self.put_fresh(raw)?
        {
            return Ok(Applied::Changed);
        }
        run(&self.session.conn, "SAVEPOINT put")?;
        let result = self.put_guarded(put);
        if result.is_err() {
            run(&self.session.conn, "ROLLBACK TO put")?;
        }
        run(&self.session.conn, "RELEASE put")?;
        result
    }

    /// The backfill's way: the record is not there and has no stamp. `false`:
    /// it does not apply, and nothing was written.
    fn put_fresh(&self, raw: &RawRecord) -> Result<bool, WriteFailure> {
        if self.marks == Marks::Some && self.has_mark(&raw.key)? {
            return Ok(false);
        }
        let inserted = self.inserter.borrow_mut().insert(self.tables, raw);
        if inserted.is_err() && !self.tables.children.is_empty() {
            // It was not there before, so deleting is undoing.
            record::delete(self.session, self.tables, &raw.key)?;
        }
        inserted
    }

    fn has_mark(&self, key: &[Cell]) -> StoreResult<bool> {
        prepared(self.session, &self.tables.mark)?
            .exists(rusqlite::params_from_iter(key))
            .map_err(|e| store_error("reading a stamp", e))
    }

    fn put_guarded(&self, put: &Prepared) -> Result<Applied, WriteFailure> {
        let held = read_mark(self.session, self.tables, &put.key)?;
        if held.stamp > put.stamp {
            return Ok(Applied::Stale { held: held.stamp });
        }
        let found = record::read(self.session, self.tables, &put.key)?;
        let (raw, parked) = match &put.image {
            Some((raw, parked)) => (Some(raw), parked),
            None => (None, &Cell::Null),
        };
        let same = self.same(raw, found.as_ref()) && self.same_parked(parked, &held);
        if !same {
            match raw {
                Some(raw) => record::replace(self.session, self.tables, raw)?,
                None => record::delete(self.session, self.tables, &put.key).map(|_| ())?,
            }
        }
        if held.stamp < put.stamp
            || (!same && (held.stamp > Stamp::ZERO || *parked != Cell::Null || !held.parked.is_empty()))
        {
            set_mark(self.session, self.tables, &put.key, put.stamp, Dirty::No, parked)?;
        }
        Ok(if same { Applied::Unchanged } else { Applied::Changed })
    }

    /// Whether the store holds this content. What it holds and cannot be read
    /// is not the same as anything.
    fn same(&self, put: Option<&RawRecord>, found: Option<&RawRecord>) -> bool {
        match (put, found) {
            (None, None) => true,
            (Some(put), Some(found)) if put == found => true,
            (Some(put), Some(found)) => {
                let read = |raw: &RawRecord| {
                    self.tables.key_from_cells(&raw.key).and_then(|key| self.tables.record_of(&key, raw)).ok()
                };
                let put = read(put);
                put.is_some() && put == read(found)
            }
            _ => false,
        }
    }

    fn same_parked(&self, put: &Cell, held: &record::Mark) -> bool {
        match put {
            Cell::Text(text) => shearwater_core::value::json::parse_document(text).is_ok_and(|p| p == held.parked),
            _ => held.parked.is_empty(),
        }
    }

    /// Puts that failed because another record holds a unique value: in turn,
    /// as long as that helps; then together, all of them deleted first, so that
    /// values can pass in a circle.
    fn settle(
        &self,
        puts: &[Option<Prepared>],
        mut pending: Vec<(usize, StoreError)>,
        out: &mut [Applied],
    ) -> StoreResult<()> {
        let mut before = usize::MAX;
        while !pending.is_empty() && pending.len() < before {
            before = pending.len();
            let mut still = Vec::new();
            for (at, _) in pending {
                let Some(put) = &puts[at] else { continue };
                match self.put(put) {
                    Ok(applied) => out[at] = applied,
                    Err(WriteFailure::Unique(error)) => still.push((at, error)),
                    Err(WriteFailure::Other(error)) => out[at] = refusal(error)?,
                }
            }
            pending = still;
        }
        while !pending.is_empty() {
            pending = self.put_together(puts, pending, out)?;
        }
        Ok(())
    }

    /// Deletes the records of all pending puts, then writes them. Those that
    /// even so find their value taken are refused, everything is undone, and
    /// the others are returned to be tried without them.
    fn put_together(
        &self,
        puts: &[Option<Prepared>],
        pending: Vec<(usize, StoreError)>,
        out: &mut [Applied],
    ) -> StoreResult<Vec<(usize, StoreError)>> {
        run(&self.session.conn, "SAVEPOINT together")?;
        for (at, _) in &pending {
            if let Some(put) = &puts[*at] {
                record::delete(self.session, self.tables, &put.key).map_err(WriteFailure::into_error)?;
            }
        }
        let (mut written, mut refused) = (Vec::new(), Vec::new());
        for (at, _) in &pending {
            let Some(put) = &puts[*at] else { continue };
            match self.put(put) {
                Ok(_) => written.push(*at),
                Err(WriteFailure::Unique(error)) => refused.push((*at, refusal(error)?)),
                Err(WriteFailure::Other(error)) => refused.push((*at, refusal(error)?)),
            }
        }
        if refused.is_empty() {
            run(&self.session.conn, "RELEASE together")?;
            for at in written {
                out[at] = Applied::Changed;
            }
            return Ok(Vec::new());
        }
        run(&self.session.conn, "ROLLBACK TO together")?;
        run(&self.session.conn, "RELEASE together")?;
        let gone: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
        for (at, applied) in refused {
            out[at] = applied;
        }
        Ok(pending.into_iter().filter(|(at, _)| !gone.contains(at)).collect())
    }
}

/// A refusal of one record; any other error stops the batch.
fn refusal(error: StoreError) -> StoreResult<Applied> {
    match error.kind {
        StoreErrorKind::Refused { .. } => Ok(Applied::Refused(error)),
        _ => Err(error),
    }
}

fn apply(
    session: &Session,
    tables: &Tables,
    epoch: u64,
    puts: Vec<StoreResult<Prepared>>,
    checkpoint: Option<CheckpointStep>,
) -> StoreResult<Vec<Applied>> {
    let facts = session.facts(tables)?;
    if facts.sidecar == Sidecar::Absent {
        return Err(no_sidecar(&tables.name));
    }
    facts.check_key(tables)?;
    let state = begin_applying(session, tables, 0)?;
    if state.fence.epoch > epoch {
        return Err(StoreError::new(
            StoreErrorKind::EpochStale { current: state.fence.epoch },
            format!("table {:?}: the puts have epoch {epoch}, the store is at {}", tables.name, state.fence.epoch),
        ));
    }
    if state.fence.role == Role::Authority {
        return Err(StoreError::new(
            StoreErrorKind::FenceClosed,
            format!("table {:?} is the authority: it takes no follower's puts", tables.name),
        ));
    }
    let inserter = RefCell::new(Inserter::prepare(session, tables)?);
    let batch = Batch { session, tables, facts: &facts, marks: marks_of(session, tables)?, inserter };
    let mut out = vec![Applied::Unchanged; puts.len()];
    let mut prepared_puts = Vec::with_capacity(puts.len());
    let mut pending = Vec::new();
    for (at, put) in puts.into_iter().enumerate() {
        let put = match put {
            Ok(put) => put,
            Err(error) => {
                out[at] = refusal(error)?;
                prepared_puts.push(None);
                continue;
            }
        };
        match batch.put(&put) {
            Ok(applied) => out[at] = applied,
            Err(WriteFailure::Unique(error)) => pending.push((at, error)),
            Err(WriteFailure::Other(error)) => out[at] = refusal(error)?,
        }
        prepared_puts.push(Some(put));
    }
    batch.settle(&prepared_puts, pending, &mut out)?;
    if let Some(step) = checkpoint {
        save_checkpoint(session, tables, &step.after(&out))?;
    }
    end_applying(session, tables)?;
    Ok(out)
}

fn marks_of(session: &Session, tables: &Tables) -> StoreResult<Marks> {
    let some = prepared(session, &format!("SELECT 1 FROM {} LIMIT 1", quoted(&marks_name(&tables.name))))?
        .exists([])
        .map_err(|e| store_error("reading stamps", e))?;
    Ok(if some { Marks::Some } else { Marks::None })
}

fn save_checkpoint(session: &Session, tables: &Tables, checkpoint: &Checkpoint) -> StoreResult<()> {
    let body = serde_json::to_string(checkpoint)
        .map_err(|e| StoreError::new(StoreErrorKind::Unsupported, format!("a checkpoint cannot be written: {e}")))?;
    prepared(
        session,
        "INSERT INTO _shearwater_checkpoints (tbl, run, range, body) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (tbl, run, range) DO UPDATE SET body = excluded.body",
    )?
    .execute(params![tables.name, checkpoint.run, checkpoint.range, body])
    .map_err(|e| store_error("saving a checkpoint", e))?;
    Ok(())
}

fn load_checkpoints(session: &Session, tables: &Tables, run: &str) -> StoreResult<Vec<Checkpoint>> {
    let failed = |e| store_error("reading checkpoints", e);
    let mut statement =
        prepared(session, "SELECT body FROM _shearwater_checkpoints WHERE tbl = ?1 AND run = ?2 ORDER BY range")?;
    let bodies: Vec<String> =
        statement.query_map(params![tables.name, run], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
    let unreadable = |e| StoreError::new(StoreErrorKind::Sidecar, format!("a checkpoint cannot be read: {e}"));
    bodies.iter().map(|body| serde_json::from_str(body).map_err(unreadable)).collect()
}

#[async_trait]
impl Follower for Sqlite {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let tables = self.tables.clone();
        let prepared = if puts.len() <= PREPARE_INLINE_MAX {
            puts.iter().map(|put| prepare(&tables, put)).collect::<Vec<_>>()
        } else {
            let tables = tables.clone();
            tokio::task::spawn_blocking(move || puts.iter().map(|put| prepare(&tables, put)).collect())
                .await
                .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "SQLite: preparing a batch failed"))?
        };
        self.writer
            .run_with(Durability::AsConfigured, ForeignKeys::Unchecked, move |session| {
                apply(session, &tables, epoch, prepared, checkpoint)
            })
            .await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        let run = run.to_owned();
        self.blocking_read(move |session, tables| match session.facts(tables)?.sidecar {
            Sidecar::Installed => load_checkpoints(session, tables, &run),
            Sidecar::Absent => Ok(Vec::new()),
        })
        .await
    }
}
