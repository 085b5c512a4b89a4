//! Looking at every item of the entity, from the capacity for background reads.

use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::store::ChunkMax;

use super::super::item::{Held, read};
use super::super::scan::{Columns, Segment};
use super::super::value::Item;
use super::Evolving;

/// Items and bytes of one page: DynamoDB's own limit of bytes.
const PAGE: ChunkMax = ChunkMax { records: 1_000, bytes: 1024 * 1024 };

/// Keys that are named as standing in the way.
const KEYS_MAX: usize = 20;

/// A page of items, and the place to go on from.
pub(super) async fn page(of: &Evolving, after: Option<Item>, max: ChunkMax) -> StoreResult<(Vec<Item>, Option<Item>)> {
    let store = &of.store;
    let schema = store.schema().await?;
    store.session.reads.admit().await;
    let page = store.scan_page(schema, Segment::ALL, after, store.items_max(max), Columns::All).await?;
    store.learn_item_bytes(&page.items);
    Ok((page.items, page.next))
}

/// An item as the record that it is.
pub(super) async fn held(of: &Evolving, item: &Item) -> StoreResult<Held> {
    let schema = of.store.schema().await?;
    read(&of.store.names, schema, item.clone()).map_err(|unreadable| unreadable.error)
}

/// Whether an item has a value.
pub(super) fn has_value(of: &Evolving, item: &Item) -> bool {
    item.get(&of.name).is_some_and(|value| !value.is_null())
}

/// Looks at items until there are no more, or somebody has seen enough.
async fn each(of: &Evolving, mut see: impl FnMut(&Item) -> bool) -> StoreResult<()> {
    let mut after = None;
    loop {
        let (items, next) = page(of, after, PAGE).await?;
        if !items.iter().all(&mut see) || next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// How many items have no value.
pub(super) async fn count_without(of: &Evolving) -> StoreResult<u64> {
    let mut count = 0;
    each(of, |item| {
        count += u64::from(!has_value(of, item));
        true
    })
    .await?;
    Ok(count)
}

/// How many items have the field, be it null.
pub(super) async fn count_with(of: &Evolving) -> StoreResult<u64> {
    let mut count = 0;
    each(of, |item| {
        count += u64::from(item.contains_key(&of.name));
        true
    })
    .await?;
    Ok(count)
}

/// Some keys of items without a value.
pub(super) async fn without(of: &Evolving) -> StoreResult<Vec<Key>> {
    let schema = of.store.schema().await?;
    let mut keys = Vec::new();
    each(of, |item| {
        if !has_value(of, item) {
            keys.extend(schema.key_in(item));
        }
        keys.len() < KEYS_MAX
    })
    .await?;
    Ok(keys)
}

/// How many items have a value that the fill does not give.
pub(super) async fn count_chosen(of: &Evolving) -> StoreResult<u64> {
    let schema = of.store.schema().await?;
    let mut count = 0;
    each(of, |item| {
        if has_value(of, item) {
            let held = read(&of.store.names, schema, item.clone()).ok();
            let record = held.and_then(|held| held.image).map(|image| image.record);
            let as_filled = record
                .is_some_and(|record| of.fill.value(&record).is_ok_and(|value| record.get(&of.name) == Some(&value)));
            count += u64::from(!as_filled);
        }
        true
    })
    .await?;
    Ok(count)
}
