//! A new required field, in steps that no client notices. One file for each
//! phase or activity; `run` has the control flow and stays thin.

mod alter;
mod backfill;
mod change;
mod contract;
mod desk;
mod enforce;
mod enter;
mod expand;
mod report;
mod rollback;
pub mod run;
pub mod serve;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::Evolve;
use shearwater_core::fill::Fill;
use shearwater_core::journal::Journal;
use shearwater_core::lifecycle::require::State;
use shearwater_core::shape::Layout;
use shearwater_core::spec::RequireSpec;
use shearwater_core::store::Store;

pub use self::alter::{LOCKS_NOTE, Locks};
pub use self::backfill::{Batches, RANGES};
pub use self::contract::{Quiet, quiet};
pub use self::report::{RequireReport, status};
pub use self::serve::Served;
pub use self::verify::FINDINGS_NOTE;

use crate::foreground::Foreground;
use crate::helm::{Leash, backoff};
use crate::ledger::{Halt, Ledger};

/// Opens the migration's one store, for a layout with or without the field.
#[async_trait]
pub trait Opener: Send + Sync {
    /// Opens it; the table and the layout's columns must be there.
    async fn open(&self, layout: &Layout) -> StoreResult<Arc<dyn Store>>;
}

/// One migration, opened.
#[derive(Clone)]
pub struct Setup {
    /// The spec as checked.
    pub spec: Arc<RequireSpec>,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// What records without the field get.
    pub fill: Fill,
    /// The shape of outdated clients: without the field.
    pub v1: Layout,
    /// The shape of new clients: with it.
    pub v2: Layout,
    /// The store, without the field.
    pub old: Arc<dyn Store>,
    /// The store's table, to be altered.
    pub evolve: Arc<dyn Evolve>,
    /// Opens the store with the field, once it is there.
    pub opener: Arc<dyn Opener>,
}

/// This kind's member, ledger and view.
pub type Member = crate::member::Member<State>;

/// What the coordinator acts with.
#[derive(Clone)]
struct Helm {
    setup: Setup,
    ledger: Arc<Ledger<State>>,
    member: Arc<Member>,
    foreground: Arc<Foreground>,
}

impl Helm {
    fn check(&self) -> Result<(), Halt> {
        self.ledger.lease().check()
    }

    fn state(&self) -> State {
        self.ledger.view().state.clone()
    }
}

/// Calls the store until it answers: as [`crate::helm::patiently`], for the one store.
async fn patiently<T, F, Fut>(leash: &mut Leash, call: F) -> Result<T, Halt>
where
    F: Fn() -> Fut,
    Fut: Future<Output = StoreResult<T>>,
{
    let mut failures = 0;
    loop {
        leash.pass().await?;
        match call().await {
            Err(error) if error.policy() == shearwater_core::error::Policy::Retry => {
                tracing::warn!(code = error.code(), "waiting for the store: {}", error.message);
                leash.rest(backoff(failures)).await?;
                failures += 1;
            }
            answer => return answer.map_err(Halt::OneStore),
        }
    }
}
