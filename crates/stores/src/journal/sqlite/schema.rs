//! The journal's own tables, and the version that guards them.

use rusqlite::{Connection, OptionalExtension};
use shearwater_core::journal::{JOURNAL_VERSION, JournalError};

use super::worker::{Fault, immediate};

/// "SWJL": tells a journal from any other SQLite file.
const APPLICATION_ID: i32 = 0x5357_4a4c;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE migration (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL);
CREATE TABLE entry (
    migration INTEGER NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,
    event TEXT NOT NULL, PRIMARY KEY (migration, seq)) WITHOUT ROWID;
CREATE TABLE member (
    migration INTEGER NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, lease_until_ms INTEGER NOT NULL,
    PRIMARY KEY (migration, id)) WITHOUT ROWID;
CREATE TABLE lease (
    migration INTEGER NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (migration, name)) WITHOUT ROWID;
CREATE TABLE request (
    id INTEGER PRIMARY KEY AUTOINCREMENT, migration INTEGER NOT NULL, command TEXT NOT NULL,
    at_ms INTEGER NOT NULL, outcome TEXT);
CREATE INDEX request_open ON request (migration, id) WHERE outcome IS NULL;
CREATE TABLE dead_letter (
    migration INTEGER NOT NULL, key TEXT NOT NULL, authority TEXT NOT NULL, letter TEXT NOT NULL,
    PRIMARY KEY (migration, key, authority)) WITHOUT ROWID;
CREATE TABLE note (
    migration INTEGER NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (migration, name)) WITHOUT ROWID;
";

/// Whether opening may make the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    /// In an empty file.
    IfEmpty,
    /// They must be there.
    Never,
}

/// Checks that the file is a journal of a version that we read; makes it one
/// when it is empty and that is wanted.
pub(super) fn check(connection: &mut Connection, make: Make) -> Result<(), Fault> {
    if is_journal(connection)? {
        return check_version(connection);
    }
    if make == Make::Never {
        return Err(not_a_journal());
    }
    // Another process may be making it at the same time: look again inside.
    immediate(connection, |tx| {
        if is_journal(tx)? {
            return check_version(tx);
        }
        if tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? > 0 {
            return Err(not_a_journal());
        }
        tx.execute_batch(TABLES)?;
        tx.execute("INSERT INTO meta VALUES ('version', ?1)", [JOURNAL_VERSION.to_string()])?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        Ok(())
    })
}

fn not_a_journal() -> Fault {
    JournalError::Damaged("the file is an SQLite database, but no Shearwater journal".into()).into()
}

fn is_journal(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? == APPLICATION_ID)
}

fn check_version(connection: &Connection) -> Result<(), Fault> {
    let found: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE name = 'version'", [], |row| row.get(0)).optional()?;
    let found: u32 = found
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| JournalError::Damaged("the journal does not tell its version".into()))?;
    if found > JOURNAL_VERSION {
        return Err(JournalError::Newer { found, known: JOURNAL_VERSION }.into());
    }
    Ok(())
}
