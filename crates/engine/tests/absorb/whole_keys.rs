//! References to records whose keys have several fields in the source: named by
//! all of them there, and by one number in the target.

use shearwater_core::Value;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::Serve;
use shearwater_engine::records::{ServeError, Shape};

use crate::scene::{Scene, bring_customer, bring_order, by, invoices, n, refused};
use crate::world::{World, rows};

/// Bob's customers are numbered in each region. The third order names half of
/// one, the fourth somebody who is not there.
fn worlds() -> (World, World) {
    let mut customers = World::new(0);
    customers
        .bob()
        .execute_batch(
            "CREATE TABLE customers (region TEXT, number INTEGER, name TEXT, PRIMARY KEY (region, number)) WITHOUT ROWID; \
             INSERT INTO customers VALUES ('N', 1, 'Alfreds'), ('N', 2, 'Berglunds'), ('S', 1, 'Chop-suey'); \
             CREATE TABLE orders (id INTEGER PRIMARY KEY, region TEXT, customer INTEGER); \
             INSERT INTO orders VALUES (1, 'N', 1), (2, 'S', 1), (3, 'N', NULL), (4, 'S', 9)",
        )
        .unwrap();
    customers
        .alice()
        .execute_batch(
            "CREATE TABLE customer (id INTEGER PRIMARY KEY NOT NULL, name TEXT, rep INTEGER NOT NULL); \
             INSERT INTO customer VALUES (7, 'Own', 1); \
             CREATE TABLE invoice (id INTEGER PRIMARY KEY NOT NULL, customer_id INTEGER, total INTEGER NOT NULL)",
        )
        .unwrap();
    let of_customers = Scene {
        migration: "customers",
        table: "customers",
        key: "[\"region\", \"number\"]",
        columns: "region = \"text\"\nnumber = \"int\"\nname = \"text\"",
        into: "customer",
        fields: "id = { target_only = true, type = \"int\" }\nname = { from = \"name\", type = \"text\" }",
        require: "rep = { type = \"int\" }",
        more: "[identity]\nassign = \"next\"",
    };
    let of_orders = Scene {
        migration: "orders",
        table: "orders",
        key: "id",
        columns: "id = \"int\"\nregion = \"text\"\ncustomer = \"int\"",
        into: "invoice",
        fields: "id = { from = \"id\", type = \"int\" }\ncustomer_id = { from = \"customer\", type = \"int\" }",
        require: "total = { type = \"int\" }",
        more: "[references]\n\
               customer_id = { migration = \"customers\", table = \"customer\", key = \"id\", by = [\"region\", \"customer\"] }",
    };
    let mut orders = World::at(&customers.dir);
    customers.whole = Some(of_customers.spec(&customers));
    orders.whole = Some(of_orders.spec(&orders));
    (customers, orders)
}

fn orders(world: &World) -> Vec<String> {
    rows(&world.bob(), "SELECT id, region, customer FROM orders ORDER BY id")
}

#[tokio::test]
async fn a_key_of_several_fields_is_named_whole() {
    let (bobs, world) = worlds();
    let customers = bobs.in_phase(Phase::Lazy).await;
    for number in [8, 10] {
        bring_customer(&customers, number).await;
    }
    let process = world.in_phase(Phase::Lazy).await;
    let census = process.state().await.census.unwrap();
    assert_eq!((census.records, census.refused), (4, 1), "the fourth names nobody");
    for (order, number) in [(1, Value::Int(8)), (2, Value::Int(10)), (3, Value::Null)] {
        assert_eq!(process.field(Shape::V2, &n(order), "customer_id").await, number, "{order}");
    }
    let total = [("total", Value::Int(1))];
    assert_eq!(refused(&process, Shape::V2, 4, &total).await, by("absorb/reference", "customer_id"));
    for order in [1, 2, 3] {
        bring_order(&process, order).await;
    }
    assert_eq!(invoices(&world), ["1|8|10", "2|10|20", "3|-|30"]);
    // Both shapes change it: the one by all of its fields or by one of them, the other by the number.
    let words = |region: &str, customer: i64| [("region", region.into()), ("customer", Value::Int(customer))];
    process.patch(Shape::V1, &n(1), &words("S", 1)).await;
    process.patch(Shape::V1, &n(2), &[("region", "N".into())]).await;
    assert_eq!(invoices(&world), ["1|10|10", "2|8|20", "3|-|30"]);
    assert_eq!(refused(&process, Shape::V1, 2, &words("N", 2)).await.0, "absorb/unmoved-reference");
    assert_eq!(refused(&process, Shape::V1, 2, &words("N", 9)).await.0, "absorb/reference");
    process.patch(Shape::V2, &n(3), &[("customer_id", Value::Int(10))]).await;
    let third = process.get(Shape::V1, &n(3)).await.unwrap().record;
    assert_eq!((third.get("region"), third.get("customer")), (Some(&"S".into()), Some(&Value::Int(1))));
    process.patch(Shape::V2, &n(1), &[("customer_id", Value::Null)]).await;
    // One of Alice's own, whom v1 cannot name: it comes back on the next move.
    world.alice().execute_batch("UPDATE invoice SET customer_id = 7 WHERE id = 2").unwrap();
    let read = process.served.get(Shape::V1, &n(2)).await;
    assert!(matches!(read, Err(ServeError::Unprocessable { field, .. }) if field == "region, customer"));
    process.back().await;
    assert_eq!(
        (orders(&world), invoices(&world)),
        (["1|-|-", "2|N|1", "3|S|1", "4|S|9"].map(str::to_owned).to_vec(), vec![])
    );
    process.forward_to(Phase::Lazy).await;
    bring_order(&process, 2).await;
    assert_eq!(invoices(&world), ["2|7|20"]);
    process.stop().await;
    customers.stop().await;
}
