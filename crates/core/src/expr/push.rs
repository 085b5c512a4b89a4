//! Expressions in a store's own words, so that it evaluates them itself: only
//! what every store is proven to evaluate exactly as [`super::eval`] does. The
//! rest is refused by name.
//!
//! Proven means: total (no value makes it fail), the same three-valued logic,
//! compared by numbers or by bytes, and NULL where there is no exact result.
//! Rounding, division and letter case differ from store to store, so they are not
//! in it.

use super::functions::Function;
use super::{Arithmetic, Comparison, ExprError, Kind, Node, check};
use crate::domain::Digits;
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

    /// A constant of any other type, and any that is JSON; `None` when the store
    /// would hold another value.
    fn constant(&self, ty: FieldType, value: &Value) -> Option<String>;

    /// `a + b`, `a - b`, `a * b` of 64-bit integers; NULL beyond their range.
    fn sum(&self, sign: &str, a: &str, b: &str) -> String;

    /// What is left of `a` divided by `b`, with the sign of `a`; NULL for a division by zero.
    fn remainder(&self, a: &str, b: &str) -> String;

    /// An integer as its text.
    fn text_of_int(&self, sql: &str) -> String;

    /// A 64-bit integer of a text that is exactly that integer's text; else NULL.
    fn int_of_text(&self, sql: &str) -> String;

    /// An integer as a decimal with its digits; it is known to fit.
    fn decimal_of_int(&self, sql: &str, digits: Digits) -> String;

    /// The number of a text's characters; NULL when it holds U+0000.
    fn length(&self, sql: &str) -> String;

    /// The characters of a text from the `from`-th on, counted from 1, at most
    /// `count`; NULL when it holds U+0000.
    fn part(&self, sql: &str, from: i64, count: Option<i64>) -> String;
}

/// The highest number of a character: what PostgreSQL counts to.
const CHARACTER_MAX: i64 = i32::MAX as i64;

/// Bytes of an expression in a store's words: a guarded sum names its operands
/// twice, so that a deep one unfolds; a trigger of megabytes slows every write.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// The types of the fields; `None`: unknown or any.
type Fields<'f> = &'f dyn Fn(&Path) -> Option<FieldType>;

/// A node in a store's words.
pub(super) fn sql(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    let made = unbounded(node, words, fields)?;
    if made.len() > SQL_BYTES_MAX {
        let message = "the expression is too deep: a sum names its operands twice in the store's words".to_owned();
        let hint = Some("split it: fewer sums in one another, or a column with a part of it".to_owned());
        return Err(ExprError { span: node.span, message, hint });
    }
    Ok(made)
}

fn unbounded(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
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
        Kind::Negate(a) => Ok(words.sum("-", "0", &int(a, words, fields)?)),
        Kind::Arithmetic(op, a, b) => {
            if *op == Arithmetic::Divide {
                return Err(refused(node, "division"));
            }
            let (a, b) = (int(a, words, fields)?, int(b, words, fields)?);
            Ok(match op {
                Arithmetic::Remainder => words.remainder(&a, &b),
                op => words.sum(op.sign(), &a, &b),
            })
        }
        Kind::Like(..) => Err(refused(node, "LIKE")),
        Kind::Cast(a, ty) => cast(node, a, *ty, words, fields),
    }
}

/// An operand that is known to be an integer.
fn int(node: &Node, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    match check::type_of(node, fields)? {
        Some(FieldType::Int) => sql(node, words, fields),
        None if matches!(node.kind, Kind::Literal(Value::Null)) => sql(node, words, fields),
        Some(ty) => Err(refused(node, &format!("arithmetic with {}", ty.name()))),
        None => Err(refused(node, "arithmetic with a value that is not known to be an integer")),
    }
}

fn cast(node: &Node, of: &Node, to: FieldType, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    let from = check::type_of(of, fields)?;
    let found = sql(of, words, fields)?;
    let word = |text: &str| words.text(text).ok_or_else(|| refused(node, "this text"));
    match (from, to) {
        (Some(from), to) if from == to => Ok(found),
        (Some(FieldType::Int), FieldType::Text) => Ok(words.text_of_int(&found)),
        (Some(FieldType::Text), FieldType::Int) => Ok(words.int_of_text(&found)),
        (Some(FieldType::Bool), FieldType::Text) => {
            Ok(format!("CASE WHEN {found} THEN {} WHEN NOT {found} THEN {} END", word("true")?, word("false")?))
        }
        (Some(FieldType::Text), FieldType::Bool) => {
            let is = |text: String| format!("{} = {}", words.by_bytes(&found), words.by_bytes(&text));
            let (yes, no) = (is(word("true")?), is(word("false")?));
            Ok(format!("CASE WHEN {yes} THEN {} WHEN {no} THEN {} END", words.truth(true), words.truth(false)))
        }
        (Some(FieldType::Bool), FieldType::Int) => {
            Err(refused(node, "CAST of bool AS int").with_hint("CASE WHEN … THEN 1 ELSE 0 END"))
        }
        (Some(FieldType::Int), FieldType::Bool) => Err(refused(node, "CAST of int AS bool").with_hint("… <> 0")),
        (Some(FieldType::Int), FieldType::Decimal) => Err(refused(node, "CAST of int AS decimal")
            .with_hint("leave the CAST out: an expression that gives int fills a decimal field, with all its digits")),
        (Some(from), to) => Err(refused(node, &format!("CAST of {} AS {}", from.name(), to.name()))),
        (None, _) => Err(refused(node, "CAST of a value whose type is not known")),
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
        // Of one argument some stores have none.
        (Function::Coalesce, [only]) => sql(only, words, fields),
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
        (Function::Length, [a]) => Ok(words.length(&text(a, words, fields)?)),
        (Function::Substring, [a, bounds @ ..]) => {
            let whole = text(a, words, fields)?;
            let bound = |node: &Node, least: i64| match &node.kind {
                Kind::Literal(Value::Int(n)) if (least..=CHARACTER_MAX).contains(n) => Ok(*n),
                _ => Err(refused(node, "a part of a text by computed bounds")
                    .with_hint("substr(text, from, count) takes numbers as they are: from 1 on, a count from 0 on")),
            };
            let from = bounds.first().map_or(Ok(1), |from| bound(from, 1))?;
            let count = bounds.get(1).map(|count| bound(count, 0)).transpose()?;
            Ok(words.part(&whole, from, count))
        }
        (Function::Lower | Function::Upper, _) => {
            let name = function.signature().name;
            Err(refused(node, name).with_hint(format!(
                "{name} differs from store to store beyond A to Z (İ, ß): compare with the spellings that there are, \
                 or compute it in your application"
            )))
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
        Value::Decimal(_) => words.constant(FieldType::Decimal, value).ok_or_else(|| refused(node, value.type_name())),
        other => Err(refused(node, other.type_name())),
    }
}

fn field(node: &Node, path: &Path, words: &dyn Words, fields: Fields<'_>) -> Result<String, ExprError> {
    match fields(path) {
        Some(ty) if ty.is_read_by_fills() && path.steps().len() == 1 => Ok(words.field(path.root())),
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
            "a fill is made of fields (text, int, bool; others as they are), constants, + - * and % of integers, \
             comparisons, AND, OR, NOT, IS NULL, IN, BETWEEN, CASE, CAST between text and int or bool, coalesce, nullif, \
             concat, ||, length and substr"
                .to_owned(),
        ),
    }
}
