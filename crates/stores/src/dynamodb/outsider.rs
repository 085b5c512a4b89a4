//! A program that has never heard of us, with DynamoDB: plain requests for single
//! items, whose documents hold their key. What our attribute notes of an item is
//! read with it, so that what comes out is what a migration has put in.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::{Capture, Image};
use shearwater_core::value::json;
use shearwater_core::{Document, Key};

use super::DynamoDb;
use super::error::Effect;
use super::item::{read, write};
use super::scan::{Columns, Segment};
use super::session::{Session, unbuilt};
use super::value::Item;
use crate::Create;
use crate::outsider::{Change, Collection, Outsider};

/// Items of one `BatchWriteItem`: DynamoDB's limit.
const BATCH_ITEMS_MAX: usize = 25;

pub(crate) struct DynamoDbOutsider {
    store: DynamoDb,
}

/// Connects. The table need not be there.
pub(crate) async fn open(url: &str, collection: Collection) -> StoreResult<DynamoDbOutsider> {
    let config = super::Config::parse(url)?;
    let session = Session::open(&config);
    let Collection { table, key, document } = collection;
    let layout = Layout::Document(DocumentLayout { table, key: vec![key], document });
    Ok(DynamoDbOutsider { store: DynamoDb::over(config, session, layout, Create::IfMissing).await? })
}

impl DynamoDbOutsider {
    fn table(&self) -> &str {
        &self.store.names.layout.table
    }

    async fn item_of(&self, key: &str, document: &str) -> StoreResult<Item> {
        let unreadable = |error: json::JsonError| StoreError::new(StoreErrorKind::Corrupt, error.to_string());
        let record = json::parse_document(document.as_bytes()).map_err(unreadable)?;
        let schema = self.store.schema().await?;
        write(&self.store.names, schema, &Key::single(key), &Image::of(record), None)
    }

    async fn put_batch(&self, items: Vec<Item>) -> StoreResult<()> {
        let session = &self.store.session;
        let puts = items.into_iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(item)).build().map_err(|error| unbuilt(&error))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let mut left = puts.collect::<StoreResult<Vec<_>>>()?;
        while !left.is_empty() {
            let answer = session
                .call("filling a table", Effect::Writes, || {
                    session.client.batch_write_item().request_items(self.table(), left.clone()).send()
                })
                .await?;
            left = answer.unprocessed_items.unwrap_or_default().remove(self.table()).unwrap_or_default();
        }
        Ok(())
    }

    async fn put(&self, key: &str, document: &str, condition: &str) -> StoreResult<()> {
        let item = self.item_of(key, document).await?;
        let session = &self.store.session;
        let name = self.store.names.layout.key.first().cloned().unwrap_or_default();
        let asked = session.call("putting an item", Effect::Writes, || {
            let put = session.client.put_item().table_name(self.table()).set_item(Some(item.clone()));
            put.condition_expression(condition).expression_attribute_names("#k", &name).send()
        });
        match asked.await {
            Ok(_) => Ok(()),
            Err(failed) if failed.answer.as_ref().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                let what = format!("table {:?}: an item is, or is not, under the key", self.table());
                Err(StoreError::new(StoreErrorKind::Refused { field: Some(name) }, what))
            }
            Err(failed) => Err(failed.error),
        }
    }

    async fn get(&self, key: &str) -> StoreResult<Option<Document>> {
        let schema = self.store.schema().await?;
        let wanted = schema.item_of(self.table(), &Key::single(key))?;
        let mut found = self.store.session.batch_get("reading", vec![(self.table(), wanted)]).await?;
        let item = found.remove(self.table()).and_then(|mut items| items.pop());
        let Some(item) = item else { return Ok(None) };
        let held = read(&self.store.names, schema, item).map_err(|unreadable| unreadable.error)?;
        Ok(held.image.map(|image| image.record))
    }
}

#[async_trait]
impl Outsider for DynamoDbOutsider {
    async fn tables(&mut self) -> StoreResult<Vec<String>> {
        super::inspect::tables(&self.store.session).await
    }

    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()> {
        self.store.provision().await?;
        loop {
            let mut items = Vec::with_capacity(BATCH_ITEMS_MAX);
            let some: Vec<(String, String)> = documents.take(BATCH_ITEMS_MAX).collect();
            for (key, text) in &some {
                items.push(self.item_of(key, text).await?);
            }
            if items.is_empty() {
                return Ok(());
            }
            self.put_batch(items).await?;
        }
    }

    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()> {
        self.put(key, document, "attribute_not_exists(#k)").await
    }

    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool> {
        let Some(found) = self.get(key).await? else { return Ok(false) };
        let Some(changed) = change(&json::document_to_string(&found)) else { return Ok(false) };
        self.put(key, &changed, "attribute_exists(#k)").await?;
        Ok(true)
    }

    async fn delete(&mut self, key: &str) -> StoreResult<bool> {
        let schema = self.store.schema().await?;
        let wanted = schema.item_of(self.table(), &Key::single(key))?;
        let there = self.get(key).await?.is_some();
        let session = &self.store.session;
        let asked = session.call("deleting", Effect::Writes, || {
            session.client.delete_item().table_name(self.table()).set_key(Some(wanted.clone())).send()
        });
        asked.await?;
        Ok(there)
    }

    async fn documents(&mut self) -> StoreResult<Vec<String>> {
        let schema = self.store.schema().await?;
        let (mut documents, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan_page(schema, Segment::ALL, after, usize::MAX, Columns::All).await?;
            for item in page.items {
                let held = read(&self.store.names, schema, item).map_err(|unreadable| unreadable.error)?;
                documents.extend(held.image.map(|image| json::document_to_string(&image.record)));
            }
            after = page.next;
            if after.is_none() {
                return Ok(documents);
            }
        }
    }

    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()> {
        let session = &self.store.session;
        for table in tables {
            let asked = session
                .call("dropping a table", Effect::Writes, || session.client.delete_table().table_name(*table).send());
            match asked.await {
                Ok(_) => {}
                Err(failed) if failed.error.kind == StoreErrorKind::NotFound => {}
                Err(failed) => return Err(failed.error),
            }
            self.store.wait_until_gone(table).await?;
        }
        Ok(())
    }
}
