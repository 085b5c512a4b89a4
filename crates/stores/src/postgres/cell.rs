//! What travels between us and the server: the binary form of a column's type,
//! or the server's own text of it where we do not know the type.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// One value as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) enum Cell {
    /// NULL.
    #[default]
    Null,
    /// The bytes of the type's binary form; of a text where the type is not known.
    Raw(Vec<u8>),
}

impl Cell {
    /// The cell of a text.
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Raw(text.into().into_bytes())
    }

    /// The cell of an `int8`.
    pub(super) fn int8(n: i64) -> Cell {
        Cell::Raw(n.to_be_bytes().to_vec())
    }

    /// Its size, bytes, approximately.
    pub(super) fn len(&self) -> usize {
        match self {
            Cell::Null => 1,
            Cell::Raw(bytes) => bytes.len(),
        }
    }

    /// Appends it as COPY's binary form and arrays have it: length, bytes.
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Cell::Null => out.put_i32(-1),
            Cell::Raw(bytes) => {
                out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                out.put_slice(bytes);
            }
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match self {
            Cell::Null => IsNull::Yes,
            Cell::Raw(bytes) => {
                out.put_slice(bytes);
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        // The statement casts each parameter to the type whose bytes these are.
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Cell, Box<dyn Error + Sync + Send>> {
        Ok(Cell::Raw(raw.to_vec()))
    }

    fn from_sql_null(_: &Type) -> Result<Cell, Box<dyn Error + Sync + Send>> {
        Ok(Cell::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Cells of one column as the binary form of an array of a type.
pub(super) fn array_cell<'a>(element_oid: u32, cells: impl ExactSizeIterator<Item = &'a Cell> + Clone) -> Cell {
    let mut out = BytesMut::with_capacity(20 + cells.len() * 16);
    if cells.len() == 0 {
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(element_oid);
        return Cell::Raw(out.to_vec());
    }
    out.put_i32(1);
    // Whether there is a NULL, as the server says it: equal arrays are equal bytes.
    out.put_i32(i32::from(cells.clone().any(|cell| *cell == Cell::Null)));
    out.put_u32(element_oid);
    out.put_i32(i32::try_from(cells.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for cell in cells {
        cell.put(&mut out);
    }
    Cell::Raw(out.to_vec())
}

/// Cells as one text, for cursors and range bounds: hex digits, `n` for NULL.
pub(super) fn cells_to_text(cells: &[Cell]) -> String {
    let parts: Vec<String> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Null => "n".to_owned(),
            Cell::Raw(bytes) => hex(bytes),
        })
        .collect();
    parts.join(",")
}

/// Reads [`cells_to_text`]'s form back.
pub(super) fn cells_from_text(text: &str) -> Option<Vec<Cell>> {
    text.split(',').map(|part| if part == "n" { Some(Cell::Null) } else { unhex(part).map(Cell::Raw) }).collect()
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A reader of binary forms.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next bytes, as many as the result has.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| short())
    }

    /// The next 16 bits.
    pub(super) fn i16(&mut self) -> Result<i16, String> {
        self.array().map(i16::from_be_bytes)
    }

    /// The next 32 bits.
    pub(super) fn i32(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_be_bytes)
    }

    /// The next cell: length, bytes.
    pub(super) fn cell(&mut self) -> Result<Cell, String> {
        match self.i32()? {
            -1 => Ok(Cell::Null),
            length => {
                let length = usize::try_from(length).map_err(|_| short())?;
                Ok(Cell::Raw(self.take(length)?.to_vec()))
            }
        }
    }
}

fn short() -> String {
    "the server's binary form ends too early".to_owned()
}

/// The elements of an array's binary form; an error when it has more than one
/// dimension or does not count from 1.
pub(super) fn array_elements(raw: &[u8]) -> Result<Vec<Cell>, String> {
    let mut bytes = Bytes(raw);
    let dimensions = bytes.i32()?;
    bytes.take(8)?;
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    if dimensions != 1 {
        return Err(format!("the array has {dimensions} dimensions; one can be read exactly"));
    }
    let count = bytes.i32()?;
    let low = bytes.i32()?;
    if low != 1 {
        return Err(format!("the array counts from {low}; one that counts from 1 can be read exactly"));
    }
    (0..count).map(|_| bytes.cell()).collect()
}

/// The fields of a row's binary form.
pub(super) fn row_fields(raw: &[u8]) -> Result<Vec<Cell>, String> {
    let mut bytes = Bytes(raw);
    let count = bytes.i32()?;
    (0..count)
        .map(|_| {
            bytes.take(4)?;
            bytes.cell()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_as_text_and_as_an_array() {
        let cells = vec![Cell::Null, Cell::text(""), Cell::text("aé"), Cell::int8(-1), Cell::Raw(vec![0, 255])];
        assert_eq!(cells_from_text(&cells_to_text(&cells)), Some(cells.clone()));
        for text in ["0", "xy", "00,", "é"] {
            let found = cells_from_text(text);
            assert!(found.is_none() || text == "00,", "{text}: {found:?}");
        }
        let Cell::Raw(raw) = array_cell(25, cells.iter()) else { panic!() };
        assert_eq!(array_elements(&raw), Ok(cells));
        assert!(array_elements(&raw[..raw.len() - 1]).is_err());
    }
}
