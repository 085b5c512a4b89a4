//! References that follow assigned keys: a row of the source names a record by
//! its old key, the target's record by the new one. Each is looked up in the
//! pairs of the migration that assigned it, in both directions.
//!
//! A record moves only after those that it names: moving them along would take
//! the fields that they require, which nobody has said, and the other
//! migration's lease and fence. What has no pair is refused by name.

use std::collections::HashMap;
use std::sync::Arc;

use shearwater_core::absorb::{Origin, Reference};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::store::{Fetched, Image, Store};
use shearwater_core::{Document, Key, Value};

use super::carry::Refused;
use super::claims::Claims;
use super::identity::Pairing;
use super::joins::Joined;
use super::place::Place;
use super::{BATCH, Carrier, Fault};
use crate::records::{ServeError, unprocessable};

/// The code of a reference that cannot be translated.
pub const REFERENCE: &str = "absorb/reference";

/// The code of a record that names one which has not moved.
const UNMOVED: &str = "absorb/unmoved-reference";

/// One reference with the stores in which it is looked up.
pub struct Referred {
    reference: Reference,
    pairing: Pairing,
    claims: Claims,
    records: Arc<dyn Store>,
}

/// What is looked up for records of the source, before they are shown in shape
/// v2 or move.
#[derive(Default)]
pub struct Lookups {
    /// The references to records whose keys were assigned.
    pub references: Vec<Referred>,
    /// The fields out of other tables of the source.
    pub joined: Joined,
}

impl Lookups {
    /// Looks up what rows of the source need; what is not found is left out.
    ///
    /// # Errors
    /// The pairs of another migration are not there, or a store is not.
    pub async fn refer(&self, rows: &mut [&mut Image]) -> Result<(), Fault> {
        for referred in &self.references {
            referred.refer(rows).await?;
        }
        self.joined.look(rows).await
    }
}

impl Referred {
    /// Over the stores of the pairs, of the claims on them, and of the records
    /// that are named, opened with the reference's layouts.
    pub fn new(reference: Reference, pairs: Arc<dyn Store>, claims: Claims, records: Arc<dyn Store>) -> Referred {
        let pairing = Pairing::new(reference.pairs().clone(), pairs);
        Referred { reference, pairing, claims, records }
    }

    /// What it is that is looked up.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// From here on the other migration's keys are needed.
    pub(super) async fn claim(&self, migration: &str) -> Result<(), Fault> {
        match self.reference.is_own() {
            true => Ok(()),
            false => self.claims.make(migration).await.map_err(Fault::target),
        }
    }

    /// They are needed no more.
    pub(super) async fn give_up(&self, migration: &str) -> Result<(), Fault> {
        match self.reference.is_own() {
            true => Ok(()),
            false => self.claims.give_up(migration).await.map_err(Fault::target),
        }
    }

    async fn refer(&self, rows: &mut [&mut Image]) -> Result<(), Fault> {
        let reference = &self.reference;
        let found = self.known(self.named(rows)).await?;
        for row in rows.iter_mut() {
            let value = match (reference.strayed(row), reference.named(row)) {
                (Some(own), _) => Some(own.clone()),
                (None, Some(named)) => found.get(&named).cloned(),
                (None, None) => None,
            };
            reference.set(row, value);
        }
        Ok(())
    }

    /// The keys of the source that rows name, each once.
    fn named(&self, rows: &[&mut Image]) -> Vec<Key> {
        let named = rows.iter().filter(|row| self.reference.strayed(row).is_none());
        let mut keys: Vec<Key> = named.filter_map(|row| self.reference.named(row)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The keys in the target of keys of the source, of those that have one.
    async fn known(&self, keys: Vec<Key>) -> Result<HashMap<Key, Value>, Fault> {
        let mut known = HashMap::with_capacity(keys.len());
        for some in keys.chunks(BATCH) {
            let found = self.pairing.known(some).await.map_err(|error| self.unprepared(error))?;
            for (key, found) in some.iter().zip(found) {
                if let Some(value) = found.and_then(|key| key.values().first().cloned()) {
                    known.insert(key.clone(), value);
                }
            }
        }
        Ok(known)
    }

    /// The source's key of a record of the target; `None`: it is one of the target's own.
    async fn source_of(&self, value: &Value) -> Result<Option<Key>, Fault> {
        self.pairing.source_of(&Key::single(value.clone())).await.map_err(|error| self.unprepared(error))
    }

    /// Whether a record that is named lives in the target.
    async fn has_come(&self, value: &Value) -> Result<bool, Fault> {
        let found = self.records.fetch(&Key::single(value.clone())).await.map_err(Fault::target)?;
        let Some(image) = found.image else { return Ok(false) };
        if Origin::of(&image.parked).is_some() || self.source_of(value).await?.is_none() {
            return Ok(true);
        }
        // Somebody of the target's own took the number, unless nothing tells
        // origins any more: that migration is complete.
        Ok(self.records.fence().await.map_err(Fault::target)?.is_none())
    }

    fn unprepared(&self, error: StoreError) -> Fault {
        let rule = self.reference.rule();
        Fault::target(match error.kind {
            StoreErrorKind::NotFound => {
                let message = format!(
                    "the target has no keys of migration \"{}\", by which \"{}\" is looked up",
                    rule.migration, rule.field
                );
                StoreError::new(StoreErrorKind::NotFound, message).with_hint(
                    "prepare that migration first; after its end they are there if its [identity] says keep = true",
                )
            }
            _ => error,
        })
    }
}

impl Carrier {
    /// Looks up the references of rows of the source. What a record of this
    /// migration's own is named by has its key assigned now, if it has none.
    pub(super) async fn refer(&self, rows: &mut [&mut Image]) -> Result<(), Fault> {
        for referred in self.setup.lookups.references.iter().filter(|referred| referred.reference.is_own()) {
            let Some(crosswalk) = &self.setup.crosswalk else { continue };
            let named = referred.named(rows);
            let known = referred.known(named.clone()).await?;
            let unknown: Vec<Key> = named.into_iter().filter(|key| !known.contains_key(key)).collect();
            let there = self.setup.plain.present(&unknown).await.map_err(Fault::source)?;
            let there: Vec<Key> = unknown.into_iter().zip(there).filter_map(|(key, is)| is.then_some(key)).collect();
            crosswalk.assign(&there).await?;
        }
        self.setup.lookups.refer(rows).await
    }

    /// Brings the row of a moved record to the references that its record has
    /// in the target now.
    pub(super) async fn follow(&self, v1: &mut Image, v2: &Document) -> Result<(), Fault> {
        for referred in self.setup.lookups.references.iter() {
            let reference = &referred.reference;
            let now = reference.in_target(v2);
            if now == reference.found(v1) && reference.is_as_named(v1) {
                continue;
            }
            let named = match now {
                Some(value) => referred.source_of(value).await?,
                None => None,
            };
            reference.follow(v1, now, named);
        }
        for field in &self.setup.shapes.joins().fields {
            field.follow(v1, v2);
        }
        Ok(())
    }

    /// A record in shape v1 whose row in the source is gone, after the end.
    pub(super) async fn alone(&self, v2: &Document) -> Result<Image, Fault> {
        let mut v1 = self.setup.shapes.alone(v2)?;
        for referred in self.setup.lookups.references.iter() {
            referred.reference.set(&mut v1, None);
        }
        self.follow(&mut v1, v2).await?;
        self.setup.shapes.sayable(&v1)?;
        Ok(v1)
    }

    /// What the source's row of a record says when the record is written in
    /// shape v2: the row with the references of `v2`, and what only it holds.
    ///
    /// # Errors
    /// `absorb/reference`: v1 could not show what the record would name.
    pub(super) async fn named_by(&self, place: &Place, v2: &Document) -> Result<(Image, Document), ServeError> {
        let shapes = &self.setup.shapes;
        let (mut v1, is_new) = match place {
            Place::Source { held, .. } | Place::Target { held, .. } | Place::Deleted { held, .. } => {
                (held.v1.clone(), false)
            }
            Place::Nowhere { .. } | Place::Own { .. } => (Image::default(), true),
        };
        let before = shapes.sayable(&v1).is_ok();
        self.follow(&mut v1, v2).await?;
        if before {
            shapes.sayable(&v1).map_err(unprocessable)?;
        }
        let rest = match is_new {
            true => v1.record.clone(),
            false => shapes.forward_unreferred(&v1).map_err(unprocessable)?.rest,
        };
        Ok((v1, rest))
    }

    /// Refuses a record of the target that would name one which has not moved.
    pub(super) async fn may_name(&self, v2: &Document, found: &Fetched) -> Result<(), ServeError> {
        let before = found.image.as_ref().map(|image| &image.record);
        match self.unmoved(v2, before, &found.key).await? {
            Some(refused) => Err(super::write::refused(&refused.code, &refused.field, &refused.message)),
            None => Ok(()),
        }
    }

    /// Why a record cannot be in the target with the references that it has
    /// there now but had not `before`.
    pub(super) async fn unmoved(
        &self,
        v2: &Document,
        before: Option<&Document>,
        key: &Key,
    ) -> Result<Option<Refused>, Fault> {
        for referred in self.setup.lookups.references.iter() {
            let (reference, rule) = (&referred.reference, referred.reference.rule());
            let Some(value) = reference.in_target(v2) else { continue };
            let is_as_before = before.and_then(|before| reference.in_target(before)) == Some(value);
            let is_itself = reference.is_own() && key.values() == std::slice::from_ref(value);
            if is_as_before || is_itself || referred.has_come(value).await? {
                continue;
            }
            let message = format!(
                "the record that it names is not in table {} yet: move it first, in migration \"{}\"",
                rule.table, rule.migration
            );
            return Ok(Some(Refused { code: UNMOVED.to_owned(), field: rule.field.clone(), message }));
        }
        Ok(None)
    }
}
