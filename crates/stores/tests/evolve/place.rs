//! A table of users in a fresh database of each kind, and a program that writes
//! it without knowing of us.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::Document;
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::*;
use shearwater_core::fill::Fill;
use shearwater_core::shape::{ColumnShape, FieldType, Layout, TableShape};
use shearwater_core::spec::{Migration, RequireSpec, parse};
use shearwater_core::store::{ChunkMax, Reader, Store};
use shearwater_stores::Create;
use shearwater_testbed::{Server, mariadb, postgres};

/// The kinds that can require a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

pub const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mariadb];

pub struct Place {
    pub kind: Kind,
    pub url: String,
    server: Option<&'static Server>,
    /// Columns of more types, once they are added.
    more: Vec<ColumnShape>,
    _folder: tempfile::TempDir,
}

type Rows = Vec<Vec<Option<String>>>;

impl Place {
    /// With an empty table of users, in a file or on the server that everybody uses.
    pub fn new(kind: Kind) -> Place {
        match kind {
            Kind::Sqlite => Place::at(kind, None),
            Kind::Postgres => Place::on(postgres(), kind),
            Kind::Mariadb => Place::on(mariadb(), kind),
        }
    }

    /// The same on a server of the kind.
    pub fn on(server: &'static Server, kind: Kind) -> Place {
        Place::at(kind, Some(server))
    }

    fn at(kind: Kind, server: Option<&'static Server>) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = match server {
            Some(server) => server.database("require"),
            None => format!("sqlite:{}?sync=normal", folder.path().join("users.db").display()),
        };
        let place = Place { kind, url, server, more: Vec::new(), _folder: folder };
        let (bool, text) = match kind {
            Kind::Sqlite => ("INTEGER", "TEXT"),
            Kind::Postgres => ("boolean", "text"),
            Kind::Mariadb => ("TINYINT(1)", "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
        };
        let key = if kind == Kind::Sqlite { "INTEGER PRIMARY KEY" } else { "bigint NOT NULL PRIMARY KEY" };
        if kind == Kind::Sqlite {
            std::fs::write(place.file(), b"").unwrap();
        }
        place.run(&format!(
            "CREATE TABLE users (id {key}, name {text} NOT NULL, nick {text}, active {bool} NOT NULL, age bigint)"
        ));
        place.run("CREATE INDEX users_age ON users (age)");
        place
    }

    pub fn file(&self) -> String {
        self.url.trim_start_matches("sqlite:").split('?').next().unwrap().to_owned()
    }

    fn server(&self) -> &'static Server {
        self.server.unwrap()
    }

    /// Runs a statement as another program would; the store's words when it refuses.
    pub fn try_run(&self, sql: &str) -> Result<(), String> {
        let run = || match self.kind {
            Kind::Sqlite => {
                let conn = rusqlite::Connection::open(self.file()).unwrap();
                conn.busy_timeout(Duration::from_secs(10)).unwrap();
                conn.execute_batch(sql).unwrap_or_else(|e| panic!("{e}"));
            }
            Kind::Postgres | Kind::Mariadb => self.server().run(&self.url, &[sql]),
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .map_err(|told| told.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    pub fn run(&self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|e| panic!("{:?}: {sql}: {e}", self.kind));
    }

    pub fn rows(&self, sql: &str) -> Rows {
        match self.kind {
            Kind::Sqlite => {
                let conn = rusqlite::Connection::open(self.file()).unwrap();
                let mut statement = conn.prepare(sql).unwrap();
                let width = statement.column_count();
                let text = |row: &rusqlite::Row<'_>, at: usize| match row.get_ref(at).unwrap() {
                    rusqlite::types::ValueRef::Null => None,
                    rusqlite::types::ValueRef::Integer(n) => Some(n.to_string()),
                    other => Some(String::from_utf8_lossy(other.as_bytes().unwrap()).into_owned()),
                };
                let rows = statement.query_map([], |row| Ok((0..width).map(|at| text(row, at)).collect()));
                rows.unwrap().map(Result::unwrap).collect()
            }
            Kind::Postgres | Kind::Mariadb => self.server().rows(&self.url, sql),
        }
    }

    /// Everything that a dump of the schema would tell.
    pub fn schema(&self) -> Vec<String> {
        let queries: &[&str] = match self.kind {
            Kind::Sqlite => &["SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"],
            Kind::Postgres => &[
                "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2",
                "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' ORDER BY 1",
                "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid) \
                 FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                 WHERE a.attrelid = 'users'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'users'::regclass ORDER BY 1",
                "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'users'::regclass ORDER BY 1",
                "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                 WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1",
            ],
            Kind::Mariadb => &[
                "SHOW CREATE TABLE users",
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1",
            ],
        };
        queries.iter().flat_map(|query| self.rows(query)).map(|row| format!("{row:?}")).collect()
    }

    /// Rows with what stores tell apart or do not.
    pub fn fill_with_nasty(&self) {
        let texts =
            ["''", "' '", "'a'", "'a '", "'A'", "'ä'", "'ae'", "'x''y'", "'100%'", "'_'", "'😀 z'", "'İ'", "NULL"];
        let mut id = 0;
        for nick in texts {
            for name in ["'a'", "'A '", "''", "'ß'"] {
                for (active, age) in [("1", "NULL"), ("0", "0"), ("1", "-7"), ("0", "9223372036854775807")] {
                    id += 1;
                    let active = match (self.kind, active) {
                        (Kind::Postgres, "1") => "true",
                        (Kind::Postgres, _) => "false",
                        (_, other) => other,
                    };
                    self.run_quietly(&format!("({id}, {name}, {nick}, {active}, {age})"));
                }
            }
        }
        self.flush();
    }

    fn run_quietly(&self, row: &str) {
        PENDING.with(|pending| pending.borrow_mut().push(row.to_owned()));
    }

    fn flush(&self) {
        let rows = PENDING.with(std::cell::RefCell::take);
        self.run(&format!("INSERT INTO users (id, name, nick, active, age) VALUES {}", rows.join(", ")));
    }

    /// More rows: texts that are numbers or nearly, the ends of integers, and what
    /// only some stores hold.
    pub fn fill_with_numbers(&self) {
        let texts = [
            "'7'",
            "'-7'",
            "'0'",
            "'-0'",
            "'007'",
            "'+7'",
            "' 7'",
            "'7 '",
            "'7\n'",
            "'1e3'",
            "'0x1F'",
            "'1.0'",
            "'٣'",
            "'-'",
            "'9223372036854775807'",
            "'9223372036854775808'",
            "'-9223372036854775808'",
            "'-9223372036854775809'",
            "'99999999999999999999'",
            "'true'",
            "'false'",
            "'True'",
            "'t'",
            "'active'",
            "'Active'",
            "'blocked '",
        ];
        let ages =
            ["-9223372036854775808", "-1", "1", "2", "3037000500", "-9223372036854775807", "999", "-1000", "NULL"];
        let zero = match self.kind {
            Kind::Sqlite => Some("'a' || char(0) || 'b'"),
            Kind::Mariadb => Some("CONCAT('a', CHAR(0), 'b')"),
            Kind::Postgres => None,
        };
        for (at, text) in texts.into_iter().chain(zero).enumerate() {
            for (n, age) in ages.into_iter().enumerate().filter(|(n, _)| (n + at) % 3 == 0) {
                let active = if self.kind == Kind::Postgres { "true" } else { "1" };
                self.run_quietly(&format!("({}, {text}, {text}, {active}, {age})", 1_000 + at * 10 + n));
            }
        }
        self.flush();
    }

    /// Adds a column of each type that a fill can take as it is, with values in some rows.
    pub fn add_moments(&mut self) {
        let (bytes, uuid, stamp, instant) = match self.kind {
            Kind::Sqlite => ("BLOB", "TEXT", "TEXT", "TEXT"),
            Kind::Postgres => ("bytea", "uuid", "timestamp", "timestamptz"),
            Kind::Mariadb => ("VARBINARY(20)", "UUID", "DATETIME(6)", "DATETIME(3)"),
        };
        let moment = |text: &str, zone: &str| match self.kind {
            Kind::Mariadb => format!("'{}'", text.replace('T', " ")),
            _ => format!("'{text}{zone}'"),
        };
        let (date, time) = if self.kind == Kind::Sqlite { ("TEXT", "TEXT") } else { ("date", "time") };
        let raw = if self.kind == Kind::Postgres { "decode('00ff27', 'hex')" } else { "x'00ff27'" };
        let columns = [
            ("born", date, FieldType::Date, "'2024-02-29'".to_owned()),
            ("at_time", time, FieldType::Time, "'23:59:59'".to_owned()),
            ("at_local", stamp, FieldType::Timestamp, moment("1969-12-31T23:59:59.999999", "")),
            ("at_instant", instant, FieldType::Instant, moment("2038-01-19T03:14:08.5", "Z")),
            ("code", uuid, FieldType::Uuid, "'67e55044-10b1-426f-9247-bb680e5fe0c8'".to_owned()),
            ("raw", bytes, FieldType::Bytes, raw.to_owned()),
        ];
        for (name, declared, ty, value) in columns {
            self.run(&format!("ALTER TABLE users ADD COLUMN {name} {declared}"));
            self.run(&format!("UPDATE users SET {name} = {value} WHERE id % 2 = 0"));
            self.more.push(Place::column(name, ty, true));
        }
    }

    fn column(name: &str, ty: FieldType, nullable: bool) -> ColumnShape {
        ColumnShape { name: name.into(), ty, nullable, unique: false, native: None, references: None }
    }

    /// The columns that the table has now, but for the new one.
    fn all_columns(&self) -> Vec<ColumnShape> {
        Place::columns().into_iter().chain(self.more.iter().cloned()).collect()
    }

    /// The columns that the table has from the start.
    pub fn columns() -> Vec<ColumnShape> {
        let column = Place::column;
        vec![
            column("id", FieldType::Int, false),
            column("name", FieldType::Text, false),
            column("nick", FieldType::Text, true),
            column("active", FieldType::Bool, false),
            column("age", FieldType::Int, true),
        ]
    }

    /// The table for a field of a type, as [`require_spec`] has it, with a value as specs have it.
    pub async fn wanting(&self, column: &str, ty: &str, value: &str) -> Wanting {
        self.try_wanting(column, ty, value).await.unwrap_or_else(|e| panic!("{:?}: {value}: {e:?}", self.kind))
    }

    /// The same, or why the store refuses it.
    pub async fn try_wanting(&self, column: &str, ty: &str, value: &str) -> StoreResult<Wanting> {
        let spec = require_spec("url = \"sqlite:a.db\"\ntable = \"users\"\nkey = \"id\"", column, ty, value);
        let fill = Fill::compile(&spec.field, &self.all_columns()).unwrap_or_else(|e| panic!("{value}: {e:?}"));
        let wanted = Wanted {
            table: "users".into(),
            key: vec![("id".into(), FieldType::Int)],
            column: column.into(),
            native: None,
            fill: fill.clone(),
        };
        let evolve = shearwater_stores::open_evolve(&self.url, wanted).await?;
        let ty = spec.field.domain.ty;
        let column = column.to_owned();
        Ok(Wanting { evolve, fill, column, ty, columns: self.all_columns(), url: self.url.clone() })
    }
}

/// A spec with the lines of its store. Of a decimal the type tells its digits too
/// (`decimal 5 2`), of a text its values (`text a b`).
pub fn require_spec(store: &str, column: &str, ty: &str, value: &str) -> RequireSpec {
    let mut words = ty.split(' ');
    let (ty, rest) = (words.next().unwrap(), words.collect::<Vec<_>>());
    let narrowed = match (ty, rest.as_slice()) {
        ("decimal", [precision, scale]) => format!("precision = {precision}\nscale = {scale}\n"),
        (_, []) => String::new(),
        (_, values) => format!("values = {values:?}\n"),
    };
    let text = format!(
        "migration = \"m\"\nkind = \"require\"\nentity = \"users\"\n[store]\n{store}\n[field]\nname = \"{column}\"\n\
         type = \"{ty}\"\n{narrowed}value = {value}\n"
    );
    match parse(&text, &|_| None) {
        Ok(Migration::Require(spec)) => spec,
        other => panic!("{text}: {other:?}"),
    }
}

std::thread_local! {
    static PENDING: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A field on its way into the table.
pub struct Wanting {
    pub evolve: Arc<dyn Evolve>,
    pub fill: Fill,
    pub column: String,
    ty: FieldType,
    columns: Vec<ColumnShape>,
    url: String,
}

pub const PATIENCE: Duration = Duration::from_millis(500);

impl Wanting {
    /// Makes every alteration of a stage, each one twice.
    pub async fn stage(&self, stage: Stage) {
        for what in self.evolve.alterations(stage) {
            for again in [false, true] {
                match self.evolve.try_to(what, PATIENCE, 1_000).await.unwrap() {
                    Try::Made { held_micros } if again => assert_eq!(held_micros, 0, "{what:?} acted twice"),
                    Try::Made { .. } => {}
                    other => panic!("{what:?}: {other:?}"),
                }
            }
        }
    }

    /// Fills every range, in batches of so many rows; how many were filled.
    pub async fn backfill(&self, run: &str, rows_max: u64) -> u64 {
        let ranges = self.evolve.fill_ranges(3).await.unwrap();
        let mut filled = 0;
        for range in &ranges {
            let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
            while !at.done {
                at = self.evolve.fill(run, range, &at, rows_max).await.unwrap();
                let kept = self.evolve.fill_checkpoints(run).await.unwrap();
                assert!(kept.contains(&at), "the checkpoint commits with the batch: {at:?} {kept:?}");
            }
            filled += at.filled;
        }
        self.evolve.tidy().await.unwrap();
        filled
    }

    /// Every record as the gateway would read it.
    pub async fn records(&self) -> Vec<(shearwater_core::Key, Document)> {
        let mut columns = self.columns.clone();
        columns.push(Place::column(&self.column, self.ty, true));
        let layout = Layout::Rows(TableShape {
            table: "users".into(),
            key: vec!["id".into()],
            columns,
            children: vec![],
            residue: None,
            extras: Default::default(),
        });
        let store: Arc<dyn Store> = shearwater_stores::open(&self.url, layout, Create::Never).await.unwrap();
        let mut records = Vec::new();
        for range in store.split(1).await.unwrap() {
            let mut after = None;
            loop {
                let chunk = Reader::scan(&*store, &range, after.as_ref(), ChunkMax { records: 100, bytes: 1 << 20 });
                let chunk = chunk.await.unwrap();
                records.extend(chunk.records.into_iter().map(|r| {
                    let fetched = r.unwrap();
                    (fetched.key, fetched.image.unwrap().record)
                }));
                after = chunk.next;
                if after.is_none() {
                    break;
                }
            }
        }
        records
    }
}
