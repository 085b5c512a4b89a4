//! Writing as the authority: one transaction over the stripe of the fence, the
//! documents of the changes and the idempotency key.
//!
//! The driver sends each command once. What fails before the commit has not
//! happened, and is run again from its beginning as long as the server says that
//! it only lost to another transaction or to an election. The commit alone is
//! repeated by the driver, under the transaction's number, so that the server does
//! it once; a commit without an answer is outcome-unknown.

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::Document as Bson;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Image, Role, Write, Writer, Written};
use shearwater_core::value::hash;
use shearwater_core::{Document, Key, Stamp};

use super::error::{Failure, Race, Tried, failure, part_errors};
use super::fence::STEP;
use super::raw::{Doc, Owned, ty};
use super::record::{Dirty, Row, Sidecar};
use super::{Inner, MongoDb, intent, no_sidecar, tombstone};
use crate::relational::refused;

/// What stands for the first change's stamp in an idempotency row's answer.
const STAMP_PLACE: &str = "{stamp}";

/// How long a write that loses to others is tried again, ms: an election takes
/// some seconds, and whoever waits for the answer has given up by then.
const TRY_MS_MAX: u64 = 8_000;

/// Pause before the second attempt, ms; it grows with each, up to the maximum.
const PAUSE_MS: u64 = 2;
const PAUSE_MS_MAX: u64 = 200;

/// Refuses a write that the fence does not admit.
pub(super) fn check_fence(table: &str, fence: Fence, epoch: Option<u64>) -> StoreResult<()> {
    let closed = |what: &str| StoreError::new(StoreErrorKind::FenceClosed, format!("collection {table:?} {what}"));
    match fence.role {
        Role::Authority => {}
        Role::Closed => return Err(closed("is closed for writes")),
        Role::Follower => return Err(closed("is a follower: it takes no writes of its own")),
    }
    let stale = |what: String| {
        let what = format!("collection {table:?}: {what}, the store is at {}", fence.epoch);
        StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, what)
    };
    match epoch {
        Some(epoch) if epoch >= fence.epoch => Ok(()),
        Some(epoch) => Err(stale(format!("the write has epoch {epoch}"))),
        None => Err(stale("the write has no epoch, but there is a sidecar".to_owned())),
    }
}

/// The row under a change's key; refuses a key that MongoDB takes for another one.
pub(super) fn held(inner: &Inner, change: &Change, found: Option<Row>) -> StoreResult<Option<Row>> {
    let Some(row) = found else { return Ok(None) };
    if row.key.as_ref().is_ok_and(|key| *key != change.key) {
        if change.image.is_none() || !row.exists() {
            return Ok(None);
        }
        let what = "the collection holds an _id that MongoDB takes for equal to this one";
        return Err(refused(&inner.records.table, &inner.records.keys.names().join(", "), what));
    }
    Ok(Some(row))
}

pub(super) fn check_expect(
    inner: &Inner,
    sidecar: Sidecar,
    change: &Change,
    row: Option<&Row>,
    at: usize,
) -> StoreResult<()> {
    let table = &inner.records.table;
    let stamp = row.map_or(Stamp::ZERO, Row::stamp);
    let exists = row.is_some_and(Row::exists);
    let holds = match change.expect {
        Expect::Any => true,
        Expect::Absent => !exists,
        Expect::Present => exists,
        Expect::Stamp(_) if sidecar == Sidecar::Absent => return Err(no_sidecar(table)),
        Expect::Stamp(expected) => stamp == expected && (exists || change.image.is_some()),
        Expect::Content(expected) => match row.and_then(|row| row.record.clone()).transpose()? {
            Some(record) => hash::document(&record) == expected,
            None => false,
        },
    };
    if holds {
        return Ok(());
    }
    let found = (exists && sidecar == Sidecar::Installed).then_some(stamp);
    Err(StoreError::new(
        StoreErrorKind::ExpectFailed { change: at, found, exists },
        format!("collection {table:?}: the record is not as change {at} expects it"),
    ))
}

/// One transaction under way.
struct Attempt<'a> {
    inner: &'a Inner,
    session: ClientSession,
}

impl Attempt<'_> {
    async fn run(&mut self, write: &Write, stripe: u8) -> Tried<Written> {
        let Inner { server, fences, records, .. } = self.inner;
        let admitted = fences.admit(server, Some(&mut self.session), stripe, write.changes.len()).await?;
        let Some(admitted) = admitted else { return self.run_plain(write).await };
        check_fence(&records.table, admitted.fence, write.epoch)?;
        if let Some(asked) = &write.idempotency
            && let Some(row) = self.recall(&asked.key).await?
        {
            if row.request_hash != asked.request_hash {
                let what = "the idempotency key was used before by another request";
                return Err(StoreError::new(StoreErrorKind::IdempotencyReused, what).into());
            }
            return Ok(Written::Replayed(row));
        }
        let mut stamps = Vec::with_capacity(write.changes.len());
        for (at, change) in write.changes.iter().enumerate() {
            let counter = admitted.counter + at as u64 * STEP;
            let stamp = Stamp::new(admitted.fence.epoch, counter);
            self.change(change, at, Some(stamp)).await?;
            stamps.push(Some(stamp));
        }
        if let Some(row) = &write.idempotency {
            self.remember(row, stamps.first().copied().flatten()).await?;
        }
        Ok(Written::Applied(stamps))
    }

    /// Writing where no sidecar is: before the start, and after `complete`.
    async fn run_plain(&mut self, write: &Write) -> Tried<Written> {
        check_plain(self.inner, write)?;
        for (at, change) in write.changes.iter().enumerate() {
            self.change(change, at, None).await?;
        }
        Ok(Written::Applied(vec![None; write.changes.len()]))
    }

    async fn change(&mut self, change: &Change, at: usize, stamp: Option<Stamp>) -> Tried<()> {
        let Inner { server, records, .. } = self.inner;
        let id = records.keys.id_of(&change.key)?;
        let found = server.find_in(&mut self.session, "reading a record", &records.table, &id).await?;
        let row = held(self.inner, change, found.map(|raw| records.read(raw)))?;
        let sidecar = if stamp.is_some() { Sidecar::Installed } else { Sidecar::Absent };
        check_expect(self.inner, sidecar, change, row.as_ref(), at)?;
        if let Some(stamp) = stamp {
            let before = row.as_ref().map_or(Stamp::ZERO, Row::stamp);
            if before >= stamp {
                // Its clock was ahead of ours; the next attempt is above it.
                self.inner.fences.see_counter(before.counter);
                return Err(Failure::lost_race());
            }
        }
        let command = match statement(self.inner, change, &id, row.as_ref(), stamp)? {
            Some(command) => command,
            None => return Ok(()),
        };
        let answer = server.run_in(&mut self.session, "writing a record", command.end()).await?;
        match part_errors("writing a record", &answer)?.pop() {
            None => Ok(()),
            // It was not there when it was looked for.
            Some(part) if part.key_taken => Err(Failure::lost_race()),
            Some(part) => Err(part.failure),
        }
    }

    /// Makes what somebody else wrote into a document of ours a write of the
    /// authority: stamped and marked, as it is there.
    async fn adopt(&mut self, key: &Key, stripe: u8) -> Tried<()> {
        let Inner { server, fences, records, .. } = self.inner;
        let Some(admitted) = fences.admit(server, Some(&mut self.session), stripe, 1).await? else { return Ok(()) };
        if admitted.fence.role != Role::Authority {
            return Ok(());
        }
        let id = records.keys.id_of(key)?;
        let found = server.find_in(&mut self.session, "reading a record", &records.table, &id).await?;
        let Some(row) = found.map(|raw| records.read(raw)).filter(Row::is_foreign) else { return Ok(()) };
        let (Some(Ok(record)), Some(mark)) = (row.record, row.mark) else { return Ok(()) };
        let image = Some(Image { record, parked: mark.parked });
        let change = Change { key: key.clone(), image, expect: Expect::Stamp(mark.stamp) };
        self.change(&change, 0, Some(Stamp::new(admitted.fence.epoch, admitted.counter))).await
    }

    async fn recall(&mut self, key: &str) -> Tried<Option<IdempotencyRow>> {
        let Inner { server, fences, .. } = self.inner;
        let id = idempotency_id(key);
        let found = server.find_in(&mut self.session, "reading an idempotency key", &fences.own, &id).await?;
        Ok(found.map(|raw| read_row(key, &raw)).transpose()?)
    }

    async fn remember(&mut self, row: &IdempotencyRow, first: Option<Stamp>) -> Tried<()> {
        let answer = answer_of(&row.answer, first);
        let Inner { server, fences, .. } = self.inner;
        let mut insert = Doc::new();
        insert.text("insert", &fences.own).begin_array("documents").begin("0");
        insert.put("_id", idempotency_id(&row.key).get());
        insert.text("hash", &format!("{:032x}", row.request_hash)).text("answer", &answer).long("at_ms", row.at_ms);
        insert.close().close();
        let answer = server.run_in(&mut self.session, "storing an idempotency key", insert.end()).await?;
        match part_errors("storing an idempotency key", &answer)?.pop() {
            None => Ok(()),
            // The same request is being answered elsewhere: run again, and replay it.
            Some(part) if part.key_taken => Err(Failure::lost_race()),
            Some(part) => Err(part.failure),
        }
    }
}

/// The answer of an idempotency row, with the stamp of the write's first change in it.
pub(super) fn answer_of(answer: &str, first: Option<Stamp>) -> String {
    match first {
        Some(stamp) => answer.replace(STAMP_PLACE, &stamp.to_string()),
        None => answer.to_owned(),
    }
}

/// What may be written without a sidecar.
fn check_plain(inner: &Inner, write: &Write) -> StoreResult<()> {
    let table = &inner.records.table;
    if let Some(epoch) = write.epoch {
        let error = no_sidecar(table);
        return Err(StoreError { message: format!("{}, but the write has epoch {epoch}", error.message), ..error });
    }
    if write.idempotency.is_some() {
        let what = format!("collection {table:?} has no sidecar to keep an idempotency key in");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("idempotency keys work from the start of the migration to its end"));
    }
    let parks = |change: &Change| change.image.as_ref().is_some_and(|image| !image.parked.is_empty());
    if write.changes.iter().any(parks) {
        let hint = "fields of the other shape can be parked only while the migration runs";
        return Err(no_sidecar(table).with_hint(hint));
    }
    Ok(())
}

/// The command that makes a change; `None`: there is nothing to do.
fn statement(
    inner: &Inner,
    change: &Change,
    id: &Owned,
    row: Option<&Row>,
    stamp: Option<Stamp>,
) -> StoreResult<Option<Doc>> {
    let records = &inner.records;
    let id = row.and_then(|row| super::raw::find(row.raw.as_bytes(), "_id")).map_or_else(|| id.clone(), Owned::of);
    let held = row.map(|row| row.raw.as_bytes());
    let mut command = Doc::new();
    match (&change.image, stamp) {
        (None, None) if row.is_none() => return Ok(None),
        (None, None) => {
            command.text("delete", &records.table).begin_array("deletes").begin("0");
            command.begin("q").begin("_id").put("$eq", id.get()).close().close().int("limit", 1).close().close();
        }
        (image, stamp) => {
            let document = match (image, stamp) {
                (Some(image), stamp) => {
                    let mark = stamp.as_ref().map(|stamp| (stamp, &image.parked, Dirty::Yes));
                    records.document(&change.key, &image.record, mark, held)?
                }
                (None, Some(stamp)) => tombstone::document(&id, stamp, Dirty::Yes, &inner.facts().unique),
                (None, None) => return Ok(None),
            };
            command.text("update", &records.table).begin_array("updates").begin("0");
            command.begin("q").begin("_id").put("$eq", id.get()).close().close();
            replacing(&mut command, &document);
            command.yes("upsert").close().close();
            if image.is_none() {
                inner.unvalidated(&mut command);
            }
        }
    }
    Ok(Some(command))
}

/// The part of an update that puts a whole document in the place of another:
/// taken literally, whatever its names are.
pub(super) fn replacing(command: &mut Doc, document: &[u8]) {
    command.begin_array("u").begin("0").begin("$replaceWith").document("$literal", document);
    command.close().close().close();
}

pub(super) fn idempotency_id(key: &str) -> Owned {
    let mut doc = Doc::new();
    doc.text("request", key);
    Owned::new(ty::DOCUMENT, doc.end())
}

pub(super) fn read_row(key: &str, raw: &mongodb::bson::RawDocument) -> StoreResult<IdempotencyRow> {
    let read = || {
        let document = Bson::try_from(raw).ok()?;
        let request_hash = u128::from_str_radix(document.get_str("hash").ok()?, 16).ok()?;
        let (answer, at_ms) = (document.get_str("answer").ok()?.to_owned(), document.get_i64("at_ms").ok()?);
        Some(IdempotencyRow { key: key.to_owned(), request_hash, answer, at_ms })
    };
    let what = "the sidecar holds an idempotency row that cannot be read";
    read().ok_or_else(|| StoreError::new(StoreErrorKind::Sidecar, what))
}

async fn write_until_done(inner: &Inner, write: &Write) -> StoreResult<Written> {
    for change in &write.changes {
        // What never fits is refused before anything is asked.
        inner.records.keys.id_of(&change.key)?;
        if let Some(image) = &change.image {
            inner.records.document(
                &change.key,
                &image.record,
                Some((&Stamp::ZERO, &Document::new(), Dirty::No)),
                None,
            )?;
        }
    }
    if !inner.server.has_transactions() {
        return match inner.state().await? {
            Some(_) => intent::write(inner, write).await,
            None => write_alone(inner, write).await,
        };
    }
    match repeated(inner, Task::Write(write)).await? {
        Some(written) => Ok(written),
        None => Ok(Written::Applied(Vec::new())),
    }
}

/// What a transaction is for.
#[derive(Clone, Copy)]
enum Task<'a> {
    Write(&'a Write),
    Adopt(&'a Key),
}

/// Makes a foreign write of this key a write of the authority.
pub(super) async fn adopt(inner: &Inner, key: &Key) -> StoreResult<()> {
    match inner.server.has_transactions() {
        true => repeated(inner, Task::Adopt(key)).await.map(drop),
        false => intent::adopt(inner, key).await,
    }
}

/// Transactions until one of them does not lose.
async fn repeated(inner: &Inner, task: Task<'_>) -> StoreResult<Option<Written>> {
    let begun = std::time::Instant::now();
    let mut pause = None;
    let mut stripe = inner.stripes.take().await;
    loop {
        let failed = match attempt(inner, task, stripe.number()).await {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        if failed.race == Race::None || !pause_before_next(begun, &mut pause).await {
            return Err(failed.error);
        }
        stripe.rotate();
    }
}

/// Waits before another attempt; `false`: there have been enough.
pub(super) async fn pause_before_next(begun: std::time::Instant, pause: &mut Option<u64>) -> bool {
    if begun.elapsed().as_millis() as u64 >= TRY_MS_MAX {
        return false;
    }
    let now = pause.map_or(PAUSE_MS, |before| (before * 2).min(PAUSE_MS_MAX));
    *pause = Some(now);
    tokio::time::sleep(std::time::Duration::from_millis(now)).await;
    true
}

async fn attempt(inner: &Inner, task: Task<'_>, stripe: u8) -> Tried<Option<Written>> {
    let session = inner.server.transaction().await?;
    let mut attempt = Attempt { inner, session };
    let worked = match task {
        Task::Write(write) => attempt.run(write, stripe).await.map(Some),
        Task::Adopt(key) => attempt.adopt(key, stripe).await.map(|()| None),
    };
    match worked {
        Ok(done) => {
            let committed = inner.server.commit(&mut attempt.session).await;
            committed.map_err(|error| failure("committing a write", &error))?;
            Ok(done)
        }
        Err(mut failed) => {
            let _ = attempt.session.abort_transaction().await;
            // Before the commit nothing has happened.
            if failed.error.kind == StoreErrorKind::OutcomeUnknown {
                failed = failed.of_a_repeatable();
                failed.race = Race::Lost;
            }
            Err(failed)
        }
    }
}

/// On a standalone server without a sidecar: one change at a time.
async fn write_alone(inner: &Inner, write: &Write) -> StoreResult<Written> {
    check_plain(inner, write)?;
    let [change] = write.changes.as_slice() else {
        return Err(super::error::no_set("a write of several changes"));
    };
    let Inner { server, records, .. } = inner;
    let id = records.keys.id_of(&change.key)?;
    let found = server.find("reading a record", &records.table, &id).await.map_err(|failure| failure.error)?;
    let row = held(inner, change, found.map(|raw| records.read(raw)))?;
    check_expect(inner, Sidecar::Absent, change, row.as_ref(), 0)?;
    let Some(mut command) = statement(inner, change, &id, row.as_ref(), None)? else {
        return Ok(Written::Applied(vec![None]));
    };
    server.acknowledged(&mut command);
    let answer = server.run("writing a record", command.end()).await.map_err(|failure| failure.error)?;
    match part_errors("writing a record", &answer).map_err(|failure| failure.error)?.pop() {
        None => Ok(Written::Applied(vec![None])),
        Some(part) => Err(part.failure.error),
    }
}

/// The row of an idempotency key; one that is pending is settled first.
async fn final_row(inner: &Inner, id: &Owned) -> StoreResult<Option<mongodb::bson::RawDocumentBuf>> {
    loop {
        let found = inner.server.find("reading an idempotency key", &inner.fences.own, id).await;
        match found.map_err(|failure| failure.error)? {
            Some(raw) if intent::is_pending(&raw) => {
                intent::settle(inner, &raw).await.map_err(|failure| failure.error)?
            }
            found => return Ok(found),
        }
    }
}

#[async_trait]
impl Writer for MongoDb {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        let inner: Arc<Inner> = self.0.clone();
        MongoDb::to_the_end(async move { write_until_done(&inner, &write).await }).await
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        let inner = self.0.clone();
        let id = idempotency_id(idempotency_key);
        let found = MongoDb::to_the_end(async move { final_row(&inner, &id).await }).await?;
        found.map(|raw| read_row(idempotency_key, &raw)).transpose()
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        let Inner { server, fences, .. } = &*self.0;
        let mut delete = Doc::new();
        delete.text("delete", &fences.own).begin_array("deletes").begin("0").begin("q");
        delete.begin("_id.request").yes("$exists").close().begin("at_ms").long("$lt", before_ms).close();
        delete.begin(intent::TOKEN).no("$exists").close().close();
        delete.int("limit", 0).close().close();
        server.acknowledged(&mut delete);
        let answer = server.run("forgetting idempotency keys", delete.end()).await;
        let answer = answer.map_err(|failure| failure.of_a_repeatable().error)?;
        part_errors("forgetting idempotency keys", &answer).map_err(|failure| failure.error)?;
        Ok(answer.get_i32("n").unwrap_or_default().max(0) as u64)
    }
}
