//! Records that go from store to store without values in between: the source
//! shows the fields of the bytes that it was sent, the mapping says which of them
//! are the cells of which rows, and the target writes those as it takes them.
//!
//! It is for plain records, which the mapping's inverse gives back with no
//! residue: that is known from their fields alone. Every other record goes the
//! ordinary way, so nothing here ever converts or refuses anything.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::StoreResult;
use crate::store::{BadRow, CheckpointStep, ChunkMax, Cursor, Fetched, Put, ScanRange};
use crate::value::{Document, Instant, Uuid, Value};
use crate::verbatim::RowsPut;

pub use crate::mapping::FlatRules;

/// A scalar where it stands, or how far what is inside an array or a document
/// reaches: up to this place of the tape, exclusive.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain<'a> {
    /// As [`Value::Null`].
    Null,
    /// As [`Value::Bool`].
    Bool(bool),
    /// As [`Value::Int`].
    Int(i64),
    /// As [`Value::Float`].
    Float(f64),
    /// As [`Value::Text`].
    Text(Cow<'a, str>),
    /// As [`Value::Bytes`].
    Bytes(&'a [u8]),
    /// As [`Value::Instant`].
    Instant(Instant),
    /// As [`Value::Uuid`].
    Uuid(Uuid),
    /// A scalar of another type.
    Other(Box<Value>),
    /// A document.
    Document(usize),
    /// An array.
    Array(usize),
}

impl Plain<'_> {
    /// A scalar's value; `None` for an array or a document.
    pub fn to_value(&self) -> Option<Value> {
        Some(match self {
            Plain::Null => Value::Null,
            Plain::Bool(b) => Value::Bool(*b),
            Plain::Int(n) => Value::Int(*n),
            Plain::Float(x) => Value::Float(*x),
            Plain::Text(text) => Value::text(text.as_ref()),
            Plain::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Plain::Instant(instant) => Value::Instant(*instant),
            Plain::Uuid(uuid) => Value::Uuid(*uuid),
            Plain::Other(value) => value.as_ref().clone(),
            Plain::Document(_) | Plain::Array(_) => return None,
        })
    }

    /// The place after what stands at this one.
    pub(crate) fn after(&self, at: usize) -> usize {
        match self {
            Plain::Document(reach) | Plain::Array(reach) => *reach,
            _ => at + 1,
        }
    }
}

/// A field, or an element of an array, which has no name.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it holds.
    pub value: Plain<'a>,
}

/// One record's fields in their order, what is inside of one after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tape<'a> {
    entries: Vec<Entry<'a>>,
}

impl<'a> Tape<'a> {
    /// An empty one.
    pub fn new() -> Tape<'a> {
        Tape { entries: Vec::with_capacity(64) }
    }

    /// Forgets the record.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many entries there are, at all levels.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a place.
    pub fn get(&self, at: usize) -> Option<&Entry<'a>> {
        self.entries.get(at)
    }

    /// What a field of the record itself holds.
    pub fn field(&self, name: &str) -> Option<&Plain<'a>> {
        let mut at = 0;
        loop {
            let entry = self.get(at)?;
            if entry.name == name.as_bytes() {
                return Some(&entry.value);
            }
            at = entry.value.after(at);
        }
    }

    /// The value at a place; `None`: it has a field twice, or its name is no text.
    pub fn value(&self, at: usize) -> Option<Value> {
        let value = &self.get(at)?.value;
        let mut place = at + 1;
        match value {
            Plain::Document(reach) => {
                let mut document = Document::new();
                while place < *reach {
                    let field = self.get(place)?;
                    document.push(std::str::from_utf8(field.name).ok()?, self.value(place)?).ok()?;
                    place = field.value.after(place);
                }
                Some(Value::Document(document))
            }
            Plain::Array(reach) => {
                let mut items = Vec::new();
                while place < *reach {
                    items.push(self.value(place)?);
                    place = self.get(place)?.value.after(place);
                }
                Some(Value::Array(items))
            }
            scalar => scalar.to_value(),
        }
    }

    /// Adds a scalar.
    pub fn put(&mut self, name: &'a [u8], value: Plain<'a>) {
        self.entries.push(Entry { name, value });
    }

    /// Adds an array or a document; what is added until [`Tape::close`] with this
    /// place is inside of it.
    pub fn open(&mut self, name: &'a [u8], what: fn(usize) -> Plain<'a>) -> usize {
        self.put(name, what(0));
        self.entries.len() - 1
    }

    /// Ends what was opened at this place.
    pub fn close(&mut self, at: usize) {
        let end = self.entries.len();
        if let Some(Entry { value: Plain::Array(reach) | Plain::Document(reach), .. }) = self.entries.get_mut(at) {
            *reach = end;
        }
    }
}

/// The id of a child row: see [`crate::shape::ChildShape::child_key`].
pub type ChildId = [u8; 32];

/// A child row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlatElement {
    /// Its table: the layout's child tables are counted from 0, each before those
    /// inside of it.
    pub table: usize,
    /// Its id.
    pub id: ChildId,
    /// The row that it is inside of, when that is a child row itself.
    pub parent: Option<ChildId>,
    /// Its place in the array.
    pub position: usize,
    /// Where its cells begin among [`Flat::cells`].
    pub(crate) first: usize,
}

/// What a row has in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlatCell {
    /// NULL.
    Null,
    /// The value at this place of the tape.
    At(usize),
    /// The text of this number: see [`Flat::text`].
    Text(usize),
}

/// A record as the cells of its rows. Made once and filled again for each record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flat {
    pub(crate) cells: Vec<FlatCell>,
    /// Texts that stand nowhere on the tape.
    pub(crate) texts: Vec<String>,
    pub(crate) elements: Vec<FlatElement>,
    /// The key's canonical bytes, then the path to the element that is being made.
    pub(crate) path: Vec<u8>,
    /// Arrays whose rows are still to be made: a number of the rules', and a place of the tape.
    pub(crate) arrays: Vec<(usize, usize)>,
}

impl Flat {
    pub(crate) fn clear(&mut self) {
        self.cells.clear();
        self.texts.clear();
        self.elements.clear();
        self.path.clear();
        self.arrays.clear();
    }

    /// The root's cells from its first column on, in the layout's order; those of
    /// elements follow.
    pub fn cells(&self) -> &[FlatCell] {
        &self.cells
    }

    /// The same of an element.
    pub fn cells_of(&self, element: &FlatElement) -> &[FlatCell] {
        self.cells.get(element.first..).unwrap_or_default()
    }

    /// A text that stands nowhere on the tape: that of a key.
    pub fn text(&self, number: usize) -> Option<&str> {
        self.texts.get(number).map(String::as_str)
    }

    /// Child rows, each after the one that it is inside of.
    pub fn elements(&self) -> &[FlatElement] {
        &self.elements
    }
}

/// Records as their store sent them.
#[async_trait]
pub trait Undecoded: Send + Sync {
    /// How many.
    fn count(&self) -> usize;

    /// Shows a record on an empty tape. `false`: it must go the ordinary way; it
    /// has a stamp, cannot be read, or holds what no tape says.
    fn read<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> bool;

    /// Some of them as [`crate::store::Reader::scan`] would have given them; none
    /// for a tombstone.
    async fn decode(&self, ats: &[usize]) -> StoreResult<Vec<Result<Fetched, BadRow>>>;
}

/// What one read returned.
pub struct FlatChunk {
    /// The records.
    pub records: Arc<dyn Undecoded>,
    /// Those that were decoded at once.
    pub others: Vec<Result<Fetched, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
    /// Bytes read, approximately.
    pub bytes: usize,
}

/// A source whose records can be had undecoded.
#[async_trait]
pub trait Gives: Send + Sync {
    /// As [`crate::store::Reader::scan`], not decoded.
    async fn read_undecoded(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<FlatChunk>;
}

/// One table's rows in the target's own form.
#[derive(Clone, Debug, Default)]
pub struct TableRows {
    /// The rows, record by record.
    pub bytes: Arc<Vec<u8>>,
    /// Where the rows of each record end.
    pub ends: Vec<usize>,
}

/// Rows in a target's own form: opaque to all but its connector.
#[derive(Clone, Debug, Default)]
pub struct FlatRows {
    /// How many records.
    pub count: usize,
    /// What the tables were like when the rows were written.
    pub form: String,
    /// The root's, then those of the child tables, as [`FlatElement::table`] counts.
    pub tables: Vec<TableRows>,
}

/// Writes rows in a target's form.
pub trait Writes: Send {
    /// Adds a record. `false`: it must go the ordinary way, and nothing was added.
    fn write(&mut self, tape: &Tape<'_>, flat: &Flat) -> bool;

    /// The rows.
    fn end(self: Box<Self>) -> FlatRows;
}

/// A target that takes such rows.
#[async_trait]
pub trait Takes: Send + Sync {
    /// A writer for its tables as they are now; `None`: they take no such rows.
    async fn writer(&self) -> StoreResult<Option<Box<dyn Writes>>>;

    /// As [`crate::verbatim::Verbatim::put_rows`].
    async fn put_flat(
        &self,
        epoch: u64,
        rows: &FlatRows,
        puts: Vec<Put>,
        step: &CheckpointStep,
    ) -> StoreResult<Option<RowsPut>>;
}
