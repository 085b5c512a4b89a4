//! A copy of some rows beside the table, to measure on.

use shearwater_core::error::StoreResult;
use shearwater_core::evolve::CopyPlace;

use super::super::names::qualified;
use super::super::session::Session;
use super::sql::Sql;

/// Copies rows with the table's indexes, in one transaction.
pub(super) async fn copy(
    session: &Session,
    sql: &Sql,
    schema: &str,
    to: &CopyPlace,
    rows_max: u64,
) -> StoreResult<u64> {
    let (copy, table) = (qualified(schema, &to.table), &sql.table);
    // What is computed is copied as it is: without GENERATED those columns are plain ones.
    let make = format!("CREATE TABLE {copy} (LIKE {table} INCLUDING INDEXES INCLUDING STORAGE)");
    let fill = format!("INSERT INTO {copy} SELECT * FROM {table} LIMIT {rows_max}");
    let copied = session
        .transaction("BEGIN", async {
            session.batch(&make).await?;
            session.run(&fill, &[]).await
        })
        .await?;
    Ok(copied)
}
