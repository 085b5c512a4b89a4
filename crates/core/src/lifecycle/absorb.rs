//! The lifecycle of an `absorb` as one pure function over journal events.
//!
//! Authority is per record here (its flag in the source says where it lives),
//! so no phase moves the authority of everything at once: phases say whether
//! records may move, in which direction, and in which order lists are read.

use serde::{Deserialize, Serialize};

use super::{Illegal, Lifecycle, Status, VerifyTotals};
use crate::journal::Event;

/// The durable place of an `absorb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Written down; nothing is installed.
    Planned,
    /// Flag, index and sidecars are there; every record lives in the source.
    Prepare,
    /// Records move when they are updated with the missing fields.
    Lazy,
    /// As lazy; stragglers are moved by bulk updates and deactivated.
    Drain,
    /// Moved records go back, one after the other.
    Rollback,
    /// Every record lives in the target; the flag and the sidecars are gone.
    Complete,
    /// Given up; everything of ours is gone from both stores.
    Withdrawn,
}

/// A phase, described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseInfo {
    /// The phase.
    pub phase: Phase,
    /// Its name, as the journal, the CLI and the API write it.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub what: &'static str,
    /// What a crash in it leaves behind.
    pub crash: &'static str,
    /// How the next process goes on.
    pub resume: &'static str,
    /// Where one can go from here, with the command that asks for it.
    pub ways: &'static [(&'static str, Phase)],
}

/// Every phase, in the order of a migration that goes well, then the ways back.
pub const PHASES: [PhaseInfo; 7] = [
    PhaseInfo {
        phase: Phase::Planned,
        name: "planned",
        what: "The migration is written down; nothing is installed.",
        crash: "A flag, an index or a sidecar that is not everywhere yet; clients use the source as before.",
        resume: "Adds what is missing (adding twice does nothing), counts collisions, then journals prepared.",
        ways: &[("advance", Phase::Prepare), ("withdraw", Phase::Withdrawn)],
    },
    PhaseInfo {
        phase: Phase::Prepare,
        name: "prepare",
        what: "Flag, index and sidecars are there, collisions are counted; every record lives in the source.",
        crash: "Nothing that is not journalled.",
        resume: "Goes on serving.",
        ways: &[("advance", Phase::Lazy), ("rollback", Phase::Planned), ("withdraw", Phase::Withdrawn)],
    },
    PhaseInfo {
        phase: Phase::Lazy,
        name: "lazy",
        what: "A record moves when it is updated with the missing fields; lists are stitched from both stores.",
        crash: "Records whose flag is set and that have not landed yet, each with a dirty mark in the source.",
        resume: "Lands every marked record at most once, or gives it back to the source where the target refuses it.",
        ways: &[("advance", Phase::Drain), ("rollback", Phase::Rollback)],
    },
    PhaseInfo {
        phase: Phase::Drain,
        name: "drain",
        what: "As lazy; bulk updates move the rest, and stragglers are deactivated on schedule.",
        crash: "As in lazy.",
        resume: "As in lazy; a bulk update is run again and skips what has moved.",
        ways: &[("complete", Phase::Complete), ("rollback", Phase::Rollback)],
    },
    PhaseInfo {
        phase: Phase::Rollback,
        name: "rollback",
        what: "Every moved record goes back to the source with what was written to it in the target.",
        crash: "Records staged in the source with a note of the version that is coming back.",
        resume: "Asks the target whether it gave that version up, and finishes or begins again.",
        ways: &[("-", Phase::Prepare)],
    },
    PhaseInfo {
        phase: Phase::Complete,
        name: "complete",
        what: "Every record lives in the target; flag, index and sidecars are gone.",
        crash: "At most a half-removed flag or sidecar; clients use the target.",
        resume: "Removes them again (removing twice does nothing), then journals entered.",
        ways: &[],
    },
    PhaseInfo {
        phase: Phase::Withdrawn,
        name: "withdrawn",
        what: "Given up; flag, index and sidecars are gone.",
        crash: "At most a half-removed flag or sidecar; clients use the source.",
        resume: "Removes them again (removing twice does nothing), then journals entered.",
        ways: &[],
    },
];

impl Phase {
    /// Its description.
    pub fn info(self) -> &'static PhaseInfo {
        let at = match self {
            Phase::Planned => 0,
            Phase::Prepare => 1,
            Phase::Lazy => 2,
            Phase::Drain => 3,
            Phase::Rollback => 4,
            Phase::Complete => 5,
            Phase::Withdrawn => 6,
        };
        &PHASES[at]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

/// What the census before the start found: source records whose key or unique
/// value the target has already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Records looked at.
    pub records: u64,
    /// By target field, key fields first: how many records collide there.
    pub collisions: Vec<(String, u64)>,
    /// Records that the mapping refuses.
    pub refused: u64,
}

/// In which order a list reads the stores: the one that records leave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// Every record is there.
    SourceOnly,
    /// Records move to the target.
    SourceFirst,
    /// Records move back.
    TargetFirst,
    /// Source, target, source: whichever way a record goes, it is seen.
    SourceTwice,
    /// Every record is there.
    TargetOnly,
}

/// What happened, in the words of this lifecycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Flag, index and sidecars are about to be added.
    Preparing,
    /// They are there, and collisions are counted.
    Prepared {
        /// The census.
        census: Census,
    },
    /// Members must follow this phase from now on, under this epoch.
    Entering {
        /// The phase.
        to: Phase,
        /// Its epoch, one above the last.
        epoch: u64,
    },
    /// Every live member follows, and both fences stand at the epoch.
    Entered {
        /// The phase.
        to: Phase,
    },
    /// No record remains in the source: members read and write the target
    /// alone from now on, without the sidecars, which go next.
    Closing {
        /// The new epoch.
        epoch: u64,
    },
    /// The phase that was being entered is given up; the one before goes on.
    Aborted {
        /// Why.
        reason: String,
        /// The new epoch.
        epoch: u64,
    },
    /// Stragglers were deactivated.
    Deactivated {
        /// How many.
        records: u64,
    },
    /// Deactivations are about to be undone: records go both ways, and members
    /// read lists so, under this epoch.
    Undoing {
        /// The new epoch.
        epoch: u64,
    },
    /// Deactivations were undone.
    Reactivated {
        /// How many.
        records: u64,
    },
    /// Every moved record is back in the source.
    Returned {
        /// How many went back in this rollback.
        records: u64,
    },
}

impl Step {
    /// The step's name, as the journal writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Preparing => "preparing",
            Step::Prepared { .. } => "prepared",
            Step::Entering { .. } => "entering",
            Step::Entered { .. } => "entered",
            Step::Closing { .. } => "closing",
            Step::Aborted { .. } => "aborted",
            Step::Deactivated { .. } => "deactivated",
            Step::Undoing { .. } => "undoing",
            Step::Reactivated { .. } => "reactivated",
            Step::Returned { .. } => "returned",
        }
    }
}

/// The state that the journal's entries add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The phase. While `entering` is set members follow `entering` already.
    pub phase: Phase,
    /// The phase that is being entered.
    pub entering: Option<Phase>,
    /// Grows by one at each change of phase.
    pub epoch: u64,
    /// What stands beside the phase.
    pub status: Status,
    /// Whether flag and sidecars are in the stores.
    pub prepared: bool,
    /// The census of the last preparation.
    pub census: Option<Census>,
    /// Whether every record is known to be in the target, so that `complete` may end.
    pub closing: bool,
    /// Whether every record is known to be back, so that the rollback may end.
    pub returned: bool,
    /// Whether deactivated records go back one by one, while others move.
    #[serde(default)]
    pub undoing: bool,
    /// The last finished verification, and the entry at which it finished.
    pub verified: Option<(u64, VerifyTotals)>,
}

impl State {
    /// The phase that members act on.
    pub fn effective_phase(&self) -> Phase {
        self.entering.unwrap_or(self.phase)
    }

    /// Whether records may move from source to target now: not before every
    /// member reads both stores, and not once one reads them in the other order.
    pub fn moves_forward(&self) -> bool {
        match (self.phase, self.entering) {
            (Phase::Lazy | Phase::Drain, None | Some(Phase::Drain)) => true,
            (Phase::Lazy | Phase::Drain, Some(_)) => false,
            (Phase::Planned | Phase::Prepare | Phase::Rollback | Phase::Complete | Phase::Withdrawn, _) => false,
        }
    }

    /// In which order a list reads the stores (H10).
    pub fn list_order(&self) -> ListOrder {
        if self.is_target_only() {
            return ListOrder::TargetOnly;
        }
        match (self.phase, self.entering) {
            (Phase::Complete, _) => ListOrder::TargetOnly,
            (Phase::Prepare, Some(Phase::Planned | Phase::Withdrawn)) => ListOrder::SourceOnly,
            (Phase::Planned | Phase::Withdrawn, _) => ListOrder::SourceOnly,
            (Phase::Rollback, None) => ListOrder::TargetFirst,
            (Phase::Lazy | Phase::Drain, _) if self.undoing => ListOrder::SourceTwice,
            (Phase::Prepare | Phase::Lazy | Phase::Drain, None | Some(Phase::Lazy | Phase::Drain)) => {
                ListOrder::SourceFirst
            }
            // Another member may still move records the one way, or begin to move them the other.
            (Phase::Prepare | Phase::Lazy | Phase::Drain | Phase::Rollback, Some(_)) => ListOrder::SourceTwice,
        }
    }

    /// Whether the data path relies on the sidecars and the flag: not once they
    /// are about to go.
    pub fn uses_sidecars(&self) -> bool {
        self.prepared && !self.closing && !matches!(self.entering, Some(Phase::Planned | Phase::Withdrawn))
    }

    /// Whether every record is in the target.
    pub fn is_target_only(&self) -> bool {
        self.closing || self.phase == Phase::Complete
    }

    /// Whether stragglers may be deactivated now.
    pub fn deactivates(&self) -> bool {
        self.entering.is_none() && self.phase == Phase::Drain && self.status == Status::Running
    }

    /// Whether deactivations may be undone now: also after a rollback, where
    /// what they set is left beside the records.
    pub fn undoes(&self) -> bool {
        let has_begun = matches!(self.phase, Phase::Prepare | Phase::Lazy | Phase::Drain);
        has_begun && self.entering.is_none() && self.uses_sidecars()
    }

    fn refuse<T>(&self, event: &Event, why: impl Into<String>) -> Result<T, Illegal> {
        Err(Illegal { event: event.name().to_owned(), phase: self.phase.name(), why: why.into() })
    }

    fn settled(&self, event: &Event) -> Result<(), Illegal> {
        match self.entering {
            Some(to) => self.refuse(event, format!("{} is being entered", to.name())),
            None => Ok(()),
        }
    }

    fn step(&self, event: &Event, step: &Step) -> Result<State, Illegal> {
        match step {
            Step::Entered { to } => return self.entered(event, *to),
            Step::Aborted { epoch, .. } => return self.aborted(event, *epoch),
            Step::Closing { epoch } => return self.close(event, *epoch),
            Step::Preparing
            | Step::Prepared { .. }
            | Step::Entering { .. }
            | Step::Deactivated { .. }
            | Step::Undoing { .. }
            | Step::Reactivated { .. }
            | Step::Returned { .. } => self.settled(event)?,
        }
        match step {
            Step::Preparing if self.phase == Phase::Planned && !self.prepared => Ok(self.clone()),
            Step::Prepared { census } if self.phase == Phase::Planned => {
                Ok(State { prepared: true, census: Some(census.clone()), ..self.clone() })
            }
            Step::Preparing | Step::Prepared { .. } => self.refuse(event, "stores are prepared in planned, once"),
            Step::Entering { to, epoch } => self.enter(event, *to, *epoch),
            Step::Entered { to } => self.entered(event, *to),
            Step::Aborted { epoch, .. } => self.aborted(event, *epoch),
            Step::Closing { epoch } => self.close(event, *epoch),
            Step::Deactivated { .. } if self.moves_forward() => Ok(self.clone()),
            Step::Undoing { epoch } if self.moves_forward() => self.undo(event, *epoch),
            Step::Reactivated { .. } if self.undoes() => Ok(State { undoing: false, ..self.clone() }),
            Step::Deactivated { .. } | Step::Undoing { .. } | Step::Reactivated { .. } => {
                self.refuse(event, "records do not move in this phase")
            }
            Step::Returned { .. } if self.phase == Phase::Rollback => Ok(State { returned: true, ..self.clone() }),
            Step::Returned { .. } => self.refuse(event, "records go back in rollback only"),
        }
    }

    fn enter(&self, event: &Event, to: Phase, epoch: u64) -> Result<State, Illegal> {
        if epoch != self.epoch + 1 {
            return self.refuse(event, format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch));
        }
        if !self.phase.info().ways.iter().any(|(_, way)| *way == to) {
            return self.refuse(event, format!("{} is no next phase", to.name()));
        }
        if to == Phase::Prepare && self.phase == Phase::Planned && !self.prepared {
            return self.refuse(event, "the stores are not prepared");
        }
        if self.phase == Phase::Rollback && !self.returned {
            return self.refuse(event, "not every record is back");
        }
        Ok(State { entering: Some(to), epoch, returned: false, ..self.clone() })
    }

    fn undo(&self, event: &Event, epoch: u64) -> Result<State, Illegal> {
        if self.undoing {
            return self.refuse(event, "deactivations are being undone");
        }
        if epoch != self.epoch + 1 {
            return self.refuse(event, format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch));
        }
        Ok(State { undoing: true, epoch, ..self.clone() })
    }

    fn close(&self, event: &Event, epoch: u64) -> Result<State, Illegal> {
        if self.entering != Some(Phase::Complete) || self.closing {
            return self.refuse(event, "the stores are closed once, on the way to complete");
        }
        if epoch != self.epoch + 1 {
            return self.refuse(event, format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch));
        }
        Ok(State { closing: true, epoch, ..self.clone() })
    }

    fn aborted(&self, event: &Event, epoch: u64) -> Result<State, Illegal> {
        if self.entering != Some(Phase::Complete) || self.closing {
            return self.refuse(event, "only the last step can be given up before it is done");
        }
        if epoch != self.epoch + 1 {
            return self.refuse(event, format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch));
        }
        Ok(State { entering: None, epoch, ..self.clone() })
    }

    fn entered(&self, event: &Event, to: Phase) -> Result<State, Illegal> {
        if self.entering != Some(to) {
            return self.refuse(event, format!("{} is not being entered", to.name()));
        }
        if to == Phase::Complete && !self.closing {
            return self.refuse(event, "members still rely on the sidecars");
        }
        let gone = matches!(to, Phase::Planned | Phase::Complete | Phase::Withdrawn);
        let prepared = self.prepared && !gone;
        // What was verified before records went back says nothing later.
        let verified = if matches!(to, Phase::Rollback) { None } else { self.verified };
        Ok(State { phase: to, entering: None, prepared, closing: false, undoing: false, verified, ..self.clone() })
    }
}

impl Lifecycle for State {
    fn initial() -> State {
        State {
            phase: Phase::Planned,
            entering: None,
            epoch: 1,
            status: Status::Running,
            prepared: false,
            census: None,
            closing: false,
            returned: false,
            undoing: false,
            verified: None,
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
            Event::Absorb { step } => self.step(event, step),
            Event::Verified { totals } => {
                self.settled(event)?;
                Ok(State { verified: Some((seq, *totals)), ..self.clone() })
            }
            Event::Paused { .. } => match self.status {
                Status::Running => Ok(State { status: Status::Paused, ..self.clone() }),
                Status::Paused | Status::Failed { .. } => self.refuse(event, "it is not running"),
            },
            Event::Resumed => match self.status {
                Status::Running => self.refuse(event, "it is running"),
                Status::Paused | Status::Failed { .. } => Ok(State { status: Status::Running, ..self.clone() }),
            },
            Event::Failed { reason } => Ok(State { status: Status::Failed { reason: reason.clone() }, ..self.clone() }),
            _ => self.refuse(event, "it belongs to another kind of migration"),
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
            Phase::Planned | Phase::Prepare | Phase::Lazy | Phase::Drain | Phase::Rollback => false,
        }
    }
}

#[cfg(test)]
#[path = "absorb_tests.rs"]
mod tests;
