//! What every connector's lists share: the bound of a page, whether it takes
//! the child tables to decide, and candidates at their places.

use std::cmp::Ordering;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, ListPage, ListQuery, sort_bytes, sort_bytes_of};
use shearwater_core::shape::Layout;
use shearwater_core::store::Fetched;

use super::Tree;

/// Records in one page that a connector gives: room above the API's limit for
/// pages that are merged from two stores.
const LIMIT_MAX: usize = 10 * LIST_RECORDS_MAX;

/// Refuses a page that would not fit in memory.
pub(crate) fn check_limit(limit: usize) -> StoreResult<()> {
    if limit <= LIMIT_MAX {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        format!("a list page of {limit} records is asked; at most {LIMIT_MAX}"),
    ))
}

/// Whether the filter or the order looks into child tables.
pub(crate) fn looks_into_children(tree: &Tree, query: &ListQuery) -> bool {
    let Layout::Rows(shape) = &tree.layout else { return false };
    let is_child = |path: &Path| shape.children.iter().any(|c| c.field == path.root());
    query.order.iter().any(|term| is_child(&term.path)) || any_path(&query.filter, &is_child)
}

fn any_path(filter: &Filter, is: &dyn Fn(&Path) -> bool) -> bool {
    match filter {
        Filter::All => false,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| any_path(part, is)),
        Filter::Not(part) => any_path(part, is),
        Filter::Compare { path, .. }
        | Filter::In { path, .. }
        | Filter::Like { path, .. }
        | Filter::Is { path, .. } => is(path),
    }
}

/// Records with something parked beside them that are all read and sorted for
/// a page, where there are no more: it costs less than to walk an index past
/// the records between them.
pub(crate) const PARKED_READ_MAX: usize = 2_000;

/// By what a sidecar finds its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finds {
    /// By key.
    Keys,
    /// Those with something parked too.
    Parked,
}

/// Keys of such records read at once for a list by key: a page's worth and more
/// when the filter may pass over some.
pub(crate) const PARKED_KEYS_MIN: usize = 64;

/// In which direction a list is one by key alone; `None`: it is not.
pub(crate) fn by_key(tree: &Tree, query: &ListQuery) -> Option<Direction> {
    let Some(term) = query.order.first() else { return Some(Direction::Rising) };
    let is_key = term.path.steps().len() == 1 && matches!(tree.key.as_slice(), [name] if name == term.path.root());
    let is_at_a_key = query.after.as_ref().is_none_or(|place| place.values.first() == place.key.values().first());
    let direction = if term.descending { Direction::Falling } else { Direction::Rising };
    (is_key && is_at_a_key && query.is_binary()).then_some(direction)
}

/// The direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Rising,
    Falling,
}

/// The page of a list, out of all records that it may be of.
pub(crate) fn sorted_page(query: &ListQuery, records: Vec<Fetched>) -> ListPage {
    let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
    let ranked = |fetched: Fetched| {
        let record = &fetched.image.as_ref()?.record;
        let place = sort_bytes_of(&query.order, &fetched.key, record);
        let is_in = query.filter.matches(record) && after.as_ref().is_none_or(|after| place > *after);
        is_in.then_some(Ranked { place, candidate: fetched })
    };
    let mut ranked: Vec<Ranked<Fetched>> = records.into_iter().filter_map(ranked).collect();
    ranked.sort();
    let more = ranked.len() > query.limit;
    ranked.truncate(query.limit);
    ListPage { records: ranked.into_iter().map(|ranked| ranked.candidate).collect(), more }
}

/// The records of a list by key, as they are read in its order; whether the
/// page is full, and more is known to be there.
pub(crate) fn take_in_order(query: &ListQuery, page: &mut ListPage, records: Vec<Fetched>) -> bool {
    for fetched in records {
        if !fetched.image.as_ref().is_some_and(|image| query.filter.matches(&image.record)) {
            continue;
        }
        if page.records.len() == query.limit {
            page.more = true;
            return true;
        }
        page.records.push(fetched);
    }
    false
}

/// A candidate at its place; a heap's greatest is the page's last.
pub(crate) struct Ranked<T> {
    /// Its sort bytes.
    pub(crate) place: Vec<u8>,
    /// What stands there.
    pub(crate) candidate: T,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Ranked<T>) -> bool {
        self.place == other.place
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Ranked<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Ranked<T>) -> Ordering {
        self.place.cmp(&other.place)
    }
}
