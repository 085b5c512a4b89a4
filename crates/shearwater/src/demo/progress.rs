//! What a watcher sees while the demo runs: a line for each step and bars on a
//! terminal, plain lines elsewhere. All of it goes to standard error.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use shearwater_engine::Setup;

use super::stage::Stage;

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// The screen.
pub struct Screen {
    stage: Arc<Stage>,
    bar: ProgressBar,
}

/// What the engine's progress note says, as far as it is shown.
#[derive(Deserialize)]
struct Note {
    done: u64,
    total: u64,
}

impl Screen {
    /// A screen on standard error.
    pub fn new(stage: Arc<Stage>) -> Screen {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed:>4} {msg:<28} {wide_bar} {prefix}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Screen { stage, bar }
    }

    /// A new step began.
    pub fn step(&self, name: &str) {
        let line = format!(
            "{:>7.2} s  {name:<24} {:>9} requests so far",
            self.stage.now_ns() as f64 / 1e9,
            self.stage.requests()
        );
        if self.bar.is_hidden() {
            self.say(&line);
        } else {
            self.bar.println(line);
            self.bar.set_message(name.to_owned());
        }
    }

    /// Shows how far the backfill is, and answers it: records done.
    pub async fn backfill(&self, setup: &Setup) -> Option<u64> {
        let text = setup.journal.note("progress").await.ok()??;
        let note: Note = serde_json::from_str(&text).ok()?;
        self.bar.set_length(note.total);
        self.bar.set_position(note.done);
        self.bar.set_prefix(format!("{} / {}", note.done, note.total));
        Some(note.done)
    }

    /// Clears the bars.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A plain line. A closed standard error is no reason to stop.
    pub fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
