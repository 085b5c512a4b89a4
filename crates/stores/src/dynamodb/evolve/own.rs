//! The table of our own: how many items had the field at the beginning, and where
//! a backfill is.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::FillCheckpoint;
use shearwater_core::store::Cursor;

use super::super::config::KeyType;
use super::super::error::Effect;
use super::super::provision::Blueprint;
use super::super::table::{KeyAttribute, Part, SIDECAR_PREFIX};
use super::super::value::Item;
use super::{Evolving, PREFIX, walk};

/// The table's key.
const ID: &str = "id";

/// The item that says how it began.
const START: &str = "start";

/// Characters of a table's name: DynamoDB's limit.
const NAME_CHARS_MAX: usize = 255;

/// The table's name, made from that of the sidecar of the same entity.
pub(super) fn name(sidecar: &str) -> String {
    let name = format!("{PREFIX}{}", sidecar.strip_prefix(SIDECAR_PREFIX).unwrap_or(sidecar));
    match name.len() > NAME_CHARS_MAX {
        true => format!("{PREFIX}{:016x}", Key::single(name.as_str()).hash()),
        false => name,
    }
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, "DynamoDB: our own table holds what this version does not write")
}

fn id_of(id: &str) -> Item {
    HashMap::from([(ID.to_owned(), AttributeValue::S(id.to_owned()))])
}

fn number(item: &Item, name: &str) -> StoreResult<u64> {
    let read = item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
    read.ok_or_else(unreadable)
}

impl Evolving {
    async fn get(&self, id: &str) -> StoreResult<Option<Item>> {
        let session = &self.store.session;
        let asked = session.call("reading our own table", Effect::Reads, || {
            let get = session.client.get_item().table_name(&self.own).set_key(Some(id_of(id)));
            get.consistent_read(true).send()
        });
        match asked.await {
            Ok(answer) => Ok(answer.item),
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    async fn put(&self, item: Item) -> StoreResult<()> {
        let session = &self.store.session;
        let asked = session.call("writing to our own table", Effect::Reads, || {
            session.client.put_item().table_name(&self.own).set_item(Some(item.clone())).send()
        });
        asked.await.map(drop).map_err(|failed| failed.error)
    }

    /// How many items had the field at the beginning; `None`: it has not begun.
    pub(super) async fn start(&self) -> StoreResult<Option<u64>> {
        self.get(START).await?.map(|item| number(&item, "before")).transpose()
    }

    /// Makes the table, and notes how many items have the field.
    pub(super) async fn begin(&self) -> StoreResult<()> {
        if self.start().await?.is_some() {
            return Ok(());
        }
        let before = walk::count_with(self).await?;
        if self.store.describe(&self.own).await?.is_none() {
            let id = KeyAttribute { name: ID.to_owned(), ty: KeyType::Text, part: Part::Partition, prefix: None };
            self.store.create(Blueprint { table: &self.own, key: vec![id], index: None }).await?;
        }
        let mut item = id_of(START);
        item.insert("before".to_owned(), AttributeValue::N(before.to_string()));
        self.put(item).await
    }

    /// Removes the table.
    pub(super) async fn end(&self) -> StoreResult<()> {
        let session = &self.store.session;
        let asked = session.call("removing our own table", Effect::Reads, || {
            session.client.delete_table().table_name(&self.own).send()
        });
        match asked.await {
            Ok(_) => self.store.wait_until_gone(&self.own).await,
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(failed) => Err(failed.error),
        }
    }

    /// Saves where a backfill is.
    pub(super) async fn save(&self, run: &str, at: &FillCheckpoint) -> StoreResult<()> {
        let mut item = id_of(&format!("run/{run}"));
        item.insert("read".to_owned(), AttributeValue::N(at.read.to_string()));
        item.insert("filled".to_owned(), AttributeValue::N(at.filled.to_string()));
        item.insert("done".to_owned(), AttributeValue::Bool(at.done));
        if let Some(place) = &at.cursor {
            item.insert("place".to_owned(), AttributeValue::S(place.0.clone()));
        }
        self.put(item).await
    }

    /// Where a backfill is.
    pub(super) async fn checkpoint(&self, run: &str) -> StoreResult<Option<FillCheckpoint>> {
        let Some(item) = self.get(&format!("run/{run}")).await? else { return Ok(None) };
        Ok(Some(FillCheckpoint {
            range: 0,
            cursor: item.get("place").and_then(|place| place.as_s().ok()).map(|place| Cursor(place.clone())),
            done: *item.get("done").and_then(|done| done.as_bool().ok()).ok_or_else(unreadable)?,
            read: number(&item, "read")?,
            filled: number(&item, "filled")?,
        }))
    }
}
