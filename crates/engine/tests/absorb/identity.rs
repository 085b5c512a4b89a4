//! Keys that no rule computes: assigned once, the same after every retry, way
//! back and next move, and found from both sides.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::query::Filter;
use shearwater_core::{Key, Value};
use shearwater_engine::Serve;
use shearwater_engine::records::{Edit, ListAsk, ServeError, Shape};

use crate::scene::{Scene, code};
use crate::world::{Process, World, document, rows};

const NAMESPACE: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

/// Bob's customers with keys of five letters, and Alice's with numbers.
fn world(id: &str, identity: &str, more: &str) -> World {
    let mut world = World::new(0);
    world
        .bob()
        .execute_batch(
            "CREATE TABLE customers (code TEXT PRIMARY KEY, name TEXT, fax TEXT) WITHOUT ROWID; \
             INSERT INTO customers VALUES ('ALFKI', 'Alfreds', '030'), ('BERGS', 'Berglunds', NULL), \
             ('CHOPS', 'Chop-suey', '041'), ('12', 'Number', NULL)",
        )
        .unwrap();
    world
        .alice()
        .execute_batch(
            "CREATE TABLE customer (id PRIMARY KEY NOT NULL, name TEXT, rep INTEGER NOT NULL, bob TEXT); \
             INSERT INTO customer VALUES (7, 'Own', 1, NULL)",
        )
        .unwrap();
    let scene = Scene {
        migration: "bob",
        table: "customers",
        key: "code",
        columns: "code = \"text\"\nname = \"text\"\nfax = \"text\"",
        into: "customer",
        fields: &format!(
            "id = {{ target_only = true, type = \"{id}\" }}\nname = {{ from = \"name\", type = \"text\" }}\n{more}"
        ),
        require: "rep = { type = \"int\" }",
        more: &format!("[identity]\n{identity}"),
    };
    world.whole = Some(scene.spec(&world));
    world
}

pub fn numbered() -> World {
    world("int", "assign = \"next\"", "")
}

async fn numbers(process: &Process) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (key, record) in process.all(Shape::V2).await {
        let name = match record.get("name") {
            Some(Value::Text(name)) => name.clone(),
            other => panic!("{other:?}"),
        };
        pairs.push((name, key));
    }
    pairs.sort();
    pairs
}

fn bobs(world: &World) -> Vec<String> {
    rows(&world.bob(), "SELECT code, name, fax FROM customers ORDER BY code")
}

fn alices(world: &World) -> Vec<String> {
    rows(&world.alice(), "SELECT id, name, rep FROM customer ORDER BY id")
}

async fn give_rep(process: &Process, key: &Key) {
    process.patch(Shape::V2, key, &[("rep", Value::Int(3))]).await;
}

#[tokio::test]
async fn a_number_is_assigned_once_and_stays() {
    let world = numbered();
    let before = (bobs(&world), alices(&world));
    let process = world.in_phase(Phase::Lazy).await;
    let assigned = numbers(&process).await;
    let keys: Vec<&str> = assigned.iter().map(|(_, key)| key.as_str()).collect();
    assert_eq!(keys, ["9", "10", "11", "8"], "above Alice's 7, in the order of Bob's keys");
    // Both shapes name it, wherever it lives.
    let (alfki, number) = (code("ALFKI"), Key::single(9));
    assert_eq!(process.field(Shape::V2, &number, "name").await, "Alfreds".into());
    give_rep(&process, &number).await;
    assert_eq!(alices(&world), ["7|Own|1", "9|Alfreds|3"]);
    assert_eq!(process.field(Shape::V1, &alfki, "fax").await, "030".into());
    process.patch(Shape::V1, &alfki, &[("name", "Renamed".into()), ("fax", "031".into())]).await;
    assert_eq!(alices(&world)[1], "9|Renamed|3");
    assert_eq!(process.field(Shape::V2, &number, "name").await, "Renamed".into());
    assert_eq!(process.all(Shape::V1).await.len(), 4);
    // A program of Bob's goes on; what it adds gets the next number when it is met.
    world.bob().execute("INSERT INTO customers (code, name) VALUES ('DRACD', 'Drachenblut')", []).unwrap();
    assert_eq!(numbers(&process).await[4], ("Renamed".to_owned(), "9".to_owned()));
    assert_eq!(process.field(Shape::V2, &Key::single(12), "name").await, "Drachenblut".into());
    // Back, and again: the same numbers.
    let there = numbers(&process).await;
    process.back().await;
    assert_eq!(alices(&world), before.1);
    let mut expect = before.0.clone();
    expect[1] = "ALFKI|Renamed|031".to_owned();
    expect.push("DRACD|Drachenblut|-".to_owned());
    assert_eq!(bobs(&world), expect);
    assert_eq!(numbers(&process).await, there);
    process.done(Command::Rollback).await;
    process.until("planned", |state| state.phase == Phase::Planned && !state.prepared).await;
    world.alice().execute("INSERT INTO customer VALUES (100, 'Own too', 1, NULL)", []).unwrap();
    process.forward_to(Phase::Lazy).await;
    assert_eq!(numbers(&process).await, there, "also after everything else was taken away");
    process.stop().await;
}

#[tokio::test]
async fn a_record_is_deleted_and_begins_again_under_its_number() {
    let world = numbered();
    let process = world.in_phase(Phase::Lazy).await;
    let number = Key::single(9);
    process.write(Shape::V2, &number, Edit::Delete).await.unwrap();
    assert!(process.get(Shape::V1, &code("ALFKI")).await.is_none());
    let again = Edit::Insert(document(&[("name", "Again".into()), ("rep", Value::Int(4))]));
    process.write(Shape::V2, &number, again).await.unwrap();
    assert_eq!(alices(&world)[1], "9|Again|4");
    assert_eq!(process.field(Shape::V1, &code("ALFKI"), "name").await, "Again".into());
    // v1 chooses keys, v2 cannot: no record of the source would have it.
    let new = document(&[("name", "New".into()), ("rep", Value::Int(4))]);
    let refused = process.write(Shape::V2, &Key::single(77), Edit::Insert(new)).await;
    assert!(matches!(refused, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/key"));
    process.write(Shape::V1, &code("NEWBY"), Edit::Insert(document(&[("name", "New".into())]))).await.unwrap();
    assert!(numbers(&process).await.contains(&("New".to_owned(), "12".to_owned())));
    process.stop().await;
}

#[tokio::test]
async fn who_assigns_at_the_same_time_assigns_the_same() {
    let world = numbered();
    let process = world.in_phase(Phase::Prepare).await;
    let (one, two) = (world.setup().await, world.setup().await);
    let (one, two) = (one.crosswalk.unwrap(), two.crosswalk.unwrap());
    let codes = |names: &[&str]| -> Vec<Key> { names.iter().map(|name| code(name)).collect() };
    let (mine, theirs) = (codes(&["A", "B", "C", "D", "E"]), codes(&["E", "D", "X", "B", "Y"]));
    let (first, second) = tokio::join!(one.assign(&mine), two.assign(&theirs));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!([&first[4], &first[3], &first[1]], [&second[0], &second[1], &second[3]]);
    let mut all: Vec<Key> = first.into_iter().chain(second).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 7, "seven records have seven numbers");
    assert_eq!(one.source_of(&all[0]).await.unwrap().map(|key| two_letters(&key)), Some(true));
    process.stop().await;
}

fn two_letters(key: &Key) -> bool {
    key.to_text().len() == 1
}

#[tokio::test]
async fn before_the_preparation_v2_has_no_keys() {
    let world = numbered();
    let process = world.process("p").await;
    assert!(process.get(Shape::V2, &Key::single(8)).await.is_none());
    let ask = ListAsk { shape: Shape::V2, filter: Filter::All, order: vec![], after: None, limit: 10 };
    let refused = process.served.list(ask).await;
    assert!(matches!(refused, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/unassigned"));
    assert_eq!(process.all(Shape::V1).await.len(), 4);
    process.stop().await;
}

#[tokio::test]
async fn a_number_that_alice_took_meanwhile_is_refused_and_first_keeps_clear_of_hers() {
    let world = numbered();
    let process = world.in_phase(Phase::Lazy).await;
    world.alice().execute("INSERT INTO customer VALUES (9, 'Hers', 1, NULL)", []).unwrap();
    let refused =
        process.write(Shape::V2, &Key::single(9), Edit::MergePatch(document(&[("rep", Value::Int(3))]))).await;
    assert!(
        matches!(refused, Err(ServeError::Unprocessable { code, field, .. }) if code == "absorb/taken" && field == "id")
    );
    assert_eq!(process.field(Shape::V1, &code("ALFKI"), "name").await, "Alfreds".into());
    process.stop().await;
    let world = self::world("int", "assign = \"next\"\nfirst = 5000", "");
    let process = world.in_phase(Phase::Lazy).await;
    assert_eq!(numbers(&process).await[0], ("Alfreds".to_owned(), "5001".to_owned()));
    process.stop().await;
}

#[tokio::test]
async fn uuids_come_out_of_the_key_and_the_origin_stays_in_a_column() {
    for ty in ["text", "uuid"] {
        let identity = format!("assign = \"uuid5\"\nnamespace = \"{NAMESPACE}\"");
        let world = world(ty, &identity, "bob = { from = \"code\", type = \"text\" }");
        let hers = "UPDATE customer SET id = '00000000-0000-4000-8000-000000000007'";
        world.alice().execute(hers, []).unwrap();
        let process = world.in_phase(Phase::Lazy).await;
        // Known from outside: uuid5(NAMESPACE, "ALFKI").
        let uuid = uuid::Uuid::new_v5(&uuid::Uuid::parse_str(NAMESPACE).unwrap(), b"ALFKI");
        let key = Key::single(if ty == "text" { Value::text(uuid.to_string()) } else { Value::Uuid(uuid) });
        assert_eq!(process.field(Shape::V2, &key, "bob").await, "ALFKI".into());
        give_rep(&process, &key).await;
        assert_eq!(process.field(Shape::V1, &code("ALFKI"), "name").await, "Alfreds".into());
        // A text that reads as a number is another key than the number.
        let twelve = Key::single(Value::text("12"));
        assert_eq!(process.field(Shape::V1, &twelve, "name").await, "Number".into());
        for (_, record) in process.all(Shape::V2).await {
            give_rep(&process, &Key::single(record.get("id").cloned().unwrap())).await;
        }
        process.forward_to(Phase::Drain).await;
        process.done(Command::Complete).await;
        process.until("complete", |state| state.phase == Phase::Complete).await;
        assert_eq!(
            rows(&world.alice(), "SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'"),
            Vec::<String>::new()
        );
        // By the column that keeps it, v1 goes on; Alice's own record has none.
        assert_eq!(process.field(Shape::V1, &code("BERGS"), "name").await, "Berglunds".into());
        process.patch(Shape::V1, &code("BERGS"), &[("name", "Late".into())]).await;
        assert_eq!(process.field(Shape::V1, &code("BERGS"), "name").await, "Late".into());
        assert_eq!(process.all(Shape::V1).await.len(), 4, "{ty}");
        process.stop().await;
    }
}

#[tokio::test]
async fn without_such_a_column_v1_ends_with_the_migration() {
    let world = numbered();
    let process = world.in_phase(Phase::Drain).await;
    for n in 8..=11 {
        give_rep(&process, &Key::single(n)).await;
    }
    process.done(Command::Complete).await;
    process.until("complete", |state| state.phase == Phase::Complete).await;
    assert!(process.get(Shape::V1, &code("ALFKI")).await.is_none());
    assert!(process.all(Shape::V1).await.is_empty());
    assert_eq!(process.field(Shape::V2, &Key::single(9), "name").await, "Alfreds".into());
    process.stop().await;
}

#[tokio::test]
async fn given_up_the_table_is_gone() {
    let world = numbered();
    let process = world.in_phase(Phase::Prepare).await;
    process.done(Command::Withdraw).await;
    process.until("over", |state| state.phase == Phase::Withdrawn).await;
    let ours = "SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'";
    assert_eq!(rows(&world.alice(), ours), Vec::<String>::new());
    process.stop().await;
}
