//! Stores and records that the tests of this store share.

use std::sync::Arc;

use shearwater_core::error::{StoreError, StoreResult};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::{Change, ChunkMax, Expect, Fence, Image, Role, ScanRange, Store, Write, Written};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};
use shearwater_stores::Create;

pub const ALL: ScanRange = ScanRange { id: 0, low: None, high: None };
pub const MANY: ChunkMax = ChunkMax { records: 1_000, bytes: 1 << 24 };

pub fn layout(table: &str, key: &[&str]) -> Layout {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    Layout::Document(DocumentLayout { table: table.into(), key, document: "doc".into() })
}

pub fn fence(role: Role, epoch: u64) -> Fence {
    Fence { role, epoch }
}

pub fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

pub async fn open(url: &str, layout: Layout) -> StoreResult<Arc<dyn Store>> {
    shearwater_stores::open(url, layout, Create::Never).await
}

/// A table `users` with the key `id`, and its store.
pub async fn users(url: &str) -> Arc<dyn Store> {
    let store = shearwater_stores::open(url, layout("users", &["id"]), Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    store
}

/// The same with its sidecar.
pub async fn captured(url: &str, role: Role) -> Arc<dyn Store> {
    let store = users(url).await;
    store.install(fence(role, 1)).await.unwrap();
    store
}

pub fn put(record: Document, expect: Expect) -> Change {
    let key = Key::composite(vec![record.get("id").unwrap().clone()]);
    Change { key, image: Some(Image::of(record)), expect }
}

pub fn user(id: &str, n: i64) -> Document {
    doc(&format!(r#"{{"id":"{id}","n":{n}}}"#))
}

pub async fn write(store: &Arc<dyn Store>, changes: Vec<Change>) -> StoreResult<Vec<Stamp>> {
    match store.write(Write { epoch: Some(1), changes, idempotency: None }).await? {
        Written::Applied(stamps) => Ok(stamps.into_iter().map(Option::unwrap).collect()),
        replayed => panic!("{replayed:?}"),
    }
}

/// The records of a store, by key.
pub async fn records(store: &Arc<dyn Store>) -> Vec<(Key, Document)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let chunk = store.scan(&ALL, after.as_ref(), MANY).await.unwrap();
        found.extend(chunk.records.into_iter().map(|r| r.unwrap()).map(|f| (f.key, f.image.unwrap().record)));
        after = chunk.next;
        if after.is_none() {
            break;
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

#[track_caller]
pub fn check_error(error: &StoreError, code: &str, says: &str, hint: &str) {
    let told = error.hint.as_deref().unwrap_or_default();
    assert!(
        error.code() == code && error.message.contains(says) && told.contains(hint),
        "expected {code}, {says:?}, hint {hint:?}; got {} {error:?}",
        error.code()
    );
}
