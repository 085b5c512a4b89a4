//! What `plan` prints of each stage, and what is to know before.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Alteration, Effect, Evolve as _, FillStatement, Stage, Statement};
use shearwater_core::store::ChunkMax;

use super::super::item::RESERVED;
use super::{Evolving, walk};

/// Items that are looked at for a plan: one page, so that it costs next to nothing.
const SAMPLE: ChunkMax = ChunkMax { records: 200, bytes: 256 * 1024 };

/// Items that a scan reads in a millisecond, without a budget, about: an estimate,
/// not measured.
const SCAN_ITEMS_PER_MS: u64 = 50;

/// Items that are written in a millisecond, without a budget, some at a time: an
/// estimate, not measured.
const WRITE_ITEMS_PER_MS: u64 = 3;

const NO_LOCK: &str = "none; read capacity";

/// The statements of a stage.
pub(super) async fn statements(of: &Evolving, stage: Stage) -> StoreResult<Vec<Statement>> {
    let items = of.estimate().await?.records;
    let (table, own, name) = (&of.store.names.layout.table, &of.own, &of.name);
    let statement = |what: Alteration| {
        let (sql, lock, effect) = match what {
            Alteration::AddSidecar => (format!("CreateTable {own}, and one Scan of {table}"), NO_LOCK, Effect::Scan),
            Alteration::ValidateCheck => {
                (format!("Scan {table} for items without {name}; the store has no rule to set"), NO_LOCK, Effect::Scan)
            }
            Alteration::DropColumn => {
                (format!("UpdateItem {table}: REMOVE {name}"), "none; write capacity", Effect::Rewrite)
            }
            _ => (format!("DeleteTable {own}"), "none", Effect::Catalogue),
        };
        let expected_ms = match effect {
            Effect::Catalogue => 1,
            Effect::Scan | Effect::Fill => items.div_ceil(SCAN_ITEMS_PER_MS).max(1),
            Effect::Rewrite | Effect::RewriteAlone => items.div_ceil(WRITE_ITEMS_PER_MS).max(1),
        };
        Statement { what, sql, lock: lock.to_owned(), effect, expected_ms }
    };
    Ok(of.alterations(stage).into_iter().map(statement).collect())
}

/// The update of each item of a batch.
pub(super) fn fill_statement(of: &Evolving) -> FillStatement {
    let name = &of.name;
    let inputs = of.fill.inputs();
    let made_from =
        if inputs.is_empty() { String::new() } else { format!(", {} as they were read", inputs.join(", ")) };
    FillStatement {
        sql: format!(
            "UpdateItem {}: SET {name} = its value, if {name} is missing or null{made_from}",
            of.store.names.layout.table
        ),
        bounds:
            "one Scan along the hashes of the keys; its units are paid from rcu and wcu in the URL, if they are there"
                .to_owned(),
        lock: "none; read and write capacity".to_owned(),
    }
}

/// What to know of the table, each a sentence.
pub(super) async fn hazards(of: &Evolving) -> StoreResult<Vec<String>> {
    let (table, name) = (&of.store.names.layout.table, &of.name);
    let (items, _) = walk::page(of, None, SAMPLE).await?;
    let mut told = vec![
        format!(
            "DynamoDB cannot enforce a field: the gateway alone does. A program that writes {table} itself may leave out \
             {name}, before and after enforce; `verify` finds it, nothing stops it"
        ),
        format!(
            "nobody notes who wrote what: a value of {name} that is not the fill's counts as chosen; a rollback to planned \
             takes {name} out of every item if none had it when `start` looked, and out of none otherwise"
        ),
        format!(
            "`start`, enforce and `verify` each read the whole of {table}, the backfill reads it and writes each item"
        ),
        format!("a program that reads {table} itself finds no {name} in an item until the backfill has come by"),
    ];
    let mut refused = 0;
    for item in &items {
        let held = walk::held(of, item).await;
        if item.contains_key(RESERVED) && held.as_ref().is_ok_and(|held| held.image.is_none()) {
            let what = format!("DynamoDB: {table} holds tombstones of another migration");
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("finish or withdraw the other migration of this table first"));
        }
        let record = held.ok().and_then(|held| held.image).map(|image| image.record);
        let fits = record.is_some_and(|record| of.fill.value(&record).is_ok());
        refused += usize::from(!fits && !walk::has_value(of, item));
    }
    if refused > 0 {
        told.push(format!(
            "of {} items looked at, {refused} have values that the fill cannot be made from; the backfill stops at the \
             first such item and names it",
            items.len()
        ));
    }
    Ok(told)
}
