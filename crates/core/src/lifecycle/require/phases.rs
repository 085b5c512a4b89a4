//! The phases of a `require` as a table: names, what happens in each, the ways
//! on and back, and which alterations belong to which step.

use super::Phase;
use crate::evolve::Stage;

/// What one phase does, where it can go, and what a crash in it leaves.
#[derive(Debug)]
pub struct PhaseInfo {
    /// The phase.
    pub phase: Phase,
    /// Its name.
    pub name: &'static str,
    /// What happens in it.
    pub what: &'static str,
    /// Phases that can be entered from here, with the command that does it.
    pub ways: &'static [(&'static str, Phase)],
}

/// All phases, in the order of a migration.
pub const PHASES: [PhaseInfo; 7] = [
    PhaseInfo {
        phase: Phase::Planned,
        name: "planned",
        what: "The store is as before; clients of the new shape get the field computed and cannot write yet.",
        ways: &[("start", Phase::Expand), ("rollback", Phase::Planned), ("withdraw", Phase::Withdrawn)],
    },
    PhaseInfo {
        phase: Phase::Expand,
        name: "expand",
        what: "The field is there; writes of the old shape get the default, reads of the new one are repaired.",
        ways: &[("advance", Phase::Backfill), ("rollback", Phase::Planned)],
    },
    PhaseInfo {
        phase: Phase::Backfill,
        name: "backfill",
        what: "Records without the field are filled, then verified.",
        ways: &[("advance", Phase::Enforce), ("rollback", Phase::Expand)],
    },
    PhaseInfo {
        phase: Phase::Enforce,
        name: "enforce",
        what: "The store (DynamoDB: the gateway) refuses a record without the field; outdated clients still get the default.",
        ways: &[("advance", Phase::Contract), ("rollback", Phase::Expand)],
    },
    PhaseInfo {
        phase: Phase::Contract,
        name: "contract",
        what: "Reads are no longer repaired, and nothing fills the field for anybody.",
        ways: &[("complete", Phase::Complete), ("rollback", Phase::Expand)],
    },
    PhaseInfo {
        phase: Phase::Complete,
        name: "complete",
        what: "The field is the table's own; nothing of ours is left.",
        ways: &[],
    },
    PhaseInfo { phase: Phase::Withdrawn, name: "withdrawn", what: "Given up; the store is as before.", ways: &[] },
];

impl Phase {
    /// The phase, described.
    pub fn info(self) -> &'static PhaseInfo {
        let at = match self {
            Phase::Planned => 0,
            Phase::Expand => 1,
            Phase::Backfill => 2,
            Phase::Enforce => 3,
            Phase::Contract => 4,
            Phase::Complete => 5,
            Phase::Withdrawn => 6,
        };
        &PHASES[at]
    }

    /// Its name, as the journal, the CLI and the API write it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The alterations that are done in this phase before the next is entered.
    pub fn adds_before_next(self) -> Option<Stage> {
        match self {
            Phase::Planned => Some(Stage::Expand),
            Phase::Backfill => Some(Stage::Enforce),
            Phase::Expand | Phase::Enforce | Phase::Contract | Phase::Complete | Phase::Withdrawn => None,
        }
    }

    /// The alterations that are done while a phase is entered from this one,
    /// once every member follows it.
    pub fn takes_away(self, to: Phase) -> Option<Stage> {
        match (self, to) {
            (Phase::Enforce, Phase::Contract) => Some(Stage::Contract),
            (Phase::Contract, Phase::Complete) => Some(Stage::Complete),
            (Phase::Backfill | Phase::Enforce | Phase::Contract, Phase::Expand) => Some(Stage::Back),
            (Phase::Planned | Phase::Expand, Phase::Planned) => Some(Stage::Remove),
            _ => None,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
