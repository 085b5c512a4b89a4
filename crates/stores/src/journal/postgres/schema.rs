//! The journal's own schema, and the version that guards it.

use shearwater_core::journal::{JOURNAL_VERSION, JournalError};

use super::Link;
use super::migration::read;
use crate::Create;

/// The schema that holds the journal and nothing else; a journal and a store
/// may be in one database.
pub(super) const SCHEMA: &str = "shearwater_journal";

/// Taken while the schema is made, so that processes that start together make
/// one: "SWJL", as in the header of a journal file.
const MAKING_LOCK: i64 = 0x5357_4a4c;

const TABLES: &str = "
CREATE TABLE shearwater_journal.migration (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, last_seq bigint NOT NULL);
CREATE TABLE shearwater_journal.entry (
    migration bigint NOT NULL, seq bigint NOT NULL, at_ms bigint NOT NULL, actor text NOT NULL,
    append_id text NOT NULL, event text NOT NULL, PRIMARY KEY (migration, seq));
CREATE TABLE shearwater_journal.member (
    migration bigint NOT NULL, id text NOT NULL, epoch bigint NOT NULL, lease_until_ms bigint NOT NULL,
    PRIMARY KEY (migration, id));
CREATE TABLE shearwater_journal.lease (
    migration bigint NOT NULL, name text NOT NULL, holder text NOT NULL, until_ms bigint NOT NULL,
    PRIMARY KEY (migration, name));
CREATE TABLE shearwater_journal.request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, migration bigint NOT NULL, ask_id text NOT NULL UNIQUE,
    command text NOT NULL, at_ms bigint NOT NULL, outcome text);
CREATE INDEX request_open ON shearwater_journal.request (migration, id) WHERE outcome IS NULL;
CREATE TABLE shearwater_journal.dead_letter (
    migration bigint NOT NULL, key text COLLATE \"C\" NOT NULL, authority text NOT NULL, letter text NOT NULL,
    PRIMARY KEY (migration, key, authority));
CREATE TABLE shearwater_journal.note (
    migration bigint NOT NULL, name text NOT NULL, text text NOT NULL, PRIMARY KEY (migration, name));
CREATE TABLE shearwater_journal.meta (name text PRIMARY KEY, value text NOT NULL);
";

/// Checks that the database holds a journal of a version that we read; makes
/// one when there is none and that is wanted.
pub(super) async fn check(link: &Link, create: Create) -> Result<(), JournalError> {
    if !is_journal(link).await? {
        if create == Create::Never {
            return Err(JournalError::Absent(format!("in postgres://{}", link.0.place())));
        }
        make(link).await?;
    }
    check_version(link).await
}

async fn is_journal(link: &Link) -> Result<bool, JournalError> {
    let rows = link.rows(&format!("SELECT to_regclass('{SCHEMA}.meta') IS NOT NULL"), &[]).await?;
    rows.first().map_or(Ok(false), |row| read(row, 0))
}

/// One block, so that it is all or nothing, and may be repeated. After the
/// wait for the lock the catalog itself is read: `to_regclass` may answer from
/// what this connection remembers.
async fn make(link: &Link) -> Result<(), JournalError> {
    let make = format!(
        "DO $make$ BEGIN
             PERFORM pg_advisory_xact_lock({MAKING_LOCK});
             IF EXISTS (SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace
                        WHERE nspname = '{SCHEMA}' AND relname = 'meta') THEN RETURN; END IF;
             IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{SCHEMA}') THEN
                 CREATE SCHEMA {SCHEMA};
             END IF;
             {TABLES}
             INSERT INTO {SCHEMA}.meta VALUES ('version', '{JOURNAL_VERSION}');
         END $make$"
    );
    link.rows(&make, &[]).await.map(drop)
}

async fn check_version(link: &Link) -> Result<(), JournalError> {
    let rows = link.rows(&format!("SELECT value FROM {SCHEMA}.meta WHERE name = 'version'"), &[]).await?;
    let found: Option<String> = rows.first().map(|row| read(row, 0)).transpose()?;
    let found: u32 = found
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| JournalError::Damaged("the journal does not tell its version".into()))?;
    if found > JOURNAL_VERSION {
        return Err(JournalError::Newer { found, known: JOURNAL_VERSION });
    }
    Ok(())
}
