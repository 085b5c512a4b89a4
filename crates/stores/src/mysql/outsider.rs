//! A program that has never heard of us, with a MySQL or MariaDB database: one
//! connection with the server's own settings.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, TxOpts};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::config::Config;
use super::error::failure;
use super::names::quoted;
use crate::outsider::{Change, Collection, Outsider, ROWS_SENT_MAX};

pub(crate) struct MySqlOutsider {
    conn: Conn,
    collection: Collection,
}

/// Connects. The database must be there.
pub(crate) async fn open(url: &str, collection: Collection) -> StoreResult<MySqlOutsider> {
    let config = Config::parse(url)?;
    let conn = Conn::new(config.opts).await.map_err(|e| failed(&format!("connecting to {}", config.place), &e))?;
    Ok(MySqlOutsider { conn, collection })
}

fn failed(doing: &str, error: &mysql_async::Error) -> StoreError {
    failure(doing, error).error
}

/// The failure of a commit: a lost connection leaves it open what became of it.
fn commit_failed(error: &mysql_async::Error) -> StoreError {
    let told = failed("committing", error);
    match error {
        mysql_async::Error::Server(_) => told,
        _ => StoreError { kind: StoreErrorKind::OutcomeUnknown, ..told },
    }
}

#[async_trait]
impl Outsider for MySqlOutsider {
    async fn tables(&mut self) -> StoreResult<Vec<String>> {
        let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
        self.conn.query(sql).await.map_err(|e| failed("reading the schema", &e))
    }

    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()> {
        let Collection { table, key, document } = &self.collection;
        let (table, key, document) = (quoted(table), quoted(key), quoted(document));
        let create = format!(
            "CREATE TABLE {table} ({key} VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, \
             {document} LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB"
        );
        self.conn.query_drop(create).await.map_err(|e| failed("making a table", &e))?;
        let doing = "filling a table";
        let mut transaction = self.conn.start_transaction(TxOpts::default()).await.map_err(|e| failed(doing, &e))?;
        loop {
            let some: Vec<String> = documents.take(ROWS_SENT_MAX).flat_map(|(key, text)| [key, text]).collect();
            if some.is_empty() {
                return transaction.commit().await.map_err(|e| commit_failed(&e));
            }
            let rows = vec!["(?, ?)"; some.len() / 2].join(", ");
            let insert = format!("INSERT INTO {table} ({key}, {document}) VALUES {rows}");
            transaction.exec_drop(insert, some).await.map_err(|e| failed(doing, &e))?;
        }
    }

    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()> {
        let Collection { table, key: name, document: doc } = &self.collection;
        let sql = format!("INSERT INTO {} ({}, {}) VALUES (?, ?)", quoted(table), quoted(name), quoted(doc));
        self.conn.exec_drop(sql, (key, document)).await.map_err(|e| failed("inserting", &e))
    }

    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool> {
        let Collection { table, key: name, document } = &self.collection;
        let (table, name, document) = (quoted(table), quoted(name), quoted(document));
        let mut transaction =
            self.conn.start_transaction(TxOpts::default()).await.map_err(|e| failed("updating", &e))?;
        let select = format!("SELECT {document} FROM {table} WHERE {name} = ? FOR UPDATE");
        let found: Option<String> = transaction.exec_first(select, (key,)).await.map_err(|e| failed("reading", &e))?;
        let Some(changed) = found.and_then(|found| change(&found)) else {
            transaction.rollback().await.map_err(|e| failed("updating", &e))?;
            return Ok(false);
        };
        let update = format!("UPDATE {table} SET {document} = ? WHERE {name} = ?");
        transaction.exec_drop(update, (changed, key)).await.map_err(|e| failed("updating", &e))?;
        transaction.commit().await.map_err(|e| commit_failed(&e))?;
        Ok(true)
    }

    async fn delete(&mut self, key: &str) -> StoreResult<bool> {
        let Collection { table, key: name, .. } = &self.collection;
        let sql = format!("DELETE FROM {} WHERE {} = ?", quoted(table), quoted(name));
        self.conn.exec_drop(sql, (key,)).await.map_err(|e| failed("deleting", &e))?;
        Ok(self.conn.affected_rows() == 1)
    }

    async fn documents(&mut self) -> StoreResult<Vec<String>> {
        let Collection { table, document, .. } = &self.collection;
        let sql = format!("SELECT {} FROM {}", quoted(document), quoted(table));
        let rows: Vec<Row> = self.conn.exec(sql, ()).await.map_err(|e| failed("reading", &e))?;
        let unreadable = || StoreError::new(StoreErrorKind::Corrupt, "MySQL, reading: a document is no text");
        rows.into_iter().map(|mut row| row.take_opt(0).and_then(Result::ok).ok_or_else(unreadable)).collect()
    }

    async fn execute(&mut self, statement: &str) -> StoreResult<u64> {
        self.conn.query_drop(statement).await.map_err(|e| failed("running a statement", &e))?;
        Ok(self.conn.affected_rows())
    }

    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()> {
        let tables: Vec<String> = tables.iter().map(|table| quoted(table)).collect();
        let sql = format!("DROP TABLE IF EXISTS {}", tables.join(", "));
        self.conn.query_drop(sql).await.map_err(|e| failed("dropping tables", &e))
    }
}
