//! Guarded puts of one batch, inside its transaction.
//!
//! A record that nobody has written since capture began needs no sidecar row,
//! so a backfill is a COPY into the user's tables, as long as no key of it is
//! there. What cannot go that way is read first, compared, and written in one
//! round trip; and one by one, each in a savepoint, when that fails.

use std::collections::HashSet;

use shearwater_core::Stamp;
use shearwater_core::error::{StoreError, StoreResult};
use shearwater_core::store::{Applied, Put};
use shearwater_core::value::json;
use tokio_postgres::types::ToSql;

use super::capture::absent;
use super::cell::Cell;
use super::change::{self, Put as Over, Step, Wrote, run, step_of_mark, steps_of_delete, steps_of_put};
use super::copy::copy;
use super::error::Failure;
use super::facts::Copies;
use super::record::{Mark, parked_text};
use super::scan::found_rows;
use super::session::{Session, pipelined};
use super::tables::{RawRecord, Sidecar, Tables};
use crate::relational::refused;

/// Fresh records from which COPY is worth its two messages more than an INSERT.
const COPY_RECORDS_MIN: usize = 8;

/// A put whose cells are made.
pub(super) struct Prepared {
    pub(super) key: Vec<Cell>,
    pub(super) image: Option<(RawRecord, Option<String>)>,
    stamp: Stamp,
}

impl Prepared {
    /// Whether it is a record that nobody has written since capture began.
    pub(super) fn is_fresh(&self) -> bool {
        self.stamp == Stamp::ZERO && matches!(self.image, Some((_, None)))
    }

    fn raw(&self) -> Option<&RawRecord> {
        self.image.as_ref().map(|(raw, _)| raw)
    }

    fn parked(&self) -> Option<&str> {
        self.image.as_ref().and_then(|(_, parked)| parked.as_deref())
    }
}

pub(super) fn prepare(tables: &Tables, put: &Put) -> StoreResult<Prepared> {
    let image = match &put.image {
        Some(image) => Some((tables.to_raw(&put.key, &image.record)?, parked_text(image))),
        None => None,
    };
    Ok(Prepared { key: tables.key_to_cells(&put.key)?, image, stamp: put.stamp })
}

/// What is to be done for a put.
enum Plan {
    /// The follower holds a higher stamp.
    Stale(Stamp),
    /// The content is there; whether the stamp has to be raised.
    Same(Mend),
    /// The content is to be written, and how; whether a mark is needed.
    Write(Over, Mend),
}

/// Whether a put sets the mark.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mend {
    Mark,
    Nothing,
}

/// One batch while it is being applied.
pub(super) struct Batch<'a> {
    pub(super) session: &'a Session,
    pub(super) tables: &'a Tables,
    pub(super) puts: &'a [StoreResult<Prepared>],
    pub(super) out: Vec<Applied>,
}

/// What a segment's puts need, each with its place in the batch.
type Planned<'a> = Vec<(usize, &'a Prepared, Plan)>;

impl<'a> Batch<'a> {
    fn at(&self, at: usize) -> Option<&'a Prepared> {
        self.puts.get(at).and_then(|put| put.as_ref().ok())
    }

    /// Applies all; every refusal is in `out`.
    pub(super) async fn run(&mut self, marked: &HashSet<usize>, optimism: Optimism) -> Result<Optimism, Failure> {
        let mut learned = optimism;
        for segment in self.segments() {
            let (mut rest, mut fresh) = (Vec::new(), Vec::new());
            for at in segment {
                let is_fresh = self.at(at).is_some_and(Prepared::is_fresh) && !marked.contains(&at);
                if is_fresh && optimism == Optimism::High { fresh.push(at) } else { rest.push(at) }
            }
            if fresh.len() < COPY_RECORDS_MIN || self.tables.facts.copies == Copies::Never {
                rest.append(&mut fresh);
            } else if !self.copy_all(&fresh).await? {
                learned = Optimism::Low;
                rest.append(&mut fresh);
            }
            if !rest.is_empty() {
                let absent = self.guarded(rest).await?;
                if optimism == Optimism::Low && absent == Absent::All {
                    learned = Optimism::High;
                }
            }
        }
        Ok(learned)
    }

    /// Parts of the batch in which no key comes twice, in order.
    fn segments(&mut self) -> Vec<Vec<usize>> {
        let mut segments = vec![Vec::new()];
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut bytes: Vec<Vec<u8>> = Vec::with_capacity(self.puts.len());
        for put in self.puts {
            let cells = put.as_ref().map(|put| put.key.as_slice()).unwrap_or_default();
            bytes.push(super::cell::cells_to_text(cells).into_bytes());
        }
        for (at, put) in self.puts.iter().enumerate() {
            if put.is_err() {
                continue;
            }
            if !seen.insert(&bytes[at]) {
                seen.clear();
                seen.insert(&bytes[at]);
                segments.push(Vec::new());
            }
            if let Some(last) = segments.last_mut() {
                last.push(at);
            }
        }
        // In one order, so that two batches do not wait for each other in a circle.
        for segment in &mut segments {
            segment.sort_by(|a, b| bytes[*a].cmp(&bytes[*b]));
        }
        segments
    }

    /// Copies records that should not be there. `false`: not all of them can be
    /// copied, and nothing was written.
    async fn copy_all(&mut self, fresh: &[usize]) -> Result<bool, Failure> {
        let records: Vec<&RawRecord> = fresh.iter().filter_map(|at| self.at(*at)?.raw()).collect();
        self.session.batch("SAVEPOINT records").await?;
        match copy(self.session, self.tables, &records).await {
            Ok(()) => {
                self.session.batch("RELEASE records").await?;
                fresh.iter().for_each(|at| self.out[*at] = Applied::Changed);
                Ok(true)
            }
            Err(failure) if failure.is_refusal() => {
                self.session.batch("ROLLBACK TO records; RELEASE records").await?;
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads what is there, and does what each put needs.
    async fn guarded(&mut self, ats: Vec<usize>) -> Result<Absent, Failure> {
        let planned = self.plan(&ats).await?;
        let new = planned.iter().filter(|(_, _, plan)| matches!(plan, Plan::Write(Over::New, _))).count();
        let absent = if new == planned.len() { Absent::All } else { Absent::Some };
        let (mut copied, mut written) = (Vec::new(), Vec::new());
        for (at, put, plan) in planned {
            match plan {
                Plan::Stale(held) => self.out[at] = Applied::Stale { held },
                Plan::Same(Mend::Nothing) => self.out[at] = Applied::Unchanged,
                Plan::Write(Over::New, Mend::Nothing) if put.is_fresh() => copied.push((at, put, plan)),
                plan => written.push((at, put, plan)),
            }
        }
        if copied.len() < COPY_RECORDS_MIN || self.tables.facts.copies == Copies::Never {
            written.append(&mut copied);
        }
        self.copy_in_parts(copied, &mut written).await?;
        if written.is_empty() || self.write_all(&written).await? {
            return Ok(absent);
        }
        let mut pending = Vec::new();
        for one in &written {
            self.write_one(one, &mut pending).await?;
        }
        self.settle(&written, pending).await?;
        Ok(absent)
    }

    /// Copies records in halves until what is refused is found; that goes to `written`.
    async fn copy_in_parts(&mut self, all: Planned<'a>, written: &mut Planned<'a>) -> Result<(), Failure> {
        let mut parts = vec![all];
        while let Some(mut part) = parts.pop() {
            let ats: Vec<usize> = part.iter().map(|(at, _, _)| *at).collect();
            if ats.is_empty() || (ats.len() >= COPY_RECORDS_MIN && self.copy_all(&ats).await?) {
                continue;
            }
            if ats.len() < COPY_RECORDS_MIN {
                written.append(&mut part);
            } else {
                parts.push(part.split_off(part.len() / 2));
                parts.push(part);
            }
        }
        Ok(())
    }

    async fn plan(&self, ats: &[usize]) -> Result<Planned<'a>, Failure> {
        let puts: Vec<(usize, &Prepared)> = ats.iter().filter_map(|at| Some((*at, self.at(*at)?))).collect();
        let keys: Vec<&[Cell]> = puts.iter().map(|(_, put)| put.key.as_slice()).collect();
        let arrays = self.tables.key_arrays(&keys);
        let bound: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
        let (lock, fetch) = (self.tables.lock(), self.tables.fetch(Sidecar::Installed));
        let statements = [self.session.prepared(&lock).await?, self.session.prepared(&fetch).await?];
        let requests = statements.iter().map(|statement| self.session.client.query(statement, &bound)).collect();
        let mut rows = Vec::new();
        for answer in pipelined(requests).await {
            rows = answer.map_err(|e| absent(self.tables, self.session.failed("reading records", &e)))?;
        }
        let found = found_rows(self.tables, Sidecar::Installed, &keys, &rows)?;
        let mut planned = Vec::with_capacity(puts.len());
        for ((at, put), found) in puts.into_iter().zip(found) {
            let held = found.mark?;
            planned.push((at, put, self.plan_one(put, found.raw.as_ref(), &held)));
        }
        Ok(planned)
    }

    fn plan_one(&self, put: &Prepared, found: Option<&RawRecord>, held: &Mark) -> Plan {
        if held.stamp > put.stamp {
            return Plan::Stale(held.stamp);
        }
        let same = self.same(put.raw(), found) && same_parked(put.parked(), held);
        let has_mark = held.stamp > Stamp::ZERO || put.parked().is_some() || !held.parked.is_empty();
        let mend = if held.stamp < put.stamp || (!same && has_mark) { Mend::Mark } else { Mend::Nothing };
        match (same, found) {
            (true, _) => Plan::Same(mend),
            (false, None) => Plan::Write(Over::New, mend),
            (false, Some(_)) => Plan::Write(Over::Over, mend),
        }
    }

    /// Whether the store holds this content. What it holds and cannot be read
    /// is not the same as anything.
    fn same(&self, put: Option<&RawRecord>, found: Option<&RawRecord>) -> bool {
        match (put, found) {
            (None, None) => true,
            (Some(put), Some(found)) if put == found => true,
            (Some(put), Some(found)) => {
                let read = |raw: &RawRecord| {
                    self.tables.key_from_cells(&raw.key).and_then(|key| self.tables.record_of(&key, raw)).ok()
                };
                let put = read(put);
                put.is_some() && put == read(found)
            }
            _ => false,
        }
    }

    fn steps(&self, (_, put, plan): &(usize, &'a Prepared, Plan)) -> Result<Vec<Step<'a>>, Failure>
    where
        'a: 'a,
    {
        let (mut steps, mend) = match plan {
            Plan::Stale(_) => return Ok(Vec::new()),
            Plan::Same(mend) => (Vec::new(), *mend),
            Plan::Write(over, mend) => match put.raw() {
                Some(raw) => (steps_of_put(self.tables, raw, *over), *mend),
                None => (steps_of_delete(self.tables, &put.key), *mend),
            },
        };
        if mend == Mend::Mark {
            steps.push(step_of_mark(self.tables, &put.key, put.stamp, put.parked())?);
        }
        Ok(steps)
    }

    fn done((_, _, plan): &(usize, &Prepared, Plan)) -> Applied {
        match plan {
            Plan::Stale(held) => Applied::Stale { held: *held },
            Plan::Same(_) => Applied::Unchanged,
            Plan::Write(..) => Applied::Changed,
        }
    }

    /// Writes all in one round trip. `false`: one of them is refused, and
    /// nothing was written.
    async fn write_all(&mut self, all: &Planned<'a>) -> Result<bool, Failure> {
        let mut steps = Vec::new();
        for one in all {
            steps.extend(self.steps(one)?);
        }
        self.session.batch("SAVEPOINT records").await?;
        match run(self.session, self.tables, &steps).await {
            Ok(Wrote::Done) => {
                self.session.batch("RELEASE records").await?;
                all.iter().for_each(|one| self.out[one.0] = Batch::done(one));
                Ok(true)
            }
            Ok(Wrote::Conflict) => {
                self.session.batch("ROLLBACK TO records; RELEASE records").await?;
                Ok(false)
            }
            Err(failure) if failure.is_refusal() => {
                self.session.batch("ROLLBACK TO records; RELEASE records").await?;
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Writes one in a savepoint of its own; one whose unique value is held by
    /// another record goes to `pending`.
    async fn write_one(
        &mut self,
        one: &(usize, &'a Prepared, Plan),
        pending: &mut Vec<(usize, StoreError)>,
    ) -> Result<(), Failure> {
        let steps = self.steps(one)?;
        self.session.batch("SAVEPOINT record").await?;
        let refusal = match run(self.session, self.tables, &steps).await {
            Ok(Wrote::Done) => {
                self.session.batch("RELEASE record").await?;
                self.out[one.0] = Batch::done(one);
                return Ok(());
            }
            // The row came meanwhile, or one that the type takes for equal.
            Ok(Wrote::Conflict) if matches!(one.2, Plan::Write(Over::New, _)) && !self.is_loose() => {
                return Err(Failure::raced());
            }
            Ok(Wrote::Conflict) => {
                let key = self.tables.tree.key.join(", ");
                let what = "another record has a key that the column takes for equal";
                Failure::from(refused(self.tables.name(), &key, what))
            }
            Err(failure) if failure.is_refusal() => failure,
            Err(failure) => return Err(failure),
        };
        self.session.batch("ROLLBACK TO record; RELEASE record").await?;
        match refusal.is_unique() {
            true => pending.push((one.0, refusal.error)),
            false => self.out[one.0] = Applied::Refused(refusal.error),
        }
        Ok(())
    }

    fn is_loose(&self) -> bool {
        self.tables.facts.key.iter().any(change::is_loose)
    }

    /// Puts that failed because another record holds a unique value: in turn,
    /// as long as that helps; then together, all of them deleted first, so that
    /// values can pass in a circle.
    async fn settle(&mut self, all: &Planned<'a>, mut pending: Vec<(usize, StoreError)>) -> Result<(), Failure> {
        let mut before = usize::MAX;
        while !pending.is_empty() && pending.len() < before {
            before = pending.len();
            let mut still = Vec::new();
            for one in all.iter().filter(|one| pending.iter().any(|(at, _)| *at == one.0)) {
                self.write_one(one, &mut still).await?;
            }
            pending = still;
        }
        while !pending.is_empty() {
            pending = self.put_together(all, pending).await?;
        }
        Ok(())
    }

    /// Deletes the records of all pending puts, then writes them. Those that
    /// even so find their value taken are refused, everything is undone, and
    /// the others are returned to be tried without them.
    async fn put_together(
        &mut self,
        all: &Planned<'a>,
        pending: Vec<(usize, StoreError)>,
    ) -> Result<Vec<(usize, StoreError)>, Failure> {
        let ours: Vec<_> = all.iter().filter(|one| pending.iter().any(|(at, _)| *at == one.0)).collect();
        self.session.batch("SAVEPOINT together").await?;
        for (_, put, _) in &ours {
            run(self.session, self.tables, &steps_of_delete(self.tables, &put.key)).await?;
        }
        let mut taken = Vec::new();
        for one in &ours {
            self.write_one(one, &mut taken).await?;
        }
        let refused = ours.iter().filter(|one| matches!(self.out[one.0], Applied::Refused(_))).count();
        if taken.is_empty() && refused == 0 {
            self.session.batch("RELEASE together").await?;
            return Ok(Vec::new());
        }
        self.session.batch("ROLLBACK TO together; RELEASE together").await?;
        for (at, error) in taken {
            self.out[at] = Applied::Refused(error);
        }
        Ok(pending.into_iter().filter(|(at, _)| !matches!(self.out[*at], Applied::Refused(_))).collect())
    }
}

fn same_parked(put: Option<&str>, held: &Mark) -> bool {
    match put {
        Some(text) => json::parse_document(text.as_bytes()).is_ok_and(|parked| parked == held.parked),
        None => held.parked.is_empty(),
    }
}

/// Whether all records of a batch were absent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    All,
    Some,
}

/// Whether records of a backfill are taken for absent until COPY says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Optimism {
    /// They are.
    High,
    /// The last batch found some there: they are read first.
    Low,
}
