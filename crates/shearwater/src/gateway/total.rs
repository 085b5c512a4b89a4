//! How many records match in all: counted, or by the store's own estimate.

use std::time::Duration;

use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::query::Filter;
use shearwater_engine::records::ListAsk;
use tokio::time::Instant;

use super::entity::{Entity, Version};
use super::headers::{Count, Handling, Prefer};
use super::problem::Problem;
use super::reads::listed;

/// How long an answer waits for a count: a third of a request's time, so that
/// the page is not lost for the sake of its total.
const COUNT_TIME_MAX: Duration = Duration::from_secs(10);

/// Records that `count=estimated` counts exactly; with more, an estimate is
/// worth as much to who reads it.
const ESTIMATED_RECORDS_MIN: u64 = 10_000;

/// The total that a client asked for; `None`: it did not ask, or it is not to
/// be had.
pub async fn of(entity: &Entity, version: &Version, filter: &Filter, prefer: Prefer) -> Result<Option<u64>, Problem> {
    let handling = prefer.handling;
    match prefer.count {
        Count::None => Ok(None),
        Count::Exact => counted(entity, version, filter, handling, u64::MAX).await,
        Count::Planned => planned(entity, filter).await,
        Count::Estimated => match planned(entity, filter).await? {
            Some(planned) if planned > ESTIMATED_RECORDS_MIN => Ok(Some(planned)),
            _ => counted(entity, version, filter, handling, ESTIMATED_RECORDS_MIN).await,
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
async fn counted(
    entity: &Entity,
    version: &Version,
    filter: &Filter,
    handling: Handling,
    max: u64,
) -> Result<Option<u64>, Problem> {
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
        let Ok(page) = tokio::time::timeout_at(deadline, listed(entity, ask, handling)).await else { return Ok(None) };
        let (page, _) = page?;
        total += page.records.len() as u64;
        match page.next {
            None => return Ok(Some(total)),
            Some(_) if total >= max => return Ok(None),
            Some(next) => after = Some(next),
        }
    }
}
