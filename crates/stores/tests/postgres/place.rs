//! A database with a table of accounts, the store over it, and writers behind its back.

use std::collections::BTreeMap;
use std::sync::Arc;

use shearwater_core::shape::{ColumnShape, FieldType, Layout, TableShape};
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Image, Put, Role, Store, Write};
use shearwater_core::{Document, Key, Stamp, Value};
use shearwater_stores::Create;
use tokio_postgres::{Client, NoTls};

pub const TABLE: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, n bigint, name text UNIQUE)";

pub fn column(name: &str, ty: FieldType) -> ColumnShape {
    ColumnShape { name: name.into(), ty, nullable: name != "id", unique: false, native: None, references: None }
}

pub fn rows(table: &str, key: &[&str], columns: Vec<ColumnShape>) -> Layout {
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    Layout::Rows(TableShape {
        table: table.into(),
        key,
        columns,
        children: vec![],
        residue: None,
        extras: Default::default(),
    })
}

pub fn accounts() -> Layout {
    let columns = vec![column("id", FieldType::Int), column("n", FieldType::Int), column("name", FieldType::Text)];
    rows("accounts", &["id"], columns)
}

pub async fn open(url: &str, layout: Layout) -> Arc<dyn Store> {
    shearwater_stores::open(url, layout, Create::Never).await.unwrap()
}

pub fn fence(role: Role, epoch: u64) -> Fence {
    Fence { role, epoch }
}

/// A fresh database of the shared server with the table, and the store with its sidecar.
pub async fn place(role: Role) -> (String, Arc<dyn Store>) {
    let url = shearwater_testbed::postgres().database("direct");
    let store = made(&url, role).await;
    (url, store)
}

/// Makes the table in a database; the store with its sidecar.
pub async fn made(url: &str, role: Role) -> Arc<dyn Store> {
    direct(url).await.batch_execute(TABLE).await.unwrap();
    let store = open(url, accounts()).await;
    store.install(fence(role, 1)).await.unwrap();
    store
}

/// A program that has never heard of us.
pub async fn direct(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The server's code of an error.
pub fn code<T: std::fmt::Debug>(result: Result<T, tokio_postgres::Error>) -> String {
    result.unwrap_err().as_db_error().unwrap().code().code().to_owned()
}

/// Waits until a query says true.
pub async fn until(client: &Client, query: &str) {
    let begun = std::time::Instant::now();
    while !client.query_one(query, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(begun.elapsed().as_secs() < 30, "never came: {query}");
        tokio::task::yield_now().await;
    }
}

/// Waits until a session of ours waits in the server for something; its process.
pub async fn waiting(client: &Client, wait: &str) -> i32 {
    let condition = format!(
        "FROM pg_stat_activity WHERE application_name = 'shearwater' AND datname = current_database() AND {wait}"
    );
    until(client, &format!("SELECT count(*) > 0 {condition}")).await;
    client.query_one(&format!("SELECT pid {condition} LIMIT 1"), &[]).await.unwrap().get(0)
}

pub fn record(id: i64, n: i64, name: &str) -> Document {
    let mut record = Document::new();
    record.set("id", id);
    record.set("n", n);
    record.set("name", name);
    record
}

pub fn key(id: i64) -> Key {
    Key::single(id)
}

pub fn change(id: i64, n: i64, name: &str) -> Change {
    Change { key: key(id), image: Some(Image::of(record(id, n, name))), expect: Expect::Any }
}

pub fn write(changes: Vec<Change>, idempotency_key: &str) -> Write {
    let row =
        IdempotencyRow { key: idempotency_key.to_owned(), request_hash: 7, answer: "done at {stamp}".into(), at_ms: 1 };
    Write { epoch: Some(1), changes, idempotency: Some(row) }
}

pub fn put(id: i64, n: i64, name: &str) -> Put {
    Put { key: key(id), image: Some(Image::of(record(id, n, name))), stamp: Stamp::ZERO }
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// A copy that is kept as the engine keeps a follower: by marks alone.
#[derive(Default)]
pub struct Copy {
    held: BTreeMap<Key, (Stamp, Option<Document>)>,
}

impl Copy {
    /// Takes what is marked, and sees that the stamps of a key only rise. The keys.
    pub async fn drain(&mut self, store: &Arc<dyn Store>) -> Vec<i64> {
        let mut keys = Vec::new();
        loop {
            let marks = store.dirty(None, 1_000).await.unwrap();
            if marks.is_empty() {
                keys.sort_unstable();
                return keys;
            }
            for mark in &marks {
                let fetched = store.fetch(&mark.key).await.unwrap();
                let stamp = fetched.stamp.unwrap();
                assert!(stamp >= mark.stamp, "{mark:?} {stamp}");
                if let Some((held, _)) = self.held.get(&mark.key) {
                    assert!(stamp > *held, "{mark:?} after {held}");
                }
                self.held.insert(mark.key.clone(), (stamp, fetched.image.map(|image| image.record)));
                keys.push(int(&mark.key.values()[0]).unwrap());
            }
            store.clear(marks).await.unwrap();
        }
    }

    /// Sees that the copy is the table.
    pub async fn check(&self, client: &Client, why: &str) {
        let rows = client.query("SELECT id, n, name FROM accounts ORDER BY id", &[]).await.unwrap();
        let table: Vec<(i64, Option<i64>, Option<String>)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let held = self.held.values().filter_map(|(_, record)| record.as_ref()).map(|record| {
            let number = |name: &str| record.get(name).and_then(int);
            let name = match record.get("name") {
                Some(Value::Text(text)) => Some(text.clone()),
                _ => None,
            };
            (number("id").unwrap(), number("n"), name)
        });
        let mut held: Vec<_> = held.collect();
        held.sort();
        assert_eq!(held, table, "{why}");
    }
}
