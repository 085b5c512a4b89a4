//! PROTOCOL.md's holes of lazy moves on real stores: each interleaving with its
//! protection on, and off to see that the hole is there.

use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::spec::Stragglers;
use shearwater_core::store::{Expect, Image};
use shearwater_engine::absorb::carry::{Landed, stamp_of, unchanged};
use shearwater_engine::absorb::stragglers::Deactivated;
use shearwater_engine::absorb::{Carrier, Protection};
use shearwater_engine::records::Shape;

use crate::world::{Process, World, v1, v2};

/// A process without a coordinator's reconciler in the way: the steps are the test's.
async fn still(world: &World, without: Option<Protection>) -> (Process, Carrier) {
    let process = world.in_phase(Phase::Lazy).await;
    let carrier = Carrier { setup: process.setup.clone(), without };
    (process, carrier)
}

/// The record of user 1 as a move would take it, with a manager.
fn with_manager(carrier: &Carrier, v1: &Image, manager: &str) -> Image {
    let shapes = &carrier.setup.shapes;
    let mut parted = shapes.forward(v1).unwrap();
    parted.v2.set("manager", manager);
    shapes.reverse(&parted).unwrap()
}

#[tokio::test]
async fn h9a_the_flag_is_set_only_at_the_version_that_was_read() {
    for (without, expect) in [(None, "Written"), (Some(Protection::FlagAtStamp), "F1")] {
        let world = World::new(3).without_collisions();
        let (process, carrier) = still(&world, without).await;
        let source = process.setup.source().await.unwrap();
        let state = process.state().await;
        // M.read; W.O=2; M.flag
        let read = source.fetch(&v1(1)).await.unwrap();
        let held = process.setup.shapes.held(read.image.clone().unwrap());
        process.patch(Shape::V1, &v1(1), &[("first", "Written".into())]).await;
        let expect_at = if without.is_some() { Expect::Any } else { unchanged(&read) };
        let image = with_manager(&carrier, &held.v1, "m");
        let departed = carrier.depart(state.epoch, &read, image, expect_at, None).await;
        assert_eq!(departed.is_err(), without.is_none());
        carrier.settle(state.epoch, &v1(1)).await.unwrap();
        assert_eq!(process.field(Shape::V1, &v1(1), "first").await, expect.into(), "{without:?}");
        process.stop().await;
    }
}

#[tokio::test]
async fn h9a_a_write_to_the_source_holds_only_at_the_flag_that_it_read() {
    for without in [None, Some(Protection::WriteAtFlag)] {
        let world = World::new(3).without_collisions();
        let (process, carrier) = still(&world, without).await;
        let source = process.setup.source().await.unwrap();
        // W.read flag=0; M moves; W.O=2
        let read = source.fetch(&v1(1)).await.unwrap();
        let held = process.setup.shapes.held(read.image.clone().unwrap());
        process.give_manager(1, "m").await;
        let mut image = held.v1.clone();
        image.record.set("first", "Late");
        let image = process.setup.shapes.row(shearwater_core::absorb::Held::at_home(image));
        let change = shearwater_core::store::Change {
            key: v1(1),
            image: Some(image),
            expect: if without.is_some() { Expect::Any } else { unchanged(&read) },
        };
        let epoch = Some(process.state().await.epoch);
        let write = shearwater_core::store::Write { epoch, changes: vec![change], idempotency: None };
        let written = source.write(write).await;
        assert_eq!(written.is_err(), without.is_none(), "{without:?}");
        // With the hole the record is in the source again, and in the target too.
        let both = world.people().len() == 2 && process.field(Shape::V1, &v1(1), "first").await == "Late".into();
        assert_eq!(both, without.is_some());
        drop(carrier);
        process.stop().await;
    }
}

#[tokio::test]
async fn h9b_a_mover_that_comes_late_does_not_land_again() {
    for (without, name) in [(None, "By a program"), (Some(Protection::LandOnce), "F1 L001")] {
        let world = World::new(3).without_collisions();
        let (process, carrier) = still(&world, without).await;
        let (source, epoch) = (process.setup.source().await.unwrap(), process.state().await.epoch);
        // M1 moves; M2 has read the row on its way; a program writes N=2; M2 lands.
        let read = source.fetch(&v1(1)).await.unwrap();
        let held = process.setup.shapes.held(read.image.clone().unwrap());
        let image = with_manager(&carrier, &held.v1, "m");
        carrier.depart(epoch, &read, image, unchanged(&read), None).await.unwrap();
        let late = source.fetch(&v1(1)).await.unwrap();
        let on_its_way = process.setup.shapes.held(late.image.clone().unwrap());
        assert!(matches!(carrier.land(epoch, &late, &on_its_way).await.unwrap(), Landed::Here(..)));
        world.alice().execute("UPDATE people SET name = 'By a program' WHERE id = 'bob-1'", []).unwrap();
        assert!(matches!(carrier.land(epoch, &late, &on_its_way).await.unwrap(), Landed::Here(..)));
        assert_eq!(process.field(Shape::V2, &v2(1), "name").await, name.into(), "{without:?}");
        // And a record that was deleted meanwhile does not come back.
        world.alice().execute("DELETE FROM people WHERE id = 'bob-1'", []).unwrap();
        carrier.land(epoch, &late, &on_its_way).await.unwrap();
        assert_eq!(world.people().len(), if without.is_some() { 2 } else { 1 }, "{without:?}");
        process.stop().await;
    }
}

#[tokio::test]
async fn h10_a_record_on_its_way_is_in_the_list() {
    for without in [None, Some(Protection::SettleInList)] {
        let world = World::new(3).without_collisions();
        let process = world.in_phase(Phase::Lazy).await;
        // The coordinator's own reconciler would finish the move by itself.
        process.served.carrier();
        let state = process.state().await;
        let setup = process.setup.clone();
        process.stop().await;
        let carrier = Carrier { setup: setup.clone(), without };
        let source = setup.source().await.unwrap();
        let read = source.fetch(&v1(1)).await.unwrap();
        let held = setup.shapes.held(read.image.clone().unwrap());
        carrier
            .depart(state.epoch, &read, with_manager(&carrier, &held.v1, "m"), unchanged(&read), None)
            .await
            .unwrap();
        let ask = shearwater_engine::records::ListAsk {
            shape: Shape::V2,
            filter: shearwater_core::query::Filter::All,
            order: vec![],
            after: None,
            limit: 10,
        };
        let page = carrier.list(&state, &ask).await.unwrap();
        assert_eq!(page.records.len(), if without.is_some() { 2 } else { 3 }, "{without:?}");
    }
}

#[tokio::test]
async fn h12_a_move_does_not_overwrite_a_field_that_was_written_since() {
    // R.read; W.name=x; R.write whole record: the update that moves reads and
    // writes at one version, and is made again on the newer one.
    let world = World::new(3).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    let (key, name) = (v1(1), [("first", "Both".into())]);
    let (moves, writes) = tokio::join!(process.give_manager(1, "m"), process.patch(Shape::V1, &key, &name));
    assert!(moves.records[0].is_some() && writes.records[0].is_some());
    let got = process.get(Shape::V2, &v2(1)).await.unwrap().record;
    assert_eq!((got.get("manager"), got.get("name")), (Some(&"m".into()), Some(&"Both L001".into())));
    process.stop().await;
}

#[tokio::test]
async fn h14_nobody_who_logs_in_is_deactivated() {
    let stragglers =
        |setup: &shearwater_engine::absorb::Setup| -> Stragglers { setup.spec.stragglers.clone().unwrap() };
    for without in [None, Some(Protection::PredicateAgain)] {
        let world = World::new(3).without_collisions().with(
            "[stragglers]\nactivity = \"last_login\"\ndeactivate_after_days = 180\n\
             deactivate = { status = \"DEACTIVATED\", manager = \"nobody\" }\n",
        );
        let (process, carrier) = still(&world, without).await;
        let source = process.setup.source().await.unwrap();
        // select; login; update
        let chosen = source.fetch(&v1(1)).await.unwrap();
        assert!(stamp_of(&chosen) == shearwater_core::Stamp::ZERO);
        world.bob().execute("UPDATE users SET last_login = '2999-01-01T00:00:00Z' WHERE id = 1", []).unwrap();
        let state = process.state().await;
        let done = carrier.deactivate_one(&state, &stragglers(&process.setup), &chosen).await.unwrap();
        assert_eq!(done, if without.is_some() { Deactivated::Yes } else { Deactivated::LeftAlone });
        assert_eq!(world.people().len(), if without.is_some() { 2 } else { 1 });
        process.stop().await;
    }
}

/// A bulk update and a client move one record: whoever comes second has looked
/// at the source before, and finds the record in the target.
#[tokio::test]
async fn a_record_that_another_mover_has_brought_is_no_obstacle() {
    let world = World::new(3);
    let process = world.in_phase(Phase::Lazy).await;
    let v2_of = async |n| process.get(Shape::V2, &v2(n)).await.unwrap().record;
    let (one, three) = (v2_of(1).await, v2_of(3).await);
    process.give_manager(1, "m").await;
    let carrier = process.served.carrier();
    assert_eq!(carrier.obstacle(&one, &v2(1)).await.unwrap().map(|refused| refused.code), None);
    // `bob-3` is one of Alice's own.
    assert!(carrier.obstacle(&three, &v2(3)).await.unwrap().is_some());
    process.stop().await;
}
