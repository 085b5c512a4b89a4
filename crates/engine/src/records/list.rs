//! Reading one page of a list.
//!
//! Order and place are always those of the client's shape, whichever store
//! serves, so that a place survives a change of phase.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use shearwater_core::Key;
use shearwater_core::query::{ListQuery, keyset_of};
use shearwater_core::route::{self, ListRoute};
use shearwater_core::store::{Estimate, Fetched, Side, Store};

use super::read::{READ_ATTEMPTS_MAX, moving};
use super::translate::place_bytes;
use super::{DataPath, Got, ListAsk, ListGot, ServeError};
use crate::member::Confirmed;

/// Dirty keys that a list is overlaid with; with more, the follower is so far
/// behind that the authority serves the list alone.
const OVERLAY_KEYS_MAX: usize = 500;

/// One record of a page with its place, ordered by it.
pub(crate) struct Row {
    pub(crate) place: Vec<u8>,
    pub(crate) got: Got,
    /// The key in the serving store's shape.
    pub(crate) held_as: Key,
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.place == other.place
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Row) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Row) -> Ordering {
        self.place.cmp(&other.place)
    }
}

/// Rows in order, and whether there are more after them.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) more: bool,
}

impl DataPath {
    pub(super) async fn list(self: &Arc<Self>, ask: ListAsk) -> Result<ListGot, ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let route = route::list(&reading.view.state);
            let page = match route {
                ListRoute::From(side) => self.page_from(side, &ask, ask.limit).await?,
                ListRoute::Overlaid { follower, authority } => self.overlaid(follower, authority, &ask).await?,
            };
            if self.confirm(&reading).await? == Confirmed::MovedOn {
                continue;
            }
            if let (ListRoute::From(side), Some(follower)) = (route, route::shadow(&reading.view.state)) {
                self.shadow_list(side, follower, &ask);
            }
            return Ok(answer(&ask, page));
        }
        Err(moving())
    }

    /// The size of the store that lists come from, as that store estimates it.
    pub(super) async fn estimate(&self) -> Result<Estimate, ServeError> {
        let reading = self.member.admit_read()?;
        let (ListRoute::From(side) | ListRoute::Overlaid { authority: side, .. }) = route::list(&reading.view.state);
        Ok(self.setup.store(side).estimate().await?)
    }

    /// A page from one store, in the client's order.
    pub(crate) async fn page_from(&self, serving: Side, ask: &ListAsk, limit: usize) -> Result<Page, ServeError> {
        let Some(query) = self.translate(ask, serving, limit) else {
            return self.page_by_scan(serving, ask, limit).await;
        };
        let store = self.setup.store(serving);
        page_of(store.as_ref(), &query, ask, |fetched| self.show(serving, ask.shape, fetched)).await
    }

    /// A page from the follower without the authority's dirty keys, overlaid
    /// with those from the authority. The marks are read first: a key that gets
    /// dirty afterwards was written while this list was on its way.
    async fn overlaid(&self, follower: Side, authority: Side, ask: &ListAsk) -> Result<Page, ServeError> {
        let store = self.setup.store(authority);
        let marks = store.dirty(None, OVERLAY_KEYS_MAX + 1).await?;
        if marks.len() > OVERLAY_KEYS_MAX {
            return self.page_from(authority, ask, ask.limit).await;
        }
        let dirty: Vec<Key> = marks.into_iter().map(|mark| mark.key).collect();
        let limit = ask.limit + dirty.len();
        let Ok(page) = self.page_from(follower, ask, limit).await else {
            metrics::counter!("shearwater_ramp_fallbacks_total", "why" => "list").increment(1);
            return self.page_from(authority, ask, ask.limit).await;
        };
        if dirty.is_empty() {
            return Ok(page);
        }
        // A dirty key that has no counterpart cannot be in the follower.
        let in_follower: HashSet<Key> = dirty
            .iter()
            .filter_map(|key| self.key_across(authority, follower, key).ok().map(Cow::into_owned))
            .collect();
        let last = page.rows.last().map(|row| row.place.clone());
        let mut rows: Vec<Row> = page.rows.into_iter().filter(|row| !in_follower.contains(&row.held_as)).collect();
        rows.extend(self.rows_of(authority, ask, &dirty).await?);
        rows.sort();
        // Beyond the follower's last row only dirty keys are known.
        if let (true, Some(last)) = (page.more, last) {
            rows.retain(|row| row.place <= last);
        }
        let more = page.more || rows.len() > ask.limit;
        rows.truncate(ask.limit);
        Ok(Page { rows, more })
    }

    /// Those of some keys' records that belong after the asked place, unordered.
    async fn rows_of(&self, serving: Side, ask: &ListAsk, keys: &[Key]) -> Result<Vec<Row>, ServeError> {
        let after = ask.after.as_ref().map(|place| place_bytes(&ask.order, place));
        let mut rows = Vec::new();
        for fetched in self.setup.store(serving).fetch_many(keys).await? {
            let held_as = fetched.key.clone();
            let Some(got) = self.show(serving, ask.shape, fetched)? else { continue };
            let place = place_bytes(&ask.order, &keyset_of(&ask.order, &got.key, &got.record));
            if ask.filter.matches(&got.record) && after.as_ref().is_none_or(|after| place > *after) {
                rows.push(Row { place, got, held_as });
            }
        }
        Ok(rows)
    }
}

/// A page of a store's own list, as `show` shows its records.
pub(crate) async fn page_of(
    store: &dyn Store,
    query: &ListQuery,
    ask: &ListAsk,
    show: impl Fn(Fetched) -> Result<Option<Got>, ServeError>,
) -> Result<Page, ServeError> {
    let page = store.list(query).await?;
    let mut rows = Vec::with_capacity(page.records.len());
    for fetched in page.records {
        let held_as = fetched.key.clone();
        let Some(got) = show(fetched)? else { continue };
        let place = place_bytes(&ask.order, &keyset_of(&ask.order, &got.key, &got.record));
        rows.push(Row { place, got, held_as });
    }
    Ok(Page { rows, more: page.more })
}

/// The page as the client gets it, with the place of its last record.
pub(crate) fn answer(ask: &ListAsk, page: Page) -> ListGot {
    let next = match page.rows.last() {
        Some(last) if page.more => Some(keyset_of(&ask.order, &last.got.key, &last.got.record)),
        Some(_) | None => None,
    };
    ListGot { records: page.rows.into_iter().map(|row| row.got).collect(), next }
}
