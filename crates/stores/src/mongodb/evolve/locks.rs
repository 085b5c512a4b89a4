//! Who has the collection while its rules are to be changed.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use shearwater_core::evolve::Blocker;

use super::Evolving;

/// Operations that are named.
const BLOCKERS_MAX: i64 = 10;

/// The operations on the collection and the open transactions; where the account
/// may not look, that there are some.
pub(super) async fn blockers(of: &Evolving, patience: Duration) -> Vec<Blocker> {
    let found = look(of).await.unwrap_or_default();
    if !found.is_empty() {
        return found;
    }
    vec![Blocker {
        session: "an operation or a transaction".to_owned(),
        what: "it uses the collection; db.currentOp() names it".to_owned(),
        for_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    }]
}

async fn look(of: &Evolving) -> mongodb::error::Result<Vec<Blocker>> {
    let place = format!("{}.{}", of.inner.server.name, of.inner.records.table);
    let stages = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { "$or": [{ "ns": place }, { "transaction": { "$exists": true } }],
        "command.collMod": { "$exists": false } } },
        doc! { "$limit": BLOCKERS_MAX },
    ];
    let found: Vec<Document> = of.inner.server.admin().aggregate(stages).await?.try_collect().await?;
    Ok(found.iter().map(blocker).collect())
}

fn micros(found: Option<&Bson>) -> u64 {
    match found {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => *n as u64,
        _ => 0,
    }
}

fn blocker(found: &Document) -> Blocker {
    let transaction = found.get_document("transaction").ok();
    let for_micros = match transaction {
        Some(transaction) => micros(transaction.get("timeOpenMicros")),
        None => micros(found.get("microsecs_running")),
    };
    let client = found.get_str("appName").or_else(|_| found.get_str("client")).unwrap_or("an unnamed program");
    let op = found.get_str("op").unwrap_or("none");
    let state = match transaction {
        Some(_) => "an open transaction",
        None => "an operation",
    };
    Blocker {
        session: found.get("opid").map_or_else(|| "idle".to_owned(), |opid| format!("operation {opid}")),
        what: format!("{state} of {client}, now {op}"),
        for_ms: for_micros / 1_000,
    }
}
