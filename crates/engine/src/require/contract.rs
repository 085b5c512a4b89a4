//! Contract: repair on read ends in every gateway, then the write default goes,
//! once the counted writes of outdated clients have been silent for long enough.

use serde::Deserialize;
use shearwater_core::lifecycle::require::Phase;

use super::{Helm, Setup, enter};
use crate::dead_letters::now_ms;
use crate::gates::Gate;
use crate::ledger::Halt;

/// The note in which gateways add up who speaks which version.
const USAGE_NOTE: &str = "api-usage";

const MS_PER_HOUR: i64 = 3_600_000;

/// Entries looked at for the time at which counting began.
const ENTRIES_MAX: usize = 10_000;

/// How long outdated clients have been silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Writes of the old shape, counted since the migration was written down.
    pub writes: u64,
    /// Records that came without the field past every gateway, once a second
    /// and session; `None`: the store cannot tell.
    pub direct: Option<u64>,
    /// For how long there was none of either, ms; counted from the start of the
    /// migration when there never was one.
    pub quiet_ms: i64,
}

/// The part of the note that is looked at here.
#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default)]
    v1: Version,
}

#[derive(Default, Deserialize)]
struct Version {
    #[serde(default)]
    writes: u64,
    #[serde(default)]
    last_write_ms: i64,
}

/// Reads what the gateways have counted, and what the store has seen.
pub async fn quiet(setup: &Setup) -> Result<Quiet, Halt> {
    let journal = setup.journal.as_ref();
    let usage: Usage = match journal.note(USAGE_NOTE).await? {
        Some(text) => serde_json::from_str(&text).unwrap_or_default(),
        None => Usage::default(),
    };
    let since = journal.read(0, ENTRIES_MAX).await?.first().map_or(0, |entry| entry.at_ms);
    let last = usage.v1.last_write_ms.max(since);
    let quiet_ms = now_ms().saturating_sub(last).max(0);
    let look = setup.evolve.look().await.map_err(Halt::OneStore)?;
    let direct = match look.sidecar {
        true => setup.evolve.outdated().await.map_err(Halt::OneStore)?,
        false => None,
    };
    let ago = direct.and_then(|direct| direct.last_ms_ago).map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
    Ok(Quiet { writes: usage.v1.writes, direct: direct.map(|direct| direct.seen), quiet_ms: quiet_ms.min(ago) })
}

/// What must be true before contract.
pub(super) fn gate(quiet: Quiet, hours: u64) -> Gate {
    let wanted = i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(MS_PER_HOUR);
    Gate {
        code: "gate/outdated-writes",
        open: quiet.quiet_ms >= wanted,
        message: format!(
            "{} writes of the old shape were counted{}; the last {} minutes ago, {hours} hours of silence are needed",
            quiet.writes,
            match quiet.direct {
                Some(0) => String::new(),
                Some(seen) => format!(", and {seen} times programs wrote the table itself without the field"),
                None => "; this store cannot tell who writes the table itself".to_owned(),
            },
            quiet.quiet_ms / 60_000
        ),
        hint: Some("move those clients to /v2 and mend those programs, then wait; `status` shows the counts"),
    }
}

/// From enforce into contract.
pub(super) async fn contract(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let quiet = quiet(&helm.setup).await?;
    crate::gates::refuse_closed(&[gate(quiet, helm.setup.spec.contract.outdated_writes_quiet_hours)])?;
    enter::enter(helm, Phase::Contract).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_in_hours() {
        let open = |ms: i64, hours: u64| gate(Quiet { writes: 3, direct: Some(1), quiet_ms: ms }, hours).open;
        assert!(open(0, 0));
        assert!(!open(MS_PER_HOUR - 1, 1));
        assert!(open(MS_PER_HOUR, 1));
        assert!(!open(i64::MAX - 1, u64::MAX));
    }
}
