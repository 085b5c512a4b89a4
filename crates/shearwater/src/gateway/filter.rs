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
                    let detail =
                        format!("{} is of type {}; like needs text", field_path::shown(&path), fields::type_name(ty));
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
mod tests {
    use super::super::fields::tests::{documents, users};
    use super::*;
    use proptest::prelude::*;

    /// A filter as text that is easy to read in a table of cases.
    fn show(filter: &Filter) -> String {
        let list = |members: &[Filter]| members.iter().map(show).collect::<Vec<_>>().join(" ");
        match filter {
            Filter::All => "all".into(),
            Filter::And(members) => format!("(and {})", list(members)),
            Filter::Or(members) => format!("(or {})", list(members)),
            Filter::Not(inner) => format!("(not {})", show(inner)),
            Filter::Compare { path, op, literal } => {
                format!("({op:?} {} {})", field_path::shown(path), show_literal(literal))
            }
            Filter::In { path, literals } => {
                let literals: Vec<_> = literals.iter().map(show_literal).collect();
                format!("(In {} [{}])", field_path::shown(path), literals.join("|"))
            }
            Filter::Like { path, pattern, fold_case } => {
                format!("({} {} {pattern})", if *fold_case { "Ilike" } else { "Like" }, field_path::shown(path))
            }
            Filter::Is { path, what } => format!("(Is{what:?} {})", field_path::shown(path)),
        }
    }

    fn show_literal(literal: &Literal) -> String {
        match literal {
            Literal::Untyped(text) => text.clone(),
            Literal::Typed(value) => format!("{}:{value:?}", value.type_name()),
        }
    }

    fn read(layout: &Layout, field: &str, value: &str) -> Result<String, Problem> {
        let mut reader = FilterReader::new(layout);
        match field {
            "and" | "or" | "not.and" | "not.or" => reader.tree(field, value),
            _ => reader.parameter(field, value),
        }
        .map(|filter| show(&filter))
    }

    fn check(field: &str, value: &str, expect: &str) {
        assert_eq!(read(&documents(), field, value).as_deref(), Ok(expect), "{field}={value}");
    }

    fn refuse(layout: &Layout, field: &str, value: &str, kind: Kind, detail: &str) {
        let problem = read(layout, field, value).expect_err(value);
        assert_eq!((problem.kind, problem.detail.as_str()), (kind, detail), "{field}={value}");
    }

    #[test]
    fn operators() {
        check("age", "eq.21", "(Eq age 21)");
        check("age", "neq.21", "(Neq age 21)");
        check("age", "gt.21", "(Gt age 21)");
        check("age", "gte.21", "(Gte age 21)");
        check("age", "lt.21", "(Lt age 21)");
        check("age", "lte.21", "(Lte age 21)");
        check("name", "like.*a_", "(Like name %a_)");
        check("name", "ilike.*a*", "(Ilike name %a%)");
        check("name", "is.null", "(IsNull name)");
        check("name", "is.NULL", "(IsNull name)");
        check("name", "is.not_null", "(not (IsNull name))");
        check("on", "is.true", "(IsTrue on)");
        check("on", "is.false", "(IsFalse on)");
        check("age", "not.eq.21", "(not (Eq age 21))");
        check("id", "in.(1,2,\"a,b\",\"q\\\"q\")", "(In id [1|2|a,b|q\"q])");
        check("id", "in.()", "(In id [])");
        check("id", "not.in.(1)", "(not (In id [1]))");
        check("name", "eq.", "(Eq name )");
        check("name", "eq.a.b,c)\"", "(Eq name a.b,c)\")");
        check("address->>city", "eq.X", "(Eq address.city X)");
        check("address.city", "eq.X", "(Eq address.city X)");
    }

    #[test]
    fn trees() {
        check("or", "(age.lt.18,age.gt.65)", "(or (Lt age 18) (Gt age 65))");
        check(
            "and",
            "(a.eq.1,or(b.eq.2,not.and(c.eq.3,d.is.null)))",
            "(and (Eq a 1) (or (Eq b 2) (not (and (Eq c 3) (IsNull d)))))",
        );
        check("not.or", "(a.eq.1)", "(not (or (Eq a 1)))");
        check("or", "(a.not.eq.1,b.in.(1,2),c.not.in.(3))", "(or (not (Eq a 1)) (In b [1|2]) (not (In c [3])))");
        check("or", "(a.eq.\"x,y)\",b.eq.1.5)", "(or (Eq a x,y)) (Eq b 1.5))");
        check("or", "(address->>city.eq.X,address.zip.eq.Y)", "(or (Eq address.city X) (Eq address.zip Y))");
        check("or", "(\"eq\".eq.1,and.eq.2,t[0].is.true)", "(or (Eq eq 1) (Eq and 2) (IsTrue t[0]))");
    }

    #[test]
    fn literals_of_columns_are_typed() {
        let typed = |field: &str, value: &str| read(&users(), field, value).unwrap();
        assert_eq!(typed("age", "gte.21"), "(Gte age int:Int(21))");
        assert_eq!(typed("id", "eq.21"), "(Eq id text:Text(\"21\"))");
        assert_eq!(typed("prefs->n", "eq.21"), "(Eq prefs.n 21)");
        assert_eq!(typed("age", "in.(1,2)"), "(In age [int:Int(1)|int:Int(2)])");
        assert_eq!(typed("addresses[0].city", "eq.X"), "(Eq addresses[0].city text:Text(\"X\"))");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let d = &documents();
        refuse(d, "age", "21", Kind::BadQuery, "age: the value does not begin with an operator and a dot");
        refuse(d, "age", "near.21", Kind::BadQuery, "age: near is no operator");
        refuse(d, "age", "eq(any).{1}", Kind::BadQuery, "age: eq(any) is no operator");
        refuse(d, "age", "secret value.x", Kind::BadQuery, "age: the value does not begin with an operator and a dot");
        refuse(d, "age", "not.not.eq.1", Kind::BadQuery, "age: not is no operator");
        refuse(d, "age", "in.1,2", Kind::BadQuery, "in needs values in parentheses at character 1");
        refuse(d, "age", "in.(1,2", Kind::BadQuery, "expected a comma or a closing parenthesis at character 5");
        refuse(d, "age", "in.(1)x", Kind::BadQuery, "in.(…) goes on after its parenthesis at character 4");
        refuse(d, "age", "is.maybe", Kind::BadQuery, "age: is takes null, not_null, true or false");
        refuse(d, "or", "a.eq.1", Kind::BadQuery, "expected an opening parenthesis at character 1");
        refuse(d, "or", "()", Kind::BadQuery, "expected a field name at character 2");
        refuse(d, "or", "(a.eq.1", Kind::BadQuery, "expected a comma or a closing parenthesis at character 8");
        refuse(d, "or", "(a.eq.1))", Kind::BadQuery, "the parentheses close too early at character 9");
        refuse(d, "or", "(a)", Kind::BadQuery, "expected .operator.value at character 3");
        let u = &users();
        refuse(u, "age", "eq.old", Kind::BadLiteral, "age: expected an integer");
        refuse(u, "age", "eq.null", Kind::BadLiteral, "age: expected an integer");
        refuse(u, "age", "like.2*", Kind::BadLiteral, "age is of type int; like needs text");
        refuse(u, "aeg", "eq.2", Kind::UnknownField, "there is no field aeg");
        refuse(u, "addresses", "eq.2", Kind::BadQuery, "addresses is a list");
    }

    #[test]
    fn bounds_hold() {
        let deep = |depth: usize| format!("({}a.eq.1{}", "and(".repeat(depth - 1), ")".repeat(depth));
        assert!(read(&documents(), "or", &deep(DEPTH_MAX)).is_ok());
        assert!(read(&documents(), "or", &deep(DEPTH_MAX + 1)).is_err());
        let wide = |members: usize| format!("({})", vec!["a.eq.1"; members].join(","));
        assert!(read(&documents(), "or", &wide(CONDITIONS_MAX)).is_ok());
        assert!(read(&documents(), "or", &wide(CONDITIONS_MAX + 1)).is_err());
        let long = |values: usize| format!("in.({})", vec!["1"; values].join(","));
        assert!(read(&documents(), "a", &long(IN_LITERALS_MAX)).is_ok());
        assert!(read(&documents(), "a", &long(IN_LITERALS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z.,()\"\\\\>\\[\\]-]{0,40}") {
            let _ = read(&documents(), "or", &text);
            let _ = read(&users(), "age", &text);
        }

        #[test]
        fn any_value_can_be_quoted_in_a_group(value in ".*") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let tree = format!("(a.eq.\"{quoted}\",b.in.(\"{quoted}\"))");
            let expect = format!("(or (Eq a {value}) (In b [{value}]))");
            prop_assert_eq!(read(&documents(), "or", &tree), Ok(expect));
        }

        #[test]
        fn a_plain_value_is_taken_to_its_end(value in ".*") {
            prop_assert_eq!(read(&documents(), "a", &format!("eq.{value}")), Ok(format!("(Eq a {value})")));
        }
    }
}
