//! A histogram of latencies in windows of time: how many of the last requests
//! were slower than a bound, and below what 99 of 100 stayed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Buckets for each doubling: an edge is at most an eighth off.
const STEPS: u64 = 8;

/// The last bucket holds whatever takes longer than some hours.
const BUCKETS: usize = 256;

/// Windows that are kept.
const WINDOWS: usize = 64;

/// Latencies of the last windows.
pub struct Latencies {
    began: Instant,
    window: Duration,
    windows: Vec<Window>,
}

struct Window {
    /// Windows are counted from 1, so that an untouched one is never current.
    number: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

/// The latencies of some windows.
pub struct Seen([u64; BUCKETS]);

/// The bucket of a latency: below eight microseconds its own, above by the three
/// bits after the highest.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = u64::from(micros.ilog2());
    let step = (micros >> (doubling - u64::from(STEPS.ilog2()))) - STEPS;
    let at = (doubling - u64::from(STEPS.ilog2()) + 1) * STEPS + step;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Every latency of a bucket is below this.
fn edge_of(bucket: usize) -> Duration {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    Duration::from_micros(match doubling {
        0 => step + 1,
        doubling => (STEPS + step + 1) << (doubling - 1),
    })
}

impl Latencies {
    /// None yet; in windows of this length.
    pub fn new(window: Duration) -> Latencies {
        let empty = || Window { number: AtomicU64::new(0), buckets: std::array::from_fn(|_| AtomicU32::new(0)) };
        Latencies { began: Instant::now(), window, windows: (0..WINDOWS).map(|_| empty()).collect() }
    }

    /// Counts one.
    pub fn record(&self, took: Duration) {
        let number = self.number_at(Instant::now());
        let Some(window) = self.windows.get(number as usize % WINDOWS) else { return };
        if window.number.swap(number, Ordering::AcqRel) != number {
            for bucket in &window.buckets {
                bucket.store(0, Ordering::Release);
            }
        }
        window.buckets[bucket_of(took)].fetch_add(1, Ordering::AcqRel);
    }

    /// What was counted in windows that began after a moment; `None`: in all that are kept.
    pub fn since(&self, moment: Option<Instant>) -> Seen {
        let now = self.number_at(Instant::now());
        let after = moment.filter(|moment| *moment >= self.began);
        let first = after.map_or(1, |moment| self.number_at(moment) + 1).max((now + 1).saturating_sub(WINDOWS as u64));
        let mut counts = [0; BUCKETS];
        for window in &self.windows {
            if (first..=now).contains(&window.number.load(Ordering::Acquire)) {
                for (count, bucket) in counts.iter_mut().zip(&window.buckets) {
                    *count += u64::from(bucket.load(Ordering::Acquire));
                }
            }
        }
        Seen(counts)
    }

    fn number_at(&self, moment: Instant) -> u64 {
        let past = moment.saturating_duration_since(self.began).as_micros() / self.window.as_micros().max(1);
        1 + u64::try_from(past).unwrap_or(u64::MAX - 1)
    }
}

impl Seen {
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Below this 99 of 100 stayed: the upper edge of their bucket, at most an
    /// eighth above; zero when there were none.
    pub fn p99(&self) -> Duration {
        let all = self.count();
        let mut left = all - all / 100;
        for (bucket, count) in self.0.iter().enumerate() {
            if *count >= left && left > 0 {
                return edge_of(bucket);
            }
            left = left.saturating_sub(*count);
        }
        Duration::ZERO
    }

    /// How many took longer than a bound, those of the bound's own bucket not counted.
    pub fn slower_than(&self, bound: Duration) -> u64 {
        self.0[bucket_of(bound) + 1..].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_latency_is_below_its_buckets_edge_and_not_below_the_one_before() {
        let steps = (0..60_000).chain([1 << 20, (1 << 20) + 1, 3_600_000_000]);
        for micros in steps {
            let took = Duration::from_micros(micros);
            let bucket = bucket_of(took);
            assert!(took < edge_of(bucket), "{micros}");
            assert!(bucket == 0 || took >= edge_of(bucket - 1), "{micros}");
            assert!(edge_of(bucket) <= took * 9 / 8 + US, "{micros}: {:?}", edge_of(bucket));
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn p99_and_slower_ones_are_counted() {
        let latencies = Latencies::new(Duration::from_secs(60));
        assert_eq!((latencies.since(None).count(), latencies.since(None).p99()), (0, Duration::ZERO));
        for _ in 0..990 {
            latencies.record(100 * US);
        }
        for _ in 0..10 {
            latencies.record(2_000 * US);
        }
        let seen = latencies.since(None);
        assert_eq!((seen.count(), seen.slower_than(200 * US), seen.slower_than(2_000 * US)), (1_000, 10, 0));
        assert!(seen.p99() >= 100 * US && seen.p99() <= 113 * US, "{:?}", seen.p99());
        latencies.record(2_000 * US);
        assert!(latencies.since(None).p99() >= 2_000 * US, "eleven of 1,001 are more than one of a hundred");
    }

    #[test]
    fn a_window_that_had_begun_before_the_moment_is_left_out() {
        let latencies = Latencies::new(Duration::from_secs(60));
        latencies.record(US);
        assert_eq!(latencies.since(Some(Instant::now())).count(), 0);
        assert_eq!(latencies.since(None).count(), 1);
    }

    #[test]
    fn windows_are_used_again() {
        let latencies = Latencies::new(Duration::from_nanos(1_000));
        for _ in 0..1_000 {
            latencies.record(US);
        }
        assert!(latencies.since(None).count() < 1_000, "what is long ago is forgotten");
    }
}
