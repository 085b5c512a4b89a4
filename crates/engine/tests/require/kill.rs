//! The process dies at every statement and after every journal entry, on the
//! way there, back and there again; the next one goes on, and in the end the
//! catalogue and the rows are those of a life that nobody cut.
//!
//! The child is this test binary itself, running `child` with a place and a
//! failpoint in its environment.
#![cfg(debug_assertions)]

use std::process::{Command as Program, Stdio};

use mongodb::bson::doc as bson;
use shearwater_core::journal::{Command, Event};
use shearwater_core::lifecycle::require::{Filling, Phase, Step};
use shearwater_engine::failpoint::{FAILPOINT_ENV, REQUIRE_FAILPOINTS};

use crate::world::*;

const DIR_ENV: &str = "SHEARWATER_KILL_DIR";
const URL_ENV: &str = "SHEARWATER_KILL_URL";
const USERS: usize = 60;

/// From wherever it is to complete, by way of a rollback from contract to planned.
async fn drive(world: &World) {
    let process = world.process("p").await;
    loop {
        while !process.setup.journal.open_requests().await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let state = journalled(process.setup.journal.as_ref()).await;
        if state.entering.is_some() {
            process.until("settled", |state| state.entering.is_none()).await;
            continue;
        }
        let entries = process.entries().await;
        let entered = |phase: Phase| {
            entries.iter().filter(|e| e.event == Event::Require { step: Step::Entered { to: phase } }).count()
        };
        let was_back = entered(Phase::Planned) > 0;
        // A command that a kill left open may be done before ours, so ours may be refused: look again.
        let command = match state.phase {
            Phase::Expand if !was_back && entered(Phase::Contract) > 0 => Command::Rollback,
            Phase::Planned | Phase::Expand | Phase::Enforce => Command::Advance,
            Phase::Backfill => match (&state.filling, state.verified) {
                (Filling::Done { .. }, Some(_)) => Command::Advance,
                (Filling::Done { .. }, None) => Command::Verify,
                _ => Command::Backfill,
            },
            Phase::Contract if !was_back => Command::Rollback,
            Phase::Contract => Command::Complete,
            Phase::Complete => return process.stop().await,
            Phase::Withdrawn => panic!("nobody asked for it"),
        };
        let _ = process.ask(command).await;
    }
}

#[test]
fn child() {
    let (Ok(dir), Ok(url)) = (std::env::var(DIR_ENV), std::env::var(URL_ENV)) else { return };
    let world = World::at(std::path::Path::new(&dir), &url, BY_ACTIVITY);
    tokio::runtime::Runtime::new().unwrap().block_on(drive(&world));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Killed,
}

fn run_child(world: &World, failpoint: Option<&str>) -> Ended {
    let mut child = Program::new(std::env::current_exe().unwrap());
    child.args(["kill::child", "--exact", "--nocapture"]).env(DIR_ENV, &world.dir).env(URL_ENV, &world.url);
    match failpoint {
        Some(name) => child.env(FAILPOINT_ENV, name),
        None => child.env_remove(FAILPOINT_ENV),
    };
    let output = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), failpoint) {
        (Some(0), _) => Ended::Well,
        // Aborted by its failpoint, which a signal tells.
        (None, Some(_)) => Ended::Killed,
        (code, _) => panic!("{failpoint:?}: ended with {code:?}: {told}"),
    }
}

/// What is left in the end: the catalogue, and every row.
fn outcome(world: &World) -> (Vec<String>, Option<String>) {
    if world.is_dynamodb() {
        return (Vec::new(), Some(world.items().join(",")));
    }
    if world.is_mongodb() {
        let options = bson! { "listCollections": 1 };
        let named = world.answer(options).into_iter().map(|one| one.split("\"info\"").next().unwrap().to_owned());
        let users = bson! { "find": "users", "sort": { "_id": 1 }, "batchSize": 1_000 };
        return (named.collect(), Some(world.answer(users).join(",")));
    }
    let text = match world.is_sqlite() {
        true => "SELECT group_concat(id || name || active || status) FROM users",
        false => "SELECT string_agg(id::text || name || active::text || status, ',' ORDER BY id) FROM users",
    };
    (world.schema(), world.value_of(text))
}

fn kill_at(make: &(dyn Fn() -> World + Sync), failpoint: &str, expect: &(Vec<String>, Option<String>)) -> Ended {
    let world = make();
    let ended = run_child(&world, Some(failpoint));
    if ended == Ended::Killed {
        assert_eq!(run_child(&world, None), Ended::Well, "going on after {failpoint}");
    }
    assert_eq!(&outcome(&world), expect, "{failpoint}: the catalogue or the rows differ");
    ended
}

/// Runs cases side by side: most of their time is waiting for leases. The cases
/// that were never reached.
fn missed(make: &(dyn Fn() -> World + Sync), cases: Vec<String>) -> Vec<String> {
    let whole = make();
    assert_eq!(run_child(&whole, None), Ended::Well);
    let expect = outcome(&whole);
    assert!(expect.0.iter().all(|name| !name.contains("shearwater")), "{:?}", expect.0);
    let cases = std::sync::Mutex::new(cases.into_iter());
    let missed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().next() else { return };
                    if kill_at(make, &case, &expect) == Ended::Well {
                        missed.lock().unwrap().push(case);
                    }
                }
            });
        }
    });
    missed.into_inner().unwrap()
}

#[test]
fn at_every_failpoint_on_sqlite() {
    let mut cases: Vec<String> = REQUIRE_FAILPOINTS.iter().map(|name| (*name).to_owned()).collect();
    cases
        .extend(["backfill-checkpointed", "request-begun", "request-performed", "request-finished"].map(str::to_owned));
    // Each alteration there, back, and there again.
    cases.extend((2..=13).flat_map(|n| [format!("alter-journalled:{n}"), format!("alter-made:{n}")]));
    assert_eq!(missed(&|| World::sqlite(USERS, BY_ACTIVITY), cases), Vec::<String>::new(), "never reached");
}

#[test]
fn after_every_journal_entry_on_sqlite() {
    // More than the way there, back and there again has.
    let cases: Vec<String> = (1..=66).map(|n| format!("journal-after:{n}")).collect();
    let missed = missed(&|| World::sqlite(USERS, BY_ACTIVITY), cases);
    assert!(!missed.is_empty() && missed.len() < 20, "the last entry is among them: {missed:?}");
}

#[test]
fn at_every_statement_on_postgres() {
    let cases: Vec<String> =
        (1..=20).flat_map(|n| [format!("alter-journalled:{n}"), format!("alter-made:{n}")]).collect();
    assert_eq!(missed(&|| World::postgres(USERS, BY_ACTIVITY), cases), Vec::<String>::new(), "never reached");
}

#[test]
fn at_every_statement_on_mongodb() {
    let mut cases: Vec<String> = REQUIRE_FAILPOINTS.iter().map(|name| (*name).to_owned()).collect();
    cases.extend(["backfill-checkpointed", "backfill-checkpointed:2"].map(str::to_owned));
    cases.extend((2..=10).flat_map(|n| [format!("alter-journalled:{n}"), format!("alter-made:{n}")]));
    assert_eq!(missed(&|| World::mongodb(USERS, BY_ACTIVITY), cases), Vec::<String>::new(), "never reached");
}

#[test]
fn at_every_statement_on_dynamodb() {
    let mut cases: Vec<String> = REQUIRE_FAILPOINTS.iter().map(|name| (*name).to_owned()).collect();
    cases.push("backfill-checkpointed".to_owned());
    cases.extend((2..=7).flat_map(|n| [format!("alter-journalled:{n}"), format!("alter-made:{n}")]));
    assert_eq!(missed(&|| World::dynamodb(20, BY_ACTIVITY), cases), Vec::<String>::new(), "never reached");
}
