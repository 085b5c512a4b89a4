//! `status`: where the migration is, what it waits for, what a rollback would
//! cost. Reads only, so any process may ask without a coordinator.

use serde::Serialize;
use shearwater_core::evolve::{Enforcer, Stage};
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::require::{Filling, Phase, State, Step};
use shearwater_core::lifecycle::{BackfillTotals, Lifecycle as _, Status, VerifyTotals};

use super::alter::{LOCKS_NOTE, Locks, longest_hold};
use super::backfill::{BATCHES_NOTE, Batches};
use super::contract::{self, quiet};
use super::{Setup, enforce};
use crate::gates::Gate;
use crate::ledger::{Halt, fold};
use crate::member::View;
use crate::progress::{PROGRESS_NOTE, Shown};

/// Entries read for the longest lock.
const ENTRIES_MAX: usize = 10_000;

/// What `status` shows; `--json` prints it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct RequireReport {
    /// The migration's name.
    pub migration: String,
    /// `require`.
    pub kind: &'static str,
    /// The phase.
    pub phase: Phase,
    /// The phase being entered, if one is.
    pub entering: Option<Phase>,
    /// Running, paused, or failed with a reason.
    pub status: Status,
    /// The epoch.
    pub epoch: u64,
    /// The journal's last entry.
    pub seq: u64,
    /// The stage whose alterations are on their way.
    pub altering: Option<Stage>,
    /// The backfill: `not-run`, `running`, `done`.
    pub backfill: &'static str,
    /// What the last finished backfill did.
    pub filled: Option<BackfillTotals>,
    /// How long the batches of the last backfill took.
    pub batches: Option<Batches>,
    /// The last verification since the backfill.
    pub verified: Option<VerifyTotals>,
    /// The next step forward, with its gates.
    pub next: Option<Next>,
    /// Who holds writers to the field once it is enforced.
    pub enforced_by: Enforcer,
    /// Writes of outdated clients.
    pub outdated: Outdated,
    /// What a rollback would do and cost now.
    pub rollback: Way,
    /// For whom an alteration waits, or waited last.
    pub locks: Option<Locks>,
    /// The longest that a lock was held, microseconds.
    pub lock_held_micros_max: u64,
    /// How far the activity is, if one ran.
    pub progress: Option<Shown>,
}

/// The next step forward.
#[derive(Clone, Debug, Serialize)]
pub struct Next {
    /// To this phase.
    pub to: Phase,
    /// By this command.
    pub command: &'static str,
    /// If all of these are open.
    pub gates: Vec<Gate>,
}

/// Writes of outdated clients.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outdated {
    /// How many the gateways counted.
    pub writes: u64,
    /// Records that came without the field past every gateway, once a second
    /// and session; `None`: the store cannot tell.
    pub direct: Option<u64>,
    /// How long there was none, ms.
    pub quiet_ms: i64,
}

/// The way back.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// To this phase; `None`: there is none.
    pub to: Option<Phase>,
    /// How long the store's alterations are expected to take, ms.
    pub expected_ms: u64,
    /// Values chosen by writers that would go with the column.
    pub values_dropped: u64,
}

/// Reads the status from the journal and the store.
pub async fn status(setup: &Setup) -> Result<RequireReport, Halt> {
    let journal = setup.journal.as_ref();
    let view = fold(journal, View::<State>::initial()).await?;
    let state = view.state;
    let silence = quiet(setup).await?;
    let entries = journal.read(0, ENTRIES_MAX).await?;
    let held = entries.iter().filter_map(|entry| match &entry.event {
        Event::Require { step: Step::Altered { held_micros, .. } } => Some(*held_micros),
        _ => None,
    });
    Ok(RequireReport {
        migration: journal.migration().to_owned(),
        kind: "require",
        phase: state.phase,
        entering: state.entering,
        epoch: state.epoch,
        seq: view.seq,
        altering: state.stage(),
        backfill: match state.filling {
            Filling::NotRun => "not-run",
            Filling::Running { .. } => "running",
            Filling::Done { .. } => "done",
        },
        filled: match &state.filling {
            Filling::Done { totals, .. } => Some(*totals),
            Filling::NotRun | Filling::Running { .. } => None,
        },
        batches: note(journal, BATCHES_NOTE).await?,
        verified: state.verified.map(|(_, totals)| totals),
        next: next(setup, &state, silence),
        enforced_by: setup.evolve.enforcer(),
        outdated: Outdated { writes: silence.writes, direct: silence.direct, quiet_ms: silence.quiet_ms },
        rollback: way_back(setup, &state).await?,
        locks: note(journal, LOCKS_NOTE).await?,
        lock_held_micros_max: u64::try_from(longest_hold(held).as_micros()).unwrap_or(u64::MAX),
        progress: note::<Shown>(journal, PROGRESS_NOTE).await?,
        status: state.status.clone(),
    })
}

fn next(setup: &Setup, state: &State, silence: contract::Quiet) -> Option<Next> {
    if state.is_over() {
        return None;
    }
    let (to, command, gates) = match state.phase {
        Phase::Planned => (Phase::Expand, "advance", Vec::new()),
        Phase::Expand => (Phase::Backfill, "advance", Vec::new()),
        Phase::Backfill => (Phase::Enforce, "advance", enforce::gates(state, setup.spec.gates.mismatches_max)),
        Phase::Enforce => {
            let gate = contract::gate(silence, setup.spec.contract.outdated_writes_quiet_hours);
            (Phase::Contract, "advance", vec![gate])
        }
        Phase::Contract => (Phase::Complete, "complete", Vec::new()),
        Phase::Complete | Phase::Withdrawn => return None,
    };
    Some(Next { to, command, gates })
}

async fn way_back(setup: &Setup, state: &State) -> Result<Way, Halt> {
    let to = state.phase.info().ways.iter().find(|(verb, _)| *verb == "rollback").map(|(_, to)| *to);
    let to = to.filter(|to| state.phase != *to || state.began.is_some());
    let Some(stage) = to.and_then(|to| state.phase.takes_away(to)) else {
        return Ok(Way { to, expected_ms: 0, values_dropped: 0 });
    };
    let statements = setup.evolve.statements(stage).await.map_err(Halt::OneStore)?;
    let values_dropped = match stage == Stage::Remove && state.has_field() {
        true => setup.evolve.count_chosen().await.map_err(Halt::OneStore)?,
        false => 0,
    };
    Ok(Way { to, expected_ms: statements.iter().map(|statement| statement.expected_ms).sum(), values_dropped })
}

/// A note that is JSON; one that is not is as good as none here.
async fn note<T: serde::de::DeserializeOwned>(
    journal: &dyn shearwater_core::journal::Journal,
    name: &str,
) -> Result<Option<T>, Halt> {
    Ok(journal.note(name).await?.and_then(|text| serde_json::from_str(&text).ok()))
}
