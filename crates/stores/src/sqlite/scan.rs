//! Reading by key, scanning by cursor, splitting into ranges.

use async_trait::async_trait;
use rusqlite::params_from_iter;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{
    Among, BadRow, Chunk, ChunkMax, Cursor, Estimate, Fetched, Image, KeyChunk, ListPlan, Reader, ScanRange,
};

use super::Sqlite;
use super::cell::{Cell, cells_from_text, cells_to_text};
use super::error::store_error;
use super::facts::Sidecar;
use super::record::{self, ElementReader, Mark, RawRecord, cells_of, mark_of, prepared};
use super::session::{Session, run};
use super::tables::{Tables, list, places, quoted};
use super::value::Cells;
use crate::relational::corrupt;

/// Keys of one `fetch_many` that are read on the calling task: so few take
/// less time than handing them to another thread.
const FETCH_INLINE_MAX: usize = 32;

/// Ranges that a split makes at most: a few for each core is all that helps.
const SPLIT_PARTS_MAX: usize = 1_024;

pub(super) fn fetched(
    tables: &Tables,
    key: Key,
    raw: Option<RawRecord>,
    mark: Mark,
    sidecar: Sidecar,
) -> StoreResult<Fetched> {
    let image = match raw {
        Some(raw) => Some(Image { record: tables.record_of(&key, &raw)?, parked: mark.parked }),
        None => None,
    };
    let installed = sidecar == Sidecar::Installed;
    Ok(Fetched { key, image, stamp: installed.then_some(mark.stamp), dirty: installed && mark.dirty })
}

/// One record with its stamp, inside a snapshot.
pub(super) fn fetch(session: &Session, tables: &Tables, sidecar: Sidecar, key: &Key) -> StoreResult<Fetched> {
    let cells = match tables.key_to_cells(key) {
        Ok(cells) => cells,
        // A key that this table cannot hold is a key without a record.
        Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => {
            return fetched(tables, key.clone(), None, Mark::default(), sidecar);
        }
        Err(error) => return Err(error),
    };
    let raw = record::read(session, tables, &cells)?;
    let mark = match sidecar {
        Sidecar::Installed => record::read_mark(session, tables, &cells)?,
        Sidecar::Absent => Mark::default(),
    };
    fetched(tables, key.clone(), raw, mark, sidecar)
}

/// One record in the fewest statements where there is no sidecar: a single one
/// is a snapshot by itself, and SQLite tells whether it ran on the schema that
/// this connection knows. `None` when it did not, when there is no such record
/// or a sidecar, and after any error: then it takes [`fetch`] to say. (With a
/// sidecar a joined statement was measured to be compiled anew at every read.)
fn fetch_quickly(session: &Session, tables: &Tables, key: &Key) -> Option<Fetched> {
    if session.sidecar_seen()? == Sidecar::Installed {
        return None;
    }
    let cells = tables.key_to_cells(key).ok()?;
    if tables.children.is_empty() {
        return fetch_plain(session, tables, key, &cells);
    }
    run(&session.conn, "BEGIN").ok()?;
    let found = fetch_plain(session, tables, key, &cells);
    run(&session.conn, "ROLLBACK").ok()?;
    found
}

fn fetch_plain(session: &Session, tables: &Tables, key: &Key, cells: &[Cell]) -> Option<Fetched> {
    let mut statement = prepared(session, &tables.select).ok()?;
    let mut rows = statement.query(params_from_iter(cells)).ok()?;
    let key_parts = cells.len();
    let found = match rows.next().ok()? {
        // Found only by the column's affinity or collation is another key.
        Some(row) if cells_of(row, 0, key_parts).ok()? == cells => {
            Some(cells_of(row, key_parts, tables.tree.values.len()).ok()?)
        }
        Some(_) | None => None,
    };
    drop(rows);
    if session.saw_new_schema(&statement) {
        return None;
    }
    let values = found?;
    let children =
        if tables.children.is_empty() { Vec::new() } else { record::read_children(session, tables, cells).ok()? };
    let raw = RawRecord { key: cells.to_vec(), values, children };
    fetched(tables, key.clone(), Some(raw), Mark::default(), Sidecar::Absent).ok()
}

/// A row that was read: where it is, its size in bytes, and what it says.
struct Scanned {
    key: Vec<Cell>,
    bytes: usize,
    record: Result<Fetched, BadRow>,
}

/// A row of [`Tables::select_with_marks`] with its elements.
fn scanned(
    elements: &mut ElementReader<'_>,
    tables: &Tables,
    sidecar: Sidecar,
    row: &rusqlite::Row<'_>,
) -> StoreResult<Scanned> {
    let failed = |e| store_error("scanning", e);
    let key_cells = cells_of(row, 0, tables.tree.key.len()).map_err(failed)?;
    let values = cells_of(row, tables.tree.key.len(), tables.tree.values.len()).map_err(failed)?;
    let mark = mark_of(row, tables.tree.key.len() + tables.tree.values.len(), &tables.name);
    let children = elements.read(tables, &key_cells)?;
    let raw = RawRecord { key: key_cells.clone(), values, children };
    let bytes = raw.size(&Cells);
    let key = match tables.key_from_cells(&key_cells) {
        Ok(key) => key,
        Err(error) => return Ok(Scanned { key: key_cells, bytes, record: Err(BadRow { key: None, error }) }),
    };
    let read = mark.and_then(|mark| fetched(tables, key.clone(), Some(raw), mark, sidecar));
    let record = read.map_err(|error| BadRow { key: Some(key), error });
    Ok(Scanned { key: key_cells, bytes, record })
}

fn bad_position(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("SQLite: the {what} was not made by this connector"))
}

fn position(text: &str, parts: usize, what: &str) -> StoreResult<Vec<Cell>> {
    cells_from_text(text).filter(|cells| cells.len() == parts).ok_or_else(|| bad_position(what))
}

/// The next rows `r` of a range, as a clause with its parameters.
pub(super) struct Window {
    pub(super) clause: String,
    pub(super) bound: Vec<Cell>,
    pub(super) from_the_beginning: bool,
}

impl Window {
    pub(super) fn of(tables: &Tables, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Window> {
        let parts = tables.tree.key.len();
        let above = match (after, &range.low) {
            (Some(cursor), _) => Some(position(&cursor.0, parts, "cursor")?),
            (None, Some(low)) => Some(position(low, parts, "range")?),
            (None, None) => None,
        };
        let upto = range.high.as_deref().map(|high| position(high, parts, "range")).transpose()?;
        let from_the_beginning = above.is_none();
        let key = tables.key_of_r();
        let not_null = |k: &String| format!("r.{} IS NOT NULL", quoted(k));
        let mut conditions: Vec<String> = tables.tree.key.iter().map(not_null).collect();
        let mut bound: Vec<Cell> = Vec::new();
        for (cells, sign) in [(above, ">"), (upto, "<=")] {
            if let Some(cells) = cells {
                conditions.push(format!("({key}) {sign} ({})", places(bound.len() + 1, parts)));
                bound.extend(cells);
            }
        }
        bound.push(Cell::Int(i64::try_from(max.records.max(1)).unwrap_or(i64::MAX)));
        let clause = format!(" WHERE {} ORDER BY {key} LIMIT ?{}", conditions.join(" AND "), bound.len());
        Ok(Window { clause, bound, from_the_beginning })
    }
}

/// The next records of a range. A range's low end is the last key of the range
/// before it and not part of it, so that no key falls between two ranges.
fn scan(
    session: &Session,
    tables: &Tables,
    sidecar: Sidecar,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> StoreResult<Chunk> {
    let failed = |e| store_error("scanning", e);
    let window = Window::of(tables, range, after, max)?;
    let mut chunk = Chunk { records: Vec::new(), next: None, bytes: 0 };
    if window.from_the_beginning {
        chunk.records.extend(null_keys(session, tables)?.map(Err));
    }
    let sql = format!("{}{}", tables.select_with_marks(sidecar), window.clause);
    let mut statement = prepared(session, &sql)?;
    let mut rows = statement.query(params_from_iter(&window.bound)).map_err(failed)?;
    let mut elements = ElementReader::prepare(session, tables)?;
    let mut read = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let Scanned { key, bytes, record } = scanned(&mut elements, tables, sidecar, row)?;
        read += 1;
        chunk.records.push(record);
        chunk.bytes += bytes;
        if read >= max.records.max(1) || chunk.bytes >= max.bytes {
            chunk.next = Some(Cursor(cells_to_text(&key)));
            break;
        }
    }
    Ok(chunk)
}

/// Rows without a key are no records, and are told rather than left out.
pub(super) fn null_keys(session: &Session, tables: &Tables) -> StoreResult<Option<BadRow>> {
    let conditions: Vec<String> = tables.tree.key.iter().map(|k| format!("{} IS NULL", quoted(k))).collect();
    let sql = format!("SELECT count(*) FROM {} WHERE {}", quoted(&tables.name), conditions.join(" OR "));
    let count: i64 = prepared(session, &sql)?
        .query_row([], |row| row.get(0))
        .map_err(|e| store_error("looking for rows without a key", e))?;
    Ok((count > 0).then(|| {
        let what = format!("{count} rows have a NULL key");
        BadRow { key: None, error: corrupt(&tables.name, &tables.tree.key.join(", "), what) }
    }))
}

/// The next keys of a range.
fn scan_keys(
    session: &Session,
    tables: &Tables,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> StoreResult<KeyChunk> {
    let failed = |e| store_error("scanning keys", e);
    let window = Window::of(tables, range, after, max)?;
    let mut chunk = KeyChunk { keys: Vec::new(), next: None };
    if window.from_the_beginning {
        chunk.keys.extend(null_keys(session, tables)?.map(Err));
    }
    let sql = format!("SELECT {} FROM {} r{}", tables.key_of_r(), quoted(&tables.name), window.clause);
    let mut statement = prepared(session, &sql)?;
    let mut rows = statement.query(params_from_iter(&window.bound)).map_err(failed)?;
    let mut read = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let cells = cells_of(row, 0, tables.tree.key.len()).map_err(failed)?;
        chunk.keys.push(tables.key_from_cells(&cells).map_err(|error| BadRow { key: None, error }));
        read += 1;
        if read >= max.records.max(1) {
            chunk.next = Some(Cursor(cells_to_text(&cells)));
            break;
        }
    }
    Ok(chunk)
}

/// Whether there is a row under exactly this key.
fn is_present(session: &Session, tables: &Tables, key: &Key) -> StoreResult<bool> {
    let failed = |e| store_error("looking for a record", e);
    let cells = match tables.key_to_cells(key) {
        Ok(cells) => cells,
        // A key that this table cannot hold is a key without a record.
        Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut statement = prepared(session, &tables.select_key)?;
    let mut rows = statement.query(params_from_iter(&cells)).map_err(failed)?;
    match rows.next().map_err(failed)? {
        // Found only by the column's affinity or collation is another key.
        Some(row) => Ok(cells_of(row, 0, cells.len()).map_err(failed)? == cells),
        None => Ok(false),
    }
}

/// Ranges between quantiles of the key, found by stepping along the key's
/// index without keeping its keys.
fn split(session: &Session, tables: &Tables, parts: usize) -> StoreResult<Vec<ScanRange>> {
    let failed = |e| store_error("splitting the key space", e);
    let parts = parts.clamp(1, SPLIT_PARTS_MAX);
    let total = count(session, tables)?;
    let step = total.div_ceil(parts as u64).max(1);
    let (table, key) = (quoted(&tables.name), list(&tables.tree.key));
    let not_null: Vec<String> = tables.tree.key.iter().map(|k| format!("{} IS NOT NULL", quoted(k))).collect();
    let not_null = not_null.join(" AND ");
    let count_of_key = tables.tree.key.len();
    let first = format!("SELECT {key} FROM {table} WHERE {not_null} ORDER BY {key} LIMIT 1 OFFSET ?1");
    let next = format!(
        "SELECT {key} FROM {table} WHERE {not_null} AND ({key}) > ({}) ORDER BY {key} LIMIT 1 OFFSET ?{}",
        places(1, count_of_key),
        count_of_key + 1
    );
    let mut ranges: Vec<ScanRange> = Vec::new();
    let mut low: Option<Vec<Cell>> = None;
    let offset = Cell::Int(i64::try_from(step - 1).unwrap_or(i64::MAX));
    while ranges.len() + 1 < parts {
        let mut statement = prepared(session, if low.is_some() { &next } else { &first })?;
        let bound = low.iter().flatten().chain(std::iter::once(&offset));
        let mut rows = statement.query(params_from_iter(bound)).map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else { break };
        let high = cells_of(row, 0, count_of_key).map_err(failed)?;
        ranges.push(range(ranges.len(), low.as_deref(), Some(&high)));
        low = Some(high);
    }
    ranges.push(range(ranges.len(), low.as_deref(), None));
    Ok(ranges)
}

fn range(at: usize, low: Option<&[Cell]>, high: Option<&[Cell]>) -> ScanRange {
    ScanRange { id: u32::try_from(at).unwrap_or(u32::MAX), low: low.map(cells_to_text), high: high.map(cells_to_text) }
}

fn count(session: &Session, tables: &Tables) -> StoreResult<u64> {
    prepared(session, &format!("SELECT count(*) FROM {}", quoted(&tables.name)))?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
        .map_err(|e| store_error("counting records", e))
}

fn estimate(session: &Session, tables: &Tables) -> StoreResult<Estimate> {
    let failed = |e| store_error("measuring the file", e);
    let pages: i64 = session.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(failed)?;
    let page: i64 = session.conn.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)?;
    let bytes = pages.unsigned_abs().saturating_mul(page.unsigned_abs());
    Ok(Estimate { records: count(session, tables)?, exact: true, bytes })
}

#[async_trait]
impl Reader for Sqlite {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        self.readers.lend(|session| match fetch_quickly(session, &self.tables, key) {
            Some(found) => Ok(found),
            None => session.snapshot(&self.tables, |session, sidecar| fetch(session, &self.tables, sidecar, key)),
        })
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        let all = |session: &Session, tables: &Tables, sidecar, keys: &[Key]| {
            keys.iter().map(|key| fetch(session, tables, sidecar, key)).collect::<StoreResult<Vec<_>>>()
        };
        if keys.len() <= FETCH_INLINE_MAX {
            return self.readers.snapshot(&self.tables, |session, sidecar| all(session, &self.tables, sidecar, keys));
        }
        let keys = keys.to_vec();
        self.blocking_read(move |session, tables| all(session, tables, session.facts(tables)?.sidecar, &keys)).await
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        self.blocking_read(move |session, tables| split(session, tables, parts)).await
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        let (range, after) = (range.clone(), after.cloned());
        self.blocking_read(move |session, tables| {
            scan(session, tables, session.facts(tables)?.sidecar, &range, after.as_ref(), max)
        })
        .await
    }

    async fn scan_keys(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<KeyChunk> {
        let (range, after) = (range.clone(), after.cloned());
        self.blocking_read(move |session, tables| scan_keys(session, tables, &range, after.as_ref(), max)).await
    }

    async fn present(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        let keys = keys.to_vec();
        self.blocking_read(move |session, tables| keys.iter().map(|key| is_present(session, tables, key)).collect())
            .await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.blocking_read(estimate).await
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        let query = query.clone();
        self.blocking_read(move |session, tables| {
            super::list::list(session, tables, session.facts(tables)?.sidecar, &query)
        })
        .await
    }

    async fn list_parked(&self, query: &ListQuery) -> StoreResult<ListPage> {
        let query = query.clone();
        self.blocking_read(move |session, tables| super::parked::list(session, tables, &query)).await
    }

    async fn explain(&self, query: &ListQuery, among: Among) -> StoreResult<Option<ListPlan>> {
        let query = query.clone();
        self.blocking_read(move |session, tables| super::parked::explain(session, tables, &query, among).map(Some))
            .await
    }
}
