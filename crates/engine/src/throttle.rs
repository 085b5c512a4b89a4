//! Pace: how large a chunk is and how long background work rests between two,
//! from what the writes cost and from what clients feel meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shearwater_core::limits::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX};
use shearwater_core::spec::Pace;
use shearwater_core::store::ChunkMax;

use crate::foreground::{Felt, Foreground};

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

/// The smallest batch inside a store: in fewer rows nobody waits less for them.
const INSIDE_RECORDS_MIN: usize = 100;

/// How far foreground pressure can slow the work down: two levels for each
/// halving of the duty, so to 1/32, because it must still end.
const PRESSURE_MAX: u32 = 10;

/// The level at which work begins that clients must hardly feel: it becomes
/// faster in seconds when there is room, and nobody felt how much there is.
const PRESSURE_FIRST: u32 = 6;

/// The shortest time that a chunk shall take while clients are pressed: a half of
/// the target. Chunks that pass through us and shrank more would pay for their
/// commits alone.
const PRESSED_SHARE_MIN: u32 = 2;

/// The same inside a store, where a batch costs little besides its rows.
const INSIDE_PRESSED_SHARE_MIN: u32 = 64;

/// When it is not known any more how long requests take without the work: a
/// pause that is long enough to learn it.
const LISTENING: Duration = Duration::from_secs(1);

/// Between two pauses to listen: so little is lost by them.
const LISTENING_INTERVAL: Duration = Duration::from_secs(60);

/// How long clients shall be left alone by an idle level, before the next.
const ALONE: Duration = Duration::from_millis(500);

/// The longest rest after one chunk, so that a pause, a stop or calm is noticed.
const REST_MAX: Duration = Duration::from_secs(2);

/// Chooses chunk sizes and rests for the workers of one activity.
pub struct Throttle {
    pace: Pace,
    workers: usize,
    chunk_records: AtomicUsize,
    records: (usize, usize),
    pressed_share_min: u32,
    pressure: Mutex<Pressure>,
}

struct Pressure {
    level: u32,
    changed: Instant,
    listened: Option<Instant>,
}

impl Throttle {
    /// A throttle for a declared pace.
    pub fn new(pace: Pace) -> Throttle {
        Throttle {
            pace,
            workers: pace.workers.max(1),
            chunk_records: AtomicUsize::new(CHUNK_RECORDS_FIRST),
            records: (CHUNK_RECORDS_MIN, CHUNK_RECORDS_MAX),
            pressed_share_min: PRESSED_SHARE_MIN,
            pressure: Mutex::new(Pressure { level: 0, changed: Instant::now(), listened: None }),
        }
    }

    /// A throttle for batches that a store makes inside of itself, whose rows do
    /// not pass through our memory: only their time bounds them. While clients
    /// ask it begins gently.
    pub fn inside_a_store(pace: Pace, foreground: &Foreground) -> Throttle {
        let is_gentle = pace.foreground_percent_max.is_some() && foreground.is_asked();
        let (first, level) = if is_gentle { (INSIDE_RECORDS_MIN, PRESSURE_FIRST) } else { (INSIDE_RECORDS_FIRST, 0) };
        let throttle = Throttle::new(pace);
        if let Ok(mut pressure) = throttle.pressure.lock() {
            pressure.level = level;
        }
        Throttle {
            chunk_records: AtomicUsize::new(first),
            records: (INSIDE_RECORDS_MIN, INSIDE_RECORDS_MAX),
            pressed_share_min: INSIDE_PRESSED_SHARE_MIN,
            ..throttle
        }
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
    pub fn wrote(&self, records: usize, took: Duration, foreground: &Foreground) -> Duration {
        let Ok(mut pressure) = self.pressure.lock() else { return Duration::ZERO };
        let felt = foreground.felt(pressure.changed, &self.pace);
        pressure.heed(felt);
        self.resize(records, took, pressure.level);
        let listening = self.pace.foreground_percent_max.is_some()
            && !foreground.knows_the_usual()
            && pressure.listened.is_none_or(|at| at.elapsed() >= LISTENING_INTERVAL);
        if listening {
            pressure.listened = Some(Instant::now());
            return LISTENING;
        }
        self.rest(took, pressure.level)
    }

    fn rest(&self, took: Duration, level: u32) -> Duration {
        let duty = u32::from(self.pace.duty_percent_max.clamp(1, 100));
        let rest = took * (100 - duty) / duty + took * ((1 << (level / 2)) - 1);
        rest.min(REST_MAX)
    }

    /// Grows or shrinks the chunk towards its target time, at most by half or double.
    fn resize(&self, records: usize, took: Duration, level: u32) {
        if records == 0 {
            return;
        }
        let share = (1 << level).min(self.pressed_share_min);
        let target = Duration::from_millis(self.pace.chunk_ms_target.max(1)) / share;
        let ratio = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        let current = self.chunk_records.load(Ordering::Relaxed);
        // A chunk that was cut short by bytes or by the range's end says nothing about growing.
        if ratio > 1.0 && records * 2 < current {
            return;
        }
        let next = ((current as f64) * ratio) as usize;
        let (least, most) = self.records;
        self.chunk_records.store(next.clamp(least, most), Ordering::Relaxed);
    }
}

impl Pressure {
    /// Rises by one or two levels when clients feel too much, and falls by one
    /// when they feel little; then it looks anew.
    fn heed(&mut self, felt: Felt) {
        self.level = match felt {
            Felt::Unknown => return,
            Felt::Nobody if self.changed.elapsed() < ALONE => return,
            Felt::Nobody | Felt::Little => self.level.saturating_sub(1),
            Felt::Enough => self.level,
            Felt::TooMuch => self.level + 1,
            Felt::FarTooMuch => self.level + 2,
        }
        .min(PRESSURE_MAX);
        self.changed = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(duty_percent_max: u8) -> Pace {
        Pace { duty_percent_max, ..Pace::default() }
    }

    const MS: Duration = Duration::from_millis(1);

    fn wrote(throttle: &Throttle, records: usize, took: Duration) -> Duration {
        throttle.wrote(records, took, &Foreground::new())
    }

    fn pressed(throttle: &Throttle, felt: Felt, rounds: usize) {
        for _ in 0..rounds {
            throttle.pressure.lock().unwrap().heed(felt);
        }
    }

    #[test]
    fn chunks_grow_and_shrink_towards_the_target_within_bounds() {
        let throttle = Throttle::new(pace(100));
        for _ in 0..20 {
            wrote(&throttle, throttle.chunk_max().records, MS);
        }
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_MAX, "fast writes");
        for _ in 0..20 {
            wrote(&throttle, throttle.chunk_max().records, 5_000 * MS);
        }
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_MIN, "slow writes");
    }

    #[test]
    fn a_short_last_chunk_does_not_grow_the_next() {
        let throttle = Throttle::new(pace(100));
        wrote(&throttle, 3, MS);
        assert_eq!(throttle.chunk_max().records, CHUNK_RECORDS_FIRST);
    }

    #[test]
    fn duty_decides_the_rest() {
        for (duty, took_ms, rest_ms) in [(100, 90, 0), (90, 90, 10), (50, 30, 30), (10, 10, 90)] {
            assert_eq!(wrote(&Throttle::new(pace(duty)), 100, took_ms * MS), rest_ms * MS, "duty {duty}");
        }
    }

    /// Records per second of a store whose commit costs so much and whose records
    /// cost 50 µs each, when clients feel this for long.
    fn records_per_s(throttle: &Throttle, commit: Duration, felt: Felt) -> f64 {
        let (mut records, mut spent) = (0, Duration::ZERO);
        for round in 0..200 {
            pressed(throttle, felt, 1);
            let chunk = throttle.chunk_max().records;
            let took = commit + Duration::from_micros(50) * chunk as u32;
            let level = throttle.pressure.lock().unwrap().level;
            throttle.resize(chunk, took, level);
            if round >= 100 {
                records += chunk;
                spent += took + throttle.rest(took, level);
            }
        }
        records as f64 / spent.as_secs_f64()
    }

    #[test]
    fn pressed_work_still_ends() {
        let gentle = Pace { foreground_percent_max: Some(150), ..pace(100) };
        for throttle in [Throttle::new(pace(100)), Throttle::inside_a_store(gentle, &Foreground::new())] {
            let commit = if throttle.pressed_share_min == PRESSED_SHARE_MIN { 10 * MS } else { MS };
            let calm = records_per_s(&throttle, commit, Felt::Little);
            let slower = calm / records_per_s(&throttle, commit, Felt::TooMuch);
            assert!((30.0..=64.0).contains(&slower), "{slower} times slower than {calm} records/s");
        }
    }

    #[test]
    fn what_clients_feel_decides_the_level() {
        let throttle = Throttle::new(pace(100));
        let level = || throttle.pressure.lock().unwrap().level;
        let steps = [
            (Felt::TooMuch, 1),
            (Felt::FarTooMuch, 3),
            (Felt::Unknown, 3),
            (Felt::Enough, 3),
            (Felt::Little, 2),
            // It has only just changed: they are left alone for a while.
            (Felt::Nobody, 2),
        ];
        for (felt, expected) in steps {
            pressed(&throttle, felt, 1);
            assert_eq!(level(), expected, "{felt:?}");
        }
        throttle.pressure.lock().unwrap().changed = Instant::now().checked_sub(ALONE).unwrap();
        pressed(&throttle, Felt::Nobody, 1);
        assert_eq!(level(), 1);
        pressed(&throttle, Felt::FarTooMuch, 20);
        assert_eq!(level(), PRESSURE_MAX);
        assert_eq!(throttle.rest(50 * MS, level()), 31 * 50 * MS);
        throttle.resize(256, 50 * MS, level());
        assert!(throttle.chunk_max().records < CHUNK_RECORDS_FIRST, "chunks shrink too");
    }

    #[test]
    fn batches_begin_gently_beside_clients_only() {
        let gentle = Pace { foreground_percent_max: Some(150), ..pace(100) };
        let asked = Foreground::new();
        for _ in 0..100 {
            asked.answered(crate::foreground::Asked::Read, &asked.asking());
        }
        let nobody = Foreground::new();
        let level = |pace, foreground| Throttle::inside_a_store(pace, foreground).pressure.lock().unwrap().level;
        assert_eq!(level(gentle, &asked), PRESSURE_FIRST);
        assert_eq!(level(gentle, &nobody), 0, "nobody asks");
        assert_eq!(level(pace(100), &asked), 0, "it was not asked for");
    }

    #[test]
    fn it_pauses_to_learn_what_is_usual() {
        let gentle = Pace { foreground_percent_max: Some(150), ..pace(100) };
        let foreground = Foreground::new();
        let throttle = Throttle::inside_a_store(gentle, &foreground);
        assert_eq!(throttle.wrote(1_000, MS, &foreground), Duration::ZERO, "nobody asks");
        let piece = foreground.piece();
        for _ in 0..100 {
            foreground.answered(crate::foreground::Asked::Read, &foreground.asking());
        }
        drop(piece);
        assert_eq!(throttle.wrote(1_000, MS, &foreground), LISTENING);
        assert!(throttle.wrote(1_000, MS, &foreground) < LISTENING, "not again so soon");
    }
}
