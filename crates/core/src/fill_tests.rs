//! What a fill may be, what it gives, and what is refused for which reason.

use super::*;
use crate::domain::Digits;
use crate::spec::{Migration, parse};

const COLUMNS: &str = "id int! name text nick text? active bool! age int? score float born date? cost decimal";

fn columns() -> Vec<ColumnShape> {
    let words: Vec<&str> = COLUMNS.split(' ').collect();
    let column = |pair: &[&str]| {
        let ty = match pair[1].trim_end_matches(['!', '?']) {
            "int" => FieldType::Int,
            "bool" => FieldType::Bool,
            "float" => FieldType::Float,
            "date" => FieldType::Date,
            "decimal" => FieldType::Decimal,
            _ => FieldType::Text,
        };
        let nullable = !pair[1].ends_with('!');
        ColumnShape { name: pair[0].into(), ty, nullable, unique: false, native: None, references: None }
    };
    words.chunks(2).map(column).collect()
}

/// A spec for a value of a text field, or, after `of`, of another one.
fn spec(value: &str) -> String {
    let (ty, value) = value.strip_prefix("of ").and_then(|of| of.split_once(": ")).unwrap_or(("text", value));
    let ty = match ty.split_once(' ') {
        Some(("decimal", digits)) => {
            let (precision, scale) = digits.split_once(' ').unwrap();
            format!("\"decimal\"\nprecision = {precision}\nscale = {scale}")
        }
        Some((ty, values)) => format!("\"{ty}\"\nvalues = {values}"),
        None => format!("\"{ty}\""),
    };
    format!(
        "migration = \"m\"\nkind = \"require\"\nentity = \"users\"\n[store]\nurl = \"sqlite:a.db\"\ntable = \"users\"\n\
         key = \"id\"\n[field]\nname = \"status\"\ntype = {ty}\nvalue = {value}\n"
    )
}

fn compiled(value: &str) -> Result<Fill, FillError> {
    match parse(&spec(value), &|_| None) {
        Ok(Migration::Require(spec)) => Fill::compile(&spec.field, &columns()),
        Ok(_) => panic!("another kind"),
        Err(problems) => {
            let first = problems.into_iter().next().unwrap();
            Err(FillError { code: first.code, message: first.message, hint: first.hint.unwrap_or_default() })
        }
    }
}

/// A store that says everything plainly.
struct Plain;

impl Words for Plain {
    fn field(&self, name: &str) -> String {
        name.to_owned()
    }
    fn text(&self, text: &str) -> Option<String> {
        (!text.contains('\0')).then(|| format!("'{}'", text.replace('\'', "''")))
    }
    fn truth(&self, truth: bool) -> &'static str {
        if truth { "T" } else { "F" }
    }
    fn by_bytes(&self, sql: &str) -> String {
        format!("b({sql})")
    }
    fn joined(&self, parts: &[String]) -> String {
        format!("j({})", parts.join(", "))
    }
    fn constant(&self, ty: FieldType, value: &Value) -> Option<String> {
        match value {
            Value::Decimal(decimal) => Some(decimal.to_string()),
            Value::Date(date) => Some(format!("{}'{date}'", ty.name())),
            _ => None,
        }
    }
    fn sum(&self, sign: &str, a: &str, b: &str) -> String {
        format!("sum({a} {sign} {b})")
    }
    fn remainder(&self, a: &str, b: &str) -> String {
        format!("rest({a}, {b})")
    }
    fn text_of_int(&self, sql: &str) -> String {
        format!("t({sql})")
    }
    fn int_of_text(&self, sql: &str) -> String {
        format!("i({sql})")
    }
    fn decimal_of_int(&self, sql: &str, digits: Digits) -> String {
        format!("d{}({sql})", digits.scale)
    }
    fn length(&self, sql: &str) -> String {
        format!("length({sql})")
    }
    fn part(&self, sql: &str, from: i64, count: Option<i64>) -> String {
        format!("part({sql}, {from}, {count:?})")
    }
}

#[test]
fn what_is_pushed_down_and_how() {
    let check = |value: &str, sql: &str| assert_eq!(compiled(value).unwrap().sql(&Plain).unwrap(), sql, "{value}");
    check("\"ACTIVE\"", "'ACTIVE'");
    check("{ sql = '''CASE WHEN active THEN 'A' ELSE 'I' END''' }", "CASE WHEN active THEN 'A' ELSE 'I' END");
    check("{ sql = '''coalesce(nick, name)''', fallback = \"x\" }", "coalesce(coalesce(nick, name), 'x')");
    check(
        "{ sql = '''CASE name WHEN 'a' THEN 'b' WHEN NULL THEN 'c' ELSE 'd' END''' }",
        "CASE WHEN (b(name) = b('a')) THEN 'b' WHEN NULL THEN 'c' ELSE 'd' END",
    );
    check(
        "{ sql = '''CASE WHEN age BETWEEN 1 AND 9 OR name IN ('a', 'b') THEN 'x' ELSE 'y' END''' }",
        "CASE WHEN (((age >= 1) AND (age <= 9)) OR ((b(name) = b('a')) OR (b(name) = b('b')))) THEN 'x' ELSE 'y' END",
    );
    check("{ sql = '''concat(nick, '!')''' }", "j(coalesce(nick, ''), coalesce('!', ''))");
    check(
        "of int: { sql = '-(age + 2) * id % 3', fallback = 0 }",
        "coalesce(rest(sum(sum(0 - sum(age + 2)) * id), 3), 0)",
    );
    check("{ sql = 'CAST(id AS text)' }", "t(id)");
    check("of int: { sql = 'CAST(nick AS int)', fallback = 0 }", "coalesce(i(nick), 0)");
    check("{ sql = 'CAST(active AS text)' }", "CASE WHEN active THEN 'true' WHEN NOT active THEN 'false' END");
    check("{ sql = 'substr(name, 2, 3)', fallback = '' }", "coalesce(part(name, 2, Some(3)), '')");
    check(
        "of decimal 5 2: { sql = 'id', fallback = '1' }",
        "coalesce(CASE WHEN id BETWEEN -999 AND 999 THEN d2(id) END, 1.00)",
    );
    check("of decimal 30 2: { sql = 'id' }", "d2(id)");
    check(
        "of decimal 5 2: { sql = 'CASE WHEN active THEN 1.50 ELSE 0.00 END' }",
        "CASE WHEN active THEN 1.50 ELSE 0.00 END",
    );
    check("of date: 2020-01-02", "date'2020-01-02'");
    check("of date: { sql = 'born', fallback = 2020-01-02 }", "coalesce(born, date'2020-01-02')");
    check(
        "of text ['a', 'b']: { sql = '''CASE WHEN active THEN 'a' ELSE 'b' END''' }",
        "CASE WHEN active THEN 'a' ELSE 'b' END",
    );
    check(
        "of text ['a', 'b']: { sql = '''nick''', fallback = 'b' }",
        "coalesce(CASE WHEN b(nick) = b('a') OR b(nick) = b('b') THEN nick END, 'b')",
    );
    check(
        "{ sql = '''nullif(name || nick, '')''', fallback = \"\" }",
        "coalesce(CASE WHEN (b(j(name, nick)) = b('')) THEN NULL ELSE j(name, nick) END, '')",
    );
    check(
        "{ sql = '''CASE WHEN score IS NULL THEN 'n' ELSE 's' END''' }",
        "CASE WHEN (score IS NULL) THEN 'n' ELSE 's' END",
    );
}

#[test]
fn what_is_refused_and_why() {
    let check = |value: &str, code: &str, says: &str| {
        let told = compiled(value).and_then(|fill| fill.sql(&Plain).map(|_| ())).unwrap_err();
        assert_eq!(told.code, code, "{value}: {told}");
        assert!(told.message.contains(says) && !told.hint.is_empty(), "{value}: {told:?}");
    };
    check("{ sql = '''now()''' }", "fill/volatile", "now");
    check("{ sql = '''CASE WHEN random() < 1 THEN 'a' END''' }", "fill/volatile", "random");
    check("{ sql = '''(SELECT max(x) FROM t)''' }", "fill/other-records", "max");
    check("{ sql = '''row_number()''' }", "fill/other-records", "row_number");
    check("{ sql = '''CASE WHEN''' }", "fill/expression", "");
    check("{ sql = '''upper(name)''', fallback = \"x\" }", "fill/not-proven", "upper");
    check("{ sql = '''lower(name)''', fallback = \"x\" }", "fill/not-proven", "lower");
    check("{ sql = '''CASE WHEN age / 2 > 3 THEN 'a' ELSE 'b' END''' }", "fill/not-proven", "division");
    check("{ sql = '''CASE WHEN score + 1 > 3 THEN 'a' ELSE 'b' END''' }", "fill/not-proven", "float");
    check("{ sql = '''CAST(cost AS text)''', fallback = \"x\" }", "fill/not-proven", "decimal");
    check("{ sql = '''CAST(active AS int) || 'x' ''' }", "fill/expression", "found int");
    check("of int: { sql = '''CAST(active AS int)''', fallback = 0 }", "fill/not-proven", "CAST of bool AS int");
    check("of bool: { sql = '''CAST(age AS bool)''', fallback = true }", "fill/not-proven", "CAST of int AS bool");
    check("{ sql = '''substr(name, age)''', fallback = \"x\" }", "fill/not-proven", "computed bounds");
    check("{ sql = '''substr(name, 0)''', fallback = \"x\" }", "fill/not-proven", "computed bounds");
    check("of int: { sql = '''id + 1''' }", "fill/can-be-null", "can be NULL");
    check("of int: { sql = '''length('a')''' }", "fill/can-be-null", "can be NULL");
    check("of decimal 5 2: { sql = 'id' }", "fill/can-be-null", "none of the field's");
    check("of decimal 5 2: { sql = 'cost', fallback = \"1\" }", "fill/not-proven", "type decimal");
    check(
        "of decimal 5 2: { sql = 'CASE WHEN active THEN 1.5 ELSE 2.00 END' }",
        "fill/expression",
        "none of the field's",
    );
    check("of text ['a', 'b']: { sql = '''CASE WHEN active THEN 'a' ELSE 'c' END''' }", "fill/expression", "none of");
    check("of text ['a', 'b']: { sql = '''concat(name)''' }", "fill/can-be-null", "none of the field's");
    check("of text ['a', 'b']: { sql = '''nick''', fallback = \"c\" }", "spec/value", "a, b");
    check("{ sql = '''CASE WHEN name LIKE 'a%' THEN 'a' ELSE 'b' END''' }", "fill/not-proven", "LIKE");
    check("{ sql = '''CASE WHEN score > 1 THEN 'a' ELSE 'b' END''' }", "fill/not-proven", "type float");
    check("{ sql = '''nick''' }", "fill/can-be-null", "can be NULL");
    check("{ sql = '''CASE WHEN active THEN 'a' END''' }", "fill/can-be-null", "can be NULL");
    check("{ sql = '''status''', fallback = \"a\" }", "fill/expression", "reads `status`");
    check("{ sql = '''gone''', fallback = \"a\" }", "fill/expression", "does not have");
    check("{ sql = '''age''', fallback = \"a\" }", "fill/expression", "gives int");
    check("\"a\\u0000\"", "fill/not-proven", "U+0000");
    check("7", "spec/value", "expected a text");
}

#[test]
fn its_value_is_total() {
    let fill = compiled("{ sql = '''coalesce(nick, name)''', fallback = \"none\" }").unwrap();
    let record = |nick: Value, name: Value| [("nick", nick), ("name", name)].into_iter().collect::<Document>();
    assert_eq!(fill.value(&record(Value::Null, Value::text("n"))), Ok(Value::text("n")));
    assert_eq!(fill.value(&record(Value::Null, Value::Null)), Ok(Value::text("none")));
    assert_eq!(fill.value(&Document::new()), Ok(Value::text("none")), "a missing field is NULL");
    assert_eq!((fill.class(), fill.inputs()), (FillClass::RowPure, vec!["nick".to_owned(), "name".to_owned()]));
    let constant = compiled("\"ACTIVE\"").unwrap();
    assert_eq!((constant.class(), constant.constant()), (FillClass::Constant, Some(&Value::text("ACTIVE"))));
}

#[test]
fn what_has_no_result_is_null_and_what_is_no_value_of_the_fields_too() {
    let check = |value: &str, record: &[(&'static str, Value)], expect: Value| {
        let record: Document = record.iter().cloned().collect();
        assert_eq!(compiled(value).unwrap().value(&record), Ok(expect), "{value}");
    };
    let sum = "of int: { sql = 'age + id', fallback = -1 }";
    check(sum, &[("age", Value::Int(i64::MAX)), ("id", Value::Int(0))], Value::Int(i64::MAX));
    check(sum, &[("age", Value::Int(i64::MAX)), ("id", Value::Int(1))], Value::Int(-1));
    check(sum, &[("age", Value::Null), ("id", Value::Int(1))], Value::Int(-1));
    check("of int: { sql = '-age', fallback = 7 }", &[("age", Value::Int(i64::MIN))], Value::Int(7));
    check(
        "of int: { sql = 'age % id', fallback = 7 }",
        &[("age", Value::Int(5)), ("id", Value::Int(0))],
        Value::Int(7),
    );
    check(
        "of int: { sql = 'age % id', fallback = 7 }",
        &[("age", Value::Int(-5)), ("id", Value::Int(3))],
        Value::Int(-2),
    );
    for (text, expect) in [("7", 7), ("-7", -7), ("07", -1), ("+7", -1), (" 7", -1), ("-0", -1), ("7\n", -1), ("", -1)]
    {
        check("of int: { sql = 'CAST(nick AS int)', fallback = -1 }", &[("nick", text.into())], Value::Int(expect));
    }
    check("of int: { sql = 'length(nick)', fallback = -1 }", &[("nick", "😀ü".into())], Value::Int(2));
    check("of int: { sql = 'length(nick)', fallback = -1 }", &[("nick", "a\0b".into())], Value::Int(-1));
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let made = "of decimal 5 2: { sql = 'age', fallback = '0' }";
    check(made, &[("age", Value::Int(-999))], decimal("-999.00"));
    check(made, &[("age", Value::Int(1000))], decimal("0.00"));
    let one = "of text ['a', 'b']: { sql = 'nick', fallback = 'b' }";
    check(one, &[("nick", "a".into())], "a".into());
    check(one, &[("nick", "A".into())], "b".into());
}

#[test]
fn of_documents_any_field_may_be_missing_and_of_any_type() {
    let of = |value: &str| match parse(&spec(value), &|_| None) {
        Ok(Migration::Require(spec)) => Fill::of_documents(&spec.field, &["_id".to_owned()]),
        other => panic!("{other:?}"),
    };
    let refused = |value: &str| of(value).unwrap_err().code;
    // What no sampled document had may be in the next one.
    assert!(of("{ sql = '''CASE WHEN never.seen THEN 'A' ELSE 'B' END''' }").is_ok());
    assert_eq!(refused("{ sql = '''name || '!' ''' }"), "fill/can-be-null");
    assert_eq!(refused("{ sql = '''status || '!' ''', fallback = \"x\" }"), "fill/expression");
    assert_eq!(refused("{ sql = '''CASE WHEN active THEN 1 ELSE 2 END''' }"), "fill/expression");
    // The type of `nick` is known when there is a document.
    let fill = of("{ sql = '''coalesce(nick, 'none')''' }").unwrap();
    let value = |nick: Value| {
        let mut record = Document::new();
        record.set("nick", nick);
        fill.value(&record)
    };
    assert_eq!(value(Value::text("n")), Ok(Value::text("n")));
    assert_eq!(value(Value::Null), Ok(Value::text("none")));
    let told = value(Value::Int(5)).unwrap_err().to_string();
    assert!(!told.contains('5'), "no values in messages: {told}");
    assert!(fill.takes(&Value::text("")) && !fill.takes(&Value::Null) && !fill.takes(&Value::Int(1)));
}
