//! Lists with canonical meaning.
//!
//! Where an index gives the order ([`super::along`]), a page is read along it
//! until it is full ([`super::walk`]). Otherwise what the filter lets through is
//! read once and the page's records are kept in a heap: memory is that of one
//! page either way.

use std::collections::BinaryHeap;

use mongodb::bson::{Document, doc};
use mongodb::options::Collation;
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery, sort_bytes, sort_bytes_of};

use super::condition::implied;
use super::error::failure;
use super::fence::State;
use super::record::Row;
use super::scan::no_tombstones;
use super::{Inner, along, sidecar_of, walk};
use crate::relational::page::{Ranked, check_limit};

/// One page.
pub(super) async fn list(inner: &Inner, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    let state = inner.state().await?;
    if let Ok(along) = along::of(inner, query).await?
        && let Some(page) = walk::page(inner, state, query, &along).await?
    {
        return Ok(page);
    }
    general(inner, state, query).await
}

/// A record that passed the filter.
pub(super) struct Candidate {
    key: Key,
    row: Row,
}

/// What a document of a list is.
pub(super) enum Found {
    /// None of the page's.
    Not,
    /// Not what stands there.
    Odd,
    One(Box<Ranked<Candidate>>),
}

impl Inner {
    /// The record of a row, if it matches.
    pub(super) fn candidate(&self, query: &ListQuery, row: Row) -> StoreResult<Option<Candidate>> {
        let Some(record) = &row.record else { return Ok(None) };
        let record = record.as_ref().map_err(Clone::clone)?;
        let key = row.key.clone()?;
        Ok(query.filter.matches(record).then_some(Candidate { key, row }))
    }
}

/// Where a record stands in a list.
pub(super) fn place_of(query: &ListQuery, found: &Candidate) -> Vec<u8> {
    match &found.row.record {
        Some(Ok(record)) => sort_bytes_of(&query.order, &found.key, record),
        _ => Vec::new(),
    }
}

/// A page while it is being filled, in order.
pub(super) struct Page {
    limit: usize,
    found: Vec<Ranked<Candidate>>,
    more: bool,
}

impl Page {
    pub(super) fn new(limit: usize) -> Page {
        Page { limit, found: Vec::new(), more: false }
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn last(&self) -> Option<&Ranked<Candidate>> {
        self.found.last()
    }

    /// Whether it had room.
    pub(super) fn push(&mut self, found: Ranked<Candidate>) -> bool {
        self.more = self.found.len() == self.limit;
        if !self.more {
            self.found.push(found);
        }
        !self.more
    }

    pub(super) fn finish(self, inner: &Inner, state: Option<State>) -> StoreResult<ListPage> {
        let finish = |Candidate { key, row }| inner.records.fetched(key, Some(row), sidecar_of(state));
        let records = self.found.into_iter().map(|ranked| finish(ranked.candidate)).collect::<StoreResult<_>>()?;
        Ok(ListPage { records, more: self.more })
    }
}

/// So many records, the first of all that are offered.
pub(super) struct Top {
    max: usize,
    heap: BinaryHeap<Ranked<Candidate>>,
}

impl Top {
    pub(super) fn new(max: usize) -> Top {
        Top { max, heap: BinaryHeap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn offer(&mut self, found: Ranked<Candidate>) {
        let has_room = self.heap.len() < self.max || self.heap.peek().is_some_and(|worst| found.place < worst.place);
        if has_room {
            self.heap.push(found);
            if self.heap.len() > self.max {
                self.heap.pop();
            }
        }
    }

    pub(super) fn into_sorted(self) -> Vec<Ranked<Candidate>> {
        self.heap.into_sorted_vec()
    }
}

fn condition(query: &ListQuery) -> Document {
    match implied(&query.filter) {
        Some(implied) => doc! { "$and": [no_tombstones(), implied] },
        None => no_tombstones(),
    }
}

/// Reads everything that may match and keeps the page's records.
async fn general(inner: &Inner, state: Option<State>, query: &ListQuery) -> StoreResult<ListPage> {
    let failed = |e| failure("listing", &e).of_a_repeatable().error;
    let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
    let mut top = Top::new(query.limit.saturating_add(1));
    let collection = inner.server.collection(&inner.records.table);
    // Texts compare by their bytes, whatever the collection's own order is.
    let by_bytes = Collation::builder().locale("simple").build();
    let mut rows = inner.server.rows(collection.find(condition(query)).collation(by_bytes)).await.map_err(failed)?;
    while let Some(raw) = rows.next().await.map_err(failed)? {
        let Some(candidate) = inner.candidate(query, inner.records.read(raw))? else { continue };
        let place = place_of(query, &candidate);
        if after.as_ref().is_none_or(|after| place > *after) {
            top.offer(Ranked { place, candidate });
        }
    }
    let mut page = Page::new(query.limit);
    for ranked in top.into_sorted() {
        page.push(ranked);
    }
    page.finish(inner, state)
}
