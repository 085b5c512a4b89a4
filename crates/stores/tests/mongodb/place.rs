//! A fresh database with a store in it, and a direct writer beside it.

use std::sync::Arc;

use mongodb::bson::{Document as Bson, doc};
use mongodb::{Client, Collection};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::*;
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};
use shearwater_stores::Create;
use shearwater_testbed::Mongodb;

pub const OPEN: Fence = Fence { role: Role::Authority, epoch: 1 };
pub const CLOSED: Fence = Fence { role: Role::Closed, epoch: 2 };

/// `users` by `_id`.
pub fn users() -> Layout {
    Layout::Document(DocumentLayout { table: "users".into(), key: vec!["_id".into()], document: "doc".into() })
}

pub struct Place {
    pub url: String,
    pub store: Arc<dyn Store>,
}

impl Place {
    /// With the collection, made by `provision`, and a sidecar in this role.
    pub async fn new(server: &Mongodb, role: Role) -> Place {
        let place = Place::bare(server).await;
        place.store.install(Fence { role, epoch: 1 }).await.unwrap();
        place
    }

    /// Without a sidecar.
    pub async fn bare(server: &Mongodb) -> Place {
        let url = server.database("place");
        let store = open(&url).await;
        store.provision().await.unwrap();
        Place { url, store }
    }

    /// The collection as any program sees it.
    pub async fn direct(&self) -> Collection<Bson> {
        let client = Client::with_uri_str(&self.url).await.unwrap();
        client.default_database().unwrap().collection("users")
    }
}

pub async fn open(url: &str) -> Arc<dyn Store> {
    shearwater_stores::open(url, users(), Create::IfMissing).await.unwrap()
}

pub fn record(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

pub fn user(id: &str, age: i64) -> Document {
    record(&format!(r#"{{"_id":"{id}","email":"{id}@x","age":{age}}}"#))
}

pub fn put_user(id: &str, age: i64) -> Change {
    Change { key: Key::single(id), image: Some(Image::of(user(id, age))), expect: Expect::Any }
}

pub fn delete(id: &str) -> Change {
    Change { key: Key::single(id), image: None, expect: Expect::Any }
}

pub fn write_of(changes: Vec<Change>) -> Write {
    Write { epoch: Some(1), changes, idempotency: None }
}

pub fn put(id: &str, age: i64, stamp: Stamp) -> Put {
    Put { key: Key::single(id), image: Some(Image::of(user(id, age))), stamp }
}

/// One document by its `_id`.
pub async fn one(collection: &Collection<Bson>, id: &str) -> Bson {
    collection.find_one(doc! { "_id": id }).await.unwrap().unwrap()
}
