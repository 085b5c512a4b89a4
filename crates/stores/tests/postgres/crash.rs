//! Killed sessions and servers, in the middle of everything.

use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Role, Written};
use shearwater_testbed::{Options, Postgres};

use crate::place::{change, direct, key, made, place, put, record, until, waiting, write};

const IN_LOCK: &str = "wait_event_type = 'Lock'";
const IN_COMMIT: &str = "wait_event = 'SyncRep'";

#[tokio::test]
async fn a_session_killed_before_its_commit_wrote_nothing() {
    let (url, store) = place(Role::Authority).await;
    let (holder, watcher) = (direct(&url).await, direct(&url).await);
    holder.batch_execute("INSERT INTO accounts VALUES (1, 1, 'a'); BEGIN; UPDATE accounts SET n = 2").await.unwrap();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.write(write(vec![change(1, 9, "w"), change(2, 9, "x")], "w")).await }
    });
    let pid = waiting(&watcher, IN_LOCK).await;
    watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}: nothing was committed, and that is known");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.recall("w").await.unwrap(), None);
    assert_eq!(store.fetch(&key(2)).await.unwrap().image, None);
    let again = store.write(write(vec![change(1, 9, "w")], "w")).await.unwrap();
    assert!(matches!(again, Written::Applied(_)));
}

/// A server whose commits wait for a replica that does not exist.
async fn stalling() -> (Postgres, String) {
    let server = Postgres::start(Options::new());
    let url = server.database("stalling");
    (server, url)
}

async fn stall(url: &str, standby: &str) {
    let admin = direct(url).await;
    admin.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'")).await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until(&admin, &format!("SELECT current_setting('synchronous_standby_names') = '{standby}'")).await;
}

#[tokio::test]
async fn a_commit_that_is_cut_off_is_unknown_until_it_is_asked_for() {
    let (_server, url) = stalling().await;
    let store = made(&url, Role::Authority).await;
    store.write(write(vec![change(1, 1, "a")], "first")).await.unwrap();
    stall(&url, "nobody").await;
    let watcher = direct(&url).await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.write(write(vec![change(1, 2, "b")], "second")).await }
    });
    let pid = waiting(&watcher, IN_COMMIT).await;
    watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::OutcomeUnknown, "{error}");
    stall(&url, "").await;
    let row = store.recall("second").await.unwrap().expect("it was committed all the same");
    let fetched = store.fetch(&key(1)).await.unwrap();
    assert_eq!(row.answer, format!("done at {}", fetched.stamp.unwrap()));
    assert_eq!(fetched.image.unwrap().record, record(1, 2, "b"));
    let again = store.write(write(vec![change(1, 2, "b")], "second")).await.unwrap();
    assert_eq!(again, Written::Replayed(row), "a retry changes nothing");
}

fn step(read: u64) -> CheckpointStep {
    let at = |read: u64, changed: u64| Checkpoint {
        run: "run".into(),
        range: 0,
        cursor: None,
        done: false,
        read,
        changed,
        dead: 0,
        bytes: 0,
    };
    CheckpointStep { from: at(0, 0), to: at(read, 0) }
}

#[tokio::test]
async fn a_killed_server_keeps_a_batch_with_its_checkpoint_or_neither() {
    let (server, url) = stalling().await;
    let store = made(&url, Role::Follower).await;
    let holder = direct(&url).await;
    let batch = || (1..=30).map(|id| put(id, id, &format!("n{id}"))).collect::<Vec<_>>();
    // In the middle of the batch: a row of it is somebody's, not committed yet.
    holder.batch_execute("BEGIN; INSERT INTO accounts VALUES (17, 1, 'held')").await.unwrap();
    let applying = tokio::spawn({
        let store = store.clone();
        async move { store.apply(1, batch(), Some(step(30))).await }
    });
    let watcher = direct(&url).await;
    waiting(&watcher, IN_LOCK).await;
    server.kill();
    let error = applying.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    let down = store.fetch(&key(1)).await.unwrap_err();
    assert_eq!(down.kind, StoreErrorKind::Unavailable, "{down}");
    assert!(down.hint.is_some(), "{down:?}");
    server.start_again();
    assert_eq!(store.checkpoints("run").await.unwrap(), [], "the same store goes on");
    assert_eq!(store.estimate().await.unwrap().records, 0);
    // In the middle of the commit, after the log was flushed.
    stall(&url, "nobody").await;
    let applying = tokio::spawn({
        let store = store.clone();
        async move { store.apply(1, batch(), Some(step(30))).await }
    });
    let watcher = direct(&url).await;
    waiting(&watcher, IN_COMMIT).await;
    watcher.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    server.kill();
    let error = applying.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::OutcomeUnknown, "{error}");
    server.start_again();
    let checkpoints = store.checkpoints("run").await.unwrap();
    assert_eq!(checkpoints.iter().map(|c| (c.read, c.changed)).collect::<Vec<_>>(), [(30, 30)]);
    assert_eq!(store.estimate().await.unwrap().records, 30);
    let again = store.apply(1, batch(), None).await.unwrap();
    assert!(again.iter().all(|one| *one == Applied::Unchanged), "{again:?}");
}
