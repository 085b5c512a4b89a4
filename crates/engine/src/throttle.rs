//! Pace: how large a chunk is and how long background work rests between two,
//! from what the writes cost and from what clients feel meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shearwater_core::limits::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX};
use shearwater_core::spec::Pace;
use shearwater_core::store::ChunkMax;

/// Buckets of the latency histogram: bucket `i` holds latencies below `2^i`
/// microseconds, so 40 reach beyond a week.
const BUCKETS: usize = 40;

/// How long a latency counts: short, so that the pace recovers soon after a
/// spike. A reading covers between one and two windows.
const WINDOW: Duration = Duration::from_secs(1);

/// Fewer foreground writes than this say nothing about a p99.
const SAMPLES_MIN: u64 = 20;

/// Latencies of clients' writes, fed by the data path of this process and read
/// by the backfill's throttle. Lock-free on the feeding side.
pub struct Foreground {
    began: Instant,
    windows: [Window; 2],
}

struct Window {
    number: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Foreground {
    fn default() -> Foreground {
        let window = || Window { number: AtomicU64::new(0), buckets: std::array::from_fn(|_| AtomicU64::new(0)) };
        Foreground { began: Instant::now(), windows: [window(), window()] }
    }
}

impl Foreground {
    /// An empty histogram.
    pub fn new() -> Foreground {
        Foreground::default()
    }

    /// Counts one client's write that took this long.
    pub fn record(&self, took: Duration) {
        let number = self.window_number();
        let window = &self.windows[(number % 2) as usize];
        if window.number.swap(number, Ordering::AcqRel) != number {
            for bucket in &window.buckets {
                bucket.store(0, Ordering::Release);
            }
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.leading_zeros() as usize).min(BUCKETS - 1);
        window.buckets[bucket].fetch_add(1, Ordering::AcqRel);
    }

    /// The latency below which 99 % of the last one or two seconds' writes
    /// stayed (upper edge of its bucket); `None` when there were too few.
    pub fn p99(&self) -> Option<Duration> {
        let now = self.window_number();
        let mut counts = [0u64; BUCKETS];
        for window in &self.windows {
            if window.number.load(Ordering::Acquire) + 1 >= now {
                for (count, bucket) in counts.iter_mut().zip(&window.buckets) {
                    *count += bucket.load(Ordering::Acquire);
                }
            }
        }
        let total: u64 = counts.iter().sum();
        if total < SAMPLES_MIN {
            return None;
        }
        let mut left = total - total / 100;
        for (i, count) in counts.iter().enumerate() {
            if *count >= left {
                return Some(Duration::from_micros(1 << i));
            }
            left -= count;
        }
        None
    }

    /// Windows are counted from 1, so that an untouched window (0) is never the current one.
    fn window_number(&self) -> u64 {
        1 + (self.began.elapsed().as_millis() / WINDOW.as_millis()) as u64
    }
}

/// The smallest chunk: below it the commit costs more than the records.
const CHUNK_RECORDS_MIN: usize = 16;

/// The first chunk, before anything was measured.
const CHUNK_RECORDS_FIRST: usize = 256;

/// The first batch inside a store: some milliseconds on any.
const INSIDE_RECORDS_FIRST: usize = 1_000;

/// The largest batch inside a store, however fast the last one was: one that
/// suddenly takes three times as long (a checkpoint of the server's) still ends
/// within a tenth of a second. Measured, larger ones are hardly faster.
const INSIDE_RECORDS_MAX: usize = 10_000;

/// How far foreground pressure can slow the work down: to 1/32, because it must
/// still end. It does so by rests: chunks that shrank as much again would pay
/// for their commits alone.
const PRESSURE_MAX: u32 = 5;

/// How much shorter a chunk shall be while clients are pressed: a half, so that
/// what it locks is free again sooner.
const PRESSED_CHUNK_SHARE: u32 = 2;

/// The longest rest after one chunk, so that a pause, a stop or calm is noticed.
const REST_MAX: Duration = Duration::from_secs(2);

/// Chooses chunk sizes and rests for the workers of one activity.
pub struct Throttle {
    pace: Pace,
    workers: usize,
    chunk_records: AtomicUsize,
    records_max: usize,
    pressure: Mutex<Pressure>,
}

struct Pressure {
    level: u32,
    changed: Instant,
}

impl Throttle {
    /// A throttle for a declared pace.
    pub fn new(pace: Pace) -> Throttle {
        Throttle {
            pace,
            workers: pace.workers.max(1),
            chunk_records: AtomicUsize::new(CHUNK_RECORDS_FIRST),
            records_max: CHUNK_RECORDS_MAX,
            pressure: Mutex::new(Pressure { level: 0, changed: Instant::now() }),
        }
    }

    /// A throttle for batches that a store makes inside of itself, whose rows do
    /// not pass through our memory: only their time bounds them.
    pub fn inside_a_store(pace: Pace) -> Throttle {
        let first = AtomicUsize::new(INSIDE_RECORDS_FIRST);
        Throttle { chunk_records: first, records_max: INSIDE_RECORDS_MAX, ..Throttle::new(pace) }
    }

    /// How much the next chunk may hold.
    pub fn chunk_max(&self) -> ChunkMax {
        ChunkMax {
            records: self.chunk_records.load(Ordering::Relaxed),
            // Every worker has up to four chunks in its pipeline.
            bytes: (CHUNK_BYTES_MAX / (2 * self.workers)).max(64 * 1024),
        }
    }

    /// Learns from one chunk's write and answers how long to rest after it.
    pub fn wrote(&self, records: usize, took: Duration, foreground_p99: Option<Duration>) -> Duration {
        let level = self.pressure(foreground_p99);
        self.resize(records, took, level);
        let duty = u32::from(self.pace.duty_percent_max.clamp(1, 100));
        let rest = took * (100 - duty) / duty + took * ((1 << level) - 1);
        rest.min(REST_MAX)
    }

    /// 0 when clients are well; grows by one for each window in which they are not.
    fn pressure(&self, foreground_p99: Option<Duration>) -> u32 {
        let Ok(mut pressure) = self.pressure.lock() else { return 0 };
        let over = foreground_p99.is_some_and(|p99| p99 > Duration::from_millis(self.pace.foreground_ms_max));
        if pressure.changed.elapsed() >= WINDOW / 2 {
            let level = if over { (pressure.level + 1).min(PRESSURE_MAX) } else { pressure.level.saturating_sub(1) };
            *pressure = Pressure { level, changed: Instant::now() };
        } else if over && pressure.level == 0 {
            *pressure = Pressure { level: 1, changed: Instant::now() };
        }
        pressure.level
    }

    /// Grows or shrinks the chunk towards its target time, at most by half or double.
    fn resize(&self, records: usize, took: Duration, level: u32) {
        if records == 0 {
            return;
        }
        let share = if level > 0 { PRESSED_CHUNK_SHARE } else { 1 };
        let target = Duration::from_millis(self.pace.chunk_ms_target.max(1)) / share;
        let ratio = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        let current = self.chunk_records.load(Ordering::Relaxed);
        // A chunk that was cut short by bytes or by the range's end says nothing about growing.
        if ratio > 1.0 && records * 2 < current {
            return;
        }
        let next = ((current as f64) * ratio) as usize;
        self.chunk_records.store(next.clamp(CHUNK_RECORDS_MIN, self.records_max), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(duty_percent_max: u8) -> Pace {
        Pace { duty_percent_max, ..Pace::default() }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn p99_is_the_upper_edge_of_its_bucket() {
        let foreground = Foreground::new();
        assert_eq!(foreground.p99(), None, "nothing recorded");
        for _ in 0..990 {
            foreground.record(Duration::from_micros(100));
        }
        assert_eq!(foreground.p99(), Some(Duration::from_micros(128)));
        for _ in 0..30 {
            foreground.record(Duration::from_micros(200_000));
        }
        assert_eq!(foreground.p99(), Some(Duration::from_micros(262_144)));
    }

    #[test]
    fn chunks_grow_and_shrink_towards_the_target_within_bounds() {
        let throttle = Throttle::new(pace(100));
        for _ in 0..20 {
            let records = throttle.chunk_max().records;
            throttle.wrote(records, MS, None);
        }
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_MAX, "fast writes");
        for _ in 0..20 {
            let records = throttle.chunk_max().records;
            throttle.wrote(records, 5_000 * MS, None);
        }
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_MIN, "slow writes");
    }

    #[test]
    fn a_short_last_chunk_does_not_grow_the_next() {
        let throttle = Throttle::new(pace(100));
        throttle.wrote(3, MS, None);
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_FIRST);
    }

    #[test]
    fn duty_decides_the_rest() {
        for (duty, took_ms, rest_ms) in [(100, 90, 0), (90, 90, 10), (50, 30, 30), (10, 10, 90)] {
            assert_eq!(Throttle::new(pace(duty)).wrote(100, took_ms * MS, None), rest_ms * MS, "duty {duty}");
        }
    }

    /// A store whose commit costs 10 ms and whose records cost 50 µs each.
    fn records_per_s(foreground_p99: Option<Duration>) -> f64 {
        let throttle = Throttle::new(pace(100));
        let (mut records, mut spent) = (0, Duration::ZERO);
        for round in 0..200 {
            if let Ok(mut pressure) = throttle.pressure.lock() {
                // As if each chunk took a window of its own.
                pressure.changed = Instant::now().checked_sub(WINDOW).unwrap();
            }
            let chunk = throttle.chunk_max().records;
            let took = 10 * MS + Duration::from_micros(50) * chunk as u32;
            let rest = throttle.wrote(chunk, took, foreground_p99);
            if round >= 100 {
                records += chunk;
                spent += took + rest;
            }
        }
        records as f64 / spent.as_secs_f64()
    }

    #[test]
    fn pressed_work_still_ends() {
        let (calm, pressed) = (records_per_s(Some(20 * MS)), records_per_s(Some(500 * MS)));
        let slower = calm / pressed;
        assert!((30.0..=64.0).contains(&slower), "{slower} times slower: {calm} to {pressed} records/s");
    }

    #[test]
    fn slow_clients_slow_the_work_down() {
        let throttle = Throttle::new(pace(100));
        let calm = throttle.wrote(256, 50 * MS, Some(20 * MS));
        let pressed = throttle.wrote(256, 50 * MS, Some(500 * MS));
        assert_eq!((calm, pressed), (Duration::ZERO, 50 * MS));
        assert!(throttle.chunk_max().records < CHUNK_RECORDS_FIRST, "chunks shrink too");
    }
}
