//! The store that follows: when it answers, when it is waited for, and what it
//! costs that it is away or strays.

use shearwater_core::lifecycle::Phase;
use shearwater_core::store::{Put, Side};
use shearwater_core::{Document, Stamp, Value};
use shearwater_engine::breaker::FAILURES_MAX;
use shearwater_engine::records::{RecordsOptions, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, by, doc, key};
use crate::{ANN, authority, code, options};

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
