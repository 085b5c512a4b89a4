//! Edits, as tables: layout, record before, edit, record after.

use shearwater_core::shape::{DocumentLayout, FieldType, TableShape};
use shearwater_core::value::json;

use super::*;

fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

fn column(name: &str) -> ColumnShape {
    ColumnShape {
        name: name.into(),
        ty: FieldType::Json,
        nullable: true,
        unique: false,
        native: None,
        references: None,
    }
}

fn document() -> Layout {
    Layout::Document(DocumentLayout { table: "t".into(), key: vec!["id".into()], document: "doc".into() })
}

fn rows() -> Layout {
    let child = ChildShape {
        field: "tags".into(),
        table: "t_tags".into(),
        columns: vec![column("tag"), column("n")],
        children: vec![],
        residue: Some("more".into()),
    };
    Layout::Rows(TableShape {
        table: "t".into(),
        key: vec!["id".into()],
        columns: vec![column("id"), column("a"), column("b")],
        children: vec![child],
        residue: Some("extra".into()),
        extras: Default::default(),
    })
}

fn run(layout: &Layout, before: Option<&str>, edit: Edit, unsent: Unsent) -> Result<Option<Image>, ServeError> {
    let before = before.map(|text| Image { record: doc(text), parked: doc(r#"{"kept": 1}"#) });
    apply(layout, &Key::single("k"), before.as_ref(), &edit, unsent)
}

#[track_caller]
fn check(layout: &Layout, before: Option<&str>, edit: Edit, expect: &str) {
    let image = run(layout, before, edit, Unsent::Keep).unwrap().unwrap();
    assert_eq!(json::document_to_string(&image.record), json::document_to_string(&doc(expect)));
    let parked = if before.is_some() { doc(r#"{"kept": 1}"#) } else { Document::new() };
    assert_eq!(image.parked, parked, "what is parked stays");
}

#[test]
fn documents() {
    let layout = document();
    let replace = |text| Edit::Replace(doc(text));
    let patch = |text| Edit::MergePatch(doc(text));
    // The key that is left out comes first; one that is there stays where it is.
    check(&layout, None, Edit::Insert(doc(r#"{"a": 1}"#)), r#"{"id": "k", "a": 1}"#);
    check(&layout, None, Edit::Insert(doc(r#"{"a": 1, "id": "k"}"#)), r#"{"a": 1, "id": "k"}"#);
    check(&layout, None, replace(r#"{"a": null}"#), r#"{"id": "k", "a": null}"#);
    check(&layout, Some(r#"{"id": "k", "a": 1, "b": 2}"#), replace(r#"{"b": 3}"#), r#"{"id": "k", "b": 3}"#);
    // Of a record that is there, only what is sent changes; null is a value here.
    let set = |text| Edit::InsertOrSet(doc(text));
    check(&layout, None, set(r#"{"a": 1}"#), r#"{"id": "k", "a": 1}"#);
    let before = r#"{"id": "k", "a": {"x": 1, "y": 2}, "b": 2, "c": 3}"#;
    check(
        &layout,
        Some(before),
        set(r#"{"a": {"x": 5}, "b": null}"#),
        r#"{"id": "k", "a": {"x": 5}, "b": null, "c": 3}"#,
    );
    check(&layout, None, Edit::InsertIfAbsent(doc(r#"{"a": 1}"#)), r#"{"id": "k", "a": 1}"#);
    // Another key is a move, which the caller sees.
    check(&layout, Some(r#"{"id": "k"}"#), replace(r#"{"id": "z"}"#), r#"{"id": "z"}"#);
    check(&layout, Some(r#"{"id": "k"}"#), patch(r#"{"id": "z"}"#), r#"{"id": "z"}"#);
}

#[test]
fn merge_patches_of_the_rfc() {
    let layout = document();
    let check = |before: &str, patch: &str, expect: &str| {
        check(&layout, Some(before), Edit::MergePatch(doc(patch)), expect);
    };
    check(r#"{"id":"k","a":"b"}"#, r#"{"a":"c"}"#, r#"{"id":"k","a":"c"}"#);
    check(r#"{"id":"k","a":"b"}"#, r#"{"b":"c"}"#, r#"{"id":"k","a":"b","b":"c"}"#);
    check(r#"{"id":"k","a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"id":"k","b":"c"}"#);
    check(r#"{"id":"k","a":["b"]}"#, r#"{"a":"c"}"#, r#"{"id":"k","a":"c"}"#);
    check(r#"{"id":"k","a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"id":"k","a":{"b":"d"}}"#);
    check(r#"{"id":"k","a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"id":"k","a":[1]}"#);
    check(r#"{"id":"k","e":null}"#, r#"{"a":1}"#, r#"{"id":"k","e":null,"a":1}"#);
    check(r#"{"id":"k"}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"id":"k","a":{"bb":{}}}"#);
    check(r#"{"id":"k","a":1}"#, r#"{"a":{"b":2}}"#, r#"{"id":"k","a":{"b":2}}"#);
    check(r#"{"id":"k","a":1}"#, r#"{"id":null,"a":2}"#, r#"{"id":"k","a":2}"#);
}

#[test]
fn rows_have_every_column_and_keep_the_residue() {
    let layout = rows();
    let replace = |text| Edit::Replace(doc(text));
    check(&layout, None, Edit::Insert(doc(r#"{"b": 2}"#)), r#"{"id": "k", "a": null, "b": 2, "tags": []}"#);
    let before = r#"{"id": "k", "a": 1, "b": 2,
        "tags": [{"tag": "x", "n": 1, "more": {"q": 1}}, {"tag": "y", "n": null, "more": {"q": 2}}],
        "extra": {"odd": [1]}}"#;
    // Left out: kept, in the root and in elements that are otherwise as they were, wherever they stand now.
    check(
        &layout,
        Some(before),
        replace(
            r#"{"a": 5, "tags": [{"tag": "y"}, {"tag": "x", "n": 2}, {"tag": "x", "n": 1}, {"tag": "x", "n": 1}]}"#,
        ),
        r#"{"id": "k", "a": 5, "b": null,
            "tags": [{"tag": "y", "n": null, "more": {"q": 2}}, {"tag": "x", "n": 2},
                     {"tag": "x", "n": 1, "more": {"q": 1}}, {"tag": "x", "n": 1}],
            "extra": {"odd": [1]}}"#,
    );
    // Said: as said; an empty one is none.
    check(
        &layout,
        Some(before),
        replace(r#"{"extra": {}, "tags": [{"tag": "x", "n": 1, "more": null}]}"#),
        r#"{"id": "k", "a": null, "b": null, "tags": [{"tag": "x", "n": 1}]}"#,
    );
    let patched = Edit::MergePatch(doc(r#"{"b": null, "extra": {"odd": null, "new": true}}"#));
    let expect = before.replace("\"b\": 2", "\"b\": null").replace(r#"{"odd": [1]}"#, r#"{"new": true}"#);
    check(&layout, Some(before), patched, &expect);
    let wiped = run(&layout, Some(before), replace("{}"), Unsent::Wipe).unwrap().unwrap();
    assert!(wiped.parked.is_empty() && !wiped.record.contains("extra"));
}

#[test]
fn what_is_refused() {
    let check = |layout: &Layout, before: Option<&str>, edit: Edit, expect: &str| {
        let found = match run(layout, before, edit, Unsent::Keep).unwrap_err() {
            ServeError::Unprocessable { code, field, .. } => format!("{code} {field}"),
            other => other.to_string(),
        };
        assert_eq!(found, expect);
    };
    let there = Some(r#"{"id": "k"}"#);
    let insert = |text| Edit::Insert(doc(text));
    check(&document(), there, insert("{}"), "a record with this key exists");
    check(&document(), None, Edit::Delete, "no record has this key");
    check(&document(), None, Edit::MergePatch(doc("{}")), "no record has this key");
    check(&document(), None, insert(r#"{"id": "z"}"#), "record/key id");
    check(&document(), there, Edit::InsertOrSet(doc(r#"{"id": "z"}"#)), "record/key id");
    check(&rows(), None, insert(r#"{"c": 1}"#), "record/unknown-field c");
    check(&rows(), None, insert(r#"{"tags": [{}, {"c": 1}]}"#), "record/unknown-field tags[1].c");
    check(&rows(), None, insert(r#"{"tags": {"tag": 1}}"#), "record/type tags");
    check(&rows(), None, insert(r#"{"tags": ["x"]}"#), "record/type tags[0]");
    check(&rows(), None, insert(r#"{"tags": null}"#), "record/type tags");
    check(&rows(), None, insert(r#"{"extra": "x"}"#), "record/type extra");
    check(&rows(), None, insert(r#"{"tags": [{"more": 1}]}"#), "record/type tags[0].more");
    assert_eq!(run(&rows(), there, Edit::Delete, Unsent::Keep), Ok(None));
}
