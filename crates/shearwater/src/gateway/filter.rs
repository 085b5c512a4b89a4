//! PostgREST's filters: `age=gte.21`, `name=not.ilike.a*`, `id=in.(1,2,"a,b")`,
//! `or=(age.lt.18,and(status.eq.NEW,tag.is.null))`.

use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{FieldType, Layout};

use super::field_path::{self, Scan, Segment};
use super::fields::{self, FieldKind};
use super::problem::{Kind, Problem};
use super::typed;

/// Conditions in one query: each is evaluated for every record that is looked at.
pub const CONDITIONS_MAX: usize = 128;

/// Nesting of `and(…)` and `or(…)`: the parser and the evaluation recurse.
pub const DEPTH_MAX: usize = 16;

/// Literals in one `in.(…)`: as many as one page has records.
pub const IN_LITERALS_MAX: usize = shearwater_core::limits::LIST_RECORDS_MAX;

/// An operator of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Compare(CompareOp),
    Like,
    Ilike,
    In,
    Is,
}

/// Every operator by its name in the dialect.
const OPERATORS: &[(&str, Operator)] = &[
    ("eq", Operator::Compare(CompareOp::Eq)),
    ("neq", Operator::Compare(CompareOp::Neq)),
    ("gt", Operator::Compare(CompareOp::Gt)),
    ("gte", Operator::Compare(CompareOp::Gte)),
    ("lt", Operator::Compare(CompareOp::Lt)),
    ("lte", Operator::Compare(CompareOp::Lte)),
    ("like", Operator::Like),
    ("ilike", Operator::Ilike),
    ("in", Operator::In),
    ("is", Operator::Is),
];

/// The names of all operators, for messages and for the API's description.
pub fn operator_names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

fn operator(name: &str) -> Option<Operator> {
    OPERATORS.iter().find(|(n, _)| *n == name).map(|(_, operator)| *operator)
}

/// Reads filters of one layout and counts their conditions.
pub struct FilterReader<'a> {
    layout: &'a Layout,
    conditions: usize,
}

impl<'a> FilterReader<'a> {
    /// For a layout's fields.
    pub fn new(layout: &'a Layout) -> FilterReader<'a> {
        FilterReader { layout, conditions: 0 }
    }

    /// `field=op.value`: the value reaches to the end.
    pub fn parameter(&mut self, field: &str, value: &str) -> Result<Filter, Problem> {
        let path = field_path::whole(field)?;
        let kind = fields::scalar(self.layout, &path)?;
        let (negated, rest) = match value.strip_prefix("not.") {
            Some(rest) => (Negated::Yes, rest),
            None => (Negated::No, value),
        };
        let Some((name, value)) = rest.split_once('.') else {
            return Err(no_operator(field, rest));
        };
        let operator = operator(name).ok_or_else(|| no_operator(field, name))?;
        let mut scan = Scan::new(value);
        let filter = match operator {
            Operator::In => {
                let values = in_list(&mut scan)?;
                if !scan.at_end() {
                    return Err(scan.problem("in.(…) goes on after its parenthesis"));
                }
                self.within(path, kind, &values)?
            }
            _ => self.condition(path, kind, operator, value)?,
        };
        Ok(negated.of(filter))
    }

    /// `and=(…)`, `or=(…)`, `not.and=(…)`, `not.or=(…)`.
    pub fn tree(&mut self, joint: &str, value: &str) -> Result<Filter, Problem> {
        let mut scan = Scan::new(value);
        let (negated, joint) = match joint.strip_prefix("not.") {
            Some(joint) => (Negated::Yes, joint),
            None => (Negated::No, joint),
        };
        let filter = self.group(&mut scan, joint, 1)?;
        match scan.at_end() {
            true => Ok(negated.of(filter)),
            false => Err(scan.problem("the parentheses close too early")),
        }
    }

    fn group(&mut self, scan: &mut Scan<'_>, joint: &str, depth: usize) -> Result<Filter, Problem> {
        if depth > DEPTH_MAX {
            return Err(scan.problem(&format!("conditions are nested deeper than {DEPTH_MAX}")));
        }
        if !scan.eat("(") {
            return Err(scan.problem("expected an opening parenthesis"));
        }
        let mut members = Vec::new();
        loop {
            members.push(self.member(scan, depth)?);
            if scan.eat(")") {
                break;
            }
            if !scan.eat(",") {
                return Err(scan.problem("expected a comma or a closing parenthesis"));
            }
        }
        Ok(match joint {
            "or" => Filter::Or(members),
            _ => Filter::And(members),
        })
    }

    fn member(&mut self, scan: &mut Scan<'_>, depth: usize) -> Result<Filter, Problem> {
        for (prefix, negated) in [("not.", Negated::Yes), ("", Negated::No)] {
            for joint in ["and", "or"] {
                let mut ahead = scan.clone();
                if ahead.eat(prefix) && ahead.eat(joint) && ahead.peek() == Some('(') {
                    *scan = ahead;
                    return Ok(negated.of(self.group(scan, joint, depth + 1)?));
                }
            }
        }
        self.nested_condition(scan)
    }

    /// `field.op.value` within a group: the field's path ends at the first word
    /// that is an operator or `not`.
    fn nested_condition(&mut self, scan: &mut Scan<'_>) -> Result<Filter, Problem> {
        let (mut segments, mut negated): (Vec<Segment>, _) = (Vec::new(), Negated::No);
        let operator = loop {
            let Some(segment) = scan.segment(segments.is_empty())? else {
                return Err(scan.problem("expected .operator.value").hint(operators_hint()));
            };
            match segment.word() {
                Some("not") if negated == Negated::No => negated = Negated::Yes,
                Some(word) if operator(word).is_some() => break operator(word),
                Some(word) if negated == Negated::Yes => return Err(no_operator("not", word)),
                _ => segments.push(segment),
            }
        };
        if !scan.eat(".") {
            return Err(scan.problem("expected a value after the operator"));
        }
        let path = field_path::path(segments)?;
        let kind = fields::scalar(self.layout, &path)?;
        let filter = match operator {
            Some(Operator::In) => {
                let values = in_list(scan)?;
                self.within(path, kind, &values)?
            }
            Some(operator) => {
                let value = nested_value(scan)?;
                self.condition(path, kind, operator, &value)?
            }
            None => return Err(scan.problem("expected an operator")),
        };
        Ok(negated.of(filter))
    }

    fn condition(&mut self, path: Path, kind: FieldKind, operator: Operator, value: &str) -> Result<Filter, Problem> {
        self.count()?;
        Ok(match operator {
            Operator::Compare(op) => {
                let literal = literal(&path, kind, value)?;
                Filter::Compare { path, op, literal }
            }
            Operator::Like | Operator::Ilike => {
                if let FieldKind::Typed(ty) = kind
                    && ty != FieldType::Text
                {
                    let detail = format!("{} is of type {}; like needs text", field_path::shown(&path), ty.name());
                    return Err(Problem::new(Kind::BadLiteral, detail).field(field_path::shown(&path)));
                }
                Filter::Like { path, pattern: value.replace('*', "%"), fold_case: operator == Operator::Ilike }
            }
            Operator::Is => is(path, value)?,
            Operator::In => return Err(Problem::new(Kind::BadQuery, "in needs values in parentheses")),
        })
    }

    fn within(&mut self, path: Path, kind: FieldKind, values: &[String]) -> Result<Filter, Problem> {
        self.count()?;
        let literals = values.iter().map(|value| literal(&path, kind, value)).collect::<Result<_, _>>()?;
        Ok(Filter::In { path, literals })
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.conditions += 1;
        match self.conditions > CONDITIONS_MAX {
            true => Err(Problem::new(Kind::BadQuery, format!("more than {CONDITIONS_MAX} conditions"))),
            false => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Negated {
    Yes,
    No,
}

impl Negated {
    fn of(self, filter: Filter) -> Filter {
        match self {
            Negated::Yes => Filter::Not(Box::new(filter)),
            Negated::No => filter,
        }
    }
}

fn operators_hint() -> String {
    format!("the operators are {}, each also after not.", operator_names().collect::<Vec<_>>().join(", "))
}

fn no_operator(field: &str, found: &str) -> Problem {
    // The text may be a value whose operator was forgotten, so it is not repeated.
    let word = found.len() <= 16 && found.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'(' | b')'));
    let detail = match word {
        true => format!("{field}: {found} is no operator"),
        false => format!("{field}: the value does not begin with an operator and a dot"),
    };
    Problem::new(Kind::BadQuery, detail).field(field).hint(operators_hint())
}

fn literal(path: &Path, kind: FieldKind, text: &str) -> Result<Literal, Problem> {
    let FieldKind::Typed(ty) = kind else { return Ok(Literal::Untyped(text.to_owned())) };
    typed::read(ty, text).map(Literal::Typed).map_err(|not| {
        let shown = field_path::shown(path);
        let problem =
            Problem::new(Kind::BadLiteral, format!("{shown}: expected {}", not.expected)).field(shown.clone());
        match text {
            "null" => problem.hint(format!("null is asked for with {shown}=is.null")),
            _ => problem,
        }
    })
}

fn is(path: Path, value: &str) -> Result<Filter, Problem> {
    let what = match value.to_ascii_lowercase().as_str() {
        "null" | "unknown" => IsWhat::Null,
        "true" => IsWhat::True,
        "false" => IsWhat::False,
        "not_null" => return Ok(Filter::Not(Box::new(Filter::Is { path, what: IsWhat::Null }))),
        _ => {
            let shown = field_path::shown(&path);
            return Err(
                Problem::new(Kind::BadQuery, format!("{shown}: is takes null, not_null, true or false")).field(shown)
            );
        }
    };
    Ok(Filter::Is { path, what })
}

/// A value within a group: quoted, or up to the next comma or parenthesis.
fn nested_value(scan: &mut Scan<'_>) -> Result<String, Problem> {
    match scan.peek() {
        Some('"') => scan.quoted(),
        _ => Ok(scan.until(&[',', ')']).to_owned()),
    }
}

/// `(a,b,"c,d")`; `()` is the empty list.
fn in_list(scan: &mut Scan<'_>) -> Result<Vec<String>, Problem> {
    if !scan.eat("(") {
        return Err(scan.problem("in needs values in parentheses"));
    }
    let mut values = Vec::new();
    if scan.eat(")") {
        return Ok(values);
    }
    loop {
        values.push(nested_value(scan)?);
        if values.len() > IN_LITERALS_MAX {
            return Err(scan.problem(&format!("more than {IN_LITERALS_MAX} values in one list")));
        }
        if scan.eat(")") {
            return Ok(values);
        }
        if !scan.eat(",") {
            return Err(scan.problem("expected a comma or a closing parenthesis"));
        }
    }
}

#[cfg(test)]
mod tests;
