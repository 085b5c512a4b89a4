//! Constants and defaults: TOML values as exact values of a declared type.

use base64::Engine as _;
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::read::{Item, Reader, shown_type};
use crate::shape::FieldType;
use crate::value::{Date, Decimal, Document, Instant, LocalTimestamp, Time, Uuid, Value};

/// A constant of a field's type. What TOML cannot write as that type is
/// written as text (`"1.10"` for a decimal), and nothing is converted beyond that.
pub(super) fn constant(reader: &mut Reader<'_>, item: &Item<'_>, ty: FieldType) -> Option<Value> {
    match convert(item.value.get_ref(), ty) {
        Ok(value) => Some(value),
        Err(message) => {
            let message = format!("`{}`: {message}", item.key);
            reader.problem("spec/value", item.span(), message, example_of(ty));
            None
        }
    }
}

fn example_of(ty: FieldType) -> Option<String> {
    let example = match ty {
        FieldType::Bool => "true",
        FieldType::Int => "42",
        FieldType::Float => "1.5",
        FieldType::Decimal => "\"1.10\"",
        FieldType::Text => "\"text\"",
        FieldType::Bytes => "\"AAEC\" (base64)",
        FieldType::Date => "2026-01-31",
        FieldType::Time => "12:30:00",
        FieldType::Timestamp => "2026-01-31T12:30:00",
        FieldType::Instant => "2026-01-31T12:30:00Z",
        FieldType::Uuid => "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
        FieldType::Json | FieldType::Extended => return None,
    };
    Some(format!("a value of this type is written as {example}"))
}

fn convert(value: &DeValue<'_>, ty: FieldType) -> Result<Value, String> {
    let found = shown_type(value);
    let expected = |what: &str| Err(format!("expected {what}, found {found}"));
    match (ty, value) {
        (FieldType::Json, value) => any(value),
        (FieldType::Bool, DeValue::Boolean(_))
        | (FieldType::Int, DeValue::Integer(_))
        | (FieldType::Float, DeValue::Float(_))
        | (FieldType::Text, DeValue::String(_)) => any(value),
        (FieldType::Decimal, DeValue::String(text)) => decimal(text),
        (FieldType::Bytes, DeValue::String(text)) => base64::engine::general_purpose::STANDARD
            .decode(text.as_bytes())
            .map(Value::Bytes)
            .map_err(|error| format!("this is not base64: {error}")),
        (FieldType::Uuid, DeValue::String(text)) => {
            Uuid::parse_str(text).map(Value::Uuid).map_err(|error| format!("this is no UUID: {error}"))
        }
        (FieldType::Date | FieldType::Time | FieldType::Timestamp | FieldType::Instant, DeValue::Datetime(_)) => {
            let value = any(value)?;
            let wanted = ty.name();
            if value.type_name() == wanted {
                return Ok(value);
            }
            Err(format!("expected {wanted}, found {}", value.type_name()))
        }
        (FieldType::Bool, _) => expected("true or false"),
        (FieldType::Int, _) => expected("an integer"),
        (FieldType::Float, _) => expected("a float"),
        (FieldType::Text, _) => expected("a text"),
        (FieldType::Decimal, _) => expected("a decimal in quotes"),
        (FieldType::Bytes, _) => expected("base64 in quotes"),
        (FieldType::Uuid, _) => expected("a UUID in quotes"),
        (FieldType::Date, _) => expected("a date"),
        (FieldType::Time, _) => expected("a time"),
        (FieldType::Timestamp, _) => expected("a timestamp without a zone"),
        (FieldType::Instant, _) => expected("a timestamp with a zone"),
        (FieldType::Extended, _) => Err("a store's own type has no constants".to_owned()),
    }
}

/// Every type by its name.
pub(super) const FIELD_TYPES: [FieldType; 13] = [
    FieldType::Bool,
    FieldType::Int,
    FieldType::Float,
    FieldType::Decimal,
    FieldType::Text,
    FieldType::Bytes,
    FieldType::Date,
    FieldType::Time,
    FieldType::Timestamp,
    FieldType::Instant,
    FieldType::Uuid,
    FieldType::Json,
    FieldType::Extended,
];

/// A TOML value as the value that it plainly is.
fn any(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::text(text.as_ref()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            i64::from_str_radix(digits, radix)
                .map(Value::Int)
                .or_else(|_| u64::from_str_radix(digits, radix).map(Value::from_u64))
                .map_err(|_| "the integer does not fit in 64 bits".to_owned())?
        }
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| "the float cannot be read".to_owned())?)
        }
        DeValue::Datetime(datetime) => moment(datetime)?,
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| any(value.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let mut document = Document::new();
            for (key, value) in entries {
                document.set(key.get_ref().as_ref(), any(value.get_ref())?);
            }
            Value::Document(document)
        }
    })
}

fn moment(datetime: &Datetime) -> Result<Value, String> {
    let days = match datetime.date {
        Some(date) => {
            let number = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
            let year = i16::try_from(date.year).map_err(|_| "the year is out of range".to_owned())?;
            let date = jiff::civil::Date::new(year, number(date.month), number(date.day))
                .map_err(|_| "there is no such day".to_owned())?;
            Some(jiff::civil::date(1970, 1, 1).until(date).map_err(|error| error.to_string())?.get_days())
        }
        None => None,
    };
    let micros = match datetime.time {
        Some(time) => {
            let nanos = time.nanosecond.unwrap_or(0);
            if nanos % 1_000 != 0 {
                return Err("times have microseconds, no finer".to_owned());
            }
            let seconds =
                i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
            Some(seconds * 1_000_000 + i64::from(nanos / 1_000))
        }
        None => None,
    };
    const DAY_MICROS: i64 = 86_400_000_000;
    Ok(match (days, micros, datetime.offset) {
        (Some(days), None, _) => Value::Date(Date::Days(days)),
        (None, Some(micros), _) => Value::Time(Time { micros }),
        (Some(days), Some(micros), None) => Value::Local(LocalTimestamp::Micros(i64::from(days) * DAY_MICROS + micros)),
        (Some(days), Some(micros), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            Value::Instant(Instant::Micros(i64::from(days) * DAY_MICROS + micros - minutes * 60_000_000))
        }
        (None, None, _) => return Err("neither a date nor a time".to_owned()),
    })
}

/// A decimal with its scale as written: sign, digits, point, digits.
fn decimal(text: &str) -> Result<Value, String> {
    let bad = || Err(format!("{text:?} is no decimal number"));
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || (part.is_empty() && digits.contains('.')) {
        return bad();
    }
    let Ok(scale) = i32::try_from(part.len()) else { return bad() };
    let all: Vec<u8> = whole.bytes().chain(part.bytes()).map(|byte| byte - b'0').collect();
    let first = all.iter().position(|digit| *digit != 0).unwrap_or(all.len() - 1);
    Ok(Value::Decimal(Decimal::Finite { negative, digits: all[first..].to_vec(), scale }))
}
