//! The brake: background work rests while a store says that it weighs too much
//! (sessions that wait for our locks, replicas that fall behind), and while a
//! store that could say so does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::spec::Pace;
use shearwater_core::store::{Load, Side, Store};
use tokio::sync::Mutex;

/// How long an answer of the stores counts: short enough that a pile of
/// waiting sessions is seen while it is small.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The longest wait for an answer; a store that takes longer is under load.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Looks at both stores, at most once an interval, however many workers ask.
pub struct Brake {
    pace: Pace,
    stores: [(Side, Arc<dyn Store>); 2],
    last: Mutex<Option<(Instant, Option<String>)>>,
}

impl Brake {
    /// For a migration's stores.
    pub fn new(pace: Pace, source: Arc<dyn Store>, target: Arc<dyn Store>) -> Brake {
        Brake { pace, stores: [(Side::Source, source), (Side::Target, target)], last: Mutex::new(None) }
    }

    /// Why background work must rest now; `None`: it may go on.
    pub async fn held(&self) -> Option<String> {
        let mut last = self.last.lock().await;
        if let Some((at, why)) = last.as_ref()
            && at.elapsed() < LOOK_INTERVAL
        {
            return why.clone();
        }
        let why = self.look().await;
        *last = Some((Instant::now(), why.clone()));
        why
    }

    async fn look(&self) -> Option<String> {
        for (side, store) in &self.stores {
            let Some(vitals) = store.vitals() else { continue };
            let side = match side {
                Side::Source => "source",
                Side::Target => "target",
            };
            let why = match tokio::time::timeout(LOOK_MAX, vitals.load()).await {
                Ok(Ok(load)) => too_much(&self.pace, load),
                Ok(Err(error)) => Some(format!("its load cannot be read: {}", error.message)),
                Err(_) => Some(format!("it did not tell its load within {} s", LOOK_MAX.as_secs())),
            };
            if let Some(why) = why {
                return Some(format!("{side}: {why}"));
            }
        }
        None
    }
}

/// Why a load is more than a declared pace allows.
pub(crate) fn too_much(pace: &Pace, load: Load) -> Option<String> {
    if load.lock_waits > pace.lock_waits_max {
        let (waits, max) = (load.lock_waits, pace.lock_waits_max);
        return Some(format!("{waits} sessions wait for our locks, allowed are {max}"));
    }
    if load.replica_lag_ms > pace.replica_lag_ms_max {
        let (lag, max) = (load.replica_lag_ms, pace.replica_lag_ms_max);
        return Some(format!("a replica is {lag} ms behind, allowed are {max} ms"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_by_itself() {
        let pace = Pace { lock_waits_max: 1, replica_lag_ms_max: 100, ..Pace::default() };
        let check = |lock_waits: u64, replica_lag_ms: u64, says: Option<&str>| {
            let why = too_much(&pace, Load { lock_waits, replica_lag_ms });
            assert_eq!(why.is_some(), says.is_some(), "{why:?}");
            assert!(why.unwrap_or_default().contains(says.unwrap_or_default()));
        };
        check(0, 0, None);
        check(1, 100, None);
        check(2, 0, Some("2 sessions wait"));
        check(0, 101, Some("101 ms behind"));
    }
}
