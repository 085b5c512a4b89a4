//! Fairness between writes of this process that lose their races: they share
//! the authority until one of them has lost too often; that one then has its
//! read and its write to itself, so that it gets done however many others
//! write the same records in a loop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Races that a write loses before the other writes of this process wait for
/// it: twice is chance, and waiting costs everybody.
const RACES_SHARED_MAX: usize = 2;

/// The longest rest before another attempt, ms: a few commits, so that writers
/// elsewhere that were in step fall out of it.
const REST_MS_MAX: u64 = 32;

/// The turns of one data path. Its lock is fair: who waits for a turn alone is
/// not passed by those that come later.
#[derive(Default)]
pub(crate) struct Turns {
    lock: RwLock<()>,
}

/// One attempt's turn, from its read to the authority's answer.
pub(crate) enum Turn<'a> {
    Shared { _guard: RwLockReadGuard<'a, ()> },
    Alone { _guard: RwLockWriteGuard<'a, ()> },
}

impl Turns {
    /// The turn of a write that has lost so many races.
    pub(crate) async fn take(&self, raced: usize) -> Turn<'_> {
        match raced {
            0..=RACES_SHARED_MAX => Turn::Shared { _guard: self.lock.read().await },
            _ => Turn::Alone { _guard: self.lock.write().await },
        }
    }
}

/// Rests after a lost race: not at all as long as this process alone can be the
/// reason, then ever longer and never as long as another that lost too.
pub(crate) async fn rest(raced: usize) {
    if raced > RACES_SHARED_MAX {
        let doublings = u32::try_from(raced - RACES_SHARED_MAX).unwrap_or(u32::MAX).min(5);
        let longest = Duration::from_millis(REST_MS_MAX.min(1 << doublings));
        // A hasher's own key is the chance that every process has at hand.
        let share = RandomState::new().build_hasher().finish() % 1_000;
        tokio::time::sleep(longest.mul_f64(share as f64 / 1_000.0)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// What a future gives at once; `None`: it would wait.
    fn is_ready<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn writes_share_until_one_has_lost_too_often() {
        let turns = Turns::default();
        let first = is_ready(turns.take(0)).unwrap();
        let second = is_ready(turns.take(RACES_SHARED_MAX)).unwrap();
        assert!(is_ready(turns.take(RACES_SHARED_MAX + 1)).is_none(), "the others are on their way");
        drop((first, second));
        let alone = is_ready(turns.take(RACES_SHARED_MAX + 1)).unwrap();
        assert!(is_ready(turns.take(0)).is_none(), "it is alone");
        drop(alone);
        assert!(is_ready(turns.take(0)).is_some());
    }
}
