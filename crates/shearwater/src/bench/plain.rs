//! What the backfill is measured against: the same rows, already in memory,
//! inserted by prepared statements in batches.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::demo::DemoError;

/// Records in one transaction.
const RECORDS_PER_BATCH: usize = 1_000;

/// One table's rows on their way.
struct Stream<'a> {
    select: rusqlite::Statement<'a>,
    columns: usize,
    insert: String,
}

/// Copies the target that a backfill made in this directory into a new file
/// with the same tables and indexes; answers root records per second. Reading
/// the rows into memory is not timed, inserting and committing them is.
pub fn copy(place: &Path) -> Result<f64, DemoError> {
    let from = Connection::open(place.join("users.db"))?;
    let mut to = Connection::open(place.join("plain.db"))?;
    to.pragma_update(None, "journal_mode", "WAL")?;
    to.pragma_update(None, "synchronous", "FULL")?;
    to.pragma_update(None, "foreign_keys", true)?;
    to.pragma_update(None, "cache_size", -16 * 1024)?;
    let mut tables = Vec::new();
    {
        let mut schema = from.prepare(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE '\\_shearwater\\_%' \
             ESCAPE '\\' AND type IN ('table', 'index') ORDER BY type DESC, name DESC",
        )?;
        let mut rows = schema.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, name, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            to.execute_batch(&sql)?;
            if kind == "table" {
                tables.push(name);
            }
        }
    }
    // The root table first: "users" before "user_addresses" in this order.
    let mut streams = Vec::new();
    for table in &tables {
        let select = from.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY 1"))?;
        let columns = select.column_count();
        let places = vec!["?"; columns].join(", ");
        streams.push(Stream { select, columns, insert: format!("INSERT INTO \"{table}\" VALUES ({places})") });
    }
    let per_record: Vec<f64> = tables
        .iter()
        .map(|table| from.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get::<_, i64>(0)))
        .collect::<Result<Vec<i64>, _>>()?
        .iter()
        .map(|&rows| rows as f64)
        .collect();
    let records = per_record.first().copied().unwrap_or(0.0);
    let mut took = Duration::ZERO;
    let mut cursors = Vec::new();
    for stream in &mut streams {
        cursors.push((stream.select.query([])?, stream.columns, stream.insert.clone(), 0.0));
    }
    loop {
        let mut batch: Vec<(&str, Vec<Vec<Value>>)> = Vec::new();
        for ((rows, columns, insert, carry), all) in cursors.iter_mut().zip(&per_record) {
            let share = RECORDS_PER_BATCH as f64 * all / records.max(1.0) + *carry;
            *carry = share.fract();
            let mut read = Vec::new();
            while read.len() < share as usize + 1
                && let Some(row) = rows.next()?
            {
                read.push((0..*columns).map(|at| row.get(at)).collect::<Result<_, _>>()?);
            }
            batch.push((insert, read));
        }
        if batch.iter().all(|(_, rows)| rows.is_empty()) {
            break;
        }
        let began = Instant::now();
        insert(&mut to, &batch)?;
        took += began.elapsed();
    }
    Ok(records / took.as_secs_f64())
}

fn insert(to: &mut Connection, batch: &[(&str, Vec<Vec<Value>>)]) -> Result<(), DemoError> {
    let transaction = to.transaction()?;
    for (sql, rows) in batch {
        let mut insert = transaction.prepare_cached(sql)?;
        for row in rows {
            insert.execute(params_from_iter(row))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

impl From<rusqlite::Error> for DemoError {
    fn from(error: rusqlite::Error) -> DemoError {
        DemoError(format!("SQLite: {error}"))
    }
}
