//! That a plan's statements are those that are run, and that its copy is one.

use shearwater_core::evolve::{CopyPlace, FillCheckpoint, Stage};

use crate::place::{KINDS, Kind, Place};

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''', fallback = \"ACTIVE\" }";

/// A column that no other test adds: the server's log is everybody's.
const COLUMN: &str = "planned_status";

const ROWS_PER_BATCH: u64 = 50;

#[tokio::test]
async fn what_mariadb_is_told_to_run_is_what_the_plan_prints() {
    let place = Place::new(Kind::Mariadb);
    place.fill_with_nasty();
    let wanting = place.wanting(COLUMN, "text", BY_ACTIVITY).await;
    place.run("SET GLOBAL log_output = 'TABLE'");
    place.run("SET GLOBAL general_log = 1");
    let mut printed = Vec::new();
    for stage in [Stage::Expand, Stage::Enforce, Stage::Contract, Stage::Complete] {
        printed.extend(wanting.evolve.statements(stage).await.unwrap().into_iter().map(|s| s.sql));
        wanting.stage(stage).await;
        if stage == Stage::Expand {
            let range = wanting.evolve.fill_ranges(1).await.unwrap().remove(0);
            printed.push(wanting.evolve.fill_statement(&range, ROWS_PER_BATCH).await.unwrap().sql);
            assert_eq!(wanting.backfill("run", ROWS_PER_BATCH).await, 208);
        }
    }
    place.run("SET GLOBAL general_log = 0");
    let log = place.rows("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log");
    let run: Vec<&str> = log.iter().filter_map(|row| row[0].as_deref()).collect();
    for sql in &printed {
        assert!(run.contains(&sql.as_str()), "it is in the plan, and was never run: {sql}");
    }
    let ours = |sql: &&&str| sql.contains(COLUMN) && ["ALTER", "CREATE"].iter().any(|verb| sql.starts_with(verb));
    for sql in run.iter().filter(ours) {
        assert!(printed.iter().any(|known| known == sql), "it was run, and is not in the plan: {sql}");
    }
    let filling = run.iter().filter(|sql| sql.starts_with("UPDATE") && sql.contains(COLUMN) && sql.contains('?'));
    assert!(filling.count() > 0);
}

#[tokio::test]
async fn a_backfill_of_postgres_is_printed_with_its_blocks() {
    let place = Place::new(Kind::Postgres);
    place.fill_with_nasty();
    let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
    let range = wanting.evolve.fill_ranges(1).await.unwrap().remove(0);
    let printed = wanting.evolve.fill_statement(&range, 60).await.unwrap();
    wanting.stage(Stage::Expand).await;
    // Run as it stands it fills what one batch fills.
    place.run(&printed.sql);
    let filled = place.rows("SELECT count(*) FROM users WHERE status IS NOT NULL")[0][0].clone().unwrap();
    assert!(printed.sql.contains("ctid >= '(0,0)'::tid AND ctid < '(1,0)'::tid"), "{}", printed.sql);
    assert!((1..208).contains(&filled.parse::<u64>().unwrap()), "{filled}: one batch, not the table");
    assert_eq!(wanting.backfill("run", 60).await, 208 - filled.parse::<u64>().unwrap());
}

/// Each row is written again, and the room of its old version is used by those
/// that come after: the table does not grow twofold.
#[tokio::test]
async fn a_backfill_of_postgres_uses_the_room_that_it_leaves() {
    let place = Place::new(Kind::Postgres);
    place.run("ALTER TABLE users SET (autovacuum_enabled = off)");
    place.run("INSERT INTO users (id, name, active) SELECT n, 'somebody ' || n, true FROM generate_series(1, 20000) n");
    let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
    let range = wanting.evolve.fill_ranges(1).await.unwrap().remove(0);
    let told = wanting.evolve.fill_statement(&range, 1_000).await.unwrap().bounds;
    let told = told.split(": ").last().unwrap();
    assert!(told.starts_with("VACUUM"), "{told}");
    place.run(told);
    wanting.stage(Stage::Expand).await;
    let blocks =
        || place.rows("SELECT pg_relation_size('users') / 8192")[0][0].clone().unwrap().parse::<u64>().unwrap();
    let before = blocks();
    let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
    while !at.done {
        at = wanting.evolve.fill("run", &range, &at, 1_000).await.unwrap();
        wanting.evolve.tidy().await.unwrap();
    }
    assert_eq!(at.filled, 20_000);
    assert!(blocks() < before * 13 / 10, "{before} blocks became {}", blocks());
}

#[tokio::test]
async fn a_copy_has_some_rows_and_the_indexes_and_leaves_the_table_alone() {
    for kind in KINDS {
        let place = Place::new(kind);
        place.fill_with_nasty();
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        let folder = tempfile::tempdir().unwrap();
        let to = match kind {
            Kind::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("copy.db").display());
                CopyPlace { url, table: "users".to_owned() }
            }
            _ => CopyPlace { url: place.url.clone(), table: "copied".to_owned() },
        };
        let before = place.rows("SELECT * FROM users ORDER BY id");
        assert_eq!(wanting.evolve.copy(&to, 100).await.unwrap(), 100, "{kind:?}");
        assert_eq!(place.rows("SELECT * FROM users ORDER BY id"), before, "{kind:?}");
        let (rows, indexes) = match kind {
            Kind::Sqlite => {
                let conn = rusqlite::Connection::open(folder.path().join("copy.db")).unwrap();
                let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().to_string();
                (
                    count("SELECT count(*) FROM users"),
                    count("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"),
                )
            }
            _ => {
                let count = |sql: &str| place.rows(sql)[0][0].clone().unwrap();
                let indexes = match kind {
                    Kind::Postgres => "SELECT count(*) - 1 FROM pg_index WHERE indrelid = 'copied'::regclass",
                    _ => {
                        "SELECT COUNT(DISTINCT index_name) - 1 FROM information_schema.statistics \
                          WHERE table_schema = DATABASE() AND table_name = 'copied'"
                    }
                };
                (count("SELECT count(*) FROM copied"), count(indexes))
            }
        };
        assert_eq!((rows.as_str(), indexes.as_str()), ("100", "1"), "{kind:?}: the index on age is there too");
    }
}
