//! Making the collection of a layout.

use shearwater_core::error::StoreResult;

use super::error::code;
use super::raw::Doc;
use super::{Inner, inspect};

/// Makes the collection when it is not there; what was run.
pub(super) async fn provision(inner: &Inner) -> StoreResult<Vec<String>> {
    let table = &inner.records.table;
    if let Some(found) = inspect::collection(&inner.server, table).await? {
        found.check()?;
        return Ok(Vec::new());
    }
    let mut create = Doc::new();
    create.text("create", table);
    inner.server.acknowledged(&mut create);
    match inner.server.run("making the collection", create.end()).await {
        Ok(_) => Ok(vec![format!("db.createCollection({table:?})")]),
        Err(failure) if failure.code == code::NAMESPACE_EXISTS => Ok(Vec::new()),
        Err(failure) => Err(failure.of_a_repeatable().error),
    }
}
