//! The fence under load, in the middle of a setting, and across a lost answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mongodb::bson::doc;
use mongodb::{Client, Collection};
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::{Mongodb, Topology, mongodb};

use crate::place::*;

/// Writers of two processes write while the fence is closed: once it is, nothing
/// changes any more, and everything that was acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_lands_after_the_fence() {
    nothing_lands(mongodb()).await;
}

/// The same where there are no transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_lands_after_the_fence_of_a_standalone_server() {
    nothing_lands(&Mongodb::start(Topology::Standalone)).await;
}

async fn nothing_lands(server: &Mongodb) {
    for round in 0..5 {
        let place = Place::new(server, Role::Authority).await;
        let stores = [place.store.clone(), open(&place.url).await];
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|writer: usize| {
                let (store, stop) = (stores[writer % 2].clone(), stop.clone());
                tokio::spawn(async move {
                    let mut last = 0;
                    for n in 1.. {
                        match store.write(write_of(vec![put_user(&format!("w{writer}"), n)])).await {
                            Ok(_) => last = n,
                            Err(error) => {
                                assert!(
                                    matches!(
                                        error.kind,
                                        StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. }
                                    ),
                                    "{error}"
                                );
                                break;
                            }
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    last
                })
            })
            .collect();
        // In the middle of their writing, not before it.
        while place.store.dirty_count().await.unwrap() < 8 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stores[round % 2].set_fence(OPEN, CLOSED).await.unwrap(), CLOSED);
        let before = place.store.dirty(None, 100).await.unwrap();
        let mut lasts = Vec::new();
        for writer in writers {
            lasts.push(writer.await.unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(place.store.dirty(None, 100).await.unwrap(), before, "a write landed after the fence was set");
        for (writer, last) in lasts.into_iter().enumerate() {
            let fetched = place.store.fetch(&Key::single(format!("w{writer}"))).await.unwrap();
            assert_eq!(fetched.image.unwrap().record, user(&format!("w{writer}"), last), "round {round}");
        }
    }
}

async fn own(url: &str) -> Collection<mongodb::bson::Document> {
    let client = Client::with_uri_str(url).await.unwrap();
    client.default_database().unwrap().collection("_shearwater.users")
}

/// Whoever sets the fence may die between its steps: whoever reads it finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_was_half_set_is_finished() {
    let place = Place::new(mongodb(), Role::Authority).await;
    let next = doc! { "role": "closed", "epoch": 2i64 };
    let set = doc! { "$set": { "next": next }, "$inc": { "generation": 1i64 } };
    own(&place.url).await.update_one(doc! { "_id": "fence" }, set).await.unwrap();
    // Nobody has raised a stripe yet, so a write is still admitted.
    place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    assert_eq!(place.store.fence().await.unwrap(), Some(CLOSED));
    let error = place.store.write(write_of(vec![put_user("a", 2)])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::FenceClosed);
}

/// One who set a fence, stalled, and goes on later raises nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_raise_is_void() {
    let place = Place::new(mongodb(), Role::Authority).await;
    place.store.set_fence(OPEN, CLOSED).await.unwrap();
    let open = Fence { role: Role::Authority, epoch: 3 };
    place.store.set_fence(CLOSED, open).await.unwrap();
    let late = doc! { "$set": { "role": "closed", "epoch": 2i64, "generation": 2i64 } };
    let stripes = doc! { "_id.stripe": { "$exists": true }, "generation": { "$lt": 2i64 } };
    assert_eq!(own(&place.url).await.update_many(stripes, late).await.unwrap().matched_count, 0);
    let write = Write { epoch: Some(3), changes: vec![put_user("a", 1)], idempotency: None };
    place.store.write(write).await.unwrap();
}

/// An answer that is lost after the commit: the write is there once, and the
/// idempotency key tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_commit_is_no_second_write() {
    let server = Mongodb::start(Topology::Single);
    let place = Place::new(&server, Role::Authority).await;
    let row = IdempotencyRow { key: "k".into(), request_hash: 1, answer: "{stamp}".into(), at_ms: 1 };
    let write = |n| Write { epoch: Some(1), changes: vec![put_user("a", n)], idempotency: Some(row.clone()) };
    for lost in [doc! { "times": 1 }.into(), mongodb::bson::Bson::from("alwaysOn")] {
        let data = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
        server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": lost, "data": data });
        let written = place.store.write(write(1)).await;
        server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": "off" });
        match written {
            Ok(Written::Applied(_) | Written::Replayed(_)) => {}
            Err(error) => assert_eq!(error.kind, StoreErrorKind::OutcomeUnknown, "{error}"),
        }
    }
    // Whatever became of it, the same request again ends with one write.
    let again = place.store.write(write(1)).await.unwrap();
    let recalled = place.store.recall("k").await.unwrap().unwrap();
    let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!(recalled.answer, fetched.stamp.unwrap().to_string(), "{again:?}");
    assert_eq!(place.store.dirty(None, 9).await.unwrap().len(), 1);
}

/// A write that fails before its commit, as in an election, is run again from its
/// beginning; a majority that does not answer in time is an unknown outcome.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_commit_is_run_again() {
    let server = Mongodb::start(Topology::Single);
    let place = Place::new(&server, Role::Authority).await;
    for (code, command) in [(10107, "update"), (112, "findAndModify"), (189, "find")] {
        let labels = ["TransientTransactionError"];
        let data = doc! { "failCommands": [command], "errorCode": code, "errorLabels": labels.as_slice() };
        server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": { "times": 2 }, "data": data });
        place.store.write(write_of(vec![put_user(command, 1)])).await.unwrap();
    }
    assert_eq!(place.store.dirty(None, 9).await.unwrap().len(), 3, "each of them once");
    let concern = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
    let data = doc! { "failCommands": ["commitTransaction"], "writeConcernError": concern };
    server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data });
    let error = place.store.write(write_of(vec![put_user("late", 1)])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::OutcomeUnknown, "{error}");
    server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": "off" });
}

/// What was acknowledged outlives the server's death.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let server = Mongodb::start(Topology::Single);
    let place = Place::new(&server, Role::Authority).await;
    let Written::Applied(stamps) = place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap() else { panic!() };
    server.kill();
    let error = place.store.write(write_of(vec![put_user("a", 2)])).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown), "{error}");
    server.start_again();
    let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
    assert!(fetched.dirty && fetched.stamp >= stamps[0], "{fetched:?}");
    place.store.write(write_of(vec![put_user("a", 3)])).await.unwrap();
    assert_eq!(place.store.fence().await.unwrap(), Some(OPEN));
}

/// A put that is late, after the store has become the authority, changes nothing newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_put_is_stale() {
    let place = Place::new(mongodb(), Role::Follower).await;
    let direct = place.direct().await;
    place.store.apply(1, vec![put("a", 1, Stamp::new(1, 9))], None).await.unwrap();
    place
        .store
        .set_fence(Fence { role: Role::Follower, epoch: 1 }, Fence { role: Role::Authority, epoch: 2 })
        .await
        .unwrap();
    let write = Write { epoch: Some(2), changes: vec![put_user("a", 2)], idempotency: None };
    place.store.write(write).await.unwrap();
    let error = place.store.apply(1, vec![put("a", 3, Stamp::new(1, 10))], None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::EpochStale { current: 2 });
    assert_eq!(one(&direct, "a").await.get_i32("age").unwrap(), 2);
}
