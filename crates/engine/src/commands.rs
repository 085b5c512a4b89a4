//! Commands to activities: what each request does, which may run beside which,
//! and what becomes of a request whose coordinator died.

use std::collections::HashSet;

use serde_json::json;
use shearwater_core::journal::{Command, Event, Refusal, Request};
use shearwater_core::lifecycle::{BackfillState, Phase, Status};
use shearwater_core::store::Side;

use crate::complete::complete;
use crate::cutover::cutover;
use crate::gates::{self, Gate};
use crate::helm::{Helm, Wish};
use crate::interrupted::{self, Interrupted};
use crate::ledger::Halt;
use crate::ramp::ramp;
use crate::repair::Mode;
use crate::rollback::rollback;
use crate::shadow::{SHADOW_NOTE, ShadowCounts};
use crate::withdraw::withdraw;
use crate::work::{Activity, Long};
use crate::{backfill, dead_letters, enter, failpoint};

/// The coordinator's work at requests and background activities.
pub struct Commands {
    helm: Helm,
    long: Option<Long>,
    /// Something was left half-done; nothing is begun before it is recovered.
    pub unsettled: bool,
    /// What a coordinator before us was doing.
    interrupted: Interrupted,
}

/// What a request comes to at once.
enum Begun {
    /// Its outcome.
    Done(serde_json::Value),
    /// It waits for an activity's end.
    Waits,
}

impl Commands {
    /// Begins; the first thing to do is to recover.
    pub async fn take_over(helm: Helm) -> Result<Commands, Halt> {
        let interrupted = Interrupted::load(helm.setup.journal.as_ref()).await?;
        Ok(Commands { helm, long: None, unsettled: true, interrupted })
    }

    /// One round: ends what has ended, keeps the phase's activities going, does
    /// open requests.
    pub async fn tend(&mut self) -> Result<(), Halt> {
        self.collect().await?;
        self.keep_going().await?;
        let waiting: HashSet<u64> = self.long.iter().flat_map(|long| long.requests.iter().copied()).collect();
        for request in self.helm.setup.journal.open_requests().await? {
            if waiting.contains(&request.id) {
                continue;
            }
            if self.unsettled {
                return Ok(());
            }
            self.perform(request).await?;
        }
        Ok(())
    }

    /// Ends the activity at its next step. Requests that wait for it stay open:
    /// whoever coordinates next goes on with them.
    pub async fn stop(mut self) -> Result<(), Halt> {
        if let Some(mut long) = self.long.take() {
            long.requests.clear();
            long.stop(&self.helm).await?;
        }
        Ok(())
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
                        // Whatever it was, the stores are looked at before the next step.
                        self.unsettled = !matches!(halt, Halt::Refused(_));
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
                self.refuse_while_busy()?;
                advance(&helm).await.map(Begun::Done)
            }
            Command::Ramp { percent } => ramp(&helm, *percent).await.map(Begun::Done),
            Command::Rollback => {
                self.end_activity().await?;
                rollback(&helm).await.map(Begun::Done)
            }
            Command::Withdraw => {
                self.end_activity().await?;
                withdraw(&helm).await.map(Begun::Done)
            }
            Command::Complete => {
                self.end_activity().await?;
                complete(&helm).await.map(Begun::Done)
            }
            Command::Backfill => self.backfill(request.id).await,
            Command::Verify => self.long(Activity::Verify, request.id),
            Command::Repair { dry_run: true } => self.long(Activity::Repair(Mode::DryRun), request.id),
            Command::Repair { dry_run: false } => self.long(Activity::Repair(Mode::Apply), request.id),
            Command::Pause => self.pause().await,
            Command::Resume => self.resume().await,
            Command::RetryDeadLetters => dead_letters::retry(&helm).await.map(Begun::Done),
            Command::UndoDeactivations { .. } => {
                Err(Halt::refused("kind/move", "a move deactivates nobody", "`deactivations` is for an absorb"))
            }
        }
    }

    /// Starts a run, or waits for the one that runs.
    async fn backfill(&mut self, request: u64) -> Result<Begun, Halt> {
        let state = self.helm.ledger.view().state.clone();
        if state.follower() != Some(Side::Target) {
            return Err(Halt::refused(
                "phase/no-follower",
                format!("the target does not follow in {}, so nothing can be backfilled", state.phase.name()),
                "`advance` to dual-write first",
            ));
        }
        if !matches!(state.backfill, BackfillState::Running { .. }) {
            self.refuse_while_busy()?;
            backfill::begin(&self.helm).await?;
        }
        self.long(Activity::Backfill, request)
    }

    /// Joins a request to an activity, beginning it when nothing runs.
    fn long(&mut self, activity: Activity, request: u64) -> Result<Begun, Halt> {
        match &mut self.long {
            Some(long) if long.activity == activity && activity == Activity::Backfill => long.requests.push(request),
            // A request of its own for each: the one that runs may have begun before what this asker did.
            Some(long) => return Err(busy(long.activity)),
            None => {
                let mut long = Long::begin(&self.helm, activity, self.wish());
                long.requests.push(request);
                self.long = Some(long);
            }
        }
        Ok(Begun::Waits)
    }

    async fn pause(&mut self) -> Result<Begun, Halt> {
        if self.helm.ledger.view().state.status == Status::Running {
            self.helm.ledger.append(Event::Paused { reason: "asked for".into() }).await?;
        }
        self.follow_status();
        Ok(Begun::Done(self.status()))
    }

    async fn resume(&mut self) -> Result<Begun, Halt> {
        if self.helm.ledger.view().state.status != Status::Running {
            self.helm.ledger.append(Event::Resumed).await?;
        }
        self.follow_status();
        Ok(Begun::Done(self.status()))
    }

    fn status(&self) -> serde_json::Value {
        json!({ "status": self.helm.ledger.view().state.status })
    }

    fn wish(&self) -> Wish {
        match self.helm.ledger.view().state.status {
            Status::Running => Wish::Go,
            Status::Paused => Wish::Rest,
            // What failed is not begun by itself; what somebody asks for is done.
            Status::Failed { .. } => Wish::Go,
        }
    }

    fn follow_status(&self) {
        if let Some(long) = &self.long {
            long.wish(self.wish());
        }
    }

    fn refuse_while_busy(&self) -> Result<(), Halt> {
        match &self.long {
            // The backfill has a gate of its own.
            Some(long) if long.activity != Activity::Backfill => Err(busy(long.activity)),
            Some(_) | None => Ok(()),
        }
    }

    async fn end_activity(&mut self) -> Result<(), Halt> {
        match self.long.take() {
            Some(long) => long.stop(&self.helm).await,
            None => Ok(()),
        }
    }

    /// Ends an activity that has ended by itself; a backfill that broke is
    /// journalled, so that it does not begin again before somebody looked.
    async fn collect(&mut self) -> Result<(), Halt> {
        let Some(long) = self.long.take_if(|long| long.is_finished()) else { return Ok(()) };
        let activity = long.activity;
        match long.finish(&self.helm).await? {
            Err(halt) if activity == Activity::Backfill && !matches!(halt, Halt::Stopped) => {
                self.helm.ledger.append(Event::Failed { reason: format!("backfill: {halt}") }).await?;
            }
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    /// What a phase does by itself: the first backfill begins in dual-write, and
    /// one that is running goes on.
    async fn keep_going(&mut self) -> Result<(), Halt> {
        let state = self.helm.ledger.view().state.clone();
        let settled = state.entering.is_none() && state.switch.is_none() && !self.unsettled;
        let failed = matches!(state.status, Status::Failed { .. });
        if !settled || failed || self.long.is_some() || state.follower() != Some(Side::Target) {
            return Ok(());
        }
        match state.backfill {
            BackfillState::NotRun if state.status == Status::Running => {
                if let Err(halt) = backfill::begin(&self.helm).await {
                    let refusal = halt.into_refusal()?;
                    tracing::warn!(code = refusal.code, "the backfill cannot begin: {}", refusal.message);
                }
            }
            BackfillState::NotRun | BackfillState::Done { .. } => {}
            BackfillState::Running { .. } => {
                self.long = Some(Long::begin(&self.helm, Activity::Backfill, self.wish()));
            }
        }
        Ok(())
    }

    /// The outcome of a request that a coordinator before us had begun and that
    /// recovery has finished or undone; `None` when it is to be done (again).
    async fn outcome_of_interrupted(
        &mut self,
        request: &Request,
    ) -> Result<Option<Result<serde_json::Value, Refusal>>, Halt> {
        let journal = self.helm.setup.journal.as_ref();
        let Some(since) = self.interrupted.entries_since(journal, request).await? else { return Ok(None) };
        let moves =
            matches!(request.command, Command::Advance | Command::Rollback | Command::Withdraw | Command::Complete);
        if !moves {
            return Ok(None);
        }
        let view = self.helm.ledger.view();
        Ok(since.iter().rev().find_map(|entry| match &entry.event {
            Event::Entered { .. } | Event::Opened { .. } => {
                Some(Ok(json!({ "phase": view.state.phase, "epoch": view.state.epoch, "resumed": true })))
            }
            Event::SwitchAborted { reason, .. } => Some(Err(Refusal {
                code: "switch/aborted".into(),
                message: format!("the change of authority was aborted: {reason}"),
                hint: Some("try again".into()),
            })),
            _ => None,
        }))
    }
}

fn busy(activity: Activity) -> Halt {
    let name = activity.name();
    Halt::refused("busy/activity", format!("a {name} is running"), "wait for its end, then try again")
}

/// The next phase, if its gates are open.
///
/// Report: `{"phase": "…", "epoch": n}`, or that of [`crate::cutover::switch`].
async fn advance(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    match state.phase {
        Phase::Planned => {
            if !state.captured {
                enter::capture(helm).await?;
            }
            step(helm, Phase::DualWrite).await
        }
        Phase::DualWrite => step(helm, Phase::ShadowRead).await,
        Phase::ShadowRead => step(helm, Phase::ReadRamp).await,
        Phase::ReadRamp => cutover(helm).await,
        Phase::ReverseWindow => Err(Halt::refused(
            "phase/last-exit",
            "what follows the reverse window has no way back",
            "`complete` does it",
        )),
        Phase::Cutover | Phase::Rollback | Phase::Complete | Phase::Withdrawn => {
            Err(Halt::refused("phase/no-next", format!("no phase follows {}", state.phase.name()), "see `status`"))
        }
    }
}

async fn step(helm: &Helm, to: Phase) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    let facts = gates::facts(&helm.setup, &state, |keys| helm.drain.pause(keys)).await?;
    let gates: Vec<Gate> = gates::gates(to, &state, &facts, &helm.setup.spec.gates);
    gates::refuse_closed(&gates)?;
    if to == Phase::ShadowRead {
        // What was compared in an earlier try says nothing about this one.
        let none = serde_json::to_string(&ShadowCounts::default()).map_err(|e| Halt::Broken(e.to_string()))?;
        helm.setup.journal.set_note(SHADOW_NOTE, &none).await?;
    }
    enter::enter(helm, to).await?;
    let view = helm.ledger.view();
    Ok(json!({ "phase": view.state.phase, "epoch": view.state.epoch }))
}
