//! Lists over several stores in one order: a k-way merge over canonical sort
//! keys.
//!
//! There is one order for the whole list, that of the client's shape, whatever
//! each store can sort by itself. A store is asked in the longest part of that
//! order that it can express, and read until nothing that it has left can come
//! before the page's last record. A place in the list is a place in every
//! store, so records that change stores between two pages keep theirs.

use std::collections::{BinaryHeap, HashMap};

use crate::Key;
use crate::limits::LIST_RECORDS_MAX;
use crate::path::Path;
use crate::query::{
    Collation, CompareOp, Filter, IsWhat, Keyset, ListQuery, Literal, OrderTerm, keyset_of, sort_bytes, sort_bytes_of,
};
use crate::value::Document;

/// Records asked of a store at once where its order is not the list's: more
/// than a page, because most of them may belong to later pages.
const LOOKAHEAD: usize = 500;

/// A list as a client asks for it, in its shape.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which records.
    pub filter: Filter,
    /// In which order; the key of the client's shape breaks ties.
    pub order: Vec<OrderTerm>,
    /// Only records after this place.
    pub after: Option<Keyset>,
    /// Records in the page.
    pub limit: usize,
}

/// What of the client's shape a store can express.
pub trait Across {
    /// The store's path that holds exactly what this one holds.
    fn path(&self, path: &Path) -> Option<Path>;

    /// The store's key of a key, if there is one.
    fn key(&self, key: &Key) -> Option<Key>;

    /// Whether the store's keys are in the order of the client's.
    fn keys_in_order(&self) -> bool;
}

/// A store that has the client's own shape.
#[derive(Clone, Copy, Debug)]
pub struct Same;

impl Across for Same {
    fn path(&self, path: &Path) -> Option<Path> {
        Some(path.clone())
    }

    fn key(&self, key: &Key) -> Option<Key> {
        Some(key.clone())
    }

    fn keys_in_order(&self) -> bool {
        true
    }
}

/// One record at its place.
#[derive(Clone, Debug)]
pub struct Row<T> {
    /// Bytes that compare as the list's order does.
    pub place: Vec<u8>,
    /// Its key in the client's shape.
    pub key: Key,
    /// The record in the client's shape.
    pub record: Document,
    /// What goes with it.
    pub item: T,
}

impl<T> PartialEq for Row<T> {
    fn eq(&self, other: &Row<T>) -> bool {
        self.place == other.place
    }
}

impl<T> Eq for Row<T> {}

impl<T> PartialOrd for Row<T> {
    fn partial_cmp(&self, other: &Row<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Row<T> {
    fn cmp(&self, other: &Row<T>) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

/// The reading of one store for one page: which query comes next, and which of
/// the records read so far the page may need.
#[derive(Debug)]
pub struct Reading<T> {
    ask: Ask,
    after: Option<Vec<u8>>,
    filter: Filter,
    order: Vec<OrderTerm>,
    /// How many terms of the list's order the store's order begins with.
    known: usize,
    /// Whether the store's order is the list's, key included.
    exact: bool,
    next: Next,
    lowest: BinaryHeap<Row<T>>,
}

/// What to ask next.
#[derive(Clone, Debug)]
enum Next {
    After(Option<Keyset>),
    Nothing,
}

impl<T> Reading<T> {
    /// A reading of a store for a page; `only` is what else must hold, in the
    /// store's own shape.
    pub fn begin(ask: &Ask, across: &dyn Across, only: Filter) -> Reading<T> {
        let order: Vec<OrderTerm> = ask
            .order
            .iter()
            .map_while(|term| Some(OrderTerm { path: across.path(&term.path)?, ..term.clone() }))
            .collect();
        let known = order.len();
        let exact = known == ask.order.len() && across.keys_in_order();
        let after = ask.after.as_ref().map(|place| sort_bytes(&ask.order, place));
        let place = ask
            .after
            .as_ref()
            .filter(|_| exact)
            .and_then(|place| Some(Keyset { values: place.values.clone(), key: across.key(&place.key)? }));
        let mut filters = vec![only, implied(&ask.filter, across)];
        if place.is_none() {
            let first = order.first().filter(|term| term.collation == Collation::Binary);
            filters.extend(ask.after.as_ref().and_then(|place| not_before(first?, place)));
        }
        filters.retain(|filter| *filter != Filter::All);
        let filter = if filters.is_empty() { Filter::All } else { Filter::And(filters) };
        let next = Next::After(place);
        Reading { ask: ask.clone(), after, filter, order, known, exact, next, lowest: BinaryHeap::new() }
    }

    /// Whether the store gives this list's order by itself; if not, a page
    /// costs more the more records there are.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The next query for the store; `None`: it has nothing more for this page.
    pub fn next(&self) -> Option<ListQuery> {
        let Next::After(after) = &self.next else { return None };
        let wanted = self.ask.limit + 1;
        let limit = match self.known == self.ask.order.len() && self.known > 0 {
            _ if self.exact => wanted,
            // All but the order of ties is the store's: the record after the page ends it.
            true => wanted + 1,
            false => wanted.max(LOOKAHEAD),
        };
        Some(ListQuery {
            filter: self.filter.clone(),
            order: self.order.clone(),
            after: after.clone(),
            limit: limit.min(LIST_RECORDS_MAX),
        })
    }

    /// Takes a record of the store, in the client's shape. Records come in the
    /// store's order.
    pub fn offer(&mut self, key: Key, record: Document, item: T) {
        let place = sort_bytes_of(&self.ask.order, &key, &record);
        if self.passed(&place, &record) {
            self.next = Next::Nothing;
            return;
        }
        if !self.ask.filter.matches(&record) || self.after.as_ref().is_some_and(|after| place <= *after) {
            return;
        }
        let is_full = self.lowest.len() > self.ask.limit;
        if is_full && self.lowest.peek().is_some_and(|highest| place >= highest.place) {
            return;
        }
        self.lowest.push(Row { place, key, record, item });
        if is_full {
            self.lowest.pop();
        }
    }

    /// Whether the page is full and every record from here on comes after it.
    fn passed(&self, place: &[u8], record: &Document) -> bool {
        let Some(highest) = self.lowest.peek().filter(|_| self.lowest.len() > self.ask.limit) else { return false };
        if self.exact {
            return place > highest.place.as_slice();
        }
        let none = Key::composite(Vec::new());
        sort_bytes_of(&self.ask.order[..self.known], &none, record) > highest.place
    }

    /// Ends one answer of the store: its last record in the store's own shape,
    /// and whether there are more after it.
    pub fn turn(&mut self, last: Option<(&Key, &Document)>, more: bool) {
        self.next = match (&self.next, last) {
            (Next::After(_), Some((key, record))) if more && !self.is_filled() => {
                Next::After(Some(keyset_of(&self.order, key, record)))
            }
            _ => Next::Nothing,
        };
    }

    fn is_filled(&self) -> bool {
        self.exact && self.lowest.len() > self.ask.limit
    }

    /// What the page may need of this store, in order; at most one record more than the page.
    pub fn rows(self) -> Vec<Row<T>> {
        self.lowest.into_sorted_vec()
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// The records in order.
    pub rows: Vec<Row<T>>,
    /// The place of the last one when there are more after it.
    pub next: Option<Keyset>,
}

/// Merges what stores gave for one page. A record that several have is taken
/// from the one that was read last, so the stores must stand in the order in
/// which they were read.
pub fn merge<T>(order: &[OrderTerm], limit: usize, read: Vec<Vec<Row<T>>>) -> Page<T> {
    let mut latest: HashMap<Vec<u8>, Row<T>> = HashMap::new();
    for row in read.into_iter().flatten() {
        latest.insert(row.key.order_bytes(), row);
    }
    let mut rows: Vec<Row<T>> = latest.into_values().collect();
    rows.sort();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| keyset_of(order, &last.key, &last.record));
    Page { rows, next }
}

/// The part of a filter that a store can express; every record that matches
/// the filter matches it too.
fn implied(filter: &Filter, across: &dyn Across) -> Filter {
    match filter {
        Filter::And(parts) => {
            let parts: Vec<Filter> =
                parts.iter().map(|part| implied(part, across)).filter(|part| *part != Filter::All).collect();
            if parts.is_empty() { Filter::All } else { Filter::And(parts) }
        }
        other => whole(other, across).unwrap_or(Filter::All),
    }
}

/// A filter in a store's paths, with the same meaning.
fn whole(filter: &Filter, across: &dyn Across) -> Option<Filter> {
    let all = |parts: &[Filter]| parts.iter().map(|part| whole(part, across)).collect::<Option<Vec<_>>>();
    Some(match filter {
        Filter::All => Filter::All,
        Filter::And(parts) => Filter::And(all(parts)?),
        Filter::Or(parts) => Filter::Or(all(parts)?),
        Filter::Not(part) => Filter::Not(Box::new(whole(part, across)?)),
        Filter::Compare { path, op, literal } => {
            Filter::Compare { path: across.path(path)?, op: *op, literal: literal.clone() }
        }
        Filter::In { path, literals } => Filter::In { path: across.path(path)?, literals: literals.clone() },
        Filter::Like { path, pattern, fold_case } => {
            Filter::Like { path: across.path(path)?, pattern: pattern.clone(), fold_case: *fold_case }
        }
        Filter::Is { path, what } => Filter::Is { path: across.path(path)?, what: *what },
    })
}

/// What every record fulfils that does not come before a place in its first
/// term; `None`: every record may.
fn not_before(term: &OrderTerm, place: &Keyset) -> Option<Filter> {
    let path = term.path.clone();
    let null = Filter::Is { path: path.clone(), what: IsWhat::Null };
    match (place.values.first().filter(|value| !value.is_null()), term.nulls_first) {
        (None, true) => None,
        (None, false) => Some(null),
        (Some(value), nulls_first) => {
            let op = if term.descending { CompareOp::Lte } else { CompareOp::Gte };
            let reached = Filter::Compare { path, op, literal: Literal::Typed(value.clone()) };
            Some(if nulls_first { reached } else { Filter::Or(vec![reached, null]) })
        }
    }
}
