//! A new required field in a SQLite table.
//!
//! There is no SET NOT NULL here, and a trigger cannot change a row before it is
//! stored. So while outdated clients are served the column heals by itself
//! (`NOT NULL ON CONFLICT REPLACE DEFAULT`, or a trigger that fills after the
//! write, in its transaction), and NOT NULL comes with the one rebuild of the
//! table that takes the healing away, in `contract`.

mod catalogue;
mod copy;
mod fill;
mod hazards;
mod rebuild;
mod sql;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{
    Alteration, Blocker, CopyPlace, Effect, Evolve, FillCheckpoint, FillRange, FillStatement, Look, Outdated, Stage,
    Statement, Try, Wanted,
};
use shearwater_core::fill::FillClass;
use shearwater_core::store::{Estimate, Load};
use shearwater_core::{Key, Value};

use self::catalogue::{alone, alter, drop_all_triggers, drop_sidecar, is_made, seen};
use self::sql::Sql;
use super::cell::Cell;
use super::config::Config;
use super::error::store_error;
use super::session::{Purpose, Session};
use super::tables::{list, quoted};

/// Waiting for the writer's turn in a batch, ms; then it is tried again.
const BATCH_WAIT_MS_MAX: u64 = 1_000;

/// Rows that a rebuild copies in a millisecond, with two indexes: measured.
const REBUILD_ROWS_PER_MS: u64 = 300;

/// Keys that are named as standing in the way.
const KEYS_MAX: usize = 20;

/// One field of one table, on a connection of its own.
pub(crate) struct Evolving {
    session: Arc<Mutex<Session>>,
    sql: Sql,
}

/// Opens a table for [`Evolve`].
pub(crate) fn open(url: &str, wanted: Wanted) -> StoreResult<Evolving> {
    let config = Config::parse(url)?;
    let sql = Sql::new(&wanted)?;
    let session = Session::open(&config, Purpose::Write)?;
    check_float(&session.conn, &sql, &wanted)?;
    // A rebuild renames the table: what refers to it must not follow the old one.
    let set = |name: &str, on: bool| {
        session.conn.pragma_update(None, name, on).map_err(|error| store_error("preparing the connection", error))
    };
    set("foreign_keys", false)?;
    set("legacy_alter_table", true)?;
    Ok(Evolving { session: Arc::new(Mutex::new(session)), sql })
}

/// SQLite's own reading of a float's digits may be another float.
fn check_float(conn: &Connection, sql: &Sql, wanted: &Wanted) -> StoreResult<()> {
    let Some(Value::Float(x)) = wanted.fill.constant() else { return Ok(()) };
    let found = conn
        .query_row(&format!("SELECT CAST({} AS REAL)", sql.fill), [], |row| row.get::<_, f64>(0))
        .map_err(|error| store_error("reading the constant", error))?;
    if found.to_bits() == x.to_bits() {
        return Ok(());
    }
    let what = "SQLite: the constant float is read as another one here".to_owned();
    Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint("write it with fewer digits"))
}

impl Evolving {
    /// Runs blocking work on the connection.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Sql) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (session, sql) = (self.session.clone(), self.sql.clone());
        let done = tokio::task::spawn_blocking(move || {
            let session = session.lock().unwrap_or_else(PoisonError::into_inner);
            work(&session.conn, &sql)
        });
        done.await.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, format!("SQLite: {error}")))?
    }

    /// The text that an alteration's statements have in a plan.
    fn texts(&self, what: Alteration, stage: Stage) -> Vec<String> {
        let sql = &self.sql;
        match what {
            Alteration::AddSidecar => sql.add_sidecar(),
            Alteration::AddColumn => vec![format!("ALTER TABLE {} ADD COLUMN {}", sql.table, sql.soft)],
            Alteration::AddWriteDefault if stage == Stage::Back => {
                let mut texts = vec![rebuild_text(sql, &sql.soft)];
                texts.extend(sql.make_triggers());
                texts
            }
            Alteration::AddWriteDefault => sql.make_triggers(),
            Alteration::DropWriteDefault => {
                let mut texts = sql.drop_triggers(&sql.fill_triggers());
                texts.push(rebuild_text(sql, &sql.hard));
                texts
            }
            Alteration::DropColumn => {
                let mut texts = drop_all_triggers(sql);
                texts.push(format!("ALTER TABLE {} DROP COLUMN {}", sql.table, sql.column));
                texts
            }
            Alteration::DropSidecar => drop_sidecar(sql),
            Alteration::AddCheck
            | Alteration::ValidateCheck
            | Alteration::AddValues
            | Alteration::ValidateValues
            | Alteration::SetNotNull
            | Alteration::DropCheck
            | Alteration::DropValues
            | Alteration::DropNotNull => Vec::new(),
        }
    }
}

fn rebuild_text(sql: &Sql, definition: &str) -> String {
    format!(
        "-- the table built anew with {definition}: ALTER TABLE {table} RENAME; CREATE TABLE {table}; INSERT … SELECT; \
         DROP TABLE; its indexes and triggers",
        table = sql.table
    )
}

fn cell_of(value: &Value) -> Cell {
    match value {
        Value::Int(n) => Cell::Int(*n),
        Value::Bool(b) => Cell::Int(i64::from(*b)),
        Value::Text(text) => Cell::text(text.as_str()),
        Value::Uuid(uuid) => Cell::text(uuid.to_string()),
        _ => Cell::Null,
    }
}

fn missing_keys(conn: &Connection, sql: &Sql) -> StoreResult<Vec<Key>> {
    let ask = format!("SELECT {} FROM {} WHERE {} LIMIT {KEYS_MAX}", list(&sql.key), sql.table, sql.is_wrong);
    conn.prepare(&ask)
        .and_then(|mut s| {
            s.query_map([], |row| {
                let value = |at: usize| {
                    Ok(match Cell::from(row.get_ref(at)?) {
                        Cell::Int(n) => Value::Int(n),
                        Cell::Text(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
                        _ => Value::Null,
                    })
                };
                (0..sql.key.len()).map(value).collect::<rusqlite::Result<Vec<_>>>().map(Key::composite)
            })?
            .collect()
        })
        .map_err(|error| store_error("reading keys", error))
}

#[async_trait]
impl Evolve for Evolving {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn look(&self) -> StoreResult<Look> {
        self.with(|conn, sql| Ok(seen(conn, sql)?.look)).await
    }

    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>> {
        let rows = self.estimate().await?.records;
        let mut out = Vec::new();
        for what in self.alterations(stage) {
            for sql in self.texts(what, stage) {
                let rebuilds = sql.starts_with("--") || sql.contains(" DROP COLUMN ");
                let (effect, expected_ms) = match rebuilds {
                    true => (Effect::RewriteAlone, rows.div_ceil(REBUILD_ROWS_PER_MS).max(1)),
                    false => (Effect::Catalogue, 1),
                };
                out.push(Statement { what, sql, lock: "the file's one writer".to_owned(), effect, expected_ms });
            }
        }
        Ok(out)
    }

    fn alterations(&self, stage: Stage) -> Vec<Alteration> {
        use Alteration::*;
        match stage {
            Stage::Expand => vec![AddSidecar, AddColumn, AddWriteDefault],
            Stage::Enforce => vec![],
            Stage::Contract => vec![DropWriteDefault],
            Stage::Complete => vec![DropSidecar],
            Stage::Back => vec![AddSidecar, AddWriteDefault],
            Stage::Remove => vec![DropColumn, DropSidecar],
        }
    }

    fn needs_no_backfill(&self) -> bool {
        self.sql.class == FillClass::Constant
    }

    async fn hazards(&self) -> StoreResult<Vec<String>> {
        self.with(|conn, sql| {
            let seen = seen(conn, sql)?;
            if seen.look.column.is_some() && !seen.traces {
                let what = format!("SQLite: {} has a column {} already", sql.table, sql.column);
                return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                    .with_hint("rename it, or choose another name for the new field"));
            }
            hazards::told(conn, sql)
        })
        .await
    }

    async fn try_to(&self, what: Alteration, patience: Duration, _standby_lag_ms_max: u64) -> StoreResult<Try> {
        self.with(move |conn, sql| {
            if is_made(what, &seen(conn, sql)?) {
                return Ok(Try::Made { held_micros: 0 });
            }
            let mut began = Instant::now();
            let made = alone(conn, patience, || {
                began = Instant::now();
                // Another process may have been quicker.
                if is_made(what, &seen(conn, sql)?) { Ok(()) } else { alter(conn, sql, what) }
            });
            match made {
                Ok(()) => Ok(Try::Made { held_micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) }),
                Err(error) if error.kind == StoreErrorKind::Unavailable => Ok(Try::Busy(vec![Blocker {
                    session: "the file's writer".to_owned(),
                    what: "another connection or process writes".to_owned(),
                    for_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                }])),
                Err(error) if matches!(error.kind, StoreErrorKind::Refused { .. }) => {
                    Ok(Try::Violated(missing_keys(conn, sql)?))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn fill_ranges(&self, _parts: usize) -> StoreResult<Vec<FillRange>> {
        self.with(fill::ranges).await
    }

    async fn fill(
        &self,
        run: &str,
        range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint> {
        let (run, range, from) = (run.to_owned(), range.clone(), from.clone());
        self.with(move |conn, sql| {
            let patience = Duration::from_millis(BATCH_WAIT_MS_MAX);
            alone(conn, patience, || fill::batch(conn, sql, &run, &range, &from, rows_max))
        })
        .await
    }

    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        let run = run.to_owned();
        self.with(move |conn, sql| fill::checkpoints(conn, sql, &run)).await
    }

    async fn fill_statement(&self, _range: &FillRange, _rows_max: u64) -> StoreResult<FillStatement> {
        self.with(fill::statement).await
    }

    async fn copy(&self, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
        let to = to.clone();
        self.with(move |conn, sql| copy::copy(conn, sql, &to, rows_max)).await
    }

    async fn tidy(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn count_missing(&self) -> StoreResult<u64> {
        self.with(|conn, sql| {
            let ask = format!("SELECT count(*) FROM {} WHERE {} IS NULL", sql.table, sql.column);
            let count = conn.query_row(&ask, [], |row| row.get::<_, i64>(0));
            Ok(count.map_err(|error| store_error("counting", error))?.unsigned_abs())
        })
        .await
    }

    async fn count_chosen(&self) -> StoreResult<u64> {
        self.with(|conn, sql| {
            let ask = format!("SELECT count(*) FROM {}", quoted(&sql.chosen_name()));
            let count = conn.query_row(&ask, [], |row| row.get::<_, i64>(0));
            Ok(count.map_err(|error| store_error("counting", error))?.unsigned_abs())
        })
        .await
    }

    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        let keys: Vec<Vec<Cell>> = keys.iter().map(|key| key.values().iter().map(cell_of).collect()).collect();
        self.with(move |conn, sql| {
            let same: Vec<String> =
                sql.key.iter().enumerate().map(|(at, key)| format!("{} = ?{}", quoted(key), at + 1)).collect();
            let ask =
                format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", quoted(&sql.chosen_name()), same.join(" AND "));
            let failed = |error| store_error("looking for chosen values", error);
            let mut statement = conn.prepare_cached(&ask).map_err(failed)?;
            keys.iter()
                .map(|key| statement.query_row(rusqlite::params_from_iter(key), |row| row.get(0)).map_err(failed))
                .collect()
        })
        .await
    }

    async fn outdated(&self) -> StoreResult<Option<Outdated>> {
        self.with(|conn, sql| {
            if sql.class == FillClass::Constant {
                return Ok(None);
            }
            let ask = format!(
                "SELECT count(*), (CAST(strftime('%s', 'now') AS INTEGER) - max(second)) * 1000 FROM {}",
                quoted(&sql.outdated_name())
            );
            let found = conn.query_row(&ask, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)));
            let (seen, ago) = found.map_err(|error| store_error("counting outdated writes", error))?;
            Ok(Some(Outdated { seen: seen.unsigned_abs(), last_ms_ago: ago.map(|ms| ms.max(0).unsigned_abs()) }))
        })
        .await
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.with(|conn, sql| {
            let failed = |error| store_error("estimating", error);
            let count = conn.query_row(&format!("SELECT count(*) FROM {}", sql.table), [], |row| row.get::<_, i64>(0));
            let bytes = conn.query_row(
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
                [],
                |row| row.get::<_, i64>(0),
            );
            let (records, bytes) = (count.map_err(failed)?.unsigned_abs(), bytes.map_err(failed)?.unsigned_abs());
            Ok(Estimate { records, exact: true, bytes })
        })
        .await
    }

    async fn load(&self) -> StoreResult<Load> {
        Ok(Load::default())
    }
}
