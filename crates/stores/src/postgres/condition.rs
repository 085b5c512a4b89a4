//! The part of a filter, and of an order, that PostgreSQL can decide exactly by itself.

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
use crate::relational::condition::{self, Condition, Pushed, Terms, document_key, implied, plain_integer, sign};

/// SQL with its parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Sql {
    /// Conditions on `r`, to be joined by AND.
    pub(super) conditions: Vec<String>,
    /// What is bound, from `$1` on.
    pub(super) bound: Vec<Cell>,
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
        match implied(&mut Said { sql: self, tables }, filter) {
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
        let (column, ty) = root_column(self.tables, path)?;
        let name = format!("r.{}", quoted(&column.name));
        let condition = match (what, ty) {
            // JSON has a null of its own.
            (IsWhat::Null, FieldType::Json) => return None,
            (IsWhat::Null, _) => format!("{name} IS NULL"),
            (IsWhat::True, FieldType::Bool) => format!("{name} IS TRUE"),
            (IsWhat::False, FieldType::Bool) => format!("{name} IS FALSE"),
            _ => return None,
        };
        Some((condition, Pushed::Exactly))
    }

    fn compare(&mut self, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<Condition> {
        if document_key(&self.tables.tree.layout, path, op).is_some() {
            return Some((self.document_key(literals)?, Pushed::Partly));
        }
        let (column, ty) = root_column(self.tables, path)?;
        let native = &column.native;
        let name = native.canonical(ty, &format!("r.{}", quoted(&column.name))).into_iter().next()?;
        let cells: Vec<Cell> = literals.iter().map(|one| literal_cell(column, ty, one)).collect::<Option<_>>()?;
        let places: Vec<String> = cells.into_iter().map(|cell| native.bind(&self.sql.bind(cell))).collect();
        let condition = match sign(op) {
            None => format!("{name} IN ({})", places.join(", ")),
            Some(sign) => format!("{name} {sign} {}", places.first()?),
        };
        Some((condition, Pushed::Exactly))
    }
}

impl Said<'_> {
    /// A text key column of the document layout holds plain texts as they are
    /// and everything else in a form of ours, which stay candidates.
    fn document_key(&mut self, literals: &[Literal]) -> Option<String> {
        let column = self.tables.facts.key.first()?;
        let name = quoted(&column.name);
        let mut places = Vec::new();
        for one in literals {
            match (&column.native.wire, one) {
                (Wire::Text, Literal::Typed(Value::Text(text)) | Literal::Untyped(text)) => {
                    let text = part_to_text(&Value::text(text.as_str()));
                    let cell = to_cell(FieldType::Text, &column.native, &Value::Text(text)).ok()?;
                    places.push(column.native.bind(&self.sql.bind(cell)));
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

/// The root's column and its type, when the path is one.
pub(super) fn root_column<'t>(tables: &'t Tables, path: &Path) -> Option<(&'t Column, FieldType)> {
    let shape = condition::root_column(&tables.tree.layout, path)?;
    tables.facts.root().find(|column| column.name == shape.name).map(|column| (column, shape.ty))
}

/// The cell that a literal is compared as, where the server compares as core does.
fn literal_cell(column: &Column, ty: FieldType, literal: &Literal) -> Option<Cell> {
    let value = match (ty, literal) {
        (FieldType::Text, Literal::Untyped(text)) => Value::text(text.as_str()),
        (FieldType::Int, Literal::Untyped(text)) => Value::Int(plain_integer(text)??),
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
