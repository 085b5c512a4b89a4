//! Connections and servers that end in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::{Mariadb, Options, mariadb};

use crate::place::*;

/// Ends every connection to the place's database but this one.
async fn kill_all(direct: &mut mysql_async::Conn) -> usize {
    let sql = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let ids: Vec<u64> = direct.query(sql).await.unwrap();
    for id in &ids {
        // One may have ended by itself.
        let _ = direct.query_drop(format!("KILL {id}")).await;
    }
    ids.len()
}

#[tokio::test]
async fn connections_that_died_idle_are_replaced_unseen() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    let mut direct = place.direct().await;
    let once = |age| write_of(vec![put_user("a", age)]);
    place.store.write(once(1)).await.unwrap();
    assert!(kill_all(&mut direct).await > 0);
    place.store.write(once(2)).await.unwrap();
    kill_all(&mut direct).await;
    assert_eq!(place.store.fetch(&Key::single("a")).await.unwrap().image, Some(user("a", 2)));
    kill_all(&mut direct).await;
    assert_eq!(place.store.fetch_many(&[Key::single("a")]).await.unwrap().len(), 1);
    kill_all(&mut direct).await;
    assert_eq!(place.store.dirty_count().await.unwrap(), 1);
    kill_all(&mut direct).await;
    assert_eq!(place.store.fence().await.unwrap(), Some(OPEN));
}

#[tokio::test]
async fn a_write_whose_connection_is_killed_did_nothing() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    for word in ["KILL", "KILL QUERY"] {
        let (mut direct, mut watch) = (place.direct().await, place.direct().await);
        direct.query_drop("START TRANSACTION; SELECT * FROM users WHERE id = 'a' FOR UPDATE").await.unwrap();
        let store = place.store.clone();
        let writing =
            tokio::spawn(async move { store.write(write_of(vec![put_user("n", 2), put_user("a", 2)])).await });
        let id = until_waiting(&mut watch, 1).await[0];
        watch.query_drop(format!("{word} {id}")).await.unwrap();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{word}: {error}");
        direct.query_drop("COMMIT").await.unwrap();
        assert_eq!(place.store.fetch(&Key::single("n")).await.unwrap().image, None, "{word}");
        assert_eq!(place.store.fetch(&Key::single("a")).await.unwrap().image, Some(user("a", 1)), "{word}");
    }
}

/// What a client was told of one write.
enum Told {
    Done,
    Unknown,
    Not,
}

/// The server is killed again and again while records are written: what was
/// answered as done is there, what failed is not, and the idempotency row tells
/// of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_leaves_true_answers() {
    let server = Arc::new(Mariadb::start(Options::new()));
    let place = Place::new(&server, users(FieldType::Text), Role::Authority).await;
    let mut told: Vec<(String, Told)> = Vec::new();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let (done, mut first) = tokio::sync::mpsc::channel(1_000);
        let mut tasks = Vec::new();
        for writer in 0..4 {
            let (store, stop, done) = (place.store.clone(), stop.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                let mut told = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("r{round}w{writer}n{n}");
                    let row = IdempotencyRow { key: id.clone(), request_hash: 7, answer: "{stamp}".into(), at_ms: 1 };
                    let write = Write { idempotency: Some(row), ..write_of(vec![put_user(&id, n)]) };
                    told.push((
                        id,
                        match store.write(write).await {
                            Ok(_) => Told::Done,
                            Err(error) if error.kind == StoreErrorKind::OutcomeUnknown => Told::Unknown,
                            Err(error) if error.kind == StoreErrorKind::Unavailable => Told::Not,
                            Err(error) => panic!("{error}"),
                        },
                    ));
                    let _ = done.try_send(());
                }
                told
            }));
        }
        for _ in 0..10 {
            first.recv().await.unwrap();
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            told.extend(task.await.unwrap());
        }
        server.start_again();
    }
    let (mut unknown, mut not) = (0, 0);
    for (id, told) in told {
        let fetched = place.store.fetch(&Key::single(id.as_str())).await.unwrap();
        let remembered = place.store.recall(&id).await.unwrap().is_some();
        assert_eq!((fetched.image.is_some(), fetched.dirty), (remembered, remembered), "{id}: all or nothing");
        match told {
            Told::Done => assert!(remembered, "{id} was answered as done"),
            Told::Not => {
                assert!(!remembered, "{id} was answered as not done");
                not += 1;
            }
            Told::Unknown => unknown += 1,
        }
    }
    println!("not done: {not}, unknown: {unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_leaves_whole_batches() {
    let server = Arc::new(Mariadb::start(Options::new()));
    let place = Place::new(&server, users(FieldType::Text), Role::Follower).await;
    let checkpoint = |read: u64| Checkpoint {
        run: "r".into(),
        range: 0,
        cursor: None,
        done: false,
        read,
        changed: 0,
        dead: 0,
        bytes: 0,
    };
    let store = place.store.clone();
    let (done, mut some) = tokio::sync::mpsc::channel(1_000);
    let applying = tokio::spawn(async move {
        for batch in 0_u64.. {
            let puts = (0..50).map(|n| put(&format!("b{batch:04}n{n:02}"), 1, Stamp::ZERO)).collect();
            let step = CheckpointStep { from: checkpoint(batch * 50), to: checkpoint((batch + 1) * 50) };
            if let Err(error) = store.apply(1, puts, Some(step)).await {
                let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::OutcomeUnknown];
                assert!(kinds.contains(&error.kind), "{error}");
                return;
            }
            let _ = done.try_send(());
        }
    });
    for _ in 0..5 {
        some.recv().await.unwrap();
    }
    server.kill();
    applying.await.unwrap();
    server.start_again();
    let saved = place.store.checkpoints("r").await.unwrap().pop().unwrap();
    let mut direct = place.direct().await;
    let rows = number(&mut direct, "SELECT COUNT(*) FROM users").await;
    assert_eq!(rows, saved.read, "the checkpoint and its rows");
    assert_eq!(number(&mut direct, "SELECT COUNT(*) FROM user_tags").await, rows);
}
