//! Clients' writes, each routed to where its record lives. An update in shape
//! v2 that leaves a record with every required field moves it.

use shearwater_core::absorb::{Held, Home, version};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::store::{Change, DirtyMark, Expect, Fetched, IdempotencyRow, Image, Store, Write, Written};
use shearwater_core::{Key, Stamp};

use super::carry::{Landed, now_ms, stamp_of};
use super::{Carrier, Fault};
use crate::records::idempotency::{Outcome, row_of};
use crate::records::{
    ClientChange, Etag, Got, Idempotency, KeyKept, RETRY_AFTER_MS, ServeError, Shape, WriteDone, turns,
};

mod plan;
mod replay;

pub(super) use plan::refused;

/// One change, ready for its store.
struct Planned {
    outcome: Outcome,
    deleted: Option<Got>,
    does: Does,
}

/// What a change does.
enum Does {
    /// Nothing: its condition leaves the record alone.
    Nothing,
    /// One write of the store in which the record lives.
    Write { home: Home, change: Change },
    /// The record leaves for the target, in this shape.
    Depart { from: Fetched, v1: Image, expect: Expect },
    /// A field that only the source's row holds changes with the record that
    /// lives in the target: first the row, then the record.
    Both { row: Change, record: Change },
}

/// How one attempt ended.
pub enum Attempt {
    /// Done.
    Done(WriteDone),
    /// Another writer was first, or the phase has changed: read again.
    Again,
}

impl Carrier {
    /// Changes, all or none, under a state of the migration.
    pub async fn attempt(
        &self,
        state: &State,
        shape: Shape,
        changes: &[ClientChange],
        idempotency: Option<&Idempotency>,
    ) -> Result<Attempt, ServeError> {
        if let Some(idempotency) = idempotency
            && let Some(done) = self.first_answer(state, shape, idempotency).await?
        {
            return Ok(Attempt::Done(done));
        }
        let mut planned = Vec::with_capacity(changes.len());
        for change in changes {
            let place = self.locate(state, shape, &change.key).await?;
            planned.push(self.plan(state, shape, change, &place).await?);
        }
        match self.carry_out(state, planned, idempotency).await {
            Ok(done) => Ok(Attempt::Done(done)),
            Err(ServeError::Contended) => Ok(Attempt::Again),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(
        &self,
        state: &State,
        planned: Vec<Planned>,
        idempotency: Option<&Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        let outcomes: Vec<Outcome> = planned.iter().map(|planned| planned.outcome.clone()).collect();
        let row = idempotency.filter(|_| state.uses_sidecars()).map(|i| row_of(i, &outcomes, now_ms()));
        let kept = match (idempotency, &row) {
            (None, _) => KeyKept::NotAsked,
            (Some(_), Some(_)) => KeyKept::Kept,
            (Some(_), None) => KeyKept::NoPlace,
        };
        let mut done = WriteDone { followed: true, key_kept: kept, ..WriteDone::default() };
        let mut groups: Vec<(Home, Vec<Change>)> = Vec::new();
        let (mut departs, mut both) = (None, None);
        for planned in planned {
            done.created.push(planned.outcome.created);
            done.deleted.push(planned.deleted);
            done.records.push(planned.outcome.record.map(|record| Got {
                key: planned.outcome.key,
                etag: Etag::Content(shearwater_core::value::hash::document(&record)),
                record,
            }));
            match planned.does {
                Does::Nothing => {}
                Does::Write { home, change } => match groups.iter_mut().find(|(other, _)| *other == home) {
                    Some((_, changes)) => changes.push(change),
                    None => groups.push((home, vec![change])),
                },
                Does::Depart { from, v1, expect } => departs = Some((from, v1, expect)),
                Does::Both { row, record } => both = Some((row, record)),
            }
        }
        let writes = groups.len() + usize::from(departs.is_some()) + usize::from(both.is_some());
        let is_one = outcomes.len() == 1 || (writes <= 1 && departs.is_none() && both.is_none());
        if !is_one {
            return Err(ServeError::Unprocessable {
                code: "absorb/atomic".to_owned(),
                field: String::new(),
                message: "these records live in different stores, or move: they cannot change in one atomic write"
                    .to_owned(),
                hint: Some("send one change at a time".to_owned()),
            });
        }
        let moved = departs.is_some();
        let version = if let Some((from, v1, expect)) = departs {
            self.depart_and_land(state, &from, v1, expect, row).await?
        } else if let Some((of_row, record)) = both {
            self.write_both(state, of_row, record, row).await?
        } else if let Some((home, changes)) = groups.pop() {
            self.write_one(state, home, changes, row).await?
        } else {
            Vec::new()
        };
        for (got, version) in done.records.iter_mut().flatten().zip(version) {
            got.etag = version.map_or(got.etag, Etag::Stamp);
        }
        if moved && self.setup.shapes.alters() {
            self.as_landed(state, &mut done).await?;
        }
        Ok(done)
    }

    /// The answer is the record as it landed, which a conflict may have changed.
    async fn as_landed(&self, state: &State, done: &mut WriteDone) -> Result<(), ServeError> {
        for got in done.records.iter_mut().flatten() {
            let place = self.locate(state, Shape::V2, &got.key).await?;
            if let Some(now) = self.got(Shape::V2, &place).await? {
                *got = now;
            }
        }
        Ok(())
    }

    async fn write_one(
        &self,
        state: &State,
        home: Home,
        changes: Vec<Change>,
        idempotency: Option<IdempotencyRow>,
    ) -> Result<Vec<Option<Stamp>>, ServeError> {
        let keys: Vec<Key> = changes.iter().map(|change| change.key.clone()).collect();
        let store = self.store(state, home).await?;
        let write = Write { epoch: state.uses_sidecars().then_some(state.epoch), changes, idempotency };
        let stamps = match store.write(write).await {
            Ok(Written::Applied(stamps)) => stamps,
            Ok(Written::Replayed(_)) => return Err(ServeError::Contended),
            Err(error) => return Err(told(error)),
        };
        if home == Home::Source && state.uses_sidecars() {
            for (key, stamp) in keys.into_iter().zip(&stamps) {
                self.clear_later(stamp.map(|stamp| DirtyMark { key, stamp }));
            }
        }
        Ok(stamps.into_iter().map(|stamp| stamp.map(|stamp| version(home, stamp))).collect())
    }

    async fn depart_and_land(
        &self,
        state: &State,
        from: &Fetched,
        v1: Image,
        expect: Expect,
        idempotency: Option<IdempotencyRow>,
    ) -> Result<Vec<Option<Stamp>>, ServeError> {
        let written = self.depart(state.epoch, from, v1.clone(), expect, idempotency).await;
        let stamp = match written {
            Ok(Written::Applied(stamps)) => stamps.first().copied().flatten().unwrap_or(Stamp::ZERO),
            Ok(Written::Replayed(_)) => return Err(ServeError::Contended),
            Err(Fault::Store(_, error)) => return Err(told(error)),
            Err(fault) => return Err(fault.into()),
        };
        let held = Held { v1, home: Home::Target, left: Some(stamp_of(from)), returning: None };
        let row = Fetched { key: from.key.clone(), image: None, stamp: Some(stamp), dirty: true };
        match self.land(state.epoch, &row, &held).await {
            Ok(Landed::Here(landed, mark)) => {
                self.clear_later(mark);
                Ok(vec![landed.map(|stamp| version(Home::Target, stamp))])
            }
            // The update is done, in the source; the dead letter says why it did not move.
            Ok(Landed::Refused(_)) => Ok(vec![None]),
            // It is on its way, durably: the reconciler, or the next who asks, lands it.
            Err(fault) => {
                tracing::warn!(%fault, "a move is left to the reconciler");
                Ok(vec![None])
            }
        }
    }

    async fn write_both(
        &self,
        state: &State,
        row: Change,
        record: Change,
        idempotency: Option<IdempotencyRow>,
    ) -> Result<Vec<Option<Stamp>>, ServeError> {
        let key = row.key.clone();
        let source = self.setup.source().await?;
        let write = Write { epoch: Some(state.epoch), changes: vec![row], idempotency: None };
        let stamp = match source.write(write).await.map_err(told)? {
            Written::Applied(stamps) => stamps.first().copied().flatten(),
            Written::Replayed(_) => None,
        };
        self.clear(stamp.map(|stamp| DirtyMark { key, stamp })).await?;
        self.write_one(state, Home::Target, vec![record], idempotency).await
    }

    async fn store(&self, state: &State, home: Home) -> Result<std::sync::Arc<dyn Store>, ServeError> {
        Ok(match (home, state.uses_sidecars()) {
            (Home::Source, true) => self.setup.source().await?,
            (Home::Source, false) => self.setup.plain.clone(),
            (Home::Target, _) => self.setup.target.clone(),
        })
    }
}

/// Tries a write again while others are first.
pub async fn persist<F>(mut attempt: impl FnMut() -> F) -> Result<WriteDone, ServeError>
where
    F: Future<Output = Result<Attempt, ServeError>>,
{
    for raced in 1..=REWRITE_ATTEMPTS_MAX {
        match attempt().await? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Again => turns::rest(raced).await,
        }
    }
    Err(ServeError::Contended)
}

/// A store's error where a lost race is tried again.
fn told(error: StoreError) -> ServeError {
    match error.kind {
        StoreErrorKind::ExpectFailed { .. } | StoreErrorKind::Sidecar => ServeError::Contended,
        StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => ServeError::Contended,
        _ => error.into(),
    }
}

/// The client that is told to come again.
pub fn later(reason: &str) -> ServeError {
    ServeError::Unavailable { reason: reason.to_owned(), retry_after_ms: RETRY_AFTER_MS }
}
