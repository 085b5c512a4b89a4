//! The collection of our own: one document for the beginning, one for the rules
//! that were there before ours, one for each checkpoint, and one for each document
//! that the backfill has filled.
//!
//! Nothing here is written in one transaction with the user's documents, which a
//! standalone server could not do: a note is written before what it is about, and
//! a checkpoint after it, so that a kill between them repeats a batch that finds
//! nothing left to do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mongodb::bson::{Document as Query, RawDocumentBuf, doc};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::FillCheckpoint;
use shearwater_core::store::Cursor;

use super::super::encode::{BINARY_PLAIN, binary};
use super::super::error::{Failure, code, failure, part_errors};
use super::super::raw::{Doc, Owned, find, ty};
use super::super::record::RESERVED;
use super::super::session::filter;
use super::super::write::replacing;
use super::super::{Inner, NAMESPACE_BYTES_MAX, inspect, one_of};
use super::Evolving;

/// Notes written in one command.
const NOTES_MAX: usize = 1_000;

/// The part of a binary value's bytes that is not its content: length and subtype.
const BINARY_HEAD: usize = 5;

/// The collection of our own beside the user's.
pub(super) struct Own {
    pub(super) name: String,
}

/// A document that the backfill is about to fill.
pub(super) struct Note {
    pub(super) id: Owned,
    /// The hash of the value and of what it is made from.
    pub(super) hash: u128,
    /// The value.
    pub(super) value: Owned,
    /// Whether there was a null, which a rollback puts back.
    pub(super) was_null: bool,
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, "MongoDB: our own collection holds what this version does not write")
}

fn start_id() -> Owned {
    Owned::string("start")
}

fn rules_id() -> Owned {
    Owned::string("rules")
}

fn checkpoint_id(run: &str, range: u32) -> Owned {
    let mut doc = Doc::new();
    doc.text("run", run).long("range", i64::from(range));
    Owned::new(ty::DOCUMENT, doc.end())
}

fn note_id(id: &Owned) -> Owned {
    let mut doc = Doc::new();
    doc.put("filled", id.get());
    Owned::new(ty::DOCUMENT, doc.end())
}

impl Own {
    pub(super) fn of(table: &str) -> Own {
        Own { name: format!("{RESERVED}_require.{table}") }
    }

    pub(super) fn check(&self, inner: &Inner) -> StoreResult<()> {
        if inner.server.name.len() + 1 + self.name.len() <= NAMESPACE_BYTES_MAX {
            return Ok(());
        }
        let what = format!("MongoDB: {}: a name this long leaves no room for our own beside it", inner.records.table);
        Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint("rename the collection"))
    }

    /// Whether it is there with its beginning.
    pub(super) async fn is_there(&self, inner: &Inner) -> StoreResult<bool> {
        let found = inner.server.find("looking for our own collection", &self.name, &start_id()).await;
        Ok(found.map_err(|failure| failure.error)?.is_some())
    }

    /// Makes it, and notes how many documents have the field already.
    pub(super) async fn begin(&self, of: &Evolving) -> StoreResult<Duration> {
        if self.is_there(&of.inner).await? {
            return Ok(Duration::ZERO);
        }
        let before = super::hazards::have_field(of).await?;
        let began = Instant::now();
        let mut create = Doc::new();
        create.text("create", &self.name);
        of.inner.server.acknowledged(&mut create);
        match of.inner.server.run("making our own collection", create.end()).await {
            Err(failure) if failure.code != code::NAMESPACE_EXISTS => return Err(failure.of_a_repeatable().error),
            _ => {}
        }
        let mut start = Doc::new();
        start.put("_id", start_id().get()).long("before", i64::try_from(before).unwrap_or(i64::MAX));
        self.put(&of.inner, "noting the beginning", start.end()).await?;
        Ok(began.elapsed().max(Duration::from_micros(1)))
    }

    /// How many documents had the field at the beginning.
    pub(super) async fn had_field(&self, inner: &Inner) -> StoreResult<u64> {
        let found = inner.server.find("reading our own collection", &self.name, &start_id()).await;
        let Some(raw) = found.map_err(|failure| failure.error)? else { return Ok(0) };
        let before = raw.get_i64("before").map_err(|_| unreadable())?;
        Ok(before.unsigned_abs())
    }

    /// Removes it.
    pub(super) async fn end(&self, inner: &Inner) -> StoreResult<Duration> {
        if inspect::collection(&inner.server, &self.name).await?.is_none() {
            return Ok(Duration::ZERO);
        }
        let began = Instant::now();
        let mut drop = Doc::new();
        drop.text("drop", &self.name);
        inner.server.acknowledged(&mut drop);
        match inner.server.run("dropping our own collection", drop.end()).await {
            Err(failure) if failure.code != code::NAMESPACE_NOT_FOUND => Err(failure.of_a_repeatable().error),
            _ => Ok(began.elapsed().max(Duration::from_micros(1))),
        }
    }

    /// Writes one document, in the place of the one with its `_id`, as durably as
    /// the server has it: with it, all that was written before.
    async fn put(&self, inner: &Inner, what: &str, document: Vec<u8>) -> StoreResult<()> {
        self.put_all(inner, what, &[document]).await
    }

    async fn put_all(&self, inner: &Inner, what: &str, documents: &[Vec<u8>]) -> StoreResult<()> {
        let mut update = Doc::new();
        update.text("update", &self.name).begin_array("updates");
        for (n, document) in documents.iter().enumerate() {
            let id = find(document, "_id").ok_or_else(unreadable)?;
            update.begin(&n.to_string()).begin("q").begin("_id").put("$eq", id).close().close();
            replacing(&mut update, document);
            update.yes("upsert").close();
        }
        update.close();
        inner.server.acknowledged(&mut update);
        let answer = inner.server.run(what, update.end()).await.map_err(|failure| failure.of_a_repeatable().error)?;
        match part_errors(what, &answer).map_err(|failure| failure.of_a_repeatable().error)?.pop() {
            None => Ok(()),
            Some(part) => Err(part.failure.error),
        }
    }

    async fn delete(&self, inner: &Inner, what: &str, id: &Owned) -> StoreResult<()> {
        let mut delete = Doc::new();
        delete.text("delete", &self.name).begin_array("deletes").begin("0");
        delete.begin("q").begin("_id").put("$eq", id.get()).close().close().int("limit", 1).close().close();
        inner.server.acknowledged(&mut delete);
        let answer = inner.server.run(what, delete.end()).await.map_err(Failure::of_a_repeatable);
        answer.and_then(|answer| part_errors(what, &answer)).map(drop).map_err(|failure| failure.error)
    }

    /// Keeps the collection's own rules before ours come in.
    pub(super) async fn keep_rules(&self, inner: &Inner, rules: &Query) -> StoreResult<()> {
        let bytes = RawDocumentBuf::try_from(rules).map_err(|_| unreadable())?;
        let mut doc = Doc::new();
        // As bytes: an older server refuses names that begin with `$`.
        doc.put("_id", rules_id().get()).put("before", binary(BINARY_PLAIN, bytes.as_bytes()).get());
        self.put(inner, "noting the validator", doc.end()).await
    }

    /// The collection's own rules, while ours are in.
    pub(super) async fn kept_rules(&self, inner: &Inner) -> StoreResult<Option<Query>> {
        let found = inner.server.find("reading our own collection", &self.name, &rules_id()).await;
        let Some(raw) = found.map_err(|failure| failure.error)? else { return Ok(None) };
        let bytes = find(raw.as_bytes(), "before").and_then(|before| before.bytes.get(BINARY_HEAD..));
        bytes.map(|bytes| filter(bytes.to_vec())).transpose()
    }

    /// Forgets them.
    pub(super) async fn forget_rules(&self, inner: &Inner) -> StoreResult<()> {
        self.delete(inner, "forgetting the validator", &rules_id()).await
    }

    /// Notes what is about to be filled.
    pub(super) async fn note(&self, inner: &Inner, notes: &[&Note]) -> StoreResult<()> {
        for some in notes.chunks(NOTES_MAX) {
            let documents: Vec<Vec<u8>> = some.iter().map(|note| note_document(note)).collect();
            self.put_all(inner, "noting what is filled", &documents).await?;
        }
        Ok(())
    }

    /// The hashes of what the backfill has filled of these documents.
    pub(super) async fn notes_of(&self, inner: &Inner, ids: &[Owned]) -> StoreResult<HashMap<Owned, u128>> {
        let named: Vec<Owned> = ids.iter().map(note_id).collect();
        let named: Vec<&Owned> = named.iter().collect();
        let found = inner.all("reading our own collection", &self.name, one_of(&named), None).await;
        let notes = found.map_err(|failure| failure.error)?;
        notes.iter().map(|raw| read_note(raw).map(|note| (note.id, note.hash))).collect()
    }

    /// The next notes of what was filled, in their order.
    pub(super) async fn notes(&self, inner: &Inner, after: Option<&Owned>, notes_max: i64) -> StoreResult<Vec<Note>> {
        let failed = |e| failure("reading our own collection", &e).of_a_repeatable().error;
        let mut condition = Doc::new();
        condition.begin("_id");
        match after {
            Some(id) => condition.put("$gt", note_id(id).get()),
            None => condition.text("$type", "object"),
        };
        condition.close().begin("hash").yes("$exists").close();
        let collection = inner.server.collection(&self.name);
        let find = collection.find(filter(condition.end())?);
        let find = find.sort(doc! { "_id": 1 }).limit(notes_max);
        let found = inner.server.rows(find).await.map_err(failed)?.all().await.map_err(failed)?;
        found.iter().map(read_note).collect()
    }

    /// Saves where a backfill is.
    pub(super) async fn save(&self, inner: &Inner, run: &str, at: &FillCheckpoint) -> StoreResult<()> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut doc = Doc::new();
        doc.put("_id", checkpoint_id(run, at.range).get()).text("run", run).long("range", i64::from(at.range));
        doc.long("read", number(at.read)).long("filled", number(at.filled));
        if let Some(place) = &at.cursor {
            doc.text("place", &place.0);
        }
        if at.done {
            doc.yes("done");
        }
        self.put(inner, "saving a checkpoint", doc.end()).await
    }

    /// Where the backfill of a run is.
    pub(super) async fn checkpoints(&self, inner: &Inner, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        let mut condition = Doc::new();
        condition.text("run", run);
        let found = inner.all("reading checkpoints", &self.name, condition.end(), None).await;
        let mut all = Vec::new();
        for raw in found.map_err(|failure| failure.error)? {
            let number = |name: &str| raw.get_i64(name).map_err(|_| unreadable());
            all.push(FillCheckpoint {
                range: u32::try_from(number("range")?).map_err(|_| unreadable())?,
                cursor: raw.get_str("place").ok().map(|place| Cursor(place.to_owned())),
                done: raw.get_bool("done").unwrap_or(false),
                read: number("read")?.unsigned_abs(),
                filled: number("filled")?.unsigned_abs(),
            });
        }
        all.sort_by_key(|checkpoint| checkpoint.range);
        Ok(all)
    }
}

fn note_document(note: &Note) -> Vec<u8> {
    let mut doc = Doc::new();
    doc.put("_id", note_id(&note.id).get());
    doc.put("hash", binary(BINARY_PLAIN, &note.hash.to_le_bytes()).get()).put("value", note.value.get());
    if note.was_null {
        doc.yes("null");
    }
    doc.end()
}

fn read_note(raw: &RawDocumentBuf) -> StoreResult<Note> {
    let read = || {
        let bytes = raw.as_bytes();
        let id = find(find(bytes, "_id")?.bytes, "filled").map(Owned::of)?;
        let hash = find(bytes, "hash")?.bytes.get(BINARY_HEAD..)?.try_into().ok()?;
        let value = find(bytes, "value").map(Owned::of)?;
        Some(Note { id, hash: u128::from_le_bytes(hash), value, was_null: find(bytes, "null").is_some() })
    };
    read().ok_or_else(unreadable)
}
