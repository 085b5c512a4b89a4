//! What a store says when it cannot: clear, with a hint, and nothing written.

use mongodb::bson::doc;
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::*;
use shearwater_stores::Create;
use shearwater_testbed::{Mongodb, Topology, mongodb};

use crate::place::*;

async fn refused(url: &str, layout: Layout) -> StoreError {
    match shearwater_stores::open(url, layout, Create::Never).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

#[track_caller]
fn check(error: &StoreError, kind: StoreErrorKind, says: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(says), "{error}");
    assert!(error.hint.is_some() && !error.message.contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_without_rights() {
    let server = Mongodb::start_with_accounts(Topology::Single);
    let place = Place::bare(&server).await;
    let wrong = place.url.replace("testbed:testbed@", "testbed:secret@");
    check(&refused(&wrong, users()).await, StoreErrorKind::Denied, "does not accept this account");
    let reader = open(&server.account(&place.url, &["read"])).await;
    check(&reader.install(OPEN).await.unwrap_err(), StoreErrorKind::Denied, "lacks a privilege");
    let write = Write { epoch: None, changes: vec![put_user("a", 1)], idempotency: None };
    check(&reader.write(write).await.unwrap_err(), StoreErrorKind::Denied, "lacks a privilege");
    assert_eq!(place.store.sidecar_names().await.unwrap(), Vec::<String>::new(), "nothing was written");
    // `readWrite` on the database is all that a migration needs.
    let writer = open(&server.account(&place.url, &["readWrite"])).await;
    writer.install(OPEN).await.unwrap();
    writer.write(write_of(vec![put_user("a", 1), put_user("b", 1), delete("a")])).await.unwrap();
    assert_eq!(writer.dirty_count().await.unwrap(), 2);
    assert!(writer.vitals().unwrap().load().await.is_ok());
    writer.remove().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let url = format!("mongodb://u:secret@127.0.0.1:{port}/d?serverSelectionTimeoutMS=300");
    check(&refused(&url, users()).await, StoreErrorKind::Unavailable, "no server");
    let url = mongodb().database("empty");
    check(&refused(&url, users()).await, StoreErrorKind::NotFound, "no collection \"users\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_server_takes_one_change_at_a_time() {
    let server = Mongodb::start(Topology::Standalone);
    let place = Place::bare(&server).await;
    let hazards = place.store.inspect().await.unwrap().hazards;
    assert!(hazards.iter().any(|hazard| hazard.contains("standalone")), "{hazards:?}");
    // Reading, and plain writes before a migration and after it, need no transaction.
    let write = |changes| Write { epoch: None, changes, idempotency: None };
    place.store.write(write(vec![put_user("a", 1)])).await.unwrap();
    let error = place.store.write(write(vec![put_user("a", 2), put_user("b", 1)])).await.unwrap_err();
    check(&error, StoreErrorKind::Refused { field: None }, "several changes");
    place.store.install(OPEN).await.unwrap();
    let error = place.store.write(write_of(vec![put_user("a", 2), put_user("b", 1)])).await.unwrap_err();
    check(&error, StoreErrorKind::Refused { field: None }, "several changes");
    assert_eq!(place.store.changes_max(), 1);
    let fetched = place.store.fetch(&shearwater_core::Key::single("a")).await.unwrap();
    assert_eq!((fetched.image.unwrap().record, fetched.stamp), (user("a", 1), Some(shearwater_core::Stamp::ZERO)));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_are_none() {
    let url = mongodb().database("odd");
    let run = |command| drop(mongodb().run(&url, command));
    run(doc! { "create": "capped", "capped": true, "size": 4096 });
    run(doc! { "create": "weather", "timeseries": { "timeField": "at" } });
    run(doc! { "create": "base" });
    run(doc! { "create": "shown", "viewOn": "base", "pipeline": [] });
    for (name, says) in [("capped", "capped"), ("weather", "time-series"), ("shown", "a view")] {
        let Layout::Document(layout) = users() else { panic!() };
        let layout = Layout::Document(shearwater_core::shape::DocumentLayout { table: name.into(), ..layout });
        check(&refused(&url, layout).await, StoreErrorKind::Unsupported, says);
    }
    let column = shearwater_core::shape::ColumnShape {
        name: "id".into(),
        ty: FieldType::Int,
        nullable: false,
        unique: false,
        native: None,
        references: None,
    };
    let rows = shearwater_core::shape::TableShape {
        table: "base".into(),
        key: vec!["id".into()],
        columns: vec![column],
        children: vec![],
        residue: None,
        extras: Default::default(),
    };
    check(&refused(&url, Layout::Rows(rows)).await, StoreErrorKind::Unsupported, "rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn hazards_are_told() {
    let url = mongodb().database("hazards");
    let run = |command| drop(mongodb().run(&url, command));
    run(
        doc! { "create": "users", "validator": { "$jsonSchema": { "additionalProperties": false, "properties": {} } } },
    );
    run(doc! { "createIndexes": "users", "indexes": [
        { "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 10 },
        { "key": { "email": 1 }, "name": "emails", "unique": true },
    ] });
    let look = shearwater_stores::inspect(&url).await.unwrap();
    let table = look.tables.iter().find(|table| table.name == "users").unwrap();
    for says in ["past the gateway", "validator", "additional fields", "`ttl` lets documents expire", "`emails` keeps"]
    {
        assert!(table.hazards.iter().any(|hazard| hazard.contains(says)), "{says}: {:?}", table.hazards);
    }
    assert_eq!((&table.key, &table.unique), (&vec!["_id".to_owned()], &vec![vec!["email".to_owned()]]));
}
