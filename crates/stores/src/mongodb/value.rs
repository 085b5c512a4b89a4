//! Values of core from BSON, exactly.
//!
//! 32 and 64 bits are one type of integer in core; which of the two a field had
//! is kept when a record is written again (see [`super::encode`]). What only
//! BSON has is an extended value of the store `mongodb`, with the tags that an
//! import of MongoDB's JSON has too. What BSON does not have (a date without a
//! time, a decimal of 40 digits) is a document of one field whose name begins
//! with `@`, as in our JSON; a document that looks like one, and would be read as
//! such, stands under `@document`. A document of that form that is not exactly
//! as we write it is a document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shearwater_core::value::{Decimal, Extended, Instant, Uuid, json};
use shearwater_core::{Document, Value};

use super::decimal;
use super::encode::{self, BINARY_OLD, BINARY_PLAIN, BINARY_UUID};
use super::raw::{BROKEN, Element, Elements, cstring, string, ty};

/// The family of stores in extended values.
pub(super) const FAMILY: &str = "mongodb";

/// Levels of documents and arrays; the server refuses more than 180 or so.
const DEPTH_MAX: usize = 200;

/// Why bytes cannot be read, and in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    path: Vec<String>,
    what: String,
}

impl Unreadable {
    fn at(mut self, name: &str) -> Unreadable {
        self.path.push(name.to_owned());
        self
    }

    /// In words, with the field's path.
    pub(super) fn told(&self) -> String {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        match path.is_empty() {
            true => self.what.clone(),
            false => format!("field `{}`: {}", path.join("."), self.what),
        }
    }
}

impl From<&str> for Unreadable {
    fn from(what: &str) -> Unreadable {
        Unreadable { path: Vec::new(), what: what.to_owned() }
    }
}

type Read<T> = Result<T, Unreadable>;

/// A document, taken as it stands.
pub(super) fn document(bytes: &[u8]) -> Read<Document> {
    fields(Elements::of(bytes)?, 0)
}

/// The fields of elements.
pub(super) fn fields<'a>(
    elements: impl Iterator<Item = Result<(&'a str, Element<'a>), &'static str>>,
    depth: usize,
) -> Read<Document> {
    let mut document = Document::new();
    for element in elements {
        let (name, element) = element?;
        let value = value_at(element, depth).map_err(|e| e.at(name))?;
        document.push(name, value).map_err(|e| Unreadable::from(e.to_string().as_str()))?;
    }
    Ok(document)
}

/// One value.
pub(super) fn value(element: Element<'_>) -> Read<Value> {
    value_at(element, 0)
}

fn value_at(element: Element<'_>, depth: usize) -> Read<Value> {
    if depth > DEPTH_MAX {
        return Err("documents stand too deep in each other".into());
    }
    let bytes = element.bytes;
    Ok(match element.ty {
        ty::NULL => Value::Null,
        ty::BOOL => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err(BROKEN.into()),
        },
        ty::INT32 => Value::Int(i64::from(i32::from_le_bytes(sized(bytes)?))),
        ty::INT64 => Value::Int(i64::from_le_bytes(sized(bytes)?)),
        ty::DOUBLE => Value::Float(f64::from_le_bytes(sized(bytes)?)),
        ty::STRING => Value::text(string(bytes)?),
        ty::DOCUMENT => document_value(bytes, depth)?,
        ty::ARRAY => array(bytes, depth)?,
        ty::DATE => date(i64::from_le_bytes(sized(bytes)?)),
        ty::BINARY => binary(bytes)?,
        ty::DECIMAL128 => {
            let bytes = sized(bytes)?;
            let odd = || extended("decimal128", format!("{:032x}", u128::from_le_bytes(bytes)));
            decimal::from_bytes(bytes).map_or_else(odd, Value::Decimal)
        }
        _ => extended_of(element)?,
    })
}

fn sized<const N: usize>(bytes: &[u8]) -> Read<[u8; N]> {
    bytes.try_into().map_err(|_| BROKEN.into())
}

pub(super) fn extended(type_name: &str, text: impl Into<String>) -> Value {
    let (store, type_name) = (FAMILY.to_owned(), type_name.to_owned());
    Value::Extended(Box::new(Extended { store, type_name, text: text.into() }))
}

/// Values that only BSON has.
fn extended_of(element: Element<'_>) -> Read<Value> {
    let bytes = element.bytes;
    Ok(match element.ty {
        ty::OBJECT_ID => extended("objectId", hex(bytes)),
        ty::TIMESTAMP => {
            let [i, t]: [u32; 2] = [u32::from_le_bytes(sized(&bytes[..4])?), u32::from_le_bytes(sized(&bytes[4..])?)];
            extended("timestamp", format!("{{\"t\":{t},\"i\":{i}}}"))
        }
        ty::REGEX => {
            let (pattern, rest) = cstring(bytes)?;
            let (options, _) = cstring(rest)?;
            let parts: Document = [("pattern", pattern), ("options", options)].into_iter().collect();
            extended("regularExpression", json::document_to_string(&parts))
        }
        ty::MIN_KEY => extended("minKey", "1"),
        ty::MAX_KEY => extended("maxKey", "1"),
        ty::UNDEFINED => extended("undefined", "true"),
        ty::SYMBOL => extended("symbol", string(bytes)?),
        ty::CODE => extended("javascript", string(bytes)?),
        ty::CODE_WITH_SCOPE => {
            let rest = bytes.get(4..).ok_or(BROKEN)?;
            let length = rest.first_chunk::<4>().map_or(0, |length| i32::from_le_bytes(*length)).max(0) as usize;
            let (code, scope) = rest.split_at_checked(4 + length).ok_or(BROKEN)?;
            let scope = Value::Document(document(scope)?);
            let parts: Document = [("code", Value::text(string(code)?)), ("scope", scope)].into_iter().collect();
            extended("javascriptWithScope", json::document_to_string(&parts))
        }
        ty::DB_POINTER => {
            let (name, id) = bytes.split_at_checked(bytes.len().saturating_sub(12)).ok_or(BROKEN)?;
            let parts: Document =
                [("$ref", Value::text(string(name)?)), ("$id", extended("objectId", hex(id)))].into_iter().collect();
            extended("dbPointer", json::document_to_string(&parts))
        }
        _ => return Err(BROKEN.into()),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn date(millis: i64) -> Value {
    // Milliseconds reach further than microseconds do.
    Instant::from_millis(millis).map_or_else(|| extended("date", millis.to_string()), Value::Instant)
}

fn binary(bytes: &[u8]) -> Read<Value> {
    let (&subtype, content) = bytes.get(4..).and_then(<[u8]>::split_first).ok_or(BROKEN)?;
    let content = match subtype {
        // The old form says its length once more.
        BINARY_OLD => match content.split_at_checked(4) {
            Some((length, rest)) if i32::from_le_bytes(sized(length)?) as usize == rest.len() => rest,
            _ => return Err(BROKEN.into()),
        },
        _ => content,
    };
    Ok(match (subtype, Uuid::from_slice(content)) {
        (BINARY_PLAIN, _) => Value::Bytes(content.to_vec()),
        (BINARY_UUID, Ok(uuid)) => Value::Uuid(uuid),
        _ => {
            let text = format!("{{\"base64\":\"{}\",\"subType\":\"{subtype:02x}\"}}", BASE64.encode(content));
            extended("binary", text)
        }
    })
}

fn array(bytes: &[u8], depth: usize) -> Read<Value> {
    let mut items = Vec::new();
    for (place, element) in Elements::of(bytes)?.enumerate() {
        let (name, element) = element?;
        if name.parse() != Ok(place) {
            return Err("an array's elements are not numbered from 0".into());
        }
        items.push(value_at(element, depth + 1).map_err(|e| e.at(name))?);
    }
    Ok(Value::Array(items))
}

fn document_value(bytes: &[u8], depth: usize) -> Read<Value> {
    if let Some(value) = tagged(bytes, depth) {
        return Ok(value);
    }
    Ok(Value::Document(fields(Elements::of(bytes)?, depth + 1)?))
}

/// The value that a document stands for, when it is exactly as we write it.
pub(super) fn tagged(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut elements = Elements::of(bytes).ok()?;
    let (Some(Ok((name, content))), None) = (elements.next(), elements.next()) else { return None };
    let kind = name.strip_prefix('@')?;
    if kind == "document" {
        // It stands only where its content would be taken for something else.
        tagged(content.bytes, depth + 1).filter(|_| content.ty == ty::DOCUMENT && depth < DEPTH_MAX)?;
        return fields(Elements::of(content.bytes).ok()?, depth + 1).ok().map(Value::Document);
    }
    let value = match (kind, content.ty) {
        ("extended", ty::DOCUMENT) => foreign(content.bytes)?,
        (_, ty::STRING) => of_text(kind, string(content.bytes).ok()?)?,
        _ => return None,
    };
    // Only our own writing counts.
    (encode::value(&value).ok()?.get() == Element { ty: ty::DOCUMENT, bytes }).then_some(value)
}

fn of_text(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "int" => text.parse().ok().map(Value::from_u64),
        "decimal" => text.parse::<Decimal>().ok().map(Value::Decimal),
        "date" => text.parse().ok().map(Value::Date),
        "time" => text.parse().ok().map(Value::Time),
        "timestamp" => text.parse().ok().map(Value::Local),
        "instant" => text.parse().ok().map(Value::Instant),
        _ => None,
    }
}

fn foreign(bytes: &[u8]) -> Option<Value> {
    let mut fields = document(bytes).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let own = Extended { store: take("store")?, type_name: take("type")?, text: take("text")? };
    fields.is_empty().then(|| Value::Extended(Box::new(own)))
}
