//! Canonical order: one total order over all values, as bytes that compare
//! with `memcmp`.
//!
//! A number is written as the highest float that is not above it (8 bytes that
//! compare as floats do), then 0 if the number is that float, else 1 and the
//! number's own decimal digits, then its type and what else tells equal numbers
//! apart (the sign of zero, the scale of a decimal, the bits of a NaN). So
//! integers up to 2^53 and floats, nearly all numbers, need no arithmetic, and
//! every pair of numbers compares by exact value.

use std::cmp::Ordering;

use super::decimal::Normal;
use super::{Date, Decimal, Document, Instant, LocalTimestamp, Value, number};

/// Appends bytes to `out` such that comparing them compares the values.
///
/// Order of types: null, bool, numbers (int, float and decimal by value, equal
/// ones by type), text (UTF-8 bytes), bytes, date, time, timestamp, instant,
/// uuid, extended, array (element by element), document (field by field).
/// The encoding of one value is never a prefix of another's, so that encodings
/// can be concatenated.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(tag::NULL),
        Value::Bool(b) => out.extend_from_slice(&[tag::BOOL, u8::from(*b)]),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_) => {
            out.push(tag::NUMBER);
            write_magnitude(value, out);
            write_tie(value, out);
        }
        Value::Text(text) => write_text(text, out),
        Value::Bytes(bytes) => {
            out.push(tag::BYTES);
            write_run(bytes, out);
        }
        Value::Date(date) => write_i64(tag::DATE, date_place(*date), out),
        Value::Time(time) => write_i64(tag::TIME, (1, time.micros), out),
        Value::Local(timestamp) => write_i64(tag::LOCAL, local_place(*timestamp), out),
        Value::Instant(instant) => write_i64(tag::INSTANT, instant_place(*instant), out),
        Value::Uuid(uuid) => {
            out.push(tag::UUID);
            out.extend_from_slice(uuid.as_bytes());
        }
        Value::Extended(own) => {
            out.push(tag::EXTENDED);
            for part in [&own.store, &own.type_name, &own.text] {
                write_run(part.as_bytes(), out);
            }
        }
        Value::Array(items) => {
            out.push(tag::ARRAY);
            for item in items {
                write(item, out);
            }
            out.push(tag::END);
        }
        Value::Document(document) => {
            out.push(tag::DOCUMENT);
            write_fields(document, out);
        }
    }
}

/// As [`write`], of a text.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(tag::TEXT);
    write_run(text.as_bytes(), out);
}

/// As [`write`], where text is ordered by the root collation of Unicode and, if
/// that tells no difference, by its UTF-8 bytes.
pub fn write_collated(value: &Value, out: &mut Vec<u8>) {
    let Value::Text(text) = value else { return write(value, out) };
    out.push(tag::TEXT);
    let mut key = Vec::with_capacity(2 * text.len() + 8);
    super::collation::write_sort_key(text, &mut key);
    write_run(&key, out);
    write_run(text.as_bytes(), out);
}

/// The canonical order bytes of one value.
pub fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    write(value, &mut out);
    out
}

/// Compares two values in canonical order.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => bytes(a).cmp(&bytes(b)),
    }
}

/// Compares two numbers by value alone: `1`, `1.0` and the decimal `1.00` are
/// equal, NaN equals itself and is above everything. `None` when one is no number.
pub fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return Some(a.cmp(b));
    }
    if !is_number(a) || !is_number(b) {
        return None;
    }
    let (mut left, mut right) = (Vec::with_capacity(16), Vec::with_capacity(16));
    write_magnitude(a, &mut left);
    write_magnitude(b, &mut right);
    Some(left.cmp(&right))
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_))
}

/// First bytes; gaps are left for types to come.
mod tag {
    /// Below every type: the end of an array or a document.
    pub(super) const END: u8 = 0x00;
    /// In a document: another field follows.
    pub(super) const FIELD: u8 = 0x01;
    pub(super) const NULL: u8 = 0x08;
    pub(super) const BOOL: u8 = 0x10;
    pub(super) const NUMBER: u8 = 0x18;
    pub(super) const TEXT: u8 = 0x20;
    pub(super) const BYTES: u8 = 0x28;
    pub(super) const DATE: u8 = 0x30;
    pub(super) const TIME: u8 = 0x38;
    pub(super) const LOCAL: u8 = 0x40;
    pub(super) const INSTANT: u8 = 0x48;
    pub(super) const UUID: u8 = 0x50;
    pub(super) const EXTENDED: u8 = 0x58;
    pub(super) const ARRAY: u8 = 0x60;
    pub(super) const DOCUMENT: u8 = 0x68;
}

/// After the magnitude: what tells equal numbers apart. How many bytes follow
/// depends on the tie alone.
mod tie {
    pub(super) const INT: u8 = 0x10;
    pub(super) const FLOAT_NEGATIVE_ZERO: u8 = 0x20;
    pub(super) const FLOAT: u8 = 0x21;
    pub(super) const FLOAT_NAN: u8 = 0x22;
    pub(super) const DECIMAL_NEGATIVE_ZERO: u8 = 0x30;
    pub(super) const DECIMAL: u8 = 0x31;
}

/// Integers up to this magnitude are floats exactly.
const FLOAT_INTEGER_MAX: u64 = 1 << 53;

fn write_magnitude(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(n) if n.unsigned_abs() <= FLOAT_INTEGER_MAX => write_exact(*n as f64, out),
        Value::Int(n) => write_decimal(&Decimal::from_int(i128::from(*n)), out),
        Value::UInt(n) => write_decimal(&Decimal::from_int(i128::from(*n)), out),
        Value::Float(x) => write_exact(*x, out),
        Value::Decimal(d) => write_decimal(d, out),
        _ => {}
    }
}

fn write_exact(x: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&float_bytes(x));
    out.push(0);
}

/// Eight bytes that compare as floats do; both zeros are one, as are all NaNs,
/// which are highest.
fn float_bytes(x: f64) -> [u8; 8] {
    if x.is_nan() {
        return [0xff; 8];
    }
    // Adding 0.0 turns -0.0 into 0.0.
    let bits = (x + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

fn write_decimal(decimal: &Decimal, out: &mut Vec<u8>) {
    let (floor, is_exact) = number::floor_f64(decimal);
    out.extend_from_slice(&float_bytes(floor));
    match decimal.normal() {
        Some(normal) if !is_exact => {
            out.push(1);
            write_digits(&normal, out);
        }
        _ => out.push(0),
    }
}

/// Exponent, then two digits to a byte, then an end that is below all digits;
/// all inverted for negative numbers.
fn write_digits(normal: &Normal<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&ordered_i64(normal.exponent));
    for pair in normal.digits.chunks(2) {
        out.push(pair[0] * 10 + pair.get(1).copied().unwrap_or(0) + 1);
    }
    out.push(0);
    if normal.negative {
        out[start..].iter_mut().for_each(|b| *b = !*b);
    }
}

fn write_tie(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Float(x) if x.is_nan() => {
            out.push(tie::FLOAT_NAN);
            out.extend_from_slice(&x.to_bits().to_be_bytes());
        }
        Value::Float(x) if x.to_bits() == (-0.0_f64).to_bits() => out.push(tie::FLOAT_NEGATIVE_ZERO),
        Value::Float(_) => out.push(tie::FLOAT),
        Value::Decimal(decimal) => {
            let scale = match decimal {
                Decimal::Finite { scale, .. } => *scale,
                Decimal::NaN | Decimal::Infinity | Decimal::NegInfinity => 0,
            };
            let negative_zero = decimal.is_zero() && matches!(decimal, Decimal::Finite { negative: true, .. });
            out.push(if negative_zero { tie::DECIMAL_NEGATIVE_ZERO } else { tie::DECIMAL });
            out.extend_from_slice(&ordered_i64(i64::from(scale)));
        }
        _ => out.push(tie::INT),
    }
}

/// Bytes with an end that is below every continuation: 0 is written as 0 255,
/// the end as 0 0.
fn write_run(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut parts = bytes.split(|b| *b == 0);
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(&[0x00, 0xff]);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&[0, 0]);
}

fn write_fields(document: &Document, out: &mut Vec<u8>) {
    for (name, value) in document.iter() {
        out.push(tag::FIELD);
        write_run(name.as_bytes(), out);
        write(value, out);
    }
    out.push(tag::END);
}

fn write_i64(tag: u8, (class, n): (u8, i64), out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag, class]);
    out.extend_from_slice(&ordered_i64(n));
}

/// Big-endian with the sign bit turned, so that bytes compare as numbers do.
fn ordered_i64(n: i64) -> [u8; 8] {
    ((n as u64) ^ (1 << 63)).to_be_bytes()
}

fn date_place(date: Date) -> (u8, i64) {
    match date {
        Date::NegInfinity => (0, 0),
        Date::Days(days) => (1, i64::from(days)),
        Date::Infinity => (2, 0),
    }
}

fn local_place(timestamp: LocalTimestamp) -> (u8, i64) {
    match timestamp {
        LocalTimestamp::NegInfinity => (0, 0),
        LocalTimestamp::Micros(micros) => (1, micros),
        LocalTimestamp::Infinity => (2, 0),
    }
}

fn instant_place(instant: Instant) -> (u8, i64) {
    match instant {
        Instant::NegInfinity => (0, 0),
        Instant::Micros(micros) => (1, micros),
        Instant::Infinity => (2, 0),
    }
}
