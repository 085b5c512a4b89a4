//! The state of the model and its properties.

use stateright::{Model, Property};

use crate::process::{self, Process};
use crate::protocol::{Protections, Role, Store};

/// A starting point: which processes, which protections, which faults.
#[derive(Clone)]
pub struct Setup {
    pub protections: Protections,
    pub value: Option<u8>,
    pub processes: Vec<Process>,
    pub crashes: u8,
    pub follower_fails: bool,
    pub replies_lost: bool,
}

impl Setup {
    /// Both stores hold the record, equal, or the target has nothing yet when a
    /// backfill is among the processes.
    pub fn with(value: u8, processes: Vec<Process>) -> Setup {
        Setup {
            protections: Protections::ALL,
            value: Some(value),
            processes,
            crashes: 0,
            follower_fails: false,
            replies_lost: false,
        }
    }

    pub fn empty(processes: Vec<Process>) -> Setup {
        Setup { value: None, ..Setup::with(0, processes) }
    }

    pub fn crashes(mut self, crashes: u8) -> Setup {
        self.crashes = crashes;
        self
    }

    pub fn follower_fails(mut self) -> Setup {
        self.follower_fails = true;
        self
    }

    pub fn replies_lost(mut self) -> Setup {
        self.replies_lost = true;
        self
    }
}

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub protections: Protections,
    pub stores: [Store; 2],
    pub processes: Vec<Process>,
    /// Each process's member's view: epoch and authority.
    pub views: Vec<(u8, usize)>,
    /// The newest view, which members learn at their own time.
    pub newest: (u8, usize),
    /// The store whose marks the reconciler follows.
    pub reconciled: usize,
    pub switches: u8,
    pub crashes: u8,
    pub follower_fails: bool,
    pub replies_lost: bool,
    // What an all-seeing observer knows.
    pub commits: u8,
    pub acknowledged: u8,
    pub last: Option<u8>,
    pub applied: u8,
    pub went_backwards: bool,
    pub missed_acknowledged: bool,
}

/// One step of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub process: usize,
    pub what: &'static str,
    pub next: Box<World>,
}

impl Step {
    pub fn new(process: usize, what: &'static str, next: World) -> Step {
        Step { process, what, next: Box::new(next) }
    }
}

impl World {
    pub fn step(&self, process: usize, what: &'static str, change: impl FnOnce(&mut World)) -> Vec<Step> {
        let mut next = self.clone();
        change(&mut next);
        vec![Step::new(process, what, next)]
    }

    /// Nobody has anything left to do.
    fn at_rest(&self) -> bool {
        self.processes.iter().enumerate().all(|(me, p)| match p {
            Process::Gone => true,
            Process::Reconciler(_) => process::steps(self, me).is_empty(),
            _ => false,
        })
    }
}

impl Model for Setup {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let backfilled = !self.processes.iter().any(|p| matches!(p, Process::Backfill(_)));
        vec![World {
            protections: self.protections,
            stores: [
                Store::new(self.value, Role::Authority),
                Store::new(self.value.filter(|_| backfilled), Role::Follower),
            ],
            views: vec![(1, process::SOURCE); self.processes.len()],
            processes: self.processes.clone(),
            newest: (1, process::SOURCE),
            reconciled: process::SOURCE,
            switches: 0,
            crashes: self.crashes,
            follower_fails: self.follower_fails,
            replies_lost: self.replies_lost,
            commits: 0,
            acknowledged: 0,
            last: self.value,
            applied: 0,
            went_backwards: false,
            missed_acknowledged: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        for (me, process) in world.processes.iter().enumerate() {
            actions.extend(process::steps(world, me));
            if world.views[me] != world.newest && matches!(process, Process::Writer { .. }) {
                actions.extend(world.step(me, "member learns", |w| w.views[me] = w.newest));
            }
            if world.crashes > 0 && matches!(process, Process::Writer { .. }) {
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

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(crate::EQUAL, |_: &Setup, w: &World| {
                // A backfill that died is run again by resume; the model's does not die.
                !w.at_rest() || w.stores[0].value == w.stores[1].value
            }),
            Property::always(crate::LAST, |_: &Setup, w: &World| {
                !w.at_rest() || w.stores[w.reconciled].value == w.last
            }),
            Property::always(crate::FORWARD, |_: &Setup, w: &World| !w.went_backwards),
            Property::always(crate::OWN, |_: &Setup, w: &World| !w.missed_acknowledged),
            Property::always(crate::ONCE, |_: &Setup, w: &World| w.applied <= 1),
        ]
    }
}
