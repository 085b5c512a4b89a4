//! The `document` layout: key columns and one JSON column.
//!
//! A key of integers and texts stands in its columns as it is. A part of any
//! other type stands there as a BLOB: its canonical order bytes, its tagged
//! JSON, and the length of that JSON as four bytes, so that BLOBs compare as
//! the keys do and can be read back.

use shearwater_core::error::StoreResult;
use shearwater_core::shape::DocumentLayout;
use shearwater_core::value::{json, order};
use shearwater_core::{Document, Key, Value};

use super::cell::Cell;
use super::error::{corrupt, refused};

/// The cells of a key.
pub(super) fn key_to_cells(layout: &DocumentLayout, key: &Key) -> StoreResult<Vec<Cell>> {
    if key.values().len() != layout.key.len() {
        let expected = layout.key.len();
        let found = key.values().len();
        return Err(refused(
            &layout.table,
            &layout.key.join(", "),
            format!("the key has {found} parts, not {expected}"),
        ));
    }
    let pairs = layout.key.iter().zip(key.values());
    pairs.map(|(name, value)| part_to_cell(value).map_err(|what| refused(&layout.table, name, what))).collect()
}

fn part_to_cell(value: &Value) -> Result<Cell, String> {
    Ok(match value {
        Value::Null => return Err("a key part must not be null".into()),
        Value::Int(n) => Cell::Int(*n),
        Value::Text(text) => Cell::text(text.as_str()),
        other => {
            let mut bytes = order::bytes(other);
            let json = json::to_string(other);
            let length = u32::try_from(json.len()).map_err(|_| "the key part is too long".to_owned())?;
            bytes.extend_from_slice(json.as_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            Cell::Blob(bytes)
        }
    })
}

/// The key of its cells.
pub(super) fn key_from_cells(layout: &DocumentLayout, cells: &[Cell]) -> StoreResult<Key> {
    let parts = layout
        .key
        .iter()
        .zip(cells)
        .map(|(name, cell)| part_from_cell(cell).map_err(|what| corrupt(&layout.table, name, what)));
    Ok(Key::composite(parts.collect::<StoreResult<_>>()?))
}

fn part_from_cell(cell: &Cell) -> Result<Value, String> {
    match cell {
        Cell::Int(n) => Ok(Value::Int(*n)),
        Cell::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "the key's TEXT is not valid UTF-8".to_owned())?;
            Ok(Value::text(text))
        }
        Cell::Blob(bytes) => json_in_blob(bytes)
            .and_then(|text| json::parse(text).ok())
            .filter(|value| part_to_cell(value).is_ok_and(|again| again == *cell))
            .ok_or_else(|| "the key's BLOB was not written by this program".to_owned()),
        Cell::Null => Err("the key is NULL".to_owned()),
        Cell::Real(_) => Err("the key is REAL; expected INTEGER, TEXT or a BLOB of ours".to_owned()),
    }
}

fn json_in_blob(bytes: &[u8]) -> Option<&[u8]> {
    let (rest, length) = bytes.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(rest.len().checked_sub(length)?..)
}

/// The document's cell; refuses a record whose key fields are not its key.
pub(super) fn record_to_cell(layout: &DocumentLayout, key: &Key, record: &Document) -> StoreResult<Cell> {
    for (name, part) in layout.key.iter().zip(key.values()) {
        match record.get(name) {
            Some(value) if value == part => {}
            Some(_) => return Err(refused(&layout.table, name, "the record's key field differs from its key")),
            None => return Err(refused(&layout.table, name, "the record lacks its key field")),
        }
    }
    Ok(Cell::text(json::document_to_string(record)))
}

/// The record of a document's cell.
pub(super) fn record_from_cell(layout: &DocumentLayout, key: &Key, cell: &Cell) -> StoreResult<Document> {
    let column = &layout.document;
    let Cell::Text(text) = cell else {
        return Err(corrupt(&layout.table, column, format!("holds {}; expected JSON as TEXT", cell.class())));
    };
    let record = json::parse_document(text).map_err(|e| {
        corrupt(&layout.table, column, format!("the TEXT is no JSON document: {} (byte {})", e.message, e.at_byte))
    })?;
    for (name, part) in layout.key.iter().zip(key.values()) {
        match record.get(name) {
            Some(value) if value == part => {}
            Some(_) => {
                let what = format!("the document's field {name:?} differs from the key column of that name");
                return Err(corrupt(&layout.table, column, what));
            }
            None => {
                return Err(corrupt(&layout.table, column, format!("the document lacks its key field {name:?}"))
                    .with_hint("every document must hold its key fields"));
            }
        }
    }
    Ok(record)
}
