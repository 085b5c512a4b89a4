//! Deactivations undone between real servers, alone and with what names them.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::{ListOrder, Phase};
use shearwater_core::{Key, Value};
use shearwater_engine::absorb::stragglers::{Round, Tried};
use shearwater_engine::records::Shape;

use super::{Bob, STRAGGLERS, Servers, bobs};
use crate::undo::{ALL, deactivated, told};

#[tokio::test]
async fn deactivations_are_undone_between_servers() {
    for bob in Bob::BOTH {
        let servers = Servers::numbered(bob, &format!("{STRAGGLERS}deactivate = {{ rep = 0 }}\n")).await;
        let process = servers.world.in_phase(Phase::Drain).await;
        let before = bobs(&process).await;
        deactivated(&process, 4).await;
        assert_eq!(servers.rows("SELECT name FROM customer WHERE rep = 0 ORDER BY id").len(), 4, "{bob:?}");
        // Alice gives one of them a rep; Bob's client writes another, which goes along.
        servers.sql("UPDATE customer SET rep = 5 WHERE email = 'BERGS@bob.example'");
        process.patch(Shape::V1, &Key::single("CHOPS"), &[("fax", "042".into()), ("name", "Chop-suey".into())]).await;
        assert_eq!(told(&process.done(ALL).await), (3, 0, 1, "[\"BERGS\"] []".into()), "{bob:?}");
        assert_eq!(servers.alices(), ["7|Own|own@alice.example|1", "10|Name BERGS|BERGS@bob.example|5"]);
        let written = |row: &String| match row.contains("CHOPS") {
            true => row.replace("\"fax\":null", "\"fax\":\"042\"").replace("Name CHOPS", "Chop-suey"),
            false => row.clone(),
        };
        assert_eq!(bobs(&process).await, before.iter().map(written).collect::<Vec<_>>(), "{bob:?}");
        assert_eq!(process.field(Shape::V2, &Key::single(9), "rep").await, Value::Null);
        assert_eq!((process.all(Shape::V1).await.len(), process.all(Shape::V2).await.len()), (5, 5));
        let state = process.state().await;
        assert!(!state.undoing && state.list_order() == ListOrder::SourceFirst);
        let round = process.served.carrier().deactivate(&state, &mut Tried::default()).await.unwrap();
        assert_eq!(round, Round::default(), "{bob:?}: they are spared");
        assert_eq!(process.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
        process.stop().await;
    }
}

/// Whoever is named by a record that stays in the target is held there by its
/// foreign key, keeps nobody else, and goes back after it.
#[tokio::test]
async fn deactivations_are_undone_with_what_names_them() {
    for bob in Bob::BOTH {
        let servers = Servers::numbered(bob, &format!("{STRAGGLERS}deactivate = {{ rep = 0 }}\n")).await;
        let named = [Some("ALFKI"), Some("BERGS"), None, Some("Øst")];
        let world = servers.orders(&named, &format!("{STRAGGLERS}deactivate = {{ total = 0 }}\n")).await;
        let customers = servers.world.in_phase(Phase::Drain).await;
        let before = (bobs(&customers).await, servers.alices()[0].clone());
        deactivated(&customers, 4).await;
        let orders = world.in_phase(Phase::Drain).await;
        let placed = bobs(&orders).await;
        // The fourth names a customer who has not come.
        deactivated(&orders, 3).await;
        assert_eq!(servers.invoices(), ["1|9|0", "2|10|0", "3|-|0"], "{bob:?}");
        let report = customers.done(ALL).await;
        assert_eq!(told(&report), (2, 0, 0, "[] []".into()), "{bob:?}");
        assert_eq!(report["held_keys"], serde_json::json!(["ALFKI", "BERGS"]), "{bob:?}");
        let letters = customers.setup.journal.dead_letters(None, 10).await.unwrap();
        let letters: Vec<(&str, &str)> = letters.iter().map(|one| (one.key.as_str(), one.code.as_str())).collect();
        assert_eq!(letters, [("ALFKI", "absorb/held"), ("BERGS", "absorb/held")]);
        assert_eq!(
            customers.field(Shape::V1, &Key::single("ALFKI"), "fax").await,
            "030".into(),
            "it is read all the same"
        );
        assert_eq!(told(&orders.done(ALL).await), (3, 1, 0, "[] []".into()), "{bob:?}");
        assert_eq!((bobs(&orders).await, servers.invoices()), (placed, vec![]), "{bob:?}");
        assert_eq!(orders.field(Shape::V2, &Key::single(1), "customer_id").await, Value::Int(9));
        assert_eq!(told(&customers.done(ALL).await), (2, 2, 0, "[] []".into()), "{bob:?}");
        assert_eq!((bobs(&customers).await, servers.alices()), (before.0, vec![before.1]), "{bob:?}");
        customers.done(Command::RetryDeadLetters).await;
        assert_eq!(customers.setup.journal.dead_letter_count().await.unwrap(), 0);
        orders.stop().await;
        customers.stop().await;
    }
}
