//! The demo at a small size: it must find nothing wrong, and it must be able to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use shearwater::demo::{self, DemoOptions, DemoReport, Output, Sabotage};

fn small() -> DemoOptions {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_forgets_is_found_out() {
    let report: DemoReport = demo::run(DemoOptions { sabotage: Sabotage::ForgetfulSource, ..small() }).await.unwrap();
    assert!(!report.passed());
    assert!(report.lost > 0, "{}", report.text());
}
