//! What a census tells, and that the spec it proposes holds every document it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;
mod real;

use proptest::prelude::*;
use shearwater_core::census::{Census, PathReport, Proposal, propose};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::{Form, Image, Side};
use shearwater_core::value::{Document, Value, json};

fn proposal(key: &str) -> Proposal {
    Proposal {
        migration: "people-to-tables".to_owned(),
        entity: "people".to_owned(),
        source_url: "sqlite:old.db".to_owned(),
        source_table: "old_people".to_owned(),
        source_key: key.split(',').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
        source_document: None,
        target_url: "sqlite:new.db".to_owned(),
        target_table: "people".to_owned(),
        target_form: Form::Columns,
    }
}

fn census(records: &[Document]) -> Census {
    let mut census = Census::new();
    records.iter().for_each(|record| census.add(record));
    census
}

/// The proposed text parses, compiles, and holds the law for every record. Returns the text.
fn check_proposed(key: &str, records: &[Document]) -> String {
    let text = propose(&census(records), &proposal(key));
    let spec = spec::parse_move(&text, &|_| None)
        .unwrap_or_else(|problems| panic!("{}\n{text}", spec::render_problems("spec.toml", &text, &problems)));
    let mapping = Mapping::compile(&spec).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for record in records {
        let v1 = Image::of(record.clone());
        let v2 = mapping.forward(&v1).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(mapping.reverse(&v2).unwrap(), v1, "{text}");
        let key = mapping.key_of(Side::Source, &v1).unwrap();
        assert_eq!(mapping.key_forward(&key).unwrap(), mapping.key_of(Side::Target, &v2).unwrap());
    }
    text
}

fn parsed(texts: &[&str]) -> Vec<Document> {
    texts.iter().map(|text| json::parse_document(text.as_bytes()).unwrap()).collect()
}

#[test]
fn a_proposal_holds_every_record_of_the_real_sets() {
    for set in real::all() {
        let text = check_proposed(set.key, &set.records);
        assert!(text.contains("keep_in"), "{}", set.name);
    }
}

#[test]
fn what_is_proposed_for_books() {
    let books = real::books();
    let text = check_proposed("_id", &books.records);
    for part in [
        "int in 399, extended in 32: as the text of a key, values of different types stay apart\n\
         id = { from = \"_id\", type = \"text\", cast = true, required = true }",
        "page_count = { from = \"pageCount\", type = \"int\" }",
        "missing in 78 of 431\npublished_date = { from = \"publishedDate\", type = \"instant\" }",
        "authors = { table = \"people_authors\", scalar = \"value\", type = \"text\" }",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn what_is_proposed_for_odd_documents() {
    let records = parsed(&[
        r#"{"_id": 1, "odd name": "x", "pageCount": 1, "zip": 10075, "address": {"city": "A", "geo": [1, 2.5]},
            "tags": ["a", 1], "lines": [{"id": 5, "sku": "A", "notes": ["x"]}], "extra": true, "chaos": [1], "nul": null}"#,
        r#"{"_id": 2, "zip": "0075", "address": {"city": null, "geo": [3, 4]}, "pagecount": 2, "": "",
            "lines": [{"id": 6, "record_x": {"y": 1}}, null], "chaos": {"a": 1}, "map": {}, "deep": [[1]]}"#,
    ]);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("census_proposal", check_proposed("", &records));
    });
}

#[test]
fn a_report_counts_every_path() {
    let records = parsed(&[
        r#"{"_id": 1, "a": {"b": null}, "t": ["x", "yy"], "n": 1}"#,
        r#"{"_id": 2, "a": {}, "t": [], "n": 1}"#,
        r#"{"_id": 3, "n": 2.5}"#,
    ]);
    let report = census(&records).report();
    let line =
        |path: &str| report.iter().find(|line| line.path == path).unwrap_or_else(|| panic!("{path}: {report:?}"));
    let counts = |path: &str| (line(path).present, line(path).missing, line(path).null);
    assert_eq!(counts("_id"), (3, 0, 0));
    assert_eq!(counts("a"), (2, 1, 0));
    assert_eq!(counts("a.b"), (1, 1, 1));
    assert_eq!(counts("t[]"), (2, 0, 0));
    assert_eq!(line("n").types, [("int", 2), ("float", 1)]);
    assert_eq!((line("n").unique, line("_id").unique), (Some(false), Some(true)));
    assert_eq!(line("t").array_len, Some((0, 2)));
    assert_eq!(line("t[]").text_chars, Some((1, 2)));
    assert_eq!(
        line("a.b"),
        &PathReport {
            path: "a.b".to_owned(),
            present: 1,
            missing: 1,
            null: 1,
            types: vec![],
            text_chars: None,
            array_len: None,
            unique: None,
        }
    );
}

#[test]
fn the_likeliest_key_comes_first() {
    let records =
        parsed(&[r#"{"serial": "a", "id": 1, "same": 1, "sometimes": 1}"#, r#"{"serial": "b", "id": 2, "same": 1}"#]);
    assert_eq!(census(&records).key_candidates(), ["id", "serial"]);
    assert_eq!(Census::new().key_candidates(), Vec::<String>::new());
}

#[test]
fn memory_is_bounded_whatever_is_fed() {
    let wide = (0..5_000).map(|n| (format!("f{n}"), Value::Int(n)));
    let maps = (0..5_000).map(|n| (format!("user-{n}"), Value::Bool(true)));
    let mut record: Document = wide.collect();
    record.set("map", maps.collect::<Document>());
    record.set("_id", 1);
    let mut deep = Value::Int(1);
    for _ in 0..60 {
        deep = Value::Array(vec![Value::Document([("x", deep)].into_iter().collect())]);
    }
    let other: Document = [("_id", Value::Int(2)), ("deep", deep)].into_iter().collect();
    let records = [other, record];
    assert!(census(&records).report().len() < 5_000);
    let text = check_proposed("_id", &records);
    assert!(text.contains("stay in extra") && text.len() < 100_000, "{}", text.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_proposal_holds_whatever_was_seen(
        values in prop::collection::vec(prop::collection::vec((given::name(), given::value()), 0..6), 1..5),
    ) {
        let record = |(at, fields): (usize, Vec<(String, Value)>)| {
            let key = ("_id".to_owned(), Value::Int(i64::try_from(at).unwrap()));
            fields.into_iter().chain([key]).collect::<Document>()
        };
        let records: Vec<Document> = values.into_iter().enumerate().map(record).collect();
        check_proposed("_id", &records);
    }
}
