//! Going back to the source, from any phase before complete.

use serde_json::json;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;

use crate::cutover::switch;
use crate::enter::enter;
use crate::gates;
use crate::helm::Helm;
use crate::ledger::Halt;

/// Rolls back. Before the cutover it only stops following the target; in the
/// reverse window it is a change of authority and loses nothing, because the
/// source has followed all along.
///
/// Report: `{"phase": "planned"}`, or that of [`switch`].
pub async fn rollback(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    match state.phase {
        Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => {
            enter(helm, Phase::Planned).await?;
            Ok(json!({ "phase": Phase::Planned, "epoch": helm.ledger.view().state.epoch }))
        }
        Phase::ReverseWindow => {
            let facts = gates::facts(&helm.setup, &state, |keys| helm.drain.pause(keys)).await?;
            let barring = gates::gates(Phase::Rollback, &state, &facts, &helm.setup.spec.gates)
                .into_iter()
                // The backlog is drained before the fence closes; only the pause that is left then counts.
                .filter(|gate| gate.code == "gate/dead-letters")
                .collect::<Vec<_>>();
            gates::refuse_closed(&barring)?;
            switch(helm, Side::Target).await
        }
        Phase::Planned => Err(Halt::refused(
            "phase/at-the-start",
            "the migration is planned: there is nothing to roll back",
            "`withdraw` removes what it installed",
        )),
        Phase::Cutover | Phase::Rollback => {
            Err(Halt::refused("phase/unsettled", "the authority is moving right now", "try again in a moment"))
        }
        Phase::Complete => Err(Halt::refused(
            "phase/complete",
            "the migration is complete: the last exit is behind",
            "start a new migration in the other direction",
        )),
        Phase::Withdrawn => {
            Err(Halt::refused("phase/withdrawn", "the migration was withdrawn", "nothing is left to do"))
        }
    }
}
