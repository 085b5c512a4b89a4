//! Expand: the column and the write default first, then members follow. And
//! the stages of alterations that a phase needs before it is entered.

use shearwater_core::evolve::Stage;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::require::{Phase, Step};

use super::alter::{self, Ended};
use super::{Helm, enforce, enter};
use crate::ledger::Halt;

/// From planned into expand.
pub(super) async fn expand(helm: &Helm) -> Result<serde_json::Value, Halt> {
    if helm.state().began.is_none() {
        // Refuses what cannot be done at all, before anything is written.
        helm.setup.evolve.hazards().await.map_err(Halt::OneStore)?;
        if helm.setup.old.fence().await.map_err(Halt::OneStore)?.is_some() {
            return Err(Halt::refused(
                "require/captured",
                "the table takes part in another migration, whose sidecar is installed",
                "finish or withdraw that one first",
            ));
        }
        helm.ledger.append(Event::Require { step: Step::Began { stage: Stage::Expand } }).await?;
    }
    go_on(helm, Stage::Expand).await
}

/// Makes a stage's alterations and enters the phase that needs them.
pub(super) async fn go_on(helm: &Helm, stage: Stage) -> Result<serde_json::Value, Halt> {
    match (alter::stage(helm, stage).await?, stage) {
        (Ended::Made, Stage::Enforce) => enter::enter(helm, Phase::Enforce).await,
        (Ended::Made, _) => enter::enter(helm, Phase::Expand).await,
        (Ended::Violated { what, keys }, _) => enforce::abandon(helm, stage, what, keys).await,
    }
}

/// From expand into backfill; the backfill then begins by itself.
pub(super) async fn backfill(helm: &Helm) -> Result<serde_json::Value, Halt> {
    enter::enter(helm, Phase::Backfill).await
}
