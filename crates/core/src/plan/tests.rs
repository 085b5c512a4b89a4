//! A plan from what stores show: each finding by its code and weight.

mod columns;
mod distinct;
mod foreign_keys;

use super::*;
use crate::Document;
use crate::error::{StoreError, StoreErrorKind};
use crate::shape::FieldType;
use crate::spec::{locate, parse_move};
use crate::store::{BadRow, Covers, Form, Image, InspectedColumn, InspectedTable};
use crate::value::Value;

const SPEC: &str = r#"migration = "m"
kind = "move"
entity = "users"
[source]
url = "sqlite:old.db"
table = "users"
key = "_id"
[target]
url = "sqlite:new.db"
table = "people"
key = "id"
[fields]
id = { from = "_id", type = "int" }
email = { type = "text" }
tags = { table = "user_tags", scalar = "tag", type = "text" }
[gates]
pause_ms_max = 100
"#;

fn column(name: &str) -> InspectedColumn {
    let ty = match name {
        "id" | "_id" | "position" => FieldType::Int,
        _ => FieldType::Text,
    };
    InspectedColumn {
        name: name.into(),
        declared: ty.name().into(),
        nullable: !name.ends_with("id"),
        ty: Some(ty),
        ..InspectedColumn::default()
    }
}

fn table(name: &str, columns: &[&str], key: &[&str], records: u64) -> InspectedTable {
    InspectedTable {
        form: Form::Columns,
        name: name.into(),
        columns: columns.iter().map(|name| column(name)).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        unique: vec![],
        foreign_keys: vec![],
        hazards: vec![],
        estimate: Estimate { records, exact: true, bytes: records * 100 },
    }
}

fn store(tables: Vec<InspectedTable>) -> Inspection {
    Inspection { product: "Test 1".into(), tables, ..Inspection::default() }
}

fn source() -> Inspection {
    store(vec![table("users", &["_id", "doc"], &["_id"], 1_000)])
}

fn compiled(text: &str) -> (Spec, Mapping) {
    let spec = parse_move(text, &|_| None).unwrap();
    let mapping = Mapping::compile(&spec).unwrap();
    (spec, mapping)
}

/// Plans and answers `weight code` of every finding that is no note.
fn found(spec: &str, source: &Inspection, target: Option<&Inspection>) -> Vec<String> {
    let (spec, mapping) = compiled(spec);
    let plan = plan(&spec, &mapping, source, target, &Sample::new(&spec, &mapping, source, target), None);
    let told = plan.findings.iter().filter(|finding| finding.weight != Weight::Note);
    told.map(|finding| format!("{} {}", finding.weight.word(), finding.code)).collect()
}

fn check(reason: &str, source: &Inspection, target: Option<&Inspection>, expect: &[&str]) {
    assert_eq!(found(SPEC, source, target), expect, "{reason}");
}

#[test]
fn a_sound_source_and_no_target_is_ready() {
    check("new target", &source(), None, &[]);
    check("empty database", &source(), Some(&store(vec![])), &[]);
}

#[test]
fn a_collection_has_documents_and_no_columns() {
    let mut users = table("users", &["_id"], &["_id"], 1);
    check("a table of one column", &store(vec![users.clone()]), None, &["problem plan/column-absent"]);
    users.form = Form::Documents;
    let look = Inspection { covers: Covers::Gateway, ..store(vec![users]) };
    check("a collection", &look, None, &[]);
    let note = |source: &Inspection| {
        let (spec, mapping) = compiled(SPEC);
        let plan = plan(&spec, &mapping, source, None, &Sample::new(&spec, &mapping, source, None), None);
        plan.findings.into_iter().find(|finding| finding.code == "plan/capture").unwrap().message
    };
    assert!(note(&look).contains("through the gateway") && note(&source()).contains("triggers on both stores"));
}

#[test]
fn the_source_must_be_what_the_spec_says() {
    check("no table", &store(vec![table("user", &["_id", "doc"], &["_id"], 1)]), None, &["problem plan/table-absent"]);
    check("no tables at all", &store(vec![]), None, &["problem plan/table-absent"]);
    let no_document = store(vec![table("users", &["_id", "body"], &["_id"], 1)]);
    check("no document", &no_document, None, &["problem plan/column-absent"]);
    let no_key = store(vec![table("users", &["id", "doc"], &["id"], 1)]);
    check("no key column", &no_key, None, &["problem plan/column-absent"]);
    let loose = store(vec![table("users", &["_id", "doc"], &[], 1)]);
    check("key not unique", &loose, None, &["problem plan/key-not-unique"]);
    let mut indexed = loose.clone();
    indexed.tables[0].unique.push(vec!["_ID".into()]);
    check("a unique index will do, in any letter case", &indexed, None, &[]);
    let mut wider = loose;
    wider.tables[0].unique.push(vec!["_id".into(), "doc".into()]);
    check("one over more columns will not", &wider, None, &["problem plan/key-not-unique"]);
    let mut risky = source();
    risky.hazards.push("it has a trigger".into());
    check("what the store says of itself", &risky, None, &["hazard plan/store"]);
    let mut others = source();
    others.tables[0].hazards.push("it has a trigger".into());
    others.tables.push(InspectedTable { hazards: vec!["it is odd".into()], ..table("other", &["id"], &["id"], 1) });
    check("what it says of this table, and not of others", &others, None, &["hazard plan/store"]);
}

#[test]
fn tables_in_the_way_must_fit_and_better_be_empty() {
    let people = |columns: &[&str], records| {
        store(vec![
            table("people", columns, &["id"], records),
            table("user_tags", &["id", "record_id", "position", "tag", "extra"], &["id"], 0),
        ])
    };
    let all = ["id", "email", "extra"];
    check("just right", &source(), Some(&people(&all, 0)), &[]);
    check("not empty", &source(), Some(&people(&all, 7)), &["hazard plan/not-empty"]);
    check("a column short", &source(), Some(&people(&["id", "extra"], 0)), &["problem plan/column-absent"]);
    let more = ["id", "email", "extra", "note"];
    check("a column more", &source(), Some(&people(&more, 0)), &["hazard plan/other-column"]);
    let mut demanding = people(&more, 0);
    demanding.tables[0].columns[3].nullable = false;
    check("one that must be filled", &source(), Some(&demanding), &["problem plan/other-column"]);
    let mut computed = people(&all, 0);
    computed.tables[0].columns[1].generated = true;
    check("one that is computed", &source(), Some(&computed), &["problem plan/generated"]);
    let mut numbered = demanding;
    numbered.tables[0].columns[3].identity = true;
    check("one that numbers itself", &source(), Some(&numbered), &["hazard plan/other-column"]);
    let mut child = people(&all, 0);
    child.tables[1].columns.remove(3);
    check("a child's column short", &source(), Some(&child), &["problem plan/column-absent"]);
    let mut keyless = people(&all, 0);
    keyless.tables[0].key.clear();
    check("without its key", &source(), Some(&keyless), &["problem plan/key-not-unique"]);
}

#[test]
fn a_source_of_rows_leaves_no_column_behind() {
    let spec = SPEC
        .replace("key = \"_id\"\n", "key = \"_id\"\n[source.columns]\n_id = \"int\"\nemail = \"text\"\ntags = { table = \"old_tags\", scalar = \"tag\", type = \"text\" }\n");
    let children = table("old_tags", &["id", "record__id", "position", "tag"], &["id"], 0);
    let rows = |columns: &[&str]| store(vec![table("users", columns, &["_id"], 1), children.clone()]);
    assert_eq!(found(&spec, &rows(&["_id", "email"]), None), Vec::<String>::new());
    assert_eq!(found(&spec, &rows(&["_id", "email", "phone"]), None), ["problem plan/undeclared"]);
    assert_eq!(found(&spec, &rows(&["_id"]), None), ["problem plan/column-absent"]);
    let alone = store(vec![table("users", &["_id", "email"], &["_id"], 1)]);
    assert_eq!(found(&spec, &alone, None), ["problem plan/table-absent"]);
}

#[test]
fn choices_in_the_spec_are_told() {
    let unique = SPEC.replace("email = { type = \"text\" }", "email = { type = \"text\", unique = true }");
    assert_eq!(found(&unique, &source(), None), ["hazard plan/unique"]);
    let refuse = format!("{SPEC}[unmapped]\nrefuse = true\n");
    assert_eq!(found(&refuse, &source(), None), ["hazard plan/refuse"]);
}

fn person(id: i64, email: Value) -> Image {
    let tags = Value::Array(vec![Value::text("a"), Value::text("b")]);
    let fields = [("_id", Value::Int(id)), ("email", email), ("tags", tags)];
    Image::of(fields.into_iter().collect::<Document>())
}

#[test]
fn a_sample_counts_rows_and_reasons() {
    let (spec, mapping) = compiled(SPEC);
    let mut sample = Sample::new(&spec, &mapping, &source(), None);
    for id in 0..8 {
        assert!(sample.add(&mapping, &person(id, Value::text("x"))).is_some());
    }
    assert!(sample.add(&mapping, &person(8, Value::Bool(true))).is_none());
    sample.add_bad_row(&BadRow { key: None, error: StoreError::new(StoreErrorKind::Corrupt, "no JSON") });
    assert_eq!((sample.records, sample.mapped), (10, 8));
    assert_eq!(sample.child_rows, [("user_tags".to_owned(), 16)]);
    let plan = plan(&spec, &mapping, &source(), None, &sample, None);
    assert!(plan.is_ready(), "records that are refused one by one are hazards: {:?}", plan.findings);
    assert_eq!(plan.count(Weight::Hazard), 2);
    assert_eq!(plan.predictions.rows, [("people".to_owned(), 1_000), ("user_tags".to_owned(), 2_000)]);
    assert!(plan.findings.iter().all(|finding| !finding.message.contains("true")), "a row value was told");
}

#[test]
fn a_sample_that_is_refused_as_a_whole_is_a_problem_of_its_rule() {
    let (spec, mapping) = compiled(SPEC);
    let mut sample = Sample::new(&spec, &mapping, &source(), None);
    for id in 0..3 {
        sample.add(&mapping, &person(id, Value::Bool(true)));
    }
    let plan = plan(&spec, &mapping, &source(), None, &sample, None);
    let finding = &plan.findings[0];
    assert_eq!((finding.code, finding.weight), ("plan/refused", Weight::Problem));
    assert!(finding.message.contains("3 of 3"), "{}", finding.message);
    let place: Vec<&str> = finding.place.iter().map(String::as_str).collect();
    let (start, end) = locate(SPEC, &place);
    assert_eq!(&SPEC[start..end], "email", "it points at the rule");
}

#[test]
fn reasons_are_bounded_and_positions_do_not_multiply_them() {
    let (spec, mapping) = compiled(SPEC);
    let mut sample = Sample::new(&spec, &mapping, &source(), None);
    for position in 0..200 {
        let mut image = person(1, Value::text("x"));
        let mut tags = vec![Value::text("t"); position];
        tags.push(Value::Int(1));
        image.record.set("tags", Value::Array(tags));
        sample.add(&mapping, &image);
    }
    assert_eq!(sample.refused.len(), 1, "{:?}", sample.refused);
    assert_eq!(sample.refused[0].records, 200);
    for number in 0..200 {
        sample.refuse_stored(&StoreError::new(StoreErrorKind::Corrupt, format!("reason {number}")));
    }
    assert!(sample.refused.len() <= 51, "{}", sample.refused.len());
    assert_eq!(sample.refused.iter().map(|refused| refused.records).sum::<u64>(), 400);
}

#[test]
fn predictions_scale_what_was_measured() {
    let (spec, mapping) = compiled(SPEC);
    let sample = Sample::new(&spec, &mapping, &source(), None);
    let measured = Measured { records: 100, elapsed_micros: 50_000, bytes: 20_000, commit_micros: 10_000 };
    let plan = plan(&spec, &mapping, &source(), None, &sample, Some(&measured));
    let predictions = &plan.predictions;
    assert_eq!((predictions.records, predictions.exact, predictions.source_bytes), (1_000, true, 100_000));
    assert_eq!(predictions.target_bytes, Some(200_000));
    // 2,000 records/s, of which the pace leaves 90 %.
    assert_eq!(predictions.backfill_records_per_s, Some(1_800));
    assert_eq!(predictions.backfill_ms, Some(555));
    // Six commits and twenty records: 60 + 10 ms.
    assert_eq!(predictions.pause_ms, Some(70));
    assert_eq!(plan.count(Weight::Hazard), 0);
}

#[test]
fn a_pause_over_its_budget_is_a_hazard() {
    let (spec, mapping) = compiled(SPEC);
    let slow = Measured { records: 100, elapsed_micros: 50_000, bytes: 0, commit_micros: 20_000 };
    let plan = plan(&spec, &mapping, &source(), None, &Sample::new(&spec, &mapping, &source(), None), Some(&slow));
    let hazards: Vec<&str> =
        plan.findings.iter().filter(|finding| finding.weight == Weight::Hazard).map(|finding| finding.code).collect();
    assert_eq!(hazards, ["plan/pause"]);
}
