//! The real data sets as records of a document store.
#![allow(dead_code)]

use std::io::Read;
use std::path::PathBuf;

use shearwater_core::value::{Document, Value, dynamo_json, json, mongo_json};

/// One data set: its records, each with a key.
pub struct Set {
    pub name: &'static str,
    /// The key fields.
    pub key: &'static str,
    pub records: Vec<Document>,
}

fn bytes(path: &str) -> Vec<u8> {
    let root = std::env::var_os("SHEARWATER_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = root.join("documents").join(path);
    match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(why) => panic!("{}: {why}; set SHEARWATER_DATA to the folder of the data sets", file.display()),
    }
}

fn as_document(value: Value) -> Document {
    match value {
        Value::Document(document) => document,
        other => panic!("{} is no document", other.type_name()),
    }
}

/// The texts of the JSON values that stand one after the other.
fn texts(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut texts, mut start, mut depth, mut in_text, mut escaped) = (Vec::new(), None, 0, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                start.get_or_insert(at);
                depth += 1;
            }
            b'}' | b']' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    texts.push(&bytes[start.take().unwrap()..=at]);
                }
            }
            _ => {}
        }
    }
    texts
}

fn mongo(bytes: &[u8]) -> Vec<Document> {
    texts(bytes).into_iter().map(|text| as_document(mongo_json::parse(text).unwrap())).collect()
}

fn numbered(documents: impl IntoIterator<Item = Document>) -> Vec<Document> {
    let with_key = |(number, document): (usize, Document)| {
        let key = ("_id".to_owned(), Value::Int(i64::try_from(number).unwrap()));
        std::iter::once(key).chain(document).collect()
    };
    documents.into_iter().enumerate().map(with_key).collect()
}

fn set(name: &'static str, key: &'static str, records: Vec<Document>, count: usize) -> Set {
    assert_eq!(records.len(), count, "records of {name}");
    Set { name, key, records }
}

pub fn books() -> Set {
    set("books", "_id", mongo(&bytes("books/books.json")), 431)
}

pub fn students() -> Set {
    set("students", "_id", mongo(&bytes("students/students.json")), 200)
}

/// Without their key: a number stands for it, because a restaurant comes again as an update.
pub fn restaurants() -> Set {
    let files = (1..=6).flat_map(|n| mongo(&bytes(&format!("restaurants-primer/restaurants{n}.json"))));
    set("restaurants", "_id", numbered(files.collect::<Vec<_>>()), 25)
}

pub fn earthquakes() -> Set {
    let whole = json::parse_document(&bytes("earthquakes/earthquakes.json")).unwrap();
    let Some(Value::Array(features)) = whole.get("features") else { panic!("no features") };
    set("earthquakes", "id", features.iter().cloned().map(as_document).collect(), 1_707)
}

pub fn pg_jsonb() -> Set {
    set("pg-jsonb", "_id", numbered(mongo(&bytes("pg-jsonb/jsonb.data"))), 1_012)
}

fn palbum(file: &str) -> Vec<Document> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes("palbum/palbum.zip"))).unwrap();
    let mut text = Vec::new();
    archive.by_name(&format!("palbum/{file}.json")).unwrap().read_to_end(&mut text).unwrap();
    mongo(&text)
}

pub fn albums() -> Set {
    set("albums", "_id", palbum("albums"), 1_000)
}

/// Every tenth of the 100,000 images in a debug build, so that the tests stay quick.
pub fn images() -> Set {
    let step = if cfg!(debug_assertions) { 10 } else { 1 };
    set("images", "_id", palbum("images").into_iter().step_by(step).collect(), 100_000 / step)
}

/// The items of all models, which share one table with a key of two fields.
pub fn dynamodb() -> Set {
    let mut records = Vec::new();
    for file in ["SocialNetworkSchema", "ChatSystemSchema", "RecurringPaymentsSchema", "global-serverless-sample-data"]
    {
        let whole: serde_json::Value =
            serde_json::from_slice(&bytes(&format!("dynamodb-models-a/{file}.json"))).unwrap();
        items(&whole, &mut records);
    }
    assert!(records.len() > 30, "found {} items", records.len());
    Set { name: "dynamodb", key: "PK,SK", records }
}

/// Every object below that looks like an item: PK and SK typed by one letter.
fn items(value: &serde_json::Value, records: &mut Vec<Document>) {
    match value {
        serde_json::Value::Object(fields) if fields.get("PK").is_some_and(|pk| pk.get("S").is_some()) => {
            records.push(dynamo_json::parse_item(value.to_string().as_bytes()).unwrap());
        }
        serde_json::Value::Object(fields) => fields.values().for_each(|value| items(value, records)),
        serde_json::Value::Array(values) => values.iter().for_each(|value| items(value, records)),
        _ => {}
    }
}

pub fn all() -> Vec<Set> {
    vec![books(), students(), restaurants(), earthquakes(), pg_jsonb(), albums(), images(), dynamodb()]
}
