//! The life of an `absorb`: which ways are open, and where each leads.

use super::*;

fn created() -> Event {
    Event::Created { spec: String::new() }
}

fn step(step: Step) -> Event {
    Event::Absorb { step }
}

fn run(events: &[Event]) -> Result<State, String> {
    let mut state = State::initial();
    for (at, event) in events.iter().enumerate() {
        state = state.next(at as u64 + 1, event).map_err(|illegal| illegal.to_string())?;
    }
    Ok(state)
}

/// Goes on into phases, each under the next epoch.
fn through(phases: &[Phase]) -> Vec<Event> {
    let mut events = vec![created(), step(Step::Preparing), step(Step::Prepared { census: Census::default() })];
    for (at, to) in phases.iter().enumerate() {
        let epoch = at as u64 + 2;
        if *to == Phase::Prepare && at > 0 && phases[at - 1] == Phase::Rollback {
            events.push(step(Step::Returned { records: 3 }));
        }
        events.push(step(Step::Entering { to: *to, epoch }));
        if *to == Phase::Complete {
            events.push(step(Step::Closing { epoch: epoch + 1 }));
        }
        events.push(step(Step::Entered { to: *to }));
    }
    events
}

#[test]
fn there_and_to_the_end() {
    let state = run(&through(&[Phase::Prepare, Phase::Lazy, Phase::Drain, Phase::Complete])).unwrap();
    assert_eq!((state.phase, state.epoch, state.prepared), (Phase::Complete, 6, false));
    assert!(state.is_over());
}

#[test]
fn a_rollback_is_open_in_every_phase_before_complete() {
    for before in [&[Phase::Prepare, Phase::Lazy][..], &[Phase::Prepare, Phase::Lazy, Phase::Drain]] {
        let mut phases = before.to_vec();
        phases.extend([Phase::Rollback, Phase::Prepare, Phase::Lazy]);
        let state = run(&through(&phases)).unwrap();
        assert_eq!(state.phase, Phase::Lazy, "and forward again");
        assert!(state.prepared);
    }
    let state = run(&through(&[Phase::Prepare, Phase::Planned, Phase::Withdrawn])).unwrap();
    assert_eq!((state.phase, state.prepared), (Phase::Withdrawn, false));
}

#[test]
fn what_is_not_possible() {
    let check = |mut events: Vec<Event>, event: Event, expect: &str| {
        events.push(event);
        let found = run(&events).unwrap_err();
        assert!(found.contains(expect), "{found}");
    };
    let entering = |to, epoch| step(Step::Entering { to, epoch });
    check(vec![created()], entering(Phase::Prepare, 2), "not prepared");
    check(through(&[Phase::Prepare]), entering(Phase::Drain, 3), "no next phase");
    check(through(&[Phase::Prepare]), entering(Phase::Lazy, 4), "epoch 3 must come after 2");
    check(through(&[Phase::Prepare, Phase::Lazy]), entering(Phase::Complete, 4), "no next phase");
    check(through(&[Phase::Prepare, Phase::Lazy, Phase::Rollback]), entering(Phase::Prepare, 5), "not every record");
    check(through(&[Phase::Prepare]), step(Step::Deactivated { records: 1 }), "do not move");
    check(through(&[Phase::Prepare, Phase::Lazy]), step(Step::Returned { records: 1 }), "in rollback only");
    check(through(&[Phase::Prepare]), Event::Capturing, "another kind");
    check(through(&[Phase::Prepare]), step(Step::Preparing), "once");
    let mut events = through(&[Phase::Prepare]);
    events.push(entering(Phase::Lazy, 3));
    check(events, step(Step::Deactivated { records: 1 }), "is being entered");
    check(through(&[Phase::Prepare, Phase::Withdrawn]), Event::Resumed, "is over");
}

#[test]
fn the_last_step_is_given_up_until_the_stores_are_closed() {
    let entering = step(Step::Entering { to: Phase::Complete, epoch: 5 });
    let aborted = |epoch| step(Step::Aborted { reason: "a record came".into(), epoch });
    let mut events = through(&[Phase::Prepare, Phase::Lazy, Phase::Drain]);
    events.push(entering);
    let state = run(&events).unwrap();
    assert!(!state.moves_forward() && state.uses_sidecars() && !state.is_target_only());
    assert_eq!(state.list_order(), ListOrder::SourceTwice);
    assert!(state.next(99, &step(Step::Entered { to: Phase::Complete })).is_err(), "not before it is closed");
    let back = state.next(99, &aborted(6)).unwrap();
    assert_eq!((back.phase, back.entering, back.epoch), (Phase::Drain, None, 6));
    let closing = state.next(99, &step(Step::Closing { epoch: 6 })).unwrap();
    assert_eq!((closing.list_order(), closing.uses_sidecars()), (ListOrder::TargetOnly, false));
    assert!(closing.next(99, &aborted(7)).is_err());
}

#[test]
fn lists_read_first_what_records_leave() {
    let check = |phase, entering, expect| {
        let state = State { phase, entering, prepared: true, ..State::initial() };
        assert_eq!(state.list_order(), expect, "{phase:?} entering {entering:?}");
    };
    check(Phase::Lazy, None, ListOrder::SourceFirst);
    check(Phase::Lazy, Some(Phase::Drain), ListOrder::SourceFirst);
    check(Phase::Drain, Some(Phase::Rollback), ListOrder::SourceTwice);
    check(Phase::Rollback, None, ListOrder::TargetFirst);
    check(Phase::Rollback, Some(Phase::Prepare), ListOrder::SourceTwice);
    check(Phase::Prepare, Some(Phase::Lazy), ListOrder::SourceFirst);
    check(Phase::Prepare, Some(Phase::Withdrawn), ListOrder::SourceOnly);
}

#[test]
fn while_deactivations_are_undone_lists_read_both_ways() {
    let mut events = through(&[Phase::Prepare, Phase::Lazy, Phase::Drain]);
    let drain = run(&events).unwrap();
    assert!(drain.next(99, &step(Step::Undoing { epoch: 4 })).is_err(), "under a new epoch");
    events.push(step(Step::Undoing { epoch: 5 }));
    let undoing = run(&events).unwrap();
    assert_eq!((undoing.epoch, undoing.list_order()), (5, ListOrder::SourceTwice));
    assert!(undoing.moves_forward() && undoing.next(99, &step(Step::Undoing { epoch: 6 })).is_err());
    let done = undoing.next(99, &step(Step::Reactivated { records: 1 })).unwrap();
    assert_eq!((done.epoch, done.list_order()), (5, ListOrder::SourceFirst));
    // Given up, it ends with the next phase at the latest.
    let left = undoing.next(99, &step(Step::Entering { to: Phase::Rollback, epoch: 6 })).unwrap();
    assert!(left.undoing && !left.next(99, &step(Step::Entered { to: Phase::Rollback })).unwrap().undoing);
    // After a rollback none is in the target.
    let prepare = run(&through(&[Phase::Prepare])).unwrap();
    assert!(prepare.undoes() && prepare.next(99, &step(Step::Undoing { epoch: 3 })).is_err());
    assert!(prepare.next(99, &step(Step::Reactivated { records: 1 })).is_ok());
}

#[test]
fn a_failure_does_not_erase_the_place() {
    let mut events = through(&[Phase::Prepare, Phase::Lazy]);
    events.push(Event::Failed { reason: "disk".into() });
    let state = run(&events).unwrap();
    assert_eq!(state.phase, Phase::Lazy);
    assert!(!state.deactivates());
    events.push(Event::Resumed);
    assert_eq!(run(&events).unwrap().status, Status::Running);
}

#[test]
fn a_step_is_written_as_the_journal_has_it() {
    let event = step(Step::Entering { to: Phase::Lazy, epoch: 3 });
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(text, r#"{"event":"absorb","step":{"step":"entering","to":"lazy","epoch":3}}"#);
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
}

#[test]
fn every_phase_is_described_at_its_own_place() {
    for info in PHASES {
        assert_eq!(info.phase.info(), &info);
        assert_eq!(serde_json::to_value(info.phase).unwrap(), info.name);
    }
}
