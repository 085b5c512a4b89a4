//! Entering a phase: say so, wait until every live member follows, take away
//! what nobody needs any more, say that it is done.

use serde_json::json;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::require::{Phase, Step};

use super::alter::{self, Ended};
use super::{Helm, expand};
use crate::enter::acknowledged_by;
use crate::failpoint;
use crate::ledger::Halt;

/// Enters a phase and returns when every live member follows it.
///
/// Report: `{"phase": "…", "epoch": n}`.
pub(super) async fn enter(helm: &Helm, to: Phase) -> Result<serde_json::Value, Halt> {
    let epoch = helm.state().epoch + 1;
    helm.ledger.append(Event::Require { step: Step::Entering { to, epoch } }).await?;
    helm.member.nudge();
    finish(helm).await
}

/// Finishes what `Entering` began; also after a crash.
pub(super) async fn finish(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.state();
    let Some(to) = state.entering else { return Ok(json!({ "phase": state.phase, "epoch": state.epoch })) };
    acknowledged_by(helm.setup.journal.as_ref(), helm.ledger.lease(), &helm.member, state.epoch).await?;
    failpoint::hit("require-acknowledged");
    if let Some(stage) = state.stage()
        && let Ended::Violated { what, keys } = alter::stage(helm, stage).await?
    {
        return Err(Halt::refused(
            "alter/violated",
            format!("{} is refused: {} records have no value, or more", what.name(), keys.len()),
            "`rollback`, then look for a program that empties the field beside the write default",
        ));
    }
    let view = helm.ledger.append(Event::Require { step: Step::Entered { to } }).await?;
    helm.member.nudge();
    Ok(json!({ "phase": to, "epoch": view.state.epoch }))
}

/// Goes on with whatever a crash left half-done.
pub(super) async fn recover(helm: &Helm) -> Result<(), Halt> {
    let state = helm.state();
    if state.entering.is_some() {
        return finish(helm).await.map(drop);
    }
    match state.began {
        Some(stage) => expand::go_on(helm, stage).await.map(drop),
        None => Ok(()),
    }
}
