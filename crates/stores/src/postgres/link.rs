//! One connection that is made again when it is lost, for what is not a store:
//! the journal.
//!
//! Every call is one statement that may be repeated: it changes nothing when
//! it has been done already, or is told from another by a unique id. So a
//! statement whose answer was lost is sent again, and a restart of the server
//! that is shorter than the patience here is not noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::error::{Policy, StoreError, StoreErrorKind, StoreResult};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::config::Config;
use super::session::Session;

/// How long one call is tried again, s: a restart of a server takes a few
/// seconds, and who waits longer should be told.
const PATIENCE_S_MAX: u64 = 10;

/// How long the answer to one statement may take, s. The statements take
/// milliseconds; a connection that is silent for longer is given up for a new one.
const ANSWER_S_MAX: u64 = 5;

/// Pauses between tries, ms: the first is short, since most losses are of one
/// connection and not of the server.
const PAUSE_MS: &[u64] = &[0, 20, 50, 100, 200];

/// A connection that comes back.
pub(crate) struct Link {
    config: Config,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Link {
    /// Connects; a first connection that fails is told at once.
    pub(crate) async fn open(url: &str) -> StoreResult<Link> {
        let link = Link { config: Config::parse(url)?, session: tokio::sync::Mutex::new(None) };
        link.session().await?;
        Ok(link)
    }

    /// The database as messages name it: no user, no password.
    pub(crate) fn place(&self) -> &str {
        self.config.place()
    }

    /// The rows of one repeatable statement.
    pub(crate) async fn rows(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> StoreResult<Vec<Row>> {
        let until = Instant::now() + Duration::from_secs(PATIENCE_S_MAX);
        let mut tried = 0;
        loop {
            let error = match self.attempt(sql, bound).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if error.policy() != Policy::Retry || Instant::now() >= until {
                return Err(error);
            }
            let pause = PAUSE_MS.get(tried).or(PAUSE_MS.last()).copied().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(pause)).await;
            tried += 1;
        }
    }

    async fn attempt(&self, sql: &str, bound: &[&(dyn ToSql + Sync)]) -> StoreResult<Vec<Row>> {
        let answer = Duration::from_secs(ANSWER_S_MAX);
        let session = match tokio::time::timeout(answer, self.session()).await {
            Ok(session) => session?,
            Err(_) => return Err(silent(&self.config, "does not take a connection")),
        };
        match tokio::time::timeout(answer, session.rows(sql, bound)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(failure)) => {
                if failure.code.is_none() || session.client.is_closed() {
                    self.forget(&session).await;
                }
                Err(failure.error)
            }
            Err(_) => {
                self.forget(&session).await;
                Err(silent(&self.config, "does not answer"))
            }
        }
    }

    async fn session(&self) -> StoreResult<Arc<Session>> {
        let mut session = self.session.lock().await;
        match session.as_ref() {
            Some(open) if !open.client.is_closed() => Ok(open.clone()),
            _ => {
                let fresh = Arc::new(Session::open(&self.config).await?);
                *session = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// Gives a connection up, unless somebody has replaced it already.
    async fn forget(&self, lost: &Arc<Session>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|now| Arc::ptr_eq(now, lost)) {
            *session = None;
        }
    }
}

/// A URL's database as messages name it; an error when the URL cannot be read.
pub(crate) fn place_of(url: &str) -> StoreResult<String> {
    Ok(Config::parse(url)?.place().to_owned())
}

fn silent(config: &Config, what: &str) -> StoreError {
    let message = format!("PostgreSQL at {} {what} within {ANSWER_S_MAX} s", config.place());
    StoreError::new(StoreErrorKind::Unavailable, message)
        .with_hint("see whether the server runs and whether the network reaches it")
}
