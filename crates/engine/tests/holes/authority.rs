//! H5, H15, H17: who decides, and what an answer means.

use shearwater_core::journal::Event;
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::{Role, Side};
use shearwater_engine::records::{
    ClientChange, Condition, Edit, Idempotency, Protection as Switch, RecordsOptions, ServeError, Shape,
};

use crate::stage::bent::Bend;
use crate::stage::{Stage, by, doc, key};
use crate::{Protection, Seen, check, options};

const ONE: &str = r#"{"_id": "k", "name": "1"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn h5a_members_disagree_on_the_phase() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        // A does not see the cutover; B does.
        let impatient = RecordsOptions { hold_ms_max: 50, ..options() };
        let (a, journal) = stage.serve_freezable(impatient).await;
        let b = stage.serve(options()).await;
        journal.freeze().await;
        match protection {
            Protection::On => stage.switch(Side::Source).await,
            Protection::Off => cutover_without_fence(&stage).await,
        }
        b.sync().await;
        let acknowledged = a.patch(Shape::V1, "k", r#"{"name": "by A"}"#).await;
        let read = b.name(Shape::V1, "k").await;
        match acknowledged {
            Ok(_) => Seen::sound_if(read.as_deref() == Some("by A")),
            Err(ServeError::Unavailable { .. }) => Seen::sound_if(read.as_deref() == Some("1")),
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

/// The target opens while the source stays open under the old epoch.
async fn cutover_without_fence(stage: &Stage) {
    let epoch = stage.state().await.epoch + 1;
    let (from, to) = (Side::Source, Side::Target);
    stage.append(Event::SwitchBegan { from, to, epoch, budget_ms: 300, predicted_ms: 1 }).await;
    stage.drain(Side::Source).await;
    stage.append(Event::Switched { drained: 0 }).await;
    stage.fence(Side::Target, Role::Authority, epoch).await;
    stage.append(Event::Opened { pause_micros: 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h5a_a_member_whose_lease_has_ended_does_not_answer() {
    let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
    let (a, journal) = stage.serve_freezable(options()).await;
    let admitted = a.member.admit().unwrap();
    assert!(admitted.still_valid().is_ok());
    // The process sleeps through its lease, then the journal is there again.
    journal.freeze().await;
    journal.let_leases_end();
    while a.member.is_serving() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(a.records.get(Shape::V1, &key("k")).await, Err(ServeError::Unavailable { .. })));
    assert!(matches!(a.patch(Shape::V1, "k", "{}").await, Err(ServeError::Unavailable { .. })));
    stage.switch(Side::Source).await;
    journal.thaw();
    journal.renew_again();
    while !a.member.is_serving() {
        tokio::task::yield_now().await;
    }
    assert!(admitted.still_valid().is_err(), "what began before the lapse is void for ever");
    assert_eq!(a.member.view().state.phase, Phase::ReverseWindow, "what happened meanwhile is seen before serving");
}

#[tokio::test(flavor = "multi_thread")]
async fn h5b_stamps_alone_do_not_save_it() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[ONE]).await;
        let (behind, journal) = stage.serve_freezable(RecordsOptions { hold_ms_max: 50, ..options() }).await;
        journal.freeze().await;
        stage.go(Phase::ShadowRead).await;
        stage.source.bend(protection.bend(Bend::AnyEpoch));
        let written = behind.patch(Shape::V1, "k", r#"{"name": "old epoch"}"#).await;
        let applied = stage.name_in(Side::Source, "k").await.as_deref() == Some("old epoch");
        assert_eq!(written.is_ok(), applied);
        Seen::sound_if(!applied)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h5c_cutover_without_drain() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let server = stage.serve(options()).await;
        stage.target.bend(Bend::ApplyFails);
        server.patch(Shape::V1, "k", r#"{"name": "2"}"#).await.unwrap();
        stage.target.bend(Bend::Straight);
        match protection {
            Protection::On => stage.switch(Side::Source).await,
            Protection::Off => {
                stage.begin_switch(Side::Source).await;
                let epoch = stage.append(Event::Switched { drained: 0 }).await.epoch;
                stage.fence(Side::Target, Role::Authority, epoch).await;
                stage.append(Event::Opened { pause_micros: 1 }).await;
            }
        }
        server.sync().await;
        Seen::sound_if(server.name(Shape::V1, "k").await.as_deref() == Some("2"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_a_compensating_delete() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[]).await;
        let a = stage.serve(protection.options(Switch::NeverCompensate)).await;
        let b = stage.serve(options()).await;
        stage.target.bend(Bend::ApplyWaitsAndFails);
        let before = stage.target.applies();
        let creating = tokio::spawn(async move { a.edit(Shape::V1, "k", Edit::Insert(doc(ONE))).await.unwrap() });
        while stage.target.applies() == before {
            tokio::task::yield_now().await;
        }
        stage.target.bend(Bend::Straight);
        b.patch(Shape::V1, "k", r#"{"name": "by B"}"#).await.unwrap();
        stage.target.let_one_through();
        creating.await.unwrap();
        Seen::sound_if(b.name(Shape::V1, "k").await.as_deref() == Some("by B"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h17_a_retried_post_inserts_twice() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[]).await;
        let server = stage.serve(protection.options(Switch::IdempotencyRow)).await;
        // The gateway chooses the id, anew for each attempt; the first reply is lost.
        let post = async |id: &str| {
            let record = doc(&format!(r#"{{"_id": "{id}", "name": "N"}}"#));
            let change = ClientChange { key: key(id), edit: Edit::Insert(record), condition: Condition::None };
            let idempotency = Some(Idempotency { key: "post-1".into(), request_hash: 7 });
            server.records.write(Shape::V1, vec![change], idempotency).await.unwrap()
        };
        let first = post("id-1").await;
        let second = post("id-2").await;
        let there = server.walk(by(Shape::V1, "name", 10)).await;
        if protection == Protection::On {
            assert_eq!(first.records, second.records, "and the retry gets the first answer");
        }
        Seen::sound_if(there == ["id-1"])
    })
    .await;
}
