//! Changing a live table's shape: what a store that can `require` a field
//! implements. The meaning lives in the suite that every such store passes.
//!
//! Every call looks at the catalogue before it acts and does nothing when its
//! work is done already, so that it can be killed and called again at any
//! statement. No lock is ever waited for without a bound.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Key;
use crate::error::StoreResult;
use crate::fill::Fill;
use crate::shape::FieldType;
use crate::store::{Cursor, Estimate, Load};

/// The field that a table is to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The table.
    pub table: String,
    /// Its key columns with their types.
    pub key: Vec<(String, FieldType)>,
    /// The new column.
    pub column: String,
    /// Its type in the store's own words; `None`: the connector chooses.
    pub native: Option<String>,
    /// What records without it get.
    pub fill: Fill,
}

/// A list of alterations that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Adds the column and the write default.
    Expand,
    /// Has the store refuse records without the field.
    Enforce,
    /// Takes the write default away.
    Contract,
    /// From any later phase back to what expand left.
    Back,
    /// Takes everything away, the column too.
    Remove,
    /// Takes away what is ours beside the table.
    Complete,
}

impl Stage {
    /// Its name, as the journal and `plan` write it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Expand => "expand",
            Stage::Enforce => "enforce",
            Stage::Contract => "contract",
            Stage::Back => "back",
            Stage::Remove => "remove",
            Stage::Complete => "complete",
        }
    }

    /// All, in the order of `plan`.
    pub const ALL: [Stage; 6] =
        [Stage::Expand, Stage::Enforce, Stage::Contract, Stage::Complete, Stage::Back, Stage::Remove];
}

/// One change of the catalogue, in a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alteration {
    /// Makes the table in which checkpoints and deliberate values are noted.
    AddSidecar,
    /// Adds the column.
    AddColumn,
    /// Fills the field in writes that leave it out or send NULL.
    AddWriteDefault,
    /// Adds a check that the rows there are not held against.
    AddCheck,
    /// Holds the rows there against the check.
    ValidateCheck,
    /// Adds a check of the declared values that the rows there are not held against.
    AddValues,
    /// Holds the rows there against the declared values.
    ValidateValues,
    /// Makes the column NOT NULL.
    SetNotNull,
    /// Takes the check away.
    DropCheck,
    /// Lets the column have any value again.
    DropValues,
    /// Takes the write default away.
    DropWriteDefault,
    /// Lets the column be NULL again.
    DropNotNull,
    /// Takes the column away, with all that fills it.
    DropColumn,
    /// Takes our table away.
    DropSidecar,
}

impl Alteration {
    /// Its name, as the journal and `plan` write it.
    pub fn name(self) -> &'static str {
        match self {
            Alteration::AddSidecar => "add-sidecar",
            Alteration::AddColumn => "add-column",
            Alteration::AddWriteDefault => "add-write-default",
            Alteration::AddCheck => "add-check",
            Alteration::ValidateCheck => "validate-check",
            Alteration::AddValues => "add-values",
            Alteration::ValidateValues => "validate-values",
            Alteration::SetNotNull => "set-not-null",
            Alteration::DropCheck => "drop-check",
            Alteration::DropValues => "drop-values",
            Alteration::DropWriteDefault => "drop-write-default",
            Alteration::DropNotNull => "drop-not-null",
            Alteration::DropColumn => "drop-column",
            Alteration::DropSidecar => "drop-sidecar",
        }
    }
}

/// What a statement does with the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: only the catalogue changes.
    Catalogue,
    /// Reads them all, while others read and write.
    Scan,
    /// Reads them all and fills those without a value, in batches that commit by themselves.
    Fill,
    /// Writes them all again, while others read and write.
    Rewrite,
    /// Writes them all again, and other writers wait.
    RewriteAlone,
}

impl Effect {
    /// For people.
    pub fn what(self) -> &'static str {
        match self {
            Effect::Catalogue => "catalogue only",
            Effect::Scan => "scans the table",
            Effect::Fill => "scans the table, in batches",
            Effect::Rewrite => "rewrites the table beside others",
            Effect::RewriteAlone => "rewrites the table; writers wait",
        }
    }
}

/// One statement, as `plan` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which alteration it belongs to.
    pub what: Alteration,
    /// The SQL.
    pub sql: String,
    /// The lock that it takes, in the store's words.
    pub lock: String,
    /// What it does with the rows.
    pub effect: Effect,
    /// How long it is expected to take once it has its lock, ms.
    pub expected_ms: u64,
}

/// The statement of the backfill's batches, as `plan` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillStatement {
    /// The SQL as it is run; what is bound stands as the store's own marks.
    pub sql: String,
    /// The bounds of the batch, in words.
    pub bounds: String,
    /// The locks that one batch takes, in the store's words.
    pub lock: String,
}

/// Where a copy of some rows is made, so that a plan's times are measured and
/// the table is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlace {
    /// Of the same kind of store: another file for one that is a file, else the same database.
    pub url: String,
    /// The copy's name.
    pub table: String,
}

/// How fast a store is, measured on records as they stand, none of which was
/// changed: for one in which no copy is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Records that were read.
    pub read: u64,
    /// In so many microseconds, waits for declared capacity included.
    pub read_micros: u64,
    /// Writes that were asked for.
    pub written: u64,
    /// In so many microseconds, likewise.
    pub write_micros: u64,
    /// How, in words.
    pub how: String,
}

/// What the catalogue says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The column's declared type; `None`: it is not there.
    pub column: Option<String>,
    /// Whether the column refuses NULL.
    pub not_null: bool,
    /// Whether the write default is whole.
    pub write_default: bool,
    /// The check: `None`: not there; else whether it is valid.
    pub check: Option<bool>,
    /// The check of the declared values: `None`: not there; else whether it is valid.
    pub values: Option<bool>,
    /// Whether our table is there.
    pub sidecar: bool,
}

/// A session that holds a lock which an alteration waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// What the store calls it, for example a process number.
    pub session: String,
    /// Whose it is and what it does, without its statement's text.
    pub what: String,
    /// How long it has been at it, ms.
    pub for_ms: u64,
}

/// How one try of an alteration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Try {
    /// It is made, or was there already.
    Made {
        /// How long its lock was held, microseconds.
        held_micros: u64,
    },
    /// The lock was not given in time; nothing was changed.
    Busy(Vec<Blocker>),
    /// Rows stand in its way: nothing was changed. Some of their keys.
    Violated(Vec<Key>),
}

/// A part of the table to fill, in the store's own order; opaque to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillRange {
    /// Its number, from 0.
    pub id: u32,
    /// Where it begins.
    pub low: String,
    /// Where it ends; fixed at the start, so that a backfill does not chase inserts.
    pub high: String,
}

/// Where a backfill of a range is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FillCheckpoint {
    /// The range.
    pub range: u32,
    /// Where to go on; `None` with `done`.
    pub cursor: Option<Cursor>,
    /// Whether the range is finished.
    pub done: bool,
    /// Rows looked at, so far.
    pub read: u64,
    /// Rows filled, so far.
    pub filled: u64,
}

/// Programs that write the table themselves and leave the field out, as the
/// write default has seen them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outdated {
    /// How often: at most once for each second and session.
    pub seen: u64,
    /// How long ago the last one was, ms, by the store's own clock; `None`: there was none.
    pub last_ms_ago: Option<u64>,
}

/// Who sees to it that no record comes without the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcer {
    /// The store, whoever writes.
    Store,
    /// The gateway alone: the store takes what others write past it.
    Gateway,
}

/// A store that can take a new required field while it is used.
#[async_trait]
pub trait Evolve: Send + Sync {
    /// The kind, for example `sqlite`.
    fn kind(&self) -> &'static str;

    /// Who holds writers to the field once it is enforced.
    fn enforcer(&self) -> Enforcer {
        Enforcer::Store
    }

    /// What the catalogue says now.
    async fn look(&self) -> StoreResult<Look>;

    /// The statements of a stage in their order, from what the catalogue says
    /// now; empty when the store needs none.
    async fn statements(&self, stage: Stage) -> StoreResult<Vec<Statement>>;

    /// The alterations of a stage in their order: those that the store ever
    /// needs, whether they are made already or not.
    fn alterations(&self, stage: Stage) -> Vec<Alteration>;

    /// Whether the column is complete from the moment it is there, so that no
    /// record needs to be filled.
    fn needs_no_backfill(&self) -> bool;

    /// What outdated clients and other readers of the table must know, each a
    /// sentence. Refuses what cannot be done at all, with a hint.
    async fn hazards(&self) -> StoreResult<Vec<String>>;

    /// Tries one alteration, waiting for its lock no longer than `patience`.
    /// A standby that is further behind than `standby_lag_ms_max` counts as a
    /// blocker of what its readers would wait for.
    async fn try_to(&self, what: Alteration, patience: Duration, standby_lag_ms_max: u64) -> StoreResult<Try>;

    /// Splits the rows that are there now into at most `parts` ranges.
    async fn fill_ranges(&self, parts: usize) -> StoreResult<Vec<FillRange>>;

    /// Fills about `rows_max` rows of a range from its checkpoint on, leaving
    /// alone what has a value, and saves the next checkpoint in the same
    /// transaction. Answers that checkpoint.
    async fn fill(
        &self,
        run: &str,
        range: &FillRange,
        from: &FillCheckpoint,
        rows_max: u64,
    ) -> StoreResult<FillCheckpoint>;

    /// The checkpoints of a run.
    async fn fill_checkpoints(&self, run: &str) -> StoreResult<Vec<FillCheckpoint>>;

    /// The statement of a range's batch of about `rows_max` rows, as [`Evolve::fill`] runs it.
    async fn fill_statement(&self, range: &FillRange, rows_max: u64) -> StoreResult<FillStatement>;

    /// Copies at most `rows_max` rows of the table with its indexes, without
    /// its triggers, to a place where no such table is. Answers how many. Takes
    /// no lock on the table but a reader's.
    async fn copy(&self, to: &CopyPlace, rows_max: u64) -> StoreResult<u64>;

    /// Measures on records as they stand, where [`Evolve::copy`] makes no copy;
    /// `None`: it cannot be measured without changing one.
    async fn sample(&self) -> StoreResult<Option<Sampled>> {
        Ok(None)
    }

    /// Lets the store clean up after batches; cheap, and never in the way.
    async fn tidy(&self) -> StoreResult<()>;

    /// How many records have no value. Reads the whole table.
    async fn count_missing(&self) -> StoreResult<u64>;

    /// How many records have a value that a writer chose, or whose fill has
    /// changed since by a write.
    async fn count_chosen(&self) -> StoreResult<u64>;

    /// For each record with its value, whether a writer chose it: a value that
    /// is not the fill's and that nobody wrote since the field was added is wrong.
    async fn chosen(&self, keys: &[Key]) -> StoreResult<Vec<bool>>;

    /// Records that came without the field past the gateway; `None`: this store
    /// cannot tell, because the column itself fills it.
    async fn outdated(&self) -> StoreResult<Option<Outdated>>;

    /// Rough size.
    async fn estimate(&self) -> StoreResult<Estimate>;

    /// How the backfill weighs on the store now.
    async fn load(&self) -> StoreResult<Load>;
}

/// The waits for one alteration's lock: short ones first, and a pause between
/// two in which those who queued behind us go on. There is no last try
/// without a bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    tries: u32,
}

/// The first wait for a lock, ms: short enough that nobody behind it notices.
pub const LOCK_WAIT_MS_MIN: u64 = 5;

/// The longest wait for a lock, ms: who queues behind us waits as long.
pub const LOCK_WAIT_MS_MAX: u64 = 80;

/// The pause after a failed try, as a multiple of its wait: the time that those
/// behind us get for themselves.
const PAUSE_FACTOR: u64 = 8;

/// Tries of each wait before the next longer one.
const TRIES_PER_STEP: u32 = 6;

/// Tries in all: about half a minute. Then somebody has to look at who is in the way.
pub const LOCK_TRIES_MAX: u32 = 60;

impl Ladder {
    /// The next wait and the pause after it; `None` when it is given up.
    pub fn climb(&mut self) -> Option<(Duration, Duration)> {
        if self.tries >= LOCK_TRIES_MAX {
            return None;
        }
        let step = (self.tries / TRIES_PER_STEP).min(8);
        let wait = (LOCK_WAIT_MS_MIN << step).min(LOCK_WAIT_MS_MAX);
        self.tries += 1;
        Some((Duration::from_millis(wait), Duration::from_millis(wait * PAUSE_FACTOR)))
    }

    /// How often it was tried.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_lock_begin_short_climb_and_end() {
        let mut ladder = Ladder::default();
        let waits: Vec<_> = std::iter::from_fn(|| ladder.climb()).collect();
        assert_eq!(waits[0].0, Duration::from_millis(5));
        assert!(waits.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{waits:?}");
        assert!(waits.iter().all(|(wait, pause)| *wait <= Duration::from_millis(80) && *pause >= *wait * 8));
        assert_eq!((waits.len(), ladder.tries()), (60, 60));
        let all: Duration = waits.iter().map(|(wait, pause)| *wait + *pause).sum();
        assert!((20..40).contains(&all.as_secs()), "{all:?}");
    }
}
