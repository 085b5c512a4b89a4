//! A program that has never heard of us, with a SQLite file.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior, params};
use shearwater_core::error::StoreResult;

use super::config::Config;
use super::error::store_error;
use super::tables::quoted;
use crate::outsider::{Change, Collection, Outsider};

/// How long it waits for the file's lock: an ordinary program's patience, ms.
const BUSY_MS_MAX: u64 = 10_000;

/// What SQLite keeps beside a file in WAL.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

pub(crate) struct SqliteOutsider {
    connection: Connection,
    collection: Collection,
    /// The file, when this connection made it.
    made: Option<PathBuf>,
}

pub(crate) fn open(url: &str, collection: Collection) -> StoreResult<SqliteOutsider> {
    let path = Config::parse(url)?.path;
    let made = (!path.exists()).then(|| path.clone());
    let opening = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(&path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        Ok(connection)
    };
    let connection = opening().map_err(|e| store_error("opening", e))?;
    Ok(SqliteOutsider { connection, collection, made })
}

impl SqliteOutsider {
    fn update_now(&mut self, key: &str, change: Change<'_>) -> rusqlite::Result<bool> {
        let Collection { table, key: name, document } = &self.collection;
        let (table, name, document) = (quoted(table), quoted(name), quoted(document));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<String> = {
            let mut select =
                transaction.prepare_cached(&format!("SELECT {document} FROM {table} WHERE {name} = ?1"))?;
            let mut rows = select.query([key])?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        let Some(changed) = found.and_then(|found| change(&found)) else { return Ok(false) };
        transaction
            .prepare_cached(&format!("UPDATE {table} SET {document} = ?2 WHERE {name} = ?1"))?
            .execute(params![key, changed])?;
        transaction.commit()?;
        Ok(true)
    }

    fn insert_sql(&self) -> String {
        let Collection { table, key, document } = &self.collection;
        format!("INSERT INTO {} ({}, {}) VALUES (?1, ?2)", quoted(table), quoted(key), quoted(document))
    }

    fn all(&self) -> rusqlite::Result<Vec<String>> {
        let Collection { table, document, .. } = &self.collection;
        let mut select = self.connection.prepare(&format!("SELECT {} FROM {}", quoted(document), quoted(table)))?;
        select.query_map([], |row| row.get(0))?.collect()
    }
}

#[async_trait]
impl Outsider for SqliteOutsider {
    async fn tables(&mut self) -> StoreResult<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut select =
                self.connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
            select.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|e| store_error("reading the schema", e))
    }

    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()> {
        let insert = self.insert_sql();
        let Collection { table, key, document } = &self.collection;
        let create = format!(
            "CREATE TABLE {} ({} PRIMARY KEY NOT NULL, {} TEXT NOT NULL)",
            quoted(table),
            quoted(key),
            quoted(document)
        );
        let making = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(&create)?;
            {
                let mut insert = transaction.prepare(&insert)?;
                for (key, document) in documents {
                    insert.execute(params![key, document])?;
                }
            }
            transaction.commit()
        };
        making().map_err(|e| store_error("making a table", e))
    }

    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()> {
        let inserting = || self.connection.prepare_cached(&self.insert_sql())?.execute(params![key, document]);
        inserting().map(drop).map_err(|e| store_error("inserting", e))
    }

    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool> {
        self.update_now(key, change).map_err(|e| store_error("updating", e))
    }

    async fn delete(&mut self, key: &str) -> StoreResult<bool> {
        let Collection { table, key: name, .. } = &self.collection;
        let sql = format!("DELETE FROM {} WHERE {} = ?1", quoted(table), quoted(name));
        let deleting = || self.connection.prepare_cached(&sql)?.execute([key]);
        Ok(deleting().map_err(|e| store_error("deleting", e))? == 1)
    }

    async fn documents(&mut self) -> StoreResult<Vec<String>> {
        self.all().map_err(|e| store_error("reading", e))
    }

    async fn execute(&mut self, statement: &str) -> StoreResult<u64> {
        let changed = self.connection.execute(statement, []).map_err(|e| store_error("running a statement", e))?;
        Ok(changed as u64)
    }

    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()> {
        for table in tables {
            let sql = format!("DROP TABLE IF EXISTS {}", quoted(table));
            self.connection.execute_batch(&sql).map_err(|e| store_error("dropping a table", e))?;
        }
        let Some(path) = self.made.take().filter(|_| matches!(self.tables_left(), Ok(0))) else { return Ok(()) };
        // What cannot be removed is an empty file that is in nobody's way.
        let _ = std::fs::remove_file(&path);
        for end in BESIDE {
            let mut name = path.clone().into_os_string();
            name.push(end);
            let _ = std::fs::remove_file(name);
        }
        Ok(())
    }
}

impl SqliteOutsider {
    fn tables_left(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
    }
}
