//! The sidecar: installing and removing it, the fence, the marks, foreign writes.

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence};
use shearwater_core::{Key, Stamp};

use super::error::{Failure, Tried, code, failure, part_errors};
use super::raw::{Doc, Owned, find, ty};
use super::record::RESERVED;
use super::{Inner, MongoDb, inspect, no_sidecar, provision};

/// The index of the documents that have the reserved field: dirty ones by stamp.
const INDEX: &str = "_shearwater_marks";

/// Marks or keys in one command.
const PARTS_MAX: usize = 5_000;

const DIRTY: &str = "_shearwater.d";
const EPOCH: &str = "_shearwater.e";
const COUNTER: &str = "_shearwater.c";

/// What has the reserved field, so that the index is used.
fn marked() -> Document {
    doc! { EPOCH: { "$gte": 0 } }
}

/// Runs a command; being told one of these numbers is as good as its success.
async fn run_unless(inner: &Inner, what: &str, mut command: Doc, fine: &[i32]) -> Tried<()> {
    inner.server.acknowledged(&mut command);
    match inner.server.run(what, command.end()).await {
        Ok(_) => Ok(()),
        Err(failure) if fine.contains(&failure.code) => Ok(()),
        Err(failure) => Err(failure.of_a_repeatable()),
    }
}

async fn make_own(inner: &Inner) -> Tried<()> {
    let mut create = Doc::new();
    create.text("create", &inner.fences.own);
    run_unless(inner, "making the sidecar", create, &[code::NAMESPACE_EXISTS]).await
}

async fn make_index(inner: &Inner) -> Tried<()> {
    let mut index = Doc::new();
    index.text("createIndexes", &inner.records.table).begin_array("indexes").begin("0");
    index.begin("key").int(DIRTY, 1).int(EPOCH, 1).int(COUNTER, 1).close().text("name", INDEX);
    index.begin("partialFilterExpression").begin(EPOCH).yes("$exists").close().close().close().close();
    run_unless(inner, "making the index of marks", index, &[]).await
}

async fn drop_index(inner: &Inner) -> Tried<()> {
    let mut drop = Doc::new();
    drop.text("dropIndexes", &inner.records.table).text("index", INDEX);
    run_unless(inner, "dropping the index of marks", drop, &[code::INDEX_NOT_FOUND, code::NAMESPACE_NOT_FOUND]).await
}

async fn drop_own(inner: &Inner) -> Tried<()> {
    let mut drop = Doc::new();
    drop.text("drop", &inner.fences.own);
    run_unless(inner, "dropping the sidecar", drop, &[code::NAMESPACE_NOT_FOUND]).await
}

async fn has_index(inner: &Inner) -> StoreResult<bool> {
    Ok(inspect::index_names(&inner.server, &inner.records.table).await?.iter().any(|name| name == INDEX))
}

async fn has_own(inner: &Inner) -> StoreResult<bool> {
    Ok(inspect::collection(&inner.server, &inner.fences.own).await?.is_some())
}

/// Takes tombstones and the reserved field out of the user's collection.
async fn clean(inner: &Inner) -> Tried<()> {
    let table = &inner.records.table;
    let mut delete = Doc::new();
    delete.text("delete", table).begin_array("deletes").begin("0").begin("q").yes("_shearwater.g");
    delete.begin(EPOCH).yes("$exists").close().close().int("limit", 0).close().close();
    inner.server.acknowledged(&mut delete);
    let answer = inner.server.run("removing tombstones", delete.end()).await.map_err(Failure::of_a_repeatable)?;
    part_errors("removing tombstones", &answer)?;
    let mut unset = Doc::new();
    unset.text("update", table);
    inner.unvalidated(&mut unset);
    unset.begin_array("updates").begin("0").begin("q");
    unset.begin(EPOCH).yes("$exists").close().close();
    unset.begin("u").begin("$unset").text(RESERVED, "").close().close().yes("multi").close().close();
    inner.server.acknowledged(&mut unset);
    let answer = inner.server.run("removing the reserved field", unset.end()).await;
    part_errors("removing the reserved field", &answer.map_err(Failure::of_a_repeatable)?)?;
    Ok(())
}

async fn install(inner: &Inner, fence: Fence) -> Tried<()> {
    if inner.state().await?.is_some() {
        return Ok(());
    }
    let table = &inner.records.table;
    match inspect::collection(&inner.server, table).await? {
        Some(found) => found.check()?,
        None => {
            let what = format!("MongoDB: there is no collection {table:?}");
            return Err(StoreError::new(StoreErrorKind::NotFound, what).into());
        }
    }
    // What an interrupted removal has left.
    if has_own(inner).await? {
        clean(inner).await?;
    }
    make_own(inner).await?;
    make_index(inner).await?;
    inner.look_at_rules().await?;
    let collection = inner.server.collection(table);
    let theirs = collection.find_one(doc! { EPOCH: { "$exists": true } }).await;
    if theirs.map_err(|e| failure("installing the sidecar", &e))?.is_some() && inner.state().await?.is_none() {
        drop_index(inner).await?;
        drop_own(inner).await?;
        let what = format!("collection {table:?} has documents with a field {RESERVED}, which is ours");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint(format!("rename that field, or take it out: updateMany({{}}, {{$unset: {{{RESERVED}: \"\"}}}})"))
            .into());
    }
    inner.fences.begin(inner, fence).await
}

async fn remove(inner: &Inner) -> Tried<()> {
    if has_own(inner).await? {
        // Without the fence nobody stamps any more.
        let mut delete = Doc::new();
        delete.text("delete", &inner.fences.own).begin_array("deletes").begin("0").begin("q").close();
        delete.int("limit", 0).close().close();
        inner.server.acknowledged(&mut delete);
        let answer = inner.server.run("removing the fence", delete.end()).await.map_err(Failure::of_a_repeatable)?;
        part_errors("removing the fence", &answer)?;
        clean(inner).await?;
    }
    drop_index(inner).await?;
    drop_own(inner).await
}

async fn dirty(inner: &Inner, after: Option<Stamp>, marks_max: usize) -> Tried<Vec<DirtyMark>> {
    inner.needed_state().await?;
    let failed = |e| failure("reading dirty marks", &e).of_a_repeatable();
    let after = after.unwrap_or(Stamp::ZERO);
    let (epoch, counter) = (after.epoch as i64, after.counter as i64);
    let condition = doc! {
        DIRTY: true,
        EPOCH: { "$gte": epoch },
        "$or": [{ EPOCH: { "$gt": epoch } }, { COUNTER: { "$gt": counter } }],
    };
    let collection = inner.server.collection(&inner.records.table);
    let find = collection
        .find(condition)
        .sort(doc! { DIRTY: 1, EPOCH: 1, COUNTER: 1 })
        .hint(Hint::Name(INDEX.to_owned()))
        .limit(i64::try_from(marks_max).unwrap_or(i64::MAX))
        .projection(doc! { "_id": 1, EPOCH: 1, COUNTER: 1 });
    let found = inner.server.rows(find).await.map_err(failed)?.all().await.map_err(failed)?;
    let mut marks = Vec::with_capacity(found.len());
    for raw in found {
        let row = inner.records.read(raw);
        marks.push(DirtyMark { key: row.key.clone()?, stamp: row.stamp() });
    }
    Ok(marks)
}

async fn clear(inner: &Inner, marks: &[DirtyMark]) -> Tried<u64> {
    inner.needed_state().await?;
    let mut cleared = 0;
    for chunk in marks.chunks(PARTS_MAX) {
        let mut update = Doc::new();
        update.text("update", &inner.records.table);
        inner.unvalidated(&mut update);
        update.begin_array("updates");
        for (n, mark) in chunk.iter().enumerate() {
            let id = inner.records.keys.id_of(&mark.key)?;
            update.begin(&n.to_string()).begin("q").begin("_id").put("$eq", id.get()).close().yes(DIRTY);
            update.long(EPOCH, mark.stamp.epoch as i64).long(COUNTER, mark.stamp.counter as i64).close();
            update.begin("u").begin("$unset").text(DIRTY, "").close().close().close();
        }
        update.close().no("ordered");
        inner.server.acknowledged(&mut update);
        let answer = inner.server.run("clearing marks", update.end()).await.map_err(Failure::of_a_repeatable)?;
        if let Some(part) = part_errors("clearing marks", &answer)?.pop() {
            return Err(part.failure);
        }
        cleared += answer.get_i32("nModified").unwrap_or_default().max(0) as u64;
    }
    Ok(cleared)
}

fn foreign_id(id: &Owned) -> Owned {
    let mut doc = Doc::new();
    doc.put("foreign", id.get());
    Owned::new(ty::DOCUMENT, doc.end())
}

/// Notes that somebody else has changed these documents.
pub(super) async fn note_foreign(inner: &Inner, ids: &[Owned]) -> Tried<()> {
    for chunk in ids.chunks(PARTS_MAX) {
        let mut insert = Doc::new();
        insert.text("insert", &inner.fences.own).begin_array("documents");
        for (n, id) in chunk.iter().enumerate() {
            insert.begin(&n.to_string()).put("_id", foreign_id(id).get()).close();
        }
        insert.close().no("ordered");
        inner.server.acknowledged(&mut insert);
        let answer = inner.server.run("noting foreign writes", insert.end()).await.map_err(Failure::of_a_repeatable)?;
        // One that is noted already is noted.
        if let Some(part) = part_errors("noting foreign writes", &answer)?.into_iter().find(|part| !part.key_taken) {
            return Err(part.failure);
        }
    }
    Ok(())
}

async fn foreign(inner: &Inner, keys_max: usize) -> Tried<Vec<Key>> {
    inner.needed_state().await?;
    let failed = |e| failure("reading foreign writes", &e).of_a_repeatable();
    let collection = inner.server.collection(&inner.fences.own);
    let noted = collection.find(doc! { "_id.foreign": { "$exists": true } });
    let noted = noted.limit(i64::try_from(keys_max).unwrap_or(i64::MAX));
    let found = inner.server.rows(noted).await.map_err(failed)?.all().await.map_err(failed)?;
    let mut keys = Vec::with_capacity(found.len());
    for raw in &found {
        let id = find(raw.as_bytes(), "_id").and_then(|id| find(id.bytes, "foreign"));
        let id = id.ok_or_else(|| StoreError::new(StoreErrorKind::Sidecar, "a foreign write cannot be read"))?;
        keys.push(inner.records.keys.key_of(id)?);
    }
    Ok(keys)
}

async fn clear_foreign(inner: &Inner, keys: &[Key]) -> Tried<u64> {
    inner.needed_state().await?;
    let mut cleared = 0;
    for chunk in keys.chunks(PARTS_MAX) {
        let mut delete = Doc::new();
        delete.text("delete", &inner.fences.own).begin_array("deletes");
        for (n, key) in chunk.iter().enumerate() {
            let id = foreign_id(&inner.records.keys.id_of(key)?);
            delete.begin(&n.to_string()).begin("q").begin("_id").put("$eq", id.get()).close().close();
            delete.int("limit", 1).close();
        }
        delete.close();
        inner.server.acknowledged(&mut delete);
        let answer = inner.server.run("forgetting foreign writes", delete.end()).await;
        let answer = answer.map_err(Failure::of_a_repeatable)?;
        part_errors("forgetting foreign writes", &answer)?;
        cleared += answer.get_i32("n").unwrap_or_default().max(0) as u64;
    }
    Ok(cleared)
}

fn told<T>(tried: Tried<T>) -> StoreResult<T> {
    tried.map_err(|failure| failure.error)
}

#[async_trait]
impl Capture for MongoDb {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        provision::provision(&self.0).await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        let inner = self.0.clone();
        MongoDb::to_the_end(async move { told(install(&inner, fence).await) }).await
    }

    async fn remove(&self) -> StoreResult<()> {
        let inner = self.0.clone();
        MongoDb::to_the_end(async move { told(remove(&inner).await) }).await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        Ok(self.0.state().await?.map(|state| state.fence))
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let inner = self.0.clone();
        MongoDb::to_the_end(async move {
            inner.needed_state().await?;
            let set = told(inner.fences.set(&inner, expect, new).await)?;
            set.ok_or_else(|| no_sidecar(&inner.records.table))
        })
        .await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        told(dirty(&self.0, after, marks_max).await)
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        let inner = &*self.0;
        inner.needed_state().await?;
        let collection = inner.server.collection(&inner.records.table);
        let mut condition = marked();
        condition.insert(DIRTY, Bson::Boolean(true));
        let count = collection.count_documents(condition).hint(Hint::Name(INDEX.to_owned()));
        inner.server.count(count).await.map_err(|e| failure("counting dirty marks", &e).of_a_repeatable().error)
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        told(clear(&self.0, &marks).await)
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        told(foreign(&self.0, keys_max).await)
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        told(clear_foreign(&self.0, &keys).await)
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        let inner = &*self.0;
        let mut names = Vec::new();
        if has_own(inner).await? {
            names.push(inner.fences.own.clone());
        }
        if has_index(inner).await? {
            names.push(format!("{}.{INDEX}", inner.records.table));
        }
        Ok(names)
    }
}
