//! What every activity of one migration works with.

use std::sync::Arc;

use shearwater_core::journal::Journal;
use shearwater_core::mapping::Mapping;
use shearwater_core::spec::Spec;
use shearwater_core::store::{Side, Store};

/// One migration, opened: its journal, its stores, its mapping.
#[derive(Clone)]
pub struct Setup {
    /// The spec as checked.
    pub spec: Arc<Spec>,
    /// The compiled mapping.
    pub mapping: Arc<Mapping>,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The source, opened with the mapping's source layout.
    pub source: Arc<dyn Store>,
    /// The target, opened with the mapping's target layout.
    pub target: Arc<dyn Store>,
}

impl Setup {
    /// The store of a side.
    pub fn store(&self, side: Side) -> &Arc<dyn Store> {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}
