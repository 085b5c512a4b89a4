//! One whole migration, command by command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use shearwater_core::Document;
use shearwater_core::value::Value;
use shearwater_core::value::json::{document_to_string, parse_document};

use crate::databases::Database;
use crate::dynamodb::natural;
use crate::given::{Key, Set, Trip};

/// What a person decides beside what `init` proposes: on a busy machine a pause
/// is longer, and is not what is judged here.
pub const GATES: &str = "\n[gates]\npause_ms_max = 60_000\n";

/// A directory of its own, where commands are run.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// All files here, with their content.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let paths = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
            .collect()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
        command.current_dir(self.directory.path()).args(arguments).env("NO_COLOR", "1").env("COLUMNS", "400");
        for variable in ["SHEARWATER_JOURNAL", "SHEARWATER_FAILPOINT", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        let [told, failed] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let shown: String = told.chars().take(2_000).collect();
        assert!(output.status.success(), "{arguments:?}: {}\n{shown}{failed}", output.status);
        output.stdout
    }

    /// The answer of a command that must succeed.
    pub fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_slice(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The lines of an export, sorted: the stores' key orders may differ.
    pub fn exported(&self, arguments: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.ok(&[&["export"], arguments].concat())).unwrap();
        sorted(text.lines().map(str::to_owned))
    }
}

/// Records as `export` writes them: fields in their order, numbers exactly.
pub fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// The source, where it is a file.
const FILE: &str = "sqlite:source.db";

/// A set on its way.
pub struct Walk {
    pub place: Place,
    set: Set,
    /// The source's URL.
    source: String,
    pub target: Database,
    /// What was imported, and must come out.
    expected: Vec<String>,
}

/// The whole migration of a set into a file; what is left can be looked at.
pub fn walk(set: Set) -> Walk {
    there_and_back(Walk::begin(set))
}

/// As [`walk`], into a database of a server.
pub fn walk_into(set: Set, target: Database) -> Walk {
    walk_from(FILE.to_owned(), set, target)
}

/// As [`walk_into`], out of another store than a file.
pub fn walk_from(source: String, set: Set, target: Database) -> Walk {
    walk_at(Place::new(), source, set, target)
}

/// As [`walk_from`], in a directory that is there already.
pub fn walk_at(place: Place, source: String, set: Set, target: Database) -> Walk {
    there_and_back(Walk::begin_in(place, set, source, target))
}

fn there_and_back(walk: Walk) -> Walk {
    walk.cut_over();
    if walk.set.trip == Trip::AndBackAndThere {
        walk.rollback();
        walk.cut_over();
    }
    walk.complete();
    walk
}

impl Walk {
    /// Imported, started, and copied.
    pub fn begin(set: Set) -> Walk {
        let place = Place::new();
        let target = Database::sqlite(place.directory(), "target.db");
        Walk::begin_in(place, set, FILE.to_owned(), target)
    }

    fn begin_in(place: Place, set: Set, source: String, target: Database) -> Walk {
        let records = set.records().into_iter().map(|record| match (source.starts_with("dynamodb:"), set.key) {
            (true, Key::Fields(fields)) => natural(fields, record),
            (true, Key::Made(field)) => natural(&[field], record),
            (false, _) => record,
        });
        let expected = sorted(records.map(|record| document_to_string(&record)));
        let walk = Walk { place, set, source, target, expected };
        walk.import();
        walk.start();
        walk
    }

    /// Another program writes these into the source, new or over what is there.
    pub fn write_directly(&mut self, records: Vec<Document>) {
        for record in records {
            self.try_directly(&record).unwrap();
            let key = self.key_of(&record);
            let is_other = |line: &String| self.key_of(&parse_document(line.as_bytes()).unwrap()) != key;
            let others: Vec<String> = self.expected.iter().filter(|line| is_other(line)).cloned().collect();
            self.expected = sorted(others.into_iter().chain([document_to_string(&record)]));
        }
    }

    /// The source takes no such write any more.
    pub fn is_fenced(&self, records: Vec<Document>) {
        for record in records {
            let refused = self.try_directly(&record).unwrap_err().to_string();
            assert!(refused.contains("closed for writes"), "{refused}");
        }
    }

    fn try_directly(&self, record: &Document) -> rusqlite::Result<usize> {
        let source = rusqlite::Connection::open(self.place.path("source.db")).unwrap();
        let (table, key) = (self.set.name, self.key_field());
        let sql =
            format!("INSERT INTO {table} ({key}, doc) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET doc = excluded.doc");
        source.execute(&sql, [self.key_of(record), document_to_string(record)])
    }

    fn key_field(&self) -> &'static str {
        let Key::Fields([field]) = self.set.key else { panic!("written directly are sets with a key of one field") };
        field
    }

    fn key_of(&self, record: &Document) -> String {
        match record.get(self.key_field()) {
            Some(Value::Text(key)) => key.clone(),
            other => panic!("no text as key: {other:?}"),
        }
    }

    /// A command that leads into a phase.
    pub fn step(&self, command: &[&str], phase: &str) {
        self.place.json(command);
        assert_eq!(self.place.json(&["status"])["phase"], phase, "{command:?}");
    }

    /// The migration's name, as `init` makes it of the table's.
    fn migration(&self) -> String {
        format!("{}-move", self.set.name)
    }

    fn import(&self) {
        self.place.write("input.json", &self.set.content);
        let mut arguments = vec!["import", "input.json", "--into", &self.source, "--table", self.set.name];
        arguments.extend(["--format", self.set.format]);
        if let Some(root) = self.set.root {
            arguments.extend(["--root", root]);
        }
        match self.set.key {
            Key::Fields(fields) => arguments.extend(fields.iter().flat_map(|field| ["--key", *field])),
            Key::Made(field) => arguments.extend(["--synthesize-key", field]),
        }
        let answer = self.place.json(&arguments);
        assert_eq!(answer["imported"], self.set.count, "{}: {answer}", self.set.name);
        self.check("after the import", &self.source());
    }

    /// The source as any reader of the store sees it.
    fn source(&self) -> Vec<String> {
        let mut arguments = vec![self.source.as_str(), "--table", self.set.name];
        arguments.extend(self.key_arguments());
        self.place.exported(&arguments)
    }

    fn key_arguments(&self) -> Vec<&'static str> {
        let fields = match self.set.key {
            Key::Fields(fields) => fields.to_vec(),
            Key::Made(field) => vec![field],
        };
        fields.into_iter().flat_map(|field| ["--key", field]).collect()
    }

    fn start(&self) {
        let init = ["init", &self.source, &self.target.url, "--table", self.set.name, "-o", "spec.toml"];
        self.place.ok(&[&init[..], &self.key_arguments()].concat());
        let spec = String::from_utf8(self.place.read("spec.toml")).unwrap();
        self.place.write("spec.toml", (spec + GATES).as_bytes());
        let plan = self.place.json(&["plan", "spec.toml"]);
        assert_eq!((&plan["ready"], &plan["predictions"]["records"]), (&true.into(), &self.set.count.into()), "{plan}");
        let started = self.place.json(&["start", "spec.toml"]);
        assert_eq!((&started["read"], &started["changed"]), (&self.set.count.into(), &self.set.count.into()));
        assert_eq!(started["dead_letters"], 0, "{}: {started}", self.set.name);
    }

    pub fn verify(&self) {
        let verified = self.place.json(&["verify"]);
        assert_eq!(verified["mismatches"], 0, "{}: {verified}", self.set.name);
        assert_eq!(verified["report"]["unsettled"], 0, "{}: {verified}", self.set.name);
    }

    /// From dual-write into the reverse window.
    pub fn cut_over(&self) {
        self.verify();
        for step in [&["advance"][..], &["advance"], &["ramp", "100%"], &["advance"]] {
            self.place.json(step);
        }
        assert_eq!(self.place.json(&["status"])["phase"], "reverse-window");
        self.check_target();
    }

    pub fn check_target(&self) {
        self.check("of the target in v1", &self.place.exported(&[&self.migration(), "--shape", "v1"]));
    }

    pub fn rollback(&self) {
        assert_eq!(self.place.json(&["rollback"])["phase"], "dual-write");
        self.check("after the rollback", &self.place.exported(&[&self.migration()]));
    }

    pub fn complete(&self) {
        self.verify();
        self.place.json(&["complete"]);
        if self.target.keeps_types() {
            let export = self.place.exported(&[&self.migration(), "--side", "target", "--shape", "v1"]);
            self.check("at the end", &export);
        } else {
            let export = self.place.exported(&[&self.migration(), "--side", "target"]);
            assert_eq!(export.len(), self.set.count, "{} at the end", self.set.name);
        }
        self.check("left in the source", &self.source());
    }

    fn check(&self, when: &str, found: &[String]) {
        if let Some(difference) = self.difference(found) {
            panic!("{} {when}: {difference}", self.set.name);
        }
    }

    /// Every record, field by field and digit by digit; and whether there are too many or too few.
    fn difference(&self, found: &[String]) -> Option<String> {
        let pairs = self.expected.iter().zip(found);
        let differ =
            pairs.filter(|(expected, found)| expected != found).map(|(e, f)| format!("expected {e}\n   found {f}"));
        let counts = (found.len() != self.expected.len())
            .then(|| format!("{} records, expected {}", found.len(), self.expected.len()));
        differ.into_iter().chain(counts).next()
    }

    /// What the comparison says once somebody has done this to the target.
    pub fn difference_after(&self, sql: &str) -> Option<String> {
        let target = rusqlite::Connection::open(self.place.path("target.db")).unwrap();
        assert_eq!(target.execute(sql, []).unwrap(), 1, "{sql}");
        self.difference(&self.place.exported(&[&self.migration(), "--shape", "v1"]))
    }

    /// One number out of the target's database.
    pub fn count(&self, sql: &str) -> i64 {
        self.target.one(sql).parse().unwrap()
    }

    /// What the target is made of at the end.
    pub fn tables(&self) -> Vec<String> {
        let target = rusqlite::Connection::open(self.place.path("target.db")).unwrap();
        let mut statement =
            target.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'trigger') ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}
