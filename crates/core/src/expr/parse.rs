//! From text to nodes: sqlparser reads it, what the subset does not have is refused.

use sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, Expr as Sql, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Spanned, TrimWhereField, UnaryOperator, Value as SqlValue,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::functions::{self, Function};
use super::{Arithmetic, Comparison, ExprError, Kind, Node};
use crate::path::{Path, Step};
use crate::shape::FieldType;
use crate::value::{Decimal, Value};

/// Nesting of an expression: deeper ones are no rules, and reading them recurses.
const DEPTH_MAX: usize = 32;

/// Words and signs of an expression, so that a chain of operators, which nests
/// without parentheses, cannot exhaust the stack.
const TOKENS_MAX: usize = 256;

pub(super) fn expression(text: &str) -> Result<Node, ExprError> {
    let reader = Reader { text };
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| reader.unreadable(&error.to_string()))?;
    let count = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if count > TOKENS_MAX {
        let message = format!("found {count} words and signs, there may be at most {TOKENS_MAX}");
        return Err(reader.error((0, text.len()), message));
    }
    let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX);
    let mut parser = parser.with_tokens_with_locations(tokens);
    let sql = parser.parse_expr().map_err(|error| reader.unreadable(&error.to_string()))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let span = (reader.offset(rest.span.start), text.len());
        return Err(reader.error(span, format!("found {} after the expression", rest.token)));
    }
    reader.node(&sql, TOKENS_MAX)
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn node(&self, sql: &Sql, depth_left: usize) -> Result<Node, ExprError> {
        let span = self.span(sql);
        let Some(left) = depth_left.checked_sub(1) else {
            return Err(self.error(span, "found an expression that is nested too deeply"));
        };
        if let Sql::Nested(inner) = sql {
            return self.node(inner, left);
        }
        Ok(Node { kind: self.kind(sql, span, left)?, span })
    }

    fn kind(&self, sql: &Sql, span: (usize, usize), left: usize) -> Result<Kind, ExprError> {
        let node = |sql: &Sql| self.node(sql, left);
        let boxed = |sql: &Sql| self.node(sql, left).map(Box::new);
        let negate = |negated: bool, kind: Kind| match negated {
            true => Kind::Not(Box::new(Node { kind, span })),
            false => kind,
        };
        Ok(match sql {
            Sql::Value(value) => Kind::Literal(self.literal(&value.value, span)?),
            Sql::Identifier(ident) => Kind::Field(Path::field(ident.value.as_str())),
            Sql::CompoundIdentifier(idents) => Kind::Field(self.path(idents, span)?),
            Sql::UnaryOp { op: UnaryOperator::Minus, expr } => self.negated(node(expr)?),
            Sql::UnaryOp { op: UnaryOperator::Plus, expr } => return Ok(node(expr)?.kind),
            Sql::UnaryOp { op: UnaryOperator::Not, expr } => Kind::Not(boxed(expr)?),
            Sql::BinaryOp { left: a, op, right: b } => self.binary(op, boxed(a)?, boxed(b)?, span)?,
            Sql::IsNull(expr) => Kind::IsNull(boxed(expr)?),
            Sql::IsNotNull(expr) => negate(true, Kind::IsNull(boxed(expr)?)),
            Sql::InList { expr, list, negated } => {
                negate(*negated, Kind::In(boxed(expr)?, list.iter().map(node).collect::<Result<_, _>>()?))
            }
            Sql::Between { expr, negated, low, high } => {
                negate(*negated, Kind::Between(boxed(expr)?, boxed(low)?, boxed(high)?))
            }
            Sql::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = self.escape(escape_char.as_deref(), span)?;
                negate(*negated, Kind::Like(boxed(expr)?, boxed(pattern)?, escape))
            }
            Sql::Case { operand, conditions, else_result, .. } => Kind::Case {
                operand: operand.as_deref().map(boxed).transpose()?,
                branches: conditions
                    .iter()
                    .map(|branch| Ok((node(&branch.condition)?, node(&branch.result)?)))
                    .collect::<Result<_, ExprError>>()?,
                otherwise: else_result.as_deref().map(boxed).transpose()?,
            },
            Sql::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, format: None, .. } => {
                Kind::Cast(boxed(expr)?, self.data_type(data_type, span)?)
            }
            Sql::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                Kind::Call(Function::Ceil, vec![node(expr)?])
            }
            Sql::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                Kind::Call(Function::Floor, vec![node(expr)?])
            }
            Sql::Position { expr, r#in } => Kind::Call(Function::Position, vec![node(expr)?, node(r#in)?]),
            Sql::Substring { expr, substring_from, substring_for, .. } => {
                let from = match substring_from.as_deref() {
                    Some(from) => node(from)?,
                    None => Node { kind: Kind::Literal(Value::Int(1)), span },
                };
                let mut arguments = vec![node(expr)?, from];
                arguments.extend(substring_for.as_deref().map(node).transpose()?);
                self.call(Function::Substring, arguments, span)?
            }
            Sql::Trim { trim_where, trim_what, expr, trim_characters } => {
                let function = match trim_where {
                    None | Some(TrimWhereField::Both) => Function::Trim,
                    Some(TrimWhereField::Leading) => Function::Ltrim,
                    Some(TrimWhereField::Trailing) => Function::Rtrim,
                };
                let mut arguments = vec![node(expr)?];
                arguments.extend(trim_what.as_deref().map(node).transpose()?);
                for characters in trim_characters.iter().flatten() {
                    arguments.push(node(characters)?);
                }
                self.call(function, arguments, span)?
            }
            Sql::Function(function) => self.function(function, span, left)?,
            other => return Err(self.unsupported(other, span)),
        })
    }

    /// A minus before a number is a part of it, so that the lowest integer can be written.
    fn negated(&self, node: Node) -> Kind {
        match &node.kind {
            Kind::Literal(Value::Int(n)) if n.checked_neg().is_some() => Kind::Literal(Value::Int(-n)),
            Kind::Literal(Value::UInt(n)) if *n == 1 << 63 => Kind::Literal(Value::Int(i64::MIN)),
            Kind::Literal(Value::Decimal(Decimal::Finite { negative: false, digits, scale })) => {
                let (digits, scale) = (digits.clone(), *scale);
                Kind::Literal(Value::Decimal(Decimal::Finite { negative: digits != [0], digits, scale }))
            }
            _ => Kind::Negate(Box::new(node)),
        }
    }

    fn literal(&self, value: &SqlValue, span: (usize, usize)) -> Result<Value, ExprError> {
        match value {
            SqlValue::Null => Ok(Value::Null),
            SqlValue::Boolean(b) => Ok(Value::Bool(*b)),
            SqlValue::SingleQuotedString(text) => Ok(Value::text(text.as_str())),
            SqlValue::Number(text, _) => {
                if let Ok(n) = text.parse::<u64>() {
                    return Ok(Value::from_u64(n));
                }
                let whole = text.strip_prefix('.').map_or_else(|| text.clone(), |rest| format!("0.{rest}"));
                let whole = whole.strip_suffix('.').unwrap_or(&whole);
                whole.parse().map(Value::Decimal).map_err(|why| self.error(span, format!("found no number: {why}")))
            }
            other => Err(self
                .error(span, format!("found the literal {other}, which has no meaning here"))
                .with_hint("write text in single quotes and names in double quotes")),
        }
    }

    fn path(&self, idents: &[Ident], span: (usize, usize)) -> Result<Path, ExprError> {
        let steps = idents.iter().map(|ident| Step::Field(ident.value.clone())).collect();
        Path::from_steps(steps).ok_or_else(|| self.error(span, "found no field"))
    }

    fn binary(&self, op: &BinaryOperator, a: Box<Node>, b: Box<Node>, span: (usize, usize)) -> Result<Kind, ExprError> {
        Ok(match op {
            BinaryOperator::Plus => Kind::Arithmetic(Arithmetic::Add, a, b),
            BinaryOperator::Minus => Kind::Arithmetic(Arithmetic::Subtract, a, b),
            BinaryOperator::Multiply => Kind::Arithmetic(Arithmetic::Multiply, a, b),
            BinaryOperator::Divide => Kind::Arithmetic(Arithmetic::Divide, a, b),
            BinaryOperator::Modulo => Kind::Arithmetic(Arithmetic::Remainder, a, b),
            BinaryOperator::StringConcat => Kind::Join(a, b),
            BinaryOperator::Eq => Kind::Compare(Comparison::Equal, a, b),
            BinaryOperator::NotEq => Kind::Compare(Comparison::Different, a, b),
            BinaryOperator::Lt => Kind::Compare(Comparison::Less, a, b),
            BinaryOperator::LtEq => Kind::Compare(Comparison::LessOrEqual, a, b),
            BinaryOperator::Gt => Kind::Compare(Comparison::Greater, a, b),
            BinaryOperator::GtEq => Kind::Compare(Comparison::GreaterOrEqual, a, b),
            BinaryOperator::And => Kind::And(a, b),
            BinaryOperator::Or => Kind::Or(a, b),
            other => {
                return Err(self.error(span, format!("found the operator {other}, which the subset does not have")));
            }
        })
    }

    fn escape(&self, escape: Option<&sqlparser::ast::Expr>, span: (usize, usize)) -> Result<Option<char>, ExprError> {
        let Some(escape) = escape else { return Ok(Some('\\')) };
        if let Sql::Value(value) = escape
            && let SqlValue::SingleQuotedString(text) = &value.value
        {
            let mut characters = text.chars();
            let (first, more) = (characters.next(), characters.next());
            if more.is_none() {
                return Ok(first);
            }
        }
        Err(self.error(span, "ESCAPE takes one character in single quotes, or none"))
    }

    fn function(&self, call: &sqlparser::ast::Function, span: (usize, usize), left: usize) -> Result<Kind, ExprError> {
        let name = call.name.to_string();
        let Some(function) = functions::named(&name) else {
            let word = (span.0, self.boundary(span.0 + name.len()));
            let error = self.error(word, format!("found the function {name}, which the subset does not have"));
            return Err(match functions::nearest(&name) {
                Some(nearest) => error.with_hint(format!("did you mean {nearest}?")),
                None => error.with_hint(format!(
                    "there are: {}",
                    functions::SIGNATURES.iter().map(|signature| signature.name).collect::<Vec<_>>().join(", ")
                )),
            });
        };
        let FunctionArguments::List(list) = &call.args else {
            return Err(self.error(span, format!("{name} needs its arguments in parentheses")));
        };
        let is_plain = call.over.is_none()
            && call.filter.is_none()
            && call.null_treatment.is_none()
            && call.within_group.is_empty()
            && list.duplicate_treatment.is_none()
            && list.clauses.is_empty();
        let arguments = list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) if is_plain => self.node(argument, left),
                _ => Err(self.error(span, format!("{name} takes plain arguments only"))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.call(function, arguments, span)
    }

    fn call(&self, function: Function, arguments: Vec<Node>, span: (usize, usize)) -> Result<Kind, ExprError> {
        let signature = function.signature();
        let (min, max) = (signature.arguments_min, signature.arguments_max);
        if (min..=max).contains(&arguments.len()) {
            return Ok(Kind::Call(function, arguments));
        }
        let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
        Err(self.error(span, format!("{} takes {wanted} arguments, found {}", signature.name, arguments.len())))
    }

    fn data_type(&self, data_type: &DataType, span: (usize, usize)) -> Result<FieldType, ExprError> {
        Ok(match data_type.to_string().to_ascii_uppercase().as_str() {
            "BOOL" | "BOOLEAN" => FieldType::Bool,
            "INT" | "INTEGER" | "BIGINT" | "INT8" => FieldType::Int,
            "FLOAT" | "DOUBLE" | "DOUBLE PRECISION" | "FLOAT8" => FieldType::Float,
            "DECIMAL" | "NUMERIC" => FieldType::Decimal,
            "TEXT" | "VARCHAR" | "STRING" => FieldType::Text,
            "BYTES" | "BYTEA" | "BLOB" => FieldType::Bytes,
            "DATE" => FieldType::Date,
            "TIME" => FieldType::Time,
            "TIMESTAMP" => FieldType::Timestamp,
            "INSTANT" | "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" => FieldType::Instant,
            "UUID" => FieldType::Uuid,
            other => {
                return Err(self.error(span, format!("found the type {other}, which the subset does not have")).with_hint(
                    "there are: bool, int, float, decimal, text, bytes, date, time, timestamp, instant, uuid, without lengths",
                ));
            }
        })
    }

    fn unsupported(&self, sql: &Sql, span: (usize, usize)) -> ExprError {
        let what = match sql {
            Sql::Subquery(_) | Sql::Exists { .. } | Sql::InSubquery { .. } => "a subquery",
            Sql::ILike { .. } => "ILIKE",
            Sql::Extract { .. } => "EXTRACT",
            Sql::Collate { .. } => "COLLATE",
            Sql::AtTimeZone { .. } => "AT TIME ZONE",
            Sql::CompoundFieldAccess { .. } | Sql::JsonAccess { .. } => "an access by position",
            _ => "a construct",
        };
        self.error(span, format!("found {what} that the subset does not have"))
            .with_hint("an expression computes one value from the fields of one record")
    }

    /// sqlparser names the place in its message.
    fn unreadable(&self, message: &str) -> ExprError {
        let message = message.strip_prefix("sql parser error: ").unwrap_or(message);
        let number = |after: &str| {
            let (_, rest) = message.rsplit_once(after)?;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        };
        let span = match (number("Line: "), number("Column: ")) {
            (Some(line), Some(column)) => {
                let start = self.offset(Location { line, column });
                let word = self.text[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0).max(1);
                (start, self.boundary(start + word))
            }
            _ => (0, self.text.len()),
        };
        let plain = message.rsplit_once(" at Line: ").map_or(message, |(plain, _)| plain);
        self.error(span, plain.trim())
    }

    fn span(&self, sql: &Sql) -> (usize, usize) {
        let span = sql.span();
        if span.start.line == 0 {
            return (0, self.text.len());
        }
        let start = self.offset(span.start);
        (start, self.offset(span.end).max(start))
    }

    /// The byte offset of a line and column, both counted from 1, in characters.
    fn offset(&self, location: Location) -> usize {
        let mut start = 0;
        for (number, line) in (1..).zip(self.text.split_inclusive('\n')) {
            if number == location.line {
                let characters = usize::try_from(location.column).unwrap_or(usize::MAX).saturating_sub(1);
                return start + line.char_indices().nth(characters).map_or(line.len(), |(at, _)| at);
            }
            start += line.len();
        }
        self.text.len()
    }

    fn boundary(&self, mut at: usize) -> usize {
        while at < self.text.len() && !self.text.is_char_boundary(at) {
            at += 1;
        }
        at.min(self.text.len())
    }

    fn error(&self, span: (usize, usize), message: impl Into<String>) -> ExprError {
        ExprError { span, message: message.into(), hint: None }
    }
}

impl ExprError {
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> ExprError {
        self.hint = Some(hint.into());
        self
    }
}
