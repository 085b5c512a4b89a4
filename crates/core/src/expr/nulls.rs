//! Whether an expression can give NULL, as far as that is known before any
//! record is seen.

use super::functions::{Function, Nulls};
use super::{Kind, Node, Unfit};
use crate::path::Path;
use crate::shape::FieldType;
use crate::value::Value;

/// Whether a node can be NULL, when `field` says which fields can.
pub(super) fn can_be_null(node: &Node, field: &dyn Fn(&Path) -> bool, unfit: Unfit) -> bool {
    let of = |node: &Node| can_be_null(node, field, unfit);
    let any = |nodes: &[&Node]| nodes.iter().any(|node| of(node));
    match &node.kind {
        Kind::Literal(value) => matches!(value, Value::Null),
        Kind::Field(path) => field(path),
        Kind::IsNull(_) => false,
        Kind::Case { branches, otherwise, .. } => match otherwise {
            None => true,
            Some(otherwise) => of(otherwise) || branches.iter().any(|(_, then)| of(then)),
        },
        Kind::Call(function, arguments) => match function {
            Function::Coalesce | Function::Greatest | Function::Least => arguments.iter().all(of),
            Function::NullIf => true,
            Function::Length | Function::Substring if unfit == Unfit::Null => true,
            other => other.signature().nulls == Nulls::Spread && arguments.iter().any(of),
        },
        Kind::Negate(_) | Kind::Arithmetic(..) if unfit == Unfit::Null => true,
        Kind::Cast(_, ty) if unfit == Unfit::Null && *ty != FieldType::Text => true,
        Kind::Negate(_)
        | Kind::Not(_)
        | Kind::And(..)
        | Kind::Or(..)
        | Kind::Arithmetic(..)
        | Kind::Join(..)
        | Kind::Compare(..)
        | Kind::In(..)
        | Kind::Between(..)
        | Kind::Like(..)
        | Kind::Cast(..) => any(&node.parts()),
    }
}
