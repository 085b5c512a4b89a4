//! One client's requests: paths and bodies of its shape, sent again when the
//! gateway says "not now", timed, and their answers read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Value};
use shearwater_engine::records::Shape;

use super::history::{Act, KeyId, NEVER, Op, Version};
use super::http::{Answer, Ask, Http};
use super::people;
use super::register::Disagreement;
use super::stage::{Doing, Stage, Timed};

/// How long a request is sent again before its refusal counts as an error: the
/// longest pause that a change of authority may take, many times over.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause before a request is sent again. `Retry-After` counts whole
/// seconds; these clients are on the same machine and ask sooner.
const AGAIN: Duration = Duration::from_millis(20);

/// Path characters that stay as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Fields of v2 that the gateway makes by itself: computed ones, and the
/// residue, which also remembers how v1 wrote a value.
const MADE_BY_MAPPING: &[&str] = &["display_name", "extra"];

/// A client's way to the gateway.
pub struct Wire {
    http: Http,
    shape: Shape,
    stage: Arc<Stage>,
    /// Its requests so far.
    pub timed: Vec<Timed>,
}

/// A request.
#[derive(Clone)]
pub struct Wish {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    doing: Doing,
    idempotent: bool,
}

/// How a request ended.
pub struct Told {
    /// The status code of the last answer; 0 when there was none.
    pub status: u16,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// The next page of a list.
    pub next: Option<String>,
    /// Its body.
    pub body: hyper::body::Bytes,
    /// Whether the request is a write that may or may not have happened.
    pub unknown: bool,
    begun_ns: u64,
    ended_ns: u64,
}

impl Wish {
    /// A read by key.
    pub fn read(path: String) -> Wish {
        Wish { doing: Doing::Read, ..Wish::bare(Method::GET, path) }
    }

    /// A page of a list.
    pub fn page(path: String) -> Wish {
        Wish { doing: Doing::List, ..Wish::bare(Method::GET, path) }
    }

    /// A change without a body.
    pub fn bare(method: Method, path: String) -> Wish {
        Wish { method, path, headers: Vec::new(), body: None, doing: Doing::Write, idempotent: false }
    }

    /// A change that wants to see the record afterwards.
    pub fn change(method: Method, path: String, record: &Document) -> Wish {
        let body = Some(json::document_to_string(record));
        Wish { body, ..Wish::bare(method, path) }.header("prefer", "return=representation".to_owned())
    }

    /// With a header more.
    pub fn header(mut self, name: &'static str, value: String) -> Wish {
        self.headers.push((name, value));
        self
    }

    /// Under an Idempotency-Key of its own: may be sent again whatever happened.
    pub fn idempotent(mut self, client: u32, version: Version) -> Wish {
        self.idempotent = true;
        self.header("idempotency-key", format!("demo-{client}-{}", version.0))
    }
}

impl Told {
    /// What it says about a key, as an act of the history.
    pub fn op(&self, key: KeyId, act: Act) -> Op {
        Op { key, act, begun_ns: self.begun_ns, ended_ns: if self.unknown { NEVER } else { self.ended_ns } }
    }

    /// Whether its version is a stamp, and not a hash of the content.
    pub fn is_stamped(&self) -> bool {
        self.etag.as_deref().is_some_and(|etag| !etag.starts_with("\"h-"))
    }

    /// When it was asked and answered.
    pub fn times(&self) -> (u64, u64) {
        (self.begun_ns, self.ended_ns)
    }
}

/// What to do after an answer.
enum Then {
    Take,
    Again,
    Unknown,
}

impl Wire {
    /// A way to the gateway for one client.
    pub fn new(address: SocketAddr, shape: Shape, stage: Arc<Stage>) -> Wire {
        Wire { http: Http::new(address), shape, stage, timed: Vec::new() }
    }

    /// The path of the entity.
    pub fn list_path(&self) -> String {
        match self.shape {
            Shape::V1 => "/v1/users".to_owned(),
            Shape::V2 => "/v2/users".to_owned(),
        }
    }

    /// The path of a record.
    pub fn path(&self, key: KeyId) -> String {
        let text = Key::single(&*self.stage.register.text(key)).to_text();
        format!("{}/{}", self.list_path(), utf8_percent_encode(&text, PLAIN))
    }

    /// The field of the key.
    pub fn key_field(&self) -> &'static str {
        match self.shape {
            Shape::V1 => "_id",
            Shape::V2 => "id",
        }
    }

    /// The field of the version.
    pub fn version_field(&self) -> &'static str {
        match self.shape {
            Shape::V1 => "v",
            Shape::V2 => "version",
        }
    }

    /// Sends a request until there is an answer to act on. `None` when there is
    /// none that says anything; that is counted as an error where it is one.
    pub async fn ask(&mut self, wish: Wish) -> Option<Told> {
        let step = self.stage.step();
        let begun_ns = self.stage.now_ns();
        let mut uncertain = false;
        loop {
            let ask = Ask {
                method: wish.method.clone(),
                path: &wish.path,
                headers: &wish.headers,
                body: wish.body.as_deref(),
            };
            self.stage.count_request();
            let answer = self.http.ask(&ask).await;
            let ended_ns = self.stage.now_ns();
            let patient = Duration::from_nanos(ended_ns - begun_ns) < PATIENCE;
            let then = match &answer {
                Ok(answer) => after_answer(&wish, answer),
                Err(_) => Then::Unknown,
            };
            uncertain |= matches!(then, Then::Unknown) && wish.doing == Doing::Write;
            let again = match then {
                Then::Take => false,
                Then::Again => true,
                Then::Unknown => wish.idempotent || wish.doing != Doing::Write,
            };
            if again && patient {
                self.stage.count_retry();
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            self.timed.push(Timed { doing: wish.doing, step, begun_ns, ended_ns });
            // A later answer of the same idempotent request settles an uncertain one.
            let unknown = uncertain && !matches!(then, Then::Take);
            return match answer {
                Ok(a) => {
                    let Answer { status, etag, next, body } = a;
                    Some(Told { status, etag, next, body, unknown, begun_ns, ended_ns })
                }
                Err(broken) => {
                    self.stage.error(format!("{} {}: {}", wish.method, self.list_path(), broken.0));
                    let body = hyper::body::Bytes::new();
                    unknown.then_some(Told { status: 0, etag: None, next: None, body, unknown, begun_ns, ended_ns })
                }
            };
        }
    }

    /// Counts an answer that no rule of the API explains. One rule holds for
    /// all changes: before the start there is no place for what only v2 has.
    pub fn unexpected(&self, what: &str, told: &Told) {
        let no_place = told.status == 422 && contains(&told.body, "phase/nowhere-to-park");
        if no_place && self.shape == Shape::V2 && self.stage.step() <= 1 {
            return;
        }
        let body: String = String::from_utf8_lossy(&told.body).chars().take(400).collect();
        self.stage.error(format!("{what} ({:?}): {} {body}", self.shape, told.status));
    }

    /// The record of an answer.
    pub fn record(&self, told: &Told) -> Option<Document> {
        let value = match json::parse(&told.body) {
            Ok(value) => value,
            Err(error) => {
                self.stage.error(format!("the answer ({}) is no JSON: {error}", told.status));
                return None;
            }
        };
        let record = match value {
            Value::Array(mut records) if records.len() == 1 => records.swap_remove(0),
            other => other,
        };
        let record = self.as_held(record);
        if record.is_none() {
            self.stage.error(format!("the answer ({}) is no record", told.status));
        }
        record
    }

    /// The records of a page.
    pub fn records(&self, told: &Told) -> Option<Vec<Document>> {
        let records = match json::parse(&told.body) {
            Ok(Value::Array(values)) => values.into_iter().map(|value| self.as_held(value)).collect(),
            _ => None,
        };
        if records.is_none() {
            self.stage.error(format!("the page ({}) is no array of records", told.status));
        }
        records
    }

    /// A record as a store of this shape holds it: v2 has a declared type for
    /// its instants and sends them as plain text.
    fn as_held(&self, value: Value) -> Option<Document> {
        let Value::Document(mut record) = value else { return None };
        if self.shape == Shape::V2
            && let Some(joined) = record.get_mut("joined")
            && let Value::Text(text) = &*joined
        {
            *joined = Value::Instant(text.parse().ok()?);
        }
        Some(record)
    }

    /// The version in a record.
    pub fn version(&self, record: &Document) -> Option<Version> {
        let version = match record.get(self.version_field()) {
            Some(Value::Int(version)) => u32::try_from(*version).ok().map(Version),
            _ => None,
        };
        if version.is_none() {
            self.stage.error("a record without its version");
        }
        version
    }

    /// The key in a record.
    pub fn key(&self, record: &Document) -> Option<KeyId> {
        let key = match record.get(self.key_field()) {
            Some(Value::Text(text)) => self.stage.register.find(text),
            _ => None,
        };
        if key.is_none() {
            self.stage.error("a record with a key that nobody made");
        }
        key
    }

    /// Notes what a version looks like in this shape.
    pub fn looks(&self, place: &'static str, key: KeyId, version: Version, record: &Document) {
        self.stage.register.looks(place, key, version, self.shape, &self.stage.comparable(record.clone()));
    }

    /// Compares the answer of a write with what was sent: every field that was
    /// sent must stand there as it was sent.
    pub fn wrote(&self, key: KeyId, version: Version, told: &Told, sent: &Document) {
        let Some(record) = self.record(told) else { return };
        self.looks("write", key, version, &record);
        let comparable =
            |name: &str, value: &Value| self.stage.comparable(Document::from_iter([(name, value.clone())]));
        let same = |name: &str, value: &Value| match record.get(name) {
            Some(found) => found == value || comparable(name, found) == comparable(name, value),
            None => value.is_null(),
        };
        let made = |name: &str| self.shape == Shape::V2 && MADE_BY_MAPPING.contains(&name);
        let differ: Vec<&str> =
            sent.iter().filter(|(name, value)| !made(name) && !same(name, value)).map(|(name, _)| name).collect();
        if !differ.is_empty() {
            let place = "answer of a write";
            self.stage.remark(format!("{place} ({:?}): otherwise than sent: {}", self.shape, differ.join(", ")));
            self.stage.register.disagree(Disagreement { key, version, shape: self.shape, place });
        }
    }

    /// A new record in this shape.
    pub fn new_record(&self, key: KeyId, text: &str, version: Version) -> Document {
        let v1 = people::person(self.stage.seed ^ u64::from(version.0), key, text, version);
        match self.shape {
            Shape::V1 => self.stage.native(v1),
            Shape::V2 => {
                let mut v2 = as_v2(&v1);
                if let Some(score) = v2.get_mut("score") {
                    *score = self.stage.tidy_score(score.clone());
                }
                if let Some(Value::Array(addresses)) = v2.get_mut("addresses") {
                    for address in addresses {
                        let Value::Document(fields) = std::mem::replace(address, Value::Null) else { continue };
                        // In the order of the spec's fields.
                        *address = Value::Document(self.stage.native(fields));
                    }
                }
                v2
            }
        }
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

fn after_answer(wish: &Wish, answer: &Answer) -> Then {
    let says = |text: &str| contains(&answer.body, text);
    match answer.status {
        503 if wish.doing == Doing::Write && (says("outcome-unknown") || says("timed-out")) => Then::Unknown,
        503 => Then::Again,
        409 if says("idempotency-in-flight") => Then::Again,
        _ => Then::Take,
    }
}

/// What a v2 client would send for a new user: its own shape, tidy values.
fn as_v2(v1: &Document) -> Document {
    let mut v2 = Document::new();
    for (from, to) in [("_id", "id"), ("v", "version"), ("bucket", "bucket"), ("email", "email"), ("joined", "joined")]
    {
        if let Some(value) = v1.get(from) {
            v2.set(to, value.clone());
        }
    }
    v2.set("first_name", "Nova");
    v2.set("last_name", "Klient");
    for name in ["score", "balance", "notes"] {
        if let Some(value) = v1.get(name) {
            v2.set(name, value.clone());
        }
    }
    v2.set("plan", "team");
    v2.set("loyalty", "new");
    let tag = |tag: &str| Value::Document(Document::from_iter([("tag", tag)]));
    v2.set("tags", Value::Array(vec![tag("v2"), tag("nouveau")]));
    let address = Document::from_iter([("street", "Neue Straße 1"), ("city", "Köln"), ("zip", "50667")]);
    v2.set("addresses", Value::Array(vec![Value::Document(address)]));
    v2
}
