//! Filling rows in the order of the primary key, by which they lie on the disk.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{FillCheckpoint, FillRange, FillStatement};
use shearwater_core::store::Cursor;
use shearwater_core::{Key, Value};

use super::super::cell::{Cell, cells_from_text, cells_to_text};
use super::super::error::Tried;
use super::super::names::{list, quoted};
use super::super::session::{Session, bind, number_of, text_of};
use super::sql::Sql;

/// Keys asked for in one statement.
const ASKED_MAX: usize = 100;

/// One range; the servers' clustered index is walked once. It ends at the last
/// row that is there now.
pub(super) async fn ranges(session: &mut Session, sql: &Sql) -> StoreResult<Vec<FillRange>> {
    let last: Vec<String> = sql.key.iter().map(|name| format!("{} DESC", quoted(name))).collect();
    let ask = format!("SELECT {} FROM {} ORDER BY {} LIMIT 1", list(&sql.key), sql.table, last.join(", "));
    let rows = session.rows("looking for the last row", &ask, Vec::new()).await?;
    Ok(rows.into_iter().map(|cells| FillRange { id: 0, low: String::new(), high: cells_to_text(&cells) }).collect())
}

/// `(a, b) > (?, ?)` so that an index decides it; each value as often as it is bound.
fn beyond(key: &[String], sign: char, or_equal: &str, at: &[Cell]) -> (String, Vec<Cell>) {
    let mut parts = Vec::new();
    let mut bound = Vec::new();
    for (n, name) in key.iter().enumerate() {
        let mut part: Vec<String> = key[..n].iter().map(|name| format!("{} = ?", quoted(name))).collect();
        bound.extend(at[..=n].iter().cloned());
        let last = if n + 1 == key.len() { or_equal } else { "" };
        part.push(format!("{} {sign}{last} ?", quoted(name)));
        parts.push(format!("({})", part.join(" AND ")));
    }
    (format!("({})", parts.join(" OR ")), bound)
}

fn cells(text: &str) -> StoreResult<Vec<Cell>> {
    cells_from_text(text)
        .ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, "MySQL: a place of a backfill cannot be read"))
}

/// Up to the end of the range, from the last batch on.
fn within(key: &[String], high: &[Cell], after: Option<&[Cell]>) -> (String, Vec<Cell>) {
    let (mut inside, mut bound) = beyond(key, '<', "=", high);
    if let Some(after) = after {
        let (more, values) = beyond(key, '>', "", after);
        inside = format!("{inside} AND {more}");
        bound.extend(values);
    }
    (inside, bound)
}

fn update(sql: &Sql, upto: &str) -> String {
    let (table, column, fill) = (&sql.table, &sql.column, &sql.fill);
    format!("UPDATE {table} SET {column} = {fill} WHERE {upto} AND {column} IS NULL")
}

/// The statement of a batch in the middle of the range.
pub(super) fn statement(sql: &Sql) -> FillStatement {
    let any = vec![Cell::Null; sql.key.len()];
    let (inside, _) = within(&sql.key, &any, Some(&any));
    let (upto, _) = beyond(&sql.key, '<', "=", &any);
    FillStatement {
        sql: update(sql, &format!("{inside} AND {upto}")),
        bounds:
            "bound are the last key when the backfill began, the last key of the batch before, and the last key of \
                 this one"
                .to_owned(),
        lock: "the rows of one batch, until its commit".to_owned(),
    }
}

/// Fills the next rows of a range, in one transaction.
pub(super) async fn batch(
    session: &mut Session,
    sql: &Sql,
    run: &str,
    range: &FillRange,
    from: &FillCheckpoint,
    rows_max: u64,
) -> StoreResult<FillCheckpoint> {
    let after = from.cursor.as_ref().map(|after| cells(&after.0)).transpose()?;
    let (inside, bound) = within(&sql.key, &cells(&range.high)?, after.as_deref());
    session.begin_writing("").await?;
    match fill(session, sql, run, range, from, (&inside, bound, rows_max)).await {
        Ok(next) => {
            session.commit().await?;
            Ok(next)
        }
        Err(failure) => {
            session.roll_back().await;
            Err(failure.error)
        }
    }
}

async fn fill(
    session: &mut Session,
    sql: &Sql,
    run: &str,
    range: &FillRange,
    from: &FillCheckpoint,
    (inside, mut bound, rows_max): (&str, Vec<Cell>, u64),
) -> Tried<FillCheckpoint> {
    let keys = list(&sql.key);
    // The key is the clustered index: this reads keys only, in their order.
    let skip = rows_max.saturating_sub(1);
    let nth = format!("SELECT {keys} FROM {} WHERE {inside} ORDER BY {keys} LIMIT 1 OFFSET {skip}", sql.table);
    let end = session.rows("looking for a batch", &nth, bind(&bound)).await?.into_iter().next();
    let mut upto = inside.to_owned();
    if let Some(end) = &end {
        let (more, values) = beyond(&sql.key, '<', "=", end);
        upto = format!("{upto} AND {more}");
        bound.extend(values);
    }
    let update = update(sql, &upto);
    let filled = session.run("filling", &update, bind(&bound)).await?;
    let looked = if end.is_some() { rows_max } else { filled };
    let next = FillCheckpoint {
        range: range.id,
        done: end.is_none(),
        cursor: end.map(|end| Cursor(cells_to_text(&end))),
        read: from.read + looked,
        filled: from.filled + filled,
    };
    let save = format!("REPLACE INTO {} VALUES (?, ?, ?, ?, ?, ?)", quoted(&sql.fills_name()));
    let place = next.cursor.as_ref().map_or(Cell::Null, |cursor| Cell::text(cursor.0.clone()));
    let row = [
        Cell::text(run),
        Cell::Int(i64::from(range.id)),
        place,
        Cell::Int(i64::from(next.done)),
        Cell::from_u64(next.read),
        Cell::from_u64(next.filled),
    ];
    session.run("saving a checkpoint", &save, bind(&row)).await?;
    Ok(next)
}

/// The checkpoints of a run.
pub(super) async fn checkpoints(session: &mut Session, sql: &Sql, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
    let ask = format!(
        "SELECT part, place, done, looked, filled FROM {} WHERE run = ? ORDER BY part",
        quoted(&sql.fills_name())
    );
    let rows = session.rows("reading checkpoints", &ask, bind(&[Cell::text(run)])).await?;
    let number = |cell: Option<&Cell>| cell.and_then(number_of).unwrap_or(0);
    Ok(rows
        .iter()
        .map(|row| FillCheckpoint {
            range: u32::try_from(number(row.first())).unwrap_or(u32::MAX),
            cursor: row.get(1).and_then(text_of).map(Cursor),
            done: number(row.get(2)) == 1,
            read: number(row.get(3)),
            filled: number(row.get(4)),
        })
        .collect())
}

fn cell_of(value: &Value) -> Cell {
    match value {
        Value::Int(n) => Cell::Int(*n),
        Value::UInt(n) => Cell::UInt(*n),
        Value::Bool(b) => Cell::Int(i64::from(*b)),
        Value::Text(text) => Cell::text(text.as_str()),
        _ => Cell::Null,
    }
}

/// Whether each key is noted as chosen.
pub(super) async fn chosen(session: &mut Session, sql: &Sql, keys: &[Key]) -> StoreResult<Vec<bool>> {
    let same: Vec<String> = sql.key.iter().map(|key| format!("{} = ?", quoted(key))).collect();
    let one = format!("EXISTS (SELECT 1 FROM {} WHERE {})", quoted(&sql.chosen_name()), same.join(" AND "));
    let mut out = Vec::with_capacity(keys.len());
    for some in keys.chunks(ASKED_MAX) {
        let ask = format!("SELECT {}", vec![one.as_str(); some.len()].join(", "));
        let cells: Vec<Cell> = some.iter().flat_map(|key| key.values().iter().map(cell_of)).collect();
        let rows = session.rows("looking for chosen values", &ask, bind(&cells)).await?;
        out.extend(rows.iter().flatten().map(|cell| number_of(cell) == Some(1)));
    }
    Ok(out)
}

/// Keys of rows without a value, some of them.
pub(super) async fn missing_keys(session: &mut Session, sql: &Sql, keys_max: usize) -> StoreResult<Vec<Key>> {
    let ask = format!("SELECT {} FROM {} WHERE {} IS NULL LIMIT {keys_max}", list(&sql.key), sql.table, sql.column);
    let rows = session.rows("reading keys", &ask, Vec::new()).await?;
    let value = |cell: Cell| match cell {
        Cell::Int(n) => Value::Int(n),
        Cell::UInt(n) => Value::from_u64(n),
        Cell::Bytes(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Cell::Null | Cell::Real(_) => Value::Null,
    };
    Ok(rows.into_iter().map(|row| Key::composite(row.into_iter().map(value).collect())).collect())
}
