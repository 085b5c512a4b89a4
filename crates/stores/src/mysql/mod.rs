//! MySQL and MariaDB, in both layouts.
//!
//! A bounded pool of connections reads and writes; what other programs write
//! is captured by triggers. Writes run as tasks of their own, so that a caller
//! that goes away leaves no transaction half-done.

mod apply;
mod capture;
mod cell;
mod cells;
mod condition;
mod config;
mod error;
pub(crate) mod evolve;
mod facts;
mod falling;
mod flag;
mod foreign_keys;
mod inspect;
mod install;
mod list;
mod names;
mod native;
pub(crate) mod outsider;
mod parked;
mod provision;
mod record;
mod scan;
mod session;
mod settle;
mod state;
mod stored_json;
mod tables;
mod triggers;
mod value;
mod vitals;
mod words;
mod write;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mysql_async::prelude::Queryable;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Inspection, Store, Vitals};

use self::config::Config;
use self::error::{Failure, Tried};
use self::names::{RESERVED_PREFIX, check_name, quoted};
use self::session::{Pool, Session, connect};
use self::tables::{Marks, Tables};
pub(crate) use self::words::words_for;
use crate::Create;

/// Attempts of a transaction that lost to another one, or whose tables were
/// changed meanwhile: each attempt meets other transactions.
const ATTEMPTS_MAX: usize = 8;

/// Pause before the second attempt, ms; it grows with each.
const PAUSE_MS: u64 = 2;

/// A store in a database of MySQL or MariaDB.
pub(crate) struct MySql(Arc<Inner>);

/// What every call works with.
struct Inner {
    pool: Arc<Pool>,
    /// One connection to each replica whose lag is watched.
    replicas: Vec<Arc<Pool>>,
    layout: Layout,
    /// What was seen of the schema; `None`: not yet, or it has changed.
    seen: RwLock<Option<Arc<Tables>>>,
    /// Whether the sidecar was there at the last look.
    installed: AtomicBool,
    /// Bytes of a row, approximately, as scans have met them.
    row_bytes: AtomicUsize,
}

/// Opens a store: see [`crate::open`].
pub(crate) async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<MySql> {
    let config = Config::parse(url)?;
    check_names(&layout)?;
    if create == Create::IfMissing {
        create_database(&config).await?;
    }
    let replicas = config.replicas.iter().cloned().map(Pool::new).collect();
    let inner = Inner {
        pool: Pool::new(config),
        replicas,
        layout,
        seen: RwLock::new(None),
        installed: AtomicBool::new(false),
        row_bytes: AtomicUsize::new(0),
    };
    let mut session = inner.pool.session().await?;
    match inner.tables(&mut session).await {
        Ok(_) => {}
        Err(error) if error.kind == StoreErrorKind::NotFound && create == Create::IfMissing => {
            // `provision` makes what is missing, and fails when it cannot.
            facts::Server::look(&mut session).await?;
        }
        Err(error) => return Err(error),
    }
    drop(session);
    Ok(MySql(Arc::new(inner)))
}

/// Looks at a whole database: see [`crate::inspect`].
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    let config = Config::parse(url)?;
    let watched = inspect::Watched::of(config.replicas.len());
    inspect::inspect(&mut Pool::new(config).session().await?, watched).await
}

async fn create_database(config: &Config) -> StoreResult<()> {
    let known = connect(config.opts.clone(), &config.place).await;
    match known {
        Ok(_) => return Ok(()),
        Err(error) if error.kind == StoreErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    check_name("database", &config.database)?;
    let mut conn = connect(config.server(), &config.place).await?;
    let sql = format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4", quoted(&config.database));
    conn.query_drop(sql).await.map_err(|e| error::failure("making the database", &e).error)
}

/// Refuses names that the server does not hold, or that are ours.
fn check_names(layout: &Layout) -> StoreResult<()> {
    let tree = crate::relational::Tree::of(layout);
    let table = layout.table();
    if table.to_lowercase().starts_with(RESERVED_PREFIX) {
        return Err(StoreError::new(
            StoreErrorKind::Unsupported,
            format!("table {table:?}: names that begin with {RESERVED_PREFIX} are ours"),
        ));
    }
    let child_tables = tree.children.iter().map(|child| &child.shape.table);
    for name in std::iter::once(&table.to_owned()).chain(child_tables) {
        check_name("table", name)?;
    }
    let child_columns = tree.children.iter().flat_map(|child| &child.values);
    for name in tree.root_columns().chain(child_columns) {
        check_name("column", name)?;
    }
    for name in crate::relational::record_key_columns(&tree.key).iter().filter(|_| !tree.children.is_empty()) {
        check_name("column", name)?;
    }
    Ok(())
}

/// What a read works on.
struct View {
    session: Session,
    tables: Arc<Tables>,
    marks: Marks,
}

/// How much a read needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// One statement, which sees one snapshot by itself.
    One,
    /// Several statements on one snapshot.
    Several,
}

impl Inner {
    /// The tables as they were seen last.
    async fn tables(&self, session: &mut Session) -> StoreResult<Arc<Tables>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tables) = seen {
            return Ok(tables);
        }
        let tables = Arc::new(Tables::look(session, &self.layout).await?);
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(tables.clone());
        Ok(tables)
    }

    /// Whether the sidecar is there. One that was is taken to be: the first
    /// statement that misses it tells.
    async fn marks(&self, session: &mut Session, tables: &Tables) -> Tried<Marks> {
        if self.installed.load(Ordering::Acquire) {
            return Ok(Marks::Joined);
        }
        let fence = state::read_fence(session, tables).await.map_err(Failure::of_a_repeatable)?;
        let installed = fence.is_some();
        self.installed.store(installed, Ordering::Release);
        Ok(if installed { Marks::Joined } else { Marks::Absent })
    }

    /// Forgets what was seen of the schema.
    fn forget(&self) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.installed.store(false, Ordering::Release);
    }

    async fn view(&self, reads: Reads) -> Tried<View> {
        let mut session = self.pool.session().await?;
        let tables = self.tables(&mut session).await?;
        let marks = self.marks(&mut session, &tables).await?;
        if reads == Reads::Several {
            session.begin_snapshot().await?;
        }
        Ok(View { session, tables, marks })
    }

    /// Ends an attempt to read (or to do what may be done twice); `None`: another one is due.
    async fn close<T>(&self, mut session: Session, result: Tried<T>, attempt: &mut usize) -> StoreResult<Option<T>> {
        session.roll_back().await;
        match result {
            Ok(done) => Ok(Some(done)),
            Err(failure) => self.again(failure.of_a_repeatable(), attempt).await.map(|()| None),
        }
    }

    /// Whether a failure is worth another attempt; the error if not.
    async fn again(&self, failure: Failure, attempt: &mut usize) -> StoreResult<()> {
        let changed = matches!(failure.code, error::NO_SUCH_TABLE | error::NO_SUCH_COLUMN);
        if changed || failure.error.kind == StoreErrorKind::Sidecar {
            self.forget();
        }
        *attempt += 1;
        // A table that is not there at the second look is not there.
        let worth =
            (failure.is_lost_race() && *attempt < ATTEMPTS_MAX) || ((changed || failure.is_stale()) && *attempt < 2);
        if !worth {
            return Err(failure.error);
        }
        let pause = PAUSE_MS * (1 << (*attempt).min(6));
        tokio::time::sleep(std::time::Duration::from_millis(if changed { 0 } else { pause })).await;
        Ok(())
    }
}

/// Reads on one snapshot, once more when the schema has changed since the last look.
macro_rules! reading {
    ($inner:expr, $reads:expr, |$session:ident, $tables:ident, $marks:ident| $work:expr) => {{
        let mut attempt = 0;
        loop {
            let mut view = match $inner.view($reads).await {
                Ok(view) => view,
                Err(failure) => {
                    $inner.again(failure, &mut attempt).await?;
                    continue;
                }
            };
            let result: $crate::mysql::error::Tried<_> = {
                let ($session, $tables, $marks) = (&mut view.session, &*view.tables, view.marks);
                $work.await
            };
            let session = view.session;
            if $reads == $crate::mysql::Reads::One
                && let Ok(done) = result
            {
                break Ok(done);
            }
            if let Some(done) = $inner.close(session, result, &mut attempt).await? {
                break Ok(done);
            }
        }
    }};
}
use reading;

impl MySql {
    /// Runs work to its end even when the caller goes away.
    async fn to_the_end<T: Send + 'static>(
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        let ended = |_| StoreError::new(StoreErrorKind::OutcomeUnknown, "MySQL: a request failed inside the program");
        tokio::spawn(work).await.map_err(ended)?
    }
}

impl Store for MySql {
    fn flags(&self) -> Option<&dyn shearwater_core::store::Flags> {
        self.own_flags()
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn appliers(&self) -> usize {
        apply::APPLIERS
    }

    fn vitals(&self) -> Option<&dyn Vitals> {
        Some(self)
    }
}
