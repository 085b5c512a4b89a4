//! What the file's schema says about a layout's tables.

use rusqlite::Connection;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::error::store_error;
use super::record::RawRecord;
use super::tables::{Tables, marks_name};
use super::value::Affinity;
use crate::relational::{record_key_columns, refused};

/// The format of the sidecar's tables; another one is refused.
pub(super) const SIDECAR_FORMAT: i64 = 1;

/// Whether a table has its sidecar now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    /// Installed.
    Installed,
    /// Not installed.
    Absent,
}

/// Whether the key columns identify a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyIndex {
    /// A unique index over exactly them, comparing bytes.
    Exact,
    /// A unique index, but one that takes different keys for equal (NOCASE, RTRIM).
    Folding,
    /// No unique index over exactly them.
    Missing,
}

/// Whether a file has triggers that are not this layout's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherTriggers {
    /// None.
    None,
    /// The user's, or those of another table's sidecar.
    Some,
}

type Columns = Vec<(String, Affinity)>;

/// One look at the schema.
#[derive(Debug)]
pub(super) struct Facts {
    /// The sidecar.
    pub(super) sidecar: Sidecar,
    /// Whether the key identifies a row.
    key: KeyIndex,
    /// Columns of the root: key, then values; those of each child table:
    /// the record's key, then values.
    root: Columns,
    children: Vec<Columns>,
    /// Whether there are triggers but this sidecar's own.
    pub(super) other_triggers: OtherTriggers,
    /// Columns that lead an index over all rows, comparing bytes.
    indexed: Vec<String>,
}

impl Facts {
    /// Looks.
    pub(super) fn look(conn: &Connection, tables: &Tables) -> StoreResult<Facts> {
        let root = columns_of(conn, &tables.name)?;
        let pick = |columns: &Columns, names: Vec<&String>| -> Columns {
            names.into_iter().filter_map(|n| find(columns, n)).collect()
        };
        let record_key = record_key_columns(&tables.tree.key);
        let mut children = Vec::new();
        for child in &tables.tree.children {
            let columns = columns_of(conn, &child.shape.table)?;
            children.push(pick(&columns, record_key.iter().chain(&child.values).collect()));
        }
        Ok(Facts {
            sidecar: look_for_sidecar(conn, &tables.name)?,
            key: key_index(conn, tables)?,
            root: pick(&root, tables.tree.key.iter().chain(&tables.tree.values).collect()),
            children,
            other_triggers: other_triggers(conn, tables)?,
            indexed: indexed(conn, &tables.name)?,
        })
    }

    /// Whether an index gives the column's order.
    pub(super) fn is_indexed(&self, column: &str) -> bool {
        self.indexed.iter().any(|name| name.eq_ignore_ascii_case(column))
    }

    /// Refuses a table whose key does not identify its rows.
    pub(super) fn check_key(&self, tables: &Tables) -> StoreResult<()> {
        let columns = tables.tree.key.join(", ");
        let error = |what: String| StoreError::new(StoreErrorKind::NotFound, what);
        match self.key {
            KeyIndex::Exact => Ok(()),
            KeyIndex::Missing => Err(error(format!(
                "table {:?} has no PRIMARY KEY and no UNIQUE constraint over exactly ({columns})",
                tables.name
            ))
            .with_hint("name the table's key in the spec, or create a unique index")),
            KeyIndex::Folding => Err(error(format!(
                "table {:?}: the unique index over ({columns}) has a collation that takes different keys for equal",
                tables.name
            ))
            .with_hint("create a unique index with COLLATE BINARY")),
        }
    }

    /// Refuses a record whose cells a column's declared type would change.
    pub(super) fn check_kept(&self, tables: &Tables, raw: &RawRecord) -> StoreResult<()> {
        let root = raw.key.iter().chain(&raw.values);
        for ((name, affinity), cell) in self.root.iter().zip(root) {
            if !affinity.keeps(cell) {
                return Err(changed(&tables.name, name, cell.class()));
            }
        }
        for ((columns, child), elements) in self.children.iter().zip(&tables.tree.children).zip(&raw.children) {
            for element in elements {
                let cells = raw.key.iter().chain(&element.values);
                for ((name, affinity), cell) in columns.iter().zip(cells) {
                    if !affinity.keeps(cell) {
                        return Err(changed(&child.shape.table, name, cell.class()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn changed(table: &str, column: &str, class: &str) -> StoreError {
    refused(table, column, format!("the column's declared type would change the {class} value"))
        .with_hint("declare the column with the type of the field")
}

fn find(columns: &Columns, name: &str) -> Option<(String, Affinity)> {
    columns.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, a)| (name.to_owned(), *a))
}

/// The columns of a table; none when there is no such table.
fn columns_of(conn: &Connection, table: &str) -> StoreResult<Columns> {
    let failed = |e| store_error("reading a table's columns", e);
    let mut statement = conn.prepare("SELECT name, type FROM pragma_table_xinfo(?1)").map_err(failed)?;
    let rows =
        statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).map_err(failed)?;
    rows.map(|row| row.map(|(name, declared)| (name, Affinity::of_declared(&declared))).map_err(failed)).collect()
}

/// Refuses a store in which a table or a column of the layout is missing.
pub(super) fn check_layout(conn: &Connection, tables: &Tables, absent: AbsentTables) -> StoreResult<()> {
    let mut parts: Vec<(&str, Vec<String>)> =
        vec![(&tables.name, tables.tree.key.iter().chain(&tables.tree.values).cloned().collect())];
    for child in &tables.tree.children {
        let mut names = vec!["id".to_owned(), "position".to_owned()];
        names.extend(child.parent.map(|_| "parent_id".to_owned()));
        names.extend(record_key_columns(&tables.tree.key));
        names.extend(child.values.iter().cloned());
        parts.push((&child.shape.table, names));
    }
    for (table, names) in parts {
        let columns = columns_of(conn, table)?;
        if columns.is_empty() {
            if absent == AbsentTables::Allowed {
                continue;
            }
            return Err(StoreError::new(StoreErrorKind::NotFound, format!("SQLite: there is no table {table:?}"))
                .with_hint(tables_there(conn)?));
        }
        if let Some(missing) = names.iter().find(|name| find(&columns, name).is_none()) {
            let there: Vec<&str> = columns.iter().map(|(n, _)| n.as_str()).collect();
            return Err(StoreError::new(
                StoreErrorKind::NotFound,
                format!("SQLite: table {table:?} has no column {missing:?}"),
            )
            .with_hint(format!("its columns are {}", there.join(", "))));
        }
    }
    Ok(())
}

/// Whether tables of the layout may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbsentTables {
    /// `provision` will make them.
    Allowed,
    /// They must be there.
    Refused,
}

/// The name of a table as the schema spells it.
pub(super) fn spelled(conn: &Connection, table: &str) -> StoreResult<Option<String>> {
    let found = conn.query_row(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
        [table],
        |row| row.get(0),
    );
    match found {
        Ok(name) => Ok(Some(name)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(store_error("looking for the table", error)),
    }
}

fn tables_there(conn: &Connection) -> StoreResult<String> {
    let failed = |e| store_error("listing tables", e);
    let mut statement = conn
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name NOT LIKE '\\_shearwater\\_%' ESCAPE '\\' ORDER BY name LIMIT 20",
        )
        .map_err(failed)?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
    Ok(if names.is_empty() {
        "the file has no tables".to_owned()
    } else {
        format!("its tables are {}", names.join(", "))
    })
}

fn look_for_sidecar(conn: &Connection, table: &str) -> StoreResult<Sidecar> {
    let failed = |e| store_error("looking for the sidecar", e);
    let found: i64 = conn
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [marks_name(table)],
            |row| row.get(0),
        )
        .map_err(failed)?;
    if found == 0 {
        return Ok(Sidecar::Absent);
    }
    let format: i64 = conn
        .query_row("SELECT format FROM _shearwater_state WHERE tbl = ?1", [table], |row| row.get(0))
        .map_err(failed)?;
    if format != SIDECAR_FORMAT {
        return Err(StoreError::new(
            StoreErrorKind::Sidecar,
            format!("table {table:?}: its sidecar has format {format}, this program knows {SIDECAR_FORMAT}"),
        )
        .with_hint("use the version of this program that began the migration"));
    }
    Ok(Sidecar::Installed)
}

fn other_triggers(conn: &Connection, tables: &Tables) -> StoreResult<OtherTriggers> {
    let own = super::triggers::trigger_names(tables);
    let there: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
        .map_err(|e| store_error("reading the file's triggers", e))?;
    let all_ours = there.iter().all(|name| own.contains(name));
    Ok(if all_ours { OtherTriggers::None } else { OtherTriggers::Some })
}

fn indexed(conn: &Connection, table: &str) -> StoreResult<Vec<String>> {
    conn.prepare(
        "SELECT x.name FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x \
         WHERE l.partial = 0 AND x.seqno = 0 AND x.name IS NOT NULL AND upper(x.coll) = 'BINARY'",
    )
    .and_then(|mut s| s.query_map([table], |row| row.get(0))?.collect())
    .map_err(|e| store_error("reading the table's indexes", e))
}

fn key_index(conn: &Connection, tables: &Tables) -> StoreResult<KeyIndex> {
    let failed = |e| store_error("reading the table's indexes", e);
    let same = |found: &[String]| {
        found.len() == tables.tree.key.len()
            && tables.tree.key.iter().all(|k| found.iter().any(|f| f.eq_ignore_ascii_case(k)))
    };
    let mut best = KeyIndex::Missing;
    let mut statement =
        conn.prepare("SELECT name FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND partial = 0").map_err(failed)?;
    let indexes: Vec<String> =
        statement.query_map([&tables.name], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
    for index in indexes {
        let mut statement = conn
            .prepare("SELECT coalesce(name, ''), coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")
            .map_err(failed)?;
        let columns: Vec<(String, String)> = statement
            .query_map([&index], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(failed)?;
        let names: Vec<String> = columns.iter().map(|(n, _)| n.clone()).collect();
        if same(&names) {
            if columns.iter().all(|(_, coll)| coll.eq_ignore_ascii_case("BINARY")) {
                return Ok(KeyIndex::Exact);
            }
            best = KeyIndex::Folding;
        }
    }
    if best == KeyIndex::Missing {
        // An INTEGER PRIMARY KEY has no index of its own.
        let mut statement = conn
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 AND upper(type) = 'INTEGER'")
            .map_err(failed)?;
        let names: Vec<String> =
            statement.query_map([&tables.name], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
        if names.len() == 1 && same(&names) {
            return Ok(KeyIndex::Exact);
        }
    }
    Ok(best)
}
