//! What everybody in the demo shares: the clock, the register, the step that
//! the migration is in, and what went wrong.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use shearwater_core::store::Store;
use shearwater_core::{Document, Value};

use super::dice::Zipf;
use super::history::KeyId;
use super::register::Register;

/// Unexpected answers that are kept with their text; the rest are counted.
const ERRORS_KEPT_MAX: usize = 20;

/// What a request did, for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// A read by key.
    Read,
    /// A page of a list.
    List,
    /// A change.
    Write,
}

/// One request with its answers: from its first sending to its last answer.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// What it did.
    pub doing: Doing,
    /// The step of the migration in which it began.
    pub step: u8,
    /// When it was sent first, nanoseconds since the demo began.
    pub begun_ns: u64,
    /// When the answer was there.
    pub ended_ns: u64,
}

/// Shared by clients, walkers, the direct writer and the conductor.
pub struct Stage {
    /// Keys, versions, contents.
    pub register: Register,
    /// Which keys are popular.
    pub zipf: Zipf,
    /// The seed of everything.
    pub seed: u64,
    initial_keys: usize,
    stride: usize,
    began: Instant,
    began_at_ms: i64,
    step: AtomicU8,
    steps_begun_ns: Mutex<Vec<u64>>,
    stopping: AtomicBool,
    requests: AtomicU64,
    retries: AtomicU64,
    errors: AtomicU64,
    kept: Mutex<Vec<String>>,
    remarks: Mutex<Vec<String>>,
    source: Option<Arc<dyn Store>>,
    target: String,
}

impl Stage {
    /// The same stage over this source and the target at this URL: what the source's programs
    /// write is made of the types that it has, and what anybody sees is compared as
    /// the target keeps it once nothing is noted beside it.
    pub fn over(self, source: Arc<dyn Store>, target: &str) -> Stage {
        Stage { source: Some(source), target: target.to_owned(), ..self }
    }

    /// A record of either shape, or a part of one, as it is compared.
    pub fn comparable(&self, record: Document) -> Document {
        match self.target.as_str() {
            "" => record,
            url => shearwater_stores::kept(url, record.clone()).unwrap_or(record),
        }
    }

    /// A v1 record, or a part of one, as programs of the source write it.
    pub fn native(&self, v1: Document) -> Document {
        match &self.source {
            Some(source) => source.kept(v1),
            None => v1,
        }
    }

    /// A score as a v2 client writes it: one that the source gives back, which may
    /// have no negative zero.
    pub fn tidy_score(&self, score: Value) -> Value {
        let field = || Document::from_iter([("score", score.clone())]);
        match &score {
            Value::Float(x) if self.native(field()) != field() => Value::Float(x + 0.0),
            _ => score,
        }
    }

    /// A stage over the initial records.
    pub fn new(register: Register, seed: u64) -> Stage {
        let initial_keys = register.len();
        let zipf = Zipf::new(initial_keys);
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Stage {
            register,
            zipf,
            seed,
            initial_keys,
            stride: stride(initial_keys),
            began: Instant::now(),
            began_at_ms: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
            step: AtomicU8::new(0),
            steps_begun_ns: Mutex::new(vec![0]),
            stopping: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            kept: Mutex::default(),
            remarks: Mutex::default(),
            source: None,
            target: String::new(),
        }
    }

    /// How many keys there were at the beginning.
    pub fn initial_keys(&self) -> usize {
        self.initial_keys
    }

    /// The key of a rank of popularity: ranks are spread over the initial keys
    /// one to one, so that popular ones are of all kinds.
    pub fn popular(&self, rank: usize) -> KeyId {
        KeyId((rank as u128 * self.stride as u128 % self.initial_keys.max(1) as u128) as u32)
    }

    /// Nanoseconds since the demo began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The demo's clock at a time in ms since 1970, 0 for times before it began.
    pub fn ns_at(&self, at_ms: i64) -> u64 {
        u64::try_from(at_ms - self.began_at_ms).unwrap_or(0) * 1_000_000
    }

    /// The step in which a moment was.
    pub fn step_at(&self, ns: u64) -> Option<u8> {
        let begun = self.steps_begun_ns.lock().unwrap_or_else(PoisonError::into_inner);
        u8::try_from(begun.partition_point(|&begun| begun <= ns)).ok()?.checked_sub(1)
    }

    /// The step of the migration, counted from 0.
    pub fn step(&self) -> u8 {
        self.step.load(Ordering::Relaxed)
    }

    /// The migration goes on to its next step.
    pub fn next_step(&self) {
        self.steps_begun_ns.lock().unwrap_or_else(PoisonError::into_inner).push(self.now_ns());
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks everybody to stop after what they are doing.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether everybody should stop.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets everybody go on after a stop.
    pub fn resume(&self) {
        self.stopping.store(false, Ordering::Relaxed);
    }

    /// Counts an HTTP request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// HTTP requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request that was sent again after 503.
    pub fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were sent again after 503.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Counts an outcome that nobody expected.
    pub fn error(&self, what: impl Into<String>) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < ERRORS_KEPT_MAX {
            kept.push(what.into());
        }
    }

    /// Explains something that is counted elsewhere.
    pub fn remark(&self, what: String) {
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if remarks.len() < ERRORS_KEPT_MAX && !remarks.contains(&what) {
            remarks.push(what);
        }
    }

    /// The first explanations.
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many outcomes nobody expected, and the first of them.
    pub fn errors(&self) -> (u64, Vec<String>) {
        (self.errors.load(Ordering::Relaxed), self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A step without a factor in common with the number of keys visits each once.
fn stride(keys: usize) -> usize {
    let mut step = keys / 2 + keys / 8 + 1;
    while gcd(step, keys) > 1 {
        step += 1;
    }
    step
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::people;
    use super::*;

    #[test]
    fn every_rank_has_a_key_of_its_own() {
        for keys in [1u32, 2, 7, 100, 997, 1_000] {
            let stage = Stage::new(Register::new((0..keys).map(people::key_text)), 1);
            let popular: HashSet<KeyId> = (0..keys as usize).map(|rank| stage.popular(rank)).collect();
            assert_eq!(popular.len(), keys as usize);
        }
    }

    #[test]
    fn errors_are_counted_and_the_first_are_kept() {
        let stage = Stage::new(Register::new(std::iter::empty()), 1);
        for n in 0..30 {
            stage.error(format!("{n}"));
        }
        let (count, kept) = stage.errors();
        assert_eq!((count, kept.len(), kept[0].as_str()), (30, ERRORS_KEPT_MAX, "0"));
    }
}
