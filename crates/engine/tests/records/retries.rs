//! Requests that are sent again, and answers that were lost.

use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use shearwater_engine::records::{ClientChange, Condition, Edit, Idempotency, ServeError, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, doc, key};
use crate::{ANN, options};

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
