//! Scenes beside Bob's users: what a spec says of two tables in the two files,
//! and Bob's customers with the orders that name them.

use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::{Key, Value};
use shearwater_engine::records::{Edit, ServeError, Shape};

use crate::world::{Process, World, document, rows};

/// An absorb of one table into another, whose key is `id`.
pub struct Scene<'a> {
    pub migration: &'a str,
    /// Bob's table, by which clients call the records.
    pub table: &'a str,
    /// Its key; of several fields in brackets.
    pub key: &'a str,
    /// `[source.columns]`; none: its records are documents.
    pub columns: &'a str,
    /// Alice's table.
    pub into: &'a str,
    pub fields: &'a str,
    pub require: &'a str,
    /// Further sections.
    pub more: &'a str,
}

impl Scene<'_> {
    /// The spec's text, between the files of a world.
    pub fn spec(&self, world: &World) -> String {
        let url = |file: &str| format!("sqlite:{}/{file}?sync=normal", world.dir.display());
        self.between(&url("bob.db"), &url("alice.db"))
    }

    /// The same between two stores.
    pub fn between(&self, source: &str, target: &str) -> String {
        let Scene { migration, table, key, columns, into, fields, require, more } = self;
        let key = if key.starts_with('[') { (*key).to_owned() } else { format!("\"{key}\"") };
        let columns = match *columns {
            "" => "layout = \"document\"".to_owned(),
            columns => format!("[source.columns]\n{columns}"),
        };
        format!(
            r#"migration = "{migration}"
kind = "absorb"
entity = "{table}"
[source]
url = "{source}"
table = "{table}"
key = {key}
{columns}
[target]
url = "{target}"
table = "{into}"
key = "id"
[fields]
{fields}
[require]
{require}
{more}
"#
        )
    }
}

const CUSTOMERS: Scene<'static> = Scene {
    migration: "customers",
    table: "customers",
    key: "code",
    columns: "code = \"text\"\nname = \"text\"",
    into: "customer",
    fields: "id = { target_only = true, type = \"int\" }\nname = { from = \"name\", type = \"text\" }",
    require: "rep = { type = \"int\" }",
    more: "",
};

const ORDERS: Scene<'static> = Scene {
    migration: "orders",
    table: "orders",
    key: "id",
    columns: "id = \"int\"\ncustomer = \"text\"\nnote = \"text\"\nplaced = \"date\"",
    into: "invoice",
    fields: "id = { from = \"id\", type = \"int\" }\ncustomer_id = { from = \"customer\", type = \"int\" }",
    require: "total = { type = \"int\" }",
    more: "[references]\ncustomer_id = { migration = \"customers\", table = \"customer\", key = \"id\" }",
};

/// Bob's customers and their orders; Alice has a customer of her own, number 7.
/// The fourth order names nobody, the fifth somebody who is not there.
pub fn customers_and_orders(keep: &str) -> (World, World) {
    let mut customers = World::new(0);
    customers
        .bob()
        .execute_batch(
            "CREATE TABLE customers (code TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID; \
             INSERT INTO customers VALUES ('ALFKI', 'Alfreds'), ('BERGS', 'Berglunds'), ('CHOPS', 'Chop-suey'); \
             CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, note TEXT, placed TEXT); \
             INSERT INTO orders VALUES (1, 'ALFKI', 'n1', '1996-07-04'), (2, 'BERGS', NULL, '1996-07-05'), \
             (3, 'ALFKI', NULL, '1996-07-06'), (4, NULL, NULL, '1996-07-07'), (5, 'NOONE', NULL, '1996-07-08')",
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
    let mut orders = World::at(&customers.dir);
    let identity = format!("[identity]\nassign = \"next\"\n{keep}");
    customers.whole = Some(Scene { more: &identity, ..CUSTOMERS }.spec(&customers));
    orders.whole = Some(ORDERS.spec(&orders));
    (customers, orders)
}

/// Lets Alice's database keep the references of her invoices, as a foreign key
/// would: her customers are held as long as an invoice names them.
pub fn held(world: &World) {
    let held = "CREATE TRIGGER held BEFORE DELETE ON customer WHEN EXISTS (SELECT 1 FROM invoice WHERE customer_id = OLD.id) \
                BEGIN SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed'); END";
    world.alice().execute_batch(held).unwrap();
}

pub fn code(code: &str) -> Key {
    Key::single(code)
}

pub fn n(n: i64) -> Key {
    Key::single(n)
}

pub fn orders(world: &World) -> Vec<String> {
    rows(&world.bob(), "SELECT id, customer, note, placed FROM orders ORDER BY id")
}

pub fn invoices(world: &World) -> Vec<String> {
    rows(&world.alice(), "SELECT id, customer_id, total FROM invoice ORDER BY id")
}

pub async fn bring_customer(process: &Process, number: i64) {
    process.patch(Shape::V2, &n(number), &[("rep", Value::Int(3))]).await;
}

pub async fn bring_order(process: &Process, id: i64) {
    process.patch(Shape::V2, &n(id), &[("total", Value::Int(10 * id))]).await;
}

/// The code and the field with which an update is refused.
pub async fn refused(process: &Process, shape: Shape, id: i64, fields: &[(&str, Value)]) -> (String, String) {
    match process.write(shape, &n(id), Edit::MergePatch(document(fields))).await {
        Err(ServeError::Unprocessable { code, field, .. }) => (code, field),
        other => panic!("{other:?}"),
    }
}

pub fn by(code: &str, field: &str) -> (String, String) {
    (code.to_owned(), field.to_owned())
}

pub async fn planned(process: &Process) {
    process.until("planned", |state| state.phase == Phase::Planned && !state.prepared).await;
}
