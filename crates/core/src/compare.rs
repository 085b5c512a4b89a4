//! Comparing two records field by field.

use crate::path::Trail;
use crate::value::{Document, Value};

/// One field that differs. Values are not in it: they are row values.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldDifference {
    /// Where, for example `addresses[1].zip`.
    pub path: String,
    /// What was expected there: a type name, or `missing`.
    pub expected: String,
    /// What was found there: a type name, or `missing`.
    pub found: String,
    /// One word: `missing`, `extra`, `type`, `value`, `order`.
    pub what: String,
}

/// The differences between a record as it should be and as it is, in the order
/// of the expected record; empty only when the two are equal. Documents and
/// arrays are gone into, so that each difference names the innermost place.
/// `order` names the first field that both hold but not in the same place.
pub fn differences(expected: &Document, found: &Document) -> Vec<FieldDifference> {
    let mut out = Vec::new();
    documents(&Trail::Root, expected, found, &mut out);
    out
}

const MISSING: &str = "missing";

fn documents(trail: &Trail<'_>, expected: &Document, found: &Document, out: &mut Vec<FieldDifference>) {
    if expected == found {
        return;
    }
    for (name, value) in expected.iter() {
        let trail = Trail::Field(trail, name);
        match found.get(name) {
            Some(other) => values(&trail, value, other, out),
            None => out.push(difference(&trail, value.type_name(), MISSING, "missing")),
        }
    }
    for (name, value) in found.iter().filter(|(name, _)| !expected.contains(name)) {
        out.push(difference(&Trail::Field(trail, name), MISSING, value.type_name(), "extra"));
    }
    let common = expected.iter().filter(|(name, _)| found.contains(name));
    let others = found.iter().filter(|(name, _)| expected.contains(name));
    if let Some(((name, value), _)) = common.zip(others).find(|((name, _), (other, _))| name != other) {
        let there = found.get(name).map_or(MISSING, Value::type_name);
        out.push(difference(&Trail::Field(trail, name), value.type_name(), there, "order"));
    }
}

fn values(trail: &Trail<'_>, expected: &Value, found: &Value, out: &mut Vec<FieldDifference>) {
    match (expected, found) {
        (Value::Document(expected), Value::Document(found)) => documents(trail, expected, found, out),
        (Value::Array(expected), Value::Array(found)) => arrays(trail, expected, found, out),
        _ if expected == found => {}
        _ => {
            let (expected, found) = (expected.type_name(), found.type_name());
            out.push(difference(trail, expected, found, if expected == found { "value" } else { "type" }));
        }
    }
}

fn arrays(trail: &Trail<'_>, expected: &[Value], found: &[Value], out: &mut Vec<FieldDifference>) {
    for place in 0..expected.len().max(found.len()) {
        let trail = Trail::Index(trail, place);
        match (expected.get(place), found.get(place)) {
            (Some(expected), Some(found)) => values(&trail, expected, found, out),
            (Some(expected), None) => out.push(difference(&trail, expected.type_name(), MISSING, "missing")),
            (None, Some(found)) => out.push(difference(&trail, MISSING, found.type_name(), "extra")),
            (None, None) => {}
        }
    }
}

fn difference(trail: &Trail<'_>, expected: &str, found: &str, what: &str) -> FieldDifference {
    FieldDifference {
        path: trail.to_string(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::json;

    fn check(expected: &str, found: &str, expect: &[&str]) {
        let read = |text: &str| json::parse_document(text.as_bytes()).unwrap();
        let differences: Vec<String> = differences(&read(expected), &read(found))
            .into_iter()
            .map(|d| format!("{} {}: {} -> {}", d.what, d.path, d.expected, d.found))
            .collect();
        assert_eq!(differences, expect, "{expected} and {found}");
    }

    #[test]
    fn equal_records_do_not_differ() {
        check("{}", "{}", &[]);
        check(r#"{"a":[{"b":null}],"c":1.0}"#, r#"{"a":[{"b":null}],"c":1.0}"#, &[]);
    }

    #[test]
    fn each_kind_of_difference_names_its_place() {
        check(r#"{"a":1}"#, r#"{}"#, &["missing a: int -> missing"]);
        check(r#"{}"#, r#"{"a":null}"#, &["extra a: missing -> null"]);
        check(r#"{"a":1}"#, r#"{"a":2}"#, &["value a: int -> int"]);
        check(r#"{"a":1}"#, r#"{"a":1.0}"#, &["type a: int -> float"]);
        check(r#"{"a":0.0}"#, r#"{"a":-0.0}"#, &["value a: float -> float"]);
        check(r#"{"a":null}"#, r#"{"a":[]}"#, &["type a: null -> array"]);
        check(r#"{"a":{"@decimal":"1.0"}}"#, r#"{"a":{"@decimal":"1.00"}}"#, &["value a: decimal -> decimal"]);
    }

    #[test]
    fn nested_places_are_named_to_the_innermost() {
        check(
            r#"{"addresses":[{"zip":"1"},{"zip":"2","x":{"y":[1]}}],"odd.name":1}"#,
            r#"{"addresses":[{"zip":"1"},{"zip":2,"x":{"y":[]}},{"zip":"3"}],"odd.name":2}"#,
            &[
                "type addresses[1].zip: text -> int",
                "missing addresses[1].x.y[0]: int -> missing",
                "extra addresses[2]: missing -> document",
                "value \"odd.name\": int -> int",
            ],
        );
    }

    #[test]
    fn another_order_of_fields_is_a_difference() {
        check(r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3,"b":2}"#, &["order b: int -> int"]);
        check(r#"{"d":{"a":1,"b":2}}"#, r#"{"d":{"b":2,"a":1}}"#, &["order d.a: int -> int"]);
        // A field that only one has does not shift the others.
        check(r#"{"a":1,"b":2}"#, r#"{"x":0,"a":1,"b":2}"#, &["extra x: missing -> int"]);
    }
}
