//! Which values a declared type takes, and which scalars convert to it exactly.

use crate::shape::FieldType;
use crate::value::{Date, Decimal, Instant, LocalTimestamp, Time, Uuid, Value};

/// Integers up to here are exact as floats.
const FLOAT_EXACT_MAX: i64 = 1 << 53;

/// Whether a value is of the declared type. Null is for the caller to judge.
pub(crate) fn fits(value: &Value, ty: FieldType) -> bool {
    match ty {
        FieldType::Json => true,
        FieldType::Bool => matches!(value, Value::Bool(_)),
        FieldType::Int => matches!(value, Value::Int(_) | Value::UInt(_)),
        FieldType::Float => matches!(value, Value::Float(_)),
        FieldType::Decimal => matches!(value, Value::Decimal(_)),
        FieldType::Text => matches!(value, Value::Text(_)),
        FieldType::Bytes => matches!(value, Value::Bytes(_)),
        FieldType::Date => matches!(value, Value::Date(_)),
        FieldType::Time => matches!(value, Value::Time(_)),
        FieldType::Timestamp => matches!(value, Value::Local(_)),
        FieldType::Instant => matches!(value, Value::Instant(_)),
        FieldType::Uuid => matches!(value, Value::Uuid(_)),
        FieldType::Extended => matches!(value, Value::Extended(_)),
    }
}

/// The value as the declared type, where nothing is lost and there is only one
/// way to read it. Arrays and documents never convert.
pub(crate) fn exact(value: &Value, ty: FieldType) -> Option<Value> {
    match (ty, value) {
        (_, value) if fits(value, ty) => Some(value.clone()),
        (FieldType::Text, value) => to_text(value).map(Value::Text),
        (FieldType::Int, value) => to_int(value),
        (FieldType::Float, value) => to_float(value).map(Value::Float),
        (FieldType::Bool, Value::Text(text)) => match text.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        (FieldType::Decimal, value) => to_decimal(value).map(Value::Decimal),
        (FieldType::Date, Value::Text(text)) => canonical(text, text.parse().ok()?, Date::to_string).map(Value::Date),
        (FieldType::Time, Value::Text(text)) => canonical(text, text.parse().ok()?, Time::to_string).map(Value::Time),
        (FieldType::Timestamp, Value::Text(text)) => text.parse::<LocalTimestamp>().ok().map(Value::Local),
        (FieldType::Instant, Value::Text(text)) => text.parse::<Instant>().ok().map(Value::Instant),
        (FieldType::Uuid, Value::Text(text)) => {
            canonical(text, Uuid::parse_str(text).ok()?, |uuid| uuid.hyphenated().to_string()).map(Value::Uuid)
        }
        _ => None,
    }
}

/// Keeps what a text was read as only if it prints as that same text again.
fn canonical<T>(text: &str, read: T, print: impl Fn(&T) -> String) -> Option<T> {
    (print(&read) == text).then_some(read)
}

fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::UInt(n) => Some(n.to_string()),
        Value::Float(x) => Some(format!("{x:?}")),
        Value::Text(text) => Some(text.clone()),
        Value::Uuid(uuid) => Some(uuid.hyphenated().to_string()),
        Value::Decimal(decimal) => Some(decimal.to_string()),
        Value::Date(date) => Some(date.to_string()),
        Value::Time(time) => Some(time.to_string()),
        Value::Local(timestamp) => Some(timestamp.to_string()),
        Value::Instant(instant) => Some(instant.to_string()),
        Value::Extended(own) => Some(own.text.clone()),
        Value::Null | Value::Bytes(_) | Value::Array(_) | Value::Document(_) => None,
    }
}

fn to_int(value: &Value) -> Option<Value> {
    match value {
        Value::Text(text) => {
            if let Ok(n) = text.parse::<i64>() {
                return canonical(text, n, i64::to_string).map(Value::Int);
            }
            canonical(text, text.parse::<u64>().ok()?, u64::to_string).map(Value::from_u64)
        }
        Value::Decimal(decimal) => {
            let n = decimal.to_i128()?;
            i64::try_from(n).map(Value::Int).or_else(|_| u64::try_from(n).map(Value::from_u64)).ok()
        }
        Value::Float(x) if x.fract() == 0.0 && x.abs() <= FLOAT_EXACT_MAX as f64 => {
            Some(Value::Int(*x as i64)).filter(|_| x.is_sign_positive() || *x != 0.0)
        }
        _ => None,
    }
}

fn to_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) if n.unsigned_abs() <= FLOAT_EXACT_MAX.unsigned_abs() => Some(*n as f64),
        Value::Text(text) => canonical(text, text.parse::<f64>().ok()?, |x| format!("{x:?}")),
        Value::Decimal(decimal) => decimal_to_float(decimal),
        _ => None,
    }
}

/// A float whose shortest form is this number; `None` when digits would be lost.
pub(crate) fn decimal_to_float(decimal: &Decimal) -> Option<f64> {
    let x = decimal.nearest_f64();
    let again = float_to_decimal(x)?;
    (again.compare(decimal).is_eq() && !(decimal.is_zero() && x.is_sign_negative())).then_some(x)
}

/// The number that a float's shortest form shows.
pub(crate) fn float_to_decimal(x: f64) -> Option<Decimal> {
    match x.is_finite() {
        true => format!("{x:?}").parse().ok(),
        false => Some(Decimal::from_f64(x)),
    }
}

fn to_decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(n) => Some(Decimal::from_int(i128::from(*n))),
        Value::UInt(n) => Some(Decimal::from_int(i128::from(*n))),
        Value::Float(x) if *x != 0.0 || x.is_sign_positive() => float_to_decimal(*x),
        Value::Text(text) => canonical(text, text.parse().ok()?, Decimal::to_string),
        _ => None,
    }
}
