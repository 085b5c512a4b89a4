//! Where a migration stands: the engine's report, with what only the outside
//! knows; the same for the CLI and the control API.

use serde::Serialize;
use shearwater_core::journal::Journal;
use shearwater_engine::Serve;
use shearwater_engine::ledger::Halt;

use crate::gateway::usage::Versions;

/// Where a migration stands. `--json` and the control API show it as it is;
/// the engine's fields and these are of one level.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The entity in the gateway's paths.
    pub entity: String,
    /// Phase, gates, backlog, progress, what a rollback would cost.
    #[serde(flatten)]
    pub report: serde_json::Value,
    /// Live members.
    pub members: Vec<MemberStatus>,
    /// Commands that were asked for and have not ended.
    pub open_requests: u64,
    /// Requests per version, over all members.
    pub usage: Versions,
}

/// A live member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub id: String,
    /// The epoch that it acts on.
    pub epoch: u64,
    /// Whether it still has to follow the last change of phase.
    pub behind: bool,
    /// When its lease ends unless it is renewed, ms since 1970.
    pub lease_until_ms: i64,
}

/// Reads where the migration stands from its journal and stores; writes
/// nothing, so any process may ask.
pub async fn status(migration: &dyn Serve) -> Result<Status, Halt> {
    let report = migration.report().await?;
    let journal: &dyn Journal = migration.journal().as_ref();
    let epoch = report.get("epoch").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let members = journal.members().await?.into_iter().map(|member| MemberStatus {
        behind: member.epoch < epoch,
        id: member.id,
        epoch: member.epoch,
        lease_until_ms: member.lease_until_ms,
    });
    Ok(Status {
        entity: migration.entity().to_owned(),
        members: members.collect(),
        open_requests: journal.open_requests().await?.len() as u64,
        usage: Versions::of(journal).await?,
        report,
    })
}
