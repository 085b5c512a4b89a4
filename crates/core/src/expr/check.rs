//! Types, as far as they are known before any record is seen.

use super::functions::{Gives, Takes};
use super::{ExprError, Kind, Node};
use crate::path::Path;
use crate::shape::FieldType;
use crate::value::Value;

/// The types of the fields; `None` where it is unknown or any.
type Fields<'f> = &'f dyn Fn(&Path) -> Option<FieldType>;

/// The type of a node, when it is known.
pub(super) fn type_of(node: &Node, fields: Fields<'_>) -> Result<Option<FieldType>, ExprError> {
    let of = |node: &Node| type_of(node, fields);
    match &node.kind {
        Kind::Literal(value) => Ok(of_literal(value)),
        Kind::Field(path) => Ok(fields(path).filter(|ty| *ty != FieldType::Json)),
        Kind::Negate(a) => number(a, of(a)?),
        Kind::Not(a) => expect(a, of(a)?, FieldType::Bool),
        Kind::IsNull(a) => {
            of(a)?;
            Ok(Some(FieldType::Bool))
        }
        Kind::And(a, b) | Kind::Or(a, b) => {
            expect(a, of(a)?, FieldType::Bool)?;
            expect(b, of(b)?, FieldType::Bool)
        }
        Kind::Join(a, b) => {
            expect(a, of(a)?, FieldType::Text)?;
            expect(b, of(b)?, FieldType::Text)
        }
        Kind::Arithmetic(_, a, b) => {
            let (a, b) = (number(a, of(a)?)?, number(b, of(b)?)?);
            Ok(a.zip(b).map(|pair| match pair {
                (FieldType::Float, _) | (_, FieldType::Float) => FieldType::Float,
                (FieldType::Decimal, _) | (_, FieldType::Decimal) => FieldType::Decimal,
                (same, _) => same,
            }))
        }
        Kind::Compare(_, a, b) => compared(a, b, fields),
        Kind::In(a, list) => {
            list.iter().try_for_each(|b| compared(a, b, fields).map(|_| ()))?;
            Ok(Some(FieldType::Bool))
        }
        Kind::Between(a, low, high) => {
            compared(a, low, fields)?;
            compared(a, high, fields)
        }
        Kind::Like(a, pattern, _) => {
            expect(a, of(a)?, FieldType::Text)?;
            expect(pattern, of(pattern)?, FieldType::Text)?;
            Ok(Some(FieldType::Bool))
        }
        Kind::Case { operand, branches, otherwise } => {
            for (when, _) in branches {
                match operand {
                    Some(operand) => compared(operand, when, fields)?,
                    None => expect(when, of(when)?, FieldType::Bool)?,
                };
            }
            let results = branches.iter().map(|(_, then)| then).chain(otherwise.as_deref());
            alike(results, fields)
        }
        Kind::Cast(a, ty) => {
            of(a)?;
            Ok(Some(*ty))
        }
        Kind::Call(function, arguments) => {
            let signature = function.signature();
            let last = signature.takes.len() - 1;
            for (at, argument) in arguments.iter().enumerate() {
                let found = of(argument)?;
                match signature.takes[at.min(last)] {
                    Takes::Text => expect(argument, found, FieldType::Text)?,
                    Takes::Int => expect(argument, found, FieldType::Int)?,
                    Takes::Instant => expect(argument, found, FieldType::Instant)?,
                    Takes::Number => number(argument, found)?,
                    Takes::Scalar | Takes::Alike => found,
                };
            }
            if signature.takes.contains(&Takes::Alike) {
                alike(arguments.iter(), fields)?;
            }
            match signature.gives {
                Gives::Type(ty) => Ok(Some(ty)),
                Gives::First => arguments.first().map_or(Ok(None), of),
                Gives::Alike => alike(arguments.iter(), fields),
            }
        }
    }
}

fn of_literal(value: &Value) -> Option<FieldType> {
    match value {
        Value::Bool(_) => Some(FieldType::Bool),
        Value::Int(_) | Value::UInt(_) => Some(FieldType::Int),
        Value::Decimal(_) => Some(FieldType::Decimal),
        Value::Text(_) => Some(FieldType::Text),
        _ => None,
    }
}

fn expect(node: &Node, found: Option<FieldType>, wanted: FieldType) -> Result<Option<FieldType>, ExprError> {
    match found {
        Some(found) if found != wanted => {
            let (found, wanted) = (found.name(), wanted.name());
            let message = format!("found {found} where {wanted} was expected");
            Err(ExprError { span: node.span, message, hint: Some(format!("CAST(… AS {wanted}) converts")) })
        }
        _ => Ok(Some(wanted)),
    }
}

fn is_number(ty: FieldType) -> bool {
    matches!(ty, FieldType::Int | FieldType::Float | FieldType::Decimal)
}

fn number(node: &Node, found: Option<FieldType>) -> Result<Option<FieldType>, ExprError> {
    match found {
        Some(ty) if !is_number(ty) => {
            let message = format!("found {} where a number was expected", ty.name());
            Err(ExprError { span: node.span, message, hint: Some("CAST(… AS int) converts".to_owned()) })
        }
        other => Ok(other),
    }
}

fn compared(a: &Node, b: &Node, fields: Fields<'_>) -> Result<Option<FieldType>, ExprError> {
    match (type_of(a, fields)?, type_of(b, fields)?) {
        (Some(left), Some(right)) if left != right && !(is_number(left) && is_number(right)) => {
            let (left, right) = (left.name(), right.name());
            let message = format!("{left} cannot be compared with {right}");
            Err(ExprError { span: b.span, message, hint: Some(format!("CAST(… AS {left}) converts")) })
        }
        _ => Ok(Some(FieldType::Bool)),
    }
}

/// The one type of several results.
fn alike<'n>(nodes: impl Iterator<Item = &'n Node>, fields: Fields<'_>) -> Result<Option<FieldType>, ExprError> {
    let mut common: Option<FieldType> = None;
    let mut is_known = true;
    for node in nodes {
        let found = type_of(node, fields)?;
        match (common, found) {
            (Some(common), Some(found)) if common != found => {
                let (common, found) = (common.name(), found.name());
                let message = format!("found {found} beside {common}; one expression gives one type");
                return Err(ExprError {
                    span: node.span,
                    message,
                    hint: Some(format!("CAST(… AS {common}) converts")),
                });
            }
            (_, None) => is_known &= matches!(node.kind, Kind::Literal(Value::Null)),
            (None, found) => common = found,
            (Some(_), Some(_)) => {}
        }
    }
    Ok(common.filter(|_| is_known))
}
