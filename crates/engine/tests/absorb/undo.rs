//! Deactivations undone: the list, the way back of one record while others
//! move, what is refused by its key, and processes that die on the way.

use std::time::Duration;

use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::{ListOrder, Phase};
use shearwater_engine::absorb::stragglers::{Round, Tried};
use shearwater_engine::absorb::undo::Since;
use shearwater_engine::records::{Edit, Shape};

use crate::collisions::MERGE;
use crate::world::{Process, World, rows, v1, v2};

const STRAGGLERS: &str = "[stragglers]\nactivity = \"last_login\"\ndeactivate_after_days = 180\n\
                          deactivate = { status = \"DEACTIVATED\", manager = \"nobody\" }\n";

fn world(users: i64, more: &str) -> World {
    World::new(users).without_collisions().with(&format!("{STRAGGLERS}{more}"))
}

pub async fn deactivated(process: &Process, records: u64) {
    for _ in 0..4_000 {
        if process.served.carrier().counts().await.unwrap().moved == records {
            return process.reconciled().await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never deactivated: {:?}", process.served.carrier().counts().await);
}

fn undo(keys: &[&str]) -> Command {
    Command::UndoDeactivations { keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()) }
}

pub const ALL: Command = Command::UndoDeactivations { keys: None };

/// How many came back, were back, and stay; and the keys that are named.
pub fn told(report: &serde_json::Value) -> (u64, u64, u64, String) {
    let number = |name: &str| report[name].as_u64().unwrap();
    let keys = format!("{} {}", report["changed_keys"], report["unlisted"]);
    (number("undone"), number("already"), number("changed"), keys)
}

async fn since(process: &Process, key: &str) -> Since {
    let carrier = process.served.carrier();
    let listed = carrier.listed(Some(&[key.to_owned()])).await.unwrap();
    carrier.since(&process.state().await, key, &listed[key]).await.unwrap()
}

#[tokio::test]
async fn undone_they_are_as_before_and_spared() {
    let world = world(8, "");
    let before = (world.bobs(), world.people());
    let process = world.in_phase(Phase::Drain).await;
    deactivated(&process, 6).await;
    assert_eq!(since(&process, "1").await, Since::Deactivated);
    assert_eq!(told(&process.done(undo(&["1", "3"])).await), (2, 0, 0, "[] []".into()));
    assert_eq!(process.field(Shape::V2, &v2(1), "manager").await, Value::Null);
    assert_eq!(since(&process, "1").await, Since::InSource);
    // Again, and one that never was on the list: named, and nothing else happens.
    let epoch = process.state().await.epoch;
    assert_eq!(told(&process.done(undo(&["4"])).await), (0, 0, 0, "[] [\"4\"]".into()));
    assert_eq!(process.state().await.epoch, epoch);
    assert_eq!(told(&process.done(undo(&["1", "4"])).await), (0, 1, 0, "[] [\"4\"]".into()));
    assert_eq!(told(&process.done(ALL).await), (4, 2, 0, "[] []".into()));
    assert_eq!((world.bobs(), world.people()), before);
    let state = process.state().await;
    assert!(!state.undoing && state.list_order() == ListOrder::SourceFirst);
    let round = process.served.carrier().deactivate(&state, &mut Tried::default()).await.unwrap();
    assert_eq!(round, Round::default(), "whoever undid it did not want it");
    // They move as any other.
    process.give_manager(1, "m").await;
    assert_eq!(since(&process, "1").await, Since::Changed);
    process.stop().await;
}

#[tokio::test]
async fn what_somebody_has_changed_since_is_refused_by_its_key() {
    let world = world(8, "");
    let process = world.in_phase(Phase::Drain).await;
    deactivated(&process, 6).await;
    // A manager of its own; deleted; written otherwise, which goes along; moved by an update after it was undone.
    world.alice().execute("UPDATE people SET manager = 'Mary' WHERE id = 'bob-1'", []).unwrap();
    process.write(Shape::V1, &v1(2), Edit::Delete).await.unwrap();
    process.patch(Shape::V1, &v1(3), &[("first", "Since".into())]).await;
    process.done(undo(&["5"])).await;
    let again = [("manager", "nobody".into()), ("status", "DEACTIVATED".into())];
    process.patch(Shape::V2, &v2(5), &again).await;
    let people = world.people();
    assert_eq!(told(&process.done(ALL).await), (3, 0, 3, "[\"1\",\"2\",\"5\"] []".into()));
    let stay: Vec<&String> = people.iter().filter(|row| !["bob-3|", "bob-6|", "bob-7|"].contains(&&row[..6])).collect();
    assert_eq!(world.people().iter().collect::<Vec<_>>(), stay);
    assert!(world.bobs()[2].starts_with("3|u3@bob.example|Since|L003"));
    process.stop().await;
}

#[tokio::test]
async fn after_a_rollback_what_was_set_goes_and_what_was_before_comes() {
    let world = world(4, "");
    let process = world.in_phase(Phase::Prepare).await;
    process.patch(Shape::V2, &v2(1), &[("status", "KEPT".into())]).await;
    process.forward_to(Phase::Drain).await;
    let there_and_back = async || {
        deactivated(&process, 3).await;
        process.back().await;
        assert_eq!(process.field(Shape::V2, &v2(1), "status").await, "DEACTIVATED".into());
    };
    there_and_back().await;
    // Forward again they are deactivated again: before that they had what had been set.
    process.forward_to(Phase::Drain).await;
    process.served.carrier().deactivate(&process.state().await, &mut Tried::default()).await.unwrap();
    there_and_back().await;
    assert_eq!(told(&process.done(undo(&["1"])).await), (1, 0, 0, "[] []".into()));
    assert_eq!(process.field(Shape::V2, &v2(1), "status").await, "KEPT".into());
    assert_eq!(process.field(Shape::V2, &v2(1), "manager").await, Value::Null);
    assert_eq!(told(&process.done(ALL).await), (2, 1, 0, "[] []".into()));
    assert_eq!(process.field(Shape::V2, &v2(2), "status").await, Value::Null);
    process.done(Command::Rollback).await;
    process.until("planned", |state| state.phase == Phase::Planned && !state.prepared).await;
    process.refused(ALL, "phase/not-possible").await;
    assert_eq!(since(&process, "1").await, Since::Past);
    process.stop().await;
}

#[tokio::test]
async fn one_that_was_merged_when_it_was_deactivated_parts_again() {
    let world = World::new(4).with(&format!("{STRAGGLERS}{MERGE}"));
    world.alice().execute_batch("DELETE FROM people WHERE id = 'a2'").unwrap();
    let before = (world.bobs(), world.people());
    let process = world.in_phase(Phase::Drain).await;
    deactivated(&process, 3).await;
    assert!(world.people().contains(&"bob-3|a3@alice.example|F3 L003|boss|DEACTIVATED".to_owned()));
    assert_eq!(since(&process, "3").await, Since::Deactivated);
    assert_eq!(told(&process.done(ALL).await), (3, 0, 0, "[] []".into()));
    assert_eq!((world.bobs(), world.people()), before);
    assert_eq!(process.field(Shape::V2, &v2(3), "manager").await, Value::Null);
    process.stop().await;
}

#[tokio::test]
async fn a_list_misses_none_that_goes_back_while_it_is_read() {
    let world = world(24, "");
    let process = world.in_phase(Phase::Drain).await;
    deactivated(&process, 18).await;
    let walking = async {
        let mut walks = 0;
        while walks < 4_000 && process.served.carrier().counts().await.unwrap().moved > 0 {
            assert_eq!(process.all(Shape::V2).await.len(), 24);
            assert_eq!(process.all(Shape::V1).await.len(), 24);
            walks += 1;
        }
        walks
    };
    let (report, walks) = tokio::join!(process.done(ALL), walking);
    assert!(walks > 0 && told(&report).0 == 18, "{walks} {report}");
    process.stop().await;
}

#[tokio::test]
async fn without_an_activity_another_field_judges() {
    let mut world = world(8, "without_activity = { since = \"created\" }\n");
    let spec = world.spec().replace("last_login = \"instant\"", "last_login = \"instant\"\ncreated = \"instant\"");
    world.whole = Some(spec);
    world
        .bob()
        .execute_batch(
            "ALTER TABLE users ADD COLUMN created TEXT; UPDATE users SET created = '2999-01-01T00:00:00Z'; \
             UPDATE users SET created = '2019-01-01T00:00:00Z' WHERE id = 8",
        )
        .unwrap();
    let process = world.in_phase(Phase::Drain).await;
    // 4 and 8 never logged in, and 8 was created long ago.
    deactivated(&process, 7).await;
    let left = rows(&world.bob(), "SELECT id FROM users WHERE NOT migrated");
    assert_eq!(left, ["4"]);
    process.stop().await;
}

#[tokio::test]
async fn those_that_are_refused_do_not_stand_in_the_others_way() {
    let world = world(8, "per_day_max = 4\n");
    // The longest inactive have values that Alice's have.
    for n in [1, 2, 3] {
        let sql = format!("INSERT INTO people VALUES ('x{n}', 'u{n}@bob.example', 'X', 'boss', NULL)");
        world.alice().execute(&sql, []).unwrap();
    }
    let process = world.in_phase(Phase::Drain).await;
    deactivated(&process, 1).await;
    assert_eq!(process.served.carrier().today().await.unwrap(), ["1", "2", "3", "5"]);
    let letters = process.setup.journal.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.key.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
    // Another process tries them again; the day's most stands.
    let round = process.served.carrier().deactivate(&process.state().await, &mut Tried::default()).await.unwrap();
    assert_eq!(round, Round::default());
    process.stop().await;
}

#[cfg(debug_assertions)]
mod kill {
    //! The child is this test binary itself, running `undo::kill::child`.

    use std::path::Path;

    use super::*;
    use crate::child;

    const DIR_ENV: &str = "SHEARWATER_UNDO_KILL_DIR";

    const POINTS: &[(&str, u32)] = &[
        ("absorb-deactivation-noted", 1),
        ("absorb-departed", 2),
        ("absorb-landed", 2),
        ("absorb-spared", 1),
        ("absorb-undoing", 1),
        ("fence-one-set", 7),
        ("absorb-staged", 1),
        ("absorb-given-up", 2),
        ("absorb-undone", 2),
        ("request-performed", 4),
        ("request-finished", 4),
    ];

    #[tokio::test]
    async fn child() {
        let Ok(dir) = std::env::var(DIR_ENV) else { return };
        let world = World::at(Path::new(&dir)).with(STRAGGLERS);
        let process = world.process("p").await;
        for _ in 0..4_000 {
            if process.setup.journal.open_requests().await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.forward_to(Phase::Drain).await;
        // All are deactivated, or have been and are being undone.
        let carrier = process.served.carrier();
        for _ in 0..4_000 {
            if carrier.listed(None).await.unwrap().len() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if carrier.counts().await.unwrap().moved > 0 {
            process.reconciled().await;
        }
        process.done(ALL).await;
        assert!(!process.state().await.undoing);
        process.stop().await;
    }

    fn run(dir: &Path, failpoint: Option<&str>) -> bool {
        child::run("undo::kill::child", &[(DIR_ENV, dir.as_os_str())], failpoint)
    }

    #[test]
    fn killed_at_every_step_all_are_as_before() {
        for (point, nth) in POINTS {
            let world = world(4, "");
            let before = (world.bobs(), world.people());
            assert!(!run(&world.dir, Some(&format!("{point}:{nth}"))), "{point}:{nth} was never reached");
            assert!(run(&world.dir, None), "{point}:{nth}: the next process does not get to the end");
            assert_eq!((world.bobs(), world.people()), before, "{point}:{nth}");
            assert_eq!(
                rows(&world.bob(), "SELECT id FROM users WHERE migrated"),
                Vec::<String>::new(),
                "{point}:{nth}"
            );
        }
    }

    #[test]
    fn one_that_was_written_while_its_way_back_was_cut_stays() {
        let world = world(4, "");
        assert!(!run(&world.dir, Some("absorb-staged:1")), "it dies with the first record on its way back");
        world.alice().execute("UPDATE people SET manager = 'Mary' WHERE id = 'bob-1'", []).unwrap();
        assert!(run(&world.dir, None));
        assert_eq!(
            world.people(),
            ["a1|a1@alice.example|Own 1|boss|ACTIVE", "bob-1|u1@bob.example|F1 L001|Mary|DEACTIVATED"]
        );
        assert_eq!(rows(&world.bob(), "SELECT id FROM users WHERE migrated"), ["1"]);
    }
}
