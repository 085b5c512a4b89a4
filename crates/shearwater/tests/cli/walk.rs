//! The whole walk of a migration, there and back and there again.

use std::process::Stdio;

use crate::transcript::Transcript;

/// A small document store with every oddity once.
pub const PEOPLE: &str = r#"{"_id":1,"name":"Ann Lee","email":"ann@example.org","tags":["new","vip"],"addresses":[{"street":"Elm St 1","zip":"01234"},{"street":"Oak Rd 2","zip":"99999"}]}
{"_id":2,"name":"Bob Ray","email":"bob@example.org","tags":[],"nick":"bobby","score":1.5}
{"_id":3,"name":"Cy","email":null,"addresses":[{"street":"Ash Ln 3","floor":4}]}
{"_id":4,"name":"","email":"dee@example.org","tags":["x"]}
"#;

pub const SPEC: &str = r#"migration = "users-to-tables"
kind = "move"
entity = "users"

[source]
url = "sqlite:legacy.db"
table = "users"
key = "_id"

[target]
url = "sqlite:app.db"
table = "users"
key = "id"

[fields]
id = { from = "_id", type = "int" }
name = { from = "name", type = "text" }
email = { from = "email", type = "text" }
tags = { from = "tags", table = "user_tags", scalar = "tag", type = "text" }
addresses = { from = "addresses", table = "user_addresses", fields = { street = { from = "street", type = "text" }, zip = { from = "zip", type = "text" } } }

[gates]
pause_ms_max = 60000
"#;

/// A transcript with the people imported and the spec written.
pub fn imported() -> Transcript {
    let mut t = Transcript::new();
    t.write("users.jsonl", PEOPLE);
    t.write("users.toml", SPEC);
    t.ok("import users.jsonl --into sqlite:legacy.db --table users --key _id");
    t
}

fn started() -> Transcript {
    let mut t = imported();
    t.ok("start users.toml");
    t
}

fn records(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_migration_from_import_to_export() {
    let mut t = imported();
    for left in ["legacy.db-wal", "legacy.db-shm"] {
        assert!(!t.path(left).exists(), "{left}: a finished import leaves one file");
    }
    t.ok("plan users.toml");
    t.ok("start users.toml");
    t.ok("status");
    t.fails("advance", 1);
    t.ok("verify");
    t.ok("advance");
    t.ok("advance");
    t.ok("ramp 25%");
    t.fails("advance", 1);
    t.ok("ramp 100%");
    t.ok("status");
    t.ok("advance");
    t.ok("status");
    t.ok("rollback");
    t.ok("verify");
    t.ok("advance");
    t.ok("advance");
    t.ok("ramp 100%");
    t.ok("advance");
    t.ok("verify");
    t.ok("complete");
    t.ok("status");
    t.fails("rollback", 1);
    t.ok("history");
    t.ok_into("export users-to-tables --shape v1", "after.jsonl");
    t.ok_into("export users-to-tables", "v2.jsonl");
    assert_eq!(records(&t.read("after.jsonl")), records(PEOPLE), "the records came through as they were");
    t.say(&format!("v2 of the first: {}", t.read("v2.jsonl").lines().next().unwrap()));
    t.check("walk");
}

#[test]
fn a_spec_that_init_wrote_carries_everything() {
    let mut t = imported();
    t.ok("init sqlite:legacy.db sqlite:app.db --target-table people --output new.toml");
    t.say(&format!("new.toml\n{}", t.read("new.toml")));
    // However slow this machine is: the pause is not what is looked at here.
    t.write("new.toml", &(t.read("new.toml") + "\n[gates]\npause_ms_max = 60000\n"));
    t.fails("init sqlite:legacy.db sqlite:app.db --output new.toml", 3);
    t.fails("init sqlite:legacy.db sqlite:app.db --table user", 3);
    t.fails("init sqlite:legacy.db sqlite:app.db --document body", 3);
    t.fails("init sqlite:nothing.db sqlite:app.db", 4);
    t.ok("plan new.toml");
    t.ok("start new.toml");
    t.ok("verify");
    for line in ["advance", "advance", "ramp 100%", "advance", "complete"] {
        t.json(&format!("{line} --json"));
    }
    t.ok_into("export users-move --shape v1", "after.jsonl");
    assert_eq!(records(&t.read("after.jsonl")), records(PEOPLE));
    t.check("init");
}

#[test]
fn import_says_what_it_did_and_goes_on_when_run_again() {
    let mut t = imported();
    t.say("again: nothing to do");
    t.ok("import users.jsonl --into sqlite:legacy.db --table users --key _id");
    t.write("more.jsonl", "{\"_id\":4,\"name\":\"\",\"email\":\"dee@example.org\",\"tags\":[\"x\"]}\n{\"_id\":5}\n");
    t.ok("import more.jsonl --into sqlite:legacy.db --table users --key _id");
    t.write("other.jsonl", "{\"_id\":6}\n{\"_id\":5,\"name\":\"other\"}\n");
    t.fails("import other.jsonl --into sqlite:legacy.db --table users --key _id", 3);
    t.write("bad.jsonl", "{\"_id\":7}\n{\"_id\":\nnonsense\n{\"_id\":7}\n{\"name\":\"no key\"}\n{\"_id\":8}\n");
    t.fails("import bad.jsonl --into sqlite:legacy.db --table users --key _id", 3);
    t.say("nothing of the refused files was written");
    t.ok_into("export sqlite:legacy.db --table users --key _id", "five.jsonl");
    assert_eq!(records(&t.read("five.jsonl")).len(), 5);
    t.ok("import bad.jsonl --into sqlite:legacy.db --table users --key _id --skip-bad aside.jsonl");
    assert_eq!(t.read("aside.jsonl").lines().count(), 4);
    assert!(t.read("aside.jsonl").contains("nonsense"));
    t.write("nokey.json", "[{}, {\"a\": 1}, {}]");
    t.ok("import nokey.json --into sqlite:legacy.db --table nokey --synthesize-key n");
    t.ok("import nokey.json --into sqlite:legacy.db --table nokey --synthesize-key n");
    t.write("deep.json", "{\"type\": \"collection\", \"features\": [{\"id\": \"a\"}, {\"id\": \"b\"}]}");
    t.ok("import deep.json --into sqlite:legacy.db --table deep --key id --root features");
    t.write("mongo.jsonl", "{\"_id\": {\"$oid\": \"573a1390f29313caabcd42e8\"}, \"n\": {\"$numberLong\": \"7\"}}\n");
    t.ok("import mongo.jsonl --into sqlite:legacy.db --table mongo --key _id");
    t.ok_into("export sqlite:legacy.db --table mongo --key _id", "mongo.out");
    t.say(t.read("mongo.out").trim_end().to_owned().as_str());
    t.check("import");
}

#[test]
fn import_reads_standard_input() {
    let t = Transcript::new();
    let mut child = t
        .command("import - --into sqlite:x.db --table t --key id --json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"{\"id\":1}\n{\"id\":2}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["imported"], 2);
}

#[test]
fn start_run_again_changes_nothing() {
    let mut t = started();
    t.ok("start users.toml");
    let history = t.json("history --json");
    let events: Vec<&str> =
        history["entries"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| **event == "backfill-started").count(), 1, "{events:?}");
    t.write("users.toml", &SPEC.replace("user_tags", "tags_of_users"));
    t.fails("start users.toml", 1);
    t.check("start_again");
}

#[test]
fn a_start_that_was_killed_goes_on() {
    let t = imported();
    for failpoint in ["enter-acknowledged", "backfill-chunk-applied"] {
        let status = t.command("start users.toml").env("SHEARWATER_FAILPOINT", failpoint).status().unwrap();
        assert!(!status.success(), "{failpoint} was not met");
    }
    let answer = t.json("start users.toml --json");
    assert_eq!((answer["phase"].as_str(), answer["read"].as_u64()), (Some("dual-write"), Some(4)));
    assert_eq!(t.json("verify --json")["mismatches"], 0);
}

#[test]
fn rollback_before_the_cutover_and_withdraw_leave_nothing_behind() {
    let mut t = started();
    t.ok("rollback");
    t.ok("status");
    t.ok("withdraw");
    let status = t.json("status --json");
    assert_eq!(status["phase"], "withdrawn");
    assert_eq!(status["source"]["sidecars"], serde_json::json!([]));
    assert_eq!(status["target"]["sidecars"], serde_json::json!([]));
    t.ok_into("export sqlite:legacy.db --table users --key _id", "left.jsonl");
    assert_eq!(records(&t.read("left.jsonl")), records(PEOPLE));
    t.check("withdraw");
}

#[test]
fn verify_finds_repair_mends() {
    let mut t = started();
    t.say("somebody writes into the target behind our back");
    let target = rusqlite::Connection::open(t.path("app.db")).unwrap();
    target.execute("UPDATE users SET name = 'Eve' WHERE id = 1", []).unwrap();
    target.execute("DELETE FROM user_tags WHERE record_id = 4", []).unwrap();
    drop(target);
    t.fails("verify", 5);
    t.fails("advance", 1);
    t.ok("repair");
    t.fails("verify", 5);
    t.ok("repair --apply");
    t.ok("verify");
    t.ok("advance");
    t.check("repair");
}

#[test]
fn what_the_target_refuses_becomes_a_dead_letter() {
    let mut t = Transcript::new();
    t.write("users.jsonl", &PEOPLE.replace("\"name\":\"Cy\"", "\"name\":{\"first\":\"Cy\"}"));
    t.write("users.toml", SPEC);
    t.ok("import users.jsonl --into sqlite:legacy.db --table users --key _id");
    t.ok("start users.toml");
    t.ok("dead-letters");
    t.fails("advance", 1);
    t.say("the record is mended in the source");
    let source = rusqlite::Connection::open(t.path("legacy.db")).unwrap();
    source.execute("UPDATE users SET doc = '{\"_id\":3,\"name\":\"Cy\"}' WHERE _id = 3", []).unwrap();
    drop(source);
    t.ok("dead-letters retry");
    t.ok("dead-letters");
    t.ok("verify");
    t.check("dead_letters");
}

#[test]
fn pause_and_resume() {
    let mut t = started();
    t.ok("pause");
    assert_eq!(t.json("status --json")["status"], "paused");
    t.ok("resume");
    assert_eq!(t.json("status --json")["status"], "running");
    t.check("pause");
}

#[test]
fn copy_is_idempotent_and_leaves_no_sidecar() {
    let mut t = imported();
    t.ok("copy users.toml");
    t.ok("copy users.toml");
    let source = rusqlite::Connection::open(t.path("legacy.db")).unwrap();
    source.execute("DELETE FROM users WHERE _id = 2", []).unwrap();
    drop(source);
    t.ok("copy users.toml");
    let status = t.json("status --json");
    assert_eq!(status["phase"], "planned");
    assert_eq!(status["source"]["sidecars"], serde_json::json!([]));
    assert_eq!(status["target"]["sidecars"], serde_json::json!([]));
    t.check("copy");
}

#[test]
fn serve_answers_while_the_command_line_moves_the_migration() {
    use std::io::{BufRead, Read, Write};
    let t = imported();
    let mut server = t
        .command("serve users.toml --gateway 127.0.0.1:0 --control 127.0.0.1:0 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
        let mut told = String::new();
        server.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        panic!("no address: {line} {told}")
    });
    let address = at["gateway"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/v1/users/1").contains("Ann Lee"));
    t.json("start users.toml --json");
    assert_eq!(t.json("verify --json")["mismatches"], 0);
    for line in ["advance --json", "advance --json", "ramp 100% --json", "advance --json"] {
        t.json(line);
    }
    assert!(get("/v2/users/1").contains("Elm St 1"));
    assert_eq!(t.json("status --json")["members"].as_array().unwrap().len(), 1);
    t.json("complete --json");
    assert!(get("/v2/users/1").contains("Ann Lee"));
    assert!(get("/v1/users/3").contains("Ash Ln 3"));
    // A polite end: exit code 0, and the lease is given back.
    let stopped = std::process::Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
    assert_eq!(t.json("status --json")["members"], serde_json::json!([]));
}
