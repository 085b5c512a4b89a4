//! What filters and orders mean, case by case.

use super::*;
use crate::value::json;

fn record(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn compare(at: &str, op: CompareOp, literal: &str) -> Filter {
    Filter::Compare { path: path(at), op, literal: Literal::Untyped(literal.to_owned()) }
}

const OPS: [CompareOp; 6] =
    [CompareOp::Eq, CompareOp::Neq, CompareOp::Gt, CompareOp::Gte, CompareOp::Lt, CompareOp::Lte];

#[test]
fn a_literal_is_read_as_the_value_that_it_meets() {
    // How the value stands to the literal: `<`, `=`, `>`, or `?` when they do not compare.
    let check = |value: &str, literal: &str, expect: char| {
        let record = record(&format!("{{\"a\":{value}}}"));
        let holds = OPS.map(|op| compare("a", op, literal).matches(&record));
        let expect = match expect {
            '<' => [false, true, false, false, true, true],
            '=' => [true, false, false, true, false, true],
            '>' => [false, true, true, true, false, false],
            _ => [false, true, false, false, false, false],
        };
        assert_eq!(holds, expect, "{value} beside {literal}");
    };
    check("5", "5", '=');
    check("5", "5.00", '=');
    check("5", "10", '<');
    check("\"5\"", "10", '>');
    check("5", "five", '?');
    check("18446744073709551615", "18446744073709551616", '<');
    check("0.1", "0.1", '=');
    check("0.1", "0.10", '=');
    check("{\"@decimal\":\"0.10\"}", "0.1", '=');
    check("{\"@float\":\"NaN\"}", "1e308", '>');
    check("{\"@float\":\"NaN\"}", "NaN", '=');
    check("{\"@float\":\"-Infinity\"}", "-Infinity", '=');
    check("true", "true", '=');
    check("false", "true", '<');
    check("true", "1", '?');
    check("\"true\"", "true", '=');
    check("\"\"", "", '=');
    check("\"Z\"", "a", '<');
    check("{\"@date\":\"2020-01-02\"}", "2020-01-10", '<');
    check("{\"@date\":\"2020-01-02\"}", "soon", '?');
    check("{\"@instant\":\"2020-01-01T00:00:00Z\"}", "2020-01-01T01:00:00+01:00", '=');
    check("{\"@instant\":\"2020-01-01T00:00:00Z\"}", "infinity", '<');
    check("{\"@time\":\"10:00:00\"}", "09:00:00", '>');
    check("{\"@timestamp\":\"2020-01-01T00:00:00\"}", "2020-01-01T00:00:00", '=');
    check("{\"@bytes\":\"AQ==\"}", "AQ==", '=');
    check("{\"@uuid\":\"00000000-0000-0000-0000-00000000000a\"}", "00000000-0000-0000-0000-00000000000A", '=');
    check("[1,2]", "[1,3]", '<');
    check("{\"b\":1}", "{\"b\":1}", '=');
    check("{\"b\":1}", "[1]", '?');
    check("{\"@extended\":{\"store\":\"mongodb\",\"type\":\"objectId\",\"text\":\"ab\"}}", "ab", '=');
}

#[test]
fn a_typed_literal_compares_with_its_own_type() {
    let check = |value: Value, literal: Value, expect: Option<Ordering>| {
        assert_eq!(Literal::Typed(literal.clone()).compare(&value), expect, "{value:?} beside {literal:?}");
    };
    check(Value::Int(1), Value::Float(1.0), Some(Ordering::Equal));
    check(Value::Int(1), "1".into(), None);
    check("b".into(), "a".into(), Some(Ordering::Greater));
    check(Value::Bool(true), Value::Int(1), None);
}

#[test]
fn unknown_is_neither_true_nor_false() {
    let unknown = || compare("missing", CompareOp::Eq, "1");
    let (yes, no) = (|| Filter::All, || Filter::Not(Box::new(Filter::All)));
    let not = |filter: Filter| Filter::Not(Box::new(filter));
    let record = record(r#"{"null":null}"#);
    let check = |filter: Filter, expect: Option<bool>| {
        assert_eq!(filter.truth(&record), expect, "{filter:?}");
        assert_eq!(filter.matches(&record), expect == Some(true));
    };
    check(unknown(), None);
    check(not(unknown()), None);
    check(compare("null", CompareOp::Neq, "1"), None);
    check(Filter::In { path: path("null"), literals: vec![] }, None);
    check(Filter::Like { path: path("null"), pattern: "%".into(), fold_case: false }, None);
    check(Filter::And(vec![unknown(), yes()]), None);
    check(Filter::And(vec![unknown(), no()]), Some(false));
    check(Filter::And(vec![]), Some(true));
    check(Filter::Or(vec![unknown(), no()]), None);
    check(Filter::Or(vec![unknown(), yes()]), Some(true));
    check(Filter::Or(vec![]), Some(false));
    check(not(Filter::And(vec![unknown(), no()])), Some(true));
}

#[test]
fn in_like_and_is() {
    let record = record(r#"{"n":5,"t":"Anna","b":true,"x":null,"d":{"e":[false]}}"#);
    let check = |filter: Filter, expect: bool| assert_eq!(filter.matches(&record), expect, "{filter:?}");
    let untyped = |texts: &[&str]| texts.iter().map(|t| Literal::Untyped((*t).to_owned())).collect::<Vec<_>>();
    let is = |at: &str, what: IsWhat| Filter::Is { path: path(at), what };
    check(Filter::In { path: path("n"), literals: untyped(&["x", "5.0"]) }, true);
    check(Filter::In { path: path("n"), literals: untyped(&["x", "6"]) }, false);
    check(Filter::In { path: path("n"), literals: untyped(&[]) }, false);
    check(Filter::Like { path: path("t"), pattern: "an%".into(), fold_case: false }, false);
    check(Filter::Like { path: path("t"), pattern: "an%".into(), fold_case: true }, true);
    check(Filter::Like { path: path("n"), pattern: "%".into(), fold_case: true }, false);
    check(is("x", IsWhat::Null), true);
    check(is("missing.deep[3]", IsWhat::Null), true);
    check(is("n", IsWhat::Null), false);
    check(is("b", IsWhat::True), true);
    check(is("n", IsWhat::True), false);
    check(is("x", IsWhat::False), false);
    check(is("d.e[0]", IsWhat::False), true);
}

fn term(at: &str, descending: bool, nulls_first: bool) -> OrderTerm {
    OrderTerm { descending, nulls_first, ..OrderTerm::by(path(at)) }
}

#[test]
fn records_stand_in_order() {
    let check = |order: &[OrderTerm], rising: &[&str]| {
        let records: Vec<(Key, Document)> =
            rising.iter().map(|text| (Key::single(text.len() as i64), record(text))).collect();
        for (i, (key, a)) in records.iter().enumerate() {
            let bytes = sort_bytes_of(order, key, a);
            assert_eq!(bytes, sort_bytes(order, &keyset_of(order, key, a)), "{}", rising[i]);
            for (j, (other, b)) in records.iter().enumerate() {
                assert_eq!(bytes.cmp(&sort_bytes_of(order, other, b)), i.cmp(&j), "{} and {}", rising[i], rising[j]);
                assert_eq!(is_after(order, &keyset_of(order, other, b), key, a), i > j);
            }
        }
    };
    // The key is the length of the text, so that a blank is a higher key.
    check(&[], &["{}", "{ }", "{  }"]);
    check(
        &[term("a", false, false)],
        &[r#"{"a":1}"#, r#"{"a": 1}"#, r#"{"a":2}"#, r#"{"a":"x"}"#, "{}", r#"{"a":null}"#],
    );
    check(&[term("a", false, true)], &["{}", r#"{"a":null}"#, r#"{"a":-1}"#, r#"{"a":1}"#]);
    check(
        &[term("a", true, false)],
        &[r#"{"a":"xy"}"#, r#"{"a":"x"}"#, r#"{"a":""}"#, r#"{"a":2}"#, r#"{"a":1}"#, r#"{"a": 1}"#, "{}"],
    );
    check(&[term("a", true, true)], &["{}", r#"{"a":null}"#, r#"{"a":2}"#, r#"{"a":1}"#]);
    check(
        &[term("a", true, false), term("b.c", false, false)],
        &[
            r#"{"a":"xx","b":{"c":1}}"#,
            r#"{"a":"x","b":{"c":1}}"#,
            r#"{"a":"x","b":{"c":2}}"#,
            r#"{"a":"x"}"#,
            r#"{"a":"x","b":3}"#,
            r#"{"b":{"c":0}}"#,
        ],
    );
}

#[test]
fn paging_by_keyset_visits_every_record_once() {
    let order = [term("a", true, true)];
    let mut rest: Vec<(Key, Document)> = (0..50)
        .map(|i| {
            let value = match i % 4 {
                0 => Value::Null,
                1 => Value::Int(i % 3),
                2 => Value::Float(1.0),
                _ => Value::text(format!("{}", i % 5)),
            };
            (Key::single(i * 7 % 50), [("a", value)].into_iter().collect())
        })
        .collect();
    rest.sort_by_key(|(key, record)| sort_bytes_of(&order, key, record));
    let mut seen = Vec::new();
    let mut after: Option<Keyset> = None;
    loop {
        let page: Vec<_> = rest
            .iter()
            .filter(|(key, record)| after.as_ref().is_none_or(|place| is_after(&order, place, key, record)))
            .take(7)
            .collect();
        let Some((key, record)) = page.last() else { break };
        after = Some(keyset_of(&order, key, record));
        seen.extend(page.iter().map(|(key, _)| key.clone()));
    }
    assert_eq!(seen, rest.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
}
