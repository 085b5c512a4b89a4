//! Keys in paths: `/v2/users/42`, `/v1/orders/7,a%2Cb`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shearwater_core::Key;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::value::Value;

use super::problem::{Kind, Problem};
use super::typed;

/// What stands in a path segment as it is (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The declared types of a layout's key fields; `None` where a document's
/// values say their own.
pub fn types(layout: &Layout) -> Vec<Option<FieldType>> {
    let typed = |name: &String| match layout {
        Layout::Document(_) => None,
        Layout::Rows(table) => table.columns.iter().find(|column| column.name == *name).map(|column| column.ty),
    };
    layout.key_fields().iter().map(typed).map(|ty| ty.filter(|ty| *ty != FieldType::Json)).collect()
}

/// Reads the last segment of a path. A part of a declared type may also stand
/// as its plain text: `/v2/users/42` names the text `42` where keys are text.
pub fn read(types: &[Option<FieldType>], segment: &str) -> Result<Key, Problem> {
    let bad = |detail: String| {
        Problem::new(Kind::BadKey, detail).hint("percent-encode the key; in composite keys a comma parts the values")
    };
    let text = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| bad("the key is not UTF-8 after percent-decoding".into()))?;
    if types.iter().all(Option::is_none) {
        return Key::from_text(&text, types.len()).map_err(|error| bad(error.to_string()));
    }
    let parts = parts(&text, types.len());
    if parts.len() != types.len() {
        return Err(bad(format!("the key has {} parts; expected {}", parts.len(), types.len())));
    }
    let values = types.iter().zip(&parts).map(|(ty, part)| as_type(*ty, part));
    values.collect::<Result<_, _>>().map(Key::composite).map_err(bad)
}

fn as_type(ty: Option<FieldType>, part: &str) -> Result<Value, String> {
    let value = Key::from_text(part, 1).map(|key| key.values()[0].clone());
    match (ty, value) {
        (None, value) => value.map_err(|error| error.to_string()),
        (Some(ty), Ok(value)) if value.type_name() == ty.name() => Ok(value),
        (Some(ty), _) => typed::read(ty, part).map_err(|not| format!("expected {}", not.expected)),
    }
}

/// The parts as they stand, without the backslashes of composite keys.
fn parts(text: &str, expected: usize) -> Vec<String> {
    if expected == 1 {
        return vec![text.to_owned()];
    }
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            ',' => parts.push(String::new()),
            '\\' => parts[last].extend(chars.next()),
            _ => parts[last].push(c),
        }
    }
    parts
}

/// The path of a record under its entity's path.
pub fn location(entity_path: &str, key: &Key) -> String {
    format!("{entity_path}/{}", segment(key))
}

/// A key as the last segment of a path.
pub fn segment(key: &Key) -> String {
    let text = key.to_text();
    // Clients take dot segments out of a path before they send it.
    let text = match text.as_str() {
        "." | ".." => format!("\"{text}\""),
        _ => text,
    };
    utf8_percent_encode(&text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[Option<FieldType>] = &[Some(FieldType::Text)];
    const ANY: &[Option<FieldType>] = &[None];

    fn check(types: &[Option<FieldType>], segment: &str, expect: Option<Key>) {
        assert_eq!(read(types, segment).ok(), expect, "{segment}");
    }

    #[test]
    fn keys_are_read_by_their_types() {
        check(ANY, "42", Some(Key::single(42)));
        check(ANY, "%2242%22", Some(Key::single("42")));
        check(ANY, "a%2Fb%20c", Some(Key::single("a/b c")));
        check(TEXT, "42", Some(Key::single("42")));
        check(TEXT, "%2242%22", Some(Key::single("42")));
        check(TEXT, "a,b", Some(Key::single("a,b")));
        check(&[Some(FieldType::Int)], "42", Some(Key::single(42)));
        check(&[Some(FieldType::Int)], "x", None);
        let date = "2026-11-22".parse().map(Value::Date).unwrap();
        check(&[Some(FieldType::Date)], "2026-11-22", Some(Key::single(date)));
        check(TEXT, "%ff", None);
        let pair = &[Some(FieldType::Text), Some(FieldType::Int)];
        check(pair, "7,8", Some(Key::composite(vec![Value::text("7"), Value::Int(8)])));
        check(pair, "a%5C,b,8", Some(Key::composite(vec![Value::text("a,b"), Value::Int(8)])));
        check(pair, "7", None);
        check(pair, "7,x", None);
        check(&[None, None], "7,8", Some(Key::composite(vec![Value::Int(7), Value::Int(8)])));
    }

    fn part() -> impl Strategy<Value = Value> {
        prop_oneof![".*".prop_map(Value::Text), any::<i64>().prop_map(Value::Int), any::<bool>().prop_map(Value::Bool)]
    }

    proptest! {
        #[test]
        fn a_location_leads_back_to_its_key(values in proptest::collection::vec(part(), 1..3)) {
            let types = vec![None; values.len()];
            let key = Key::composite(values);
            let location = location("/v1/users", &key);
            let segment = location.strip_prefix("/v1/users/").unwrap();
            prop_assert!(!segment.contains(['/', '?', '#', ' ']));
            prop_assert_eq!(read(&types, segment).map_err(|p| p.detail), Ok(key));
        }

        #[test]
        fn a_location_of_text_leads_back_when_keys_are_text(text in ".*", second in ".*") {
            let key = Key::composite(vec![Value::Text(text), Value::Text(second)]);
            let location = location("/v2/users", &key);
            let segment = location.strip_prefix("/v2/users/").unwrap();
            prop_assert_eq!(read(&[Some(FieldType::Text); 2], segment).map_err(|p| p.detail), Ok(key));
        }
    }
}
