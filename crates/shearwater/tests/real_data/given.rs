//! The data sets as files and as the records that an import must make of them.

use std::io::Read;
use std::path::PathBuf;

use shearwater_core::Document;
use shearwater_core::import::{Form, Input, records};
use shearwater_core::path::Path;
use shearwater_core::value::Value;

/// A file of the data sets; a clear failure when it is not there.
pub fn data(path: &str) -> PathBuf {
    let root = std::env::var_os("SHEARWATER_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let found = root.join(path);
    assert!(found.exists(), "{} is missing; set SHEARWATER_DATA to the folder of the data sets", found.display());
    found
}

pub fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(data(path)).unwrap()
}

/// The files of the JSON parsing suite whose names begin so, by name.
pub fn parsing_suite(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(data("nasty/json-test-suite/test_parsing")).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 80, "only {} files {prefix}*", files.len());
    files
}

/// The lines of a file in the archive of albums and images.
pub fn palbum(file: &str) -> Vec<String> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(data("documents/palbum/palbum.zip")).unwrap()).unwrap();
    let mut text = String::new();
    archive.by_name(&format!("palbum/{file}.json")).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The key of a set's records.
#[derive(Clone, Copy)]
pub enum Key {
    Fields(&'static [&'static str]),
    /// The number in the file, in this field.
    Made(&'static str),
}

/// How far a set goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    There,
    /// Rolled back out of the reverse window, and taken there again.
    AndBackAndThere,
}

/// One file on its way through a whole migration.
pub struct Set {
    /// The table's name, too.
    pub name: &'static str,
    pub content: Vec<u8>,
    /// `--format`; the form is told from the file where this says `auto`.
    pub format: &'static str,
    pub form: Form,
    pub root: Option<&'static str>,
    pub key: Key,
    pub count: usize,
    pub trip: Trip,
}

impl Set {
    /// A file whose form the import finds out by itself.
    pub fn of(name: &'static str, content: Vec<u8>, form: Form, key: Key, count: usize) -> Set {
        Set { name, content, format: "auto", form, root: None, key, count, trip: Trip::AndBackAndThere }
    }

    /// What the import must make of the file.
    pub fn records(&self) -> Vec<Document> {
        let root = self.root.map(|root| Path::parse(root).unwrap());
        let mut reader = self.content.as_slice();
        let records: Vec<Document> = records(&mut reader, Input { root, ..Input::of(self.form) })
            .map(|imported| {
                let mut record = imported.record.unwrap();
                if let Key::Made(field) = self.key {
                    record.set(field.to_owned(), Value::from_u64(imported.number));
                }
                record
            })
            .collect();
        assert_eq!(records.len(), self.count, "records of {}", self.name);
        records
    }
}
