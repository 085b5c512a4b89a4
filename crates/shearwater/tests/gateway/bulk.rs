//! Bulk changes by filter.

use serde_json::json;
use shearwater::gateway::ServeOptions;
use shearwater_core::lifecycle::Phase;

use crate::world::{Server, World};

async fn served(records: usize) -> (World, Server) {
    let world = World::new(records);
    let server = world.serve(ServeOptions::default()).await;
    (world, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_chooses_what_is_patched() {
    let (_world, server) = served(20).await;
    for phase in [Phase::Planned, Phase::DualWrite, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        let patched = server
            .patch("/v2/users?city=eq.c3&select=id,city", r#"{"city":"Y"}"#)
            .header("prefer", "return=representation")
            .expect(200)
            .await;
        assert_eq!(patched.column("id"), ["u00003", "u00010", "u00017"], "{phase:?}");
        assert_eq!(patched.column("city"), ["Y", "Y", "Y"]);
        assert_eq!(patched.header("content-range"), "0-2/*");
        let back = server.patch("/v1/users?address->>city=eq.Y", r#"{"address":{"city":"c3"}}"#).expect(204).await;
        assert_eq!(back.header("content-range"), "0-2/*");
        assert_eq!(
            server.get("/v1/users/u00003").expect(200).await.json()["address"],
            json!({ "city": "c3", "zip": "3" })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_chooses_what_is_deleted() {
    let (_world, server) = served(20).await;
    let gone =
        server.delete("/v2/users?age=lt.3&select=id").header("prefer", "return=representation").expect(200).await;
    assert_eq!(gone.column("id"), ["u00000", "u00001", "u00002"]);
    let none = server.delete("/v2/users?age=lt.3").header("prefer", "return=representation").expect(200).await;
    assert_eq!((none.text.as_str(), none.header("content-range")), ("[]", "*/*"));
    server.delete("/v2/users?age=lt.3").expect(204).await;
    assert_eq!(server.get("/v2/users").expect(200).await.column("id").len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_is_bounded_and_all_or_none() {
    let (_world, server) = served(1_001).await;
    server.delete("/v2/users").problem(400, "filter-required").await;
    server.patch("/v2/users", "{}").problem(400, "filter-required").await;
    server.patch("/v2/users?limit=1&age=eq.1", "{}").problem(400, "unknown-parameter").await;
    server.patch("/v2/users?age=eq.1", "{}").header("if-match", "*").problem(400, "bad-header").await;
    server.delete("/v2/users?age=gte.0").problem(413, "bulk-too-large").await;
    server.patch("/v2/users?age=lt.3", r#"{"id":"one"}"#).expect(409).await;
    assert_eq!(
        server.get("/v2/users?age=lt.3&select=id").expect(200).await.column("id"),
        ["u00000", "u00001", "u00002"]
    );
    server.delete("/v2/users?age=gte.1").expect(204).await;
    assert_eq!(server.get("/v2/users").expect(200).await.column("id"), ["u00000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_change_that_is_sent_again_is_done_once() {
    let (_world, server) = served(10).await;
    server.forward_to(Phase::DualWrite).await;
    let patch = || server.patch("/v2/users?age=lt.2", r#"{"age":100}"#).header("idempotency-key", "b1");
    let first = patch().expect(204).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    // Now nobody matches; the retry is answered all the same, and so is a new request.
    let again = patch().expect(204).await;
    assert_eq!((again.header("idempotency-replayed"), again.header("content-range")), ("true", "0-1/*"));
    let none = server.patch("/v2/users?age=lt.2", r#"{"age":100}"#).header("idempotency-key", "b2").expect(204).await;
    assert_eq!(none.header("content-range"), "*/*");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_changes_do_not_lose_what_others_write_meanwhile() {
    let (_world, server) = served(10).await;
    server.forward_to(Phase::DualWrite).await;
    let bulk = async {
        for _ in 0..10 {
            server.patch("/v2/users?age=gte.0", r#"{"status":"seen"}"#).expect(204).await;
        }
    };
    let single = async {
        for n in 0..50 {
            server.patch("/v2/users/u00004", &format!(r#"{{"city":"n{n}"}}"#)).expect(204).await;
        }
    };
    futures::join!(bulk, single);
    let record = server.get("/v2/users/u00004").expect(200).await.json();
    assert_eq!((&record["city"], &record["status"]), (&json!("n49"), &json!("seen")));
}

/// Others write the same records all the time, and do not stop for the bulk change.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_change_gets_done_however_many_others_write_its_records() {
    let (_world, server) = served(20).await;
    server.forward_to(Phase::DualWrite).await;
    let (done, stop) = tokio::sync::watch::channel(false);
    let others = futures::future::join_all((0..8).map(|other| {
        let (server, stop) = (&server, stop.clone());
        async move {
            let mut writes = 0;
            while !*stop.borrow() {
                let path = format!("/v2/users/u{:05}", (other + writes) % 20);
                server.patch(&path, &format!(r#"{{"city":"{other}-{writes}"}}"#)).expect(204).await;
                writes += 1;
            }
            writes
        }
    }));
    let bulk = async {
        for n in 0..20 {
            let done = server.patch("/v2/users?age=gte.0", &format!(r#"{{"status":"s{n}"}}"#)).expect(204).await;
            assert_eq!(done.header("content-range"), "0-19/*");
        }
        done.send(true).unwrap();
    };
    let (writes, ()) = futures::join!(others, bulk);
    assert!(writes.iter().all(|writes| *writes > 0), "everybody gets a turn: {writes:?}");
    let users = server.get("/v2/users").expect(200).await;
    assert!(users.column("status").iter().all(|status| status == "s19"), "{}", users.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_matches_no_longer_is_left_alone() {
    const RECORDS: usize = 40;
    let (_world, server) = served(RECORDS).await;
    server.forward_to(Phase::DualWrite).await;
    let taken = |name: &'static str| {
        let patch = server.patch("/v2/users?status=is.null&select=id", &format!(r#"{{"status":"{name}"}}"#));
        async move { patch.header("prefer", "return=representation").expect(200).await.column("id") }
    };
    for round in 0..10 {
        let (a, b) = futures::join!(taken("a"), taken("b"));
        assert_eq!(a.len() + b.len(), RECORDS, "round {round}: each record is taken once");
        let of_a = server.get("/v2/users?status=eq.a&select=id").expect(200).await.column("id");
        assert_eq!(of_a, a, "round {round}");
        // Two deletes do not both delete a record either, and show what they deleted.
        let gone = || {
            let delete = server.delete("/v2/users?age=eq.0&select=id,status");
            async move { delete.header("prefer", "return=representation").expect(200).await.column("id") }
        };
        let (first, second) = futures::join!(gone(), gone());
        assert_eq!(first.len() + second.len(), 1, "round {round}");
        server.post("/v2/users", r#"{"id":"u00000","age":0,"email":"x"}"#).expect(201).await;
        server.patch("/v2/users?age=gte.0", r#"{"status":null}"#).expect(204).await;
    }
}
