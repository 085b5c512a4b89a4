//! Expressions by example: the text, and what it must give.

use serde_json::json;

use super::*;
use crate::mapping::tests::document;
use crate::value::{Instant, json as text_json};

fn record() -> Document {
    let mut record = document(&json!({
        "first": "Ada", "last": "Lovelace", "age": 36, "none": null, "ok": true, "x": 0.1, "big": 9223372036854775807i64,
        "address": {"city": "London"}, "list": [1], "odd name": "é€", "tags": "a,b,,c",
    }));
    record.set("price", Value::Decimal("12.50".parse().unwrap()));
    record.set("at", Value::Instant(Instant::Micros(1_500_000)));
    record.set("finer", Value::Instant(Instant::Micros(1_500_001)));
    record
}

fn shown(text: &str) -> String {
    match Expr::parse(text) {
        Err(error) => format!("{}..{}: {}", error.span.0, error.span.1, error.message),
        Ok(expr) => match expr.eval(&record()) {
            Ok(value) => text_json::to_string(&value),
            Err(error) => format!("error: {error}"),
        },
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases.iter().map(|(text, expected)| (text, shown(text), expected)).collect();
    let wrong: Vec<_> = wrong.iter().filter(|(_, found, expected)| found != *expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (text, expected) in cases {
        // The printed form means the same and prints as itself.
        if let Ok(expr) = Expr::parse(text) {
            let printed = expr.to_sql();
            assert_eq!(shown(&printed), *expected, "{text} printed as {printed}");
            assert_eq!(Expr::parse(&printed).unwrap().to_sql(), printed);
        }
    }
}

#[test]
fn text_functions() {
    check(&[
        ("first || ' ' || last", r#""Ada Lovelace""#),
        ("first || none", "null"),
        ("lower(first) || upper(last)", r#""adaLOVELACE""#),
        ("length(\"odd name\")", "2"),
        ("address.city", r#""London""#),
        ("address.street", "null"),
        ("missing", "null"),
        ("trim('  a ')", r#""a""#),
        ("trim(both 'xy' from 'xayx')", r#""a""#),
        ("ltrim('  a ') || '|'", r#""a |""#),
        ("rtrim('abb', 'b')", r#""a""#),
        ("trim(leading 'a' from 'aba')", r#""ba""#),
        ("substring('abcdef' from 2 for 3)", r#""bcd""#),
        ("substring('abcdef' from -1 for 4)", r#""ab""#),
        ("substring('abcdef' from 5)", r#""ef""#),
        ("substring('abc', 2)", r#""bc""#),
        ("substring('abc' from 2 for -1)", "error: substring takes no negative length"),
        ("split_part(tags, ',', 2)", r#""b""#),
        ("split_part(tags, ',', 3)", r#""""#),
        ("split_part(tags, ',', -1)", r#""c""#),
        ("split_part(tags, ',', 9)", r#""""#),
        ("split_part(tags, ',', 0)", "error: split_part counts from 1, found 0"),
        ("concat('bob-', age, none, ok)", r#""bob-36true""#),
        ("concat(list)", "error: found array where a scalar with a text was expected"),
        ("replace(tags, ',', ';')", r#""a;b;;c""#),
        ("position('l' in 'hello')", "3"),
        ("position('z' in 'hello')", "0"),
        ("left('hello', 2) || right('hello', 2)", r#""helo""#),
        ("left('hello', -2) || right('hello', -4)", r#""helo""#),
        ("'it''s'", r#""it's""#),
        ("age || 'x'", "error: found int where text was expected"),
        ("lower(age)", "error: found int where text was expected"),
        ("'Ada' LIKE 'A%a' AND 'Ada' LIKE '_d_' AND NOT 'Ada' LIKE 'A'", "true"),
        ("'50%' LIKE '50\\%' AND 'a_b' LIKE 'a#_b' ESCAPE '#'", "true"),
        ("'aXbXc' LIKE '%X%X_' AND 'abc' NOT LIKE '%b'", "true"),
        ("none LIKE '%'", "null"),
    ]);
}

#[test]
fn numbers_are_exact_or_an_error() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("big + 1", "9223372036854775808"),
        ("big * 3", "error: the integer is out of range"),
        ("-big - 1", "-9223372036854775808"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-big - 2", "error: the integer is out of range"),
        ("age / 0", "error: division by zero"),
        ("x / 0", "error: division by zero"),
        ("x * 2", "0.2"),
        ("x + 0.2", "0.30000000000000004"),
        ("x = 0.1", "true"),
        ("big + x", "error: the integer does not fit a float exactly"),
        ("price * 2", r#"{"@decimal":"25.00"}"#),
        ("price + 0.005", r#"{"@decimal":"12.505"}"#),
        ("price / 4", r#"{"@decimal":"3.125"}"#),
        ("price / 3", "error: the quotient of the decimals is not exact; CAST(… AS float) allows rounding"),
        ("round(price / 4, 2)", r#"{"@decimal":"3.13"}"#),
        ("round(-2.5) = -3 AND round(2.5) = 3", "true"),
        ("floor(-2.5) = -3 AND ceil(-2.5) = -2 AND ceiling(2.1) = 3", "true"),
        ("round(1250, 2)", "error: found int where rounding to a number of digits takes decimal"),
        ("round(1250.5, -2)", r#"{"@decimal":"1300"}"#),
        ("abs(-5) + abs(5)", "10"),
        ("abs(-1.50)", r#"{"@decimal":"1.50"}"#),
        ("1 = 1.0 AND 1 < 1.5 AND x < 1 AND price > 12", "true"),
        ("greatest(1, none, 3)", "3"),
        ("least(none, none)", "null"),
        ("first + 1", "error: found text where a number was expected"),
        ("2.0", r#"{"@decimal":"2.0"}"#),
    ]);
}

#[test]
fn nulls_are_as_in_sql() {
    check(&[
        ("none = none", "null"),
        ("none IS NULL AND first IS NOT NULL", "true"),
        ("none = 1 AND FALSE", "false"),
        ("none = 1 OR TRUE", "true"),
        ("NOT (none = 1)", "null"),
        ("age IN (1, 36)", "true"),
        ("age IN (1, none)", "null"),
        ("age NOT IN (1, 2)", "true"),
        ("age BETWEEN 30 AND 40", "true"),
        ("age BETWEEN 40 AND none", "false"),
        ("age NOT BETWEEN 40 AND 50", "true"),
        ("coalesce(none, missing, first)", r#""Ada""#),
        ("nullif(first, 'Ada')", "null"),
        ("nullif(first, none)", r#""Ada""#),
        ("CASE WHEN none = 1 THEN 'a' WHEN ok THEN 'b' END", r#""b""#),
        ("CASE age WHEN 1 THEN 'a' WHEN 36 THEN 'b' ELSE 'c' END", r#""b""#),
        ("CASE age WHEN 1 THEN 'a' END", "null"),
        ("first = 5", "error: text cannot be compared with int"),
        ("list = list", "error: array cannot be compared with array"),
        ("NOT age", "error: found int where bool was expected"),
    ]);
}

#[test]
fn casts_and_time() {
    check(&[
        ("CAST(age AS text) || '!'", r#""36!""#),
        ("age::text", r#""36""#),
        ("cast('0042' as bigint)", "42"),
        ("cast('4x' as int)", "error: found text that does not convert to int exactly"),
        ("cast(2.5 as int)", "error: found decimal that does not convert to int exactly"),
        ("cast(2.0 as int)", "2"),
        ("cast('1.50' as decimal)", r#"{"@decimal":"1.50"}"#),
        ("cast(none as int)", "null"),
        ("cast('2024-02-29' as date) < cast('2024-03-01' as date)", "true"),
        ("cast(list as text)", "error: found array that does not convert to text exactly"),
        ("to_epoch_ms(at)", "1500"),
        ("to_epoch_ms(finer)", "error: the instant has parts of a millisecond"),
        ("from_epoch_ms(1500) = at", "true"),
    ]);
}

#[test]
fn what_the_subset_does_not_have_is_refused_with_its_place() {
    check(&[
        ("first + ", "0..8: Expected: an expression, found: EOF"),
        ("first last", "6..10: found last after the expression"),
        ("lenght(first)", "0..6: found the function lenght, which the subset does not have"),
        ("1 + upper(2)", "10..11: found int where text was expected"),
        ("'a' + 1", "0..3: found text where a number was expected"),
        ("CASE WHEN ok THEN 1 ELSE 'x' END", "25..28: found text beside int; one expression gives one type"),
        ("left('a')", "0..8: left takes 2 arguments, found 1"),
        ("(SELECT 1)", "1..9: found a subquery that the subset does not have"),
        ("cast(age as money)", "5..8: found the type MONEY, which the subset does not have"),
        ("first ILIKE 'a'", "0..15: found ILIKE that the subset does not have"),
        ("count(*)", "0..5: found the function count, which the subset does not have"),
        ("age ~ 'x'", "0..9: found the operator ~, which the subset does not have"),
        ("coalesce(age, 1, 'x')", "17..20: found text beside int; one expression gives one type"),
    ]);
    let error = Expr::parse("lenght(first)").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean length?"));
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(Expr::parse(&deep).is_err());
    let chain = |terms: usize| vec!["1"; terms].join(" + ");
    assert!(Expr::parse(&chain(3_000)).is_err());
    assert_eq!(shown(&chain(128)), "128");
}

#[test]
fn known_column_types_are_checked() {
    let types = |path: &Path| match path.root() {
        "age" => Some(FieldType::Int),
        "first" => Some(FieldType::Text),
        "doc" => Some(FieldType::Json),
        _ => None,
    };
    let check = |text: &str, expected: Result<Option<FieldType>, &str>| {
        let found = Expr::parse(text).unwrap().check(&types);
        assert_eq!(
            found.as_ref().map_err(|error| error.message.as_str()),
            expected.as_ref().map_err(|text| *text),
            "{text}"
        );
    };
    check("age + 1", Ok(Some(FieldType::Int)));
    check("age + unknown", Ok(None));
    check("doc.x || 'a'", Ok(Some(FieldType::Text)));
    check("age || 'a'", Err("found int where text was expected"));
    check("age = first", Err("int cannot be compared with text"));
    check("first + 1", Err("found text where a number was expected"));
    check("CASE WHEN age > 1 THEN first ELSE NULL END", Ok(Some(FieldType::Text)));
    check("coalesce(unknown, first)", Ok(None));
}

#[test]
fn fields_are_named_once() {
    let expr = Expr::parse("a || b.c || a || \"d e\"").unwrap();
    assert_eq!(expr.fields(), ["a", "b", "d e"]);
    assert_eq!(expr.source(), "a || b.c || a || \"d e\"");
}

#[test]
fn nested_parentheses_are_read() {
    assert_eq!(shown(&format!("{}1{}", "(".repeat(20), ")".repeat(20))), "1");
    assert!(Expr::parse(&format!("{}1{}", "(".repeat(100), ")".repeat(100))).is_err());
    assert!(Expr::parse(&format!("{}TRUE", "NOT ".repeat(250))).is_err());
}
