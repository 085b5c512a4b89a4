//! Filling rows in physical order, by ranges of blocks: it is the same for keys
//! of any kind, half the log of a walk by random keys, and needs no statistics.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{FillCheckpoint, FillRange, FillStatement, Wanted};
use shearwater_core::limits::FILL_ROWS_PER_TIDYING;
use shearwater_core::shape::FieldType;
use shearwater_core::store::Cursor;
use shearwater_core::value::Uuid;
use shearwater_core::{Key, Value};
use tokio_postgres::Row;

use super::super::names::quoted;
use super::super::session::{Session, get, unexpected};
use super::sql::Sql;

/// Waiting for a row that a client has locked, ms; then the batch is tried again.
const ROW_LOCK_MS_MAX: u64 = 1_000;

/// Rows that a block holds when nothing is known.
const ROWS_PER_BLOCK: i64 = 60;

/// Row versions that a block of 8 KiB can have at most.
const TUPLES_PER_BLOCK_MAX: i64 = 291;

/// The first version that finds ranges of blocks without reading the others.
const TID_RANGE_SCAN: i32 = 140_000;

/// Splits the blocks that are there now.
pub(super) async fn ranges(session: &Session, sql: &Sql, parts: usize) -> StoreResult<Vec<FillRange>> {
    let size = "SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::int8";
    let blocks: i64 = get(&session.one(size, &[&sql.table]).await?, 0)?;
    let parts = i64::try_from(parts.max(1)).unwrap_or(1).min(blocks.max(1));
    let edge = |part: i64| blocks * part / parts;
    let range = |part: i64| FillRange {
        id: u32::try_from(part).unwrap_or(u32::MAX),
        low: edge(part).to_string(),
        high: edge(part + 1).to_string(),
    };
    Ok((0..parts).map(range).filter(|range| range.low != range.high).collect())
}

fn block(text: &str) -> StoreResult<i64> {
    text.parse().map_err(|_| unexpected("a range of a backfill cannot be read"))
}

/// The blocks of a batch.
struct Blocks {
    /// The first that is not in it.
    end: i64,
    /// Rows that a block is taken to hold.
    per_block: i64,
    /// The server's, as a number.
    version: i32,
}

/// How far the next batch goes.
async fn next_blocks(
    session: &Session,
    sql: &Sql,
    range: &FillRange,
    from: &FillCheckpoint,
    rows_max: u64,
) -> StoreResult<Blocks> {
    let (low, high) = (block(from.cursor.as_ref().map_or(range.low.as_str(), |c| &c.0))?, block(&range.high)?);
    let density = "SELECT CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN ceil(c.reltuples / c.relpages)::int8 \
                   ELSE $2::int8 END, current_setting('server_version_num')::int4 FROM pg_class c WHERE c.oid = to_regclass($1)";
    let row = session.one(density, &[&sql.table, &ROWS_PER_BLOCK]).await?;
    let (known, version): (i64, i32) = (get(&row, 0)?, get(&row, 1)?);
    // Without statistics what was filled so far tells how full a block is.
    let walked = low - block(&range.low)?;
    let seen = if walked > 0 { signed(from.filled).div_euclid(walked) } else { 0 };
    let per_block = known.max(seen);
    let blocks = (i64::try_from(rows_max).unwrap_or(i64::MAX) / per_block.max(1)).max(1);
    Ok(Blocks { end: low.saturating_add(blocks).min(high), per_block, version })
}

/// The statement that fills the blocks from `low` on.
fn update(sql: &Sql, low: i64, to: &Blocks) -> String {
    let end = to.end;
    let places = match to.version >= TID_RANGE_SCAN {
        true => format!("ctid >= '({low},0)'::tid AND ctid < '({end},0)'::tid"),
        false => format!(
            "ctid = ANY (ARRAY(SELECT format('(%s,%s)', b, o)::tid FROM generate_series({low}, {end} - 1) b, \
             generate_series(1, {TUPLES_PER_BLOCK_MAX}) o))"
        ),
    };
    let (table, column, fill) = (&sql.table, &sql.column, &sql.fill);
    format!("UPDATE {table} SET {column} = {fill} WHERE {places} AND {column} IS NULL")
}

/// What gives the room of old versions back between batches, so that the heap does
/// not grow twofold. The entries of indexes wait for the server's own VACUUM: each
/// time to read every index whole takes longer than the batches do.
pub(super) fn tidying(sql: &Sql) -> String {
    format!("VACUUM (SKIP_LOCKED, INDEX_CLEANUP FALSE, TRUNCATE FALSE) {}", sql.table)
}

/// The statement of a range's first batch, over the blocks that are there now.
pub(super) async fn statement(
    session: &Session,
    sql: &Sql,
    range: &FillRange,
    rows_max: u64,
) -> StoreResult<FillStatement> {
    let first = next_blocks(session, sql, range, &FillCheckpoint::default(), rows_max).await?;
    Ok(FillStatement {
        sql: update(sql, block(&range.low)?, &first),
        bounds: format!(
            "the first batch; the next begins at block {}, the last ends where the table ended when the backfill \
             began; after every {FILL_ROWS_PER_TIDYING} rows: {}",
            first.end,
            tidying(sql)
        ),
        lock: format!("ROW EXCLUSIVE, and the rows of one batch; waits for a row {ROW_LOCK_MS_MAX} ms at most"),
    })
}

/// Fills the next blocks of a range.
pub(super) async fn batch(
    session: &Session,
    sql: &Sql,
    run: &str,
    range: &FillRange,
    from: &FillCheckpoint,
    rows_max: u64,
) -> StoreResult<FillCheckpoint> {
    let (low, high) = (block(from.cursor.as_ref().map_or(range.low.as_str(), |c| &c.0))?, block(&range.high)?);
    let next = next_blocks(session, sql, range, from, rows_max).await?;
    let (end, per_block) = (next.end, next.per_block);
    let update = update(sql, low, &next);
    let part = i64::from(range.id);
    let done = end >= high;
    // Only the last batch waits for the disk, and with it all that were before. A
    // crash of the server takes the rows of others together with their checkpoint;
    // whoever goes on from what it remembers finds them by counting what is missing.
    let commit = if done { "" } else { "; SET LOCAL synchronous_commit = off" };
    let begin = format!("BEGIN; SET LOCAL lock_timeout = {ROW_LOCK_MS_MAX}{commit}");
    let fills = sql.fills();
    session
        .transaction(&begin, async {
            let filled = session.client.execute(&update, &[]).await.map_err(|e| session.failed("filling", &e))?;
            let looked = from.read + (end - low).unsigned_abs() * per_block.unsigned_abs();
            let next = FillCheckpoint {
                range: range.id,
                cursor: (!done).then(|| Cursor(end.to_string())),
                done,
                read: looked,
                filled: from.filled + filled,
            };
            let place = next.cursor.as_ref().map(|c| c.0.clone());
            let (read, all) = (signed(next.read), signed(next.filled));
            let save = format!(
                "INSERT INTO {fills} VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run, part) DO UPDATE SET \
                 place = EXCLUDED.place, done = EXCLUDED.done, looked = EXCLUDED.looked, filled = EXCLUDED.filled"
            );
            session.run(&save, &[&run, &part, &place, &done, &read, &all]).await?;
            Ok::<_, super::Failure>(next)
        })
        .await
        .map_err(StoreError::from)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The checkpoints of a run.
pub(super) async fn checkpoints(session: &Session, sql: &Sql, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
    let ask = format!("SELECT part, place, done, looked, filled FROM {} WHERE run = $1 ORDER BY part", sql.fills());
    let rows = session.rows(&ask, &[&run]).await?;
    rows.iter()
        .map(|row| {
            let (part, place, done): (i64, Option<String>, bool) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
            let (read, filled): (i64, i64) = (get(row, 3)?, get(row, 4)?);
            Ok(FillCheckpoint {
                range: u32::try_from(part).map_err(|_| unexpected("a checkpoint cannot be read"))?,
                cursor: place.map(Cursor),
                done,
                read: read.unsigned_abs(),
                filled: filled.unsigned_abs(),
            })
        })
        .collect()
}

/// Whether each key is noted as chosen.
pub(super) async fn chosen(session: &Session, sql: &Sql, wanted: &Wanted, keys: &[Key]) -> StoreResult<Vec<bool>> {
    let columns: Vec<Vec<Option<String>>> = (0..wanted.key.len())
        .map(|at| keys.iter().map(|key| key.values().get(at).and_then(text_of)).collect())
        .collect();
    let asked: Vec<String> = (0..columns.len()).map(|at| format!("k{at}")).collect();
    let arrays: Vec<String> = (1..=columns.len()).map(|at| format!("${at}::text[]")).collect();
    let same: Vec<String> = wanted
        .key
        .iter()
        .enumerate()
        .map(|(at, (name, ty))| format!("c.{} = a.k{at}::{}", quoted(name), cast(*ty)))
        .collect();
    let ask = format!(
        "SELECT EXISTS (SELECT FROM {} c WHERE {}) FROM unnest({}) WITH ORDINALITY AS a({}, n) ORDER BY a.n",
        sql.chosen(),
        same.join(" AND "),
        arrays.join(", "),
        asked.join(", ")
    );
    let bound: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        columns.iter().map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
    let rows = session.rows(&ask, &bound).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}

fn cast(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Int => "int8",
        FieldType::Uuid => "uuid",
        FieldType::Bool => "boolean",
        _ => "text",
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Int(n) => Some(n.to_string()),
        Value::UInt(n) => Some(n.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Uuid(uuid) => Some(uuid.to_string()),
        _ => None,
    }
}

/// The key of a row whose key columns were read as texts.
pub(super) fn key_of(wanted: &Wanted, row: &Row) -> StoreResult<Key> {
    let mut values = Vec::with_capacity(wanted.key.len());
    for (at, (name, ty)) in wanted.key.iter().enumerate() {
        let text: String = get(row, at)?;
        let value = match ty {
            FieldType::Int => text.parse().ok().map(Value::Int),
            FieldType::Uuid => Uuid::parse_str(&text).ok().map(Value::Uuid),
            FieldType::Bool => Some(Value::Bool(text == "true")),
            _ => Some(Value::Text(text)),
        };
        let unread =
            || StoreError::new(StoreErrorKind::Corrupt, format!("PostgreSQL: the key column {name:?} cannot be read"));
        values.push(value.ok_or_else(unread)?);
    }
    Ok(Key::composite(values))
}
