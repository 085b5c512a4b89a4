//! Lists with canonical meaning.
//!
//! Where SQLite's own order is canonical order and an index gives it (the key;
//! one column of a plain type with an index), rows are read in order until the
//! page is full. Otherwise the table is read once and the page's records are
//! kept in a heap: memory is that of one page either way.

use std::collections::BinaryHeap;

use rusqlite::{Row, params_from_iter};
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::path::Path;
use shearwater_core::query::{ListPage, ListQuery, OrderTerm, sort_bytes, sort_bytes_of};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Among, Fetched, Image};

use super::cell::Cell;
use super::condition::{BlobKeys, Sql, is_key_order_native, key_cells};
use super::error::store_error;
use super::facts::Sidecar;
use super::record::{Mark, RawRecord, cells_of, mark_of, prepared, read_children};
use super::session::Session;
use super::tables::{Tables, quoted};
use super::value::{is_order_native, to_cell};
use crate::relational::page::{Ranked, check_limit, looks_into_children};

/// One page.
pub(super) fn list(session: &Session, tables: &Tables, sidecar: Sidecar, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    List::of(session, tables, sidecar, query, Among::All).read()
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
    session: &'a Session,
    tables: &'a Tables,
    sidecar: Sidecar,
    query: &'a ListQuery,
    among: Among,
    children: Children,
}

/// A part of the list that one index gives in order.
pub(super) struct Segment {
    pub(super) sql: Sql,
    pub(super) order: String,
}

/// A record that passed the filter; its child rows may still be unread.
struct Candidate {
    key: Key,
    raw: RawRecord,
    mark: Mark,
    record: shearwater_core::Document,
}

impl<'a> List<'a> {
    pub(super) fn of(
        session: &'a Session,
        tables: &'a Tables,
        sidecar: Sidecar,
        query: &'a ListQuery,
        among: Among,
    ) -> List<'a> {
        List { session, tables, sidecar, query, among, children: children_of(tables, query) }
    }

    /// The page.
    pub(super) fn read(&self) -> StoreResult<ListPage> {
        match self.plan()? {
            Some(segments) => self.in_order(segments),
            None => self.top(),
        }
    }

    /// The segments to read one after the other; `None`: no index gives the order.
    pub(super) fn plan(&self) -> StoreResult<Option<Vec<Segment>>> {
        if !self.query.is_binary() || !is_key_order_native(self.tables, self.blob_keys()?) {
            return Ok(None);
        }
        let after = match &self.query.after {
            None => None,
            Some(place) => match key_cells(self.tables, &place.key) {
                Some(cells) => Some((&place.values, cells)),
                None => return Ok(None),
            },
        };
        Ok(match self.query.order.as_slice() {
            [] => Some(vec![self.key_segment(Sql::default(), after.as_ref().map(|(_, key)| key.as_slice()))]),
            [term, ..] if self.is_key(&term.path) && self.place_is_a_keys() => {
                // No two records have the same key, so no further term matters.
                let direction = if term.descending { Direction::Falling } else { Direction::Rising };
                let after = after.as_ref().map(|(_, key)| key.as_slice());
                Some(vec![self.key_segment_in(direction, Sql::default(), after)])
            }
            [term] => self.plan_term(term, after)?,
            _ => None,
        })
    }

    fn blob_keys(&self) -> StoreResult<BlobKeys> {
        let [name] = self.tables.tree.key.as_slice() else { return Ok(BlobKeys::Some) };
        if matches!(self.tables.tree.layout, Layout::Rows(_)) {
            return Ok(BlobKeys::None);
        }
        let sql = format!("SELECT 1 FROM {} WHERE {} >= x'' LIMIT 1", quoted(&self.tables.name), quoted(name));
        let some = prepared(self.session, &sql)?.exists([]).map_err(|e| store_error("listing", e))?;
        Ok(if some { BlobKeys::Some } else { BlobKeys::None })
    }

    /// Whether the path is the key, all of it.
    fn is_key(&self, path: &Path) -> bool {
        path.steps().len() == 1 && matches!(self.tables.tree.key.as_slice(), [name] if name == path.root())
    }

    /// Whether the place to go on from, in an order by the key, is that of its key.
    fn place_is_a_keys(&self) -> bool {
        self.query.after.as_ref().is_none_or(|place| place.values.first() == place.key.values().first())
    }

    fn key_segment(&self, sql: Sql, after: Option<&[Cell]>) -> Segment {
        self.key_segment_in(Direction::Rising, sql, after)
    }

    fn key_segment_in(&self, direction: Direction, mut sql: Sql, after: Option<&[Cell]>) -> Segment {
        let key = self.tables.key_of_r();
        let (sign, suffix) = match direction {
            Direction::Rising => (">", ""),
            Direction::Falling => ("<", " DESC"),
        };
        if let Some(cells) = after {
            let places = sql.bind_all(cells);
            sql.conditions.push(format!("({key}) {sign} ({places})"));
        }
        Segment { sql, order: format!("{key}{suffix}") }
    }

    /// An order by one column of a plain type with an index: its values and its
    /// nulls are two segments.
    fn plan_term(
        &self,
        term: &OrderTerm,
        after: Option<(&Vec<shearwater_core::Value>, Vec<Cell>)>,
    ) -> StoreResult<Option<Vec<Segment>>> {
        let Some(ty) = self.tables.tree.layout.type_of(&term.path).filter(|ty| is_order_native(*ty)) else {
            return Ok(None);
        };
        let name = term.path.root();
        if !self.session.facts(self.tables)?.is_indexed(name) {
            return Ok(None);
        }
        let column = format!("r.{}", quoted(name));
        let (after_value, after_key) = match after {
            None => (None, None),
            Some((values, key)) => match values.first().map(|value| to_cell(ty, value)) {
                Some(Ok(cell)) => (Some(cell), Some(key)),
                // A place that this column cannot hold: the general way compares it.
                _ => return Ok(None),
            },
        };
        let nulls = |after: Option<&[Cell]>| {
            let mut sql = Sql::default();
            sql.conditions.push(format!("{column} IS NULL"));
            self.key_segment(sql, after)
        };
        let values = |after: Option<(&Cell, &[Cell])>| {
            let (direction, sign) = if term.descending { ("DESC", "<") } else { ("ASC", ">") };
            let mut sql = Sql::default();
            let key = self.tables.key_of_r();
            match after {
                None => sql.conditions.push(format!("{column} IS NOT NULL")),
                Some((value, cells)) => {
                    let value = sql.bind(value.clone());
                    let places = sql.bind_all(cells);
                    sql.conditions.push(format!("{column} {sign}= {value}"));
                    sql.conditions.push(format!("({column} {sign} {value} OR ({key}) > ({places}))"));
                }
            }
            Segment { sql, order: format!("{column} {direction}, {key}") }
        };
        let nulls_come_first = term.nulls_first;
        Ok(Some(match (&after_value, after_key.as_deref()) {
            (Some(Cell::Null), Some(key)) if nulls_come_first => vec![nulls(Some(key)), values(None)],
            (Some(Cell::Null), Some(key)) => vec![nulls(Some(key))],
            (Some(value), Some(key)) if nulls_come_first => vec![values(Some((value, key)))],
            (Some(value), Some(key)) => vec![values(Some((value, key))), nulls(None)],
            _ if nulls_come_first => vec![nulls(None), values(None)],
            _ => vec![values(None), nulls(None)],
        }))
    }

    /// Reads segments in their order until the page is full.
    fn in_order(&self, segments: Vec<Segment>) -> StoreResult<ListPage> {
        let mut page = ListPage { records: Vec::new(), more: false };
        for mut segment in segments {
            segment.sql.push_implied(self.tables, &self.query.filter);
            let order = format!(" ORDER BY {}", segment.order);
            self.each(&segment.sql, &order, |candidate| {
                if page.records.len() == self.query.limit {
                    page.more = true;
                    return Ok(Go::Stop);
                }
                page.records.push(self.finish(candidate)?);
                Ok(Go::On)
            })?;
            if page.more {
                break;
            }
        }
        Ok(page)
    }

    /// Reads everything that may match and keeps the page's records.
    fn top(&self) -> StoreResult<ListPage> {
        let order = &self.query.order;
        let after = self.query.after.as_ref().map(|place| sort_bytes(order, place));
        let keep_max = self.query.limit.saturating_add(1);
        let mut heap: BinaryHeap<Ranked<Candidate>> = BinaryHeap::new();
        let mut sql = Sql::default();
        sql.push_implied(self.tables, &self.query.filter);
        self.each(&sql, "", |candidate| {
            let place = sort_bytes_of(order, &candidate.key, &candidate.record);
            let is_after = after.as_ref().is_none_or(|after| place > *after);
            let has_room = heap.len() < keep_max || heap.peek().is_some_and(|worst| place < worst.place);
            if is_after && has_room {
                heap.push(Ranked { place, candidate });
                if heap.len() > keep_max {
                    heap.pop();
                }
            }
            Ok(Go::On)
        })?;
        let mut ranked = heap.into_sorted_vec();
        let more = ranked.len() > self.query.limit;
        ranked.truncate(self.query.limit);
        let records = ranked.into_iter().map(|ranked| self.finish(ranked.candidate)).collect::<StoreResult<_>>()?;
        Ok(ListPage { records, more })
    }

    /// The statement that reads rows with their marks.
    pub(super) fn statement(&self, sql: &Sql, order: &str) -> String {
        let select = match self.among {
            Among::All => self.tables.select_with_marks(self.sidecar),
            Among::Parked => self.tables.select_parked(),
        };
        format!("{select}{}{order}", sql.where_clause())
    }

    /// Calls `take` with every record that matches the filter.
    fn each(&self, sql: &Sql, order: &str, mut take: impl FnMut(Candidate) -> StoreResult<Go>) -> StoreResult<()> {
        let failed = |e| store_error("listing", e);
        let mut statement = prepared(self.session, &self.statement(sql, order))?;
        let mut rows = statement.query(params_from_iter(&sql.bound)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let candidate = self.candidate(row)?;
            if self.query.filter.matches(&candidate.record) && take(candidate)? == Go::Stop {
                break;
            }
        }
        Ok(())
    }

    fn candidate(&self, row: &Row<'_>) -> StoreResult<Candidate> {
        let failed = |e| store_error("listing", e);
        let parts = self.tables.tree.key.len();
        let key_cells = cells_of(row, 0, parts).map_err(failed)?;
        let values = cells_of(row, parts, self.tables.tree.values.len()).map_err(failed)?;
        let mark = mark_of(row, parts + self.tables.tree.values.len(), &self.tables.name)?;
        let key = self.tables.key_from_cells(&key_cells)?;
        let children = match self.children {
            Children::Needed => read_children(self.session, self.tables, &key_cells)?,
            Children::Unneeded => Vec::new(),
        };
        let raw = RawRecord { key: key_cells, values, children };
        let record = self.tables.record_of(&key, &raw)?;
        Ok(Candidate { key, raw, mark, record })
    }

    /// The whole record, child rows included.
    fn finish(&self, candidate: Candidate) -> StoreResult<Fetched> {
        let Candidate { key, mut raw, mark, mut record } = candidate;
        if self.children == Children::Unneeded && !self.tables.children.is_empty() {
            raw.children = read_children(self.session, self.tables, &raw.key)?;
            record = self.tables.record_of(&key, &raw)?;
        }
        let installed = self.sidecar == Sidecar::Installed;
        let stamp = installed.then_some(mark.stamp);
        Ok(Fetched { key, image: Some(Image { record, parked: mark.parked }), stamp, dirty: installed && mark.dirty })
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Rising,
    Falling,
}

/// Whether to read on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}
