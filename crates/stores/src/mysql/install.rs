//! Making tables, and installing and removing the sidecar.
//!
//! Changes of the schema are no transactions here, so installing is a sequence
//! that may be cut anywhere: the row of state says `installed` last, and what
//! was left half-done is removed before a new try. The triggers are made while
//! the user's tables are locked, which waits for every transaction that has
//! used them, so that no write that began without a trigger ends after the
//! sidecar counts as installed. Without the lock MariaDB 10.11 tells writers of
//! prepared statements, between two triggers, that our tables do not exist, or
//! hangs for ever.

use std::sync::atomic::Ordering;

use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::Fence;

use super::cell::Cell;
use super::error::{Failure, NO_SUCH_TABLE, NOT_TRUSTED};
use super::facts::{self, Server};
use super::names::{own_name, places, quoted};
use super::session::{Session, bind, number_of, text_of};
use super::state::{FORMAT, read_fence, role_number};
use super::tables::{OwnTables, Tables, mark_key_list};
use super::triggers::{trigger_names, triggers};
use super::{Inner, provision};
use crate::relational::Tree;
use crate::relational::page::Finds;

/// Waiting for another process that installs or removes the same sidecar, s.
const INSTALL_WAIT_S_MAX: u32 = 10;

/// Bytes of an idempotency key, the gateway's prefix included: a few headers'
/// worth, within what an index takes.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 2_048;

/// What a database has of one sidecar.
pub(super) struct Names {
    /// The root table, as the schema spells it or as the layout does.
    root: String,
    tables: Vec<String>,
    triggers: Vec<String>,
}

/// The names of a layout's sidecar.
pub(super) async fn names(session: &mut Session, server: &Server, tree: &Tree) -> StoreResult<Names> {
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
    pub(super) async fn there(&self, session: &mut Session) -> StoreResult<Vec<String>> {
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
        let there = self.there(session).await?;
        for trigger in &self.triggers {
            let sql = format!("DROP TRIGGER IF EXISTS {}", quoted(trigger));
            match session.script("removing a trigger", &sql).await {
                Ok(_) => {}
                // The privilege that was missing to create it.
                Err(failure) if failure.code == NOT_TRUSTED && !there.contains(trigger) => {}
                Err(failure) => return Err(in_use(failure)),
            }
        }
        let tables: Vec<String> = self.tables.iter().map(|name| quoted(name)).collect();
        session.script("removing the sidecar", &format!("DROP TABLE IF EXISTS {}", tables.join(", "))).await?;
        Ok(())
    }
}

/// Runs statements on triggers of tables that nobody else uses meanwhile.
async fn locked(session: &mut Session, tables: &[&str], doing: &str, statements: &[String]) -> Result<(), Failure> {
    let locks: Vec<String> = tables.iter().map(|name| format!("{} WRITE", quoted(name))).collect();
    session.script("locking the tables", &format!("LOCK TABLES {}", locks.join(", "))).await?;
    let mut done = Ok(());
    for statement in statements {
        done = session.script(doing, statement).await.map(drop);
        if done.is_err() {
            break;
        }
    }
    let unlocked = session.script("unlocking the tables", "UNLOCK TABLES").await.map(drop);
    done.and(unlocked)
}

/// A table that a transaction keeps from being changed.
fn in_use(failure: Failure) -> StoreError {
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

/// Installs the sidecar, or leaves what is there.
pub(super) async fn install(inner: &Inner, session: &mut Session, fence: Fence, finds: Finds) -> StoreResult<()> {
    inner.forget();
    let tables = inner.tables(session).await?;
    if read_fence(session, &tables).await?.is_some() {
        return Ok(());
    }
    tables.check_key()?;
    alone!(session, &tables.name, {
        let result = install_alone(session, &tables, fence, finds).await;
        if result.is_err() {
            // The error itself says more than one of cleaning up would.
            if let Ok(names) = names(session, &tables.server, &tables.tree).await {
                let _told = names.remove(session).await;
            }
        }
        result
    })
}

async fn install_alone(session: &mut Session, tables: &Tables, fence: Fence, finds: Finds) -> StoreResult<()> {
    if read_fence(session, tables).await?.is_some() {
        return Ok(());
    }
    let names = names(session, &tables.server, &tables.tree).await?;
    if !names.there(session).await?.is_empty() {
        names.remove(session).await?;
    }
    for sql in create_statements(tables, finds)? {
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
    let user = std::iter::once(&tables.name).chain(tables.children.iter().map(|child| &child.child.shape.table));
    let user: Vec<&str> = user.map(String::as_str).collect();
    let triggers = triggers(tables, token);
    locked(session, &user, "creating a trigger", &triggers).await.map_err(in_use)?;
    let done = format!("UPDATE {} SET installed = 1 WHERE one = 1", tables.own.state);
    session.run("installing the sidecar", &done, Vec::new()).await?;
    Ok(())
}

fn create_statements(tables: &Tables, finds: Finds) -> StoreResult<Vec<String>> {
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
    // The index ends with the primary key by itself, so it gives them in its order.
    let parked = match finds {
        Finds::Keys => "",
        Finds::Parked => ", is_parked TINYINT AS (parked IS NOT NULL) VIRTUAL, KEY parked (is_parked)",
    };
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
                 parked {text}, PRIMARY KEY ({keys}), KEY dirty (dirty, epoch, counter){parked}"
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

/// Removes the sidecar.
pub(super) async fn remove(inner: &Inner, session: &mut Session) -> StoreResult<()> {
    let server = Server::look(session).await?;
    let names = names(session, &server, &Tree::of(&inner.layout)).await?;
    inner.installed.store(false, Ordering::Release);
    alone!(session, &names.root, names.remove(session).await)
}

/// Makes the layout's tables that are not there; the statements run.
pub(super) async fn provision(inner: &Inner, session: &mut Session) -> StoreResult<Vec<String>> {
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
