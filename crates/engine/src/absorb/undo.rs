//! Undoing deactivations: the one way back, of one record. It returns to its
//! source, and has again what it had where the deactivation set something.
//!
//! Only what the deactivation itself moved goes back, and only while it still
//! has what was set: one that somebody has moved otherwise or changed since is
//! refused by its key. Each step holds at the version that was judged, so one
//! that is written meanwhile is judged again. An undone record is spared from
//! then on: whoever undid it did not want it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shearwater_core::absorb::{Held, Parted};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::store::Image;
use shearwater_core::value::{Value, json};
use shearwater_core::{Document, Key};

use super::carry::stamp_of;
use super::deactivations::{Entry, damaged};
use super::place::Place;
use super::returning::is_held;
use super::{Carrier, Fault};
use crate::records::Shape;

/// Attempts at undoing one deactivation while others write the record.
const UNDO_ATTEMPTS_MAX: usize = 16;

/// Keys that a report names; all are counted.
const NAMED_MAX: usize = 1_000;

/// What has become of a deactivated record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// It is in the target as the deactivation left it: it can be undone.
    Deactivated,
    /// It lives in the source: it was undone or rolled back, or not deactivated after all.
    InSource,
    /// Somebody has moved it otherwise, changed what was set, or deleted it.
    Changed,
    /// Nothing is known any more: the migration is over, or not prepared.
    Past,
}

/// What came of undoing one deactivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was before.
    Back,
    /// It was so already.
    Already,
    /// It stays as it is: somebody has changed it since.
    Changed,
    /// It stays: the target does not give it up, because others there name it,
    /// and a dead letter says so.
    Held,
}

/// What came of undoing some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Undoing {
    /// Records that came back now.
    pub undone: u64,
    /// Records that were back already.
    pub already: u64,
    /// Records that somebody has changed since, and that stay as they are.
    pub changed: u64,
    /// Their keys, the first of them.
    pub changed_keys: Vec<String>,
    /// Records that the target does not give up.
    pub held: u64,
    /// Their keys, the first of them.
    pub held_keys: Vec<String>,
    /// Keys that were asked for and are not on the list.
    pub unlisted: Vec<String>,
}

impl Undoing {
    /// Counts one.
    pub fn add(&mut self, key: &str, undone: Undone) {
        let (count, keys) = match undone {
            Undone::Back => (&mut self.undone, None),
            Undone::Already => (&mut self.already, None),
            Undone::Changed => (&mut self.changed, Some(&mut self.changed_keys)),
            Undone::Held => (&mut self.held, Some(&mut self.held_keys)),
        };
        *count += 1;
        if let Some(keys) = keys.filter(|keys| keys.len() < NAMED_MAX) {
            keys.push(key.to_owned());
        }
    }
}

impl Carrier {
    /// What the list says of these records, or of all, by key.
    pub async fn listed(&self, keys: Option<&[String]>) -> Result<BTreeMap<String, Vec<Entry>>, Fault> {
        let asked: Option<BTreeSet<&String>> = keys.map(|keys| keys.iter().collect());
        let mut listed: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        self.each_noted(|noted| {
            let is_asked = |entry: &Entry| asked.as_ref().is_none_or(|asked| asked.contains(&entry.key));
            for entry in noted.entries.into_iter().filter(is_asked) {
                listed.entry(entry.key.clone()).or_default().push(entry);
            }
        })
        .await?;
        Ok(listed)
    }

    /// What has become of a deactivated record.
    pub async fn since(&self, state: &State, key: &str, entries: &[Entry]) -> Result<Since, Fault> {
        if !state.uses_sidecars() {
            return Ok(Since::Past);
        }
        Ok(match self.locate(state, Shape::V1, &self.key_of(key)?).await? {
            Place::Source { .. } => Since::InSource,
            place @ Place::Target { .. } => match self.judged(&place, entries).await? {
                Some(_) => Since::Deactivated,
                None => Since::Changed,
            },
            Place::Nowhere { .. } | Place::Deleted { .. } | Place::Own { .. } => Since::Changed,
        })
    }

    fn key_of(&self, text: &str) -> Result<Key, Fault> {
        let parts = self.setup.shapes.mapping().source().key_fields().len();
        Key::from_text(text, parts).map_err(|error| damaged(&error.to_string()))
    }

    /// Undoes what was written down of one record; doing it again does nothing more.
    pub async fn undo(&self, state: &State, text: &str, entries: &[Entry]) -> Result<Undone, Fault> {
        let key = self.key_of(text)?;
        let mut came = false;
        for _ in 0..UNDO_ATTEMPTS_MAX {
            let place = self.locate(state, Shape::V1, &key).await?;
            let step = match &place {
                Place::Target { row, held, found, .. } => {
                    let Some(v1) = self.judged(&place, entries).await? else { return Ok(Undone::Changed) };
                    match (row.dirty, held.returning) {
                        (_, Some(version)) => self.finish_return(state.epoch, row, held.clone(), version).await,
                        (true, None) => self.settle(state.epoch, &key).await,
                        (false, None) => self.stage_as(state.epoch, row, held, v1, stamp_of(found)).await,
                    }
                }
                Place::Source { row, held } => match self.as_before(&held.v1, entries)? {
                    Some(v1) => self.write_home(state.epoch, &key, stamp_of(row), Held::at_home(v1)).await.map(drop),
                    None if came => return Ok(Undone::Back),
                    None => return Ok(Undone::Already),
                },
                Place::Nowhere { .. } | Place::Deleted { .. } | Place::Own { .. } => return Ok(Undone::Changed),
            };
            match step {
                // Somebody else wrote it: it is judged again.
                Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => {}
                Err(fault) if is_held(&fault) => return Ok(Undone::Held),
                Err(fault) => return Err(fault),
                Ok(()) => came = true,
            }
        }
        let message = "a deactivated record is written by too many others";
        Err(Fault::source(StoreError::new(StoreErrorKind::Unavailable, message)))
    }

    /// A record of the target as it goes back; `None`: it is not as the
    /// deactivation left it, or the source could not say what it says now.
    async fn judged(&self, place: &Place, entries: &[Entry]) -> Result<Option<Image>, Fault> {
        let Place::Target { held, found, origin, .. } = place else { return Ok(None) };
        let Some(image) = &found.image else { return Ok(None) };
        let is_its_move = held.left.is_some_and(|left| entries.iter().any(|entry| entry.left == left.to_string()));
        // What a conflict or a merge made of a value counts as the record's own.
        let mut own = image.record.clone();
        for (field, value, landed) in &origin.changed {
            if own.get(field) == Some(landed) {
                own.set(field.as_str(), value.clone());
            }
        }
        if !is_its_move || !self.has_what_is_set(&own) {
            return Ok(None);
        }
        let (before, mut record, mut origin) = (self.had_before(entries)?, image.record.clone(), origin.clone());
        for (name, value) in before.unwrap_or_default().iter() {
            record.set(name, value.clone());
            origin.changed.retain(|(field, _, _)| field != name);
        }
        let could_say = self.setup.shapes.sayable(&held.v1).is_ok();
        let mut followed = held.v1.clone();
        self.follow(&mut followed, &record).await?;
        if could_say && self.setup.shapes.sayable(&followed).is_err() {
            return Ok(None);
        }
        match self.coming_home(held.v1.clone(), &record, &origin).await {
            Ok(v1) => Ok(Some(v1)),
            Err(Fault::Mapping(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A record of the source that still has what a deactivation set, as it was
    /// before; `None`: it has not, or had it before.
    fn as_before(&self, v1: &Image, entries: &[Entry]) -> Result<Option<Image>, Fault> {
        let shapes = &self.setup.shapes;
        let (Some(before), Ok(Parted { mut v2, rest })) = (self.had_before(entries)?, shapes.forward(v1)) else {
            return Ok(None);
        };
        if !self.has_what_is_set(&v2) {
            return Ok(None);
        }
        for (name, value) in before.iter() {
            v2.set(name, value.clone());
        }
        let mut again = shapes.reverse(&Parted { v2, rest })?;
        shapes.keep_strays(v1, &mut again);
        Ok(Some(again))
    }

    /// What a record had before its deactivations, where that is not what they set.
    fn had_before(&self, entries: &[Entry]) -> Result<Option<Document>, Fault> {
        // One that was rolled back and deactivated again had what was set before the last time.
        let mut before = None;
        for entry in entries {
            before = Some(had(entry)?).filter(|had| !had.is_empty() && !self.has_what_is_set(had)).or(before);
        }
        Ok(before)
    }
}

/// What a record had before.
fn had(entry: &Entry) -> Result<Document, Fault> {
    match json::parse(entry.before.as_bytes()) {
        Ok(Value::Document(before)) => Ok(before),
        _ => Err(damaged("what a record had before is no record")),
    }
}
