//! A record and its mark as a row of an answer.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fetched, Image};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};
use tokio_postgres::Row;

use super::cell::{Cell, array_elements, row_fields};
use super::session::get;
use super::tables::{Element, Elements, RawRecord, Sidecar, Tables};
use crate::relational::corrupt;

/// What the sidecar holds for a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mark {
    /// The stamp.
    pub(super) stamp: Stamp,
    /// Whether the follower has not confirmed it.
    pub(super) dirty: bool,
    /// Parked fields.
    pub(super) parked: Document,
}

/// A row of [`Tables::selected`] from column `first` on.
pub(super) struct Found {
    /// The record as its cells; `None` when there is no row.
    pub(super) raw: Option<RawRecord>,
    /// Its mark.
    pub(super) mark: StoreResult<Mark>,
    /// Whether there is a sidecar that the statement did not read.
    pub(super) missed_sidecar: bool,
}

/// Reads a row.
pub(super) fn found(
    tables: &Tables,
    sidecar: Sidecar,
    elements: Elements,
    row: &Row,
    first: usize,
) -> StoreResult<Found> {
    let parts = tables.facts.key.len();
    let mut at = first + parts + tables.facts.values.len();
    let key = cells_of(row, first, parts)?;
    let is_there = key.iter().any(|cell| *cell != Cell::Null);
    let mut raw =
        RawRecord { values: cells_of(row, first + parts, tables.facts.values.len())?, key, children: Vec::new() };
    if elements == Elements::Read {
        for child in &tables.tree.children {
            let cell: Cell = get(row, at)?;
            raw.children.push(elements_of(&child.shape.table, &cell)?);
            at += 1;
        }
    }
    let missed_sidecar = sidecar == Sidecar::Absent && get::<bool>(row, at + 4)?;
    Ok(Found { raw: is_there.then_some(raw), mark: mark_of(tables, row, at), missed_sidecar })
}

/// `count` cells of a row from column `first` on.
pub(super) fn cells_of(row: &Row, first: usize, count: usize) -> StoreResult<Vec<Cell>> {
    (first..first + count).map(|at| get(row, at)).collect()
}

fn elements_of(table: &str, cell: &Cell) -> StoreResult<Vec<Element>> {
    let bad = |what: String| corrupt(table, "id", what);
    let Cell::Raw(raw) = cell else { return Ok(Vec::new()) };
    let mut elements = Vec::new();
    for row in array_elements(raw).map_err(bad)? {
        let Cell::Raw(row) = row else { return Err(bad("an element is NULL".to_owned())) };
        let mut fields = row_fields(&row).map_err(bad)?.into_iter();
        let mut next = || fields.next().unwrap_or_default();
        let (id, parent_id, position) = (next(), next(), next());
        elements.push(Element { id, parent_id, position, values: fields.collect() });
    }
    Ok(elements)
}

fn mark_of(tables: &Tables, row: &Row, first: usize) -> StoreResult<Mark> {
    let Some(epoch) = get::<Option<i64>>(row, first)? else { return Ok(Mark::default()) };
    let stamp = stamp_of(epoch, get(row, first + 1)?);
    let parked = match get::<Option<String>>(row, first + 3)? {
        None => Document::new(),
        Some(text) => json::parse_document(text.as_bytes()).map_err(|e| {
            let what = format!("table {:?}: its sidecar's parked fields are no JSON: {}", tables.name(), e.message);
            StoreError::new(StoreErrorKind::Corrupt, what)
        })?,
    };
    Ok(Mark { stamp, dirty: get(row, first + 2)?, parked })
}

/// A stamp from its columns, which never hold negative numbers.
pub(super) fn stamp_of(epoch: i64, counter: i64) -> Stamp {
    Stamp::new(epoch.unsigned_abs(), counter.unsigned_abs())
}

/// A number of a stamp as the server's bigint.
pub(super) fn stored_number(n: u64) -> StoreResult<i64> {
    i64::try_from(n)
        .map_err(|_| StoreError::new(StoreErrorKind::Unsupported, "PostgreSQL: an epoch or counter is above 2^63"))
}

/// The parked fields' text; `None` when there are none.
pub(super) fn parked_text(image: &Image) -> Option<String> {
    (!image.parked.is_empty()).then(|| json::document_to_string(&image.parked))
}

/// The answer for a key; the error of a row that cannot be read.
pub(super) fn fetched(
    tables: &Tables,
    sidecar: Sidecar,
    key: Key,
    raw: Option<&RawRecord>,
    mark: Mark,
) -> StoreResult<Fetched> {
    let image = match raw {
        Some(raw) => Some(Image { record: tables.record_of(&key, raw)?, parked: mark.parked }),
        None => None,
    };
    let installed = sidecar == Sidecar::Installed;
    Ok(Fetched { key, image, stamp: installed.then_some(mark.stamp), dirty: installed && mark.dirty })
}
