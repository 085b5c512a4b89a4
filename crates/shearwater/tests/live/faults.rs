//! Servers that crash, sessions that are cut and programs that deadlock, in
//! the backfill, in dual write and in the middle of both changes of authority.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::{BackfillState, Phase, State};
use shearwater_engine::lane::Lane;
use shearwater_testbed::{Mariadb, Options, Postgres, Server};

use crate::dice::seed;
use crate::stage::Stage;
use crate::things::Things;

/// Enough for a backfill that is still under way when its server dies.
const ROWS: i64 = 8_000;

fn crash(server: &Server) {
    server.kill();
    server.start_again();
}

/// Changes the authority while its server crashes at the moment when the
/// change begins; it is carried out, or given up and asked for again.
async fn switch(stage: &Stage, things: &Things<'_>, crashes: usize, phases: [Phase; 2]) {
    let [during, after] = phases;
    let crash_in_it = async {
        let begun = |state: &State| state.phase == during || state.phase == after;
        stage.until("the change of authority", begun).await;
        // Blocking this task is meant: the other half is driven by the coordinator's tasks.
        tokio::task::block_in_place(|| crash(things.servers[crashes]));
    };
    let command = if during == Phase::Cutover { Command::Advance } else { Command::Rollback };
    tokio::join!(crash_in_it, async {
        stage.act(command).await;
    });
    stage.until("the new authority", |state| state.phase == after).await;
}

async fn exact_through_faults(source: &Server, target: &Server) {
    let seed = seed();
    let things = Things::make(source, target, ROWS);
    let stage = things.stage().await;
    let recorders = things.recorders(&stage, seed).await;
    recorders.wrote(50).await;
    stage.act(Command::Advance).await;
    stage.until("the backfill's begin", |state| state.backfill != BackfillState::NotRun).await;
    let are_equal = things.urls.iter().all(|url| url.starts_with("postgres:"));
    assert_eq!(Lane::between(&stage.setup).await.unwrap().is_some(), are_equal, "rows pass as they are");
    crash(source);
    crash(target);
    stage.backfilled().await;
    recorders.wrote(50).await;

    for at in [0, 1] {
        things.cut_sessions(at);
        recorders.wrote(30).await;
    }
    target.kill();
    recorders.wrote(50).await;
    let refusal = stage.ask(Command::Advance).await.unwrap_err();
    assert_eq!(refusal.code, "store/unavailable", "{refusal:?}");
    assert!(refusal.message.contains("the target store"), "{refusal:?}");
    target.start_again();
    crash(source);
    stage.verified().await;
    stage.act(Command::Advance).await;
    stage.act(Command::Advance).await;
    stage.act(Command::Ramp { percent: 100 }).await;

    switch(&stage, &things, 0, [Phase::Cutover, Phase::ReverseWindow]).await;
    recorders.wrote(50).await;
    switch(&stage, &things, 1, [Phase::Rollback, Phase::DualWrite]).await;
    recorders.wrote(50).await;
    stage.verified().await;
    recorders.raced().await;
    let record = recorders.stop().await;
    stage.drained().await;
    things.assert_exact("after every fault", &record);
    assert!(record.cut > 0 && record.raced > 0, "nothing happened: {record:?}");
    assert!(record.acknowledged.iter().all(|side| *side > 0), "{record:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_to_postgres() {
    let options = || Options::new().setting("deadlock_timeout", "100ms");
    exact_through_faults(&Postgres::start(options()), &Postgres::start(options())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_to_postgres() {
    let postgres = Options::new().setting("deadlock_timeout", "100ms");
    exact_through_faults(&Mariadb::start(Options::new()), &Postgres::start(postgres)).await;
}
