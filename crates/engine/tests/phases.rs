//! A whole migration, every way forward and back, quiet and under writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod world;

use rusqlite::params;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use world::{World, assert_equal, document, entries, events};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_and_there_for_good() {
    let world = World::new(300);
    let process = world.process("p").await;

    process.forward_to(Phase::DualWrite).await;
    process.backfilled().await;
    let target = world.target();
    target.execute("UPDATE people SET city = 'foreign' WHERE id = 'u00001'", []).unwrap();
    let report = process.done(Command::Verify).await;
    assert_eq!(report["different"], 1, "the foreign write: {report}");
    let report = process.done(Command::Repair { dry_run: false }).await;
    assert_eq!(report["repaired"], 1, "the foreign write: {report}");

    process.forward_to(Phase::ReverseWindow).await;
    assert_equal(&process.setup, "after the first cutover").await;
    target.execute("UPDATE people SET city = 'moved' WHERE id = 'u00007'", []).unwrap();
    target.execute("INSERT INTO people (id, email, score) VALUES ('new', 'new@example.org', 7)", []).unwrap();
    target.execute("DELETE FROM people WHERE id = 'u00009'", []).unwrap();
    process.followed(Side::Target).await;
    assert_equal(&process.setup, "in the reverse window").await;

    let report = process.done(Command::Rollback).await;
    assert_eq!(report["phase"], "dual-write", "{report}");
    assert!(report["pause_micros"].as_u64().unwrap() > 0, "{report}");
    let source = world.source();
    let doc: String = source.query_row("SELECT doc FROM users WHERE _id = 'u00007'", [], |r| r.get(0)).unwrap();
    assert!(
        doc.contains(r#""city":"moved""#) && doc.contains("zip"),
        "written in the target, kept in the source: {doc}"
    );
    source.execute("INSERT INTO users VALUES ('x', ?1)", params![document("x", 1)]).unwrap();
    let refused = target.execute("UPDATE people SET city = 'foreign' WHERE id = 'u00001'", []).unwrap_err();
    assert!(refused.to_string().contains("closed for writes"), "who still writes to the target is told: {refused}");
    process.followed(Side::Source).await;

    process.forward_to(Phase::ReverseWindow).await;
    assert_equal(&process.setup, "after the second cutover").await;
    process.forward_to(Phase::Complete).await;
    for side in [Side::Source, Side::Target] {
        assert_eq!(process.setup.store(side).sidecar_names().await.unwrap(), Vec::<String>::new(), "{side:?}");
    }
    let score: i64 = target.query_row("SELECT score FROM people WHERE id = 'new'", [], |r| r.get(0)).unwrap();
    assert_eq!(score, 7, "H20: what only v2 has survived the rollback");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_backfill_changes_nothing() {
    let world = World::new(200);
    let process = world.process("p").await;
    process.done(Command::Advance).await;
    process.backfilled().await;
    let report = process.done(Command::Backfill).await;
    assert_eq!((&report["read"], &report["changed"], &report["dead"]), (&200.into(), &0.into(), &0.into()), "{report}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_from_every_phase_before_the_cutover_loses_nothing() {
    let world = World::new(60);
    let process = world.process("p").await;
    let source = world.source();
    for (n, phase) in [Phase::DualWrite, Phase::ShadowRead, Phase::ReadRamp].into_iter().enumerate() {
        process.forward_to(phase).await;
        source
            .execute("INSERT INTO users VALUES (?1, ?2)", params![format!("r{n}"), document(&format!("r{n}"), 5)])
            .unwrap();
        process.done(Command::Rollback).await;
        assert_eq!(process.state().await.phase, Phase::Planned);
        source.execute("DELETE FROM users WHERE _id = ?1", params![format!("u{n:05}")]).unwrap();
        assert!(process.setup.source.dirty_count().await.unwrap() > 0, "planned captures, nobody follows");
    }
    process.forward_to(Phase::DualWrite).await;
    process.followed(Side::Source).await;
    assert_equal(&process.setup, "forward again").await;
    process.done(Command::Rollback).await;
    process.done(Command::Withdraw).await;
    assert_eq!(process.setup.source.sidecar_names().await.unwrap(), Vec::<String>::new());
    process.refused(Command::Advance, "phase/no-next").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_hold_and_say_why() {
    let world = World::new(30);
    let source = world.source();
    source.execute("INSERT INTO users VALUES ('bad', '{\"_id\":\"bad\",\"age\":\"old\"}')", []).unwrap();
    let process = world.process("p").await;
    process.refused(Command::Ramp { percent: 5 }, "phase/not-ramp").await;
    process.refused(Command::Rollback, "phase/at-the-start").await;
    process.refused(Command::Verify, "phase/no-follower").await;
    process.refused(Command::Complete, "phase/not-reverse-window").await;
    process.done(Command::Advance).await;
    process.backfilled().await;
    let refusal = process.refused(Command::Advance, "gate/dead-letters").await;
    assert!(refusal.message.contains("1 dead letters") && refusal.message.contains("verified"), "{refusal}");
    let letters = process.setup.journal.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].key.as_str(), letters[0].authority), ("bad", Side::Source));

    // Mended where it belongs, it follows by itself and the letter goes.
    source.execute("UPDATE users SET doc = '{\"_id\":\"bad\",\"age\":7}' WHERE _id = 'bad'", []).unwrap();
    process.followed(Side::Source).await;
    assert_eq!(process.setup.journal.dead_letter_count().await.unwrap(), 0);
    process.refused(Command::Advance, "gate/verified").await;
    process.forward_to(Phase::ReadRamp).await;
    process.refused(Command::Advance, "gate/ramp").await;
    process.done(Command::Ramp { percent: 100 }).await;
    process.done(Command::Advance).await;
    process.refused(Command::Advance, "phase/last-exit").await;
    source.execute("DELETE FROM users WHERE _id = 'bad'", []).expect_err("the fence holds for direct writers");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_rests_the_backfill_and_not_the_reconciler() {
    let world = World::new(50);
    let process = world.process("p").await;
    process.done(Command::Pause).await;
    process.done(Command::Advance).await;
    world.source().execute("DELETE FROM users WHERE _id = 'u00003'", []).unwrap();
    process.followed(Side::Source).await;
    let names = events(&entries(process.setup.journal.as_ref()).await);
    assert!(!names.contains(&"backfill-started"), "{names:?}");
    process.done(Command::Resume).await;
    process.backfilled().await;
    assert_equal(&process.setup, "after the pause").await;
    process.stop().await;
}
