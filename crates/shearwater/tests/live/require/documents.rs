//! The same with documents in MongoDB, through the program: clients of both
//! shapes and a program that writes the collection itself, all the way there, all
//! the way back, and there again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use serde_json::json;
use tokio::task::JoinHandle;

use super::http::Http;
use super::serving::{Program, Serving, more_turns};

/// Records at the beginning: some batches of the backfill.
const SEEDS: u64 = 3_000;

/// Records that everybody writes.
const SHARED: u64 = 20;

/// What everybody does before the next phase.
const TURNS: u64 = 25;

const SPEC: &str = r#"
migration = "users-status"
kind = "require"
entity = "users"
[store]
url = "${STORE}"
table = "users"
key = "_id"
[field]
name = "status"
type = "text"
value = { sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }
[contract]
outdated_writes_quiet_hours = 0
"#;

struct Scene {
    program: Program,
    serving: Serving,
    users: Collection<Document>,
    /// Whether new clients may send the field.
    has_place: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    turns: Vec<Arc<AtomicU64>>,
    tasks: Vec<JoinHandle<()>>,
}

fn user(n: u64) -> Document {
    doc! { "_id": format!("u{n}"), "name": format!("user {n}"), "active": n.is_multiple_of(2), "n": 0_i64 }
}

impl Scene {
    async fn open() -> Scene {
        let url = shearwater_testbed::mongodb().database("require");
        let users: Collection<Document> =
            Client::with_uri_str(&url).await.unwrap().default_database().unwrap().collection("users");
        users.insert_many((0..SEEDS).map(user)).await.unwrap();
        let program = Program::on(&url, SPEC);
        let serving = program.serve();
        let (has_place, stop) = (Arc::default(), Arc::default());
        Scene { program, serving, users, has_place, stop, turns: vec![], tasks: vec![] }
    }

    fn begin(&mut self) {
        for shape in ["v1", "v2", "direct"] {
            let turns: Arc<AtomicU64> = Arc::default();
            self.turns.push(turns.clone());
            let (http, users) = (Http::to(&self.serving.gateway), self.users.clone());
            let (stop, has_place) = (self.stop.clone(), self.has_place.clone());
            self.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let turn = turns.load(Ordering::Relaxed);
                    match shape {
                        "v1" => old_client(&http, turn).await,
                        "v2" => new_client(&http, turn, &has_place).await,
                        _ => {
                            let one = doc! { "_id": format!("u{}", turn % SHARED) };
                            users.update_one(one, doc! { "$inc": { "n": 1_i64 } }).await.unwrap();
                        }
                    }
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }

    async fn traffic(&self) {
        more_turns(&self.turns, TURNS, || self.tasks.iter().any(JoinHandle::is_finished)).await;
    }

    async fn all_the_way(&self) {
        self.program.go(&["start", "status.toml"], "expand");
        self.has_place.store(true, Ordering::Relaxed);
        self.traffic().await;
        self.program.go(&["advance"], "backfill");
        self.traffic().await;
        let report = self.program.run(&["verify"])["report"].clone();
        for what in ["missing", "different", "refused"] {
            assert_eq!(report[what], 0, "{report:#}");
        }
        self.program.go(&["advance"], "enforce");
        let refused = self.users.insert_one(doc! { "_id": "late" }).await;
        assert!(refused.is_err(), "the server takes a document without the field");
        self.traffic().await;
        self.program.go(&["advance"], "contract");
        self.traffic().await;
    }

    async fn count(&self, condition: Document) -> u64 {
        self.users.count_documents(condition).await.unwrap()
    }
}

/// Never fails, never sees the field, never wipes it.
async fn old_client(http: &Http, turn: u64) {
    let path = format!("/v1/users/u{}", turn % SHARED);
    let answer = http.ask("PATCH", &path, Some(&json!({ "name": format!("old {turn}") })), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.get("status").is_none(), "{answer:?}");
    let page = http.ask("GET", "/v1/users?order=_id&limit=30", None, None).await;
    assert!(page.status == 200 && page.rows().iter().all(|row| row.get("status").is_none()), "{page:?}");
}

/// Always sees the field; sends it as soon as there is a place.
async fn new_client(http: &Http, turn: u64, has_place: &AtomicBool) {
    let page = http.ask("GET", "/v2/users?order=_id&limit=30", None, None).await;
    assert!(page.status == 200 && page.rows().iter().all(|row| row["status"].is_string()), "{page:?}");
    let had_place = has_place.load(Ordering::Relaxed);
    let path = format!("/v2/users/u{}", turn % SHARED);
    let sent = json!({ "status": format!("CHOSEN {}", turn % SHARED) });
    let answer = http.ask("PATCH", &path, Some(&sent), None).await;
    match answer.status {
        200 => assert_eq!(answer.body["status"], sent["status"], "{answer:?}"),
        _ => assert!(answer.is_no_place() && !(had_place && has_place.load(Ordering::Relaxed)), "{answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb_under_clients_of_both_shapes_and_a_direct_writer() {
    let mut scene = Scene::open().await;
    let plan = scene.program.run(&["plan", "status.toml"]);
    let text = plan.to_string();
    assert!(plan["ready"] == true && plan["unmeasured"].is_null(), "{plan:#}");
    assert!(plan["measured"].as_str().is_some_and(|how| how.contains("on a copy of")), "{plan:#}");
    for told in ["collMod", "updateOne", "MongoDB has no triggers", "$jsonSchema"] {
        assert!(text.contains(told), "{told}: {plan:#}");
    }
    scene.begin();
    scene.traffic().await;
    scene.all_the_way().await;
    scene.program.go(&["rollback"], "expand");
    scene.traffic().await;
    scene.has_place.store(false, Ordering::Relaxed);
    scene.program.go(&["rollback"], "planned");
    scene.traffic().await;
    assert_eq!(scene.count(doc! { "status": { "$exists": true } }).await, 0, "the rollback left something");
    scene.all_the_way().await;
    scene.program.go(&["complete"], "complete");
    scene.traffic().await;
    scene.stop.store(true, Ordering::Relaxed);
    for task in std::mem::take(&mut scene.tasks) {
        task.await.expect("somebody found something wrong");
    }
    assert_eq!(scene.count(doc! {}).await, SEEDS);
    let chosen = doc! { "status": { "$regex": "^CHOSEN" } };
    assert_eq!(scene.count(chosen.clone()).await, SHARED, "every shared record was chosen by somebody");
    let right = [("ACTIVE", true), ("INACTIVE", false)];
    for (status, active) in right {
        let wrong = doc! { "status": status, "active": { "$ne": active } };
        assert_eq!(scene.count(wrong).await, 0, "{status}");
    }
    let increments = scene.turns[2].load(Ordering::Relaxed);
    let mut sum = 0;
    for n in 0..SHARED {
        let one = scene.users.find_one(doc! { "_id": format!("u{n}") }).await.unwrap().unwrap();
        sum += one.get_i64("n").unwrap();
    }
    assert_eq!(sum as u64, increments, "a direct write was lost");
}

/// The texts of all items, in an order of their own.
async fn items(url: &str) -> Vec<String> {
    let (table, key, document) = ("users".to_owned(), "_id".to_owned(), "doc".to_owned());
    let collection = shearwater_stores::outsider::Collection { table, key, document };
    let mut texts = shearwater_stores::open_outsider(url, collection).await.unwrap().documents().await.unwrap();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_there_and_back_through_the_program() {
    let url = shearwater_testbed::dynamodb().database("require");
    let (table, key, document) = ("users".to_owned(), "_id".to_owned(), "doc".to_owned());
    let collection = shearwater_stores::outsider::Collection { table, key, document };
    let mut outsider = shearwater_stores::open_outsider(&url, collection).await.unwrap();
    let one = |n: u64| (format!("u{n}"), format!(r#"{{"_id":"u{n}","active":{},"name":"n"}}"#, n.is_multiple_of(2)));
    outsider.make(&mut (0..200).map(one)).await.unwrap();
    let (before, tables) = (items(&url).await, outsider.tables().await.unwrap());
    let program = Program::on(&url, SPEC);
    let run = |args: &[&str]| program.run(args);
    let plan = run(&["plan", "status.toml"]);
    assert!(plan["ready"] == true && plan.to_string().contains("DynamoDB cannot enforce a field"), "{plan:#}");
    let how = plan["measured"].as_str().unwrap_or_default();
    assert!(how.contains("200 items were read") && how.contains("nothing was changed"), "{plan:#}");
    assert_eq!(
        (items(&url).await, outsider.tables().await.unwrap()),
        (before.clone(), tables.clone()),
        "a plan writes nothing"
    );
    for round in 0..2 {
        run(&["start", "status.toml"]);
        assert_eq!(run(&["status"])["enforced_by"], "gateway");
        run(&["advance"]);
        let report = run(&["verify"])["report"].clone();
        assert_eq!([&report["compared"], &report["missing"], &report["mismatches"]], [200, 0, 0], "{report:#}");
        run(&["advance"]);
        run(&["advance"]);
        assert_eq!(run(&["status"])["phase"], "contract");
        if round == 0 {
            run(&["rollback"]);
            run(&["rollback"]);
            assert_eq!((items(&url).await, outsider.tables().await.unwrap()), (before.clone(), tables.clone()));
        }
    }
    run(&["complete"]);
    assert_eq!(outsider.tables().await.unwrap(), tables, "nothing of ours is left");
    let filled = items(&url).await;
    assert!(filled.iter().all(|text| text.contains("ACTIVE")) && filled.len() == 200, "{:?}", filled.first());
}
