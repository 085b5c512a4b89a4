//! Documents of a `json` column as the server sent them, their fields shown where
//! they stand.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, pin_mut};
use shearwater_core::error::StoreResult;
use shearwater_core::flat::{FlatChunk, Gives, Plain, Tape, Undecoded};
use shearwater_core::store::{BadRow, ChunkMax, Cursor, Fetched, ScanRange};
use shearwater_core::value::json;

use super::Postgres;
use super::cell::{self, Cell, cells_to_text};
use super::codec::ENCODED;
use super::error::Failure;
use super::native::Wire;
use super::record::{Mark, cells_of, fetched, found};
use super::scan::{Seen, about_sidecar, scan_of, scanned};
use super::session::{Session, get};
use super::tables::{Elements, RawRecord, Sidecar, Tables};
use super::value::json_text;
use super::verbatim::append;

/// The rows of a chunk: key columns and the document, in COPY's binary form.
struct Documents {
    tables: Arc<Tables>,
    sidecar: Sidecar,
    rows: Vec<u8>,
    ends: Vec<usize>,
}

impl Documents {
    fn row(&self, at: usize) -> Option<cell::Bytes<'_>> {
        let from = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        let mut row = cell::Bytes(self.rows.get(from..*self.ends.get(at)?)?);
        row.i16().ok()?;
        Some(row)
    }

    /// Shows a document whose key fields are the key, which only texts and integers
    /// are known to be at once.
    fn show<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> Option<()> {
        let mut row = self.row(at)?;
        let parts = self.tables.tree.key.len();
        let keys: Vec<&[u8]> = (0..parts).map(|_| field(&mut row)).collect::<Option<_>>()?;
        let document = field(&mut row)?;
        let wire = &self.tables.facts.values.first()?.native.wire;
        if !json::read_tape(json_text(wire, document).ok()?, tape) {
            return None;
        }
        let named = self.tables.tree.key.iter().zip(&self.tables.facts.key).zip(keys);
        for ((name, column), key) in named {
            match (&column.native.wire, tape.field(name)?) {
                (Wire::Text, Plain::Text(text)) if !key.starts_with(ENCODED.as_bytes()) && text.as_bytes() == key => {}
                (Wire::Int8, Plain::Int(n)) if n.to_be_bytes() == key => {}
                _ => return None,
            }
        }
        Some(())
    }
}

/// The next field of a row; `None` for NULL too.
fn field<'a>(row: &mut cell::Bytes<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(row.i32().ok()?).ok()?;
    row.take(length).ok()
}

#[async_trait]
impl Undecoded for Documents {
    fn count(&self) -> usize {
        self.ends.len()
    }

    fn read<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> bool {
        self.show(at, tape).is_some()
    }

    async fn decode(&self, ats: &[usize]) -> StoreResult<Vec<Result<Fetched, BadRow>>> {
        let parts = self.tables.tree.key.len();
        let read = |at: &usize| {
            let mut row = self.row(*at).ok_or_else(|| super::session::unexpected("a row of a chunk was lost"))?;
            let cells = (0..=parts).map(|_| row.cell()).collect::<Result<Vec<Cell>, String>>();
            let mut key = cells.map_err(|what| super::session::unexpected(&what))?;
            let raw = RawRecord { values: key.split_off(parts), key, children: Vec::new() };
            let key = match self.tables.key_from_cells(&raw.key) {
                Ok(key) => key,
                Err(error) => return Ok(Err(BadRow { key: None, error })),
            };
            let one = fetched(&self.tables, self.sidecar, key.clone(), Some(&raw), Mark::default());
            Ok(one.map_err(|error| BadRow { key: Some(key), error }))
        };
        ats.iter().map(read).collect()
    }
}

/// What is read.
#[derive(Clone, Copy)]
struct Part<'a> {
    range: &'a ScanRange,
    after: Option<&'a Cursor>,
    max: ChunkMax,
}

async fn read(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    Part { range, after, max }: Part<'_>,
) -> Result<Seen<FlatChunk>, Failure> {
    let tables = store.tables_with(session).await?;
    let parts = tables.facts.key.len();
    let scan = scan_of(&tables, sidecar, range, after)?;
    let mut others = Vec::new();
    if after.is_none() && range.low.is_none() {
        others.extend(super::scan::null_keys(session, &tables).await?);
    }
    let records_max = store.seen_size.records(max);
    let limit = Cell::int8(i64::try_from(records_max).unwrap_or(i64::MAX));
    let statement = session.prepared(&scan.sql).await?;
    let bound: Vec<&Cell> = scan.bound.iter().chain(std::iter::once(&limit)).collect();
    let failed = |e: tokio_postgres::Error| session.failed("scanning", &e);
    let answer = session.client.query_raw(&statement, bound).await.map_err(failed)?;
    pin_mut!(answer);
    let (mut rows, mut ends) = (Vec::with_capacity(max.bytes), Vec::new());
    let (mut next, mut bytes, mut seen) = (None, 0, 0);
    while let Some(row) = answer.next().await {
        let row = row.map_err(failed)?;
        if append(&tables, &row, &mut rows)? {
            if sidecar == Sidecar::Absent && get::<bool>(&row, parts + tables.facts.values.len() + 4)? {
                return Ok(Seen::SidecarMissed);
            }
            ends.push(rows.len());
        } else {
            let key = cells_of(&row, 0, parts)?;
            let one = found(&tables, sidecar, Elements::Read, &row, 0);
            if one.as_ref().is_ok_and(|one| one.missed_sidecar) {
                return Ok(Seen::SidecarMissed);
            }
            others.push(scanned(&tables, sidecar, &key, one));
        }
        seen += 1;
        bytes += row.raw_size_bytes();
        if seen >= records_max || bytes >= max.bytes {
            next = Some(Cursor(cells_to_text(&cells_of(&row, 0, parts)?)));
            break;
        }
    }
    store.seen_size.learn(seen, bytes);
    Ok(Seen::Right(FlatChunk { records: Arc::new(Documents { tables, sidecar, rows, ends }), others, next, bytes }))
}

#[async_trait]
impl Gives for Postgres {
    async fn read_undecoded(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<FlatChunk> {
        let lease = self.pool.lease().await?;
        about_sidecar(self, |sidecar| read(self, &lease, sidecar, Part { range, after, max })).await
    }
}
