//! The lifecycle of a migration as one pure function over journal events: what
//! every kind's has in common, and that of a `move`.
//!
//! Status stands beside the phase, so that a failure never erases where we
//! were. Phases are never compared by order: ask a named question.

use serde::{Deserialize, Serialize};

use crate::journal::{Entry, Event};
use crate::store::{ScanRange, Side};

pub mod absorb;
mod phases;
pub mod require;

pub use phases::{PHASES, PhaseInfo, Way, WayBy};

/// The lifecycle of one kind of migration: a state that the journal's entries
/// add up to, and the only place that decides which event may come next.
pub trait Lifecycle: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The state before any entry.
    fn initial() -> Self;

    /// The next state, or why the event is not possible. `seq` is the event's
    /// number in the journal, from 1.
    fn next(&self, seq: u64, event: &Event) -> Result<Self, Illegal>;

    /// The epoch that members act on; it never falls.
    fn epoch(&self) -> u64;

    /// The phase's name, for people.
    fn phase_name(&self) -> &'static str;

    /// What stands beside the phase.
    fn status(&self) -> &Status;

    /// Whether nothing can happen any more.
    fn is_over(&self) -> bool;

    /// The state that entries add up to, from the first one on.
    fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, Illegal> {
        entries.into_iter().try_fold(Self::initial(), |state, entry| state.next(entry.seq, &entry.event))
    }
}

/// The durable place of a `move`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Written down; nothing follows. Also where a rollback before the cutover ends:
    /// the source goes on capturing, so that going forward again is cheap.
    Planned,
    /// The source is the authority; the target follows. The backfill runs here.
    DualWrite,
    /// As dual-write; sampled reads are compared with the target.
    ShadowRead,
    /// As dual-write; reads of a growing part of the keys come from the target.
    ReadRamp,
    /// The authority is moving from source to target: unsettled.
    Cutover,
    /// The target is the authority; the source follows.
    ReverseWindow,
    /// The authority is moving back from target to source: unsettled.
    Rollback,
    /// The target is the only store; the sidecars are gone. No way back.
    Complete,
    /// Given up at the source; the sidecars are gone.
    Withdrawn,
}

/// What stands beside the phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Going on.
    #[default]
    Running,
    /// Background work rests; clients are served and both stores kept equal.
    Paused,
    /// An activity stopped and needs somebody.
    Failed {
        /// Why, for people; no row values.
        reason: String,
    },
}

/// A change of authority on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// From here.
    pub from: Side,
    /// To there.
    pub to: Side,
    /// The phase to return to when it is aborted.
    pub back_to: Phase,
    /// Whether `Switched` is journalled: then it can only be finished.
    pub decided: bool,
    /// The longest pause of writes, ms.
    pub budget_ms: u64,
}

/// How far the backfill is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackfillState {
    /// Not started.
    #[default]
    NotRun,
    /// Started; its ranges are fixed.
    Running {
        /// The run's name, under which the follower keeps its checkpoints.
        run: String,
        /// The ranges.
        ranges: Vec<ScanRange>,
    },
    /// Finished.
    Done {
        /// The run's name.
        run: String,
        /// What it did.
        totals: BackfillTotals,
    },
}

/// What a backfill run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillTotals {
    /// Records read.
    pub read: u64,
    /// Records for which the target changed.
    pub changed: u64,
    /// Dead letters made.
    pub dead: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Time spent, ms.
    pub elapsed_ms: u64,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyTotals {
    /// Records compared.
    pub compared: u64,
    /// In the source only.
    pub missing: u64,
    /// In the target only.
    pub extra: u64,
    /// In both, different.
    pub different: u64,
    /// Mapping refused them.
    pub refused: u64,
    /// Time spent, ms.
    pub elapsed_ms: u64,
}

impl VerifyTotals {
    /// All findings.
    pub fn mismatches(&self) -> u64 {
        self.missing + self.extra + self.different + self.refused
    }
}

/// The state that the journal's entries add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The phase. While `entering` is set members follow `entering` already.
    pub phase: Phase,
    /// The phase that is being entered; its `Entered` is not journalled yet.
    pub entering: Option<Phase>,
    /// Grows by one at each change of phase.
    pub epoch: u64,
    /// What stands beside the phase.
    pub status: Status,
    /// Percent of the keys whose reads come from the target in `read-ramp`, 0–100.
    pub ramp_percent: u8,
    /// The backfill.
    pub backfill: BackfillState,
    /// The last finished verification, and the journal sequence at which it finished.
    pub verified: Option<(u64, VerifyTotals)>,
    /// A change of authority on its way.
    pub switch: Option<Switch>,
    /// Whether capture has been installed in the stores.
    pub captured: bool,
    /// Whether the target was the authority before (a rollback lies behind).
    pub rolled_back: bool,
}

/// An event that this state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible in phase {phase}: {why}")]
pub struct Illegal {
    /// The event's name.
    pub event: String,
    /// The phase's name.
    pub phase: &'static str,
    /// Why.
    pub why: String,
}

impl Lifecycle for State {
    fn initial() -> State {
        State {
            phase: Phase::Planned,
            entering: None,
            epoch: 1,
            status: Status::Running,
            ramp_percent: 0,
            backfill: BackfillState::NotRun,
            verified: None,
            switch: None,
            captured: false,
            rolled_back: false,
        }
    }

    fn next(&self, seq: u64, event: &Event) -> Result<State, Illegal> {
        let first = matches!(event, Event::Created { .. });
        if first != (seq == 1) {
            let why = if first { "the migration is written down already" } else { "the migration is not written down" };
            return self.refuse(event, why);
        }
        if self.is_over() {
            return self.refuse(event, "the migration is over");
        }
        match event {
            Event::Created { .. } => Ok(self.clone()),
            Event::Capturing | Event::Captured => self.capture(event),
            Event::Entering { to, epoch } => self.enter(event, *to, *epoch),
            Event::Entered { to } => self.entered(event, *to),
            Event::BackfillStarted { run, ranges } => self.backfill_started(event, run, ranges),
            Event::BackfillFinished { run, totals } => self.backfill_finished(event, run, *totals),
            Event::Verified { totals } => {
                self.settled(event)?;
                Ok(State { verified: Some((seq, *totals)), ..self.clone() })
            }
            Event::Repaired { .. } => {
                self.settled(event)?;
                if self.follower().is_none() {
                    return self.refuse(event, "no store follows");
                }
                Ok(self.clone())
            }
            Event::RampSet { percent } => self.ramp(event, *percent),
            Event::SwitchBegan { from, to, epoch, budget_ms, .. } => {
                self.switch_began(event, *from, *to, *epoch, *budget_ms)
            }
            Event::Switched { .. } => self.switched(event),
            Event::Opened { .. } => self.opened(event),
            Event::SwitchAborted { epoch, .. } => self.switch_aborted(event, *epoch),
            Event::Require { .. } => self.refuse(event, "it belongs to another kind of migration"),
            Event::Paused { .. } => match self.status {
                Status::Running => Ok(State { status: Status::Paused, ..self.clone() }),
                Status::Paused => self.refuse(event, "it is paused already"),
                Status::Failed { .. } => self.refuse(event, "an activity has failed; resume first"),
            },
            Event::Resumed => match self.status {
                Status::Running => self.refuse(event, "it is running"),
                Status::Paused | Status::Failed { .. } => Ok(State { status: Status::Running, ..self.clone() }),
            },
            Event::Absorb { .. } => self.refuse(event, "it belongs to another kind of migration"),
            Event::Failed { reason } => Ok(State { status: Status::Failed { reason: reason.clone() }, ..self.clone() }),
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn phase_name(&self) -> &'static str {
        self.effective_phase().name()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Complete | Phase::Withdrawn => true,
            Phase::Planned
            | Phase::DualWrite
            | Phase::ShadowRead
            | Phase::ReadRamp
            | Phase::Cutover
            | Phase::ReverseWindow
            | Phase::Rollback => false,
        }
    }
}

impl State {
    /// The phase that members act on: `entering` if set, else `phase`.
    pub fn effective_phase(&self) -> Phase {
        self.entering.unwrap_or(self.phase)
    }

    /// The store whose answer is true; `None` while it is unsettled.
    pub fn authority(&self) -> Option<Side> {
        match self.effective_phase() {
            Phase::Planned | Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp | Phase::Withdrawn => {
                Some(Side::Source)
            }
            Phase::ReverseWindow | Phase::Complete => Some(Side::Target),
            Phase::Cutover | Phase::Rollback => None,
        }
    }

    /// The store that follows, if one does.
    pub fn follower(&self) -> Option<Side> {
        match self.effective_phase() {
            Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => Some(Side::Target),
            Phase::ReverseWindow => Some(Side::Source),
            Phase::Planned | Phase::Complete | Phase::Withdrawn | Phase::Cutover | Phase::Rollback => None,
        }
    }

    fn refuse<T>(&self, event: &Event, why: impl Into<String>) -> Result<T, Illegal> {
        Err(Illegal { event: event.name().to_owned(), phase: self.phase.name(), why: why.into() })
    }

    /// Neither a phase is being entered nor the authority moving.
    fn settled(&self, event: &Event) -> Result<(), Illegal> {
        match (&self.entering, &self.switch) {
            (Some(to), _) => self.refuse(event, format!("{} is being entered", to.name())),
            (None, Some(_)) => self.refuse(event, "the authority is moving"),
            (None, None) => Ok(()),
        }
    }

    fn next_epoch(&self, event: &Event, epoch: u64) -> Result<u64, Illegal> {
        if epoch == self.epoch + 1 {
            return Ok(epoch);
        }
        self.refuse(event, format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch))
    }

    fn capture(&self, event: &Event) -> Result<State, Illegal> {
        self.settled(event)?;
        if self.phase != Phase::Planned {
            return self.refuse(event, "capture is installed in planned only");
        }
        if self.captured {
            return self.refuse(event, "capture is installed already");
        }
        Ok(State { captured: matches!(event, Event::Captured), ..self.clone() })
    }

    fn enter(&self, event: &Event, to: Phase, epoch: u64) -> Result<State, Illegal> {
        self.settled(event)?;
        let epoch = self.next_epoch(event, epoch)?;
        if !self.phase.info().ways.iter().any(|way| way.to == to && way.by == WayBy::Entering) {
            return self.refuse(event, format!("{} is no next phase", to.name()));
        }
        if to == Phase::DualWrite && !self.captured {
            return self.refuse(event, "capture is not installed");
        }
        if to == Phase::ShadowRead && !matches!(self.backfill, BackfillState::Done { .. }) {
            return self.refuse(event, "the backfill is not finished");
        }
        Ok(State { entering: Some(to), epoch, ..self.clone() })
    }

    fn entered(&self, event: &Event, to: Phase) -> Result<State, Illegal> {
        if self.entering != Some(to) {
            return self.refuse(event, format!("{} is not being entered", to.name()));
        }
        let mut next = State { phase: to, entering: None, ramp_percent: 0, ..self.clone() };
        match to {
            // The target is not followed from here on: what was verified says nothing later.
            Phase::Planned => next.verified = None,
            Phase::Complete | Phase::Withdrawn => next.captured = false,
            Phase::DualWrite
            | Phase::ShadowRead
            | Phase::ReadRamp
            | Phase::Cutover
            | Phase::ReverseWindow
            | Phase::Rollback => {}
        }
        Ok(next)
    }

    fn backfill_started(&self, event: &Event, run: &str, ranges: &[ScanRange]) -> Result<State, Illegal> {
        self.settled(event)?;
        if self.follower() != Some(Side::Target) {
            return self.refuse(event, "the target does not follow");
        }
        if let BackfillState::Running { run, .. } = &self.backfill {
            return self.refuse(event, format!("backfill {run} is not finished"));
        }
        let backfill = BackfillState::Running { run: run.to_owned(), ranges: ranges.to_vec() };
        Ok(State { backfill, ..self.clone() })
    }

    fn backfill_finished(&self, event: &Event, run: &str, totals: BackfillTotals) -> Result<State, Illegal> {
        self.settled(event)?;
        match &self.backfill {
            BackfillState::Running { run: running, .. } if running == run => {
                // What was verified before says nothing about what this run wrote.
                let backfill = BackfillState::Done { run: run.to_owned(), totals };
                Ok(State { backfill, verified: None, ..self.clone() })
            }
            BackfillState::Running { .. } | BackfillState::NotRun | BackfillState::Done { .. } => {
                self.refuse(event, format!("backfill {run} is not running"))
            }
        }
    }

    fn ramp(&self, event: &Event, percent: u8) -> Result<State, Illegal> {
        self.settled(event)?;
        if self.phase != Phase::ReadRamp {
            return self.refuse(event, "reads are ramped in read-ramp only");
        }
        if percent > 100 {
            return self.refuse(event, format!("{percent} % is more than all keys"));
        }
        Ok(State { ramp_percent: percent, ..self.clone() })
    }

    fn switch_began(&self, event: &Event, from: Side, to: Side, epoch: u64, budget_ms: u64) -> Result<State, Illegal> {
        self.settled(event)?;
        let epoch = self.next_epoch(event, epoch)?;
        let phase = match (self.phase, from, to) {
            (Phase::ReadRamp, Side::Source, Side::Target) => Phase::Cutover,
            (Phase::ReverseWindow, Side::Target, Side::Source) => Phase::Rollback,
            _ => return self.refuse(event, "the authority moves from read-ramp or from reverse-window only"),
        };
        if !matches!(self.backfill, BackfillState::Done { .. }) {
            return self.refuse(event, "the backfill is not finished");
        }
        let switch = Some(Switch { from, to, back_to: self.phase, decided: false, budget_ms });
        Ok(State { phase, switch, epoch, ..self.clone() })
    }

    fn switched(&self, event: &Event) -> Result<State, Illegal> {
        match &self.switch {
            Some(switch) if !switch.decided => {
                Ok(State { switch: Some(Switch { decided: true, ..switch.clone() }), ..self.clone() })
            }
            Some(_) => self.refuse(event, "it is decided already"),
            None => self.refuse(event, "the authority is not moving"),
        }
    }

    fn opened(&self, event: &Event) -> Result<State, Illegal> {
        match &self.switch {
            Some(Switch { decided: true, to, .. }) => {
                let phase = match to {
                    Side::Target => Phase::ReverseWindow,
                    Side::Source => Phase::DualWrite,
                };
                let rolled_back = self.rolled_back || *to == Side::Source;
                Ok(State { phase, switch: None, ramp_percent: 0, verified: None, rolled_back, ..self.clone() })
            }
            Some(_) => self.refuse(event, "it is not decided"),
            None => self.refuse(event, "the authority is not moving"),
        }
    }

    fn switch_aborted(&self, event: &Event, epoch: u64) -> Result<State, Illegal> {
        match &self.switch {
            Some(switch) if !switch.decided => {
                let epoch = self.next_epoch(event, epoch)?;
                Ok(State { phase: switch.back_to, switch: None, epoch, ..self.clone() })
            }
            Some(_) => self.refuse(event, "it is decided and can only be finished"),
            None => self.refuse(event, "the authority is not moving"),
        }
    }
}

#[cfg(test)]
mod tests;
