//! The cells of a layout: which column a value stands in decides its form.

use shearwater_core::shape::FieldType;
use shearwater_core::value::json;
use shearwater_core::{Key, Value};

use super::cell::Cell;
use super::native::{Column, Kind};
use super::tables::Tables;
use super::value::{from_cell, to_cell};
use crate::relational::{Codec, Place};

impl Tables {
    fn column(&self, place: Place) -> Result<&Column, String> {
        let found = match place {
            Place::Key(at) => self.key.get(at),
            Place::Value(at) => self.values.get(at),
            Place::Child { table, at } => self.children.get(table).and_then(|child| child.values.get(at)),
        };
        found.ok_or_else(|| "the layout's column is not known".to_owned())
    }

    fn key_column(&self, at: usize) -> Result<&Column, String> {
        self.column(Place::Key(at))
    }
}

impl Codec for Tables {
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
        to_cell(self.column(place)?, ty, value)
    }

    fn from_cell(&self, place: Place, ty: FieldType, cell: &Cell) -> Result<Value, String> {
        let column = self.column(place)?;
        let value = from_cell(column, ty, cell)?;
        if matches!(place, Place::Key(_)) && to_cell(column, ty, &value).as_ref() != Ok(cell) {
            // Another writing of the same value would be another row.
            return Err(format!("the key is not written as this program writes {}", ty.name()));
        }
        Ok(value)
    }

    /// A column of ours holds keys of any type as [`Key::to_text`] has them;
    /// any other holds what its own type says.
    fn to_key_cell(&self, at: usize, part: &Value) -> Result<Cell, String> {
        let column = self.key_column(at)?;
        if column.is_key_text {
            let text = Value::Text(Key::single(part.clone()).to_text());
            return to_cell(column, FieldType::Text, &text);
        }
        to_cell(column, key_type(column, part)?, part)
    }

    fn from_key_cell(&self, at: usize, cell: &Cell) -> Result<Value, String> {
        let column = self.key_column(at)?;
        if !column.is_key_text {
            let ty = super::value::proposal(column).ok_or("the key's column has a type that is not known")?;
            let ty = if ty == FieldType::Bool { FieldType::Int } else { ty };
            return from_cell(column, ty, cell);
        }
        let Cell::Bytes(bytes) = cell else { return Err(format!("holds {}; expected text", cell.class())) };
        let text = std::str::from_utf8(bytes).map_err(|_| "the key's text is not valid UTF-8".to_owned())?;
        Key::from_text(text, 1)
            .ok()
            .filter(|key| key.to_text() == text)
            .and_then(|key| key.values().first().cloned())
            .ok_or_else(|| "the key's text was not written by this program".to_owned())
    }

    fn to_json_cell(&self, place: Place, text: String) -> Result<Cell, String> {
        let column = self.column(place)?;
        match column.kind {
            Kind::Text { .. } => to_cell(column, FieldType::Text, &Value::Text(text)),
            Kind::Json => {
                let value = json::parse(text.as_bytes()).map_err(|e| e.message.to_string())?;
                to_cell(column, FieldType::Json, &value)
            }
            _ => Err(format!("a column of the type {} holds no document", column.type_name)),
        }
    }

    fn json_of<'c>(&self, _place: Place, cell: &'c Cell) -> Result<&'c [u8], String> {
        match cell {
            Cell::Bytes(text) => Ok(text),
            other => Err(format!("holds {}; expected JSON as text", other.class())),
        }
    }

    fn to_child_id(&self, id: String) -> Cell {
        Cell::text(id)
    }

    fn to_position(&self, position: i64) -> Cell {
        Cell::Int(position)
    }
}

/// The type as which a key column of a document table is read.
fn key_type(column: &Column, part: &Value) -> Result<FieldType, String> {
    let ty = super::value::proposal(column).ok_or("the key's column has a type that is not known")?;
    let ty = if ty == FieldType::Bool { FieldType::Int } else { ty };
    match (ty, part) {
        (FieldType::Int, Value::Int(_) | Value::UInt(_))
        | (FieldType::Text, Value::Text(_))
        | (FieldType::Bytes, Value::Bytes(_))
        | (FieldType::Uuid, Value::Uuid(_))
        | (FieldType::Decimal, Value::Decimal(_))
        | (FieldType::Date, Value::Date(_))
        | (FieldType::Timestamp, Value::Local(_)) => Ok(ty),
        _ => Err(format!("takes {}, found {}", ty.name(), part.type_name())),
    }
}
