//! Reading files of other programs: every data set, and everything that is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;

use std::io::{BufRead, BufReader, Read};

use shearwater_core::import::{Form, ImportErrorKind, Imported, Input, records};
use shearwater_core::path::Path;
use shearwater_core::value::{Document, Value, hash, json};

fn read(mut reader: impl BufRead, input: Input) -> Vec<Imported> {
    records(&mut reader, input).collect()
}

fn all(reader: impl BufRead, input: Input) -> Vec<Document> {
    read(reader, input).into_iter().map(|imported| imported.record.unwrap()).collect()
}

fn root(form: Form, root: &str) -> Input {
    Input { root: Some(Path::parse(root).unwrap()), ..Input::of(form) }
}

/// What the reader makes of a text, one line for each record: `number@byte` and
/// the record, or the error.
fn told(text: &str, input: &Input) -> Vec<String> {
    // Buffers of every size cut the text at every place.
    let answers: Vec<Vec<String>> = [1, 2, 3, 7, 8192]
        .iter()
        .map(|size| {
            let reader = BufReader::with_capacity(*size, text.as_bytes());
            read(reader, input.clone())
                .iter()
                .map(|i| match &i.record {
                    Ok(record) => format!("{}@{} {}", i.number, i.at_byte, json::document_to_string(record)),
                    Err(e) if e.kind == ImportErrorKind::Stop => format!("STOP {e}"),
                    Err(e) => format!("BAD {e}"),
                })
                .collect()
        })
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[4]), "{answers:?}");
    answers[4].clone()
}

/// Each expectation is a part of the line told.
fn check(text: &str, input: &Input, expect: &[&str]) {
    let told = told(text, input);
    assert_eq!(told.len(), expect.len(), "{text}: {told:?}");
    for (line, part) in told.iter().zip(expect) {
        assert!(line.contains(part), "{text}: {line:?} without {part:?}");
    }
}

#[test]
fn lines_arrays_and_documents_are_told_apart() {
    let plain = Input::of(Form::Json);
    check("", &plain, &[]);
    check(" \n\n", &plain, &[]);
    check("{\"a\":1}\n{\"a\":2}", &plain, &["1@0 {\"a\":1}", "2@8 {\"a\":2}"]);
    check("{\"a\":1}\r\n\r\n  {\"a\":2}\r\n", &plain, &["1@0 {\"a\":1}", "3@11 {\"a\":2}"]);
    check("[{\"a\":\"]\"},\n {}\n]\n", &plain, &["1@1 {\"a\":\"]\"}", "2@13 {}"]);
    check("[]", &plain, &[]);
    check(
        "\n {\n \"a\": {\n\"b\":\"}\\\"{\"}}\n{\"c\":\n1} {}",
        &plain,
        &["2@2 {\"a\":{\"b\":\"}\\\"{\"}}", "5@25 {\"c\":1}", "6@34 {}"],
    );
    check("{\"a\":1,\n\"b\":2}", &plain, &["1@0 {\"a\":1,\"b\":2}"]);
}

#[test]
fn bad_records_are_named_and_reading_goes_on() {
    let plain = Input::of(Form::Json);
    check(
        "{\"a\":1}\n{\"a\":}\n{\"a\":3}\n",
        &plain,
        &["1@0", "BAD line 2: found '}', expected a value at byte 13", "3@15"],
    );
    check("{\"a\":1\n{\"a\":2}\n", &plain, &["BAD line 1: the text ends, expected `,` or `}` at byte 6", "2@7"]);
    check("{\"a\":1} x\n5\n", &plain, &["BAD line 1: found 'x'", "BAD line 2: found int, expected a document"]);
    check(
        "[{\"a\":1,\"a\":2}, 5, {}]",
        &plain,
        &[
            "BAD element 1: field name \"a\" stands twice in one document at byte 8",
            "BAD element 2: found int",
            "3@19 {}",
        ],
    );
    check("{\n\"a\":x}\n{\n}", &plain, &["BAD line 1: found 'x'", "3@9 {}"]);
    check("{\"@x\":1}", &plain, &["1@0 {\"@document\":{\"@x\":1}}"]);
    check("{\"@x\":1}", &Input::of(Form::Tagged), &["BAD line 1: unknown tag \"@x\""]);
    check("{\"a\":{\"@decimal\":\"1.0\"}}", &Input::of(Form::Tagged), &["1@0 {\"a\":{\"@decimal\":\"1.0\"}}"]);
    check("{\"a\":{\"$oid\":\"1\"}}\n{}", &Input::of(Form::MongoDb), &["BAD line 1: wrong `$oid` at `a`", "2@19 {}"]);
}

#[test]
fn a_bad_record_keeps_its_text_and_has_a_hint() {
    let check = |text: &[u8], form: Form, hint: &str| {
        let imported = read(text, Input::of(form)).remove(0);
        let error = imported.record.unwrap_err();
        assert_eq!(error.text, text.trim_ascii_end());
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error}: {:?}", error.hint);
    };
    check(b"{\"_id\": ObjectId(\"5099803df3f4948bd2f98391\")}\n", Form::Json, "mongoexport");
    check(b"{\"a\":1,\"a\":2}\r\n", Form::Json, "rename one of the two");
    check(b"{\"@x\":1}\n", Form::Tagged, "the form `json`");
    check(b"{\"a\":[\n", Form::Json, "as the root");
    check(b"{\"a\":\"\xff\"}\n", Form::Json, "");
}

#[test]
fn a_bad_file_stops_the_reading() {
    let plain = Input::of(Form::Json);
    check("[{},{}", &plain, &["1@1", "2@4", "STOP element 2: the file ends within the array at byte 6"]);
    check("[{},{\"a\":", &plain, &["1@1", "STOP element 2: the file ends within a value at byte 9"]);
    check("[{} {}]", &plain, &["1@1", "STOP element 1: expected `,` or `]` after an element at byte 4"]);
    check("[{},]", &plain, &["1@1", "STOP element 1: found `]` after a comma"]);
    check("[{}] {}", &plain, &["1@1", "STOP element 1: something follows the end"]);
    check("{\n\"a\":1", &plain, &["STOP line 2: the file ends within a value"]);
    for (bytes, expect) in [
        (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"{\0}\0", "UTF-16"),
        (b"\0{\0}", "UTF-16"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip archive"),
    ] {
        let imported = read(bytes, plain.clone());
        assert_eq!(imported.len(), 1);
        let error = imported[0].record.as_ref().unwrap_err();
        assert!(error.kind == ImportErrorKind::Stop && error.message.contains(expect), "{error}");
        assert!(error.hint.is_some());
    }
}

#[test]
fn an_io_error_stops_the_reading() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let reader = BufReader::new((&b"{\"a\":1}\n{\"a\""[..]).chain(Broken));
    let imported = read(reader, Input::of(Form::Json));
    assert!(imported[0].record.is_ok());
    let error = imported[1].record.as_ref().unwrap_err();
    assert!(error.kind == ImportErrorKind::Stop && error.message.contains("the disk is on fire"), "{error}");
    assert_eq!(imported.len(), 2);
}

#[test]
fn a_record_without_end_is_refused_before_it_fills_memory() {
    let reader = BufReader::new((&b"{\"a\":\""[..]).chain(std::io::repeat(b'x').take(1 << 27)));
    let imported = read(reader, Input::of(Form::Json));
    assert_eq!(imported.len(), 1);
    let error = imported[0].record.as_ref().unwrap_err();
    assert!(error.message.contains("longer than 67108864 bytes"), "{error}");
}

#[test]
fn a_root_leads_to_an_array_inside_one_document() {
    let check_root = |text: &str, path: &str, expect: &[&str]| check(text, &root(Form::Json, path), expect);
    check_root(
        "{\"x\":{\"a\":[{}]},\"a\":[{\"n\":1},{\"n\":2}],\"y\":[1]}",
        "a",
        &["1@21 {\"n\":1}", "2@29 {\"n\":2}"],
    );
    check_root("{\"a\":{\"b.c\":[ {} ]}}", "a.\"b.c\"", &["1@14 {}"]);
    check_root("{\"\\u0061\":[]}", "a", &[]);
    check_root("{\"b\":[]}", "a", &["STOP line 1: there is no field \"a\""]);
    check_root("{}", "a", &["STOP line 1: there is no field \"a\""]);
    check_root("{\"a\":{}}", "a", &["the root is no array"]);
    check_root("[]", "a", &["expected a document that holds \"a\""]);
    check_root("{\"a\":[{}]", "a", &["1@6", "STOP element 1: expected `,` or `}` after the root"]);
    check_root("{\"a\":[{}],\"a\":[]}", "a", &["1@6", "STOP element 1: the field \"a\" stands twice"]);
    check_root("{\"a\":[{}]}{}", "a", &["1@6", "something follows"]);
    check_root("{\"a\":[[]]}", "a[0]", &["the root names fields only"]);
}

#[test]
fn dynamodb_files_hold_items_in_many_ways() {
    let input = Input::of(Form::DynamoDb);
    let table = |name: &str| Input { table: Some(name.to_owned()), ..input.clone() };
    check(
        "{\"k\":{\"S\":\"a\"}}\n{\"Item\":{\"k\":{\"S\":\"b\"}}}\n{\"Item\":{\"S\":\"c\"}}",
        &input,
        &["{\"k\":\"a\"}", "{\"k\":\"b\"}", "{\"Item\":\"c\"}"],
    );
    check("{\"k\":{\"X\":1}}", &input, &["BAD line 1: wrong value at `k`: \"X\" is no type"]);
    check(
        "{\"Items\":[{\"k\":{\"N\":\"1\"}},{\"k\":1}],\"Count\":2}",
        &input,
        &["1@0 {\"k\":1}", "BAD item 2: Items[1]: wrong value at `k`"],
    );
    let batch = "{\"T\":[{\"PutRequest\":{\"Item\":{\"k\":{\"N\":\"1\"}}}},{\"DeleteRequest\":{}}],\"U\":[]}";
    check(batch, &input, &["several tables (T, U); name the one"]);
    check(batch, &table("T"), &["1@0 {\"k\":1}", "BAD item 2: T[1].PutRequest.Item: expected {\"PutRequest\""]);
    check(batch, &table("V"), &["there is no table \"V\"; the file holds T, U"]);
    check(&format!("{{\"RequestItems\":{batch}}}"), &table("U"), &[]);
    let model = r#"{"DataModel":[{"TableName":"T","TableData":[{"k":{"S":"a"}}],"TableFacets":
        [{"TableData":[{"k":{"S":"a"}},{"k":{"S":"b"}}]}]}]}"#;
    check(model, &input, &["{\"k\":\"a\"}", "{\"k\":\"b\"}"]);
}

/// Our JSON holds every record exactly, and another parser sees the same numbers and texts.
fn survives(record: &Document) {
    let text = json::document_to_string(record);
    let again = json::parse_document(text.as_bytes()).unwrap();
    assert_eq!(&again, record);
    assert_eq!(hash::document(&again), hash::document(record));
}

fn types_at(records: &[Document], path: &str) -> Vec<(&'static str, usize)> {
    let path = Path::parse(path).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for record in records {
        *counts.entry(path.get(record).map_or("missing", Value::type_name)).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn open(path: &str) -> BufReader<std::fs::File> {
    BufReader::new(std::fs::File::open(given::data(path)).unwrap())
}

#[test]
fn books_are_read_with_their_mixed_keys() {
    let books = all(open("documents/books/books.json"), Input::of(Form::MongoDb));
    assert_eq!(books.len(), 431);
    books.iter().for_each(survives);
    assert_eq!(types_at(&books, "_id"), [("extended", 32), ("int", 399)]);
    assert_eq!(types_at(&books, "publishedDate"), [("instant", 353), ("missing", 78)]);
    let first = books[0].get("publishedDate").unwrap();
    assert_eq!(json::to_string(first), r#"{"@instant":"2009-04-01T07:00:00Z"}"#);
}

#[test]
fn students_keep_their_floats() {
    let text = String::from_utf8(given::bytes("documents/students/students.json")).unwrap();
    let students = all(text.as_bytes(), Input::of(Form::Json));
    assert_eq!(students.len(), 200);
    students.iter().for_each(survives);
    for (line, student) in text.lines().zip(&students) {
        let written: serde_json::Value = serde_json::from_str(line).unwrap();
        let ours: serde_json::Value = serde_json::from_str(&json::document_to_string(student)).unwrap();
        assert_eq!(written, ours);
    }
    assert_eq!(types_at(&students, "scores[2].score"), [("float", 200)]);
    assert_eq!(students, all(text.as_bytes(), Input::of(Form::MongoDb)));
}

#[test]
fn restaurants_are_read_from_lines_and_from_a_printed_document() {
    let counts = [6, 4, 5, 8, 1, 1];
    let mut total = 0;
    for number in 1..=6 {
        let path = format!("documents/restaurants-primer/restaurants{number}.json");
        let restaurants = all(open(&path), Input::of(Form::MongoDb));
        restaurants.iter().for_each(survives);
        assert_eq!(types_at(&restaurants, "grades[0].date"), [("instant", restaurants.len())], "{path}");
        assert_eq!(restaurants.len(), counts[number - 1], "{path}");
        total += restaurants.len();
    }
    assert_eq!(total, 25);
}

#[test]
fn earthquakes_stand_inside_one_document() {
    let quakes = all(open("documents/earthquakes/earthquakes.json"), root(Form::Json, "features"));
    assert_eq!(quakes.len(), 1707);
    quakes.iter().for_each(survives);
    assert_eq!(types_at(&quakes, "properties.mag"), [("float", 1638), ("int", 69)]);
    let whole = json::parse_document(&given::bytes("documents/earthquakes/earthquakes.json")).unwrap();
    let Some(Value::Array(features)) = whole.get("features") else { panic!("no features") };
    assert!(features.iter().zip(&quakes).all(|(a, b)| *a == Value::Document(b.clone())));
}

#[test]
fn pg_jsonb_keeps_its_empty_documents() {
    let records = all(open("documents/pg-jsonb/jsonb.data"), Input::of(Form::Json));
    assert_eq!(records.len(), 1012);
    records.iter().for_each(survives);
    assert_eq!(records.iter().filter(|r| r.is_empty()).count(), 118);
}

#[test]
fn palbum_is_read_from_its_archive() {
    let file = std::fs::File::open(given::data("documents/palbum/palbum.zip")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    for (name, count) in [("palbum/albums.json", 1_000), ("palbum/images.json", 100_000)] {
        let mut reader = BufReader::new(archive.by_name(name).unwrap());
        let mut seen = 0;
        for imported in records(&mut reader, Input::of(Form::Json)) {
            survives(&imported.record.unwrap());
            seen += 1;
        }
        assert_eq!(seen, count, "{name}");
    }
}

#[test]
fn dynamodb_models_and_batches_are_read() {
    let check = |name: &str, count: usize, some: &str| {
        let items = all(open(&format!("documents/dynamodb-models-a/{name}")), Input::of(Form::DynamoDb));
        assert_eq!(items.len(), count, "{name}");
        items.iter().for_each(survives);
        assert!(items.iter().any(|item| json::document_to_string(item).contains(some)), "{name}");
    };
    check("ChatSystemSchema.json", 8, r#""Comment":"Hello!""#);
    check("SocialNetworkSchema.json", 17, r#""follower#":3000000000"#);
    check("RecurringPaymentsSchema.json", 2, r#""TTL":1700318200"#);
    check("global-serverless-sample-data.json", 13, r#""PK":"user100""#);
}
