//! How records and their marks are read and written, one or many at a time.

use std::collections::HashMap;

use mysql_async::Value as Wire;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fetched, Image};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Stamp};

use super::cell::Cell;
use super::error::{Failure, Tried, corrupt};
use super::session::{Session, bind, number_of};
use super::tables::{ChildTable, Marks, Tables, in_marks, mark_key_list};
use crate::relational::{Element, RawRecord};

/// Keys in one statement: beyond this MariaDB turns the list into a join with
/// a temporary table, which is slower (`in_predicate_conversion_threshold`).
pub(super) const KEYS_MAX: usize = 512;

/// Bound values in one statement at most, below the protocol's 65,535.
const BOUND_MAX: usize = 60_000;

/// Bytes in one statement at most: well below the smallest `max_allowed_packet`
/// in use, 16 MiB.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

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

/// A root row without its elements, and its mark.
pub(super) struct RootRow {
    /// The key's cells.
    pub(super) key: Vec<Cell>,
    /// The other cells.
    pub(super) values: Vec<Cell>,
    /// The mark, or why it cannot be read.
    pub(super) mark: StoreResult<Mark>,
}

/// Splits a row of root columns and mark.
pub(super) fn root_row(tables: &Tables, mut row: Vec<Cell>) -> RootRow {
    let mark = mark_of(&row[tables.root_width()..], &tables.name);
    row.truncate(tables.root_width());
    let values = row.split_off(tables.key.len());
    RootRow { key: row, values, mark }
}

/// The mark of four cells: `epoch, counter, dirty, parked`.
pub(super) fn mark_of(cells: &[Cell], table: &str) -> StoreResult<Mark> {
    let Some(epoch) = cells.first().and_then(number_of) else { return Ok(Mark::default()) };
    let number = |at: usize| cells.get(at).and_then(number_of).unwrap_or(0);
    let parked = match cells.get(3) {
        Some(Cell::Bytes(text)) => json::parse_document(text).map_err(|e| {
            let what = format!("table {table:?}: its sidecar's parked fields are no JSON: {}", e.message);
            StoreError::new(StoreErrorKind::Corrupt, what)
        })?,
        _ => Document::new(),
    };
    Ok(Mark { stamp: Stamp::new(epoch, number(1)), dirty: number(2) != 0, parked })
}

/// The parked fields' cell.
pub(super) fn parked_to_cell(image: &Image) -> Cell {
    if image.parked.is_empty() { Cell::Null } else { Cell::text(json::document_to_string(&image.parked)) }
}

/// What a read answers.
pub(super) fn fetched(
    tables: &Tables,
    key: Key,
    raw: Option<RawRecord<Cell>>,
    mark: Mark,
    marks: Marks,
) -> StoreResult<Fetched> {
    let image = match raw {
        Some(raw) => Some(Image { record: tables.tree.record_of(tables, &key, &raw)?, parked: mark.parked }),
        None => None,
    };
    let installed = marks == Marks::Joined;
    Ok(Fetched { key, image, stamp: installed.then_some(mark.stamp), dirty: installed && mark.dirty })
}

/// The size to which a list of keys is filled up, so that few statements are prepared.
pub(super) fn rounded(keys: usize) -> usize {
    keys.max(1).next_power_of_two()
}

/// The cells of keys for a statement over [`rounded`] keys: the last key again and again.
pub(super) fn bind_keys(keys: &[&[Cell]]) -> Vec<Wire> {
    let last = keys.last().into_iter().cycle();
    let filled = keys.iter().chain(last).take(if keys.is_empty() { 0 } else { rounded(keys.len()) });
    filled.flat_map(|key| bind(*key)).collect()
}

/// Elements of records by the record's key.
pub(super) type ElementsByKey = HashMap<Vec<Cell>, Vec<Element<Cell>>>;

/// The elements of one child table for some keys, at most [`KEYS_MAX`].
async fn elements_of(session: &mut Session, child: &ChildTable, keys: &[&[Cell]], lock: Lock) -> Tried<ElementsByKey> {
    let sql = format!("{}{}", child.select(rounded(keys.len())), lock.clause());
    let parts = child.record_key.len();
    let mut found = ElementsByKey::new();
    session
        .each("reading elements", &sql, bind_keys(keys), &mut |mut row| {
            let values = row.split_off(parts + 3);
            let mut rest = row.split_off(parts).into_iter();
            let mut next = || rest.next().unwrap_or(Cell::Null);
            let element = Element { id: next(), parent_id: next(), position: next(), values };
            found.entry(row).or_default().push(element);
            Ok(())
        })
        .await?;
    let place = |element: &Element<Cell>| match (&element.position, &element.id) {
        (Cell::Int(n), Cell::Bytes(id)) => (*n, id.clone()),
        (Cell::Int(n), _) => (*n, Vec::new()),
        _ => (i64::MAX, Vec::new()),
    };
    found.values_mut().for_each(|elements| elements.sort_by_key(place));
    Ok(found)
}

/// Whether what is read stays as it is until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// It may change; one snapshot is read.
    None,
    /// It stays.
    Held,
}

impl Lock {
    /// The end of a `SELECT`.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Lock::None => "",
            Lock::Held => " FOR UPDATE",
        }
    }
}

/// Reads the elements of records, which are given by their keys: one list for
/// each child table, in the order of the keys.
pub(super) async fn read_children(
    session: &mut Session,
    tables: &Tables,
    keys: &[Vec<Cell>],
    lock: Lock,
) -> Tried<Vec<Vec<Vec<Element<Cell>>>>> {
    let mut all: Vec<Vec<Vec<Element<Cell>>>> = vec![Vec::with_capacity(tables.children.len()); keys.len()];
    for child in &tables.children {
        for (chunk, out) in keys.chunks(KEYS_MAX).zip(all.chunks_mut(KEYS_MAX)) {
            let asked: Vec<&[Cell]> = chunk.iter().map(Vec::as_slice).collect();
            let mut found = elements_of(session, child, &asked, lock).await?;
            for (key, record) in chunk.iter().zip(out) {
                record.push(found.remove(key).unwrap_or_default());
            }
            if !found.is_empty() {
                let what = "the server takes its key for that of a record, but it is written in another way";
                let column = child.record_key.first().map_or("", |c| c.name.as_str());
                return Err(corrupt(&child.child.shape.table, column, what).into());
            }
        }
    }
    Ok(all)
}

/// Joins root rows with their elements.
pub(super) async fn with_children(
    session: &mut Session,
    tables: &Tables,
    roots: Vec<(Vec<Cell>, Vec<Cell>)>,
    lock: Lock,
) -> Tried<Vec<RawRecord<Cell>>> {
    let (keys, values): (Vec<_>, Vec<_>) = roots.into_iter().unzip();
    let children = read_children(session, tables, &keys, lock).await?;
    let parts = keys.into_iter().zip(values).zip(children);
    Ok(parts.map(|((key, values), children)| RawRecord { key, values, children }).collect())
}

/// Reads what the sidecar holds for keys; keys without a mark are left out.
pub(super) async fn read_marks(
    session: &mut Session,
    tables: &Tables,
    keys: &[&[Cell]],
    lock: Lock,
) -> Tried<HashMap<Vec<Cell>, Mark>> {
    let parts = tables.key.len();
    let mut found = HashMap::new();
    for chunk in keys.chunks(KEYS_MAX) {
        let sql = format!(
            "SELECT {}, epoch, counter, dirty, parked FROM {} WHERE {}{}",
            mark_key_list(parts),
            tables.own.marks,
            in_marks(parts, rounded(chunk.len())),
            lock.clause()
        );
        session
            .each("reading stamps", &sql, bind_keys(chunk), &mut |mut row| {
                let mark = mark_of(&row[parts..], &tables.name)?;
                row.truncate(parts);
                found.insert(row, mark);
                Ok(())
            })
            .await?;
    }
    Ok(found)
}

/// Rows to insert: `head` and groups of places, in statements whose number of
/// rows is a power of two, so that few are prepared. `tail` ends each.
pub(super) struct Rows<'a> {
    /// `INSERT INTO … VALUES `.
    pub(super) head: &'a str,
    /// One row's places, for example `(?, ?)`.
    pub(super) row: String,
    /// What follows the rows.
    pub(super) tail: &'a str,
    /// Bound values of each row.
    pub(super) width: usize,
}

impl Rows<'_> {
    /// Inserts all; stops at the first failure.
    pub(super) async fn insert(&self, session: &mut Session, doing: &str, rows: &[Vec<&Cell>]) -> Tried<()> {
        let rows_max = (BOUND_MAX / self.width.max(1)).max(1);
        let mut rest = rows;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest
                .iter()
                .take(rows_max)
                .take_while(|row| {
                    bytes += row.iter().map(|cell| cell.len()).sum::<usize>();
                    bytes <= STATEMENT_BYTES_MAX
                })
                .count()
                .max(1);
            // The greatest power of two that fits.
            let count = 1 << fits.ilog2();
            let (now, later) = rest.split_at(count);
            let sql = format!("{}{}{}", self.head, vec![self.row.as_str(); count].join(", "), self.tail);
            session.run_strictly(doing, &sql, now.iter().flat_map(|row| bind(row.iter().copied())).collect()).await?;
            rest = later;
        }
        Ok(())
    }
}

/// `(?, ?, …)`.
pub(super) fn row_places(width: usize) -> String {
    format!("({})", super::names::places(width))
}

/// Inserts the root rows of records, which must not be there.
pub(super) async fn insert_roots(session: &mut Session, tables: &Tables, records: &[&RawRecord<Cell>]) -> Tried<()> {
    let head = tables.insert_root();
    let width = tables.root_width();
    let rows: Vec<Vec<&Cell>> = records.iter().map(|raw| raw.key.iter().chain(&raw.values).collect()).collect();
    let insert = Rows { head: &head, row: row_places(width), tail: "", width };
    insert.insert(session, "writing records", &rows).await.map_err(|failure| named(tables, failure))
}

/// Inserts the elements of records, which must not be there.
pub(super) async fn insert_children(session: &mut Session, tables: &Tables, records: &[&RawRecord<Cell>]) -> Tried<()> {
    for (at, child) in tables.children.iter().enumerate() {
        let mut rows: Vec<Vec<&Cell>> = Vec::new();
        for raw in records {
            for element in raw.children.get(at).into_iter().flatten() {
                let head = raw.key.iter().chain(std::iter::once(&element.id));
                let parent = child.child.parent.map(|_| &element.parent_id);
                rows.push(
                    head.chain(parent).chain(std::iter::once(&element.position)).chain(&element.values).collect(),
                );
            }
        }
        let insert = Rows { head: &child.insert, row: row_places(child.width), tail: "", width: child.width };
        insert.insert(session, "writing elements", &rows).await?;
    }
    Ok(())
}

/// Deletes the elements of records.
pub(super) async fn delete_children(session: &mut Session, tables: &Tables, keys: &[&[Cell]]) -> Tried<()> {
    for child in tables.children.iter().rev() {
        for chunk in keys.chunks(KEYS_MAX) {
            let sql = child.delete(rounded(chunk.len()));
            session.run("deleting elements", &sql, bind_keys(chunk)).await?;
        }
    }
    Ok(())
}

/// Deletes root rows.
pub(super) async fn delete_roots(session: &mut Session, tables: &Tables, keys: &[&[Cell]]) -> Tried<()> {
    for chunk in keys.chunks(KEYS_MAX) {
        let sql = tables.delete_root(rounded(chunk.len()));
        session.run("deleting records", &sql, bind_keys(chunk)).await?;
    }
    Ok(())
}

/// Changes the other columns of one root row that is there.
pub(super) async fn update_root(session: &mut Session, tables: &Tables, raw: &RawRecord<Cell>) -> Tried<()> {
    let Some(sql) = tables.update_root() else { return Ok(()) };
    let bound = bind(raw.values.iter().chain(&raw.key));
    session.run_strictly("writing a record", &sql, bound).await.map(|_| ()).map_err(|failure| named(tables, failure))
}

/// Names the columns of the unique index that a refusal names.
pub(super) fn named(tables: &Tables, mut failure: Failure) -> Failure {
    if failure.is_duplicate()
        && let StoreErrorKind::Refused { field: Some(index) } = &failure.error.kind
    {
        let field = tables.field_of(index);
        failure.error.message = format!("table {:?}, field {field:?}: another record holds this value", tables.name);
        failure.error.kind = StoreErrorKind::Refused { field: Some(field) };
    }
    failure
}
