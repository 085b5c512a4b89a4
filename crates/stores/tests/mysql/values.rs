//! The server's own types: what comes back bit for bit, what is refused by
//! name, and what other programs wrote.

use mysql_async::prelude::Queryable;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::*;
use shearwater_core::value::json;
use shearwater_core::{Key, Stamp, Value};
use shearwater_testbed::mariadb;

use crate::place::*;

/// A declared type, the field's type, and tagged JSON of values.
struct Case {
    declared: &'static str,
    ty: FieldType,
    kept: &'static [&'static str],
    refused: &'static [&'static str],
}

const fn case(
    declared: &'static str,
    ty: FieldType,
    kept: &'static [&'static str],
    refused: &'static [&'static str],
) -> Case {
    Case { declared, ty, kept, refused }
}

const CASES: &[Case] = &[
    case("TINYINT", FieldType::Int, &["-128", "127"], &["128", "-129", "true", "\"1\"", "1.5"]),
    case("TINYINT(1)", FieldType::Bool, &["true", "false"], &["1"]),
    case("TINYINT(3) UNSIGNED ZEROFILL", FieldType::Int, &["0", "7", "255"], &["-1", "256"]),
    case("MEDIUMINT", FieldType::Int, &["-8388608", "8388607"], &["8388608"]),
    case("BIGINT", FieldType::Int, &["-9223372036854775808", "9223372036854775807"], &["9223372036854775808"]),
    case("BIGINT UNSIGNED", FieldType::Int, &["18446744073709551615", "0"], &["-1"]),
    case("BIGINT", FieldType::Decimal, &[r#"{"@decimal":"-12"}"#], &[r#"{"@decimal":"1.0"}"#, r#"{"@decimal":"-0"}"#]),
    case("YEAR", FieldType::Int, &["0", "1901", "2155"], &["70", "1900", "2156"]),
    case("BIT(1)", FieldType::Bool, &["true", "false"], &[]),
    case("BIT(64)", FieldType::Int, &["0", "18446744073709551615"], &["-1"]),
    case("BIT(5)", FieldType::Int, &["31"], &["32"]),
    case("FLOAT", FieldType::Float, &["0.5", "-16777216.0"], &["0.1", "1e300", r#"{"@float":"NaN"}"#]),
    case("FLOAT(7,2)", FieldType::Float, &["1.5", "-99999.0"], &["1.125", "100000.0"]),
    case(
        "DOUBLE",
        FieldType::Float,
        &["0.0", "0.1", "5e-324", "1.7976931348623157e308"],
        &["-0.0", r#"{"@float":"Infinity"}"#],
    ),
    case("DOUBLE(8,3)", FieldType::Float, &["0.125", "1.001"], &["0.0625", "1e9"]),
    case(
        "DECIMAL(10,2)",
        FieldType::Decimal,
        &[r#"{"@decimal":"1.10"}"#, r#"{"@decimal":"-99999999.99"}"#, r#"{"@decimal":"0.00"}"#],
        &[
            r#"{"@decimal":"1.1"}"#,
            r#"{"@decimal":"1.100"}"#,
            r#"{"@decimal":"100000000.00"}"#,
            r#"{"@decimal":"-0.00"}"#,
            "1.5",
        ],
    ),
    case(
        "DECIMAL(65,30)",
        FieldType::Decimal,
        &[r#"{"@decimal":"12345678901234567890123456789012345.123456789012345678901234567890"}"#],
        &[],
    ),
    case("DECIMAL(5,0) UNSIGNED", FieldType::Int, &["0", "99999"], &["-1", "100000"]),
    case("CHAR(3)", FieldType::Text, &[r#""abc""#, r#""""#, r#"" a""#, "\"\u{1F600}é\""], &[r#""a ""#, r#""abcd""#]),
    case("VARCHAR(3)", FieldType::Text, &[r#""a  ""#, r#""\u0000b""#], &[r#""abcd""#, "7"]),
    case("VARCHAR(9) CHARACTER SET latin1", FieldType::Text, &[r#""é€ß""#], &["\"\u{1F600}\"", r#""ж""#]),
    case("VARCHAR(9) CHARACTER SET utf8mb3", FieldType::Text, &[r#""ж""#], &["\"\u{1F600}\""]),
    case("TEXT CHARACTER SET utf16", FieldType::Text, &["\"\u{1F600}ж\""], &[]),
    case("TINYTEXT", FieldType::Text, &[r#""x""#], &[]),
    case("TEXT", FieldType::Json, &[r#"{"b":1,"a":[1.50,{"@decimal":"1.50"}]}"#], &[]),
    case("JSON", FieldType::Json, &[r#"{"b":1,"a":[true,null,"x"]}"#, "[]", "\"x\""], &[]),
    case(
        "ENUM('a','it''s','','b,c')",
        FieldType::Text,
        &[r#""a""#, r#""it's""#, r#""""#, r#""b,c""#],
        &[r#""A""#, r#""d""#, "1"],
    ),
    case("SET('x','y','z')", FieldType::Text, &[r#""""#, r#""x,z""#], &[r#""z,x""#, r#""x,x""#, r#""w""#]),
    case("BINARY(3)", FieldType::Bytes, &[r#"{"@bytes":"AAAA"}"#, r#"{"@bytes":"ICAg"}"#], &[r#"{"@bytes":"AAA="}"#]),
    case("BINARY(16)", FieldType::Uuid, &[r#"{"@uuid":"00112233-4455-6677-8899-aabbccddeeff"}"#], &[]),
    case(
        "VARBINARY(3)",
        FieldType::Bytes,
        &[r#"{"@bytes":"AAA="}"#, r#"{"@bytes":""}"#],
        &[r#"{"@bytes":"AAAAAA=="}"#],
    ),
    case("BLOB", FieldType::Bytes, &[r#"{"@bytes":"/w=="}"#], &[]),
    case(
        "DATE",
        FieldType::Date,
        &[r#"{"@date":"0001-01-01"}"#, r#"{"@date":"9999-12-31"}"#],
        &[r#"{"@date":"infinity"}"#],
    ),
    case(
        "TIME",
        FieldType::Time,
        &[r#"{"@time":"00:00:00"}"#, r#"{"@time":"24:00:00"}"#],
        &[r#"{"@time":"00:00:00.5"}"#],
    ),
    case("TIME(6)", FieldType::Time, &[r#"{"@time":"23:59:59.999999"}"#], &[]),
    case(
        "DATETIME(3)",
        FieldType::Timestamp,
        &[r#"{"@timestamp":"1000-01-01T00:00:00.001"}"#, r#"{"@timestamp":"9999-12-31T23:59:59.999"}"#],
        &[r#"{"@timestamp":"2020-01-01T00:00:00.0001"}"#, r#"{"@timestamp":"infinity"}"#],
    ),
    case("DATETIME(6)", FieldType::Instant, &[r#"{"@instant":"2020-02-29T12:00:00.000001Z"}"#], &[]),
    case(
        "TIMESTAMP(6) NULL",
        FieldType::Instant,
        &[r#"{"@instant":"1970-01-01T00:00:01Z"}"#, r#"{"@instant":"2038-01-19T03:14:07.999999Z"}"#],
        &[r#"{"@instant":"1969-12-31T23:59:59Z"}"#, r#"{"@instant":"2107-01-01T00:00:00Z"}"#],
    ),
    case(
        "DATE",
        FieldType::Extended,
        &[r#"{"@extended":{"store":"mysql","type":"date","text":"0000-00-00"}}"#],
        &[
            r#"{"@extended":{"store":"mysql","type":"date","text":"0-0-0"}}"#,
            r#"{"@extended":{"store":"other","type":"date","text":"2020-01-01"}}"#,
        ],
    ),
    case(
        "TIME(2)",
        FieldType::Extended,
        &[
            r#"{"@extended":{"store":"mysql","type":"time","text":"-838:59:59.00"}}"#,
            r#"{"@extended":{"store":"mysql","type":"time","text":"-00:00:00.50"}}"#,
            r#"{"@extended":{"store":"mysql","type":"time","text":"100:00:00.25"}}"#,
        ],
        &[r#"{"@extended":{"store":"mysql","type":"time","text":"839:00:00.00"}}"#],
    ),
    case(
        "DATETIME",
        FieldType::Extended,
        &[
            r#"{"@extended":{"store":"mysql","type":"datetime","text":"0000-00-00 00:00:00"}}"#,
            r#"{"@extended":{"store":"mysql","type":"datetime","text":"2020-02-31 00:00:00"}}"#,
        ],
        &[r#"{"@extended":{"store":"mysql","type":"datetime","text":"2020-13-01 00:00:00"}}"#],
    ),
    case("UUID", FieldType::Uuid, &[r#"{"@uuid":"00112233-4455-6677-8899-aabbccddeeff"}"#], &[r#""x""#]),
    case(
        "INET6",
        FieldType::Text,
        &[r#""2001:db8::1""#, r#""::""#, r#""::1""#, r#""::ffff:1.2.3.4""#],
        &[r#""2001:DB8::1""#, r#""2001:db8:0::1""#, r#""x""#],
    ),
    case(
        "POINT",
        FieldType::Extended,
        &[
            r#"{"@extended":{"store":"mysql","type":"point","text":"000000000101000000000000000000f03f0000000000000040"}}"#,
        ],
        &[r#"{"@extended":{"store":"mysql","type":"point","text":"00"}}"#],
    ),
];

fn layout(name: &str, ty: FieldType) -> Layout {
    Layout::Rows(table(name, vec![column("id", FieldType::Int), column("v", ty)]))
}

fn image(value: &str) -> Image {
    let value = json::parse(value.as_bytes()).unwrap_or_else(|e| panic!("{value}: {}", e.message));
    let mut record = doc(r#"{"id":1}"#);
    record.set("v", value);
    Image::of(record)
}

#[tokio::test]
async fn values_come_back_bit_for_bit_or_are_refused() {
    let url = mariadb().database("types");
    for (at, case) in CASES.iter().enumerate() {
        let name = format!("t{at}");
        mariadb().run(&url, &[&format!("CREATE TABLE {name} (id INT PRIMARY KEY, v {})", case.declared)]);
        let store = open(&url, layout(&name, case.ty)).await;
        let write = |image: Image| {
            let change = Change { key: Key::single(1), image: Some(image), expect: Expect::Any };
            store.write(Write { epoch: None, changes: vec![change], idempotency: None })
        };
        for value in case.kept.iter().chain(&["null"]) {
            let image = image(value);
            write(image.clone()).await.unwrap_or_else(|e| panic!("{}: {value}: {e}", case.declared));
            let fetched =
                store.fetch(&Key::single(1)).await.unwrap_or_else(|e| panic!("{}: {value}: {e}", case.declared));
            assert_eq!(fetched.image, Some(image), "{}: {value}", case.declared);
        }
        for value in case.refused {
            let error =
                write(image(value)).await.err().unwrap_or_else(|| panic!("{}: {value} was taken", case.declared));
            let field = match &error.kind {
                StoreErrorKind::Refused { field } => field.as_deref(),
                other => panic!("{}: {value}: {other:?}: {error}", case.declared),
            };
            assert!(field.is_none_or(|field| field == "v"), "{}: {value}: {field:?}", case.declared);
            let held = store.fetch(&Key::single(1)).await.unwrap().image;
            assert_eq!(held, Some(image("null")), "{}: {value}", case.declared);
        }
    }
}

/// What SQL wrote, as the field's type reads it; `Err`: it does not, and says so.
#[tokio::test]
async fn values_of_other_writers_are_read_exactly_or_not_at_all() {
    let cases: &[(&str, &str, FieldType, Result<&str, &str>)] = &[
        ("DATE", "'0000-00-00'", FieldType::Date, Err("date")),
        ("DATETIME", "'0000-00-00 00:00:00'", FieldType::Timestamp, Err("extended")),
        ("DATETIME", "'2020-02-31 00:00:00'", FieldType::Timestamp, Err("extended")),
        ("TIMESTAMP NULL", "'0000-00-00 00:00:00'", FieldType::Instant, Err("extended")),
        ("TIME(1)", "'-00:00:00.5'", FieldType::Time, Err("time")),
        ("TIME", "'838:59:59'", FieldType::Time, Err("time")),
        (
            "TIME(1)",
            "'-838:59:58.9'",
            FieldType::Extended,
            Ok(r#"{"@extended":{"store":"mysql","type":"time","text":"-838:59:58.9"}}"#),
        ),
        ("TINYINT(1)", "2", FieldType::Bool, Err("bool")),
        ("FLOAT", "0.1", FieldType::Float, Ok("0.10000000149011612")),
        ("BIT(12)", "b'100000000001'", FieldType::Int, Ok("2049")),
        ("INT(6) ZEROFILL", "42", FieldType::Int, Ok("42")),
        ("BINARY(4)", "'a'", FieldType::Bytes, Ok(r#"{"@bytes":"YQAAAA=="}"#)),
        ("CHAR(4)", "'a  '", FieldType::Text, Ok(r#""a""#)),
        ("VARCHAR(4) CHARACTER SET cp1251", "'ж'", FieldType::Text, Ok(r#""ж""#)),
        ("VARBINARY(4)", "x'ff'", FieldType::Text, Err("UTF-8")),
        (
            "POINT",
            "POINT(1, 2)",
            FieldType::Extended,
            Ok(
                r#"{"@extended":{"store":"mysql","type":"point","text":"000000000101000000000000000000f03f0000000000000040"}}"#,
            ),
        ),
        ("JSON", "'{\"a\": [1, 2.50]}'", FieldType::Json, Ok(r#"{"a":[1,2.5]}"#)),
        ("INET6", "'::ffff:1.2.3.4'", FieldType::Text, Ok(r#""::ffff:1.2.3.4""#)),
        ("INT AS (id + 1) STORED", "DEFAULT", FieldType::Int, Ok("2")),
    ];
    let url = mariadb().database("types");
    let mut direct = mysql_async::Conn::new(mysql_async::Opts::from_url(&url).unwrap()).await.unwrap();
    direct.query_drop("SET sql_mode = 'ALLOW_INVALID_DATES'").await.unwrap();
    for (at, (declared, sql, ty, expect)) in cases.iter().enumerate() {
        let name = format!("t{at}");
        direct.query_drop(format!("CREATE TABLE {name} (id INT PRIMARY KEY, v {declared})")).await.unwrap();
        direct.query_drop(format!("INSERT INTO {name} (id, v) VALUES (1, {sql})")).await.unwrap();
        let store = open(&url, layout(&name, *ty)).await;
        let chunk =
            store.scan(&ScanRange { id: 0, low: None, high: None }, None, ChunkMax { records: 9, bytes: 9_999 });
        let read = chunk.await.unwrap().records.remove(0);
        match (expect, read) {
            (Ok(value), Ok(fetched)) => assert_eq!(fetched.image, Some(image(value)), "{declared} {sql}"),
            (Err(says), Err(bad)) => {
                assert_eq!(bad.error.kind, StoreErrorKind::Corrupt, "{declared} {sql}");
                assert!(
                    bad.error.message.contains(says) && bad.key == Some(Key::single(1)),
                    "{declared} {sql}: {}",
                    bad.error
                );
            }
            (_, read) => panic!("{declared} {sql}: {read:?}"),
        }
    }
}

/// Scripts of other projects with all kinds of types: every table that has a
/// key is moved into an empty one like it, with the types that inspection
/// proposes, and the server finds both to be the same.
#[tokio::test]
async fn tables_of_other_projects_are_moved_exactly() {
    let data = std::env::var_os("SHEARWATER_DATA").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        std::path::PathBuf::from,
    );
    let mut files = Vec::new();
    for folder in ["types/debezium-mysql-types-a", "types/pgloader-mysql"].map(|folder| data.join(folder)) {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| {
            panic!("{}: {e}; set SHEARWATER_DATA to the folder of the data sets", folder.display())
        });
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".sql") && !name.ends_with(".pg.sql")
        }));
    }
    files.sort();
    let (mut moved, mut told) = (0, 0);
    for file in files {
        let (from, to) = (mariadb().database("from"), mariadb().database("to"));
        let mut direct = mysql_async::Conn::new(mysql_async::Opts::from_url(&from).unwrap()).await.unwrap();
        direct.query_drop("SET sql_mode = ''").await.unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        direct.query_drop(text).await.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let seen = shearwater_stores::inspect(&from).await.unwrap();
        for table in seen.hazards.iter().filter_map(|hazard| hazard.split_once(" is kept by MyISAM")) {
            let name = table.0.trim_start_matches("table ").trim_matches('"');
            direct.query_drop(format!("ALTER TABLE `{name}` ENGINE=InnoDB")).await.unwrap();
        }
        for seen in seen.tables {
            if seen.key.is_empty() {
                assert!(
                    seen.hazards.iter().any(|hazard| hazard.contains("no key")),
                    "{}: {:?}",
                    seen.name,
                    seen.hazards
                );
                continue;
            }
            let (rows, bad) = copy(&seen, &from, &to, &mut direct).await;
            println!("{}: {}: {rows} moved, {bad} told", file.file_name().unwrap().display(), seen.name);
            moved += rows;
            told += bad;
        }
    }
    assert_eq!((moved, told), (92, 2));
    println!("{moved} rows moved, {told} told");
}

/// Moves a table's rows; how many, and how many could not be read.
async fn copy(seen: &InspectedTable, from: &str, to: &str, direct: &mut mysql_async::Conn) -> (usize, usize) {
    let columns = seen.columns.iter().filter(|c| !c.generated).map(|c| {
        let mut shape = column(&c.name, c.ty.unwrap_or_else(|| panic!("{} {}: no type", seen.name, c.declared)));
        shape.nullable = c.nullable;
        shape
    });
    let shape = shearwater_core::shape::TableShape { key: seen.key.clone(), ..table(&seen.name, columns.collect()) };
    let database = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let (here, there) =
        (format!("`{}`.`{}`", database(from), seen.name), format!("`{}`.`{}`", database(to), seen.name));
    direct.query_drop(format!("CREATE TABLE {there} LIKE {here}")).await.unwrap();
    let (source, target) = (open(from, Layout::Rows(shape.clone())).await, open(to, Layout::Rows(shape)).await);
    target.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
    let all = ScanRange { id: 0, low: None, high: None };
    let chunk = source.scan(&all, None, ChunkMax { records: 10_000, bytes: 1 << 30 }).await.unwrap();
    let (mut puts, mut bad) = (Vec::new(), 0);
    for read in chunk.records {
        match read {
            Ok(fetched) => puts.push(Put { key: fetched.key, image: fetched.image, stamp: Stamp::ZERO }),
            Err(row) => {
                assert_eq!(row.error.kind, StoreErrorKind::Corrupt, "{}: {}", seen.name, row.error);
                bad += 1;
            }
        }
    }
    let rows = puts.len();
    let answers = target.apply(1, puts, None).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == Applied::Changed), "{}: {answers:?}", seen.name);
    if bad == 0 {
        let sums: Vec<(String, Option<u64>)> =
            direct.query(format!("CHECKSUM TABLE {here}, {there} EXTENDED")).await.unwrap();
        assert_eq!(sums[0].1, sums[1].1, "{}", seen.name);
    }
    (rows, bad)
}

/// A value is never both: this is what makes the table above worth its name.
#[test]
fn cases_are_apart() {
    for case in CASES {
        let read = |text: &&str| json::parse(text.as_bytes()).unwrap_or(Value::Null);
        let kept: Vec<Value> = case.kept.iter().map(&read).collect();
        assert!(case.refused.iter().all(|text| !kept.contains(&read(text))), "{}", case.declared);
    }
}
