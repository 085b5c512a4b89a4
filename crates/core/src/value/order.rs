//! Canonical order: one total order over all values, as bytes that compare
//! with `memcmp`.

use super::Value;

/// Appends bytes to `out` such that comparing them compares the values.
///
/// Order of types: null, bool, numbers (int, float and decimal by value, equal
/// ones by type), text (UTF-8 bytes), bytes, date, time, timestamp, instant,
/// uuid, extended, array (element by element), document (field by field).
/// The encoding of one value is never a prefix of another's, so that encodings
/// can be concatenated.
pub fn write(_value: &Value, _out: &mut Vec<u8>) {
    todo!()
}

/// The canonical order bytes of one value.
pub fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    write(value, &mut out);
    out
}

/// Compares two values in canonical order.
pub fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    bytes(a).cmp(&bytes(b))
}
