//! A migration of documents to rows in a directory of its own, the processes
//! that take part in it, and writers that go straight to the files.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use shearwater_core::Key;
use shearwater_core::journal::{Command, Entry, Event, Journal, Refusal};
use shearwater_core::lifecycle::{BackfillState, Lifecycle, Phase, State};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::{ChunkMax, Image, Side, Store};
use shearwater_engine::member::MemberOptions;
use shearwater_engine::run::{self, Coordinator, CoordinatorOptions};
use shearwater_engine::{Member, Setup};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

pub const FIELDS: &str = r#"
[fields]
id = { from = "_id", type = "text", required = true }
email = { from = "email", type = "text", unique = true }
city = { from = "address.city", type = "text" }
age = { from = "age", type = "int" }
mentor = { from = "mentor", type = "text", references = "people.id" }
score = { target_only = true, type = "int" }
tags = { table = "people_tags", scalar = "tag", type = "text" }
[unmapped]
keep_in = "extra"
"#;

pub const GATES: &str = "[gates]\npause_ms_max = 20000\nbacklog_max = 100000\n";

pub struct World {
    pub dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
    pub gates: String,
    /// The journal's URL; `None`: a file in the directory.
    pub journal: Option<String>,
}

impl World {
    /// A directory with a source of `records` documents.
    pub fn new(records: usize) -> World {
        let temp = tempfile::tempdir().unwrap();
        let world = World { dir: temp.path().to_owned(), _temp: Some(temp), gates: GATES.to_owned(), journal: None };
        let mut source = world.source();
        let tx = source.transaction().unwrap();
        tx.execute_batch("CREATE TABLE users (_id PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID").unwrap();
        for n in 0..records {
            let key = format!("u{n:05}");
            tx.execute("INSERT INTO users VALUES (?1, ?2)", params![key, document(&key, n as i64)]).unwrap();
        }
        tx.commit().unwrap();
        world
    }

    /// The same with its journal on a server.
    pub fn with_journal(self, url: String) -> World {
        World { journal: Some(url), ..self }
    }

    /// The same directory, as another process sees it.
    pub fn at(dir: &Path) -> World {
        World { dir: dir.to_owned(), _temp: None, gates: GATES.to_owned(), journal: None }
    }

    pub fn spec(&self) -> String {
        let dir = self.dir.display();
        format!(
            "migration = \"users\"\nkind = \"move\"\nentity = \"users\"\n\
             [source]\nurl = \"sqlite:{dir}/legacy.db?sync=normal\"\ntable = \"users\"\nkey = \"_id\"\n\
             [target]\nurl = \"sqlite:{dir}/app.db?sync=normal\"\ntable = \"people\"\nkey = \"id\"\n{FIELDS}{}",
            self.gates
        )
    }

    fn connect(&self, file: &str) -> Connection {
        let connection = Connection::open(self.dir.join(file)).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
        connection
    }

    /// The source's file, as a forgotten cron job sees it.
    pub fn source(&self) -> Connection {
        self.connect("legacy.db")
    }

    /// The target's file.
    pub fn target(&self) -> Connection {
        self.connect("app.db")
    }

    /// Fresh instances of everything.
    pub async fn setup(&self) -> Setup {
        let text = self.spec();
        let spec = spec::parse_move(&text, &|_| None)
            .unwrap_or_else(|problems| panic!("{}", spec::render_problems("spec", &text, &problems)));
        let mapping = Mapping::compile(&spec).unwrap();
        let place = match &self.journal {
            Some(url) => JournalPlace::parse(url).unwrap(),
            None => JournalPlace::File(self.dir.join("journal")),
        };
        let journals = JournalStore::open(&place, Create::IfMissing).await.unwrap();
        let journal = match journals.migration("users").await {
            Ok(journal) => journal,
            Err(_) => journals.create("users", &text, "test").await.unwrap(),
        };
        let source = shearwater_stores::open(&spec.source.url, mapping.source().clone(), Create::Never).await.unwrap();
        let target =
            shearwater_stores::open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await.unwrap();
        Setup { spec: Arc::new(spec), mapping: Arc::new(mapping), journal, source, target }
    }

    /// A member with a coordinator.
    pub async fn process(&self, name: &str) -> Process {
        Process::over(self.setup().await, name).await
    }
}

/// A document of the source.
pub fn document(key: &str, n: i64) -> String {
    format!(
        r#"{{"_id":"{key}","email":"{key}@example.org","address":{{"city":"c{}","zip":"{n}"}},"age":{n},"tags":["a","t{n}"],"odd":{{"f":{n}.5,"none":null}}}}"#,
        n % 7
    )
}

/// One process's part.
pub struct Process {
    pub setup: Setup,
    pub member: Arc<Member>,
    coordinator: Option<Coordinator>,
}

pub const WAIT: Duration = Duration::from_secs(60);

impl Process {
    pub async fn over(setup: Setup, name: &str) -> Process {
        let options = MemberOptions { ttl: Duration::from_millis(400), poll: Duration::from_millis(3) };
        let member = Member::join(&setup, name, options).await.unwrap();
        let options = CoordinatorOptions { lease: Duration::from_millis(400), poll: Duration::from_millis(5) };
        let coordinator = Some(run::spawn(setup.clone(), member.clone(), options));
        Process { setup, member, coordinator }
    }

    pub async fn stop(mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.stop().await;
        }
        self.member.leave().await;
    }

    pub async fn ask(&self, command: Command) -> Result<serde_json::Value, Refusal> {
        run::ask(&self.setup, command, WAIT).await.unwrap()
    }

    /// Asks, and wants it done; asks again while something else that is about
    /// to end is under way: its end may be in the journal before it has ended.
    pub async fn done(&self, command: Command) -> serde_json::Value {
        loop {
            match self.ask(command.clone()).await {
                Ok(report) => return report,
                Err(refusal) if refusal.code == "busy/activity" => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(refusal) => panic!("{command:?}: {} {refusal}", refusal.code),
            }
        }
    }

    /// Asks, and wants it refused with this code.
    pub async fn refused(&self, command: Command, code: &str) -> Refusal {
        let shown = format!("{command:?}");
        match self.ask(command).await {
            Ok(report) => panic!("{shown} was done: {report}"),
            Err(refusal) => {
                assert_eq!(refusal.code, code, "{shown}: {refusal}");
                refusal
            }
        }
    }

    pub async fn state(&self) -> State {
        state(self.setup.journal.as_ref()).await
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) -> State {
        for _ in 0..6_000 {
            let state = self.state().await;
            if wanted(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}; state {:?}", self.state().await);
    }

    pub async fn backfilled(&self) {
        self.until("backfilled", |s| matches!(s.backfill, BackfillState::Done { .. })).await;
    }

    /// Waits until no mark is left.
    pub async fn followed(&self, authority: Side) {
        for _ in 0..6_000 {
            if self.setup.store(authority).dirty_count().await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the marks of {authority:?} are never cleared");
    }

    /// Goes on to a phase by the shortest way forward.
    pub async fn forward_to(&self, to: Phase) {
        loop {
            let state = self.state().await;
            if state.phase == to {
                return;
            }
            match state.phase {
                Phase::Planned => drop(self.done(Command::Advance).await),
                Phase::DualWrite => {
                    self.backfilled().await;
                    let report = self.done(Command::Verify).await;
                    assert_eq!(report["mismatches"], 0, "{report}");
                    self.done(Command::Advance).await;
                }
                Phase::ShadowRead => drop(self.done(Command::Advance).await),
                Phase::ReadRamp => {
                    self.done(Command::Ramp { percent: 100 }).await;
                    self.done(Command::Advance).await;
                }
                Phase::ReverseWindow => drop(self.done(Command::Complete).await),
                other => panic!("no way from {other:?} to {to:?}"),
            }
        }
    }
}

pub async fn state(journal: &dyn Journal) -> State {
    State::replay(&entries(journal).await).unwrap()
}

pub async fn entries(journal: &dyn Journal) -> Vec<Entry> {
    journal.read(0, 100_000).await.unwrap()
}

pub fn events(entries: &[Entry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.event.name()).collect()
}

/// Every record of a store, by key text.
pub async fn records(store: &dyn Store) -> BTreeMap<String, Image> {
    let mut all = BTreeMap::new();
    for range in store.split(1).await.unwrap() {
        let mut after = None;
        loop {
            let max = ChunkMax { records: 1_000, bytes: 1 << 20 };
            let chunk = store.scan(&range, after.as_ref(), max).await.unwrap();
            for record in chunk.records {
                let record = record.unwrap();
                all.insert(record.key.to_text(), record.image.unwrap());
            }
            after = chunk.next;
            if after.is_none() {
                break;
            }
        }
    }
    all
}

/// Record by record: what the source maps to is what the target holds.
pub async fn assert_equal(setup: &Setup, what: &str) {
    let source = records(setup.source.as_ref()).await;
    let target = records(setup.target.as_ref()).await;
    let mapped: BTreeMap<String, Image> = source
        .iter()
        .map(|(key, image)| {
            let key = setup.mapping.key_forward(&Key::from_text(key, 1).unwrap()).unwrap();
            (key.to_text(), setup.mapping.forward(image).unwrap())
        })
        .collect();
    assert_eq!(mapped.keys().collect::<Vec<_>>(), target.keys().collect::<Vec<_>>(), "{what}: keys");
    for (key, image) in mapped {
        assert_eq!(image, target[&key], "{what}: {key}");
    }
}

/// Small repeatable randomness; the seed is printed by whoever begins.
pub struct Rng(u64);

impl Rng {
    pub fn seeded(what: &str) -> Rng {
        let seed = std::env::var("SHEARWATER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
        });
        println!("{what}: SHEARWATER_SEED={seed}");
        Rng(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// The last event of a name.
pub fn last_event(entries: &[Entry], name: &str) -> Option<Event> {
    entries.iter().rev().find(|entry| entry.event.name() == name).map(|entry| entry.event.clone())
}
