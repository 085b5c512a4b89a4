//! The data path on real SQLite stores, in both shapes and in every phase.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod contended;
#[path = "../stage/mod.rs"]
mod stage;

use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal, OrderTerm};
use shearwater_core::store::{Put, Side};
use shearwater_core::{Document, Stamp, Value};
use shearwater_engine::breaker::FAILURES_MAX;
use shearwater_engine::records::{
    ClientChange, Condition, Edit, Etag, Idempotency, ListAsk, RecordsOptions, ServeError, Shape,
};
use stage::bent::Bend;
use stage::{Stage, by, doc, key};

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
async fn a_clean_key_is_served_by_the_target_and_a_dirty_one_by_the_source() {
    let stage = Stage::at(Phase::ReadRamp, &[ANN]).await;
    let server = stage.serve(options()).await;
    // The target strays at the same stamp, so that its answer can be told.
    let stray = async |name: &str, stamp: Stamp| {
        let mut fetched = stage.setup.target.fetch(&key("ann")).await.unwrap();
        fetched.image.as_mut().unwrap().record.set("name", name);
        let put = Put { key: fetched.key, image: fetched.image, stamp };
        stage.setup.target.apply(stage.state().await.epoch, vec![put], None).await.unwrap();
    };
    stray("in target", Stamp::ZERO).await;
    assert_eq!(server.name(Shape::V1, "ann").await.as_deref(), Some("in target"));
    stage.target.bend(Bend::ApplyFails);
    let done = server.patch(Shape::V1, "ann", r#"{"name": "newer"}"#).await.unwrap();
    assert!(!done.followed);
    assert_eq!(server.name(Shape::V1, "ann").await.as_deref(), Some("newer"));
    assert_eq!(server.name(Shape::V2, "ann").await.as_deref(), Some("newer"));
    stage.target.bend(Bend::Straight);
    stage.drain(Side::Source).await;
    assert_eq!(server.name(Shape::V2, "ann").await.as_deref(), Some("newer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_cleared_once_the_follower_has_the_write() {
    for phase in [Phase::DualWrite, Phase::ReadRamp, Phase::ReverseWindow] {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        for n in 0..20 {
            server.patch(Shape::V1, "ann", &format!(r#"{{"score": {n}}}"#)).await.unwrap();
        }
        let authority = stage.setup.store(authority(phase));
        while authority.dirty_count().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let follower = stage.setup.store(self::authority(phase).other());
        let (held, found) = (authority.fetch(&key("ann")).await.unwrap(), follower.fetch(&key("ann")).await.unwrap());
        assert_eq!(held.stamp, found.stamp, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_away_costs_nothing_and_the_key_stays_dirty() {
    for phase in [Phase::DualWrite, Phase::ShadowRead, Phase::ReadRamp, Phase::ReverseWindow] {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let follower = if authority(phase) == Side::Source { &stage.target } else { &stage.source };
        follower.bend(Bend::ApplyFails);
        let before = follower.applies();
        for n in 0..50 {
            let done = server.patch(Shape::V1, "ann", &format!(r#"{{"score": {n}}}"#)).await.unwrap();
            assert!(!done.followed, "{phase}");
        }
        let tried = follower.applies() - before;
        assert!(tried < 50 && tried >= FAILURES_MAX as usize, "the breaker lets few through: {tried}, {phase}");
        assert!(server.records.breaker_is_open(authority(phase).other()));
        assert!(stage.is_dirty(authority(phase), "ann").await, "{phase}");
        // The coordinator has been told.
        server.member.reconciler_woken().await;
        let v1 = server.get(Shape::V1, "ann").await.unwrap();
        assert_eq!(v1.record.get("score"), Some(&Value::Int(49)), "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_follower_is_waited_for_within_bounds_and_its_put_is_not_lost() {
    let stage = Stage::at(Phase::DualWrite, &[ANN]).await;
    let server = stage.serve(RecordsOptions { follower_brief_ms: 20, ..options() }).await;
    stage.target.bend(Bend::ApplyWaits);
    let done = server.patch(Shape::V1, "ann", r#"{"name": "late"}"#).await.unwrap();
    assert!(!done.followed);
    assert!(stage.is_dirty(Side::Source, "ann").await);
    stage.target.let_one_through();
    while stage.is_dirty(Side::Source, "ann").await {
        tokio::task::yield_now().await;
    }
    let target = stage.setup.target.fetch(&key("ann")).await.unwrap();
    assert_eq!(target.image.unwrap().record.get("name"), Some(&Value::text("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_during_a_switch_is_held_and_then_goes_to_the_new_authority() {
    for from in [Side::Source, Side::Target] {
        let phase = if from == Side::Source { Phase::Cutover } else { Phase::Rollback };
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let writer = server.clone();
        let held = tokio::spawn(async move { writer.patch(Shape::V1, "ann", r#"{"name": "held"}"#).await });
        // Reads go on meanwhile.
        assert_eq!(server.name(Shape::V2, "ann").await.as_deref(), Some("Ann"));
        assert!(!held.is_finished());
        stage.finish_switch(from).await;
        let done = held.await.unwrap().unwrap();
        assert!(done.followed);
        assert_eq!(server.name(Shape::V2, "ann").await.as_deref(), Some("held"));
        let new = stage.setup.store(from.other()).fetch(&key("ann")).await.unwrap();
        assert_eq!(done.records[0].as_ref().unwrap().etag, Etag::Stamp(new.stamp.unwrap()));
        assert_eq!(server.records.held_writes().count, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_write_goes_on_when_the_switch_is_aborted_before_the_fence_opens() {
    let stage = Stage::at(Phase::Cutover, &[ANN]).await;
    let server = stage.serve(options()).await;
    let writer = server.clone();
    let held = tokio::spawn(async move { writer.patch(Shape::V1, "ann", r#"{"name": "held"}"#).await });
    let epoch = stage.state().await.epoch + 1;
    stage.append(Event::SwitchAborted { reason: "budget".into(), epoch }).await;
    server.sync().await;
    // The journal says so already, the store not yet: the write must not give up, nor be lost.
    for side in [Side::Source, Side::Target] {
        let role = stage.setup.store(side).fence().await.unwrap().unwrap().role;
        let role = if side == Side::Source { shearwater_core::store::Role::Authority } else { role };
        stage.fence(side, role, epoch).await;
    }
    held.await.unwrap().unwrap();
    assert_eq!(server.name(Shape::V1, "ann").await.as_deref(), Some("held"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_held_too_long_is_refused_and_not_applied() {
    let stage = Stage::at(Phase::Cutover, &[ANN]).await;
    let server = stage.serve(RecordsOptions { hold_ms_max: 30, ..options() }).await;
    let refused = server.patch(Shape::V1, "ann", r#"{"name": "held"}"#).await.unwrap_err();
    assert_eq!(code(refused), "Unavailable");
    stage.finish_switch(Side::Source).await;
    server.sync().await;
    assert_eq!(server.name(Shape::V1, "ann").await.as_deref(), Some("Ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_behind_the_fence_waits_for_the_journal() {
    // The fence moves first, as when another member's journal is ahead.
    let stage = Stage::at(Phase::DualWrite, &[ANN]).await;
    let server = stage.serve(options()).await;
    let epoch = stage.state().await.epoch + 1;
    stage.fence(Side::Source, shearwater_core::store::Role::Authority, epoch).await;
    let writer = server.clone();
    let held = tokio::spawn(async move { writer.patch(Shape::V1, "ann", r#"{"name": "x"}"#).await });
    stage.backfill().await;
    stage.enter(Phase::ShadowRead).await;
    let done = held.await.unwrap().unwrap();
    let Etag::Stamp(stamp) = done.records[0].as_ref().unwrap().etag else { panic!("no stamp") };
    assert_eq!(stamp.epoch, epoch);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_idempotency_key_gets_the_first_answer() {
    for phase in [Phase::DualWrite, Phase::ReadRamp, Phase::ReverseWindow] {
        let stage = Stage::at(phase, &[ANN]).await;
        let server = stage.serve(options()).await;
        let post = async |request_hash: u128| {
            let edit = Edit::Insert(doc(r#"{"_id": "new", "name": "{stamp}"}"#));
            let change = ClientChange { key: key("new"), edit, condition: Condition::None };
            let idempotency = Some(Idempotency { key: "k".into(), request_hash });
            server.records.write(Shape::V1, vec![change], idempotency).await
        };
        let first = post(1).await.unwrap();
        let again = post(1).await.unwrap();
        assert!(!first.replayed && again.replayed, "{phase}");
        assert_eq!((again.records, again.created), (first.records, first.created), "{phase}");
        assert_eq!(post(2).await, Err(ServeError::IdempotencyReused), "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_remembered_across_switches() {
    let stage = Stage::at(Phase::ReadRamp, &[ANN]).await;
    let server = stage.serve(options()).await;
    let post = async |request_hash: u128| {
        let edit = Edit::Insert(doc(r#"{"_id": "new", "name": "New"}"#));
        let change = ClientChange { key: key("new"), edit, condition: Condition::None };
        let idempotency = Some(Idempotency { key: "k".into(), request_hash });
        server.records.write(Shape::V1, vec![change], idempotency).await
    };
    let first = post(1).await.unwrap();
    for from in [Side::Source, Side::Target] {
        stage.switch(from).await;
        server.sync().await;
        let again = post(1).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.records, first.records);
        assert_eq!(post(2).await, Err(ServeError::IdempotencyReused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_where_it_can_be() {
    let stage = Stage::at(Phase::DualWrite, &[ANN]).await;
    let server = stage.serve(options()).await;
    stage.source.bend(Bend::LosesAnswer);
    let done = server.patch(Shape::V1, "ann", r#"{"name": "applied"}"#).await.unwrap();
    assert!(done.followed);
    assert_eq!(server.get(Shape::V1, "ann").await, done.records[0]);
    stage.source.bend(Bend::LosesAnswer);
    let edit = Edit::MergePatch(doc(r#"{"name": "again"}"#));
    let change = ClientChange { key: key("ann"), edit, condition: Condition::None };
    let idempotency = Some(Idempotency { key: "k".into(), request_hash: 1 });
    let done = server.records.write(Shape::V1, vec![change], idempotency).await.unwrap();
    assert!(done.replayed);
    assert_eq!(server.get(Shape::V1, "ann").await, done.records[0]);
    // The same for a delete: nothing proves it from the content alone... but the stamp does.
    stage.source.bend(Bend::LosesAnswer);
    assert!(server.edit(Shape::V1, "ann", Edit::Delete).await.is_ok());
    assert_eq!(server.get(Shape::V1, "ann").await, None);
}

fn people() -> Vec<String> {
    (0..60)
        .map(|n| {
            let name = format!("n{:02}", n * 37 % 60);
            match n % 4 {
                0 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "score": {}}}"#, n % 5),
                1 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "score": null}}"#),
                2 => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "nested": {{"rank": {}}}}}"#, n % 7),
                _ => format!(r#"{{"_id": "p{n:02}", "name": "{name}", "tags": ["t{n}"], "nested": {{"rank": 1}}}}"#),
            }
        })
        .collect()
}

/// The lists that the following tests walk: pushed down in both shapes, and
/// such as only a scan can answer where the other store serves.
fn asks(shape: Shape) -> Vec<ListAsk> {
    let term = |path: &str, descending, nulls_first| OrderTerm {
        descending,
        nulls_first,
        ..OrderTerm::by(Path::parse(path).unwrap())
    };
    let inner = if shape == Shape::V1 { "nested.rank" } else { "extra.nested.rank" };
    let orders = [
        vec![],
        vec![term("name", true, false)],
        vec![term("score", false, true), term("name", true, true)],
        vec![term(inner, true, true)],
    ];
    let filter = Filter::Not(Box::new(Filter::Compare {
        path: Path::field("name"),
        op: CompareOp::Lt,
        literal: Literal::Untyped("n20".into()),
    }));
    let ask = |filter: &Filter, order: &Vec<OrderTerm>| ListAsk {
        shape,
        filter: filter.clone(),
        order: order.clone(),
        after: None,
        limit: 7,
    };
    orders.iter().flat_map(|order| [ask(&Filter::All, order), ask(&filter, order)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_the_same_in_every_phase() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let mut first: Option<Vec<Vec<String>>> = None;
    for phase in SERVING {
        let stage = Stage::at(phase, &people).await;
        let server = stage.serve(options()).await;
        let mut walked = Vec::new();
        for shape in [Shape::V1, Shape::V2] {
            for ask in asks(shape) {
                let keys = server.walk(ask.clone()).await;
                let whole = server.walk(ListAsk { limit: 1_000, ..ask }).await;
                assert_eq!(keys, whole, "pages add up to the whole list, {phase}");
                walked.push(keys);
            }
        }
        assert_eq!(walked[0].len(), 60);
        assert_eq!(walked[..8], walked[8..], "both shapes have the same order, {phase}");
        assert_eq!(*first.get_or_insert(walked.clone()), walked, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_survives_changes_of_phase() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    for shape in [Shape::V1, Shape::V2] {
        let stage = Stage::at(Phase::DualWrite, &people).await;
        let server = stage.serve(options()).await;
        let mut walks: Vec<(ListAsk, Vec<String>, Vec<String>)> = Vec::new();
        for ask in asks(shape) {
            walks.push((ask.clone(), server.walk(ListAsk { limit: 1_000, ..ask }).await, vec![]));
        }
        let steps = [Phase::ShadowRead, Phase::ReadRamp, Phase::Cutover, Phase::ReverseWindow, Phase::Complete];
        for step in steps {
            for (ask, _, seen) in &mut walks {
                let page = server.list(ask.clone()).await;
                seen.extend(page.records.iter().map(|got| got.key.to_text()));
                ask.after = page.next;
            }
            match step {
                Phase::ReverseWindow => stage.finish_switch(Side::Source).await,
                other => stage.go(other).await,
            }
            server.sync().await;
        }
        for (ask, expect, mut seen) in walks {
            if ask.after.is_some() {
                seen.extend(server.walk(ask).await);
            }
            assert_eq!(seen, expect);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_the_ramp_shows_dirty_keys_from_the_source() {
    let people = people();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    for shape in [Shape::V1, Shape::V2] {
        let stage = Stage::at(Phase::ReadRamp, &people).await;
        let server = stage.serve(options()).await;
        stage.target.bend(Bend::ApplyFails);
        // First becomes last, one goes, one comes, one is renamed past the page.
        server.patch(Shape::V1, "p00", r#"{"name": "z"}"#).await.unwrap();
        server.edit(Shape::V1, "p01", Edit::Delete).await.unwrap();
        server.edit(Shape::V1, "aaa", Edit::Insert(doc(r#"{"_id": "aaa", "name": "n00"}"#))).await.unwrap();
        server.patch(Shape::V1, "p10", r#"{"_id": "p10x"}"#).await.unwrap();
        for limit in [1, 3, 7, 59, 60, 61] {
            let mut ask = by(shape, "name", limit);
            let ramped = server.walk(ask.clone()).await;
            ask.limit = 1_000;
            stage.target.bend(Bend::ListFails);
            let from_source = server.walk(ask).await;
            stage.target.bend(Bend::ApplyFails);
            assert_eq!(ramped, from_source, "limit {limit}");
            assert_eq!(ramped.len(), 60);
            assert_eq!((ramped[0].as_str(), ramped[59].as_str()), ("aaa", "p00"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_reads_find_a_follower_that_strayed_and_nothing_else() {
    let stage = Stage::at(Phase::ShadowRead, &[ANN, r#"{"_id": "bob", "name": "Bob"}"#]).await;
    let server = stage.serve(RecordsOptions { shadow_one_in: 1, ..options() }).await;
    for _ in 0..5 {
        server.get(Shape::V1, "ann").await.unwrap();
        server.get(Shape::V2, "nobody").await;
        server.list(by(Shape::V1, "name", 10)).await;
        server.records.flush_shadow().await.unwrap();
    }
    let counts = server.records.shadow_counts();
    assert_eq!((counts.compared, counts.matched, counts.mismatches), (15, 15, 0), "{counts:?}");
    // A key that the follower does not have yet is no mismatch.
    stage.target.bend(Bend::ApplyFails);
    server.patch(Shape::V1, "bob", r#"{"name": "Aab"}"#).await.unwrap();
    server.get(Shape::V1, "bob").await.unwrap();
    server.list(by(Shape::V1, "name", 10)).await;
    server.records.flush_shadow().await.unwrap();
    let counts = server.records.shadow_counts();
    assert_eq!((counts.mismatches, counts.skipped), (0, 2), "{counts:?}");
    stage.target.bend(Bend::Straight);
    stage.drain(Side::Source).await;
    let mut strayed = stage.setup.target.fetch(&key("ann")).await.unwrap();
    strayed.image.as_mut().unwrap().record.set("name", "strayed");
    let put = Put { key: strayed.key, image: strayed.image, stamp: Stamp::ZERO };
    stage.setup.target.apply(stage.state().await.epoch, vec![put], None).await.unwrap();
    server.get(Shape::V1, "ann").await.unwrap();
    server.list(by(Shape::V1, "name", 10)).await;
    server.records.flush_shadow().await.unwrap();
    assert_eq!(server.records.shadow_counts().mismatches, 2);
    let note: Document = doc(&stage.setup.journal.note("shadow").await.unwrap().unwrap());
    assert_eq!((note.get("mismatches"), note.get("compared")), (Some(&Value::Int(2)), Some(&Value::Int(17))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_told_as_such() {
    let stage = Stage::at(Phase::DualWrite, &[ANN]).await;
    let server = stage.serve(options()).await;
    stage.source.bend(Bend::FetchFails);
    assert_eq!(code(server.records.get(Shape::V1, &key("ann")).await.unwrap_err()), "Unavailable");
    assert_eq!(code(server.patch(Shape::V1, "ann", "{}").await.unwrap_err()), "Unavailable");
}
