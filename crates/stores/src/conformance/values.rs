//! Every type of value, nasty texts, keys of every type, odd names.

use std::sync::Arc;

use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{ChildShape, ColumnShape, DocumentLayout, FieldType, Layout, TableShape};
use shearwater_core::store::{Change, ChunkMax, Expect, Image, Role, ScanRange, Store, Write};
use shearwater_core::value::{Date, Decimal, Extended, Instant, LocalTimestamp, Time, Uuid};
use shearwater_core::{Document, Key, Value};

use super::bench::{Bench, Flavour, Place, column, doc, fence, holds, installed, key, layout, record};
use super::reading::scanned;

fn extended(text: &str) -> Value {
    Value::Extended(Box::new(Extended { store: "mongodb".into(), type_name: "objectId".into(), text: text.into() }))
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

/// Values of each declared type that a store must give back exactly.
fn samples(ty: FieldType) -> Vec<Value> {
    let mut values = match ty {
        FieldType::Bool => vec![true.into(), false.into()],
        FieldType::Int => [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1].map(Value::Int).to_vec(),
        FieldType::Float => [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            9_007_199_254_740_993.0,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(0xfff8_0000_0000_0123),
        ]
        .map(Value::Float)
        .to_vec(),
        FieldType::Decimal => {
            ["0", "0.0000", "-1.10", "1234567890123456789012345678901", "0.00000000000000000000000000000001", "1e3"]
                .map(decimal)
                .to_vec()
        }
        FieldType::Text => ["", "a", "a\0b", "\0", "1", "1.0", " ", "null", "\u{feff}x", "\u{1F600}", "e\u{301}", "é"]
            .map(Value::from)
            .to_vec(),
        FieldType::Bytes => vec![Value::Bytes(vec![]), Value::Bytes(vec![0, 255, 0]), Value::Bytes(b"text".to_vec())],
        FieldType::Date => [Date::Days(0), Date::Days(-1), Date::Days(-800_000), Date::Days(2_932_896), Date::Infinity]
            .map(Value::Date)
            .to_vec(),
        FieldType::Time => [0, 1, 86_399_999_999, 86_400_000_000].map(|micros| Value::Time(Time { micros })).to_vec(),
        FieldType::Timestamp => [
            LocalTimestamp::Micros(0),
            LocalTimestamp::Micros(-1),
            LocalTimestamp::Micros(253_402_300_799_999_999),
            LocalTimestamp::NegInfinity,
        ]
        .map(Value::Local)
        .to_vec(),
        FieldType::Instant => {
            [Instant::Micros(0), Instant::Micros(-62_135_596_800_000_001), Instant::Micros(1), Instant::Infinity]
                .map(Value::Instant)
                .to_vec()
        }
        FieldType::Uuid => vec![Value::Uuid(Uuid::nil()), Value::Uuid(Uuid::max()), Value::Uuid(Uuid::from_u128(7))],
        // Each store's own types are its own tests.
        FieldType::Extended => vec![],
        FieldType::Json => vec![
            Value::Array(vec![]),
            Value::Document(Document::new()),
            Value::from_u64(u64::MAX),
            "".into(),
            extended("507f1f77bcf86cd799439011"),
            Value::Float(f64::NAN),
            Value::Decimal(Decimal::NaN),
            Value::Document(doc(r#"{"b":1,"a":[null,{"@document":{"@decimal":"1"}}],"":0}"#)),
        ],
    };
    values.push(Value::Null);
    values
}

const TYPES: [FieldType; 12] = [
    FieldType::Bool,
    FieldType::Int,
    FieldType::Float,
    FieldType::Decimal,
    FieldType::Text,
    FieldType::Bytes,
    FieldType::Date,
    FieldType::Time,
    FieldType::Timestamp,
    FieldType::Instant,
    FieldType::Uuid,
    FieldType::Json,
];

fn document_layout(table: &str, key: &[&str]) -> Layout {
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    Layout::Document(DocumentLayout { table: table.into(), key, document: "doc".into() })
}

fn rows_layout(table: &str, key: &[&str], columns: Vec<ColumnShape>, children: Vec<ChildShape>) -> Layout {
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    Layout::Rows(TableShape {
        table: table.into(),
        key,
        columns,
        children,
        residue: Some("extra".into()),
        extras: Default::default(),
    })
}

async fn write_one(store: &Arc<dyn Store>, key: &Key, record: &Document) {
    let change = Change { key: key.clone(), image: Some(Image::of(record.clone())), expect: Expect::Absent };
    let write = Write { epoch: Some(1), changes: vec![change], idempotency: None };
    store.write(write).await.unwrap_or_else(|error| panic!("{}: {record:?}: {error:?}", key.to_text()));
}

/// A record that the store must refuse for one of its fields.
async fn check_refused(store: &Arc<dyn Store>, key: &Key, record: &Document, field: &str) {
    let change = Change { key: key.clone(), image: Some(Image::of(record.clone())), expect: Expect::Absent };
    let error = store
        .write(Write { epoch: Some(1), changes: vec![change], idempotency: None })
        .await
        .expect_err(&format!("{}: {record:?}", key.to_text()));
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some(field.to_owned()) }, "{record:?}: {error}");
    assert_eq!(store.fetch(key).await.unwrap().image, None, "{record:?}");
}

async fn check(store: &Arc<dyn Store>, key: &Key, record: &Document) {
    write_one(store, key, record).await;
    let fetched = store.fetch(key).await.unwrap_or_else(|error| panic!("{record:?}: {error:?}"));
    assert_eq!(fetched.image, Some(Image::of(record.clone())), "{}", key.to_text());
}

pub(super) async fn every_type_survives(bench: &dyn Bench) {
    let columns = TYPES.map(|ty| column(&format!("a {ty:?}"), ty));
    let layout = match bench.flavour() {
        Flavour::Document => document_layout("typed", &["id"]),
        Flavour::Rows => {
            let columns: Vec<ColumnShape> =
                std::iter::once(column("id", FieldType::Text)).chain(columns.clone()).collect();
            let child = ChildShape {
                field: "children".into(),
                table: "typed_children".into(),
                columns: columns[1..].to_vec(),
                children: vec![],
                residue: None,
            };
            rows_layout("typed", &["id"], columns, vec![child])
        }
    };
    let store = bench.fresh(layout).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let mut expected = 0;
    for ty in TYPES {
        for (n, value) in samples(ty).into_iter().enumerate() {
            let mut fields = Document::new();
            for column in &columns {
                fields.set(column.name.clone(), if column.ty == ty { value.clone() } else { Value::Null });
            }
            let id = format!("{ty:?} {n}");
            let mut record = Document::new();
            record.set("id", id.as_str());
            fields.iter().for_each(|(name, value)| {
                record.set(name, value.clone());
            });
            record.set("children", Value::Array(vec![Value::Document(fields.clone()), Value::Document(fields)]));
            let mut extra = Document::new();
            extra.set("any", value.clone());
            record.set("extra", extra);
            if !holds(bench, Place::Column, ty, &value) {
                check_refused(&store, &key(&id), &record, &format!("a {ty:?}")).await;
                continue;
            }
            check(&store, &key(&id), &record).await;
            expected += 1;
        }
    }
    let all = ScanRange { id: 0, low: None, high: None };
    let chunk = store.scan(&all, None, ChunkMax { records: 1_000, bytes: 1 << 24 }).await.unwrap();
    assert_eq!(chunk.records.iter().filter(|r| r.is_ok()).count(), expected);
}

pub(super) async fn naughty_strings_survive_as_values_and_keys(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let texts = bench.naughty_strings();
    assert!(texts.len() > 400, "{} naughty strings", texts.len());
    let mut seen = Vec::new();
    for text in texts {
        if seen.contains(&text) {
            continue;
        }
        if !holds(bench, Place::Key, FieldType::Text, &text.as_str().into()) {
            check_refused(&store, &key(&text), &record(&text, 1), "id").await;
            continue;
        }
        check(&store, &key(&text), &record(&text, 1)).await;
        seen.push(text);
    }
    let all = ScanRange { id: 0, low: None, high: None };
    let mut found = scanned(&store, &all, ChunkMax { records: 7, bytes: 1 << 20 }).await;
    found.sort();
    let mut expected: Vec<Key> = seen.iter().map(|text| key(text)).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(store.dirty_count().await.unwrap(), seen.len() as u64);
    let mut marks: Vec<Key> = store.dirty(None, 10_000).await.unwrap().into_iter().map(|m| m.key).collect();
    marks.sort();
    assert_eq!(marks, expected);
}

/// Keys that a store must tell from each other.
fn keys_of_all_types() -> Vec<Value> {
    let types = TYPES.iter().filter(|ty| **ty != FieldType::Json);
    let mut values: Vec<Value> = types.flat_map(|ty| samples(*ty)).filter(|v| !v.is_null()).collect();
    values.extend([
        extended("507f1f77bcf86cd799439011"),
        extended("507f1f77bcf86cd799439012"),
        Value::Float(5.0),
        Value::Int(5),
        "5".into(),
        decimal("5"),
        decimal("5.0"),
        Value::from_u64(u64::MAX),
        Value::Document(doc(r#"{"a":1}"#)),
        Value::Array(vec![1.into(), "a".into()]),
    ]);
    values
}

pub(super) async fn keys_of_every_type(bench: &dyn Bench) {
    let groups: Vec<(Layout, FieldType, Vec<Value>)> = match bench.flavour() {
        Flavour::Document => vec![(document_layout("keyed", &["id"]), FieldType::Json, keys_of_all_types())],
        Flavour::Rows => TYPES
            .iter()
            .map(|ty| {
                let layout =
                    rows_layout("keyed", &["id"], vec![column("id", *ty), column("n", FieldType::Int)], vec![]);
                (layout, *ty, samples(*ty).into_iter().filter(|v| !v.is_null()).collect())
            })
            .collect(),
    };
    for (layout, ty, values) in groups {
        let store = bench.fresh(layout).await;
        store.install(fence(Role::Authority, 1)).await.unwrap();
        let (values, refused): (Vec<Value>, Vec<Value>) =
            values.into_iter().partition(|value| holds(bench, Place::Key, ty, value));
        for value in refused {
            let mut record = doc(r#"{"id":null,"n":1}"#);
            record.set("id", value.clone());
            check_refused(&store, &Key::single(value), &record, "id").await;
        }
        for (n, value) in values.iter().enumerate() {
            let mut record = Document::new();
            record.set("id", value.clone());
            record.set("n", n as i64);
            write_one(&store, &Key::single(value.clone()), &record).await;
        }
        for (n, value) in values.iter().enumerate() {
            let found = store.fetch(&Key::single(value.clone())).await.unwrap().image.unwrap().record;
            assert_eq!(found.get("n"), Some(&(n as i64).into()), "{value:?}");
        }
        let mut expected: Vec<Key> = values.iter().cloned().map(Key::single).collect();
        let mut found = Vec::new();
        for range in store.split(3).await.unwrap() {
            found.extend(scanned(&store, &range, ChunkMax { records: 2, bytes: 1 << 20 }).await);
        }
        let mut marks: Vec<Key> = store.dirty(None, 10_000).await.unwrap().into_iter().map(|m| m.key).collect();
        expected.sort();
        found.sort();
        marks.sort();
        assert_eq!(found, expected);
        assert_eq!(marks, expected);
    }
}

pub(super) async fn composite_keys(bench: &dyn Bench) {
    let layout = match bench.flavour() {
        Flavour::Document => document_layout("pairs", &["a", "b"]),
        Flavour::Rows => {
            let child = ChildShape {
                field: "items".into(),
                table: "pair_items".into(),
                columns: vec![column("x", FieldType::Int)],
                children: vec![],
                residue: None,
            };
            rows_layout(
                "pairs",
                &["a", "b"],
                vec![column("a", FieldType::Text), column("b", FieldType::Int)],
                vec![child],
            )
        }
    };
    let store = bench.fresh(layout).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let mut expected = Vec::new();
    for a in ["", "a", "a\0", "b"] {
        if !holds(bench, Place::Key, FieldType::Text, &a.into()) {
            continue;
        }
        for b in [-1, 0, 7i64] {
            let key = Key::composite(vec![a.into(), b.into()]);
            let mut record = doc(r#"{"a":0,"b":0,"items":[{"x":1},{"x":2}]}"#);
            record.set("a", a);
            record.set("b", b);
            check(&store, &key, &record).await;
            expected.push(key);
        }
    }
    expected.sort();
    let mut found = Vec::new();
    for range in store.split(5).await.unwrap() {
        found.extend(scanned(&store, &range, ChunkMax { records: 2, bytes: 1 << 20 }).await);
    }
    found.sort();
    assert_eq!(found, expected);
    let short = Key::single("a");
    assert_eq!(store.fetch(&short).await.unwrap().image, None, "a key with fewer parts names no record");
}

pub(super) async fn odd_names(bench: &dyn Bench) {
    for name in ["select", "with space", "quo\"te", "apo'strophe", "semi;colon--", "ключ", "a.b", "[x]", "%s?1:$", "`"]
    {
        let table = bench.table_name(name);
        let layout = match bench.flavour() {
            Flavour::Document => Layout::Document(DocumentLayout {
                table: table.clone(),
                key: vec![format!("key {name}")],
                document: format!("doc {name}"),
            }),
            Flavour::Rows => rows_layout(
                name,
                &[&format!("key {name}")],
                vec![
                    ColumnShape { nullable: false, ..column(&format!("key {name}"), FieldType::Text) },
                    column(name, FieldType::Text),
                ],
                vec![ChildShape {
                    field: format!("items {name}"),
                    table: format!("items {name}"),
                    columns: vec![column(name, FieldType::Text)],
                    children: vec![],
                    residue: Some(format!("rest {name}")),
                }],
            ),
        };
        let store = bench.fresh(layout).await;
        store.install(fence(Role::Authority, 1)).await.unwrap();
        let mut item = Document::new();
        item.set(name, "x");
        let mut record = Document::new();
        record.set(format!("key {name}"), "k");
        record.set(name, "v");
        record.set(format!("items {name}"), Value::Array(vec![Value::Document(item)]));
        check(&store, &key("k"), &record).await;
        assert_eq!(store.dirty(None, 9).await.unwrap().len(), 1, "{name}");
        assert_eq!(store.split(2).await.unwrap().len(), 2, "{name}");
        assert!(store.inspect().await.unwrap().tables.iter().any(|t| t.name == table), "{name}");
        store.remove().await.unwrap();
        assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new(), "{name}");
    }
}

pub(super) async fn what_does_not_fit_is_refused_by_name(bench: &dyn Bench) {
    let store = bench.fresh(layout(bench.flavour())).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let refused = async |edit: &(dyn Fn(&mut Document) + Send + Sync), field: &str| {
        let mut record = record("a", 1);
        edit(&mut record);
        let change = Change { key: key("a"), image: Some(Image::of(record)), expect: Expect::Any };
        let write = Write { epoch: Some(1), changes: vec![change], idempotency: None };
        let error = store.write(write).await.expect_err(field);
        assert_eq!(error.kind, StoreErrorKind::Refused { field: Some(field.into()) }, "{error}");
        assert!(error.message.contains(field), "{error}");
    };
    let set = |name: &'static str, value: Value| {
        move |record: &mut Document| {
            record.set(name, value.clone());
        }
    };
    refused(&set("id", "other".into()), "id").await;
    refused(&|record| drop(record.remove("id")), "id").await;
    if bench.flavour() == Flavour::Rows {
        refused(&set("age", "1".into()), "age").await;
        refused(&set("age", Value::Float(1.0)), "age").await;
        refused(&set("age", Value::from_u64(u64::MAX)), "age").await;
        refused(&set("email", 1.into()), "email").await;
        refused(&set("active", 1.into()), "active").await;
        refused(&set("unknown", Value::Null), "unknown").await;
        refused(&|record| drop(record.remove("email")), "email").await;
        refused(&set("tags", Value::Null), "tags").await;
        refused(&set("tags", Value::Array(vec!["x".into()])), "tags").await;
        refused(&set("tags", Value::Array(vec![Value::Document(doc(r#"{"tag":1,"marks":[]}"#))])), "tag").await;
        refused(&set("tags", Value::Array(vec![Value::Document(doc(r#"{"tag":"x"}"#))])), "marks").await;
        refused(&set("extra", Value::Document(Document::new())), "extra").await;
    }
    assert_eq!(store.dirty_count().await.unwrap(), 0);
}
