//! Reading one record.

use shearwater_core::Key;
use shearwater_core::lifecycle::State;
use shearwater_core::route::{self, ReadRoute};
use shearwater_core::store::{Fetched, Side};

use super::{DataPath, Got, Protection, RETRY_AFTER_MS, ServeError, Shape};
use crate::member::{Confirmed, Reading};

/// Attempts of a read that the migration overtook: a switch has three entries,
/// so more means that phases change faster than stores answer.
pub(crate) const READ_ATTEMPTS_MAX: usize = 16;

impl DataPath {
    pub(super) async fn get(self: &std::sync::Arc<Self>, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let Some((served_by, fetched)) = self.fetch_routed(&reading.view.state, shape, key).await? else {
                return Ok(None);
            };
            if self.confirm(&reading).await? == Confirmed::MovedOn {
                continue;
            }
            if let Some(follower) = route::shadow(&reading.view.state) {
                self.shadow_record(served_by, follower, &fetched);
            }
            return self.show(served_by, shape, fetched);
        }
        Err(moving())
    }

    /// The record as the store that the route names has it; `None` when the key
    /// cannot be in the other shape, so that no record has it.
    async fn fetch_routed(
        &self,
        state: &State,
        shape: Shape,
        key: &Key,
    ) -> Result<Option<(Side, Fetched)>, ServeError> {
        // The ramp goes by the source's key in both shapes, so that v1 and v2
        // clients read a record from the same store.
        let Ok(source_key) = self.key_across(shape.side(), Side::Source, key) else { return Ok(None) };
        let route = match self.without(Protection::RampByKey) {
            true => by_request(state),
            false => route::read(state, &source_key),
        };
        let (side, follower) = match route {
            ReadRoute::From(side) => (side, None),
            ReadRoute::RampedTo { follower, authority } => (authority, Some(follower)),
        };
        let Ok(own_key) = self.key_across(shape.side(), side, key) else { return Ok(None) };
        if let (Some(follower), true) = (follower, self.without(Protection::DirtyKeysFromAuthority)) {
            let key = self.key_across(side, follower, &own_key).map_err(super::unprocessable)?;
            return Ok(Some((follower, self.setup.store(follower).fetch(&key).await?)));
        }
        let held = self.setup.store(side).fetch(&own_key).await?;
        match follower {
            Some(follower) if !held.dirty => Ok(Some(self.fetch_ramped(follower, side, held).await)),
            Some(_) | None => Ok(Some((side, held))),
        }
    }

    /// A clean key's record from the follower, or from the authority when the
    /// follower fails or does not have what the authority confirmed.
    async fn fetch_ramped(&self, follower: Side, authority: Side, held: Fetched) -> (Side, Fetched) {
        let Ok(key) = self.key_across(authority, follower, &held.key) else { return (authority, held) };
        match self.setup.store(follower).fetch(&key).await {
            Ok(found) if found.stamp >= held.stamp && (found.stamp > held.stamp || same_presence(&found, &held)) => {
                (follower, found)
            }
            Ok(_) => {
                metrics::counter!("shearwater_ramp_fallbacks_total", "why" => "behind").increment(1);
                (authority, held)
            }
            Err(_) => {
                metrics::counter!("shearwater_ramp_fallbacks_total", "why" => "failed").increment(1);
                (authority, held)
            }
        }
    }

    /// Whether a read may be answered: the lease holds, the epoch is the same,
    /// and, while the authority is unsettled, the journal has not moved on:
    /// another member may have seen the end earlier, and written to the new one.
    pub(super) async fn confirm(&self, reading: &Reading) -> Result<Confirmed, ServeError> {
        let seq = reading.view.seq;
        if route::confirm_reads(&reading.view.state) && self.setup.journal.last_seq().await? != seq {
            self.member.nudge();
            self.member.seen_above(seq).await;
            return Ok(Confirmed::MovedOn);
        }
        Ok(self.member.confirm(reading)?)
    }
}

fn same_presence(found: &Fetched, held: &Fetched) -> bool {
    found.image.is_some() == held.image.is_some()
}

pub(crate) fn moving() -> ServeError {
    ServeError::Unavailable { reason: "the authority is moving".to_owned(), retry_after_ms: RETRY_AFTER_MS }
}

/// H7 without its protection: the ramp by request, every other one.
fn by_request(state: &State) -> ReadRoute {
    use std::sync::atomic::{AtomicU64, Ordering};
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    match route::list(state) {
        route::ListRoute::Overlaid { follower, .. } if REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            ReadRoute::From(follower)
        }
        route::ListRoute::Overlaid { authority, .. } => ReadRoute::From(authority),
        route::ListRoute::From(side) => ReadRoute::From(side),
    }
}
