//! Requests to activities: what each command does, which may run beside which,
//! and what becomes of a request whose coordinator died.

use serde_json::json;
use shearwater_core::journal::{Command, Event, Refusal, Request};
use shearwater_core::lifecycle::Status;
use shearwater_core::lifecycle::require::{Filling, Phase, Step};
use tokio::sync::watch;

use super::{Helm, backfill, contract, enforce, enter, expand, rollback, verify};
use crate::failpoint;
use crate::helm::{Leash, Wish};
use crate::interrupted::{self, Interrupted};
use crate::ledger::Halt;
use crate::work::Task;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Backfill,
    Verify,
}

impl Activity {
    fn name(self) -> &'static str {
        match self {
            Activity::Backfill => "backfill",
            Activity::Verify => "verify",
        }
    }
}

/// A background activity with the requests that wait for its end.
struct Long {
    activity: Activity,
    requests: Vec<u64>,
    leash: watch::Sender<Wish>,
    task: Task<Result<serde_json::Value, Halt>>,
}

/// The coordinator's work at requests and background activities.
pub(super) struct Desk {
    helm: Helm,
    long: Option<Long>,
    /// Something is half-done that has to be finished before anything else.
    pub(super) unsettled: bool,
    interrupted: Interrupted,
}

enum Begun {
    Done(serde_json::Value),
    Waits,
}

impl Desk {
    /// Begins; the first thing to do is to recover.
    pub(super) async fn take_over(helm: Helm) -> Result<Desk, Halt> {
        let interrupted = Interrupted::load(helm.setup.journal.as_ref()).await?;
        Ok(Desk { helm, long: None, unsettled: true, interrupted })
    }

    /// Goes on with what a crash or a failure left half-done. What only began,
    /// and members do not follow yet, may wait for an operator.
    pub(super) async fn recover(&mut self) -> Result<(), Halt> {
        let recovered = enter::recover(&self.helm).await;
        self.unsettled = recovered.is_err() && self.helm.state().entering.is_some();
        recovered
    }

    /// One round: ends what has ended, keeps the backfill going, does open requests.
    pub(super) async fn tend(&mut self) -> Result<(), Halt> {
        self.collect().await?;
        self.keep_going().await?;
        for request in self.helm.setup.journal.open_requests().await? {
            if self.long.as_ref().is_some_and(|long| long.requests.contains(&request.id)) {
                continue;
            }
            if self.unsettled {
                return Ok(());
            }
            self.perform(request).await?;
        }
        Ok(())
    }

    /// Ends the activity; requests that wait for it stay open for whoever
    /// coordinates next.
    pub(super) async fn stop(mut self) -> Result<(), Halt> {
        if let Some(long) = &mut self.long {
            long.requests.clear();
        }
        self.end_activity().await
    }

    async fn perform(&mut self, request: Request) -> Result<(), Halt> {
        let outcome = match self.outcome_of_interrupted(&request).await? {
            Some(outcome) => outcome,
            None => {
                interrupted::begins(self.helm.setup.journal.as_ref(), &request, self.helm.ledger.view().seq).await?;
                failpoint::hit("request-begun");
                match self.begin(&request).await {
                    Ok(Begun::Waits) => return Ok(()),
                    Ok(Begun::Done(report)) => Ok(report),
                    Err(halt) => {
                        self.unsettled = self.helm.state().entering.is_some();
                        Err(halt.into_refusal()?)
                    }
                }
            }
        };
        failpoint::hit("request-performed");
        self.helm.setup.journal.finish(request.id, outcome).await?;
        failpoint::hit("request-finished");
        Ok(())
    }

    async fn begin(&mut self, request: &Request) -> Result<Begun, Halt> {
        let helm = self.helm.clone();
        match &request.command {
            Command::Advance => {
                if let Some(long) = &self.long {
                    return Err(busy(long.activity));
                }
                advance(&helm).await.map(Begun::Done)
            }
            Command::Rollback => {
                self.end_activity().await?;
                rollback::rollback(&helm).await.map(Begun::Done)
            }
            Command::Withdraw => enter::enter(&helm, Phase::Withdrawn).await.map(Begun::Done),
            Command::Complete => {
                self.end_activity().await?;
                enter::enter(&helm, Phase::Complete).await.map(Begun::Done)
            }
            Command::Backfill => {
                if helm.state().phase != Phase::Backfill {
                    let hint = "`advance` from expand goes there";
                    return Err(Halt::refused("phase/no-backfill", "records are filled in backfill only", hint));
                }
                if !matches!(helm.state().filling, Filling::Running { .. }) {
                    backfill::begin(&helm).await?;
                }
                self.long(Activity::Backfill, request.id)
            }
            Command::Verify => self.long(Activity::Verify, request.id),
            Command::Pause => {
                if helm.state().status == Status::Running {
                    helm.ledger.append(Event::Paused { reason: "asked for".into() }).await?;
                }
                self.follow_status();
                Ok(Begun::Done(json!({ "status": helm.state().status })))
            }
            Command::Resume => {
                if helm.state().status != Status::Running {
                    helm.ledger.append(Event::Resumed).await?;
                }
                self.follow_status();
                Ok(Begun::Done(json!({ "status": helm.state().status })))
            }
            _ => Err(Halt::refused(
                "kind/no-such-command",
                "a migration of kind `require` does not have this command",
                "it has advance, rollback, complete, withdraw, verify, pause, resume",
            )),
        }
    }

    /// Joins a request to an activity, beginning it when nothing runs.
    fn long(&mut self, activity: Activity, request: u64) -> Result<Begun, Halt> {
        match &mut self.long {
            Some(long) if long.activity == activity && activity == Activity::Backfill => long.requests.push(request),
            Some(long) => return Err(busy(long.activity)),
            None => self.long = Some(self.started(activity, vec![request])),
        }
        Ok(Begun::Waits)
    }

    fn started(&self, activity: Activity, requests: Vec<u64>) -> Long {
        let (sender, leash) = Leash::new(self.helm.ledger.lease().clone(), self.wish());
        let helm = self.helm.clone();
        let task = match activity {
            Activity::Backfill => Task::spawn(backfill::run(helm, leash)),
            Activity::Verify => Task::spawn(verify::run(helm, leash)),
        };
        Long { activity, requests, leash: sender, task }
    }

    fn wish(&self) -> Wish {
        match self.helm.state().status {
            Status::Running | Status::Failed { .. } => Wish::Go,
            Status::Paused => Wish::Rest,
        }
    }

    fn follow_status(&self) {
        if let Some(long) = &self.long {
            long.leash.send_replace(self.wish());
        }
    }

    async fn end_activity(&mut self) -> Result<(), Halt> {
        let Some(mut long) = self.long.take() else { return Ok(()) };
        long.leash.send_replace(Wish::Stop);
        let outcome = long.task.join().await.and_then(|done| done);
        self.answer(long.requests, outcome).await.map(drop)
    }

    async fn answer(
        &self,
        requests: Vec<u64>,
        outcome: Result<serde_json::Value, Halt>,
    ) -> Result<Result<(), Halt>, Halt> {
        let told = match &outcome {
            Ok(report) => Ok(report.clone()),
            Err(halt) => Err(halt.clone().into_refusal()?),
        };
        for id in requests {
            self.helm.setup.journal.finish(id, told.clone()).await?;
        }
        Ok(outcome.map(drop))
    }

    /// Ends an activity that has ended by itself; a backfill that broke is
    /// journalled, so that it does not begin again before somebody looked.
    async fn collect(&mut self) -> Result<(), Halt> {
        let Some(mut long) = self.long.take_if(|long| long.task.is_finished()) else { return Ok(()) };
        let outcome = long.task.join().await.and_then(|done| done);
        let outcome = self.answer(long.requests, outcome).await?;
        match outcome {
            Err(halt) if long.activity == Activity::Backfill && !matches!(halt, Halt::Stopped) => {
                self.helm.ledger.append(Event::Failed { reason: format!("backfill: {halt}") }).await?;
            }
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    /// In backfill the run begins by itself, and one that is running goes on.
    async fn keep_going(&mut self) -> Result<(), Halt> {
        let state = self.helm.state();
        let failed = matches!(state.status, Status::Failed { .. });
        if state.phase != Phase::Backfill || state.is_unsettled() || failed || self.long.is_some() || self.unsettled {
            return Ok(());
        }
        match state.filling {
            Filling::NotRun if state.status == Status::Running => {
                if let Err(halt) = backfill::begin(&self.helm).await {
                    let refusal = halt.into_refusal()?;
                    tracing::warn!(code = refusal.code, "the backfill cannot begin: {}", refusal.message);
                }
            }
            Filling::NotRun | Filling::Done { .. } => {}
            Filling::Running { .. } => self.long = Some(self.started(Activity::Backfill, Vec::new())),
        }
        Ok(())
    }

    /// The outcome of a step that a coordinator before us had begun and that
    /// recovery has finished; `None` when it is to be done (again).
    async fn outcome_of_interrupted(
        &mut self,
        request: &Request,
    ) -> Result<Option<Result<serde_json::Value, Refusal>>, Halt> {
        let journal = self.helm.setup.journal.as_ref();
        let Some(since) = self.interrupted.entries_since(journal, request).await? else { return Ok(None) };
        Ok(since.iter().rev().find_map(|entry| match &entry.event {
            Event::Require { step: Step::Entered { to } } => {
                Some(Ok(json!({ "phase": to, "epoch": self.helm.state().epoch, "recovered": true })))
            }
            Event::Require { step: Step::Abandoned { reason, .. } } => Some(Err(Refusal {
                code: "enforce/violated".into(),
                message: format!("it was given up: {reason}"),
                hint: Some("`history` names the records".into()),
            })),
            _ => None,
        }))
    }
}

/// One step forward.
async fn advance(helm: &Helm) -> Result<serde_json::Value, Halt> {
    match helm.state().phase {
        Phase::Planned => expand::expand(helm).await,
        Phase::Expand => expand::backfill(helm).await,
        Phase::Backfill => enforce::enforce(helm).await,
        Phase::Enforce => contract::contract(helm).await,
        Phase::Contract => Err(Halt::refused(
            "phase/last-exit",
            "only `complete` goes on from contract, and nothing comes back from there",
            "`complete` when you are sure",
        )),
        Phase::Complete | Phase::Withdrawn => {
            Err(Halt::refused("phase/over", "the migration is over", "`history` shows how"))
        }
    }
}

fn busy(activity: Activity) -> Halt {
    let name = activity.name();
    Halt::refused(
        "busy/activity",
        format!("{name} is running"),
        format!("wait for the end of {name}; `status` shows it"),
    )
}
