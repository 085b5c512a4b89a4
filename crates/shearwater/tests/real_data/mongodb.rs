//! The document sets out of a real MongoDB: into PostgreSQL, MariaDB and SQLite.

use mongodb::bson::doc;
use shearwater_core::import::Form;
use shearwater_testbed::mongodb;

use crate::databases::{self, Database};
use crate::given::{Set, Trip, palbum};
use crate::servers::{books, dated, earthquakes, sparse, students};
use crate::sets::{ID, chosen};
use crate::tables::Move;
use crate::walk::{GATES, Place, Walk, walk_from, walk_into};

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
    for set in chosen(&["books", "chat", "earthquakes", "sns", "payments", "serverless", "restaurant", "images"]) {
        let place = Place::new();
        let target = Database::sqlite(place.directory(), "target.db");
        let walk = crate::walk::walk_at(place, mongodb().database("documents"), set, target);
        assert!(walk.target.rows("SELECT name FROM sqlite_schema WHERE name LIKE '%shearwater%'").is_empty());
    }
}

/// There, back, and there again; nothing of ours is left in them.
#[test]
fn documents_into_mongodb() {
    for set in chosen(&["books", "students", "restaurants", "chat", "sparse", "restaurant", "images"]) {
        let (name, count) = (set.name, set.count);
        let walk = walk_into(set, Database::mongodb("documents"));
        assert_eq!(walk.target.count(name), count, "{name}");
        let left = doc! { "count": name, "query": { "_shearwater": { "$exists": true } } };
        assert_eq!(mongodb().run(&walk.target.url, left).get_i32("n").unwrap(), 0, "{name}");
    }
}

/// Tables become documents whose key is `_id`, and go back.
#[test]
fn tables_into_mongodb() {
    let tables = ["customer", "film", "payment_p2022_02"];
    let there = Move::of(Place::new(), databases::pagila(), Database::mongodb("tables"), &tables);
    let moved = there.walk();
    assert!(moved.len() >= 2, "{} tables moved", moved.len());
    let film = mongodb().run(&there.target.url, doc! { "find": "film", "filter": { "_id": 1 }, "limit": 1 });
    let film = film.get_document("cursor").unwrap().get_array("firstBatch").unwrap()[0].as_document().unwrap().clone();
    assert_eq!((film.get_i32("film_id").unwrap(), film.get_str("title").unwrap()), (1, "ACADEMY DINOSAUR"));
    assert!(!film.keys().any(|name| name.contains("shearwater")), "{film}");
}

/// Out of tables into documents without another key than `_id`.
#[test]
fn a_table_whose_key_becomes_the_id() {
    let source = Database::postgres("plain");
    source.load(
        "CREATE TABLE notes (id bigint PRIMARY KEY, text text, at timestamptz); \
        INSERT INTO notes SELECT n, 'note ' || n, '2024-02-29T12:00:00Z' FROM generate_series(1, 300) n",
    );
    let there = Move::of(Place::new(), source, Database::mongodb("plain"), &[]);
    let spec = String::from_utf8(there.place.ok(&["init", &there.source.url, &there.target.url])).unwrap();
    let spec = spec
        .replace("key = \"id\"\nlayout", "key = \"_id\"\nlayout")
        .replace("\nid = { type = \"int\" }", "\n_id = { from = \"id\", type = \"int\" }");
    assert!(spec.contains("key = \"_id\"") && spec.contains("_id = { from"), "{spec}");
    there.walk_by("notes", &(spec + GATES));
    let one = mongodb().run(&there.target.url, doc! { "find": "notes", "filter": { "_id": 7 } });
    let one = one.get_document("cursor").unwrap().get_array("firstBatch").unwrap()[0].as_document().unwrap().clone();
    assert_eq!(one.keys().collect::<Vec<_>>(), ["_id", "text", "at"]);
    assert!(one.get_datetime("at").is_ok(), "{one}");
}
