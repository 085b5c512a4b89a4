//! Stitched lists, walked while records move and go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::params;
use shearwater_core::Value;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal, OrderTerm};
use shearwater_core::store::Side;
use shearwater_engine::Serve;
use shearwater_engine::records::{ListAsk, ServeError, Shape};

use crate::world::{World, v1, v2};

fn by(name: &str, descending: bool, nulls_first: bool) -> OrderTerm {
    OrderTerm { descending, nulls_first, ..OrderTerm::by(Path::field(name)) }
}

/// Five orders: by key, by a field, falling with nulls first, by a computed
/// field, by two fields of which one has many ties.
fn orders() -> Vec<Vec<OrderTerm>> {
    vec![
        vec![],
        vec![by("email", false, false)],
        vec![by("email", true, true)],
        vec![by("name", true, false)],
        vec![by("manager", false, true), by("email", false, false)],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walks_never_repeat_or_miss_a_record_while_they_move_and_go_back() {
    const USERS: i64 = 60;
    let world = World::new(USERS).without_collisions();
    let process = Arc::new(world.process("p").await);
    process.forward_to(Phase::Prepare).await;
    let mut expect: Vec<String> = (1..=USERS).map(|n| v2(n).to_text()).collect();
    expect.sort();
    let stop = Arc::new(AtomicBool::new(false));
    // The orders by key and e-mail do not change by the move; that by manager
    // does, so it is walked for what it may not miss only.
    let walkers: Vec<_> = orders()
        .into_iter()
        .enumerate()
        .flat_map(|(at, order)| [(at, order.clone(), Shape::V2), (at, order, Shape::V1)])
        .filter(|(at, _, shape)| *shape == Shape::V2 || matches!(at, 0..=2))
        .map(|(at, order, shape)| {
            let (process, stop) = (process.clone(), stop.clone());
            tokio::spawn(async move {
                let mut walks: Vec<(usize, Vec<String>)> = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let keys = process.walk(shape, Filter::All, order.clone(), 7).await;
                    let keys = keys
                        .into_iter()
                        .map(|key| if shape == Shape::V1 { format!("bob-{key}") } else { key })
                        .collect();
                    walks.push((at, keys));
                }
                walks
            })
        })
        .collect();
    process.forward_to(Phase::Lazy).await;
    for n in 1..=USERS / 2 {
        process.give_manager(n, "m").await;
    }
    process.forward_to(Phase::Drain).await;
    process.back().await;
    process.forward_to(Phase::Lazy).await;
    for n in USERS / 2..=USERS {
        process.give_manager(n, "m").await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut walked = 0;
    for walker in walkers {
        for (order, mut keys) in walker.await.unwrap() {
            walked += 1;
            keys.sort();
            if order == 4 {
                keys.dedup();
                // A record whose manager was set between two pages may have gone
                // behind the walk or before it, as in one store.
                continue;
            }
            assert_eq!(keys, expect, "order {order}");
        }
    }
    assert!(walked >= 8, "only {walked} walks");
}

#[tokio::test]
async fn one_order_and_one_filter_over_both_stores() {
    let world = World::new(30).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    let naive = |records: Vec<shearwater_core::Document>, order: &[OrderTerm]| -> Vec<String> {
        let mut all: Vec<(Vec<u8>, String)> = records
            .into_iter()
            .map(|record| {
                let key = shearwater_core::Key::single(record.get("id").unwrap().clone());
                (shearwater_core::query::sort_bytes_of(order, &key, &record), key.to_text())
            })
            .collect();
        all.sort();
        all.into_iter().map(|(_, key)| key).collect()
    };
    let filter =
        Filter::Compare { path: Path::field("email"), op: CompareOp::Gt, literal: Literal::Typed(Value::text("u2")) };
    for n in [0, 10, 25] {
        for moved in 1..=n {
            process.give_manager(moved, "m").await;
        }
        for shape in [Shape::V1, Shape::V2] {
            let records: Vec<_> = process.all(shape).await.into_values().collect();
            assert_eq!(records.len(), 30);
            for order in orders() {
                let known = |term: &OrderTerm| shape == Shape::V2 || matches!(term.path.root(), "email");
                if !order.iter().all(known) {
                    continue;
                }
                assert_eq!(process.walk(shape, Filter::All, order.clone(), 4).await, naive(records.clone(), &order));
                let matching = records.iter().filter(|record| filter.matches(record)).cloned().collect();
                assert_eq!(process.walk(shape, filter.clone(), order.clone(), 4).await, naive(matching, &order));
            }
        }
    }
    process.stop().await;
}

#[tokio::test]
async fn two_worlds_stay_apart_unless_the_spec_says_otherwise() {
    let mut world = World::new(4).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    process.give_manager(1, "m").await;
    let key = shearwater_core::Key::single("a1");
    assert_eq!(process.all(Shape::V2).await.len(), 4, "Bob's only");
    assert!(process.get(Shape::V2, &key).await.is_none());
    process.stop().await;
    world.top = "scope = \"all\"".to_owned();
    let process = world.process("q").await;
    process.until("serving", |state| state.phase == Phase::Lazy).await;
    let all = process.all(Shape::V2).await;
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), ["a1", "bob-1", "bob-2", "bob-3", "bob-4"]);
    assert_eq!(process.all(Shape::V1).await.len(), 4, "v1 is Bob's in any case");
    process.patch(Shape::V2, &key, &[("manager", "other".into())]).await;
    assert_eq!(world.people()[0], "a1|a1@alice.example|Own 1|other|ACTIVE");
    assert!(process.served.is_serving());
    process.stop().await;
}

#[tokio::test]
async fn text_is_ordered_as_the_spec_says_wherever_records_live() {
    let mut world = World::new(12).without_collisions();
    let names = ["Émile", "emile", "Zoë", "zoe", "Ångström", "angel", "ab", "Ab", "ß", "ss", "ø", "o"];
    for (at, name) in names.iter().enumerate() {
        let n = at as i64 + 1;
        world.bob().execute("UPDATE users SET first = ?2, last = 'x' WHERE id = ?1", params![n, name]).unwrap();
    }
    world.more = "[lists]\ncollation = \"unicode\"\norders = [\"name\", \"name.desc\"]".to_owned();
    let process = world.in_phase(Phase::Lazy).await;
    let expect = ["ab", "Ab", "angel", "Ångström", "emile", "Émile", "o", "ø", "ss", "ß", "zoe", "Zoë"];
    for moved in [0, 5, 9] {
        for n in 1..=moved {
            process.give_manager(n, "m").await;
        }
        for descending in [false, true] {
            let order = vec![by("name", descending, descending)];
            let keys = process.walk(Shape::V2, Filter::All, order, 5).await;
            let mut found = Vec::new();
            for key in keys {
                let name = process.field(Shape::V2, &shearwater_core::Key::single(key), "name").await;
                found.push(name);
            }
            if descending {
                found.reverse();
            }
            let expect: Vec<Value> = expect.iter().map(|name| Value::text(format!("{name} x"))).collect();
            assert_eq!(found, expect, "{moved} moved, descending: {descending}");
        }
    }
    process.stop().await;
}

#[tokio::test]
async fn a_record_that_v2_cannot_show_fails_its_page_or_is_left_out_and_told() {
    let mut world = World::new(9).without_collisions();
    world.bob().execute_batch("UPDATE users SET last = id; UPDATE users SET last = 'four' WHERE id = 4").unwrap();
    world.alice().execute_batch("ALTER TABLE people ADD COLUMN years INTEGER").unwrap();
    world.more = "[fields.years]\nsql = \"cast(last as bigint)\"\ntype = \"int\"\nderived = true".to_owned();
    let process = world.in_phase(Phase::Lazy).await;
    process.give_manager(1, "m").await;
    let ask = |shape, after| {
        let order = vec![by("email", false, false)];
        ListAsk { shape, filter: Filter::All, order, after, limit: 3 }
    };
    let mut refused = 0;
    let mut after = None;
    let (mut shown, mut told) = (Vec::new(), Vec::new());
    loop {
        if let Err(error) = process.served.list(ask(Shape::V2, after.clone())).await {
            let ServeError::Unprocessable { message, hint, .. } = &error else { panic!("{error:?}") };
            assert!(message.contains("the record 4 of the source") && !message.contains("four"), "{message}");
            assert!(hint.as_ref().is_some_and(|hint| hint.contains("handling=lenient")), "{hint:?}");
            refused += 1;
        }
        let (page, left_out) = process.served.list_shown(ask(Shape::V2, after)).await.unwrap();
        shown.extend(page.records.into_iter().map(|got| got.key.to_text()));
        told.extend(left_out.into_iter().map(|left| (left.side, left.key)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(refused > 0 && told.iter().all(|left| *left == (Side::Source, v1(4))) && !told.is_empty(), "{told:?}");
    shown.sort();
    let all = (1..=9).filter(|n| *n != 4).map(|n| format!("bob-{n}")).collect::<Vec<_>>();
    assert_eq!(shown, all);
    let (page, left_out) = process.served.list_shown(ask(Shape::V1, None)).await.unwrap();
    assert!(page.records.len() == 3 && left_out.is_empty(), "v1 shows it");
    process.stop().await;
}
