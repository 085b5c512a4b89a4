//! Writing the records of a batch that were compared with what is held: all
//! together, and in halves where one is refused, until only the refused ones
//! are left; then those that a unique value of another record keeps out, in
//! turn as long as that helps, and last all of them with their values freed
//! first, so that values can pass in a circle.

use std::collections::HashMap;

use shearwater_core::Stamp;
use shearwater_core::store::Applied;

use super::apply::{Prepared, refusal, set_marks};
use super::cell::Cell;
use super::error::{Failure, Tried};
use super::names::quoted;
use super::record::{
    KEYS_MAX, Lock, Mark, RootRow, Rows, bind_keys, delete_children, delete_roots, insert_children, insert_roots,
    root_row, rounded, row_places, update_root, with_children,
};
use super::session::Session;
use super::tables::{Alone, KeyIndex, Marks, Tables, in_keys, is_key};
use crate::relational::RawRecord;

/// A put and what is held for its key.
pub(super) struct Work<'a> {
    /// Its place in the batch.
    pub(super) at: usize,
    /// The put.
    pub(super) put: &'a Prepared,
    /// The mark held.
    pub(super) held: Mark,
    /// The record held.
    pub(super) found: Option<RawRecord<Cell>>,
    /// Whether the content is the same.
    pub(super) same: bool,
}

impl Work<'_> {
    /// Whether the mark has to be written.
    fn needs_mark(&self) -> bool {
        let parked = matches!(&self.put.image, Some((_, Cell::Bytes(_))));
        self.held.stamp < self.put.stamp
            || (!self.same && (self.held.stamp > Stamp::ZERO || parked || !self.held.parked.is_empty()))
    }

    fn applied(&self) -> Applied {
        if self.same { Applied::Unchanged } else { Applied::Changed }
    }
}

/// Reads records by key, and keeps them from changing.
pub(super) async fn read_records(
    session: &mut Session,
    tables: &Tables,
    keys: &[&[Cell]],
) -> Tried<HashMap<Vec<Cell>, RawRecord<Cell>>> {
    let mut found = HashMap::new();
    for chunk in keys.chunks(KEYS_MAX) {
        let condition = in_keys("r.", &tables.key, rounded(chunk.len()));
        let sql = format!("{} WHERE {condition}{}", tables.select_with_marks(Marks::Absent), Lock::Held.clause());
        let rows = session.rows("reading records", &sql, bind_keys(chunk)).await?;
        let rows = rows.into_iter().map(|row| root_row(tables, row));
        let roots: Vec<_> = rows.map(|RootRow { key, values, .. }| (key, values)).collect();
        for raw in with_children(session, tables, roots, Lock::Held).await? {
            found.insert(raw.key.clone(), raw);
        }
    }
    Ok(found)
}

/// One batch while it is being written.
pub(super) struct Batch<'s, 'a> {
    session: &'s mut Session,
    tables: &'a Tables,
    work: Vec<Work<'a>>,
}

/// Why a record was not written, and which.
struct Kept {
    which: usize,
    failure: Failure,
}

impl<'s, 'a> Batch<'s, 'a> {
    /// A batch of compared puts.
    pub(super) fn new(session: &'s mut Session, tables: &'a Tables, work: Vec<Work<'a>>) -> Batch<'s, 'a> {
        Batch { session, tables, work }
    }

    /// Writes all; returns the puts without a stamp whose record was not there
    /// and is now, and which have no mark.
    pub(super) async fn write(&mut self, out: &mut [Applied]) -> Tried<Vec<&'a Prepared>> {
        let mut kept: Vec<Kept> = Vec::new();
        let mut written: Vec<usize> = Vec::new();
        let mut todo: Vec<Vec<usize>> = vec![(0..self.work.len()).collect()];
        while let Some(part) = todo.pop() {
            match self.try_all(&part).await? {
                None => written.extend(part),
                Some(failure) => match part.as_slice() {
                    [which] => kept.push(Kept { which: *which, failure }),
                    _ => {
                        let (left, right) = part.split_at(part.len() / 2);
                        todo.push(right.to_vec());
                        todo.push(left.to_vec());
                    }
                },
            }
        }
        let pending = self.refuse_others(kept, out)?;
        written.extend(self.settle(pending, out).await?);
        for which in &written {
            out[self.work[*which].at] = self.work[*which].applied();
        }
        let is_fresh = |work: &&Work<'a>| {
            work.put.stamp == Stamp::ZERO && !work.same && work.found.is_none() && !work.needs_mark()
        };
        Ok(written.iter().map(|which| &self.work[*which]).filter(is_fresh).map(|work| work.put).collect())
    }

    /// Refuses those that no other record keeps out; returns the others.
    fn refuse_others(&self, kept: Vec<Kept>, out: &mut [Applied]) -> Tried<Vec<Kept>> {
        let mut pending = Vec::new();
        for one in kept {
            if one.failure.is_duplicate() {
                pending.push(one);
            } else {
                out[self.work[one.which].at] = refusal(one.failure.error)?;
            }
        }
        Ok(pending)
    }

    /// Writes some records with their marks, or none of them: then why.
    async fn try_all(&mut self, which: &[usize]) -> Tried<Option<Failure>> {
        self.session.script("beginning a part", "SAVEPOINT part").await?;
        match self.put(which).await {
            Ok(()) => Ok(None),
            // A key that was not there when it was looked at.
            Err(failure) if super::write::is_key_taken(self.tables, &failure) && !self.folds() => {
                Err(Failure::lost_race())
            }
            Err(failure) if failure.is_refusal() => {
                self.session.script("undoing a part", "ROLLBACK TO SAVEPOINT part").await?;
                Ok(Some(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    fn folds(&self) -> bool {
        self.tables.key.iter().any(super::native::Column::folds)
    }

    async fn put(&mut self, which: &[usize]) -> Tried<()> {
        let (session, tables) = (&mut *self.session, self.tables);
        let work: Vec<&Work<'a>> = which.iter().map(|at| &self.work[*at]).collect();
        let changed: Vec<&Work<'a>> = work.iter().filter(|work| !work.same).copied().collect();
        let key = |work: &&Work<'a>| work.put.key.as_slice();
        let cleared: Vec<&[Cell]> = changed.iter().map(key).collect();
        delete_children(session, tables, &cleared).await?;
        let gone: Vec<&[Cell]> =
            changed.iter().filter(|w| w.put.image.is_none() && w.found.is_some()).map(key).collect();
        delete_roots(session, tables, &gone).await?;
        let records = |there: fn(&Work<'a>) -> bool| {
            let chosen = changed.iter().filter(move |work| there(work));
            chosen.filter_map(|work| work.put.image.as_ref().map(|(raw, _)| raw)).collect::<Vec<_>>()
        };
        update_roots(session, tables, &records(|work| work.found.is_some())).await?;
        insert_roots(session, tables, &records(|work| work.found.is_none())).await?;
        insert_children(session, tables, &records(|_| true)).await?;
        let marked: Vec<&Prepared> = work.iter().filter(|work| work.needs_mark()).map(|work| work.put).collect();
        set_marks(session, tables, &marked).await
    }

    /// Puts that failed because another record holds a unique value.
    async fn settle(&mut self, mut pending: Vec<Kept>, out: &mut [Applied]) -> Tried<Vec<usize>> {
        let mut written = Vec::new();
        let mut before = usize::MAX;
        while !pending.is_empty() && pending.len() < before {
            before = pending.len();
            let mut still = Vec::new();
            for one in pending {
                match self.try_all(&[one.which]).await? {
                    None => written.push(one.which),
                    Some(failure) => still.push(Kept { which: one.which, failure }),
                }
            }
            pending = self.refuse_others(still, out)?;
        }
        while !pending.is_empty() {
            pending = self.put_together(pending, &mut written, out).await?;
        }
        Ok(written)
    }

    /// Frees the values of all pending puts, then writes them. Those that even
    /// so find their value taken are refused, everything is undone, and the
    /// others are returned to be tried without them.
    async fn put_together(
        &mut self,
        pending: Vec<Kept>,
        written: &mut Vec<usize>,
        out: &mut [Applied],
    ) -> Tried<Vec<Kept>> {
        self.session.script("beginning a part", "SAVEPOINT together").await?;
        let which: Vec<usize> = pending.iter().map(|one| one.which).collect();
        let held: Vec<Option<RawRecord<Cell>>> = self.free(&which).await?;
        let mut refused = Vec::new();
        for (at, one) in pending.iter().enumerate() {
            if let Some(failure) = self.try_all(&[one.which]).await? {
                refused.push((at, failure));
            }
        }
        if refused.is_empty() {
            written.extend(which);
            return Ok(Vec::new());
        }
        self.session.script("undoing a part", "ROLLBACK TO SAVEPOINT together").await?;
        for (which, found) in which.iter().zip(held) {
            self.work[*which].found = found;
        }
        let gone: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
        for (at, failure) in refused {
            out[self.work[pending[at].which].at] = refusal(failure.error)?;
        }
        Ok(pending.into_iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, one)| one).collect())
    }

    /// Frees the unique values of records that are there: by deleting them
    /// where that loses nothing, else by setting to NULL what may be. Returns
    /// what was found before.
    async fn free(&mut self, which: &[usize]) -> Tried<Vec<Option<RawRecord<Cell>>>> {
        let mut held = Vec::with_capacity(which.len());
        for at in which {
            let work = &mut self.work[*at];
            let key = [work.put.key.as_slice()];
            let found = work.found.clone();
            if found.is_some() {
                match self.tables.alone {
                    Alone::Yes => {
                        delete_children(self.session, self.tables, &key).await?;
                        delete_roots(self.session, self.tables, &key).await?;
                        work.found = None;
                    }
                    Alone::No => free_in_place(self.session, self.tables, key[0]).await?,
                }
            }
            held.push(found);
        }
        Ok(held)
    }
}

async fn free_in_place(session: &mut Session, tables: &Tables, key: &[Cell]) -> Tried<()> {
    let others = tables.unique.iter().filter(|index| !index.is_primary()).flat_map(|index| &index.columns);
    let free: Vec<String> = others
        .filter(|name| tables.values.iter().any(|column| column.nullable && column.name == **name))
        .map(|name| format!("{} = NULL", quoted(name)))
        .collect();
    if free.is_empty() {
        return Ok(());
    }
    let sql = format!("UPDATE {} SET {} WHERE {}", quoted(&tables.name), free.join(", "), is_key("", &tables.key));
    session.run("freeing unique values", &sql, super::session::bind(key)).await.map(|_| ())
}

/// Changes root rows that are there and locked. Where the key is the primary
/// key this is one statement: the server meets the primary key first, so that
/// no row of another key can be taken for the one to change.
async fn update_roots(session: &mut Session, tables: &Tables, records: &[&RawRecord<Cell>]) -> Tried<()> {
    let together = tables.key_index == KeyIndex::Primary && tables.alone == Alone::Yes && !tables.values.is_empty();
    if !together || records.len() < 2 {
        for raw in records {
            update_root(session, tables, raw).await?;
        }
        return Ok(());
    }
    let set: Vec<String> = tables.values.iter().map(|c| format!("{0} = VALUES({0})", quoted(&c.name))).collect();
    let tail = format!(" ON DUPLICATE KEY UPDATE {}", set.join(", "));
    let (head, width) = (tables.insert_root(), tables.root_width());
    let rows: Vec<Vec<&Cell>> = records.iter().map(|raw| raw.key.iter().chain(&raw.values).collect()).collect();
    let update = Rows { head: &head, row: row_places(width), tail: &tail, width };
    update.insert(session, "writing records", &rows).await.map_err(|failure| super::record::named(tables, failure))
}
