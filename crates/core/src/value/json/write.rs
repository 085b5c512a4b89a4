//! The writer.

use std::io::Write as _;

use super::{string, tag, whole_number};
use crate::value::{Decimal, Document, Extended, Value};

pub(super) fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(n) => integer(n.unsigned_abs(), *n < 0, out),
        Value::UInt(n) => integer(*n, false, out),
        Value::Float(x) if x.is_finite() => display(format_args!("{x:?}"), out),
        Value::Float(x) => tagged("@float", &tag::float_text(*x), out),
        Value::Decimal(d) => decimal(d, out),
        Value::Text(text) => string::write(text, out),
        Value::Bytes(bytes) => tagged("@bytes", &tag::bytes_text(bytes), out),
        Value::Date(date) => tagged("@date", &date.to_string(), out),
        Value::Time(time) => tagged("@time", &time.to_string(), out),
        Value::Local(timestamp) => tagged("@timestamp", &timestamp.to_string(), out),
        Value::Instant(instant) => tagged("@instant", &instant.to_string(), out),
        Value::Uuid(uuid) => tagged("@uuid", &uuid.to_string(), out),
        Value::Array(items) => array(items, out),
        Value::Document(fields) => document(fields, out),
        Value::Extended(own) => extended(own, out),
    }
}

pub(super) fn document(document: &Document, out: &mut Vec<u8>) {
    if tag::is_tag(document) {
        open_tag(tag::DOCUMENT, out);
        fields(document, out);
        out.push(b'}');
    } else {
        fields(document, out);
    }
}

fn fields(document: &Document, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, field)) in document.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string::write(name, out);
        out.push(b':');
        value(field, out);
    }
    out.push(b'}');
}

fn array(items: &[Value], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value(item, out);
    }
    out.push(b']');
}

/// Digits from the end, without the formatting machinery: integers are most of
/// the numbers in records.
fn integer(mut magnitude: u64, negative: bool, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writing to a `Vec` cannot fail.
fn display(arguments: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    let _ = out.write_fmt(arguments);
}

/// A plain number where that reads back as the same decimal, else the tag.
fn decimal(decimal: &Decimal, out: &mut Vec<u8>) {
    let text = decimal.to_string();
    match whole_number(&text) {
        Some(Value::Decimal(read)) if read == *decimal => out.extend_from_slice(text.as_bytes()),
        _ => tagged("@decimal", &text, out),
    }
}

fn extended(own: &Extended, out: &mut Vec<u8>) {
    open_tag("@extended", out);
    out.extend_from_slice(b"{\"store\":");
    string::write(&own.store, out);
    out.extend_from_slice(b",\"type\":");
    string::write(&own.type_name, out);
    out.extend_from_slice(b",\"text\":");
    string::write(&own.text, out);
    out.extend_from_slice(b"}}");
}

fn tagged(name: &str, text: &str, out: &mut Vec<u8>) {
    open_tag(name, out);
    string::write(text, out);
    out.push(b'}');
}

fn open_tag(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
