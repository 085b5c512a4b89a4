//! Fields out of other tables of the source, and records that stand in several
//! tables there.

use shearwater_core::Value;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_engine::Serve;
use shearwater_engine::absorb::Fault;
use shearwater_engine::absorb::carry::unchanged;
use shearwater_engine::records::{Edit, ListAsk, ServeError, Shape};

use crate::scene::{Scene, n};
use crate::world::{Process, World, document, rows};

fn spec(world: &World, columns: &str, fields: &str, more: &str) -> String {
    let scene = Scene {
        migration: "guests",
        table: "guests",
        key: "id",
        columns: &format!("id = \"int\"\nname = \"text\"\n{columns}"),
        into: "visitors",
        fields: &format!(
            "id = {{ from = \"id\", type = \"int\" }}\nname = {{ from = \"name\", type = \"text\" }}\n{fields}"
        ),
        require: "host = { type = \"text\" }",
        more,
    };
    scene.spec(world)
}

/// Bob's guests, who live at addresses in cities; the last one's is not there.
pub fn normalised() -> World {
    let mut world = World::new(0);
    world
        .bob()
        .execute_batch(
            "CREATE TABLE city (id INTEGER PRIMARY KEY, city TEXT); \
             INSERT INTO city VALUES (1, 'Rome'), (2, 'Oslo'); \
             CREATE TABLE address (id INTEGER PRIMARY KEY, street TEXT, city_id INTEGER); \
             INSERT INTO address VALUES (10, 'Via 1', 1), (20, 'Gata 2', 2), (30, 'Nowhere 3', NULL); \
             CREATE TABLE guests (id INTEGER PRIMARY KEY, name TEXT, address_id INTEGER); \
             INSERT INTO guests VALUES (1, 'Ann', 10), (2, 'Ben', 20), (3, 'Cem', 30), (4, 'Dot', NULL), (5, 'Eva', 10)",
        )
        .unwrap();
    world
        .alice()
        .execute_batch("CREATE TABLE visitors (id INTEGER PRIMARY KEY NOT NULL, name TEXT, street TEXT, town TEXT, host TEXT NOT NULL)")
        .unwrap();
    world.whole = Some(spec(
        &world,
        "address_id = \"int\"",
        "street = { from = \"address.street\", type = \"text\", required = true }\n\
         town = { from = \"city.city\", type = \"text\" }",
        "[joins]\naddress = { key = \"id\", by = \"address_id\" }\ncity = { key = \"id\", by = \"address.city_id\" }\n",
    ));
    world
}

fn visitors(world: &World) -> Vec<String> {
    rows(&world.alice(), "SELECT * FROM visitors ORDER BY id")
}

async fn bring(process: &Process, id: i64) {
    process.patch(Shape::V2, &n(id), &[("host", "h".into())]).await;
}

#[tokio::test]
async fn a_record_comes_with_what_other_tables_say_of_it() {
    let world = normalised();
    let guests = || rows(&world.bob(), "SELECT id, name, address_id FROM guests ORDER BY id");
    let before = guests();
    let process = world.in_phase(Phase::Lazy).await;
    let census = process.state().await.census.unwrap();
    assert_eq!((census.records, census.refused), (5, 1), "Dot has no address");
    assert_eq!(process.field(Shape::V2, &n(2), "town").await, "Oslo".into());
    let host = Edit::MergePatch(document(&[("host", "h".into())]));
    let refused = process.write(Shape::V2, &n(4), host).await;
    assert!(
        matches!(refused, Err(ServeError::Unprocessable { code, field, .. }) if code == "mapping/required" && field == "street")
    );
    for id in [1, 3, 5] {
        bring(&process, id).await;
    }
    assert_eq!(visitors(&world), ["1|Ann|Via 1|Rome|h", "3|Cem|Nowhere 3|-|h", "5|Eva|Via 1|Rome|h"]);
    // Found by it, wherever they live.
    let rome = Filter::Compare { path: Path::field("town"), op: CompareOp::Eq, literal: Literal::Typed("Rome".into()) };
    let ask = ListAsk { shape: Shape::V2, filter: rome, order: vec![], after: None, limit: 9 };
    let (page, left_out) = process.served.list_shown(ask).await.unwrap();
    let found: Vec<String> = page.records.iter().map(|got| got.key.to_text()).collect();
    assert_eq!((found, left_out.len()), (vec!["1".to_owned(), "5".to_owned()], 1));
    // A moved record keeps what it came with, whatever that table says since.
    world.bob().execute_batch("UPDATE address SET street = 'Via 9' WHERE id = 10").unwrap();
    // Alice writes the one; Bob's client renames it, and moves the other house.
    world.alice().execute_batch("UPDATE visitors SET town = 'Bonn' WHERE id = 1").unwrap();
    process.patch(Shape::V1, &n(1), &[("name", "Anna".into())]).await;
    process.patch(Shape::V1, &n(5), &[("address_id", Value::Int(20))]).await;
    assert_eq!(visitors(&world), ["1|Anna|Via 1|Bonn|h", "3|Cem|Nowhere 3|-|h", "5|Eva|Gata 2|Oslo|h"]);
    // A v2 client changes one that has not moved: what Bob's table cannot say stays beside its row.
    process.patch(Shape::V2, &n(2), &[("town", "Kiel".into())]).await;
    assert_eq!(process.field(Shape::V2, &n(2), "town").await, "Kiel".into());
    assert_eq!(process.ask(Command::Verify).await.unwrap()["different"], 0);
    process.back().await;
    let mut expect = before;
    expect[0] = "1|Anna|10".to_owned();
    expect[4] = "5|Eva|20".to_owned();
    assert_eq!(guests(), expect);
    let tables =
        rows(&world.bob(), "SELECT street, city FROM address LEFT JOIN city ON city.id = city_id ORDER BY address.id");
    assert_eq!(tables, ["Via 9|Rome", "Gata 2|Oslo", "Nowhere 3|-"]);
    // On the next move Alice's and the client's words count, unless Bob's tables say otherwise since.
    world.bob().execute_batch("UPDATE city SET city = 'Oslo S' WHERE id = 2").unwrap();
    process.forward_to(Phase::Lazy).await;
    for id in [1, 2, 5] {
        bring(&process, id).await;
    }
    assert_eq!(visitors(&world), ["1|Anna|Via 1|Bonn|h", "2|Ben|Gata 2|Oslo S|h", "5|Eva|Gata 2|Oslo S|h"]);
    process.stop().await;
}

/// What can be looked up again is no loss; what a v2 client gave instead is told.
#[tokio::test]
async fn withdrawn_it_says_what_goes_with_it() {
    let world = normalised();
    let process = world.in_phase(Phase::Prepare).await;
    process.patch(Shape::V1, &n(1), &[("name", "Anna".into())]).await;
    process.patch(Shape::V2, &n(2), &[("town", "Kiel".into())]).await;
    let told = process.done(Command::Withdraw).await;
    assert_eq!((told["phase"].as_str(), told["dropped_beside"].as_u64()), (Some("withdrawn"), Some(1)));
    process.stop().await;
}

/// Bob's guests with their telephones in a table of their own, as a `move` makes it.
fn with_children() -> World {
    let mut world = World::new(0);
    world
        .bob()
        .execute_batch(
            "CREATE TABLE guests (id INTEGER PRIMARY KEY, name TEXT); \
             INSERT INTO guests VALUES (1, 'Ann'), (2, 'Ben'); \
             CREATE TABLE phones (record_id INTEGER, id TEXT, position INTEGER NOT NULL, number TEXT, \
             PRIMARY KEY (record_id, id)); \
             INSERT INTO phones VALUES (1, 'a', 0, '030'), (1, 'b', 1, '040'), (2, 'c', 0, '050')",
        )
        .unwrap();
    world
        .alice()
        .execute_batch(
            "CREATE TABLE visitors (id INTEGER PRIMARY KEY NOT NULL, name TEXT, phones TEXT, host TEXT NOT NULL)",
        )
        .unwrap();
    world.whole = Some(spec(
        &world,
        "phones = { table = \"phones\", fields = { number = \"text\" } }",
        "phones = { from = \"phones\", type = \"json\" }",
        "",
    ));
    world
}

#[tokio::test]
async fn child_tables_of_the_source_go_along() {
    let world = with_children();
    let phones = || rows(&world.bob(), "SELECT record_id, position, number FROM phones ORDER BY 1, 2");
    let before = phones();
    let process = world.in_phase(Phase::Lazy).await;
    let json = |numbers: &[&str]| {
        let element = |number: &&str| Value::Document(document(&[("number", (*number).into())]));
        Value::Array(numbers.iter().map(element).collect())
    };
    assert_eq!(process.field(Shape::V2, &n(1), "phones").await, json(&["030", "040"]));
    bring(&process, 1).await;
    assert_eq!(visitors(&world), [r#"1|Ann|[{"number":"030"},{"number":"040"}]|h"#]);
    // Bob's clients write the array, Alice her column, and Bob's program the table of one that has not moved.
    process.patch(Shape::V1, &n(1), &[("phones", json(&["031", "040", "041"]))]).await;
    assert_eq!(process.field(Shape::V2, &n(1), "phones").await, json(&["031", "040", "041"]));
    let hers = r#"UPDATE visitors SET phones = '[{"number":"031"},{"number":"7"}]'"#;
    world.alice().execute_batch(hers).unwrap();
    assert_eq!(process.field(Shape::V1, &n(1), "phones").await, json(&["031", "7"]));
    world.bob().execute_batch("UPDATE phones SET number = '051' WHERE record_id = 2").unwrap();
    bring(&process, 2).await;
    assert_eq!(visitors(&world)[1], r#"2|Ben|[{"number":"051"}]|h"#);
    assert_eq!(process.ask(Command::Verify).await.unwrap()["different"], 0);
    process.back().await;
    assert_eq!(before, ["1|0|030", "1|1|040", "2|0|050"]);
    assert_eq!((phones(), visitors(&world)), (["1|0|031", "1|1|7", "2|0|051"].map(str::to_owned).to_vec(), vec![]));
    process.stop().await;
}

/// What another writer of a child table does between the read and the write of a move is not lost.
#[tokio::test]
async fn a_child_that_is_written_meanwhile_holds_the_move_up() {
    let world = with_children();
    let process = world.in_phase(Phase::Lazy).await;
    let carrier = process.served.carrier();
    let source = process.setup.source().await.unwrap();
    let row = source.fetch(&n(2)).await.unwrap();
    let v1 = process.setup.shapes.held(row.image.clone().unwrap()).v1;
    world.bob().execute_batch("INSERT INTO phones VALUES (2, 'd', 1, '052')").unwrap();
    let epoch = process.state().await.epoch;
    let moved = carrier.depart(epoch, &row, v1, unchanged(&row), None).await;
    assert!(matches!(moved, Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. })));
    bring(&process, 2).await;
    assert_eq!(visitors(&world), [r#"2|Ben|[{"number":"050"},{"number":"052"}]|h"#]);
    process.stop().await;
}
