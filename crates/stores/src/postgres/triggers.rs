//! The triggers that capture every write, whoever makes it.
//!
//! A row trigger, not a statement's, because what logical replication applies
//! fires no other; ENABLE ALWAYS, because it fires none without. The triggers
//! are silent in a transaction that has said the sidecar's token, which is how
//! our own writes announce themselves. Their functions run with their owner's
//! rights, so that who writes needs none on the sidecar.

use super::error::CLOSED;
use super::facts::Column;
use super::names::{RESERVED_PREFIX, SIDECAR_SCHEMA, list, literal, mark_key_columns, qualified, quoted};
use super::tables::Tables;
use crate::relational::record_key_columns;

/// The setting in which a transaction says the token.
pub(super) const ANNOUNCEMENT: &str = "_shearwater.applying";

/// The class of our advisory locks, "SHWR".
pub(super) const LOCK_CLASS: i32 = 0x5348_5752;

/// What becomes of parked fields when a key is marked.
#[derive(Clone, Copy)]
enum Parked {
    /// They stay: who wrote the record does not know them (H13, H20).
    Stay,
    /// They go with the record.
    Drop,
}

/// One captured table: the root, or a child table.
struct Captured<'a> {
    tables: &'a Tables,
    at: usize,
    table: String,
    key: Vec<String>,
    deleted: Parked,
}

fn captured(tables: &Tables) -> Vec<Captured<'_>> {
    let root = Captured {
        tables,
        at: 0,
        table: tables.tree.layout.table().to_owned(),
        key: tables.tree.key.clone(),
        deleted: Parked::Drop,
    };
    let children = tables.tree.children.iter().enumerate().map(|(at, child)| Captured {
        tables,
        at: at + 1,
        table: child.shape.table.clone(),
        key: record_key_columns(&tables.tree.key),
        deleted: Parked::Stay,
    });
    std::iter::once(root).chain(children).collect()
}

/// The statements that make every trigger, with the sidecar's number and token.
pub(super) fn create(tables: &Tables, id: i32, token: &str) -> Vec<String> {
    captured(tables).iter().flat_map(|captured| captured.create(id, token)).collect()
}

/// The statements that remove every trigger; they do nothing where there is none.
pub(super) fn remove(tables: &Tables) -> Vec<String> {
    captured(tables).iter().flat_map(Captured::remove).collect()
}

fn trigger_name(what: &str) -> String {
    format!("{RESERVED_PREFIX}{what}")
}

impl Captured<'_> {
    fn create(&self, id: i32, token: &str) -> Vec<String> {
        let table = qualified(&self.tables.schema, &self.table);
        let silent =
            format!("pg_catalog.current_setting({}, true) IS DISTINCT FROM {}", literal(ANNOUNCEMENT), literal(token));
        let row = self.tables.names.row_function(self.at);
        let cut = self.tables.names.truncate_function(self.at);
        let (rows, cuts) = (quoted(&trigger_name("rows")), quoted(&trigger_name("truncate")));
        vec![
            self.function(&row, id, &self.row_body()),
            self.function(&cut, id, &self.truncate_body()),
            format!("REVOKE ALL ON FUNCTION {row}(), {cut}() FROM PUBLIC"),
            format!(
                "CREATE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW WHEN ({silent}) \
                 EXECUTE FUNCTION {row}()"
            ),
            format!(
                "CREATE TRIGGER {cuts} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT WHEN ({silent}) \
                 EXECUTE FUNCTION {cut}()"
            ),
            format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {rows}"),
            format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {cuts}"),
        ]
    }

    fn remove(&self) -> Vec<String> {
        let table = qualified(&self.tables.schema, &self.table);
        vec![
            format!("DROP TRIGGER IF EXISTS {} ON {table}", quoted(&trigger_name("rows"))),
            format!("DROP TRIGGER IF EXISTS {} ON {table}", quoted(&trigger_name("truncate"))),
            format!("DROP FUNCTION IF EXISTS {}()", self.tables.names.row_function(self.at)),
            format!("DROP FUNCTION IF EXISTS {}()", self.tables.names.truncate_function(self.at)),
        ]
    }

    /// The fence is read after its lock is held in shared mode: at read
    /// committed the statement sees what the last holder of the exclusive lock
    /// committed. An older snapshot must not be believed: there the fence's row
    /// is locked, which fails when it changed since.
    fn function(&self, name: &str, id: i32, body: &str) -> String {
        let settings = match self.tables.facts.key.iter().any(|column| column.native.needs_settings_in_marks()) {
            true => {
                " SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET timezone = 'UTC' \
                 SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C'"
            }
            false => "",
        };
        let state = format!("{SIDECAR_SCHEMA}.state");
        let closed = literal(&format!(
            "shearwater: table {} is closed for writes: its records moved to another store",
            self.tables.name()
        ));
        let text = format!(
            "DECLARE fence record; held text; BEGIN \
             PERFORM pg_advisory_xact_lock_shared({LOCK_CLASS}, {id}); \
             IF current_setting('transaction_isolation') = 'read committed' THEN \
             SELECT role, epoch INTO fence FROM {state} WHERE id = {id}; ELSE \
             SELECT role, epoch INTO fence FROM {state} WHERE id = {id} FOR SHARE; END IF; \
             IF fence.role IS NULL THEN RAISE EXCEPTION 'shearwater: capture began after this transaction' \
             USING ERRCODE = 'serialization_failure'; END IF; \
             IF fence.role = 'closed' THEN RAISE EXCEPTION USING MESSAGE = {closed}, ERRCODE = {code}; END IF; \
             {body} RETURN NULL; END",
            code = literal(CLOSED),
        );
        format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp{settings} AS {}",
            literal(&text)
        )
    }

    fn row_body(&self) -> String {
        let moved: Vec<String> =
            self.key.iter().map(|k| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quoted(k))).collect();
        let moved = moved.join(" OR ");
        format!(
            "IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND ({moved})) THEN {held} {old} END IF; \
             IF TG_OP <> 'DELETE' THEN {new} END IF;",
            held = match self.deleted {
                Parked::Drop => self.take_parked(),
                Parked::Stay => String::new(),
            },
            old = self.mark("OLD", self.deleted),
            new = self.mark_new(),
        )
    }

    fn columns(&self) -> impl Iterator<Item = (&Column, &String)> {
        self.tables.facts.key.iter().zip(&self.key)
    }

    /// The key of a row as the sidecar keeps it.
    fn cells(&self, row: &str) -> Vec<String> {
        self.columns().map(|(column, name)| column.native.to_mark(&format!("{row}.{}", quoted(name)))).collect()
    }

    fn is_key(&self, row: &str) -> String {
        let parts: Vec<String> = self.key.iter().map(|k| format!("{row}.{} IS NOT NULL", quoted(k))).collect();
        parts.join(" AND ")
    }

    /// Parked fields go along with a record whose key changes.
    fn take_parked(&self) -> String {
        let on: Vec<String> =
            self.cells("OLD").iter().enumerate().map(|(at, cell)| format!("m.k{at} = {cell}")).collect();
        format!(
            "IF TG_OP = 'UPDATE' THEN SELECT m.parked INTO held FROM {} m WHERE {}; END IF;",
            self.tables.names.marks(),
            on.join(" AND ")
        )
    }

    fn mark_new(&self) -> String {
        match self.deleted {
            Parked::Stay => self.mark("NEW", Parked::Stay),
            Parked::Drop => format!(
                "{} IF held IS NOT NULL THEN UPDATE {} m SET parked = held WHERE {}; END IF;",
                self.mark("NEW", Parked::Stay),
                self.tables.names.marks(),
                (self.cells("NEW").iter().enumerate())
                    .map(|(at, cell)| format!("m.k{at} = {cell}"))
                    .collect::<Vec<_>>()
                    .join(" AND "),
            ),
        }
    }

    /// Stamps and dirty-marks the key of `row` as authority, notes it as foreign
    /// as follower. A key with a NULL is no record's.
    fn mark(&self, row: &str, parked: Parked) -> String {
        format!("IF {} THEN {} END IF;", self.is_key(row), self.mark_from(&self.cells(row).join(", "), "", parked))
    }

    fn mark_from(&self, cells: &str, from: &str, parked: Parked) -> String {
        let names = mark_key_columns(self.key.len());
        let keys = list(&names);
        let counter = format!("nextval({})", literal(&self.tables.names.counter()));
        let parked = match parked {
            Parked::Stay => "",
            Parked::Drop => ", parked = NULL",
        };
        format!(
            "IF fence.role = 'authority' THEN \
             INSERT INTO {marks} AS m ({keys}, epoch, counter, dirty) SELECT {cells}, fence.epoch, {counter}, true{from} \
             ON CONFLICT ({keys}) DO UPDATE SET epoch = excluded.epoch, counter = {counter}, dirty = true{parked}; \
             ELSE INSERT INTO {foreign} ({keys}) SELECT {cells}{from} ON CONFLICT ({keys}) DO NOTHING; END IF;",
            marks = self.tables.names.marks(),
            foreign = self.tables.names.foreign(),
        )
    }

    /// TRUNCATE deletes every record, so every record is marked.
    fn truncate_body(&self) -> String {
        let table = qualified(&self.tables.schema, &self.table);
        let from = format!(
            " FROM (SELECT DISTINCT {} FROM {table} r WHERE {}) k",
            self.cells("r")
                .iter()
                .enumerate()
                .map(|(at, cell)| format!("{cell} AS k{at}"))
                .collect::<Vec<_>>()
                .join(", "),
            self.is_key("r")
        );
        let cells = mark_key_columns(self.key.len()).iter().map(|k| format!("k.{k}")).collect::<Vec<_>>().join(", ");
        self.mark_from(&cells, &from, self.deleted)
    }
}
