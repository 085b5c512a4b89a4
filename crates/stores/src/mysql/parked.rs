//! Lists of records with something parked beside them, which the sidecar's own
//! index finds, and how a list is answered.

use mysql_async::Value as Wire;
use shearwater_core::Key;
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::{Among, Fetched, ListPlan, Reads};

use super::cell::Cell;
use super::condition::{column_of, is_key_order_native, key_cells};
use super::error::Tried;
use super::list::{Hint, List};
use super::names::quoted;
use super::scan::fetch_many;
use super::session::{Session, bind, text_of};
use super::tables::{Marks, Tables, mark_key_list};
use super::value::is_order_native;
use crate::relational::page::{
    Direction, PARKED_KEYS_MIN, PARKED_READ_MAX, by_key, check_limit, sorted_page, take_in_order,
};

/// The server's code for a column that is not there.
const NO_SUCH_COLUMN: u16 = 1054;

/// One page.
pub(super) async fn list(session: &mut Session, tables: &Tables, marks: Marks, query: &ListQuery) -> Tried<ListPage> {
    check_limit(query.limit)?;
    if marks == Marks::Absent {
        // Where nothing can be parked, whoever asks finds that out.
        return List::of(session, tables, marks, query, Among::All).read().await;
    }
    let found = match walks(tables, query) {
        Some(direction) => in_order(session, tables, query, direction).await,
        None => sorted(session, tables, query).await,
    };
    match found {
        // A sidecar that was not installed to find them by an index.
        Err(failure) if failure.code == NO_SUCH_COLUMN => {
            List::of(session, tables, marks, query, Among::Parked).read().await
        }
        found => found,
    }
}

/// Where they are few, all are read; else the table is read in its own order.
async fn sorted(session: &mut Session, tables: &Tables, query: &ListQuery) -> Tried<ListPage> {
    let found = keys(session, tables, Direction::Rising, None, PARKED_READ_MAX + 1).await?;
    if found.len() > PARKED_READ_MAX {
        return List::of(session, tables, Marks::Joined, query, Among::Parked).read().await;
    }
    Ok(sorted_page(query, fetch_many(session, tables, Marks::Joined, &found).await?))
}

/// How a list is answered.
pub(super) async fn explain(
    session: &mut Session,
    tables: &Tables,
    marks: Marks,
    query: &ListQuery,
    among: Among,
) -> Tried<ListPlan> {
    check_limit(query.limit)?;
    let among = if marks == Marks::Absent { Among::All } else { among };
    if among == Among::Parked {
        let walked = match walks(tables, query) {
            Some(direction) => Some((direction, query.limit + 1)),
            None => {
                let found = keys(session, tables, Direction::Rising, None, PARKED_READ_MAX + 1).await?;
                (found.len() <= PARKED_READ_MAX).then_some((Direction::Rising, PARKED_READ_MAX + 1))
            }
        };
        if let Some((direction, limit)) = walked {
            let (sql, bound) = statement(tables, direction, None, limit);
            return Ok(ListPlan { reads: Reads::Page, steps: steps(session, &sql, bound).await?, index: None });
        }
    }
    let list = List::of(session, tables, marks, query, among);
    let (reads, (sql, bound)) = match list.plan().and_then(|segments| segments.into_iter().next()) {
        Some(segment) => (Reads::Page, list.statement(&segment, query.limit + 1, Hint::Given)),
        None => (Reads::Everything, list.whole_statement()),
    };
    let steps = steps(list.session, &sql, bound).await?;
    Ok(ListPlan { reads, steps, index: index(tables, query).filter(|_| reads == Reads::Everything) })
}

/// Each step: the table, how it is read, by which index, and what else the server says.
async fn steps(session: &mut Session, sql: &str, bound: Vec<Wire>) -> Tried<Vec<String>> {
    // id, select_type, table, (partitions,) type, possible_keys, key, key_len, ref, rows, (filtered,) Extra.
    let rows = session.rows("explaining a list", &format!("EXPLAIN {sql}"), bound).await?;
    let words = |row: &Vec<Cell>| row.iter().filter_map(text_of).collect::<Vec<_>>().join(" ");
    Ok(rows.iter().map(words).collect())
}

/// The statement that makes an index for the list's order, where one helps.
fn index(tables: &Tables, query: &ListQuery) -> Option<String> {
    let [term] = query.order.as_slice() else { return None };
    if !query.is_binary() {
        return None;
    }
    let ty = tables.tree.layout.type_of(&term.path)?;
    let column = column_of(tables, term.path.root())?;
    let is_leading = tables.leading.contains_key(&column.name);
    (is_order_native(column, ty) && !is_leading && is_key_order_native(tables))
        .then(|| format!("ALTER TABLE {} ADD INDEX ({})", quoted(&tables.name), quoted(&column.name)))
}

/// In which direction the marks by key give this list; `None`: they do not.
fn walks(tables: &Tables, query: &ListQuery) -> Option<Direction> {
    let direction = by_key(&tables.tree, query)?;
    let Layout::Rows(shape) = &tables.tree.layout else { return None };
    // Other types stand in the marks as texts that have another order.
    let keeps_order = |name: &String| {
        let column = shape.columns.iter().find(|column| column.name == *name);
        column.is_some_and(|column| matches!(column.ty, FieldType::Int | FieldType::Text | FieldType::Bytes))
    };
    let place_fits = query.after.as_ref().is_none_or(|place| key_cells(tables, &place.key).is_some());
    (is_key_order_native(tables) && shape.key.iter().all(keeps_order) && place_fits).then_some(direction)
}

/// The statement that reads keys of marks, and what is bound.
fn statement(tables: &Tables, direction: Direction, after: Option<&[Cell]>, limit: usize) -> (String, Vec<Wire>) {
    let (sign, suffix) = match direction {
        Direction::Rising => (">", ""),
        Direction::Falling => ("<", " DESC"),
    };
    let parts = tables.key.len();
    let mut bound = Vec::new();
    let mut place = String::new();
    if let Some(cells) = after {
        let last = parts - 1;
        let mut condition = format!("k{last} {sign} ?");
        let mut values: Vec<&Cell> = vec![&cells[last]];
        for at in (0..last).rev() {
            condition = format!("k{at} {sign}= ? AND (k{at} {sign} ? OR ({condition}))");
            values.splice(0..0, [&cells[at], &cells[at]]);
        }
        place = format!(" AND {condition}");
        bound = bind(values);
    }
    let order: Vec<String> = (0..parts).map(|at| format!("k{at}{suffix}")).collect();
    bound.push(Wire::UInt(limit as u64));
    let sql = format!(
        "SELECT {} FROM {} WHERE is_parked = 1{place} ORDER BY {} LIMIT ?",
        mark_key_list(parts),
        tables.own.marks,
        order.join(", "),
    );
    (sql, bound)
}

async fn keys(
    session: &mut Session,
    tables: &Tables,
    direction: Direction,
    after: Option<&[Cell]>,
    limit: usize,
) -> Tried<Vec<Key>> {
    let (sql, bound) = statement(tables, direction, after, limit);
    let rows = session.rows("listing", &sql, bound).await?;
    let key = |row: &Vec<Cell>| Ok(tables.tree.key_from_cells(tables, row)?);
    rows.iter().map(key).collect()
}

async fn in_order(session: &mut Session, tables: &Tables, query: &ListQuery, direction: Direction) -> Tried<ListPage> {
    let mut page = ListPage { records: Vec::new(), more: false };
    let look = (query.limit + 1).max(PARKED_KEYS_MIN);
    let mut after = query.after.as_ref().and_then(|place| key_cells(tables, &place.key));
    loop {
        let found = keys(session, tables, direction, after.as_deref(), look).await?;
        let is_last = found.len() < look;
        after = found.last().and_then(|key| key_cells(tables, key));
        let records: Vec<Fetched> = fetch_many(session, tables, Marks::Joined, &found).await?;
        if take_in_order(query, &mut page, records) || is_last || after.is_none() {
            return Ok(page);
        }
    }
}
