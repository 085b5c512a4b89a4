//! What is SQLite's own: direct writers, other processes, declared types, files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use rusqlite::Connection;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{ChildShape, ColumnShape, DocumentLayout, FieldType, Layout, TableShape};
use shearwater_core::store::*;
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp, Value};
use shearwater_stores::Create;

fn document_layout() -> Layout {
    Layout::Document(DocumentLayout { table: "users".into(), key: vec!["_id".into()], document: "doc".into() })
}

fn column(name: &str, ty: FieldType) -> ColumnShape {
    ColumnShape { name: name.into(), ty, nullable: name != "id", unique: name == "email" }
}

fn rows_layout() -> Layout {
    Layout::Rows(TableShape {
        table: "users".into(),
        key: vec!["id".into()],
        columns: vec![column("id", FieldType::Text), column("email", FieldType::Text), column("age", FieldType::Int)],
        children: vec![ChildShape {
            field: "tags".into(),
            table: "user_tags".into(),
            columns: vec![column("tag", FieldType::Text)],
            children: vec![],
            residue: None,
        }],
        residue: Some("extra".into()),
    })
}

struct Place {
    _dir: tempfile::TempDir,
    url: String,
    path: std::path::PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    Place { url: format!("sqlite:{}", path.display()), path, _dir: dir }
}

async fn opened(place: &Place, layout: Layout, role: Option<Role>) -> Arc<dyn Store> {
    let store = shearwater_stores::open(&place.url, layout, Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    if let Some(role) = role {
        store.install(Fence { role, epoch: 1 }).await.unwrap();
    }
    store
}

fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

fn put(key: &str, text: &str, stamp: Stamp) -> Put {
    Put { key: Key::single(key), image: Some(Image::of(doc(text))), stamp }
}

fn keys(marks: &[DirtyMark]) -> Vec<Key> {
    marks.iter().map(|m| m.key.clone()).collect()
}

#[tokio::test]
async fn a_direct_writer_is_stamped_and_marked() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let direct = Connection::open(&place.path).unwrap();
    direct.execute("INSERT INTO users VALUES ('a', '{\"_id\":\"a\",\"n\":1}')", []).unwrap();
    direct.execute("INSERT OR REPLACE INTO users VALUES (7, '{\"_id\":7}')", []).unwrap();
    let marks = store.dirty(None, 10).await.unwrap();
    assert_eq!(keys(&marks), [Key::single("a"), Key::single(7)]);
    assert_eq!(marks.iter().map(|m| m.stamp).collect::<Vec<_>>(), [Stamp::new(1, 1), Stamp::new(1, 2)]);

    direct.execute("UPDATE users SET _id = 'b', doc = '{\"_id\":\"b\",\"n\":1}' WHERE _id = 'a'", []).unwrap();
    direct.execute("DELETE FROM users WHERE _id = 7", []).unwrap();
    let marks = store.dirty(Some(Stamp::new(1, 2)), 10).await.unwrap();
    assert_eq!(keys(&marks), [Key::single("b"), Key::single("a"), Key::single(7)]);
    let gone = store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!((gone.image, gone.stamp, gone.dirty), (None, Some(Stamp::new(1, 4)), true));
    let there = store.fetch(&Key::single("b")).await.unwrap();
    assert_eq!(there.image, Some(Image::of(doc(r#"{"_id":"b","n":1}"#))));
}

#[tokio::test]
async fn a_direct_writer_is_refused_once_the_store_is_closed() {
    let place = place();
    let store = opened(&place, rows_layout(), Some(Role::Authority)).await;
    let direct = Connection::open(&place.path).unwrap();
    let open = Fence { role: Role::Authority, epoch: 1 };
    let closed = Fence { role: Role::Closed, epoch: 2 };
    direct.execute("INSERT INTO users (id) VALUES ('a')", []).unwrap();
    assert_eq!(store.set_fence(open, closed).await.unwrap(), closed);
    for sql in [
        "INSERT INTO users (id) VALUES ('b')",
        "INSERT OR REPLACE INTO users (id) VALUES ('a')",
        "INSERT OR IGNORE INTO users (id) VALUES ('c')",
        "UPDATE OR IGNORE users SET age = 1",
        "DELETE FROM users",
        "INSERT INTO user_tags VALUES ('x', 'a', 0, 'red')",
    ] {
        let error = direct.execute(sql, []).unwrap_err().to_string();
        assert!(error.starts_with("shearwater: table users is closed"), "{sql}: {error}");
    }
    let write = Write { epoch: Some(2), changes: vec![], idempotency: None };
    assert_eq!(store.write(write).await.unwrap_err().kind, StoreErrorKind::FenceClosed);
    let answers =
        store.apply(2, vec![put("a", r#"{"id":"a","email":null,"age":5,"tags":[]}"#, Stamp::new(2, 1))], None);
    assert_eq!(answers.await.unwrap(), [Applied::Changed], "a closed store still follows");
}

#[tokio::test]
async fn a_direct_change_of_a_child_row_marks_its_record() {
    let place = place();
    let store = opened(&place, rows_layout(), Some(Role::Authority)).await;
    let record = r#"{"id":"a","email":"e","age":1,"tags":[{"tag":"red"},{"tag":"blue"}],"extra":{"x":[1,2]}}"#;
    let change = Change { key: Key::single("a"), image: Some(Image::of(doc(record))), expect: Expect::Absent };
    let written = store.write(Write { epoch: Some(1), changes: vec![change], idempotency: None }).await.unwrap();
    assert_eq!(written, Written::Applied(vec![Some(Stamp::new(1, 1))]));
    let fetched = store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!(fetched.image, Some(Image::of(doc(record))));
    assert_eq!((fetched.stamp, fetched.dirty), (Some(Stamp::new(1, 1)), true));
    let marks = store.dirty(None, 10).await.unwrap();
    assert_eq!(store.clear(marks).await.unwrap(), 1);

    let direct = Connection::open(&place.path).unwrap();
    direct.execute("UPDATE user_tags SET tag = 'green' WHERE tag = 'blue'", []).unwrap();
    let marks = store.dirty(None, 10).await.unwrap();
    assert_eq!(marks, [DirtyMark { key: Key::single("a"), stamp: Stamp::new(1, 2) }]);
    let fetched = store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!(
        fetched.image.unwrap().record.get("tags"),
        Some(&Value::Array(vec![Value::Document(doc(r#"{"tag":"red"}"#)), Value::Document(doc(r#"{"tag":"green"}"#))]))
    );
}

#[tokio::test]
async fn direct_writes_to_a_follower_are_noted_as_foreign() {
    let place = place();
    let store = opened(&place, rows_layout(), Some(Role::Follower)).await;
    let puts = vec![put("a", r#"{"id":"a","email":"e","age":1,"tags":[{"tag":"t"}]}"#, Stamp::ZERO)];
    assert_eq!(store.apply(1, puts.clone(), None).await.unwrap(), [Applied::Changed]);
    assert_eq!(store.foreign(10).await.unwrap(), [], "our own puts are not foreign");
    assert_eq!(store.apply(1, puts.clone(), None).await.unwrap(), [Applied::Unchanged]);
    let direct = Connection::open(&place.path).unwrap();
    direct.execute("UPDATE users SET age = 2", []).unwrap();
    assert_eq!(store.foreign(10).await.unwrap(), [Key::single("a")]);
    assert_eq!(store.apply(1, puts, None).await.unwrap(), [Applied::Changed], "a strayed follower is mended");
    assert_eq!(store.clear_foreign(vec![Key::single("a")]).await.unwrap(), 1);
    assert_eq!(store.foreign(10).await.unwrap(), []);
}

#[tokio::test]
async fn removing_the_sidecar_leaves_no_reserved_name() {
    let place = place();
    let store = opened(&place, rows_layout(), Some(Role::Authority)).await;
    assert!(store.sidecar_names().await.unwrap().len() > 8);
    store.remove().await.unwrap();
    store.remove().await.unwrap();
    assert_eq!(store.fence().await.unwrap(), None);
    let direct = Connection::open(&place.path).unwrap();
    let left: i64 = direct
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%shearwater%' OR sql LIKE '%shearwater%'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn scans_and_splits_cover_everything_once() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let mut expected = Vec::new();
    for n in 0..50i64 {
        let key = if n % 2 == 0 { Key::single(n) } else { Key::single(format!("k{n}")) };
        let mut record = Document::new();
        record.set("_id", key.values()[0].clone());
        let change = Change { key: key.clone(), image: Some(Image::of(record)), expect: Expect::Any };
        store.write(Write { epoch: Some(1), changes: vec![change], idempotency: None }).await.unwrap();
        expected.push(key);
    }
    expected.sort();
    let ranges = store.split(4).await.unwrap();
    assert_eq!(ranges.len(), 4);
    let mut found = Vec::new();
    for range in &ranges {
        let mut after = None;
        loop {
            let chunk = store.scan(range, after.as_ref(), ChunkMax { records: 7, bytes: 1 << 20 }).await.unwrap();
            found.extend(chunk.records.into_iter().map(|r| r.unwrap().key));
            match chunk.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    assert_eq!(found, expected);
}
