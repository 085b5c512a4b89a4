//! The `document` layout: key columns and one JSON column.

use shearwater_core::error::StoreResult;
use shearwater_core::shape::DocumentLayout;
use shearwater_core::value::{json, order};
use shearwater_core::{Document, Key, Value};

use super::{Codec, Place, corrupt, refused};

/// The JSON column's place.
const DOCUMENT: Place = Place::Value(0);

/// The cells of a key.
pub(super) fn key_to_cells<K: Codec>(codec: &K, layout: &DocumentLayout, key: &Key) -> StoreResult<Vec<K::Cell>> {
    let (found, expected) = (key.values().len(), layout.key.len());
    if found != expected {
        let what = format!("the key has {found} parts, not {expected}");
        return Err(refused(&layout.table, &layout.key.join(", "), what));
    }
    let pairs = layout.key.iter().zip(key.values()).enumerate();
    pairs
        .map(|(at, (name, value))| match value {
            Value::Null => Err(refused(&layout.table, name, "a key part must not be null")),
            value => codec.to_key_cell(at, value).map_err(|what| refused(&layout.table, name, what)),
        })
        .collect()
}

/// The key of its cells.
pub(super) fn key_from_cells<K: Codec>(codec: &K, layout: &DocumentLayout, cells: &[K::Cell]) -> StoreResult<Key> {
    let parts = layout.key.iter().zip(cells).enumerate().map(|(at, (name, cell))| match codec.is_null(cell) {
        true => Err(corrupt(&layout.table, name, "the key is NULL")),
        false => codec.from_key_cell(at, cell).map_err(|what| corrupt(&layout.table, name, what)),
    });
    Ok(Key::composite(parts.collect::<StoreResult<_>>()?))
}

/// Bytes for a key's part of any type: its canonical order bytes, its tagged
/// JSON, and the length of that JSON as four bytes, so that they compare as
/// the parts do and can be read back.
pub(crate) fn part_to_bytes(part: &Value) -> Result<Vec<u8>, String> {
    let mut bytes = order::bytes(part);
    let json = json::to_string(part);
    let length = u32::try_from(json.len()).map_err(|_| "the key part is too long".to_owned())?;
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Reads [`part_to_bytes`]'s form back; `None` when it is not of that form.
pub(crate) fn part_from_bytes(bytes: &[u8]) -> Option<Value> {
    let (rest, length) = bytes.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let text = rest.get(rest.len().checked_sub(length)?..)?;
    json::parse(text).ok().filter(|value| part_to_bytes(value).is_ok_and(|again| again == bytes))
}

/// The document's cell; refuses a record whose key fields are not its key.
pub(super) fn record_to_cell<K: Codec>(
    codec: &K,
    layout: &DocumentLayout,
    key: &Key,
    record: &Document,
) -> StoreResult<K::Cell> {
    for (name, part) in layout.key.iter().zip(key.values()) {
        match record.get(name) {
            Some(value) if value == part => {}
            Some(_) => return Err(refused(&layout.table, name, "the record's key field differs from its key")),
            None => return Err(refused(&layout.table, name, "the record lacks its key field")),
        }
    }
    codec
        .to_json_cell(DOCUMENT, json::document_to_string(record))
        .map_err(|what| refused(&layout.table, &layout.document, what))
}

/// The record of a document's cell.
pub(super) fn record_from_cell<K: Codec>(
    codec: &K,
    layout: &DocumentLayout,
    key: &Key,
    cell: Option<&K::Cell>,
) -> StoreResult<Document> {
    let column = &layout.document;
    let bad = |what: String| corrupt(&layout.table, column, what);
    let cell = cell
        .filter(|cell| !codec.is_null(cell))
        .ok_or_else(|| bad("holds NULL; expected a JSON document".to_owned()))?;
    let text = codec.json_of(DOCUMENT, cell).map_err(bad)?;
    let record = json::parse_document(text)
        .map_err(|e| bad(format!("the text is no JSON document: {} (byte {})", e.message, e.at_byte)))?;
    for (name, part) in layout.key.iter().zip(key.values()) {
        match record.get(name) {
            Some(value) if value == part => {}
            Some(_) => {
                return Err(bad(format!("the document's field {name:?} differs from the key column of that name")));
            }
            None => {
                return Err(bad(format!("the document lacks its key field {name:?}"))
                    .with_hint("every document must hold its key fields"));
            }
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_compare_as_they_do() {
        let parts = [
            Value::Bool(true),
            Value::Float(0.5),
            Value::Float(f64::NAN),
            Value::from_u64(u64::MAX),
            Value::Bytes(vec![0, 255]),
            Value::Array(vec![Value::Int(1), "a".into()]),
        ];
        for a in &parts {
            let bytes = part_to_bytes(a).unwrap();
            assert_eq!(part_from_bytes(&bytes).as_ref(), Some(a));
            for b in &parts {
                assert_eq!(bytes.cmp(&part_to_bytes(b).unwrap()), order::bytes(a).cmp(&order::bytes(b)), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn other_bytes_are_no_part() {
        for bytes in [&b""[..], b"abc", b"\0\0\0\0", b"\xff\xff\xff\xff", b"1\0\0\0\x01"] {
            assert_eq!(part_from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
