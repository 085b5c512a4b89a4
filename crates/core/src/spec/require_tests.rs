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
    assert_eq!((spec.field.name.as_str(), spec.field.ty), ("status", FieldType::Text));
    assert_eq!(spec.field.native.as_deref(), Some("varchar(20)"));
    assert_eq!(spec.field.value, ValueSpec::Constant(Value::text("ACTIVE")));
    assert_eq!(spec.contract, Contract { outdated_writes_quiet_hours: 24 });
    assert_eq!(spec.gates, RequireGates { mismatches_max: 0, standby_lag_ms_max: 500 });
    assert_eq!((spec.pace.chunk_ms_target, spec.store.key.as_slice()), (80, ["id".to_owned()].as_slice()));
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
    check("type = \"text\"", "type = \"json\"", "spec/type", "\"json\"", "not in this version");
    check("\"ACTIVE\"", "1", "spec/value", "1", "expected a text");
    check("\"ACTIVE\"", "{ sql = 'now()' }", "fill/volatile", "'now()'", "volatile");
    check("\"ACTIVE\"", "{ fallback = 'x' }", "spec/missing", "{ fallback = 'x' }", "no `sql`");
    check("name = \"status\"", "name = \"id\"", "spec/conflict", "field", "in the key");
    check("hours = 24", "hours = -1", "spec/range", "-1", "from 0");
    check("mismatches_max", "mismatch_max", "spec/unknown-key", "mismatch_max", "unknown key");
    check("name = \"status\"", "name = \"_shearwater_x\"", "spec/reserved", "\"_shearwater_x\"", "our own");
}
