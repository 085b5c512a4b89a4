//! How a store holds a record: the two layouts and the types of their columns.

use crate::flat::ChildId;
use crate::path::Path;
use crate::value::Value;

/// The declared type of a column or of a mapped field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// True or false.
    Bool,
    /// An integer, i64 or u64.
    Int,
    /// A binary64 float.
    Float,
    /// A decimal of any precision.
    Decimal,
    /// Unicode text.
    Text,
    /// Bytes.
    Bytes,
    /// A calendar date.
    Date,
    /// A time of day.
    Time,
    /// A timestamp without a zone.
    Timestamp,
    /// A point in time.
    Instant,
    /// A UUID.
    Uuid,
    /// Any value, as tagged JSON (or as the store's own array or JSON type).
    Json,
    /// A store's own type, kept with its tag ([`crate::value::Extended`]) and
    /// never converted: what only one kind of store can say.
    Extended,
}

impl FieldType {
    /// The type's name, as specs and messages have it.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Bool => "bool",
            FieldType::Int => "int",
            FieldType::Float => "float",
            FieldType::Decimal => "decimal",
            FieldType::Text => "text",
            FieldType::Bytes => "bytes",
            FieldType::Date => "date",
            FieldType::Time => "time",
            FieldType::Timestamp => "timestamp",
            FieldType::Instant => "instant",
            FieldType::Uuid => "uuid",
            FieldType::Json => "json",
            FieldType::Extended => "extended",
        }
    }

    /// Whether a fill that a store evaluates itself can read a field of the type:
    /// to compute with (bool, int, text), or to take it as it is. What has several
    /// forms of one value (decimals, floats, JSON) is neither.
    pub fn is_read_by_fills(self) -> bool {
        match self {
            FieldType::Bool | FieldType::Int | FieldType::Text => true,
            FieldType::Date | FieldType::Time | FieldType::Timestamp | FieldType::Instant => true,
            FieldType::Uuid | FieldType::Bytes => true,
            FieldType::Float | FieldType::Decimal | FieldType::Json | FieldType::Extended => false,
        }
    }
}

/// The two layouts.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// A key and a document.
    Document(DocumentLayout),
    /// A root table, child tables, a residue column.
    Rows(TableShape),
}

/// A SQL table with one column for each key field and one JSON column.
///
/// The document holds its key fields too; a row in which the key columns and
/// the document disagree is an error that names the key.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentLayout {
    /// The table or collection.
    pub table: String,
    /// The key fields; the key columns have the same names.
    pub key: Vec<String>,
    /// The JSON column.
    pub document: String,
}

/// The root table of the `rows` layout. A record of this layout is a document
/// with every column as a field (SQL NULL is an explicit null), one array of
/// documents for each child table, and the residue document, when not empty,
/// under the residue column's name.
#[derive(Clone, Debug, PartialEq)]
pub struct TableShape {
    /// The table.
    pub table: String,
    /// Names of the key columns.
    pub key: Vec<String>,
    /// All columns but the residue, key columns included, in field order.
    pub columns: Vec<ColumnShape>,
    /// One child table for each array.
    pub children: Vec<ChildShape>,
    /// The JSON column for what no rule names.
    pub residue: Option<String>,
    /// What the table has besides, where `provision` makes it.
    pub extras: Extras,
}

/// What a table that `provision` makes has besides columns that are looked at
/// one by one. No read and no write of ours needs any of it: it is there for
/// programs that write the table themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Columns that are unique together.
    pub unique: Vec<Vec<String>>,
    /// Columns that refer to another table's together. As of a single column's,
    /// the start does not check them.
    pub foreign_keys: Vec<References>,
    /// What the store puts where a program leaves the column out.
    pub defaults: Vec<(String, WhenOmitted)>,
    /// The key column that the store numbers where a program leaves it out.
    pub identity: Option<String>,
}

/// Columns whose values must stand together in another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct References {
    /// The columns.
    pub columns: Vec<String>,
    /// The other table.
    pub table: String,
    /// Its columns, in the same order, which are unique there together.
    pub others: Vec<String>,
}

/// What a store puts into a column that a program leaves out.
#[derive(Clone, Debug, PartialEq)]
pub enum WhenOmitted {
    /// This value.
    Value(Value),
    /// The time of the statement or of its transaction, as the store counts it.
    Now,
}

/// A child table. Its columns in the store: `id` (the deterministic child key:
/// see [`ChildShape::child_key`]), the record's key columns prefixed
/// with `record_`, `parent_id` (only when nested in another child), `position`,
/// then `columns`, then the residue.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildShape {
    /// The field of the parent's record that holds the array.
    pub field: String,
    /// The table.
    pub table: String,
    /// The columns of an element.
    pub columns: Vec<ColumnShape>,
    /// Arrays inside the elements.
    pub children: Vec<ChildShape>,
    /// The JSON column for what no rule names in an element.
    pub residue: Option<String>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnShape {
    /// Its name, which is also the field's.
    pub name: String,
    /// Its declared type.
    pub ty: FieldType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether its values are unique over the table.
    pub unique: bool,
    /// The type in the store's own words, for example `varchar(40)`, for a
    /// column that `provision` makes; `None`: the connector chooses.
    pub native: Option<String>,
    /// The column of another table in which each of its values must stand. The
    /// start does not check it: see [`crate::store::Capture::constrain`].
    pub references: Option<Reference>,
}

/// Where a column's values must stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The other table (or the column's own).
    pub table: String,
    /// Its column, which is unique there.
    pub column: String,
}

impl ChildShape {
    /// The deterministic key of a child row: 32 lower-case hex digits of
    /// xxh3-128 over the record's key, the path of fields, and the positions.
    pub fn child_key(record_key: &crate::Key, path: &[(&str, usize)]) -> String {
        let mut bytes = record_key.order_bytes();
        for (field, position) in path {
            Self::write_step(field, *position, &mut bytes);
        }
        Self::key_of_path(&bytes).into_iter().map(char::from).collect()
    }

    /// Appends a step of the path to a child row: a field and a place in it.
    pub(crate) fn write_step(field: &str, position: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&(field.len() as u64).to_be_bytes());
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(&(position as u64).to_be_bytes());
    }

    /// The child key of the record key's canonical bytes and the steps after them.
    pub(crate) fn key_of_path(bytes: &[u8]) -> ChildId {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hash = xxhash_rust::xxh3::xxh3_128(bytes).to_be_bytes();
        let mut id = [0; 32];
        for (digits, byte) in id.chunks_exact_mut(2).zip(hash) {
            digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        id
    }
}

impl Layout {
    /// The table or collection that the user knows.
    pub fn table(&self) -> &str {
        match self {
            Layout::Document(d) => &d.table,
            Layout::Rows(t) => &t.table,
        }
    }

    /// The names of the key fields.
    pub fn key_fields(&self) -> &[String] {
        match self {
            Layout::Document(d) => &d.key,
            Layout::Rows(t) => &t.key,
        }
    }

    /// The names of its top-level fields, key fields and residue included; none
    /// for documents, which may have any.
    pub fn field_names(&self) -> Vec<&str> {
        match self {
            Layout::Document(_) => Vec::new(),
            Layout::Rows(table) => {
                let columns = table.columns.iter().map(|column| column.name.as_str());
                let children = table.children.iter().map(|child| child.field.as_str());
                columns.chain(children).chain(table.residue.as_deref()).collect()
            }
        }
    }

    /// All columns that must stand in another table, with the table that they
    /// are in, root first; those that do so together after the single ones.
    pub fn references(&self) -> Vec<(&str, References)> {
        fn of<'a>(
            table: &'a str,
            columns: &'a [ColumnShape],
            children: &'a [ChildShape],
            out: &mut Vec<(&'a str, References)>,
        ) {
            out.extend(columns.iter().filter_map(|column| {
                let other = column.references.as_ref()?;
                let (columns, others) = (vec![column.name.clone()], vec![other.column.clone()]);
                Some((table, References { columns, table: other.table.clone(), others }))
            }));
            for child in children {
                of(&child.table, &child.columns, &child.children, out);
            }
        }
        let mut found = Vec::new();
        if let Layout::Rows(shape) = self {
            of(&shape.table, &shape.columns, &shape.children, &mut found);
            found.extend(shape.extras.foreign_keys.iter().map(|key| (shape.table.as_str(), key.clone())));
        }
        found
    }

    /// The type of a column of one of its tables.
    pub fn column_type(&self, table: &str, name: &str) -> Option<FieldType> {
        let Layout::Rows(shape) = self else { return None };
        let of = |columns: &[ColumnShape]| columns.iter().find(|column| column.name == name).map(|column| column.ty);
        if shape.table == table {
            return of(&shape.columns);
        }
        let mut open: Vec<&ChildShape> = shape.children.iter().collect();
        while let Some(child) = open.pop() {
            if child.table == table {
                return of(&child.columns);
            }
            open.extend(&child.children);
        }
        None
    }

    /// The declared type of a path: a column's for `rows`; `None` for a path of
    /// a document, whose values say their own types.
    pub fn type_of(&self, path: &Path) -> Option<FieldType> {
        match self {
            Layout::Document(_) => None,
            Layout::Rows(t) if path.steps().len() == 1 => {
                t.columns.iter().find(|c| c.name == path.root()).map(|c| c.ty)
            }
            Layout::Rows(_) => None,
        }
    }
}
