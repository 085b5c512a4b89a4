//! A table of users that is to have a status, the processes that serve it, and
//! programs that write the table themselves.
#![allow(dead_code)]

pub use crate::process::*;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::doc as bson;
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::journal::Journal;
use shearwater_core::plan::require::required;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::spec::{Migration, parse, render_problems};
use shearwater_core::store::{Change, ChunkMax, Expect, Image, Store, Write};
use shearwater_engine::coordinator::{Coordinator, CoordinatorOptions};
use shearwater_engine::member::MemberOptions;
use shearwater_engine::require::{self, Member, Opener, Served, Setup};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

pub const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }";
pub const CONSTANT: &str = "\"ACTIVE\"";

async fn open_users(url: &str, create: Create) -> Arc<dyn Store> {
    let layout = DocumentLayout { table: "users".into(), key: vec!["id".into()], document: "doc".into() };
    shearwater_stores::open(url, Layout::Document(layout), create).await.unwrap()
}

pub struct World {
    pub dir: PathBuf,
    pub url: String,
    pub value: String,
    /// The lines of the field's type.
    pub ty: String,
    pub quiet_hours: u64,
    _temp: Option<tempfile::TempDir>,
}

const TEXT: &str = "type = \"text\"";

impl World {
    fn of(temp: tempfile::TempDir, url: String, value: &str) -> World {
        let dir = temp.path().to_owned();
        World { _temp: Some(temp), ..World::at(&dir, &url, value) }
    }

    /// A SQLite file with so many users.
    pub fn sqlite(users: usize, value: &str) -> World {
        let temp = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?sync=normal", temp.path().join("users.db").display());
        let world = World::of(temp, url, value);
        std::fs::write(world.file(), b"").unwrap();
        world.run("PRAGMA journal_mode = WAL");
        world.fill(users, "INTEGER PRIMARY KEY", "TEXT", "BOOLEAN");
        world
    }

    /// A PostgreSQL database with so many users.
    pub fn postgres(users: usize, value: &str) -> World {
        let temp = tempfile::tempdir().unwrap();
        let url = shearwater_testbed::postgres().database("require");
        let world = World::of(temp, url, value);
        world.fill(users, "bigint PRIMARY KEY", "text", "boolean");
        world
    }

    /// A MariaDB database with so many users.
    pub fn mariadb(users: usize, value: &str) -> World {
        let temp = tempfile::tempdir().unwrap();
        let url = shearwater_testbed::mariadb().database("require");
        let world = World::of(temp, url, value);
        world.fill(users, "bigint PRIMARY KEY", "varchar(100)", "tinyint(1)");
        world
    }

    /// A collection of a MongoDB database with so many users.
    pub fn mongodb(users: usize, value: &str) -> World {
        let temp = tempfile::tempdir().unwrap();
        let url = shearwater_testbed::mongodb().database("require");
        let world = World::of(temp, url, value);
        let user = |n: usize| bson! { "_id": n as i64, "name": format!("user {n}"), "active": !n.is_multiple_of(3), "age": (n % 90) as i64 };
        world.command(bson! { "insert": "users", "documents": (1..=users).map(user).collect::<Vec<_>>() });
        world
    }

    /// A table of DynamoDB with so many users.
    pub fn dynamodb(users: usize, value: &str) -> World {
        let temp = tempfile::tempdir().unwrap();
        let url = format!("{}&key_types=N", shearwater_testbed::dynamodb().database("require"));
        let world = World::of(temp, url, value);
        let url = world.url.clone();
        let made = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let store = open_users(&url, Create::IfMissing).await;
                store.provision().await.unwrap();
                for n in 1..=users {
                    let user = format!(r#"{{"id":{n},"active":{},"name":"user {n}"}}"#, !n.is_multiple_of(3));
                    let change =
                        Change { key: Key::single(n as i64), image: Some(Image::of(doc(&user))), expect: Expect::Any };
                    store.write(Write { epoch: None, changes: vec![change], idempotency: None }).await.unwrap();
                }
            });
        });
        made.join().unwrap();
        world
    }

    /// Everything in the table of DynamoDB, in an order of its own, as a runtime of its own reads it.
    pub fn items(&self) -> Vec<String> {
        let url = self.url.clone();
        let read = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let store = open_users(&url, Create::Never).await;
                let mut texts = Vec::new();
                for range in store.split(1).await.unwrap() {
                    let chunk = store.scan(&range, None, ChunkMax { records: 10_000, bytes: 1 << 20 }).await.unwrap();
                    assert!(chunk.next.is_none());
                    texts.extend(
                        chunk.records.into_iter().map(|found| format!("{:?}", found.unwrap().image.unwrap().record)),
                    );
                }
                texts.sort();
                texts
            })
        });
        read.join().unwrap()
    }

    /// The same place, as another process sees it.
    pub fn at(dir: &Path, url: &str, value: &str) -> World {
        let (dir, url, value) = (dir.to_owned(), url.to_owned(), value.to_owned());
        World { dir, url, value, ty: TEXT.to_owned(), quiet_hours: 0, _temp: None }
    }

    fn fill(&self, users: usize, key: &str, text: &str, bool: &str) {
        self.run(&format!("CREATE TABLE users (id {key}, name {text} NOT NULL, active {bool} NOT NULL, age bigint)"));
        let rows: Vec<String> =
            (1..=users).map(|n| format!("({n}, 'user {n}', {}, {})", self.truth(n % 3 != 0), n % 90)).collect();
        for some in rows.chunks(500) {
            self.run(&format!("INSERT INTO users VALUES {}", some.join(", ")));
        }
    }

    pub fn truth(&self, truth: bool) -> &'static str {
        match (self.is_postgres(), truth) {
            (true, true) => "true",
            (true, false) => "false",
            (false, true) => "1",
            (false, false) => "0",
        }
    }

    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub fn is_dynamodb(&self) -> bool {
        self.url.starts_with("dynamodb")
    }

    pub fn is_mongodb(&self) -> bool {
        self.url.starts_with("mongodb")
    }

    /// Runs a command of MongoDB as a program does that has never heard of us;
    /// the server's numbers of what it refused.
    pub fn command(&self, command: mongodb::bson::Document) -> Vec<i32> {
        let answer = shearwater_testbed::mongodb().run(&self.url, command);
        let errors = answer.get_array("writeErrors").cloned().unwrap_or_default();
        errors.iter().map(|error| error.as_document().unwrap().get_i32("code").unwrap()).collect()
    }

    /// What a command with a cursor answers at once.
    pub fn answer(&self, command: mongodb::bson::Document) -> Vec<String> {
        let answer = shearwater_testbed::mongodb().run(&self.url, command);
        let found = answer.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
        found.iter().map(ToString::to_string).collect()
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite")
    }

    pub fn file(&self) -> String {
        self.url.trim_start_matches("sqlite:").split('?').next().unwrap().to_owned()
    }

    fn server(&self) -> &'static shearwater_testbed::Server {
        if self.is_postgres() { shearwater_testbed::postgres() } else { shearwater_testbed::mariadb() }
    }

    /// What a program does that has never heard of us.
    pub fn try_run(&self, sql: &str) -> Result<(), String> {
        if self.is_sqlite() {
            let conn = rusqlite::Connection::open(self.file()).unwrap();
            conn.busy_timeout(Duration::from_secs(10)).unwrap();
            return conn.execute_batch(sql).map_err(|e| e.to_string());
        }
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.server().run(&self.url, &[sql])))
            .map_err(|told| told.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    pub fn run(&self, sql: &str) {
        if self.is_sqlite() && sql.starts_with("PRAGMA") {
            let conn = rusqlite::Connection::open(self.file()).unwrap();
            conn.query_row(sql, [], |_| Ok(())).unwrap();
            return;
        }
        self.try_run(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The first value of a query.
    pub fn value_of(&self, sql: &str) -> Option<String> {
        if self.is_sqlite() {
            let conn = rusqlite::Connection::open(self.file()).unwrap();
            return conn
                .query_row(sql, [], |row| {
                    Ok(match row.get_ref(0)? {
                        rusqlite::types::ValueRef::Null => None,
                        rusqlite::types::ValueRef::Integer(n) => Some(n.to_string()),
                        other => Some(String::from_utf8_lossy(other.as_bytes().unwrap()).into_owned()),
                    })
                })
                .unwrap();
        }
        self.server().rows(&self.url, sql).remove(0).remove(0)
    }

    /// What a dump of the schema would tell.
    pub fn schema(&self) -> Vec<String> {
        if self.is_sqlite() {
            let conn = rusqlite::Connection::open(self.file()).unwrap();
            let mut statement = conn
                .prepare("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
                .unwrap();
            return statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        }
        let queries: &[&str] = match self.is_postgres() {
            true => &[
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1",
                "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || \
                 coalesce(pg_get_expr(d.adbin, d.adrelid), '-') FROM pg_attribute a \
                 LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                 WHERE a.attrelid = 'users'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                "SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'users'::regclass ORDER BY 1",
                "SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass ORDER BY 1",
                "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' ORDER BY 1",
            ],
            false => &[
                "SHOW CREATE TABLE users",
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1",
            ],
        };
        queries.iter().flat_map(|query| self.server().rows(&self.url, query)).map(|row| format!("{row:?}")).collect()
    }

    pub fn spec(&self) -> String {
        format!(
            "migration = \"status\"\nkind = \"require\"\nentity = \"users\"\n[store]\nurl = \"{}\"\ntable = \"users\"\n\
             key = \"{}\"\n[field]\nname = \"status\"\n{}\nvalue = {}\n\
             [contract]\noutdated_writes_quiet_hours = {}\n[pace]\nduty_percent_max = 100\n",
            self.url,
            if self.is_mongodb() { "_id" } else { "id" },
            self.ty,
            self.value,
            self.quiet_hours
        )
    }

    pub async fn journal(&self) -> Arc<dyn Journal> {
        let place = JournalPlace::File(self.dir.join("journal"));
        let journals = JournalStore::open(&place, Create::IfMissing).await.unwrap();
        match journals.migration("status").await {
            Ok(journal) => journal,
            Err(_) => journals.create("status", &self.spec(), "test").await.unwrap(),
        }
    }

    /// Fresh instances of everything.
    pub async fn setup(&self) -> Setup {
        let text = self.spec();
        let spec = match parse(&text, &|_| None) {
            Ok(Migration::Require(spec)) => spec,
            Ok(_) => panic!("another kind"),
            Err(problems) => panic!("{}", render_problems("spec", &text, &problems)),
        };
        let inspection = shearwater_stores::inspect(&self.url).await.unwrap();
        let required = required(&spec, &inspection).unwrap();
        let old = shearwater_stores::open(&self.url, required.v1.clone(), Create::Never).await.unwrap();
        let evolve = shearwater_stores::open_evolve(&self.url, required.wanted).await.unwrap();
        Setup {
            spec: Arc::new(spec),
            journal: self.journal().await,
            fill: required.fill,
            v1: required.v1,
            v2: required.v2,
            old,
            evolve,
            opener: Arc::new(Door(self.url.clone())),
        }
    }

    /// A process that serves and, unless another one does, coordinates.
    pub async fn process(&self, name: &str) -> Process {
        let setup = self.setup().await;
        let options = MemberOptions { ttl: Duration::from_secs(2), poll: Duration::from_millis(2) };
        let member = Member::join_journal(setup.journal.clone(), name, options).await.unwrap();
        let coordinator = require::run::spawn(
            setup.clone(),
            member.clone(),
            CoordinatorOptions { lease: Duration::from_secs(2), poll: Duration::from_millis(2) },
        );
        let served = Served::new(setup.clone(), member.clone(), Some(coordinator));
        Process { setup, member, served }
    }

    /// A process that only serves.
    pub async fn gateway(&self, name: &str) -> Process {
        let setup = self.setup().await;
        let options = MemberOptions { ttl: Duration::from_secs(2), poll: Duration::from_millis(2) };
        let member = Member::join_journal(setup.journal.clone(), name, options).await.unwrap();
        let none: Option<Coordinator> = None;
        let served = Served::new(setup.clone(), member.clone(), none);
        Process { setup, member, served }
    }
}

struct Door(String);

#[async_trait]
impl Opener for Door {
    async fn open(&self, layout: &Layout) -> StoreResult<Arc<dyn Store>> {
        shearwater_stores::open(&self.0, layout.clone(), Create::Never).await
    }
}
