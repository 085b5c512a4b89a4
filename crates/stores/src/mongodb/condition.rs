//! The part of a filter that MongoDB can decide: what every record that matches
//! fulfils. What it lets through besides is decided on the values.
//!
//! A query on a field also looks into arrays, and compares numbers by value: it
//! finds more than core's comparison does, never less, as long as the values of
//! other types that a literal without a type could mean stay candidates. Each
//! type that a literal could mean is a condition of its own, so that an index
//! answers it; types that few fields have are asked for as a whole.

use base64::Engine as _;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Decimal128, Document, doc};
use shearwater_core::Value;
use shearwater_core::path::{Path, Step};
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::value::{Decimal, Instant, Uuid};

use super::bracket::{Bracket, date, far_dates, object_id, odd_decimals, uuid};
use super::decimal;

/// Types that are asked for as a whole, by their names in MongoDB's queries.
/// Texts find symbols too.
const WHOLE_TYPES: [&str; 9] =
    ["object", "undefined", "regex", "dbPointer", "javascript", "javascriptWithScope", "timestamp", "minKey", "maxKey"];

/// Digits of the text of a decimal that is another writing of a canonical one.
const ODD_DECIMAL_DIGITS: usize = 32;

/// One of the types that a comparison may mean.
struct Branch {
    /// `None`: what is in none.
    bracket: Option<Bracket>,
    test: Test,
}

enum Test {
    Is(Bson),
    Holds(Document),
    Types(Vec<&'static str>),
}

impl Branch {
    fn compare(bracket: Bracket, op: CompareOp, with: impl Into<Bson>) -> Branch {
        let word = match op {
            CompareOp::Gt => "$gt",
            CompareOp::Gte => "$gte",
            CompareOp::Lt => "$lt",
            CompareOp::Lte => "$lte",
            CompareOp::Eq | CompareOp::Neq => return Branch { bracket: Some(bracket), test: Test::Is(with.into()) },
        };
        Branch { bracket: Some(bracket), test: Test::Holds(doc! { word: with.into() }) }
    }

    fn stray(test: Test) -> Branch {
        Branch { bracket: None, test }
    }
}

/// What every record that matches the filter fulfils; `None`: nothing that can be said.
pub(super) fn implied(filter: &Filter) -> Option<Document> {
    match filter {
        Filter::All | Filter::Not(_) | Filter::Like { .. } => None,
        Filter::And(parts) => {
            let implied: Vec<Document> = parts.iter().filter_map(implied).collect();
            (!implied.is_empty()).then(|| doc! { "$and": implied })
        }
        Filter::Or(parts) => {
            let implied: Option<Vec<Document>> = parts.iter().map(implied).collect();
            implied.filter(|implied| !implied.is_empty()).map(|implied| doc! { "$or": implied })
        }
        Filter::Compare { path, .. } | Filter::In { path, .. } | Filter::Is { path, .. } => {
            Some(any(field(path)?, branches(filter)?))
        }
    }
}

/// The same, without what is said of one field by itself: the conditions, and
/// the fields that they are on.
pub(super) fn besides<'a>(filter: &'a Filter, name: &str) -> (Vec<Document>, Vec<&'a str>) {
    let others = parts(filter).into_iter().filter(|part| path_of(part).and_then(field) != Some(name));
    let others = others.filter_map(|part| Some((implied(part)?, path_of(part).and_then(field))));
    let (conditions, fields): (Vec<Document>, Vec<Option<&str>>) = others.unzip();
    (conditions, fields.into_iter().flatten().collect())
}

/// What values of `name` that are in one bracket must fulfil for the filter to
/// hold, as conditions on `stored`, the field that has them; `None`: with none
/// of them it holds.
pub(super) fn within(filter: &Filter, name: &str, stored: &str, bracket: Bracket) -> Option<Vec<Document>> {
    let mut all = Vec::new();
    for part in parts(filter).into_iter().filter(|part| path_of(part).and_then(field) == Some(name)) {
        let asks_for_null = matches!(part, Filter::Is { what: IsWhat::Null, .. });
        if (bracket == Bracket::Null) != asks_for_null {
            return None;
        }
        match part {
            Filter::Like { .. } if bracket != Bracket::Text => return None,
            Filter::Compare { .. } | Filter::In { .. } | Filter::Is { .. } => {
                let Some(branches) = branches(part) else { continue };
                let of_it: Vec<Branch> = branches.into_iter().filter(|one| one.bracket == Some(bracket)).collect();
                if of_it.is_empty() {
                    return None;
                }
                all.push(any(stored, of_it));
            }
            _ => {}
        }
    }
    Some(all)
}

/// Filters that must all hold.
fn parts(filter: &Filter) -> Vec<&Filter> {
    match filter {
        Filter::And(inner) => inner.iter().flat_map(parts).collect(),
        other => vec![other],
    }
}

fn path_of(filter: &Filter) -> Option<&Path> {
    match filter {
        Filter::Compare { path, .. }
        | Filter::In { path, .. }
        | Filter::Like { path, .. }
        | Filter::Is { path, .. } => Some(path),
        Filter::All | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => None,
    }
}

/// The name of a top-level field that a query can name.
pub(super) fn field(path: &Path) -> Option<&str> {
    match path.steps() {
        [Step::Field(name)] if !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0']) => Some(name),
        _ => None,
    }
}

/// One condition of several types' ones.
fn any(name: &str, branches: Vec<Branch>) -> Document {
    let (mut values, mut types, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for branch in branches {
        match branch.test {
            Test::Is(value) => values.push(value),
            Test::Holds(test) => conditions.push(doc! { name: test }),
            Test::Types(some) => types.extend(some),
        }
    }
    if !values.is_empty() || (types.is_empty() && conditions.is_empty()) {
        conditions.push(doc! { name: { "$in": values } });
    }
    if !types.is_empty() {
        types.sort_unstable();
        types.dedup();
        conditions.push(doc! { name: { "$type": types } });
    }
    match conditions.len() {
        1 => conditions.remove(0),
        _ => doc! { "$or": conditions },
    }
}

/// The types that a comparison may mean; `None`: it cannot be said.
fn branches(filter: &Filter) -> Option<Vec<Branch>> {
    match filter {
        Filter::Compare { op: CompareOp::Neq, .. } => None,
        Filter::Compare { op, literal, .. } => of_literal(*op, literal),
        Filter::In { literals, .. } => {
            let all: Option<Vec<Vec<Branch>>> = literals.iter().map(|one| of_literal(CompareOp::Eq, one)).collect();
            Some(all?.into_iter().flatten().collect())
        }
        Filter::Is { what, .. } => Some(vec![match what {
            IsWhat::Null => Branch::compare(Bracket::Null, CompareOp::Eq, Bson::Null),
            IsWhat::True => Branch::compare(Bracket::Bool, CompareOp::Eq, true),
            IsWhat::False => Branch::compare(Bracket::Bool, CompareOp::Eq, false),
        }]),
        _ => None,
    }
}

fn of_literal(op: CompareOp, literal: &Literal) -> Option<Vec<Branch>> {
    match literal {
        Literal::Untyped(text) => of_text(op, text),
        Literal::Typed(value) => of_value(op, value),
    }
}

fn of_value(op: CompareOp, value: &Value) -> Option<Vec<Branch>> {
    // Numbers and instants that BSON has no place for stand as documents.
    let as_document = || Branch::stray(Test::Types(vec!["object"]));
    let number = |with: Bson| {
        let mut all = vec![Branch::compare(Bracket::Number, op, with), as_document()];
        all.extend(above_all_numbers(op));
        Some(all)
    };
    match value {
        Value::Text(text) => Some(vec![Branch::compare(Bracket::Text, op, text.as_str())]),
        Value::Bool(b) => Some(vec![Branch::compare(Bracket::Bool, op, *b)]),
        Value::Uuid(id) => Some(vec![Branch::compare(Bracket::Uuid, op, uuid(*id.as_bytes()))]),
        Value::Int(n) => number(Bson::Int64(*n)),
        Value::Float(x) if !x.is_nan() => number(Bson::Double(*x)),
        Value::Decimal(decimal) if *decimal != Decimal::NaN => {
            number(Bson::Decimal128(Decimal128::from_bytes(decimal::to_bytes(decimal)?)))
        }
        Value::Instant(instant) => {
            let mut all = instants(op, *instant);
            all.push(as_document());
            Some(all)
        }
        _ => None,
    }
}

fn of_text(op: CompareOp, text: &str) -> Option<Vec<Branch>> {
    let is_eq = op == CompareOp::Eq;
    if is_eq && text.len() == ODD_DECIMAL_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut all = vec![Branch::compare(Bracket::Text, op, text)];
    all.extend(numbers(op, text)?);
    if let Ok(b) = text.parse::<bool>() {
        all.push(Branch::compare(Bracket::Bool, op, b));
    }
    if let Ok(instant) = text.parse::<Instant>() {
        all.extend(instants(op, instant));
    }
    match object_id(text) {
        Some(id) => all.push(Branch::compare(Bracket::ObjectId, op, id)),
        None if is_eq => {}
        None => all.push(Branch { bracket: Some(Bracket::ObjectId), test: Test::Types(vec!["objectId"]) }),
    }
    if let Ok(id) = Uuid::try_parse(text) {
        all.push(Branch::compare(Bracket::Uuid, op, uuid(*id.as_bytes())));
    }
    all.extend(strays(op, text));
    Some(all)
}

/// What is in no bracket, and may be what a text means.
fn strays(op: CompareOp, text: &str) -> Vec<Branch> {
    let mut types = WHOLE_TYPES.to_vec();
    if text.trim_start().starts_with('[') {
        types.push("array");
    }
    let mut all = Vec::new();
    if op == CompareOp::Eq {
        // Bytes are said by their base64, binary of other kinds by a document.
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
        let plain = bytes.map(|bytes| Binary { subtype: BinarySubtype::Generic, bytes });
        all.extend(plain.map(|plain| Branch::stray(Test::Is(plain.into()))));
        all.extend(text.parse().ok().map(|millis| Branch::stray(Test::Is(date(millis).into()))));
        if text.trim_start().starts_with('{') {
            types.push("binData");
        }
    } else {
        types.push("binData");
        all.extend(far_dates().map(|far| Branch::stray(Test::Holds(far))));
        all.push(Branch::stray(Test::Holds(odd_decimals())));
    }
    all.push(Branch::stray(Test::Types(types)));
    all
}

/// What is no number is above every number.
fn above_all_numbers(op: CompareOp) -> Option<Branch> {
    let is_in = matches!(op, CompareOp::Gt | CompareOp::Gte);
    is_in.then(|| Branch::compare(Bracket::NotANumber, CompareOp::Eq, f64::NAN))
}

/// The numbers that a text may say; `None`: it says one that is none.
fn numbers(op: CompareOp, text: &str) -> Option<Vec<Branch>> {
    if text.parse::<Decimal>().is_err() {
        return Some(Vec::new());
    }
    let mut all: Vec<Branch> = above_all_numbers(op).into_iter().collect();
    // Beyond 2^53 a float can have the text without having the value.
    if let Some(n) = text.parse::<i64>().ok().filter(|n| n.unsigned_abs() < 1 << 53) {
        all.push(Branch::compare(Bracket::Number, op, n));
        return Some(all);
    }
    // As others: a little more on both sides has whatever has this text.
    let x = text.parse::<f64>().ok().filter(|x| !x.is_nan())?;
    let test = match op {
        CompareOp::Gt | CompareOp::Gte => doc! { "$gte": x.next_down() },
        CompareOp::Lt | CompareOp::Lte => doc! { "$lte": x.next_up() },
        CompareOp::Eq | CompareOp::Neq => doc! { "$gte": x.next_down(), "$lte": x.next_up() },
    };
    all.push(Branch { bracket: Some(Bracket::Number), test: Test::Holds(test) });
    Some(all)
}

/// The dates that stand so to an instant; those between two milliseconds are documents.
fn instants(op: CompareOp, instant: Instant) -> Vec<Branch> {
    let Instant::Micros(micros) = instant else {
        return vec![Branch { bracket: Some(Bracket::Instant), test: Test::Types(vec!["date"]) }];
    };
    let (below, is_whole) = (micros.div_euclid(1_000), micros % 1_000 == 0);
    match op {
        CompareOp::Eq | CompareOp::Neq if !is_whole => Vec::new(),
        CompareOp::Lt | CompareOp::Lte if !is_whole => {
            vec![Branch::compare(Bracket::Instant, CompareOp::Lte, date(below))]
        }
        CompareOp::Gt | CompareOp::Gte if !is_whole => {
            vec![Branch::compare(Bracket::Instant, CompareOp::Gt, date(below))]
        }
        op => vec![Branch::compare(Bracket::Instant, op, date(below))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(path: &str, op: CompareOp, text: &str) -> Filter {
        Filter::Compare { path: Path::parse(path).unwrap(), op, literal: Literal::Untyped(text.to_owned()) }
    }

    fn eq(path: &str, text: &str) -> Option<Document> {
        implied(&compare(path, CompareOp::Eq, text))
    }

    #[test]
    fn only_what_can_be_said_is_said() {
        let values = |text: &str| {
            let found = eq("a", text).unwrap();
            let first = found.get_array("$or").unwrap()[0].as_document().unwrap();
            first.get_document("a").unwrap().get_array("$in").unwrap().len()
        };
        // As a text; and what else it may say.
        assert_eq!((values("x!"), values("5"), values("true"), values("05")), (1, 3, 3, 3));
        assert_eq!(values("5099803df3f4948bd2f98391"), 3, "an ObjectId, and bytes");
        assert_eq!(eq("a", "NaN"), None);
        assert_eq!(eq("a", "7c000000000000000000000000000001"), None, "a decimal of another writing");
        assert_eq!(eq("a.b", "x"), None, "MongoDB and core go into documents and arrays differently");
        assert_eq!(implied(&compare("a", CompareOp::Neq, "x")), None);
        let both = |f: fn(Vec<Filter>) -> Filter| {
            let filter = Filter::Is { path: Path::parse("a").unwrap(), what: IsWhat::Null };
            implied(&f(vec![filter, Filter::All]))
        };
        assert!(both(Filter::And).is_some());
        assert_eq!(both(Filter::Or), None);
    }

    #[test]
    fn a_bracket_is_narrowed_by_what_the_filter_says_of_its_type() {
        let check = |op, text: &str, bracket, expected: Option<Vec<Document>>| {
            let filter = Filter::And(vec![compare("a", op, text), compare("b", CompareOp::Eq, "y")]);
            assert_eq!(within(&filter, "a", "a", bracket), expected, "{op:?} {text} {bracket:?}");
        };
        check(CompareOp::Gt, "5", Bracket::Number, Some(vec![doc! { "a": { "$gt": 5i64 } }]));
        let above = within(&compare("a", CompareOp::Gt, "5"), "a", "a", Bracket::NotANumber);
        assert!(above.is_some_and(|above| above.len() == 1), "what is no number is above all of them");
        check(CompareOp::Lt, "5", Bracket::NotANumber, None);
        check(CompareOp::Gte, "x", Bracket::Text, Some(vec![doc! { "a": { "$gte": "x" } }]));
        check(CompareOp::Gte, "x", Bracket::Number, None);
        check(CompareOp::Gte, "x", Bracket::Null, None);
        let day = date(1_704_067_200_000);
        check(CompareOp::Lt, "2024-01-01T00:00:00Z", Bracket::Instant, Some(vec![doc! { "a": { "$lt": day } }]));
        let past = Some(vec![doc! { "a": { "$lte": day } }]);
        check(CompareOp::Lt, "2024-01-01T00:00:00.000001Z", Bracket::Instant, past);
        let null = Filter::Is { path: Path::parse("a").unwrap(), what: IsWhat::Null };
        assert_eq!(within(&null, "a", "_id", Bracket::Null), Some(vec![doc! { "_id": { "$in": [Bson::Null] } }]));
        assert_eq!(within(&null, "a", "_id", Bracket::Text), None);
        assert_eq!(within(&Filter::All, "a", "a", Bracket::Text), Some(vec![]));
    }
}
