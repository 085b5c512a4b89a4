//! A store around a store, bent in one way at a time: with one of the
//! protocol's protections missing, or failing on cue.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::*;
use shearwater_core::{Document, Key, Stamp};
use tokio::sync::Semaphore;

/// How the store is bent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bend {
    /// Not at all.
    #[default]
    Straight,
    /// Follower puts are applied whatever stamp is held (H1, H3, H8a).
    Unguarded,
    /// Deleted keys leave nothing behind (H2).
    NoTombstones,
    /// Writes leave no dirty mark (H4a, H4b, H4d).
    NoMarks,
    /// A mark is cleared whatever stamp it has (H4c).
    ClearsAny,
    /// Writes and puts of any epoch are admitted (H5a).
    AnyEpoch,
    /// Follower puts cannot be made.
    ApplyFails,
    /// Follower puts wait for [`Bent::let_one_through`].
    ApplyWaits,
    /// As `ApplyWaits`, and then fails.
    ApplyWaitsAndFails,
    /// Reads by key fail.
    FetchFails,
    /// Reads of several keys are slow: much longer than a write.
    ReadsManySlowly,
    /// Lists fail.
    ListFails,
    /// The next write is applied, and its answer lost; then straight again.
    LosesAnswer,
    /// As `LosesAnswer`, and the write left no mark.
    LosesAnswerAndMark,
}

pub struct Bent {
    inner: Arc<dyn Store>,
    bend: Mutex<Bend>,
    gate: Semaphore,
    /// Follower puts that were tried.
    applies: std::sync::atomic::AtomicUsize,
}

impl Bent {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Bent> {
        Arc::new(Bent { inner, bend: Mutex::default(), gate: Semaphore::new(0), applies: Default::default() })
    }

    pub fn bend(&self, bend: Bend) {
        *self.bend.lock().unwrap() = bend;
    }

    pub fn let_one_through(&self) {
        self.gate.add_permits(1);
    }

    pub fn applies(&self) -> usize {
        self.applies.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn now(&self) -> Bend {
        *self.bend.lock().unwrap()
    }

    fn away() -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "the store is away (on cue)")
    }

    /// A stamp that the guard lets through.
    async fn above_held(&self, put: &Put) -> Stamp {
        let held = self.inner.fetch(&put.key).await.unwrap().stamp.unwrap_or(Stamp::ZERO);
        if held >= put.stamp { Stamp::new(held.epoch, held.counter + 1) } else { put.stamp }
    }
}

#[async_trait]
impl Reader for Bent {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        if self.now() == Bend::FetchFails {
            return Err(Bent::away());
        }
        self.inner.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        if self.now() == Bend::FetchFails {
            return Err(Bent::away());
        }
        let fetched = self.inner.fetch_many(keys).await;
        if self.now() == Bend::ReadsManySlowly && keys.len() > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        fetched
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
        if self.now() == Bend::ListFails {
            return Err(Bent::away());
        }
        self.inner.list(query).await
    }
}

#[async_trait]
impl Writer for Bent {
    async fn write(&self, mut write: Write) -> StoreResult<Written> {
        let bend = self.now();
        if bend == Bend::AnyEpoch {
            write.epoch = Some(u64::MAX);
        }
        let written = self.inner.write(write.clone()).await?;
        if let (Bend::NoMarks | Bend::LosesAnswerAndMark, Written::Applied(stamps)) = (bend, &written) {
            let marks = write.changes.into_iter().zip(stamps);
            let marks = marks.map(|(c, s)| DirtyMark { key: c.key, stamp: s.unwrap() }).collect();
            self.inner.clear(marks).await?;
        }
        if matches!(bend, Bend::LosesAnswer | Bend::LosesAnswerAndMark) {
            self.bend(Bend::Straight);
            return Err(StoreError::new(StoreErrorKind::OutcomeUnknown, "the answer is lost (on cue)"));
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
impl Follower for Bent {
    async fn apply(
        &self,
        epoch: u64,
        mut puts: Vec<Put>,
        checkpoint: Option<CheckpointStep>,
    ) -> StoreResult<Vec<Applied>> {
        // Looked at before it is counted: who waits for the count may bend it otherwise.
        let bend = self.now();
        self.applies.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut epoch = epoch;
        match bend {
            Bend::ApplyFails => return Err(Bent::away()),
            Bend::ApplyWaits => self.gate.acquire().await.unwrap().forget(),
            Bend::ApplyWaitsAndFails => {
                self.gate.acquire().await.unwrap().forget();
                return Err(Bent::away());
            }
            Bend::AnyEpoch => epoch = u64::MAX,
            Bend::Unguarded => {
                for put in &mut puts {
                    put.stamp = self.above_held(put).await;
                }
            }
            Bend::NoTombstones => {
                for put in &mut puts {
                    if self.inner.fetch(&put.key).await?.image.is_none() {
                        put.stamp = self.above_held(put).await;
                    }
                }
            }
            _ => {}
        }
        self.inner.apply(epoch, puts, checkpoint).await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        self.inner.checkpoints(run).await
    }
}

#[async_trait]
impl Capture for Bent {
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
        if self.now() == Bend::ClearsAny {
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
impl Inspect for Bent {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.inner.inspect().await
    }
}

impl Store for Bent {
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

    fn vitals(&self) -> Option<&dyn Vitals> {
        self.inner.vitals()
    }
}
