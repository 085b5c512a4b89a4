//! Writes whose outcome the client does not learn, and the retry that settles it.

use std::sync::Arc;
use std::time::Duration;

use shearwater::gateway::ServeOptions;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::lifecycle::Phase;
use shearwater_engine::Setup;
use shearwater_stores::faults::{Call, Cue, Faulty, When};

use crate::world::{Ask, Server, World};

/// A server whose source fails on cue.
async fn on_cue(world: &World, options: ServeOptions) -> (Server, Arc<Faulty>) {
    let setup = world.setup().await;
    let source = Faulty::around(setup.source.clone());
    let server = world.serve_over(Setup { source: source.clone(), ..setup }, options).await;
    (server, source)
}

fn post(server: &Server, key: &str) -> Ask {
    server.post("/v2/users", &format!(r#"{{"email":"{key}@x"}}"#)).header("idempotency-key", key)
}

async fn made(server: &Server, key: &str) -> usize {
    server.get(&format!("/v2/users?email=eq.{key}@x")).expect(200).await.column("id").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_an_unknown_outcome_and_the_retry_settles_it() {
    let world = World::new(1);
    let hasty = ServeOptions { request_time_max: Duration::from_millis(300), ..ServeOptions::default() };
    let (server, source) = on_cue(&world, hasty).await;
    server.forward_to(Phase::DualWrite).await;
    // The write is done, and its answer does not come in time.
    let (cue, held) = Cue::hold(Call::Write, When::After);
    source.cue(cue);
    let unknown = post(&server, "late").problem(503, "outcome-unknown").await;
    assert_eq!(unknown["code"], "08007");
    held.reached().await;
    assert_eq!(made(&server, "late").await, 1, "it did happen");
    post(&server, "late").problem(409, "idempotency-in-flight").await;
    held.release();
    let again = loop {
        let again = post(&server, "late").send().await;
        if again.status != 409 {
            break again;
        }
    };
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{}", again.text);
    assert_eq!(made(&server, "late").await, 1, "once");
    assert!(again.header("location").starts_with("/v2/users/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_up_or_left_to_the_retry() {
    let world = World::new(1);
    let (server, source) = on_cue(&world, ServeOptions::default()).await;
    server.forward_to(Phase::DualWrite).await;
    // Applied, and the store's answer lost: its row tells.
    source.fail(Call::Write, When::After, StoreErrorKind::OutcomeUnknown);
    let told = post(&server, "told").expect(201).await;
    assert_eq!(told.header("idempotency-replayed"), "true");
    assert_eq!(made(&server, "told").await, 1);
    // Never applied: nothing tells that it never will be.
    source.fail(Call::Write, When::Before, StoreErrorKind::OutcomeUnknown);
    post(&server, "lost").problem(503, "outcome-unknown").await;
    assert_eq!(made(&server, "lost").await, 0);
    let again = post(&server, "lost").expect(201).await;
    assert_eq!(again.header("idempotency-replayed"), "");
    assert_eq!(made(&server, "lost").await, 1);
    // Without a key the record tells, where it has the content.
    source.fail(Call::Write, When::After, StoreErrorKind::OutcomeUnknown);
    server.patch("/v2/users/u00000", r#"{"city":"seen"}"#).expect(204).await;
}

/// Before the start and after complete there is no place for the key's row.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_kept_is_answered_as_such() {
    let world = World::new(1);
    let server = world.serve(ServeOptions::default()).await;
    let patch = |key: &str| server.patch("/v2/users/u00000", r#"{"city":"x"}"#).header("idempotency-key", key);
    for (phase, kept) in [(Phase::Planned, "false"), (Phase::DualWrite, ""), (Phase::Complete, "false")] {
        server.forward_to(phase).await;
        assert_eq!(patch("k").expect(204).await.header("idempotency-kept"), kept, "{phase:?}");
        let bulk = server.patch("/v2/users?age=eq.0", r#"{"city":"y"}"#).header("idempotency-key", "bulk");
        assert_eq!(bulk.expect(204).await.header("idempotency-kept"), kept, "{phase:?}");
        let again = patch("k").expect(204).await;
        assert_eq!(again.header("idempotency-replayed").is_empty(), kept == "false", "{phase:?}");
        let without = server.patch("/v2/users/u00000", "{}").expect(204).await;
        assert_eq!(without.header("idempotency-kept"), "", "{phase:?}: none was sent");
    }
}
