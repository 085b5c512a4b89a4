//! A program that has never heard of us, with a MongoDB collection: it reads a
//! document, changes fields of it and writes them back, on the condition that the
//! document is still as it was.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::value::json;
use shearwater_core::{Document, Key};

use super::error::{Tried, failure, part_errors};
use super::key::{ID, Keys};
use super::raw::{Doc, Owned};
use super::record::{RESERVED, Records};
use super::session::Server;
use crate::outsider::{Change, Collection, Outsider, ROWS_SENT_MAX};

pub(crate) struct MongoOutsider {
    server: Server,
    collection: Collection,
    records: Records,
}

pub(crate) async fn open(url: &str, collection: Collection) -> StoreResult<MongoOutsider> {
    let server = Server::open(url).await?;
    let records = Records {
        table: collection.table.clone(),
        keys: Keys::of(&collection.table, std::slice::from_ref(&collection.key)),
    };
    Ok(MongoOutsider { server, collection, records })
}

fn parsed(text: &str) -> StoreResult<Document> {
    let unreadable = |_| StoreError::new(StoreErrorKind::Unsupported, "the document is no JSON");
    json::parse_document(text.as_bytes()).map_err(unreadable)
}

impl MongoOutsider {
    fn id(&self, key: &str) -> StoreResult<Owned> {
        self.records.keys.id_of(&Key::single(key))
    }

    fn bytes(&self, key: &str, document: &str, held: Option<&[u8]>) -> StoreResult<Vec<u8>> {
        self.records.document(&Key::single(key), &parsed(document)?, None, held)
    }

    async fn insert_all(&self, documents: &[Vec<u8>]) -> Tried<()> {
        let mut insert = Doc::new();
        insert.text("insert", &self.collection.table).begin_array("documents");
        for (n, document) in documents.iter().enumerate() {
            insert.document(&n.to_string(), document);
        }
        insert.close();
        self.server.acknowledged(&mut insert);
        let answer = self.server.run("inserting", insert.end()).await?;
        match part_errors("inserting", &answer)?.pop() {
            None => Ok(()),
            Some(part) => Err(part.failure),
        }
    }

    /// Sets and takes out fields, if the document is still as it was.
    async fn set(&self, id: &Owned, held: &RawDocumentBuf, changed: &[u8]) -> Tried<bool> {
        let mut update = Doc::new();
        update.text("update", &self.collection.table).begin_array("updates").begin("0");
        update.begin("q").begin("_id").put("$eq", id.get()).close();
        update.begin("$expr").begin_array("$eq").text("0", "$$ROOT");
        update.begin("1").document("$literal", held.as_bytes()).close().close().close().close();
        update.begin_array("u").begin("0").begin("$replaceWith").begin_array("$mergeObjects");
        update.begin("0").document("$literal", changed).close();
        // What else stands there, another program's fields among it, stays.
        if let Some(field) = super::raw::find(held.as_bytes(), RESERVED) {
            update.begin("1").put(RESERVED, field).close();
        }
        update.close().close().close().close().close();
        self.server.acknowledged(&mut update);
        let answer = self.server.run("updating", update.end()).await?;
        part_errors("updating", &answer)?;
        Ok(answer.get_i32("n").unwrap_or_default() == 1)
    }
}

#[async_trait]
impl Outsider for MongoOutsider {
    async fn tables(&mut self) -> StoreResult<Vec<String>> {
        let names = self.server.database().list_collection_names().await;
        names.map_err(|e| failure("looking at the database", &e).of_a_repeatable().error)
    }

    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()> {
        let mut create = Doc::new();
        create.text("create", &self.collection.table);
        self.server.run("making a collection", create.end()).await.map_err(|failure| failure.error)?;
        loop {
            let some: Vec<(String, String)> = documents.take(ROWS_SENT_MAX).collect();
            if some.is_empty() {
                return Ok(());
            }
            let some = some.iter().map(|(key, document)| self.bytes(key, document, None));
            let some = some.collect::<StoreResult<Vec<_>>>()?;
            self.insert_all(&some).await.map_err(|failure| failure.error)?;
        }
    }

    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()> {
        let document = self.bytes(key, document, None)?;
        self.insert_all(&[document]).await.map_err(|failure| failure.error)
    }

    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool> {
        let id = self.id(key)?;
        let found = self.server.find("reading", &self.collection.table, &id).await.map_err(|failure| failure.error)?;
        let Some(held) = found else { return Ok(false) };
        let row = self.records.read(held.clone());
        let Some(record) = row.record else { return Ok(false) };
        let Some(changed) = change(&json::document_to_string(&record?)) else { return Ok(false) };
        let changed = self.bytes(key, &changed, Some(held.as_bytes()))?;
        match self.set(&id, &held, &changed).await.map_err(|failure| failure.error)? {
            true => Ok(true),
            false => Err(StoreError::new(StoreErrorKind::Unavailable, "the document was changed by somebody else")),
        }
    }

    async fn delete(&mut self, key: &str) -> StoreResult<bool> {
        let id = self.id(key)?;
        let mut delete = Doc::new();
        delete.text("delete", &self.collection.table).begin_array("deletes").begin("0");
        delete.begin("q").begin(ID).put("$eq", id.get()).close().begin("_shearwater.g").no("$exists").close().close();
        delete.int("limit", 1).close().close();
        self.server.acknowledged(&mut delete);
        let answer = self.server.run("deleting", delete.end()).await.map_err(|failure| failure.error)?;
        Ok(answer.get_i32("n").unwrap_or_default() == 1)
    }

    async fn documents(&mut self) -> StoreResult<Vec<String>> {
        let failed = |e| failure("reading", &e).of_a_repeatable().error;
        let collection = self.server.collection(&self.collection.table);
        let mut cursor = collection.find(Bson::new()).await.map_err(failed)?;
        let mut texts = Vec::new();
        while let Some(raw) = cursor.try_next().await.map_err(failed)? {
            if let Some(record) = self.records.read(raw).record {
                texts.push(json::document_to_string(&record?));
            }
        }
        Ok(texts)
    }

    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()> {
        for table in tables {
            let dropped = self.server.database().run_command(doc! { "drop": *table }).await;
            match dropped.map_err(|e| failure("dropping a collection", &e)) {
                Err(failed) if failed.code != super::error::code::NAMESPACE_NOT_FOUND => return Err(failed.error),
                _ => {}
            }
        }
        Ok(())
    }
}
