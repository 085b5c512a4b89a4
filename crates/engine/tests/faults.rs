//! Stores that fail, hang and go away under the coordinator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::{BackfillState, Phase, Status};
use shearwater_core::store::{Load, Role, Side};
use shearwater_stores::faults::{Call, Cue, Faulty, When};
use world::{Process, Rng, World, assert_equal, document, entries, events};

/// A process whose stores fail on cue.
async fn on_cue(world: &World) -> (Process, Arc<Faulty>, Arc<Faulty>) {
    let setup = world.setup().await;
    let (source, target) = (Faulty::around(setup.source.clone()), Faulty::around(setup.target.clone()));
    let setup = shearwater_engine::Setup { source: source.clone(), target: target.clone(), ..setup };
    (Process::over(setup, "p").await, source, target)
}

fn insert(world: &World, key: &str) {
    let doc = document(key, 1);
    world.source().execute("INSERT INTO users VALUES (?1, ?2)", params![key, doc]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_out_of_budget_gives_up_and_the_source_takes_writes_again() {
    let mut world = World::new(20);
    world.gates = "[gates]\npause_ms_max = 250\n".into();
    let (process, source, _) = on_cue(&world).await;
    process.forward_to(Phase::ReadRamp).await;
    process.done(Command::Ramp { percent: 100 }).await;
    let epoch = process.state().await.epoch;

    // The fence is closed, and then the drain hangs.
    let before = source.calls(Call::SetFence);
    let (hang, held) = Cue::hold(Call::SetFence, When::After);
    source.cue(hang.after(1));
    process.refused(Command::Advance, "switch/budget").await;
    assert!(source.calls(Call::SetFence) >= before + 3, "measured, closed, opened again");
    held.reached().await;
    held.release();
    let state = process.state().await;
    assert_eq!((state.phase, state.epoch), (Phase::ReadRamp, epoch + 2));
    let fence = process.setup.source.fence().await.unwrap().unwrap();
    assert_eq!((fence.role, fence.epoch), (Role::Authority, epoch + 2));
    insert(&world, "after-the-abort");
    process.followed(Side::Source).await;

    let names = events(&entries(process.setup.journal.as_ref()).await);
    assert!(names.ends_with(&["switch-began", "switch-aborted"]), "{names:?}");
    process.done(Command::Advance).await;
    assert_eq!(process.state().await.phase, Phase::ReverseWindow);
    assert_equal(&process.setup, "the second try").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_predicted_pause_above_the_budget_is_refused_before_anything_is_held() {
    let mut world = World::new(5);
    world.gates = "[gates]\npause_ms_max = 250\n".into();
    let (process, source, _) = on_cue(&world).await;
    process.forward_to(Phase::ReadRamp).await;
    process.done(Command::Ramp { percent: 100 }).await;
    source.cue(Cue {
        fault: shearwater_stores::faults::Fault::Delay(Duration::from_millis(120)),
        ..Cue::fail(Call::SetFence, When::Before, StoreErrorKind::Unavailable)
    });
    process.refused(Command::Advance, "gate/pause").await;
    let names = events(&entries(process.setup.journal.as_ref()).await);
    assert!(!names.contains(&"switch-began"), "{names:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_is_open_while_the_target_is_away() {
    let world = World::new(400);
    let (process, _, target) = on_cue(&world).await;
    process.done(Command::Advance).await;
    target.cut_after(0);
    insert(&world, "while-away");
    process.done(Command::Rollback).await;
    assert_eq!(process.state().await.phase, Phase::Planned);
    insert(&world, "in-planned");
    target.heal();
    process.done(Command::Advance).await;
    process.backfilled().await;
    process.followed(Side::Source).await;
    assert_equal(&process.setup, "forward again").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_outlasts_a_store_that_comes_and_goes() {
    let world = World::new(300);
    let (process, source, target) = on_cue(&world).await;
    // It is away when the run begins, and when chunks are written and read.
    target.fail(Call::Checkpoints, When::Before, StoreErrorKind::Unavailable);
    for n in 0..3 {
        target.cue(Cue::fail(Call::Apply, When::Before, StoreErrorKind::Unavailable).after(n));
        target.cue(Cue::fail(Call::Apply, When::After, StoreErrorKind::OutcomeUnknown).after(n + 1));
        source.cue(Cue::fail(Call::Scan, When::After, StoreErrorKind::Unavailable).after(n));
    }
    process.done(Command::Advance).await;
    process.backfilled().await;
    let BackfillState::Done { totals, .. } = process.state().await.backfill else { unreachable!() };
    assert_eq!((totals.read, totals.dead), (300, 0));
    assert_equal(&process.setup, "in the end").await;
    process.stop().await;
}

/// Waits until the backfill says that it rests, for this reason.
async fn rests(process: &Process, why: &str) {
    for _ in 0..1_000 {
        let note = process.setup.journal.note("progress").await.unwrap().unwrap_or_default();
        let shown: serde_json::Value = serde_json::from_str(&note).unwrap_or_default();
        if shown["rests"].as_str().is_some_and(|rests| rests.contains(why)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the backfill never rested because {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_rests_while_a_store_says_that_it_weighs_too_much_or_does_not_say() {
    let world = World::new(300);
    let (process, source, target) = on_cue(&world).await;
    let busy = Load { lock_waits: 9, replica_lag_ms: 0 };
    target.claim_load(Ok(busy));
    process.done(Command::Advance).await;
    rests(&process, "target: 9 sessions wait for our locks").await;
    assert_eq!(target.calls(Call::Apply), 0, "nothing was written");
    // A signal that cannot be read is no reason to go on.
    source.claim_load(Err(StoreError::new(StoreErrorKind::Denied, "no privilege to look")));
    rests(&process, "source: its load cannot be read: no privilege to look").await;
    target.claim_load(Ok(Load { lock_waits: 0, replica_lag_ms: 60_000 }));
    source.claim_load(Ok(Load::default()));
    rests(&process, "target: a replica is 60000 ms behind").await;
    assert!(matches!(process.state().await.backfill, BackfillState::Running { .. }));
    target.claim_load(Ok(Load::default()));
    process.backfilled().await;
    assert_equal(&process.setup, "after the rest").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_cannot_go_on_says_so_and_waits_for_somebody() {
    let world = World::new(30);
    let (process, _, target) = on_cue(&world).await;
    target.cue(Cue::fail(Call::Apply, When::Before, StoreErrorKind::Full).always());
    process.done(Command::Advance).await;
    let state = process.until("failed", |s| matches!(s.status, Status::Failed { .. })).await;
    assert!(matches!(state.backfill, BackfillState::Running { .. }), "where it was is not forgotten");
    target.heal();
    process.done(Command::Resume).await;
    process.backfilled().await;
    assert_equal(&process.setup, "resumed").await;
    process.stop().await;
}

/// Each kind of call fails once, before and after the store did its part,
/// on the whole way there and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_fails_once_on_the_way() {
    const CALLS: &[Call] = &[
        Call::FetchMany,
        Call::Split,
        Call::Scan,
        Call::Estimate,
        Call::Apply,
        Call::Checkpoints,
        Call::Provision,
        Call::Constrain,
        Call::Install,
        Call::Remove,
        Call::Fence,
        Call::SetFence,
        Call::Dirty,
        Call::DirtyCount,
        Call::Clear,
    ];
    let mut rng = Rng::seeded("each_call_fails_once_on_the_way");
    let world = World::new(40);
    let (process, source, target) = on_cue(&world).await;
    for call in CALLS {
        for store in [&source, &target] {
            store.cue(Cue::fail(*call, When::Before, StoreErrorKind::Unavailable).after(rng.below(4)));
            store.cue(Cue::fail(*call, When::After, StoreErrorKind::OutcomeUnknown).after(rng.below(8)));
        }
    }
    let mut writes = 0;
    let mut asked = 0;
    loop {
        asked += 1;
        assert!(asked < 300, "it never ends: {:?}", events(&entries(process.setup.journal.as_ref()).await));
        let state = process.until("settled", |s| s.entering.is_none() && s.switch.is_none()).await;
        writes += 1;
        let _ = world.source().execute(
            "INSERT INTO users VALUES (?1, ?2)",
            params![format!("w{writes}"), document(&format!("w{writes}"), 2)],
        );
        let command = match (state.phase, &state.backfill) {
            (Phase::DualWrite, BackfillState::Running { .. } | BackfillState::NotRun) => Command::Resume,
            (Phase::DualWrite, _) if state.verified.is_none() => Command::Verify,
            (Phase::ReadRamp, _) if state.ramp_percent < 100 => Command::Ramp { percent: 100 },
            (Phase::ReverseWindow, _) if !state.rolled_back => Command::Rollback,
            (Phase::ReverseWindow, _) => break,
            _ => Command::Advance,
        };
        let _ = process.ask(command).await;
    }
    source.heal();
    target.heal();
    process.followed(Side::Target).await;
    assert_equal(&process.setup, "in spite of all").await;
    process.done(Command::Complete).await;
    process.stop().await;
}

/// H5c: what is written just before the fence closes is drained before the
/// other store opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5c_the_last_write_before_the_fence_is_drained() {
    let world = World::new(10);
    let (process, source, target) = on_cue(&world).await;
    process.forward_to(Phase::ReadRamp).await;
    process.done(Command::Ramp { percent: 100 }).await;
    let (close, held) = Cue::hold(Call::SetFence, When::Before);
    source.cue(close.after(1));
    let asked = process.setup.journal.ask(Command::Advance).await.unwrap();
    held.reached().await;
    insert(&world, "the-last");
    held.release();
    while process.setup.journal.request(asked).await.unwrap().unwrap().outcome.is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let outcome = process.setup.journal.request(asked).await.unwrap().unwrap().outcome.unwrap().unwrap();
    assert_eq!(outcome["drained"], 1, "{outcome}");
    assert_eq!(process.setup.source.dirty_count().await.unwrap(), 0);
    assert!(target.calls(Call::Apply) > 0);
    assert_equal(&process.setup, "with the last write").await;
    process.stop().await;
}
