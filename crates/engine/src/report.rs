//! `status`: where the migration is, what it waits for, what a rollback would
//! cost. Reads only, so any process may ask without a coordinator.

use serde::Serialize;
use shearwater_core::lifecycle::{BackfillState, Phase, State, Status, VerifyTotals};
use shearwater_core::store::Side;

use crate::gates::{self, Facts, Gate};
use crate::ledger::{Halt, fold};
use crate::member::View;
use crate::progress::{PROGRESS_NOTE, Shown};
use crate::reconcile::DrainRate;
use crate::reverse::{self, Readiness};
use crate::{Setup, cutover};

/// What `status` shows; `--json` prints it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// The migration's name.
    pub migration: String,
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
    /// Percent of the keys read from the target.
    pub ramp_percent: u8,
    /// Whose answer is true; `None` while the authority moves.
    pub authority: Option<Side>,
    /// Who follows.
    pub follower: Option<Side>,
    /// The backfill: `not-run`, `running`, `done`.
    pub backfill: &'static str,
    /// The last verification since the backfill or the last change of authority.
    pub verified: Option<VerifyTotals>,
    /// What was measured now.
    pub facts: Facts,
    /// The next phase, and what must be true before it.
    pub next: Option<NextStep>,
    /// What a rollback would cost now.
    pub rollback: Readiness,
    /// How far the activity is, if one ran.
    pub progress: Option<Shown>,
    /// The report of the last change of authority.
    pub last_switch: Option<serde_json::Value>,
}

/// The next step forward.
#[derive(Clone, Debug, Serialize)]
pub struct NextStep {
    /// To this phase.
    pub to: Phase,
    /// By this command.
    pub command: &'static str,
    /// If all of these are open.
    pub gates: Vec<Gate>,
}

/// Reads the status from the journal and the stores.
pub async fn status(setup: &Setup) -> Result<StatusReport, Halt> {
    let view = fold(setup.journal.as_ref(), View::<State>::initial()).await?;
    let state = view.state;
    let drain = DrainRate::default();
    let facts = gates::facts(setup, &state, |keys| drain.pause(keys)).await?;
    let next = gates::next_phase(state.phase).map(|to| NextStep {
        to,
        command: if to == Phase::Complete { "complete" } else { "advance" },
        gates: gates::gates(to, &state, &facts, &setup.spec.gates),
    });
    Ok(StatusReport {
        migration: setup.journal.migration().to_owned(),
        phase: state.phase,
        entering: state.entering,
        epoch: state.epoch,
        seq: view.seq,
        ramp_percent: state.ramp_percent,
        authority: state.authority(),
        follower: state.follower(),
        backfill: match state.backfill {
            BackfillState::NotRun => "not-run",
            BackfillState::Running { .. } => "running",
            BackfillState::Done { .. } => "done",
        },
        verified: state.verified.map(|(_, totals)| totals),
        rollback: reverse::readiness(setup, &state, |keys| drain.pause(keys)).await?,
        facts,
        next,
        progress: note(setup, PROGRESS_NOTE).await?,
        last_switch: note(setup, cutover::SWITCH_NOTE).await?,
        status: state.status,
    })
}

/// A note that is JSON; one that is not is as good as none here.
async fn note<T: serde::de::DeserializeOwned>(setup: &Setup, name: &str) -> Result<Option<T>, Halt> {
    Ok(setup.journal.note(name).await?.and_then(|text| serde_json::from_str(&text).ok()))
}
