//! The process dies where keys are assigned, records are merged, and what they
//! name or take from other tables is looked up; the next one goes on: back, both
//! stores are as they were before, and every record has the key that it was
//! given first; then to the end, where nothing is left.
//!
//! The child is this test binary itself, running `kill_keys::child` with a
//! directory, a goal and a failpoint in its environment.
#![cfg(debug_assertions)]

use std::path::Path;
use std::time::Duration;

use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::query::Filter;
use shearwater_engine::absorb::bulk::Mode;
use shearwater_engine::absorb::{Bulk, Line};
use shearwater_engine::records::Shape;

use crate::world::{Process, World, document, rows};
use crate::{child, collisions, identity, joins, meeting, scene};

const DIR_ENV: &str = "SHEARWATER_KEYS_KILL_DIR";
const GOAL_ENV: &str = "SHEARWATER_KEYS_KILL_GOAL";

/// On the way there and back.
const BACK: &[(&str, u32)] = &[
    ("capture-target-installed", 1),
    ("absorb-departed", 1),
    ("absorb-departed", 3),
    ("absorb-landed", 1),
    ("absorb-landed", 3),
    ("absorb-staged", 1),
    ("absorb-staged", 3),
    ("absorb-given-up", 1),
    ("absorb-given-up", 3),
];

/// And where keys are assigned.
const ASSIGNED: &[(&str, u32)] = &[("absorb-keys-installed", 1), ("absorb-keys-assigned", 1)];

/// Where what was looked up has left with its record, and comes back.
const LOOKED_UP: &[(&str, u32)] =
    &[("absorb-departed", 1), ("absorb-landed", 1), ("absorb-staged", 1), ("absorb-given-up", 1)];

/// And where the keys of others are claimed.
const CLAIMED: &[(&str, u32)] = &[("absorb-claimed", 1)];

/// From there to the end.
const END: &[(&str, u32)] = &[("absorb-landed", 2), ("remove-target", 1), ("absorb-flag-removed", 1)];

async fn give_all(process: &Process) {
    let state = process.state().await;
    let bulk = Bulk { carrier: process.served.carrier(), mode: Mode::Apply, only: Filter::All };
    let required = process.setup.shapes.require()[0].clone();
    let value = if ["rep", "total"].contains(&required.as_str()) { Value::Int(3) } else { "m".into() };
    for key in bulk.next_unmoved(None).await.unwrap() {
        let line = Line { key, shape: Shape::V1, fields: document(&[(required.as_str(), value.clone())]) };
        bulk.line(&state, &line).await;
    }
}

/// Goes on from wherever it is.
async fn drive(world: &World, goal: &str) {
    let process = world.process("p").await;
    let there = world.dir.join("there");
    for _ in 0..200 {
        for _ in 0..4_000 {
            if process.setup.journal.open_requests().await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.until("settled", |state| state.entering.is_none() && state.phase != Phase::Rollback).await;
        let command = match (process.state().await.phase, goal, there.exists()) {
            (Phase::Prepare, "back", true) | (Phase::Complete, ..) => return process.stop().await,
            (Phase::Lazy, "back", _) => {
                give_all(&process).await;
                std::fs::write(&there, b"").unwrap();
                Command::Rollback
            }
            (Phase::Drain, ..) => {
                give_all(&process).await;
                process.reconciled().await;
                Command::Complete
            }
            _ => Command::Advance,
        };
        let _ = process.ask(command).await;
    }
    panic!("it never gets there");
}

#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(DIR_ENV) else { return };
    let mut world = World::at(Path::new(&dir));
    world.whole = Some(std::fs::read_to_string(world.dir.join("spec.toml")).unwrap());
    drive(&world, &std::env::var(GOAL_ENV).unwrap()).await;
}

fn run(dir: &Path, goal: &str, failpoint: Option<&str>) -> bool {
    child::run("kill_keys::child", &[(DIR_ENV, dir.as_os_str()), (GOAL_ENV, goal.as_ref())], failpoint)
}

/// What Bob's programs see, and Alice's: each a query.
type Theirs = [&'static str; 2];

const USERS: Theirs = [
    "SELECT id, email, first, last, vip, last_login FROM users ORDER BY 1",
    "SELECT id, email, name, manager, status FROM people ORDER BY 1",
];

const CUSTOMERS: Theirs =
    ["SELECT code, name, fax FROM customers ORDER BY 1", "SELECT id, name, rep FROM customer ORDER BY 1"];

const WITH_EMAILS: Theirs =
    ["SELECT code, name, fax, email FROM customers ORDER BY 1", "SELECT id, name, rep, email FROM customer ORDER BY 1"];

const GUESTS: Theirs = [
    "SELECT id, name, address_id FROM guests ORDER BY 1",
    "SELECT id, name, street, town, host FROM visitors ORDER BY 1",
];

const ORDERS: Theirs = [
    "SELECT id, customer, note, placed FROM orders ORDER BY 1",
    "SELECT id, customer_id, total FROM invoice ORDER BY 1",
];

/// What is ours.
const OURS: Theirs =
    ["SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%' OR sql LIKE '%migrated%' ORDER BY 1"; 2];

fn seen(world: &World, theirs: Theirs) -> [Vec<String>; 2] {
    [rows(&world.bob(), theirs[0]), rows(&world.alice(), theirs[1])]
}

fn killed_on_the_way(world: impl Fn() -> World, theirs: Theirs, [back, end]: [&[(&str, u32)]; 2], expect: &[&str]) {
    let cut = |goal: &str, (point, nth): (&str, u32)| {
        let world = world();
        std::fs::write(world.dir.join("spec.toml"), world.spec()).unwrap();
        let (before, ours) = (seen(&world, theirs), seen(&world, OURS));
        let failpoint = format!("{point}:{nth}");
        if goal == "end" {
            assert!(run(&world.dir, "back", None));
        }
        assert!(!run(&world.dir, goal, Some(&failpoint)), "{failpoint} was never reached");
        if goal == "back" {
            assert!(run(&world.dir, goal, None), "{failpoint}: the next process does not get back");
            assert_eq!(seen(&world, theirs), before, "{failpoint}: back");
        }
        assert!(run(&world.dir, "end", None), "{failpoint}: the next process does not get to the end");
        assert_eq!(seen(&world, theirs)[1], expect, "{failpoint}: in the end");
        assert_eq!(seen(&world, OURS), ours, "{failpoint}: what is left");
    };
    for point in back {
        cut("back", *point);
    }
    for point in end {
        cut("end", *point);
    }
}

#[test]
fn killed_while_keys_are_assigned() {
    let points: Vec<(&str, u32)> = BACK.iter().chain(ASSIGNED).copied().collect();
    let expect = ["7|Own|1", "8|Number|3", "9|Alfreds|3", "10|Berglunds|3", "11|Chop-suey|3"];
    killed_on_the_way(identity::numbered, CUSTOMERS, [&points, END], &expect);
}

#[test]
fn killed_while_records_are_merged() {
    let world = || {
        let world = World::new(4).with(collisions::MERGE);
        world.alice().execute_batch("DELETE FROM people WHERE id = 'a2'").unwrap();
        world
    };
    let expect = [
        "a1|a1@alice.example|Own 1|boss|ACTIVE",
        "bob-1|u1@bob.example|F1 L001|m|-",
        "bob-2|u2@bob.example|F2 L002|m|-",
        "bob-3|a3@alice.example|F3 L003|boss|-",
        "bob-4|u4@bob.example|F4 L004|m|-",
    ];
    killed_on_the_way(world, USERS, [BACK, END], &expect);
}

#[test]
fn killed_while_records_become_one_by_a_field() {
    let points: Vec<(&str, u32)> = BACK.iter().filter(|(_, nth)| *nth == 1).chain(ASSIGNED).copied().collect();
    let expect = ["7|Alfreds|1|a@x", "20|Berglunds|2|b@x", "21|Own|2|-", "22|Chop-suey|3|-", "23|Drachenblut|3|d@x"];
    killed_on_the_way(meeting::world, WITH_EMAILS, [&points, END], &expect);
}

#[test]
fn killed_while_fields_come_out_of_other_tables() {
    let world = || {
        let world = joins::normalised();
        world.bob().execute_batch("DELETE FROM guests WHERE id = 4").unwrap();
        world
    };
    let expect = ["1|Ann|Via 1|Rome|m", "2|Ben|Gata 2|Oslo|m", "3|Cem|Nowhere 3|-|m", "5|Eva|Via 1|Rome|m"];
    killed_on_the_way(world, GUESTS, [LOOKED_UP, &END[..1]], &expect);
}

/// Bob's orders, when his customers have come, and their numbers are kept.
fn referring() -> World {
    let (mut customers, orders) = scene::customers_and_orders("keep = true");
    customers.bob().execute_batch("DELETE FROM orders WHERE id = 5").unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let process = customers.in_phase(Phase::Drain).await;
        give_all(&process).await;
        process.done(Command::Complete).await;
        process.until("complete", |state| state.phase == Phase::Complete).await;
        process.stop().await;
    });
    customers.whole = orders.whole;
    customers
}

#[test]
fn killed_while_references_are_translated() {
    let points = [LOOKED_UP, CLAIMED].concat();
    let end = [("absorb-landed", 2), ("absorb-claims-ended", 1)];
    killed_on_the_way(referring, ORDERS, [&points, &end], &["1|8|3", "2|9|3", "3|8|3", "4|-|3"]);
}
