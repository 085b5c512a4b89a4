//! The capacity that background work may use: units per second, as the spec
//! declares them. What a request has used is known only afterwards, so a debt
//! is waited for before the next request: over time the budget is never exceeded.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A budget of units per second; without a rate everything is admitted.
#[derive(Debug)]
pub(super) struct Budget {
    per_s: Option<f64>,
    /// Until when what was used is paid for.
    paid: Mutex<Instant>,
}

impl Budget {
    /// A budget of so many units per second.
    pub(super) fn of(per_s: Option<u32>) -> Budget {
        Budget { per_s: per_s.map(f64::from), paid: Mutex::new(Instant::now()) }
    }

    /// Waits until everything used so far is paid for.
    pub(super) async fn admit(&self) {
        while let Some(until) = self.owes_until(Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn owes_until(&self, now: Instant) -> Option<Instant> {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        (self.per_s.is_some() && paid > now).then_some(paid)
    }

    /// Notes what a request has used, of background work or of a client: clients
    /// do not wait, background work gives way to them.
    pub(super) fn used(&self, units: f64) {
        self.used_at(Instant::now(), units);
    }

    fn used_at(&self, now: Instant, units: f64) {
        let Some(per_s) = self.per_s else { return };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + Duration::from_secs_f64((units / per_s).max(0.0));
    }

    /// Units that one request may ask for; `None`: as many as it likes.
    pub(super) fn request_units_max(&self) -> Option<f64> {
        self.per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_waited_for() {
        let budget = Budget::of(Some(10));
        let began = Instant::now();
        let mut now = began;
        for _ in 0..20 {
            now = budget.owes_until(now).unwrap_or(now);
            budget.used_at(now, 5.0);
        }
        now = budget.owes_until(now).unwrap_or(now);
        assert_eq!(now - began, Duration::from_secs(10), "100 units at 10 per second");
        now += Duration::from_secs(60);
        budget.used_at(now, 10.0);
        assert_eq!(budget.owes_until(now), Some(now + Duration::from_secs(1)), "an idle minute is not saved up");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let budget = Budget::of(None);
        budget.used(1e9);
        assert_eq!(budget.owes_until(Instant::now()), None);
    }
}
