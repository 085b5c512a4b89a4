//! Keys that no rule computes: the rows of the crosswalk, in which each key of
//! the source has its key of the target, and how an assigned key travels with
//! its record.
//!
//! An assigned key stands among what is parked beside the source's row, as any
//! field that only the target has; so the mapping carries it like the others.

use super::Shapes;
use crate::Key;
use crate::path::Path;
use crate::shape::{ColumnShape, FieldType, Layout, TableShape};
use crate::spec::{AbsorbSpec, Assign};
use crate::store::Image;
use crate::value::{Document, Value};

/// The crosswalk's column with the source's key as text, which is its key.
const SOURCE: &str = "source_key";

/// The crosswalk's column with the target's key.
pub const TARGET: &str = "target_key";

/// The column with the names of the migrations that claim a crosswalk.
pub const CLAIMANT: &str = "migration";

/// How keys are assigned.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// By which rule.
    pub assign: Assign,
    /// The target's key field.
    pub field: String,
    /// Its type.
    pub ty: FieldType,
    /// The crosswalk.
    pub pairs: Pairs,
    /// Whether the crosswalk outlives the migration, for the references of others.
    pub is_kept: bool,
}

/// The rows of a crosswalk.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// The migration, in names that are no longer than any store's are.
    of: u64,
    /// Of the target's keys.
    ty: FieldType,
    /// Fields of the source's key.
    parts: usize,
}

impl Identity {
    pub(super) fn of(spec: &AbsorbSpec) -> Option<Identity> {
        let field = spec.base.target.key.first()?.clone();
        let ty = spec.base.fields.iter().find(|rule| rule.name == field)?.ty;
        let pairs = Pairs::of(&spec.base.migration, ty, spec.base.source.key.len());
        Some(Identity { assign: spec.identity?, field, ty, pairs, is_kept: spec.keep_keys })
    }
}

impl Pairs {
    /// Those of a migration, which assigns keys of a type to keys of so many fields.
    pub fn of(migration: &str, ty: FieldType, parts: usize) -> Pairs {
        Pairs { of: Key::single(migration).hash(), ty, parts }
    }

    /// The crosswalk's layout, a table of its own in the target's store.
    pub fn layout(&self) -> Layout {
        own_table(
            format!("shearwater_keys_{:016x}", self.of),
            vec![
                own_column(SOURCE, FieldType::Text),
                ColumnShape { unique: true, ..own_column(TARGET, self.key_type()) },
            ],
        )
    }

    /// The layout of the claims on the crosswalk, a table beside it.
    pub fn claims(&self) -> Layout {
        own_table(format!("shearwater_keys_{:016x}_claims", self.of), vec![own_column(CLAIMANT, FieldType::Text)])
    }

    /// UUIDs as text have a length that every store can index.
    fn key_type(&self) -> FieldType {
        match self.ty {
            FieldType::Text => FieldType::Uuid,
            ty => ty,
        }
    }

    /// The crosswalk's key of a source's key.
    pub fn row_key(&self, source: &Key) -> Key {
        Key::single(source.to_text())
    }

    /// The crosswalk's row of a pair.
    pub fn row(&self, source: &Key, target: &Value) -> Image {
        let mut record = Document::with_capacity(2);
        record.set(SOURCE, source.to_text());
        record.set(TARGET, self.stored(target));
        Image::of(record)
    }

    /// A target's key as the crosswalk holds it; what it cannot hold was never assigned.
    pub fn stored(&self, target: &Value) -> Value {
        match (target, self.ty) {
            (Value::Text(text), FieldType::Text) => {
                crate::value::Uuid::parse_str(text).map_or_else(|_| target.clone(), Value::Uuid)
            }
            _ => target.clone(),
        }
    }

    /// The pair of a row; `None`: the row is damaged.
    pub fn pair(&self, row: &Image) -> Option<(Key, Key)> {
        let Some(Value::Text(source)) = row.record.get(SOURCE) else { return None };
        let target = match (row.record.get(TARGET)?, self.ty) {
            (Value::Uuid(uuid), FieldType::Text) => Value::text(uuid.to_string()),
            (value, _) => value.clone(),
        };
        Some((Key::from_text(source, self.parts).ok()?, Key::single(target)))
    }
}

/// A table of ours, whose key is its first column.
fn own_table(table: String, columns: Vec<ColumnShape>) -> Layout {
    let key = columns.first().map(|column| column.name.clone()).into_iter().collect();
    let (children, residue, extras) = (Vec::new(), None, Default::default());
    Layout::Rows(TableShape { table, key, columns, children, residue, extras })
}

fn own_column(name: &str, ty: FieldType) -> ColumnShape {
    ColumnShape { name: name.to_owned(), ty, nullable: false, unique: false, native: None, references: None }
}

impl Shapes {
    /// How keys are assigned; `None`: rules compute them.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// A row of the source with the key that its record was assigned.
    pub fn with_key(&self, v1: &mut Image, target: &Key) {
        if let (Some(identity), Some(value)) = (&self.identity, target.values().first()) {
            v1.parked.set(identity.field.as_str(), value.clone());
        }
    }

    /// A record that began in shape v2 with its key in the source, which an
    /// assigned key does not say.
    pub fn with_source_key(&self, v1: &mut Image, source: &Key) {
        if self.identity.is_some() {
            for (field, value) in self.mapping.source().key_fields().iter().zip(source.values()) {
                v1.record.set(field.as_str(), value.clone());
            }
        }
    }

    /// The field of the target that keeps the source's key as it is: by it
    /// records are found in shape v1 when the crosswalk is gone.
    pub fn origin_field(&self) -> Option<Path> {
        match self.mapping.source().key_fields() {
            [field] => self.mapping.path_forward(&Path::field(field)),
            _ => None,
        }
    }
}
