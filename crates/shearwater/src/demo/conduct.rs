//! The conductor takes the migration through every phase while clients work:
//! start and backfill, verification, shadow reads, ramp, cutover, reverse
//! window, rollback, forward again, cutover again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::journal::{Command, Entry, Event, Refusal};
use shearwater_core::lifecycle::{BackfillState, BackfillTotals, Phase, VerifyTotals};
use shearwater_core::store::Side;
use shearwater_engine::{Member, Setup, run, verify};

use super::DemoError;
use super::progress::Screen;
use super::stage::Stage;

/// The pause before a command is asked again that a gate refused for now.
const GATE_POLL: Duration = Duration::from_millis(50);

/// Verifications in a row, with a repair between two: one repair is enough
/// unless something goes on making mismatches.
const VERIFICATIONS_MAX: u32 = 3;

/// Journal entries read at once.
const ENTRIES_MAX: usize = 1_000;

/// What the conductor does in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Lets the clients work.
    Listen,
    /// Into the next phase.
    Advance,
    /// Waits for the backfill.
    Backfill,
    /// Compares the stores.
    Verify,
    /// Reads from the target for this part of the keys.
    Ramp(u8),
    /// Back.
    Rollback,
}

/// The score: each step's name and moves; clients work all the time.
const SCORE: &[(&str, &[Move])] = &[
    ("planned", &[Move::Listen]),
    ("dual-write, backfill", &[Move::Advance, Move::Backfill, Move::Listen]),
    ("verify", &[Move::Verify]),
    ("shadow-read", &[Move::Advance, Move::Listen]),
    ("read-ramp 10 %", &[Move::Advance, Move::Ramp(10), Move::Listen]),
    ("read-ramp 50 %", &[Move::Ramp(50), Move::Listen]),
    ("read-ramp 100 %", &[Move::Ramp(100), Move::Listen]),
    ("cutover", &[Move::Advance]),
    ("reverse window", &[Move::Listen]),
    ("rollback", &[Move::Rollback]),
    ("dual-write again", &[Move::Listen, Move::Verify]),
    ("shadow-read again", &[Move::Advance, Move::Listen]),
    ("read-ramp again 100 %", &[Move::Advance, Move::Ramp(100), Move::Listen]),
    ("cutover again", &[Move::Advance]),
    ("reverse window again", &[Move::Listen]),
];

/// The name of a step; the one after the score is the time after `complete`.
pub fn step_name(step: usize) -> &'static str {
    SCORE.get(step).map_or("complete", |(name, _)| name)
}

/// The number of the step after the score.
pub const STEP_COMPLETE: usize = SCORE.len();

/// The conductor.
pub struct Conductor {
    /// The migration.
    pub setup: Setup,
    /// This process's member.
    pub member: Arc<Member>,
    /// Where clients work.
    pub stage: Arc<Stage>,
    /// How long clients work in each step that listens.
    pub dwell: Duration,
    /// How long one command may take before the demo is given up.
    pub patience: Duration,
}

impl Conductor {
    /// Takes the migration to its second reverse window.
    pub async fn play(&self, screen: &Screen) -> Result<(), DemoError> {
        for (step, (name, moves)) in SCORE.iter().enumerate() {
            if step > 0 {
                self.stage.next_step();
            }
            screen.step(name);
            for &one in *moves {
                self.make(one, screen).await?;
            }
        }
        Ok(())
    }

    async fn make(&self, one: Move, screen: &Screen) -> Result<(), DemoError> {
        match one {
            Move::Listen => {
                tokio::time::sleep(self.dwell).await;
                Ok(())
            }
            Move::Advance => self.command(Command::Advance).await,
            Move::Backfill => self.backfilled(screen).await,
            Move::Verify => self.verify().await,
            Move::Ramp(percent) => self.command(Command::Ramp { percent }).await,
            Move::Rollback => self.command(Command::Rollback).await,
        }
    }

    /// Compares the stores. Mismatches fail the demo, but they are repaired so
    /// that it can go on and show more.
    async fn verify(&self) -> Result<(), DemoError> {
        for _ in 0..VERIFICATIONS_MAX {
            self.command(Command::Verify).await?;
            let found = verify::last(&self.setup).await.map_err(|halt| DemoError(halt.to_string()))?;
            let Some(found) = found.filter(|found| found.totals.mismatches() > 0) else { return Ok(()) };
            for finding in &found.findings {
                let key = finding.source_key.as_deref().and_then(|text| self.stage.register.find(text));
                let fields: Vec<String> = finding.fields.iter().map(|f| format!("{} {}", f.path, f.what)).collect();
                let step = step_name(usize::from(self.stage.step()));
                let (kind, fields) = (finding.kind, fields.join(", "));
                let key = key.map_or("?".to_owned(), |key| key.0.to_string());
                self.stage.remark(format!("verification in {step}: key #{key} {kind:?} {fields}"));
            }
            self.command(Command::Repair { dry_run: false }).await?;
        }
        Ok(())
    }

    /// Finishes the migration.
    pub async fn complete(&self, screen: &Screen) -> Result<(), DemoError> {
        self.stage.next_step();
        screen.step(step_name(STEP_COMPLETE));
        self.command(Command::Complete).await?;
        tokio::time::sleep(self.dwell).await;
        Ok(())
    }

    /// Does a command; what a gate refuses is asked again, because gates open
    /// by themselves while the reconciler works and shadow reads are compared.
    async fn command(&self, command: Command) -> Result<(), DemoError> {
        let (began, before) = (Instant::now(), self.member.view().state.phase);
        let mut halfway = false;
        loop {
            let outcome = run::ask(&self.setup, command.clone(), self.patience).await?;
            match outcome {
                Ok(_) => return Ok(()),
                // A store did not answer half-way, and the step was finished all the same.
                Err(refusal) if (halfway || is_of_a_store(&refusal)) && self.member.view().state.phase != before => {
                    return Ok(());
                }
                Err(refusal) if may_pass(&refusal) && began.elapsed() < self.patience => {
                    halfway |= is_of_a_store(&refusal);
                    tokio::time::sleep(GATE_POLL).await;
                }
                Err(refusal) => {
                    let hint = refusal.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                    let message = format!("{command:?} was refused: {}: {}{hint}", refusal.code, refusal.message);
                    return Err(DemoError(message));
                }
            }
        }
    }

    /// Waits for the backfill, which may be slow beside so many clients, but
    /// must not stand still.
    async fn backfilled(&self, screen: &Screen) -> Result<(), DemoError> {
        let (mut moved, mut done) = (Instant::now(), None);
        loop {
            if matches!(self.member.view().state.backfill, BackfillState::Done { .. }) {
                return Ok(());
            }
            let now_done = screen.backfill(&self.setup).await;
            if now_done != done {
                (moved, done) = (Instant::now(), now_done);
            }
            if moved.elapsed() > self.patience {
                return Err(DemoError("the backfill stands still".to_owned()));
            }
            tokio::time::sleep(GATE_POLL).await;
        }
    }

    /// Waits until the follower has everything: no dirty marks are left.
    pub async fn drained(&self) -> Result<(), DemoError> {
        let began = Instant::now();
        let authority = match self.member.view().state.phase {
            Phase::ReverseWindow => &self.setup.target,
            _ => &self.setup.source,
        };
        while authority.dirty_count().await? > 0 {
            if began.elapsed() > self.patience {
                return Err(DemoError("the follower did not catch up".to_owned()));
            }
            tokio::time::sleep(GATE_POLL).await;
        }
        Ok(())
    }
}

/// Whether a refusal may pass by itself: a gate opens, a store answers again.
fn may_pass(refusal: &Refusal) -> bool {
    is_of_a_store(refusal) || ["gate/", "busy/", "switch/"].iter().any(|code| refusal.code.starts_with(code))
}

/// Whether a store did not answer.
fn is_of_a_store(refusal: &Refusal) -> bool {
    matches!(refusal.code.as_str(), "store/unavailable" | "store/outcome-unknown")
}

/// One change of authority, as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the authority was.
    pub from: Side,
    /// When it began, ms since 1970.
    pub began_at_ms: i64,
    /// When the new authority was open, ms since 1970.
    pub opened_at_ms: i64,
    /// How long writes were held, microseconds.
    pub pause_micros: u64,
}

/// What the journal tells about the migration.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    /// Changes of authority that were carried out.
    pub changes: Vec<Change>,
    /// Changes of authority that were given up. The old authority was open again
    /// some time before what was journalled next, which is taken for that moment.
    pub given_up: Vec<Change>,
    /// Backfills.
    pub backfills: Vec<BackfillTotals>,
    /// Verifications.
    pub verifications: Vec<VerifyTotals>,
}

/// A change of authority on its way.
#[derive(Default)]
struct Unsettled {
    /// From where, and since when, ms since 1970.
    began: Option<(Side, i64)>,
    /// The same of one that was given up by the last entry.
    given_up: Option<(Side, i64)>,
}

impl Chronicle {
    /// Reads the whole journal.
    pub async fn read(setup: &Setup) -> Result<Chronicle, DemoError> {
        let mut chronicle = Chronicle::default();
        let mut change = Unsettled::default();
        let mut last = 0;
        loop {
            let entries = setup.journal.read(last, ENTRIES_MAX).await?;
            let Some(newest) = entries.last() else { return Ok(chronicle) };
            last = newest.seq;
            for entry in &entries {
                chronicle.add(entry, &mut change);
            }
        }
    }

    fn add(&mut self, entry: &Entry, change: &mut Unsettled) {
        let ended = |(from, began_at_ms)| Change { from, began_at_ms, opened_at_ms: entry.at_ms, pause_micros: 0 };
        self.given_up.extend(change.given_up.take().map(ended));
        let began = &mut change.began;
        match &entry.event {
            Event::SwitchBegan { from, .. } => *began = Some((*from, entry.at_ms)),
            Event::SwitchAborted { .. } => change.given_up = began.take(),
            Event::Opened { pause_micros } => {
                if let Some((from, began_at_ms)) = began.take() {
                    let pause_micros = *pause_micros;
                    self.changes.push(Change { from, began_at_ms, opened_at_ms: entry.at_ms, pause_micros });
                }
            }
            Event::BackfillFinished { totals, .. } => self.backfills.push(*totals),
            Event::Verified { totals } => self.verifications.push(*totals),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, at_ms: i64, event: Event) -> Entry {
        Entry { seq, at_ms, actor: "a".to_owned(), event }
    }

    #[test]
    fn changes_of_authority_are_paired_and_aborted_ones_left_out() {
        let began = |from: Side| Event::SwitchBegan { from, to: from.other(), epoch: 1, budget_ms: 1, predicted_ms: 1 };
        let mut chronicle = Chronicle::default();
        let mut open = Unsettled::default();
        for (at_ms, event) in [
            (1, began(Side::Source)),
            (2, Event::SwitchAborted { reason: "late".to_owned(), epoch: 2 }),
            (3, began(Side::Source)),
            (4, Event::Switched { drained: 0 }),
            (5, Event::Opened { pause_micros: 1_500 }),
            (6, began(Side::Target)),
            (9, Event::Opened { pause_micros: 2_500 }),
        ] {
            chronicle.add(&entry(1, at_ms, event), &mut open);
        }
        let change =
            |from, began_at_ms, opened_at_ms, pause_micros| Change { from, began_at_ms, opened_at_ms, pause_micros };
        assert_eq!(chronicle.changes, [change(Side::Source, 3, 5, 1_500), change(Side::Target, 6, 9, 2_500)]);
        assert_eq!(chronicle.given_up, [change(Side::Source, 1, 3, 0)]);
    }

    #[test]
    fn gates_open_and_stores_answer_by_themselves() {
        let refusal = |code: &str| Refusal { code: code.to_owned(), message: String::new(), hint: None };
        assert!(may_pass(&refusal("gate/dead-letters")) && may_pass(&refusal("busy/copy")));
        assert!(may_pass(&refusal("store/unavailable")));
        assert!(!may_pass(&refusal("phase/illegal")) && !may_pass(&refusal("store/denied")));
    }
}
