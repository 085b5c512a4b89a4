//! Throttling, lost answers, ended sessions, kills.

use shearwater_core::Key;
use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Expect, Image, Put, Role};
use shearwater_testbed::{DynamoDb, dynamodb};

use crate::given::{captured, check_error, fence, layout, open, put, records, user, users, write};
use crate::proxy::{Fault, Proxy, error};

#[tokio::test]
async fn throttled_requests_are_made_again() {
    let proxy = Proxy::before(&dynamodb().database("throttled")).await;
    let store = captured(&proxy.url, Role::Authority).await;
    proxy.next("TransactWriteItems", 3, error("ThrottlingException"));
    proxy.next("BatchGetItem", 2, error("ProvisionedThroughputExceededException"));
    let stamp = write(&store, vec![put(user("a", 1), Expect::Absent)]).await.unwrap()[0];
    assert_eq!(proxy.left(), 0);
    proxy.next("BatchGetItem", 3, Fault::Unprocessed);
    let fetched = store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!((fetched.stamp, fetched.image), (Some(stamp), Some(Image::of(user("a", 1)))));
    assert_eq!(proxy.left(), 0, "what was left over was asked for again");
    proxy.next("Scan", 2, error("ProvisionedThroughputExceededException"));
    assert_eq!(records(&store).await.len(), 1);
}

#[tokio::test]
async fn what_stays_throttled_is_told() {
    let proxy = Proxy::before(&dynamodb().database("exhausted")).await;
    let store = captured(&proxy.url, Role::Authority).await;
    proxy.next("Scan", 100, error("ProvisionedThroughputExceededException"));
    let told = store.scan(&crate::given::ALL, None, crate::given::MANY).await.unwrap_err();
    check_error(&told, "store/unavailable", "ProvisionedThroughputExceeded", "rcu=");
    assert!(proxy.count("scan") < 20, "a bounded number of tries");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let proxy = Proxy::before(&dynamodb().database("lost")).await;
    let store = captured(&proxy.url, Role::Authority).await;
    proxy.next("TransactWriteItems", 1, Fault::Lost);
    let stamp = write(&store, vec![put(user("a", 1), Expect::Absent)]).await.unwrap()[0];
    assert_eq!(store.fetch(&Key::single("a")).await.unwrap().stamp, Some(stamp), "the first one, and no other");
    assert_eq!(store.dirty_count().await.unwrap(), 1);
    proxy.next("TransactWriteItems", 9, Fault::Lost);
    let told = write(&store, vec![put(user("b", 1), Expect::Absent)]).await.unwrap_err();
    assert_eq!(told.kind, StoreErrorKind::OutcomeUnknown, "{told:?}");
    let fetched = store.fetch(&Key::single("b")).await.unwrap();
    assert!(fetched.dirty, "it was done, and its mark tells");
}

#[tokio::test]
async fn conflicts_with_other_transactions_are_tried_again() {
    let proxy = Proxy::before(&dynamodb().database("conflict")).await;
    let store = captured(&proxy.url, Role::Authority).await;
    let reasons = r#"{"Code":"None"},{"Code":"TransactionConflict","Message":"on cue"},{"Code":"None"}"#;
    let body = format!(
        "{{\"__type\":\"com.amazonaws.dynamodb.v20120810#TransactionCanceledException\",\
         \"Message\":\"cancelled\",\"CancellationReasons\":[{reasons}]}}"
    );
    proxy.next("TransactWriteItems", 2, Fault::Answer(400, body));
    write(&store, vec![put(user("a", 1), Expect::Absent)]).await.unwrap();
    assert_eq!((proxy.left(), records(&store).await.len()), (0, 1));
}

#[tokio::test]
async fn credentials_that_are_not_taken_are_told() {
    let proxy = Proxy::before(&dynamodb().database("expired")).await;
    let store = users(&proxy.url).await;
    for (code, hint) in [
        ("ExpiredTokenException", "AWS_SESSION_TOKEN"),
        ("UnrecognizedClientException", "access key"),
        ("AccessDeniedException", "policy"),
    ] {
        proxy.next("DescribeTable", 1, error(code));
        let told = open(&proxy.url, layout("users", &["id"])).await.err().unwrap();
        check_error(&told, "store/denied", code, hint);
        assert!(!told.message.contains("testbed"), "a secret: {told}");
        proxy.next("BatchGetItem", 1, error(code));
        let told = store.fetch(&Key::single("a")).await.unwrap_err();
        check_error(&told, "store/denied", code, hint);
    }
    assert_eq!(proxy.count("transactwriteitems"), 0, "nothing was written");
}

/// A killed server: what was acknowledged is there after its restart, with its
/// marks; what was not is unavailable or unknown, never refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let server = DynamoDb::start();
    let url = server.database("killed");
    let store = captured(&url, Role::Authority).await;
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let writer = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for n in 0.. {
                    let id = format!("r{round}-{n}");
                    match write(&store, vec![put(user(&id, n), Expect::Absent)]).await {
                        Ok(stamps) => done.push((id, stamps[0])),
                        Err(error) => return (done, error),
                    }
                }
                unreachable!()
            })
        };
        // Some writes are through before it dies.
        while store.dirty_count().await.unwrap() < 20 * (round + 1) {}
        tokio::task::block_in_place(|| server.kill());
        let (done, error) = writer.await.unwrap();
        let passing = matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown);
        assert!(passing && error.hint.is_some(), "{error:?}");
        let down = store.fetch(&Key::single("r0-0")).await.unwrap_err();
        assert_eq!(down.kind, StoreErrorKind::Unavailable, "{down:?}");
        acknowledged.extend(done);
        tokio::task::block_in_place(|| server.start_again());
        assert_eq!(store.fence().await.unwrap(), Some(fence(Role::Authority, 1)));
        let marks = store.dirty(None, 10_000).await.unwrap();
        for (id, stamp) in &acknowledged {
            let fetched = store.fetch(&Key::single(id.as_str())).await.unwrap();
            assert_eq!((fetched.stamp, fetched.dirty), (Some(*stamp), true), "{id}");
            assert!(marks.iter().any(|mark| mark.key == fetched.key && mark.stamp == *stamp), "{id}");
        }
        // The last one may have been done although nobody heard of it, whole then.
        let held = records(&store).await.len();
        assert!((acknowledged.len()..=acknowledged.len() + round as usize + 1).contains(&held), "{held} records");
        assert_eq!(marks.len(), held);
    }
}

/// A batch that no transaction holds: its checkpoint is not ahead of its rows.
#[tokio::test]
async fn a_checkpoint_is_never_ahead_of_its_records() {
    let proxy = Proxy::before(&dynamodb().database("ahead")).await;
    let store = captured(&proxy.url, Role::Follower).await;
    let puts = |range: std::ops::Range<i64>| -> Vec<Put> {
        let one = |n: i64| {
            let record = user(&format!("k{n}"), n);
            Put { key: Key::single(format!("k{n}")), image: Some(Image::of(record)), stamp: Stamp::ZERO }
        };
        range.map(one).collect()
    };
    let at = |read: u64| Checkpoint {
        run: "run".into(),
        range: 0,
        cursor: None,
        done: false,
        read,
        changed: 0,
        dead: 0,
        bytes: 0,
    };
    let step = CheckpointStep { from: at(0), to: at(200) };
    // One of the five transactions fails for good.
    proxy.next("TransactWriteItems", 1, error("AccessDeniedException"));
    store.apply(1, puts(0..200), Some(step.clone())).await.unwrap_err();
    assert_eq!(store.checkpoints("run").await.unwrap(), [], "the records are not all there");
    let held = records(&store).await.len() as u64;
    assert!(held < 200);
    let answers = store.apply(1, puts(0..200), Some(step)).await.unwrap();
    let changed = answers.iter().filter(|answer| **answer == Applied::Changed).count() as u64;
    // Of those that were on their way when one failed, some may have come after the count.
    assert!((1..=200 - held).contains(&changed), "what was there is left alone: {changed} of 200, {held} held");
    assert!(answers.iter().all(|answer| matches!(answer, Applied::Changed | Applied::Unchanged)));
    let saved = store.checkpoints("run").await.unwrap();
    assert_eq!((saved[0].read, saved[0].changed), (200, changed));
    assert_eq!(records(&store).await.len(), 200);
}
