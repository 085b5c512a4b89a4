//! The sidecar's one row of state: the fence, and what lets our own
//! transactions past the triggers.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fence, Role};

use super::cell::Cell;
use super::error::{Tried, no_sidecar};
use super::session::{Session, number_of};
use super::tables::Tables;
use super::triggers::{AUTHORITY, CLOSED, FOLLOWER};

/// The format of the sidecar's tables; another one is refused.
pub(super) const FORMAT: u64 = 1;

/// The role as the state table and the triggers have it.
pub(super) fn role_number(role: Role) -> u64 {
    match role {
        Role::Authority => AUTHORITY,
        Role::Follower => FOLLOWER,
        Role::Closed => CLOSED,
    }
}

fn role_of(number: u64) -> StoreResult<Role> {
    match number {
        AUTHORITY => Ok(Role::Authority),
        FOLLOWER => Ok(Role::Follower),
        CLOSED => Ok(Role::Closed),
        other => Err(StoreError::new(StoreErrorKind::Sidecar, format!("the sidecar holds an unknown role {other}"))),
    }
}

/// What the state row says, or that the sidecar is not (all) there.
fn fence_of(tables: &Tables, rows: &[Vec<Cell>]) -> StoreResult<Option<Fence>> {
    let Some(row) = rows.last() else { return Ok(None) };
    let numbers: Option<Vec<u64>> = row.iter().map(number_of).collect();
    let Some([format, installed, role, epoch]) = numbers.as_deref() else {
        return Err(StoreError::new(StoreErrorKind::Sidecar, "the sidecar's state cannot be read"));
    };
    if *format != FORMAT {
        let what = format!("table {:?}: its sidecar has format {format}, this program knows {FORMAT}", tables.name);
        return Err(StoreError::new(StoreErrorKind::Sidecar, what)
            .with_hint("use the version of this program that began the migration"));
    }
    Ok(if *installed == 1 { Some(Fence { role: role_of(*role)?, epoch: *epoch }) } else { None })
}

const COLUMNS: &str = "format, installed, role, epoch";

/// The fence; `None`: no sidecar is installed.
pub(super) async fn read_fence(session: &mut Session, tables: &Tables) -> Tried<Option<Fence>> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE one = 1", tables.own.state);
    match session.script("reading the fence", &sql).await {
        Ok(rows) => Ok(fence_of(tables, &rows)?),
        Err(failure) if failure.code == super::error::NO_SUCH_TABLE => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether a transaction of ours obeys foreign keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignKeys {
    /// The authority's writes do.
    Checked,
    /// The follower's do not: its rows come in any order, and what a cascade
    /// changes in the authority comes as puts of its own.
    Unchecked,
}

/// Begins a transaction of our own: the triggers stay silent, and the fence
/// stays as it is until the transaction ends.
pub(super) async fn begin_applying(session: &mut Session, tables: &Tables, keys: ForeignKeys) -> Tried<Fence> {
    let state = &tables.own.state;
    let unchecked = if keys == ForeignKeys::Unchecked { "SET foreign_key_checks = 0; " } else { "" };
    let more = format!(
        "{unchecked}SELECT token INTO @_shearwater_applying FROM {state} WHERE one = 1 LOCK IN SHARE MODE; \
         SELECT {COLUMNS} FROM {state} WHERE one = 1 LOCK IN SHARE MODE"
    );
    let rows = session.begin_writing(&more).await?;
    Ok(fence_of(tables, &rows)?.ok_or_else(|| no_sidecar(&tables.name))?)
}
