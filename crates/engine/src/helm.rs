//! What every activity of the coordinator works with, and the leash that it
//! looks at between two steps.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::error::{Policy, StoreResult};
use shearwater_core::store::Side;
use tokio::sync::watch;

use crate::dead_letters::Letters;
use crate::foreground::Foreground;
use crate::ledger::{Halt, Lease, Ledger};
use crate::reconcile::DrainRate;
use crate::{Member, Setup};

/// What the coordinator acts with.
#[derive(Clone)]
pub struct Helm {
    /// The migration's stores, mapping and journal.
    pub setup: Setup,
    /// The folded journal; the only way to append.
    pub ledger: Arc<Ledger>,
    /// This process's member, which must see every entry soon.
    pub member: Arc<Member>,
    /// What is known about dead letters.
    pub letters: Arc<tokio::sync::Mutex<Letters>>,
    /// How fast marks were drained lately.
    pub drain: Arc<DrainRate>,
    /// What clients feel.
    pub foreground: Arc<Foreground>,
    /// How often things that nothing announces are looked at.
    pub poll: Duration,
}

/// In which direction records follow, and under which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// The store whose answer is true.
    pub authority: Side,
    /// The epoch to apply under.
    pub epoch: u64,
}

impl Helm {
    /// The course now; `None` while nobody follows.
    pub fn course(&self) -> Option<Course> {
        let view = self.ledger.view();
        let follower = view.state.follower()?;
        Some(Course { authority: follower.other(), epoch: view.state.epoch })
    }

    /// An error when this coordinator may not act any more.
    pub fn check(&self) -> Result<(), Halt> {
        self.ledger.lease().check()
    }
}

/// What a background activity is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Go,
    /// Rest until told otherwise.
    Rest,
    /// End at the next step.
    Stop,
}

/// A background activity's end of the leash.
#[derive(Clone)]
pub struct Leash {
    wish: watch::Receiver<Wish>,
    lease: Arc<Lease>,
}

impl Leash {
    /// A leash and the end to pull it by.
    pub fn new(lease: Arc<Lease>, wish: Wish) -> (watch::Sender<Wish>, Leash) {
        let (sender, wish) = watch::channel(wish);
        (sender, Leash { wish, lease })
    }

    /// Returns when the activity may take its next step; an error when it must end.
    pub async fn pass(&mut self) -> Result<(), Halt> {
        loop {
            self.lease.check()?;
            let wish = *self.wish.borrow_and_update();
            match wish {
                Wish::Go => return Ok(()),
                Wish::Stop => return Err(Halt::Stopped),
                Wish::Rest => self.wish.changed().await.map_err(|_| Halt::Stopped)?,
            }
        }
    }

    /// Rests for a while, or until told to stop.
    pub async fn rest(&mut self, rest: Duration) -> Result<(), Halt> {
        let stopped = async {
            let ended = self.wish.wait_for(|wish| *wish == Wish::Stop).await.is_ok();
            if !ended {
                std::future::pending::<()>().await;
            }
        };
        match tokio::time::timeout(rest, stopped).await {
            Ok(()) => Err(Halt::Stopped),
            Err(_) => Ok(()),
        }
    }
}

/// Calls a store until it answers: a store that could not is asked again, one
/// that cannot is not. For calls that change nothing or may be repeated.
pub async fn patiently<T, F, Fut>(leash: &mut Leash, side: Side, call: F) -> Result<T, Halt>
where
    F: Fn() -> Fut,
    Fut: Future<Output = StoreResult<T>>,
{
    let mut failures = 0;
    loop {
        leash.pass().await?;
        match call().await {
            Err(error) if error.policy() == Policy::Retry => {
                tracing::warn!(?side, code = error.code(), "waiting for the store: {}", error.message);
                leash.rest(backoff(failures)).await?;
                failures += 1;
            }
            answer => return answer.map_err(Halt::store(side)),
        }
    }
}

/// Pauses between tries: 50 ms doubling to 5 s, each made up to half shorter
/// by chance so that several members do not try in step.
pub fn backoff(attempt: u32) -> Duration {
    let whole = Duration::from_millis(50 << attempt.min(7)).min(Duration::from_secs(5));
    let chance = (uuid::Uuid::new_v4().as_u128() % 1_000) as u32;
    whole - whole / 2 * chance / 1_000
}
