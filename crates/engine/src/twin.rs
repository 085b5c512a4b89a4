//! Whether two stores hold the same record: `forward(source)` against the
//! target, parked fields included, whichever of them is the authority. Pure.

use shearwater_core::Key;
use shearwater_core::compare::{FieldDifference, differences};
use shearwater_core::mapping::Mapping;
use shearwater_core::store::{BadRow, Fetched, Image, Side};
use shearwater_core::value::{Document, Value, hash};

use crate::recheck::Pair;
use crate::verify::{Finding, Kind};

/// The hash that verification sums: of the record, and of what is parked beside it if anything is.
pub fn image_hash(image: &Image) -> u128 {
    if image.parked.is_empty() {
        return hash::document(&image.record);
    }
    let both = [("record", Value::Document(image.record.clone())), ("parked", Value::Document(image.parked.clone()))];
    hash::document(&both.into_iter().collect::<Document>())
}

/// Whether a pair is equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both have the same record, or neither has one.
    Equal,
    /// Not equal.
    Mismatch {
        /// In what way.
        kind: Kind,
        /// Why it was refused.
        reason: Option<String>,
        /// The fields that differ.
        fields: Vec<FieldDifference>,
    },
}

/// Compares one pair in full.
pub fn judge(mapping: &Mapping, authority: Side, source: &Fetched, target: &Fetched) -> Verdict {
    let mismatch = |kind, reason, fields| Verdict::Mismatch { kind, reason, fields };
    let forward = match &source.image {
        Some(image) => match mapping.forward(image) {
            Ok(forward) => Some(forward),
            Err(error) => return mismatch(Kind::Refused, Some(error.to_string()), Vec::new()),
        },
        None => None,
    };
    match (forward, &target.image) {
        (None, None) => Verdict::Equal,
        (Some(_), None) => mismatch(Kind::Missing, None, Vec::new()),
        (None, Some(_)) => mismatch(Kind::Extra, None, Vec::new()),
        (Some(forward), Some(target)) if image_hash(&forward) == image_hash(target) => Verdict::Equal,
        (Some(forward), Some(target)) => {
            let (expected, found) = match authority {
                Side::Source => (&forward, target),
                Side::Target => (target, &forward),
            };
            let mut fields = differences(&expected.record, &found.record);
            fields.extend(differences(&expected.parked, &found.parked));
            mismatch(Kind::Different, None, fields)
        }
    }
}

/// What a source record must be in the target.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The key in the source's shape.
    pub source_key: Key,
    /// The key in the target's shape.
    pub target_key: Key,
    /// The hash of the record in the target's shape.
    pub hash: u128,
}

impl Expected {
    /// The two keys.
    pub fn pair(self) -> Pair {
        Pair { source: self.source_key, target: self.target_key, found_in: Side::Source }
    }
}

/// A chunk of the source, mapped.
#[derive(Default)]
pub struct ScannedSource {
    /// Records with what they must be.
    pub expected: Vec<Expected>,
    /// Records to look at by themselves.
    pub suspects: Vec<Pair>,
    /// Rows that have no key to look them up by.
    pub unreadable: Vec<Finding>,
    /// Sum of the hashes.
    pub hash: u128,
}

/// Maps a chunk of the source.
pub fn forward_chunk(mapping: &Mapping, records: Vec<Result<Fetched, BadRow>>) -> ScannedSource {
    let mut scanned = ScannedSource::default();
    for record in records {
        let (key, image) = match record {
            Ok(Fetched { key, image: Some(image), .. }) => (key, Some(image)),
            Ok(Fetched { key, image: None, .. }) => (key, None),
            Err(bad) => match bad.key {
                Some(key) => (key, None),
                None => {
                    scanned.unreadable.push(refused(None, None, bad.error.message));
                    continue;
                }
            },
        };
        let target_key = match mapping.key_forward(&key) {
            Ok(target_key) => target_key,
            Err(error) => {
                scanned.unreadable.push(refused(Some(&key), None, error.to_string()));
                continue;
            }
        };
        match image.map(|image| mapping.forward(&image)) {
            Some(Ok(forward)) => {
                let hash = image_hash(&forward);
                scanned.hash = scanned.hash.wrapping_add(hash);
                scanned.expected.push(Expected { source_key: key, target_key, hash });
            }
            Some(Err(_)) | None => {
                scanned.suspects.push(Pair { source: key, target: target_key, found_in: Side::Source });
            }
        }
    }
    scanned
}

/// What the target holds under a chunk's keys.
#[derive(Default)]
pub struct Compared {
    /// The pairs whose target record is not what it must be.
    pub differing: Vec<Pair>,
    /// Sum of the hashes of the target's records.
    pub hash: u128,
}

/// Compares what the target holds with what it must.
pub fn compare_chunk(expected: Vec<Expected>, found: &[Fetched]) -> Compared {
    let mut compared = Compared::default();
    for (expected, found) in expected.into_iter().zip(found) {
        let held = found.image.as_ref().map(image_hash);
        compared.hash = compared.hash.wrapping_add(held.unwrap_or(0));
        if held != Some(expected.hash) {
            compared.differing.push(expected.pair());
        }
    }
    compared
}

/// A chunk of the target's keys, mapped back.
#[derive(Default)]
pub struct ScannedTarget {
    /// The records' keys.
    pub pairs: Vec<Pair>,
    /// Records that no source record can ever be behind.
    pub orphans: Vec<Finding>,
}

/// Maps a chunk of the target's keys back.
pub fn scan_target(mapping: &Mapping, authority: Side, keys: Vec<Result<Key, BadRow>>) -> ScannedTarget {
    let mut scanned = ScannedTarget::default();
    for key in keys {
        let key = match key {
            Ok(key) | Err(BadRow { key: Some(key), .. }) => key,
            Err(BadRow { key: None, error }) => {
                scanned.orphans.push(refused(None, None, error.message));
                continue;
            }
        };
        match mapping.key_reverse(&key) {
            Ok(source) => scanned.pairs.push(Pair { source, target: key, found_in: Side::Target }),
            Err(error) => {
                let kind = match authority {
                    Side::Source => Kind::Extra,
                    Side::Target => Kind::Refused,
                };
                scanned.orphans.push(Finding { kind, ..refused(None, Some(&key), error.to_string()) });
            }
        }
    }
    scanned
}

/// The pairs that have no source record.
pub fn extras(pairs: Vec<Pair>, present: &[bool]) -> Vec<Pair> {
    pairs.into_iter().zip(present).filter(|(_, present)| !**present).map(|(pair, _)| pair).collect()
}

fn refused(source: Option<&Key>, target: Option<&Key>, reason: String) -> Finding {
    Finding {
        kind: Kind::Refused,
        source_key: source.map(Key::to_text),
        target_key: target.map(Key::to_text),
        stamp: None,
        reason: Some(reason),
        fields: Vec::new(),
    }
}
