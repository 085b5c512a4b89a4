//! `plan` measures in scratch tables of both servers and leaves nothing there.

use std::process::Command;

use shearwater_core::Key;
use shearwater_testbed::{Privileges, Server};

use crate::things::{SPEC, Things};

/// What `plan --json` answers, run as people run it.
fn plan(source: &str, target: &str) -> serde_json::Value {
    let place = tempfile::tempdir().unwrap();
    let spec = place.path().join("things.toml");
    std::fs::write(&spec, SPEC).unwrap();
    let mut plan = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    plan.arg("plan").arg(&spec).arg("--json").env("SOURCE", source).env("TARGET", target).current_dir(place.path());
    let output = plan.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every table that a server's database has, those of our own schema too.
fn tables(server: &Server, url: &str) -> Vec<String> {
    let sql = "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
               WHERE table_schema IN (SELECT schema_name FROM information_schema.schemata) \
               AND (table_schema = '_shearwater' OR table_name LIKE '%shearwater%' OR table_name = 'things') \
               AND table_catalog IN ('def', (SELECT table_catalog FROM information_schema.tables LIMIT 1))";
    let mine = url.rsplit('/').next().unwrap();
    let rows = server.rows(url, sql).into_iter().map(|row| row[0].clone().unwrap());
    // MariaDB shows every database.
    let mut names: Vec<String> =
        rows.filter(|name| !url.starts_with("mysql:") || name.starts_with(&format!("{mine}."))).collect();
    names.sort();
    names
}

fn measures_and_leaves_nothing(source: &Server, target: &Server) {
    let things = Things::make(source, target, 500);
    let [from, to] = &things.urls;
    let before = [tables(source, from), tables(target, to)];
    // As a killed `plan` leaves it.
    let left = format!("shearwater_plan_{:016x}", Key::single("writes").hash());
    let text = if from.starts_with("mysql:") { "varchar(99)" } else { "text" };
    source.run(from, &[&format!("CREATE TABLE {left} (id {text} PRIMARY KEY, doc text)")]);

    let planned = plan(from, to);
    assert_eq!(planned["unmeasured"], serde_json::json!([]), "{planned:#}");
    let predicted = &planned["predictions"];
    for figure in ["/capture/plain_us", "/capture/captured_us", "/backfill_records_per_s"] {
        assert!(
            predicted.pointer(figure).and_then(serde_json::Value::as_u64).is_some_and(|n| n > 0),
            "{figure}: {planned:#}"
        );
    }
    println!("capture: {}, backfill: {} records/s", predicted["capture"], predicted["backfill_records_per_s"]);
    assert_eq!([tables(source, from), tables(target, to)], before, "plan left something behind");

    let reader = source.account(from, Privileges::ReadOnly);
    let planned = plan(&reader, &target.account(to, Privileges::ReadOnly));
    assert!(planned["predictions"]["capture"].is_null(), "{planned:#}");
    assert_eq!(planned["unmeasured"].as_array().unwrap().len(), 2, "{planned:#}");
    assert_eq!([tables(source, from), tables(target, to)], before, "plan left something behind");
}

#[test]
fn postgres_to_postgres() {
    measures_and_leaves_nothing(shearwater_testbed::postgres(), shearwater_testbed::postgres());
}

#[test]
fn mariadb_to_postgres() {
    measures_and_leaves_nothing(shearwater_testbed::mariadb(), shearwater_testbed::postgres());
}
