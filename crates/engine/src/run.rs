//! All control flow: whoever holds the coordinator's lease does requests one
//! by one and keeps the background activities of the phase going.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::journal::{Command, JournalError, Refusal};
use tokio::sync::{Notify, watch};

use crate::commands::Commands;
use crate::dead_letters::Letters;
use crate::helm::{Helm, backoff};
use crate::ledger::{Halt, Lease, Ledger};
use crate::reconcile::{self, DrainRate};
use crate::recover::recover;
use crate::work::Task;
use crate::{Member, Setup};

/// The lease of whoever acts.
pub const COORDINATOR_LEASE: &str = "coordinator";

/// How often an asker looks for its outcome.
const ASK_POLL: Duration = Duration::from_millis(10);

/// A coordinator's handle; dropping it does not stop the work, `stop` does.
pub struct Coordinator {
    member: Arc<Member>,
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

/// Runs a coordinator in the background: takes the lease when it is free, does
/// open requests, reconciles, and resumes whatever a crash left half-done.
pub fn spawn(setup: Setup, member: Arc<Member>, options: CoordinatorOptions) -> Coordinator {
    let (stop, stopped) = watch::channel(false);
    let woken = Arc::new(Notify::new());
    let task = tokio::spawn(stand_by(setup, member.clone(), options, woken.clone(), stopped));
    Coordinator { member, woken, stop, task }
}

impl Coordinator {
    /// Wakes the reconciler: a write left a dirty mark.
    pub fn wake(&self) {
        self.member.wake_reconciler();
        self.woken.notify_one();
    }

    /// Stops after the step at hand and gives the lease up.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Takes the lease whenever it is free, and leads while it holds.
async fn stand_by(
    setup: Setup,
    member: Arc<Member>,
    options: CoordinatorOptions,
    woken: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let mut failures = 0;
    while !*stop.borrow() {
        let journal = setup.journal.clone();
        let lease = Arc::new(Lease::new(journal, COORDINATOR_LEASE, member.id().to_owned(), options.lease));
        let wait = match lease.take().await {
            Ok(true) => {
                let led = tokio::select! {
                    led = lead(&setup, &member, options, &lease, &woken, &stop) => led,
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

/// Acts under the lease until told to stop. An error means that this process
/// may not act any more; dropping this future stops all that it began.
async fn lead(
    setup: &Setup,
    member: &Arc<Member>,
    options: CoordinatorOptions,
    lease: &Arc<Lease>,
    woken: &Notify,
    stop: &watch::Receiver<bool>,
) -> Result<(), Halt> {
    let helm = Helm {
        setup: setup.clone(),
        ledger: Arc::new(Ledger::load(setup.journal.clone(), lease.clone()).await?),
        member: member.clone(),
        letters: Arc::new(tokio::sync::Mutex::new(Letters::new(setup.journal.clone()))),
        drain: Arc::new(DrainRate::default()),
        foreground: member.foreground().clone(),
        poll: options.poll,
    };
    let mut reconciler = Task::spawn(reconcile::run(helm.clone()));
    let mut commands = Commands::take_over(helm.clone()).await?;
    let mut stop = stop.clone();
    let mut failures = 0;
    loop {
        helm.check()?;
        if *stop.borrow() {
            return commands.stop().await;
        }
        if reconciler.is_finished() {
            return Err(reconciler.join().await?);
        }
        if commands.unsettled {
            match recover(&helm).await {
                Ok(_) => {
                    commands.unsettled = false;
                    failures = 0;
                }
                Err(halt) => {
                    let refusal = halt.into_refusal()?;
                    tracing::warn!(code = refusal.code, "not settled yet: {}", refusal.message);
                    failures += 1;
                    tokio::time::sleep(backoff(failures)).await;
                    continue;
                }
            }
        }
        commands.tend().await?;
        tokio::select! {
            () = tokio::time::sleep(options.poll) => {}
            () = woken.notified() => {}
            _ = stop.changed() => {}
        }
    }
}

/// Asks for a command and waits for its outcome: done by the live coordinator,
/// wherever it runs. The report is JSON, with fields documented at each activity.
pub async fn ask(
    setup: &Setup,
    command: Command,
    wait: Duration,
) -> Result<Result<serde_json::Value, Refusal>, JournalError> {
    let id = setup.journal.ask(command).await?;
    let until = Instant::now() + wait;
    loop {
        if let Some(outcome) = setup.journal.request(id).await?.and_then(|request| request.outcome) {
            return Ok(outcome);
        }
        if Instant::now() >= until {
            return Ok(Err(Refusal {
                code: "coordinator/no-answer".into(),
                message: format!("request {id} has no outcome after {} ms; it stays open", wait.as_millis()),
                hint: Some("see whether a `serve` process is running; `status` shows what it does".into()),
            }));
        }
        tokio::time::sleep(ASK_POLL).await;
    }
}
