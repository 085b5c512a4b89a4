//! The real data sets.

use std::collections::HashSet;

use serde_json::Value as Json;
use shearwater_core::import::Form;
use shearwater_core::value::Value;

use crate::given::{Key, Set, Trip, bytes, palbum};
use crate::servers::{books, chat, dated, earthquakes, sparse, students};
use crate::walk::{Walk, walk};

/// Every so many-th image is taken in the default run.
const IMAGES_STEP: usize = 10;

pub const ID: Key = Key::Fields(&["_id"]);

#[test]
fn books_with_keys_of_two_types() {
    let books = Set::of("books", bytes("documents/books/books.json"), Form::MongoDb, ID, 431);
    let walk = walk(books);
    assert_eq!(walk.tables(), ["books", "books_authors", "books_categories"]);
    assert_eq!(walk.count("SELECT count(*) FROM books"), 431);
    assert_eq!(walk.count("SELECT count(*) FROM books_authors"), 785);
    assert_eq!(walk.count("SELECT count(*) FROM books_categories"), 323);
}

#[test]
fn students_with_exact_floats() {
    let students = Set::of("students", bytes("documents/students/students.json"), Form::Json, ID, 200);
    let walk = walk(students);
    assert_eq!(walk.count("SELECT count(*) FROM students_scores"), 600);
    assert_eq!(walk.count("SELECT count(*) FROM students WHERE name = ''"), 1, "neither null nor missing");
    // The comparison sees the last digit of one float, and one record too few.
    let last_digit = "UPDATE students_scores SET score = 1.463179736705024 WHERE score = 1.463179736705023";
    assert!(walk.difference_after(last_digit).is_some_and(|told| told.contains("1.463179736705024")));
    assert!(walk.difference_after("DELETE FROM students WHERE id = 7").is_some());
}

/// One image in so many by default, where all of a store's sets are moved.
const IMAGES_STEP_FEW: usize = 500;

/// Every set of documents, each as one table: those of these names by default, all
/// of them with SHEARWATER_FULL_DATA=1.
pub fn chosen(names: &[&str]) -> Vec<Set> {
    let full = std::env::var_os("SHEARWATER_FULL_DATA").is_some();
    let mut sets = vec![books(), students(), dated(), earthquakes(), chat(), sparse()];
    let alone = Set::of("restaurant", restaurants(&[5]), Form::MongoDb, Key::Fields(&["restaurant_id"]), 1);
    sets.push(alone);
    sets.extend([
        model("sns", "SocialNetworkSchema", 17),
        model("payments", "RecurringPaymentsSchema", 2),
        model("serverless", "global-serverless-sample-data", 13),
    ]);
    let step = if full { 1 } else { IMAGES_STEP_FEW };
    let lines: Vec<String> = palbum("images").into_iter().step_by(step).collect();
    let images = Set::of("images", lines.join("\n").into_bytes(), Form::Json, ID, 100_000 / step);
    let albums = Set::of("albums", palbum("albums").join("\n").into_bytes(), Form::Json, ID, 1_000);
    // They are many, or large.
    sets.extend([images, albums].map(|set| Set { trip: Trip::There, ..set }));
    let there: Vec<&str> = sets.iter().map(|set| set.name).collect();
    assert!(names.iter().all(|name| there.contains(name)), "{names:?} of {there:?}");
    sets.retain(|set| full || names.contains(&set.name));
    sets
}

/// A model of a table, as DynamoDB's own tools write it.
pub fn model(name: &'static str, file: &str, count: usize) -> Set {
    let content = bytes(&format!("documents/dynamodb-models-a/{file}.json"));
    Set::of(name, content, Form::DynamoDb, Key::Fields(&["PK", "SK"]), count)
}

pub fn restaurants(numbers: &[u8]) -> Vec<u8> {
    let file = |number: &u8| bytes(&format!("documents/restaurants-primer/restaurants{number}.json"));
    numbers.iter().flat_map(|number| [file(number), b"\n".to_vec()].concat()).collect()
}

/// A restaurant comes again as an update in a later file, so its number is no key.
#[test]
fn restaurants_with_dated_grades() {
    let made = Key::Made("number");
    let walk = walk(Set::of("restaurants", restaurants(&[1, 2, 3, 4, 6]), Form::MongoDb, made, 24));
    assert_eq!(walk.count("SELECT count(*) FROM restaurants"), 24);
}

/// The later files are written by another program while the migration goes on,
/// a file in each phase, and again as updates after the rollback.
#[test]
fn restaurants_that_come_while_the_others_move() {
    let key = Key::Fields(&["restaurant_id"]);
    let file =
        |number: u8, count: usize| Set::of("restaurants", restaurants(&[number]), Form::MongoDb, key, count).records();
    let mut walk = Walk::begin(Set::of("restaurants", restaurants(&[1]), Form::MongoDb, key, 6));
    walk.write_directly(file(2, 4));
    walk.verify();
    walk.step(&["advance"], "shadow-read");
    walk.write_directly(file(3, 5));
    walk.verify();
    walk.step(&["advance"], "read-ramp");
    walk.write_directly(file(4, 8));
    walk.step(&["ramp", "100%"], "read-ramp");
    walk.step(&["advance"], "reverse-window");
    walk.check_target();
    walk.is_fenced(file(6, 1));
    walk.rollback();
    // Now they come again, each with one grade less.
    let mut again = [file(2, 4), file(3, 5), file(4, 8), file(6, 1)].concat();
    for restaurant in &mut again {
        if let Some(Value::Array(grades)) = restaurant.get("grades").cloned() {
            restaurant.set("grades", Value::Array(grades.into_iter().skip(1).collect()));
        }
    }
    walk.write_directly(again);
    walk.cut_over();
    walk.complete();
    assert_eq!(walk.count("SELECT count(*) FROM restaurants"), 24);
}

#[test]
fn a_restaurant_over_many_lines() {
    let key = Key::Fields(&["restaurant_id"]);
    walk(Set::of("restaurant", restaurants(&[5]), Form::MongoDb, key, 1));
}

#[test]
fn earthquakes_out_of_one_document() {
    let content = bytes("documents/earthquakes/earthquakes.json");
    let quakes = Set::of("earthquakes", content, Form::Json, Key::Fields(&["id"]), 1_707);
    let walk = walk(Set { root: Some("features"), ..quakes });
    assert_eq!(walk.count("SELECT count(*) FROM earthquakes"), 1_707);
}

/// Several entities in each table, told apart by the two parts of the key.
#[test]
fn dynamodb_models_with_keys_of_two_fields() {
    for (name, file, count) in [
        ("chat", "ChatSystemSchema", 8),
        ("sns", "SocialNetworkSchema", 17),
        ("payments", "RecurringPaymentsSchema", 2),
        ("serverless", "global-serverless-sample-data", 13),
    ] {
        let content = bytes(&format!("documents/dynamodb-models-a/{file}.json"));
        walk(Set::of(name, content, Form::DynamoDb, Key::Fields(&["PK", "SK"]), count));
    }
}

#[test]
fn sparse_documents_of_which_many_are_empty() {
    let content = bytes("documents/pg-jsonb/jsonb.data");
    let walk = walk(Set::of("sparse", content, Form::Json, Key::Made("number"), 1_012));
    assert_eq!(walk.count("SELECT count(*) FROM sparse"), 1_012);
    // Only the made key is in them: equal documents stay as many as they were.
    let v1 = walk.place.exported(&["sparse-move", "--shape", "v1"]);
    assert_eq!(v1.iter().filter(|line| line.starts_with("{\"number\":")).count(), 118);
}

/// The images that stand in an album.
fn in_albums(albums: &[String]) -> HashSet<u64> {
    let images = |line: &String| {
        let album: Json = serde_json::from_str(line).unwrap();
        album["images"].as_array().unwrap().iter().map(|image| image.as_u64().unwrap()).collect::<Vec<_>>()
    };
    albums.iter().flat_map(images).collect()
}

#[test]
fn albums_with_lists_of_images() {
    let lines = palbum("albums");
    let listed = i64::try_from(in_albums(&lines).len()).unwrap();
    let walk = walk(Set::of("albums", lines.join("\n").into_bytes(), Form::Json, ID, 1_000));
    assert_eq!(walk.count("SELECT count(DISTINCT value) FROM albums_images"), listed);
}

/// Every tenth image, with the orphans among them. All 100,000 take about 45 s in a
/// debug build: SHEARWATER_FULL_DATA=1 takes them.
#[test]
fn images_of_which_many_are_in_no_album() {
    let step = if std::env::var_os("SHEARWATER_FULL_DATA").is_some() { 1 } else { IMAGES_STEP };
    let lines: Vec<String> = palbum("images").into_iter().step_by(step).collect();
    let listed = in_albums(&palbum("albums"));
    let ids = (0..100_000).step_by(step);
    let orphans: Vec<String> = ids.filter(|id| !listed.contains(id)).map(|id| id.to_string()).collect();
    assert!(orphans.len() > 10_000 / step, "{} orphans", orphans.len());
    let count = 100_000 / step;
    let images = Set::of("images", lines.join("\n").into_bytes(), Form::Json, ID, count);
    let walk = walk(Set { trip: Trip::There, ..images });
    let kept = walk.count(&format!("SELECT count(*) FROM images WHERE id IN ({})", orphans.join(",")));
    assert_eq!(usize::try_from(kept), Ok(orphans.len()), "orphans survive");
    assert_eq!(walk.count("SELECT count(*) FROM images"), i64::try_from(count).unwrap());
}
