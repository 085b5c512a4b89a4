//! MongoDB's errors as kinds with a policy.

use mongodb::bson::{Bson, Document};
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};
use shearwater_core::error::{StoreError, StoreErrorKind};

/// Numbers of the server's errors.
pub(super) mod code {
    pub(in crate::mongodb) const UNAUTHORIZED: i32 = 13;
    pub(in crate::mongodb) const AUTHENTICATION_FAILED: i32 = 18;
    pub(in crate::mongodb) const ILLEGAL_OPERATION: i32 = 20;
    pub(in crate::mongodb) const LOCK_TIMEOUT: i32 = 24;
    pub(in crate::mongodb) const NAMESPACE_NOT_FOUND: i32 = 26;
    pub(in crate::mongodb) const INDEX_NOT_FOUND: i32 = 27;
    pub(in crate::mongodb) const NAMESPACE_EXISTS: i32 = 48;
    pub(in crate::mongodb) const MAX_TIME_EXPIRED: i32 = 50;
    pub(in crate::mongodb) const WRITE_CONCERN: [i32; 2] = [64, 91];
    pub(in crate::mongodb) const INVALID_NAMESPACE: i32 = 73;
    pub(in crate::mongodb) const WRITE_CONFLICT: i32 = 112;
    pub(in crate::mongodb) const VALIDATION: i32 = 121;
    pub(in crate::mongodb) const NO_SUCH_TRANSACTION: i32 = 251;
    pub(in crate::mongodb) const DUPLICATE_KEY: i32 = 11_000;
    /// Somebody uses the collection, or builds an index on it.
    pub(in crate::mongodb) const IS_IN_USE: [i32; 4] = [LOCK_TIMEOUT, MAX_TIME_EXPIRED, WRITE_CONFLICT, 12_587];
    pub(in crate::mongodb) const OUT_OF_DISK: i32 = 14_031;
}

/// What a document is refused for, and always will be: its size, its names,
/// its place in an index.
const REFUSALS: [i32; 14] = [2, 9, 14, 52, 55, 56, 57, 66, 16_755, 17_280, 17_419, 17_420, 10_334, 40_353];

/// The server is not, or no longer, the one that takes this, or is going.
const UNAVAILABLE: [i32; 13] = [6, 7, 89, 91, 133, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435];

/// An error with what decides whether to try again.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// The server's number; 0: not the server's.
    pub(super) code: i32,
    pub(super) race: Race,
}

/// Why an answer does not count: another primary was elected since it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elected;

/// Whether another attempt is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Race {
    /// Something else went wrong.
    None,
    /// It lost to another one, and nothing of it happened.
    Lost,
}

pub(super) type Tried<T> = Result<T, Failure>;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure { error, code: 0, race: Race::None }
    }
}

impl Failure {
    /// Somebody else was first; run again.
    pub(super) fn lost_race() -> Failure {
        let error = StoreError::new(StoreErrorKind::Unavailable, "MongoDB: other writers were always first")
            .with_hint("it will be tried again");
        Failure { error, code: code::WRITE_CONFLICT, race: Race::Lost }
    }

    /// Of an operation that may be done twice without harm.
    pub(super) fn of_a_repeatable(mut self) -> Failure {
        if self.error.kind == StoreErrorKind::OutcomeUnknown {
            self.error.kind = StoreErrorKind::Unavailable;
        }
        self
    }
}

/// The failure of a driver's error. `what` says what was being done.
pub(super) fn failure(what: &str, error: &Error) -> Failure {
    let transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
    let unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
    let mut failure = match &*error.kind {
        ErrorKind::Command(error) => of_code(what, error.code, &error.code_name),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => concern_failed(what, error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => {
            of_code(what, error.code, error.code_name.as_deref().unwrap_or_default())
        }
        ErrorKind::Authentication { .. } => denied(what, "the server does not accept this account"),
        ErrorKind::SessionsNotSupported => no_set(what).into(),
        ErrorKind::ServerSelection { .. } => unavailable(what, "no server that takes it can be reached"),
        ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) => {
            StoreError::new(StoreErrorKind::Corrupt, format!("MongoDB: {what}: the answer cannot be read")).into()
        }
        ErrorKind::Custom(_) => unavailable(what, "a primary was elected meanwhile"),
        // It may have happened before the connection was lost.
        _ => {
            StoreError::new(StoreErrorKind::OutcomeUnknown, format!("MongoDB: {what}: the connection was lost")).into()
        }
    };
    if transient && !unknown {
        failure.race = Race::Lost;
        if failure.error.kind == StoreErrorKind::OutcomeUnknown {
            failure.error.kind = StoreErrorKind::Unavailable;
        }
    }
    if unknown {
        failure.race = Race::None;
        failure.error = outcome_unknown(what);
    }
    failure
}

pub(super) fn outcome_unknown(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::OutcomeUnknown, format!("MongoDB: {what}: no answer says whether it was done"))
        .with_hint("the mark and the idempotency key tell; read the record again")
}

fn concern_failed(what: &str, code: i32) -> Failure {
    let error = outcome_unknown(what).with_hint("too few servers of the replica set have confirmed it in time");
    Failure { error, code, race: Race::None }
}

fn unavailable(what: &str, why: &str) -> Failure {
    StoreError::new(StoreErrorKind::Unavailable, format!("MongoDB: {what}: {why}"))
        .with_hint("check that the servers run, that they have a primary, and the URL")
        .into()
}

fn denied(what: &str, why: &str) -> Failure {
    StoreError::new(StoreErrorKind::Denied, format!("MongoDB: {what}: {why}"))
        .with_hint("check the account, its password and its authSource; it needs readWrite on the database")
        .into()
}

/// A standalone server where a replica set is needed.
pub(super) fn no_set(what: &str) -> StoreError {
    let what = format!("MongoDB: {what} needs a replica set; this is a standalone server, which has no transactions");
    StoreError::new(StoreErrorKind::Refused { field: None }, what)
        .with_hint("start mongod with --replSet NAME and run rs.initiate() once: a replica set of one is enough")
}

fn of_code(what: &str, number: i32, name: &str) -> Failure {
    let told = |kind, why: &str| StoreError::new(kind, format!("MongoDB: {what}: {why}"));
    let named = || format!("{name} ({number})");
    let error = match number {
        code::UNAUTHORIZED => denied(what, "the account lacks a privilege").error,
        code::AUTHENTICATION_FAILED => denied(what, "the server does not accept this account").error,
        code::ILLEGAL_OPERATION => no_set(what),
        code::NAMESPACE_NOT_FOUND => told(StoreErrorKind::NotFound, "the collection is not there"),
        code::INVALID_NAMESPACE => told(StoreErrorKind::Unsupported, "MongoDB has no collection of this name"),
        code::MAX_TIME_EXPIRED => told(StoreErrorKind::Unavailable, "it took too long"),
        code::WRITE_CONFLICT | code::LOCK_TIMEOUT | code::NO_SUCH_TRANSACTION => Failure::lost_race().error,
        code::OUT_OF_DISK => told(StoreErrorKind::Full, "the disk is full"),
        code::VALIDATION => told(StoreErrorKind::Refused { field: None }, "the collection's validator refuses it"),
        code::DUPLICATE_KEY => told(StoreErrorKind::Refused { field: None }, "a unique index has this value already"),
        _ if UNAVAILABLE.contains(&number) => told(StoreErrorKind::Unavailable, &named()),
        _ if REFUSALS.contains(&number) => told(StoreErrorKind::Refused { field: None }, &named()),
        _ => told(StoreErrorKind::Unsupported, &named()),
    };
    let lost = matches!(number, code::WRITE_CONFLICT | code::LOCK_TIMEOUT | code::NO_SUCH_TRANSACTION);
    Failure { error, code: number, race: if lost { Race::Lost } else { Race::None } }
}

/// One refused part of a command that writes several.
#[derive(Clone, Debug)]
pub(super) struct PartError {
    /// Which part.
    pub(super) index: usize,
    /// Whether it is the key that is taken.
    pub(super) key_taken: bool,
    pub(super) failure: Failure,
}

/// The parts of a command that were refused; `Err`: the command as a whole has
/// not been confirmed.
pub(super) fn part_errors(what: &str, answer: &Document) -> Tried<Vec<PartError>> {
    let mut parts = Vec::new();
    for error in answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
        let number = error.get_i32("code").unwrap_or_default();
        let mut failure = of_code(what, number, "refused");
        let pattern = error.get_document("keyPattern").ok();
        let fields: Vec<&str> = pattern.into_iter().flat_map(Document::keys).map(String::as_str).collect();
        if number == code::DUPLICATE_KEY && !fields.is_empty() {
            failure.error.kind = StoreErrorKind::Refused { field: Some(fields.join(", ")) };
        }
        let index = error.get_i32("index").unwrap_or_default().max(0) as usize;
        parts.push(PartError { index, key_taken: number == code::DUPLICATE_KEY && fields == ["_id"], failure });
    }
    if let Ok(concern) = answer.get_document("writeConcernError") {
        let number = concern.get_i32("code").unwrap_or_default();
        return Err(match code::WRITE_CONCERN.contains(&number) {
            true => concern_failed(what, number),
            false => Failure { error: outcome_unknown(what), ..of_code(what, number, "") },
        });
    }
    Ok(parts)
}
