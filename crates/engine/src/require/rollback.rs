//! The way back: from any later phase to expand, which loses nothing and costs
//! an instant; from expand to planned, which takes the column away.

use serde_json::json;
use shearwater_core::lifecycle::require::Phase;

use super::{Helm, enter};
use crate::ledger::Halt;

/// One step back.
///
/// Report: `{"phase": "…", "epoch": n, "values_dropped": n}`; the last are values
/// that clients had chosen, and go with the column.
pub(super) async fn rollback(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.state();
    let to = state.phase.info().ways.iter().find(|(verb, _)| *verb == "rollback").map(|(_, to)| *to);
    let Some(to) = to else {
        return Err(Halt::refused("phase/not-possible", "there is no way back any more", "`status` says where it is"));
    };
    let dropped = match (to, state.has_field()) {
        (Phase::Planned, true) => helm.setup.evolve.count_chosen().await.map_err(Halt::OneStore)?,
        _ => 0,
    };
    let entered = enter::enter(helm, to).await?;
    Ok(json!({ "phase": entered["phase"], "epoch": entered["epoch"], "values_dropped": dropped }))
}
