//! The part of a filter, and of an order, that PostgreSQL can decide exactly by itself.
//!
//! A pushed condition is one that every matching record fulfils, so it may only
//! keep the server from reading rows in vain: [`Filter::matches`] still decides,
//! unless the whole filter could be pushed as it is.

use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::{Key, Value};

use super::cell::Cell;
use super::codec::{ENCODED, ENCODED_END, part_to_text};
use super::facts::Column;
use super::names::{literal as text_literal, quoted};
use super::native::Wire;
use super::tables::Tables;
use super::value::to_cell;

/// SQL with its parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Sql {
    /// Conditions on `r`, to be joined by AND.
    pub(super) conditions: Vec<String>,
    /// What is bound, from `$1` on.
    pub(super) bound: Vec<Cell>,
}

/// Whether a condition says what the filter says, or only what it implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// All of it.
    Exactly,
    /// A part; the records are looked at again.
    Partly,
}

impl Pushed {
    fn and(self, other: Pushed) -> Pushed {
        if self == Pushed::Exactly { other } else { Pushed::Partly }
    }
}

impl Sql {
    /// Binds a cell; returns its place, `$n`.
    pub(super) fn bind(&mut self, cell: Cell) -> String {
        self.bound.push(cell);
        format!("${}", self.bound.len())
    }

    /// Adds what every record that matches `filter` fulfils.
    pub(super) fn push(&mut self, tables: &Tables, filter: &Filter) -> Pushed {
        if *filter == Filter::All {
            return Pushed::Exactly;
        }
        match self.implied(tables, filter) {
            Some((condition, pushed)) => {
                self.conditions.push(condition);
                pushed
            }
            None => Pushed::Partly,
        }
    }

    /// `WHERE …`, or nothing.
    pub(super) fn where_clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" WHERE {}", self.conditions.join(" AND ")) }
    }

    fn implied(&mut self, tables: &Tables, filter: &Filter) -> Option<(String, Pushed)> {
        let bound = self.bound.len();
        let found = match filter {
            Filter::All | Filter::Like { .. } => None,
            Filter::Not(part) => match self.implied(tables, part) {
                Some((condition, Pushed::Exactly)) => Some((format!("NOT ({condition})"), Pushed::Exactly)),
                _ => None,
            },
            Filter::And(parts) => {
                let implied: Vec<Option<(String, Pushed)>> =
                    parts.iter().map(|part| self.implied(tables, part)).collect();
                let pushed = implied.iter().fold(Pushed::Exactly, |all, one| {
                    all.and(one.as_ref().map_or(Pushed::Partly, |(_, pushed)| *pushed))
                });
                let conditions: Vec<String> = implied.into_iter().flatten().map(|(condition, _)| condition).collect();
                (!conditions.is_empty()).then(|| (format!("({})", conditions.join(" AND ")), pushed))
            }
            Filter::Or(parts) => {
                let implied: Option<Vec<_>> = parts.iter().map(|part| self.implied(tables, part)).collect();
                implied.filter(|parts| !parts.is_empty()).map(|parts| {
                    let pushed = parts.iter().fold(Pushed::Exactly, |all, (_, pushed)| all.and(*pushed));
                    let parts: Vec<String> = parts.into_iter().map(|(condition, _)| condition).collect();
                    (format!("({})", parts.join(" OR ")), pushed)
                })
            }
            Filter::Compare { path, op, literal } => self.compare(tables, path, *op, std::slice::from_ref(literal)),
            Filter::In { path, literals } if !literals.is_empty() => {
                self.compare(tables, path, CompareOp::Eq, literals)
            }
            Filter::In { .. } => None,
            Filter::Is { path, what } => {
                let (column, ty) = root_column(tables, path)?;
                let name = format!("r.{}", quoted(&column.name));
                match (what, ty) {
                    // JSON has a null of its own.
                    (IsWhat::Null, FieldType::Json) => None,
                    (IsWhat::Null, _) => Some((format!("{name} IS NULL"), Pushed::Exactly)),
                    (IsWhat::True, FieldType::Bool) => Some((format!("{name} IS TRUE"), Pushed::Exactly)),
                    (IsWhat::False, FieldType::Bool) => Some((format!("{name} IS FALSE"), Pushed::Exactly)),
                    _ => None,
                }
            }
        };
        if found.is_none() {
            self.bound.truncate(bound);
        }
        found
    }

    fn compare(
        &mut self,
        tables: &Tables,
        path: &Path,
        op: CompareOp,
        literals: &[Literal],
    ) -> Option<(String, Pushed)> {
        if let Layout::Document(layout) = &tables.tree.layout {
            return match (path.steps().len(), layout.key.as_slice(), op) {
                (1, [name], CompareOp::Eq) if name == path.root() => {
                    Some((self.document_key(tables, literals)?, Pushed::Partly))
                }
                _ => None,
            };
        }
        let (column, ty) = root_column(tables, path)?;
        let native = &column.native;
        let name = native.canonical(ty, &format!("r.{}", quoted(&column.name))).into_iter().next()?;
        let cells: Vec<Cell> = literals.iter().map(|one| literal_cell(column, ty, one)).collect::<Option<_>>()?;
        let places: Vec<String> = cells.into_iter().map(|cell| native.bind(&self.bind(cell))).collect();
        let sign = match op {
            CompareOp::Eq => return Some((format!("{name} IN ({})", places.join(", ")), Pushed::Exactly)),
            CompareOp::Neq => "<>",
            CompareOp::Gt => ">",
            CompareOp::Gte => ">=",
            CompareOp::Lt => "<",
            CompareOp::Lte => "<=",
        };
        Some((format!("{name} {sign} {}", places.first()?), Pushed::Exactly))
    }

    /// A text key column of the document layout holds plain texts as they are
    /// and everything else in a form of ours, which stay candidates.
    fn document_key(&mut self, tables: &Tables, literals: &[Literal]) -> Option<String> {
        let column = tables.facts.key.first()?;
        let name = quoted(&column.name);
        let mut places = Vec::new();
        for one in literals {
            match (&column.native.wire, one) {
                (Wire::Text, Literal::Typed(Value::Text(text)) | Literal::Untyped(text)) => {
                    let text = part_to_text(&Value::text(text.as_str()));
                    let cell = to_cell(FieldType::Text, &column.native, &Value::Text(text)).ok()?;
                    places.push(column.native.bind(&self.bind(cell)));
                }
                (Wire::Text, Literal::Typed(_)) => {}
                _ => return None,
            }
        }
        let encoded = is_encoded(&format!("r.{name}"));
        Some(match places.is_empty() {
            true => encoded,
            false => format!("(r.{name} IN ({}) OR {encoded})", places.join(", ")),
        })
    }
}

/// Whether a text key is in the form of ours.
fn is_encoded(column: &str) -> String {
    let column = format!("{column}::pg_catalog.text COLLATE pg_catalog.\"C\"");
    format!("({column} >= {} AND {column} < {})", text_literal(ENCODED), text_literal(ENCODED_END))
}

/// The statement that tells whether a document table's keys come in canonical
/// order when they are ordered as text: none is of a form of ours, or all are.
pub(super) fn mixed_keys(tables: &Tables) -> Option<String> {
    let [column] = tables.facts.key.as_slice() else { return None };
    let encoded = is_encoded(&format!("r.{}", quoted(&column.name)));
    let exists = |condition: &str| format!("EXISTS (SELECT 1 FROM {} r WHERE {condition})", tables.root);
    Some(format!("SELECT {} AND {}", exists(&encoded), exists(&format!("NOT {encoded}"))))
}

/// The integer that a text says; `None` inside when it says no number at all,
/// and outside when it might be another writing of one.
fn plain_integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|n| n.to_string() == text)
}

/// The root's column and its type, when the path is one.
pub(super) fn root_column<'t>(tables: &'t Tables, path: &Path) -> Option<(&'t Column, FieldType)> {
    let Layout::Rows(shape) = &tables.tree.layout else { return None };
    let shape = shape.columns.iter().find(|c| path.steps().len() == 1 && c.name == path.root())?;
    tables.facts.root().find(|column| column.name == shape.name).map(|column| (column, shape.ty))
}

/// The cell that a literal is compared as, where the server compares as core does.
fn literal_cell(column: &Column, ty: FieldType, literal: &Literal) -> Option<Cell> {
    let value = match (ty, literal) {
        (FieldType::Text, Literal::Untyped(text)) => Value::text(text.as_str()),
        (FieldType::Int, Literal::Untyped(text)) => Value::Int(plain_integer(text)?),
        (_, Literal::Untyped(_)) => return None,
        (_, Literal::Typed(value)) if value.is_null() => return None,
        (_, Literal::Typed(value)) => value.clone(),
    };
    to_cell(ty, &column.native, &value).ok()
}

/// The expressions by which the layout's keys are in canonical order; `None`
/// where the server cannot order them so.
pub(super) fn key_order(tables: &Tables) -> Option<Vec<String>> {
    let mut order = Vec::new();
    for (at, column) in tables.facts.key.iter().enumerate() {
        let parts = key_atoms(tables, at, &format!("r.{}", quoted(&column.name)));
        if parts.is_empty() {
            return None;
        }
        order.extend(parts);
    }
    Some(order)
}

/// A key column, or a parameter of its type, as terms of a canonical order.
pub(super) fn key_atoms(tables: &Tables, at: usize, expression: &str) -> Vec<String> {
    let Some(column) = tables.facts.key.get(at) else { return Vec::new() };
    let ty = match &tables.tree.layout {
        Layout::Document(_) if tables.facts.key.len() > 1 => return Vec::new(),
        Layout::Document(_) => match column.native.wire {
            Wire::Text => FieldType::Text,
            Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid => FieldType::Int,
            _ => return Vec::new(),
        },
        Layout::Rows(shape) => match shape.columns.iter().find(|c| c.name == column.name) {
            Some(shape) => shape.ty,
            None => return Vec::new(),
        },
    };
    column.native.canonical(ty, expression)
}

/// The cells of a key, where this table can hold it.
pub(super) fn key_cells(tables: &Tables, key: &Key) -> Option<Vec<Cell>> {
    tables.key_to_cells(key).ok()
}
