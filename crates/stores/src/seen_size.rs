//! How many records to ask a server for, so that it sends about as much as is
//! wanted: it sends what it was asked for even when nobody reads it.

use std::sync::atomic::{AtomicUsize, Ordering};

use shearwater_core::store::ChunkMax;

/// Records that a first scan asks for before any size is known.
const FIRST_SCAN_RECORDS: usize = 200;

/// How large this store's records are, as the scans saw it.
#[derive(Debug, Default)]
pub(crate) struct SeenSize {
    bytes_each: AtomicUsize,
}

impl SeenSize {
    /// Records to ask for, so that about `max.bytes` are sent and no more: the
    /// server sends what it was asked for even when nobody reads it.
    pub(crate) fn records(&self, max: ChunkMax) -> usize {
        let bytes_each = self.bytes_each.load(Ordering::Relaxed);
        let fit = max.bytes.checked_div(bytes_each).map_or(FIRST_SCAN_RECORDS, |records| records + 1);
        fit.clamp(1, max.records.max(1))
    }

    pub(crate) fn learn(&self, records: usize, bytes: usize) {
        if let Some(each) = bytes.checked_div(records) {
            self.bytes_each.store(each.max(1), Ordering::Relaxed);
        }
    }
}
