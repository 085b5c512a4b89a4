//! What stands in the user's collection, seen by any program.

use mongodb::bson::{Binary, Bson as Value, Document as Bson, doc, oid::ObjectId, spec::BinarySubtype};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::*;
use shearwater_core::{Document, Key, Stamp};
use shearwater_testbed::mongodb;

use crate::place::*;

async fn unique_email(collection: &Collection<Bson>) {
    let options = IndexOptions::builder().unique(true).build();
    collection.create_index(IndexModel::builder().keys(doc! { "email": 1 }).options(options).build()).await.unwrap();
}

/// Integers keep their width where they stood, and a document nobody rewrote
/// stays byte by byte what it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_again_keeps_its_types() {
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    let given = doc! {
        "_id": "a", "long": 5i64, "int": 5i32, "double": 5.0, "deep": { "long": [1i64, 2i32] }, "oid": ObjectId::new(),
        "old": Binary { subtype: BinarySubtype::UuidOld, bytes: vec![7; 16] }, "min": Value::MinKey, "a.b": 1, "$c": 2, "": 3,
    };
    direct.insert_one(&given).await.unwrap();
    place.store.install(OPEN).await.unwrap();
    let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
    let mut image = fetched.image.unwrap();
    image.record.set("int", 6i64);
    image.record.set("long", 6i64);
    image.record.set("new", 7i64);
    let change = Change { key: Key::single("a"), image: Some(image), expect: Expect::Stamp(Stamp::ZERO) };
    place.store.write(write_of(vec![change])).await.unwrap();
    let mut expected = given.clone();
    expected.insert("int", 6i32);
    expected.insert("long", 6i64);
    expected.insert("new", 7i32);
    let mut found = one(&direct, "a").await;
    assert!(found.remove("_shearwater").is_some());
    assert_eq!(found, expected);
    place.store.remove().await.unwrap();
    assert_eq!(one(&direct, "a").await, expected, "nothing of ours is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_pass_unique_indexes_and_validators() {
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    unique_email(&direct).await;
    mongodb().run(&place.url, doc! { "collMod": "users", "validator": { "email": { "$type": "string" } } });
    place.store.install(OPEN).await.unwrap();
    for id in ["a", "b", "c"] {
        place.store.write(write_of(vec![put_user(id, 1)])).await.unwrap();
        place.store.write(write_of(vec![delete(id)])).await.unwrap();
    }
    assert_eq!(direct.count_documents(doc! {}).await.unwrap(), 3, "tombstones");
    assert_eq!(place.store.dirty_count().await.unwrap(), 3);
    // The value of a deleted record is free.
    let mut heir = put_user("heir", 1);
    heir.image.as_mut().unwrap().record.set("email", "a@x");
    place.store.write(write_of(vec![heir])).await.unwrap();
    let mut clash = put_user("d", 1);
    clash.image.as_mut().unwrap().record.set("email", "a@x");
    let error = place.store.write(write_of(vec![clash])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("email".into()) }, "{error}");
    let mut odd = put_user("e", 1);
    odd.image.as_mut().unwrap().record.set("email", 1i64);
    let error = place.store.write(write_of(vec![odd])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: None }, "{error}");
    place.store.remove().await.unwrap();
    assert_eq!(direct.count_documents(doc! {}).await.unwrap(), 1);
}

/// A follower's puts pass unique values from one record to the next, and refuse
/// what another record really has.
#[tokio::test(flavor = "multi_thread")]
async fn unique_values_pass_between_puts() {
    let place = Place::bare(mongodb()).await;
    unique_email(&place.direct().await).await;
    place.store.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
    let with = |id: &str, email: &str, counter: u64| {
        let mut put = put(id, 1, Stamp::new(1, counter));
        put.image.as_mut().unwrap().record.set("email", email);
        put
    };
    let answers = place.store.apply(1, vec![with("a", "1", 1), with("b", "2", 1)], None).await.unwrap();
    assert_eq!(answers, [Applied::Changed, Applied::Changed]);
    // b's value is free once b has another one.
    let answers = place.store.apply(1, vec![with("a", "2", 2), with("b", "3", 2)], None).await.unwrap();
    assert_eq!(answers, [Applied::Changed, Applied::Changed]);
    let answers = place.store.apply(1, vec![with("c", "3", 1), with("d", "4", 1)], None).await.unwrap();
    assert!(
        matches!(&answers[0], Applied::Refused(error)
        if error.kind == StoreErrorKind::Refused { field: Some("email".into()) }),
        "{answers:?}"
    );
    assert_eq!(answers[1], Applied::Changed);
}

/// Keys that MongoDB takes for equal are one `_id` there: told by name, never mixed up.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_one_id_are_refused() {
    let place = Place::new(mongodb(), Role::Authority).await;
    let keyed = |key: shearwater_core::Value| {
        let record: Document = [("_id", key.clone())].into_iter().collect();
        Change { key: Key::single(key), image: Some(Image::of(record)), expect: Expect::Any }
    };
    place.store.write(write_of(vec![keyed(5i64.into())])).await.unwrap();
    let error = place.store.write(write_of(vec![keyed(5.0.into())])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("_id".into()) }, "{error}");
    assert_eq!(place.store.fetch(&Key::single(5.0)).await.unwrap().image, None);
    assert!(place.store.fetch(&Key::single(5i64)).await.unwrap().image.is_some());
    let follower = Place::new(mongodb(), Role::Follower).await;
    let put = |key: shearwater_core::Value| {
        let change = keyed(key);
        Put { key: change.key, image: change.image, stamp: Stamp::new(1, 1) }
    };
    follower.store.apply(1, vec![put(5i64.into())], None).await.unwrap();
    let answers = follower.store.apply(1, vec![put(5.0.into()), put(6i64.into())], None).await.unwrap();
    assert!(
        matches!(&answers[0], Applied::Refused(error)
        if error.kind == StoreErrorKind::Refused { field: Some("_id".into()) }),
        "{answers:?}"
    );
    assert_eq!(answers[1], Applied::Changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_ours_is_refused() {
    let place = Place::bare(mongodb()).await;
    place.direct().await.insert_one(doc! { "_id": 1, "_shearwater": { "e": 1 } }).await.unwrap();
    let error = place.store.install(OPEN).await.unwrap_err();
    assert!(error.kind == StoreErrorKind::Unsupported && error.message.contains("_shearwater"), "{error}");
    assert_eq!(place.store.sidecar_names().await.unwrap(), Vec::<String>::new(), "nothing is left of the try");
    let ours = Place::new(mongodb(), Role::Authority).await;
    let mut change = put_user("a", 1);
    change.image.as_mut().unwrap().record.set("_shearwater", 1i64);
    let error = ours.store.write(write_of(vec![change])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("_shearwater".into()) }, "{error}");
}

/// Documents whose `_id`s are of every type are scanned once each, in ranges.
#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_type_are_scanned_once() {
    let place = Place::new(mongodb(), Role::Authority).await;
    let direct = place.direct().await;
    let mut ids: Vec<Value> =
        vec![Value::MinKey, Value::MaxKey, true.into(), ObjectId::new().into(), doc! { "a": 1 }.into()];
    ids.extend((0..40).map(Value::from));
    ids.extend((0..40).map(|n| Value::from(n as f64 + 0.5)));
    ids.extend((0..40).map(|n| Value::from(format!("k{n}"))));
    ids.extend((0..20).map(|n| Value::from(mongodb::bson::DateTime::from_millis(n - 10))));
    direct.insert_many(ids.iter().map(|id| doc! { "_id": id.clone() })).await.unwrap();
    let mut found = Vec::new();
    for range in place.store.split(7).await.unwrap() {
        let mut after = None;
        loop {
            let max = ChunkMax { records: 9, bytes: 1 << 20 };
            let chunk = place.store.scan(&range, after.as_ref(), max).await.unwrap();
            found.extend(chunk.records.into_iter().map(|record| record.unwrap().key));
            after = chunk.next;
            if after.is_none() {
                break;
            }
        }
    }
    assert_eq!(found.len(), ids.len());
    found.sort();
    found.dedup();
    assert_eq!(found.len(), ids.len(), "each of them once");
}

/// A document that cannot be read is an error at its place, and the others are read.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_by_name() {
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    direct.insert_one(doc! { "_id": 1, "a": 1 }).await.unwrap();
    // {"_id": 2, "a": {"b": 1, "b": 2}}: a name that stands twice.
    let inner = [&[21, 0, 0, 0][..], b"\x10b\0\x01\0\0\0\x10b\0\x02\0\0\0", &[0]].concat();
    let inner = [&((inner.len()) as i32).to_le_bytes()[..], &inner[4..]].concat();
    let body = [b"\x10_id\0\x02\0\0\0\x03a\0".to_vec(), inner].concat();
    let whole = [&(body.len() as i32 + 5).to_le_bytes()[..], &body, &[0]].concat();
    let raw = mongodb::bson::RawDocumentBuf::from_bytes(whole).unwrap();
    direct.clone_with_type::<mongodb::bson::RawDocumentBuf>().insert_one(raw).await.unwrap();
    let all = ScanRange { id: 0, low: None, high: None };
    let chunk = place.store.scan(&all, None, ChunkMax { records: 10, bytes: 1 << 20 }).await.unwrap();
    assert_eq!(chunk.records.len(), 2);
    let bad = chunk.records.into_iter().find_map(Result::err).unwrap();
    assert_eq!((bad.key, &bad.error.kind), (Some(Key::single(2i64)), &StoreErrorKind::Corrupt));
    assert!(bad.error.message.contains("`a`") && bad.error.message.contains("\"b\""), "{}", bad.error.message);
}
