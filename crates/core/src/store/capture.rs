//! What notices every write: the fence, dirty marks, foreign writes.

use async_trait::async_trait;

use crate::error::{StoreError, StoreResult};
use crate::{Key, Stamp};

/// What a store does with writes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Stamps and marks every write, whoever makes it.
    Authority,
    /// Takes guarded puts; notes writes that are not ours as foreign.
    Follower,
    /// Takes guarded puts; refuses every other write.
    Closed,
}

/// A store's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fence {
    /// What it does with writes.
    pub role: Role,
    /// The lowest epoch that it accepts; also the epoch of new stamps.
    pub epoch: u64,
}

/// A key that the follower has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyMark {
    /// The key in this store's shape.
    pub key: Key,
    /// The stamp to confirm.
    pub stamp: Stamp,
}

/// The sidecar: stamps, marks, tombstones, fence, kept where every writer's
/// transaction includes them.
#[async_trait]
pub trait Capture: Send + Sync {
    /// Creates what the layout needs in this store (tables of the target) when
    /// it is not there; never changes what is. Returns the statements run.
    async fn provision(&self) -> StoreResult<Vec<String>>;

    /// Makes the layout's foreign keys ([`Layout::references`]) hold, and keeps
    /// those that hold already; returns the statements run. `complete` calls it
    /// on the target, once nothing follows there any more: until then a row may
    /// come before the row that it refers to, so `provision` adds no foreign key
    /// that our own writes would trip over. Rows without the row that they need
    /// are an error ([`crate::error::StoreErrorKind::Refused`]) that names the
    /// table, the column and some of their keys. Only called for a layout that
    /// has references.
    async fn constrain(&self) -> StoreResult<Vec<String>> {
        Err(StoreError::new(
            crate::error::StoreErrorKind::Unsupported,
            "this connector cannot add foreign keys to its tables",
        )
        .with_hint("take `references` out of the spec and add the foreign keys by hand"))
    }

    /// Installs the sidecar with this fence; does nothing when it is installed
    /// already (the fence stays as it is). Atomic.
    async fn install(&self, fence: Fence) -> StoreResult<()>;

    /// As [`Capture::install`], and so that [`Reader::list_parked`] finds its
    /// records for less than by looking at all: a store that takes an index for
    /// that makes it here.
    async fn install_for_parked(&self, fence: Fence) -> StoreResult<()> {
        self.install(fence).await
    }

    /// Removes the sidecar and all reserved names. Does nothing when there is none.
    async fn remove(&self) -> StoreResult<()>;

    /// The fence, or `None` when no sidecar is installed.
    async fn fence(&self) -> StoreResult<Option<Fence>>;

    /// Sets the fence if it is `expect` now; durable when it returns, and no
    /// write admitted under the old one is still on its way. Answers the fence
    /// that holds afterwards.
    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence>;

    /// Dirty marks, oldest stamp first, above `after`.
    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>>;

    /// How many dirty marks there are.
    async fn dirty_count(&self) -> StoreResult<u64>;

    /// Clears marks whose stamp is still the given one; returns how many.
    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64>;

    /// Keys written here as a follower by somebody else.
    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>>;

    /// Forgets foreign writes of these keys.
    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64>;

    /// Every name (table, trigger, index) that the sidecar has in this store now.
    async fn sidecar_names(&self) -> StoreResult<Vec<String>>;
}
