//! How far long work is: a bar on a terminal, a line at intervals elsewhere.
//! Both follow the journal's note, so that they show work done by any process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use shearwater_core::journal::Journal;

use super::{Console, Format, amount};

/// The journal's note that activities write.
pub const NOTE: &str = "progress";

/// How often the note is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What the note says.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Which activity.
    pub activity: String,
    /// Records done.
    pub done: u64,
    /// Records in all, as far as known.
    pub total: u64,
    /// Records per second.
    pub records_per_s: f64,
    /// Seconds left.
    pub eta_s: Option<f64>,
    /// Why it rests now.
    pub rests: Option<String>,
    /// When it was written, ms since 1970.
    pub at_ms: i64,
    /// Whether the activity has ended.
    pub ended: bool,
}

impl Shown {
    /// Reads a note; `None` when it is not one.
    pub fn read(note: &str) -> Option<Shown> {
        let note: Value = serde_json::from_str(note).ok()?;
        Some(Shown {
            activity: note.get("activity")?.as_str()?.to_owned(),
            done: note.get("done")?.as_u64()?,
            total: note.get("total")?.as_u64()?,
            records_per_s: note.get("records_per_s").and_then(Value::as_f64).unwrap_or(0.0),
            eta_s: note.get("eta_s").and_then(Value::as_f64),
            rests: note.get("rests").and_then(Value::as_str).map(str::to_owned),
            at_ms: note.get("at_ms").and_then(Value::as_i64).unwrap_or(0),
            ended: note.get("ended").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// One line: activity, done of total, rate, time left.
    pub fn line(&self) -> String {
        let percent = (self.done.min(self.total) * 100).checked_div(self.total).unwrap_or(100);
        let rate = amount::count(self.records_per_s.max(0.0) as u64);
        let left = match self.eta_s {
            _ if self.rests.is_some() && !self.ended => {
                format!(", rests: {}", self.rests.as_deref().unwrap_or_default())
            }
            Some(eta_s) if !self.ended => format!(", {} left", amount::span_ms((eta_s.max(0.0) * 1_000.0) as u64)),
            _ => String::new(),
        };
        format!(
            "{}: {} of {} records ({percent} %), {rate} records/s{left}",
            self.activity,
            amount::count(self.done),
            amount::count(self.total),
        )
    }
}

/// Shows the journal's progress note until dropped.
pub struct Follow {
    task: tokio::task::JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Follows what is written from now on.
pub fn follow(console: Console, journal: Arc<dyn Journal>) -> Follow {
    let bar = (console.watched && console.format == Format::Text).then(bar);
    let shown_on = bar.clone();
    let task = tokio::spawn(async move {
        let before = journal.note(NOTE).await.ok().flatten();
        let mut last_line: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let Ok(Some(note)) = journal.note(NOTE).await else { continue };
            if Some(&note) == before.as_ref() {
                continue;
            }
            let Some(shown) = Shown::read(&note).filter(|shown| !shown.ended) else { continue };
            match &shown_on {
                Some(bar) => {
                    bar.set_length(shown.total.max(shown.done));
                    bar.set_position(shown.done);
                    bar.set_message(shown.line());
                }
                None if last_line.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) => {
                    console.note(&shown.line());
                    last_line = Some(Instant::now());
                }
                None => {}
            }
        }
    });
    Follow { task, bar }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The message has the numbers, so the bar says nothing that plain lines do not.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_becomes_one_line() {
        let note = r#"{"activity":"backfill","done":1500,"total":2000,"changed":1500,"dead":0,
                       "records_per_s":1234.5,"eta_s":61.2,"at_ms":5,"ended":false}"#;
        let shown = Shown::read(note).unwrap();
        assert_eq!(shown.line(), "backfill: 1,500 of 2,000 records (75 %), 1,234 records/s, 1 min 1 s left");
        let ended = Shown { ended: true, ..shown.clone() };
        assert!(!ended.line().contains("left"));
        let rests = Shown { rests: Some("target: 3 sessions wait for our locks".into()), ..shown.clone() };
        assert!(rests.line().ends_with("1,234 records/s, rests: target: 3 sessions wait for our locks"));
        let empty = Shown { total: 0, done: 0, eta_s: None, ..shown };
        assert_eq!(empty.line(), "backfill: 0 of 0 records (100 %), 1,234 records/s");
        assert_eq!(Shown::read("{}"), None);
        assert_eq!(Shown::read("half"), None);
    }
}
