//! The lifecycle of a `move` as one pure function over journal events.
//!
//! Status stands beside the phase, so that a failure never erases where we
//! were. Phases are never compared by order: ask a named question.

use serde::{Deserialize, Serialize};

use crate::journal::Event;
use crate::store::{ScanRange, Side};

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
#[error("{event} is not possible in phase {phase:?}: {why}")]
pub struct Illegal {
    /// The event's name.
    pub event: String,
    /// The phase.
    pub phase: Phase,
    /// Why.
    pub why: String,
}

impl State {
    /// The state before any entry.
    pub fn initial() -> State {
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

    /// The next state, or why the event is not possible. The only place where
    /// the lifecycle is decided; recovery is replay through it.
    pub fn next(&self, _seq: u64, _event: &Event) -> Result<State, Illegal> {
        todo!()
    }

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
}
