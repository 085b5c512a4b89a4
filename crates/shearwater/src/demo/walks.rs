//! Judges walked lists: a record that was there during the whole walk, with an
//! unchanged sort key, appears exactly once.

use std::collections::HashMap;

use super::check::{Fault, Finding, Verdict};
use super::history::{Act, Before, History, KeyId, Op, SortFields, Walk};

/// Judges every walk; `ops` are sorted by key.
pub(super) fn check(history: &History, ops: &[Op], verdict: &mut Verdict) {
    if history.walks.is_empty() {
        return;
    }
    let lives = lives(history, ops);
    for walk in &history.walks {
        check_walk(walk, &lives, verdict);
    }
}

fn check_walk(walk: &Walk, lives: &[Life], verdict: &mut Verdict) {
    let mut shown: HashMap<KeyId, u32> = HashMap::with_capacity(walk.keys.len());
    for &key in &walk.keys {
        *shown.entry(key).or_default() += 1;
    }
    let mut add = |fault, key| {
        verdict.add(Finding { fault, key, begun_ns: walk.begun_ns, ended_ns: walk.ended_ns });
    };
    for life in lives {
        let times = shown.get(&life.key).copied().unwrap_or(0);
        if times == 1 || !walk.among.has(life.key) {
            continue;
        }
        if life.moved_during(walk) {
            continue;
        }
        if times > 1 {
            add(Fault::ListRepeat, life.key);
        } else if life.there_during(walk) {
            add(Fault::ListGap, life.key);
        }
    }
}

/// What is known about when one key's record was there.
struct Life {
    key: KeyId,
    initial: bool,
    puts: Vec<(u64, u64, SortFields)>,
    deletes: Vec<(u64, u64)>,
}

impl Life {
    /// Whether the record's place in the walk's order may have changed while it went on.
    fn moved_during(&self, walk: &Walk) -> bool {
        let overlaps = |begun: u64, ended: u64| begun <= walk.ended_ns && ended >= walk.begun_ns;
        self.puts.iter().any(|&(begun, ended, touched)| overlaps(begun, ended) && touched.meets(walk.order))
            || self.deletes.iter().any(|&(begun, ended)| overlaps(begun, ended))
    }

    /// Whether the record was there from begin to end for certain: put before
    /// the walk began, and every delete that could have taken effect before the
    /// walk ended was over before that put began.
    fn there_during(&self, walk: &Walk) -> bool {
        let outlives_deletes = |put_begun: u64| {
            self.deletes.iter().filter(|(begun, _)| *begun <= walk.ended_ns).all(|&(_, ended)| ended < put_begun)
        };
        let put = self.puts.iter().any(|&(begun, ended, _)| ended < walk.begun_ns && outlives_deletes(begun));
        put || (self.initial && self.deletes.iter().all(|&(begun, _)| begun > walk.ended_ns))
    }
}

/// One life for each key of the history.
fn lives(history: &History, ops: &[Op]) -> Vec<Life> {
    let new = |key| Life { key, initial: history.initial_of(key).is_some(), puts: Vec::new(), deletes: Vec::new() };
    let mut lives: Vec<Life> = (0..history.initial.len() as u32).map(|n| new(KeyId(n))).collect();
    let mut late: HashMap<KeyId, usize> = HashMap::new();
    for op in ops {
        let at = if (op.key.0 as usize) < history.initial.len() {
            op.key.0 as usize
        } else {
            *late.entry(op.key).or_insert_with(|| {
                lives.push(new(op.key));
                lives.len() - 1
            })
        };
        match op.act {
            // An insert gives the record its place, whatever it touched.
            Act::Wrote { before: Before::Absent, .. } => {
                lives[at].puts.push((op.begun_ns, op.ended_ns, SortFields::ALL))
            }
            Act::Wrote { touched, .. } => lives[at].puts.push((op.begun_ns, op.ended_ns, touched)),
            Act::Deleted { .. } => lives[at].deletes.push((op.begun_ns, op.ended_ns)),
            Act::Saw(_) | Act::Left(_) => {}
        }
    }
    lives
}
