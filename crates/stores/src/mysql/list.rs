//! Lists with canonical meaning.
//!
//! Where the server's own order is canonical order and an index gives it (the
//! key; one column of a plain type with an index), rows are read in order, in
//! growing groups, until the page is full. Otherwise what may match is read
//! once and the page's records are kept in a heap: memory is that of one page
//! and one group either way.

use std::collections::BinaryHeap;

use mysql_async::Value as Wire;
use shearwater_core::error::StoreResult;
use shearwater_core::path::Path;
use shearwater_core::query::{ListPage, ListQuery, OrderTerm, sort_bytes, sort_bytes_of};
use shearwater_core::store::{Among, Fetched};
use shearwater_core::{Document, Key, Value};

use super::cell::Cell;
use super::condition::{Sql, column_of, is_key_order_native, key_cells};
use super::error::Tried;
use super::names::quoted;
use super::record::{Lock, Mark, RootRow, fetched, read_children, root_row};
use super::scan::{Beyond, beyond};
use super::session::{Session, bind};
use super::tables::{Marks, Tables};
use super::value::{is_order_native, to_cell};
use crate::relational::RawRecord;
use crate::relational::page::{Ranked, check_limit, looks_into_children};

/// Rows in one group at most: a few pages' worth, so that memory stays small.
pub(super) const GROUP_ROWS_MAX: usize = 4_096;

/// The server's code for an index that is not there.
const NO_SUCH_INDEX: u16 = 1176;

/// Rows in the first group at least, when the filter may pass over most.
const GROUP_ROWS_MIN: usize = 64;

/// One page.
pub(super) async fn list(session: &mut Session, tables: &Tables, marks: Marks, query: &ListQuery) -> Tried<ListPage> {
    check_limit(query.limit)?;
    List::of(session, tables, marks, query, Among::All).read().await
}

/// Whether the filter or the order looks into child tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Children {
    Needed,
    Unneeded,
}

fn children_of(tables: &Tables, query: &ListQuery) -> Children {
    if looks_into_children(&tables.tree, query) { Children::Needed } else { Children::Unneeded }
}

/// A list while it is read, inside a snapshot.
pub(super) struct List<'a> {
    pub(super) session: &'a mut Session,
    tables: &'a Tables,
    marks: Marks,
    query: &'a ListQuery,
    among: Among,
    children: Children,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Rising,
    Falling,
}

/// A part of the list that one index gives in order.
pub(super) struct Segment {
    pub(super) part: Part,
    /// Go on after this key, and for values after this value; of ties the value,
    /// and the key if it is not their beginning.
    pub(super) after: Option<(Cell, Vec<Cell>)>,
}

/// Whether the server is told by which index to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    Given,
    Left,
}

/// Whether the page is full and there is more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    No,
    Yes,
}

/// The cell of a row in one of the root's columns.
pub(super) fn value_at(row: &RootRow, at: usize) -> Cell {
    row.key.iter().chain(&row.values).nth(at).cloned().unwrap_or(Cell::Null)
}

/// Which part.
#[derive(Clone)]
pub(super) enum Part {
    /// Everything, by key.
    Keys(Direction),
    /// Where a column (its place in the root's columns) is NULL, by key.
    Nulls(usize),
    /// Where it is not, by value and then by key.
    Values(usize, Direction),
    /// Where it has one value, by key.
    Ties(usize),
}

/// A record that passed the filter; its child rows may still be unread.
pub(super) struct Candidate {
    key: Key,
    raw: RawRecord<Cell>,
    mark: Mark,
    record: Document,
}

impl<'a> List<'a> {
    pub(super) fn of(
        session: &'a mut Session,
        tables: &'a Tables,
        marks: Marks,
        query: &'a ListQuery,
        among: Among,
    ) -> List<'a> {
        List { session, tables, marks, query, among, children: children_of(tables, query) }
    }

    /// The page.
    pub(super) async fn read(mut self) -> Tried<ListPage> {
        match self.plan() {
            Some(segments) => self.in_order(segments).await,
            None => self.top().await,
        }
    }

    /// The segments to read one after the other; `None`: no index gives the order.
    pub(super) fn plan(&self) -> Option<Vec<Segment>> {
        if !is_key_order_native(self.tables) || !self.query.is_binary() {
            return None;
        }
        let after = match &self.query.after {
            None => None,
            Some(place) => Some((&place.values, key_cells(self.tables, &place.key)?)),
        };
        let by_key = |direction| {
            let after = after.as_ref().map(|(_, key)| (Cell::Null, key.clone()));
            Some(vec![Segment { part: Part::Keys(direction), after }])
        };
        match self.query.order.as_slice() {
            [] => by_key(Direction::Rising),
            // No two records have the same key, so no further term matters.
            [term, ..] if self.is_key(&term.path) && self.place_is_a_keys() => {
                by_key(if term.descending { Direction::Falling } else { Direction::Rising })
            }
            [term] => self.plan_term(term, after),
            _ => None,
        }
    }

    /// Whether the path is the key, all of it.
    fn is_key(&self, path: &Path) -> bool {
        path.steps().len() == 1 && matches!(self.tables.tree.key.as_slice(), [name] if name == path.root())
    }

    /// Whether the place to go on from, in an order by the key, is that of its key.
    fn place_is_a_keys(&self) -> bool {
        self.query.after.as_ref().is_none_or(|place| place.values.first() == place.key.values().first())
    }

    /// An order by one column of a plain type with an index: its values and its
    /// nulls are two segments.
    fn plan_term(&self, term: &OrderTerm, after: Option<(&Vec<Value>, Vec<Cell>)>) -> Option<Vec<Segment>> {
        let ty = self.tables.tree.layout.type_of(&term.path)?;
        let column = column_of(self.tables, term.path.root())?;
        if !is_order_native(column, ty) || !self.tables.leading.contains_key(&column.name) {
            return None;
        }
        let at = self.tables.key.iter().chain(&self.tables.values).position(|c| c.name == column.name)?;
        let direction = if term.descending { Direction::Falling } else { Direction::Rising };
        let after = match after {
            None => None,
            // A place that this column cannot hold: the general way compares it.
            Some((values, key)) => Some((to_cell(column, ty, values.first()?).ok()?, key)),
        };
        let nulls = |after| Segment { part: Part::Nulls(at), after };
        let values = |after| Segment { part: Part::Values(at, direction), after };
        Some(match (after, term.nulls_first) {
            (Some((Cell::Null, key)), true) => vec![nulls(Some((Cell::Null, key))), values(None)],
            (Some((Cell::Null, key)), false) => vec![nulls(Some((Cell::Null, key)))],
            (Some(place), true) => vec![values(Some(place))],
            (Some(place), false) => vec![values(Some(place)), nulls(None)],
            (None, true) => vec![nulls(None), values(None)],
            (None, false) => vec![values(None), nulls(None)],
        })
    }

    /// A segment's condition with what is bound, and its order.
    fn clause(&self, segment: &Segment) -> (Vec<String>, Vec<Wire>, String) {
        let key = self.tables.key_of_r();
        let falling =
            || self.tables.key.iter().map(|k| format!("r.{} DESC", quoted(&k.name))).collect::<Vec<_>>().join(", ");
        let name = |at: usize| {
            let column = self.tables.key.iter().chain(&self.tables.values).nth(at);
            format!("r.{}", quoted(column.map_or("", |c| c.name.as_str())))
        };
        let beyond_key = |sign| {
            let after = segment.after.as_ref().filter(|(_, key)| !key.is_empty());
            after.map(|(_, key)| beyond(self.tables, sign, key))
        };
        let (mut conditions, mut bound) = (Vec::new(), Vec::new());
        match segment.part {
            Part::Keys(direction) => {
                let sign = if direction == Direction::Rising { Beyond::Above } else { Beyond::Below };
                if let Some((condition, more)) = beyond_key(sign) {
                    conditions.push(format!("({condition})"));
                    bound.extend(more);
                }
                let order = if direction == Direction::Rising { key } else { falling() };
                (conditions, bound, order)
            }
            Part::Nulls(at) => {
                conditions.push(format!("{} IS NULL", name(at)));
                if let Some((condition, more)) = beyond_key(Beyond::Above) {
                    conditions.push(format!("({condition})"));
                    bound.extend(more);
                }
                (conditions, bound, key)
            }
            Part::Values(at, Direction::Rising) => {
                let name = name(at);
                match (&segment.after, beyond_key(Beyond::Above)) {
                    (Some((value, _)), Some((condition, more))) => {
                        conditions.push(format!("{name} >= ? AND ({name} > ? OR ({condition}))"));
                        bound.extend(bind([value, value]));
                        bound.extend(more);
                    }
                    _ => conditions.push(format!("{name} IS NOT NULL")),
                }
                (conditions, bound, format!("{name} ASC, {key}"))
            }
            // The keys of a value fall too, as the index has them from behind.
            Part::Values(at, Direction::Falling) => {
                let name = name(at);
                match &segment.after {
                    Some((value, _)) => {
                        conditions.push(format!("{name} < ?"));
                        bound.extend(bind([value]));
                    }
                    None => conditions.push(format!("{name} IS NOT NULL")),
                }
                (conditions, bound, format!("{name} DESC, {}", falling()))
            }
            Part::Ties(at) => {
                conditions.push(format!("{} = ?", name(at)));
                bound.extend(segment.after.iter().flat_map(|(value, _)| bind([value])));
                if let Some((condition, more)) = beyond_key(Beyond::Above) {
                    conditions.push(format!("({condition})"));
                    bound.extend(more);
                }
                (conditions, bound, key)
            }
        }
    }

    /// Where a segment goes on after a row.
    fn place_of(&self, part: &Part, row: &RootRow) -> (Cell, Vec<Cell>) {
        let value = match part {
            Part::Values(at, _) | Part::Ties(at) => value_at(row, *at),
            Part::Keys(_) | Part::Nulls(_) => Cell::Null,
        };
        (value, row.key.clone())
    }

    /// The statement that reads a group of a segment's rows, and what is bound.
    pub(super) fn statement(&self, segment: &Segment, rows: usize, hint: Hint) -> (String, Vec<Wire>) {
        let (mut conditions, mut bound, order) = self.clause(segment);
        let mut implied = Sql::default();
        implied.push_implied(self.tables, &self.query.filter);
        // Joined to the marks, the server counts the sorting of a whole table for
        // less than the index, because it leaves the limit out of account.
        let index = self.index_of(&segment.part).filter(|_| hint == Hint::Given && implied.conditions.is_empty());
        let select = self.tables.select_rows(self.marks, self.among, index);
        conditions.append(&mut implied.conditions);
        bound.extend(bind(&implied.bound));
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        bound.push(Wire::UInt(rows as u64));
        (format!("{select}{filter} ORDER BY {order} LIMIT ?"), bound)
    }

    /// The index that gives a part's order, where it is one of a column.
    fn index_of(&self, part: &Part) -> Option<&str> {
        let (Part::Nulls(at) | Part::Values(at, _) | Part::Ties(at)) = part else { return None };
        let column = self.tables.key.iter().chain(&self.tables.values).nth(*at)?;
        self.tables.leading.get(&column.name).map(String::as_str)
    }

    /// The statement that reads whatever may match, and what is bound.
    pub(super) fn whole_statement(&self) -> (String, Vec<Wire>) {
        let mut implied = Sql::default();
        implied.push_implied(self.tables, &self.query.filter);
        let filter = match implied.conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" WHERE {}", conditions.join(" AND ")),
        };
        (format!("{}{filter}", self.tables.select_rows(self.marks, self.among, None)), bind(&implied.bound))
    }

    /// One group of a segment's rows, and where it goes on.
    pub(super) async fn group(&mut self, segment: &mut Segment, rows: usize) -> Tried<(Vec<RootRow>, usize)> {
        let (sql, bound) = self.statement(segment, rows, Hint::Given);
        let found = match self.session.rows("listing", &sql, bound).await {
            // The index was dropped since we looked.
            Err(failure) if failure.code == NO_SUCH_INDEX => {
                let (sql, bound) = self.statement(segment, rows, Hint::Left);
                self.session.rows("listing", &sql, bound).await?
            }
            found => found?,
        };
        let found: Vec<RootRow> = found.into_iter().map(|row| root_row(self.tables, row)).collect();
        if let Some(last) = found.last() {
            segment.after = Some(self.place_of(&segment.part, last));
        }
        let count = found.len();
        Ok((found, count))
    }

    /// Reads segments in their order until the page is full.
    async fn in_order(&mut self, segments: Vec<Segment>) -> Tried<ListPage> {
        let mut chosen: Vec<Candidate> = Vec::new();
        let mut full = Full::No;
        for segment in segments {
            full = match segment.part {
                Part::Values(at, Direction::Falling) => self.falling(at, segment.after, &mut chosen).await?,
                _ => self.straight(segment, &mut chosen).await?,
            };
            if full == Full::Yes {
                break;
            }
        }
        self.page(chosen, full == Full::Yes).await
    }

    /// Reads a segment whose order the server gives.
    pub(super) async fn straight(&mut self, mut segment: Segment, chosen: &mut Vec<Candidate>) -> Tried<Full> {
        let mut rows = self.first_group();
        loop {
            let (found, count) = self.group(&mut segment, rows).await?;
            if self.take(found, chosen).await? == Full::Yes {
                return Ok(Full::Yes);
            }
            if count < rows {
                return Ok(Full::No);
            }
            rows = (rows * 4).min(GROUP_ROWS_MAX);
        }
    }

    /// Rows of a segment's first group.
    pub(super) fn first_group(&self) -> usize {
        (self.query.limit + 1).clamp(GROUP_ROWS_MIN, GROUP_ROWS_MAX)
    }

    /// Takes rows that come next in the list.
    pub(super) async fn take(&mut self, rows: Vec<RootRow>, chosen: &mut Vec<Candidate>) -> Tried<Full> {
        for candidate in self.candidates(rows).await? {
            if !self.query.filter.matches(&candidate.record) {
                continue;
            }
            if chosen.len() == self.query.limit {
                return Ok(Full::Yes);
            }
            chosen.push(candidate);
        }
        Ok(Full::No)
    }

    /// Reads everything that may match and keeps the page's records.
    async fn top(&mut self) -> Tried<ListPage> {
        let (query, tables) = (self.query, self.tables);
        let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
        let mut best =
            Best { order: &query.order, after, keep_max: query.limit.saturating_add(1), heap: BinaryHeap::new() };
        if self.children == Children::Needed {
            let mut segment = Segment { part: Part::Keys(Direction::Rising), after: None };
            loop {
                let (found, count) = self.group(&mut segment, GROUP_ROWS_MAX).await?;
                let candidates = self.candidates(found).await?;
                candidates.into_iter().filter(|c| query.filter.matches(&c.record)).for_each(|c| best.offer(c));
                if count < GROUP_ROWS_MAX {
                    break;
                }
            }
        } else {
            let (sql, bound) = self.whole_statement();
            self.session
                .each("listing", &sql, bound, &mut |row| {
                    let candidate = candidate(tables, root_row(tables, row), Vec::new())?;
                    if query.filter.matches(&candidate.record) {
                        best.offer(candidate);
                    }
                    Ok(())
                })
                .await?;
        }
        let mut ranked = best.heap.into_sorted_vec();
        let more = ranked.len() > query.limit;
        ranked.truncate(query.limit);
        self.page(ranked.into_iter().map(|ranked| ranked.candidate).collect(), more).await
    }

    async fn candidates(&mut self, rows: Vec<RootRow>) -> Tried<Vec<Candidate>> {
        let mut children = vec![Vec::new(); rows.len()];
        if self.children == Children::Needed {
            let keys: Vec<Vec<Cell>> = rows.iter().map(|row| row.key.clone()).collect();
            children = read_children(self.session, self.tables, &keys, Lock::None).await?;
        }
        let read: StoreResult<Vec<Candidate>> =
            rows.into_iter().zip(children).map(|(row, children)| candidate(self.tables, row, children)).collect();
        Ok(read?)
    }

    /// The whole records, child rows included.
    async fn page(&mut self, chosen: Vec<Candidate>, more: bool) -> Tried<ListPage> {
        let keys: Vec<Vec<Cell>> = chosen.iter().map(|candidate| candidate.raw.key.clone()).collect();
        let children = match self.children {
            Children::Unneeded => read_children(self.session, self.tables, &keys, Lock::None).await?,
            Children::Needed => vec![Vec::new(); keys.len()],
        };
        let mut records: Vec<Fetched> = Vec::with_capacity(chosen.len());
        for (mut candidate, children) in chosen.into_iter().zip(children) {
            if self.children == Children::Unneeded {
                candidate.raw.children = children;
            }
            let Candidate { key, raw, mark, .. } = candidate;
            records.push(fetched(self.tables, key, Some(raw), mark, self.marks)?);
        }
        Ok(ListPage { records, more })
    }
}

fn candidate(
    tables: &Tables,
    row: RootRow,
    children: Vec<Vec<crate::relational::Element<Cell>>>,
) -> StoreResult<Candidate> {
    let key = tables.tree.key_from_cells(tables, &row.key)?;
    let raw = RawRecord { key: row.key, values: row.values, children };
    let record = tables.tree.record_of(tables, &key, &raw)?;
    Ok(Candidate { key, raw, mark: row.mark?, record })
}

/// The page's records among all that were seen.
struct Best<'a> {
    order: &'a [OrderTerm],
    after: Option<Vec<u8>>,
    keep_max: usize,
    heap: BinaryHeap<Ranked<Candidate>>,
}

impl Best<'_> {
    fn offer(&mut self, candidate: Candidate) {
        let place = sort_bytes_of(self.order, &candidate.key, &candidate.record);
        let is_after = self.after.as_ref().is_none_or(|after| place > *after);
        let has_room = self.heap.len() < self.keep_max || self.heap.peek().is_some_and(|worst| place < worst.place);
        if is_after && has_room {
            self.heap.push(Ranked { place, candidate });
            if self.heap.len() > self.keep_max {
                self.heap.pop();
            }
        }
    }
}
