//! A store whose calls fail on cue.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::{
    Applied, Capture, Checkpoint, CheckpointStep, Chunk, ChunkMax, Covers, Cursor, DirtyMark, Estimate, Fence, Fetched,
    Follower, IdempotencyRow, Inspect, Inspection, Load, Put, Reader, ScanRange, Store, Vitals, Write, Writer, Written,
};
use shearwater_core::{Document, Key, Stamp};

use super::cue::{Call, Cue, Fault, Repeat, When};

/// A store around a store.
pub struct Faulty {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    cues: Vec<Cue>,
    calls: HashMap<Call, u64>,
    /// Calls that still pass before the store is cut off; `None`: it is not going to be.
    left: Option<u64>,
    /// What the store says of its load; `None`: what the inner one says.
    load: Option<StoreResult<Load>>,
}

impl Faulty {
    /// Around a store, without cues.
    pub fn around(inner: Arc<dyn Store>) -> Arc<Faulty> {
        Arc::new(Faulty { inner, script: Mutex::default() })
    }

    /// Adds a cue.
    pub fn cue(&self, cue: Cue) {
        self.script().cues.push(cue);
    }

    /// The next call of this kind fails.
    pub fn fail(&self, call: Call, when: When, kind: StoreErrorKind) {
        self.cue(Cue::fail(call, when, kind));
    }

    /// Lets `calls` more calls pass and then cuts the store off: every call
    /// fails with `Unavailable` and does not reach it.
    pub fn cut_after(&self, calls: u64) {
        self.script().left = Some(calls);
    }

    /// Forgets all cues and ends a cut.
    pub fn heal(&self) {
        let mut script = self.script();
        script.cues.clear();
        script.left = None;
    }

    /// From now on the store says this of its load.
    pub fn claim_load(&self, load: StoreResult<Load>) {
        self.script().load = Some(load);
    }

    /// How many calls of a kind there were, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls there were.
    pub fn calls_all(&self) -> u64 {
        self.script().calls.values().sum()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, call: Call, inner: impl Future<Output = StoreResult<T>> + Send) -> StoreResult<T> {
        let (before, after) = self.script().next(call)?;
        follow(call, When::Before, before).await?;
        let result = inner.await?;
        follow(call, When::After, after).await?;
        Ok(result)
    }
}

impl Script {
    /// Counts a call; what goes wrong before it, and after it.
    fn next(&mut self, call: Call) -> StoreResult<(Vec<Fault>, Vec<Fault>)> {
        *self.calls.entry(call).or_default() += 1;
        match &mut self.left {
            Some(0) => return Err(told(call, "cut off", StoreErrorKind::Unavailable)),
            Some(left) => *left -= 1,
            None => {}
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        self.cues.retain_mut(|cue| {
            if cue.call.is_some_and(|c| c != call) {
                return true;
            }
            if cue.skip > 0 {
                cue.skip -= 1;
                return true;
            }
            match cue.when {
                When::Before => before.push(cue.fault.clone()),
                When::After => after.push(cue.fault.clone()),
            }
            cue.repeat == Repeat::Always
        });
        Ok((before, after))
    }
}

fn told(call: Call, place: &str, kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, format!("fault on cue: {call:?}, {place}"))
}

async fn follow(call: Call, when: When, faults: Vec<Fault>) -> StoreResult<()> {
    for fault in faults {
        match fault {
            Fault::Fail(kind) => {
                let place = if when == When::Before { "before" } else { "after" };
                return Err(told(call, place, kind));
            }
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Hold(held) => held.stand().await,
        }
    }
    Ok(())
}

#[async_trait]
impl Reader for Faulty {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        self.call(Call::Fetch, self.inner.fetch(key)).await
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        self.call(Call::FetchMany, self.inner.fetch_many(keys)).await
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        self.call(Call::Split, self.inner.split(parts)).await
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        self.call(Call::Scan, self.inner.scan(range, after, max)).await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.call(Call::Estimate, self.inner.estimate()).await
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.call(Call::List, self.inner.list(query)).await
    }
}

#[async_trait]
impl Writer for Faulty {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        self.call(Call::Write, self.inner.write(write)).await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        self.call(Call::Recall, self.inner.recall(idempotency_key)).await
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        self.call(Call::ForgetIdempotency, self.inner.forget_idempotency(before_ms)).await
    }
}

#[async_trait]
impl Follower for Faulty {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        self.call(Call::Apply, self.inner.apply(epoch, puts, checkpoint)).await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        self.call(Call::Checkpoints, self.inner.checkpoints(run)).await
    }
}

#[async_trait]
impl Capture for Faulty {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        self.call(Call::Provision, self.inner.provision()).await
    }

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        self.call(Call::Constrain, self.inner.constrain()).await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        self.call(Call::Install, self.inner.install(fence)).await
    }

    async fn remove(&self) -> StoreResult<()> {
        self.call(Call::Remove, self.inner.remove()).await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        self.call(Call::Fence, self.inner.fence()).await
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        self.call(Call::SetFence, self.inner.set_fence(expect, new)).await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        self.call(Call::Dirty, self.inner.dirty(after, marks_max)).await
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        self.call(Call::DirtyCount, self.inner.dirty_count()).await
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        self.call(Call::Clear, self.inner.clear(marks)).await
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        self.call(Call::Foreign, self.inner.foreign(keys_max)).await
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        self.call(Call::ClearForeign, self.inner.clear_foreign(keys)).await
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        self.call(Call::SidecarNames, self.inner.sidecar_names()).await
    }
}

#[async_trait]
impl Inspect for Faulty {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.call(Call::Inspect, self.inner.inspect()).await
    }
}

impl Store for Faulty {
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
        if self.script().load.is_some() { Some(self) } else { self.inner.vitals() }
    }
}

#[async_trait]
impl Vitals for Faulty {
    async fn load(&self) -> StoreResult<Load> {
        let load = self.script().load.clone();
        load.unwrap_or_else(|| Ok(Load::default()))
    }
}
