//! A fresh database with a store in it, and a direct writer beside it.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use shearwater_core::shape::{ChildShape, ColumnShape, FieldType, Layout, TableShape};
use shearwater_core::store::*;
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};
use shearwater_stores::Create;
use shearwater_testbed::Server;

pub fn column(name: &str, ty: FieldType) -> ColumnShape {
    ColumnShape {
        name: name.into(),
        ty,
        nullable: name != "id",
        unique: name == "email",
        native: None,
        references: None,
    }
}

pub fn table(name: &str, columns: Vec<ColumnShape>) -> TableShape {
    TableShape {
        table: name.into(),
        key: vec!["id".into()],
        columns,
        children: vec![],
        residue: None,
        extras: Default::default(),
    }
}

/// `users(id, email, age)` with the key's type, and `user_tags`.
pub fn users(key: FieldType) -> Layout {
    let columns = vec![column("id", key), column("email", FieldType::Text), column("age", FieldType::Int)];
    let tags = ChildShape {
        field: "tags".into(),
        table: "user_tags".into(),
        columns: vec![column("tag", FieldType::Text)],
        children: vec![],
        residue: None,
    };
    Layout::Rows(TableShape { children: vec![tags], ..table("users", columns) })
}

/// A database with a store in it.
pub struct Place {
    pub url: String,
    pub store: Arc<dyn Store>,
}

pub const OPEN: Fence = Fence { role: Role::Authority, epoch: 1 };
pub const CLOSED: Fence = Fence { role: Role::Closed, epoch: 2 };

impl Place {
    /// Of the layout, made by `provision`, with a sidecar in this role.
    pub async fn new(server: &Server, layout: Layout, role: Role) -> Place {
        let url = server.database("place");
        let store = open(&url, layout).await;
        store.provision().await.unwrap();
        store.install(Fence { role, epoch: 1 }).await.unwrap();
        Place { url, store }
    }

    pub async fn direct(&self) -> Conn {
        Conn::new(Opts::from_url(&self.url).unwrap()).await.unwrap()
    }

    /// Keys with a mark, in the order of their keys.
    pub async fn dirty(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.store.dirty(None, 10_000).await.unwrap().iter().map(|mark| mark.key.to_text()).collect();
        keys.sort();
        keys
    }

    pub async fn clear(&self) {
        let marks = self.store.dirty(None, 10_000).await.unwrap();
        let count = marks.len() as u64;
        assert_eq!(self.store.clear(marks).await.unwrap(), count);
    }
}

pub async fn open(url: &str, layout: Layout) -> Arc<dyn Store> {
    shearwater_stores::open(url, layout, Create::IfMissing).await.unwrap()
}

pub fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

/// A record of [`users`] with a text key.
pub fn user(id: &str, age: i64) -> Image {
    Image::of(doc(&format!(r#"{{"id":"{id}","email":"{id}@x","age":{age},"tags":[{{"tag":"t{age}"}}]}}"#)))
}

pub fn write_of(changes: Vec<Change>) -> Write {
    Write { epoch: Some(1), changes, idempotency: None }
}

pub fn put_user(id: &str, age: i64) -> Change {
    Change { key: Key::single(id), image: Some(user(id, age)), expect: Expect::Any }
}

pub fn put(id: &str, age: i64, stamp: Stamp) -> Put {
    Put { key: Key::single(id), image: Some(user(id, age)), stamp }
}

/// The first cell of a query's first row.
pub async fn number(conn: &mut Conn, sql: &str) -> u64 {
    conn.query_first::<u64, _>(sql).await.unwrap().unwrap()
}

/// Waits until `count` transactions of this database wait for a lock; their
/// connections. (The tables of `information_schema` are a copy that is not
/// renewed while they are asked often.)
pub async fn until_waiting(watch: &mut Conn, count: usize) -> Vec<u64> {
    let begun = std::time::Instant::now();
    loop {
        let ours: Vec<u64> =
            watch.query("SELECT id FROM information_schema.processlist WHERE db = DATABASE()").await.unwrap();
        let (_, _, text): (String, String, String) =
            watch.query_first("SHOW ENGINE INNODB STATUS").await.unwrap().unwrap();
        let waiting: Vec<u64> = text
            .split("---TRANSACTION ")
            .filter(|part| part.contains("LOCK WAIT"))
            .filter_map(|part| part.split_once("thread id ")?.1.split(',').next()?.parse().ok())
            .filter(|id| ours.contains(id))
            .collect();
        if waiting.len() >= count {
            return waiting;
        }
        assert!(begun.elapsed().as_secs() < 30, "nobody waits: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The server's number for a statement's error; 0: none.
pub fn code<T>(result: &mysql_async::Result<T>) -> u16 {
    match result {
        Err(mysql_async::Error::Server(error)) => error.code,
        Err(other) => panic!("{other}"),
        Ok(_) => 0,
    }
}
