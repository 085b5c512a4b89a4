//! Forward and reverse by example: each case is a record and what it must become.

use serde_json::{Value as Json, json};

use super::*;
use crate::path::Step;
use crate::shape::FieldType;
use crate::spec::{ChildRule, FieldRule, Gates, Kind, LayoutSpec, Pace, RuleFrom, StoreSpec, Unmapped};
use crate::value::Value;

pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::from_u64(n),
            _ => Value::Float(n.as_f64().unwrap()),
        },
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(fields) => Value::Document(fields.iter().map(|(n, v)| (n.as_str(), value(v))).collect()),
    }
}

pub(crate) fn document(json: &Json) -> Document {
    match value(json) {
        Value::Document(document) => document,
        other => panic!("{} is no document", other.type_name()),
    }
}

pub(super) fn path(text: &str) -> Path {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let mut pieces = part.split('[');
        steps.push(Step::Field(pieces.next().unwrap().to_owned()));
        steps.extend(pieces.map(|piece| Step::Index(piece.trim_end_matches(']').parse().unwrap())));
    }
    Path::from_steps(steps).unwrap()
}

pub(super) fn rule(name: &str, from: RuleFrom, ty: FieldType) -> FieldRule {
    FieldRule {
        name: name.to_owned(),
        from,
        ty,
        required: false,
        unique: false,
        native: None,
        references: None,
        identity: false,
        when_omitted: None,
        cast: false,
        unfit: None,
        chars_max: None,
        default: None,
        child: None,
        span: (0, 0),
    }
}

pub(super) fn from(name: &str, at: &str, ty: FieldType) -> FieldRule {
    rule(name, RuleFrom::Path(path(at)), ty)
}

pub(super) fn cast(rule: FieldRule) -> FieldRule {
    FieldRule { cast: true, ..rule }
}

pub(super) fn required(rule: FieldRule) -> FieldRule {
    FieldRule { required: true, ..rule }
}

pub(super) fn default(rule: FieldRule, value: impl Into<Value>) -> FieldRule {
    FieldRule { default: Some(value.into()), ..rule }
}

pub(super) fn child(name: &str, at: &str, fields: Vec<FieldRule>) -> FieldRule {
    let table = format!("t_{name}");
    FieldRule { child: Some(ChildRule { table, fields, scalar: None }), ..from(name, at, FieldType::Json) }
}

pub(super) fn scalars(name: &str, at: &str, column: FieldRule) -> FieldRule {
    let child = ChildRule { table: format!("t_{name}"), scalar: Some(column.name.clone()), fields: vec![column] };
    FieldRule { child: Some(child), ..from(name, at, FieldType::Json) }
}

pub(super) fn sql(name: &str, text: &str, back: &[(&str, &str)], ty: FieldType) -> FieldRule {
    let back = back.iter().map(|(at, text)| (path(at), (*text).to_owned())).collect();
    rule(name, RuleFrom::Sql { sql: text.to_owned(), back }, ty)
}

fn store(key: &str, layout: LayoutSpec) -> StoreSpec {
    StoreSpec {
        url: "sqlite:x".to_owned(),
        shown_url: "sqlite:x".to_owned(),
        table: "users".to_owned(),
        key: key.split(',').map(str::to_owned).collect(),
        layout,
        together: Default::default(),
    }
}

pub(super) fn spec(source_key: &str, target_key: &str, fields: Vec<FieldRule>, unmapped: Unmapped) -> Spec {
    Spec {
        migration: "test".to_owned(),
        kind: Kind::Move,
        entity: "users".to_owned(),
        source: store(source_key, LayoutSpec::Document { column: "doc".to_owned() }),
        target: store(target_key, LayoutSpec::Rows { columns: Vec::new(), residue: None }),
        fields,
        unmapped,
        gates: Gates::default(),
        pace: Pace::default(),
    }
}

pub(super) fn keep() -> Unmapped {
    Unmapped::KeepIn("extra".to_owned())
}

pub(super) fn mapping(fields: Vec<FieldRule>) -> Mapping {
    let mut all = vec![from("id", "_id", FieldType::Int)];
    all.extend(fields);
    Mapping::compile(&spec("_id", "id", all, keep())).unwrap()
}

/// The law for one v1 record; returns the v2 record.
pub(super) fn forth_and_back(mapping: &Mapping, v1: &Document) -> Document {
    let v2 = mapping.forward(&Image::of(v1.clone())).unwrap();
    let back = mapping.reverse(&v2).unwrap();
    assert_eq!(back, Image::of(v1.clone()), "v2 was {v2:?}");
    v2.record
}

fn check_forward(fields: Vec<FieldRule>, v1: Json, v2: Json) {
    let found = forth_and_back(&mapping(fields), &document(&v1));
    assert_eq!(found, document(&v2));
}

fn check_refused(fields: Vec<FieldRule>, v1: Json, code: &str, place: &str) {
    let error = mapping(fields).forward(&Image::of(document(&v1))).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), (code, place), "{error}");
}

/// A v2 client's change: v1 forward, the change, back. Returns the v1 image, and checks that v2 settles.
fn edited(mapping: &Mapping, v1: Json, edit: impl Fn(&mut Document)) -> Image {
    let mut v2 = forth_and_back(mapping, &document(&v1));
    edit(&mut v2);
    let back = mapping.reverse(&Image::of(v2.clone())).unwrap();
    let settled = mapping.forward(&back).unwrap();
    for (name, value) in v2.iter().filter(|(name, _)| *name != "extra") {
        let shown = settled.record.get(name);
        if !matches!(value, Value::Array(_)) {
            assert_eq!(shown, Some(value), "{name} of {settled:?}");
        }
    }
    assert_eq!(mapping.reverse(&settled).unwrap(), back, "settled {settled:?}");
    back
}

#[test]
fn renames_nests_and_keeps_the_rest() {
    check_forward(
        vec![from("email", "email", FieldType::Text), from("city", "address.city", FieldType::Text)],
        json!({"_id": 1, "email": "a@b", "address": {"city": "X", "zip": 5}, "age": 7}),
        json!({"id": 1, "email": "a@b", "city": "X", "extra": {"address": {"zip": 5}, "age": 7}}),
    );
}

#[test]
fn a_stores_own_type_keeps_its_tag_or_becomes_text_and_comes_back() {
    let inet = crate::value::json::parse(br#"{"@extended": {"store": "postgres", "type": "inet", "text": "::1/128"}}"#)
        .unwrap();
    let v1: Document = [("_id", Value::Int(1)), ("at", inet.clone())].into_iter().collect();
    let held = |rule: FieldRule| forth_and_back(&mapping(vec![rule]), &v1).get("at").cloned();
    assert_eq!(held(from("at", "at", FieldType::Extended)), Some(inet));
    assert_eq!(held(cast(from("at", "at", FieldType::Text))), Some("::1/128".into()));
    let as_text = mapping(vec![from("at", "at", FieldType::Text)]);
    assert_eq!(as_text.forward(&Image::of(v1)).unwrap_err().code, "mapping/type");
    check_refused(vec![from("at", "at", FieldType::Extended)], json!({"_id": 1, "at": "::1"}), "mapping/type", "at");
}

#[test]
fn missing_null_and_wrong_structure_are_told_apart() {
    let rules = || vec![from("email", "email", FieldType::Text), from("city", "address.city", FieldType::Text)];
    let nulls = json!({"id": 1, "email": null, "city": null});
    let with = |extra: Json| {
        let mut v2 = nulls.clone();
        v2["extra"] = extra;
        v2
    };
    check_forward(rules(), json!({"_id": 1}), nulls.clone());
    check_forward(rules(), json!({"_id": 1, "email": null}), with(json!({"email": null})));
    check_forward(rules(), json!({"_id": 1, "address": {}}), with(json!({"address": {}})));
    check_forward(rules(), json!({"_id": 1, "address": {"city": null}}), with(json!({"address": {"city": null}})));
    check_forward(rules(), json!({"_id": 1, "address": "n/a"}), with(json!({"address": "n/a"})));
    check_forward(rules(), json!({"_id": 1, "address": []}), with(json!({"address": []})));
}

#[test]
fn field_order_is_kept() {
    let rules = || vec![from("a", "a", FieldType::Int), from("b", "b", FieldType::Int)];
    check_forward(
        rules(),
        json!({"b": 2, "_id": 1, "a": 1}),
        json!({"id": 1, "a": 1, "b": 2, "extra": {"@fix": [{"order": {"b": null}}]}}),
    );
    check_forward(
        rules(),
        json!({"_id": 1, "a": 1, "x": 0, "b": 2}),
        json!({"id": 1, "a": 1, "b": 2, "extra": {"x": 0, "@fix": [{"order": {"b": "x"}}]}}),
    );
    check_forward(
        vec![from("p", "n.p", FieldType::Int), from("q", "n.q", FieldType::Int)],
        json!({"_id": 1, "n": {"q": 2, "p": 1}}),
        json!({"id": 1, "p": 1, "q": 2, "extra": {"@fix": [{"path": "n", "order": {"p": "q"}}]}}),
    );
}

#[test]
fn arrays_become_child_rows() {
    let rules = || {
        vec![
            child(
                "addresses",
                "addresses",
                vec![from("street", "street", FieldType::Text), cast(from("zip", "zip", FieldType::Text))],
            ),
            scalars("tags", "tags", from("tag", "ignored", FieldType::Text)),
        ]
    };
    check_forward(
        rules(),
        json!({"_id": 1, "addresses": [{"street": "S", "zip": "1"}, {"street": "T", "zip": 2, "x": []}], "tags": ["a", null]}),
        json!({"id": 1,
            "addresses": [
                {"street": "S", "zip": "1"},
                {"street": "T", "zip": "2", "extra": {"x": [], "@fix": [{"path": "zip", "was": "2", "is": 2}]}}],
            "tags": [{"tag": "a"}, {"tag": null}]}),
    );
    check_forward(
        rules(),
        json!({"_id": 1, "addresses": [], "tags": []}),
        json!({"id": 1, "addresses": [], "tags": []}),
    );
    check_forward(
        rules(),
        json!({"_id": 1, "tags": null}),
        json!({"id": 1, "addresses": [], "tags": [],
            "extra": {"@fix": [{"path": "addresses", "was": []}, {"path": "tags", "was": [], "is": null}]}}),
    );
    check_forward(
        rules(),
        json!({"_id": 1, "addresses": ["odd", null, [1], {}], "tags": []}),
        json!({"id": 1,
            "addresses": [
                {"street": null, "zip": null, "extra": {"@fix": [{"was": {}, "is": "odd"}]}},
                {"street": null, "zip": null, "extra": {"@fix": [{"was": {}, "is": null}]}},
                {"street": null, "zip": null, "extra": {"@fix": [{"was": {}, "is": [1]}]}},
                {"street": null, "zip": null}],
            "tags": []}),
    );
}

#[test]
fn arrays_nest() {
    check_forward(
        vec![child(
            "orders",
            "orders",
            vec![
                from("no", "no", FieldType::Int),
                scalars("notes", "notes", from("note", "x", FieldType::Text)),
                child("lines", "lines", vec![from("sku", "sku", FieldType::Text)]),
            ],
        )],
        json!({"_id": 1, "orders": [{"no": 1, "notes": ["x"], "lines": [{"sku": "A", "n": 2}]}]}),
        json!({"id": 1, "orders": [{"no": 1, "notes": [{"note": "x"}], "lines": [{"sku": "A", "extra": {"n": 2}}]}]}),
    );
}

#[test]
fn positions_in_arrays_are_columns() {
    let rules = || vec![from("lon", "coord[0]", FieldType::Float), from("lat", "coord[1]", FieldType::Float)];
    check_forward(rules(), json!({"_id": 1, "coord": [1.5, 2.5]}), json!({"id": 1, "lon": 1.5, "lat": 2.5}));
    check_forward(
        rules(),
        json!({"_id": 1, "coord": [1.5, 2.5, 9]}),
        json!({"id": 1, "lon": 1.5, "lat": 2.5, "extra": {"@fix": [{"path": ["coord", 2], "is": 9}]}}),
    );
    check_forward(
        rules(),
        json!({"_id": 1, "coord": []}),
        json!({"id": 1, "lon": null, "lat": null, "extra": {"coord": []}}),
    );
    check_forward(rules(), json!({"_id": 1, "coord": [null, 2.5]}), json!({"id": 1, "lon": null, "lat": 2.5}));
    let back = edited(&mapping(rules()), json!({"_id": 1, "coord": [1.5, 2.5, 9]}), |v2| {
        v2.set("lon", 7.5);
    });
    assert_eq!(back, Image::of(document(&json!({"_id": 1, "coord": [7.5, 2.5, 9]}))));
}

#[test]
fn casts_and_defaults_come_back_as_they_were() {
    check_forward(
        vec![cast(from("zip", "zip", FieldType::Text)), default(from("n", "n", FieldType::Int), 0)],
        json!({"_id": 1, "zip": 10075}),
        json!({"id": 1, "zip": "10075", "n": 0,
            "extra": {"@fix": [{"path": "zip", "was": "10075", "is": 10075}, {"path": "n", "was": 0}]}}),
    );
}

#[test]
fn a_field_named_like_the_reserved_one_survives() {
    check_forward(
        vec![],
        json!({"_id": 1, "@fix": [1], "x": {"@fix": 2}}),
        json!({"id": 1, "extra": {"x": {"@fix": 2},
            "@fix": [{"path": "@fix", "is": [1]}, {"order": {"x": "@fix"}}]}}),
    );
    forth_and_back(
        &mapping(vec![from("y", "@fix.y", FieldType::Int)]),
        &document(&json!({"_id": 1, "@fix": {"z": 1, "y": 2}})),
    );
    forth_and_back(
        &mapping(vec![from("extra2", "extra", FieldType::Json)]),
        &document(&json!({"_id": 1, "extra": {"@fix": 3}})),
    );
}

#[test]
fn what_a_column_cannot_hold_is_refused_by_name() {
    check_refused(vec![from("n", "a.n", FieldType::Int)], json!({"_id": 1, "a": {"n": "x"}}), "mapping/type", "a.n");
    check_refused(vec![cast(from("n", "n", FieldType::Int))], json!({"_id": 1, "n": "01"}), "mapping/type", "n");
    check_refused(vec![cast(from("n", "n", FieldType::Int))], json!({"_id": 1, "n": [1]}), "mapping/type", "n");
    check_refused(
        vec![required(from("n", "n", FieldType::Int))],
        json!({"_id": 1, "n": null}),
        "mapping/required",
        "n",
    );
    check_refused(
        vec![child("as", "as", vec![from("n", "n", FieldType::Int)])],
        json!({"_id": 1, "as": [{"n": 1}, {"n": "x"}]}),
        "mapping/type",
        "as[1].n",
    );
    check_refused(
        vec![scalars("tags", "tags", from("tag", "tag", FieldType::Text))],
        json!({"_id": 1, "tags": ["x", 5]}),
        "mapping/type",
        "tags[1]",
    );
    check_refused(vec![], json!({"x": 1}), "mapping/required", "_id");
}

#[test]
fn refuse_names_the_first_unmapped_field() {
    let rules = vec![from("id", "_id", FieldType::Int), from("a", "a", FieldType::Int)];
    let mapping = Mapping::compile(&spec("_id", "id", rules, Unmapped::Refuse)).unwrap();
    let forward = |v1: Json| mapping.forward(&Image::of(document(&v1)));
    let refused = |v1: Json| forward(v1).unwrap_err();
    assert_eq!(refused(json!({"_id": 1, "x": 1})).path, "x");
    assert_eq!(refused(json!({"_id": 1, "a": null})).path, "a");
    assert_eq!(refused(json!({"_id": 1, "a": null})).code, "mapping/unmapped");
    assert_eq!(forward(json!({"a": 2, "_id": 1})).unwrap().record, document(&json!({"id": 1, "a": 2})));
}

#[test]
fn a_v2_change_makes_corrections_void() {
    let rules = || vec![cast(from("zip", "zip", FieldType::Text)), default(from("n", "n", FieldType::Int), 0)];
    let change = |v1: Json, name: &'static str, to: Json| {
        edited(&mapping(rules()), v1, |v2| {
            v2.set(name, value(&to));
        })
    };
    let v1 = |json: Json| Image::of(document(&json));
    assert_eq!(change(json!({"_id": 1, "zip": 5}), "zip", json!("6")), v1(json!({"_id": 1, "zip": "6"})));
    assert_eq!(change(json!({"_id": 1, "zip": 5}), "n", json!(3)), v1(json!({"_id": 1, "zip": 5, "n": 3})));
    assert_eq!(change(json!({"_id": 1, "zip": null}), "zip", json!("6")), v1(json!({"_id": 1, "zip": "6"})));
    assert_eq!(change(json!({"_id": 1, "zip": "5", "y": 1}), "zip", json!(null)), v1(json!({"_id": 1, "y": 1})));
}

#[test]
fn a_null_where_a_default_stands_is_parked() {
    let mapping = mapping(vec![default(from("n", "n", FieldType::Int), 0)]);
    let back = edited(&mapping, json!({"_id": 1, "n": 5}), |v2| {
        v2.set("n", Value::Null);
    });
    assert_eq!(back.record, document(&json!({"_id": 1})));
    assert_eq!(back.parked, document(&json!({"@fix": [{"column": "n", "was": 0, "is": null}]})));
}

#[test]
fn what_only_v2_has_is_parked_and_comes_back() {
    let mapping = mapping(vec![
        rule("score", RuleFrom::TargetOnly, FieldType::Int),
        default(rule("level", RuleFrom::TargetOnly, FieldType::Text), "new"),
        rule("origin", RuleFrom::Constant("legacy".into()), FieldType::Text),
    ]);
    assert_eq!(
        forth_and_back(&mapping, &document(&json!({"_id": 1}))),
        document(&json!({"id": 1, "score": null, "level": "new", "origin": "legacy"}))
    );
    let back = edited(&mapping, json!({"_id": 1, "x": 2}), |v2| {
        v2.set("score", 7);
        v2.set("level", Value::Null);
        v2.set("origin", "app");
    });
    assert_eq!(back.record, document(&json!({"_id": 1, "x": 2})));
    assert_eq!(back.parked, document(&json!({"score": 7, "level": null, "origin": "app"})));
}

#[test]
fn parked_fields_of_elements_follow_their_element() {
    let mapping = mapping(vec![child(
        "as",
        "as",
        vec![from("n", "n", FieldType::Int), rule("ok", RuleFrom::TargetOnly, FieldType::Bool)],
    )]);
    let v2 = document(&json!({"id": 1, "as": [{"n": 1, "ok": null}, {"n": 2, "ok": true}, {"n": 2, "ok": false}]}));
    let mut v1 = mapping.reverse(&Image::of(v2.clone())).unwrap();
    assert_eq!(v1.record, document(&json!({"_id": 1, "as": [{"n": 1}, {"n": 2}, {"n": 2}]})));
    assert_eq!(mapping.forward(&v1).unwrap().record, v2);
    let seen = |v1: &Image| match mapping.forward(v1).unwrap().record.get("as") {
        Some(Value::Array(rows)) => rows
            .iter()
            .map(|row| match row {
                Value::Document(row) => row.get("ok").cloned().unwrap(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let (yes, no, none) = (Value::Bool(true), Value::Bool(false), Value::Null);
    v1.record.set("as", value(&json!([{"n": 2}, {"n": 2}])));
    assert_eq!(seen(&v1), [no.clone(), yes.clone()], "a v1 client took the first element away");
    v1.record.set("as", value(&json!([{"n": 1}, {"n": 9}, {"n": 2}])));
    assert_eq!(seen(&v1), [none.clone(), yes, no], "a v1 client changed one in its place");
    v1.record.set("as", value(&json!([{"n": 9}])));
    assert_eq!(seen(&v1), [none]);
}

#[test]
fn a_v2_record_that_is_none_is_refused() {
    let mapping =
        mapping(vec![from("n", "n", FieldType::Int), child("as", "as", vec![from("m", "m", FieldType::Int)])]);
    let refused = |v2: Json| {
        let error = mapping.reverse(&Image::of(document(&v2))).unwrap_err();
        (error.code, error.path)
    };
    let expect = |code: &'static str, path: &str| (code, path.to_owned());
    assert_eq!(refused(json!({"id": 1, "nn": 1})), expect("mapping/reverse", "nn"));
    assert_eq!(refused(json!({"id": 1, "n": "x"})), expect("mapping/reverse", "n"));
    assert_eq!(refused(json!({"id": 1, "as": {}})), expect("mapping/reverse", "as"));
    assert_eq!(refused(json!({"id": 1, "as": [1]})), expect("mapping/reverse", "as[0]"));
    assert_eq!(refused(json!({"id": 1, "as": [{"x": 1}]})), expect("mapping/reverse", "as[0].x"));
    assert_eq!(refused(json!({"id": 1, "extra": 5})), expect("mapping/reverse", "extra"));
    assert_eq!(refused(json!({"id": 1, "extra": {"@fix": 5}})), expect("mapping/reverse", "extra"));
    assert_eq!(refused(json!({"n": 1})), expect("mapping/key", "id"));
    let steals_key = json!({"id": 1, "extra": {"@fix": [{"path": "_id", "was": 1, "is": 2}]}});
    assert_eq!(refused(steals_key), expect("mapping/key", "id"));
}

#[test]
fn columns_left_out_are_what_forward_makes() {
    let mapping = mapping(vec![default(from("n", "n", FieldType::Int), 0), from("m", "m", FieldType::Int)]);
    let settled = mapping.settle(&document(&json!({"id": 1, "m": 2}))).unwrap();
    assert_eq!(settled.get("n"), Some(&Value::Int(0)));
    assert_eq!(mapping.settle(&settled).unwrap(), settled);
}

#[test]
fn a_source_of_rows_gives_nulls_back() {
    let mut spec =
        spec("id", "id", vec![from("id", "id", FieldType::Int), from("mail", "email", FieldType::Text)], keep());
    spec.source.layout = LayoutSpec::Rows {
        columns: vec![from("id", "id", FieldType::Int), from("email", "email", FieldType::Text)],
        residue: None,
    };
    let mapping = Mapping::compile(&spec).unwrap();
    let v2 = forth_and_back(&mapping, &document(&json!({"id": 1, "email": null})));
    assert_eq!(v2, document(&json!({"id": 1, "mail": null})));
}

#[test]
fn keys_go_over_from_the_key_alone() {
    let mapping = mapping(vec![]);
    assert_eq!(mapping.key_forward(&Key::single(5)).unwrap(), Key::single(5));
    assert_eq!(mapping.key_reverse(&Key::single(5)).unwrap(), Key::single(5));
    assert_eq!(mapping.key_forward(&Key::single("x")).unwrap_err().code, "mapping/key");
    let image = Image::of(document(&json!({"_id": 5})));
    assert_eq!(mapping.key_of(Side::Source, &image).unwrap(), Key::single(5));
    assert_eq!(mapping.key_of(Side::Target, &image).unwrap_err().code, "mapping/key");

    let fields = vec![from("b", "y", FieldType::Int), from("a", "x", FieldType::Text)];
    let composite = Mapping::compile(&spec("x,y", "b,a", fields, keep())).unwrap();
    let (v1, v2) = (Key::composite(vec!["k".into(), 1.into()]), Key::composite(vec![1.into(), "k".into()]));
    assert_eq!(composite.key_forward(&v1).unwrap(), v2);
    assert_eq!(composite.key_reverse(&v2).unwrap(), v1);
}

#[test]
fn a_key_that_needs_more_than_the_key_is_refused() {
    let fields = vec![from("id", "_id", FieldType::Int), from("mail", "mail", FieldType::Text)];
    let error = Mapping::compile(&spec("_id", "mail", fields.clone(), keep())).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), ("mapping/spec", "mail"));
    let error = Mapping::compile(&spec("_id", "nothing", fields, keep())).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), ("mapping/spec", "nothing"));
}

#[test]
fn plain_paths_mean_the_same_in_both_shapes() {
    let mapping = mapping(vec![
        from("mail", "contact.mail", FieldType::Text),
        cast(from("zip", "zip", FieldType::Text)),
        default(from("n", "n", FieldType::Int), 0i64),
        from("raw", "raw", FieldType::Json),
        from("twice", "twice", FieldType::Text),
        from("again", "twice", FieldType::Text),
        child("as", "as", vec![from("m", "m", FieldType::Int)]),
    ]);
    let check = |v1: &str, v2: Option<&str>| {
        assert_eq!(mapping.path_forward(&path(v1)), v2.map(path), "{v1}");
        if let Some(v2) = v2 {
            assert_eq!(mapping.path_reverse(&path(v2)), Some(path(v1)), "{v2}");
        }
    };
    check("_id", Some("id"));
    check("contact.mail", Some("mail"));
    check("contact", None);
    check("contact.mail.x", None);
    check("zip", None);
    check("n", None);
    check("raw", Some("raw"));
    check("raw.deep[1]", Some("raw.deep[1]"));
    check("twice", None);
    check("as", None);
    check("unknown", None);
    for v2 in ["zip", "n", "as", "extra", "unknown", "again"] {
        assert_eq!(mapping.path_reverse(&path(v2)), None, "{v2}");
    }
}

fn full_name() -> FieldRule {
    let back = [("first", "split_part(full_name, ' ', 1)"), ("last", "split_part(full_name, ' ', 2)")];
    sql("full_name", "first || ' ' || last", &back, FieldType::Text)
}

#[test]
fn expressions_go_back_or_are_corrected() {
    check_forward(
        vec![full_name()],
        json!({"_id": 1, "first": "Ada", "last": "Lovelace"}),
        json!({"id": 1, "full_name": "Ada Lovelace"}),
    );
    check_forward(
        vec![full_name()],
        json!({"_id": 1, "first": "Ada B", "last": "C"}),
        json!({"id": 1, "full_name": "Ada B C", "extra": {"@fix": [
            {"path": "first", "was": "Ada", "is": "Ada B", "if": {"full_name": "Ada B C"}},
            {"path": "last", "was": "B", "is": "C", "if": {"full_name": "Ada B C"}}]}}),
    );
    check_forward(
        vec![full_name()],
        json!({"_id": 1, "first": "Ada"}),
        json!({"id": 1, "full_name": null,
            "extra": {"@fix": [{"path": "first", "is": "Ada", "if": {"full_name": null}}]}}),
    );
    check_refused(vec![full_name()], json!({"_id": 1, "first": "x", "last": 5}), "mapping/expression", "full_name");
}

#[test]
fn a_v2_change_of_a_computed_column_goes_back() {
    let mapping = mapping(vec![full_name()]);
    let change = |v1: Json, to: &str| {
        edited(&mapping, v1, |v2| {
            v2.set("full_name", to);
        })
    };
    let v1 = |first: &str, last: &str| document(&json!({"_id": 1, "first": first, "last": last}));
    let clean = change(json!({"_id": 1, "first": "Ada B", "last": "C"}), "Ada Z");
    assert_eq!(clean, Image::of(v1("Ada", "Z")), "corrections of one expression fall together");
    let lossy = change(json!({"_id": 1, "first": "Ada", "last": "L"}), "Cher");
    assert_eq!(lossy.record, v1("Cher", ""));
    assert_eq!(lossy.parked, document(&json!({"@fix": [{"column": "full_name", "was": "Cher ", "is": "Cher"}]})));
    let mut outgrown = lossy;
    outgrown.record.set("first", "Sonny");
    let full_name = mapping.forward(&outgrown).unwrap().record.get("full_name").cloned();
    assert_eq!(full_name, Some("Sonny ".into()), "a v1 change makes what is parked void");
}

#[test]
fn a_derived_column_is_computed_and_may_be_left_out() {
    let mapping = mapping(vec![from("n", "n", FieldType::Int), sql("twice", "n * 2", &[], FieldType::Int)]);
    assert_eq!(
        forth_and_back(&mapping, &document(&json!({"_id": 1, "n": 4}))),
        document(&json!({"id": 1, "n": 4, "twice": 8}))
    );
    for written in [json!({"id": 1, "n": 5}), json!({"id": 1, "n": 5, "twice": 8})] {
        let settled = mapping.settle(&document(&written)).unwrap();
        assert_eq!(settled, document(&json!({"id": 1, "n": 5, "twice": 10})));
        let back = mapping.reverse(&Image::of(document(&written))).unwrap();
        assert!(back.parked.is_empty(), "a derived column is not kept: {back:?}");
    }
}

#[test]
fn computed_keys_must_be_exact_inverses() {
    let rules = |back: &str| {
        let id = sql("id", "concat('bob-', _id)", &[("_id", back)], FieldType::Text);
        Mapping::compile(&spec("_id", "id", vec![id], keep())).unwrap()
    };
    let good = rules("cast(substring(id from 5) as bigint)");
    assert_eq!(good.key_forward(&Key::single(7)).unwrap(), Key::single("bob-7"));
    assert_eq!(good.key_reverse(&Key::single("bob-7")).unwrap(), Key::single(7));
    assert_eq!(good.key_reverse(&Key::single("bob-07")).unwrap_err().code, "mapping/key");
    assert_eq!(good.key_forward(&Key::single("x")).unwrap_err().code, "mapping/key");
    assert_eq!(forth_and_back(&good, &document(&json!({"_id": 7}))), document(&json!({"id": "bob-7"})));
    let bad = rules("cast(substring(id from 6) as bigint)");
    assert_eq!(bad.key_forward(&Key::single(17)).unwrap_err().code, "mapping/key");
    assert_eq!(bad.forward(&Image::of(document(&json!({"_id": 17})))).unwrap_err().code, "mapping/key");
}

#[test]
fn keys_of_mixed_types_stay_distinct_as_text() {
    let id = cast(from("id", "_id", FieldType::Text));
    let mapping = Mapping::compile(&spec("_id", "id", vec![id], keep())).unwrap();
    let keys =
        [Value::Int(5), "5".into(), Value::Float(5.0), Value::Bool(true), "true".into(), "a,b".into(), "".into()];
    let mut seen = std::collections::BTreeSet::new();
    for key in keys {
        let v1: Document = [("_id", key.clone())].into_iter().collect();
        let v2 = forth_and_back(&mapping, &v1);
        assert_eq!(v2.len(), 1, "no residue for {key:?}: {v2:?}");
        let v2_key = mapping.key_of(Side::Target, &Image::of(v2)).unwrap();
        assert_eq!(mapping.key_forward(&Key::single(key.clone())).unwrap(), v2_key);
        assert_eq!(mapping.key_reverse(&v2_key).unwrap(), Key::single(key));
        assert!(seen.insert(v2_key.order_bytes()));
    }
}
