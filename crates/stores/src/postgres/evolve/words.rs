//! A fill in PostgreSQL's words.

use shearwater_core::Value;
use shearwater_core::domain::Digits;
use shearwater_core::expr::Words;
use shearwater_core::shape::FieldType;
use shearwater_core::value::json;

use super::super::names::{literal, quoted};
use crate::relational::plain_text;

/// Fields as this prefix has them: `NEW`, or a table.
pub(super) struct Prefixed(pub(super) &'static str);

impl Words for Prefixed {
    fn field(&self, name: &str) -> String {
        match self.0 {
            "" => quoted(name),
            prefix => format!("{prefix}.{}", quoted(name)),
        }
    }

    fn text(&self, text: &str) -> Option<String> {
        (!text.contains('\0')).then(|| format!("{}::text", literal(text)))
    }

    fn truth(&self, truth: bool) -> &'static str {
        if truth { "true" } else { "false" }
    }

    fn by_bytes(&self, sql: &str) -> String {
        format!("({sql})::text COLLATE \"C\"")
    }

    fn joined(&self, parts: &[String]) -> String {
        let parts: Vec<String> = parts.iter().map(|part| format!("({part})::text")).collect();
        format!("({})", parts.join(" || "))
    }

    fn constant(&self, ty: FieldType, value: &Value) -> Option<String> {
        let typed = |ty: &str| {
            Some(plain_text(value)).filter(|text| !text.contains('\0')).map(|text| format!("{}::{ty}", literal(&text)))
        };
        match value {
            value if ty == FieldType::Json => Some(format!("{}::json", literal(&json::to_string(value)))),
            Value::Decimal(_) => typed("numeric"),
            Value::Float(x) => Some(format!("'{x:?}'::float8")),
            Value::Date(_) => typed("date"),
            Value::Time(_) => typed("time"),
            Value::Local(_) => typed("timestamp"),
            Value::Instant(_) => typed("timestamptz"),
            Value::Uuid(_) => typed("uuid"),
            // No backslash, whatever a session says of them.
            Value::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Some(format!("decode('{hex}', 'hex')"))
            }
            _ => None,
        }
    }

    fn sum(&self, sign: &str, a: &str, b: &str) -> String {
        let sum = format!("(({a})::numeric {sign} ({b})::numeric)");
        format!("(CASE WHEN {sum} BETWEEN {} AND {} THEN {sum}::int8 END)", i64::MIN, i64::MAX)
    }

    fn remainder(&self, a: &str, b: &str) -> String {
        format!("(CASE WHEN ({b}) <> 0 THEN mod(({a})::numeric, ({b})::numeric)::int8 END)")
    }

    fn text_of_int(&self, sql: &str) -> String {
        format!("({sql})::text")
    }

    fn int_of_text(&self, sql: &str) -> String {
        let (text, number) = (self.by_bytes(sql), format!("({sql})::text::numeric"));
        format!(
            "(CASE WHEN {text} ~ '^-?[0-9]{{1,19}}$' THEN CASE WHEN {number} BETWEEN {} AND {} \
             AND {number}::text = {text} THEN {number}::int8 END END)",
            i64::MIN,
            i64::MAX
        )
    }

    fn decimal_of_int(&self, sql: &str, digits: Digits) -> String {
        format!("({sql})::numeric({},{})", digits.precision, digits.scale)
    }

    fn length(&self, sql: &str) -> String {
        format!("length(({sql})::text)::int8")
    }

    fn part(&self, sql: &str, from: i64, count: Option<i64>) -> String {
        let count = count.map(|count| format!(", {count}")).unwrap_or_default();
        format!("substr(({sql})::text, {from}{count})")
    }
}

/// That a column has one of some texts.
pub(super) fn one_of(column: &str, texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("({column}::text COLLATE \"C\" IN ({}))", texts.join(", "))
}
