//! What clients feel: how long their requests take, those that background work
//! may have held up apart from those that it cannot have.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shearwater_core::spec::Pace;

use crate::latencies::Latencies;

/// The length of a window of everything: short, so that what was asked before a
/// change of pace does not count after it.
const RECENT_WINDOW: Duration = Duration::from_millis(250);

/// The length of a window of undisturbed requests: all of them reach back a
/// minute, for what is usual changes in the course of a day.
const CALM_WINDOW: Duration = Duration::from_secs(1);

/// With so many requests the share of slow ones is known well enough to act on.
const SAMPLES: u64 = 400;

/// After so long one acts on fewer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Fewer requests than this say nothing about a p99.
const SAMPLES_MIN: u64 = 20;

/// The p99 of fewer undisturbed requests than this is hardly more than their slowest.
const CALM_SAMPLES_MIN: u64 = 100;

/// Of so many requests one may be slower than the bound: it bounds the p99.
const ONE_SLOW_OF: u64 = 100;

/// Twice as many slow ones are too many whatever chance has to do with it, and
/// half as many leave room for more work.
const CLEARLY: u64 = 2;

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One record.
    Read,
    /// A mutation.
    Write,
}

/// What clients feel of background work at its present pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Felt {
    /// Nobody asks, or too few to tell.
    Nobody,
    /// More requests are needed to tell.
    Unknown,
    /// There is room for more work.
    Little,
    /// As much as is allowed.
    Enough,
    /// More than is allowed.
    TooMuch,
    /// Far more than is allowed.
    FarTooMuch,
}

/// Latencies of clients' requests, fed by the data path of this process and read
/// by the throttle of background work. Lock-free on the feeding side.
pub struct Foreground {
    /// Pieces of background work under way.
    under_way: AtomicUsize,
    /// Pieces that have begun so far.
    begun: AtomicU64,
    reads: Class,
    writes: Class,
}

struct Class {
    all: Latencies,
    /// Those that no piece of work ran beside.
    calm: Latencies,
}

/// A request under way.
pub struct Asking {
    began: Instant,
    /// How many pieces of work had begun by then; `None`: one was under way.
    undisturbed_since: Option<u64>,
}

/// A piece of background work, until it is dropped.
pub struct Piece<'a>(&'a Foreground);

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for Class {
    fn default() -> Class {
        Class { all: Latencies::new(RECENT_WINDOW), calm: Latencies::new(CALM_WINDOW) }
    }
}

impl Default for Foreground {
    fn default() -> Foreground {
        Foreground {
            under_way: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            reads: Class::default(),
            writes: Class::default(),
        }
    }
}

impl Foreground {
    /// Nobody has asked yet.
    pub fn new() -> Foreground {
        Foreground::default()
    }

    /// A client's request begins.
    pub fn asking(&self) -> Asking {
        let begun = self.begun.load(Ordering::Acquire);
        let undisturbed_since = (self.under_way.load(Ordering::Acquire) == 0).then_some(begun);
        Asking { began: Instant::now(), undisturbed_since }
    }

    /// It was answered.
    pub fn answered(&self, asked: Asked, asking: &Asking) {
        let calm = asking.undisturbed_since == Some(self.begun.load(Ordering::Acquire));
        self.record(asked, asking.began.elapsed(), if calm { Beside::Nothing } else { Beside::Work });
    }

    fn record(&self, asked: Asked, took: Duration, beside: Beside) {
        let class = match asked {
            Asked::Read => &self.reads,
            Asked::Write => &self.writes,
        };
        class.all.record(took);
        if beside == Beside::Nothing {
            class.calm.record(took);
        }
    }

    /// A piece of background work begins.
    #[must_use]
    pub fn piece(&self) -> Piece<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        Piece(self)
    }

    /// Whether clients asked lately.
    pub fn is_asked(&self) -> bool {
        [&self.reads, &self.writes].iter().any(|class| class.all.since(None).count() >= SAMPLES_MIN)
    }

    /// Whether it is known how long requests take without background work, or
    /// nobody asks.
    pub fn knows_the_usual(&self) -> bool {
        let known = |class: &&Class| {
            class.all.since(None).count() < SAMPLES_MIN || class.calm.since(None).count() >= CALM_SAMPLES_MIN
        };
        [&self.reads, &self.writes].iter().all(known)
    }

    /// What clients have felt since background work took its present pace: the
    /// worst that reads or writes did.
    pub fn felt(&self, since: Instant, pace: &Pace) -> Felt {
        let reads = self.reads.felt(since, None, pace.foreground_percent_max);
        let bound = Duration::from_millis(pace.foreground_ms_max);
        let writes = self.writes.felt(since, Some(bound), pace.foreground_percent_max);
        match (reads, writes) {
            (Felt::Nobody, one) | (one, Felt::Nobody) => one,
            (Felt::Unknown, one) | (one, Felt::Unknown) if one < Felt::TooMuch => Felt::Unknown,
            (one, other) => one.max(other),
        }
    }
}

/// What ran beside a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Work,
}

impl Class {
    fn felt(&self, since: Instant, bound: Option<Duration>, percent_max: Option<u32>) -> Felt {
        let seen = self.all.since(Some(since));
        let waited = since.elapsed() >= PATIENCE;
        if seen.count() < SAMPLES_MIN {
            return if waited || !self.is_asked() { Felt::Nobody } else { Felt::Unknown };
        }
        let calm = self.calm.since(None);
        let usual = (calm.count() >= CALM_SAMPLES_MIN).then(|| calm.p99());
        let relative = usual.zip(percent_max).map(|(usual, percent)| usual * percent / 100);
        let Some(bound) = [bound, relative].into_iter().flatten().min() else { return Felt::Nobody };
        let slow = seen.slower_than(bound) * ONE_SLOW_OF;
        match seen.count() {
            // Many slow ones are seen early.
            all if slow > CLEARLY * all.max(SAMPLES) => Felt::FarTooMuch,
            all if all < SAMPLES && !waited => Felt::Unknown,
            all if slow > CLEARLY * all => Felt::FarTooMuch,
            all if slow > all => Felt::TooMuch,
            all if slow * CLEARLY > all => Felt::Enough,
            _ => Felt::Little,
        }
    }

    fn is_asked(&self) -> bool {
        self.all.since(None).count() >= SAMPLES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gentle() -> Pace {
        Pace { foreground_percent_max: Some(150), ..Pace::default() }
    }

    /// A foreground whose requests usually take a millisecond, and of which then
    /// `slow` of a thousand more take so long beside work; what is felt.
    fn felt(pace: &Pace, asked: Asked, slow: u64, took: Duration) -> Felt {
        let foreground = Foreground::new();
        for _ in 0..CALM_SAMPLES_MIN {
            foreground.record(asked, MS, Beside::Nothing);
        }
        // So that a window begins after it.
        let since = Instant::now().checked_sub(2 * RECENT_WINDOW).unwrap_or_else(Instant::now);
        for n in 0..1_000 {
            foreground.record(asked, if n < slow { took } else { MS }, Beside::Work);
        }
        foreground.felt(since, pace)
    }

    #[test]
    fn slow_requests_are_counted_against_what_is_usual() {
        let cases = [
            (0, Felt::Little),
            (4, Felt::Little),
            (8, Felt::Enough),
            (12, Felt::TooMuch),
            (19, Felt::TooMuch),
            (30, Felt::FarTooMuch),
        ];
        for asked in [Asked::Read, Asked::Write] {
            for (slow, expected) in cases {
                assert_eq!(felt(&gentle(), asked, slow, 2 * MS), expected, "{asked:?}: {slow} of 1,100");
            }
            assert_eq!(felt(&gentle(), asked, 500, MS * 5 / 4), Felt::Little, "a quarter more is allowed");
        }
    }

    #[test]
    fn writes_have_a_bound_of_their_own() {
        let only_bound = Pace { foreground_ms_max: 100, foreground_percent_max: None, ..Pace::default() };
        assert_eq!(felt(&only_bound, Asked::Write, 500, 90 * MS), Felt::Little);
        assert_eq!(felt(&only_bound, Asked::Write, 500, 200 * MS), Felt::FarTooMuch);
        assert_eq!(felt(&only_bound, Asked::Read, 500, 200 * MS), Felt::Nobody, "nothing is said of reads");
    }

    #[test]
    fn what_work_ran_beside_is_not_the_usual() {
        let foreground = Foreground::new();
        let asked = foreground.asking();
        let piece = foreground.piece();
        foreground.answered(Asked::Read, &asked);
        let beside = foreground.asking();
        foreground.answered(Asked::Read, &foreground.asking());
        drop(piece);
        foreground.answered(Asked::Read, &beside);
        assert_eq!(foreground.reads.calm.since(None).count(), 0, "it began before, in and before the end of work");
        foreground.answered(Asked::Read, &foreground.asking());
        assert_eq!((foreground.reads.calm.since(None).count(), foreground.reads.all.since(None).count()), (1, 4));
    }

    #[test]
    fn few_requests_tell_nothing() {
        let foreground = Foreground::new();
        assert!(!foreground.is_asked() && foreground.knows_the_usual());
        assert_eq!(foreground.felt(Instant::now(), &gentle()), Felt::Nobody);
        for _ in 0..SAMPLES_MIN {
            foreground.record(Asked::Write, MS, Beside::Work);
        }
        assert!(foreground.is_asked() && !foreground.knows_the_usual());
        assert_eq!(foreground.felt(Instant::now(), &gentle()), Felt::Unknown, "they asked before the pace changed");
    }
}
