//! Whole databases, table by table with their foreign keys: from one kind of
//! store to another, verified, rolled back, moved again, completed, compared.

use std::collections::BTreeSet;

use crate::databases::{self, Database, Reference};
use crate::walk::{GATES, Place};

/// A database on its way.
pub struct Move<'a> {
    pub place: Place,
    pub source: Database,
    pub target: Database,
    /// The tables of the default run, none: all. SHEARWATER_FULL_DATA=1 moves all.
    tables: &'a [&'a str],
    /// What a person changes in a proposed spec, by table.
    edit: fn(&str, String) -> String,
}

/// One table's migration.
pub struct Table {
    /// The source's name.
    name: String,
    file: String,
    migration: String,
    /// Every record in v1, as it was before anything began.
    records: Vec<String>,
}

impl Table {
    fn of(name: &str, file: &str, spec: &str) -> Table {
        let migration = spec.lines().find_map(|line| line.strip_prefix("migration = ")).unwrap();
        let migration = migration.trim_matches('"').to_owned();
        Table { name: name.to_owned(), file: file.to_owned(), migration, records: Vec::new() }
    }
}

fn unchanged(_table: &str, spec: String) -> String {
    spec
}

impl<'a> Move<'a> {
    pub fn of(place: Place, source: Database, target: Database, tables: &'a [&'a str]) -> Move<'a> {
        Move { place, source, target, tables, edit: unchanged }
    }

    /// The next move of the same tables: out of the file that this one made.
    fn home<'b>(&self, target: Database, tables: &'b [&'b str]) -> Move<'b> {
        let place = Place::new();
        std::fs::copy(self.place.directory().join("target.db"), place.directory().join("source.db")).unwrap();
        let source = Database::sqlite(place.directory(), "source.db");
        Move::of(place, source, target, tables)
    }

    /// The whole way, there, back, there again; the tables that went it.
    pub fn walk(&self) -> Vec<Table> {
        let mut tables = self.specs();
        self.walk_with(&mut tables);
        if !self.target.holds_documents() {
            self.check_foreign_keys(&tables);
        }
        tables
    }

    fn walk_with(&self, tables: &mut [Table]) {
        for table in &mut *tables {
            self.start(table);
        }
        tables.iter().for_each(|table| self.cut_over(table));
        tables.iter().rev().for_each(|table| self.roll_back(table));
        tables.iter().for_each(|table| self.cut_over(table));
        tables.iter().for_each(|table| self.complete(table));
        for table in tables {
            assert_eq!(self.target.count(&table.name), table.records.len(), "{}", table.name);
        }
    }

    /// The whole way of one table by a spec of the caller's.
    pub fn walk_by(&self, name: &str, spec: &str) {
        let file = format!("{name}.toml");
        self.place.write(&file, spec.as_bytes());
        self.walk_with(&mut [Table::of(name, &file, spec)]);
    }

    /// The specs that `init` proposes, in its order.
    fn specs(&self) -> Vec<Table> {
        let answer = self.place.json(&["init", &self.source.url, &self.target.url, "--all", "--output", "specs"]);
        let all = std::env::var_os("SHEARWATER_FULL_DATA").is_some() || self.tables.is_empty();
        let specs = answer["specs"].as_array().unwrap().iter();
        let specs = specs.map(|spec| (spec["table"].as_str().unwrap(), spec["spec"].as_str().unwrap()));
        specs
            .filter(|(name, _)| all || self.tables.contains(name))
            .map(|(name, file)| {
                let text = String::from_utf8(self.place.read(file)).unwrap();
                let text = (self.edit)(name, text + GATES);
                self.place.write(file, text.as_bytes());
                Table::of(name, file, &text)
            })
            .collect()
    }

    fn start(&self, table: &mut Table) {
        let plan = self.place.json(&["plan", &table.file]);
        assert_eq!(plan["ready"], true, "{}: {plan}", table.name);
        let started = self.place.json(&["start", &table.file]);
        let count = self.source.count(&table.name);
        assert_eq!(
            (&started["read"], &started["dead_letters"]),
            (&count.into(), &0.into()),
            "{}: {started}",
            table.name
        );
        table.records = self.place.exported(&[&table.migration, "--side", "source", "--shape", "v1"]);
        assert_eq!(table.records.len(), count, "{}", table.name);
    }

    fn step(&self, table: &Table, step: &[&str]) -> serde_json::Value {
        self.place.json(&[step, &["--migration", &table.migration]].concat())
    }

    fn verify(&self, table: &Table) {
        let verified = self.step(table, &["verify"]);
        assert_eq!(verified["mismatches"], 0, "{}: {verified}", table.name);
    }

    fn cut_over(&self, table: &Table) {
        self.verify(table);
        for step in [&["advance"][..], &["advance"], &["ramp", "100%"], &["advance"]] {
            self.step(table, step);
        }
        self.check(table, "of the target in v1", &["--shape", "v1"]);
    }

    fn roll_back(&self, table: &Table) {
        assert_eq!(self.step(table, &["rollback"])["phase"], "dual-write", "{}", table.name);
        self.check(table, "after the rollback", &[]);
    }

    fn complete(&self, table: &Table) {
        self.verify(table);
        self.step(table, &["complete"]);
        self.check(table, "at the end", &["--side", "target", "--shape", "v1"]);
        self.check(table, "left in the source", &["--side", "source", "--shape", "v1"]);
    }

    fn check(&self, table: &Table, when: &str, which: &[&str]) {
        let found = self.place.exported(&[&[table.migration.as_str()], which].concat());
        let differ = table.records.iter().zip(&found).find(|(expected, found)| expected != found);
        assert_eq!((differ, found.len()), (None, table.records.len()), "{} {when}", table.name);
    }

    /// Foreign keys, asked of both stores directly.
    fn check_foreign_keys(&self, tables: &[Table]) {
        let names: BTreeSet<String> = tables.iter().map(|table| table.name.replace('_', "").to_lowercase()).collect();
        let between = |(table, _, other): &Reference| names.contains(table) && names.contains(other);
        let expected: Vec<Reference> = self.source.foreign_keys().into_iter().filter(between).collect();
        assert!(!expected.is_empty(), "no foreign keys");
        let found: Vec<Reference> = self.target.foreign_keys().into_iter().filter(between).collect();
        assert_eq!(found, expected, "foreign keys");
    }

    /// What both stores answer to one question.
    fn same(&self, source: &str, target: &str) {
        assert_eq!(self.target.rows(target), self.source.rows(source), "{source}");
    }
}

#[test]
fn chinook_from_sqlite_to_sqlite() {
    let place = Place::new();
    let source = databases::chinook_sqlite(place.directory());
    let target = Database::sqlite(place.directory(), "target.db");
    let chinook = Move::of(place, source, target, &[]);
    assert_eq!(chinook.walk().len(), 11);
    let total = "SELECT sum(Total), count(DISTINCT CustomerId), max(InvoiceDate) FROM Invoice";
    chinook.same(total, total);
    let tracks = "SELECT sum(Milliseconds), sum(Bytes), sum(UnitPrice), count(Composer) FROM Track";
    chinook.same(tracks, tracks);
}

#[test]
fn chinook_from_postgres_to_sqlite() {
    let place = Place::new();
    let target = Database::sqlite(place.directory(), "target.db");
    let tables = ["artist", "album", "employee", "customer"];
    let chinook = Move::of(place, databases::chinook_postgres(), target, &tables);
    chinook.walk();
    let names = "SELECT first_name, last_name, city, hire_date FROM employee ORDER BY employee_id";
    chinook.same(
        "SELECT first_name, last_name, city, replace(hire_date::text, ' ', 'T') FROM employee ORDER BY employee_id",
        names,
    );
}

#[test]
fn chinook_from_sqlite_to_postgres() {
    let place = Place::new();
    let source = databases::chinook_sqlite(place.directory());
    let tables = ["Employee", "Customer", "Invoice"];
    let chinook = Move::of(place, source, Database::postgres("chinook_target"), &tables);
    // What SQLite keeps as text becomes a timestamp, and comes back as the text that it was.
    let edit = |table: &str, spec: String| match table {
        "Invoice" => spec
            .replace("InvoiceDate = { type = \"text\"", "InvoiceDate = { type = \"timestamp\", cast = true")
            .replace("refuse = true", "keep_in = \"extra\""),
        _ => spec,
    };
    let chinook = Move { edit, ..chinook };
    chinook.walk();
    let dates = "SELECT count(*), min(\"InvoiceDate\"), max(\"InvoiceDate\") FROM \"Invoice\"";
    chinook.same(dates, dates);
    let ty = "SELECT data_type FROM information_schema.columns WHERE column_name = 'InvoiceDate'";
    assert_eq!(chinook.target.one(ty), "timestamp without time zone");
}

#[test]
fn chinook_from_postgres_to_mariadb() {
    let tables = ["artist", "album", "employee", "customer", "invoice"];
    let target = Database::mariadb("chinook_target");
    let chinook = Move::of(Place::new(), databases::chinook_postgres(), target, &tables);
    chinook.walk();
    let invoices = "SELECT customer_id, sum(total), count(*) FROM invoice GROUP BY customer_id ORDER BY customer_id";
    chinook.same(invoices, invoices);
    let ty =
        "SELECT column_type FROM information_schema.columns WHERE table_schema = DATABASE() AND column_name = 'total'";
    assert_eq!(chinook.target.one(ty), "decimal(10,2)");
}

/// Keys of letters, keys of two columns, tables without a row, floats of 32 bits.
#[test]
fn northwind_from_postgres_to_sqlite() {
    let place = Place::new();
    let target = Database::sqlite(place.directory(), "target.db");
    let tables = [
        "customers",
        "customer_demographics",
        "customer_customer_demo",
        "shippers",
        "employees",
        "orders",
        "region",
        "territories",
        "employee_territories",
    ];
    let northwind = Move::of(place, databases::northwind(), target, &tables);
    northwind.walk();
    let freight = "SELECT order_id, ship_city FROM orders WHERE freight > 500 ORDER BY order_id";
    northwind.same(freight, freight);
    let home = northwind.home(Database::postgres("northwind_again"), &["customers", "shippers", "employees", "orders"]);
    home.walk();
    home.same(freight, freight);
}

/// Keys of letters that other tables refer to, where text in an index has its bounds.
#[test]
fn northwind_from_postgres_to_mariadb() {
    let tables = ["customers", "shippers", "employees", "orders"];
    let target = Database::mariadb("northwind_target");
    let northwind = Move::of(Place::new(), databases::northwind(), target, &tables);
    northwind.walk();
    let orders = "SELECT customer_id, count(*), max(ship_name) FROM orders GROUP BY customer_id ORDER BY customer_id";
    northwind.same(orders, orders);
}

/// Types that only one store has, domains, arrays, and two tables that refer to each other.
#[test]
fn pagila_from_postgres_to_sqlite() {
    let place = Place::new();
    let target = Database::sqlite(place.directory(), "target.db");
    let tables =
        ["language", "film", "actor", "film_actor", "country", "city", "address", "staff", "store", "customer"];
    let pagila = Move::of(place, databases::pagila(), target, &tables);
    pagila.walk();
    let films = "SELECT film_id, title, rating, release_year FROM film ORDER BY film_id";
    pagila.same(films, films);
    let tag = "SELECT fulltext FROM film WHERE film_id = 1";
    let kept = pagila.target.one(tag);
    assert!(kept.contains("@extended") && kept.contains("tsvector"), "{kept}");
    let home = pagila.home(Database::postgres("pagila_again"), &["language", "film"]);
    home.walk();
    let films = "SELECT film_id, title, release_year FROM film ORDER BY film_id";
    home.same(films, films);
}

/// Unsigned numbers, years, enumerations, sets, pictures.
#[test]
fn sakila_from_mariadb_to_postgres() {
    let tables =
        ["language", "film", "actor", "film_actor", "country", "city", "address", "staff", "store", "customer"];
    let sakila = Move::of(Place::new(), databases::sakila(), Database::postgres("sakila_target"), &tables);
    sakila.walk();
    let films = "SELECT film_id, title, rating, special_features, replacement_cost FROM film ORDER BY film_id";
    sakila.same(films, films);
    sakila.same("SELECT md5(picture) FROM staff ORDER BY staff_id", "SELECT md5(picture) FROM staff ORDER BY staff_id");
}
