//! What the schema says of the column, and changing it: each change in one
//! transaction that waits for the writer's turn with a bound.

use std::time::Duration;

use rusqlite::Connection;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Alteration, Look};

use super::super::error::store_error;
use super::super::tables::quoted;
use super::rebuild;
use super::sql::Sql;

pub(super) fn drop_all_triggers(sql: &Sql) -> Vec<String> {
    let mut names = sql.fill_triggers();
    names.extend(sql.note_triggers());
    sql.drop_triggers(&names)
}

pub(super) fn drop_sidecar(sql: &Sql) -> Vec<String> {
    let mut texts = drop_all_triggers(sql);
    for name in [sql.chosen_name(), sql.fills_name(), sql.outdated_name()] {
        texts.push(format!("DROP TABLE IF EXISTS {}", quoted(&name)));
    }
    texts
}

/// What the schema says, with whether the column heals by itself now.
pub(super) struct Seen {
    pub(super) look: Look,
    pub(super) is_soft: bool,
    pub(super) traces: bool,
}

pub(super) fn seen(conn: &Connection, sql: &Sql) -> StoreResult<Seen> {
    let failed = |error| store_error("looking at the table", error);
    let text: Option<String> = conn
        .prepare_cached("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1")
        .and_then(|mut s| s.query_map([&sql.name], |row| row.get(0))?.next().transpose())
        .map_err(failed)?;
    let Some(text) = text else {
        let what = format!("SQLite: there is no table {:?}", sql.name);
        return Err(StoreError::new(StoreErrorKind::NotFound, what).with_hint("check the table in the spec"));
    };
    let column: Option<(String, bool)> = conn
        .prepare_cached("SELECT type, \"notnull\" FROM pragma_table_xinfo(?1) WHERE name = ?2")
        .and_then(|mut s| {
            s.query_map([&sql.name, &sql.column_name], |row| Ok((row.get(0)?, row.get(1)?)))?.next().transpose()
        })
        .map_err(failed)?;
    let there = |ty: &str, names: &[String]| -> StoreResult<usize> {
        let mut found = 0_usize;
        for name in names {
            let count: u32 = conn
                .prepare_cached("SELECT count(*) FROM sqlite_schema WHERE type = ?1 AND name = ?2")
                .and_then(|mut s| s.query_row([ty, name], |row| row.get(0)))
                .map_err(failed)?;
            found += usize::from(count > 0);
        }
        Ok(found)
    };
    let tables = there("table", &[sql.chosen_name(), sql.fills_name(), sql.outdated_name()])?;
    let (fills, notes) = (there("trigger", &sql.fill_triggers())?, there("trigger", &sql.note_triggers())?);
    let all = fills == sql.fill_triggers().len() && notes == 2;
    let is_soft = rebuild::with_definition(&text, &sql.soft, "").is_some();
    let look = Look {
        not_null: column.as_ref().is_some_and(|(_, not_null)| *not_null),
        column: column.map(|(ty, _)| ty),
        write_default: all && is_soft,
        check: None,
        values: None,
        sidecar: tables == 3,
    };
    Ok(Seen { look, is_soft, traces: tables + fills + notes > 0 })
}

pub(super) fn is_made(what: Alteration, seen: &Seen) -> bool {
    match what {
        Alteration::AddSidecar => seen.look.sidecar,
        Alteration::AddColumn => seen.look.column.is_some(),
        Alteration::AddWriteDefault => seen.look.write_default,
        Alteration::DropWriteDefault => !seen.is_soft,
        Alteration::DropColumn => seen.look.column.is_none(),
        Alteration::DropSidecar => !seen.traces,
        Alteration::AddCheck
        | Alteration::ValidateCheck
        | Alteration::AddValues
        | Alteration::ValidateValues
        | Alteration::SetNotNull
        | Alteration::DropCheck
        | Alteration::DropValues
        | Alteration::DropNotNull => true,
    }
}

/// Runs work in a transaction that waits for the writer's turn so long.
pub(super) fn alone<T>(conn: &Connection, patience: Duration, work: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
    let failed = |error| store_error("beginning", error);
    conn.busy_timeout(patience).map_err(failed)?;
    conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    match work() {
        Ok(done) => {
            if let Err(error) = conn.execute_batch("COMMIT") {
                let _ = conn.execute_batch("ROLLBACK");
                return Err(store_error("committing", error));
            }
            Ok(done)
        }
        Err(error) => {
            let _ = conn.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

pub(super) fn alter(conn: &Connection, sql: &Sql, what: Alteration) -> StoreResult<()> {
    let run = |statements: Vec<String>| {
        statements
            .iter()
            .try_for_each(|text| conn.execute_batch(text).map_err(|error| store_error("altering the table", error)))
    };
    match what {
        Alteration::AddSidecar => run(sql.add_sidecar()),
        Alteration::AddColumn => run(vec![format!("ALTER TABLE {} ADD COLUMN {}", sql.table, sql.soft)]),
        Alteration::AddWriteDefault => {
            if !seen(conn, sql)?.is_soft {
                rebuild::rebuild(conn, sql, &sql.hard, &sql.soft)?;
            }
            run(sql.make_triggers())
        }
        Alteration::DropWriteDefault => {
            run(sql.drop_triggers(&sql.fill_triggers()))?;
            rebuild::rebuild(conn, sql, &sql.soft, &sql.hard)
        }
        Alteration::DropColumn => {
            run(drop_all_triggers(sql))?;
            run(vec![format!("ALTER TABLE {} DROP COLUMN {}", sql.table, sql.column)])
        }
        Alteration::DropSidecar => run(drop_sidecar(sql)),
        Alteration::AddCheck
        | Alteration::ValidateCheck
        | Alteration::AddValues
        | Alteration::ValidateValues
        | Alteration::SetNotNull
        | Alteration::DropCheck
        | Alteration::DropValues
        | Alteration::DropNotNull => Ok(()),
    }
}
