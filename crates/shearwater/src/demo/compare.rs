//! Compares what the stores hold, record by record, with each other and with
//! what the acknowledged history says that they must hold.

use std::collections::HashMap;

use shearwater_core::mapping::Mapping;
use shearwater_core::store::{ChunkMax, Image, Side, Store};
use shearwater_core::value::{hash, json};
use shearwater_core::{Document, Value};
use shearwater_engine::records::Shape;

use super::DemoError;
use super::history::{Act, KeyId, Op, Seen, Version};
use super::people;
use super::register::Disagreement;
use super::stage::Stage;

/// Records read from the target at once.
const CHUNK: ChunkMax = ChunkMax { records: 2_000, bytes: 4 * 1024 * 1024 };

/// What one store holds: for each key its version, and the hash of its v1 form.
#[derive(Default)]
pub struct Left {
    records: HashMap<KeyId, (Version, u128)>,
}

impl Left {
    /// Reads the target, and compares each record with what was seen of its version.
    pub async fn in_target(stage: &Stage, target: &dyn Store, mapping: &Mapping) -> Result<Left, DemoError> {
        let mut left = Left::default();
        for range in target.split(1).await? {
            let mut after = None;
            loop {
                let chunk = target.scan(&range, after.as_ref(), CHUNK).await?;
                for fetched in chunk.records {
                    let fetched =
                        fetched.map_err(|bad| DemoError(format!("the target cannot be read: {}", bad.error)))?;
                    if let Some(image) = &fetched.image {
                        left.add_v2(stage, image, mapping)?;
                    }
                }
                after = chunk.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(left)
    }

    fn add_v2(&mut self, stage: &Stage, v2: &Image, mapping: &Mapping) -> Result<(), DemoError> {
        let v1 = mapping.reverse(v2).map_err(|error| DemoError(format!("a record has no way back: {error}")))?;
        let Some((key, version)) = self.add(stage, &v1.record, Side::Target) else { return Ok(()) };
        let seen = stage.register.look_of(key, version, Shape::V2);
        if seen.is_some_and(|seen| seen != look(stage, &v2.record)) {
            differs(stage, key, version, Shape::V2, Side::Target);
        }
        // The content of every version is known: clients were shown what they wrote.
        if seen.is_none() && expected_v1(stage, key, version).is_none() {
            differs(stage, key, version, Shape::V2, Side::Target);
        }
        Ok(())
    }

    /// Takes the source's documents, read as any program would, not through a connector.
    pub fn in_source(stage: &Stage, documents: &[String]) -> Result<Left, DemoError> {
        let mut left = Left::default();
        for text in documents {
            let record = json::parse_document(text.as_bytes())
                .map_err(|error| DemoError(format!("a document in the source cannot be read: {error}")))?;
            left.add(stage, &record, Side::Source);
        }
        Ok(left)
    }

    /// Takes a record in its v1 form; compares it with what was seen of its version.
    fn add(&mut self, stage: &Stage, v1: &Document, side: Side) -> Option<(KeyId, Version)> {
        let key = match v1.get("_id") {
            Some(Value::Text(text)) => stage.register.find(text),
            _ => None,
        };
        let version = match v1.get("v") {
            Some(Value::Int(version)) => u32::try_from(*version).ok().map(Version),
            _ => None,
        };
        let (Some(key), Some(version)) = (key, version) else {
            differs(stage, KeyId(u32::MAX), Version(u32::MAX), Shape::V1, side);
            return None;
        };
        let found = look(stage, v1);
        if expected_v1(stage, key, version).is_some_and(|expected| expected != found) {
            differs(stage, key, version, Shape::V1, side);
        }
        if self.records.insert(key, (version, found)).is_some() {
            differs(stage, key, version, Shape::V1, side);
        }
        Some((key, version))
    }

    /// How many records there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Records that the other store lacks, has more, or has otherwise.
    pub fn differences(&self, other: &Left) -> u64 {
        let differ = self.records.iter().filter(|(key, record)| other.records.get(key) != Some(record)).count();
        let more = other.records.keys().filter(|key| !self.records.contains_key(key)).count();
        (differ + more) as u64
    }

    /// What is left, as acts of the history: for every key that was ever used.
    pub fn acts(&self, stage: &Stage) -> Vec<Op> {
        let now_ns = stage.now_ns();
        (0..stage.register.len() as u32)
            .map(|n| {
                let key = KeyId(n);
                let seen = self.records.get(&key).map_or(Seen::Absent, |(version, _)| Seen::Version(*version));
                Op { key, act: Act::Left(seen), begun_ns: now_ns, ended_ns: now_ns }
            })
            .collect()
    }
}

/// The hash of a version's v1 form, when it is known: it was seen, or it is the
/// record of the beginning.
fn expected_v1(stage: &Stage, key: KeyId, version: Version) -> Option<u128> {
    if version == Version(0) && (key.0 as usize) < stage.initial_keys() {
        let person = people::person(stage.seed, key, &stage.register.text(key), version);
        return Some(look(stage, &stage.native(person)));
    }
    stage.register.look_of(key, version, Shape::V1)
}

fn look(stage: &Stage, record: &Document) -> u128 {
    hash::document(&stage.comparable(record.clone()))
}

fn differs(stage: &Stage, key: KeyId, version: Version, shape: Shape, side: Side) {
    let place = match side {
        Side::Source => "left in the source",
        Side::Target => "left in the target",
    };
    stage.register.disagree(Disagreement { key, version, shape, place });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::register::Register;
    use super::*;

    const SEED: u64 = 7;

    fn source(change: impl FnOnce(&mut BTreeMap<String, Document>)) -> (Stage, Left) {
        let person = |n| {
            let key = people::key_text(n);
            (key.clone(), people::person(SEED, KeyId(n), &key, Version(0)))
        };
        let mut records: BTreeMap<String, Document> = (0..50).map(person).collect();
        change(&mut records);
        let stage = Stage::new(Register::new((0..50).map(people::key_text)), SEED);
        let documents: Vec<String> = records.values().map(json::document_to_string).collect();
        let left = Left::in_source(&stage, &documents).unwrap();
        (stage, left)
    }

    fn disagreements(change: impl FnOnce(&mut BTreeMap<String, Document>)) -> u64 {
        source(change).0.register.disagreements().0
    }

    #[test]
    fn untouched_records_are_as_expected() {
        let (stage, left) = source(|_| {});
        assert_eq!((left.len(), stage.register.disagreements().0), (50, 0));
        assert_eq!(left.differences(&left), 0);
        assert!(left.acts(&stage).iter().all(|op| op.act == Act::Left(Seen::Version(Version(0)))));
    }

    #[test]
    fn a_changed_a_foreign_and_a_missing_record_are_found() {
        let one = "u-0000001";
        assert_eq!(disagreements(|records| drop(records.get_mut(one).unwrap().set("notes", "x"))), 1);
        let foreign = Document::from_iter([("_id", Value::from("zz")), ("v", Value::Int(0))]);
        assert_eq!(disagreements(|records| drop(records.insert("zz".to_owned(), foreign))), 1);
        assert_eq!(disagreements(|records| drop(records.get_mut(one).unwrap().remove("v"))), 1);
        let (stage, left) = source(|records| drop(records.remove(one)));
        assert_eq!(left.acts(&stage)[1].act, Act::Left(Seen::Absent));
        let (_, all) = source(|_| {});
        assert_eq!((left.differences(&all), all.differences(&left)), (1, 1));
    }
}
