//! The playbook's simple script, done right: copies every record without any
//! capture on the source. Idempotent, resumable, re-runnable; also removes
//! what has vanished from the source, and leaves no sidecar behind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use shearwater_core::journal::{Event, JournalError};
use shearwater_core::lifecycle::{Phase, State};
use shearwater_core::store::{Applied, ChunkMax, Cursor, Fence, Put, Role, ScanRange, Side};
use shearwater_core::{Key, Stamp};
use tokio::sync::Semaphore;

use crate::backfill::RANGES_PER_WORKER;
use crate::brake::Brake;
use crate::enter::CAPTURE_LEASE;
use crate::foreground::Foreground;
use crate::helm::{Course, Leash, Wish};
use crate::lane::Lane;
use crate::ledger::{Halt, Lease, fold};
use crate::member::View;
use crate::progress::Progress;
use crate::pump::{Pump, Sink};
use crate::throttle::Throttle;
use crate::{Setup, failpoint};

/// The note of a copy on its way: [`Copying`] as JSON, empty when none is.
const COPY_NOTE: &str = "copy";

/// How long the lease lasts without being renewed.
const LEASE_TTL: Duration = Duration::from_secs(3);

/// The epoch of a store without capture.
const EPOCH: u64 = 1;

/// Target records looked up in the source at once.
const CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 1024 * 1024 };

#[derive(Serialize, Deserialize)]
struct Copying {
    run: String,
    ranges: Vec<ScanRange>,
}

/// Copies. Progress is in the journal's note `progress`.
///
/// Report: `{"read": n, "changed": n, "removed": n, "refused": n, "orphans": n, "elapsed_ms": n,
/// "refusals": [{"key": "…", "code": "…", "reason": "…"}, first 1,000]}`; `orphans` are target
/// records that no source record can be behind, which are left alone.
pub async fn copy(setup: &Setup) -> Result<serde_json::Value, Halt> {
    let holder = format!("copy-{}", uuid::Uuid::new_v4().simple());
    let lease = Arc::new(Lease::new(setup.journal.clone(), CAPTURE_LEASE, holder, LEASE_TTL));
    if !lease.take().await? {
        return Err(Halt::refused(
            "busy/copy",
            "another copy runs, or capture is being installed",
            "wait for its end; a copy that was killed gives way within three seconds",
        ));
    }
    let copied = tokio::select! {
        copied = copy_under(setup, &lease) => copied,
        () = lease.keep() => Err(Halt::Lost),
    };
    lease.release().await?;
    copied
}

async fn copy_under(setup: &Setup, lease: &Arc<Lease>) -> Result<serde_json::Value, Halt> {
    let began = Instant::now();
    refuse_when_captured(setup).await?;
    let target = &setup.target;
    target.provision().await.map_err(Halt::store(Side::Target))?;
    target.install(Fence { role: Role::Follower, epoch: EPOCH }).await.map_err(Halt::store(Side::Target))?;
    failpoint::hit("capture-target-installed");
    let Copying { run, ranges } = begun(setup).await?;
    let (_pull, leash) = Leash::new(lease.clone(), Wish::Go);

    let checkpoints = target.checkpoints(&run).await.map_err(Halt::store(Side::Target))?;
    let total = setup.source.estimate().await.map_err(Halt::store(Side::Source))?.records;
    let pump = Arc::new(Pump {
        setup: setup.clone(),
        course: Course { authority: Side::Source, epoch: EPOCH },
        run,
        throttle: Throttle::new(setup.spec.pace),
        foreground: Arc::new(Foreground::new()),
        brake: Brake::new(setup.spec.pace, setup.source.clone(), setup.target.clone()),
        turn: Semaphore::new(setup.target.appliers().max(1)),
        lane: Lane::between(setup).await?,
        progress: Progress::new(setup.journal.clone(), "copy", total, checkpoints.iter().map(|c| c.read).sum()),
        sink: Sink::Listed(Mutex::default()),
    });
    let totals = pump.run(ranges, checkpoints, leash.clone()).await?;
    let swept = sweep(setup, leash).await?;
    pump.progress.end().await?;

    lease.check()?;
    target.remove().await.map_err(Halt::store(Side::Target))?;
    failpoint::hit("remove-target");
    setup.journal.set_note(COPY_NOTE, "").await?;
    let refusals: Vec<_> = match &pump.sink {
        Sink::Listed(list) => list.lock().map(|list| list.clone()).unwrap_or_default(),
        Sink::Letters(_) => Vec::new(),
    };
    let refusals: Vec<_> =
        refusals.iter().map(|r| json!({ "key": r.key, "code": r.code, "reason": r.reason })).collect();
    Ok(json!({
        "read": totals.read, "changed": totals.changed, "removed": swept.removed, "refused": totals.dead,
        "orphans": swept.orphans, "elapsed_ms": began.elapsed().as_millis() as u64, "refusals": refusals,
    }))
}

/// A copy writes what it reads; beside capture it could undo newer writes.
async fn refuse_when_captured(setup: &Setup) -> Result<(), Halt> {
    let entries = setup.journal.read(0, 10_000).await?;
    let view = fold(setup.journal.as_ref(), View::<State>::initial()).await?;
    let capturing = entries.iter().any(|entry| matches!(entry.event, Event::Capturing));
    if view.state.phase == Phase::Planned && view.state.entering.is_none() && !capturing {
        return Ok(());
    }
    Err(Halt::refused(
        "copy/captured",
        "the migration has begun to follow writes, so a copy without capture could undo them",
        "`start` copies safely beside live writes",
    ))
}

/// The copy on its way, or a new one.
async fn begun(setup: &Setup) -> Result<Copying, Halt> {
    if let Some(text) = setup.journal.note(COPY_NOTE).await?.filter(|text| !text.is_empty()) {
        let damaged = |error: serde_json::Error| JournalError::Damaged(format!("note copy: {error}"));
        return Ok(serde_json::from_str(&text).map_err(damaged)?);
    }
    let parts = setup.spec.pace.workers.max(1) * RANGES_PER_WORKER;
    let ranges = setup.source.split(parts).await.map_err(Halt::store(Side::Source))?;
    let copying = Copying { run: format!("copy-{}", uuid::Uuid::new_v4().simple()), ranges };
    let text = serde_json::to_string(&copying).map_err(|error| Halt::Broken(error.to_string()))?;
    setup.journal.set_note(COPY_NOTE, &text).await?;
    Ok(copying)
}

#[derive(Default)]
struct Swept {
    removed: u64,
    orphans: u64,
}

/// Removes from the target what has vanished from the source: each key is read
/// in the source by itself, never deduced from a list that did not have it.
async fn sweep(setup: &Setup, mut leash: Leash) -> Result<Swept, Halt> {
    let mut swept = Swept::default();
    let ranges = setup.target.split(1).await.map_err(Halt::store(Side::Target))?;
    for range in ranges {
        let mut after: Option<Cursor> = None;
        loop {
            leash.pass().await?;
            let chunk = setup.target.scan(&range, after.as_ref(), CHUNK).await.map_err(Halt::store(Side::Target))?;
            after = chunk.next;
            let mut pairs: Vec<(Key, Key)> = Vec::with_capacity(chunk.records.len());
            for target in chunk.records.into_iter().filter_map(|record| match record {
                Ok(record) => Some(record.key),
                Err(bad) => bad.key,
            }) {
                match setup.mapping.key_reverse(&target) {
                    Ok(source) => pairs.push((source, target)),
                    Err(_) => swept.orphans += 1,
                }
            }
            swept.removed += remove_vanished(setup, pairs).await?;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(swept)
}

async fn remove_vanished(setup: &Setup, pairs: Vec<(Key, Key)>) -> Result<u64, Halt> {
    let source_keys: Vec<Key> = pairs.iter().map(|(source, _)| source.clone()).collect();
    let found = setup.source.fetch_many(&source_keys).await.map_err(Halt::store(Side::Source))?;
    let puts: Vec<Put> = pairs
        .into_iter()
        .zip(found)
        .filter(|(_, found)| found.image.is_none())
        .map(|((_, target), _)| Put { key: target, image: None, stamp: Stamp::ZERO })
        .collect();
    if puts.is_empty() {
        return Ok(0);
    }
    let applied = setup.target.apply(EPOCH, puts, None).await.map_err(Halt::store(Side::Target))?;
    Ok(applied.iter().filter(|answer| matches!(answer, Applied::Changed)).count() as u64)
}
