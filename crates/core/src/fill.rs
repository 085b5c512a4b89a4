//! What a new required field is filled with: one declaration, used by the
//! gateway, the write default, the backfill and verification.

use crate::expr::{EvalError, Expr, Words};
use crate::path::Path;
use crate::shape::{ColumnShape, FieldType};
use crate::spec::require::{NewField, ValueSpec};
use crate::value::{Document, Value};

/// How the fill is to be done, as `plan` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillClass {
    /// The same value for every record.
    Constant,
    /// Made from the fields of the one record.
    RowPure,
}

/// A compiled fill. It is total: it has a value for every record, or says that
/// the record has a value of a type that its column does not have.
#[derive(Clone, Debug)]
pub struct Fill {
    ty: FieldType,
    source: Source,
    /// The types of the fields that the expression may read.
    types: Vec<(String, FieldType)>,
}

#[derive(Clone, Debug)]
enum Source {
    Constant(Value),
    Expression { expr: Expr, fallback: Option<Value> },
}

/// Why a fill cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FillError {
    /// The stable code, for example `fill/volatile`.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What the reader can do.
    pub hint: String,
}

impl FillError {
    fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> FillError {
        FillError { code, message: message.into(), hint: hint.into() }
    }
}

/// Words that change from one call to the next, or from one session to the next.
const VOLATILE: [&str; 24] = [
    "clock_timestamp",
    "curdate",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "curtime",
    "gen_random_uuid",
    "getdate",
    "last_insert_id",
    "localtimestamp",
    "nextval",
    "now",
    "rand",
    "random",
    "rownum",
    "session_user",
    "statement_timestamp",
    "sysdate",
    "timeofday",
    "uuid",
    "uuid_generate_v4",
    "uuid_short",
    "version",
];

/// Words that look beyond the one record.
const OTHER_RECORDS: [&str; 18] = [
    "array_agg",
    "avg",
    "count",
    "dense_rank",
    "exists",
    "first_value",
    "group_concat",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "over",
    "rank",
    "row_number",
    "select",
    "string_agg",
    "sum",
];

/// Reads a fill expression; what changes by itself, and what looks at other
/// records, is refused for that reason.
///
/// # Errors
/// `fill/volatile`, `fill/other-records`, `fill/expression`.
pub fn read_expression(sql: &str) -> Result<Expr, FillError> {
    Expr::parse(sql).map_err(|error| {
        let words: Vec<String> = words_of(sql);
        let found = |list: &[&'static str]| list.iter().copied().find(|word| words.iter().any(|found| found == word));
        if let Some(word) = found(&OTHER_RECORDS) {
            return FillError::new(
                "fill/other-records",
                format!("the expression looks at other records (`{word}`)"),
                "a fill is made from the one record that it fills; compute the value in your application, or in a \
                 column of the table, first",
            );
        }
        if let Some(word) = found(&VOLATILE) {
            return FillError::new(
                "fill/volatile",
                format!("the expression is volatile (`{word}`): it gives another value each time"),
                "the gateway, the write default, the backfill and verification must agree on one value; use a constant \
                 or the record's own fields",
            );
        }
        let hint = error.hint.clone().unwrap_or_else(|| "see the expressions that a spec can have".to_owned());
        FillError::new("fill/expression", error.message, hint)
    })
}

fn words_of(sql: &str) -> Vec<String> {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_ascii_lowercase).collect()
}

impl Fill {
    /// The fill of a field, when the other columns of its table are known.
    ///
    /// # Errors
    /// An expression that reads what the table does not have, gives another
    /// type, or can be NULL without a fallback.
    pub fn compile(field: &NewField, columns: &[ColumnShape]) -> Result<Fill, FillError> {
        let types: Vec<(String, FieldType)> = columns
            .iter()
            .filter(|column| column.name != field.name)
            .map(|column| (column.name.clone(), column.ty))
            .collect();
        let source = match &field.value {
            ValueSpec::Constant(value) => Source::Constant(value.clone()),
            ValueSpec::Sql { sql, fallback } => {
                let expr = read_expression(sql)?;
                check_fields(&expr, field, columns)?;
                check_type(&expr, field.ty, &types)?;
                check_total(&expr, fallback.as_ref(), columns)?;
                Source::Expression { expr, fallback: fallback.clone() }
            }
        };
        Ok(Fill { ty: field.ty, source, types })
    }

    /// The fill of a field of documents, whose other fields have any type and may
    /// be missing, but for those of the key. A value of another type than the
    /// field's is found when it is made: see [`Fill::value`].
    ///
    /// # Errors
    /// As [`Fill::compile`], but that a field is not there is nothing wrong.
    pub fn of_documents(field: &NewField, key: &[String]) -> Result<Fill, FillError> {
        let source = match &field.value {
            ValueSpec::Constant(value) => Source::Constant(value.clone()),
            ValueSpec::Sql { sql, fallback } => {
                let expr = read_expression(sql)?;
                refuse_itself(&expr, field)?;
                if let Some(found) = type_given(&expr, &[])? {
                    check_given(found, field.ty)?;
                }
                check_null(&expr, fallback.as_ref(), &|path| !key.iter().any(|name| name == path.root()))?;
                Source::Expression { expr, fallback: fallback.clone() }
            }
        };
        Ok(Fill { ty: field.ty, source, types: Vec::new() })
    }

    /// How it is to be done.
    pub fn class(&self) -> FillClass {
        match self.source {
            Source::Constant(_) => FillClass::Constant,
            Source::Expression { .. } => FillClass::RowPure,
        }
    }

    /// The type of its values.
    pub fn ty(&self) -> FieldType {
        self.ty
    }

    /// The constant, when it is one.
    pub fn constant(&self) -> Option<&Value> {
        match &self.source {
            Source::Constant(value) => Some(value),
            Source::Expression { .. } => None,
        }
    }

    /// The fields that it reads.
    pub fn inputs(&self) -> Vec<String> {
        match &self.source {
            Source::Constant(_) => Vec::new(),
            Source::Expression { expr, .. } => expr.fields(),
        }
    }

    /// The type of a field that it reads.
    pub fn type_of_field(&self, name: &str) -> Option<FieldType> {
        self.types.iter().find(|(known, _)| known == name).map(|(_, ty)| *ty)
    }

    /// Its value for a record; never NULL.
    ///
    /// # Errors
    /// A value of a type that the expression does not take.
    pub fn value(&self, record: &Document) -> Result<Value, EvalError> {
        let (expr, fallback) = match &self.source {
            Source::Constant(value) => return Ok(value.clone()),
            Source::Expression { expr, fallback } => (expr, fallback),
        };
        match (expr.eval(record)?, fallback) {
            (Value::Null, Some(fallback)) => Ok(fallback.clone()),
            (Value::Null, None) => Err(EvalError("the fill is null, and has no fallback".to_owned())),
            (value, _) if !self.takes(&value) => {
                let (found, wanted) = (value.type_name(), self.ty.name());
                Err(EvalError(format!("the fill is {found}, the field is {wanted}")))
            }
            (value, _) => Ok(value),
        }
    }

    /// Whether a value is of the field's type.
    pub fn takes(&self, value: &Value) -> bool {
        match self.ty {
            FieldType::Text => matches!(value, Value::Text(_)),
            FieldType::Int => matches!(value, Value::Int(_) | Value::UInt(_)),
            FieldType::Bool => matches!(value, Value::Bool(_)),
            // The spec has no field of another type.
            _ => true,
        }
    }

    /// The fill in a store's own words.
    ///
    /// # Errors
    /// `fill/not-proven`: a part that the store might evaluate otherwise.
    pub fn sql(&self, words: &dyn Words) -> Result<String, FillError> {
        let (expr, fallback) = match &self.source {
            Source::Constant(value) => return constant(value, words),
            Source::Expression { expr, fallback } => (expr, fallback),
        };
        let pushed = expr
            .push_down(words, &|path| self.type_of(path))
            .map_err(|error| FillError::new("fill/not-proven", error.message, error.hint.unwrap_or_default()))?;
        match fallback {
            Some(fallback) => Ok(format!("coalesce({pushed}, {})", constant(fallback, words)?)),
            None => Ok(pushed),
        }
    }

    fn type_of(&self, path: &Path) -> Option<FieldType> {
        self.type_of_field(path.root())
    }
}

/// A constant in a store's words.
fn constant(value: &Value, words: &dyn Words) -> Result<String, FillError> {
    let unfit = |what: &str| {
        let hint = "a fill is a text, an integer, or true or false";
        FillError::new("fill/not-proven", format!("the store cannot be told {what} as a constant"), hint)
    };
    match value {
        Value::Bool(b) => Ok(words.truth(*b).to_owned()),
        Value::Int(n) if *n < 0 => Ok(format!("({n})")),
        Value::Int(n) => Ok(n.to_string()),
        Value::Text(text) => words.text(text).ok_or_else(|| unfit("this text (it holds U+0000)")),
        other => Err(unfit(other.type_name())),
    }
}

fn refuse_itself(expr: &Expr, field: &NewField) -> Result<(), FillError> {
    if expr.fields().contains(&field.name) {
        let (name, hint) = (&field.name, "it is made from the record's other fields");
        return Err(FillError::new("fill/expression", format!("the fill of `{name}` reads `{name}`"), hint));
    }
    Ok(())
}

fn check_fields(expr: &Expr, field: &NewField, columns: &[ColumnShape]) -> Result<(), FillError> {
    refuse_itself(expr, field)?;
    for name in expr.fields() {
        if !columns.iter().any(|column| column.name == name) {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let message = format!("the expression reads `{name}`, which the table does not have");
            return Err(FillError::new("fill/expression", message, format!("columns: {}", known.join(", "))));
        }
    }
    Ok(())
}

/// The type that the expression gives, when it is known.
fn type_given(expr: &Expr, types: &[(String, FieldType)]) -> Result<Option<FieldType>, FillError> {
    let type_of = |path: &Path| types.iter().find(|(name, _)| name == path.root()).map(|(_, ty)| *ty);
    expr.check(&type_of)
        .map_err(|error| FillError::new("fill/expression", error.message, error.hint.unwrap_or_default()))
}

fn check_given(found: FieldType, ty: FieldType) -> Result<(), FillError> {
    if found == ty {
        return Ok(());
    }
    let message = format!("the expression gives {}, the field is {}", found.name(), ty.name());
    Err(FillError::new("fill/expression", message, "make the two types one"))
}

fn check_type(expr: &Expr, ty: FieldType, types: &[(String, FieldType)]) -> Result<(), FillError> {
    match type_given(expr, types)? {
        Some(found) => check_given(found, ty),
        None => {
            let message = "the type that the expression gives is not known".to_owned();
            Err(FillError::new("fill/expression", message, "give each branch a value of the field's type"))
        }
    }
}

/// A fill that can be NULL would leave records without the field.
fn check_total(expr: &Expr, fallback: Option<&Value>, columns: &[ColumnShape]) -> Result<(), FillError> {
    let nullable = |path: &Path| columns.iter().find(|c| c.name == path.root()).is_none_or(|column| column.nullable);
    check_null(expr, fallback, &nullable)
}

fn check_null(expr: &Expr, fallback: Option<&Value>, nullable: &dyn Fn(&Path) -> bool) -> Result<(), FillError> {
    if fallback.is_some() || !expr.can_be_null(nullable) {
        return Ok(());
    }
    Err(FillError::new(
        "fill/can-be-null",
        "the expression can be NULL, and there is no fallback",
        "add one: value = { sql = '''…''', fallback = \"ACTIVE\" }",
    ))
}

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
