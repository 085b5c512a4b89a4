//! A circuit breaker: a follower that is away must not slow every write down.
//!
//! While it is open, writes leave their keys dirty at once and the reconciler
//! brings them over later. After a rest one write is let through as a probe.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker: one may be chance, and every more
/// costs a client the whole bounded wait.
pub const FAILURES_MAX: u32 = 5;

/// How long it stays open before the next probe, ms: short against an outage,
/// long against the wait that a probe may cost.
pub const REST_MS: u64 = 500;

/// Whether the follower may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Try it.
    Try,
    /// Do not: it has failed too often lately.
    Skip,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Set while open: when the next probe may go.
    probe_at: Option<Instant>,
}

/// The breaker of one follower.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    /// Whether to try the follower now. While open, one caller after each rest
    /// is the probe; the others skip until it has told.
    pub fn ask(&self, now: Instant) -> Leave {
        let mut state = self.lock();
        match state.probe_at {
            None => Leave::Try,
            Some(at) if now >= at => {
                state.probe_at = Some(now + Duration::from_millis(REST_MS));
                Leave::Try
            }
            Some(_) => Leave::Skip,
        }
    }

    /// The follower answered.
    pub fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// The follower failed, or did not answer in time.
    pub fn failed(&self, now: Instant) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_MAX {
            state.probe_at = Some(now + Duration::from_millis(REST_MS));
        }
    }

    /// Whether it is open, for status and metrics.
    pub fn is_open(&self) -> bool {
        self.lock().probe_at.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_probes_after_a_rest() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let rest = Duration::from_millis(REST_MS);
        for _ in 1..FAILURES_MAX {
            breaker.failed(start);
        }
        assert_eq!(breaker.ask(start), Leave::Try);
        breaker.failed(start);
        assert_eq!((breaker.ask(start), breaker.is_open()), (Leave::Skip, true));
        assert_eq!(breaker.ask(start + rest), Leave::Try, "one probe");
        assert_eq!(breaker.ask(start + rest), Leave::Skip, "and no other with it");
        breaker.failed(start + rest);
        assert_eq!(breaker.ask(start + rest), Leave::Skip);
        assert_eq!(breaker.ask(start + rest * 2), Leave::Try);
        breaker.succeeded();
        assert_eq!((breaker.ask(start + rest * 2), breaker.is_open()), (Leave::Try, false));
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for n in 0..FAILURES_MAX * 3 {
            breaker.failed(now);
            if n % 2 == 0 {
                breaker.succeeded();
            }
        }
        assert_eq!(breaker.ask(now), Leave::Try);
    }
}
