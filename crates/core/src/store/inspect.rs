//! Looking at a store without changing it, and what weighs on it now.

use async_trait::async_trait;

use super::{Covers, Estimate};
use crate::error::StoreResult;
use crate::shape::FieldType;

/// What `plan` and `init` read from a store.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Kind and version of the store, for people.
    pub product: String,
    /// Tables with their columns.
    pub tables: Vec<InspectedTable>,
    /// Settings and facts of the whole store that matter, each a sentence.
    pub hazards: Vec<String>,
    /// What a text column that `provision` makes refuses.
    pub text: Bounds,
    /// Whether the words of a declared type bound what its column holds.
    pub declarations: Declarations,
    /// Field types that a document of this store has not: what is written of
    /// them comes back as text, or as another kind of number, once no migration
    /// runs there.
    pub lacks: Vec<FieldType>,
    /// As [`Store::covers`].
    pub covers: Covers,
}

/// What the words of a declared type mean to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Declarations {
    /// `varchar(40)` refuses longer texts.
    #[default]
    Bind,
    /// Nothing is refused for them.
    Hint,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Rows of columns; a document stands in one of them.
    #[default]
    Columns,
    /// Documents themselves: the columns are fields that some of them have, and
    /// the layout's document column is none.
    Documents,
}

/// A table as the store describes it.
#[derive(Clone, Debug, Default)]
pub struct InspectedTable {
    /// Its name.
    pub name: String,
    /// What its rows are.
    pub form: Form,
    /// Its columns.
    pub columns: Vec<InspectedColumn>,
    /// Its primary key's columns.
    pub key: Vec<String>,
    /// Its unique constraints, each a list of columns.
    pub unique: Vec<Vec<String>>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Facts of this table alone that matter, each a sentence: triggers of the
    /// user, cascades that capture does not see, privileges that are missing.
    pub hazards: Vec<String>,
    /// Rough size.
    pub estimate: Estimate,
}

/// A foreign key: rows of this table need a row of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name; empty where the store gives none.
    pub name: String,
    /// Columns of this table.
    pub columns: Vec<String>,
    /// The other table.
    pub table: String,
    /// Columns of the other table, in the same order.
    pub references: Vec<String>,
    /// Whether deleting or changing the other row changes this one by itself
    /// (`CASCADE`, `SET NULL`, `SET DEFAULT`). Where capture does not see such
    /// changes, the connector says so among the table's hazards.
    pub cascades: bool,
}

/// What a column's values must be, as far as the store bounds them; `None`:
/// nothing but the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Characters of a text.
    pub chars_max: Option<u64>,
    /// Bytes of a text or of bytes.
    pub bytes_max: Option<u64>,
    /// Digits of a decimal in all, and after the point.
    pub digits: Option<(u32, i32)>,
    /// The lowest and the highest integer.
    pub integers: Option<(i64, u64)>,
    /// Digits of a second's fraction.
    pub fraction_digits: Option<u8>,
    /// The only values, for an enumeration.
    pub labels: Option<Vec<String>>,
    /// Whether a text that holds U+0000 is refused.
    pub refuses_nul: bool,
    /// The column's character set when it does not hold all of Unicode.
    pub charset: Option<String>,
}

/// A column as the store describes it.
#[derive(Clone, Debug, Default)]
pub struct InspectedColumn {
    /// Its name.
    pub name: String,
    /// Its declared type in the store's words.
    pub declared: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its default, in the store's words.
    pub default: Option<String>,
    /// Whether the store computes it.
    pub generated: bool,
    /// Whether the store numbers it by itself when it is left out.
    pub identity: bool,
    /// The statement that brings the store's numbering past the highest value
    /// there is, where writing values does not do so by itself.
    pub renumber: Option<String>,
    /// The field type that reads it exactly; `None`: this connector cannot read it.
    pub ty: Option<FieldType>,
    /// What its values must be.
    pub bounds: Bounds,
    /// Its collation when that takes different texts for equal, or orders them
    /// otherwise than by bytes.
    pub collation: Option<String>,
    /// Whether that collation takes different texts for equal (letter case,
    /// accents, blanks at the end).
    pub folds: bool,
}

/// Looking at a store without changing it.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// What is there. Writes nothing.
    async fn inspect(&self) -> StoreResult<Inspection>;
}

/// How background work weighs on a store now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that wait for a lock that a session of ours holds.
    pub lock_waits: u64,
    /// How far the store's slowest replica is behind, ms; 0 when it has none.
    pub replica_lag_ms: u64,
}

/// Stores that can tell how background work weighs on them.
#[async_trait]
pub trait Vitals: Send + Sync {
    /// Looks now; cheap enough to be asked twice a second. An error means that
    /// nobody knows, and background work rests until somebody does.
    async fn load(&self) -> StoreResult<Load>;
}
