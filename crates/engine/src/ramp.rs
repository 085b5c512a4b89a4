//! The read ramp: which part of the keys is read from the target.

use serde_json::json;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;

use crate::helm::Helm;
use crate::ledger::Halt;

/// Sets the ramp. The keys of a lower percentage are always among those of a
/// higher one, so no key's reads go back and forth while the ramp grows.
///
/// Report: `{"percent": n}`.
pub async fn ramp(helm: &Helm, percent: u8) -> Result<serde_json::Value, Halt> {
    let state = &helm.ledger.view().state;
    if state.phase != Phase::ReadRamp {
        return Err(Halt::refused(
            "phase/not-ramp",
            format!("reads are ramped in read-ramp only, and this is {}", state.phase.name()),
            "`advance` until read-ramp is reached",
        ));
    }
    if percent > 100 {
        return Err(Halt::refused("ramp/percent", format!("{percent} % is more than all keys"), "0 to 100"));
    }
    if state.ramp_percent != percent {
        helm.ledger.append(Event::RampSet { percent }).await?;
        helm.member.nudge();
    }
    Ok(json!({ "percent": percent }))
}
