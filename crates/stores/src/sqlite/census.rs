//! What the columns of a table really hold: SQLite's declared types promise
//! little, so the cells themselves are looked at.

use rusqlite::{Connection, Row};
use shearwater_core::Value;
use shearwater_core::error::StoreResult;
use shearwater_core::shape::FieldType;
use shearwater_core::store::InspectedColumn;

use super::cell::Cell;
use super::error::store_error;
use super::tables::quoted;
use super::value::{FLOAT_INTEGER_MAX, from_cell, to_cell};
use crate::relational::document::part_from_bytes;

/// Rows that are looked at of each table: what an `init` or a `plan` may take
/// is seconds, also of a store of many tables.
const ROWS_MAX: u64 = 100_000;

/// Columns counted in one statement; SQLite takes 2,000 results.
const COLUMNS_MAX: usize = 200;

/// How many cells of each class a column has, and its lowest and highest integer.
#[derive(Debug)]
struct Counted {
    ints: u64,
    reals: u64,
    texts: u64,
    blobs: u64,
    lowest: i64,
    highest: i64,
}

/// Fills in `ty` of each column, in the columns' own order.
pub(super) fn fill_types(
    conn: &Connection,
    table: &str,
    columns: &mut [InspectedColumn],
    key: &[String],
) -> StoreResult<()> {
    for some in columns.chunks_mut(COLUMNS_MAX) {
        let counted = count(conn, table, some)?;
        for (column, counted) in some.iter_mut().zip(counted) {
            let of = Column { conn, table, name: &column.name };
            column.ty = match key.contains(&column.name) {
                true => of.key_type(&column.declared, &counted)?,
                false => of.value_type(&column.declared, &counted)?,
            };
        }
    }
    Ok(())
}

fn count(conn: &Connection, table: &str, columns: &[InspectedColumn]) -> StoreResult<Vec<Counted>> {
    let failed = |e| store_error("counting a table's cells", e);
    let counts = columns.iter().map(|column| {
        let c = quoted(&column.name);
        let class = |class: &str| format!("coalesce(sum(typeof({c}) = '{class}'), 0)");
        let int = format!("CASE WHEN typeof({c}) = 'integer' THEN {c} END");
        let classes = ["integer", "real", "text", "blob"].map(class).join(", ");
        format!("{classes}, coalesce(min({int}), 0), coalesce(max({int}), 0)")
    });
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT {} FROM {} LIMIT {ROWS_MAX})",
        counts.collect::<Vec<_>>().join(", "),
        names.join(", "),
        quoted(table)
    );
    let counted = |row: &Row<'_>, at: usize| -> rusqlite::Result<Counted> {
        let count = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
        Ok(Counted {
            ints: count(at)?,
            reals: count(at + 1)?,
            texts: count(at + 2)?,
            blobs: count(at + 3)?,
            lowest: row.get(at + 4)?,
            highest: row.get(at + 5)?,
        })
    };
    conn.query_row(&sql, [], |row| (0..columns.len()).map(|at| counted(row, at * 6)).collect()).map_err(failed)
}

/// The types that a declaration's words may mean for a text, likeliest first.
fn meant(declared: &str) -> &'static [FieldType] {
    use FieldType::*;
    let declared = declared.to_ascii_uppercase();
    let has = |word: &str| declared.contains(word);
    match () {
        () if has("UUID") || has("GUID") => &[Uuid],
        () if has("JSON") => &[Json],
        () if has("TIMESTAMP") || has("DATETIME") => &[Timestamp, Instant],
        () if has("DATE") => &[Date, Timestamp, Instant],
        () if has("TIME") => &[Time],
        () if has("DEC") || has("NUMERIC") => &[Decimal],
        () => &[],
    }
}

/// The type of a column that holds nothing, by its declared type.
fn declared_type(declared: &str) -> FieldType {
    let upper = declared.to_ascii_uppercase();
    let has = |word: &str| upper.contains(word);
    match () {
        () if has("BOOL") => FieldType::Bool,
        () if has("INT") => FieldType::Int,
        () if has("CHAR") || has("CLOB") || has("TEXT") => FieldType::Text,
        () if has("BLOB") => FieldType::Bytes,
        () if has("REAL") || has("FLOA") || has("DOUB") || has("DEC") || has("NUM") => FieldType::Float,
        () => meant(declared).first().copied().unwrap_or(FieldType::Text),
    }
}

struct Column<'a> {
    conn: &'a Connection,
    table: &'a str,
    name: &'a str,
}

impl Column<'_> {
    /// The type that reads every cell exactly; `None`: there is none.
    fn value_type(&self, declared: &str, counted: &Counted) -> StoreResult<Option<FieldType>> {
        let is_exact = counted.lowest >= -FLOAT_INTEGER_MAX && counted.highest <= FLOAT_INTEGER_MAX;
        Ok(match *counted {
            Counted { ints: 0, reals: 0, texts: 0, blobs: 0, .. } => Some(declared_type(declared)),
            Counted { reals: 0, texts: 0, blobs: 0, lowest: 0.., highest: ..=1, .. }
                if declared.to_ascii_uppercase().contains("BOOL") =>
            {
                Some(FieldType::Bool)
            }
            Counted { reals: 0, texts: 0, blobs: 0, .. } => Some(FieldType::Int),
            Counted { texts: 0, blobs: 0, .. } => is_exact.then_some(FieldType::Float),
            Counted { ints: 0, reals: 0, texts: 0, .. } => Some(FieldType::Bytes),
            Counted { ints: 0, reals: 0, blobs: 0, .. } => match meant(declared) {
                [] => Some(FieldType::Text),
                types => {
                    let fits = |ty: &&FieldType| self.all_texts(|cell| is_same(**ty, cell)).unwrap_or(false);
                    Some(types.iter().find(fits).copied().unwrap_or(FieldType::Text))
                }
            },
            // Floats that REAL cannot hold are texts of ours.
            Counted { blobs: 0, .. } if is_exact => {
                self.all_texts(|cell| is_same(FieldType::Float, cell))?.then_some(FieldType::Float)
            }
            _ => None,
        })
    }

    /// Keys tell their type themselves: see how the layout writes them.
    fn key_type(&self, declared: &str, counted: &Counted) -> StoreResult<Option<FieldType>> {
        let mut found = Vec::new();
        if counted.ints > 0 {
            found.push(FieldType::Int);
        }
        if counted.texts > 0 {
            found.push(FieldType::Text);
        }
        if counted.blobs > 0 {
            match self.types_of_key_blobs()? {
                Some(types) => found.extend(types),
                None => return Ok(None),
            }
        }
        Ok(match (counted.reals, found.as_slice()) {
            (0, []) => Some(declared_type(declared)),
            (0, [one]) => Some(*one),
            (0, _) => Some(FieldType::Json),
            (_, _) => None,
        })
    }

    fn types_of_key_blobs(&self) -> StoreResult<Option<Vec<FieldType>>> {
        let mut types: Vec<FieldType> = Vec::new();
        let all_ours = self.all("blob", |cell| {
            let Cell::Blob(bytes) = cell else { return false };
            let ty = part_from_bytes(bytes).and_then(|part| type_of(&part));
            types.extend(ty.filter(|ty| !types.contains(ty)));
            ty.is_some()
        })?;
        Ok(all_ours.then_some(types))
    }

    fn all_texts(&self, holds: impl FnMut(&Cell) -> bool) -> StoreResult<bool> {
        self.all("text", holds)
    }

    /// Whether this holds for all cells of a class, as far as is looked.
    fn all(&self, class: &str, mut holds: impl FnMut(&Cell) -> bool) -> StoreResult<bool> {
        let failed = |e| store_error("looking at a column's cells", e);
        let (column, table) = (quoted(self.name), quoted(self.table));
        let sql = format!("SELECT {column} FROM {table} WHERE typeof({column}) = '{class}' LIMIT {ROWS_MAX}");
        let mut statement = self.conn.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if !holds(&Cell::from(row.get_ref(0).map_err(failed)?)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a cell reads as the type and would be written as it stands.
fn is_same(ty: FieldType, cell: &Cell) -> bool {
    from_cell(ty, cell).and_then(|value| to_cell(ty, &value)).is_ok_and(|again| again == *cell)
}

/// The type that a key part of ours is of.
fn type_of(part: &Value) -> Option<FieldType> {
    Some(match part {
        Value::Bool(_) => FieldType::Bool,
        Value::Int(_) | Value::UInt(_) => FieldType::Int,
        Value::Float(_) => FieldType::Float,
        Value::Decimal(_) => FieldType::Decimal,
        Value::Text(_) => FieldType::Text,
        Value::Bytes(_) => FieldType::Bytes,
        Value::Date(_) => FieldType::Date,
        Value::Time(_) => FieldType::Time,
        Value::Local(_) => FieldType::Timestamp,
        Value::Instant(_) => FieldType::Instant,
        Value::Uuid(_) => FieldType::Uuid,
        Value::Extended(_) => FieldType::Extended,
        Value::Array(_) | Value::Document(_) => FieldType::Json,
        Value::Null => return None,
    })
}
