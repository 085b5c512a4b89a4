//! Writers that meet at the same records.

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::mariadb;

use crate::place::*;

const WRITERS: usize = 6;
const ROUNDS: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_of_one_key_rise_as_its_commits() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 0)])).await.unwrap();
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let mut direct = place.direct().await;
        tasks.push(tokio::spawn(async move {
            let level = if writer % 2 == 0 { "REPEATABLE READ" } else { "READ COMMITTED" };
            direct.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).await.unwrap();
            let mut seen = Vec::new();
            for _ in 0..ROUNDS {
                direct.query_drop("START TRANSACTION; UPDATE users SET age = age + 1 WHERE id = 'a'").await.unwrap();
                let sql =
                    "SELECT u.age, m.counter FROM users u JOIN _shearwater_users_marks m ON m.k0 = 'a' FOR UPDATE";
                seen.push(direct.query_first::<(u64, u64), _>(sql).await.unwrap().unwrap());
                direct.query_drop("COMMIT").await.unwrap();
            }
            seen
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.extend(task.await.unwrap());
    }
    seen.sort();
    assert_eq!(seen.len(), WRITERS * ROUNDS);
    assert!(seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].1 < pair[1].1), "{seen:?}");
    let fetched = place.store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!(fetched.stamp, Some(Stamp::new(1, seen.last().unwrap().1)), "the last commit's stamp stands");
}

/// Our writers and direct ones on few keys, new ones too: every answer is true
/// in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_writers_and_direct_ones_lose_nothing() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let (store, mut direct) = (place.store.clone(), place.direct().await);
        tasks.push(tokio::spawn(async move {
            let mut best: std::collections::HashMap<String, Stamp> = std::collections::HashMap::new();
            for round in 0..ROUNDS {
                let id = format!("k{}", (writer + round) % 4);
                if writer % 2 == 0 {
                    let written = store.write(write_of(vec![put_user(&id, round as i64)])).await.unwrap();
                    let Written::Applied(stamps) = written else { panic!("{written:?}") };
                    let stamp = stamps[0].unwrap();
                    assert!(best.insert(id, stamp).is_none_or(|before| before < stamp));
                } else {
                    let sql =
                        format!("INSERT INTO users (id, age) VALUES ('{id}', 1) ON DUPLICATE KEY UPDATE age = age + 1");
                    let done = direct.query_drop(sql).await;
                    assert!([0, 1213].contains(&code(&done)), "{done:?}");
                }
            }
            best
        }));
    }
    let mut best: std::collections::HashMap<String, Stamp> = std::collections::HashMap::new();
    for task in tasks {
        for (id, stamp) in task.await.unwrap() {
            let held = best.entry(id).or_insert(stamp);
            *held = stamp.max(*held);
        }
    }
    for (id, stamp) in best {
        let fetched = place.store.fetch(&Key::single(id.as_str())).await.unwrap();
        assert!(fetched.image.is_some() && fetched.stamp.unwrap() >= stamp, "{id}: {fetched:?}");
    }
}

#[tokio::test]
async fn a_lost_deadlock_is_run_again() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 1), put_user("b", 1)])).await.unwrap();
    let (mut direct, mut watch) = (place.direct().await, place.direct().await);
    direct.query_drop("START TRANSACTION; UPDATE users SET age = 5 WHERE id = 'b'").await.unwrap();
    // Heavier than ours, so that ours is the one that loses.
    direct.query_drop("INSERT INTO users (id) SELECT CONCAT('x', seq) FROM seq_1_to_500").await.unwrap();
    let store = place.store.clone();
    let writing = tokio::spawn(async move { store.write(write_of(vec![put_user("a", 2), put_user("b", 2)])).await });
    until_waiting(&mut watch, 1).await;
    direct.query_drop("UPDATE users SET age = 6 WHERE id = 'a'; COMMIT").await.unwrap();
    writing.await.unwrap().unwrap();
    let ages: Vec<i64> = direct.query("SELECT age FROM users WHERE id IN ('a', 'b')").await.unwrap();
    assert_eq!(ages, [2, 2]);
}

#[tokio::test]
async fn a_lock_that_is_not_freed_ends_the_wait_and_changes_nothing() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    place.store.write(write_of(vec![put_user("a", 1), put_user("b", 1)])).await.unwrap();
    let mut direct = place.direct().await;
    direct.query_drop("START TRANSACTION; UPDATE users SET age = 5 WHERE id = 'b'").await.unwrap();
    let error = place.store.write(write_of(vec![put_user("a", 2), put_user("b", 2)])).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.hint.is_some(), "{error}");
    assert_eq!(place.store.fetch(&Key::single("a")).await.unwrap().image, Some(user("a", 1)));
    direct.query_drop("ROLLBACK").await.unwrap();
    place.store.write(write_of(vec![put_user("a", 2), put_user("b", 2)])).await.unwrap();
}
