//! `absorb`: another company's records, lazily. One file for each phase or
//! activity; all of them move records by the one path in [`carry`].

use std::pin::Pin;
use std::sync::Arc;

use shearwater_core::Key;
use shearwater_core::absorb::Shapes;
use shearwater_core::error::{StoreError, StoreResult};
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::mapping::MappingError;
use shearwater_core::spec::AbsorbSpec;
use shearwater_core::store::{Side, Store};
use tokio::sync::OnceCell;

use crate::ledger::Halt;
use crate::records::ServeError;

pub mod bulk;
pub mod carry;
pub mod census;
pub mod claims;
pub mod deactivations;
pub mod identity;
pub mod joins;
pub mod list;
mod meeting;
pub mod place;
pub mod reconcile;
pub mod references;
mod refusals;
pub mod report;
pub mod returning;
pub mod run;
pub mod serve;
pub mod stragglers;
pub mod undo;
pub mod verify;
pub mod write;

pub use bulk::{Bulk, Line};
pub use carry::Carrier;
pub use claims::Claims;
pub use identity::{Asked, Crosswalk};
pub use joins::Joined;
pub use references::{Lookups, Referred};
pub use serve::{Absorbing, Options};

/// Records that background work reads at once: small beside a scan's chunk,
/// because each of them takes writes of its own.
const BATCH: usize = 200;

/// One `absorb`, opened.
#[derive(Clone)]
pub struct Setup {
    /// The spec as checked.
    pub spec: Arc<AbsorbSpec>,
    /// The compiled rules.
    pub shapes: Arc<Shapes>,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The source as its programs know it: without the flag.
    pub plain: Arc<dyn Store>,
    /// The source with the flag.
    pub flagged: Arc<Flagged>,
    /// The target.
    pub target: Arc<dyn Store>,
    /// The pairs of keys, where they are assigned.
    pub crosswalk: Option<Arc<Crosswalk>>,
    /// What is looked up for records of the source.
    pub lookups: Arc<Lookups>,
}

impl Setup {
    /// The source with the flag, which must have been added.
    pub async fn source(&self) -> StoreResult<Arc<dyn Store>> {
        self.flagged.get().await
    }
}

/// A store that is being opened.
pub type Opens = Pin<Box<dyn Future<Output = StoreResult<Arc<dyn Store>>> + Send>>;

type Opening = dyn Fn() -> Opens + Send + Sync;

/// The source with its flag: opened when it is first asked for, because the
/// flag is not there before the preparation.
pub struct Flagged {
    open: Box<Opening>,
    opened: OnceCell<Arc<dyn Store>>,
}

impl Flagged {
    /// Opened by this when it is needed.
    pub fn by(open: impl Fn() -> Opens + Send + Sync + 'static) -> Arc<Flagged> {
        Arc::new(Flagged { open: Box::new(open), opened: OnceCell::new() })
    }

    async fn get(&self) -> StoreResult<Arc<dyn Store>> {
        self.opened.get_or_try_init(|| (self.open)()).await.cloned()
    }
}

/// A protection of lazy moves that a test can switch off, to see that the hole
/// it closes is there. `None` everywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// H9a, H12: the mover sets the flag only at the version that it read.
    FlagAtStamp,
    /// H9a: a write to the source holds only at the version, and so the flag, that it read.
    WriteAtFlag,
    /// H9b: a move lands at most once.
    LandOnce,
    /// H10: the store that records leave is read first.
    LeftFirst,
    /// H10: a list finishes moves on their way between its two reads.
    SettleInList,
    /// H14: a deactivation evaluates its predicate again in the write.
    PredicateAgain,
}

/// Why something could not be done to a record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// A store could not or cannot.
    #[error("{1}")]
    Store(Side, StoreError),
    /// The mapping refuses the record.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A record that a shape cannot show.
    #[error("{error}")]
    Unshown {
        /// Where it lives.
        side: Side,
        /// Its key there.
        key: Key,
        /// What the mapping says.
        error: MappingError,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Fault {
    fn source(error: StoreError) -> Fault {
        Fault::Store(Side::Source, error)
    }

    fn target(error: StoreError) -> Fault {
        Fault::Store(Side::Target, error)
    }
}

impl From<Fault> for ServeError {
    fn from(fault: Fault) -> ServeError {
        match fault {
            Fault::Store(_, error) => error.into(),
            Fault::Mapping(error) => crate::records::unprocessable(error),
            Fault::Unshown { side, key, error } => unshown(side, &key, &error),
            Fault::Journal(error) => error.into(),
        }
    }
}

/// A page with a record that the client's shape cannot show.
fn unshown(side: Side, key: &Key, error: &MappingError) -> ServeError {
    let store = crate::ledger::side_name(side);
    ServeError::Unprocessable {
        code: error.code.to_owned(),
        field: error.path.clone(),
        message: format!("the record {} of the {store} cannot be shown: {}", key.to_text(), error.message),
        hint: Some(
            "mend it in shape v1, or ask with `Prefer: handling=lenient`: it is left out then, and told".to_owned(),
        ),
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        match fault {
            Fault::Store(side, error) => Halt::Store { side, error },
            Fault::Mapping(error) | Fault::Unshown { error, .. } => {
                Halt::refused(error.code, error.to_string(), error.hint.unwrap_or_default())
            }
            Fault::Journal(error) => error.into(),
        }
    }
}
