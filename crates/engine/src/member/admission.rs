//! Leave to serve one request: which epoch it belongs to, and whether the
//! lease under which it began still holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shearwater_core::lifecycle::{Lifecycle, State};
use tokio::sync::Notify;

use super::{NotServing, View};

/// The lease as the member itself judges it.
///
/// It counts from a moment taken *before* the renewal was sent, so it ends here
/// no later than in the journal. Two clocks must agree that it holds: the
/// monotonic one, which nobody sets, and the wall clock, which goes on while a
/// machine is suspended.
pub(super) struct Lease {
    origin: Instant,
    monotonic_until_us: AtomicU64,
    wall_until_us: AtomicU64,
    /// Grows when the lease is taken again after it had ended: what was admitted
    /// before must not be answered, whatever the lease says now.
    generation: AtomicU64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    monotonic_us: u64,
    wall_us: u64,
}

impl Lease {
    pub(super) fn new() -> Lease {
        Lease {
            origin: Instant::now(),
            monotonic_until_us: AtomicU64::new(0),
            wall_until_us: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { monotonic_us: micros(self.origin.elapsed()), wall_us: micros(wall) }
    }

    pub(super) fn holds(&self) -> bool {
        let now = self.now();
        now.monotonic_us < self.monotonic_until_us.load(Ordering::Acquire)
            && now.wall_us < self.wall_until_us.load(Ordering::Acquire)
    }

    /// The generation under which something begins, if the lease holds.
    fn begin(&self) -> Result<u64, NotServing> {
        // Read before the lease is: a lapse in between must be noticed.
        let generation = self.generation.load(Ordering::SeqCst);
        if self.holds() { Ok(generation) } else { Err(NotServing) }
    }

    fn still_valid(&self, generation: u64) -> Result<(), NotServing> {
        let valid = self.holds() && self.generation.load(Ordering::SeqCst) == generation;
        if valid { Ok(()) } else { Err(NotServing) }
    }

    /// Extends the lease to `ttl` after the moment at which the renewal was sent.
    pub(super) fn extend(&self, sent: Moment, ttl: Duration) {
        if !self.holds() {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        self.wall_until_us.store(sent.wall_us.saturating_add(micros(ttl)), Ordering::Release);
        self.monotonic_until_us.store(sent.monotonic_us.saturating_add(micros(ttl)), Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.monotonic_until_us.store(0, Ordering::Release);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The requests in flight of one epoch.
pub(super) struct InFlight {
    pub(super) epoch: u64,
    requests: AtomicUsize,
    /// Told when the last one ends.
    idle: Arc<Notify>,
}

impl InFlight {
    pub(super) fn of(epoch: u64, idle: Arc<Notify>) -> Arc<InFlight> {
        Arc::new(InFlight { epoch, requests: AtomicUsize::new(0), idle })
    }

    pub(super) fn any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.requests.load(Ordering::SeqCst) > 0
    }
}

/// What is admitted now: the view, and the count of its epoch.
pub(super) struct Following<S> {
    pub(super) view: Arc<View<S>>,
    pub(super) in_flight: Arc<InFlight>,
}

/// Leave to serve one request under the epoch of `view`. While it lives the
/// member does not acknowledge a later epoch.
pub struct Admission<S = State> {
    /// What to act on.
    pub view: Arc<View<S>>,
    in_flight: Arc<InFlight>,
    lease: Arc<Lease>,
    generation: u64,
}

/// Leave to make one read under the epoch of `view`; see [`crate::Member::admit_read`].
pub struct Reading<S = State> {
    /// What to act on.
    pub view: Arc<View<S>>,
    lease: Arc<Lease>,
    generation: u64,
}

/// Whether what was read may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Nothing happened in between that could make it old.
    Yes,
    /// The migration has moved on: read again.
    MovedOn,
}

impl<S: Lifecycle> Reading<S> {
    pub(super) fn take(view: Arc<View<S>>, lease: &Arc<Lease>) -> Result<Reading<S>, NotServing> {
        let generation = lease.begin()?;
        Ok(Reading { view, lease: lease.clone(), generation })
    }

    pub(super) fn still_valid(&self) -> Result<(), NotServing> {
        self.lease.still_valid(self.generation)
    }
}

impl<S: Lifecycle> Admission<S> {
    pub(super) fn take(
        following: &arc_swap::ArcSwap<Following<S>>,
        lease: &Arc<Lease>,
    ) -> Result<Admission<S>, NotServing> {
        let generation = lease.begin()?;
        loop {
            let now = following.load();
            now.in_flight.requests.fetch_add(1, Ordering::SeqCst);
            let admission = Admission {
                view: now.view.clone(),
                in_flight: now.in_flight.clone(),
                lease: lease.clone(),
                generation,
            };
            // Either the follow loop sees our count, or we see its new epoch.
            fence(Ordering::SeqCst);
            if Arc::ptr_eq(&following.load().in_flight, &admission.in_flight) {
                return Ok(admission);
            }
        }
    }

    /// Whether the lease is still valid; asked again before an answer is given,
    /// because the process may have been stopped in between.
    pub fn still_valid(&self) -> Result<(), NotServing> {
        self.lease.still_valid(self.generation)
    }
}

impl<S> Drop for Admission<S> {
    fn drop(&mut self) {
        if self.in_flight.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Cheap when nobody waits: the loop looks at this only while an
            // older epoch is being left.
            self.in_flight.idle.notify_waiters();
        }
    }
}
