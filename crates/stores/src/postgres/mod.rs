//! PostgreSQL, in both layouts.
//!
//! A bounded pool of connections reads and writes. Nothing is assumed about
//! being alone: other programs read and write the same tables at any time, and
//! what they write is captured by triggers in their own transactions.

mod apply;
mod batch;
mod capture;
mod cell;
mod change;
mod codec;
mod condition;
mod config;
mod copy;
mod documents;
mod error;
pub(crate) mod evolve;
mod explain;
mod facts;
mod flag;
mod flat;
mod foreign_keys;
mod inspect;
pub(crate) mod link;
mod list;
mod names;
mod native;
mod numbering;
mod numeric;
pub(crate) mod outsider;
mod parked;
mod provision;
mod record;
mod scan;
mod session;
mod tables;
mod tls;
mod triggers;
mod value;
mod verbatim;
mod vitals;
mod words;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Inspection, Store, Vitals};

use self::batch::Optimism;
use self::config::Config;
use self::facts::{AbsentTables, Facts};
use self::names::RESERVED_PREFIX;
use self::session::{Pool, Session};
use self::tables::{Sidecar, Tables};
pub(crate) use self::words::words_for;
use crate::Create;
use crate::relational::Tree;
use crate::seen_size::SeenSize;

/// Batches that are applied side by side with profit: a COPY keeps one of the
/// server's processes busy, and a few of them its disk.
const APPLIERS: usize = 4;

/// A store in a PostgreSQL database.
pub(crate) struct Postgres {
    tree: Tree,
    pool: Pool,
    known: RwLock<Known>,
    has_sidecar: AtomicBool,
    is_pessimistic: AtomicBool,
    seen_size: SeenSize,
}

/// What was seen of the tables.
#[derive(Default)]
struct Known {
    tables: Option<Arc<Tables>>,
    is_key_checked: bool,
}

/// Opens a store: see [`crate::open`].
pub(crate) async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<Postgres> {
    let config = Config::parse(url)?;
    if layout.table().starts_with(RESERVED_PREFIX) {
        return Err(StoreError::new(
            StoreErrorKind::Unsupported,
            format!("table {:?}: names that begin with {RESERVED_PREFIX} are ours", layout.table()),
        ));
    }
    let pool = open_pool(config, create).await?;
    let store = Postgres {
        tree: Tree::of(&layout),
        pool,
        known: RwLock::default(),
        has_sidecar: AtomicBool::new(true),
        is_pessimistic: AtomicBool::new(false),
        seen_size: SeenSize::default(),
    };
    let absent = match create {
        Create::Never => AbsentTables::Refused,
        Create::IfMissing => AbsentTables::Allowed,
    };
    let session = store.pool.lease().await?;
    store.look(&session, absent).await?;
    drop(session);
    Ok(store)
}

async fn open_pool(config: Config, create: Create) -> StoreResult<Pool> {
    let name = config.driver.get_dbname().unwrap_or_default().to_owned();
    match Pool::open(config.clone()).await {
        Err(error) if create == Create::IfMissing && error.kind == StoreErrorKind::NotFound => {
            let mut other = config.clone();
            other.driver.dbname("postgres");
            let pool = Pool::open(other).await?;
            provision::create_database(&*pool.lease().await?, &name).await?;
            Pool::open(config).await
        }
        opened => opened,
    }
}

/// Looks at a whole schema: see [`crate::inspect`].
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    let config = Config::parse(url)?;
    let schema = config.schema.clone();
    let pool = Pool::open(config).await?;
    let session = pool.lease().await?;
    inspect::inspect(&session, &schema).await
}

impl Postgres {
    /// The tables as they were looked at.
    async fn tables(&self) -> StoreResult<Arc<Tables>> {
        match self.known_tables() {
            Some(tables) => Ok(tables),
            None => self.tables_with(&*self.pool.lease().await?).await,
        }
    }

    /// As [`Postgres::tables`], for who has a connection already.
    async fn tables_with(&self, session: &Session) -> StoreResult<Arc<Tables>> {
        if let Some(tables) = self.known_tables() {
            return Ok(tables);
        }
        let looked = self.look(session, AbsentTables::Refused).await?;
        looked.ok_or_else(|| session::unexpected("the tables went while they were looked at"))
    }

    fn known_tables(&self) -> Option<Arc<Tables>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).tables.clone()
    }

    async fn look(&self, session: &Session, absent: AbsentTables) -> StoreResult<Option<Arc<Tables>>> {
        let schema = self.pool.schema();
        let Some(facts) = Facts::look(session, &self.tree, schema, absent).await? else { return Ok(None) };
        let tables = Arc::new(Tables::of(&self.tree, facts, schema));
        self.known.write().unwrap_or_else(PoisonError::into_inner).tables = Some(tables.clone());
        Ok(Some(tables))
    }

    /// Forgets what was seen of the tables, so that they are looked at again.
    fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    /// Refuses a table whose key does not identify its rows.
    async fn check_key(&self, session: &Session, tables: &Tables) -> StoreResult<()> {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).is_key_checked {
            return Ok(());
        }
        facts::check_key(session, &tables.schema, &tables.tree, &tables.facts).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).is_key_checked = true;
        Ok(())
    }

    /// Whether there was a sidecar when somebody looked last; every read finds
    /// out when this is no longer so.
    fn sidecar(&self) -> Sidecar {
        if self.has_sidecar.load(Ordering::Relaxed) { Sidecar::Installed } else { Sidecar::Absent }
    }

    fn set_sidecar(&self, sidecar: Sidecar) {
        self.has_sidecar.store(sidecar == Sidecar::Installed, Ordering::Relaxed);
    }

    fn optimism(&self) -> Optimism {
        if self.is_pessimistic.load(Ordering::Relaxed) { Optimism::Low } else { Optimism::High }
    }

    fn set_optimism(&self, optimism: Optimism) {
        self.is_pessimistic.store(optimism == Optimism::Low, Ordering::Relaxed);
    }
}

impl Store for Postgres {
    fn verbatim(&self) -> Option<&dyn shearwater_core::verbatim::Verbatim> {
        Some(self)
    }

    fn takes(&self) -> Option<&dyn shearwater_core::flat::Takes> {
        Some(self)
    }

    fn gives(&self) -> Option<&dyn shearwater_core::flat::Gives> {
        if matches!(self.tree.layout, Layout::Document(_)) { Some(self) } else { None }
    }

    fn flags(&self) -> Option<&dyn shearwater_core::store::Flags> {
        self.own_flags()
    }

    fn layout(&self) -> &Layout {
        &self.tree.layout
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn appliers(&self) -> usize {
        APPLIERS
    }

    fn vitals(&self) -> Option<&dyn Vitals> {
        Some(self)
    }
}
