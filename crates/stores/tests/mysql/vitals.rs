//! How the store says that background work weighs on it.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_testbed::{Mariadb, Options, mariadb};

use crate::place::*;

/// Looks until `is` holds.
async fn until(store: &dyn Store, what: &str, is: impl Fn(&Result<Load, StoreErrorKind>) -> bool) {
    let begun = Instant::now();
    loop {
        let seen = store.vitals().unwrap().load().await.map_err(|error| error.kind);
        if is(&seen) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{what}: {seen:?}");
        // The server renews what it tells only when it was not asked for 100 ms.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn who_waits_for_us_is_counted_and_others_are_not() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 1), put_user("b", 1)])).await.unwrap();
    let (mut one, mut two, mut watch) = (place.direct().await, place.direct().await, place.direct().await);
    one.query_drop("START TRANSACTION; UPDATE users SET age = 2 WHERE id = 'b'").await.unwrap();
    let waiting = tokio::spawn(async move { two.query_drop("UPDATE users SET age = 3 WHERE id = 'b'").await });
    until_waiting(&mut watch, 1).await;
    until(&*place.store, "nobody waits for us", |load| matches!(load, Ok(Load { lock_waits: 0, .. }))).await;

    // Ours gets the row "a" and then waits for "b"; a third waits for "a".
    let store = place.store.clone();
    let ours = tokio::spawn(async move { store.write(write_of(vec![put_user("a", 5), put_user("b", 5)])).await });
    until_waiting(&mut watch, 2).await;
    let mut three = place.direct().await;
    let third = tokio::spawn(async move { three.query_drop("UPDATE users SET age = 4 WHERE id = 'a'").await });
    until(&*place.store, "one waits for us", |load| matches!(load, Ok(Load { lock_waits: 1.., .. }))).await;
    one.query_drop("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    // Whoever waited too long or lost is told so; here only the counting matters.
    let _ = (ours.await.unwrap(), third.await.unwrap());
    until(&*place.store, "all is over", |load| matches!(load, Ok(Load { lock_waits: 0, .. }))).await;
}

#[tokio::test]
async fn a_replica_that_the_url_names_is_asked_for_its_lag() {
    let primary = Mariadb::start(Options::new().never_killed());
    let replica = Mariadb::start(Options::new().never_killed().setting("server-id", "2"));
    let position = primary.rows(&primary.url(), "SHOW MASTER STATUS").remove(0);
    let follow = format!(
        "CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='testbed', master_password='testbed', \
         master_log_file='{}', master_log_pos={}",
        primary.port(),
        position[0].as_ref().unwrap(),
        position[1].as_ref().unwrap(),
    );
    let place = Place::new(&primary, users(FieldType::Text), Role::Authority).await;
    let url = format!("{}?replica=127.0.0.1:{}", place.url, replica.port());
    let store = open(&url, users(FieldType::Text)).await;
    let load = || async { store.vitals().unwrap().load().await };
    let error = load().await.unwrap_err();
    assert!(error.kind == StoreErrorKind::Unavailable && error.message.contains("follows nobody"), "{error}");

    replica.run(&replica.url(), &[&follow, "START SLAVE"]);
    until(&*store, "it catches up", |load| matches!(load, Ok(Load { replica_lag_ms: 0, .. }))).await;
    let inspection = shearwater_stores::inspect(&place.url).await.unwrap();
    assert!(inspection.hazards.iter().any(|hazard| hazard.contains("replica=HOST:PORT")), "{:?}", inspection.hazards);
    let inspection = shearwater_stores::inspect(&url).await.unwrap();
    assert!(!inspection.hazards.iter().any(|hazard| hazard.contains("replica=HOST:PORT")), "{:?}", inspection.hazards);

    let mut locked = mysql_async::Conn::new(mysql_async::Opts::from_url(&replica.url()).unwrap()).await.unwrap();
    let database = place.url.rsplit('/').next().unwrap();
    let both = format!("USE {database}; LOCK TABLES users READ, user_tags READ");
    until(&*store, "it has the tables", |_| true).await;
    while locked.query_drop(both.as_str()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    until(&*store, "it falls behind", |load| matches!(load, Ok(Load { replica_lag_ms: 1_000.., .. }))).await;
    locked.query_drop("UNLOCK TABLES").await.unwrap();
    until(&*store, "it catches up again", |load| matches!(load, Ok(Load { replica_lag_ms: 0, .. }))).await;
    replica.run(&replica.url(), &["STOP SLAVE SQL_THREAD"]);
    let error = load().await.unwrap_err();
    assert!(error.message.contains("does not apply") && error.hint.is_some(), "{error}");
    replica.stop();
    assert_eq!(load().await.unwrap_err().kind, StoreErrorKind::Unavailable);
}
