//! What the model of lazy moves knows: both stores, the processes, and what an
//! all-seeing observer has noted.

use super::steps::steps;

/// Which protections are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct On {
    /// The mover sets the flag only at the stamp that it read.
    pub flag_at_stamp: bool,
    /// A write to the source holds only while the flag is not set.
    pub write_at_flag: bool,
    /// A move lands at most once, whoever lands it.
    pub land_once: bool,
    /// The store that records leave is read first.
    pub left_first: bool,
    /// A list finishes moves on their way between its two reads.
    pub settle_in_list: bool,
    /// A deactivation evaluates its predicate again in the write.
    pub predicate_again: bool,
    /// Going back, the target gives the record up only at the version that was staged.
    pub give_up_at_stamp: bool,
    /// Going back, the target remembers that it gave that version up.
    pub remember_given_up: bool,
}

pub const ALL: On = On {
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
pub struct Source {
    pub value: Option<u8>,
    pub moved: bool,
    pub stamp: u8,
    /// The stamp that has not been confirmed.
    pub dirty: Option<u8>,
    /// The target's version that is coming back.
    pub returning: Option<u8>,
    pub active: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub value: Option<u8>,
    pub stamp: u8,
    /// Stamps of the source whose move has landed.
    pub landed: Vec<u8>,
    /// Versions given up to the source.
    pub given_up: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Process {
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
pub enum MoverAt {
    Read,
    Flag { stamp: u8, value: u8 },
    Land { stamp: u8, value: u8 },
    Clear { stamp: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriterAt {
    Read,
    Source { stamp: u8 },
    ReadTarget,
    Target { stamp: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HelperAt {
    Idle,
    Land { stamp: u8, value: u8 },
    Clear { stamp: u8 },
    GiveUp { stamp: u8, version: u8 },
    Unflag { stamp: u8, version: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListerAt {
    First,
    Settle { found: bool },
    Second { found: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReturnerAt {
    Read,
    ReadTarget { stamp: u8 },
    Stage { stamp: u8, version: u8, value: Option<u8> },
    GiveUp { stamp: u8, version: u8 },
    Unflag { stamp: u8, version: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub on: On,
    pub source: Source,
    pub target: Target,
    pub processes: Vec<Process>,
    pub crashes: u8,
    /// Whether records go back, so that lists read the target first.
    pub back: bool,
    // What an all-seeing observer knows.
    pub last: Option<u8>,
    pub missed: bool,
    pub wronged: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub process: usize,
    pub what: &'static str,
    pub next: Box<World>,
}

#[derive(Clone)]
pub struct Setup {
    pub on: On,
    pub moved: bool,
    pub processes: Vec<Process>,
    pub crashes: u8,
    pub back: bool,
}

impl World {
    pub fn step(&self, process: usize, what: &'static str, change: impl FnOnce(&mut World)) -> Vec<Step> {
        let mut next = self.clone();
        change(&mut next);
        vec![Step { process, what, next: Box::new(next) }]
    }

    /// One atomic write of the source: stamps and marks it.
    pub fn write_source(&mut self, value: Option<u8>, moved: bool) -> u8 {
        let source = &mut self.source;
        source.stamp += 1;
        (source.value, source.moved, source.dirty) = (value, moved, Some(source.stamp));
        source.stamp
    }

    pub fn write_target(&mut self, value: Option<u8>) {
        self.target.stamp += 1;
        self.target.value = value;
    }

    pub fn land(&mut self, stamp: u8, value: u8) {
        if self.on.land_once && (self.target.landed.contains(&stamp) || self.target.value.is_some()) {
            return;
        }
        self.target.landed.push(stamp);
        self.target.landed.sort_unstable();
        self.write_target(Some(value));
    }

    pub fn clear(&mut self, stamp: u8) {
        if self.source.dirty == Some(stamp) {
            self.source.dirty = None;
        }
    }

    /// Gives the record up to the source at a version; whether it is given up.
    pub fn give_up(&mut self, version: u8) -> bool {
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

    pub fn unflag(&mut self, stamp: u8) -> bool {
        if self.source.stamp != stamp {
            return false;
        }
        let stamp = self.write_source(self.source.value, false);
        self.source.returning = None;
        self.clear(stamp);
        true
    }

    /// The record as the flag says.
    pub fn truth(&self) -> Option<u8> {
        if self.source.moved { self.target.value } else { self.source.value }
    }

    pub fn on_its_way(&self) -> bool {
        self.source.moved && self.source.dirty.is_some()
    }

    pub fn at_rest(&self) -> bool {
        (0..self.processes.len()).all(|me| match &self.processes[me] {
            Process::Gone => true,
            Process::Helper(_) => steps(self, me).is_empty(),
            _ => false,
        })
    }
}
