//! The census before the start: which records would collide with records that
//! the target already has, and which the mapping refuses.

use std::collections::BTreeSet;

use shearwater_core::absorb::Shapes;
use shearwater_core::lifecycle::absorb::Census;
use shearwater_core::query::{Filter, Keyset, ListQuery};
use shearwater_core::store::{Fetched, Image, Side, Store};
use shearwater_core::{Document, Key, Value};

use super::meeting::{holders, only_own};
use super::references::Lookups;
use super::{BATCH, Fault};

/// The note with the census's list.
pub const CENSUS_NOTE: &str = "absorb-census";

/// Collisions that are listed by key; all are counted.
const LISTED_MAX: usize = 1_000;

/// One collision, for the list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Collision {
    /// The source record's key.
    pub key: String,
    /// The target's field; for a record that the mapping refuses, where and its code.
    pub field: String,
    /// What becomes of it: `refuse`, or the word of the rule that settles it.
    #[serde(default = "refuse")]
    pub becomes: String,
}

fn refuse() -> String {
    shearwater_core::spec::Conflict::Refuse.word().to_owned()
}

/// What a census found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The counts.
    pub census: Census,
    /// The first collisions.
    pub listed: Vec<Collision>,
    /// Keys of the target's own records that one of the source's becomes one with.
    met: BTreeSet<Key>,
}

impl Found {
    fn add(&mut self, key: &Key, field: &str, becomes: &str) {
        match self.census.collisions.iter_mut().find(|(name, _)| name == field) {
            Some((_, count)) => *count += 1,
            None => self.census.collisions.push((field.to_owned(), 1)),
        }
        self.list(key, field, becomes);
    }

    fn list(&mut self, key: &Key, field: &str, becomes: &str) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(Collision { key: key.to_text(), field: field.to_owned(), becomes: becomes.to_owned() });
        }
    }
}

/// A record of the source as it would be in the target.
struct Wanted {
    from: Key,
    /// `None`: it is assigned, one that nobody has.
    key: Option<Key>,
    v2: Document,
}

/// Looks at records of the source and for what the target has of them already.
pub struct Looking<'a> {
    /// What is looked up, as far as that can be done already.
    pub lookups: &'a Lookups,
    /// The compiled rules.
    pub shapes: &'a Shapes,
    /// The source.
    pub source: &'a dyn Store,
    /// Which of its records: before the flag is there, all of them.
    pub only: Filter,
    /// The target.
    pub target: &'a dyn Store,
}

impl Looking<'_> {
    /// Looks at every record; `go_on` is asked between two pages.
    pub async fn census(&self, mut go_on: impl FnMut() -> Result<(), Fault>) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut after = None;
        loop {
            go_on()?;
            let query = ListQuery {
                filter: self.only.clone(),
                order: vec![],
                after: after.map(|key| Keyset { values: vec![], key }),
                limit: BATCH,
            };
            let mut page = self.source.list(&query).await.map_err(Fault::source)?;
            let mut rows: Vec<&mut Image> = page.records.iter_mut().filter_map(|found| found.image.as_mut()).collect();
            self.lookups.refer(&mut rows).await?;
            after = page.records.last().map(|found| found.key.clone());
            let wanted: Vec<Wanted> =
                page.records.into_iter().filter_map(|record| self.wanted(record, &mut found)).collect();
            self.keys_taken(&wanted, &mut found).await?;
            self.values_taken(&wanted, &mut found).await?;
            if !page.more {
                return Ok(found);
            }
        }
    }

    fn wanted(&self, record: Fetched, found: &mut Found) -> Option<Wanted> {
        found.census.records += 1;
        let v1 = self.shapes.held(record.image?).v1;
        let mapped = self.shapes.forward_unreferred(&v1).and_then(|parted| {
            self.lookups.references.iter().try_for_each(|referred| referred.reference().is_found(&v1))?;
            self.shapes.joined(&v1)?;
            let key = match self.shapes.identity() {
                Some(_) => None,
                None => Some(self.shapes.key_of(Side::Target, &Image::of(parted.v2.clone()))?),
            };
            Ok(Wanted { from: record.key.clone(), key, v2: parted.v2 })
        });
        match mapped {
            Ok(wanted) => Some(wanted),
            Err(error) => {
                found.census.refused += 1;
                found.list(&record.key, &format!("{} ({})", error.path, error.code), &refuse());
                None
            }
        }
    }

    async fn keys_taken(&self, wanted: &[Wanted], found: &mut Found) -> Result<(), Fault> {
        let (wanted, keys): (Vec<&Wanted>, Vec<Key>) =
            wanted.iter().filter_map(|wanted| Some((wanted, wanted.key.clone()?))).unzip();
        let field = self.shapes.shape(Side::Target).key_fields().join(", ");
        let present = self.target.present(&keys).await.map_err(Fault::target)?;
        let becomes = if self.shapes.merge().is_some() { "merge" } else { "refuse" };
        for (wanted, _) in wanted.into_iter().zip(present).filter(|(_, present)| *present) {
            found.add(&wanted.from, &field, becomes);
        }
        Ok(())
    }

    async fn values_taken(&self, wanted: &[Wanted], found: &mut Found) -> Result<(), Fault> {
        for field in self.shapes.unique_fields() {
            let has_value = |wanted: &&Wanted| wanted.v2.get(field).is_some_and(|value| !value.is_null());
            let asked: Vec<&Wanted> = wanted.iter().filter(has_value).collect();
            let value_of = |wanted: &Wanted| wanted.v2.get(field).cloned();
            let values: Vec<Value> = asked.iter().filter_map(|wanted| value_of(wanted)).collect();
            let holders = holders(self.target, field, &values).await?;
            for wanted in asked {
                let Some(value) = value_of(wanted) else { continue };
                let has =
                    |found: &Fetched| found.image.as_ref().is_some_and(|image| image.record.get(field) == Some(&value));
                if !holders.iter().any(has) {
                    continue;
                }
                let becomes = match self.shapes.merge_field() == Some(field) {
                    // The first of the source's becomes one with the target's own, and the others find it taken.
                    true => match only_own(&holders, field, &value) {
                        Some(own) if found.met.insert(own.key.clone()) => "merge",
                        _ => "refuse",
                    },
                    false => self.shapes.becomes(field),
                };
                found.add(&wanted.from, field, becomes);
            }
        }
        Ok(())
    }
}
