//! Out of stores of documents, and into them.

use std::time::Duration;

use shearwater::demo::{self, DemoOptions};
use shearwater_stores::{open_outsider, outsider};
use shearwater_testbed::{DynamoDb, Mongodb, Topology, mongodb, postgres};

use crate::place::*;

/// Nobody writes past the gateway here either: MongoDB has no triggers.
#[tokio::test(flavor = "multi_thread")]
async fn from_mongodb_to_postgresql() {
    let (source, target) = (mongodb().database("demo"), postgres().database("demo"));
    let dwell = Duration::from_millis(200);
    let options =
        DemoOptions { source: Some(source.clone()), target: Some(target.clone()), records: 200, dwell, ..small() };
    let report = demo::run(options).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0 && report.direct_writes == 0, "{}", report.text());
    assert_eq!((report.source.as_str(), report.target.as_str()), ("mongodb", "postgres"));
    assert_eq!(tables_in_postgres(&target), Vec::<Vec<_>>::new());
    let left = shearwater_stores::inspect(&source).await.unwrap();
    assert!(left.tables.is_empty(), "{:?}", left.tables);
}

/// A store without triggers takes over, and gives back what it cannot hold itself:
/// instants, floats and the order of fields.
#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_dynamodb() {
    let server = DynamoDb::start();
    let target = server.database("demo");
    // Every page of a list reads the table there, so it is a small one.
    let dwell = Duration::from_millis(100);
    let options = DemoOptions { target: Some(target.clone()), records: 30, clients: 2, dwell, ..small() };
    let report = demo::run(options).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!((report.source.as_str(), report.target.as_str()), ("sqlite", "dynamodb"));
    assert!(report.requests > 100 && report.direct_refused > 0, "{}", report.text());
    assert!(report.cutover_pause_ms.samples >= 2 && report.rollback_pause_ms.samples >= 1, "{}", report.text());
    let collection = outsider::Collection { table: "users".into(), key: "id".into(), document: "doc".into() };
    let mut left = open_outsider(&target, collection).await.unwrap();
    assert_eq!(left.tables().await.unwrap(), Vec::<String>::new());
}

/// A server without a replica set has no transactions: each write is one document's.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_standalone_mongodb_to_postgresql() {
    let server = Mongodb::start(Topology::Standalone);
    let (source, target) = (server.database("demo"), postgres().database("demo"));
    let options = DemoOptions {
        source: Some(source.clone()),
        target: Some(target.clone()),
        records: 200,
        dwell: Duration::from_millis(200),
        ..small()
    };
    let report = demo::run(options).await.unwrap();
    // A changed key is two documents, and refused by name; nothing else is.
    assert!(report.findings.iter().all(|found| found.contains("needs a replica set")), "{}", report.text());
    let others = report.must_be_zero().into_iter().filter(|(what, _)| *what != "errors");
    assert!(others.into_iter().all(|(_, count)| count == 0), "{}", report.text());
    assert_eq!(tables_in_postgres(&target), Vec::<Vec<_>>::new());
    let left = shearwater_stores::inspect(&source).await.unwrap();
    assert!(left.tables.is_empty(), "{:?}", left.tables);
}
