//! Values of the `rows` layout as cells, by declared type.
//!
//! | type | stored as |
//! |---|---|
//! | bool | INTEGER 0 or 1 |
//! | int | INTEGER; above `i64::MAX` refused |
//! | float | REAL; NaN and -0.0, which SQLite turns into NULL and 0.0, as TEXT `f64:` and the 16 hex digits of their bits |
//! | decimal, date, time, timestamp, instant, uuid | TEXT, as core prints them |
//! | text | TEXT, U+0000 included |
//! | bytes | BLOB |
//! | json, extended | TEXT, our tagged JSON |
//!
//! NULL is the explicit null of every type. Anything else is an error that
//! names the column: nothing is converted on the way in or out.

use std::str::FromStr;

use shearwater_core::Value;
use shearwater_core::shape::FieldType;
use shearwater_core::store::InspectedColumn;
use shearwater_core::value::{Decimal, Uuid, json};

use super::cell::Cell;
use crate::Origin;
use crate::relational::document::{part_from_bytes, part_to_bytes};
use crate::relational::{Codec, Place};

/// What marks a float that REAL cannot hold.
const FLOAT_BITS_PREFIX: &str = "f64:";

/// Floats of integers up to here are exact, ± 2^53: SQLite may keep such a
/// float as INTEGER in a column of NUMERIC affinity.
pub(super) const FLOAT_INTEGER_MAX: i64 = 1 << 53;

/// How SQLite holds values: by declared type alone, whatever the column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells;

impl Codec for Cells {
    type Cell = Cell;

    fn null(&self) -> Cell {
        Cell::Null
    }

    fn is_null(&self, cell: &Cell) -> bool {
        matches!(cell, Cell::Null)
    }

    fn size(&self, cell: &Cell) -> usize {
        cell.len()
    }

    fn to_cell(&self, _place: Place, ty: FieldType, value: &Value) -> Result<Cell, String> {
        to_cell(ty, value)
    }

    fn from_cell(&self, _place: Place, ty: FieldType, cell: &Cell) -> Result<Value, String> {
        from_cell(ty, cell)
    }

    /// Integers and texts stand as they are, everything else as a BLOB.
    fn to_key_cell(&self, _at: usize, part: &Value) -> Result<Cell, String> {
        Ok(match part {
            Value::Int(n) => Cell::Int(*n),
            Value::Text(text) => Cell::text(text.as_str()),
            other => Cell::Blob(part_to_bytes(other)?),
        })
    }

    fn from_key_cell(&self, _at: usize, cell: &Cell) -> Result<Value, String> {
        match cell {
            Cell::Int(n) => Ok(Value::Int(*n)),
            Cell::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| "the key's TEXT is not valid UTF-8".to_owned())?;
                Ok(Value::text(text))
            }
            Cell::Blob(bytes) => part_from_bytes(bytes)
                .filter(|part| !matches!(part, Value::Int(_) | Value::Text(_) | Value::Null))
                .ok_or_else(|| "the key's BLOB was not written by this program".to_owned()),
            Cell::Null => Err("the key is NULL".to_owned()),
            Cell::Real(_) => Err("the key is REAL; expected INTEGER, TEXT or a BLOB of ours".to_owned()),
        }
    }

    fn to_json_cell(&self, _place: Place, text: String) -> Result<Cell, String> {
        Ok(Cell::text(text))
    }

    fn json_of<'c>(&self, _place: Place, cell: &'c Cell) -> Result<&'c [u8], String> {
        match cell {
            Cell::Text(text) => Ok(text),
            other => Err(format!("holds {}; expected JSON as TEXT", other.class())),
        }
    }

    fn to_child_id(&self, id: String) -> Cell {
        Cell::text(id)
    }

    fn to_position(&self, position: i64) -> Cell {
        Cell::Int(position)
    }
}

/// The cell of a value, or why the type does not take it.
pub(super) fn to_cell(ty: FieldType, value: &Value) -> Result<Cell, String> {
    Ok(match (ty, value) {
        (_, Value::Null) => Cell::Null,
        (FieldType::Bool, Value::Bool(b)) => Cell::Int(i64::from(*b)),
        (FieldType::Int, Value::Int(n)) => Cell::Int(*n),
        (FieldType::Int, Value::UInt(_)) => {
            return Err("SQLite's INTEGER holds at most 9223372036854775807; declare the field as decimal".into());
        }
        (FieldType::Float, Value::Float(x)) if x.is_nan() || (*x == 0.0 && x.is_sign_negative()) => {
            Cell::text(format!("{FLOAT_BITS_PREFIX}{:016x}", x.to_bits()))
        }
        (FieldType::Float, Value::Float(x)) => Cell::Real(*x),
        (FieldType::Text, Value::Text(text)) => Cell::text(text.as_str()),
        (FieldType::Bytes, Value::Bytes(bytes)) => Cell::Blob(bytes.clone()),
        (FieldType::Uuid, Value::Uuid(uuid)) => Cell::text(uuid.to_string()),
        (FieldType::Decimal, Value::Decimal(decimal)) => Cell::text(decimal.to_string()),
        (FieldType::Date, Value::Date(date)) => Cell::text(date.to_string()),
        (FieldType::Time, Value::Time(time)) => Cell::text(time.to_string()),
        (FieldType::Timestamp, Value::Local(local)) => Cell::text(local.to_string()),
        (FieldType::Instant, Value::Instant(instant)) => Cell::text(instant.to_string()),
        (FieldType::Json, value) => Cell::text(json::to_string(value)),
        (FieldType::Extended, value @ Value::Extended(_)) => Cell::text(json::to_string(value)),
        (ty, value) => return Err(format!("takes {}, found {}", ty.name(), value.type_name())),
    })
}

/// The value of a cell, or why the type does not read it.
pub(super) fn from_cell(ty: FieldType, cell: &Cell) -> Result<Value, String> {
    Ok(match (ty, cell) {
        (_, Cell::Null) => Value::Null,
        (FieldType::Bool, Cell::Int(n @ (0 | 1))) => Value::Bool(*n == 1),
        (FieldType::Int, Cell::Int(n)) => Value::Int(*n),
        (FieldType::Float, Cell::Real(x)) => Value::Float(*x),
        (FieldType::Float, Cell::Int(n)) if n.abs() <= FLOAT_INTEGER_MAX => Value::Float(*n as f64),
        (FieldType::Float, Cell::Text(text)) => Value::Float(float_from_bits(utf8(text)?)?),
        (FieldType::Text, Cell::Text(text)) => Value::text(utf8(text)?),
        (FieldType::Bytes, Cell::Blob(bytes)) => Value::Bytes(bytes.clone()),
        (FieldType::Uuid, Cell::Text(text)) => {
            let text = utf8(text)?;
            let uuid = Uuid::try_parse(text).map_err(|_| "the TEXT is no uuid".to_owned())?;
            if uuid.to_string() != text {
                return Err("the TEXT is a uuid, but not in the form 8-4-4-4-12 of lower-case digits".into());
            }
            Value::Uuid(uuid)
        }
        (FieldType::Decimal, Cell::Int(n)) => Value::Decimal(Decimal::from_int(i128::from(*n))),
        (FieldType::Decimal, Cell::Text(text)) => Value::Decimal(parsed(ty, text)?),
        (FieldType::Date, Cell::Text(text)) => Value::Date(parsed(ty, text)?),
        (FieldType::Time, Cell::Text(text)) => Value::Time(parsed(ty, text)?),
        (FieldType::Timestamp, Cell::Text(text)) => Value::Local(parsed(ty, text)?),
        (FieldType::Instant, Cell::Text(text)) => Value::Instant(parsed(ty, text)?),
        (FieldType::Json, Cell::Text(text)) => {
            json::parse(text).map_err(|e| format!("the TEXT is no JSON: {}", e.message))?
        }
        (FieldType::Extended, Cell::Text(text)) => match json::parse(text) {
            Ok(value @ Value::Extended(_)) => value,
            Ok(_) | Err(_) => return Err("the TEXT is no store's own type in our JSON".into()),
        },
        (ty, cell) => return Err(format!("holds {}, which does not read as {}", cell.class(), ty.name())),
    })
}

/// Whether SQLite's own order of the type's cells is canonical order.
pub(super) fn is_order_native(ty: FieldType) -> bool {
    matches!(ty, FieldType::Bool | FieldType::Int | FieldType::Text | FieldType::Bytes | FieldType::Uuid)
}

/// The declared type that `provision` gives a column.
pub(super) fn declared(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Bool | FieldType::Int => "INTEGER",
        FieldType::Float => "REAL",
        FieldType::Bytes => "BLOB",
        FieldType::Decimal
        | FieldType::Text
        | FieldType::Date
        | FieldType::Time
        | FieldType::Timestamp
        | FieldType::Instant
        | FieldType::Uuid
        | FieldType::Json
        | FieldType::Extended => "TEXT",
    }
}

/// A column's declared type when it is more than what `provision` would say; a
/// type of another store may change what is stored.
pub(crate) fn words_for(column: &InspectedColumn, origin: Origin) -> Option<String> {
    let ty = column.ty?;
    let is_more = !column.declared.is_empty() && !column.declared.eq_ignore_ascii_case(declared(ty));
    (origin == Origin::SameKind && is_more).then(|| column.declared.clone())
}

/// A column's affinity: what SQLite does to a cell that is stored there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    /// Keeps every cell.
    Blob,
    /// Turns numbers into text.
    Text,
    /// Turns text that looks like a number, and floats of integers, into numbers.
    Numeric,
    /// As `Numeric`, and integers into floats.
    Real,
}

impl Affinity {
    /// The affinity of a declared type, by SQLite's own rules.
    pub(super) fn of_declared(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            Affinity::Numeric
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    /// Whether a cell comes out of such a column as it went in, or as a float
    /// that reads the same.
    pub(super) fn keeps(self, cell: &Cell) -> bool {
        match (self, cell) {
            (Affinity::Blob, _) | (_, Cell::Null | Cell::Blob(_)) => true,
            (Affinity::Text, cell) => matches!(cell, Cell::Text(_)),
            (Affinity::Numeric, Cell::Int(_)) | (Affinity::Real, Cell::Real(_)) => true,
            (Affinity::Numeric, Cell::Real(x)) => {
                x.fract() != 0.0 || x.abs() <= FLOAT_INTEGER_MAX as f64 || x.is_infinite()
            }
            (Affinity::Real, Cell::Int(_)) => false,
            (_, Cell::Text(text)) => !looks_like_a_number(text),
        }
    }
}

/// Wider than SQLite's own test on purpose: a refusal is better than a change.
fn looks_like_a_number(text: &[u8]) -> bool {
    // SQLite reads up to the first U+0000.
    let trimmed = text.split(|byte| *byte == 0).next().unwrap_or(text).trim_ascii();
    let digits = trimmed.strip_prefix(b"-").or_else(|| trimmed.strip_prefix(b"+")).unwrap_or(trimmed);
    digits.first().is_some_and(|c| c.is_ascii_digit() || *c == b'.')
        && trimmed.iter().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-'))
        && std::str::from_utf8(trimmed).is_ok_and(|t| t.parse::<f64>().is_ok())
}

fn float_from_bits(text: &str) -> Result<f64, String> {
    text.strip_prefix(FLOAT_BITS_PREFIX)
        .filter(|digits| digits.len() == 16)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(f64::from_bits)
        .ok_or_else(|| "holds TEXT, which does not read as float".into())
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "the TEXT is not valid UTF-8".into())
}

fn parsed<T: FromStr>(ty: FieldType, text: &[u8]) -> Result<T, String> {
    // The parser's own message may quote the text, which is a row value.
    utf8(text)?.parse().map_err(|_| format!("the TEXT does not read as {}", ty.name()))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// What SQLite itself does with a cell in a column of a declared type.
    fn stored(declared: &str, cell: &Cell) -> Cell {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&format!("CREATE TABLE t (c {declared})")).unwrap();
        conn.execute("INSERT INTO t VALUES (?1)", [cell]).unwrap();
        conn.query_row("SELECT c FROM t", [], |row| row.get_ref(0).map(Cell::from)).unwrap()
    }

    fn cells() -> Vec<Cell> {
        let texts = [
            "",
            " ",
            "1",
            " 1 ",
            "+1",
            "-1",
            "1.0",
            "1.10",
            ".5",
            "5.",
            "1e3",
            "1e",
            "0x10",
            "1_0",
            "abc",
            "1a",
            "nan",
            "inf",
            "Infinity",
            "-",
            ".",
            "2020-01-01",
            "9223372036854775808",
            "1\0",
            "٣",
            "f64:7ff8000000000000",
        ];
        let reals = [0.5, 1.0, -3.0, 1e15, 1e300, 9_007_199_254_740_994.0, f64::INFINITY, f64::NEG_INFINITY];
        let ints = [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1];
        let mut cells: Vec<Cell> = texts.iter().map(|text| Cell::text(*text)).collect();
        cells.extend(reals.map(Cell::Real));
        cells.extend(ints.map(Cell::Int));
        cells.extend([Cell::Null, Cell::Blob(vec![]), Cell::Blob(b"1".to_vec()), Cell::Text(vec![0xff])]);
        cells
    }

    #[test]
    fn a_cell_that_a_column_is_said_to_keep_comes_out_as_it_went_in() {
        for declared in [
            "",
            "BLOB",
            "TEXT",
            "VARCHAR(3)",
            "INTEGER",
            "BIGINT",
            "NUMERIC",
            "DECIMAL(10,2)",
            "REAL",
            "DOUBLE",
            "BOOLEAN",
            "DATE",
        ] {
            let affinity = Affinity::of_declared(declared);
            for cell in cells() {
                let found = stored(declared, &cell);
                if affinity.keeps(&cell) && found != cell {
                    // The one change that reading undoes: a float of an integer.
                    let (Cell::Real(x), Cell::Int(n)) = (&cell, &found) else {
                        panic!("{declared}: {cell:?} became {found:?}")
                    };
                    assert_eq!(*n as f64, *x, "{declared}");
                    assert_eq!(from_cell(FieldType::Float, &found), Ok(Value::Float(*x)), "{declared}");
                }
            }
        }
    }

    #[test]
    fn provisioned_columns_keep_what_their_type_is_stored_as() {
        let check = |ty: FieldType, value: Value| {
            let cell = to_cell(ty, &value).unwrap();
            assert!(Affinity::of_declared(declared(ty)).keeps(&cell), "{ty:?} {value:?}");
            assert_eq!(from_cell(ty, &stored(declared(ty), &cell)), Ok(value));
        };
        check(FieldType::Decimal, Value::Decimal("1.10".parse().unwrap()));
        check(FieldType::Text, "1.10".into());
        for x in [-0.0, 0.0, f64::NAN, f64::from_bits(0xfff0_0000_0000_0001), f64::INFINITY, 1.0, 5e-324, 1e300] {
            check(FieldType::Float, Value::Float(x));
        }
        check(FieldType::Bytes, Value::Bytes(vec![0, 255]));
        check(FieldType::Bool, true.into());
    }

    #[test]
    fn cells_that_do_not_read_as_the_type_are_told() {
        let check = |ty: FieldType, cell: Cell, says: &str| {
            let error = from_cell(ty, &cell).unwrap_err();
            assert!(error.contains(says), "{ty:?} {cell:?}: {error}");
        };
        check(FieldType::Bool, Cell::Int(2), "INTEGER");
        check(FieldType::Bool, Cell::text("true"), "TEXT");
        check(FieldType::Int, Cell::Real(1.0), "REAL");
        check(FieldType::Int, Cell::text("1"), "does not read as int");
        check(FieldType::Float, Cell::Int((1 << 53) + 1), "does not read as float");
        check(FieldType::Float, Cell::text("1.5"), "does not read as float");
        check(FieldType::Decimal, Cell::Real(1.1), "REAL");
        check(FieldType::Decimal, Cell::text("1,1"), "does not read as decimal");
        check(FieldType::Text, Cell::Int(1), "INTEGER");
        check(FieldType::Text, Cell::Text(vec![0xff]), "UTF-8");
        check(FieldType::Bytes, Cell::text("x"), "TEXT");
        check(FieldType::Date, Cell::text("01/02/2020"), "does not read as date");
        check(FieldType::Instant, Cell::Int(1_600_000_000), "INTEGER");
        check(FieldType::Uuid, Cell::text("{00000000-0000-0000-0000-000000000000}"), "form");
        check(FieldType::Uuid, Cell::text("x"), "no uuid");
        check(FieldType::Json, Cell::text("{"), "no JSON");
    }
}
