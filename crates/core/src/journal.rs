//! Journal events, and the trait of the journal that keeps them.
//!
//! The journal is the one truth: every transition is appended before it is
//! acted on, and a journal that cannot be written stops the run.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Stamp;
use crate::lifecycle::{BackfillTotals, Phase, VerifyTotals};
use crate::store::{ScanRange, Side};

/// The version of the journal's format. A journal with a higher one is refused.
pub const JOURNAL_VERSION: u32 = 1;

/// What happened, in the words of the lifecycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The migration was written down.
    Created {
        /// The spec's text (secrets stay references to the environment).
        spec: String,
    },
    /// Capture is about to be installed in both stores.
    Capturing,
    /// Capture is installed.
    Captured,
    /// Members must follow this phase from now on, under this epoch.
    Entering {
        /// The phase.
        to: Phase,
        /// Its epoch, one above the last.
        epoch: u64,
    },
    /// Every live member follows, and the stores' fences stand at the epoch.
    Entered {
        /// The phase.
        to: Phase,
    },
    /// A backfill begins; its ranges are fixed now.
    BackfillStarted {
        /// The run's name.
        run: String,
        /// The ranges.
        ranges: Vec<ScanRange>,
    },
    /// A backfill reached the end of every range.
    BackfillFinished {
        /// The run's name.
        run: String,
        /// What it did.
        totals: BackfillTotals,
    },
    /// A verification finished.
    Verified {
        /// What it found.
        totals: VerifyTotals,
    },
    /// A repair finished.
    Repaired {
        /// Records rewritten or deleted.
        repaired: u64,
    },
    /// Reads of this part of the keys come from the target.
    RampSet {
        /// 0–100.
        percent: u8,
    },
    /// A change of authority begins; next, the authority is closed.
    SwitchBegan {
        /// From here.
        from: Side,
        /// To there.
        to: Side,
        /// The new epoch.
        epoch: u64,
        /// The longest pause of writes, ms.
        budget_ms: u64,
        /// The pause that was predicted, ms.
        predicted_ms: u64,
    },
    /// The follower has everything; from here on the new store is the authority.
    Switched {
        /// Keys drained while the writes were held.
        drained: u64,
    },
    /// The new authority is open.
    Opened {
        /// How long writes were held, microseconds.
        pause_micros: u64,
    },
    /// The change of authority was given up; the old authority is open again.
    SwitchAborted {
        /// Why.
        reason: String,
        /// The new epoch.
        epoch: u64,
    },
    /// A step of a `require`.
    Require {
        /// The step.
        #[serde(flatten)]
        step: crate::lifecycle::require::Step,
    },
    /// Background work rests.
    Paused {
        /// Who or why.
        reason: String,
    },
    /// It goes on.
    Resumed,
    /// What only an `absorb` has.
    Absorb {
        /// What happened.
        step: crate::lifecycle::absorb::Step,
    },
    /// An activity stopped.
    Failed {
        /// Why, without row values.
        reason: String,
    },
}

impl Event {
    /// The event's name, as the journal writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Created { .. } => "created",
            Event::Capturing => "capturing",
            Event::Captured => "captured",
            Event::Entering { .. } => "entering",
            Event::Entered { .. } => "entered",
            Event::BackfillStarted { .. } => "backfill-started",
            Event::BackfillFinished { .. } => "backfill-finished",
            Event::Verified { .. } => "verified",
            Event::Repaired { .. } => "repaired",
            Event::RampSet { .. } => "ramp-set",
            Event::SwitchBegan { .. } => "switch-began",
            Event::Switched { .. } => "switched",
            Event::Opened { .. } => "opened",
            Event::SwitchAborted { .. } => "switch-aborted",
            Event::Require { step } => step.name(),
            Event::Paused { .. } => "paused",
            Event::Resumed => "resumed",
            Event::Absorb { step } => step.name(),
            Event::Failed { .. } => "failed",
        }
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number in this migration, from 1.
    pub seq: u64,
    /// When it was appended, ms since 1970.
    pub at_ms: i64,
    /// Who appended it: a member's name.
    pub actor: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A process that serves or works, with its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its unique name.
    pub id: String,
    /// The epoch that it acts on; it has no request in flight under an older one.
    pub epoch: u64,
    /// When its lease ends, ms since 1970.
    pub lease_until_ms: i64,
}

/// Something that an operator wants done; whoever is the coordinator does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Command {
    /// To the next phase, if the gates are open.
    Advance,
    /// Reads of this part of the keys from the target.
    Ramp {
        /// 0–100.
        percent: u8,
    },
    /// Back to the source, from any phase before complete.
    Rollback,
    /// Give the migration up in `planned`, removing the sidecars.
    Withdraw,
    /// Finish: remove sidecars and reserved fields. The last exit is behind.
    Complete,
    /// Run the backfill (again).
    Backfill,
    /// Run a verification.
    Verify,
    /// Repair what the last verification found.
    Repair {
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Let background work rest.
    Pause,
    /// Let it go on.
    Resume,
    /// Try the dead letters again.
    RetryDeadLetters,
    /// Of an absorb: undo deactivations.
    UndoDeactivations {
        /// The records' keys in the source, as text; `None`: all.
        keys: Option<Vec<String>>,
    },
}

/// A command with its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its number.
    pub id: u64,
    /// What is wanted.
    pub command: Command,
    /// When it was asked for, ms since 1970.
    pub at_ms: i64,
    /// Its end: `Ok` with a JSON report, or `Err` with a refusal; `None` while open.
    pub outcome: Option<Result<serde_json::Value, Refusal>>,
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The stable code, for example `gate/dead-letters`.
    pub code: String,
    /// What stands in the way.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
}

/// A record that mapping or the follower refused, kept with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The record's key as the authority's shape has it, in key text form.
    pub key: String,
    /// Which store is the authority for it.
    pub authority: Side,
    /// The stamp of the version that was refused.
    pub stamp: (u64, u64),
    /// The stable code of the reason.
    pub code: String,
    /// The reason, without row values.
    pub reason: String,
    /// When it was refused last, ms since 1970.
    pub at_ms: i64,
    /// How often it was tried.
    pub attempts: u64,
}

impl DeadLetter {
    /// The stamp of the refused version.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.stamp.0, self.stamp.1)
    }
}

/// What the journal could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Somebody else appended first; read on and decide again.
    #[error("the journal has moved on to entry {at}")]
    Conflict {
        /// The last entry there.
        at: u64,
    },
    /// The migration is not in this journal.
    #[error("there is no migration {0:?} in this journal")]
    Unknown(String),
    /// A migration of this name is there already.
    #[error("migration {0:?} is in this journal already")]
    Exists(String),
    /// Written by a newer Shearwater.
    #[error("this journal has version {found}; this Shearwater reads up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The highest that we read.
        known: u32,
    },
    /// There is no journal at this place.
    #[error("there is no journal {0}")]
    Absent(String),
    /// Could not read or write now.
    #[error("the journal cannot be used: {0}")]
    Unavailable(String),
    /// The journal's server cannot be reached, or refuses.
    #[error("the journal cannot be used: {why}")]
    Server {
        /// What happened, without secrets.
        why: String,
        /// What the reader can do.
        hint: String,
    },
    /// It is not a journal, or is damaged.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

/// One migration's journal, with what members share beside it.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The migration's name.
    fn migration(&self) -> &str;

    /// Appends events after entry `after_seq`, all or none, durable when it
    /// returns. [`JournalError::Conflict`] when that is not the last entry.
    /// Answers the last sequence.
    async fn append(&self, after_seq: u64, actor: &str, events: &[Event]) -> Result<u64, JournalError>;

    /// Entries above `after_seq`, in order.
    async fn read(&self, after_seq: u64, entries_max: usize) -> Result<Vec<Entry>, JournalError>;

    /// The last sequence, cheap enough to be asked every few milliseconds.
    async fn last_seq(&self) -> Result<u64, JournalError>;

    /// Writes or renews a member's lease: from now for `ttl_ms`.
    async fn renew(&self, member: &str, epoch: u64, ttl_ms: u64) -> Result<(), JournalError>;

    /// Ends a member's lease.
    async fn leave(&self, member: &str) -> Result<(), JournalError>;

    /// Members whose lease has not ended.
    async fn members(&self) -> Result<Vec<Member>, JournalError>;

    /// Takes or keeps a named lease (for example `coordinator`); false when
    /// another holder's has not ended.
    async fn acquire(&self, lease: &str, holder: &str, ttl_ms: u64) -> Result<bool, JournalError>;

    /// Gives a named lease up.
    async fn release(&self, lease: &str, holder: &str) -> Result<(), JournalError>;

    /// Asks for a command; answers the request's number.
    async fn ask(&self, command: Command) -> Result<u64, JournalError>;

    /// Requests without an outcome, oldest first.
    async fn open_requests(&self) -> Result<Vec<Request>, JournalError>;

    /// One request.
    async fn request(&self, id: u64) -> Result<Option<Request>, JournalError>;

    /// Ends a request.
    async fn finish(&self, id: u64, outcome: Result<serde_json::Value, Refusal>) -> Result<(), JournalError>;

    /// Keeps a dead letter (replaces an older one of the same key).
    async fn bury(&self, letter: DeadLetter) -> Result<(), JournalError>;

    /// Removes a dead letter; false when there was none.
    async fn resolve(&self, authority: Side, key: &str) -> Result<bool, JournalError>;

    /// Dead letters, ordered by key, after `after_key`.
    async fn dead_letters(&self, after_key: Option<&str>, letters_max: usize) -> Result<Vec<DeadLetter>, JournalError>;

    /// How many dead letters there are.
    async fn dead_letter_count(&self) -> Result<u64, JournalError>;

    /// A small named text that members share (for example the page-token key,
    /// progress, counts per API version); `None` when it was never written.
    async fn note(&self, name: &str) -> Result<Option<String>, JournalError>;

    /// Writes a note.
    async fn set_note(&self, name: &str, text: &str) -> Result<(), JournalError>;

    /// Writes a note if it is not there, and answers what is there then.
    async fn note_once(&self, name: &str, text: &str) -> Result<String, JournalError>;
}
