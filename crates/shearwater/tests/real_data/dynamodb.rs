//! The document sets out of a DynamoDB: into PostgreSQL and SQLite. Four of them
//! are DynamoDB's own, with several entities in each table. And a table into it.

use shearwater_core::Document;
use shearwater_core::value::{Decimal, Value};
use shearwater_testbed::dynamodb;

use crate::databases::Database;
use crate::given::Set;
use crate::servers::{chat, earthquakes, students};
use crate::sets::{chosen, model};
use crate::walk::{GATES, Place, Walk, walk_at, walk_from, walk_into};

/// What DynamoDB makes of a record: fields by name behind the key, and one kind of number.
pub fn natural(key: &[&str], record: Document) -> Document {
    let place = |name: &str| key.iter().position(|field| *field == name).unwrap_or(key.len());
    let mut fields: Vec<(String, Value)> = record.into_iter().collect();
    fields.sort_by(|(a, _), (b, _)| (place(a), a).cmp(&(place(b), b)));
    fields.into_iter().map(|(name, value)| (name, natural_value(value))).collect()
}

fn natural_value(value: Value) -> Value {
    match value {
        Value::Float(x) if x.fract() == 0.0 => Value::Int(x as i64),
        Value::Float(x) => Value::Decimal(x.to_string().parse::<Decimal>().unwrap()),
        Value::Instant(at) => Value::text(at.to_string()),
        Value::Array(items) => Value::Array(items.into_iter().map(natural_value).collect()),
        Value::Document(document) => Value::Document(natural(&[], document)),
        other => other,
    }
}

fn walk(set: Set, keys: &str, target: Database) -> Walk {
    let (name, count) = (set.name, set.count);
    let walk = walk_from(format!("{}{keys}", dynamodb().database("documents")), set, target);
    assert_eq!(walk.target.count(name), count, "{name}");
    walk
}

#[test]
fn documents_out_of_dynamodb_into_postgres() {
    let into = || Database::postgres("documents");
    let students = walk(students(), "&key_types=N", into());
    assert_eq!(students.count("SELECT count(*) FROM students_scores"), 600);
    assert_eq!(students.count("SELECT count(*) FROM students WHERE name = ''"), 1, "neither null nor missing");
    walk(chat(), "", into());
    walk(model("sns", "SocialNetworkSchema", 17), "", into());
}

#[test]
fn documents_out_of_dynamodb_into_sqlite() {
    for (set, keys) in [
        (model("payments", "RecurringPaymentsSchema", 2), "&rcu=1000&wcu=1000"),
        (model("serverless", "global-serverless-sample-data", 13), ""),
        (earthquakes(), ""),
    ] {
        let place = Place::new();
        let target = Database::sqlite(place.directory(), "target.db");
        let walk = walk_at(place, format!("{}{keys}", dynamodb().database("documents")), set, target);
        assert!(walk.target.rows("SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'").is_empty());
    }
}

/// The sets that fit it: a key of two types is not for DynamoDB.
fn fitting(names: &[&str]) -> impl Iterator<Item = (Set, &'static str)> {
    let sets = chosen(names).into_iter().filter(|set| set.name != "books");
    sets.map(|set| match set.name {
        "students" | "restaurants" | "sparse" | "albums" | "images" => (set, "&key_types=N"),
        _ => (set, ""),
    })
}

#[test]
fn other_documents_out_of_dynamodb() {
    for (set, keys) in fitting(&["restaurants", "restaurant", "sparse", "images"]) {
        walk(set, keys, Database::postgres("documents"));
    }
}

/// There, back, and there again.
#[test]
fn documents_into_dynamodb() {
    for (set, keys) in fitting(&["students", "chat", "sns", "restaurants", "restaurant", "images"]) {
        walk_into(set, Database::dynamodb("documents", keys));
    }
}

const NOTES: &str = "
CREATE TABLE notes (
    id bigint PRIMARY KEY, text text NOT NULL, at timestamptz, score float8, price numeric(10,2), active boolean,
    code uuid, day date
);
INSERT INTO notes
SELECT n, 'note ' || n, timestamptz '2024-02-29T12:00:00Z' + n * interval '1 hour', n / 8.0, n * 1.10, n % 2 = 0,
       ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, date '1969-07-20' + n
FROM generate_series(1, 120) n;
INSERT INTO notes VALUES (0, '', NULL, NULL, NULL, NULL, NULL, NULL);
";

/// DynamoDB has no type for four of these; the way back is exact all the same.
const NOTES_SPEC: &str = r#"migration = "notes-move"
kind = "move"
entity = "notes"

[source]
url = "SOURCE"
table = "notes"
key = "id"

[source.columns]
id = "int"
text = "text"
at = "instant"
score = "float"
price = "decimal"
active = "bool"
code = "uuid"
day = "date"

[target]
url = "TARGET"
table = "notes"
key = "id"
layout = "document"

[fields]
id = { type = "int" }
text = { type = "text" }
at = { type = "instant" }
score = { type = "float" }
price = { type = "decimal" }
active = { type = "bool" }
code = { type = "uuid" }
day = { type = "date" }

[unmapped]
refuse = true
"#;

#[test]
fn a_table_into_dynamodb() {
    let source = Database::postgres("notes");
    source.load(NOTES);
    let target = format!("{}&key_types=N", dynamodb().database("notes"));
    let place = Place::new();
    let spec = NOTES_SPEC.replace("SOURCE", &source.url).replace("TARGET", &target) + GATES;
    place.write("notes.toml", spec.as_bytes());
    let v1 = ["notes-move", "--shape", "v1"];
    let plan = place.json(&["plan", "notes.toml"]);
    assert_eq!(plan["ready"], true, "{plan}");
    let findings = plan["findings"].as_array().unwrap();
    let told = |code: &str| findings.iter().filter(|finding| finding["code"] == code).count();
    assert_eq!(told("plan/type-lost"), 4, "{plan}");
    let started = place.json(&["start", "notes.toml"]);
    assert_eq!(started["changed"], 121, "{started}\n{}", place.json(&["dead-letters"])["dead_letters"][0]);
    let before = place.exported(&v1);
    assert_eq!(before.len(), 121);
    let there = || {
        assert_eq!(place.json(&["verify"])["mismatches"], 0);
        for step in [&["advance"][..], &["advance"], &["ramp", "100%"], &["advance"]] {
            place.json(step);
        }
        assert_eq!(place.json(&["status"])["phase"], "reverse-window");
        assert_eq!(place.exported(&v1), before, "out of DynamoDB");
    };
    there();
    assert_eq!(place.json(&["rollback"])["phase"], "dual-write");
    assert_eq!(place.exported(&v1), before, "after the rollback");
    there();
    place.json(&["complete"]);
    let items = place.exported(&[&target, "--table", "notes", "--key", "id"]);
    let one = items.iter().find(|item| item.contains("note 3\"")).unwrap();
    let expected = r#"{"id":3,"active":false,"at":"2024-02-29T15:00:00Z","code":"00000000-0000-0000-0000-000000000003","day":"1969-07-23","price":{"@decimal":"3.3"},"score":{"@decimal":"0.375"},"text":"note 3"}"#;
    assert_eq!(one, expected, "as any program finds it");
    assert_eq!(items.len(), 121);
}

/// A user and three orders of hers in one table.
const APP: &str = r#"
{"PK":"USER#1","SK":"PROFILE#","name":"Ada"}
{"PK":"USER#1","SK":"ORDER#1","placed":"2024-02-29T12:00:00Z","status":"paid","total":12.5,"lines":[{"sku":"a","count":2}]}
{"PK":"USER#1","SK":"ORDER#2","placed":"2024-03-01T12:00:00Z","status":"sent","total":7,"lines":[],"gift":true}
{"PK":"USER#2","SK":"ORDER#3","status":"new","total":0.99}
"#;

/// The example spec: one entity of a table, while the others stay as they are.
#[test]
fn orders_out_of_a_table_of_several_entities() {
    let place = Place::new();
    let url = dynamodb().database("app");
    let target = Database::postgres("orders");
    place.write("app.jsonl", APP.trim().as_bytes());
    let import = ["import", "app.jsonl", "--into", &url, "--table", "app", "--key", "PK", "--key", "SK"];
    assert_eq!(place.json(&import)["imported"], 4);
    assert_eq!(place.json(&import)["unchanged"], 4, "the same again is no conflict");
    let whole = [&url, "--table", "app", "--key", "PK", "--key", "SK"];
    let before = place.exported(&whole);
    let spec = include_str!("../../../../examples/orders-from-dynamodb.toml")
        .replace("dynamodb:?region=eu-west-1", &url)
        .replace("postgres://localhost/shop", &target.url);
    place.write("orders.toml", (spec + GATES).as_bytes());
    let plan = String::from_utf8(place.ok(&["plan", "orders.toml"])).unwrap();
    for says in ["writes past the gateway are noticed only", "not measured: the cost of capture", "whole table"] {
        assert!(plan.contains(says), "{says}: {plan}");
    }
    let started = place.json(&["start", "orders.toml"]);
    assert_eq!((&started["read"], &started["changed"], &started["dead_letters"]), (&3.into(), &3.into(), &0.into()));
    assert_eq!(place.json(&["verify"])["mismatches"], 0);
    for step in [&["advance"][..], &["advance"], &["ramp", "100%"], &["advance"]] {
        place.json(step);
    }
    let total = target.one("SELECT sum(total)::text FROM orders WHERE customer IN ('1', '2')");
    assert_eq!((target.count("orders"), total.as_str(), target.count("order_lines")), (3, "20.49", 1));
    assert_eq!(place.json(&["rollback"])["phase"], "dual-write");
    assert_eq!(place.json(&["rollback"])["phase"], "planned");
    assert_eq!(place.json(&["withdraw"])["phase"], "withdrawn");
    assert_eq!(place.exported(&whole), before, "as if nothing had been");
}
