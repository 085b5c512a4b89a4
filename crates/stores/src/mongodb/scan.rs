//! Reading by key, scanning by cursor, splitting into ranges.
//!
//! A scan goes along the index of `_id`, over all types of it: comparisons of a
//! query stay within one type, the bounds of an index do not. A range's low end
//! is inclusive and its high end is the next range's low one. What a chunk holds
//! is of the primary and known to a majority, each record with its stamp from one
//! document; the records of a chunk are not of one moment.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::action::Find;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::Hint;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{
    Among, BadRow, Chunk, ChunkMax, Cursor, Estimate, Fetched, KeyChunk, ListPlan, Reader, Role, ScanRange,
};

use super::error::{code, failure};
use super::key::ID;
use super::raw::{Doc, Element, Owned, find, ty};
use super::record::{RESERVED, Row};
use super::session::filter;
use super::value::hex;
use super::write::adopt;
use super::{Inner, MongoDb, along, list, one_of, sidecar_of};

/// Ranges that a split makes at most.
const SPLIT_PARTS_MAX: usize = 1_024;

/// Up to this many documents a split reads every `_id`; of more it takes a sample.
const EXACT_SPLIT_MAX: u64 = 20_000;

/// Sampled `_id`s for each range: so many make ranges of similar size.
const SAMPLES_PER_PART: usize = 64;

/// Keys that the server sends at once.
const BATCH: u32 = 2_000;

/// Documents that the server sends at once at most: more than any chunk holds.
/// The size of its answers bounds them too.
const BATCH_MAX: u32 = 100_000;

/// The filter that leaves tombstones out.
pub(super) fn no_tombstones() -> Bson {
    doc! { format!("{RESERVED}.g"): { "$exists": false } }
}

/// The order of `_id`s.
pub(super) fn by_id_index() -> Hint {
    Hint::Keys(doc! { ID: 1 })
}

/// A collection that is not there yet is empty.
pub(super) fn is_missing(error: &mongodb::error::Error) -> bool {
    failure("scanning", error).code == code::NAMESPACE_NOT_FOUND
}

fn bad_position(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("MongoDB: the {what} was not made by this connector"))
}

/// A place among the `_id`s as text: the bytes of the document of the bound.
pub(super) fn position(id: &[u8]) -> String {
    hex(id)
}

pub(super) fn bound_of(text: &str, what: &str) -> StoreResult<Vec<u8>> {
    let bytes: Option<Vec<u8>> = (text.len().is_multiple_of(2) && text.is_ascii())
        .then(|| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
        .flatten();
    bytes.filter(|bytes| find(bytes, ID).is_some()).ok_or_else(|| bad_position(what))
}

pub(super) fn bound(id: Element<'_>) -> Vec<u8> {
    let mut doc = Doc::new();
    doc.put(ID, id);
    doc.end()
}

/// What a scan reads of each document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Records,
    Keys,
}

/// Documents of a range, and where to go on.
struct Part {
    rows: Vec<RawDocumentBuf>,
    bytes: usize,
    next: Option<Cursor>,
}

/// Where a scan begins and ends, as the documents of its bounds.
pub(super) struct Bounds {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
    /// Whether the low end was given already.
    is_after: bool,
}

impl Bounds {
    pub(super) fn of(range: &ScanRange, after: Option<&Cursor>) -> StoreResult<Bounds> {
        let low = match (after, &range.low) {
            (Some(cursor), _) => Some(bound_of(&cursor.0, "cursor")?),
            (None, Some(low)) => Some(bound_of(low, "range")?),
            (None, None) => None,
        };
        let high = range.high.as_ref().map(|high| bound_of(high, "range")).transpose()?;
        Ok(Bounds { low, high, is_after: after.is_some() })
    }

    /// The `_id` that comes again and is to be left out.
    pub(super) fn skipped(&self) -> Option<Element<'_>> {
        self.low.as_deref().filter(|_| self.is_after).and_then(|low| find(low, ID))
    }

    /// Whether the bounds of the index leave out the highest value of all.
    pub(super) fn miss_the_highest(&self) -> bool {
        self.low.is_some() && self.high.is_none()
    }
}

/// Documents to ask for, so that `wanted` can be given: one more tells whether
/// there are more, and the place to go on from comes again.
pub(super) fn limit_of(wanted: usize) -> usize {
    wanted.saturating_add(2)
}

impl Inner {
    /// The documents between bounds in the order of their `_id`s, all of them sent
    /// at once as far as they go into one answer.
    pub(super) fn find_between<'c>(
        &self,
        collection: &'c Collection<RawDocumentBuf>,
        condition: Bson,
        bounds: &Bounds,
        limit: usize,
    ) -> StoreResult<Find<'c, RawDocumentBuf>> {
        let mut scan = collection
            .find(condition)
            .hint(by_id_index())
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .batch_size(u32::try_from(limit).unwrap_or(BATCH).min(BATCH_MAX));
        if let Some(low) = &bounds.low {
            scan = scan.min(filter(low.clone())?);
        }
        if let Some(high) = &bounds.high {
            scan = scan.max(filter(high.clone())?);
        }
        Ok(scan)
    }

    async fn part(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax, want: Want) -> StoreResult<Part> {
        let failed = |e| failure("scanning", &e).of_a_repeatable().error;
        let bounds = Bounds::of(range, after)?;
        let wanted = match want {
            Want::Records => self.seen_size.records(max),
            Want::Keys => max.records.max(1),
        };
        let limit = limit_of(wanted);
        let collection = self.server.collection(&self.records.table);
        let mut scan = self.find_between(&collection, no_tombstones(), &bounds, limit)?;
        if want == Want::Keys {
            scan = scan.projection(doc! { ID: 1 }).batch_size(BATCH.min(u32::try_from(limit).unwrap_or(BATCH)));
        }
        let mut rows = match self.server.rows(scan).await {
            Ok(rows) => rows,
            Err(error) if is_missing(&error) => return Ok(Part { rows: Vec::new(), bytes: 0, next: None }),
            Err(error) => return Err(failed(error)),
        };
        let mut part = Part { rows: Vec::new(), bytes: 0, next: None };
        let skipped = bounds.skipped();
        while let Some(raw) = rows.next().await.map_err(failed)? {
            let id = find(raw.as_bytes(), ID);
            if skipped.is_some() && id == skipped {
                continue;
            }
            let full = part.rows.len() == wanted || (!part.rows.is_empty() && part.bytes >= max.bytes);
            if full {
                let last = part.rows.last().and_then(|last| find(last.as_bytes(), ID));
                part.next = last.map(|last| Cursor(position(&bound(last))));
                break;
            }
            part.bytes += raw.as_bytes().len();
            part.rows.push(raw);
        }
        if want == Want::Records {
            self.seen_size.learn(part.rows.len(), part.bytes);
        }
        if bounds.miss_the_highest() && part.next.is_none() {
            self.add_highest(skipped, wanted, &mut part).await?;
        }
        Ok(part)
    }

    /// The document whose `_id` is the highest value of all: an index's bounds
    /// that name no end leave it out.
    pub(super) async fn highest(&self, after: Option<Element<'_>>) -> StoreResult<Option<RawDocumentBuf>> {
        let id = Owned::new(ty::MAX_KEY, []);
        let found = self.server.find("scanning", &self.records.table, &id).await.map_err(|failure| failure.error)?;
        let is_gone =
            |raw: &RawDocumentBuf| find(raw.as_bytes(), RESERVED).is_some_and(|f| find(f.bytes, "g").is_some());
        Ok(found.filter(|raw| !is_gone(raw)).filter(|_| after != Some(id.get())))
    }

    async fn add_highest(&self, after: Option<Element<'_>>, wanted: usize, part: &mut Part) -> StoreResult<()> {
        let Some(raw) = self.highest(after).await? else { return Ok(()) };
        match part.rows.last().and_then(|last| find(last.as_bytes(), ID)) {
            Some(last) if part.rows.len() >= wanted => part.next = Some(Cursor(position(&bound(last)))),
            _ => {
                part.bytes += raw.as_bytes().len();
                part.rows.push(raw);
            }
        }
        Ok(())
    }

    /// The places between ranges.
    async fn cuts(&self, parts: usize) -> StoreResult<Vec<Vec<u8>>> {
        let failed = |e| failure("splitting", &e).of_a_repeatable().error;
        let collection = self.server.collection(&self.records.table);
        let count = collection.estimated_document_count().await.map_err(failed)?;
        let ids: Vec<RawDocumentBuf> = if count <= EXACT_SPLIT_MAX {
            let find = collection.find(no_tombstones()).projection(doc! { ID: 1 }).sort(doc! { ID: 1 });
            self.server.rows(find).await.map_err(failed)?.all().await.map_err(failed)?
        } else {
            let size = (parts * SAMPLES_PER_PART) as i64;
            let sample =
                [doc! { "$sample": { "size": size } }, doc! { "$project": { ID: 1 } }, doc! { "$sort": { ID: 1 } }];
            let cursor = collection.aggregate(sample).with_type::<RawDocumentBuf>().await.map_err(failed)?;
            cursor.try_collect().await.map_err(failed)?
        };
        let mut cuts: Vec<Vec<u8>> = Vec::new();
        for n in 1..parts {
            let Some(id) = ids.get(n * ids.len() / parts).and_then(|raw| find(raw.as_bytes(), ID)) else { break };
            let cut = bound(id);
            if cuts.last() != Some(&cut) {
                cuts.push(cut);
            }
        }
        Ok(cuts)
    }
}

#[async_trait]
impl Reader for MongoDb {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        let inner = &*self.0;
        let found = async {
            match inner.records.keys.id_of(key) {
                Ok(id) => inner.server.find("reading a record", &inner.records.table, &id).await.map_err(|f| f.error),
                // The collection cannot hold such a key, so it has no record.
                Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (found, state) = tokio::try_join!(found, inner.state())?;
        let row = found.map(|raw| inner.records.read(raw)).filter(|row| row.key.as_ref().ok() == Some(key));
        inner.note_foreign(state, row.iter()).await?;
        let authority = state.is_some_and(|state| state.fence.role == Role::Authority);
        if authority && row.as_ref().is_some_and(|row| row.is_foreign() && matches!(row.record, Some(Ok(_)))) {
            adopt(inner, key).await?;
            let id = inner.records.keys.id_of(key)?;
            let found = inner.server.find("reading a record", &inner.records.table, &id).await;
            let row = found.map_err(|failure| failure.error)?.map(|raw| inner.records.read(raw));
            return inner.records.fetched(key.clone(), row, sidecar_of(state));
        }
        inner.records.fetched(key.clone(), row, sidecar_of(state))
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        let inner = &*self.0;
        let ids: Vec<Owned> = keys.iter().filter_map(|key| inner.records.keys.id_of(key).ok()).collect();
        let rows = async { inner.rows_of(ids.iter()).await.map_err(|failure| failure.error) };
        let (rows, state) = tokio::try_join!(rows, inner.state())?;
        inner.note_foreign(state, rows.values()).await?;
        let sidecar = sidecar_of(state);
        keys.iter().map(|key| inner.records.fetched(key.clone(), rows.get(key).cloned(), sidecar)).collect()
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        let cuts = self.0.cuts(parts.clamp(1, SPLIT_PARTS_MAX)).await?;
        let ends: Vec<Option<String>> = cuts.iter().map(|cut| Some(position(cut))).collect();
        let lows = std::iter::once(None).chain(ends.iter().cloned());
        let highs = ends.iter().cloned().chain(std::iter::once(None));
        Ok((0..).zip(lows.zip(highs)).map(|(id, (low, high))| ScanRange { id, low, high }).collect())
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        let inner = self.0.clone();
        let (part, state) = tokio::try_join!(inner.part(range, after, max, Want::Records), inner.state())?;
        let rows: Vec<Row> = part.rows.into_iter().map(|raw| inner.records.read(raw)).collect();
        inner.note_foreign(state, rows.iter()).await?;
        let sidecar = sidecar_of(state);
        let records = rows.into_iter().filter_map(|row| inner.records.scanned(row, sidecar)).collect();
        Ok(Chunk { records, next: part.next, bytes: part.bytes })
    }

    async fn scan_keys(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<KeyChunk> {
        let inner = &*self.0;
        let part = inner.part(range, after, max, Want::Keys).await?;
        let keys = part.rows.iter().map(|raw| {
            let id = find(raw.as_bytes(), ID).unwrap_or(Element { ty: ty::NULL, bytes: &[] });
            inner.records.keys.key_of(id).map_err(|error| BadRow { key: None, error })
        });
        Ok(KeyChunk { keys: keys.collect(), next: part.next })
    }

    async fn present(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        let inner = &*self.0;
        let ids: Vec<Owned> = keys.iter().filter_map(|key| inner.records.keys.id_of(key).ok()).collect();
        let mut there = std::collections::HashSet::with_capacity(ids.len());
        for chunk in ids.chunks(super::KEYS_MAX) {
            let chunk: Vec<&Owned> = chunk.iter().collect();
            let projection = doc! { ID: 1, format!("{RESERVED}.g"): 1 };
            let found = inner.all("reading keys", &inner.records.table, one_of(&chunk), Some(projection)).await;
            for raw in found.map_err(|failure| failure.error)? {
                let bytes = raw.as_bytes();
                let is_gone = find(bytes, RESERVED).is_some_and(|field| find(field.bytes, "g").is_some());
                if let (Some(id), false) = (find(bytes, ID), is_gone) {
                    there.insert(inner.records.keys.key_of(id)?);
                }
            }
        }
        Ok(keys.iter().map(|key| there.contains(key)).collect())
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        super::inspect::estimate(&self.0.server, &self.0.records.table).await
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        list::list(&self.0, query).await
    }

    async fn explain(&self, query: &ListQuery, _among: Among) -> StoreResult<Option<ListPlan>> {
        along::explain(&self.0, query).await.map(Some)
    }
}
