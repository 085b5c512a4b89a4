//! A new required field in a table of MySQL or MariaDB: the column is added in
//! an instant, the triggers are made while the table is locked, NOT NULL is an
//! INPLACE rebuild beside readers and writers. A copy of the table is refused.

mod copy;
mod fill;
mod hazards;
mod ladder;
mod sql;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{
    Alteration, CopyPlace, Effect, Evolve, FillCheckpoint, FillRange, FillStatement, Look, Outdated, Stage, Statement,
    Try, Wanted,
};
use shearwater_core::fill::FillClass;
use shearwater_core::shape::FieldType;
use shearwater_core::store::{Estimate, Load};

use self::ladder::Ran;
use self::sql::Sql;
use super::cell::Cell;
use super::config::Config;
use super::facts::Server;
use super::names::places;
use super::session::{Pool, Session, bind, number_of, text_of};
use super::vitals;

/// Waiting for the definition's lock at the end of a rebuild, ms: it has cost
/// minutes by then, so it is not given up as lightly as a change of the catalogue.
const REBUILD_WAIT_MS: u64 = 500;

/// Rows that an INPLACE rebuild passes in a millisecond: measured with two indexes.
const REBUILD_ROWS_PER_MS: u64 = 250;

/// What an idle server needs for a change of the catalogue, ms.
const CATALOGUE_MS_EXPECTED: u64 = 5;

/// Keys that are named as standing in the way.
const KEYS_MAX: usize = 20;

/// One field of one table.
pub(crate) struct Evolving {
    config: Config,
    pool: Arc<Pool>,
    server: Server,
    sql: Sql,
    wanted: Wanted,
}

/// Opens a table for [`Evolve`].
pub(crate) async fn open(url: &str, wanted: Wanted) -> StoreResult<Evolving> {
    let config = Config::parse(url)?;
    let pool = Pool::new(config.clone());
    let server = Server::look(&mut pool.session().await?).await?;
    for (name, ty) in &wanted.key {
        if !matches!(ty, FieldType::Int | FieldType::Text | FieldType::Bool) {
            let what = format!("MySQL: a key column of type {} ({name:?}) is not in this version", ty.name());
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("keys of a required field's table: int, text, bool"));
        }
    }
    let sql = Sql::new(&server, &wanted)?;
    Ok(Evolving { config, pool, server, sql, wanted })
}

/// What the schema says, with whether something fills the column for others.
struct Seen {
    look: Look,
    fills: bool,
    traces: bool,
}

impl Evolving {
    async fn seen(&self, session: &mut Session) -> StoreResult<Seen> {
        let names = |names: &[&str]| bind(&names.iter().map(|name| Cell::text(*name)).collect::<Vec<_>>());
        let count = |rows: &[Vec<Cell>]| rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0);
        let doing = "looking at the table";
        let tables =
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ";
        let table = session.rows(doing, &format!("{tables}(?)"), names(&[&self.sql.name])).await?;
        if count(&table) == 0 {
            let what = format!("MySQL: there is no table {:?}", self.sql.name);
            return Err(StoreError::new(StoreErrorKind::NotFound, what).with_hint("check the table in the spec"));
        }
        let own = [self.sql.chosen_name(), self.sql.fills_name(), self.sql.outdated_name()];
        let own =
            count(&session.rows(doing, &format!("{tables}(?, ?, ?)"), names(&[&own[0], &own[1], &own[2]])).await?);
        let column = session
            .rows(
                doing,
                "SELECT column_type, is_nullable, column_default FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?",
                names(&[&self.sql.name, &self.sql.column_name]),
            )
            .await?;
        let mut triggers = [0, 0];
        for (slot, wanted) in triggers.iter_mut().zip([self.sql.fill_triggers(), self.sql.note_triggers()]) {
            let ask = format!(
                "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name IN ({})",
                places(wanted.len())
            );
            *slot = count(&session.rows(doing, &ask, names(&[&wanted[0], &wanted[1]])).await?);
        }
        let column = column.first();
        let has_default = column.and_then(|row| row.get(2)).and_then(text_of).is_some_and(|text| text != "NULL");
        let healing = self.sql.class == FillClass::RowPure || has_default;
        let look = Look {
            column: column.and_then(|row| row.first()).and_then(text_of),
            not_null: column.and_then(|row| row.get(1)).and_then(text_of).as_deref() == Some("NO"),
            write_default: triggers == [2, 2] && healing,
            check: None,
            values: None,
            sidecar: own == 3,
        };
        let is_constant = self.sql.class == FillClass::Constant;
        Ok(Seen {
            look,
            fills: triggers[0] > 0 || (is_constant && has_default),
            traces: own + triggers[0] + triggers[1] > 0,
        })
    }

    fn is_made(what: Alteration, seen: &Seen) -> bool {
        match what {
            Alteration::AddSidecar => seen.look.sidecar,
            Alteration::AddColumn => seen.look.column.is_some(),
            Alteration::AddWriteDefault => seen.look.write_default,
            Alteration::SetNotNull => seen.look.not_null,
            Alteration::DropWriteDefault => !seen.fills,
            Alteration::DropColumn => seen.look.column.is_none(),
            Alteration::DropSidecar => !seen.traces,
            Alteration::AddCheck
            | Alteration::ValidateCheck
            | Alteration::AddValues
            | Alteration::ValidateValues
            | Alteration::DropCheck
            | Alteration::DropValues
            | Alteration::DropNotNull => true,
        }
    }
}

#[async_trait]
impl Evolve for Evolving {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    async fn look(&self) -> StoreResult<Look> {
        Ok(self.seen(&mut self.pool.session().await?).await?.look)
    }

    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>> {
        let rows = self.estimate().await?.records;
        let mut out = Vec::new();
        for what in self.alterations(stage) {
            let plan = self.sql.plan(what);
            let lock = match (&plan.locked, plan.effect) {
                (Some(_), _) => "LOCK TABLES … WRITE",
                (None, Effect::Rewrite) => "exclusive metadata lock at its beginning and end; LOCK=NONE between",
                (None, _) if what == Alteration::AddSidecar => "none on the table",
                (None, _) => "exclusive metadata lock",
            };
            let expected_ms = match plan.effect {
                Effect::Catalogue => CATALOGUE_MS_EXPECTED,
                Effect::Scan | Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => {
                    rows.div_ceil(REBUILD_ROWS_PER_MS).max(1)
                }
            };
            out.extend(plan.statements.into_iter().map(|sql| Statement {
                what,
                sql,
                lock: lock.to_owned(),
                effect: plan.effect,
                expected_ms,
            }));
        }
        Ok(out)
    }

    fn alterations(&self, stage: Stage) -> Vec<Alteration> {
        use Alteration::*;
        match stage {
            Stage::Expand => vec![AddSidecar, AddColumn, AddWriteDefault],
            Stage::Enforce if self.sql.class == FillClass::Constant => vec![],
            Stage::Enforce => vec![SetNotNull],
            Stage::Contract => vec![DropWriteDefault],
            Stage::Complete => vec![DropSidecar],
            // NOT NULL may stay: the triggers fill before it is looked at, and taking it away is a rebuild.
            Stage::Back => vec![AddSidecar, AddWriteDefault],
            Stage::Remove => vec![DropColumn, DropSidecar],
        }
    }

    fn needs_no_backfill(&self) -> bool {
        self.sql.class == FillClass::Constant
    }

    async fn hazards(&self) -> StoreResult<Vec<String>> {
        let mut session = self.pool.session().await?;
        let seen = self.seen(&mut session).await?;
        if seen.look.column.is_some() && !seen.traces {
            let what = format!("MySQL: {} has a column {} already", self.sql.table, self.sql.column);
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("rename it, or choose another name for the new field"));
        }
        hazards::check_inputs(&mut session, &self.sql, &self.wanted).await?;
        hazards::told(&mut session, &self.sql, self.server.family).await
    }

    async fn try_to(&self, what: Alteration, patience: Duration, _standby_lag_ms_max: u64) -> StoreResult<Try> {
        if Evolving::is_made(what, &self.seen(&mut self.pool.session().await?).await?) {
            return Ok(Try::Made { held_micros: 0 });
        }
        let plan = self.sql.plan(what);
        let rewrites = plan.effect == Effect::Rewrite;
        let patience = if rewrites { patience.max(Duration::from_millis(REBUILD_WAIT_MS)) } else { patience };
        let mut statements: Vec<String> = plan.locked.into_iter().collect();
        statements.extend(plan.statements);
        match ladder::run(&self.config.opts, &self.config.place, &statements, patience).await {
            // A rebuild holds its lock for an instant at either end only, which the server does not tell.
            Ok(Ran::Done(_)) if rewrites => Ok(Try::Made { held_micros: 0 }),
            Ok(Ran::Done(took)) => Ok(Try::Made { held_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX) }),
            Ok(Ran::Busy) => Ok(Try::Busy(ladder::blockers(&self.config.opts, &self.config.place).await?)),
            Err(error) if what == Alteration::SetNotNull && is_null_refused(&error) => {
                Ok(Try::Violated(fill::missing_keys(&mut self.pool.session().await?, &self.sql, KEYS_MAX).await?))
            }
            Err(error) => Err(error),
        }
    }

    async fn fill_ranges(&self, _parts: usize) -> StoreResult<Vec<FillRange>> {
        fill::ranges(&mut self.pool.session().await?, &self.sql).await
    }

    async fn fill(
        &self,
        run: &str,
        range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint> {
        fill::batch(&mut self.pool.session().await?, &self.sql, run, range, from, rows_max).await
    }

    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        fill::checkpoints(&mut self.pool.session().await?, &self.sql, run).await
    }

    async fn fill_statement(&self, _range: &FillRange, _rows_max: u64) -> StoreResult<FillStatement> {
        Ok(fill::statement(&self.sql))
    }

    async fn copy(&self, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
        copy::copy(&mut self.pool.session().await?, &self.sql, to, rows_max).await
    }

    async fn tidy(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn count_missing(&self) -> StoreResult<u64> {
        self.count(&format!("SELECT COUNT(*) FROM {} WHERE {} IS NULL", self.sql.table, self.sql.column)).await
    }

    async fn count_chosen(&self) -> StoreResult<u64> {
        self.count(&format!("SELECT COUNT(*) FROM {}", super::names::quoted(&self.sql.chosen_name()))).await
    }

    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        fill::chosen(&mut self.pool.session().await?, &self.sql, keys).await
    }

    async fn outdated(&self) -> StoreResult<Option<Outdated>> {
        if self.sql.class == FillClass::Constant {
            return Ok(None);
        }
        let sql = format!(
            "SELECT COUNT(*), (UNIX_TIMESTAMP() - MAX(second)) * 1000 FROM {}",
            super::names::quoted(&self.sql.outdated_name())
        );
        let rows = self.pool.session().await?.rows("counting outdated writes", &sql, Vec::new()).await?;
        let number = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(number_of);
        Ok(Some(Outdated { seen: number(0).unwrap_or(0), last_ms_ago: number(1) }))
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        let sql = "SELECT table_rows, data_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
        let name = bind(&[Cell::text(self.sql.name.as_str())]);
        let rows = self.pool.session().await?.rows("estimating", sql, name).await?;
        let number = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(number_of).unwrap_or(0);
        Ok(Estimate { records: number(0), exact: false, bytes: number(1) })
    }

    async fn load(&self) -> StoreResult<Load> {
        let lock_waits = vitals::lock_waits(&self.pool, self.server.family, &mut self.pool.session().await?).await?;
        Ok(Load { lock_waits, replica_lag_ms: 0 })
    }
}

/// Whether a change of the column was refused because of a NULL in it.
fn is_null_refused(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Refused { .. }) || error.message.contains("(error 1138)")
}

impl Evolving {
    async fn count(&self, sql: &str) -> StoreResult<u64> {
        let rows = self.pool.session().await?.rows("counting", sql, Vec::new()).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0))
    }
}
