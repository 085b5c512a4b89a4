//! Holding a write while the authority is unsettled, and how long that took.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{DataPath, RETRY_AFTER_MS, ServeError};

/// Held times kept for the percentiles: the last switches' writes, 80 kB.
const HELD_TIMES_MAX: usize = 10_000;

/// How long writes were held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HeldWrites {
    /// How many were held since the process began.
    pub count: u64,
    /// The median of the last ones, microseconds.
    pub p50_micros: u64,
    /// Their 99th percentile, microseconds.
    pub p99_micros: u64,
    /// The longest of them, microseconds.
    pub max_micros: u64,
}

#[derive(Default)]
pub(super) struct HeldTimes {
    last: Mutex<(u64, VecDeque<u64>)>,
}

impl HeldTimes {
    fn add(&self, held: Duration) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.0 += 1;
        if last.1.len() == HELD_TIMES_MAX {
            last.1.pop_front();
        }
        last.1.push_back(u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn summary(&self) -> HeldWrites {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut sorted: Vec<u64> = last.1.iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
        HeldWrites { count: last.0, p50_micros: rank(50), p99_micros: rank(99), max_micros: rank(100) }
    }
}

/// How long a write rests that a store refused while the journal says nothing
/// new, ms: a fence is set a moment before or after its entry is seen.
const FENCE_REST_MS: u64 = 3;

/// What ends one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// An entry of the journal.
    Entry,
    /// An entry, or a short rest: the store refused, and may not in a moment.
    EntryOrRest,
}

/// One write's waiting for the authority, over all its attempts.
#[derive(Default)]
pub(super) struct Hold {
    since: Option<Instant>,
}

impl Hold {
    /// Waits for an entry above `seq`, within what is left of the pause budget.
    pub(super) async fn wait(&mut self, path: &DataPath, seq: u64, until: Until) -> Result<(), ServeError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = Duration::from_millis(path.options.hold_ms_max).saturating_sub(since.elapsed());
        let wait = match until {
            Until::Entry => left,
            Until::EntryOrRest => left.min(Duration::from_millis(FENCE_REST_MS)),
        };
        path.member.nudge();
        match tokio::time::timeout(wait, path.member.seen_above(seq)).await {
            Ok(_) => Ok(()),
            Err(_) if wait < left => Ok(()),
            Err(_) => {
                self.end(path);
                Err(ServeError::Unavailable {
                    reason: "writes are held while the authority moves between the stores".to_owned(),
                    retry_after_ms: RETRY_AFTER_MS,
                })
            }
        }
    }

    /// The write goes on: counts how long it was held.
    pub(super) fn end(&mut self, path: &DataPath) {
        if let Some(since) = self.since.take() {
            path.held.add(since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_last_held_writes() {
        let times = HeldTimes::default();
        assert_eq!(times.summary(), HeldWrites::default());
        for n in 1..=(HELD_TIMES_MAX as u64 + 100) {
            times.add(Duration::from_micros(n));
        }
        let summary = times.summary();
        assert_eq!((summary.count, summary.max_micros), (10_100, 10_100));
        assert_eq!((summary.p50_micros, summary.p99_micros), (5_100, 10_000));
    }
}
