//! Lists of an `absorb` over HTTP: a record that v2 cannot show, and text in the
//! order that the spec asks for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rusqlite::Connection;
use serde_json::Value;
use shearwater::gateway::{ServeHandle, ServeOptions, serve};
use shearwater_core::absorb::Shapes;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::spec::{self, Migration};
use shearwater_core::store::Side;
use shearwater_engine::absorb::{Absorbing, Flagged, Options, Setup, run as engine};
use shearwater_engine::coordinator::CoordinatorOptions;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::run::ask_in;
use shearwater_engine::{Member, Serve};
use shearwater_stores::Create;
use shearwater_stores::journal::JournalFile;

const SPEC: &str = r#"
migration = "bob"
kind = "absorb"
entity = "users"
[source]
url = "sqlite:DIR/bob.db?sync=normal"
table = "users"
key = "id"
[source.columns]
id = "int"
name = "text"
years = "text"
[target]
url = "sqlite:DIR/alice.db?sync=normal"
table = "people"
key = "id"
[fields]
id = { from = "id", type = "int" }
name = { from = "name", type = "text" }
years = { sql = "cast(years as bigint)", type = "int", derived = true }
[require]
manager = { type = "text" }
[lists]
collation = "unicode"
"#;

async fn setup(dir: &std::path::Path) -> Setup {
    let connect = |file: &str, sql: &str| Connection::open(dir.join(file)).unwrap().execute_batch(sql).unwrap();
    connect(
        "bob.db",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, years TEXT); INSERT INTO users VALUES \
         (1, 'Zoë', '1'), (2, 'émile', '2'), (3, 'Emil', 'many'), (4, 'zoe', '4'), (5, 'Emma', '5')",
    );
    connect("alice.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, years INTEGER, manager TEXT)");
    let text = SPEC.replace("DIR", &dir.display().to_string());
    let spec = match spec::parse(&text, &|_| None) {
        Ok(Migration::Absorb(spec)) => *spec,
        Ok(_) => panic!("another kind"),
        Err(problems) => panic!("{}", spec::render_problems("spec", &text, &problems)),
    };
    let shapes = Arc::new(Shapes::compile(&spec).unwrap());
    let journals = JournalFile::open(&dir.join("journal"), true).await.unwrap();
    let journal = journals.create("bob", &text, "test").await.unwrap();
    let (url, layout) = (spec.base.source.url.clone(), shapes.flagged().clone());
    let flagged = Flagged::by(move || {
        let (url, layout) = (url.clone(), layout.clone());
        Box::pin(async move { shearwater_stores::open(&url, layout, Create::Never).await })
    });
    let open =
        async |url: &str, side| shearwater_stores::open(url, shapes.shape(side).clone(), Create::Never).await.unwrap();
    Setup {
        plain: open(&spec.base.source.url, Side::Source).await,
        target: open(&spec.base.target.url, Side::Target).await,
        crosswalk: None,
        lookups: Arc::default(),
        flagged,
        spec: Arc::new(spec),
        shapes: shapes.clone(),
        journal,
    }
}

/// Served, in the phase lazy.
async fn in_lazy(dir: &std::path::Path) -> ServeHandle {
    let setup = setup(dir).await;
    let member = Member::<State>::join_journal(setup.journal.clone(), "test", MemberOptions::default()).await.unwrap();
    let coordinator = engine::spawn(setup.clone(), member.clone(), CoordinatorOptions::default(), None);
    let served = Absorbing::new(setup.clone(), member, Some(coordinator), Options::default());
    let migrations: Vec<Arc<dyn Serve>> = vec![served];
    let options = ServeOptions { unready_time: Duration::ZERO, ..ServeOptions::default() };
    let gateway = serve(options, migrations).await.unwrap();
    for _ in 0..2 {
        ask_in(setup.journal.as_ref(), Command::Advance, Duration::from_secs(60)).await.unwrap().unwrap();
    }
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_v2_cannot_show_is_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = in_lazy(dir.path()).await;
    let http = Client::builder(TokioExecutor::new()).build_http();
    let get = async |path: &str, prefer: &str| -> (StatusCode, HeaderMap, Value) {
        let uri = format!("http://{}{path}", gateway.addr);
        let request = Request::get(uri).header("prefer", prefer).body(Body::empty()).unwrap();
        let answer = http.request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or_default())
    };
    let (status, _, problem) = get("/v2/users?order=name", "count=exact").await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("mapping/expression")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the record 3 of the source") && !detail.contains("many"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("handling=lenient"), "{problem}");

    let (status, headers, page) = get("/v2/users?order=name", "count=exact, handling=lenient").await;
    assert_eq!((status, headers["left-out"].to_str().unwrap()), (StatusCode::OK, "count=1, key=3"));
    assert_eq!(headers["content-range"], "0-3/4");
    let applied: Vec<&str> =
        headers.get_all("preference-applied").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(applied, ["count=exact", "handling=lenient"]);
    let names = |page: &Value| -> Vec<String> {
        page.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["émile", "Emma", "zoe", "Zoë"], "as people order them");

    // v1 shows it, and has nothing to leave out.
    let (status, headers, page) = get("/v1/users?order=name.desc", "handling=lenient").await;
    assert_eq!((status, headers["left-out"].to_str().unwrap()), (StatusCode::OK, "count=0"));
    assert_eq!(names(&page), ["Zoë", "zoe", "Emma", "émile", "Emil"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_records_in_both_stores_are_refused_and_the_description_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = in_lazy(dir.path()).await;
    let http = Client::builder(TokioExecutor::new()).build_http();
    let ask = async |method: &str, path: &str, body: &str| -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", gateway.addr));
        let request = request.header("content-type", "application/merge-patch+json");
        let answer = http.request(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    };
    assert!(ask("PATCH", "/v2/users/1", r#"{"manager":"m"}"#).await.0.is_success());
    // 1 lives in the target, 2 in the source; 4 and 5 would both move.
    for (path, body) in [("/v1/users?id=in.(1,2)", r#"{"name":"N"}"#), ("/v2/users?id=in.(4,5)", r#"{"manager":"m"}"#)]
    {
        let (status, problem) = ask("PATCH", path, body).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (422, Some("absorb/atomic")), "{problem}");
    }
    assert!(ask("PATCH", "/v1/users?id=in.(2,4)", r#"{"name":"N"}"#).await.0.is_success(), "they live in one store");

    let (_, document) = ask("GET", "/openapi.json", "").await;
    let told = |path: &str, method: &str| {
        let description = &document["paths"][path][method]["responses"]["422"]["description"];
        description.as_str().unwrap_or_default().to_owned()
    };
    for version in ["v1", "v2"] {
        for method in ["post", "patch", "delete"] {
            assert!(told(&format!("/{version}/users"), method).contains("`absorb/atomic`: "), "{version} {method}");
        }
        for method in ["put", "patch", "delete"] {
            let one = told(&format!("/{version}/users/{{key}}"), method);
            assert!(one.contains("`absorb/taken`: ") && !one.contains("absorb/atomic"), "{version} {method}");
        }
    }
    gateway.stop().await;
}
