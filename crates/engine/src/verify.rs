//! Verification: every record of both stores, by hash of the canonical v2
//! record, in chunks, while clients write. A difference counts only when the
//! key is clean and its stamp does not move while it is read again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use shearwater_core::compare::FieldDifference;
use shearwater_core::error::Policy;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::VerifyTotals;
use shearwater_core::store::{ChunkMax, Cursor, ScanRange, Side};
use tokio::task::JoinSet;

use crate::backfill::RANGES_PER_WORKER;
use crate::dead_letters::now_ms;
use crate::helm::{Course, Helm, Leash, patiently};
use crate::ledger::Halt;
use crate::progress::Progress;
use crate::recheck::{Pair, Recheck, Settled};
use crate::twin::{ScannedSource, ScannedTarget, compare_chunk, extras, forward_chunk, image_hash, scan_target};

/// The note that keeps the findings of the last verification: [`Findings`] as JSON.
pub const MISMATCHES_NOTE: &str = "mismatches";

/// Findings kept with their details; beyond that they are only counted, so
/// that a wholly different store cannot fill the journal.
pub const FINDINGS_KEPT_MAX: usize = 5_000;

/// Findings that the report of a command shows.
const FINDINGS_SHOWN_MAX: usize = 20;

/// Records in one chunk: two stores' versions of them are in memory at once.
const CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 1024 * 1024 };

/// Keys set aside because they were being written; settled early beyond this,
/// so that memory stays flat.
const ASIDE_KEYS_MAX: usize = 20_000;

/// Looks at keys that are being written before they are given up as unsettled,
/// and the pause between two: together longer than a follower usually lags.
const SETTLE_ATTEMPTS_MAX: u32 = 60;
const SETTLE_POLL: Duration = Duration::from_millis(25);

/// What kind of mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In the source only.
    Missing,
    /// In the target only.
    Extra,
    /// In both, different.
    Different,
    /// The mapping or a store's layout refuses it.
    Refused,
}

/// One mismatch. Keys are key texts; there are no other row values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The key in the source's shape, when it has one.
    pub source_key: Option<String>,
    /// The key in the target's shape, when it has one.
    pub target_key: Option<String>,
    /// The authority's stamp.
    pub stamp: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The fields that differ: as the authority has them is `expected`.
    pub fields: Vec<FieldDifference>,
}

/// What the last verification found, for drill-down and repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// When it ended, ms since 1970.
    pub at_ms: i64,
    /// Which store was the authority.
    pub authority: Side,
    /// The exact counts.
    pub totals: VerifyTotals,
    /// Keys that were being written all the time, or wait for the follower: not counted.
    pub unsettled: u64,
    /// Sum mod 2^128 of the hashes of the source's records in v2 shape, hexadecimal.
    pub source_hash: String,
    /// The same of the target's; equal when nothing is written meanwhile and all is equal.
    pub target_hash: String,
    /// The findings, at most [`FINDINGS_KEPT_MAX`].
    pub findings: Vec<Finding>,
}

/// Verifies both stores and journals the outcome.
///
/// Report: `{"compared": n, "mismatches": n, "missing": n, "extra": n, "different": n, "refused": n,
/// "unsettled": n, "source_hash": "…", "target_hash": "…", "elapsed_ms": n, "findings": [first 20]}`.
pub async fn run(helm: Helm, leash: Leash) -> Result<serde_json::Value, Halt> {
    let Some(course) = helm.course() else {
        return Err(Halt::refused(
            "phase/no-follower",
            "no store follows in this phase: there is nothing to be equal",
            "`advance` first",
        ));
    };
    let began = Instant::now();
    let mut found = compare(&helm, course, leash).await?;
    found.totals.elapsed_ms = began.elapsed().as_millis() as u64;
    let text = serde_json::to_string(&found).map_err(|error| Halt::Broken(error.to_string()))?;
    helm.setup.journal.set_note(MISMATCHES_NOTE, &text).await?;
    helm.ledger.append(Event::Verified { totals: found.totals }).await?;
    Ok(report(&found))
}

fn report(found: &Findings) -> serde_json::Value {
    let totals = &found.totals;
    json!({
        "compared": totals.compared, "mismatches": totals.mismatches(), "missing": totals.missing,
        "extra": totals.extra, "different": totals.different, "refused": totals.refused,
        "unsettled": found.unsettled, "source_hash": found.source_hash, "target_hash": found.target_hash,
        "elapsed_ms": totals.elapsed_ms,
        "findings": found.findings.iter().take(FINDINGS_SHOWN_MAX).collect::<Vec<_>>(),
    })
}

/// The last verification's findings, if there was one.
pub async fn last(setup: &crate::Setup) -> Result<Option<Findings>, Halt> {
    let Some(text) = setup.journal.note(MISMATCHES_NOTE).await? else { return Ok(None) };
    let damaged = |error: serde_json::Error| shearwater_core::journal::JournalError::Damaged(error.to_string());
    Ok(Some(serde_json::from_str(&text).map_err(damaged)?))
}

/// Compares both stores; journals nothing.
pub async fn compare(helm: &Helm, course: Course, leash: Leash) -> Result<Findings, Halt> {
    let estimate = helm.setup.source.estimate().await.map_err(Halt::store(Side::Source))?;
    let pass = Arc::new(Pass {
        recheck: Recheck { helm: helm.clone(), course },
        helm: helm.clone(),
        progress: Progress::new(helm.setup.journal.clone(), "verify", estimate.records * 2, 0),
        tally: Mutex::new(Tally::default()),
    });
    pass.both_directions(&leash).await?;
    pass.settle_aside(leash).await?;
    pass.progress.end().await?;
    let tally = std::mem::take(&mut *pass.tally()?);
    Ok(Findings {
        at_ms: now_ms(),
        authority: course.authority,
        totals: tally.totals,
        unsettled: tally.unsettled,
        source_hash: format!("{:032x}", tally.source_hash),
        target_hash: format!("{:032x}", tally.target_hash),
        findings: tally.findings,
    })
}

#[derive(Default)]
struct Tally {
    totals: VerifyTotals,
    unsettled: u64,
    source_hash: u128,
    target_hash: u128,
    findings: Vec<Finding>,
    aside: Vec<Pair>,
}

impl Tally {
    fn add(&mut self, finding: Finding) {
        match finding.kind {
            Kind::Missing => self.totals.missing += 1,
            Kind::Extra => self.totals.extra += 1,
            Kind::Different => self.totals.different += 1,
            Kind::Refused => self.totals.refused += 1,
        }
        if self.findings.len() < FINDINGS_KEPT_MAX {
            self.findings.push(finding);
        }
    }
}

/// A chunk that was looked at: where to go on, its records, and its suspects.
type Seen = (Option<Cursor>, u64, Vec<Pair>);

/// Runs work of many records where it does not hold up the runtime's other tasks.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Halt> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Halt::Broken(error.to_string()))
}

struct Pass {
    helm: Helm,
    recheck: Recheck,
    progress: Progress,
    tally: Mutex<Tally>,
}

impl Pass {
    fn tally(&self) -> Result<std::sync::MutexGuard<'_, Tally>, Halt> {
        self.tally.lock().map_err(|_| Halt::Broken("a verification worker died".into()))
    }

    /// First every source record against the target, then every target record
    /// against the source, so that extras are found.
    async fn both_directions(self: &Arc<Self>, leash: &Leash) -> Result<(), Halt> {
        for side in [Side::Source, Side::Target] {
            let workers = self.helm.setup.spec.pace.workers.max(1);
            let ranges = self.helm.setup.store(side).split(workers * RANGES_PER_WORKER).await;
            let ranges: VecDeque<ScanRange> = ranges.map_err(Halt::store(side))?.into();
            let queue = Arc::new(Mutex::new(ranges));
            let mut working = JoinSet::new();
            for _ in 0..workers {
                working.spawn(self.clone().work(side, queue.clone(), leash.clone()));
            }
            while let Some(worked) = working.join_next().await {
                worked.map_err(|error| Halt::Broken(error.to_string()))??;
            }
        }
        Ok(())
    }

    async fn work(
        self: Arc<Self>,
        side: Side,
        queue: Arc<Mutex<VecDeque<ScanRange>>>,
        mut leash: Leash,
    ) -> Result<(), Halt> {
        loop {
            let next = queue.lock().map_err(|_| Halt::Broken("a worker died".into()))?.pop_front();
            let Some(range) = next else { return Ok(()) };
            let mut after: Option<Cursor> = None;
            loop {
                let found_before = self.tally()?.totals.mismatches();
                let (next, read, suspects) = match side {
                    Side::Source => self.source_chunk(&range, after.as_ref(), &mut leash).await?,
                    Side::Target => self.target_chunk(&range, after.as_ref(), &mut leash).await?,
                };
                after = next;
                self.look_again(side, suspects, &mut leash).await?;
                let found = self.tally()?.totals.mismatches().saturating_sub(found_before);
                self.progress.add(read, 0, found).await?;
                if after.is_none() {
                    break;
                }
            }
        }
    }

    /// The next source chunk: where to go on, its records, and the pairs that
    /// do not look equal.
    async fn source_chunk(&self, range: &ScanRange, after: Option<&Cursor>, leash: &mut Leash) -> Result<Seen, Halt> {
        let (source, target) = (&self.helm.setup.source, &self.helm.setup.target);
        let chunk = patiently(leash, Side::Source, || source.scan(range, after, CHUNK)).await?;
        let (next, read) = (chunk.next, chunk.records.len() as u64);
        let mapping = self.helm.setup.mapping.clone();
        let ScannedSource { expected, mut suspects, unreadable, hash } =
            off_the_runtime(move || forward_chunk(&mapping, chunk.records)).await?;
        let keys: Vec<_> = expected.iter().map(|e| e.target_key.clone()).collect();
        let mut target_hash = 0;
        match patiently(leash, Side::Target, || target.fetch_many(&keys)).await {
            Ok(found) => {
                let compared = off_the_runtime(move || compare_chunk(expected, &found)).await?;
                suspects.extend(compared.differing);
                target_hash = compared.hash;
            }
            // A row that cannot be read: every key of the chunk is looked at by itself.
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => {
                suspects.extend(expected.into_iter().map(|e| e.pair()));
            }
            Err(halt) => return Err(halt),
        }
        let mut tally = self.tally()?;
        tally.totals.compared += read;
        tally.source_hash = tally.source_hash.wrapping_add(hash);
        tally.target_hash = tally.target_hash.wrapping_add(target_hash);
        unreadable.into_iter().for_each(|finding| tally.add(finding));
        Ok((next, read, suspects))
    }

    /// The next target chunk: where to go on, its records, and the pairs that
    /// have no source record. What the records hold was compared from the
    /// source's side; only those that it does not have are read here.
    async fn target_chunk(&self, range: &ScanRange, after: Option<&Cursor>, leash: &mut Leash) -> Result<Seen, Halt> {
        let (source, target) = (&self.helm.setup.source, &self.helm.setup.target);
        let chunk = patiently(leash, Side::Target, || target.scan_keys(range, after, CHUNK)).await?;
        let (next, read) = (chunk.next, chunk.keys.len() as u64);
        let mapping = self.helm.setup.mapping.clone();
        let authority = self.recheck.course.authority;
        let ScannedTarget { pairs, orphans } =
            off_the_runtime(move || scan_target(&mapping, authority, chunk.keys)).await?;
        let keys: Vec<_> = pairs.iter().map(|pair| pair.source.clone()).collect();
        let extra = match patiently(leash, Side::Source, || source.present(&keys)).await {
            Ok(present) => extras(pairs, &present),
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => pairs,
            Err(halt) => return Err(halt),
        };
        let hash = self.hash_of(&extra, leash).await?;
        let mut tally = self.tally()?;
        tally.target_hash = tally.target_hash.wrapping_add(hash);
        orphans.into_iter().for_each(|finding| tally.add(finding));
        Ok((next, read, extra))
    }

    /// The sum of the hashes of what the target holds under these pairs.
    async fn hash_of(&self, pairs: &[Pair], leash: &mut Leash) -> Result<u128, Halt> {
        let keys: Vec<_> = pairs.iter().map(|pair| pair.target.clone()).collect();
        if keys.is_empty() {
            return Ok(0);
        }
        let target = &self.helm.setup.target;
        match patiently(leash, Side::Target, || target.fetch_many(&keys)).await {
            Ok(found) => Ok(found.iter().filter_map(|f| f.image.as_ref()).map(image_hash).fold(0, u128::wrapping_add)),
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => Ok(0),
            Err(halt) => Err(halt),
        }
    }

    /// Reads suspects again; what is being written right now is set aside.
    async fn look_again(&self, side: Side, suspects: Vec<Pair>, leash: &mut Leash) -> Result<(), Halt> {
        if suspects.is_empty() {
            return Ok(());
        }
        let settled = self.recheck.settle(suspects, leash).await?;
        let full = self.take_in(side, settled)?;
        if full {
            self.settle_aside(leash.clone()).await?;
        }
        Ok(())
    }

    /// Counts findings. Each direction counts its own kinds, so that nothing counts twice.
    fn take_in(&self, side: Side, settled: Settled) -> Result<bool, Halt> {
        let mut tally = self.tally()?;
        for finding in settled.findings {
            if (finding.kind == Kind::Extra) == (side == Side::Target) {
                tally.add(finding);
            }
        }
        tally.aside.extend(settled.moving.into_iter().map(|pair| Pair { found_in: side, ..pair }));
        Ok(tally.aside.len() >= ASIDE_KEYS_MAX)
    }

    /// Looks at what was set aside until it settles, for a bounded time.
    async fn settle_aside(&self, mut leash: Leash) -> Result<(), Halt> {
        for attempt in 0..=SETTLE_ATTEMPTS_MAX {
            let aside = std::mem::take(&mut self.tally()?.aside);
            if aside.is_empty() {
                return Ok(());
            }
            if attempt == SETTLE_ATTEMPTS_MAX {
                self.tally()?.unsettled += aside.len() as u64;
                return Ok(());
            }
            if attempt > 0 {
                leash.rest(SETTLE_POLL).await?;
            }
            let (source, target): (Vec<Pair>, Vec<Pair>) =
                aside.into_iter().partition(|pair| pair.found_in == Side::Source);
            for (side, pairs) in [(Side::Source, source), (Side::Target, target)] {
                let settled = self.recheck.settle(pairs, &mut leash).await?;
                self.take_in(side, settled)?;
            }
        }
        Ok(())
    }
}
