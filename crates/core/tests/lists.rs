//! Paths, differences, orders and filters, over generated records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;

use std::cmp::Ordering;

use proptest::prelude::*;
use shearwater_core::Key;
use shearwater_core::compare::differences;
use shearwater_core::path::{Path, Step};
use shearwater_core::query::{
    Collation, CompareOp, Filter, IsWhat, Keyset, Literal, OrderTerm, is_after, keyset_of, sort_bytes_of,
};
use shearwater_core::value::{Document, Value, json, order};

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![given::name().prop_map(Step::Field), any::<usize>().prop_map(Step::Index)];
    (given::name(), prop::collection::vec(step, 0..4)).prop_map(|(first, rest)| {
        let mut steps = vec![Step::Field(first)];
        steps.extend(rest);
        steps
    })
}

/// Small records whose fields `a` and `b` collide often.
fn record() -> impl Strategy<Value = Document> {
    let field = || {
        prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            given::scalar().prop_map(Some),
            (0_i64..3).prop_map(|n| Some(Value::Int(n))),
        ]
    };
    (field(), field()).prop_map(|(a, b)| {
        let fields = [("a", a), ("b", b)];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    })
}

fn term(name: &'static str) -> impl Strategy<Value = OrderTerm> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(descending, nulls_first, is_unicode)| OrderTerm {
        path: Path::field(name),
        descending,
        nulls_first,
        collation: if is_unicode { Collation::Unicode } else { Collation::Binary },
    })
}

/// How two values are ordered, as the documentation tells it.
fn told_of(collation: Collation, a: &Value, b: &Value) -> Ordering {
    let (Collation::Unicode, Value::Text(left), Value::Text(right)) = (collation, a, b) else {
        return order::compare(a, b);
    };
    let key = |text: &str| {
        let mut key = Vec::new();
        shearwater_core::value::collation::write_sort_key(text, &mut key);
        key
    };
    key(left).cmp(&key(right)).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

/// The order as the documentation tells it, term by term.
fn told(terms: &[OrderTerm], (a_key, a): (&Key, &Document), (b_key, b): (&Key, &Document)) -> Ordering {
    for term in terms {
        let value = |record| term.path.get(record).filter(|value| !value.is_null());
        let ordering = match (value(a), value(b)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if term.nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if term.nulls_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if term.descending => told_of(term.collation, b, a),
            (Some(a), Some(b)) => told_of(term.collation, a, b),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    a_key
        .values()
        .iter()
        .zip(b_key.values())
        .map(|(a, b)| order::compare(a, b))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

proptest! {
    #[test]
    fn paths_come_back_from_text(steps in steps()) {
        let path = Path::from_steps(steps).unwrap();
        prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
    }

    #[test]
    fn a_text_that_is_a_path_means_one(text in "[a\"\\[\\]0.é -]{0,8}") {
        if let Ok(path) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }
    }

    #[test]
    fn equal_records_have_no_differences_and_others_have(a in given::value(), b in given::value()) {
        let wrap = |value: &Value| -> Document { [("x", value.clone())].into_iter().collect() };
        let found = differences(&wrap(&a), &wrap(&b));
        prop_assert_eq!(found.is_empty(), a == b, "{:?}", found);
        for difference in &found {
            prop_assert!(Path::parse(&difference.path).is_ok(), "{:?}", difference);
        }
        let back = differences(&wrap(&b), &wrap(&a));
        prop_assert_eq!(found.len(), back.len());
    }

    #[test]
    fn sort_bytes_compare_as_told(
        terms in (term("a"), term("b")).prop_map(|(a, b)| [a, b]),
        a in record(),
        b in record(),
        keys in (0_i64..3, 0_i64..3),
    ) {
        let (a_key, b_key) = (Key::single(keys.0), Key::single(keys.1));
        let expect = told(&terms, (&a_key, &a), (&b_key, &b));
        prop_assert_eq!(sort_bytes_of(&terms, &a_key, &a).cmp(&sort_bytes_of(&terms, &b_key, &b)), expect);
        let place: Keyset = keyset_of(&terms, &b_key, &b);
        prop_assert_eq!(is_after(&terms, &place, &a_key, &a), expect == Ordering::Greater);
    }

    #[test]
    fn a_keyset_survives_its_text(terms in term("a").prop_map(|a| [a]), record in record(), key in given::scalar()) {
        // A page's token carries the values as JSON.
        let place = keyset_of(&terms, &Key::single(key), &record);
        let text = json::to_string(&Value::Array(place.values.clone()));
        prop_assert_eq!(json::parse(text.as_bytes()), Ok(Value::Array(place.values)));
    }

    #[test]
    fn exactly_one_of_less_equal_greater_unknown(record in record(), literal in given::scalar()) {
        let holds = |op| Filter::Compare { path: Path::field("a"), op, literal: Literal::Typed(literal.clone()) };
        let is_null = Filter::Is { path: Path::field("a"), what: IsWhat::Null }.matches(&record);
        let yes = |op| holds(op).matches(&record);
        let no = |op| Filter::Not(Box::new(holds(op))).matches(&record);
        if is_null {
            for op in [CompareOp::Eq, CompareOp::Neq, CompareOp::Gt, CompareOp::Gte, CompareOp::Lt, CompareOp::Lte] {
                prop_assert!(!yes(op) && !no(op));
            }
        } else {
            prop_assert_eq!(yes(CompareOp::Eq), no(CompareOp::Neq));
            prop_assert_eq!(yes(CompareOp::Neq), no(CompareOp::Eq));
            prop_assert_eq!(yes(CompareOp::Gte), yes(CompareOp::Gt) || yes(CompareOp::Eq));
            prop_assert_eq!(yes(CompareOp::Lte), yes(CompareOp::Lt) || yes(CompareOp::Eq));
            let of_three = [CompareOp::Lt, CompareOp::Eq, CompareOp::Gt].into_iter().filter(|op| yes(*op)).count();
            prop_assert!(of_three <= 1);
        }
    }

    #[test]
    fn a_scalars_own_text_equals_it(value in given::scalar()) {
        // As a client writes it in a query string: text as it stands, the rest as in the tag.
        let text = match &value {
            Value::Null => return Ok(()),
            Value::Text(text) => text.clone(),
            Value::Extended(own) => own.text.clone(),
            Value::Float(x) if !x.is_finite() => return Ok(()),
            other => {
                let written = json::to_string(other);
                match serde_json::from_str::<serde_json::Value>(&written) {
                    Ok(serde_json::Value::Object(tag)) => tag.values().next().unwrap().as_str().unwrap().to_owned(),
                    _ => written,
                }
            }
        };
        let record: Document = [("a", value)].into_iter().collect();
        let filter = Filter::Compare { path: Path::field("a"), op: CompareOp::Eq, literal: Literal::Untyped(text.clone()) };
        prop_assert!(filter.matches(&record), "{:?} {:?}", record, text);
        let filter = Filter::In { path: Path::field("a"), literals: vec![Literal::Untyped(text)] };
        prop_assert!(filter.matches(&record));
    }
}
