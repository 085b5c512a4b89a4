//! Bulk updates and the deactivation of records that nobody updates.

use shearwater_core::Value;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::stragglers::{Round, Tried};
use shearwater_engine::absorb::{Bulk, Carrier, Flagged, Line, Setup};
use shearwater_engine::records::Shape;

use crate::world::{World, document, v1, v2};

const STRAGGLERS: &str = "[stragglers]\nactivity = \"last_login\"\ndeactivate_after_days = 180\n\
                          deactivate = { status = \"DEACTIVATED\", manager = \"nobody\" }\nper_day_max = 5\n";

#[tokio::test]
async fn a_bulk_update_is_idempotent_and_keeps_bad_lines_apart() {
    let world = World::new(6);
    let process = world.in_phase(Phase::Drain).await;
    let state = process.state().await;
    let line = |shape, key, fields| Line { key, shape, fields: document(fields) };
    let lines = [
        line(Shape::V1, v1(1), &[("manager", "m1".into())]),
        line(Shape::V2, v2(4), &[("manager", "m2".into()), ("name", "New Name".into())]),
        line(Shape::V1, v1(2), &[("manager", "m1".into())]),
        line(Shape::V1, v1(99), &[("manager", "m1".into())]),
        line(Shape::V1, v1(5), &[("status", "x".into())]),
    ];
    let run = async |mode| {
        let bulk = Bulk { carrier: process.served.carrier(), mode, only: Filter::All };
        let mut words = Vec::new();
        for line in &lines {
            words.push(match bulk.line(&state, line).await {
                Moved::Failed(error) => format!("{error}"),
                moved => format!("{moved:?}"),
            });
        }
        words
    };
    let taken = "email: a record of the target has the same email";
    let missing = "no record has this key";
    let dry = run(Mode::DryRun).await;
    assert_eq!(dry, ["Yes", "Yes", taken, missing, "Lacks([\"manager\"])"]);
    assert_eq!(world.people().len(), 3, "a dry run does nothing");
    assert_eq!(run(Mode::Apply).await, dry);
    assert!(world.people().contains(&"bob-4|u4@bob.example|New Name|m2|-".to_owned()));
    assert_eq!(run(Mode::Apply).await, ["Already", "Already", taken, missing, "Lacks([\"manager\"])"]);
    process.stop().await;
}

#[tokio::test]
async fn a_bulk_update_by_rule_moves_what_matches() {
    let world = World::new(10).without_collisions();
    let process = world.in_phase(Phase::Drain).await;
    let only =
        Filter::Compare { path: Path::field("name"), op: CompareOp::Lt, literal: Literal::Typed(Value::text("F2")) };
    let bulk = Bulk { carrier: process.served.carrier(), mode: Mode::Apply, only };
    let state = process.state().await;
    let (mut after, mut moved) = (None, 0);
    loop {
        let keys = bulk.next_unmoved(after).await.unwrap();
        let Some(last) = keys.last().cloned() else { break };
        for key in keys {
            let line = Line { key, shape: Shape::V1, fields: document(&[("manager", "m".into())]) };
            moved += usize::from(bulk.line(&state, &line).await == Moved::Yes);
        }
        after = Some(last);
    }
    assert_eq!(moved, 4, "F0 and F1, two of five names");
    assert_eq!(process.served.carrier().counts().await.unwrap().remaining, 6);
    process.stop().await;
}

#[tokio::test]
async fn stragglers_are_deactivated_so_many_a_day() {
    let world = World::new(20).without_collisions().with(STRAGGLERS);
    let process = world.in_phase(Phase::Lazy).await;
    let preview = process.served.carrier().preview().await.unwrap();
    assert_eq!((preview.next.len(), preview.left_today), (5, 5));
    assert_eq!(process.served.carrier().counts().await.unwrap().moved, 0, "not before drain");
    process.forward_to(Phase::Drain).await;
    for _ in 0..2_000 {
        if process.served.carrier().counts().await.unwrap().moved == 5 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // One that never logged in says nothing about its activity: it stays.
    let deactivated: Vec<String> =
        world.people().into_iter().filter(|row| row.ends_with("|nobody|DEACTIVATED")).collect();
    assert_eq!(deactivated.len(), 5);
    assert_eq!(process.served.carrier().today().await.unwrap(), preview.next, "the list by which it can be undone");
    assert_eq!(process.served.carrier().preview().await.unwrap().left_today, 0);
    process.stop().await;
}

/// A process that takes itself for the leader has counted what the day allows;
/// then the whole round of another comes, which sets others down for the day.
#[tokio::test]
async fn the_days_most_holds_when_two_rounds_overlap() {
    let world = World::new(24).without_collisions().with(STRAGGLERS);
    let process = world.in_phase(Phase::Lazy).await;
    let (setup, state) = (process.setup.clone(), process.state().await);
    let (other, now) = (process.served.carrier().clone(), state.clone());
    // The source is opened after the count, and before the records are chosen.
    let flagged = Flagged::by(move || {
        let (other, now) = (other.clone(), now.clone());
        Box::pin(async move {
            let round = other.deactivate(&now, &mut Tried::default()).await.unwrap();
            assert_eq!(round.deactivated, 5);
            other.setup.source().await
        })
    });
    let late = Carrier { setup: Setup { flagged, ..setup }, without: None };
    assert_eq!(late.deactivate(&state, &mut Tried::default()).await.unwrap(), Round::default());
    let carrier = process.served.carrier();
    assert_eq!((carrier.counts().await.unwrap().moved, carrier.today().await.unwrap().len()), (5, 5));
    process.stop().await;
}

/// Both have counted, and write in the same place of the list.
#[tokio::test]
async fn the_days_most_holds_when_two_write_the_list_at_once() {
    let world = World::new(24).without_collisions().with(STRAGGLERS);
    let process = world.in_phase(Phase::Lazy).await;
    let state = process.state().await;
    // What they write down differs, so that one of them finds the place taken.
    let other = World::at(&world.dir).with(&STRAGGLERS.replace("status = \"DEACTIVATED\", ", ""));
    let other = Carrier { setup: other.setup().await, without: None };
    let (mut first, mut second) = (Tried::default(), Tried::default());
    let (first, second) =
        tokio::join!(process.served.carrier().deactivate(&state, &mut first), other.deactivate(&state, &mut second));
    assert_eq!(first.unwrap().deactivated + second.unwrap().deactivated, 5);
    let listed = other.listed(None).await.unwrap();
    assert_eq!(listed.values().map(Vec::len).sum::<usize>(), 5, "{listed:?}");
    process.stop().await;
}
