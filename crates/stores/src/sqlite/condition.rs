//! The part of a filter that SQLite can decide exactly by itself.
//!
//! A pushed condition is one that every matching record fulfils, so it may only
//! keep SQLite from reading rows in vain: [`Filter::matches`] still decides.

use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::{Key, Value};

use super::cell::Cell;
use super::tables::{Tables, quoted};
use super::value::to_cell;

/// SQL with its parameters.
#[derive(Default)]
pub(super) struct Sql {
    /// Conditions on `r`, to be joined by AND.
    pub(super) conditions: Vec<String>,
    /// What is bound, from `?1` on.
    pub(super) bound: Vec<Cell>,
}

impl Sql {
    /// Binds a cell; returns its place, `?n`.
    pub(super) fn bind(&mut self, cell: Cell) -> String {
        self.bound.push(cell);
        format!("?{}", self.bound.len())
    }

    /// Binds several cells, commas between their places.
    pub(super) fn bind_all(&mut self, cells: &[Cell]) -> String {
        cells.iter().map(|cell| self.bind(cell.clone())).collect::<Vec<_>>().join(", ")
    }

    /// Adds what every record that matches `filter` fulfils.
    pub(super) fn push_implied(&mut self, tables: &Tables, filter: &Filter) {
        if let Some(condition) = self.implied(tables, filter) {
            self.conditions.push(condition);
        }
    }

    /// `WHERE …`, or nothing.
    pub(super) fn where_clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" WHERE {}", self.conditions.join(" AND ")) }
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
                let (name, ty) = column(tables, path)?;
                match (what, ty) {
                    (IsWhat::Null, _) => Some(format!("r.{name} IS NULL")),
                    (IsWhat::True, FieldType::Bool) => Some(format!("r.{name} = 1")),
                    (IsWhat::False, FieldType::Bool) => Some(format!("r.{name} = 0")),
                    _ => None,
                }
            }
        }
    }

    fn compare(&mut self, tables: &Tables, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<String> {
        if let Layout::Document(layout) = &tables.tree.layout {
            return match (path.steps().len(), layout.key.as_slice(), op) {
                (1, [name], CompareOp::Eq) if name == path.root() => self.document_key(name, literals),
                _ => None,
            };
        }
        let (name, ty) = column(tables, path)?;
        let cells: Vec<Cell> = literals.iter().map(|literal| literal_cell(ty, literal)).collect::<Option<_>>()?;
        let sign = match op {
            CompareOp::Eq => return Some(format!("r.{name} COLLATE BINARY IN ({})", self.bind_all(&cells))),
            CompareOp::Neq => "<>",
            CompareOp::Gt => ">",
            CompareOp::Gte => ">=",
            CompareOp::Lt => "<",
            CompareOp::Lte => "<=",
        };
        Some(format!("r.{name} COLLATE BINARY {sign} {}", self.bind_all(&cells)))
    }

    /// A key column of the document layout holds integers and texts as they
    /// are and everything else as BLOBs, which stay candidates.
    fn document_key(&mut self, name: &str, literals: &[Literal]) -> Option<String> {
        let mut cells = Vec::new();
        for literal in literals {
            let (text, number) = match literal {
                Literal::Typed(Value::Text(text)) | Literal::Untyped(text) => (text.clone(), plain_integer(text)?),
                Literal::Typed(Value::Int(n)) => (n.to_string(), Some(*n)),
                Literal::Typed(_) => return None,
            };
            cells.push(Cell::text(text));
            cells.extend(number.map(Cell::Int));
        }
        let name = quoted(name);
        Some(format!("(r.{name} IN ({}) OR r.{name} >= x'')", self.bind_all(&cells)))
    }
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

/// The quoted name and the type of a path that is a column of the root.
fn column(tables: &Tables, path: &Path) -> Option<(String, FieldType)> {
    let Layout::Rows(shape) = &tables.tree.layout else { return None };
    let found = shape.columns.iter().find(|c| path.steps().len() == 1 && c.name == path.root())?;
    Some((quoted(&found.name), found.ty))
}

/// The cell that a literal is compared as, where SQLite compares as core does.
fn literal_cell(ty: FieldType, literal: &Literal) -> Option<Cell> {
    match (ty, literal) {
        (FieldType::Text, Literal::Untyped(text)) => Some(Cell::text(text.as_str())),
        (FieldType::Int, Literal::Untyped(text)) => plain_integer(text)?.map(Cell::Int),
        (FieldType::Text | FieldType::Int | FieldType::Bytes, Literal::Typed(value)) if !value.is_null() => {
            to_cell(ty, value).ok()
        }
        _ => None,
    }
}

/// Whether SQLite's own order of the layout's keys is canonical order.
/// `blob_keys` tells whether a document table has keys that stand as BLOBs.
pub(super) fn is_key_order_native(tables: &Tables, blob_keys: BlobKeys) -> bool {
    match &tables.tree.layout {
        Layout::Document(layout) => layout.key.len() == 1 && blob_keys == BlobKeys::None,
        Layout::Rows(shape) => shape.key.iter().all(|name| {
            let ty = shape.columns.iter().find(|c| c.name == *name).map(|c| c.ty);
            ty.is_some_and(super::value::is_order_native)
        }),
    }
}

/// Whether a document table has keys that stand as BLOBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobKeys {
    /// None now.
    None,
    /// At least one.
    Some,
}

/// The cells of a key, where this table can hold it.
pub(super) fn key_cells(tables: &Tables, key: &Key) -> Option<Vec<Cell>> {
    tables.key_to_cells(key).ok()
}
