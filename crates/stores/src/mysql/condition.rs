//! The part of a filter that the server can decide exactly by itself.
//!
//! A pushed condition is one that every matching record fulfils, so it may only
//! keep it from reading rows in vain: [`Filter::matches`] still decides.

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
        if let Some(condition) = self.implied(tables, filter) {
            self.conditions.push(condition);
        }
    }

    fn bind_all(&mut self, cells: Vec<Cell>) -> String {
        let places = places(cells.len());
        self.bound.extend(cells);
        places
    }

    fn implied(&mut self, tables: &Tables, filter: &Filter) -> Option<String> {
        match filter {
            Filter::All | Filter::Not(_) | Filter::Like { .. } => None,
            Filter::And(parts) => {
                let implied: Vec<String> = parts.iter().filter_map(|part| self.implied(tables, part)).collect();
                (!implied.is_empty()).then(|| format!("({})", implied.join(" AND ")))
            }
            Filter::Or(parts) => {
                let bound = self.bound.len();
                let implied: Option<Vec<String>> = parts.iter().map(|part| self.implied(tables, part)).collect();
                if implied.as_ref().is_none_or(Vec::is_empty) {
                    self.bound.truncate(bound);
                    return None;
                }
                implied.map(|parts| format!("({})", parts.join(" OR ")))
            }
            Filter::Compare { path, op, literal } => self.compare(tables, path, *op, std::slice::from_ref(literal)),
            Filter::In { path, literals } if !literals.is_empty() => {
                self.compare(tables, path, CompareOp::Eq, literals)
            }
            Filter::In { .. } => None,
            Filter::Is { path, what } => {
                let (column, ty) = column(tables, path)?;
                let name = format!("r.{}", quoted(&column.name));
                match (what, ty) {
                    (IsWhat::Null, _) => Some(format!("{name} IS NULL")),
                    (IsWhat::True, FieldType::Bool) => Some(format!("{} = 1", column.read("r."))),
                    (IsWhat::False, FieldType::Bool) => Some(format!("{} = 0", column.read("r."))),
                    _ => None,
                }
            }
        }
    }

    fn compare(&mut self, tables: &Tables, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<String> {
        if let Layout::Document(layout) = &tables.tree.layout {
            return match (path.steps().len(), layout.key.as_slice(), op) {
                (1, [name], CompareOp::Eq) if name == path.root() => self.document_key(tables, literals),
                _ => None,
            };
        }
        let (column, ty) = column(tables, path)?;
        let cells: Vec<Cell> =
            literals.iter().map(|literal| literal_cell(column, ty, literal)).collect::<Option<_>>()?;
        let name = format!("r.{}", quoted(&column.name));
        let sign = match op {
            // A collation may take more for equal, never less.
            CompareOp::Eq => return Some(format!("{name} IN ({})", self.bind_all(cells))),
            _ if !is_order_native(column, ty) => return None,
            CompareOp::Neq => "<>",
            CompareOp::Gt => ">",
            CompareOp::Gte => ">=",
            CompareOp::Lt => "<",
            CompareOp::Lte => "<=",
        };
        Some(format!("{name} {sign} {}", self.bind_all(cells)))
    }

    /// The key column of a document table: each literal as every key that it
    /// may be equal to.
    fn document_key(&mut self, tables: &Tables, literals: &[Literal]) -> Option<String> {
        let column = tables.key.first()?;
        let mut cells = Vec::new();
        for literal in literals {
            let (text, number) = match literal {
                Literal::Typed(Value::Text(text)) | Literal::Untyped(text) => (text.clone(), plain_integer(text)?),
                Literal::Typed(Value::Int(n)) => (n.to_string(), Some(*n)),
                Literal::Typed(_) => return None,
            };
            // Values of other types whose text is the literal's.
            if column.is_key_text && is_maybe_other(&text) {
                return None;
            }
            for key in [Some(Value::Text(text)), number.map(Value::Int)].into_iter().flatten() {
                cells.extend(key_cells(tables, &Key::single(key)).into_iter().flatten());
            }
        }
        if cells.is_empty() {
            return Some("1 = 0".to_owned());
        }
        let name = quoted(&column.name);
        let plain = format!("r.{name} IN ({})", self.bind_all(cells));
        // Keys that are neither text nor integer stand as JSON objects or
        // arrays, floats, booleans.
        Some(if column.is_key_text {
            format!(
                "({plain} OR r.{name} LIKE '{{%' OR r.{name} LIKE '[%' OR r.{name} LIKE '%.%' OR r.{name} LIKE '%e%')"
            )
        } else {
            plain
        })
    }
}

fn is_maybe_other(text: &str) -> bool {
    matches!(text, "true" | "false") || matches!(text.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity")
}

/// The integer that a text says; `None` inside when it says no number at all,
/// and outside when it might be another writing of one.
fn plain_integer(text: &str) -> Option<Option<i64>> {
    if let Ok(n) = text.parse::<i64>() {
        return (n.to_string() == *text).then_some(Some(n));
    }
    let maybe_number = text.trim_start().starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        || matches!(text.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity");
    (!maybe_number).then_some(None)
}

/// The column of a path of the root, and its field's type.
fn column<'t>(tables: &'t Tables, path: &Path) -> Option<(&'t Column, FieldType)> {
    let Layout::Rows(shape) = &tables.tree.layout else { return None };
    let found = shape.columns.iter().find(|c| path.steps().len() == 1 && c.name == path.root())?;
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
