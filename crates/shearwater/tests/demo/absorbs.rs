//! The third situation: another company's records.

use shearwater::demo::{self, DemoOptions};
use shearwater_stores::journal::JournalPlace;
use shearwater_testbed::{mariadb, mongodb, postgres};

use crate::place::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_there_and_back_and_to_the_end() {
    absorbed(DemoOptions { records: 300, ..small() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_from_mariadb_into_postgresql() {
    let (source, target) = (mariadb().database("bob"), postgres().database("alice"));
    let journal = Some(JournalPlace::parse(&postgres().database("journal")).unwrap());
    let given = DemoOptions { source: Some(source.clone()), target: Some(target.clone()), journal, ..small() };
    absorbed(DemoOptions { records: 300, ..given }).await;
    assert_eq!(tables_in_postgres(&target).len(), 0);
    let left =
        mariadb().rows(&source, "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()");
    assert_eq!(left[0][0].as_deref(), Some("0"));
}

/// Through the program itself, as a user runs it.
#[tokio::test(flavor = "multi_thread")]
async fn an_absorb_from_mongodb_into_postgresql() {
    let (source, target) = (mongodb().database("bob"), postgres().database("alice"));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command.args(["demo", "--kind", "absorb", "--records", "120", "--clients", "2", "--seed", "7", "--json"]);
    command.args(["--source", &source, "--target", &target]).env_remove("SHEARWATER_JOURNAL");
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(told.trim()).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && report["passed"] == true, "{told}{errors}");
    assert_eq!((report["source"].as_str(), report["target"].as_str()), (Some("mongodb"), Some("postgres")));
    for count in ["returned", "deactivated", "moved_in_bulk", "walks", "direct_writes"] {
        assert!(report[count].as_u64().is_some_and(|count| count > 0), "{count}: {told}");
    }
    assert_eq!(tables_in_postgres(&target).len(), 0);
}

async fn absorbed(options: DemoOptions) {
    let report = demo::absorb::run(options).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 5 && report.direct_writes > 10, "{}", report.text());
    assert!(report.returned > 0 && report.moved_in_bulk > 0 && report.deactivated > 0, "{}", report.text());
}
