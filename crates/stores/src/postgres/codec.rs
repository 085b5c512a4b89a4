//! The cells of a layout whose tables were looked at.

use shearwater_core::Value;
use shearwater_core::shape::FieldType;
use shearwater_core::value::{json, order};

use super::cell::{Cell, hex};
use super::facts::{Column, Facts};
use super::native::{Native, Wire};
use super::value::{from_cell, json_text, jsonb_keeps, to_cell};
use crate::relational::{Codec, Place};

/// What a key's part begins with in a text column when the part is no plain text.
pub(super) const ENCODED: &str = "@";

/// What comes after every text that begins so.
pub(super) const ENCODED_END: &str = "A";

impl Facts {
    fn column(&self, place: Place) -> Result<&Column, String> {
        let found = match place {
            Place::Key(at) => self.key.get(at),
            Place::Value(at) => self.values.get(at),
            Place::Child { table, at } => self.children.get(table).and_then(|columns| columns.get(at)),
        };
        found.ok_or_else(|| "the column was not looked at".to_owned())
    }
}

impl Codec for Facts {
    type Cell = Cell;

    fn null(&self) -> Cell {
        Cell::Null
    }

    fn is_null(&self, cell: &Cell) -> bool {
        *cell == Cell::Null
    }

    fn size(&self, cell: &Cell) -> usize {
        cell.len()
    }

    fn to_cell(&self, place: Place, ty: FieldType, value: &Value) -> Result<Cell, String> {
        let native = &self.column(place)?.native;
        if let (Place::Key(_), Wire::Float4 | Wire::Float8, Value::Float(x)) = (place, &native.wire, value)
            && (x.to_bits() == (-0.0_f64).to_bits() || (x.is_nan() && x.to_bits() != f64::NAN.to_bits()))
        {
            return Err("as a key, the server takes this float for equal to another".into());
        }
        to_cell(ty, native, value)
    }

    fn from_cell(&self, place: Place, ty: FieldType, cell: &Cell) -> Result<Value, String> {
        from_cell(ty, &self.column(place)?.native, cell)
    }

    fn to_key_cell(&self, at: usize, part: &Value) -> Result<Cell, String> {
        let native = &self.column(Place::Key(at))?.native;
        match (&native.wire, part) {
            (Wire::Text, part) => {
                // A length that the column has is the server's to check: nothing is cut
                // off but blanks, and those we refuse.
                to_cell(FieldType::Text, native, &Value::Text(part_to_text(part)))
            }
            (Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid, part @ Value::Int(_)) => {
                to_cell(FieldType::Int, native, part)
            }
            (Wire::Bool, part @ Value::Bool(_)) => to_cell(FieldType::Bool, native, part),
            (Wire::Blank | Wire::Server, part @ Value::Text(_)) => to_cell(FieldType::Text, native, part),
            (Wire::Uuid, Value::Text(text)) => match text.parse::<shearwater_core::value::Uuid>() {
                Ok(uuid) if uuid.to_string() == *text => to_cell(FieldType::Uuid, native, &Value::Uuid(uuid)),
                _ => Err(format!("is no uuid in its one form, and the key column is {}", native.declared)),
            },
            (_, part) => Err(key_misfit(native, part)),
        }
    }

    fn from_key_cell(&self, at: usize, cell: &Cell) -> Result<Value, String> {
        let native = &self.column(Place::Key(at))?.native;
        match native.wire {
            Wire::Text => match from_cell(FieldType::Text, native, cell)? {
                Value::Text(text) => Ok(part_from_text(text)),
                other => Err(format!("the key is {}", other.type_name())),
            },
            Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid => from_cell(FieldType::Int, native, cell),
            Wire::Bool => from_cell(FieldType::Bool, native, cell),
            Wire::Blank | Wire::Server => from_cell(FieldType::Text, native, cell),
            Wire::Uuid => match from_cell(FieldType::Uuid, native, cell)? {
                Value::Uuid(uuid) => Ok(Value::text(uuid.to_string())),
                other => Err(format!("the key is {}", other.type_name())),
            },
            _ => Err(format!("the key column is {}, which a document's key cannot be read from", native.declared)),
        }
    }

    fn to_json_cell(&self, place: Place, text: String) -> Result<Cell, String> {
        Ok(match self.column(place)?.native.wire {
            Wire::Jsonb => {
                jsonb_keeps(&text)?;
                let mut raw = Vec::with_capacity(text.len() + 1);
                raw.push(1);
                raw.extend_from_slice(text.as_bytes());
                Cell::Raw(raw)
            }
            _ => Cell::text(text),
        })
    }

    fn json_of<'c>(&self, place: Place, cell: &'c Cell) -> Result<&'c [u8], String> {
        match cell {
            Cell::Null => Err("holds NULL; expected JSON".to_owned()),
            Cell::Raw(raw) => json_text(&self.column(place)?.native.wire, raw),
        }
    }

    fn to_child_id(&self, id: String) -> Cell {
        Cell::text(id)
    }

    fn to_position(&self, position: i64) -> Cell {
        Cell::int8(position)
    }
}

fn key_misfit(native: &Native, part: &Value) -> String {
    format!("the key column is {}, which does not hold {}", native.declared, part.type_name())
}

/// A key's part in a text column: a text stands as it is, but for one that
/// holds U+0000 or could be taken for what follows; everything else is its
/// canonical order bytes in hex digits and its tagged JSON, so that such parts
/// compare as text as they do.
pub(super) fn part_to_text(part: &Value) -> String {
    match part {
        Value::Text(text) if !text.contains('\0') && decoded(text).is_none() => text.clone(),
        part => encoded(part),
    }
}

fn encoded(part: &Value) -> String {
    format!("{ENCODED}{}:{}", hex(&order::bytes(part)), json::to_string(part))
}

fn decoded(text: &str) -> Option<Value> {
    let (_, json) = text.strip_prefix(ENCODED)?.split_once(':')?;
    json::parse(json.as_bytes()).ok().filter(|part| encoded(part) == text)
}

fn part_from_text(text: String) -> Value {
    decoded(&text).unwrap_or(Value::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_every_type_survive_as_text() {
        let encoded_int = encoded(&Value::Int(5));
        let parts = [
            Value::text("a"),
            Value::text(""),
            Value::text("@"),
            Value::text("@5:5"),
            Value::text("a\0b"),
            Value::text(encoded_int),
            Value::Int(5),
            Value::Int(-5),
            Value::Float(5.0),
            Value::from_u64(u64::MAX),
            Value::Bool(true),
            Value::Bytes(vec![0, 255]),
            Value::Array(vec![1.into(), "a\0".into()]),
        ];
        for (n, part) in parts.iter().enumerate() {
            let text = part_to_text(part);
            assert!(!text.contains('\0'), "{text:?}");
            assert_eq!(part_from_text(text.clone()), *part, "{text}");
            assert!(parts[..n].iter().all(|other| part_to_text(other) != text), "{text}");
        }
        assert!(part_to_text(&Value::Int(-5)) < part_to_text(&Value::Int(5)));
        assert_eq!(part_to_text(&"@".into()), "@", "plain where nothing can be taken for it");
    }
}
