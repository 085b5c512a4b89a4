//! A column's default in a store's words, as one that the target can have too.

use std::str::FromStr;

use crate::shape::FieldType;
use crate::toml_text::quoted;
use crate::value::Decimal;

/// The default as it stands in a spec (`column_default = …`); `None`: it is an
/// expression of the store's own, or not of the column's type.
pub(super) fn portable(default: &str, ty: FieldType) -> Option<String> {
    let words = without_cast(unwrapped(default.trim()));
    if is_now(words) {
        return matches!(ty, FieldType::Instant | FieldType::Timestamp).then(|| quoted("now"));
    }
    let literal = text_of(words);
    let plain = literal.as_deref().unwrap_or(words);
    match ty {
        FieldType::Int => plain.parse::<i64>().ok().map(|n| n.to_string()),
        FieldType::Bool => match plain.to_ascii_lowercase().as_str() {
            "true" | "1" => Some("true".to_owned()),
            "false" | "0" => Some("false".to_owned()),
            _ => None,
        },
        FieldType::Float => plain.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| format!("{x:?}")),
        FieldType::Decimal => Decimal::from_str(plain).ok().map(|decimal| quoted(&decimal.to_string())),
        FieldType::Text => literal.map(|text| quoted(&text)),
        FieldType::Bytes
        | FieldType::Date
        | FieldType::Time
        | FieldType::Timestamp
        | FieldType::Instant
        | FieldType::Uuid
        | FieldType::Json
        | FieldType::Extended => None,
    }
}

/// Whether it is the default that there is when nobody has said one.
pub(super) fn is_none(default: &str) -> bool {
    without_cast(unwrapped(default.trim())).eq_ignore_ascii_case("null")
}

/// Without brackets around all of it.
fn unwrapped(text: &str) -> &str {
    match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) if !inner.contains(['(', ')']) => inner.trim(),
        _ => text,
    }
}

/// Without PostgreSQL's `::type` at the end.
fn without_cast(text: &str) -> &str {
    let outside = text.rfind('\'').map_or(0, |quote| quote + 1);
    match text[outside..].find("::") {
        Some(at) if !text[outside + at..].contains('(') || !text[outside + at..].contains("nextval") => {
            unwrapped(text[..outside + at].trim())
        }
        _ => text,
    }
}

fn is_now(words: &str) -> bool {
    let folded = words.to_ascii_lowercase();
    let name = folded.split('(').next().unwrap_or_default().trim();
    let call = folded[name.len()..].trim();
    let is_call = call.is_empty()
        || call
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .is_some_and(|inside| inside.chars().all(|c| c.is_ascii_digit()));
    is_call && matches!((name, call.is_empty()), ("current_timestamp", _) | ("now", false) | ("localtimestamp", _))
}

/// The text of a literal in single quotes. One with a backslash means different
/// things to different stores.
fn text_of(words: &str) -> Option<String> {
    let inner = words.strip_prefix('\'')?.strip_suffix('\'')?;
    let text = inner.replace("''", "\u{0}");
    (!text.contains(['\'', '\\'])).then(|| text.replace('\u{0}', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_the_columns_type_and_the_time_now() {
        for (default, ty, expected) in [
            ("0", FieldType::Int, Some("0")),
            ("'-1'::integer", FieldType::Int, Some("-1")),
            ("(7)", FieldType::Int, Some("7")),
            ("nextval('film_id_seq'::regclass)", FieldType::Int, None),
            ("1.5", FieldType::Int, None),
            ("true", FieldType::Bool, Some("true")),
            ("0", FieldType::Bool, Some("false")),
            ("2", FieldType::Bool, None),
            ("4.99", FieldType::Decimal, Some("\"4.99\"")),
            ("19.990", FieldType::Decimal, Some("\"19.990\"")),
            ("0.5", FieldType::Float, Some("0.5")),
            ("'NaN'::double precision", FieldType::Float, None),
            ("'G'::mpaa_rating", FieldType::Text, Some("\"G\"")),
            ("'it''s'::character varying(40)", FieldType::Text, Some("\"it's\"")),
            ("'a::b'", FieldType::Text, Some("\"a::b\"")),
            ("''", FieldType::Text, Some("\"\"")),
            ("'a\\\\b'", FieldType::Text, None),
            ("lower('G')", FieldType::Text, None),
            ("'a' || 'b'", FieldType::Text, None),
            ("G", FieldType::Text, None),
            ("CURRENT_TIMESTAMP", FieldType::Timestamp, Some("\"now\"")),
            ("current_timestamp(6)", FieldType::Instant, Some("\"now\"")),
            ("now()", FieldType::Instant, Some("\"now\"")),
            ("now() - '1 day'::interval", FieldType::Instant, None),
            ("CURRENT_TIMESTAMP", FieldType::Text, None),
            ("'2020-01-01'::date", FieldType::Date, None),
        ] {
            assert_eq!(portable(default, ty).as_deref(), expected, "{default} as {}", ty.name());
        }
        assert!(is_none("NULL") && is_none("NULL::character varying") && !is_none("'NULL'"));
    }
}
