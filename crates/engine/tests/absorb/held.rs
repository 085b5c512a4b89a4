//! Records that the target does not give up, because others there name them:
//! nothing is stuck, and what was asked for once is done once.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::records::Shape;

use crate::scene::{bring_customer, bring_order, code, customers_and_orders, held, planned};
use crate::world::{Process, World, rows};

/// One customer is held by an order of its own; both migrations are on their way.
async fn holding(worlds: &(World, World)) -> (Process, Process) {
    let (bobs, world) = worlds;
    held(world);
    let customers = bobs.in_phase(Phase::Lazy).await;
    let orders = world.in_phase(Phase::Lazy).await;
    for number in [8, 9] {
        bring_customer(&customers, number).await;
    }
    bring_order(&orders, 1).await;
    (customers, orders)
}

fn alices(world: &World) -> Vec<String> {
    rows(&world.alice(), "SELECT id FROM customer ORDER BY id")
}

/// Nobody is kept from reading, and it comes back when the others are.
#[tokio::test]
async fn what_alices_records_name_goes_back_after_them() {
    let worlds = customers_and_orders("");
    let (customers, orders) = holding(&worlds).await;
    let refusal = customers.refused(Command::Rollback, "absorb/held").await;
    assert!(refusal.message.ends_with(": 1"), "{refusal}");
    assert_eq!(alices(&worlds.0), ["7", "8"], "the other one is back");
    assert_eq!(customers.all(Shape::V1).await.len(), 3);
    assert_eq!(customers.field(Shape::V1, &code("ALFKI"), "name").await, "Alfreds".into());
    let letter = customers.setup.journal.dead_letters(None, 10).await.unwrap().remove(0);
    assert_eq!((letter.key.as_str(), letter.code.as_str()), ("ALFKI", "absorb/held"));
    // It can be asked for again, and so can everything else.
    customers.refused(Command::Rollback, "absorb/held").await;
    customers.done(Command::Pause).await;
    customers.done(Command::Resume).await;
    orders.back().await;
    customers.until("back", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
    assert_eq!(alices(&worlds.0), ["7"]);
    customers.stop().await;
    orders.stop().await;
}

/// Asked for twice, and done when nobody is held any more: one rollback, which
/// ends in prepare, where what only v2 has still stands beside the records.
#[tokio::test]
async fn asked_for_again_a_rollback_does_not_lead_on() {
    let worlds = customers_and_orders("");
    let (customers, orders) = holding(&worlds).await;
    customers.refused(Command::Rollback, "absorb/held").await;
    let journal = customers.setup.journal.clone();
    customers.stop().await;
    let asked = journal.ask(Command::Rollback).await.unwrap();
    orders.back().await;
    let customers = worlds.0.process("q").await;
    let outcome = loop {
        if let Some(outcome) = journal.request(asked).await.unwrap().and_then(|request| request.outcome) {
            break outcome.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!((outcome["phase"].as_str(), outcome["dropped_beside"].as_u64()), (Some("prepare"), Some(0)));
    assert_eq!(customers.state().await.phase, Phase::Prepare);
    // The next one is another.
    let outcome = customers.done(Command::Rollback).await;
    assert_eq!((outcome["phase"].as_str(), outcome["dropped_beside"].as_u64()), (Some("planned"), Some(2)));
    planned(&customers).await;
    customers.stop().await;
    orders.stop().await;
}

#[cfg(debug_assertions)]
mod kill {
    //! The child is this test binary itself, running `held::kill::child`.

    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::child;

    const DIR_ENV: &str = "SHEARWATER_HELD_KILL_DIR";

    const POINTS: &[(&str, u32)] =
        &[("absorb-staged", 1), ("absorb-held", 1), ("absorb-held", 2), ("absorb-given-up", 1), ("absorb-given-up", 3)];

    /// Everybody is asked back twice; then Alice's invoice goes.
    #[tokio::test]
    async fn child() {
        let Ok(dir) = std::env::var(DIR_ENV) else { return };
        let mut world = World::at(Path::new(&dir));
        world.whole = Some(std::fs::read_to_string(world.dir.join("spec.toml")).unwrap());
        let process = world.process("p").await;
        while !process.setup.journal.open_requests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if !rows(&world.alice(), "SELECT id FROM invoice").is_empty() {
            process.refused(Command::Rollback, "absorb/held").await;
            process.refused(Command::Rollback, "absorb/held").await;
            world.alice().execute_batch("DELETE FROM invoice").unwrap();
        }
        process.until("back", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
        process.stop().await;
    }

    fn run(dir: &Path, failpoint: Option<&str>) -> bool {
        child::run("held::kill::child", &[(DIR_ENV, dir.as_os_str())], failpoint)
    }

    #[test]
    fn killed_at_every_step_all_go_back_when_they_can() {
        for (point, nth) in POINTS {
            let (world, _) = customers_and_orders("");
            held(&world);
            std::fs::write(world.dir.join("spec.toml"), world.spec()).unwrap();
            let bobs = || rows(&world.bob(), "SELECT code, name FROM customers ORDER BY code");
            let before = (bobs(), alices(&world));
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let process = world.in_phase(Phase::Lazy).await;
                for number in [8, 9, 10] {
                    bring_customer(&process, number).await;
                }
                process.reconciled().await;
                process.stop().await;
            });
            world.alice().execute_batch("INSERT INTO invoice VALUES (1, 8, 10)").unwrap();
            assert!(!run(&world.dir, Some(&format!("{point}:{nth}"))), "{point}:{nth} was never reached");
            assert!(run(&world.dir, None), "{point}:{nth}: the next process does not get back");
            assert_eq!((bobs(), alices(&world)), before, "{point}:{nth}");
            let moved = rows(&world.bob(), "SELECT code FROM customers WHERE migrated");
            assert_eq!(moved, Vec::<String>::new(), "{point}:{nth}");
        }
    }
}
