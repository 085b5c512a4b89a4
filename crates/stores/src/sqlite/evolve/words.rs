//! A fill in SQLite's words.

use shearwater_core::Value;
use shearwater_core::domain::Digits;
use shearwater_core::expr::Words;
use shearwater_core::shape::FieldType;
use shearwater_core::value::json;

use super::super::tables::{literal, quoted};
use crate::relational::plain_text;

/// Fields as this prefix has them: `NEW.`, or nothing.
pub(super) struct Prefixed(pub(super) &'static str);

impl Words for Prefixed {
    fn field(&self, name: &str) -> String {
        format!("{}{}", self.0, quoted(name))
    }

    fn text(&self, text: &str) -> Option<String> {
        (!text.contains('\0')).then(|| literal(text))
    }

    fn truth(&self, truth: bool) -> &'static str {
        if truth { "1" } else { "0" }
    }

    fn by_bytes(&self, sql: &str) -> String {
        format!("({sql}) COLLATE BINARY")
    }

    fn joined(&self, parts: &[String]) -> String {
        let parts: Vec<String> = parts.iter().map(|part| format!("({part})")).collect();
        format!("({})", parts.join(" || "))
    }

    fn constant(&self, ty: FieldType, value: &Value) -> Option<String> {
        match value {
            value if ty == FieldType::Json => Some(literal(&json::to_string(value))),
            // Those that REAL does not hold stand as texts of their bits.
            Value::Float(x) => (x.is_finite() && (*x != 0.0 || x.is_sign_positive())).then(|| format!("{x:?}")),
            Value::Bytes(bytes) => {
                Some(format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            Value::UInt(_) | Value::Extended(_) => None,
            value => Some(plain_text(value)).filter(|text| !text.contains('\0')).map(|text| literal(&text)),
        }
    }

    fn sum(&self, sign: &str, a: &str, b: &str) -> String {
        // Beyond 64 bits it goes on with floats.
        let sum = format!("(({a}) {sign} ({b}))");
        format!("(CASE WHEN typeof{sum} = 'integer' THEN {sum} END)")
    }

    fn remainder(&self, a: &str, b: &str) -> String {
        format!("(({a}) % ({b}))")
    }

    fn text_of_int(&self, sql: &str) -> String {
        format!("CAST({sql} AS TEXT)")
    }

    fn int_of_text(&self, sql: &str) -> String {
        // It reads as far as it can, up to the highest integer.
        let int = format!("CAST({sql} AS INTEGER)");
        format!("(CASE WHEN CAST({int} AS TEXT) = {} THEN {int} END)", self.by_bytes(sql))
    }

    fn decimal_of_int(&self, sql: &str, digits: Digits) -> String {
        match digits.scale {
            0 => format!("CAST({sql} AS TEXT)"),
            scale => format!("(CAST({sql} AS TEXT) || '.{}')", "0".repeat(scale as usize)),
        }
    }

    fn length(&self, sql: &str) -> String {
        whole(sql, &format!("length({sql})"))
    }

    fn part(&self, sql: &str, from: i64, count: Option<i64>) -> String {
        let count = count.map(|count| format!(", {count}")).unwrap_or_default();
        whole(sql, &format!("substr({sql}, {from}{count})"))
    }
}

/// Something of a text of which SQLite would see the beginning only.
fn whole(text: &str, sql: &str) -> String {
    format!("(CASE WHEN instr(CAST({text} AS BLOB), x'00') = 0 THEN {sql} END)")
}

/// That a column has one of some texts.
pub(super) fn one_of(column: &str, texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("({column} COLLATE BINARY IN ({}))", texts.join(", "))
}
