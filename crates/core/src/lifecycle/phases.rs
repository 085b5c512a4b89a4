//! The phases as data: what each is, what a crash leaves, which ways are open.
//! Status text and ARCHITECTURE.md's table are made from this.

use super::Phase;

/// One phase, described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseInfo {
    /// The phase.
    pub phase: Phase,
    /// Its name, as the journal, the CLI and the API write it.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub what: &'static str,
    /// Whose answer is true.
    pub authority: &'static str,
    /// What is durable before members follow the phase.
    pub before: &'static str,
    /// What a crash in it leaves behind.
    pub crash: &'static str,
    /// How the next process goes on.
    pub resume: &'static str,
    /// Where one can go from here.
    pub ways: &'static [Way],
}

/// A way out of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The command that asks for it.
    pub command: &'static str,
    /// Where it ends.
    pub to: Phase,
    /// Which events carry it.
    pub by: WayBy,
}

/// Which events carry a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBy {
    /// `entering`, every member's acknowledgement, `entered`.
    Entering,
    /// `switch-began`, drain, `switched`, `opened`; the authority moves.
    Switch,
    /// No command: the second half of a switch that is under way.
    Recovery,
}

const fn entering(command: &'static str, to: Phase) -> Way {
    Way { command, to, by: WayBy::Entering }
}

const fn switch(command: &'static str, to: Phase) -> Way {
    Way { command, to, by: WayBy::Switch }
}

const fn recovery(to: Phase) -> Way {
    Way { command: "-", to, by: WayBy::Recovery }
}

/// Every phase, in the order of a migration that goes well, then the ways back.
pub const PHASES: [PhaseInfo; 9] = [
    PhaseInfo {
        phase: Phase::Planned,
        name: "planned",
        what: "The migration is written down; nothing follows.",
        authority: "source",
        before: "created; after a rollback: entering planned",
        crash: "At most a half-installed sidecar; clients use the source as before.",
        resume: "Installs the sidecars again (installing twice does nothing), then journals captured.",
        ways: &[entering("start", Phase::DualWrite), entering("withdraw", Phase::Withdrawn)],
    },
    PhaseInfo {
        phase: Phase::DualWrite,
        name: "dual-write",
        what: "Every write of the source is followed in the target; the backfill runs.",
        authority: "source",
        before: "captured, entering dual-write; after a rollback: opened",
        crash: "Keys with a dirty mark in the source; backfill ranges with a checkpoint in the target.",
        resume: "The reconciler reads every marked key again; the backfill goes on at its checkpoints.",
        ways: &[entering("advance", Phase::ShadowRead), entering("rollback", Phase::Planned)],
    },
    PhaseInfo {
        phase: Phase::ShadowRead,
        name: "shadow-read",
        what: "As dual-write; sampled reads and lists are compared with the target.",
        authority: "source",
        before: "backfill-finished, entering shadow-read",
        crash: "Keys with a dirty mark in the source; shadow counts since the last flush are lost.",
        resume: "The reconciler reads every marked key again; comparing goes on.",
        ways: &[entering("advance", Phase::ReadRamp), entering("rollback", Phase::Planned)],
    },
    PhaseInfo {
        phase: Phase::ReadRamp,
        name: "read-ramp",
        what: "A growing part of the keys is read from the target.",
        authority: "source",
        before: "entering read-ramp; each step: ramp-set",
        crash: "Keys with a dirty mark in the source, whose reads go there.",
        resume: "Reads follow the last ramp-set; the reconciler reads every marked key again.",
        ways: &[switch("advance", Phase::ReverseWindow), entering("rollback", Phase::Planned)],
    },
    PhaseInfo {
        phase: Phase::Cutover,
        name: "cutover",
        what: "The authority moves from source to target; writes are held.",
        authority: "unsettled: the source until switched, then the target",
        before: "switch-began",
        crash: "A closed source; before switched the target is a follower, after it perhaps open.",
        resume: "Before switched: reopens the source under a new epoch and journals switch-aborted. \
                 After it: opens the target and journals opened.",
        ways: &[recovery(Phase::ReverseWindow), recovery(Phase::ReadRamp)],
    },
    PhaseInfo {
        phase: Phase::ReverseWindow,
        name: "reverse-window",
        what: "The target serves; the source, closed to others, follows, so that a rollback loses nothing.",
        authority: "target",
        before: "switched, opened",
        crash: "Keys with a dirty mark in the target.",
        resume: "The reconciler reads every marked key again in the target and follows it in the source.",
        ways: &[entering("complete", Phase::Complete), switch("rollback", Phase::DualWrite)],
    },
    PhaseInfo {
        phase: Phase::Rollback,
        name: "rollback",
        what: "The authority moves back from target to source; writes are held.",
        authority: "unsettled: the target until switched, then the source",
        before: "switch-began",
        crash: "A closed target; before switched the source is closed too, after it perhaps open.",
        resume: "Before switched: reopens the target under a new epoch and journals switch-aborted. \
                 After it: opens the source, makes the target a follower and journals opened.",
        ways: &[recovery(Phase::DualWrite), recovery(Phase::ReverseWindow)],
    },
    PhaseInfo {
        phase: Phase::Complete,
        name: "complete",
        what: "The target is the only store; the sidecars are gone.",
        authority: "target",
        before: "entering complete",
        crash: "At most a half-removed sidecar; clients use the target.",
        resume: "Removes the sidecars again (removing twice does nothing), then journals entered.",
        ways: &[],
    },
    PhaseInfo {
        phase: Phase::Withdrawn,
        name: "withdrawn",
        what: "Given up at the source; the sidecars are gone.",
        authority: "source",
        before: "entering withdrawn",
        crash: "At most a half-removed sidecar; clients use the source.",
        resume: "Removes the sidecars again (removing twice does nothing), then journals entered.",
        ways: &[],
    },
];

impl Phase {
    /// The phase, described.
    pub fn info(self) -> &'static PhaseInfo {
        let at = match self {
            Phase::Planned => 0,
            Phase::DualWrite => 1,
            Phase::ShadowRead => 2,
            Phase::ReadRamp => 3,
            Phase::Cutover => 4,
            Phase::ReverseWindow => 5,
            Phase::Rollback => 6,
            Phase::Complete => 7,
            Phase::Withdrawn => 8,
        };
        &PHASES[at]
    }

    /// Its name, as the journal, the CLI and the API write it.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
