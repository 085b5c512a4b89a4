//! The two ends of a migration, behind which there is no way back.

use serde_json::json;
use shearwater_core::journal::Refusal;
use shearwater_core::lifecycle::absorb::{Phase, State};

use super::Leading;
use crate::ledger::Halt;

impl Leading<'_> {
    /// Gives the migration up.
    ///
    /// Report: as of a rollback.
    pub(super) async fn withdraw(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        if !matches!(state.phase, Phase::Planned | Phase::Prepare) {
            let message =
                format!("a migration is withdrawn from planned or prepare, and this is {}", state.phase.name());
            return Err(Halt::refused("phase/not-planned", message, "`rollback` first"));
        }
        self.unclaimed(Phase::Withdrawn).await?;
        let dropped = if state.uses_sidecars() { self.carrier.beside().await? } else { 0 };
        self.enter(Phase::Withdrawn).await?;
        Ok(json!({ "phase": Phase::Withdrawn.name(), "dropped_beside": dropped }))
    }

    /// Whether nobody else needs the keys that an end would take away.
    async fn unclaimed(&self, to: Phase) -> Result<(), Halt> {
        let Some(crosswalk) = &self.carrier.setup.crosswalk else { return Ok(()) };
        if to == Phase::Complete && crosswalk.is_kept() {
            return Ok(());
        }
        let claimants = crosswalk.claimants().await?;
        if claimants.is_empty() { Ok(()) } else { Err(claimed(&claimants)) }
    }

    pub(super) async fn complete(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        if state.phase != Phase::Drain {
            let message = format!("a migration is completed from drain, and this is {}", state.phase.name());
            return Err(Halt::refused("phase/not-drain", message, "`advance` to drain, and move what remains"));
        }
        let remaining = self.carrier.counts().await?.remaining;
        if remaining > 0 {
            let message = format!("{remaining} records remain in the source");
            return Err(Halt::refused("gate/remaining", message, "move them: `bulk`, or [stragglers] in the spec"));
        }
        let letters = self.carrier.setup.journal.dead_letter_count().await?;
        if letters > 0 {
            let message = format!("there are {letters} dead letters");
            return Err(Halt::refused(
                "gate/dead-letters",
                message,
                "see `dead-letters`; mend them, then `dead-letters retry`",
            ));
        }
        self.unclaimed(Phase::Complete).await?;
        self.enter(Phase::Complete).await?;
        Ok(json!({ "phase": Phase::Complete.name() }))
    }
}

/// Records came to the source while it was about to be left for good.
pub(super) fn remain(reason: &str) -> Refusal {
    Refusal {
        code: "gate/remaining".into(),
        message: reason.to_owned(),
        hint: Some("move them, then complete again".into()),
    }
}

/// Others would stand without the keys that they translate by.
fn claimed(claimants: &[String]) -> Halt {
    let message = format!("the keys that were assigned are needed by the references of: {}", claimants.join(", "));
    let hint = "complete or withdraw those first; with keep = true in [identity] the table of keys would have stayed";
    Halt::refused("gate/claimed", message, hint)
}
