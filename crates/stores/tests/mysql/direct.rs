//! Programs that write the tables without knowing of us.

use mysql_async::prelude::Queryable;
use shearwater_core::Key;
use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_testbed::{Privileges, mariadb};

use crate::place::*;

/// The server's number of the fence's refusal.
const REFUSED: u16 = 31_990;

async fn numbered(role: Role) -> Place {
    Place::new(mariadb(), users(FieldType::Int), role).await
}

/// A file that the server can read.
fn file(text: &str) -> tempfile::NamedTempFile {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    file
}

#[tokio::test]
async fn every_statement_is_captured() {
    let place = numbered(Role::Authority).await;
    let mut direct = place.direct().await;
    let rows = file("31,c@x,1\n32,d@x,2\n");
    let load = |mode: &str| {
        let path = rows.path().display();
        format!("LOAD DATA INFILE '{path}' {mode} INTO TABLE users FIELDS TERMINATED BY ',' (id, email, age)")
    };
    let steps: &[(&str, &str, &[&str])] = &[
        ("several rows", "INSERT INTO users (id, email) VALUES (1,'a'),(2,'b'),(3,'c')", &["1", "2", "3"]),
        ("rows of a query", "INSERT INTO users (id) SELECT id + 10 FROM users", &["11", "12", "13"]),
        ("several updates", "UPDATE users SET age = 5 WHERE id < 3", &["1", "2"]),
        ("REPLACE removes another row", "REPLACE INTO users (id, email) VALUES (4, 'a')", &["1", "4"]),
        ("an upsert that inserts", "INSERT INTO users (id) VALUES (5) ON DUPLICATE KEY UPDATE age = 1", &["5"]),
        ("an upsert that updates", "INSERT INTO users (id) VALUES (5) ON DUPLICATE KEY UPDATE age = 1", &["5"]),
        (
            "an upsert by another key",
            "INSERT INTO users (id, email) VALUES (9, 'b') ON DUPLICATE KEY UPDATE age = 7",
            &["2"],
        ),
        ("two tables updated", "UPDATE users a JOIN users b ON b.id = a.id + 1 SET b.age = 8 WHERE a.id = 2", &["3"]),
        ("two tables deleted from", "DELETE a FROM users a JOIN users b ON b.id = a.id - 1 WHERE a.id = 3", &["3"]),
        ("ignoring", "INSERT IGNORE INTO users (id) VALUES (2), (6)", &["6"]),
        ("a changed key", "UPDATE users SET id = 7 WHERE id = 6", &["6", "7"]),
        ("a loaded file", &load(""), &["31", "32"]),
        ("a loaded file that replaces", &load("REPLACE"), &["31", "32"]),
        ("a part of a record", "INSERT INTO user_tags VALUES (2, REPEAT('0', 32), 0, 'x')", &["2"]),
        ("a part that moves", "UPDATE user_tags SET record_id = 4", &["2", "4"]),
        ("a part removed", "DELETE FROM user_tags", &["4"]),
        ("all rows", "DELETE FROM users WHERE id > 30", &["31", "32"]),
    ];
    for (why, sql, expect) in steps {
        direct.query_drop(*sql).await.unwrap_or_else(|e| panic!("{why}: {e}"));
        assert_eq!(place.dirty().await, *expect, "{why}");
        place.clear().await;
    }
    direct.query_drop("START TRANSACTION; INSERT INTO users (id) VALUES (50); ROLLBACK").await.unwrap();
    assert_eq!(place.dirty().await, [""; 0], "what was rolled back leaves no mark");
}

#[tokio::test]
async fn every_statement_is_refused_once_closed() {
    let place = numbered(Role::Authority).await;
    let mut direct = place.direct().await;
    direct.query_drop("INSERT INTO users (id, age) VALUES (1, 1), (2, 2)").await.unwrap();
    direct.query_drop("INSERT INTO user_tags VALUES (1, REPEAT('0', 32), 0, 'x')").await.unwrap();
    place.store.set_fence(OPEN, CLOSED).await.unwrap();
    let rows = file("3,c@x,1\n");
    let load = |mode: &str| {
        let path = rows.path().display();
        format!("LOAD DATA INFILE '{path}' {mode} INTO TABLE users FIELDS TERMINATED BY ',' (id, email, age)")
    };
    let before: Vec<(i64, Option<i64>)> = direct.query("SELECT id, age FROM users ORDER BY id").await.unwrap();
    for sql in [
        "INSERT INTO users (id) VALUES (3)",
        "INSERT IGNORE INTO users (id) VALUES (3)",
        "INSERT INTO users (id) VALUES (1) ON DUPLICATE KEY UPDATE age = 9",
        "REPLACE INTO users (id) VALUES (1)",
        "UPDATE users SET age = 9",
        "UPDATE IGNORE users SET age = 9",
        "DELETE FROM users",
        "DELETE IGNORE FROM users",
        "DELETE FROM user_tags",
        "INSERT IGNORE INTO user_tags VALUES (1, REPEAT('1', 32), 0, 'x')",
        &load(""),
        &load("IGNORE"),
        &load("REPLACE"),
    ] {
        let done = direct.query_drop(sql).await;
        let after: Vec<(i64, Option<i64>)> = direct.query("SELECT id, age FROM users ORDER BY id").await.unwrap();
        assert_eq!(after, before, "{sql}");
        assert_eq!(number(&mut direct, "SELECT COUNT(*) FROM user_tags").await, 1, "{sql}");
        assert_eq!(code(&done), REFUSED, "{sql}");
    }
    let error = place.store.write(Write { epoch: Some(2), changes: vec![], idempotency: None }).await.unwrap_err();
    assert_eq!(error.kind, shearwater_core::error::StoreErrorKind::FenceClosed);
}

#[tokio::test]
async fn a_writer_without_privileges_on_the_sidecar_is_captured_and_refused() {
    let url = mariadb().database("unprivileged");
    let layout = users(FieldType::Int);
    let store = open(&url, layout).await;
    store.provision().await.unwrap();
    let writer = mariadb().account(&url, Privileges::Nothing);
    let name = writer.trim_start_matches("mysql://").split(':').next().unwrap();
    for table in ["users", "user_tags"] {
        mariadb().run(&url, &[&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO `{name}`@'%'")]);
    }
    store.install(OPEN).await.unwrap();
    let place = Place { url: writer, store };
    let mut direct = place.direct().await;
    direct.query_drop("INSERT INTO users (id) VALUES (1), (2)").await.unwrap();
    direct.query_drop("UPDATE users SET id = 3 WHERE id = 2").await.unwrap();
    assert_eq!(place.dirty().await, ["1", "2", "3"]);
    let hidden = direct.query_drop("SELECT * FROM _shearwater_users_marks").await;
    assert_eq!(code(&hidden), 1142, "it has none");
    place.store.set_fence(OPEN, CLOSED).await.unwrap();
    assert_eq!(code(&direct.query_drop("DELETE FROM users").await), REFUSED);
}

#[tokio::test]
async fn a_writer_cannot_pretend_to_be_us() {
    let place = numbered(Role::Authority).await;
    let mut direct = place.direct().await;
    for value in ["1", "'1'", "TRUE", "0"] {
        direct.query_drop(format!("SET @_shearwater_applying = {value}")).await.unwrap();
        direct.query_drop("REPLACE INTO users (id) VALUES (1)").await.unwrap();
        assert_eq!(place.dirty().await, ["1"], "{value}");
        place.clear().await;
    }
}

#[tokio::test]
async fn parked_fields_follow_a_changed_key() {
    let place = Place::new(mariadb(), users(FieldType::Text), Role::Authority).await;
    let mut change = put_user("a", 1);
    let parked = doc(r#"{"only there":[1,2]}"#);
    change.image.as_mut().unwrap().parked = parked.clone();
    place.store.write(write_of(vec![change])).await.unwrap();
    let mut direct = place.direct().await;
    direct.query_drop("UPDATE users SET id = 'b' WHERE id = 'a'").await.unwrap();
    let fetched = place.store.fetch(&Key::single("b")).await.unwrap();
    assert_eq!(fetched.image.unwrap().parked, parked);
    let gone = place.store.fetch(&Key::single("a")).await.unwrap();
    assert!(gone.image.is_none() && gone.dirty);
}

#[tokio::test]
async fn keys_that_the_server_takes_for_equal_are_different_keys() {
    let url = mariadb().database("folding");
    mariadb().run(&url, &["CREATE TABLE users (id VARCHAR(20) PRIMARY KEY, age INT NULL) COLLATE utf8mb4_general_ci"]);
    let columns = vec![column("id", FieldType::Text), column("age", FieldType::Int)];
    let store = open(&url, shearwater_core::shape::Layout::Rows(table("users", columns))).await;
    store.install(OPEN).await.unwrap();
    let place = Place { url, store };
    let mut direct = place.direct().await;
    direct.query_drop("INSERT INTO users VALUES ('ann', 1); UPDATE users SET id = 'Ann'").await.unwrap();
    assert_eq!(place.dirty().await, ["Ann", "ann"], "another writing is another key");
    assert_eq!(place.store.fetch(&Key::single("ann")).await.unwrap().image, None);
    assert!(place.store.fetch(&Key::single("Ann")).await.unwrap().image.is_some());
    let change =
        Change { key: Key::single("ANN"), image: Some(Image::of(doc(r#"{"id":"ANN","age":2}"#))), expect: Expect::Any };
    let error = place.store.write(write_of(vec![change])).await.unwrap_err();
    let field = Some("id".to_owned());
    assert_eq!(error.kind, shearwater_core::error::StoreErrorKind::Refused { field }, "{error}");
}

#[tokio::test]
async fn what_triggers_miss_is_named() {
    let url = mariadb().database("hazards");
    mariadb().run(
        &url,
        &[
            "CREATE TABLE teams (id INT PRIMARY KEY)",
            "CREATE TABLE users (id INT PRIMARY KEY, team INT, FOREIGN KEY (team) REFERENCES teams (id) ON DELETE CASCADE)",
            "CREATE TRIGGER own BEFORE INSERT ON users FOR EACH ROW SET NEW.team = NEW.team",
        ],
    );
    let inspection = shearwater_stores::inspect(&url).await.unwrap();
    let users = inspection.tables.iter().find(|table| table.name == "users").unwrap();
    for says in ["TRUNCATE", "CASCADE", "trigger \"own\""] {
        assert!(users.hazards.iter().any(|hazard| hazard.contains(says)), "{says}: {:#?}", users.hazards);
    }
    assert!(users.foreign_keys[0].cascades);
}
