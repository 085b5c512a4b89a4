//! A program that has never heard of us: the demo's legacy application and its
//! forgotten cron job. It has a connection of its own and plain SQL, and knows
//! nothing of sidecars, stamps and fences.

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

/// Makes the new document from the old one; `None` leaves the document alone.
pub type Change<'a> = &'a mut (dyn FnMut(&str) -> Option<String> + Send);

/// One connection of such a program, to one database with one collection: a
/// table with a text key and a JSON document.
///
/// Its futures may block their thread: give it a thread of its own, as another
/// program would have. Errors are the connectors' own, so that a fence's
/// refusal is [`StoreErrorKind::FenceClosed`], and a transaction that lost to
/// another one, and did nothing, has policy `Retry`.
#[async_trait]
pub trait Outsider: Send {
    /// The tables that are in the database.
    async fn tables(&mut self) -> StoreResult<Vec<String>>;

    /// Makes the collection and fills it, in one transaction.
    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()>;

    /// Inserts a document.
    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()>;

    /// Reads a document, changes it and writes it back, in one transaction;
    /// false when there was none or it was left alone. `change` is called
    /// before the commit.
    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool>;

    /// Deletes a document; false when there was none.
    async fn delete(&mut self, key: &str) -> StoreResult<bool>;

    /// Every document of the collection.
    async fn documents(&mut self) -> StoreResult<Vec<String>>;

    /// Runs one statement in the store's own words, which holds no values of
    /// anybody else's; how many rows it changed.
    async fn execute(&mut self, _statement: &str) -> StoreResult<u64> {
        Err(StoreError::new(StoreErrorKind::Unsupported, "this kind of store has no statements"))
    }

    /// Drops tables that are there, and a database's file that this connection
    /// has made.
    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()>;
}

/// The collection that outsiders work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The table.
    pub table: String,
    /// The column of the key, a text.
    pub key: String,
    /// The column of the document, JSON.
    pub document: String,
}

/// Whether it is the fence that refused.
pub fn is_fence(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::FenceClosed
}

/// Rows that are sent with one statement while a collection is filled: enough
/// that the way to the server does not count, few enough for one packet.
pub(crate) const ROWS_SENT_MAX: usize = 100;
