//! Going back: every moved record returns to the source with what was written
//! to it in the target, whoever wrote it there.
//!
//! The record is first staged in its row of the source, which still counts as
//! moved, with the version that is coming back. Then the target gives that
//! version up, and remembers that it did. Then the flag is unset. A crash
//! leaves a staged row with its mark: whoever meets it asks the target whether
//! that version was given up, and finishes, or begins again.

use shearwater_core::absorb::{Held, Home, Origin};
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Change, Expect, Fetched, IdempotencyRow, Image, Side, Write, Written};
use shearwater_core::{Document, Key, Stamp};

use super::carry::{giving_up, now_ms, stamp_of};
use super::{Carrier, Fault};
use crate::failpoint;

/// The code of a record that the target does not give up.
pub const HELD: &str = "absorb/held";

/// Attempts at returning one record while others write it in the target.
const RETURN_ATTEMPTS_MAX: usize = 64;

impl Carrier {
    /// Takes one record back, if it lives in the target; whether it came back.
    pub async fn take_back(&self, epoch: u64, key: &Key) -> Result<bool, Fault> {
        let source = self.setup.source().await.map_err(Fault::source)?;
        let mut came = false;
        for _ in 0..RETURN_ATTEMPTS_MAX {
            let row = source.fetch(key).await.map_err(Fault::source)?;
            let Some(held) = row.image.clone().map(|image| self.setup.shapes.held(image)) else { return Ok(came) };
            if held.home == Home::Source {
                return Ok(came);
            }
            came = true;
            let step = match (row.dirty, held.returning) {
                (true, None) => self.settle(epoch, key).await,
                (_, Some(version)) => self.finish_return(epoch, &row, held, version).await,
                (false, None) => self.stage(epoch, &row, held).await,
            };
            match step {
                Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => {}
                step => step?,
            }
        }
        let message = "a record that goes back is written by too many others";
        Err(Fault::source(shearwater_core::error::StoreError::new(StoreErrorKind::Unavailable, message)))
    }

    /// Stages the target's record in its row of the source; one that was
    /// deleted in the target is deleted in the source.
    async fn stage(&self, epoch: u64, row: &Fetched, mut held: Held) -> Result<(), Fault> {
        let shapes = &self.setup.shapes;
        let key = self.target_key(&row.key).await?;
        let found = self.setup.target.fetch(&key).await.map_err(Fault::target)?;
        let ours = found.image.as_ref().and_then(|image| Some((image, Origin::of(&image.parked)?)));
        let Some((image, origin)) = ours.filter(|(_, origin)| origin.key == row.key) else {
            return self.forget(epoch, row).await;
        };
        let said_before = shapes.sayable(&held.v1).is_err();
        self.follow(&mut held.v1, &image.record).await?;
        if let (false, Err(error)) = (said_before, shapes.sayable(&held.v1)) {
            self.bury(&row.key, stamp_of(row), error.code, &error.message).await?;
        }
        let v1 = self.coming_home(held.v1.clone(), &image.record, &origin).await?;
        self.stage_as(epoch, row, &held, v1, stamp_of(&found)).await
    }

    /// A record of the target as its row of the source is to have it.
    pub(super) async fn coming_home(&self, mut row: Image, record: &Document, origin: &Origin) -> Result<Image, Fault> {
        self.follow(&mut row, record).await?;
        self.setup.lookups.joined.settle(&mut row).await?;
        Ok(self.setup.shapes.together(&row, record, origin)?)
    }

    /// Stages a record in its row of the source, as it is to be there when the
    /// target has given the version up.
    pub(super) async fn stage_as(
        &self,
        epoch: u64,
        row: &Fetched,
        held: &Held,
        v1: Image,
        version: Stamp,
    ) -> Result<(), Fault> {
        let staged = Held { v1, home: Home::Target, left: held.left, returning: Some(version) };
        let image = Some(self.setup.shapes.row(staged));
        let change = Change { key: row.key.clone(), image, expect: Expect::Stamp(stamp_of(row)) };
        let source = self.setup.source().await.map_err(Fault::source)?;
        let write = Write { epoch: Some(epoch), changes: vec![change], idempotency: None };
        source.write(write).await.map_err(Fault::source)?;
        failpoint::hit("absorb-staged");
        Ok(())
    }

    /// Deletes the row of a record that was deleted in the target.
    async fn forget(&self, epoch: u64, row: &Fetched) -> Result<(), Fault> {
        let change = Change { key: row.key.clone(), image: None, expect: Expect::Stamp(stamp_of(row)) };
        let source = self.setup.source().await.map_err(Fault::source)?;
        let write = Write { epoch: Some(epoch), changes: vec![change], idempotency: None };
        source.write(write).await.map_err(Fault::source)?;
        Ok(())
    }

    /// The rest of a return: the target gives the staged version up, the flag
    /// is unset. When the target has another version by now, the record goes
    /// on living there; so it does when the target refuses to give it up,
    /// because other records of its own name it, and a dead letter says so.
    pub(super) async fn finish_return(
        &self,
        epoch: u64,
        row: &Fetched,
        held: Held,
        version: Stamp,
    ) -> Result<(), Fault> {
        let v1 = held.v1.clone();
        let given_up = match self.give_up(epoch, &row.key, version).await {
            Err(fault) if is_held(&fault) => {
                self.bury(
                    &row.key,
                    stamp_of(row),
                    HELD,
                    "the target does not give the record up: others there name it",
                )
                .await?;
                failpoint::hit("absorb-held");
                self.write_home(epoch, &row.key, stamp_of(row), Held { returning: None, ..held }).await?;
                return Err(fault);
            }
            given_up => given_up?,
        };
        match given_up {
            GivenUp::Yes => {
                failpoint::hit("absorb-given-up");
                self.write_home(epoch, &row.key, stamp_of(row), Held::at_home(v1)).await?;
            }
            GivenUp::No => {
                let again = Held { returning: None, ..held };
                self.write_home(epoch, &row.key, stamp_of(row), again).await?;
            }
        }
        Ok(())
    }

    /// What stays in the target when a record leaves it: nothing, or the
    /// target's own that it was merged with. Another version than the one that
    /// is given up says nothing, and is not written either.
    async fn left_behind(&self, key: &Key, version: Stamp) -> Result<Option<Image>, Fault> {
        let found = self.setup.target.fetch(key).await.map_err(Fault::target)?;
        let Some(image) = found.image.as_ref().filter(|_| stamp_of(&found) == version) else { return Ok(None) };
        Ok(Origin::of(&image.parked)
            .and_then(|origin| origin.merged)
            .map(|kept| Image::of(kept.restore(&image.record))))
    }

    async fn give_up(&self, epoch: u64, key: &Key, version: Stamp) -> Result<GivenUp, Fault> {
        let target_key = self.target_key(key).await?;
        let image = self.left_behind(&target_key, version).await?;
        let change = Change { key: target_key, image, expect: Expect::Stamp(version) };
        let idempotency = Some(IdempotencyRow {
            key: giving_up(key, version),
            request_hash: key.hash().into(),
            answer: version.to_string(),
            at_ms: now_ms(),
        });
        let write = Write { epoch: Some(epoch), changes: vec![change], idempotency };
        match self.setup.target.write(write).await {
            Ok(Written::Applied(_) | Written::Replayed(_)) => Ok(GivenUp::Yes),
            Err(error) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => Ok(GivenUp::No),
            Err(error) => Err(Fault::target(error)),
        }
    }
}

/// Whether the target refuses to give a record up.
pub(super) fn is_held(fault: &Fault) -> bool {
    matches!(fault, Fault::Store(Side::Target, error) if matches!(error.kind, StoreErrorKind::Refused { .. }))
}

/// Whether the target has given a version up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    Yes,
    No,
}
