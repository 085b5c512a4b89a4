//! Each hazard that a plan tells, and that it is true.

use shearwater_core::evolve::Stage;

use crate::place::{KINDS, Kind, Place};

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''', fallback = \"ACTIVE\" }";

async fn told(place: &Place, value: &str) -> Vec<String> {
    place.wanting("status", "text", value).await.evolve.hazards().await.unwrap()
}

async fn tells(place: &Place, value: &str, words: &str) {
    let told = told(place, value).await;
    assert!(told.iter().any(|hazard| hazard.contains(words)), "{:?}: {words:?} is not told: {told:#?}", place.kind);
}

#[tokio::test]
async fn a_prepared_select_of_everything_meets_one_column_more() {
    for kind in KINDS {
        let place = Place::new(kind);
        tells(&place, BY_ACTIVITY, "prepared `SELECT *`").await;
        let prepared = |sql: &str| match kind {
            Kind::Sqlite => format!("{sql}; SELECT * FROM users"),
            Kind::Postgres => format!("PREPARE everything AS SELECT * FROM users; {sql}; EXECUTE everything"),
            Kind::Mariadb => format!("PREPARE everything FROM 'SELECT * FROM users'; {sql}; EXECUTE everything"),
        };
        if kind == Kind::Mariadb {
            // It prepares again by itself; the client has one column more, which no statement shows.
            continue;
        }
        let ended = place.try_run(&prepared("ALTER TABLE users ADD COLUMN other text"));
        assert_eq!(ended.is_err(), kind == Kind::Postgres, "{kind:?}: {ended:?}");
    }
}

#[tokio::test]
async fn an_insert_without_a_list_of_columns_ends_as_it_is_told() {
    for kind in KINDS {
        let place = Place::new(kind);
        let goes_on = kind == Kind::Postgres;
        tells(&place, BY_ACTIVITY, if goes_on { "of columns goes on" } else { "of columns fails once" }).await;
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        let active = if kind == Kind::Postgres { "true" } else { "1" };
        let insert = |id: u64| place.try_run(&format!("INSERT INTO users VALUES ({id}, 'a', 'b', {active}, 1)"));
        assert!(insert(1).is_ok(), "{kind:?}: before");
        wanting.stage(Stage::Expand).await;
        assert_eq!(insert(2).is_ok(), goes_on, "{kind:?}: after");
    }
}

#[tokio::test]
async fn what_replication_does_with_triggers_is_told() {
    for (kind, words) in [
        (Kind::Sqlite, "triggers switched off"),
        (Kind::Postgres, "logical replication fire the write default"),
        (Kind::Mariadb, "replicas in row format"),
    ] {
        tells(&Place::new(kind), BY_ACTIVITY, words).await;
    }
    let place = Place::new(Kind::Postgres);
    place.wanting("status", "text", BY_ACTIVITY).await.stage(Stage::Expand).await;
    place.run("SET session_replication_role = replica; INSERT INTO users (id, name, active) VALUES (1, 'a', false)");
    assert_eq!(place.rows("SELECT status FROM users"), [[Some("INACTIVE".to_owned())]], "as the apply of a subscriber");
}

#[tokio::test]
async fn other_readers_of_the_table_are_told() {
    for kind in KINDS {
        let place = Place::new(kind);
        tells(&place, BY_ACTIVITY, "sees NULL until the backfill has ended").await;
        tells(&place, "\"ACTIVE\"", "from the moment at which it is added").await;
        if kind == Kind::Sqlite {
            continue;
        }
        let views = |told: &[String]| told.iter().any(|hazard| hazard.starts_with("views that read the table: 1;"));
        assert!(!views(&told(&place, BY_ACTIVITY).await), "{kind:?}");
        place.run("CREATE VIEW everybody AS SELECT * FROM users");
        assert!(views(&told(&place, BY_ACTIVITY).await), "{kind:?}: a view of many columns is one view");
    }
}

#[tokio::test]
async fn triggers_of_the_users_own_are_told_and_ours_are_not() {
    for kind in KINDS {
        let place = Place::new(kind);
        let own = |told: &[String]| told.iter().any(|hazard| hazard.starts_with("triggers on the table, not ours: 1;"));
        place.wanting("status", "text", BY_ACTIVITY).await.stage(Stage::Expand).await;
        assert!(!told(&place, BY_ACTIVITY).await.iter().any(|hazard| hazard.starts_with("triggers on")), "{kind:?}");
        place.run(match kind {
            Kind::Sqlite => "CREATE TRIGGER mine AFTER INSERT ON users BEGIN SELECT 1; END",
            Kind::Postgres => {
                "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                 CREATE TRIGGER mine BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION mine()"
            }
            Kind::Mariadb => "CREATE TRIGGER mine BEFORE INSERT ON users FOR EACH ROW SET @mine = 1",
        });
        assert!(own(&told(&place, BY_ACTIVITY).await), "{kind:?}");
    }
}
