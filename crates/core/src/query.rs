//! Lists: filters, order, keyset paging, with one meaning for every store.
//!
//! A filter is evaluated on values as [`Filter::matches`] does it; a store may
//! push it down only where that gives the same answer. Order is canonical
//! order ([`crate::value::order`]) of each term's value, where missing and
//! null are one thing and stand first or last as the term says, then canonical
//! order of the key, ascending.

use std::cmp::Ordering;

use crate::Key;
use crate::path::Path;
use crate::store::Fetched;
use crate::value::{Document, Value, order};

mod like;
mod literal;

/// One page of a list, in the fields of the store's shape.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Which records.
    pub filter: Filter,
    /// In which order; the key breaks ties.
    pub order: Vec<OrderTerm>,
    /// Only records after this place.
    pub after: Option<Keyset>,
    /// Records in the page.
    pub limit: usize,
}

/// One term of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderTerm {
    /// What to sort by.
    pub path: Path,
    /// Whether the highest comes first.
    pub descending: bool,
    /// Whether null and missing stand before all values.
    pub nulls_first: bool,
}

/// The place of one record in an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyset {
    /// The value of each order term; null where it is null or missing.
    pub values: Vec<Value>,
    /// The record's key.
    pub key: Key,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// The records with their stamps.
    pub records: Vec<Fetched>,
    /// Whether there are records after these.
    pub more: bool,
}

/// A condition on a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every record.
    All,
    /// Both.
    And(Vec<Filter>),
    /// Any.
    Or(Vec<Filter>),
    /// The opposite. Three-valued as in SQL: the negation of unknown is unknown.
    Not(Box<Filter>),
    /// A comparison; unknown when the path is null or missing.
    Compare {
        /// What to compare.
        path: Path,
        /// How.
        op: CompareOp,
        /// With what.
        literal: Literal,
    },
    /// One of several; unknown when the path is null or missing.
    In {
        /// What to compare.
        path: Path,
        /// With what.
        literals: Vec<Literal>,
    },
    /// `like` or `ilike` with `%` and `_`; unknown when the path is null or
    /// missing, false for values that are not text.
    Like {
        /// What to compare.
        path: Path,
        /// The pattern, `%` for any run and `_` for any one character; a
        /// backslash makes the character after it stand for itself.
        pattern: String,
        /// Whether to fold case (Unicode simple folding).
        fold_case: bool,
    },
    /// `is.null`, `is.true`, `is.false`; never unknown. Missing is null here.
    Is {
        /// What to look at.
        path: Path,
        /// What it must be.
        what: IsWhat,
    },
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// What `is` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsWhat {
    /// Null or missing.
    Null,
    /// True.
    True,
    /// False.
    False,
}

/// A value from a query string. With a declared type it was read as that type;
/// without one it is compared by the type of the value that it meets: as a
/// number with numbers, as `true`/`false` with booleans, as its text with text
/// and with the text forms of the other types.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Of a declared type.
    Typed(Value),
    /// As it stands in the query string.
    Untyped(String),
}

impl Filter {
    /// Whether a record matches (unknown counts as no).
    pub fn matches(&self, record: &Document) -> bool {
        self.truth(record) == Some(true)
    }

    /// True, false, or unknown (`None`), as in SQL.
    fn truth(&self, record: &Document) -> Option<bool> {
        match self {
            Filter::All => Some(true),
            Filter::And(parts) => all(parts.iter().map(|part| part.truth(record))),
            Filter::Or(parts) => all(parts.iter().map(|part| part.truth(record).map(|t| !t))).map(|t| !t),
            Filter::Not(part) => part.truth(record).map(|t| !t),
            Filter::Compare { path, op, literal } => {
                let value = present(path, record)?;
                Some(op.holds(literal.compare(value)))
            }
            Filter::In { path, literals } => {
                let value = present(path, record)?;
                Some(literals.iter().any(|literal| literal.compare(value) == Some(Ordering::Equal)))
            }
            Filter::Like { path, pattern, fold_case } => {
                let value = present(path, record)?;
                let Value::Text(text) = value else { return Some(false) };
                let case = if *fold_case { like::Case::Folded } else { like::Case::Exact };
                Some(like::matches(pattern, text, case))
            }
            Filter::Is { path, what } => {
                let value = present(path, record);
                Some(match what {
                    IsWhat::Null => value.is_none(),
                    IsWhat::True => value == Some(&Value::Bool(true)),
                    IsWhat::False => value == Some(&Value::Bool(false)),
                })
            }
        }
    }
}

/// The value at a path, unless it is null or missing.
fn present<'a>(path: &Path, record: &'a Document) -> Option<&'a Value> {
    path.get(record).filter(|value| !value.is_null())
}

/// Three-valued AND: false wins over unknown.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut truth = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => truth = None,
            Some(true) => {}
        }
    }
    truth
}

impl CompareOp {
    /// Whether the operator holds; `None` is for values that do not compare:
    /// they are not equal, and neither is the greater one.
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            CompareOp::Eq => ordering == Some(Ordering::Equal),
            CompareOp::Neq => ordering != Some(Ordering::Equal),
            CompareOp::Gt => ordering == Some(Ordering::Greater),
            CompareOp::Gte => ordering.is_some_and(Ordering::is_ge),
            CompareOp::Lt => ordering == Some(Ordering::Less),
            CompareOp::Lte => ordering.is_some_and(Ordering::is_le),
        }
    }
}

/// The place of a record in an order.
pub fn keyset_of(order: &[OrderTerm], key: &Key, record: &Document) -> Keyset {
    let values = order.iter().map(|term| term.path.get(record).cloned().unwrap_or(Value::Null)).collect();
    Keyset { values, key: key.clone() }
}

/// Bytes that compare as records do in this order: the order terms (inverted
/// byte by byte where descending, nulls ranked) and then the key. A keyset with
/// fewer values than there are terms counts as null in those.
pub fn sort_bytes(order: &[OrderTerm], place: &Keyset) -> Vec<u8> {
    let values = (0..order.len()).map(|i| place.values.get(i));
    write_sort_bytes(order, values, &place.key)
}

/// As [`sort_bytes`], straight from a record.
pub fn sort_bytes_of(order: &[OrderTerm], key: &Key, record: &Document) -> Vec<u8> {
    write_sort_bytes(order, order.iter().map(|term| term.path.get(record)), key)
}

/// Whether a record comes after a place in an order.
pub fn is_after(order: &[OrderTerm], place: &Keyset, key: &Key, record: &Document) -> bool {
    sort_bytes_of(order, key, record) > sort_bytes(order, place)
}

fn write_sort_bytes<'a>(order: &[OrderTerm], values: impl Iterator<Item = Option<&'a Value>>, key: &Key) -> Vec<u8> {
    const NULL_FIRST: u8 = 0;
    const VALUE: u8 = 1;
    const NULL_LAST: u8 = 2;
    let mut out = Vec::with_capacity(32 * (order.len() + 1));
    for (term, value) in order.iter().zip(values) {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            out.push(if term.nulls_first { NULL_FIRST } else { NULL_LAST });
            continue;
        };
        out.push(VALUE);
        let start = out.len();
        order::write(value, &mut out);
        if term.descending {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    key.values().iter().for_each(|value| order::write(value, &mut out));
    out
}

#[cfg(test)]
mod tests {
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
        OrderTerm { path: path(at), descending, nulls_first }
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
                    assert_eq!(
                        bytes.cmp(&sort_bytes_of(order, other, b)),
                        i.cmp(&j),
                        "{} and {}",
                        rising[i],
                        rising[j]
                    );
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
}
