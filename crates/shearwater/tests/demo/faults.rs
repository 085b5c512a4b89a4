//! Servers that die, or end, in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::mongodb::Collection;
use ::mongodb::bson::{Document as Bson, doc};
use shearwater::demo::{self, DemoOptions};
use shearwater_stores::{open_outsider, outsider};
use shearwater_testbed::{DynamoDb, Mongodb, Topology, postgres};

use crate::place::*;

/// The fence's document of the demo's source.
async fn fence_of(own: &Collection<Bson>) -> Option<Bson> {
    own.find_one(doc! { "_id": "fence" }).await.ok().flatten()
}

/// Waits until the fence is, or is to be, in this role.
async fn until(own: &Collection<Bson>, role: &str) {
    let says = |fence: &Bson| fence.get_str("role").is_ok_and(|found| found == role);
    loop {
        let fence = fence_of(own).await;
        let next = |fence: &Bson| fence.get_document("next").is_ok_and(says);
        if fence.is_some_and(|fence| says(&fence) || next(&fence)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Kills who is the primary when the moment has come, with writes that the others do
/// not have, waits for another one, and lets the killed one come back.
async fn lose_the_primary(server: &Arc<Mongodb>, moment: impl Future<Output = ()>) {
    let asked = server.clone();
    let first = tokio::task::spawn_blocking(move || asked.primary()).await.unwrap();
    moment.await;
    let server = server.clone();
    tokio::task::spawn_blocking(move || {
        server.kill_node_ahead(first);
        assert_ne!(server.primary(), first);
        server.start_node(first);
    })
    .await
    .unwrap();
}

/// The source's primary is lost in the dual-write phase and again while the source
/// is being closed: nothing that was acknowledged is lost, on either side.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_three_loses_its_primary_in_dual_write_and_in_the_cutover() {
    let server = Arc::new(Mongodb::start(Topology::Three));
    let (source, target) = (server.database("demo"), postgres().database("demo"));
    let client = ::mongodb::Client::with_uri_str(&source).await.unwrap();
    let own: Collection<Bson> = client.default_database().unwrap().collection("_shearwater.users");
    let dwell = Duration::from_millis(400);
    let options = DemoOptions { source: Some(source), target: Some(target.clone()), records: 200, dwell, ..small() };
    let killed = server.clone();
    let faults = tokio::spawn(async move {
        lose_the_primary(&killed, until(&own, "authority")).await;
        lose_the_primary(&killed, until(&own, "closed")).await;
    });
    let report = demo::run(options).await.unwrap();
    faults.await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!(tables_in_postgres(&target), Vec::<Vec<_>>::new());
}

/// Waits until nobody may write to a source in PostgreSQL.
async fn until_closed(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let served = tokio::spawn(connection);
    while client.query_one("SELECT FROM _shearwater.state WHERE role = 'closed'", &[]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(client);
    served.await.unwrap().unwrap();
}

/// The same where the set is the target: its primary is lost while it follows, and
/// again while the source is closed for it. The way back under load comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_three_that_follows_loses_its_primary_in_dual_write_and_in_the_cutover() {
    let server = Arc::new(Mongodb::start(Topology::Three));
    let (source, target) = (postgres().database("demo"), server.database("demo"));
    let client = ::mongodb::Client::with_uri_str(&target).await.unwrap();
    let own: Collection<Bson> = client.default_database().unwrap().collection("_shearwater.users");
    let (killed, closing) = (server.clone(), source.clone());
    let faults = tokio::spawn(async move {
        lose_the_primary(&killed, until(&own, "follower")).await;
        lose_the_primary(&killed, until_closed(&closing)).await;
    });
    let dwell = Duration::from_millis(400);
    let given = (Some(source.clone()), Some(target.clone()));
    let options = DemoOptions { source: given.0, target: given.1, records: 200, dwell, ..small() };
    let report = demo::run(options).await.unwrap();
    faults.await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!((report.source.as_str(), report.target.as_str()), ("postgres", "mongodb"));
    assert!(report.direct_writes > 0 && report.direct_refused > 0, "{}", report.text());
    assert!(report.cutover_pause_ms.samples >= 2 && report.rollback_pause_ms.samples >= 1, "{}", report.text());
    assert_eq!(tables_in_postgres(&source), Vec::<Vec<_>>::new());
    let left = shearwater_stores::inspect(&target).await.unwrap();
    assert!(left.tables.is_empty(), "{:?}", left.tables);
}

/// A server that is a set alone dies and comes back in the copy, in the cutover and
/// in the rollback.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_mongodb_that_is_killed_three_times() {
    let server = Arc::new(Mongodb::start(Topology::Single));
    let (source, target) = (server.database("demo"), postgres().database("demo"));
    let client = ::mongodb::Client::with_uri_str(&source).await.unwrap();
    let own: Collection<Bson> = client.default_database().unwrap().collection("_shearwater.users");
    let options = DemoOptions {
        source: Some(source),
        target: Some(target.clone()),
        records: 200,
        dwell: Duration::from_millis(400),
        ..small()
    };
    let faults = tokio::spawn(async move {
        for role in ["authority", "closed", "authority"] {
            until(&own, role).await;
            let server = server.clone();
            tokio::task::spawn_blocking(move || {
                server.kill();
                server.start_again();
            })
            .await
            .unwrap();
        }
        server
    });
    let report = demo::run(options).await.unwrap();
    let _server = faults.await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!(tables_in_postgres(&target), Vec::<Vec<_>>::new());
}

/// The source's server ends while it is copied, and while it follows, and comes back.
/// It is not killed: killed in a transaction of writes, DynamoDB Local forgets about
/// one in thirty that it has acknowledged (seen with another client, without us),
/// which DynamoDB never does. Nobody writes past the
/// gateway: DynamoDB has no triggers that would capture it.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_dynamodb_that_stops_twice_to_postgresql() {
    let server = DynamoDb::start();
    let (source, target) = (server.database("demo"), postgres().database("demo"));
    let (there, played) = (target.clone(), Arc::new(AtomicBool::new(false)));
    let killer = {
        let played = played.clone();
        std::thread::spawn(move || {
            let mut killed = 0;
            // The backfill has begun; the target is the authority, as in the reverse window.
            for sign in ["SELECT count(*) FROM _shearwater.checkpoints", AUTHORITY] {
                while !played.load(Ordering::Relaxed) {
                    if is_there(&there, sign) {
                        server.stop();
                        server.start_again();
                        killed += 1;
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            (server, killed)
        })
    };
    let (left, made) = (source.clone(), target.clone());
    let options = DemoOptions { source: Some(source), target: Some(target), records: 150, ..small() };
    let report = demo::run(options).await;
    played.store(true, Ordering::Relaxed);
    let (_server, killed) = killer.join().unwrap();
    let report = report.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!(killed, 2, "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0, "{}", report.text());
    assert_eq!((report.direct_writes, report.direct_refused), (0, 0));
    assert_eq!((report.source.as_str(), report.target.as_str()), ("dynamodb", "postgres"));
    let collection = outsider::Collection { table: "users".into(), key: "_id".into(), document: "doc".into() };
    let mut left = open_outsider(&left, collection).await.unwrap();
    assert_eq!((left.tables().await.unwrap(), tables_in_postgres(&made)), (Vec::new(), Vec::new()));
}

/// The target decides.
const AUTHORITY: &str = "SELECT count(*) FROM _shearwater.state WHERE role = 'authority'";

/// Whether a query finds something; a table that is not there holds nothing.
fn is_there(url: &str, sql: &str) -> bool {
    let asked = std::panic::AssertUnwindSafe(|| postgres().rows(url, sql)[0][0].clone());
    std::panic::catch_unwind(asked).is_ok_and(|count| count.is_some_and(|count| count != "0"))
}
