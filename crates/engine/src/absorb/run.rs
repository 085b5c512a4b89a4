//! All control flow of an `absorb`: whoever holds the coordinator's lease does
//! requests one by one, finishes what a crash left half-done, and keeps the
//! activities of the phase going.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use shearwater_core::Stamp;
use shearwater_core::absorb::Home;
use shearwater_core::error::{Policy, StoreError, StoreErrorKind};
use shearwater_core::journal::{Command, Event, Journal, Refusal, Request};
use shearwater_core::lifecycle::Status;
use shearwater_core::lifecycle::absorb::{Phase, State, Step};
use shearwater_core::store::{Fence, Role, Side, Store};

use super::census::{CENSUS_NOTE, Looking};
use super::place::Place;
use super::returning::is_held;
use super::stragglers::Tried;
use super::{Carrier, Fault, Protection, Setup};
use crate::coordinator::{Coordinator, CoordinatorOptions, Lead, Standby};
use crate::failpoint;
use crate::helm::backoff;
use crate::interrupted::{self, Interrupted};
use crate::ledger::{Halt, Lease, Ledger};
use crate::member::Member;
use crate::records::Shape;

mod undoing;

/// How often members' leases are looked at while they are waited for.
const MEMBERS_POLL: Duration = Duration::from_millis(5);

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
        self.tend().await?;
        for request in self.carrier.setup.journal.open_requests().await? {
            self.perform(request).await?;
        }
        Ok(())
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

    async fn return_all(&mut self, state: &State) -> Result<(), Halt> {
        let (mut returned, mut held) = (0, 0);
        let mut after = None;
        // What was returned before a crash is not walked again.
        let mut more = !state.returned;
        while more {
            self.go_on()?;
            let keys = self.carrier.next_in(Home::Target, after).await?;
            more = !keys.is_empty();
            after = keys.last().cloned();
            for key in &keys {
                match self.carrier.take_back(state.epoch, key).await {
                    // One that the target holds on to does not hold up the others.
                    Err(fault) if is_held(&fault) => held += 1,
                    came => returned += u64::from(came?),
                }
            }
        }
        // Behind the walk's back a client may have created a record in the target: once more from the start.
        if self.carrier.next_in(Home::Target, None).await?.is_empty() {
            if !state.returned {
                self.step(Step::Returned { records: returned }).await?;
            }
            return self.enter(Phase::Prepare).await;
        }
        if held > 0 { Err(self::held(held)) } else { Ok(()) }
    }

    async fn perform(&mut self, request: Request) -> Result<(), Halt> {
        let journal = self.carrier.setup.journal.clone();
        if let Some(outcome) = self.outcome_of_interrupted(&request).await? {
            return Ok(journal.finish(request.id, outcome).await?);
        }
        interrupted::begins(journal.as_ref(), &request, self.ledger.view().seq).await?;
        failpoint::hit("request-begun");
        let outcome = match self.begin(&request.command).await {
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
            Event::Absorb { step: Step::Aborted { reason, .. } } => Some(Err(remain(reason))),
            Event::Absorb { step: Step::Entered { .. } }
            | Event::Verified { .. }
            | Event::Paused { .. }
            | Event::Resumed => Some(Ok(done.clone())),
            _ => None,
        }))
    }

    async fn begin(&mut self, command: &Command) -> Result<serde_json::Value, Halt> {
        let state = self.state();
        match command {
            Command::Advance => self.advance(&state).await,
            Command::Rollback => self.roll_back(&state).await,
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

    /// Adds the flag and its index, installs both sidecars, and counts collisions.
    async fn prepare(&mut self) -> Result<(), Halt> {
        let setup = &self.carrier.setup;
        self.step(Step::Preparing).await?;
        if let Some(flags) = setup.plain.flags() {
            flags.add_flag(setup.shapes.flag()).await.map_err(Halt::store(Side::Source))?;
        }
        failpoint::hit("absorb-flag-added");
        self.go_on()?;
        let fence = Fence { role: Role::Authority, epoch: self.state().epoch };
        setup
            .source()
            .await
            .map_err(Halt::store(Side::Source))?
            .install(fence)
            .await
            .map_err(Halt::store(Side::Source))?;
        failpoint::hit("capture-source-installed");
        self.go_on()?;
        setup.target.install_for_parked(fence).await.map_err(Halt::store(Side::Target))?;
        failpoint::hit("capture-target-installed");
        for referred in &setup.lookups.references {
            referred.claim(setup.journal.migration()).await?;
        }
        if let Some(crosswalk) = &setup.crosswalk {
            crosswalk.install().await?;
            failpoint::hit("absorb-keys-installed");
            let lease = self.ledger.lease().clone();
            self.carrier.assign_all(|| lease.check().map_err(|_| lost())).await?;
            self.go_on()?;
        }
        let lease = self.ledger.lease().clone();
        let source = setup.source().await.map_err(Halt::store(Side::Source))?;
        let looking = Looking {
            lookups: &setup.lookups,
            shapes: &setup.shapes,
            source: source.as_ref(),
            only: setup.shapes.lives_in(Home::Source),
            target: setup.target.as_ref(),
        };
        let found = looking.census(|| lease.check().map_err(|_| lost())).await?;
        let listed = serde_json::to_string(&found.listed).unwrap_or_default();
        setup.journal.set_note(CENSUS_NOTE, &listed).await?;
        self.step(Step::Prepared { census: found.census }).await
    }

    async fn enter(&mut self, to: Phase) -> Result<(), Halt> {
        let epoch = self.state().epoch + 1;
        self.step(Step::Entering { to, epoch }).await?;
        self.finish(to).await
    }

    /// Finishes what `Entering` began; also after a crash.
    async fn finish(&mut self, to: Phase) -> Result<(), Halt> {
        let state = self.state();
        self.acknowledged(state.epoch).await?;
        failpoint::hit("enter-acknowledged");
        let setup = &self.carrier.setup;
        // Removal begins with the source's sidecar: without it there is nothing left to settle.
        if state.closing {
            self.remove(to).await?;
            return self.step(Step::Entered { to }).await;
        }
        if state.prepared && setup.plain.fence().await.map_err(Halt::store(Side::Source))?.is_none() {
            self.remove(to).await?;
            return self.step(Step::Entered { to }).await;
        }
        if state.prepared {
            self.raise_fences(state.epoch).await?;
            failpoint::hit("fences-set");
        }
        match to {
            Phase::Prepare | Phase::Lazy | Phase::Drain => {}
            // Nobody moves records any more: what is on its way is finished first.
            Phase::Rollback => self.carrier.settle_all(&state).await?,
            Phase::Complete => {
                self.carrier.settle_all(&state).await?;
                let remaining = self.carrier.counts().await?.remaining;
                if remaining > 0 {
                    let reason = format!("{remaining} records came to the source meanwhile");
                    self.step(Step::Aborted { reason: reason.clone(), epoch: state.epoch + 1 }).await?;
                    self.raise_fences(state.epoch + 1).await?;
                    return Err(Halt::Refused(remain(&reason)));
                }
                self.step(Step::Closing { epoch: state.epoch + 1 }).await?;
                self.acknowledged(state.epoch + 1).await?;
                self.remove(to).await?;
            }
            Phase::Planned | Phase::Withdrawn => self.remove(to).await?,
        }
        self.step(Step::Entered { to }).await
    }

    async fn acknowledged(&self, epoch: u64) -> Result<(), Halt> {
        loop {
            self.ledger.lease().check()?;
            let members = self.carrier.setup.journal.members().await?;
            if members.iter().all(|member| member.epoch >= epoch) {
                return Ok(());
            }
            self.member.nudge();
            tokio::time::sleep(MEMBERS_POLL).await;
        }
    }

    async fn raise_fences(&self, epoch: u64) -> Result<(), Halt> {
        let source = self.carrier.setup.source().await.map_err(Halt::store(Side::Source))?;
        for (side, store) in [(Side::Source, source.as_ref()), (Side::Target, self.carrier.setup.target.as_ref())] {
            raise(side, store, Fence { role: Role::Authority, epoch }).await?;
            failpoint::hit("fence-one-set");
        }
        Ok(())
    }

    /// Removes everything of ours. The sidecars go before the flag: the flag
    /// says where records live, and is last known to be needed.
    /// The pairs of keys stay until there is no next move.
    async fn remove(&self, to: Phase) -> Result<(), Halt> {
        let setup = &self.carrier.setup;
        setup.plain.remove().await.map_err(Halt::store(Side::Source))?;
        failpoint::hit("remove-source");
        setup.target.remove().await.map_err(Halt::store(Side::Target))?;
        failpoint::hit("remove-target");
        self.ledger.lease().check()?;
        if let Some(flags) = setup.plain.flags() {
            flags.remove_flag(setup.shapes.flag()).await.map_err(Halt::store(Side::Source))?;
        }
        failpoint::hit("absorb-flag-removed");
        for referred in &setup.lookups.references {
            referred.give_up(setup.journal.migration()).await?;
        }
        match (&setup.crosswalk, to) {
            (Some(crosswalk), Phase::Complete) if crosswalk.is_kept() => {}
            (Some(crosswalk), Phase::Complete | Phase::Withdrawn) => crosswalk.remove().await?,
            _ => {}
        }
        Ok(())
    }

    async fn roll_back(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        let to = match state.phase {
            Phase::Prepare => Phase::Planned,
            Phase::Lazy | Phase::Drain => Phase::Rollback,
            Phase::Rollback => return Ok(json!({ "phase": Phase::Rollback.name() })),
            Phase::Planned => {
                return Err(Halt::refused("phase/planned", "nothing has begun", "`withdraw` gives the migration up"));
            }
            Phase::Complete | Phase::Withdrawn => {
                return Err(Halt::refused("phase/over", "the migration is over; there is no way back", ""));
            }
        };
        let dropped = match to {
            Phase::Planned => self.carrier.beside().await?,
            _ => 0,
        };
        self.enter(to).await?;
        if to == Phase::Rollback {
            self.return_all(&self.state()).await?;
        }
        Ok(json!({ "phase": self.state().phase.name(), "dropped_beside": dropped }))
    }

    async fn withdraw(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        if !matches!(state.phase, Phase::Planned | Phase::Prepare) {
            let message =
                format!("a migration is withdrawn from planned or prepare, and this is {}", state.phase.name());
            return Err(Halt::refused("phase/not-planned", message, "`rollback` first"));
        }
        self.unclaimed(Phase::Withdrawn).await?;
        self.enter(Phase::Withdrawn).await?;
        Ok(json!({ "phase": Phase::Withdrawn.name() }))
    }

    /// Whether nobody else needs the keys that an end would take away.
    async fn unclaimed(&self, to: Phase) -> Result<(), Halt> {
        let Some(crosswalk) = &self.carrier.setup.crosswalk else { return Ok(()) };
        if to == Phase::Complete && crosswalk.is_kept() {
            return Ok(());
        }
        let claimants = crosswalk.claimants().await?;
        if claimants.is_empty() { Ok(()) } else { Err(claimed(&claimants)) }
    }

    async fn complete(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        if state.phase != Phase::Drain {
            let message = format!("a migration is completed from drain, and this is {}", state.phase.name());
            return Err(Halt::refused("phase/not-drain", message, "`advance` to drain, and move what remains"));
        }
        let remaining = self.carrier.counts().await?.remaining;
        if remaining > 0 {
            let message = format!("{remaining} records remain in the source");
            return Err(Halt::refused("gate/remaining", message, "move them: `bulk`, or [stragglers] in the spec"));
        }
        let letters = self.carrier.setup.journal.dead_letter_count().await?;
        if letters > 0 {
            let message = format!("there are {letters} dead letters");
            return Err(Halt::refused(
                "gate/dead-letters",
                message,
                "see `dead-letters`; mend them, then `dead-letters retry`",
            ));
        }
        self.unclaimed(Phase::Complete).await?;
        self.enter(Phase::Complete).await?;
        Ok(json!({ "phase": Phase::Complete.name() }))
    }

    /// Looks at every dead letter again: those whose record moves or has moved
    /// by now go, the others stay.
    async fn retry(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        const LETTERS_READ_MAX: usize = 1_000;
        let journal = &self.carrier.setup.journal;
        let parts = self.carrier.setup.shapes.shape(Side::Source).key_fields().len();
        let (mut resolved, mut kept, mut after) = (0_u64, 0_u64, None);
        loop {
            let letters = journal.dead_letters(after.as_deref(), LETTERS_READ_MAX).await?;
            for letter in &letters {
                self.go_on()?;
                let mended = match shearwater_core::Key::from_text(&letter.key, parts) {
                    Ok(key) => self.is_mended(state, &key, letter).await?,
                    Err(_) => false,
                };
                if mended && journal.resolve(letter.authority, &letter.key).await? {
                    resolved += 1;
                } else {
                    kept += 1;
                }
            }
            match letters.last() {
                Some(last) if letters.len() == LETTERS_READ_MAX => after = Some(last.key.clone()),
                _ => return Ok(json!({ "resolved": resolved, "kept": kept })),
            }
        }
    }

    /// A stray is taken note of by asking again; a refused record is mended
    /// when it has moved, or nothing would keep it from moving.
    async fn is_mended(
        &self,
        state: &State,
        key: &shearwater_core::Key,
        letter: &shearwater_core::journal::DeadLetter,
    ) -> Result<bool, Halt> {
        if letter.code == super::reconcile::STRAY {
            return Ok(true);
        }
        Ok(match self.carrier.locate(state, Shape::V1, key).await? {
            Place::Source { held, .. } => match self.carrier.setup.shapes.forward(&held.v1) {
                Ok(parted) => {
                    let key = self.carrier.target_key(key).await?;
                    self.carrier.obstacle(&parted.v2, &key).await?.is_none()
                }
                Err(_) => false,
            },
            Place::Target { .. } | Place::Deleted { .. } | Place::Nowhere { .. } | Place::Own { .. } => true,
        })
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

/// Records came to the source while it was about to be left for good.
fn remain(reason: &str) -> Refusal {
    Refusal {
        code: "gate/remaining".into(),
        message: reason.to_owned(),
        hint: Some("move them, then complete again".into()),
    }
}

/// Records that the target does not give up.
fn held(records: u64) -> Halt {
    let message = format!("records that the target does not give up, because others there name them: {records}");
    let hint = "`dead-letters` lists them; take those others back or away first, the rest comes back by itself then";
    Halt::refused(super::returning::HELD, message, hint)
}

/// Others would stand without the keys that they translate by.
fn claimed(claimants: &[String]) -> Halt {
    let message = format!("the keys that were assigned are needed by the references of: {}", claimants.join(", "));
    let hint = "complete or withdraw those first; with keep = true in [identity] the table of keys would have stayed";
    Halt::refused("gate/claimed", message, hint)
}

fn lost() -> Fault {
    Fault::Journal(shearwater_core::journal::JournalError::Conflict { at: 0 })
}

async fn raise(side: Side, store: &dyn Store, new: Fence) -> Result<(), Halt> {
    let mut now = store.fence().await.map_err(Halt::store(side))?.ok_or_else(|| no_fence(side))?;
    while now != new {
        if now.epoch > new.epoch {
            return Err(Halt::Lost);
        }
        now = store.set_fence(now, new).await.map_err(Halt::store(side))?;
    }
    Ok(())
}

fn no_fence(side: Side) -> Halt {
    let message =
        format!("the sidecar is not in the {} store, though the journal says so", crate::ledger::side_name(side));
    let error = StoreError::new(StoreErrorKind::Sidecar, message)
        .with_hint("somebody removed the sidecar's tables or triggers; restore them from a backup of the store");
    Halt::Store { side, error }
}
