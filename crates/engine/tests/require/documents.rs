//! The whole life in a collection of MongoDB, with clients of both shapes and a
//! program that writes the collection itself: no trigger fills what it writes, so
//! it is found, and refused from enforce on.

use mongodb::bson::doc as bson;
use shearwater_core::journal::{Command, Event};
use shearwater_core::lifecycle::require::{Filling, Phase, Step};
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_core::store::{Change, Expect, Image, Write};
use shearwater_core::{Key, Value};
use shearwater_engine::Serve as _;
use shearwater_engine::records::{ClientChange, Condition, Edit, ListAsk, ServeError, Shape};

use crate::walk::everything;
use crate::world::*;

/// What both kinds of client do in a phase; every write must be taken.
async fn live(process: &Process, n: &mut i64) {
    let phase = process.state().phase;
    *n += 10;
    let id = *n;
    let old = doc(&format!(r#"{{"_id":{id},"name":"old","active":false}}"#));
    match process.write(Shape::V1, id, Edit::Insert(old)).await {
        Ok(done) => {
            assert!(!done.records[0].as_ref().unwrap().record.contains("status"), "{phase}: v1 does not see it");
            assert_eq!(process.status_of(id).await, "INACTIVE", "{phase}");
        }
        Err(ServeError::Unprocessable { field, .. }) => assert!(phase == Phase::Contract && field == "status"),
        Err(other) => panic!("{phase}: {other:?}"),
    }
    if phase != Phase::Planned {
        let new = doc(&format!(r#"{{"_id":{},"name":"new","active":true,"status":"CHOSEN","tags":["a"]}}"#, id + 1));
        process.write(Shape::V2, id + 1, Edit::Insert(new)).await.unwrap();
        process.write(Shape::V1, id + 1, Edit::MergePatch(doc(r#"{"age":3}"#))).await.unwrap();
        let replaced = doc(&format!(r#"{{"_id":{},"name":"put","active":true}}"#, id + 1));
        process.write(Shape::V1, id + 1, Edit::Replace(replaced)).await.unwrap();
        assert_eq!(process.status_of(id + 1).await, "CHOSEN", "{phase}: an outdated client does not wipe it");
    }
    for record in process.list(everything(Shape::V2)).await {
        assert!(record.get("status").is_some_and(|value| !value.is_null()), "{phase}: {record:?}");
    }
    assert!(process.list(everything(Shape::V1)).await.iter().all(|record| !record.contains("status")));
}

fn schema(world: &World) -> Vec<String> {
    world.answer(bson! { "listCollections": 1, "nameOnly": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_and_there_again() {
    let world = World::mongodb(300, BY_ACTIVITY);
    let before = (schema(&world), world.answer(bson! { "find": "users", "batchSize": 1_000 }));
    let process = world.process("a").await;
    let mut n = 100_000;
    for round in 0..2 {
        live(&process, &mut n).await;
        for phase in [Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
            process.forward(phase).await;
            live(&process, &mut n).await;
            if phase == Phase::Enforce {
                let report = process.must(Command::Verify).await;
                assert_eq!((&report["mismatches"], &report["missing"]), (&0.into(), &0.into()), "{report}");
                assert!(report["chosen"].as_u64().unwrap() > 0, "{report}");
            }
        }
        process.must(Command::Rollback).await;
        process.until("expand again", |state| state.phase == Phase::Expand && !state.is_unsettled()).await;
        live(&process, &mut n).await;
        if round == 0 {
            let report = process.must(Command::Rollback).await;
            assert!(report["values_dropped"].as_u64().unwrap() > 0, "{report}");
            process.until("planned", |state| state.phase == Phase::Planned && !state.is_unsettled()).await;
            world.command(bson! { "delete": "users", "deletes": [{ "q": { "_id": { "$gt": 100_000 } }, "limit": 0 }] });
            let now = (schema(&world), world.answer(bson! { "find": "users", "batchSize": 1_000 }));
            assert_eq!(now, before, "the documents are as before the start");
        }
    }
    process.forward(Phase::Complete).await;
    assert_eq!(schema(&world).len(), 1, "nothing of ours is left");
    let without = bson! { "insert": "users", "documents": [{ "_id": "late" }] };
    assert_eq!(world.command(without), [121], "the rule stays");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_a_list_by_the_field_are_the_same_in_every_phase() {
    let world = World::mongodb(30, BY_ACTIVITY);
    let process = world.process("a").await;
    let etag = process.got(Shape::V1, 3).await.etag;
    let inactive = ListAsk {
        filter: Filter::Compare {
            path: Path::field("status"),
            op: CompareOp::Eq,
            literal: Literal::Typed(Value::text("INACTIVE")),
        },
        ..everything(Shape::V2)
    };
    for phase in [Phase::Planned, Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
        process.forward(phase).await;
        for shape in [Shape::V1, Shape::V2] {
            assert_eq!(process.got(shape, 3).await.etag, etag, "{phase} {shape:?}");
        }
        assert_eq!(process.list(inactive.clone()).await.len(), 10, "{phase}");
    }
    let last = doc(r#"{"name":"n","active":true,"status":"X","_id":77}"#);
    let written = process.write(Shape::V2, 77, Edit::Insert(last)).await.unwrap();
    let told = written.records[0].as_ref().unwrap().etag;
    assert_eq!(process.got(Shape::V2, 77).await.etag, told, "the key is first, wherever it was sent");
    let stale = ClientChange {
        key: Key::single(3i64),
        edit: Edit::MergePatch(doc(r#"{"age":4}"#)),
        condition: Condition::Match(vec![process.got(Shape::V2, 4).await.etag]),
    };
    let told = process.served.write(Shape::V2, vec![stale], None).await.unwrap_err();
    assert!(matches!(told, ServeError::PreconditionFailed { .. }), "{told:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shape_is_held_to_what_it_has() {
    let world = World::mongodb(3, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Expand).await;
    for (shape, sent, code) in [
        (Shape::V2, r#"{"_id":50,"name":"n","active":true}"#, "record/required"),
        (Shape::V2, r#"{"_id":50,"name":"n","active":true,"status":null}"#, "record/required"),
        (Shape::V2, r#"{"_id":50,"name":"n","active":true,"status":5}"#, "record/type"),
        (Shape::V1, r#"{"_id":50,"name":"n","active":true,"status":"X"}"#, "record/unknown-field"),
        (Shape::V1, r#"{"_id":50,"name":"n","active":"yes"}"#, "record/fill"),
    ] {
        let told = process.write(shape, 50, Edit::Insert(doc(sent))).await.unwrap_err();
        let ServeError::Unprocessable { field, code: found, .. } = told else { panic!("{sent}: {told:?}") };
        assert_eq!((field.as_str(), found.as_str()), ("status", code), "{sent}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_writer_without_the_field_is_found_named_and_then_refused() {
    let world = World::mongodb(30, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Backfill).await;
    process.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
    process.must(Command::Verify).await;
    let direct = |id: i64| bson! { "insert": "users", "documents": [{ "_id": id, "name": "direct", "active": false }] };
    assert!(world.command(direct(900)).is_empty());
    assert_eq!(process.status_of(900).await, "INACTIVE", "a new client never sees it without");
    // The proof does not hold any more: it is given up, and the backfill begins again.
    let told = process.ask(Command::Advance).await.unwrap_err();
    assert_eq!(told.code, "enforce/violated", "{told}");
    let named = process.entries().await.into_iter().find_map(|entry| match entry.event {
        Event::Require { step: Step::Abandoned { keys, .. } } => Some(keys),
        _ => None,
    });
    assert_eq!(named, Some(vec![Key::single(900i64).to_text()]));
    assert!(world.command(direct(901)).is_empty(), "no rule was left behind");
    process.until("filled again", |state| matches!(state.filling, Filling::Done { .. })).await;
    // It has not seen what came meanwhile, or it has: verification tells.
    process.must(Command::Backfill).await;
    let report = process.must(Command::Verify).await;
    assert_eq!((&report["missing"], &report["mismatches"]), (&0.into(), &0.into()), "{report}");
    process.must(Command::Advance).await;
    process.until("enforce", |state| state.phase == Phase::Enforce && !state.is_unsettled()).await;
    assert_eq!(world.command(direct(902)), [121]);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_backfill_did_not_make_so_is_wrong() {
    let world = World::mongodb(30, BY_ACTIVITY);
    let process = world.process("a").await;
    process.forward(Phase::Backfill).await;
    process.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
    // A note says that we made it of what stands there; the fill gives another value.
    let setup = &process.setup;
    let key = Key::single(4i64);
    assert_eq!(setup.evolve.chosen(std::slice::from_ref(&key)).await.unwrap(), [false]);
    let other = World::at(&world.dir, &world.url, "\"OTHER\"");
    let mut wrong = other.setup().await;
    wrong.evolve = setup.evolve.clone();
    process.stop().await;
    let options = shearwater_engine::member::MemberOptions::default();
    let member = shearwater_engine::require::Member::join_journal(wrong.journal.clone(), "w", options).await.unwrap();
    let coordinator = shearwater_engine::require::run::spawn(
        wrong.clone(),
        member.clone(),
        shearwater_engine::coordinator::CoordinatorOptions::default(),
    );
    let minute = std::time::Duration::from_secs(60);
    let report =
        shearwater_engine::run::ask_in(wrong.journal.as_ref(), Command::Verify, minute).await.unwrap().unwrap();
    assert_eq!((&report["different"], &report["chosen"]), (&30.into(), &0.into()), "{report}");
    coordinator.stop().await;
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_shapes_on_dynamodb_and_a_direct_writer_that_nothing_stops() {
    let world = World::dynamodb(30, BY_ACTIVITY);
    let before = world.items();
    let process = world.process("a").await;
    for phase in [Phase::Planned, Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
        process.forward(phase).await;
        assert_eq!(process.status_of(3).await, "INACTIVE", "{phase}");
        assert_eq!(process.list(everything(Shape::V2)).await.len(), 30, "{phase}");
        assert!(process.list(everything(Shape::V1)).await.iter().all(|record| !record.contains("status")), "{phase}");
        process.write(Shape::V1, 4, Edit::MergePatch(doc(r#"{"name":"old"}"#))).await.unwrap();
        if phase != Phase::Planned {
            process.write(Shape::V2, 5, Edit::MergePatch(doc(r#"{"status":"CHOSEN"}"#))).await.unwrap();
            process.write(Shape::V1, 5, Edit::MergePatch(doc(r#"{"name":"old"}"#))).await.unwrap();
            assert_eq!(process.status_of(5).await, "CHOSEN", "{phase}: an outdated client does not wipe it");
            let told = process.write(Shape::V2, 6, Edit::MergePatch(doc(r#"{"status":null}"#))).await.unwrap_err();
            assert!(matches!(told, ServeError::Unprocessable { .. }), "{phase}: {told:?}");
        }
    }
    // A program beside us: the store takes it, verification finds it.
    let image = Some(Image::of(doc(r#"{"id":99,"active":true,"name":"direct"}"#)));
    let change = Change { key: Key::single(99i64), image, expect: Expect::Any };
    process.setup.old.write(Write { epoch: None, changes: vec![change], idempotency: None }).await.unwrap();
    let report = process.must(Command::Verify).await;
    assert_eq!((&report["missing"], &report["chosen"]), (&1.into(), &1.into()), "{report}");
    process.must(Command::Rollback).await;
    process.until("expand again", |state| state.phase == Phase::Expand && !state.is_unsettled()).await;
    let report = process.must(Command::Rollback).await;
    assert_eq!(report["values_dropped"], 1, "{report}");
    process.until("planned", |state| state.phase == Phase::Planned && !state.is_unsettled()).await;
    let (now, same) = (world.items(), |text: &String| !text.contains("old") && !text.contains("direct"));
    assert!(now.iter().all(|text| !text.contains("status")), "{now:?}");
    let unchanged: Vec<&String> = now.iter().filter(|text| same(text)).collect();
    assert_eq!(unchanged.len(), 28, "{now:?}");
    assert!(unchanged.iter().all(|text| before.contains(text)), "{now:?}");
    process.stop().await;
}
