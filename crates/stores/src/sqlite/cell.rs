//! What SQLite itself stores: five storage classes.

use std::fmt::Write as _;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::{Value as Json, json};

/// One stored value, bytes untouched: SQLite's TEXT need not be UTF-8.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// NULL.
    Null,
    /// INTEGER.
    Int(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(Vec<u8>),
    /// BLOB.
    Blob(Vec<u8>),
}

impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Int(a), Cell::Int(b)) => a == b,
            (Cell::Real(a), Cell::Real(b)) => a.to_bits() == b.to_bits(),
            (Cell::Text(a), Cell::Text(b)) | (Cell::Blob(a), Cell::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(n) => ValueRef::Integer(*n),
            Cell::Real(x) => ValueRef::Real(*x),
            Cell::Text(bytes) => ValueRef::Text(bytes),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Cell {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(n) => Cell::Int(n),
            ValueRef::Real(x) => Cell::Real(x),
            ValueRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}

impl Cell {
    /// A cell of text.
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into().into_bytes())
    }

    /// The storage class as SQLite names it.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Cell::Null => "NULL",
            Cell::Int(_) => "INTEGER",
            Cell::Real(_) => "REAL",
            Cell::Text(_) => "TEXT",
            Cell::Blob(_) => "BLOB",
        }
    }

    /// Its size, bytes, approximately.
    pub(super) fn len(&self) -> usize {
        match self {
            Cell::Null => 1,
            Cell::Int(_) | Cell::Real(_) => 8,
            Cell::Text(bytes) | Cell::Blob(bytes) => bytes.len(),
        }
    }

    /// For a cursor: one JSON array of class and content, nothing lost.
    fn to_json(&self) -> Json {
        match self {
            Cell::Null => json!(["n"]),
            Cell::Int(n) => json!(["i", n]),
            Cell::Real(x) => json!(["r", x.to_bits()]),
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!(["t", text]),
                Err(_) => json!(["x", hex(bytes)]),
            },
            Cell::Blob(bytes) => json!(["b", hex(bytes)]),
        }
    }

    fn from_json(json: &Json) -> Option<Cell> {
        let content = json.get(1);
        Some(match json.get(0)?.as_str()? {
            "n" => Cell::Null,
            "i" => Cell::Int(content?.as_i64()?),
            "r" => Cell::Real(f64::from_bits(content?.as_u64()?)),
            "t" => Cell::text(content?.as_str()?),
            "x" => Cell::Text(unhex(content?.as_str()?)?),
            "b" => Cell::Blob(unhex(content?.as_str()?)?),
            _ => return None,
        })
    }
}

/// Cells as one text, for cursors and range bounds.
pub(super) fn cells_to_text(cells: &[Cell]) -> String {
    Json::Array(cells.iter().map(Cell::to_json).collect()).to_string()
}

/// Reads [`cells_to_text`]'s form back.
pub(super) fn cells_from_text(text: &str) -> Option<Vec<Cell>> {
    let json: Json = serde_json::from_str(text).ok()?;
    json.as_array()?.iter().map(Cell::from_json).collect()
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String does not fail.
        let _infallible = write!(out, "{byte:02x}");
    }
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_texts_lose_nothing() {
        let check = |cells: Vec<Cell>| {
            let text = cells_to_text(&cells);
            assert_eq!(cells_from_text(&text), Some(cells), "{text}");
        };
        check(vec![]);
        check(vec![Cell::Null, Cell::Int(i64::MIN), Cell::Int(i64::MAX)]);
        check(vec![Cell::Real(f64::NAN), Cell::Real(-0.0), Cell::Real(f64::INFINITY), Cell::Real(0.1)]);
        check(vec![Cell::text(""), Cell::text("a\0b"), Cell::text("\u{1F600}'\"")]);
        check(vec![Cell::Text(vec![0xff, 0xfe]), Cell::Blob(vec![]), Cell::Blob(vec![0, 255])]);
    }

    #[test]
    fn other_texts_are_no_cursor() {
        for text in
            ["", "{}", "[1]", "[[\"i\"]]", "[[\"i\",\"1\"]]", "[[\"b\",\"0\"]]", "[[\"b\",\"zz\"]]", "[[\"q\",1]]"]
        {
            assert_eq!(cells_from_text(text), None, "{text}");
        }
    }
}
