//! The law over generated records and generated rules: `reverse(forward(r)) = r`,
//! and its other half after a v2 client's change.

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{cast, child, default, from, keep, rule, scalars, spec, sql};
use super::*;
use crate::path::Step;
use crate::shape::FieldType;
use crate::spec::{FieldRule, RuleFrom, Unfit, Unmapped};
use crate::value::{Decimal, Instant, Value};

/// Few names, so that rules meet fields; odd ones among them.
const NAMES: &[&str] = &["a", "b", "c", "@fix", "extra", "", "a.b", "é\u{0}", "path"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3i64..4).prop_map(Value::Int),
        Just(Value::Int(i64::MIN)),
        Just(Value::UInt(u64::MAX)),
        prop::sample::select(vec![0.0, -0.0, 1.0, 0.1, 1e300, f64::NAN, f64::INFINITY]).prop_map(Value::Float),
        prop::sample::select(vec!["", "1", "01", "x", "true", "a b", "\u{0}"]).prop_map(Value::from),
        prop::sample::select(vec!["1", "1.0", "0.00", "1E+5"])
            .prop_map(|text| Value::Decimal(text.parse::<Decimal>().unwrap())),
        Just(Value::Instant(Instant::Micros(-1))),
        Just(Value::Bytes(vec![0, 255])),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((name(), inner), 0..4).prop_map(|fields| Value::Document(fields.into_iter().collect())),
        ]
    })
}

/// A record with a key somewhere among its fields.
fn record() -> impl Strategy<Value = Document> {
    (vec((name(), value()), 0..7), any::<prop::sample::Index>(), 0i64..9).prop_map(|(mut fields, place, key)| {
        let place = place.index(fields.len() + 1);
        fields.insert(place, ("_id".to_owned(), Value::Int(key)));
        fields.into_iter().collect()
    })
}

fn path() -> impl Strategy<Value = Path> {
    let step = prop_oneof![3 => name().prop_map(Step::Field), 1 => (0usize..3).prop_map(Step::Index)];
    (name(), vec(step, 0..3)).prop_map(|(root, more)| {
        let steps = std::iter::once(Step::Field(root)).chain(more).collect();
        Path::from_steps(steps).unwrap()
    })
}

fn with(origin: RuleFrom, ty: FieldType) -> FieldRule {
    rule("", origin, ty)
}

/// A rule of a column that takes any value.
fn column() -> impl Strategy<Value = FieldRule> {
    prop_oneof![
        6 => path().prop_map(|path| with(RuleFrom::Path(path), FieldType::Json)),
        2 => (path(), scalar()).prop_map(|(path, value)| default(with(RuleFrom::Path(path), FieldType::Json), value)),
        1 => scalar().prop_map(|value| with(RuleFrom::Constant(value), FieldType::Json)),
        1 => Just(with(RuleFrom::TargetOnly, FieldType::Json)),
        1 => path().prop_map(|path| {
            let sql = "coalesce(a, b)".to_owned();
            let back = vec![(path, "c0".to_owned())];
            with(RuleFrom::Sql { sql, back }, FieldType::Json)
        }),
    ]
}

fn child_of(fields: Vec<FieldRule>, path: Path, is_scalar: bool) -> FieldRule {
    let rule =
        if is_scalar { scalars("", "x", from("item", "x", FieldType::Json)) } else { child("", "x", named(fields)) };
    FieldRule { from: RuleFrom::Path(path), ..rule }
}

/// Gives the rules the names c0, c1, ….
fn named(rules: Vec<FieldRule>) -> Vec<FieldRule> {
    rules.into_iter().enumerate().map(|(at, rule)| FieldRule { name: format!("c{at}"), ..rule }).collect()
}

/// Rules that accept every record.
fn rules() -> impl Strategy<Value = Vec<FieldRule>> {
    let inner = (vec(column(), 0..3), path(), any::<bool>())
        .prop_map(|(fields, path, is_scalar)| child_of(fields, path, is_scalar));
    let outer = (vec(prop_oneof![3 => column(), 1 => inner], 0..3), path(), any::<bool>())
        .prop_map(|(fields, path, is_scalar)| child_of(fields, path, is_scalar));
    vec(prop_oneof![3 => column(), 1 => outer], 0..6).prop_map(named)
}

fn bounded(rule: FieldRule, unfit: Option<Unfit>, chars_max: Option<u64>) -> FieldRule {
    FieldRule { unfit, chars_max, ..rule }
}

fn compiled(fields: Vec<FieldRule>, unmapped: Unmapped) -> Mapping {
    let mut all = vec![from("id", "_id", FieldType::Int)];
    all.extend(fields);
    Mapping::compile(&spec("_id", "id", all, unmapped)).unwrap()
}

/// Whether all of the first's columns are in the second as they are; residues aside.
fn same_columns(a: &Document, b: &Document) -> bool {
    let same = |(name, value): (&str, &Value)| match (value, b.get(name)) {
        _ if name == "extra" => true,
        (Value::Array(a), Some(Value::Array(b))) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|pair| match pair {
                    (Value::Document(a), Value::Document(b)) => same_columns(a, b),
                    (a, b) => a == b,
                })
        }
        (value, found) => found == Some(value),
    };
    a.iter().all(same)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn every_record_comes_back_exactly(rules in rules(), records in vec(record(), 1..4)) {
        let mapping = compiled(rules, keep());
        for v1 in records {
            let image = Image::of(v1);
            match mapping.forward(&image) {
                Ok(v2) => prop_assert_eq!(mapping.reverse(&v2).unwrap(), image, "v2 {:?}", v2.record),
                // coalesce may meet arrays and documents; nothing else may fail
                Err(error) => prop_assert_eq!(error.code, "mapping/expression", "{}", error),
            }
        }
    }

    #[test]
    fn a_v2_change_is_kept_whatever_it_is(
        rules in rules(),
        v1 in record(),
        changes in vec((0usize..6, value()), 1..4),
    ) {
        let mapping = compiled(rules, keep());
        let Ok(mut v2) = mapping.forward(&Image::of(v1)) else { return Ok(()) };
        for (at, value) in changes {
            let name = format!("c{at}");
            match v2.record.get_mut(&name) {
                Some(Value::Array(rows)) if rows.iter().all(|row| matches!(row, Value::Document(_))) => {
                    if let Some(Value::Document(row)) = rows.last_mut()
                        && row.contains("c0")
                    {
                        row.set("c0", value);
                    }
                }
                Some(column) => *column = value,
                None => {}
            }
        }
        match mapping.reverse(&v2) {
            Ok(back) => {
                let settled = mapping.forward(&back).unwrap();
                prop_assert!(same_columns(&v2.record, &settled.record), "{:?}\nsettled {:?}", v2.record, settled.record);
                prop_assert_eq!(mapping.reverse(&settled).unwrap(), back);
                prop_assert_eq!(mapping.settle(&v2.record).unwrap(), settled.record);
            }
            Err(error) => prop_assert!(error.code.starts_with("mapping/"), "{}", error),
        }
    }

    #[test]
    fn typed_rules_hold_the_law_or_refuse_by_name(v1 in record()) {
        let mapping = compiled(
            vec![
                cast(from("c0", "a", FieldType::Text)),
                cast(from("c1", "b", FieldType::Int)),
                default(cast(from("c2", "c", FieldType::Decimal)), Value::Decimal("1.0".parse().unwrap())),
                sql("c3", "path || '!'", &[("path", "left(c3, -1)")], FieldType::Text),
                scalars("c4", "extra", cast(from("item", "x", FieldType::Text))),
            ],
            keep(),
        );
        let image = Image::of(v1);
        match mapping.forward(&image) {
            Ok(v2) => prop_assert_eq!(mapping.reverse(&v2).unwrap(), image),
            Err(error) => prop_assert!(["mapping/type", "mapping/expression"].contains(&error.code), "{}", error),
        }
    }

    #[test]
    fn what_does_not_fit_comes_back_and_what_v2_writes_fits(v1 in record(), changes in vec((0usize..5, value()), 0..3)) {
        let text = |name: &str, at: &str, unfit, chars_max| bounded(from(name, at, FieldType::Text), unfit, chars_max);
        let mapping = compiled(
            vec![
                text("c0", "a", Some(Unfit::Null), Some(1)),
                cast(text("c1", "b", Some(Unfit::Null), None)),
                bounded(default(from("c2", "c", FieldType::Float), Value::Float(0.5)), Some(Unfit::Null), None),
                bounded(cast(from("c3", "path", FieldType::Decimal)), Some(Unfit::Null), None),
                scalars("c4", "extra", cast(text("item", "x", Some(Unfit::Null), Some(2)))),
            ],
            keep(),
        );
        let image = Image::of(v1);
        let mut v2 = mapping.forward(&image).unwrap();
        prop_assert_eq!(mapping.reverse(&v2).unwrap(), image);
        for (at, value) in changes {
            v2.record.set(format!("c{at}").as_str(), value);
        }
        match mapping.settle(&v2.record) {
            Ok(settled) => prop_assert!(same_columns(&v2.record, &settled), "{:?}\nsettled {:?}", v2.record, settled),
            Err(error) => prop_assert!(error.code.starts_with("mapping/"), "{}", error),
        }
    }

    #[test]
    fn refusing_holds_the_law_but_for_field_order(rules in rules(), v1 in record()) {
        let mapping = compiled(rules, Unmapped::Refuse);
        if let Ok(v2) = mapping.forward(&Image::of(v1.clone())) {
            let back = mapping.reverse(&v2).unwrap().record;
            prop_assert!(same_but_for_order(&Value::Document(back), &Value::Document(v1)));
        }
    }
}

fn same_but_for_order(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Document(a), Value::Document(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_but_for_order(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_but_for_order(a, b))
        }
        (a, b) => a == b,
    }
}
