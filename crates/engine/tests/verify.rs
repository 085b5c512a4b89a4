//! Verification, repair, dead letters, and the copy without capture.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::params;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use shearwater_engine::{copy, report, verify};
use world::{Process, Rng, World, assert_equal, document, records};

async fn in_dual_write(world: &World) -> Process {
    let process = world.process("p").await;
    process.done(Command::Advance).await;
    process.backfilled().await;
    process
}

/// Breaks the target behind the triggers' back, which nothing but verification can see.
fn silently(world: &World, sql: &str) {
    let target = world.target();
    let applying = "UPDATE _shearwater_state SET applying = ";
    target.execute_batch(&format!("BEGIN; {applying} 1; {sql}; {applying} 0; COMMIT")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_mismatch_is_counted_shown_and_repaired() {
    let world = World::new(120);
    let process = in_dual_write(&world).await;
    let clean = process.done(Command::Verify).await;
    assert_eq!((&clean["compared"], &clean["mismatches"]), (&120.into(), &0.into()), "{clean}");
    assert_eq!(clean["source_hash"], clean["target_hash"], "{clean}");

    silently(&world, "UPDATE people SET city = 'strayed' WHERE id = 'u00001'");
    silently(&world, "DELETE FROM people_tags WHERE record_id = 'u00002'");
    silently(&world, "DELETE FROM people_tags WHERE record_id = 'u00003'; DELETE FROM people WHERE id = 'u00003'");
    silently(&world, "INSERT INTO people (id) VALUES ('ghost')");
    let found = process.done(Command::Verify).await;
    let counts = ["different", "missing", "extra", "refused", "unsettled"].map(|k| found[k].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 0, 0], "{found}");
    assert_ne!(found["source_hash"], found["target_hash"], "{found}");
    process.refused(Command::Advance, "gate/verified").await;

    let listed = verify::last(&process.setup).await.unwrap().unwrap().findings;
    let of =
        |key: &str| listed.iter().find(|f| f.source_key.as_deref() == Some(key)).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(of("u00001").fields.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["city"]);
    assert!(of("u00002").fields.iter().any(|f| f.path.starts_with("tags")), "{:?}", of("u00002"));
    assert_eq!((of("u00003").kind, of("ghost").kind), (verify::Kind::Missing, verify::Kind::Extra));
    assert!(!format!("{listed:?}").contains("strayed"), "no row values");

    let would = process.done(Command::Repair { dry_run: true }).await;
    assert_eq!((&would["dry_run"], &would["mismatches"]), (&true.into(), &4.into()), "{would}");
    assert_eq!(process.done(Command::Verify).await["mismatches"], 4, "a dry run changes nothing");
    let done = process.done(Command::Repair { dry_run: false }).await;
    assert_eq!((&done["repaired"], &done["refused"]), (&4.into(), &0.into()), "{done}");
    assert_eq!(process.done(Command::Verify).await["mismatches"], 0);
    assert_equal(&process.setup, "repaired").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_writes_are_no_mismatch() {
    let world = World::new(400);
    let process = in_dual_write(&world).await;
    let (stop, source) = (Arc::new(AtomicBool::new(false)), world.source());
    let mut rng = Rng::seeded("live_writes_are_no_mismatch");
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        let mut written = 0;
        while !stopped.load(Ordering::Relaxed) {
            let key = format!("u{:05}", rng.below(420));
            match rng.below(4) {
                0 => source.execute("DELETE FROM users WHERE _id = ?1", params![key]).unwrap(),
                _ => {
                    let doc = document(&key, rng.below(1_000_000) as i64);
                    let sql = "INSERT INTO users VALUES (?1, ?2) ON CONFLICT (_id) DO UPDATE SET doc = excluded.doc";
                    source.execute(sql, params![key, doc]).unwrap()
                }
            };
            written += 1;
        }
        written
    });
    for _ in 0..4 {
        let found = process.done(Command::Verify).await;
        assert_eq!(found["mismatches"], 0, "{found}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
    process.followed(Side::Source).await;
    assert_equal(&process.setup, "after the writers").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reverse_window_is_verified_with_parked_fields() {
    let world = World::new(40);
    let process = world.process("p").await;
    process.forward_to(Phase::ReverseWindow).await;
    world.target().execute("UPDATE people SET score = 3 WHERE id = 'u00004'", []).unwrap();
    process.followed(Side::Target).await;
    let equal = process.done(Command::Verify).await;
    assert_eq!((&equal["mismatches"], &equal["unsettled"]), (&0.into(), &0.into()), "{equal}");

    // What is parked is lost behind everybody's back: a rollback would lose it.
    let source = world.source();
    let marks =
        source.execute("UPDATE _shearwater_users_marks SET parked = NULL WHERE parked IS NOT NULL", []).unwrap();
    assert_eq!(marks, 1);
    let found = process.done(Command::Verify).await;
    assert_eq!(found["different"], 1, "{found}");
    process.done(Command::Repair { dry_run: false }).await;
    assert_eq!(process.done(Command::Verify).await["mismatches"], 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_bar_the_way_until_repaired() {
    let world = World::new(20);
    let process = in_dual_write(&world).await;
    process.done(Command::Verify).await;
    world.target().execute("UPDATE people SET age = 1000 WHERE id = 'u00005'", []).unwrap();
    world.target().execute("INSERT INTO people (id) VALUES ('intruder')", []).unwrap();
    process.refused(Command::Advance, "gate/foreign-writes").await;
    process.done(Command::Repair { dry_run: false }).await;
    process.done(Command::Advance).await;
    assert_equal(&process.setup, "foreign writes undone").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_values_that_pass_between_records_are_no_dead_letter() {
    let world = World::new(10);
    let process = in_dual_write(&world).await;
    let mut source = world.source();
    let tx = source.transaction().unwrap();
    for (key, email) in [("u00001", "u00002"), ("u00002", "u00003"), ("u00003", "u00001")] {
        let doc = document(key, 1).replace(&format!("{key}@"), &format!("{email}@"));
        tx.execute("UPDATE users SET doc = ?2 WHERE _id = ?1", params![key, doc]).unwrap();
    }
    tx.commit().unwrap();
    process.followed(Side::Source).await;
    assert_equal(&process.setup, "passed in a circle").await;

    // Two records with one value: that is a refusal, and it goes when the value does.
    let doc = document("u00004", 4).replace("u00004@", "u00005@");
    source.execute("UPDATE users SET doc = ?1 WHERE _id = 'u00004'", params![doc]).unwrap();
    while process.setup.journal.dead_letter_count().await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    source.execute("DELETE FROM users WHERE _id = 'u00005'", []).unwrap();
    while process.setup.source.dirty_count().await.unwrap() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    process.done(Command::RetryDeadLetters).await;
    process.followed(Side::Source).await;
    assert_eq!(process.setup.journal.dead_letter_count().await.unwrap(), 0);
    assert_equal(&process.setup, "mended").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_idempotent_removes_what_vanished_and_leaves_nothing_behind() {
    let world = World::new(150);
    let setup = world.setup().await;
    let source = world.source();
    source.execute("INSERT INTO users VALUES ('bad', '{\"_id\":\"bad\",\"age\":\"old\"}')", []).unwrap();
    let numbers = |report: &serde_json::Value| {
        ["read", "changed", "removed", "refused"].map(|name| report[name].as_u64().unwrap())
    };
    let first = copy::copy(&setup).await.unwrap();
    assert_eq!(numbers(&first), [151, 150, 0, 1], "{first}");
    assert_eq!(first["refusals"][0]["key"], "bad", "{first}");
    source.execute("DELETE FROM users WHERE _id IN ('bad', 'u00010')", []).unwrap();
    source.execute("UPDATE users SET doc = ?1 WHERE _id = 'u00011'", params![document("u00011", 999)]).unwrap();
    assert_eq!(numbers(&copy::copy(&setup).await.unwrap()), [149, 1, 1, 0]);
    assert_eq!(numbers(&copy::copy(&setup).await.unwrap()), [149, 0, 0, 0]);
    assert_equal(&setup, "copied").await;
    assert_eq!(setup.target.sidecar_names().await.unwrap(), Vec::<String>::new());
    assert_eq!(records(setup.target.as_ref()).await.len(), 149);

    let process = in_dual_write(&world).await;
    let halt = copy::copy(&process.setup).await.unwrap_err().to_string();
    assert!(halt.contains("follow writes"), "{halt}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_the_gates_and_what_a_rollback_costs() {
    let world = World::new(25);
    let process = in_dual_write(&world).await;
    let status = serde_json::to_value(report::status(&process.setup).await.unwrap()).unwrap();
    assert_eq!((&status["phase"], &status["backfill"]), (&"dual-write".into(), &"done".into()), "{status}");
    assert_eq!(status["next"]["to"], "shadow-read", "{status}");
    let closed: Vec<&str> = status["next"]["gates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gate| gate["open"] == false)
        .map(|gate| gate["code"].as_str().unwrap())
        .collect();
    assert_eq!(closed, ["gate/verified"], "{status}");
    assert_eq!(status["rollback"]["open"], true, "{status}");
    assert_eq!((&status["progress"]["done"], &status["progress"]["ended"]), (&25.into(), &true.into()), "{status}");
    process.stop().await;
}
