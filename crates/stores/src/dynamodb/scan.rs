//! Scans: the segments of DynamoDB's parallel scan are the ranges, and the key
//! of the last item that was read is the cursor.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{BadRow, Chunk, ChunkMax, Cursor, Estimate, Fetched, KeyChunk, Reader, ScanRange};

use super::DynamoDb;
use super::action::Words;
use super::error::Effect;
use super::item::{GONE, RESERVED, Sidecar, read};
use super::look::Beside;
use super::session::units;
use super::sidecar::{key_text, read_key_text};
use super::table::Schema;
use super::value::{Item, item_size};

/// Keys of one `fetch_many` that are a client's; more are background work.
const CLIENT_KEYS_MAX: usize = 100;

/// Keys in one look, so that the fence fits beside them.
const LOOK_KEYS_MAX: usize = 99;

/// Looks of one `fetch_many` at a time.
const LOOKS_AT_ONCE: usize = 4;

/// Bytes that one strongly consistent read unit pays for.
const UNIT_BYTES: f64 = 4096.0;

/// Bytes of an item that is assumed until one was seen.
const ITEM_BYTES_ASSUMED: usize = 1024;

/// One page of a scan.
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// The key to go on after.
    pub(super) next: Option<Item>,
}

/// A segment of a parallel scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: i32,
    pub(super) of: i32,
}

impl Segment {
    pub(super) const ALL: Segment = Segment { number: 0, of: 1 };

    fn of_range(range: &ScanRange) -> StoreResult<Segment> {
        let Some(text) = &range.low else { return Ok(Segment::ALL) };
        let read = || {
            let (number, of) = text.split_once('/')?;
            Some(Segment { number: number.parse().ok()?, of: of.parse().ok()? })
        };
        read().ok_or_else(|| foreign_place("a range"))
    }
}

fn foreign_place(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("DynamoDB: {what} that this connector has not made"))
}

/// What of the items is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    All,
    /// The key, and whether it is a tombstone.
    Keys,
}

impl DynamoDb {
    /// The items of a segment that belong to the entity, after `after`; at most
    /// `items_max` of the table's items are looked at.
    pub(super) async fn scan_page(
        &self,
        schema: &Schema,
        segment: Segment,
        after: Option<Item>,
        items_max: usize,
        columns: Columns,
    ) -> StoreResult<Page> {
        let mut words = of_entity(schema);
        let condition = (!words.text.is_empty()).then(|| words.text.clone());
        let projection = (columns == Columns::Keys).then(|| {
            let mut paths = vec!["#r.#g".to_owned()];
            for (at, attribute) in schema.key.iter().enumerate() {
                words.names.insert(format!("#c{at}"), attribute.name.clone());
                paths.push(format!("#c{at}"));
            }
            words.names.extend([("#r".to_owned(), RESERVED.to_owned()), ("#g".to_owned(), GONE.to_owned())]);
            paths.join(", ")
        });
        let answer = self
            .session
            .call("scanning", Effect::Reads, || {
                self.session
                    .client
                    .scan()
                    .table_name(&self.names.layout.table)
                    .consistent_read(true)
                    .segment(segment.number)
                    .total_segments(segment.of)
                    .limit(i32::try_from(items_max.max(1)).unwrap_or(i32::MAX))
                    .set_exclusive_start_key(after.clone())
                    .set_filter_expression(condition.clone())
                    .set_projection_expression(projection.clone())
                    .set_expression_attribute_names(words.names_if_any())
                    .set_expression_attribute_values(words.values_if_any())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await?;
        self.session.reads.used(units(answer.consumed_capacity.as_slice()));
        Ok(Page { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }

    /// How many items a request may look at: as many as are asked, as fit the
    /// bytes, and as one second's capacity pays for.
    pub(super) fn items_max(&self, max: ChunkMax) -> usize {
        let each = self.item_bytes.load(std::sync::atomic::Ordering::Relaxed).max(1);
        let fitting = (max.bytes / each).max(1);
        let paid = match self.session.reads.request_units_max() {
            Some(units) => ((units * UNIT_BYTES) as usize / each).max(1),
            None => usize::MAX,
        };
        max.records.min(fitting).min(paid).max(1)
    }

    pub(super) fn learn_item_bytes(&self, items: &[Item]) {
        if !items.is_empty() {
            let mean = items.iter().map(item_size).sum::<usize>() / items.len();
            self.item_bytes.store(mean.max(1), std::sync::atomic::Ordering::Relaxed);
        }
    }

    pub(super) fn after(&self, schema: &Schema, after: Option<&Cursor>) -> StoreResult<Option<Item>> {
        let Some(Cursor(text)) = after else { return Ok(None) };
        let key = read_key_text(text).ok_or_else(|| foreign_place("a cursor"))?;
        schema.place_of(&key).map(Some).ok_or_else(|| foreign_place("a cursor"))
    }

    async fn fetch_some(&self, schema: &Schema, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        let look = self.look(schema, keys, Beside::Fence).await?;
        let mut fetched = Vec::with_capacity(keys.len());
        for key in keys {
            let held = look.held(key);
            fetched.push(match held.strayed && look.fence.is_some() {
                true => self.fetch_and_notice(key).await?,
                false => held.into_fetched(look.sidecar()),
            });
        }
        Ok(fetched)
    }

    /// Whether the sidecar is there.
    async fn sidecar(&self, schema: &Schema) -> StoreResult<Sidecar> {
        Ok(self.look(schema, &[], Beside::Fence).await?.sidecar())
    }

    /// The records of a page, as many as the bounds allow, and where to go on.
    async fn chunk_of(&self, schema: &Schema, sidecar: Sidecar, page: Page, max: ChunkMax) -> StoreResult<Chunk> {
        self.learn_item_bytes(&page.items);
        let mut chunk = Chunk { records: Vec::with_capacity(page.items.len()), next: None, bytes: 0 };
        let mut next = page.next.map(|place| cursor_of(schema, &place)).transpose()?;
        for item in page.items {
            let bytes = item_size(&item);
            if !chunk.records.is_empty() && chunk.bytes + bytes > max.bytes {
                // Read again from here: at least one record is returned.
                next = chunk.records.last().and_then(place_of_last);
                break;
            }
            chunk.bytes += bytes;
            match read(&self.names, schema, item) {
                Ok(held) if held.strayed && sidecar == Sidecar::Installed => {
                    chunk.records.push(Ok(self.fetch_and_notice(&held.key).await?));
                }
                Ok(held) => chunk.records.push(Ok(held.into_fetched(sidecar))),
                Err(unreadable) => chunk.records.push(Err(BadRow { key: unreadable.key, error: unreadable.error })),
            }
        }
        chunk.next = next;
        // Tombstones are read, because a place in the scan may be one.
        chunk.records.retain(|record| record.as_ref().map_or(true, |fetched| fetched.image.is_some()));
        Ok(chunk)
    }
}

/// The place of a record; an item without a key has none, and is in no table.
fn place_of_last(record: &Result<Fetched, BadRow>) -> Option<Cursor> {
    let key = match record {
        Ok(fetched) => Some(&fetched.key),
        Err(bad) => bad.key.as_ref(),
    };
    key.map(|key| Cursor(key_text(key)))
}

pub(super) fn cursor_of(schema: &Schema, place: &Item) -> StoreResult<Cursor> {
    let key = schema.key_in(place).map_err(|(name, what)| super::error::corrupt("?", &name, what))?;
    Ok(Cursor(key_text(&key)))
}

/// That an item belongs to the entity.
pub(super) fn of_entity(schema: &Schema) -> Words {
    let prefixed = schema.key.iter().enumerate().filter_map(|(at, attribute)| {
        let prefix = attribute.prefix.clone()?;
        let (name, value) = (format!("#e{at}"), format!(":e{at}"));
        Some(
            Words::new(format!("begins_with({name}, {value})"))
                .name(&name, &attribute.name)
                .value(&value, AttributeValue::S(prefix)),
        )
    });
    prefixed.fold(Words::default(), Words::and)
}

/// Every record is read with its stamp, of one moment, strongly consistent; the
/// records of one call are not of one moment, which only a transaction of at most
/// a hundred reads could give. Whoever compares them compares their stamps.
#[async_trait]
impl Reader for DynamoDb {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        self.fetch_and_notice(key).await
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        let schema = self.schema().await?;
        if keys.len() > CLIENT_KEYS_MAX {
            self.session.reads.admit().await;
        }
        let mut looks = Vec::new();
        for some in keys.chunks(LOOK_KEYS_MAX) {
            looks.push(self.fetch_some(schema, some).boxed());
        }
        let looks = stream::iter(looks);
        let fetched: Vec<Vec<Fetched>> = looks.buffered(LOOKS_AT_ONCE).try_collect().await?;
        Ok(fetched.into_iter().flatten().collect())
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        /// Segments of one scan: DynamoDB's limit.
        const SEGMENTS_MAX: usize = 1_000_000;
        let of = parts.clamp(1, SEGMENTS_MAX);
        let range = |number: usize| ScanRange { id: number as u32, low: Some(format!("{number}/{of}")), high: None };
        Ok((0..of).map(range).collect())
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        let schema = self.schema().await?;
        let segment = Segment::of_range(range)?;
        let sidecar = self.sidecar(schema).await?;
        let mut place = self.after(schema, after)?;
        loop {
            self.session.reads.admit().await;
            let page = self.scan_page(schema, segment, place, self.items_max(max), Columns::All).await?;
            let more = page.next.clone();
            let chunk = self.chunk_of(schema, sidecar, page, max).await?;
            // A page of another entity's items, or of tombstones, is no chunk.
            if !chunk.records.is_empty() || chunk.next.is_none() {
                return Ok(chunk);
            }
            place = more;
        }
    }

    async fn scan_keys(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<KeyChunk> {
        let schema = self.schema().await?;
        let segment = Segment::of_range(range)?;
        let mut place = self.after(schema, after)?;
        loop {
            self.session.reads.admit().await;
            let page = self.scan_page(schema, segment, place, self.items_max(max), Columns::Keys).await?;
            let next = page.next.as_ref().map(|place| cursor_of(schema, place)).transpose()?;
            let there = page.items.iter().filter(|item| !item.contains_key(RESERVED));
            let keys: Vec<Result<Key, BadRow>> = there
                .map(|item| {
                    let bad = |(name, what): (String, String)| BadRow {
                        key: None,
                        error: super::error::corrupt(&self.names.layout.table, &name, what),
                    };
                    schema.key_in(item).map_err(bad)
                })
                .collect();
            if !keys.is_empty() || next.is_none() {
                return Ok(KeyChunk { keys, next });
            }
            place = page.next;
        }
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        let Some(table) = self.describe(&self.names.layout.table).await? else {
            return Err(self.no_table());
        };
        Ok(super::inspect::estimate_of(&table))
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.list_page(query).await
    }
}

/// The bytes of an item before any was seen.
pub(super) const fn item_bytes_assumed() -> usize {
    ITEM_BYTES_ASSUMED
}
