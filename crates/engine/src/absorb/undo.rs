//! The list of deactivations, by which they can be undone until the end.
//!
//! A record is written down before it is deactivated, with the values that it
//! had; it is deactivated only as it was then. Undoing is the one way back, of
//! one record: it returns to its source, and what the deactivation had set is
//! as it was before. It is spared from then on: whoever undid it did not want it.

use serde::{Deserialize, Serialize};
use shearwater_core::absorb::Held;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::journal::Journal;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::store::{Fetched, Image};
use shearwater_core::value::{Value, json};
use shearwater_core::{Document, Key};

use super::carry::stamp_of;
use super::place::Place;
use super::{Carrier, Fault};
use crate::records::Shape;

/// The note with the days of which there are lists.
const DAYS_NOTE: &str = "absorb-deactivated-days";

/// The note with records that were undone, which are spared.
const SPARED_NOTE: &str = "absorb-spared";

/// Attempts at undoing one deactivation while others write the record.
const UNDO_ATTEMPTS_MAX: usize = 16;

/// One deactivation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The record's key in the source, as text.
    pub key: String,
    /// What it had where the deactivation set something, as tagged JSON.
    pub before: String,
}

/// The deactivations of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    pub day: i64,
    /// Records that were, or were about to be, deactivated: a crash writes down
    /// too many and never too few.
    pub entries: Vec<Entry>,
}

impl Day {
    /// The records' keys.
    pub fn keys(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.key.as_str()).collect()
    }
}

/// What has become of a deactivated record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// It is in the target as the deactivation left it.
    Deactivated,
    /// It lives in the source: it was undone, or not deactivated after all.
    InSource,
    /// Somebody has changed what the deactivation set, or deleted it.
    Changed,
}

async fn read<T: Default + for<'de> Deserialize<'de>>(journal: &dyn Journal, note: &str) -> Result<T, Fault> {
    let Some(text) = journal.note(note).await? else { return Ok(T::default()) };
    serde_json::from_str(&text).map_err(|error| {
        Fault::Journal(shearwater_core::journal::JournalError::Damaged(format!("the note {note}: {error}")))
    })
}

async fn write<T: Serialize>(journal: &dyn Journal, note: &str, value: &T) -> Result<(), Fault> {
    Ok(journal.set_note(note, &serde_json::to_string(value).unwrap_or_default()).await?)
}

fn day_note(day: i64) -> String {
    format!("absorb-deactivated-{day}")
}

impl Carrier {
    fn journal(&self) -> &dyn Journal {
        self.setup.journal.as_ref()
    }

    /// The deactivations of a day.
    pub(super) async fn day_of(&self, day: i64) -> Result<Day, Fault> {
        let found: Day = read(self.journal(), &day_note(day)).await?;
        Ok(Day { day, ..found })
    }

    /// Writes down who is about to be deactivated.
    pub(super) async fn note_day(&self, day: &Day) -> Result<(), Fault> {
        let mut days: Vec<i64> = read(self.journal(), DAYS_NOTE).await?;
        if !days.contains(&day.day) {
            days.push(day.day);
            write(self.journal(), DAYS_NOTE, &days).await?;
        }
        write(self.journal(), &day_note(day.day), day).await
    }

    /// Every deactivation, day by day.
    pub async fn deactivations(&self) -> Result<Vec<Day>, Fault> {
        let days: Vec<i64> = read(self.journal(), DAYS_NOTE).await?;
        let mut all = Vec::with_capacity(days.len());
        for day in days {
            all.push(self.day_of(day).await?);
        }
        Ok(all)
    }

    /// The keys of records that are not deactivated (again).
    pub(super) async fn spared(&self) -> Result<Vec<String>, Fault> {
        read(self.journal(), SPARED_NOTE).await
    }

    /// A record with what it has where a deactivation sets something.
    pub(super) fn entry(&self, found: &Fetched) -> Result<Entry, Fault> {
        let image = found.image.clone().unwrap_or_default();
        let v2 = self.setup.shapes.forward(&self.setup.shapes.held(image).v1)?.v2;
        let before: Document = self
            .sets()
            .iter()
            .map(|(name, _)| (name.to_owned(), v2.get(name).cloned().unwrap_or(Value::Null)))
            .collect();
        Ok(Entry { key: found.key.to_text(), before: json::to_string(&Value::Document(before)) })
    }

    fn sets(&self) -> Document {
        self.setup.spec.stragglers.as_ref().map(|stragglers| stragglers.deactivate.clone()).unwrap_or_default()
    }

    fn has_what_was_set(&self, v2: &Document) -> bool {
        self.sets().iter().all(|(name, value)| v2.get(name) == Some(value))
    }

    /// What has become of a deactivated record.
    pub async fn since(&self, state: &State, entry: &Entry) -> Result<Since, Fault> {
        Ok(match self.locate(state, Shape::V1, &self.key_of(entry)?).await? {
            Place::Source { .. } => Since::InSource,
            Place::Target { found, .. } => match found.image {
                Some(image) if self.has_what_was_set(&image.record) => Since::Deactivated,
                _ => Since::Changed,
            },
            Place::Nowhere { .. } | Place::Deleted { .. } | Place::Own { .. } => Since::Changed,
        })
    }

    fn key_of(&self, entry: &Entry) -> Result<Key, Fault> {
        let parts = self.setup.shapes.mapping().source().key_fields().len();
        Key::from_text(&entry.key, parts).map_err(|error| damaged(&error.to_string()))
    }

    /// Undoes the deactivations of these records, or of all; how many came back.
    /// Doing it again does nothing more.
    pub async fn undo(&self, state: &State, keys: Option<&[String]>) -> Result<u64, Fault> {
        let all: Vec<Entry> = self.deactivations().await?.into_iter().flat_map(|day| day.entries).collect();
        let asked = |entry: &Entry| keys.is_none_or(|keys| keys.contains(&entry.key));
        // Of a record that was written down twice the last entry counts.
        let mut entries: Vec<Entry> = Vec::new();
        for entry in all.into_iter().filter(asked) {
            entries.retain(|other| other.key != entry.key);
            entries.push(entry);
        }
        let mut spared = self.spared().await?;
        spared.extend(entries.iter().map(|entry| entry.key.clone()));
        spared.sort();
        spared.dedup();
        write(self.journal(), SPARED_NOTE, &spared).await?;
        let mut undone = 0;
        for entry in &entries {
            undone += u64::from(self.undo_one(state, entry).await?);
        }
        Ok(undone)
    }

    async fn undo_one(&self, state: &State, entry: &Entry) -> Result<bool, Fault> {
        let key = self.key_of(entry)?;
        let mut came = false;
        for _ in 0..UNDO_ATTEMPTS_MAX {
            let step = match self.locate(state, Shape::V1, &key).await? {
                Place::Target { found, .. } => {
                    let is_set = found.image.is_some_and(|image| self.has_what_was_set(&image.record));
                    if !is_set {
                        return Ok(came);
                    }
                    came = true;
                    self.take_back(state.epoch, &key).await.map(drop)
                }
                Place::Source { row, held } => match self.as_before(&held, entry)? {
                    Some(v1) => self.write_home(state.epoch, &key, stamp_of(&row), Held::at_home(v1)).await.map(drop),
                    None => return Ok(came),
                },
                Place::Nowhere { .. } | Place::Deleted { .. } | Place::Own { .. } => return Ok(came),
            };
            match step {
                // Somebody else wrote it: look again.
                Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => {}
                step => step?,
            }
        }
        let message = "a deactivated record is written by too many others";
        Err(Fault::source(shearwater_core::error::StoreError::new(StoreErrorKind::Unavailable, message)))
    }

    /// A record of the source without what the deactivation set; `None`: it has nothing of that.
    fn as_before(&self, held: &Held, entry: &Entry) -> Result<Option<Image>, Fault> {
        let mut parted = self.setup.shapes.forward(&held.v1)?;
        if !self.has_what_was_set(&parted.v2) {
            return Ok(None);
        }
        let Ok(Value::Document(before)) = json::parse(entry.before.as_bytes()) else {
            return Err(damaged("what a record had before its deactivation is no record"));
        };
        let is_as_before = before.iter().all(|(name, value)| parted.v2.get(name) == Some(value));
        if is_as_before {
            return Ok(None);
        }
        for (name, value) in before.iter() {
            parted.v2.set(name, value.clone());
        }
        Ok(Some(self.setup.shapes.reverse(&parted)?))
    }
}

fn damaged(what: &str) -> Fault {
    Fault::Journal(shearwater_core::journal::JournalError::Damaged(format!("the list of deactivations: {what}")))
}
