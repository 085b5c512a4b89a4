//! The fence and the writers that are under way when it changes.

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::mariadb;

use crate::place::*;

#[tokio::test]
async fn setting_it_waits_for_the_writers_that_it_let_in() {
    for begin in ["START TRANSACTION", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION"] {
        let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
        let (mut direct, mut watch) = (place.direct().await, place.direct().await);
        direct.query_drop(format!("{begin}; INSERT INTO users (id) VALUES ('a')")).await.unwrap();
        let store = place.store.clone();
        let setting = tokio::spawn(async move { store.set_fence(OPEN, CLOSED).await });
        until_waiting(&mut watch, 1).await;
        assert!(!setting.is_finished(), "{begin}");
        direct.query_drop("INSERT INTO users (id) VALUES ('b'); COMMIT").await.unwrap();
        assert_eq!(setting.await.unwrap().unwrap(), CLOSED);
        assert_eq!(place.dirty().await, ["a", "b"], "{begin}: both were in before");
        let stamps: Vec<u64> = place.store.dirty(None, 9).await.unwrap().iter().map(|mark| mark.stamp.epoch).collect();
        assert_eq!(stamps, [1, 1], "with the old epoch");
    }
}

#[tokio::test]
async fn it_does_not_wait_for_ever_and_then_is_as_before() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    let mut direct = place.direct().await;
    direct.query_drop("START TRANSACTION; INSERT INTO users (id) VALUES ('a')").await.unwrap();
    let error = place.store.set_fence(OPEN, CLOSED).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("still open")), "{error}");
    assert_eq!(place.store.fence().await.unwrap(), Some(OPEN));
    direct.query_drop("INSERT INTO users (id) VALUES ('b'); COMMIT").await.unwrap();
    assert_eq!(place.store.set_fence(OPEN, CLOSED).await.unwrap(), CLOSED);
}

#[tokio::test]
async fn a_snapshot_from_before_lets_nobody_in() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    let mut direct = place.direct().await;
    let old = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT";
    direct.query_drop(format!("{old}; SELECT COUNT(*) FROM users")).await.unwrap();
    place.store.set_fence(OPEN, CLOSED).await.unwrap();
    assert_eq!(code(&direct.query_drop("INSERT INTO users (id) VALUES ('a')").await), 31_990);
}

#[tokio::test]
async fn a_follower_takes_puts_while_closed_and_no_direct_writes_later() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Follower).await;
    let mut direct = place.direct().await;
    direct.query_drop("INSERT INTO users (id) VALUES ('stray')").await.unwrap();
    assert_eq!(place.store.foreign(10).await.unwrap(), [Key::single("stray")]);
    let follower = Fence { role: Role::Follower, epoch: 1 };
    place.store.set_fence(follower, CLOSED).await.unwrap();
    let answers = place.store.apply(2, vec![put("a", 1, Stamp::new(1, 1))], None).await.unwrap();
    assert_eq!(answers, [Applied::Changed]);
    assert_eq!(code(&direct.query_drop("UPDATE users SET age = 2").await), 31_990);
    assert_eq!(place.store.foreign(10).await.unwrap(), [Key::single("stray")], "our own puts are not foreign");
}

/// A direct writer that holds a row, our own writer that waits for it, and the
/// fence that waits for both: nobody may be left waiting.
#[tokio::test]
async fn a_circle_of_waits_is_broken() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    let (mut direct, mut watch) = (place.direct().await, place.direct().await);
    direct.query_drop("START TRANSACTION; SELECT * FROM users WHERE id = 'a' FOR UPDATE").await.unwrap();
    let store = place.store.clone();
    let writing = tokio::spawn(async move { store.write(write_of(vec![put_user("a", 2)])).await });
    until_waiting(&mut watch, 1).await;
    let store = place.store.clone();
    let setting = tokio::spawn(async move { store.set_fence(OPEN, CLOSED).await });
    until_waiting(&mut watch, 2).await;
    let done = direct.query_drop("UPDATE users SET age = 3 WHERE id = 'a'").await;
    if code(&done) == 0 {
        direct.query_drop("COMMIT").await.unwrap();
    }
    println!("the direct writer: {}", code(&done));
    let (written, set) = (writing.await.unwrap(), setting.await.unwrap());
    let is_fine = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::FenceClosed | StoreErrorKind::Unavailable);
    assert!(written.as_ref().map_or_else(|e| is_fine(&e.kind), |_| true), "{written:?}");
    assert_eq!(set.unwrap(), CLOSED);
}
