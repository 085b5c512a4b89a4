//! What the server sends and takes: one stored value.

use std::fmt::Write as _;

use mysql_async::Value as Wire;
use serde_json::{Value as Json, json};

/// One stored value as the statements of this connector read and bind it.
/// Texts are UTF-8, dates and times their texts.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// A float.
    Real(f64),
    /// Text or bytes.
    Bytes(Vec<u8>),
}

impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Int(a), Cell::Int(b)) => a == b,
            (Cell::UInt(a), Cell::UInt(b)) => a == b,
            (Cell::Real(a), Cell::Real(b)) => a.to_bits() == b.to_bits(),
            (Cell::Bytes(a), Cell::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Cell {}

impl std::hash::Hash for Cell {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Cell::Null => state.write_u8(0),
            Cell::Int(n) => state.write_i64(*n),
            Cell::UInt(n) => state.write_u64(*n),
            Cell::Real(x) => state.write_u64(x.to_bits()),
            Cell::Bytes(bytes) => bytes.hash(state),
        }
    }
}

impl From<Wire> for Cell {
    fn from(value: Wire) -> Cell {
        match value {
            Wire::NULL => Cell::Null,
            Wire::Int(n) => Cell::Int(n),
            Wire::UInt(n) => Cell::from_u64(n),
            Wire::Float(x) => Cell::Real(f64::from(x)),
            Wire::Double(x) => Cell::Real(x),
            Wire::Bytes(bytes) => Cell::Bytes(bytes),
            // The statements ask for dates and times as text, because the
            // driver reads some negative times wrongly; nothing comes this way.
            Wire::Date(..) | Wire::Time(..) => Cell::Bytes(b"?".to_vec()),
        }
    }
}

impl From<&Cell> for Wire {
    fn from(cell: &Cell) -> Wire {
        match cell {
            Cell::Null => Wire::NULL,
            Cell::Int(n) => Wire::Int(*n),
            Cell::UInt(n) => Wire::UInt(*n),
            Cell::Real(x) => Wire::Double(*x),
            Cell::Bytes(bytes) => Wire::Bytes(bytes.clone()),
        }
    }
}

impl Cell {
    /// A cell of text.
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Bytes(text.into().into_bytes())
    }

    /// An integer, in its one form.
    pub(super) fn from_u64(n: u64) -> Cell {
        i64::try_from(n).map_or(Cell::UInt(n), Cell::Int)
    }

    /// What it is, for messages.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Cell::Null => "NULL",
            Cell::Int(_) | Cell::UInt(_) => "an integer",
            Cell::Real(_) => "a float",
            Cell::Bytes(_) => "text or bytes",
        }
    }

    /// Its size, bytes, approximately.
    pub(super) fn len(&self) -> usize {
        match self {
            Cell::Null => 1,
            Cell::Int(_) | Cell::UInt(_) | Cell::Real(_) => 8,
            Cell::Bytes(bytes) => bytes.len(),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Cell::Null => json!(["n"]),
            Cell::Int(n) => json!(["i", n]),
            Cell::UInt(n) => json!(["u", n]),
            Cell::Real(x) => json!(["r", x.to_bits()]),
            Cell::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!(["t", text]),
                Err(_) => json!(["b", hex(bytes)]),
            },
        }
    }

    fn from_json(json: &Json) -> Option<Cell> {
        let content = json.get(1);
        Some(match json.get(0)?.as_str()? {
            "n" => Cell::Null,
            "i" => Cell::Int(content?.as_i64()?),
            "u" => Cell::UInt(content?.as_u64()?),
            "r" => Cell::Real(f64::from_bits(content?.as_u64()?)),
            "t" => Cell::text(content?.as_str()?),
            "b" => Cell::Bytes(unhex(content?.as_str()?)?),
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

/// The bytes of hex digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
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
        check(vec![Cell::Null, Cell::Int(i64::MIN), Cell::from_u64(u64::MAX), Cell::from_u64(1)]);
        check(vec![Cell::Real(f64::NAN), Cell::Real(-0.0), Cell::Real(0.1)]);
        check(vec![Cell::text(""), Cell::text("a\0b"), Cell::text("\u{1F600}'\""), Cell::Bytes(vec![0xff, 0])]);
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
