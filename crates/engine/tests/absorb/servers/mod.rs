//! Absorbs between real servers: Bob's customers, and the orders that name
//! them, in MariaDB or MongoDB, and Alice's in PostgreSQL.

use std::sync::Arc;

use shearwater_core::absorb::Shapes;
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::spec::{self, Migration};
use shearwater_core::store::{Change, Expect, Image, Store, Write};
use shearwater_core::value::{Instant, json};
use shearwater_core::{Document, Key, Value};
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::{Bulk, Line};
use shearwater_engine::records::Shape;
use shearwater_stores::Create;
use shearwater_testbed::{mariadb, mongodb, postgres};

use crate::scene::Scene;
use crate::world::{Process, World, document};

mod keys;
mod references;
mod undo;

const CODES: [&str; 5] = ["12", "ALFKI", "BERGS", "CHOPS", "Øst"];

/// Those of them that nobody has seen since 2020, and their orders: all but the last.
const STRAGGLERS: &str = "[stragglers]\nactivity = \"seen\"\ndeactivate_after_days = 30\n";

const NEXT: &str = "[identity]\nassign = \"next\"\n";

const DAY_MICROS: i64 = 86_400_000_000;

/// Who has Bob's customers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bob {
    Mariadb,
    Mongodb,
}

impl Bob {
    const BOTH: [Bob; 2] = [Bob::Mariadb, Bob::Mongodb];

    /// A table's key, which every document has under one name.
    fn key(self, key: &'static str) -> &'static str {
        if self == Bob::Mongodb { "_id" } else { key }
    }

    fn columns(self, columns: &'static str) -> &'static str {
        if self == Bob::Mongodb { "" } else { columns }
    }

    fn source(self) -> String {
        match self {
            Bob::Mariadb => {
                let url = mariadb().database_with("bob", "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin");
                let customers = "CREATE TABLE customers (code varchar(20) PRIMARY KEY, name varchar(60), \
                                 email varchar(60), fax varchar(20), seen datetime(6))";
                let orders = "CREATE TABLE orders (number bigint PRIMARY KEY, customer varchar(20), seen datetime(6))";
                mariadb().run(&url, &[customers, orders]);
                url
            }
            Bob::Mongodb => mongodb().database("bob"),
        }
    }
}

/// Bob's customers in a server of his, and Alice's in PostgreSQL.
struct Servers {
    bob: Bob,
    world: World,
    source: String,
    alice: String,
}

impl Servers {
    /// With the key's rule, the key's type in Alice's table, and more of the spec.
    async fn new(bob: Bob, id: &str, ty: &str, more: &str) -> Servers {
        let (source, alice) = (bob.source(), postgres().database("alice"));
        let table =
            format!("CREATE TABLE customer (id {ty} PRIMARY KEY, name text, email text UNIQUE, rep bigint NOT NULL)");
        postgres().run(&alice, &[&table]);
        let scene = Scene {
            migration: "bob",
            table: "customers",
            key: bob.key("code"),
            columns: bob
                .columns("code = \"text\"\nname = \"text\"\nemail = \"text\"\nfax = \"text\"\nseen = \"instant\""),
            into: "customer",
            fields: &format!(
                "id = {id}\nname = {{ from = \"name\", type = \"text\" }}\n\
                 email = {{ from = \"email\", type = \"text\", unique = true }}"
            ),
            require: "rep = { type = \"int\" }",
            more,
        };
        let mut world = World::new(0);
        world.whole = Some(scene.between(&source, &alice));
        let servers = Servers { bob, world, source, alice };
        let plain = servers.plain(&servers.world).await;
        servers.add(plain.as_ref(), None, &CODES).await;
        servers
    }

    /// Where Alice numbers her customers, and has one of her own.
    async fn numbered(bob: Bob, more: &str) -> Servers {
        let servers =
            Servers::new(bob, "{ target_only = true, type = \"int\" }", "bigint", &format!("{NEXT}{more}")).await;
        servers.sql("INSERT INTO customer VALUES (7, 'Own', 'own@alice.example', 1)");
        servers
    }

    /// Bob's orders, numbered from 1, each with the customer that it names; those
    /// of Alice name hers by a foreign key.
    async fn orders(&self, customers: &[Option<&str>], more: &str) -> World {
        let table = "CREATE TABLE invoice (id bigint PRIMARY KEY, customer_id bigint REFERENCES customer, total bigint NOT NULL)";
        self.sql(table);
        let key = self.bob.key("number");
        let scene = Scene {
            migration: "orders",
            table: "orders",
            key,
            columns: self.bob.columns("number = \"int\"\ncustomer = \"text\"\nseen = \"instant\""),
            into: "invoice",
            fields: &format!(
                "id = {{ from = \"{key}\", type = \"int\" }}\ncustomer_id = {{ from = \"customer\", type = \"int\" }}"
            ),
            require: "total = { type = \"int\" }",
            more: &format!(
                "[references]\ncustomer_id = {{ migration = \"bob\", table = \"customer\", key = \"id\" }}\n{more}"
            ),
        };
        let mut world = World::at(&self.world.dir);
        world.whole = Some(scene.between(&self.source, &self.alice));
        let plain = self.plain(&world).await;
        for (number, customer) in (1_i64..).zip(customers) {
            let customer = customer.map_or(Value::Null, Value::text);
            let record = document(&[(key, Value::Int(number)), ("customer", customer), ("seen", seen(number))]);
            insert(plain.as_ref(), None, Key::single(number), record).await;
        }
        world
    }

    /// Bob's store as his programs see it.
    async fn plain(&self, world: &World) -> Arc<dyn Store> {
        let Migration::Absorb(spec) = spec::parse(&world.spec(), &|_| None).unwrap() else { panic!() };
        let layout = Shapes::compile(&spec).unwrap().shape(Shape::V1.side()).clone();
        let plain = shearwater_stores::open(&self.source, layout, Create::IfMissing).await.unwrap();
        if self.bob == Bob::Mongodb {
            plain.provision().await.unwrap();
        }
        plain
    }

    /// New customers of Bob's, which nobody has asked a key for.
    async fn add(&self, plain: &dyn Store, epoch: Option<u64>, codes: &[&str]) {
        for (day, code) in (0_i64..).zip(codes) {
            let record = document(&[
                (self.bob.key("code"), Value::text(*code)),
                ("name", Value::text(format!("Name {code}"))),
                ("email", Value::text(format!("{code}@bob.example"))),
                ("fax", if *code == "ALFKI" { "030".into() } else { Value::Null }),
                ("seen", if *code == "Øst" { Value::Null } else { seen(day) }),
            ]);
            insert(plain, epoch, Key::single(*code), record).await;
        }
    }

    fn sql(&self, statement: &str) {
        postgres().run(&self.alice, &[statement]);
    }

    fn rows(&self, query: &str) -> Vec<String> {
        let rows = postgres().rows(&self.alice, query);
        rows.into_iter().map(|row| row[0].clone().unwrap()).collect()
    }

    fn alices(&self) -> Vec<String> {
        self.rows("SELECT concat_ws('|', id, name, email, rep) FROM customer ORDER BY id")
    }

    fn invoices(&self) -> Vec<String> {
        self.rows("SELECT concat_ws('|', id, coalesce(customer_id::text, '-'), total) FROM invoice ORDER BY id")
    }

    /// What is left of ours in Alice's store.
    fn left(&self) -> Vec<String> {
        let ours = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename LIKE '%shearwater%' OR schemaname LIKE '%shearwater%'";
        self.rows(ours)
    }
}

/// So many days into 2020.
fn seen(days: i64) -> Value {
    Value::Instant(Instant::Micros((18_262 + days) * DAY_MICROS))
}

async fn insert(plain: &dyn Store, epoch: Option<u64>, key: Key, record: Document) {
    let change = Change { key, image: Some(Image::of(record)), expect: Expect::Absent };
    plain.write(Write { epoch, changes: vec![change], idempotency: None }).await.unwrap();
}

/// Everything that Bob's programs see of a migration's records, without the flag
/// of those that live elsewhere.
async fn bobs(process: &Process) -> Vec<String> {
    let query = ListQuery { filter: Filter::All, order: vec![], after: None, limit: 100 };
    let page = process.setup.plain.list(&query).await.unwrap();
    let text = |mut record: Document| {
        record.remove("migrated");
        json::to_string(&Value::Document(record))
    };
    page.records.into_iter().map(|found| text(found.image.unwrap().record)).collect()
}

async fn move_all(process: &Process, reverse: bool, codes: &[&str]) -> Vec<Moved> {
    let bulk = Bulk { carrier: process.served.carrier(), mode: Mode::Apply, only: Filter::All };
    let state = process.state().await;
    let mut codes = codes.to_vec();
    if reverse {
        codes.reverse();
    }
    let mut moved = Vec::new();
    for code in codes {
        let line = Line { key: Key::single(code), shape: Shape::V1, fields: document(&[("rep", Value::Int(3))]) };
        moved.push(bulk.line(&state, &line).await);
    }
    moved
}
