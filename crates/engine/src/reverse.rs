//! The reverse window: the target is the authority, the source follows. What
//! a rollback would cost now.

use std::time::Duration;

use serde::Serialize;
use shearwater_core::lifecycle::{Phase, State};
use shearwater_core::store::Side;

use crate::Setup;
use crate::gates::marks_of;
use crate::ledger::Halt;

/// What a rollback would cost now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether the way back is open at all.
    pub open: bool,
    /// Keys that the source does not have yet; they are drained first.
    pub keys_not_followed: u64,
    /// Records that the source refused: they bar the way back until they are mended.
    pub dead_letters: u64,
    /// The pause of writes that it would be, ms; 0 where the source is the authority.
    pub predicted_pause_ms: u64,
}

/// Measures what a rollback would cost.
pub async fn readiness(setup: &Setup, state: &State, pause: impl Fn(u64) -> Duration) -> Result<Readiness, Halt> {
    match state.phase {
        Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp | Phase::Cutover => {
            Ok(Readiness { open: true, keys_not_followed: 0, dead_letters: 0, predicted_pause_ms: 0 })
        }
        Phase::ReverseWindow | Phase::Rollback => {
            let keys = marks_of(setup, Side::Target).await?;
            let dead_letters = setup.journal.dead_letter_count().await?;
            Ok(Readiness {
                open: dead_letters == 0,
                keys_not_followed: keys,
                dead_letters,
                predicted_pause_ms: pause(keys).as_millis() as u64,
            })
        }
        Phase::Planned | Phase::Complete | Phase::Withdrawn => {
            Ok(Readiness { open: false, keys_not_followed: 0, dead_letters: 0, predicted_pause_ms: 0 })
        }
    }
}
