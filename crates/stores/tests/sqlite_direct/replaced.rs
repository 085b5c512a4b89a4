//! Rows that a direct write of another row removes by a unique value.

use std::sync::Arc;

use rusqlite::Connection;
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};

use super::{Place, document_layout, keys, opened, place, put, rows_layout};

/// Users `a`, `b` and `c` with their emails and one tag each, all followed.
async fn people(place: &Place, role: Role) -> (Arc<dyn Store>, Connection) {
    let store = opened(place, rows_layout(), None).await;
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch(
            "INSERT INTO users (id, email) VALUES ('a', 'a@x'), ('b', 'b@x'), ('c', 'c@x');
             INSERT INTO user_tags SELECT 't' || id, id, 0, 'red' FROM users;",
        )
        .unwrap();
    store.install(Fence { role, epoch: 1 }).await.unwrap();
    (store, direct)
}

async fn marked(store: &Arc<dyn Store>) -> Vec<Key> {
    let marks = store.dirty(None, 100).await.unwrap();
    let mut found = keys(&marks);
    found.sort_by_key(Key::to_text);
    store.clear(marks).await.unwrap();
    found
}

fn named(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key::single(*name)).collect()
}

#[tokio::test]
async fn a_row_that_another_ones_write_removes_is_marked() {
    let place = place();
    let (store, direct) = people(&place, Role::Authority).await;
    let check = async |sql: &str, marks: &[&str], there: &[&str]| {
        direct.execute_batch(sql).unwrap();
        assert_eq!(marked(&store).await, named(marks), "{sql}");
        for name in ["a", "b", "c", "d"] {
            let found = store.fetch(&Key::single(name)).await.unwrap();
            assert_eq!(found.image.is_some(), there.contains(&name), "{sql}: {name}");
        }
    };
    check("INSERT OR REPLACE INTO users (id, email) VALUES ('d', 'a@x')", &["a", "d"], &["b", "c", "d"]).await;
    check("REPLACE INTO users (id, email) VALUES ('b', 'c@x')", &["b", "c"], &["b", "d"]).await;
    check("UPDATE OR REPLACE users SET email = 'a@x' WHERE id = 'b'", &["b", "d"], &["b"]).await;
    check(
        "INSERT INTO users (id, email) VALUES ('a', 'a2@x'), ('c', NULL), ('d', NULL)",
        &["a", "c", "d"],
        &["a", "b", "c", "d"],
    )
    .await;
    // Key and email hit two rows; the other rows are none of its business.
    check("UPDATE OR REPLACE users SET id = 'a', email = 'a2@x' WHERE id = 'b'", &["a", "b"], &["a", "c", "d"]).await;
    // What takes nobody's value marks nobody else, and neither do NULLs.
    check("UPDATE users SET email = 'new@x' WHERE id = 'c'", &["c"], &["a", "c", "d"]).await;
    check("UPDATE OR REPLACE users SET email = email, age = 1", &["a", "c", "d"], &["a", "c", "d"]).await;
    check("UPDATE OR REPLACE users SET email = NULL", &["a", "c", "d"], &["a", "c", "d"]).await;
}

#[tokio::test]
async fn a_conflict_that_removes_nothing_leaves_no_harm() {
    let place = place();
    let (store, direct) = people(&place, Role::Authority).await;
    for sql in [
        "INSERT INTO users (id, email) VALUES ('d', 'a@x')",
        "UPDATE users SET email = 'a@x' WHERE id = 'b'",
        "INSERT OR ROLLBACK INTO users (id, email) VALUES ('d', 'a@x')",
    ] {
        direct.execute(sql, []).unwrap_err();
        assert_eq!(marked(&store).await, [], "{sql}: rolled back with the statement");
    }
    direct.execute("INSERT OR IGNORE INTO users (id, email) VALUES ('d', 'a@x')", []).unwrap();
    assert_eq!(marked(&store).await, named(&["a"]), "it is read again for nothing");
    let upsert = "INSERT INTO users (id, email) VALUES ('d', 'a@x') ON CONFLICT (email) DO UPDATE SET age = 7";
    direct.execute(upsert, []).unwrap();
    assert_eq!(marked(&store).await, named(&["a"]));
    assert!(store.fetch(&Key::single("d")).await.unwrap().image.is_none());
    direct.execute_batch("PRAGMA recursive_triggers = ON; REPLACE INTO users (id, email) VALUES ('d', 'a@x')").unwrap();
    assert_eq!(marked(&store).await, named(&["a", "d"]), "where SQLite tells of the removal as well");
}

#[tokio::test]
async fn a_child_row_that_is_taken_from_another_record_marks_that_record() {
    let place = place();
    let store = opened(&place, rows_layout(), None).await;
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch(
            "INSERT INTO users (id) VALUES ('a'), ('b'); CREATE UNIQUE INDEX one_tag ON user_tags (tag COLLATE NOCASE);
             INSERT INTO user_tags VALUES ('t1', 'a', 0, 'red'), ('t2', 'b', 0, 'blue'), ('t3', 'b', 1, 'green');",
        )
        .unwrap();
    store.install(Fence { role: Role::Authority, epoch: 1 }).await.unwrap();
    direct.execute("INSERT OR REPLACE INTO user_tags VALUES ('t4', 'b', 2, 'RED')", []).unwrap();
    assert_eq!(marked(&store).await, named(&["a", "b"]));
    direct.execute("UPDATE OR REPLACE user_tags SET tag = 'Blue' WHERE id = 't3'", []).unwrap();
    assert_eq!(marked(&store).await, named(&["b"]), "its own record");
    let names = store.sidecar_names().await.unwrap();
    assert!(names.contains(&"_shearwater_user_tags_updating".to_owned()), "{names:?}");
    store.remove().await.unwrap();
    assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_follower_notes_it_and_a_closed_store_refuses_it() {
    let place = place();
    let (store, direct) = people(&place, Role::Follower).await;
    direct.execute("REPLACE INTO users (id, email) VALUES ('d', 'a@x')", []).unwrap();
    assert_eq!(store.foreign(10).await.unwrap(), named(&["a", "d"]));
    assert_eq!(store.dirty_count().await.unwrap(), 0);
    let (follower, closed) = (Fence { role: Role::Follower, epoch: 1 }, Fence { role: Role::Closed, epoch: 2 });
    store.set_fence(follower, closed).await.unwrap();
    let error = direct.execute("REPLACE INTO users (id, email) VALUES ('e', 'b@x')", []).unwrap_err().to_string();
    assert!(error.contains("is closed for writes"), "{error}");
    assert!(store.fetch(&Key::single("b")).await.unwrap().image.is_some(), "it is still there");
}

/// A row without a key of its own to be found by: the key of the layout is not
/// the table's primary key.
#[tokio::test]
async fn a_rowid_that_is_not_the_key_is_a_unique_value_too() {
    let place = place();
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch(
            "CREATE TABLE users (n INTEGER PRIMARY KEY, _id TEXT NOT NULL UNIQUE, doc TEXT);
             INSERT INTO users VALUES (1, 'a', '{}'), (2, 'b', '{}');",
        )
        .unwrap();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    direct.execute("REPLACE INTO users VALUES (1, 'c', '{}')", []).unwrap();
    assert_eq!(marked(&store).await, named(&["a", "c"]));
    direct.execute("REPLACE INTO users (_id, doc) VALUES ('d', '{}')", []).unwrap();
    assert_eq!(marked(&store).await, named(&["d"]));
}

/// What only v2 has of a record goes with the record, also when nobody tells of
/// its removal.
#[tokio::test]
async fn what_was_parked_does_not_come_back_with_another_record() {
    let place = place();
    let (store, direct) = people(&place, Role::Follower).await;
    let mut parked = put("a", r#"{"id":"a","email":"a@x","age":1,"tags":[]}"#, Stamp::new(1, 1));
    parked.image.as_mut().unwrap().parked = super::doc(r#"{"loyalty":"gold"}"#);
    store.apply(1, vec![parked], None).await.unwrap();
    let authority = Fence { role: Role::Authority, epoch: 2 };
    store.set_fence(Fence { role: Role::Follower, epoch: 1 }, authority).await.unwrap();
    let parked_of = async |id: &str| store.fetch(&Key::single(id)).await.unwrap().image.unwrap().parked;
    direct.execute("UPDATE users SET age = 2", []).unwrap();
    direct.execute("REPLACE INTO users (id, email) VALUES ('a', 'a@x')", []).unwrap();
    assert_eq!(parked_of("a").await, super::doc(r#"{"loyalty":"gold"}"#), "the same record");
    direct.execute("REPLACE INTO users (id, email) VALUES ('b', 'a@x')", []).unwrap();
    assert!(store.fetch(&Key::single("a")).await.unwrap().image.is_none());
    direct.execute("INSERT INTO users (id, email) VALUES ('a', 'new@x')", []).unwrap();
    assert_eq!(parked_of("a").await, super::doc("{}"), "another record");
}
