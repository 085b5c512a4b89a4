//! Reading a store: records with their stamps, pages of lists, ranges of a scan.

use async_trait::async_trait;

use crate::error::{StoreError, StoreResult};
use crate::query::{ListPage, ListQuery};
use crate::value::Document;
use crate::{Key, Stamp};

/// Which of the two stores; fixed, even after the cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where the records were at the start.
    Source,
    /// Where they will be.
    Target,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}

/// A record as one store holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// The record in this store's shape, key fields included.
    pub record: Document,
    /// Fields of the other shape that this store's shape cannot hold (H20);
    /// kept in the sidecar, in the same atomic write. Empty for most records.
    pub parked: Document,
}

impl Image {
    /// An image without parked fields.
    pub fn of(record: Document) -> Image {
        Image { record, parked: Document::new() }
    }
}

/// The answer of a read by key: also says that there is no record.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The key that was asked for.
    pub key: Key,
    /// The record, or `None` when there is none (never was, or a tombstone).
    pub image: Option<Image>,
    /// Its stamp, of one snapshot with the record; [`Stamp::ZERO`] when nobody
    /// has written the key since capture began; `None` when the store has no sidecar.
    pub stamp: Option<Stamp>,
    /// Whether the follower has not confirmed this stamp yet.
    pub dirty: bool,
}

/// A part of the key space in the store's own scan order; the texts are opaque
/// to all but the connector that made them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScanRange {
    /// Its number, from 0.
    pub id: u32,
    /// The lowest key, inclusive; `None`: from the beginning.
    pub low: Option<String>,
    /// The highest key, inclusive; `None`: to the end as it is when the scan gets there.
    pub high: Option<String>,
}

/// A place in a scan, opaque to all but the connector that made it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor(pub String);

/// How much one scan call may return.
#[derive(Clone, Copy, Debug)]
pub struct ChunkMax {
    /// Records.
    pub records: usize,
    /// Bytes of documents, approximately; at least one record is returned.
    pub bytes: usize,
}

/// What one scan call returned.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Existing records with their stamps, all of one snapshot. A row that
    /// cannot be read as the layout says is an `Err` in its place, with its key
    /// when that can be read.
    pub records: Vec<Result<Fetched, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
    /// Bytes of documents read, approximately.
    pub bytes: usize,
}

/// The keys that one scan call returned.
#[derive(Clone, Debug)]
pub struct KeyChunk {
    /// Keys of existing records; a key that cannot be read is an `Err` in its place.
    pub keys: Vec<Result<Key, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
}

/// A row that the layout cannot read.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// The key, when that much can be read.
    pub key: Option<Key>,
    /// What is wrong.
    pub error: StoreError,
}

/// Rough size of a store's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Records.
    pub records: u64,
    /// Whether `records` is exact.
    pub exact: bool,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Reading.
#[async_trait]
pub trait Reader: Send + Sync {
    /// One record by key, with its stamp, from one snapshot.
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched>;

    /// Many records by key, in the order asked, from one snapshot.
    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>>;

    /// Splits the key space into at most `parts` ranges of similar size that
    /// cover every record existing now, without overlap.
    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>>;

    /// The next records of a range in scan order, after `after`.
    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk>;

    /// As [`Reader::scan`], the keys only. A store that reads keys for less
    /// than records says so by doing it itself.
    async fn scan_keys(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<KeyChunk> {
        let chunk = self.scan(range, after, max).await?;
        let keys = chunk.records.into_iter().map(|record| match record {
            Ok(fetched) => Ok(fetched.key),
            Err(BadRow { key: Some(key), .. }) => Ok(key),
            Err(bad) => Err(bad),
        });
        Ok(KeyChunk { keys: keys.collect(), next: chunk.next })
    }

    /// Whether there is a record under each key, in the order asked, from one
    /// snapshot. A store may answer an error where a record cannot be read.
    async fn present(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        Ok(self.fetch_many(keys).await?.into_iter().map(|fetched| fetched.image.is_some()).collect())
    }

    /// Rough size, cheap.
    async fn estimate(&self) -> StoreResult<Estimate>;

    /// One page of a filtered, ordered list (see [`crate::query`] for the meaning).
    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage>;

    /// As [`Reader::list`], without records that have nothing parked beside
    /// them. A store may answer those too: whoever asks looks at what is parked.
    /// A store that finds them for less than by reading all says so by doing it
    /// itself.
    async fn list_parked(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.list(query).await
    }

    /// How the store answers such a list; `None`: it does not tell. Reads no
    /// more of the records than it takes to say so.
    async fn explain(&self, _query: &ListQuery, _among: Among) -> StoreResult<Option<ListPlan>> {
        Ok(None)
    }
}

/// Which records a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    All,
    /// Those with something parked beside them.
    Parked,
}

/// How a store answers a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlan {
    /// How much it reads for a page.
    pub reads: Reads,
    /// The steps in the store's own words, where it has some.
    pub steps: Vec<String>,
    /// The statement that makes the index it would need to read no more than
    /// the page; `None`: it needs none, or none would help.
    pub index: Option<String>,
}

/// How much a store reads for a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// About as much as the page has, wherever in the list it is.
    Page,
    /// Every record that may match.
    Everything,
}
