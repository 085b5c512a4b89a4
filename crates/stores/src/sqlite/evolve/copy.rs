//! A copy of some rows in another file, to measure on.

use rusqlite::Connection;
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::CopyPlace;

use super::super::config::Config;
use super::super::error::store_error;
use super::super::tables::{list, quoted};
use super::sql::Sql;

/// Copies rows with the table's indexes. The table's own file is only read.
pub(super) fn copy(conn: &Connection, sql: &Sql, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
    let failed = |error| store_error("copying rows", error);
    let path = Config::parse(&to.url)?.path;
    let texts: Vec<String> = conn
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = ?1 AND type IN ('table', 'index') AND sql IS NOT NULL \
             ORDER BY type = 'index', rowid",
        )
        .and_then(|mut s| s.query_map([&sql.name], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")
        .and_then(|mut s| s.query_map([&sql.name], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let there = Connection::open(&path).map_err(failed)?;
    for text in &texts {
        there.execute_batch(text).map_err(failed)?;
    }
    drop(there);
    conn.execute("ATTACH DATABASE ?1 AS copied", [path.to_string_lossy()]).map_err(failed)?;
    let columns = list(&columns);
    let fill = format!(
        "INSERT INTO copied.{} ({columns}) SELECT {columns} FROM main.{} LIMIT {rows_max}",
        quoted(&to.table),
        sql.table
    );
    let copied = conn.execute(&fill, []).map_err(failed);
    conn.execute_batch("DETACH DATABASE copied").map_err(failed)?;
    Ok(copied? as u64)
}
