//! A small table on two servers, its migration, and its recorders.

use std::collections::BTreeMap;

use shearwater_testbed::Server;

use crate::compare::{Query, assert_same};
use crate::recorder::{Record, Recorders, Table};
use crate::stage::Stage;

/// The recorders' keys are from here on.
const RECORDED: i64 = 1_000_000;

pub const SPEC: &str = r#"
migration = "things"
kind = "move"
entity = "things"
[source]
url = "${SOURCE}"
table = "things"
key = "id"
[source.columns]
id = "int"
n = "int"
note = "text"
[target]
url = "${TARGET}"
table = "things"
key = "id"
[fields]
id = { from = "id", type = "int", required = true }
n = { from = "n", type = "int" }
note = { from = "note", type = "text" }
[gates]
pause_ms_max = 5000
backlog_max = 100000
"#;

/// The table in two databases, each with its server.
pub struct Things<'a> {
    pub servers: [&'a Server; 2],
    pub urls: [String; 2],
}

impl<'a> Things<'a> {
    /// A source of so many rows, and an empty target.
    pub fn make(source: &'a Server, target: &'a Server, rows: i64) -> Things<'a> {
        let urls = [source.database("things"), target.database("things")];
        // The type that PostgreSQL's target has too: there, rows pass as they are.
        let is_mysql = urls[0].starts_with("mysql:");
        let text = if is_mysql { "varchar(80)" } else { "text" };
        source
            .run(&urls[0], &[&format!("CREATE TABLE things (id bigint PRIMARY KEY, n bigint NOT NULL, note {text})")]);
        let numbers = match is_mysql {
            true => format!("SELECT seq, seq, REPEAT('x', 60) FROM seq_1_to_{rows}"),
            false => format!("SELECT g, g, repeat('x', 60) FROM generate_series(1, {rows}) g"),
        };
        source.run(&urls[0], &[&format!("INSERT INTO things {numbers}")]);
        Things { servers: [source, target], urls }
    }

    pub async fn stage(&self) -> Stage {
        Stage::open(SPEC, &self.urls[0], &self.urls[1]).await
    }

    /// Three programs that write.
    pub async fn recorders(&self, stage: &Stage, seed: u64) -> Recorders {
        let table = |url: &String| Table {
            url: url.clone(),
            name: "things",
            key: "id",
            value: "n",
            others: ("note", "'recorded'"),
        };
        Recorders::start([table(&self.urls[0]), table(&self.urls[1])], &stage.member, RECORDED, 3, seed).await
    }

    pub fn rows(&self, at: usize) -> BTreeMap<String, Vec<Option<String>>> {
        let sql = "SELECT id, n, note FROM things".to_owned();
        Query { server: self.servers[at], url: &self.urls[at], sql }.rows()
    }

    /// Both stores are the same, and what the recorders remember.
    pub fn assert_exact(&self, when: &str, record: &Record) {
        let (source, target) = (self.rows(0), self.rows(1));
        assert_same(when, &source, &target);
        let number = |text: &str| text.parse::<i64>().unwrap();
        let found = source.iter().map(|(key, row)| (number(key), number(row[0].as_ref().unwrap())));
        let found: BTreeMap<i64, i64> = found.filter(|(key, _)| *key >= RECORDED).collect();
        assert_eq!(found, record.held, "{when}: not what was acknowledged");
    }

    /// Ends every session of others in one of the databases.
    pub fn cut_sessions(&self, at: usize) {
        let (server, url) = (self.servers[at], &self.urls[at]);
        if url.starts_with("postgres:") {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
            server.run(url, &[others]);
            return;
        }
        // One that has ended by itself meanwhile is an error to KILL.
        let kill = "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; \
                    FOR other IN (SELECT id FROM information_schema.processlist \
                    WHERE db = DATABASE() AND id <> CONNECTION_ID()) \
                    DO KILL other.id; END FOR; END";
        server.run(url, &[kill]);
    }
}
