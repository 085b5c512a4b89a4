//! How far an activity is: done, total, rate, time left, in the journal's note
//! `progress`, a few times a second at most.
//!
//! The note: `{"activity": "backfill", "done": n, "total": n, "changed": n,
//! "dead": n, "records_per_s": x, "eta_s": x or null, "rests": "why" or null,
//! "at_ms": n, "ended": bool}`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shearwater_core::journal::{Journal, JournalError};

use crate::dead_letters::now_ms;

/// The note's name.
pub const PROGRESS_NOTE: &str = "progress";

/// The shortest time between two notes: each is a durable write of the journal.
const NOTE_INTERVAL: Duration = Duration::from_millis(300);

/// What is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// `backfill`, `verify`, `copy`.
    pub activity: String,
    /// Records done, earlier runs of the same activity included.
    pub done: u64,
    /// Records in all, as estimated at the beginning.
    pub total: u64,
    /// Records that the follower changed for.
    pub changed: u64,
    /// Dead letters, or findings of a verification.
    pub dead: u64,
    /// Records per second since this process went on with it.
    pub records_per_s: f64,
    /// Seconds left at this rate; `None` before anything was measured.
    pub eta_s: Option<f64>,
    /// Why it rests now, when a store says that it weighs too much.
    #[serde(default)]
    pub rests: Option<String>,
    /// When this was written, ms since 1970.
    pub at_ms: i64,
    /// Whether the activity has ended.
    pub ended: bool,
}

/// Counts, and writes the note.
pub struct Progress {
    journal: Arc<dyn Journal>,
    activity: &'static str,
    total: u64,
    before: u64,
    done: AtomicU64,
    changed: AtomicU64,
    dead: AtomicU64,
    rests: Mutex<Option<String>>,
    began: Instant,
    written: tokio::sync::Mutex<Option<Instant>>,
}

impl Progress {
    /// Begins, or goes on after `before` records.
    pub fn new(journal: Arc<dyn Journal>, activity: &'static str, total: u64, before: u64) -> Progress {
        Progress {
            journal,
            activity,
            total,
            before,
            done: AtomicU64::new(before),
            changed: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            rests: Mutex::default(),
            began: Instant::now(),
            written: tokio::sync::Mutex::new(None),
        }
    }

    /// Counts a chunk, and writes the note when it is time.
    pub async fn add(&self, done: u64, changed: u64, dead: u64) -> Result<(), JournalError> {
        self.done.fetch_add(done, Ordering::Relaxed);
        self.changed.fetch_add(changed, Ordering::Relaxed);
        self.dead.fetch_add(dead, Ordering::Relaxed);
        let Ok(mut written) = self.written.try_lock() else { return Ok(()) };
        if written.is_some_and(|at| at.elapsed() < NOTE_INTERVAL) {
            return Ok(());
        }
        *written = Some(Instant::now());
        self.write(false).await
    }

    /// Says why the activity rests, or that it goes on; written at once when it changed.
    pub async fn rests(&self, why: Option<String>) -> Result<(), JournalError> {
        let changed = match self.rests.lock() {
            Ok(mut rests) if *rests != why => {
                *rests = why;
                true
            }
            Ok(_) | Err(_) => false,
        };
        if changed { self.write(false).await } else { Ok(()) }
    }

    /// Writes the last note.
    pub async fn end(&self) -> Result<(), JournalError> {
        let _last = self.written.lock().await;
        self.write(true).await
    }

    /// What the note would say now.
    pub fn shown(&self, ended: bool) -> Shown {
        let done = self.done.load(Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        let records_per_s = if seconds > 0.0 { (done - self.before) as f64 / seconds } else { 0.0 };
        let left = self.total.saturating_sub(done) as f64;
        Shown {
            activity: self.activity.into(),
            done,
            total: self.total.max(done),
            changed: self.changed.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            records_per_s,
            eta_s: (records_per_s > 0.0).then(|| if ended { 0.0 } else { left / records_per_s }),
            rests: self.rests.lock().map(|rests| rests.clone()).unwrap_or_default(),
            at_ms: now_ms(),
            ended,
        }
    }

    async fn write(&self, ended: bool) -> Result<(), JournalError> {
        let text = serde_json::to_string(&self.shown(ended)).map_err(|e| JournalError::Damaged(e.to_string()))?;
        self.journal.set_note(PROGRESS_NOTE, &text).await
    }
}
