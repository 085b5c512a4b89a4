//! Lists with canonical meaning.
//!
//! Where the keys are all of one type that MongoDB orders as core does (texts,
//! ObjectIds), a list by key is read along the index of `_id` until the page is
//! full. Otherwise the collection is read once and the page's records are kept in
//! a heap: memory is that of one page either way.

use std::collections::BinaryHeap;

use mongodb::bson::{Bson, Document, doc};
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery, sort_bytes, sort_bytes_of};

use super::Inner;
use super::condition::implied;
use super::error::failure;
use super::fence::State;
use super::key::ID;
use super::record::Row;
use super::scan::{by_id_index, no_tombstones};
use super::session::filter;
use super::sidecar_of;
use crate::relational::page::{Ranked, check_limit};

/// One page.
pub(super) async fn list(inner: &Inner, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    let state = inner.state().await?;
    match direction(inner, query).await? {
        Some(direction) => in_order(inner, state, query, direction).await,
        None => top(inner, state, query).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Rising,
    Falling,
}

/// Along the index of `_id`, if it gives this order.
async fn direction(inner: &Inner, query: &ListQuery) -> StoreResult<Option<Direction>> {
    let [name] = inner.records.keys.names() else { return Ok(None) };
    if !query.is_binary() {
        return Ok(None);
    }
    let direction = match query.order.as_slice() {
        [] => Direction::Rising,
        [term, ..] if term.path.steps().len() == 1 && term.path.root() == name => {
            // The place to go on from must be that of its key.
            let is_its = query.after.as_ref().is_none_or(|place| place.values.first() == place.key.values().first());
            match (is_its, term.descending) {
                (false, _) => return Ok(None),
                (true, false) => Direction::Rising,
                (true, true) => Direction::Falling,
            }
        }
        _ => return Ok(None),
    };
    Ok(is_order_native(inner).await?.then_some(direction))
}

/// Whether the `_id`s are all texts or all ObjectIds, compared by their bytes.
async fn is_order_native(inner: &Inner) -> StoreResult<bool> {
    let collection = inner.server.collection(&inner.records.table);
    let texts = ("", Bson::Document(Document::new()));
    let lowest_id = mongodb::bson::oid::ObjectId::from_bytes([0; 12]);
    let beyond = |low: Option<Bson>, high: Option<Bson>| {
        let mut find = collection.find_one(Document::new()).hint(by_id_index()).projection(doc! { ID: 1 });
        if let Some(low) = low {
            find = find.min(doc! { ID: low });
        }
        if let Some(high) = high {
            find = find.max(doc! { ID: high });
        }
        async { find.await.map(|found| found.is_some()).map_err(|e| failure("listing", &e).of_a_repeatable().error) }
    };
    if super::inspect::has_collation(&inner.server, &inner.records.table).await? {
        return Ok(false);
    }
    // Bounds without an end leave the highest value out.
    let highest = collection.find_one(doc! { ID: { "$eq": Bson::MaxKey } }).await;
    if highest.map_err(|e| failure("listing", &e).of_a_repeatable().error)?.is_some() {
        return Ok(false);
    }
    let outside_texts = beyond(None, Some(texts.0.into())).await? || beyond(Some(texts.1), None).await?;
    if !outside_texts {
        return Ok(true);
    }
    // ObjectIds stand between bytes and booleans.
    let ids = (Bson::ObjectId(lowest_id), Bson::Boolean(false));
    Ok(!(beyond(None, Some(ids.0)).await? || beyond(Some(ids.1), None).await?))
}

fn condition(query: &ListQuery) -> Document {
    match implied(&query.filter) {
        Some(implied) => doc! { "$and": [no_tombstones(), implied] },
        None => no_tombstones(),
    }
}

/// A record that passed the filter.
struct Candidate {
    key: Key,
    row: Row,
}

impl Inner {
    /// The record of a row, if it matches.
    fn candidate(&self, query: &ListQuery, row: Row) -> StoreResult<Option<Candidate>> {
        let Some(record) = &row.record else { return Ok(None) };
        let record = record.as_ref().map_err(Clone::clone)?;
        let key = row.key.clone()?;
        Ok(query.filter.matches(record).then_some(Candidate { key, row }))
    }
}

/// Reads along the index until the page is full.
async fn in_order(
    inner: &Inner,
    state: Option<State>,
    query: &ListQuery,
    direction: Direction,
) -> StoreResult<ListPage> {
    let failed = |e| failure("listing", &e).of_a_repeatable().error;
    let collection = inner.server.collection(&inner.records.table);
    let mut find = collection.find(condition(query)).hint(by_id_index());
    if let Some(place) = &query.after {
        let Ok(id) = inner.records.keys.id_of(&place.key) else { return top(inner, state, query).await };
        let mut bound = super::raw::Doc::new();
        bound.put(ID, id.get());
        let bound = filter(bound.end())?;
        find = match direction {
            Direction::Rising => find.min(bound),
            Direction::Falling => find.max(bound),
        };
    }
    find = find.sort(doc! { ID: if direction == Direction::Rising { 1 } else { -1 } });
    let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
    let mut rows = inner.server.rows(find).await.map_err(failed)?;
    let mut page = ListPage { records: Vec::new(), more: false };
    while let Some(raw) = rows.next().await.map_err(failed)? {
        let Some(found) = inner.candidate(query, inner.records.read(raw))? else { continue };
        let place = place_of(query, &found);
        if after.as_ref().is_some_and(|after| place <= *after) {
            continue;
        }
        if page.records.len() == query.limit {
            page.more = true;
            break;
        }
        page.records.push(inner.records.fetched(found.key, Some(found.row), sidecar_of(state))?);
    }
    Ok(page)
}

fn place_of(query: &ListQuery, found: &Candidate) -> Vec<u8> {
    match &found.row.record {
        Some(Ok(record)) => sort_bytes_of(&query.order, &found.key, record),
        _ => Vec::new(),
    }
}

/// Reads everything that may match and keeps the page's records.
async fn top(inner: &Inner, state: Option<State>, query: &ListQuery) -> StoreResult<ListPage> {
    let failed = |e| failure("listing", &e).of_a_repeatable().error;
    let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
    let keep_max = query.limit.saturating_add(1);
    let mut heap: BinaryHeap<Ranked<Candidate>> = BinaryHeap::new();
    let collection = inner.server.collection(&inner.records.table);
    let mut rows = inner.server.rows(collection.find(condition(query))).await.map_err(failed)?;
    while let Some(raw) = rows.next().await.map_err(failed)? {
        let Some(candidate) = inner.candidate(query, inner.records.read(raw))? else { continue };
        let place = place_of(query, &candidate);
        let is_after = after.as_ref().is_none_or(|after| place > *after);
        let has_room = heap.len() < keep_max || heap.peek().is_some_and(|worst| place < worst.place);
        if is_after && has_room {
            heap.push(Ranked { place, candidate });
            if heap.len() > keep_max {
                heap.pop();
            }
        }
    }
    let mut ranked = heap.into_sorted_vec();
    let more = ranked.len() > query.limit;
    ranked.truncate(query.limit);
    let finish = |Candidate { key, row }| inner.records.fetched(key, Some(row), sidecar_of(state));
    let records = ranked.into_iter().map(|ranked| finish(ranked.candidate)).collect::<StoreResult<_>>()?;
    Ok(ListPage { records, more })
}
