//! Clients' writes, each routed to where its record lives. An update in shape
//! v2 that leaves a record with every required field moves it.

use shearwater_core::absorb::{Held, Home, Origin, Parted, version};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::lifecycle::absorb::{Phase, State};
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::spec::Scope;
use shearwater_core::store::{Change, DirtyMark, Expect, Fetched, IdempotencyRow, Image, Store, Write, Written};
use shearwater_core::{Key, Stamp};

use super::carry::{Landed, now_ms, stamp_of, unchanged};
use super::place::Place;
use super::{Carrier, Fault, Protection};
use crate::records::edit::{self, Unsent};
use crate::records::idempotency::{Outcome, read_row, row_of};
use crate::records::write::{Meets, meets};
use crate::records::{
    ClientChange, Etag, Got, Idempotency, KeyKept, RETRY_AFTER_MS, ServeError, Shape, WriteDone, turns, unprocessable,
};

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

    /// What a change does to the record as it is.
    async fn plan(
        &self,
        state: &State,
        shape: Shape,
        change: &ClientChange,
        place: &Place,
    ) -> Result<Planned, ServeError> {
        let shapes = &self.setup.shapes;
        let shown = self.show(shape, place).await?;
        let (current, etag) = match &shown {
            Some((image, etag)) => (Some(image), Some(*etag)),
            None => (None, None),
        };
        let left_alone = Outcome { key: change.key.clone(), record: None, created: false };
        if meets(change, etag, current)? == Meets::LeaveAlone {
            return Ok(Planned { outcome: left_alone, deleted: None, does: Does::Nothing });
        }
        let edited = edit::apply(shapes.shape(shape.side()), &change.key, current, &change.edit, Unsent::Keep)?;
        let Some(mut edited) = edited else {
            let deleted = self.got(shape, place).await?;
            return Ok(Planned { outcome: left_alone, deleted, does: self.delete(place)? });
        };
        if shapes.key_of(shape.side(), &edited).map_err(unprocessable)? != change.key {
            return Err(refused("absorb/key", "", "a record keeps its key while it is absorbed"));
        }
        let created = current.is_none();
        let (does, shown) = match shape {
            Shape::V1 => {
                self.refer(&mut [&mut edited]).await?;
                if let (Place::Target { .. }, Some(before)) = (place, current) {
                    shapes.joins().keep(before, &mut edited);
                }
                self.plan_v1(state, place, edited).await?
            }
            Shape::V2 => self.plan_v2(state, change, place, edited, created).await?,
        };
        let outcome = Outcome { key: change.key.clone(), record: Some(shown.record), created };
        Ok(Planned { outcome, deleted: None, does })
    }

    fn delete(&self, place: &Place) -> Result<Does, ServeError> {
        Ok(match place {
            Place::Source { row, .. } => Does::Write { home: Home::Source, change: self.to_source(row, None) },
            // The target's own record that it was merged with stays.
            Place::Target { found, origin: Origin { merged: Some(kept), .. }, .. } => {
                let own = found.image.as_ref().map(|image| Image::of(kept.restore(&image.record)));
                Does::Write { home: Home::Target, change: to_target(found, own) }
            }
            Place::Target { found, .. } | Place::Own { found } => {
                Does::Write { home: Home::Target, change: to_target(found, None) }
            }
            Place::Nowhere { .. } | Place::Deleted { .. } => return Err(ServeError::NotFound),
        })
    }

    /// A write in shape v1 never moves a record.
    async fn plan_v1(&self, state: &State, place: &Place, v1: Image) -> Result<(Does, Image), ServeError> {
        let shapes = &self.setup.shapes;
        let shown = Image::of(v1.record.clone());
        let does = match place {
            Place::Nowhere { .. } if state.effective_phase() == Phase::Complete => {
                return Err(self.lacking(&shapes.require().iter().map(String::as_str).collect::<Vec<_>>()));
            }
            Place::Nowhere { row: Some(row) } | Place::Source { row, .. } => {
                let image = self.at_home(state, v1);
                Does::Write { home: Home::Source, change: self.to_source(row, Some(image)) }
            }
            // Deleted in the target: it begins again in the source.
            Place::Deleted { row, .. } => {
                let image = self.at_home(state, v1);
                Does::Write { home: Home::Source, change: self.to_source(row, Some(image)) }
            }
            Place::Target { row, held, found, origin } => {
                let before = shapes.forward(&held.v1).map_err(unprocessable)?.rest;
                let parted = shapes.forward(&v1).map_err(unprocessable)?;
                self.may_name(&parted.v2, found).await?;
                let image = landed_image(&parted, origin);
                let record = to_target(found, Some(image));
                if parted.rest == before {
                    Does::Write { home: Home::Target, change: record }
                } else {
                    let held = Held { v1, home: Home::Target, left: held.left, returning: None };
                    let image = Some(shapes.row(held));
                    let row = Change { key: row.key.clone(), image, expect: Expect::Stamp(stamp_of(row)) };
                    Does::Both { row, record }
                }
            }
            Place::Own { found } => {
                let v2 = shapes.forward(&v1).map_err(unprocessable)?.v2;
                let lacks = shapes.lacks(&v2);
                if found.image.is_none() && !lacks.is_empty() {
                    return Err(self.lacking(&lacks));
                }
                Does::Write { home: Home::Target, change: to_target(found, Some(own_image(found, v2))) }
            }
            Place::Nowhere { row: None } => return Err(no_key()),
        };
        Ok((does, shown))
    }

    async fn plan_v2(
        &self,
        state: &State,
        change: &ClientChange,
        place: &Place,
        edited: Image,
        created: bool,
    ) -> Result<(Does, Image), ServeError> {
        let shapes = &self.setup.shapes;
        let lacks: Vec<String> = shapes.lacks(&edited.record).into_iter().map(str::to_owned).collect();
        if created && !lacks.is_empty() {
            return Err(self.lacking(&lacks.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        if let Place::Own { found } = place {
            let shown = Image::of(edited.record.clone());
            let change = to_target(found, Some(own_image(found, edited.record)));
            return Ok((Does::Write { home: Home::Target, change }, shown));
        }
        if let Place::Nowhere { row: None } = place {
            if shapes.scope() == Scope::Origin {
                return Err(no_key());
            }
            let image = Some(Image::of(edited.record.clone()));
            let change = Change { key: change.key.clone(), image, expect: Expect::Absent };
            return Ok((Does::Write { home: Home::Target, change }, Image::of(edited.record)));
        }
        let (named, rest) = self.named_by(place, &edited.record).await?;
        // There and back: what the rules compute is computed again.
        let parted = Parted { v2: edited.record, rest };
        let mut v1 = shapes.reverse(&parted).map_err(unprocessable)?;
        if let Place::Nowhere { row: Some(row) } = place {
            shapes.with_source_key(&mut v1, &row.key);
        }
        shapes.keep_strays(&named, &mut v1);
        let v2 = shapes.forward(&v1).map_err(unprocessable)?.v2;
        let shown = Image::of(v2.clone());
        let moves = state.moves_forward() && lacks.is_empty();
        let does = match place {
            Place::Source { row, .. } | Place::Nowhere { row: Some(row) } if moves => {
                if let Some(refused) = self.obstacle(&v2, &change.key).await? {
                    return Err(self::refused(&refused.code, &refused.field, &refused.message));
                }
                let expect = self.expect_at(row, Protection::FlagAtStamp);
                Does::Depart { from: row.clone(), v1, expect }
            }
            Place::Source { row, .. } | Place::Nowhere { row: Some(row) } => {
                let image = self.at_home(state, v1);
                Does::Write { home: Home::Source, change: self.to_source(row, Some(image)) }
            }
            Place::Target { found, origin, .. } => {
                self.may_name(&v2, found).await?;
                Does::Write { home: Home::Target, change: to_target(found, Some(kept_image(v2, origin))) }
            }
            // Somebody of the target's own has its key now.
            Place::Deleted { found, .. } if found.image.is_some() => {
                return Err(refused("absorb/taken", "", "a record of the target has the same key"));
            }
            Place::Deleted { row, found, .. } => {
                let origin = Origin { key: row.key.clone(), changed: vec![], merged: None };
                Does::Write { home: Home::Target, change: to_target(found, Some(kept_image(v2, &origin))) }
            }
            Place::Own { .. } | Place::Nowhere { row: None } => return Err(no_key()),
        };
        Ok((does, shown))
    }

    fn at_home(&self, state: &State, v1: Image) -> Image {
        match state.uses_sidecars() {
            true => self.setup.shapes.row(Held::at_home(v1)),
            false => v1,
        }
    }

    fn to_source(&self, row: &Fetched, image: Option<Image>) -> Change {
        Change { key: row.key.clone(), image, expect: self.expect_at(row, Protection::WriteAtFlag) }
    }

    fn expect_at(&self, row: &Fetched, protection: Protection) -> Expect {
        if self.lacks(protection) { Expect::Any } else { unchanged(row) }
    }

    fn lacking(&self, fields: &[&str]) -> ServeError {
        ServeError::Unprocessable {
            code: "absorb/required".to_owned(),
            field: fields.join(", "),
            message: "the record cannot be without it".to_owned(),
            hint: Some("send it with the record, in shape v2".to_owned()),
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

    /// What a request with this idempotency key left before, in either store.
    async fn first_answer(
        &self,
        state: &State,
        shape: Shape,
        idempotency: &Idempotency,
    ) -> Result<Option<WriteDone>, ServeError> {
        if !state.uses_sidecars() {
            return Ok(None);
        }
        let source = self.setup.source().await?;
        let mut row = source.recall(&idempotency.key).await?;
        if row.is_none() {
            row = self.setup.target.recall(&idempotency.key).await?;
        }
        let Some(row) = row else { return Ok(None) };
        if row.request_hash != idempotency.request_hash {
            return Err(ServeError::IdempotencyReused);
        }
        let (_, outcomes) = read_row(&row)
            .ok_or_else(|| ServeError::Broken("an idempotency row cannot be read as an answer".to_owned()))?;
        let mut done = WriteDone { replayed: true, followed: true, key_kept: KeyKept::Kept, ..WriteDone::default() };
        for outcome in outcomes {
            done.created.push(outcome.created);
            done.deleted.push(None);
            done.records.push(match outcome.record {
                None => None,
                Some(record) => Some(self.version_now(state, shape, outcome.key, record).await?),
            });
        }
        Ok(Some(done))
    }

    /// A remembered record with its version if it is still as it was.
    async fn version_now(
        &self,
        state: &State,
        shape: Shape,
        key: Key,
        record: shearwater_core::Document,
    ) -> Result<Got, ServeError> {
        let place = self.locate(state, shape, &key).await?;
        match self.got(shape, &place).await? {
            Some(now) if now.record == record => Ok(now),
            _ => {
                let etag = Etag::Content(shearwater_core::value::hash::document(&record));
                Ok(Got { key, record, etag })
            }
        }
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

fn to_target(found: &Fetched, image: Option<Image>) -> Change {
    Change { key: found.key.clone(), image, expect: unchanged(found) }
}

/// A record of the target as it must stand there, with its origin.
fn kept_image(v2: shearwater_core::Document, origin: &Origin) -> Image {
    Image { record: v2, parked: origin.parked() }
}

/// The same from shape v1, where values that a conflict changed stay changed.
fn landed_image(parted: &Parted, origin: &Origin) -> Image {
    let mut v2 = parted.v2.clone();
    for (field, own, landed) in &origin.changed {
        if v2.get(field) == Some(own) {
            v2.set(field.as_str(), landed.clone());
        }
    }
    kept_image(v2, origin)
}

/// A record of the target's own, with whatever stands beside it.
fn own_image(found: &Fetched, v2: shearwater_core::Document) -> Image {
    let parked = found.image.as_ref().map(|image| image.parked.clone()).unwrap_or_default();
    Image { record: v2, parked }
}

/// A store's error where a lost race is tried again.
fn told(error: StoreError) -> ServeError {
    match error.kind {
        StoreErrorKind::ExpectFailed { .. } | StoreErrorKind::Sidecar => ServeError::Contended,
        StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => ServeError::Contended,
        _ => error.into(),
    }
}

pub(super) fn refused(code: &str, field: &str, message: &str) -> ServeError {
    ServeError::Unprocessable {
        code: code.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
        hint: None,
    }
}

fn no_key() -> ServeError {
    refused("absorb/key", "", "no record of the source can have this key")
}

/// The client that is told to come again.
pub fn later(reason: &str) -> ServeError {
    ServeError::Unavailable { reason: reason.to_owned(), retry_after_ms: RETRY_AFTER_MS }
}
