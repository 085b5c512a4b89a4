//! Tokens, bounds, health, the control API, starting and stopping.

use std::time::Duration;

use serde_json::json;
use shearwater::gateway::connections::ConnectionBounds;
use shearwater::gateway::{ServeOptions, serve};
use shearwater_core::lifecycle::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Ask, World, http};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_guard_everything_but_health() {
    let world = World::new(1);
    let options = ServeOptions {
        gateway_token: Some("g-token".into()),
        control_token: Some("c-token".into()),
        ..ServeOptions::default()
    };
    let server = world.serve(options).await;
    for path in ["/v2/users", "/v2/users/u00000", "/openapi.json", "/metrics", "/nothing"] {
        server.get(path).problem(401, "unauthorized").await;
        server.get(path).header("authorization", "Bearer c-token").problem(401, "unauthorized").await;
    }
    let refused = server.get("/v2/users").expect(401).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    server.get("/v2/users").header("authorization", "Bearer g-token").expect(200).await;
    server.get("/healthz").expect(200).await;
    server.get("/readyz").expect(200).await;
    server.control("GET", "/migrations").problem(401, "unauthorized").await;
    server.control("GET", "/migrations").header("authorization", "Bearer g-token").problem(401, "unauthorized").await;
    server.control("GET", "/migrations").header("authorization", "Bearer c-token").expect(200).await;
    server.control("GET", "/healthz").expect(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_do_not_start_where_they_may_not() {
    let open = ServeOptions { gateway: ([0, 0, 0, 0], 0).into(), ..ServeOptions::default() };
    let error = serve(open, vec![]).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the gateway would listen on 0.0.0.0:0 without a token; anybody who reaches it could use it"
    );
    assert_eq!(error.hint().as_deref(), Some("set a token, or listen on 127.0.0.1"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(ServeOptions { gateway: address, ..ServeOptions::default() }, vec![]).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("the gateway cannot listen on {address}: ")), "{error}");
    assert!(error.hint().unwrap().contains(&format!("another program listens on port {}", address.port())));
    let control = ServeOptions { control: Some(address), ..ServeOptions::default() };
    let error = serve(control, vec![]).await.err().unwrap();
    assert!(error.to_string().starts_with("the control API cannot listen on"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let world = World::new(0);
    let server = world.serve(ServeOptions::default()).await;
    let long = format!(r#"{{"id":"x","city":"{}"}}"#, "y".repeat(8 * 1024 * 1024));
    server.post("/v2/users", &long).problem(413, "body-too-large").await;
    let fits = format!(r#"{{"id":"x","city":"{}"}}"#, "y".repeat(1024 * 1024));
    server.post("/v2/users", &fits).expect(201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_and_their_time_are_bounded() {
    let world = World::new(1);
    let none = ServeOptions { requests_in_flight_max: 0, ..ServeOptions::default() };
    let server = world.serve(none).await;
    server.get("/v2/users/u00000").problem(503, "overloaded").await;
    let answer = server.get("/v2/users").expect(503).await;
    assert_eq!(answer.header("retry-after"), "1");
    server.get("/healthz").expect(200).await;
    server.handle.stop().await;
    let hasty = ServeOptions { request_time_max: Duration::from_millis(200), ..ServeOptions::default() };
    let server = world.serve(hasty).await;
    let mut stream = tokio::net::TcpStream::connect(server.handle.addr).await.unwrap();
    stream.write_all(b"POST /v2/users HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("urn:shearwater:problem:timed-out"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_the_time_of_their_requests_heads_are_bounded() {
    let world = World::new(1);
    let bounds = |connections_max, header_ms| ServeOptions {
        connections: ConnectionBounds { connections_max, header_time_max: Duration::from_millis(header_ms) },
        ..ServeOptions::default()
    };
    // One that says nothing, one that never ends its head, one that is idle after an answer: all are closed.
    let server = world.serve(bounds(3, 300)).await;
    let connect = || tokio::net::TcpStream::connect(server.handle.addr);
    let (mut silent, mut slow, mut idle) =
        (connect().await.unwrap(), connect().await.unwrap(), connect().await.unwrap());
    slow.write_all(b"GET /v2/users HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    for stream in [&mut silent, &mut slow, &mut idle] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        let answered = rest.starts_with(b"HTTP/1.1 200 OK") || rest.is_empty() || rest.starts_with(b"HTTP/1.1 408");
        assert!(answered, "{}", String::from_utf8_lossy(&rest));
    }
    server.get("/v2/users/u00000").expect(200).await;
    server.handle.stop().await;

    // The one above the bound waits until another ends.
    let server = world.serve(bounds(1, 60_000)).await;
    let mut first = tokio::net::TcpStream::connect(server.handle.addr).await.unwrap();
    let health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answer = [0; 15];
    first.write_all(health).await.unwrap();
    first.read_exact(&mut answer).await.unwrap();
    let mut second = tokio::net::TcpStream::connect(server.handle.addr).await.unwrap();
    second.write_all(health).await.unwrap();
    // The first is answered again and again, and the second not yet.
    for _ in 0..20 {
        first.write_all(health).await.unwrap();
        first.readable().await.unwrap();
        let mut more = [0; 4_096];
        assert!(first.read(&mut more).await.unwrap() > 0);
        assert!(second.try_read(&mut more).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    drop(first);
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_announced_before_it_happens() {
    let world = World::new(1);
    let options = ServeOptions { unready_time: Duration::from_millis(300), ..ServeOptions::default() };
    let server = world.serve(options).await;
    let (addr, http) = (server.handle.addr, http());
    server.get("/readyz").expect(200).await;
    server.get("/v2/users/u00000").expect(200).await;
    let stopping = tokio::spawn(server.handle.stop());
    // Not ready at once, but still serving those who have not looked yet.
    loop {
        let ready = Ask::new(&http, addr, "GET", "/readyz").send().await;
        if ready.status == 503 {
            assert_eq!(ready.text, "stopping");
            break;
        }
    }
    Ask::new(&http, addr, "GET", "/v2/users/u00000").expect(200).await;
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nobody listens any more");
    let setup = world.setup().await;
    assert_eq!(setup.journal.members().await.unwrap(), [], "the member has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_lease_is_not_ready() {
    let world = World::new(1);
    let server = world.serve(ServeOptions::default()).await;
    server.get("/readyz").expect(200).await;
    server.member.leave().await;
    let answer = server.get("/readyz").expect(503).await;
    assert_eq!(answer.text, "the lease for users has ended");
    server.get("/v2/users/u00000").problem(503, "unavailable").await;
    server.post("/v2/users", "{}").problem(503, "unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_version() {
    let world = World::new(2);
    let server = world.serve(ServeOptions::default()).await;
    server.get("/v1/users/u00000").expect(200).await;
    server.patch("/v1/users/u00000", r#"{"age":5,"secret name":1}"#).expect(204).await;
    server.get("/v2/users").expect(200).await;
    let shown = server.get("/metrics").expect(200).await.text;
    for line in [
        r#"shearwater_requests_total{entity="users",version="v1",method="PATCH",status="2xx"}"#,
        r#"shearwater_written_fields_total{entity="users",version="v1",field="age"}"#,
        r#"shearwater_written_fields_total{entity="users",version="v1",field="(other)"}"#,
        r#"shearwater_request_seconds_bucket{entity="users",version="v2",method="GET""#,
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("secret"));
    server.handle.stop().await;
    let server = world.serve(ServeOptions::default()).await;
    let usage = server.control("GET", "/migrations/users").expect(200).await.json()["usage"].clone();
    assert_eq!((&usage["v1"]["reads"], &usage["v1"]["writes"]), (&json!(1), &json!(1)), "{usage}");
    assert_eq!((&usage["v2"]["reads"], &usage["v2"]["writes"]), (&json!(1), &json!(0)), "{usage}");
    assert!(usage["v1"]["last_write_ms"].as_i64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let world = World::new(0);
    let server = world.serve(ServeOptions::default()).await;
    let document = server.get("/openapi.json").expect(200).await;
    let json = document.json();
    assert_eq!(json["openapi"], "3.1.0");
    for path in ["/v1/users", "/v1/users/{key}", "/v2/users", "/v2/users/{key}"] {
        assert!(json["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
    }
    let schema = &json["components"]["schemas"]["v2.users"];
    assert_eq!(schema["properties"]["joined"]["format"], "date-time");
    assert_eq!(schema["properties"]["tags"]["items"]["properties"]["tag"]["type"], json!(["string", "null"]));
    for part in document.text.split("\"#/").skip(1) {
        let pointer = format!("/{}", part.split('"').next().unwrap());
        assert!(json.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_moves_the_migration() {
    let world = World::new(5);
    let server = world.serve(ServeOptions::default()).await;
    let overview = server.control("GET", "/migrations").expect(200).await.json();
    assert_eq!((&overview[0]["migration"], &overview[0]["phase"]), (&json!("users"), &json!("planned")));
    server.control("POST", "/migrations/users/advance").expect(200).await;
    server.forward_to(Phase::DualWrite).await;
    let status = server.control("GET", "/migrations/users").expect(200).await.json();
    assert_eq!((&status["phase"], &status["entity"]), (&json!("dual-write"), &json!("users")));
    assert_eq!(status["members"].as_array().map(Vec::len), Some(1), "{status}");
    assert!(status["next"]["gates"].is_array() && status["rollback"].is_object(), "{status}");
    let refused = server.control("POST", "/migrations/users/complete").problem(409, "refused").await;
    assert!(refused["code"].as_str().unwrap().contains('/'), "{refused}");
    server.control("POST", "/migrations/users/ramp").body(r#"{"percent":101}"#).problem(400, "bad-json").await;
    server.control("POST", "/migrations/users/explode").problem(404, "no-such-path").await;
    server.control("POST", "/migrations/nobody/advance").problem(404, "no-such-path").await;
    server.control("GET", "/migrations/users/explode").problem(404, "no-such-path").await;
    server.control("DELETE", "/migrations/users").problem(405, "method-not-allowed").await;
    server.forward_to(Phase::ShadowRead).await;
    let history = server.control("GET", "/migrations/users/history").expect(200).await.json();
    assert_eq!(history[0]["event"], "created");
    let later = server.control("GET", "/migrations/users/history?after=2").expect(200).await.json();
    assert_eq!(later[0]["seq"], 3);
    assert_eq!(server.control("GET", "/migrations/users/dead-letters").expect(200).await.json(), json!([]));
    let mismatches = server.control("GET", "/migrations/users/mismatches").expect(200).await.json();
    assert_eq!(mismatches["findings"], json!([]));
    server.control("POST", "/migrations/users/rollback").expect(200).await;
    let status = server.control("GET", "/migrations/users").expect(200).await.json();
    assert_eq!(status["phase"], "planned");
    assert!(server.control("GET", "/metrics").expect(200).await.header("content-type").starts_with("text/plain"));
}
