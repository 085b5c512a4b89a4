//! Clients of both shapes over HTTP that remember what they were answered, and
//! check every further answer against it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::direct::DIRECT_FROM;
use super::http::{Answer, Http};
use super::{Rules, SHARED, fill};
use crate::dice::Dice;

/// The rest between two requests: a client among others, not a load test.
const REST: Duration = Duration::from_millis(4);

/// Records of one page.
const PAGE: i64 = 20;

/// Keys of new clients' own records are from here on, up to those of the direct
/// writer; outdated clients' own are below, down to the seeds.
const V2_FROM: i64 = 10_000_000;
const V1_FROM: i64 = 1_000_000;

/// What one client saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests that were answered.
    pub requests: u64,
    /// Refused as documented: no place for the field yet, no creates without it any more, a lost race for `If-Match`.
    pub no_place: u64,
    pub no_creates: u64,
    pub raced: u64,
    /// What it made of the names of records, its own and the shared ones of its group.
    pub names: BTreeMap<i64, String>,
    /// What it made of the field: a value, or one of two where the column was taken away meanwhile.
    pub statuses: BTreeMap<i64, Vec<String>>,
    /// Its own records.
    pub own: Vec<i64>,
}

/// A client; the group says which of the shared records it writes.
pub struct Client {
    pub http: Http,
    pub group: i64,
    pub dice: Dice,
    pub rules: watch::Receiver<Rules>,
    pub turns: Arc<AtomicU64>,
    pub seen: Seen,
    pub next: i64,
}

impl Client {
    /// An outdated client, until told to stop.
    pub async fn run_v1(mut self) -> Seen {
        self.next = V1_FROM * (1 + self.group);
        while !self.rules.borrow().stop {
            let before = *self.rules.borrow();
            self.turn_v1(before).await;
            self.rest().await;
        }
        self.seen
    }

    /// A new client, until told to stop.
    pub async fn run_v2(mut self) -> Seen {
        self.next = V2_FROM * (1 + self.group);
        while !self.rules.borrow().stop {
            let before = *self.rules.borrow();
            self.turn_v2(before).await;
            if before.planned || self.rules.borrow().planned {
                // The column may have gone, and with it what was chosen.
                for (key, allowed) in &mut self.seen.statuses {
                    if !allowed.iter().any(|one| one == fill(*key)) {
                        allowed.push(fill(*key).to_owned());
                    }
                }
            }
            self.rest().await;
        }
        self.seen
    }

    async fn rest(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(REST).await;
    }

    /// One of the shared records that this client writes a field of.
    fn shared(&mut self) -> i64 {
        2 * self.dice.below(SHARED as u64 / 4) as i64 + self.group * (SHARED / 2) + 1 + self.dice.below(2) as i64
    }

    fn value(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what} {}", self.next)
    }

    /// Sends a request whose answer must be good, or refused as the rules of the time say.
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>, etag: Option<&str>) -> Answer {
        self.seen.requests += 1;
        let answer = self.http.ask(method, path, body.as_ref(), etag).await;
        let told = format!("{method} {path} {body:?}: {answer:?}");
        assert!(answer.status < 500 || (answer.status == 503 && answer.is_no_place()), "failed: {told}");
        answer
    }

    async fn turn_v1(&mut self, before: Rules) {
        match self.dice.below(10) {
            0 | 1 => self.create_v1(before).await,
            2 => self.delete("/v1").await,
            3 | 4 => {
                let (key, name) = (self.shared(), self.value("patched"));
                let answer = self.ask("PATCH", &format!("/v1/users/{key}"), Some(json!({ "name": name })), None).await;
                self.took_v1(key, name, &answer);
            }
            5 => self.replace_v1().await,
            6 => {
                let from = self.dice.below(2) as i64 * V1_FROM;
                let answer =
                    self.ask("GET", &format!("/v1/users?id=gte.{from}&order=id&limit={PAGE}"), None, None).await;
                assert_eq!(answer.status / 100, 2, "{answer:?}");
                answer.rows().iter().for_each(|row| self.check_v1(row));
            }
            _ => {
                let key = self.shared();
                let answer = self.ask("GET", &format!("/v1/users/{key}"), None, None).await;
                assert_eq!(answer.status, 200, "{key}: {answer:?}");
                self.check_v1(&answer.body);
            }
        }
    }

    async fn create_v1(&mut self, before: Rules) {
        let name = self.value("made");
        let key = self.next;
        let record = json!({ "id": key, "name": name, "active": key % 2 == 0, "age": 0 });
        let answer = self.ask("POST", "/v1/users", Some(record), None).await;
        if answer.status == 422 && (before.contracted || self.rules.borrow().contracted) {
            assert!(answer.text.contains("status"), "the field is named: {answer:?}");
            self.seen.no_creates += 1;
            return;
        }
        self.took_v1(key, name, &answer);
        self.seen.own.push(key);
    }

    /// Reads a record and sends all of it back, as clients with objects do.
    async fn replace_v1(&mut self) {
        let (key, name) = (self.shared(), self.value("put"));
        let path = format!("/v1/users/{key}");
        let read = self.ask("GET", &path, None, None).await;
        self.check_v1(&read.body);
        let mut record = read.body.clone();
        record["name"] = name.clone().into();
        let answer = self.ask("PUT", &path, Some(record), read.etag.as_deref()).await;
        match answer.status {
            412 => self.seen.raced += 1,
            _ => self.took_v1(key, name, &answer),
        }
    }

    fn took_v1(&mut self, key: i64, name: String, answer: &Answer) {
        assert_eq!(answer.status / 100, 2, "{key}: {answer:?}");
        self.seen.names.insert(key, name);
        self.check_v1(&answer.body);
    }

    fn check_v1(&self, record: &Value) {
        assert_eq!(record.get("status"), None, "an outdated client saw the field: {record}");
        let key = record["id"].as_i64().unwrap();
        assert_eq!(record["active"], json!(key % 2 == 0), "{record}");
        if let Some(name) = self.seen.names.get(&key) {
            assert_eq!(record["name"].as_str(), Some(name.as_str()), "a name was lost: {record}");
        }
    }

    async fn delete(&mut self, version: &str) {
        if self.seen.own.is_empty() {
            return;
        }
        let at = self.dice.below(self.seen.own.len() as u64) as usize;
        let key = self.seen.own.swap_remove(at);
        let answer = self.ask("DELETE", &format!("{version}/users/{key}"), None, None).await;
        assert_eq!(answer.status / 100, 2, "{key}: {answer:?}");
        self.seen.names.remove(&key);
        self.seen.statuses.remove(&key);
        let gone = self.ask("GET", &format!("{version}/users/{key}"), None, None).await;
        assert_eq!(gone.status, 404, "deleted: {gone:?}");
    }

    async fn turn_v2(&mut self, before: Rules) {
        match self.dice.below(30) {
            0..=4 => {
                let status = self.value("made");
                let key = self.next;
                let record = json!({ "id": key, "name": "new", "active": key % 2 == 0, "age": 0, "status": status });
                let answer = self.ask("POST", "/v2/users", Some(record), None).await;
                if self.took_v2(before, key, status, &answer) {
                    self.seen.own.push(key);
                }
            }
            5 => {
                let record = json!({ "id": V2_FROM - 1, "name": "never", "active": false, "age": 0 });
                let answer = self.ask("POST", "/v2/users", Some(record), None).await;
                assert!(answer.status == 422 && answer.text.contains("status"), "it must be sent: {answer:?}");
            }
            6 | 7 => self.delete("/v2").await,
            8..=13 => {
                let (key, status) = (self.shared(), self.value("chosen"));
                let patch = Some(json!({ "status": status }));
                let answer = self.ask("PATCH", &format!("/v2/users/{key}"), patch, None).await;
                self.took_v2(before, key, status, &answer);
            }
            14..=18 => {
                let from = [0, 500, V1_FROM, 2 * V1_FROM, V2_FROM, DIRECT_FROM][self.dice.below(6) as usize];
                let order = ["id", "id.desc"][self.dice.below(2) as usize];
                self.list_v2(before, &format!("id=gte.{from}&order={order}")).await;
            }
            19 => {
                let rows = self.list_v2(before, "status=eq.INACTIVE").await;
                assert!(rows.iter().all(|row| row["status"] == "INACTIVE"), "{rows:?}");
            }
            _ => {
                let key = self.shared();
                let answer = self.ask("GET", &format!("/v2/users/{key}"), None, None).await;
                assert_eq!(answer.status, 200, "{key}: {answer:?}");
                self.check_v2(before, &answer.body);
            }
        }
    }

    async fn list_v2(&mut self, before: Rules, query: &str) -> Vec<Value> {
        let answer = self.ask("GET", &format!("/v2/users?{query}&limit={PAGE}"), None, None).await;
        assert_eq!(answer.status / 100, 2, "{query}: {answer:?}");
        answer.rows().iter().for_each(|row| self.check_v2(before, row));
        answer.rows()
    }

    /// Whether a write with the field was taken; where there is no place for the field, it need not be.
    fn took_v2(&mut self, before: Rules, key: i64, status: String, answer: &Answer) -> bool {
        if answer.status == 503 && (before.planned || self.rules.borrow().planned) {
            self.seen.no_place += 1;
            return false;
        }
        assert_eq!(answer.status / 100, 2, "{key}: {answer:?}");
        assert_eq!(answer.body["status"].as_str(), Some(status.as_str()), "{answer:?}");
        self.seen.statuses.insert(key, vec![status]);
        true
    }

    /// Every record has the field, and the right value in it.
    fn check_v2(&mut self, before: Rules, record: &Value) {
        let key = record["id"].as_i64().unwrap();
        let status = record.get("status").and_then(Value::as_str);
        let status = status.unwrap_or_else(|| panic!("a read without the field: {record}"));
        let now = *self.rules.borrow();
        let loose = before.planned || now.planned;
        match self.seen.statuses.get_mut(&key) {
            Some(allowed) => {
                let taken_away = loose && status == fill(key);
                assert!(taken_away || allowed.iter().any(|one| one == status), "{record}, expected {allowed:?}");
                if !loose {
                    *allowed = vec![status.to_owned()];
                }
            }
            // Another new client may have chosen it.
            None if key <= SHARED || (V2_FROM..DIRECT_FROM).contains(&key) => {
                let chosen = status.starts_with("chosen ") || status.starts_with("made ");
                assert!(chosen || status == fill(key), "{record}");
            }
            None => assert_eq!(status, fill(key), "{record}"),
        }
    }
}
