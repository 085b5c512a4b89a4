//! What the demo says of a migration, of a good one and of one that loses.

use std::time::Duration;

use shearwater::demo::{self, DemoOptions, DemoReport, Sabotage};

use crate::place::*;

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_and_there_again() {
    let report = demo::run(small()).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    assert!(report.requests > 100 && report.walks > 0 && report.direct_writes > 0, "{}", report.text());
    // The direct writer was refused in the reverse windows, and only there.
    assert!(report.direct_refused > 0, "{}", report.text());
    assert!(report.cutover_pause_ms.samples >= 2 && report.rollback_pause_ms.samples >= 1, "{}", report.text());
    assert_eq!(report.records, 400);
}

/// The follower forgets in the reverse window, so the rollback loses writes,
/// and no gate opens after it: the demo is given up there.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_forgets_is_found_out() {
    let patience = Duration::from_secs(8);
    let options = DemoOptions { sabotage: Sabotage::ForgetfulSource, patience, ..small() };
    let report: DemoReport = demo::run(options).await.unwrap();
    assert!(!report.passed());
    assert!(report.lost > 0, "{}", report.text());
    // Errors stand first among the findings, of which only some are told.
    assert!(report.errors > 0 && report.findings[0].contains("the demo stopped"), "{}", report.text());
}
