//! Lists with canonical meaning.
//!
//! DynamoDB orders by the sort key only, within one partition. So a list whose
//! filter names the partition key reads that partition, and every other one
//! reads the table; the page's records are kept in a heap, so that memory is
//! that of one page either way. Filters are decided here: DynamoDB compares
//! other than they do (a number is never equal to its text, for one).

use std::collections::BinaryHeap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};
use shearwater_core::error::StoreResult;
use shearwater_core::query::{CompareOp, Filter, ListPage, ListQuery, Literal, sort_bytes, sort_bytes_of};
use shearwater_core::{Key, Value};

use super::DynamoDb;
use super::action::Words;
use super::error::Effect;
use super::item::{Held, Sidecar, read};
use super::look::Beside;
use super::scan::{Columns, Page, Segment, of_entity};
use super::session::units;
use super::table::{KeyAttribute, Schema};
use super::value::Item;
use crate::relational::page::{Ranked, check_limit};

/// Segments that a list reads side by side.
const SEGMENTS: i32 = 4;

/// Items of one page of a scan; a page of DynamoDB has at most 1 MiB anyway.
const PAGE_ITEMS_MAX: usize = 2_000;

/// The page while it is being found.
struct Top<'a> {
    query: &'a ListQuery,
    after: Option<Vec<u8>>,
    heap: BinaryHeap<Ranked<Held>>,
}

impl Top<'_> {
    fn new(query: &ListQuery) -> Top<'_> {
        let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
        Top { query, after, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, held: Held) {
        let Some(image) = &held.image else { return };
        if !self.query.filter.matches(&image.record) {
            return;
        }
        let place = sort_bytes_of(&self.query.order, &held.key, &image.record);
        if self.after.as_ref().is_some_and(|after| place <= *after) {
            return;
        }
        // One more than the page, to know whether there is more.
        if self.heap.len() > self.query.limit {
            if self.heap.peek().is_some_and(|last| place >= last.place) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Ranked { place, candidate: held });
    }

    fn page(self, sidecar: Sidecar) -> ListPage {
        let limit = self.query.limit;
        let mut records: Vec<_> = self.heap.into_sorted_vec();
        let more = records.len() > limit;
        records.truncate(limit);
        ListPage { records: records.into_iter().map(|ranked| ranked.candidate.into_fetched(sidecar)).collect(), more }
    }
}

impl DynamoDb {
    pub(super) async fn list_page(&self, query: &ListQuery) -> StoreResult<ListPage> {
        check_limit(query.limit)?;
        let schema = self.schema().await?;
        let mut top = Top::new(query);
        if let Some(key) = whole_key(schema, &query.filter) {
            let look = self.look(schema, std::slice::from_ref(&key), Beside::Fence).await?;
            top.offer(look.held(&key));
            return Ok(top.page(look.sidecar()));
        }
        let sidecar = self.look(schema, &[], Beside::Fence).await?.sidecar();
        let partition = schema.partition().and_then(|attribute| Some((attribute, value_of(attribute, &query.filter)?)));
        match partition {
            Some((attribute, value)) => self.offer_partition(schema, attribute, value, &mut top).await?,
            None => self.offer_table(schema, &mut top).await?,
        }
        Ok(top.page(sidecar))
    }

    fn offer(&self, schema: &Schema, items: Vec<Item>, top: &mut Top<'_>) -> StoreResult<()> {
        for item in items {
            top.offer(read(&self.names, schema, item).map_err(|unreadable| unreadable.error)?);
        }
        Ok(())
    }

    async fn offer_table(&self, schema: &Schema, top: &mut Top<'_>) -> StoreResult<()> {
        let segments = (0..SEGMENTS).map(|number| {
            let segment = Segment { number, of: SEGMENTS };
            stream::try_unfold(Some(None), move |place: Option<Option<Item>>| async move {
                let Some(after) = place else { return Ok(None) };
                let page = self.scan_page(schema, segment, after, PAGE_ITEMS_MAX, Columns::All).await?;
                Ok::<_, shearwater_core::error::StoreError>(Some((page.items, page.next.map(Some))))
            })
            .boxed()
        });
        let mut pages = stream::select_all(segments);
        while let Some(items) = pages.try_next().await? {
            self.offer(schema, items, top)?;
        }
        Ok(())
    }

    async fn offer_partition(
        &self,
        schema: &Schema,
        attribute: &KeyAttribute,
        value: AttributeValue,
        top: &mut Top<'_>,
    ) -> StoreResult<()> {
        let mut after = None;
        loop {
            let page = self.query_page(schema, attribute, value.clone(), after).await?;
            self.offer(schema, page.items, top)?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn query_page(
        &self,
        schema: &Schema,
        attribute: &KeyAttribute,
        value: AttributeValue,
        after: Option<Item>,
    ) -> StoreResult<Page> {
        let mut words = Words::new("#pk = :pk").name("#pk", &attribute.name).value(":pk", value);
        // A key's own condition may not stand in a filter.
        let entity = of_entity(&Schema { key: schema.key.iter().filter(|part| *part != attribute).cloned().collect() });
        if !entity.text.is_empty() {
            words = words.and(entity);
        }
        let answer = self
            .session
            .call("reading a partition", Effect::Reads, || {
                self.session
                    .client
                    .query()
                    .table_name(&self.names.layout.table)
                    .consistent_read(true)
                    .key_condition_expression(&words.text)
                    .set_expression_attribute_names(words.names_if_any())
                    .set_expression_attribute_values(words.values_if_any())
                    .set_exclusive_start_key(after.clone())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await?;
        self.session.reads.used(units(answer.consumed_capacity.as_slice()));
        Ok(Page { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }
}

/// The key that a filter asks for, when it asks for one.
fn whole_key(schema: &Schema, filter: &Filter) -> Option<Key> {
    let parts = schema.key.iter().map(|attribute| literal_of(attribute, filter));
    parts.collect::<Option<Vec<Value>>>().map(Key::composite)
}

/// The value that a filter asks for in a key's attribute.
fn value_of(attribute: &KeyAttribute, filter: &Filter) -> Option<AttributeValue> {
    let value = literal_of(attribute, filter)?;
    let wanted = attribute.hold(&value).ok()?;
    // Texts of another entity are none of ours.
    Some(wanted)
}

/// A text that the attribute must equal for the filter to hold. Numbers are left
/// out: `5` and `5.0` are equal there and two keys here.
fn literal_of(attribute: &KeyAttribute, filter: &Filter) -> Option<Value> {
    match filter {
        Filter::And(parts) => parts.iter().find_map(|part| literal_of(attribute, part)),
        Filter::Compare { path, op: CompareOp::Eq, literal } => {
            let named = path.steps().len() == 1 && path.root() == attribute.name;
            let text = match literal {
                Literal::Typed(Value::Text(text)) | Literal::Untyped(text) => Value::text(text.as_str()),
                Literal::Typed(_) => return None,
            };
            (named && attribute.ty == super::config::KeyType::Text).then_some(text)
        }
        _ => None,
    }
}
