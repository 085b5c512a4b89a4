//! Looking at a file without changing it.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use shearwater_core::error::StoreResult;
use shearwater_core::shape::FieldType;
use shearwater_core::store::{
    Declarations, Estimate, ForeignKey, Form, Inspect, InspectedColumn, InspectedTable, Inspection,
};

use super::Sqlite;
use super::census::fill_types;
use super::error::store_error;
use super::tables::{RESERVED_PREFIX, quoted};

/// What is there.
pub(super) fn inspect(conn: &Connection) -> StoreResult<Inspection> {
    let failed = |e| store_error("inspecting the file", e);
    let names: Vec<(String, String)> = conn
        .prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
        .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(failed)?;
    let mut inspection = Inspection {
        product: format!("SQLite {}", rusqlite::version()),
        tables: Vec::new(),
        hazards: file_hazards(conn)?,
        declarations: Declarations::Hint,
        ..Inspection::default()
    };
    for (name, sql) in names.into_iter().filter(|(name, _)| !name.starts_with(RESERVED_PREFIX)) {
        if sql.to_ascii_uppercase().starts_with("CREATE VIRTUAL") {
            inspection
                .hazards
                .push(format!("table {name:?} is virtual: it takes no triggers, so its writes are not captured"));
            continue;
        }
        let mut table = inspect_table(conn, &name)?;
        table.hazards = table_hazards(conn, &table)?;
        inspection.tables.push(table);
    }
    Ok(inspection)
}

fn inspect_table(conn: &Connection, name: &str) -> StoreResult<InspectedTable> {
    let failed = |e| store_error("inspecting a table", e);
    let (mut columns, places): (Vec<InspectedColumn>, Vec<i64>) = conn
        .prepare("SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")
        .and_then(|mut s| s.query_map([name], |row| Ok((column(row)?, row.get::<_, i64>(4)?)))?.collect())
        .map_err(failed)?;
    let mut key: Vec<(i64, String)> = places
        .iter()
        .zip(&columns)
        .filter(|(place, _)| **place > 0)
        .map(|(place, c)| (*place, c.name.clone()))
        .collect();
    key.sort();
    let key: Vec<String> = key.into_iter().map(|(_, column)| column).collect();
    if let [only] = key.as_slice()
        && let Some(number) = columns.iter_mut().find(|c| c.name == *only && c.declared.eq_ignore_ascii_case("INTEGER"))
        && is_rowid(conn, name)?
    {
        // It is the rowid: never NULL, and numbered past the highest that was written.
        (number.identity, number.nullable) = (true, false);
    }
    fill_types(conn, name, &mut columns, &key)?;
    for column in &mut columns {
        if column.ty == Some(FieldType::Int) {
            column.bounds.integers = Some((i64::MIN, i64::MAX.unsigned_abs()));
        }
    }
    fill_collations(conn, name, &mut columns)?;
    let records: i64 =
        conn.query_row(&format!("SELECT count(*) FROM {}", quoted(name)), [], |row| row.get(0)).map_err(failed)?;
    Ok(InspectedTable {
        name: name.to_owned(),
        form: Form::Columns,
        columns,
        key,
        unique: unique(conn, name)?,
        foreign_keys: foreign_keys(conn, name)?,
        hazards: Vec::new(),
        estimate: Estimate { records: records.unsigned_abs(), exact: true, bytes: table_bytes(conn, name)? },
    })
}

fn column(row: &Row<'_>) -> rusqlite::Result<InspectedColumn> {
    let (not_null, hidden): (bool, i64) = (row.get(2)?, row.get(5)?);
    Ok(InspectedColumn {
        name: row.get(0)?,
        declared: row.get(1)?,
        nullable: !not_null,
        default: row.get(3)?,
        generated: matches!(hidden, 2 | 3),
        ..InspectedColumn::default()
    })
}

/// Whether the table's INTEGER PRIMARY KEY is its rowid: then it has no index.
fn is_rowid(conn: &Connection, table: &str) -> StoreResult<bool> {
    conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')", [table], |row| {
        row.get(0)
    })
    .map_err(|e| store_error("inspecting a table's indexes", e))
}

/// Collations of unique indexes that take different texts for equal.
fn fill_collations(conn: &Connection, table: &str, columns: &mut [InspectedColumn]) -> StoreResult<()> {
    let folding: Vec<(String, String)> = conn
        .prepare(
            "SELECT x.name, x.coll FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x \
             WHERE l.\"unique\" = 1 AND x.key = 1 AND x.name IS NOT NULL AND upper(x.coll) <> 'BINARY'",
        )
        .and_then(|mut s| s.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(|e| store_error("inspecting a table's indexes", e))?;
    for (name, collation) in folding {
        if let Some(column) = columns.iter_mut().find(|column| column.name == name) {
            (column.collation, column.folds) = (Some(collation), true);
        }
    }
    Ok(())
}

fn foreign_keys(conn: &Connection, table: &str) -> StoreResult<Vec<ForeignKey>> {
    let failed = |e| store_error("inspecting a table's foreign keys", e);
    type Part = (i64, String, String, Option<String>, bool);
    // A foreign key that names no columns means the other table's key.
    let parts: Vec<Part> = conn
        .prepare(
            "SELECT f.id, f.\"table\", f.\"from\", \
               coalesce(f.\"to\", (SELECT name FROM pragma_table_xinfo(f.\"table\") WHERE pk = f.seq + 1)), \
               f.on_update NOT IN ('NO ACTION', 'RESTRICT') OR f.on_delete NOT IN ('NO ACTION', 'RESTRICT') \
             FROM pragma_foreign_key_list(?1) f ORDER BY f.id DESC, f.seq",
        )
        .and_then(|mut s| {
            s.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?.collect()
        })
        .map_err(failed)?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    for (id, other, from, to, cascades) in parts {
        if keys.last().is_none_or(|(last, _)| *last != id) {
            keys.push((id, ForeignKey { table: other, cascades, ..ForeignKey::default() }));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(from);
            key.references.extend(to);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Unique constraints and indexes over plain columns, but the primary key.
fn unique(conn: &Connection, table: &str) -> StoreResult<Vec<Vec<String>>> {
    let failed = |e| store_error("inspecting a table's indexes", e);
    let indexes: Vec<String> = conn
        .prepare("SELECT name FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND partial = 0 AND origin <> 'pk' ORDER BY seq DESC")
        .and_then(|mut s| s.query_map([table], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let mut unique = Vec::new();
    for index in indexes {
        let columns: Vec<Option<String>> = conn
            .prepare("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")
            .and_then(|mut s| s.query_map([index], |row| row.get(0))?.collect())
            .map_err(failed)?;
        // An expression has no name.
        if let Some(columns) = columns.into_iter().collect::<Option<Vec<_>>>() {
            unique.push(columns);
        }
    }
    Ok(unique)
}

/// Unique indexes that the triggers cannot ask who stands in the way.
fn unasked(conn: &Connection, table: &str) -> StoreResult<Vec<String>> {
    conn.prepare(
        "SELECT l.name FROM pragma_index_list(?1) l WHERE l.\"unique\" = 1 AND (l.partial = 1 OR EXISTS \
         (SELECT 1 FROM pragma_index_xinfo(l.name) x WHERE x.key = 1 AND x.name IS NULL)) ORDER BY l.name",
    )
    .and_then(|mut s| s.query_map([table], |row| row.get(0))?.collect())
    .map_err(|e| store_error("inspecting a table's indexes", e))
}

/// Bytes of a table and its indexes where the library can tell; else 0.
fn table_bytes(conn: &Connection, table: &str) -> StoreResult<u64> {
    let sql = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = TRUE AND name IN \
               (SELECT name FROM sqlite_schema WHERE tbl_name = ?1)";
    match conn.query_row(sql, [table], |row| row.get::<_, i64>(0)) {
        Ok(bytes) => Ok(bytes.unsigned_abs()),
        Err(_) => Ok(0),
    }
}

fn file_hazards(conn: &Connection) -> StoreResult<Vec<String>> {
    let failed = |e| store_error("inspecting the file", e);
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    let mut hazards = Vec::new();
    if mode != "wal" {
        hazards.push(format!(
            "the file's journal mode is {mode:?}: the first write changes it to write-ahead logging, and it stays so"
        ));
    }
    Ok(hazards)
}

fn table_hazards(conn: &Connection, table: &InspectedTable) -> StoreResult<Vec<String>> {
    let failed = |e| store_error("inspecting a table", e);
    let name = &table.name;
    let mut hazards = Vec::new();
    if table.key.is_empty() && table.unique.is_empty() {
        hazards.push(format!("table {name:?} has no key: no column identifies its rows"));
    }
    for index in unasked(conn, name)? {
        hazards.push(format!(
            "table {name:?}: INSERT OR REPLACE that removes another row by the unique index {index:?}, which is over \
             expressions or some rows only, is not captured; verification finds it"
        ));
    }
    let triggers: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 AND substr(name, 1, ?2) <> ?3 ORDER BY name")
        .and_then(|mut s| {
            s.query_map(params![name, RESERVED_PREFIX.len() as i64, RESERVED_PREFIX], |row| row.get(0))?.collect()
        })
        .map_err(failed)?;
    for trigger in triggers {
        hazards.push(format!(
            "table {name:?}: the trigger {trigger:?} also runs when Shearwater writes, and may change what was written"
        ));
    }
    for column in &table.key {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NULL)", quoted(name), quoted(column));
        if conn.query_row(&sql, [], |row| row.get::<_, bool>(0)).map_err(failed)? {
            hazards
                .push(format!("table {name:?}: some rows have NULL in the key column {column:?}; they are no records"));
        }
    }
    Ok(hazards)
}

#[async_trait]
impl Inspect for Sqlite {
    async fn inspect(&self) -> StoreResult<Inspection> {
        self.blocking_read(|session, _| inspect(&session.conn)).await
    }
}
