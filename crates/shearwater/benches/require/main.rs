//! `cargo xtask bench require [--quick] [--json] [--only fill|documents|traffic]`: the backfill of a new
//! required field in PostgreSQL, beside a hand-written range UPDATE of the same
//! table, in one run: with serial keys, without statistics, with uuid keys; and
//! what clients and a direct writer feel meanwhile, on PostgreSQL and MariaDB.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod documents;
#[path = "../../tests/live/door.rs"]
#[allow(dead_code)]
mod door;
#[path = "../../tests/live/require/http.rs"]
#[allow(dead_code)]
mod http;
mod peer;
mod traffic;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use shearwater::bench::sheet::{Goal, Line, Sheet};
use shearwater_testbed::{Mariadb, Options, Postgres};
use tokio_postgres::{Client, NoTls};

/// Ours against the hand-written UPDATE.
const RATIO_MIN: f64 = 0.9;

/// Ours against another tool's.
const PEER_RATIO_MIN: f64 = 1.0;

/// Batch p99, ms: for so long rows are locked.
const BATCH_P99_MS_MAX: f64 = 100.0;

/// Rows of a hand-written batch: what people choose.
const HAND_ROWS: i64 = 5_000;

const FILL: &str = "CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END";

const LIMITS: &str = "Server, our process and the hand-written UPDATE share this machine's cores and disk; the server \
flushes as it does in production. By hand: UPDATE … WHERE id > a AND id <= b AND status IS NULL, 5,000 rows in a \
transaction, over one connection, no triggers, no checkpoints, no pauses (for uuid keys the bounds are read from the \
index first). Ours: the engine's own time of its backfill, with the write default's triggers in place, checkpoints, \
VACUUM every ten batches, at a duty of 100 percent. reshape, where it is installed, by its whole `migration start`, \
ours by its whole `start` and `advance`. In MongoDB, by hand: 1,000 documents are read in the order of _id, and each is \
updated in one command if its field is null; in DynamoDB: a page of a Scan, and 16 conditional UpdateItem at a time, \
against the local program, whose rates are not the service's. Under traffic: two clients of each shape and a direct writer, a \
request every 4 ms each on random keys, for ten seconds without a migration, then through all phases, back, and \
through all of them again, at the usual pace.";

/// A table to fill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Serial,
    NoStatistics,
    Uuid,
}

const KINDS: [(&str, Kind); 3] =
    [("serial keys", Kind::Serial), ("no statistics", Kind::NoStatistics), ("uuid keys", Kind::Uuid)];

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rows: u64 = if words.iter().any(|word| word == "--quick") { 200_000 } else { 1_000_000 };
    let only = words.iter().position(|word| word == "--only").and_then(|at| words.get(at + 1));
    let is_asked = |part: &str| only.is_none_or(|only| only == part);
    let server = Postgres::start(Options::new().setting("shared_buffers", "256MB").setting("max_wal_size", "4GB"));
    let mut sheet = Sheet::default();
    for (name, kind) in KINDS.iter().filter(|_| is_asked("fill")).copied() {
        eprintln!("bench: {name}, {rows} rows");
        let by_hand = by_hand(&server, kind, rows).await;
        let ours = ours(&server, kind, rows).await;
        let what = format!("{name}, {rows}: backfill, rows/s");
        sheet.add(Line::ratio(&what, ours.rows_per_s, "range UPDATE by hand", by_hand, RATIO_MIN));
        if let Some(peer) = peer::rows_per_s(&server, kind, rows).await {
            let what = format!("{name}, {rows}: column, triggers and backfill, rows/s");
            sheet.add(Line::ratio(&what, ours.whole_rows_per_s, "reshape", peer, PEER_RATIO_MIN));
        }
        let what = format!("{name}, {rows}: batch p99, ms");
        sheet.add(Line::figure(&what, ours.batch_p99_ms, Goal::AtMost(BATCH_P99_MS_MAX)));
        let what = format!("{name}, {rows}: longest lock of a statement, ms");
        sheet.add(Line::figure(&what, ours.lock_ms, Goal::AtMost(BATCH_P99_MS_MAX)));
    }
    if is_asked("documents") {
        documents::measure(&mut sheet, rows).await;
    }
    if is_asked("traffic") {
        traffic::measure(&mut sheet, "PostgreSQL", &server, rows).await;
        let mariadb = Mariadb::start(Options::new().setting("innodb_buffer_pool_size", "256M"));
        traffic::measure(&mut sheet, "MariaDB", &mariadb, rows).await;
    }
    let text = match words.iter().any(|word| word == "--json") {
        true => sheet.json().to_string() + "\n",
        false => format!("{}\n{LIMITS}\n", sheet.table()),
    };
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    if sheet.missed() > 0 {
        eprintln!("{} goals were missed", sheet.missed());
        std::process::exit(1);
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A fresh database with the table; its URL.
async fn filled(server: &Postgres, kind: Kind, rows: u64) -> (String, Client) {
    let url = server.database("bench");
    let client = connect(&url).await;
    let (key, id) = match kind {
        Kind::Uuid => ("uuid", "gen_random_uuid()"),
        Kind::Serial | Kind::NoStatistics => ("bigint", "g"),
    };
    client
        .batch_execute(&format!(
            "CREATE TABLE users (id {key} PRIMARY KEY, name text NOT NULL, email text NOT NULL, active boolean NOT NULL, \
             joined timestamptz NOT NULL) WITH (autovacuum_enabled = off); \
             INSERT INTO users SELECT {id}, 'user ' || g, g || '@example.org', g % 3 <> 0, now() FROM generate_series(1, {rows}) g"
        ))
        .await
        .unwrap();
    match kind {
        Kind::NoStatistics => {}
        Kind::Serial | Kind::Uuid => client.batch_execute("VACUUM ANALYZE users").await.unwrap(),
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    (url, client)
}

/// Rows per second of what a careful person writes.
async fn by_hand(server: &Postgres, kind: Kind, rows: u64) -> f64 {
    let (_, client) = filled(server, kind, rows).await;
    client.batch_execute("ALTER TABLE users ADD COLUMN status text").await.unwrap();
    let began = Instant::now();
    let filled = match kind {
        Kind::Serial | Kind::NoStatistics => {
            let sql = format!("UPDATE users SET status = {FILL} WHERE id > $1 AND id <= $2 AND status IS NULL");
            let update = client.prepare(&sql).await.unwrap();
            let mut filled = 0;
            for low in (0..i64::try_from(rows).unwrap()).step_by(usize::try_from(HAND_ROWS).unwrap()) {
                filled += client.execute(&update, &[&low, &(low + HAND_ROWS)]).await.unwrap();
            }
            filled
        }
        Kind::Uuid => by_uuid(&client).await,
    };
    assert_eq!(filled, rows);
    rows as f64 / began.elapsed().as_secs_f64()
}

async fn by_uuid(client: &Client) -> u64 {
    let sql = format!(
        "UPDATE users SET status = {FILL} WHERE id > $1::text::uuid AND id <= $2::text::uuid AND status IS NULL"
    );
    let update = client.prepare(&sql).await.unwrap();
    let next = "SELECT max(id::text) FROM (SELECT id FROM users WHERE id > $1::text::uuid ORDER BY id LIMIT $2) x";
    let mut low = "00000000-0000-0000-0000-000000000000".to_owned();
    let mut filled = 0;
    loop {
        let high: Option<String> = client.query_one(next, &[&low, &HAND_ROWS]).await.unwrap().get(0);
        let Some(high) = high else { return filled };
        filled += client.execute(&update, &[&low, &high]).await.unwrap();
        low = high;
    }
}

struct Ours {
    /// Of the backfill alone.
    rows_per_s: f64,
    /// Of both commands, from before the column to all rows filled.
    whole_rows_per_s: f64,
    batch_p99_ms: f64,
    lock_ms: f64,
}

/// Our own of a table in PostgreSQL.
async fn ours(server: &Postgres, kind: Kind, rows: u64) -> Ours {
    let (url, client) = filled(server, kind, rows).await;
    let ours = through_the_program(&url, "id", rows);
    let missing: i64 = client.query_one("SELECT count(*) FROM users WHERE status IS NULL", &[]).await.unwrap().get(0);
    assert_eq!(missing, 0);
    ours
}

/// Our own, through the real binary.
fn through_the_program(url: &str, key: &str, rows: u64) -> Ours {
    let directory = tempfile::tempdir().unwrap();
    let spec = format!(
        "migration = \"bench\"\nkind = \"require\"\nentity = \"users\"\n[store]\nurl = \"{url}\"\ntable = \"users\"\n\
         key = \"{key}\"\n[field]\nname = \"status\"\ntype = \"text\"\nvalue = {{ sql = '''{FILL}''' }}\n\
         [pace]\nduty_percent_max = 100\n"
    );
    std::fs::write(directory.path().join("bench.toml"), spec).unwrap();
    let run = |words: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
        command.current_dir(directory.path()).args(words).arg("--json").stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    };
    let began = Instant::now();
    run(&["start", "bench.toml"]);
    run(&["advance"]);
    let whole = began.elapsed();
    let verified = run(&["verify"]);
    assert_eq!((verified["mismatches"].as_u64(), verified["report"]["compared"].as_u64()), (Some(0), Some(rows)));
    run(&["advance"]);
    let status = run(&["status"]);
    assert_eq!(status["filled"]["changed"].as_u64(), Some(rows), "each row once: {status}");
    let number = |value: &Value| value.as_f64().unwrap();
    Ours {
        whole_rows_per_s: rows as f64 / whole.as_secs_f64(),
        rows_per_s: rows as f64 * 1_000.0 / number(&status["filled"]["elapsed_ms"]).max(1.0),
        batch_p99_ms: number(&status["batches"]["p99_micros"]) / 1_000.0,
        lock_ms: number(&status["lock_held_micros_max"]) / 1_000.0,
    }
}
