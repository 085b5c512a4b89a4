//! A program that has never heard of us, with a PostgreSQL database.

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use tokio_postgres::types::ToSql;

use super::config::Config;
use super::error::Failure;
use super::names::{qualified, quoted};
use super::session::{Session, get};
use crate::outsider::{Change, Collection, Outsider, ROWS_SENT_MAX};

/// How its transactions begin: as the server does when nobody says otherwise.
const BEGIN: &str = "BEGIN";

pub(crate) struct PostgresOutsider {
    session: Session,
    schema: String,
    collection: Collection,
}

/// Connects. The database must be there.
pub(crate) async fn open(url: &str, collection: Collection) -> StoreResult<PostgresOutsider> {
    let config = Config::parse(url)?;
    let session = Session::open(&config).await?;
    Ok(PostgresOutsider { session, schema: config.schema, collection })
}

impl PostgresOutsider {
    /// The table, the key and the document, as SQL names them.
    fn names(&self) -> (String, String, String) {
        let Collection { table, key, document } = &self.collection;
        (qualified(&self.schema, table), quoted(key), quoted(document))
    }
}

#[async_trait]
impl Outsider for PostgresOutsider {
    async fn tables(&mut self) -> StoreResult<Vec<String>> {
        let sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1";
        let rows = self.session.rows(sql, &[&self.schema]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    async fn make(&mut self, documents: &mut (dyn Iterator<Item = (String, String)> + Send)) -> StoreResult<()> {
        let (table, key, document) = self.names();
        let making: Result<(), Failure> = self
            .session
            .transaction(BEGIN, async {
                let session = &self.session;
                let create = format!("CREATE TABLE {table} ({key} text PRIMARY KEY, {document} json NOT NULL)");
                session.batch(&create).await?;
                let insert = format!(
                    "INSERT INTO {table} ({key}, {document}) \
                     SELECT key, document::json FROM unnest($1::text[], $2::text[]) AS given (key, document)"
                );
                loop {
                    let (keys, texts): (Vec<String>, Vec<String>) = documents.take(ROWS_SENT_MAX).unzip();
                    if keys.is_empty() {
                        return Ok(());
                    }
                    session.run(&insert, &[&keys, &texts]).await?;
                }
            })
            .await;
        Ok(making?)
    }

    async fn insert(&mut self, key: &str, document: &str) -> StoreResult<()> {
        let (table, name, doc) = self.names();
        let sql = format!("INSERT INTO {table} ({name}, {doc}) VALUES ($1, $2::text::json)");
        Ok(self.session.run(&sql, &[&key, &document]).await.map(drop)?)
    }

    async fn update(&mut self, key: &str, change: Change<'_>) -> StoreResult<bool> {
        let (table, name, document) = self.names();
        let updating: Result<bool, Failure> = self
            .session
            .transaction(BEGIN, async {
                let session = &self.session;
                let select = format!("SELECT {document}::text FROM {table} WHERE {name} = $1 FOR UPDATE");
                let rows = session.rows(&select, &[&key]).await?;
                let found: Option<String> = rows.first().map(|row| get(row, 0)).transpose()?;
                let Some(changed) = found.and_then(|found| change(&found)) else { return Ok(false) };
                let update = format!("UPDATE {table} SET {document} = $2::text::json WHERE {name} = $1");
                let bound: [&(dyn ToSql + Sync); 2] = [&key, &changed];
                session.run(&update, &bound).await?;
                Ok(true)
            })
            .await;
        Ok(updating?)
    }

    async fn delete(&mut self, key: &str) -> StoreResult<bool> {
        let (table, name, _) = self.names();
        let sql = format!("DELETE FROM {table} WHERE {name} = $1");
        Ok(self.session.run(&sql, &[&key]).await? == 1)
    }

    async fn documents(&mut self) -> StoreResult<Vec<String>> {
        let (table, _, document) = self.names();
        let rows = self.session.rows(&format!("SELECT {document}::text FROM {table}"), &[]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    async fn execute(&mut self, statement: &str) -> StoreResult<u64> {
        let failed = |e: tokio_postgres::Error| self.session.failed("running a statement", &e);
        Ok(self.session.client.execute(statement, &[]).await.map_err(failed)?)
    }

    async fn drop_tables(&mut self, tables: &[&str]) -> StoreResult<()> {
        let tables: Vec<String> = tables.iter().map(|table| qualified(&self.schema, table)).collect();
        Ok(self.session.batch(&format!("DROP TABLE IF EXISTS {}", tables.join(", "))).await?)
    }
}
