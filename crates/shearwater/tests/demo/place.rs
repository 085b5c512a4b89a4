//! A small demo, and what is left where it was played.

use std::time::Duration;

use shearwater::demo::{self, DemoOptions, DemoReport, Output};
use shearwater_testbed::{mariadb, postgres};

pub fn small() -> DemoOptions {
    DemoOptions {
        records: 400,
        clients: 4,
        seed: Some(7),
        output: Output::Nothing,
        dwell: Duration::from_millis(500),
        // A busy machine may pause longer than a good one; that is not judged here.
        pause_ms_max: 10_000,
        ..DemoOptions::default()
    }
}

/// A demo between two databases, and what is left in them.
pub async fn between(source: Option<String>, target: Option<String>) -> DemoReport {
    let dwell = Duration::from_millis(200);
    let report = demo::run(DemoOptions { source, target, records: 200, dwell, ..small() }).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0 && report.direct_writes > 0, "{}", report.text());
    assert!(report.direct_refused > 0, "{}", report.text());
    report
}

pub fn tables_in_postgres(url: &str) -> Vec<Vec<Option<String>>> {
    let sql = "SELECT table_schema, table_name FROM information_schema.tables \
               WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
    postgres().rows(url, sql)
}

pub fn tables_in_mariadb(url: &str) -> Vec<Vec<Option<String>>> {
    mariadb().rows(url, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")
}
