//! A fill in the words of MySQL and MariaDB.

use shearwater_core::Value;
use shearwater_core::domain::Digits;
use shearwater_core::expr::Words;
use shearwater_core::shape::FieldType;
use shearwater_core::value::json;

use super::super::names::{literal, quoted};
use crate::relational::plain_text;

/// Digits of a product of two integers, and more: 65 are the most.
const WIDE: &str = "DECIMAL(40,0)";

/// Fields as this prefix has them: `NEW.`, or nothing.
pub(super) struct Prefixed(pub(super) &'static str);

impl Words for Prefixed {
    fn field(&self, name: &str) -> String {
        format!("{}{}", self.0, quoted(name))
    }

    fn text(&self, text: &str) -> Option<String> {
        Some(format!("_utf8mb4{}", literal(text)))
    }

    fn truth(&self, truth: bool) -> &'static str {
        if truth { "1" } else { "0" }
    }

    fn by_bytes(&self, sql: &str) -> String {
        format!("CAST(CONVERT({sql} USING utf8mb4) AS BINARY)")
    }

    fn joined(&self, parts: &[String]) -> String {
        format!("CONCAT({})", parts.join(", "))
    }

    fn constant(&self, ty: FieldType, value: &Value) -> Option<String> {
        let moment = |ty: &str| {
            // The server's form has a blank, and no zone.
            let text = plain_text(value).replace('T', " ");
            Some(format!("{ty}{}", literal(text.trim_end_matches('Z'))))
        };
        match value {
            value if ty == FieldType::Json => self.text(&json::to_string(value)),
            Value::Decimal(decimal) => Some(decimal.to_string()),
            // -0.0 is stored as 0.0; without an exponent it would be a decimal.
            Value::Float(x) if !x.is_finite() || (*x == 0.0 && x.is_sign_negative()) => None,
            Value::Float(x) => Some(format!("{x:e}")),
            Value::Date(_) => moment("DATE"),
            Value::Time(_) => moment("TIME"),
            Value::Local(_) | Value::Instant(_) => moment("TIMESTAMP"),
            Value::Bytes(bytes) => {
                Some(format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            Value::Uuid(_) => self.text(&plain_text(value)),
            _ => None,
        }
    }

    fn sum(&self, sign: &str, a: &str, b: &str) -> String {
        let sum = format!("(CAST({a} AS {WIDE}) {sign} CAST({b} AS {WIDE}))");
        format!("(CASE WHEN {sum} BETWEEN {} AND {} THEN CAST({sum} AS SIGNED) END)", i64::MIN, i64::MAX)
    }

    fn remainder(&self, a: &str, b: &str) -> String {
        format!("(CASE WHEN ({b}) <> 0 THEN CAST(CAST({a} AS {WIDE}) % CAST({b} AS {WIDE}) AS SIGNED) END)")
    }

    fn text_of_int(&self, sql: &str) -> String {
        // A collation of its own: beside a column's the server could not choose between two.
        format!("(CONVERT(CAST({sql} AS CHAR) USING utf8mb4) COLLATE utf8mb4_bin)")
    }

    fn int_of_text(&self, sql: &str) -> String {
        let (text, number) = (format!("CONVERT({sql} USING utf8mb4)"), format!("CAST({sql} AS DECIMAL(20,0))"));
        // Not `$`, which a line's end would satisfy; and no backslash, which a session may read or not.
        format!(
            "(CASE WHEN {text} REGEXP '^-?[0-9]{{1,19}}(?![^a]|a)' THEN CASE WHEN {number} BETWEEN {} AND {} \
             AND {} = {} THEN CAST({number} AS SIGNED) END END)",
            i64::MIN,
            i64::MAX,
            self.by_bytes(&format!("CAST({number} AS CHAR)")),
            self.by_bytes(sql)
        )
    }

    fn decimal_of_int(&self, sql: &str, digits: Digits) -> String {
        format!("CAST({sql} AS DECIMAL({},{}))", digits.precision, digits.scale)
    }

    fn length(&self, sql: &str) -> String {
        self.whole(sql, &format!("CHAR_LENGTH({sql})"))
    }

    fn part(&self, sql: &str, from: i64, count: Option<i64>) -> String {
        let count = count.map(|count| format!(", {count}")).unwrap_or_default();
        self.whole(sql, &format!("SUBSTRING({sql}, {from}{count})"))
    }
}

impl Prefixed {
    /// Something of a text without U+0000, of which other stores see the beginning only.
    fn whole(&self, text: &str, sql: &str) -> String {
        format!("(CASE WHEN LOCATE(x'00', {}) = 0 THEN {sql} END)", self.by_bytes(text))
    }
}
