//! Names and statements of one layout.

use shearwater_core::Value;
use shearwater_core::shape::{ColumnShape, FieldType, Layout, WhenOmitted};

use super::facts::Sidecar;
use crate::relational::{Child, Tree, plain_text, record_key_columns};

/// What every name of ours begins with.
pub(super) const RESERVED_PREFIX: &str = "_shearwater_";

/// The table of stamps and marks of a user's table.
pub(super) fn marks_name(table: &str) -> String {
    format!("{RESERVED_PREFIX}{table}_marks")
}

/// The table of foreign writes to a user's table.
pub(super) fn foreign_name(table: &str) -> String {
    format!("{RESERVED_PREFIX}{table}_foreign")
}

/// A name in SQL, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The statements on a child table.
#[derive(Clone, Debug)]
pub(super) struct ChildStatements {
    /// `INSERT` of one element.
    pub(super) insert: String,
    /// `DELETE` of a record's elements.
    pub(super) delete: String,
    /// `SELECT id, parent_id, position, values…` of a record's elements.
    pub(super) select: String,
}

/// One layout's tables and the statements on them. Parameters of a key come
/// first, in the order of the key fields.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The tables.
    pub(super) tree: Tree,
    /// The root table as the file spells it.
    pub(super) name: String,
    /// The statements of each child table, as [`Tree::children`].
    pub(super) children: Vec<ChildStatements>,
    /// `INSERT` of a record that must not be there; changes nothing when it is.
    pub(super) insert_new: String,
    /// `INSERT` or `UPDATE` of a record.
    pub(super) upsert: String,
    /// `DELETE` of a record.
    pub(super) delete: String,
    /// `SELECT key…, values…` of one record.
    pub(super) select: String,
    /// `SELECT key…` of one record.
    pub(super) select_key: String,
    /// `SELECT epoch, counter, dirty, parked` of one key.
    pub(super) mark: String,
    /// Sets a mark: key, epoch, counter, dirty, parked.
    pub(super) set_mark: String,
}

impl Tables {
    /// The statements of a layout whose table is called `name` in the store.
    pub(super) fn of(layout: &Layout, name: &str) -> Tables {
        let tree = Tree::of(layout);
        let children = tree.children.iter().map(|child| child_statements(child, &tree.key)).collect();
        let (key, values) = (&tree.key, &tree.values);
        let table = quoted(name);
        let (key_list, value_list) = (list(key), list(values));
        let columns: Vec<String> = tree.root_columns().cloned().collect();
        let into = format!("INSERT INTO {table} ({}) VALUES ({})", list(&columns), places(1, columns.len()));
        let update = match values.len() {
            0 => "NOTHING".to_owned(),
            _ => {
                let set: Vec<String> = values.iter().map(|v| format!("{0} = excluded.{0}", quoted(v))).collect();
                format!("UPDATE SET {}", set.join(", "))
            }
        };
        let is_key = equals(key, "");
        let selected =
            [key_list.as_str(), value_list.as_str()].iter().filter(|l| !l.is_empty()).copied().collect::<Vec<_>>();
        let marks = quoted(&marks_name(name));
        let mark_key = mark_key_columns(key.len());
        Tables {
            insert_new: format!("{into} ON CONFLICT ({key_list}) DO NOTHING"),
            upsert: format!("{into} ON CONFLICT ({key_list}) DO {update}"),
            delete: format!("DELETE FROM {table} WHERE {is_key}"),
            select: format!("SELECT {} FROM {table} WHERE {is_key}", selected.join(", ")),
            select_key: format!("SELECT {key_list} FROM {table} WHERE {is_key}"),
            mark: format!("SELECT epoch, counter, dirty, parked FROM {marks} WHERE {}", equals(&mark_key, "")),
            set_mark: format!(
                "INSERT INTO {marks} ({keys}, epoch, counter, dirty, parked) VALUES ({values}) \
                 ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = excluded.counter, \
                 dirty = excluded.dirty, parked = excluded.parked",
                keys = list(&mark_key),
                values = places(1, key.len() + 4),
            ),
            name: name.to_owned(),
            children,
            tree,
        }
    }

    /// `SELECT key…, values…, epoch, counter, dirty, parked` of the whole table
    /// (the last four NULL without a sidecar), to be followed by conditions on `r`.
    pub(super) fn select_with_marks(&self, sidecar: Sidecar) -> String {
        self.select_rows(sidecar, "LEFT JOIN")
    }

    fn select_rows(&self, sidecar: Sidecar, join_word: &str) -> String {
        let columns: Vec<String> =
            self.tree.key.iter().chain(&self.tree.values).map(|c| format!("r.{}", quoted(c))).collect();
        let (table, columns) = (quoted(&self.name), columns.join(", "));
        if sidecar == Sidecar::Absent {
            return format!("SELECT {columns}, NULL, NULL, NULL, NULL FROM {table} r");
        }
        // The plus takes the column's affinity away, so that the comparison is
        // exact and the index of the marks can be used.
        let join: Vec<String> =
            self.tree.key.iter().enumerate().map(|(at, k)| format!("m.k{at} = +r.{}", quoted(k))).collect();
        format!(
            "SELECT {columns}, m.epoch, m.counter, m.dirty, m.parked FROM {table} r {join_word} {marks} m ON {join}",
            marks = quoted(&marks_name(&self.name)),
            join = join.join(" AND "),
        )
    }

    /// The same of rows with something parked: the table is read in its own
    /// order, and each row's mark is looked at.
    pub(super) fn select_parked(&self) -> String {
        format!("{} AND m.parked IS NOT NULL", self.select_rows(Sidecar::Installed, "CROSS JOIN"))
    }

    /// The key columns of `r`, for conditions and orders.
    pub(super) fn key_of_r(&self) -> String {
        self.tree.key.iter().map(|k| format!("r.{}", quoted(k))).collect::<Vec<_>>().join(", ")
    }
}

/// `k0`, `k1`, …: a key's columns in the sidecar.
pub(super) fn mark_key_columns(parts: usize) -> Vec<String> {
    (0..parts).map(|at| format!("k{at}")).collect()
}

/// Quoted names with commas between them.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ")
}

/// `?first, …`: `count` numbered parameters.
pub(super) fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ")
}

/// `a = ?1 AND b = ?2`, each name after `prefix`.
pub(super) fn equals(names: &[String], prefix: &str) -> String {
    let parts: Vec<String> =
        names.iter().enumerate().map(|(at, n)| format!("{prefix}{} = ?{}", quoted(n), at + 1)).collect();
    parts.join(" AND ")
}

fn child_statements(child: &Child, key: &[String]) -> ChildStatements {
    let record_key = record_key_columns(key);
    let table = quoted(&child.shape.table);
    let mut columns = record_key.clone();
    columns.push("id".to_owned());
    columns.extend(child.parent.map(|_| "parent_id".to_owned()));
    columns.push("position".to_owned());
    columns.extend(child.values.iter().cloned());
    let is_record = equals(&record_key, "");
    let parent_id = if child.parent.is_some() { "\"parent_id\"" } else { "NULL" };
    let value_list = child.values.iter().map(|v| format!(", {}", quoted(v))).collect::<String>();
    ChildStatements {
        insert: format!("INSERT INTO {table} ({}) VALUES ({})", list(&columns), places(1, columns.len())),
        delete: format!("DELETE FROM {table} WHERE {is_record}"),
        select: format!(
            "SELECT \"id\", {parent_id}, \"position\"{value_list} FROM {table} WHERE {is_record} \
             ORDER BY \"position\", \"id\""
        ),
    }
}

/// A column's foreign key, which SQLite only takes with the table. Our own
/// connection does not check it before `constrain`.
fn references(column: &ColumnShape) -> String {
    match &column.references {
        Some(other) => format!(" REFERENCES {} ({})", quoted(&other.table), quoted(&other.column)),
        None => String::new(),
    }
}

/// A column's default as an expression, which gives what we should write there.
fn default_of(ty: FieldType, omitted: &WhenOmitted) -> String {
    match omitted {
        WhenOmitted::Now if ty == FieldType::Timestamp => "(strftime('%Y-%m-%dT%H:%M:%f', 'now'))".to_owned(),
        WhenOmitted::Now => "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))".to_owned(),
        WhenOmitted::Value(Value::Bool(b)) => u8::from(*b).to_string(),
        WhenOmitted::Value(value @ (Value::Int(_) | Value::Float(_))) => plain_text(value),
        WhenOmitted::Value(Value::Bytes(bytes)) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        WhenOmitted::Value(value) => literal(&plain_text(value)),
    }
}

/// The statements that make the tables of a layout, each with its table's name.
pub(super) fn create_statements(tables: &Tables) -> Vec<(String, String)> {
    use super::value::declared;
    let type_of = |c: &ColumnShape| c.native.clone().unwrap_or_else(|| declared(c.ty).to_owned());
    let column = |c: &ColumnShape| {
        let not_null = if c.nullable { "" } else { " NOT NULL" };
        let unique = if c.unique { " UNIQUE" } else { "" };
        format!("{} {}{not_null}{unique}{}", quoted(&c.name), type_of(c), references(c))
    };
    let key_list = list(&tables.tree.key);
    let shape = match &tables.tree.layout {
        Layout::Document(document) => {
            // No declared type: a key is kept as it is.
            let keys: String = document.key.iter().map(|k| format!("{} NOT NULL, ", quoted(k))).collect();
            let doc = quoted(&document.document);
            let sql =
                format!("CREATE TABLE {} ({keys}{doc} TEXT NOT NULL, PRIMARY KEY ({key_list}))", quoted(&tables.name));
            return vec![(tables.name.clone(), sql)];
        }
        Layout::Rows(shape) => shape,
    };
    let key_type = |name: &String| shape.columns.iter().find(|c| c.name == *name).map_or_else(String::new, type_of);
    let residue = shape.residue.iter().map(|r| format!("{} TEXT", quoted(r)));
    let is_rowid = matches!(tables.tree.key.as_slice(), [name]
        if shape.columns.iter().any(|c| c.name == *name && c.ty == FieldType::Int));
    let mut parts: Vec<String> = shape
        .columns
        .iter()
        .map(|c| match tables.tree.key.contains(&c.name) {
            true if is_rowid => format!("{} INTEGER PRIMARY KEY NOT NULL{}", quoted(&c.name), references(c)),
            true => format!("{} {} NOT NULL{}", quoted(&c.name), type_of(c), references(c)),
            false => column(c),
        })
        .chain(residue)
        .collect();
    for (part, column) in parts.iter_mut().zip(&shape.columns) {
        if let Some((_, omitted)) = shape.extras.defaults.iter().find(|(name, _)| *name == column.name) {
            part.push_str(&format!(" DEFAULT {}", default_of(column.ty, omitted)));
        }
    }
    // Clustered by key: a record and its elements are each found in one tree,
    // and a backfill in key order appends.
    let clustered = if is_rowid { "" } else { " WITHOUT ROWID" };
    if !is_rowid {
        parts.push(format!("PRIMARY KEY ({key_list})"));
    }
    parts.extend(shape.extras.unique.iter().map(|columns| format!("UNIQUE ({})", list(columns))));
    parts.extend(shape.extras.foreign_keys.iter().map(|key| {
        let (own, others) = (list(&key.columns), list(&key.others));
        format!("FOREIGN KEY ({own}) REFERENCES {} ({others})", quoted(&key.table))
    }));
    let root = format!("CREATE TABLE {} ({}){clustered}", quoted(&tables.name), parts.join(", "));
    let mut statements = vec![(tables.name.clone(), root)];
    for child in &tables.tree.children {
        let record_key = record_key_columns(&tables.tree.key);
        let mut parts: Vec<String> = vec!["\"id\" TEXT NOT NULL".to_owned()];
        parts.extend(
            tables
                .tree
                .key
                .iter()
                .zip(&record_key)
                .map(|(k, column)| format!("{} {} NOT NULL", quoted(column), key_type(k))),
        );
        if child.parent.is_some() {
            parts.push("\"parent_id\" TEXT NOT NULL".to_owned());
        }
        parts.push("\"position\" INTEGER NOT NULL".to_owned());
        parts.extend(child.shape.columns.iter().map(column));
        parts.extend(child.shape.residue.iter().map(|r| format!("{} TEXT", quoted(r))));
        parts.push(format!("PRIMARY KEY ({}, \"id\")", list(&record_key)));
        let sql = format!("CREATE TABLE {} ({}) WITHOUT ROWID", quoted(&child.shape.table), parts.join(", "));
        statements.push((child.shape.table.clone(), sql));
    }
    statements
}
