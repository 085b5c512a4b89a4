//! What is SQLite's own: direct writers, other processes, declared types, files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "sqlite_direct/inspected.rs"]
mod inspected;
#[path = "sqlite_direct/replaced.rs"]
mod replaced;

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
    ColumnShape {
        name: name.into(),
        ty,
        nullable: name != "id",
        unique: name == "email",
        native: None,
        references: None,
    }
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
        extras: Default::default(),
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

#[tokio::test]
async fn replacing_a_row_directly_keeps_its_parked_fields() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let image = Image { record: doc(r#"{"_id":"a"}"#), parked: doc(r#"{"nick":"x"}"#) };
    let change = Change { key: Key::single("a"), image: Some(image), expect: Expect::Absent };
    store.write(Write { epoch: Some(1), changes: vec![change], idempotency: None }).await.unwrap();
    let direct = Connection::open(&place.path).unwrap();
    for (n, sql) in [
        "INSERT OR REPLACE INTO users VALUES ('a', '{\"_id\":\"a\",\"n\":1}')",
        "REPLACE INTO users VALUES ('a', '{\"_id\":\"a\",\"n\":2}')",
        "UPDATE OR REPLACE users SET doc = '{\"_id\":\"a\",\"n\":3}'",
        "UPDATE OR IGNORE users SET doc = '{\"_id\":\"a\",\"n\":4}'",
        "INSERT INTO users VALUES ('a', '{\"_id\":\"a\",\"n\":5}') ON CONFLICT DO UPDATE SET doc = excluded.doc",
    ]
    .into_iter()
    .enumerate()
    {
        direct.execute(sql, []).unwrap();
        let fetched = store.fetch(&Key::single("a")).await.unwrap();
        let image = fetched.image.unwrap();
        assert_eq!(image.record.get("n"), Some(&Value::Int(n as i64 + 1)), "{sql}");
        assert_eq!(image.parked, doc(r#"{"nick":"x"}"#), "{sql}");
        assert_eq!((fetched.stamp, fetched.dirty), (Some(Stamp::new(1, n as u64 + 2)), true), "{sql}");
    }
}

#[tokio::test]
async fn a_direct_transaction_that_is_rolled_back_leaves_no_mark() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let mut direct = Connection::open(&place.path).unwrap();
    let transaction = direct.transaction().unwrap();
    transaction.execute("INSERT INTO users VALUES ('a', '{\"_id\":\"a\"}')", []).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(store.dirty_count().await.unwrap(), 0);
    assert_eq!(store.fetch(&Key::single("a")).await.unwrap().stamp, Some(Stamp::ZERO));
}

#[tokio::test]
async fn a_direct_row_without_a_key_is_written_and_told() {
    let place = place();
    let direct = Connection::open(&place.path).unwrap();
    direct.execute_batch("CREATE TABLE users (_id PRIMARY KEY, doc TEXT)").unwrap();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    direct.execute("INSERT INTO users VALUES (NULL, '{}')", []).unwrap();
    direct.execute("INSERT INTO users VALUES ('a', '{\"_id\":\"a\"}')", []).unwrap();
    direct.execute("UPDATE users SET doc = '[]' WHERE _id IS NULL", []).unwrap();
    let all = ScanRange { id: 0, low: None, high: None };
    let chunk = store.scan(&all, None, ChunkMax { records: 9, bytes: 999 }).await.unwrap();
    let bad = chunk.records[0].as_ref().unwrap_err();
    assert_eq!((bad.key.clone(), bad.error.kind.clone()), (None, StoreErrorKind::Corrupt));
    assert_eq!(chunk.records[1].as_ref().unwrap().key, Key::single("a"));
    assert_eq!(keys(&store.dirty(None, 9).await.unwrap()), [Key::single("a")]);
    let hazards = store.inspect().await.unwrap().tables[0].hazards.clone();
    assert!(hazards.iter().any(|h| h.contains("NULL in the key column \"_id\"")), "{hazards:?}");
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_told_in_their_place() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let direct = Connection::open(&place.path).unwrap();
    for (key, doc) in [
        ("'a'", "'{\"_id\":\"a\"}'"),
        ("'b'", "'{\"_id\":\"other\"}'"),
        ("'c'", "'{}'"),
        ("'d'", "'{'"),
        ("'e'", "x'00'"),
        ("'f'", "'{\"_id\":\"f\",\"_id\":\"f\"}'"),
        ("1.5", "'{\"_id\":1.5}'"),
        ("x'01'", "'{\"_id\":1}'"),
        ("cast(x'ff' as text)", "'{\"_id\":1}'"),
        ("'z'", "'{\"_id\":\"z\"}'"),
    ] {
        direct.execute(&format!("INSERT INTO users VALUES ({key}, {doc})"), []).unwrap();
    }
    let (mut good, mut bad, mut after) = (Vec::new(), Vec::new(), None);
    let all = ScanRange { id: 0, low: None, high: None };
    loop {
        let chunk = store.scan(&all, after.as_ref(), ChunkMax { records: 1, bytes: 999 }).await.unwrap();
        for record in chunk.records {
            match record {
                Ok(fetched) => good.push(fetched.key),
                Err(row) => {
                    assert_eq!(row.error.kind, StoreErrorKind::Corrupt);
                    bad.push(row.key.map(|k| k.to_text()));
                }
            }
        }
        match chunk.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(good, [Key::single("a"), Key::single("z")]);
    let names = ["b", "c", "d", "e", "f"].map(|k| Some(k.to_owned()));
    assert_eq!(bad.iter().filter(|k| k.is_some()).cloned().collect::<Vec<_>>(), names);
    assert_eq!(bad.iter().filter(|k| k.is_none()).count(), 3);
    let error = store.fetch(&Key::single("d")).await.unwrap_err();
    assert!(error.message.contains("\"doc\"") && error.kind == StoreErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_user_table_of_other_types_is_read_exactly_or_told() {
    let place = place();
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch(
            "CREATE TABLE users (id VARCHAR(20) PRIMARY KEY, email NUMERIC, age TEXT, extra, more DEFAULT 'kept');
             CREATE TABLE user_tags (id PRIMARY KEY, record_id, position, tag);
             INSERT INTO users (id, email, age) VALUES ('a', 'x@y', NULL), ('b', '12', NULL), ('c', NULL, '7')",
        )
        .unwrap();
    let store = opened(&place, rows_layout(), Some(Role::Authority)).await;
    assert!(store.fetch(&Key::single("a")).await.unwrap().image.is_some());
    for (key, column) in [("b", "email"), ("c", "age")] {
        let error = store.fetch(&Key::single(key)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{key}");
        assert!(error.message.contains(column), "{error}");
    }
    let write = |record: &str| Write {
        epoch: Some(1),
        changes: vec![Change { key: Key::single("a"), image: Some(Image::of(doc(record))), expect: Expect::Any }],
        idempotency: None,
    };
    for (record, column) in [
        (r#"{"id":"a","email":"12.50","age":null,"tags":[]}"#, "email"),
        (r#"{"id":"a","email":null,"age":7,"tags":[]}"#, "age"),
    ] {
        let error = store.write(write(record)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Refused { field: Some(column.into()) }, "{error}");
    }
    store.write(write(r#"{"id":"a","email":"z","age":null,"tags":[]}"#)).await.unwrap();
    let kept: String = direct.query_row("SELECT more FROM users WHERE id = 'a'", [], |r| r.get(0)).unwrap();
    assert_eq!(kept, "kept", "a column that the layout does not name stays");
}

#[tokio::test]
async fn bad_places_are_told_with_a_hint() {
    let place = place();
    let open = async |url: &str, layout: Layout, create: Create| {
        let error = shearwater_stores::open(url, layout, create).await.err().unwrap();
        assert!(error.hint.is_some(), "{error}");
        error
    };
    let says = |error: &shearwater_core::error::StoreError, kind: StoreErrorKind, text: &str| {
        assert_eq!(error.kind, kind, "{error}");
        let all = format!("{} {}", error.message, error.hint.clone().unwrap());
        assert!(all.contains(text), "{all} does not say {text}");
    };
    let not_found = StoreErrorKind::NotFound;
    says(&open(&place.url, document_layout(), Create::Never).await, not_found.clone(), "no such file");
    let folder = format!("sqlite:{}/no/folder/x.db", place._dir.path().display());
    says(&open(&folder, document_layout(), Create::IfMissing).await, not_found.clone(), "folder");
    let text = place._dir.path().join("text.db");
    std::fs::write(&text, "not a database, and longer than a header of one hundred bytes ".repeat(4)).unwrap();
    let url = format!("sqlite:{}", text.display());
    says(&open(&url, document_layout(), Create::Never).await, not_found.clone(), "not a SQLite database");
    assert_eq!(shearwater_stores::inspect(&url).await.unwrap_err().kind, not_found);
    let direct = Connection::open(&place.path).unwrap();
    direct.execute_batch("CREATE TABLE people (_id PRIMARY KEY, doc); CREATE TABLE odd (_id, doc)").unwrap();
    says(&open(&place.url, document_layout(), Create::Never).await, not_found.clone(), "its tables are odd, people");
    let layout = |table: &str, key: &str| {
        Layout::Document(DocumentLayout { table: table.into(), key: vec![key.into()], document: "doc".into() })
    };
    says(&open(&place.url, layout("people", "id"), Create::Never).await, not_found.clone(), "no column \"id\"");
    says(&open("redis://h/d", document_layout(), Create::Never).await, StoreErrorKind::Unsupported, "redis");
    says(&open("redis://u:secret@h", document_layout(), Create::Never).await, StoreErrorKind::Unsupported, "redis");
    says(&open("users.db", document_layout(), Create::Never).await, StoreErrorKind::Unsupported, "no scheme");

    direct.execute_batch("CREATE TABLE folded (_id TEXT PRIMARY KEY COLLATE NOCASE, doc)").unwrap();
    for (table, text) in [("odd", "no PRIMARY KEY"), ("folded", "collation")] {
        let store = shearwater_stores::open(&place.url, layout(table, "_id"), Create::Never).await.unwrap();
        let error = store.install(Fence { role: Role::Authority, epoch: 1 }).await.unwrap_err();
        says(&error, StoreErrorKind::NotFound, text);
        assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new(), "nothing half-installed");
    }
}

#[tokio::test]
async fn looking_at_a_store_writes_nothing() {
    let place = place();
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch("CREATE TABLE users (_id PRIMARY KEY, doc); INSERT INTO users VALUES (1, '{\"_id\":1}')")
        .unwrap();
    drop(direct);
    let before = std::fs::read(&place.path).unwrap();
    let store = shearwater_stores::open(&place.url, document_layout(), Create::Never).await.unwrap();
    assert_eq!(store.estimate().await.unwrap().records, 1);
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.tables[0].key, ["_id"]);
    assert!(inspection.hazards.iter().any(|h| h.contains("write-ahead")), "{:?}", inspection.hazards);
    assert!(store.fetch(&Key::single(1)).await.unwrap().image.is_some());
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

#[tokio::test]
async fn two_sidecars_in_one_file_do_not_meet() {
    let place = place();
    let users = opened(&place, document_layout(), Some(Role::Authority)).await;
    let people =
        Layout::Document(DocumentLayout { table: "people".into(), key: vec!["_id".into()], document: "doc".into() });
    let people = opened(&place, people, Some(Role::Closed)).await;
    let direct = Connection::open(&place.path).unwrap();
    direct.execute("INSERT INTO users VALUES ('a', '{\"_id\":\"a\"}')", []).unwrap();
    direct.execute("INSERT INTO people VALUES ('a', '{\"_id\":\"a\"}')", []).unwrap_err();
    assert_eq!((users.dirty_count().await.unwrap(), people.dirty_count().await.unwrap()), (1, 0));
    users.remove().await.unwrap();
    assert_eq!(users.sidecar_names().await.unwrap(), Vec::<String>::new());
    assert_eq!(people.fence().await.unwrap(), Some(Fence { role: Role::Closed, epoch: 1 }));
    people.remove().await.unwrap();
    let left: i64 = direct
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%shearwater%'", [], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_users_own_trigger_still_runs_on_our_writes() {
    let place = place();
    let store = opened(&place, document_layout(), Some(Role::Authority)).await;
    let change = |n: i64| Change {
        key: Key::single("a"),
        image: Some(Image::of(doc(&format!(r#"{{"_id":"a","n":{n}}}"#)))),
        expect: Expect::Any,
    };
    let write = |n: i64| Write { epoch: Some(1), changes: vec![change(n)], idempotency: None };
    store.write(write(1)).await.unwrap();
    let direct = Connection::open(&place.path).unwrap();
    direct
        .execute_batch(
            "CREATE TABLE audit (n); CREATE TRIGGER audited AFTER UPDATE ON users BEGIN INSERT INTO audit VALUES (1); END",
        )
        .unwrap();
    assert_eq!(store.write(write(2)).await.unwrap(), Written::Applied(vec![Some(Stamp::new(1, 2))]));
    let audited = || direct.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(audited(), 1, "made while the store was open");
    direct.execute_batch("DROP TRIGGER audited").unwrap();
    store.write(write(3)).await.unwrap();
    assert_eq!(audited(), 1);
    direct.execute("DELETE FROM users", []).unwrap();
    let marks = store.dirty(None, 9).await.unwrap();
    assert_eq!(marks[0].stamp, Stamp::new(1, 4), "one stamp for each write, and direct writes are captured as ever");
}

#[tokio::test]
async fn a_follower_takes_rows_in_any_order_and_the_end_checks_what_they_refer_to() {
    let place = place();
    let people = |name: &str| Some(shearwater_core::shape::Reference { table: "users".into(), column: name.into() });
    let Layout::Rows(mut shape) = rows_layout() else { panic!("rows") };
    shape.columns.push(ColumnShape { references: people("id"), ..column("boss", FieldType::Text) });
    shape.children[0].columns[0].references = people("id");
    let store = opened(&place, Layout::Rows(shape), Some(Role::Follower)).await;
    let row = |key: &str, boss: &str, tag: &str| {
        format!(r#"{{"id":"{key}","email":"{key}","age":1,"boss":{boss},"tags":[{{"tag":"{tag}"}}]}}"#)
    };
    let apply = async |key: &str, boss: &str, tag: &str, counter| {
        let applied = store.apply(1, vec![put(key, &row(key, boss, tag), Stamp::new(1, counter))], None).await.unwrap();
        assert_eq!(applied, [Applied::Changed], "{key}");
    };
    // Its boss comes later.
    apply("a", r#""b""#, "a", 1).await;
    let early = store.constrain().await.unwrap_err();
    assert!(matches!(&early.kind, StoreErrorKind::Refused { field } if field.as_deref() == Some("boss")), "{early:?}");
    assert!(early.message.ends_with("keys of such records: a"), "{early}");
    apply("b", "null", "c", 2).await;
    let element = store.constrain().await.unwrap_err();
    assert!(element.message.contains("\"user_tags\"") && element.message.ends_with("records: b"), "{element}");
    apply("b", "null", "a", 3).await;
    for _ in 0..2 {
        assert_eq!(store.constrain().await.unwrap(), Vec::<String>::new());
    }
    // The declaration is the store's own: the authority's writes keep to it, and so does everybody else.
    let follower = Fence { role: Role::Follower, epoch: 1 };
    store.set_fence(follower, Fence { role: Role::Authority, epoch: 2 }).await.unwrap();
    let change = Change {
        key: Key::single("c"),
        image: Some(Image::of(doc(&row("c", r#""nobody""#, "a")))),
        expect: Expect::Any,
    };
    let write = Write { epoch: Some(2), changes: vec![change], idempotency: None };
    let refused = store.write(write).await.unwrap_err();
    assert!(matches!(refused.kind, StoreErrorKind::Refused { .. }), "{refused:?}");
    let direct = Connection::open(&place.path).unwrap();
    let refused = direct.execute("INSERT INTO users (id, boss) VALUES ('d', 'nobody')", []).unwrap_err();
    assert!(refused.to_string().contains("FOREIGN KEY"), "{refused}");
}
