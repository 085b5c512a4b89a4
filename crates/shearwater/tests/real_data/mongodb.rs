//! The document sets out of a real MongoDB: into PostgreSQL, MariaDB and SQLite.

use shearwater_core::import::Form;
use shearwater_testbed::mongodb;

use crate::databases::Database;
use crate::given::{Key, Set, Trip, bytes, palbum};
use crate::servers::{books, dated, earthquakes, sparse, students};
use crate::sets::ID;
use crate::walk::{Place, Walk, walk_from};

fn walk(set: Set, target: Database) -> Walk {
    let count = set.count;
    let name = set.name;
    let walk = walk_from(mongodb().database("documents"), set, target);
    assert_eq!(walk.target.count(name), count, "{name}");
    walk
}

/// Albums with lists, without the way back: they are many.
fn albums() -> Set {
    let content = palbum("albums").join("\n").into_bytes();
    Set { trip: Trip::There, ..Set::of("albums", content, Form::Json, ID, 1_000) }
}

#[test]
fn documents_out_of_mongodb_into_postgres() {
    let into = || Database::postgres("documents");
    let books = walk(books(), into());
    assert_eq!(books.count("SELECT count(*) FROM books_authors"), 785);
    let students = walk(students(), into());
    assert_eq!(students.count("SELECT count(*) FROM students WHERE name = ''"), 1, "neither null nor missing");
    for set in [dated(), earthquakes(), sparse(), albums()] {
        walk(set, into());
    }
}

#[test]
fn documents_out_of_mongodb_into_mariadb() {
    for set in [books(), students(), dated(), sparse()] {
        walk(set, Database::mariadb("documents"));
    }
}

#[test]
fn documents_out_of_mongodb_into_sqlite() {
    // A key of two fields is a document of both in `_id`.
    let content = bytes("documents/dynamodb-models-a/ChatSystemSchema.json");
    let chat = Set::of("chat", content, Form::DynamoDb, Key::Fields(&["PK", "SK"]), 8);
    for set in [books(), chat, earthquakes()] {
        let place = Place::new();
        let target = Database::sqlite(place.directory(), "target.db");
        let walk = crate::walk::walk_at(place, mongodb().database("documents"), set, target);
        assert!(walk.target.rows("SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'").is_empty());
    }
}
