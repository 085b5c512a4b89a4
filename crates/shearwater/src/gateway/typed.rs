//! Values of declared types from plain text, as query strings, paths and JSON
//! strings have them.

use shearwater_core::shape::FieldType;
use shearwater_core::value::{Decimal, Value};

/// A text that is no value of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOfType {
    /// What was expected.
    pub expected: &'static str,
}

/// Reads a text as a type. The text of a `json` field says its own type and is
/// not read here.
pub fn read(ty: FieldType, text: &str) -> Result<Value, NotOfType> {
    let value = match ty {
        FieldType::Bool => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        FieldType::Int => text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::from_u64)).ok(),
        FieldType::Float => text.parse().ok().filter(|_| is_float_text(text)).map(Value::Float),
        FieldType::Decimal => text.parse::<Decimal>().ok().map(Value::Decimal),
        FieldType::Text => Some(Value::text(text)),
        FieldType::Bytes => hex(text).map(Value::Bytes),
        FieldType::Date => text.parse().ok().map(Value::Date),
        FieldType::Time => text.parse().ok().map(Value::Time),
        FieldType::Timestamp => text.parse().ok().map(Value::Local),
        FieldType::Instant => text.parse().ok().map(Value::Instant),
        FieldType::Uuid => shearwater_core::value::Uuid::try_parse(text).ok().map(Value::Uuid),
        FieldType::Json | FieldType::Extended => None,
    };
    value.ok_or(NotOfType { expected: expected(ty) })
}

/// What a type's plain text looks like, for messages.
pub fn expected(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Bool => "true or false",
        FieldType::Int => "an integer",
        FieldType::Float => "a number",
        FieldType::Decimal => "a decimal number",
        FieldType::Text => "text",
        FieldType::Bytes => "bytes as \\x and hexadecimal digits",
        FieldType::Date => "a date such as 2026-11-22",
        FieldType::Time => "a time such as 07:30:00",
        FieldType::Timestamp => "a timestamp such as 2026-11-22T07:30:00",
        FieldType::Instant => "an instant such as 2026-11-22T07:30:00Z",
        FieldType::Uuid => "a UUID",
        FieldType::Json => "JSON",
        FieldType::Extended => "a store's own type",
    }
}

/// Rust also reads `inf`, `infinity` and `nan` in any case; we take one form of each.
fn is_float_text(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
        || text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// PostgreSQL's hexadecimal form of bytes: `\x0aff`.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|n| n as u8);
    match digits.len() % 2 {
        0 => digits.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ty: FieldType, text: &str, expect: Option<Value>) {
        assert_eq!(read(ty, text).ok(), expect, "{ty:?} {text}");
    }

    #[test]
    fn texts_are_read_exactly_or_refused() {
        check(FieldType::Bool, "true", Some(Value::Bool(true)));
        check(FieldType::Bool, "TRUE", None);
        check(FieldType::Int, "-5", Some(Value::Int(-5)));
        check(FieldType::Int, "18446744073709551615", Some(Value::UInt(u64::MAX)));
        check(FieldType::Int, "18446744073709551616", None);
        check(FieldType::Int, "5.0", None);
        check(FieldType::Float, "5", Some(Value::Float(5.0)));
        check(FieldType::Float, "-1e300", Some(Value::Float(-1e300)));
        check(FieldType::Float, "NaN", Some(Value::Float(f64::NAN)));
        check(FieldType::Float, "inf", None);
        check(FieldType::Decimal, "1.10", Some(Value::Decimal("1.10".parse().unwrap())));
        check(FieldType::Decimal, "1,1", None);
        check(FieldType::Text, "", Some(Value::text("")));
        check(FieldType::Bytes, "\\x0aFF", Some(Value::Bytes(vec![10, 255])));
        check(FieldType::Bytes, "\\x0", None);
        check(FieldType::Bytes, "0aff", None);
        check(FieldType::Date, "2026-02-29", None);
        check(
            FieldType::Instant,
            "1970-01-01T00:00:00Z",
            Some(Value::Instant(shearwater_core::value::Instant::Micros(0))),
        );
        check(FieldType::Instant, "1970-01-01T00:00:00", None);
        check(FieldType::Uuid, "not-a-uuid", None);
        check(FieldType::Json, "1", None);
    }
}
