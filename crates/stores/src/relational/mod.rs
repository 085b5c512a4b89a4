//! What every SQL store shares: which cells a record has in the tables of its
//! layout, and which record cells are. Nothing here knows a database: a
//! connector's [`Codec`] makes and reads the cells.

pub(crate) mod condition;
pub(crate) mod document;
pub(crate) mod page;
pub(crate) mod raw;
pub(crate) mod reference;
pub(crate) mod refusal;
mod rows;
pub(crate) mod tree;

use std::fmt::Debug;

use shearwater_core::Value;
use shearwater_core::shape::FieldType;

pub(crate) use raw::{Element, RawRecord};
pub(crate) use refusal::{corrupt, refused};
pub(crate) use tree::{Child, Tree, record_key_columns};

/// A scalar as text, without quotes; anything else as JSON.
pub(crate) fn plain_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::Date(date) => date.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Local(local) => local.to_string(),
        Value::Instant(instant) => instant.to_string(),
        Value::Uuid(uuid) => uuid.to_string(),
        other => shearwater_core::value::json::to_string(other),
    }
}

/// A column of a layout's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A key column of the root, by its place in [`Tree::key`].
    Key(usize),
    /// Another column of the root, by its place in [`Tree::values`].
    Value(usize),
    /// A column of a child table: the table's place in [`Tree::children`] and
    /// the column's in [`Child::values`].
    Child {
        /// Which table.
        table: usize,
        /// Which column.
        at: usize,
    },
}

/// Values as one store's cells and back, exactly or with the reason why not.
/// Reasons carry no row values.
#[expect(
    clippy::wrong_self_convention,
    reason = "`from_…` is the way back of `to_…`; the codec converts, it is not made"
)]
pub(crate) trait Codec {
    /// What the store holds in one column of one row.
    type Cell: Clone + PartialEq + Debug;

    /// SQL NULL.
    fn null(&self) -> Self::Cell;

    /// Whether a cell is SQL NULL.
    fn is_null(&self, cell: &Self::Cell) -> bool;

    /// A cell's size, bytes, approximately.
    fn size(&self, cell: &Self::Cell) -> usize;

    /// The cell of a value in a column of a declared type; an explicit null is NULL.
    fn to_cell(&self, place: Place, ty: FieldType, value: &Value) -> Result<Self::Cell, String>;

    /// The value of a cell in a column of a declared type.
    fn from_cell(&self, place: Place, ty: FieldType, cell: &Self::Cell) -> Result<Value, String>;

    /// The cell of a key's part in the `document` layout, whose key columns
    /// have no declared type. Never called with null.
    fn to_key_cell(&self, at: usize, part: &Value) -> Result<Self::Cell, String>;

    /// The key's part of a cell in the `document` layout. Never called with NULL.
    fn from_key_cell(&self, at: usize, cell: &Self::Cell) -> Result<Value, String>;

    /// The cell of a JSON text: a document, or a residue.
    fn to_json_cell(&self, place: Place, text: String) -> Result<Self::Cell, String>;

    /// The JSON text of a cell that is not NULL.
    fn json_of<'c>(&self, place: Place, cell: &'c Self::Cell) -> Result<&'c [u8], String>;

    /// The cell of a child row's key, or of its parent's.
    fn to_child_id(&self, id: String) -> Self::Cell;

    /// The cell of a place in an array.
    fn to_position(&self, position: i64) -> Self::Cell;
}
