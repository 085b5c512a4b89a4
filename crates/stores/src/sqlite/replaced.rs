//! Capturing rows that the write of another row removes: `INSERT OR REPLACE`
//! and `UPDATE OR REPLACE` delete whatever holds the new row's unique values,
//! and tell no trigger of it.
//!
//! So a trigger *before* the write marks the rows that hold them under other
//! keys, in the writer's own transaction. A plain statement that conflicts
//! aborts, and takes its marks back with it; where the rows stay all the same
//! (`OR IGNORE`, `OR FAIL`) the marks do no harm: what is marked is read again.
//! The unique indexes are those of the day on which the sidecar is installed.

use rusqlite::Connection;
use shearwater_core::error::StoreResult;

use super::error::store_error;
use super::tables::{RESERVED_PREFIX, Tables, foreign_name, list, literal, mark_key_columns, marks_name, quoted};
use super::triggers::Trigger;

/// A unique index over plain columns and all rows: each column with its collation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unique(Vec<(String, String)>);

impl Unique {
    /// Whether rows that it takes for equal have the same record key: those are
    /// marked under the new row's own.
    fn holds(&self, key: &[String]) -> bool {
        let is_exact = |k: &String| {
            self.0
                .iter()
                .any(|(column, collation)| column.eq_ignore_ascii_case(k) && collation.eq_ignore_ascii_case("BINARY"))
        };
        key.iter().all(is_exact)
    }

    /// Whether `r` holds the new row's values. NULL is equal to nothing.
    fn conflict(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(column, collation)| format!("r.{0} COLLATE {1} = NEW.{0}", quoted(column), quoted(collation)))
            .collect();
        parts.join(" AND ")
    }
}

/// The unique indexes of a table that a trigger can ask, its primary key among them.
pub(super) fn uniques(conn: &Connection, table: &str) -> StoreResult<Vec<Unique>> {
    let failed = |e| store_error("reading the table's unique indexes", e);
    let indexes: Vec<(String, String)> = conn
        .prepare("SELECT name, origin FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND partial = 0 ORDER BY name")
        .and_then(|mut s| s.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(failed)?;
    let mut found = Vec::new();
    for (index, _) in &indexes {
        let columns: Vec<(Option<String>, String)> = conn
            .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")
            .and_then(|mut s| s.query_map([index], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .map_err(failed)?;
        // An expression has no name.
        let named = columns.into_iter().map(|(name, collation)| name.map(|name| (name, collation)));
        found.extend(named.collect::<Option<Vec<_>>>().map(Unique));
    }
    // An INTEGER PRIMARY KEY has no index of its own.
    if !indexes.iter().any(|(_, origin)| origin == "pk") {
        let key: Vec<String> = conn
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0")
            .and_then(|mut s| s.query_map([table], |row| row.get(0))?.collect())
            .map_err(failed)?;
        if let [column] = key.as_slice() {
            found.push(Unique(vec![(column.clone(), "BINARY".to_owned())]));
        }
    }
    Ok(found)
}

/// The names of a table's triggers of this kind, made or not.
pub(super) fn names(table: &str) -> [String; 2] {
    ["inserting", "updating"].map(|event| format!("{RESERVED_PREFIX}{table}_{event}"))
}

/// One table of a layout.
pub(super) struct Replaced<'a> {
    /// The layout.
    pub(super) tables: &'a Tables,
    /// The table.
    pub(super) table: &'a str,
    /// Its columns that hold the record's key.
    pub(super) key: &'a [String],
    /// Its unique indexes.
    pub(super) uniques: &'a [Unique],
}

impl Replaced<'_> {
    /// The triggers that this table needs.
    pub(super) fn triggers(&self) -> Vec<Trigger> {
        let others: Vec<&Unique> = self.uniques.iter().filter(|unique| !unique.holds(self.key)).collect();
        let [inserting, updating] = names(self.table);
        let mut made = Vec::new();
        let (mut wanted, mut body) = (Vec::new(), Vec::new());
        if self.table == self.tables.name {
            let (is_parked, forget) = self.forget_parked();
            wanted.push(is_parked);
            body.push(forget);
        }
        let conflicts = |not: &[&str]| -> Vec<String> {
            others.iter().map(|unique| format!("{}{}", unique.conflict(), self.another_than(not))).collect()
        };
        for conflict in conflicts(&["NEW"]) {
            wanted.push(self.exists(&conflict));
            body.push(self.mark(&conflict));
        }
        if !body.is_empty() {
            made.push(self.trigger(&inserting, "INSERT", &wanted, &body));
        }
        if !others.is_empty() {
            let mut columns: Vec<String> =
                others.iter().flat_map(|unique| unique.0.iter().map(|(column, _)| column.clone())).collect();
            columns.sort_unstable();
            columns.dedup();
            let conflicts = conflicts(&["NEW", "OLD"]);
            let wanted: Vec<String> = conflicts.iter().map(|conflict| self.exists(conflict)).collect();
            let body: Vec<String> = conflicts.iter().map(|conflict| self.mark(conflict)).collect();
            made.push(self.trigger(&updating, &format!("UPDATE OF {}", list(&columns)), &wanted, &body));
        }
        made
    }

    fn trigger(&self, name: &str, event: &str, wanted: &[String], body: &[String]) -> Trigger {
        let sql = format!(
            "CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW \
             WHEN (SELECT applying FROM _shearwater_state WHERE tbl = {tbl}) = 0 AND ({wanted}) BEGIN {body}END",
            name = quoted(name),
            table = quoted(self.table),
            tbl = literal(&self.tables.name),
            wanted = wanted.join(" OR "),
            body = body.concat(),
        );
        Trigger { sql }
    }

    fn exists(&self, conflict: &str) -> String {
        format!("EXISTS (SELECT 1 FROM {} r WHERE {conflict})", quoted(self.table))
    }

    /// A condition that `r` has another record key than each of these rows: the
    /// triggers after the write mark theirs.
    fn another_than(&self, rows: &[&str]) -> String {
        let differs = |row: &&str| {
            let parts: Vec<String> = self.key.iter().map(|k| format!("r.{0} IS NOT {row}.{0}", quoted(k))).collect();
            format!(" AND ({})", parts.join(" OR "))
        };
        rows.iter().map(differs).collect()
    }

    /// Marks the records of the rows in conflict as authority, notes them as
    /// foreign as follower. What is parked stays: the row may stay as well.
    fn mark(&self, conflict: &str) -> String {
        let tbl = literal(&self.tables.name);
        let keys = list(&mark_key_columns(self.key.len()));
        let cells: Vec<String> = self.key.iter().map(|k| format!("r.{}", quoted(k))).collect();
        let is_key: String = cells.iter().map(|c| format!(" AND {c} IS NOT NULL")).collect();
        let (cells, conflict) = (cells.join(", "), format!("{conflict}{is_key}"));
        let rows = format!("FROM {} r, _shearwater_state s WHERE s.tbl = {tbl}", quoted(self.table));
        let marks = quoted(&marks_name(&self.tables.name));
        let foreign = quoted(&foreign_name(&self.tables.name));
        format!(
            "UPDATE _shearwater_state SET counter = counter + 1 WHERE tbl = {tbl} AND role = 'authority' AND {exists}; \
             INSERT INTO {marks} ({keys}, epoch, counter, dirty, parked) \
             SELECT {cells}, s.epoch, s.counter, 1, NULL {rows} AND s.role = 'authority' AND {conflict} \
             ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = excluded.counter, dirty = 1; \
             INSERT INTO {foreign} ({keys}) SELECT {cells} {rows} AND s.role = 'follower' AND {conflict} \
             ON CONFLICT ({keys}) DO NOTHING; ",
            exists = self.exists(&conflict),
        )
    }

    /// What was parked with a record goes when another one is made under its
    /// key: a row that was removed as above left it behind. Whether there is
    /// something, and the statement.
    fn forget_parked(&self) -> (String, String) {
        let marks = quoted(&marks_name(&self.tables.name));
        let mark_key = mark_key_columns(self.key.len());
        let of_new: Vec<String> = mark_key
            .iter()
            .zip(self.key)
            .map(|(k, column)| format!("{} = +NEW.{}", quoted(k), quoted(column)))
            .collect();
        let there: Vec<String> = self.key.iter().map(|k| format!("r.{0} = NEW.{0}", quoted(k))).collect();
        let parked = format!("{} AND parked IS NOT NULL", of_new.join(" AND "));
        let forget = format!(
            "UPDATE {marks} SET parked = NULL WHERE {parked} AND NOT {there} AND EXISTS \
             (SELECT 1 FROM _shearwater_state WHERE tbl = {tbl} AND role = 'authority'); ",
            there = self.exists(&there.join(" AND ")),
            tbl = literal(&self.tables.name),
        );
        (format!("EXISTS (SELECT 1 FROM {marks} WHERE {parked})"), forget)
    }
}
