//! What identifies a record.

use crate::value::{Value, json, order};

/// One value per key field (usually one), none of them null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<Value>);

/// Why values cannot be a key, or a text cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl Key {
    /// A key of one value.
    pub fn single(value: impl Into<Value>) -> Key {
        Key(vec![value.into()])
    }

    /// A key of several values, in the order of the key fields.
    pub fn composite(values: Vec<Value>) -> Key {
        Key(values)
    }

    /// The values in the order of the key fields.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// Canonical order bytes; equal keys, and only they, give equal bytes.
    pub fn order_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        for value in &self.0 {
            order::write(value, &mut out);
        }
        out
    }

    /// A stable 64-bit hash; the read ramp takes `hash % 100 < percent`.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.order_bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        self.order_bytes().cmp(&other.order_bytes())
    }
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.order_bytes());
    }
}

impl Key {
    /// The key as text, for URLs (before percent-encoding), messages and the
    /// journal: text stands as it is, integers in decimal, everything else as
    /// tagged JSON. Text that would read as something else is quoted as JSON;
    /// the parts of a composite key are joined by commas, and commas and
    /// backslashes inside a part are escaped with a backslash.
    pub fn to_text(&self) -> String {
        match self.0.as_slice() {
            [value] => part_text(value),
            values => {
                let parts: Vec<String> = values.iter().map(|value| escape(&part_text(value))).collect();
                parts.join(",")
            }
        }
    }

    /// Reads [`Key::to_text`]'s form back; `parts` is the number of key fields.
    pub fn from_text(text: &str, parts: usize) -> Result<Key, KeyError> {
        if parts == 1 {
            return Ok(Key(vec![read_part(text)?]));
        }
        let texts = split(text)?;
        if texts.len() != parts {
            return Err(KeyError(format!("found {} parts, expected {parts} joined by commas", texts.len())));
        }
        texts.iter().map(|part| read_part(part)).collect::<Result<Vec<Value>, KeyError>>().map(Key)
    }
}

/// How a part of a key's text is to be taken.
enum PartForm {
    /// Text that can be nothing else.
    Text,
    /// JSON, or an error.
    Json,
    /// JSON if it reads as that, else text.
    Either,
}

fn part_form(text: &str) -> PartForm {
    match text.as_bytes() {
        [b'{' | b'[' | b'"', ..] => PartForm::Json,
        [b'-' | b'0'..=b'9' | b't' | b'f' | b'n', ..] if !text.ends_with([' ', '\n', '\r', '\t']) => PartForm::Either,
        _ => PartForm::Text,
    }
}

fn part_text(value: &Value) -> String {
    match value {
        Value::Text(text) if !text.is_empty() && read_part(text).as_ref() == Ok(value) => text.clone(),
        _ => json::to_string(value),
    }
}

fn read_part(text: &str) -> Result<Value, KeyError> {
    let value = match part_form(text) {
        PartForm::Text => Value::text(text),
        PartForm::Json => json::parse(text.as_bytes()).map_err(|e| KeyError(format!("the key is no JSON: {e}")))?,
        PartForm::Either => json::parse(text.as_bytes()).unwrap_or_else(|_| Value::text(text)),
    };
    match value {
        Value::Null => Err(KeyError("a key is never null; quote the word as \"null\" if it is text".to_owned())),
        value => Ok(value),
    }
}

fn escape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for c in part.chars() {
        if matches!(c, ',' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn split(text: &str) -> Result<Vec<String>, KeyError> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ',' => {
                parts.push(String::new());
                continue;
            }
            '\\' => match chars.next() {
                Some(c @ (',' | '\\')) => c,
                _ => return Err(KeyError("a backslash stands before a comma or a backslash only".to_owned())),
            },
            c => c,
        };
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Instant, Uuid};

    #[test]
    fn keys_as_text() {
        let check = |values: Vec<Value>, expect: &str| {
            let key = Key::composite(values);
            assert_eq!(key.to_text(), expect);
            assert_eq!(Key::from_text(expect, key.values().len()), Ok(key), "{expect}");
        };
        check(vec![Value::Int(42)], "42");
        check(vec!["abc".into()], "abc");
        check(vec!["a,b\\c".into()], "a,b\\c");
        check(vec!["42".into()], "\"42\"");
        check(vec!["042".into()], "042");
        check(vec!["-".into()], "-");
        check(vec!["".into()], "\"\"");
        check(vec!["true".into()], "\"true\"");
        check(vec!["null".into()], "\"null\"");
        check(vec!["nullable".into()], "nullable");
        check(vec!["{".into()], "\"{\"");
        check(vec!["\"".into()], "\"\\\"\"");
        check(vec!["42 ".into()], "42 ");
        check(vec![" 42".into()], " 42");
        check(vec!["1.50".into()], "\"1.50\"");
        check(vec![Value::Float(1.5)], "1.5");
        check(vec![Value::UInt(u64::MAX)], "18446744073709551615");
        check(vec![Value::Instant(Instant::Micros(0))], "{\"@instant\":\"1970-01-01T00:00:00Z\"}");
        check(vec![Value::Uuid(Uuid::nil())], "{\"@uuid\":\"00000000-0000-0000-0000-000000000000\"}");
        check(vec!["a,b".into(), Value::Int(1), "\\".into()], "a\\,b,1,\\\\");
        check(vec!["".into(), "".into()], "\"\",\"\"");
        check(vec!["\"".into(), true.into()], "\"\\\\\"\",true");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let check = |text: &str, parts: usize, expect: &str| {
            let error = Key::from_text(text, parts).unwrap_err().0;
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("null", 1, "never null");
        check("{\"@instant\":\"x\"}", 1, "no JSON");
        check("\"a", 1, "no JSON");
        check("a", 2, "found 1 parts, expected 2");
        check("a,b,c", 2, "found 3 parts");
        check("a\\b,c", 2, "a backslash stands before");
        check("a,b\\", 2, "a backslash stands before");
    }
}
