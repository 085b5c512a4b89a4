//! Single records: every verb, every status.

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
async fn a_record_in_both_shapes() {
    let (_world, server) = served(3).await;
    server.forward_to(Phase::DualWrite).await;
    let v1 = server.get("/v1/users/u00002").expect(200).await;
    assert_eq!(v1.header("content-type"), "application/json");
    assert_eq!(v1.json()["address"], json!({ "city": "c2", "zip": "2" }));
    assert_eq!(v1.json()["joined"], json!({ "@instant": "2020-01-01T00:00:02Z" }));
    let v2 = server.get("/v2/users/u00002").expect(200).await;
    assert_eq!(v2.json()["id"], "u00002");
    assert_eq!(v2.json()["city"], "c2");
    assert_eq!(v2.json()["joined"], "2020-01-01T00:00:02Z");
    assert!(v2.text.contains("\"balance\":2.50"), "{}", v2.text);
    assert_eq!(v2.json()["tags"], json!([{ "tag": "a" }, { "tag": "t2" }]));
    assert_eq!(v1.etag(), v2.etag(), "one version, whichever shape");
    let selected = server.get("/v2/users/u00002?select=name:city,tags(tag)").expect(200).await;
    assert_eq!(selected.text, r#"{"name":"c2","tags":[{"tag":"a"},{"tag":"t2"}]}"#);
    let head = server.ask("HEAD", "/v2/users/u00002").expect(200).await;
    assert_eq!((head.text.as_str(), head.etag()), ("", v2.etag()));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_find_nothing_or_nothing_new() {
    let (_world, server) = served(1).await;
    server.get("/v2/users/nobody").problem(404, "not-found").await;
    server.get("/v2/users/nobody/else").problem(404, "no-such-path").await;
    server.get("/v3/users").problem(404, "no-such-path").await;
    server.get("/v2/books").problem(404, "no-such-path").await;
    server.get("/v2/users/u00000?age=eq.1").problem(400, "unknown-parameter").await;
    server.get("/v2/users/u00000?limit=1").problem(400, "unknown-parameter").await;
    server.get("/v2/users/%ff").problem(400, "bad-key").await;
    server.get("/v2/users/u00000").header("accept", "text/csv").problem(406, "not-acceptable").await;
    let etag = server.get("/v2/users/u00000").expect(200).await.etag().to_owned();
    let same = server.get("/v2/users/u00000").header("if-none-match", &format!("\"0.9\", W/{etag}")).expect(304).await;
    assert_eq!((same.text.as_str(), same.etag()), ("", etag.as_str()));
    server.get("/v2/users/u00000").header("if-none-match", "\"0.9\"").expect(200).await;
    let problem = server.ask("BREW", "/v2/users/u00000").problem(405, "method-not-allowed").await;
    assert_eq!(problem["hint"], "it takes GET, HEAD, PUT, PATCH, DELETE");
    let problem = server.ask("PUT", "/v2/users").expect(405).await;
    assert_eq!(problem.header("allow"), "GET, HEAD, POST, PATCH, DELETE");
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts() {
    let (_world, server) = served(1).await;
    let made = server.post("/v2/users", r#"{"id":"new","email":"n@x","balance":1.10}"#).expect(201).await;
    assert_eq!((made.header("location"), made.text.as_str()), ("/v2/users/new", ""));
    assert_eq!(server.get("/v2/users/new").expect(200).await.etag(), made.etag());
    let shown = server
        .post("/v2/users?select=id,email", r#"{"id":"b","email":"b@x"}"#)
        .header("prefer", "return=representation")
        .expect(201)
        .await;
    assert_eq!(shown.text, r#"[{"id":"b","email":"b@x"}]"#);
    assert_eq!(shown.header("preference-applied"), "return=representation");
    let problem = server.post("/v2/users", r#"{"id":"b"}"#).problem(409, "exists").await;
    assert_eq!(problem["code"], "23505");
    server.post("/v2/users", "{").problem(400, "bad-json").await;
    server.post("/v2/users", r#"{"id":"c","age":"x"}"#).problem(422, "unprocessable").await;
    let problem = server.post("/v2/users", r#"{"id":"c","nope":1}"#).problem(422, "unprocessable").await;
    assert_eq!((&problem["field"], &problem["code"]), (&json!("nope"), &json!("PGRST204")));
    server.post("/v2/users", "{}").header("content-type", "text/csv").problem(415, "unsupported-media-type").await;
    server.post("/v2/users?id=eq.1", "{}").problem(400, "unknown-parameter").await;
    server.post("/v2/users?columns=id", r#"{"id":"d","age":1}"#).problem(422, "unprocessable").await;
    server.post("/v2/users", "{}").header("prefer", "tx=rollback").problem(400, "bad-header").await;
    server.post("/v2/users", "{}").header("if-match", "*").problem(400, "bad-header").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_chooses_missing_keys() {
    let (_world, server) = served(0).await;
    for version in ["/v1/users", "/v2/users"] {
        let made = server.post(version, r#"{"email":"x@x"}"#).send().await;
        assert_eq!(made.status, 201, "{}", made.text);
        let location = made.header("location").to_owned();
        let id = location.rsplit('/').next().unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7, "{location}");
        server.get(&location).expect(200).await;
        server.delete(&location).expect(204).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_inserts_are_one() {
    let (_world, server) = served(1).await;
    let body = r#"[{"id":"a","email":"a@x"},{"id":"u00000"}]"#;
    server.post("/v2/users", body).problem(409, "exists").await;
    server.get("/v2/users/a").expect(404).await;
    let made = server
        .post("/v2/users", r#"[{"id":"a"},{"id":"b"}]"#)
        .header("prefer", "return=representation")
        .expect(201)
        .await;
    assert_eq!(made.column("id"), ["a", "b"]);
    assert_eq!(made.header("location"), "");
    server.post("/v2/users", "[]").expect(201).await;
    let many: Vec<_> = (0..1_001).map(|n| json!({ "id": format!("m{n}") })).collect();
    server.post("/v2/users", &json!(many).to_string()).problem(413, "bulk-too-large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn puts() {
    let (_world, server) = served(2).await;
    server.forward_to(Phase::DualWrite).await;
    let made = server.put("/v2/users/p", r#"{"email":"p@x","age":1}"#).expect(201).await;
    assert_eq!(made.header("location"), "/v2/users/p");
    let replaced = server.put("/v2/users/p", r#"{"id":"p","email":"p@x"}"#).expect(204).await;
    assert_eq!(replaced.header("location"), "");
    assert_ne!(replaced.etag(), made.etag());
    assert_eq!(server.get("/v2/users/p").expect(200).await.json()["age"], json!(null));
    server.put("/v2/users/p", "{}").header("if-match", made.etag()).problem(412, "precondition-failed").await;
    let failed = server.put("/v2/users/p", "{}").header("if-match", made.etag()).expect(412).await;
    assert_eq!(failed.etag(), replaced.etag(), "412 names the version that is there");
    server.put("/v2/users/p", "{}").header("if-match", replaced.etag()).expect(204).await;
    server.put("/v2/users/p", "{}").header("if-none-match", "*").problem(412, "precondition-failed").await;
    server.put("/v2/users/q", "{}").header("if-none-match", "*").expect(201).await;
    server.put("/v2/users/nobody", "{}").header("if-match", "*").problem(412, "precondition-failed").await;
    server.put("/v2/users/p", "{}").header("if-none-match", "\"1.1\"").problem(400, "bad-header").await;
    let shown =
        server.put("/v2/users/p?select=id,age", r#"{"age":7}"#).header("prefer", "return=representation").expect(200);
    assert_eq!(shown.await.text, r#"{"id":"p","age":7}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_moves_the_record() {
    let (_world, server) = served(2).await;
    server.forward_to(Phase::DualWrite).await;
    let moved = server.patch("/v2/users/u00000", r#"{"id":"moved"}"#).expect(204).await;
    assert_eq!(moved.header("location"), "/v2/users/moved");
    server.get("/v2/users/u00000").expect(404).await;
    assert_eq!(server.get("/v1/users/moved").expect(200).await.json()["address"]["zip"], "0");
    let put = server.put("/v2/users/moved", r#"{"id":"again","email":"again@x"}"#).expect(204).await;
    assert_eq!(put.header("location"), "/v2/users/again");
    server.get("/v2/users/moved").expect(404).await;
    server.put("/v2/users/nobody", r#"{"id":"other"}"#).problem(404, "not-found").await;
    server.put("/v2/users/n", r#"{"id":"o"}"#).header("if-none-match", "*").problem(422, "key-mismatch").await;
    server.patch("/v2/users/again", r#"{"id":null}"#).problem(422, "key-mismatch").await;
    server.patch("/v2/users/again", r#"{"id":"u00001"}"#).problem(409, "exists").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_and_deletes() {
    let (_world, server) = served(2).await;
    server.forward_to(Phase::DualWrite).await;
    let first = server.get("/v1/users/u00000").expect(200).await;
    let patched = server
        .patch("/v1/users/u00000", r#"{"address":{"city":"X"},"odd":null}"#)
        .header("content-type", "application/merge-patch+json")
        .header("if-match", first.etag())
        .header("prefer", "return=representation")
        .expect(200)
        .await;
    assert_eq!(patched.json()["address"], json!({ "city": "X", "zip": "0" }));
    assert!(patched.json().get("odd").is_none());
    assert_eq!(server.get("/v2/users/u00000").expect(200).await.etag(), patched.etag());
    server.patch("/v1/users/u00000", "{}").header("if-match", first.etag()).problem(412, "precondition-failed").await;
    server.patch("/v1/users/nobody", "{}").problem(404, "not-found").await;
    server.patch("/v1/users/u00000", "[]").problem(400, "bad-json").await;
    server.delete("/v2/users/u00000").header("if-match", first.etag()).problem(412, "precondition-failed").await;
    let gone =
        server.delete("/v2/users/u00000?select=city").header("prefer", "return=representation").expect(200).await;
    assert_eq!(gone.text, r#"{"city":"X"}"#);
    server.delete("/v2/users/u00000").problem(404, "not-found").await;
    server.delete("/v2/users/u00001").expect(204).await;
    server.get("/v1/users/u00001").expect(404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_does_a_request_once() {
    let (_world, server) = served(1).await;
    server.forward_to(Phase::DualWrite).await;
    let post = |body: &str| server.post("/v2/users", body).header("idempotency-key", "\"k1\"");
    let first = post(r#"{"email":"i@x"}"#).expect(201).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = post(r#"{"email":"i@x"}"#).expect(201).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((again.header("location"), again.etag()), (first.header("location"), first.etag()));
    post(r#"{"email":"other@x"}"#).problem(422, "idempotency-reused").await;
    // Another version's keys are others.
    server.post("/v1/users", r#"{"email":"v1@x"}"#).header("idempotency-key", "k1").expect(201).await;
    for _ in 0..2 {
        let patched =
            server.patch("/v2/users/u00000", r#"{"age":50}"#).header("idempotency-key", "k2").expect(204).await;
        assert_eq!(patched.etag(), server.get("/v2/users/u00000").expect(200).await.etag());
    }
    for replayed in ["", "true"] {
        let gone = server.delete("/v2/users/u00000").header("idempotency-key", "k3").expect(204).await;
        assert_eq!(gone.header("idempotency-replayed"), replayed);
    }
    server.delete("/v2/users/u00000").header("idempotency-key", "").problem(400, "bad-header").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_with_one_key_are_told_apart() {
    let (_world, server) = served(0).await;
    server.forward_to(Phase::DualWrite).await;
    let posts = (0..8).map(|_| server.post("/v2/users", r#"{"email":"i@x"}"#).header("idempotency-key", "k").send());
    let answers = futures::future::join_all(posts).await;
    let mut made = 0;
    for answer in &answers {
        match answer.status {
            201 if answer.header("idempotency-replayed").is_empty() => made += 1,
            201 => {}
            409 => assert_eq!(answer.json()["type"], "urn:shearwater:problem:idempotency-in-flight"),
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(server.get("/v2/users").expect(200).await.column("email"), ["i@x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_keys_stand_in_paths() {
    let (_world, server) = served(0).await;
    for id in ["a/b", "%", "ü ", "42", "\"q\"", ".", "..", "a,b", "{}", "null"] {
        let made = server.post("/v2/users", &json!({ "id": id }).to_string()).expect(201).await;
        let location = made.header("location").to_owned();
        let read = server.get(&location).expect(200).await;
        assert_eq!(read.json()["id"], id, "{location}");
        let v1 = location.replace("/v2/", "/v1/");
        assert_eq!(server.get(&v1).expect(200).await.json()["_id"], id, "{v1}");
    }
    // Where keys are text, what looks like a number is text as well.
    assert_eq!(server.get("/v2/users/42").expect(200).await.json()["id"], "42");
    server.get("/v1/users/42").problem(404, "not-found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_start_a_repeated_insert_names_the_same_record() {
    let (_world, server) = served(0).await;
    let post = || server.post("/v2/users", r#"{"email":"i@x"}"#).header("idempotency-key", "k");
    let first = post().expect(201).await;
    post().problem(409, "exists").await;
    server.get(first.header("location")).expect(200).await;
    assert_eq!(server.get("/v2/users").expect(200).await.column("email"), ["i@x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_start_there_is_no_place_for_fields_that_only_v2_has() {
    let (_world, server) = served(1).await;
    let problem = server.patch("/v2/users/u00000", r#"{"status":"VIP"}"#).problem(422, "unprocessable").await;
    assert_eq!((&problem["field"], &problem["code"]), (&json!("status"), &json!("phase/nowhere-to-park")));
    let record = server.get("/v2/users/u00000").expect(200).await.text;
    server.put("/v2/users/u00000", &record).expect(204).await;
    server.patch("/v2/users/u00000", r#"{"age":7}"#).expect(204).await;
}
