//! Filling rows in the order in which they lie in the file.

use rusqlite::{Connection, params_from_iter};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{FillCheckpoint, FillRange, FillStatement};
use shearwater_core::store::Cursor;

use super::super::cell::{Cell, cells_from_text, cells_to_text};
use super::super::error::store_error;
use super::super::tables::{list, quoted};
use super::rebuild::has_no_rowid;
use super::sql::Sql;

/// The columns by whose order rows lie.
fn places(conn: &Connection, sql: &Sql) -> StoreResult<Vec<String>> {
    Ok(if has_no_rowid(conn, sql)? { sql.key.clone() } else { vec!["rowid".to_owned()] })
}

/// One range: writers queue for the one lock anyway. It ends at the last row
/// that is there now.
pub(super) fn ranges(conn: &Connection, sql: &Sql) -> StoreResult<Vec<FillRange>> {
    let by = places(conn, sql)?;
    let last: Vec<String> = by.iter().map(|name| format!("{} DESC", quoted(name))).collect();
    let ask = format!("SELECT {} FROM {} ORDER BY {} LIMIT 1", list(&by), sql.table, last.join(", "));
    let row = row_of(conn, &ask, &[], by.len())?;
    Ok(row.into_iter().map(|cells| FillRange { id: 0, low: String::new(), high: cells_to_text(&cells) }).collect())
}

fn row_of(conn: &Connection, ask: &str, bound: &[Cell], width: usize) -> StoreResult<Option<Vec<Cell>>> {
    let failed = |error| store_error("filling", error);
    let mut statement = conn.prepare_cached(ask).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(bound)).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
    let cells = (0..width).map(|at| row.get_ref(at).map(Cell::from)).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Some(cells))
}

fn cells(text: &str) -> StoreResult<Vec<Cell>> {
    cells_from_text(text)
        .ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, "SQLite: a place of a backfill cannot be read"))
}

/// The marks of so many values from a number on.
fn marks(first: usize, width: usize) -> String {
    (first..first + width).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ")
}

/// Up to the end of the range and, with two ends, from the last batch on.
fn within(by: &[String], ends: usize) -> String {
    let (names, width) = (list(by), by.len());
    let upto = format!("({names}) <= ({})", marks(1, width));
    match ends {
        0 | 1 => upto,
        _ => format!("{upto} AND ({names}) > ({})", marks(width + 1, width)),
    }
}

fn update(sql: &Sql, by: &[String], inside: &str, at: usize) -> String {
    let (table, column, fill) = (&sql.table, &sql.column, &sql.fill);
    let (names, last) = (list(by), marks(at, by.len()));
    format!("UPDATE {table} SET {column} = {fill} WHERE {inside} AND ({names}) <= ({last}) AND {column} IS NULL")
}

/// The statement of a batch in the middle of the range.
pub(super) fn statement(conn: &Connection, sql: &Sql) -> StoreResult<FillStatement> {
    let by = places(conn, sql)?;
    Ok(FillStatement {
        sql: update(sql, &by, &within(&by, 2), 2 * by.len() + 1),
        bounds: "bound are the last row when the backfill began, the last row of the batch before, and the last row of this \
                 one"
            .to_owned(),
        lock: "the file's one writer, for one batch".to_owned(),
    })
}

/// Fills the next rows of a range, inside the caller's transaction.
pub(super) fn batch(
    conn: &Connection,
    sql: &Sql,
    run: &str,
    range: &FillRange,
    from: &FillCheckpoint,
    rows_max: u64,
) -> StoreResult<FillCheckpoint> {
    let failed = |error| store_error("filling", error);
    let by = places(conn, sql)?;
    let names = list(&by);
    let width = by.len();
    let mut bound = cells(&range.high)?;
    if let Some(after) = &from.cursor {
        bound.extend(cells(&after.0)?);
    }
    let inside = within(&by, bound.len() / width);
    // The last row of the batch, and how many there are up to it.
    let window = format!("SELECT {names} FROM {} WHERE {inside} ORDER BY {names} LIMIT {rows_max}", sql.table);
    let descending: Vec<String> = by.iter().map(|name| format!("{} DESC", quoted(name))).collect();
    let last = format!("SELECT {names}, count(*) OVER () FROM ({window}) ORDER BY {} LIMIT 1", descending.join(", "));
    let found = row_of(conn, &last, &bound, width + 1)?;
    let mut next = FillCheckpoint { range: range.id, cursor: None, done: true, read: from.read, filled: from.filled };
    if let Some(mut end) = found {
        let looked = match end.pop() {
            Some(Cell::Int(n)) => n.unsigned_abs(),
            _ => 0,
        };
        next.read += looked;
        next.done = looked < rows_max;
        let text = cells_to_text(&end);
        let at = bound.len() + 1;
        bound.extend(end);
        let update = update(sql, &by, &inside, at);
        let filled =
            conn.prepare_cached(&update).and_then(|mut s| s.execute(params_from_iter(&bound))).map_err(failed)?;
        next.filled += filled as u64;
        next.cursor = (!next.done).then_some(Cursor(text));
    }
    let save = format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6)", quoted(&sql.fills_name()));
    let place = next.cursor.as_ref().map(|c| c.0.as_str());
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    conn.prepare_cached(&save)
        .and_then(|mut s| s.execute((run, range.id, place, next.done, signed(next.read), signed(next.filled))))
        .map_err(failed)?;
    Ok(next)
}

/// The checkpoints of a run.
pub(super) fn checkpoints(conn: &Connection, sql: &Sql, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
    let ask = format!(
        "SELECT part, place, done, looked, filled FROM {} WHERE run = ?1 ORDER BY part",
        quoted(&sql.fills_name())
    );
    conn.prepare(&ask)
        .and_then(|mut s| {
            s.query_map([run], |row| {
                Ok(FillCheckpoint {
                    range: row.get(0)?,
                    cursor: row.get::<_, Option<String>>(1)?.map(Cursor),
                    done: row.get(2)?,
                    read: row.get::<_, i64>(3)?.unsigned_abs(),
                    filled: row.get::<_, i64>(4)?.unsigned_abs(),
                })
            })?
            .collect()
        })
        .map_err(|error| store_error("reading checkpoints", error))
}
