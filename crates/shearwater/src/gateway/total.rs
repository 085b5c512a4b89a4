//! How many records match in all: counted, or by the store's own estimate.

use std::time::Duration;

use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::query::Filter;
use shearwater_engine::records::ListAsk;
use tokio::time::Instant;

use super::entity::{Entity, Version};
use super::headers::Count;
use super::problem::Problem;

/// How long an answer waits for a count: a third of a request's time, so that
/// the page is not lost for the sake of its total.
const COUNT_TIME_MAX: Duration = Duration::from_secs(10);

/// Records that `count=estimated` counts exactly; with more, an estimate is
/// worth as much to who reads it.
const ESTIMATED_RECORDS_MIN: u64 = 10_000;

/// The total that a client asked for; `None`: it did not ask, or it is not to
/// be had.
pub async fn of(entity: &Entity, version: &Version, filter: &Filter, count: Count) -> Result<Option<u64>, Problem> {
    match count {
        Count::None => Ok(None),
        Count::Exact => counted(entity, version, filter, u64::MAX).await,
        Count::Planned => planned(entity, filter).await,
        Count::Estimated => match planned(entity, filter).await? {
            Some(planned) if planned > ESTIMATED_RECORDS_MIN => Ok(Some(planned)),
            _ => counted(entity, version, filter, ESTIMATED_RECORDS_MIN).await,
        },
    }
}

/// The store's estimate, which is of all records.
async fn planned(entity: &Entity, filter: &Filter) -> Result<Option<u64>, Problem> {
    match filter {
        Filter::All => Ok(Some(entity.serve.estimate().await?.records)),
        _ => Ok(None),
    }
}

/// Counts page by page, in the memory of one page. What others write meanwhile
/// is counted or not, as it comes.
async fn counted(entity: &Entity, version: &Version, filter: &Filter, max: u64) -> Result<Option<u64>, Problem> {
    let deadline = Instant::now() + COUNT_TIME_MAX;
    let (mut total, mut after) = (0, None);
    loop {
        let ask = ListAsk {
            shape: version.shape,
            filter: filter.clone(),
            order: Vec::new(),
            after: after.take(),
            limit: LIST_RECORDS_MAX,
        };
        let Ok(page) = tokio::time::timeout_at(deadline, entity.serve.list(ask)).await else { return Ok(None) };
        let page = page?;
        total += page.records.len() as u64;
        match page.next {
            None => return Ok(Some(total)),
            Some(_) if total >= max => return Ok(None),
            Some(next) => after = Some(next),
        }
    }
}
