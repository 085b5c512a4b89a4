//! BSON from values of core: the other way of [`super::value`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shearwater_core::value::{Extended, Instant, json};
use shearwater_core::{Document, Value};

use super::decimal;
use super::raw::{Doc, Element, Elements, Owned, string_bytes, ty};
use super::value::{FAMILY, tagged, value as read};

/// Bytes of no particular kind.
pub(super) const BINARY_PLAIN: u8 = 0;

/// The form of bytes that was used before.
pub(super) const BINARY_OLD: u8 = 2;

/// A UUID.
pub(super) const BINARY_UUID: u8 = 4;

/// Why a value has no BSON, and in which field of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) field: String,
    pub(super) what: &'static str,
}

/// A value without a place.
pub(super) fn value(value: &Value) -> Result<Owned, Unfit> {
    value_beside(value, None)
}

/// A document as a record's part: never taken for a tag.
pub(super) fn document(document: &Document, held: Option<&[u8]>) -> Result<Vec<u8>, Unfit> {
    let mut out = Doc::new();
    fields(&mut out, document, held)?;
    Ok(out.end())
}

/// Appends fields. `held` is the document that stands there now: an integer
/// that had 64 bits keeps them.
pub(super) fn fields(out: &mut Doc, document: &Document, held: Option<&[u8]>) -> Result<(), Unfit> {
    for (name, value) in document.iter() {
        if name.contains('\0') {
            return Err(Unfit { field: name.to_owned(), what: "a field's name holds U+0000, which BSON cannot" });
        }
        let beside = held.and_then(|held| super::raw::find(held, name));
        let element = value_beside(value, beside).map_err(|unfit| Unfit { field: name.to_owned(), ..unfit })?;
        out.put(name, element.get());
    }
    Ok(())
}

fn value_beside(value: &Value, held: Option<Element<'_>>) -> Result<Owned, Unfit> {
    Ok(match value {
        Value::Null => Owned::new(ty::NULL, []),
        Value::Bool(b) => Owned::new(ty::BOOL, [u8::from(*b)]),
        Value::Int(n) => int(*n, held),
        Value::UInt(n) => tag("@int", &n.to_string()),
        Value::Float(x) => Owned::new(ty::DOUBLE, x.to_le_bytes()),
        Value::Decimal(d) => match decimal::to_bytes(d) {
            Some(bytes) => Owned::new(ty::DECIMAL128, bytes),
            None => tag("@decimal", &d.to_string()),
        },
        Value::Text(text) => Owned::string(text),
        Value::Bytes(bytes) => binary(BINARY_PLAIN, bytes),
        Value::Date(date) => tag("@date", &date.to_string()),
        Value::Time(time) => tag("@time", &time.to_string()),
        Value::Local(timestamp) => tag("@timestamp", &timestamp.to_string()),
        Value::Instant(Instant::Micros(micros)) if micros % 1_000 == 0 => {
            Owned::new(ty::DATE, (micros / 1_000).to_le_bytes())
        }
        Value::Instant(instant) => tag("@instant", &instant.to_string()),
        Value::Uuid(uuid) => binary(BINARY_UUID, uuid.as_bytes()),
        Value::Array(items) => array(items, held)?,
        Value::Document(inner) => {
            let bytes = document(inner, held.filter(|held| held.ty == ty::DOCUMENT).map(|held| held.bytes))?;
            match tagged(&bytes, 0) {
                None => Owned::new(ty::DOCUMENT, bytes),
                Some(_) => Owned::new(ty::DOCUMENT, {
                    let mut out = Doc::new();
                    out.document("@document", &bytes);
                    out.end()
                }),
            }
        }
        Value::Extended(own) => extended(value, own),
    })
}

/// 32 bits where they are enough, as the drivers do, unless the field has 64.
fn int(n: i64, held: Option<Element<'_>>) -> Owned {
    match i32::try_from(n) {
        Ok(n) if held.is_none_or(|held| held.ty != ty::INT64) => Owned::new(ty::INT32, n.to_le_bytes()),
        _ => Owned::new(ty::INT64, n.to_le_bytes()),
    }
}

fn array(items: &[Value], held: Option<Element<'_>>) -> Result<Owned, Unfit> {
    let mut beside = held.filter(|held| held.ty == ty::ARRAY).and_then(|held| Elements::of(held.bytes).ok());
    let mut out = Doc::new();
    for (place, item) in items.iter().enumerate() {
        let held = beside.as_mut().and_then(|held| held.next()?.ok()).map(|(_, element)| element);
        out.put(&place.to_string(), value_beside(item, held)?.get());
    }
    Ok(Owned::new(ty::ARRAY, out.end()))
}

pub(super) fn binary(subtype: u8, content: &[u8]) -> Owned {
    let mut bytes = Vec::with_capacity(content.len() + 9);
    let extra = if subtype == BINARY_OLD { 4 } else { 0 };
    bytes.extend_from_slice(&(content.len() as i32 + extra).to_le_bytes());
    bytes.push(subtype);
    if subtype == BINARY_OLD {
        bytes.extend_from_slice(&(content.len() as i32).to_le_bytes());
    }
    bytes.extend_from_slice(content);
    Owned::new(ty::BINARY, bytes)
}

fn tag(name: &str, text: &str) -> Owned {
    let mut out = Doc::new();
    out.text(name, text);
    Owned::new(ty::DOCUMENT, out.end())
}

/// Another store's own type, and what says that it is ours but is not as we
/// read it, stand as their texts.
fn extended(value: &Value, own: &Extended) -> Owned {
    let ours = (own.store == FAMILY).then(|| native(own)).flatten();
    if let Some(element) = ours.filter(|element| read(element.get()).as_ref() == Ok(value)) {
        return element;
    }
    let mut out = Doc::new();
    out.begin("@extended").text("store", &own.store).text("type", &own.type_name).text("text", &own.text);
    Owned::new(ty::DOCUMENT, out.end())
}

fn native(own: &Extended) -> Option<Owned> {
    let text = own.text.as_str();
    Some(match own.type_name.as_str() {
        "objectId" => Owned::new(ty::OBJECT_ID, from_hex(text)?),
        "timestamp" => {
            let parts = json::parse_document(text.as_bytes()).ok()?;
            let part = |name: &str| match parts.get(name) {
                Some(Value::Int(n)) => u32::try_from(*n).ok(),
                _ => None,
            };
            Owned::new(ty::TIMESTAMP, [part("i")?.to_le_bytes(), part("t")?.to_le_bytes()].concat())
        }
        "regularExpression" => {
            let parts = json::parse_document(text.as_bytes()).ok()?;
            let (pattern, options) = (text_of(&parts, "pattern")?, text_of(&parts, "options")?);
            if pattern.contains('\0') || options.contains('\0') {
                return None;
            }
            Owned::new(ty::REGEX, [pattern.as_bytes(), &[0], options.as_bytes(), &[0]].concat())
        }
        "binary" => {
            let parts = json::parse_document(text.as_bytes()).ok()?;
            let subtype = u8::from_str_radix(text_of(&parts, "subType")?, 16).ok()?;
            binary(subtype, &BASE64.decode(text_of(&parts, "base64")?).ok()?)
        }
        "minKey" => Owned::new(ty::MIN_KEY, []),
        "maxKey" => Owned::new(ty::MAX_KEY, []),
        "undefined" => Owned::new(ty::UNDEFINED, []),
        "symbol" => Owned::new(ty::SYMBOL, string_bytes(text)),
        "javascript" => Owned::new(ty::CODE, string_bytes(text)),
        "javascriptWithScope" => {
            let parts = json::parse_document(text.as_bytes()).ok()?;
            let Some(Value::Document(scope)) = parts.get("scope") else { return None };
            let (code, scope) = (string_bytes(text_of(&parts, "code")?), document(scope, None).ok()?);
            let length = (code.len() + scope.len()) as i32 + 4;
            Owned::new(ty::CODE_WITH_SCOPE, [&length.to_le_bytes()[..], &code, &scope].concat())
        }
        "dbPointer" => {
            let parts = json::parse_document(text.as_bytes()).ok()?;
            let Some(Value::Extended(id)) = parts.get("$id") else { return None };
            let id = from_hex(&id.text).filter(|id| id.len() == 12)?;
            Owned::new(ty::DB_POINTER, [string_bytes(text_of(&parts, "$ref")?), id].concat())
        }
        "date" => Owned::new(ty::DATE, text.parse::<i64>().ok()?.to_le_bytes()),
        "decimal128" => Owned::new(ty::DECIMAL128, u128::from_str_radix(text, 16).ok()?.to_le_bytes()),
        _ => return None,
    })
    .filter(|element| element.ty != ty::OBJECT_ID || element.bytes.len() == 12)
}

fn text_of<'a>(parts: &'a Document, name: &str) -> Option<&'a str> {
    match parts.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{self, Bson, Document as BsonDocument, RawDocumentBuf, doc, oid::ObjectId};
    use shearwater_core::value::mongo_json;

    use super::super::value;
    use super::value as value_of;
    use super::*;

    fn bytes(document: &BsonDocument) -> Vec<u8> {
        RawDocumentBuf::try_from(document).unwrap().into_bytes()
    }

    /// Everything that BSON has, as the driver writes it.
    fn everything() -> BsonDocument {
        let oid = ObjectId::parse_str("5099803df3f4948bd2f98391").unwrap();
        let binary = |subtype, bytes: &[u8]| bson::Binary { subtype, bytes: bytes.to_vec() };
        let mut all = doc! {
            "_id": oid, "int": 5i32, "long": 5i64, "far": i64::MIN, "double": 5.0, "zero": -0.0, "nan": f64::NAN,
            "text": "a\0b", "": "", "a.b": 1, "$c": 2, " d ": 3, "doc": { "z": 1, "a": { "empty": {} } },
            "list": [1, 5i64, "x", [null], { "k": 1i64 }], "yes": true, "null": null,
            "date": bson::DateTime::from_millis(-1), "far date": bson::DateTime::from_millis(i64::MAX),
            "decimal": "1.10".parse::<bson::Decimal128>().unwrap(),
            "stamp": bson::Timestamp { time: 42, increment: u32::MAX },
            "plain": binary(bson::spec::BinarySubtype::Generic, b"x"),
            "old": binary(bson::spec::BinarySubtype::BinaryOld, b"x"),
            "uuid": bson::Uuid::from_bytes([7; 16]), "short uuid": binary(bson::spec::BinarySubtype::Uuid, b"x"),
            "user": binary(bson::spec::BinarySubtype::UserDefined(0x85), b""),
            "min": Bson::MinKey, "max": Bson::MaxKey, "gone": Bson::Undefined,
        };
        all.insert("symbol", Bson::Symbol("s".into()));
        all.insert("code", Bson::JavaScriptCode("f()".into()));
        let scoped = bson::JavaScriptCodeWithScope { code: "f()".into(), scope: doc! { "a": 1 } };
        all.insert("scoped", Bson::JavaScriptCodeWithScope(scoped));
        let text = |text: &str| text.to_owned().try_into().unwrap();
        all.insert("regex", Bson::RegularExpression(bson::Regex { pattern: text("^a\""), options: text("im") }));
        all
    }

    #[test]
    fn everything_comes_back_byte_by_byte_where_it_stood() {
        let mut all = bytes(&everything());
        // The driver makes no DBPointer and no odd decimal.
        let mut more = Doc::new();
        for element in Elements::of(&all).unwrap() {
            let (name, element) = element.unwrap();
            more.put(name, element);
        }
        let pointer = [string_bytes("c"), vec![7; 12]].concat();
        more.put("pointer", Element { ty: ty::DB_POINTER, bytes: &pointer });
        more.put("odd", Element { ty: ty::DECIMAL128, bytes: &[0xff; 16] });
        all = more.end();
        let read = value::document(&all).unwrap();
        assert_eq!(document(&read, Some(&all)).unwrap(), all);
        // Written where nothing stands, only the width of small integers differs.
        let fresh = document(&read, None).unwrap();
        assert_eq!(value::document(&fresh).unwrap(), read);
    }

    #[test]
    fn an_import_and_the_connector_agree() {
        let own = r#"{"_id":{"$oid":"5099803df3f4948bd2f98391"},"t":{"$timestamp":{"t":42,"i":1}},
            "r":{"$regularExpression":{"pattern":"^a","options":"im"}},"b":{"$binary":{"base64":"eA==","subType":"02"}},
            "m":{"$minKey":1},"M":{"$maxKey":1},"s":{"$symbol":"s"},"c":{"$code":"f()"},"u":{"$undefined":true},
            "w":{"$code":"f()","$scope":{"a":{"$numberLong":"1"}}},"d":{"$date":{"$numberLong":"-1"}},
            "p":{"$dbPointer":{"$ref":"c","$id":{"$oid":"5099803df3f4948bd2f98391"}}},"D":{"$numberDecimal":"1.10"}}"#;
        let Value::Document(imported) = mongo_json::parse(own.as_bytes()).unwrap() else { panic!("a document") };
        let stored = document(&imported, None).unwrap();
        let types: Vec<u8> = Elements::of(&stored).unwrap().map(|element| element.unwrap().1.ty).collect();
        assert_eq!(types, [0x07, 0x11, 0x0B, 0x05, 0xFF, 0x7F, 0x0E, 0x0D, 0x06, 0x0F, 0x09, 0x0C, 0x13]);
        assert_eq!(value::document(&stored).unwrap(), imported);
    }

    #[test]
    fn what_bson_does_not_have_comes_back_too() {
        let check = |text: &str| {
            let given = json::parse(text.as_bytes()).unwrap();
            let stored = value_of(&given).unwrap();
            assert_eq!(value::value(stored.get()).unwrap(), given, "{text}");
            let there = Value::Document([("f", given)].into_iter().collect());
            assert_eq!(value::value(value_of(&there).unwrap().get()).unwrap(), there, "{text}");
        };
        check("18446744073709551615");
        check(r#"{"@decimal":"12345678901234567890123456789012345"}"#);
        check(r#"{"@decimal":"1e-7000"}"#);
        check(r#"{"@date":"2024-02-29"}"#);
        check(r#"{"@date":"infinity"}"#);
        check(r#"{"@time":"24:00:00"}"#);
        check(r#"{"@timestamp":"-infinity"}"#);
        check(r#"{"@instant":"2024-02-29T12:00:00.000001Z"}"#);
        check(r#"{"@instant":"infinity"}"#);
        check(r#"{"@extended":{"store":"mysql","type":"set","text":"a,b"}}"#);
        check(r#"{"@extended":{"store":"mongodb","type":"objectId","text":"no hex"}}"#);
        check(r#"{"@extended":{"store":"mongodb","type":"binary","text":"{\"base64\":\"eA==\",\"subType\":\"00\"}"}}"#);
        check(r#"{"@document":{"@date":"2024-02-29"}}"#);
        check(r#"{"@document":{"@document":{"@document":{"@time":"00:00:00"}}}}"#);
        check(r#"{"@document":{"@date":{"@date":"2024-02-29"}}}"#);
        check(r#"{"@document":{"@type":"Person"}}"#);
    }

    #[test]
    fn documents_that_only_look_like_ours_stay_documents() {
        let check = |given: BsonDocument| {
            let all = bytes(&doc! { "f": given.clone() });
            let read = value::document(&all).unwrap();
            assert!(matches!(read.get("f"), Some(Value::Document(_))), "{given}");
            assert_eq!(document(&read, Some(&all)).unwrap(), all, "{given}");
        };
        check(doc! { "@date": "yesterday" });
        check(doc! { "@date": "2024-2-29" });
        check(doc! { "@decimal": "1" });
        check(doc! { "@int": "5" });
        check(doc! { "@date": "2024-02-29", "more": 1 });
        check(doc! { "@document": { "a": 1 } });
        check(doc! { "@extended": { "store": "mongodb", "type": "minKey", "text": "1" } });
        check(doc! { "@type": "Person" });
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_by_name() {
        let mut twice = Doc::new();
        twice.begin("a").int("b", 1).int("b", 2).close();
        let error = value::document(&twice.end()).unwrap_err().told();
        assert!(error.contains("`a`") && error.contains("\"b\""), "{error}");
        let name: Document = [("a\0", 1i64)].into_iter().collect();
        assert_eq!(document(&name, None).unwrap_err().field, "a\0");
    }
}
