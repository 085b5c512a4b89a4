//! Our own JSON: plain where JSON can say it, tagged where it cannot.
//!
//! A tag is a document with one field whose name begins with `@`, for example
//! `{"@decimal": "1.10"}`; a real document of that form is written as
//! `{"@document": {…}}`. The sigil differs from MongoDB's `$` on purpose, so
//! that the two forms can never be taken for each other.

use super::{Document, Value};

/// Why a text is not JSON that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {at_byte}")]
pub struct JsonError {
    /// Offset of the problem in the input.
    pub at_byte: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// Parses one JSON text in our own tagged form; the whole input must be used.
/// Duplicate names, invalid UTF-8, lone surrogates and nesting deeper than
/// [`crate::limits::JSON_DEPTH_MAX`] are errors.
pub fn parse(_bytes: &[u8]) -> Result<Value, JsonError> {
    todo!()
}

/// As [`parse`], for a text that must be a document.
pub fn parse_document(_bytes: &[u8]) -> Result<Document, JsonError> {
    todo!()
}

/// Parses without reading tags: `{"@decimal": "1"}` stays a document. Numbers
/// follow the same rule as in [`parse`].
pub fn parse_untagged(_bytes: &[u8]) -> Result<Value, JsonError> {
    todo!()
}

/// Writes a value so that [`parse`] gives it back exactly.
pub fn write(_value: &Value, _out: &mut Vec<u8>) {
    todo!()
}

/// A value as JSON text.
pub fn to_string(_value: &Value) -> String {
    todo!()
}

/// A document as JSON text.
pub fn document_to_string(_document: &Document) -> String {
    todo!()
}
