//! The two errors of a value and its column, in one wording for every store.

use shearwater_core::error::{StoreError, StoreErrorKind};

/// Data that cannot be read as the layout says.
pub(crate) fn corrupt(table: &str, column: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("table {table:?}, column {column:?}: {what}"))
}

/// A value that this store will never take in this column.
pub(crate) fn refused(table: &str, field: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused { field: Some(field.to_owned()) },
        format!("table {table:?}, field {field:?}: {what}"),
    )
}
