//! What every connector's lists share: the bound of a page, whether it takes
//! the child tables to decide, and candidates at their places.

use std::cmp::Ordering;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::shape::Layout;

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
