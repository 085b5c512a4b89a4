//! Inserts that meet records that are there.

use serde_json::json;
use shearwater::gateway::ServeOptions;
use shearwater_core::lifecycle::Phase;

use crate::world::{Ask, Server, World};

fn upsert(server: &Server, path: &str, how: &str, body: &str) -> Ask {
    server.post(path, body).header("prefer", &format!("resolution={how},return=representation"))
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_duplicates_take_what_is_sent_and_keep_the_rest() {
    let world = World::new(5);
    let server = world.serve(ServeOptions::default()).await;
    for phase in [Phase::Planned, Phase::DualWrite, Phase::ReverseWindow] {
        server.forward_to(phase).await;
        let merge = |body: &str| upsert(&server, "/v2/users?on_conflict=id", "merge-duplicates", body);
        let both = merge(r#"[{"id":"u00001","city":"N"},{"id":"new","city":"N"}]"#).expect(201).await;
        assert_eq!(
            (both.column("id"), both.column("city")),
            (vec![json!("u00001"), json!("new")], vec![json!("N"); 2])
        );
        assert_eq!(both.header("preference-applied"), "return=representation, resolution=merge-duplicates");
        let kept = server.get("/v2/users/u00001").expect(200).await.json();
        assert_eq!((&kept["age"], &kept["email"]), (&json!(1), &json!("u00001@example.org")), "{phase:?}");
        assert_eq!(server.get("/v1/users/u00001").expect(200).await.json()["odd"]["f"], 1.5, "{phase:?}");
        let none_new = merge(r#"{"id":"u00001","city":null}"#).expect(200).await;
        assert_eq!(none_new.column("city"), [json!(null)], "{phase:?}: all of them were there, and null is a value");
        let v1 = upsert(&server, "/v1/users", "merge-duplicates", r#"{"_id":"u00001","address":{"city":"c1"}}"#);
        assert_eq!(v1.expect(200).await.json()[0]["address"], json!({ "city": "c1" }), "a field is set as a whole");
        server.delete("/v2/users/new").expect(204).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_duplicates_are_left_as_they_are() {
    let world = World::new(2);
    let server = world.serve(ServeOptions::default()).await;
    server.forward_to(Phase::DualWrite).await;
    let ignore = |body: &str| upsert(&server, "/v2/users?select=id", "ignore-duplicates", body);
    let before = server.get("/v2/users/u00001").expect(200).await;
    let both =
        ignore(r#"[{"id":"u00001","city":"N"},{"id":"new","city":"N"},{"id":"new","city":"M"}]"#).expect(201).await;
    assert_eq!(both.text, r#"[{"id":"new"}]"#, "the answer has what was inserted");
    let none = ignore(r#"{"id":"u00001","city":"N"}"#).expect(200).await;
    assert_eq!(none.text, "[]");
    let after = server.get("/v2/users/u00001").expect(200).await;
    assert_eq!((after.text.as_str(), after.etag()), (before.text.as_str(), before.etag()));
    assert_eq!(server.get("/v2/users/new").expect(200).await.json()["city"], "N");
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_that_are_refused() {
    let world = World::new(2);
    let server = world.serve(ServeOptions::default()).await;
    let merge = |path: &str, body: &str| upsert(&server, path, "merge-duplicates", body);
    let twice = merge("/v2/users", r#"[{"id":"a"},{"id":"a"}]"#).problem(422, "unprocessable").await;
    assert_eq!(twice["code"], "21000");
    let email = merge("/v2/users?on_conflict=email", r#"{"id":"a"}"#).problem(400, "unknown-parameter").await;
    assert_eq!(email["hint"], "leave it out, or name id");
    merge("/v2/users?on_conflict=nope", "{}").problem(400, "unknown-field").await;
    merge("/v2/users", r#"{"id":"a"}"#).header("if-none-match", "*").problem(400, "bad-header").await;
    for (method, path) in
        [("PUT", "/v2/users/a"), ("PATCH", "/v2/users/a"), ("PATCH", "/v2/users?age=eq.1"), ("GET", "/v2/users")]
    {
        let ask = server.ask(method, path).body("{}").header("prefer", "resolution=merge-duplicates");
        ask.problem(400, "bad-header").await;
    }
    assert_eq!(server.get("/v2/users").expect(200).await.column("id"), ["u00000", "u00001"], "nothing was written");
}
