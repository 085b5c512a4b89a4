//! A record as its document, with our reserved field in it.
//!
//! | in `_shearwater` | what |
//! |---|---|
//! | `e`, `c` | the stamp: epoch, counter |
//! | `d` | `true` while the follower has not confirmed the stamp |
//! | `g` | `true`: a tombstone, there is no record |
//! | `p` | parked fields of the other shape |
//! | `h` | the hash of the record that we wrote: a document whose hash is another one was changed by somebody else |
//! | `n` | put beside the mark when an intent was settled on a standalone server: what was read before is not what stands here |
//! | `k`, `t` | the idempotency key that wrote this on a standalone server, and its attempt |
//! | `i` | where `_id` stands among the fields, when it is not the first: MongoDB moves it there |
//!
//! A document that nobody has written since capture began has no such field.

use mongodb::bson::RawDocumentBuf;
use shearwater_core::error::StoreResult;
use shearwater_core::store::{BadRow, Fetched, Image};
use shearwater_core::value::hash;
use shearwater_core::{Document, Key, Stamp, Value};

use super::encode::{self, BINARY_PLAIN, binary};
use super::key::{ID, Keys};
use super::raw::{Doc, Element, Elements, Owned, find, ty};
use super::value;
use crate::relational::{corrupt, refused};

/// The reserved field; also what the names of our collections and indexes begin with.
pub(super) const RESERVED: &str = "_shearwater";

/// The largest document that MongoDB takes, bytes, and the room that is left
/// in it for the reserved field.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
const RESERVED_BYTES: usize = 512;

/// What a document of ours says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mark {
    pub(super) stamp: Stamp,
    pub(super) dirty: bool,
    pub(super) parked: Document,
    hash: Option<u128>,
    id_at: usize,
    pub(super) settled: Option<String>,
    pub(super) request: Option<String>,
    pub(super) token: Option<String>,
}

/// A document that was read.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) raw: RawDocumentBuf,
    pub(super) key: StoreResult<Key>,
    /// `None`: it has no reserved field.
    pub(super) mark: Option<Mark>,
    /// `None`: a tombstone.
    pub(super) record: Option<StoreResult<Document>>,
}

/// Where records of a layout stand.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) table: String,
    pub(super) keys: Keys,
}

impl Records {
    /// Reads a document.
    pub(super) fn read(&self, raw: RawDocumentBuf) -> Row {
        let bytes = raw.as_bytes();
        let id = find(bytes, ID).unwrap_or(Element { ty: ty::NULL, bytes: &[] });
        let key = self.keys.key_of(id);
        let (mark, gone) = match find(bytes, RESERVED).map(|element| read_mark(element)) {
            None => (None, false),
            Some(Some((mark, gone))) => (Some(mark), gone),
            Some(None) => {
                let what = "the reserved field is not as this program writes it";
                let record = Some(Err(corrupt(&self.table, RESERVED, what)));
                return Row { key, mark: None, record, raw };
            }
        };
        let id_at = mark.as_ref().map_or(0, |mark| mark.id_at);
        let record = (!gone).then(|| {
            let record = self.record_of(bytes, id_at)?;
            if let Ok(key) = &key {
                self.keys.check_read(key, &record)?;
            }
            Ok(record)
        });
        Row { key, mark, record, raw }
    }

    fn record_of(&self, bytes: &[u8], id_at: usize) -> StoreResult<Document> {
        let bad = |what: String| corrupt(&self.table, "the document", what);
        let elements = Elements::of(bytes).map_err(|what| bad(what.to_owned()))?;
        let is_id = self.keys.is_id();
        let ours = |name: &str| name == RESERVED || (name == ID && !(is_id && id_at == 0));
        let others = elements.filter(|element| !element.as_ref().is_ok_and(|(name, _)| ours(name)));
        let record = value::fields(others, 0).map_err(|unreadable| bad(unreadable.told()))?;
        if !is_id || id_at == 0 {
            return Ok(record);
        }
        let id = find(bytes, ID).map(value::value).transpose().map_err(|unreadable| bad(unreadable.told()))?;
        let mut moved = Document::with_capacity(record.len() + 1);
        for (place, (name, value)) in record.into_iter().enumerate() {
            if place == id_at {
                moved.set(ID, id.clone().unwrap_or(Value::Null));
            }
            moved.set(name, value);
        }
        if !moved.contains(ID) {
            moved.set(ID, id.unwrap_or(Value::Null));
        }
        Ok(moved)
    }

    /// The document of a record. `held` is what stands there now; without a mark
    /// there is no reserved field.
    pub(super) fn document(
        &self,
        key: &Key,
        record: &Document,
        mark: Option<(&Stamp, &Document, Dirty)>,
        held: Option<&[u8]>,
    ) -> StoreResult<Vec<u8>> {
        self.keys.check(key, record)?;
        if record.contains(RESERVED) {
            return Err(refused(&self.table, RESERVED, "this name is ours while the migration runs"));
        }
        if !self.keys.is_id() && record.contains(ID) {
            let what = "MongoDB's own key field cannot be an ordinary field of a record with another key";
            return Err(refused(&self.table, ID, what));
        }
        let mut doc = Doc::new();
        let id = match held.and_then(|held| find(held, ID)) {
            Some(there) => Owned::of(there),
            None => self.keys.id_of(key)?,
        };
        doc.put(ID, id.get());
        let unfit = |unfit: encode::Unfit| refused(&self.table, &unfit.field, unfit.what);
        // MongoDB has it first whatever we say.
        let id_at = record.iter().position(|(name, _)| name == ID).filter(|_| self.keys.is_id()).unwrap_or(0);
        let rest: Document = record.iter().filter(|(name, _)| *name != ID).map(|(n, v)| (n, v.clone())).collect();
        encode::fields(&mut doc, &rest, held).map_err(unfit)?;
        if let Some((stamp, parked, dirty)) = mark {
            doc.begin(RESERVED);
            doc.long("e", stamp.epoch as i64).long("c", stamp.counter as i64);
            if dirty == Dirty::Yes {
                doc.yes("d");
            }
            if !parked.is_empty() {
                doc.document("p", &encode::document(parked, None).map_err(unfit)?);
            }
            doc.put("h", binary(BINARY_PLAIN, &hash::document(record).to_le_bytes()).get());
            if id_at > 0 {
                doc.int("i", id_at as i32);
            }
            doc.close();
        }
        let bytes = doc.end();
        if bytes.len() + RESERVED_BYTES > DOCUMENT_BYTES_MAX {
            let what = format!("the document has {} bytes; MongoDB takes {DOCUMENT_BYTES_MAX}", bytes.len());
            return Err(refused(&self.table, "the document", what));
        }
        Ok(bytes)
    }

    /// What the API tells of a key.
    pub(super) fn fetched(&self, key: Key, row: Option<Row>, sidecar: Sidecar) -> StoreResult<Fetched> {
        let (record, mark) = match row {
            Some(row) => (row.record, row.mark.unwrap_or_default()),
            None => (None, Mark::default()),
        };
        let record = record.transpose()?;
        let stamp = (sidecar == Sidecar::Installed).then_some(mark.stamp);
        let image = record.map(|record| Image { record, parked: mark.parked });
        Ok(Fetched { key, image, stamp, dirty: mark.dirty })
    }

    /// A document of a scan; `None`: a tombstone.
    pub(super) fn scanned(&self, row: Row, sidecar: Sidecar) -> Option<Result<Fetched, BadRow>> {
        row.record.as_ref()?;
        Some(match row.key.clone() {
            Err(error) => Err(BadRow { key: None, error }),
            Ok(key) => {
                let named = key.clone();
                self.fetched(key, Some(row), sidecar).map_err(|error| BadRow { key: Some(named), error })
            }
        })
    }
}

/// Whether a mark is to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    Yes,
    No,
}

/// Whether the sidecar is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    Installed,
    Absent,
}

impl Row {
    /// The stamp that the document holds.
    pub(super) fn stamp(&self) -> Stamp {
        self.mark.as_ref().map_or(Stamp::ZERO, |mark| mark.stamp)
    }

    /// Whether there is a record, readable or not.
    pub(super) fn exists(&self) -> bool {
        self.record.is_some()
    }

    /// Whether somebody else has changed the document since we wrote it.
    pub(super) fn is_foreign(&self) -> bool {
        match (&self.mark, &self.record) {
            (Some(Mark { hash: Some(written), .. }), Some(Ok(record))) => hash::document(record) != *written,
            (Some(Mark { hash: Some(_), .. }), Some(Err(_))) => true,
            _ => false,
        }
    }
}

fn read_mark(element: Element<'_>) -> Option<(Mark, bool)> {
    if element.ty != ty::DOCUMENT {
        return None;
    }
    let (mut mark, mut gone) = (Mark::default(), false);
    for read in Elements::of(element.bytes).ok()? {
        let (name, part) = read.ok()?;
        match (name, value::value(part).ok()?) {
            ("e", Value::Int(n)) => mark.stamp.epoch = u64::try_from(n).ok()?,
            ("c", Value::Int(n)) => mark.stamp.counter = u64::try_from(n).ok()?,
            ("d", Value::Bool(dirty)) => mark.dirty = dirty,
            ("g", Value::Bool(is_gone)) => gone = is_gone,
            ("p", _) if part.ty == ty::DOCUMENT => mark.parked = value::document(part.bytes).ok()?,
            ("h", Value::Bytes(bytes)) => mark.hash = Some(u128::from_le_bytes(bytes.try_into().ok()?)),
            ("n", Value::Text(value)) => mark.settled = Some(value),
            ("k", Value::Text(key)) => mark.request = Some(key),
            ("t", Value::Text(token)) => mark.token = Some(token),
            ("i", Value::Int(n)) => mark.id_at = usize::try_from(n).ok()?,
            _ => return None,
        }
    }
    Some((mark, gone))
}
