//! Bob's users and Alice's people in two files, and the processes that absorb
//! the ones into the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use shearwater_core::absorb::Shapes;
use shearwater_core::absorb::identity::Pairs;
use shearwater_core::journal::{Command, Journal, Refusal};
use shearwater_core::lifecycle::Lifecycle;
use shearwater_core::lifecycle::absorb::{Phase, State};
use shearwater_core::query::{Filter, OrderTerm};
use shearwater_core::spec::{self, Migration};
use shearwater_core::{Document, Key, Value};
use shearwater_engine::absorb::{
    Absorbing, Asked, Claims, Crosswalk, Flagged, Joined, Lookups, Options, Protection, Referred, Setup, run,
};
use shearwater_engine::coordinator::CoordinatorOptions;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::{ClientChange, Condition, Edit, Got, ListAsk, ServeError, Shape, WriteDone};
use shearwater_engine::run::ask_in;
use shearwater_engine::{Member, Serve};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

use crate::child;

pub const WAIT: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
    /// Sections that a test adds to the spec.
    pub more: String,
    /// Keys at the top of the spec.
    pub top: String,
    /// Another spec instead.
    pub whole: Option<String>,
}

impl World {
    /// So many users of Bob's, and three people of Alice's own.
    pub fn new(users: i64) -> World {
        let temp = tempfile::tempdir().unwrap();
        let world = World {
            dir: temp.path().to_owned(),
            _temp: Some(temp),
            more: String::new(),
            top: String::new(),
            whole: None,
        };
        let mut bob = world.bob();
        bob.execute_batch(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, first TEXT, last TEXT, vip INTEGER, last_login TEXT)",
        )
        .unwrap();
        let tx = bob.transaction().unwrap();
        for n in 1..=users {
            tx.execute(
                "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    n,
                    (n % 7 != 0).then(|| format!("u{n}@bob.example")),
                    format!("F{}", n % 5),
                    format!("L{n:03}"),
                    n % 3,
                    (n % 4 != 0).then(|| format!("2020-01-{:02}T00:00:00Z", n % 28 + 1)),
                ],
            )
            .unwrap();
        }
        tx.commit().unwrap();
        world
            .alice()
            .execute_batch(
                "CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT NOT NULL, \
                 manager TEXT NOT NULL, status TEXT) WITHOUT ROWID; \
                 INSERT INTO people VALUES ('a1', 'a1@alice.example', 'Own 1', 'boss', 'ACTIVE'), \
                 ('a2', 'u2@bob.example', 'Own 2', 'boss', NULL), ('bob-3', 'a3@alice.example', 'Own 3', 'boss', NULL)",
            )
            .unwrap();
        world
    }

    /// The same directory, as another process sees it.
    pub fn at(dir: &Path) -> World {
        World { dir: dir.to_owned(), _temp: None, more: String::new(), top: String::new(), whole: None }
    }

    /// Without the people of Alice's that collide with Bob's users.
    pub fn without_collisions(self) -> World {
        self.alice().execute_batch("DELETE FROM people WHERE id <> 'a1'").unwrap();
        self
    }

    pub fn with(mut self, more: &str) -> World {
        self.more = more.to_owned();
        self
    }

    pub fn spec(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let dir = self.dir.display();
        format!(
            r#"migration = "bob"
kind = "absorb"
entity = "users"
{}
[source]
url = "sqlite:{dir}/bob.db?sync=normal"
table = "users"
key = "id"
[source.columns]
id = "int"
email = "text"
first = "text"
last = "text"
vip = "int"
last_login = "instant"
[target]
url = "sqlite:{dir}/alice.db?sync=normal"
table = "people"
key = "id"
[fields]
id = {{ sql = '''concat('bob-', id)''', type = "text", back = {{ id = '''cast(substring(id from 5) as bigint)''' }} }}
email = {{ from = "email", type = "text", unique = true }}
name = {{ sql = '''first || ' ' || last''', type = "text", back = {{ first = '''split_part(name, ' ', 1)''', last = '''split_part(name, ' ', 2)''' }} }}
status = {{ target_only = true, type = "text" }}
[require]
manager = {{ type = "text" }}
{}"#,
            self.top, self.more
        )
    }

    fn connect(&self, file: &str) -> Connection {
        let connection = Connection::open(self.dir.join(file)).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
        connection
    }

    /// Bob's file, as his programs see it.
    pub fn bob(&self) -> Connection {
        self.connect("bob.db")
    }

    /// Alice's file, as her programs see it.
    pub fn alice(&self) -> Connection {
        self.connect("alice.db")
    }

    /// Every row of Bob's, as text.
    pub fn bobs(&self) -> Vec<String> {
        rows(&self.bob(), "SELECT id, email, first, last, vip, last_login FROM users ORDER BY id")
    }

    /// Every row of Alice's, as text.
    pub fn people(&self) -> Vec<String> {
        rows(&self.alice(), "SELECT id, email, name, manager, status FROM people ORDER BY id")
    }

    pub async fn setup(&self) -> Setup {
        let text = self.spec();
        let spec = match spec::parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => *spec,
            Ok(other) => panic!("{other:?}"),
            Err(problems) => panic!("{}", spec::render_problems("spec", &text, &problems)),
        };
        let shapes = Arc::new(Shapes::compile(&spec).unwrap());
        let place = JournalPlace::File(self.dir.join("journal"));
        let journals = JournalStore::open(&place, Create::IfMissing).await.unwrap();
        let name = &spec.base.migration;
        let journal = match journals.migration(name).await {
            Ok(journal) => journal,
            Err(_) => journals.create(name, &text, "test").await.unwrap(),
        };
        let open = |url: &str, layout: shearwater_core::shape::Layout| {
            let url = url.to_owned();
            async move { shearwater_stores::open(&url, layout, Create::Never).await }
        };
        let (source, target) = (spec.base.source.url.clone(), spec.base.target.url.clone());
        let flagged = shapes.flagged().clone();
        let source_url = source.clone();
        let opened = open(&target, shapes.shape(Shape::V2.side()).clone()).await.unwrap();
        let crosswalk = match shapes.identity() {
            Some(identity) => {
                let pairs = shearwater_stores::open(&target, identity.pairs.layout(), Create::IfMissing).await.unwrap();
                let plain = open(&source, shapes.shape(Shape::V1.side()).clone()).await.unwrap();
                let claims = claims(&target, &identity.pairs).await;
                Crosswalk::new(shapes.clone(), Asked { pairs, claims, source: plain, target: opened.clone() })
            }
            None => None,
        };
        let (mut references, mut tables) = (Vec::new(), Vec::new());
        for reference in shapes.references() {
            let pairs = reference.pairs().layout();
            let pairs = shearwater_stores::open(&target, pairs, Create::IfMissing).await.unwrap();
            let records = open(&target, reference.layout()).await.unwrap();
            let claims = claims(&target, reference.pairs()).await;
            references.push(Referred::new(reference.clone(), pairs, claims, records));
        }
        let joins = shapes.joins();
        for join in &joins.tables {
            tables.push(open(&source, joins.layout(join)).await.unwrap());
        }
        let joins = joins.clone();
        Setup {
            plain: open(&source, shapes.shape(Shape::V1.side()).clone()).await.unwrap(),
            target: opened,
            crosswalk,
            lookups: Arc::new(Lookups { references, joined: Joined::new(joins.clone(), tables) }),
            flagged: Flagged::by(move || Box::pin(open(&source_url, flagged.clone()))),
            spec: Arc::new(spec),
            shapes,
            journal,
        }
    }

    pub async fn process(&self, name: &str) -> Process {
        self.process_without(name, None).await
    }

    pub async fn process_without(&self, name: &str, without: Option<Protection>) -> Process {
        Process::over(self.setup().await, name, without).await
    }

    /// A process in a phase.
    pub async fn in_phase(&self, phase: Phase) -> Process {
        let process = self.process("p").await;
        process.forward_to(phase).await;
        process
    }
}

async fn claims(target: &str, pairs: &Pairs) -> Claims {
    Claims::new(shearwater_stores::open(target, pairs.claims(), Create::IfMissing).await.unwrap())
}

pub fn rows(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let count = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cells: Vec<String> = (0..count)
            .map(|at| match row.get_ref(at).unwrap() {
                rusqlite::types::ValueRef::Null => "-".to_owned(),
                rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            })
            .collect();
        Ok(cells.join("|"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

pub struct Process {
    pub setup: Setup,
    pub served: Arc<Absorbing>,
}

/// How long a process may be silent: of those that die, and of those that come
/// after them, each waits for the other's lease; others must not lose theirs on a
/// slow machine.
fn lease() -> Duration {
    match std::env::var_os(child::CHILD_ENV) {
        Some(_) => Duration::from_millis(400),
        None => Duration::from_secs(3),
    }
}

impl Process {
    pub async fn over(setup: Setup, name: &str, without: Option<Protection>) -> Process {
        let lease = lease();
        let options = MemberOptions { ttl: lease, poll: Duration::from_millis(3) };
        let member = Member::<State>::join_journal(setup.journal.clone(), name, options).await.unwrap();
        let options = CoordinatorOptions { lease, poll: Duration::from_millis(5) };
        let coordinator = run::spawn(setup.clone(), member.clone(), options, without);
        let served = Absorbing::new(setup.clone(), member, Some(coordinator), Options { without });
        Process { setup, served }
    }

    pub async fn stop(self) {
        self.served.retire().await.unwrap();
        self.served.leave().await;
    }

    pub async fn ask(&self, command: Command) -> Result<serde_json::Value, Refusal> {
        ask_in(self.setup.journal.as_ref(), command, WAIT).await.unwrap()
    }

    pub async fn done(&self, command: Command) -> serde_json::Value {
        let shown = format!("{command:?}");
        match self.ask(command).await {
            Ok(report) => report,
            Err(refusal) => panic!("{shown}: {} {refusal}", refusal.code),
        }
    }

    pub async fn refused(&self, command: Command, code: &str) -> Refusal {
        match self.ask(command.clone()).await {
            Ok(report) => panic!("{command:?} was done: {report}"),
            Err(refusal) => {
                assert_eq!(refusal.code, code, "{command:?}: {refusal}");
                refusal
            }
        }
    }

    pub async fn state(&self) -> State {
        state(self.setup.journal.as_ref()).await
    }

    pub async fn forward_to(&self, phase: Phase) {
        while self.state().await.phase != phase {
            self.done(Command::Advance).await;
        }
        self.until("the member follows", |state| state.phase == phase && state.entering.is_none()).await;
    }

    /// Takes everybody back, and waits until they are.
    pub async fn back(&self) {
        self.done(Command::Rollback).await;
        self.until("back", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
    }

    /// Waits until the journal, and this process's member, are as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        for _ in 0..4_000 {
            if wanted(&self.state().await) && wanted(&self.served.member().view().state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}; {:?}", self.state().await);
    }

    /// Waits until no mark is left in the source.
    pub async fn reconciled(&self) {
        let source = self.setup.source().await.unwrap();
        for _ in 0..4_000 {
            if source.dirty_count().await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("marks are never cleared: {:?}", source.dirty(None, 10).await);
    }

    pub async fn write(&self, shape: Shape, key: &Key, edit: Edit) -> Result<WriteDone, ServeError> {
        let change = ClientChange { key: key.clone(), edit, condition: Condition::None };
        self.served.write(shape, vec![change], None).await
    }

    pub async fn patch(&self, shape: Shape, key: &Key, fields: &[(&str, Value)]) -> WriteDone {
        self.write(shape, key, Edit::MergePatch(document(fields))).await.unwrap()
    }

    /// Moves Bob's user by giving it a manager.
    pub async fn give_manager(&self, n: i64, manager: &str) -> WriteDone {
        self.patch(Shape::V2, &v2(n), &[("manager", manager.into())]).await
    }

    pub async fn get(&self, shape: Shape, key: &Key) -> Option<Got> {
        self.served.get(shape, key).await.unwrap()
    }

    /// A field of a record in a shape.
    pub async fn field(&self, shape: Shape, key: &Key, field: &str) -> Value {
        self.get(shape, key).await.unwrap().record.get(field).cloned().unwrap()
    }

    /// Every key of a list, walked page by page.
    pub async fn walk(&self, shape: Shape, filter: Filter, order: Vec<OrderTerm>, limit: usize) -> Vec<String> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let ask = ListAsk { shape, filter: filter.clone(), order: order.clone(), after, limit };
            let page = self.served.list(ask).await.unwrap();
            keys.extend(page.records.iter().map(|got| got.key.to_text()));
            after = page.next;
            if after.is_none() {
                return keys;
            }
        }
    }

    /// Every record of a list.
    pub async fn all(&self, shape: Shape) -> BTreeMap<String, Document> {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let ask = ListAsk { shape, filter: Filter::All, order: vec![], after, limit: 50 };
            let page = self.served.list(ask).await.unwrap();
            all.extend(page.records.into_iter().map(|got| (got.key.to_text(), got.record)));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

pub async fn state(journal: &dyn Journal) -> State {
    State::replay(&journal.read(0, 100_000).await.unwrap()).unwrap()
}

pub fn document(fields: &[(&str, Value)]) -> Document {
    fields.iter().map(|(name, value)| (*name, value.clone())).collect()
}

/// The key of Bob's n-th user, in his shape.
pub fn v1(n: i64) -> Key {
    Key::single(n)
}

/// The same in Alice's.
pub fn v2(n: i64) -> Key {
    Key::single(format!("bob-{n}"))
}
