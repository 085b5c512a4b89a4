//! The list of deactivations, by which they can be undone.
//!
//! Records are written down before they are deactivated, some at once, each
//! with the version at which it was chosen and the values that it had where the
//! deactivation sets something. A piece of the list is written once and never
//! again, so no process, however late, takes away what another wrote down; a
//! crash writes down too many and never too few.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shearwater_core::Document;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::store::Fetched;
use shearwater_core::value::{Value, json};

use super::carry::stamp_of;
use super::{Carrier, Fault};
use crate::failpoint;

/// The note with the number of the next piece, or of one before it.
const NEXT_NOTE: &str = "absorb-deactivated-next";

/// How far the clocks of two machines may be apart, in days: pieces of one day
/// and of the next may stand in the wrong order by that much.
const CLOCKS_APART_DAYS_MAX: i64 = 1;

/// The note with records that were undone, which are spared.
const SPARED_NOTE: &str = "absorb-spared";

/// One deactivation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The record's key in the source, as text.
    pub key: String,
    /// The version at which it was chosen: the name of the move that deactivated it.
    pub left: String,
    /// What it had where the deactivation sets something, as tagged JSON.
    pub before: String,
}

/// Deactivations that were written down at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Days since 1970.
    pub day: i64,
    /// Records that were, or were about to be, deactivated.
    pub entries: Vec<Entry>,
}

fn note_of(piece: u64) -> String {
    format!("absorb-deactivated-{piece}")
}

/// The list, or what it says of a record, cannot be read.
pub(super) fn damaged(what: &str) -> Fault {
    Fault::Journal(JournalError::Damaged(format!("the list of deactivations: {what}")))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))
}

fn written<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| damaged(&error.to_string()))
}

impl Carrier {
    fn journal(&self) -> &dyn Journal {
        self.setup.journal.as_ref()
    }

    async fn noted(&self, piece: u64) -> Result<Option<Noted>, Fault> {
        self.journal().note(&note_of(piece)).await?.map(|text| read(&text)).transpose()
    }

    /// Writes down who is about to be deactivated: the first of them, as many as
    /// the day still allows. Answers how many.
    ///
    /// Each place of the list is written once, and by somebody who has counted
    /// every place before it; so the day's most holds whoever else writes.
    pub(super) async fn note_down(&self, day: i64, mut entries: Vec<Entry>, per_day_max: u64) -> Result<usize, Fault> {
        let mut piece = self.end().await?;
        loop {
            let left = per_day_max.saturating_sub(self.noted_before(piece, day).await?.len() as u64);
            entries.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if entries.is_empty() {
                return Ok(0);
            }
            let text = written(&Noted { day, entries: entries.clone() })?;
            if self.journal().note_once(&note_of(piece), &text).await? == text {
                break;
            }
            // Another process has written down its own in this place.
            piece += 1;
        }
        self.journal().set_note(NEXT_NOTE, &(piece + 1).to_string()).await?;
        failpoint::hit("absorb-deactivation-noted");
        Ok(entries.len())
    }

    /// Where the list goes on, or a little before.
    async fn next_piece(&self) -> Result<u64, Fault> {
        match self.journal().note(NEXT_NOTE).await? {
            Some(text) => text.parse().map_err(|_| damaged("its end is no number")),
            None => Ok(0),
        }
    }

    /// The first place in which nobody has written yet.
    async fn end(&self) -> Result<u64, Fault> {
        let mut end = self.next_piece().await?;
        while self.noted(end).await?.is_some() {
            end += 1;
        }
        Ok(end)
    }

    /// Shows every piece of the list, the first first.
    pub async fn each_noted(&self, mut show: impl FnMut(Noted)) -> Result<(), Fault> {
        let mut piece = 0;
        while let Some(noted) = self.noted(piece).await? {
            show(noted);
            piece += 1;
        }
        Ok(())
    }

    /// The keys of records that were, or were about to be, deactivated on a day,
    /// in the order in which they were written down.
    pub async fn noted_on(&self, day: i64) -> Result<Vec<String>, Fault> {
        self.noted_before(self.end().await?, day).await
    }

    /// The same of what stands before a place.
    async fn noted_before(&self, mut end: u64, day: i64) -> Result<Vec<String>, Fault> {
        let mut pieces = Vec::new();
        while let Some(before) = end.checked_sub(1) {
            match self.noted(before).await?.filter(|noted| noted.day >= day - CLOCKS_APART_DAYS_MAX) {
                Some(noted) => pieces.push(noted),
                None => break,
            }
            end = before;
        }
        let of_day = pieces.into_iter().rev().filter(|noted| noted.day == day);
        let mut seen = BTreeSet::new();
        let keys = of_day.flat_map(|noted| noted.entries.into_iter().map(|entry| entry.key));
        Ok(keys.filter(|key| seen.insert(key.clone())).collect())
    }

    /// The keys of records that are not deactivated (again).
    pub(super) async fn spared(&self) -> Result<BTreeSet<String>, Fault> {
        match self.journal().note(SPARED_NOTE).await? {
            Some(text) => read(&text),
            None => Ok(BTreeSet::new()),
        }
    }

    /// Spares more records.
    pub(super) async fn spare(&self, keys: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        let mut spared = self.spared().await?;
        spared.extend(keys);
        self.journal().set_note(SPARED_NOTE, &written(&spared)?).await?;
        failpoint::hit("absorb-spared");
        Ok(())
    }

    /// A chosen record with what it has where a deactivation sets something.
    /// Of one that the rules refuse nothing is kept: it will not move.
    pub(super) async fn entry(&self, chosen: &Fetched) -> Result<Entry, Fault> {
        let v1 = self.setup.shapes.held(chosen.image.clone().unwrap_or_default()).v1;
        let before: Document = match self.forward(&chosen.key, &v1).await {
            Ok(v2) => {
                let value = |name: &str| v2.record.get(name).cloned().unwrap_or(Value::Null);
                self.sets().iter().map(|(name, _)| (name.to_owned(), value(name))).collect()
            }
            Err(Fault::Mapping(_)) => Document::new(),
            Err(fault) => return Err(fault),
        };
        let left = stamp_of(chosen).to_string();
        Ok(Entry { key: chosen.key.to_text(), left, before: json::to_string(&Value::Document(before)) })
    }

    /// What a deactivation sets.
    pub(super) fn sets(&self) -> Document {
        self.setup.spec.stragglers.as_ref().map(|stragglers| stragglers.deactivate.clone()).unwrap_or_default()
    }

    /// Whether a record has everything that a deactivation sets.
    pub(super) fn has_what_is_set(&self, v2: &Document) -> bool {
        self.sets().iter().all(|(name, value)| v2.get(name) == Some(value))
    }
}
