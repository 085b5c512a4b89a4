//! Foreign keys of targets: while we follow, and from `complete` on.

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{FieldType, Layout, Reference};
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::mariadb;

use crate::place::*;

fn members() -> Layout {
    let mut team = column("team", FieldType::Text);
    team.references = Some(Reference { table: "teams".into(), column: "id".into() });
    Layout::Rows(table("members", vec![column("id", FieldType::Text), team]))
}

fn member(id: &str, team: &str) -> Put {
    let image = Image::of(doc(&format!(r#"{{"id":"{id}","team":"{team}"}}"#)));
    Put { key: Key::single(id), image: Some(image), stamp: Stamp::new(1, 1) }
}

fn team(id: &str) -> Put {
    let image = Some(Image::of(doc(&format!(r#"{{"id":"{id}"}}"#))));
    Put { key: Key::single(id), image, stamp: Stamp::new(1, 1) }
}

#[tokio::test]
async fn they_are_added_at_the_end_and_then_hold() {
    let url = mariadb().database("keys");
    let teams = open(&url, Layout::Rows(table("teams", vec![column("id", FieldType::Text)]))).await;
    let store = open(&url, members()).await;
    for store in [&teams, &store] {
        store.provision().await.unwrap();
        store.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
    }
    let answers = store.apply(1, vec![member("a", "red"), member("b", "blue")], None).await.unwrap();
    assert_eq!(answers, [Applied::Changed, Applied::Changed], "before their teams");
    teams.apply(1, vec![team("red")], None).await.unwrap();
    let error = store.constrain().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("team".into()) });
    assert!(error.message.contains("records: b") && !error.message.contains("blue"), "{error}");
    assert!(error.message.contains("members") && error.message.contains("teams"), "{error}");
    let count = "SELECT COUNT(*) FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()";
    let place = Place { url, store };
    let mut direct = place.direct().await;
    assert_eq!(number(&mut direct, count).await, 0, "it is as it was");

    teams.apply(1, vec![team("blue")], None).await.unwrap();
    assert_eq!(place.store.constrain().await.unwrap().len(), 1);
    assert_eq!(number(&mut direct, count).await, 1);
    assert_eq!(place.store.constrain().await.unwrap(), [""; 0], "once is enough");
    place.store.remove().await.unwrap();
    assert_eq!(code(&direct.query_drop("INSERT INTO members VALUES ('c', 'green')").await), 1452);
    assert_eq!(code(&direct.query_drop("DELETE FROM teams WHERE id = 'red'").await), 1451);
}

#[tokio::test]
async fn what_cannot_be_referred_to_is_an_error() {
    let url = mariadb().database("keys");
    mariadb().run(&url, &["CREATE TABLE teams (id INT PRIMARY KEY, name VARCHAR(9))"]);
    let store = open(&url, members()).await;
    store.provision().await.unwrap();
    let error = store.constrain().await.unwrap_err();
    assert!(error.kind == StoreErrorKind::Unsupported && error.message.contains("types must be equal"), "{error}");
    mariadb().run(&url, &["DROP TABLE teams"]);
    assert_eq!(store.constrain().await.unwrap_err().kind, StoreErrorKind::NotFound);
}

/// Foreign keys that a target had before we came, with cascades: our puts come
/// in any order, and what a cascade would change comes as puts of its own.
#[tokio::test]
async fn a_follower_does_not_trip_over_those_that_are_there() {
    let url = mariadb().database("keys");
    let teams = "CREATE TABLE teams (id VARCHAR(9) COLLATE utf8mb4_nopad_bin PRIMARY KEY)";
    let members_sql = "CREATE TABLE members (id VARCHAR(9) COLLATE utf8mb4_nopad_bin PRIMARY KEY, \
                       team VARCHAR(9) COLLATE utf8mb4_nopad_bin, FOREIGN KEY (team) REFERENCES teams (id) ON DELETE CASCADE)";
    mariadb().run(&url, &[teams, members_sql]);
    let store = open(&url, members()).await;
    let parents = open(&url, Layout::Rows(table("teams", vec![column("id", FieldType::Text)]))).await;
    for store in [&store, &parents] {
        store.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
    }
    assert_eq!(store.apply(1, vec![member("a", "red")], None).await.unwrap(), [Applied::Changed]);
    parents.apply(1, vec![team("red")], None).await.unwrap();
    let gone = Put { image: None, stamp: Stamp::new(1, 2), ..team("red") };
    assert_eq!(parents.apply(1, vec![gone], None).await.unwrap(), [Applied::Changed]);
    assert!(store.fetch(&Key::single("a")).await.unwrap().image.is_some(), "no cascade ran");
    assert_eq!(store.foreign(9).await.unwrap(), []);

    let authority = Fence { role: Role::Authority, epoch: 1 };
    store.set_fence(Fence { role: Role::Follower, epoch: 1 }, authority).await.unwrap();
    let image = Some(Image::of(doc(r#"{"id":"b","team":"none"}"#)));
    let change = Change { key: Key::single("b"), image, expect: Expect::Any };
    let error = store.write(write_of(vec![change])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("team".into()) }, "the authority obeys them");
}
