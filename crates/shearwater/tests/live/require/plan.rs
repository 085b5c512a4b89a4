//! `plan` plays every stage on a copy of some rows, and whatever ends it, the
//! next one takes the copy away; the user's own table is never touched.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use shearwater_testbed::Server;

use super::scene::SPEC;

/// Enough that a plan takes long enough to be killed within.
const ROWS: u64 = 20_000;

/// Refuses every alteration that names the field.
const IMPOSSIBLE: &str = "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN \
    IF current_query() LIKE '%status%' THEN RAISE EXCEPTION 'not today'; END IF; END$$";

fn start(place: &Path, url: &str) -> Child {
    let mut plan = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    plan.args(["plan", "status.toml", "--json"]).env("STORE", url).current_dir(place);
    plan.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn plan(place: &Path, url: &str) -> Value {
    let output = start(place, url).wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every relation, function and trigger that is not the server's own: in
/// PostgreSQL of all schemas, in MariaDB of the database.
fn catalogue(server: &Server, url: &str) -> Vec<String> {
    let sql = match url.starts_with("mysql:") {
        true => {
            "SELECT CONCAT('table ', table_name) FROM information_schema.tables WHERE table_schema = DATABASE() \
             UNION SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers WHERE trigger_schema = DATABASE() \
             UNION SELECT CONCAT('routine ', routine_name) FROM information_schema.routines WHERE routine_schema = DATABASE()"
        }
        false => {
            "SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_|^information' \
             UNION SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_|^information' \
             UNION SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal"
        }
    };
    let mut names: Vec<String> = server.rows(url, sql).into_iter().map(|row| row[0].clone().unwrap()).collect();
    names.sort();
    names
}

fn has_copy(server: &Server, url: &str) -> bool {
    catalogue(server, url).iter().any(|name| name.contains("shearwater_plan_"))
}

fn people(server: &Server) -> (String, tempfile::TempDir) {
    let url = server.database("plans");
    let rows = match url.starts_with("mysql:") {
        true => format!("SELECT seq, seq % 2 = 0 FROM seq_1_to_{ROWS}"),
        false => format!("SELECT g, g % 2 = 0 FROM generate_series(1, {ROWS}) g"),
    };
    let table = "CREATE TABLE users (id bigint NOT NULL PRIMARY KEY, active boolean NOT NULL)";
    server.run(&url, &[table, &format!("INSERT INTO users {rows}")]);
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("status.toml"), SPEC).unwrap();
    (url, place)
}

fn leaves_nothing_and_clears_up_after_a_killed_one(server: &Server) {
    let (url, place) = people(server);
    let before = catalogue(server, &url);
    assert_eq!(plan(place.path(), &url)["unmeasured"], Value::Null);
    assert_eq!(catalogue(server, &url), before, "plan left something behind");

    let mut killed = 0;
    while killed < 3 {
        let mut child = start(place.path(), &url);
        while !has_copy(server, &url) && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        killed += u32::from(has_copy(server, &url));
    }
    assert_eq!(plan(place.path(), &url)["unmeasured"], Value::Null);
    assert_eq!(catalogue(server, &url), before, "the copy of a killed plan is still there");
}

#[test]
fn postgres_is_left_as_it_was() {
    leaves_nothing_and_clears_up_after_a_killed_one(shearwater_testbed::postgres());
}

#[test]
fn mariadb_is_left_as_it_was() {
    leaves_nothing_and_clears_up_after_a_killed_one(shearwater_testbed::mariadb());
}

/// The server refuses what the copy is to become: the plan says so, is one
/// nevertheless, and the copy is gone.
#[test]
fn a_copy_that_cannot_be_altered_is_gone_too() {
    let server = shearwater_testbed::postgres();
    let (url, place) = people(server);
    server.run(
        &url,
        &[IMPOSSIBLE, "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no()"],
    );
    let before = catalogue(server, &url);
    let planned = plan(place.path(), &url);
    assert!(planned["unmeasured"].as_str().is_some_and(|why| why.contains("not today")), "{planned:#}");
    assert_eq!(catalogue(server, &url), before, "plan left something behind");
}
