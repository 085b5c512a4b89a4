//! A strict, typed subset of SQL scalar expressions over a record's fields.

use crate::value::{Document, Value};

/// A parsed and checked expression.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// Byte range in the expression's text.
    pub span: (usize, usize),
    /// What was found and what was expected.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
}

/// Why an evaluation gave no value: the value met was of a type that the
/// expression does not take, or the result does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(pub String);

impl Expr {
    /// Parses and checks an expression. Identifiers are fields of the record
    /// (`address.city` goes into a nested document).
    pub fn parse(_text: &str) -> Result<Expr, ExprError> {
        todo!()
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The root fields that it reads.
    pub fn fields(&self) -> Vec<String> {
        todo!()
    }

    /// Its value over a record; a missing field is null, as in SQL.
    pub fn eval(&self, _record: &Document) -> Result<Value, EvalError> {
        todo!()
    }
}
