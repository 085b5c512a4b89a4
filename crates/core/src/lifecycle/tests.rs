//! Every phase × every event, the life of migrations that go well and badly,
//! and properties of replay.

use proptest::prelude::*;

use super::*;
use crate::journal::Event;

fn entry(seq: u64, event: Event) -> Entry {
    Entry { seq, at_ms: 0, actor: "m".into(), event }
}

fn entering(to: Phase, epoch: u64) -> Event {
    Event::Entering { to, epoch }
}

fn entered(to: Phase) -> Event {
    Event::Entered { to }
}

fn began(from: Side, epoch: u64) -> Event {
    Event::SwitchBegan { from, to: from.other(), epoch, budget_ms: 300, predicted_ms: 5 }
}

fn started(run: &str) -> Event {
    Event::BackfillStarted { run: run.into(), ranges: vec![] }
}

fn finished(run: &str) -> Event {
    Event::BackfillFinished { run: run.into(), totals: BackfillTotals::default() }
}

/// A whole migration: over the cutover, back, and over again.
fn long_life() -> Vec<Event> {
    use Phase::*;
    vec![
        Event::Created { spec: String::new() },
        Event::Capturing,
        Event::Captured,
        entering(DualWrite, 2),
        entered(DualWrite),
        started("a"),
        finished("a"),
        Event::Verified { totals: VerifyTotals::default() },
        entering(ShadowRead, 3),
        entered(ShadowRead),
        entering(ReadRamp, 4),
        entered(ReadRamp),
        Event::RampSet { percent: 40 },
        began(Side::Source, 5),
        Event::Switched { drained: 3 },
        Event::Opened { pause_micros: 900 },
        began(Side::Target, 6),
        Event::Switched { drained: 0 },
        Event::Opened { pause_micros: 700 },
        entering(ShadowRead, 7),
        entered(ShadowRead),
        entering(ReadRamp, 8),
        entered(ReadRamp),
        began(Side::Source, 9),
        Event::SwitchAborted { reason: "budget".into(), epoch: 10 },
        began(Side::Source, 11),
        Event::Switched { drained: 0 },
        Event::Opened { pause_micros: 800 },
        entering(Complete, 12),
        entered(Complete),
    ]
}

fn after(events: &[Event]) -> State {
    let entries: Vec<Entry> = events.iter().cloned().enumerate().map(|(i, e)| entry(i as u64 + 1, e)).collect();
    State::replay(&entries).unwrap()
}

/// The state in which a whole migration is first seen in this phase, settled.
fn settled_in(phase: Phase) -> State {
    let life = long_life();
    match phase {
        Phase::Planned => after(&life[..3]),
        Phase::Withdrawn => {
            let mut events = life[..3].to_vec();
            events.extend([entering(Phase::Withdrawn, 2), entered(Phase::Withdrawn)]);
            after(&events)
        }
        _ => (1..=life.len())
            .map(|n| after(&life[..n]))
            .find(|s| s.phase == phase && s.entering.is_none() && (phase != Phase::DualWrite || done(s)))
            .unwrap(),
    }
}

fn done(state: &State) -> bool {
    matches!(state.backfill, BackfillState::Done { .. })
}

#[test]
fn every_phase_with_every_event() {
    use Phase::*;
    let order = [Planned, DualWrite, ShadowRead, ReadRamp, Cutover, ReverseWindow, Rollback, Complete, Withdrawn];
    // One letter for each phase in `order`: `.` illegal, `=` the phase stays,
    // else the first letters of the effective phase afterwards.
    let check = |row: &str, event: &dyn Fn(&State) -> Event| {
        let mut words = row.split_whitespace();
        for phase in order {
            let expect = words.next().unwrap();
            let before = settled_in(phase);
            let event = event(&before);
            let found = match before.next(100, &event) {
                Err(illegal) => {
                    assert_eq!(illegal.phase, phase.name());
                    ".".to_owned()
                }
                Ok(next) if next.effective_phase() == phase => "=".to_owned(),
                Ok(next) => next.effective_phase().name()[..2].to_owned(),
            };
            assert_eq!(found, expect, "{} in {}", event.name(), phase.name());
        }
    };
    //     pl dw sr rr cu rw ro co wi
    check(".  .  .  .  .  .  .  .  .", &|_| Event::Created { spec: String::new() });
    check(".  .  .  .  .  .  .  .  .", &|_| Event::Capturing);
    check("du .  .  .  .  .  .  .  .", &|s| entering(DualWrite, s.epoch + 1));
    check(".  sh .  .  .  .  .  .  .", &|s| entering(ShadowRead, s.epoch + 1));
    check(".  .  re .  .  .  .  .  .", &|s| entering(ReadRamp, s.epoch + 1));
    check(".  pl pl pl .  .  .  .  .", &|s| entering(Planned, s.epoch + 1));
    check(".  .  .  .  .  co .  .  .", &|s| entering(Complete, s.epoch + 1));
    check("wi .  .  .  .  .  .  .  .", &|s| entering(Withdrawn, s.epoch + 1));
    check(".  .  .  .  .  .  .  .  .", &|s| entering(Cutover, s.epoch + 1));
    check(".  .  .  .  .  .  .  .  .", &|s| entering(ReverseWindow, s.epoch + 1));
    check(".  .  .  .  .  .  .  .  .", &|s| entering(Rollback, s.epoch + 1));
    check(".  .  .  .  .  .  .  .  .", &|s| entered(s.phase));
    check(".  =  =  =  .  .  .  .  .", &|_| started("b"));
    check(".  .  .  .  .  .  .  .  .", &|_| finished("b"));
    check("=  =  =  =  .  =  .  .  .", &|_| Event::Verified { totals: VerifyTotals::default() });
    check(".  =  =  =  .  =  .  .  .", &|_| Event::Repaired { repaired: 1 });
    check(".  .  .  =  .  .  .  .  .", &|_| Event::RampSet { percent: 100 });
    check(".  .  .  .  .  .  .  .  .", &|_| Event::RampSet { percent: 101 });
    check(".  .  .  cu .  .  .  .  .", &|s| began(Side::Source, s.epoch + 1));
    check(".  .  .  .  .  ro .  .  .", &|s| began(Side::Target, s.epoch + 1));
    check(".  .  .  .  =  .  =  .  .", &|_| Event::Switched { drained: 0 });
    check(".  .  .  .  .  .  .  .  .", &|_| Event::Opened { pause_micros: 1 });
    check(".  .  .  .  re .  re .  .", &|s| Event::SwitchAborted { reason: String::new(), epoch: s.epoch + 1 });
    check("=  =  =  =  =  =  =  .  .", &|_| Event::Paused { reason: String::new() });
    check(".  .  .  .  .  .  .  .  .", &|_| Event::Resumed);
    check("=  =  =  =  =  =  =  .  .", &|_| Event::Failed { reason: String::new() });
    // An epoch that does not follow is refused everywhere.
    check(".  .  .  .  .  .  .  .  .", &|s| entering(DualWrite, s.epoch + 2));
    check(".  .  .  .  .  .  .  .  .", &|s| began(Side::Source, s.epoch));
}

#[test]
fn while_a_phase_is_entered_only_its_end_and_the_status_move() {
    let state = after(&long_life()[..4]);
    assert_eq!((state.phase, state.effective_phase()), (Phase::Planned, Phase::DualWrite));
    assert_eq!((state.authority(), state.follower()), (Some(Side::Source), Some(Side::Target)));
    for event in [
        started("a"),
        entering(Phase::Planned, 3),
        entered(Phase::ShadowRead),
        Event::Capturing,
        Event::Verified { totals: VerifyTotals::default() },
        began(Side::Source, 3),
    ] {
        assert!(state.next(5, &event).is_err(), "{}", event.name());
    }
    for event in [entered(Phase::DualWrite), Event::Paused { reason: String::new() }] {
        assert!(state.next(5, &event).is_ok(), "{}", event.name());
    }
}

#[test]
fn what_must_come_first() {
    let check = |events: &[Event], event: Event, why: &str| {
        let illegal = after(events).next(events.len() as u64 + 1, &event).unwrap_err();
        assert_eq!(illegal.why, why, "{illegal}");
    };
    let life = long_life();
    check(&[], entering(Phase::DualWrite, 2), "the migration is not written down");
    check(&life[..1], entering(Phase::DualWrite, 2), "capture is not installed");
    check(&life[..5], entering(Phase::ShadowRead, 3), "the backfill is not finished");
    check(&life[..6], started("b"), "backfill a is not finished");
    check(&life[..6], finished("b"), "backfill b is not running");
    check(&life[..14], Event::Opened { pause_micros: 0 }, "it is not decided");
    check(
        &life[..15],
        Event::SwitchAborted { reason: String::new(), epoch: 6 },
        "it is decided and can only be finished",
    );
    let mut running_again = life[..12].to_vec();
    running_again.push(started("b"));
    check(&running_again, began(Side::Source, 5), "the backfill is not finished");
}

#[test]
fn a_failure_stands_beside_the_phase_and_erases_nothing() {
    let before = settled_in(Phase::ReadRamp);
    let failed = before.next(50, &Event::Failed { reason: "disk full".into() }).unwrap();
    assert_eq!(failed.status, Status::Failed { reason: "disk full".into() });
    assert!(failed.next(51, &Event::Paused { reason: String::new() }).is_err());
    assert_eq!(failed.next(51, &Event::Resumed).unwrap(), before);
}

#[test]
fn a_whole_life() {
    let life = long_life();
    let at = |n: usize| after(&life[..n]);
    assert_eq!(at(13).ramp_percent, 40);
    let cutover = at(14);
    assert_eq!((cutover.authority(), cutover.follower()), (None, None));
    let reverse = at(16);
    assert_eq!((reverse.authority(), reverse.follower()), (Some(Side::Target), Some(Side::Source)));
    assert_eq!((reverse.ramp_percent, reverse.verified, reverse.rolled_back), (0, None, false));
    let back = at(19);
    assert_eq!((back.phase, back.rolled_back, done(&back)), (Phase::DualWrite, true, true));
    assert_eq!(at(25).phase, Phase::ReadRamp, "an aborted switch returns to its phase");
    let end = at(life.len());
    assert!(end.is_over() && !end.captured);
    assert_eq!(end.epoch, 12);
}

#[test]
fn rollback_before_the_cutover_keeps_capture_and_backfill() {
    let mut events = long_life()[..13].to_vec();
    events.extend([entering(Phase::Planned, 5), entered(Phase::Planned)]);
    let state = after(&events);
    assert!(state.captured && done(&state));
    assert_eq!((state.ramp_percent, state.verified), (0, None));
    assert!(state.next(30, &entering(Phase::DualWrite, 6)).is_ok());
}

#[test]
fn the_table_of_phases_agrees_with_the_function() {
    for (at, info) in PHASES.iter().enumerate() {
        assert_eq!(info.phase.info(), info, "row {at}");
        assert_eq!(serde_json::to_value(info.phase).unwrap(), info.name, "the journal's name of the phase");
        let state = settled_in(info.phase);
        assert_eq!(state.is_over(), info.ways.is_empty());
        let expect = match state.authority() {
            Some(Side::Source) => "source",
            Some(Side::Target) => "target",
            None => "unsettled",
        };
        assert!(info.authority.starts_with(expect), "{}: {}", info.name, info.authority);
        for way in info.ways {
            let event = match way.by {
                WayBy::Entering => entering(way.to, state.epoch + 1),
                WayBy::Switch => began(state.authority().unwrap(), state.epoch + 1),
                WayBy::Recovery => continue,
            };
            assert!(state.next(100, &event).is_ok(), "{} to {}", info.name, way.to);
        }
    }
}

#[test]
fn event_names_are_those_of_the_journal() {
    for event in long_life() {
        assert_eq!(serde_json::to_value(&event).unwrap()["event"], event.name());
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let phase = prop::sample::select(PHASES.map(|info| info.phase).to_vec());
    let side = prop::sample::select(vec![Side::Source, Side::Target]);
    prop_oneof![
        Just(Event::Capturing),
        Just(Event::Captured),
        (phase.clone(), 1..20u64).prop_map(|(to, epoch)| entering(to, epoch)),
        phase.prop_map(entered),
        "[ab]".prop_map(|run| started(&run)),
        "[ab]".prop_map(|run| finished(&run)),
        Just(Event::Verified { totals: VerifyTotals::default() }),
        any::<u8>().prop_map(|percent| Event::RampSet { percent }),
        (side, 1..20u64).prop_map(|(from, epoch)| began(from, epoch)),
        Just(Event::Switched { drained: 0 }),
        Just(Event::Opened { pause_micros: 0 }),
        (1..20u64).prop_map(|epoch| Event::SwitchAborted { reason: String::new(), epoch }),
        Just(Event::Paused { reason: String::new() }),
        Just(Event::Resumed),
        Just(Event::Failed { reason: String::new() }),
    ]
}

proptest! {
    /// Any walk keeps the invariants: the epoch never falls and grows by one at
    /// a time, an unsettled phase has its switch, replay gives the same state.
    #[test]
    fn any_walk_keeps_the_invariants(events in prop::collection::vec(any_event(), 0..400)) {
        let mut entries = vec![entry(1, Event::Created { spec: String::new() })];
        let mut state = State::replay(&entries).unwrap();
        for event in events {
            // Make the epochs of the walk fit now and then, so that it gets somewhere.
            let event = match event {
                Event::Entering { to, .. } => entering(to, state.epoch + 1),
                Event::SwitchBegan { from, .. } => began(from, state.epoch + 1),
                other => other,
            };
            let seq = entries.len() as u64 + 1;
            let Ok(next) = state.next(seq, &event) else { continue };
            prop_assert!(next.epoch == state.epoch || next.epoch == state.epoch + 1);
            prop_assert_eq!(next.switch.is_some(), matches!(next.phase, Phase::Cutover | Phase::Rollback));
            prop_assert!(next.entering.is_none() || next.switch.is_none());
            prop_assert!(next.authority() != next.follower() || next.authority().is_none());
            prop_assert!(next.ramp_percent == 0 || matches!(next.phase, Phase::ReadRamp | Phase::Cutover));
            entries.push(entry(seq, event));
            state = next;
        }
        prop_assert_eq!(State::replay(&entries).unwrap(), state);
    }
}
