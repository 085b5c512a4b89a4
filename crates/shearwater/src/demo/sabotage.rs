//! A store that breaks its word, so that a test can see the demo fail: it
//! claims some follower writes without doing them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::{
    Applied, Capture, Checkpoint, CheckpointStep, Chunk, ChunkMax, Covers, Cursor, DirtyMark, Estimate, Fence, Fetched,
    Follower, IdempotencyRow, Inspect, Inspection, Put, Reader, ScanRange, Store, Vitals, Write, Writer, Written,
};
use shearwater_core::{Document, Key, Stamp};

/// One follower write in this many is forgotten.
const FORGETS_ONE_IN: u64 = 3;

/// A store that forgets.
pub struct Forgetful {
    store: Arc<dyn Store>,
    asked: AtomicU64,
}

impl Forgetful {
    /// Wraps a store.
    pub fn new(store: Arc<dyn Store>) -> Forgetful {
        Forgetful { store, asked: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Follower for Forgetful {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let forget = self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGETS_ONE_IN);
        if forget && checkpoint.is_none() {
            return Ok(puts.iter().map(|_| Applied::Changed).collect());
        }
        self.store.apply(epoch, puts, checkpoint).await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        self.store.checkpoints(run).await
    }
}

#[async_trait]
impl Reader for Forgetful {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        self.store.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        self.store.fetch_many(keys).await
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        self.store.split(parts).await
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        self.store.scan(range, after, max).await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.store.estimate().await
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.store.list(query).await
    }
}

#[async_trait]
impl Writer for Forgetful {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        self.store.write(write).await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        self.store.recall(idempotency_key).await
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        self.store.forget_idempotency(before_ms).await
    }
}

#[async_trait]
impl Capture for Forgetful {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        self.store.provision().await
    }

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        self.store.constrain().await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        self.store.install(fence).await
    }

    async fn remove(&self) -> StoreResult<()> {
        self.store.remove().await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        self.store.fence().await
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        self.store.set_fence(expect, new).await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        self.store.dirty(after, marks_max).await
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        self.store.dirty_count().await
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        self.store.clear(marks).await
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        self.store.foreign(keys_max).await
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        self.store.clear_foreign(keys).await
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        self.store.sidecar_names().await
    }
}

#[async_trait]
impl Inspect for Forgetful {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.store.inspect().await
    }
}

impl Store for Forgetful {
    fn layout(&self) -> &Layout {
        self.store.layout()
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn appliers(&self) -> usize {
        self.store.appliers()
    }

    fn changes_max(&self) -> usize {
        self.store.changes_max()
    }

    fn covers(&self) -> Covers {
        self.store.covers()
    }

    fn kept(&self, record: Document) -> Document {
        self.store.kept(record)
    }

    fn vitals(&self) -> Option<&dyn Vitals> {
        self.store.vitals()
    }
}
