//! Dead letters: records that the mapping or the follower refused. What the
//! coordinator knows of them, when they are tried again, and how they go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use shearwater_core::error::StoreError;
use shearwater_core::journal::{DeadLetter, Journal};
use shearwater_core::mapping::MappingError;
use shearwater_core::store::Side;
use shearwater_core::{Key, Stamp};

use crate::failpoint;
use crate::follow::follow;
use crate::helm::Helm;
use crate::ledger::Halt;

/// Letters read from the journal at once.
const LETTERS_READ_MAX: usize = 1_000;

/// Letters remembered here, so that a migration full of them cannot fill
/// memory; the others are tried again more often than they need to be.
const LETTERS_KNOWN_MAX: usize = 100_000;

/// The longest wait before a letter with an unchanged stamp is tried again by itself.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Begins the key text of a letter whose record's key cannot be read; no key's
/// text begins so, because a key text that begins with `@` is quoted.
const UNREADABLE: &str = "@unreadable:";

/// A refusal of one record, before it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Key text, in the authority's shape.
    pub key: String,
    /// The version that was refused.
    pub stamp: Stamp,
    /// The stable code.
    pub code: String,
    /// Why, without row values.
    pub reason: String,
}

impl Refused {
    /// By the mapping.
    pub fn by_mapping(key: &Key, stamp: Stamp, error: &MappingError) -> Refused {
        Refused { key: key.to_text(), stamp, code: error.code.into(), reason: error.to_string() }
    }

    /// By a store.
    pub fn by_store(key: &Key, stamp: Stamp, error: &StoreError) -> Refused {
        Refused { key: key.to_text(), stamp, code: error.code().into(), reason: error.message.clone() }
    }

    /// By the authority's layout, which may not even tell the key.
    pub fn unreadable(key: Option<&Key>, error: &StoreError) -> Refused {
        let text = match key {
            Some(key) => key.to_text(),
            None => {
                format!(
                    "{UNREADABLE}{:016x}",
                    shearwater_core::value::hash::value(&error.message.as_str().into()) as u64
                )
            }
        };
        Refused { key: text, stamp: Stamp::ZERO, code: error.code().into(), reason: error.message.clone() }
    }
}

struct Known {
    stamp: Stamp,
    attempts: u64,
    again_at: Instant,
}

/// The dead letters of one authority as last read from the journal.
pub struct Letters {
    journal: Arc<dyn Journal>,
    authority: Side,
    known: HashMap<String, Known>,
    counted: u64,
}

impl Letters {
    /// Nothing read yet.
    pub fn new(journal: Arc<dyn Journal>) -> Letters {
        Letters { journal, authority: Side::Source, known: HashMap::new(), counted: 0 }
    }

    /// Reads the journal's letters if their number changed behind our back or
    /// the authority is another one now.
    pub async fn refresh(&mut self, authority: Side) -> Result<(), Halt> {
        let count = self.journal.dead_letter_count().await?;
        if count == self.counted && authority == self.authority {
            return Ok(());
        }
        let mut before = std::mem::take(&mut self.known);
        if authority != self.authority {
            before.clear();
        }
        self.authority = authority;
        self.counted = count;
        let mut after: Option<String> = None;
        loop {
            let letters = self.journal.dead_letters(after.as_deref(), LETTERS_READ_MAX).await?;
            let Some(last) = letters.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for letter in letters.into_iter().filter(|l| l.authority == authority) {
                let again_at = before.get(&letter.key).map_or_else(Instant::now, |known| known.again_at);
                let known = Known { stamp: letter.stamp(), attempts: letter.attempts, again_at };
                if self.known.len() < LETTERS_KNOWN_MAX {
                    self.known.insert(letter.key, known);
                }
            }
        }
    }

    /// Whether a key rests: its letter is of the same version and its time has not come.
    pub fn rests(&self, key: &Key, stamp: Stamp) -> bool {
        if self.known.is_empty() {
            return false;
        }
        self.known.get(&key.to_text()).is_some_and(|known| known.stamp == stamp && Instant::now() < known.again_at)
    }

    /// Whether this version of the key is known to be refused.
    pub fn holds(&self, key: &Key, stamp: Stamp) -> bool {
        !self.known.is_empty() && self.known.get(&key.to_text()).is_some_and(|known| known.stamp == stamp)
    }

    /// Letters whose time to be tried again has come, at most `keys_max`. Tried
    /// without a mark too: another record may have given a unique value free, or
    /// somebody else may have brought the record along already.
    pub fn due(&self, parts: usize, keys_max: usize) -> Vec<Key> {
        let now = Instant::now();
        let due = self.known.iter().filter(|(text, known)| known.again_at <= now && !text.starts_with(UNREADABLE));
        due.filter_map(|(text, _)| Key::from_text(text, parts).ok()).take(keys_max).collect()
    }

    /// Keeps a refusal in the journal.
    pub async fn bury(&mut self, authority: Side, refused: &Refused) -> Result<(), Halt> {
        let attempts = self.known.get(&refused.key).map_or(0, |known| known.attempts) + 1;
        let letter = DeadLetter {
            key: refused.key.clone(),
            authority,
            stamp: (refused.stamp.epoch, refused.stamp.counter),
            code: refused.code.clone(),
            reason: refused.reason.clone(),
            at_ms: now_ms(),
            attempts,
        };
        self.journal.bury(letter).await?;
        let wait = RETRY_MAX.min(Duration::from_secs(1) * 2u32.saturating_pow(attempts.min(10) as u32 - 1));
        let known = Known { stamp: refused.stamp, attempts, again_at: Instant::now() + wait };
        if authority == self.authority && self.known.insert(refused.key.clone(), known).is_none() {
            self.counted += 1;
        }
        Ok(())
    }

    /// Removes the letters of keys that went through.
    pub async fn resolve(&mut self, authority: Side, keys: &[Key]) -> Result<u64, Halt> {
        if self.counted == 0 {
            return Ok(0);
        }
        let mut resolved = 0;
        for key in keys {
            let text = key.to_text();
            let listed = self.known.len() < LETTERS_KNOWN_MAX && authority == self.authority;
            if listed && !self.known.contains_key(&text) {
                continue;
            }
            if self.journal.resolve(authority, &text).await? {
                self.counted = self.counted.saturating_sub(1);
                resolved += 1;
            }
            self.known.remove(&text);
        }
        Ok(resolved)
    }
}

/// Removes the letters of rows whose key could not be read: whoever reads all
/// rows again makes those anew that are still there.
pub async fn forget_unreadable(journal: &dyn Journal, authority: Side) -> Result<(), Halt> {
    let mut after: Option<String> = None;
    loop {
        let letters = journal.dead_letters(after.as_deref(), LETTERS_READ_MAX).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for letter in letters.iter().filter(|l| l.authority == authority && l.key.starts_with(UNREADABLE)) {
            journal.resolve(authority, &letter.key).await?;
        }
    }
}

/// Tries every dead letter of the present authority again.
///
/// Report: `{"tried": n, "resolved": n, "left": n}`.
pub async fn retry(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let Some(course) = helm.course() else {
        return Err(Halt::refused(
            "phase/no-follower",
            "no store follows in this phase, so dead letters cannot be tried again",
            "advance the migration first",
        ));
    };
    let parts = helm.setup.store(course.authority).layout().key_fields().len();
    let before = helm.setup.journal.dead_letter_count().await?;
    let mut tried = 0;
    let mut after: Option<String> = None;
    loop {
        let letters = helm.setup.journal.dead_letters(after.as_deref(), LETTERS_READ_MAX).await?;
        let Some(last) = letters.last() else { break };
        after = Some(last.key.clone());
        let mut keys = Vec::with_capacity(letters.len());
        for letter in &letters {
            if letter.authority != course.authority {
                // Of the time before the authority moved; the key is kept equal under the new one.
                helm.setup.journal.resolve(letter.authority, &letter.key).await?;
            } else if let Ok(key) = Key::from_text(&letter.key, parts)
                && !letter.key.starts_with(UNREADABLE)
            {
                keys.push(key);
            }
        }
        tried += keys.len() as u64;
        helm.letters.lock().await.refresh(course.authority).await?;
        let followed = follow(helm, course, &keys).await?;
        followed.bury(helm, course).await?;
        failpoint::hit("follow-buried");
    }
    let left = helm.setup.journal.dead_letter_count().await?;
    Ok(json!({ "tried": tried, "resolved": before.saturating_sub(left), "left": left }))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
