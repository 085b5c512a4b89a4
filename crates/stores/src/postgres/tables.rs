//! The statements of one layout.

use shearwater_core::error::StoreResult;
use shearwater_core::{Document, Key};

use super::cell::Cell;
use super::change::is_loose;
use super::facts::{Column, Facts};
use super::names::{SidecarNames, list, mark_key_columns, qualified, quoted};
use crate::relational::{self, Tree, record_key_columns};

/// A record as the tables hold it.
pub(super) type RawRecord = relational::RawRecord<Cell>;

/// One element of a child table.
pub(super) type Element = relational::Element<Cell>;

/// Whether a table has its sidecar now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    /// Installed.
    Installed,
    /// Not installed.
    Absent,
}

/// The statements on a child table.
#[derive(Clone, Debug)]
pub(super) struct ChildStatements {
    /// `INSERT` of one element: the record's key, id, parent's id, position, values.
    pub(super) insert: String,
    /// `DELETE` of a record's elements.
    pub(super) delete: String,
    /// `COPY` of elements in the order of `insert`'s parameters.
    pub(super) copy: String,
    /// The elements of the record `r` as an array of rows.
    select: String,
}

/// One layout's tables and the statements on them. Parameters of a key come
/// first, in the order of the key fields.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The tables.
    pub(super) tree: Tree,
    /// Their columns' types.
    pub(super) facts: Facts,
    /// The schema of the user's tables.
    pub(super) schema: String,
    /// The root table, quoted.
    pub(super) root: String,
    /// The sidecar's names.
    pub(super) names: SidecarNames,
    /// The statements of each child table, as [`Tree::children`].
    pub(super) children: Vec<ChildStatements>,
    /// `INSERT` of a record that is not there; inserts nothing when it is.
    pub(super) insert_new: String,
    /// `INSERT` or `UPDATE` of a record; changes nothing when the row there has
    /// a key that is only equal by the type's equality.
    pub(super) upsert: String,
    /// `DELETE` of a record.
    pub(super) delete: String,
    /// `COPY` of root rows, key first.
    pub(super) copy: String,
    /// Sets a mark as the authority: key, epoch, parked, and the stamp that must
    /// be there (NULL: any). Gives the stamp; no row when another one is there.
    pub(super) stamp: String,
    /// Sets a mark as the follower: key, epoch, counter, parked. No row when a
    /// higher stamp is there.
    pub(super) set_mark: String,
}

impl Tables {
    /// The statements of a layout whose tables were looked at.
    pub(super) fn of(tree: &Tree, facts: Facts, schema: &str) -> Tables {
        let names = SidecarNames::of(schema, tree.layout.table());
        let root = qualified(schema, tree.layout.table());
        let sql = Sql { tree, facts: &facts, root: &root, names: &names };
        let children = (0..tree.children.len()).map(|at| sql.child(at, schema)).collect();
        Tables {
            insert_new: sql.insert("DO NOTHING"),
            upsert: sql.upsert(),
            delete: format!("DELETE FROM {root} t WHERE {}", sql.is_key("t")),
            copy: format!("COPY {root} ({}) FROM STDIN (FORMAT binary)", list(&sql.columns())),
            stamp: sql.stamp(),
            set_mark: sql.set_mark(),
            children,
            tree: tree.clone(),
            schema: schema.to_owned(),
            facts,
            root,
            names,
        }
    }

    /// The table as the user knows it.
    pub(super) fn name(&self) -> &str {
        self.tree.layout.table()
    }

    /// The cells of a key.
    pub(super) fn key_to_cells(&self, key: &Key) -> StoreResult<Vec<Cell>> {
        self.tree.key_to_cells(&self.facts, key)
    }

    /// The key of its cells.
    pub(super) fn key_from_cells(&self, cells: &[Cell]) -> StoreResult<Key> {
        self.tree.key_from_cells(&self.facts, cells)
    }

    /// The cells of a record.
    pub(super) fn to_raw(&self, key: &Key, record: &Document) -> StoreResult<RawRecord> {
        self.tree.to_raw(&self.facts, key, record)
    }

    /// The record of its cells.
    pub(super) fn record_of(&self, key: &Key, raw: &RawRecord) -> StoreResult<Document> {
        self.tree.record_of(&self.facts, key, raw)
    }

    /// `key…, values…, elements…, epoch, counter, dirty, parked` of the row `r`
    /// and its mark `m`; without a sidecar the last four are NULL, and one more
    /// column says whether there is a sidecar all the same.
    pub(super) fn selected(&self, sidecar: Sidecar, elements: Elements) -> String {
        let columns = self.facts.root().map(|c| c.native.read(&format!("r.{}", quoted(&c.name))));
        let elements = self.children.iter().filter(|_| elements == Elements::Read).map(|c| c.select.clone());
        let marks = match sidecar {
            Sidecar::Installed => "m.epoch, m.counter, m.dirty, m.parked".to_owned(),
            Sidecar::Absent => format!(
                "NULL::int8, NULL::int8, NULL::bool, NULL::text, to_regclass({}) IS NOT NULL",
                super::names::literal(&self.names.marks())
            ),
        };
        columns.chain(elements).chain(std::iter::once(marks)).collect::<Vec<_>>().join(", ")
    }

    /// `LEFT JOIN` of the marks `m` to keys given as expressions.
    pub(super) fn join_marks(&self, sidecar: Sidecar, keys: &[String]) -> String {
        if sidecar == Sidecar::Absent {
            return String::new();
        }
        let parts = self.facts.key.iter().zip(keys).enumerate();
        let on: Vec<String> =
            parts.map(|(at, (column, key))| format!("m.k{at} = {}", column.native.to_mark(key))).collect();
        format!(" LEFT JOIN {} m ON {}", self.names.marks(), on.join(" AND "))
    }

    /// As [`Tables::join_marks`] to the rows `r`, without rows that have nothing
    /// parked. `OFFSET 0` keeps the planner from turning it round: the rows come
    /// in the order of an index of theirs, and each one's mark is looked at.
    pub(super) fn join_parked(&self) -> String {
        let parts = self.facts.key.iter().zip(self.key_of_r()).enumerate();
        let on: Vec<String> =
            parts.map(|(at, (column, key))| format!("n.k{at} = {}", column.native.to_mark(&key))).collect();
        format!(
            " CROSS JOIN LATERAL (SELECT n.epoch, n.counter, n.dirty, n.parked FROM {} n WHERE {} \
             AND n.parked IS NOT NULL OFFSET 0) m",
            self.names.marks(),
            on.join(" AND "),
        )
    }

    /// The key columns of `r`, for conditions and orders.
    pub(super) fn key_of_r(&self) -> Vec<String> {
        self.tree.key.iter().map(|k| format!("r.{}", quoted(k))).collect()
    }

    /// Records by key, one parameter for each part: an array of all keys' parts.
    /// The first column is the key's number, from 1.
    pub(super) fn fetch(&self, sidecar: Sidecar) -> String {
        let keys = self.keys_of_q();
        let on: Vec<String> = self.key_of_r().iter().zip(&keys).map(|(r, q)| format!("{r} = {q}")).collect();
        format!(
            "SELECT q.n, {} FROM {} LEFT JOIN {} r ON {}{} ORDER BY q.n",
            self.selected(sidecar, Elements::Read),
            self.given_keys(),
            self.root,
            on.join(" AND "),
            self.join_marks(sidecar, &keys),
        )
    }

    /// Locks the rows of given keys, always in one order.
    pub(super) fn lock(&self) -> String {
        let keys = self.keys_of_q();
        let rows = self.key_of_r();
        let on: Vec<String> = rows.iter().zip(&keys).map(|(r, q)| format!("{r} = {q}")).collect();
        format!(
            "SELECT 1 FROM {} JOIN {} r ON {} ORDER BY {} FOR UPDATE OF r",
            self.given_keys(),
            self.root,
            on.join(" AND "),
            rows.join(", "),
        )
    }

    /// The numbers of those given keys that have a mark, with its stamp.
    pub(super) fn marked(&self) -> String {
        let on: Vec<String> = (self.facts.key.iter().zip(self.keys_of_q()).enumerate())
            .map(|(at, (column, key))| format!("m.k{at} = {}", column.native.to_mark(&key)))
            .collect();
        format!(
            "SELECT q.n, m.epoch, m.counter FROM {} JOIN {} m ON {}",
            self.given_keys(),
            self.names.marks(),
            on.join(" AND ")
        )
    }

    /// `unnest($1, …) WITH ORDINALITY q(k0, …, n)`.
    fn given_keys(&self) -> String {
        let arrays: Vec<String> = (self.facts.key.iter().enumerate())
            .map(|(at, column)| format!("${}::{}[]", at + 1, column.native.wire.sql()))
            .collect();
        let columns = mark_key_columns(arrays.len());
        format!("unnest({}) WITH ORDINALITY q({}, n)", arrays.join(", "), columns.join(", "))
    }

    fn keys_of_q(&self) -> Vec<String> {
        self.facts.key.iter().enumerate().map(|(at, column)| column.native.bind(&format!("q.k{at}"))).collect()
    }

    /// Keys as the arrays that [`Tables::fetch`] takes.
    pub(super) fn key_arrays(&self, keys: &[&[Cell]]) -> Vec<Cell> {
        let parts = self.facts.key.iter().enumerate();
        parts
            .map(|(at, column)| {
                let cells: Vec<&Cell> = keys.iter().filter_map(|key| key.get(at)).collect();
                super::cell::array_cell(column.native.wire.oid(), cells.into_iter())
            })
            .collect()
    }

    /// The key columns of the marks `m` as they travel.
    pub(super) fn mark_keys(&self) -> String {
        let parts = self.facts.key.iter().enumerate();
        parts.map(|(at, column)| column.native.read_mark(&format!("m.k{at}"))).collect::<Vec<_>>().join(", ")
    }
}

/// Whether child rows are read with their record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    /// They are.
    Read,
    /// They are not.
    Left,
}

struct Sql<'a> {
    tree: &'a Tree,
    facts: &'a Facts,
    root: &'a str,
    names: &'a SidecarNames,
}

impl Sql<'_> {
    /// Columns that are written: those that the server does not compute.
    fn written(&self) -> Vec<(usize, &Column)> {
        self.facts.root().enumerate().filter(|(_, column)| !column.generated).collect()
    }

    fn columns(&self) -> Vec<String> {
        self.facts.root().map(|column| column.name.clone()).collect()
    }

    fn is_key(&self, table: &str) -> String {
        let parts = self.facts.key.iter().enumerate().map(|(at, column)| {
            let name = format!("{table}.{}", quoted(&column.name));
            let place = column.native.bind(&format!("${}", at + 1));
            match is_loose(column) {
                true => {
                    format!("{name} = {place} AND {} = {}", column.native.to_mark(&name), column.native.to_mark(&place))
                }
                false => format!("{name} = {place}"),
            }
        });
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// `RETURNING` every column as it travels, so that a value which the server
    /// changed can be told.
    fn insert(&self, conflict: &str) -> String {
        let written = self.written();
        let names: Vec<String> = written.iter().map(|(_, column)| column.name.clone()).collect();
        let places: Vec<String> =
            written.iter().map(|(at, column)| column.native.bind(&format!("${}", at + 1))).collect();
        let read: Vec<String> = self.facts.root().map(|c| c.native.read(&format!("t.{}", quoted(&c.name)))).collect();
        format!(
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} ON CONFLICT ({}) {conflict} RETURNING {}",
            self.root,
            list(&names),
            places.join(", "),
            list(&self.tree.key),
            read.join(", "),
        )
    }

    fn upsert(&self) -> String {
        let set: Vec<String> = (self.facts.values.iter().filter(|column| !column.generated))
            .map(|column| format!("{0} = excluded.{0}", quoted(&column.name)))
            .collect();
        // A key column set to itself: the row is there, and is given back.
        let set = match (set.is_empty(), self.tree.key.first()) {
            (true, Some(key)) => format!("{0} = t.{0}", quoted(key)),
            _ => set.join(", "),
        };
        let exact: Vec<String> = (self.facts.key.iter().filter(|column| is_loose(column)))
            .map(|column| {
                let name = quoted(&column.name);
                let (there, given) = (format!("t.{name}"), format!("excluded.{name}"));
                format!("{} = {}", column.native.to_mark(&there), column.native.to_mark(&given))
            })
            .collect();
        let exact = if exact.is_empty() { String::new() } else { format!(" WHERE {}", exact.join(" AND ")) };
        self.insert(&format!("DO UPDATE SET {set}{exact}"))
    }

    fn mark_values(&self) -> (String, String) {
        let keys = mark_key_columns(self.facts.key.len()).join(", ");
        let values: Vec<String> = (self.facts.key.iter().enumerate())
            .map(|(at, column)| column.native.to_mark(&column.native.bind(&format!("${}", at + 1))))
            .collect();
        (keys, values.join(", "))
    }

    fn stamp(&self) -> String {
        let (keys, values) = self.mark_values();
        let next = self.facts.key.len() + 1;
        let counter = format!("nextval({})", super::names::literal(&self.names.counter()));
        // The counter is taken after the mark's row is locked, so that the later
        // commit has the higher stamp.
        format!(
            "INSERT INTO {marks} AS m ({keys}, epoch, counter, dirty, parked) \
             SELECT {values}, ${next}::int8, {counter}, true, ${}::text \
             ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = {counter}, dirty = true, \
             parked = excluded.parked WHERE ${}::int8 IS NULL OR (m.epoch = ${}::int8 AND m.counter = ${}::int8) \
             RETURNING epoch, counter",
            next + 1,
            next + 2,
            next + 2,
            next + 3,
            marks = self.names.marks(),
        )
    }

    fn set_mark(&self) -> String {
        let (keys, values) = self.mark_values();
        let next = self.facts.key.len() + 1;
        format!(
            "INSERT INTO {marks} AS m ({keys}, epoch, counter, dirty, parked) \
             SELECT {values}, ${next}::int8, ${}::int8, false, ${}::text \
             ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = excluded.counter, dirty = false, \
             parked = excluded.parked WHERE (m.epoch, m.counter) <= (excluded.epoch, excluded.counter) RETURNING 1",
            next + 1,
            next + 2,
            marks = self.names.marks(),
        )
    }

    fn child(&self, at: usize, schema: &str) -> ChildStatements {
        let child = &self.tree.children[at];
        let table = qualified(schema, &child.shape.table);
        let record_key = record_key_columns(&self.tree.key);
        let mut columns: Vec<(String, String)> = Vec::new();
        let mut place = 0;
        let mut next = || {
            place += 1;
            format!("${place}")
        };
        for (name, key) in record_key.iter().zip(&self.facts.key) {
            columns.push((name.clone(), key.native.bind(&next())));
        }
        columns.push(("id".to_owned(), format!("{}::text", next())));
        if child.parent.is_some() {
            columns.push(("parent_id".to_owned(), format!("{}::text", next())));
        }
        columns.push(("position".to_owned(), format!("{}::int8", next())));
        let values = self.facts.children.get(at).map(Vec::as_slice).unwrap_or_default();
        columns.extend(values.iter().map(|column| (column.name.clone(), column.native.bind(&next()))));
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let places: Vec<String> = columns.into_iter().map(|(_, place)| place).collect();
        let read: Vec<String> = values.iter().map(|c| c.native.read(&format!("c.{}", quoted(&c.name)))).collect();
        let returned = match read.is_empty() {
            true => "NULL::text".to_owned(),
            false => read.join(", "),
        };
        let is_record: Vec<String> = (record_key.iter().zip(&self.facts.key).enumerate())
            .map(|(n, (name, key))| format!("c.{} = {}", quoted(name), key.native.bind(&format!("${}", n + 1))))
            .collect();
        let is_r: Vec<String> = (record_key.iter().zip(&self.tree.key))
            .map(|(name, key)| format!("c.{} = r.{}", quoted(name), quoted(key)))
            .collect();
        let parent_id = if child.parent.is_some() { "c.parent_id::text" } else { "NULL::text" };
        let read_list: String = read.iter().map(|value| format!(", {value}")).collect();
        ChildStatements {
            insert: format!(
                "INSERT INTO {table} AS c ({}) OVERRIDING SYSTEM VALUE SELECT {} RETURNING {returned}",
                list(&names),
                places.join(", ")
            ),
            delete: format!("DELETE FROM {table} c WHERE {}", is_record.join(" AND ")),
            copy: format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", list(&names)),
            select: format!(
                "ARRAY(SELECT ROW(c.id::text, {parent_id}, c.position::int8{read_list}) FROM {table} c \
                 WHERE {} ORDER BY c.position, c.id)",
                is_r.join(" AND ")
            ),
        }
    }
}
