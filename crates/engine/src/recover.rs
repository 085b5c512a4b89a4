//! Taking over: whatever a crash or a failed step left half-done is finished
//! or undone before anything else is begun.

use std::time::{Duration, Instant};

use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;

use crate::dead_letters::now_ms;

use crate::helm::Helm;
use crate::ledger::Halt;
use crate::{complete, cutover, enter};

/// Entries among which the beginning of an unfinished change of authority is found.
const SWITCH_ENTRIES_MAX: u64 = 16;

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
            cutover::open(helm, began(helm).await?).await?;
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

/// When writes began to be held, by the journal's entry: the pause that is
/// reported after a crash includes the time in which nobody coordinated.
async fn began(helm: &Helm) -> Result<Instant, Halt> {
    let seq = helm.ledger.view().seq;
    let entries = helm.setup.journal.read(seq.saturating_sub(SWITCH_ENTRIES_MAX), SWITCH_ENTRIES_MAX as usize).await?;
    let at_ms = entries.iter().rev().find(|entry| matches!(entry.event, Event::SwitchBegan { .. })).map(|e| e.at_ms);
    let ago = at_ms.map_or(0, |at_ms| now_ms().saturating_sub(at_ms).max(0) as u64);
    Ok(Instant::now().checked_sub(Duration::from_millis(ago)).unwrap_or_else(Instant::now))
}
