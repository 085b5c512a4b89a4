//! What clients of either shape are told, and that versions and lists survive
//! a change of phase.

use shearwater_core::Key;
use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::require::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_engine::Serve;
use shearwater_engine::records::{ClientChange, Condition, Edit, ListAsk, ServeError, Shape};

use crate::walk::everything;
use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_must_send_the_field_and_is_told_its_name() {
    let world = World::sqlite(10, BY_ACTIVITY);
    let process = world.process("a").await;
    let without = doc(r#"{"id":50,"name":"n","active":true}"#);
    let with = doc(r#"{"id":50,"name":"n","active":true,"status":"X"}"#);
    let early = process.write(Shape::V2, 50, Edit::Insert(with.clone())).await.unwrap_err();
    assert!(matches!(early, ServeError::Unavailable { .. }), "there is no place for it before the start: {early:?}");
    process.forward(Phase::Expand).await;
    let empty = doc(r#"{"status":null}"#);
    for (why, edit) in [
        ("create", Edit::Insert(without.clone())),
        ("replace", Edit::Replace(doc(r#"{"id":1,"name":"n","active":true}"#))),
        ("patched away", Edit::MergePatch(empty)),
    ] {
        let id = if why == "create" { 50 } else { 1 };
        let told = process.write(Shape::V2, id, edit).await.unwrap_err();
        let ServeError::Unprocessable { field, code, .. } = told else { panic!("{why}: {told:?}") };
        assert_eq!((field.as_str(), code.as_str()), ("status", "record/required"), "{why}");
    }
    process.write(Shape::V2, 50, Edit::Insert(with)).await.unwrap();
    let told = process.write(Shape::V1, 51, Edit::Insert(doc(r#"{"id":51,"name":"n","active":true,"status":"X"}"#)));
    assert!(matches!(told.await, Err(ServeError::Unprocessable { .. })), "v1 does not know it");
    process.stop().await;
}

/// What a new client sends of the field, and what the record has then; or the code of the refusal.
async fn sent_and_kept(mut world: World, ty: &str, cases: &[(&str, &str)]) {
    world.ty = ty.to_owned();
    let process = world.process("a").await;
    process.forward(Phase::Enforce).await;
    for (sent, expect) in cases {
        let patch = doc(&format!("{{\"status\":{sent}}}"));
        match process.write(Shape::V2, 3, Edit::MergePatch(patch)).await {
            Ok(done) => {
                let answered = &done.records[0].as_ref().unwrap().record;
                let kept = process.get(Shape::V2, 3).await.unwrap();
                let expect = doc(&format!("{{\"status\":{expect}}}"));
                for record in [answered, &kept] {
                    assert_eq!(record.get("status"), expect.get("status"), "{ty}: {sent}");
                }
            }
            Err(ServeError::Unprocessable { code, field, .. }) => {
                assert_eq!((code.as_str(), field.as_str()), (*expect, "status"), "{ty}: {sent}");
            }
            Err(other) => panic!("{ty}: {sent}: {other:?}"),
        }
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_client_sends_is_one_of_the_fields_values_in_its_one_form_or_refused() {
    let worlds = |value: &str| [World::sqlite(6, value), World::postgres(6, value), World::mariadb(6, value)];
    for world in worlds("\"active\"").into_iter().chain([World::mongodb(6, "\"active\"")]) {
        let cases = [
            (r#""blocked""#, r#""blocked""#),
            (r#""Blocked""#, "record/value"),
            (r#""""#, "record/value"),
            ("1", "record/type"),
            ("null", "record/required"),
        ];
        sent_and_kept(world, "type = \"text\"\nvalues = [\"active\", \"blocked\"]", &cases).await;
    }
    for world in worlds("\"0\"").into_iter().chain([World::mongodb(6, "\"0\"")]) {
        let cases = [
            (r#"{"@decimal":"1.5"}"#, r#"{"@decimal":"1.50"}"#),
            ("-7", r#"{"@decimal":"-7.00"}"#),
            (r#"{"@decimal":"1.005"}"#, "record/value"),
            (r#"{"@decimal":"1000"}"#, "record/value"),
            (r#""1.50""#, "record/type"),
            ("1.5", "record/type"),
        ];
        sent_and_kept(world, "type = \"decimal\"\nprecision = 5\nscale = 2", &cases).await;
    }
    for world in worlds("2026-01-31") {
        let cases = [(r#"{"@date":"2024-02-29"}"#, r#"{"@date":"2024-02-29"}"#), (r#""2024-02-29""#, "record/type")];
        sent_and_kept(world, "type = \"date\"", &cases).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_the_same_in_both_shapes_and_in_every_phase() {
    let world = World::sqlite(30, BY_ACTIVITY);
    let process = world.process("a").await;
    let etag = process.got(Shape::V1, 3).await.etag;
    for phase in [Phase::Planned, Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
        process.forward(phase).await;
        for shape in [Shape::V1, Shape::V2] {
            assert_eq!(process.got(shape, 3).await.etag, etag, "{phase} {shape:?}");
        }
    }
    let stale = ClientChange {
        key: Key::single(3i64),
        edit: Edit::MergePatch(doc(r#"{"age":4}"#)),
        condition: Condition::Match(vec![process.got(Shape::V2, 4).await.etag]),
    };
    let told = process.served.write(Shape::V1, vec![stale], None).await.unwrap_err();
    assert!(matches!(told, ServeError::PreconditionFailed { .. }), "{told:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_the_field_is_whole_before_the_backfill() {
    let world = World::sqlite(30, BY_ACTIVITY);
    let process = world.process("a").await;
    let inactive = |shape| ListAsk {
        filter: Filter::Compare {
            path: Path::field("status"),
            op: CompareOp::Eq,
            literal: Literal::Typed(Value::text("INACTIVE")),
        },
        ..everything(shape)
    };
    for phase in [Phase::Planned, Phase::Expand, Phase::Backfill, Phase::Enforce, Phase::Contract] {
        process.forward(phase).await;
        assert_eq!(process.list(inactive(Shape::V2)).await.len(), 10, "{phase}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_repairs_before_the_field_can_be_seen_and_until_it_is_everywhere() {
    let world = World::sqlite(30, BY_ACTIVITY);
    let coordinator = world.process("a").await;
    let other = world.gateway("b").await;
    // A request of the other gateway is held open: no phase is entered over it.
    let held = other.member.admit().unwrap();
    let setup = coordinator.setup.clone();
    let asked = tokio::spawn(async move {
        shearwater_engine::run::ask_in(setup.journal.as_ref(), Command::Advance, std::time::Duration::from_secs(60))
            .await
    });
    coordinator.until("being entered", |state| state.entering == Some(Phase::Expand)).await;
    assert!(
        coordinator.setup.evolve.look().await.unwrap().write_default,
        "the default is there before anybody follows"
    );
    assert_eq!(coordinator.state().phase, Phase::Planned, "the other one has not followed");
    drop(held);
    asked.await.unwrap().unwrap().unwrap();
    other.until("expand", |state| state.phase == Phase::Expand).await;
    for process in [&coordinator, &other] {
        assert_eq!(process.status_of(3).await, "INACTIVE");
    }
    other.served.leave().await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_part_in_another_migration_is_refused() {
    use shearwater_core::store::{Fence, Role};
    let world = World::sqlite(3, BY_ACTIVITY);
    let process = world.process("a").await;
    process.setup.old.install(Fence { role: Role::Authority, epoch: 1 }).await.unwrap();
    let before = world.schema();
    let told = process.ask(Command::Advance).await.unwrap_err();
    assert_eq!(told.code, "require/captured", "{told}");
    assert_eq!(world.schema(), before, "nothing was written");
    process.stop().await;
}
