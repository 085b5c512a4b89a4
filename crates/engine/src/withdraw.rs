//! Giving a migration up in `planned`: the sidecars go, the source stays as it is.

use serde_json::json;
use shearwater_core::lifecycle::Phase;

use crate::complete::end;
use crate::helm::Helm;
use crate::ledger::Halt;

/// Withdraws the migration. The target keeps what was copied into it.
///
/// Report: `{"phase": "withdrawn"}`.
pub async fn withdraw(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = &helm.ledger.view().state;
    if state.phase != Phase::Planned {
        return Err(Halt::refused(
            "phase/not-planned",
            format!("a migration is withdrawn from planned, and this is {}", state.phase.name()),
            "`rollback` first",
        ));
    }
    end(helm, Phase::Withdrawn).await?;
    Ok(json!({ "phase": Phase::Withdrawn }))
}
