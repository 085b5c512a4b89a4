//! Stitched lists: both stores are read for one page, the one that records
//! leave first, and moves on their way are finished in between.

use std::collections::HashMap;

use shearwater_core::absorb::stitch::{Across, Ask, Page, Reading, Row, Same, merge};
use shearwater_core::absorb::{Home, Origin, Shapes};
use shearwater_core::lifecycle::absorb::{ListOrder, State};
use shearwater_core::mapping::MappingError;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::spec::Scope;
use shearwater_core::store::{Fetched, Image, Side, Store};
use shearwater_core::{Document, Key};

use super::place::etag;
use super::{Carrier, Fault, Protection};
use crate::records::{Etag, Got, LeftOut, ListAsk, ListGot, Shape};

/// Marks looked at at once while moves are finished.
const MARKS_READ_MAX: usize = 500;

/// One store's shape seen from the other.
struct Other<'a> {
    shapes: &'a Shapes,
    /// The store that is asked.
    store: Side,
}

/// What a store is asked for a page of a list in a shape; whether it is asked
/// for exactly the list's order.
pub fn asked_of(shapes: &Shapes, store: Side, shape: Shape, ask: &Ask) -> (Option<ListQuery>, bool) {
    let other = Other { shapes, store };
    let reading: Reading<()> = match shape.side() == store {
        true => Reading::begin(ask, &Same, Filter::All),
        false => Reading::begin(ask, &other, Filter::All),
    };
    (reading.next(), reading.is_exact())
}

impl Across for Other<'_> {
    fn path(&self, path: &Path) -> Option<Path> {
        let mapping = self.shapes.mapping();
        match self.store {
            Side::Source => mapping.path_reverse(path),
            Side::Target => mapping.path_forward(path).filter(|path| !self.shapes.may_change(path.root())),
        }
    }

    fn key(&self, key: &Key) -> Option<Key> {
        self.shapes.mapping().key_towards(self.store, key).ok()
    }

    fn keys_in_order(&self) -> bool {
        self.shapes.keys_in_order()
    }
}

type Rows = Vec<Row<Etag>>;

/// What becomes of records that a shape cannot show.
enum Unshown {
    /// The page fails.
    Refused,
    /// They are left out, and told.
    Told(Vec<LeftOut>),
}

impl Unshown {
    fn meet(&mut self, side: Side, found: &Fetched, error: MappingError) -> Result<(), Fault> {
        match self {
            Unshown::Refused => Err(Fault::Unshown { side, key: found.key.clone(), error }),
            Unshown::Told(left_out) => {
                if !left_out.iter().any(|left| left.side == side && left.key == found.key) {
                    left_out.push(LeftOut { side, key: found.key.clone(), code: error.code });
                }
                Ok(())
            }
        }
    }
}

impl Carrier {
    /// One page; a record that the shape cannot show is an error.
    pub async fn list(&self, state: &State, asked: &ListAsk) -> Result<ListGot, Fault> {
        self.page(state, asked, &mut Unshown::Refused).await
    }

    /// One page, and the records that were met for it which the shape cannot show.
    pub async fn list_shown(&self, state: &State, asked: &ListAsk) -> Result<(ListGot, Vec<LeftOut>), Fault> {
        let mut unshown = Unshown::Told(Vec::new());
        let page = self.page(state, asked, &mut unshown).await?;
        match unshown {
            Unshown::Told(left_out) => Ok((page, left_out)),
            Unshown::Refused => Ok((page, Vec::new())),
        }
    }

    async fn page(&self, state: &State, asked: &ListAsk, unshown: &mut Unshown) -> Result<ListGot, Fault> {
        let ask = Ask {
            filter: asked.filter.clone(),
            order: self.setup.shapes.collated(asked.shape.side(), &asked.order),
            after: asked.after.clone(),
            limit: asked.limit,
        };
        let mut order = state.list_order();
        if self.lacks(Protection::LeftFirst) {
            order = match order {
                ListOrder::SourceFirst => ListOrder::TargetFirst,
                ListOrder::TargetFirst => ListOrder::SourceFirst,
                other => other,
            };
        }
        let (shape, sides): (Shape, &[Side]) = (
            asked.shape,
            match order {
                ListOrder::SourceOnly => &[Side::Source],
                ListOrder::SourceFirst => &[Side::Source, Side::Target],
                ListOrder::TargetFirst => &[Side::Target, Side::Source],
                ListOrder::SourceTwice => &[Side::Source, Side::Target, Side::Source],
                ListOrder::TargetOnly => &[Side::Target],
            },
        );
        let mut read = Vec::with_capacity(sides.len());
        for (at, side) in sides.iter().enumerate() {
            if at > 0 && !self.lacks(Protection::SettleInList) {
                self.settle_all(state).await?;
            }
            read.push(match side {
                Side::Source => self.read_source(state, shape, &ask, unshown).await?,
                Side::Target => self.read_target(state, shape, &ask, unshown).await?,
            });
        }
        let Page { rows, next } = merge(&ask.order, ask.limit, read);
        let got = |row: Row<Etag>| Got { key: row.key, record: row.record, etag: row.item };
        Ok(ListGot { records: rows.into_iter().map(got).collect(), next })
    }

    /// Finishes every move that is on its way now.
    pub async fn settle_all(&self, state: &State) -> Result<(), Fault> {
        if !state.uses_sidecars() {
            return Ok(());
        }
        let source = self.setup.source().await.map_err(Fault::source)?;
        let mut after = None;
        loop {
            let marks = source.dirty(after, MARKS_READ_MAX).await.map_err(Fault::source)?;
            let keys: Vec<Key> = marks.iter().map(|mark| mark.key.clone()).collect();
            for row in source.fetch_many(&keys).await.map_err(Fault::source)? {
                let moved = row.image.is_some_and(|image| self.setup.shapes.held(image).home == Home::Target);
                if moved && row.dirty {
                    self.settle(state.epoch, &row.key).await?;
                }
            }
            match marks.last() {
                Some(last) if marks.len() == MARKS_READ_MAX => after = Some(last.stamp),
                _ => return Ok(()),
            }
        }
    }

    async fn read_source(&self, state: &State, shape: Shape, ask: &Ask, unshown: &mut Unshown) -> Result<Rows, Fault> {
        let (store, only) = match state.uses_sidecars() {
            true => (self.setup.source().await.map_err(Fault::source)?, self.setup.shapes.lives_in(Home::Source)),
            false => (self.setup.plain.clone(), Filter::All),
        };
        let other = Other { shapes: &self.setup.shapes, store: Side::Source };
        let mut reading = match shape {
            Shape::V1 => Reading::begin(ask, &Same, only),
            Shape::V2 => Reading::begin(ask, &other, only),
        };
        if shape == Shape::V2 && !state.uses_sidecars() && self.setup.crosswalk.is_some() {
            return Err(super::identity::unassigned().into());
        }
        while let Some(query) = reading.next() {
            let mut page = store.list(&query).await.map_err(Fault::source)?;
            if shape == Shape::V2 {
                self.with_keys(&mut page.records).await?;
            }
            for found in &page.records {
                let Some(image) = &found.image else { continue };
                let v1 = self.setup.shapes.held(image.clone()).v1;
                let shown = match shape {
                    Shape::V1 => Ok(v1),
                    Shape::V2 => self.setup.shapes.forward(&v1).map(|parted| Image::of(parted.v2)),
                };
                match shown.and_then(|image| self.keyed(shape, image)) {
                    Ok((key, record)) => reading.offer(key, record, etag(Home::Source, found)),
                    Err(error) => unshown.meet(Side::Source, found, error)?,
                }
            }
            turn(&mut reading, &page.records, page.more);
        }
        Ok(reading.rows())
    }

    async fn read_target(&self, state: &State, shape: Shape, ask: &Ask, unshown: &mut Unshown) -> Result<Rows, Fault> {
        let other = Other { shapes: &self.setup.shapes, store: Side::Target };
        let mut reading = match shape {
            Shape::V1 => Reading::begin(ask, &other, Filter::All),
            Shape::V2 => Reading::begin(ask, &Same, Filter::All),
        };
        let store: &dyn Store = self.setup.target.as_ref();
        let has_origins = state.uses_sidecars() && state.list_order() != ListOrder::TargetOnly;
        let only_ours = has_origins && (shape == Shape::V1 || self.setup.shapes.scope() == Scope::Origin);
        while let Some(query) = reading.next() {
            let page = match only_ours {
                true => store.list_parked(&query).await.map_err(Fault::target)?,
                false => store.list(&query).await.map_err(Fault::target)?,
            };
            let mut rows = match shape {
                Shape::V1 if has_origins => self.rows_of(&page.records).await?,
                Shape::V1 | Shape::V2 => HashMap::new(),
            };
            for found in &page.records {
                let Some(image) = &found.image else { continue };
                // On the way to the end what stands beside a record counts no more.
                let origin = Origin::of(&image.parked).filter(|_| has_origins);
                if only_ours && origin.is_none() {
                    continue;
                }
                if let Some(row) = origin.as_ref().and_then(|origin| rows.get_mut(&origin.key)) {
                    self.follow(row, &image.record).await?;
                }
                let shown = match (shape, &origin) {
                    (Shape::V1, None) => self.shown_alone(image).await?,
                    (shape, origin) => self.shown(shape, image, origin.as_ref(), &rows),
                };
                match shown.and_then(|image| image.map(|image| self.keyed(shape, image)).transpose()) {
                    Ok(Some((key, record))) => reading.offer(key, record, etag(Home::Target, found)),
                    Ok(None) => {}
                    Err(error) => unshown.meet(Side::Target, found, error)?,
                }
            }
            turn(&mut reading, &page.records, page.more);
        }
        Ok(reading.rows())
    }

    /// The source's rows of some records of the target, for clients of its shape.
    async fn rows_of(&self, found: &[Fetched]) -> Result<HashMap<Key, Image>, Fault> {
        let keys: Vec<Key> =
            found.iter().filter_map(|found| Some(Origin::of(&found.image.as_ref()?.parked)?.key)).collect();
        let source = self.setup.source().await.map_err(Fault::source)?;
        let rows = source.fetch_many(&keys).await.map_err(Fault::source)?;
        let v1 = |row: Fetched| Some((row.key, self.setup.shapes.held(row.image?).v1));
        Ok(rows.into_iter().filter_map(v1).collect())
    }

    fn shown(
        &self,
        shape: Shape,
        image: &Image,
        origin: Option<&Origin>,
        rows: &HashMap<Key, Image>,
    ) -> Result<Option<Image>, MappingError> {
        let shapes = &self.setup.shapes;
        Ok(match (shape, origin) {
            (Shape::V1, Some(origin)) => match rows.get(&origin.key) {
                Some(row) => {
                    shapes.sayable(row)?;
                    Some(shapes.together(row, &image.record, origin)?)
                }
                None => None,
            },
            (Shape::V2, _) | (Shape::V1, None) => Some(Image::of(image.record.clone())),
        })
    }

    /// After the end: records that v1 has no words for are not its.
    async fn shown_alone(&self, image: &Image) -> Result<Result<Option<Image>, MappingError>, Fault> {
        match self.alone(&image.record).await {
            Ok(v1) => Ok(Ok(Some(v1))),
            Err(Fault::Mapping(_)) => Ok(Ok(None)),
            Err(fault) => Err(fault),
        }
    }

    fn keyed(&self, shape: Shape, image: Image) -> Result<(Key, Document), MappingError> {
        Ok((self.setup.shapes.key_of(shape.side(), &image)?, image.record))
    }
}

fn turn(reading: &mut Reading<Etag>, records: &[Fetched], more: bool) {
    let last = records.last().and_then(|found| Some((&found.key, record_of(found)?)));
    reading.turn(last, more);
}

fn record_of(found: &Fetched) -> Option<&Document> {
    found.image.as_ref().map(|image| &image.record)
}
