//! Rows as they are: what the server sends in its binary protocol is, field by
//! field, what COPY's binary form takes.
//!
//! Only for types whose values the layout reads all of, and only for rows that
//! have no mark. A row that has one, or a time beyond what we read, goes the
//! ordinary way beside the others, in the same batch.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes};
use futures::{StreamExt, pin_mut};
use shearwater_core::error::StoreResult;
use shearwater_core::store::{BadRow, CheckpointStep, ChunkMax, Cursor, Fetched, Put, ScanRange};
use shearwater_core::verbatim::{Column as Asked, RowChunk, Rows, RowsPut, Verbatim, Way};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

use super::Postgres;
use super::cell::{self, Cell, cells_to_text};
use super::change::is_loose;
use super::copy::{self, HEADER};
use super::error::Failure;
use super::facts::{Column, Copies};
use super::names::list;
use super::native::Wire;
use super::record::{Mark, cells_of, fetched, found};
use super::scan::{Seen, about_sidecar, scan_of, scanned};
use super::session::{Session, get};
use super::tables::{Elements, RawRecord, Sidecar, Tables};
use super::value;

/// A field as it travels.
struct Field<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Field<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Field<'a>, Box<dyn Error + Sync + Send>> {
        Ok(Field(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Whether the layout reads every value of this type as `ty`, [`is_read`] given.
fn is_whole(wire: &Wire) -> bool {
    match wire {
        Wire::Bool
        | Wire::Int2
        | Wire::Int4
        | Wire::Int8
        | Wire::Oid
        | Wire::Float4
        | Wire::Float8
        | Wire::Numeric
        | Wire::Text
        | Wire::Bytea
        | Wire::Date
        | Wire::Time
        | Wire::Timestamp
        | Wire::Instant
        | Wire::Uuid => true,
        Wire::Blank | Wire::Json | Wire::Jsonb | Wire::Array(_) | Wire::Server => false,
    }
}

/// Whether we read this very value: a time may be later than what we know.
fn is_read(wire: &Wire, raw: &[u8]) -> bool {
    match wire {
        Wire::Timestamp | Wire::Instant => value::is_read_time(raw),
        _ => true,
    }
}

/// A column's part of a form. `None`: it makes no promise.
fn part(column: &Column, asked: &Asked) -> Option<String> {
    let native = &column.native;
    let lets_through = match asked.chars_max {
        Some(max) => native.chars_max.is_some_and(|own| own as u64 <= max),
        None => true,
    };
    let promises = native.is_builtin
        && !native.is_domain
        && is_whole(&native.wire)
        && native.wire.field_type() == asked.ty
        && !(asked.required && column.nullable)
        && lets_through;
    promises.then(|| native.declared.clone())
}

fn form(tables: &Tables, asked: &[Asked], way: Way) -> Option<String> {
    let copies = way == Way::Out || tables.facts.copies == Copies::Straight;
    if !tables.children.is_empty() || !copies || tables.facts.key.iter().any(is_loose) {
        return None;
    }
    let part = |asked: &Asked| part(tables.facts.root().find(|column| column.name == asked.name)?, asked);
    let parts: Vec<String> = asked.iter().map(part).collect::<Option<_>>()?;
    let mut others = tables.facts.root().filter(|column| asked.iter().all(|asked| asked.name != column.name));
    let others_stay_null = others.all(|column| way == Way::In && column.nullable && column.default.is_none());
    others_stay_null.then(|| parts.join(", "))
}

/// Appends a row of [`Tables::selected`] as COPY takes it. `false`: it must go the
/// ordinary way, and nothing was appended.
pub(super) fn append(tables: &Tables, row: &Row, out: &mut Vec<u8>) -> StoreResult<bool> {
    let count = tables.facts.key.len() + tables.facts.values.len();
    if get::<Option<i64>>(row, count)?.is_some() {
        return Ok(false);
    }
    let begin = out.len();
    out.put_i16(i16::try_from(count).unwrap_or(i16::MAX));
    for (at, column) in tables.facts.root().enumerate() {
        match get::<Option<Field<'_>>>(row, at)? {
            None => out.put_i32(-1),
            Some(Field(raw)) if is_read(&column.native.wire, raw) => {
                out.put_i32(i32::try_from(raw.len()).unwrap_or(i32::MAX));
                out.put_slice(raw);
            }
            Some(_) => {
                out.truncate(begin);
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What is read.
#[derive(Clone, Copy)]
struct Part<'a> {
    columns: &'a [Asked],
    range: &'a ScanRange,
    after: Option<&'a Cursor>,
    max: ChunkMax,
}

async fn read(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    part: Part<'_>,
) -> Result<Seen<RowChunk>, Failure> {
    let Part { columns, range, after, max } = part;
    let tables = store.tables_with(session).await?;
    let parts = tables.facts.key.len();
    let in_order = tables.facts.root().map(|column| &column.name).eq(columns.iter().map(|column| &column.name));
    let form = form(&tables, columns, Way::Out).filter(|_| in_order);
    let scan = scan_of(&tables, sidecar, range, after)?;
    let records_max = store.seen_size.records(max);
    let limit = Cell::int8(i64::try_from(records_max).unwrap_or(i64::MAX));
    let statement = session.prepared(&scan.sql).await?;
    let bound: Vec<&Cell> = scan.bound.iter().chain(std::iter::once(&limit)).collect();
    let failed = |e: tokio_postgres::Error| session.failed("scanning", &e);
    let rows = session.client.query_raw(&statement, bound).await.map_err(failed)?;
    pin_mut!(rows);
    let mut chunk = RowChunk { rows: Rows::default(), others: Vec::new(), next: None, bytes: 0 };
    let mut out = Vec::with_capacity(max.bytes);
    let mut seen = 0;
    while let Some(row) = rows.next().await {
        let row = row.map_err(failed)?;
        if form.is_some() && append(&tables, &row, &mut out)? {
            if sidecar == Sidecar::Absent && get::<bool>(&row, parts + tables.facts.values.len() + 4)? {
                return Ok(Seen::SidecarMissed);
            }
            chunk.rows.count += 1;
        } else {
            let key = cells_of(&row, 0, parts)?;
            let one = found(&tables, sidecar, Elements::Read, &row, 0);
            if one.as_ref().is_ok_and(|one| one.missed_sidecar) {
                return Ok(Seen::SidecarMissed);
            }
            chunk.others.push(scanned(&tables, sidecar, &key, one));
        }
        seen += 1;
        chunk.bytes += row.raw_size_bytes();
        if seen >= records_max || chunk.bytes >= max.bytes {
            chunk.next = Some(Cursor(cells_to_text(&cells_of(&row, 0, parts)?)));
            break;
        }
    }
    store.seen_size.learn(seen, chunk.bytes);
    chunk.rows.bytes = Arc::new(out);
    chunk.rows.form = form.unwrap_or_default();
    Ok(Seen::Right(chunk))
}

/// The rows of a chunk, each with its bytes and its fields.
fn each_row(rows: &Rows) -> impl Iterator<Item = StoreResult<(&[u8], Vec<Cell>)>> {
    let mut rest = cell::Bytes(&rows.bytes);
    std::iter::from_fn(move || {
        let whole = rest.0;
        if whole.is_empty() {
            return None;
        }
        let mut fields = || {
            let count = rest.i16()?;
            (0..count).map(|_| rest.cell()).collect::<Result<Vec<Cell>, String>>()
        };
        let fields = fields().map_err(|what| super::session::unexpected(&what));
        Some(fields.map(|fields| (&whole[..whole.len() - rest.0.len()], fields)))
    })
}

async fn decode(store: &Postgres, rows: &Rows) -> StoreResult<Vec<Result<Fetched, BadRow>>> {
    let tables = store.tables().await?;
    let parts = tables.facts.key.len();
    let read = |fields: Vec<Cell>| {
        let raw = RawRecord { key: fields[..parts].to_vec(), values: fields[parts..].to_vec(), children: Vec::new() };
        let key = tables.key_from_cells(&raw.key).map_err(|error| BadRow { key: None, error })?;
        fetched(&tables, store.sidecar(), key.clone(), Some(&raw), Mark::default())
            .map_err(|error| BadRow { key: Some(key), error })
    };
    each_row(rows).map(|row| Ok(read(row?.1))).collect()
}

/// Rows of the other store on their way into this one.
pub(super) struct Given<'a> {
    /// The columns that they fill, in their order.
    pub(super) columns: &'a [Asked],
    pub(super) rows: &'a Rows,
}

impl Given<'_> {
    /// Whether the tables take the rows' form.
    pub(super) fn fits(&self, tables: &Tables) -> bool {
        self.rows.count == 0 || form(tables, self.columns, Way::In).is_some_and(|form| form == self.rows.form)
    }

    /// Copies all that have no mark here; how many. Fails as a whole.
    pub(super) async fn copy(&self, session: &Session, tables: &Tables) -> Result<u64, Failure> {
        let marked = stamped(session, tables, || self.keys(tables)).await?;
        let (count, messages) = match marked.is_empty() {
            true => (self.rows.count, vec![Bytes::from_owner(Shared(self.rows.bytes.clone()))]),
            false => self.unmarked(&marked)?,
        };
        if count > 0 {
            let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
            let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", tables.root, list(&names));
            let begin = std::iter::once(Bytes::from_static(HEADER));
            copy::send_messages(session, &sql, begin.chain(messages)).await?;
        }
        Ok(count as u64)
    }

    fn unmarked(&self, marked: &HashSet<usize>) -> Result<(usize, Vec<Bytes>), Failure> {
        let (mut count, mut out) = (0, Vec::with_capacity(self.rows.bytes.len()));
        for (at, row) in each_row(self.rows).enumerate() {
            let (bytes, _) = row?;
            if !marked.contains(&at) {
                out.put_slice(bytes);
                count += 1;
            }
        }
        Ok((count, vec![Bytes::from(out)]))
    }

    fn keys(&self, tables: &Tables) -> StoreResult<Vec<Vec<Cell>>> {
        let places: Vec<usize> = (tables.tree.key.iter())
            .map(|key| self.columns.iter().position(|column| column.name == *key))
            .collect::<Option<_>>()
            .ok_or_else(|| super::session::unexpected("rows come without their key"))?;
        let key = |fields: Vec<Cell>| places.iter().map(|at| fields.get(*at).cloned().unwrap_or_default()).collect();
        each_row(self.rows).map(|row| Ok(key(row?.1))).collect()
    }
}

/// The places of keys that have a stamp here, which is above those of rows that
/// have none. A mark without one has something parked: such a record is for the
/// ordinary way.
pub(super) async fn stamped(
    session: &Session,
    tables: &Tables,
    keys: impl FnOnce() -> StoreResult<Vec<Vec<Cell>>>,
) -> Result<HashSet<usize>, Failure> {
    let any = session.one(&format!("SELECT EXISTS (SELECT FROM {})", tables.names.marks()), &[]).await?;
    if !get::<bool>(&any, 0)? {
        return Ok(HashSet::new());
    }
    let keys = keys()?;
    let keys: Vec<&[Cell]> = keys.iter().map(Vec::as_slice).collect();
    let arrays = tables.key_arrays(&keys);
    let bound: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
    let mut marked = HashSet::new();
    for row in session.rows(&tables.marked(), &bound).await? {
        if (get::<i64>(&row, 1)?, get::<i64>(&row, 2)?) == (0, 0) {
            return Err(Failure::not_that_way());
        }
        marked.insert(get::<i64>(&row, 0)?.unsigned_abs() as usize - 1);
    }
    Ok(marked)
}

/// Bytes that a retry sends again.
pub(super) struct Shared(pub(super) Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[async_trait]
impl Verbatim for Postgres {
    async fn form(&self, columns: &[Asked], way: Way) -> StoreResult<Option<String>> {
        Ok(form(&*self.tables().await?, columns, way))
    }

    async fn read_rows(
        &self,
        columns: &[Asked],
        range: &ScanRange,
        after: Option<&Cursor>,
        max: ChunkMax,
    ) -> StoreResult<RowChunk> {
        let lease = self.pool.lease().await?;
        let part = Part { columns, range, after, max };
        about_sidecar(self, |sidecar| read(self, &lease, sidecar, part)).await
    }

    async fn decode(&self, rows: &Rows) -> StoreResult<Vec<Result<Fetched, BadRow>>> {
        decode(self, rows).await
    }

    async fn put_rows(
        &self,
        epoch: u64,
        columns: &[Asked],
        rows: &Rows,
        puts: Vec<Put>,
        step: &CheckpointStep,
    ) -> StoreResult<Option<RowsPut>> {
        super::apply::put_rows(self, epoch, super::apply::Given::AsTheyAre(Given { columns, rows }), puts, step).await
    }
}
