//! A copy of some documents beside the collection, to measure on.

use mongodb::bson::{Document, doc};
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::CopyPlace;

use super::super::error::failure;
use super::super::inspect;
use super::super::session::Server;
use super::Evolving;

/// Copies documents with the collection's indexes, in the server.
pub(super) async fn copy(of: &Evolving, to: &CopyPlace, documents_max: u64) -> StoreResult<u64> {
    let failed = |e| failure("copying documents", &e).of_a_repeatable().error;
    let there = Server::open(&to.url).await?;
    let mut made = doc! { "create": &to.table };
    let table = &of.inner.records.table;
    if let Some(found) = inspect::collection(&of.inner.server, table).await? {
        made.extend(found.options().get("collation").map(|collation| ("collation".to_owned(), collation.clone())));
    }
    there.database().run_command(made).await.map_err(failed)?;
    let indexes: Vec<Document> = inspect::indexes(&of.inner.server, table).await?;
    let indexes: Vec<Document> =
        indexes.into_iter().filter(|index| !index.get_str("name").is_ok_and(|name| name == "_id_")).collect();
    if !indexes.is_empty() {
        let command = doc! { "createIndexes": &to.table, "indexes": indexes };
        there.database().run_command(command).await.map_err(failed)?;
    }
    let stages = [
        doc! { "$limit": i64::try_from(documents_max.max(1)).unwrap_or(i64::MAX) },
        doc! { "$merge": { "into": { "db": &there.name, "coll": &to.table } } },
    ];
    of.inner.server.collection(table).aggregate(stages).await.map_err(failed)?;
    let count = there.collection(&to.table).count_documents(doc! {}).await;
    count.map_err(failed)
}
