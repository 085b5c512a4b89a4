//! The documented rebuild of a table in one transaction, the only way in which
//! SQLite changes a column that is there. The table keeps its name all the
//! time, and its text differs in the one column's definition only.

use rusqlite::{Connection, OptionalExtension as _};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::super::error::store_error;
use super::super::tables::{list, quoted};
use super::sql::Sql;

/// Replaces the column's definition, inside the caller's transaction.
///
/// # Errors
/// A table whose text does not hold the definition that we gave it: somebody
/// has changed the table meanwhile.
pub(super) fn rebuild(conn: &Connection, sql: &Sql, from: &str, to: &str) -> StoreResult<()> {
    let failed = |error| store_error("building the table anew", error);
    let text: String = conn
        .query_row("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1", [&sql.name], |row| row.get(0))
        .map_err(failed)?;
    let new = with_definition(&text, from, to).ok_or_else(|| {
        let what =
            format!("SQLite: the definition of {:?} in {:?} is not the one that was added", sql.column_name, sql.name);
        StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("the table was altered meanwhile; bring the column back to how it was added, then try again")
    })?;
    let beside: Vec<(String, String, String)> = conn
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ?1 AND type IN ('index', 'trigger') \
             AND sql IS NOT NULL ORDER BY rowid",
        )
        .and_then(|mut s| s.query_map([&sql.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect())
        .map_err(failed)?;
    let columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")
        .and_then(|mut s| s.query_map([&sql.name], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let numbering = numbering(conn, sql)?;
    let old = quoted(&sql.old_name());
    let rowid = if keeps_rowids(conn, sql, &columns)? { "rowid, " } else { "" };
    let columns = list(&columns);
    let run = |statement: &str| conn.execute_batch(statement).map_err(failed);
    for (ty, name, _) in &beside {
        run(&format!("DROP {ty} {}", quoted(name)))?;
    }
    run(&format!("ALTER TABLE {} RENAME TO {old}", sql.table))?;
    run(&new)?;
    run(&format!("INSERT INTO {} ({rowid}{columns}) SELECT {rowid}{columns} FROM {old}", sql.table))?;
    run(&format!("DROP TABLE {old}"))?;
    for (_, _, text) in &beside {
        run(text)?;
    }
    if let Some(last) = numbering {
        conn.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [&sql.name]).map_err(failed)?;
        conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (&sql.name, last)).map_err(failed)?;
    }
    Ok(())
}

/// A table's text with another definition of the column; `None`: the old one
/// does not stand there exactly once.
pub(super) fn with_definition(text: &str, from: &str, to: &str) -> Option<String> {
    let ends_here = |rest: &str| rest.trim_start().starts_with([',', ')']);
    let mut places = text.match_indices(from).filter(|(at, _)| ends_here(&text[at + from.len()..]));
    let (at, _) = places.next()?;
    if places.next().is_some() {
        return None;
    }
    Some(format!("{}{to}{}", &text[..at], &text[at + from.len()..]))
}

/// The last number that AUTOINCREMENT gave.
fn numbering(conn: &Connection, sql: &Sql) -> StoreResult<Option<i64>> {
    let has = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let failed = |error| store_error("reading the numbering", error);
    if conn.query_row(has, [], |row| row.get::<_, i64>(0)).map_err(failed)? == 0 {
        return Ok(None);
    }
    conn.query_row("SELECT seq FROM sqlite_sequence WHERE name = ?1", [&sql.name], |row| row.get(0))
        .optional()
        .map_err(failed)
}

/// Whether rows have a number of their own that a program may rely on.
fn keeps_rowids(conn: &Connection, sql: &Sql, columns: &[String]) -> StoreResult<bool> {
    let without = has_no_rowid(conn, sql)?;
    Ok(!without && !columns.iter().any(|column| column.eq_ignore_ascii_case("rowid")))
}

/// Whether the table is clustered by its key.
pub(super) fn has_no_rowid(conn: &Connection, sql: &Sql) -> StoreResult<bool> {
    conn.query_row("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1", [&sql.name], |row| {
        row.get(0)
    })
    .map_err(|error| store_error("looking at the table", error))
}

#[cfg(test)]
mod tests {
    use super::with_definition;

    #[test]
    fn only_the_one_definition_changes() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(with_definition(text, "\"s\" TEXT", "\"s\" TEXT NOT NULL").as_deref(), expect, "{text}");
        };
        check("CREATE TABLE t (id INT, \"s\" TEXT)", Some("CREATE TABLE t (id INT, \"s\" TEXT NOT NULL)"));
        check("CREATE TABLE t (\"s\" TEXT , b)", Some("CREATE TABLE t (\"s\" TEXT NOT NULL , b)"));
        check("CREATE TABLE t (id INT, \"s\" TEXT DEFAULT 'x')", None);
        check("CREATE TABLE t (\"s\" TEXT, \"s\" TEXT)", None);
    }
}
