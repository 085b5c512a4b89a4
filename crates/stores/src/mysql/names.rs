//! Names in SQL: quoting, and the names that are ours.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

/// What every name of ours begins with.
pub(super) const RESERVED_PREFIX: &str = "_shearwater_";

/// Characters of a name, by both servers.
const NAME_CHARS_MAX: usize = 64;

/// A name in SQL, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in SQL, for sessions whose backslashes escape (ours do).
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Quoted names with commas between them.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// A name of ours for something of a user's table: shortened by a hash where
/// the server would refuse its length.
pub(super) fn own_name(table: &str, what: &str) -> String {
    let name = format!("{RESERVED_PREFIX}{table}_{what}");
    if name.chars().count() <= NAME_CHARS_MAX {
        return name;
    }
    let hash = shearwater_core::Key::single(table).hash();
    let room = NAME_CHARS_MAX - RESERVED_PREFIX.len() - what.len() - 2 - 16;
    let begin: String = table.chars().take(room).collect();
    format!("{RESERVED_PREFIX}{begin}_{hash:016x}_{what}")
}

/// `?, ?, …`: `count` places.
pub(super) fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Refuses a name that the server could not hold as it is.
pub(super) fn check_name(what: &str, name: &str) -> StoreResult<()> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.ends_with(' ') {
        "ends with a blank"
    } else if name.contains('\0') {
        "holds U+0000"
    } else if name.chars().any(|c| c > '\u{ffff}') {
        "holds a character beyond U+FFFF"
    } else if name.chars().count() > NAME_CHARS_MAX {
        "is longer than 64 characters"
    } else {
        return Ok(());
    };
    Err(StoreError::new(StoreErrorKind::Unsupported, format!("MySQL: the {what} name {name:?} {problem}"))
        .with_hint("the server takes no such name; choose another in the spec"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_fit_and_differ() {
        assert_eq!(own_name("users", "marks"), "_shearwater_users_marks");
        let (long, other) = ("x".repeat(60), format!("{}y", "x".repeat(59)));
        let name = own_name(&long, "insert");
        assert!(name.chars().count() <= 64 && name.ends_with("_insert"), "{name}");
        assert_ne!(name, own_name(&other, "insert"));
        assert_ne!(name, own_name(&long, "update"));
        assert!(own_name(&"ключ".repeat(15), "idempotency").chars().count() <= 64);
    }

    #[test]
    fn names_that_the_server_does_not_hold() {
        let check = |name: &str, says: &str| {
            assert!(check_name("table", name).unwrap_err().message.contains(says), "{name:?}");
        };
        check("", "empty");
        check("a ", "blank");
        check("a\0", "U+0000");
        check("\u{1F600}", "U+FFFF");
        check(&"x".repeat(65), "64");
        assert_eq!(check_name("table", "quo`te's \\ ключ"), Ok(()));
    }

    #[test]
    fn texts_and_names_end_where_they_must() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal("a\\'b"), "'a\\\\''b'");
    }
}
