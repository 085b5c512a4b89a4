//! What inspection says of tables that others made: types by what is really
//! stored, keys, foreign keys, numbering.

use rusqlite::Connection;
use shearwater_core::shape::FieldType;
use shearwater_core::store::{InspectedTable, Inspection};

use super::{Place, place};

async fn inspected(sql: &str) -> (Place, Inspection) {
    let place = place();
    Connection::open(&place.path).unwrap().execute_batch(sql).unwrap();
    let look = shearwater_stores::inspect(&place.url).await.unwrap();
    (place, look)
}

fn table<'a>(look: &'a Inspection, name: &str) -> &'a InspectedTable {
    look.tables.iter().find(|table| table.name == name).unwrap()
}

/// The type that a column of this declaration has when it holds these values.
async fn check(reason: &str, declared: &str, values: &[&str], expect: Option<FieldType>) {
    let rows: Vec<String> = values.iter().map(|value| format!("INSERT INTO t (v) VALUES ({value});")).collect();
    let sql = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared}); {}", rows.concat());
    let (_place, look) = inspected(&sql).await;
    assert_eq!(table(&look, "t").columns[1].ty, expect, "{reason}");
}

#[tokio::test]
async fn types_are_what_is_stored() {
    use FieldType::*;
    check("nothing: as declared", "VARCHAR(9)", &[], Some(Text)).await;
    check("only NULL: as declared", "BIGINT", &["NULL"], Some(Int)).await;
    check("nothing in a date", "DATETIME", &[], Some(Timestamp)).await;
    check("nothing in a decimal", "NUMERIC(10,2)", &[], Some(Float)).await;
    check("integers", "INT", &["1", "-5"], Some(Int)).await;
    check("truths", "BOOLEAN", &["0", "1", "NULL"], Some(Bool)).await;
    check("a truth too many", "BOOLEAN", &["0", "2"], Some(Int)).await;
    check("floats, and whole ones that are kept as integers", "NUMERIC(10,2)", &["0.99", "2"], Some(Float)).await;
    check("an integer that is no float", "NUMERIC", &["0.5", "9007199254740993"], None).await;
    check("texts in a column of integers", "INT", &["1", "'x'"], None).await;
    check("texts where numbers were promised", "INT", &["'x'"], Some(Text)).await;
    check("a NaN of ours", "REAL", &["1.5", "'f64:7ff8000000000000'"], Some(Float)).await;
    check("bytes", "BLOB", &["x'00'"], Some(Bytes)).await;
    check("bytes and text", "", &["x'00'", "'x'"], None).await;
    check("dates", "DATE", &["'2009-01-01'", "NULL"], Some(Date)).await;
    check("times of day with dates", "DATE", &["'2009-01-01T10:00:00'"], Some(Timestamp)).await;
    check("a date written otherwise stays a text", "DATE", &["'2009-01-01'", "'1.2.2009'"], Some(Text)).await;
    check("so does a timestamp with a blank", "DATETIME", &["'2009-01-01 00:00:00'"], Some(Text)).await;
    check("points in time", "TIMESTAMP", &["'2009-01-01T00:00:00Z'"], Some(Instant)).await;
    check("uuids", "UUID", &["'9e107d9d-372b-4d8f-8a6e-000000000000'"], Some(Uuid)).await;
    check("uuids in capitals", "UUID", &["'9E107D9D-372B-4D8F-8A6E-000000000000'"], Some(Text)).await;
    check("decimals as texts", "DECIMAL_TEXT", &["'1.10'"], Some(Decimal)).await;
    check("canonical JSON", "JSON", &["'{\"a\":1}'"], Some(Json)).await;
    check("JSON with blanks", "JSON", &["'{\"a\": 1}'"], Some(Text)).await;
}

#[tokio::test]
async fn keys_tell_their_type_by_what_they_hold() {
    use FieldType::*;
    for (reason, declared, key, expect) in [
        ("integers", "INT", &["1", "2"][..], Some(Int)),
        ("texts", "TEXT", &["'a'"], Some(Text)),
        ("both", "", &["1", "'a'"], Some(Json)),
        ("texts that would be dates elsewhere", "DATE", &["'2009-01-01'"], Some(Text)),
        ("bytes that are not ours", "BLOB", &["x'0102'"], None),
        ("a float", "REAL", &["1.5"], None),
    ] {
        let rows: Vec<String> = key.iter().map(|value| format!("INSERT INTO t VALUES ({value});")).collect();
        let sql = format!("CREATE TABLE t (k {declared} NOT NULL PRIMARY KEY); {}", rows.concat());
        let (_place, look) = inspected(&sql).await;
        assert_eq!(table(&look, "t").columns[0].ty, expect, "{reason}");
    }
}

#[tokio::test]
async fn foreign_keys_numbering_and_collations_are_told() {
    let (_place, look) = inspected(
        "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE);
         CREATE TABLE album (a INT NOT NULL, b INT NOT NULL, by INTEGER NOT NULL REFERENCES artist, PRIMARY KEY (b, a));
         CREATE TABLE track (id INT PRIMARY KEY, a INT, b INT, twice INT AS (id * 2) STORED,
             FOREIGN KEY (b, a) REFERENCES album (b, a) ON DELETE CASCADE);
         CREATE TABLE edge (id INTEGER PRIMARY KEY DESC)",
    )
    .await;
    let (artist, album, track) = (table(&look, "artist"), table(&look, "album"), table(&look, "track"));
    let number = &artist.columns[0];
    assert_eq!((number.identity, number.nullable, &number.renumber), (true, false, &None));
    assert_eq!(number.bounds.integers, Some((i64::MIN, i64::MAX as u64)));
    assert_eq!((artist.columns[1].folds, artist.columns[1].collation.as_deref()), (true, Some("NOCASE")));
    assert!(!track.columns[0].identity, "an INT PRIMARY KEY is no rowid");
    assert!(!table(&look, "edge").columns[0].identity, "nor is a descending one");
    assert!(track.columns[3].generated);
    assert_eq!(album.key, ["b", "a"]);
    let [by] = album.foreign_keys.as_slice() else { panic!("{:?}", album.foreign_keys) };
    assert_eq!(
        (by.table.as_str(), &by.columns[..], &by.references[..]),
        ("artist", &["by".to_owned()][..], &["id".to_owned()][..])
    );
    assert!(!by.cascades);
    let [of] = track.foreign_keys.as_slice() else { panic!("{:?}", track.foreign_keys) };
    assert_eq!(
        (&of.columns[..], &of.references[..]),
        (&["b".to_owned(), "a".to_owned()][..], &["b".to_owned(), "a".to_owned()][..])
    );
    assert!(of.cascades);
}
