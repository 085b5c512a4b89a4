//! Processes of `serve` that share a journal on PostgreSQL: whoever coordinates
//! is killed, and the next one goes on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::{BackfillState, Phase};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

use crate::dice::seed;
use crate::stage::Stage;
use crate::things::{SPEC, Things};

/// Enough for a backfill that is still under way when its process dies.
const ROWS: i64 = 8_000;

/// A `serve` process; killed when dropped.
struct Serve(Child);

impl Serve {
    /// Starts one and waits until it serves.
    fn start(place: &Path, journal: &str, urls: &[String; 2], spec: &[&str]) -> Serve {
        let mut serve = Process::new(env!("CARGO_BIN_EXE_shearwater"));
        serve.args(["--journal", journal, "serve", "--gateway", "127.0.0.1:0", "--control", "127.0.0.1:0"]).args(spec);
        serve.env("SOURCE", &urls[0]).env("TARGET", &urls[1]).env_remove("RUST_LOG").current_dir(place);
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("serving"), "{line:?}");
        Serve(child)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_coordinator_hands_over() {
    let seed = seed();
    let server = shearwater_testbed::postgres();
    let things = Things::make(server, server, ROWS);
    let (journal, place) = (server.database("journal"), tempfile::tempdir().unwrap());
    std::fs::write(place.path().join("things.toml"), SPEC).unwrap();
    let start = |spec: &[&str]| Serve::start(place.path(), &journal, &things.urls, spec);
    let first = start(&["things.toml"]);
    let second = start(&[]);
    let journals = JournalStore::open(&JournalPlace::parse(&journal).unwrap(), Create::Never).await.unwrap();
    let migration = journals.migration("things").await.unwrap();
    let stage = Stage::watch(SPEC, &things.urls[0], &things.urls[1], migration).await;
    let recorders = things.recorders(&stage, seed).await;

    stage.act(Command::Advance).await;
    stage.until("the backfill's begin", |state| state.backfill != BackfillState::NotRun).await;
    drop(first);
    stage.backfilled().await;
    let third = start(&[]);
    stage.verified().await;
    stage.act(Command::Advance).await;
    stage.act(Command::Advance).await;
    stage.act(Command::Ramp { percent: 100 }).await;
    let kill_in_it = async {
        stage.until("the cutover", |state| [Phase::Cutover, Phase::ReverseWindow].contains(&state.phase)).await;
        drop(second);
    };
    let switched = async {
        stage.act(Command::Advance).await;
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(kill_in_it, switched) }).await.unwrap();
    stage.until("the reverse window", |state| state.phase == Phase::ReverseWindow).await;
    recorders.wrote(50).await;
    stage.roll_back().await;
    recorders.wrote(50).await;
    stage.verified().await;
    let record = recorders.stop().await;
    stage.drained().await;
    things.assert_exact("after two coordinators died", &record);
    assert!(record.acknowledged.iter().all(|side| *side > 0), "{record:?}");
    stage.close().await;
    drop(third);
}
