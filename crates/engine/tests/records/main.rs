//! The data path on real SQLite stores, in both shapes and in every phase.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod contended;
mod follower;
mod lists;
mod retries;
#[path = "../stage/mod.rs"]
mod stage;
mod switches;

use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use shearwater_core::{Stamp, Value};
use shearwater_engine::records::{ClientChange, Condition, Edit, Etag, RecordsOptions, ServeError, Shape};
use stage::bent::Bend;
use stage::{Stage, doc, key};

/// Every phase in which writes are taken.
const SERVING: [Phase; 6] =
    [Phase::Planned, Phase::DualWrite, Phase::ShadowRead, Phase::ReadRamp, Phase::ReverseWindow, Phase::Complete];

const ANN: &str = r#"{"_id": "ann", "name": "Ann", "email": "ann@x", "tags": ["a", "b"], "odd": {"x": 1}}"#;

fn options() -> RecordsOptions {
    // Tests wait for what they ask; a slow machine must not change their outcome.
    RecordsOptions { follower_brief_ms: 10_000, follower_ramped_ms: 10_000, hold_ms_max: 10_000, ..Default::default() }
}

fn authority(phase: Phase) -> Side {
    match phase {
        Phase::ReverseWindow | Phase::Complete => Side::Target,
        _ => Side::Source,
    }
}

fn code(error: ServeError) -> String {
    match error {
        ServeError::Unprocessable { code, field, .. } => format!("{code} {field}"),
        other => format!("{other:?}").split([' ', '(', '{']).next().unwrap().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_shapes_read_and_write_in_every_phase() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        // What was there before the start.
        assert_eq!(server.get(Shape::V1, "ann").await.unwrap().record, doc(ANN), "{phase}");
        let v2 = server.get(Shape::V2, "ann").await.unwrap();
        assert_eq!(v2.record.get("display"), Some(&Value::text("Ann!")), "{phase}");
        assert_eq!(v2.record.get("tags"), doc(r#"{"t": [{"tag": "a"}, {"tag": "b"}]}"#).get("t"), "{phase}");
        assert_eq!(server.get(Shape::V1, "nobody").await, None);
        // A v1 insert is read in both shapes.
        let bob = r#"{"_id": "bob", "name": "Bob", "extra_field": [1, {"a": null}]}"#;
        let done = server.edit(Shape::V1, "bob", Edit::Insert(doc(bob))).await.unwrap();
        assert!(done.created[0] && done.followed && !done.replayed, "{phase}");
        assert_eq!(server.get(Shape::V1, "bob").await, done.records[0], "{phase}");
        assert_eq!(done.records[0].as_ref().unwrap().record, doc(bob), "{phase}");
        // A v2 patch is read in both shapes, and v1 keeps what v2 has no field for.
        let done = server.patch(Shape::V2, "bob", r#"{"name": "Bobby", "score": 7}"#).await.unwrap();
        assert_eq!(server.get(Shape::V2, "bob").await, done.records[0], "{phase}");
        let v1 = server.get(Shape::V1, "bob").await.unwrap();
        assert_eq!(v1.record.get("name"), Some(&Value::text("Bobby")), "{phase}");
        assert_eq!(v1.record.get("score"), Some(&Value::Int(7)), "{phase}");
        assert_eq!(v1.record.get("extra_field"), doc(bob).get("extra_field"), "{phase}");
        assert_eq!(v1.etag, done.records[0].as_ref().unwrap().etag, "one version in both shapes, {phase}");
        // A v2 replace of a record of v1, then a delete by v1.
        server.replace(Shape::V2, "ann", r#"{"id": "ann", "name": "Anna", "tags": [{"tag": "b"}]}"#).await.unwrap();
        let v1 = server.get(Shape::V1, "ann").await.unwrap();
        assert_eq!(v1.record.get("tags"), Some(&Value::Array(vec![Value::text("b")])), "{phase}");
        assert_eq!(v1.record.get("odd"), doc(ANN).get("odd"), "the residue that was left out is kept, {phase}");
        let done = server.edit(Shape::V1, "ann", Edit::Delete).await.unwrap();
        assert_eq!((done.records, done.created), (vec![None], vec![false]), "{phase}");
        assert_eq!(server.get(Shape::V2, "ann").await, None, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_in_every_phase() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let check = async |shape, id: &str, edit: Edit, expect: &str| {
            assert_eq!(code(server.edit(shape, id, edit).await.unwrap_err()), expect, "{phase}");
        };
        check(Shape::V1, "ann", Edit::Insert(doc(ANN)), "Exists").await;
        check(Shape::V1, "bob", Edit::MergePatch(doc("{}")), "NotFound").await;
        check(Shape::V2, "bob", Edit::Delete, "NotFound").await;
        check(Shape::V1, "bob", Edit::Insert(doc(ANN)), "record/key _id").await;
        check(Shape::V2, "ann", Edit::MergePatch(doc(r#"{"nope": 1}"#)), "record/unknown-field nope").await;
        check(Shape::V2, "bob", Edit::Insert(doc(r#"{"tags": [{"tug": 1}]}"#)), "record/unknown-field tags[0].tug")
            .await;
        check(Shape::V2, "bob", Edit::Insert(doc(r#"{"tags": "x"}"#)), "record/type tags").await;
        assert_eq!(server.get(Shape::V1, "ann").await.unwrap().record, doc(ANN), "nothing was written");
        assert_eq!(server.get(Shape::V1, "bob").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_in_every_phase() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let try_it = async |id: &str, condition: Condition| {
            let edit = Edit::Replace(doc(&format!(r#"{{"_id": "{id}", "name": "new"}}"#)));
            let change = ClientChange { key: key(id), edit, condition };
            server.records.write(Shape::V1, vec![change], None).await
        };
        let first = server.get(Shape::V1, "ann").await.unwrap().etag;
        let second = try_it("ann", Condition::Match(vec![first])).await.unwrap().records[0].clone().unwrap().etag;
        assert_ne!(first, second, "{phase}");
        let refused = try_it("ann", Condition::Match(vec![first])).await.unwrap_err();
        assert_eq!(refused, ServeError::PreconditionFailed { current: Some(second) }, "{phase}");
        let refused = try_it("bob", Condition::Match(vec![first])).await.unwrap_err();
        assert_eq!(refused, ServeError::PreconditionFailed { current: None }, "{phase}");
        assert_eq!(code(try_it("bob", Condition::Exists).await.unwrap_err()), "PreconditionFailed");
        assert!(try_it("bob", Condition::Absent).await.unwrap().created[0]);
        assert_eq!(code(try_it("bob", Condition::Absent).await.unwrap_err()), "PreconditionFailed");
        assert!(!try_it("bob", Condition::Exists).await.unwrap().created[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_moves_in_one_write_and_the_follower_follows() {
    for phase in SERVING {
        for shape in [Shape::V1, Shape::V2] {
            let stage = Stage::at(phase, &[ANN, r#"{"_id": "bob", "name": "Bob"}"#]).await;
            let server = stage.serve(options()).await;
            let field = if shape == Shape::V1 { "_id" } else { "id" };
            let taken = server.patch(shape, "ann", &format!(r#"{{"{field}": "bob"}}"#)).await;
            assert_eq!(taken.unwrap_err(), ServeError::Exists, "{phase}");
            let done = server.patch(shape, "ann", &format!(r#"{{"{field}": "eve"}}"#)).await.unwrap();
            assert_eq!(done.records[0].as_ref().unwrap().key, key("eve"));
            assert!(done.followed && !done.created[0], "{phase}");
            assert_eq!(server.get(Shape::V1, "ann").await, None, "{phase}");
            let v1 = server.get(Shape::V1, "eve").await.unwrap();
            assert_eq!(v1.record.get("odd"), doc(ANN).get("odd"), "{phase}");
            if stage.state().await.follower().is_some() {
                let follower = stage.setup.store(authority(phase).other());
                assert!(follower.fetch(&key("ann")).await.unwrap().image.is_none(), "{phase}");
                assert!(follower.fetch(&key("eve")).await.unwrap().image.is_some(), "{phase}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_equal_from_either_store() {
    let stage = Stage::at(Phase::ReadRamp, &[ANN]).await;
    let server = stage.serve(options()).await;
    assert_eq!(server.get(Shape::V1, "ann").await.unwrap().etag, Etag::Stamp(Stamp::ZERO));
    let written = server.patch(Shape::V1, "ann", r#"{"name": "A"}"#).await.unwrap();
    let etag = written.records[0].as_ref().unwrap().etag;
    stage.drain(Side::Source).await;
    assert_eq!(server.get(Shape::V1, "ann").await.unwrap().etag, etag, "from the target");
    stage.target.bend(Bend::FetchFails);
    assert_eq!(server.get(Shape::V1, "ann").await.unwrap().etag, etag, "from the source, when the target fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_of_one_record_are_all_kept() {
    for phase in [Phase::DualWrite, Phase::ReverseWindow] {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..8 {
            let (server, shape) = (server.clone(), if n % 2 == 0 { Shape::V1 } else { Shape::V2 });
            let patch = match shape {
                Shape::V1 => format!(r#"{{"f{n}": {n}}}"#),
                Shape::V2 => format!(r#"{{"extra": {{"f{n}": {n}}}}}"#),
            };
            tasks.spawn(async move { server.patch(shape, "ann", &patch).await.unwrap() });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let record = server.get(Shape::V1, "ann").await.unwrap().record;
        for n in 0..8 {
            assert_eq!(record.get(&format!("f{n}")), Some(&Value::Int(n)), "{phase}");
        }
        stage.drain(authority(phase)).await;
        let source = stage.setup.source.fetch(&key("ann")).await.unwrap().image.unwrap();
        let target = stage.setup.target.fetch(&key("ann")).await.unwrap().image.unwrap();
        assert_eq!(stage.setup.mapping.reverse(&target).unwrap().record, source.record, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_write_is_all_or_none_and_sees_its_own_changes() {
    for phase in SERVING {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let change = |id: &str, edit| ClientChange { key: key(id), edit, condition: Condition::None };
        let bob = |name: &str| doc(&format!(r#"{{"_id": "bob", "name": "{name}"}}"#));
        let refused =
            vec![change("bob", Edit::Insert(bob("Bob"))), change("nobody", Edit::Delete), change("ann", Edit::Delete)];
        assert_eq!(server.records.write(Shape::V1, refused, None).await, Err(ServeError::NotFound), "{phase}");
        assert_eq!(server.get(Shape::V1, "bob").await, None, "{phase}");
        let nothing = server.records.write(Shape::V1, vec![], None).await.unwrap();
        assert_eq!((nothing.records, nothing.replayed), (vec![], false), "{phase}");
        let changes = vec![
            change("bob", Edit::Insert(bob("Bob"))),
            change("bob", Edit::MergePatch(doc(r#"{"score": 3}"#))),
            change("ann", Edit::Delete),
            change("ann", Edit::Insert(doc(r#"{"_id": "ann", "name": "again"}"#))),
        ];
        let done = server.records.write(Shape::V1, changes, None).await.unwrap();
        assert_eq!(done.created, [true, false, false, true], "{phase}");
        assert!(done.followed, "{phase}");
        assert_eq!(server.get(Shape::V1, "bob").await, done.records[1], "{phase}");
        assert_eq!(server.get(Shape::V2, "ann").await.unwrap().record.get("tags"), Some(&Value::Array(vec![])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_cannot_hold_is_refused_in_the_ramp_and_buried_before() {
    let bad = r#"{"_id": "bad", "score": "many"}"#;
    let stage = Stage::at(Phase::DualWrite, &[ANN]).await;
    let server = stage.serve(options()).await;
    let done = server.edit(Shape::V1, "bad", Edit::Insert(doc(bad))).await.unwrap();
    assert!(!done.followed && stage.is_dirty(Side::Source, "bad").await);
    let letters = stage.setup.journal.dead_letters(None, 9).await.unwrap();
    assert_eq!(letters.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(), ["bad"]);
    assert!(letters[0].code.starts_with("mapping/") && !letters[0].reason.contains("many"), "{letters:?}");
    // Mended by its owner, the letter is settled by the same path.
    assert!(server.patch(Shape::V1, "bad", r#"{"score": 1}"#).await.unwrap().followed);
    assert_eq!(stage.setup.journal.dead_letter_count().await.unwrap(), 0);
    stage.go(Phase::ReadRamp).await;
    server.sync().await;
    let refused = server.patch(Shape::V1, "bad", r#"{"score": "many"}"#).await.unwrap_err();
    assert!(code(refused).starts_with("mapping/"));
    assert_eq!(server.get(Shape::V1, "bad").await.unwrap().record.get("score"), Some(&Value::Int(1)));
}
