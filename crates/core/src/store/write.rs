//! Writing as the authority: changes with what they expect, and what an
//! idempotency key left behind.

use async_trait::async_trait;

use super::Image;
use crate::error::StoreResult;
use crate::{Key, Stamp};

/// What must be true of the record for a change to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// No record under the key.
    Absent,
    /// A record under the key.
    Present,
    /// A record (or, for a put, its absence) with exactly this stamp.
    Stamp(Stamp),
    /// A record whose canonical hash (of `Image::record`) is this; for stores
    /// without a sidecar.
    Content(u128),
}

/// One change of an authority write.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record's key.
    pub key: Key,
    /// The whole new record, or `None` to delete it.
    pub image: Option<Image>,
    /// The precondition.
    pub expect: Expect,
}

/// What a client's `Idempotency-Key` left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// The client's key, prefixed by the gateway with what it is scoped to.
    pub key: String,
    /// Hash of the request, to refuse another one under the same key.
    pub request_hash: u128,
    /// The answer to give again, as the gateway wrote it. `{stamp}` in it
    /// stands for the stamp of the write's first change.
    pub answer: String,
    /// When it was written, ms since 1970.
    pub at_ms: i64,
}

/// One atomic authority write: all of its changes or none.
#[derive(Clone, Debug)]
pub struct Write {
    /// The member's epoch; `None` only for a store without a sidecar.
    pub epoch: Option<u64>,
    /// The changes, in order. A changed key is a delete and a put.
    pub changes: Vec<Change>,
    /// The idempotency row to store with them.
    pub idempotency: Option<IdempotencyRow>,
}

/// What an authority write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Applied: one stamp for each change (`None`: the store has no sidecar).
    Applied(Vec<Option<Stamp>>),
    /// Not applied: the idempotency key was used before by the same request;
    /// this is what it left.
    Replayed(IdempotencyRow),
}

/// Writing as the authority: checks the fence and the preconditions, applies
/// the changes, assigns stamps, sets dirty marks and stores the idempotency
/// row in one atomic operation, durable when it returns.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Applies a write.
    async fn write(&self, write: Write) -> StoreResult<Written>;

    /// What an idempotency key left behind here.
    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>>;

    /// Forgets idempotency rows older than a time; returns how many.
    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64>;
}
