//! Expressions as canonical SQL text.

use super::functions::Function;
use super::{Kind, Node};
use crate::path::Step;
use crate::value::{Decimal, Value};

pub(super) fn sql(node: &Node) -> String {
    match &node.kind {
        Kind::Literal(value) => literal(value),
        Kind::Field(path) => path
            .steps()
            .iter()
            .map(|step| match step {
                Step::Field(name) => format!("\"{}\"", name.replace('"', "\"\"")),
                Step::Index(index) => format!("\"{index}\""),
            })
            .collect::<Vec<_>>()
            .join("."),
        Kind::Negate(a) => format!("(- {})", sql(a)),
        Kind::Not(a) => format!("(NOT {})", sql(a)),
        Kind::And(a, b) => format!("({} AND {})", sql(a), sql(b)),
        Kind::Or(a, b) => format!("({} OR {})", sql(a), sql(b)),
        Kind::Arithmetic(op, a, b) => format!("({} {} {})", sql(a), op.sign(), sql(b)),
        Kind::Join(a, b) => format!("({} || {})", sql(a), sql(b)),
        Kind::Compare(op, a, b) => format!("({} {} {})", sql(a), op.sign(), sql(b)),
        Kind::IsNull(a) => format!("({} IS NULL)", sql(a)),
        Kind::In(a, list) => format!("({} IN ({}))", sql(a), joined(list)),
        Kind::Between(a, low, high) => format!("({} BETWEEN {} AND {})", sql(a), sql(low), sql(high)),
        Kind::Like(a, pattern, escape) => {
            let escape = escape.map(String::from).unwrap_or_default();
            format!("({} LIKE {} ESCAPE {})", sql(a), sql(pattern), quoted(&escape))
        }
        Kind::Case { operand, branches, otherwise } => {
            let mut text = String::from("CASE");
            if let Some(operand) = operand {
                text.push_str(&format!(" {}", sql(operand)));
            }
            for (when, then) in branches {
                text.push_str(&format!(" WHEN {} THEN {}", sql(when), sql(then)));
            }
            if let Some(otherwise) = otherwise {
                text.push_str(&format!(" ELSE {}", sql(otherwise)));
            }
            text + " END"
        }
        Kind::Cast(a, ty) => format!("CAST({} AS {})", sql(a), ty.name()),
        Kind::Call(Function::Position, arguments) if arguments.len() == 2 => {
            format!("position({} IN {})", sql(&arguments[0]), sql(&arguments[1]))
        }
        Kind::Call(Function::Trim, arguments) if arguments.len() == 2 => {
            format!("trim(BOTH {} FROM {})", sql(&arguments[1]), sql(&arguments[0]))
        }
        Kind::Call(function, arguments) => format!("{}({})", function.signature().name, joined(arguments)),
    }
}

fn joined(nodes: &[Node]) -> String {
    nodes.iter().map(sql).collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(true) => "TRUE".to_owned(),
        Value::Bool(false) => "FALSE".to_owned(),
        Value::Int(n) if *n < 0 => format!("({n})"),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Decimal(d @ Decimal::Finite { negative: true, .. }) => format!("({d})"),
        // A whole number needs a point, or it would be read as an integer.
        Value::Decimal(d) => match d.to_string() {
            text if text.contains(['.', 'E']) => text,
            text => format!("CAST({text} AS decimal)"),
        },
        Value::Text(text) => quoted(text),
        // Literals are made by the parser, which makes no others.
        other => format!("CAST(NULL AS {})", other.type_name()),
    }
}
