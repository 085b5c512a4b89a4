//! Assigned keys and merges between real servers: there, back to the record as
//! both stores had it, again, and to the end; and movers that ask for the next
//! key at the same time.

use std::collections::BTreeSet;

use shearwater_core::absorb::Shapes;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::spec::{self, Migration};
use shearwater_core::store::{Change, Expect, Image, Store, Write};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Value};
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::{Bulk, Line};
use shearwater_engine::records::Shape;
use shearwater_stores::Create;
use shearwater_testbed::{mariadb, mongodb, postgres};

use crate::world::{Process, World, document};

const CODES: [&str; 5] = ["12", "ALFKI", "BERGS", "CHOPS", "Øst"];

/// Who has Bob's customers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bob {
    Mariadb,
    Mongodb,
}

impl Bob {
    const BOTH: [Bob; 2] = [Bob::Mariadb, Bob::Mongodb];

    fn key(self) -> &'static str {
        if self == Bob::Mongodb { "_id" } else { "code" }
    }

    fn source(self) -> (String, String) {
        match self {
            Bob::Mariadb => {
                let clauses = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin";
                let url = mariadb().database_with("bob", clauses);
                let table = "CREATE TABLE customers (code varchar(20) PRIMARY KEY, name varchar(60), email varchar(60), fax varchar(20))";
                mariadb().run(&url, &[table]);
                let columns = "[source.columns]\ncode = \"text\"\nname = \"text\"\nemail = \"text\"\nfax = \"text\"";
                (url, columns.to_owned())
            }
            Bob::Mongodb => (mongodb().database("bob"), "layout = \"document\"".to_owned()),
        }
    }
}

/// Bob's customers in a server of his, and Alice's in PostgreSQL.
struct Servers {
    bob: Bob,
    world: World,
    alice: String,
}

impl Servers {
    /// With the key's rule, the key's type in Alice's table, and more of the spec.
    async fn new(bob: Bob, id: &str, ty: &str, more: &str) -> Servers {
        let (source, columns) = bob.source();
        let alice = postgres().database("alice");
        let table =
            format!("CREATE TABLE customer (id {ty} PRIMARY KEY, name text, email text UNIQUE, rep bigint NOT NULL)");
        postgres().run(&alice, &[&table]);
        let mut world = World::new(0);
        world.whole = Some(format!(
            "migration = \"bob\"\nkind = \"absorb\"\nentity = \"customers\"\n\
             [source]\nurl = \"{source}\"\ntable = \"customers\"\nkey = \"{key}\"\n{columns}\n\
             [target]\nurl = \"{alice}\"\ntable = \"customer\"\nkey = \"id\"\n\
             [fields]\nid = {id}\nname = {{ from = \"name\", type = \"text\" }}\n\
             email = {{ from = \"email\", type = \"text\", unique = true }}\n\
             [require]\nrep = {{ type = \"int\" }}\n{more}\n",
            key = bob.key(),
        ));
        let servers = Servers { bob, world, alice };
        if bob == Bob::Mongodb {
            let Migration::Absorb(spec) = spec::parse(&servers.world.spec(), &|_| None).unwrap() else { panic!() };
            let layout = Shapes::compile(&spec).unwrap().shape(Shape::V1.side()).clone();
            shearwater_stores::open(&source, layout, Create::IfMissing).await.unwrap().provision().await.unwrap();
        }
        let setup = servers.world.setup().await;
        servers.add(setup.plain.as_ref(), None, &CODES).await;
        servers
    }

    /// New customers of Bob's, which nobody has asked a key for.
    async fn add(&self, plain: &dyn Store, epoch: Option<u64>, codes: &[&str]) {
        for code in codes {
            let record: Document = [
                (self.bob.key(), Value::text(*code)),
                ("name", Value::text(format!("Name {code}"))),
                ("email", Value::text(format!("{code}@bob.example"))),
                ("fax", if *code == "ALFKI" { "030".into() } else { Value::Null }),
            ]
            .into_iter()
            .collect();
            let change = Change { key: Key::single(*code), image: Some(Image::of(record)), expect: Expect::Absent };
            plain.write(Write { epoch, changes: vec![change], idempotency: None }).await.unwrap();
        }
    }

    fn sql(&self, statement: &str) {
        postgres().run(&self.alice, &[statement]);
    }

    fn alices(&self) -> Vec<String> {
        let rows =
            postgres().rows(&self.alice, "SELECT concat_ws('|', id, name, email, rep) FROM customer ORDER BY id");
        rows.into_iter().map(|row| row[0].clone().unwrap()).collect()
    }

    /// Everything that Bob's programs see.
    async fn bobs(&self, process: &Process) -> Vec<String> {
        let query = ListQuery { filter: Filter::All, order: vec![], after: None, limit: 100 };
        let page = process.setup.plain.list(&query).await.unwrap();
        let text = |record: Document| json::to_string(&Value::Document(record));
        page.records.into_iter().map(|found| text(found.image.unwrap().record)).collect()
    }

    /// What is left of ours in Alice's store.
    fn left(&self) -> Vec<Vec<Option<String>>> {
        let ours = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename LIKE '%shearwater%' OR schemaname LIKE '%shearwater%'";
        postgres().rows(&self.alice, ours)
    }
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

async fn back(process: &Process) {
    process.done(Command::Rollback).await;
    process.until("back", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
}

async fn there_back_and_to_the_end(servers: &Servers) {
    let process = servers.world.in_phase(Phase::Prepare).await;
    let before = (servers.bobs(&process).await, servers.alices());
    process.forward_to(Phase::Lazy).await;
    let keys = process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>();
    assert_eq!((keys.len(), process.all(Shape::V1).await.len()), (CODES.len(), CODES.len()));
    assert_eq!(move_all(&process, false, &CODES).await, vec![Moved::Yes; CODES.len()]);
    assert_eq!(process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>(), keys);
    let alfki = Key::single("ALFKI");
    process.patch(Shape::V1, &alfki, &[("fax", "031".into())]).await;
    servers.sql("UPDATE customer SET name = 'Directly' WHERE email = 'BERGS@bob.example'");
    assert_eq!(process.field(Shape::V1, &Key::single("BERGS"), "name").await, "Directly".into());
    process.reconciled().await;
    assert_eq!(process.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
    back(&process).await;
    let expect: Vec<String> =
        before.0.iter().map(|row| row.replace("\"030\"", "\"031\"").replace("Name BERGS", "Directly")).collect();
    assert_eq!((servers.bobs(&process).await, servers.alices()), (expect, before.1));
    // And again, under the same keys, to the end.
    process.forward_to(Phase::Drain).await;
    assert_eq!(process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>(), keys);
    assert_eq!(move_all(&process, true, &CODES).await, vec![Moved::Yes; CODES.len()]);
    process.done(Command::Complete).await;
    process.until("complete", |state| state.phase == Phase::Complete).await;
    assert_eq!(servers.left(), Vec::<Vec<Option<String>>>::new());
    process.stop().await;
}

#[tokio::test]
async fn keys_are_assigned_between_servers() {
    for bob in Bob::BOTH {
        let next = "[identity]\nassign = \"next\"";
        let servers = Servers::new(bob, "{ target_only = true, type = \"int\" }", "bigint", next).await;
        servers.sql("INSERT INTO customer VALUES (7, 'Own', 'own@alice.example', 1)");
        there_back_and_to_the_end(&servers).await;
        let ids: Vec<String> = servers.alices().iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
        assert_eq!(ids, ["7", "8", "9", "10", "11", "12"], "{bob:?}");
        let uuid5 = "[identity]\nassign = \"uuid5\"\nnamespace = \"6ba7b811-9dad-11d1-80b4-00c04fd430c8\"";
        let servers = Servers::new(bob, "{ target_only = true, type = \"uuid\" }", "uuid", uuid5).await;
        there_back_and_to_the_end(&servers).await;
    }
}

#[tokio::test]
async fn movers_ask_for_the_next_key_at_the_same_time() {
    for bob in Bob::BOTH {
        let next = "[identity]\nassign = \"next\"";
        let servers = Servers::new(bob, "{ target_only = true, type = \"int\" }", "bigint", next).await;
        let one = servers.world.in_phase(Phase::Lazy).await;
        let two = servers.world.process("q").await;
        let codes: Vec<String> = (0..24).map(|n| format!("N{n:02}")).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
        let epoch = one.state().await.epoch;
        servers.add(one.setup.plain.as_ref(), Some(epoch), &codes).await;
        let (mine, theirs) = tokio::join!(move_all(&one, false, &codes), move_all(&two, true, &codes));
        for moved in mine.iter().chain(&theirs) {
            assert!(matches!(moved, Moved::Yes | Moved::Already), "{bob:?}: {moved:?}");
        }
        one.reconciled().await;
        let rows = servers.alices();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
        assert_eq!((rows.len(), names.len()), (codes.len(), codes.len()), "{bob:?}: each landed once: {rows:?}");
        // And whoever only assigns assigns the same.
        let keys = |from: usize| -> Vec<Key> { (from..from + 20).map(|n| Key::single(format!("K{n}"))).collect() };
        let [first, second] = [&one, &two].map(|process| process.setup.crosswalk.clone().unwrap());
        let (mine, theirs) = (keys(0), keys(10));
        let (first, second) = tokio::join!(first.assign(&mine), second.assign(&theirs));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first[10..], second[..10], "{bob:?}");
        assert_eq!(first.iter().chain(&second).collect::<BTreeSet<_>>().len(), 30, "{bob:?}");
        two.stop().await;
        one.stop().await;
    }
}

#[tokio::test]
async fn records_with_one_key_are_merged_between_servers() {
    for bob in Bob::BOTH {
        let id = format!("{{ from = \"{}\", type = \"text\" }}", bob.key());
        let merge = "[conflicts]\nid = { merge = { name = \"source\", email = \"target\" } }";
        let servers = Servers::new(bob, &id, "text COLLATE \"C\"", merge).await;
        servers.sql(
            "INSERT INTO customer VALUES ('CHOPS', 'Hers', 'hers@alice.example', 1), ('Øst', 'Hers too', NULL, 2)",
        );
        let process = servers.world.in_phase(Phase::Lazy).await;
        move_all(&process, false, &["CHOPS", "Øst"]).await;
        assert!(
            servers.alices().contains(&"CHOPS|Name CHOPS|hers@alice.example|1".to_owned()),
            "{:?}",
            servers.alices()
        );
        assert!(servers.alices().contains(&"Øst|Name Øst|2".to_owned()), "{:?}", servers.alices());
        process.reconciled().await;
        back(&process).await;
        process.done(Command::Rollback).await;
        process.until("planned", |state| state.phase == Phase::Planned && !state.prepared).await;
        assert_eq!(servers.alices(), ["CHOPS|Hers|hers@alice.example|1", "Øst|Hers too|2"]);
        process.stop().await;
        // There, back and to the end where nothing else is Alice's.
        servers.sql("DELETE FROM customer WHERE id <> 'CHOPS'");
        let process = servers.world.in_phase(Phase::Lazy).await;
        let before = servers.bobs(&process).await;
        assert_eq!(move_all(&process, false, &CODES).await, vec![Moved::Yes; CODES.len()]);
        back(&process).await;
        assert_eq!(
            (servers.bobs(&process).await, servers.alices()),
            (before, vec!["CHOPS|Hers|hers@alice.example|1".to_owned()])
        );
        process.stop().await;
    }
}

#[tokio::test]
async fn records_with_one_email_are_merged_between_servers() {
    for bob in Bob::BOTH {
        let more = "[identity]\nassign = \"next\"\n[conflicts]\nemail = { merge = { name = \"source\" } }";
        let servers = Servers::new(bob, "{ target_only = true, type = \"int\" }", "bigint", more).await;
        servers
            .sql("INSERT INTO customer VALUES (3, 'Hers', 'CHOPS@bob.example', 1), (7, 'Own', 'own@alice.example', 1)");
        there_back_and_to_the_end(&servers).await;
        let expect = ["3|Name CHOPS|CHOPS@bob.example|1", "7|Own|own@alice.example|1", "8|Name 12|12@bob.example|3"];
        assert_eq!(servers.alices()[..3], expect, "{bob:?}");
    }
}
