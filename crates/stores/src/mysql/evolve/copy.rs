//! A copy of some rows beside the table, to measure on.

use shearwater_core::error::StoreResult;
use shearwater_core::evolve::CopyPlace;

use super::super::cell::Cell;
use super::super::names::{list, quoted};
use super::super::session::{Session, bind, text_of};
use super::sql::Sql;

/// Copies rows with the table's indexes; what is computed is computed again.
pub(super) async fn copy(session: &mut Session, sql: &Sql, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
    let ask = "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? \
               AND extra NOT LIKE '%GENERATED%' ORDER BY ordinal_position";
    let rows = session.rows("looking at the columns", ask, bind(&[Cell::text(sql.name.as_str())])).await?;
    let columns: Vec<String> = rows.iter().filter_map(|row| row.first().and_then(text_of)).collect();
    let (copy, columns, table) = (quoted(&to.table), list(&columns), &sql.table);
    session.run("copying the table", &format!("CREATE TABLE {copy} LIKE {table}"), Vec::new()).await?;
    let fill = format!("INSERT INTO {copy} ({columns}) SELECT {columns} FROM {table} LIMIT {rows_max}");
    Ok(session.run("copying rows", &fill, Vec::new()).await?)
}
