//! Writes that meet a switch of authority.

use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use shearwater_engine::records::{Etag, RecordsOptions, Shape};

use crate::stage::{Stage, key};
use crate::{ANN, code, options};

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
