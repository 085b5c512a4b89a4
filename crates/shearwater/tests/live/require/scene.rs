//! The table, the gateway's process, who talks to it, and what is left in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use shearwater_testbed::Server;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clients::{Client, Seen};
use super::direct::{Direct, watch_locks, write};
use super::http::Http;
use super::serving::{Program, Serving, more_turns};
use super::{Rules, fill};
use crate::compare::{Query, assert_same};
use crate::dice::Dice;
use crate::programs::postgres_tool;

/// Records at the beginning: some batches of the backfill.
const SEEDS: i64 = 4_000;

/// Clients of each shape.
const GROUPS: i64 = 2;

/// What everybody does before the next phase: enough for each kind of request.
const TURNS: u64 = 40;

/// A field made from another one.
pub const SPEC: &str = r#"
migration = "users-status"
kind = "require"
entity = "users"
[store]
url = "${STORE}"
table = "users"
key = "id"
[field]
name = "status"
type = "text"
value = { sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''', fallback = "ACTIVE" }
[contract]
outdated_writes_quiet_hours = 0
"#;

/// A migration under way, and everybody around it.
pub struct Scene<'a> {
    server: &'a Server,
    program: Program,
    serving: Serving,
    turns: Vec<Arc<AtomicU64>>,
    clients: [Vec<JoinHandle<Seen>>; 2],
    direct: Option<JoinHandle<Direct>>,
    locks: Option<JoinHandle<Duration>>,
}

impl<'a> Scene<'a> {
    /// Makes the table and serves it.
    pub fn open(server: &'a Server) -> Scene<'a> {
        let url = server.database("require");
        let (text, numbers) = match url.starts_with("mysql:") {
            true => (
                "varchar(80) CHARACTER SET utf8mb4",
                format!("seq, CONCAT('user ', seq), seq % 2 = 0, 0 FROM seq_1_to_{SEEDS}"),
            ),
            false => ("varchar(80)", format!("g, 'user ' || g, g % 2 = 0, 0 FROM generate_series(1, {SEEDS}) g")),
        };
        let table = format!(
            "CREATE TABLE users (id bigint NOT NULL PRIMARY KEY, name {text} NOT NULL, active boolean NOT NULL, age bigint)"
        );
        server.run(
            &url,
            &[&table, "CREATE INDEX users_age ON users (age)", &format!("INSERT INTO users SELECT {numbers}")],
        );
        let program = Program::on(&url, SPEC);
        let serving = program.serve();
        Scene { server, program, serving, turns: vec![], clients: [vec![], vec![]], direct: None, locks: None }
    }

    /// Sets everybody to work.
    pub fn begin(&mut self, seed: u64, rules: &watch::Receiver<Rules>) {
        self.turns = (0..=2 * GROUPS).map(|_| Arc::default()).collect();
        for (at, turns) in self.turns.iter().take(2 * GROUPS as usize).enumerate() {
            let client = Client {
                http: Http::to(&self.serving.gateway),
                group: at as i64 % GROUPS,
                dice: Dice::new(seed ^ at as u64),
                rules: rules.clone(),
                turns: turns.clone(),
                seen: Seen::default(),
                next: 0,
            };
            let shape = at / GROUPS as usize;
            self.clients[shape].push(match shape {
                0 => tokio::spawn(client.run_v1()),
                _ => tokio::spawn(client.run_v2()),
            });
        }
        let (dice, turns) = (Dice::new(seed ^ 99), self.turns.last().unwrap().clone());
        self.direct = Some(tokio::spawn(write(self.program.url.clone(), dice, rules.clone(), turns)));
        self.locks = Some(tokio::spawn(watch_locks(self.program.url.clone(), rules.clone())));
    }

    /// Waits until everybody has done some more.
    pub async fn traffic(&self) {
        let has_ended = || {
            self.clients.iter().flatten().any(JoinHandle::is_finished)
                || self.direct.as_ref().is_some_and(JoinHandle::is_finished)
        };
        more_turns(&self.turns, TURNS, has_ended).await;
    }

    /// Has a command done, which leads to a phase.
    pub fn go(&self, args: &[&str], phase: &str) {
        self.program.go(args, phase);
    }

    /// Every record has its value, whatever is written meanwhile.
    pub fn verify(&self) {
        let report = self.program.run(&["verify"])["report"].clone();
        for what in ["missing", "different", "refused"] {
            assert_eq!(report[what], 0, "{report:#}");
        }
        assert!(report["chosen"].as_u64() > Some(0), "nothing was chosen by clients: {report:#}");
    }

    pub fn is_not_null(&self) -> bool {
        let sql = "SELECT is_nullable FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'status' \
                   AND DATABASE IN (table_schema, table_catalog)";
        let here = if self.program.url.starts_with("mysql:") { "DATABASE()" } else { "current_database()" };
        self.server.rows(&self.program.url, &sql.replace("DATABASE", here)) == [[Some("NO".to_owned())]]
    }

    /// The definition of everything in the database.
    pub fn schema(&self) -> String {
        if self.program.url.starts_with("mysql:") {
            let asked = [
                "SHOW CREATE TABLE users",
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1",
                "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE() ORDER BY 1",
            ];
            return format!("{:#?}", asked.map(|sql| self.server.rows(&self.program.url, sql)));
        }
        let output = postgres_tool("pg_dump").args(["--schema-only", &self.program.url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // These have a word of chance in newer versions.
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("restrict ")).collect();
        lines.join("\n")
    }

    /// Lets everybody end, and compares what they remember with what is there.
    pub async fn end(mut self) {
        let direct = self.direct.take().unwrap().await.expect("the direct writer found something wrong");
        let longest = self.locks.take().unwrap().await.unwrap();
        let mut seen = [vec![], vec![]];
        for (shape, clients) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            for client in clients {
                seen[shape].push(client.await.expect("a client found something wrong"));
            }
        }
        for one in seen.iter().flatten() {
            println!(
                "requests, no place, no creates, raced: {:?}",
                (one.requests, one.no_place, one.no_creates, one.raced)
            );
        }
        println!(
            "direct: {} done, {} refused after contract, longest {:?}",
            direct.done, direct.refused, direct.longest
        );
        println!("longest that the table was seen locked: {longest:?}; told by the journal: {:?}", self.longest_held());
        let sum = |shape: usize, of: fn(&Seen) -> u64| seen[shape].iter().map(of).sum::<u64>();
        assert!(sum(0, |seen| seen.no_creates) > 0 && direct.refused > 0, "contract changed nothing for anybody");
        assert!(sum(1, |seen| seen.no_place) > 0, "there always was a place for the field");

        assert!(self.is_not_null());
        let wrong = "SELECT count(*) FROM users WHERE active <> (id % 2 = 0)";
        assert_eq!(self.server.rows(&self.program.url, wrong), [[Some("0".to_owned())]]);
        let sql = "SELECT id, name, age, status FROM users".to_owned();
        let found = Query { server: self.server, url: &self.program.url, sql }.rows();
        assert_same("at the end", &expected(&seen, &direct, &found), &found);
        assert!(!self.schema().contains("shearwater"), "complete left something: {}", self.schema());
    }

    /// The longest hold that the alterations measured themselves.
    fn longest_held(&self) -> Duration {
        let history = self.program.run(&["history"]).to_string();
        let held = history.split("\"held_micros\":").skip(1);
        let micros = held.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        Duration::from_micros(micros.max().unwrap_or(0))
    }
}

type Rows = BTreeMap<String, Vec<Option<String>>>;

/// All records as those who wrote them remember them. Where the column was taken
/// away after a client chose, and the client has not read the record since, its
/// memory allows the fill's value too: then what was found decides.
fn expected(seen: &[Vec<Seen>; 2], direct: &Direct, found: &Rows) -> Rows {
    let mut names: BTreeMap<i64, String> = (1..=SEEDS).map(|key| (key, format!("user {key}"))).collect();
    names.extend(direct.own.iter().map(|key| (*key, "direct".to_owned())));
    names.extend(seen[1].iter().flat_map(|seen| &seen.own).map(|key| (*key, "new".to_owned())));
    names.extend(seen[0].iter().flat_map(|seen| seen.names.clone()));
    let chosen: BTreeMap<i64, Vec<String>> = seen[1].iter().flat_map(|seen| seen.statuses.clone()).collect();
    let row = |(key, name): (i64, String)| {
        let age = direct.ages.get(&key).copied().unwrap_or(0);
        let there = found.get(&key.to_string()).and_then(|row| row[2].clone()).unwrap_or_default();
        let status = match chosen.get(&key) {
            Some(allowed) if allowed.contains(&there) => there,
            Some(allowed) => allowed[0].clone(),
            None => fill(key).to_owned(),
        };
        (key.to_string(), vec![Some(name), Some(age.to_string()), Some(status)])
    };
    names.into_iter().map(row).collect()
}
