//! Standing by: whoever holds the coordinator's lease leads, and leads until
//! it is lost. The same for every kind of migration.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shearwater_core::journal::Journal;
use tokio::sync::{Notify, watch};

use crate::helm::backoff;
use crate::ledger::{Halt, Lease};

/// The lease of whoever acts.
pub const COORDINATOR_LEASE: &str = "coordinator";

/// What a kind of migration does while its process holds the lease.
#[async_trait]
pub trait Lead: Send + Sync + 'static {
    /// The migration's journal.
    fn journal(&self) -> &Arc<dyn Journal>;

    /// This process's name in the journal.
    fn holder(&self) -> &str;

    /// Acts under the lease until told to stop. An error means that this
    /// process may not act any more; dropping the future stops all that it began.
    async fn lead(&self, lease: &Arc<Lease>, leash: &Standby) -> Result<(), Halt>;
}

/// What a leader listens to.
pub struct Standby {
    /// How often it looks for requests when nothing wakes it.
    pub poll: Duration,
    /// Told when there is something to do.
    pub woken: Arc<Notify>,
    /// True when it is to end after the step at hand.
    pub stop: watch::Receiver<bool>,
}

/// A coordinator's handle; dropping it does not stop the work, `stop` does.
pub struct Coordinator {
    woken: Arc<Notify>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// How the coordinator works.
#[derive(Clone, Copy, Debug)]
pub struct CoordinatorOptions {
    /// How long its lease lasts.
    pub lease: Duration,
    /// How often it looks for requests and marks when nothing wakes it.
    pub poll: Duration,
}

impl Default for CoordinatorOptions {
    fn default() -> CoordinatorOptions {
        CoordinatorOptions { lease: Duration::from_secs(3), poll: Duration::from_millis(20) }
    }
}

impl Coordinator {
    /// Stands by in the background: takes the lease when it is free, and leads.
    pub fn spawn(lead: impl Lead, options: CoordinatorOptions) -> Coordinator {
        let (stop, stopped) = watch::channel(false);
        let woken = Arc::new(Notify::new());
        let standby = Standby { poll: options.poll, woken: woken.clone(), stop: stopped };
        let task = tokio::spawn(stand_by(lead, options, standby));
        Coordinator { woken, stop, task }
    }

    /// Wakes the leader: there is something to do.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Stops after the step at hand and gives the lease up.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Takes the lease whenever it is free, and leads while it holds.
async fn stand_by(lead: impl Lead, options: CoordinatorOptions, standby: Standby) {
    let mut failures = 0;
    let mut stop = standby.stop.clone();
    while !*stop.borrow() {
        let lease =
            Arc::new(Lease::new(lead.journal().clone(), COORDINATOR_LEASE, lead.holder().to_owned(), options.lease));
        let wait = match lease.take().await {
            Ok(true) => {
                let led = tokio::select! {
                    led = lead.lead(&lease, &standby) => led,
                    () = lease.keep() => Err(Halt::Lost),
                };
                let _ = lease.release().await;
                match led {
                    Ok(()) => return,
                    Err(halt) => {
                        tracing::warn!("the coordinator stopped acting: {halt}");
                        failures += 1;
                        backoff(failures)
                    }
                }
            }
            Ok(false) => {
                failures = 0;
                options.lease / 3
            }
            Err(error) => {
                tracing::warn!("the coordinator's lease cannot be asked for: {error}");
                failures += 1;
                backoff(failures)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => {}
        }
    }
}
