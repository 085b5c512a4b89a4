//! Documents as they stand in the file, their fields shown where they stand.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params_from_iter;
use shearwater_core::error::StoreResult;
use shearwater_core::flat::{FlatChunk, Gives, Plain, Tape, Undecoded};
use shearwater_core::store::{BadRow, ChunkMax, Cursor, Fetched, ScanRange};
use shearwater_core::value::json;

use super::Sqlite;
use super::cell::{Cell, cells_to_text};
use super::error::store_error;
use super::facts::Sidecar;
use super::record::{Mark, RawRecord, cells_of, mark_of, prepared};
use super::scan::{Window, fetched, null_keys};
use super::session::Session;
use super::tables::Tables;
use super::value::Cells;

/// The rows of a chunk: key columns and the document.
struct Documents {
    tables: Arc<Tables>,
    sidecar: Sidecar,
    rows: Vec<RawRecord>,
}

impl Documents {
    /// Shows a document whose key fields are the key, which only texts and integers
    /// are known to be at once.
    fn show<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> Option<()> {
        let row = self.rows.get(at)?;
        let Cell::Text(text) = row.values.first()? else { return None };
        if !json::read_tape(text, tape) {
            return None;
        }
        for (name, cell) in self.tables.tree.key.iter().zip(&row.key) {
            match (cell, tape.field(name)?) {
                (Cell::Text(key), Plain::Text(text)) if text.as_bytes() == key => {}
                (Cell::Int(key), Plain::Int(n)) if n == key => {}
                _ => return None,
            }
        }
        Some(())
    }
}

#[async_trait]
impl Undecoded for Documents {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn read<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> bool {
        self.show(at, tape).is_some()
    }

    async fn decode(&self, ats: &[usize]) -> StoreResult<Vec<Result<Fetched, BadRow>>> {
        let rows = ats.iter().filter_map(|at| self.rows.get(*at).cloned());
        Ok(rows.map(|row| record(&self.tables, self.sidecar, row, Ok(Mark::default()))).collect())
    }
}

fn record(tables: &Tables, sidecar: Sidecar, row: RawRecord, mark: StoreResult<Mark>) -> Result<Fetched, BadRow> {
    let key = tables.key_from_cells(&row.key).map_err(|error| BadRow { key: None, error })?;
    let read = mark.and_then(|mark| fetched(tables, key.clone(), Some(row), mark, sidecar));
    read.map_err(|error| BadRow { key: Some(key), error })
}

/// Reads the next documents of a range; those that have a mark are decoded.
fn read(
    session: &Session,
    tables: &Arc<Tables>,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> StoreResult<FlatChunk> {
    let failed = |e| store_error("scanning", e);
    let sidecar = session.facts(tables)?.sidecar;
    let window = Window::of(tables, range, after, max)?;
    let mut documents = Documents { tables: tables.clone(), sidecar, rows: Vec::new() };
    let (mut others, mut next, mut bytes, mut read) = (Vec::new(), None, 0, 0);
    if window.from_the_beginning {
        others.extend(null_keys(session, tables)?.map(Err));
    }
    let (keys, values) = (tables.tree.key.len(), tables.tree.values.len());
    let mut statement = prepared(session, &format!("{}{}", tables.select_with_marks(sidecar), window.clause))?;
    let mut rows = statement.query(params_from_iter(&window.bound)).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let key = cells_of(row, 0, keys).map_err(failed)?;
        let raw = RawRecord { values: cells_of(row, keys, values).map_err(failed)?, key, children: Vec::new() };
        read += 1;
        bytes += raw.size(&Cells);
        if read >= max.records.max(1) || bytes >= max.bytes {
            next = Some(Cursor(cells_to_text(&raw.key)));
        }
        match row.get::<_, Option<i64>>(keys + values).map_err(failed)? {
            None => documents.rows.push(raw),
            Some(_) => others.push(record(tables, sidecar, raw, mark_of(row, keys + values, &tables.name))),
        }
        if next.is_some() {
            break;
        }
    }
    Ok(FlatChunk { records: Arc::new(documents), others, next, bytes })
}

#[async_trait]
impl Gives for Sqlite {
    async fn read_undecoded(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<FlatChunk> {
        let (range, after, tables) = (range.clone(), after.cloned(), self.tables.clone());
        self.blocking_read(move |session, _| read(session, &tables, &range, after.as_ref(), max)).await
    }
}
