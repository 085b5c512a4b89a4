//! The two databases that the demo is played with: looked at before, filled
//! with the legacy users, and left as they were. Here the demo acts as programs
//! do that have never heard of Shearwater.

use std::sync::Arc;

use shearwater_core::store::Store;
use shearwater_core::value::json;
use shearwater_stores::open_outsider;
use shearwater_stores::outsider::{Collection, Outsider};

use super::DemoError;
use super::history::{KeyId, Version};
use super::people;
use super::plot::Places;

/// The legacy table, in the source.
const LEGACY: &str = "users";

/// The tables that the migration makes in the target.
const MADE: [&str; 3] = ["users", "user_tags", "user_addresses"];

/// What names begin with that a migration makes for itself.
const OURS: &str = "_shearwater";

/// The two databases.
pub struct Estate {
    source: Box<dyn Outsider>,
    target: Box<dyn Outsider>,
    /// As the migration opened them, once it has.
    pub stores: Option<(Arc<dyn Store>, Arc<dyn Store>)>,
}

/// A connection of the legacy application.
pub async fn legacy_application(url: &str) -> Result<Box<dyn Outsider>, DemoError> {
    let collection = Collection { table: LEGACY.to_owned(), key: "_id".to_owned(), document: "doc".to_owned() };
    Ok(open_outsider(url, collection).await?)
}

impl Estate {
    /// Connects; refuses databases in which the demo would meet other tables.
    pub async fn open(places: &Places) -> Result<Estate, DemoError> {
        let mut source = legacy_application(&places.source.url).await.map_err(|e| e.within("source"))?;
        let mut target = legacy_application(&places.target.url).await.map_err(|e| e.within("target"))?;
        free(&mut *source, "source", &[LEGACY]).await?;
        free(&mut *target, "target", &MADE).await?;
        Ok(Estate { source, target, stores: None })
    }

    /// Makes the legacy store: a table with a key and a JSON document, as an
    /// application that knows nothing of Shearwater would have made it.
    pub async fn make_legacy(&mut self, records: u32, seed: u64) -> Result<(), DemoError> {
        let mut people = (0..records).map(|n| {
            let key = people::key_text(n);
            let person = people::person(seed, KeyId(n), &key, Version(0));
            (key, json::document_to_string(&person))
        });
        self.source.make(&mut people).await?;
        match self.target.tables().await?.iter().any(|table| table == LEGACY) {
            true => Err(DemoError("source and target are one database; the demo needs two".to_owned())),
            false => Ok(()),
        }
    }

    /// Every document of the source, read as any program would.
    pub async fn documents(&mut self) -> Result<Vec<String>, DemoError> {
        Ok(self.source.documents().await?)
    }

    /// Drops everything that the demo made.
    pub async fn leave_clean(mut self) -> Result<(), DemoError> {
        if let Some((source, target)) = self.stores.take() {
            source.remove().await?;
            target.remove().await?;
        }
        self.source.drop_tables(&[LEGACY]).await?;
        self.target.drop_tables(&MADE).await?;
        Ok(())
    }
}

/// Refuses a database that has one of these tables, or one of a migration's own.
pub(super) async fn free(database: &mut dyn Outsider, side: &str, wanted: &[&str]) -> Result<(), DemoError> {
    let there = database.tables().await?;
    let in_the_way = |table: &&String| wanted.contains(&table.as_str()) || table.starts_with(OURS);
    match there.iter().find(in_the_way) {
        None => Ok(()),
        Some(table) => Err(DemoError(format!(
            "the {side} has a table {table:?} already; the demo needs a database without {} and without a migration's \
             own tables",
            wanted.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plot::Place;
    use super::*;

    fn places(directory: &std::path::Path) -> Places {
        let place = |file: &str| Place::file(&directory.join(file));
        Places { source: place("legacy.db"), target: place("users.db") }
    }

    #[tokio::test]
    async fn the_legacy_store_holds_everybody_and_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let mut estate = Estate::open(&places(directory.path())).await.unwrap();
        estate.make_legacy(200, 7).await.unwrap();
        let documents = estate.documents().await.unwrap();
        assert_eq!(documents.len(), 200);
        for text in documents {
            let record = json::parse_document(text.as_bytes()).unwrap();
            assert!(record.contains("_id") && record.contains("v"), "{text}");
        }
        estate.leave_clean().await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files that were not there before");
    }

    #[tokio::test]
    async fn a_database_with_other_tables_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let check = async |file: &str, table: &str, says: &str| {
            let path = directory.path().join(file);
            let connection = rusqlite::Connection::open(&path).unwrap();
            connection.execute_batch(&format!("CREATE TABLE {table} (mine); INSERT INTO {table} VALUES (1)")).unwrap();
            let error = Estate::open(&places(directory.path())).await.err().unwrap();
            assert!(error.0.contains(says), "{error}");
            let count: i64 =
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(count, 1);
            drop(connection);
            std::fs::remove_file(path).unwrap();
        };
        check("legacy.db", "users", "the source has a table \"users\"").await;
        check("users.db", "user_tags", "the target has a table \"user_tags\"").await;
        check("users.db", "_shearwater_marks", "_shearwater_marks").await;
        let one = Place::file(&directory.path().join("one.db"));
        let mut estate = Estate::open(&Places { source: one.clone(), target: one }).await.unwrap();
        assert!(estate.make_legacy(1, 1).await.unwrap_err().0.contains("one database"));
    }
}
