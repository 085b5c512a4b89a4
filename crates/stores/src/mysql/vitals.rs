//! How background work weighs on the server: who waits for locks of ours, and
//! how far behind the replicas are that the URL names.
//!
//! A primary knows nothing of its replicas' lag, so they are asked themselves.

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Load, Vitals};

use super::MySql;
use super::cell::Cell;
use super::error::Tried;
use super::facts::Family;
use super::session::{Pool, Session, number_of};

const MS_PER_S: u64 = 1_000;

/// What the user may not see: the server's transactions.
const NO_PRIVILEGE: [u16; 2] = [1227, 1142];

/// Transactions that wait for a lock of one of our connections.
pub(super) async fn lock_waits(pool: &Pool, family: Family, session: &mut Session) -> Tried<u64> {
    let status = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
    let rows = session.script("reading the server's state", status).await?;
    let all = rows.first().and_then(|row| row.get(1)).and_then(number_of).unwrap_or(0);
    if all == 0 {
        return Ok(0);
    }
    let ours: Vec<String> = pool.open().iter().map(u32::to_string).collect();
    let ours = ours.join(", ");
    let sql = match family {
        Family::MariaDb => format!(
            "SELECT COUNT(DISTINCT w.requesting_trx_id) FROM information_schema.innodb_lock_waits w \
             JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id WHERE b.trx_mysql_thread_id IN ({ours})"
        ),
        Family::MySql => format!(
            "SELECT COUNT(DISTINCT w.requesting_thread_id) FROM performance_schema.data_lock_waits w \
             JOIN performance_schema.threads b ON b.thread_id = w.blocking_thread_id WHERE b.processlist_id IN ({ours})"
        ),
    };
    match session.script("reading lock waits", &sql).await {
        Ok(rows) => Ok(rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(all)),
        // Whose locks they are is not for this user to see: as if they were ours.
        Err(failure) if NO_PRIVILEGE.contains(&failure.code) => Ok(all),
        Err(failure) => Err(failure),
    }
}

/// How far a replica is behind, ms.
async fn lag_ms(replica: &std::sync::Arc<Pool>) -> StoreResult<u64> {
    let place = replica.place().to_owned();
    let unknown = |what: &str| {
        StoreError::new(
            StoreErrorKind::Unavailable,
            format!("MySQL: the lag of the replica {place} is not known: {what}"),
        )
        .with_hint("check the replica, or take it out of the URL")
    };
    let mut session = replica.session().await?;
    let rows = session.script("asking a replica", "SELECT VERSION()").await?;
    let version = rows.first().and_then(|row| row.first()).and_then(super::session::text_of).unwrap_or_default();
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    let sql = if is_mariadb { "SHOW ALL SLAVES STATUS" } else { "SHOW REPLICA STATUS" };
    let names = ["Seconds_Behind_Master", "Seconds_Behind_Source"];
    let lags = session.named("asking a replica", sql, &names).await?;
    if lags.is_empty() {
        return Err(unknown("it follows nobody"));
    }
    let mut worst = 0;
    for lag in lags {
        match lag {
            Some(Cell::Null) | None => return Err(unknown("it does not apply what it gets")),
            Some(cell) => worst = worst.max(number_of(&cell).ok_or_else(|| unknown("its answer is no number"))?),
        }
    }
    Ok(worst.saturating_mul(MS_PER_S))
}

#[async_trait]
impl Vitals for MySql {
    async fn load(&self) -> StoreResult<Load> {
        let inner = &*self.0;
        let mut attempt = 0;
        let lock_waits = loop {
            let mut session = inner.pool.session().await?;
            let family = inner.tables(&mut session).await?.server.family;
            match lock_waits(&inner.pool, family, &mut session).await {
                Ok(waits) => break waits,
                Err(failure) => inner.again(failure.of_a_repeatable(), &mut attempt).await?,
            }
        };
        let mut replica_lag_ms = 0;
        for replica in &inner.replicas {
            replica_lag_ms = lag_ms(replica).await?.max(replica_lag_ms);
        }
        Ok(Load { lock_waits, replica_lag_ms })
    }
}
