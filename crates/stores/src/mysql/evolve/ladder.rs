//! Running a statement that must not wait long for the lock of a table's
//! definition: the servers count such waits in whole seconds, so a second
//! connection looks and ends the wait.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::Blocker;

use super::super::error::{Tried, failure};
use super::super::session::connect;

/// What the servers say of a session that waits for such a lock.
const WAITING: &str = "Waiting for table metadata lock";

/// Between two looks at least, ms.
const LOOK_MS_MIN: u64 = 2;

/// Sessions that are named as being in the way.
const BLOCKERS_MAX: usize = 5;

/// A statement that was interrupted.
const INTERRUPTED: u16 = 1317;

/// A lock that was not given in time.
const TIMEOUT: u16 = 1205;

/// How the statements ended.
pub(super) enum Ran {
    /// All of them, and how long they took without their wait.
    Done(Duration),
    /// The lock was not given in time.
    Busy,
}

/// Runs statements on a connection of their own; ends them when they wait for a
/// definition's lock for longer than `patience`.
pub(super) async fn run(opts: &Opts, place: &str, statements: &[String], patience: Duration) -> StoreResult<Ran> {
    let mut conn = connect(opts.clone(), place).await?;
    let mut watch = connect(opts.clone(), place).await?;
    let id = conn.id();
    let began = Instant::now();
    let work = async {
        // The last bound, should the watch be lost: the shortest that both servers have.
        conn.query_drop("SET SESSION lock_wait_timeout = 1").await?;
        for statement in statements {
            conn.query_drop(statement.as_str()).await?;
        }
        Ok::<_, mysql_async::Error>(())
    };
    let mut waited = Duration::ZERO;
    let done = tokio::select! {
        done = work => done,
        lost = guard(&mut watch, id, patience, &mut waited) => match lost {
            Ok(never) => match never {},
            Err(failure) => return Err(failure.error),
        },
    };
    let took = began.elapsed().saturating_sub(waited);
    // The connection ends here, and with it the lock of the table.
    let _ = conn.disconnect().await;
    let _ = watch.disconnect().await;
    match done {
        Ok(()) => Ok(Ran::Done(took)),
        Err(mysql_async::Error::Server(error)) if matches!(error.code, INTERRUPTED | TIMEOUT) => Ok(Ran::Busy),
        Err(error) => Err(failure("altering the table", &error).error),
    }
}

/// Looks at the session's state; kills its statement when it waits too long.
async fn guard(
    watch: &mut Conn,
    id: u32,
    patience: Duration,
    waited: &mut Duration,
) -> Tried<std::convert::Infallible> {
    let told = |error: mysql_async::Error| failure("watching an alteration", &error);
    let pause = (patience / 4).max(Duration::from_millis(LOOK_MS_MIN));
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(pause).await;
        let state: Option<Option<String>> = watch
            .query_first(format!("SELECT state FROM information_schema.processlist WHERE id = {id}"))
            .await
            .map_err(told)?;
        let waits = state.flatten().is_some_and(|state| state == WAITING);
        since = match (waits, since) {
            (true, None) => Some(Instant::now()),
            (true, Some(from)) if from.elapsed() >= patience => {
                watch.query_drop(format!("KILL QUERY {id}")).await.map_err(told)?;
                None
            }
            (true, from) => from,
            (false, from) => {
                *waited += from.map(|from| from.elapsed()).unwrap_or_default();
                None
            }
        };
    }
}

/// The sessions with a transaction open, the oldest first: one of them has used
/// the table. Which one the servers tell only with a plugin.
pub(super) async fn blockers(opts: &Opts, place: &str) -> StoreResult<Vec<Blocker>> {
    let mut conn = connect(opts.clone(), place).await?;
    let sql = "SELECT p.id, p.user, TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) DIV 1000 \
               FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
               WHERE p.id <> CONNECTION_ID() ORDER BY t.trx_started";
    let rows: Result<Vec<(u64, String, i64)>, _> = conn.query(sql).await;
    let _ = conn.disconnect().await;
    // Who may not see transactions is told that there is somebody.
    let rows = rows.unwrap_or_default();
    let mut blockers: Vec<Blocker> = rows
        .into_iter()
        .take(BLOCKERS_MAX)
        .map(|(id, user, ms)| Blocker {
            session: id.to_string(),
            what: format!("{user}, in an open transaction"),
            for_ms: ms.max(0).unsigned_abs(),
        })
        .collect();
    if blockers.is_empty() {
        blockers.push(Blocker { session: "?".to_owned(), what: "a session that uses the table".to_owned(), for_ms: 0 });
    }
    Ok(blockers)
}
