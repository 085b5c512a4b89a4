//! Looking at a file without changing it.

use async_trait::async_trait;
use rusqlite::Connection;
use shearwater_core::error::StoreResult;
use shearwater_core::store::{Inspect, Inspection};

use super::Sqlite;

/// What is there.
pub(super) fn inspect(_conn: &Connection) -> StoreResult<Inspection> {
    todo!()
}

#[async_trait]
impl Inspect for Sqlite {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.blocking_read(|session, _| inspect(&session.conn)).await
    }
}
