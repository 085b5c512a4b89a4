//! The reconciler: brings every dirty key to the follower, oldest mark first,
//! in every phase in which a store follows, also while the migration is paused.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shearwater_core::error::Policy;
use shearwater_core::store::DirtyMark;
use shearwater_core::{Key, Stamp};

use crate::follow::{FOLLOW_KEYS_MAX, follow};
use crate::helm::{Course, Helm, backoff};
use crate::ledger::Halt;

/// Refused keys held back in one pass to be tried together at its end, so that
/// unique values that pass between them are no refusal.
const HELD_KEYS_MAX: usize = 10_000;

/// Dead letters tried again in one round: each that is refused once more is a
/// durable write of the journal.
const RETRY_KEYS_MAX: usize = 20;

/// Batches smaller than this say nothing about how fast marks are drained.
const RATE_KEYS_MIN: usize = 50;

/// What a pass over the marks did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Marks looked at.
    pub marks: u64,
    /// Marks that rest because of a dead letter.
    pub resting: u64,
    /// The follower changed for these.
    pub changed: u64,
    /// Marks cleared.
    pub cleared: u64,
    /// Refused, and kept as dead letters.
    pub refused: u64,
}

/// Marks drained for each second, and what a fence costs, as measured last.
#[derive(Debug, Default)]
pub struct DrainRate {
    keys_per_s: AtomicU64,
    fence_micros: AtomicU64,
}

/// Assumed until something was measured: slow enough not to promise too much.
const KEYS_PER_S_ASSUMED: u64 = 2_000;

/// Assumed cost of moving a fence until one was measured: a few disk flushes.
const FENCE_ASSUMED: Duration = Duration::from_millis(10);

impl DrainRate {
    /// Learns from a batch; a running mean over about four batches.
    pub fn drained(&self, keys: usize, took: Duration) {
        if keys < RATE_KEYS_MIN {
            return;
        }
        let now = (keys as f64 / took.as_secs_f64().max(1e-6)) as u64;
        let before = self.keys_per_s.load(Ordering::Relaxed);
        self.keys_per_s.store(if before == 0 { now } else { (before * 3 + now) / 4 }, Ordering::Relaxed);
    }

    /// Learns what setting a fence took.
    pub fn fenced(&self, took: Duration) {
        self.fence_micros.store(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The pause that draining this many keys between two fences would be.
    pub fn pause(&self, keys: u64) -> Duration {
        let per_s = match self.keys_per_s.load(Ordering::Relaxed) {
            0 => KEYS_PER_S_ASSUMED,
            measured => measured,
        };
        let fence = match self.fence_micros.load(Ordering::Relaxed) {
            0 => FENCE_ASSUMED,
            measured => Duration::from_micros(measured),
        };
        // Two fences, three journal entries, at about the same cost each.
        Duration::from_secs_f64(keys as f64 / per_s as f64) + fence * 5
    }
}

/// Which marks a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All.
    All,
    /// Those up to this stamp: younger ones are most likely being written to
    /// the follower by the client's own request right now.
    UpTo(Stamp),
}

/// Runs until the coordinator's lease is lost. Never returns for a store's error.
pub async fn run(helm: Helm) -> Halt {
    let mut failures = 0;
    let mut seen = Stamp::ZERO;
    loop {
        if let Err(halt) = helm.check() {
            return halt;
        }
        let Some(course) = helm.course() else {
            wait(&helm).await;
            continue;
        };
        match round(&helm, course, &mut seen).await {
            Ok(()) => failures = 0,
            Err(Halt::Store { error, side }) => {
                // A stale epoch means only that the phase moved on: look again at once.
                if error.policy() != Policy::Reroute {
                    tracing::warn!(?side, code = error.code(), "reconciler: {}", error.message);
                    tokio::time::sleep(backoff(failures)).await;
                    failures += 1;
                } else {
                    tokio::time::sleep(helm.poll).await;
                }
            }
            Err(halt) => return halt,
        }
    }
}

/// Waits for work, then brings the marks along: all of them when woken, else
/// those that were there at the last look.
async fn round(helm: &Helm, course: Course, seen: &mut Stamp) -> Result<(), Halt> {
    let take = match wait(helm).await {
        Woken::Yes => Take::All,
        Woken::No => Take::UpTo(*seen),
    };
    let marks = helm.setup.store(course.authority).dirty(None, FOLLOW_KEYS_MAX).await;
    let marks = marks.map_err(Halt::store(course.authority))?;
    if let Some(last) = marks.last() {
        *seen = last.stamp;
        pass(helm, course, take).await?;
    }
    retry_due(helm, course).await
}

/// Tries dead letters again whose time has come.
async fn retry_due(helm: &Helm, course: Course) -> Result<(), Halt> {
    let parts = helm.setup.store(course.authority).layout().key_fields().len();
    let due = {
        let mut letters = helm.letters.lock().await;
        letters.refresh(course.authority).await?;
        letters.due(parts, RETRY_KEYS_MAX)
    };
    if !due.is_empty() {
        follow(helm, course, &due).await?.bury(helm, course).await?;
    }
    Ok(())
}

enum Woken {
    Yes,
    No,
}

async fn wait(helm: &Helm) -> Woken {
    match tokio::time::timeout(helm.poll, helm.member.reconciler_woken()).await {
        Ok(()) => Woken::Yes,
        Err(_) => Woken::No,
    }
}

/// One pass over the marks, oldest first. Refused records are tried once more
/// together at its end, then become dead letters.
pub async fn pass(helm: &Helm, course: Course, take: Take) -> Result<Pass, Halt> {
    helm.letters.lock().await.refresh(course.authority).await?;
    let authority = helm.setup.store(course.authority);
    let mut done = Pass::default();
    let mut held: HashSet<Key> = HashSet::new();
    let mut after = None;
    loop {
        let marks = authority.dirty(after, FOLLOW_KEYS_MAX).await.map_err(Halt::store(course.authority))?;
        let Some(last) = marks.last() else { break };
        after = Some(last.stamp);
        let end = marks.len() < FOLLOW_KEYS_MAX || past(take, last.stamp);
        let keys = awake(helm, take, marks, &mut done).await;
        let began = Instant::now();
        let followed = follow(helm, course, &keys).await?;
        helm.drain.drained(keys.len(), began.elapsed());
        done.changed += followed.changed;
        done.cleared += followed.cleared;
        held.extend(followed.refused.into_iter().map(|(key, _)| key));
        if held.len() >= HELD_KEYS_MAX {
            try_held(helm, course, &mut held, &mut done).await?;
        }
        if end {
            break;
        }
    }
    try_held(helm, course, &mut held, &mut done).await?;
    Ok(done)
}

fn past(take: Take, stamp: Stamp) -> bool {
    matches!(take, Take::UpTo(most) if stamp >= most)
}

/// The keys of marks that do not rest.
async fn awake(helm: &Helm, take: Take, marks: Vec<DirtyMark>, done: &mut Pass) -> Vec<Key> {
    let letters = helm.letters.lock().await;
    let mut keys = Vec::with_capacity(marks.len());
    for mark in marks {
        if matches!(take, Take::UpTo(most) if mark.stamp > most) {
            continue;
        }
        done.marks += 1;
        if letters.rests(&mark.key, mark.stamp) {
            done.resting += 1;
        } else {
            keys.push(mark.key);
        }
    }
    keys
}

async fn try_held(helm: &Helm, course: Course, held: &mut HashSet<Key>, done: &mut Pass) -> Result<(), Halt> {
    if held.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = held.drain().collect();
    let followed = follow(helm, course, &keys).await?;
    followed.bury(helm, course).await?;
    done.changed += followed.changed;
    done.cleared += followed.cleared;
    done.refused += followed.refused.len() as u64;
    Ok(())
}
