//! Other programs that copy the same table, where they are installed: pgcopydb,
//! pgloader, PostgreSQL's own dump and restore through a pipe, and dlt in the
//! Python that `BENCH_PYTHON` names (`pip install dlt[postgres] sqlalchemy
//! pyarrow psycopg2-binary pymysql`). Sling and ingestr are not among them:
//! their packages fetch the program itself when they run first, from a place
//! that cannot be reached from everywhere.

use std::process::Command;

use crate::ours::ran;
use crate::pairs::{Kind, Place, connect};

pub struct Peer {
    pub name: &'static str,
    pub records_per_s: f64,
    pub peak_mib: f64,
}

/// Every peer that can do this pair and is here.
pub async fn all(place: &Place, records: u64) -> Vec<Peer> {
    let commands: Vec<(&'static str, Command)> = match place.kind {
        Kind::Postgres => {
            vec![("pgcopydb", pgcopydb(place)), ("pg_dump | psql", dump(place)), ("dlt", dlt(place))]
        }
        Kind::Mariadb => vec![("pgloader", pgloader(place)), ("dlt", dlt(place))],
        // None of them maps documents to tables.
        Kind::Documents | Kind::Mongodb | Kind::Dynamodb => vec![],
    };
    let mut peers = Vec::new();
    for (name, command) in commands {
        let client = connect(&place.spare).await;
        client
            .batch_execute(
                "DROP SCHEMA IF EXISTS public CASCADE; DROP SCHEMA IF EXISTS source CASCADE; CREATE SCHEMA public",
            )
            .await
            .unwrap();
        match ran(command) {
            Ok(done) => {
                // A new session: pgloader sets the search path of new ones.
                let client = connect(&place.spare).await;
                let found = client.query_one(&format!("SELECT count(*) FROM {}", place.copied_table()), &[]).await;
                let copied: i64 = found.map(|row| row.get(0)).unwrap_or(0);
                if copied.unsigned_abs() != records {
                    eprintln!("bench: {name} copied {copied} of {records}; not counted");
                    continue;
                }
                let records_per_s = records as f64 / done.took.as_secs_f64();
                peers.push(Peer { name, records_per_s, peak_mib: done.peak_mib });
            }
            Err(error) => {
                eprintln!("bench: {name} is not measured: {}", error.trim().lines().next_back().unwrap_or_default())
            }
        }
    }
    peers
}

impl Place {
    /// Where a peer puts the table.
    fn copied_table(&self) -> &'static str {
        match self.kind {
            // pgloader makes a schema of MariaDB's database and puts it on the search path of new sessions.
            Kind::Mariadb => "users",
            Kind::Postgres | Kind::Documents | Kind::Mongodb | Kind::Dynamodb => "public.users",
        }
    }
}

fn pgcopydb(place: &Place) -> Command {
    let mut command = Command::new("pgcopydb");
    command.args(["clone", "--no-acl", "--no-owner", "--restart", "--not-consistent", "--table-jobs", "2"]);
    command.args(["--index-jobs", "2", "--source", &place.source, "--target", &place.spare]);
    command
}

fn dump(place: &Place) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "pg_dump \"$0\" | psql -q -v ON_ERROR_STOP=1 \"$1\"", &place.source, &place.spare]);
    command
}

fn pgloader(place: &Place) -> Command {
    let mut command = Command::new("pgloader");
    let source = place.source.replacen("mariadb://", "mysql://", 1);
    command.args(["--with", "create tables", "--with", "batch rows = 25000", &source]);
    command.arg(place.spare.replacen("postgres://", "postgresql://", 1));
    command
}

fn dlt(place: &Place) -> Command {
    let mut command = Command::new(std::env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".into()));
    let source = match place.source.split_once("://") {
        Some(("mysql" | "mariadb", rest)) => format!("mysql+pymysql://{rest}"),
        _ => place.source.replacen("postgres://", "postgresql+psycopg2://", 1),
    };
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/servers/dlt_users.py"));
    command.arg(source);
    command.arg(place.spare.replacen("postgres://", "postgresql://", 1));
    command.env("RUNTIME__DLTHUB_TELEMETRY", "false");
    command
}
