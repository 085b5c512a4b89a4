//! Connectors: one folder for each kind of store, with the same file names;
//! the conformance suite that each of them passes; the journal.

use std::sync::Arc;

use shearwater_core::error::StoreResult;
use shearwater_core::shape::Layout;
use shearwater_core::store::{Inspection, Store};

pub mod journal;

/// Opens a store. The one place that knows the kinds. Fails with a clear error
/// when the store or the table is not there, unless `create` says that a
/// missing database may be made (for a target, whose tables `provision` makes).
///
/// URLs: `sqlite:PATH[?sync=full|normal]`.
pub async fn open(_url: &str, _layout: Layout, _create: Create) -> StoreResult<Arc<dyn Store>> {
    todo!()
}

/// Whether opening may make a missing database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It must be there.
    Never,
    /// An empty one is made.
    IfMissing,
}

/// Looks at a whole store without a layout, for `init`.
pub async fn inspect(_url: &str) -> StoreResult<Inspection> {
    todo!()
}
