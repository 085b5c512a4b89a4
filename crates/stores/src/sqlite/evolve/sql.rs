//! The column's definitions, the triggers, and the statements of each alteration.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::Wanted;
use shearwater_core::fill::FillClass;

use super::super::tables::{RESERVED_PREFIX, list, quoted};
use super::super::value::declared;
use super::words::{Prefixed, one_of};

/// Everything that is said about one column.
#[derive(Clone)]
pub(super) struct Sql {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) column_name: String,
    pub(super) column: String,
    pub(super) key: Vec<String>,
    pub(super) class: FillClass,
    pub(super) fill: String,
    fill_new: String,
    /// The column as it is while outdated clients are served.
    pub(super) soft: String,
    /// The column as it is in the end.
    pub(super) hard: String,
    /// That a row has no value, or none of the field's.
    pub(super) is_wrong: String,
    /// The declared values.
    pub(super) values: Vec<String>,
}

impl Sql {
    pub(super) fn new(wanted: &Wanted) -> StoreResult<Sql> {
        let told = |error: shearwater_core::fill::FillError| {
            StoreError::new(StoreErrorKind::Unsupported, format!("SQLite: {}", error.message)).with_hint(error.hint)
        };
        let fill = wanted.fill.sql(&Prefixed("")).map_err(told)?;
        let fill_new = wanted.fill.sql(&Prefixed("NEW.")).map_err(told)?;
        let ty = wanted.native.clone().unwrap_or_else(|| declared(wanted.fill.ty()).to_owned());
        let column = quoted(&wanted.column);
        let class = wanted.fill.class();
        let soft = match class {
            FillClass::Constant => format!("{column} {ty} NOT NULL ON CONFLICT REPLACE DEFAULT {fill}"),
            FillClass::RowPure => format!("{column} {ty}"),
        };
        let values = &wanted.fill.domain().values;
        let (check, is_wrong) = match values.is_empty() {
            true => (String::new(), format!("{column} IS NULL")),
            false => {
                let is_one = one_of(&column, values);
                (format!(" CHECK ({is_one})"), format!("{column} IS NULL OR NOT {is_one}"))
            }
        };
        Ok(Sql {
            name: wanted.table.clone(),
            table: quoted(&wanted.table),
            hard: format!("{column} {ty} NOT NULL{check}"),
            is_wrong,
            values: values.clone(),
            key: wanted.key.iter().map(|(name, _)| name.clone()).collect(),
            column_name: wanted.column.clone(),
            column,
            class,
            fill,
            fill_new,
            soft,
        })
    }

    fn own(&self, what: &str) -> String {
        format!("{RESERVED_PREFIX}{}_{what}", self.name)
    }

    /// The table of keys whose value somebody chose.
    pub(super) fn chosen_name(&self) -> String {
        self.own("chosen")
    }

    /// The table of checkpoints.
    pub(super) fn fills_name(&self) -> String {
        self.own("fills")
    }

    /// The table of moments at which somebody left the field out.
    pub(super) fn outdated_name(&self) -> String {
        self.own("outdated")
    }

    /// The table while it is built anew.
    pub(super) fn old_name(&self) -> String {
        self.own("old")
    }

    /// The triggers that fill, where the column's own default cannot.
    pub(super) fn fill_triggers(&self) -> Vec<String> {
        match self.class {
            FillClass::Constant => Vec::new(),
            FillClass::RowPure => vec![self.own("fill_insert"), self.own("fill_update")],
        }
    }

    /// The triggers that note what somebody chose.
    pub(super) fn note_triggers(&self) -> Vec<String> {
        vec![self.own("note_insert"), self.own("note_update")]
    }

    pub(super) fn add_sidecar(&self) -> Vec<String> {
        let (chosen, fills) = (quoted(&self.chosen_name()), quoted(&self.fills_name()));
        let keys = list(&self.key);
        vec![
            format!("CREATE TABLE IF NOT EXISTS {} (second INTEGER PRIMARY KEY)", quoted(&self.outdated_name())),
            format!("CREATE TABLE IF NOT EXISTS {chosen} ({keys}, PRIMARY KEY ({keys})) WITHOUT ROWID"),
            format!(
                "CREATE TABLE IF NOT EXISTS {fills} (run TEXT NOT NULL, part INTEGER NOT NULL, place TEXT, \
                 done INTEGER NOT NULL, looked INTEGER NOT NULL, filled INTEGER NOT NULL, PRIMARY KEY (run, part)) WITHOUT ROWID"
            ),
        ]
    }

    /// The statements that make the triggers; ours after the user's own writes.
    pub(super) fn make_triggers(&self) -> Vec<String> {
        let (table, column, fill) = (&self.table, &self.column, &self.fill_new);
        let mut out = Vec::new();
        let is_row: Vec<String> = self.key.iter().map(|key| format!("{0} IS NEW.{0}", quoted(key))).collect();
        for (name, event) in self.fill_triggers().iter().zip(["INSERT", "UPDATE"]) {
            let noted = if event == "INSERT" { self.note_outdated() } else { String::new() };
            out.push(format!(
                "CREATE TRIGGER IF NOT EXISTS {} AFTER {event} ON {table} WHEN NEW.{column} IS NULL BEGIN \
                 {noted}UPDATE {table} SET {column} = {fill} WHERE {}; END",
                quoted(name),
                is_row.join(" AND ")
            ));
        }
        let keys: Vec<String> = self.key.iter().map(|key| format!("NEW.{}", quoted(key))).collect();
        // An INSERT OR IGNORE would not do: the writer's own ON CONFLICT rules in its triggers too.
        let is_noted: Vec<String> = self.key.iter().map(|key| format!("c.{0} = NEW.{0}", quoted(key))).collect();
        let chosen = quoted(&self.chosen_name());
        for (name, event) in self.note_triggers().iter().zip(["INSERT", "UPDATE"]) {
            out.push(format!(
                "CREATE TRIGGER IF NOT EXISTS {} AFTER {event} ON {table} \
                 WHEN NEW.{column} IS NOT NULL AND NEW.{column} IS NOT ({fill}) BEGIN \
                 INSERT INTO {chosen} SELECT {} WHERE NOT EXISTS (SELECT 1 FROM {chosen} c WHERE {}); END",
                quoted(name),
                keys.join(", "),
                is_noted.join(" AND ")
            ));
        }
        out
    }

    /// Notes the second, once.
    fn note_outdated(&self) -> String {
        let (table, now) = (quoted(&self.outdated_name()), "CAST(strftime('%s', 'now') AS INTEGER)");
        format!("INSERT INTO {table} SELECT {now} WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE second = {now}); ")
    }

    pub(super) fn drop_triggers(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| format!("DROP TRIGGER IF EXISTS {}", quoted(name))).collect()
    }
}
