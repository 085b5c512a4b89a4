//! The part of a filter that SQLite can decide exactly by itself.

use shearwater_core::Key;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{FieldType, Layout};

use super::cell::Cell;
use super::tables::{Tables, quoted};
use super::value::to_cell;
use crate::relational::condition::{
    Condition, Pushed, Terms, document_key, implied, plain_integer, root_column, sign, text_and_integer,
};

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
        if let Some((condition, _)) = implied(&mut Said { sql: self, tables }, filter) {
            self.conditions.push(condition);
        }
    }

    /// `WHERE …`, or nothing.
    pub(super) fn where_clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// What SQLite can say of a column.
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
        let column = root_column(&self.tables.tree.layout, path)?;
        let name = quoted(&column.name);
        let condition = match (what, column.ty) {
            (IsWhat::Null, _) => format!("r.{name} IS NULL"),
            (IsWhat::True, FieldType::Bool) => format!("r.{name} = 1"),
            (IsWhat::False, FieldType::Bool) => format!("r.{name} = 0"),
            _ => return None,
        };
        Some((condition, Pushed::Partly))
    }

    fn compare(&mut self, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<Condition> {
        let layout = &self.tables.tree.layout;
        if let Some(name) = document_key(layout, path, op) {
            return self.document_key(name, literals);
        }
        let column = root_column(layout, path)?;
        let name = quoted(&column.name);
        let cells: Vec<Cell> =
            literals.iter().map(|literal| literal_cell(column.ty, literal)).collect::<Option<_>>()?;
        let places = self.sql.bind_all(&cells);
        let condition = match sign(op) {
            None => format!("r.{name} COLLATE BINARY IN ({places})"),
            Some(sign) => format!("r.{name} COLLATE BINARY {sign} {places}"),
        };
        Some((condition, Pushed::Partly))
    }
}

impl Said<'_> {
    /// A key column of the document layout holds integers and texts as they
    /// are and everything else as BLOBs, which stay candidates.
    fn document_key(&mut self, name: &str, literals: &[Literal]) -> Option<Condition> {
        let mut cells = Vec::new();
        for literal in literals {
            let (text, number) = text_and_integer(literal)?;
            cells.push(Cell::text(text));
            cells.extend(number.map(Cell::Int));
        }
        let name = quoted(name);
        let condition = format!("(r.{name} IN ({}) OR r.{name} >= x'')", self.sql.bind_all(&cells));
        Some((condition, Pushed::Partly))
    }
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
