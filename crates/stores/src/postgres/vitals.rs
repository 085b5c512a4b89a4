//! How our background work weighs on the server now.

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::store::{Load, Vitals};

use super::Postgres;
use super::session::{Pool, get};

/// Others' sessions that wait for a lock of ours, and how far the slowest
/// replica is behind, ms. A replica that has nothing to replay has no lag; one
/// that no longer answers is behind since its last answer, if that is longer ago
/// than its usual silence. `pg_locks` is open to everybody; the lags are seen by
/// members of `pg_monitor` only, which `plan` tells.
const LOAD: &str = "SELECT \
     (SELECT count(*) FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pid <> ALL($1)) w \
      WHERE pg_blocking_pids(w.pid) && $1), \
     (SELECT coalesce(max(extract(epoch FROM greatest(r.replay_lag, \
      CASE WHEN now() - r.reply_time > interval '15 s' AND r.replay_lsn < r.sent_lsn THEN now() - r.reply_time END)) \
      * 1000), 0)::int8 FROM pg_stat_replication r WHERE r.state IN ('streaming', 'catchup'))";

#[async_trait]
impl Vitals for Postgres {
    async fn load(&self) -> StoreResult<Load> {
        load(&self.pool).await
    }
}

/// The load that the connections of a pool make.
pub(super) async fn load(pool: &Pool) -> StoreResult<Load> {
    let session = pool.lease().await?;
    let row = session.one(LOAD, &[&pool.pids()]).await?;
    let (waits, lag): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
    Ok(Load { lock_waits: waits.unsigned_abs(), replica_lag_ms: lag.max(0).unsigned_abs() })
}
