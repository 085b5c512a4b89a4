//! Writes on the target that are not ours: noted while it follows, shown,
//! barred by the gates, put right; refused once it has been the authority.

use shearwater_core::journal::Command;
use shearwater_engine::report;
use shearwater_testbed::Server;

use crate::compare::assert_same;
use crate::door::{Door, Not};
use crate::things::Things;

const MEDDLING: [&str; 4] = [
    "UPDATE things SET n = -1 WHERE id = 7",
    "DELETE FROM things WHERE id = 8",
    "INSERT INTO things (id, n, note) VALUES (5000, 5, 'foreign')",
    "UPDATE things SET id = 6000 WHERE id = 9",
];

async fn meddled_with(source: &Server, target: &Server) {
    let things = Things::make(source, target, 100);
    let stage = things.stage().await;
    stage.act(Command::Advance).await;
    stage.backfilled().await;
    stage.verified().await;
    target.run(&things.urls[1], &MEDDLING);

    let status = report::status(&stage.setup).await.unwrap();
    assert_eq!(status.facts.foreign, 5, "{:?}", status.facts);
    let closed: Vec<_> = status.next.unwrap().gates.into_iter().filter(|gate| !gate.open).collect();
    assert_eq!(closed.iter().map(|gate| gate.code).collect::<Vec<_>>(), ["gate/foreign-writes"]);
    let refusal = stage.ask(Command::Advance).await.unwrap_err();
    assert_eq!(refusal.code, "gate/foreign-writes", "{refusal:?}");

    let report = stage.act(Command::Verify).await;
    assert_eq!([&report["missing"], &report["extra"], &report["different"]], [2, 2, 1], "{report:#}");
    stage.act(Command::Repair { dry_run: false }).await;
    assert_eq!(report::status(&stage.setup).await.unwrap().facts.foreign, 0);
    assert_same("after the repair", &things.rows(0), &things.rows(1));

    stage.cut_over().await;
    stage.roll_back().await;
    let mut late = Door::open(&things.urls[1]).await.unwrap();
    for statement in MEDDLING {
        let answer = late.transact(&[statement.to_owned()]).await;
        assert_eq!(answer, Err(Not::Closed), "a program that still writes to the target must hear of the rollback");
    }
    stage.cut_over().await;
    assert_same("after the second cutover", &things.rows(0), &things.rows(1));
    late.transact(&[MEDDLING[0].to_owned()]).await.unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_target() {
    meddled_with(shearwater_testbed::postgres(), shearwater_testbed::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_target() {
    meddled_with(shearwater_testbed::postgres(), shearwater_testbed::mariadb()).await;
}
