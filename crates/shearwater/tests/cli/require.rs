//! The whole walk of a `require` through the binary, there, back and there again.

use crate::transcript::Transcript;

fn spec(value: &str, hours: u64) -> String {
    format!(
        r#"migration = "users-status"
kind = "require"
entity = "users"
[store]
url = "sqlite:app.db"
table = "users"
key = "id"
[field]
name = "status"
type = "text"
value = {value}
[contract]
outdated_writes_quiet_hours = {hours}
"#
    )
}

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''', fallback = \"ACTIVE\" }";

/// A directory with a table of users.
fn users(value: &str, hours: u64) -> Transcript {
    let t = Transcript::new();
    let conn = rusqlite::Connection::open(t.path("app.db")).unwrap();
    conn.execute_batch(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, active BOOLEAN);
         INSERT INTO users VALUES (1, 'Ann', 1), (2, 'Bob', 0), (3, 'Cy', NULL);",
    )
    .unwrap();
    t.write("status.toml", &spec(value, hours));
    t
}

fn statuses(t: &Transcript) -> String {
    let conn = rusqlite::Connection::open(t.path("app.db")).unwrap();
    conn.query_row("SELECT group_concat(status) FROM users", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_required_field_from_plan_to_complete_by_way_of_a_rollback() {
    let mut t = users(BY_ACTIVITY, 0);
    t.ok("plan status.toml");
    t.ok("start status.toml");
    t.ok("status");
    t.ok("advance");
    t.ok("verify");
    t.say(&format!("filled: {}", statuses(&t)));
    t.ok("advance");
    t.ok("advance");
    t.ok("status");
    t.ok("rollback");
    t.ok("rollback");
    t.ok("start status.toml");
    t.ok("pause");
    t.ok("resume");
    t.ok("advance");
    t.ok("verify");
    t.ok("advance");
    t.ok("advance");
    t.ok("complete");
    t.fails("rollback", 1);
    t.say(&format!("in the end: {}", statuses(&t)));
    t.ok("history");
    t.check("require");
}

#[test]
fn a_constant_needs_no_backfill_and_says_so() {
    let mut t = users("\"ACTIVE\"", 24);
    t.ok("plan status.toml");
    t.ok("start status.toml");
    t.say(&format!("at once: {}", statuses(&t)));
    t.ok("advance");
    t.ok("verify");
    t.ok("advance");
    t.fails("advance", 1);
    t.check("require_constant");
}

#[test]
fn what_cannot_be_required_is_told_at_its_place() {
    let mut t = users("{ sql = '''now()''' }", 0);
    t.fails("plan status.toml", 3);
    t.write("status.toml", &spec("{ sql = '''CASE WHEN active THEN 'A' END''' }", 0));
    t.fails("plan status.toml", 3);
    t.write("status.toml", &spec("{ sql = '''CASE WHEN actve THEN 'A' ELSE 'B' END''' }", 0));
    t.fails("plan status.toml", 3);
    t.write("status.toml", &spec("{ sql = '''upper(name)''' }", 0));
    t.run("plan status.toml");
    t.write("status.toml", &spec("\"ACTIVE\"", 0).replace("table = \"users\"", "table = \"usres\""));
    t.fails("start status.toml", 3);
    assert!(!t.path("shearwater.journal").exists(), "nothing was written down");
    t.check("require_refused");
}

#[test]
fn the_example_is_a_good_spec() {
    let text = std::fs::read_to_string("../../examples/users-require.toml").unwrap();
    let spec = shearwater_core::spec::parse(&text, &|_| None);
    assert!(matches!(spec, Ok(shearwater_core::spec::Migration::Require(_))), "{spec:?}");
}
