//! A client's changes, applied in its shape to the records as they are, and made
//! ready for the authority.

use std::borrow::Cow;
use std::collections::HashMap;

use shearwater_core::Key;
use shearwater_core::store::{Change, Expect, Fetched, Image, Side};
use shearwater_core::value::hash;

use crate::records::edit::{self, Unsent};
use crate::records::idempotency::Outcome;
use crate::records::{
    ClientChange, Condition, DataPath, Edit, Etag, Got, Protection, ServeError, Shape, etag_of, unprocessable,
};

/// A client's changes, ready for the authority.
pub(super) struct Prepared {
    pub(super) changes: Vec<Change>,
    /// For each client change: what it does, and its place in `changes` unless
    /// its record is left alone.
    pub(super) outcomes: Vec<(Outcome, Option<usize>)>,
    /// For each client change: what it deletes.
    pub(super) deleted: Vec<Option<Got>>,
    /// For each change: whether its key was dirty before.
    pub(super) was_dirty: Vec<bool>,
    /// Whether the authority has a sidecar.
    pub(super) stamped: bool,
}

impl DataPath {
    /// Reads what the changes are about and applies them in the client's shape.
    pub(super) async fn prepare(
        &self,
        shape: Shape,
        authority: Side,
        changes: &[ClientChange],
    ) -> Result<Prepared, ServeError> {
        let keys: Vec<Key> = changes
            .iter()
            .map(|change| {
                self.key_across(shape.side(), authority, &change.key).map(Cow::into_owned).map_err(unprocessable)
            })
            .collect::<Result<_, _>>()?;
        let fetched = self.setup.store(authority).fetch_many(&keys).await?;
        let mut prepared = Prepared {
            changes: Vec::with_capacity(changes.len()),
            outcomes: Vec::with_capacity(changes.len()),
            deleted: Vec::with_capacity(changes.len()),
            was_dirty: Vec::with_capacity(changes.len()),
            stamped: fetched.iter().any(|f| f.stamp.is_some()),
        };
        // What earlier changes of this write made of a key.
        let mut written: HashMap<Key, Option<Image>> = HashMap::new();
        for (change, fetched) in changes.iter().zip(fetched) {
            let found = match written.get(&fetched.key) {
                Some(image) => Found { image: image.clone(), expect: Expect::Any, etag: None, fetched: &fetched },
                None => Found::of(&fetched),
            };
            self.prepare_one(shape, authority, change, found, &mut prepared)?;
            for change in &prepared.changes[prepared.changes.len().saturating_sub(2)..] {
                written.insert(change.key.clone(), change.image.clone());
            }
        }
        Ok(prepared)
    }

    fn prepare_one(
        &self,
        shape: Shape,
        authority: Side,
        change: &ClientChange,
        found: Found<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), ServeError> {
        let mapping = &self.setup.mapping;
        let layout = match shape {
            Shape::V1 => mapping.source(),
            Shape::V2 => mapping.target(),
        };
        let other_shape = authority != shape.side();
        let current = match &found.image {
            Some(image) if other_shape => Some(mapping.towards(shape.side(), image).map_err(unprocessable)?),
            other => other.clone(),
        };
        if meets(change, found.etag, current.as_ref())? == Meets::LeaveAlone {
            prepared.leave_alone(change);
            return Ok(());
        }
        let unsent = if self.without(Protection::KeepOtherShape) { Unsent::Wipe } else { Unsent::Keep };
        let edited = edit::apply(layout, &change.key, current.as_ref(), &change.edit, unsent)?;
        let created = found.image.is_none();
        let Some(edited) = edited else {
            let outcome = Outcome { key: change.key.clone(), record: None, created: false };
            let delete = Change { key: found.fetched.key.clone(), image: None, expect: found.expect };
            prepared.add(outcome, found.fetched, delete);
            if let (Some(deleted), Some(current)) = (prepared.deleted.last_mut(), current) {
                let etag = found.etag.unwrap_or_else(|| etag_of(None, &current));
                *deleted = Some(Got { key: change.key.clone(), record: current.record, etag });
            }
            return Ok(());
        };
        let mut image = match (other_shape, authority) {
            (true, _) => mapping.towards(authority, &edited).map_err(unprocessable)?,
            // There and back: corrections that the edit made void go, and what
            // the mapping computes is computed again, so that the target holds
            // exactly what forward makes of the source that follows.
            (false, Side::Target) => {
                let v1 = mapping.reverse(&edited).map_err(unprocessable)?;
                mapping.forward(&v1).map_err(unprocessable)?
            }
            (false, Side::Source) => edited.clone(),
        };
        // Beside a sidecar a store notes what it would not give back by itself.
        if !prepared.stamped {
            image.record = self.setup.store(authority).kept(image.record);
        }
        if self.without(Protection::Park) {
            image.parked = shearwater_core::Document::new();
        }
        let key = mapping.key_of(authority, &image).map_err(unprocessable)?;
        // The client sees what a read will show: computed fields may differ from what it sent.
        let shown = match other_shape {
            true => mapping.towards(shape.side(), &image).map_err(unprocessable)?,
            false => image.clone(),
        };
        let outcome = Outcome {
            key: mapping.key_of(shape.side(), &shown).map_err(unprocessable)?,
            record: Some(shown.record),
            created,
        };
        if key == found.fetched.key {
            prepared.add(outcome, found.fetched, Change { key, image: Some(image), expect: found.expect });
            return Ok(());
        }
        if found.image.is_some() {
            let old = Change { key: found.fetched.key.clone(), image: None, expect: found.expect };
            prepared.changes.push(old);
            prepared.was_dirty.push(found.fetched.dirty);
        }
        prepared.add(outcome, found.fetched, Change { key, image: Some(image), expect: Expect::Absent });
        Ok(())
    }
}

/// A record as a change finds it.
struct Found<'a> {
    image: Option<Image>,
    expect: Expect,
    /// `None` when there is no record, or an earlier change of this write made it.
    etag: Option<Etag>,
    fetched: &'a Fetched,
}

impl Found<'_> {
    fn of(fetched: &Fetched) -> Found<'_> {
        let etag = fetched.image.as_ref().map(|image| etag_of(fetched.stamp, image));
        let expect = match (&fetched.image, fetched.stamp) {
            (None, _) => Expect::Absent,
            (Some(_), Some(stamp)) => Expect::Stamp(stamp),
            (Some(image), None) => Expect::Content(hash::document(&image.record)),
        };
        Found { image: fetched.image.clone(), expect, etag, fetched }
    }
}

impl Prepared {
    /// Whether the authority has a place for everything: fields of the other
    /// shape are parked in the sidecar.
    pub(super) fn can_be_kept(&self) -> Result<(), ServeError> {
        let images = self.changes.iter().filter_map(|change| change.image.as_ref());
        match images.map(|image| &image.parked).find(|parked| !self.stamped && !parked.is_empty()) {
            None => Ok(()),
            Some(parked) => Err(ServeError::Unprocessable {
                code: "phase/nowhere-to-park".to_owned(),
                field: parked.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
                message: "the store that decides now cannot hold it, and the migration has not started".to_owned(),
                hint: Some("send it when the migration has started, or leave it out until then".to_owned()),
            }),
        }
    }

    fn add(&mut self, outcome: Outcome, fetched: &Fetched, change: Change) {
        self.outcomes.push((outcome, Some(self.changes.len())));
        self.deleted.push(None);
        self.changes.push(change);
        self.was_dirty.push(fetched.dirty);
    }

    fn leave_alone(&mut self, change: &ClientChange) {
        self.outcomes.push((Outcome { key: change.key.clone(), record: None, created: false }, None));
        self.deleted.push(None);
    }

    /// Where no sidecar is, fields that only the other shape has have no place.
    pub(super) fn nothing_parked(&self) -> Result<(), ServeError> {
        let parked =
            self.changes.iter().filter_map(|change| change.image.as_ref()).find_map(|i| i.parked.iter().next());
        match parked {
            None => Ok(()),
            Some((name, _)) => Err(ServeError::Unprocessable {
                code: "record/no-sidecar".to_owned(),
                field: name.to_owned(),
                message: "the store cannot hold this field while no migration is under way".to_owned(),
                hint: Some("it can be written from the start of the migration on".to_owned()),
            }),
        }
    }

    /// Whether a change is the second half of a key change.
    pub(super) fn moves_onto(&self, change: usize) -> bool {
        self.outcomes.iter().any(|(outcome, at)| *at == Some(change) && !outcome.created)
            && self.changes.get(change).is_some_and(|change| change.expect == Expect::Absent)
    }
}

/// What a change's condition says about the record that it meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    Change,
    LeaveAlone,
}

/// Whether a change is to be made to the record that it meets, which in the
/// client's shape is `current`.
pub(crate) fn meets(change: &ClientChange, etag: Option<Etag>, current: Option<&Image>) -> Result<Meets, ServeError> {
    let holds = match &change.condition {
        Condition::None => true,
        Condition::Match(etags) => etag.is_some_and(|etag| etags.contains(&etag)),
        Condition::Exists => current.is_some(),
        Condition::Absent => current.is_none(),
        Condition::Matching(filter) if !current.is_some_and(|image| filter.matches(&image.record)) => {
            return Ok(Meets::LeaveAlone);
        }
        Condition::Matching(_) => true,
    };
    match (&change.edit, current) {
        _ if !holds => Err(ServeError::PreconditionFailed { current: etag }),
        (Edit::InsertIfAbsent(_), Some(_)) => Ok(Meets::LeaveAlone),
        _ => Ok(Meets::Change),
    }
}
