//! Reading by key, scanning by cursor, splitting into ranges.
//!
//! A record, its elements and its mark are one statement, so one snapshot.

use async_trait::async_trait;
use futures::{StreamExt, pin_mut};
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{Among, BadRow, Chunk, ChunkMax, Cursor, Estimate, Fetched, ListPlan, Reader, ScanRange};
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::cell::{Cell, cells_from_text, cells_to_text};
use super::error::Failure;
use super::names::quoted;
use super::record::{Found, Mark, cells_of, fetched, found};
use super::session::{Session, get};
use super::tables::{Elements, Sidecar, Tables};
use crate::relational::corrupt;

/// Ranges that a split makes at most: a few for each core is all that helps.
const SPLIT_PARTS_MAX: usize = 1_024;

/// Rows of a table that is split by all of its keys: a second's work.
const SPLIT_ROWS_MAX: u64 = 200_000;

/// Keys of a sample by which a larger table is split: enough that the ranges
/// differ by a few parts in a hundred.
const SPLIT_SAMPLE_ROWS: u64 = 30_000;

/// A table of fewer bytes is counted rather than estimated.
const COUNT_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Runs a read with and without the sidecar until it is right about it.
pub(super) async fn about_sidecar<T, F>(store: &Postgres, read: impl Fn(Sidecar) -> F) -> StoreResult<T>
where
    F: Future<Output = Result<Seen<T>, Failure>>,
{
    // Once each way, and once more when it was installed or removed meanwhile.
    for _ in 0..4 {
        let sidecar = store.sidecar();
        match read(sidecar).await {
            Ok(Seen::Right(answer)) => return Ok(answer),
            Ok(Seen::SidecarMissed) => store.set_sidecar(Sidecar::Installed),
            Err(failure) if failure.is_absent_table() && sidecar == Sidecar::Installed => {
                store.set_sidecar(Sidecar::Absent);
            }
            Err(failure) if failure.is_outdated_plan() || failure.is_absent_column() => store.forget(),
            Err(failure) => return Err(failure.error),
        }
    }
    Err(super::session::unexpected("the table's schema changes while it is read"))
}

/// What a read saw.
pub(super) enum Seen<T> {
    /// The answer.
    Right(T),
    /// That there is a sidecar which it did not read.
    SidecarMissed,
}

/// Records by key, inside the caller's transaction or in a snapshot of its own,
/// as cells with their marks, in the order asked.
pub(super) async fn read_raw(
    session: &Session,
    tables: &Tables,
    sidecar: Sidecar,
    keys: &[&[Cell]],
) -> Result<Vec<Found>, Failure> {
    let arrays = tables.key_arrays(keys);
    let bound: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
    let rows = session.rows(&tables.fetch(sidecar), &bound).await?;
    found_rows(tables, sidecar, keys, &rows)
}

/// The answer of [`Tables::fetch`]. A row that has another key than the one
/// asked is only equal by the type's equality: it is not the record.
pub(super) fn found_rows(
    tables: &Tables,
    sidecar: Sidecar,
    keys: &[&[Cell]],
    rows: &[tokio_postgres::Row],
) -> Result<Vec<Found>, Failure> {
    let mut all = Vec::with_capacity(keys.len());
    for row in rows {
        let n: i64 = get(row, 0)?;
        let asked = keys.get(n.unsigned_abs() as usize - 1).copied().unwrap_or_default();
        let mut one = found(tables, sidecar, Elements::Read, row, 1)?;
        if one.raw.as_ref().is_some_and(|raw| raw.key != asked) {
            one.raw = None;
        }
        all.push(one);
    }
    if all.len() != keys.len() {
        return Err(super::session::unexpected("the server gave another number of records than was asked").into());
    }
    Ok(all)
}

async fn fetch_many(store: &Postgres, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let lease = store.pool.lease().await?;
    about_sidecar(store, |sidecar| fetch_once(store, &lease, sidecar, keys)).await
}

async fn fetch_once(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    keys: &[Key],
) -> Result<Seen<Vec<Fetched>>, Failure> {
    let tables = store.tables_with(session).await?;
    fetch_in(session, &tables, sidecar, keys).await
}

/// The same with the tables at hand, inside the caller's transaction or in a
/// snapshot of its own.
pub(super) async fn fetch_in(
    session: &Session,
    tables: &Tables,
    sidecar: Sidecar,
    keys: &[Key],
) -> Result<Seen<Vec<Fetched>>, Failure> {
    // A key that this table cannot hold is a key without a record.
    let mut cells: Vec<Option<Vec<Cell>>> = Vec::with_capacity(keys.len());
    for key in keys {
        cells.push(match tables.key_to_cells(key) {
            Ok(cells) => Some(cells),
            Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => None,
            Err(error) => return Err(error.into()),
        });
    }
    let asked: Vec<&[Cell]> = cells.iter().flatten().map(Vec::as_slice).collect();
    let mut read = read_raw(session, tables, sidecar, &asked).await?.into_iter();
    let mut answers = Vec::with_capacity(keys.len());
    for (key, cells) in keys.iter().zip(&cells) {
        let one = match cells {
            Some(_) => read.next(),
            None => None,
        };
        let (raw, mark) = match one {
            Some(one) if one.missed_sidecar => return Ok(Seen::SidecarMissed),
            Some(one) => (one.raw, one.mark?),
            None => (None, Mark::default()),
        };
        answers.push(fetched(tables, sidecar, key.clone(), raw.as_ref(), mark)?);
    }
    Ok(Seen::Right(answers))
}

fn bad_position(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("PostgreSQL: the {what} was not made by this connector"))
}

fn position(text: &str, parts: usize, what: &str) -> StoreResult<Vec<Cell>> {
    cells_from_text(text).filter(|cells| cells.len() == parts).ok_or_else(|| bad_position(what))
}

/// The statement of a scan, and what it binds but the limit.
pub(super) struct Scan {
    pub(super) sql: String,
    pub(super) bound: Vec<Cell>,
}

impl Scan {
    /// A range's low end is the last key of the range before it and not part of
    /// it, so that no key falls between two ranges.
    fn of(tables: &Tables, sidecar: Sidecar, above: Option<Vec<Cell>>, upto: Option<Vec<Cell>>) -> Scan {
        let key = tables.key_of_r();
        let mut conditions: Vec<String> = (tables.facts.key.iter().zip(&key))
            .filter(|(column, _)| column.nullable)
            .map(|(_, name)| format!("{name} IS NOT NULL"))
            .collect();
        let mut bound = Vec::new();
        for (cells, sign) in [(above, ">"), (upto, "<=")] {
            let Some(cells) = cells else { continue };
            let places: Vec<String> = (tables.facts.key.iter().enumerate())
                .map(|(at, column)| column.native.bind(&format!("${}", bound.len() + at + 1)))
                .collect();
            bound.extend(cells);
            conditions.push(format!("({}) {sign} ({})", key.join(", "), places.join(", ")));
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql = format!(
            "SELECT {} FROM {} r{}{conditions} ORDER BY {} LIMIT ${}::int8",
            tables.selected(sidecar, Elements::Read),
            tables.root,
            tables.join_marks(sidecar, &key),
            key.join(", "),
            bound.len() + 1,
        );
        Scan { sql, bound }
    }
}

/// The scan of a range from its beginning, or from after a cursor.
pub(super) fn scan_of(
    tables: &Tables,
    sidecar: Sidecar,
    range: &ScanRange,
    after: Option<&Cursor>,
) -> StoreResult<Scan> {
    let parts = tables.facts.key.len();
    let above = match (after, &range.low) {
        (Some(cursor), _) => Some(position(&cursor.0, parts, "cursor")?),
        (None, Some(low)) => Some(position(low, parts, "range")?),
        (None, None) => None,
    };
    let upto = range.high.as_deref().map(|high| position(high, parts, "range")).transpose()?;
    Ok(Scan::of(tables, sidecar, above, upto))
}

async fn scan(store: &Postgres, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
    let lease = store.pool.lease().await?;
    about_sidecar(store, |sidecar| scan_once(store, &lease, sidecar, range, after, max)).await
}

async fn scan_once(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> Result<Seen<Chunk>, Failure> {
    let tables = store.tables_with(session).await?;
    let scan = scan_of(&tables, sidecar, range, after)?;
    let mut chunk = Chunk { records: Vec::new(), next: None, bytes: 0 };
    if after.is_none() && range.low.is_none() {
        chunk.records.extend(null_keys(session, &tables).await?);
    }
    let records_max = store.seen_size.records(max);
    read_chunk(session, &tables, sidecar, &scan, records_max, max.bytes, &mut chunk).await.map(|seen| {
        store.seen_size.learn(chunk.records.len(), chunk.bytes);
        match seen {
            Seen::Right(()) => Seen::Right(chunk),
            Seen::SidecarMissed => Seen::SidecarMissed,
        }
    })
}

async fn read_chunk(
    session: &Session,
    tables: &Tables,
    sidecar: Sidecar,
    scan: &Scan,
    records_max: usize,
    bytes_max: usize,
    chunk: &mut Chunk,
) -> Result<Seen<()>, Failure> {
    let limit = Cell::int8(i64::try_from(records_max).unwrap_or(i64::MAX));
    let statement = session.prepared(&scan.sql).await?;
    let bound: Vec<&Cell> = scan.bound.iter().chain(std::iter::once(&limit)).collect();
    let failed = |e: tokio_postgres::Error| session.failed("scanning", &e);
    let rows = session.client.query_raw(&statement, bound).await.map_err(failed)?;
    pin_mut!(rows);
    let mut read = 0;
    while let Some(row) = rows.next().await {
        let row = row.map_err(failed)?;
        let key = cells_of(&row, 0, tables.facts.key.len())?;
        let one = found(tables, sidecar, Elements::Read, &row, 0);
        if one.as_ref().is_ok_and(|one| one.missed_sidecar) {
            return Ok(Seen::SidecarMissed);
        }
        read += 1;
        chunk.bytes += row.raw_size_bytes();
        chunk.records.push(scanned(tables, sidecar, &key, one));
        if read >= records_max || chunk.bytes >= bytes_max {
            chunk.next = Some(Cursor(cells_to_text(&key)));
            break;
        }
    }
    Ok(Seen::Right(()))
}

pub(super) fn scanned(
    tables: &Tables,
    sidecar: Sidecar,
    key: &[Cell],
    one: StoreResult<Found>,
) -> Result<Fetched, BadRow> {
    let key = tables.key_from_cells(key).map_err(|error| BadRow { key: None, error })?;
    let read = one.and_then(|one| fetched(tables, sidecar, key.clone(), one.raw.as_ref(), one.mark?));
    read.map_err(|error| BadRow { key: Some(key), error })
}

/// Rows without a key are no records, and are told rather than left out.
pub(super) async fn null_keys(session: &Session, tables: &Tables) -> Result<Option<Result<Fetched, BadRow>>, Failure> {
    let nullable: Vec<String> = (tables.facts.key.iter())
        .filter(|column| column.nullable)
        .map(|column| format!("{} IS NULL", quoted(&column.name)))
        .collect();
    if nullable.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT count(*) FROM {} WHERE {}", tables.root, nullable.join(" OR "));
    let count: i64 = get(&session.one(&sql, &[]).await?, 0)?;
    Ok((count > 0).then(|| {
        let what = format!("{count} rows have a NULL key");
        Err(BadRow { key: None, error: corrupt(tables.name(), &tables.tree.key.join(", "), what) })
    }))
}

/// Ranges between quantiles of the key: of all keys of a small table, of a
/// sample of a large one's pages.
async fn split(session: &Session, tables: &Tables, parts: usize) -> Result<Vec<ScanRange>, Failure> {
    let parts = parts.clamp(1, SPLIT_PARTS_MAX);
    let mut bounds = Vec::new();
    if parts > 1 {
        let size = estimate(session, tables).await?;
        let sample = match size.records > SPLIT_ROWS_MAX {
            true => format!(
                " TABLESAMPLE SYSTEM ({})",
                (100.0 * SPLIT_SAMPLE_ROWS as f64 / size.records as f64).clamp(0.001, 100.0)
            ),
            false => String::new(),
        };
        let key = tables.key_of_r();
        let (columns, list): (Vec<String>, String) = (
            (tables.facts.key.iter().zip(&key)).map(|(column, name)| column.native.read(name)).collect(),
            key.join(", "),
        );
        let not_null: Vec<String> = key.iter().map(|name| format!("{name} IS NOT NULL")).collect();
        let aliases: Vec<String> = (0..key.len()).map(|at| format!("k{at}")).collect();
        let selected: Vec<String> =
            columns.iter().zip(&aliases).map(|(column, alias)| format!("{column} AS {alias}")).collect();
        let sql = format!(
            "SELECT {aliases} FROM (SELECT {}, row_number() OVER (ORDER BY {list}) AS n, count(*) OVER () AS c \
             FROM {} r{sample} WHERE {}) s WHERE n % greatest((c + $1 - 1) / $1, 1) = 0 ORDER BY n LIMIT $1 - 1",
            selected.join(", "),
            tables.root,
            not_null.join(" AND "),
            aliases = aliases.join(", "),
        );
        let wanted = i64::try_from(parts).unwrap_or(1);
        for row in session.rows(&sql, &[&wanted]).await? {
            bounds.push(cells_of(&row, 0, key.len())?);
        }
    }
    let mut ranges = Vec::with_capacity(bounds.len() + 1);
    let mut low: Option<String> = None;
    for high in bounds.iter().map(|cells| Some(cells_to_text(cells))).chain(std::iter::once(None)) {
        ranges.push(ScanRange { id: u32::try_from(ranges.len()).unwrap_or(u32::MAX), low, high: high.clone() });
        low = high;
    }
    Ok(ranges)
}

/// Rough size: counted when that is cheap, else from the statistics and the
/// size now, else from a sample of the pages.
pub(super) async fn estimate_table(session: &Session, oid: u32, table: &str) -> Result<Estimate, Failure> {
    let sql = "SELECT coalesce(sum(pg_relation_size(p.relid)), 0)::int8, \
               coalesce(sum(pg_total_relation_size(p.relid)), 0)::int8, \
               sum(CASE WHEN c.reltuples > 0 AND c.relpages > 0 \
               THEN c.reltuples / c.relpages * (pg_relation_size(p.relid) / 8192.0) END)::float8 \
               FROM (SELECT $1::oid::regclass AS relid UNION SELECT relid FROM pg_partition_tree($1::oid)) p JOIN pg_class c ON c.oid = p.relid";
    let row = session.one(sql, &[&oid]).await?;
    let (heap, total, known): (i64, i64, Option<f64>) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
    let bytes = total.unsigned_abs();
    if heap <= COUNT_BYTES_MAX {
        let row = session.one(&format!("SELECT count(*) FROM {table}"), &[]).await?;
        return Ok(Estimate { records: get::<i64>(&row, 0)?.unsigned_abs(), exact: true, bytes });
    }
    if let Some(records) = known {
        return Ok(Estimate { records: records as u64, exact: false, bytes });
    }
    let sql = format!("SELECT count(*) FROM {table} TABLESAMPLE SYSTEM (1)");
    let row = session.one(&sql, &[]).await?;
    Ok(Estimate { records: get::<i64>(&row, 0)?.unsigned_abs() * 100, exact: false, bytes })
}

async fn estimate(session: &Session, tables: &Tables) -> Result<Estimate, Failure> {
    let row = session.one("SELECT to_regclass($1)::oid", &[&tables.root]).await?;
    estimate_table(session, get(&row, 0)?, &tables.root).await
}

#[async_trait]
impl Reader for Postgres {
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched> {
        let mut all = fetch_many(self, std::slice::from_ref(key)).await?;
        all.pop().ok_or_else(|| super::session::unexpected("the server gave no answer"))
    }

    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        fetch_many(self, keys).await
    }

    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>> {
        let lease = self.pool.lease().await?;
        let tables = self.tables_with(&lease).await?;
        Ok(split(&lease, &tables, parts).await?)
    }

    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk> {
        scan(self, range, after, max).await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        let lease = self.pool.lease().await?;
        let tables = self.tables_with(&lease).await?;
        Ok(estimate(&lease, &tables).await?)
    }

    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage> {
        super::list::list(self, query).await
    }

    async fn list_parked(&self, query: &ListQuery) -> StoreResult<ListPage> {
        super::parked::list(self, query).await
    }

    async fn explain(&self, query: &ListQuery, among: Among) -> StoreResult<Option<ListPlan>> {
        super::explain::explain(self, query, among).await.map(Some)
    }
}
