//! The processes, one atomic step at a time.

use crate::protocol::{Edit, Mark, Role, Stamp};
use crate::world::{Step, World};

/// A process and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    Writer {
        edit: Edit,
        at: WriterAt,
    },
    Backfill(BackfillAt),
    Reconciler(ReconcilerAt),
    Switcher(SwitcherAt),
    /// Reads `left` times; `seen` is the highest version that it has seen.
    Reader {
        seen: u8,
        left: u8,
        at: ReaderAt,
    },
    Verifier(VerifierAt),
    Lister(ListerAt),
    Gone,
}

/// A writer belongs to a member, whose view of the authority may be old.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriterAt {
    Admit,
    Write { epoch: u8, authority: usize },
    MarkLater { authority: usize, stamp: Stamp, version: u8 },
    Follow { authority: usize, stamp: Stamp, version: u8 },
    Clear { authority: usize, stamp: Stamp, version: u8 },
    Compensate { authority: usize },
    Acknowledge { version: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackfillAt {
    Read,
    Put { value: Option<u8>, version: u8, stamp: Stamp },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReconcilerAt {
    Idle,
    Put { authority: usize, value: Option<u8>, version: u8, stamp: Stamp },
    Clear { authority: usize, stamp: Stamp },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SwitcherAt {
    /// The second of two switches waits for the first.
    Waiting,
    Begin,
    Drain {
        from: usize,
    },
    Open {
        from: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReaderAt {
    Start,
    /// Found the key clean; reads the follower next. `owed` is what was acknowledged at the start.
    Follower {
        owed: u8,
    },
    Authority {
        owed: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VerifierAt {
    ReadSource,
    Compare { value: Option<u8>, version: u8 },
    Repair { value: Option<u8>, version: u8, stamp: Stamp },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListerAt {
    ListSource,
    ListTarget { in_source: bool },
    Delete { stamp: Stamp },
}

pub const SOURCE: usize = 0;
pub const TARGET: usize = 1;

/// Every next world of one process.
pub fn steps(world: &World, me: usize) -> Vec<Step> {
    match &world.processes[me] {
        Process::Writer { edit, at } => writer(world, me, *edit, at),
        Process::Backfill(at) => backfill(world, me, at),
        Process::Reconciler(at) => reconciler(world, me, at),
        Process::Switcher(at) => switcher(world, me, at),
        Process::Reader { seen, left, at } => reader(world, me, *seen, *left, at),
        Process::Verifier(at) => verifier(world, me, at),
        Process::Lister(at) => lister(world, me, at),
        Process::Gone => vec![],
    }
}

fn writer(world: &World, me: usize, edit: Edit, at: &WriterAt) -> Vec<Step> {
    let on = world.protections;
    let go = |next: &mut World, at: WriterAt| next.processes[me] = Process::Writer { edit, at };
    match at {
        WriterAt::Admit => {
            let (epoch, authority) = world.views[me];
            world.step(me, "admit", |w| go(w, WriterAt::Write { epoch, authority }))
        }
        &WriterAt::Write { epoch, authority } => {
            if matches!(edit, Edit::InsertOnce(_)) && on.idempotency && world.stores[authority].idempotency_row {
                return world.step(me, "replayed", |w| go(w, WriterAt::Acknowledge { version: w.commits }));
            }
            let mut next = world.clone();
            let version = next.commits + 1;
            let Some(stamp) = next.stores[authority].write(on, epoch, edit.value(), version) else {
                // Refused: routes again once its member has learnt the new authority.
                return match world.views[me] != (epoch, authority) {
                    true => world.step(me, "route again", |w| go(w, WriterAt::Admit)),
                    false => vec![],
                };
            };
            next.commits = version;
            next.last = edit.value();
            next.stores[authority].idempotency_row = true;
            next.applied += u8::from(matches!(edit, Edit::InsertOnce(_)));
            go(
                &mut next,
                match on.mark {
                    Mark::Afterwards => WriterAt::MarkLater { authority, stamp, version },
                    Mark::Atomic | Mark::Never => WriterAt::Follow { authority, stamp, version },
                },
            );
            let mut steps = vec![Step::new(me, "authority write", next.clone())];
            if world.replies_lost && world.applied == 0 {
                go(&mut next, WriterAt::Admit);
                steps.push(Step::new(me, "authority write, reply lost, sent again", next));
            }
            steps
        }
        &WriterAt::MarkLater { authority, stamp, version } => world.step(me, "mark", |w| {
            w.stores[authority].dirty = Some(stamp);
            go(w, WriterAt::Follow { authority, stamp, version });
        }),
        &WriterAt::Follow { authority, stamp, version } => {
            let mut steps = world.step(me, "follow", |w| {
                w.stores[1 - authority].apply(on, edit.value(), version, stamp);
                go(w, WriterAt::Clear { authority, stamp, version });
            });
            if world.follower_fails {
                steps.extend(world.step(me, "follower fails", |w| {
                    let creates = version == 1 && !on.never_compensate;
                    go(w, if creates { WriterAt::Compensate { authority } } else { WriterAt::Acknowledge { version } });
                }));
            }
            steps
        }
        &WriterAt::Clear { authority, stamp, version } => world.step(me, "clear", |w| {
            w.stores[authority].clear(on, stamp);
            go(w, WriterAt::Acknowledge { version });
        }),
        &WriterAt::Compensate { authority } => world.step(me, "compensate", |w| {
            w.stores[authority].write(on, u8::MAX, None, version_of(w, authority));
            w.processes[me] = Process::Gone;
        }),
        &WriterAt::Acknowledge { version } => world.step(me, "acknowledge", |w| {
            w.acknowledged = w.acknowledged.max(version);
            w.processes[me] = Process::Gone;
        }),
    }
}

fn version_of(world: &World, store: usize) -> u8 {
    world.stores[store].version
}

fn backfill(world: &World, me: usize, at: &BackfillAt) -> Vec<Step> {
    match at {
        BackfillAt::Read => {
            let source = &world.stores[SOURCE];
            let (value, version, stamp) = (source.value, source.version, source.stamp);
            world.step(me, "backfill reads", |w| {
                w.processes[me] = if value.is_some() {
                    Process::Backfill(BackfillAt::Put { value, version, stamp })
                } else {
                    Process::Gone
                };
            })
        }
        &BackfillAt::Put { value, version, stamp } => world.step(me, "backfill puts", |w| {
            let on = w.protections;
            w.stores[TARGET].apply(on, value, version, stamp);
            w.processes[me] = Process::Gone;
        }),
    }
}

fn reconciler(world: &World, me: usize, at: &ReconcilerAt) -> Vec<Step> {
    let on = world.protections;
    match at {
        ReconcilerAt::Idle => {
            let authority = world.reconciled;
            let store = &world.stores[authority];
            if store.dirty.is_none() {
                return vec![];
            }
            let (value, version, stamp) = (store.value, store.version, store.stamp);
            world.step(me, "reconciler reads", |w| {
                w.processes[me] = Process::Reconciler(ReconcilerAt::Put { authority, value, version, stamp });
            })
        }
        &ReconcilerAt::Put { authority, value, version, stamp } => world.step(me, "reconciler puts", |w| {
            w.stores[1 - authority].apply(on, value, version, stamp);
            w.processes[me] = Process::Reconciler(ReconcilerAt::Clear { authority, stamp });
        }),
        &ReconcilerAt::Clear { authority, stamp } => world.step(me, "reconciler clears", |w| {
            w.stores[authority].clear(on, stamp);
            w.processes[me] = Process::Reconciler(ReconcilerAt::Idle);
        }),
    }
}

fn switcher(world: &World, me: usize, at: &SwitcherAt) -> Vec<Step> {
    match at {
        SwitcherAt::Waiting if world.switches == 0 => vec![],
        SwitcherAt::Waiting | SwitcherAt::Begin => {
            let from = world.reconciled;
            world.step(me, "close", |w| {
                w.stores[from].role = Role::Closed;
                w.processes[me] = Process::Switcher(SwitcherAt::Drain { from });
            })
        }
        &SwitcherAt::Drain { from } => {
            if world.protections.drain && world.stores[from].dirty.is_some() {
                return vec![];
            }
            world.step(me, "drained", |w| w.processes[me] = Process::Switcher(SwitcherAt::Open { from }))
        }
        &SwitcherAt::Open { from } => world.step(me, "open", |w| {
            let epoch = w.stores[from].epoch + 1;
            let to = 1 - from;
            w.stores[to].role = Role::Authority;
            w.stores[to].epoch = epoch;
            w.stores[from].epoch = epoch;
            w.reconciled = to;
            w.switches += 1;
            w.newest = (epoch, to);
            w.processes[me] = Process::Gone;
        }),
    }
}

fn reader(world: &World, me: usize, seen: u8, left: u8, at: &ReaderAt) -> Vec<Step> {
    let on = world.protections;
    let finish = |w: &mut World, version: u8, owed: u8| {
        w.went_backwards |= version < seen;
        w.missed_acknowledged |= version < owed;
        w.processes[me] = match left {
            1 => Process::Gone,
            _ => Process::Reader { seen: seen.max(version), left: left - 1, at: ReaderAt::Start },
        };
    };
    match at {
        ReaderAt::Start => {
            let owed = world.acknowledged;
            let dirty = world.stores[SOURCE].dirty.is_some();
            let go =
                |at: ReaderAt| world.step(me, "read routed", |w| w.processes[me] = Process::Reader { seen, left, at });
            let mut steps = Vec::new();
            if !(on.dirty_from_authority && dirty) {
                steps.extend(go(ReaderAt::Follower { owed }));
            }
            if !on.ramp_by_key || (on.dirty_from_authority && dirty) {
                steps.extend(go(ReaderAt::Authority { owed }));
            }
            steps
        }
        &ReaderAt::Follower { owed } => world.step(me, "read follower", |w| finish(w, w.stores[TARGET].version, owed)),
        &ReaderAt::Authority { owed } => {
            world.step(me, "read authority", |w| finish(w, w.stores[SOURCE].version, owed))
        }
    }
}

fn verifier(world: &World, me: usize, at: &VerifierAt) -> Vec<Step> {
    let on = world.protections;
    let source = &world.stores[SOURCE];
    match at {
        VerifierAt::ReadSource => world.step(me, "verifier reads source", |w| {
            w.processes[me] = Process::Verifier(VerifierAt::Compare { value: source.value, version: source.version });
        }),
        &VerifierAt::Compare { value, version } => {
            let target = &world.stores[TARGET];
            if target.value == value {
                return world.step(me, "equal", |w| w.processes[me] = Process::Gone);
            }
            // The repair reads the authority again, with its stamp.
            let (value, version, stamp) =
                if on.repair_guarded { (source.value, source.version, source.stamp) } else { (value, version, (0, 0)) };
            world.step(me, "mismatch", |w| {
                w.processes[me] = Process::Verifier(VerifierAt::Repair { value, version, stamp })
            })
        }
        &VerifierAt::Repair { value, version, stamp } => world.step(me, "repair", |w| {
            if on.repair_guarded {
                w.stores[TARGET].apply(on, value, version, stamp);
            } else {
                w.stores[TARGET].value = value;
            }
            w.processes[me] = Process::Gone;
        }),
    }
}

fn lister(world: &World, me: usize, at: &ListerAt) -> Vec<Step> {
    let on = world.protections;
    match at {
        ListerAt::ListSource => world.step(me, "list source", |w| {
            w.processes[me] = Process::Lister(ListerAt::ListTarget { in_source: w.stores[SOURCE].value.is_some() });
        }),
        &ListerAt::ListTarget { in_source } => world.step(me, "list target", |w| {
            let extra = w.stores[TARGET].value.is_some() && !in_source;
            let absent_now = w.stores[SOURCE].value.is_none();
            let stamp = w.stores[SOURCE].stamp;
            w.processes[me] = match extra && (absent_now || !on.delete_after_reread) {
                true => Process::Lister(ListerAt::Delete { stamp }),
                false => Process::Gone,
            };
        }),
        &ListerAt::Delete { stamp } => world.step(me, "delete extra", |w| {
            if on.delete_after_reread {
                w.stores[TARGET].apply(on, None, 0, stamp);
            } else {
                w.stores[TARGET].value = None;
            }
            w.processes[me] = Process::Gone;
        }),
    }
}
