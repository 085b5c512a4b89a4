//! Every state that can be reached, walked to the end; the way back from each
//! of them; replay.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::journal::Entry;

/// Alterations enough for each stage to have a first and a last one.
const WHAT: [Alteration; 2] = [Alteration::AddColumn, Alteration::AddWriteDefault];

/// Every event that could come next, good and bad.
fn events(state: &State) -> Vec<Event> {
    let mut steps = Vec::new();
    for stage in Stage::ALL {
        steps.push(Step::Began { stage });
        for what in WHAT {
            steps.push(Step::Altering { stage, what });
            steps.push(Step::Altered { stage, what, tries: 1, held_micros: 5 });
        }
        steps.push(Step::Abandoned { stage, reason: "rows".into(), keys: vec![] });
    }
    for info in &PHASES {
        steps.push(Step::Entering { to: info.phase, epoch: state.epoch + 1 });
        steps.push(Step::Entered { to: info.phase });
    }
    steps.push(Step::FillStarted { run: "r".into(), ranges: vec![] });
    steps.push(Step::FillFinished { run: "r".into(), totals: BackfillTotals::default() });
    let mut events: Vec<Event> = steps.into_iter().map(|step| Event::Require { step }).collect();
    events.push(Event::Verified { totals: VerifyTotals::default() });
    events
}

/// A state without what only grows, to tell whether it was seen.
fn plain(state: &State) -> State {
    let mut plain = state.clone();
    plain.epoch = 0;
    plain.entered_at = 0;
    plain.added = 0;
    plain.verified = plain.verified.map(|(_, totals)| (0, totals));
    plain
}

fn created() -> State {
    State::initial().next(1, &Event::Created { spec: String::new() }).unwrap()
}

/// Every reachable state, settled or not.
fn reachable() -> Vec<State> {
    let mut seen = vec![plain(&created())];
    let mut open = VecDeque::from([created()]);
    let mut all = vec![created()];
    while let Some(state) = open.pop_front() {
        for event in events(&state) {
            let Ok(next) = state.next(2, &event) else { continue };
            assert!(next.epoch >= state.epoch && next.epoch <= state.epoch + 1);
            check_step(&state, &event, &next);
            if !seen.contains(&plain(&next)) {
                seen.push(plain(&next));
                all.push(next.clone());
                open.push_back(next);
            }
        }
    }
    all
}

/// What must hold of every single step, wherever it is taken.
fn check_step(before: &State, event: &Event, after: &State) {
    let Event::Require { step } = event else { return };
    match step {
        Step::Began { stage: Stage::Enforce } => {
            assert!(
                matches!(before.filling, Filling::Done { .. }),
                "enforced before every record was filled: {before:?}"
            );
            assert!(before.verified.is_some(), "enforced without a durable proof: {before:?}");
        }
        Step::Entering { to: Phase::Expand, .. } if before.phase == Phase::Planned => {
            assert_eq!(before.began, Some(Stage::Expand), "members would look for a column that is not there");
        }
        Step::Entering { to: Phase::Enforce, .. } => assert_eq!(before.began, Some(Stage::Enforce)),
        Step::Altering { stage: stage @ (Stage::Contract | Stage::Remove | Stage::Complete | Stage::Back), .. } => {
            assert!(before.entering.is_some(), "taken away before every member does without it: {before:?}");
            assert!(*stage != Stage::Contract || !before.repairs_reads(), "{before:?}");
        }
        Step::Entered { .. } => assert!(after.altering.is_none() && after.began.is_none()),
        _ => {}
    }
}

#[test]
fn every_state_that_can_be_reached_keeps_the_rules() {
    let all = reachable();
    assert!(all.len() > 40, "{} states", all.len());
    for info in &PHASES {
        assert!(all.iter().any(|state| state.phase == info.phase), "{} is never reached", info.name);
        assert_eq!(info.phase.name(), info.name);
    }
}

#[test]
fn a_rollback_is_open_from_every_state_before_complete() {
    for state in reachable().into_iter().filter(|state| !state.is_over()) {
        // Whoever finds it finishes what is being entered, then goes back.
        let mut at = state.clone();
        for _ in 0..6 {
            if at.is_over() || (at.phase == Phase::Planned && !at.is_unsettled()) {
                break;
            }
            if let Some(to) = at.entering {
                if let (Some(what), Some(stage)) = (at.altering, at.stage()) {
                    at = must(&at, Step::Altered { stage, what, tries: 1, held_micros: 0 });
                }
                at = must(&at, Step::Entered { to });
                continue;
            }
            let to = at.phase.info().ways.iter().find(|(verb, _)| *verb == "rollback").unwrap().1;
            at = must(&at, Step::Entering { to, epoch: at.epoch + 1 });
        }
        let is_home = at.phase == Phase::Planned && !at.is_unsettled();
        assert!(is_home || at.is_over(), "no way back from {state:?}: got to {at:?}");
        assert!(!at.is_over() || state.effective_phase() == at.phase, "{state:?}");
    }
}

fn must(state: &State, step: Step) -> State {
    state.next(9, &Event::Require { step: step.clone() }).unwrap_or_else(|e| panic!("{step:?}: {e}"))
}

#[test]
fn the_life_of_a_migration_and_back_after_contract() {
    let life = [
        Step::Began { stage: Stage::Expand },
        Step::Altering { stage: Stage::Expand, what: Alteration::AddColumn },
        Step::Altered { stage: Stage::Expand, what: Alteration::AddColumn, tries: 2, held_micros: 700 },
        Step::Entering { to: Phase::Expand, epoch: 2 },
        Step::Entered { to: Phase::Expand },
        Step::Entering { to: Phase::Backfill, epoch: 3 },
        Step::Entered { to: Phase::Backfill },
        Step::FillStarted { run: "a".into(), ranges: vec![] },
        Step::FillFinished { run: "a".into(), totals: BackfillTotals::default() },
    ];
    let mut state = created();
    for step in life {
        state = must(&state, step);
    }
    let began = Event::Require { step: Step::Began { stage: Stage::Enforce } };
    let refused = state.next(9, &began).unwrap_err();
    assert!(refused.to_string().contains("no verification"), "{refused}");
    state = state.next(10, &Event::Verified { totals: VerifyTotals::default() }).unwrap();
    for step in [
        Step::Began { stage: Stage::Enforce },
        Step::Altering { stage: Stage::Enforce, what: Alteration::SetNotNull },
        Step::Altered { stage: Stage::Enforce, what: Alteration::SetNotNull, tries: 1, held_micros: 1 },
        Step::Entering { to: Phase::Enforce, epoch: 4 },
        Step::Entered { to: Phase::Enforce },
        Step::Entering { to: Phase::Contract, epoch: 5 },
        Step::Altering { stage: Stage::Contract, what: Alteration::DropWriteDefault },
        Step::Altered { stage: Stage::Contract, what: Alteration::DropWriteDefault, tries: 1, held_micros: 1 },
        Step::Entered { to: Phase::Contract },
    ] {
        state = must(&state, step);
    }
    assert!(!state.repairs_reads() && state.has_field() && !state.takes_outdated_creates());
    state = must(&state, Step::Entering { to: Phase::Expand, epoch: 6 });
    assert!(state.repairs_reads() && state.stage() == Some(Stage::Back));
    state = must(&state, Step::Entered { to: Phase::Expand });
    assert_eq!((&state.filling, state.verified), (&Filling::NotRun, None), "what was proven is proven again");
}

#[test]
fn a_failed_validation_goes_back_to_filling() {
    let mut state = State { phase: Phase::Backfill, ..created() };
    state.filling = Filling::Done { run: "a".into(), totals: BackfillTotals::default() };
    state.verified = Some((4, VerifyTotals::default()));
    state = must(&state, Step::Began { stage: Stage::Enforce });
    state = must(&state, Step::Abandoned { stage: Stage::Enforce, reason: "2 rows".into(), keys: vec!["7".into()] });
    assert_eq!((state.phase, &state.filling, state.verified), (Phase::Backfill, &Filling::NotRun, None));
    must(&state, Step::FillStarted { run: "b".into(), ranges: vec![] });
}

#[test]
fn events_of_other_kinds_and_after_the_end_are_refused() {
    let refused = created().next(2, &Event::Capturing).unwrap_err();
    assert!(refused.to_string().contains("another kind"), "{refused}");
    let moved = crate::lifecycle::State::initial().next(1, &Event::Created { spec: String::new() }).unwrap();
    assert!(moved.next(2, &Event::Require { step: Step::Began { stage: Stage::Expand } }).is_err());
    let over = State { phase: Phase::Complete, ..created() };
    assert!(over.next(9, &Event::Resumed).unwrap_err().to_string().contains("over"));
}

#[test]
fn steps_are_journalled_in_kebab_case_and_come_back() {
    let event = Event::Require {
        step: Step::Altered { stage: Stage::Enforce, what: Alteration::SetNotNull, tries: 3, held_micros: 600 },
    };
    let entry = Entry { seq: 7, at_ms: 1, actor: "m".into(), event: event.clone() };
    let text = serde_json::to_string(&entry).unwrap();
    assert!(text.contains(r#""event":"require","step":"altered","stage":"enforce","what":"set-not-null""#), "{text}");
    assert_eq!(serde_json::from_str::<Entry>(&text).unwrap().event, event);
    assert_eq!(event.name(), "altered");
}

proptest! {
    /// Whatever is tried in whatever order, the state is that of the accepted events.
    #[test]
    fn replay_of_what_was_accepted_is_the_state(picks in prop::collection::vec(0usize..60, 0..80)) {
        let mut entries = vec![Entry { seq: 1, at_ms: 0, actor: "m".into(), event: Event::Created { spec: String::new() } }];
        let mut state = created();
        for pick in picks {
            let events = events(&state);
            let event = events[pick % events.len()].clone();
            let seq = entries.len() as u64 + 1;
            if let Ok(next) = state.next(seq, &event) {
                state = next;
                entries.push(Entry { seq, at_ms: 0, actor: "m".into(), event });
            }
        }
        prop_assert_eq!(State::replay(&entries).unwrap(), state);
    }
}
