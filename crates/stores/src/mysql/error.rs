//! The server's errors as kinds with a policy.
//!
//! The server's texts quote row values in many places, so messages are made
//! here from the error's number and the names in its text.

use mysql_async::Error;
use shearwater_core::error::{StoreError, StoreErrorKind};

/// The error number of the fence's triggers: far from both servers' own.
pub(super) const CLOSED_ERRNO: u16 = 31_990;

/// A table that is not there.
pub(super) const NO_SUCH_TABLE: u16 = 1146;
/// A database that is not there.
pub(super) const NO_SUCH_DATABASE: u16 = 1049;
/// A column that is not there.
pub(super) const NO_SUCH_COLUMN: u16 = 1054;
/// Triggers are for administrators only, the binary log being on.
pub(super) const NOT_TRUSTED: u16 = 1419;
const DUPLICATE: u16 = 1062;
const DEADLOCK: u16 = 1213;
const LOCK_TIMEOUT: u16 = 1205;
const DEFINITION_CHANGED: u16 = 1412;

/// Stands for the server's number where a connection was lost before anything
/// was asked that could change something.
const STALE: u16 = u16::MAX;

/// A statement that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What to tell.
    pub(super) error: StoreError,
    /// The server's number; 0: the connection or the driver failed.
    pub(super) code: u16,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        failure.error
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure { error, code: 0 }
    }
}

/// The result of a statement.
pub(super) type Tried<T> = Result<T, Failure>;

impl Failure {
    /// Whether a unique index already holds the value.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code == DUPLICATE
    }

    /// A transaction that found something changed under it.
    pub(super) fn lost_race() -> Failure {
        let error =
            StoreError::new(StoreErrorKind::Unavailable, "MySQL: other transactions keep changing the same records");
        Failure { error, code: DEADLOCK }
    }

    /// Whether the transaction lost to another one and may simply be run again.
    pub(super) fn is_lost_race(&self) -> bool {
        matches!(self.code, DEADLOCK | DEFINITION_CHANGED)
    }

    /// Whether the connection is gone: nothing more can be asked on it.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self.code {
            0 => self.error.kind == StoreErrorKind::Unavailable,
            1053 | 1077..=1080 | 1152 | 1158..=1161 | 1184 | 1927 | 2006 | 2013 | 2055 | 4031 => true,
            _ => false,
        }
    }

    /// The failure of what may simply be asked again on another connection,
    /// when this one is gone.
    pub(super) fn of_a_repeatable(self) -> Failure {
        if self.is_lost_connection() { Failure { code: STALE, ..self } } else { self }
    }

    /// Whether another connection may do.
    pub(super) fn is_stale(&self) -> bool {
        self.code == STALE
    }

    /// Whether one record is to blame, so that the others may go in.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.error.kind, StoreErrorKind::Refused { .. })
    }
}

/// An error of the driver or the server, with what was being done.
pub(super) fn failure(doing: &str, error: &Error) -> Failure {
    let server = match error {
        Error::Server(server) => server,
        Error::Io(error) => {
            let error = StoreError::new(StoreErrorKind::Unavailable, format!("MySQL, {doing}: {error}"));
            return Failure { error, code: 0 };
        }
        Error::Driver(mysql_async::DriverError::PacketTooLarge) => return too_large(doing).into(),
        other => {
            // The driver's own errors may quote values; their kind says enough.
            let what = driver_word(other);
            let error = StoreError::new(StoreErrorKind::Unavailable, format!("MySQL, {doing}: {what}"));
            return Failure { error, code: 0 };
        }
    };
    let (kind, hint) = classify(server.code, &server.message);
    let text = match &kind {
        StoreErrorKind::Refused { field } => refusal_text(server.code, field.as_deref()),
        _ => server.message.clone(),
    };
    let mut error = StoreError::new(kind, format!("MySQL, {doing}: {text} (error {})", server.code));
    error.hint = hint.map(str::to_owned);
    Failure { error, code: server.code }
}

fn driver_word(error: &Error) -> &'static str {
    use mysql_async::DriverError as Driver;
    match error {
        Error::Driver(Driver::ConnectionClosed) => "the connection is closed",
        Error::Driver(Driver::NoClientSslFlagFromServer) => {
            "the server offers no TLS; say tls=off in the URL to go without"
        }
        Error::Driver(Driver::UnknownAuthPlugin { .. }) => "the server asks for a way to log in that is not known",
        Error::Driver(_) => "the driver cannot go on with this connection",
        _ => "the connection failed",
    }
}

fn too_large(doing: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused { field: None },
        format!("MySQL, {doing}: the record is larger than the server takes in one packet"),
    )
    .with_hint("raise max_allowed_packet on the server")
}

fn classify(code: u16, text: &str) -> (StoreErrorKind, Option<&'static str>) {
    let refused = |field: Option<String>| StoreErrorKind::Refused { field };
    match code {
        CLOSED_ERRNO => (StoreErrorKind::FenceClosed, None),
        DUPLICATE | 1586 | 1022 => (refused(after_last(text, "for key ")), None),
        1048 | 1364 | 1263 => (refused(first_quoted(text)), None),
        1406 | 1264 | 1265 | 1366 | 1292 | 1411 | 1416 | 1441 | 1906 | 3105 => {
            (refused(after_last(text, "column ")), None)
        }
        3819 | 4025 => (refused(first_quoted(text)), None),
        1451 | 1452 | 1216 | 1217 => (refused(foreign_key(text)), Some("a foreign key of the table refuses it")),
        1118 | 1153 | 1300 | 1690 | 3140 => (refused(None), None),
        DEADLOCK | LOCK_TIMEOUT | DEFINITION_CHANGED => {
            (StoreErrorKind::Unavailable, Some("another transaction holds a lock; it will be tried again"))
        }
        1040 | 1203 | 1226 => {
            (StoreErrorKind::Unavailable, Some("the server has no connection left; it will be tried again"))
        }
        1053
        | 1077
        | 1078
        | 1079
        | 1080
        | 1152
        | 1158..=1161
        | 1184
        | 1317
        | 1927
        | 1969
        | 2006
        | 2013
        | 2055
        | 3024
        | 3032
        | 4031 => (StoreErrorKind::Unavailable, None),
        1290 | 1792 | 1836 | 4166 => {
            (StoreErrorKind::Unavailable, Some("the server is read-only: a replica, or a primary being moved"))
        }
        NOT_TRUSTED => (
            StoreErrorKind::Denied,
            Some("ask for SET GLOBAL log_bin_trust_function_creators = 1, or for SUPER, to create triggers"),
        ),
        1044 | 1142 | 1143 | 1227 | 1370 | 1410 | 3159 => (
            StoreErrorKind::Denied,
            Some("the user needs SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, TRIGGER and LOCK TABLES"),
        ),
        1045 | 1251 | 1698 | 1524 | 1820 | 1862 | 3118 | 3955 | 4151 => {
            (StoreErrorKind::Denied, Some("check the user and the password in the URL"))
        }
        NO_SUCH_DATABASE => (StoreErrorKind::NotFound, Some("check the database's name in the URL")),
        NO_SUCH_TABLE | NO_SUCH_COLUMN | 1051 | 1932 => (StoreErrorKind::NotFound, None),
        1114 | 1021 | 1037 | 1041 | 1026 => {
            (StoreErrorKind::Full, Some("the server has no room left; nothing was written"))
        }
        1665 => (StoreErrorKind::Unsupported, Some("the server's binlog_format is STATEMENT; it must be ROW or MIXED")),
        _ => (StoreErrorKind::Unsupported, None),
    }
}

fn refusal_text(code: u16, field: Option<&str>) -> String {
    let what = match code {
        DUPLICATE | 1586 | 1022 => "another record holds this value; unique",
        1048 | 1263 => "must not be NULL; column",
        1364 => "has no value and no default; column",
        1406 => "the value is too long; column",
        1264 | 1690 => "the value is out of range; column",
        1265 | 1366 | 1292 | 1411 | 1300 => "the value is not one that the type holds exactly; column",
        3819 | 4025 => "a check refuses it; constraint",
        1451 | 1452 | 1216 | 1217 => "a foreign key refuses it; columns",
        1118 | 1153 | 3140 => "the record is not one that the table holds",
        _ => "the server refuses it; column",
    };
    match field {
        Some(field) => format!("{what} {field:?}"),
        None => what.split(';').next().unwrap_or(what).to_owned(),
    }
}

/// The last part of a name that stands in quotes after the last `mark`:
/// ``for column `db`.`t`.`c` at row 1`` gives `c`.
fn after_last(text: &str, mark: &str) -> Option<String> {
    let at = text.rfind(mark)? + mark.len();
    let rest = text.get(at..)?;
    match rest.chars().next()? {
        '\'' => {
            let end = rest.rfind('\'').filter(|end| *end > 0)?;
            let name = &rest[1..end];
            Some(name.rsplit('.').next().unwrap_or(name).to_owned())
        }
        '`' => {
            let end = rest.rfind('`').filter(|end| *end > 0)?;
            let names = &rest[1..end];
            Some(names.rsplit("`.`").next().unwrap_or(names).replace("``", "`"))
        }
        _ => None,
    }
}

/// The first name in quotes.
fn first_quoted(text: &str) -> Option<String> {
    let at = text.find(['\'', '`'])?;
    let quote = text[at..].chars().next()?;
    let rest = &text[at + 1..];
    rest.find(quote).map(|end| rest[..end].to_owned())
}

/// The columns of the foreign key that a text names.
fn foreign_key(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("FOREIGN KEY (")?;
    let (columns, _) = rest.split_once(')')?;
    Some(columns.replace('`', ""))
}

/// Data that cannot be read as the layout says.
pub(super) fn corrupt(table: &str, column: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("table {table:?}, column {column:?}: {what}"))
}

/// A value that this store will never take in this column.
pub(super) fn refused(table: &str, field: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused { field: Some(field.to_owned()) },
        format!("table {table:?}, field {field:?}: {what}"),
    )
}

/// The error of a call that needs the sidecar.
pub(super) fn no_sidecar(table: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, format!("table {table:?} has no sidecar"))
        .with_hint("the migration is not started, or complete")
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn of(code: u16, message: &str) -> Failure {
        let server = ServerError { code, message: message.to_owned(), state: "HY000".to_owned() };
        failure("testing", &Error::Server(server))
    }

    #[test]
    fn refusals_name_the_column_and_no_value() {
        let check = |code: u16, text: &str, field: Option<&str>| {
            let failure = of(code, text);
            let expect = StoreErrorKind::Refused { field: field.map(str::to_owned) };
            assert_eq!(failure.error.kind, expect, "{text}");
            assert!(!failure.error.message.contains("secret"), "{}", failure.error);
            assert!(failure.is_refusal());
        };
        check(1062, "Duplicate entry 'secret' for key 'email'", Some("email"));
        check(1062, "Duplicate entry 'secret for key 'x'' for key 'users.email'", Some("email"));
        check(1048, "Column 'a' cannot be null", Some("a"));
        check(1364, "Field 'a' doesn't have a default value", Some("a"));
        check(1406, "Data too long for column 'a' at row 3", Some("a"));
        check(1264, "Out of range value for column 'a' at row 1", Some("a"));
        check(1366, "Incorrect string value: 'secret' for column `d`.`t`.`a``b` at row 1", Some("a`b"));
        check(1366, "Incorrect integer value: 'secret' for column 'a' at row 1", Some("a"));
        check(1292, "Incorrect datetime value: 'secret' for column `d`.`t`.`a` at row 1", Some("a"));
        check(1292, "Truncated incorrect DOUBLE value: 'secret'", None);
        check(4025, "CONSTRAINT `positive` failed for `d`.`t`", Some("positive"));
        check(3819, "Check constraint 'positive' is violated.", Some("positive"));
        check(
            1452,
            "Cannot add or update a child row: a foreign key constraint fails (`d`.`t`, CONSTRAINT `f` FOREIGN KEY \
             (`a`, `b`) REFERENCES `u` (`x`, `y`))",
            Some("a, b"),
        );
    }

    #[test]
    fn kinds() {
        let check = |code: u16, expect: StoreErrorKind| {
            let failure = of(code, "what the server says");
            assert_eq!(failure.error.kind, expect, "{code}");
            assert!(failure.error.message.contains("testing"), "{}", failure.error);
        };
        check(1213, StoreErrorKind::Unavailable);
        check(1205, StoreErrorKind::Unavailable);
        check(1040, StoreErrorKind::Unavailable);
        check(2013, StoreErrorKind::Unavailable);
        check(1290, StoreErrorKind::Unavailable);
        check(1045, StoreErrorKind::Denied);
        check(1142, StoreErrorKind::Denied);
        check(1419, StoreErrorKind::Denied);
        check(1049, StoreErrorKind::NotFound);
        check(1146, StoreErrorKind::NotFound);
        check(1054, StoreErrorKind::NotFound);
        check(1114, StoreErrorKind::Full);
        check(1665, StoreErrorKind::Unsupported);
        check(1064, StoreErrorKind::Unsupported);
        check(CLOSED_ERRNO, StoreErrorKind::FenceClosed);
        assert!(of(1213, "").is_lost_race() && !of(1205, "").is_lost_race());
    }
}
