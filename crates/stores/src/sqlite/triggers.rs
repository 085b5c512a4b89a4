//! The triggers that capture every write, whoever makes it.
//!
//! They use built-in SQL only, so that they run in every program that opens
//! the file. They are silent while `applying` is set, which only our own
//! transactions set, and unset before they end.

use rusqlite::Connection;
use shearwater_core::error::StoreResult;

use super::error::RAISE_PREFIX;
use super::replaced::{self, Replaced};
use super::tables::{RESERVED_PREFIX, Tables, foreign_name, list, literal, mark_key_columns, marks_name, quoted};
use crate::relational::record_key_columns;

/// A trigger.
pub(super) struct Trigger {
    /// `CREATE TRIGGER …`.
    pub(super) sql: String,
}

/// What becomes of parked fields when a key is marked.
#[derive(Clone, Copy)]
enum Parked {
    /// They stay: who wrote the record does not know them (H13, H20).
    Stay,
    /// They go with the record.
    Drop,
    /// They come along from the record's old key.
    MoveHere,
}

/// Every trigger of a layout, for the unique indexes that its tables have now.
pub(super) fn triggers(conn: &Connection, tables: &Tables) -> StoreResult<Vec<Trigger>> {
    let mut made = Vec::new();
    for (table, key, deleted) in captured(tables) {
        let uniques = replaced::uniques(conn, &table)?;
        made.extend(Replaced { tables, table: &table, key: &key, uniques: &uniques }.triggers());
        let capture = Capture { tables, table, key };
        made.extend([capture.insert(), capture.update(deleted), capture.delete(deleted)]);
    }
    Ok(made)
}

/// The names of every trigger that a layout may have.
pub(super) fn trigger_names(tables: &Tables) -> Vec<String> {
    let of_table = |(table, _, _): (String, Vec<String>, Parked)| {
        let before = replaced::names(&table);
        let after = ["insert", "update", "delete"].map(|event| after_name(&table, event));
        before.into_iter().chain(after)
    };
    captured(tables).flat_map(of_table).collect()
}

fn after_name(table: &str, event: &str) -> String {
    format!("{RESERVED_PREFIX}{table}_{event}")
}

/// The tables of a layout, their columns with the record's key, and what
/// becomes of parked fields when one of their rows goes.
fn captured(tables: &Tables) -> impl Iterator<Item = (String, Vec<String>, Parked)> {
    let root = (tables.name.clone(), tables.tree.key.clone(), Parked::Drop);
    let children = tables
        .tree
        .children
        .iter()
        .map(|child| (child.shape.table.clone(), record_key_columns(&tables.tree.key), Parked::Stay));
    std::iter::once(root).chain(children)
}

struct Capture<'a> {
    tables: &'a Tables,
    table: String,
    key: Vec<String>,
}

impl Capture<'_> {
    fn insert(&self) -> Trigger {
        self.trigger("insert", &[self.mark("NEW", "", Parked::Stay)])
    }

    fn update(&self, old_key: Parked) -> Trigger {
        let moved: Vec<String> = self.key.iter().map(|k| format!("OLD.{0} IS NOT NEW.{0}", quoted(k))).collect();
        let moved = format!("({})", moved.join(" OR "));
        let not_moved = format!(" AND NOT {moved}");
        let moved = format!(" AND {moved}");
        let here = match old_key {
            Parked::Drop => Parked::MoveHere,
            other => other,
        };
        let body = [
            self.mark("NEW", &not_moved, Parked::Stay),
            self.mark("NEW", &moved, here),
            self.mark("OLD", &moved, old_key),
        ];
        self.trigger("update", &body)
    }

    fn delete(&self, parked: Parked) -> Trigger {
        self.trigger("delete", &[self.mark("OLD", "", parked)])
    }

    fn trigger(&self, event: &str, marks: &[String]) -> Trigger {
        let name = after_name(&self.table, event);
        let tbl = literal(&self.tables.name);
        let message = format!(
            "{RAISE_PREFIX} table {} is closed for writes: its records moved to another store",
            self.tables.name
        );
        let sql = format!(
            "CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW \
             WHEN (SELECT applying FROM _shearwater_state WHERE tbl = {tbl}) = 0 BEGIN \
             SELECT RAISE(ABORT, {message}) FROM _shearwater_state WHERE tbl = {tbl} AND role = 'closed'; \
             {marks}END",
            name = quoted(&name),
            event = event.to_uppercase(),
            table = quoted(&self.table),
            message = literal(&message),
            marks = marks.concat(),
        );
        Trigger { sql }
    }

    /// Stamps and dirty-marks the key of `row` (NEW or OLD) as authority, notes
    /// it as foreign as follower. A key with a NULL is no record's.
    fn mark(&self, row: &str, condition: &str, parked: Parked) -> String {
        let tbl = literal(&self.tables.name);
        let cells: Vec<String> = self.key.iter().map(|k| format!("{row}.{}", quoted(k))).collect();
        let is_key: String = cells.iter().map(|c| format!(" AND {c} IS NOT NULL")).collect();
        let is_key = format!("{is_key}{condition}");
        let mark_key = mark_key_columns(self.key.len());
        let (keys, cells) = (list(&mark_key), cells.join(", "));
        let marks = quoted(&marks_name(&self.tables.name));
        let foreign = quoted(&foreign_name(&self.tables.name));
        let (value, update) = match parked {
            Parked::Stay => ("NULL".to_owned(), ""),
            Parked::Drop => ("NULL".to_owned(), ", parked = NULL"),
            Parked::MoveHere => {
                let old: Vec<String> = mark_key
                    .iter()
                    .zip(&self.key)
                    .map(|(k, column)| format!("{} = +OLD.{}", quoted(k), quoted(column)))
                    .collect();
                let value = format!("(SELECT o.parked FROM {marks} o WHERE {})", old.join(" AND "));
                (value, ", parked = excluded.parked")
            }
        };
        format!(
            "UPDATE _shearwater_state SET counter = counter + 1 WHERE tbl = {tbl} AND role = 'authority'{is_key}; \
             INSERT INTO {marks} ({keys}, epoch, counter, dirty, parked) \
             SELECT {cells}, s.epoch, s.counter, 1, {value} FROM _shearwater_state s \
             WHERE s.tbl = {tbl} AND s.role = 'authority'{is_key} \
             ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = excluded.counter, \
             dirty = 1{update}; \
             INSERT INTO {foreign} ({keys}) SELECT {cells} FROM _shearwater_state s \
             WHERE s.tbl = {tbl} AND s.role = 'follower'{is_key} ON CONFLICT ({keys}) DO NOTHING; "
        )
    }
}
