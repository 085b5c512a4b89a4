//! The process dies at every failpoint and before and after every journal
//! entry; the next one goes on, and nothing is lost.
//!
//! The child is this test binary itself, running `child` with a directory and
//! a failpoint in its environment.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod world;

use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use rusqlite::params;
use shearwater_core::journal::{Command, Event};
use shearwater_core::lifecycle::{BackfillState, Phase};
use shearwater_core::store::Side;
use shearwater_engine::failpoint::{FAILPOINT_ENV, FAILPOINTS};
use shearwater_engine::{copy, ledger};
use world::{Process, Rng, World, assert_equal, document, entries};

const DIR_ENV: &str = "SHEARWATER_KILL_DIR";
/// What the child does: `move`, `copy` or `backfill`.
const WHAT_ENV: &str = "SHEARWATER_KILL_WHAT";
/// Another process drives as well, so nothing stands still.
const PAIR_ENV: &str = "SHEARWATER_KILL_PAIR";
const RECORDS: usize = 40;
/// A record that only the target refuses. The last one, so that the record that
/// has the same email is there first.
const BAD_TWIN: &str = "z-bad-twin";

/// Drives the migration from wherever it is to complete, by way of a rollback,
/// with writes by hand in every phase.
async fn drive(world: &World) {
    let process = world.process("p").await;
    loop {
        while !process.setup.journal.open_requests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let state = process.until("settled", |s| s.entering.is_none() && s.switch.is_none()).await;
        write(world, &process, state.phase, state.rolled_back).await;
        mend(world, &process).await;
        // A command that a kill left open may be done before ours, so ours may be refused: look again.
        let command = match state.phase {
            Phase::Planned => Command::Advance,
            Phase::DualWrite => match (&state.backfill, state.verified) {
                (BackfillState::Done { .. }, Some((_, totals))) if totals.mismatches() == 0 => {
                    let foreign = process.setup.target.foreign(1).await.unwrap_or_default();
                    if foreign.is_empty() { Command::Advance } else { Command::Repair { dry_run: false } }
                }
                (BackfillState::Done { .. }, Some(_)) => Command::Repair { dry_run: false },
                (BackfillState::Done { .. }, None) => Command::Verify,
                _ => Command::Backfill,
            },
            Phase::ShadowRead => Command::Advance,
            Phase::ReadRamp if state.ramp_percent < 100 => Command::Ramp { percent: 100 },
            Phase::ReadRamp => Command::Advance,
            Phase::ReverseWindow if !state.rolled_back => Command::Rollback,
            Phase::ReverseWindow => {
                if std::env::var(PAIR_ENV).is_err() {
                    process.followed(Side::Target).await;
                    assert_equal(&process.setup, "before complete").await;
                }
                Command::Complete
            }
            Phase::Complete => return process.stop().await,
            other => panic!("{other:?} is never settled in"),
        };
        let repaired = matches!(command, Command::Repair { .. });
        let _ = process.ask(command).await;
        if repaired {
            let _ = process.ask(Command::Verify).await;
        }
    }
}

/// One write for each place that the migration can be in, straight to the
/// authority's file, acknowledged in a log; repeated when it was cut off.
async fn write(world: &World, process: &Process, phase: Phase, rolled_back: bool) {
    let key = format!("w-{}-{rolled_back}", phase.name());
    if acknowledged(&world.dir).contains(&key) {
        return;
    }
    if phase == Phase::DualWrite && rolled_back {
        // Refused when another process has moved on meanwhile.
        let _ = world.source().execute("INSERT OR REPLACE INTO users VALUES ('bad2', ?1)", params![bad("bad2")]);
        for _ in 0..200 {
            if process.setup.journal.dead_letter_count().await.unwrap() > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    if phase == Phase::DualWrite && !rolled_back {
        // Somebody writes into the follower; after a rollback the target would refuse it.
        let _ = world.target().execute("INSERT INTO people (id, city) VALUES ('nobody', 'foreign')", []);
    }
    let done = match process.member.view().state.authority() {
        Some(Side::Source) => {
            let source = world.source();
            let gone = format!("u{:05}", key.len());
            source
                .execute("INSERT OR IGNORE INTO users VALUES (?1, ?2)", params![key, document(&key, 1)])
                .and_then(|_| source.execute("DELETE FROM users WHERE _id = ?1", params![gone]))
        }
        Some(Side::Target) => world.target().execute("INSERT OR IGNORE INTO people (id) VALUES (?1)", params![key]),
        None => return,
    };
    if done.is_ok() {
        use std::io::Write;
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(world.dir.join("acked")).unwrap();
        writeln!(log, "{key}").unwrap();
    }
}

/// A record that the mapping refuses, or that the target does for its email.
fn bad(key: &str) -> String {
    if key == BAD_TWIN {
        return document(key, 3).replace(&format!("{key}@"), "u00001@");
    }
    format!(r#"{{"_id":"{key}","age":"old"}}"#)
}

/// Mends refused records once their dead letters are there.
async fn mend(world: &World, process: &Process) {
    loop {
        let letters = process.setup.journal.dead_letters(None, 10).await.unwrap();
        if letters.is_empty() {
            return;
        }
        for letter in letters {
            assert!(letter.key.contains("bad"), "{letter:?}");
            let sql = "UPDATE users SET doc = ?2 WHERE _id = ?1 AND doc = ?3";
            let (mended, bad) = (document(&letter.key, 3), bad(&letter.key));
            let _ = world.source().execute(sql, params![letter.key, mended, bad]);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

fn acknowledged(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("acked")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What the child does; nothing in an ordinary run of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(DIR_ENV) else { return };
    let world = World::at(Path::new(&dir));
    match std::env::var(WHAT_ENV).as_deref() {
        Ok("copy") => copy_all(&world).await,
        Ok("backfill") => backfill(&world).await,
        _ => drive(&world).await,
    }
}

async fn copy_all(world: &World) {
    let setup = world.setup().await;
    loop {
        match copy::copy(&setup).await {
            Ok(_) => return,
            // The killed one's lease.
            Err(ledger::Halt::Refused(refusal)) if refusal.code == "busy/copy" => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(halt) => panic!("{halt}"),
        }
    }
}

async fn backfill(world: &World) {
    let process = world.process("p").await;
    if process.state().await.phase == Phase::Planned {
        let _ = process.ask(Command::Advance).await;
    }
    process.backfilled().await;
    process.stop().await;
}

/// Whether it ended well; else it died.
fn run_child(dir: &Path, failpoint: Option<&str>, what: What) -> Ended {
    let mut child = Program::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact", "--nocapture"]).env(DIR_ENV, dir).env_remove(FAILPOINT_ENV);
    if let Some(failpoint) = failpoint {
        child.env(FAILPOINT_ENV, failpoint);
    }
    child.env(WHAT_ENV, what.word());
    let output = child.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    if output.status.success() {
        return Ended::Well;
    }
    use std::os::unix::process::ExitStatusExt;
    match output.status.signal() {
        Some(6) => Ended::Killed,
        _ => panic!("{failpoint:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Move,
    Copy,
    Backfill,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Move => "move",
            What::Copy => "copy",
            What::Backfill => "backfill",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Killed,
}

/// Kills at one place, goes on, and looks whether everything acknowledged is
/// there. Answers whether the place was reached.
fn kill_at(failpoint: &str) -> Ended {
    let world = world_with_bad();
    let ended = run_child(&world.dir, Some(failpoint), What::Move);
    if ended == Ended::Killed {
        assert_eq!(run_child(&world.dir, None, What::Move), Ended::Well, "going on after {failpoint}");
    }
    nothing_lost(&world, failpoint);
    ended
}

/// A world with a record that the mapping refuses and one that the target refuses.
fn world_with_bad() -> World {
    let world = World::new(RECORDS);
    for key in ["bad", BAD_TWIN] {
        world.source().execute("INSERT INTO users VALUES (?1, ?2)", params![key, bad(key)]).unwrap();
    }
    world
}

/// Everything acknowledged is in the target, which alone is left.
fn nothing_lost(world: &World, what: &str) {
    let target = world.target();
    let has = |key: &str| {
        let sql = "SELECT count(*) FROM people WHERE id = ?1";
        target.query_row(sql, params![key], |row| row.get::<_, i64>(0)).unwrap() == 1
    };
    for key in acknowledged(&world.dir) {
        assert!(has(&key), "{what}: {key} is lost");
        assert!(
            !has(&format!("u{:05}", key.len())) || key.contains("reverse"),
            "{what}: deleted for {key}, back again"
        );
    }
    let sidecar: i64 = target
        .query_row("SELECT count(*) FROM sqlite_master WHERE name LIKE '_shearwater%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sidecar, 0, "{what}: the sidecar is gone");
}

/// Runs cases side by side: most of their time is waiting for leases.
fn each<T: Send>(cases: Vec<T>, kill: impl Fn(&T) -> Ended + Sync) -> Vec<(T, Ended)> {
    let cases = std::sync::Mutex::new(cases.into_iter());
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().next() else { return };
                    let ended = kill(&case);
                    done.lock().unwrap().push((case, ended));
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn missed<T: Clone>(done: &[(T, Ended)]) -> Vec<T> {
    done.iter().filter(|(_, ended)| *ended == Ended::Well).map(|(case, _)| case.clone()).collect()
}

#[test]
fn at_every_failpoint() {
    // Those of an absorb have a test of their own.
    let of_a_move = FAILPOINTS.iter().filter(|name| !name.starts_with("absorb-"));
    let mut cases: Vec<String> = of_a_move.map(|name| (*name).to_owned()).collect();
    // The second change of authority is the rollback.
    cases.extend(["switch-closed:2", "switch-drained:2", "switch-opened:2"].map(str::to_owned));
    assert_eq!(missed(&each(cases, |case| kill_at(case))), Vec::<String>::new(), "never reached");
}

/// Just before an entry is just after the one before it, but for the acts in
/// between, each of which has a failpoint of its own.
#[test]
fn after_every_journal_entry() {
    // Far more than the way there, back and there again has.
    const ENTRIES_MAX: usize = 60;
    for first in (1..ENTRIES_MAX).step_by(6) {
        let cases = (first..first + 6).map(|n| format!("journal-after:{n}")).collect();
        if !missed(&each(cases, |case| kill_at(case))).is_empty() {
            return;
        }
    }
    panic!("the migration never ends");
}

#[test]
fn in_a_copy() {
    let cases = ["capture-target-installed", "backfill-chunk-read", "backfill-chunk-applied", "remove-target"];
    let ended = each(cases.to_vec(), |failpoint| {
        let world = World::new(RECORDS);
        let ended = run_child(&world.dir, Some(failpoint), What::Copy);
        assert_eq!(run_child(&world.dir, None, What::Copy), Ended::Well, "going on after {failpoint}");
        let setup = tokio::runtime::Runtime::new().unwrap();
        setup.block_on(async {
            let setup = world.setup().await;
            assert_equal(&setup, failpoint).await;
            assert_eq!(setup.target.sidecar_names().await.unwrap(), Vec::<String>::new(), "{failpoint}");
        });
        ended
    });
    assert_eq!(missed(&ended), Vec::<&str>::new(), "never reached");
}

/// What a kill leaves behind is counted once: neither lost nor twice.
#[test]
fn a_killed_backfill_counts_exactly() {
    let mut cases: Vec<String> =
        ["backfill-checkpointed", "backfill-letter-buried", "backfill-letter-buried:2"].map(str::to_owned).to_vec();
    // Chunks of each range, the first to the last.
    cases.extend([1, 2, 5, 8].map(|n| format!("backfill-chunk-applied:{n}")));
    let ended = each(cases, |failpoint| {
        let world = world_with_bad();
        let ended = run_child(&world.dir, Some(failpoint), What::Backfill);
        assert_eq!(run_child(&world.dir, None, What::Backfill), Ended::Well, "going on after {failpoint}");
        let journal = tokio::runtime::Runtime::new().unwrap();
        let entries = journal.block_on(async { entries(world.setup().await.journal.as_ref()).await });
        let Some(Event::BackfillFinished { totals, .. }) = world::last_event(&entries, "backfill-finished") else {
            panic!("{failpoint}: it never ended")
        };
        let records = RECORDS as u64;
        assert_eq!((totals.read, totals.changed, totals.dead), (records + 2, records, 2), "{failpoint}");
        ended
    });
    assert_eq!(missed(&ended), Vec::<String>::new(), "never reached");
}

/// The journal's end, for a test that fails.
fn last_entries(world: &World) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = runtime.block_on(async { entries(world.setup().await.journal.as_ref()).await });
    format!("{:#?}", entries.iter().rev().take(5).collect::<Vec<_>>())
}

/// Two processes, each stopped in turn for longer than its leases, wherever it
/// is: the other one takes over, and the stopped one must not act on when it wakes.
#[test]
fn two_processes_that_are_stopped_in_turn() {
    let mut rng = Rng::seeded("two_processes_that_are_stopped_in_turn");
    let world = World::new(RECORDS);
    world.source().execute("INSERT INTO users VALUES ('bad', ?1)", params![bad("bad")]).unwrap();
    let spawn = || {
        let mut child = Program::new(std::env::current_exe().unwrap());
        child.args(["child", "--exact", "--nocapture"]).env(DIR_ENV, &world.dir).env(PAIR_ENV, "1");
        child.env_remove(FAILPOINT_ENV).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut children = vec![spawn(), spawn()];
    let signal = |child: &std::process::Child, name: &str| {
        let _ = Program::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
    };
    let mut turn = 0;
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let stopped = &children[turn % 2];
        signal(stopped, "-STOP");
        std::thread::sleep(Duration::from_millis(450 + rng.below(200)));
        signal(stopped, "-CONT");
        std::thread::sleep(Duration::from_millis(rng.below(120)));
        turn += 1;
        assert!(turn < 600, "they never end: {}", last_entries(&world));
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    println!("{turn} times stopped");
    nothing_lost(&world, "stopped in turn");
}
