//! Taking over: whatever a crash or a failed step left half-done is finished
//! or undone before anything else is begun.

use std::time::Instant;

use shearwater_core::lifecycle::Phase;

use crate::helm::Helm;
use crate::ledger::Halt;
use crate::{complete, cutover, enter};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Everything stood where the journal says.
    Settled,
    /// A phase was entered to its end.
    Entered(Phase),
    /// An undecided change of authority was given up.
    Aborted,
    /// A decided one was finished.
    Opened,
}

/// Brings the stores to where the journal says, whatever was cut off.
pub async fn recover(helm: &Helm) -> Result<Recovered, Halt> {
    let state = helm.ledger.view().state.clone();
    if let Some(to) = state.entering {
        match to {
            Phase::Complete | Phase::Withdrawn => complete::finish(helm, to).await?,
            Phase::Planned
            | Phase::DualWrite
            | Phase::ShadowRead
            | Phase::ReadRamp
            | Phase::Cutover
            | Phase::ReverseWindow
            | Phase::Rollback => enter::finish(helm, to).await?,
        }
        return Ok(Recovered::Entered(to));
    }
    match &state.switch {
        Some(switch) if switch.decided => {
            cutover::open(helm, Instant::now()).await?;
            enter::acknowledged(helm, state.epoch).await?;
            Ok(Recovered::Opened)
        }
        Some(_) => {
            cutover::abort(helm, "the coordinator was interrupted before the decision").await?;
            Ok(Recovered::Aborted)
        }
        None => {
            enter::raise_fences(helm, &state).await?;
            Ok(Recovered::Settled)
        }
    }
}
