//! What each text means, and how it is refused.

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
