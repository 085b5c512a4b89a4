//! Where a migration stands, put together from its journal and stores; the
//! same for the CLI and the control API.

use serde::Serialize;
use serde_json::Value;
use shearwater_core::journal::{Entry, Journal, JournalError};
use shearwater_core::lifecycle::{self, BackfillTotals, Illegal, Phase, State, VerifyTotals};
use shearwater_core::store::Side;
use shearwater_engine::Setup;

use crate::gateway::usage::Versions;

/// Entries read at once.
const ENTRIES_READ_MAX: usize = 1_000;

/// Keys that somebody else wrote in the follower, counted up to here.
const FOREIGN_COUNTED_MAX: usize = 1_000;

/// The note of the activity at hand.
const PROGRESS_NOTE: &str = "progress";

/// The note of the last change of authority.
const SWITCH_NOTE: &str = "switch";

/// The note in which shadow reads are counted.
const SHADOW_NOTE: &str = "shadow";

/// Where a migration stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub migration: String,
    /// The entity.
    pub entity: String,
    /// The phase.
    pub phase: Phase,
    /// The phase that is being entered.
    pub entering: Option<Phase>,
    /// The epoch.
    pub epoch: u64,
    /// Running, paused, or failed with the reason.
    pub status: lifecycle::Status,
    /// The store whose answer is true; `None` while that is unsettled.
    pub authority: Option<Side>,
    /// The store that follows.
    pub follower: Option<Side>,
    /// Percent of the keys whose reads come from the target in `read-ramp`.
    pub ramp_percent: u8,
    /// The backfill.
    pub backfill: Backfill,
    /// The last verification since the backfill or the last change of authority.
    pub verified: Option<Verified>,
    /// The activity at hand, as it counts itself.
    pub progress: Option<Value>,
    /// Keys of the authority that the follower does not have yet; `None` when
    /// nobody follows or the store cannot say.
    pub backlog: Option<u64>,
    /// Records that mapping or follower refused.
    pub dead_letters: u64,
    /// Keys that somebody else wrote in the follower (counted up to 1,000).
    pub foreign: Option<u64>,
    /// Shadow reads, compared and different.
    pub shadow: Option<Value>,
    /// Live members.
    pub members: Vec<MemberStatus>,
    /// Commands that were asked for and have not ended.
    pub open_requests: u64,
    /// What a rollback would cost now.
    pub rollback: Rollback,
    /// The last change of authority.
    pub last_switch: Option<Value>,
    /// Requests per version, over all members.
    pub usage: Versions,
    /// The last journal entry.
    pub seq: u64,
    /// When it was appended, ms since 1970.
    pub updated_ms: i64,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// How far the backfill is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Backfill {
    /// Not started.
    NotRun,
    /// Under way; `progress` says how far.
    Running,
    /// Finished.
    Done {
        /// What it did.
        totals: BackfillTotals,
    },
}

/// A finished verification.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verified {
    /// The journal entry in which it ended.
    pub seq: u64,
    /// All findings.
    pub mismatches: u64,
    /// What it found.
    pub totals: VerifyTotals,
}

/// A live member.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub id: String,
    /// The epoch that it acts on.
    pub epoch: u64,
    /// Whether it still has to follow the last change.
    pub behind: bool,
}

/// What a rollback would cost now.
#[derive(Clone, Debug, Serialize)]
pub struct Rollback {
    /// Whether the way back is open.
    pub open: bool,
    /// Keys that the source does not have yet and that would be drained first.
    pub keys_to_follow: Option<u64>,
    /// Whether writes would be held meanwhile.
    pub holds_writes: bool,
    /// The pause of the last change of authority, microseconds, as a measure.
    pub last_pause_micros: Option<u64>,
    /// In a sentence.
    pub what: &'static str,
}

/// Why there is no status.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StatusError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its entries do not follow each other.
    #[error("the journal is damaged: {0}")]
    Illegal(#[from] Illegal),
}

/// The last entry and the state that all entries add up to.
pub async fn state(journal: &dyn Journal) -> Result<(Option<Entry>, State), StatusError> {
    let (mut state, mut last): (State, Option<Entry>) = (State::initial(), None);
    loop {
        let entries = journal.read(last.as_ref().map_or(0, |entry| entry.seq), ENTRIES_READ_MAX).await?;
        if entries.is_empty() {
            return Ok((last, state));
        }
        for entry in entries {
            state = state.next(entry.seq, &entry.event)?;
            last = Some(entry);
        }
    }
}

/// Where the migration stands. A store that is away leaves gaps, named in
/// `unknown`; the journal must be there.
pub async fn status(setup: &Setup) -> Result<Status, StatusError> {
    let journal = setup.journal.as_ref();
    let (last, state) = state(journal).await?;
    let mut unknown = Vec::new();
    let backlog = backlog(setup, &state, &mut unknown).await;
    let last_switch = note(journal, SWITCH_NOTE, &mut unknown).await?;
    Ok(Status {
        migration: journal.migration().to_owned(),
        entity: setup.spec.entity.clone(),
        phase: state.phase,
        entering: state.entering,
        epoch: state.epoch,
        status: state.status.clone(),
        authority: state.authority(),
        follower: state.follower(),
        ramp_percent: state.ramp_percent,
        backfill: match &state.backfill {
            lifecycle::BackfillState::NotRun => Backfill::NotRun,
            lifecycle::BackfillState::Running { .. } => Backfill::Running,
            lifecycle::BackfillState::Done { totals, .. } => Backfill::Done { totals: *totals },
        },
        verified: state.verified.map(|(seq, totals)| Verified { seq, mismatches: totals.mismatches(), totals }),
        progress: note(journal, PROGRESS_NOTE, &mut unknown).await?,
        backlog,
        dead_letters: journal.dead_letter_count().await?,
        foreign: foreign(setup, &state, &mut unknown).await,
        shadow: note(journal, SHADOW_NOTE, &mut unknown).await?,
        members: members(journal, &state).await?,
        open_requests: journal.open_requests().await?.len() as u64,
        rollback: rollback(&state, backlog, last_switch.as_ref()),
        last_switch,
        usage: Versions::of(journal).await?,
        seq: last.as_ref().map_or(0, |entry| entry.seq),
        updated_ms: last.map_or(0, |entry| entry.at_ms),
        unknown,
    })
}

async fn backlog(setup: &Setup, state: &State, unknown: &mut Vec<String>) -> Option<u64> {
    let authority = state.authority().filter(|_| state.captured)?;
    match setup.store(authority).dirty_count().await {
        Ok(count) => Some(count),
        Err(error) => {
            unknown.push(format!("backlog: {error}"));
            None
        }
    }
}

async fn foreign(setup: &Setup, state: &State, unknown: &mut Vec<String>) -> Option<u64> {
    let follower = state.follower()?;
    match setup.store(follower).foreign(FOREIGN_COUNTED_MAX).await {
        Ok(keys) => Some(keys.len() as u64),
        Err(error) => {
            unknown.push(format!("foreign: {error}"));
            None
        }
    }
}

async fn note(journal: &dyn Journal, name: &str, unknown: &mut Vec<String>) -> Result<Option<Value>, JournalError> {
    let Some(text) = journal.note(name).await? else { return Ok(None) };
    let read = serde_json::from_str(&text);
    if read.is_err() {
        unknown.push(format!("{name}: the journal's note cannot be read"));
    }
    Ok(read.ok())
}

async fn members(journal: &dyn Journal, state: &State) -> Result<Vec<MemberStatus>, JournalError> {
    let members = journal.members().await?.into_iter();
    Ok(members
        .map(|member| MemberStatus { behind: member.epoch < state.epoch, id: member.id, epoch: member.epoch })
        .collect())
}

fn rollback(state: &State, backlog: Option<u64>, last_switch: Option<&Value>) -> Rollback {
    let (open, holds_writes, what) = match state.effective_phase() {
        Phase::Planned => (false, false, "nothing to take back: only the source is used"),
        Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => {
            (true, false, "the target is no longer followed; no write is held and nothing is lost")
        }
        Phase::Cutover => (true, false, "the cutover is under way; it finishes or takes itself back"),
        Phase::ReverseWindow => (true, true, "writes are held while the source gets the last changes; nothing is lost"),
        Phase::Rollback => (false, true, "the rollback is under way"),
        Phase::Complete => (false, false, "the last exit is behind: only the target is used"),
        Phase::Withdrawn => (false, false, "the migration was given up; only the source is used"),
    };
    let keys_to_follow = match holds_writes {
        true => backlog,
        false => open.then_some(0),
    };
    let last_pause_micros = last_switch.and_then(|report| report.get("pause_micros")).and_then(Value::as_u64);
    Rollback { open, keys_to_follow, holds_writes, last_pause_micros, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(phase: Phase, open: bool, holds_writes: bool, keys: Option<u64>) {
        let state = State { phase, ..State::initial() };
        let cost = rollback(&state, Some(7), Some(&serde_json::json!({ "pause_micros": 1_500 })));
        assert_eq!((cost.open, cost.holds_writes, cost.keys_to_follow), (open, holds_writes, keys), "{phase:?}");
        assert_eq!(cost.last_pause_micros, Some(1_500));
    }

    #[test]
    fn a_rollback_costs_what_the_phase_says() {
        check(Phase::Planned, false, false, None);
        check(Phase::DualWrite, true, false, Some(0));
        check(Phase::ReadRamp, true, false, Some(0));
        check(Phase::ReverseWindow, true, true, Some(7));
        check(Phase::Complete, false, false, None);
        check(Phase::Withdrawn, false, false, None);
    }
}
