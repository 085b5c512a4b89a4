//! Records that are the target's own under another key: one value makes them
//! one, and they part as both were. What is not surely meant is refused.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::query::Filter;
use shearwater_core::{Key, Value};
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::census::{CENSUS_NOTE, Collision};
use shearwater_engine::absorb::{Bulk, Line};
use shearwater_engine::records::{Edit, Shape};

use crate::scene::Scene;
use crate::world::{Process, World, document, rows};

/// Bob's customers and Alice's, some of whom are the same by their e-mail.
pub fn world() -> World {
    let mut world = World::new(0);
    world
        .bob()
        .execute_batch(
            "CREATE TABLE customers (code TEXT PRIMARY KEY, name TEXT, fax TEXT, email TEXT) WITHOUT ROWID; \
             INSERT INTO customers VALUES ('ALFKI', 'Alfreds', '030', 'a@x'), ('BERGS', 'Berglunds', NULL, 'b@x'), \
             ('CHOPS', 'Chop-suey', '041', NULL), ('DRACD', 'Drachenblut', NULL, 'd@x')",
        )
        .unwrap();
    world
        .alice()
        .execute_batch(
            "CREATE TABLE customer (id PRIMARY KEY NOT NULL, name TEXT, rep INTEGER NOT NULL, email TEXT UNIQUE); \
             INSERT INTO customer VALUES (7, 'Own a', 1, 'a@x'), (20, 'Own b', 2, 'b@x'), (21, 'Own', 2, NULL)",
        )
        .unwrap();
    let scene = Scene {
        migration: "bob",
        table: "customers",
        key: "code",
        columns: "code = \"text\"\nname = \"text\"\nfax = \"text\"\nemail = \"text\"",
        into: "customer",
        fields: "id = { target_only = true, type = \"int\" }\nname = { from = \"name\", type = \"text\" }\n\
                 email = { from = \"email\", type = \"text\", unique = true }",
        require: "rep = { type = \"int\" }",
        more: "[identity]\nassign = \"next\"\n[conflicts]\nemail = { merge = { name = \"source\" } }",
    };
    world.whole = Some(scene.spec(&world));
    world
}

fn bobs(world: &World) -> Vec<String> {
    rows(&world.bob(), "SELECT code, name, fax, email FROM customers ORDER BY code")
}

fn alices(world: &World) -> Vec<String> {
    rows(&world.alice(), "SELECT id, name, rep, email FROM customer ORDER BY id")
}

async fn give_rep(process: &Process, codes: &[&str]) -> Vec<String> {
    let bulk = Bulk { carrier: process.served.carrier(), mode: Mode::Apply, only: Filter::All };
    let (state, mut words) = (process.state().await, Vec::new());
    for code in codes {
        let line = Line { key: Key::single(*code), shape: Shape::V1, fields: document(&[("rep", Value::Int(3))]) };
        words.push(match bulk.line(&state, &line).await {
            Moved::Failed(error) => error.to_string(),
            moved => format!("{moved:?}"),
        });
    }
    words
}

async fn listed(process: &Process) -> Vec<String> {
    let text = process.setup.journal.note(CENSUS_NOTE).await.unwrap().unwrap();
    let listed: Vec<Collision> = serde_json::from_str(&text).unwrap();
    listed.iter().map(|one| format!("{} {} {}", one.key, one.field, one.becomes)).collect()
}

#[tokio::test]
async fn who_has_one_email_is_one_record_and_parts_as_both_were() {
    let world = world();
    let before = (bobs(&world), alices(&world));
    let process = world.in_phase(Phase::Lazy).await;
    assert_eq!(listed(&process).await, ["ALFKI email merge", "BERGS email merge"]);
    assert_eq!(process.state().await.census.unwrap().collisions, [("email".to_owned(), 2)]);
    for _ in 0..2 {
        assert_eq!(give_rep(&process, &["ALFKI", "BERGS", "CHOPS", "DRACD"]).await, ["Yes"; 4]);
        assert_eq!(
            alices(&world),
            ["7|Alfreds|1|a@x", "20|Berglunds|2|b@x", "21|Own|2|-", "22|Chop-suey|3|-", "23|Drachenblut|3|d@x"]
        );
        assert_eq!(process.field(Shape::V1, &Key::single("ALFKI"), "fax").await, "030".into());
        assert_eq!(process.field(Shape::V2, &Key::single(7), "rep").await, Value::Int(1));
        process.reconciled().await;
        assert_eq!(process.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
        process.back().await;
        assert_eq!((bobs(&world), alices(&world)), before);
        process.forward_to(Phase::Lazy).await;
    }
    // What is written since stays, in both; what is Bob's is deleted, and Alice's own stays.
    give_rep(&process, &["ALFKI", "BERGS"]).await;
    world.alice().execute("UPDATE customer SET name = 'Since' WHERE id = 7", []).unwrap();
    process.write(Shape::V1, &Key::single("BERGS"), Edit::Delete).await.unwrap();
    assert_eq!(alices(&world), ["7|Since|1|a@x", "20|Own b|2|b@x", "21|Own|2|-"]);
    process.back().await;
    assert_eq!(bobs(&world)[0], "ALFKI|Since|030|a@x");
    assert_eq!(alices(&world), ["7|Since|1|a@x", "20|Own b|2|b@x", "21|Own|2|-"]);
    process.stop().await;
}

#[tokio::test]
async fn who_is_not_surely_meant_is_refused() {
    let world = world();
    world
        .bob()
        .execute_batch("INSERT INTO customers VALUES ('ZZTOP', 'Twin', NULL, 'a@x'), ('XRAYS', 'Two', NULL, 'c@x')")
        .unwrap();
    // Alice's table does not say so, but no two e-mails should be the same.
    world
        .alice()
        .execute_batch(
            "CREATE TABLE c2 (id PRIMARY KEY NOT NULL, name TEXT, rep INTEGER NOT NULL, email TEXT); \
             INSERT INTO c2 SELECT * FROM customer; DROP TABLE customer; ALTER TABLE c2 RENAME TO customer; \
             INSERT INTO customer VALUES (30, 'Own c', 2, 'c@x'), (31, 'Own c too', 2, 'c@x')",
        )
        .unwrap();
    let process = world.in_phase(Phase::Lazy).await;
    assert_eq!(
        listed(&process).await,
        ["ALFKI email merge", "BERGS email merge", "XRAYS email refuse", "ZZTOP email refuse"]
    );
    let hers = alices(&world);
    let taken = "email: a record of the target has the same email";
    assert_eq!(give_rep(&process, &["XRAYS", "ZZTOP"]).await, [taken; 2]);
    // Bob's customer has another e-mail by now, or Alice's has: they are not the same any more.
    process.patch(Shape::V1, &Key::single("ALFKI"), &[("email", "new@x".into())]).await;
    world.alice().execute("UPDATE customer SET email = 'hers@x' WHERE id = 20", []).unwrap();
    let parted = "id: the record of the target that it was to be one with, or that has its id, has another email";
    assert_eq!(give_rep(&process, &["ALFKI", "BERGS"]).await, [parted; 2]);
    world.alice().execute("UPDATE customer SET email = 'b@x' WHERE id = 20", []).unwrap();
    assert_eq!(alices(&world), hers, "nothing of hers is touched");
    // As they were, they are the same again.
    process.patch(Shape::V1, &Key::single("ALFKI"), &[("email", "a@x".into())]).await;
    assert_eq!(give_rep(&process, &["ALFKI", "BERGS"]).await, ["Yes"; 2]);
    // A number that Alice takes meanwhile makes nobody one with whoever has it.
    world.alice().execute("INSERT INTO customer VALUES (32, 'Hers', 1, NULL)", []).unwrap();
    assert_eq!(give_rep(&process, &["CHOPS"]).await, [parted]);
    process.stop().await;
}
