//! PostgreSQL to PostgreSQL, written to by pgbench and by recorders.

use std::time::{Duration, Instant};

use shearwater_core::journal::Command;
use shearwater_testbed::{Privileges, Server};

use crate::compare::{Query, assert_same};
use crate::dice::seed;
use crate::programs::{Ended, Program, pgbench};
use crate::recorder::{Recorders, Table};
use crate::stage::Stage;

/// Accounts that pgbench finds.
const ACCOUNTS: i64 = 6_000;

/// Clients of pgbench.
const CLIENTS: usize = 3;

/// The recorders' keys are from here on; pgbench's are below.
const RECORDED: i64 = 1_000_000_000;

pub const SPEC: &str = r#"
migration = "accounts"
kind = "move"
entity = "accounts"
[source]
url = "${SOURCE}"
table = "pgbench_accounts"
key = "aid"
[source.columns]
aid = "int"
bid = "int"
abalance = "int"
filler = "text"
[target]
url = "${TARGET}"
table = "accounts"
key = "id"
[fields]
id = { from = "aid", type = "int", required = true }
branch = { from = "bid", type = "int" }
balance = { from = "abalance", type = "int" }
filler = { from = "filler", type = "text" }
[gates]
pause_ms_max = 5000
backlog_max = 100000
"#;

/// Every transaction writes what it changes a balance by into a ledger of the
/// same database. `T`, `K`, `B`, `V` stand for the table and its columns.
const SCRIPTS: [(&str, &str); 4] = [
    (
        "12",
        "\\set a random_zipfian(1, 6000, 1.1)\n\\set b random_zipfian(1, 6000, 1.1)\n\\set d random(-500, 500)\n\
         BEGIN;\nUPDATE T SET V = V + :d WHERE K = :a;\nUPDATE T SET V = V - :d WHERE K = :b;\n\
         INSERT INTO ledger SELECT :a, :d WHERE EXISTS (SELECT FROM T WHERE K = :a);\n\
         INSERT INTO ledger SELECT :b, 0 - :d WHERE EXISTS (SELECT FROM T WHERE K = :b);\nCOMMIT;\n",
    ),
    (
        "4",
        "\\set a random_zipfian(6001, 6400, 1.1)\n\\set d random(-500, 500)\nBEGIN;\n\
         INSERT INTO T (K, B, V, filler) VALUES (:a, 1, :d, 'new') ON CONFLICT (K) DO UPDATE SET V = T.V + :d;\n\
         INSERT INTO ledger VALUES (:a, :d);\nCOMMIT;\n",
    ),
    (
        "2",
        "\\set a random_zipfian(5900, 6400, 1.1)\n\
         WITH gone AS (DELETE FROM T WHERE K = :a RETURNING K, V) INSERT INTO ledger SELECT K, -V FROM gone;\n",
    ),
    (
        "2",
        "\\set a random_zipfian(5800, 6400, 1.1)\n\
         WITH old AS (SELECT K, V FROM T WHERE K = :a FOR UPDATE),\n\
         moved AS (UPDATE T SET K = nextval('moved') FROM old WHERE T.K = old.K RETURNING T.K)\n\
         INSERT INTO ledger SELECT K, -V FROM old UNION ALL SELECT moved.K, V FROM moved, old;\n",
    ),
];

/// One side: its server and what its programs call things.
pub struct Place<'a> {
    pub server: &'a Server,
    /// The URL of the application's account, which has no rights on the sidecar.
    pub app: String,
    table: &'static str,
    columns: [&'static str; 3],
}

impl Place<'_> {
    fn words(&self, script: &str) -> String {
        let [key, branch, value] = self.columns;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut text = String::new();
        for word in script.split_inclusive(|c| !is_name(c)) {
            let (name, end) = word.split_at(word.find(|c| !is_name(c)).unwrap_or(word.len()));
            text.push_str(match name {
                "T" => self.table,
                "K" => key,
                "B" => branch,
                "V" => value,
                other => other,
            });
            text.push_str(end);
        }
        text
    }

    /// pgbench with its clients, until it ends.
    fn pgbench(&self, place: &std::path::Path, seed: u64) -> Program {
        let mut command = pgbench();
        command.args(["-n", "-c", &CLIENTS.to_string(), "-j", "1", "-T", "600", "-R", "250", "--max-tries=1000"]);
        command.arg(format!("--random-seed={seed}"));
        for (at, (weight, script)) in SCRIPTS.iter().enumerate() {
            let file = place.join(format!("{}-{at}.sql", self.table));
            std::fs::write(&file, self.words(script)).unwrap();
            command.arg("-f").arg(format!("{}@{weight}", file.display()));
        }
        command.arg(&self.app);
        Program::start("pgbench", command)
    }

    fn rows(&self, which: &str) -> Query<'_> {
        let [key, branch, value] = self.columns;
        let sql = format!("SELECT {key}, {branch}, {value}, rtrim(filler) FROM {} WHERE {key} {which}", self.table);
        Query { server: self.server, url: &self.app, sql }
    }

    fn recorded(&self) -> Table {
        let [key, _, value] = self.columns;
        let branch = self.columns[1];
        let others =
            if branch == "bid" { ("bid, filler", "7, 'recorded'") } else { ("branch, filler", "7, 'recorded'") };
        Table { url: self.app.clone(), name: self.table, key, value, others }
    }

    /// Waits until the ledger has so many more lines.
    async fn wrote(&self, lines: usize) {
        let count = || {
            let rows = self.server.rows(&self.app, "SELECT count(*) FROM ledger");
            rows[0][0].as_ref().unwrap().parse::<usize>().unwrap()
        };
        let (began, before) = (Instant::now(), count());
        while count() < before + lines {
            assert!(began.elapsed() < Duration::from_secs(60), "the programs hardly write");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn assert_recorded(&self, held: &std::collections::BTreeMap<i64, i64>) {
        let rows = self.rows(&format!(">= {RECORDED}")).rows();
        let found = rows.iter().map(|(key, row)| (key.parse().unwrap(), row[1].as_ref().unwrap().parse().unwrap()));
        assert_eq!(&found.collect::<std::collections::BTreeMap<i64, i64>>(), held, "{}", self.table);
    }

    /// The balances that the ledger says.
    fn ledger(&self) -> Vec<(i64, i64)> {
        let rows = self.server.rows(&self.app, "SELECT aid, sum(delta) FROM ledger GROUP BY aid");
        let number = |cell: &Option<String>| cell.as_ref().unwrap().parse().unwrap();
        rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
    }
}

const LEDGER: &str = "CREATE TABLE ledger (aid bigint NOT NULL, delta bigint NOT NULL)";

/// A source as `pgbench -i` makes it, and a target with the ledger only.
pub fn places<'a>(source: &'a Server, target: &'a Server) -> (Place<'a>, Place<'a>, [String; 2]) {
    let (from, to) = (source.database("bank"), target.database("app"));
    let ours = [source.account(&from, Privileges::Owner), target.account(&to, Privileges::Owner)];
    let mut init = pgbench();
    init.args(["-i", "-q", "-I", "dtGvp", "-s", "1"]).arg(&ours[0]);
    Program::run("pgbench -i", init);
    let fewer = format!("DELETE FROM pgbench_accounts WHERE aid > {ACCOUNTS}");
    source.run(&ours[0], &[&fewer, LEDGER, "CREATE SEQUENCE moved START 10000000"]);
    target.run(&ours[1], &[LEDGER, "CREATE SEQUENCE moved START 20000000"]);
    let app = source.account(&from, Privileges::Rows);
    let source = Place { server: source, app, table: "pgbench_accounts", columns: ["aid", "bid", "abalance"] };
    let target = Place { server: target, app: to, table: "accounts", columns: ["id", "branch", "balance"] };
    (source, target, ours)
}

/// The target's tables are there only after the capture began, so its
/// application gets its account then.
fn admit(target: &mut Place<'_>) {
    target.app = target.server.account(&target.app, Privileges::Rows);
}

fn refused_by_the_fence(ended: &Ended) {
    assert!(!ended.status.success(), "pgbench ended well: {}", ended.said);
    let refused = ended.said.matches("is closed for writes: its records moved to another store").count();
    assert_eq!(refused, CLIENTS, "not every client of pgbench was refused by the fence: {}", ended.said);
}

/// The sum of both ledgers is what every account must have now.
fn assert_ledgers(when: &str, source: &Place<'_>, target: &Place<'_>, at: &Place<'_>) {
    let mut owed = std::collections::BTreeMap::<i64, i64>::new();
    for (aid, delta) in source.ledger().into_iter().chain(target.ledger()) {
        *owed.entry(aid).or_default() += delta;
    }
    let held = at.rows(&format!("< {RECORDED}")).rows();
    let balance = |aid: &i64| held.get(&aid.to_string()).map_or(0, |row| row[1].as_ref().unwrap().parse().unwrap());
    let wrong: Vec<_> = owed.iter().filter(|(aid, owed)| balance(aid) != **owed).take(10).collect();
    assert!(wrong.is_empty(), "{when}: committed changes are missing: (aid, owed) {wrong:?}");
    println!("{when}: {} accounts have what their ledger says", owed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_move_under_pgbench() {
    let seed = seed();
    let server = shearwater_testbed::postgres();
    let (source, mut target, ours) = places(server, server);
    let files = tempfile::tempdir().unwrap();
    let stage = Stage::open(SPEC, &ours[0], &ours[1]).await;
    let low = format!("< {RECORDED}");

    let mut bench = source.pgbench(files.path(), seed);
    stage.act(Command::Advance).await;
    admit(&mut target);
    let tables = [source.recorded(), target.recorded()];
    let recorders = Recorders::start(tables, &stage.member, RECORDED, 3, seed).await;
    stage.backfilled().await;
    bench.check();
    stage.cut_over().await;
    refused_by_the_fence(&bench.ends().await);
    assert_same("after the cutover", &source.rows(&low).rows(), &target.rows(&low).rows());
    assert_ledgers("after the cutover", &source, &target, &target);

    let mut bench = target.pgbench(files.path(), seed + 1);
    target.wrote(400).await;
    bench.check();
    stage.roll_back().await;
    refused_by_the_fence(&bench.ends().await);
    assert_same("after the rollback", &source.rows(&low).rows(), &target.rows(&low).rows());
    assert_ledgers("after the rollback", &source, &target, &source);

    let mut bench = source.pgbench(files.path(), seed + 2);
    source.wrote(400).await;
    bench.check();
    stage.cut_over().await;
    refused_by_the_fence(&bench.ends().await);
    recorders.check();
    let recorded = recorders.stop().await;
    stage.drained().await;
    assert_same("at the end", &source.rows(">= 0").rows(), &target.rows(">= 0").rows());
    assert_ledgers("at the end", &source, &target, &target);
    for place in [&source, &target] {
        place.assert_recorded(&recorded.held);
    }
    assert!(recorded.acknowledged.iter().all(|side| *side > 50), "the recorders hardly wrote: {recorded:?}");

    stage.act(Command::Complete).await;
    let left = stage.setup.source.sidecar_names().await.unwrap();
    assert!(left.is_empty(), "complete left {left:?}");
    stage.close().await;
}
