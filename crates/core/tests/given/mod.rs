//! What several tests are given: the data sets, and generated values.
#![allow(dead_code)]

use std::path::PathBuf;

use proptest::prelude::*;
use shearwater_core::value::{Date, Decimal, Document, Extended, Instant, LocalTimestamp, Time, Uuid, Value};

/// A file of the data sets; a clear failure when they are not there.
pub fn data(path: &str) -> PathBuf {
    let root = std::env::var_os("SHEARWATER_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let found = root.join(path);
    assert!(found.exists(), "{} is missing; set SHEARWATER_DATA to the folder of the data sets", found.display());
    found
}

/// The bytes of a file of the data sets.
pub fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(data(path)).unwrap()
}

/// The files of a folder of the data sets, by name.
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(data(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no files");
    files
}

/// Every naughty string.
pub fn naughty_strings() -> Vec<String> {
    let strings: Vec<String> = serde_json::from_slice(&bytes("nasty/naughty-strings/blns.json")).unwrap();
    assert!(strings.len() > 400, "found only {} naughty strings", strings.len());
    strings
}

pub fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{0,3}",
        1 => "@(document|decimal|x|instant|extended|date)?",
        1 => "\\PC{0,4}",
        1 => any::<String>(),
    ]
}

pub fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![
            0.0,
            -0.0,
            0.1,
            -0.5,
            1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            -5e-324,
            9007199254740992.0,
            9007199254740994.0,
            9223372036854775808.0,
            18446744073709551616.0,
            1e300,
            1e22,
            1e23,
        ]),
        (-1000_i32..1000).prop_map(|n| f64::from(n) / 8.0),
    ]
}

pub fn decimal() -> impl Strategy<Value = Decimal> {
    let finite = (any::<bool>(), prop::collection::vec(0_u8..10, 1..45), prop_oneof![-3_i32..25, -1200_i32..1200]);
    prop_oneof![
        4 => finite.prop_map(|(negative, digits, scale)| {
            let mut digits: Vec<u8> = digits.into_iter().skip_while(|d| *d == 0).collect();
            if digits.is_empty() {
                digits.push(0);
            }
            Decimal::Finite { negative, digits, scale }
        }),
        4 => (-200_i64..200, 0_i32..4).prop_map(|(n, scale)| {
            let Decimal::Finite { negative, digits, .. } = Decimal::from_int(i128::from(n)) else { unreachable!() };
            Decimal::Finite { negative, digits, scale }
        }),
        2 => float().prop_map(Decimal::from_f64),
        1 => prop::sample::select(vec![Decimal::NaN, Decimal::Infinity, Decimal::NegInfinity]),
    ]
}

pub fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-100_i64..100).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from_u64),
        prop::sample::select(vec![1 << 53, (1 << 53) + 1, (1 << 53) - 1, i64::MAX, i64::MIN]).prop_map(Value::Int),
        float().prop_map(Value::Float),
        decimal().prop_map(Value::Decimal),
    ]
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ab\\x00]{0,3}",
        "[0-9,\\\\\"{\\[-]{0,4}",
        "(true|false|null|-?[0-9]{1,3}(\\.[0-9])?)"
    ]
}

pub fn scalar() -> impl Strategy<Value = Value> {
    let micros = prop_oneof![Just(0_i64), any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        6 => number(),
        4 => text().prop_map(Value::Text),
        1 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
        1 => prop_oneof![Just(Date::NegInfinity), any::<i32>().prop_map(Date::Days), Just(Date::Infinity)]
            .prop_map(Value::Date),
        1 => (0_i64..=86_400_000_000).prop_map(|micros| Value::Time(Time { micros })),
        1 => prop_oneof![Just(LocalTimestamp::NegInfinity), micros.clone().prop_map(LocalTimestamp::Micros),
            Just(LocalTimestamp::Infinity)].prop_map(Value::Local),
        1 => prop_oneof![Just(Instant::NegInfinity), micros.prop_map(Instant::Micros), Just(Instant::Infinity)]
            .prop_map(Value::Instant),
        1 => any::<u128>().prop_map(|n| Value::Uuid(Uuid::from_u128(n))),
        1 => (name(), name(), any::<String>()).prop_map(|(store, type_name, text)| {
            Value::Extended(Box::new(Extended { store, type_name, text }))
        }),
    ]
}

/// Any value, a few levels deep.
pub fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner.clone()), 0..4)
                .prop_map(|fields| Value::Document(fields.into_iter().collect())),
            ("@(document|decimal|x)", inner)
                .prop_map(|field| Value::Document([field].into_iter().collect::<Document>())),
        ]
    })
}
