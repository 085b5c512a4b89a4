//! Lists with canonical meaning.

use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery};

use super::facts::Sidecar;
use super::session::Session;
use super::tables::Tables;

/// One page.
pub(super) fn list(
    _session: &Session,
    _tables: &Tables,
    _sidecar: Sidecar,
    _query: &ListQuery,
) -> StoreResult<ListPage> {
    todo!()
}
