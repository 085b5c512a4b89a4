//! Verification: every record has a value, of the field's type, and the right
//! one: what the declared fill gives for the record, or what a writer chose.
//!
//! The store notes, in the writer's own transaction, each record whose value is
//! not the fill's. So a value that differs and was not noted is nobody's
//! choice: it is wrong.

use std::time::{Duration, Instant};

use serde_json::json;
use shearwater_core::Key;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::VerifyTotals;
use shearwater_core::store::{BadRow, Chunk, ChunkMax, Fetched};
use shearwater_core::value::Value;

use super::{Helm, patiently};
use crate::helm::Leash;
use crate::ledger::Halt;
use crate::progress::Progress;
use crate::throttle::Throttle;

/// The note that keeps the keys of the last verification's findings: a JSON
/// array of `{"key": "…", "what": "missing|different|refused"}`.
pub const FINDINGS_NOTE: &str = "mismatches";

/// Findings kept; beyond that they are only counted.
const FINDINGS_KEPT_MAX: usize = 1_000;

/// Findings in a report.
const FINDINGS_SHOWN_MAX: usize = 20;

/// Records read at once, at most.
const CHUNK_MAX: ChunkMax = ChunkMax { records: 1_000, bytes: 1024 * 1024 };

#[derive(Default)]
struct Found {
    totals: VerifyTotals,
    chosen: u64,
    findings: Vec<serde_json::Value>,
}

impl Found {
    fn keep(&mut self, key: Option<&Key>, what: &str) {
        if self.findings.len() < FINDINGS_KEPT_MAX {
            self.findings.push(json!({ "key": key.map(Key::to_text), "what": what }));
        }
    }
}

/// Reads every record.
///
/// Report: `{"compared": n, "missing": n, "different": n, "refused": n, "chosen": n,
/// "mismatches": n, "elapsed_ms": n, "findings": [first 20]}`.
pub(super) async fn run(helm: Helm, mut leash: Leash) -> Result<serde_json::Value, Halt> {
    if !helm.state().has_field() {
        return Err(Halt::refused("verify/no-field", "the field is not there yet", "`advance` first"));
    }
    let began = Instant::now();
    let store = helm.setup.opener.open(&helm.setup.v2).await.map_err(Halt::OneStore)?;
    let total = patiently(&mut leash, || store.estimate()).await?.records;
    let progress = Progress::new(helm.setup.journal.clone(), "verify", total, 0);
    let mut found = Found::default();
    let throttle = Throttle::inside_a_store(helm.setup.spec.pace, &helm.foreground);
    for range in patiently(&mut leash, || store.split(1)).await? {
        let mut after = None;
        loop {
            let piece = helm.foreground.piece();
            let began = Instant::now();
            let max = ChunkMax { records: throttle.chunk_max().records.min(CHUNK_MAX.records), ..CHUNK_MAX };
            let chunk = patiently(&mut leash, || store.scan(&range, after.as_ref(), max)).await?;
            after.clone_from(&chunk.next);
            let records = chunk.records.len();
            compare(&helm, &mut leash, chunk, &mut found).await?;
            drop(piece);
            progress.add(records as u64, 0, 0).await?;
            let rest = throttle.wrote(records, began.elapsed(), &helm.foreground);
            if rest > Duration::ZERO {
                leash.rest(rest).await?;
            }
            if after.is_none() {
                break;
            }
        }
    }
    progress.end().await?;
    found.totals.elapsed_ms = began.elapsed().as_millis() as u64;
    let totals = found.totals;
    let text = serde_json::to_string(&found.findings).map_err(|error| Halt::Broken(error.to_string()))?;
    helm.setup.journal.set_note(FINDINGS_NOTE, &text).await?;
    helm.ledger.append(Event::Verified { totals }).await?;
    found.findings.truncate(FINDINGS_SHOWN_MAX);
    Ok(json!({
        "compared": totals.compared, "missing": totals.missing, "different": totals.different,
        "refused": totals.refused, "chosen": found.chosen, "mismatches": totals.mismatches(),
        "elapsed_ms": totals.elapsed_ms, "findings": found.findings,
    }))
}

async fn compare(helm: &Helm, leash: &mut Leash, chunk: Chunk, found: &mut Found) -> Result<(), Halt> {
    let name = helm.setup.spec.field.name.as_str();
    let mut deviating = Vec::new();
    for record in chunk.records {
        found.totals.compared += 1;
        let (key, image) = match record {
            Ok(Fetched { key, image: Some(image), .. }) => (key, image),
            Ok(_) => continue,
            Err(BadRow { key, .. }) => {
                found.totals.refused += 1;
                found.keep(key.as_ref(), "refused");
                continue;
            }
        };
        match (image.record.get(name), helm.setup.fill.value(&image.record)) {
            (None | Some(Value::Null), _) => {
                found.totals.missing += 1;
                found.keep(Some(&key), "missing");
            }
            (_, Err(_)) => {
                found.totals.refused += 1;
                found.keep(Some(&key), "refused");
            }
            (Some(value), _) if !helm.setup.fill.takes(value) => {
                found.totals.refused += 1;
                found.keep(Some(&key), "refused");
            }
            (Some(value), Ok(expected)) if *value == expected => {}
            (Some(_), Ok(_)) => deviating.push(key),
        }
    }
    if deviating.is_empty() {
        return Ok(());
    }
    // Asked after the record was read: whoever wrote it had noted it by then.
    let chosen = patiently(leash, || helm.setup.evolve.chosen(&deviating)).await?;
    for (key, chosen) in deviating.iter().zip(chosen) {
        if chosen {
            found.chosen += 1;
        } else {
            found.totals.different += 1;
            found.keep(Some(key), "different");
        }
    }
    Ok(())
}
