//! Connections: how they are opened, and the pool of those that read.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Statement, StatementStatus};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::config::{Config, Sync};
use super::error::store_error;
use super::facts::{Facts, OtherTriggers, Sidecar};
use super::tables::Tables;
use super::writer::ForeignKeys;

/// Waiting for another process's lock, ms: longer than any of our own
/// transactions, shorter than a client's patience.
const BUSY_MS_MAX: i32 = 5_000;

/// Between two looks at a lock, ms: short, because SQLite has no queue and who
/// sleeps long starves.
const BUSY_POLL_MS: u64 = 1;

/// Prepared statements kept per connection: about twice what one layout uses.
const STATEMENTS_MAX: usize = 96;

/// Page cache of the writer, KiB: holds the inner pages of the trees that a
/// backfill writes to.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// Page cache of each reader, KiB: small, the operating system caches the file too.
const READER_CACHE_KIB: i64 = 2 * 1024;

/// Pages in the write-ahead log before it is copied into the file: four times
/// SQLite's own, because a backfill writes the same inner pages again and again.
const WAL_PAGES_MAX: i64 = 4_000;

/// What is kept of the log's file when it is empty, bytes.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Idle readers kept: enough for every core and every scan that may run.
const READERS_IDLE_MAX: usize = 16;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading only: SQLite itself refuses a write.
    Read,
    /// Writing; switches the file to WAL.
    Write,
    /// As `Write`, and an absent file is made.
    Create,
}

/// One connection, with what it saw of the schema.
pub(super) struct Session {
    /// The connection.
    pub(super) conn: Connection,
    purpose: Purpose,
    seen: RefCell<Option<(i64, Arc<Facts>)>>,
    foreign_keys: Cell<ForeignKeys>,
}

fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(BUSY_POLL_MS));
    tries < BUSY_MS_MAX
}

impl Session {
    /// Opens a connection.
    pub(super) fn open(config: &Config, purpose: Purpose) -> StoreResult<Session> {
        let doing = format!("opening {}", config.place());
        let failed = |error| store_error(&doing, error);
        if purpose != Purpose::Create && !config.path.exists() {
            return Err(StoreError::new(StoreErrorKind::NotFound, format!("SQLite, {doing}: there is no such file"))
                .with_hint("check the path in the URL"));
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if purpose == Purpose::Create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let mut conn = Connection::open_with_flags(&config.path, flags).map_err(failed)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        conn.busy_handler(Some(wait_for_lock)).map_err(failed)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        if purpose == Purpose::Read {
            conn.pragma_update(None, "cache_size", -READER_CACHE_KIB).map_err(failed)?;
            conn.pragma_update(None, "query_only", true).map_err(failed)?;
            // The first look at the file: says now, and not later, that it is no database.
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).map_err(failed)?;
        } else {
            conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(failed)?;
            conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX).map_err(failed)?;
            conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(failed)?;
            let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
            if mode != "wal" {
                return Err(StoreError::new(
                    StoreErrorKind::Unsupported,
                    format!("SQLite, {doing}: the journal mode stays {mode:?}; write-ahead logging is needed"),
                )
                .with_hint("keep the file on a local disk"));
            }
        }
        let session =
            Session { conn, purpose, seen: RefCell::new(None), foreign_keys: Cell::new(ForeignKeys::Checked) };
        session.set_sync(config.sync)?;
        Ok(session)
    }

    /// Sets how far the following commits have to get.
    pub(super) fn set_sync(&self, sync: Sync) -> StoreResult<()> {
        let word = match sync {
            Sync::Full => "FULL",
            Sync::Normal => "NORMAL",
        };
        self.conn.pragma_update(None, "synchronous", word).map_err(|e| store_error("setting synchronous", e))
    }

    /// Has foreign keys checked or not, from the next transaction on.
    pub(super) fn set_foreign_keys(&self, wanted: ForeignKeys) -> StoreResult<()> {
        if self.foreign_keys.get() != wanted {
            self.conn
                .pragma_update(None, "foreign_keys", wanted == ForeignKeys::Checked)
                .map_err(|e| store_error("setting foreign_keys", e))?;
            self.foreign_keys.set(wanted);
        }
        Ok(())
    }

    /// What the schema says about the layout's tables, asked inside a
    /// transaction; looks again only when the schema has changed.
    pub(super) fn facts(&self, tables: &Tables) -> StoreResult<Arc<Facts>> {
        let version = self.schema_version()?;
        if let Some((seen, facts)) = &*self.seen.borrow()
            && *seen == version
        {
            return Ok(facts.clone());
        }
        let facts = Arc::new(Facts::look(&self.conn, tables)?);
        if self.purpose != Purpose::Read {
            // Our own writes are stamped by the program. Where no other trigger
            // wants to run, SQLite need not even ask the sidecar's triggers.
            let wanted = facts.other_triggers == OtherTriggers::Some;
            self.conn
                .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, wanted)
                .map_err(|e| store_error("preparing the connection", e))?;
        }
        *self.seen.borrow_mut() = Some((version, facts.clone()));
        Ok(facts)
    }

    /// Whether there is a sidecar as far as this connection has seen. Only to be
    /// believed together with [`Session::saw_new_schema`].
    pub(super) fn sidecar_seen(&self) -> Option<Sidecar> {
        self.seen.borrow().as_ref().map(|(_, facts)| facts.sidecar)
    }

    /// Whether SQLite has compiled this statement again since the last time it
    /// was asked, because it met another schema than it was compiled for; what
    /// was seen of the schema is forgotten then. Whoever runs a statement
    /// without [`Session::facts`] before it has to ask after it, and to throw
    /// away what it read.
    pub(super) fn saw_new_schema(&self, statement: &Statement<'_>) -> bool {
        if statement.reset_status(StatementStatus::RePrepare) == 0 {
            return false;
        }
        // SQLite also compiles again for reasons of its own, for example after
        // this connection has looked at the schema. Versions only rise, so one
        // that is the same afterwards was the same when the statement ran.
        let seen = self.seen.borrow().as_ref().map(|(version, _)| *version);
        let is_new = seen.is_none() || seen != self.schema_version().ok();
        if is_new {
            self.forget_schema();
        }
        is_new
    }

    fn schema_version(&self) -> StoreResult<i64> {
        self.conn
            .prepare_cached("PRAGMA schema_version")
            .and_then(|mut s| s.query_row([], |row| row.get(0)))
            .map_err(|e| store_error("reading the schema", e))
    }

    /// Runs `read` in one read transaction, that is, on one snapshot.
    pub(super) fn snapshot<T>(
        &self,
        tables: &Tables,
        read: impl FnOnce(&Session, Sidecar) -> StoreResult<T>,
    ) -> StoreResult<T> {
        run(&self.conn, "BEGIN")?;
        let result = self.facts(tables).and_then(|facts| read(self, facts.sidecar));
        // The result is of one snapshot whether this succeeds or not.
        let _ = run(&self.conn, "ROLLBACK");
        result
    }

    /// Forgets what was seen of the schema: a rolled back change of it leaves a
    /// version that another change may take.
    pub(super) fn forget_schema(&self) {
        *self.seen.borrow_mut() = None;
    }
}

/// Readers, each used by one caller at a time.
pub(super) struct Readers {
    config: Config,
    idle: Mutex<Vec<Session>>,
}

impl Readers {
    /// A pool with its first reader.
    pub(super) fn with(config: &Config, first: Session) -> Readers {
        Readers { config: config.clone(), idle: Mutex::new(vec![first]) }
    }

    /// Lends a reader; one whose transaction did not end is not lent again.
    pub(super) fn lend<T>(&self, read: impl FnOnce(&Session) -> StoreResult<T>) -> StoreResult<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) => session,
            None => Session::open(&self.config, Purpose::Read)?,
        };
        let result = read(&session);
        if session.conn.is_autocommit() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READERS_IDLE_MAX {
                idle.push(session);
            }
        }
        result
    }

    /// Runs `read` in one read transaction, that is, on one snapshot.
    pub(super) fn snapshot<T>(
        &self,
        tables: &Tables,
        read: impl FnOnce(&Session, Sidecar) -> StoreResult<T>,
    ) -> StoreResult<T> {
        self.lend(|session| session.snapshot(tables, read))
    }
}

/// Runs one statement without parameters, kept prepared.
pub(super) fn run(conn: &Connection, sql: &str) -> StoreResult<()> {
    conn.prepare_cached(sql)
        .and_then(|mut s| s.raw_execute().map(|_| ()))
        .map_err(|e| store_error(sql.split(' ').next().unwrap_or(sql), e))
}
