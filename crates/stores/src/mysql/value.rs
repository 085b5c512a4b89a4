//! Values as cells, by the column's declared type and the field's.
//!
//! | column | fields | stored as |
//! |---|---|---|
//! | integers, `YEAR`, `BIT` | int, bool (0 and 1), decimal without fraction | the number, in range |
//! | `DOUBLE`, `FLOAT` | float | the number; NaN and the infinities, and what a `FLOAT` would round, are refused |
//! | `DECIMAL(p,s)` | decimal, int | exactly `s` fraction digits: others would come back changed |
//! | `DATE`, `DATETIME(f)`, `TIMESTAMP(f)`, `TIME(f)` | date, timestamp, instant, time; extended | their texts; a fraction that does not fit is refused |
//! | `ENUM`, `SET` | text | a label as it is spelled |
//! | `CHAR`, `VARCHAR`, `TEXT` | text | UTF-8; too long, or blanks that `CHAR` loses: refused |
//! | the same | float, decimal, date, time, timestamp, instant, uuid | as core prints them (floats that have no such text: `f64:` and the digits of their bits) |
//! | the same | json, extended | our tagged JSON |
//! | `BINARY(n)`, `VARBINARY`, `BLOB` | bytes, text; uuid in `BINARY(16)` | the bytes |
//! | `UUID`, `INET4`, `INET6` | uuid; text | as the server prints them |
//! | geometry | extended | hex of SRID and WKB |
//!
//! NULL is the explicit null of every type. Anything else is an error that
//! names the column: nothing is converted on the way in or out.

use std::str::FromStr;

use shearwater_core::Value;
use shearwater_core::shape::FieldType;
use shearwater_core::value::{Date, Decimal, Extended, Instant, LocalTimestamp, Uuid, json};

use super::cell::{Cell, hex, unhex};
use super::native::{Column, Kind, LowIsZero, Trailing};
use super::stored_json;

/// What marks a float that has no plain text.
const FLOAT_BITS_PREFIX: &str = "f64:";

/// The tag of values that only these servers have.
const EXTENDED_STORE: &str = "mysql";

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The cell of a value, or why the column does not take it.
pub(super) fn to_cell(column: &Column, ty: FieldType, value: &Value) -> Result<Cell, String> {
    if value.is_null() {
        return if column.nullable { Ok(Cell::Null) } else { Err("the column must not be NULL".into()) };
    }
    if ty == FieldType::Extended {
        return extended_to_cell(column, value);
    }
    match &column.kind {
        Kind::Text { .. } => text_for(ty, value).and_then(|text| check_text(column, text)).map(Cell::text),
        Kind::Json => stored_json::write(ty, value).map(Cell::text),
        Kind::Enum(_) | Kind::Set(_) => match (ty, value) {
            (FieldType::Text, Value::Text(text)) => check_label(&column.kind, text).map(Cell::text),
            _ => Err(mismatch(ty, value)),
        },
        Kind::Int { .. } | Kind::Year | Kind::Bits(_) => number_to_cell(column, ty, value),
        Kind::Float | Kind::Double => match (ty, value) {
            (FieldType::Float, Value::Float(x)) => float_to_cell(column, *x),
            _ => Err(mismatch(ty, value)),
        },
        Kind::Decimal { digits, scale, low_is_zero } => {
            let decimal = match (ty, value) {
                (FieldType::Decimal, Value::Decimal(decimal)) => decimal.clone(),
                (FieldType::Int, Value::Int(n)) => Decimal::from_int(i128::from(*n)),
                (FieldType::Int, Value::UInt(n)) => Decimal::from_int(i128::from(*n)),
                _ => return Err(mismatch(ty, value)),
            };
            check_decimal(&decimal, *digits, *scale, *low_is_zero)?;
            Ok(Cell::text(decimal.to_string()))
        }
        Kind::Binary(_) | Kind::Bytes(_) => bytes_to_cell(&column.kind, ty, value),
        Kind::Date | Kind::Time(_) | Kind::Datetime(_) | Kind::Timestamp(_) => {
            temporal_to_cell(&column.kind, ty, value)
        }
        Kind::Uuid => match (ty, value) {
            (FieldType::Uuid, Value::Uuid(uuid)) => Ok(Cell::text(uuid.to_string())),
            _ => Err(mismatch(ty, value)),
        },
        Kind::Inet => match (ty, value) {
            (FieldType::Text, Value::Text(text)) => check_inet(text).map(Cell::text),
            _ => Err(mismatch(ty, value)),
        },
        Kind::Geometry | Kind::Unknown => Err(unreadable(column, ty)),
    }
}

/// The value of a cell, or why it does not read as the field's type.
pub(super) fn from_cell(column: &Column, ty: FieldType, cell: &Cell) -> Result<Value, String> {
    if *cell == Cell::Null {
        return Ok(Value::Null);
    }
    if ty == FieldType::Extended {
        return extended_from_cell(column, cell);
    }
    let wrong = || format!("holds {}, which does not read as {}", cell.class(), ty.name());
    Ok(match (&column.kind, ty, cell) {
        (Kind::Text { .. }, ty, Cell::Bytes(text)) => value_of_text(ty, utf8(text)?)?,
        (Kind::Json, FieldType::Json, Cell::Bytes(text)) => value_of_text(ty, utf8(text)?)?,
        (Kind::Json, FieldType::Text, Cell::Bytes(text)) => Value::text(utf8(text)?),
        (Kind::Enum(_) | Kind::Set(_) | Kind::Inet, FieldType::Text, Cell::Bytes(text)) => Value::text(utf8(text)?),
        (Kind::Int { .. } | Kind::Bits(_), FieldType::Bool, Cell::Int(n @ (0 | 1))) => Value::Bool(*n == 1),
        (Kind::Int { .. } | Kind::Bits(_) | Kind::Year, FieldType::Int, Cell::Int(n)) => Value::Int(*n),
        (Kind::Int { .. } | Kind::Bits(_), FieldType::Int, Cell::UInt(n)) => Value::from_u64(*n),
        (Kind::Int { .. } | Kind::Bits(_) | Kind::Year, FieldType::Decimal, Cell::Int(n)) => {
            Value::Decimal(Decimal::from_int(i128::from(*n)))
        }
        (Kind::Int { .. } | Kind::Bits(_), FieldType::Decimal, Cell::UInt(n)) => {
            Value::Decimal(Decimal::from_int(i128::from(*n)))
        }
        (Kind::Float | Kind::Double, FieldType::Float, Cell::Real(x)) => Value::Float(*x),
        (Kind::Decimal { .. }, FieldType::Decimal, Cell::Bytes(text)) => Value::Decimal(parsed(ty, utf8(text)?)?),
        (Kind::Decimal { scale: 0, .. }, FieldType::Int, Cell::Bytes(text)) => {
            integer(utf8(text)?).ok_or_else(wrong)?
        }
        (Kind::Binary(_) | Kind::Bytes(_), FieldType::Bytes, Cell::Bytes(bytes)) => Value::Bytes(bytes.clone()),
        (Kind::Binary(_) | Kind::Bytes(_), FieldType::Text, Cell::Bytes(bytes)) => Value::text(utf8(bytes)?),
        (Kind::Binary(_) | Kind::Bytes(_), FieldType::Uuid, Cell::Bytes(bytes)) => {
            Value::Uuid(Uuid::from_slice(bytes).map_err(|_| "holds bytes that are no uuid: not 16".to_owned())?)
        }
        (Kind::Date, FieldType::Date, Cell::Bytes(text)) => Value::Date(parsed(ty, utf8(text)?)?),
        (Kind::Time(_), FieldType::Time, Cell::Bytes(text)) => Value::Time(parsed(ty, utf8(text)?)?),
        (Kind::Datetime(_), FieldType::Timestamp, Cell::Bytes(text)) => Value::Local(local(utf8(text)?)?),
        (Kind::Datetime(_) | Kind::Timestamp(_), FieldType::Instant, Cell::Bytes(text)) => match local(utf8(text)?)? {
            LocalTimestamp::Micros(micros) => Value::Instant(Instant::Micros(micros)),
            LocalTimestamp::Infinity | LocalTimestamp::NegInfinity => return Err(wrong()),
        },
        (Kind::Uuid, FieldType::Uuid, Cell::Bytes(text)) => value_of_text(ty, utf8(text)?)?,
        _ => return Err(wrong()),
    })
}

fn mismatch(ty: FieldType, value: &Value) -> String {
    format!("takes {}, found {}", ty.name(), value.type_name())
}

fn unreadable(column: &Column, ty: FieldType) -> String {
    format!("a column of the type {} holds no {}", column.type_name, ty.name())
}

/// The text of a value in a text column.
fn text_for(ty: FieldType, value: &Value) -> Result<String, String> {
    Ok(match (ty, value) {
        (FieldType::Text, Value::Text(text)) => text.clone(),
        (FieldType::Float, Value::Float(x)) => float_text(*x),
        (FieldType::Decimal, Value::Decimal(decimal)) => decimal.to_string(),
        (FieldType::Date, Value::Date(date)) => date.to_string(),
        (FieldType::Time, Value::Time(time)) => time.to_string(),
        (FieldType::Timestamp, Value::Local(local)) => local.to_string(),
        (FieldType::Instant, Value::Instant(instant)) => instant.to_string(),
        (FieldType::Uuid, Value::Uuid(uuid)) => uuid.to_string(),
        (FieldType::Json, value) => json::to_string(value),
        _ => return Err(mismatch(ty, value)),
    })
}

/// The value of a text column's text.
fn value_of_text(ty: FieldType, text: &str) -> Result<Value, String> {
    Ok(match ty {
        FieldType::Text => Value::text(text),
        FieldType::Float => Value::Float(float_of_text(text)?),
        FieldType::Decimal => Value::Decimal(parsed(ty, text)?),
        FieldType::Date => Value::Date(parsed(ty, text)?),
        FieldType::Time => Value::Time(parsed(ty, text)?),
        FieldType::Timestamp => Value::Local(parsed(ty, text)?),
        FieldType::Instant => Value::Instant(parsed(ty, text)?),
        FieldType::Uuid => {
            let uuid = Uuid::try_parse(text).map_err(|_| "the text is no uuid".to_owned())?;
            if uuid.to_string() != text {
                return Err("the text is a uuid, but not in the form 8-4-4-4-12 of lower-case digits".into());
            }
            Value::Uuid(uuid)
        }
        FieldType::Json => json::parse(text.as_bytes()).map_err(|e| format!("the text is no JSON: {}", e.message))?,
        FieldType::Bool | FieldType::Int | FieldType::Bytes | FieldType::Extended => {
            return Err(format!("holds text, which does not read as {}", ty.name()));
        }
    })
}

fn float_text(x: f64) -> String {
    // Debug prints the shortest text that reads back as the same float.
    if x.is_nan() { format!("{FLOAT_BITS_PREFIX}{:016x}", x.to_bits()) } else { format!("{x:?}") }
}

fn float_of_text(text: &str) -> Result<f64, String> {
    let found = match text.strip_prefix(FLOAT_BITS_PREFIX) {
        Some(digits) if digits.len() == 16 => u64::from_str_radix(digits, 16).ok().map(f64::from_bits),
        Some(_) => None,
        None => text.parse::<f64>().ok().filter(|x| !x.is_nan()),
    };
    found.ok_or_else(|| "the text does not read as float".into())
}

/// Refuses a text that the column would change without saying so.
fn check_text(column: &Column, text: String) -> Result<String, String> {
    let Kind::Text { chars_max, bytes_max, trailing } = &column.kind else { return Ok(text) };
    if let Some(max) = chars_max
        && text.chars().count() as u64 > *max
    {
        return Err(format!("the text is longer than the {max} characters of the column"));
    }
    if chars_max.is_none() && text.len() as u64 > *bytes_max {
        return Err(format!("the text is longer than the {bytes_max} bytes of the column"));
    }
    if *trailing == Trailing::Stripped && text.ends_with(' ') {
        return Err("a CHAR column loses the blanks at the end of the text; declare it VARCHAR".into());
    }
    Ok(text)
}

fn check_label(kind: &Kind, text: &str) -> Result<String, String> {
    let known = match kind {
        Kind::Enum(labels) => labels.iter().any(|label| label == text),
        Kind::Set(_) if text.is_empty() => true,
        Kind::Set(labels) => {
            // As the server writes them: in the order of the declaration, each once.
            let mut rest = labels.iter();
            text.split(',').all(|part| rest.any(|label| label == part))
        }
        _ => false,
    };
    if known { Ok(text.to_owned()) } else { Err("the text is none of the column's labels as they are spelled".into()) }
}

fn number_to_cell(column: &Column, ty: FieldType, value: &Value) -> Result<Cell, String> {
    let number: i128 = match (ty, value) {
        (FieldType::Bool, Value::Bool(b)) if column.kind != Kind::Year => i128::from(*b),
        (FieldType::Int, Value::Int(n)) => i128::from(*n),
        (FieldType::Int, Value::UInt(n)) => i128::from(*n),
        (FieldType::Decimal, Value::Decimal(decimal @ Decimal::Finite { scale: 0, .. })) => {
            let n = decimal.to_i128().ok_or("the decimal is outside the column's range")?;
            if Decimal::from_int(n) != *decimal {
                return Err("an integer column does not hold a negative zero".into());
            }
            n
        }
        (FieldType::Decimal, Value::Decimal(_)) => return Err("an integer column holds no fraction digits".into()),
        _ => return Err(mismatch(ty, value)),
    };
    let fits = match column.kind {
        Kind::Int { low, high } => (i128::from(low)..=i128::from(high)).contains(&number),
        Kind::Year => number == 0 || (1901..=2155).contains(&number),
        Kind::Bits(bits) => number >= 0 && number < 1 << bits,
        _ => false,
    };
    if !fits {
        return Err(format!("the number is outside the range of {}", column.declared));
    }
    let cell = i64::try_from(number).map(Cell::Int);
    cell.or_else(|_| u64::try_from(number).map(Cell::from_u64)).map_err(|_| "the number is out of range".to_owned())
}

fn float_to_cell(column: &Column, x: f64) -> Result<Cell, String> {
    if !x.is_finite() {
        return Err("the column holds neither NaN nor an infinity; a text column does".into());
    }
    if x == 0.0 && x.is_sign_negative() {
        // MariaDB 10.11 stores -0.0 as 0.0, without a word.
        return Err("the column does not keep the sign of zero; a text column does".into());
    }
    if column.kind == Kind::Float && f64::from(x as f32).to_bits() != x.to_bits() {
        return Err("a FLOAT column would round the number; declare it DOUBLE".into());
    }
    if let Some((digits, scale)) = column.float_digits() {
        let unit = 10_f64.powi(scale);
        let rounded = (x * unit).round_ties_even() / unit;
        let is_same = match column.kind {
            Kind::Float => (rounded as f32).to_bits() == (x as f32).to_bits(),
            _ => rounded.to_bits() == x.to_bits(),
        };
        if !is_same || x.abs() >= 10_f64.powi(digits - scale) {
            return Err(format!("a column of the type {} would round the number; declare it DOUBLE", column.declared));
        }
    }
    Ok(Cell::Real(x))
}

fn check_decimal(decimal: &Decimal, digits_max: u32, scale_of: u32, low: LowIsZero) -> Result<(), String> {
    let Decimal::Finite { negative, digits, scale } = decimal else {
        return Err("the column holds neither NaN nor an infinity".into());
    };
    if i64::from(*scale) != i64::from(scale_of) {
        return Err(format!("the column keeps exactly {scale_of} fraction digits, the number has {scale}"));
    }
    let significant = if decimal.is_zero() { 0 } else { digits.len() };
    if significant > digits_max as usize {
        return Err(format!("the number has more than the {digits_max} digits of the column"));
    }
    if *negative && decimal.is_zero() {
        return Err("the column does not hold a negative zero".into());
    }
    if *negative && low == LowIsZero::Yes {
        return Err("the column is UNSIGNED".into());
    }
    Ok(())
}

fn bytes_to_cell(kind: &Kind, ty: FieldType, value: &Value) -> Result<Cell, String> {
    let bytes = match (ty, value) {
        (FieldType::Bytes, Value::Bytes(bytes)) => bytes.clone(),
        (FieldType::Text, Value::Text(text)) => text.clone().into_bytes(),
        (FieldType::Uuid, Value::Uuid(uuid)) => uuid.as_bytes().to_vec(),
        _ => return Err(mismatch(ty, value)),
    };
    match kind {
        Kind::Binary(length) if bytes.len() as u64 != *length => Err(format!(
            "a BINARY column holds exactly {length} bytes and fills up what is missing; declare it VARBINARY"
        )),
        Kind::Bytes(max) if bytes.len() as u64 > *max => Err(format!("longer than the {max} bytes of the column")),
        _ => Ok(Cell::Bytes(bytes)),
    }
}

fn temporal_to_cell(kind: &Kind, ty: FieldType, value: &Value) -> Result<Cell, String> {
    let infinite = || "the column holds no infinity; a text column does".to_owned();
    let text = match (kind, ty, value) {
        (Kind::Date, FieldType::Date, Value::Date(date)) => date_text(*date).ok_or_else(infinite)??,
        (Kind::Time(digits), FieldType::Time, Value::Time(time)) => time_text(time.micros, *digits)?,
        (Kind::Datetime(digits), FieldType::Timestamp, Value::Local(LocalTimestamp::Micros(micros))) => {
            datetime_text(*micros, *digits)?
        }
        (
            Kind::Datetime(digits) | Kind::Timestamp(digits),
            FieldType::Instant,
            Value::Instant(Instant::Micros(micros)),
        ) => datetime_text(*micros, *digits)?,
        (_, FieldType::Timestamp, Value::Local(_)) | (_, FieldType::Instant, Value::Instant(_)) => {
            return Err(infinite());
        }
        _ => return Err(mismatch(ty, value)),
    };
    Ok(Cell::text(text))
}

/// `None`: an infinity.
fn date_text(date: Date) -> Option<Result<String, String>> {
    let (year, month, day) = date.to_ymd()?;
    Some(if (1..=9_999).contains(&year) {
        Ok(format!("{year:04}-{month:02}-{day:02}"))
    } else {
        Err("the column holds the years 1 to 9999".to_owned())
    })
}

fn time_text(micros: i64, fraction_digits: u8) -> Result<String, String> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let unit = 10_i64.pow(6_u32.saturating_sub(u32::from(fraction_digits)));
    if fraction % unit != 0 {
        return Err(format!(
            "the column keeps {fraction_digits} digits of a second's fraction and would round the value"
        ));
    }
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction_digits == 0 {
        return Ok(clock);
    }
    Ok(format!("{clock}.{:0width$}", fraction / unit, width = usize::from(fraction_digits)))
}

fn datetime_text(micros: i64, fraction_digits: u8) -> Result<String, String> {
    let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY)).map_err(|_| "the column holds the years 1 to 9999")?;
    let date = date_text(Date::Days(days)).unwrap_or_else(|| Err("the column holds the years 1 to 9999".to_owned()))?;
    Ok(format!("{date} {}", time_text(micros.rem_euclid(MICROS_PER_DAY), fraction_digits)?))
}

fn local(text: &str) -> Result<LocalTimestamp, String> {
    text.replacen(' ', "T", 1).parse().map_err(|_| "holds a date that no calendar has; declare it extended".to_owned())
}

fn integer(text: &str) -> Option<Value> {
    let n: i128 = text.parse().ok()?;
    i64::try_from(n).map(Value::Int).ok().or_else(|| u64::try_from(n).map(Value::from_u64).ok())
}

/// Only addresses that the server prints as they were given.
fn check_inet(text: &str) -> Result<String, String> {
    let same = match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.to_string() == text,
        // How the server writes an IPv4 address in its old place (`::1.2.3.4`) is not ours to guess.
        Ok(std::net::IpAddr::V6(address)) => {
            let in_its_old_place = address.to_ipv4().is_some() && address.to_ipv4_mapped().is_none();
            address.to_string() == text && (!in_its_old_place || matches!(text, "::" | "::1"))
        }
        Err(_) => false,
    };
    if same { Ok(text.to_owned()) } else { Err("the text is no address in the server's own writing".into()) }
}

fn extended_to_cell(column: &Column, value: &Value) -> Result<Cell, String> {
    let Value::Extended(own) = value else { return Err(mismatch(FieldType::Extended, value)) };
    if let Kind::Text { .. } = column.kind {
        return check_text(column, json::to_string(value)).map(Cell::text);
    }
    if own.store != EXTENDED_STORE || own.type_name != column.type_name {
        return Err(format!("takes {EXTENDED_STORE}'s {}, found {}'s {}", column.type_name, own.store, own.type_name));
    }
    match &column.kind {
        Kind::Geometry => unhex(&own.text).map(Cell::Bytes).ok_or_else(|| "the text is no hex".into()),
        Kind::Date | Kind::Time(_) | Kind::Datetime(_) | Kind::Timestamp(_) if is_own_form(&column.kind, &own.text) => {
            Ok(Cell::text(own.text.as_str()))
        }
        Kind::Inet => Ok(Cell::text(own.text.as_str())),
        Kind::Date | Kind::Time(_) | Kind::Datetime(_) | Kind::Timestamp(_) => {
            Err(format!("the text is no {} as the server writes it", column.type_name))
        }
        _ => Err(unreadable(column, FieldType::Extended)),
    }
}

fn extended_from_cell(column: &Column, cell: &Cell) -> Result<Value, String> {
    let own = |text: String| {
        let (store, type_name) = (EXTENDED_STORE.to_owned(), column.type_name.clone());
        Value::Extended(Box::new(Extended { store, type_name, text }))
    };
    match (&column.kind, cell) {
        (Kind::Text { .. }, Cell::Bytes(text)) => match json::parse(utf8(text)?.as_bytes()) {
            Ok(value @ Value::Extended(_)) => Ok(value),
            Ok(_) | Err(_) => Err("the text is no store's own type in our JSON".into()),
        },
        (Kind::Geometry, Cell::Bytes(bytes)) => Ok(own(hex(bytes))),
        (Kind::Date | Kind::Time(_) | Kind::Datetime(_) | Kind::Timestamp(_) | Kind::Inet, Cell::Bytes(text)) => {
            Ok(own(utf8(text)?.to_owned()))
        }
        _ => Err(unreadable(column, FieldType::Extended)),
    }
}

/// Whether a text has the form in which the server prints the type, so that it
/// comes back as it is or is refused.
fn is_own_form(kind: &Kind, text: &str) -> bool {
    let form = |fraction: u8| if fraction == 0 { String::new() } else { format!(".{}", "d".repeat(fraction.into())) };
    let matches = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(c, f)| if f == b'd' { c.is_ascii_digit() } else { c == f })
    };
    match kind {
        Kind::Date => matches(text, "dddd-dd-dd"),
        Kind::Datetime(f) | Kind::Timestamp(f) => matches(text, &format!("dddd-dd-dd dd:dd:dd{}", form(*f))),
        Kind::Time(f) => {
            let clock = text.strip_prefix('-').unwrap_or(text);
            let is_long = clock.starts_with('0') && clock.find(':') == Some(3);
            !is_long && ["dd", "ddd"].iter().any(|hours| matches(clock, &format!("{hours}:dd:dd{}", form(*f))))
        }
        _ => false,
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "the text is not valid UTF-8".into())
}

fn parsed<T: FromStr>(ty: FieldType, text: &str) -> Result<T, String> {
    // The parser's own message may quote the text, which is a row value.
    text.parse().map_err(|_| format!("the text does not read as {}", ty.name()))
}

/// The field type that reads a column exactly; `None`: nothing does.
pub(super) fn proposal(column: &Column) -> Option<FieldType> {
    Some(match &column.kind {
        Kind::Int { .. } if column.declared.eq_ignore_ascii_case("tinyint(1)") => FieldType::Bool,
        Kind::Bits(1) => FieldType::Bool,
        Kind::Int { .. } | Kind::Year | Kind::Bits(_) => FieldType::Int,
        Kind::Float | Kind::Double => FieldType::Float,
        Kind::Decimal { .. } => FieldType::Decimal,
        Kind::Json => FieldType::Json,
        Kind::Text { .. } if column.is_json => FieldType::Json,
        Kind::Text { .. } | Kind::Enum(_) | Kind::Set(_) | Kind::Inet => FieldType::Text,
        Kind::Binary(_) | Kind::Bytes(_) => FieldType::Bytes,
        Kind::Date => FieldType::Date,
        Kind::Time(_) => FieldType::Time,
        Kind::Datetime(_) => FieldType::Timestamp,
        Kind::Timestamp(_) => FieldType::Instant,
        Kind::Uuid => FieldType::Uuid,
        Kind::Geometry => FieldType::Extended,
        Kind::Unknown => return None,
    })
}

/// Whether the server's own order of the column is canonical order of the field.
pub(super) fn is_order_native(column: &Column, ty: FieldType) -> bool {
    match (&column.kind, ty) {
        (Kind::Int { .. } | Kind::Year | Kind::Bits(_), FieldType::Int | FieldType::Bool)
        | (Kind::Binary(_) | Kind::Bytes(_), FieldType::Bytes | FieldType::Text)
        | (Kind::Date, FieldType::Date)
        | (Kind::Datetime(_), FieldType::Timestamp | FieldType::Instant)
        | (Kind::Timestamp(_), FieldType::Instant) => true,
        (Kind::Text { .. }, FieldType::Text | FieldType::Uuid) => !column.folds(),
        _ => false,
    }
}
