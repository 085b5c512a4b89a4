//! What can go wrong in a store, as kinds with a policy.

use crate::Stamp;

/// What a caller may do about a store's error. The match on it never has a
/// `_` arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Could not now; may work later (connection, lock, timeout before any effect).
    Unavailable,
    /// The write may or may not have happened; the mark and the idempotency row tell.
    OutcomeUnknown,
    /// The store is closed for writes: its authority moved or is moving.
    FenceClosed,
    /// The caller's epoch is older than the store's.
    EpochStale {
        /// The store's epoch.
        current: u64,
    },
    /// A precondition ([`crate::store::Expect`]) did not hold; nothing was written.
    ExpectFailed {
        /// The place of the change in the write.
        change: usize,
        /// What was there: the record's stamp when it exists.
        found: Option<Stamp>,
        /// Whether a record exists under the key.
        exists: bool,
    },
    /// The store refuses this record and always will as it is (constraint,
    /// type, length). `field` names the column where the store tells it.
    Refused {
        /// The column or constraint.
        field: Option<String>,
    },
    /// An idempotency key came again with another request.
    IdempotencyReused,
    /// The sidecar is not installed, or is of another version.
    Sidecar,
    /// The store, table or file is not there, or is not what the spec says.
    NotFound,
    /// Credentials or privileges are missing.
    Denied,
    /// The disk or the quota is full.
    Full,
    /// Data in the store that cannot be read as the layout says.
    Corrupt,
    /// A query that this store cannot answer.
    Unsupported,
}

/// An error from a store. Messages carry no row values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// The kind, which decides the policy.
    pub kind: StoreErrorKind,
    /// What happened and where.
    pub message: String,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

/// What the engine does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Try again with pauses.
    Retry,
    /// Read the route again, then try on the store that is the authority now.
    Reroute,
    /// Keep the record as a dead letter.
    DeadLetter,
    /// Stop and tell.
    Stop,
}

impl StoreError {
    /// An error of a kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError { kind, message: message.into(), hint: None }
    }

    /// The same error with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> StoreError {
        self.hint = Some(hint.into());
        self
    }

    /// The stable code, for example `store/unavailable`.
    pub fn code(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::Unavailable => "store/unavailable",
            StoreErrorKind::OutcomeUnknown => "store/outcome-unknown",
            StoreErrorKind::FenceClosed => "store/fence-closed",
            StoreErrorKind::EpochStale { .. } => "store/epoch-stale",
            StoreErrorKind::ExpectFailed { .. } => "store/expect-failed",
            StoreErrorKind::Refused { .. } => "store/refused",
            StoreErrorKind::IdempotencyReused => "store/idempotency-reused",
            StoreErrorKind::Sidecar => "store/sidecar",
            StoreErrorKind::NotFound => "store/not-found",
            StoreErrorKind::Denied => "store/denied",
            StoreErrorKind::Full => "store/full",
            StoreErrorKind::Corrupt => "store/corrupt",
            StoreErrorKind::Unsupported => "store/unsupported",
        }
    }

    /// What to do about it.
    pub fn policy(&self) -> Policy {
        match self.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown => Policy::Retry,
            StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => Policy::Reroute,
            StoreErrorKind::Refused { .. } | StoreErrorKind::Corrupt => Policy::DeadLetter,
            StoreErrorKind::ExpectFailed { .. }
            | StoreErrorKind::IdempotencyReused
            | StoreErrorKind::Sidecar
            | StoreErrorKind::NotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Full
            | StoreErrorKind::Unsupported => Policy::Stop,
        }
    }
}

/// The result of a store's call.
pub type StoreResult<T> = Result<T, StoreError>;
