//! A migration of documents to rows in a directory of its own, served by
//! in-process servers, and a plain HTTP client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusqlite::{Connection, params};
use serde_json::Value;
use shearwater::gateway::{ServeHandle, ServeOptions, serve};
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::{BackfillState, Lifecycle, Phase, State};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::Side;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::RecordsOptions;
use shearwater_engine::run::{self, CoordinatorOptions};
use shearwater_engine::serve::Served;
use shearwater_engine::{Member, Setup};
use shearwater_stores::Create;
use shearwater_stores::journal::JournalFile;

/// How long a command may take before the test gives up.
const WAIT: Duration = Duration::from_secs(60);

const FIELDS: &str = r#"
[fields]
id = { from = "_id", type = "text", required = true }
email = { from = "email", type = "text", unique = true }
city = { from = "address.city", type = "text" }
age = { from = "age", type = "int" }
balance = { from = "balance", type = "decimal" }
joined = { from = "joined", type = "instant" }
status = { target_only = true, type = "text" }
tags = { table = "people_tags", scalar = "tag", type = "text" }
[unmapped]
keep_in = "extra"
[gates]
pause_ms_max = 20000
backlog_max = 100000
"#;

/// The directory of one test.
pub struct World {
    pub dir: tempfile::TempDir,
}

impl World {
    /// With a source of so many documents, keys `u00000` and on.
    pub fn new(records: usize) -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        let mut source = world.connect("legacy.db");
        let tx = source.transaction().unwrap();
        tx.execute_batch("CREATE TABLE users (_id PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID").unwrap();
        for n in 0..records {
            let key = key(n);
            tx.execute("INSERT INTO users VALUES (?1, ?2)", params![key, document(&key, n)]).unwrap();
        }
        tx.commit().unwrap();
        world
    }

    pub fn connect(&self, file: &str) -> Connection {
        let connection = Connection::open(self.dir.path().join(file)).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection
    }

    pub async fn setup(&self) -> Setup {
        setup(self.dir.path()).await
    }

    /// A process that serves, with control API and coordinator.
    pub async fn serve(&self, options: ServeOptions) -> Server {
        self.serve_over(self.setup().await, options).await
    }

    /// The same over stores that a test has put something around.
    pub async fn serve_over(&self, setup: Setup, options: ServeOptions) -> Server {
        let options = ServeOptions { control: Some(([127, 0, 0, 1], 0).into()), ..options };
        let (handle, member) = start(&setup, options).await;
        Server { setup, member, handle, http: http() }
    }
}

pub fn key(n: usize) -> String {
    format!("u{n:05}")
}

pub fn document(key: &str, n: usize) -> String {
    format!(
        r#"{{"_id":"{key}","email":"{key}@example.org","address":{{"city":"c{}","zip":"{n}"}},"age":{n},"balance":{{"@decimal":"{n}.50"}},"joined":{{"@instant":"2020-01-01T00:00:{:02}Z"}},"tags":["a","t{n}"],"odd":{{"f":{n}.5,"none":null}}}}"#,
        n % 7,
        n % 60,
    )
}

async fn setup(dir: &Path) -> Setup {
    let shown = dir.display();
    let text = format!(
        "migration = \"users\"\nkind = \"move\"\nentity = \"users\"\n\
         [source]\nurl = \"sqlite:{shown}/legacy.db?sync=normal\"\ntable = \"users\"\nkey = \"_id\"\n\
         [target]\nurl = \"sqlite:{shown}/app.db?sync=normal\"\ntable = \"people\"\nkey = \"id\"\n{FIELDS}",
    );
    let spec = spec::parse_move(&text, &|_| None)
        .unwrap_or_else(|problems| panic!("{}", spec::render_problems("spec", &text, &problems)));
    let mapping = Mapping::compile(&spec).unwrap();
    let file = JournalFile::open(&dir.join("journal"), true).await.unwrap();
    let journal = match file.migration("users").await {
        Ok(journal) => journal,
        Err(_) => file.create("users", &text, "test").await.unwrap(),
    };
    let source = shearwater_stores::open(&spec.source.url, mapping.source().clone(), Create::Never).await.unwrap();
    let target = shearwater_stores::open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await.unwrap();
    Setup { spec: Arc::new(spec), mapping: Arc::new(mapping), journal, source, target }
}

async fn start(setup: &Setup, options: ServeOptions) -> (ServeHandle, Arc<Member>) {
    let member = MemberOptions { ttl: Duration::from_secs(2), poll: Duration::from_millis(3) };
    let member = Member::join(setup, "test", member).await.unwrap();
    let coordinator = CoordinatorOptions { lease: Duration::from_secs(2), poll: Duration::from_millis(5) };
    let coordinator = run::spawn(setup.clone(), member.clone(), coordinator);
    let migration = Served::new(setup.clone(), member.clone(), Some(coordinator), RecordsOptions::default());
    (serve(options, vec![migration]).await.unwrap(), member)
}

type Http = Client<HttpConnector, Body>;

pub fn http() -> Http {
    Client::builder(TokioExecutor::new()).build(HttpConnector::new())
}

/// A serving process.
pub struct Server {
    pub setup: Setup,
    pub member: Arc<Member>,
    pub handle: ServeHandle,
    http: Http,
}

impl Server {
    pub fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    pub fn post(&self, path: &str, body: &str) -> Ask {
        self.ask("POST", path).body(body)
    }

    pub fn put(&self, path: &str, body: &str) -> Ask {
        self.ask("PUT", path).body(body)
    }

    pub fn patch(&self, path: &str, body: &str) -> Ask {
        self.ask("PATCH", path).body(body)
    }

    pub fn delete(&self, path: &str) -> Ask {
        self.ask("DELETE", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(&self.http, self.handle.addr, method, path)
    }

    pub fn control(&self, method: &str, path: &str) -> Ask {
        Ask::new(&self.http, self.handle.control_addr.unwrap(), method, path)
    }

    /// Asks for a command, and wants it done.
    pub async fn done(&self, command: Command) -> Value {
        let shown = format!("{command:?}");
        run::ask(&self.setup, command, WAIT).await.unwrap().unwrap_or_else(|refusal| panic!("{shown}: {refusal}"))
    }

    async fn state(&self) -> State {
        State::replay(&self.setup.journal.read(0, 100_000).await.unwrap()).unwrap()
    }

    /// Goes on to a phase by the shortest way forward.
    pub async fn forward_to(&self, to: Phase) {
        loop {
            let state = self.state().await;
            if state.phase == to && state.entering.is_none() {
                return;
            }
            match state.phase {
                Phase::DualWrite => {
                    self.until("backfilled", |state| matches!(state.backfill, BackfillState::Done { .. })).await;
                    self.followed(Side::Source).await;
                    let report = self.done(Command::Verify).await;
                    assert_eq!(report["mismatches"], 0, "{report}");
                    self.done(Command::Advance).await;
                }
                Phase::ReadRamp => {
                    self.done(Command::Ramp { percent: 100 }).await;
                    self.done(Command::Advance).await;
                }
                Phase::ReverseWindow => drop(self.done(Command::Complete).await),
                _ => drop(self.done(Command::Advance).await),
            }
        }
    }

    async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let mut seq = 0;
        let waited = tokio::time::timeout(WAIT, async {
            while !wanted(&self.state().await) {
                seq = self.member.seen_above(seq).await.seq;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Waits until no mark is left at the authority.
    pub async fn followed(&self, authority: Side) {
        let waited = tokio::time::timeout(WAIT, async {
            while self.setup.store(authority).dirty_count().await.unwrap() > 0 {
                self.member.wake_reconciler();
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("the marks are never cleared");
    }
}

/// A request in the making.
pub struct Ask {
    http: Http,
    request: Request<Body>,
}

impl Ask {
    pub fn new(http: &Http, addr: SocketAddr, method: &str, path: &str) -> Ask {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = format!("http://{addr}{}", path.replace('>', "%3E")).parse().unwrap();
        Ask { http: http.clone(), request }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Ask {
        self.request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn body(mut self, body: &str) -> Ask {
        *self.request.body_mut() = Body::from(body.to_owned());
        self
    }

    pub async fn send(self) -> Answer {
        let response = self.http.request(self.request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// Sends, and wants this status.
    pub async fn expect(self, status: u16) -> Answer {
        let shown = format!("{} {}", self.request.method(), self.request.uri().path_and_query().unwrap());
        let answer = self.send().await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        answer
    }

    /// Sends, and wants this problem.
    pub async fn problem(self, status: u16, slug: &str) -> Value {
        let answer = self.expect(status).await;
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:shearwater:problem:{slug}"), "{problem}");
        assert_eq!(problem["status"], status);
        for field in ["title", "detail", "code", "message"] {
            assert!(problem[field].is_string(), "{field}: {problem}");
        }
        problem
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header's value; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn etag(&self) -> &str {
        self.header("etag")
    }

    /// The path of the next page.
    pub fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        let (path, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest, "; rel=\"next\"");
        Some(path.to_owned())
    }

    /// One field of every record of a list.
    pub fn column(&self, field: &str) -> Vec<Value> {
        self.json().as_array().unwrap().iter().map(|record| record[field].clone()).collect()
    }
}
