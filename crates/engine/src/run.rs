//! All control flow of a `move`: whoever holds the coordinator's lease does requests one
//! by one and keeps the background activities of the phase going.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shearwater_core::journal::{Command, Journal, JournalError, Refusal};

use crate::commands::Commands;
pub use crate::coordinator::{COORDINATOR_LEASE, Coordinator, CoordinatorOptions};
use crate::coordinator::{Lead, Standby};
use crate::dead_letters::Letters;
use crate::helm::{Helm, backoff};
use crate::ledger::{Halt, Lease, Ledger};
use crate::reconcile::{self, DrainRate};
use crate::recover::recover;
use crate::work::Task;
use crate::{Member, Setup};

/// How often an asker looks for its outcome.
const ASK_POLL: Duration = Duration::from_millis(10);

/// Runs a coordinator in the background: takes the lease when it is free, does
/// open requests, reconciles, and resumes whatever a crash left half-done.
pub fn spawn(setup: Setup, member: Arc<Member>, options: CoordinatorOptions) -> Coordinator {
    Coordinator::spawn(Leader { setup, member }, options)
}

/// A `move`'s part in [`crate::coordinator`].
struct Leader {
    setup: Setup,
    member: Arc<Member>,
}

#[async_trait]
impl Lead for Leader {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.setup.journal
    }

    fn holder(&self) -> &str {
        self.member.id()
    }

    async fn lead(&self, lease: &Arc<Lease>, leash: &Standby) -> Result<(), Halt> {
        lead(&self.setup, &self.member, lease, leash).await
    }
}

async fn lead(setup: &Setup, member: &Arc<Member>, lease: &Arc<Lease>, leash: &Standby) -> Result<(), Halt> {
    let helm = Helm {
        setup: setup.clone(),
        ledger: Arc::new(Ledger::load(setup.journal.clone(), lease.clone()).await?),
        member: member.clone(),
        letters: Arc::new(tokio::sync::Mutex::new(Letters::new(setup.journal.clone()))),
        drain: Arc::new(DrainRate::default()),
        foreground: member.foreground().clone(),
        poll: leash.poll,
    };
    let mut reconciler = Task::spawn(reconcile::run(helm.clone()));
    let mut commands = Commands::take_over(helm.clone()).await?;
    let mut stop = leash.stop.clone();
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
            () = tokio::time::sleep(leash.poll) => {}
            () = leash.woken.notified() => {}
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
    ask_in(setup.journal.as_ref(), command, wait).await
}

/// As [`ask`], for a migration of any kind.
pub async fn ask_in(
    journal: &dyn Journal,
    command: Command,
    wait: Duration,
) -> Result<Result<serde_json::Value, Refusal>, JournalError> {
    let id = journal.ask(command).await?;
    let until = Instant::now() + wait;
    loop {
        if let Some(outcome) = journal.request(id).await?.and_then(|request| request.outcome) {
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
