//! SQLite, in both layouts.
//!
//! One thread writes (group commit), any number of connections read. Nothing
//! is assumed about being alone: another process may read and write the same
//! file at any time, and what it writes is captured by triggers.

mod apply;
mod capture;
mod cell;
mod census;
mod condition;
mod config;
mod documents;
mod error;
pub(crate) mod evolve;
mod facts;
mod flag;
mod foreign_keys;
mod inspect;
mod list;
pub(crate) mod outsider;
mod parked;
mod record;
mod replaced;
mod scan;
mod session;
mod tables;
mod triggers;
mod value;
mod write;
mod writer;

use std::sync::Arc;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Inspection, Store};
use tokio::sync::Semaphore;

use self::config::Config;
use self::facts::{AbsentTables, check_layout, spelled};
use self::session::{Purpose, Readers, Session};
use self::tables::{RESERVED_PREFIX, Tables};
pub(crate) use self::value::words_for;
use self::writer::Writer;
use crate::Create;

/// Scans and lists under way at once: more than cores only take memory from
/// each other.
const SCANS_MAX: usize = 8;

/// A store in a SQLite file.
pub(crate) struct Sqlite {
    tables: Arc<Tables>,
    readers: Arc<Readers>,
    writer: Writer,
    scans: Arc<Semaphore>,
}

/// Opens a store: see [`crate::open`].
pub(crate) async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<Sqlite> {
    let config = Config::parse(url)?;
    blocking(move || Sqlite::open(config, layout, create)).await
}

/// Looks at a whole file: see [`crate::inspect`].
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    let config = Config::parse(url)?;
    blocking(move || inspect::inspect(&Session::open(&config, Purpose::Read)?.conn)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> StoreResult<T> + Send + 'static) -> StoreResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "SQLite: a request failed inside the program"))?
}

impl Sqlite {
    fn open(config: Config, layout: Layout, create: Create) -> StoreResult<Sqlite> {
        if layout.table().to_ascii_lowercase().starts_with(RESERVED_PREFIX) {
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                format!("table {:?}: names that begin with {RESERVED_PREFIX} are ours", layout.table()),
            ));
        }
        let (purpose, absent) = match create {
            Create::Never => (Purpose::Write, AbsentTables::Refused),
            Create::IfMissing => (Purpose::Create, AbsentTables::Allowed),
        };
        if create == Create::IfMissing && !config.path.exists() {
            Session::open(&config, Purpose::Create)?;
        }
        let first = Session::open(&config, Purpose::Read)?;
        let name = spelled(&first.conn, layout.table())?.unwrap_or_else(|| layout.table().to_owned());
        let tables = Tables::of(&layout, &name);
        check_layout(&first.conn, &tables, absent)?;
        Ok(Sqlite {
            writer: Writer::start(config.clone(), purpose)?,
            readers: Arc::new(Readers::with(&config, first)),
            tables: Arc::new(tables),
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
        })
    }

    /// Runs a longer read on a thread that may block, on one snapshot.
    async fn blocking_read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Session, &Tables) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let closed = |_| StoreError::new(StoreErrorKind::Unavailable, "SQLite: the store is closing");
        let turn = self.scans.clone().acquire_owned().await.map_err(closed)?;
        let (readers, tables) = (self.readers.clone(), self.tables.clone());
        blocking(move || {
            let result = readers.snapshot(&tables, |session, _| read(session, &tables));
            drop(turn);
            result
        })
        .await
    }
}

impl Store for Sqlite {
    fn gives(&self) -> Option<&dyn shearwater_core::flat::Gives> {
        if matches!(self.tables.tree.layout, Layout::Document(_)) { Some(self) } else { None }
    }

    fn flags(&self) -> Option<&dyn shearwater_core::store::Flags> {
        self.own_flags()
    }

    fn layout(&self) -> &Layout {
        &self.tables.tree.layout
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }
}
