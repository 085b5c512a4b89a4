//! Writing as the follower: how a batch of guarded puts is admitted, tried
//! again, and committed with its checkpoint.
//!
//! Two batches on one key: both write the row and then its mark, and who comes
//! second finds the other's mark and begins again. Only a tombstone has no row
//! to wait for: a batch with tombstones runs alone.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Fence, Follower, Put, Role};
use shearwater_core::verbatim::RowsPut;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::batch::{Batch, Optimism, Prepared, prepare};
use super::capture::{BEGIN, absent, admission, admitted};
use super::cell::Cell;
use super::error::{Failure, no_sidecar};
use super::flat;
use super::names::SIDECAR_SCHEMA;
use super::session::{Session, get, pipelined};
use super::tables::Tables;
use super::triggers::LOCK_CLASS;
use super::verbatim;

/// Puts whose cells are made by the caller itself; more of them would hold up
/// the other tasks of its thread.
const PREPARE_INLINE_MAX: usize = 16;

/// Attempts of a batch that met another one on its way.
const ATTEMPTS_MAX: usize = 8;

/// When deferrable constraints are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    /// At the commit, where they are declared so.
    AsDeclared,
    /// After each statement.
    AtOnce,
}

fn check_fence(table: &str, fence: Fence, epoch: u64) -> StoreResult<()> {
    if fence.epoch > epoch {
        return Err(StoreError::new(
            StoreErrorKind::EpochStale { current: fence.epoch },
            format!("table {table:?}: the puts have epoch {epoch}, the store is at {}", fence.epoch),
        ));
    }
    if fence.role == Role::Authority {
        return Err(StoreError::new(
            StoreErrorKind::FenceClosed,
            format!("table {table:?} is the authority: it takes no follower's puts"),
        ));
    }
    Ok(())
}

/// Admits the batch; the places of fresh puts that have a mark.
async fn open(
    session: &Session,
    tables: &Tables,
    epoch: u64,
    puts: &[StoreResult<Prepared>],
) -> Result<HashSet<usize>, Failure> {
    let has_tombstones = puts.iter().flatten().any(|put| put.image.is_none());
    let lock = if has_tombstones { "pg_advisory_xact_lock" } else { "pg_advisory_xact_lock_shared" };
    let gate = format!("SELECT {lock}({LOCK_CLASS}, -id) FROM {SIDECAR_SCHEMA}.state WHERE tbl = $1");
    let fresh: Vec<usize> = (0..puts.len()).filter(|at| puts[*at].as_ref().is_ok_and(Prepared::is_fresh)).collect();
    let keys: Vec<&[Cell]> =
        fresh.iter().filter_map(|at| puts[*at].as_ref().ok()).map(|put| put.key.as_slice()).collect();
    let arrays = tables.key_arrays(&keys);
    let by_key: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
    let tbl: [&(dyn ToSql + Sync); 1] = [&tables.names.tbl];
    let prepared = async |sql: &str| session.prepared(sql).await.map_err(|failure| absent(tables, failure));
    let mut statements = Vec::new();
    for sql in admission().iter().chain(std::iter::once(&gate)) {
        statements.push((prepared(sql).await?, &tbl[..]));
    }
    if !keys.is_empty() {
        statements.push((prepared(&tables.marked()).await?, &by_key[..]));
    }
    let requests = statements.iter().map(|(statement, bound)| session.client.query(statement, bound)).collect();
    let mut answers = Vec::new();
    for answer in pipelined(requests).await {
        answers.push(answer.map_err(|e| absent(tables, session.failed("opening a batch", &e)))?);
    }
    check_fence(tables.name(), admitted(tables, answers.get(1).and_then(|rows| rows.first()))?, epoch)?;
    let mut marked = HashSet::new();
    for row in answers.get(3).into_iter().flatten() {
        let n: i64 = get(row, 0)?;
        marked.extend(fresh.get(n.unsigned_abs() as usize - 1));
    }
    Ok(marked)
}

async fn save_checkpoint(session: &Session, tables: &Tables, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let body = serde_json::to_vec(checkpoint)
        .map_err(|e| StoreError::new(StoreErrorKind::Unsupported, format!("a checkpoint cannot be written: {e}")))?;
    let sql = format!(
        "INSERT INTO {SIDECAR_SCHEMA}.checkpoints (tbl, run, range, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tbl, run, range) DO UPDATE SET body = excluded.body"
    );
    let (run, range) = (checkpoint.run.as_bytes(), i64::from(checkpoint.range));
    session.run(&sql, &[&tables.names.tbl, &run, &range, &body]).await?;
    Ok(())
}

/// The cells of puts, and their first answers: what no store could take as it is
/// is a refusal of one record, or of the call.
async fn prepared(tables: &Arc<Tables>, puts: Vec<Put>) -> StoreResult<(Vec<StoreResult<Prepared>>, Vec<Applied>)> {
    let prepared: Vec<StoreResult<Prepared>> = if puts.len() <= PREPARE_INLINE_MAX {
        puts.iter().map(|put| prepare(tables, put)).collect()
    } else {
        let tables = tables.clone();
        tokio::task::spawn_blocking(move || puts.iter().map(|put| prepare(&tables, put)).collect())
            .await
            .map_err(|_| super::session::unexpected("preparing a batch failed"))?
    };
    let mut out = Vec::with_capacity(prepared.len());
    for put in &prepared {
        out.push(match put {
            Ok(_) => Applied::Unchanged,
            Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => Applied::Refused(error.clone()),
            Err(error) => return Err(error.clone()),
        });
    }
    Ok((prepared, out))
}

/// Rows that need no put of their own.
pub(super) enum Given<'a> {
    /// As another store of this kind sent them.
    AsTheyAre(verbatim::Given<'a>),
    /// As they were written from plain records.
    Flat(flat::Given<'a>),
}

impl Given<'_> {
    fn fits(&self, tables: &Tables) -> bool {
        match self {
            Given::AsTheyAre(given) => given.fits(tables),
            Given::Flat(given) => given.fits(tables),
        }
    }

    async fn copy(&self, session: &Session, tables: &Tables) -> Result<u64, Failure> {
        match self {
            Given::AsTheyAre(given) => given.copy(session, tables).await,
            Given::Flat(given) => given.copy(session, tables).await,
        }
    }
}

/// One batch: puts, and perhaps rows.
struct Call<'a> {
    epoch: u64,
    prepared: &'a [StoreResult<Prepared>],
    out: Vec<Applied>,
    given: Option<&'a Given<'a>>,
    step: Option<&'a CheckpointStep>,
}

impl Call<'_> {
    async fn attempt(
        &self,
        session: &Session,
        tables: &Tables,
        checks: Checks,
        optimism: Optimism,
    ) -> Result<(RowsPut, Optimism), Failure> {
        let marked = open(session, tables, self.epoch, self.prepared).await?;
        if checks == Checks::AtOnce {
            session.batch("SET CONSTRAINTS ALL IMMEDIATE").await?;
        }
        let changed = match self.given {
            Some(given) => given.copy(session, tables).await?,
            None => 0,
        };
        let mut batch = Batch { session, tables, puts: self.prepared, out: self.out.clone() };
        let learned = batch.run(&marked, optimism).await?;
        if let Some(step) = self.step {
            save_checkpoint(session, tables, &RowsPut::step(step, changed).after(&batch.out)).await?;
        }
        Ok((RowsPut { changed, answers: batch.out }, learned))
    }

    /// Tries until it is in. `None`: the rows cannot all go in as they are.
    async fn run(&self, store: &Postgres, session: &Session, tables: &Tables) -> StoreResult<Option<RowsPut>> {
        store.check_key(session, tables).await?;
        let mut last = None;
        let mut checks = Checks::AsDeclared;
        for _ in 0..ATTEMPTS_MAX {
            let attempt = self.attempt(session, tables, checks, store.optimism());
            match session.transaction(BEGIN, attempt).await {
                Ok((done, learned)) => {
                    store.set_optimism(learned);
                    return Ok(Some(done));
                }
                Err(failure) if failure.is_race() => last = Some(failure.error),
                Err(failure) if self.given.is_some() && (failure.is_refusal() || failure.is_not_that_way()) => {
                    return Ok(None);
                }
                // The commit was refused: which record it is can only be seen one by one.
                Err(failure) if failure.is_refusal() && checks == Checks::AsDeclared => {
                    checks = Checks::AtOnce;
                    last = Some(failure.error);
                }
                Err(failure) if failure.is_outdated_plan() => {
                    store.forget();
                    return Err(failure.error);
                }
                Err(failure) => return Err(failure.error),
            }
        }
        Err(last.unwrap_or_else(|| no_sidecar(tables.name())))
    }
}

async fn apply(
    store: &Postgres,
    epoch: u64,
    puts: Vec<Put>,
    checkpoint: Option<CheckpointStep>,
) -> StoreResult<Vec<Applied>> {
    let session = store.pool.lease().await?;
    let tables = store.tables_with(&session).await?;
    let (prepared, out) = prepared(&tables, puts).await?;
    let call = Call { epoch, prepared: &prepared, out, given: None, step: checkpoint.as_ref() };
    let done = call.run(store, &session, &tables).await?;
    done.map(|done| done.answers).ok_or_else(|| super::session::unexpected("a batch without rows lost them"))
}

/// See [`shearwater_core::verbatim::Verbatim::put_rows`].
pub(super) async fn put_rows(
    store: &Postgres,
    epoch: u64,
    given: Given<'_>,
    puts: Vec<Put>,
    step: &CheckpointStep,
) -> StoreResult<Option<RowsPut>> {
    let session = store.pool.lease().await?;
    let tables = store.tables_with(&session).await?;
    // Where records are there already, COPY would only be tried in vain.
    if store.optimism() == Optimism::Low || !given.fits(&tables) {
        return Ok(None);
    }
    let (prepared, out) = prepared(&tables, puts).await?;
    let call = Call { epoch, prepared: &prepared, out, given: Some(&given), step: Some(step) };
    call.run(store, &session, &tables).await
}

#[async_trait]
impl Follower for Postgres {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        apply(self, epoch, puts, checkpoint).await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        let tables = self.tables().await?;
        let session = self.pool.lease().await?;
        let sql = format!("SELECT body FROM {SIDECAR_SCHEMA}.checkpoints WHERE tbl = $1 AND run = $2 ORDER BY range");
        let rows = match session.rows(&sql, &[&tables.names.tbl, &run.as_bytes()]).await {
            Ok(rows) => rows,
            Err(failure) if failure.is_absent_table() => return Ok(Vec::new()),
            Err(failure) => return Err(failure.error),
        };
        let unreadable = |e| StoreError::new(StoreErrorKind::Sidecar, format!("a checkpoint cannot be read: {e}"));
        rows.iter().map(|row| serde_json::from_slice(&get::<Vec<u8>>(row, 0)?).map_err(unreadable)).collect()
    }
}
