//! Who takes part: clients of both shapes, walkers of lists in five orders, and
//! a program of Alice's that writes her store directly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use shearwater_core::error::Policy;
use shearwater_engine::records::Shape;
use shearwater_stores::outsider::Outsider;
use tokio::task::JoinSet;

use super::super::DemoError;
use super::super::dice::Dice;
use super::super::history::{Act, Among, Before, History, KeyId, NEVER, Op, Seen, SortFields, Version, Walk};
use super::super::http::{Answer, Ask, Http};
use super::super::plot::Places;
use super::{Floor, stores};

/// The field that lists are ordered by and clients change.
const CITY: SortFields = SortFields(1);

/// The five orders; `id` and `email` in both shapes.
const ORDERS: [(&str, Shape, SortFields); 5] = [
    ("id", Shape::V2, SortFields::NONE),
    ("email.desc.nullsfirst", Shape::V2, SortFields::NONE),
    ("name,email.asc.nullslast", Shape::V2, SortFields::NONE),
    ("city.desc.nullslast,id", Shape::V2, CITY),
    ("email.asc.nullsfirst,{key}.desc", Shape::V1, SortFields::NONE),
];

/// Records in a page of a walk.
const PAGE_RECORDS: usize = 50;

/// The rest between two writes of Alice's own program.
const DIRECT_REST: Duration = Duration::from_millis(3);

/// The rest between two walks.
const WALK_REST: Duration = Duration::from_millis(20);

/// Everybody at work.
pub struct Crowd {
    witnesses: JoinSet<History>,
}

impl Crowd {
    /// Lets them in.
    pub async fn open(
        floor: &Arc<Floor>,
        address: SocketAddr,
        places: &Places,
        clients: u32,
    ) -> Result<Crowd, DemoError> {
        let mut witnesses = JoinSet::new();
        for number in 0..clients.max(2) {
            let shape = if number % 2 == 0 { Shape::V1 } else { Shape::V2 };
            let wire = Wire { http: Http::new(address), floor: floor.clone() };
            let dice = Dice::new(floor.seed, u64::from(number));
            witnesses.spawn(Client { wire, shape, dice, history: History::default() }.run());
        }
        for (at, (order, shape, fields)) in ORDERS.into_iter().enumerate() {
            let wire = Wire { http: Http::new(address), floor: floor.clone() };
            let dice = Dice::new(floor.seed, 1_000 + at as u64);
            let order = order.replace("{key}", stores::key_name(places));
            witnesses.spawn(Walker { wire, order, shape, fields, dice, history: History::default() }.run());
        }
        let alice = stores::alice(places).await?;
        let floor = floor.clone();
        let initial = vec![Some(Version(0)); floor.records as usize];
        let here = tokio::runtime::Handle::current();
        witnesses.spawn_blocking(move || here.block_on(async { History { initial, ..direct(&floor, alice).await } }));
        Ok(Crowd { witnesses })
    }

    /// Waits until everybody has left, and takes down what they saw.
    pub async fn leave(mut self) -> Result<History, DemoError> {
        let mut history = History::default();
        while let Some(witness) = self.witnesses.join_next().await {
            history.merge(witness.map_err(|error| DemoError(format!("somebody failed: {error}")))?);
        }
        Ok(history)
    }
}

/// Alice's own program: it writes whichever of Bob's users it finds in her store.
async fn direct(floor: &Floor, mut alice: Box<dyn Outsider>) -> History {
    let mut dice = Dice::new(floor.seed, 2_000);
    let mut history = History::default();
    while !floor.stopping() {
        let key = KeyId(dice.below(floor.records as usize) as u32);
        let (version, begun_ns) = (floor.version(), floor.now_ns());
        match stores::write_directly(alice.as_mut(), key, version).await {
            Ok(true) => {
                floor.direct_writes.fetch_add(1, Ordering::Relaxed);
                let act = Act::Wrote { version: Version(version), before: Before::Present, touched: SortFields::NONE };
                history.ops.push(Op { key, act, begun_ns, ended_ns: floor.now_ns() });
            }
            // It is not there (yet, or any more): that says nothing about the record.
            Ok(false) => {}
            // It lost to another transaction, and did nothing.
            Err(error) if error.policy() == Policy::Retry => {}
            Err(error) => floor.error(format!("Alice's own program: {error}")),
        }
        tokio::time::sleep(DIRECT_REST).await;
    }
    history
}

/// A way to the gateway.
struct Wire {
    http: Http,
    floor: Arc<Floor>,
}

impl Wire {
    async fn ask(&mut self, method: Method, path: &str, body: Option<&str>) -> Option<Answer> {
        self.floor.requests.fetch_add(1, Ordering::Relaxed);
        match self.http.ask(&Ask { method, path, headers: &[], body }).await {
            Ok(answer) => Some(answer),
            Err(broken) => {
                self.floor.error(format!("a connection broke: {}", broken.0));
                None
            }
        }
    }
}

fn path(shape: Shape, key: KeyId) -> String {
    match shape {
        Shape::V1 => format!("/v1/users/{}", key.0),
        Shape::V2 => format!("/v2/users/bob-{}", key.0),
    }
}

fn list_path(shape: Shape) -> &'static str {
    match shape {
        Shape::V1 => "/v1/users",
        Shape::V2 => "/v2/users",
    }
}

fn version_of(record: &serde_json::Value) -> Option<Version> {
    record.get("v")?.as_u64().and_then(|v| u32::try_from(v).ok()).map(Version)
}

fn key_of(record: &serde_json::Value) -> Option<KeyId> {
    match record.get("id").or_else(|| record.get("_id"))? {
        serde_json::Value::String(text) => text.strip_prefix("bob-")?.parse().ok().map(KeyId),
        number => number.as_u64().and_then(|n| u32::try_from(n).ok()).map(KeyId),
    }
}

/// Whether a refusal is one of those that a busy moment may give.
fn is_later(answer: &Answer) -> bool {
    matches!(answer.status, 503 | 409)
}

/// A client of one shape.
struct Client {
    wire: Wire,
    shape: Shape,
    dice: Dice,
    history: History,
}

impl Client {
    async fn run(mut self) -> History {
        let records = self.wire.floor.records as usize;
        while !self.wire.floor.stopping() {
            // A few keys are popular, so that acts meet.
            let bound = if self.dice.percent(30) { records.min(20) } else { records };
            let key = KeyId(self.dice.below(bound) as u32);
            match self.dice.below(100) {
                0..50 => self.read(key).await,
                50..97 => self.patch(key).await,
                _ => self.delete(key).await,
            }
        }
        self.history
    }

    fn saw(&mut self, key: KeyId, seen: Seen, begun_ns: u64) {
        let ended_ns = self.wire.floor.now_ns();
        self.history.ops.push(Op { key, act: Act::Saw(seen), begun_ns, ended_ns });
    }

    async fn read(&mut self, key: KeyId) {
        let begun_ns = self.wire.floor.now_ns();
        let Some(answer) = self.wire.ask(Method::GET, &path(self.shape, key), None).await else { return };
        match answer.status {
            200 => match serde_json::from_slice(&answer.body).ok().as_ref().and_then(version_of) {
                Some(version) => self.saw(key, Seen::Version(version), begun_ns),
                None => self.wire.floor.error(format!("GET of {} has no version", key.0)),
            },
            404 => self.saw(key, Seen::Absent, begun_ns),
            _ if is_later(&answer) => {}
            status => self.unexpected("GET", status, &answer),
        }
    }

    async fn patch(&mut self, key: KeyId) {
        let version = self.wire.floor.version();
        let moves_city = self.dice.percent(20);
        let mut body = serde_json::json!({ "v": version });
        if moves_city {
            body["city"] = format!("city {}", self.dice.below(9)).into();
        }
        // Bob's user management has learnt to ask for the manager.
        if self.shape == Shape::V2 && self.dice.percent(40) {
            body["manager"] = format!("m{}", self.dice.below(5)).into();
        }
        let begun_ns = self.wire.floor.now_ns();
        let body = body.to_string();
        let Some(answer) = self.wire.ask(Method::PATCH, &path(self.shape, key), Some(&body)).await else { return };
        let touched = if moves_city { CITY } else { SortFields::NONE };
        let act = Act::Wrote { version: Version(version), before: Before::Present, touched };
        self.wrote("PATCH", key, act, begun_ns, &answer);
    }

    async fn delete(&mut self, key: KeyId) {
        let begun_ns = self.wire.floor.now_ns();
        let Some(answer) = self.wire.ask(Method::DELETE, &path(self.shape, key), None).await else { return };
        self.wrote("DELETE", key, Act::Deleted { before: Before::Present }, begun_ns, &answer);
    }

    fn wrote(&mut self, what: &str, key: KeyId, act: Act, begun_ns: u64, answer: &Answer) {
        let ended_ns = self.wire.floor.now_ns();
        let is_unknown = answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("outcome-unknown");
        match answer.status {
            200 | 204 => self.history.ops.push(Op { key, act, begun_ns, ended_ns }),
            404 => self.saw(key, Seen::Absent, begun_ns),
            _ if is_unknown => self.history.ops.push(Op { key, act, begun_ns, ended_ns: NEVER }),
            _ if is_later(answer) => {}
            status => self.unexpected(what, status, answer),
        }
    }

    fn unexpected(&self, what: &str, status: u16, answer: &Answer) {
        self.wire.floor.error(format!("{what}: {status} {}", String::from_utf8_lossy(&answer.body)));
    }
}

/// Walks one list again and again, page by page.
struct Walker {
    wire: Wire,
    order: String,
    shape: Shape,
    fields: SortFields,
    dice: Dice,
    history: History,
}

impl Walker {
    async fn run(mut self) -> History {
        while !self.wire.floor.stopping() {
            self.walk().await;
            tokio::time::sleep(WALK_REST).await;
        }
        self.history
    }

    async fn walk(&mut self) {
        let limit = PAGE_RECORDS + self.dice.below(PAGE_RECORDS);
        let mut path = format!("{}?order={}&limit={limit}", list_path(self.shape), self.order);
        let begun_ns = self.wire.floor.now_ns();
        let mut keys = Vec::new();
        loop {
            let Some(answer) = self.wire.ask(Method::GET, &path, None).await else { return };
            if is_later(&answer) && !self.wire.floor.stopping() {
                continue;
            }
            if answer.status != 200 && answer.status != 206 {
                let body = String::from_utf8_lossy(&answer.body);
                return self.wire.floor.error(format!("a page by {}: {} {body}", self.order, answer.status));
            }
            let page_ns = self.wire.floor.now_ns();
            let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
            for record in &records {
                // After the end v2 shows all of Alice's people.
                let (Some(key), Some(version)) = (key_of(record), version_of(record)) else { continue };
                keys.push(key);
                let act = Act::Saw(Seen::Version(version));
                self.history.ops.push(Op { key, act, begun_ns, ended_ns: page_ns });
            }
            match answer.next {
                Some(next) if !self.wire.floor.stopping() => path = next,
                Some(_) => return,
                None => {
                    let ended_ns = self.wire.floor.now_ns();
                    let (among, order) = (Among::All, self.fields);
                    self.history.walks.push(Walk { among, order, begun_ns, ended_ns, keys });
                    return;
                }
            }
        }
    }
}
