//! Two stores full of records, and an absorb between them in its lazy phase.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::absorb::Shapes;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::path::Path;
use shearwater_core::query::{Filter, ListQuery, OrderTerm};
use shearwater_core::spec::{self, Migration};
use shearwater_core::store::{Among, Reads, Side, Store};
use shearwater_engine::absorb::{Absorbing, Flagged, Options, Setup, run as engine};
use shearwater_engine::coordinator::CoordinatorOptions;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::run::ask_in;
use shearwater_engine::{Member, Serve};
use shearwater_stores::journal::{JournalPlace, JournalStore};
use shearwater_stores::outsider::Collection;
use shearwater_stores::{Create, open_outsider};
use shearwater_testbed::{mariadb, postgres};

/// Rows of one statement that fills a table.
const ROWS: u32 = 1_000;

/// The preparation looks at every record of the source.
const PATIENCE: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

impl Kind {
    fn url(self, folder: &std::path::Path, name: &str) -> String {
        match self {
            Kind::Sqlite => format!("sqlite:{}", folder.join(name).display()),
            Kind::Postgres => postgres().database(name),
            Kind::Mariadb => mariadb().database(name),
        }
    }

    /// A text column that can be ordered by its bytes.
    fn text(self) -> &'static str {
        match self {
            Kind::Sqlite => "TEXT",
            Kind::Postgres => "text COLLATE \"C\"",
            Kind::Mariadb => "VARCHAR(80) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
        }
    }
}

pub struct Stand {
    pub records: u32,
    pub source: Arc<dyn Store>,
    pub target: Arc<dyn Store>,
    pub served: Arc<Absorbing>,
    _folder: tempfile::TempDir,
}

/// The e-mail of a record: rising with its number.
pub fn email(n: u32) -> String {
    format!("u{n:08}@example.org")
}

impl Stand {
    /// With even records in the source and odd ones in the target.
    pub async fn open(source: Kind, target: Kind, records: u32) -> Stand {
        let folder = tempfile::tempdir().unwrap();
        let urls = [source.url(folder.path(), "bob"), target.url(folder.path(), "alice")];
        fill(source, &urls[0], "users", "", 0, records).await;
        fill(target, &urls[1], "people", "manager", 1, records).await;
        let setup = setup(folder.path(), &urls).await;
        let member = Member::<State>::join_journal(setup.journal.clone(), "bench", MemberOptions::default());
        let member = member.await.unwrap();
        let coordinator = engine::spawn(setup.clone(), member.clone(), CoordinatorOptions::default(), None);
        let served = Absorbing::new(setup.clone(), member.clone(), Some(coordinator), Options::default());
        for _ in 0..2 {
            ask_in(setup.journal.as_ref(), Command::Advance, PATIENCE).await.unwrap().unwrap();
        }
        // The member has followed before the command is answered.
        let source = setup.source().await.unwrap();
        Stand { records, source, target: setup.target.clone(), served, _folder: folder }
    }

    pub async fn close(self) {
        self.served.retire().await.unwrap();
        self.served.leave().await;
    }
}

async fn fill(kind: Kind, url: &str, table: &str, more: &str, first: u32, records: u32) {
    let collection = Collection { table: table.to_owned(), key: "id".to_owned(), document: "doc".to_owned() };
    let mut program = open_outsider(url, collection).await.unwrap();
    let (text, more_column) = (kind.text(), if more.is_empty() { "" } else { ", manager VARCHAR(80) NOT NULL" });
    let key = if kind == Kind::Sqlite { "INTEGER" } else { "bigint" };
    let name = table;
    let table = if kind == Kind::Postgres { format!("public.{name}") } else { name.to_owned() };
    let create = format!(
        "CREATE TABLE {table} (id {key} NOT NULL PRIMARY KEY, email {text} NOT NULL, name {text} NOT NULL{more_column})"
    );
    program.execute(&create).await.unwrap();
    let mut at = first;
    while at < records {
        let end = (at + 2 * ROWS).min(records);
        let row = |n: u32| {
            let manager = if more.is_empty() { "" } else { ", 'boss'" };
            format!("({n}, '{}', 'Name of {n}'{manager})", email(n))
        };
        let rows: Vec<String> = (at..end).step_by(2).map(row).collect();
        program.execute(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await.unwrap();
        at += 2 * ROWS;
    }
    program.execute(&format!("CREATE INDEX {name}_email ON {table} (email, id)")).await.unwrap();
    if kind != Kind::Mariadb {
        program.execute("ANALYZE").await.unwrap();
    }
}

async fn setup(folder: &std::path::Path, urls: &[String; 2]) -> Setup {
    let text = format!(
        r#"migration = "bench"
kind = "absorb"
entity = "users"
scope = "all"
[source]
url = "{}"
table = "users"
key = "id"
[source.columns]
id = "int"
email = "text"
name = "text"
[target]
url = "{}"
table = "people"
key = "id"
[fields]
id = {{ from = "id", type = "int" }}
email = {{ from = "email", type = "text" }}
name = {{ from = "name", type = "text" }}
[require]
manager = {{ type = "text" }}
"#,
        urls[0], urls[1]
    );
    let spec = match spec::parse(&text, &|_| None) {
        Ok(Migration::Absorb(spec)) => *spec,
        Ok(_) => panic!("another kind"),
        Err(problems) => panic!("{}", spec::render_problems("bench", &text, &problems)),
    };
    let shapes = Arc::new(Shapes::compile(&spec).unwrap());
    let place = JournalPlace::File(folder.join("journal"));
    let journals = JournalStore::open(&place, Create::IfMissing).await.unwrap();
    let journal = journals.create("bench", &text, "bench").await.unwrap();
    let (url, layout) = (urls[0].clone(), shapes.flagged().clone());
    let flagged = Flagged::by(move || {
        let (url, layout) = (url.clone(), layout.clone());
        Box::pin(async move { shearwater_stores::open(&url, layout, Create::Never).await })
    });
    let open = async |url: &str, side| {
        let store = shearwater_stores::open(url, shapes.shape(side).clone(), Create::Never).await.unwrap();
        let order = vec![OrderTerm::by(Path::field("email"))];
        let query = ListQuery { filter: Filter::All, order, after: None, limit: 50 };
        let plan = store.explain(&query, Among::All).await.unwrap().unwrap();
        assert_eq!(plan.reads, Reads::Page, "{plan:?}");
        store
    };
    let (plain, target) = (open(&urls[0], Side::Source).await, open(&urls[1], Side::Target).await);
    Setup { plain, target, crosswalk: None, lookups: Arc::default(), flagged, spec: Arc::new(spec), shapes, journal }
}
