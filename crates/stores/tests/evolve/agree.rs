//! The gateway, the write default, the backfill and verification agree on the
//! value of every nasty record, for every construct that is pushed down.

use shearwater_core::evolve::Stage;

use crate::place::*;

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
];

async fn agree(kind: Kind) {
    let place = Place::new(kind);
    place.fill_with_nasty();
    for (number, (ty, value)) in EXPRESSIONS.iter().enumerate() {
        let wanting = place.wanting(&format!("c{number}"), ty, value).await;
        wanting.stage(Stage::Expand).await;
        // A third is filled by the write default, in an update of another column.
        place.run("UPDATE users SET age = age WHERE id % 3 = 0");
        wanting.backfill("r", 50).await;
        assert_eq!(wanting.evolve.count_missing().await.unwrap(), 0, "{kind:?} {value}");
        let records = wanting.records().await;
        assert_eq!(records.len(), 208);
        for (key, record) in records {
            let expected = wanting.fill.value(&record).unwrap();
            assert_eq!(record.get(&wanting.column), Some(&expected), "{kind:?}, {value}, record {key:?}: {record:?}");
        }
        assert_eq!(wanting.evolve.count_chosen().await.unwrap(), 0, "{kind:?} {value}: nobody chose anything");
        wanting.stage(Stage::Remove).await;
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
