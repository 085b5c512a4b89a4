//! Filling items one by one, each under the condition that it still has no value
//! and that what the value is made from is as it was read; and taking it out again.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::FillCheckpoint;
use shearwater_core::store::{ChunkMax, Image};

use super::super::action::Words;
use super::super::error::Effect;
use super::super::item::{RESERVED, write};
use super::super::scan::cursor_of;
use super::super::session::units;
use super::super::value::{Item, to_attribute};
use super::{Evolving, walk};

/// Items written at a time.
pub(super) const ITEMS_AT_ONCE: usize = 16;

/// Bytes of one page: DynamoDB's own limit.
const PAGE_BYTES: usize = 1024 * 1024;

/// The table's items as they are taken back, a page at a time.
const PAGE: ChunkMax = ChunkMax { records: 1_000, bytes: PAGE_BYTES };

/// Fills the next items, and saves where it is.
pub(super) async fn batch(
    of: &Evolving,
    run: &str,
    from: &FillCheckpoint,
    items_max: u64,
) -> StoreResult<FillCheckpoint> {
    let schema = of.store.schema().await?;
    let after = of.store.after(schema, from.cursor.as_ref())?;
    let max = ChunkMax { records: usize::try_from(items_max.max(1)).unwrap_or(usize::MAX), bytes: PAGE_BYTES };
    let (items, next) = walk::page(of, after, max).await?;
    let read = items.len() as u64;
    let due: Vec<Item> = items.into_iter().filter(|item| !walk::has_value(of, item)).collect();
    let due = stream::iter(due.into_iter().map(|item| fill(of, item)));
    let filled: Vec<bool> = due.buffer_unordered(ITEMS_AT_ONCE).try_collect().await?;
    let mut at = from.clone();
    at.read += read;
    at.filled += filled.iter().filter(|filled| **filled).count() as u64;
    at.cursor = next.as_ref().map(|place| cursor_of(schema, place)).transpose()?;
    at.done = at.cursor.is_none();
    of.save(run, &at).await?;
    Ok(at)
}

/// Gives an item its value; whether it was still as it was read.
async fn fill(of: &Evolving, item: Item) -> StoreResult<bool> {
    let (store, schema) = (&of.store, of.store.schema().await?);
    let table = &store.names.layout.table;
    let held = walk::held(of, &item).await?;
    let Some(image) = held.image.clone() else { return Ok(false) };
    let refused = |why: String| {
        let what = format!("DynamoDB: {table}: record {}: {why}", held.key.to_text());
        StoreError::new(StoreErrorKind::Refused { field: Some(of.name.clone()) }, what)
            .with_hint("mend the record, or write an expression that takes such a value, then `resume`")
    };
    let value = of.fill.value(&image.record).map_err(|error| refused(error.to_string()))?;
    let is_empty = match item.get(&of.name) {
        Some(_) => Words::new("attribute_type(#new, :null)").value(":null", AttributeValue::S("NULL".to_owned())),
        None => Words::new("attribute_not_exists(#new)"),
    };
    let is_empty = is_empty.name("#new", &of.name);
    if item.contains_key(RESERVED) {
        // What our attribute notes of the fields must go along with them.
        let mut record = image.record.clone();
        record.set(of.name.as_str(), value);
        let whole = write(&store.names, schema, &held.key, &Image { record, ..image }, None)?;
        return noted(of, &item, whole, store.same_content(schema, &held)?.and(is_empty)).await;
    }
    let value = to_attribute(&value).map_err(refused)?;
    let mut condition = is_empty.and(is_there(of).await?).value(":value", value);
    for (at, name) in of.fill.inputs().iter().enumerate() {
        let (placeholder, bound) = (format!("#i{at}"), format!(":i{at}"));
        condition = condition.and(match item.get(name) {
            Some(input) => {
                let same = Words::new(format!("{placeholder} = {bound}"));
                same.name(&placeholder, name).value(&bound, input.clone())
            }
            None => Words::new(format!("attribute_not_exists({placeholder})")).name(&placeholder, name),
        });
    }
    update(of, &item, "SET #new = :value", &condition).await
}

/// That the item is still there.
async fn is_there(of: &Evolving) -> StoreResult<Words> {
    let schema = of.store.schema().await?;
    let name = schema.key.first().map_or("", |attribute| attribute.name.as_str());
    Ok(Words::new("attribute_exists(#key)").name("#key", name))
}

/// Gives an item its field and what our attribute notes of it, as they are in `whole`.
/// Attributes that somebody has added since it was read stay.
async fn noted(of: &Evolving, item: &Item, mut whole: Item, condition: Words) -> StoreResult<bool> {
    let mut condition = condition.name("#new", &of.name).name("#r", RESERVED);
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for (placeholder, name, bound) in [("#new", of.name.as_str(), ":new"), ("#r", RESERVED, ":ours")] {
        match whole.remove(name) {
            Some(value) => {
                set.push(format!("{placeholder} = {bound}"));
                condition = condition.value(bound, value);
            }
            None => remove.push(placeholder),
        }
    }
    let clauses = [("SET", set.join(", ")), ("REMOVE", remove.join(", "))];
    let clauses = clauses.into_iter().filter(|(_, what)| !what.is_empty());
    let words: Vec<String> = clauses.map(|(word, what)| format!("{word} {what}")).collect();
    update(of, item, &words.join(" "), &condition).await
}

pub(super) async fn update(of: &Evolving, item: &Item, words: &str, condition: &Words) -> StoreResult<bool> {
    let (session, schema) = (&of.store.session, of.store.schema().await?);
    let key: Item = schema
        .key
        .iter()
        .filter_map(|attribute| Some((attribute.name.clone(), item.get(&attribute.name)?.clone())))
        .collect();
    session.writes.admit().await;
    let asked = session.call("filling an item", Effect::Reads, || {
        let update = session.client.update_item().table_name(&of.store.names.layout.table).set_key(Some(key.clone()));
        update
            .update_expression(words)
            .set_condition_expression(condition.text_if_any())
            .set_expression_attribute_names(condition.names_if_any())
            .set_expression_attribute_values(condition.values_if_any())
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    });
    match asked.await {
        Ok(answer) => {
            session.writes.used(units(answer.consumed_capacity.as_slice()));
            Ok(true)
        }
        Err(failed) if failed.answer.as_ref().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
            Ok(false)
        }
        Err(failed) => Err(failed.error),
    }
}

/// Takes the field out of every item, if none had it at the beginning.
pub(super) async fn take(of: &Evolving) -> StoreResult<()> {
    if of.start().await? != Some(0) {
        return Ok(());
    }
    let mut after = None;
    loop {
        let (items, next) = walk::page(of, after, PAGE).await?;
        let holding: Vec<Item> = items.into_iter().filter(|item| item.contains_key(&of.name)).collect();
        let taken = stream::iter(holding.into_iter().map(|item| take_one(of, item)));
        taken.buffer_unordered(ITEMS_AT_ONCE).try_collect::<()>().await?;
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn take_one(of: &Evolving, item: Item) -> StoreResult<()> {
    let (store, schema) = (&of.store, of.store.schema().await?);
    if !item.contains_key(RESERVED) {
        let condition = is_there(of).await?.name("#new", &of.name);
        return update(of, &item, "REMOVE #new", &condition).await.map(drop);
    }
    let held = walk::held(of, &item).await?;
    let Some(image) = held.image.clone() else { return Ok(()) };
    let mut record = image.record.clone();
    record.remove(&of.name);
    let whole = write(&store.names, schema, &held.key, &Image { record, ..image }, None)?;
    if noted(of, &item, whole, store.same_content(schema, &held)?).await? {
        return Ok(());
    }
    let what = format!("DynamoDB: {}: a record was written meanwhile", store.names.layout.table);
    Err(StoreError::new(StoreErrorKind::Unavailable, what).with_hint("it is tried again"))
}
