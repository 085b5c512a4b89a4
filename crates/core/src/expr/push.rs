//! Expressions in a store's own words, so that it evaluates them itself: only
//! what every store is proven to evaluate exactly as [`super::eval`] does. The
//! rest is refused by name.
//!
//! Proven means: total (no value makes it fail), the same three-valued logic,
//! and compared by numbers or by bytes. Rounding, overflow, letter case and
//! conversions differ from store to store, so they are not in it.

use super::functions::Function;
use super::{Comparison, ExprError, Kind, Node, check};
use crate::path::Path;
use crate::shape::FieldType;
use crate::value::Value;

/// How a store says the parts of an expression.
pub trait Words: Sync {
    /// A field of the record.
    fn field(&self, name: &str) -> String;

    /// A text; `None` when the store cannot hold it.
    fn text(&self, text: &str) -> Option<String>;

    /// True or false.
    fn truth(&self, truth: bool) -> &'static str;

    /// A text so that `=` and `<` go by its bytes.
    fn by_bytes(&self, sql: &str) -> String;

    /// Texts one after the other; NULL when one is NULL.
    fn joined(&self, parts: &[String]) -> String;
}

/// The types of the fields; `None`: unknown or any.
type Fields<'f> = &'f dyn Fn(&Path) -> Option<FieldType>;

/// A node in a store's words.
pub(super) fn sql(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    let of = |node: &Node| sql(node, words, fields);
    match &node.kind {
        Kind::Literal(value) => literal(node, value, words),
        Kind::Field(path) => field(node, path, words, fields),
        Kind::Not(a) => Ok(format!("(NOT {})", of(a)?)),
        Kind::And(a, b) => Ok(format!("({} AND {})", of(a)?, of(b)?)),
        Kind::Or(a, b) => Ok(format!("({} OR {})", of(a)?, of(b)?)),
        Kind::IsNull(a) => Ok(format!("({} IS NULL)", is_null_operand(a, words, fields)?)),
        Kind::Join(a, b) => Ok(words.joined(&[text(a, words, fields)?, text(b, words, fields)?])),
        Kind::Compare(op, a, b) => compare(*op, a, b, words, fields),
        Kind::In(a, list) => {
            let tests = list.iter().map(|item| compare(Comparison::Equal, a, item, words, fields));
            Ok(format!("({})", tests.collect::<Result<Vec<_>, _>>()?.join(" OR ")))
        }
        Kind::Between(a, low, high) => {
            let above = compare(Comparison::GreaterOrEqual, a, low, words, fields)?;
            Ok(format!("({above} AND {})", compare(Comparison::LessOrEqual, a, high, words, fields)?))
        }
        Kind::Case { operand, branches, otherwise } => {
            let mut out = String::from("CASE");
            for (when, then) in branches {
                let when = match operand {
                    Some(operand) => compare(Comparison::Equal, operand, when, words, fields)?,
                    None => of(when)?,
                };
                out.push_str(&format!(" WHEN {when} THEN {}", of(then)?));
            }
            if let Some(otherwise) = otherwise {
                out.push_str(&format!(" ELSE {}", of(otherwise)?));
            }
            Ok(out + " END")
        }
        Kind::Call(function, arguments) => call(node, *function, arguments, words, fields),
        Kind::Negate(_) | Kind::Arithmetic(..) => Err(refused(node, "arithmetic")),
        Kind::Like(..) => Err(refused(node, "LIKE")),
        Kind::Cast(..) => Err(refused(node, "CAST")),
    }
}

fn call(
    node: &Node,
    function: Function,
    arguments: &[Node],
    words: &dyn Words,
    fields: Fields<'_>,
) -> Result<String, ExprError> {
    let all = || arguments.iter().map(|argument| sql(argument, words, fields)).collect::<Result<Vec<_>, _>>();
    match (function, arguments) {
        (Function::Coalesce, _) => Ok(format!("coalesce({})", all()?.join(", "))),
        (Function::NullIf, [a, b]) => {
            let equal = compare(Comparison::Equal, a, b, words, fields)?;
            Ok(format!("CASE WHEN {equal} THEN NULL ELSE {} END", sql(a, words, fields)?))
        }
        (Function::Concat, _) => {
            let empty = words.text("").ok_or_else(|| refused(node, "an empty text"))?;
            let texts = arguments.iter().map(|a| text(a, words, fields).map(|a| format!("coalesce({a}, {empty})")));
            Ok(words.joined(&texts.collect::<Result<Vec<_>, _>>()?))
        }
        (other, _) => Err(refused(node, other.signature().name)),
    }
}

fn literal(node: &Node, value: &Value, words: &dyn Words) -> Result<String, ExprError> {
    match value {
        Value::Null => Ok("NULL".to_owned()),
        Value::Bool(b) => Ok(words.truth(*b).to_owned()),
        Value::Int(n) if *n < 0 => Ok(format!("({n})")),
        Value::Int(n) => Ok(n.to_string()),
        Value::Text(text) => words.text(text).ok_or_else(|| refused(node, "this text")),
        other => Err(refused(node, other.type_name())),
    }
}

fn is_pushed(ty: FieldType) -> bool {
    matches!(ty, FieldType::Bool | FieldType::Int | FieldType::Text)
}

fn field(node: &Node, path: &Path, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    match fields(path) {
        Some(ty) if is_pushed(ty) && path.steps().len() == 1 => Ok(words.field(path.root())),
        Some(ty) => Err(refused(node, &format!("a field of type {}", ty.name()))),
        None => Err(refused(node, "a field whose type is not known")),
    }
}

/// Any column can be asked whether it is NULL.
fn is_null_operand(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    match &node.kind {
        Kind::Field(path) if path.steps().len() == 1 => Ok(words.field(path.root())),
        _ => sql(node, words, fields),
    }
}

fn text(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    match check::type_of(node, fields)? {
        Some(FieldType::Text) => sql(node, words, fields),
        None if matches!(node.kind, Kind::Literal(Value::Null)) => sql(node, words, fields),
        _ => Err(refused(node, "a value that is not known to be a text, joined")),
    }
}

fn compare(op: Comparison, a: &Node, b: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    let is_null = |node: &Node| matches!(node.kind, Kind::Literal(Value::Null));
    let (left, right) = (check::type_of(a, fields)?, check::type_of(b, fields)?);
    let (a_sql, b_sql) = (sql(a, words, fields)?, sql(b, words, fields)?);
    let sign = op.sign();
    match (left, right) {
        // Comparing with NULL is NULL, whatever the type.
        _ if is_null(a) || is_null(b) => Ok("NULL".to_owned()),
        (Some(FieldType::Text), Some(FieldType::Text)) => {
            Ok(format!("({} {sign} {})", words.by_bytes(&a_sql), words.by_bytes(&b_sql)))
        }
        (Some(FieldType::Int), Some(FieldType::Int)) | (Some(FieldType::Bool), Some(FieldType::Bool)) => {
            Ok(format!("({a_sql} {sign} {b_sql})"))
        }
        _ => Err(refused(b, "a comparison of these types")),
    }
}

fn refused(node: &Node, what: &str) -> ExprError {
    ExprError {
        span: node.span,
        message: format!("{what}: not proven to be the same in the store as here"),
        hint: Some(
            "a fill is made of fields (text, int, bool), constants, comparisons, AND, OR, NOT, IS NULL, IN, BETWEEN, \
             CASE, coalesce, nullif, concat and ||"
                .to_owned(),
        ),
    }
}
