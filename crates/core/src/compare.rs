//! Comparing two records field by field.

use crate::value::Document;

/// One field that differs. Values are not in it: they are row values.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldDifference {
    /// Where, for example `addresses[1].zip`.
    pub path: String,
    /// What was expected there: a type name, or `missing`.
    pub expected: String,
    /// What was found there: a type name, or `missing`.
    pub found: String,
    /// One word: `missing`, `extra`, `type`, `value`, `order`.
    pub what: String,
}

/// The differences between a record as it should be and as it is.
pub fn differences(_expected: &Document, _found: &Document) -> Vec<FieldDifference> {
    todo!()
}
