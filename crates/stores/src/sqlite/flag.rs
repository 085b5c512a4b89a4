//! A flag of ours in the user's table: a column and its index, added and
//! removed in one transaction each. The index's name says that they are ours.

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Flagged, Flags, must_be_own};

use super::Sqlite;
use super::error::store_error;
use super::session::Session;
use super::tables::{RESERVED_PREFIX, Tables, list, quoted};
use super::writer::Durability;

fn index_name(tables: &Tables) -> String {
    format!("{RESERVED_PREFIX}{}_flag", tables.name)
}

fn count(session: &Session, sql: &str, name: &str) -> StoreResult<bool> {
    session
        .conn
        .query_row(sql, [name], |row| row.get::<_, i64>(0))
        .map(|n| n > 0)
        .map_err(|e| store_error("looking for the flag", e))
}

fn has_index(session: &Session, tables: &Tables) -> StoreResult<bool> {
    count(session, "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?1", &index_name(tables))
}

fn has_column(session: &Session, tables: &Tables, flag: &str) -> StoreResult<bool> {
    let table = quoted(&tables.name);
    let sql = format!("SELECT count(*) FROM pragma_table_xinfo({table}) WHERE lower(name) = lower(?1)");
    count(session, &sql, flag)
}

fn run(session: &Session, statements: Vec<String>) -> StoreResult<Vec<String>> {
    for sql in &statements {
        session.conn.execute_batch(sql).map_err(|e| store_error("changing the flag", e))?;
    }
    Ok(statements)
}

fn add(session: &Session, tables: &Tables, flag: &str) -> StoreResult<Vec<String>> {
    match (has_column(session, tables, flag)?, has_index(session, tables)?) {
        (true, true) => return Ok(Vec::new()),
        (true, false) => return Err(taken(&tables.name, flag)),
        (false, _) => {}
    }
    let (table, flag, index) = (quoted(&tables.name), quoted(flag), quoted(&index_name(tables)));
    run(
        session,
        vec![
            format!("ALTER TABLE {table} ADD COLUMN {flag} BOOLEAN NOT NULL DEFAULT 0"),
            format!("CREATE INDEX {index} ON {table} ({flag}, {})", list(&tables.tree.key)),
        ],
    )
}

fn remove(session: &Session, tables: &Tables, flag: &str) -> StoreResult<Vec<String>> {
    if !has_index(session, tables)? {
        return Ok(Vec::new());
    }
    let (table, index) = (quoted(&tables.name), quoted(&index_name(tables)));
    let mut statements = vec![format!("DROP INDEX {index}")];
    if has_column(session, tables, flag)? {
        statements.push(format!("ALTER TABLE {table} DROP COLUMN {}", quoted(flag)));
    }
    run(session, statements)
}

/// The error of a name that the user has already.
pub(super) fn taken(table: &str, flag: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        format!("table {table:?} has a column {flag:?} already, which is not ours"),
    )
    .with_hint("name the flag otherwise in the spec: [source] flag = \"moved_to_us\"")
}

#[async_trait]
impl Flags for Sqlite {
    async fn count_flagged(&self, flag: &str, flagged: Flagged) -> StoreResult<u64> {
        let flag = quoted(flag);
        self.blocking_read(move |session, tables| {
            let sql = format!("SELECT count(*) FROM {} WHERE {flag} = ?1", quoted(&tables.name));
            let count = session.conn.query_row(&sql, [i64::from(flagged == Flagged::Yes)], |row| row.get::<_, i64>(0));
            count.map(i64::unsigned_abs).map_err(|e| store_error("counting flags", e))
        })
        .await
    }

    async fn drop_own_table(&self) -> StoreResult<()> {
        must_be_own(&self.tables.name)?;
        let sql = format!("DROP TABLE IF EXISTS {}", quoted(&self.tables.name));
        self.writer.run(Durability::OnDisk, move |session| run(session, vec![sql]).map(drop)).await
    }

    async fn add_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let (tables, flag) = (self.tables.clone(), flag.to_owned());
        self.writer.run(Durability::OnDisk, move |session| add(session, &tables, &flag)).await
    }

    async fn remove_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let (tables, flag) = (self.tables.clone(), flag.to_owned());
        self.writer.run(Durability::OnDisk, move |session| remove(session, &tables, &flag)).await
    }
}

impl Sqlite {
    /// Its flags, where the layout has columns.
    pub(super) fn own_flags(&self) -> Option<&dyn Flags> {
        match &self.tables.tree.layout {
            Layout::Rows(_) => Some(self),
            Layout::Document(_) => None,
        }
    }
}
