//! MongoDB extended JSON (canonical, relaxed and the older shell forms) as an
//! import form.
//!
//! | written as | becomes |
//! |---|---|
//! | `$numberInt`, `$numberLong`, plain integers | int (32 and 64 bits are one type here) |
//! | `$numberDouble`, plain numbers with a fraction | float; a plain one that is no text of a float stays a decimal |
//! | `$numberDecimal` | decimal, scale kept |
//! | `$date`: ISO text with any offset, milliseconds, or `$numberLong` | instant |
//! | `$binary`, of subtype 0, 4 or other; `$uuid` | bytes, UUID, or extended |
//! | `$oid`, `$regularExpression` or `$regex`, `$timestamp`, `$minKey`, `$maxKey`, `$symbol`, `$code`, `$dbPointer`, `$undefined` | extended, store `mongodb` |
//!
//! Any other document stays one, also when its names begin with `$` (a `DBRef`
//! is a document with `$ref` and `$id`). A wrapper whose content is wrong is
//! refused with its path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::{self, JsonError};
use super::{Decimal, Document, Extended, Instant, Uuid, Value, number};
use crate::path::Trail;

/// Parses one MongoDB extended JSON text.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut value = json::parse_untagged(bytes)?;
    convert(&Trail::Root, &mut value)?;
    Ok(value)
}

/// Reads the wrappers in a value, from the innermost out.
fn convert(trail: &Trail<'_>, value: &mut Value) -> Result<(), JsonError> {
    match value {
        Value::Decimal(decimal) => {
            if let Some(x) = number::as_double(decimal) {
                *value = Value::Float(x);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                convert(&Trail::Index(trail, i), item)?;
            }
        }
        Value::Document(document) => {
            for (name, field) in document.iter_mut() {
                convert(&Trail::Field(trail, name), field)?;
            }
            if let Some(read) = wrapper(trail, document)? {
                *value = read;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The value that a document stands for, if it is a wrapper.
fn wrapper(trail: &Trail<'_>, document: &Document) -> Result<Option<Value>, JsonError> {
    let mut fields = document.iter();
    let read = match (fields.next(), fields.next(), fields.next()) {
        (Some((name, content)), None, None) if name.starts_with('$') => single(name, content),
        (Some((a, x)), Some((b, y)), None) if a.starts_with('$') => double((a, x), (b, y)),
        (Some((name, _)), Some(_), _) if is_single(name) => Some(Err("a wrapper stands alone in its document")),
        _ => None,
    };
    read.transpose().map_err(|why| {
        let name = document.iter().next().map_or("", |(name, _)| name);
        let place = trail.to_string();
        let place = if place.is_empty() { "the top".to_owned() } else { format!("`{place}`") };
        JsonError::new(0, format!("wrong `{name}` at {place}: {why}; the text begins"))
    })
}

type Read = Option<Result<Value, &'static str>>;

/// Wrappers that are always alone.
fn is_single(name: &str) -> bool {
    matches!(
        name,
        "$oid" | "$date" | "$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal" | "$uuid" | "$timestamp"
    )
}

fn single(name: &str, content: &Value) -> Read {
    Some(match (name, content) {
        ("$oid", Value::Text(hex)) if hex.len() == 24 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(extended("objectId", hex.to_ascii_lowercase()))
        }
        ("$oid", _) => Err("expected 24 hex digits"),
        ("$date", content) => date(content),
        ("$numberInt", Value::Text(text)) => int(text, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        ("$numberInt", _) => Err("expected an integer as text"),
        ("$numberLong", Value::Text(text)) => int(text, i64::MIN..=i64::MAX),
        ("$numberLong", Value::Int(n)) => Ok(Value::Int(*n)),
        ("$numberLong", _) => Err("expected an integer as text"),
        ("$numberDouble", Value::Text(text)) => double_text(text),
        ("$numberDouble", _) => Err("expected a number as text"),
        ("$numberDecimal", Value::Text(text)) => {
            text.parse::<Decimal>().map(Value::Decimal).map_err(|_| "expected a number as text")
        }
        ("$numberDecimal", _) => Err("expected a number as text"),
        ("$binary", Value::Document(content)) => match (content.get("base64"), content.get("subType")) {
            (Some(Value::Text(base64)), Some(Value::Text(subtype))) if content.len() == 2 => binary(base64, subtype),
            _ => Err("expected the texts `base64` and `subType`"),
        },
        ("$uuid", Value::Text(text)) => Uuid::try_parse(text).map(Value::Uuid).map_err(|_| "expected a UUID"),
        ("$uuid", _) => Err("expected a UUID"),
        ("$regularExpression", Value::Document(content)) => match (content.get("pattern"), content.get("options")) {
            (Some(Value::Text(pattern)), Some(Value::Text(options))) if content.len() == 2 => regex(pattern, options),
            _ => Err("expected the texts `pattern` and `options`"),
        },
        ("$regex", Value::Text(pattern)) => regex(pattern, ""),
        ("$timestamp", Value::Document(content)) => match (content.get("t"), content.get("i")) {
            (Some(Value::Int(t)), Some(Value::Int(i))) if content.len() == 2 && is_u32(*t) && is_u32(*i) => {
                Ok(extended("timestamp", format!("{{\"t\":{t},\"i\":{i}}}")))
            }
            _ => Err("expected the integers `t` and `i`"),
        },
        ("$timestamp", _) => Err("expected the integers `t` and `i`"),
        ("$minKey", Value::Int(1)) => Ok(extended("minKey", "1")),
        ("$maxKey", Value::Int(1)) => Ok(extended("maxKey", "1")),
        ("$minKey" | "$maxKey", _) => Err("expected 1"),
        ("$symbol", Value::Text(text)) => Ok(extended("symbol", text.as_str())),
        ("$code", Value::Text(text)) => Ok(extended("javascript", text.as_str())),
        ("$undefined", Value::Bool(true)) => Ok(extended("undefined", "true")),
        ("$dbPointer", Value::Document(content)) if content.len() == 2 => {
            Ok(extended("dbPointer", json::document_to_string(content)))
        }
        _ => return None,
    })
}

/// Wrappers of two fields, in either order.
fn double(a: (&str, &Value), b: (&str, &Value)) -> Read {
    let ((first, x), (second, y)) = if a.0 <= b.0 { (a, b) } else { (b, a) };
    Some(match (first, x, second, y) {
        ("$binary", Value::Text(base64), "$type", Value::Text(subtype)) => binary(base64, subtype),
        ("$binary", _, "$type", _) => Err("expected base64 text, and `$type` as text"),
        ("$options", Value::Text(options), "$regex", Value::Text(pattern)) => regex(pattern, options),
        ("$code", Value::Text(code), "$scope", Value::Document(scope)) => {
            let parts: Document = [("code", Value::text(code)), ("scope", scope.clone().into())].into_iter().collect();
            Ok(extended("javascriptWithScope", json::document_to_string(&parts)))
        }
        (name, _, _, _) if is_single(name) => Err("a wrapper stands alone in its document"),
        _ => return None,
    })
}

fn extended(type_name: &str, text: impl Into<String>) -> Value {
    let (store, type_name) = ("mongodb".to_owned(), type_name.to_owned());
    Value::Extended(Box::new(Extended { store, type_name, text: text.into() }))
}

fn is_u32(n: i64) -> bool {
    u32::try_from(n).is_ok()
}

fn int(text: &str, range: std::ops::RangeInclusive<i64>) -> Result<Value, &'static str> {
    let is_form = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    let n = text.parse::<i64>().ok().filter(|n| is_form && range.contains(n));
    n.map(Value::Int).ok_or("expected an integer in the type's range")
}

/// A double is what its text is nearest to.
fn double_text(text: &str) -> Result<Value, &'static str> {
    let x = match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => {
            text.parse::<Decimal>().map_err(|_| "expected a number as text")?;
            let x = text.parse::<f64>().map_err(|_| "expected a number as text")?;
            if x.is_infinite() {
                return Err("the number is beyond the range of a double");
            }
            x
        }
    };
    Ok(Value::Float(x))
}

fn date(content: &Value) -> Result<Value, &'static str> {
    let instant = match content {
        Value::Int(millis) => Instant::from_millis(*millis).ok_or("the date is out of range"),
        Value::Text(text) => Instant::parse_lenient(text).map_err(|e| e.0),
        _ => Err("expected ISO text or milliseconds"),
    };
    instant.map(Value::Instant)
}

fn binary(base64: &str, subtype: &str) -> Result<Value, &'static str> {
    let bytes = BASE64.decode(base64).map_err(|_| "expected base64")?;
    let is_hex = matches!(subtype.len(), 1 | 2) && subtype.bytes().all(|b| b.is_ascii_hexdigit());
    let subtype = u8::from_str_radix(subtype, 16).ok().filter(|_| is_hex).ok_or("expected a subtype in hex")?;
    Ok(match (subtype, Uuid::from_slice(&bytes)) {
        (0, _) => Value::Bytes(bytes),
        (4, Ok(uuid)) => Value::Uuid(uuid),
        _ => extended("binary", format!("{{\"base64\":\"{}\",\"subType\":\"{subtype:02x}\"}}", BASE64.encode(&bytes))),
    })
}

fn regex(pattern: &str, options: &str) -> Result<Value, &'static str> {
    let mut letters: Vec<char> = options.chars().collect();
    letters.sort_unstable();
    let options: String = letters.into_iter().collect();
    let parts: Document = [("pattern", pattern), ("options", &options)].into_iter().collect();
    Ok(extended("regularExpression", json::document_to_string(&parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, JsonError> {
        parse(format!("[{text}]").as_bytes()).map(|value| match value {
            Value::Array(mut items) => items.remove(0),
            other => other,
        })
    }

    #[test]
    fn wrappers_become_values() {
        // The second text is the value in our own JSON.
        let check = |text: &str, expect: &str| {
            assert_eq!(read(text).map(|v| json::to_string(&v)), Ok(expect.to_owned()), "{text}");
        };
        let own = |check: &dyn Fn(&str, &str), text: &str, ty: &str, content: &str| {
            let own = extended(ty, content);
            check(text, &json::to_string(&own));
        };
        own(&check, r#"{"$oid":"5099803DF3F4948BD2F98391"}"#, "objectId", "5099803df3f4948bd2f98391");
        check(r#"{"$date":"2009-04-01T00:00:00.000-0700"}"#, r#"{"@instant":"2009-04-01T07:00:00Z"}"#);
        check(r#"{"$date":"2009-04-01T00:00:00.5Z"}"#, r#"{"@instant":"2009-04-01T00:00:00.500Z"}"#);
        check(r#"{"$date":1393804800000}"#, r#"{"@instant":"2014-03-03T00:00:00Z"}"#);
        check(r#"{"$date":-1}"#, r#"{"@instant":"1969-12-31T23:59:59.999Z"}"#);
        check(r#"{"$date":{"$numberLong":"253402300800000"}}"#, r#"{"@instant":"+010000-01-01T00:00:00Z"}"#);
        check(r#"{"$numberInt":"-5"}"#, "-5");
        check(r#"{"$numberLong":"9223372036854775807"}"#, "9223372036854775807");
        check(r#"{"$numberDouble":"1.0"}"#, "1.0");
        check(r#"{"$numberDouble":"0.10000000000000001"}"#, "0.1");
        check(r#"{"$numberDouble":"-0"}"#, "-0.0");
        check(r#"{"$numberDouble":"NaN"}"#, r#"{"@float":"NaN"}"#);
        check(r#"{"$numberDecimal":"1.10"}"#, r#"{"@decimal":"1.10"}"#);
        check(r#"{"$numberDecimal":"-Infinity"}"#, r#"{"@decimal":"-Infinity"}"#);
        check("0.10000000000000001", "0.1");
        check("1.000000000000000005", "1.000000000000000005");
        check(r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#, r#"{"@bytes":"AQI="}"#);
        check(r#"{"$binary":"AQI=","$type":"0"}"#, r#"{"@bytes":"AQI="}"#);
        check(r#"{"$type":"00","$binary":"AQI="}"#, r#"{"@bytes":"AQI="}"#);
        let uuid = r#"{"@uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}"#;
        check(r#"{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}"#, uuid);
        check(r#"{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}"#, uuid);
        let binary = r#"{"base64":"AQI=","subType":"05"}"#;
        own(&check, r#"{"$binary":{"base64":"AQI=","subType":"5"}}"#, "binary", binary);
        let regex = r#"{"pattern":"^a","options":"im"}"#;
        own(&check, r#"{"$regularExpression":{"pattern":"^a","options":"mi"}}"#, "regularExpression", regex);
        own(&check, r#"{"$regex":"^a","$options":"im"}"#, "regularExpression", regex);
        own(&check, r#"{"$timestamp":{"t":42,"i":1}}"#, "timestamp", r#"{"t":42,"i":1}"#);
        own(&check, r#"{"$minKey":1}"#, "minKey", "1");
        own(&check, r#"{"$maxKey":1}"#, "maxKey", "1");
        own(&check, r#"{"$symbol":"s"}"#, "symbol", "s");
        own(&check, r#"{"$code":"f()"}"#, "javascript", "f()");
        own(&check, r#"{"$code":"f()","$scope":{"a":1}}"#, "javascriptWithScope", r#"{"code":"f()","scope":{"a":1}}"#);
        own(&check, r#"{"$undefined":true}"#, "undefined", "true");
    }

    #[test]
    fn documents_stay_documents() {
        let check = |text: &str| {
            assert_eq!(read(text), json::parse_untagged(text.as_bytes()), "{text}");
        };
        check(r#"{"$ref":"c","$id":5,"$db":"d"}"#);
        check(r#"{"$unknown":"x"}"#);
        check(r#"{"a":1,"$b":2}"#);
        check(r#"{"@decimal":"1"}"#);
        check("{}");
        let reference = read(r#"{"$ref":"c","$id":{"$oid":"5099803df3f4948bd2f98391"}}"#).unwrap();
        let Value::Document(reference) = reference else { panic!("a DBRef is a document") };
        assert_eq!(reference.get("$id"), Some(&extended("objectId", "5099803df3f4948bd2f98391")));
    }

    #[test]
    fn wrong_wrappers_are_refused_with_their_path() {
        let check = |text: &str, expect: &str| {
            let text = format!("{{\"a\":[0,{{\"b\":{text}}}]}}");
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.message.contains("at `a[1].b`") && error.message.contains(expect), "{text}: {error}");
        };
        check(r#"{"$oid":"5099"}"#, "24 hex digits");
        check(r#"{"$oid":"5099803df3f4948bd2f98391","x":1}"#, "stands alone");
        check(r#"{"$oid":"5099803df3f4948bd2f98391","x":1,"y":2}"#, "stands alone");
        check(r#"{"$date":"2009"}"#, "wrong `$date`");
        check(r#"{"$date":1.5}"#, "ISO text or milliseconds");
        check(r#"{"$date":9223372036854775807}"#, "out of range");
        check(r#"{"$date":"2009-04-01T00:00:00.0000001Z"}"#, "finer than a microsecond");
        check(r#"{"$numberInt":"2147483648"}"#, "in the type's range");
        check(r#"{"$numberLong":"9223372036854775808"}"#, "in the type's range");
        check(r#"{"$numberLong":"+1"}"#, "in the type's range");
        check(r#"{"$numberDouble":"1e400"}"#, "beyond the range");
        check(r#"{"$numberDouble":"inf"}"#, "expected a number");
        check(r#"{"$numberDecimal":"x"}"#, "expected a number");
        check(r#"{"$binary":{"base64":"AQI","subType":"00"}}"#, "expected base64");
        check(r#"{"$binary":{"base64":"AQI=","subType":"xyz"}}"#, "subtype in hex");
        check(r#"{"$timestamp":{"t":-1,"i":1}}"#, "`t` and `i`");
        check(r#"{"$minKey":2}"#, "expected 1");
    }
}
