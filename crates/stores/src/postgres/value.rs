//! Values of declared types as cells of the server's types, and back.
//!
//! A value goes in only when the same value comes out again. Where the column's
//! type is not the field's own: a text column holds dates, decimals, floats,
//! uuids and JSON as core prints them; a numeric column holds integers, an
//! integer column decimals without a fraction; a type that we do not know is
//! its text, which the server must give back as it took it.

use std::fmt::Display;
use std::str::FromStr;

use shearwater_core::Value;
use shearwater_core::shape::FieldType;
use shearwater_core::value::{Date, Decimal, Extended, Instant, LocalTimestamp, Time, Uuid, json};

use super::cell::{Cell, array_cell, array_elements};
use super::native::{Native, Wire};
use super::numeric;

/// From 1970-01-01 to the server's epoch 2000-01-01, days.
const EPOCH_DAYS: i32 = 10_957;

/// The same in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The server's first timestamp, 4714-11-24 BC, microseconds from its epoch.
const MICROS_MIN: i64 = -211_813_488_000_000_000;

/// The end of the server's timestamps, microseconds from its epoch.
const MICROS_END: i64 = 9_223_371_331_200_000_000;

/// The server's first date and the end of its dates, days from its epoch.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// What the values of the server's own types are tagged with.
pub(super) const STORE: &str = "postgres";

/// The cell of a value, or why the column does not take it.
pub(super) fn to_cell(ty: FieldType, native: &Native, value: &Value) -> Result<Cell, String> {
    if value.is_null() {
        return Ok(Cell::Null);
    }
    check_type(ty, value)?;
    match &native.wire {
        Wire::Text | Wire::Blank => to_text(ty, native, value),
        wire => to_wire(native, wire, value).map(Cell::Raw),
    }
}

fn check_type(ty: FieldType, value: &Value) -> Result<(), String> {
    let takes = match ty {
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
        FieldType::Json => true,
    };
    if takes { Ok(()) } else { Err(format!("takes {}, found {}", ty.name(), value.type_name())) }
}

/// A text column: what core prints, but for what has no text of its own.
fn to_text(ty: FieldType, native: &Native, value: &Value) -> Result<Cell, String> {
    let text = match value {
        value if ty == FieldType::Json => json::to_string(value),
        Value::Text(text) => text.clone(),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::Date(date) => date.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Local(local) => local.to_string(),
        Value::Instant(instant) => instant.to_string(),
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Bytes(_) | Value::Bool(_) => {
            return Err(format!("the column is {}, which does not hold {}", native.declared, value.type_name()));
        }
        other => json::to_string(other),
    };
    plain_text(native, text).map(Cell::text)
}

fn plain_text(native: &Native, text: String) -> Result<String, String> {
    if text.contains('\0') {
        return Err("holds U+0000, which PostgreSQL's text cannot hold".into());
    }
    if native.wire == Wire::Blank && text.ends_with(' ') {
        return Err(format!("ends with a blank, which {} does not keep", native.declared));
    }
    // The server cuts blanks at the end off without a word.
    if let Some(chars_max) = native.chars_max
        && text.len() > chars_max
        && text.chars().count() > chars_max
    {
        return Err(format!("is longer than {}", native.declared));
    }
    Ok(text)
}

fn to_wire(native: &Native, wire: &Wire, value: &Value) -> Result<Vec<u8>, String> {
    let misfit = || format!("the column is {}, which does not hold {}", native.declared, value.type_name());
    Ok(match (wire, value) {
        (Wire::Bool, Value::Bool(b)) => vec![u8::from(*b)],
        (Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid, value) => integer(native, wire, value)?,
        (Wire::Float4, Value::Float(x)) => {
            let narrow = *x as f32;
            if f64::from(narrow).to_bits() != x.to_bits() {
                return Err("the column is real, which would round the float".into());
            }
            narrow.to_be_bytes().to_vec()
        }
        (Wire::Float8, Value::Float(x)) => x.to_be_bytes().to_vec(),
        (Wire::Numeric, Value::Decimal(decimal)) => {
            check_digits(native, decimal)?;
            numeric::encode(decimal)?
        }
        (Wire::Numeric, Value::Int(n)) => whole_number(native, i128::from(*n))?,
        (Wire::Numeric, Value::UInt(n)) => whole_number(native, i128::from(*n))?,
        (Wire::Bytea, Value::Bytes(bytes)) => bytes.clone(),
        (Wire::Date, Value::Date(date)) => days(*date)?.to_be_bytes().to_vec(),
        (Wire::Time, Value::Time(time)) => {
            check_fraction(native, time.micros)?;
            time.micros.to_be_bytes().to_vec()
        }
        (Wire::Timestamp, Value::Local(local)) => match local {
            LocalTimestamp::Infinity => i64::MAX,
            LocalTimestamp::NegInfinity => i64::MIN,
            LocalTimestamp::Micros(micros) => server_micros(native, *micros)?,
        }
        .to_be_bytes()
        .to_vec(),
        (Wire::Instant, Value::Instant(instant)) => match instant {
            Instant::Infinity => i64::MAX,
            Instant::NegInfinity => i64::MIN,
            Instant::Micros(micros) => server_micros(native, *micros)?,
        }
        .to_be_bytes()
        .to_vec(),
        (Wire::Uuid, Value::Uuid(uuid)) => uuid.as_bytes().to_vec(),
        (Wire::Json, value) => json::to_string(value).into_bytes(),
        (Wire::Jsonb, value) => {
            let text = json::to_string(value);
            jsonb_keeps(&text)?;
            let mut raw = Vec::with_capacity(text.len() + 1);
            raw.push(1);
            raw.extend_from_slice(text.as_bytes());
            raw
        }
        (Wire::Array(element), Value::Array(items)) => array(native, element, items)?,
        (Wire::Server, Value::Extended(own)) => {
            if own.store != STORE || own.type_name != native.base {
                let found = format!("{} of {}", own.type_name, own.store);
                return Err(format!("the column is {}, found {found}", native.declared));
            }
            plain_text(native, own.text.clone())?.into_bytes()
        }
        (Wire::Server, Value::Text(text)) => {
            if !native.labels.is_empty() && !native.labels.contains(text) {
                return Err(format!("is none of the labels of {}", native.declared));
            }
            plain_text(native, text.clone())?.into_bytes()
        }
        _ => return Err(misfit()),
    })
}

fn integer(native: &Native, wire: &Wire, value: &Value) -> Result<Vec<u8>, String> {
    let n = match value {
        Value::Int(n) => i128::from(*n),
        Value::UInt(n) => i128::from(*n),
        Value::Decimal(decimal @ Decimal::Finite { scale: 0, .. }) => {
            let n = decimal.to_i128().ok_or_else(|| out_of(native))?;
            if Decimal::from_int(n) != *decimal {
                return Err("an integer column has no negative zero".into());
            }
            n
        }
        other => {
            return Err(format!("the column is {}, which does not hold this {}", native.declared, other.type_name()));
        }
    };
    Ok(match wire {
        Wire::Int2 => i16::try_from(n).map_err(|_| out_of(native))?.to_be_bytes().to_vec(),
        Wire::Int4 => i32::try_from(n).map_err(|_| out_of(native))?.to_be_bytes().to_vec(),
        Wire::Oid => u32::try_from(n).map_err(|_| out_of(native))?.to_be_bytes().to_vec(),
        _ => i64::try_from(n)
            .map_err(|_| format!("{}; declare the field as decimal", out_of(native)))?
            .to_be_bytes()
            .to_vec(),
    })
}

fn out_of(native: &Native) -> String {
    format!("is out of the range of {}", native.declared)
}

fn whole_number(native: &Native, n: i128) -> Result<Vec<u8>, String> {
    let decimal = Decimal::from_int(n);
    check_digits(native, &decimal)?;
    numeric::encode(&decimal)
}

/// `numeric(p, s)` rounds, and fills with zeros, what has another scale.
fn check_digits(native: &Native, decimal: &Decimal) -> Result<(), String> {
    let (Some((precision, scale)), Decimal::Finite { digits, scale: found, .. }) = (native.digits, decimal) else {
        return Ok(());
    };
    if *found != scale {
        let what = if *found > scale { "would round" } else { "would lengthen" };
        return Err(format!("has {found} digits after the point: {} {what} it", native.declared));
    }
    if digits.len() as i64 > i64::from(precision) && !decimal.is_zero() {
        return Err(out_of(native));
    }
    Ok(())
}

fn check_fraction(native: &Native, micros: i64) -> Result<(), String> {
    let unit = 10_i64.pow(6_u32.saturating_sub(native.fraction_digits));
    if micros % unit == 0 {
        return Ok(());
    }
    Err(format!("has more digits of a second than {} keeps", native.declared))
}

fn server_micros(native: &Native, micros: i64) -> Result<i64, String> {
    check_fraction(native, micros)?;
    match micros.checked_sub(EPOCH_MICROS) {
        Some(found) if (MICROS_MIN..MICROS_END).contains(&found) => Ok(found),
        _ => Err(out_of(native)),
    }
}

fn days(date: Date) -> Result<i32, String> {
    match date {
        Date::Infinity => Ok(i32::MAX),
        Date::NegInfinity => Ok(i32::MIN),
        Date::Days(days) => days
            .checked_sub(EPOCH_DAYS)
            .filter(|days| DAYS.contains(days))
            .ok_or_else(|| "is out of the range of date".to_owned()),
    }
}

fn array(native: &Native, element: &Wire, items: &[Value]) -> Result<Vec<u8>, String> {
    let plain = Native { wire: element.clone(), ..native.clone() };
    let cells = items.iter().map(|item| match item {
        Value::Null => Ok(Cell::Null),
        item => {
            if check_type(element.field_type(), item).is_err() {
                return Err(format!("the column is {}, found {} in it", native.declared, item.type_name()));
            }
            to_cell(element.field_type(), &plain, item)
        }
    });
    let cells = cells.collect::<Result<Vec<_>, _>>()?;
    match array_cell(element.oid(), cells.iter()) {
        Cell::Raw(raw) => Ok(raw),
        Cell::Null => Ok(Vec::new()),
    }
}

/// The value of a cell, or why the column does not read as the type.
pub(super) fn from_cell(ty: FieldType, native: &Native, cell: &Cell) -> Result<Value, String> {
    let Cell::Raw(raw) = cell else { return Ok(Value::Null) };
    match (&native.wire, ty) {
        (Wire::Text | Wire::Blank, ty) => from_text(ty, native, raw),
        (Wire::Server, FieldType::Text) => Ok(Value::text(utf8(raw)?)),
        (Wire::Server, FieldType::Extended) => Ok(Value::Extended(Box::new(Extended {
            store: STORE.to_owned(),
            type_name: native.base.clone(),
            text: utf8(raw)?.to_owned(),
        }))),
        (Wire::Numeric, FieldType::Int) => match numeric::decode(raw)? {
            decimal @ Decimal::Finite { scale: 0, .. } => decimal
                .to_i128()
                .and_then(|n| i64::try_from(n).map(Value::Int).or_else(|_| u64::try_from(n).map(Value::from_u64)).ok())
                .ok_or_else(|| "holds a number that is no 64-bit integer".to_owned()),
            _ => Err("holds a number with a fraction, which does not read as int".into()),
        },
        (Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid, FieldType::Decimal) => match from_wire(&native.wire, raw)? {
            Value::Int(n) => Ok(Value::Decimal(Decimal::from_int(i128::from(n)))),
            _ => Err("does not read as decimal".into()),
        },
        (wire, ty) if wire.field_type() == ty => from_wire(wire, raw),
        (Wire::Json | Wire::Jsonb, FieldType::Extended) => match from_wire(&native.wire, raw)? {
            value @ Value::Extended(_) => Ok(value),
            _ => Err("the JSON is no store's own type".into()),
        },
        (_, ty) => Err(format!("is {}, which does not read as {}", native.declared, ty.name())),
    }
}

fn from_text(ty: FieldType, native: &Native, raw: &[u8]) -> Result<Value, String> {
    let text = utf8(raw)?;
    Ok(match ty {
        FieldType::Text => Value::text(text),
        FieldType::Decimal => Value::Decimal(parsed(ty, text)?),
        FieldType::Date => Value::Date(parsed(ty, text)?),
        FieldType::Time => Value::Time(parsed(ty, text)?),
        FieldType::Timestamp => Value::Local(parsed(ty, text)?),
        FieldType::Instant => Value::Instant(parsed(ty, text)?),
        FieldType::Uuid => Value::Uuid(parsed::<Uuid>(ty, text)?),
        FieldType::Json => json::parse(raw).map_err(|e| format!("the text is no JSON: {}", e.message))?,
        FieldType::Int | FieldType::Float => match json::parse(raw) {
            Ok(value) if check_type(ty, &value).is_ok() && json::to_string(&value) == text => value,
            _ => return Err(format!("the text does not read as {}", ty.name())),
        },
        FieldType::Extended => match json::parse(raw) {
            Ok(value @ Value::Extended(_)) => value,
            _ => return Err("the text is no store's own type in our JSON".into()),
        },
        FieldType::Bool | FieldType::Bytes => {
            return Err(format!("is {}, which does not read as {}", native.declared, ty.name()));
        }
    })
}

fn from_wire(wire: &Wire, raw: &[u8]) -> Result<Value, String> {
    Ok(match wire {
        Wire::Bool => Value::Bool(fixed::<1>(raw)?[0] != 0),
        Wire::Int2 => Value::Int(i64::from(i16::from_be_bytes(fixed(raw)?))),
        Wire::Int4 => Value::Int(i64::from(i32::from_be_bytes(fixed(raw)?))),
        Wire::Int8 => Value::Int(i64::from_be_bytes(fixed(raw)?)),
        Wire::Oid => Value::Int(i64::from(u32::from_be_bytes(fixed(raw)?))),
        Wire::Float4 => Value::Float(f64::from(f32::from_be_bytes(fixed(raw)?))),
        Wire::Float8 => Value::Float(f64::from_be_bytes(fixed(raw)?)),
        Wire::Numeric => Value::Decimal(numeric::decode(raw)?),
        Wire::Text | Wire::Blank => Value::text(utf8(raw)?),
        Wire::Server => return Err("is of a type that is read as text only".into()),
        Wire::Bytea => Value::Bytes(raw.to_vec()),
        Wire::Date => Value::Date(match i32::from_be_bytes(fixed(raw)?) {
            i32::MAX => Date::Infinity,
            i32::MIN => Date::NegInfinity,
            days => Date::Days(days.checked_add(EPOCH_DAYS).ok_or("holds a date beyond what can be read")?),
        }),
        Wire::Time => Value::Time(Time { micros: i64::from_be_bytes(fixed(raw)?) }),
        Wire::Timestamp => Value::Local(match i64::from_be_bytes(fixed(raw)?) {
            i64::MAX => LocalTimestamp::Infinity,
            i64::MIN => LocalTimestamp::NegInfinity,
            micros => LocalTimestamp::Micros(client_micros(micros)?),
        }),
        Wire::Instant => Value::Instant(match i64::from_be_bytes(fixed(raw)?) {
            i64::MAX => Instant::Infinity,
            i64::MIN => Instant::NegInfinity,
            micros => Instant::Micros(client_micros(micros)?),
        }),
        Wire::Uuid => Value::Uuid(Uuid::from_bytes(fixed(raw)?)),
        Wire::Json | Wire::Jsonb => {
            json::parse(json_text(wire, raw)?).map_err(|e| format!("the JSON cannot be read: {}", e.message))?
        }
        Wire::Array(element) => {
            let cells = array_elements(raw)?;
            let values = cells.iter().map(|cell| match cell {
                Cell::Null => Ok(Value::Null),
                Cell::Raw(raw) => from_wire(element, raw),
            });
            Value::Array(values.collect::<Result<_, String>>()?)
        }
    })
}

/// The text of a `json` or `jsonb` cell.
pub(super) fn json_text<'a>(wire: &Wire, raw: &'a [u8]) -> Result<&'a [u8], String> {
    match wire {
        Wire::Jsonb => raw.strip_prefix(&[1]).ok_or_else(|| "the server's jsonb is of an unknown version".to_owned()),
        _ => Ok(raw),
    }
}

/// Refuses a JSON text that would come out of a `jsonb` column as another
/// value: there, numbers are `numeric`, which writes exponents out and knows no
/// negative zero, and texts hold no U+0000. (It may sort a document's fields.)
pub(super) fn jsonb_keeps(json: &str) -> Result<(), String> {
    let mut rest = json.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => text_end(after)?,
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                let (number, after) = rest.split_at(length.count());
                let is_zero = number.iter().all(|b| matches!(b, b'-' | b'0' | b'.'));
                if number.contains(&b'e') || number.contains(&b'E') || (number.starts_with(b"-") && is_zero) {
                    return Err("holds a number that jsonb keeps in another form; a json column keeps it".into());
                }
                after
            }
            _ => after,
        };
    }
    Ok(())
}

/// What follows a JSON string, whose first quote is read already.
fn text_end(mut rest: &[u8]) -> Result<&[u8], String> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'u', b'0', b'0', b'0', b'0', ..] => {
                return Err("holds U+0000, which jsonb cannot hold; a json column can".into());
            }
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return Ok(rest),
        };
    }
}

/// Whether a time of the server's is one that we read.
pub(super) fn is_read_time(raw: &[u8]) -> bool {
    fixed(raw)
        .map(i64::from_be_bytes)
        .is_ok_and(|micros| matches!(micros, i64::MIN | i64::MAX) || client_micros(micros).is_ok())
}

fn client_micros(micros: i64) -> Result<i64, String> {
    micros.checked_add(EPOCH_MICROS).ok_or_else(|| "holds a time beyond what can be read".to_owned())
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], String> {
    raw.try_into().map_err(|_| format!("the server sent {} bytes where {N} were expected", raw.len()))
}

fn utf8(raw: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(raw).map_err(|_| "the text is not valid UTF-8".to_owned())
}

/// Reads a text in the one form in which it is written.
fn parsed<T: FromStr + Display>(ty: FieldType, text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value.to_string() == text => Ok(value),
        Ok(_) => Err(format!("the text is a {}, but not in its one form", ty.name())),
        Err(_) => Err(format!("the text does not read as {}", ty.name())),
    }
}

/// The type that `provision` gives a column, and a key column: a key must tell
/// apart what a number's or a float's equality does not.
pub(super) fn declared(ty: FieldType, place: Place) -> &'static str {
    match (ty, place) {
        (FieldType::Bool, _) => "boolean",
        (FieldType::Int, _) => "bigint",
        (FieldType::Float, Place::Value) => "double precision",
        (FieldType::Decimal, Place::Value) => "numeric",
        (FieldType::Text, Place::Value) => "text",
        (FieldType::Bytes, _) => "bytea",
        (FieldType::Date, _) => "date",
        (FieldType::Time, _) => "time",
        (FieldType::Timestamp, _) => "timestamp",
        (FieldType::Instant, _) => "timestamptz",
        (FieldType::Uuid, _) => "uuid",
        (FieldType::Json | FieldType::Extended, Place::Value) => "json",
        (
            FieldType::Float | FieldType::Decimal | FieldType::Text | FieldType::Json | FieldType::Extended,
            Place::Key,
        ) => "text COLLATE \"C\"",
    }
}

/// Where a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the key.
    Key,
    /// Beside it.
    Value,
}
