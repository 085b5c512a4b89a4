//! What a fill may be, what it gives, and what is refused for which reason.

use super::*;
use crate::spec::{Migration, parse};

const COLUMNS: &str = "id int! name text nick text? active bool! age int? score float";

fn columns() -> Vec<ColumnShape> {
    let words: Vec<&str> = COLUMNS.split(' ').collect();
    let column = |pair: &[&str]| {
        let ty = match pair[1].trim_end_matches(['!', '?']) {
            "int" => FieldType::Int,
            "bool" => FieldType::Bool,
            "float" => FieldType::Float,
            _ => FieldType::Text,
        };
        let nullable = !pair[1].ends_with('!');
        ColumnShape { name: pair[0].into(), ty, nullable, unique: false, native: None, references: None }
    };
    words.chunks(2).map(column).collect()
}

fn spec(value: &str) -> String {
    format!(
        "migration = \"m\"\nkind = \"require\"\nentity = \"users\"\n[store]\nurl = \"sqlite:a.db\"\ntable = \"users\"\n\
         key = \"id\"\n[field]\nname = \"status\"\ntype = \"text\"\nvalue = {value}\n"
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
    check("{ sql = '''CASE WHEN age + 1 > 3 THEN 'a' ELSE 'b' END''' }", "fill/not-proven", "arithmetic");
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
