//! What a new required field is filled with: one declaration, used by the
//! gateway, the write default, the backfill and verification.

mod check;
mod read;

use self::check::{
    Outcomes, can_misfit, check_fields, check_fitting, check_given, check_null, check_outcomes, check_total,
    check_type, refuse_itself, type_given,
};
use crate::domain::{Domain, Misfit};
use crate::expr::{EvalError, Expr, Words};
use crate::path::Path;
use crate::shape::{ColumnShape, FieldType};
use crate::spec::require::{NewField, ValueSpec};
use crate::value::{Document, Value};

pub use self::read::read_expression;

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
    domain: Domain,
    source: Source,
    /// The types of the fields that the expression may read.
    types: Vec<(String, FieldType)>,
}

#[derive(Clone, Debug)]
enum Source {
    Constant(Value),
    Expression {
        expr: Expr,
        fallback: Option<Value>,
        /// What it gives, where that is known: always over columns.
        given: Option<FieldType>,
        outcomes: Outcomes,
    },
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
                let given = check_type(&expr, field.domain.ty, &types)?;
                let outcomes = check_outcomes(&expr, &field.domain)?;
                check_total(&expr, fallback.as_ref(), columns)?;
                check_fitting(&field.domain, given, outcomes, fallback.as_ref())?;
                Source::Expression { expr, fallback: fallback.clone(), given: Some(given), outcomes }
            }
        };
        Ok(Fill { domain: field.domain.clone(), source, types })
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
                let given = type_given(&expr, &[])?;
                if let Some(found) = given {
                    check_given(found, field.domain.ty)?;
                }
                let outcomes = check_outcomes(&expr, &field.domain)?;
                check_null(&expr, fallback.as_ref(), &|path| !key.iter().any(|name| name == path.root()))?;
                check_fitting(&field.domain, given.unwrap_or(field.domain.ty), outcomes, fallback.as_ref())?;
                Source::Expression { expr, fallback: fallback.clone(), given, outcomes }
            }
        };
        Ok(Fill { domain: field.domain.clone(), source, types: Vec::new() })
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
        self.domain.ty
    }

    /// Which values the field has, the fill's and others'.
    pub fn domain(&self) -> &Domain {
        &self.domain
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

    /// Its value for a record, in the one form of the field's; never NULL. What is
    /// none of the field's values, but of its type, is as NULL.
    ///
    /// # Errors
    /// A value of a type that the expression, or the field, does not take.
    pub fn value(&self, record: &Document) -> Result<Value, EvalError> {
        let (expr, fallback) = match &self.source {
            Source::Constant(value) => return Ok(value.clone()),
            Source::Expression { expr, fallback, .. } => (expr, fallback),
        };
        let found = match expr.eval(record)? {
            Value::Null => None,
            value => match self.domain.canonical(&value) {
                Ok(canonical) => Some(canonical),
                Err(Misfit::Value(_)) => None,
                Err(Misfit::Type(_)) => {
                    let (found, wanted) = (value.type_name(), self.domain.ty.name());
                    return Err(EvalError(format!("the fill is {found}, the field is {wanted}")));
                }
            },
        };
        let none = || EvalError("the fill is null, and has no fallback".to_owned());
        found.or_else(|| fallback.clone()).ok_or_else(none)
    }

    /// Whether a value is one of the field's, in the form in which it is held.
    pub fn takes(&self, value: &Value) -> bool {
        self.domain.takes(value)
    }

    /// The fill in a store's own words.
    ///
    /// # Errors
    /// `fill/not-proven`: a part that the store might evaluate otherwise.
    pub fn sql(&self, words: &dyn Words) -> Result<String, FillError> {
        let (expr, fallback) = match &self.source {
            Source::Constant(value) => return constant(self.domain.ty, value, words),
            Source::Expression { expr, fallback, .. } => (expr, fallback),
        };
        let pushed = expr
            .push_down(words, &|path| self.type_of(path))
            .map_err(|error| FillError::new("fill/not-proven", error.message, error.hint.unwrap_or_default()))?;
        let pushed = self.fitted(pushed, words)?;
        match fallback {
            Some(fallback) => Ok(format!("coalesce({pushed}, {})", constant(self.domain.ty, fallback, words)?)),
            None => Ok(pushed),
        }
    }

    /// An expression's result as the field holds it; NULL where it is none of its values.
    fn fitted(&self, sql: String, words: &dyn Words) -> Result<String, FillError> {
        let Source::Expression { given: Some(given), outcomes, .. } = &self.source else { return Ok(sql) };
        let can_misfit = can_misfit(&self.domain, *given, *outcomes);
        match (self.domain.ty, given, self.domain.digits) {
            (FieldType::Decimal, FieldType::Int, Some(digits)) => {
                let decimal = words.decimal_of_int(&sql, digits);
                Ok(match digits.whole_max().filter(|_| can_misfit) {
                    Some(most) => format!("CASE WHEN {sql} BETWEEN -{most} AND {most} THEN {decimal} END"),
                    None => decimal,
                })
            }
            (FieldType::Text, ..) if can_misfit => {
                let found = words.by_bytes(&sql);
                let tests = self.domain.values.iter().map(|value| {
                    Ok(format!(
                        "{found} = {}",
                        words.by_bytes(&constant(FieldType::Text, &Value::text(value.as_str()), words)?)
                    ))
                });
                let tests = tests.collect::<Result<Vec<_>, FillError>>()?;
                Ok(format!("CASE WHEN {} THEN {sql} END", tests.join(" OR ")))
            }
            _ => Ok(sql),
        }
    }

    fn type_of(&self, path: &Path) -> Option<FieldType> {
        self.type_of_field(path.root())
    }
}

/// A constant in a store's words.
fn constant(ty: FieldType, value: &Value, words: &dyn Words) -> Result<String, FillError> {
    let unfit = |what: &str| {
        let hint = "the store would hold another value than the one that is written; choose another value or type";
        FillError::new("fill/not-proven", format!("the store cannot be told {what} as a constant"), hint)
    };
    match value {
        value if ty == FieldType::Json => words.constant(ty, value).ok_or_else(|| unfit("this json")),
        Value::Bool(b) => Ok(words.truth(*b).to_owned()),
        Value::Int(n) if *n < 0 => Ok(format!("({n})")),
        Value::Int(n) => Ok(n.to_string()),
        Value::Text(text) => words.text(text).ok_or_else(|| unfit("this text (it holds U+0000)")),
        other => words.constant(ty, other).ok_or_else(|| unfit(&format!("this {}", other.type_name()))),
    }
}

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
