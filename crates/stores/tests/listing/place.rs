//! A table of people in a fresh database of each kind, filled by its own program.

use std::sync::Arc;

use shearwater_core::path::Path;
use shearwater_core::query::OrderTerm;
use shearwater_core::shape::{ColumnShape, FieldType, Layout, TableShape};
use shearwater_core::store::*;
use shearwater_core::{Document, Key, Value};
use shearwater_stores::Create;
use shearwater_testbed::{mariadb, postgres};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

pub const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mariadb];

pub struct Place {
    pub kind: Kind,
    pub store: Arc<dyn Store>,
    url: String,
    folder: tempfile::TempDir,
}

impl Place {
    /// With so many people: `id`, `email` (some have none), `city` (few), `n`.
    /// PostgreSQL's texts have the database's own collation, MariaDB's a binary one.
    pub async fn new(kind: Kind, people: usize) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("people.db");
        let (url, text) = match kind {
            Kind::Sqlite => (format!("sqlite:{}?sync=normal", file.display()), "TEXT"),
            Kind::Postgres => (postgres().database("lists"), "text"),
            Kind::Mariadb => {
                (mariadb().database("lists"), "VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
            }
        };
        let run = |sql: &[&str]| match kind {
            Kind::Sqlite => rusqlite::Connection::open(&file).unwrap().execute_batch(&sql.join(";")).unwrap(),
            Kind::Postgres => postgres().run(&url, sql),
            Kind::Mariadb => mariadb().run(&url, sql),
        };
        run(&[&format!(
            "CREATE TABLE people (id {text} NOT NULL PRIMARY KEY, email {text}, city {text} NOT NULL, n bigint)"
        )]);
        let rows: Vec<String> = (0..people)
            .map(|at| {
                let email = if at % 7 == 3 { "NULL".to_owned() } else { format!("'e{:05}'", at * 7919 % people) };
                format!("('p{at:05}', {email}, 'city {}', {})", at % 9, at * 31 % people)
            })
            .collect();
        for some in rows.chunks(1_000) {
            run(&[&format!("INSERT INTO people VALUES {}", some.join(", "))]);
        }
        let store = shearwater_stores::open(&url, layout(), Create::Never).await.unwrap();
        store.install_for_parked(Fence { role: Role::Authority, epoch: 1 }).await.unwrap();
        Place { kind, store, url, folder }
    }

    /// Runs a statement as another program would.
    pub fn run(&self, sql: &str) {
        match self.kind {
            Kind::Sqlite => {
                let file = self.folder.path().join("people.db");
                rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
            }
            Kind::Postgres => postgres().run(&self.url, &[sql]),
            Kind::Mariadb => mariadb().run(&self.url, &[sql]),
        }
    }

    /// What PostgreSQL plans by: its own gathering comes when it comes.
    pub fn gather_statistics(&self) {
        if self.kind == Kind::Postgres {
            self.run("ANALYZE people");
            self.run("ANALYZE _shearwater.\"public.people_marks\"");
        }
    }

    /// The same as another process opens it.
    pub async fn again(&self) -> Arc<dyn Store> {
        shearwater_stores::open(&self.url, layout(), Create::Never).await.unwrap()
    }

    /// Parks something beside each of these.
    pub async fn park(&self, numbers: impl Iterator<Item = usize>) {
        let keys: Vec<Key> = numbers.map(|at| Key::single(format!("p{at:05}"))).collect();
        for some in keys.chunks(500) {
            let mut changes = Vec::new();
            for found in self.store.fetch_many(some).await.unwrap() {
                let parked = [("from", Value::Int(1))].into_iter().collect();
                let record: Document = found.image.unwrap().record;
                let image = Some(Image { record, parked });
                changes.push(Change { key: found.key, image, expect: Expect::Any });
            }
            self.store.write(Write { epoch: Some(1), changes, idempotency: None }).await.unwrap();
        }
    }
}

fn layout() -> Layout {
    let column = |name: &str, ty| ColumnShape {
        name: name.to_owned(),
        ty,
        nullable: matches!(name, "email" | "n"),
        unique: false,
        native: None,
        references: None,
    };
    let text = FieldType::Text;
    let columns = vec![column("id", text), column("email", text), column("city", text), column("n", FieldType::Int)];
    Layout::Rows(TableShape {
        table: "people".into(),
        key: vec!["id".into()],
        columns,
        children: vec![],
        residue: None,
        extras: Default::default(),
    })
}

/// Rising, nulls last.
pub fn by(name: &str) -> OrderTerm {
    OrderTerm::by(Path::field(name))
}

/// Falling, nulls first.
pub fn down(name: &str) -> OrderTerm {
    OrderTerm { descending: true, nulls_first: true, ..by(name) }
}
