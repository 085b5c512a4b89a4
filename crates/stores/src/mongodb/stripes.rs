//! Which stripe of the fence a write of this process touches: one that no other
//! write of this process touches now, so that only those of other processes meet it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::fence::STRIPES;

/// Transactions of one process side by side: beyond that they only wait for one log.
const WRITES_MAX: usize = 32;

/// The stripes that are free in this process.
pub(super) struct Stripes {
    free: Mutex<Vec<u8>>,
    turns: Semaphore,
}

/// A stripe while a write has it.
pub(super) struct Lease<'a> {
    of: &'a Stripes,
    stripe: u8,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Stripes {
    /// All of them, beginning somewhere: two processes begin apart.
    pub(super) fn new() -> Stripes {
        let first = (uuid::Uuid::new_v4().as_u128() % u128::from(STRIPES)) as u8;
        let free = (0..STRIPES).map(|n| (first + n) % STRIPES).rev().collect();
        Stripes { free: Mutex::new(free), turns: Semaphore::new(WRITES_MAX) }
    }

    fn free(&self) -> MutexGuard<'_, Vec<u8>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stripe; waits while this process writes as much as it may.
    pub(super) async fn take(&self) -> Lease<'_> {
        let turn = self.turns.acquire().await.ok();
        let stripe = self.free().pop().unwrap_or_default();
        Lease { of: self, stripe, _turn: turn }
    }
}

impl Lease<'_> {
    /// Its number.
    pub(super) fn number(&self) -> u8 {
        self.stripe
    }

    /// Takes the one that was free for longest instead.
    pub(super) fn rotate(&mut self) {
        let mut free = self.of.free();
        if !free.is_empty() {
            let other = free.remove(0);
            let before = std::mem::replace(&mut self.stripe, other);
            free.push(before);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.of.free().push(self.stripe);
    }
}
