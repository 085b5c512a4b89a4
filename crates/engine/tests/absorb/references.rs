//! References to records whose keys were assigned: translated in both
//! directions, wherever either record lives; what has no counterpart is refused
//! by name, and what only the target can say comes back on the next move.

use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_engine::Serve;
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::carry::unchanged;
use shearwater_engine::absorb::place::Place;
use shearwater_engine::absorb::{Bulk, Carrier, Line};
use shearwater_engine::records::{ListAsk, ServeError, Shape};

use crate::scene::{
    Scene, bring_customer, bring_order, by, code, customers_and_orders, invoices, n, orders, planned, refused,
};
use crate::undo::{ALL, told};
use crate::world::{World, document, rows};

#[tokio::test]
async fn a_reference_is_the_number_there_and_the_letters_here() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    bring_customer(&customers, 8).await;
    let before = (orders(&world), invoices(&world));
    let process = world.in_phase(Phase::Lazy).await;
    // Shown before anything moves, whether the customer has moved or not.
    assert_eq!(process.field(Shape::V2, &n(1), "customer_id").await, Value::Int(8));
    assert_eq!(process.field(Shape::V2, &n(2), "customer_id").await, Value::Int(9));
    bring_order(&process, 1).await;
    bring_order(&process, 4).await;
    assert_eq!(invoices(&world), ["1|8|10", "4|-|40"]);
    assert_eq!(process.field(Shape::V1, &n(1), "customer").await, "ALFKI".into());
    assert_eq!(process.field(Shape::V1, &n(1), "note").await, "n1".into());
    // Its customer first.
    let total = [("total", Value::Int(20))];
    assert_eq!(refused(&process, Shape::V2, 2, &total).await, by("absorb/unmoved-reference", "customer_id"));
    assert_eq!(refused(&process, Shape::V1, 1, &[("customer", "BERGS".into())]).await.0, "absorb/unmoved-reference");
    bring_customer(&customers, 9).await;
    bring_order(&process, 2).await;
    // Both shapes change it, in their own words.
    process.patch(Shape::V1, &n(1), &[("customer", "BERGS".into()), ("note", "n2".into())]).await;
    process.patch(Shape::V2, &n(2), &[("customer_id", Value::Int(8))]).await;
    assert_eq!(invoices(&world), ["1|9|10", "2|8|20", "4|-|40"]);
    assert_eq!(process.field(Shape::V1, &n(2), "customer").await, "ALFKI".into());
    process.patch(Shape::V2, &n(3), &[("customer_id", Value::Int(9))]).await;
    assert_eq!(orders(&world)[2], "3|BERGS|-|1996-07-06", "an order that stays is written in its own words");
    process.patch(Shape::V1, &n(4), &[("customer", "ALFKI".into())]).await;
    process.patch(Shape::V2, &n(1), &[("customer_id", Value::Null)]).await;
    assert_eq!(process.field(Shape::V1, &n(1), "customer").await, Value::Null);
    let named = |value: &str| Filter::Compare {
        path: Path::field("customer"),
        op: CompareOp::Eq,
        literal: Literal::Typed(value.into()),
    };
    assert_eq!(process.walk(Shape::V1, named("ALFKI"), vec![], 2).await, ["2", "4"]);
    assert_eq!(process.walk(Shape::V1, named("BERGS"), vec![], 2).await, ["3"]);
    process.back().await;
    let mut expect = before.0;
    expect[0] = "1|-|n2|1996-07-04".to_owned();
    expect[1] = "2|ALFKI|-|1996-07-05".to_owned();
    expect[2] = "3|BERGS|-|1996-07-06".to_owned();
    expect[3] = "4|ALFKI|-|1996-07-07".to_owned();
    assert_eq!((orders(&world), invoices(&world)), (expect, before.1));
    customers.stop().await;
    process.stop().await;
}

#[tokio::test]
async fn what_has_no_counterpart_is_refused_by_name_in_either_direction() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    bring_customer(&customers, 8).await;
    let process = world.in_phase(Phase::Lazy).await;
    let found = process.state().await.census.unwrap();
    assert_eq!((found.records, found.refused), (5, 1), "the census has seen it before");
    let wrong = by("absorb/reference", "customer_id");
    assert_eq!(refused(&process, Shape::V2, 5, &[("total", Value::Int(1))]).await, wrong);
    let ask = || ListAsk { shape: Shape::V2, filter: Filter::All, order: vec![], after: None, limit: 10 };
    assert!(matches!(process.served.list(ask()).await, Err(ServeError::Unprocessable { .. })));
    let (page, left_out) = process.served.list_shown(ask()).await.unwrap();
    assert_eq!((page.records.len(), left_out.len()), (4, 1));
    assert_eq!(process.field(Shape::V1, &n(5), "customer").await, "NOONE".into(), "v1 goes on");
    // In bulk it is a dead letter.
    let bulk = Bulk { carrier: process.served.carrier(), mode: Mode::Apply, only: Filter::All };
    let line = Line { key: n(5), shape: Shape::V1, fields: document(&[("total", Value::Int(1))]) };
    assert!(matches!(bulk.line(&process.state().await, &line).await, Moved::Failed(_)));
    let letter = process.setup.journal.dead_letters(None, 10).await.unwrap().remove(0);
    assert_eq!((letter.key.as_str(), letter.code.as_str()), ("5", "absorb/reference"));
    assert!(letter.reason.contains("customers") && !letter.reason.contains("NOONE"), "{}", letter.reason);
    // A v2 client cannot name one of Alice's own, or nobody: v1 would have no word for it.
    bring_order(&process, 1).await;
    for number in [7, 99] {
        for order in [1, 2] {
            let named = [("customer_id", Value::Int(number)), ("total", Value::Int(1))];
            assert_eq!(refused(&process, Shape::V2, order, &named).await.0, "absorb/reference");
        }
    }
    assert_eq!(refused(&process, Shape::V1, 1, &[("customer", "NOONE".into())]).await, wrong);
    // Mended, it moves.
    process.patch(Shape::V1, &n(5), &[("customer", "ALFKI".into())]).await;
    bring_order(&process, 5).await;
    process.done(Command::RetryDeadLetters).await;
    assert_eq!(process.setup.journal.dead_letter_count().await.unwrap(), 0);
    assert_eq!(invoices(&world), ["1|8|10", "5|8|50"]);
    customers.stop().await;
    process.stop().await;
}

#[tokio::test]
async fn a_reference_that_only_alice_can_hold_stays_beside_the_row_and_comes_back() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    bring_customer(&customers, 8).await;
    let process = world.in_phase(Phase::Lazy).await;
    bring_order(&process, 1).await;
    bring_order(&process, 3).await;
    let before = orders(&world);
    world.alice().execute_batch("UPDATE invoice SET customer_id = 7").unwrap();
    let read = process.served.get(Shape::V1, &n(1)).await;
    assert!(
        matches!(read, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/reference"),
        "v1 has no word"
    );
    process.back().await;
    assert_eq!((orders(&world), invoices(&world)), (before, vec![]));
    let letters = process.setup.journal.dead_letters(None, 10).await.unwrap();
    let told: Vec<(&str, &str)> = letters.iter().map(|one| (one.key.as_str(), one.code.as_str())).collect();
    assert_eq!(told, [("1", "absorb/reference"), ("3", "absorb/reference")]);
    process.done(Command::RetryDeadLetters).await;
    // The one comes back as it was; what Bob's program says of the other since counts.
    world.bob().execute_batch("UPDATE orders SET customer = NULL WHERE id = 3").unwrap();
    process.forward_to(Phase::Lazy).await;
    assert_eq!(process.field(Shape::V2, &n(1), "customer_id").await, Value::Int(7));
    process.patch(Shape::V2, &n(1), &[("total", Value::Int(11))]).await;
    process.patch(Shape::V2, &n(3), &[("total", Value::Int(31))]).await;
    assert_eq!(invoices(&world), ["1|7|11", "3|-|31"]);
    customers.stop().await;
    process.stop().await;
}

#[tokio::test]
async fn the_numbers_outlive_their_migration_only_where_the_spec_says_so() {
    for (keep, outlives) in [("keep = true", true), ("", false)] {
        let (bobs, world) = customers_and_orders(keep);
        let customers = bobs.in_phase(Phase::Lazy).await;
        for number in [8, 9, 10] {
            bring_customer(&customers, number).await;
        }
        customers.forward_to(Phase::Drain).await;
        customers.done(Command::Complete).await;
        customers.until("complete", |state| state.phase == Phase::Complete).await;
        customers.stop().await;
        let ours = rows(
            &world.alice(),
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%shearwater%'",
        );
        assert_eq!(ours, [if outlives { "1" } else { "0" }]);
        let process = world.process("p").await;
        if !outlives {
            let refusal = process.ask(Command::Advance).await.unwrap_err();
            assert!(refusal.message.contains("no keys of migration \"customers\""), "{refusal}");
            process.stop().await;
            continue;
        }
        process.forward_to(Phase::Drain).await;
        world.bob().execute_batch("DELETE FROM orders WHERE id = 5").unwrap();
        for order in 1..=4 {
            bring_order(&process, order).await;
        }
        // After the end too, as long as the table is there.
        process.done(Command::Complete).await;
        process.until("complete", |state| state.phase == Phase::Complete).await;
        assert_eq!(invoices(&world), ["1|8|10", "2|9|20", "3|8|30", "4|-|40"]);
        assert_eq!(process.field(Shape::V1, &n(2), "customer").await, "BERGS".into());
        process.patch(Shape::V1, &n(2), &[("customer", "CHOPS".into())]).await;
        assert_eq!(invoices(&world)[1], "2|10|20");
        let all = process.all(Shape::V1).await;
        assert_eq!(all["2"].get("customer"), Some(&"CHOPS".into()));
        process.stop().await;
    }
}

#[tokio::test]
async fn a_migration_does_not_end_while_others_need_its_keys() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    let orders = world.in_phase(Phase::Lazy).await;
    for number in [8, 9, 10] {
        bring_customer(&customers, number).await;
    }
    customers.forward_to(Phase::Drain).await;
    let refusal = customers.refused(Command::Complete, "gate/claimed").await;
    assert!(refusal.message.ends_with(": orders"), "{refusal}");
    world.bob().execute_batch("DELETE FROM orders WHERE id = 5").unwrap();
    for order in 1..=4 {
        bring_order(&orders, order).await;
    }
    orders.forward_to(Phase::Drain).await;
    for process in [&orders, &customers] {
        process.done(Command::Complete).await;
        process.until("complete", |state| state.phase == Phase::Complete).await;
    }
    let ours = rows(&world.alice(), "SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'");
    assert_eq!(ours, Vec::<String>::new());
    orders.stop().await;
    customers.stop().await;
}

#[tokio::test]
async fn a_claim_ends_with_the_way_back() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    let orders = world.in_phase(Phase::Lazy).await;
    let claimants = async || customers.setup.crosswalk.as_ref().unwrap().claimants().await.unwrap();
    assert_eq!(claimants().await, ["orders"]);
    customers.back().await;
    customers.refused(Command::Withdraw, "gate/claimed").await;
    orders.back().await;
    orders.done(Command::Rollback).await;
    planned(&orders).await;
    assert_eq!(claimants().await, Vec::<String>::new());
    customers.done(Command::Withdraw).await;
    customers.until("over", |state| state.phase == Phase::Withdrawn).await;
    orders.stop().await;
    customers.stop().await;
}

/// Between the source's write and the target's the process dies: whoever comes
/// next lands the record with what was looked up when it left.
#[tokio::test]
async fn a_move_left_on_its_way_lands_with_its_reference() {
    let (bobs, world) = customers_and_orders("");
    let customers = bobs.in_phase(Phase::Lazy).await;
    bring_customer(&customers, 8).await;
    let process = world.in_phase(Phase::Lazy).await;
    let (setup, state) = (process.setup.clone(), process.state().await);
    process.stop().await;
    let carrier = Carrier { setup: setup.clone(), without: None };
    let Place::Source { row, held } = carrier.locate(&state, Shape::V1, &n(1)).await.unwrap() else { panic!("moved") };
    let mut parted = setup.shapes.forward(&held.v1).unwrap();
    parted.v2.set("total", Value::Int(10));
    let mut v1 = setup.shapes.reverse(&parted).unwrap();
    setup.shapes.keep_strays(&held.v1, &mut v1);
    carrier.depart(state.epoch, &row, v1, unchanged(&row), None).await.unwrap();
    // Bob's program, which knows of no flag, writes the row on its way.
    world.bob().execute_batch("UPDATE orders SET customer = 'BERGS' WHERE id = 1").unwrap();
    assert_eq!(invoices(&world), Vec::<String>::new());
    let next = world.process("q").await;
    assert_eq!(next.field(Shape::V2, &n(1), "customer_id").await, Value::Int(8));
    assert_eq!(invoices(&world), ["1|8|10"]);
    assert_eq!(next.field(Shape::V1, &n(1), "customer").await, "ALFKI".into(), "the target's record stands");
    let all = next.all(Shape::V1).await;
    assert_eq!(all["1"].get("customer"), Some(&"ALFKI".into()));
    next.back().await;
    assert_eq!(orders(&world)[0], "1|ALFKI|n1|1996-07-04");
    customers.stop().await;
    next.stop().await;
}

/// Bob's staff, who name each other.
fn staff() -> World {
    let mut world = World::new(0);
    world
        .bob()
        .execute_batch(
            "CREATE TABLE staff (code TEXT PRIMARY KEY, boss TEXT, seen TEXT) WITHOUT ROWID; \
             INSERT INTO staff VALUES ('ANN', 'ANN', '2020-01-01'), ('BEN', 'ANN', '2020-01-02'), \
             ('CEM', 'NOONE', '2020-01-03'), ('DOT', 'BEN', '2020-01-04')",
        )
        .unwrap();
    let table = "CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, boss INTEGER, desk TEXT NOT NULL)";
    world.alice().execute_batch(table).unwrap();
    let scene = Scene {
        migration: "staff",
        table: "staff",
        key: "code",
        columns: "code = \"text\"\nboss = \"text\"\nseen = \"date\"",
        into: "person",
        fields: "id = { target_only = true, type = \"int\" }\nboss = { from = \"boss\", type = \"int\" }",
        require: "desk = { type = \"text\" }",
        more: "[identity]\nassign = \"next\"\n\
               [references]\nboss = { migration = \"staff\", table = \"person\", key = \"id\" }\n\
               [stragglers]\nactivity = \"seen\"\ndeactivate_after_days = 30\ndeactivate = { desk = \"none\" }",
    };
    world.whole = Some(scene.spec(&world));
    world
}

#[tokio::test]
async fn records_that_name_each_other_move_from_the_top() {
    let world = staff();
    let before = rows(&world.bob(), "SELECT code, boss, seen FROM staff");
    let process = world.in_phase(Phase::Lazy).await;
    let desk = |number: i64| (n(number), [("desk", Value::text("d"))]);
    let people = || rows(&world.alice(), "SELECT id, boss, desk FROM person ORDER BY id");
    assert_eq!(refused(&process, Shape::V2, 2, &desk(2).1).await, by("absorb/unmoved-reference", "boss"));
    for number in [1, 2] {
        let (key, fields) = desk(number);
        process.patch(Shape::V2, &key, &fields).await;
    }
    assert_eq!(people(), ["1|1|d", "2|1|d"], "one that names itself goes first");
    // Somebody who came later, and is named before anybody met them.
    world.bob().execute_batch("INSERT INTO staff (code, boss) VALUES ('EVA', 'FAY'), ('FAY', NULL)").unwrap();
    assert_eq!(process.field(Shape::V2, &n(4), "boss").await, Value::Int(2));
    let eva = process.get(Shape::V1, &code("EVA")).await.unwrap();
    assert_eq!(eva.record.get("boss"), Some(&"FAY".into()));
    let all = process.served.list_shown(ListAsk {
        shape: Shape::V2,
        filter: Filter::All,
        order: vec![],
        after: None,
        limit: 9,
    });
    let (page, left_out) = all.await.unwrap();
    let bosses: Vec<(String, Option<&Value>)> =
        page.records.iter().map(|got| (got.key.to_text(), got.record.get("boss"))).collect();
    assert_eq!((bosses.len(), left_out.len()), (5, 1), "CEM cannot be shown: {bosses:?}");
    assert!(bosses.contains(&("5".to_owned(), Some(&Value::Int(6)))), "EVA's is FAY: {bosses:?}");
    // The inactive ones are deactivated; the one that names nobody is a dead letter, and holds up no other.
    process.forward_to(Phase::Drain).await;
    for _ in 0..4_000 {
        if people().len() == 3 && process.setup.journal.dead_letter_count().await.unwrap() > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(people(), ["1|1|d", "2|1|d", "4|2|none"]);
    let letter = process.setup.journal.dead_letters(None, 10).await.unwrap().remove(0);
    assert_eq!((letter.key.as_str(), letter.code.as_str()), ("CEM", "absorb/reference"));
    // Undone it names the same again; the one that was refused never left.
    assert_eq!(told(&process.done(ALL).await), (1, 1, 0, "[] []".into()));
    assert_eq!(people(), ["1|1|d", "2|1|d"]);
    assert_eq!(process.field(Shape::V2, &n(4), "boss").await, Value::Int(2));
    assert_eq!(process.field(Shape::V1, &code("DOT"), "boss").await, "BEN".into());
    process.back().await;
    let staff = rows(&world.bob(), "SELECT code, boss, seen FROM staff WHERE seen IS NOT NULL");
    assert_eq!(staff, before);
    assert!(people().is_empty());
    process.stop().await;
}
