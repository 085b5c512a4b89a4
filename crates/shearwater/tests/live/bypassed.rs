//! Programs that write a MongoDB source past the gateway: what they do is not
//! stamped. Verification finds it, the gate holds, repair brings it along.

use std::collections::BTreeMap;

use ::mongodb::Collection;
use ::mongodb::bson::{Document as Bson, doc};
use shearwater_core::journal::Command;
use shearwater_core::store::{Change, Expect, Image, Write};
use shearwater_core::value::json;
use shearwater_core::{Document, Key};
use shearwater_testbed::{mongodb, postgres};

use crate::stage::Stage;

const SPEC: &str = r#"
migration = "things"
kind = "move"
entity = "things"
[source]
url = "${SOURCE}"
table = "things"
key = "_id"
[target]
url = "${TARGET}"
table = "things"
key = "id"
[fields]
id = { from = "_id", type = "text", required = true }
n = { from = "n", type = "int" }
[gates]
pause_ms_max = 5000
"#;

/// The source's documents and the target's rows, by key.
async fn both(source: &Collection<Bson>, target: &str) -> [BTreeMap<String, i64>; 2] {
    let mut there = BTreeMap::new();
    let mut cursor = source.find(doc! { "_shearwater.g": { "$exists": false } }).await.unwrap();
    while cursor.advance().await.unwrap() {
        let document = cursor.deserialize_current().unwrap();
        there.insert(document.get_str("_id").unwrap().to_owned(), i64::from(document.get_i32("n").unwrap()));
    }
    let rows = postgres().rows(target, "SELECT id, n FROM things").into_iter();
    let rows = rows.map(|row| (row[0].clone().unwrap(), row[1].as_ref().unwrap().parse().unwrap()));
    [there, rows.collect()]
}

/// A write as the gateway makes it: stamped, marked.
async fn write(stage: &Stage, id: &str, n: i64) {
    let record: Document = json::parse_document(format!("{{\"_id\":\"{id}\",\"n\":{n}}}").as_bytes()).unwrap();
    let change = Change { key: Key::single(id), image: Some(Image::of(record)), expect: Expect::Any };
    let epoch = Some(stage.member.view().state.epoch);
    stage.setup.source.write(Write { epoch, changes: vec![change], idempotency: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_bypasses_the_gateway_is_found_and_brought_along() {
    let (source, target) = (mongodb().database("bypassed"), postgres().database("bypassed"));
    let client = ::mongodb::Client::with_uri_str(&source).await.unwrap();
    let things: Collection<Bson> = client.default_database().unwrap().collection("things");
    things.insert_many((0..20).map(|n| doc! { "_id": format!("k{n}"), "n": n })).await.unwrap();
    let stage = Stage::open(SPEC, &source, &target).await;
    stage.act(Command::Advance).await;
    stage.backfilled().await;
    for n in 0..4 {
        write(&stage, &format!("k{n}"), 100 + n).await;
    }
    stage.drained().await;
    stage.verified().await;

    // Of documents that are stamped: changed, replaced whole, deleted.
    things.update_one(doc! { "_id": "k0" }, doc! { "$set": { "n": 1_000 } }).await.unwrap();
    things.replace_one(doc! { "_id": "k1" }, doc! { "n": 1_001 }).await.unwrap();
    things.delete_one(doc! { "_id": "k2" }).await.unwrap();
    // Of documents that nobody has written since the start, and a new one.
    things.update_one(doc! { "_id": "k10" }, doc! { "$set": { "n": 1_010 } }).await.unwrap();
    things.delete_one(doc! { "_id": "k11" }).await.unwrap();
    things.insert_one(doc! { "_id": "new", "n": 1 }).await.unwrap();

    let report = stage.act(Command::Verify).await;
    assert_eq!([&report["missing"], &report["extra"], &report["different"]], [1, 2, 3], "{report:#}");
    let refusal = stage.ask(Command::Advance).await.unwrap_err();
    assert!(refusal.code.starts_with("gate/"), "{refusal:?}");
    stage.act(Command::Repair { dry_run: false }).await;
    stage.drained().await;
    stage.verified().await;
    let [left, right] = both(&things, &target).await;
    assert_eq!(left.len(), 19, "{left:?}");
    assert_eq!((left.get("k0"), left.get("k1"), left.get("k2")), (Some(&1_000), Some(&1_001), None));
    assert_eq!(left, right);
    stage.cut_over().await;
    stage.close().await;
}
