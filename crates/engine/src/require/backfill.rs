//! The backfill: batches inside the store, sized by the time that they take,
//! each with its checkpoint; it rests while clients or replicas suffer.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use shearwater_core::evolve::{FillCheckpoint, FillRange};
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::BackfillTotals;
use shearwater_core::lifecycle::require::{Filling, Step};
use shearwater_core::limits::FILL_ROWS_PER_TIDYING;

use super::{Helm, patiently};
use crate::brake::{LOOK_INTERVAL, too_much};
use crate::failpoint;
use crate::helm::Leash;
use crate::ledger::Halt;
use crate::progress::Progress;
use crate::throttle::Throttle;

/// Ranges of a run: enough that a checkpoint names its place well.
pub const RANGES: usize = 8;

/// Runs over the whole table at most: rows that came without a value while one
/// ran are few, and the write default leaves none in the second.
const ROUNDS_MAX: u32 = 5;

/// The note that tells how long the batches of the last run took: [`Batches`] as JSON.
pub const BATCHES_NOTE: &str = "fill-batches";

/// How long batches took, and with it for how long their rows were locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches {
    /// How many this process made.
    pub count: u64,
    /// The middle one, microseconds.
    pub p50_micros: u64,
    /// 99 of 100 took no longer, microseconds.
    pub p99_micros: u64,
    /// The longest, microseconds.
    pub max_micros: u64,
}

impl Batches {
    fn of(mut took: Vec<u64>) -> Batches {
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied();
        Batches {
            count: took.len() as u64,
            p50_micros: at(50).unwrap_or(0),
            p99_micros: at(99).unwrap_or(0),
            max_micros: took.last().copied().unwrap_or(0),
        }
    }
}

/// Journals the beginning of a run.
pub(super) async fn begin(helm: &Helm) -> Result<(), Halt> {
    let ranges = match helm.setup.evolve.needs_no_backfill() {
        true => Vec::new(),
        false => helm.setup.evolve.fill_ranges(RANGES).await.map_err(Halt::OneStore)?,
    };
    let run = uuid::Uuid::new_v4().simple().to_string();
    helm.ledger.append(Event::Require { step: Step::FillStarted { run, ranges } }).await?;
    Ok(())
}

/// Runs the journalled backfill to its end, from wherever it is.
///
/// Report: `{"run": "…", "read": n, "filled": n, "elapsed_ms": n}`.
pub(super) async fn run(helm: Helm, mut leash: Leash) -> Result<serde_json::Value, Halt> {
    let Filling::Running { run, ranges } = helm.state().filling else {
        return Err(Halt::refused(
            "backfill/not-running",
            "no backfill is running",
            "`advance` from expand begins one",
        ));
    };
    let began = Instant::now();
    let total = patiently(&mut leash, || helm.setup.evolve.estimate()).await?.records;
    let kept = patiently(&mut leash, || helm.setup.evolve.fill_checkpoints(&run)).await?;
    let before = kept.iter().map(|checkpoint| checkpoint.read).sum();
    let mut filler = Filler {
        throttle: Throttle::inside_a_store(helm.setup.spec.pace, &helm.foreground),
        progress: Progress::new(helm.setup.journal.clone(), "backfill", total, before),
        looked: None,
        untidied: 0,
        took: Vec::new(),
        totals: BackfillTotals::default(),
        helm,
    };
    filler.ranges(&mut leash, &run, &ranges, kept).await?;
    let mut round = 1;
    while patiently(&mut leash, || filler.helm.setup.evolve.count_missing()).await? > 0 {
        if round >= ROUNDS_MAX {
            return Err(Halt::refused(
                "backfill/never-ends",
                format!("after {ROUNDS_MAX} runs over the table there are records without a value again"),
                "a program empties the field beside the write default, or its triggers are switched off, or the store has \
                 none and a program writes it past the gateway; find it",
            ));
        }
        // Another name: these ranges are others, and so are their checkpoints.
        let again = format!("{run}.{round}");
        let ranges = patiently(&mut leash, || filler.helm.setup.evolve.fill_ranges(RANGES)).await?;
        filler.ranges(&mut leash, &again, &ranges, Vec::new()).await?;
        round += 1;
    }
    filler.progress.end().await?;
    let totals = BackfillTotals { elapsed_ms: began.elapsed().as_millis() as u64, ..filler.totals };
    let batches = serde_json::to_string(&Batches::of(std::mem::take(&mut filler.took)))
        .map_err(|error| Halt::Broken(error.to_string()))?;
    filler.helm.setup.journal.set_note(BATCHES_NOTE, &batches).await?;
    failpoint::hit("require-filled");
    filler.helm.ledger.append(Event::Require { step: Step::FillFinished { run: run.clone(), totals } }).await?;
    Ok(json!({ "run": run, "read": totals.read, "filled": totals.changed, "elapsed_ms": totals.elapsed_ms }))
}

/// What goes from batch to batch.
struct Filler {
    helm: Helm,
    throttle: Throttle,
    progress: Progress,
    looked: Option<Instant>,
    /// Rows filled since the store last cleaned up.
    untidied: u64,
    /// Microseconds of each batch: a run of a billion rows has some 100,000.
    took: Vec<u64>,
    totals: BackfillTotals,
}

impl Filler {
    async fn ranges(
        &mut self,
        leash: &mut Leash,
        run: &str,
        ranges: &[FillRange],
        kept: Vec<FillCheckpoint>,
    ) -> Result<(), Halt> {
        for range in ranges {
            let found = kept.iter().find(|checkpoint| checkpoint.range == range.id).cloned();
            let mut at = found.unwrap_or(FillCheckpoint { range: range.id, ..FillCheckpoint::default() });
            while !at.done {
                at = self.batch(leash, run, range, at).await?;
            }
            self.totals.read += at.read;
            self.totals.changed += at.filled;
        }
        Ok(())
    }

    async fn batch(
        &mut self,
        leash: &mut Leash,
        run: &str,
        range: &FillRange,
        at: FillCheckpoint,
    ) -> Result<FillCheckpoint, Halt> {
        self.brake(leash).await?;
        let rows_max = self.throttle.chunk_max().records;
        let evolve = self.helm.setup.evolve.clone();
        let piece = self.helm.foreground.piece();
        let began = Instant::now();
        let next = patiently(leash, || evolve.fill(run, range, &at, rows_max as u64)).await?;
        let took = began.elapsed();
        failpoint::hit("backfill-checkpointed");
        self.progress.add(next.read - at.read, next.filled - at.filled, 0).await?;
        self.took.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.untidied += next.filled - at.filled;
        if self.untidied >= FILL_ROWS_PER_TIDYING {
            self.untidied = 0;
            if let Err(error) = evolve.tidy().await {
                tracing::warn!(code = error.code(), "the store could not clean up: {}", error.message);
            }
        }
        drop(piece);
        let rest = self.throttle.wrote(rows_max, took, &self.helm.foreground);
        if rest > Duration::ZERO {
            leash.rest(rest).await?;
        }
        Ok(next)
    }

    /// Rests while the store says that this weighs too much, or does not say.
    async fn brake(&mut self, leash: &mut Leash) -> Result<(), Halt> {
        loop {
            if self.looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
                return Ok(());
            }
            let why = match self.helm.setup.evolve.load().await {
                Ok(load) => too_much(&self.helm.setup.spec.pace, load),
                Err(error) => Some(format!("its load cannot be read: {}", error.message)),
            };
            self.looked = Some(Instant::now());
            self.progress.rests(why.clone()).await?;
            if why.is_none() {
                return Ok(());
            }
            leash.pass().await?;
            leash.rest(LOOK_INTERVAL).await?;
        }
    }
}
