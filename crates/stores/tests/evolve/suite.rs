//! The life of a field, there and back, with an outdated program that writes
//! all the time; and every statement run from every place where a kill may
//! have left it.

use shearwater_core::evolve::*;
use shearwater_core::{Key, Value};

use crate::place::*;

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }";

const BY_STATE: &str = "{ sql = '''CASE WHEN active THEN 'active' ELSE 'blocked' END''' }";

/// What an outdated program does, and a new one that chooses its value.
fn outdated_writes(place: &Place, id: u64) -> Result<(), String> {
    let (yes, no) = if place.kind == Kind::Postgres { ("true", "false") } else { ("1", "0") };
    place.try_run(&format!(
        "INSERT INTO users (id, name, active) VALUES ({id}, 'old', {yes}), ({}, 'old', {no})",
        id + 1
    ))?;
    place.try_run(&format!("UPDATE users SET age = 5 WHERE id = {id}"))
}

fn value(place: &Place, id: u64) -> Option<String> {
    place.rows(&format!("SELECT status FROM users WHERE id = {id}")).remove(0).remove(0)
}

async fn life(kind: Kind, value_text: &str) {
    let place = Place::new(kind);
    place.fill_with_nasty();
    let before = place.schema();
    let wanting = place.wanting("status", "text", value_text).await;
    let evolve = &wanting.evolve;
    let is_constant = evolve.needs_no_backfill();
    assert_eq!(evolve.look().await.unwrap(), Look::default());
    assert!(!evolve.hazards().await.unwrap().is_empty());
    for round in 0..2_u64 {
        let why = format!("{kind:?}, {value_text}, round {round}");
        let id = 1_000 + round * 100;
        wanting.stage(Stage::Expand).await;
        outdated_writes(&place, id).unwrap();
        place.run(&format!("UPDATE users SET status = NULL WHERE id = {id}"));
        assert_eq!(value(&place, id).as_deref(), Some("ACTIVE"), "{why}: an explicit NULL");
        let inactive = if is_constant { "ACTIVE" } else { "INACTIVE" };
        assert_eq!(value(&place, id + 1).as_deref(), Some(inactive), "{why}: a field left out");
        let seen = evolve.outdated().await.unwrap();
        match (kind, is_constant) {
            (Kind::Sqlite | Kind::Mariadb, true) => assert_eq!(seen, None, "{why}: the column itself fills"),
            _ => assert!(seen.is_some_and(|seen| seen.seen > 0 && seen.last_ms_ago.is_some()), "{why}: {seen:?}"),
        }
        place.run("UPDATE users SET status = 'CHOSEN' WHERE id IN (1, 2)");
        assert_eq!(evolve.chosen(&[Key::single(1i64), Key::single(3i64)]).await.unwrap(), [true, false], "{why}");
        assert_eq!(evolve.count_chosen().await.unwrap(), 2, "{why}");
        if is_constant {
            assert_eq!(evolve.count_missing().await.unwrap(), 0, "{why}: complete at once");
        } else {
            let missing = evolve.count_missing().await.unwrap();
            assert_eq!(wanting.backfill(&format!("run{round}"), 37).await, missing, "{why}");
            assert_eq!(evolve.count_missing().await.unwrap(), 0, "{why}");
        }
        assert_eq!(value(&place, 1).as_deref(), Some("CHOSEN"), "{why}: what a client set is not overwritten");
        wanting.stage(Stage::Enforce).await;
        outdated_writes(&place, id + 10).unwrap_or_else(|e| panic!("{why}: outdated clients go on in enforce: {e}"));
        assert!(value(&place, id + 10).is_some(), "{why}");
        wanting.stage(Stage::Contract).await;
        assert!(evolve.look().await.unwrap().not_null, "{why}");
        assert!(outdated_writes(&place, id + 20).is_err(), "{why}: nothing fills the field any more");
        place.run("UPDATE users SET age = 6 WHERE id = 1");
        wanting.stage(Stage::Back).await;
        outdated_writes(&place, id + 30).unwrap_or_else(|e| panic!("{why}: the way back serves outdated clients: {e}"));
        assert_eq!(value(&place, id + 30).as_deref(), Some("ACTIVE"), "{why}");
        assert_eq!(value(&place, 1).as_deref(), Some("CHOSEN"), "{why}: the way back loses no value");
        wanting.stage(Stage::Remove).await;
        assert_eq!(place.schema(), before, "{why}: the schema is as a dump before the start");
    }
    for stage in [Stage::Expand, Stage::Contract, Stage::Complete] {
        if stage == Stage::Contract {
            wanting.backfill("last", 1_000).await;
        }
        wanting.stage(stage).await;
    }
    let left = place.schema().join("\n");
    assert!(!left.contains("shearwater"), "{kind:?}: nothing of ours is left: {left}");
}

/// Plays a stage cut after each of its statements, and again from its beginning.
async fn cut_anywhere(kind: Kind) {
    let place = Place::new(kind);
    place.fill_with_nasty();
    let before = place.schema();
    let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
    let stages = [Stage::Expand, Stage::Enforce, Stage::Contract, Stage::Back, Stage::Remove];
    for cut in 0..4 {
        for stage in stages {
            for what in wanting.evolve.alterations(stage).into_iter().take(cut) {
                wanting.evolve.try_to(what, PATIENCE, 1_000).await.unwrap();
            }
            // Another process takes over; it has seen nothing.
            let other = place.wanting("status", "text", BY_ACTIVITY).await;
            for what in other.evolve.alterations(stage) {
                assert!(matches!(other.evolve.try_to(what, PATIENCE, 1_000).await, Ok(Try::Made { .. })), "{what:?}");
            }
            if stage == Stage::Expand {
                other.backfill(&format!("cut{cut}"), 100).await;
            }
        }
        assert_eq!(place.schema(), before, "{kind:?}, cut after {cut}");
    }
}

#[tokio::test]
async fn a_constant_lives_on_sqlite() {
    life(Kind::Sqlite, "\"ACTIVE\"").await;
}

#[tokio::test]
async fn an_expression_lives_on_sqlite() {
    life(Kind::Sqlite, BY_ACTIVITY).await;
}

#[tokio::test]
async fn a_constant_lives_on_postgres() {
    life(Kind::Postgres, "\"ACTIVE\"").await;
}

#[tokio::test]
async fn an_expression_lives_on_postgres() {
    life(Kind::Postgres, BY_ACTIVITY).await;
}

#[tokio::test]
async fn a_constant_lives_on_mariadb() {
    life(Kind::Mariadb, "\"ACTIVE\"").await;
}

#[tokio::test]
async fn an_expression_lives_on_mariadb() {
    life(Kind::Mariadb, BY_ACTIVITY).await;
}

#[tokio::test]
async fn every_stage_is_resumed_from_every_statement() {
    for kind in KINDS {
        cut_anywhere(kind).await;
    }
}

#[tokio::test]
async fn a_backfill_goes_on_at_its_checkpoint_and_skips_what_is_filled() {
    for kind in KINDS {
        let place = Place::new(kind);
        place.fill_with_nasty();
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        wanting.stage(Stage::Expand).await;
        let ranges = wanting.evolve.fill_ranges(1).await.unwrap();
        assert_eq!(ranges.len(), 1);
        let start = FillCheckpoint::default();
        let first = wanting.evolve.fill("r", &ranges[0], &start, 60).await.unwrap();
        assert!(first.filled > 0, "{kind:?} {first:?}");
        // Killed here: the next process asks where it was.
        let found = wanting.evolve.fill_checkpoints("r").await.unwrap();
        assert_eq!(found, std::slice::from_ref(&first), "{kind:?}");
        // The same batch again, as after a commit whose answer was lost.
        let again = wanting.evolve.fill("r", &ranges[0], &start, 60).await.unwrap();
        assert_eq!(again.filled, 0, "{kind:?}: it skips what is filled");
        // Rows that come meanwhile are the write default's, and beyond the bound.
        outdated_writes(&place, 5_000).unwrap();
        let mut at = found[0].clone();
        while !at.done {
            at = wanting.evolve.fill("r", &ranges[0], &at, 60).await.unwrap();
        }
        assert_eq!(at.filled, 208, "{kind:?}: the bound is fixed at the start");
    }
}

#[tokio::test]
async fn a_row_that_stands_in_the_way_is_named_and_nothing_stays_behind() {
    // SQLite finds it in the rebuild, which rolls back as a whole.
    for (kind, stage, what) in [
        (Kind::Sqlite, Stage::Contract, Alteration::DropWriteDefault),
        (Kind::Postgres, Stage::Enforce, Alteration::ValidateCheck),
        (Kind::Mariadb, Stage::Enforce, Alteration::SetNotNull),
    ] {
        let place = Place::new(kind);
        place.fill_with_nasty();
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        wanting.stage(Stage::Expand).await;
        let schema = place.schema();
        for step in wanting.evolve.alterations(stage) {
            let tried = wanting.evolve.try_to(step, PATIENCE, 1_000).await.unwrap();
            if step != what {
                assert!(matches!(tried, Try::Made { .. }), "{step:?} {tried:?}");
                continue;
            }
            let Try::Violated(keys) = tried else { panic!("{kind:?}: {tried:?}") };
            assert!(keys.contains(&Key::composite(vec![Value::Int(1)])), "{kind:?}: {keys:?}");
            break;
        }
        wanting.evolve.try_to(Alteration::DropCheck, PATIENCE, 1_000).await.unwrap();
        assert_eq!(place.schema(), schema, "{kind:?}: the check is not left behind");
        place.run("UPDATE users SET age = 1 WHERE id = 1");
    }
}

#[tokio::test]
async fn declared_values_are_held_from_enforce_on_and_what_stands_in_their_way_is_named() {
    for (kind, value) in KINDS.iter().flat_map(|kind| [(*kind, "\"active\""), (*kind, BY_STATE)]) {
        let place = Place::new(kind);
        place.fill_with_nasty();
        let before = place.schema();
        let wanting = place.wanting("status", "text active blocked", value).await;
        let why = format!("{kind:?}, {value}");
        let other = "UPDATE users SET status = 'other' WHERE id = 1";
        // SQLite has no check before the rebuild that makes the column NOT NULL.
        let stage = if kind == Kind::Sqlite { Stage::Contract } else { Stage::Enforce };
        wanting.stage(Stage::Expand).await;
        wanting.backfill("r", 100).await;
        if kind == Kind::Mariadb {
            // An enumeration refuses at once, also in a session without strict mode: the triggers have their own.
            assert!(place.try_run(other).is_err(), "{why}");
            assert!(place.try_run(&format!("SET sql_mode = ''; {other}")).is_err(), "{why}");
            wanting.stage(stage).await;
            assert!(place.try_run(other).is_err(), "{why}");
            wanting.stage(Stage::Back).await;
            wanting.stage(Stage::Remove).await;
            assert_eq!(place.schema(), before, "{why}");
            continue;
        }
        place.run(other);
        let mut violated = None;
        for what in wanting.evolve.alterations(stage) {
            match wanting.evolve.try_to(what, PATIENCE, 1_000).await.unwrap() {
                Try::Made { .. } => {}
                Try::Violated(keys) => violated = violated.or(Some((what, keys))),
                Try::Busy(who) => panic!("{why}: {who:?}"),
            }
        }
        let (what, keys) = violated.unwrap_or_else(|| panic!("{why}: nothing stood in the way"));
        assert_eq!(keys, [Key::single(1i64)], "{why}: {what:?}");
        wanting.evolve.try_to(Alteration::DropValues, PATIENCE, 1_000).await.unwrap();
        place.run("UPDATE users SET age = 6 WHERE id = 1");
        place.run("UPDATE users SET status = 'blocked' WHERE id = 1");
        wanting.stage(stage).await;
        assert!(place.try_run(other).is_err(), "{why}: the store holds writers to the declared values");
        assert!(place.try_run("UPDATE users SET status = 'Active' WHERE id = 1").is_err(), "{why}: by their bytes");
        place.run("UPDATE users SET status = 'active' WHERE id = 1");
        wanting.stage(Stage::Back).await;
        place.run(other);
        wanting.stage(Stage::Remove).await;
        assert_eq!(place.schema(), before, "{why}");
    }
}

#[tokio::test]
async fn a_column_of_the_users_own_is_refused() {
    for kind in KINDS {
        let place = Place::new(kind);
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        place.run("ALTER TABLE users ADD COLUMN status varchar(20)");
        let told = wanting.evolve.hazards().await.unwrap_err();
        assert!(told.message.contains("already") && told.hint.is_some(), "{kind:?}: {told}");
    }
}

#[tokio::test]
async fn a_plan_says_of_each_statement_what_it_costs() {
    for kind in KINDS {
        let place = Place::new(kind);
        place.fill_with_nasty();
        let wanting = place.wanting("status", "text", BY_ACTIVITY).await;
        let before = place.schema();
        for stage in Stage::ALL {
            let statements = wanting.evolve.statements(stage).await.unwrap();
            let made: Vec<Alteration> = statements.iter().map(|statement| statement.what).collect();
            for what in wanting.evolve.alterations(stage) {
                assert!(made.contains(&what), "{kind:?} {stage:?}: {what:?} is not in the plan");
            }
            assert!(statements.iter().all(|s| !s.sql.is_empty() && !s.lock.is_empty() && s.expected_ms > 0));
        }
        assert_eq!(place.schema(), before, "{kind:?}: a plan writes nothing");
    }
}
