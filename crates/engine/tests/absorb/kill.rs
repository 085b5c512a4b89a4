//! The process dies at every failpoint of an absorb; the next one goes on, and
//! nothing is lost: not there, not on the way back.
//!
//! The child is this test binary itself, running `kill::child` with a directory
//! and a failpoint in its environment.
#![cfg(debug_assertions)]

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::records::{Edit, Shape};

use crate::child;
use crate::world::{Process, World, document, v1, v2};

const DIR_ENV: &str = "SHEARWATER_ABSORB_KILL_DIR";
const USERS: i64 = 6;

/// Every failpoint on an absorb's way, with how often it may be passed before.
const POINTS: &[(&str, u32)] = &[
    ("journal-before", 4),
    ("journal-after", 7),
    ("absorb-flag-added", 1),
    ("capture-source-installed", 1),
    ("capture-target-installed", 1),
    ("enter-acknowledged", 3),
    ("fence-one-set", 3),
    ("fences-set", 2),
    ("absorb-departed", 1),
    ("absorb-departed", 3),
    ("absorb-landed", 1),
    ("absorb-landed", 3),
    ("absorb-letter-buried", 1),
    ("absorb-cleared", 1),
    ("absorb-staged", 1),
    ("absorb-staged", 2),
    ("absorb-given-up", 1),
    ("absorb-given-up", 2),
    ("remove-source", 1),
    ("remove-target", 1),
    ("absorb-flag-removed", 1),
    ("request-begun", 2),
    ("request-performed", 3),
    ("request-finished", 3),
];

fn done(dir: &Path, what: &str) -> bool {
    std::fs::read_to_string(dir.join("done")).unwrap_or_default().lines().any(|line| line == what)
}

fn note(dir: &Path, what: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("done")).unwrap();
    writeln!(log, "{what}").unwrap();
}

/// Goes on from wherever it is, by way of a rollback, to complete.
async fn drive(world: &World) {
    let process = world.process("p").await;
    loop {
        while !process.setup.journal.open_requests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.until("settled", |state| state.entering.is_none() && state.phase != Phase::Rollback).await;
        let state = process.state().await;
        let is_back = done(&world.dir, "lazy");
        let command = match state.phase {
            Phase::Lazy if !is_back => {
                write(world, &process).await;
                note(&world.dir, "lazy");
                Command::Rollback
            }
            Phase::Lazy | Phase::Drain => {
                world.alice().execute("UPDATE people SET email = 'a1@alice.example' WHERE id = 'a1'", []).unwrap();
                for n in 1..=USERS {
                    let _ = process.write(Shape::V2, &v2(n), manager("m2")).await;
                }
                process.reconciled().await;
                let _ = process.ask(Command::RetryDeadLetters).await;
                if state.phase == Phase::Lazy { Command::Advance } else { Command::Complete }
            }
            Phase::Complete => return process.stop().await,
            _ => Command::Advance,
        };
        let _ = process.ask(command).await;
    }
}

fn manager(name: &str) -> Edit {
    Edit::MergePatch(document(&[("manager", name.into())]))
}

/// What clients and programs write before the rollback, acknowledged in a log.
async fn write(world: &World, process: &Process) {
    for n in 1..=4 {
        if !done(&world.dir, &format!("moved {n}")) && process.write(Shape::V2, &v2(n), manager("m1")).await.is_ok() {
            note(&world.dir, &format!("moved {n}"));
        }
    }
    let direct = "UPDATE people SET status = 'DIRECT' WHERE id = 'bob-2'";
    if world.alice().execute(direct, []).unwrap() == 1 {
        note(&world.dir, "direct");
    }
    let patch = Edit::MergePatch(document(&[("first", "Patched".into())]));
    if process.write(Shape::V1, &v1(3), patch).await.is_ok() {
        note(&world.dir, "patched");
    }
    // A program's own write of a row that has not moved: the reconciler clears its mark.
    world.bob().execute("UPDATE users SET vip = 5 WHERE id = 6", []).unwrap();
    process.reconciled().await;
    raced(world, process).await;
}

/// A landing that the target refuses, though the look before let it pass.
async fn raced(world: &World, process: &Process) {
    let carrier = process.served.carrier();
    let (source, state) = (process.setup.source().await.unwrap(), process.state().await);
    let Ok(row) = source.fetch(&v1(5)).await else { return };
    let held = process.setup.shapes.held(row.image.clone().unwrap());
    if held.home != shearwater_core::absorb::Home::Source {
        return;
    }
    let mut parted = process.setup.shapes.forward(&held.v1).unwrap();
    parted.v2.set("manager", "m1");
    let v1 = process.setup.shapes.reverse(&parted).unwrap();
    world.alice().execute("UPDATE people SET email = 'u5@bob.example' WHERE id = 'a1'", []).unwrap();
    let expect = shearwater_engine::absorb::carry::unchanged(&row);
    let _ = carrier.depart(state.epoch, &row, v1, expect, None).await;
    let _ = carrier.settle(state.epoch, &row.key).await;
    world.alice().execute("UPDATE people SET email = 'a1@alice.example' WHERE id = 'a1'", []).unwrap();
}

#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(DIR_ENV) else { return };
    drive(&World::at(Path::new(&dir))).await;
}

fn run(dir: &Path, failpoint: Option<&str>) -> bool {
    child::run("kill::child", &[(DIR_ENV, dir.as_os_str())], failpoint)
}

#[test]
fn killed_at_every_step_nothing_is_lost() {
    let mut died = 0;
    for (point, nth) in POINTS {
        let world = World::new(USERS).without_collisions();
        let survived = run(&world.dir, Some(&format!("{point}:{nth}")));
        died += u32::from(!survived);
        assert!(!survived, "{point}:{nth} was never reached");
        assert!(run(&world.dir, None), "{point}:{nth}: the next process does not get to the end");
        let people = world.people();
        assert_eq!(people.len(), 1 + USERS as usize, "{point}:{nth}: {people:?}");
        let person = |n: i64| people.iter().find(|row| row.starts_with(&format!("bob-{n}|"))).unwrap();
        if done(&world.dir, "direct") {
            assert!(person(2).ends_with("|DIRECT"), "{point}:{nth}: {}", person(2));
        }
        if done(&world.dir, "patched") {
            assert!(person(3).contains("|Patched L003|"), "{point}:{nth}: {}", person(3));
        }
        let bob = rusqlite_names(&world);
        assert!(bob.is_empty(), "{point}:{nth}: {bob:?} is left");
    }
    assert_eq!(died, POINTS.len() as u32);
}

/// What is left of ours in both files.
fn rusqlite_names(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    for connection in [world.bob(), world.alice()] {
        let mut statement = connection
            .prepare(
                "SELECT name FROM sqlite_schema WHERE name LIKE '\\_shearwater%' ESCAPE '\\' OR sql LIKE '%migrated%'",
            )
            .unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        left.extend(names.map(Result::unwrap));
    }
    left
}
