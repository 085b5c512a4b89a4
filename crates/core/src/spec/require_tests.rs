//! A good spec of a `require`, and one broken part at a time.

use crate::shape::FieldType;
use crate::spec::require::{Contract, RequireGates, ValueSpec};
use crate::spec::{Migration, parse};
use crate::value::Value;

const GOOD: &str = r#"migration = "users-status"
kind = "require"
entity = "users"
[store]
url = "postgres://localhost/app"
table = "users"
key = "id"
[field]
name = "status"
type = "text"
native = "varchar(20)"
value = "ACTIVE"
[contract]
outdated_writes_quiet_hours = 24
[gates]
mismatches_max = 0
standby_lag_ms_max = 500
[pace]
chunk_ms_target = 80
"#;

#[test]
fn a_good_spec() {
    let Ok(Migration::Require(spec)) = parse(GOOD, &|_| None) else { panic!("not read") };
    assert_eq!((spec.field.name.as_str(), spec.field.domain.ty), ("status", FieldType::Text));
    assert_eq!(spec.field.native.as_deref(), Some("varchar(20)"));
    assert_eq!(spec.field.value, ValueSpec::Constant(Value::text("ACTIVE")));
    assert_eq!(spec.contract, Contract { outdated_writes_quiet_hours: 24 });
    assert_eq!(spec.gates, RequireGates { mismatches_max: 0, standby_lag_ms_max: 500 });
    assert_eq!((spec.pace.chunk_ms_target, spec.store.key.as_slice()), (80, ["id".to_owned()].as_slice()));
}

#[test]
fn what_clients_may_feel_is_bounded_and_only_a_require_looks_at_it() {
    let percent = |text: &str| match parse(text, &|_| None) {
        Ok(Migration::Require(spec)) => spec.pace.foreground_percent_max,
        other => panic!("{other:?}"),
    };
    assert_eq!(percent(GOOD), Some(150));
    assert_eq!(percent(&GOOD.replace("chunk_ms_target = 80", "foreground_percent_max = 200")), Some(200));
    let of_a_move = "migration = \"m\"\nkind = \"move\"\n[pace]\nforeground_percent_max = 200\n";
    let problems = parse(of_a_move, &|_| None).unwrap_err();
    assert!(problems.iter().any(|p| p.code == "spec/unknown-key" && p.message.contains("foreground_percent_max")));
}

#[test]
fn each_broken_part_is_told_at_its_place() {
    let check = |from: &str, to: &str, code: &str, at: &str, says: &str| {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        let problems = parse(&text, &|_| None).unwrap_err();
        let problem = problems.iter().find(|problem| problem.code == code).unwrap_or_else(|| panic!("{problems:?}"));
        assert_eq!(&text[problem.span.0..problem.span.1], at, "{problem:?}");
        assert!(problem.message.contains(says), "{problem:?}");
    };
    check("value = \"ACTIVE\"", "", "spec/missing", "field", "no `value`");
    check("type = \"text\"", "type = \"extended\"", "spec/type", "\"extended\"", "not in this version");
    check("type = \"text\"", "type = \"decimal\"", "spec/missing", "field", "no `precision`");
    check("type = \"text\"", "type = \"decimal\"\nprecision = 39", "spec/range", "39", "from 1 to 38");
    check("type = \"text\"", "type = \"decimal\"\nprecision = 3\nscale = 4", "spec/range", "field", "more than 3");
    check("type = \"text\"", "type = \"decimal\"\nprecision = 3\nscale = 1", "spec/conflict", "field", "column's type");
    check("type = \"text\"", "type = \"text\"\nprecision = 3", "spec/unknown-key", "precision", "unknown key");
    check("type = \"text\"", "type = \"text\"\nvalues = []", "spec/values", "[]", "no value");
    check("type = \"text\"", "type = \"text\"\nvalues = ['ACTIVE', 'ACTIVE']", "spec/values", "'ACTIVE'", "twice");
    check("type = \"text\"", "type = \"text\"\nvalues = ['OFF', 'ON']", "spec/value", "\"ACTIVE\"", "OFF, ON");
    check("type = \"text\"", "type = \"int\"\nvalues = ['1']", "spec/values", "['1']", "narrows a text");
    check("\"ACTIVE\"", "1", "spec/value", "1", "expected a text");
    check("\"ACTIVE\"", "{ sql = 'now()' }", "fill/volatile", "'now()'", "volatile");
    check("\"ACTIVE\"", "{ fallback = 'x' }", "spec/missing", "{ fallback = 'x' }", "no `sql`");
    check("name = \"status\"", "name = \"id\"", "spec/conflict", "field", "in the key");
    check("hours = 24", "hours = -1", "spec/range", "-1", "from 0");
    check("chunk_ms_target = 80", "foreground_percent_max = 104", "spec/range", "104", "from 105");
    check("mismatches_max", "mismatch_max", "spec/unknown-key", "mismatch_max", "unknown key");
    check("name = \"status\"", "name = \"_shearwater_x\"", "spec/reserved", "\"_shearwater_x\"", "our own");
}

#[test]
fn a_field_of_every_type() {
    let check = |lines: &str, expect: Value| {
        let text = GOOD.replacen("type = \"text\"\nnative = \"varchar(20)\"\nvalue = \"ACTIVE\"", lines, 1);
        assert_ne!(text, GOOD);
        match parse(&text, &|_| None) {
            Ok(Migration::Require(spec)) => assert_eq!(spec.field.value, ValueSpec::Constant(expect), "{lines}"),
            other => panic!("{lines}: {other:?}"),
        }
    };
    let decimal = Value::Decimal("1.50".parse().unwrap());
    check("type = \"decimal\"\nprecision = 5\nscale = 2\nvalue = \"1.5\"", decimal);
    check("type = \"float\"\nvalue = 0.1", Value::Float(0.1));
    check("type = \"date\"\nvalue = 2026-01-31", Value::Date("2026-01-31".parse().unwrap()));
    check("type = \"time\"\nvalue = 12:30:00", Value::Time("12:30:00".parse().unwrap()));
    check("type = \"timestamp\"\nvalue = 2026-01-31T12:30:00", Value::Local("2026-01-31T12:30:00".parse().unwrap()));
    check("type = \"instant\"\nvalue = 2026-01-31T12:30:00Z", Value::Instant("2026-01-31T12:30:00Z".parse().unwrap()));
    check("type = \"bytes\"\nvalue = \"AP8=\"", Value::Bytes(vec![0, 255]));
    check("type = \"json\"\nvalue = { a = [] }", Value::Document([("a", Value::Array(vec![]))].into_iter().collect()));
    check("type = \"text\"\nvalues = [\"on\", \"off\"]\nvalue = \"off\"", Value::text("off"));
}
