//! Tags: what JSON cannot say by itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::JsonError;
use crate::value::{Decimal, Document, Extended, Uuid, Value};

/// The escape: its content is a document as it stands.
pub(super) const DOCUMENT: &str = "@document";

/// The value that a tag denotes. `content` has its own tags read already, save
/// for `@document`, where the top level is still as written.
pub(super) fn read(name: String, content: Value, at: usize) -> Result<Value, JsonError> {
    if name == DOCUMENT {
        return match content {
            Value::Document(document) => Ok(Value::Document(literal(document, at)?)),
            other => Err(wrong(at, &name, "a document", other.type_name())),
        };
    }
    if name == "@extended" {
        return extended(content, at);
    }
    let Value::Text(text) = content else {
        if !is_known(&name) {
            return Err(unknown(at, &name));
        }
        return Err(wrong(at, &name, "text", content.type_name()));
    };
    let bad = |why: &dyn std::fmt::Display| JsonError::new(at, format!("the content of `{name}` is wrong: {why}"));
    match name.as_str() {
        "@decimal" => text.parse::<Decimal>().map(Value::Decimal).map_err(|e| bad(&e)),
        "@float" => float(&text).map(Value::Float).ok_or_else(|| bad(&"expected NaN, Infinity or -Infinity")),
        "@bytes" => BASE64.decode(text.as_bytes()).map(Value::Bytes).map_err(|_| bad(&"expected base64 with padding")),
        "@date" => text.parse().map(Value::Date).map_err(|e| bad(&e)),
        "@time" => text.parse().map(Value::Time).map_err(|e| bad(&e)),
        "@timestamp" => text.parse().map(Value::Local).map_err(|e| bad(&e)),
        "@instant" => text.parse().map(Value::Instant).map_err(|e| bad(&e)),
        "@uuid" => uuid(&text).map(Value::Uuid).ok_or_else(|| bad(&"expected a hyphenated UUID")),
        _ => Err(unknown(at, &name)),
    }
}

/// Reads the tag that a value left pending is, if it is one.
pub(super) fn settle(value: Value, at: usize) -> Result<Value, JsonError> {
    match value {
        Value::Document(document) if is_tag(&document) => match document.into_iter().next() {
            Some((name, content)) => read(name, content, at),
            None => Ok(Value::Document(Document::new())),
        },
        other => Ok(other),
    }
}

/// A document that is taken as it stands; what it holds may still be pending.
fn literal(document: Document, at: usize) -> Result<Document, JsonError> {
    if !is_tag(&document) || !document.contains(DOCUMENT) {
        return Ok(document);
    }
    let mut fields = Vec::with_capacity(1);
    for (name, content) in document {
        fields.push((name, settle(content, at)?));
    }
    Ok(Document::from_unique(fields))
}

/// Whether a document must be escaped, because it looks like a tag.
pub(super) fn is_tag(document: &Document) -> bool {
    document.len() == 1 && document.iter().all(|(name, _)| name.starts_with('@'))
}

fn is_known(name: &str) -> bool {
    matches!(name, "@decimal" | "@float" | "@bytes" | "@date" | "@time" | "@timestamp" | "@instant" | "@uuid")
}

fn unknown(at: usize, name: &str) -> JsonError {
    let hint = "write a real document of this form as {\"@document\": {…}}";
    JsonError::new(at, format!("unknown tag {name:?}; {hint}"))
}

fn wrong(at: usize, name: &str, expected: &str, found: &str) -> JsonError {
    JsonError::new(at, format!("the content of `{name}` is {found}, expected {expected}"))
}

fn extended(content: Value, at: usize) -> Result<Value, JsonError> {
    const FORM: &str = "the content of `@extended` is wrong: expected the texts `store`, `type` and `text`";
    let Value::Document(mut fields) = content else {
        return Err(wrong(at, "@extended", "a document", content.type_name()));
    };
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(JsonError::new(at, FORM)),
    };
    let extended = Extended { store: take("store")?, type_name: take("type")?, text: take("text")? };
    if !fields.is_empty() {
        return Err(JsonError::new(at, FORM));
    }
    Ok(Value::Extended(Box::new(extended)))
}

/// The canonical NaN's bits are not written.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => return Some(f64::from_bits(NAN_BITS)),
        "Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let hex = text.strip_prefix("NaN:").filter(|hex| hex.len() == 16 && !hex.starts_with('+'))?;
    Some(f64::from_bits(u64::from_str_radix(hex, 16).ok()?)).filter(|x| x.is_nan())
}

/// The content of `@float` for a float that JSON has no number for.
pub(super) fn float_text(x: f64) -> String {
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    match x.to_bits() {
        NAN_BITS => "NaN".to_owned(),
        bits => format!("NaN:{bits:016x}"),
    }
}

fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// The content of `@bytes`.
pub(super) fn bytes_text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
