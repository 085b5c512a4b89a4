//! The server's own types: how their values travel, and what SQL says so.

use shearwater_core::shape::FieldType;
use tokio_postgres::types::Type;

/// How a value of a type travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `oid`.
    Oid,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `text`, `varchar`.
    Text,
    /// `char(n)`.
    Blank,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    Instant,
    /// `uuid`.
    Uuid,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// An array of one of these.
    Array(Box<Wire>),
    /// Any other type, as the server's own text of it.
    Server,
}

impl Wire {
    /// The wire of a built-in type by its name in the catalogue.
    pub(super) fn of(typname: &str) -> Wire {
        match typname {
            "bool" => Wire::Bool,
            "int2" => Wire::Int2,
            "int4" => Wire::Int4,
            "int8" => Wire::Int8,
            "oid" => Wire::Oid,
            "float4" => Wire::Float4,
            "float8" => Wire::Float8,
            "numeric" => Wire::Numeric,
            "text" | "varchar" => Wire::Text,
            "bpchar" => Wire::Blank,
            "bytea" => Wire::Bytea,
            "date" => Wire::Date,
            "time" => Wire::Time,
            "timestamp" => Wire::Timestamp,
            "timestamptz" => Wire::Instant,
            "uuid" => Wire::Uuid,
            "json" => Wire::Json,
            "jsonb" => Wire::Jsonb,
            _ => Wire::Server,
        }
    }

    /// The type whose binary form travels.
    pub(super) fn sql(&self) -> String {
        let name = match self {
            Wire::Bool => "bool",
            Wire::Int2 => "int2",
            Wire::Int4 => "int4",
            Wire::Int8 => "int8",
            Wire::Oid => "oid",
            Wire::Float4 => "float4",
            Wire::Float8 => "float8",
            Wire::Numeric => "numeric",
            Wire::Text | Wire::Blank | Wire::Server => "text",
            Wire::Bytea => "bytea",
            Wire::Date => "date",
            Wire::Time => "time",
            Wire::Timestamp => "timestamp",
            Wire::Instant => "timestamptz",
            Wire::Uuid => "uuid",
            Wire::Json => "json",
            Wire::Jsonb => "jsonb",
            Wire::Array(element) => return format!("{}[]", element.sql()),
        };
        format!("pg_catalog.{name}")
    }

    /// The catalogue's number of that type, for arrays that we make.
    pub(super) fn oid(&self) -> u32 {
        let ty = match self {
            Wire::Bool => Type::BOOL,
            Wire::Int2 => Type::INT2,
            Wire::Int4 => Type::INT4,
            Wire::Int8 => Type::INT8,
            Wire::Oid => Type::OID,
            Wire::Float4 => Type::FLOAT4,
            Wire::Float8 => Type::FLOAT8,
            Wire::Numeric => Type::NUMERIC,
            Wire::Text | Wire::Blank | Wire::Server | Wire::Array(_) => Type::TEXT,
            Wire::Bytea => Type::BYTEA,
            Wire::Date => Type::DATE,
            Wire::Time => Type::TIME,
            Wire::Timestamp => Type::TIMESTAMP,
            Wire::Instant => Type::TIMESTAMPTZ,
            Wire::Uuid => Type::UUID,
            Wire::Json => Type::JSON,
            Wire::Jsonb => Type::JSONB,
        };
        ty.oid()
    }

    /// The field type that reads it exactly.
    pub(super) fn field_type(&self) -> FieldType {
        match self {
            Wire::Bool => FieldType::Bool,
            Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid => FieldType::Int,
            Wire::Float4 | Wire::Float8 => FieldType::Float,
            Wire::Numeric => FieldType::Decimal,
            Wire::Text | Wire::Blank => FieldType::Text,
            Wire::Bytea => FieldType::Bytes,
            Wire::Date => FieldType::Date,
            Wire::Time => FieldType::Time,
            Wire::Timestamp => FieldType::Timestamp,
            Wire::Instant => FieldType::Instant,
            Wire::Uuid => FieldType::Uuid,
            Wire::Json | Wire::Jsonb | Wire::Array(_) => FieldType::Json,
            Wire::Server => FieldType::Extended,
        }
    }
}

/// How a column orders and compares texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collation {
    /// By bytes, or the type has none.
    Bytes,
    /// By the rules of a language; different texts are different.
    Language,
    /// It takes different texts for equal.
    Folding,
}

/// A column's type as the server has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Native {
    /// In the server's words, for example `character varying(40)`.
    pub(super) declared: String,
    /// The type that values are cast to; a domain's base type.
    pub(super) base: String,
    /// How values travel.
    pub(super) wire: Wire,
    /// Characters of a text at most.
    pub(super) chars_max: Option<usize>,
    /// Digits of a numeric in all, and after the point.
    pub(super) digits: Option<(i32, i32)>,
    /// Digits of a second's fraction.
    pub(super) fraction_digits: u32,
    /// The labels of an enumeration.
    pub(super) labels: Vec<String>,
    /// How it compares texts.
    pub(super) collation: Collation,
    /// Whether the type is one of the server's own, an enumeration or a domain
    /// of these: its equality is the server's.
    pub(super) is_builtin: bool,
    /// Whether values are checked by a domain.
    pub(super) is_domain: bool,
}

impl Native {
    /// A column, so that its value travels.
    pub(super) fn read(&self, column: &str) -> String {
        match self.wire {
            Wire::Server | Wire::Text | Wire::Blank => format!("{column}::pg_catalog.text"),
            _ if self.is_domain => format!("{column}::{}", self.base),
            _ => column.to_owned(),
        }
    }

    /// A parameter as a value of the column's type.
    pub(super) fn bind(&self, place: &str) -> String {
        let sql = self.wire.sql();
        match self.wire {
            Wire::Server => format!("{place}::{sql}::{}", self.base),
            Wire::Blank => format!("{place}::{sql}::pg_catalog.bpchar"),
            _ => format!("{place}::{sql}"),
        }
    }

    /// The type in which the sidecar keeps a key of this type: one that tells
    /// all its values apart, and keeps their text.
    pub(super) fn mark_type(&self) -> String {
        match self.wire {
            _ if self.is_text_in_marks() => "pg_catalog.text COLLATE pg_catalog.\"C\"".to_owned(),
            _ => self.wire.sql(),
        }
    }

    /// A value of the column's type as the sidecar keeps it.
    pub(super) fn to_mark(&self, expression: &str) -> String {
        match self.is_text_in_marks() {
            true => format!("({expression})::pg_catalog.text COLLATE pg_catalog.\"C\""),
            false if self.is_domain => format!("({expression})::{}", self.base),
            false => expression.to_owned(),
        }
    }

    /// A key of the sidecar, so that it travels as the column's value does.
    pub(super) fn read_mark(&self, column: &str) -> String {
        match self.wire {
            Wire::Numeric | Wire::Float4 | Wire::Float8 => format!("{column}::{}", self.wire.sql()),
            _ => column.to_owned(),
        }
    }

    /// Whether the sidecar's key needs the session's settings to be exact.
    pub(super) fn needs_settings_in_marks(&self) -> bool {
        matches!(self.wire, Wire::Server | Wire::Float4 | Wire::Float8)
    }

    fn is_text_in_marks(&self) -> bool {
        matches!(self.wire, Wire::Text | Wire::Blank | Wire::Server | Wire::Numeric | Wire::Float4 | Wire::Float8)
    }

    /// An expression of this type in canonical order, as terms of an order; an
    /// empty list where the server cannot give it.
    pub(super) fn canonical(&self, ty: FieldType, column: &str) -> Vec<String> {
        match (ty, &self.wire) {
            (FieldType::Text, Wire::Text) if self.collation == Collation::Bytes => vec![column.to_owned()],
            (FieldType::Text, Wire::Text) => vec![format!("{column}::pg_catalog.text COLLATE pg_catalog.\"C\"")],
            (FieldType::Bool, Wire::Bool)
            | (FieldType::Int, Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid)
            | (FieldType::Bytes, Wire::Bytea)
            | (FieldType::Date, Wire::Date)
            | (FieldType::Time, Wire::Time)
            | (FieldType::Timestamp, Wire::Timestamp)
            | (FieldType::Instant, Wire::Instant)
            | (FieldType::Uuid, Wire::Uuid) => vec![column.to_owned()],
            // Equal numbers of different scales are told apart by the scale.
            (FieldType::Decimal, Wire::Numeric) => {
                vec![column.to_owned(), format!("coalesce(pg_catalog.scale({column}), 0)")]
            }
            _ => Vec::new(),
        }
    }
}
