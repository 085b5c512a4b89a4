//! MariaDB to PostgreSQL, written to by sysbench and by recorders. This sysbench
//! has no zipfian keys; its pareto ones are as uneven.

use std::collections::BTreeMap;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use shearwater_core::journal::Command;
use shearwater_testbed::{Privileges, Server};

use crate::compare::{Query, assert_same};
use crate::dice::seed;
use crate::programs::{Ended, Program};
use crate::recorder::{Recorders, Table};
use crate::stage::Stage;

/// Rows that sysbench makes and finds.
const ROWS: i64 = 5_000;

/// The recorders' keys are from here on; sysbench's are below.
const RECORDED: i64 = 1_000_000_000;

pub const SPEC: &str = r#"
migration = "sbtest"
kind = "move"
entity = "sbtest"
[source]
url = "${SOURCE}"
table = "sbtest1"
key = "id"
[source.columns]
id = "int"
k = "int"
c = "text"
pad = "text"
[target]
url = "${TARGET}"
table = "sbtest1"
key = "id"
[fields]
id = { from = "id", type = "int", required = true }
k = { from = "k", type = "int" }
c = { from = "c", type = "text" }
pad = { from = "pad", type = "text" }
[gates]
pause_ms_max = 5000
backlog_max = 100000
"#;

/// One side, and the account of its application.
struct Place<'a> {
    server: &'a Server,
    app: String,
    closed: &'static str,
}

impl Place<'_> {
    /// sysbench's words for this server, before the command.
    fn sysbench(&self, seed: u64) -> Process {
        let (scheme, rest) = self.app.split_once("://").unwrap();
        let driver = if scheme == "mysql" { "mysql" } else { "pgsql" };
        let (user, rest) = rest.split_once(':').unwrap();
        let (password, rest) = rest.split_once('@').unwrap();
        let (place, database) = rest.split_once('/').unwrap();
        let port = place.rsplit(':').next().unwrap();
        let mut sysbench = Process::new("sysbench");
        sysbench.args(["oltp_write_only", "--tables=1", "--rand-type=pareto", "--threads=3", "--time=600"]);
        sysbench.args([format!("--table-size={ROWS}"), format!("--rand-seed={seed}"), format!("--db-driver={driver}")]);
        sysbench.arg("--rate=150");
        for (name, value) in
            [("host", "127.0.0.1"), ("port", port), ("user", user), ("password", password), ("db", database)]
        {
            sysbench.arg(format!("--{driver}-{name}={value}"));
        }
        sysbench
    }

    fn write(&self, seed: u64) -> Program {
        let mut sysbench = self.sysbench(seed);
        sysbench.arg("run");
        Program::start("sysbench", sysbench)
    }

    fn rows(&self, which: &str) -> BTreeMap<String, Vec<Option<String>>> {
        let sql = format!("SELECT id, k, rtrim(c), rtrim(pad) FROM sbtest1 WHERE id {which}");
        Query { server: self.server, url: &self.app, sql }.rows()
    }

    fn recorded(&self) -> Table {
        Table { url: self.app.clone(), name: "sbtest1", key: "id", value: "k", others: ("c, pad", "'recorded', 'x'") }
    }

    fn refused(&self, ended: &Ended) {
        assert!(!ended.status.success(), "sysbench ended well: {}", ended.said);
        assert!(ended.said.contains(self.closed), "sysbench was not refused by the fence: {}", ended.said);
    }

    /// Waits until so many of sysbench's rows are other ones than they were.
    async fn wrote(&self, rows: usize) {
        let low = format!("< {RECORDED}");
        let (began, before) = (Instant::now(), self.rows(&low));
        let written = || self.rows(&low).iter().filter(|(key, row)| before.get(*key) != Some(row)).count();
        while written() < rows {
            assert!(began.elapsed() < Duration::from_secs(60), "sysbench hardly writes");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn assert_recorded(&self, held: &BTreeMap<i64, i64>) {
        let rows = self.rows(&format!(">= {RECORDED}"));
        let found = rows.iter().map(|(key, row)| (key.parse().unwrap(), row[0].as_ref().unwrap().parse().unwrap()));
        assert_eq!(&found.collect::<BTreeMap<i64, i64>>(), held, "{}", self.app);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_move_under_sysbench() {
    let seed = seed();
    let (mariadb, postgres): (&Server, &Server) = (shearwater_testbed::mariadb(), shearwater_testbed::postgres());
    let (from, to) = (mariadb.database("sbtest"), postgres.database("sbtest"));
    // With a binlog, MariaDB lets nobody but an administrator create triggers.
    let ours = [from.clone(), postgres.account(&to, Privileges::Owner)];
    let mut source = Place { server: mariadb, app: ours[0].clone(), closed: "is closed for writes: its records moved" };
    let mut prepare = source.sysbench(seed);
    prepare.arg("prepare");
    Program::run("sysbench prepare", prepare);
    source.app = mariadb.account(&from, Privileges::Rows);
    let mut target = Place { server: postgres, app: to.clone(), closed: source.closed };
    let stage = Stage::open(SPEC, &ours[0], &ours[1]).await;
    let low = format!("< {RECORDED}");

    let mut bench = source.write(seed);
    source.wrote(50).await;
    stage.act(Command::Advance).await;
    target.app = postgres.account(&to, Privileges::Rows);
    let tables = [source.recorded(), target.recorded()];
    let recorders = Recorders::start(tables, &stage.member, RECORDED, 3, seed).await;
    stage.backfilled().await;
    bench.check();
    stage.cut_over().await;
    source.refused(&bench.ends().await);
    assert_same("after the cutover", &source.rows(&low), &target.rows(&low));

    let mut bench = target.write(seed + 1);
    target.wrote(40).await;
    bench.check();
    stage.roll_back().await;
    target.refused(&bench.ends().await);
    assert_same("after the rollback", &source.rows(&low), &target.rows(&low));

    let mut bench = source.write(seed + 2);
    source.wrote(40).await;
    bench.check();
    stage.cut_over().await;
    source.refused(&bench.ends().await);
    recorders.check();
    let recorded = recorders.stop().await;
    stage.drained().await;
    assert_same("at the end", &source.rows(">= 0"), &target.rows(">= 0"));
    source.assert_recorded(&recorded.held);
    target.assert_recorded(&recorded.held);
    assert!(recorded.acknowledged.iter().all(|side| *side > 50), "the recorders hardly wrote: {recorded:?}");

    stage.act(Command::Complete).await;
    let left = stage.setup.source.sidecar_names().await.unwrap();
    assert!(left.is_empty(), "complete left {left:?}");
    stage.close().await;
}
