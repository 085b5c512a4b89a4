//! The document sets out of a DynamoDB: into PostgreSQL and SQLite. Four of them
//! are DynamoDB's own, with several entities in each table.

use shearwater_core::Document;
use shearwater_core::import::Form;
use shearwater_core::value::{Decimal, Value};
use shearwater_testbed::dynamodb;

use crate::databases::Database;
use crate::given::{Key, Set, bytes};
use crate::servers::{chat, earthquakes, students};
use crate::walk::{Place, Walk, walk_at, walk_from};

const KEY: Key = Key::Fields(&["PK", "SK"]);

/// A model of a table, as DynamoDB's own tools write it.
fn model(name: &'static str, file: &str, count: usize) -> Set {
    let content = bytes(&format!("documents/dynamodb-models-a/{file}.json"));
    Set::of(name, content, Form::DynamoDb, KEY, count)
}

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
