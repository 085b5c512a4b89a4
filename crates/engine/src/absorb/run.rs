//! All control flow of an `absorb`: whoever holds the coordinator's lease does
//! requests one by one, finishes what a crash left half-done, and keeps the
//! activities of the phase going.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use shearwater_core::Stamp;
use shearwater_core::error::Policy;
use shearwater_core::journal::{Command, Event, Journal, Refusal, Request};
use shearwater_core::lifecycle::Status;
use shearwater_core::lifecycle::absorb::{Phase, State, Step};

use super::stragglers::Tried;
use super::{Carrier, Fault, Protection, Setup};
use crate::coordinator::{Coordinator, CoordinatorOptions, Lead, Standby};
use crate::failpoint;
use crate::helm::backoff;
use crate::interrupted::{self, Interrupted};
use crate::ledger::{Halt, Lease, Ledger};
use crate::member::Member;

mod ending;
mod entering;
mod letters;
mod returning;
mod undoing;

/// Between two rounds of deactivations: they are counted by the day.
const DEACTIVATE_EVERY: Duration = Duration::from_secs(10);

/// Runs a coordinator in the background.
pub fn spawn(
    setup: Setup,
    member: Arc<Member<State>>,
    options: CoordinatorOptions,
    without: Option<Protection>,
) -> Coordinator {
    Coordinator::spawn(Leader { carrier: Carrier { setup, without }, member }, options)
}

struct Leader {
    carrier: Carrier,
    member: Arc<Member<State>>,
}

#[async_trait]
impl Lead for Leader {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.carrier.setup.journal
    }

    fn holder(&self) -> &str {
        self.member.id()
    }

    async fn lead(&self, lease: &Arc<Lease>, leash: &Standby) -> Result<(), Halt> {
        let ledger = Ledger::load(self.carrier.setup.journal.clone(), lease.clone()).await?;
        let mut lead = Leading {
            interrupted: Interrupted::load(self.carrier.setup.journal.as_ref()).await?,
            carrier: &self.carrier,
            member: &self.member,
            ledger,
            seen: Stamp::ZERO,
            deactivated_at: None,
            tried: Tried::default(),
            stop: leash.stop.clone(),
        };
        lead.run(leash).await
    }
}

/// A coordinator at work.
struct Leading<'a> {
    carrier: &'a Carrier,
    member: &'a Arc<Member<State>>,
    ledger: Ledger<State>,
    /// The youngest mark of the last round.
    seen: Stamp,
    deactivated_at: Option<Instant>,
    tried: Tried,
    /// What a coordinator before us was doing.
    interrupted: Interrupted,
    stop: tokio::sync::watch::Receiver<bool>,
}

impl Leading<'_> {
    async fn run(&mut self, leash: &Standby) -> Result<(), Halt> {
        let mut failures = 0;
        let mut stop = leash.stop.clone();
        while !*stop.borrow() {
            self.ledger.lease().check()?;
            let wait = match self.round().await {
                Ok(()) => {
                    failures = 0;
                    leash.poll
                }
                Err(halt) => {
                    let refusal = halt.into_refusal()?;
                    tracing::warn!(code = refusal.code, "absorb: {}", refusal.message);
                    failures += 1;
                    backoff(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = leash.woken.notified() => {}
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    fn state(&self) -> State {
        self.ledger.view().state.clone()
    }

    /// What a long activity asks between two records.
    fn go_on(&self) -> Result<(), Halt> {
        self.ledger.lease().check()?;
        if *self.stop.borrow() { Err(Halt::Stopped) } else { Ok(()) }
    }

    async fn step(&self, step: Step) -> Result<(), Halt> {
        self.ledger.append(Event::Absorb { step }).await?;
        self.member.nudge();
        Ok(())
    }

    /// One round: what was begun is finished, the phase's activities go on, requests are done.
    async fn round(&mut self) -> Result<(), Halt> {
        if let Some(to) = self.state().entering {
            self.finish(to).await?;
        }
        let refused = match self.tend().await {
            // What cannot go on by itself keeps nobody from asking for something else.
            Err(Halt::Refused(refusal)) => Some(refusal),
            tended => {
                tended?;
                None
            }
        };
        for request in self.carrier.setup.journal.open_requests().await? {
            self.perform(request).await?;
        }
        refused.map_or(Ok(()), |refusal| Err(Halt::Refused(refusal)))
    }

    /// The activities of a phase.
    async fn tend(&mut self) -> Result<(), Halt> {
        let state = self.state();
        if !state.prepared || state.entering.is_some() {
            return Ok(());
        }
        match self.carrier.reconcile(&state, self.seen).await {
            Ok(youngest) => self.seen = youngest,
            // The phase moved on: look again.
            Err(Fault::Store(_, error)) if error.policy() == Policy::Reroute => {}
            Err(fault) => return Err(fault.into()),
        }
        self.carrier.sample().await?;
        if state.phase == Phase::Rollback && state.status == Status::Running {
            return self.return_all(&state).await;
        }
        if state.deactivates() && self.deactivated_at.is_none_or(|at| at.elapsed() >= DEACTIVATE_EVERY) {
            let round = self.carrier.deactivate(&state, &mut self.tried).await?;
            self.deactivated_at = Some(Instant::now());
            if round.deactivated > 0 {
                self.step(Step::Deactivated { records: round.deactivated }).await?;
                // A full round has most likely not reached them all.
                self.deactivated_at = None;
            }
        }
        Ok(())
    }

    async fn perform(&mut self, request: Request) -> Result<(), Halt> {
        let journal = self.carrier.setup.journal.clone();
        if let Some(outcome) = self.outcome_of_interrupted(&request).await? {
            return Ok(journal.finish(request.id, outcome).await?);
        }
        interrupted::begins(journal.as_ref(), &request, self.ledger.view().seq).await?;
        failpoint::hit("request-begun");
        let outcome = match self.begin(&request).await {
            Ok(report) => Ok(report),
            // The request stays open for whoever leads next.
            Err(Halt::Stopped) => return Ok(()),
            Err(halt) => Err(halt.into_refusal()?),
        };
        failpoint::hit("request-performed");
        journal.finish(request.id, outcome).await?;
        failpoint::hit("request-finished");
        Ok(())
    }

    /// The outcome of a request that a coordinator before us had begun and that
    /// recovery has finished; `None` when it is to be done (again). A rollback
    /// that was cut and finished must not begin another.
    async fn outcome_of_interrupted(
        &mut self,
        request: &Request,
    ) -> Result<Option<Result<serde_json::Value, Refusal>>, Halt> {
        let journal = self.carrier.setup.journal.as_ref();
        let Some(since) = self.interrupted.entries_since(journal, request).await? else { return Ok(None) };
        let done = json!({ "phase": self.state().phase.name(), "resumed": true });
        Ok(since.iter().rev().find_map(|entry| match &entry.event {
            Event::Absorb { step: Step::Aborted { reason, .. } } => Some(Err(ending::remain(reason))),
            Event::Absorb { step: Step::Entered { .. } }
            | Event::Verified { .. }
            | Event::Paused { .. }
            | Event::Resumed => Some(Ok(done.clone())),
            _ => None,
        }))
    }

    async fn begin(&mut self, request: &Request) -> Result<serde_json::Value, Halt> {
        let state = self.state();
        match &request.command {
            Command::Advance => self.advance(&state).await,
            Command::Rollback => self.roll_back(&state, request.at_ms).await,
            Command::Withdraw => self.withdraw(&state).await,
            Command::Complete => self.complete(&state).await,
            Command::Verify => self.verify(&state).await,
            Command::Pause => {
                let event = Event::Paused { reason: "by an operator".to_owned() };
                self.ledger.append(event).await?;
                Ok(json!({ "status": "paused" }))
            }
            Command::Resume => {
                self.ledger.append(Event::Resumed).await?;
                Ok(json!({ "status": "running" }))
            }
            Command::RetryDeadLetters => self.retry(&state).await,
            Command::UndoDeactivations { keys } => self.undo(&state, keys.as_deref()).await,
            Command::Ramp { .. } | Command::Backfill | Command::Repair { .. } => Err(Halt::refused(
                "kind/absorb",
                "an absorb does not have this step",
                "`advance`, `bulk`, `rollback`, `complete`, `verify`",
            )),
        }
    }

    async fn advance(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        let to = match state.phase {
            Phase::Planned => Phase::Prepare,
            Phase::Prepare => Phase::Lazy,
            Phase::Lazy => Phase::Drain,
            Phase::Drain => {
                return Err(Halt::refused(
                    "phase/last",
                    "the next step is the last one, behind which there is no way back",
                    "`complete`, when no record remains in the source",
                ));
            }
            Phase::Rollback => {
                return Err(Halt::refused("phase/rollback", "records are going back", "wait until they are back"));
            }
            Phase::Complete | Phase::Withdrawn => {
                return Err(Halt::refused("phase/over", "the migration is over", ""));
            }
        };
        if to == Phase::Prepare && !state.prepared {
            self.prepare().await?;
        }
        self.enter(to).await?;
        Ok(json!({ "phase": to.name(), "census": self.state().census }))
    }

    /// Report: the totals of the verification.
    async fn verify(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        if !state.prepared {
            return Err(Halt::refused("phase/not-prepared", "there is nothing to verify yet", "`advance` first"));
        }
        let totals = self.carrier.verify(state, || self.go_on()).await?;
        self.ledger.append(Event::Verified { totals }).await?;
        Ok(json!({
            "compared": totals.compared, "missing": totals.missing, "extra": totals.extra,
            "different": totals.different, "refused": totals.refused, "mismatches": totals.mismatches(),
        }))
    }
}
