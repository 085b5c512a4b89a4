//! Lists of records with something parked beside them, which the sidecar's own
//! index finds, and how a list is answered.

use rusqlite::params_from_iter;
use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Among, Fetched, ListPlan, Reads};

use super::cell::Cell;
use super::condition::{BlobKeys, is_key_order_native, key_cells};
use super::error::store_error;
use super::facts::Sidecar;
use super::list::List;
use super::record::{cells_of, prepared};
use super::scan::fetch;
use super::session::Session;
use super::tables::{Tables, list as names, mark_key_columns, marks_name, places, quoted};
use super::value::is_order_native;
use crate::relational::page::{
    Direction, PARKED_KEYS_MIN, PARKED_READ_MAX, by_key, check_limit, sorted_page, take_in_order,
};

/// One page.
pub(super) fn list(session: &Session, tables: &Tables, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    let sidecar = session.facts(tables)?.sidecar;
    if sidecar == Sidecar::Absent {
        // Where nothing can be parked, whoever asks finds that out.
        return List::of(session, tables, sidecar, query, Among::All).read();
    }
    if let Some(walk) = Walk::of(session, tables, query) {
        return walk.in_order(query);
    }
    let all = Walk { session, tables, direction: Direction::Rising };
    let keys = all.keys(None, PARKED_READ_MAX + 1)?;
    if keys.len() > PARKED_READ_MAX {
        return List::of(session, tables, sidecar, query, Among::Parked).read();
    }
    Ok(sorted_page(query, all.records(&keys)?))
}

/// How a list is answered.
pub(super) fn explain(session: &Session, tables: &Tables, query: &ListQuery, among: Among) -> StoreResult<ListPlan> {
    let sidecar = session.facts(tables)?.sidecar;
    let among = if sidecar == Sidecar::Absent { Among::All } else { among };
    if among == Among::Parked
        && let Some(walk) = Walk::of(session, tables, query)
    {
        return Ok(ListPlan { reads: Reads::Page, steps: steps(session, &walk.statement(false))?, index: None });
    }
    let all = Walk { session, tables, direction: Direction::Rising };
    if among == Among::Parked && all.keys(None, PARKED_READ_MAX + 1)?.len() <= PARKED_READ_MAX {
        return Ok(ListPlan { reads: Reads::Page, steps: steps(session, &all.statement(false))?, index: None });
    }
    let list = List::of(session, tables, sidecar, query, among);
    let (sql, order, reads) = match list.plan()?.and_then(|segments| segments.into_iter().next()) {
        Some(segment) => (segment.sql, format!(" ORDER BY {}", segment.order), Reads::Page),
        None => (super::condition::Sql::default(), String::new(), Reads::Everything),
    };
    let steps = steps(session, &list.statement(&sql, &order))?;
    Ok(ListPlan { reads, steps, index: index(tables, query).filter(|_| reads == Reads::Everything) })
}

fn steps(session: &Session, sql: &str) -> StoreResult<Vec<String>> {
    let failed = |e| store_error("explaining a list", e);
    let mut statement = session.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).map_err(failed)?;
    let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
    let rows = statement.query_map(params_from_iter(nothing), |row| row.get("detail")).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// The statement that makes an index for the list's order, where one helps.
fn index(tables: &Tables, query: &ListQuery) -> Option<String> {
    let Layout::Rows(shape) = &tables.tree.layout else { return None };
    let [term] = query.order.as_slice() else { return None };
    if !query.is_binary() {
        return None;
    }
    let column = shape.columns.iter().find(|c| term.path.steps().len() == 1 && c.name == term.path.root())?;
    is_order_native(column.ty).then(|| {
        let columns: Vec<&String> = std::iter::once(&column.name).chain(&tables.tree.key).collect();
        let columns: Vec<String> = columns.into_iter().map(|name| quoted(name)).collect();
        let name = quoted(&format!("{}_by_{}", tables.name, column.name));
        format!("CREATE INDEX {name} ON {} ({})", quoted(&tables.name), columns.join(", "))
    })
}

/// A walk over the marks by key.
struct Walk<'a> {
    session: &'a Session,
    tables: &'a Tables,
    direction: Direction,
}

impl<'a> Walk<'a> {
    /// For a list whose order it gives.
    fn of(session: &'a Session, tables: &'a Tables, query: &ListQuery) -> Option<Walk<'a>> {
        let direction = by_key(&tables.tree, query)?;
        let is_canonical = matches!(tables.tree.layout, Layout::Rows(_)) && is_key_order_native(tables, BlobKeys::None);
        let place_fits = query.after.as_ref().is_none_or(|place| key_cells(tables, &place.key).is_some());
        (is_canonical && place_fits).then_some(Walk { session, tables, direction })
    }

    /// The statement that reads keys, after a place if there is one; the limit is bound last.
    fn statement(&self, has_place: bool) -> String {
        let columns = mark_key_columns(self.tables.tree.key.len());
        let (sign, suffix) = match self.direction {
            Direction::Rising => (">", ""),
            Direction::Falling => ("<", " DESC"),
        };
        let (listed, parts) = (names(&columns), columns.len());
        let (place, limit) = match has_place {
            true => (format!(" AND ({listed}) {sign} ({})", places(1, parts)), parts + 1),
            false => (String::new(), 1),
        };
        let order: Vec<String> = columns.iter().map(|column| format!("{}{suffix}", quoted(column))).collect();
        format!(
            "SELECT {listed} FROM {} WHERE parked IS NOT NULL{place} ORDER BY {} LIMIT ?{limit}",
            quoted(&marks_name(&self.tables.name)),
            order.join(", "),
        )
    }

    fn keys(&self, after: Option<&[Cell]>, limit: usize) -> StoreResult<Vec<Key>> {
        let failed = |e| store_error("listing", e);
        let mut statement = prepared(self.session, &self.statement(after.is_some()))?;
        let limit = Cell::Int(i64::try_from(limit).unwrap_or(i64::MAX));
        let bound = after.unwrap_or_default().iter().chain(std::iter::once(&limit));
        let mut rows = statement.query(params_from_iter(bound)).map_err(failed)?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            keys.push(self.tables.key_from_cells(&cells_of(row, 0, self.tables.tree.key.len()).map_err(failed)?)?);
        }
        Ok(keys)
    }

    fn records(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>> {
        keys.iter().map(|key| fetch(self.session, self.tables, Sidecar::Installed, key)).collect()
    }

    fn in_order(&self, query: &ListQuery) -> StoreResult<ListPage> {
        let mut page = ListPage { records: Vec::new(), more: false };
        let look = (query.limit + 1).max(PARKED_KEYS_MIN);
        let mut after = query.after.as_ref().and_then(|place| key_cells(self.tables, &place.key));
        loop {
            let keys = self.keys(after.as_deref(), look)?;
            let is_last = keys.len() < look;
            after = keys.last().and_then(|key| key_cells(self.tables, key));
            if take_in_order(query, &mut page, self.records(&keys)?) || is_last || after.is_none() {
                return Ok(page);
            }
        }
    }
}
