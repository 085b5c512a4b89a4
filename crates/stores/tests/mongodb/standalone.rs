//! Writes on a standalone server: what a writer that dies leaves behind, at each
//! of its steps, and what becomes of it.

use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Collection};
use shearwater_core::Key;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::*;
use shearwater_testbed::{Mongodb, Topology};

use crate::place::*;

async fn own(place: &Place) -> Collection<Document> {
    let client = Client::with_uri_str(&place.url).await.unwrap();
    client.default_database().unwrap().collection("_shearwater.users")
}

async fn intents(place: &Place) -> u64 {
    own(place).await.count_documents(doc! { "token": { "$exists": true } }).await.unwrap()
}

fn keyed(n: i64) -> Write {
    let row = IdempotencyRow { key: "k".into(), request_hash: 1, answer: "{stamp}".into(), at_ms: 1 };
    Write { epoch: Some(1), changes: vec![put_user("a", n)], idempotency: Some(row) }
}

/// The intent of a writer that has died, or that stalls.
async fn leave_intent(place: &Place, id: Bson, token: &str) {
    let intent = doc! { "_id": id, "token": token, "target": { "_id": "a" }, "hash": format!("{:032x}", 1),
    "answer": "{stamp}", "at_ms": 1i64 };
    own(place).await.insert_one(intent).await.unwrap();
}

fn request() -> Bson {
    doc! { "request": "k" }.into()
}

/// The writer that stalled between the fence and its compare-and-set: the mark that
/// it has read is not there any more, so it loses, be there a document or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_compare_and_set_fails() {
    let server = Mongodb::start(Topology::Standalone);
    for held in [None, Some(0), Some(1)] {
        let place = Place::new(&server, Role::Authority).await;
        let direct = place.direct().await;
        match held {
            None => {}
            Some(0) => drop(direct.insert_one(doc! { "_id": "a", "email": "a@x", "age": 1i64 }).await.unwrap()),
            Some(_) => drop(place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap()),
        }
        let before = place.store.fetch(&Key::single("a")).await.unwrap();
        let seen = direct.find_one(doc! { "_id": "a" }).await.unwrap();
        leave_intent(&place, doc! { "intent": "t" }.into(), "t").await;
        assert_eq!(place.store.set_fence(OPEN, CLOSED).await.unwrap(), CLOSED);
        assert_eq!(intents(&place).await, 0);
        let condition = match seen.as_ref().map(|seen| seen.get_document("_shearwater")) {
            None => doc! { "_id": "a", "_shearwater": "nothing" },
            Some(Err(_)) => doc! { "_id": "a", "_shearwater": { "$exists": false } },
            Some(Ok(mark)) => doc! { "_id": "a", "_shearwater.e": mark.get_i64("e").unwrap(),
            "_shearwater.c": mark.get_i64("c").unwrap(), "_shearwater.n": { "$exists": false } },
        };
        let late = direct.replace_one(condition, doc! { "age": 9i64 }).upsert(true).await;
        assert!(late.unwrap_err().to_string().contains("E11000"), "{held:?}");
        // Nothing that anybody reads is another one for it.
        assert_eq!(place.store.fetch(&Key::single("a")).await.unwrap(), before, "{held:?}");
        assert_eq!(place.store.dirty_count().await.unwrap(), u64::from(held == Some(1)));
        place.store.remove().await.unwrap();
        let left = direct.find_one(doc! { "_id": "a" }).await.unwrap();
        assert_eq!(left.map(|left| left.contains_key("_shearwater")), held.map(|_| false));
    }
}

/// Died before the compare-and-set: nothing was written, and the same request is done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_before_its_write_is_done_when_it_comes_again() {
    let server = Mongodb::start(Topology::Standalone);
    let place = Place::new(&server, Role::Authority).await;
    leave_intent(&place, request(), "t").await;
    assert!(matches!(place.store.write(keyed(1)).await.unwrap(), Written::Applied(_)));
    assert!(matches!(place.store.write(keyed(1)).await.unwrap(), Written::Replayed(_)));
    assert_eq!(intents(&place).await, 0);
    let place = Place::new(&server, Role::Authority).await;
    leave_intent(&place, request(), "t").await;
    assert_eq!(place.store.recall("k").await.unwrap(), None);
    assert_eq!(place.store.forget_idempotency(9).await.unwrap(), 0, "there is none any more");
}

/// Died after it: the record is there with its mark, and the request is answered from it,
/// also when the document has been replaced meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_after_its_write_is_replayed() {
    let server = Mongodb::start(Topology::Standalone);
    for replaced in [Some(()), None] {
        let place = Place::new(&server, Role::Authority).await;
        let Written::Applied(stamps) = place.store.write(keyed(1)).await.unwrap() else { panic!() };
        let mark = one(&place.direct().await, "a").await.get_document("_shearwater").unwrap().clone();
        let token = mark.get_str("t").unwrap();
        // As it was before its last step.
        own(&place).await.delete_one(doc! { "_id": request() }).await.unwrap();
        leave_intent(&place, request(), token).await;
        if replaced.is_some() {
            place.store.write(write_of(vec![put_user("a", 2)])).await.unwrap();
        }
        let Written::Replayed(row) = place.store.write(keyed(1)).await.unwrap() else { panic!("written twice") };
        assert_eq!(row.answer, stamps[0].unwrap().to_string());
        assert_eq!(place.store.recall("k").await.unwrap(), Some(row));
        assert_eq!((intents(&place).await, place.store.dirty_count().await.unwrap()), (0, 1));
    }
}

/// The connection is lost at each step of a write: the same request again ends with one write.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_at_each_step_is_no_second_write() {
    let server = Mongodb::start(Topology::Standalone);
    let (cut, refused) = (doc! { "closeConnection": true }, doc! { "errorCode": 10107 });
    // Each case takes the driver's whole patience: the steps from the fence on, a cut
    // for each, and an error for the one that writes.
    for (command, skip) in [("findAndModify", 0), ("update", 0), ("update", 1)] {
        let ways =
            if (command, skip) == ("update", 0) { vec![cut.clone(), refused.clone()] } else { vec![cut.clone()] };
        for lost in ways {
            let place = Place::new(&server, Role::Authority).await;
            let mut data = doc! { "failCommands": [command] };
            data.extend(lost);
            server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": { "skip": skip }, "data": data });
            let written = place.store.write(keyed(1)).await;
            server.run_on(0, doc! { "configureFailPoint": "failCommand", "mode": "off" });
            if let Err(error) = written {
                let kinds = [StoreErrorKind::OutcomeUnknown, StoreErrorKind::Unavailable];
                assert!(kinds.contains(&error.kind), "{command}: {error}");
            }
            place.store.write(keyed(1)).await.unwrap();
            let recalled = place.store.recall("k").await.unwrap().unwrap();
            let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
            assert_eq!(recalled.answer, fetched.stamp.unwrap().to_string(), "{command}");
            assert_eq!((intents(&place).await, place.store.dirty_count().await.unwrap()), (0, 1), "{command}");
        }
    }
}

/// What was acknowledged, and what a read has seen, outlives the server's death.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_standalone_server_keeps_what_it_acknowledged() {
    let server = Mongodb::start(Topology::Standalone);
    let place = Place::new(&server, Role::Authority).await;
    let Written::Applied(stamps) = place.store.write(keyed(1)).await.unwrap() else { panic!() };
    server.kill();
    server.start_again();
    let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
    assert!(fetched.dirty && fetched.stamp == stamps[0], "{fetched:?}");
    assert!(matches!(place.store.write(keyed(1)).await.unwrap(), Written::Replayed(_)));
    assert_eq!(place.store.set_fence(OPEN, CLOSED).await.unwrap(), CLOSED);
}
