//! A record as an item.
//!
//! The attribute `_shearwater` of an item is ours. It holds the stamp, the dirty
//! mark, what is parked, a hash of the attributes beside it (so that a writer who
//! does not know it is told from us), and what DynamoDB would not give back as it
//! was: the order of the fields, and values of types that it does not have. An
//! item that nobody has written since capture began, and that loses nothing, has
//! no such attribute. A tombstone is the key and this attribute.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fetched, Image};
use shearwater_core::value::{hash, json};
use shearwater_core::{Document, Key, Stamp, Value};

use super::error::{corrupt, refused};
use super::table::{Names, Schema};
use super::value::{Item, document, is_natural, item_size, to_attribute};

/// The attribute that is ours.
pub(super) const RESERVED: &str = "_shearwater";

/// The stamp in it, as a path of an expression where `#r` is [`RESERVED`].
pub(super) const STAMP: &str = "s";
/// Whether the follower has not confirmed the stamp.
pub(super) const DIRTY: &str = "d";
/// Whether the item is a tombstone.
pub(super) const GONE: &str = "g";
const HASH: &str = "h";
const PARKED: &str = "p";
const NOTED: &str = "n";

/// Names inside what is noted.
const NOTED_ORDER: &str = "order";
const NOTED_FIELDS: &str = "fields";

/// Bytes of an item: DynamoDB's limit.
const ITEM_BYTES_MAX: usize = 400 * 1024;

/// What the store held when it was looked at, for a condition that nobody else
/// has written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// No item.
    Absent,
    /// An item without our attribute.
    Plain,
    /// An item with this stamp in our attribute.
    Stamped(Stamp),
}

/// Whether the follower has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    Yes,
    No,
}

/// What is under a key.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: Key,
    /// `None`: no item, or a tombstone.
    pub(super) image: Option<Image>,
    pub(super) stamp: Stamp,
    pub(super) dirty: Dirty,
    pub(super) guard: Guard,
    /// Somebody else has changed the attributes beside ours.
    pub(super) strayed: bool,
}

impl Held {
    /// Nothing under a key.
    pub(super) fn nothing(key: Key) -> Held {
        Held { key, image: None, stamp: Stamp::ZERO, dirty: Dirty::No, guard: Guard::Absent, strayed: false }
    }

    /// As the traits say it; without a sidecar there are no stamps.
    pub(super) fn into_fetched(self, sidecar: Sidecar) -> Fetched {
        match sidecar {
            Sidecar::Installed => {
                Fetched { key: self.key, image: self.image, stamp: Some(self.stamp), dirty: self.dirty == Dirty::Yes }
            }
            Sidecar::Absent => {
                let image = self.image.map(|image| Image::of(image.record));
                Fetched { key: self.key, image, stamp: None, dirty: false }
            }
        }
    }
}

/// Whether the sidecar is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    Installed,
    Absent,
}

/// An item that cannot be read, with its key when that can.
pub(super) struct Unreadable {
    pub(super) key: Option<Key>,
    pub(super) error: StoreError,
}

/// Our attribute as it was read.
struct Ours {
    stamp: Stamp,
    dirty: Dirty,
    gone: bool,
    hash: Option<u128>,
    parked: Document,
    noted: Document,
}

/// Reads an item.
pub(super) fn read(names: &Names, schema: &Schema, mut item: Item) -> Result<Held, Unreadable> {
    let table = &names.layout.table;
    let bad = |name: &str, what: String| corrupt(table, name, what);
    let key = schema.key_in(&item).map_err(|(name, what)| Unreadable { key: None, error: bad(&name, what) })?;
    let with_key = |error| Unreadable { key: Some(key.clone()), error };
    let ours = match item.remove(RESERVED) {
        Some(attribute) => Some(
            read_ours(&attribute)
                .ok_or_else(|| with_key(bad(RESERVED, "is not as this version writes it".to_owned())))?,
        ),
        None => None,
    };
    let Some(ours) = ours else {
        let record = natural(schema, item).map_err(|what| with_key(bad("?", what)))?;
        let image = Some(Image::of(record));
        return Ok(Held { key, image, stamp: Stamp::ZERO, dirty: Dirty::No, guard: Guard::Plain, strayed: false });
    };
    let (stamp, dirty, guard) = (ours.stamp, ours.dirty, Guard::Stamped(ours.stamp));
    if ours.gone {
        // Somebody who puts an item over a tombstone takes our attribute away; one
        // who updates it leaves it there.
        let strayed = item.len() > schema.key.len();
        let image = match strayed {
            true => Some(Image::of(natural(schema, item).map_err(|what| with_key(bad("?", what)))?)),
            false => None,
        };
        return Ok(Held { key, image, stamp, dirty, guard, strayed });
    }
    let record = natural(schema, item).map_err(|what| with_key(bad("?", what)))?;
    let strayed = ours.hash != Some(hash::document(&record));
    let record = match strayed {
        true => record,
        false => restored(record, ours.noted)
            .ok_or_else(|| with_key(bad(RESERVED, "notes fields that are not there".to_owned())))?,
    };
    Ok(Held { key, image: Some(Image { record, parked: ours.parked }), stamp, dirty, guard, strayed })
}

/// The record as DynamoDB gives it: the key's fields, then the others by name.
fn natural(schema: &Schema, mut item: Item) -> Result<Document, String> {
    let mut fields = Vec::with_capacity(item.len());
    for attribute in &schema.key {
        if let Some(value) = item.remove(&attribute.name) {
            fields.push((attribute.name.clone(), super::value::from_attribute(value)?));
        }
    }
    let others = document(item.into_iter().collect())?;
    let mut record = Document::with_capacity(fields.len() + others.len());
    for (name, value) in fields.into_iter().chain(others) {
        record.push(name, value).map_err(|error| error.to_string())?;
    }
    Ok(record)
}

/// The record as DynamoDB gives it back when nothing is noted; `None`: it cannot
/// hold it.
pub(super) fn kept(schema: &Schema, record: &Document) -> Option<Document> {
    if is_ordered(schema, record) && record.iter().all(|(_, value)| is_natural(value)) {
        return Some(record.clone());
    }
    let fields = record.iter().map(|(name, value)| Some((name.to_owned(), to_attribute(value).ok()?)));
    natural(schema, fields.collect::<Option<Item>>()?).ok()
}

/// Puts back what DynamoDB lost; `None` when the notes are not of this record.
fn restored(mut record: Document, noted: Document) -> Option<Document> {
    let (mut order, mut fields) = (None, None);
    for (name, value) in noted {
        match (name.as_str(), value) {
            (NOTED_ORDER, Value::Array(names)) => order = Some(names),
            (NOTED_FIELDS, Value::Document(found)) => fields = Some(found),
            _ => return None,
        }
    }
    for (name, value) in fields.into_iter().flatten() {
        *record.get_mut(&name)? = value;
    }
    let Some(order) = order else { return Some(record) };
    let mut ordered = Document::with_capacity(order.len());
    for name in order {
        let Value::Text(name) = name else { return None };
        let value = record.remove(&name)?;
        ordered.push(name, value).ok()?;
    }
    record.is_empty().then_some(ordered)
}

fn read_ours(attribute: &AttributeValue) -> Option<Ours> {
    let AttributeValue::M(fields) = attribute else { return None };
    let text = |name: &str| match fields.get(name) {
        Some(AttributeValue::S(text)) => Some(text.as_str()),
        _ => None,
    };
    let read = |name: &str| match text(name) {
        Some(text) => json::parse_document(text.as_bytes()).ok(),
        None => Some(Document::new()),
    };
    let flag = |name: &str| matches!(fields.get(name), Some(AttributeValue::Bool(true)));
    let hash = match fields.get(HASH) {
        Some(AttributeValue::B(bytes)) => Some(u128::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        _ => None,
    };
    Some(Ours {
        stamp: text(STAMP)?.parse().ok()?,
        dirty: if flag(DIRTY) { Dirty::Yes } else { Dirty::No },
        gone: flag(GONE),
        hash,
        parked: read(PARKED)?,
        noted: read(NOTED)?,
    })
}

/// What our attribute is to say of a record or a tombstone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) stamp: Stamp,
    pub(super) dirty: Dirty,
}

/// The attribute's text of a stamp.
pub(super) fn stamp_text(stamp: Stamp) -> AttributeValue {
    AttributeValue::S(stamp.to_string())
}

fn ours_of(mark: Mark) -> Item {
    let mut ours = Item::from([(STAMP.to_owned(), stamp_text(mark.stamp))]);
    if mark.dirty == Dirty::Yes {
        ours.insert(DIRTY.to_owned(), AttributeValue::Bool(true));
    }
    ours
}

/// A tombstone.
pub(super) fn tombstone(key: Item, mark: Mark) -> Item {
    let mut ours = ours_of(mark);
    ours.insert(GONE.to_owned(), AttributeValue::Bool(true));
    let mut item = key;
    item.insert(RESERVED.to_owned(), AttributeValue::M(ours));
    item
}

/// The item of a record; `None` as mark: the store has no sidecar, and what
/// DynamoDB does not keep is lost.
///
/// # Errors
/// `Refused`: DynamoDB cannot hold it; the field is named.
pub(super) fn write(names: &Names, schema: &Schema, key: &Key, image: &Image, mark: Option<Mark>) -> StoreResult<Item> {
    let table = &names.layout.table;
    schema.check_record(table, key, &image.record)?;
    let mut item = schema.item_of(table, key)?;
    let mut unnatural = Document::new();
    for (name, value) in image.record.iter() {
        if name == RESERVED {
            return Err(refused(table, name, "this attribute is ours"));
        }
        if name.is_empty() {
            return Err(refused(table, name, "DynamoDB has no attribute without a name"));
        }
        item.insert(name.to_owned(), to_attribute(value).map_err(|what| refused(table, name, what))?);
        if mark.is_some() && !is_natural(value) {
            unnatural.set(name, value.clone());
        }
    }
    if let Some(mark) = mark {
        let mut noted = Document::new();
        if !unnatural.is_empty() {
            noted.set(NOTED_FIELDS, unnatural);
        }
        if !is_ordered(schema, &image.record) {
            let order = image.record.iter().map(|(name, _)| Value::text(name)).collect();
            noted.set(NOTED_ORDER, Value::Array(order));
        }
        if mark.stamp != Stamp::ZERO || mark.dirty == Dirty::Yes || !noted.is_empty() || !image.parked.is_empty() {
            let ours = with_content(schema, &item, mark, &image.parked, &noted)
                .map_err(|what| refused(table, RESERVED, what))?;
            item.insert(RESERVED.to_owned(), AttributeValue::M(ours));
        }
    }
    check_size(table, &item)?;
    Ok(item)
}

fn with_content(schema: &Schema, item: &Item, mark: Mark, parked: &Document, noted: &Document) -> Result<Item, String> {
    let mut ours = ours_of(mark);
    let content = hash::document(&natural(schema, item.clone())?);
    ours.insert(HASH.to_owned(), AttributeValue::B(Blob::new(content.to_be_bytes())));
    for (name, document) in [(PARKED, parked), (NOTED, noted)] {
        if !document.is_empty() {
            ours.insert(name.to_owned(), AttributeValue::S(json::document_to_string(document)));
        }
    }
    Ok(ours)
}

/// Our attribute for an item that somebody else has written: its content as it
/// was read, what was parked beside it, and a new stamp.
pub(super) fn adopted(schema: &Schema, item: &Item, parked: &Document, mark: Mark) -> Result<AttributeValue, String> {
    let mut plain = item.clone();
    plain.remove(RESERVED);
    with_content(schema, &plain, mark, parked, &Document::new()).map(AttributeValue::M)
}

/// Whether the fields stand in the order in which they are read back.
fn is_ordered(schema: &Schema, record: &Document) -> bool {
    let rank = |name: &str| schema.key.iter().position(|attribute| attribute.name == name).unwrap_or(usize::MAX);
    let mut last: Option<(usize, &str)> = None;
    record.iter().all(|(name, _)| {
        let place = (rank(name), name);
        last.replace(place).is_none_or(|last| last < place)
    })
}

fn check_size(table: &str, item: &Item) -> StoreResult<()> {
    let bytes = item_size(item);
    if bytes <= ITEM_BYTES_MAX {
        return Ok(());
    }
    // The attribute that takes most is the one to look at.
    let largest = item.iter().max_by_key(|(_, value)| super::value::size(value)).map(|(name, _)| name.clone());
    Err(StoreError::new(
        StoreErrorKind::Refused { field: largest },
        format!("table {table:?}: the item has about {bytes} bytes; DynamoDB holds at most {ITEM_BYTES_MAX}"),
    ))
}
