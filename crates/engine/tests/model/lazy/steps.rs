//! The next atomic steps of each process.

use super::world::{HelperAt, ListerAt, MoverAt, Process, ReturnerAt, Step, World, WriterAt};

pub fn steps(world: &World, me: usize) -> Vec<Step> {
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
