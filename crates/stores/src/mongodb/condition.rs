//! The part of a filter that MongoDB can decide: what every record that matches
//! fulfils. What it lets through besides is decided on the values.
//!
//! A query on a field also looks into arrays, and compares numbers by value: it
//! finds more than core's comparison does, never less, as long as the values of
//! other types that a literal without a type could mean stay candidates.

use mongodb::bson::{Bson, Document, doc};
use shearwater_core::Value;
use shearwater_core::path::{Path, Step};
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};

/// Types whose values a text in a query may stand for, but for text itself: by
/// their names in MongoDB's queries. Numbers and booleans are told by their text.
const OTHER_TYPES: [&str; 14] = [
    "object",
    "array",
    "binData",
    "undefined",
    "objectId",
    "date",
    "regex",
    "dbPointer",
    "javascript",
    "symbol",
    "javascriptWithScope",
    "timestamp",
    "minKey",
    "maxKey",
];

/// What every record that matches the filter fulfils; `None`: nothing that can be said.
pub(super) fn implied(filter: &Filter) -> Option<Document> {
    match filter {
        Filter::All | Filter::Not(_) | Filter::Like { .. } => None,
        Filter::And(parts) => {
            let implied: Vec<Document> = parts.iter().filter_map(implied_of).collect();
            (!implied.is_empty()).then(|| doc! { "$and": implied })
        }
        Filter::Or(parts) => {
            let implied: Option<Vec<Document>> = parts.iter().map(implied_of).collect();
            implied.filter(|implied| !implied.is_empty()).map(|implied| doc! { "$or": implied })
        }
        Filter::Compare { path, op: CompareOp::Eq, literal } => equal(path, std::slice::from_ref(literal)),
        Filter::Compare { .. } => None,
        Filter::In { path, literals } if !literals.is_empty() => equal(path, literals),
        Filter::In { .. } => None,
        Filter::Is { path, what } => {
            let name = field(path)?;
            Some(match what {
                IsWhat::Null => doc! { name: Bson::Null },
                IsWhat::True => doc! { name: true },
                IsWhat::False => doc! { name: false },
            })
        }
    }
}

fn implied_of(filter: &Filter) -> Option<Document> {
    implied(filter)
}

/// The name of a top-level field that a query can name.
fn field(path: &Path) -> Option<&str> {
    match path.steps() {
        [Step::Field(name)] if !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0']) => Some(name),
        _ => None,
    }
}

fn equal(path: &Path, literals: &[Literal]) -> Option<Document> {
    let name = field(path)?;
    let mut values = Vec::new();
    let mut untyped = false;
    for literal in literals {
        match literal {
            Literal::Typed(Value::Text(text)) => values.push(Bson::String(text.clone())),
            Literal::Typed(Value::Int(n)) => values.push(Bson::Int64(*n)),
            Literal::Typed(Value::Bool(b)) => values.push(Bson::Boolean(*b)),
            Literal::Typed(_) => return None,
            Literal::Untyped(text) => {
                untyped = true;
                values.push(Bson::String(text.clone()));
                match text.as_str() {
                    "true" => values.push(Bson::Boolean(true)),
                    "false" => values.push(Bson::Boolean(false)),
                    _ => {}
                }
                values.extend(number(text)?);
            }
        }
    }
    let values = doc! { name: { "$in": values } };
    if !untyped {
        return Some(values);
    }
    Some(doc! { "$or": [values, { name: { "$type": OTHER_TYPES.as_slice() } }] })
}

/// The number that a text says; `None` inside when it says no number at all, and
/// outside when it might be another writing of one.
fn number(text: &str) -> Option<Option<Bson>> {
    if let Ok(n) = text.parse::<i64>() {
        // Beyond 2^53 a float can have the text without having the value.
        return (n.to_string() == text && n.unsigned_abs() < 1 << 53).then_some(Some(Bson::Int64(n)));
    }
    let maybe_number = text.trim_start().starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        || matches!(text.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity");
    (!maybe_number).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(path: &str, text: &str) -> Option<Document> {
        let literal = Literal::Untyped(text.to_owned());
        implied(&Filter::Compare { path: Path::parse(path).unwrap(), op: CompareOp::Eq, literal })
    }

    #[test]
    fn only_what_can_be_said_is_said() {
        let values = |text: &str| {
            let found = eq("a", text).unwrap();
            let first = found.get_array("$or").unwrap()[0].as_document().unwrap();
            first.get_document("a").unwrap().get_array("$in").unwrap().len()
        };
        assert_eq!((values("x"), values("5"), values("true")), (1, 2, 2));
        assert_eq!(eq("a", "05"), None, "another writing of a number");
        assert_eq!(eq("a", "9007199254740993"), None);
        assert_eq!(eq("a.b", "x"), None, "MongoDB and core go into documents and arrays differently");
        let both = |f: fn(Vec<Filter>) -> Filter| {
            let filter = Filter::Is { path: Path::parse("a").unwrap(), what: IsWhat::Null };
            implied(&f(vec![filter, Filter::All]))
        };
        assert!(both(Filter::And).is_some());
        assert_eq!(both(Filter::Or), None);
    }
}
