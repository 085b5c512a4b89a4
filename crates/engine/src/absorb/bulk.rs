//! Bulk updates: records are moved with fields that an administrator gives,
//! from a file's lines or by a rule, each by the same path as a client's update.

use shearwater_core::Document;
use shearwater_core::Key;
use shearwater_core::absorb::{Home, home_of};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::query::{Filter, Keyset, ListQuery};
use shearwater_core::store::Side;

use super::carry::stamp_of;
use super::place::Place;
use super::write::persist;
use super::{BATCH, Carrier, Fault};
use crate::records::{ClientChange, Condition, Edit, Etag, ServeError, Shape};

/// One line of a bulk update.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The record's key in the line's shape.
    pub key: Key,
    /// The shape that the key is of; fields are always those of v2.
    pub shape: Shape,
    /// The fields that it gets.
    pub fields: Document,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// It has moved (or, in a dry run, would).
    Yes,
    /// It lives in the target already.
    Already,
    /// It does not match the rule (any more).
    LeftAlone,
    /// It still lacks required fields, so that it stays.
    Lacks(Vec<String>),
    /// It cannot move.
    Failed(ServeError),
}

/// Whether anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only what would be done.
    DryRun,
    /// It is done.
    Apply,
}

/// A bulk update on its way.
pub struct Bulk<'a> {
    /// Moves the records.
    pub carrier: &'a Carrier,
    /// Whether anything is done.
    pub mode: Mode,
    /// Only records that match this in shape v2 are moved.
    pub only: Filter,
}

impl Bulk<'_> {
    /// Moves one record with the fields of a line.
    pub async fn line(&self, state: &State, line: &Line) -> Moved {
        match self.try_line(state, line).await {
            Ok(moved) => moved,
            Err(error) => Moved::Failed(error),
        }
    }

    async fn try_line(&self, state: &State, line: &Line) -> Result<Moved, ServeError> {
        let carrier = self.carrier;
        let shapes = &carrier.setup.shapes;
        let place = carrier.locate(state, line.shape, &line.key).await?;
        let (row, held) = match &place {
            Place::Source { row, held } => (row, held),
            Place::Target { .. } | Place::Deleted { .. } | Place::Own { .. } => return Ok(Moved::Already),
            Place::Nowhere { .. } => return Err(ServeError::NotFound),
        };
        let v2 = match shapes.forward(&held.v1) {
            Ok(parted) => parted.v2,
            // It cannot be shown in v2, whatever a line says of it.
            Err(error) => {
                if self.mode == Mode::Apply {
                    carrier.bury(&row.key, stamp_of(row), error.code, &error.to_string()).await?;
                }
                return Err(crate::records::unprocessable(error));
            }
        };
        if !self.only.matches(&v2) {
            return Ok(Moved::LeftAlone);
        }
        let with: Document = v2.iter().chain(line.fields.iter()).map(|(name, value)| (name, value.clone())).fold(
            Document::new(),
            |mut all, (name, value)| {
                all.set(name, value);
                all
            },
        );
        let lacks: Vec<String> = shapes.lacks(&with).into_iter().map(str::to_owned).collect();
        if !lacks.is_empty() {
            return Ok(Moved::Lacks(lacks));
        }
        let image = shearwater_core::store::Image::of(v2);
        let key = shapes.key_of(Side::Target, &image).map_err(crate::records::unprocessable)?;
        if self.mode == Mode::DryRun {
            return match carrier.obstacle(&with, &key).await? {
                None => Ok(Moved::Yes),
                Some(refused) => Err(super::write::refused(&refused.code, &refused.field, &refused.message)),
            };
        }
        let condition = match &self.only {
            Filter::All => Condition::None,
            filter => Condition::Matching(filter.clone()),
        };
        let change = [ClientChange { key, edit: Edit::MergePatch(line.fields.clone()), condition }];
        let done = persist(|| carrier.attempt(state, Shape::V2, &change, None)).await?;
        let Some(Some(got)) = done.records.first() else { return Ok(Moved::LeftAlone) };
        if matches!(got.etag, Etag::Stamp(version) if home_of(version) == Home::Target) {
            return Ok(Moved::Yes);
        }
        // The update is done, but the target may have refused the record when it came.
        match carrier.locate(state, line.shape, &line.key).await? {
            Place::Source { .. } => {
                let why = "the target refused it when it came; `dead-letters` says why";
                Err(super::write::refused("absorb/refused", "", why))
            }
            _ => Ok(Moved::Yes),
        }
    }

    /// The next records that live in the source, in the order of their keys,
    /// for an update by rule.
    pub async fn next_unmoved(&self, after: Option<Key>) -> Result<Vec<Key>, Fault> {
        self.carrier.next_in(Home::Source, after).await
    }
}

impl Carrier {
    /// The next records of a home, in the order of the source's keys.
    pub async fn next_in(&self, home: Home, after: Option<Key>) -> Result<Vec<Key>, Fault> {
        let query = ListQuery {
            filter: self.setup.shapes.lives_in(home),
            order: vec![],
            after: after.map(|key| Keyset { values: vec![], key }),
            limit: BATCH,
        };
        let source = self.setup.source().await.map_err(Fault::source)?;
        let page = source.list(&query).await.map_err(Fault::source)?;
        Ok(page.records.into_iter().map(|found| found.key).collect())
    }
}
