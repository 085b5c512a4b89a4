//! What must be known of an expression before any record is seen: the fields that
//! it reads, the type that it gives, that it always has a value.

use super::FillError;
use crate::domain::Domain;
use crate::expr::Expr;
use crate::path::Path;
use crate::shape::{ColumnShape, FieldType};
use crate::spec::require::NewField;
use crate::value::Value;

pub(super) fn refuse_itself(expr: &Expr, field: &NewField) -> Result<(), FillError> {
    if expr.fields().contains(&field.name) {
        let (name, hint) = (&field.name, "it is made from the record's other fields");
        return Err(FillError::new("fill/expression", format!("the fill of `{name}` reads `{name}`"), hint));
    }
    Ok(())
}

pub(super) fn check_fields(expr: &Expr, field: &NewField, columns: &[ColumnShape]) -> Result<(), FillError> {
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
pub(super) fn type_given(expr: &Expr, types: &[(String, FieldType)]) -> Result<Option<FieldType>, FillError> {
    let type_of = |path: &Path| types.iter().find(|(name, _)| name == path.root()).map(|(_, ty)| *ty);
    expr.check(&type_of)
        .map_err(|error| FillError::new("fill/expression", error.message, error.hint.unwrap_or_default()))
}

pub(super) fn check_given(found: FieldType, ty: FieldType) -> Result<(), FillError> {
    // A decimal takes an integer, with zeros after its point.
    if found == ty || (found, ty) == (FieldType::Int, FieldType::Decimal) {
        return Ok(());
    }
    let message = format!("the expression gives {}, the field is {}", found.name(), ty.name());
    Err(FillError::new("fill/expression", message, "make the two types one"))
}

pub(super) fn check_type(expr: &Expr, ty: FieldType, types: &[(String, FieldType)]) -> Result<FieldType, FillError> {
    match type_given(expr, types)? {
        Some(found) => check_given(found, ty).map(|()| found),
        None => {
            let message = "the type that the expression gives is not known".to_owned();
            Err(FillError::new("fill/expression", message, "give each branch a value of the field's type"))
        }
    }
}

/// Whether every result is one of the field's values, for what is written in the
/// expression itself; a result that never can be is refused.
pub(super) fn check_outcomes(expr: &Expr, domain: &Domain) -> Result<Outcomes, FillError> {
    let Some(outcomes) = expr.outcomes() else { return Ok(Outcomes::OfRecord) };
    for outcome in outcomes {
        let wrong = match domain.canonical(outcome) {
            // An integer gets its zeros from the field.
            Ok(canonical) if canonical == *outcome || matches!(outcome, Value::Int(_)) => continue,
            Ok(Value::Decimal(canonical)) => format!("write it with all its digits: {canonical}"),
            Ok(_) => continue,
            // A type that is not the field's is told by its own check.
            Err(misfit) => misfit.told().to_owned(),
        };
        let message = "the expression can give a value that is none of the field's".to_owned();
        return Err(FillError::new("fill/expression", message, wrong));
    }
    Ok(Outcomes::Declared)
}

/// Where the results of an expression come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcomes {
    /// All are written in it, and are the field's.
    Declared,
    /// From the record: one may be none of the field's.
    OfRecord,
}

/// Whether a result can be none of the field's, although it has a type that the
/// field takes.
pub(super) fn can_misfit(domain: &Domain, given: FieldType, outcomes: Outcomes) -> bool {
    let is_narrow = match domain.ty {
        FieldType::Text => !domain.values.is_empty(),
        FieldType::Decimal => given != FieldType::Int || domain.digits.is_some_and(|d| d.whole_max().is_some()),
        _ => false,
    };
    outcomes == Outcomes::OfRecord && is_narrow
}

/// A fill that can be NULL would leave records without the field.
pub(super) fn check_total(expr: &Expr, fallback: Option<&Value>, columns: &[ColumnShape]) -> Result<(), FillError> {
    let nullable = |path: &Path| columns.iter().find(|c| c.name == path.root()).is_none_or(|column| column.nullable);
    check_null(expr, fallback, &nullable)
}

pub(super) fn check_null(
    expr: &Expr,
    fallback: Option<&Value>,
    nullable: &dyn Fn(&Path) -> bool,
) -> Result<(), FillError> {
    if fallback.is_some() || !expr.can_be_null(nullable) {
        return Ok(());
    }
    Err(FillError::new(
        "fill/can-be-null",
        "the expression can be NULL, and there is no fallback",
        "add one: value = { sql = '''…''', fallback = \"ACTIVE\" }; a sum beyond 64 bits, a CAST of a text that is no \
         number, and the length of a text that holds U+0000 are NULL",
    ))
}

/// A fill whose value may be none of the field's would leave records without it.
pub(super) fn check_fitting(
    domain: &Domain,
    given: FieldType,
    outcomes: Outcomes,
    fallback: Option<&Value>,
) -> Result<(), FillError> {
    if fallback.is_some() || !can_misfit(domain, given, outcomes) {
        return Ok(());
    }
    Err(FillError::new(
        "fill/can-be-null",
        "the expression can give a value that is none of the field's, and there is no fallback",
        "add one: value = { sql = '''…''', fallback = … }",
    ))
}
