//! The way back as a step of the migration: every moved record returns, however
//! often that is asked for; from prepare everything of ours goes.

use serde_json::json;
use shearwater_core::absorb::Home;
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::absorb::{Phase, State, Step};

use super::Leading;
use crate::absorb::returning::{HELD, is_held};
use crate::ledger::Halt;

/// Entries of the journal read at once.
const ENTRIES_READ_MAX: usize = 1_000;

impl Leading<'_> {
    /// One step back. A rollback that was asked for before the last one was over
    /// is that one, and does not lead on.
    ///
    /// Report: `{"phase": "…", "dropped_beside": n}`; the last are records that
    /// lost what only v2 has.
    pub(super) async fn roll_back(&mut self, state: &State, asked_at_ms: i64) -> Result<serde_json::Value, Halt> {
        let mut dropped = 0;
        match state.phase {
            Phase::Lazy | Phase::Drain => {
                self.enter(Phase::Rollback).await?;
                self.return_all(&self.state()).await?;
            }
            Phase::Rollback => self.return_all(state).await?,
            Phase::Prepare if self.came_back_at_ms().await?.is_some_and(|at_ms| asked_at_ms <= at_ms) => {}
            Phase::Prepare => {
                dropped = self.carrier.beside().await?;
                self.enter(Phase::Planned).await?;
            }
            Phase::Planned => {
                return Err(Halt::refused("phase/planned", "nothing has begun", "`withdraw` gives the migration up"));
            }
            Phase::Complete | Phase::Withdrawn => {
                return Err(Halt::refused("phase/over", "the migration is over; there is no way back", ""));
            }
        }
        Ok(json!({ "phase": self.state().phase.name(), "dropped_beside": dropped }))
    }

    /// When the last rollback was over, by the journal's clock; `None`: there was none.
    async fn came_back_at_ms(&self) -> Result<Option<i64>, Halt> {
        let journal = self.ledger.journal();
        let (mut came_back, mut goes_back, mut after) = (None, false, 0);
        loop {
            let entries = journal.read(after, ENTRIES_READ_MAX).await?;
            for entry in &entries {
                match &entry.event {
                    Event::Absorb { step: Step::Entered { to: Phase::Rollback } } => goes_back = true,
                    Event::Absorb { step: Step::Entered { to: Phase::Prepare } } if goes_back => {
                        came_back = Some(entry.at_ms);
                        goes_back = false;
                    }
                    _ => {}
                }
            }
            match entries.last() {
                Some(last) if entries.len() == ENTRIES_READ_MAX => after = last.seq,
                _ => return Ok(came_back),
            }
        }
    }

    pub(super) async fn return_all(&mut self, state: &State) -> Result<(), Halt> {
        let (mut returned, mut held) = (0, 0);
        let mut after = None;
        // What was returned before a crash is not walked again.
        let mut more = !state.returned;
        while more {
            self.go_on()?;
            let keys = self.carrier.next_in(Home::Target, after).await?;
            more = !keys.is_empty();
            after = keys.last().cloned();
            for key in &keys {
                match self.carrier.take_back(state.epoch, key).await {
                    // One that the target holds on to does not hold up the others.
                    Err(fault) if is_held(&fault) => held += 1,
                    came => returned += u64::from(came?),
                }
            }
        }
        // Behind the walk's back a client may have created a record in the target: once more from the start.
        if self.carrier.next_in(Home::Target, None).await?.is_empty() {
            if !state.returned {
                self.step(Step::Returned { records: returned }).await?;
            }
            return self.enter(Phase::Prepare).await;
        }
        if held > 0 { Err(still_held(held)) } else { Ok(()) }
    }
}

/// Records that the target does not give up.
fn still_held(records: u64) -> Halt {
    let message = format!("records that the target does not give up, because others there name them: {records}");
    let hint = "`dead-letters` lists them; take those others back or away first, the rest comes back by itself then";
    Halt::refused(HELD, message, hint)
}
