//! Whether an expression can give NULL, as far as that is known before any
//! record is seen.

use super::functions::{Function, Nulls};
use super::{Kind, Node};
use crate::path::Path;
use crate::value::Value;

/// Whether a node can be NULL, when `field` says which fields can.
pub(super) fn can_be_null(node: &Node, field: &dyn Fn(&Path) -> bool) -> bool {
    let any = |nodes: &[&Node]| nodes.iter().any(|node| can_be_null(node, field));
    match &node.kind {
        Kind::Literal(value) => matches!(value, Value::Null),
        Kind::Field(path) => field(path),
        Kind::IsNull(_) => false,
        Kind::Case { branches, otherwise, .. } => match otherwise {
            None => true,
            Some(otherwise) => {
                can_be_null(otherwise, field) || branches.iter().any(|(_, then)| can_be_null(then, field))
            }
        },
        Kind::Call(function, arguments) => match function {
            Function::Coalesce | Function::Greatest | Function::Least => {
                arguments.iter().all(|argument| can_be_null(argument, field))
            }
            Function::NullIf => true,
            other => {
                other.signature().nulls == Nulls::Spread
                    && arguments.iter().any(|argument| can_be_null(argument, field))
            }
        },
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
