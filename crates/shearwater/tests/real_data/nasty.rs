//! What is legal and nasty: accepted exactly, and carried all the way.

use std::collections::{BTreeMap, BTreeSet};

use shearwater_core::import::Form;
use shearwater_core::value::json;

use crate::given::{Key, Set, Trip, bytes, parsing_suite};
use crate::walk::{Place, walk};

/// Files of the suite that repeat a name in one document, which a record cannot hold.
const REPEATS: &str = "y_object_duplicated_key";

/// An array of records, because a record may then span lines.
fn array(records: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let records: Vec<Vec<u8>> = records.collect();
    [b"[".to_vec(), records.join(&b",\n"[..]), b"]".to_vec()].concat()
}

fn accepted() -> Vec<(String, Vec<u8>)> {
    parsing_suite("y_").into_iter().filter(|(name, _)| !name.starts_with(REPEATS)).collect()
}

#[test]
fn everything_that_the_parsing_suite_accepts_is_a_value() {
    let files = accepted();
    let record = |(name, content): &(String, Vec<u8>)| {
        [format!("{{\"_id\":\"{name}\",\"v\":").as_bytes(), content, b",\"in\":{\"list\":[", content, b"]}}"].concat()
    };
    let content = array(files.iter().map(record));
    let set = Set::of("accepted", content, Form::Json, Key::Fields(&["_id"]), files.len());
    walk(Set { format: "array", ..set });
}

/// Keys of every type, which stay apart where they look alike.
#[test]
fn everything_that_the_parsing_suite_accepts_is_a_key() {
    let null = |content: &[u8]| content.trim_ascii() == b"null";
    let values: Vec<(String, Vec<u8>)> = accepted().into_iter().filter(|(_, content)| !null(content)).collect();
    let keys: BTreeMap<String, Vec<u8>> = values
        .into_iter()
        .map(|(_, content)| (json::to_string(&json::parse_untagged(&content).unwrap()), content))
        .collect();
    // In the suite everything is in an array; these are not, and some look like others.
    let alike = [
        "1",
        "\"1\"",
        "true",
        "\"true\"",
        "[1]",
        "\"[1]\"",
        "-0.5",
        "9007199254740993",
        "18446744073709551615",
        "0.10000000000000001",
        "\"\\u0000\"",
        "\"a\\u0000b\"",
        "\"a\"",
    ];
    let keys: Vec<Vec<u8>> = keys
        .into_iter()
        .filter(|(text, _)| !alike.contains(&text.as_str()))
        .map(|(_, content)| content)
        .chain(alike.iter().map(|text| text.as_bytes().to_vec()))
        .collect();
    let record = |content: &Vec<u8>| [b"{\"_id\":", content.as_slice(), b",\"v\":", content, b"}"].concat();
    let set = Set::of("keys", array(keys.iter().map(record)), Form::Json, Key::Fields(&["_id"]), keys.len());
    walk(Set { format: "array", ..set });
}

#[test]
fn a_repeated_name_is_refused_with_its_place() {
    for (name, content) in parsing_suite("y_").into_iter().filter(|(name, _)| name.starts_with(REPEATS)) {
        let place = Place::new();
        place.write("twice.json", &content);
        let output =
            place.run(&["import", "twice.json", "--into", "sqlite:new.db", "--table", "t", "--synthesize-key", "n"]);
        assert_eq!(output.status.code(), Some(3), "{name}");
        let told = String::from_utf8(output.stderr).unwrap();
        for part in ["twice.json", "line 1", "stands twice", "at byte", "rename one of the two"] {
            assert!(told.contains(part), "{name}: {part:?} is not in {told}");
        }
        assert!(place.files().keys().eq(["twice.json"]), "{name}: a store was made");
    }
}

/// As a key, as a value, in a document, in an array, and as the name of a field.
#[test]
fn naughty_strings_wherever_a_string_can_stand() {
    let all: Vec<String> = serde_json::from_slice(&bytes("nasty/naughty-strings/blns.json")).unwrap();
    let strings: BTreeSet<&String> = all.iter().collect();
    assert!(strings.len() > 500, "only {} strings", strings.len());
    let lines: Vec<String> = strings
        .iter()
        .map(|s| {
            serde_json::json!({ "_id": s, "v": s, "in": { "text": s }, "list": [s, ""], s.as_str(): s }).to_string()
        })
        .collect();
    let content = lines.join("\n").into_bytes();
    let set = Set::of("naughty", content, Form::Json, Key::Fields(&["_id"]), strings.len());
    let walk = walk(Set { format: "jsonl", ..set });
    assert_eq!(walk.count("SELECT count(*) FROM naughty_list"), 2 * i64::try_from(strings.len()).unwrap());
}

/// All of them as names beside each other, each for itself in a nested document, and as columns.
#[test]
fn naughty_strings_as_names_of_columns() {
    let all: Vec<String> = serde_json::from_slice(&bytes("nasty/naughty-strings/blns.json")).unwrap();
    let strings: Vec<&String> = all.iter().collect::<BTreeSet<_>>().into_iter().collect();
    // Few enough in each record's document that `init` makes columns of them, until there are enough.
    let lines: Vec<String> = strings
        .chunks(30)
        .enumerate()
        .map(|(number, names)| {
            let fields: serde_json::Map<_, _> =
                names.iter().zip(1..).map(|(s, n)| ((*s).clone(), serde_json::json!(n))).collect();
            serde_json::json!({ "id": number, "all": fields, format!("of {number}"): fields }).to_string()
        })
        .collect();
    let set = Set::of("names", lines.join("\n").into_bytes(), Form::Json, Key::Fields(&["id"]), lines.len());
    walk(Set { format: "jsonl", trip: Trip::There, ..set });
}
