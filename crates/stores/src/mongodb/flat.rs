//! Documents as the server sent them, their fields shown where they stand: many
//! in one answer, of which nothing is copied.

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::{Document as Bson, RawDocumentBuf};
use mongodb::raw_batch_cursor::RawBatch;
use shearwater_core::error::StoreResult;
use shearwater_core::flat::{FlatChunk, Gives, Plain, Tape, Undecoded};
use shearwater_core::store::{BadRow, ChunkMax, Cursor, Fetched, ScanRange};
use shearwater_core::value::{Instant, Uuid};

use super::encode::{BINARY_PLAIN, BINARY_UUID};
use super::error::failure;
use super::key::ID;
use super::raw::{BROKEN, Element, Elements, find, string, ty};
use super::record::RESERVED;
use super::scan::{Bounds, bound, is_missing, limit_of, position};
use super::{Inner, MongoDb, sidecar_of, value};
use crate::relational::corrupt;

/// Levels of documents and arrays that a tape shows; tables are nested less deep.
const DEPTH_MAX: usize = 16;

/// The documents of a chunk.
struct Documents {
    inner: Arc<Inner>,
    answers: Vec<RawBatch>,
    places: Vec<Place>,
}

/// Where a document stands.
#[derive(Clone, Copy)]
struct Place {
    answer: usize,
    from: usize,
    to: usize,
}

impl Documents {
    fn bytes(&self, at: usize) -> Option<&[u8]> {
        let place = self.places.get(at)?;
        self.answers.get(place.answer)?.as_raw_document().as_bytes().get(place.from..place.to)
    }
}

#[async_trait]
impl Undecoded for Documents {
    fn count(&self) -> usize {
        self.places.len()
    }

    fn read<'a>(&'a self, at: usize, tape: &mut Tape<'a>) -> bool {
        self.bytes(at).and_then(|bytes| show(bytes, tape)).is_some()
    }

    async fn decode(&self, ats: &[usize]) -> StoreResult<Vec<Result<Fetched, BadRow>>> {
        let unread = |_| corrupt(&self.inner.records.table, "the document", BROKEN);
        let mut rows = Vec::with_capacity(ats.len());
        for bytes in ats.iter().filter_map(|at| self.bytes(*at)) {
            rows.push(self.inner.records.read(RawDocumentBuf::from_bytes(bytes.to_vec()).map_err(unread)?));
        }
        let state = self.inner.state().await?;
        self.inner.note_foreign(state, rows.iter()).await?;
        let sidecar = sidecar_of(state);
        Ok(rows.into_iter().filter_map(|row| self.inner.records.scanned(row, sidecar)).collect())
    }
}

/// Shows a record's fields; `None`: it has a mark, or something that no tape says.
fn show<'a>(document: &'a [u8], tape: &mut Tape<'a>) -> Option<()> {
    let mut elements = Elements::of(document).ok()?;
    while !elements.is_at_end() {
        let (name, element) = elements.read_as_bytes().ok()?;
        if name == RESERVED.as_bytes() {
            return None;
        }
        show_value(name, element, tape, 0)?;
    }
    Some(())
}

fn show_value<'a>(name: &'a [u8], element: Element<'a>, tape: &mut Tape<'a>, depth: usize) -> Option<()> {
    let bytes = element.bytes;
    let plain = match element.ty {
        ty::STRING => Plain::Text(string(bytes).ok()?.into()),
        ty::INT32 => Plain::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        ty::INT64 => Plain::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
        ty::DOUBLE => Plain::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        ty::BOOL => match bytes {
            [0] => Plain::Bool(false),
            [1] => Plain::Bool(true),
            _ => return None,
        },
        ty::NULL => Plain::Null,
        ty::DATE => match Instant::from_millis(i64::from_le_bytes(bytes.try_into().ok()?)) {
            Some(instant) => Plain::Instant(instant),
            None => other(element)?,
        },
        ty::BINARY => match (bytes.get(4..)?.split_first()?, bytes.get(5..).map(Uuid::from_slice)) {
            ((&BINARY_PLAIN, content), _) => Plain::Bytes(content),
            ((&BINARY_UUID, _), Some(Ok(uuid))) => Plain::Uuid(uuid),
            _ => other(element)?,
        },
        ty::DOCUMENT if depth < DEPTH_MAX => return show_document(name, bytes, tape, depth + 1),
        ty::ARRAY if depth < DEPTH_MAX => return show_array(name, bytes, tape, depth + 1),
        ty::DOCUMENT | ty::ARRAY => return None,
        _ => other(element)?,
    };
    tape.put(name, plain);
    Some(())
}

/// A scalar that is what the ordinary way makes of it.
fn other(element: Element<'_>) -> Option<Plain<'_>> {
    Some(Plain::Other(Box::new(value::value(element).ok()?)))
}

/// One whose names may be a tag's is not shown.
fn show_document<'a>(name: &'a [u8], bytes: &'a [u8], tape: &mut Tape<'a>, depth: usize) -> Option<()> {
    let at = tape.open(name, Plain::Document);
    let mut elements = Elements::of(bytes).ok()?;
    while !elements.is_at_end() {
        let (name, element) = elements.read_as_bytes().ok()?;
        if name.starts_with(b"@") {
            return None;
        }
        show_value(name, element, tape, depth)?;
    }
    tape.close(at);
    Some(())
}

fn show_array<'a>(name: &'a [u8], bytes: &'a [u8], tape: &mut Tape<'a>, depth: usize) -> Option<()> {
    let at = tape.open(name, Plain::Array);
    let mut elements = Elements::of(bytes).ok()?;
    let mut place = 0;
    while !elements.is_at_end() {
        let (name, element) = elements.read_as_bytes().ok()?;
        if !is_number(name, place) {
            return None;
        }
        place += 1;
        show_value(b"", element, tape, depth)?;
    }
    tape.close(at);
    Some(())
}

/// Whether a name is this number, as BSON numbers the elements of an array.
fn is_number(name: &[u8], number: usize) -> bool {
    match (name, number) {
        ([digit], 0..=9) => usize::from(digit.wrapping_sub(b'0')) == number,
        _ => number > 9 && name == number.to_string().as_bytes(),
    }
}

/// Where the documents of an answer of the server's begin and end in it.
fn places_in(answer: &[u8]) -> Result<Vec<(usize, usize)>, &'static str> {
    let cursor = find(answer, "cursor").ok_or(BROKEN)?.bytes;
    let batch = find(cursor, "firstBatch").or_else(|| find(cursor, "nextBatch")).ok_or(BROKEN)?.bytes;
    let mut elements = Elements::of(batch)?;
    let mut places = Vec::new();
    while !elements.is_at_end() {
        let (_, element) = elements.read_as_bytes()?;
        if element.ty != ty::DOCUMENT {
            return Err(BROKEN);
        }
        let from = element.bytes.as_ptr().addr() - answer.as_ptr().addr();
        places.push((from, from + element.bytes.len()));
    }
    Ok(places)
}

/// A chunk while it is read.
struct Reading {
    documents: Documents,
    bytes: usize,
    /// Documents that are wanted, and bytes.
    max: ChunkMax,
}

/// Whether more documents go into a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl Reading {
    /// Takes the documents of an answer as long as there is room.
    fn take(&mut self, answer: RawBatch, skipped: Option<Element<'_>>) -> StoreResult<Room> {
        let number = self.documents.answers.len();
        let whole = answer.as_raw_document().as_bytes();
        let broken = |what| corrupt(&self.documents.inner.records.table, "an answer", what);
        let mut room = Room::Left;
        for (from, to) in places_in(whole).map_err(broken)? {
            let count = self.documents.places.len();
            // The place to go on from is the first, when it is still there.
            if count == 0 && skipped.is_some() && find(&whole[from..to], ID) == skipped {
                continue;
            }
            if count == self.max.records || (count > 0 && self.bytes >= self.max.bytes) {
                room = Room::Full;
                break;
            }
            self.bytes += to - from;
            self.documents.places.push(Place { answer: number, from, to });
        }
        self.documents.answers.push(answer);
        Ok(room)
    }

    /// Where to go on after the last document.
    fn cursor(&self) -> Option<Cursor> {
        let last = self.documents.bytes(self.documents.places.len().checked_sub(1)?)?;
        find(last, ID).map(|id| Cursor(position(&bound(id))))
    }
}

async fn read(inner: &Arc<Inner>, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<FlatChunk> {
    let failed = |e| failure("scanning", &e).of_a_repeatable().error;
    let bounds = Bounds::of(range, after)?;
    let max = ChunkMax { records: inner.seen_size.records(max), ..max };
    let collection = inner.server.collection(&inner.records.table);
    let documents = Documents { inner: inner.clone(), answers: Vec::new(), places: Vec::new() };
    let mut reading = Reading { documents, bytes: 0, max };
    let mut room = Room::Left;
    // Tombstones, which are few, are told apart here: the server would look for the mark in each document.
    let find = inner.find_between(&collection, Bson::new(), &bounds, limit_of(max.records))?;
    match inner.server.answers(find).await {
        Ok(mut answers) => {
            while room == Room::Left
                && let Some(answer) = answers.next().await.map_err(failed)?
            {
                room = reading.take(answer, bounds.skipped())?;
            }
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(failed(error)),
    }
    inner.seen_size.learn(reading.documents.places.len(), reading.bytes);
    let next = if room == Room::Full { reading.cursor() } else { None };
    let mut others = Vec::new();
    if bounds.miss_the_highest()
        && next.is_none()
        && let Some(raw) = inner.highest(bounds.skipped()).await?
    {
        reading.bytes += raw.as_bytes().len();
        let (state, row) = (inner.state().await?, inner.records.read(raw));
        inner.note_foreign(state, std::iter::once(&row)).await?;
        others.extend(inner.records.scanned(row, sidecar_of(state)));
    }
    Ok(FlatChunk { records: Arc::new(reading.documents), others, next, bytes: reading.bytes })
}

#[async_trait]
impl Gives for MongoDb {
    async fn read_undecoded(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<FlatChunk> {
        read(&self.0, range, after, max).await
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
    use shearwater_core::value::json;

    use super::*;

    fn bytes(document: &Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document).unwrap().into_bytes()
    }

    /// A document and the same in our JSON show the same.
    #[test]
    fn a_tape_shows_what_is_read() {
        let items: Vec<i32> = (0..12).collect();
        for document in [
            doc! {},
            doc! { "_id": "a", "n": 1, "m": 1i64 << 60, "x": 0.1, "y": f64::MIN, "t": true, "f": false, "z": Bson::Null },
            doc! { "_id": 1, "k": [{ "a": "b", "c": [] }, {}, [1, "two"]], "items": items, "d": { "e": { "f": "é\u{0}" } } },
        ] {
            let whole = bytes(&document);
            let mut tape = Tape::new();
            assert!(show(&whole, &mut tape).is_some(), "{document}");
            let text = json::document_to_string(&value::document(&whole).unwrap());
            let mut same = Tape::new();
            assert!(json::read_tape(text.as_bytes(), &mut same), "{text}");
            assert_eq!(tape, same, "{text}");
        }
    }

    #[test]
    fn what_only_bson_has_is_what_the_ordinary_way_reads() {
        let generic = |subtype, bytes| mongodb::bson::Binary { subtype, bytes };
        for value in [
            Bson::ObjectId(ObjectId::new()),
            Bson::MaxKey,
            Bson::DateTime(mongodb::bson::DateTime::MAX),
            Bson::DateTime(mongodb::bson::DateTime::from_millis(-1)),
            Bson::Decimal128("1.10".parse().unwrap()),
            Bson::Binary(generic(mongodb::bson::spec::BinarySubtype::Generic, vec![0, 255])),
            Bson::Binary(generic(mongodb::bson::spec::BinarySubtype::Uuid, vec![7; 16])),
            Bson::Binary(generic(mongodb::bson::spec::BinarySubtype::Uuid, vec![7; 15])),
            Bson::Binary(generic(mongodb::bson::spec::BinarySubtype::BinaryOld, vec![1])),
        ] {
            let whole = bytes(&doc! { "a": value });
            let mut tape = Tape::new();
            assert!(show(&whole, &mut tape).is_some());
            let read = value::document(&whole).unwrap();
            assert_eq!(tape.get(0).unwrap().value.to_value().as_ref(), read.get("a"));
        }
    }

    #[test]
    fn what_a_tape_does_not_say_is_not_shown() {
        for document in [
            doc! { "_id": 1, RESERVED: { "e": 1i64 } },
            doc! { "_id": 1, "a": { "@int": "18446744073709551615" } },
            doc! { "_id": 1, "a": [{ "@document": {} }] },
        ] {
            assert!(show(&bytes(&document), &mut Tape::new()).is_none(), "{document}");
        }
        let whole = bytes(&doc! { "_id": 1, "a": "text", "b": [1, 2] });
        for end in 0..whole.len() {
            assert!(show(&whole[..end], &mut Tape::new()).is_none(), "{end}");
        }
        // An array whose elements are numbered otherwise.
        let mut odd = whole.clone();
        let at = odd.windows(2).rposition(|two| two == b"1\0").unwrap();
        odd[at] = b'7';
        assert!(show(&odd, &mut Tape::new()).is_none());
        assert!(value::document(&odd).is_err());
    }

    #[test]
    fn the_documents_of_an_answer_are_found_where_they_stand() {
        let answer = |name: &str| doc! { "ok": 1, "cursor": { "id": 0i64, name: [{ "x": 1 }, { "x": "two" }] } };
        for name in ["firstBatch", "nextBatch"] {
            let whole = bytes(&answer(name));
            let places = places_in(&whole).unwrap();
            let found: Vec<&[u8]> = places.iter().map(|(from, to)| &whole[*from..*to]).collect();
            assert_eq!(found, [bytes(&doc! { "x": 1 }).as_slice(), bytes(&doc! { "x": "two" }).as_slice()]);
        }
        assert!(places_in(&bytes(&answer("other"))).is_err());
        assert!(places_in(&bytes(&doc! { "cursor": { "firstBatch": [1] } })).is_err());
    }
}
