//! What the demo is played with: the spec, and the legacy store that it moves.

use std::path::Path;

use rusqlite::{Connection, params};
use shearwater_core::value::json;

use super::history::{KeyId, Version};
use super::people;

/// The spec as users can read it; the demo's differs in the places of the two
/// files only.
pub const SPEC: &str = include_str!("../../../../examples/users-move.toml");

/// The spec for stores in this directory, with this gate on the pause.
pub fn spec_in(directory: &Path, pause_ms_max: u64) -> String {
    let place = |file: &str| {
        // In a TOML basic string, backslashes and quotes are escaped.
        let path = directory.join(file).display().to_string();
        format!("\"sqlite:{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
    };
    SPEC.replace("pause_ms_max     = 300", &format!("pause_ms_max     = {pause_ms_max}"))
        .replace("\"sqlite:legacy.db\"", &place("legacy.db"))
        .replace("\"sqlite:users.db\"", &place("users.db"))
}

/// Makes the legacy store: a table with a key and a JSON document, as an
/// application that knows nothing of Shearwater would have made it.
pub fn make_legacy(file: &Path, records: u32, seed: u64) -> rusqlite::Result<()> {
    let mut connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch("CREATE TABLE users (_id PRIMARY KEY NOT NULL, doc TEXT NOT NULL)")?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO users (_id, doc) VALUES (?1, ?2)")?;
        for n in 0..records {
            let key = people::key_text(n);
            let person = people::person(seed, KeyId(n), &key, Version(0));
            insert.execute(params![key, json::document_to_string(&person)])?;
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use shearwater_core::mapping::Mapping;
    use shearwater_core::spec;
    use shearwater_core::store::{Image, Side};

    use super::*;

    fn mapping() -> Mapping {
        let text = spec_in(Path::new("some \"odd\\ place"), 250);
        let spec = spec::parse(&text, &|_| None)
            .unwrap_or_else(|problems| panic!("{}", spec::render_problems("users-move.toml", &text, &problems)));
        assert_eq!(spec.gates.pause_ms_max, 250);
        assert_eq!(spec.source.url, "sqlite:some \"odd\\ place/legacy.db");
        Mapping::compile(&spec).unwrap()
    }

    #[test]
    fn every_person_maps_there_and_back_exactly() {
        let mapping = mapping();
        for n in 0..3_000 {
            let person = people::person(1, KeyId(n), &people::key_text(n), Version(0));
            let v1 = Image::of(person);
            let v2 = mapping.forward(&v1).unwrap_or_else(|e| panic!("{e}: {:?}", v1.record));
            assert_eq!(mapping.reverse(&v2).unwrap(), v1);
            let key = mapping.key_of(Side::Target, &v2).unwrap();
            assert_eq!(key, shearwater_core::Key::single(people::key_text(n)));
        }
    }

    #[test]
    fn the_legacy_store_holds_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("legacy.db");
        make_legacy(&file, 200, 7).unwrap();
        let connection = Connection::open(&file).unwrap();
        let count: u32 = connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 200);
        let mut select = connection.prepare("SELECT _id, doc FROM users").unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (key, doc): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            let record = json::parse_document(doc.as_bytes()).unwrap();
            assert_eq!(record.get("_id"), Some(&key.as_str().into()));
        }
    }
}
