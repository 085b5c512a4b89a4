//! Connections: how they are made, and the bounded pool of them.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::config::{Config, Tls};
use super::error::{Failure, failure, store_error};
use super::tls;

/// The oldest server that is supported: 11 and older get no more repairs, and
/// lack generated columns and what triggers need.
const SERVER_VERSION_MIN: u32 = 120_000;

/// Prepared statements kept per connection: about twice what one layout uses;
/// lists make more, of which the oldest are forgotten together.
const STATEMENTS_MAX: usize = 256;

/// Processes remembered for each connection that the pool may have: those of
/// lost connections end by themselves, and their numbers are not used again soon.
const PIDS_PER_CONNECTION_MAX: usize = 4;

/// What makes texts of values and the meaning of statements the same whatever
/// the server's configuration says (the user's search path stays behind the
/// catalogue's, for the triggers of the user that our writes run).
const SETTINGS: &str = "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; \
     SET standard_conforming_strings = on; SET xmlbinary = 'base64'; SET client_encoding = 'UTF8'; \
     SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
     SET client_min_messages = warning; \
     SELECT set_config('jit', 'off', false) WHERE current_setting('jit', true) IS NOT NULL; \
     SELECT set_config('search_path', 'pg_catalog, ' || current_setting('search_path'), false); \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// What a call may wait for: a lock longer than any of our own transactions
/// takes, ms; a statement longer than a scan of a large table, ms; a
/// transaction that lost its program, ms.
pub(super) const WAITS: &str =
    "SET lock_timeout = 5000; SET statement_timeout = 600000; SET idle_in_transaction_session_timeout = 60000";

/// One connection.
pub(super) struct Session {
    /// The connection.
    pub(super) client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    /// Its process in the server.
    pid: i32,
    /// Whether it must not be used again: a transaction was left open, or its
    /// statements no longer fit the tables.
    spoiled: AtomicBool,
}

impl Session {
    pub(super) async fn open(config: &Config) -> StoreResult<Session> {
        let doing = format!("connecting to {}", config.place());
        let failed = |error: tokio_postgres::Error| connect_error(&doing, &error);
        let client = match &config.tls {
            Tls::Off => {
                let (client, connection) = config.driver.connect(NoTls).await.map_err(failed)?;
                drive(connection);
                client
            }
            protected => {
                let connector = tls::connector(protected)?;
                let (client, connection) = config.driver.connect(connector).await.map_err(failed)?;
                drive(connection);
                client
            }
        };
        client.batch_execute(&format!("{WAITS}; {SETTINGS}")).await.map_err(failed)?;
        let pid = check_server(&client, config).await?;
        Ok(Session { client, statements: Mutex::new(HashMap::new()), pid, spoiled: AtomicBool::new(false) })
    }

    /// A statement, prepared once for this connection.
    pub(super) async fn prepared(&self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|e| failure("preparing a statement", &e))?;
        let mut kept = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= STATEMENTS_MAX {
            kept.clear();
        }
        kept.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// All rows of a statement.
    pub(super) async fn rows(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql).await?;
        self.client.query(&statement, bound).await.map_err(|e| self.failed("reading", &e))
    }

    /// The one row of a statement that always has one.
    pub(super) async fn one(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<Row, Failure> {
        let rows = self.rows(sql, bound).await?;
        rows.into_iter().next().ok_or_else(|| unexpected("a statement gave no row").into())
    }

    /// Runs a statement; the rows that it changed.
    pub(super) async fn run(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> Result<u64, Failure> {
        let statement = self.prepared(sql).await?;
        self.client.execute(&statement, bound).await.map_err(|e| self.failed("writing", &e))
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(|e| self.failed("working", &e))
    }

    /// Runs statements in a transaction of its own: all or none. A caller that
    /// goes away meanwhile leaves a connection that is not used again.
    pub(super) async fn transaction<T, E: From<Failure>>(
        &self,
        begin: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.spoiled.store(true, Ordering::Relaxed);
        self.batch(begin).await?;
        let result = work.await;
        let ended = match &result {
            Ok(_) => self.batch("COMMIT").await,
            Err(_) => self.batch("ROLLBACK").await,
        };
        if ended.is_ok() {
            self.spoiled.store(false, Ordering::Relaxed);
        }
        match (result, ended) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(lost)) => Err(lost.of_commit().into()),
            (Err(error), _) => Err(error),
        }
    }

    /// A failure of a statement; one whose plan is outdated spoils the connection.
    pub(super) fn failed(&self, doing: &str, error: &tokio_postgres::Error) -> Failure {
        let failure = failure(doing, error);
        if failure.is_outdated_plan() {
            self.statements.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        failure
    }

    fn is_fit(&self) -> bool {
        !self.client.is_closed() && !self.spoiled.load(Ordering::Relaxed)
    }
}

/// Refuses a server that is not supported; the session's process in it.
async fn check_server(client: &Client, config: &Config) -> StoreResult<i32> {
    let sql =
        "SELECT current_setting('server_version_num')::int8, current_setting('server_encoding'), pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.map_err(|e| store_error("looking at the server", &e))?;
    let (version, encoding): (i64, String) = (get(&row, 0)?, get(&row, 1)?);
    check_fit(version, &encoding).map_err(|what| unfit(config, &what))?;
    get(&row, 2)
}

fn check_fit(version: i64, encoding: &str) -> Result<(), String> {
    if version < i64::from(SERVER_VERSION_MIN) {
        return Err(format!("the server is version {}; 12 or later is needed", version / 10_000));
    }
    if encoding != "UTF8" {
        return Err(format!("the database's encoding is {encoding}; UTF8 is needed"));
    }
    Ok(())
}

/// Reads a column.
pub(super) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> StoreResult<T> {
    row.try_get(at).map_err(|e| store_error("reading an answer", &e))
}

pub(super) fn unexpected(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("PostgreSQL: {what}"))
}

fn unfit(config: &Config, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("PostgreSQL at {}: {what}", config.place()))
        .with_hint("move the data to a newer server or a database with that encoding first")
}

fn connect_error(doing: &str, error: &tokio_postgres::Error) -> StoreError {
    let error = store_error(doing, error);
    match error.kind {
        StoreErrorKind::Unavailable if error.hint.is_none() => {
            error.with_hint("check the host and the port in the URL, that the server runs, and its TLS (sslmode)")
        }
        _ => error,
    }
}

/// The connection's own work, which ends with the connection.
fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
}

/// Sends every request before it waits for the first answer, so that all of
/// them take one round trip; the answers in order.
pub(super) async fn pipelined<F: Future>(requests: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = requests.into_iter().map(|request| (Box::pin(request), None)).collect();
    for (request, answer) in &mut running {
        // The first poll of a request of the driver sends it.
        *answer = futures::future::poll_immediate(&mut *request).await;
    }
    let mut answers = Vec::with_capacity(running.len());
    for (request, answer) in running {
        answers.push(match answer {
            Some(answer) => answer,
            None => pin!(request).await,
        });
    }
    answers
}

/// Connections of one store.
pub(super) struct Pool {
    config: Config,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Session>>>,
    /// The processes of connections that were made; some may have ended.
    pids: Mutex<Vec<i32>>,
}

/// A connection while one caller uses it.
pub(super) struct Lease {
    session: Option<Session>,
    idle: Arc<Mutex<Vec<Session>>>,
    _turn: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool whose first connection is made now, so that a bad URL is told now.
    pub(super) async fn open(config: Config) -> StoreResult<Pool> {
        let first = Session::open(&config).await?;
        Ok(Pool {
            turns: Arc::new(Semaphore::new(config.connections)),
            pids: Mutex::new(vec![first.pid]),
            idle: Arc::new(Mutex::new(vec![first])),
            config,
        })
    }

    /// A connection; waits for one when all are in use.
    pub(super) async fn lease(&self) -> StoreResult<Lease> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| unexpected("the store is closing"))?;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let session = match idle {
                Some(session) if session.is_fit() => session,
                Some(_) => continue,
                None => {
                    let session = Session::open(&self.config).await?;
                    self.remember(session.pid);
                    session
                }
            };
            return Ok(Lease { session: Some(session), idle: self.idle.clone(), _turn: turn });
        }
    }

    fn remember(&self, pid: i32) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        if pids.len() >= PIDS_PER_CONNECTION_MAX * self.config.connections {
            pids.remove(0);
        }
        pids.push(pid);
    }

    /// The processes of our connections in the server, the latest ones.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The schema of the user's tables.
    pub(super) fn schema(&self) -> &str {
        &self.config.schema
    }
}

impl Deref for Lease {
    type Target = Session;

    #[expect(clippy::unwrap_used, reason = "the session is taken out only when the lease is dropped")]
    fn deref(&self) -> &Session {
        self.session.as_ref().unwrap()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && session.is_fit()
        {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_not_supported_are_told_why() {
        let check = |version: i64, encoding: &str, says: &str| {
            let told = check_fit(version, encoding).unwrap_err();
            assert!(told.contains(says), "{told}");
            let config = Config::parse("postgres://u:s3cret@h/d").unwrap();
            let error = unfit(&config, &told);
            assert!(error.kind == StoreErrorKind::Unsupported && error.hint.is_some(), "{error:?}");
            assert!(error.message.contains("h:5432/d") && !error.message.contains("s3cret"), "{error}");
        };
        check(110_022, "UTF8", "version 11; 12 or later");
        check(90_624, "UTF8", "version 9");
        check(150_000, "LATIN1", "LATIN1");
        assert_eq!(check_fit(120_000, "UTF8"), Ok(()));
    }
}
