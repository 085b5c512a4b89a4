//! A column as the server declares it: which type, and how it is read exactly.

use super::names::quoted;

/// The comment of a key column that holds keys of any type as text (see
/// [`super::value`]); `provision` writes it.
pub(super) const KEY_TEXT_COMMENT: &str = "Shearwater key text";

/// The longest key of an InnoDB index, bytes.
pub(super) const INDEX_BYTES_MAX: u64 = 3_072;

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An integer between two bounds.
    Int { low: i64, high: u64 },
    /// A year: 0 or 1901 to 2155.
    Year,
    /// This many bits.
    Bits(u32),
    /// A binary32 float.
    Float,
    /// A binary64 float.
    Double,
    /// A decimal: digits in all, and after the point.
    Decimal { digits: u32, scale: u32, low_is_zero: LowIsZero },
    /// Characters; `CHAR` loses blanks at its end.
    Text { chars_max: Option<u64>, bytes_max: u64, trailing: Trailing },
    /// One of these texts.
    Enum(Vec<String>),
    /// A set of these texts.
    Set(Vec<String>),
    /// Exactly this many bytes.
    Binary(u64),
    /// At most this many bytes.
    Bytes(u64),
    /// A date.
    Date,
    /// A time, negative and above 24 h too; digits of a second's fraction.
    Time(u8),
    /// A date and a time without a zone; digits of a second's fraction.
    Datetime(u8),
    /// A point in time; digits of a second's fraction.
    Timestamp(u8),
    /// MySQL's own JSON, which orders names and rewrites numbers.
    Json,
    /// MariaDB's UUID.
    Uuid,
    /// MariaDB's network addresses.
    Inet,
    /// A geometry.
    Geometry,
    /// A type that this connector does not know.
    Unknown,
}

/// Whether a decimal is `UNSIGNED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LowIsZero {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What becomes of blanks at the end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trailing {
    /// They stay.
    Kept,
    /// They go.
    Stripped,
}

/// What the schema says about a column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its declared type, whole.
    pub(super) declared: String,
    /// The type's name alone.
    pub(super) type_name: String,
    /// What it holds.
    pub(super) kind: Kind,
    /// Whether it may be NULL.
    pub(super) nullable: bool,
    /// Its default, in the server's words.
    pub(super) default: Option<String>,
    /// Whether the server computes it.
    pub(super) generated: bool,
    /// Whether the server numbers it.
    pub(super) identity: bool,
    /// The character set of a text.
    pub(super) charset: Option<String>,
    /// The collation of a text.
    pub(super) collation: Option<String>,
    /// Whether a check says that the text is JSON (MariaDB's JSON).
    pub(super) is_json: bool,
    /// Whether it holds keys of any type as text.
    pub(super) is_key_text: bool,
}

/// The facts of a column that its kind is made from.
pub(super) struct Declared<'a> {
    /// `DATA_TYPE`.
    pub(super) data_type: &'a str,
    /// `COLUMN_TYPE`.
    pub(super) column_type: &'a str,
    /// `CHARACTER_MAXIMUM_LENGTH`.
    pub(super) chars: Option<u64>,
    /// `CHARACTER_OCTET_LENGTH`.
    pub(super) bytes: Option<u64>,
    /// `NUMERIC_PRECISION`.
    pub(super) digits: Option<u64>,
    /// `NUMERIC_SCALE`.
    pub(super) scale: Option<u64>,
    /// `DATETIME_PRECISION`.
    pub(super) fraction: Option<u64>,
}

impl Kind {
    /// What a declaration says.
    pub(super) fn of(declared: &Declared<'_>) -> Kind {
        let unsigned = declared.column_type.to_ascii_lowercase().contains(" unsigned");
        let int = |bits: u32| match unsigned {
            true => Kind::Int { low: 0, high: u64::MAX >> (64 - bits) },
            false => Kind::Int { low: i64::MIN >> (64 - bits), high: (u64::MAX >> (64 - bits)) >> 1 },
        };
        let fraction = declared.fraction.and_then(|f| u8::try_from(f).ok()).unwrap_or(0);
        let small = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let bytes = declared.bytes.unwrap_or(0);
        match declared.data_type.to_ascii_lowercase().as_str() {
            "tinyint" => int(8),
            "smallint" => int(16),
            "mediumint" => int(24),
            "int" => int(32),
            "bigint" => int(64),
            "year" => Kind::Year,
            "bit" => Kind::Bits(small(declared.digits)),
            "float" => Kind::Float,
            "double" => Kind::Double,
            "decimal" => Kind::Decimal {
                digits: small(declared.digits),
                scale: small(declared.scale),
                low_is_zero: if unsigned { LowIsZero::Yes } else { LowIsZero::No },
            },
            "char" => Kind::Text { chars_max: declared.chars, bytes_max: bytes, trailing: Trailing::Stripped },
            "varchar" => Kind::Text { chars_max: declared.chars, bytes_max: bytes, trailing: Trailing::Kept },
            "tinytext" | "text" | "mediumtext" | "longtext" => {
                Kind::Text { chars_max: None, bytes_max: bytes, trailing: Trailing::Kept }
            }
            "enum" => Kind::Enum(labels(declared.column_type)),
            "set" => Kind::Set(labels(declared.column_type)),
            "binary" => Kind::Binary(bytes),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes(bytes),
            "date" => Kind::Date,
            "time" => Kind::Time(fraction),
            "datetime" => Kind::Datetime(fraction),
            "timestamp" => Kind::Timestamp(fraction),
            "json" => Kind::Json,
            "uuid" => Kind::Uuid,
            "inet4" | "inet6" => Kind::Inet,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => Kind::Geometry,
            _ => Kind::Unknown,
        }
    }
}

/// The labels of `enum('a','b''c')`.
fn labels(column_type: &str) -> Vec<String> {
    let inside = column_type.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(list, _)| list);
    let (mut labels, mut chars) = (Vec::new(), inside.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.peek() == Some(&'\'') => label.extend(chars.next()),
                '\'' => break,
                c => label.push(c),
            }
        }
        labels.push(label);
    }
    labels
}

impl Column {
    /// The expression that reads the column of `table` (an alias with its
    /// point, or nothing).
    pub(super) fn read(&self, table: &str) -> String {
        let name = format!("{table}{}", quoted(&self.name));
        match self.kind {
            Kind::Bits(_) => format!("({name} + 0)"),
            Kind::Date | Kind::Time(_) | Kind::Datetime(_) | Kind::Timestamp(_) | Kind::Uuid | Kind::Inet => {
                format!("CAST({name} AS CHAR)")
            }
            _ => name,
        }
    }

    /// The expression that compares exactly, as the sidecar keeps a key: an
    /// integer, or bytes.
    pub(super) fn exact(&self, table: &str) -> String {
        let read = self.read(table);
        match self.kind {
            Kind::Int { .. } | Kind::Year | Kind::Bits(_) | Kind::Binary(_) | Kind::Bytes(_) => read,
            Kind::Text { .. } | Kind::Enum(_) | Kind::Set(_) if !self.is_utf8() => {
                format!("CAST(CONVERT({read} USING utf8mb4) AS BINARY)")
            }
            _ => format!("CAST({read} AS BINARY)"),
        }
    }

    /// The digits of `FLOAT(m,d)` and `DOUBLE(m,d)`, in all and after the
    /// point, to which the server rounds without a word.
    pub(super) fn float_digits(&self) -> Option<(i32, i32)> {
        let (_, rest) = self.declared.split_once('(')?;
        let (digits, scale) = rest.split_once(')')?.0.split_once(',')?;
        Some((digits.trim().parse().ok()?, scale.trim().parse().ok()?))
    }

    fn is_utf8(&self) -> bool {
        matches!(self.charset.as_deref(), Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii"))
    }

    /// The type in which the sidecar keeps this column as part of a key.
    pub(super) fn mark_type(&self) -> Result<String, String> {
        let bytes = match &self.kind {
            Kind::Int { low: 0, .. } | Kind::Bits(_) => return Ok("BIGINT UNSIGNED".to_owned()),
            Kind::Int { .. } | Kind::Year => return Ok("BIGINT".to_owned()),
            Kind::Text { chars_max, bytes_max, .. } => match (chars_max, self.charset.as_deref()) {
                (Some(chars), Some("ascii")) => *chars,
                // At most three bytes of UTF-8 for a character of the sets of one byte.
                (Some(chars), Some(charset)) if charset.starts_with("latin") || charset.starts_with("cp") => chars * 3,
                (Some(chars), _) if !self.is_utf8() => chars * 4,
                _ => *bytes_max,
            },
            Kind::Enum(labels) => labels.iter().map(|label| label.len() as u64).max().unwrap_or(0),
            Kind::Binary(bytes) | Kind::Bytes(bytes) => *bytes,
            Kind::Decimal { digits, .. } => u64::from(*digits) + 3,
            Kind::Date => 10,
            Kind::Time(_) => 18,
            Kind::Datetime(_) => 26,
            Kind::Uuid => 36,
            Kind::Inet => 45,
            Kind::Timestamp(_)
            | Kind::Float
            | Kind::Double
            | Kind::Set(_)
            | Kind::Json
            | Kind::Geometry
            | Kind::Unknown => {
                return Err(format!("a key of the type {} is not supported", self.type_name));
            }
        };
        match bytes {
            // A unique index over a prefix only would be no key, so this is bounded.
            0..=INDEX_BYTES_MAX => Ok(format!("VARBINARY({})", bytes.max(1))),
            _ => Err(format!("a key of up to {bytes} bytes is longer than the {INDEX_BYTES_MAX} of an index")),
        }
    }

    /// Whether the server takes different texts for equal, or orders them
    /// otherwise than by code point.
    pub(super) fn folds(&self) -> bool {
        match &self.kind {
            Kind::Text { .. } | Kind::Enum(_) | Kind::Set(_) => {
                !self.collation.as_deref().is_some_and(is_exact_collation)
            }
            _ => false,
        }
    }
}

/// Collations that tell all texts apart: blanks at the end too.
fn is_exact_collation(name: &str) -> bool {
    name == "binary" || name.ends_with("_nopad_bin") || name.ends_with("_0900_bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(data_type: &str, column_type: &str, numbers: [Option<u64>; 5]) -> Kind {
        let [chars, bytes, digits, scale, fraction] = numbers;
        Kind::of(&Declared { data_type, column_type, chars, bytes, digits, scale, fraction })
    }

    #[test]
    fn kinds_of_declarations() {
        let none = [None; 5];
        assert_eq!(kind("tinyint", "tinyint(1)", none), Kind::Int { low: -128, high: 127 });
        assert_eq!(kind("mediumint", "mediumint(8) unsigned zerofill", none), Kind::Int { low: 0, high: 16_777_215 });
        assert_eq!(kind("bigint", "bigint(20)", none), Kind::Int { low: i64::MIN, high: i64::MAX as u64 });
        assert_eq!(kind("bigint", "bigint(20) unsigned", none), Kind::Int { low: 0, high: u64::MAX });
        assert_eq!(kind("datetime", "datetime(3)", [None, None, None, None, Some(3)]), Kind::Datetime(3));
        assert_eq!(
            kind("enum", "enum('a','it''s','b,c','')", none),
            Kind::Enum(vec!["a".into(), "it's".into(), "b,c".into(), String::new()])
        );
        assert_eq!(kind("vector", "vector(3)", none), Kind::Unknown);
    }
}
