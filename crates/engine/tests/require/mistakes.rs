//! What the known tools get wrong here, each as a test that names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shearwater_core::journal::{Command, Event};
use shearwater_core::lifecycle::require::{Filling, Phase, Step};
use shearwater_core::spec::parse;
use shearwater_engine::records::{Edit, Shape};

use crate::world::*;

/// 1. Killed in the backfill, then told to finish: others report success with
/// most of the rows NULL.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_1_a_killed_backfill_is_not_taken_for_a_finished_one() {
    let world = World::sqlite(3_000, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Expand).await;
    process.must(Command::Pause).await;
    process.must(Command::Advance).await;
    process.must(Command::Resume).await;
    process.until("filling", |state| matches!(state.filling, Filling::Running { .. })).await;
    // The process goes away without a word, its work half-done.
    process.stop().await;
    let next = world.process("b").await;
    let told = next.ask(Command::Complete).await.unwrap_err();
    assert_eq!(told.code, "lifecycle/illegal", "{told}");
    next.forward(Phase::Enforce).await;
    assert_eq!(world.value_of("SELECT count(*) FROM users WHERE status IS NULL").as_deref(), Some("0"));
    next.stop().await;
}

/// 2. The same on a required column: others remove the old shape first, then
/// fail, and cannot be run again.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_2_nothing_is_taken_away_before_the_proof_and_all_can_be_run_again() {
    let world = World::postgres(300, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Backfill).await;
    process.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
    let told = process.ask(Command::Advance).await.unwrap_err();
    assert_eq!(told.code, "gate/verified", "no proof yet: {told}");
    process.must(Command::Verify).await;
    // A row loses its value behind the write default's back, after the proof.
    world.run("ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET status = NULL WHERE id = 7; \
               ALTER TABLE users ENABLE ALWAYS TRIGGER \"~_shearwater_fill\"; ALTER TABLE users ENABLE ALWAYS TRIGGER \"~_shearwater_note\"");
    let told = process.ask(Command::Advance).await.unwrap_err();
    assert_eq!(told.code, "enforce/violated", "{told}");
    let abandoned = process.entries().await.into_iter().find_map(|entry| match entry.event {
        Event::Require { step: Step::Abandoned { keys, .. } } => Some(keys),
        _ => None,
    });
    assert_eq!(abandoned.unwrap(), ["7"], "the offending key is reported");
    let look = process.setup.evolve.look().await.unwrap();
    assert!(look.check.is_none() && look.write_default && !look.not_null, "the check is not left behind: {look:?}");
    world.run("INSERT INTO users (id, name, active) VALUES (9001, 'old', true)");
    assert_eq!(process.status_of(7).await, "ACTIVE", "reads are still repaired");
    process.forward(Phase::Enforce).await;
    process.stop().await;
}

/// 3. An invalid fill: others report success with no row filled.
#[test]
fn mistake_3_an_invalid_fill_is_told_before_anything_is_written() {
    for (value, code) in [
        ("{ sql = '''CASE WHEN actve THEN 'A' ELSE 'B' END''' }", "fill/expression"),
        ("{ sql = '''upper(name)''' }", "fill/not-proven"),
        ("{ sql = '''now()''' }", "fill/volatile"),
    ] {
        let world = World::sqlite(3, value);
        let before = world.schema();
        let told = match parse(&world.spec(), &|_| None) {
            Err(problems) => problems[0].code.to_owned(),
            Ok(_) => {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(async {
                    let inspection = shearwater_stores::inspect(&world.url).await.unwrap();
                    let Ok(shearwater_core::spec::Migration::Require(spec)) = parse(&world.spec(), &|_| None) else {
                        panic!("not read");
                    };
                    match shearwater_core::plan::require::required(&spec, &inspection) {
                        Err(told) => told.code.to_owned(),
                        Ok(required) => {
                            let told = shearwater_stores::open_evolve(&world.url, required.wanted).await.err().unwrap();
                            assert!(told.message.contains("not proven"), "{told}");
                            "fill/not-proven".to_owned()
                        }
                    }
                })
            }
        };
        assert_eq!(told, code, "{value}");
        assert_eq!(world.schema(), before);
    }
}

/// 4. A client that sets its own value is taken for an old one and overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_4_a_value_that_a_client_chose_is_never_overwritten() {
    for world in [World::sqlite(900, BY_ACTIVITY), World::postgres(900, BY_ACTIVITY), World::mariadb(900, BY_ACTIVITY)]
    {
        let process = world.process("a").await;
        process.forward(Phase::Expand).await;
        process.write(Shape::V2, 3, Edit::MergePatch(doc(r#"{"status":"SUSPENDED"}"#))).await.unwrap();
        world.run("UPDATE users SET status = 'DIRECT' WHERE id = 4");
        process.forward(Phase::Contract).await;
        assert_eq!(process.status_of(3).await, "SUSPENDED");
        assert_eq!(process.status_of(4).await, "DIRECT");
        process.must(Command::Rollback).await;
        process.forward(Phase::Contract).await;
        assert_eq!(process.status_of(3).await, "SUSPENDED");
        process.stop().await;
    }
}

/// 5. The contract step holds an exclusive lock during a full scan.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_5_no_statement_scans_under_an_exclusive_lock() {
    use shearwater_core::evolve::{Effect, Stage};
    let world = World::postgres(10, BY_ACTIVITY);
    let setup = world.setup().await;
    for stage in Stage::ALL {
        for statement in setup.evolve.statements(stage).await.unwrap() {
            if statement.lock == "ACCESS EXCLUSIVE" {
                assert_eq!(statement.effect, Effect::Catalogue, "{statement:?}");
            }
        }
    }
    // And the server agrees: SET NOT NULL takes the check for proof and does not scan.
    world.run("INSERT INTO users SELECT g, 'x', true, 1 FROM generate_series(1000, 200000) g");
    let process = world.process("a").await;
    process.forward(Phase::Enforce).await;
    let held = |wanted: shearwater_core::evolve::Alteration, entries: &[shearwater_core::journal::Entry]| {
        entries.iter().find_map(|entry| match &entry.event {
            Event::Require { step: Step::Altered { what, held_micros, .. } } if *what == wanted => Some(*held_micros),
            _ => None,
        })
    };
    let entries = process.entries().await;
    let (scan, set) = (
        held(shearwater_core::evolve::Alteration::ValidateCheck, &entries).unwrap(),
        held(shearwater_core::evolve::Alteration::SetNotNull, &entries).unwrap(),
    );
    println!("validate {scan} µs beside everybody, set not null {set} µs alone");
    process.stop().await;
}

/// 6. No statistics: ten times slower. 7. Keys that are uuids: six times the
/// updates needed. The walk goes by blocks, so neither matters: each row is
/// updated once.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_6_and_7_each_row_is_written_once_without_statistics_and_by_random_keys() {
    let world = World::postgres(0, BY_ACTIVITY);
    world.run("DROP TABLE users; CREATE TABLE users (id uuid PRIMARY KEY, name text NOT NULL, active boolean NOT NULL, age bigint) \
               WITH (autovacuum_enabled = off)");
    world.run("INSERT INTO users SELECT gen_random_uuid(), 'u', g % 3 <> 0, g FROM generate_series(1, 20000) g");
    assert_eq!(world.value_of("SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass").as_deref(), Some("-1"));
    let process = world.process("a").await;
    process.forward(Phase::Backfill).await;
    let state = process.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
    let Filling::Done { totals, .. } = state.filling else { panic!() };
    assert_eq!(totals.changed, 20_000, "each row once");
    process.stop().await;
}

/// 8. No tool asks whether outdated clients are still there, none can go back
/// after contract, none checks that the value is the right one.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_8_outdated_clients_block_contract_and_the_way_back_stays_open_and_wrong_values_are_found() {
    let mut world = World::sqlite(300, BY_ACTIVITY);
    world.quiet_hours = 24;
    let process = world.process("a").await;
    process.forward(Phase::Backfill).await;
    process.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
    // Not NULL, but nobody chose it: written behind the triggers.
    let conn = rusqlite::Connection::open(world.file()).unwrap();
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    conn.execute("UPDATE users SET status = 'WRONG' WHERE id = 5", []).unwrap();
    let report = process.must(Command::Verify).await;
    assert_eq!((report["different"].as_u64(), report["findings"][0]["key"].as_str()), (Some(1), Some("5")), "{report}");
    assert_eq!(process.ask(Command::Advance).await.unwrap_err().code, "gate/verified");
    conn.execute("UPDATE users SET status = 'ACTIVE' WHERE id = 5", []).unwrap();
    assert_eq!(process.must(Command::Verify).await["mismatches"], 0);
    process.must(Command::Advance).await;
    let told = process.ask(Command::Advance).await.unwrap_err();
    assert_eq!(told.code, "gate/outdated-writes", "{told}");
    process.stop().await;

    // Nor are those overlooked that write the table themselves.
    for world in [World::sqlite(30, BY_ACTIVITY), World::postgres(30, CONSTANT), World::mariadb(30, BY_ACTIVITY)] {
        let process = world.process("a").await;
        process.forward(Phase::Expand).await;
        world.run(&format!("INSERT INTO users (id, name, active) VALUES (900, 'direct', {})", world.truth(true)));
        let quiet = shearwater_engine::require::quiet(&process.setup).await.unwrap();
        assert!(quiet.direct == Some(1) && quiet.quiet_ms < 3_600_000, "{quiet:?}");
        process.stop().await;
    }

    let world = World::sqlite(300, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Contract).await;
    process.must(Command::Rollback).await;
    assert_eq!(process.until("expand", |s| s.phase == Phase::Expand).await.phase, Phase::Expand);
    process.stop().await;
}

/// The latency below which 99 of 100 stayed.
fn p99(mut took: Vec<std::time::Duration>) -> std::time::Duration {
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// A direct writer, outdated and new clients, all the time while the migration
/// goes there, back and there again: no request fails, no read is without the field.
async fn under_traffic(world: World) {
    let world = Arc::new(world);
    let process = Arc::new(world.process("a").await);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for shape in [Shape::V1, Shape::V2] {
        let (process, stop, answered) = (process.clone(), stop.clone(), answered.clone());
        clients.push(tokio::spawn(async move {
            let mut done = 0_u64;
            let mut calm = Vec::new();
            let mut moved = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = std::time::Instant::now();
                let id = 1 + i64::try_from(done * 7 % 900).unwrap();
                let patch = match shape {
                    Shape::V1 => format!(r#"{{"age":{}}}"#, done % 80),
                    // Before the start there is no place for it.
                    Shape::V2 if process.state().phase == Phase::Planned => format!(r#"{{"age":{}}}"#, done % 80),
                    Shape::V2 => format!(r#"{{"status":"S{}"}}"#, done % 5),
                };
                let written = process.write(shape, id, Edit::MergePatch(doc(&patch))).await;
                assert!(written.is_ok(), "{shape:?}: {written:?}");
                let read = process.get(Shape::V2, id).await.unwrap();
                assert!(read.get("status").is_some_and(|value| !value.is_null()), "{read:?}");
                done += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                let took = if process.state().phase == Phase::Planned { &mut calm } else { &mut moved };
                took.push(began.elapsed());
            }
            println!(
                "{shape:?}: p99 of a write and a read {:?} before the start, {:?} meanwhile",
                p99(calm),
                p99(moved)
            );
            done
        }));
    }
    let direct = {
        let (world, stop) = (world.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut n = 500_000;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let sql =
                    format!("INSERT INTO users (id, name, active) VALUES ({n}, 'direct', {})", world.truth(n % 2 == 0));
                world.try_run(&sql).unwrap_or_else(|e| panic!("a direct writer failed: {e}"));
            }
            n - 500_000
        })
    };
    // Some traffic before anything begins, to compare with.
    while answered.load(Ordering::Relaxed) < 400 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    for _ in 0..2 {
        process.forward(Phase::Enforce).await;
        process.must(Command::Rollback).await;
        process.until("expand", |state| state.phase == Phase::Expand && !state.is_unsettled()).await;
    }
    process.forward(Phase::Enforce).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert!(direct.join().unwrap() > 0);
    let report = process.must(Command::Verify).await;
    assert_eq!(report["mismatches"], 0, "{report}");
    let longest = shearwater_engine::require::status(&process.setup).await.unwrap().lock_held_micros_max;
    println!("{}: longest lock {longest} µs under traffic", process.setup.evolve.kind());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_on_postgres() {
    under_traffic(World::postgres(900, BY_ACTIVITY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_on_mariadb() {
    under_traffic(World::mariadb(900, BY_ACTIVITY)).await;
}
