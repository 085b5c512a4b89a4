//! A strict, typed subset of SQL scalar expressions over a record's fields.
//!
//! One expression runs here and can be printed for a database. It gives the
//! exact value or an error: integers that overflow, divisions by zero, floats
//! that an integer does not fit into, and values of a type that an operator does
//! not take are errors, never a guess. NULL behaves as in SQL; a missing field
//! is NULL. Text compares by its bytes.

mod check;
mod eval;
mod functions;
mod nulls;
mod number;
mod parse;
mod print;
mod push;

#[cfg(test)]
mod tests;

use crate::path::Path;
use crate::shape::FieldType;
use crate::value::{Document, Value};

pub use push::Words;

use functions::Function;

/// A parsed and checked expression.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
    root: Node,
    unfit: Unfit,
}

/// What becomes of a result that there is not: a sum beyond 64 bits, a text that
/// is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// It is an error.
    Refused,
    /// It is NULL.
    Null,
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
    ///
    /// # Errors
    /// What the subset does not have, and types that can never fit.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        let root = parse::expression(text)?;
        check::type_of(&root, &|_| None)?;
        Ok(Expr { source: text.to_owned(), root, unfit: Unfit::Refused })
    }

    /// The same, total: what has no result is NULL instead of an error. Integers
    /// have the range of `i64`; a text converts to a number or a truth only from
    /// its one form (`7`, but not `07` or `+7`); the length and the parts of a text
    /// that holds U+0000, of which stores see the beginning only, are NULL too. A
    /// value of a type that an operator does not take stays an error.
    pub fn total(self) -> Expr {
        Expr { unfit: Unfit::Null, ..self }
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The root fields that it reads, each once, in the order of their first use.
    pub fn fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for path in self.paths() {
            if !fields.iter().any(|field| field == path.root()) {
                fields.push(path.root().to_owned());
            }
        }
        fields
    }

    /// The paths that it reads.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.root.visit(&mut |node| {
            if let Kind::Field(path) = &node.kind {
                paths.push(path);
            }
        });
        paths
    }

    /// Checks the types when those of the fields are known (`None`: unknown, or
    /// any). Returns the type of the result, when that is known.
    ///
    /// # Errors
    /// An operator or a function that does not take the type that it gets.
    pub fn check(&self, type_of: &dyn Fn(&Path) -> Option<FieldType>) -> Result<Option<FieldType>, ExprError> {
        check::type_of(&self.root, type_of)
    }

    /// Its value over a record; a missing field is null, as in SQL.
    ///
    /// # Errors
    /// See [`EvalError`]; the message holds types, never values.
    pub fn eval(&self, record: &Document) -> Result<Value, EvalError> {
        Ok(eval::value(&self.root, record, self.unfit)?.into_owned())
    }

    /// Whether it can be NULL for some record, when `field` says which fields can.
    pub fn can_be_null(&self, field: &dyn Fn(&Path) -> bool) -> bool {
        nulls::can_be_null(&self.root, field, self.unfit)
    }

    /// Its results when they are all written in it (`CASE … THEN 'a' ELSE 'b'
    /// END`), NULL left out; `None`: they come from the record.
    pub fn outcomes(&self) -> Option<Vec<&Value>> {
        let mut found = Vec::new();
        outcomes(&self.root, &mut found)?;
        Some(found)
    }

    /// Whether it divides, and where.
    pub fn division(&self) -> Option<(usize, usize)> {
        let mut found = None;
        self.root.visit(&mut |node| {
            if matches!(node.kind, Kind::Arithmetic(Arithmetic::Divide, ..)) {
                found = Some(node.span);
            }
        });
        found
    }

    /// The expression in a store's own words, for the store to evaluate exactly
    /// as [`Expr::eval`] of [`Expr::total`] does.
    ///
    /// # Errors
    /// What is not proven to be the same there, by name.
    pub fn push_down(
        &self,
        words: &dyn Words,
        type_of: &dyn Fn(&Path) -> Option<FieldType>,
    ) -> Result<String, ExprError> {
        push::sql(&self.root, words, type_of)
    }

    /// The expression as canonical SQL: operators in parentheses, names of
    /// functions in lower case, identifiers quoted where they must be.
    pub fn to_sql(&self) -> String {
        print::sql(&self.root)
    }
}

fn outcomes<'n>(node: &'n Node, found: &mut Vec<&'n Value>) -> Option<()> {
    match &node.kind {
        Kind::Literal(Value::Null) => Some(()),
        Kind::Literal(value) => {
            found.push(value);
            Some(())
        }
        Kind::Case { branches, otherwise, .. } => {
            let mut results = branches.iter().map(|(_, then)| then).chain(otherwise.as_deref());
            results.try_for_each(|result| outcomes(result, found))
        }
        Kind::Call(Function::Coalesce, arguments) => {
            arguments.iter().try_for_each(|argument| outcomes(argument, found))
        }
        _ => None,
    }
}

/// One part of an expression, with its byte range in the text.
#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    span: (usize, usize),
}

#[derive(Clone, Debug)]
enum Kind {
    Literal(Value),
    Field(Path),
    Negate(Box<Node>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Join(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    IsNull(Box<Node>),
    In(Box<Node>, Vec<Node>),
    Between(Box<Node>, Box<Node>, Box<Node>),
    Like(Box<Node>, Box<Node>, Option<char>),
    Case { operand: Option<Box<Node>>, branches: Vec<(Node, Node)>, otherwise: Option<Box<Node>> },
    Cast(Box<Node>, FieldType),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Remainder => "%",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::Different => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Different => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Node {
    fn visit<'n>(&'n self, see: &mut dyn FnMut(&'n Node)) {
        see(self);
        for part in self.parts() {
            part.visit(see);
        }
    }

    /// The parts in the order of the text.
    fn parts(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Literal(_) | Kind::Field(_) => Vec::new(),
            Kind::Negate(a) | Kind::Not(a) | Kind::IsNull(a) | Kind::Cast(a, _) => vec![a],
            Kind::And(a, b)
            | Kind::Or(a, b)
            | Kind::Arithmetic(_, a, b)
            | Kind::Join(a, b)
            | Kind::Compare(_, a, b)
            | Kind::Like(a, b, _) => vec![a, b],
            Kind::Between(a, low, high) => vec![a, low, high],
            Kind::In(a, list) => std::iter::once(&**a).chain(list).collect(),
            Kind::Call(_, arguments) => arguments.iter().collect(),
            Kind::Case { operand, branches, otherwise } => operand
                .iter()
                .map(|node| &**node)
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.iter().map(|node| &**node))
                .collect(),
        }
    }
}
