//! A new required field in a PostgreSQL table, in the order that no outdated
//! client can break: each alteration is a short transaction that looks at the
//! catalogue first and asks for its lock with a bound.

mod copy;
mod fill;
mod hazards;
mod sql;
mod words;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{
    Alteration, Blocker, CopyPlace, Effect, Evolve, FillCheckpoint, FillRange, FillStatement, Look, Outdated, Stage,
    Statement, Try, Wanted,
};
use shearwater_core::fill::FillClass;
use shearwater_core::shape::FieldType;
use shearwater_core::store::{Estimate, Load};

use self::sql::Sql;
use super::config::Config;
use super::error::Failure;
use super::session::{Pool, Session, get};
use super::vitals;

/// A scan of the table that no lock of ours stands behind, ms: a terabyte takes hours.
const SCAN_MS_MAX: u64 = 24 * 3_600_000;

/// A transaction that only changes the catalogue, ms; beyond this something is wrong.
const CATALOGUE_MS_MAX: u64 = 5_000;

/// What an idle server needs for a change of the catalogue, ms.
const CATALOGUE_MS_EXPECTED: u64 = 1;

/// Rows that a sequential scan of a validation passes in a millisecond: measured,
/// 2 million in 180 ms.
const SCAN_ROWS_PER_MS: u64 = 11_000;

/// Sessions that are named as being in the way.
const BLOCKERS_MAX: i64 = 5;

/// Keys that are named as standing in the way.
const KEYS_MAX: i64 = 20;

/// One field of one table.
pub(crate) struct Evolving {
    pool: Pool,
    sql: Sql,
    wanted: Wanted,
    schema: String,
}

/// Opens a table for [`Evolve`].
pub(crate) async fn open(url: &str, wanted: Wanted) -> StoreResult<Evolving> {
    let config = Config::parse(url)?;
    let schema = config.schema.clone();
    let sql = Sql::new(&schema, &wanted)?;
    for (name, ty) in &wanted.key {
        if !matches!(ty, FieldType::Int | FieldType::Text | FieldType::Uuid | FieldType::Bool) {
            let what = format!("PostgreSQL: a key column of type {} ({name:?}) is not in this version", ty.name());
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("keys of a required field's table: int, text, uuid, bool"));
        }
    }
    Ok(Evolving { pool: Pool::open(config).await?, sql, wanted, schema })
}

/// All that the catalogue says.
struct Seen {
    look: Look,
    /// Whether anything of ours is there at all.
    traces: bool,
    /// Whether something still fills the column for others.
    fills: bool,
    relkind: String,
}

impl Evolving {
    async fn seen(&self, session: &Session) -> StoreResult<Seen> {
        let rows = session.rows(&self.sql.look(), &[]).await?;
        let Some(row) = rows.first() else {
            let what = format!("PostgreSQL: there is no table {}", self.sql.table);
            return Err(StoreError::new(StoreErrorKind::NotFound, what).with_hint("check table and schema in the spec"));
        };
        let look = Look {
            column: get(row, 0)?,
            not_null: get(row, 1)?,
            write_default: get(row, 2)?,
            check: get(row, 3)?,
            values: get(row, 8)?,
            sidecar: get(row, 4)?,
        };
        Ok(Seen { look, traces: get(row, 5)?, relkind: get(row, 6)?, fills: get(row, 7)? })
    }

    /// Whether an alteration has nothing to do.
    fn is_made(&self, what: Alteration, seen: &Seen) -> bool {
        let look = &seen.look;
        match what {
            Alteration::AddSidecar => look.sidecar,
            Alteration::AddColumn => look.column.is_some(),
            Alteration::AddWriteDefault => look.write_default,
            // Where the column is NOT NULL already the check has done its work.
            Alteration::AddCheck => look.check.is_some() || look.not_null,
            Alteration::ValidateCheck => look.check == Some(true) || (look.not_null && look.check.is_none()),
            Alteration::AddValues => look.values.is_some(),
            Alteration::ValidateValues => look.values == Some(true),
            Alteration::DropValues => look.values.is_none(),
            Alteration::SetNotNull => look.not_null,
            Alteration::DropCheck => look.check.is_none(),
            Alteration::DropWriteDefault => !seen.fills,
            Alteration::DropNotNull => !look.not_null,
            Alteration::DropColumn => look.column.is_none(),
            Alteration::DropSidecar => !seen.traces,
        }
    }

    async fn alter(&self, session: &Session, what: Alteration, patience: Duration) -> Result<u64, Failure> {
        let plan = self.sql.plan(what);
        let most = match plan.effect {
            Effect::Catalogue => CATALOGUE_MS_MAX,
            Effect::Scan | Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => SCAN_MS_MAX,
        };
        let begin =
            format!("BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {most}", patience.as_millis());
        let began = session
            .transaction(&begin, async {
                if let Some(lock) = plan.lock {
                    session.batch(&format!("LOCK TABLE {} IN {lock} MODE", self.sql.table)).await?;
                }
                let began = Instant::now();
                session.batch(&plan.statements.join("; ")).await?;
                Ok::<_, Failure>(began)
            })
            .await?;
        Ok(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    async fn blockers(&self, session: &Session) -> StoreResult<Vec<Blocker>> {
        let sql = "SELECT a.pid::text, a.usename || ' (' || coalesce(nullif(a.application_name, ''), '?') || '), ' || \
                   coalesce(a.state, '?'), coalesce(extract(epoch FROM clock_timestamp() - a.xact_start) * 1000, 0)::int8 \
                   FROM (SELECT DISTINCT l.pid FROM pg_locks l WHERE l.relation = to_regclass($1) AND l.granted) h \
                   JOIN pg_stat_activity a ON a.pid = h.pid WHERE a.pid <> pg_backend_pid() \
                   ORDER BY a.xact_start LIMIT $2";
        let rows = session.rows(sql, &[&self.sql.table, &BLOCKERS_MAX]).await?;
        rows.iter()
            .map(|row| {
                let (session, what, for_ms): (String, Option<String>, i64) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
                let what = what.unwrap_or_else(|| "another user's session".to_owned());
                Ok(Blocker { session, what, for_ms: for_ms.max(0).unsigned_abs() })
            })
            .collect()
    }

    /// Standbys whose readers would wait behind a lock of ours.
    async fn standbys(&self, session: &Session, lag_ms_max: u64) -> StoreResult<Vec<Blocker>> {
        let sql = "SELECT coalesce(application_name, '?'), (extract(epoch FROM replay_lag) * 1000)::int8 \
                   FROM pg_stat_replication WHERE extract(epoch FROM replay_lag) * 1000 > $1::int8";
        let most = i64::try_from(lag_ms_max).unwrap_or(i64::MAX);
        let rows = session.rows(sql, &[&most]).await?;
        rows.iter()
            .map(|row| {
                let (name, lag): (String, i64) = (get(row, 0)?, get(row, 1)?);
                let what = "a standby whose readers would wait for the lock".to_owned();
                Ok(Blocker { session: format!("standby {name}"), what, for_ms: lag.max(0).unsigned_abs() })
            })
            .collect()
    }

    async fn missing_keys(&self, session: &Session) -> StoreResult<Vec<Key>> {
        let keys: Vec<String> = self.sql.key.iter().map(|key| format!("{}::text", super::names::quoted(key))).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} LIMIT {KEYS_MAX}",
            keys.join(", "),
            self.sql.table,
            self.sql.is_wrong()
        );
        let rows = session.rows(&sql, &[]).await?;
        rows.iter().map(|row| fill::key_of(&self.wanted, row)).collect()
    }
}

#[async_trait]
impl Evolve for Evolving {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn look(&self) -> StoreResult<Look> {
        Ok(self.seen(&*self.pool.lease().await?).await?.look)
    }

    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>> {
        let rows = self.estimate().await?.records;
        let mut out = Vec::new();
        for what in self.alterations(stage) {
            let plan = self.sql.plan(what);
            let expected_ms = match plan.effect {
                Effect::Catalogue => CATALOGUE_MS_EXPECTED,
                Effect::Scan | Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => {
                    rows.div_ceil(SCAN_ROWS_PER_MS).max(1)
                }
            };
            let lock = plan.lock.unwrap_or("none on the table").to_owned();
            out.extend(plan.statements.into_iter().map(|sql| Statement {
                what,
                sql,
                lock: lock.clone(),
                effect: plan.effect,
                expected_ms,
            }));
        }
        Ok(out)
    }

    fn alterations(&self, stage: Stage) -> Vec<Alteration> {
        use Alteration::*;
        let (is_constant, has_values) = (self.sql.class == FillClass::Constant, !self.sql.values.is_empty());
        let with_values = |first: Vec<Alteration>, then: Vec<Alteration>| match has_values {
            true => first.into_iter().chain(then).collect(),
            false => then,
        };
        match stage {
            Stage::Expand => vec![AddSidecar, AddColumn, AddWriteDefault],
            Stage::Enforce if is_constant => with_values(vec![AddValues, ValidateValues], vec![]),
            Stage::Enforce => {
                with_values(vec![AddValues, ValidateValues], vec![AddCheck, ValidateCheck, SetNotNull, DropCheck])
            }
            Stage::Contract => vec![DropWriteDefault],
            Stage::Complete => vec![DropSidecar],
            Stage::Back if is_constant => with_values(vec![DropValues], vec![AddSidecar, AddWriteDefault]),
            Stage::Back => with_values(vec![DropValues], vec![AddSidecar, AddWriteDefault, DropCheck, DropNotNull]),
            Stage::Remove => vec![DropColumn, DropSidecar],
        }
    }

    fn needs_no_backfill(&self) -> bool {
        self.sql.class == FillClass::Constant
    }

    async fn hazards(&self) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let seen = self.seen(&session).await?;
        if seen.relkind != "r" {
            let what = format!("PostgreSQL: {} is not a plain table", self.sql.table);
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("partitioned tables, views and foreign tables are not in this version"));
        }
        if seen.look.column.is_some() && !seen.traces {
            let what = format!("PostgreSQL: {} has a column {} already", self.sql.table, self.sql.column);
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("rename it, or choose another name for the new field"));
        }
        hazards::check_inputs(&session, &self.sql, &self.wanted).await?;
        hazards::told(&session, &self.sql, &self.schema).await
    }

    async fn try_to(&self, what: Alteration, patience: Duration, standby_lag_ms_max: u64) -> StoreResult<Try> {
        let session = self.pool.lease().await?;
        if self.is_made(what, &self.seen(&session).await?) {
            return Ok(Try::Made { held_micros: 0 });
        }
        if self.sql.plan(what).lock == Some("ACCESS EXCLUSIVE") {
            let behind = self.standbys(&session, standby_lag_ms_max).await?;
            if !behind.is_empty() {
                return Ok(Try::Busy(behind));
            }
        }
        match self.alter(&session, what, patience).await {
            Ok(held_micros) => Ok(Try::Made { held_micros }),
            Err(failure) if failure.is_lock_timeout() => {
                Ok(Try::Busy(self.blockers(&*self.pool.lease().await?).await?))
            }
            Err(failure) if failure.is_null_violation() => {
                Ok(Try::Violated(self.missing_keys(&*self.pool.lease().await?).await?))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn fill_ranges(&self, parts: usize) -> StoreResult<Vec<FillRange>> {
        fill::ranges(&*self.pool.lease().await?, &self.sql, parts).await
    }

    async fn fill(
        &self,
        run: &str,
        range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint> {
        fill::batch(&*self.pool.lease().await?, &self.sql, run, range, from, rows_max).await
    }

    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        fill::checkpoints(&*self.pool.lease().await?, &self.sql, run).await
    }

    async fn fill_statement(&self, range: &FillRange, rows_max: u64) -> StoreResult<FillStatement> {
        fill::statement(&*self.pool.lease().await?, &self.sql, range, rows_max).await
    }

    async fn copy(&self, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
        copy::copy(&*self.pool.lease().await?, &self.sql, &self.schema, to, rows_max).await
    }

    async fn tidy(&self) -> StoreResult<()> {
        let session = self.pool.lease().await?;
        Ok(session.batch(&fill::tidying(&self.sql)).await?)
    }

    async fn count_missing(&self) -> StoreResult<u64> {
        let sql = format!("SELECT count(*) FROM {} WHERE {} IS NULL", self.sql.table, self.sql.column);
        let count: i64 = get(&self.pool.lease().await?.one(&sql, &[]).await?, 0)?;
        Ok(count.unsigned_abs())
    }

    async fn count_chosen(&self) -> StoreResult<u64> {
        let sql = format!("SELECT count(*) FROM {}", self.sql.chosen());
        let count: i64 = get(&self.pool.lease().await?.one(&sql, &[]).await?, 0)?;
        Ok(count.unsigned_abs())
    }

    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        fill::chosen(&*self.pool.lease().await?, &self.sql, &self.wanted, keys).await
    }

    async fn outdated(&self) -> StoreResult<Option<Outdated>> {
        let sql = format!(
            "SELECT count(*), (greatest(extract(epoch FROM clock_timestamp()) - max(second), 0) * 1000)::int8 FROM {}",
            self.sql.outdated()
        );
        let row = self.pool.lease().await?.one(&sql, &[]).await?;
        let (seen, ago): (i64, Option<i64>) = (get(&row, 0)?, get(&row, 1)?);
        Ok(Some(Outdated { seen: seen.unsigned_abs(), last_ms_ago: ago.map(i64::unsigned_abs) }))
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        let sql =
            "SELECT greatest(c.reltuples, 0)::int8, pg_table_size(c.oid) FROM pg_class c WHERE c.oid = to_regclass($1)";
        let row = self.pool.lease().await?.one(sql, &[&self.sql.table]).await?;
        let (records, bytes): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
        Ok(Estimate { records: records.unsigned_abs(), exact: false, bytes: bytes.unsigned_abs() })
    }

    async fn load(&self) -> StoreResult<Load> {
        vitals::load(&self.pool).await
    }
}
