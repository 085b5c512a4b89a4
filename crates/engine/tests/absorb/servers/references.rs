//! References between real servers, written by clients of both shapes, where
//! the target keeps them by a foreign key; and the claims of who needs the keys.

use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_core::{Key, Value};
use shearwater_engine::records::Shape;

use super::{Bob, Servers, bobs};
use crate::scene::{bring_customer, bring_order, by, n, planned, refused};

#[tokio::test]
async fn references_are_written_in_both_shapes_between_servers() {
    for bob in Bob::BOTH {
        let servers = Servers::numbered(bob, "").await;
        let named = [Some("ALFKI"), Some("BERGS"), Some("ALFKI"), None];
        let world = servers.orders(&named, "").await;
        let customers = servers.world.in_phase(Phase::Lazy).await;
        let orders = world.in_phase(Phase::Lazy).await;
        let before = bobs(&orders).await;
        assert_eq!(orders.field(Shape::V2, &n(1), "customer_id").await, Value::Int(9), "{bob:?}");
        let unmoved = by("absorb/unmoved-reference", "customer_id");
        assert_eq!(refused(&orders, Shape::V2, 1, &[("total", Value::Int(1))]).await, unmoved, "{bob:?}");
        for number in [9, 10] {
            bring_customer(&customers, number).await;
        }
        for order in [1, 2] {
            bring_order(&orders, order).await;
        }
        assert_eq!(servers.invoices(), ["1|9|10", "2|10|20"], "{bob:?}");
        // Each in its own words, of one that has moved and of one that has not.
        orders.patch(Shape::V1, &n(1), &[("customer", "BERGS".into())]).await;
        orders.patch(Shape::V2, &n(2), &[("customer_id", Value::Int(9))]).await;
        orders.patch(Shape::V2, &n(3), &[("customer_id", Value::Int(10))]).await;
        orders.patch(Shape::V1, &n(4), &[("customer", "ALFKI".into())]).await;
        assert_eq!(servers.invoices(), ["1|10|10", "2|9|20"], "{bob:?}");
        assert_eq!(orders.field(Shape::V1, &n(2), "customer").await, "ALFKI".into());
        assert_eq!(orders.field(Shape::V2, &n(4), "customer_id").await, Value::Int(9));
        // One of Alice's own, and nobody.
        for order in [2, 3] {
            let hers = [("customer_id", Value::Int(7))];
            assert_eq!(refused(&orders, Shape::V2, order, &hers).await.0, "absorb/reference", "{bob:?}");
        }
        let nobody = [("customer", "NOONE".into())];
        assert_eq!(refused(&orders, Shape::V1, 1, &nobody).await.0, "absorb/reference", "{bob:?}");
        let named = |value: &str| Filter::Compare {
            path: Path::field("customer"),
            op: CompareOp::Eq,
            literal: Literal::Typed(value.into()),
        };
        assert_eq!(orders.walk(Shape::V1, named("ALFKI"), vec![], 1).await, ["2", "4"], "{bob:?}");
        assert_eq!(orders.walk(Shape::V1, named("BERGS"), vec![], 1).await, ["1", "3"], "{bob:?}");
        assert_eq!(orders.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
        // Back: her foreign key holds the customers until their orders are back.
        customers.refused(Command::Rollback, "absorb/held").await;
        assert_eq!(customers.field(Shape::V1, &Key::single("ALFKI"), "fax").await, "030".into());
        orders.back().await;
        customers.until("back", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
        let row = |row: &String, from: &str, to: &str| row.replace(from, to);
        let expect = [
            row(&before[0], "ALFKI", "BERGS"),
            row(&before[1], "BERGS", "ALFKI"),
            row(&before[2], "ALFKI", "BERGS"),
            row(&before[3], "\"customer\":null", "\"customer\":\"ALFKI\""),
        ];
        assert_eq!((bobs(&orders).await, servers.invoices()), (expect.to_vec(), vec![]), "{bob:?}");
        // Nobody takes the keys away while the orders need them.
        customers.refused(Command::Withdraw, "gate/claimed").await;
        orders.done(Command::Rollback).await;
        planned(&orders).await;
        customers.done(Command::Withdraw).await;
        customers.until("over", |state| state.phase == Phase::Withdrawn).await;
        assert_eq!(servers.left(), Vec::<String>::new(), "{bob:?}");
        orders.stop().await;
        customers.stop().await;
    }
}
