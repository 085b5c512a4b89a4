//! The sidecar: installing and removing it, the fence, the marks.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params, params_from_iter};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence, Role};
use shearwater_core::{Key, Stamp};

use super::Sqlite;
use super::cell::Cell;
use super::error::store_error;
use super::facts::{AbsentTables, SIDECAR_FORMAT, Sidecar, check_layout, spelled};
use super::foreign_keys;
use super::record::{cells_of, prepared, stamp_of, stored_number};
use super::session::Session;
use super::tables::{
    RESERVED_PREFIX, Tables, create_statements, equals, foreign_name, list, mark_key_columns, marks_name, quoted,
};
use super::triggers::{trigger_names, triggers};
use super::writer::Durability;
use crate::relational::page::Finds;

/// Tables that all sidecars of a file share.
const SHARED: [(&str, &str); 3] = [
    (
        "_shearwater_state",
        "tbl TEXT NOT NULL PRIMARY KEY, format INTEGER NOT NULL, role TEXT NOT NULL, epoch INTEGER NOT NULL, \
         counter INTEGER NOT NULL, applying INTEGER NOT NULL",
    ),
    (
        "_shearwater_idempotency",
        "tbl TEXT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL, answer TEXT NOT NULL, \
         at_ms INTEGER NOT NULL, PRIMARY KEY (tbl, key)",
    ),
    (
        "_shearwater_checkpoints",
        "tbl TEXT NOT NULL, run TEXT NOT NULL, range INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tbl, run, range)",
    ),
];

/// The role as the state table and the triggers spell it.
fn role_word(role: Role) -> &'static str {
    match role {
        Role::Authority => "authority",
        Role::Follower => "follower",
        Role::Closed => "closed",
    }
}

fn role_of(word: &str) -> StoreResult<Role> {
    match word {
        "authority" => Ok(Role::Authority),
        "follower" => Ok(Role::Follower),
        "closed" => Ok(Role::Closed),
        other => Err(StoreError::new(StoreErrorKind::Sidecar, format!("the sidecar holds an unknown role {other:?}"))),
    }
}

/// What the state row says; taken together with setting `applying`.
pub(super) struct State {
    /// The fence.
    pub(super) fence: Fence,
    /// The last counter given out.
    pub(super) counter: i64,
}

/// Silences the triggers and takes `stamps` counters, until [`end_applying`].
/// The caller's savepoint undoes both when the caller fails.
pub(super) fn begin_applying(session: &Session, tables: &Tables, stamps: usize) -> StoreResult<State> {
    let failed = |e| store_error("reading the fence", e);
    let mut statement = prepared(
        session,
        "UPDATE _shearwater_state SET applying = 1, counter = counter + ?2 WHERE tbl = ?1 RETURNING role, epoch, counter",
    )?;
    let stamps = i64::try_from(stamps).unwrap_or(i64::MAX);
    let row: Option<(String, i64, i64)> = statement
        .query_row(params![tables.name, stamps], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .map_err(failed)?;
    let (role, epoch, counter) = row.ok_or_else(|| no_sidecar(&tables.name))?;
    Ok(State { fence: Fence { role: role_of(&role)?, epoch: epoch.unsigned_abs() }, counter })
}

/// Wakes the triggers again.
pub(super) fn end_applying(session: &Session, tables: &Tables) -> StoreResult<()> {
    prepared(session, "UPDATE _shearwater_state SET applying = 0 WHERE tbl = ?1")?
        .execute([&tables.name])
        .map_err(|e| store_error("ending a write", e))?;
    Ok(())
}

/// The error of a call that needs the sidecar.
pub(super) fn no_sidecar(table: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, format!("table {table:?} has no sidecar"))
        .with_hint("the migration is not started, or complete")
}

fn read_fence(session: &Session, tables: &Tables) -> StoreResult<Option<Fence>> {
    let row: Option<(String, i64)> = prepared(session, "SELECT role, epoch FROM _shearwater_state WHERE tbl = ?1")?
        .query_row([&tables.name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|e| store_error("reading the fence", e))?;
    row.map(|(role, epoch)| Ok(Fence { role: role_of(&role)?, epoch: epoch.unsigned_abs() })).transpose()
}

fn execute(session: &Session, sql: &str) -> StoreResult<()> {
    session.conn.execute_batch(sql).map_err(|e| store_error("changing the schema", e))
}

fn install(session: &Session, tables: &Tables, fence: Fence, finds: Finds) -> StoreResult<()> {
    let facts = session.facts(tables)?;
    if facts.sidecar == Sidecar::Installed {
        return Ok(());
    }
    check_layout(&session.conn, tables, AbsentTables::Refused)?;
    facts.check_key(tables)?;
    for (name, columns) in SHARED {
        execute(session, &format!("CREATE TABLE IF NOT EXISTS {name} ({columns}) WITHOUT ROWID"))?;
    }
    let keys = mark_key_columns(tables.tree.key.len());
    let declared: String = keys.iter().map(|k| format!("{k} NOT NULL, ")).collect();
    let (marks, foreign) = (quoted(&marks_name(&tables.name)), quoted(&foreign_name(&tables.name)));
    let key_list = list(&keys);
    execute(
        session,
        &format!(
            "CREATE TABLE {marks} ({declared}epoch INTEGER NOT NULL, counter INTEGER NOT NULL, \
             dirty INTEGER NOT NULL, parked TEXT, PRIMARY KEY ({key_list})) WITHOUT ROWID; \
             CREATE INDEX {index} ON {marks} (epoch, counter) WHERE dirty = 1; \
             CREATE TABLE {foreign} ({declared}PRIMARY KEY ({key_list})) WITHOUT ROWID",
            index = quoted(&dirty_index_name(&tables.name)),
        ),
    )?;
    if finds == Finds::Parked {
        let index = quoted(&parked_index_name(&tables.name));
        execute(session, &format!("CREATE INDEX {index} ON {marks} ({key_list}) WHERE parked IS NOT NULL"))?;
    }
    session
        .conn
        .execute(
            "INSERT INTO _shearwater_state (tbl, format, role, epoch, counter, applying) VALUES (?1, ?2, ?3, ?4, 0, 0)",
            params![tables.name, SIDECAR_FORMAT, role_word(fence.role), stored_number(fence.epoch)?],
        )
        .map_err(|e| store_error("installing the sidecar", e))?;
    for trigger in triggers(&session.conn, tables)? {
        execute(session, &trigger.sql)?;
    }
    Ok(())
}

fn dirty_index_name(table: &str) -> String {
    format!("{RESERVED_PREFIX}{table}_dirty")
}

fn parked_index_name(table: &str) -> String {
    format!("{RESERVED_PREFIX}{table}_parked")
}

/// The names that belong to this layout's sidecar alone.
fn own_names(tables: &Tables) -> Vec<String> {
    let mut names = trigger_names(tables);
    names.extend([marks_name(&tables.name), foreign_name(&tables.name)]);
    names.extend([dirty_index_name(&tables.name), parked_index_name(&tables.name)]);
    names
}

fn exists(session: &Session, name: &str) -> StoreResult<bool> {
    session
        .conn
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [name], |row| row.get::<_, i64>(0))
        .map(|n| n > 0)
        .map_err(|e| store_error("reading the schema", e))
}

fn other_sidecars(session: &Session, tables: &Tables) -> StoreResult<bool> {
    if !exists(session, "_shearwater_state")? {
        return Ok(false);
    }
    session
        .conn
        .query_row("SELECT count(*) FROM _shearwater_state WHERE tbl <> ?1", [&tables.name], |row| row.get::<_, i64>(0))
        .map(|n| n > 0)
        .map_err(|e| store_error("reading the state", e))
}

fn remove(session: &Session, tables: &Tables) -> StoreResult<()> {
    for name in trigger_names(tables) {
        execute(session, &format!("DROP TRIGGER IF EXISTS {}", quoted(&name)))?;
    }
    for table in [marks_name(&tables.name), foreign_name(&tables.name)] {
        execute(session, &format!("DROP TABLE IF EXISTS {}", quoted(&table)))?;
    }
    let shared = other_sidecars(session, tables)?;
    for (name, _) in SHARED {
        if !shared {
            execute(session, &format!("DROP TABLE IF EXISTS {name}"))?;
        } else {
            session
                .conn
                .execute(&format!("DELETE FROM {name} WHERE tbl = ?1"), [&tables.name])
                .map_err(|e| store_error("removing the sidecar", e))?;
        }
    }
    Ok(())
}

fn sidecar_names(session: &Session, tables: &Tables) -> StoreResult<Vec<String>> {
    let mut names = own_names(tables);
    if !other_sidecars(session, tables)? {
        names.extend(SHARED.iter().map(|(name, _)| (*name).to_owned()));
    }
    names.sort();
    let mut found = Vec::new();
    for name in names {
        if exists(session, &name)? {
            found.push(name);
        }
    }
    Ok(found)
}

fn provision(session: &Session, tables: &Tables) -> StoreResult<Vec<String>> {
    let mut ran = Vec::new();
    for (name, sql) in create_statements(tables) {
        if spelled(&session.conn, &name)?.is_none() {
            execute(session, &sql)?;
            ran.push(sql);
        }
    }
    check_layout(&session.conn, tables, AbsentTables::Refused)?;
    session.facts(tables)?.check_key(tables)?;
    Ok(ran)
}

fn dirty(session: &Session, tables: &Tables, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
    let failed = |e| store_error("reading dirty marks", e);
    let keys = mark_key_columns(tables.tree.key.len());
    let after = after.unwrap_or(Stamp::ZERO);
    let mut statement = prepared(
        session,
        &format!(
            "SELECT {}, epoch, counter FROM {} WHERE dirty = 1 AND (epoch, counter) > (?1, ?2) \
             ORDER BY epoch, counter LIMIT ?3",
            list(&keys),
            quoted(&marks_name(&tables.name)),
        ),
    )?;
    let limit = i64::try_from(marks_max).unwrap_or(i64::MAX);
    let mut rows =
        statement.query(params![stored_number(after.epoch)?, stored_number(after.counter)?, limit]).map_err(failed)?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let key = tables.key_from_cells(&cells_of(row, 0, keys.len()).map_err(failed)?)?;
        let (epoch, counter) = (row.get(keys.len()).map_err(failed)?, row.get(keys.len() + 1).map_err(failed)?);
        marks.push(DirtyMark { key, stamp: stamp_of(epoch, counter) });
    }
    Ok(marks)
}

fn clear(session: &Session, tables: &Tables, marks: &[(Vec<Cell>, Stamp)]) -> StoreResult<u64> {
    let keys = mark_key_columns(tables.tree.key.len());
    let next = keys.len() + 1;
    let sql = format!(
        "UPDATE {} SET dirty = 0 WHERE {} AND epoch = ?{next} AND counter = ?{} AND dirty = 1",
        quoted(&marks_name(&tables.name)),
        equals(&keys, ""),
        next + 1,
    );
    let mut statement = prepared(session, &sql)?;
    let mut cleared = 0;
    for (key, stamp) in marks {
        let stamp = [Cell::Int(stored_number(stamp.epoch)?), Cell::Int(stored_number(stamp.counter)?)];
        cleared += statement
            .execute(params_from_iter(key.iter().chain(&stamp)))
            .map_err(|e| store_error("clearing a mark", e))? as u64;
    }
    Ok(cleared)
}

fn foreign(session: &Session, tables: &Tables, keys_max: usize) -> StoreResult<Vec<Key>> {
    let failed = |e| store_error("reading foreign writes", e);
    let keys = mark_key_columns(tables.tree.key.len());
    let sql = format!("SELECT {0} FROM {1} ORDER BY {0} LIMIT ?1", list(&keys), quoted(&foreign_name(&tables.name)));
    let mut statement = prepared(session, &sql)?;
    let mut rows = statement.query([i64::try_from(keys_max).unwrap_or(i64::MAX)]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(tables.key_from_cells(&cells_of(row, 0, keys.len()).map_err(failed)?)?);
    }
    Ok(found)
}

fn clear_foreign(session: &Session, tables: &Tables, keys: &[Vec<Cell>]) -> StoreResult<u64> {
    let columns = mark_key_columns(tables.tree.key.len());
    let sql = format!("DELETE FROM {} WHERE {}", quoted(&foreign_name(&tables.name)), equals(&columns, ""));
    let mut statement = prepared(session, &sql)?;
    let mut cleared = 0;
    for key in keys {
        cleared +=
            statement.execute(params_from_iter(key)).map_err(|e| store_error("forgetting a foreign write", e))? as u64;
    }
    Ok(cleared)
}

/// Runs `work` when the sidecar is there.
fn with_sidecar<T>(
    session: &Session,
    tables: &Tables,
    work: impl FnOnce(&Session, &Tables) -> StoreResult<T>,
) -> StoreResult<T> {
    match session.facts(tables)?.sidecar {
        Sidecar::Installed => work(session, tables),
        Sidecar::Absent => Err(no_sidecar(&tables.name)),
    }
}

#[async_trait]
impl Capture for Sqlite {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        let tables = self.tables.clone();
        self.writer.run(Durability::OnDisk, move |session| provision(session, &tables)).await
    }

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        self.blocking_read(foreign_keys::check).await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        let tables = self.tables.clone();
        self.writer.run(Durability::OnDisk, move |session| install(session, &tables, fence, Finds::Keys)).await
    }

    async fn install_for_parked(&self, fence: Fence) -> StoreResult<()> {
        let tables = self.tables.clone();
        self.writer.run(Durability::OnDisk, move |session| install(session, &tables, fence, Finds::Parked)).await
    }

    async fn remove(&self) -> StoreResult<()> {
        let tables = self.tables.clone();
        self.writer.run(Durability::OnDisk, move |session| remove(session, &tables)).await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        self.readers.snapshot(&self.tables, |session, sidecar| match sidecar {
            Sidecar::Installed => read_fence(session, &self.tables),
            Sidecar::Absent => Ok(None),
        })
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let tables = self.tables.clone();
        self.writer
            .run(Durability::OnDisk, move |session| {
                with_sidecar(session, &tables, |session, tables| {
                    session
                        .conn
                        .execute(
                            "UPDATE _shearwater_state SET role = ?2, epoch = ?3 WHERE tbl = ?1 AND role = ?4 AND epoch = ?5",
                            params![
                                tables.name,
                                role_word(new.role),
                                stored_number(new.epoch)?,
                                role_word(expect.role),
                                stored_number(expect.epoch)?
                            ],
                        )
                        .map_err(|e| store_error("setting the fence", e))?;
                    read_fence(session, tables)?.ok_or_else(|| no_sidecar(&tables.name))
                })
            })
            .await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        self.blocking_read(move |session, tables| {
            with_sidecar(session, tables, |session, tables| dirty(session, tables, after, marks_max))
        })
        .await
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        let sql = format!("SELECT count(*) FROM {} WHERE dirty = 1", quoted(&marks_name(&self.tables.name)));
        self.blocking_read(move |session, tables| {
            with_sidecar(session, tables, |session, _| {
                prepared(session, &sql)?
                    .query_row([], |row| row.get::<_, i64>(0))
                    .map(i64::unsigned_abs)
                    .map_err(|e| store_error("counting dirty marks", e))
            })
        })
        .await
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        let tables = self.tables.clone();
        let marks = marks
            .iter()
            .map(|mark| Ok((tables.key_to_cells(&mark.key)?, mark.stamp)))
            .collect::<StoreResult<Vec<_>>>()?;
        self.writer
            .run(Durability::AsConfigured, move |session| {
                with_sidecar(session, &tables, |session, tables| clear(session, tables, &marks))
            })
            .await
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        self.blocking_read(move |session, tables| {
            with_sidecar(session, tables, |session, tables| foreign(session, tables, keys_max))
        })
        .await
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        let tables = self.tables.clone();
        let keys = keys.iter().map(|key| tables.key_to_cells(key)).collect::<StoreResult<Vec<_>>>()?;
        self.writer
            .run(Durability::AsConfigured, move |session| {
                with_sidecar(session, &tables, |session, tables| clear_foreign(session, tables, &keys))
            })
            .await
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        self.blocking_read(sidecar_names).await
    }
}
