//! The sidecar in use: the fence, the marks, foreign writes.

use async_trait::async_trait;
use mysql_async::Value as Wire;
use shearwater_core::error::{StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence};
use shearwater_core::{Key, Stamp};

use super::cell::Cell;
use super::error::{NO_SUCH_TABLE, Tried, no_sidecar};
use super::facts::Server;
use super::install::{install, names, provision, remove};
use super::record::{KEYS_MAX, bind_keys, rounded};
use super::session::{Session, bind, number_of};
use super::state::{read_fence, role_number};
use super::tables::{Marks, Tables, in_marks, is_mark, mark_key_list};
use super::{MySql, Reads, foreign_keys, reading};
use crate::relational::Tree;
use crate::relational::page::Finds;

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

/// By the primary key: along the index of dirty marks it would wait for every
/// writer under way.
async fn clear(session: &mut Session, tables: &Tables, marks: &[(Vec<Cell>, Stamp)]) -> Tried<u64> {
    let one = format!("({} AND epoch = ? AND counter = ?)", is_mark("", tables.key.len()));
    let mut cleared = 0;
    for chunk in marks.chunks(KEYS_MAX) {
        let count = rounded(chunk.len());
        let any = vec![one.as_str(); count].join(" OR ");
        let sql =
            format!("UPDATE {} FORCE INDEX (PRIMARY) SET dirty = 0 WHERE dirty = 1 AND ({any})", tables.own.marks);
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

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        let inner = self.0.clone();
        MySql::to_the_end(async move {
            let mut session = inner.pool.session().await?;
            let tables = inner.tables(&mut session).await?;
            foreign_keys::constrain(&mut session, &tables).await
        })
        .await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { install(&inner, &mut inner.pool.session().await?, fence, Finds::Keys).await })
            .await
    }

    async fn install_for_parked(&self, fence: Fence) -> StoreResult<()> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { install(&inner, &mut inner.pool.session().await?, fence, Finds::Parked).await })
            .await
    }

    async fn remove(&self) -> StoreResult<()> {
        let inner = self.0.clone();
        MySql::to_the_end(async move { remove(&inner, &mut inner.pool.session().await?).await }).await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        reading!(self.0, Reads::One, |session, tables, _marks| read_fence(session, tables))
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let inner = self.0.clone();
        MySql::to_the_end(async move {
            let mut attempt = 0;
            loop {
                let mut session = inner.pool.session().await?;
                let tables = inner.tables(&mut session).await?;
                let mut set = try_set_fence(&mut session, &tables, expect, new).await;
                if set.is_ok() {
                    set = session.commit().await.and(set);
                }
                match set {
                    Ok(fence) => return Ok(fence),
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
