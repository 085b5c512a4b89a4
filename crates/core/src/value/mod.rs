//! The value model: exact or an error, never silent.
//!
//! Missing is not a value: a field that is missing is absent from its
//! [`Document`]. Null, `[]`, `{}` and `""` are four other things.

pub mod collation;
mod decimal;
mod document;
pub mod dynamo_json;
pub mod hash;
pub mod json;
pub mod mongo_json;
mod number;
pub mod order;
mod temporal;

pub use decimal::{Decimal, DecimalError};
pub use document::{Document, DuplicateField};
pub use temporal::{Date, Instant, LocalTimestamp, TemporalError, Time};
pub use uuid::Uuid;

/// One exact value.
///
/// Equality is exact: `Int(1)`, `Float(1.0)` and `Decimal(1)` are three
/// different values, `Float` compares its bits, and a document compares its
/// fields in their order.
#[derive(Clone, Debug)]
pub enum Value {
    /// An explicit null (not the same as a missing field).
    Null,
    /// True or false.
    Bool(bool),
    /// An integer in the range of `i64`.
    Int(i64),
    /// An integer above `i64::MAX`; smaller ones are always [`Value::Int`].
    /// Build it with [`Value::from_u64`].
    UInt(u64),
    /// A binary64 float, kept bit for bit.
    Float(f64),
    /// A decimal of any precision, its scale kept.
    Decimal(Decimal),
    /// Unicode text; may hold U+0000.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A calendar date.
    Date(Date),
    /// A time of day, in microseconds.
    Time(Time),
    /// A timestamp without a zone, in microseconds.
    Local(LocalTimestamp),
    /// A point in time, in microseconds since 1970-01-01T00:00:00Z.
    Instant(Instant),
    /// A UUID.
    Uuid(Uuid),
    /// An array, its order kept.
    Array(Vec<Value>),
    /// A document, its field order kept.
    Document(Document),
    /// A store's own type, kept with its tag.
    Extended(Box<Extended>),
}

/// A value of a type that only one kind of store has, kept so that it survives
/// the way there and back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extended {
    /// The family of stores, for example `mongodb`.
    pub store: String,
    /// The type's name there, for example `objectId`.
    pub type_name: String,
    /// The value in that type's canonical text.
    pub text: String,
}

impl Value {
    /// An integer from `u64`, in its one canonical variant.
    pub fn from_u64(n: u64) -> Value {
        i64::try_from(n).map_or(Value::UInt(n), Value::Int)
    }

    /// Text from anything that becomes a `String`.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// The name of the value's type as messages and specs use it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::UInt(_) => "int",
            Value::Float(_) => "float",
            Value::Decimal(_) => "decimal",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::Local(_) => "timestamp",
            Value::Instant(_) => "instant",
            Value::Uuid(_) => "uuid",
            Value::Array(_) => "array",
            Value::Document(_) => "document",
            Value::Extended(_) => "extended",
        }
    }

    /// Whether this is an explicit null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::UInt(a), Value::UInt(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Local(a), Value::Local(b)) => a == b,
            (Value::Instant(a), Value::Instant(b)) => a == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Document(a), Value::Document(b)) => a == b,
            (Value::Extended(a), Value::Extended(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value::Float(x)
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Value {
        Value::Document(document)
    }
}
