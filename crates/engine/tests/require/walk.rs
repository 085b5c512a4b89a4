//! The whole life on every store, there, back and there again, with outdated
//! and new clients and a program beside us in every phase.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::require::Phase;
use shearwater_engine::records::{Edit, ServeError, Shape};

use crate::world::*;

/// What both kinds of client and a direct writer do in a phase; every write
/// must be taken.
async fn live(world: &World, process: &Process, n: &mut i64) {
    let phase = process.state().phase;
    let is_contract = phase == Phase::Contract;
    *n += 10;
    let id = *n;
    let old = doc(&format!(r#"{{"id":{id},"name":"old","active":false,"age":1}}"#));
    match process.write(Shape::V1, id, Edit::Insert(old)).await {
        Ok(done) => {
            let record = done.records[0].as_ref().unwrap();
            assert!(!record.record.contains("status"), "v1 does not see it: {record:?}");
            assert!(!is_contract);
        }
        Err(ServeError::Unprocessable { field, .. }) => assert!(is_contract && field == "status"),
        Err(other) => panic!("{phase}: {other:?}"),
    }
    if phase != Phase::Planned {
        let new = |status: &str| {
            doc(&format!(r#"{{"id":{},"name":"new","active":true,"age":2,"status":"{status}"}}"#, id + 1))
        };
        process.write(Shape::V2, id + 1, Edit::Insert(new("CHOSEN"))).await.unwrap();
        // An outdated client changes, replaces and does not wipe it.
        process.write(Shape::V1, id + 1, Edit::MergePatch(doc(r#"{"age":3}"#))).await.unwrap();
        let replaced = doc(&format!(r#"{{"id":{},"name":"put","active":true}}"#, id + 1));
        process.write(Shape::V1, id + 1, Edit::Replace(replaced)).await.unwrap();
        assert_eq!(process.status_of(id + 1).await, "CHOSEN", "{phase}");
        process.write(Shape::V2, id + 1, Edit::MergePatch(doc(r#"{"status":"AGAIN"}"#))).await.unwrap();
        assert_eq!(process.status_of(id + 1).await, "AGAIN", "{phase}");
    }
    let direct = format!("INSERT INTO users (id, name, active) VALUES ({}, 'direct', {})", id + 2, world.truth(true));
    assert_eq!(world.try_run(&direct).is_ok(), !is_contract, "{phase}: a direct writer");
    // A new client never sees a record without it.
    for record in process.list(everything(Shape::V2)).await {
        assert!(record.get("status").is_some_and(|value| !value.is_null()), "{phase}: {record:?}");
    }
    assert!(process.list(everything(Shape::V1)).await.iter().all(|record| !record.contains("status")));
}

async fn life(world: World) {
    let before = world.schema();
    let process = world.process("a").await;
    let mut n = 100_000;
    live(&world, &process, &mut n).await;
    for round in 0..2 {
        for phase in [Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
            process.forward(phase).await;
            live(&world, &process, &mut n).await;
            if phase == Phase::Enforce || (phase == Phase::Contract && round == 0) {
                let report = process.must(Command::Verify).await;
                assert_eq!(report["mismatches"], 0, "{phase}: {report}");
                assert!(report["chosen"].as_u64().unwrap() > 0, "{report}");
            }
        }
        process.must(Command::Rollback).await;
        process.until("expand again", |state| state.phase == Phase::Expand && !state.is_unsettled()).await;
        live(&world, &process, &mut n).await;
        if round == 0 {
            let report = process.must(Command::Rollback).await;
            assert!(report["values_dropped"].as_u64().unwrap() > 0, "{report}");
            process.until("planned", |state| state.phase == Phase::Planned && !state.is_unsettled()).await;
            assert_eq!(world.schema(), before, "the schema is as a dump before the start");
            live(&world, &process, &mut n).await;
        }
    }
    process.forward(Phase::Complete).await;
    let left = world.schema().join("\n");
    assert!(!left.contains("shearwater"), "{left}");
    assert_eq!(world.value_of("SELECT count(*) FROM users WHERE status IS NULL").as_deref(), Some("0"));
    let told = process.ask(Command::Rollback).await.unwrap_err();
    assert_eq!(told.code, "phase/not-possible");
    let longest = shearwater_engine::require::status(&process.setup).await.unwrap().lock_held_micros_max;
    println!("{}: longest lock {longest} µs", process.setup.evolve.kind());
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_on_sqlite() {
    life(World::sqlite(300, BY_ACTIVITY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_on_sqlite() {
    life(World::sqlite(300, CONSTANT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_on_postgres() {
    life(World::postgres(300, BY_ACTIVITY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_on_postgres() {
    life(World::postgres(300, CONSTANT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_on_mariadb() {
    life(World::mariadb(300, BY_ACTIVITY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_on_mariadb() {
    life(World::mariadb(300, CONSTANT)).await;
}

/// All records of a shape, in key order.
pub fn everything(shape: Shape) -> shearwater_engine::records::ListAsk {
    shearwater_engine::records::ListAsk {
        shape,
        filter: shearwater_core::query::Filter::All,
        order: vec![],
        after: None,
        limit: 10_000,
    }
}
