//! Canonical bytes for hashing, and the hash that verification sums.
//!
//! A value is its type's byte and its content; what has no fixed length is
//! preceded by it. So equal values, and only they, give equal bytes. Names and
//! order of fields count: a document is what it is, field by field.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{Date, Decimal, Document, Instant, LocalTimestamp, Value};

/// Where canonical bytes go.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Bytes that are gathered before they are hashed in one go; more than that is
/// streamed, so that a huge document is not held twice.
const GATHERED_BYTES_MAX: usize = 4096;

/// Gathers small documents, streams large ones; both give the same hash.
struct Hasher {
    gathered: Vec<u8>,
    stream: Option<Box<Xxh3>>,
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES_MAX {
            let stream = self.stream.get_or_insert_with(|| Box::new(Xxh3::new()));
            stream.update(&self.gathered);
            self.gathered.clear();
            if bytes.len() > GATHERED_BYTES_MAX {
                stream.update(bytes);
                return;
            }
        }
        self.gathered.extend_from_slice(bytes);
    }
}

impl Hasher {
    fn new() -> Hasher {
        Hasher { gathered: Vec::with_capacity(512), stream: None }
    }

    fn finish(self) -> u128 {
        match self.stream {
            None => xxh3_128(&self.gathered),
            Some(mut stream) => {
                stream.update(&self.gathered);
                stream.digest128()
            }
        }
    }
}

/// Appends the canonical bytes of a value: type tag, length, content. Equal
/// values, and only they, give equal bytes.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    put_value(value, out);
}

/// xxh3-128 of the canonical bytes.
pub fn value(value: &Value) -> u128 {
    let mut hasher = Hasher::new();
    put_value(value, &mut hasher);
    hasher.finish()
}

/// xxh3-128 of a document's canonical bytes.
pub fn document(document: &Document) -> u128 {
    let mut hasher = Hasher::new();
    put_document(document, &mut hasher);
    hasher.finish()
}

fn put_value(value: &Value, out: &mut impl Sink) {
    match value {
        Value::Null => out.put(&[0]),
        Value::Bool(b) => out.put(&[1, u8::from(*b)]),
        Value::Int(n) => put_u64(2, *n as u64, out),
        Value::UInt(n) => put_u64(3, *n, out),
        Value::Float(x) => put_u64(4, x.to_bits(), out),
        Value::Decimal(decimal) => put_decimal(decimal, out),
        Value::Text(text) => put_run(6, text.as_bytes(), out),
        Value::Bytes(bytes) => put_run(7, bytes, out),
        Value::Date(date) => match date {
            Date::NegInfinity => out.put(&[8, 0]),
            Date::Days(days) => {
                out.put(&[8, 1]);
                out.put(&days.to_le_bytes());
            }
            Date::Infinity => out.put(&[8, 2]),
        },
        Value::Time(time) => put_u64(9, time.micros as u64, out),
        Value::Local(timestamp) => match timestamp {
            LocalTimestamp::NegInfinity => out.put(&[10, 0]),
            LocalTimestamp::Micros(micros) => put_micros(10, *micros, out),
            LocalTimestamp::Infinity => out.put(&[10, 2]),
        },
        Value::Instant(instant) => match instant {
            Instant::NegInfinity => out.put(&[11, 0]),
            Instant::Micros(micros) => put_micros(11, *micros, out),
            Instant::Infinity => out.put(&[11, 2]),
        },
        Value::Uuid(uuid) => {
            out.put(&[12]);
            out.put(uuid.as_bytes());
        }
        Value::Array(items) => {
            put_u64(13, items.len() as u64, out);
            items.iter().for_each(|item| put_value(item, out));
        }
        Value::Document(document) => put_document(document, out),
        Value::Extended(own) => {
            put_run(15, own.store.as_bytes(), out);
            put_run(15, own.type_name.as_bytes(), out);
            put_run(15, own.text.as_bytes(), out);
        }
    }
}

fn put_document(document: &Document, out: &mut impl Sink) {
    put_u64(14, document.len() as u64, out);
    for (name, value) in document.iter() {
        put_run(6, name.as_bytes(), out);
        put_value(value, out);
    }
}

fn put_decimal(decimal: &Decimal, out: &mut impl Sink) {
    match decimal {
        Decimal::NaN => out.put(&[5, 0]),
        Decimal::Infinity => out.put(&[5, 1]),
        Decimal::NegInfinity => out.put(&[5, 2]),
        Decimal::Finite { negative, digits, scale } => {
            out.put(&[5, if *negative { 4 } else { 3 }]);
            out.put(&scale.to_le_bytes());
            put_run(5, digits, out);
        }
    }
}

fn put_run(tag: u8, bytes: &[u8], out: &mut impl Sink) {
    put_u64(tag, bytes.len() as u64, out);
    out.put(bytes);
}

fn put_micros(tag: u8, micros: i64, out: &mut impl Sink) {
    out.put(&[tag]);
    put_u64(1, micros as u64, out);
}

fn put_u64(tag: u8, n: u64, out: &mut impl Sink) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&n.to_le_bytes());
    out.put(&bytes);
}
