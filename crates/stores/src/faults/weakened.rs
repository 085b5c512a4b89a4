//! A store without one of the protocol's protections.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::{
    Applied, Capture, Checkpoint, CheckpointStep, Chunk, ChunkMax, Covers, Cursor, DirtyMark, Estimate, Fence, Fetched,
    Follower, IdempotencyRow, Inspect, Inspection, Put, Reader, Role, ScanRange, Store, Vitals, Write, Writer, Written,
};
use shearwater_core::{Document, Key, Stamp};

/// A protection that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// Puts are applied whatever stamp is held (H1, H3).
    IgnoreGuard,
    /// A tombstone deletes and is forgotten (H2).
    DropTombstones,
    /// A mark is cleared whatever its stamp is now (H4c).
    ClearAnyMark,
    /// The write commits without its dirty mark (H4a).
    SkipDirtyMarks,
    /// Writes and puts are admitted whatever the fence says (H5).
    IgnoreFence,
    /// Writes are applied whatever they expect.
    IgnoreExpect,
    /// Idempotency keys are neither looked for nor stored (H17).
    ForgetIdempotency,
}

/// A store around a store, weaker by some protections. It works through the
/// store's own calls, so that what it does is not atomic: that is the point.
pub struct Weakened {
    inner: Arc<dyn Store>,
    without: HashSet<Weakness>,
    forgotten: Mutex<HashSet<Key>>,
}

impl Weakened {
    /// Around a store.
    pub fn around(inner: Arc<dyn Store>, without: impl IntoIterator<Item = Weakness>) -> Arc<Weakened> {
        Arc::new(Weakened { inner, without: without.into_iter().collect(), forgotten: Mutex::default() })
    }

    fn lacks(&self, protection: Weakness) -> bool {
        self.without.contains(&protection)
    }

    fn forgotten(&self) -> std::sync::MutexGuard<'_, HashSet<Key>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with the store in another role, and sets the fence back.
    async fn as_role<T>(&self, role: Role, work: impl AsyncFnOnce(u64) -> StoreResult<T>) -> StoreResult<Option<T>> {
        let Some(fence) = self.inner.fence().await?.filter(|_| self.lacks(Weakness::IgnoreFence)) else {
            return Ok(None);
        };
        let other = Fence { role, ..fence };
        self.inner.set_fence(fence, other).await?;
        let result = work(fence.epoch).await;
        self.inner.set_fence(other, fence).await?;
        result.map(Some)
    }

    /// Raises a put's stamp to what is held, so that the guard lets it pass.
    async fn past_the_guard(&self, mut put: Put) -> StoreResult<Put> {
        let forgotten = self.forgotten().contains(&put.key);
        if self.lacks(Weakness::IgnoreGuard) || forgotten {
            let held = self.inner.fetch(&put.key).await?.stamp.unwrap_or_default();
            put.stamp = put.stamp.max(held);
        }
        Ok(put)
    }
}

#[async_trait]
impl Reader for Weakened {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        self.inner.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        self.inner.fetch_many(keys).await
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        self.inner.split(parts).await
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        self.inner.scan(range, after, max).await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.inner.estimate().await
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.inner.list(query).await
    }
}

#[async_trait]
impl Writer for Weakened {
    async fn write(&self, mut write: Write) -> StoreResult<Written> {
        if self.lacks(Weakness::IgnoreExpect) {
            write.changes.iter_mut().for_each(|change| change.expect = shearwater_core::store::Expect::Any);
        }
        if self.lacks(Weakness::ForgetIdempotency) {
            write.idempotency = None;
        }
        let keys: Vec<Key> = write.changes.iter().map(|change| change.key.clone()).collect();
        let admitted = write.clone();
        let forced = self
            .as_role(Role::Authority, async |epoch| self.inner.write(Write { epoch: Some(epoch), ..admitted }).await)
            .await?;
        let written = match forced {
            Some(written) => written,
            None => self.inner.write(write).await?,
        };
        if let (Written::Applied(stamps), true) = (&written, self.lacks(Weakness::SkipDirtyMarks)) {
            let marks =
                keys.into_iter().zip(stamps).filter_map(|(key, stamp)| Some(DirtyMark { key, stamp: (*stamp)? }));
            self.inner.clear(marks.collect()).await?;
        }
        Ok(written)
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        self.inner.recall(idempotency_key).await
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        self.inner.forget_idempotency(before_ms).await
    }
}

#[async_trait]
impl Follower for Weakened {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let mut passed = Vec::with_capacity(puts.len());
        for put in puts {
            passed.push(self.past_the_guard(put).await?);
        }
        let tombstones: Vec<(Key, bool)> = passed.iter().map(|put| (put.key.clone(), put.image.is_none())).collect();
        let (forced_puts, forced_checkpoint) = (passed.clone(), checkpoint.clone());
        let forced = self
            .as_role(Role::Follower, async |current| {
                self.inner.apply(epoch.max(current), forced_puts, forced_checkpoint).await
            })
            .await?;
        let answers = match forced {
            Some(answers) => answers,
            None => self.inner.apply(epoch, passed, checkpoint).await?,
        };
        if self.lacks(Weakness::DropTombstones) {
            let mut forgotten = self.forgotten();
            for ((key, is_tombstone), answer) in tombstones.into_iter().zip(&answers) {
                match (is_tombstone, answer) {
                    (true, Applied::Changed | Applied::Unchanged) => forgotten.insert(key),
                    (false, Applied::Changed) => forgotten.remove(&key),
                    _ => false,
                };
            }
        }
        Ok(answers)
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        self.inner.checkpoints(run).await
    }
}

#[async_trait]
impl Capture for Weakened {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        self.inner.provision().await
    }

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        self.inner.constrain().await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        self.inner.install(fence).await
    }

    async fn remove(&self) -> StoreResult<()> {
        self.inner.remove().await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        self.inner.fence().await
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        self.inner.set_fence(expect, new).await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        self.inner.dirty(after, marks_max).await
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        self.inner.dirty_count().await
    }

    async fn clear(&self, mut marks: Vec<DirtyMark>) -> StoreResult<u64> {
        if self.lacks(Weakness::ClearAnyMark) {
            for mark in &mut marks {
                mark.stamp = self.inner.fetch(&mark.key).await?.stamp.unwrap_or(mark.stamp);
            }
        }
        self.inner.clear(marks).await
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        self.inner.foreign(keys_max).await
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        self.inner.clear_foreign(keys).await
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        self.inner.sidecar_names().await
    }
}

#[async_trait]
impl Inspect for Weakened {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.inner.inspect().await
    }
}

impl Store for Weakened {
    fn layout(&self) -> &Layout {
        self.inner.layout()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn appliers(&self) -> usize {
        self.inner.appliers()
    }

    fn changes_max(&self) -> usize {
        self.inner.changes_max()
    }

    fn covers(&self) -> Covers {
        self.inner.covers()
    }

    fn kept(&self, record: Document) -> Document {
        self.inner.kept(record)
    }

    fn flags(&self) -> Option<&dyn shearwater_core::store::Flags> {
        self.inner.flags()
    }

    fn vitals(&self) -> Option<&dyn Vitals> {
        self.inner.vitals()
    }
}
