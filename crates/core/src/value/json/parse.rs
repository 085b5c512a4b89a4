//! The parser: RFC 8259, nothing more.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::{JsonError, string, tag};
use crate::limits::JSON_DEPTH_MAX;
use crate::value::{Document, Value, number};

/// What to do about a document with one field whose name begins with `@`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// It is a tag.
    Read,
    /// It is a document like any other.
    Keep,
}

/// Whether a tag is read here or left to the tag around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Read,
    Pending,
}

/// Open brackets in the text: each value may stand in one tag of its own, which
/// is not a level of the value.
const NESTING_MAX: usize = 2 * JSON_DEPTH_MAX + 2;

/// From this many fields on, names are compared by a hash set instead of one by one.
const FIELDS_COMPARED_MAX: usize = 24;

pub(super) fn whole(bytes: &[u8], tags: Tags) -> Result<Value, JsonError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return Err(not_utf8(bytes, e.valid_up_to())),
    };
    if text.starts_with('\u{feff}') {
        return Err(JsonError::new(0, "found a byte order mark, expected a value; save the text without it"));
    }
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, tags, nesting: 0 };
    let value = parser.value(0, Form::Read)?;
    parser.skip_whitespace();
    if parser.at < bytes.len() {
        return Err(parser.unexpected("the end of the text"));
    }
    Ok(value)
}

fn not_utf8(bytes: &[u8], at: usize) -> JsonError {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let message = if utf16 { "the text is UTF-16, expected UTF-8" } else { "the text is not valid UTF-8" };
    JsonError::new(at, message)
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tags: Tags,
    nesting: usize,
}

impl<'a> Parser<'a> {
    /// A value at `depth` containers below the top.
    fn value(&mut self, depth: usize, form: Form) -> Result<Value, JsonError> {
        self.skip_whitespace();
        match self.bytes.get(self.at) {
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'{') => self.document(depth, form),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.check_depth(depth)?;
        self.open()?;
        let mut items = Vec::new();
        if self.closes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1, Form::Read)?);
            if !self.goes_on(b']', "`,` or `]`")? {
                self.nesting -= 1;
                return Ok(Value::Array(items));
            }
        }
    }

    fn document(&mut self, depth: usize, form: Form) -> Result<Value, JsonError> {
        let start = self.at;
        self.open()?;
        if self.closes(b'}') {
            self.check_depth_at(depth, start)?;
            return Ok(Value::Document(Document::new()));
        }
        let name = self.name()?;
        if self.tags == Tags::Read && name.starts_with('@') {
            return self.tag_or_document(start, name, depth, form);
        }
        self.check_depth_at(depth, start)?;
        let value = self.value(depth + 1, Form::Read)?;
        let mut fields = Vec::with_capacity(8);
        fields.push((name, value));
        self.more_fields(fields, depth)
    }

    /// A document whose first name begins with `@`: a tag if no field follows.
    fn tag_or_document(&mut self, start: usize, name: String, depth: usize, form: Form) -> Result<Value, JsonError> {
        let pending = name == tag::DOCUMENT;
        let content = self.value(depth, if pending { Form::Pending } else { Form::Read })?;
        self.skip_whitespace();
        if self.bytes.get(self.at) != Some(&b'}') {
            self.check_depth_at(depth, start)?;
            let content = if pending { tag::settle(content, start)? } else { content };
            return self.more_fields(vec![(name, content)], depth);
        }
        self.at += 1;
        self.nesting -= 1;
        match form {
            Form::Read => tag::read(name, content, start),
            Form::Pending => Ok(Value::Document(Document::from_unique(vec![(name, content)]))),
        }
    }

    /// The fields after the first value, and the end of the document.
    fn more_fields(&mut self, mut fields: Vec<(String, Value)>, depth: usize) -> Result<Value, JsonError> {
        let mut seen: Option<(RandomState, HashSet<u64>)> = None;
        while self.goes_on(b'}', "`,` or `}`")? {
            self.skip_whitespace();
            let name_at = self.at;
            let name = self.name()?;
            if is_repeated(&fields, &name, &mut seen) {
                return Err(JsonError::new(name_at, format!("field name {name:?} stands twice in one document")));
            }
            let value = self.value(depth + 1, Form::Read)?;
            fields.push((name, value));
        }
        self.nesting -= 1;
        Ok(Value::Document(Document::from_unique(fields)))
    }

    /// A field's name and the colon after it.
    fn name(&mut self) -> Result<String, JsonError> {
        self.skip_whitespace();
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.unexpected("a field name in double quotes"));
        }
        let name = self.string()?;
        self.skip_whitespace();
        if self.bytes.get(self.at) != Some(&b':') {
            return Err(self.unexpected("`:` after the field name"));
        }
        self.at += 1;
        Ok(name)
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let (string, end) = string::read(self.text, self.at)?;
        self.at = end;
        Ok(string)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let (end, whole) = scan_number(self.bytes, start)?;
        self.at = end;
        if let Some(value) = whole {
            return Ok(value);
        }
        number::classify(&self.text[start..end]).map_err(|e| JsonError::new(start, e.0))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected("a value"))
        }
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), JsonError> {
        self.check_depth_at(depth, self.at)
    }

    fn check_depth_at(&self, depth: usize, at: usize) -> Result<(), JsonError> {
        if depth < JSON_DEPTH_MAX { Ok(()) } else { Err(too_deep(at)) }
    }

    /// Steps over an opening bracket.
    fn open(&mut self) -> Result<(), JsonError> {
        if self.nesting == NESTING_MAX {
            return Err(too_deep(self.at));
        }
        self.nesting += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether the container that was just opened closes at once.
    fn closes(&mut self, bracket: u8) -> bool {
        self.skip_whitespace();
        let closes = self.bytes.get(self.at) == Some(&bracket);
        if closes {
            self.at += 1;
            self.nesting -= 1;
        }
        closes
    }

    /// After an item: true at a comma, false at the closing bracket.
    fn goes_on(&mut self, bracket: u8, expected: &str) -> Result<bool, JsonError> {
        self.skip_whitespace();
        match self.bytes.get(self.at) {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b) if *b == bracket => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn unexpected(&self, expected: &str) -> JsonError {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => JsonError::new(self.at, format!("the text ends, expected {expected}")),
            Some(found) => JsonError::new(self.at, format!("found {found:?}, expected {expected}")),
        }
    }
}

fn too_deep(at: usize) -> JsonError {
    JsonError::new(at, format!("nested deeper than {JSON_DEPTH_MAX} levels"))
}

/// Whether the name is among the fields. The hash set is seeded at random, so
/// that no text can be made to collide in it.
fn is_repeated(fields: &[(String, Value)], name: &str, seen: &mut Option<(RandomState, HashSet<u64>)>) -> bool {
    if fields.len() < FIELDS_COMPARED_MAX {
        return fields.iter().any(|(n, _)| n == name);
    }
    let (state, hashes) = seen.get_or_insert_with(|| {
        let state = RandomState::new();
        let hashes = fields.iter().map(|(n, _)| state.hash_one(n.as_str())).collect();
        (state, hashes)
    });
    !hashes.insert(state.hash_one(name)) && fields.iter().any(|(n, _)| n == name)
}

/// The end of the number that begins at `start`, and its value if it is an
/// integer that fits.
pub(super) fn scan_number(bytes: &[u8], start: usize) -> Result<(usize, Option<Value>), JsonError> {
    let mut at = start;
    let negative = bytes[at] == b'-';
    if negative {
        at += 1;
    }
    let digits_at = at;
    let mut magnitude: Option<u64> = Some(0);
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        let digit = u64::from(digit - b'0');
        magnitude = magnitude.and_then(|m| m.checked_mul(10)?.checked_add(digit));
        at += 1;
    }
    match at - digits_at {
        0 => return Err(JsonError::new(at, "expected a digit after `-`")),
        1 => {}
        _ if bytes[digits_at] == b'0' => return Err(JsonError::new(digits_at, "a number does not begin with 0")),
        _ => {}
    }
    if !matches!(bytes.get(at), Some(b'.' | b'e' | b'E')) {
        return Ok((at, magnitude.and_then(|m| integer(negative, m))));
    }
    if bytes[at] == b'.' {
        at = scan_digits(bytes, at + 1, "expected a digit after the point")?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = scan_digits(bytes, at, "expected a digit in the exponent")?;
    }
    Ok((at, None))
}

fn scan_digits(bytes: &[u8], start: usize, error: &str) -> Result<usize, JsonError> {
    let count = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return Err(JsonError::new(start, error));
    }
    Ok(start + count)
}

/// The integer of a sign and a magnitude; `-0` is a float.
fn integer(negative: bool, magnitude: u64) -> Option<Value> {
    match (negative, magnitude) {
        (false, _) => Some(Value::from_u64(magnitude)),
        (true, 0) => Some(Value::Float(-0.0)),
        (true, _) => 0_i64.checked_sub_unsigned(magnitude).map(Value::Int),
    }
}

/// The number that the whole text is, by the rule for JSON numbers; `None` when
/// it is no JSON number or its exponent is out of range.
pub(in crate::value) fn whole_number(text: &str) -> Option<Value> {
    if !matches!(text.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    match scan_number(text.as_bytes(), 0).ok()? {
        (end, _) if end != text.len() => None,
        (_, Some(value)) => Some(value),
        (_, None) => number::classify(text).ok(),
    }
}
