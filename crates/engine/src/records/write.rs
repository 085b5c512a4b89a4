//! Writing: read, edit in the client's shape, write in the authority's under
//! the stamps that were read, then the follower.

use std::sync::Arc;

use shearwater_core::Stamp;
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::route::{self, FollowerWait, WriteRoute};
use shearwater_core::store::{Change, Expect, Put, Side, Write, Written};

use super::follow::{FollowItem, FollowJob, Followed, now_ms};
use super::hold::{Hold, Until};
use super::idempotency::{Outcome, row_of};
use super::turns;
use super::{
    ClientChange, DataPath, Got, Idempotency, KeyKept, Protection, ServeError, Shape, WriteDone, etag_of, unprocessable,
};
use crate::foreground::Asked;
use crate::member::{Admission, View};

mod prepare;
mod settle;

use prepare::Prepared;
pub(crate) use prepare::{Meets, meets};
use settle::Settled;

/// How one attempt ended, when not with an error for the client.
enum Attempt {
    Done(WriteDone),
    /// The authority is unsettled, or has moved: wait.
    Hold(Until),
    /// Another writer was first: read again.
    Raced,
}

/// Where a write goes now.
struct Destination {
    authority: Side,
    follower: Option<Side>,
    wait: FollowerWait,
    check_target_first: bool,
}

impl DataPath {
    pub(super) async fn write(
        self: &Arc<Self>,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        let _turn = idempotency.as_ref().map(|i| self.in_flight.enter(&i.key)).transpose()?;
        let mut hold = Hold::default();
        let mut raced = 0;
        loop {
            let admission = self.member.admit()?;
            let seq = admission.view.seq;
            match self.attempt(admission, shape, &changes, idempotency.as_ref(), raced).await {
                Ok(Attempt::Hold(until)) => hold.wait(self, seq, until).await?,
                Ok(Attempt::Raced) if raced + 1 < REWRITE_ATTEMPTS_MAX => {
                    raced += 1;
                    turns::rest(raced).await;
                }
                Ok(Attempt::Raced) => {
                    hold.end(self);
                    return Err(ServeError::Contended);
                }
                Ok(Attempt::Done(done)) => {
                    hold.end(self);
                    return Ok(done);
                }
                Err(error) => {
                    hold.end(self);
                    return Err(error);
                }
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        admission: Admission,
        shape: Shape,
        changes: &[ClientChange],
        idempotency: Option<&Idempotency>,
        raced: usize,
    ) -> Result<Attempt, ServeError> {
        let view: &View = &admission.view;
        let epoch = view.state.epoch;
        let to = match route::write(&view.state) {
            WriteRoute::Hold => return Ok(Attempt::Hold(Until::Entry)),
            WriteRoute::To { authority, follower, wait, check_target_first, epoch: _ } => {
                Destination { authority, follower, wait, check_target_first }
            }
        };
        let idempotency = idempotency.filter(|_| !self.without(Protection::IdempotencyRow));
        if let Some(idempotency) = idempotency
            && let Some(done) = self.first_answer(view, shape, to.authority, idempotency).await?
        {
            return Ok(Attempt::Done(done));
        }
        if changes.is_empty() {
            return Ok(Attempt::Done(WriteDone { followed: true, ..WriteDone::default() }));
        }
        let turn = self.turns.take(raced).await;
        let prepared = self.prepare(shape, to.authority, changes).await?;
        if prepared.changes.is_empty() {
            return Ok(Attempt::Done(done(prepared, &[], Followed::Yes)));
        }
        prepared.can_be_kept()?;
        let mapped = match to.follower.filter(|_| to.check_target_first && !self.without(Protection::CheckTargetFirst))
        {
            Some(follower) => Some(self.check_follower(&to, follower, &prepared).await?),
            None => None,
        };
        if !prepared.stamped {
            prepared.nothing_parked()?;
        }
        let key_kept = match (idempotency, prepared.stamped) {
            (None, _) => KeyKept::NotAsked,
            (Some(_), true) => KeyKept::Kept,
            (Some(_), false) => KeyKept::NoPlace,
        };
        let idempotency = idempotency.filter(|_| prepared.stamped);
        let outcomes: Vec<Outcome> = prepared.outcomes.iter().map(|(outcome, _)| outcome.clone()).collect();
        let write = Write {
            epoch: prepared.stamped.then_some(epoch),
            changes: prepared.changes.clone(),
            idempotency: idempotency.map(|i| row_of(i, &outcomes, now_ms())),
        };
        let asking = self.member.foreground().asking();
        let stamps = match self.setup.store(to.authority).write(write).await {
            Ok(Written::Applied(stamps)) => stamps,
            Ok(Written::Replayed(row)) => return self.replay(shape, to.authority, &row).await.map(Attempt::Done),
            Err(error) => match self.after_error(&to, &prepared, idempotency, error).await? {
                Settled::Applied(stamps) => stamps,
                Settled::Replayed(row) => return self.replay(shape, to.authority, &row).await.map(Attempt::Done),
                Settled::Hold => return Ok(Attempt::Hold(Until::EntryOrRest)),
                Settled::Raced => return Ok(Attempt::Raced),
            },
        };
        drop(turn);
        self.member.foreground().answered(Asked::Write, &asking);
        // The follower refuses older epochs by itself: waiting for it holds none back.
        drop(admission);
        let followed = self.bring_follower(epoch, &to, &prepared, &stamps, mapped).await;
        Ok(Attempt::Done(WriteDone { key_kept, ..done(prepared, &stamps, followed) }))
    }

    /// The answer of an earlier request with this key, looked for before
    /// anything is decided: its own effect must not refuse the retry.
    async fn first_answer(
        &self,
        view: &View,
        shape: Shape,
        authority: Side,
        idempotency: &Idempotency,
    ) -> Result<Option<WriteDone>, ServeError> {
        if let Some(row) = self.setup.store(authority).recall(&idempotency.key).await? {
            if row.request_hash != idempotency.request_hash {
                return Err(ServeError::IdempotencyReused);
            }
            return self.replay(shape, authority, &row).await.map(Some);
        }
        let switched = view.state.captured && (view.state.rolled_back || authority == Side::Target);
        self.recall_across_switch(shape, switched.then_some(authority.other()), idempotency).await
    }

    /// What the follower would refuse for ever is refused before the authority
    /// takes it (H19): the mapping, and values that must be unique.
    async fn check_follower(
        &self,
        to: &Destination,
        follower: Side,
        prepared: &Prepared,
    ) -> Result<Vec<Put>, ServeError> {
        let mut puts = Vec::with_capacity(prepared.changes.len());
        for change in &prepared.changes {
            puts.push(self.map_put(follower, change).map_err(unprocessable)?);
        }
        self.check_unique(to.authority, follower, &puts).await?;
        Ok(puts)
    }

    async fn bring_follower(
        self: &Arc<Self>,
        epoch: u64,
        to: &Destination,
        prepared: &Prepared,
        stamps: &[Option<Stamp>],
        mapped: Option<Vec<Put>>,
    ) -> Followed {
        let Some(follower) = to.follower else { return Followed::Yes };
        let mut mapped = mapped.map(Vec::into_iter);
        let mut items = Vec::with_capacity(stamps.len());
        for ((change, was_dirty), stamp) in prepared.changes.iter().zip(&prepared.was_dirty).zip(stamps) {
            let put = match mapped.as_mut().and_then(Iterator::next) {
                Some(put) => Ok(put),
                None => self.map_put(follower, change),
            };
            // Without a stamp there is no sidecar, and nothing that could follow.
            let Some(stamp) = *stamp else { return Followed::NotYet };
            items.push(FollowItem { key: change.key.clone(), stamp, put, was_dirty: *was_dirty });
        }
        let followed = self.follow(FollowJob { authority: to.authority, follower, epoch, items }, to.wait).await;
        if followed == Followed::NotYet && self.without(Protection::NeverCompensate) {
            self.compensate(to.authority, prepared).await;
        }
        followed
    }

    /// H15 without its protection: takes the write back by deleting.
    async fn compensate(&self, authority: Side, prepared: &Prepared) {
        let delete = |change: &Change| Change { key: change.key.clone(), image: None, expect: Expect::Any };
        let changes = prepared.changes.iter().map(delete).collect();
        let epoch = prepared.stamped.then(|| self.member.view().state.epoch);
        let _ = self.setup.store(authority).write(Write { epoch, changes, idempotency: None }).await;
    }
}

fn done(prepared: Prepared, stamps: &[Option<Stamp>], followed: Followed) -> WriteDone {
    let mut done = WriteDone { deleted: prepared.deleted, followed: followed == Followed::Yes, ..WriteDone::default() };
    for (outcome, at) in prepared.outcomes {
        done.created.push(outcome.created);
        let image = at.and_then(|at| prepared.changes.get(at)).and_then(|change| change.image.as_ref());
        done.records.push(outcome.record.zip(image).map(|(record, image)| Got {
            key: outcome.key,
            record,
            etag: etag_of(at.and_then(|at| stamps.get(at)).copied().flatten(), image),
        }));
    }
    done
}
