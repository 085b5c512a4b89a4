//! The server's own types: what a column holds is read exactly, written back
//! bit for bit, or refused by the column's name.

use std::sync::Arc;

use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{DocumentLayout, FieldType, Layout};
use shearwater_core::store::{Applied, Change, Expect, Image, Inspection, Put, Role, Store, Write};
use shearwater_core::value::{Extended, json};
use shearwater_core::{Document, Key, Stamp, Value};
use tokio_postgres::Client;

use crate::place::{column, direct, fence, open, rows};

/// A type, what reads it, literals that survive, and JSON of values that it must refuse.
type Case = (&'static str, FieldType, &'static [&'static str], &'static [&'static str]);

const MADE: &str = "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy'); \
     CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int CHECK (value < 10); \
     CREATE DOMAIN smaller AS small CHECK (value < 5); CREATE DOMAIN money2 AS numeric(6, 2)";

const CASES: &[Case] = &[
    ("boolean", FieldType::Bool, &["true", "false", "NULL"], &["1", r#""t""#]),
    ("smallint", FieldType::Int, &["0", "-32768", "32767"], &["32768", "-32769", "1.0", r#""1""#]),
    ("integer", FieldType::Int, &["2147483647", "-2147483648"], &["2147483648"]),
    ("bigint", FieldType::Int, &["9223372036854775807", "-9223372036854775808"], &["9223372036854775808"]),
    ("oid", FieldType::Int, &["0", "4294967295"], &["-1", "4294967296"]),
    (
        "real",
        FieldType::Float,
        &["0.1", "'-0'", "1e38", "'1.4e-45'", "'NaN'", "'-Infinity'", "16777216"],
        &["0.1", "1e300", "16777217.0", "1"],
    ),
    ("double precision", FieldType::Float, &["0.1", "'-0'", "'5e-324'", "1.7976931348623157e308", "'NaN'"], &["1"]),
    (
        "numeric",
        FieldType::Decimal,
        &["0", "0.000", "-1.10", "1e30", "'1e-30'", "'NaN'", "'Infinity'", "12345678901234567890.123456789"],
        &[r#"{"@decimal":"-0"}"#, r#"{"@decimal":"1e3"}"#],
    ),
    (
        "numeric(6,2)",
        FieldType::Decimal,
        &["0.00", "-9999.99", "'NaN'", "1.5"],
        &[r#"{"@decimal":"1.234"}"#, r#"{"@decimal":"1.5"}"#, r#"{"@decimal":"10000.00"}"#, r#"{"@decimal":"1"}"#],
    ),
    ("money2", FieldType::Decimal, &["1.25", "NULL"], &[r#"{"@decimal":"1.255"}"#, r#"{"@decimal":"99999.00"}"#]),
    ("text", FieldType::Text, &["''", "' a '", "E'a\\nb'", "U&'\\+01F600'"], &[r#""a\u0000b""#, "1"]),
    ("varchar(4)", FieldType::Text, &["''", "'abcd'", "'äöüß'", "'a   '"], &[r#""abcde""#, r#""a    ""#]),
    ("char(4)", FieldType::Text, &["'abcd'", "'a'", "''"], &[r#""abcde""#, r#""a ""#]),
    ("citext", FieldType::Text, &["'MiXed'", "''"], &[r#""\u0000""#]),
    ("bytea", FieldType::Bytes, &["'\\x'", "'\\x00ff00'"], &[r#""00""#]),
    (
        "date",
        FieldType::Date,
        &["'2024-02-29'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0001-12-31 BC'", "'99999-01-01'"],
        &[r#"{"@date":"-005000-01-01"}"#],
    ),
    ("time", FieldType::Time, &["'00:00'", "'24:00'", "'23:59:59.999999'"], &[]),
    ("time(2)", FieldType::Time, &["'12:00:00.25'"], &[r#"{"@time":"12:00:00.123"}"#]),
    ("timetz", FieldType::Extended, &["'12:00:00.5+02'", "'24:00:00-15:59'"], &[]),
    (
        "timestamp",
        FieldType::Timestamp,
        &["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'1969-12-31 23:59:59.999999'", "'294246-12-31'"],
        &[],
    ),
    (
        "timestamptz(3)",
        FieldType::Instant,
        &["'infinity'", "'2024-03-31 02:30:00.123+01'", "'0044-03-15 12:00:00+00 BC'"],
        &[r#"{"@instant":"2024-01-01T00:00:00.000001Z"}"#],
    ),
    ("interval", FieldType::Extended, &["'1 year 2 mons -3 days 04:05:06.000007'", "'0'", "'1 mon -30 days'"], &[]),
    (
        "uuid",
        FieldType::Uuid,
        &["'00000000-0000-0000-0000-000000000000'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
        &[],
    ),
    ("json", FieldType::Json, &[r#"'{"b":[1,null,1.5],"a":"x"}'"#, r#"'"a\u0000b"'"#, "'[]'"], &[]),
    (
        "jsonb",
        FieldType::Json,
        &[r#"'{"b":[1,null,1.5],"a":"x"}'"#, "'[]'", "'\"\"'"],
        &[r#"["a\u0000b"]"#, "[1e300]", "-0.0"],
    ),
    ("xml", FieldType::Extended, &["'<a b=\"c\">d</a>'", "'text only'"], &[]),
    ("money", FieldType::Extended, &["12.34", "-99999999.99"], &[]),
    ("inet", FieldType::Extended, &["'10.0.0.1/8'", "'::1'"], &[]),
    ("cidr", FieldType::Extended, &["'10.0.0.0/8'"], &[]),
    ("macaddr", FieldType::Extended, &["'08:00:2b:01:02:03'"], &[]),
    ("macaddr8", FieldType::Extended, &["'08:00:2b:01:02:03:04:05'"], &[]),
    ("bit(3)", FieldType::Extended, &["B'101'"], &[]),
    ("bit varying(5)", FieldType::Extended, &["B'10101'", "B''"], &[]),
    ("point", FieldType::Extended, &["'(1.5,-2)'", "'(NaN,Infinity)'"], &[]),
    ("polygon", FieldType::Extended, &["'((0,0),(1,1),(2,0.1))'"], &[]),
    ("circle", FieldType::Extended, &["'<(1,2),3>'"], &[]),
    ("int4range", FieldType::Extended, &["'[1,5)'", "'empty'", "'(,)'"], &[]),
    ("tstzrange", FieldType::Extended, &["'[2024-01-01 00:00:00+00,)'"], &[]),
    ("int4multirange", FieldType::Extended, &["'{[1,3),[5,7)}'", "'{}'"], &[]),
    ("tsvector", FieldType::Extended, &["'a:1 b:2,3'"], &[]),
    ("mood", FieldType::Text, &["'sad'", "'it''s ok'"], &[r#""angry""#, r#""""#]),
    ("pair", FieldType::Extended, &["ROW(1, 'a\"b')", "ROW(NULL, NULL)"], &[]),
    ("small", FieldType::Int, &["9", "-1"], &["10"]),
    ("smaller", FieldType::Int, &["4"], &["5"]),
    ("integer[]", FieldType::Json, &["'{}'", "'{1,NULL,-3}'"], &[r#"["1"]"#, "[2147483648]", "[[1]]", "{}"]),
    ("text[]", FieldType::Json, &["'{a,\"b,c\",NULL,\"\"}'"], &[r#"["a\u0000"]"#, "[1]"]),
    ("numeric(4,1)[]", FieldType::Json, &["'{1.5,-0.1}'"], &[r#"[{"@decimal":"1.25"}]"#]),
    ("timestamptz[]", FieldType::Json, &["'{infinity,2024-01-01T00:00:00Z}'"], &[]),
    ("mood[]", FieldType::Extended, &["'{sad,\"it''s ok\"}'"], &[]),
    ("jsonb[]", FieldType::Extended, &["ARRAY['{\"a\": 1}'::jsonb]"], &[]),
];

fn proposed(inspection: &Inspection, table: &str) -> FieldType {
    let table = inspection.tables.iter().find(|t| t.name == table).unwrap();
    table.columns.iter().find(|c| c.name == "v").unwrap().ty.unwrap()
}

async fn write(store: &Arc<dyn Store>, id: i64, value: Value) -> Result<(), shearwater_core::error::StoreError> {
    let mut record = Document::new();
    record.set("id", id);
    record.set("v", value);
    let change = Change { key: Key::single(id), image: Some(Image::of(record)), expect: Expect::Absent };
    store.write(Write { epoch: Some(1), changes: vec![change], idempotency: None }).await.map(drop)
}

async fn texts(client: &Client, table: &str, from: i64) -> Vec<Option<String>> {
    let sql = format!("SELECT v::text FROM {table} WHERE id >= $1 AND id < $1 + 100 ORDER BY id");
    client.query(&sql, &[&from]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_type_survives_or_is_refused() {
    let url = shearwater_testbed::postgres().database("types");
    let client = direct(&url).await;
    client.batch_execute(MADE).await.unwrap();
    for (n, (declared, _, literals, _)) in CASES.iter().enumerate() {
        let values: Vec<String> =
            literals.iter().enumerate().map(|(id, literal)| format!("({id}, ({literal})::{declared})")).collect();
        client
            .batch_execute(&format!(
                "CREATE TABLE t{n} (id bigint PRIMARY KEY, v {declared}); INSERT INTO t{n} VALUES {}",
                values.join(", ")
            ))
            .await
            .unwrap_or_else(|error| panic!("{declared}: {error:?}"));
    }
    let inspection = shearwater_stores::inspect(&url).await.unwrap();
    for (n, (declared, ty, literals, refused)) in CASES.iter().enumerate() {
        let table = format!("t{n}");
        assert_eq!(proposed(&inspection, &table), *ty, "{declared}");
        let columns = vec![column("id", FieldType::Int), column("v", *ty)];
        let store = open(&url, rows(&table, &["id"], columns)).await;
        store.install(fence(Role::Authority, 1)).await.unwrap();
        let mut values = Vec::new();
        for (id, literal) in literals.iter().enumerate() {
            let fetched = store.fetch(&Key::single(id as i64)).await;
            let record = fetched.unwrap_or_else(|error| panic!("{declared} {literal}: {error}")).image.unwrap().record;
            let value = record.get("v").unwrap().clone();
            let again = write(&store, 100 + id as i64, value.clone()).await;
            again.unwrap_or_else(|error| panic!("{declared} {literal} {value:?}: {error}"));
            values.push(value);
        }
        let given = texts(&client, &table, 0).await;
        assert_eq!(texts(&client, &table, 100).await, given, "{declared}: written one by one");
        for text in *refused {
            let value = json::parse(text.as_bytes()).unwrap();
            let error = write(&store, 999, value).await.expect_err(&format!("{declared} {text}"));
            // Of a domain's check the server tells the name, and not the column.
            let StoreErrorKind::Refused { field: Some(field) } = &error.kind else { panic!("{declared}: {error:?}") };
            assert!(field == "v" || field.starts_with("small"), "{declared} {text}: {error:?}");
        }
        // The way of a backfill: enough of them, so that they are copied where that is possible.
        store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
        let mut puts = Vec::new();
        for (at, value) in values.iter().cycle().take(values.len().max(10)).enumerate() {
            let mut record = Document::new();
            record.set("id", 200 + at as i64);
            record.set("v", value.clone());
            puts.push(Put { key: Key::single(200 + at as i64), image: Some(Image::of(record)), stamp: Stamp::ZERO });
        }
        let answers = store.apply(2, puts.clone(), None).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Applied::Changed), "{declared}: {answers:?}");
        assert_eq!(texts(&client, &table, 200).await[..given.len()], given[..], "{declared}: as a batch");
        let again = store.apply(2, puts, None).await.unwrap();
        assert!(again.iter().all(|answer| *answer == Applied::Unchanged), "{declared}: {again:?}");
    }
}

#[tokio::test]
async fn own_types_of_other_stores_and_other_forms_are_refused() {
    let url = shearwater_testbed::postgres().database("extended");
    let client = direct(&url).await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, v inet); CREATE TABLE u (id bigint PRIMARY KEY, v int[]); \
             INSERT INTO u VALUES (1, '{{1,2},{3,4}}'), (2, '[0:1]={1,2}')",
        )
        .await
        .unwrap();
    let store =
        open(&url, rows("t", &["id"], vec![column("id", FieldType::Int), column("v", FieldType::Extended)])).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let own = |store: &str, type_name: &str, text: &str| {
        let (store, type_name, text) = (store.into(), type_name.into(), text.into());
        Value::Extended(Box::new(Extended { store, type_name, text }))
    };
    write(&store, 1, own("postgres", "inet", "10.0.0.1/32")).await.unwrap();
    for (value, says) in [
        (own("mongodb", "objectId", "507f1f77bcf86cd799439011"), "objectId of mongodb"),
        (own("postgres", "cidr", "10.0.0.0/8"), "cidr of postgres"),
        (own("postgres", "inet", "10.0.0.1"), "another form"),
        (own("postgres", "inet", "no address"), "invalid input"),
    ] {
        let error = write(&store, 2, value).await.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::Refused { .. }) && error.message.contains(says), "{error}");
        assert!(!error.message.contains("no address"), "{error}: no row values in messages");
    }
    let arrays = open(&url, rows("u", &["id"], vec![column("id", FieldType::Int), column("v", FieldType::Json)])).await;
    for (id, says) in [(1_i64, "2 dimensions"), (2, "counts from 0")] {
        let error = arrays.fetch(&Key::single(id)).await.unwrap_err();
        assert!(error.kind == StoreErrorKind::Corrupt && error.message.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_jsonb_column_of_documents_is_a_source() {
    let url = shearwater_testbed::postgres().database("jsonb");
    let client = direct(&url).await;
    client
        .batch_execute(
            r#"CREATE TABLE users (id bigint PRIMARY KEY, doc jsonb NOT NULL);
               INSERT INTO users VALUES (1, '{"id": 1, "name": "a", "big": 123456789012345678901234567890.5, "n": {"z": 1, "a": [true]}}'),
               (2, '{"id": 3}'), (3, '[1]')"#,
        )
        .await
        .unwrap();
    let layout = DocumentLayout { table: "users".into(), key: vec!["id".into()], document: "doc".into() };
    let store = open(&url, Layout::Document(layout)).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let read = store.fetch(&Key::single(1_i64)).await.unwrap().image.unwrap().record;
    assert_eq!(read.get("n"), Some(&json::parse(br#"{"a":[true],"z":1}"#).unwrap()));
    for id in [2_i64, 3] {
        assert_eq!(store.fetch(&Key::single(id)).await.unwrap_err().kind, StoreErrorKind::Corrupt, "{id}");
    }
    let put = |text: &str| {
        let record = json::parse_document(text.as_bytes()).unwrap();
        let change = Change { key: Key::single(5_i64), image: Some(Image::of(record)), expect: Expect::Any };
        store.write(Write { epoch: Some(1), changes: vec![change], idempotency: None })
    };
    put(r#"{"id":5,"f":-1.5,"d":{"@decimal":"1e5"},"t":"e\\u0000"}"#).await.unwrap();
    let read = store.fetch(&Key::single(5_i64)).await.unwrap().image.unwrap().record;
    assert_eq!(read.get("d"), Some(&json::parse(br#"{"@decimal":"1e5"}"#).unwrap()));
    for text in
        [r#"{"id":5,"f":1e300}"#, r#"{"id":5,"f":-0.0}"#, r#"{"id":5,"t":["\u0000"]}"#, r#"{"id":5,"\u0000":1}"#]
    {
        let error = put(text).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("doc".into()) }, "{text}: {error}");
    }
}
