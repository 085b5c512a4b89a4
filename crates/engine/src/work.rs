//! Long activities in the background: at most one at a time, on a leash, with
//! the requests that wait for its end.

use std::future::Future;
use std::time::Duration;

use shearwater_core::journal::Refusal;
use tokio::sync::watch;

use crate::helm::{Helm, Leash, Wish};
use crate::ledger::Halt;
use crate::repair::{self, Mode};
use crate::{backfill, verify};

/// How long a stopped activity may take to notice: a chunk's write at its slowest.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

/// A spawned future that ends when its handle is dropped: losing the lease
/// drops everything that was begun under it.
pub struct Task<T>(Option<tokio::task::JoinHandle<T>>);

impl<T: Send + 'static> Task<T> {
    /// Begins it.
    pub fn spawn(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        Task(Some(tokio::spawn(future)))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
    }

    /// Waits for its end; once.
    pub async fn join(&mut self) -> Result<T, Halt> {
        let handle = self.0.as_mut().ok_or_else(|| Halt::Broken("joined twice".into()))?;
        let ended = handle.await;
        self.0 = None;
        ended.map_err(|error| Halt::Broken(error.to_string()))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The backfill.
    Backfill,
    /// A verification.
    Verify,
    /// A repair.
    Repair(Mode),
}

impl Activity {
    /// Its name in refusals.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Backfill => "backfill",
            Activity::Verify => "verify",
            Activity::Repair(_) => "repair",
        }
    }
}

/// One activity on its way.
pub struct Long {
    /// What it is.
    pub activity: Activity,
    /// The requests that wait for its end.
    pub requests: Vec<u64>,
    leash: watch::Sender<Wish>,
    task: Task<Result<serde_json::Value, Halt>>,
}

impl Long {
    /// Begins an activity.
    pub fn begin(helm: &Helm, activity: Activity, wish: Wish) -> Long {
        let (sender, leash) = Leash::new(helm.ledger.lease().clone(), wish);
        let helm = helm.clone();
        let task = match activity {
            Activity::Backfill => Task::spawn(backfill::run(helm, leash)),
            Activity::Verify => Task::spawn(verify::run(helm, leash)),
            Activity::Repair(mode) => Task::spawn(repair::run(helm, mode, leash)),
        };
        Long { activity, requests: Vec::new(), leash: sender, task }
    }

    /// Pulls the leash.
    pub fn wish(&self, wish: Wish) {
        self.leash.send_if_modified(|now| std::mem::replace(now, wish) != wish);
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// After its own end: answers its requests. The error of the activity comes
    /// back; the coordinator's own end is the outer one.
    pub async fn finish(mut self, helm: &Helm) -> Result<Result<(), Halt>, Halt> {
        let outcome = self.task.join().await.and_then(|done| done);
        self.answer(helm, outcome).await
    }

    /// Stops it, by force when it hangs in a store: whatever it was doing is as
    /// good as killed, and that is safe everywhere.
    pub async fn stop(mut self, helm: &Helm) -> Result<(), Halt> {
        self.wish(Wish::Stop);
        let outcome = match tokio::time::timeout(STOP_WAIT_MAX, self.task.join()).await {
            Ok(ended) => ended.and_then(|done| done),
            Err(_) => Err(Halt::Stopped),
        };
        self.answer(helm, outcome).await.map(drop)
    }

    async fn answer(self, helm: &Helm, outcome: Result<serde_json::Value, Halt>) -> Result<Result<(), Halt>, Halt> {
        let told: Result<serde_json::Value, Refusal> = match &outcome {
            Ok(report) => Ok(report.clone()),
            Err(halt) => Err(halt.clone().into_refusal()?),
        };
        for id in &self.requests {
            helm.setup.journal.finish(*id, told.clone()).await?;
        }
        Ok(outcome.map(|_| ()))
    }
}
