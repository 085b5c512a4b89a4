//! The document sets into real servers, and an entity of a root and children
//! out of one.

use shearwater_core::import::Form;

use crate::databases::{self, Database};
use crate::given::{Key, Set, bytes};
use crate::sets::{ID, restaurants};
use crate::tables::Move;
use crate::walk::{GATES, Place, walk_into};

pub fn books() -> Set {
    Set::of("books", bytes("documents/books/books.json"), Form::MongoDb, ID, 431)
}

pub fn students() -> Set {
    Set::of("students", bytes("documents/students/students.json"), Form::Json, ID, 200)
}

pub fn dated() -> Set {
    Set::of("restaurants", restaurants(&[1, 2, 3, 4, 6]), Form::MongoDb, Key::Made("number"), 24)
}

pub fn earthquakes() -> Set {
    let content = bytes("documents/earthquakes/earthquakes.json");
    let quakes = Set::of("earthquakes", content, Form::Json, Key::Fields(&["id"]), 1_707);
    Set { root: Some("features"), ..quakes }
}

pub fn chat() -> Set {
    let content = bytes("documents/dynamodb-models-a/ChatSystemSchema.json");
    Set::of("chat", content, Form::DynamoDb, Key::Fields(&["PK", "SK"]), 8)
}

pub fn sparse() -> Set {
    let content = bytes("documents/pg-jsonb/jsonb.data");
    Set::of("sparse", content, Form::Json, Key::Made("number"), 1_012)
}

#[test]
fn documents_into_postgres() {
    let into = || Database::postgres("documents");
    let books = walk_into(books(), into());
    assert_eq!(books.count("SELECT count(*) FROM books_authors"), 785);
    let students = walk_into(students(), into());
    assert_eq!(students.count("SELECT count(*) FROM students_scores"), 600);
    assert_eq!(students.count("SELECT count(*) FROM students WHERE name = ''"), 1, "neither null nor missing");
    for set in [dated(), earthquakes(), chat(), sparse()] {
        let (name, count) = (set.name, set.count);
        assert_eq!(walk_into(set, into()).target.count(name), count, "{name}");
    }
}

#[test]
fn documents_into_mariadb() {
    let into = || Database::mariadb("documents");
    let books = walk_into(books(), into());
    assert_eq!(books.count("SELECT count(*) FROM books_categories"), 323);
    let students = walk_into(students(), into());
    assert_eq!(students.count("SELECT count(*) FROM students_scores"), 600);
    for set in [dated(), earthquakes(), chat(), sparse()] {
        let (name, count) = (set.name, set.count);
        assert_eq!(walk_into(set, into()).target.count(name), count, "{name}");
    }
}

/// Customers with their addresses and their last payments in one document each.
const ENTITY: &str = "
CREATE TABLE client (customer_id integer PRIMARY KEY, doc json NOT NULL);
INSERT INTO client
SELECT c.customer_id, json_build_object(
    'customer_id', c.customer_id, 'first_name', c.first_name, 'last_name', c.last_name, 'email', c.email,
    'active', c.activebool, 'created', c.create_date,
    'addresses', json_build_array(json_build_object(
        'street', a.address, 'district', a.district, 'city', ci.city, 'country', co.country,
        'postal_code', a.postal_code, 'phone', a.phone)))
FROM customer c JOIN address a USING (address_id) JOIN city ci USING (city_id) JOIN country co USING (country_id);
";

/// The tables that the first move made, as the source of the second.
const AGAIN: &str = r#"migration = "client-again"
kind = "move"
entity = "clients"

[source]
url = "SOURCE"
table = "client"
key = "customer_id"
residue = "extra"

[source.columns]
customer_id = "int"
first_name = "text"
last_name = "text"
email = "text"
active = "bool"
created = "text"
addresses = { table = "client_addresses", fields = { street = "text", district = "text", city = "text", country = "text", postal_code = "text", phone = "text" } }

[target]
url = "TARGET"
table = "client"
key = "customer_id"

[fields]
customer_id = { type = "int", native = "integer" }
name = { sql = "first_name || ' ' || last_name", derived = true, type = "text" }
first_name = { type = "text", required = true, native = "varchar(45)" }
last_name = { type = "text", required = true, native = "varchar(45)" }
email = { type = "text", unique = true }
created = { type = "date", cast = true }

[fields.homes]
from = "addresses"
table = "client_homes"
[fields.homes.fields]
street = { type = "text", required = true }
town = { from = "city", type = "text" }
country = { type = "text" }

[unmapped]
keep_in = "rest"
"#;

/// A root and its children: out of documents, and then from tables into tables.
#[test]
fn a_customer_with_its_address() {
    let source = databases::pagila();
    source.load(ENTITY);
    let customers = source.count("customer");
    let tables = Database::mariadb("client");
    let there = Move::of(Place::new(), source, tables, &[]);
    let init = ["init", &there.source.url, &there.target.url, "--table", "client"];
    let spec = String::from_utf8(there.place.ok(&init)).unwrap() + GATES;
    there.walk_by("client", &spec);
    assert_eq!(there.target.count("client_addresses"), customers);
    let homes = Database::postgres("homes");
    let again = Move::of(Place::new(), there.target, homes, &[]);
    let spec = AGAIN.replace("SOURCE", &again.source.url).replace("TARGET", &again.target.url) + GATES;
    again.walk_by("client", &spec);
    assert_eq!(again.target.count("client_homes"), customers);
    let named = "SELECT count(*) FROM client JOIN client_homes h ON h.record_customer_id = customer_id \
                 WHERE name = first_name || ' ' || last_name AND created = DATE '2022-02-14' AND h.town <> ''";
    assert_eq!(again.target.one(named), customers.to_string());
}
