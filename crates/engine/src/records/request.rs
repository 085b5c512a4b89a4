//! What clients ask for and get, in the words of the data path.

use shearwater_core::query::{Filter, Keyset, OrderTerm};
use shearwater_core::store::Side;
use shearwater_core::{Document, Key, Stamp};

/// The shape that a client speaks: v1 is the source's, v2 the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The source's.
    V1,
    /// The target's.
    V2,
}

impl Shape {
    /// The store whose shape this is.
    pub fn side(self) -> Side {
        match self {
            Shape::V1 => Side::Source,
            Shape::V2 => Side::Target,
        }
    }
}

/// The version of a record, for ETags: equal from either store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Etag {
    /// The authority's stamp.
    Stamp(Stamp),
    /// A hash of the content, where no sidecar is installed (before the start, after complete).
    Content(u128),
}

/// A record as a client gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    /// Its key in the client's shape.
    pub key: Key,
    /// The record in the client's shape.
    pub record: Document,
    /// Its version.
    pub etag: Etag,
}

/// What a client wants changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A new record; refused when the key exists.
    Insert(Document),
    /// The whole record, created when it is not there. Fields that the
    /// client's shape does not have are kept (H13). When the record's key
    /// fields name another key, the record moves to it in one atomic write.
    Replace(Document),
    /// A new record; one that is there is left as it is.
    InsertIfAbsent(Document),
    /// A new record; one that is there takes the fields that are sent, each as
    /// a whole, and keeps the others.
    InsertOrSet(Document),
    /// JSON merge patch (RFC 7396); refused when there is no record.
    MergePatch(Document),
    /// Delete; refused when there is no record.
    Delete,
}

/// A client's precondition.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Condition {
    /// None.
    #[default]
    None,
    /// `If-Match` with these versions.
    Match(Vec<Etag>),
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
    /// The record, in the client's shape, matches a filter. One that does not
    /// (any more), or is not there, is left alone: that is no failure.
    Matching(Filter),
}

/// One change by a client, in its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientChange {
    /// The key, in the client's shape.
    pub key: Key,
    /// What to do.
    pub edit: Edit,
    /// Under which condition.
    pub condition: Condition,
}

/// A client's `Idempotency-Key` with the hash of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, scoped by the gateway to entity and version.
    pub key: String,
    /// Hash of method, path and body.
    pub request_hash: u128,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct WriteDone {
    /// Each change's record afterwards in the client's shape; `None` for a
    /// delete, and for a record that was left alone.
    pub records: Vec<Option<Got>>,
    /// What each delete took away; `None` for other changes, and in an answer
    /// that is given again.
    pub deleted: Vec<Option<Got>>,
    /// Whether each change created its record.
    pub created: Vec<bool>,
    /// Whether this is the answer of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// Whether the follower has it too.
    pub followed: bool,
    /// What became of the request's idempotency key.
    pub key_kept: KeyKept,
}

/// What became of a request's idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyKept {
    /// There was none, or nothing was changed that it could stand beside.
    #[default]
    NotAsked,
    /// It is kept in the authority, beside what the request changed.
    Kept,
    /// The store has no place for it (before the start, after complete): it
    /// kept requests of this process apart while this one was on its way, and
    /// a later retry is a new request.
    NoPlace,
}

/// A list as a client asks for it; paths are of its shape.
#[derive(Clone, Debug)]
pub struct ListAsk {
    /// The shape.
    pub shape: Shape,
    /// Which records.
    pub filter: Filter,
    /// In which order.
    pub order: Vec<OrderTerm>,
    /// Only records after this place (key and values of the client's shape).
    pub after: Option<Keyset>,
    /// Records in the page.
    pub limit: usize,
}

/// A page of a list in the client's shape.
#[derive(Clone, Debug)]
pub struct ListGot {
    /// The records.
    pub records: Vec<Got>,
    /// The place of the last one when there are more after it.
    pub next: Option<Keyset>,
}

/// A record that a list leaves out because the client's shape cannot show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it lives.
    pub side: Side,
    /// Its key there.
    pub key: Key,
    /// The mapping's code.
    pub code: &'static str,
}

/// Why a client's request was not done. The gateway makes a problem document of it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ServeError {
    /// No record under the key.
    #[error("no record has this key")]
    NotFound,
    /// An insert found a record.
    #[error("a record with this key exists")]
    Exists,
    /// A precondition did not hold.
    #[error("the record has another version")]
    PreconditionFailed {
        /// Its version now, if it exists.
        current: Option<Etag>,
    },
    /// The record cannot be held (mapping, constraint, type); field and reason.
    #[error("{field}: {message}")]
    Unprocessable {
        /// The stable code.
        code: String,
        /// Which field.
        field: String,
        /// What is wrong.
        message: String,
        /// What the client can do.
        hint: Option<String>,
    },
    /// The idempotency key was used with another request.
    #[error("this idempotency key was used with another request")]
    IdempotencyReused,
    /// A request with the same idempotency key is on its way.
    #[error("a request with this idempotency key is in flight")]
    IdempotencyInFlight,
    /// Try again: writes are held, a store is away, or the lease has ended.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to try again, ms.
        retry_after_ms: u64,
    },
    /// The write may or may not have happened.
    #[error("the outcome of the write is not known")]
    OutcomeUnknown,
    /// Too much contention on one record.
    #[error("too many others write this record")]
    Contended,
    /// Something is broken in a store; the message has no row values.
    #[error("{0}")]
    Broken(String),
}
