//! The traits that every store implements. Their meaning lives in the
//! conformance suite of `shearwater-stores`, which every store passes.
//!
//! A store speaks its own shape only: documents of the source are v1, documents
//! of the target are v2; the mapping stands between them, in the engine and in
//! the gateway.

mod capture;
mod follow;
mod inspect;
mod read;
mod write;

pub use capture::*;
pub use follow::*;
pub use inspect::*;
pub use read::*;
pub use write::*;

use async_trait::async_trait;

use crate::error::{StoreError, StoreResult};
use crate::shape::Layout;
use crate::value::Document;

/// Whose writes a store captures and fences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    /// Everybody's, also of programs that have never heard of us.
    #[default]
    Everyone,
    /// Those through the gateway; what others write is noticed when it is looked
    /// at, and they are not stopped.
    Gateway,
}

/// Stores that can carry a flag of ours beside each record, in the user's own
/// table: a column that is false for every record that nobody has flagged, and
/// an index that finds those that are not, in the order of their keys.
#[async_trait]
pub trait Flags: Send + Sync {
    /// Adds the column and its index, without a lock that other programs wait
    /// for longer than a moment; what is there already stays. A column of this
    /// name that is not ours is an error. Returns the statements run.
    async fn add_flag(&self, flag: &str) -> StoreResult<Vec<String>>;

    /// Removes both, if they are ours. Returns the statements run.
    async fn remove_flag(&self, flag: &str) -> StoreResult<Vec<String>>;

    /// Drops the layout's table if it is there and its name says that it is
    /// ours; any other is an error.
    async fn drop_own_table(&self) -> StoreResult<()>;

    /// How many records are flagged, or are not.
    async fn count_flagged(&self, flag: &str, flagged: Flagged) -> StoreResult<u64>;
}

/// What the names of tables of our own begin with that are opened as stores; sidecars have names of theirs.
pub const OWN_TABLES: &str = "shearwater_keys_";

/// Refuses to drop what is not ours.
///
/// # Errors
/// [`crate::error::StoreErrorKind::Unsupported`]
pub fn must_be_own(table: &str) -> StoreResult<()> {
    if table.starts_with(OWN_TABLES) {
        return Ok(());
    }
    let message = format!("table {table:?} is not ours to drop");
    Err(StoreError::new(crate::error::StoreErrorKind::Unsupported, message))
}

/// Whether a record is flagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flagged {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// A store that can take part in a migration.
pub trait Store: Reader + Writer + Follower + Capture + Inspect {
    /// The layout that it was opened with.
    fn layout(&self) -> &Layout;

    /// The kind, for example `sqlite`.
    fn kind(&self) -> &'static str;

    /// How many batches of puts it applies side by side with profit. 1: its
    /// writers only queue for one another.
    fn appliers(&self) -> usize {
        1
    }

    /// How many changes one [`Write`] takes at most.
    fn changes_max(&self) -> usize {
        usize::MAX
    }

    /// A record as this store gives it back when it has noted nothing beside it.
    /// A store that lacks types, or the order of fields, says here what it makes
    /// of them; what clients write is made so before it is written and answered.
    fn kept(&self, record: Document) -> Document {
        record
    }

    /// Whose writes are stamped and marked as they are made, and refused while
    /// the store is closed.
    fn covers(&self) -> Covers {
        Covers::Everyone
    }

    /// How background work weighs on it, where the store can tell.
    fn vitals(&self) -> Option<&dyn Vitals> {
        None
    }

    /// Rows as they are, where the layout has no more than one table and the
    /// store can pass them.
    fn verbatim(&self) -> Option<&dyn crate::verbatim::Verbatim> {
        None
    }

    /// Its records undecoded, where it can show their fields as they stand.
    fn gives(&self) -> Option<&dyn crate::flat::Gives> {
        None
    }

    /// Rows that were written from such records, where it can take them.
    fn takes(&self) -> Option<&dyn crate::flat::Takes> {
        None
    }

    /// Its flags, where the layout has columns and the store can add one;
    /// a document carries its flag as a field.
    fn flags(&self) -> Option<&dyn Flags> {
        None
    }
}
