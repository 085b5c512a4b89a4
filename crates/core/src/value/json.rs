//! Our own JSON: plain where JSON can say it, tagged where it cannot.
//!
//! A tag is a document with one field whose name begins with `@`, for example
//! `{"@decimal": "1.10"}`; a real document of that form is written as
//! `{"@document": {…}}`. The sigil differs from MongoDB's `$` on purpose, so
//! that the two forms can never be taken for each other.
//!
//! | tag | content |
//! |---|---|
//! | `@decimal` | text, scale kept; plain numbers are used where they read back as the same decimal |
//! | `@float` | `NaN`, `NaN:<16 hex digits of its bits>`, `Infinity`, `-Infinity` |
//! | `@bytes` | base64 with padding |
//! | `@date`, `@time`, `@timestamp`, `@instant` | ISO 8601, RFC 3339 |
//! | `@uuid` | hyphenated |
//! | `@extended` | `{"store", "type", "text"}` |
//! | `@document` | a document, taken as it stands |
//!
//! Numbers: an integer in the range of `i64` or `u64` is an int; `-0` is a
//! float; a number with a fraction or an exponent is a float when the shortest
//! text of that float denotes the same number, else a decimal; a longer integer
//! is a decimal of scale 0. So nothing is rounded.
//!
//! The parser is our own because it must name the place of a duplicate name, a
//! lone surrogate and a wrong tag, must bound its depth by the nesting of values
//! rather than of text, and needs the text of each number.

mod parse;
mod string;
mod tag;
mod tape;
mod write;

use super::{Document, Value};

pub(super) use parse::whole_number;
pub use tape::read_tape;

/// Why a text is not JSON that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {at_byte}")]
pub struct JsonError {
    /// Offset of the problem in the input.
    pub at_byte: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl JsonError {
    pub(crate) fn new(at_byte: usize, message: impl Into<String>) -> JsonError {
        JsonError { at_byte, message: message.into() }
    }
}

/// Parses one JSON text in our own tagged form; the whole input must be used.
/// Duplicate names, invalid UTF-8, lone surrogates, unknown tags and nesting
/// deeper than [`crate::limits::JSON_DEPTH_MAX`] are errors.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse::whole(bytes, parse::Tags::Read)
}

/// As [`parse`], for a text that must be a document.
pub fn parse_document(bytes: &[u8]) -> Result<Document, JsonError> {
    as_document(parse(bytes)?)
}

/// Parses without reading tags: `{"@decimal": "1"}` stays a document. Numbers
/// follow the same rule as in [`parse`].
pub fn parse_untagged(bytes: &[u8]) -> Result<Value, JsonError> {
    parse::whole(bytes, parse::Tags::Keep)
}

/// The document in a value, or an error that says what it is instead.
pub(crate) fn as_document(value: Value) -> Result<Document, JsonError> {
    match value {
        Value::Document(document) => Ok(document),
        other => Err(JsonError::new(0, format!("found {}, expected a document", other.type_name()))),
    }
}

/// Writes a value so that [`parse`] gives it back exactly.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    write::value(value, out);
}

/// Writes a document so that [`parse_document`] gives it back exactly.
pub fn write_document(document: &Document, out: &mut Vec<u8>) {
    write::document(document, out);
}

/// A value as JSON text.
pub fn to_string(value: &Value) -> String {
    let mut out = Vec::with_capacity(64);
    write::value(value, &mut out);
    into_text(out)
}

/// A document as JSON text.
pub fn document_to_string(document: &Document) -> String {
    let mut out = Vec::with_capacity(256);
    write::document(document, &mut out);
    into_text(out)
}

/// The writer puts out UTF-8 only, so that the lossy branch is never taken.
fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
