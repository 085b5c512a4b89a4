//! DynamoDB JSON (`{"S": …}`, `{"N": …}`, …) as an import form.
//!
//! | written as | becomes |
//! |---|---|
//! | `S`, `BOOL`, `NULL`, `M`, `L` | text, bool, null, document, array |
//! | `N` | int if it is an integer in range, else a decimal as written |
//! | `B` | bytes |
//! | `SS`, `NS`, `BS` | extended, store `dynamodb`: the members as a JSON array of texts, sorted, because a set has no order |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::{self, JsonError};
use super::{Decimal, Document, Extended, Value};
use crate::path::Trail;

/// Significant digits of a DynamoDB number.
const NUMBER_DIGITS_MAX: usize = 38;

/// Parses one item: a document whose values are typed by one-letter tags.
pub fn parse_item(bytes: &[u8]) -> Result<Document, JsonError> {
    item(json::as_document(json::parse_untagged(bytes)?)?)
}

/// Reads the types in an item that is parsed as plain JSON.
pub(crate) fn item(item: Document) -> Result<Document, JsonError> {
    fields(&Trail::Root, item)
}

fn fields(trail: &Trail<'_>, document: Document) -> Result<Document, JsonError> {
    let mut fields = Vec::with_capacity(document.len());
    for (name, value) in document {
        let value = typed(&Trail::Field(trail, &name), value)?;
        fields.push((name, value));
    }
    Ok(Document::from_unique(fields))
}

fn typed(trail: &Trail<'_>, value: Value) -> Result<Value, JsonError> {
    let wrong = |why: &str| JsonError::new(0, format!("wrong value at `{trail}`: {why}; the item begins"));
    let Value::Document(document) = value else {
        return Err(wrong("expected a document of one type, such as {\"S\": …}"));
    };
    if document.len() != 1 {
        return Err(wrong("expected exactly one type, such as {\"S\": …}"));
    }
    let Some((tag, content)) = document.into_iter().next() else {
        return Err(wrong("expected a type, such as {\"S\": …}"));
    };
    match (tag.as_str(), content) {
        ("S", Value::Text(text)) => Ok(Value::Text(text)),
        ("N", Value::Text(text)) => number(&text).ok_or_else(|| wrong("`N` is no number of at most 38 digits")),
        ("B", Value::Text(text)) => BASE64.decode(text).map(Value::Bytes).map_err(|_| wrong("`B` is no base64")),
        ("BOOL", Value::Bool(b)) => Ok(Value::Bool(b)),
        ("NULL", Value::Bool(true)) => Ok(Value::Null),
        ("M", Value::Document(document)) => fields(trail, document).map(Value::Document),
        ("L", Value::Array(items)) => {
            let items = items.into_iter().enumerate();
            items.map(|(i, item)| typed(&Trail::Index(trail, i), item)).collect::<Result<_, _>>().map(Value::Array)
        }
        ("SS" | "NS" | "BS", Value::Array(members)) => set(&tag, members).map_err(wrong),
        ("S" | "N" | "B" | "BOOL" | "NULL" | "M" | "L" | "SS" | "NS" | "BS", content) => {
            Err(wrong(&format!("the content of `{tag}` is {}", content.type_name())))
        }
        _ => Err(wrong(&format!("{tag:?} is no type of DynamoDB"))),
    }
}

/// The value of a number's text: int if it is an integer in range, else a
/// decimal as written; `None` for what is no number of at most 38 digits.
pub fn number(text: &str) -> Option<Value> {
    let decimal: Decimal = text.parse().ok()?;
    let digits = decimal.normal()?.digits.len();
    let is_integer = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    match decimal.to_i128() {
        Some(n) if is_integer && !(n == 0 && text.starts_with('-')) => {
            if let Ok(n) = i64::try_from(n) {
                return Some(Value::Int(n));
            }
            if let Ok(n) = u64::try_from(n) {
                return Some(Value::from_u64(n));
            }
        }
        _ => {}
    }
    (digits <= NUMBER_DIGITS_MAX).then_some(Value::Decimal(decimal))
}

fn set(tag: &str, members: Vec<Value>) -> Result<Value, &'static str> {
    let mut texts = Vec::with_capacity(members.len());
    for member in members {
        let Value::Text(text) = member else { return Err("a member of a set is no text") };
        texts.push(text);
    }
    set_of(tag, texts)
}

/// A set (`SS`, `NS`, `BS`) in its canonical text: members sorted, numbers by
/// value, bytes as base64.
///
/// # Errors
/// It is empty, holds a member twice, or one that is not of its type.
pub fn set_of(tag: &str, mut texts: Vec<String>) -> Result<Value, &'static str> {
    if texts.is_empty() {
        return Err("a set is empty");
    }
    match tag {
        "NS" => sort_numbers(&mut texts)?,
        "BS" if texts.iter().any(|text| BASE64.decode(text).is_err()) => return Err("a member of `BS` is no base64"),
        _ => texts.sort_unstable(),
    }
    if texts.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("a set holds a member twice");
    }
    let text = json::to_string(&Value::Array(texts.into_iter().map(Value::Text).collect()));
    Ok(Value::Extended(Box::new(Extended { store: "dynamodb".to_owned(), type_name: tag.to_owned(), text })))
}

fn sort_numbers(texts: &mut Vec<String>) -> Result<(), &'static str> {
    let mut numbers = Vec::with_capacity(texts.len());
    for text in texts.drain(..) {
        number(&text).ok_or("a member of `NS` is no number of at most 38 digits")?;
        let decimal: Decimal = text.parse().map_err(|_| "a member of `NS` is no number of at most 38 digits")?;
        numbers.push((decimal, text));
    }
    numbers.sort_by(|(a, _), (b, _)| a.compare(b));
    if numbers.windows(2).any(|pair| pair[0].0.compare(&pair[1].0).is_eq()) {
        return Err("a set holds a member twice");
    }
    texts.extend(numbers.into_iter().map(|(_, text)| text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_values() {
        let check = |text: &str, expect: &str| {
            let item = parse_item(format!("{{\"a\":{text}}}").as_bytes()).unwrap();
            assert_eq!(json::document_to_string(&item), format!("{{\"a\":{expect}}}"), "{text}");
        };
        check(r#"{"S":""}"#, "\"\"");
        check(r#"{"N":"-5"}"#, "-5");
        check(r#"{"N":"18446744073709551615"}"#, "18446744073709551615");
        check(r#"{"N":"18446744073709551616"}"#, "18446744073709551616");
        check(r#"{"N":"1.50"}"#, r#"{"@decimal":"1.50"}"#);
        check(r#"{"N":"1E5"}"#, r#"{"@decimal":"1E+5"}"#);
        check(r#"{"N":"-0"}"#, r#"{"@decimal":"-0"}"#);
        check(r#"{"N":"12345678901234567890123456789012345678"}"#, "12345678901234567890123456789012345678");
        check(r#"{"B":"AQI="}"#, r#"{"@bytes":"AQI="}"#);
        check(r#"{"BOOL":false}"#, "false");
        check(r#"{"NULL":true}"#, "null");
        check(r#"{"M":{"x":{"L":[{"S":"y"},{"M":{}}]}}}"#, r#"{"x":["y",{}]}"#);
        let set = |ty: &str, text: &str| {
            format!(
                "{{\"@extended\":{{\"store\":\"dynamodb\",\"type\":\"{ty}\",\"text\":{}}}}}",
                json::to_string(&text.into())
            )
        };
        check(r#"{"SS":["b","a"]}"#, &set("SS", r#"["a","b"]"#));
        check(r#"{"NS":["10","9","-1.0"]}"#, &set("NS", r#"["-1.0","9","10"]"#));
        check(r#"{"BS":["Ag==","AQ=="]}"#, &set("BS", r#"["AQ==","Ag=="]"#));
    }

    #[test]
    fn what_is_no_item_is_refused_with_its_path() {
        let check = |text: &str, expect: &str| {
            let text = format!("{{\"a\":{{\"L\":[{{\"M\":{{\"b\":{text}}}}}]}}}}");
            let error = parse_item(text.as_bytes()).unwrap_err();
            assert!(error.message.contains("at `a[0].b`") && error.message.contains(expect), "{text}: {error}");
        };
        check("1", "expected a document of one type");
        check("{}", "expected exactly one type");
        check(r#"{"S":"a","N":"1"}"#, "expected exactly one type");
        check(r#"{"X":"a"}"#, "\"X\" is no type of DynamoDB");
        check(r#"{"S":1}"#, "the content of `S` is int");
        check(r#"{"N":1}"#, "the content of `N` is int");
        check(r#"{"N":"NaN"}"#, "no number");
        check(r#"{"N":"123456789012345678901234567890123456789"}"#, "at most 38 digits");
        check(r#"{"NULL":false}"#, "the content of `NULL` is bool");
        check(r#"{"B":"AQI"}"#, "no base64");
        check(r#"{"SS":[]}"#, "a set is empty");
        check(r#"{"SS":["a","a"]}"#, "a member twice");
        check(r#"{"NS":["1","1.0"]}"#, "a member twice");
        check(r#"{"NS":["x"]}"#, "no number");
        check(r#"{"SS":[1]}"#, "no text");
        assert!(parse_item(b"[]").unwrap_err().message.contains("expected a document"));
    }
}
