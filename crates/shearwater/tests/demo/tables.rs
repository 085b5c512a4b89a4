//! Between SQL stores.

use std::time::Duration;

use shearwater::demo::{self, DemoOptions};
use shearwater_stores::journal::JournalPlace;
use shearwater_testbed::{mariadb, postgres};

use crate::place::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_in_use_is_refused_and_left_alone() {
    let url = postgres().database("demo");
    postgres().run(&url, &["CREATE TABLE user_tags (mine text)", "INSERT INTO user_tags VALUES ('x')"]);
    let error = demo::run(DemoOptions { target: Some(url.clone()), ..small() }).await.unwrap_err();
    assert!(error.0.contains("the target has a table \"user_tags\""), "{error}");
    assert_eq!(postgres().rows(&url, "SELECT mine FROM user_tags"), [[Some("x".to_owned())]]);
    assert_eq!(tables_in_postgres(&url).len(), 1);
}
