//! The demo at a small size, between stores of every kind: it must find nothing
//! wrong, leave nothing behind, and be able to find something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::mongodb::Collection;
use ::mongodb::bson::{Document as Bson, doc};
use shearwater::demo::{self, DemoOptions, DemoReport, Output, Sabotage};
use shearwater_core::error::Policy;
use shearwater_stores::journal::JournalPlace;
use shearwater_stores::open_outsider;
use shearwater_stores::outsider::{self, is_fence};
use shearwater_testbed::{DynamoDb, Mongodb, Topology, mariadb, mongodb, postgres};

fn small() -> DemoOptions {
    DemoOptions {
        records: 400,
        clients: 4,
        seed: Some(7),
        output: Output::Nothing,
        dwell: Duration::from_millis(500),
        // A busy machine may pause longer than a good one; that is not judged here.
        pause_ms_max: 10_000,
        ..DemoOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_and_there_again() {
    let report = demo::run(small()).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0 && report.direct_writes > 0, "{}", report.text());
    // The direct writer was refused in the reverse windows, and only there.
    assert!(report.direct_refused > 0, "{}", report.text());
    assert!(report.cutover_pause_ms.samples >= 2 && report.rollback_pause_ms.samples >= 1, "{}", report.text());
    assert_eq!(report.records, 400);
}

/// A demo between two databases, and what is left in them.
async fn between(source: Option<String>, target: Option<String>) -> DemoReport {
    let dwell = Duration::from_millis(200);
    let report = demo::run(DemoOptions { source, target, records: 200, dwell, ..small() }).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0 && report.direct_writes > 0, "{}", report.text());
    assert!(report.direct_refused > 0, "{}", report.text());
    report
}

fn tables_in_postgres(url: &str) -> Vec<Vec<Option<String>>> {
    let sql = "SELECT table_schema, table_name FROM information_schema.tables \
               WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
    postgres().rows(url, sql)
}

fn tables_in_mariadb(url: &str) -> Vec<Vec<Option<String>>> {
    mariadb().rows(url, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_postgresql() {
    let url = postgres().database("demo");
    let report = between(None, Some(url.clone())).await;
    assert_eq!((report.source.as_str(), report.target.as_str()), ("sqlite", "postgres"));
    assert_eq!(tables_in_postgres(&url), Vec::<Vec<_>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgresql_to_sqlite_with_a_journal_on_a_server() {
    let url = postgres().database("demo");
    let journal = postgres().database("journal");
    let dwell = Duration::from_millis(200);
    let place = Some(JournalPlace::parse(&journal).unwrap());
    let options = DemoOptions { source: Some(url.clone()), journal: place, records: 200, dwell, ..small() };
    let report = demo::run(options).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!((report.source.as_str(), report.target.as_str()), ("postgres", "sqlite"));
    assert_eq!(tables_in_postgres(&url), Vec::<Vec<_>>::new());
    let entries = postgres().rows(&journal, "SELECT string_agg(event, ' ') FROM shearwater_journal.entry");
    let entries = entries[0][0].clone().unwrap();
    assert!(entries.contains("switch-began"), "{entries}");
    assert!(!entries.contains("testbed:testbed"), "a password in the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_to_postgresql() {
    let (source, target) = (mariadb().database("demo"), postgres().database("demo"));
    let report = between(Some(source.clone()), Some(target.clone())).await;
    assert_eq!((report.source.as_str(), report.target.as_str()), ("mysql", "postgres"));
    assert_eq!((tables_in_mariadb(&source), tables_in_postgres(&target)), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgresql_to_mariadb() {
    let (source, target) = (postgres().database("demo"), mariadb().database("demo"));
    let report = between(Some(source.clone()), Some(target.clone())).await;
    assert_eq!((report.source.as_str(), report.target.as_str()), ("postgres", "mysql"));
    assert_eq!((tables_in_postgres(&source), tables_in_mariadb(&target)), (Vec::new(), Vec::new()));
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_in_use_is_refused_and_left_alone() {
    let url = postgres().database("demo");
    postgres().run(&url, &["CREATE TABLE user_tags (mine text)", "INSERT INTO user_tags VALUES ('x')"]);
    let error = demo::run(DemoOptions { target: Some(url.clone()), ..small() }).await.unwrap_err();
    assert!(error.0.contains("the target has a table \"user_tags\""), "{error}");
    assert_eq!(postgres().rows(&url, "SELECT mine FROM user_tags"), [[Some("x".to_owned())]]);
    assert_eq!(tables_in_postgres(&url).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn outsiders_of_every_kind_do_what_they_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().join("it.db").display());
    for url in [file, postgres().database("outsider"), mariadb().database("outsider")] {
        let names = ["odd \"table\"", "_id", "do`c"].map(str::to_owned);
        let [table, key, document] = names;
        let collection = outsider::Collection { table: table.clone(), key, document };
        let mut one = open_outsider(&url, collection.clone()).await.unwrap();
        assert_eq!(one.tables().await.unwrap(), Vec::<String>::new(), "{url}");
        let documents = (0..250).map(|n| (format!("k{n}"), format!("{{\"n\":{n}, \"zero\":-0.0}}")));
        one.make(&mut documents.clone()).await.unwrap();
        let mut two = open_outsider(&url, collection).await.unwrap();
        assert_eq!(two.tables().await.unwrap(), std::slice::from_ref(&table), "{url}");
        let taken = two.insert("k7", "{}").await.unwrap_err();
        assert!(!is_fence(&taken) && taken.policy() != Policy::Retry, "{url}: {taken:?}");
        two.insert("it's", "{\"new\":true}").await.unwrap();
        assert!(two.update("k7", &mut |old| Some(old.replace('7', "700"))).await.unwrap(), "{url}");
        assert!(!two.update("k8", &mut |_| None).await.unwrap(), "{url}");
        assert!(!two.update("nobody", &mut |_| Some("{}".to_owned())).await.unwrap(), "{url}");
        assert!(two.delete("k9").await.unwrap() && !two.delete("k9").await.unwrap(), "{url}");
        let mut left = one.documents().await.unwrap();
        let mut expect: Vec<String> = documents.map(|(_, document)| document).filter(|d| !d.contains(":9,")).collect();
        expect[7] = expect[7].replace('7', "700");
        expect.push("{\"new\":true}".to_owned());
        left.sort();
        expect.sort();
        assert_eq!(left, expect, "{url}");
        drop(two);
        one.drop_tables(&[&table, "not there"]).await.unwrap();
        assert_eq!(one.tables().await.unwrap(), Vec::<String>::new(), "{url}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the file that was made is gone");
}

/// The follower forgets in the reverse window, so the rollback loses writes,
/// and no gate opens after it: the demo is given up there.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_forgets_is_found_out() {
    let patience = Duration::from_secs(8);
    let options = DemoOptions { sabotage: Sabotage::ForgetfulSource, patience, ..small() };
    let report: DemoReport = demo::run(options).await.unwrap();
    assert!(!report.passed());
    assert!(report.lost > 0, "{}", report.text());
    // Errors stand first among the findings, of which only some are told.
    assert!(report.errors > 0 && report.findings[0].contains("the demo stopped"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_there_and_back_and_to_the_end() {
    absorbed(DemoOptions { records: 300, ..small() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_from_mariadb_into_postgresql() {
    let (source, target) = (mariadb().database("bob"), postgres().database("alice"));
    let journal = Some(JournalPlace::parse(&postgres().database("journal")).unwrap());
    let given = DemoOptions { source: Some(source.clone()), target: Some(target.clone()), journal, ..small() };
    absorbed(DemoOptions { records: 300, ..given }).await;
    assert_eq!(tables_in_postgres(&target).len(), 0);
    let left =
        mariadb().rows(&source, "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()");
    assert_eq!(left[0][0].as_deref(), Some("0"));
}

/// Through the program itself, as a user runs it.
#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_from_mongodb_into_postgresql() {
    let (source, target) = (mongodb().database("bob"), postgres().database("alice"));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command.args(["demo", "--kind", "absorb", "--records", "120", "--clients", "2", "--seed", "7", "--json"]);
    command.args(["--source", &source, "--target", &target]).env_remove("SHEARWATER_JOURNAL");
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(told.trim()).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && report["passed"] == true, "{told}{errors}");
    assert_eq!((report["source"].as_str(), report["target"].as_str()), (Some("mongodb"), Some("postgres")));
    for count in ["returned", "deactivated", "moved_in_bulk", "walks", "direct_writes"] {
        assert!(report[count].as_u64().is_some_and(|count| count > 0), "{count}: {told}");
    }
    assert_eq!(tables_in_postgres(&target).len(), 0);
}

async fn absorbed(options: DemoOptions) {
    let report = demo::absorb::run(options).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 5 && report.direct_writes > 10, "{}", report.text());
    assert!(report.returned > 0 && report.moved_in_bulk > 0 && report.deactivated > 0, "{}", report.text());
}
