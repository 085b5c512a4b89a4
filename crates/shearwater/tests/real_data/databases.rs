//! The relational data sets, loaded into a store of their own kind; and a look
//! at a store that does not go through the program.

use std::io::Read as _;
use std::path::Path;

use mongodb::bson::doc;
use shearwater_testbed::{Server, dynamodb, mariadb, mongodb, postgres};

use crate::given::{bytes, data};

/// A database, and how it is asked.
pub struct Database {
    pub url: String,
    ask: Ask,
}

enum Ask {
    File(std::path::PathBuf),
    Postgres,
    Mariadb,
    /// Only counted.
    Mongodb,
    /// Only exported.
    Dynamodb,
}

/// A foreign key: the table, its column, and the other table; in lower case and
/// without underscores, since one data set names its tables differently.
pub type Reference = (String, String, String);

impl Database {
    pub fn sqlite(place: &Path, name: &str) -> Database {
        Database { url: format!("sqlite:{name}"), ask: Ask::File(place.join(name)) }
    }

    pub fn postgres(name: &str) -> Database {
        Database { url: postgres().database(name), ask: Ask::Postgres }
    }

    /// Compared by bytes, as the data sets of other stores are.
    pub fn mariadb(name: &str) -> Database {
        let clauses = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin";
        Database { url: mariadb().database_with(name, clauses), ask: Ask::Mariadb }
    }

    pub fn mongodb(name: &str) -> Database {
        Database { url: mongodb().database(name), ask: Ask::Mongodb }
    }

    /// With keys of these types, as its URL says them.
    pub fn dynamodb(name: &str, keys: &str) -> Database {
        Database { url: format!("{}{keys}", dynamodb().database(name)), ask: Ask::Dynamodb }
    }

    /// Whether it gives back every type once no migration runs there.
    pub fn keeps_types(&self) -> bool {
        !matches!(self.ask, Ask::Dynamodb)
    }

    /// Whether it has no tables, and so no foreign keys.
    pub fn holds_documents(&self) -> bool {
        matches!(self.ask, Ask::Mongodb | Ask::Dynamodb)
    }

    pub fn load(&self, script: &str) {
        match &self.ask {
            Ask::File(path) => rusqlite::Connection::open(path).unwrap().execute_batch(script).unwrap(),
            Ask::Postgres => postgres().load(&self.url, script.as_bytes()),
            Ask::Mariadb => mariadb().load(&self.url, script.as_bytes()),
            Ask::Mongodb | Ask::Dynamodb => panic!("there is no SQL"),
        }
    }

    fn server(&self) -> &'static Server {
        match self.ask {
            Ask::Mariadb => mariadb(),
            Ask::Postgres | Ask::File(_) | Ask::Mongodb | Ask::Dynamodb => postgres(),
        }
    }

    /// Rows as texts.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let Ask::File(path) = &self.ask else { return self.server().rows(&self.url, sql) };
        let file = rusqlite::Connection::open(path).unwrap();
        let mut statement = file.prepare(sql).unwrap();
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>, at: usize| -> rusqlite::Result<Option<String>> {
            Ok(match row.get_ref(at)? {
                rusqlite::types::ValueRef::Null => None,
                rusqlite::types::ValueRef::Integer(n) => Some(n.to_string()),
                rusqlite::types::ValueRef::Real(x) => Some(x.to_string()),
                rusqlite::types::ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                rusqlite::types::ValueRef::Blob(bytes) => Some(format!("{bytes:?}")),
            })
        };
        let rows = statement.query_map([], |row| (0..columns).map(|at| text(row, at)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The one value of a query.
    pub fn one(&self, sql: &str) -> String {
        self.rows(sql).swap_remove(0).swap_remove(0).unwrap()
    }

    pub fn count(&self, table: &str) -> usize {
        if matches!(self.ask, Ask::Mongodb) {
            let answer = mongodb().run(&self.url, doc! { "count": table });
            return usize::try_from(answer.get_i32("n").unwrap()).unwrap();
        }
        let quote = if matches!(self.ask, Ask::Mariadb) { '`' } else { '"' };
        self.one(&format!("SELECT count(*) FROM {quote}{table}{quote}")).parse().unwrap()
    }

    pub fn foreign_keys(&self) -> Vec<Reference> {
        let sql = match &self.ask {
            Ask::File(_) => {
                "SELECT t.name, f.\"from\", f.\"table\" FROM sqlite_schema t, pragma_foreign_key_list(t.name) f \
                 WHERE t.type = 'table'"
            }
            Ask::Postgres => {
                "SELECT t.relname::text, a.attname::text, f.relname::text FROM pg_constraint c \
                 JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid \
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) \
                 WHERE c.contype = 'f' AND c.convalidated AND NOT t.relispartition"
            }
            Ask::Mariadb => {
                "SELECT table_name, column_name, referenced_table_name FROM information_schema.key_column_usage \
                 WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL"
            }
            Ask::Mongodb | Ask::Dynamodb => return Vec::new(),
        };
        let plain = |text: &Option<String>| text.as_ref().unwrap().replace('_', "").to_lowercase();
        let mut keys: Vec<Reference> =
            self.rows(sql).iter().map(|row| (plain(&row[0]), plain(&row[1]), plain(&row[2]))).collect();
        keys.sort();
        keys
    }
}

fn script(path: &str) -> String {
    String::from_utf8(bytes(path)).unwrap().trim_start_matches('\u{feff}').to_owned()
}

/// Without the lines that make and enter a database of their own.
fn without(script: &str, beginnings: &[&str]) -> String {
    let stays = |line: &&str| !beginnings.iter().any(|beginning| line.starts_with(beginning));
    script.lines().filter(stays).collect::<Vec<_>>().join("\n")
}

pub fn chinook_sqlite(place: &Path) -> Database {
    let database = Database::sqlite(place, "chinook.db");
    // One transaction, so that loading does not wait for the disk at each row.
    database.load(&format!("BEGIN;{}COMMIT;", script("relational/chinook/Chinook_Sqlite.sql")));
    database
}

pub fn chinook_postgres() -> Database {
    let database = Database::postgres("chinook");
    let script = script("relational/chinook/Chinook_PostgreSql.sql");
    database.load(&without(&script, &["DROP DATABASE", "CREATE DATABASE", "\\c "]));
    database
}

pub fn northwind() -> Database {
    let database = Database::postgres("northwind");
    database.load(&script("relational/northwind/northwind.sql"));
    database
}

pub fn pagila() -> Database {
    let database = Database::postgres("pagila");
    database.load(&script("relational/pagila/pagila.sql"));
    database
}

pub fn sakila() -> Database {
    let database = Database::mariadb("sakila");
    let file = std::fs::File::open(data("relational/sakila-mysql/sakila-db.zip")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut part = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(&format!("sakila-db/sakila-{name}.sql")).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let beginnings = ["DROP SCHEMA", "CREATE SCHEMA", "USE sakila"];
    // Views name their tables with their database's own name.
    let schema = without(&String::from_utf8(part("schema")).unwrap(), &beginnings).replace("sakila.", "");
    database.load(&schema);
    // A picture stands in it byte by byte.
    let data = part("data");
    let lines = data.split_inclusive(|byte| *byte == b'\n');
    let data: Vec<u8> = lines.filter(|line| !line.starts_with(b"USE sakila")).flatten().copied().collect();
    mariadb().load(&database.url, &data);
    database
}
