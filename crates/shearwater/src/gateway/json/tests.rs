//! Both ways, exactly; and what is refused, by name and place.

use proptest::prelude::*;

use super::super::fields::tests::{documents, users};
use super::super::select;
use super::*;

fn rows() -> Codec {
    Codec::of(&users())
}

fn read(text: &str) -> Result<Document, Problem> {
    rows().read(Body::Record, text.as_bytes())
}

fn written(codec: &Codec, record: &Document, select: Option<&Select>) -> String {
    let mut out = Vec::new();
    codec.write(record, select, &mut out);
    String::from_utf8(out).unwrap()
}

/// Reads rows, writes them, and expects this text.
fn check(text: &str, expect: &str) {
    let record = read(text).unwrap_or_else(|problem| panic!("{text}: {}", problem.detail));
    assert_eq!(written(&rows(), &record, None), expect, "{text}");
    assert_eq!(read(expect).unwrap(), record, "{expect} read again");
}

#[test]
fn rows_are_typed_by_their_columns() {
    check(r#"{"id": "a", "age": 21, "active": true}"#, r#"{"id":"a","age":21,"active":true}"#);
    check(r#"{"age":18446744073709551615}"#, r#"{"age":18446744073709551615}"#);
    check(r#"{"joined":"2026-11-22T07:30:00Z"}"#, r#"{"joined":"2026-11-22T07:30:00Z"}"#);
    check(r#"{"joined":{"@instant":"2026-11-22T07:30:00Z"}}"#, r#"{"joined":"2026-11-22T07:30:00Z"}"#);
    check(r#"{"born":"2000-02-29"}"#, r#"{"born":"2000-02-29"}"#);
    check(r#"{"balance":1.10}"#, r#"{"balance":1.10}"#);
    check(r#"{"balance":"1.10"}"#, r#"{"balance":1.10}"#);
    check(r#"{"balance":5}"#, r#"{"balance":5}"#);
    check(
        r#"{"balance":1234567890.1234567890123456789012345678900}"#,
        r#"{"balance":1234567890.1234567890123456789012345678900}"#,
    );
    check(r#"{"score":5}"#, r#"{"score":5.0}"#);
    check(r#"{"photo":"\\x0aff"}"#, r#"{"photo":{"@bytes":"Cv8="}}"#);
    check(r#"{"tag":"9e107d9d-372b-4d8f-8a6e-000000000000"}"#, r#"{"tag":"9e107d9d-372b-4d8f-8a6e-000000000000"}"#);
    check(r#"{"prefs":{"a":[1,{"@decimal":"1.10"}]}}"#, r#"{"prefs":{"a":[1,{"@decimal":"1.10"}]}}"#);
    check(r#"{"id":null}"#, r#"{"id":null}"#);
    check(
        r#"{"addresses":[{"city":"X","since":"2001-01-01"},{}]}"#,
        r#"{"addresses":[{"city":"X","since":"2001-01-01"},{}]}"#,
    );
    check(r#"{"id":"q\"\\\u0000\n"}"#, "{\"id\":\"q\\\"\\\\\\u0000\\n\"}");
}

#[test]
fn a_stores_own_types_keep_their_tag() {
    let mut layout = users();
    let Layout::Rows(shape) = &mut layout else { panic!("not rows") };
    shape.columns[1].ty = FieldType::Extended;
    let name = shape.columns[1].name.clone();
    let codec = Codec::of(&layout);
    let text = format!(r#"{{"{name}":{{"@extended":{{"store":"postgres","type":"inet","text":"::1/128"}}}}}}"#);
    let record = codec.read(Body::Record, text.as_bytes()).unwrap();
    assert!(matches!(record.get(&name), Some(Value::Extended(own)) if own.type_name == "inet"), "{record:?}");
    assert_eq!(written(&codec, &record, None), text);
}

fn refuse(text: &str, kind: Kind, field: Option<&str>, detail: &str) {
    let problem = read(text).expect_err(text);
    assert_eq!((problem.kind, problem.field.as_deref(), problem.detail.as_str()), (kind, field, detail), "{text}");
}

#[test]
fn wrong_types_are_refused_by_the_name_of_the_field() {
    refuse(r#"{"age":"21"}"#, Kind::Unprocessable, Some("age"), "age: expected an integer");
    refuse(r#"{"age":1.5}"#, Kind::Unprocessable, Some("age"), "age: expected an integer");
    refuse(r#"{"age":1.0}"#, Kind::Unprocessable, Some("age"), "age: expected an integer");
    refuse(r#"{"id":5}"#, Kind::Unprocessable, Some("id"), "id: expected text");
    refuse(r#"{"active":1}"#, Kind::Unprocessable, Some("active"), "active: expected true or false");
    refuse(r#"{"score":9007199254740993}"#, Kind::Unprocessable, Some("score"), "score: expected a number");
    refuse(r#"{"born":"2001-02-29"}"#, Kind::Unprocessable, Some("born"), "born: expected a date such as 2026-11-22");
    refuse(
        r#"{"born":{"@instant":"2026-11-22T07:30:00Z"}}"#,
        Kind::Unprocessable,
        Some("born"),
        "born: expected a date such as 2026-11-22",
    );
    refuse(r#"{"nope":1}"#, Kind::Unprocessable, Some("nope"), "there is no field nope");
    refuse(r#"{"addresses":5}"#, Kind::Unprocessable, Some("addresses"), "addresses: expected a list of objects");
    refuse(r#"{"addresses":null}"#, Kind::Unprocessable, Some("addresses"), "addresses: expected a list of objects");
    refuse(r#"{"addresses":["x"]}"#, Kind::Unprocessable, Some("addresses[0]"), "addresses[0]: expected an object");
    refuse(
        r#"{"addresses":[{"city":5}]}"#,
        Kind::Unprocessable,
        Some("addresses[0].city"),
        "addresses[0].city: expected text",
    );
    refuse(
        r#"{"age":1,"age":2}"#,
        Kind::BadJson,
        None,
        "field name \"age\" stands twice in one document, again at byte 9",
    );
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for text in [
        "",
        "[]",
        "5",
        "{",
        "{\"age\"}",
        "{\"age\":}",
        "{\"age\":1,}",
        "{\"age\":01}",
        "{\"age\":1}x",
        "{\"id\":\"\\ud800\"}",
    ] {
        let problem = read(text).expect_err(text);
        assert_eq!(problem.kind, Kind::BadJson, "{text}: {}", problem.detail);
        assert!(problem.detail.contains("at byte"), "{text}: {}", problem.detail);
    }
}

#[test]
fn a_patch_may_remove_a_list() {
    let patch = rows().read(Body::Patch, br#"{"addresses":null,"age":null}"#).unwrap();
    assert_eq!(patch.get("addresses"), Some(&Value::Null));
}

#[test]
fn arrays_of_records_are_read_one_by_one() {
    let many = |text: &str| rows().read_many(text.as_bytes());
    assert_eq!(many("[]"), Ok(Many::Array(vec![])));
    let ids = many(r#"[{"id":"a"},{"id":"b"}]"#).unwrap();
    assert!(matches!(ids, Many::Array(records) if records.len() == 2));
    assert!(matches!(many(r#"{"id":"a"}"#), Ok(Many::One(_))));
    assert_eq!(many("[{\"id\":\"a\"},5]").unwrap_err().detail, "expected a JSON object at byte 12");
    assert_eq!(many("[{}").unwrap_err().kind, Kind::BadJson);
}

fn check_select(codec: &Codec, layout: &Layout, record: &str, asked: &str, expect: &str) {
    let record = codec.read(Body::Record, record.as_bytes()).unwrap();
    let select = select::read(layout, asked).unwrap();
    assert_eq!(written(codec, &record, Some(&select)), expect, "{asked}");
}

#[test]
fn selections_of_rows_keep_the_columns_types() {
    let record = r#"{"id":"a","born":"2000-01-01","addresses":[{"city":"X","since":"2001-01-01","extra":{"n":1}}],"extra":{"k":{"@date":"2000-01-01"}}}"#;
    let check = |asked: &str, expect: &str| check_select(&rows(), &users(), record, asked, expect);
    check("id", r#"{"id":"a"}"#);
    check("birthday:born,id", r#"{"birthday":"2000-01-01","id":"a"}"#);
    check("age", "{}");
    check("extra->k", r#"{"k":{"@date":"2000-01-01"}}"#);
    check("addresses(since)", r#"{"addresses":[{"since":"2001-01-01"}]}"#);
    check("first:addresses[0]", r#"{"first":{"city":"X","since":"2001-01-01","extra":{"n":1}}}"#);
    check("moved:addresses[0].since", r#"{"moved":"2001-01-01"}"#);
    check("addresses(*,n:extra->n)", r#"{"addresses":[{"city":"X","since":"2001-01-01","extra":{"n":1},"n":1}]}"#);
    check(
        "*,id:born",
        r#"{"born":"2000-01-01","addresses":[{"city":"X","since":"2001-01-01","extra":{"n":1}}],"extra":{"k":{"@date":"2000-01-01"}},"id":"2000-01-01"}"#,
    );
}

#[test]
fn selections_of_documents_go_inside() {
    let codec = Codec::of(&documents());
    let record = r#"{"_id":1,"tags":[{"a":1,"b":2},"plain"],"address":{"city":"X","zip":"1"},"gone":null}"#;
    let check = |asked: &str, expect: &str| check_select(&codec, &documents(), record, asked, expect);
    check("address->>city", r#"{"city":"X"}"#);
    check("address(city)", r#"{"address":{"city":"X"}}"#);
    check("tags(b)", r#"{"tags":[{"b":2},"plain"]}"#);
    check("gone,missing", r#"{"gone":null}"#);
}

#[test]
fn documents_are_tagged_json_both_ways() {
    let codec = Codec::of(&documents());
    for text in [r#"{"_id":1,"when":{"@instant":"2026-11-22T07:30:00Z"}}"#, r#"{"a":{"@document":{"@x":1}}}"#, "{}"] {
        let record = codec.read(Body::Record, text.as_bytes()).unwrap();
        assert_eq!(written(&codec, &record, None), text);
    }
}

fn row() -> impl Strategy<Value = Document> {
    let decimal = (any::<bool>(), proptest::collection::vec(0_u8..10, 1..30), -5..40_i32).prop_map(
        |(negative, mut digits, scale)| {
            while digits.len() > 1 && digits[0] == 0 {
                digits.remove(0);
            }
            Value::Decimal(shearwater_core::value::Decimal::Finite { negative, digits, scale })
        },
    );
    let micros = -62_000_000_000_000_000_i64..253_000_000_000_000_000;
    (".*", any::<i64>(), any::<f64>(), decimal, micros, any::<u128>(), any::<Vec<u8>>(), ".*").prop_map(
        |(id, age, score, balance, micros, tag, photo, city)| {
            let mut element = Document::new();
            element.set("city", city);
            let mut record = Document::new();
            record.set("id", id);
            record.set("age", age);
            record.set("score", score);
            record.set("balance", balance);
            record.set("joined", Value::Instant(shearwater_core::value::Instant::Micros(micros)));
            record.set("tag", Value::Uuid(shearwater_core::value::Uuid::from_u128(tag)));
            record.set("photo", Value::Bytes(photo));
            record.set("addresses", Value::Array(vec![Value::Document(element)]));
            record
        },
    )
}

proptest! {
    #[test]
    fn any_row_comes_back_exactly(record in row()) {
        let text = written(&rows(), &record, None);
        prop_assert_eq!(read(&text).map_err(|problem| problem.detail), Ok(record), "{}", text);
    }

    #[test]
    fn no_body_panics(text in "[\\[\\]{}\",:\\\\aged1.]{0,40}") {
        let _ = read(&text);
        let _ = rows().read_many(text.as_bytes());
    }
}
