//! Foreign keys at the end of a migration: SQLite takes them only with the
//! table, so they are declared there, and what is left is to see that they hold.

use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::shape::References;

use super::error::store_error;
use super::record::prepared;
use super::session::Session;
use super::tables::{Tables, list, quoted};
use crate::relational::record_key_columns;
use crate::relational::reference::{breaks, refused};

/// Keys told of rows that break a foreign key: enough to see what they have in common.
const OFFENDERS_MAX: usize = 5;

/// Refuses a layout whose rows refer to rows that are not there; runs no
/// statement that changes anything.
pub(super) fn check(session: &Session, tables: &Tables) -> StoreResult<Vec<String>> {
    for (table, asked) in tables.tree.layout.references() {
        let key = if table == tables.name { tables.tree.key.clone() } else { record_key_columns(&tables.tree.key) };
        let offenders = offenders(session, tables, table, &key, &asked)?;
        if offenders.is_empty() {
            continue;
        }
        let (first, more) = offenders.split_at(offenders.len().min(OFFENDERS_MAX));
        let keys: Vec<String> = first.iter().map(Key::to_text).collect();
        let more = if more.is_empty() { "" } else { " and more" };
        return Err(refused(table, &asked, &format!("; keys of such records: {}{more}", keys.join(", "))));
    }
    Ok(Vec::new())
}

fn offenders(
    session: &Session,
    tables: &Tables,
    table: &str,
    key: &[String],
    asked: &References,
) -> StoreResult<Vec<Key>> {
    let failed = |e| store_error("checking a foreign key", e);
    let sql = format!(
        "SELECT {} FROM {} AS r WHERE {} LIMIT {}",
        list(key),
        quoted(table),
        breaks(asked, &quoted(&asked.table), quoted),
        OFFENDERS_MAX + 1,
    );
    let mut statement = prepared(session, &sql)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(tables.key_from_cells(&super::record::cells_of(row, 0, key.len()).map_err(failed)?)?);
    }
    Ok(found)
}
