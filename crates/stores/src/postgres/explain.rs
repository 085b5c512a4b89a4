//! How PostgreSQL would answer a list: its own plan, and the index that it lacks.

use shearwater_core::error::StoreResult;
use shearwater_core::query::ListQuery;
use shearwater_core::store::{Among, ListPlan, Reads};
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::cell::Cell;
use super::condition::root_column;
use super::error::Failure;
use super::list::{BEGIN, List, Segment};
use super::names::quoted;
use super::parked::Walk;
use super::scan::{Seen, about_sidecar};
use super::session::{Session, get};
use super::tables::{Sidecar, Tables};
use crate::relational::page::{PARKED_READ_MAX, check_limit};

/// Steps that read all of a table, or all of what they sort, before the first row.
const READS_ALL: [&str; 2] = ["Seq Scan", "Sort"];

/// Without these the planner sorts and scans only where no index would do.
const INDEXES_ONLY: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; \
                            SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; \
                            SET LOCAL enable_mergejoin = off";

/// How a list is answered.
pub(super) async fn explain(store: &Postgres, query: &ListQuery, among: Among) -> StoreResult<ListPlan> {
    check_limit(query.limit)?;
    let lease = store.pool.lease().await?;
    about_sidecar(store, |sidecar| {
        let lease = &lease;
        async move {
            let tables = store.tables_with(lease).await?;
            let among = if sidecar == Sidecar::Absent { Among::All } else { among };
            let plan = lease.transaction(BEGIN, plan(lease, &tables, sidecar, query, among)).await?;
            Ok(Seen::Right(plan))
        }
    })
    .await
}

async fn plan(
    session: &Session,
    tables: &Tables,
    sidecar: Sidecar,
    query: &ListQuery,
    among: Among,
) -> Result<ListPlan, Failure> {
    if among == Among::Parked {
        let walked = match Walk::of(session, tables, query) {
            Some(walk) => Some(walk.statement(false, query.limit + 1)),
            None => Walk::few(session, tables).await?.map(|(walk, _)| walk.statement(false, PARKED_READ_MAX + 1)),
        };
        if let Some(sql) = walked {
            return Ok(ListPlan { reads: Reads::Page, steps: steps(session, &sql, &[]).await?, index: None });
        }
    }
    let list = List::of(session, tables, sidecar, query, among);
    let segment = match list.order().await? {
        // The part with values: the nulls of a term stand together in any index on it.
        Some(key) => list.segments(&key, None).and_then(|segments| segments.into_iter().find(Segment::has_values)),
        None => None,
    };
    let Some(mut segment) = segment else {
        let steps = vec!["the server cannot give this order: every record is read and sorted here".to_owned()];
        return Ok(ListPlan { reads: Reads::Everything, steps, index: None });
    };
    segment.sql.push(tables, &query.filter);
    let sql = list.statement(&segment.sql, &format!(" ORDER BY {} LIMIT {}", segment.order, query.limit + 1));
    let seen = steps(session, &sql, &segment.sql.bound).await?;
    session.batch(INDEXES_ONLY).await?;
    let forced = steps(session, &sql, &segment.sql.bound).await?;
    let reads_all = forced.iter().any(|step| READS_ALL.iter().any(|word| begins(step, word)));
    let reads = if reads_all { Reads::Everything } else { Reads::Page };
    Ok(ListPlan { reads, steps: seen, index: index(&list).filter(|_| reads_all) })
}

/// Whether a line of a plan is this step (neither `Incremental Sort` nor
/// `Sort Key: …` is `Sort`).
fn begins(step: &str, word: &str) -> bool {
    let step = step.trim_start().trim_start_matches("->").trim_start();
    step.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(" on "))
}

async fn steps(session: &Session, sql: &str, bound: &[Cell]) -> Result<Vec<String>, Failure> {
    let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|cell| cell as _).collect();
    let rows = session.rows(&format!("EXPLAIN (COSTS OFF) {sql}"), &bound).await?;
    Ok(rows.iter().map(|row| get(row, 0)).collect::<StoreResult<_>>()?)
}

/// The statement that makes an index for the list's order.
fn index(list: &List<'_>) -> Option<String> {
    let tables = list.tables;
    let mut columns = Vec::new();
    for term in list.wanted().iter().filter(|term| !list.is_key(&term.path)) {
        let (column, ty) = root_column(tables, &term.path)?;
        let name = quoted(&column.name);
        let direction = if term.descending { " DESC" } else { "" };
        for atom in column.native.canonical(ty, &name) {
            let text = atom.split("::").next().filter(|text| atom.ends_with("\"C\"") && *text == name);
            let atom = match text {
                Some(name) => format!("{name} COLLATE \"C\""),
                None if atom == name => atom,
                None => format!("({atom})"),
            };
            columns.push(format!("{atom}{direction}"));
        }
    }
    columns.extend(tables.tree.key.iter().map(|name| quoted(name)));
    Some(format!("CREATE INDEX CONCURRENTLY ON {} ({})", tables.root, columns.join(", ")))
}
