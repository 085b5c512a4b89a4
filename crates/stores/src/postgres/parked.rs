//! Lists of records with something parked beside them, which the sidecar's own
//! index finds: by key it is walked in order; where they are few, they are all
//! read; else the table's own indexes are walked past the others.

use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery};
use shearwater_core::store::{Among, Fetched};
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::cell::Cell;
use super::condition::{key_cells, key_order};
use super::error::Failure;
use super::list::{BEGIN, List, list_once};
use super::names::mark_key_columns;
use super::record::cells_of;
use super::scan::{Seen, about_sidecar, fetch_in};
use super::session::Session;
use super::tables::{Sidecar, Tables};
use crate::relational::page::{
    Direction, PARKED_KEYS_MIN, PARKED_READ_MAX, by_key, check_limit, sorted_page, take_in_order,
};

/// One page.
pub(super) async fn list(store: &Postgres, query: &ListQuery) -> StoreResult<ListPage> {
    check_limit(query.limit)?;
    let lease = store.pool.lease().await?;
    about_sidecar(store, |sidecar| list_in(store, &lease, sidecar, query)).await
}

async fn list_in(
    store: &Postgres,
    session: &Session,
    sidecar: Sidecar,
    query: &ListQuery,
) -> Result<Seen<ListPage>, Failure> {
    if sidecar == Sidecar::Absent {
        // Where nothing can be parked, whoever asks finds that out.
        return list_once(store, session, sidecar, query).await;
    }
    let tables = store.tables_with(session).await?;
    session.transaction(BEGIN, read(session, &tables, query)).await
}

async fn read(session: &Session, tables: &Tables, query: &ListQuery) -> Result<Seen<ListPage>, Failure> {
    if let Some(walk) = Walk::of(session, tables, query) {
        return walk.in_order(query).await;
    }
    match Walk::few(session, tables).await? {
        Some((walk, keys)) => Ok(Seen::Right(sorted_page(query, walk.records(&keys).await?))),
        None => List::of(session, tables, Sidecar::Installed, query, Among::Parked).read().await,
    }
}

/// A walk over the marks by key.
pub(super) struct Walk<'a> {
    session: &'a Session,
    tables: &'a Tables,
    direction: Direction,
}

impl<'a> Walk<'a> {
    /// For a list whose order it gives.
    pub(super) fn of(session: &'a Session, tables: &'a Tables, query: &ListQuery) -> Option<Walk<'a>> {
        let direction = by_key(&tables.tree, query)?;
        // One term for each part, in a type whose order the marks keep.
        let is_canonical = key_order(tables)?.len() == tables.facts.key.len();
        let place_fits = query.after.as_ref().is_none_or(|place| key_cells(tables, &place.key).is_some());
        (is_canonical && place_fits).then_some(Walk { session, tables, direction })
    }

    /// Over all of them with their keys, where they are few.
    pub(super) async fn few(session: &'a Session, tables: &'a Tables) -> Result<Option<(Walk<'a>, Vec<Key>)>, Failure> {
        let walk = Walk { session, tables, direction: Direction::Rising };
        let keys = walk.keys(None, PARKED_READ_MAX + 1).await?;
        Ok((keys.len() <= PARKED_READ_MAX).then_some((walk, keys)))
    }

    /// The statement that reads keys, after a place if there is one.
    pub(super) fn statement(&self, has_place: bool, limit: usize) -> String {
        let columns = mark_key_columns(self.tables.facts.key.len());
        let (sign, suffix) = match self.direction {
            Direction::Rising => (">", ""),
            Direction::Falling => ("<", " DESC"),
        };
        let place = match has_place {
            false => String::new(),
            true => {
                let places = self.tables.facts.key.iter().enumerate();
                let places: Vec<String> = places
                    .map(|(at, column)| column.native.to_mark(&column.native.bind(&format!("${}", at + 1))))
                    .collect();
                let columns: Vec<String> = columns.iter().map(|column| format!("m.{column}")).collect();
                format!(" AND ({}) {sign} ({})", columns.join(", "), places.join(", "))
            }
        };
        let order: Vec<String> = columns.iter().map(|column| format!("m.{column}{suffix}")).collect();
        format!(
            "SELECT {} FROM {} m WHERE m.parked IS NOT NULL{place} ORDER BY {} LIMIT {limit}",
            self.tables.mark_keys(),
            self.tables.names.marks(),
            order.join(", "),
        )
    }

    async fn keys(&self, after: Option<&[Cell]>, limit: usize) -> Result<Vec<Key>, Failure> {
        let sql = self.statement(after.is_some(), limit);
        let bound: Vec<&(dyn ToSql + Sync)> = after.unwrap_or_default().iter().map(|cell| cell as _).collect();
        let rows = self.session.rows(&sql, &bound).await?;
        let parts = self.tables.facts.key.len();
        let key = |row| Ok(self.tables.key_from_cells(&cells_of(row, 0, parts)?)?);
        rows.iter().map(key).collect()
    }

    async fn records(&self, keys: &[Key]) -> Result<Vec<Fetched>, Failure> {
        match fetch_in(self.session, self.tables, Sidecar::Installed, keys).await? {
            Seen::Right(records) => Ok(records),
            Seen::SidecarMissed => Ok(Vec::new()),
        }
    }

    async fn in_order(&self, query: &ListQuery) -> Result<Seen<ListPage>, Failure> {
        let mut page = ListPage { records: Vec::new(), more: false };
        let look = (query.limit + 1).max(PARKED_KEYS_MIN);
        let mut after = query.after.as_ref().and_then(|place| key_cells(self.tables, &place.key));
        loop {
            let keys = self.keys(after.as_deref(), look).await?;
            let is_last = keys.len() < look;
            after = keys.last().and_then(|key| key_cells(self.tables, key));
            let records = self.records(&keys).await?;
            if take_in_order(query, &mut page, records) || is_last || after.is_none() {
                return Ok(Seen::Right(page));
            }
        }
    }
}
