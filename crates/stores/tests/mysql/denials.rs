//! What cannot be opened or done says why, and what to do.

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_stores::Create;
use shearwater_testbed::{Mariadb, Options, Privileges, mariadb};

use crate::place::*;

#[track_caller]
fn says(error: &StoreError, kind: StoreErrorKind, message: &str, hint: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(message), "{error}");
    assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{error}: {:?}", error.hint);
}

async fn refused(url: &str, layout: Layout) -> StoreError {
    match shearwater_stores::open(url, layout, Create::Never).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

fn plain() -> Layout {
    Layout::Rows(table("users", vec![column("id", FieldType::Int), column("name", FieldType::Text)]))
}

#[tokio::test]
async fn places_and_accounts() {
    let url = mariadb().database("denied");
    mariadb().run(&url, &["CREATE TABLE users (id INT PRIMARY KEY, name TEXT)"]);
    let other = |from: &str, to: &str| url.replace(from, to);
    let port = mariadb().port().to_string();
    let error = refused(&other(&port, "1"), plain()).await;
    says(&error, StoreErrorKind::Unavailable, "127.0.0.1:1/", "server runs");
    let error = refused(&other(":testbed@", ":wrong@"), plain()).await;
    says(&error, StoreErrorKind::Denied, "connecting", "password");
    assert!(!error.message.contains("wrong"), "{error}");
    let error = refused(&format!("{url}_not"), plain()).await;
    says(&error, StoreErrorKind::NotFound, "Unknown database", "database");
    let nobody = mariadb().account(&mariadb().database("elsewhere"), Privileges::Nothing);
    let database = url.rsplit('/').next().unwrap();
    let error = refused(&format!("{}/{database}", nobody.rsplit_once('/').unwrap().0), plain()).await;
    says(&error, StoreErrorKind::Denied, "denied", "needs SELECT");
}

#[tokio::test]
async fn an_account_that_only_reads() {
    let url = mariadb().database("denied");
    mariadb().run(&url, &["CREATE TABLE users (id INT PRIMARY KEY, name TEXT)"]);
    let reader = mariadb().account(&url, Privileges::ReadOnly);
    let store = open(&reader, plain()).await;
    assert_eq!(store.estimate().await.unwrap().records, 0);
    let error = store.install(OPEN).await.unwrap_err();
    says(&error, StoreErrorKind::Denied, "denied", "TRIGGER");
    let inspection = shearwater_stores::inspect(&reader).await.unwrap();
    let named = |what: &str| inspection.hazards.iter().any(|hazard| hazard.contains(what));
    assert!(named("TRIGGER") && named("PROCESS"), "{:?}", inspection.hazards);
}

#[tokio::test]
async fn an_owner_whose_triggers_the_server_does_not_trust() {
    let url = mariadb().database("owned");
    let owner = mariadb().account(&url, Privileges::Owner);
    let store = open(&owner, users(FieldType::Text)).await;
    store.provision().await.unwrap();
    let error = store.install(OPEN).await.unwrap_err();
    says(&error, StoreErrorKind::Denied, "SUPER", "log_bin_trust_function_creators = 1");
    assert_eq!(store.sidecar_names().await.unwrap(), [""; 0], "nothing is left half-done");
    let told = |inspection: shearwater_core::store::Inspection| {
        inspection.hazards.iter().any(|hazard| hazard.contains("log_bin_trust_function_creators"))
    };
    assert!(told(shearwater_stores::inspect(&owner).await.unwrap()));
    assert!(!told(shearwater_stores::inspect(&url).await.unwrap()), "an administrator may");
}

#[tokio::test]
async fn tables_that_cannot_take_part() {
    let url = mariadb().database("denied");
    mariadb().run(
        &url,
        &[
            "CREATE TABLE keyless (id INT NOT NULL, name TEXT)",
            "CREATE TABLE prefixed (id VARCHAR(40) NOT NULL, name TEXT, UNIQUE (id(10)))",
            "CREATE TABLE old (id INT PRIMARY KEY, name TEXT) ENGINE=MyISAM",
            "CREATE VIEW seen AS SELECT * FROM keyless",
        ],
    );
    let of = |name: &str, ty| Layout::Rows(table(name, vec![column("id", ty), column("name", FieldType::Text)]));
    let error = refused(&url, of("absent", FieldType::Int)).await;
    says(&error, StoreErrorKind::NotFound, "no table \"absent\"", "keyless");
    let error = refused(&url, Layout::Rows(table("keyless", vec![column("age", FieldType::Int)]))).await;
    says(&error, StoreErrorKind::NotFound, "no column \"age\"", "id, name");
    let error = refused(&url, of("old", FieldType::Int)).await;
    says(&error, StoreErrorKind::Unsupported, "MyISAM", "ENGINE=InnoDB");
    let error = refused(&url, of("seen", FieldType::Int)).await;
    says(&error, StoreErrorKind::Unsupported, "takes triggers", "reads from");
    for (name, ty) in [("keyless", FieldType::Int), ("prefixed", FieldType::Text)] {
        let error = open(&url, of(name, ty)).await.install(OPEN).await.unwrap_err();
        says(&error, StoreErrorKind::NotFound, "no UNIQUE index over exactly (id)", "whole columns");
    }
}

#[tokio::test]
async fn an_owner_without_rights_on_the_server_and_a_read_only_server() {
    let server = Mariadb::start(Options::new().never_killed().setting("log-bin-trust-function-creators", "1"));
    let url = server.database("shut");
    let owner = server.account(&url, Privileges::Owner);
    let store = open(&owner, users(FieldType::Text)).await;
    store.provision().await.unwrap();
    store.install(OPEN).await.unwrap();
    store.write(write_of(vec![put_user("b", 1)])).await.unwrap();
    assert!(store.vitals().unwrap().load().await.is_ok());
    server.run(&url, &["SET GLOBAL read_only = 1"]);
    let error = store.write(write_of(vec![put_user("a", 1)])).await.unwrap_err();
    says(&error, StoreErrorKind::Unavailable, "read-only", "replica");
    let inspection = shearwater_stores::inspect(&owner).await.unwrap();
    assert!(inspection.hazards.iter().any(|hazard| hazard.contains("read-only")), "{:?}", inspection.hazards);
    server.run(&url, &["SET GLOBAL read_only = 0"]);
    store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    assert_eq!(store.dirty_count().await.unwrap(), 2);
    store.remove().await.unwrap();
    assert_eq!(store.sidecar_names().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn tls() {
    let server = Mariadb::start(Options::new().never_killed().tls());
    let url = server.database("secret");
    server
        .run(&url, &["CREATE TABLE users (id INT PRIMARY KEY, name TEXT)", "SET GLOBAL require_secure_transport = 1"]);
    let ca = server.ca_file().display().to_string().replace('/', "%2F");
    open(&format!("{url}?tls=on&tls_ca={ca}"), plain()).await.estimate().await.unwrap();
    open(&format!("{url}?tls=unchecked"), plain()).await.estimate().await.unwrap();
    let error = refused(&format!("{url}?tls=on"), plain()).await;
    assert!(error.kind == StoreErrorKind::Unavailable && error.hint.is_some(), "{error}");
    assert!(shearwater_stores::open(&format!("{url}?tls=off"), plain(), Create::Never).await.is_err());
}
