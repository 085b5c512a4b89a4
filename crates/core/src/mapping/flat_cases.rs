//! Which mappings have flat rules, and which records are plain by them.

use super::*;
use crate::flat::{Flat, FlatCell, Tape};
use crate::value::json;

const SPEC: &str = r#"
migration = "flat"
kind = "move"
entity = "users"
[source]
url = "sqlite:a.db"
table = "users"
key = "_id"
layout = "document"
[target]
url = "sqlite:b.db"
table = "people"
key = "id"
[fields]
id   = { from = "_id", type = "text" }
name = { from = "name", type = "text", chars_max = 5 }
age  = { from = "age", type = "int" }
[unmapped]
keep_in = "extra"
"#;

fn mapping(spec: &str) -> Mapping {
    Mapping::compile(&crate::spec::parse_move(spec, &|_| None).unwrap_or_else(|e| panic!("{e:?}"))).unwrap()
}

#[test]
fn rules_that_do_anything_more_have_no_flat_form() {
    assert!(mapping(SPEC).flat().is_some());
    for (from, to) in [
        (r#"from = "age", type = "int""#, r#"sql = "age + 1", type = "int", back = { age = "age - 1" }"#),
        (r#"from = "age", type = "int""#, r#"from = "a[0]", type = "int""#),
        (r#"from = "age", type = "int""#, r#"value = 1, type = "int""#),
        (r#"chars_max = 5"#, r#"chars_max = 5, unfit = "cut""#),
        (r#"from = "age", type = "int""#, r#"target_only = true, type = "int""#),
    ] {
        assert!(SPEC.contains(from), "{from}");
        let changed = SPEC.replace(from, to);
        match crate::spec::parse_move(&changed, &|_| None) {
            Ok(spec) => assert!(Mapping::compile(&spec).unwrap().flat().is_none(), "{to}"),
            Err(problems) => panic!("{to}: {problems:?}"),
        }
    }
}

#[test]
fn plain_records_are_told_from_others() {
    let rules = mapping(SPEC).flat().unwrap();
    let check = |text: &str, expected: bool| {
        let (mut tape, mut flat) = (Tape::new(), Flat::default());
        assert!(json::read_tape(text.as_bytes(), &mut tape), "{text}");
        assert_eq!(rules.flatten(&tape, &mut flat), expected, "{text}");
    };
    check(r#"{"_id":"a","name":"b","age":1}"#, true);
    check(r#"{"_id":"a","name":"bücü5","age":1}"#, true);
    check(r#"{"_id":"a"}"#, true);
    check(r#"{"_id":"a","age":1}"#, true);
    check(r#"{"name":"b","age":1}"#, false);
    check(r#"{"_id":null,"name":"b","age":1}"#, false);
    check(r#"{"_id":"a","name":"b","age":null}"#, false);
    check(r#"{"_id":"a","name":"b","age":1.0}"#, false);
    check(r#"{"_id":"a","name":"b","age":"1"}"#, false);
    check(r#"{"_id":"a","name":"bcdefg","age":1}"#, false);
    check(r#"{"_id":"a","age":1,"name":"b"}"#, false);
    check(r#"{"name":"b","_id":"a","age":1}"#, false);
    check(r#"{"_id":"a","name":"b","age":1,"more":2}"#, false);
    check(r#"{"_id":"a","_id":"b","age":1}"#, false);
}

#[test]
fn documents_inside_are_columns_too() {
    let age = r#"from = "age", type = "int""#;
    let spec = SPEC.replace(age, "from = \"a.b.age\", type = \"int\" }\nsize = { from = \"a.size\", type = \"float\"");
    let rules = mapping(&spec).flat().unwrap();
    let check = |text: &str, expected: Option<[FlatCell; 4]>| {
        let (mut tape, mut flat) = (Tape::new(), Flat::default());
        assert!(json::read_tape(text.as_bytes(), &mut tape), "{text}");
        let found = rules.flatten(&tape, &mut flat).then(|| flat.cells().to_vec());
        assert_eq!(found.as_deref(), expected.as_ref().map(<[FlatCell; 4]>::as_slice), "{text}");
    };
    let (at, null) = (FlatCell::At, FlatCell::Null);
    check(r#"{"_id":"a","name":"b","a":{"b":{"age":1},"size":0.5}}"#, Some([at(0), at(1), at(4), at(5)]));
    check(r#"{"_id":"a","a":{"size":0.5}}"#, Some([at(0), null, null, at(2)]));
    check(r#"{"_id":"a"}"#, Some([at(0), null, null, null]));
    check(r#"{"_id":"a","a":{}}"#, None);
    check(r#"{"_id":"a","a":{"b":{}}}"#, None);
    check(r#"{"_id":"a","a":{"size":0.5,"b":{"age":1}}}"#, None);
    check(r#"{"_id":"a","a":{"size":0.5,"more":1}}"#, None);
    check(r#"{"_id":"a","a":{"size":0.5},"more":1}"#, None);
    check(r#"{"_id":"a","a":[]}"#, None);
}

#[test]
fn a_key_of_any_type_is_its_text() {
    let cast = SPEC.replace(r#"from = "_id", type = "text""#, r#"from = "_id", type = "text", cast = true"#);
    let rules = mapping(&cast).flat().unwrap();
    let text = |text: &str| {
        let (mut tape, mut flat) = (Tape::new(), Flat::default());
        assert!(json::read_tape(text.as_bytes(), &mut tape), "{text}");
        rules.flatten(&tape, &mut flat).then(|| flat.text(0).map(str::to_owned)).flatten()
    };
    assert_eq!(text(r#"{"_id":5}"#).as_deref(), Some("5"));
    assert_eq!(text(r#"{"_id":"5"}"#).as_deref(), Some("\"5\""));
    assert_eq!(text(r#"{"_id":"a"}"#).as_deref(), Some("a"));
    assert_eq!(text(r#"{"_id":{"a":1}}"#), None);
    assert_eq!(text(r#"{"_id":null}"#), None);
}
