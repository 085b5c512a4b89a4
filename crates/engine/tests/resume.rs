//! Several processes, clients that write all the time, members and
//! coordinators that stop, are stopped, and come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::params;
use shearwater_core::journal::{Command, Event, Journal};
use shearwater_core::lifecycle::{Phase, State};
use shearwater_core::store::Side;
use shearwater_core::value::json;
use shearwater_core::{Document, Key};
use shearwater_engine::ledger::{Halt, Lease, Ledger};
use shearwater_engine::records::{ClientChange, Condition, Edit, Records, RecordsOptions, ServeError, Shape};
use shearwater_testbed::{Options, Postgres};
use tokio::task::JoinHandle;
use world::{Process, Rng, World, assert_equal, document, entries, events, records};

fn doc(key: &str, n: i64) -> Document {
    json::parse_document(document(key, n).as_bytes()).unwrap()
}

/// One client with keys of its own: what it was told must be what it reads.
async fn client(records: Arc<Records>, name: usize, stop: Arc<AtomicBool>) -> BTreeMap<String, Option<i64>> {
    let mut rng = Rng::seeded(&format!("client {name}"));
    let mut told: BTreeMap<String, Option<i64>> = BTreeMap::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let text = format!("c{name}-{}", rng.below(12));
        let key = Key::single(text.as_str());
        let held = told.get(&text).copied().flatten();
        if rng.below(3) == 0 {
            let got = match records.get(Shape::V1, &key).await {
                Ok(got) => got,
                Err(ServeError::Unavailable { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            let age = got.map(|got| got.record.get("age").cloned().unwrap());
            assert_eq!(age, held.map(shearwater_core::Value::Int), "{text} is read as it was acknowledged");
            continue;
        }
        let edit = match held {
            Some(_) if rng.below(4) == 0 => Edit::Delete,
            _ => Edit::Replace(doc(&text, n)),
        };
        let wanted = if edit == Edit::Delete { None } else { Some(n) };
        let change = ClientChange { key, edit, condition: Condition::None };
        loop {
            match records.write(Shape::V1, vec![change.clone()], None).await {
                Ok(_) => break,
                Err(ServeError::NotFound) if wanted.is_none() => break,
                Err(ServeError::Unavailable { .. } | ServeError::OutcomeUnknown | ServeError::Contended) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => panic!("{text}: {error}"),
            }
        }
        told.insert(text, wanted);
    }
    told
}

/// Clients of two processes, each with keys of its own.
struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<BTreeMap<String, Option<i64>>>>,
}

impl Crowd {
    fn of(processes: [&Process; 3]) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let join = |(name, process): (usize, &Process)| {
            let options = RecordsOptions { hold_ms_max: 10_000, ..RecordsOptions::default() };
            let records = Arc::new(Records::new(process.setup.clone(), process.member.clone(), options));
            tokio::spawn(client(records, name, stop.clone()))
        };
        Crowd { clients: processes.into_iter().enumerate().map(join).collect(), stop: stop.clone() }
    }

    /// Ends the clients in the reverse window; both stores must hold what they
    /// were told last.
    async fn leave(self, a: &Process) {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = BTreeMap::new();
        for client in self.clients {
            told.extend(client.await.unwrap());
        }
        a.followed(Side::Target).await;
        assert_equal(&a.setup, "under clients").await;
        let source = records(a.setup.source.as_ref()).await;
        for (key, n) in told {
            let age = source.get(&key).map(|image| image.record.get("age").cloned().unwrap());
            assert_eq!(age, n.map(shearwater_core::Value::Int), "{key} as acknowledged last");
        }
    }
}

async fn two_processes_and_clients(world: World) {
    let (a, b) = (world.process("a").await, world.process("b").await);
    let crowd = Crowd::of([&a, &b, &a]);
    a.forward_to(Phase::ReverseWindow).await;
    b.done(Command::Rollback).await;
    b.done(Command::Rollback).await;
    b.forward_to(Phase::ReverseWindow).await;
    crowd.leave(&a).await;
    a.done(Command::Complete).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_and_clients_all_the_way() {
    two_processes_and_clients(World::new(150)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_share_a_journal_on_a_server() {
    let journal = shearwater_testbed::postgres().database("journal");
    two_processes_and_clients(World::new(150).with_journal(journal)).await;
}

/// The server of the journal is killed whenever the journal has grown by a few
/// entries, so in the middle of every kind of step, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journals_server_dies_again_and_again_and_the_migration_goes_on() {
    let server = Arc::new(Postgres::start(Options::new()));
    let world = World::new(150).with_journal(server.database("journal"));
    let (a, b) = (world.process("a").await, world.process("b").await);
    let crowd = Crowd::of([&a, &b, &a]);
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill_between(server.clone(), a.setup.journal.clone(), done.clone()));
    a.forward_to(Phase::ReverseWindow).await;
    b.done(Command::Rollback).await;
    b.forward_to(Phase::ReverseWindow).await;
    done.store(true, Ordering::Relaxed);
    let kills = killer.await.unwrap();
    assert!(kills >= 2, "the server was killed {kills} times");
    crowd.leave(&a).await;
    a.done(Command::Complete).await;
    a.stop().await;
    b.stop().await;
}

/// Kills and restarts the server after each nine entries; answers how often.
async fn kill_between(server: Arc<Postgres>, journal: Arc<dyn Journal>, done: Arc<AtomicBool>) -> u32 {
    let (mut kills, mut at) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        if journal.last_seq().await.is_ok_and(|last| last >= at + 9) {
            let server = server.clone();
            tokio::task::spawn_blocking(move || {
                server.kill();
                server.start_again();
            })
            .await
            .unwrap();
            kills += 1;
            at = journal.last_seq().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_process_goes_on_when_the_coordinator_stops() {
    let world = World::new(80);
    let a = world.process("a").await;
    a.done(Command::Advance).await;
    let b = world.process("b").await;
    let holder = |entries: &[shearwater_core::journal::Entry]| entries.last().unwrap().actor.clone();
    let before = holder(&entries(a.setup.journal.as_ref()).await);
    a.stop().await;
    b.forward_to(Phase::ShadowRead).await;
    let after = holder(&entries(b.setup.journal.as_ref()).await);
    assert_ne!(before, after);
    assert_equal(&b.setup, "taken over").await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_whose_lease_has_ended_cannot_append() {
    let world = World::new(0);
    let setup = world.setup().await;
    let ttl = Duration::from_millis(40);
    let lease = |name: &str| Arc::new(Lease::new(setup.journal.clone(), "coordinator", name.into(), ttl));
    let (sleepy, awake) = (lease("sleepy"), lease("awake"));
    assert!(sleepy.take().await.unwrap());
    assert!(!awake.take().await.unwrap(), "one at a time");
    let ledger: Ledger = Ledger::load(setup.journal.clone(), sleepy.clone()).await.unwrap();
    while !awake.take().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(ledger.append(Event::Capturing).await, Err(Halt::Lost)), "it knows by its own clock");
    // Even with a lease that it believes in, somebody else's entry is in its way.
    let theirs: Ledger = Ledger::load(setup.journal.clone(), awake.clone()).await.unwrap();
    theirs.append(Event::Capturing).await.unwrap();
    awake.release().await.unwrap();
    assert!(sleepy.take().await.unwrap());
    assert!(matches!(ledger.append(Event::Capturing).await, Err(Halt::Lost)), "the journal has moved on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_waited_for_until_its_lease_ends() {
    let world = World::new(10);
    let process = world.process("p").await;
    process.setup.journal.renew("silent", 1, 700).await.unwrap();
    let asked = process.setup.journal.ask(Command::Advance).await.unwrap();
    process.until("entering", |s| s.entering == Some(Phase::DualWrite)).await;
    let members = process.setup.journal.members().await.unwrap();
    assert!(members.iter().any(|m| m.id == "silent"), "still counted while it is waited for");
    let fence = process.setup.source.fence().await.unwrap().unwrap();
    assert_eq!(fence.epoch, 1, "no fence is raised before everybody follows");
    process.until("entered", |s| s.phase == Phase::DualWrite).await;
    let members = process.setup.journal.members().await.unwrap();
    assert!(!members.iter().any(|m| m.id == "silent"), "entered only after its lease has ended");
    while process.setup.journal.request(asked).await.unwrap().unwrap().outcome.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.stop().await;
}

/// Direct writers of the source all the time, processes that come and go, and
/// every way forward and back by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_walk_under_direct_writers_ends_equal() {
    let world = World::new(100);
    let mut rng = Rng::seeded("any_walk_under_direct_writers_ends_equal");
    let mut process = world.process("p0").await;
    let source = world.source();
    for step in 0..24 {
        for _ in 0..rng.below(6) {
            let key = format!("u{:05}", rng.below(120));
            let sql = "INSERT INTO users VALUES (?1, ?2) ON CONFLICT (_id) DO UPDATE SET doc = excluded.doc";
            // Refused by the fence while the target is the authority.
            let _ = match rng.below(4) {
                0 => source.execute("DELETE FROM users WHERE _id = ?1", params![key]),
                _ => source.execute(sql, params![key, document(&key, rng.below(1 << 40) as i64)]),
            };
        }
        let command = match rng.below(9) {
            0 | 1 => Command::Rollback,
            2 => Command::Backfill,
            3 => Command::Repair { dry_run: false },
            4 => Command::Ramp { percent: 100 },
            _ => Command::Advance,
        };
        if command == Command::Advance {
            let _ = process.ask(Command::Verify).await;
        }
        let shown = format!("{command:?}");
        if let Err(refusal) = process.ask(command).await {
            let known = ["gate/", "phase/", "busy/"].iter().any(|code| refusal.code.starts_with(code));
            assert!(known, "step {step} {shown}: {} {refusal}", refusal.code);
        }
        if rng.below(5) == 0 {
            process.stop().await;
            process = world.process(&format!("p{step}")).await;
        }
    }
    if process.state().await.phase == Phase::Planned {
        process.done(Command::Advance).await;
    }
    if process.state().await.authority() == Some(Side::Source) {
        process.backfilled().await;
    }
    let state: State = process.state().await;
    process.followed(state.authority().unwrap()).await;
    let names = events(&entries(process.setup.journal.as_ref()).await);
    assert_equal(&process.setup, &format!("{names:?}")).await;
    process.stop().await;
}
