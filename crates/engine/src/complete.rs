//! Complete and withdraw end a migration in the same way: members first stop
//! relying on the sidecars, then the sidecars go. Here: complete, the last exit.

use serde_json::json;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;

use crate::enter::acknowledged;
use crate::failpoint;
use crate::gates;
use crate::helm::Helm;
use crate::ledger::Halt;

/// Completes the migration from the reverse window.
///
/// Report: `{"phase": "complete"}`.
pub async fn complete(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    if state.phase != Phase::ReverseWindow {
        return Err(Halt::refused(
            "phase/not-reverse-window",
            format!("a migration is completed from reverse-window, and this is {}", state.phase.name()),
            "`advance` until the target is the authority",
        ));
    }
    let facts = gates::facts(&helm.setup, &state, |keys| helm.drain.pause(keys)).await?;
    gates::refuse_closed(&gates::gates(Phase::Complete, &state, &facts, &helm.setup.spec.gates))?;
    // Before the last exit closes: a target that breaks its foreign keys can
    // still be mended, or gone back from.
    if !helm.setup.target.layout().references().is_empty() {
        helm.setup.target.constrain().await.map_err(Halt::store(Side::Target))?;
        failpoint::hit("constrain-target");
    }
    end(helm, Phase::Complete).await?;
    Ok(json!({ "phase": Phase::Complete }))
}

/// Enters a last phase.
pub async fn end(helm: &Helm, to: Phase) -> Result<(), Halt> {
    let epoch = helm.ledger.view().state.epoch + 1;
    helm.ledger.append(Event::Entering { to, epoch }).await?;
    helm.member.nudge();
    finish(helm, to).await
}

/// Finishes what `Entering` a last phase began; also after a crash. Nothing
/// follows any more once every member has acknowledged, so the order of the
/// two removals does not matter, and each is atomic.
pub async fn finish(helm: &Helm, to: Phase) -> Result<(), Halt> {
    acknowledged(helm, helm.ledger.view().state.epoch).await?;
    failpoint::hit("enter-acknowledged");
    helm.check()?;
    helm.setup.source.remove().await.map_err(Halt::store(Side::Source))?;
    failpoint::hit("remove-source");
    helm.check()?;
    helm.setup.target.remove().await.map_err(Halt::store(Side::Target))?;
    failpoint::hit("remove-target");
    helm.ledger.append(Event::Entered { to }).await?;
    helm.member.nudge();
    Ok(())
}
