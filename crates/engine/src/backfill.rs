//! The backfill of a migration: a journalled run over fixed ranges, resumed
//! from its checkpoints after any kill, idempotent when run again.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::{BackfillState, BackfillTotals};
use shearwater_core::store::Side;
use tokio::sync::Semaphore;

use crate::brake::Brake;
use crate::dead_letters::forget_unreadable;
use crate::helm::{Course, Helm, Leash, patiently};
use crate::lane::Lane;
use crate::ledger::Halt;
use crate::progress::Progress;
use crate::pump::{Pump, Sink};
use crate::throttle::Throttle;

/// Ranges for each worker, so that one slow range does not keep the others waiting at the end.
pub const RANGES_PER_WORKER: usize = 4;

/// Journals the beginning of a run: its name and its ranges.
pub async fn begin(helm: &Helm) -> Result<(), Halt> {
    let parts = helm.setup.spec.pace.workers.max(1) * RANGES_PER_WORKER;
    let ranges = helm.setup.source.split(parts).await.map_err(Halt::store(Side::Source))?;
    let run = uuid::Uuid::new_v4().simple().to_string();
    forget_unreadable(helm.setup.journal.as_ref(), Side::Source).await?;
    helm.ledger.append(Event::BackfillStarted { run, ranges }).await?;
    Ok(())
}

/// Runs the journalled backfill to its end, from wherever it is.
///
/// Report: `{"run": "…", "read": n, "changed": n, "dead": n, "bytes": n, "elapsed_ms": n}`.
pub async fn run(helm: Helm, mut leash: Leash) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    let BackfillState::Running { run, ranges } = state.backfill else {
        return Err(Halt::refused("backfill/not-running", "no backfill is running", "`start` begins one"));
    };
    let began = Instant::now();
    let checkpoints = patiently(&mut leash, Side::Target, || helm.setup.target.checkpoints(&run)).await?;
    let before = checkpoints.iter().map(|c| c.read).sum();
    let total = patiently(&mut leash, Side::Source, || helm.setup.source.estimate()).await?.records;
    let pump = Arc::new(Pump {
        setup: helm.setup.clone(),
        course: Course { authority: Side::Source, epoch: state.epoch },
        run: run.clone(),
        throttle: Throttle::new(helm.setup.spec.pace),
        foreground: helm.foreground.clone(),
        brake: Brake::new(helm.setup.spec.pace, helm.setup.source.clone(), helm.setup.target.clone()),
        turn: Semaphore::new(helm.setup.target.appliers().max(1)),
        lane: Lane::between(&helm.setup).await?,
        progress: Progress::new(helm.setup.journal.clone(), "backfill", total, before),
        sink: Sink::Letters(helm.letters.clone()),
    });
    let read = pump.run(ranges, checkpoints, leash).await?;
    pump.progress.end().await?;
    let totals = BackfillTotals { elapsed_ms: began.elapsed().as_millis() as u64, ..read };
    helm.ledger.append(Event::BackfillFinished { run: run.clone(), totals }).await?;
    Ok(report(&run, totals))
}

/// A run's totals as a report.
pub fn report(run: &str, totals: BackfillTotals) -> serde_json::Value {
    json!({
        "run": run, "read": totals.read, "changed": totals.changed, "dead": totals.dead,
        "bytes": totals.bytes, "elapsed_ms": totals.elapsed_ms,
    })
}
