//! PostgreSQL's errors as kinds with a policy.

use shearwater_core::error::{StoreError, StoreErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// Raised by the sidecar's triggers: the store is closed for writes.
pub(super) const CLOSED: &str = "SW001";

/// What a caller inside the connector may have to know of an error.
#[derive(Debug)]
pub(super) struct Failure {
    /// As the rest of the program sees it.
    pub(super) error: StoreError,
    /// PostgreSQL's code; `None` when the connection failed, or it is ours.
    pub(super) code: Option<SqlState>,
    /// What we saw ourselves.
    seen: Seen,
}

/// A reason of our own to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// None.
    Nothing,
    /// Another writer was faster.
    Race,
    /// There is a sidecar that was taken for absent.
    Sidecar,
    /// Rows as they are do not all go in.
    Misfit,
    /// A unique value is taken, perhaps by the very record that was to be made.
    Twin,
}

impl Failure {
    fn ours(what: &str, seen: Seen) -> Failure {
        let error = StoreError::new(StoreErrorKind::Unavailable, format!("PostgreSQL: {what}"))
            .with_hint("it will be tried again");
        Failure { error, code: None, seen }
    }

    /// Somebody else wrote the key at the same time.
    pub(super) fn raced() -> Failure {
        Failure::ours("another writer was faster", Seen::Race)
    }

    /// Rows as they are do not all go in; the ordinary way finds out why.
    pub(super) fn not_that_way() -> Failure {
        Failure::ours("rows do not go in as they are", Seen::Misfit)
    }

    /// Whether it is [`Failure::not_that_way`].
    pub(super) fn is_not_that_way(&self) -> bool {
        self.seen == Seen::Misfit
    }

    /// There is a sidecar that was taken for absent.
    pub(super) fn missed_sidecar() -> Failure {
        Failure::ours("a sidecar was installed meanwhile", Seen::Sidecar)
    }

    /// Whether it is [`Failure::missed_sidecar`].
    pub(super) fn is_missed_sidecar(&self) -> bool {
        self.seen == Seen::Sidecar
    }

    /// The failure of making a record that was not there. Two writers that make
    /// the same record at the same time meet at any of its unique indexes, not
    /// only at its key's: what looks like another record's value may be its own.
    pub(super) fn of_a_new_record(self) -> Failure {
        let seen = if self.is_unique() { Seen::Twin } else { self.seen };
        Failure { seen, ..self }
    }

    /// Whether the unique value may be held by the same record, which is there
    /// for whoever looks again.
    pub(super) fn may_be_a_twin(&self) -> bool {
        self.seen == Seen::Twin
    }

    /// Whether the store refuses one record, and may take others.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.error.kind, StoreErrorKind::Refused { .. })
    }

    /// The same with another error.
    pub(super) fn told_as(self, error: StoreError) -> Failure {
        Failure { error, ..self }
    }

    /// Whether a value is held by another row that must be unique.
    pub(super) fn is_unique(&self) -> bool {
        self.has(&SqlState::UNIQUE_VIOLATION) || self.has(&SqlState::EXCLUSION_VIOLATION)
    }

    /// Whether trying the whole transaction again may succeed.
    pub(super) fn is_race(&self) -> bool {
        self.has(&SqlState::T_R_SERIALIZATION_FAILURE)
            || self.has(&SqlState::T_R_DEADLOCK_DETECTED)
            || self.seen == Seen::Race
    }

    /// Whether a lock was not given in time.
    pub(super) fn is_lock_timeout(&self) -> bool {
        self.has(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether a row has NULL where none may be.
    pub(super) fn is_null_violation(&self) -> bool {
        self.has(&SqlState::CHECK_VIOLATION) || self.has(&SqlState::NOT_NULL_VIOLATION)
    }

    /// Whether a table of a statement is not there.
    pub(super) fn is_absent_table(&self) -> bool {
        self.has(&SqlState::UNDEFINED_TABLE) || self.has(&SqlState::INVALID_SCHEMA_NAME)
    }

    /// Whether a column of a statement is not there.
    pub(super) fn is_absent_column(&self) -> bool {
        self.has(&SqlState::UNDEFINED_COLUMN)
    }

    /// Whether a prepared statement no longer fits its table.
    pub(super) fn is_outdated_plan(&self) -> bool {
        self.has(&SqlState::FEATURE_NOT_SUPPORTED) && self.error.message.contains("cached plan")
    }

    fn has(&self, code: &SqlState) -> bool {
        self.code.as_ref() == Some(code)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure { error, code: None, seen: Seen::Nothing }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        failure.error
    }
}

/// An error of the driver, with what was being done.
pub(super) fn failure(doing: &str, error: &tokio_postgres::Error) -> Failure {
    let Some(told) = error.as_db_error() else {
        return Failure { error: lost(doing, error), code: None, seen: Seen::Nothing };
    };
    let (kind, hint) = classify(told);
    // A message may quote a value ("invalid input syntax for type …: \"…\""),
    // and what is after it is never needed to know what happened.
    let said = told.message().split(": \"").next().unwrap_or_default();
    let mut out = StoreError::new(kind, format!("PostgreSQL, {doing}: {said} ({})", told.code().code()));
    out.hint = hint.map(str::to_owned);
    Failure { error: out, code: Some(told.code().clone()), seen: Seen::Nothing }
}

/// As [`failure`], for who needs no more than the error.
pub(super) fn store_error(doing: &str, error: &tokio_postgres::Error) -> StoreError {
    failure(doing, error).error
}

fn lost(doing: &str, error: &tokio_postgres::Error) -> StoreError {
    use std::error::Error as _;
    let why = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    StoreError::new(StoreErrorKind::Unavailable, format!("PostgreSQL, {doing}: {why}"))
}

fn classify(told: &DbError) -> (StoreErrorKind, Option<&'static str>) {
    use StoreErrorKind as Kind;
    let code = told.code().code();
    let refused = || Kind::Refused { field: place_of(told) };
    match code {
        CLOSED => (Kind::FenceClosed, None),
        "40001" | "40P01" => (Kind::Unavailable, Some("another transaction was in the way; it will be tried again")),
        "55P03" => (Kind::Unavailable, Some("another transaction holds the lock; pg_stat_activity shows who")),
        "57014" => (Kind::Unavailable, Some("the statement took too long or was cancelled")),
        "53100" => (Kind::Full, Some("free space on the server's disk; nothing was written")),
        "53300" => (Kind::Unavailable, Some("the server has no free connection; lower connections in the URL")),
        "53400" => (Kind::Full, Some("a limit of the server's configuration is reached")),
        "25006" => (Kind::Denied, Some("the server is read-only or a standby: connect to the primary")),
        "42501" => (Kind::Denied, Some("grant the privilege to the user in the URL")),
        "28P01" | "28000" => (Kind::Denied, Some("check the user and the password in the URL, and pg_hba.conf")),
        "3D000" => (Kind::NotFound, Some("create the database, or check its name in the URL")),
        "42P01" | "42703" | "3F000" => (Kind::NotFound, Some("the table changed since it was looked at")),
        "22P05" => (refused(), Some("jsonb cannot hold U+0000 or a lone surrogate; use a json column")),
        "54000" => (refused(), Some("the value is too long for an index")),
        "0A000" if told.message().contains("during recovery") => {
            (Kind::Denied, Some("the server is a standby: connect to the primary"))
        }
        "0A000" if told.message().contains("cached plan") => {
            (Kind::Unavailable, Some("the table was changed; it will be tried again"))
        }
        // An identity or generated column refuses a value of ours.
        "428C9" => (refused(), None),
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "57" | "58" | "53" | "XX" => (Kind::Unavailable, None),
            "22" | "23" => (refused(), None),
            "28" => (Kind::Denied, None),
            "40" | "55" => (Kind::Unavailable, None),
            _ => (Kind::Unsupported, None),
        },
    }
}

/// The column or the constraint's columns that an error names.
fn place_of(told: &DbError) -> Option<String> {
    if let Some(column) = told.column() {
        return Some(column.to_owned());
    }
    // "Key (email)=(…) already exists." names the columns better than the index does.
    let key = told.detail().and_then(|detail| detail.strip_prefix("Key ("));
    let columns = key.and_then(|rest| rest.split_once(")=(")).map(|(columns, _)| unquoted(columns));
    columns.or_else(|| told.constraint().map(str::to_owned))
}

fn unquoted(columns: &str) -> String {
    match columns.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.replace("\"\"", "").contains('"') => inner.replace("\"\"", "\""),
        _ => columns.to_owned(),
    }
}

impl Failure {
    /// The failure of a commit: when the connection was lost or its process was
    /// ended, the write may have happened all the same. What a deferred
    /// constraint, a trigger or a serializable transaction refuses did not.
    pub(super) fn of_commit(self) -> Failure {
        let class = self.code.as_ref().and_then(|code| code.code().get(..2));
        match class {
            Some("0A" | "21" | "22" | "23" | "25" | "2D" | "40" | "42" | "44" | "55" | "P0" | "SW") => self,
            _ => {
                let error = StoreError { kind: StoreErrorKind::OutcomeUnknown, ..self.error };
                Failure { error, ..self }
            }
        }
    }
}

/// The error of a call that needs the sidecar.
pub(super) fn no_sidecar(table: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, format!("table {table:?} has no sidecar"))
        .with_hint("the migration is not started, or complete")
}
