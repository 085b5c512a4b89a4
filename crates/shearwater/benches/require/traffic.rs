//! What everybody feels while a field becomes required: outdated clients, new
//! ones, and a program that writes the table itself, each at its own pace;
//! first without a migration, then there, all the way back, and there again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shearwater::bench::sheet::{Goal, Line, Sheet};
use shearwater_testbed::Server;
use tokio::task::JoinHandle;

use super::door::Door;
use super::http::Http;

/// The p99 of what anybody asks, against the same without a migration.
const P99_RATIO_MAX: f64 = 2.0;

/// The longest that a statement may keep the table, ms.
const HELD_MS_MAX: f64 = 100.0;

/// Traffic before the migration: it says what is usual.
const BEFORE: Duration = Duration::from_secs(10);

/// Traffic in each phase, besides what its work takes.
const IN_PHASE: Duration = Duration::from_secs(1);

/// Clients of each shape.
const CLIENTS: u64 = 2;

/// Between two requests of one of them.
const REST: Duration = Duration::from_millis(4);

/// A command for each part of the way.
const WAY: [(&str, &[&str]); 5] = [
    ("expand", &["start", "bench.toml"]),
    ("backfill", &["advance"]),
    ("verify", &["verify"]),
    ("enforce", &["advance"]),
    ("contract", &["advance"]),
];

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    V1Read,
    V1Write,
    V2Read,
    V2Write,
    Direct,
}

const ALL: [(What, &str); 5] = [
    (What::V1Read, "reads of outdated clients"),
    (What::V1Write, "writes of outdated clients"),
    (What::V2Read, "reads of new clients"),
    (What::V2Write, "writes of new clients"),
    (What::Direct, "a direct writer's transactions"),
];

/// What was asked, when, and how long it took.
type Took = Vec<(What, Instant, Duration)>;

/// When each part of the migration began.
type Parts = Vec<(&'static str, Instant)>;

/// The store, the gateway, and who talks to them.
struct Scene {
    url: String,
    place: tempfile::TempDir,
    serve: Child,
    gateway: String,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.serve.kill();
        let _ = self.serve.wait();
    }
}

fn binary(place: &Path, url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command
        .args(words)
        .arg("--json")
        .env("STORE", url)
        .env("RUST_LOG", "error")
        .current_dir(place)
        .stdin(Stdio::null());
    command
}

impl Scene {
    fn open(server: &Server, rows: u64) -> Scene {
        let url = server.database("traffic");
        let (text, numbers) = match url.starts_with("mysql:") {
            true => ("varchar(80)", format!("seq, CONCAT('user ', seq), seq % 3 <> 0, 0 FROM seq_1_to_{rows}")),
            false => ("text", format!("g, 'user ' || g, g % 3 <> 0, 0 FROM generate_series(1, {rows}) g")),
        };
        let table = format!(
            "CREATE TABLE users (id bigint PRIMARY KEY, name {text} NOT NULL, active boolean NOT NULL, age bigint NOT NULL)"
        );
        server.run(&url, &[&table, &format!("INSERT INTO users SELECT {numbers}")]);
        let place = tempfile::tempdir().unwrap();
        let spec = format!(
            "migration = \"bench\"\nkind = \"require\"\nentity = \"users\"\n[store]\nurl = \"${{STORE}}\"\ntable = \"users\"\n\
             key = \"id\"\n[field]\nname = \"status\"\ntype = \"text\"\nvalue = {{ sql = '''{}''' }}\n\
             [contract]\noutdated_writes_quiet_hours = 0\n",
            super::FILL
        );
        std::fs::write(place.path().join("bench.toml"), spec).unwrap();
        let words = ["serve", "bench.toml", "--gateway", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        let mut serve = binary(place.path(), &url, &words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let gateway = told["gateway"].as_str().unwrap().to_owned();
        Scene { url, place, serve, gateway }
    }

    fn run(&self, words: &[&str]) -> Value {
        let output = tokio::task::block_in_place(|| binary(self.place.path(), &self.url, words).output().unwrap());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    }

    /// Everybody talks while `work` is done; how long each request took.
    async fn while_asked(&self, rows: u64, work: impl Future<Output = ()>) -> Took {
        let stop = Arc::new(AtomicBool::new(false));
        let mut talking: Vec<JoinHandle<Took>> = Vec::new();
        for client in 0..CLIENTS {
            for shape in ["v1", "v2"] {
                let http = Http::to(&self.gateway);
                talking.push(tokio::spawn(ask(http, shape, Keys::new(client, rows), stop.clone())));
            }
        }
        let door = Door::open(&self.url).await.unwrap();
        talking.push(tokio::spawn(write(door, Keys::new(CLIENTS, rows), stop.clone())));
        work.await;
        stop.store(true, Ordering::Relaxed);
        let mut took = Took::new();
        for one in talking {
            took.extend(one.await.unwrap());
        }
        took
    }

    async fn all_the_way(&self, parts: &mut Parts) {
        for (part, words) in WAY {
            parts.push((part, Instant::now()));
            self.run(words);
            tokio::time::sleep(IN_PHASE).await;
        }
    }

    /// The longest that a statement kept the table, ms, by the journal.
    fn held_ms(&self) -> f64 {
        let history = self.run(&["history"]).to_string();
        let held = history.split("\"held_micros\":").skip(1);
        let micros = held.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        micros.max().unwrap_or(0) as f64 / 1_000.0
    }
}

/// Keys in an order of their own, all over the table.
struct Keys {
    next: u64,
    rows: u64,
}

impl Keys {
    fn new(client: u64, rows: u64) -> Keys {
        Keys { next: client * 7_919, rows }
    }

    fn next(&mut self) -> u64 {
        self.next = self.next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (self.next >> 33) % self.rows
    }
}

async fn ask(http: Http, shape: &'static str, mut keys: Keys, stop: Arc<AtomicBool>) -> Took {
    let (read, write) = if shape == "v1" { (What::V1Read, What::V1Write) } else { (What::V2Read, What::V2Write) };
    let mut took = Took::new();
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/{shape}/users/{}", keys.next());
        let (what, method, body) = match took.len() % 2 {
            0 => (read, "GET", None),
            _ => (write, "PATCH", Some(json!({ "name": format!("renamed {}", took.len()) }))),
        };
        let began = Instant::now();
        let answer = http.ask(method, &path, body.as_ref(), None).await;
        took.push((what, began, began.elapsed()));
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        tokio::time::sleep(REST).await;
    }
    took
}

async fn write(mut door: Door, mut keys: Keys, stop: Arc<AtomicBool>) -> Took {
    let mut took = Took::new();
    while !stop.load(Ordering::Relaxed) {
        let sql = format!("UPDATE users SET age = age + 1 WHERE id = {}", keys.next());
        let began = Instant::now();
        door.transact(std::slice::from_ref(&sql)).await.unwrap();
        took.push((What::Direct, began, began.elapsed()));
        tokio::time::sleep(REST).await;
    }
    took
}

/// The p99, ms.
fn p99_ms(took: &Took, what: What) -> f64 {
    let mut of: Vec<Duration> = took.iter().filter(|one| one.0 == what).map(|one| one.2).collect();
    of.sort_unstable();
    of.get(of.len() * 99 / 100).copied().unwrap_or_default().as_secs_f64() * 1_000.0
}

/// Tells which part it was that was felt: the p99 of each, ms.
fn tell(parts: &Parts, took: &Took) {
    for (at, (part, began)) in parts.iter().enumerate() {
        let end = parts.get(at + 1).map(|next| next.1);
        let of: Took =
            took.iter().filter(|one| one.1 >= *began && end.is_none_or(|end| one.1 < end)).copied().collect();
        let s = end.unwrap_or_else(Instant::now).duration_since(*began).as_secs_f64();
        let ms: Vec<String> = ALL.iter().map(|(what, _)| format!("{what:?} {:.1}", p99_ms(&of, *what))).collect();
        eprintln!("bench: {part} took {s:.1} s, p99 in ms: {}", ms.join(", "));
    }
}

/// Adds what traffic felt on one server.
pub async fn measure(sheet: &mut Sheet, name: &str, server: &Server, rows: u64) {
    eprintln!("bench: {name} under traffic, {rows} rows");
    let scene = Scene::open(server, rows);
    // The first requests open connections and compile statements.
    scene.while_asked(rows, tokio::time::sleep(IN_PHASE)).await;
    let mut parts = vec![("before", Instant::now())];
    let before = scene.while_asked(rows, tokio::time::sleep(BEFORE)).await;
    tell(&parts, &before);
    parts.clear();
    let work = async {
        scene.all_the_way(&mut parts).await;
        for _ in 0..2 {
            parts.push(("rollback", Instant::now()));
            scene.run(&["rollback"]);
            tokio::time::sleep(IN_PHASE).await;
        }
        scene.all_the_way(&mut parts).await;
        parts.push(("complete", Instant::now()));
        scene.run(&["complete"]);
    };
    let during = scene.while_asked(rows, work).await;
    tell(&parts, &during);
    for (what, words) in ALL {
        let line = format!("{name}, {rows}: p99 of {words} meanwhile, ms");
        sheet.add(Line::ratio_at_most(&line, p99_ms(&during, what), "before", p99_ms(&before, what), P99_RATIO_MAX));
    }
    let line = format!("{name}, {rows}: longest that a statement kept the table, ms");
    sheet.add(Line::figure(&line, scene.held_ms(), Goal::AtMost(HELD_MS_MAX)));
}
