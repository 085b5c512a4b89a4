//! Plain records, flattened, against the mapping itself: generated records, of
//! which some are plain, have the same columns, child rows and ids either way, and
//! none that needs a residue or is refused is taken for plain.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::flat::{Flat, FlatCell, FlatElement, Plain, Tape};
use crate::shape::ChildShape;
use crate::value::{Value, json};

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
id    = { from = "_id", KEY }
a     = { from = "a", type = "text", chars_max = 3 }
b     = { from = "b", type = "int", required = true }
c     = { from = "c", type = "float", default = 1.5 }
d     = { from = "d", type = "bool" }
e     = { from = "e", type = "json" }
f     = { from = "n.f", type = "text" }
g     = { from = "n.g", type = "int" }
lines = { from = "k", table = "lines", fields = { x = { from = "x", type = "text" }, y = { from = "y", type = "int", required = true }, notes = { from = "n", table = "notes", scalar = "note", type = "text" }, more = { from = "m", table = "more", fields = { z = { from = "z", type = "float" } } } } }
tags  = { from = "t", table = "tags", scalar = "tag", type = "int" }
UNMAPPED
"#;

fn compiled(key: &str, unmapped: &str) -> Mapping {
    let spec = SPEC.replace("KEY", key).replace("UNMAPPED", unmapped);
    Mapping::compile(&crate::spec::parse_move(&spec, &|_| None).unwrap_or_else(|e| panic!("{e:?}"))).unwrap()
}

/// A value of this kind, or one that is not.
fn mostly(good: BoxedStrategy<Value>) -> BoxedStrategy<Option<Value>> {
    let bad = prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        Just(Some(Value::Int(7))),
        Just(Some(Value::Float(0.5))),
        Just(Some(Value::from_u64(u64::MAX))),
        Just(Some(Value::text("long text"))),
        Just(Some(Value::Array(vec![]))),
        Just(Some(Value::Document(Document::new()))),
    ];
    prop_oneof![24 => good.prop_map(Some), 1 => bad].boxed()
}

fn text() -> BoxedStrategy<Value> {
    prop::sample::select(vec!["", "a", "é\u{0}x", "\"\n", "abc"]).prop_map(Value::from).boxed()
}

fn int() -> BoxedStrategy<Value> {
    prop_oneof![-3i64..4, Just(i64::MIN), Just(i64::MAX)].prop_map(Value::Int).boxed()
}

fn float() -> BoxedStrategy<Value> {
    prop::sample::select(vec![0.0, -0.0, 0.1, 1e300, -2.5e-300]).prop_map(Value::Float).boxed()
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let names: Vec<&'static str> = fields.iter().map(|(name, _)| *name).collect();
    let values: Vec<BoxedStrategy<Option<Value>>> = fields.into_iter().map(|(_, value)| mostly(value)).collect();
    let swap = prop_oneof![30 => Just(None), 1 => (0..names.len(), 0..names.len()).prop_map(Some)];
    let more = prop_oneof![30 => Just(None), 1 => Just(Some("extra")), 1 => Just(Some("@fix"))];
    (values, swap, more)
        .prop_map(move |(values, swap, more)| {
            let mut fields: Vec<(&str, Option<Value>)> = names.iter().copied().zip(values).collect();
            if let Some((from, to)) = swap {
                fields.swap(from, to);
            }
            fields.extend(more.map(|name| (name, Some(Value::Int(1)))));
            let there = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            Value::Document(there.collect())
        })
        .boxed()
}

fn array(of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec(of, 0..3).prop_map(Value::Array).boxed()
}

fn record(key: BoxedStrategy<Value>) -> impl Strategy<Value = Document> {
    let some = |of: BoxedStrategy<Value>| prop_oneof![20 => of, 1 => Just(Value::Null)].boxed();
    let line = object(vec![
        ("x", text()),
        ("y", int()),
        ("n", array(some(text()))),
        ("m", array(object(vec![("z", float())]))),
    ]);
    let whatever =
        prop_oneof![text(), int(), float(), array(text()), object(vec![("a", text()), ("b", int())])].boxed();
    let d = any::<bool>().prop_map(Value::Bool).boxed();
    let fields = vec![
        ("_id", key),
        ("a", text()),
        ("b", int()),
        ("c", float()),
        ("d", d),
        ("e", whatever),
        ("n", object(vec![("f", text()), ("g", int())])),
        ("k", array(line)),
        ("t", array(some(int()))),
    ];
    object(fields).prop_map(|value| match value {
        Value::Document(document) => document,
        other => panic!("{other:?}"),
    })
}

/// The elements of the tables that are inside of a row, in its document.
struct Rebuilt<'a> {
    tape: &'a Tape<'a>,
    flat: &'a Flat,
    key: Key,
}

impl<'a> Rebuilt<'a> {
    fn columns(&self, columns: &[crate::shape::ColumnShape], cells: &[FlatCell]) -> Document {
        let value = |cell: &FlatCell| match cell {
            FlatCell::At(at) => self.tape.value(*at).unwrap(),
            FlatCell::Text(number) => Value::text(self.flat.text(*number).unwrap()),
            FlatCell::Null => Value::Null,
        };
        columns.iter().zip(cells).map(|(column, at)| (column.name.clone(), value(at))).collect()
    }

    /// Adds the child rows of a row, as they stand in its record; the ids are those
    /// that the path gives.
    fn children(
        &self,
        shapes: &'a [ChildShape],
        table: &mut usize,
        parent: Option<&FlatElement>,
        path: &mut Vec<(&'a str, usize)>,
        record: &mut Document,
    ) {
        for shape in shapes {
            let own = *table;
            *table += 1;
            let (after, mut rows) = (*table, Vec::new());
            let is_mine = |one: &&FlatElement| one.table == own && one.parent == parent.map(|parent| parent.id);
            for element in self.flat.elements().iter().filter(is_mine) {
                assert_eq!(element.position, rows.len());
                path.push((&shape.field, element.position));
                assert_eq!(element.id.as_slice(), ChildShape::child_key(&self.key, path).as_bytes());
                let mut row = self.columns(&shape.columns, self.flat.cells_of(element));
                *table = after;
                self.children(&shape.children, table, Some(element), path, &mut row);
                path.pop();
                rows.push(Value::Document(row));
            }
            if rows.is_empty() {
                *table = after;
                self.children(&shape.children, table, Some(&NOBODY), path, &mut Document::new());
            }
            record.set(shape.field.as_str(), Value::Array(rows));
        }
    }
}

/// No row has such a parent.
const NOBODY: FlatElement = FlatElement { table: usize::MAX, id: [0; 32], parent: None, position: 0, first: 0 };

fn check(mapping: &Mapping, record: &Document) -> Result<bool, TestCaseError> {
    let text = json::document_to_string(record);
    let (rules, mut tape, mut flat) = (mapping.flat().unwrap(), Tape::new(), Flat::default());
    let forward = mapping.forward(&Image::of(record.clone()));
    if !json::read_tape(text.as_bytes(), &mut tape) || !rules.flatten(&tape, &mut flat) {
        return Ok(false);
    }
    let Ok(Image { record: expected, .. }) = forward else {
        return Err(TestCaseError::fail(format!("{text} is refused: {forward:?}")));
    };
    let Layout::Rows(shape) = mapping.target() else { panic!() };
    let v1 = Key::single(record.get("_id").unwrap().clone());
    let rebuilt = Rebuilt { tape: &tape, flat: &flat, key: mapping.key_forward(&v1).unwrap() };
    let mut found = rebuilt.columns(&shape.columns, flat.cells());
    rebuilt.children(&shape.children, &mut 0, None, &mut Vec::new(), &mut found);
    prop_assert_eq!(found, expected, "{}", text);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn plain_records_have_the_rows_that_the_mapping_gives(
        by_text in record(text()),
        by_number in record(int()),
        refuses in any::<bool>(),
    ) {
        let unmapped = if refuses { "[unmapped]\nrefuse = true" } else { "[unmapped]\nkeep_in = \"extra\"" };
        check(&compiled("type = \"text\"", unmapped), &by_text)?;
        check(&compiled("type = \"int\"", unmapped), &by_number)?;
        for record in [by_text, by_number] {
            check(&compiled("type = \"text\", cast = true", unmapped), &record)?;
        }
    }
}

/// So that the test above looks at some.
#[test]
fn a_record_of_every_table_is_plain() {
    let text = r#"{"_id":"a","a":"x","b":1,"c":0.5,"d":true,"e":"any","n":{"f":"y","g":7},"k":[{"x":"1","y":2,"n":["p",null],"m":[]},
                  {"y":3,"n":[],"m":[{"z":0.25},{}]}],"t":[1,null,3]}"#;
    let record = json::parse_document(text.as_bytes()).unwrap();
    let mapping = compiled("type = \"text\"", "[unmapped]\nkeep_in = \"extra\"");
    assert!(check(&mapping, &record).unwrap());
    let (mut tape, mut flat) = (Tape::new(), Flat::default());
    assert!(json::read_tape(text.as_bytes(), &mut tape) && mapping.flat().unwrap().flatten(&tape, &mut flat));
    let tables: Vec<usize> = flat.elements().iter().map(|element| element.table).collect();
    assert_eq!(tables, [0, 1, 1, 0, 2, 2, 3, 3, 3], "each is after the one that it is in");
    assert_eq!(tape.get(0).unwrap().value, Plain::Text("a".into()));
}
