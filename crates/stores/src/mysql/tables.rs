//! One layout's tables as they are in the database, and the statements on them.
//!
//! Bound values of a key come first, in the order of the key fields. The cells
//! of a key are the same in the user's table and in the sidecar.

use std::collections::HashMap;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::Among;

use super::facts::{self, Server, UniqueIndex};
use super::names::{list, own_name, places, quoted};
use super::native::{Column, Kind};
use super::session::{Session, bind, number_of};
use crate::relational::{Child, Tree, record_key_columns};

/// A child table.
#[derive(Clone, Debug)]
pub(super) struct ChildTable {
    /// Its place in the tree.
    pub(super) child: Child,
    /// The columns that hold the record's key.
    pub(super) record_key: Vec<Column>,
    /// The columns after `position`.
    pub(super) values: Vec<Column>,
    /// `INSERT INTO … VALUES `, without rows.
    pub(super) insert: String,
    /// How many values a row has.
    pub(super) width: usize,
}

/// Whether the key columns identify a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyIndex {
    /// They are the primary key.
    Primary,
    /// They have a unique index.
    Unique,
    /// No unique index is over exactly them.
    Missing,
}

/// What else hangs on the root table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// Every column is the layout's and no other table refers to it: a row may
    /// be deleted and written again.
    Yes,
    /// A row must be changed in place.
    No,
}

/// A layout's tables.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The layout's tables and columns.
    pub(super) tree: Tree,
    /// The root table, as the schema spells it.
    pub(super) name: String,
    /// The server.
    pub(super) server: Server,
    /// The root's key columns.
    pub(super) key: Vec<Column>,
    /// The root's other columns of the layout.
    pub(super) values: Vec<Column>,
    /// The child tables, parents first.
    pub(super) children: Vec<ChildTable>,
    /// What identifies a row.
    pub(super) key_index: KeyIndex,
    /// The root's unique indexes.
    pub(super) unique: Vec<UniqueIndex>,
    /// Columns that lead an index of the root, each with one such index.
    pub(super) leading: HashMap<String, String>,
    /// Whether rows may be deleted and written again.
    pub(super) alone: Alone,
    /// The names of the sidecar's tables.
    pub(super) own: OwnTables,
}

/// The sidecar's tables, quoted.
#[derive(Clone, Debug)]
pub(super) struct OwnTables {
    /// The fence: one row.
    pub(super) state: String,
    /// Stamps, marks, tombstones, parked fields.
    pub(super) marks: String,
    /// Foreign writes.
    pub(super) foreign: String,
    /// Idempotency keys.
    pub(super) idempotency: String,
    /// Checkpoints of backfills.
    pub(super) checkpoints: String,
}

impl OwnTables {
    /// Those of a root table.
    pub(super) fn of(table: &str) -> OwnTables {
        let name = |what: &str| quoted(&own_name(table, what));
        OwnTables {
            state: name("state"),
            marks: name("marks"),
            foreign: name("foreign"),
            idempotency: name("idempotency"),
            checkpoints: name("checkpoints"),
        }
    }

    /// The unquoted names.
    pub(super) fn names(table: &str) -> Vec<String> {
        ["state", "marks", "foreign", "idempotency", "checkpoints"].iter().map(|what| own_name(table, what)).collect()
    }
}

impl Tables {
    /// Looks at the schema. Fails when a table or a column is not there.
    pub(super) async fn look(session: &mut Session, layout: &Layout) -> StoreResult<Tables> {
        let server = Server::look(session).await?;
        let Some(name) = facts::spelled(session, &server, layout.table()).await? else {
            return Err(no_table(session, layout.table()).await?);
        };
        facts::check_engine(session, &name).await?;
        let tree = Tree::of(layout);
        let root: Vec<Column> = columns_of(session, &server, &name).await?;
        let key = pick(&name, &root, tree.key.iter())?;
        let values = pick(&name, &root, tree.values.iter())?;
        let mut children = Vec::with_capacity(tree.children.len());
        for child in &tree.children {
            children.push(ChildTable::look(session, &server, child, &tree.key).await?);
        }
        let unique = facts::unique_indexes(session, Some(&name)).await?;
        let is_key = |index: &&UniqueIndex| {
            index.columns.len() == key.len() && key.iter().all(|k| index.columns.contains(&k.name))
        };
        let key_index = match unique.iter().filter(is_key).map(UniqueIndex::is_primary).max() {
            Some(true) => KeyIndex::Primary,
            Some(false) => KeyIndex::Unique,
            None => KeyIndex::Missing,
        };
        let whole = root.iter().all(|c| tree.root_columns().any(|name| *name == c.name));
        let alone = if whole && !is_referenced(session, &name).await? { Alone::Yes } else { Alone::No };
        let leading = facts::leading_columns(session, &name).await?;
        let own = OwnTables::of(&name);
        Ok(Tables { tree, name, server, key, values, children, key_index, unique, leading, alone, own })
    }

    /// Refuses a table whose key does not identify its rows.
    pub(super) fn check_key(&self) -> StoreResult<()> {
        let columns = self.tree.key.join(", ");
        if self.key_index == KeyIndex::Missing {
            let what = format!("table {:?} has no PRIMARY KEY and no UNIQUE index over exactly ({columns})", self.name);
            return Err(StoreError::new(StoreErrorKind::NotFound, what)
                .with_hint("name the table's key in the spec, or create a unique index over whole columns"));
        }
        for column in &self.key {
            if column.nullable && self.key_index == KeyIndex::Unique {
                continue;
            }
            column.mark_type().map_err(|what| {
                let what = format!("table {:?}, column {:?}: {what}", self.name, column.name);
                StoreError::new(StoreErrorKind::Unsupported, what)
                    .with_hint("choose a key of integers, texts, bytes, dates or decimals")
            })?;
        }
        Ok(())
    }

    /// What the column of an index, or an index' name, is called for people.
    pub(super) fn field_of(&self, index: &str) -> String {
        match self.unique.iter().find(|unique| unique.name == index) {
            Some(unique) => unique.columns.join(", "),
            None => index.to_owned(),
        }
    }

    /// Every column that is read of the root, key first, from the alias `r`.
    pub(super) fn root_list(&self) -> String {
        self.key.iter().chain(&self.values).map(|c| c.read("r.")).collect::<Vec<_>>().join(", ")
    }

    /// How many columns [`Tables::root_list`] has.
    pub(super) fn root_width(&self) -> usize {
        self.key.len() + self.values.len()
    }

    /// What the marks (alias `m`) are joined to the root (alias `r`) by.
    fn marks_on(&self) -> String {
        let join: Vec<String> =
            self.key.iter().enumerate().map(|(at, k)| format!("m.k{at} = {}", k.exact("r."))).collect();
        format!("{} m ON {}", self.own.marks, join.join(" AND "))
    }

    /// One row of root and mark of one key, whatever is there: root columns,
    /// `epoch`, `counter`, `dirty`, `parked`. Binds the key twice.
    pub(super) fn select_one(&self, marks: Marks) -> String {
        let table = quoted(&self.name);
        let (columns, is_key) = (self.root_list(), is_key("r.", &self.key));
        match marks {
            Marks::Joined => format!(
                "SELECT {columns}, m.epoch, m.counter, m.dirty, m.parked FROM (SELECT 1 AS one) o \
                 LEFT JOIN {table} r ON {is_key} LEFT JOIN {} m ON {}",
                self.own.marks,
                is_mark("m.", self.key.len()),
            ),
            Marks::Absent => format!("SELECT {columns}, NULL, NULL, NULL, NULL FROM {table} r WHERE {is_key}"),
        }
    }

    /// Rows of the root with their marks, to be followed by conditions on `r`.
    pub(super) fn select_with_marks(&self, marks: Marks) -> String {
        self.select_rows(marks, Among::All, None)
    }

    /// The same by an index, where one is named; of rows with something parked
    /// so that the table is read in its own order and each row's mark looked at.
    pub(super) fn select_rows(&self, marks: Marks, among: Among, index: Option<&str>) -> String {
        let (columns, join) = (self.root_list(), self.marks_on());
        let hint = index.map(|index| format!(" FORCE INDEX ({})", quoted(index))).unwrap_or_default();
        let table = format!("{} r{hint}", quoted(&self.name));
        match (marks, among) {
            (Marks::Absent, _) => format!("SELECT {columns}, NULL, NULL, NULL, NULL FROM {table}"),
            (Marks::Joined, Among::All) => {
                format!("SELECT {columns}, m.epoch, m.counter, m.dirty, m.parked FROM {table} LEFT JOIN {join}")
            }
            (Marks::Joined, Among::Parked) => format!(
                "SELECT {columns}, m.epoch, m.counter, m.dirty, m.parked FROM {table} STRAIGHT_JOIN {join} \
                 AND m.parked IS NOT NULL"
            ),
        }
    }

    /// `INSERT INTO root (…) VALUES `, without rows.
    pub(super) fn insert_root(&self) -> String {
        let columns: Vec<String> = self.written().map(|c| c.name.clone()).collect();
        format!("INSERT INTO {} ({}) VALUES ", quoted(&self.name), list(&columns))
    }

    fn written(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().chain(&self.values)
    }

    /// Changes the other columns of one row: their values first, then the key.
    pub(super) fn update_root(&self) -> Option<String> {
        let set: Vec<String> = self.values.iter().map(|c| format!("{} = ?", quoted(&c.name))).collect();
        let table = quoted(&self.name);
        (!set.is_empty()).then(|| format!("UPDATE {table} SET {} WHERE {}", set.join(", "), is_key("", &self.key)))
    }

    /// Deletes rows of the root.
    pub(super) fn delete_root(&self, keys: usize) -> String {
        format!("DELETE FROM {} WHERE {}", quoted(&self.name), in_keys("", &self.key, keys))
    }

    /// The key columns of `r`, for orders.
    pub(super) fn key_of_r(&self) -> String {
        self.key.iter().map(|k| format!("r.{}", quoted(&k.name))).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a statement reads the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// It does.
    Joined,
    /// There is no sidecar.
    Absent,
}

impl ChildTable {
    async fn look(session: &mut Session, server: &Server, child: &Child, key: &[String]) -> StoreResult<ChildTable> {
        let table = &child.shape.table;
        let Some(name) = facts::spelled(session, server, table).await? else {
            return Err(no_table(session, table).await?);
        };
        facts::check_engine(session, &name).await?;
        let columns = columns_of(session, server, &name).await?;
        let mut own = vec!["id".to_owned(), "position".to_owned()];
        own.extend(child.parent.map(|_| "parent_id".to_owned()));
        pick(&name, &columns, own.iter())?;
        let record_key_names = record_key_columns(key);
        let record_key = pick(&name, &columns, record_key_names.iter())?;
        let values = pick(&name, &columns, child.values.iter())?;
        let mut written = record_key_names;
        written.push("id".to_owned());
        written.extend(child.parent.map(|_| "parent_id".to_owned()));
        written.push("position".to_owned());
        written.extend(child.values.iter().cloned());
        let mut child = child.clone();
        child.shape.table = name;
        let insert = format!("INSERT INTO {} ({}) VALUES ", quoted(&child.shape.table), list(&written));
        Ok(ChildTable { child, record_key, values, insert, width: written.len() })
    }

    /// `key…, id, parent_id, position, values…` of the elements of records.
    pub(super) fn select(&self, keys: usize) -> String {
        let key = self.record_key.iter().map(|c| c.read("")).collect::<Vec<_>>().join(", ");
        let values: String = self.values.iter().map(|c| format!(", {}", c.read(""))).collect();
        let parent = if self.child.parent.is_some() { "`parent_id`" } else { "NULL" };
        format!(
            "SELECT {key}, `id`, {parent}, `position`{values} FROM {} WHERE {}",
            quoted(&self.child.shape.table),
            in_keys("", &self.record_key, keys)
        )
    }

    /// Deletes the elements of records.
    pub(super) fn delete(&self, keys: usize) -> String {
        format!("DELETE FROM {} WHERE {}", quoted(&self.child.shape.table), in_keys("", &self.record_key, keys))
    }
}

/// Where a bound value of a key's column stands.
pub(super) fn place(column: &Column) -> String {
    match column.kind {
        // The server would compare a text with a decimal as floats.
        Kind::Decimal { digits, scale, .. } => format!("CAST(? AS DECIMAL({digits},{scale}))"),
        _ => "?".to_owned(),
    }
}

/// `a = ? AND b = ?`. Takes rows whose key the server takes for equal: the
/// caller compares exactly.
pub(super) fn is_key(prefix: &str, key: &[Column]) -> String {
    let parts: Vec<String> = key.iter().map(|c| format!("{prefix}{} = {}", quoted(&c.name), place(c))).collect();
    parts.join(" AND ")
}

/// One of several keys.
pub(super) fn in_keys(prefix: &str, key: &[Column], keys: usize) -> String {
    match key {
        [column] if keys > 1 => {
            format!("{prefix}{} IN ({})", quoted(&column.name), vec![place(column); keys].join(", "))
        }
        _ => vec![format!("({})", is_key(prefix, key)); keys].join(" OR "),
    }
}

/// `k0 = ? AND k1 = ?`.
pub(super) fn is_mark(prefix: &str, parts: usize) -> String {
    (0..parts).map(|at| format!("{prefix}k{at} = ?")).collect::<Vec<_>>().join(" AND ")
}

/// One of several keys of the sidecar.
pub(super) fn in_marks(parts: usize, keys: usize) -> String {
    match parts {
        1 => format!("k0 IN ({})", places(keys)),
        _ => vec![format!("({})", is_mark("", parts)); keys].join(" OR "),
    }
}

/// `k0, k1, …`: a key's columns in the sidecar.
pub(super) fn mark_key_list(parts: usize) -> String {
    (0..parts).map(|at| format!("k{at}")).collect::<Vec<_>>().join(", ")
}

async fn columns_of(session: &mut Session, server: &Server, table: &str) -> StoreResult<Vec<Column>> {
    Ok(facts::columns(session, server, Some(table)).await?.into_iter().map(|(_, column)| column).collect())
}

fn pick<'n>(table: &str, columns: &[Column], names: impl Iterator<Item = &'n String>) -> StoreResult<Vec<Column>> {
    names
        .map(|name| {
            let found = columns.iter().find(|c| c.name.to_lowercase() == name.to_lowercase());
            found.cloned().ok_or_else(|| {
                let there: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                StoreError::new(StoreErrorKind::NotFound, format!("MySQL: table {table:?} has no column {name:?}"))
                    .with_hint(format!("its columns are {}", there.join(", ")))
            })
        })
        .collect()
}

/// The error of a table that is not there.
async fn no_table(session: &mut Session, table: &str) -> StoreResult<StoreError> {
    let there = facts::tables_there(session).await?;
    Ok(StoreError::new(StoreErrorKind::NotFound, format!("MySQL: there is no table {table:?}")).with_hint(there))
}

async fn is_referenced(session: &mut Session, table: &str) -> StoreResult<bool> {
    let rows = session
        .rows(
            "reading foreign keys",
            "SELECT COUNT(*) FROM information_schema.referential_constraints \
             WHERE unique_constraint_schema = DATABASE() AND referenced_table_name = ?",
            bind([&super::cell::Cell::text(table)]),
        )
        .await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(number_of).is_none_or(|n| n > 0))
}
