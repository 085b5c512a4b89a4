//! What `plan` and `init` are told.

use shearwater_core::shape::FieldType;
use shearwater_core::store::*;
use shearwater_testbed::mariadb;

async fn inspected(sql: &[&str]) -> Inspection {
    let url = mariadb().database("seen");
    mariadb().run(&url, sql);
    shearwater_stores::inspect(&url).await.unwrap()
}

fn of<'i>(inspection: &'i Inspection, table: &str) -> &'i InspectedTable {
    inspection.tables.iter().find(|t| t.name == table).unwrap()
}

#[tokio::test]
async fn columns_with_their_types_and_bounds() {
    let inspection = inspected(&["CREATE TABLE t (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        tiny TINYINT, flag TINYINT(1) NOT NULL DEFAULT 1, bits BIT(5), y YEAR, f FLOAT, d DOUBLE,
        price DECIMAL(10,2), amount DECIMAL(5,0) UNSIGNED, name VARCHAR(40) COLLATE utf8mb4_general_ci,
        plain VARCHAR(40) COLLATE utf8mb4_nopad_bin, latin CHAR(3) CHARACTER SET latin1,
        long_text LONGTEXT, kind ENUM('a','it''s'), tags SET('x','y'), raw BINARY(4), blob1 VARBINARY(9),
        born DATE, at TIME(3), made DATETIME(6), stamp TIMESTAMP(0) NULL, j JSON, u UUID, net INET6, place POINT,
        twice INT GENERATED ALWAYS AS (tiny * 2) VIRTUAL)"])
    .await;
    let table = of(&inspection, "t");
    assert!(inspection.product.starts_with("MariaDB "), "{}", inspection.product);
    assert_eq!(table.key, ["id"]);
    let check = |name: &str, ty: FieldType, expect: Bounds| {
        let column = table.columns.iter().find(|c| c.name == name).unwrap();
        assert_eq!((column.ty, &column.bounds), (Some(ty), &expect), "{name}");
        column
    };
    let none = Bounds::default;
    let integers = |low, high| Bounds { integers: Some((low, high)), ..none() };
    let id = check("id", FieldType::Int, integers(0, u64::MAX));
    assert!(id.identity && !id.nullable && id.renumber.is_none());
    check("tiny", FieldType::Int, integers(-128, 127));
    assert_eq!(check("flag", FieldType::Bool, integers(-128, 127)).default.as_deref(), Some("1"));
    check("bits", FieldType::Int, integers(0, 31));
    check("y", FieldType::Int, integers(0, 2_155));
    check("f", FieldType::Float, none());
    check("d", FieldType::Float, none());
    check("price", FieldType::Decimal, Bounds { digits: Some((10, 2)), ..none() });
    check("amount", FieldType::Decimal, Bounds { digits: Some((5, 0)), ..integers(0, u64::MAX) });
    let chars = |n| Bounds { chars_max: Some(n), ..none() };
    let name = check("name", FieldType::Text, chars(40));
    assert!(name.folds && name.collation.as_deref() == Some("utf8mb4_general_ci"));
    let plain = check("plain", FieldType::Text, chars(40));
    assert!(!plain.folds && plain.collation.is_none());
    check("latin", FieldType::Text, Bounds { charset: Some("latin1".into()), ..chars(3) });
    check("long_text", FieldType::Text, Bounds { bytes_max: Some(u64::from(u32::MAX)), ..none() });
    check("kind", FieldType::Text, Bounds { labels: Some(vec!["a".into(), "it's".into()]), ..none() });
    check("tags", FieldType::Text, none());
    let bytes = |n| Bounds { bytes_max: Some(n), ..none() };
    check("raw", FieldType::Bytes, bytes(4));
    check("blob1", FieldType::Bytes, bytes(9));
    let fraction = |n| Bounds { fraction_digits: Some(n), ..none() };
    check("born", FieldType::Date, none());
    check("at", FieldType::Time, fraction(3));
    check("made", FieldType::Timestamp, fraction(6));
    check("stamp", FieldType::Instant, fraction(0));
    check("j", FieldType::Json, bytes(u64::from(u32::MAX)));
    check("u", FieldType::Uuid, none());
    check("net", FieldType::Text, none());
    check("place", FieldType::Extended, none());
    assert!(check("twice", FieldType::Int, integers(-2_147_483_648, 2_147_483_647)).generated);
}

#[tokio::test]
async fn keys_and_what_refers_to_what() {
    let inspection = inspected(&[
        "CREATE TABLE teams (a INT, b INT, PRIMARY KEY (b, a))",
        "CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(90), nick VARCHAR(90), a INT, b INT, boss INT,
            UNIQUE by_email (email), UNIQUE beginning (nick(5)), UNIQUE both_ (a, id),
            CONSTRAINT in_team FOREIGN KEY (b, a) REFERENCES teams (b, a) ON DELETE SET NULL,
            CONSTRAINT has_boss FOREIGN KEY (boss) REFERENCES users (id))",
        "CREATE TABLE keyless (a INT)",
        "CREATE TABLE old (a INT PRIMARY KEY) ENGINE=MyISAM",
        "CREATE VIEW seen AS SELECT * FROM keyless",
    ])
    .await;
    assert_eq!(of(&inspection, "teams").key, ["b", "a"]);
    let users = of(&inspection, "users");
    let mut unique = users.unique.clone();
    unique.sort();
    assert_eq!(unique, [vec!["a", "id"], vec!["email"]], "an index over a beginning identifies nothing");
    let key = |name: &str| users.foreign_keys.iter().find(|key| key.name == name).unwrap();
    let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let team = key("in_team");
    assert_eq!((&team.columns, &team.references), (&words(&["b", "a"]), &words(&["b", "a"])));
    assert_eq!((team.table.as_str(), team.cascades), ("teams", true));
    let boss = key("has_boss");
    assert_eq!((boss.table.as_str(), boss.cascades), ("users", false));
    assert!(of(&inspection, "keyless").hazards.iter().any(|hazard| hazard.contains("no key")));
    let told = |what: &str| inspection.hazards.iter().any(|hazard| hazard.contains(what));
    assert!(told("MyISAM") && told("\"seen\" is a view"), "{:?}", inspection.hazards);
    assert!(inspection.tables.iter().all(|table| table.name != "seen"));
}
