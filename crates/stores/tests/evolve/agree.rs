//! The gateway, the write default, the backfill and verification agree on the
//! value of every nasty record: for every construct that is pushed down, for
//! fields of every type, and for expressions made at random.

use shearwater_core::evolve::Stage;
use shearwater_core::fill::Fill;

use crate::place::*;
use crate::random::Random;

const EXPRESSIONS: &[(&str, &str)] = &[
    ("text", "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }"),
    ("text", "{ sql = '''coalesce(nick, name)''' }"),
    ("text", "{ sql = '''nick''', fallback = \"it's \\\\ ü\" }"),
    ("text", "{ sql = '''CASE WHEN nick = name THEN 'same' WHEN nick < name THEN 'less' ELSE 'more' END''' }"),
    ("text", "{ sql = '''CASE nick WHEN 'a' THEN 'a' WHEN 'A' THEN 'A' WHEN '' THEN 'empty' ELSE 'else' END''' }"),
    ("text", "{ sql = '''name || '/' || nick''', fallback = \"none\" }"),
    ("text", "{ sql = '''concat(name, '-', nick, NULL)''' }"),
    ("text", "{ sql = '''nullif(nick, 'a')''', fallback = \"was a or nothing\" }"),
    ("text", "{ sql = '''CASE WHEN nick IN ('a', 'ä', NULL) OR NOT (age > 0) THEN 'x' ELSE 'y' END''' }"),
    (
        "text",
        "{ sql = '''CASE WHEN name BETWEEN 'A' AND 'a' THEN 'in' WHEN age IS NULL THEN 'no age' ELSE 'out' END''' }",
    ),
    ("text", "{ sql = '''CASE WHEN (nick IS NULL) = active THEN 'both' ELSE 'not' END''' }"),
    ("int", "{ sql = '''CASE WHEN age BETWEEN -7 AND 0 THEN age ELSE 9223372036854775807 END''', fallback = -1 }"),
    ("int", "{ sql = '''coalesce(age, id)''' }"),
    ("bool", "{ sql = '''age > 0 AND nick <> 'a' ''', fallback = false }"),
    ("bool", "{ sql = '''nick >= name OR active''', fallback = true }"),
    ("int", "{ sql = '''age * age - id''', fallback = -1 }"),
    ("int", "{ sql = '''-age''', fallback = -1 }"),
    ("int", "{ sql = '''(age - 1) % (id % 5 - 2)''', fallback = -1 }"),
    ("int", "{ sql = '''CAST(nick AS int) + 1''', fallback = -1 }"),
    ("int", "{ sql = '''length(nick) * 100 + length(substr(name, 2, 2))''', fallback = -1 }"),
    ("text", "{ sql = '''concat(substr(nick, 2), '/', CAST(age AS text), '/', CAST(active AS text))''' }"),
    ("bool", "{ sql = '''CAST(nick AS bool)''', fallback = true }"),
    ("text active blocked", "{ sql = '''nick''', fallback = \"blocked\" }"),
    ("text active blocked", "{ sql = '''CASE WHEN active THEN 'active' ELSE 'blocked' END''' }"),
    ("decimal 5 2", "{ sql = '''age''', fallback = \"-0.5\" }"),
    ("decimal 38 3", "{ sql = '''age''', fallback = \"99999999999999999999999999999999999.999\" }"),
    ("decimal 4 1", "{ sql = '''CASE WHEN active THEN 1.5 ELSE -20.0 END''' }"),
];

/// Fields of every type, with constants and, where there is a column to take it
/// from, expressions.
const TYPES: &[(&str, &str)] = &[
    ("text", "\"it's \\\\ ü 😀\""),
    ("text active blocked", "\"active\""),
    ("int", "-9223372036854775808"),
    ("bool", "true"),
    ("decimal 20 4", "\"-0.5\""),
    ("float", "0.1"),
    ("float", "-1.7976931348623157e308"),
    ("date", "2024-02-29"),
    ("time", "23:59:59.000001"),
    ("timestamp", "1969-12-31T23:59:59.999999"),
    ("instant", "2038-01-19T04:14:08.5+01:00"),
    ("uuid", "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
    ("bytes", "\"AP8n\""),
    ("json", "{ b = [1, 1.0, true, \"7\"], a = {} }"),
    ("json", "7"),
    ("date", "{ sql = '''born''', fallback = 1970-01-01 }"),
    ("time", "{ sql = '''coalesce(at_time)''', fallback = 00:00:00 }"),
    ("timestamp", "{ sql = '''CASE WHEN active THEN at_local END''', fallback = 1970-01-01T00:00:00 }"),
    ("instant", "{ sql = '''at_instant''', fallback = 1970-01-01T00:00:00Z }"),
    ("uuid", "{ sql = '''code''', fallback = \"00000000-0000-0000-0000-000000000000\" }"),
    ("bytes", "{ sql = '''raw''', fallback = \"\" }"),
];

/// Brings a field in, fills it, compares every record, and takes it out again.
async fn check(place: &Place, ty: &str, value: &str) {
    let why = format!("{:?}, {ty}, {value}", place.kind);
    let wanting = place.wanting("fresh", ty, value).await;
    wanting.evolve.hazards().await.unwrap_or_else(|e| panic!("{why}: {e:?}"));
    wanting.stage(Stage::Expand).await;
    // A third is filled by the write default, in an update of another column; others are emptied again.
    place.run("UPDATE users SET age = age WHERE id % 3 = 0");
    place.run("UPDATE users SET fresh = NULL WHERE id % 3 = 1");
    wanting.backfill("r", 150).await;
    assert_eq!(wanting.evolve.count_missing().await.unwrap(), 0, "{why}");
    let records = wanting.records().await;
    assert!(records.len() >= 208);
    for (key, record) in records {
        let expected = wanting.fill.value(&record).unwrap_or_else(|e| panic!("{why}, record {key:?}: {e}"));
        assert_eq!(record.get(&wanting.column), Some(&expected), "{why}, record {key:?}: {record:?}");
        assert!(wanting.fill.takes(&expected), "{why}");
    }
    assert_eq!(wanting.evolve.count_chosen().await.unwrap(), 0, "{why}: nobody chose anything");
    wanting.stage(Stage::Remove).await;
}

async fn agree(kind: Kind) {
    let mut place = Place::new(kind);
    place.fill_with_nasty();
    place.fill_with_numbers();
    for (ty, value) in EXPRESSIONS {
        check(&place, ty, value).await;
    }
    place.add_moments();
    for (ty, value) in TYPES {
        check(&place, ty, value).await;
    }
}

#[tokio::test]
async fn the_gateway_the_trigger_and_the_backfill_agree_on_sqlite() {
    agree(Kind::Sqlite).await;
}

#[tokio::test]
async fn the_gateway_the_trigger_and_the_backfill_agree_on_postgres() {
    agree(Kind::Postgres).await;
}

#[tokio::test]
async fn the_gateway_the_trigger_and_the_backfill_agree_on_mariadb() {
    agree(Kind::Mariadb).await;
}

/// Expressions at random, each on every kind.
const RANDOM_EXPRESSIONS: usize = 6;

/// A field that a spec may have: some draw a constant that is none of its values,
/// which is refused before any store is asked.
fn taken(random: &mut Random) -> (&'static str, String) {
    loop {
        let (ty, value) = random.field();
        let field = require_spec("url = \"sqlite:a.db\"\ntable = \"users\"\nkey = \"id\"", "drawn", ty, &value).field;
        match Fill::compile(&field, &Place::columns()) {
            Ok(_) => return (ty, value),
            Err(refused) => assert!(refused.message.contains("none of the field's"), "{value}: {refused:?}"),
        }
    }
}

#[tokio::test]
async fn all_stores_agree_on_expressions_made_at_random() {
    let mut random = Random::seeded();
    let mut places = Vec::new();
    for kind in KINDS {
        let place = Place::new(kind);
        place.fill_with_nasty();
        place.fill_with_numbers();
        places.push(place);
    }
    for _ in 0..RANDOM_EXPRESSIONS {
        let (ty, value) = taken(&mut random);
        println!("{ty}: {value}");
        for place in &places {
            check(place, ty, &value).await;
        }
    }
}

#[tokio::test]
async fn what_a_store_would_hold_otherwise_is_refused_by_name() {
    let mariadb = Place::new(Kind::Mariadb);
    let sqlite = Place::new(Kind::Sqlite);
    let deep = format!("{{ sql = '''{}1''', fallback = 0 }}", "id + ".repeat(20));
    for (place, ty, value, says) in [
        (&mariadb, "float", "-0.0", "this float"),
        (&mariadb, "float", "nan", "this float"),
        (&mariadb, "json", "\"it's\"", "loses what is not plain"),
        (&mariadb, "json", "\"ü\"", "loses what is not plain"),
        (&sqlite, "float", "-0.0", "this float"),
        (&sqlite, "int", &deep, "too deep"),
    ] {
        let Err(told) = place.try_wanting("fresh", ty, value).await else { panic!("{value} is taken") };
        assert!(told.message.contains(says) && told.hint.is_some(), "{told:?}");
    }
}
