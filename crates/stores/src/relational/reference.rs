//! Foreign keys that a layout asks for: which rows break one, and how that is told.

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::shape::References;

/// The condition of rows `r` that break it: no part is NULL, as a server
/// counts it by default, and the other table has no row with these values.
pub(crate) fn breaks(asked: &References, other_table: &str, quoted: impl Fn(&str) -> String) -> String {
    let columns: Vec<String> = asked.columns.iter().map(|name| format!("r.{}", quoted(name))).collect();
    let given: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let equal: Vec<String> =
        asked.others.iter().zip(&columns).map(|(name, column)| format!("o.{} = {column}", quoted(name))).collect();
    format!("{} AND NOT EXISTS (SELECT 1 FROM {other_table} o WHERE {})", given.join(" AND "), equal.join(" AND "))
}

/// The refusal of a table with rows that break it; `which` says more of them.
pub(crate) fn refused(table: &str, asked: &References, which: &str) -> StoreError {
    let columns = match asked.columns.as_slice() {
        [column] => format!("column {column:?} refers"),
        columns => format!("columns {columns:?} refer"),
    };
    StoreError::new(
        StoreErrorKind::Refused { field: asked.columns.first().cloned() },
        format!("table {table:?}: {columns} to rows that are not in {:?}{which}", asked.table),
    )
    .with_hint("move the other table first, or mend these records; then complete again")
}
