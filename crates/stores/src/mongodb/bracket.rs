//! Brackets: types whose values an index gives in canonical order, each by itself.
//!
//! An index orders by type first, in an order of its own; within a bracket it
//! orders as core does, but for equal numbers of several types, which stand
//! among each other. What an index has besides brackets is *stray*: where it has
//! any, it gives no canonical order. Arrays are none of both: an index on a field
//! that ever had one is told by the server.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use shearwater_core::Value;
use shearwater_core::value::{Decimal, Instant};

use super::decimal;
use super::value::FAMILY;

/// The dates that are instants of core, ms: the others reach beyond its microseconds.
const INSTANT_MS: (i64, i64) = (i64::MIN / 1_000, i64::MAX / 1_000);

/// Types of which every value is stray, by their names in queries. A query for
/// arrays would read the whole index.
const STRAY_TYPES: [&str; 9] =
    ["minKey", "undefined", "object", "timestamp", "regex", "dbPointer", "javascript", "javascriptWithScope", "maxKey"];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bracket {
    /// Null or missing.
    Null,
    Bool,
    /// Every number but those that are none.
    Number,
    NotANumber,
    Text,
    Instant,
    Uuid,
    ObjectId,
}

impl Bracket {
    /// Those with values, in canonical order.
    pub(super) const RISING: [Bracket; 7] = [
        Bracket::Bool,
        Bracket::Number,
        Bracket::NotANumber,
        Bracket::Text,
        Bracket::Instant,
        Bracket::Uuid,
        Bracket::ObjectId,
    ];

    /// Where a value stands; `None`: in none.
    pub(super) fn of(value: Option<&Value>) -> Option<Bracket> {
        Some(match value {
            None | Some(Value::Null) => Bracket::Null,
            Some(Value::Bool(_)) => Bracket::Bool,
            Some(Value::Float(x)) if x.is_nan() => Bracket::NotANumber,
            Some(Value::Decimal(Decimal::NaN)) => Bracket::NotANumber,
            Some(Value::Int(_) | Value::Float(_)) => Bracket::Number,
            Some(Value::Decimal(decimal)) if decimal::to_bytes(decimal).is_some() => Bracket::Number,
            Some(Value::Text(_)) => Bracket::Text,
            Some(Value::Instant(Instant::Micros(micros))) if micros % 1_000 == 0 => Bracket::Instant,
            Some(Value::Uuid(_)) => Bracket::Uuid,
            Some(Value::Extended(own)) if is_object_id(&own.store, &own.type_name, &own.text) => Bracket::ObjectId,
            Some(_) => return None,
        })
    }

    /// What a query asks of the values.
    pub(super) fn test(self) -> Document {
        match self {
            Bracket::Null => doc! { "$eq": Bson::Null },
            Bracket::Bool => doc! { "$gte": false, "$lte": true },
            Bracket::Number => doc! { "$gte": f64::NEG_INFINITY, "$lte": f64::INFINITY },
            Bracket::NotANumber => doc! { "$eq": f64::NAN },
            Bracket::Text => doc! { "$gte": "" },
            Bracket::Instant => doc! { "$gte": date(INSTANT_MS.0), "$lte": date(INSTANT_MS.1) },
            Bracket::Uuid => doc! { "$gte": uuid([0; 16]), "$lte": uuid([0xff; 16]) },
            Bracket::ObjectId => {
                doc! { "$gte": ObjectId::from_bytes([0; 12]), "$lte": ObjectId::from_bytes([0xff; 12]) }
            }
        }
    }
}

/// Whether an extended value is an ObjectId.
fn is_object_id(store: &str, type_name: &str, text: &str) -> bool {
    store == FAMILY && type_name == "objectId" && object_id(text).is_some()
}

/// The ObjectId that a text is, as core writes it.
pub(super) fn object_id(text: &str) -> Option<ObjectId> {
    let is_ours = text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ObjectId::parse_str(text).ok().filter(|_| is_ours)
}

pub(super) fn date(millis: i64) -> DateTime {
    DateTime::from_millis(millis)
}

pub(super) fn uuid(bytes: [u8; 16]) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() }
}

/// Dates beyond core's instants, on both sides.
pub(super) fn far_dates() -> [Document; 2] {
    [doc! { "$lt": date(INSTANT_MS.0) }, doc! { "$gt": date(INSTANT_MS.1) }]
}

/// Where decimals stand that are another writing of what has a canonical one:
/// they are no numbers to core.
pub(super) fn odd_decimals() -> Document {
    doc! { "$in": [f64::NAN, 0.0, f64::INFINITY, f64::NEG_INFINITY], "$type": "decimal" }
}

fn any(field: &str, tests: impl IntoIterator<Item = Document>) -> Document {
    let tests: Vec<Document> = tests.into_iter().map(|test| doc! { field: test }).collect();
    doc! { "$or": tests }
}

fn stray_tests() -> Vec<Document> {
    let mut tests = vec![doc! { "$type": STRAY_TYPES.as_slice() }];
    tests.extend(far_dates());
    tests.extend([doc! { "$lt": uuid([0; 16]) }, doc! { "$gt": uuid([0xff; 16]) }]);
    tests
}

/// What finds a value that is in no bracket, but for arrays, symbols and odd decimals.
pub(super) fn stray(field: &str) -> Document {
    any(field, stray_tests())
}

/// What finds a value that is not in this bracket, but for arrays and symbols.
pub(super) fn outside(field: &str, bracket: Bracket) -> Document {
    let others = Bracket::RISING.into_iter().chain([Bracket::Null]).filter(|other| *other != bracket);
    let mut tests: Vec<Document> = others.map(Bracket::test).collect();
    tests.extend(stray_tests());
    tests.push(odd_decimals());
    any(field, tests)
}

#[cfg(test)]
mod tests {
    use shearwater_core::value::{Extended, order};

    use super::super::encode;
    use super::super::value;
    use super::*;

    fn own(type_name: &str, text: &str) -> Value {
        Value::Extended(Box::new(Extended { store: FAMILY.into(), type_name: type_name.into(), text: text.into() }))
    }

    #[test]
    fn brackets_stand_in_canonical_order_and_what_is_stored_otherwise_is_in_none() {
        let id = own("objectId", "5099803df3f4948bd2f98391");
        let values = [
            Value::Bool(true),
            Value::Int(5),
            Value::Float(f64::NAN),
            Value::text("a"),
            Value::Instant(Instant::Micros(1_000)),
            Value::Uuid(shearwater_core::value::Uuid::from_bytes([7; 16])),
            id,
        ];
        assert!(values.windows(2).all(|pair| order::compare(&pair[0], &pair[1]).is_lt()));
        let found: Vec<Bracket> = values.iter().map(|value| Bracket::of(Some(value)).unwrap()).collect();
        assert_eq!(found, Bracket::RISING);
        let none = [
            Value::UInt(u64::MAX),
            Value::Decimal("1e-7000".parse().unwrap()),
            Value::Instant(Instant::Micros(1)),
            Value::Instant(Instant::Infinity),
            Value::Bytes(vec![1]),
            own("objectId", "5099803DF3F4948BD2F98391"),
            own("symbol", "a"),
        ];
        for value in none {
            assert_eq!(Bracket::of(Some(&value)), None, "{value:?}");
        }
    }

    #[test]
    fn the_last_dates_that_are_instants() {
        let read = |millis: i64| {
            let stored = encode::value(&own("date", &millis.to_string())).unwrap();
            let known = value::value(stored.get()).unwrap();
            Bracket::of(Some(&known))
        };
        let (low, high) = INSTANT_MS;
        assert_eq!([low - 1, high + 1].map(read), [None, None]);
        let instant = |millis| Bracket::of(Instant::from_millis(millis).map(Value::Instant).as_ref());
        assert_eq!([low, high].map(instant), [Some(Bracket::Instant); 2]);
    }
}
