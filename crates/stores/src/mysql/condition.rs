//! The part of a filter that the server can decide exactly by itself.

use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::value::{Date, LocalTimestamp};
use shearwater_core::{Key, Value};

use super::cell::Cell;
use super::names::{places, quoted};
use super::native::{Column, Kind};
use super::tables::Tables;
use super::value::{is_order_native, to_cell};
use crate::relational::condition::{
    Condition, Pushed, Terms, document_key, implied, plain_integer, root_column, sign, text_and_integer,
};

/// SQL with its bound values, which stand in the order of the conditions.
#[derive(Default)]
pub(super) struct Sql {
    /// Conditions on `r`, to be joined by AND.
    pub(super) conditions: Vec<String>,
    /// What is bound.
    pub(super) bound: Vec<Cell>,
}

impl Sql {
    /// Adds what every record that matches `filter` fulfils.
    pub(super) fn push_implied(&mut self, tables: &Tables, filter: &Filter) {
        if let Some((condition, _)) = implied(&mut Said { sql: self, tables }, filter) {
            self.conditions.push(condition);
        }
    }

    fn bind_all(&mut self, cells: Vec<Cell>) -> String {
        let places = places(cells.len());
        self.bound.extend(cells);
        places
    }
}

/// What the server can say of a column.
struct Said<'a> {
    sql: &'a mut Sql,
    tables: &'a Tables,
}

impl Terms for Said<'_> {
    type Cell = Cell;

    fn bound(&mut self) -> &mut Vec<Cell> {
        &mut self.sql.bound
    }

    fn is(&mut self, path: &Path, what: IsWhat) -> Option<Condition> {
        let (column, ty) = column(self.tables, path)?;
        let condition = match (what, ty) {
            (IsWhat::Null, _) => format!("r.{} IS NULL", quoted(&column.name)),
            (IsWhat::True, FieldType::Bool) => format!("{} = 1", column.read("r.")),
            (IsWhat::False, FieldType::Bool) => format!("{} = 0", column.read("r.")),
            _ => return None,
        };
        Some((condition, Pushed::Partly))
    }

    fn compare(&mut self, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<Condition> {
        if document_key(&self.tables.tree.layout, path, op).is_some() {
            return self.document_key(literals);
        }
        let (column, ty) = column(self.tables, path)?;
        let cells: Vec<Cell> =
            literals.iter().map(|literal| literal_cell(column, ty, literal)).collect::<Option<_>>()?;
        let name = format!("r.{}", quoted(&column.name));
        let condition = match sign(op) {
            // A collation may take more for equal, never less.
            None => format!("{name} IN ({})", self.sql.bind_all(cells)),
            Some(_) if !is_order_native(column, ty) => return None,
            Some(sign) => format!("{name} {sign} {}", self.sql.bind_all(cells)),
        };
        Some((condition, Pushed::Partly))
    }
}

impl Said<'_> {
    /// The key column of a document table: each literal as every key that it
    /// may be equal to.
    fn document_key(&mut self, literals: &[Literal]) -> Option<Condition> {
        let column = self.tables.key.first()?;
        let mut cells = Vec::new();
        for literal in literals {
            let (text, number) = text_and_integer(literal)?;
            // Values of other types whose text is the literal's.
            if column.is_key_text && is_maybe_other(&text) {
                return None;
            }
            for key in [Some(Value::Text(text)), number.map(Value::Int)].into_iter().flatten() {
                cells.extend(key_cells(self.tables, &Key::single(key)).into_iter().flatten());
            }
        }
        if cells.is_empty() {
            return Some(("1 = 0".to_owned(), Pushed::Partly));
        }
        let name = quoted(&column.name);
        let plain = format!("r.{name} IN ({})", self.sql.bind_all(cells));
        // Keys that are neither text nor integer stand as JSON objects or
        // arrays, floats, booleans.
        let condition = if column.is_key_text {
            format!(
                "({plain} OR r.{name} LIKE '{{%' OR r.{name} LIKE '[%' OR r.{name} LIKE '%.%' OR r.{name} LIKE '%e%')"
            )
        } else {
            plain
        };
        Some((condition, Pushed::Partly))
    }
}

fn is_maybe_other(text: &str) -> bool {
    matches!(text, "true" | "false") || matches!(text.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity")
}

/// The column of a path of the root, and its field's type.
fn column<'t>(tables: &'t Tables, path: &Path) -> Option<(&'t Column, FieldType)> {
    let found = root_column(&tables.tree.layout, path)?;
    Some((column_of(tables, &found.name)?, found.ty))
}

/// A column of the root by its field.
pub(super) fn column_of<'t>(tables: &'t Tables, field: &str) -> Option<&'t Column> {
    let all = tables.tree.root_columns().zip(tables.key.iter().chain(&tables.values));
    all.into_iter().find(|(name, _)| *name == field).map(|(_, column)| column)
}

/// The cell that a literal is compared as, where the server compares as core does.
fn literal_cell(column: &Column, ty: FieldType, literal: &Literal) -> Option<Cell> {
    let cell = match (ty, literal) {
        (FieldType::Text, Literal::Untyped(text)) => to_cell(column, ty, &Value::text(text)),
        (FieldType::Int, Literal::Untyped(text)) => to_cell(column, ty, &Value::Int(plain_integer(text)??)),
        (FieldType::Text | FieldType::Int | FieldType::Bytes, Literal::Typed(value)) if !value.is_null() => {
            to_cell(column, ty, value)
        }
        (FieldType::Date, Literal::Typed(value @ Value::Date(Date::Days(_))))
        | (FieldType::Timestamp, Literal::Typed(value @ Value::Local(LocalTimestamp::Micros(_)))) => {
            to_cell(column, ty, value)
        }
        _ => return None,
    };
    // A label, a decimal or an address is compared in the server's own way.
    let plain = matches!(
        column.kind,
        Kind::Int { .. }
            | Kind::Year
            | Kind::Text { .. }
            | Kind::Binary(_)
            | Kind::Bytes(_)
            | Kind::Date
            | Kind::Datetime(_)
    );
    cell.ok().filter(|_| plain)
}

/// The cells of a key, where this table can hold it.
pub(super) fn key_cells(tables: &Tables, key: &Key) -> Option<Vec<Cell>> {
    tables.tree.key_to_cells(tables, key).ok()
}

/// Whether the server's own order of the layout's keys is canonical order.
pub(super) fn is_key_order_native(tables: &Tables) -> bool {
    match &tables.tree.layout {
        Layout::Document(_) => {
            tables.key.iter().all(|column| !column.is_key_text && is_order_native(column, document_type(column)))
        }
        Layout::Rows(shape) => shape.key.iter().zip(&tables.key).all(|(name, column)| {
            let ty = shape.columns.iter().find(|c| c.name == *name).map_or(FieldType::Text, |c| c.ty);
            is_order_native(column, ty)
        }),
    }
}

fn document_type(column: &Column) -> FieldType {
    match column.kind {
        Kind::Int { .. } | Kind::Year | Kind::Bits(_) => FieldType::Int,
        Kind::Binary(_) | Kind::Bytes(_) => FieldType::Bytes,
        _ => FieldType::Text,
    }
}
