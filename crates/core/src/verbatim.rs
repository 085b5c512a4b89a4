//! Records that go from one store to another of its kind as they are: where the
//! mapping changes no value and both columns have one type, the bytes that the
//! one server sends are those that the other one takes, and nobody has to make
//! values of them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::StoreResult;
use crate::shape::FieldType;
use crate::store::{Applied, BadRow, CheckpointStep, ChunkMax, Cursor, Fetched, Put, ScanRange};

/// A column of the source that goes into a column of the target, every value
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The source's column.
    pub source: String,
    /// The target's column.
    pub target: String,
    /// The type of both.
    pub ty: FieldType,
    /// Whether the mapping refuses NULL.
    pub required: bool,
    /// Characters that the mapping lets through; `None`: any number.
    pub chars_max: Option<u64>,
}

/// A column as one of the two stores has to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in this store.
    pub name: String,
    /// As [`Passed::ty`].
    pub ty: FieldType,
    /// As [`Passed::required`].
    pub required: bool,
    /// As [`Passed::chars_max`].
    pub chars_max: Option<u64>,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out of the store.
    Out,
    /// Into it.
    In,
}

/// Rows in a kind's own form: opaque to all but the connectors of that kind.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// How many.
    pub count: usize,
    /// Their form, as it was when they were read.
    pub form: String,
    /// The rows, in the order of the scan.
    pub bytes: Arc<Vec<u8>>,
}

/// What one read returned.
#[derive(Clone, Debug)]
pub struct RowChunk {
    /// The rows that nobody has written since capture began; their stamp is
    /// [`crate::Stamp::ZERO`]. Columns: the layout's, key first.
    pub rows: Rows,
    /// The records that have a stamp, and what the layout cannot read.
    pub others: Vec<Result<Fetched, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
    /// Bytes read, approximately.
    pub bytes: usize,
}

/// A store that can give rows away as they are, and take them.
#[async_trait]
pub trait Verbatim: Send + Sync {
    /// The form of these columns' rows. Into the store, columns of the layout that
    /// are not among them stay NULL. Two stores with one form hold the same
    /// values in the same bytes, and each row that the one has is one that the
    /// layout reads and the mapping takes. `None`: there is no such promise.
    async fn form(&self, columns: &[Column], way: Way) -> StoreResult<Option<String>>;

    /// As [`crate::store::Reader::scan`], not decoded. The columns are all of the
    /// layout's, key first. Where their rows have no form by now, all of them come
    /// as others.
    async fn read_rows(
        &self,
        columns: &[Column],
        range: &ScanRange,
        after: Option<&Cursor>,
        max: ChunkMax,
    ) -> StoreResult<RowChunk>;

    /// What [`Verbatim::read_rows`] of this store would have given decoded.
    async fn decode(&self, rows: &Rows) -> StoreResult<Vec<Result<Fetched, BadRow>>>;

    /// Puts rows that are not there yet, and other records beside them, as one
    /// [`crate::store::Follower::apply`]; the answers are those to `puts`. A row
    /// whose key has a higher stamp is left out, being stale. The rows that
    /// changed the store are counted in the checkpoint that is saved.
    ///
    /// `None`: not all of them can go in that way, because one is there or is
    /// refused, or their form is another one by now, and nothing was written.
    async fn put_rows(
        &self,
        epoch: u64,
        columns: &[Column],
        rows: &Rows,
        puts: Vec<Put>,
        step: &CheckpointStep,
    ) -> StoreResult<Option<RowsPut>>;
}

/// What became of [`Verbatim::put_rows`].
#[derive(Clone, Debug)]
pub struct RowsPut {
    /// Rows that went in; the others of them are stale.
    pub changed: u64,
    /// As [`crate::store::Follower::apply`], for the puts.
    pub answers: Vec<Applied>,
}

impl RowsPut {
    /// The checkpoint that goes with it: [`CheckpointStep::after`] of all of it.
    pub fn step(step: &CheckpointStep, changed: u64) -> CheckpointStep {
        let mut step = step.clone();
        step.from.changed += changed;
        step
    }
}
