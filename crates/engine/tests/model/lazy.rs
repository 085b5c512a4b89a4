//! Lazy moves, model-checked: one record, whose flag in the source says where
//! it lives; movers, writers that come through us, programs that write the
//! target directly, helpers that finish what others began, lists, a rollback,
//! crash-stop. Every protection can be switched off; then the checker must
//! find the hole of that number. All on: none.

use stateright::{Checker, Model, Property};

mod steps;
mod world;

use steps::steps;
use world::{ALL, HelperAt, ListerAt, MoverAt, On, Process, ReturnerAt, Setup, Source, Step, Target, World, WriterAt};

const LAST: &str = "at rest the record is what was written last";
const LISTED: &str = "a list has the record, wherever it is";
const ACTIVE: &str = "nobody who is active is deactivated";
const SETTLED: &str = "at rest no move is on its way";

impl Model for Setup {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let landed = if self.moved { vec![0] } else { vec![] };
        vec![World {
            on: self.on,
            source: Source { value: Some(1), moved: self.moved, stamp: 0, dirty: None, returning: None, active: false },
            target: Target { value: self.moved.then_some(1), stamp: u8::from(self.moved), landed, given_up: vec![] },
            processes: self.processes.clone(),
            crashes: self.crashes,
            back: self.back,
            last: Some(1),
            missed: false,
            wronged: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        for (me, process) in world.processes.iter().enumerate() {
            actions.extend(steps(world, me));
            let dies = matches!(process, Process::Mover { .. } | Process::Writer { .. } | Process::Returner(_));
            if world.crashes > 0 && dies {
                actions.extend(world.step(me, "crash", |w| {
                    w.crashes -= 1;
                    w.processes[me] = Process::Gone;
                }));
            }
        }
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(*step.next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        // Processes that try again for ever are cut off long after every hole.
        world.source.stamp < 12 && world.target.stamp < 12
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LAST, |_: &Setup, w: &World| !w.at_rest() || w.truth() == w.last),
            Property::always(LISTED, |_: &Setup, w: &World| !w.missed),
            Property::always(ACTIVE, |_: &Setup, w: &World| !w.wronged),
            Property::always(SETTLED, |_: &Setup, w: &World| !w.at_rest() || !w.on_its_way()),
        ]
    }
}

fn broken(setup: &Setup) -> Vec<&'static str> {
    let checker = setup.clone().checker().spawn_bfs().join();
    assert!(checker.is_done(), "the search was cut short");
    assert!(checker.unique_state_count() > 4, "the setup does nothing");
    let mut names: Vec<&'static str> = checker.discoveries().keys().copied().collect();
    names.sort_unstable();
    names
}

/// Sound with everything on; broken in this property with `off`.
fn check(hole: &str, setup: Setup, off: On, property: &'static str) {
    let sound = Setup { on: ALL, ..setup.clone() }.checker().spawn_bfs().join();
    if let Some((name, path)) = sound.discoveries().into_iter().next() {
        let steps: Vec<String> =
            path.into_actions().iter().map(|step| format!("{} {}", step.process, step.what)).collect();
        panic!("{hole}: not sound: {name}: {steps:#?}");
    }
    let found = broken(&Setup { on: off, ..setup });
    assert!(found.contains(&property), "{hole}: the checker found {found:?} instead of {property:?}");
}

fn setup(processes: Vec<Process>) -> Setup {
    Setup { on: ALL, moved: false, processes, crashes: 0, back: false }
}

fn moves() -> Process {
    Process::Mover { deactivates: false, at: MoverAt::Read }
}

fn writes(value: u8) -> Process {
    Process::Writer { value: Some(value), at: WriterAt::Read }
}

fn helps() -> Process {
    Process::Helper(HelperAt::Idle)
}

fn returns() -> Process {
    Process::Returner(ReturnerAt::Read)
}

#[test]
fn model_h9a_lazy_flag_race() {
    let race = || setup(vec![moves(), writes(2), helps()]);
    check("H9a, flag not at the stamp", race(), On { flag_at_stamp: false, ..ALL }, LAST);
    check("H9a, write not at the flag", race(), On { write_at_flag: false, ..ALL }, LAST);
}

#[test]
fn model_h9b_two_movers_and_a_write_between_them() {
    let program = Process::Direct { value: Some(2) };
    let setup = setup(vec![moves(), helps(), program]);
    check("H9b", setup, On { land_once: false, ..ALL }, LAST);
}

/// A record that was deleted in the target after it landed does not come back.
#[test]
fn model_h9b_a_late_landing_does_not_bring_a_deleted_record_back() {
    let setup = setup(vec![moves(), helps(), Process::Direct { value: None }]);
    check("H9b, deleted", setup, On { land_once: false, ..ALL }, LAST);
}

#[test]
fn model_h10_a_moving_record_vanishes_from_a_stitched_list() {
    let forward = || setup(vec![moves(), Process::Lister(ListerAt::First), helps()]);
    check("H10", forward(), On { left_first: false, ..ALL }, LISTED);
    check("H10, on its way", forward(), On { settle_in_list: false, ..ALL }, LISTED);
    let back = Setup { moved: true, back: true, ..setup(vec![returns(), Process::Lister(ListerAt::First), helps()]) };
    check("H10, back", back.clone(), On { left_first: false, ..ALL }, LISTED);
    check("H10, on its way back", back, On { settle_in_list: false, ..ALL }, LISTED);
}

/// Whoever writes a whole record back writes it at the version that it read.
#[test]
fn model_h12_a_move_does_not_overwrite_what_was_written_since_it_read() {
    let setup = setup(vec![moves(), writes(2), writes(3), helps()]);
    check("H12", setup, On { flag_at_stamp: false, ..ALL }, LAST);
}

#[test]
fn model_h14_straggler_deactivated_while_logging_in() {
    let deactivates = Process::Mover { deactivates: true, at: MoverAt::Read };
    let setup = setup(vec![deactivates, Process::Login, helps()]);
    check("H14", setup, On { predicate_again: false, ..ALL }, ACTIVE);
}

#[test]
fn model_a_rollback_takes_along_what_was_written_in_the_target() {
    let back = |processes: Vec<Process>| Setup { moved: true, back: true, ..setup(processes) };
    let program = || Process::Direct { value: Some(2) };
    check("rollback", back(vec![returns(), program(), helps()]), On { give_up_at_stamp: false, ..ALL }, LAST);
    let crash = Setup { crashes: 1, ..back(vec![returns(), helps(), program(), writes(3)]) };
    check("rollback and a crash", crash, On { remember_given_up: false, ..ALL }, LAST);
}

/// Everything at once, with a crash anywhere.
#[test]
fn model_lazy_moves_are_sound() {
    let forward = vec![moves(), moves(), writes(2), Process::Direct { value: Some(3) }, helps()];
    let back = vec![returns(), writes(2), Process::Direct { value: None }, Process::Lister(ListerAt::First), helps()];
    let both = vec![moves(), returns(), writes(2), helps()];
    for (moved, processes) in [(false, forward), (true, back), (false, both)] {
        // A record that a program deletes is no longer missed by a list.
        let deletes = processes.iter().any(|process| matches!(process, Process::Direct { value: None }));
        let setup = Setup { moved, back: moved, crashes: 1, ..setup(processes) };
        let found: Vec<&str> = broken(&setup).into_iter().filter(|name| !(deletes && *name == LISTED)).collect();
        assert_eq!(found, Vec::<&str>::new());
    }
}
