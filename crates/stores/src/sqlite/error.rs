//! SQLite's errors as kinds with a policy.

use rusqlite::ffi;
use shearwater_core::error::{StoreError, StoreErrorKind};

/// What the message of the fence's trigger begins with.
pub(super) const RAISE_PREFIX: &str = "shearwater:";

/// A store's error from SQLite's, with what was being done. SQLite's own
/// messages name tables and columns and never hold row values.
pub(super) fn store_error(doing: &str, error: rusqlite::Error) -> StoreError {
    let (code, text) = match &error {
        rusqlite::Error::SqliteFailure(code, text) => (*code, text.clone().unwrap_or_else(|| code.to_string())),
        rusqlite::Error::SqlInputError { error, msg, .. } => (*error, msg.clone()),
        other => return StoreError::new(StoreErrorKind::Corrupt, format!("SQLite, {doing}: {other}")),
    };
    let (kind, hint) = classify(code, &text);
    let error = StoreError::new(kind, format!("SQLite, {doing}: {text}"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn classify(code: ffi::Error, text: &str) -> (StoreErrorKind, Option<&'static str>) {
    use ffi::ErrorCode as Code;
    match code.code {
        Code::DatabaseBusy | Code::DatabaseLocked => {
            (StoreErrorKind::Unavailable, Some("another process holds the file's lock; it will be tried again"))
        }
        Code::ConstraintViolation if text.starts_with(RAISE_PREFIX) => (StoreErrorKind::FenceClosed, None),
        Code::ConstraintViolation => (StoreErrorKind::Refused { field: column_of(text) }, None),
        Code::TypeMismatch => {
            (StoreErrorKind::Refused { field: None }, Some("an INTEGER PRIMARY KEY column takes integers only"))
        }
        Code::TooBig => (StoreErrorKind::Refused { field: None }, Some("the record is larger than SQLite allows")),
        Code::DiskFull => (StoreErrorKind::Full, Some("free space on the disk; nothing was written")),
        Code::CannotOpen => (StoreErrorKind::NotFound, Some("check the path and that its folder exists")),
        Code::NotADatabase => (StoreErrorKind::NotFound, Some("the file is not a SQLite database; check the path")),
        Code::DatabaseCorrupt => {
            (StoreErrorKind::NotFound, Some("the file is damaged; PRAGMA integrity_check says how, restore a backup"))
        }
        Code::ReadOnly => (StoreErrorKind::Denied, Some("the file or its folder cannot be written by this user")),
        Code::PermissionDenied | Code::AuthorizationForStatementDenied => {
            (StoreErrorKind::Denied, Some("the file cannot be read by this user"))
        }
        Code::SystemIoFailure | Code::OutOfMemory | Code::OperationInterrupted | Code::OperationAborted => {
            (StoreErrorKind::Unavailable, None)
        }
        Code::SchemaChanged | Code::FileLockingProtocolFailed => (StoreErrorKind::Unavailable, None),
        _ if text.starts_with("no such table") || text.starts_with("no such column") => {
            (StoreErrorKind::NotFound, None)
        }
        _ => (StoreErrorKind::Unsupported, None),
    }
}

/// Whether this is a violation of UNIQUE or of a primary key.
pub(super) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(code, _)
        if matches!(code.extended_code, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID))
}

/// The columns or the constraint that a violation names:
/// `UNIQUE constraint failed: t.a, t.b` gives `a, b`.
fn column_of(text: &str) -> Option<String> {
    if let Some((_, column)) = text.split_once(" column ") {
        return Some(column.rsplit('.').next().unwrap_or(column).to_owned());
    }
    let (_, names) = text.split_once("constraint failed: ")?;
    let names: Vec<&str> = names.split(", ").map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    Some(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_in_messages() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(column_of(text).as_deref(), expect, "{text}");
        check("UNIQUE constraint failed: users.email", Some("email"));
        check("UNIQUE constraint failed: users.a, users.b", Some("a, b"));
        check("NOT NULL constraint failed: users.email", Some("email"));
        check("CHECK constraint failed: positive", Some("positive"));
        check("cannot store TEXT value in INTEGER column users.age", Some("age"));
        check("FOREIGN KEY constraint failed", None);
    }

    #[test]
    fn kinds() {
        let check = |code: i32, text: &str, expect: StoreErrorKind| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text.to_owned()));
            let found = store_error("testing", error);
            assert_eq!(found.kind, expect, "{code}");
            assert!(found.message.contains("testing") && found.message.contains(text), "{found}");
        };
        check(ffi::SQLITE_BUSY, "database is locked", StoreErrorKind::Unavailable);
        check(ffi::SQLITE_FULL, "database or disk is full", StoreErrorKind::Full);
        check(ffi::SQLITE_READONLY, "attempt to write a readonly database", StoreErrorKind::Denied);
        check(ffi::SQLITE_NOTADB, "file is not a database", StoreErrorKind::NotFound);
        check(ffi::SQLITE_CANTOPEN, "unable to open database file", StoreErrorKind::NotFound);
        check(ffi::SQLITE_CONSTRAINT_TRIGGER, "shearwater: closed", StoreErrorKind::FenceClosed);
        check(
            ffi::SQLITE_CONSTRAINT_UNIQUE,
            "UNIQUE constraint failed: t.email",
            StoreErrorKind::Refused { field: Some("email".into()) },
        );
    }
}
