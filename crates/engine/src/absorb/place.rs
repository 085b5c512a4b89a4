//! Where a record is: the flag in the source says whose row is the record.

use shearwater_core::Key;
use shearwater_core::absorb::{Held, Home, Origin, version};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::spec::Scope;
use shearwater_core::store::{Fetched, Image};

use super::carry::stamp_of;
use super::{Carrier, Fault};
use crate::records::{Etag, Got, Shape};

/// Looks at a record whose move is on its way, in a row: each finishes it, so
/// more mean that others begin new ones as fast.
const LOOKS_MAX: usize = 16;

/// A record, or where it would be.
#[derive(Clone, Debug)]
pub enum Place {
    /// There is none: the source has no row for it.
    Nowhere {
        /// The source's answer; `None` where the key has no counterpart there.
        row: Option<Fetched>,
    },
    /// It lives in the source.
    Source {
        /// The row.
        row: Fetched,
        /// What the row says.
        held: Held,
    },
    /// It lives in the target.
    Target {
        /// The source's row.
        row: Fetched,
        /// What the row says.
        held: Held,
        /// The target's record.
        found: Fetched,
        /// What stands beside it.
        origin: Origin,
    },
    /// It had moved, and was deleted in the target.
    Deleted {
        /// The source's row.
        row: Fetched,
        /// What the row says.
        held: Held,
        /// The target's answer.
        found: Fetched,
    },
    /// It is the target's own: it did not come from the source.
    Own {
        /// The target's answer.
        found: Fetched,
    },
}

/// The two keys of a record.
#[derive(Clone, Debug)]
pub struct Keys {
    /// In the source; `None`: no record of the source can have this key.
    pub source: Option<Key>,
    /// In the target.
    pub target: Option<Key>,
}

impl Carrier {
    /// Both keys of a record by that of one shape.
    pub async fn keys(&self, state: &State, shape: Shape, key: &Key) -> Result<Keys, Fault> {
        let own = Some(key.clone());
        Ok(match shape {
            Shape::V1 => Keys { source: own, target: self.known_target_key(state, key).await? },
            Shape::V2 => Keys { source: self.known_source_key(state, key).await?, target: own },
        })
    }

    /// Finds a record; what is on its way is finished first.
    pub async fn locate(&self, state: &State, shape: Shape, key: &Key) -> Result<Place, Fault> {
        let keys = self.keys(state, shape, key).await?;
        if state.is_target_only() {
            return self.locate_in_target(keys).await;
        }
        let Some(source_key) = &keys.source else { return self.own(shape, keys, None).await };
        let source = match state.uses_sidecars() {
            true => self.setup.source().await.map_err(Fault::source)?,
            false => self.setup.plain.clone(),
        };
        for _ in 0..LOOKS_MAX {
            let row = source.fetch(source_key).await.map_err(Fault::source)?;
            let Some(image) = row.image.clone() else { return self.own(shape, keys, Some(row)).await };
            let mut held = self.setup.shapes.held(image);
            if held.home == Home::Source {
                match state.uses_sidecars() {
                    true => self.with_own_key(source_key, &mut held).await?,
                    false if shape == Shape::V2 => self.refer(&mut [&mut held.v1]).await?,
                    false => {}
                }
                return Ok(Place::Source { row, held });
            }
            let Some(target_key) = &keys.target else { return Ok(Place::Nowhere { row: Some(row) }) };
            let found = self.setup.target.fetch(target_key).await.map_err(Fault::target)?;
            let origin = found.image.as_ref().and_then(|image| Origin::of(&image.parked));
            match origin.filter(|origin| origin.key == row.key) {
                Some(origin) => {
                    if let Some(image) = &found.image {
                        self.follow(&mut held.v1, &image.record).await?;
                    }
                    return Ok(Place::Target { row, held, found, origin });
                }
                None if row.dirty || held.returning.is_some() => self.settle(state.epoch, source_key).await?,
                // Between the two reads it may have come back.
                None if self.is_as_it_was(&row).await? => return Ok(Place::Deleted { row, held, found }),
                None => {}
            }
        }
        Err(Fault::source(shearwater_core::error::StoreError::new(
            shearwater_core::error::StoreErrorKind::Unavailable,
            "the record moves to and fro",
        )))
    }

    async fn is_as_it_was(&self, row: &Fetched) -> Result<bool, Fault> {
        let source = self.setup.source().await.map_err(Fault::source)?;
        Ok(source.fetch(&row.key).await.map_err(Fault::source)?.stamp == row.stamp)
    }

    /// A key that the source has no record for: the target's own, if clients see those.
    async fn own(&self, shape: Shape, keys: Keys, row: Option<Fetched>) -> Result<Place, Fault> {
        let sees_all = self.setup.shapes.scope() == Scope::All && shape == Shape::V2;
        let Some(key) = keys.target.filter(|_| sees_all) else { return Ok(Place::Nowhere { row }) };
        let found = self.setup.target.fetch(&key).await.map_err(Fault::target)?;
        Ok(if found.image.is_some() { Place::Own { found } } else { Place::Nowhere { row } })
    }

    /// After the end every record is the target's own.
    async fn locate_in_target(&self, keys: Keys) -> Result<Place, Fault> {
        let Some(key) = keys.target else { return Ok(Place::Nowhere { row: None }) };
        Ok(Place::Own { found: self.setup.target.fetch(&key).await.map_err(Fault::target)? })
    }

    /// A record in a client's shape, with its version.
    pub async fn show(&self, shape: Shape, place: &Place) -> Result<Option<(Image, Etag)>, Fault> {
        let shapes = &self.setup.shapes;
        Ok(match (place, shape) {
            (Place::Nowhere { .. } | Place::Deleted { .. }, _) => None,
            (Place::Source { row, held }, shape) => {
                let image = match shape {
                    Shape::V1 => held.v1.clone(),
                    Shape::V2 => Image::of(shapes.forward(&held.v1)?.v2),
                };
                Some((image, etag(Home::Source, row)))
            }
            (Place::Target { held, found, origin, .. }, shape) => {
                let Some(image) = &found.image else { return Ok(None) };
                let shown = match shape {
                    Shape::V1 => {
                        shapes.sayable(&held.v1)?;
                        shapes.together(&held.v1, &image.record, origin)?
                    }
                    Shape::V2 => Image::of(image.record.clone()),
                };
                Some((shown, etag(Home::Target, found)))
            }
            (Place::Own { found }, shape) => {
                let Some(image) = &found.image else { return Ok(None) };
                let shown = match shape {
                    Shape::V1 => self.alone(&image.record).await?,
                    Shape::V2 => Image::of(image.record.clone()),
                };
                Some((shown, etag(Home::Target, found)))
            }
        })
    }

    /// A record as a client gets it.
    pub async fn got(&self, shape: Shape, place: &Place) -> Result<Option<Got>, Fault> {
        let Some((image, etag)) = self.show(shape, place).await? else { return Ok(None) };
        let key = self.setup.shapes.key_of(shape.side(), &image)?;
        Ok(Some(Got { key, record: image.record, etag }))
    }
}

/// The version of what a store answered.
pub fn etag(home: Home, found: &Fetched) -> Etag {
    match (found.stamp, &found.image) {
        (Some(_), _) | (None, None) => Etag::Stamp(version(home, stamp_of(found))),
        (None, Some(image)) => Etag::Content(shearwater_core::value::hash::document(&image.record)),
    }
}
