//! Writing as the follower: guarded puts in batches.
//!
//! Each put is one conditional operation on one document, tombstones too, so two
//! puts of one key cannot pass each other and no transaction is needed. A first
//! backfill is plain inserts. What meets a document is compared with it, and then
//! replaces it on the condition that the document still has the mark that was
//! seen; a put that loses looks again. The operations of a batch are sent together,
//! unordered; one that is refused does not hold up the others.
//!
//! The checkpoint is saved after the rows, which a majority has by then: after a
//! crash it may stand behind them (the puts in between change nothing the second
//! time), never ahead.
//!
//! The fence is read before the batch and not with each operation. A put that was
//! admitted before the fence was set, and lands after it, does no harm: whatever
//! the authority has written since has a higher stamp, and its own content is the
//! one that the drain has confirmed.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::bson::{Document as Bson, RawDocumentBuf};
use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Fence, Follower, Image, Put, Role};

use super::error::{Failure, PartError, Tried, part_errors};
use super::raw::{Doc, Owned, find, ty};
use super::record::{Dirty, RESERVED, Row};
use super::{Inner, MongoDb, no_sidecar, tombstone};
use crate::relational::refused;

/// Batches side by side that the server takes with profit.
pub(super) const APPLIERS: usize = 4;

/// Bytes of documents in one command: the server takes 48,000,000 in a message.
const COMMAND_BYTES_MAX: usize = 16_000_000;

/// Operations in one command; the server takes 100,000.
const COMMAND_PARTS_MAX: usize = 10_000;

/// How often a batch looks again at documents that others have changed meanwhile.
const LOOKS_MAX: usize = 20;

fn check_fence(table: &str, fence: Fence, epoch: u64) -> StoreResult<()> {
    if fence.epoch > epoch {
        let what = format!("collection {table:?}: the puts have epoch {epoch}, the store is at {}", fence.epoch);
        return Err(StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, what));
    }
    if fence.role == Role::Authority {
        let what = format!("collection {table:?} is the authority: it takes no follower's puts");
        return Err(StoreError::new(StoreErrorKind::FenceClosed, what));
    }
    Ok(())
}

/// A put with its `_id`.
struct Work<'a> {
    at: usize,
    put: &'a Put,
    id: Owned,
    /// Whether its key was taken though nothing was under it.
    met: bool,
}

/// How a unique value that is taken counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It may be free when the rest of the batch is in.
    Pending,
    /// It is a refusal.
    Refused,
}

struct Batch<'a> {
    inner: &'a Inner,
    out: Vec<Applied>,
}

impl Batch<'_> {
    fn refuse(&mut self, at: usize, error: StoreError) -> Tried<()> {
        match error.kind {
            StoreErrorKind::Refused { .. } => {
                self.out[at] = Applied::Refused(error);
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// The first way: nothing is there and nothing has a stamp. Answers the puts
    /// that met something.
    async fn insert<'w>(&mut self, work: Vec<Work<'w>>) -> Tried<Vec<Work<'w>>> {
        let records = &self.inner.records;
        let mut left = Vec::new();
        let (mut ready, mut documents) = (Vec::new(), Vec::new());
        for one in work {
            match &one.put.image {
                Some(Image { record, parked }) if one.put.stamp == Stamp::ZERO && parked.is_empty() => {
                    match records.document(&one.put.key, record, None, None) {
                        Ok(document) => {
                            documents.push(document);
                            ready.push(one);
                        }
                        Err(error) => self.refuse(one.at, error)?,
                    }
                }
                _ => left.push(one),
            }
        }
        let mut ready = ready.into_iter();
        for part in parts_of(documents) {
            let ours: Vec<Work<'w>> = ready.by_ref().take(part.len()).collect();
            let mut command = Doc::new();
            command.text("insert", &records.table).begin_array("documents");
            for (n, document) in part.iter().enumerate() {
                command.document(&n.to_string(), document);
            }
            let refused = self.send("inserting records", command).await?;
            let met: HashMap<usize, PartError> = refused.into_iter().map(|part| (part.index, part)).collect();
            for (n, one) in ours.into_iter().enumerate() {
                match met.get(&n) {
                    None => self.out[one.at] = Applied::Changed,
                    // A unique value that is taken is looked at with what is there.
                    Some(_) => left.push(one),
                }
            }
        }
        Ok(left)
    }

    /// Ends a command that writes several documents, and sends it.
    async fn send(&self, what: &str, mut command: Doc) -> Tried<Vec<PartError>> {
        command.close().no("ordered");
        self.inner.server.acknowledged(&mut command);
        let answer = self.inner.server.run(what, command.end()).await.map_err(Failure::of_a_repeatable)?;
        part_errors(what, &answer).map_err(Failure::of_a_repeatable)
    }

    /// Compares each put with what is there, then writes what has to be written.
    /// Answers those whose unique value is taken.
    async fn guarded<'w>(&mut self, mut work: Vec<Work<'w>>, taken: Taken) -> Tried<Vec<Work<'w>>> {
        let mut pending = Vec::new();
        for _ in 0..LOOKS_MAX {
            if work.is_empty() {
                return Ok(pending);
            }
            let held = self.inner.rows_of(work.iter().map(|one| &one.id)).await?;
            let mut todo = Vec::new();
            for one in work {
                let row = held.get(&one.put.key);
                if let Some(operation) = self.operation(&one, row)? {
                    todo.push((one, operation));
                }
            }
            work = self.write(todo, taken, &mut pending).await?;
        }
        Err(Failure::lost_race())
    }

    /// What a put makes of what is there; `None`: it is answered.
    fn operation(&mut self, one: &Work<'_>, row: Option<&Row>) -> Tried<Option<Operation>> {
        let Work { at, put, .. } = one;
        if row.is_none() && one.met {
            let what = "the collection holds an _id that MongoDB takes for equal to this one";
            let records = &self.inner.records;
            let error = refused(&records.table, &records.keys.names().join(", "), what);
            return self.refuse(*at, error).map(|()| None);
        }
        let held = row.map_or(Stamp::ZERO, Row::stamp);
        if held > put.stamp {
            // Our own earlier look may have put it there already: then it is not stale.
            self.out[*at] = Applied::Stale { held };
            return Ok(None);
        }
        if is_same(put, row) {
            if self.out[*at] != Applied::Changed {
                self.out[*at] = Applied::Unchanged;
            }
            if held == put.stamp {
                return Ok(None);
            }
        } else {
            self.out[*at] = Applied::Changed;
        }
        let records = &self.inner.records;
        let has_field = put.stamp > Stamp::ZERO || row.is_some_and(|row| row.mark.is_some());
        let document = match &put.image {
            None => Ok(tombstone::document(&one.id, put.stamp, Dirty::No, &self.inner.facts().unique)),
            Some(image) => {
                let marked = has_field || !image.parked.is_empty();
                let mark = marked.then_some((&put.stamp, &image.parked, Dirty::No));
                records.document(&put.key, &image.record, mark, row.map(|row| row.raw.as_bytes()))
            }
        };
        match document {
            Ok(document) => {
                let id = row.and_then(|row| find(row.raw.as_bytes(), "_id")).map_or_else(|| one.id.clone(), Owned::of);
                Ok(Some(Operation {
                    id,
                    mark: row.map(seen_mark),
                    document,
                    gone: put.image.is_none(),
                    whole: None,
                    request: None,
                }))
            }
            Err(error) => self.refuse(*at, error).map(|()| None),
        }
    }

    /// Sends operations; answers the puts that have to look again.
    async fn write<'w>(
        &mut self,
        todo: Vec<(Work<'w>, Operation)>,
        taken: Taken,
        pending: &mut Vec<Work<'w>>,
    ) -> Tried<Vec<Work<'w>>> {
        let mut again = Vec::new();
        // Tombstones are not shown to the collection's validator.
        let (gone, there): (Vec<_>, Vec<_>) = todo.into_iter().partition(|(_, operation)| operation.gone);
        for (group, checked) in [(there, true), (gone, false)] {
            let sizes: Vec<usize> = group.iter().map(|(_, operation)| operation.document.len()).collect();
            let mut group = group.into_iter();
            for count in counts_of(&sizes) {
                let part: Vec<_> = group.by_ref().take(count).collect();
                let mut command = Doc::new();
                command.text("update", &self.inner.records.table);
                if !checked {
                    self.inner.unvalidated(&mut command);
                }
                command.begin_array("updates");
                for (n, (_, operation)) in part.iter().enumerate() {
                    operation.append(&mut command, n);
                }
                let refused = self.send("writing records", command).await?;
                let refused: HashMap<usize, PartError> = refused.into_iter().map(|part| (part.index, part)).collect();
                for (n, (one, operation)) in part.into_iter().enumerate() {
                    match refused.get(&n) {
                        None => {}
                        // The document has another mark by now, or is there by now.
                        Some(part) if part.key_taken => again.push(Work { met: operation.mark.is_none(), ..one }),
                        Some(part) if part.failure.code == super::error::code::DUPLICATE_KEY => match taken {
                            Taken::Pending => pending.push(one),
                            Taken::Refused => self.refuse(one.at, part.failure.error.clone())?,
                        },
                        Some(part) => self.refuse(one.at, part.failure.error.clone())?,
                    }
                }
            }
        }
        Ok(again)
    }

    /// Puts whose unique value was taken, as long as one of them finds it free.
    async fn settle(&mut self, mut pending: Vec<Work<'_>>) -> Tried<()> {
        loop {
            let before = pending.len();
            if before == 0 {
                return Ok(());
            }
            pending = self.guarded(pending, Taken::Pending).await?;
            if pending.len() == before {
                return self.guarded(pending, Taken::Refused).await.map(drop);
            }
        }
    }
}

/// A document on its way to the place of another.
pub(super) struct Operation {
    pub(super) id: Owned,
    /// What was seen there; `None`: nothing.
    pub(super) mark: Option<Seen>,
    pub(super) document: Vec<u8>,
    pub(super) gone: bool,
    /// What the whole document must still be, where its mark does not say enough.
    pub(super) whole: Option<RawDocumentBuf>,
    /// The idempotency key and the attempt that it is written by, on a standalone server.
    pub(super) request: Option<(String, String)>,
}

/// The mark that a document must still have.
pub(super) enum Seen {
    NoField,
    /// Its stamp, and what was put beside it when an intent was settled.
    Stamp(Stamp, Option<String>),
}

pub(super) fn seen_mark(row: &Row) -> Seen {
    match &row.mark {
        None => Seen::NoField,
        Some(mark) => Seen::Stamp(mark.stamp, mark.settled.clone()),
    }
}

impl Operation {
    pub(super) fn append(&self, command: &mut Doc, n: usize) {
        command.begin(&n.to_string()).begin("q").begin("_id").put("$eq", self.id.get()).close();
        match &self.mark {
            // Nothing has this condition, so it is an insert, or the key is taken.
            None => {
                command.begin(RESERVED).text("$eq", "nothing").close();
            }
            Some(Seen::NoField) => {
                command.begin(RESERVED).no("$exists").close();
            }
            Some(Seen::Stamp(stamp, settled)) => {
                command.long("_shearwater.e", stamp.epoch as i64).long("_shearwater.c", stamp.counter as i64);
                match settled {
                    Some(value) => command.text("_shearwater.n", value),
                    None => command.begin("_shearwater.n").no("$exists").close(),
                };
            }
        }
        if let Some(whole) = &self.whole {
            command.begin("$expr").begin_array("$eq").text("0", "$$ROOT");
            command.begin("1").document("$literal", whole.as_bytes()).close().close().close();
        }
        command.close();
        command.begin_array("u").begin("0").begin("$replaceWith").document("$literal", &self.document).close().close();
        self.append_beside(command);
        command.close();
        // MongoDB takes no such expression where it may insert.
        if self.whole.is_none() {
            command.yes("upsert");
        }
        command.close();
    }
}

impl Operation {
    /// What stands beside the mark.
    fn append_beside(&self, command: &mut Doc) {
        let settled = match &self.mark {
            Some(Seen::Stamp(_, Some(value))) => Some(("n", value)),
            _ => None,
        };
        let request = self.request.iter().flat_map(|(key, token)| [("k", key), ("t", token)]);
        let beside: Vec<(&str, &String)> = settled.into_iter().chain(request).collect();
        if beside.is_empty() {
            return;
        }
        command.begin("1").begin("$set").begin(RESERVED);
        for (name, value) in beside {
            command.begin(name).text("$literal", value).close();
        }
        command.close().close().close();
    }
}

/// Whether the store holds this content. What cannot be read is not the same as anything.
fn is_same(put: &Put, row: Option<&Row>) -> bool {
    match (&put.image, row) {
        (None, row) => row.is_none_or(|row| !row.exists()),
        (Some(image), Some(Row { record: Some(Ok(record)), mark, .. })) => {
            let parked = mark.as_ref().map(|mark| &mark.parked);
            image.record == *record && parked.map_or(image.parked.is_empty(), |parked| *parked == image.parked)
        }
        (Some(_), _) => false,
    }
}

/// How many documents go into each command.
fn counts_of(sizes: &[usize]) -> Vec<usize> {
    let (mut counts, mut count, mut bytes) = (Vec::new(), 0, 0);
    for size in sizes {
        if count > 0 && (count == COMMAND_PARTS_MAX || bytes + size > COMMAND_BYTES_MAX) {
            counts.push(count);
            (count, bytes) = (0, 0);
        }
        count += 1;
        bytes += size;
    }
    if count > 0 {
        counts.push(count);
    }
    counts
}

fn parts_of(documents: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let sizes: Vec<usize> = documents.iter().map(Vec::len).collect();
    let mut documents = documents.into_iter();
    counts_of(&sizes).into_iter().map(|count| documents.by_ref().take(count).collect()).collect()
}

/// Puts of one key come one after the other: each of these has a key once.
fn rounds<'a>(inner: &Inner, puts: &'a [Put], out: &mut [Applied]) -> Tried<Vec<Vec<Work<'a>>>> {
    let mut rounds: Vec<Vec<Work<'a>>> = Vec::new();
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for (at, put) in puts.iter().enumerate() {
        let id = match inner.records.keys.id_of(&put.key) {
            Ok(id) => id,
            Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => {
                out[at] = Applied::Refused(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let round = seen.entry(put.key.order_bytes()).or_insert(0);
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(Work { at, put, id, met: false });
        *round += 1;
    }
    Ok(rounds)
}

async fn apply(inner: &Inner, epoch: u64, puts: &[Put], checkpoint: Option<&CheckpointStep>) -> Tried<Vec<Applied>> {
    let table = &inner.records.table;
    let state = inner.fences.state(inner).await?.ok_or_else(|| no_sidecar(table))?;
    check_fence(table, state.fence, epoch)?;
    let mut batch = Batch { inner, out: vec![Applied::Unchanged; puts.len()] };
    let rounds = rounds(inner, puts, &mut batch.out)?;
    let mut pending = Vec::new();
    for round in rounds {
        let left = if state.fence.role == Role::Follower { batch.insert(round).await? } else { round };
        pending.extend(batch.guarded(left, Taken::Pending).await?);
    }
    batch.settle(pending).await?;
    let out = batch.out;
    if let Some(step) = checkpoint {
        save_checkpoint(inner, &step.after(&out)).await?;
    }
    Ok(out)
}

fn checkpoint_id(run: &str, range: u32) -> Owned {
    let mut doc = Doc::new();
    doc.text("run", run).long("range", i64::from(range));
    Owned::new(ty::DOCUMENT, doc.end())
}

async fn save_checkpoint(inner: &Inner, checkpoint: &Checkpoint) -> Tried<()> {
    let body = serde_json::to_string(checkpoint)
        .map_err(|e| StoreError::new(StoreErrorKind::Unsupported, format!("a checkpoint cannot be written: {e}")))?;
    let mut update = Doc::new();
    update.text("update", &inner.fences.own).begin_array("updates").begin("0");
    update.begin("q").begin("_id").put("$eq", checkpoint_id(&checkpoint.run, checkpoint.range).get()).close().close();
    update.begin("u").begin("$set").text("run", &checkpoint.run).text("body", &body).close().close();
    update.yes("upsert").close().close();
    inner.server.acknowledged(&mut update);
    let answer = inner.server.run("saving a checkpoint", update.end()).await.map_err(Failure::of_a_repeatable)?;
    match part_errors("saving a checkpoint", &answer).map_err(Failure::of_a_repeatable)?.pop() {
        None => Ok(()),
        Some(part) => Err(part.failure),
    }
}

async fn load_checkpoints(inner: &Inner, run: &str) -> Tried<Vec<Checkpoint>> {
    let mut filter = Doc::new();
    filter.text("run", run);
    let found: Vec<RawDocumentBuf> = inner.all("reading checkpoints", &inner.fences.own, filter.end(), None).await?;
    let unreadable = || StoreError::new(StoreErrorKind::Sidecar, "a checkpoint cannot be read");
    let mut checkpoints = Vec::with_capacity(found.len());
    for raw in found {
        let document = Bson::try_from(raw).map_err(|_| unreadable())?;
        let body = document.get_str("body").map_err(|_| unreadable())?;
        checkpoints.push(serde_json::from_str::<Checkpoint>(body).map_err(|_| unreadable())?);
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.range);
    Ok(checkpoints)
}

#[async_trait]
impl Follower for MongoDb {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let inner = self.0.clone();
        MongoDb::to_the_end(async move {
            apply(&inner, epoch, &puts, checkpoint.as_ref()).await.map_err(|failure| failure.error)
        })
        .await
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        load_checkpoints(&self.0, run).await.map_err(|failure| failure.error)
    }
}
