//! What must be true before each step forward, as data: `advance` obeys it,
//! `status` and `plan` show it.

use std::time::Duration;

use serde::Serialize;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::journal::JournalError;
use shearwater_core::lifecycle::{BackfillState, Phase, State};
use shearwater_core::spec::Gates;
use shearwater_core::store::Side;

use crate::Setup;
use crate::ledger::Halt;
use crate::shadow::{SHADOW_NOTE, ShadowCounts};

/// Foreign writes counted for the gate; more are as bad as this many.
const FOREIGN_COUNTED_MAX: usize = 1_000;

/// What helps against too long a pause.
pub const PAUSE_HINT: &str = "wait until fewer keys are dirty, or raise `pause_ms_max` in the spec's [gates]";

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The stable code, for example `gate/dead-letters`.
    pub code: &'static str,
    /// Whether it lets the step through.
    pub open: bool,
    /// What was found, and what is needed.
    pub message: String,
    /// What opens it, when it is closed.
    pub hint: Option<&'static str>,
}

/// What the gates look at, as measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Dirty keys of the authority.
    pub backlog: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Keys that somebody else wrote in the follower.
    pub foreign: u64,
    /// Live members.
    pub members: u64,
    /// Live members that act on an older epoch.
    pub members_behind: u64,
    /// Shadow reads compared.
    pub shadow_compared: u64,
    /// Shadow reads that differed and were confirmed.
    pub shadow_mismatches: u64,
    /// The pause of writes that a change of authority would be now, ms.
    pub predicted_pause_ms: u64,
}

/// Measures what the gates look at; reads only.
pub async fn facts(setup: &Setup, state: &State, pause: impl Fn(u64) -> Duration) -> Result<Facts, Halt> {
    let journal = &setup.journal;
    let members = journal.members().await?;
    let shadow = shadow(journal.note(SHADOW_NOTE).await?)?;
    let mut facts = Facts {
        dead_letters: journal.dead_letter_count().await?,
        members: members.len() as u64,
        members_behind: members.iter().filter(|m| m.epoch < state.epoch).count() as u64,
        shadow_compared: shadow.compared,
        shadow_mismatches: shadow.mismatches,
        ..Facts::default()
    };
    if let Some(authority) = state.authority().filter(|_| state.captured) {
        facts.backlog = marks_of(setup, authority).await?;
    }
    if let Some(follower) = state.follower() {
        let foreign = setup.store(follower).foreign(FOREIGN_COUNTED_MAX).await.map_err(Halt::store(follower))?;
        facts.foreign = foreign.len() as u64;
    }
    facts.predicted_pause_ms = pause(facts.backlog).as_millis() as u64;
    Ok(facts)
}

fn shadow(note: Option<String>) -> Result<ShadowCounts, Halt> {
    let Some(text) = note else { return Ok(ShadowCounts::default()) };
    serde_json::from_str(&text).map_err(|error| Halt::Journal(JournalError::Damaged(format!("note shadow: {error}"))))
}

/// The next phase by `advance` or `complete`, if there is one.
pub fn next_phase(phase: Phase) -> Option<Phase> {
    match phase {
        Phase::Planned => Some(Phase::DualWrite),
        Phase::DualWrite => Some(Phase::ShadowRead),
        Phase::ShadowRead => Some(Phase::ReadRamp),
        Phase::ReadRamp => Some(Phase::Cutover),
        Phase::ReverseWindow => Some(Phase::Complete),
        Phase::Cutover | Phase::Rollback | Phase::Complete | Phase::Withdrawn => None,
    }
}

/// The gates before a phase. Pure.
pub fn gates(to: Phase, state: &State, facts: &Facts, limits: &Gates) -> Vec<Gate> {
    match to {
        Phase::ShadowRead => {
            vec![members(facts), backfilled(state), dead_letters(facts), foreign(facts), verified(state, limits)]
        }
        Phase::ReadRamp => vec![
            members(facts),
            backfilled(state),
            dead_letters(facts),
            foreign(facts),
            verified(state, limits),
            shadow_compared(facts, limits),
            shadow_equal(facts),
        ],
        Phase::Cutover => vec![
            members(facts),
            backfilled(state),
            dead_letters(facts),
            foreign(facts),
            verified(state, limits),
            ramped(state),
            backlog(facts, limits),
            pause(facts, limits),
        ],
        Phase::Rollback => vec![members(facts), dead_letters(facts), backlog(facts, limits), pause(facts, limits)],
        Phase::DualWrite | Phase::Complete => vec![members(facts)],
        Phase::Planned | Phase::ReverseWindow | Phase::Withdrawn => Vec::new(),
    }
}

/// The refusal for the closed gates among these, if any is.
pub fn refuse_closed(gates: &[Gate]) -> Result<(), Halt> {
    let closed: Vec<&Gate> = gates.iter().filter(|gate| !gate.open).collect();
    let Some(first) = closed.first() else { return Ok(()) };
    let message = closed.iter().map(|gate| gate.message.as_str()).collect::<Vec<_>>().join("; ");
    Err(Halt::refused(first.code, message, first.hint.unwrap_or("see `status` for all gates")))
}

fn gate(code: &'static str, open: bool, message: String, hint: &'static str) -> Gate {
    Gate { code, open, message, hint: (!open).then_some(hint) }
}

fn members(facts: &Facts) -> Gate {
    gate(
        "gate/members",
        facts.members_behind == 0,
        format!("{} of {} live members act on an older epoch", facts.members_behind, facts.members),
        "wait a moment; a member that hangs loses its lease within seconds",
    )
}

fn backfilled(state: &State) -> Gate {
    let (open, message) = match &state.backfill {
        BackfillState::NotRun => (false, "the backfill has not run".to_owned()),
        BackfillState::Running { .. } => (false, "the backfill is running".to_owned()),
        BackfillState::Done { totals, .. } => (true, format!("the backfill is done, {} records", totals.read)),
    };
    gate("gate/backfill", open, message, "wait for the backfill, or `resume` it; `status --watch` shows how far it is")
}

fn dead_letters(facts: &Facts) -> Gate {
    gate(
        "gate/dead-letters",
        facts.dead_letters == 0,
        format!("{} dead letters", facts.dead_letters),
        "`dead-letters` lists them with reasons; mend the records or the mapping, then `dead-letters retry`",
    )
}

fn foreign(facts: &Facts) -> Gate {
    gate(
        "gate/foreign-writes",
        facts.foreign == 0,
        format!("{} keys were written in the follower by somebody else", facts.foreign),
        "stop whoever writes there, then `repair` makes these records equal again",
    )
}

fn verified(state: &State, limits: &Gates) -> Gate {
    let (open, message) = match &state.verified {
        None => (false, "nothing has been verified since the backfill or the last change of authority".to_owned()),
        Some((_, totals)) => (
            totals.mismatches() <= limits.mismatches_max,
            format!(
                "the last verification found {} mismatches, {} are allowed",
                totals.mismatches(),
                limits.mismatches_max
            ),
        ),
    };
    gate("gate/verified", open, message, "`verify`; if it finds mismatches, `repair` and `verify` again")
}

fn shadow_compared(facts: &Facts, limits: &Gates) -> Gate {
    gate(
        "gate/shadow-reads",
        facts.shadow_compared >= limits.shadow_reads_min,
        format!("{} shadow reads compared, {} are needed", facts.shadow_compared, limits.shadow_reads_min),
        "let clients read for a while",
    )
}

fn shadow_equal(facts: &Facts) -> Gate {
    gate(
        "gate/shadow-mismatches",
        facts.shadow_mismatches == 0,
        format!("{} shadow reads differed", facts.shadow_mismatches),
        "`verify` and `repair`; then roll back to `planned` and advance again to count anew",
    )
}

fn ramped(state: &State) -> Gate {
    gate(
        "gate/ramp",
        state.ramp_percent == 100,
        format!("{} % of the reads come from the target, 100 % are needed", state.ramp_percent),
        "`ramp 100%`",
    )
}

fn backlog(facts: &Facts, limits: &Gates) -> Gate {
    gate(
        "gate/backlog",
        facts.backlog <= limits.backlog_max,
        format!("{} keys are not followed yet, {} are allowed", facts.backlog, limits.backlog_max),
        "wait until the reconciler has caught up",
    )
}

fn pause(facts: &Facts, limits: &Gates) -> Gate {
    gate(
        "gate/pause",
        facts.predicted_pause_ms <= limits.pause_ms_max,
        format!("a pause of {} ms is predicted, {} ms are allowed", facts.predicted_pause_ms, limits.pause_ms_max),
        PAUSE_HINT,
    )
}

/// The dirty keys of a side; 0 once its sidecar is gone, as it is for a moment
/// while `complete` is on its way.
pub async fn marks_of(setup: &Setup, side: Side) -> Result<u64, Halt> {
    match setup.store(side).dirty_count().await {
        Err(error) if error.kind == StoreErrorKind::Sidecar => Ok(0),
        counted => counted.map_err(Halt::store(side)),
    }
}

#[cfg(test)]
mod tests {
    use shearwater_core::lifecycle::{BackfillTotals, Lifecycle, VerifyTotals};

    use super::*;

    fn ready() -> State {
        let backfill = BackfillState::Done { run: "r".into(), totals: BackfillTotals::default() };
        State { backfill, verified: Some((9, VerifyTotals::default())), ramp_percent: 100, ..State::initial() }
    }

    fn closed(to: Phase, state: &State, facts: &Facts) -> Vec<&'static str> {
        let limits = Gates { mismatches_max: 0, pause_ms_max: 300, shadow_reads_min: 10, backlog_max: 100 };
        gates(to, state, facts, &limits).into_iter().filter(|gate| !gate.open).map(|gate| gate.code).collect()
    }

    #[test]
    fn each_gate_closes_for_its_own_reason() {
        let well = Facts { members: 2, shadow_compared: 10, ..Facts::default() };
        let check = |to, state: State, facts: Facts, expect: &[&str]| {
            assert_eq!(closed(to, &state, &facts), expect, "to {to:?} with {facts:?}");
        };
        for to in [Phase::DualWrite, Phase::ShadowRead, Phase::ReadRamp, Phase::Cutover, Phase::Complete] {
            check(to, ready(), well.clone(), &[]);
            check(to, ready(), Facts { members_behind: 1, ..well.clone() }, &["gate/members"]);
        }
        let bad = VerifyTotals { extra: 1, ..VerifyTotals::default() };
        for to in [Phase::ShadowRead, Phase::ReadRamp, Phase::Cutover] {
            check(to, State { backfill: BackfillState::NotRun, ..ready() }, well.clone(), &["gate/backfill"]);
            check(to, State { verified: None, ..ready() }, well.clone(), &["gate/verified"]);
            check(to, State { verified: Some((9, bad)), ..ready() }, well.clone(), &["gate/verified"]);
            check(to, ready(), Facts { dead_letters: 1, ..well.clone() }, &["gate/dead-letters"]);
            check(to, ready(), Facts { foreign: 1, ..well.clone() }, &["gate/foreign-writes"]);
        }
        let ramp = Phase::ReadRamp;
        check(ramp, ready(), Facts { shadow_compared: 9, ..well.clone() }, &["gate/shadow-reads"]);
        check(ramp, ready(), Facts { shadow_mismatches: 1, ..well.clone() }, &["gate/shadow-mismatches"]);
        let cutover = Phase::Cutover;
        check(cutover, State { ramp_percent: 99, ..ready() }, well.clone(), &["gate/ramp"]);
        check(cutover, ready(), Facts { backlog: 101, ..well.clone() }, &["gate/backlog"]);
        check(cutover, ready(), Facts { predicted_pause_ms: 301, ..well.clone() }, &["gate/pause"]);
        check(Phase::Planned, State::initial(), Facts { members_behind: 9, ..well }, &[]);
    }

    #[test]
    fn a_refusal_tells_every_closed_gate_and_what_opens_the_first() {
        let state = State::initial();
        let gates = gates(Phase::ShadowRead, &state, &Facts::default(), &Gates::default());
        let Err(Halt::Refused(refusal)) = refuse_closed(&gates) else { panic!("it is refused") };
        assert_eq!(refusal.code, "gate/backfill");
        assert!(refusal.message.contains("backfill has not run") && refusal.message.contains("verified"), "{refusal}");
        assert!(refusal.hint.is_some());
    }
}
