//! What a literal of a query string means beside a value.

use std::cmp::Ordering;

use base64::Engine as _;

use super::Literal;
use crate::value::{Decimal, Uuid, Value, json, order};

impl Literal {
    /// How a value stands to this literal, for example `Less` when the value is
    /// below it; `None` when the two do not compare.
    ///
    /// Numbers compare by value, whatever their type; other values compare with
    /// their own type only, in canonical order. An untyped literal is read as
    /// the type of the value; what cannot be read as that does not compare.
    pub fn compare(&self, value: &Value) -> Option<Ordering> {
        match self {
            Literal::Typed(literal) => compare_values(value, literal),
            Literal::Untyped(text) => compare_text(value, text),
        }
    }
}

fn compare_values(value: &Value, literal: &Value) -> Option<Ordering> {
    if let Some(ordering) = order::compare_numbers(value, literal) {
        return Some(ordering);
    }
    (value.type_name() == literal.type_name()).then(|| order::compare(value, literal))
}

fn compare_text(value: &Value, text: &str) -> Option<Ordering> {
    if let Value::Text(value) = value {
        return Some(value.as_bytes().cmp(text.as_bytes()));
    }
    compare_values(value, &read_as(value, text)?)
}

/// The literal as a value of the same type as `model`.
fn read_as(model: &Value, text: &str) -> Option<Value> {
    match model {
        Value::Null => None,
        Value::Bool(_) => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Int(_) | Value::UInt(_) | Value::Decimal(_) => text.parse().ok().map(Value::Decimal),
        // The text of a float stands for the float, not for its decimal digits.
        Value::Float(_) => {
            text.parse::<Decimal>().ok()?;
            text.parse().ok().map(Value::Float)
        }
        Value::Text(_) => Some(Value::text(text)),
        Value::Bytes(_) => base64::engine::general_purpose::STANDARD.decode(text).ok().map(Value::Bytes),
        Value::Date(_) => text.parse().ok().map(Value::Date),
        Value::Time(_) => text.parse().ok().map(Value::Time),
        Value::Local(_) => text.parse().ok().map(Value::Local),
        Value::Instant(_) => text.parse().ok().map(Value::Instant),
        Value::Uuid(_) => Uuid::try_parse(text).ok().map(Value::Uuid),
        Value::Array(_) | Value::Document(_) => json::parse(text.as_bytes()).ok(),
        Value::Extended(own) => {
            let mut own = own.clone();
            text.clone_into(&mut own.text);
            Some(Value::Extended(own))
        }
    }
}
