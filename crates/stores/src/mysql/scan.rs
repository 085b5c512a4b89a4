//! Reading by key, scanning by cursor, splitting into ranges.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use mysql_async::Value as Wire;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{Among, BadRow, Chunk, ChunkMax, Cursor, Estimate, Fetched, ListPlan, Reader, ScanRange};

use super::cell::{Cell, cells_from_text, cells_to_text};
use super::error::{Tried, corrupt};
use super::names::quoted;
use super::record::{KEYS_MAX, Lock, Mark, RootRow, bind_keys, fetched, read_marks, root_row, rounded, with_children};
use super::session::{Session, bind, number_of};
use super::tables::{Marks, Tables, in_keys};
use super::{Inner, MySql, Reads, reading};
use crate::relational::RawRecord;

/// Ranges that a split makes at most: a few for each core is all that helps.
const SPLIT_PARTS_MAX: usize = 1_024;

/// Up to this many rows a split counts exactly; a larger table is split by the
/// server's estimate, which saves one pass over it.
const EXACT_COUNT_MAX: u64 = 1_000_000;

/// Rows asked for first when nothing is known about how large they are.
const FIRST_ROWS: usize = 128;

/// The cells of a key; `None`: this table cannot hold such a key, so it has no record.
fn cells_of(tables: &Tables, key: &Key) -> StoreResult<Option<Vec<Cell>>> {
    match tables.tree.key_to_cells(tables, key) {
        Ok(cells) => Ok(Some(cells)),
        Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One record with its stamp.
async fn fetch(session: &mut Session, tables: &Tables, marks: Marks, key: &Key) -> Tried<Fetched> {
    let Some(cells) = cells_of(tables, key)? else {
        return Ok(fetched(tables, key.clone(), None, Mark::default(), marks)?);
    };
    let twice = match marks {
        Marks::Joined => bind(cells.iter().chain(&cells)),
        Marks::Absent => bind(&cells),
    };
    let mut rows = session.rows("reading a record", &tables.select_one(marks), twice).await?;
    let Some(row) = rows.pop() else { return Ok(fetched(tables, key.clone(), None, Mark::default(), marks)?) };
    let RootRow { key: found, values, mark } = root_row(tables, row);
    // What the server only takes for equal is another key.
    let raw = match found == cells {
        false => None,
        true => with_children(session, tables, vec![(found, values)], Lock::None).await?.pop(),
    };
    Ok(fetched(tables, key.clone(), raw, mark?, marks)?)
}

/// Many records, in the order asked.
pub(super) async fn fetch_many(
    session: &mut Session,
    tables: &Tables,
    marks: Marks,
    keys: &[Key],
) -> Tried<Vec<Fetched>> {
    let asked = keys.iter().map(|key| cells_of(tables, key)).collect::<StoreResult<Vec<_>>>()?;
    let mut distinct: Vec<&[Cell]> = asked.iter().flatten().map(Vec::as_slice).collect();
    let mut seen = std::collections::HashSet::new();
    distinct.retain(|key| seen.insert(*key));
    let mut found = std::collections::HashMap::new();
    for chunk in distinct.chunks(KEYS_MAX) {
        let condition = in_keys("r.", &tables.key, rounded(chunk.len()));
        let sql = format!("{} WHERE {condition}", tables.select_with_marks(marks));
        let rows = session.rows("reading records", &sql, bind_keys(chunk)).await?;
        let rows: Vec<RootRow> = rows.into_iter().map(|row| root_row(tables, row)).collect();
        let (roots, found_marks): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|row| ((row.key, row.values), row.mark)).unzip();
        for (raw, mark) in with_children(session, tables, roots, Lock::None).await?.into_iter().zip(found_marks) {
            found.insert(raw.key.clone(), (raw, mark?));
        }
    }
    let absent: Vec<&[Cell]> = distinct.iter().filter(|key| !found.contains_key(**key)).copied().collect();
    let tombstones = match marks {
        Marks::Joined => read_marks(session, tables, &absent, Lock::None).await?,
        Marks::Absent => std::collections::HashMap::new(),
    };
    let mut out = Vec::with_capacity(keys.len());
    for (key, cells) in keys.iter().zip(&asked) {
        let (raw, mark) = match cells {
            None => (None, Mark::default()),
            Some(cells) => match found.get(cells) {
                Some((raw, mark)) => (Some(raw.clone()), mark.clone()),
                None => (None, tombstones.get(cells).cloned().unwrap_or_default()),
            },
        };
        out.push(fetched(tables, key.clone(), raw, mark, marks)?);
    }
    Ok(out)
}

fn bad_position(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("MySQL: the {what} was not made by this connector"))
}

fn position(text: &str, parts: usize, what: &str) -> StoreResult<Vec<Cell>> {
    cells_from_text(text).filter(|cells| cells.len() == parts).ok_or_else(|| bad_position(what))
}

/// What compares a key with a place, so that the key's index is used: the
/// first part alone bounds the range, the rest decides within it.
pub(super) fn beyond(tables: &Tables, sign: Beyond, place: &[Cell]) -> (String, Vec<Wire>) {
    let (strict, inclusive, last) = match sign {
        Beyond::Above => (">", ">=", ">"),
        Beyond::Below => ("<", "<=", "<"),
        Beyond::UpTo => ("<", "<=", "<="),
    };
    let names: Vec<String> = tables.key.iter().map(|k| format!("r.{}", quoted(&k.name))).collect();
    let places: Vec<String> = (0..names.len()).map(|at| super::tables::place(&tables.key[at])).collect();
    let mut condition = format!("{} {last} {}", names[names.len() - 1], places[names.len() - 1]);
    let mut bound = bind([&place[names.len() - 1]]);
    for at in (0..names.len() - 1).rev() {
        let (name, here) = (&names[at], &places[at]);
        condition = format!("{name} {inclusive} {here} AND ({name} {strict} {here} OR ({condition}))");
        let mut before = bind([&place[at], &place[at]]);
        before.append(&mut bound);
        bound = before;
    }
    (condition, bound)
}

/// On which side of a place.
#[derive(Clone, Copy)]
pub(super) enum Beyond {
    /// After it.
    Above,
    /// Before it.
    Below,
    /// Before it or at it.
    UpTo,
}

/// The next records of a range. A range's low end is the last key of the range
/// before it and not part of it, so that no key falls between two ranges.
struct Scan<'a> {
    tables: &'a Tables,
    marks: Marks,
    upto: Option<Vec<Cell>>,
    max: ChunkMax,
}

impl Scan<'_> {
    /// Reads until a bound is met. Rows are asked for in growing groups, so
    /// that large rows are not read in vain.
    async fn run(
        &self,
        session: &mut Session,
        mut above: Option<Vec<Cell>>,
        row_bytes: &std::sync::atomic::AtomicUsize,
    ) -> Tried<Chunk> {
        let mut chunk = Chunk { records: Vec::new(), next: None, bytes: 0 };
        if above.is_none() {
            chunk.records.extend(null_keys(session, self.tables).await?);
        }
        let (mut read, mut asked) = (0, 0);
        loop {
            let left = self.max.records.max(1) - read;
            let fits = match row_bytes.load(Ordering::Relaxed) {
                0 => FIRST_ROWS,
                bytes => (self.max.bytes.saturating_sub(chunk.bytes) / bytes).saturating_add(1),
            };
            // At least as many as the last time: a wrong guess is made up for soon.
            let rows = fits.max(asked * 2).clamp(1, left);
            asked = rows;
            let group = self.group(session, above.as_deref(), rows).await?;
            let finished = group.len() < rows;
            for (key, bytes, record) in group {
                let before = row_bytes.load(Ordering::Relaxed);
                let mean = if before == 0 { bytes } else { (before * 15 + bytes) / 16 };
                row_bytes.store(mean.max(1), Ordering::Relaxed);
                read += 1;
                chunk.bytes += bytes;
                chunk.records.push(record);
                if read >= self.max.records.max(1) || chunk.bytes >= self.max.bytes {
                    chunk.next = Some(Cursor(cells_to_text(&key)));
                    return Ok(chunk);
                }
                above = Some(key);
            }
            if finished {
                return Ok(chunk);
            }
        }
    }

    async fn group(
        &self,
        session: &mut Session,
        above: Option<&[Cell]>,
        rows: usize,
    ) -> Tried<Vec<(Vec<Cell>, usize, Result<Fetched, BadRow>)>> {
        let tables = self.tables;
        let mut conditions: Vec<String> =
            tables.key.iter().filter(|k| k.nullable).map(|k| format!("r.{} IS NOT NULL", quoted(&k.name))).collect();
        let mut bound = Vec::new();
        for (sign, place) in [(Beyond::Above, above), (Beyond::UpTo, self.upto.as_deref())] {
            if let Some(place) = place {
                let (condition, mut more) = beyond(tables, sign, place);
                conditions.push(format!("({condition})"));
                bound.append(&mut more);
            }
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let select = tables.select_with_marks(self.marks);
        let sql = format!("{select}{filter} ORDER BY {} LIMIT ?", tables.key_of_r());
        bound.push(Wire::UInt(rows as u64));
        let found = session.rows("scanning", &sql, bound).await?;
        let found: Vec<RootRow> = found.into_iter().map(|row| root_row(tables, row)).collect();
        let (roots, marks): (Vec<_>, Vec<_>) = found.into_iter().map(|row| ((row.key, row.values), row.mark)).unzip();
        let raws = with_children(session, tables, roots, Lock::None).await?;
        Ok(raws.into_iter().zip(marks).map(|(raw, mark)| self.record(raw, mark)).collect())
    }

    fn record(&self, raw: RawRecord<Cell>, mark: StoreResult<Mark>) -> (Vec<Cell>, usize, Result<Fetched, BadRow>) {
        let tables = self.tables;
        let (cells, bytes) = (raw.key.clone(), raw.size(tables));
        let key = match tables.tree.key_from_cells(tables, &cells) {
            Ok(key) => key,
            Err(error) => return (cells, bytes, Err(BadRow { key: None, error })),
        };
        let read = mark.and_then(|mark| fetched(tables, key.clone(), Some(raw), mark, self.marks));
        (cells, bytes, read.map_err(|error| BadRow { key: Some(key), error }))
    }
}

/// Rows without a key are no records, and are told rather than left out.
async fn null_keys(session: &mut Session, tables: &Tables) -> Tried<Option<Result<Fetched, BadRow>>> {
    let nullable = tables.key.iter().filter(|k| k.nullable);
    let conditions: Vec<String> = nullable.map(|k| format!("{} IS NULL", quoted(&k.name))).collect();
    if conditions.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT COUNT(*) FROM {} WHERE {}", quoted(&tables.name), conditions.join(" OR "));
    let rows = session.rows("looking for rows without a key", &sql, Vec::new()).await?;
    let count = rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0);
    Ok((count > 0).then(|| {
        let what = format!("{count} rows have a NULL key");
        Err(BadRow { key: None, error: corrupt(&tables.name, &tables.tree.key.join(", "), what) })
    }))
}

/// Ranges between quantiles of the key, found by stepping along the key's
/// index, whatever its type and however its values are spread.
async fn split(session: &mut Session, tables: &Tables, parts: usize) -> Tried<Vec<ScanRange>> {
    let parts = parts.clamp(1, SPLIT_PARTS_MAX);
    let total = match estimate(session, tables).await?.records {
        few if few <= EXACT_COUNT_MAX => count(session, tables).await?,
        many => many,
    };
    let step = total.div_ceil(parts as u64).max(1);
    let columns = tables.key.iter().map(|k| k.read("r.")).collect::<Vec<_>>().join(", ");
    let nullable = tables.key.iter().filter(|k| k.nullable);
    let not_null: String = nullable.map(|k| format!("r.{} IS NOT NULL AND ", quoted(&k.name))).collect();
    let (table, order) = (quoted(&tables.name), tables.key_of_r());
    let mut ranges: Vec<ScanRange> = Vec::new();
    let mut low: Option<Vec<Cell>> = None;
    while ranges.len() + 1 < parts {
        let (condition, mut bound) = match &low {
            None => ("1 = 1".to_owned(), Vec::new()),
            Some(low) => beyond(tables, Beyond::Above, low),
        };
        let sql =
            format!("SELECT {columns} FROM {table} r WHERE {not_null}({condition}) ORDER BY {order} LIMIT 1 OFFSET ?");
        bound.push(Wire::UInt(step - 1));
        let Some(high) = session.rows("splitting the key space", &sql, bound).await?.pop() else { break };
        ranges.push(range(ranges.len(), low.as_deref(), Some(&high)));
        low = Some(high);
    }
    ranges.push(range(ranges.len(), low.as_deref(), None));
    Ok(ranges)
}

fn range(at: usize, low: Option<&[Cell]>, high: Option<&[Cell]>) -> ScanRange {
    ScanRange { id: u32::try_from(at).unwrap_or(u32::MAX), low: low.map(cells_to_text), high: high.map(cells_to_text) }
}

async fn count(session: &mut Session, tables: &Tables) -> Tried<u64> {
    let sql = format!("SELECT COUNT(*) FROM {}", quoted(&tables.name));
    let rows = session.rows("counting records", &sql, Vec::new()).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0))
}

/// What the server estimates, from pages that it samples.
async fn estimate(session: &mut Session, tables: &Tables) -> Tried<Estimate> {
    let sql = "SELECT table_rows, data_length + index_length FROM information_schema.tables \
               WHERE table_schema = DATABASE() AND table_name = ?";
    let rows = session.rows("estimating", sql, bind([&Cell::text(tables.name.as_str())])).await?;
    let number = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(number_of).unwrap_or(0);
    Ok(Estimate { records: number(0), exact: false, bytes: number(1) })
}

async fn scan(
    inner: &Inner,
    session: &mut Session,
    tables: &Tables,
    marks: Marks,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> Tried<Chunk> {
    let parts = tables.key.len();
    let above = match (after, &range.low) {
        (Some(cursor), _) => Some(position(&cursor.0, parts, "cursor")?),
        (None, Some(low)) => Some(position(low, parts, "range")?),
        (None, None) => None,
    };
    let upto = range.high.as_deref().map(|high| position(high, parts, "range")).transpose()?;
    Scan { tables, marks, upto, max }.run(session, above, &inner.row_bytes).await
}

#[async_trait]
impl Reader for MySql {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        let alone =
            !matches!(&self.0.layout, shearwater_core::shape::Layout::Rows(shape) if !shape.children.is_empty());
        let reads = if alone { Reads::One } else { Reads::Several };
        reading!(self.0, reads, |session, tables, marks| fetch(session, tables, marks, key))
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        reading!(self.0, Reads::Several, |session, tables, marks| fetch_many(session, tables, marks, keys))
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        reading!(self.0, Reads::Several, |session, tables, _marks| split(session, tables, parts))
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        let inner = &*self.0;
        reading!(inner, Reads::Several, |session, tables, marks| scan(inner, session, tables, marks, range, after, max))
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        reading!(self.0, Reads::One, |session, tables, _marks| estimate(session, tables))
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        reading!(self.0, Reads::Several, |session, tables, marks| super::list::list(session, tables, marks, query))
    }

    async fn list_parked(&self, query: &ListQuery) -> StoreResult<ListPage> {
        reading!(self.0, Reads::Several, |session, tables, marks| super::parked::list(session, tables, marks, query))
    }

    async fn explain(&self, query: &ListQuery, among: Among) -> StoreResult<Option<ListPlan>> {
        reading!(self.0, Reads::Several, |session, tables, marks| async {
            super::parked::explain(session, tables, marks, query, among).await.map(Some)
        })
    }
}
