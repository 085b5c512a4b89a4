//! What stands between a phase and the next one, for `status`.

use shearwater_core::lifecycle::{BackfillState, Phase, State};
use shearwater_core::spec::Gates;

/// One condition of the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// What it is about.
    pub(super) name: &'static str,
    /// Whether it lets the step through.
    pub(super) open: bool,
    /// What was found, against what is allowed.
    pub(super) found: String,
}

/// What gates look at, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) backlog: Option<u64>,
    pub(super) dead_letters: u64,
}

/// The gates of `advance` (or `complete`, in the reverse window).
pub(super) fn gates(state: &State, allowed: &Gates, facts: Facts) -> Vec<Gate> {
    let backfill = || {
        let (open, found) = match &state.backfill {
            BackfillState::Done { .. } => (true, "finished"),
            BackfillState::Running { .. } => (false, "not finished"),
            BackfillState::NotRun => (false, "not begun"),
        };
        Gate { name: "backfill", open, found: found.to_owned() }
    };
    let letters = || Gate {
        name: "dead letters",
        open: facts.dead_letters == 0,
        found: format!("{}, none are allowed", facts.dead_letters),
    };
    let verified = || match state.verified {
        None => Gate { name: "verification", open: false, found: "not run yet".to_owned() },
        Some((_, totals)) => Gate {
            name: "verification",
            open: totals.mismatches() <= allowed.mismatches_max,
            found: format!("{} mismatches, {} allowed", totals.mismatches(), allowed.mismatches_max),
        },
    };
    let backlog = || Gate {
        name: "backlog",
        open: facts.backlog.is_some_and(|keys| keys <= allowed.backlog_max),
        found: match facts.backlog {
            Some(keys) => format!("{keys} keys, {} allowed", allowed.backlog_max),
            None => "not known".to_owned(),
        },
    };
    match state.phase {
        Phase::Planned | Phase::Cutover | Phase::Rollback | Phase::Complete | Phase::Withdrawn => vec![],
        Phase::DualWrite => vec![backfill(), letters()],
        Phase::ShadowRead => vec![verified(), letters()],
        Phase::ReadRamp => vec![verified(), letters(), backlog()],
        Phase::ReverseWindow => vec![letters(), backlog()],
    }
}
