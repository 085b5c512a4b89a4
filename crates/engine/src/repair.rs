//! Repair of what the last verification found and of foreign writes: a fresh
//! stamped read of the authority and a guarded put, never a delete because a
//! list did not have the key.

use std::collections::BTreeSet;

use serde_json::json;
use shearwater_core::Key;
use shearwater_core::journal::Event;
use shearwater_core::store::Side;

use crate::failpoint;
use crate::follow::{FOLLOW_KEYS_MAX, follow};
use crate::helm::{Course, Helm, Leash};
use crate::ledger::Halt;
use crate::verify::{self, Finding};

/// Foreign writes taken up in one round.
const FOREIGN_KEYS_MAX: usize = 1_000;

/// Rounds over foreign writes: whoever writes on all the time must be stopped, not chased.
const FOREIGN_ROUNDS_MAX: usize = 10;

/// Whether a repair changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only say what would be looked at.
    DryRun,
    /// Do it.
    Apply,
}

/// Repairs.
///
/// Report of a dry run: `{"dry_run": true, "mismatches": n, "foreign": n, "keys": ["…", first 100]}`.
/// Report: `{"dry_run": false, "looked_at": n, "repaired": n, "equal": n, "refused": n, "unlisted": n}`,
/// where `unlisted` findings were more than the list holds: verify and repair again.
pub async fn run(helm: Helm, mode: Mode, mut leash: Leash) -> Result<serde_json::Value, Halt> {
    let Some(course) = helm.course() else {
        return Err(Halt::refused("phase/no-follower", "no store follows in this phase", "`advance` first"));
    };
    let found = verify::last(&helm.setup).await?;
    let found = found.filter(|found| found.authority == course.authority);
    let (findings, total) = found.map_or((Vec::new(), 0), |found| (found.findings, found.totals.mismatches()));
    let keys = keys_of(&helm, course, &findings);
    let unlisted = total.saturating_sub(findings.len() as u64);
    if mode == Mode::DryRun {
        return dry_run(&helm, course, &keys, total).await;
    }
    let mut done = Done { looked_at: keys.len() as u64, ..Done::default() };
    for batch in keys.chunks(FOLLOW_KEYS_MAX) {
        leash.pass().await?;
        put_right(&helm, course, batch, &mut done).await?;
    }
    foreign(&helm, course, &mut leash, &mut done).await?;
    helm.ledger.append(Event::Repaired { repaired: done.repaired }).await?;
    Ok(json!({
        "dry_run": false, "looked_at": done.looked_at, "repaired": done.repaired, "equal": done.equal,
        "refused": done.refused, "unlisted": unlisted,
    }))
}

#[derive(Default)]
struct Done {
    looked_at: u64,
    repaired: u64,
    equal: u64,
    refused: u64,
}

/// The authority's keys of findings; orphans of the target have none.
fn keys_of(helm: &Helm, course: Course, findings: &[Finding]) -> Vec<Key> {
    let parts = helm.setup.store(course.authority).layout().key_fields().len();
    let texts = findings.iter().filter_map(|finding| match course.authority {
        Side::Source => finding.source_key.as_deref(),
        Side::Target => finding.target_key.as_deref(),
    });
    texts.filter_map(|text| Key::from_text(text, parts).ok()).collect::<BTreeSet<_>>().into_iter().collect()
}

async fn dry_run(helm: &Helm, course: Course, keys: &[Key], total: u64) -> Result<serde_json::Value, Halt> {
    let follower = course.authority.other();
    let foreign = helm.setup.store(follower).foreign(FOREIGN_KEYS_MAX).await.map_err(Halt::store(follower))?;
    let shown: Vec<String> = keys.iter().take(100).map(Key::to_text).collect();
    Ok(json!({ "dry_run": true, "mismatches": total, "foreign": foreign.len(), "keys": shown }))
}

/// Reads keys fresh in the authority and makes the follower hold that.
async fn put_right(helm: &Helm, course: Course, keys: &[Key], done: &mut Done) -> Result<(), Halt> {
    let followed = follow(helm, course, keys).await?;
    failpoint::hit("repair-applied");
    followed.bury(helm, course).await?;
    done.repaired += followed.changed;
    done.equal += followed.unchanged;
    done.refused += followed.refused.len() as u64;
    Ok(())
}

/// Makes keys that somebody else wrote in the follower equal again.
async fn foreign(helm: &Helm, course: Course, leash: &mut Leash, done: &mut Done) -> Result<(), Halt> {
    let side = course.authority.other();
    let store = helm.setup.store(side);
    for _ in 0..FOREIGN_ROUNDS_MAX {
        leash.pass().await?;
        let theirs = store.foreign(FOREIGN_KEYS_MAX).await.map_err(Halt::store(side))?;
        if theirs.is_empty() {
            return Ok(());
        }
        let mut ours = Vec::with_capacity(theirs.len());
        let mut known = Vec::with_capacity(theirs.len());
        for key in theirs {
            match helm.setup.mapping.key_towards(course.authority, &key) {
                Ok(mapped) => {
                    ours.push(mapped);
                    known.push(key);
                }
                Err(_) => done.refused += 1,
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        done.looked_at += ours.len() as u64;
        // Once before, so that a crash after the notes are gone finds nothing left to do;
        // once after, for writes between the two.
        put_right(helm, course, &ours, done).await?;
        helm.check()?;
        store.clear_foreign(known).await.map_err(Halt::store(side))?;
        failpoint::hit("repair-foreign-cleared");
        put_right(helm, course, &ours, &mut Done::default()).await?;
    }
    Ok(())
}
