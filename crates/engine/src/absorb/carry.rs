//! The one path by which records move, for updates, bulk updates and
//! deactivations alike.
//!
//! A move is one atomic write of the source (it sets the flag at the version
//! that was read, keeps what only the target has beside the row, and leaves a
//! dirty mark), then one of the target (it inserts the record with its origin,
//! and remembers the move so that it lands at most once), then the mark is
//! cleared. Nothing needs to be staged in the target: until the mark is
//! cleared, everything that the move takes there stands in the source, and
//! whoever meets the mark finishes the move.

use std::time::{SystemTime, UNIX_EPOCH};

use shearwater_core::absorb::merge::{self, Kept};
use shearwater_core::absorb::{ChangedValue, Held, Home, Origin};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::journal::DeadLetter;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, ListQuery, Literal};
use shearwater_core::store::{Change, DirtyMark, Expect, Fetched, IdempotencyRow, Image, Side, Write, Written};
use shearwater_core::{Document, Key, Stamp};

use super::returning::is_held;
use super::{Fault, Protection, Setup};
use crate::failpoint;

/// Attempts at finishing a move while others write its row.
const SETTLE_ATTEMPTS_MAX: usize = 16;

/// Moves records.
#[derive(Clone)]
pub struct Carrier {
    /// The migration.
    pub setup: Setup,
    /// The protection that a test has switched off.
    pub without: Option<Protection>,
}

/// How a landing ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Landed {
    /// The record is in the target: its version there if it landed now, and the
    /// mark in the source that is left to clear.
    Here(Option<Stamp>, Option<DirtyMark>),
    /// The target will not have it; it is back in the source.
    Refused(Refused),
}

/// A record on its way: the source's row and the key under which it lands.
struct Landing<'a> {
    epoch: u64,
    row: &'a Fetched,
    held: &'a Held,
    key: &'a Key,
}

/// Why the target will not have a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: String,
    /// The field that is in the way, if that is known.
    pub field: String,
    /// The reason, without row values.
    pub message: String,
}

impl Refused {
    fn taken(field: &str) -> Refused {
        let message = format!("a record of the target has the same {field}");
        Refused { code: "absorb/taken".to_owned(), field: field.to_owned(), message }
    }

    fn by(error: &StoreError) -> Refused {
        let field = match &error.kind {
            StoreErrorKind::Refused { field } => field.clone().unwrap_or_default(),
            _ => String::new(),
        };
        Refused { code: error.code().to_owned(), field, message: error.message.clone() }
    }
}

/// The version under which a key's record was read.
pub fn stamp_of(fetched: &Fetched) -> Stamp {
    fetched.stamp.unwrap_or(Stamp::ZERO)
}

/// What a write must find to be sure that nothing happened since it was read.
pub fn unchanged(fetched: &Fetched) -> Expect {
    match (&fetched.image, fetched.stamp) {
        (None, _) => Expect::Absent,
        (Some(_), Some(stamp)) => Expect::Stamp(stamp),
        (Some(image), None) => Expect::Content(shearwater_core::value::hash::document(&image.record)),
    }
}

/// Now, ms since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Carrier {
    /// Whether a protection is switched off.
    pub(super) fn lacks(&self, protection: Protection) -> bool {
        self.without == Some(protection)
    }

    /// Takes a record out of the source, in the shape that it is to have: one
    /// atomic write at the version `from`. Answers the new version.
    ///
    /// # Errors
    /// [`StoreErrorKind::ExpectFailed`]: somebody has written it since.
    pub async fn depart(
        &self,
        epoch: u64,
        from: &Fetched,
        v1: Image,
        expect: Expect,
        idempotency: Option<IdempotencyRow>,
    ) -> Result<Written, Fault> {
        let held = Held { v1, home: Home::Target, left: Some(stamp_of(from)), returning: None };
        let image = Some(self.setup.shapes.row(held));
        let change = Change { key: from.key.clone(), image, expect };
        let write = Write { epoch: Some(epoch), changes: vec![change], idempotency };
        let written = self.setup.source().await.map_err(Fault::source)?.write(write).await.map_err(Fault::source)?;
        failpoint::hit("absorb-departed");
        Ok(written)
    }

    /// Finishes whatever is on its way with a record: lands it, or lets it come
    /// back. Does nothing when nothing is.
    pub async fn settle(&self, epoch: u64, key: &Key) -> Result<(), Fault> {
        let source = self.setup.source().await.map_err(Fault::source)?;
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            let row = source.fetch(key).await.map_err(Fault::source)?;
            let Some(held) = row.image.clone().map(|image| self.setup.shapes.held(image)) else { return Ok(()) };
            let settled = match (held.home, held.returning) {
                (Home::Source, _) => return Ok(()),
                (Home::Target, _) if !row.dirty => return Ok(()),
                (Home::Target, None) => match self.land(epoch, &row, &held).await {
                    Ok(Landed::Here(_, None)) => return Ok(()),
                    Ok(Landed::Here(_, mark)) => self.clear(mark).await,
                    Ok(Landed::Refused(_)) => Ok(()),
                    Err(fault) => Err(fault),
                },
                (Home::Target, Some(version)) => match self.finish_return(epoch, &row, held, version).await {
                    // It goes on living in the target, and a dead letter says why.
                    Err(fault) if is_held(&fault) => Ok(()),
                    done => done,
                },
            };
            match settled {
                // Somebody else wrote the row: look at it again.
                Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => {}
                done => return done,
            }
        }
        let message = "a record on its way is written by too many others";
        Err(Fault::source(StoreError::new(StoreErrorKind::Unavailable, message)))
    }

    /// Lands a record that has departed and clears its mark. At most once,
    /// whoever else tries; where the target refuses it, the source has it back.
    pub async fn land(&self, epoch: u64, row: &Fetched, held: &Held) -> Result<Landed, Fault> {
        let shapes = &self.setup.shapes;
        let key = self.target_key(&row.key).await?;
        let mut v1 = held.v1.clone();
        shapes.with_key(&mut v1, &key);
        let mut v2 = shapes.forward(&v1)?.v2;
        let mut changed: Vec<ChangedValue> = Vec::new();
        // Each round settles one conflict; there are no more than there are unique fields.
        for _ in 0..=2 * shapes.unique_fields().len() {
            // The target itself may not know that a field is unique.
            if let Some(field) = self.taken_field(&v2, &key).await?
                && let Some((settled, change)) = shapes.settle_conflict(&field, &v2)?
                && !changed.iter().any(|(name, _, _)| *name == field)
            {
                v2 = settled;
                changed.push(change);
                continue;
            }
            let landing = Landing { epoch, row, held, key: &key };
            let error = match self.meet(&landing, &v2, &changed).await {
                Ok((left, version)) => {
                    failpoint::hit("absorb-landed");
                    // A row that was written after it departed was written by a
                    // program that does not know of the flag: its mark stays,
                    // for the reconciler to tell of it.
                    let mark = (left == stamp_of(row)).then(|| DirtyMark { key: row.key.clone(), stamp: left });
                    return Ok(Landed::Here(version, mark));
                }
                Err(error) => error,
            };
            let refused = match &error.kind {
                StoreErrorKind::ExpectFailed { exists: true, .. } => self.key_taken(),
                StoreErrorKind::Refused { .. } => match self.taken_field(&v2, &key).await? {
                    Some(field) => match shapes.settle_conflict(&field, &v2)? {
                        Some((settled, change)) if !changed.iter().any(|(name, _, _)| *name == field) => {
                            v2 = settled;
                            changed.push(change);
                            continue;
                        }
                        _ => Refused::taken(&field),
                    },
                    None => Refused::by(&error),
                },
                _ => return Err(Fault::target(error)),
            };
            return self.give_back(epoch, row, held.clone(), refused).await;
        }
        self.give_back(epoch, row, held.clone(), Refused::taken("value")).await
    }

    /// Lands a record beside the others, or merges it with the one that has its
    /// key already, at the version that was looked at.
    async fn meet(
        &self,
        landing: &Landing<'_>,
        v2: &Document,
        changed: &[ChangedValue],
    ) -> Result<(Stamp, Option<Stamp>), StoreError> {
        let origin = |changed, merged| Origin { key: landing.row.key.clone(), changed, merged };
        let once = !self.lacks(Protection::LandOnce);
        let expect = if once { Expect::Absent } else { Expect::Any };
        let mut done = self.insert(landing, v2.clone(), origin(changed.to_vec(), None), expect).await;
        let Some(merge) = self.setup.shapes.merge() else { return done };
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            if !matches!(&done, Err(StoreError { kind: StoreErrorKind::ExpectFailed { .. }, .. })) {
                return done;
            }
            let met = self.setup.target.fetch(landing.key).await?;
            let Some(image) = &met.image else {
                done = self.insert(landing, v2.clone(), origin(changed.to_vec(), None), Expect::Absent).await;
                continue;
            };
            if Origin::of(&image.parked).is_some() || !self.setup.shapes.become_one(v2, &image.record) {
                return done;
            }
            let landed = merge::combine(merge, v2, &image.record);
            let changed = merge::changed(v2, &landed, changed);
            let kept = Kept { before: image.record.clone(), landed: landed.clone() };
            done = self.insert(landing, landed, origin(changed, Some(kept)), unchanged(&met)).await;
        }
        done
    }

    /// The one write of the target. Answers the source's version that landed,
    /// now or before.
    async fn insert(
        &self,
        landing: &Landing<'_>,
        record: Document,
        origin: Origin,
        expect: Expect,
    ) -> Result<(Stamp, Option<Stamp>), StoreError> {
        let image = Image { record, parked: origin.parked() };
        let left = stamp_of(landing.row);
        let idempotency = (!self.lacks(Protection::LandOnce)).then(|| IdempotencyRow {
            key: landing_name(&landing.row.key, landing.held.left.unwrap_or(Stamp::ZERO)),
            request_hash: landing.row.key.hash().into(),
            answer: left.to_string(),
            at_ms: now_ms(),
        });
        let change = Change { key: landing.key.clone(), image: Some(image), expect };
        let write = Write { epoch: Some(landing.epoch), changes: vec![change], idempotency };
        match self.setup.target.write(write).await? {
            Written::Applied(stamps) => Ok((left, stamps.first().copied().flatten())),
            Written::Replayed(before) => Ok((before.answer.parse().unwrap_or(Stamp::ZERO), None)),
        }
    }

    /// Clears a mark of the source, if it is still that one.
    pub async fn clear(&self, mark: Option<DirtyMark>) -> Result<(), Fault> {
        let Some(mark) = mark else { return Ok(()) };
        let source = self.setup.source().await.map_err(Fault::source)?;
        source.clear(vec![mark]).await.map_err(Fault::source)?;
        Ok(())
    }

    /// The same off the client's path: a mark that stays costs the reconciler a look.
    pub(super) fn clear_later(&self, mark: Option<DirtyMark>) {
        let carrier = self.clone();
        if mark.is_some() {
            tokio::spawn(async move {
                if let Err(fault) = carrier.clear(mark).await {
                    tracing::debug!(%fault, "a mark is left to the reconciler");
                }
            });
        }
    }

    /// The target has another record under a record's key.
    fn key_taken(&self) -> Refused {
        let shapes = &self.setup.shapes;
        let key = shapes.shape(Side::Target).key_fields().join(", ");
        match shapes.merge_field() {
            None => Refused::taken(&key),
            Some(field) => Refused {
                message: format!(
                    "the record of the target that it was to be one with, or that has its {key}, has another {field}"
                ),
                ..Refused::taken(&key)
            },
        }
    }

    /// The unique field whose value another record of the target has.
    pub(super) async fn taken_field(&self, v2: &Document, key: &Key) -> Result<Option<String>, Fault> {
        for field in self.setup.shapes.unique_fields() {
            let Some(value) = v2.get(field).filter(|value| !value.is_null()) else { continue };
            let filter =
                Filter::Compare { path: Path::field(field), op: CompareOp::Eq, literal: Literal::Typed(value.clone()) };
            let query = ListQuery { filter, order: vec![], after: None, limit: 2 };
            let page = self.setup.target.list(&query).await.map_err(Fault::target)?;
            if page.records.iter().any(|found| found.key != *key) {
                return Ok(Some(field.to_owned()));
            }
        }
        Ok(None)
    }

    /// What would keep a record from landing, looked for before it departs.
    pub async fn obstacle(&self, v2: &Document, key: &Key) -> Result<Option<Refused>, Fault> {
        let found = self.setup.target.fetch(key).await.map_err(Fault::target)?;
        if let Some(image) = &found.image {
            // It is this record, which another mover has brought here since we
            // looked: the write to the source finds that out.
            if Origin::of(&image.parked).is_some() {
                return Ok(None);
            }
            if !self.setup.shapes.become_one(v2, &image.record) {
                return Ok(Some(self.key_taken()));
            }
        }
        if let Some(refused) = self.unmoved(v2, None, key).await? {
            return Ok(Some(refused));
        }
        match self.taken_field(v2, key).await? {
            Some(field) if self.setup.shapes.settle_conflict(&field, v2)?.is_none() => Ok(Some(Refused::taken(&field))),
            _ => Ok(None),
        }
    }

    /// The source has a record back that the target will not have, as it was to
    /// land, with what only the target can hold beside it; and a dead letter says why.
    async fn give_back(&self, epoch: u64, row: &Fetched, held: Held, refused: Refused) -> Result<Landed, Fault> {
        let stamp = stamp_of(row);
        self.bury(&row.key, stamp, &refused.code, &refused.message).await?;
        failpoint::hit("absorb-letter-buried");
        self.write_home(epoch, &row.key, stamp, Held::at_home(held.v1)).await?;
        Ok(Landed::Refused(refused))
    }

    /// Writes a row of the source at a version, and clears the mark that this leaves.
    pub(super) async fn write_home(&self, epoch: u64, key: &Key, at: Stamp, held: Held) -> Result<Stamp, Fault> {
        let image = Some(self.setup.shapes.row(held));
        let change = Change { key: key.clone(), image, expect: Expect::Stamp(at) };
        let source = self.setup.source().await.map_err(Fault::source)?;
        let write = Write { epoch: Some(epoch), changes: vec![change], idempotency: None };
        let stamp = match source.write(write).await.map_err(Fault::source)? {
            Written::Applied(stamps) => stamps.first().copied().flatten().unwrap_or(at),
            Written::Replayed(_) => at,
        };
        let mark = DirtyMark { key: key.clone(), stamp };
        source.clear(vec![mark]).await.map_err(Fault::source)?;
        Ok(stamp)
    }

    /// Keeps a dead letter of a record of the source.
    pub async fn bury(&self, key: &Key, stamp: Stamp, code: &str, reason: &str) -> Result<(), Fault> {
        let letter = DeadLetter {
            key: key.to_text(),
            authority: Side::Source,
            stamp: (stamp.epoch, stamp.counter),
            code: code.to_owned(),
            reason: reason.to_owned(),
            at_ms: now_ms(),
            attempts: 1,
        };
        Ok(self.setup.journal.bury(letter).await?)
    }
}

/// The name of one move, as the target remembers that it landed.
fn landing_name(key: &Key, left: Stamp) -> String {
    format!("absorb/land/{}/{left}", fingerprint(key))
}

/// The name of one return, as the target remembers that it gave a version up.
pub(super) fn giving_up(key: &Key, version: Stamp) -> String {
    format!("absorb/return/{}/{version}", fingerprint(key))
}

/// A key as a short text; different for different keys.
fn fingerprint(key: &Key) -> String {
    format!("{:032x}", shearwater_core::value::hash::value(&shearwater_core::Value::Array(key.values().to_vec())))
}
