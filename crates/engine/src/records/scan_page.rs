//! A page by scanning: for lists whose filter or order the serving store's
//! shape cannot express. Memory is bounded by the page, not by the table.

use std::collections::BinaryHeap;

use shearwater_core::query::keyset_of;
use shearwater_core::store::{ChunkMax, Fetched, ScanRange, Side, Store};

use super::list::{Page, Row};
use super::translate::place_bytes;
use super::{DataPath, Got, ListAsk, ServeError};

/// Records read at once: a scan's chunk is one snapshot, so long ones would
/// hold the store's old versions.
const SCAN_CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 2 * 1024 * 1024 };

/// The lowest rows of a scan, at most one more than the page holds.
struct Lowest {
    rows: BinaryHeap<Row>,
    rows_max: usize,
}

impl Lowest {
    fn offer(&mut self, row: Row) {
        if self.rows.len() < self.rows_max {
            self.rows.push(row);
        } else if self.rows.peek().is_some_and(|highest| row < *highest) {
            self.rows.pop();
            self.rows.push(row);
        }
    }
}

impl DataPath {
    pub(super) async fn page_by_scan(&self, serving: Side, ask: &ListAsk, limit: usize) -> Result<Page, ServeError> {
        let store = self.setup.store(serving);
        page_by_scan(store.as_ref(), ask, limit, |fetched| self.show(serving, ask.shape, fetched)).await
    }
}

/// The page of a store's records as `show` shows them, by reading all.
pub(crate) async fn page_by_scan(
    store: &dyn Store,
    ask: &ListAsk,
    limit: usize,
    show: impl Fn(Fetched) -> Result<Option<Got>, ServeError>,
) -> Result<Page, ServeError> {
    let after = ask.after.as_ref().map(|place| place_bytes(&ask.order, place));
    let mut lowest = Lowest { rows: BinaryHeap::new(), rows_max: limit + 1 };
    let everything = ScanRange { id: 0, low: None, high: None };
    let mut cursor = None;
    loop {
        let chunk = store.scan(&everything, cursor.as_ref(), SCAN_CHUNK).await?;
        for record in chunk.records {
            let fetched = record.map_err(|bad| bad.error)?;
            let held_as = fetched.key.clone();
            let Some(got) = show(fetched)? else { continue };
            if !ask.filter.matches(&got.record) {
                continue;
            }
            let place = place_bytes(&ask.order, &keyset_of(&ask.order, &got.key, &got.record));
            if after.as_ref().is_none_or(|after| place > *after) {
                lowest.offer(Row { place, got, held_as });
            }
        }
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut rows = lowest.rows.into_sorted_vec();
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Page { rows, more })
}
