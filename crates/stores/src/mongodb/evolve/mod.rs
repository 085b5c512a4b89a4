//! A new required field in a MongoDB collection.
//!
//! There is no column to add and no trigger to fill it: the gateway fills what
//! outdated clients write, and the backfill what stands there. `enforce` is a
//! validator beside the one that is there, held against every document before it
//! counts; a rollback puts the collection's own rules back as they were.
//!
//! What has to be remembered stands in a collection of our own ([`own`]): the
//! rules before, checkpoints, and of each document that the backfill has filled
//! the hash of what it was made from, so that verification tells a value that is
//! wrong from one that somebody chose.

mod copy;
mod field;
mod fill;
mod hazards;
mod locks;
mod own;
mod plan;
mod take;
mod validator;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::{
    Alteration, CopyPlace, Evolve, FillCheckpoint, FillRange, FillStatement, Look, Outdated, Stage, Statement, Try,
    Wanted,
};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::{Estimate, Load, Vitals as _};

use self::field::Field;
use self::own::Own;
use super::{Inner, MongoDb, inspect};
use crate::Create;

/// How long a count of chosen values is told again, seconds: it reads the whole
/// collection, and `status` asks for it as often as people look.
const COUNT_AGAIN_SECONDS: u64 = 10;

/// One field of one collection.
pub(crate) struct Evolving {
    store: MongoDb,
    inner: Arc<Inner>,
    field: Field,
    own: Own,
    counted: Mutex<Option<(Instant, u64)>>,
}

/// Opens a collection for [`Evolve`].
pub(crate) async fn open(url: &str, wanted: Wanted) -> StoreResult<Evolving> {
    let key = wanted.key.iter().map(|(name, _)| name.clone()).collect();
    let layout = DocumentLayout { table: wanted.table.clone(), key, document: "doc".to_owned() };
    let own = Own::of(&wanted.table);
    let field = Field::of(&wanted)?;
    let store = super::open(url, Layout::Document(layout), Create::Never).await?;
    own.check(&store.0)?;
    Ok(Evolving { inner: store.0.clone(), store, field, own, counted: Mutex::new(None) })
}

/// What was done, and for how long it kept others out.
fn made(held: Duration) -> Try {
    Try::Made { held_micros: u64::try_from(held.as_micros()).unwrap_or(u64::MAX) }
}

#[async_trait]
impl Evolve for Evolving {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    async fn look(&self) -> StoreResult<Look> {
        let rules = validator::rules(self).await?;
        let holds = rules.has(&self.field.rule());
        Ok(Look {
            column: None,
            not_null: holds && rules.refuses(),
            write_default: false,
            check: holds.then_some(true),
            values: None,
            sidecar: self.own.is_there(&self.inner).await?,
        })
    }

    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>> {
        plan::statements(self, stage).await
    }

    fn alterations(&self, stage: Stage) -> Vec<Alteration> {
        use Alteration::*;
        match stage {
            Stage::Expand => vec![AddSidecar],
            Stage::Enforce => vec![AddCheck, ValidateCheck],
            // The gateway alone fills the field, and ends it by itself.
            Stage::Contract => vec![],
            Stage::Complete => vec![DropSidecar],
            Stage::Back => vec![DropCheck],
            Stage::Remove => vec![DropColumn, DropSidecar],
        }
    }

    fn needs_no_backfill(&self) -> bool {
        false
    }

    async fn hazards(&self) -> StoreResult<Vec<String>> {
        hazards::told(self).await
    }

    async fn try_to(&self, what: Alteration, patience: Duration, _standby_lag_ms_max: u64) -> StoreResult<Try> {
        match what {
            Alteration::AddSidecar => self.own.begin(self).await.map(made),
            Alteration::AddCheck => validator::add(self, patience).await,
            Alteration::ValidateCheck => validator::validate(self).await,
            Alteration::DropCheck => validator::take_back(self, patience).await,
            Alteration::DropColumn => take::take(self).await.map(made),
            Alteration::DropSidecar => self.own.end(&self.inner).await.map(made),
            Alteration::AddColumn
            | Alteration::AddWriteDefault
            | Alteration::AddValues
            | Alteration::ValidateValues
            | Alteration::DropValues
            | Alteration::SetNotNull
            | Alteration::DropWriteDefault
            | Alteration::DropNotNull => Ok(made(Duration::ZERO)),
        }
    }

    async fn fill_ranges(&self, _parts: usize) -> StoreResult<Vec<FillRange>> {
        fill::ranges(self).await
    }

    async fn fill(
        &self,
        run: &str,
        range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint> {
        fill::batch(self, run, range, from, rows_max).await
    }

    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        self.own.checkpoints(&self.inner, run).await
    }

    async fn fill_statement(&self, _range: &FillRange, _rows_max: u64) -> StoreResult<FillStatement> {
        Ok(plan::fill_statement(self))
    }

    async fn copy(&self, to: &CopyPlace, rows_max: u64) -> StoreResult<u64> {
        copy::copy(self, to, rows_max).await
    }

    async fn tidy(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn count_missing(&self) -> StoreResult<u64> {
        field::count_missing(self).await
    }

    async fn count_chosen(&self) -> StoreResult<u64> {
        let held = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, count)) = held
            && at.elapsed() < Duration::from_secs(COUNT_AGAIN_SECONDS)
        {
            return Ok(count);
        }
        let count = take::count_chosen(self).await?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
        Ok(count)
    }

    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        field::chosen(self, keys).await
    }

    async fn outdated(&self) -> StoreResult<Option<Outdated>> {
        // Nobody but the gateway sees who writes; it counts.
        Ok(None)
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        inspect::estimate(&self.inner.server, &self.inner.records.table).await
    }

    async fn load(&self) -> StoreResult<Load> {
        self.store.load().await
    }
}
