//! The sidecar: installing and removing it, the fence, the marks.
//!
//! Changes of the schema are no transactions here, so installing is a sequence
//! that may be cut anywhere: the row of state says `installed` last, and what
//! was left half-done is removed before a new try. `CREATE TRIGGER` waits for
//! every transaction that has used the table, so that no write that began
//! without a trigger ends after the sidecar counts as installed.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use mysql_async::Value as Wire;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence};
use shearwater_core::{Key, Stamp};

use super::cell::Cell;
use super::error::{NO_SUCH_TABLE, Tried, no_sidecar};
use super::facts::{self, Server};
use super::names::{own_name, places, quoted};
use super::record::{KEYS_MAX, bind_keys, rounded};
use super::session::{Session, bind, number_of, text_of};
use super::state::{FORMAT, read_fence, role_number};
use super::tables::{Marks, OwnTables, Tables, in_marks, is_mark, mark_key_list};
use super::triggers::{trigger_names, triggers};
use super::{Inner, MySql, Reads, provision, reading};
use crate::relational::Tree;

/// Waiting for another process that installs or removes the same sidecar, s.
const INSTALL_WAIT_S_MAX: u32 = 10;

/// Bytes of an idempotency key, the gateway's prefix included: a few headers'
/// worth, within what an index takes.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 2_048;

/// What a database has of one sidecar.
struct Names {
    /// The root table, as the schema spells it or as the layout does.
    root: String,
    tables: Vec<String>,
    triggers: Vec<String>,
}

async fn names(session: &mut Session, server: &Server, tree: &Tree) -> StoreResult<Names> {
    let mut user = Vec::new();
    let children = tree.children.iter().map(|child| child.shape.table.as_str());
    for table in std::iter::once(tree.layout.table()).chain(children) {
        user.push(facts::spelled(session, server, table).await?.unwrap_or_else(|| table.to_owned()));
    }
    let triggers = trigger_names(user.iter().map(String::as_str));
    let root = user.swap_remove(0);
    Ok(Names { tables: OwnTables::names(&root), root, triggers })
}

impl Names {
    /// Those that are there now.
    async fn there(&self, session: &mut Session) -> StoreResult<Vec<String>> {
        let (tables, triggers) = (places(self.tables.len()), places(self.triggers.len()));
        let sql = format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({tables}) \
             UNION ALL SELECT trigger_name FROM information_schema.triggers \
             WHERE trigger_schema = DATABASE() AND trigger_name IN ({triggers})"
        );
        let cells: Vec<Cell> = self.tables.iter().chain(&self.triggers).map(Cell::text).collect();
        let rows = session.rows("looking for the sidecar", &sql, bind(&cells)).await?;
        let mut names: Vec<String> = rows.iter().filter_map(|row| row.first().and_then(text_of)).collect();
        names.sort();
        Ok(names)
    }

    async fn remove(&self, session: &mut Session) -> StoreResult<()> {
        // From now on nobody relies on it, however far the rest gets.
        let state = quoted(&own_name(&self.root, "state"));
        match session.run("removing the sidecar", &format!("UPDATE {state} SET installed = 0"), Vec::new()).await {
            Ok(_) => {}
            Err(failure) if failure.code == NO_SUCH_TABLE => {}
            Err(failure) => return Err(failure.error),
        }
        for trigger in &self.triggers {
            let sql = format!("DROP TRIGGER IF EXISTS {}", quoted(trigger));
            session.script("removing a trigger", &sql).await.map_err(in_use)?;
        }
        let tables: Vec<String> = self.tables.iter().map(|name| quoted(name)).collect();
        session.script("removing the sidecar", &format!("DROP TABLE IF EXISTS {}", tables.join(", "))).await?;
        Ok(())
    }
}

/// A table that a transaction keeps from being changed.
fn in_use(failure: super::error::Failure) -> StoreError {
    let error = failure.error;
    match error.kind {
        StoreErrorKind::Unavailable if failure.code != 0 => {
            error.with_hint("a transaction that has used the table is still open; end it, or wait for it")
        }
        _ => error,
    }
}

/// Runs `work` while no other process installs or removes this sidecar.
macro_rules! alone {
    ($session:ident, $root:expr, $work:expr) => {{
        let lock = lock_name($root);
        take_lock($session, &lock).await?;
        let result: StoreResult<_> = $work;
        let released = $session.script("releasing", &format!("DO RELEASE_LOCK({lock})")).await;
        released.map_err(StoreError::from).and(result)
    }};
}

/// The lock's name as SQL: both servers take 64 characters, and have one space
/// of names for all databases.
fn lock_name(root: &str) -> String {
    format!("LEFT(CONCAT('shearwater-{:016x}-', MD5(DATABASE())), 60)", Key::single(root).hash())
}

async fn take_lock(session: &mut Session, lock: &str) -> StoreResult<()> {
    let sql = format!("SELECT GET_LOCK({lock}, {INSTALL_WAIT_S_MAX})");
    let rows = session.script("waiting for another installation", &sql).await?;
    if rows.first().and_then(|row| row.first()).and_then(number_of) == Some(1) {
        return Ok(());
    }
    let what = "MySQL: another process is installing or removing the sidecar of the same table";
    Err(StoreError::new(StoreErrorKind::Unavailable, what))
}

async fn install(inner: &Inner, session: &mut Session, fence: Fence) -> StoreResult<()> {
    inner.forget();
    let tables = inner.tables(session).await?;
    if read_fence(session, &tables).await?.is_some() {
        return Ok(());
    }
    tables.check_key()?;
    alone!(session, &tables.name, {
        let result = install_alone(session, &tables, fence).await;
        if result.is_err() {
            // The error itself says more than one of cleaning up would.
            if let Ok(names) = names(session, &tables.server, &tables.tree).await {
                let _told = names.remove(session).await;
            }
        }
        result
    })
}

async fn install_alone(session: &mut Session, tables: &Tables, fence: Fence) -> StoreResult<()> {
    if read_fence(session, tables).await?.is_some() {
        return Ok(());
    }
    let names = names(session, &tables.server, &tables.tree).await?;
    if !names.there(session).await?.is_empty() {
        names.remove(session).await?;
    }
    for sql in create_statements(tables)? {
        session.script("installing the sidecar", &sql).await?;
    }
    // 63 bits, so that every client compares it as an integer.
    let token = uuid::Uuid::new_v4().as_u64_pair().0 >> 1;
    let state = format!(
        "INSERT INTO {} (one, format, installed, role, epoch, token) VALUES (1, {FORMAT}, 0, {}, {}, {token})",
        tables.own.state,
        role_number(fence.role),
        fence.epoch,
    );
    session.run("installing the sidecar", &state, Vec::new()).await?;
    for trigger in triggers(tables, token) {
        session.script("creating a trigger", &trigger).await.map_err(in_use)?;
    }
    let done = format!("UPDATE {} SET installed = 1 WHERE one = 1", tables.own.state);
    session.run("installing the sidecar", &done, Vec::new()).await?;
    Ok(())
}

fn create_statements(tables: &Tables) -> StoreResult<Vec<String>> {
    let own = &tables.own;
    let mut declared = String::new();
    for (at, column) in tables.key.iter().enumerate() {
        let ty = column.mark_type().map_err(|what| {
            let what = format!("table {:?}, column {:?}: {what}", tables.name, column.name);
            StoreError::new(StoreErrorKind::Unsupported, what)
        })?;
        declared.push_str(&format!("k{at} {ty} NOT NULL, "));
    }
    let keys = mark_key_list(tables.key.len());
    let text = format!("LONGTEXT CHARACTER SET utf8mb4 COLLATE {}", tables.server.exact_collation());
    let create =
        |name: &str, columns: String| format!("CREATE TABLE {name} ({columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC");
    Ok(vec![
        create(
            &own.state,
            "one TINYINT NOT NULL PRIMARY KEY, format INT NOT NULL, installed TINYINT NOT NULL, role TINYINT NOT NULL, \
             epoch BIGINT UNSIGNED NOT NULL, token BIGINT UNSIGNED NOT NULL"
                .to_owned(),
        ),
        create(
            &own.marks,
            format!(
                "{declared}epoch BIGINT UNSIGNED NOT NULL, counter BIGINT UNSIGNED NOT NULL, dirty TINYINT NOT NULL, \
                 parked {text}, PRIMARY KEY ({keys}), KEY dirty (dirty, epoch, counter)"
            ),
        ),
        create(&own.foreign, format!("{declared}PRIMARY KEY ({keys})")),
        create(
            &own.idempotency,
            format!(
                "k VARBINARY({IDEMPOTENCY_KEY_BYTES_MAX}) NOT NULL PRIMARY KEY, request_hash CHAR(32) CHARACTER SET ascii \
                 NOT NULL, answer {text} NOT NULL, at_ms BIGINT NOT NULL, KEY at_ms (at_ms)"
            ),
        ),
        create(
            &own.checkpoints,
            format!("run VARBINARY(512) NOT NULL, part INT UNSIGNED NOT NULL, body {text} NOT NULL, PRIMARY KEY (run, part)"),
        ),
    ])
}

async fn provision(inner: &Inner, session: &mut Session) -> StoreResult<Vec<String>> {
    let server = Server::look(session).await?;
    let tree = Tree::of(&inner.layout);
    let mut ran = Vec::new();
    for (name, sql) in provision::create_statements(&server, &tree)? {
        if facts::spelled(session, &server, &name).await?.is_none() {
            session.script("making a table", &sql).await?;
            ran.push(sql);
        }
    }
    inner.forget();
    inner.tables(session).await?.check_key()?;
    Ok(ran)
}

/// Sets the fence. Its row's lock is held by every transaction that a trigger
/// or this program has let in, so that we wait for all of them.
async fn try_set_fence(session: &mut Session, tables: &Tables, expect: Fence, new: Fence) -> Tried<Fence> {
    let state = &tables.own.state;
    session.begin_writing(&format!("SELECT one FROM {state} WHERE one = 1 FOR UPDATE")).await.map_err(
        |mut failure| {
            if failure.code != 0 && failure.error.kind == StoreErrorKind::Unavailable {
                let hint = "a transaction that has written the table is still open; it will be tried again";
                failure.error.hint = Some(hint.to_owned());
            }
            failure
        },
    )?;
    let held = read_fence(session, tables).await?.ok_or_else(|| no_sidecar(&tables.name))?;
    if held != expect {
        return Ok(held);
    }
    let bound = [Cell::from_u64(role_number(new.role)), Cell::from_u64(new.epoch)];
    let sql = format!("UPDATE {state} SET role = ?, epoch = ? WHERE one = 1");
    session.run("setting the fence", &sql, bind(&bound)).await?;
    Ok(new)
}

async fn dirty(
    session: &mut Session,
    tables: &Tables,
    marks: Marks,
    after: Option<Stamp>,
    marks_max: usize,
) -> Tried<Vec<DirtyMark>> {
    sidecar(tables, marks)?;
    let parts = tables.key.len();
    let after = after.unwrap_or(Stamp::ZERO);
    let sql = format!(
        "SELECT {}, epoch, counter FROM {} WHERE dirty = 1 AND epoch >= ? AND (epoch > ? OR counter > ?) \
         ORDER BY epoch, counter LIMIT ?",
        mark_key_list(parts),
        tables.own.marks,
    );
    let bound = [after.epoch, after.epoch, after.counter, marks_max as u64].map(Wire::UInt).to_vec();
    let rows = session.rows("reading dirty marks", &sql, bound).await?;
    let mut marks = Vec::with_capacity(rows.len());
    for row in rows {
        let number = |at: usize| row.get(at).and_then(number_of).unwrap_or(0);
        let key = tables.tree.key_from_cells(tables, &row[..parts])?;
        marks.push(DirtyMark { key, stamp: Stamp::new(number(parts), number(parts + 1)) });
    }
    Ok(marks)
}

async fn clear(session: &mut Session, tables: &Tables, marks: &[(Vec<Cell>, Stamp)]) -> Tried<u64> {
    let one = format!("({} AND epoch = ? AND counter = ?)", is_mark("", tables.key.len()));
    let mut cleared = 0;
    for chunk in marks.chunks(KEYS_MAX) {
        let count = rounded(chunk.len());
        let any = vec![one.as_str(); count].join(" OR ");
        let sql = format!("UPDATE {} SET dirty = 0 WHERE dirty = 1 AND ({any})", tables.own.marks);
        let filled = chunk.iter().chain(chunk.last().into_iter().cycle()).take(count);
        let mut bound = Vec::with_capacity(count * (tables.key.len() + 2));
        for (key, stamp) in filled {
            bound.extend(bind(key));
            bound.extend([Wire::UInt(stamp.epoch), Wire::UInt(stamp.counter)]);
        }
        cleared += session.run("clearing marks", &sql, bound).await?;
    }
    Ok(cleared)
}

async fn foreign(session: &mut Session, tables: &Tables, marks: Marks, keys_max: usize) -> Tried<Vec<Key>> {
    sidecar(tables, marks)?;
    let keys = mark_key_list(tables.key.len());
    let sql = format!("SELECT {keys} FROM {} ORDER BY {keys} LIMIT ?", tables.own.foreign);
    let rows = session.rows("reading foreign writes", &sql, vec![Wire::UInt(keys_max as u64)]).await?;
    let keys: StoreResult<Vec<Key>> = rows.iter().map(|row| tables.tree.key_from_cells(tables, row)).collect();
    Ok(keys?)
}

async fn clear_foreign(session: &mut Session, tables: &Tables, keys: &[Vec<Cell>]) -> Tried<u64> {
    let mut cleared = 0;
    for chunk in keys.chunks(KEYS_MAX) {
        let asked: Vec<&[Cell]> = chunk.iter().map(Vec::as_slice).collect();
        let one_of = in_marks(tables.key.len(), rounded(chunk.len()));
        let sql = format!("DELETE FROM {} WHERE {one_of}", tables.own.foreign);
        cleared += session.run("forgetting foreign writes", &sql, bind_keys(&asked)).await?;
    }
    Ok(cleared)
}

/// Refuses a call that needs the sidecar.
fn sidecar(tables: &Tables, marks: Marks) -> Tried<()> {
    match marks {
        Marks::Joined => Ok(()),
        Marks::Absent => Err(no_sidecar(&tables.name).into()),
    }
}

#[async_trait]
impl Capture for MySql {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { provision(&inner, &mut inner.pool.session().await?).await }).await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { install(&inner, &mut inner.pool.session().await?, fence).await }).await
    }

    async fn remove(&self) -> StoreResult<()> {
        let inner = self.0.clone();
        MySql::to_the_end(async move {
            let mut session = inner.pool.session().await?;
            let session = &mut session;
            let server = Server::look(session).await?;
            let names = names(session, &server, &Tree::of(&inner.layout)).await?;
            inner.installed.store(false, Ordering::Release);
            alone!(session, &names.root, names.remove(session).await)
        })
        .await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        let mut session = self.0.pool.session().await?;
        let tables = self.0.tables(&mut session).await?;
        read_fence(&mut session, &tables).await
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let inner = self.0.clone();
        MySql::to_the_end(async move {
            let mut attempt = 0;
            loop {
                let mut session = inner.pool.session().await?;
                let tables = inner.tables(&mut session).await?;
                match try_set_fence(&mut session, &tables, expect, new).await {
                    Ok(fence) => {
                        session.commit().await?;
                        return Ok(fence);
                    }
                    Err(failure) if failure.code == NO_SUCH_TABLE => return Err(no_sidecar(&tables.name)),
                    Err(failure) => {
                        session.roll_back().await;
                        inner.again(failure, &mut attempt).await?;
                    }
                }
            }
        })
        .await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        reading!(self.0, Reads::One, |session, tables, marks| dirty(session, tables, marks, after, marks_max))
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        reading!(self.0, Reads::One, |session, tables, marks| async {
            sidecar(tables, marks)?;
            let sql = format!("SELECT COUNT(*) FROM {} WHERE dirty = 1", tables.own.marks);
            let rows = session.rows("counting dirty marks", &sql, Vec::new()).await?;
            Ok(rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0))
        })
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        reading!(self.0, Reads::One, |session, tables, there| async {
            sidecar(tables, there)?;
            let cells = marks.iter().map(|mark| Ok((tables.tree.key_to_cells(tables, &mark.key)?, mark.stamp)));
            let cells = cells.collect::<StoreResult<Vec<_>>>()?;
            clear(session, tables, &cells).await
        })
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        reading!(self.0, Reads::One, |session, tables, marks| foreign(session, tables, marks, keys_max))
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        reading!(self.0, Reads::One, |session, tables, marks| async {
            sidecar(tables, marks)?;
            let cells = keys.iter().map(|key| tables.tree.key_to_cells(tables, key));
            let cells = cells.collect::<StoreResult<Vec<_>>>()?;
            clear_foreign(session, tables, &cells).await
        })
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        let mut session = self.0.pool.session().await?;
        let server = Server::look(&mut session).await?;
        names(&mut session, &server, &Tree::of(&self.0.layout)).await?.there(&mut session).await
    }
}
