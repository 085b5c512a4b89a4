//! Values as attribute values, and back.
//!
//! DynamoDB has fewer types than we do, and keeps neither the order of a map nor
//! the zeros at the end of a number. A value is written in the type that a
//! program would expect there (a date as its text, a float as its number);
//! [`is_natural`] says whether it comes back as it was. What does not is noted in
//! the reserved attribute: see [`super::item`].

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shearwater_core::value::{Extended, dynamo_json, json};
use shearwater_core::{Document, Value};

use super::number;

/// An item, or a map in one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Levels of maps and lists in an attribute: DynamoDB's own limit, the
/// attribute itself counted.
const DEPTH_MAX: usize = 32;

/// The family of our extended values.
const STORE: &str = "dynamodb";

/// The attribute value of a value, or why there is none.
pub(super) fn to_attribute(value: &Value) -> Result<AttributeValue, String> {
    write(value, 1)
}

fn write(value: &Value, depth: usize) -> Result<AttributeValue, String> {
    if depth > DEPTH_MAX {
        return Err(format!("nests deeper than DynamoDB's {DEPTH_MAX} levels"));
    }
    Ok(match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Int(n) => AttributeValue::N(n.to_string()),
        Value::UInt(n) => AttributeValue::N(n.to_string()),
        Value::Float(x) => {
            let decimal = number::of_float(*x).ok_or("DynamoDB has no NaN and no infinity")?;
            AttributeValue::N(number::text(&decimal)?)
        }
        Value::Decimal(decimal) => AttributeValue::N(number::text(decimal)?),
        Value::Text(text) => AttributeValue::S(text.clone()),
        Value::Bytes(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Value::Date(date) => AttributeValue::S(date.to_string()),
        Value::Time(time) => AttributeValue::S(time.to_string()),
        Value::Local(timestamp) => AttributeValue::S(timestamp.to_string()),
        Value::Instant(instant) => AttributeValue::S(instant.to_string()),
        Value::Uuid(uuid) => AttributeValue::S(uuid.hyphenated().to_string()),
        Value::Array(items) => {
            let items = items.iter().map(|item| write(item, depth + 1));
            AttributeValue::L(items.collect::<Result<_, _>>()?)
        }
        Value::Document(document) => {
            let fields = document.iter().map(|(name, value)| match name {
                "" => Err("holds a field without a name, which DynamoDB does not take".to_owned()),
                name => Ok((name.to_owned(), write(value, depth + 1)?)),
            });
            AttributeValue::M(fields.collect::<Result<_, String>>()?)
        }
        Value::Extended(own) if own.store == STORE => set(own)?,
        Value::Extended(own) => AttributeValue::S(own.text.clone()),
    })
}

fn set(own: &Extended) -> Result<AttributeValue, String> {
    let members = members(own).ok_or_else(|| format!("is no set of DynamoDB (type {:?})", own.type_name))?;
    Ok(match own.type_name.as_str() {
        "NS" => AttributeValue::Ns(members),
        "BS" => {
            let bytes = members.iter().map(|member| BASE64.decode(member).map(Blob::new));
            AttributeValue::Bs(bytes.collect::<Result<_, _>>().map_err(|_| "a member of the set is no base64")?)
        }
        _ => AttributeValue::Ss(members),
    })
}

/// The members of a set of ours; `None` when it is none.
fn members(own: &Extended) -> Option<Vec<String>> {
    let Ok(Value::Array(items)) = json::parse(own.text.as_bytes()) else { return None };
    let texts: Option<Vec<String>> = items
        .into_iter()
        .map(|item| match item {
            Value::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    let texts = texts?;
    // Whether it is a set at all is known in one place.
    matches!(own.type_name.as_str(), "SS" | "NS" | "BS").then_some(())?;
    dynamo_json::set_of(&own.type_name, texts.clone()).ok()?;
    Some(texts)
}

/// The value of an attribute value: the same that an import of DynamoDB JSON
/// makes of it, with the fields of a map by name.
pub(super) fn from_attribute(value: AttributeValue) -> Result<Value, String> {
    Ok(match value {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(b) => Value::Bool(b),
        AttributeValue::N(text) => number::value(&text).ok_or("is no number of at most 38 digits")?,
        AttributeValue::S(text) => Value::Text(text),
        AttributeValue::B(bytes) => Value::Bytes(bytes.into_inner()),
        AttributeValue::L(items) => Value::Array(items.into_iter().map(from_attribute).collect::<Result<_, _>>()?),
        AttributeValue::M(fields) => Value::Document(document(fields.into_iter().collect())?),
        AttributeValue::Ss(members) => dynamo_json::set_of("SS", members)?,
        AttributeValue::Ns(members) => {
            let texts = members.iter().map(|member| number_text(member)).collect::<Option<Vec<String>>>();
            dynamo_json::set_of("NS", texts.ok_or("a member of the set is no number")?)?
        }
        AttributeValue::Bs(members) => {
            dynamo_json::set_of("BS", members.iter().map(|member| BASE64.encode(member.as_ref())).collect())?
        }
        _ => return Err("is of a type that this version does not know".to_owned()),
    })
}

fn number_text(text: &str) -> Option<String> {
    number::text(&text.parse().ok()?).ok()
}

/// Fields by name, which is the one order that a map can be given.
pub(super) fn document(mut fields: Vec<(String, AttributeValue)>) -> Result<Document, String> {
    fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut document = Document::with_capacity(fields.len());
    for (name, value) in fields {
        // Names of a map differ.
        document.push(name, from_attribute(value)?).map_err(|error| error.to_string())?;
    }
    Ok(document)
}

/// Whether DynamoDB gives the value back as it is.
pub(super) fn is_natural(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Text(_) | Value::Bytes(_) => true,
        Value::Decimal(decimal) => number::is_natural(decimal),
        Value::Array(items) => items.iter().all(is_natural),
        Value::Document(document) => {
            let mut last = None;
            document.iter().all(|(name, value)| last.replace(name).is_none_or(|last| last < name) && is_natural(value))
        }
        Value::Extended(own) if own.store == STORE => {
            set(own).and_then(from_attribute).is_ok_and(|again| again == *value)
        }
        Value::Float(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Local(_)
        | Value::Instant(_)
        | Value::Uuid(_)
        | Value::Extended(_) => false,
    }
}

/// Bytes of an attribute value as DynamoDB counts them for the size of an item,
/// never too few.
pub(super) fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(text) => number_size(text),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
        AttributeValue::Ns(members) => members.iter().map(|text| number_size(text)).sum(),
        AttributeValue::Bs(members) => members.iter().map(|bytes| bytes.as_ref().len()).sum(),
        AttributeValue::L(items) => 3 + items.iter().map(|item| 1 + size(item)).sum::<usize>(),
        AttributeValue::M(fields) => 3 + fields.len() + item_size(fields),
        _ => 1,
    }
}

fn number_size(text: &str) -> usize {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (digits / 2 + 2).min(21)
}

/// Bytes of an item.
pub(super) fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        json::parse(text.as_bytes()).unwrap()
    }

    fn extended(ty: &str, text: &str) -> Value {
        Value::Extended(Box::new(Extended { store: STORE.into(), type_name: ty.into(), text: text.into() }))
    }

    #[test]
    fn natural_values_come_back_and_the_others_do_not() {
        let check = |value: Value, natural: bool| {
            let again = from_attribute(to_attribute(&value).unwrap()).unwrap();
            assert_eq!((is_natural(&value), again == value), (natural, natural), "{value:?} came back as {again:?}");
        };
        for text in [
            "null",
            "true",
            "5",
            "-9223372036854775808",
            "18446744073709551615",
            r#""""#,
            r#""a\u0000b""#,
            "[]",
            "{}",
            r#"{"@bytes":""}"#,
            r#"{"@bytes":"AP8="}"#,
            r#"{"a":{"b":[1,{"c":null}]},"b":""}"#,
            "12345678901234567890123456789012345678",
            r#"{"@decimal":"1.5"}"#,
        ] {
            check(parse(text), true);
        }
        for text in [
            "1.5",
            "-0.0",
            r#"{"@decimal":"1.50"}"#,
            r#"{"@date":"2020-01-02"}"#,
            r#"{"b":1,"a":2}"#,
            r#"[{"x":1.5}]"#,
            r#"{"@instant":"1970-01-01T00:00:00Z"}"#,
            r#"{"@time":"00:00:01"}"#,
            r#"{"@uuid":"00000000-0000-0000-0000-000000000007"}"#,
            r#"{"@timestamp":"2020-01-02T03:04:05"}"#,
        ] {
            check(parse(text), false);
        }
        check(extended("SS", r#"["","a"]"#), true);
        check(extended("NS", r#"["-1","9","10"]"#), true);
        check(extended("NS", r#"["9.0","10"]"#), false);
        check(extended("BS", r#"["AQ=="]"#), true);
        let id = Extended { store: "mongodb".into(), type_name: "objectId".into(), text: "507f".into() };
        check(Value::Extended(Box::new(id)), false);
    }

    #[test]
    fn what_there_is_no_attribute_for_is_refused() {
        let check = |value: Value, expect: &str| {
            let told = to_attribute(&value).unwrap_err();
            assert!(told.contains(expect), "{value:?}: {told}");
        };
        check(Value::Float(f64::NAN), "no NaN");
        check(Value::Float(f64::NEG_INFINITY), "no infinity");
        check(Value::Float(1e300), "range");
        check(parse("123456789012345678901234567890123456789"), "38 significant digits");
        check(parse(r#"[{"":1}]"#), "without a name");
        check(extended("SS", "[]"), "no set");
        check(extended("SS", r#"["a","a"]"#), "no set");
        check(extended("XS", r#"["a"]"#), "no set");
        let nested = |levels: usize| parse(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        check(nested(33), "32 levels");
        assert!(to_attribute(&nested(32)).is_ok());
    }

    #[test]
    fn an_import_and_the_connector_make_the_same_of_an_item() {
        for text in [
            r#"{"N":"5"}"#,
            r#"{"N":"18446744073709551616"}"#,
            r#"{"N":"-1.5"}"#,
            r#"{"S":""}"#,
            r#"{"B":"AQI="}"#,
            r#"{"NS":["1","2.5","-3"]}"#,
            r#"{"SS":["b","a"]}"#,
            r#"{"BS":["Ag==","AQ=="]}"#,
            r#"{"M":{"a":{"L":[{"NULL":true},{"BOOL":false}]}}}"#,
        ] {
            let imported = dynamo_json::parse_item(format!("{{\"a\":{text}}}").as_bytes()).unwrap();
            let value = imported.get("a").unwrap();
            assert!(is_natural(value), "{text}");
            assert_eq!(&from_attribute(to_attribute(value).unwrap()).unwrap(), value, "{text}");
        }
    }
}
