//! The command line of an absorb: from the plan to the last exit, with the
//! example that is shipped.

use crate::transcript::Transcript;

const EXAMPLE: &str = include_str!("../../../../examples/users-absorb.toml");

/// Nobody listens there: it is refused before anybody is asked.
const ASSIGNED: &str = r#"migration = "assigned"
kind = "absorb"
entity = "users"
[source]
url = "sqlite:bob.db"
table = "users"
key = "id"
[source.columns]
id = "int"
[target]
url = "mongodb://127.0.0.1:1/alice"
table = "people"
key = "id"
[fields]
id = { target_only = true, type = "int" }
[require]
manager = { type = "text" }
[identity]
assign = "next"
"#;

fn bob_and_alice() -> Transcript {
    let t = Transcript::new();
    let sqlite = |file: &str, sql: &str| rusqlite::Connection::open(t.path(file)).unwrap().execute_batch(sql).unwrap();
    sqlite(
        "bob.db",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, first_name TEXT, last_name TEXT, vip INT, last_login TEXT);
         INSERT INTO users VALUES (1, 'ann@x', 'Ann', 'Lee', 1, '2999-01-01T00:00:00Z'), (2, 'ben@x', 'Ben', 'Roe', 0, NULL),
         (3, 'cid@x', 'Cid', 'Poe', 0, '2999-02-02T00:00:00Z'), (4, 'dan@x', 'Dan', 'Fox', 0, '2020-05-05T00:00:00Z');",
    );
    sqlite(
        "alice.db",
        "CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT NOT NULL, manager TEXT NOT NULL, status TEXT);
         INSERT INTO people VALUES ('a1', 'cid@x', 'Own Cid', 'boss', NULL);",
    );
    t.write("absorb.toml", EXAMPLE);
    t
}

#[test]
fn from_the_plan_to_the_last_exit() {
    let mut t = bob_and_alice();
    t.ok("plan absorb.toml");
    t.ok("start absorb.toml");
    t.ok("status");
    t.say("records do not move yet");
    t.fails("bulk bob-into-alice --set manager=m", 1);
    t.ok("advance");
    t.fails("complete", 1);
    t.write("managers.csv", "id,manager\nbob-1,Mary\nbob-9,Mary\nbob-2,\n");
    t.fails("bulk bob-into-alice --from managers.csv --dry-run", 1);
    t.fails("bulk bob-into-alice --from managers.csv", 1);
    let errors = t.read("managers.csv.errors.jsonl");
    t.say(&errors);
    t.say("again: what has moved is skipped");
    t.fails("bulk bob-into-alice --from managers.csv", 1);
    t.write("more.jsonl", "{\"id\": 3, \"manager\": \"Max\", \"name\": \"Cid Pole\"}\n");
    t.ok("bulk bob-into-alice --from more.jsonl --by v1");
    t.ok("status");
    t.say("everybody goes back, and forward again");
    t.ok("rollback");
    t.ok("advance");
    t.ok("bulk bob-into-alice --set manager=Moe --where name=like.A*");
    t.ok("bulk bob-into-alice --set manager=Moe");
    t.ok("advance");
    t.ok("verify");
    t.ok("complete");
    t.ok("status");
    t.ok("history");
    t.check("absorb");
}

#[test]
fn a_spec_of_an_absorb_with_every_problem_at_once() {
    let mut t = Transcript::new();
    let text = EXAMPLE
        .replace("scope = \"origin\"", "scope = \"everything\"")
        .replace("collation = \"binary\"", "collation = \"german\"")
        .replace("\"email.desc.nullslast\"", "\"age\", \"a[\"")
        .replace("flag  = \"migrated\"", "flag  = \"vip\"")
        .replace("deactivate_after_days = 180", "deactivate_after_days = 0\nwithout_activity = \"maybe\"")
        .replace("manager = \"nobody\" }", "manger = \"nobody\" }")
        .replace("[conflicts]\nemail", "[conflicts]\nmail")
        .replace(
            "manager = { type = \"text\" }",
            "manager = { type = \"text\", default = \"x\" }\nname = { type = \"text\" }",
        );
    t.write("absorb.toml", &text);
    t.fails("plan absorb.toml", 3);
    t.check("absorb_spec");
}

#[test]
fn what_keeps_an_absorb_from_starting() {
    let mut t = bob_and_alice();
    rusqlite::Connection::open(t.path("alice.db"))
        .unwrap()
        .execute_batch("DROP TABLE people; CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT, name TEXT, manager TEXT, status TEXT, country TEXT NOT NULL)")
        .unwrap();
    rusqlite::Connection::open(t.path("bob.db"))
        .unwrap()
        .execute_batch("ALTER TABLE users ADD COLUMN migrated INT")
        .unwrap();
    t.fails("plan absorb.toml", 3);
    t.fails("start absorb.toml", 3);
    t.check("absorb_problems");
}

#[test]
fn deactivations_are_listed_and_undone() {
    let mut t = bob_and_alice();
    t.ok("start absorb.toml");
    t.ok("deactivations bob-into-alice");
    t.ok("advance");
    t.ok("advance");
    t.ok("verify");
    t.say("dan@x has not logged in for years");
    t.ok("deactivations bob-into-alice");
    t.ok("deactivations bob-into-alice --json");
    t.fails("deactivations bob-into-alice --undo 4 1 --json", 1);
    t.ok("deactivations bob-into-alice --undo 4");
    t.ok("deactivations bob-into-alice");
    t.say("spared: nobody deactivates it again, until it moves otherwise");
    t.ok("verify");
    t.ok("bulk bob-into-alice --set manager=Moe --where name=like.Dan*");
    t.fails("deactivations bob-into-alice --undo-all", 1);
    t.ok("history");
    t.ok("deactivations --help");
    t.check("absorb_deactivations");
}

#[test]
fn keys_are_not_assigned_where_there_are_no_tables() {
    let mut t = Transcript::new();
    t.write("assigned.toml", ASSIGNED);
    t.fails("plan assigned.toml", 3);
    t.fails("start assigned.toml", 3);
    t.write("assigned.toml", &ASSIGNED.replace("mongodb://127.0.0.1:1/alice", "dynamodb://127.0.0.1:1"));
    t.fails("plan assigned.toml --json", 3);
    t.check("absorb_assigned");
}

#[test]
fn giving_up_warns_of_what_only_v2_has() {
    let mut t = bob_and_alice();
    t.ok("start absorb.toml");
    t.ok("advance");
    t.ok("bulk bob-into-alice --set manager=Moe --where name=gte.C");
    t.ok("rollback");
    t.say("their managers are kept beside them");
    t.ok("rollback");
    t.ok("start absorb.toml");
    t.ok("rollback --json");
    t.say("and again, for good");
    t.ok("start absorb.toml");
    t.ok("advance");
    t.ok("bulk bob-into-alice --set manager=Moe --where name=gte.C");
    t.ok("rollback");
    t.ok("status");
    t.ok("withdraw");
    t.check("absorb_beside");
}
