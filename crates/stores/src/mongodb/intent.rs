//! Writing as the authority on a standalone server, which has no transactions:
//! one conditional update of one document, with an intent around it.
//!
//! A write is: (1) read the document; (2) write an intent that names it; (3) ask
//! the fence; (4) replace the document if it still has the mark that was read;
//! (5) take the intent out. Setting the fence is: raise the stripes, then settle
//! every intent that is there. Settling one is: (a) put a value that never was
//! there before beside the document's mark (`n`; where no document is, a tombstone
//! without a stamp is put), so that whoever has read it before (a) loses in (4);
//! (b) take the intent out. Stamp and dirty mark stay as they are.
//!
//! Why no write admitted under the old fence lands after the setting: it has
//! written its intent (2) before it asked (3), so before the raise ended. Then the
//! intent is there when the setting looks, and (a) comes before the end of the
//! setting; or it is not there any more because (5) is over, so (4) is; or because
//! somebody settled it, and (a) came after (1), so (4) fails. Each attempt begins
//! again at (1) with an intent of its own.
//!
//! | the writer dies after | what stands there | who settles it |
//! |---|---|---|
//! | (1) | nothing | – |
//! | (2), (3) | an intent | the next setting of the fence; nothing was written |
//! | (4) | the record, stamped and dirty by (4) itself, and an intent | the same; the record stays, and the reconciler follows it |
//!
//! With an idempotency key, the intent is the key's row, pending: its `_id` lets
//! one request in at a time. (4) puts the key and the attempt's token beside the
//! mark (`k`, `t`), and (5) makes the row final instead of taking it out. Whoever
//! meets a pending row (the same request, `recall`, the fence) does (a), and then
//! the document tells for ever: it has the token, and the row becomes final with
//! the document's stamp; or it has not, and the row goes. Whoever replaces a
//! document that has a token makes that row final first, so the proof is never
//! lost.
//!
//! A server that is killed keeps what it has journaled, in order. Every step here
//! is journaled before the next one. Readers see a write before that; so a read
//! that finds a dirty mark flushes the journal before it answers, and no follower
//! gets what the authority may lose.
//!
//! What a removed sidecar cannot stop: a settling that stalls between finding an
//! intent and (a), for as long as `complete` takes, leaves our field in a document.

use mongodb::bson::RawDocumentBuf;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Change, Expect, IdempotencyRow, Image, Role, Write, Written};
use shearwater_core::value::hash;
use shearwater_core::{Key, Stamp};

use super::apply::{Operation, seen_mark};
use super::error::{Failure, Race, Tried, no_set, part_errors};
use super::fence::Admission;
use super::raw::{Doc, Owned, find, ty};
use super::record::{Dirty, RESERVED, Row, Sidecar};
use super::write::{answer_of, check_expect, check_fence, held, idempotency_id, pause_before_next, read_row};
use super::{Inner, tombstone};

/// The field that only an intent has.
pub(super) const TOKEN: &str = "token";

/// What was written down before a write.
struct Intent {
    id: Owned,
    token: String,
}

fn new_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Runs a command that writes one thing to our own collection.
async fn own(inner: &Inner, what: &str, mut command: Doc) -> Tried<bool> {
    inner.server.acknowledged(&mut command);
    let answer = inner.server.run(what, command.end()).await.map_err(Failure::of_a_repeatable)?;
    match part_errors(what, &answer)?.pop() {
        None => Ok(answer.get_i32("n").unwrap_or_default() > 0),
        Some(part) if part.key_taken => Ok(false),
        Some(part) => Err(part.failure),
    }
}

impl Intent {
    /// Writes it down; `None`: a row of this idempotency key is there already.
    async fn begin(inner: &Inner, target: &Owned, request: Option<&IdempotencyRow>) -> Tried<Option<Intent>> {
        let token = new_token();
        let id = match request {
            Some(row) => idempotency_id(&row.key),
            None => {
                let mut doc = Doc::new();
                doc.text("intent", &token);
                Owned::new(ty::DOCUMENT, doc.end())
            }
        };
        let mut insert = Doc::new();
        insert.text("insert", &inner.fences.own).begin_array("documents").begin("0").put("_id", id.get());
        insert.text(TOKEN, &token).begin("target").put("_id", target.get()).close();
        if let Some(row) = request {
            insert.text("hash", &format!("{:032x}", row.request_hash)).text("answer", &row.answer);
            insert.long("at_ms", row.at_ms);
        }
        insert.close().close();
        let is_new = own(inner, "writing an intent", insert).await?;
        Ok(is_new.then_some(Intent { id, token }))
    }

    /// Takes it out: nothing was written, and nothing will be.
    async fn withdraw(&self, inner: &Inner) -> Tried<()> {
        let mut delete = Doc::new();
        delete.text("delete", &inner.fences.own).begin_array("deletes").begin("0").begin("q");
        delete.begin("_id").put("$eq", self.id.get()).close().text(TOKEN, &self.token).close();
        delete.int("limit", 1).close().close();
        own(inner, "withdrawing an intent", delete).await.map(drop)
    }

    /// The write is there: the row of its key becomes final.
    async fn finish(&self, inner: &Inner, request: Option<&str>, stamp: Stamp) -> Tried<()> {
        let Some(answer) = request else { return self.withdraw(inner).await };
        let mut update = Doc::new();
        update.text("update", &inner.fences.own).begin_array("updates").begin("0").begin("q");
        update.begin("_id").put("$eq", self.id.get()).close().text(TOKEN, &self.token).close();
        update.begin("u").begin("$set").text("answer", &answer_of(answer, Some(stamp))).close();
        update.begin("$unset").text(TOKEN, "").text("target", "").close().close().close().close();
        own(inner, "storing an idempotency key", update).await.map(drop)
    }
}

/// Whether a row of our own collection is an intent.
pub(super) fn is_pending(raw: &RawDocumentBuf) -> bool {
    find(raw.as_bytes(), TOKEN).is_some()
}

/// Settles every intent that is there.
pub(super) async fn settle_all(inner: &Inner) -> Tried<()> {
    let mut condition = Doc::new();
    condition.begin(TOKEN).yes("$exists").close();
    for raw in inner.all("reading intents", &inner.fences.own, condition.end(), None).await? {
        settle(inner, &raw).await?;
    }
    Ok(())
}

/// Settles one: whoever wrote it down does not write any more.
pub(super) async fn settle(inner: &Inner, raw: &RawDocumentBuf) -> Tried<()> {
    let unreadable = || StoreError::new(StoreErrorKind::Sidecar, "an intent cannot be read");
    let read = mongodb::bson::Document::try_from(raw.clone()).map_err(|_| unreadable())?;
    let id = find(raw.as_bytes(), "_id").map(Owned::of).ok_or_else(unreadable)?;
    let token = read.get_str(TOKEN).map_err(|_| unreadable())?.to_owned();
    let target = find(raw.as_bytes(), "target").and_then(|target| find(target.bytes, "_id")).map(Owned::of);
    let target = target.ok_or_else(unreadable)?;
    let intent = Intent { id, token };
    unlike_before(inner, &target).await?;
    let found = inner.server.find("reading a record", &inner.records.table, &target).await?;
    let mark = found.map(|raw| inner.records.read(raw)).and_then(|row| row.mark);
    match mark.filter(|mark| mark.token.as_ref() == Some(&intent.token)) {
        Some(mark) => intent.finish(inner, read.get_str("answer").ok(), mark.stamp).await,
        None => intent.withdraw(inner).await,
    }
}

/// Makes every write fail that has read this document before.
async fn unlike_before(inner: &Inner, id: &Owned) -> Tried<()> {
    let table = &inner.records.table;
    let value = new_token();
    for _ in 0..LOOKS_MAX {
        let mut update = Doc::new();
        update.text("update", table);
        inner.unvalidated(&mut update);
        update.begin_array("updates").begin("0").begin("q").begin("_id").put("$eq", id.get()).close().close();
        update.begin_array("u").begin("0").begin("$set").begin(RESERVED).begin_array("$mergeObjects");
        update.begin("0").long("e", 0).long("c", 0).close().text("1", "$_shearwater");
        update.begin("2").text("n", &value).close().close().close().close().close().close().close().close();
        if own(inner, "settling an intent", update).await? {
            return Ok(());
        }
        let document = tombstone::unstamped(id, &value, &inner.facts().unique);
        let mut insert = Doc::new();
        insert.text("insert", table);
        inner.unvalidated(&mut insert);
        insert.begin_array("documents").document("0", &document).close();
        if own(inner, "settling an intent", insert).await? {
            return Ok(());
        }
    }
    Err(Failure::lost_race())
}

/// How often settling looks again at a document that comes and goes.
const LOOKS_MAX: usize = 20;

/// A write of one change, until it does not lose.
pub(super) async fn write(inner: &Inner, write: &Write) -> StoreResult<Written> {
    let [change] = write.changes.as_slice() else {
        return Err(no_set("a write of several changes"));
    };
    let begun = std::time::Instant::now();
    let mut pause = None;
    let mut stripe = inner.stripes.take().await;
    loop {
        let failed = match attempt(inner, write, change, stripe.number()).await {
            Ok(written) => return Ok(written),
            Err(failed) => failed,
        };
        if failed.race == Race::None || !pause_before_next(begun, &mut pause).await {
            return Err(failed.error);
        }
        stripe.rotate();
    }
}

async fn admitted(inner: &Inner, write: &Write, stripe: u8) -> Tried<Admission> {
    let admission = inner.fences.admit(&inner.server, None, stripe, 1).await?.ok_or_else(Failure::lost_race)?;
    check_fence(&inner.records.table, admission.fence, write.epoch)?;
    Ok(admission)
}

async fn attempt(inner: &Inner, write: &Write, change: &Change, stripe: u8) -> Tried<Written> {
    let records = &inner.records;
    let id = records.keys.id_of(&change.key)?;
    let found = inner.server.find("reading a record", &records.table, &id).await?;
    let row = held(inner, change, found.map(|raw| records.read(raw)))?;
    let request = write.idempotency.as_ref();
    let Some(intent) = Intent::begin(inner, &id, request).await? else {
        return replayed(inner, write, stripe).await;
    };
    let worked = compare_and_set(inner, write, change, (&id, row.as_ref()), (&intent, stripe)).await;
    match worked {
        Ok(stamp) => {
            // The write is there and durable; what is left of it here, the next who meets it finishes.
            let _ = intent.finish(inner, request.map(|row| row.answer.as_str()), stamp).await;
            Ok(Written::Applied(vec![Some(stamp)]))
        }
        Err(failed) => {
            if failed.error.kind != StoreErrorKind::OutcomeUnknown {
                let _ = intent.withdraw(inner).await;
            }
            Err(failed)
        }
    }
}

/// What the row of the idempotency key says, once it is final.
async fn replayed(inner: &Inner, write: &Write, stripe: u8) -> Tried<Written> {
    admitted(inner, write, stripe).await?;
    let Some(asked) = &write.idempotency else { return Err(Failure::lost_race()) };
    let id = idempotency_id(&asked.key);
    let found = inner.server.find("reading an idempotency key", &inner.fences.own, &id).await?;
    let Some(raw) = found else { return Err(Failure::lost_race()) };
    let row = read_row(&asked.key, &raw)?;
    if row.request_hash != asked.request_hash {
        let what = "the idempotency key was used before by another request";
        return Err(StoreError::new(StoreErrorKind::IdempotencyReused, what).into());
    }
    if is_pending(&raw) {
        settle(inner, &raw).await?;
        return Err(Failure::lost_race());
    }
    Ok(Written::Replayed(row))
}

async fn compare_and_set(
    inner: &Inner,
    write: &Write,
    change: &Change,
    (id, row): (&Owned, Option<&Row>),
    (intent, stripe): (&Intent, u8),
) -> Tried<Stamp> {
    let records = &inner.records;
    let admission = admitted(inner, write, stripe).await?;
    let stamp = Stamp::new(admission.fence.epoch, admission.counter);
    check_expect(inner, Sidecar::Installed, change, row, 0)?;
    let before = row.map_or(Stamp::ZERO, Row::stamp);
    if before >= stamp {
        // Its clock was ahead of ours; the next attempt is above it.
        inner.fences.see_counter(before.counter);
        return Err(Failure::lost_race());
    }
    if let Some(row) = row {
        finish_earlier(inner, row).await?;
    }
    let id = row.and_then(|row| find(row.raw.as_bytes(), "_id")).map_or_else(|| id.clone(), Owned::of);
    let document = match &change.image {
        Some(image) => {
            let mark = Some((&stamp, &image.parked, Dirty::Yes));
            records.document(&change.key, &image.record, mark, row.map(|row| row.raw.as_bytes()))?
        }
        None => tombstone::document(&id, stamp, Dirty::Yes, &inner.facts().unique),
    };
    let whole = row.filter(|_| matches!(change.expect, Expect::Content(_))).map(|row| row.raw.clone());
    let request = write.idempotency.as_ref().map(|row| (row.key.clone(), intent.token.clone()));
    let operation = Operation { id, mark: row.map(seen_mark), document, gone: change.image.is_none(), whole, request };
    let mut command = Doc::new();
    command.text("update", &records.table);
    if operation.gone {
        inner.unvalidated(&mut command);
    }
    command.begin_array("updates");
    operation.append(&mut command, 0);
    command.close();
    inner.server.acknowledged(&mut command);
    let answer = inner.server.run("writing a record", command.end()).await?;
    match part_errors("writing a record", &answer)?.pop() {
        None if answer.get_i32("n").unwrap_or_default() == 0 => Err(Failure::lost_race()),
        None => Ok(stamp),
        Some(part) if part.key_taken => Err(Failure::lost_race()),
        Some(part) => Err(part.failure),
    }
}

/// The row of the idempotency key that the document proves becomes final.
async fn finish_earlier(inner: &Inner, row: &Row) -> Tried<()> {
    let Some(mark) = &row.mark else { return Ok(()) };
    let (Some(key), Some(token)) = (&mark.request, &mark.token) else { return Ok(()) };
    let id = idempotency_id(key);
    let found = inner.server.find("reading an idempotency key", &inner.fences.own, &id).await?;
    let Some(raw) = found.filter(is_pending) else { return Ok(()) };
    let pending = read_row(key, &raw)?;
    let intent = Intent { id, token: token.clone() };
    intent.finish(inner, Some(&pending.answer), mark.stamp).await
}

/// Makes what somebody else wrote into a document of ours a write of the
/// authority, if it is still as it is now.
pub(super) async fn adopt(inner: &Inner, key: &Key) -> StoreResult<()> {
    let Some(state) = inner.state().await?.filter(|state| state.fence.role == Role::Authority) else { return Ok(()) };
    let id = inner.records.keys.id_of(key)?;
    let found = inner.server.find("reading a record", &inner.records.table, &id).await;
    let row = found.map_err(|failure| failure.error)?.map(|raw| inner.records.read(raw)).filter(Row::is_foreign);
    let Some((Some(Ok(record)), Some(mark))) = row.map(|row| (row.record, row.mark)) else { return Ok(()) };
    let expect = Expect::Content(hash::document(&record));
    let change = Change { key: key.clone(), image: Some(Image { record, parked: mark.parked }), expect };
    let adopted = Write { epoch: Some(state.fence.epoch), changes: vec![change], idempotency: None };
    match write(inner, &adopted).await {
        // Somebody was there first: it is looked at when it is read next.
        Err(error) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => Ok(()),
        written => written.map(drop),
    }
}

/// Makes durable what a read has seen.
pub(super) async fn flush(inner: &Inner) -> StoreResult<()> {
    let mut update = Doc::new();
    update.text("update", &inner.fences.own).begin_array("updates").begin("0").begin("q").text("_id", "flush").close();
    update.begin("u").begin("$inc").long("n", 1).close().close().yes("upsert").close().close();
    own(inner, "flushing the journal", update).await.map(drop).map_err(|failure| failure.error)
}
