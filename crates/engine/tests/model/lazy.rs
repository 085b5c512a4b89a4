//! Lazy moves, model-checked: one record, whose flag in the source says where
//! it lives; movers, writers that come through us, programs that write the
//! target directly, helpers that finish what others began, lists, a rollback,
//! crash-stop. Every protection can be switched off; then the checker must
//! find the hole of that number. All on: none.

use stateright::{Checker, Model, Property};

/// Which protections are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct On {
    /// The mover sets the flag only at the stamp that it read.
    flag_at_stamp: bool,
    /// A write to the source holds only while the flag is not set.
    write_at_flag: bool,
    /// A move lands at most once, whoever lands it.
    land_once: bool,
    /// The store that records leave is read first.
    left_first: bool,
    /// A list finishes moves on their way between its two reads.
    settle_in_list: bool,
    /// A deactivation evaluates its predicate again in the write.
    predicate_again: bool,
    /// Going back, the target gives the record up only at the version that was staged.
    give_up_at_stamp: bool,
    /// Going back, the target remembers that it gave that version up.
    remember_given_up: bool,
}

const ALL: On = On {
    flag_at_stamp: true,
    write_at_flag: true,
    land_once: true,
    left_first: true,
    settle_in_list: true,
    predicate_again: true,
    give_up_at_stamp: true,
    remember_given_up: true,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    value: Option<u8>,
    moved: bool,
    stamp: u8,
    /// The stamp that has not been confirmed.
    dirty: Option<u8>,
    /// The target's version that is coming back.
    returning: Option<u8>,
    active: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    value: Option<u8>,
    stamp: u8,
    /// Stamps of the source whose move has landed.
    landed: Vec<u8>,
    /// Versions given up to the source.
    given_up: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// Moves the record as it is; a deactivation does so only while it is inactive.
    Mover {
        deactivates: bool,
        at: MoverAt,
    },
    /// Writes through us: to wherever the record lives.
    Writer {
        value: Option<u8>,
        at: WriterAt,
    },
    /// Alice's own program: writes the target's row whenever there is one.
    Direct {
        value: Option<u8>,
    },
    /// Somebody logs in: the source's row becomes active.
    Login,
    /// Finishes moves that others left.
    Helper(HelperAt),
    /// Reads both stores once.
    Lister(ListerAt),
    /// Takes the record back.
    Returner(ReturnerAt),
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum MoverAt {
    Read,
    Flag { stamp: u8, value: u8 },
    Land { stamp: u8, value: u8 },
    Clear { stamp: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WriterAt {
    Read,
    Source { stamp: u8 },
    ReadTarget,
    Target { stamp: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HelperAt {
    Idle,
    Land { stamp: u8, value: u8 },
    Clear { stamp: u8 },
    GiveUp { stamp: u8, version: u8 },
    Unflag { stamp: u8, version: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ListerAt {
    First,
    Settle { found: bool },
    Second { found: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ReturnerAt {
    Read,
    ReadTarget { stamp: u8 },
    Stage { stamp: u8, version: u8, value: Option<u8> },
    GiveUp { stamp: u8, version: u8 },
    Unflag { stamp: u8, version: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    on: On,
    source: Source,
    target: Target,
    processes: Vec<Process>,
    crashes: u8,
    /// Whether records go back, so that lists read the target first.
    back: bool,
    // What an all-seeing observer knows.
    last: Option<u8>,
    missed: bool,
    wronged: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    process: usize,
    what: &'static str,
    next: Box<World>,
}

#[derive(Clone)]
struct Setup {
    on: On,
    moved: bool,
    processes: Vec<Process>,
    crashes: u8,
    back: bool,
}

impl World {
    fn step(&self, process: usize, what: &'static str, change: impl FnOnce(&mut World)) -> Vec<Step> {
        let mut next = self.clone();
        change(&mut next);
        vec![Step { process, what, next: Box::new(next) }]
    }

    /// One atomic write of the source: stamps and marks it.
    fn write_source(&mut self, value: Option<u8>, moved: bool) -> u8 {
        let source = &mut self.source;
        source.stamp += 1;
        (source.value, source.moved, source.dirty) = (value, moved, Some(source.stamp));
        source.stamp
    }

    fn write_target(&mut self, value: Option<u8>) {
        self.target.stamp += 1;
        self.target.value = value;
    }

    fn land(&mut self, stamp: u8, value: u8) {
        if self.on.land_once && (self.target.landed.contains(&stamp) || self.target.value.is_some()) {
            return;
        }
        self.target.landed.push(stamp);
        self.target.landed.sort_unstable();
        self.write_target(Some(value));
    }

    fn clear(&mut self, stamp: u8) {
        if self.source.dirty == Some(stamp) {
            self.source.dirty = None;
        }
    }

    /// Gives the record up to the source at a version; whether it is given up.
    fn give_up(&mut self, version: u8) -> bool {
        if self.on.remember_given_up && self.target.given_up.contains(&version) {
            return true;
        }
        if self.on.give_up_at_stamp && self.target.stamp != version {
            return false;
        }
        self.target.given_up.push(version);
        self.write_target(None);
        true
    }

    fn unflag(&mut self, stamp: u8) -> bool {
        if self.source.stamp != stamp {
            return false;
        }
        let stamp = self.write_source(self.source.value, false);
        self.source.returning = None;
        self.clear(stamp);
        true
    }

    /// The record as the flag says.
    fn truth(&self) -> Option<u8> {
        if self.source.moved { self.target.value } else { self.source.value }
    }

    fn on_its_way(&self) -> bool {
        self.source.moved && self.source.dirty.is_some()
    }

    fn at_rest(&self) -> bool {
        (0..self.processes.len()).all(|me| match &self.processes[me] {
            Process::Gone => true,
            Process::Helper(_) => steps(self, me).is_empty(),
            _ => false,
        })
    }
}

fn steps(world: &World, me: usize) -> Vec<Step> {
    match world.processes[me].clone() {
        Process::Mover { deactivates, at } => mover(world, me, deactivates, at),
        Process::Writer { value, at } => writer(world, me, value, at),
        Process::Direct { value } => world.step(me, "the program writes the target", |w| {
            if w.target.value.is_some() {
                w.write_target(value);
                w.last = value;
            }
            w.processes[me] = Process::Gone;
        }),
        Process::Login => world.step(me, "login", |w| {
            if !w.source.moved {
                w.source.active = true;
                w.write_source(w.source.value, false);
            }
            w.processes[me] = Process::Gone;
        }),
        Process::Helper(at) => helper(world, me, at),
        Process::Lister(at) => lister(world, me, at),
        Process::Returner(at) => returner(world, me, at),
        Process::Gone => vec![],
    }
}

fn mover(world: &World, me: usize, deactivates: bool, at: MoverAt) -> Vec<Step> {
    let go = |w: &mut World, at| w.processes[me] = Process::Mover { deactivates, at };
    match at {
        MoverAt::Read => {
            let source = world.source.clone();
            world.step(me, "the mover reads", |w| match source.value.filter(|_| !source.moved) {
                Some(value) if !(deactivates && source.active) => go(w, MoverAt::Flag { stamp: source.stamp, value }),
                _ => w.processes[me] = Process::Gone,
            })
        }
        MoverAt::Flag { stamp, value } => world.step(me, "the mover sets the flag", |w| {
            let guarded = if deactivates { w.on.predicate_again } else { w.on.flag_at_stamp };
            if w.source.moved || (guarded && w.source.stamp != stamp) {
                w.processes[me] = Process::Gone;
                return;
            }
            w.wronged |= deactivates && w.source.active;
            let stamp = w.write_source(Some(value), true);
            go(w, MoverAt::Land { stamp, value });
        }),
        MoverAt::Land { stamp, value } => world.step(me, "the mover lands", |w| {
            w.land(stamp, value);
            go(w, MoverAt::Clear { stamp });
        }),
        MoverAt::Clear { stamp } => world.step(me, "the mover clears", |w| {
            w.clear(stamp);
            w.processes[me] = Process::Gone;
        }),
    }
}

fn writer(world: &World, me: usize, value: Option<u8>, at: WriterAt) -> Vec<Step> {
    let go = |w: &mut World, at| w.processes[me] = Process::Writer { value, at };
    match at {
        WriterAt::Read => world.step(me, "the writer reads the flag", |w| match w.source.moved {
            true => go(w, WriterAt::ReadTarget),
            false => go(w, WriterAt::Source { stamp: w.source.stamp }),
        }),
        WriterAt::Source { stamp } => world.step(me, "the writer writes the source", |w| {
            if w.on.write_at_flag && w.source.stamp != stamp {
                return go(w, WriterAt::Read);
            }
            w.write_source(value, w.source.moved);
            w.last = value;
            w.processes[me] = Process::Gone;
        }),
        // A record on its way is finished first.
        WriterAt::ReadTarget => world.step(me, "the writer reads the target", |w| {
            if !w.source.moved {
                return go(w, WriterAt::Read);
            }
            if let (Some(stamp), Some(value), None) = (w.source.dirty, w.source.value, w.source.returning) {
                w.land(stamp, value);
                w.clear(stamp);
            }
            go(w, WriterAt::Target { stamp: w.target.stamp });
        }),
        WriterAt::Target { stamp } => world.step(me, "the writer writes the target", |w| {
            if w.target.stamp != stamp || w.target.value.is_none() {
                let gone = w.source.moved && w.target.value.is_none() && !w.on_its_way();
                if gone {
                    w.processes[me] = Process::Gone;
                } else {
                    go(w, WriterAt::Read);
                }
                return;
            }
            w.write_target(value);
            w.last = value;
            w.processes[me] = Process::Gone;
        }),
    }
}

fn helper(world: &World, me: usize, at: HelperAt) -> Vec<Step> {
    let go = |w: &mut World, at| w.processes[me] = Process::Helper(at);
    match at {
        HelperAt::Idle => {
            let source = &world.source;
            let Some(stamp) = source.dirty else { return vec![] };
            world.step(me, "the helper reads", |w| match (w.source.moved, w.source.returning, w.source.value) {
                (false, _, _) => go(w, HelperAt::Clear { stamp }),
                (true, Some(version), _) => go(w, HelperAt::GiveUp { stamp: w.source.stamp, version }),
                (true, None, Some(value)) => go(w, HelperAt::Land { stamp, value }),
                (true, None, None) => go(w, HelperAt::Clear { stamp }),
            })
        }
        HelperAt::Land { stamp, value } => world.step(me, "the helper lands", |w| {
            w.land(stamp, value);
            go(w, HelperAt::Clear { stamp });
        }),
        HelperAt::Clear { stamp } => world.step(me, "the helper clears", |w| {
            w.clear(stamp);
            go(w, HelperAt::Idle);
        }),
        // A return that was begun is finished, or given up: then the record lives on in the target.
        HelperAt::GiveUp { stamp, version } => world.step(me, "the helper asks the target", |w| {
            if w.give_up(version) {
                go(w, HelperAt::Unflag { stamp, version });
            } else {
                if w.source.stamp == stamp {
                    let stamp = w.write_source(w.source.value, true);
                    w.source.returning = None;
                    w.clear(stamp);
                }
                go(w, HelperAt::Idle);
            }
        }),
        HelperAt::Unflag { stamp, .. } => world.step(me, "the helper unsets the flag", |w| {
            w.unflag(stamp);
            go(w, HelperAt::Idle);
        }),
    }
}

fn lister(world: &World, me: usize, at: ListerAt) -> Vec<Step> {
    let go = |w: &mut World, at| w.processes[me] = Process::Lister(at);
    let in_source = world.source.value.is_some() && !world.source.moved;
    let in_target = world.target.value.is_some();
    let source_first = world.on.left_first != world.back;
    match at {
        ListerAt::First => world.step(me, "list one store", |w| {
            go(w, ListerAt::Settle { found: if source_first { in_source } else { in_target } });
        }),
        ListerAt::Settle { found } => world.step(me, "the list finishes moves", |w| {
            if w.on.settle_in_list && w.on_its_way() {
                match (w.source.returning, w.source.dirty, w.source.value) {
                    (Some(version), _, _) => {
                        let stamp = w.source.stamp;
                        if w.give_up(version) {
                            w.unflag(stamp);
                        }
                    }
                    (None, Some(stamp), Some(value)) => {
                        w.land(stamp, value);
                        w.clear(stamp);
                    }
                    _ => {}
                }
            }
            go(w, ListerAt::Second { found });
        }),
        ListerAt::Second { found } => world.step(me, "list the other", |w| {
            let found = found || if source_first { in_target } else { in_source };
            w.missed |= !found;
            w.processes[me] = Process::Gone;
        }),
    }
}

fn returner(world: &World, me: usize, at: ReturnerAt) -> Vec<Step> {
    let go = |w: &mut World, at| w.processes[me] = Process::Returner(at);
    match at {
        // Moves on their way are landed before records go back.
        ReturnerAt::Read if world.on_its_way() => vec![],
        ReturnerAt::Read => world.step(me, "the returner reads", |w| match w.source.moved {
            true => go(w, ReturnerAt::ReadTarget { stamp: w.source.stamp }),
            false => w.processes[me] = Process::Gone,
        }),
        ReturnerAt::ReadTarget { stamp } => world.step(me, "the returner reads the target", |w| {
            go(w, ReturnerAt::Stage { stamp, version: w.target.stamp, value: w.target.value });
        }),
        ReturnerAt::Stage { stamp, version, value } => world.step(me, "the returner stages", |w| {
            if w.source.stamp != stamp || !w.source.moved {
                return go(w, ReturnerAt::Read);
            }
            let stamp = w.write_source(value, true);
            w.source.returning = Some(version);
            go(w, ReturnerAt::GiveUp { stamp, version });
        }),
        ReturnerAt::GiveUp { stamp, version } => world.step(me, "the target gives up", |w| {
            if w.give_up(version) {
                go(w, ReturnerAt::Unflag { stamp, version });
            } else {
                if w.source.stamp == stamp {
                    let stamp = w.write_source(w.source.value, true);
                    w.source.returning = None;
                    w.clear(stamp);
                }
                go(w, ReturnerAt::Read);
            }
        }),
        ReturnerAt::Unflag { stamp, .. } => world.step(me, "the returner unsets the flag", |w| {
            w.unflag(stamp);
            w.processes[me] = Process::Gone;
        }),
    }
}

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
