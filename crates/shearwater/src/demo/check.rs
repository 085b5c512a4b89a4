//! Judges a history: is there, for each key, an order of all acts that agrees
//! with real time and explains every answer?
//!
//! For each key this is the question whether a register is linearizable. The
//! search keeps the set of all states that the key may be in (a version or
//! absent, and which acts under way have taken effect), and goes through the
//! begins and ends in the order of time: an act must take effect before it
//! ends. Reads take effect as soon as they can, because that excludes nothing;
//! so only concurrent writes branch. When no state is left the act that ended
//! is a violation; it is counted, and the search goes on with what it claimed
//! and with what was possible without it.

use std::collections::HashSet;

use super::history::{Act, Before, History, KeyId, NEVER, Op, Seen, Version};
use super::walks;

/// Writes and reads under way on one key at once that the search can hold;
/// the demo's clients are far fewer.
const UNDER_WAY_MAX: usize = 64;

/// States of one key that the search holds before it gives the key up as
/// unchecked, a bound for memory that only many unknown outcomes could reach.
const STATES_MAX: usize = 200_000;

/// Findings that are kept with their place; the rest are only counted.
const FINDINGS_KEPT_MAX: usize = 20;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An acknowledged write is gone, or was overwritten by a write whose
    /// condition did not hold.
    Lost,
    /// A record is back though its delete was acknowledged.
    Resurrected,
    /// A read showed an older version than was acknowledged or shown before it.
    BackwardsRead,
    /// A read showed a version that nobody had written to the key by then.
    Phantom,
    /// A walk showed a record twice.
    ListRepeat,
    /// A walk left a record out.
    ListGap,
}

/// One violation, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// With which key.
    pub key: KeyId,
    /// In the act that began then.
    pub begun_ns: u64,
    /// And ended then.
    pub ended_ns: u64,
}

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// See [`Fault::Lost`].
    pub lost: u64,
    /// See [`Fault::Resurrected`].
    pub resurrected: u64,
    /// See [`Fault::BackwardsRead`].
    pub backwards_reads: u64,
    /// See [`Fault::Phantom`].
    pub phantoms: u64,
    /// See [`Fault::ListRepeat`].
    pub list_repeats: u64,
    /// See [`Fault::ListGap`].
    pub list_gaps: u64,
    /// Keys that were too entangled to be judged; 0 unless many outcomes are unknown.
    pub unchecked_keys: u64,
    /// The first violations.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Counts a violation.
    pub(super) fn add(&mut self, finding: Finding) {
        *match finding.fault {
            Fault::Lost => &mut self.lost,
            Fault::Resurrected => &mut self.resurrected,
            Fault::BackwardsRead => &mut self.backwards_reads,
            Fault::Phantom => &mut self.phantoms,
            Fault::ListRepeat => &mut self.list_repeats,
            Fault::ListGap => &mut self.list_gaps,
        } += 1;
        if self.findings.len() < FINDINGS_KEPT_MAX {
            self.findings.push(finding);
        }
    }

    /// All violations.
    pub fn total(&self) -> u64 {
        self.lost + self.resurrected + self.backwards_reads + self.phantoms + self.list_repeats + self.list_gaps
    }
}

/// Judges a whole history.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let mut ops = history.ops.clone();
    ops.sort_by_key(|op| (op.key, op.begun_ns));
    for of_key in ops.chunk_by(|a, b| a.key == b.key) {
        let initial = history.initial_of(of_key[0].key);
        if Register::new(initial, of_key, &mut verdict).run().is_err() {
            verdict.unchecked_keys += 1;
        }
    }
    walks::check(history, &ops, &mut verdict);
    verdict
}

/// What a key may hold: a version, or nothing.
type Held = Option<Version>;

/// A possible state: what the key holds, and which acts under way (by slot)
/// have taken effect.
type State = (Held, u64);

/// The search gave up.
struct TooEntangled;

/// The search over one key.
struct Register<'a> {
    initial: Held,
    ops: &'a [Op],
    verdict: &'a mut Verdict,
    states: HashSet<State>,
    /// The act in each slot that is under way.
    slots: Vec<Option<usize>>,
    /// Acts that were under way at a violation: their end proves nothing any more.
    pardoned: HashSet<usize>,
}

impl<'a> Register<'a> {
    fn new(initial: Held, ops: &'a [Op], verdict: &'a mut Verdict) -> Register<'a> {
        let states = HashSet::from([(initial, 0)]);
        Register { initial, ops, verdict, states, slots: Vec::new(), pardoned: HashSet::new() }
    }

    fn run(mut self) -> Result<(), TooEntangled> {
        // At equal times begins come first: acts that touch count as concurrent.
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(self.ops.len() * 2);
        for (at, op) in self.ops.iter().enumerate() {
            events.push((op.begun_ns, false, at));
            if op.ended_ns != NEVER {
                events.push((op.ended_ns, true, at));
            }
        }
        events.sort_unstable();
        for (_, ends, at) in events {
            if ends { self.end(at)? } else { self.begin(at)? }
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) -> Result<(), TooEntangled> {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.slots.len() < UNDER_WAY_MAX => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return Err(TooEntangled),
        };
        self.slots[slot] = Some(at);
        let act = self.ops[at].act;
        if is_read(act) {
            let states = std::mem::take(&mut self.states);
            self.states = states
                .into_iter()
                .map(|(held, done)| if after(held, act).is_some() { (held, done | 1 << slot) } else { (held, done) })
                .collect();
        }
        Ok(())
    }

    fn end(&mut self, at: usize) -> Result<(), TooEntangled> {
        let Some(slot) = self.slots.iter().position(|&s| s == Some(at)) else { return Ok(()) };
        let bit = 1u64 << slot;
        let act = self.ops[at].act;
        if self.pardoned.remove(&at) {
            let claimed: Vec<State> =
                self.states.iter().filter_map(|&(held, done)| Some((claim(act, held)?, done & !bit))).collect();
            self.states = self.states.iter().map(|&(held, done)| (held, done & !bit)).chain(claimed).collect();
            self.slots[slot] = None;
            return Ok(());
        }
        let possible = self.with_effect_of(bit)?;
        if possible.is_empty() {
            self.violation(at);
            let claimed: Vec<State> =
                self.states.iter().filter_map(|&(held, done)| Some((claim(act, held)?, done & !bit))).collect();
            self.states = self.states.iter().map(|&(held, done)| (held, done & !bit)).chain(claimed).collect();
            self.pardoned.extend(self.slots.iter().flatten().filter(|&&other| other != at));
        } else {
            self.states = possible;
        }
        self.slots[slot] = None;
        Ok(())
    }

    /// The states in which the act of `bit` has taken effect, reached from the
    /// present ones by letting acts under way take effect in every order.
    fn with_effect_of(&self, bit: u64) -> Result<HashSet<State>, TooEntangled> {
        let mut reached = HashSet::new();
        let mut seen: HashSet<State> = self.states.clone();
        let mut open: Vec<State> = self.states.iter().copied().collect();
        while let Some((held, done)) = open.pop() {
            if done & bit != 0 {
                reached.insert((held, done & !bit));
                continue;
            }
            for (slot, at) in self.slots.iter().enumerate() {
                let Some(at) = *at else { continue };
                if done & (1 << slot) != 0 {
                    continue;
                }
                let Some(next) = after(held, self.ops[at].act) else { continue };
                let state = (next, self.with_reads(next, done | 1 << slot));
                if seen.insert(state) {
                    open.push(state);
                }
            }
            if seen.len() > STATES_MAX {
                return Err(TooEntangled);
            }
        }
        Ok(reached)
    }

    /// Reads under way that agree with what is held take effect at once.
    fn with_reads(&self, held: Held, done: u64) -> u64 {
        self.slots.iter().enumerate().fold(done, |done, (slot, at)| match at {
            Some(at) if is_read(self.ops[*at].act) && after(held, self.ops[*at].act).is_some() => done | 1 << slot,
            _ => done,
        })
    }

    fn violation(&mut self, at: usize) {
        let op = self.ops[at];
        let fault = match op.act {
            Act::Saw(Seen::Absent) | Act::Left(Seen::Absent) => Fault::Lost,
            Act::Saw(Seen::Present) | Act::Left(Seen::Present) => Fault::Resurrected,
            Act::Saw(Seen::Version(version)) | Act::Left(Seen::Version(version)) => self.stale(version, &op),
            Act::Wrote { before: Before::Present, .. } | Act::Deleted { before: Before::Present } => Fault::Resurrected,
            Act::Wrote { .. } | Act::Deleted { .. } => Fault::Lost,
        };
        self.verdict.add(Finding { fault, key: op.key, begun_ns: op.begun_ns, ended_ns: op.ended_ns });
    }

    /// A version was seen that cannot be there: which rule does that break?
    fn stale(&self, version: Version, seen: &Op) -> Fault {
        let wrote = |op: &Op| matches!(op.act, Act::Wrote { version: v, .. } if v == version);
        let written =
            self.initial == Some(version) || self.ops.iter().any(|op| wrote(op) && op.begun_ns <= seen.ended_ns);
        if !written {
            Fault::Phantom
        } else if self.states.iter().all(|(held, _)| held.is_none()) {
            Fault::Resurrected
        } else if matches!(seen.act, Act::Left(_)) {
            Fault::Lost
        } else {
            Fault::BackwardsRead
        }
    }
}

fn is_read(act: Act) -> bool {
    matches!(act, Act::Saw(_) | Act::Left(_))
}

/// What is held after an act, or `None` when the act's answer is impossible here.
fn after(held: Held, act: Act) -> Option<Held> {
    let agrees = match act {
        Act::Saw(seen) | Act::Left(seen) => match seen {
            Seen::Absent => held.is_none(),
            Seen::Present => held.is_some(),
            Seen::Version(version) => held == Some(version),
        },
        Act::Wrote { before, .. } | Act::Deleted { before } => match before {
            Before::Anything => true,
            Before::Absent => held.is_none(),
            Before::Present => held.is_some(),
            Before::Version(version) => held == Some(version),
        },
    };
    agrees.then_some(match act {
        Act::Saw(_) | Act::Left(_) => held,
        Act::Wrote { version, .. } => Some(version),
        Act::Deleted { .. } => None,
    })
}

/// What is held if an impossible act's answer is believed; `None` when it says nothing.
fn claim(act: Act, held: Held) -> Option<Held> {
    match act {
        Act::Saw(Seen::Absent) | Act::Left(Seen::Absent) | Act::Deleted { .. } => Some(None),
        Act::Saw(Seen::Present) | Act::Left(Seen::Present) => held.map(Some),
        Act::Saw(Seen::Version(version)) | Act::Left(Seen::Version(version)) | Act::Wrote { version, .. } => {
            Some(Some(version))
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
