//! What a client's change does to a record, decided from where it lives: a write
//! of one store, a move, or both.

use shearwater_core::Document;
use shearwater_core::absorb::{Held, Home, Origin, Parted};
use shearwater_core::lifecycle::absorb::{Phase, State};
use shearwater_core::spec::Scope;
use shearwater_core::store::{Change, Expect, Fetched, Image};

use super::{Does, Planned};
use crate::absorb::carry::{stamp_of, unchanged};
use crate::absorb::place::Place;
use crate::absorb::{Carrier, Protection};
use crate::records::edit::{self, Unsent};
use crate::records::idempotency::Outcome;
use crate::records::write::{Meets, meets};
use crate::records::{ClientChange, ServeError, Shape, unprocessable};

impl Carrier {
    /// What a change does to the record as it is.
    pub(super) async fn plan(
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
}

fn to_target(found: &Fetched, image: Option<Image>) -> Change {
    Change { key: found.key.clone(), image, expect: unchanged(found) }
}

/// A record of the target as it must stand there, with its origin.
fn kept_image(v2: Document, origin: &Origin) -> Image {
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
fn own_image(found: &Fetched, v2: Document) -> Image {
    let parked = found.image.as_ref().map(|image| image.parked.clone()).unwrap_or_default();
    Image { record: v2, parked }
}

pub(in crate::absorb) fn refused(code: &str, field: &str, message: &str) -> ServeError {
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
