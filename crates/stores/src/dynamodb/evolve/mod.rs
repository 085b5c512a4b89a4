//! A new required field in a table of DynamoDB.
//!
//! The store has no columns, no triggers and no rules for the attributes of an
//! item: the gateway fills what outdated clients write, the backfill what stands
//! there, and from `enforce` on the gateway alone sees that no record comes without
//! the field. So `enforce` proves that none lacks it, and says that the store
//! itself holds nobody to it.
//!
//! Every read and write of the backfill is paid for from the declared capacity.

mod fill;
mod own;
mod plan;
mod sample;
mod walk;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{
    Alteration, CopyPlace, Enforcer, Evolve, FillCheckpoint, FillRange, FillStatement, Look, Outdated, Sampled, Stage,
    Statement, Try, Wanted,
};
use shearwater_core::fill::Fill;
use shearwater_core::shape::{DocumentLayout, FieldType, Layout};
use shearwater_core::store::{Estimate, Load, Reader as _};

use super::DynamoDb;
use super::item::RESERVED;
use crate::Create;

/// What the names of these tables begin with.
pub(super) const PREFIX: &str = "_shearwater-require.";

/// How long a count of chosen values is told again: it reads, and pays for, the
/// whole table, and `status` asks for it as often as people look.
const COUNT_AGAIN: Duration = Duration::from_secs(600);

/// One field of one table.
pub(crate) struct Evolving {
    store: DynamoDb,
    name: String,
    fill: Fill,
    /// The table of our own.
    own: String,
    counted: Mutex<Option<(Instant, u64)>>,
}

/// What comes back as it was: DynamoDB keeps no zeros at a number's end, and dates
/// and uuids are texts there.
fn check_type(ty: FieldType) -> StoreResult<()> {
    if matches!(ty, FieldType::Bool | FieldType::Int | FieldType::Text | FieldType::Bytes | FieldType::Json) {
        return Ok(());
    }
    let what = format!("DynamoDB: an attribute does not hold {} exactly", ty.name());
    Err(StoreError::new(StoreErrorKind::Unsupported, what)
        .with_hint("use text, int, bool, bytes or json: for example a date as its text, money as an int of cents"))
}

/// Opens a table for [`Evolve`].
pub(crate) async fn open(url: &str, wanted: Wanted) -> StoreResult<Evolving> {
    let key: Vec<String> = wanted.key.iter().map(|(name, _)| name.clone()).collect();
    if wanted.column == RESERVED || key.contains(&wanted.column) {
        let what = format!("DynamoDB: {:?} cannot be the name of a new field", wanted.column);
        return Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint("choose another name"));
    }
    check_type(wanted.fill.ty())?;
    let layout = DocumentLayout { table: wanted.table.clone(), key, document: "doc".to_owned() };
    let store = super::open(url, Layout::Document(layout), Create::Never).await?;
    let own = own::name(&store.names.sidecar);
    Ok(Evolving { store, name: wanted.column, fill: wanted.fill, own, counted: Mutex::new(None) })
}

#[async_trait]
impl Evolve for Evolving {
    fn kind(&self) -> &'static str {
        "dynamodb"
    }

    fn enforcer(&self) -> Enforcer {
        Enforcer::Gateway
    }

    async fn look(&self) -> StoreResult<Look> {
        Ok(Look { sidecar: self.start().await?.is_some(), ..Look::default() })
    }

    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>> {
        plan::statements(self, stage).await
    }

    fn alterations(&self, stage: Stage) -> Vec<Alteration> {
        match stage {
            Stage::Expand => vec![Alteration::AddSidecar],
            Stage::Enforce => vec![Alteration::ValidateCheck],
            Stage::Contract | Stage::Back => vec![],
            Stage::Complete => vec![Alteration::DropSidecar],
            Stage::Remove => vec![Alteration::DropColumn, Alteration::DropSidecar],
        }
    }

    fn needs_no_backfill(&self) -> bool {
        false
    }

    async fn hazards(&self) -> StoreResult<Vec<String>> {
        plan::hazards(self).await
    }

    async fn try_to(&self, what: Alteration, _patience: Duration, _standby_lag_ms_max: u64) -> StoreResult<Try> {
        let nobody_waits = Ok(Try::Made { held_micros: 0 });
        match what {
            Alteration::AddSidecar => self.begin().await?,
            Alteration::ValidateCheck => {
                let keys = walk::without(self).await?;
                if !keys.is_empty() {
                    return Ok(Try::Violated(keys));
                }
            }
            Alteration::DropColumn => fill::take(self).await?,
            Alteration::DropSidecar => self.end().await?,
            Alteration::AddColumn
            | Alteration::AddWriteDefault
            | Alteration::AddCheck
            | Alteration::AddValues
            | Alteration::ValidateValues
            | Alteration::DropValues
            | Alteration::SetNotNull
            | Alteration::DropCheck
            | Alteration::DropWriteDefault
            | Alteration::DropNotNull => {}
        }
        nobody_waits
    }

    async fn fill_ranges(&self, _parts: usize) -> StoreResult<Vec<FillRange>> {
        // A scan goes along the hashes of the keys, so it ends whatever comes meanwhile.
        Ok(vec![FillRange { id: 0, low: String::new(), high: String::new() }])
    }

    async fn fill(
        &self,
        run: &str,
        _range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint> {
        fill::batch(self, run, from, rows_max).await
    }

    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>> {
        Ok(self.checkpoint(run).await?.into_iter().collect())
    }

    async fn fill_statement(&self, _range: &FillRange, _rows_max: u64) -> StoreResult<FillStatement> {
        Ok(plan::fill_statement(self))
    }

    async fn copy(&self, _to: &CopyPlace, _rows_max: u64) -> StoreResult<u64> {
        let what = "a copy to measure on would be another table of the account, and billed";
        Err(StoreError::new(StoreErrorKind::Unsupported, what))
    }

    async fn sample(&self) -> StoreResult<Option<Sampled>> {
        sample::measure(self).await
    }

    async fn tidy(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn count_missing(&self) -> StoreResult<u64> {
        walk::count_without(self).await
    }

    async fn count_chosen(&self) -> StoreResult<u64> {
        let held = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = held.filter(|(at, _)| at.elapsed() < COUNT_AGAIN) {
            return Ok(count);
        }
        let count = match self.start().await? {
            Some(0) => walk::count_chosen(self).await?,
            // What stays in place does not go.
            Some(_) | None => 0,
        };
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
        Ok(count)
    }

    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        // Nobody notes who wrote what: a value that differs is somebody's.
        Ok(vec![true; keys.len()])
    }

    async fn outdated(&self) -> StoreResult<Option<Outdated>> {
        Ok(None)
    }

    async fn estimate(&self) -> StoreResult<Estimate> {
        self.store.estimate().await
    }

    async fn load(&self) -> StoreResult<Load> {
        // What it may weigh is said in units of capacity, and kept to.
        Ok(Load::default())
    }
}
