//! Lists with canonical meaning.
//!
//! Where the server can order the rows canonically, it does, and gives as many
//! as the page needs; where it cannot, the rows are read once and the page's
//! records are kept in a heap. Memory is that of a page either way.

use std::collections::BinaryHeap;

use futures::{StreamExt, pin_mut};
use shearwater_core::error::StoreResult;
use shearwater_core::path::Path;
use shearwater_core::query::{Keyset, ListPage, ListQuery, OrderTerm, keyset_of, sort_bytes, sort_bytes_of};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Among, Fetched};
use shearwater_core::{Document, Key};
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::cell::Cell;
use super::condition::{Sql, key_atoms, key_cells, key_order, mixed_keys, root_column};
use super::error::Failure;
use super::names::quoted;
use super::record::{Mark, fetched, found};
use super::scan::{Seen, about_sidecar, read_raw};
use super::session::{Session, get};
use super::tables::{Elements, RawRecord, Sidecar, Tables};
use super::value::to_cell;
use crate::relational::condition::Pushed;
use crate::relational::page::{Ranked, check_limit, looks_into_children};

/// Rows of one look at a list whose filter we decide ourselves: enough that a
/// filter which few records pass needs few looks.
const LOOK_ROWS_MIN: usize = 1_000;

/// All of a list is of one snapshot.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One page.
pub(super) async fn list(store: &Postgres, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    let lease = store.pool.lease().await?;
    about_sidecar(store, |sidecar| list_once(store, &lease, sidecar, query)).await
}

/// The same inside one call of [`about_sidecar`].
pub(super) async fn list_once(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    query: &ListQuery,
) -> Result<Seen<ListPage>, Failure> {
    let tables = store.tables_with(session).await?;
    session.transaction(BEGIN, List::of(session, &tables, sidecar, query, Among::All).read()).await
}

/// Whether the filter or the order looks into child tables.
fn elements_of(tables: &Tables, query: &ListQuery) -> Elements {
    let Layout::Rows(shape) = &tables.tree.layout else { return Elements::Read };
    if shape.children.is_empty() {
        return Elements::Read;
    }
    if looks_into_children(&tables.tree, query) { Elements::Read } else { Elements::Left }
}

/// A list while it is read, inside a transaction.
pub(super) struct List<'a> {
    pub(super) session: &'a Session,
    pub(super) tables: &'a Tables,
    sidecar: Sidecar,
    pub(super) query: &'a ListQuery,
    among: Among,
    elements: Elements,
}

/// A record that passed the filter; its elements may still be unread.
struct Candidate {
    key: Key,
    raw: RawRecord,
    mark: Mark,
    record: Document,
}

/// A part of a list: the values of its first term, or their nulls.
pub(super) struct Segment {
    pub(super) sql: Sql,
    pub(super) order: String,
    part: Part,
}

impl Segment {
    /// Whether it is the part with values.
    pub(super) fn has_values(&self) -> bool {
        self.part == Part::Values
    }
}

/// Whether a part of the list has values or nulls in the first term.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Values,
    Nulls,
}

/// One term of the server's order.
struct Term {
    /// The column.
    name: String,
    /// Its terms of a canonical order.
    atoms: Vec<String>,
    descending: bool,
    nulls_first: bool,
    nullable: bool,
}

impl<'a> List<'a> {
    pub(super) fn of(
        session: &'a Session,
        tables: &'a Tables,
        sidecar: Sidecar,
        query: &'a ListQuery,
        among: Among,
    ) -> List<'a> {
        List { session, tables, sidecar, query, among, elements: elements_of(tables, query) }
    }

    /// The page.
    pub(super) async fn read(self) -> Result<Seen<ListPage>, Failure> {
        match self.order().await? {
            Some(key) => self.in_order(&key).await,
            None => self.top().await,
        }
    }

    /// The terms by which the server orders the keys canonically; `None`: it
    /// cannot order this list.
    pub(super) async fn order(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(key) = key_order(self.tables).filter(|_| self.query.is_binary()) else { return Ok(None) };
        let terms = self.terms();
        if terms.is_none() || self.query.after.as_ref().is_some_and(|place| self.segments(&key, Some(place)).is_none())
        {
            return Ok(None);
        }
        if matches!(self.tables.tree.layout, Layout::Document(_))
            && matches!(self.tables.facts.key.first(), Some(column) if column.native.wire == super::native::Wire::Text)
            && let Some(sql) = mixed_keys(self.tables)
            && get::<bool>(&self.session.one(&sql, &[]).await?, 0)?
        {
            return Ok(None);
        }
        Ok(Some(key))
    }

    /// The query's terms up to the key, after which no further one matters.
    pub(super) fn wanted(&self) -> &[OrderTerm] {
        let order = &self.query.order;
        match order.iter().position(|term| self.is_key(&term.path)) {
            Some(at) => &order[..=at],
            None => order,
        }
    }

    pub(super) fn is_key(&self, path: &Path) -> bool {
        path.steps().len() == 1 && matches!(self.tables.tree.key.as_slice(), [name] if name == path.root())
    }

    fn terms(&self) -> Option<Vec<Term>> {
        self.wanted()
            .iter()
            .map(|term| {
                let (name, atoms, nullable) = if self.is_key(&term.path) {
                    let name = self.tables.key_of_r().into_iter().next()?;
                    let atoms = key_atoms(self.tables, 0, &name);
                    (name, atoms, false)
                } else {
                    let (column, ty) = root_column(self.tables, &term.path)?;
                    let name = format!("r.{}", quoted(&column.name));
                    let atoms = column.native.canonical(ty, &name);
                    (name, atoms, column.nullable)
                };
                let (descending, nulls_first) = (term.descending, term.nulls_first);
                (!atoms.is_empty()).then_some(Term { name, atoms, descending, nulls_first, nullable })
            })
            .collect()
    }

    /// The parts of the list after a place, one after the other; `None` when
    /// the place cannot be said in the columns' types.
    pub(super) fn segments(&self, key: &[String], after: Option<&Keyset>) -> Option<Vec<Segment>> {
        let terms = self.terms()?;
        let parts: &[Part] = match terms.first() {
            Some(term) if term.nullable && term.nulls_first => &[Part::Nulls, Part::Values],
            Some(term) if term.nullable => &[Part::Values, Part::Nulls],
            _ => &[Part::Values],
        };
        let reached = match (terms.first(), after) {
            (Some(term), Some(place)) if term.nullable => match place.values.first() {
                Some(value) if !value.is_null() => Some(Part::Values),
                _ => Some(Part::Nulls),
            },
            _ => None,
        };
        let mut segments = Vec::new();
        let mut is_reached = reached.is_none();
        for part in parts {
            let here = if is_reached { after.filter(|_| reached.is_none()) } else { after };
            if !is_reached && reached != Some(*part) {
                continue;
            }
            is_reached = true;
            segments.push(self.segment(&terms, *part, key, here)?);
        }
        Some(segments)
    }

    fn segment(&self, terms: &[Term], part: Part, key: &[String], after: Option<&Keyset>) -> Option<Segment> {
        let mut sql = Sql::default();
        let first = terms.first().filter(|term| term.nullable);
        match (first, part) {
            (Some(term), Part::Values) => sql.conditions.push(format!("{} IS NOT NULL", term.name)),
            (Some(term), Part::Nulls) => sql.conditions.push(format!("{} IS NULL", term.name)),
            (None, _) => {}
        }
        let skip = usize::from(part == Part::Nulls);
        if let Some(place) = after {
            self.push_after(&mut sql, terms, skip, place)?;
        }
        let mut order: Vec<String> = Vec::new();
        for (at, term) in terms.iter().enumerate().skip(skip) {
            let direction = if term.descending { " DESC" } else { "" };
            // The first term has no nulls here, so the index's own order of them will do.
            let nulls = match (at == 0 || !term.nullable, term.nulls_first) {
                (true, _) => "",
                (false, true) => " NULLS FIRST",
                (false, false) => " NULLS LAST",
            };
            order.extend(term.atoms.iter().map(|atom| format!("{atom}{direction}{nulls}")));
        }
        if !self.wanted().last().is_some_and(|term| self.is_key(&term.path)) {
            order.extend(key.iter().cloned());
        }
        Some(Segment { sql, order: order.join(", "), part })
    }

    /// Adds the condition that a row comes after a place.
    fn push_after(&self, sql: &mut Sql, terms: &[Term], skip: usize, place: &Keyset) -> Option<()> {
        let wanted = self.wanted();
        let by_key = wanted.last().is_some_and(|term| self.is_key(&term.path));
        if by_key && place.values.get(wanted.len() - 1) != place.key.values().first() {
            return None;
        }
        let key = key_cells(self.tables, &place.key)?;
        let mut atoms = Vec::new();
        for (at, (cell, column)) in key.into_iter().zip(&self.tables.facts.key).enumerate() {
            let bound = column.native.bind(&sql.bind(cell));
            atoms.extend(key_atoms(self.tables, at, &bound));
        }
        let key_order = key_order(self.tables)?;
        let falling = by_key && wanted.last().is_some_and(|term| term.descending);
        let sign = if falling { "<" } else { ">" };
        let mut condition = format!("({}) {sign} ({})", key_order.join(", "), atoms.join(", "));
        let last = if by_key { terms.len() - 1 } else { terms.len() };
        for (at, term) in terms.iter().enumerate().take(last).skip(skip).rev() {
            let value = place.values.get(at).filter(|value| !value.is_null());
            let Some(value) = value else {
                let later = if term.nulls_first { format!("{} IS NOT NULL OR ", term.name) } else { String::new() };
                condition = format!("({later}({} IS NULL AND {condition}))", term.name);
                continue;
            };
            let (column, ty) = root_column(self.tables, &wanted[at].path)?;
            let bound = column.native.bind(&sql.bind(to_cell(ty, &column.native, value).ok()?));
            let there = term.atoms.join(", ");
            let given = column.native.canonical(ty, &bound).join(", ");
            let sign = if term.descending { "<" } else { ">" };
            let nulls = if term.nulls_first || !term.nullable || at == 0 {
                String::new()
            } else {
                format!(" OR {} IS NULL", term.name)
            };
            condition = format!("(({there}) {sign} ({given}){nulls} OR (({there}) = ({given}) AND {condition}))");
            if at == 0 {
                // What an index can begin at.
                let first = column.native.canonical(ty, &bound).into_iter().next()?;
                sql.conditions.push(format!("{} {sign}= {first}", term.atoms.first()?));
            }
        }
        sql.conditions.push(condition);
        Some(())
    }

    /// Reads segments in their order until the page is full.
    async fn in_order(&self, key: &[String]) -> Result<Seen<ListPage>, Failure> {
        let mut page = ListPage { records: Vec::new(), more: false };
        let mut kept: Vec<Candidate> = Vec::new();
        let mut after = self.query.after.clone();
        loop {
            let segments = self.segments(key, after.as_ref()).ok_or_else(|| {
                super::session::unexpected("a place of a record in a list cannot be said in its columns' types")
            })?;
            let mut last: Option<Keyset> = None;
            let mut is_cut = false;
            for mut segment in segments {
                let pushed = segment.sql.push(self.tables, &self.query.filter);
                let wanted = self.query.limit + 1 - kept.len();
                let look = if pushed == Pushed::Exactly { wanted } else { wanted.max(LOOK_ROWS_MIN) };
                let tail = format!(" ORDER BY {} LIMIT {look}", segment.order);
                let mut read = 0;
                let seen = self
                    .each(&segment.sql, &tail, |candidate| {
                        read += 1;
                        if read == look {
                            last = Some(keyset_of(&self.query.order, &candidate.key, &candidate.record));
                        }
                        if kept.len() <= self.query.limit && self.query.filter.matches(&candidate.record) {
                            kept.push(candidate);
                        }
                    })
                    .await?;
                if matches!(seen, Seen::SidecarMissed) {
                    return Ok(Seen::SidecarMissed);
                }
                is_cut = read == look;
                if kept.len() > self.query.limit || is_cut {
                    break;
                }
            }
            if kept.len() > self.query.limit || !is_cut {
                break;
            }
            after = last;
        }
        page.more = kept.len() > self.query.limit;
        kept.truncate(self.query.limit);
        page.records = self.finish(kept).await?;
        Ok(Seen::Right(page))
    }

    /// Reads everything that may match and keeps the page's records.
    async fn top(&self) -> Result<Seen<ListPage>, Failure> {
        let order = &self.query.order;
        let after = self.query.after.as_ref().map(|place| sort_bytes(order, place));
        let keep_max = self.query.limit.saturating_add(1);
        let mut heap: BinaryHeap<Ranked<Candidate>> = BinaryHeap::new();
        let mut sql = Sql::default();
        sql.push(self.tables, &self.query.filter);
        let seen = self
            .each(&sql, "", |candidate| {
                if !self.query.filter.matches(&candidate.record) {
                    return;
                }
                let place = sort_bytes_of(order, &candidate.key, &candidate.record);
                let is_after = after.as_ref().is_none_or(|after| place > *after);
                let has_room = heap.len() < keep_max || heap.peek().is_some_and(|worst| place < worst.place);
                if is_after && has_room {
                    heap.push(Ranked { place, candidate });
                    if heap.len() > keep_max {
                        heap.pop();
                    }
                }
            })
            .await?;
        if matches!(seen, Seen::SidecarMissed) {
            return Ok(Seen::SidecarMissed);
        }
        let mut ranked = heap.into_sorted_vec();
        let more = ranked.len() > self.query.limit;
        ranked.truncate(self.query.limit);
        let kept = ranked.into_iter().map(|ranked| ranked.candidate).collect();
        Ok(Seen::Right(ListPage { records: self.finish(kept).await?, more }))
    }

    /// The statement that reads rows with their marks.
    pub(super) fn statement(&self, sql: &Sql, tail: &str) -> String {
        let tables = self.tables;
        let mut conditions = sql.clone();
        let nullable = tables.facts.key.iter().filter(|column| column.nullable);
        conditions.conditions.extend(nullable.map(|column| format!("r.{} IS NOT NULL", quoted(&column.name))));
        let marks = match self.among {
            Among::All => tables.join_marks(self.sidecar, &tables.key_of_r()),
            Among::Parked => tables.join_parked(),
        };
        format!(
            "SELECT {} FROM {} r{marks}{}{tail}",
            tables.selected(self.sidecar, self.elements),
            tables.root,
            conditions.where_clause(),
        )
    }

    /// Calls `take` with every row, in the order in which the server gives them.
    async fn each(&self, sql: &Sql, tail: &str, mut take: impl FnMut(Candidate) + Send) -> Result<Seen<()>, Failure> {
        let tables = self.tables;
        let statement = self.session.prepared(&self.statement(sql, tail)).await?;
        let failed = |e: tokio_postgres::Error| self.session.failed("listing", &e);
        let bound = sql.bound.iter().map(|cell: &Cell| cell as &dyn ToSql);
        let rows = self.session.client.query_raw(&statement, bound).await.map_err(failed)?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            let one = found(tables, self.sidecar, self.elements, &row.map_err(failed)?, 0)?;
            if one.missed_sidecar {
                return Ok(Seen::SidecarMissed);
            }
            let Some(mut raw) = one.raw else { continue };
            if self.elements == Elements::Left {
                raw.children = vec![Vec::new(); tables.children.len()];
            }
            let key = tables.key_from_cells(&raw.key)?;
            let record = tables.record_of(&key, &raw)?;
            take(Candidate { key, raw, mark: one.mark?, record });
        }
        Ok(Seen::Right(()))
    }

    /// The whole records, elements included.
    async fn finish(&self, kept: Vec<Candidate>) -> Result<Vec<Fetched>, Failure> {
        let elements = match self.elements {
            Elements::Left if !kept.is_empty() => {
                let keys: Vec<&[Cell]> = kept.iter().map(|candidate| candidate.raw.key.as_slice()).collect();
                Some(read_raw(self.session, self.tables, self.sidecar, &keys).await?)
            }
            _ => None,
        };
        let raws: Vec<Option<RawRecord>> = match elements {
            Some(found) => found.into_iter().map(|one| one.raw).collect(),
            None => vec![None; kept.len()],
        };
        let mut records = Vec::with_capacity(kept.len());
        for (candidate, raw) in kept.into_iter().zip(raws) {
            let raw = raw.unwrap_or(candidate.raw);
            records.push(fetched(self.tables, self.sidecar, candidate.key, Some(&raw), candidate.mark)?);
        }
        Ok(records)
    }
}
