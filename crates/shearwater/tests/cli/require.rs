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
fn a_spec_that_init_wrote_is_planned_and_says_its_hazards() {
    let init = "init --kind require --store sqlite:app.db --table users";
    let mut t = users("\"ACTIVE\"", 0);
    t.ok(&format!("{init} --field state --values on,off --value off --output state.toml"));
    let text = t.read("state.toml");
    t.say(&text);
    t.check("require_init");
    let mut t = users("\"ACTIVE\"", 0);
    t.write("state.toml", &text);
    t.ok("plan state.toml");
    t.ok(&format!("{init} --field total --type decimal --precision 9 --scale 2 --sql id*2 --fallback 0"));
    t.fails(&format!("{init} --field state --values on,off --value of"), 3);
    t.fails(&format!("{init} --field name --value x"), 1);
    t.fails(&format!("{init} --field state"), 2);
    t.fails("init --store sqlite:app.db", 2);
    t.fails("init --kind require --store sqlite:app.db --table usres --field state --value x", 3);
}

#[test]
fn the_example_is_a_good_spec() {
    let text = std::fs::read_to_string("../../examples/users-require.toml").unwrap();
    let spec = shearwater_core::spec::parse(&text, &|_| None);
    assert!(matches!(spec, Ok(shearwater_core::spec::Migration::Require(_))), "{spec:?}");
}

/// A process that serves, ended when the test ends.
struct Serving {
    child: std::process::Child,
    gateway: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn begin(t: &Transcript) -> Serving {
        use std::io::BufRead;
        let mut command = t.command("serve status.toml --gateway 127.0.0.1:0 --control 127.0.0.1:0 --json");
        command.env("RUST_LOG", "error").stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let gateway = told["gateway"].as_str().unwrap().trim_start_matches("http://").to_owned();
        Serving { child, gateway }
    }

    /// One request; its status and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.gateway).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Prefer: return=representation\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let json = body.find(['{', '[']).map(|at| body[at..].trim_end_matches(|c: char| !matches!(c, '}' | ']')));
        (status, json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }
}

/// Outdated and new clients over HTTP while another process moves the migration.
#[test]
fn clients_of_both_shapes_over_http_while_the_phases_pass() {
    let t = users(BY_ACTIVITY, 1);
    let serving = Serving::begin(&t);
    let (status, read) = serving.ask("GET", "/v2/users/2", "");
    assert_eq!((status, read["status"].as_str()), (200, Some("INACTIVE")), "repaired before the start: {read}");
    assert_eq!(serving.ask("GET", "/v1/users/2", "").1.get("status"), None);
    let new = r#"{"id":10,"name":"New","active":true,"status":"SUSPENDED"}"#;
    assert_eq!(serving.ask("POST", "/v2/users", new).0, 503, "there is no place for it yet");
    t.json("start status.toml --json");
    assert_eq!(serving.ask("POST", "/v2/users", new).0, 201);
    let (status, told) = serving.ask("POST", "/v2/users", r#"{"id":11,"name":"New","active":true}"#);
    assert_eq!(status, 422, "{told}");
    assert!(told.to_string().contains("status"), "the field's name is told: {told}");
    assert_eq!(serving.ask("POST", "/v1/users", r#"{"id":12,"name":"Old","active":false}"#).0, 201);
    assert_eq!(serving.ask("PUT", "/v1/users/10", r#"{"id":10,"name":"Put","active":true}"#).0 / 100, 2);
    let (_, list) = serving.ask("GET", "/v2/users?status=eq.SUSPENDED&select=id,name", "");
    assert_eq!(list.to_string(), r#"[{"id":10,"name":"Put"}]"#, "an outdated PUT does not wipe it");
    t.json("advance --json");
    assert_eq!(t.json("verify --json")["report"]["chosen"], 1);
    t.json("advance --json");
    // The writes of the old shape are counted, and stand in the way of contract.
    let until = std::time::Instant::now();
    loop {
        let standing = t.json("status --json");
        if standing["outdated"]["writes"].as_u64() == Some(2) {
            assert_eq!(standing["next"]["gates"][0]["open"], false, "{standing}");
            break;
        }
        assert!(until.elapsed().as_secs() < 60, "the counts are never saved: {standing}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = t.command("advance --json").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("gate/outdated-writes"), "{output:?}");
    assert_eq!(t.json("rollback --json")["phase"], "expand");
    assert_eq!(serving.ask("GET", "/v2/users/10", "").1["status"], "SUSPENDED");
}
