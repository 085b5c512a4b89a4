//! Records of the source that are the target's own under another key: where the
//! spec says that a field's value makes them one, the record is assigned the
//! other's key, and they become one when it moves.

use std::collections::HashMap;

use shearwater_core::absorb::Origin;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, Keyset, ListQuery, Literal};
use shearwater_core::store::{Fetched, Store};
use shearwater_core::{Document, Key, Value};

use super::{BATCH, Crosswalk, Fault};

/// The records of the target that have one of these values in a field.
pub(super) async fn holders(target: &dyn Store, field: &str, values: &[Value]) -> Result<Vec<Fetched>, Fault> {
    let (mut found, mut after) = (Vec::new(), None);
    let literals: Vec<Literal> = values.iter().cloned().map(Literal::Typed).collect();
    while !literals.is_empty() {
        let filter = Filter::In { path: Path::field(field), literals: literals.clone() };
        let page =
            target.list(&ListQuery { filter, order: vec![], after, limit: BATCH }).await.map_err(Fault::target)?;
        after = page.records.last().map(|last| Keyset { values: vec![], key: last.key.clone() });
        found.extend(page.records);
        if !page.more || after.is_none() {
            break;
        }
    }
    Ok(found)
}

/// The value that a record has in a field, if it has one.
pub(super) fn value_in<'v>(record: &'v Document, field: &str) -> Option<&'v Value> {
    record.get(field).filter(|value| !value.is_null())
}

/// The one record among some that has a value, if it is the target's own: where
/// two have it, or the other came from the source too, nobody says which is meant.
pub(super) fn only_own<'f>(holders: &'f [Fetched], field: &str, value: &Value) -> Option<&'f Fetched> {
    let has = |found: &&Fetched| found.image.as_ref().and_then(|image| image.record.get(field)) == Some(value);
    let mut having = holders.iter().filter(has);
    let (one, other) = (having.next()?, having.next());
    let is_own = one.image.as_ref().is_some_and(|image| Origin::of(&image.parked).is_none());
    (other.is_none() && is_own).then_some(one)
}

impl Crosswalk {
    /// The keys of the target's own records that records of the source become
    /// one with, by the source's keys; each is given once.
    pub(super) async fn met(&self, keys: &[&Key]) -> Result<HashMap<Key, Key>, Fault> {
        let mut met = HashMap::new();
        let Some(field) = self.shapes.merge_field() else { return Ok(met) };
        let keys: Vec<Key> = keys.iter().map(|key| (*key).clone()).collect();
        let rows = self.source.fetch_many(&keys).await.map_err(Fault::source)?;
        let value_of = |row: Fetched| {
            let v2 = self.shapes.forward_unreferred(&self.shapes.held(row.image?).v1).ok()?.v2;
            Some((row.key, value_in(&v2, field)?.clone()))
        };
        let wanted: Vec<(Key, Value)> = rows.into_iter().filter_map(value_of).collect();
        let values: Vec<Value> = wanted.iter().map(|(_, value)| value.clone()).collect();
        let holders = holders(self.target.as_ref(), field, &values).await?;
        for (key, value) in wanted {
            let Some(own) = only_own(&holders, field, &value) else { continue };
            let is_free = !met.values().any(|taken| *taken == own.key) && self.source_of(&own.key).await?.is_none();
            if is_free && self.can_keep(&own.key) {
                met.insert(key, own.key.clone());
            }
        }
        Ok(met)
    }
}
