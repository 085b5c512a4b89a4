//! Making the alterations of a stage: each is journalled before it acts, asks
//! for its lock with ever longer bounds and pauses, and tells for whom it waits.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shearwater_core::Key;
use shearwater_core::error::Policy;
use shearwater_core::evolve::{Alteration, Blocker, Ladder, Stage, Try};
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::require::Step;

use super::Helm;
use crate::dead_letters::now_ms;
use crate::failpoint;
use crate::helm::backoff;
use crate::ledger::Halt;

/// The note that tells for whom an alteration waits: [`Locks`] as JSON.
pub const LOCKS_NOTE: &str = "locks";

/// Tries of a store that does not answer before the stage is left for later.
const ANSWERS_MAX: u32 = 6;

/// What an alteration waits for, or what it waited for last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks {
    /// The alteration.
    pub what: Alteration,
    /// How often its lock was asked for.
    pub tries: u32,
    /// Who was in the way at the last try; empty: it has its lock.
    pub blockers: Vec<Blocker>,
    /// When this was written, ms since 1970.
    pub at_ms: i64,
}

/// How a stage ended.
pub(super) enum Ended {
    /// All alterations are made.
    Made,
    /// Rows stand in the way of one.
    Violated {
        /// Of this one.
        what: Alteration,
        /// Some of their keys.
        keys: Vec<Key>,
    },
}

/// Makes every alteration of a stage that is not made yet.
pub(super) async fn stage(helm: &Helm, stage: Stage) -> Result<Ended, Halt> {
    for what in helm.setup.evolve.alterations(stage) {
        helm.ledger.append(Event::Require { step: Step::Altering { stage, what } }).await?;
        failpoint::hit("alter-journalled");
        let (tries, held_micros) = match climb(helm, what).await? {
            Climbed::Made { tries, held_micros } => (tries, held_micros),
            Climbed::Violated(keys) => return Ok(Ended::Violated { what, keys }),
        };
        failpoint::hit("alter-made");
        helm.ledger.append(Event::Require { step: Step::Altered { stage, what, tries, held_micros } }).await?;
    }
    Ok(Ended::Made)
}

pub(super) enum Climbed {
    Made { tries: u32, held_micros: u64 },
    Violated(Vec<Key>),
}

/// Tries one alteration until it is made, or until the ladder ends.
pub(super) async fn climb(helm: &Helm, what: Alteration) -> Result<Climbed, Halt> {
    let mut ladder = Ladder::default();
    let mut silent = 0;
    let mut told = false;
    let lag_ms_max = helm.setup.spec.gates.standby_lag_ms_max;
    let mut last: Vec<Blocker> = Vec::new();
    while let Some((patience, pause)) = ladder.climb() {
        helm.check()?;
        let piece = helm.foreground.piece();
        let tried = helm.setup.evolve.try_to(what, patience, lag_ms_max).await;
        drop(piece);
        match tried {
            Ok(Try::Made { held_micros }) => {
                if told {
                    tell(helm, what, ladder.tries(), Vec::new()).await?;
                }
                return Ok(Climbed::Made { tries: ladder.tries(), held_micros });
            }
            Ok(Try::Violated(keys)) => return Ok(Climbed::Violated(keys)),
            Ok(Try::Busy(blockers)) => {
                last.clone_from(&blockers);
                tell(helm, what, ladder.tries(), blockers).await?;
                told = true;
                tokio::time::sleep(pause).await;
            }
            Err(error) if error.policy() == Policy::Retry && silent < ANSWERS_MAX => {
                tracing::warn!(code = error.code(), "waiting for the store: {}", error.message);
                tokio::time::sleep(backoff(silent)).await;
                silent += 1;
            }
            Err(error) => return Err(Halt::OneStore(error)),
        }
    }
    let who: Vec<String> = last.iter().map(|b| format!("{} ({}, for {} ms)", b.session, b.what, b.for_ms)).collect();
    Err(Halt::refused(
        "lock/busy",
        format!("{} did not get its lock in {} tries; in the way: {}", what.name(), ladder.tries(), who.join("; ")),
        "end those sessions, or wait for them, then the same command again; nothing that is done is done twice",
    ))
}

async fn tell(helm: &Helm, what: Alteration, tries: u32, blockers: Vec<Blocker>) -> Result<(), Halt> {
    let locks = Locks { what, tries, blockers, at_ms: now_ms() };
    let text = serde_json::to_string(&locks).map_err(|error| Halt::Broken(error.to_string()))?;
    Ok(helm.setup.journal.set_note(LOCKS_NOTE, &text).await?)
}

/// How long a lock was held at the longest, of entries that tell it.
pub(super) fn longest_hold(held_micros: impl Iterator<Item = u64>) -> Duration {
    Duration::from_micros(held_micros.max().unwrap_or(0))
}
