//! Reading suspects again, so that live writes are no false mismatch: the
//! authority, the follower, the authority; a difference is real only when the
//! key was clean and its stamp stood still.

use shearwater_core::Key;
use shearwater_core::error::Policy;
use shearwater_core::store::{Fetched, Side};

use crate::helm::{Course, Helm, Leash, patiently};
use crate::ledger::Halt;
use crate::twin::{Verdict, judge};
use crate::verify::{Finding, Kind};

/// Keys read again at once: three reads of each are in memory.
const RECHECK_KEYS_MAX: usize = 500;

/// One record's two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In the source's shape.
    pub source: Key,
    /// In the target's shape.
    pub target: Key,
    /// In which store the scan found it.
    pub found_in: Side,
}

impl Pair {
    fn key(&self, side: Side) -> &Key {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// What reading again showed.
#[derive(Debug, Default)]
pub struct Settled {
    /// Real mismatches.
    pub findings: Vec<Finding>,
    /// Written right now, or not followed yet.
    pub moving: Vec<Pair>,
}

/// Reads suspects again.
pub struct Recheck {
    /// The stores and the mapping.
    pub helm: Helm,
    /// Which store is the authority.
    pub course: Course,
}

impl Recheck {
    /// Looks at each pair once more.
    pub async fn settle(&self, pairs: Vec<Pair>, leash: &mut Leash) -> Result<Settled, Halt> {
        let mut settled = Settled::default();
        for batch in pairs.chunks(RECHECK_KEYS_MAX) {
            match self.settle_batch(batch, leash, &mut settled).await {
                Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => {
                    for pair in batch {
                        self.settle_alone(pair, leash, &mut settled).await?;
                    }
                }
                done => done?,
            }
        }
        Ok(settled)
    }

    /// A record that cannot be read is a finding by itself.
    async fn settle_alone(&self, pair: &Pair, leash: &mut Leash, settled: &mut Settled) -> Result<(), Halt> {
        match self.settle_batch(std::slice::from_ref(pair), leash, settled).await {
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => {
                settled.findings.push(finding(pair, Kind::Refused, None, Some(error.message), Vec::new()));
                Ok(())
            }
            done => done,
        }
    }

    async fn settle_batch(&self, pairs: &[Pair], leash: &mut Leash, settled: &mut Settled) -> Result<(), Halt> {
        let (authority, follower) = (self.course.authority, self.course.authority.other());
        let ours: Vec<Key> = pairs.iter().map(|pair| pair.key(authority).clone()).collect();
        let theirs: Vec<Key> = pairs.iter().map(|pair| pair.key(follower).clone()).collect();
        let before = self.fetch(authority, &ours, leash).await?;
        let followed = self.fetch(follower, &theirs, leash).await?;
        let after = self.fetch(authority, &ours, leash).await?;
        let letters = self.helm.letters.lock().await;
        for (((pair, before), followed), after) in pairs.iter().zip(before).zip(followed).zip(after) {
            let (source, target) = match authority {
                Side::Source => (&before, &followed),
                Side::Target => (&followed, &before),
            };
            let verdict = judge(&self.helm.setup.mapping, authority, source, target);
            let Verdict::Mismatch { kind, reason, fields } = verdict else { continue };
            let stood_still = before.stamp == after.stamp;
            let waits = before.dirty || after.dirty;
            // A key with a dead letter of this version stays dirty until somebody acts.
            let stuck = before.stamp.is_some_and(|stamp| letters.holds(pair.key(authority), stamp));
            if stood_still && (!waits || stuck) {
                settled.findings.push(finding(pair, kind, before.stamp, reason, fields));
            } else {
                settled.moving.push(pair.clone());
            }
        }
        Ok(())
    }

    async fn fetch(&self, side: Side, keys: &[Key], leash: &mut Leash) -> Result<Vec<Fetched>, Halt> {
        let store = self.helm.setup.store(side);
        patiently(leash, side, || store.fetch_many(keys)).await
    }
}

fn finding(
    pair: &Pair,
    kind: Kind,
    stamp: Option<shearwater_core::Stamp>,
    reason: Option<String>,
    fields: Vec<shearwater_core::compare::FieldDifference>,
) -> Finding {
    Finding {
        kind,
        source_key: Some(pair.source.to_text()),
        target_key: Some(pair.target.to_text()),
        stamp: stamp.map(|stamp| stamp.to_string()),
        reason,
        fields,
    }
}
