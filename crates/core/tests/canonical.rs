//! Canonical order, hash and key text, against independent definitions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;

use std::cmp::Ordering;

use proptest::prelude::*;
use shearwater_core::Key;
use shearwater_core::value::{Date, Decimal, Document, Instant, LocalTimestamp, Value, hash, json, order};

fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_) => 2,
        Value::Text(_) => 3,
        Value::Bytes(_) => 4,
        Value::Date(_) => 5,
        Value::Time(_) => 6,
        Value::Local(_) => 7,
        Value::Instant(_) => 8,
        Value::Uuid(_) => 9,
        Value::Extended(_) => 10,
        Value::Array(_) => 11,
        Value::Document(_) => 12,
    }
}

/// The exact value of a number, floats unfolded to all their digits.
fn exact(value: &Value) -> Decimal {
    match value {
        Value::Int(n) => Decimal::from_int(i128::from(*n)),
        Value::UInt(n) => Decimal::from_int(i128::from(*n)),
        Value::Float(x) => Decimal::from_f64(*x),
        Value::Decimal(d) => d.clone(),
        other => panic!("{} is no number", other.type_name()),
    }
}

/// What tells equal numbers apart: type, sign of zero, scale, bits.
fn tie(value: &Value) -> (u8, i8, i64, u64) {
    match value {
        Value::Float(x) if x.is_nan() => (2, 0, 0, x.to_bits()),
        Value::Float(x) => (2, if *x == 0.0 && x.is_sign_negative() { -1 } else { 0 }, 0, 0),
        Value::Decimal(d @ Decimal::Finite { negative, scale, .. }) => {
            (3, if *negative && d.is_zero() { -1 } else { 0 }, i64::from(*scale), 0)
        }
        Value::Decimal(_) => (3, 0, 0, 0),
        _ => (1, 0, 0, 0),
    }
}

/// The order as the documentation tells it, without the bytes.
fn told(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Local(a), Value::Local(b)) => a.cmp(b),
        (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Extended(a), Value::Extended(b)) => {
            (&a.store, &a.type_name, &a.text).cmp(&(&b.store, &b.type_name, &b.text))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).map(|(a, b)| told(a, b)).find(|o| o.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::Document(a), Value::Document(b)) => a
            .iter()
            .zip(b.iter())
            .map(|((m, a), (n, b))| m.as_bytes().cmp(n.as_bytes()).then_with(|| told(a, b)))
            .find(|o| o.is_ne())
            .unwrap_or(a.len().cmp(&b.len())),
        _ if type_rank(a) == 2 && type_rank(b) == 2 => exact(a).compare(&exact(b)).then_with(|| tie(a).cmp(&tie(b))),
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

#[test]
fn numbers_stand_in_one_line() {
    let d = |text: &str| Value::Decimal(text.parse().unwrap());
    let f = Value::Float;
    let rising = [
        f(f64::NEG_INFINITY),
        d("-Infinity"),
        d("-1e400"),
        f(f64::MIN),
        Value::Int(i64::MIN),
        f(-9223372036854775808.0),
        Value::Int(i64::MIN + 1),
        Value::Int(-1),
        f(-1.0),
        d("-1"),
        d("-1.0"),
        d("-0.3"),
        f(-0.3),
        f(-5e-324),
        d("-1e-400"),
        Value::Int(0),
        f(-0.0),
        f(0.0),
        d("-0"),
        d("-0.0"),
        d("0"),
        d("0.0"),
        d("1e-400"),
        d("2e-400"),
        f(5e-324),
        d("0.1"),
        f(0.1),
        d("0.1000000000000000055511151231257827021181583404541015625"),
        d("0.10000000000000001"),
        f(0.5),
        d("0.5"),
        Value::Int(1),
        f(1.0),
        d("1E+0"),
        d("1.00"),
        f(9007199254740992.0),
        Value::Int((1 << 53) + 1),
        d("9007199254740993"),
        d("9007199254740993.5"),
        f(9007199254740994.0),
        Value::Int(i64::MAX),
        Value::UInt(1 << 63),
        f(9223372036854775808.0),
        Value::UInt(u64::MAX),
        f(18446744073709551616.0),
        f(f64::MAX),
        d("1e400"),
        f(f64::INFINITY),
        d("Infinity"),
        f(f64::NAN),
        d("NaN"),
    ];
    // Decimals of equal value follow their scale: 1E+0 has the scale 0.
    for (i, a) in rising.iter().enumerate() {
        for (j, b) in rising.iter().enumerate() {
            assert_eq!(order::compare(a, b), i.cmp(&j), "{a:?} and {b:?}");
            assert_eq!(order::bytes(a).cmp(&order::bytes(b)), i.cmp(&j), "bytes of {a:?} and {b:?}");
        }
    }
}

#[test]
fn numbers_compare_by_value_alone() {
    let d = |text: &str| Value::Decimal(text.parse().unwrap());
    let check = |a: Value, b: Value, expect: Option<Ordering>| {
        assert_eq!(order::compare_numbers(&a, &b), expect, "{a:?} and {b:?}");
        assert_eq!(order::compare_numbers(&b, &a), expect.map(Ordering::reverse), "{b:?} and {a:?}");
    };
    check(Value::Int(1), Value::Float(1.0), Some(Ordering::Equal));
    check(d("1.00"), Value::Float(1.0), Some(Ordering::Equal));
    check(Value::Float(-0.0), Value::Int(0), Some(Ordering::Equal));
    check(Value::Float(0.1), d("0.1"), Some(Ordering::Greater));
    check(Value::UInt(u64::MAX), Value::Float(u64::MAX as f64), Some(Ordering::Less));
    check(Value::Int(1), "1".into(), None);
    check(Value::Null, Value::Int(1), None);
}

#[test]
fn the_hash_tells_everything_apart() {
    let texts = [
        "null",
        "false",
        "0",
        "0.0",
        "-0.0",
        "\"\"",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{\"a\":null}",
        "{\"\":[]}",
        "[null]",
        "\"a\"",
        "{\"@bytes\":\"\"}",
        "{\"@bytes\":\"YQ==\"}",
        "{\"@decimal\":\"0\"}",
        "{\"@decimal\":\"0.0\"}",
        "{\"@decimal\":\"-0\"}",
        "{\"@date\":\"1970-01-01\"}",
        "{\"@timestamp\":\"1970-01-01T00:00:00\"}",
        "{\"@instant\":\"1970-01-01T00:00:00Z\"}",
        "{\"@time\":\"00:00:00\"}",
        "[1,2]",
        "[2,1]",
        "[[1],2]",
        "[1,[2]]",
        "{\"a\":1,\"b\":2}",
        "{\"b\":2,\"a\":1}",
        "{\"@float\":\"NaN\"}",
        "{\"@decimal\":\"NaN\"}",
    ];
    let hashes: std::collections::HashSet<u128> =
        texts.iter().map(|text| hash::value(&json::parse(text.as_bytes()).unwrap())).collect();
    assert_eq!(hashes.len(), texts.len());
}

#[test]
fn a_large_document_hashes_as_its_bytes() {
    for size in [0, 100, 4_000, 4_050, 4_096, 5_000, 100_000] {
        let document: Document =
            [("a", Value::text("x".repeat(size))), ("b", Value::Array(vec![Value::Int(7); size / 8]))]
                .into_iter()
                .collect();
        let mut bytes = Vec::new();
        hash::write(&Value::Document(document.clone()), &mut bytes);
        assert_eq!(hash::document(&document), xxhash_rust::xxh3::xxh3_128(&bytes), "{size}");
    }
}

/// A place in the journal and in sidecars outlives a release: these must not change.
#[test]
fn canonical_bytes_are_frozen() {
    let check = |value: Value, expect: &str| {
        let hex: String = order::bytes(&value).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expect, "{value:?}");
    };
    check(Value::Null, "08");
    check(Value::Int(1), "18bff00000000000000010");
    check(Value::Int(-1), "18400fffffffffffff0010");
    check(Value::Float(0.5), "18bfe00000000000000021");
    check(Value::Decimal("0.1".parse().unwrap()), "18bfb99999999999990180000000000000000b00318000000000000001");
    check("a\0b".into(), "206100ff620000");
    check(Value::Date(Date::Days(0)), "30018000000000000000");
    check(Value::Local(LocalTimestamp::Infinity), "40028000000000000000");
    check(Value::Instant(Instant::NegInfinity), "48008000000000000000");
    check(Value::Array(vec![true.into()]), "60100100");
    check(Value::Document([("a", Value::Null)].into_iter().collect()), "68016100000800");
    assert_eq!(hash::value(&"Shearwater".into()), 332928280379582089765672867922893322867);
    assert_eq!(Key::single(7).hash(), 12037544556248221780);
}

proptest! {
    #[test]
    fn order_bytes_compare_as_told(a in given::value(), b in given::value()) {
        prop_assert_eq!(order::bytes(&a).cmp(&order::bytes(&b)), told(&a, &b));
        prop_assert_eq!(order::compare(&a, &b), told(&a, &b));
        prop_assert_eq!(order::compare(&a, &a), Ordering::Equal);
    }

    #[test]
    fn numbers_compare_exactly(a in given::number(), b in given::number()) {
        prop_assert_eq!(order::bytes(&a).cmp(&order::bytes(&b)), told(&a, &b));
        prop_assert_eq!(order::compare_numbers(&a, &b), Some(exact(&a).compare(&exact(&b))));
    }

    #[test]
    fn a_decimal_near_a_float_compares_exactly(x in given::float(), scale in 0_i32..3) {
        // Its shortest text as a decimal is equal, just above or just below.
        if x.is_finite() {
            let Decimal::Finite { negative, mut digits, scale: s } = format!("{x:e}").parse().unwrap() else { unreachable!() };
            digits.extend(std::iter::repeat_n(0, scale as usize));
            let near = Value::Decimal(Decimal::Finite { negative, digits, scale: s + scale });
            prop_assert_eq!(order::compare(&Value::Float(x), &near), told(&Value::Float(x), &near));
        }
    }

    #[test]
    fn no_encoding_is_a_prefix(a in given::value(), b in given::value()) {
        let (x, y) = (order::bytes(&a), order::bytes(&b));
        prop_assert!(a == b || (!x.starts_with(&y) && !y.starts_with(&x)), "{:?} {:?}", a, b);
    }

    #[test]
    fn hashing_bytes_are_equal_for_equal_values_only(a in given::value(), b in given::value()) {
        let bytes = |value: &Value| { let mut out = Vec::new(); hash::write(value, &mut out); out };
        prop_assert_eq!(a == b, bytes(&a) == bytes(&b));
        prop_assert_eq!(bytes(&a), bytes(&a.clone()));
    }

    #[test]
    fn keys_come_back_from_text(values in prop::collection::vec(given::scalar(), 1..4)) {
        prop_assume!(!values.iter().any(Value::is_null));
        let key = Key::composite(values);
        let text = key.to_text();
        prop_assert_eq!(Key::from_text(&text, key.values().len()), Ok(key), "{}", text);
    }

    #[test]
    fn a_key_text_means_one_key(text in given::text()) {
        if let Ok(key) = Key::from_text(&text, 1) {
            prop_assert_eq!(Key::from_text(&key.to_text(), 1), Ok(key));
        }
        let key = Key::single(text.as_str());
        prop_assert_eq!(Key::from_text(&key.to_text(), 1), Ok(key));
    }
}

#[test]
fn naughty_strings_survive_as_keys() {
    for text in given::naughty_strings() {
        let check = |key: Key| {
            let written = key.to_text();
            assert_eq!(Key::from_text(&written, key.values().len()), Ok(key), "{written}");
        };
        check(Key::single(text.as_str()));
        check(Key::composite(vec![text.as_str().into(), Value::Int(1), text.as_str().into()]));
    }
}
