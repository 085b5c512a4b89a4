//! Connections: how they are opened, the pool of them, and running statements.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value as Wire};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cell::Cell;
use super::config::Config;
use super::error::{Failure, Tried, failure};

/// Waiting for a connection to be made, ms: a server that is there answers in
/// a few.
const CONNECT_MS_MAX: u64 = 10_000;

/// Waiting for a free connection of the pool, ms: a client's patience.
const TURN_MS_MAX: u64 = 10_000;

/// One statement, ms: counting or splitting a large table takes tens of
/// seconds; beyond this nobody answers any more.
const STATEMENT_MS_MAX: u64 = 300_000;

/// A connection that was idle longer is asked first whether it is still there, ms.
const TRUSTED_IDLE_MS_MAX: u64 = 5_000;

/// Waiting for another transaction's lock, s (the server counts in seconds):
/// longer than any of our own transactions, shorter than a client's patience.
const LOCK_WAIT_S_MAX: u32 = 3;

/// Waiting for the lock of a table's definition, s. Others wait behind us.
const DEFINITION_WAIT_S_MAX: u32 = 5;

/// What every connection of ours is set to: nothing is truncated or guessed,
/// zero dates come and go as they are, clocks are UTC, and a statement sees
/// what is committed when it runs (no gaps are locked).
fn settings() -> String {
    format!(
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,\
         ALLOW_INVALID_DATES,ERROR_FOR_DIVISION_BY_ZERO', \
         time_zone = '+00:00', autocommit = 1, foreign_key_checks = 1, unique_checks = 1, sql_safe_updates = 0, \
         sql_auto_is_null = 0, sql_big_selects = 1, innodb_lock_wait_timeout = {LOCK_WAIT_S_MAX}, \
         lock_wait_timeout = {DEFINITION_WAIT_S_MAX}"
    )
}

/// What a transaction of ours sets, unset.
const RESET: &str = "SET @_shearwater_applying = NULL, foreign_key_checks = 1";

/// Connections to one database.
pub(super) struct Pool {
    config: Config,
    idle: Mutex<Vec<(Conn, Instant)>>,
    /// The server's numbers of the connections that are open now.
    open: Mutex<HashSet<u32>>,
    turns: Arc<Semaphore>,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(config: Config) -> Arc<Pool> {
        let turns = Arc::new(Semaphore::new(config.connections));
        Arc::new(Pool { config, idle: Mutex::default(), open: Mutex::default(), turns })
    }

    /// The database as messages name it.
    pub(super) fn place(&self) -> &str {
        &self.config.place
    }

    /// A connection for one caller.
    pub(super) async fn session(self: &Arc<Pool>) -> StoreResult<Session> {
        let busy = || {
            let what = format!("MySQL: all {} connections to {} are busy", self.config.connections, self.place());
            StoreError::new(StoreErrorKind::Unavailable, what).with_hint("raise connections=N in the URL")
        };
        let turn = tokio::time::timeout(Duration::from_millis(TURN_MS_MAX), self.turns.clone().acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((mut conn, since)) = idle {
            if since.elapsed() < Duration::from_millis(TRUSTED_IDLE_MS_MAX) {
                return Ok(self.given(conn, turn));
            }
            let ping = tokio::time::timeout(Duration::from_millis(CONNECT_MS_MAX), conn.ping()).await;
            if matches!(ping, Ok(Ok(()))) {
                return Ok(self.given(conn, turn));
            }
            self.forget_idle();
        }
        let conn = connect(self.config.opts.clone(), self.place()).await?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(conn.id());
        Ok(self.given(conn, turn))
    }

    fn given(self: &Arc<Pool>, conn: Conn, turn: OwnedSemaphorePermit) -> Session {
        Session { id: conn.id(), conn: Some(conn), pool: self.clone(), sound: Sound::Yes, _turn: turn }
    }

    /// The server's numbers of our connections.
    pub(super) fn open(&self) -> Vec<u32> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn closed(&self, id: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// After a lost connection the others are most likely lost too.
    fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.iter().for_each(|(conn, _)| self.closed(conn.id()));
    }
}

/// Opens one connection and sets it up.
pub(super) async fn connect(opts: Opts, place: &str) -> StoreResult<Conn> {
    let doing = format!("connecting to {place}");
    let opening = async {
        let mut conn = Conn::new(opts).await?;
        conn.query_drop(settings()).await?;
        Ok(conn)
    };
    match tokio::time::timeout(Duration::from_millis(CONNECT_MS_MAX), opening).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => {
            let mut error = failure(&doing, &error).error;
            if error.kind == StoreErrorKind::Unavailable && error.hint.is_none() {
                error.hint = Some("check that the server runs at the host and port in the URL".to_owned());
            }
            Err(error)
        }
        Err(_) => Err(StoreError::new(StoreErrorKind::Unavailable, format!("MySQL, {doing}: no answer"))
            .with_hint("check the host and the port in the URL, and that nothing in between drops packets")),
    }
}

/// Whether a connection may be used by the next caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// Nothing is open on it.
    Yes,
    /// A statement or a transaction is.
    No,
}

/// One connection in the hands of one caller. A caller that goes away in the
/// middle takes it along: the server undoes what was not committed.
pub(super) struct Session {
    id: u32,
    conn: Option<Conn>,
    pool: Arc<Pool>,
    sound: Sound,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Session {
    fn drop(&mut self) {
        match (self.conn.take(), self.sound) {
            (Some(conn), Sound::Yes) => {
                self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push((conn, Instant::now()));
            }
            _ => self.pool.closed(self.id),
        }
    }
}

/// What a caller does with each row.
type EachRow<'f> = &'f mut (dyn FnMut(Vec<Cell>) -> StoreResult<()> + Send);

impl Session {
    fn conn(&mut self) -> Tried<&mut Conn> {
        let gone = || StoreError::new(StoreErrorKind::Unavailable, "MySQL: the connection is closed");
        self.conn.as_mut().ok_or_else(|| gone().into())
    }

    fn failed(&mut self, doing: &str, error: &mysql_async::Error) -> Failure {
        let failure = failure(doing, error);
        if failure.is_lost_connection() || !matches!(error, mysql_async::Error::Server(_)) {
            self.conn = None;
            self.pool.forget_idle();
        }
        failure
    }

    fn late(&mut self, doing: &str) -> Failure {
        self.conn = None;
        StoreError::new(StoreErrorKind::Unavailable, format!("MySQL, {doing}: no answer in time")).into()
    }

    /// Runs a statement with bound values, each row given to `each`. When that
    /// fails the rest of the rows is read and left.
    pub(super) async fn each(&mut self, doing: &str, sql: &str, bound: Vec<Wire>, each: EachRow<'_>) -> Tried<()> {
        let before = std::mem::replace(&mut self.sound, Sound::No);
        let conn = self.conn()?;
        let running = async {
            let mut result = conn.exec_iter(sql, bound).await?;
            let mut outcome = Ok(());
            while let Some(row) = result.next().await? {
                if outcome.is_ok() {
                    outcome = each(cells(row));
                }
            }
            Ok(outcome)
        };
        let done = tokio::time::timeout(Duration::from_millis(STATEMENT_MS_MAX), running).await;
        match done {
            Ok(Ok(outcome)) => {
                self.sound = before;
                Ok(outcome?)
            }
            Ok(Err(error)) => {
                if matches!(error, mysql_async::Error::Server(_)) {
                    self.sound = before;
                }
                Err(self.failed(doing, &error))
            }
            Err(_) => Err(self.late(doing)),
        }
    }

    /// Runs a statement with bound values; its rows.
    pub(super) async fn rows(&mut self, doing: &str, sql: &str, bound: Vec<Wire>) -> Tried<Vec<Vec<Cell>>> {
        let mut rows = Vec::new();
        self.each(doing, sql, bound, &mut |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Runs a statement with bound values that answers no rows; how many rows
    /// it changed.
    pub(super) async fn run(&mut self, doing: &str, sql: &str, bound: Vec<Wire>) -> Tried<u64> {
        self.each(doing, sql, bound, &mut |_| Ok(())).await?;
        Ok(self.conn.as_ref().map_or(0, Conn::affected_rows))
    }

    /// As [`Session::run`], on a table of the user: what the server says only
    /// as a warning (it changed a value) is a refusal.
    pub(super) async fn run_strictly(&mut self, doing: &str, sql: &str, bound: Vec<Wire>) -> Tried<u64> {
        let changed = self.run(doing, sql, bound).await?;
        if self.conn.as_ref().is_some_and(|conn| conn.get_warnings() > 0) {
            self.refuse_warnings(doing).await?;
        }
        Ok(changed)
    }

    async fn refuse_warnings(&mut self, doing: &str) -> Tried<()> {
        let warnings = self.script(doing, "SHOW WARNINGS").await?;
        for warning in warnings {
            let [_, code, Cell::Bytes(message)] = warning.as_slice() else { continue };
            let code = number_of(code).and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            let message = String::from_utf8_lossy(message).into_owned();
            let told = mysql_async::ServerError { code, message, state: "01000".to_owned() };
            let found = failure(doing, &mysql_async::Error::Server(told));
            if found.is_refusal() {
                return Err(found);
            }
        }
        Ok(())
    }

    /// The cells that a statement answers under one name, of every row;
    /// `None`: it has no such column.
    pub(super) async fn named(&mut self, doing: &str, sql: &str, names: &[&str]) -> Tried<Vec<Option<Cell>>> {
        let running = self.conn()?.query::<Row, _>(sql);
        let rows = match tokio::time::timeout(Duration::from_millis(STATEMENT_MS_MAX), running).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return Err(self.failed(doing, &error)),
            Err(_) => return Err(self.late(doing)),
        };
        let find = |row: &Row| row.columns_ref().iter().position(|c| names.contains(&&*c.name_str()));
        Ok(rows.into_iter().map(|row| find(&row).and_then(|at| cells(row).into_iter().nth(at))).collect())
    }

    /// Runs statements without bound values in one message; the rows of each,
    /// whose numbers are texts (see [`number_of`]).
    pub(super) async fn script(&mut self, doing: &str, sql: &str) -> Tried<Vec<Vec<Cell>>> {
        let before = std::mem::replace(&mut self.sound, Sound::No);
        let conn = self.conn()?;
        let running = async {
            let mut result = conn.query_iter(sql).await?;
            let mut rows = Vec::new();
            loop {
                while let Some(row) = result.next().await? {
                    rows.push(cells(row));
                }
                if result.is_empty() {
                    // The error of a statement after the first is only told now.
                    return result.next().await.map(|_| rows);
                }
            }
        };
        match tokio::time::timeout(Duration::from_millis(STATEMENT_MS_MAX), running).await {
            Ok(Ok(rows)) => {
                self.sound = before;
                Ok(rows)
            }
            Ok(Err(error)) => {
                if matches!(error, mysql_async::Error::Server(_)) {
                    self.sound = before;
                }
                Err(self.failed(doing, &error))
            }
            Err(_) => Err(self.late(doing)),
        }
    }

    /// Begins a transaction that reads one snapshot.
    pub(super) async fn begin_snapshot(&mut self) -> Tried<()> {
        let sql =
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        self.begin(sql).await.map(|_| ())
    }

    /// Begins a transaction that writes, and runs more statements with it: each
    /// statement sees what is committed when it runs.
    pub(super) async fn begin_writing(&mut self, more: &str) -> Tried<Vec<Vec<Cell>>> {
        self.begin(&format!("START TRANSACTION; {more}")).await
    }

    async fn begin(&mut self, sql: &str) -> Tried<Vec<Vec<Cell>>> {
        // Open from here on, whatever becomes of the statements.
        self.sound = Sound::No;
        self.script("beginning", sql).await.map_err(Failure::of_a_repeatable)
    }

    /// Commits. Only where the server says that the transaction lost is it
    /// known not to be committed: whatever else comes instead of an answer may
    /// have come after the commit (a killed connection, a server that stops).
    pub(super) async fn commit(&mut self) -> Tried<()> {
        match self.script("committing", &format!("COMMIT; {RESET}")).await {
            Ok(_) => {
                self.sound = Sound::Yes;
                Ok(())
            }
            Err(failure) if failure.is_lost_race() => Err(failure),
            Err(_) => {
                self.conn = None;
                Err(StoreError::new(
                    StoreErrorKind::OutcomeUnknown,
                    "MySQL: the connection was lost while committing; whether it was committed is not known",
                )
                .into())
            }
        }
    }

    /// Ends the transaction without effect.
    pub(super) async fn roll_back(&mut self) {
        // When even this fails the connection is not used again, and the
        // server rolls back by itself.
        if self.script("rolling back", &format!("ROLLBACK; {RESET}")).await.is_ok() {
            self.sound = Sound::Yes;
        }
    }
}

fn cells(row: Row) -> Vec<Cell> {
    row.unwrap().into_iter().map(Cell::from).collect()
}

/// The number of a cell, whether it came as a number or as its text.
pub(super) fn number_of(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::Int(n) => u64::try_from(*n).ok(),
        Cell::UInt(n) => Some(*n),
        Cell::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Cell::Null | Cell::Real(_) => None,
    }
}

/// The text of a cell, lossless for what this connector asks as text.
pub(super) fn text_of(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Cell::Int(n) => Some(n.to_string()),
        Cell::UInt(n) => Some(n.to_string()),
        Cell::Null | Cell::Real(_) => None,
    }
}

/// Cells as bound values.
pub(super) fn bind<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Vec<Wire> {
    cells.into_iter().map(Wire::from).collect()
}
