//! Fields that are taken out of other tables of the source. Those tables are
//! only read: no flag and no stamp is on them, and a record that has moved keeps
//! what it came with.

use std::collections::HashMap;
use std::sync::Arc;

use shearwater_core::spec::{Join, Joins};
use shearwater_core::store::{Image, Store};
use shearwater_core::{Document, Key, Value};

use super::{BATCH, Fault};

/// The joins of a migration with their tables.
#[derive(Default)]
pub struct Joined {
    joins: Joins,
    /// One for each join, in its order.
    tables: Vec<Arc<dyn Store>>,
}

/// What some rows named of one join, in the rows' order.
type Met = Vec<Option<Document>>;

impl Joined {
    /// Over the tables, opened with [`Joins::layout`] in the order of the joins.
    pub fn new(joins: Joins, tables: Vec<Arc<dyn Store>>) -> Joined {
        Joined { joins, tables }
    }

    /// Puts what rows of the source name beside them.
    pub(super) async fn look(&self, rows: &mut [&mut Image]) -> Result<(), Fault> {
        let met = self.met(rows).await?;
        for field in &self.joins.fields {
            for (at, row) in rows.iter_mut().enumerate() {
                field.look(row, self.taken(&met, &field.join, &field.column, at));
            }
        }
        Ok(())
    }

    /// A row that goes back: what would be looked up for it then is compared
    /// with what it has.
    pub(super) async fn settle(&self, row: &mut Image) -> Result<(), Fault> {
        let met = self.met(&[&mut *row]).await?;
        for field in &self.joins.fields {
            field.settle(row, self.taken(&met, &field.join, &field.column, 0));
        }
        Ok(())
    }

    /// The rows of the other tables that rows of the source name, join by join.
    async fn met(&self, rows: &[&mut Image]) -> Result<Vec<Met>, Fault> {
        let mut met: Vec<Met> = Vec::with_capacity(self.tables.len());
        for (join, table) in self.joins.tables.iter().zip(&self.tables) {
            let named: Vec<Option<Key>> =
                rows.iter().enumerate().map(|(at, row)| self.named(&met, join, row, at)).collect();
            let mut keys: Vec<Key> = named.iter().flatten().cloned().collect();
            keys.sort();
            keys.dedup();
            let mut found: HashMap<Key, Document> = HashMap::with_capacity(keys.len());
            for some in keys.chunks(BATCH) {
                let rows = table.fetch_many(some).await.map_err(Fault::source)?;
                found.extend(rows.into_iter().filter_map(|row| Some((row.key, row.image?.record))));
            }
            met.push(named.into_iter().map(|key| found.get(&key?).cloned()).collect());
        }
        Ok(met)
    }

    /// The key of a join's row that a row of the source names.
    fn named(&self, met: &[Met], join: &Join, row: &Image, at: usize) -> Option<Key> {
        let value = match &join.of {
            None => row.record.get(&join.by).cloned().unwrap_or(Value::Null),
            Some(of) => self.taken(met, of, &join.by, at),
        };
        (!value.is_null()).then(|| Key::single(value))
    }

    fn taken(&self, met: &[Met], join: &str, column: &str, at: usize) -> Value {
        let place = self.joins.tables.iter().position(|one| one.name == join);
        let row = place.and_then(|place| met.get(place)?.get(at)?.as_ref());
        row.and_then(|row| row.get(column)).cloned().unwrap_or(Value::Null)
    }
}
