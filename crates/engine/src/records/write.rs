//! Writing: read, edit in the client's shape, write in the authority's under
//! the stamps that were read, then the follower.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::route::{self, FollowerWait, WriteRoute};
use shearwater_core::store::{Change, Expect, Fetched, Image, Put, Side, Write, Written};
use shearwater_core::value::hash;
use shearwater_core::{Key, Stamp};

use super::edit::{self, Unsent};
use super::follow::{FollowItem, FollowJob, Followed, now_ms};
use super::hold::{Hold, Until};
use super::idempotency::{Outcome, row_of};
use super::turns;
use super::{
    ClientChange, Condition, DataPath, Edit, Etag, Got, Idempotency, KeyKept, Protection, ServeError, Shape, WriteDone,
    etag_of, unprocessable,
};
use crate::member::{Admission, View};

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

/// A client's changes, ready for the authority.
struct Prepared {
    changes: Vec<Change>,
    /// For each client change: what it does, and its place in `changes` unless
    /// its record is left alone.
    outcomes: Vec<(Outcome, Option<usize>)>,
    /// For each client change: what it deletes.
    deleted: Vec<Option<Got>>,
    /// For each change: whether its key was dirty before.
    was_dirty: Vec<bool>,
    /// Whether the authority has a sidecar.
    stamped: bool,
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
        let began = Instant::now();
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
        self.member.foreground().record(began.elapsed());
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

    /// Reads what the changes are about and applies them in the client's shape.
    async fn prepare(&self, shape: Shape, authority: Side, changes: &[ClientChange]) -> Result<Prepared, ServeError> {
        let keys: Vec<Key> = changes
            .iter()
            .map(|change| {
                self.key_across(shape.side(), authority, &change.key).map(Cow::into_owned).map_err(unprocessable)
            })
            .collect::<Result<_, _>>()?;
        let fetched = self.setup.store(authority).fetch_many(&keys).await?;
        let mut prepared = Prepared {
            changes: Vec::with_capacity(changes.len()),
            outcomes: Vec::with_capacity(changes.len()),
            deleted: Vec::with_capacity(changes.len()),
            was_dirty: Vec::with_capacity(changes.len()),
            stamped: fetched.iter().any(|f| f.stamp.is_some()),
        };
        // What earlier changes of this write made of a key.
        let mut written: HashMap<Key, Option<Image>> = HashMap::new();
        for (change, fetched) in changes.iter().zip(fetched) {
            let found = match written.get(&fetched.key) {
                Some(image) => Found { image: image.clone(), expect: Expect::Any, etag: None, fetched: &fetched },
                None => Found::of(&fetched),
            };
            self.prepare_one(shape, authority, change, found, &mut prepared)?;
            for change in &prepared.changes[prepared.changes.len().saturating_sub(2)..] {
                written.insert(change.key.clone(), change.image.clone());
            }
        }
        Ok(prepared)
    }

    fn prepare_one(
        &self,
        shape: Shape,
        authority: Side,
        change: &ClientChange,
        found: Found<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), ServeError> {
        let mapping = &self.setup.mapping;
        let layout = match shape {
            Shape::V1 => mapping.source(),
            Shape::V2 => mapping.target(),
        };
        let other_shape = authority != shape.side();
        let current = match &found.image {
            Some(image) if other_shape => Some(mapping.towards(shape.side(), image).map_err(unprocessable)?),
            other => other.clone(),
        };
        if meets(change, found.etag, current.as_ref())? == Meets::LeaveAlone {
            prepared.leave_alone(change);
            return Ok(());
        }
        let unsent = if self.without(Protection::KeepOtherShape) { Unsent::Wipe } else { Unsent::Keep };
        let edited = edit::apply(layout, &change.key, current.as_ref(), &change.edit, unsent)?;
        let created = found.image.is_none();
        let Some(edited) = edited else {
            let outcome = Outcome { key: change.key.clone(), record: None, created: false };
            let delete = Change { key: found.fetched.key.clone(), image: None, expect: found.expect };
            prepared.add(outcome, found.fetched, delete);
            if let (Some(deleted), Some(current)) = (prepared.deleted.last_mut(), current) {
                let etag = found.etag.unwrap_or_else(|| etag_of(None, &current));
                *deleted = Some(Got { key: change.key.clone(), record: current.record, etag });
            }
            return Ok(());
        };
        let mut image = match (other_shape, authority) {
            (true, _) => mapping.towards(authority, &edited).map_err(unprocessable)?,
            // There and back: corrections that the edit made void go, and what
            // the mapping computes is computed again, so that the target holds
            // exactly what forward makes of the source that follows.
            (false, Side::Target) => {
                let v1 = mapping.reverse(&edited).map_err(unprocessable)?;
                mapping.forward(&v1).map_err(unprocessable)?
            }
            (false, Side::Source) => edited.clone(),
        };
        // Beside a sidecar a store notes what it would not give back by itself.
        if !prepared.stamped {
            image.record = self.setup.store(authority).kept(image.record);
        }
        if self.without(Protection::Park) {
            image.parked = shearwater_core::Document::new();
        }
        let key = mapping.key_of(authority, &image).map_err(unprocessable)?;
        // The client sees what a read will show: computed fields may differ from what it sent.
        let shown = match other_shape {
            true => mapping.towards(shape.side(), &image).map_err(unprocessable)?,
            false => image.clone(),
        };
        let outcome = Outcome {
            key: mapping.key_of(shape.side(), &shown).map_err(unprocessable)?,
            record: Some(shown.record),
            created,
        };
        if key == found.fetched.key {
            prepared.add(outcome, found.fetched, Change { key, image: Some(image), expect: found.expect });
            return Ok(());
        }
        if found.image.is_some() {
            let old = Change { key: found.fetched.key.clone(), image: None, expect: found.expect };
            prepared.changes.push(old);
            prepared.was_dirty.push(found.fetched.dirty);
        }
        prepared.add(outcome, found.fetched, Change { key, image: Some(image), expect: Expect::Absent });
        Ok(())
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

    /// What to do when the authority did not simply apply the write.
    async fn after_error(
        &self,
        to: &Destination,
        prepared: &Prepared,
        idempotency: Option<&Idempotency>,
        error: StoreError,
    ) -> Result<Settled, ServeError> {
        match &error.kind {
            StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => Ok(Settled::Hold),
            StoreErrorKind::ExpectFailed { change, exists: true, .. } if prepared.moves_onto(*change) => {
                Err(ServeError::Exists)
            }
            // The sidecar came or went between the read and the write.
            StoreErrorKind::ExpectFailed { .. } | StoreErrorKind::Sidecar => Ok(Settled::Raced),
            StoreErrorKind::OutcomeUnknown => self.settle(to.authority, prepared, idempotency).await,
            StoreErrorKind::Unavailable
            | StoreErrorKind::Refused { .. }
            | StoreErrorKind::IdempotencyReused
            | StoreErrorKind::NotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Full
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Unsupported => Err(error.into()),
        }
    }

    /// Asks the authority what became of a write. Its row or its content proves
    /// that it was applied; nothing proves that it never will be.
    async fn settle(
        &self,
        authority: Side,
        prepared: &Prepared,
        idempotency: Option<&Idempotency>,
    ) -> Result<Settled, ServeError> {
        let store = self.setup.store(authority);
        if let Some(idempotency) = idempotency {
            return match store.recall(&idempotency.key).await {
                Ok(Some(row)) if row.request_hash == idempotency.request_hash => Ok(Settled::Replayed(row)),
                Ok(_) | Err(_) => Err(ServeError::OutcomeUnknown),
            };
        }
        let keys: Vec<Key> = prepared.changes.iter().map(|change| change.key.clone()).collect();
        let Ok(now) = store.fetch_many(&keys).await else { return Err(ServeError::OutcomeUnknown) };
        let applied = prepared.changes.iter().zip(&now).all(|(change, now)| {
            let moved = match change.expect {
                Expect::Stamp(before) => now.stamp > Some(before),
                Expect::Absent => true,
                Expect::Any | Expect::Present | Expect::Content(_) => false,
            };
            moved && now.image == change.image
        });
        if applied {
            Ok(Settled::Applied(now.iter().map(|f| f.stamp).collect()))
        } else {
            Err(ServeError::OutcomeUnknown)
        }
    }
}

/// What became of a write that did not answer simply.
enum Settled {
    Applied(Vec<Option<Stamp>>),
    Replayed(shearwater_core::store::IdempotencyRow),
    Hold,
    Raced,
}

/// A record as a change finds it.
struct Found<'a> {
    image: Option<Image>,
    expect: Expect,
    /// `None` when there is no record, or an earlier change of this write made it.
    etag: Option<Etag>,
    fetched: &'a Fetched,
}

impl Found<'_> {
    fn of(fetched: &Fetched) -> Found<'_> {
        let etag = fetched.image.as_ref().map(|image| etag_of(fetched.stamp, image));
        let expect = match (&fetched.image, fetched.stamp) {
            (None, _) => Expect::Absent,
            (Some(_), Some(stamp)) => Expect::Stamp(stamp),
            (Some(image), None) => Expect::Content(hash::document(&image.record)),
        };
        Found { image: fetched.image.clone(), expect, etag, fetched }
    }
}

impl Prepared {
    /// Whether the authority has a place for everything: fields of the other
    /// shape are parked in the sidecar.
    fn can_be_kept(&self) -> Result<(), ServeError> {
        let images = self.changes.iter().filter_map(|change| change.image.as_ref());
        match images.map(|image| &image.parked).find(|parked| !self.stamped && !parked.is_empty()) {
            None => Ok(()),
            Some(parked) => Err(ServeError::Unprocessable {
                code: "phase/nowhere-to-park".to_owned(),
                field: parked.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
                message: "the store that decides now cannot hold it, and the migration has not started".to_owned(),
                hint: Some("send it when the migration has started, or leave it out until then".to_owned()),
            }),
        }
    }

    fn add(&mut self, outcome: Outcome, fetched: &Fetched, change: Change) {
        self.outcomes.push((outcome, Some(self.changes.len())));
        self.deleted.push(None);
        self.changes.push(change);
        self.was_dirty.push(fetched.dirty);
    }

    fn leave_alone(&mut self, change: &ClientChange) {
        self.outcomes.push((Outcome { key: change.key.clone(), record: None, created: false }, None));
        self.deleted.push(None);
    }

    /// Where no sidecar is, fields that only the other shape has have no place.
    fn nothing_parked(&self) -> Result<(), ServeError> {
        let parked =
            self.changes.iter().filter_map(|change| change.image.as_ref()).find_map(|i| i.parked.iter().next());
        match parked {
            None => Ok(()),
            Some((name, _)) => Err(ServeError::Unprocessable {
                code: "record/no-sidecar".to_owned(),
                field: name.to_owned(),
                message: "the store cannot hold this field while no migration is under way".to_owned(),
                hint: Some("it can be written from the start of the migration on".to_owned()),
            }),
        }
    }

    /// Whether a change is the second half of a key change.
    fn moves_onto(&self, change: usize) -> bool {
        self.outcomes.iter().any(|(outcome, at)| *at == Some(change) && !outcome.created)
            && self.changes.get(change).is_some_and(|change| change.expect == Expect::Absent)
    }
}

/// What a change's condition says about the record that it meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    Change,
    LeaveAlone,
}

/// Whether a change is to be made to the record that it meets, which in the
/// client's shape is `current`.
pub(crate) fn meets(change: &ClientChange, etag: Option<Etag>, current: Option<&Image>) -> Result<Meets, ServeError> {
    let holds = match &change.condition {
        Condition::None => true,
        Condition::Match(etags) => etag.is_some_and(|etag| etags.contains(&etag)),
        Condition::Exists => current.is_some(),
        Condition::Absent => current.is_none(),
        Condition::Matching(filter) if !current.is_some_and(|image| filter.matches(&image.record)) => {
            return Ok(Meets::LeaveAlone);
        }
        Condition::Matching(_) => true,
    };
    match (&change.edit, current) {
        _ if !holds => Err(ServeError::PreconditionFailed { current: etag }),
        (Edit::InsertIfAbsent(_), Some(_)) => Ok(Meets::LeaveAlone),
        _ => Ok(Meets::Change),
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
