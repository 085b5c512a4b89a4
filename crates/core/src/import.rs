//! Reading records from a file that another program wrote.
//!
//! A reader takes any [`BufRead`] and yields records one at a time, each with
//! its number and its place; a bad record is yielded as an error with its text,
//! so that the caller can stop or keep it aside, and reading goes on behind it.
//! Only one record is in memory at a time, in an array as in lines. What is
//! wrong with the file itself (an I/O error, an array that does not close)
//! ends the reading with an [`ImportError`] of kind [`ImportErrorKind::Stop`].

mod item;
mod scan;
mod split;

use std::fmt;
use std::io::BufRead;

use crate::path::Path;
use crate::value::json::JsonError;
use crate::value::{Document, json, mongo_json};
use item::Items;
use split::{Piece, Splitter};

/// How the values of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain JSON of any program: nothing in it is a tag.
    Json,
    /// Our own JSON, as `export` writes it.
    Tagged,
    /// MongoDB extended JSON.
    MongoDb,
    /// DynamoDB JSON: items, `{"Item": …}` lines of an export, batch-write files
    /// and NoSQL Workbench models.
    DynamoDb,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// How the values are written.
    pub form: Form,
    /// The array of records inside one big document; `None` for a file of lines
    /// or a file that is one array, which are told apart by the first character.
    pub root: Option<Path>,
    /// The table whose items are wanted, in a DynamoDB file of several.
    pub table: Option<String>,
}

impl Input {
    /// A whole file in a form.
    pub fn of(form: Form) -> Input {
        Input { form, root: None, table: None }
    }
}

/// One record of a file, or why it is none.
#[derive(Debug)]
pub struct Imported {
    /// The line in a file of lines, else the element, counted from 1.
    pub number: u64,
    /// Offset of its first byte in the file.
    pub at_byte: u64,
    /// The record.
    pub record: Result<Document, ImportError>,
}

/// Whether reading can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportErrorKind {
    /// This record is bad; the next ones can be read.
    Record,
    /// The file is bad from here on; nothing follows.
    Stop,
}

/// What is wrong with a record or a file. The message holds no values.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ImportError {
    /// Whether reading can go on.
    pub kind: ImportErrorKind,
    /// `line 12` or `element 12`.
    pub place: String,
    /// What was found and what was expected, with the byte in the file.
    pub message: String,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// The text as it stands in the file, to keep aside; empty for a bad file.
    pub text: Vec<u8>,
}

/// Leaves out the text, which holds row values and could end up in a log.
impl fmt::Debug for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self} ({} bytes kept, hint {:?})", self.kind, self.text.len(), self.hint)
    }
}

/// The records of a file, in their order.
pub struct Records<'a> {
    splitter: Splitter<'a>,
    input: Input,
    /// Records that one piece of the file expanded to.
    waiting: std::vec::IntoIter<Imported>,
    is_over: bool,
}

/// Reads the records of a file.
pub fn records(reader: &mut dyn BufRead, input: Input) -> Records<'_> {
    let splitter = Splitter::new(reader, input.root.clone());
    Records { splitter, input, waiting: Vec::new().into_iter(), is_over: false }
}

impl Iterator for Records<'_> {
    type Item = Imported;

    fn next(&mut self) -> Option<Imported> {
        loop {
            if let Some(imported) = self.waiting.next() {
                return Some(imported);
            }
            if self.is_over {
                return None;
            }
            match self.splitter.next_piece() {
                Ok(None) => self.is_over = true,
                Ok(Some(piece)) => match self.read(piece) {
                    One::Record(imported) => return Some(imported),
                    One::Many(records) => self.waiting = records.into_iter(),
                },
                Err(stop) => {
                    self.is_over = true;
                    return Some(self.stopped(stop));
                }
            }
        }
    }
}

enum One {
    Record(Imported),
    Many(Vec<Imported>),
}

impl Records<'_> {
    fn read(&self, piece: Piece) -> One {
        let bytes = piece.text.as_slice();
        let value = match self.input.form {
            Form::Json => json::parse_untagged(bytes),
            Form::Tagged => json::parse(bytes),
            Form::MongoDb => mongo_json::parse(bytes),
            Form::DynamoDb => return self.read_items(piece),
        };
        let record = value.and_then(json::as_document).map_err(|e| self.bad_record(&piece, e));
        One::Record(Imported { number: piece.number, at_byte: piece.at_byte, record })
    }

    fn read_items(&self, piece: Piece) -> One {
        let found = json::parse_untagged(&piece.text).and_then(json::as_document);
        let items = found.and_then(|document| item::items_of(document, self.input.table.as_deref()));
        match items {
            Err(e) => {
                let record = Err(self.bad_record(&piece, e));
                One::Record(Imported { number: piece.number, at_byte: piece.at_byte, record })
            }
            Ok(Items::One(item)) => {
                One::Record(Imported { number: piece.number, at_byte: piece.at_byte, record: Ok(item) })
            }
            Ok(Items::Many(items)) => {
                One::Many(items.into_iter().zip(1..).map(|(item, number)| self.part(&piece, number, item)).collect())
            }
        }
    }

    /// One item of a file that holds them all in one document.
    fn part(&self, piece: &Piece, number: u64, item: Result<Document, item::BadItem>) -> Imported {
        let record = item.map_err(|bad| ImportError {
            kind: ImportErrorKind::Record,
            place: format!("item {number}"),
            message: format!("{}: {}", bad.place, bad.error.message),
            hint: None,
            text: json::to_string(&bad.item).into_bytes(),
        });
        Imported { number, at_byte: piece.at_byte, record }
    }

    fn bad_record(&self, piece: &Piece, error: JsonError) -> ImportError {
        let at = piece.at_byte + error.at_byte as u64;
        ImportError {
            kind: ImportErrorKind::Record,
            place: format!("{} {}", self.splitter.unit(), piece.number),
            message: format!("{} at byte {at}", error.message),
            hint: self.hint(&piece.text, &error),
            text: piece.text.clone(),
        }
    }

    /// What the reader can do about a bad record, where its text tells.
    fn hint(&self, text: &[u8], error: &JsonError) -> Option<String> {
        let contains = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
        if self.input.form == Form::Tagged && error.message.contains("tag") {
            return Some("plain JSON of other programs is read as the form `json`".to_owned());
        }
        if error.message.contains("stands twice") {
            return Some("rename one of the two fields: a record holds a name once".to_owned());
        }
        if self.input.form != Form::MongoDb && (contains("ObjectId(") || contains("ISODate(")) {
            return Some("this is the mongo shell's notation; export with `mongoexport` instead".to_owned());
        }
        if error.message.starts_with("the text ends") && self.input.root.is_none() {
            let hint =
                "the record is cut off; if the file is one document, name the field with the records as the root";
            return Some(hint.to_owned());
        }
        if error.message.contains("found array, expected a document") && self.input.root.is_none() {
            return Some("records are documents; name the field with the records as the root".to_owned());
        }
        None
    }

    fn stopped(&self, stop: split::Stop) -> Imported {
        let (number, at_byte) = (self.splitter.number(), self.splitter.at_byte());
        let error = ImportError {
            kind: ImportErrorKind::Stop,
            place: format!("{} {number}", self.splitter.unit()),
            message: format!("{} at byte {at_byte}", stop.message),
            hint: stop.hint,
            text: Vec::new(),
        };
        Imported { number, at_byte, record: Err(error) }
    }
}
