//! Making and removing tables: the user's, where there is none, and the sidecar's.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType as KeyRole, LocalSecondaryIndex, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus,
};
use futures::{StreamExt, TryStreamExt, stream};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::Fence;

use super::DynamoDb;
use super::action::{Words, delete, put, stamped, update};
use super::config::KeyType;
use super::error::Effect;
use super::item::{GONE, RESERVED, stamp_text};
use super::scan::{Columns, Page, Segment};
use super::session::{Unwritten, unbuilt};
use super::sidecar::{DUE, FENCES, K, P, T, fence_item, fence_key};
use super::table::{KeyAttribute, Part, Schema};
use super::value::Item;

/// How long a table may take to be made or removed; AWS says seconds to minutes.
const TABLE_WAIT_MAX: Duration = Duration::from_secs(300);

/// The pause between two looks at a table that is being made.
const TABLE_POLL: Duration = Duration::from_millis(200);

/// Items looked at in one page while our attribute is taken away.
const PAGE_ITEMS_MAX: usize = 1_000;

/// Segments, and items of one of them, that are worked on at a time.
const SEGMENTS: i32 = 2;
const ITEMS_AT_ONCE: usize = 8;

/// A table to be made.
pub(super) struct Blueprint<'a> {
    pub(super) table: &'a str,
    pub(super) key: Vec<KeyAttribute>,
    /// The sort key of a local index, and the index's name.
    pub(super) index: Option<(&'a str, &'a str)>,
}

impl DynamoDb {
    /// A table as the store describes it; `None`: there is none, or soon none.
    pub(super) async fn describe(&self, table: &str) -> StoreResult<Option<TableDescription>> {
        Ok(self.describe_any(table).await?.filter(|table| table.table_status != Some(TableStatus::Deleting)))
    }

    async fn describe_any(&self, table: &str) -> StoreResult<Option<TableDescription>> {
        let asked = self.session.call("describing a table", Effect::Reads, || {
            self.session.client.describe_table().table_name(table).send()
        });
        match asked.await {
            Ok(answer) => Ok(answer.table),
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// Makes the layout's table where there is none; tells what was made.
    pub(super) async fn make_table(&self) -> StoreResult<Vec<String>> {
        let table = &self.names.layout.table;
        if self.describe(table).await?.is_some() {
            self.schema().await?;
            return Ok(Vec::new());
        }
        let schema = Schema::to_make(&self.names, &self.config)?;
        self.create(Blueprint { table, key: schema.key.clone(), index: None }).await?;
        let key: Vec<String> = schema.key.iter().map(|key| format!("{:?} {}", key.name, key.ty.letter())).collect();
        self.schema().await?;
        Ok(vec![format!("CreateTable {table}: key ({}), billed on demand", key.join(", "))])
    }

    pub(super) async fn create(&self, blueprint: Blueprint<'_>) -> StoreResult<()> {
        let table = blueprint.table;
        let elements = blueprint.key.iter().map(|key| {
            let role = if key.part == Part::Partition { KeyRole::Hash } else { KeyRole::Range };
            element(&key.name, role)
        });
        let mut elements = elements.collect::<StoreResult<Vec<_>>>()?;
        elements.sort_by_key(|element| *element.key_type() != KeyRole::Hash);
        let types = blueprint.key.iter().map(|key| definition(&key.name, key.ty));
        let mut types = types.collect::<StoreResult<Vec<_>>>()?;
        let index = match blueprint.index {
            None => None,
            Some((sort, name)) => {
                types.push(definition(sort, KeyType::Text)?);
                let partition = elements.first().cloned();
                let built = LocalSecondaryIndex::builder()
                    .index_name(name)
                    .set_key_schema(Some(partition.into_iter().chain([element(sort, KeyRole::Range)?]).collect()))
                    .projection(Projection::builder().projection_type(ProjectionType::All).build())
                    .build();
                Some(vec![built.map_err(|error| unbuilt(&error))?])
            }
        };
        // AWS takes some seconds to remove a table, whose name is taken until then.
        let is_going = |found: &TableDescription| found.table_status == Some(TableStatus::Deleting);
        self.wait_for(table, |found| !found.is_some_and(is_going)).await?;
        let asked = self.session.call("making a table", Effect::Writes, || {
            self.session
                .client
                .create_table()
                .table_name(table)
                .set_key_schema(Some(elements.clone()))
                .set_attribute_definitions(Some(types.clone()))
                .set_local_secondary_indexes(index.clone())
                .billing_mode(BillingMode::PayPerRequest)
                .send()
        });
        match asked.await {
            Ok(_) => {}
            // Somebody else makes it.
            Err(failed) if failed.answer.as_ref().is_some_and(|answer| answer.is_resource_in_use_exception()) => {}
            Err(failed) => return Err(failed.error),
        }
        self.wait_for(table, |found| found.is_some_and(|found| found.table_status == Some(TableStatus::Active))).await
    }

    async fn wait_for(&self, table: &str, is: impl Fn(Option<&TableDescription>) -> bool) -> StoreResult<()> {
        let began = tokio::time::Instant::now();
        while !is(self.describe_any(table).await?.as_ref()) {
            if began.elapsed() > TABLE_WAIT_MAX {
                let what = format!("DynamoDB: table {table:?} is still being changed after {TABLE_WAIT_MAX:?}");
                return Err(StoreError::new(StoreErrorKind::Unavailable, what));
            }
            tokio::time::sleep(TABLE_POLL).await;
        }
        Ok(())
    }

    /// Waits until a table is gone.
    pub(super) async fn wait_until_gone(&self, table: &str) -> StoreResult<()> {
        self.wait_for(table, |found| found.is_none()).await
    }

    /// Makes the sidecar's table, and puts the fence into it: only then is it there.
    pub(super) async fn install_sidecar(&self, fence: Fence) -> StoreResult<()> {
        use shearwater_core::store::Capture;
        self.schema().await?;
        if self.fence().await?.is_some() {
            return Ok(());
        }
        if self.describe(&self.names.sidecar).await?.is_some() {
            // Left by an installation or a removal that did not come to its end.
            self.remove_sidecar().await?;
        }
        let part = |name: &str, ty, part| KeyAttribute { name: name.to_owned(), ty, part, prefix: None };
        let key = vec![part(P, KeyType::Text, Part::Partition), part(K, KeyType::Bytes, Part::Sort)];
        self.create(Blueprint { table: &self.names.sidecar, key, index: Some((T, DUE)) }).await?;
        let absent = Words::new("attribute_not_exists(#p)").name("#p", P);
        let fences = (0..FENCES).map(|number| put(&self.names.sidecar, fence_item(number, fence), &absent));
        match self.session.transact("installing the sidecar", &fences.collect::<StoreResult<Vec<_>>>()?).await {
            Ok(()) | Err(Unwritten::Conditions(_)) => Ok(()),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }

    /// Removes the fence first, so that nobody writes stamps any more, then our
    /// attribute from every item, then the sidecar's table.
    pub(super) async fn remove_sidecar(&self) -> StoreResult<()> {
        let sidecar = &self.names.sidecar;
        if self.describe(sidecar).await?.is_none() {
            return Ok(());
        }
        let fences = (0..FENCES).map(|number| delete(sidecar, fence_key(number), &Words::default()));
        match self.session.transact("removing the fence", &fences.collect::<StoreResult<Vec<_>>>()?).await {
            Ok(()) | Err(Unwritten::Conditions(_)) => {}
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => return Err(error),
        }
        let schema = self.schema().await?;
        let segments = (0..SEGMENTS).map(|number| self.strip(schema, Segment { number, of: SEGMENTS }));
        stream::iter(segments).buffer_unordered(SEGMENTS as usize).try_collect::<()>().await?;
        let asked = self.session.call("removing the sidecar", Effect::Writes, || {
            self.session.client.delete_table().table_name(sidecar).send()
        });
        match asked.await {
            Ok(_) => {}
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => {}
            Err(failed) => return Err(failed.error),
        }
        self.wait_until_gone(sidecar).await
    }

    /// Takes our attribute from every item of a segment, and the tombstones away.
    async fn strip(&self, schema: &Schema, segment: Segment) -> StoreResult<()> {
        let mut after = None;
        loop {
            self.session.reads.admit().await;
            let Page { items, next } = self.scan_page(schema, segment, after, PAGE_ITEMS_MAX, Columns::All).await?;
            let ours = items.into_iter().filter(|item| item.contains_key(RESERVED));
            let strip = stream::iter(ours.map(|item| self.strip_item(schema, item)));
            strip.buffer_unordered(ITEMS_AT_ONCE).try_collect::<()>().await?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn strip_item(&self, schema: &Schema, item: Item) -> StoreResult<()> {
        let table = &self.names.layout.table;
        self.session.writes.admit().await;
        // An item that cannot be read is ours all the same.
        let held = super::item::read(&self.names, schema, item.clone()).ok();
        let key: Item = schema
            .key
            .iter()
            .filter_map(|attribute| Some((attribute.name.clone(), item.get(&attribute.name)?.clone())))
            .collect();
        let action = match held {
            Some(held) if held.image.is_none() => {
                let gone = stamped(stamp_text(held.stamp)).and(
                    Words::new("#r.#g = :yes")
                        .name("#g", GONE)
                        .value(":yes", aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
                );
                delete(table, key, &gone)?
            }
            _ => update(table, key, "REMOVE #r", &Words::new("attribute_exists(#r)").name("#r", RESERVED))?,
        };
        match self.session.transact("removing the sidecar", &[action]).await {
            Ok(()) | Err(Unwritten::Conditions(_)) => Ok(()),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }
}

fn element(name: &str, role: KeyRole) -> StoreResult<KeySchemaElement> {
    KeySchemaElement::builder().attribute_name(name).key_type(role).build().map_err(|error| unbuilt(&error))
}

fn definition(name: &str, ty: KeyType) -> StoreResult<AttributeDefinition> {
    let ty = match ty {
        KeyType::Text => ScalarAttributeType::S,
        KeyType::Number => ScalarAttributeType::N,
        KeyType::Bytes => ScalarAttributeType::B,
    };
    let built = AttributeDefinition::builder().attribute_name(name).attribute_type(ty).build();
    built.map_err(|error| unbuilt(&error))
}
