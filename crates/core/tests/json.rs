//! Our JSON: strict, exact, there and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;

use proptest::prelude::*;
use shearwater_core::limits::JSON_DEPTH_MAX;
use shearwater_core::value::{Decimal, Document, Extended, Instant, Value, json};

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

#[test]
fn the_parsing_suite_is_answered_as_it_says() {
    let (mut accepted, mut refused, mut either) = (0, 0, 0);
    for (name, bytes) in given::files("nasty/json-test-suite/test_parsing") {
        let answers = [json::parse(&bytes), json::parse_untagged(&bytes)];
        for answer in answers {
            match (&name[..2], &answer) {
                ("y_", Ok(value)) => {
                    accepted += 1;
                    assert_eq!(json::parse(json::to_string(value).as_bytes()).as_ref(), Ok(value), "{name}");
                }
                // Two files of the suite hold a repeated name, which is ours to refuse.
                ("y_", Err(e)) if name.starts_with("y_object_duplicated_key") => {
                    assert!(e.message.contains("stands twice"), "{name}: {e}");
                    refused += 1;
                }
                ("n_", Err(e)) => {
                    refused += 1;
                    assert!(e.at_byte <= bytes.len(), "{name}: {e}");
                }
                ("i_", _) => either += 1,
                _ => panic!("{name}: {answer:?}"),
            }
        }
    }
    assert!(accepted >= 180 && refused >= 370 && either >= 60, "{accepted} {refused} {either}");
}

#[test]
fn implementation_defined_inputs_are_exact_or_refused() {
    let check = |name: &str, expect: Result<Value, &str>| {
        let bytes = given::bytes(&format!("nasty/json-test-suite/test_parsing/{name}.json"));
        match (json::parse(&bytes), expect) {
            (Ok(Value::Array(items)), Ok(value)) => assert_eq!(items, [value], "{name}"),
            (Err(e), Err(part)) => assert!(e.message.contains(part), "{name}: {e}"),
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    };
    check("i_number_huge_exp", Err("the exponent is out of range"));
    check("i_number_double_huge_neg_exp", Ok(decimal("123.456e-789")));
    check("i_number_real_underflow", Ok(decimal("123e-10000000")));
    check("i_number_pos_double_huge_exp", Ok(decimal("1.5e+9999")));
    check("i_number_too_big_neg_int", Ok(decimal("-123123123123123123123123123123")));
    check("i_number_very_big_negative_int", Ok(decimal("-237462374673276894279832749832423479823246327846")));
    check("i_string_lone_second_surrogate", Err("surrogate"));
    check("i_string_1st_valid_surrogate_2nd_invalid", Err("surrogate"));
    check("i_string_inverted_surrogates_U+1D11E", Err("surrogate"));
    check("i_object_key_lone_2nd_surrogate", Err("surrogate"));
    check("i_string_UTF-8_invalid_sequence", Err("not valid UTF-8"));
    check("i_string_UTF-16LE_with_BOM", Err("the text is UTF-16"));
    check("i_structure_UTF-8_BOM_empty_object", Err("byte order mark"));
    check("i_structure_500_nested_arrays", Err("nested deeper than 128 levels"));
}

#[test]
fn the_transform_suite_shows_no_silent_damage() {
    let check = |name: &str, expect: Result<Vec<Value>, &str>| {
        let bytes = given::bytes(&format!("nasty/json-test-suite/test_transform/{name}.json"));
        match (json::parse(&bytes), expect) {
            (Ok(Value::Array(items)), Ok(expect)) => {
                assert_eq!(items, expect, "{name}");
                let array = Value::Array(items);
                assert_eq!(json::parse(json::to_string(&array).as_bytes()), Ok(array), "{name}");
            }
            (Err(e), Err(part)) => assert!(e.message.contains(part), "{name}: {e}"),
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    };
    check("number_-9223372036854775808", Ok(vec![Value::Int(i64::MIN)]));
    check("number_-9223372036854775809", Ok(vec![decimal("-9223372036854775809")]));
    check("number_1.0", Ok(vec![Value::Float(1.0)]));
    check("number_1.000000000000000005", Ok(vec![decimal("1.000000000000000005")]));
    check("number_1000000000000000", Ok(vec![Value::Int(1_000_000_000_000_000)]));
    check("number_10000000000000000999", Ok(vec![Value::UInt(10_000_000_000_000_000_999)]));
    check("number_1e-999", Ok(vec![decimal("1E-999")]));
    check("number_1e6", Ok(vec![Value::Float(1e6)]));
    check("number_9223372036854775807", Ok(vec![Value::Int(i64::MAX)]));
    check("number_9223372036854775808", Ok(vec![Value::UInt(9_223_372_036_854_775_808)]));
    for name in ["string_1_escaped", "string_2_escaped", "string_3_escaped", "string_1", "string_2", "string_3"] {
        let many = if name.starts_with("string_1") { "" } else { "s" };
        let expect = if name.ends_with("escaped") { "surrogate" } else { "not valid UTF-8" };
        check(&format!("{name}_invalid_codepoint{many}"), Err(expect));
    }
    check("string_with_escaped_NULL", Ok(vec!["A\0B".into()]));
    for name in ["different_values", "same_value", "unclear_values"] {
        let bytes = given::bytes(&format!("nasty/json-test-suite/test_transform/object_same_key_{name}.json"));
        assert!(json::parse(&bytes).unwrap_err().message.contains("stands twice"), "{name}");
    }
    for name in ["nfc_nfd", "nfd_nfc"] {
        let bytes = given::bytes(&format!("nasty/json-test-suite/test_transform/object_key_{name}.json"));
        assert_eq!(json::parse_document(&bytes).unwrap().len(), 2, "{name}: two names that only look equal");
    }
}

#[test]
fn numbers_become_what_they_say() {
    let check = |text: &str, expect: Value| {
        let value = json::parse(text.as_bytes()).unwrap();
        assert_eq!(value, expect, "{text}");
        assert_eq!(json::parse(json::to_string(&value).as_bytes()).unwrap(), value, "{text} there and back");
    };
    check("0", Value::Int(0));
    check("-0", Value::Float(-0.0));
    check("-0.0", Value::Float(-0.0));
    check("0e99999", Value::Float(0.0));
    check("-1", Value::Int(-1));
    check("18446744073709551615", Value::UInt(u64::MAX));
    check("18446744073709551616", decimal("18446744073709551616"));
    check("1.10", Value::Float(1.1));
    check("0.1", Value::Float(0.1));
    check("0.10000000000000001", decimal("0.10000000000000001"));
    check(
        "0.1000000000000000055511151231257827021181583404541015625",
        decimal("0.1000000000000000055511151231257827021181583404541015625"),
    );
    check("1.463179736705023", Value::Float(1.463179736705023));
    check("100000000000000000000.0", Value::Float(1e20));
    check("1e23", Value::Float(1e23));
    check("5e-324", Value::Float(5e-324));
    check("4.9e-324", decimal("4.9e-324"));
    check("1.7976931348623157e308", Value::Float(f64::MAX));
    check("1e400", decimal("1e400"));
    check("123456789012345678901234567890.10", decimal("123456789012345678901234567890.10"));
}

#[test]
fn values_are_written_plain_or_tagged() {
    let check = |value: Value, expect: &str| {
        assert_eq!(json::to_string(&value), expect);
        assert_eq!(json::parse(expect.as_bytes()), Ok(value), "{expect}");
    };
    let one = |name: &str, value: Value| Value::Document([(name, value)].into_iter().collect::<Document>());
    check(Value::Float(1.0), "1.0");
    check(Value::Float(1e300), "1e300");
    check(Value::Int(i64::MIN), "-9223372036854775808");
    check(decimal("1.10"), r#"{"@decimal":"1.10"}"#);
    check(decimal("12"), r#"{"@decimal":"12"}"#);
    check(decimal("99999999999999999999"), "99999999999999999999");
    check(decimal("NaN"), r#"{"@decimal":"NaN"}"#);
    check(Value::Float(f64::NAN), r#"{"@float":"NaN"}"#);
    check(Value::Float(f64::from_bits(0xfff8_0000_0000_0001)), r#"{"@float":"NaN:fff8000000000001"}"#);
    check(Value::Float(f64::NEG_INFINITY), r#"{"@float":"-Infinity"}"#);
    check(Value::Bytes(vec![0, 255, 1]), r#"{"@bytes":"AP8B"}"#);
    check(Value::Instant(Instant::Micros(1)), r#"{"@instant":"1970-01-01T00:00:00.000001Z"}"#);
    check(Value::Instant(Instant::NegInfinity), r#"{"@instant":"-infinity"}"#);
    check(Value::text("\u{0}\u{1f}\"\\/\n\u{7f}€😀"), "\"\\u0000\\u001f\\\"\\\\/\\n\u{7f}€😀\"");
    let own = Extended { store: "mongodb".into(), type_name: "objectId".into(), text: "ab".into() };
    let own = Value::Extended(Box::new(own));
    check(own, r#"{"@extended":{"store":"mongodb","type":"objectId","text":"ab"}}"#);
    check(one("@decimal", "1".into()), r#"{"@document":{"@decimal":"1"}}"#);
    check(one("@", Value::Null), r#"{"@document":{"@":null}}"#);
    check(one("@document", decimal("1.0")), r#"{"@document":{"@document":{"@decimal":"1.0"}}}"#);
    check(one("@document", one("@x", Value::Int(1))), r#"{"@document":{"@document":{"@document":{"@x":1}}}}"#);
    check(
        Value::Document([("@document", one("@x", Value::Int(1))), ("b", Value::Null)].into_iter().collect()),
        r#"{"@document":{"@document":{"@x":1}},"b":null}"#,
    );
    check(
        Value::Document([("@decimal", Value::Int(1)), ("@x", decimal("1"))].into_iter().collect()),
        r#"{"@decimal":1,"@x":{"@decimal":"1"}}"#,
    );
}

#[test]
fn wrong_texts_are_refused_with_their_place() {
    let check = |text: &str, at_byte: usize, message: &str| {
        let error = json::parse(text.as_bytes()).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.at_byte, at_byte, "{text}: {error}");
    };
    check("", 0, "the text ends, expected a value");
    check("{\"a\":1,\"a\":2}", 7, "field name \"a\" stands twice");
    check("[1] 2", 4, "expected the end of the text");
    check("\"a\nb\"", 2, "control character");
    check("\"\\ud800\"", 1, "surrogate");
    check("[01]", 1, "does not begin with 0");
    check("[1.]", 3, "after the point");
    check("\u{feff}1", 0, "byte order mark");
    check("[{\"@decimal\":\"x\"}]", 1, "the content of `@decimal` is wrong");
    check("{\"@decimal\":1}", 0, "is int, expected text");
    check("{\"@oops\":1}", 0, "{\"@document\": {…}}");
    check("{\"@oops\":\"\"}", 0, "unknown tag \"@oops\"");
    check("{\"@document\":1}", 0, "expected a document");
    check("{\"@extended\":{\"store\":\"a\",\"type\":\"b\"}}", 0, "`store`, `type` and `text`");
    check("{\"@extended\":{\"store\":\"a\",\"type\":\"b\",\"text\":\"c\",\"d\":1}}", 0, "`store`, `type` and `text`");
    check("{\"@bytes\":\"AP8\"}", 0, "base64");
    check("{\"@float\":\"1.0\"}", 0, "expected NaN");
    check("{\"@float\":\"NaN:7ff0000000000000\"}", 0, "expected NaN");
    check("{\"@uuid\":\"00000000000000000000000000000000\"}", 0, "hyphenated");
    check("{\"@instant\":\"2020-01-01T00:00:60Z\"}", 0, "leap second");
}

#[test]
fn a_repeated_name_is_found_in_a_wide_document() {
    let fields: Vec<String> = (0..5_000).map(|i| format!("\"f{i}\":{i}")).collect();
    let text = format!("{{{}}}", fields.join(","));
    assert_eq!(json::parse_document(text.as_bytes()).unwrap().len(), 5_000);
    let text = format!("{{{},\"f17\":0}}", fields.join(","));
    assert!(json::parse(text.as_bytes()).unwrap_err().message.contains("\"f17\" stands twice"));
}

#[test]
fn untagged_keeps_documents_that_look_like_tags() {
    let text = br#"{"@decimal":"1","b":{"@x":{"@document":2}}}"#;
    let value = json::parse_untagged(text).unwrap();
    assert_eq!(value.type_name(), "document");
    assert_eq!(json::parse(json::to_string(&value).as_bytes()), Ok(value));
    assert!(matches!(json::parse_untagged(br#"{"@decimal":"1"}"#), Ok(Value::Document(_))));
    assert!(json::parse_document(b"[]").unwrap_err().message.contains("found array, expected a document"));
}

#[test]
fn depth_is_bounded_by_values_and_never_overflows() {
    let nest = |open: &str, close: &str, levels: usize, inner: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(json::parse(nest(open, close, JSON_DEPTH_MAX, "1").as_bytes()).is_ok(), "{open}");
        let deeper = json::parse(nest(open, close, JSON_DEPTH_MAX + 1, "1").as_bytes()).unwrap_err();
        assert!(deeper.message.contains("nested deeper"), "{open}: {deeper}");
    }
    // A tag is no level: the deepest value may be tagged, and each level escaped.
    let tagged = nest("[", "]", JSON_DEPTH_MAX, "{\"@decimal\":\"1.0\"}");
    let value = json::parse(tagged.as_bytes()).unwrap();
    assert_eq!(json::to_string(&value), tagged);
    let escaped = nest("{\"@document\":{\"@a\":", "}}", JSON_DEPTH_MAX, "1");
    let value = json::parse(escaped.as_bytes()).unwrap();
    assert_eq!(json::to_string(&value), escaped);
    for open in ["[", "{\"a\":", "{\"@document\":", "{\"@x\":", "{\"@extended\":", "[{\"@document\":{\"a\":"] {
        for text in [open.repeat(100_000), nest(open, "}", 100_000, "1")] {
            assert!(json::parse(text.as_bytes()).is_err(), "{open}");
            assert!(json::parse_untagged(text.as_bytes()).is_err(), "{open}");
        }
    }
}

#[test]
fn naughty_strings_survive_as_values_and_names() {
    let strings = given::naughty_strings();
    let mut document = Document::new();
    for text in &strings {
        let value = Value::text(text.as_str());
        assert_eq!(json::parse(json::to_string(&value).as_bytes()), Ok(value));
        let one: Document = [(text.as_str(), text.as_str())].into_iter().collect();
        assert_eq!(json::parse_document(json::document_to_string(&one).as_bytes()), Ok(one));
        document.set(text.as_str(), text.as_str());
    }
    let text = json::document_to_string(&document);
    assert_eq!(json::parse_document(text.as_bytes()).unwrap(), document);
    let other: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(strings.iter().all(|s| other[s] == **s), "another parser reads the same strings");
}

proptest! {
    #[test]
    fn every_value_comes_back(value in given::value()) {
        let text = json::to_string(&value);
        prop_assert_eq!(json::parse(text.as_bytes()), Ok(value), "{}", text);
    }

    #[test]
    fn another_parser_accepts_what_is_written(value in given::value()) {
        let text = json::to_string(&value);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let beyond_f64 = parsed.as_ref().is_err_and(|e| e.to_string().contains("number out of range"));
        prop_assert!(parsed.is_ok() || beyond_f64, "{}: {:?}", text, parsed);
    }

    #[test]
    fn a_float_or_a_decimal_never_changes_the_number(digits in "[0-9]{1,25}", places in 0_usize..25, exponent in -330_i32..310) {
        let at = digits.len().saturating_sub(places).max(1);
        let whole = digits[..at].trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let text = format!("{whole}.{}0e{exponent}", &digits[at..]);
        let written: Decimal = text.parse().unwrap();
        let read = match json::parse(text.as_bytes()).unwrap() {
            // The shortest text of a float stands for it, not its binary expansion.
            Value::Float(x) => format!("{x:e}").parse::<Decimal>().unwrap(),
            Value::Decimal(d) => { prop_assert_eq!(&d, &written); d }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(read.compare(&written), std::cmp::Ordering::Equal, "{}", text);
    }

    #[test]
    fn noise_is_never_a_crash(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:@\\ue0-+.1 tn\xff".to_vec()), 0..40)) {
        if let Ok(value) = json::parse(&bytes) {
            prop_assert_eq!(json::parse(json::to_string(&value).as_bytes()), Ok(value));
        }
    }
}
