//! Shadow reads: sampled reads are compared with the follower off the client's
//! path. A difference counts only after reading again shows that neither side
//! was moving.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shearwater_core::Key;
use shearwater_core::error::StoreResult;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::store::{Fetched, Side};
use tokio::sync::Semaphore;

use crate::records::list::Page;
use crate::records::{DataPath, Etag, Got, ListAsk};

/// Comparisons on their way at once: they are extra load on both stores, and
/// samples beyond it are left out.
const SHADOWS_MAX: u32 = 32;

/// Looks at a difference before it counts.
const LOOKS_MAX: usize = 3;

/// Between flushes to the journal, ms: gates read the counts, nobody else waits.
const FLUSH_EVERY_MS: u64 = 500;

/// The journal's note that holds the counts of all processes.
pub const SHADOW_NOTE: &str = "shadow";

/// The named lease under which a process adds its counts to the note, and how
/// long it may take, ms.
const NOTE_LEASE: &str = "shadow-note";
const NOTE_LEASE_MS: u64 = 2_000;

/// What shadow reads found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShadowCounts {
    /// Reads compared to an end: matched or not.
    pub compared: u64,
    /// The follower would have answered the same.
    pub matched: u64,
    /// It would not, and neither store was moving.
    pub mismatches: u64,
    /// Left out, because the record was dirty or moved meanwhile.
    pub skipped: u64,
}

impl ShadowCounts {
    fn since(self, before: ShadowCounts) -> ShadowCounts {
        ShadowCounts {
            compared: self.compared - before.compared,
            matched: self.matched - before.matched,
            mismatches: self.mismatches - before.mismatches,
            skipped: self.skipped - before.skipped,
        }
    }

    fn plus(self, other: ShadowCounts) -> ShadowCounts {
        ShadowCounts {
            compared: self.compared + other.compared,
            matched: self.matched + other.matched,
            mismatches: self.mismatches + other.mismatches,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// How one comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Matched,
    Mismatched,
    Skipped,
}

/// This process's shadow reads.
pub(crate) struct Shadow {
    one_in: u32,
    reads: AtomicU64,
    matched: AtomicU64,
    mismatched: AtomicU64,
    skipped: AtomicU64,
    permits: Arc<Semaphore>,
    /// What is in the journal's note already.
    flushed: Mutex<ShadowCounts>,
}

impl Shadow {
    pub(crate) fn new(one_in: u32) -> Shadow {
        Shadow {
            one_in: one_in.max(1),
            reads: AtomicU64::new(0),
            matched: AtomicU64::new(0),
            mismatched: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            permits: Arc::new(Semaphore::new(SHADOWS_MAX as usize)),
            flushed: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> ShadowCounts {
        let (matched, mismatches) = (self.matched.load(Ordering::Relaxed), self.mismatched.load(Ordering::Relaxed));
        let skipped = self.skipped.load(Ordering::Relaxed);
        ShadowCounts { compared: matched + mismatches, matched, mismatches, skipped }
    }

    /// Leave to compare one read, for the sampled ones while there is room.
    fn sample(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let sampled = self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(u64::from(self.one_in));
        if sampled { self.permits.clone().try_acquire_owned().ok() } else { None }
    }

    fn count(&self, finding: Finding) {
        let counter = match finding {
            Finding::Matched => &self.matched,
            Finding::Mismatched => &self.mismatched,
            Finding::Skipped => &self.skipped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("shearwater_shadow_reads_total", "finding" => match finding {
            Finding::Matched => "matched",
            Finding::Mismatched => "mismatched",
            Finding::Skipped => "skipped",
        })
        .increment(1);
    }

    /// Waits for the comparisons on their way.
    pub(crate) async fn settle(&self) {
        let _ = self.permits.acquire_many(SHADOWS_MAX).await;
    }

    /// Adds what was found since the last flush to the journal's note. Another
    /// process that does so at this moment is let go first, until the next flush.
    pub(crate) async fn flush(&self, journal: &dyn Journal, member: &str) -> Result<(), JournalError> {
        let now = self.counts();
        let before = *self.flushed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now == before || !journal.acquire(NOTE_LEASE, member, NOTE_LEASE_MS).await? {
            return Ok(());
        }
        let noted: ShadowCounts =
            journal.note(SHADOW_NOTE).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let text = serde_json::json!(noted.plus(now.since(before))).to_string();
        journal.set_note(SHADOW_NOTE, &text).await?;
        *self.flushed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
        journal.release(NOTE_LEASE, member).await
    }
}

/// Flushes now and then for as long as the data path lives.
pub(crate) fn start_flushing(path: &Arc<DataPath>) {
    let path = Arc::downgrade(path);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(FLUSH_EVERY_MS)).await;
            let Some(path) = path.upgrade() else { return };
            if let Err(error) = path.shadow.flush(&*path.setup.journal, path.member.id()).await {
                tracing::debug!(%error, "shadow counts could not be flushed");
            }
        }
    });
}

impl DataPath {
    /// Compares a record that was served with the follower's, if it is sampled.
    pub(crate) fn shadow_record(self: &Arc<Self>, authority: Side, follower: Side, served: &Fetched) {
        let Some(permit) = self.shadow.sample() else { return };
        let (path, key) = (self.clone(), served.key.clone());
        tokio::spawn(async move {
            let finding = path.compare_record(authority, follower, &key).await.unwrap_or(Finding::Skipped);
            path.shadow.count(finding);
            drop(permit);
        });
    }

    /// Compares a page that was served with the follower's, if it is sampled.
    pub(crate) fn shadow_list(self: &Arc<Self>, authority: Side, follower: Side, ask: &ListAsk) {
        let Some(permit) = self.shadow.sample() else { return };
        let (path, ask) = (self.clone(), ask.clone());
        tokio::spawn(async move {
            let finding = path.compare_list(authority, follower, &ask).await;
            path.shadow.count(finding);
            drop(permit);
        });
    }

    async fn compare_record(&self, authority: Side, follower: Side, key: &Key) -> StoreResult<Finding> {
        for _ in 0..LOOKS_MAX {
            let held = self.setup.store(authority).fetch(key).await?;
            if held.dirty {
                return Ok(Finding::Skipped);
            }
            let Ok(follower_key) = self.key_across(authority, follower, key) else { return Ok(Finding::Mismatched) };
            let found = self.setup.store(follower).fetch(&follower_key).await?;
            let again = self.setup.store(authority).fetch(key).await?;
            if again.stamp != held.stamp || again.dirty {
                return Ok(Finding::Skipped);
            }
            let expected = held.image.as_ref().map(|image| self.setup.mapping.towards(follower, image)).transpose();
            let record = found.image.map(|image| image.record);
            if expected.is_ok_and(|expected| expected.map(|image| image.record) == record) {
                return Ok(Finding::Matched);
            }
        }
        Ok(Finding::Mismatched)
    }

    /// Order and page boundaries count as well as content.
    async fn compare_list(&self, authority: Side, follower: Side, ask: &ListAsk) -> Finding {
        for _ in 0..LOOKS_MAX {
            let Ok(expected) = self.page_from(authority, ask, ask.limit).await else { return Finding::Skipped };
            let Ok(found) = self.page_from(follower, ask, ask.limit).await else { return Finding::Skipped };
            let same = expected.more == found.more
                && expected.rows.len() == found.rows.len()
                && expected
                    .rows
                    .iter()
                    .zip(&found.rows)
                    .all(|(e, f)| e.got.key == f.got.key && e.got.record == f.got.record);
            if same {
                return Finding::Matched;
            }
            if self.stands(authority, follower, ask, &expected, &found).await == Some(Stands::Yes) {
                return Finding::Mismatched;
            }
        }
        Finding::Skipped
    }

    /// Whether two different pages were taken while neither store moved: both
    /// pages are taken again, around a look at the stamps of what differs. A
    /// write between the first two pages is seen in the authority's second, and
    /// one that the follower was only late with in the follower's second.
    async fn stands(
        &self,
        authority: Side,
        follower: Side,
        ask: &ListAsk,
        expected: &Page,
        found: &Page,
    ) -> Option<Stands> {
        let expected_again = self.page_from(authority, ask, ask.limit).await.ok()?;
        let keys = differing(expected.rows.iter().map(|row| &row.got), found.rows.iter().map(|row| &row.got));
        let still = self.are_still(authority, follower, ask, keys).await.ok()?;
        let found_again = self.page_from(follower, ask, ask.limit).await.ok()?;
        let stands =
            still && versions(expected) == versions(&expected_again) && versions(found) == versions(&found_again);
        Some(if stands { Stands::Yes } else { Stands::No })
    }

    /// Whether none of the keys is dirty and the follower holds the authority's
    /// stamp of each: then their difference is one.
    async fn are_still(&self, authority: Side, follower: Side, ask: &ListAsk, keys: Vec<Key>) -> StoreResult<bool> {
        let across = |to: Side| -> Vec<Key> {
            keys.iter().filter_map(|key| self.key_across(ask.shape.side(), to, key).ok().map(Cow::into_owned)).collect()
        };
        let held = self.setup.store(authority).fetch_many(&across(authority)).await?;
        let found = self.setup.store(follower).fetch_many(&across(follower)).await?;
        Ok(held.iter().all(|held| !held.dirty)
            && held.len() == found.len()
            && held.iter().zip(&found).all(|(held, found)| held.stamp == found.stamp))
    }
}

/// Whether a difference was found between two stores at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Yes,
    No,
}

/// Which versions of which records a page shows.
fn versions(page: &Page) -> Vec<(&Key, Etag)> {
    page.rows.iter().map(|row| (&row.got.key, row.got.etag)).collect()
}

/// Keys whose record or place differs between two pages.
fn differing<'a>(expected: impl Iterator<Item = &'a Got>, found: impl Iterator<Item = &'a Got>) -> Vec<Key> {
    let mut places: HashMap<&Key, (usize, &Got)> =
        expected.enumerate().map(|(at, got)| (&got.key, (at, got))).collect();
    let mut keys = Vec::new();
    for (at, got) in found.enumerate() {
        match places.remove(&got.key) {
            Some((place, expected)) if place == at && expected.record == got.record => {}
            Some(_) | None => keys.push(got.key.clone()),
        }
    }
    keys.extend(places.into_keys().cloned());
    keys
}

#[cfg(test)]
mod tests {
    use shearwater_core::{Document, Stamp};

    use super::*;

    #[test]
    fn keys_that_differ_in_content_or_place() {
        let got = |id: i64, name: &str| Got {
            key: Key::single(id),
            record: [("name", name)].into_iter().collect::<Document>(),
            etag: Etag::Stamp(Stamp::ZERO),
        };
        let check = |expected: &[Got], found: &[Got], expect: &[i64]| {
            let mut keys = differing(expected.iter(), found.iter());
            keys.sort();
            assert_eq!(keys, expect.iter().map(|id| Key::single(*id)).collect::<Vec<_>>());
        };
        let (a, b, c) = (got(1, "a"), got(2, "b"), got(3, "c"));
        check(&[a.clone(), b.clone()], &[a.clone(), b.clone()], &[]);
        check(&[a.clone(), b.clone()], &[a.clone(), got(2, "x")], &[2]);
        check(&[a.clone(), b.clone()], &[b.clone(), a.clone()], &[1, 2]);
        check(&[a.clone(), b.clone()], &[a.clone(), c.clone()], &[2, 3]);
        check(&[a.clone(), b], &[a], &[2]);
        check(&[], &[c], &[3]);
    }

    #[test]
    fn one_of_so_many_reads_is_sampled() {
        let shadow = Shadow::new(4);
        let sampled = (0..40).filter(|_| shadow.sample().is_some()).count();
        assert_eq!(sampled, 10);
    }
}
