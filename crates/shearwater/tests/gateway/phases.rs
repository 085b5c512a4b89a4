//! What clients see while the migration goes on.

use serde_json::{Value, json};
use shearwater::gateway::ServeOptions;
use shearwater_core::lifecycle::Phase;

use crate::world::World;

const PHASES: [Phase; 6] =
    [Phase::Planned, Phase::DualWrite, Phase::ShadowRead, Phase::ReadRamp, Phase::ReverseWindow, Phase::Complete];

#[tokio::test(flavor = "multi_thread")]
async fn records_and_versions_are_the_same_in_every_phase() {
    let world = World::new(12);
    let server = world.serve(ServeOptions::default()).await;
    let v1 = server.get("/v1/users/u00007").expect(200).await.json();
    let v2 = server.get("/v2/users/u00007").expect(200).await.json();
    let mut versions = Vec::new();
    for phase in PHASES {
        server.forward_to(phase).await;
        let read = server.get("/v1/users/u00007").expect(200).await;
        assert_eq!(read.json(), v1, "{phase:?}");
        assert_eq!(server.get("/v2/users/u00007").expect(200).await.json(), v2, "{phase:?}");
        versions.push(read.etag().to_owned());
    }
    assert!(versions[0].starts_with("\"h-"), "{versions:?}");
    assert!(versions[5].starts_with("\"h-"), "{versions:?}");
    assert_eq!(versions[1..5], [versions[1].clone(), versions[1].clone(), versions[1].clone(), versions[1].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_can_be_used_across_the_cutover() {
    let world = World::new(3);
    let server = world.serve(ServeOptions::default()).await;
    server.forward_to(Phase::DualWrite).await;
    let written = server.patch("/v2/users/u00001", r#"{"age":40}"#).expect(204).await;
    let etag = written.etag().to_owned();
    for phase in [Phase::ReadRamp, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        assert_eq!(server.get("/v1/users/u00001").expect(200).await.etag(), etag, "{phase:?}");
        server.get("/v2/users/u00001").header("if-none-match", &etag).expect(304).await;
    }
    server.patch("/v1/users/u00001", r#"{"age":41}"#).header("if-match", &etag).expect(204).await;
    server
        .patch("/v1/users/u00001", r#"{"age":42}"#)
        .header("if-match", &etag)
        .problem(412, "precondition-failed")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h13_v1_clients_never_wipe_fields_that_only_v2_has() {
    let world = World::new(8);
    let server = world.serve(ServeOptions::default()).await;
    // Before the start there is no place where the source could keep them.
    for (n, phase) in PHASES.into_iter().enumerate().skip(1) {
        server.forward_to(phase).await;
        let (v1, v2) = (format!("/v1/users/u0000{n}"), format!("/v2/users/u0000{n}"));
        server.patch(&v2, r#"{"status":"VIP"}"#).expect(204).await;
        let mut record: Value = server.get(&v1).expect(200).await.json();
        assert_eq!(record.get("status"), None, "{phase:?}: v1 does not have it");
        record["age"] = json!(99);
        server.put(&v1, &record.to_string()).expect(204).await;
        server.patch(&v1, r#"{"address":{"city":"Z"}}"#).expect(204).await;
        let read = server.get(&v2).expect(200).await.json();
        assert_eq!(
            (&read["status"], &read["age"], &read["city"]),
            (&json!("VIP"), &json!(99), &json!("Z")),
            "{phase:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_writes_keep_what_no_rule_names() {
    let world = World::new(8);
    let server = world.serve(ServeOptions::default()).await;
    for (n, phase) in PHASES.into_iter().enumerate() {
        server.forward_to(phase).await;
        let (v1, v2) = (format!("/v1/users/u0000{n}"), format!("/v2/users/u0000{n}"));
        let before = server.get(&v1).expect(200).await.json();
        server.patch(&v2, r#"{"tags":[{"tag":"only"}]}"#).expect(204).await;
        let after = server.get(&v1).expect(200).await.json();
        assert_eq!((&after["odd"], &after["address"]), (&before["odd"], &before["address"]), "{phase:?}");
        assert_eq!(after["tags"], json!(["only"]), "{phase:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_holds_across_the_cutover() {
    let world = World::new(2);
    let server = world.serve(ServeOptions::default()).await;
    server.forward_to(Phase::ReadRamp).await;
    let post = || server.post("/v2/users", r#"{"email":"once@x"}"#).header("idempotency-key", "c1");
    let first = post().expect(201).await;
    server.forward_to(Phase::ReverseWindow).await;
    let again = post().expect(201).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(server.get("/v2/users?email=eq.once@x").expect(200).await.column("email").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_cannot_hold_is_told_while_reads_ramp() {
    let world = World::new(3);
    let server = world.serve(ServeOptions::default()).await;
    server.forward_to(Phase::ReadRamp).await;
    let body = r#"{"_id":"twin","email":"u00000@example.org"}"#;
    let problem = server.post("/v1/users", body).problem(422, "unprocessable").await;
    assert_eq!(problem["field"], "email", "{problem}");
    server.get("/v1/users/twin").problem(404, "not-found").await;
    let problem = server.patch("/v1/users/u00001", r#"{"age":"old"}"#).problem(422, "unprocessable").await;
    assert!(!problem.to_string().contains("old"), "{problem}");
}
