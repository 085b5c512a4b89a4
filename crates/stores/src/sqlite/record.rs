//! A record as its cells, and how it is read, written and deleted.

use rusqlite::{CachedStatement, Row, params_from_iter};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::Image;
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};

use super::cell::Cell;
use super::error::store_error;
use super::session::Session;
use super::tables::Tables;
use super::value::Cells;
use crate::relational::{self, Child};

/// A record as the tables hold it.
pub(super) type RawRecord = relational::RawRecord<Cell>;

/// One element of a child table.
pub(super) type Element = relational::Element<Cell>;

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

impl Tables {
    /// The cells of a key.
    pub(super) fn key_to_cells(&self, key: &Key) -> StoreResult<Vec<Cell>> {
        self.tree.key_to_cells(&Cells, key)
    }

    /// The key of its cells.
    pub(super) fn key_from_cells(&self, cells: &[Cell]) -> StoreResult<Key> {
        self.tree.key_from_cells(&Cells, cells)
    }

    /// The cells of a record.
    pub(super) fn to_raw(&self, key: &Key, record: &Document) -> StoreResult<RawRecord> {
        self.tree.to_raw(&Cells, key, record)
    }

    /// The record of its cells.
    pub(super) fn record_of(&self, key: &Key, raw: &RawRecord) -> StoreResult<Document> {
        self.tree.record_of(&Cells, key, raw)
    }
}

/// A statement kept prepared by this connection.
pub(super) fn prepared<'s>(session: &'s Session, sql: &str) -> StoreResult<CachedStatement<'s>> {
    session.conn.prepare_cached(sql).map_err(|e| store_error("preparing a statement", e))
}

/// `count` cells of a row from column `first` on.
pub(super) fn cells_of(row: &Row<'_>, first: usize, count: usize) -> rusqlite::Result<Vec<Cell>> {
    (first..first + count).map(|at| row.get_ref(at).map(Cell::from)).collect()
}

/// Reads a record; `None` when there is none under exactly this key.
pub(super) fn read(session: &Session, tables: &Tables, key: &[Cell]) -> StoreResult<Option<RawRecord>> {
    let failed = |e| store_error("reading a record", e);
    let mut statement = prepared(session, &tables.select)?;
    let mut found = statement.query(params_from_iter(key)).map_err(failed)?;
    let Some(row) = found.next().map_err(failed)? else { return Ok(None) };
    let stored = cells_of(row, 0, key.len()).map_err(failed)?;
    if stored != key {
        // Found only by the column's affinity or collation: another key.
        return Ok(None);
    }
    let values = cells_of(row, key.len(), tables.tree.values.len()).map_err(failed)?;
    Ok(Some(RawRecord { key: stored, values, children: read_children(session, tables, key)? }))
}

/// Reads the elements of records, its statements prepared once.
pub(super) struct ElementReader<'s> {
    statements: Vec<CachedStatement<'s>>,
}

impl<'s> ElementReader<'s> {
    /// For a layout's child tables.
    pub(super) fn prepare(session: &'s Session, tables: &Tables) -> StoreResult<ElementReader<'s>> {
        let statements = tables.children.iter().map(|child| prepared(session, &child.select));
        Ok(ElementReader { statements: statements.collect::<StoreResult<_>>()? })
    }

    /// The elements of one record.
    pub(super) fn read(&mut self, tables: &Tables, key: &[Cell]) -> StoreResult<Vec<Vec<Element>>> {
        let failed = |e| store_error("reading a record's elements", e);
        let mut children = Vec::with_capacity(tables.children.len());
        for (child, statement) in tables.tree.children.iter().zip(&mut self.statements) {
            let mut found = statement.query(params_from_iter(key)).map_err(failed)?;
            let mut elements = Vec::new();
            while let Some(row) = found.next().map_err(failed)? {
                let cell = |at: usize| row.get_ref(at).map(Cell::from).map_err(failed);
                let values = cells_of(row, 3, child.values.len()).map_err(failed)?;
                elements.push(Element { id: cell(0)?, parent_id: cell(1)?, position: cell(2)?, values });
            }
            children.push(elements);
        }
        Ok(children)
    }
}

/// Reads the elements of a record.
pub(super) fn read_children(session: &Session, tables: &Tables, key: &[Cell]) -> StoreResult<Vec<Vec<Element>>> {
    ElementReader::prepare(session, tables)?.read(tables, key)
}

/// Reads what the sidecar holds for a key; nothing there is the default.
pub(super) fn read_mark(session: &Session, tables: &Tables, key: &[Cell]) -> StoreResult<Mark> {
    let failed = |e| store_error("reading a stamp", e);
    let mut statement = prepared(session, &tables.mark)?;
    let mut found = statement.query(params_from_iter(key)).map_err(failed)?;
    match found.next().map_err(failed)? {
        None => Ok(Mark::default()),
        Some(row) => mark_of(row, 0, &tables.name),
    }
}

/// The mark in a row's four columns from `first` on.
pub(super) fn mark_of(row: &Row<'_>, first: usize, table: &str) -> StoreResult<Mark> {
    let failed = |e| store_error("reading a stamp", e);
    let epoch: Option<i64> = row.get(first).map_err(failed)?;
    let Some(epoch) = epoch else { return Ok(Mark::default()) };
    let counter: i64 = row.get(first + 1).map_err(failed)?;
    let dirty: i64 = row.get(first + 2).map_err(failed)?;
    let parked: Option<String> = row.get(first + 3).map_err(failed)?;
    let parked = match parked {
        None => Document::new(),
        Some(text) => json::parse_document(text.as_bytes()).map_err(|e| {
            let what = format!("table {table:?}: its sidecar's parked fields are no JSON: {}", e.message);
            StoreError::new(StoreErrorKind::Corrupt, what)
        })?,
    };
    Ok(Mark { stamp: stamp_of(epoch, counter), dirty: dirty != 0, parked })
}

/// A stamp from its columns, which never hold negative numbers.
pub(super) fn stamp_of(epoch: i64, counter: i64) -> Stamp {
    Stamp::new(epoch.unsigned_abs(), counter.unsigned_abs())
}

/// A number of a stamp as SQLite's INTEGER.
pub(super) fn stored_number(n: u64) -> StoreResult<i64> {
    i64::try_from(n)
        .map_err(|_| StoreError::new(StoreErrorKind::Unsupported, "SQLite: an epoch or counter is above 2^63"))
}

/// The parked fields' cell.
pub(super) fn parked_to_cell(image: &Image) -> Cell {
    if image.parked.is_empty() { Cell::Null } else { Cell::text(json::document_to_string(&image.parked)) }
}

/// Sets what the sidecar holds for a key.
pub(super) fn set_mark(
    session: &Session,
    tables: &Tables,
    key: &[Cell],
    stamp: Stamp,
    dirty: Dirty,
    parked: &Cell,
) -> StoreResult<()> {
    let tail = [
        Cell::Int(stored_number(stamp.epoch)?),
        Cell::Int(stored_number(stamp.counter)?),
        Cell::Int(i64::from(dirty == Dirty::Yes)),
    ];
    let cells = key.iter().chain(&tail).chain(std::iter::once(parked));
    let mut statement = prepared(session, &tables.set_mark)?;
    statement.execute(params_from_iter(cells)).map_err(|e| store_error("setting a stamp", e))?;
    Ok(())
}

/// Whether a stamp has still to be confirmed by the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// Why a record was not written.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// A unique value is held by another record.
    Unique(StoreError),
    /// Anything else.
    Other(StoreError),
}

impl WriteFailure {
    /// The error.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            WriteFailure::Unique(error) | WriteFailure::Other(error) => error,
        }
    }
}

impl From<StoreError> for WriteFailure {
    fn from(error: StoreError) -> WriteFailure {
        WriteFailure::Other(error)
    }
}

fn write_failure(error: rusqlite::Error) -> WriteFailure {
    let unique = super::error::is_unique_violation(&error);
    let error = store_error("writing a record", error);
    if unique { WriteFailure::Unique(error) } else { WriteFailure::Other(error) }
}

/// Writes records that are not there, its statements prepared once.
pub(super) struct Inserter<'s> {
    root: CachedStatement<'s>,
    children: Vec<CachedStatement<'s>>,
}

impl<'s> Inserter<'s> {
    /// For a layout's tables.
    pub(super) fn prepare(session: &'s Session, tables: &Tables) -> StoreResult<Inserter<'s>> {
        let children = tables.children.iter().map(|child| prepared(session, &child.insert));
        Ok(Inserter { root: prepared(session, &tables.insert_new)?, children: children.collect::<StoreResult<_>>()? })
    }

    /// Writes one. `false`: its key is there already, and nothing was written.
    /// After an error some of it may be written.
    pub(super) fn insert(&mut self, tables: &Tables, raw: &RawRecord) -> Result<bool, WriteFailure> {
        let cells = raw.key.iter().chain(&raw.values);
        if self.root.execute(params_from_iter(cells)).map_err(write_failure)? == 0 {
            return Ok(false);
        }
        for ((child, statement), elements) in tables.tree.children.iter().zip(&mut self.children).zip(&raw.children) {
            insert_elements(statement, child, &raw.key, elements)?;
        }
        Ok(true)
    }
}

fn insert_elements(
    statement: &mut CachedStatement<'_>,
    child: &Child,
    key: &[Cell],
    elements: &[Element],
) -> Result<(), WriteFailure> {
    for element in elements {
        let parent = child.parent.map(|_| &element.parent_id);
        let head = key.iter().chain(std::iter::once(&element.id)).chain(parent);
        let cells = head.chain(std::iter::once(&element.position)).chain(&element.values);
        statement.execute(params_from_iter(cells)).map_err(write_failure)?;
    }
    Ok(())
}

fn insert_children(session: &Session, tables: &Tables, raw: &RawRecord) -> Result<(), WriteFailure> {
    let children = tables.tree.children.iter().zip(&tables.children).zip(&raw.children);
    for ((child, statements), elements) in children.filter(|(_, elements)| !elements.is_empty()) {
        insert_elements(&mut prepared(session, &statements.insert)?, child, &raw.key, elements)?;
    }
    Ok(())
}

/// Writes a whole record over what is there. After an error some of it may be written.
pub(super) fn replace(session: &Session, tables: &Tables, raw: &RawRecord) -> Result<(), WriteFailure> {
    delete_children(session, tables, &raw.key)?;
    let mut statement = prepared(session, &tables.upsert)?;
    statement.execute(params_from_iter(raw.key.iter().chain(&raw.values))).map_err(write_failure)?;
    insert_children(session, tables, raw)
}

/// Deletes a record; whether there was one.
pub(super) fn delete(session: &Session, tables: &Tables, key: &[Cell]) -> Result<bool, WriteFailure> {
    delete_children(session, tables, key)?;
    let mut statement = prepared(session, &tables.delete)?;
    Ok(statement.execute(params_from_iter(key)).map_err(write_failure)? > 0)
}

fn delete_children(session: &Session, tables: &Tables, key: &[Cell]) -> Result<(), WriteFailure> {
    for child in tables.children.iter().rev() {
        let mut statement = prepared(session, &child.delete)?;
        statement.execute(params_from_iter(key)).map_err(write_failure)?;
    }
    Ok(())
}
