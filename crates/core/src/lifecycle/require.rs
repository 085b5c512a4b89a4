//! The lifecycle of a `require` as one pure function over journal events.
//!
//! A *stage* is a list of alterations of the store's catalogue. What adds is
//! done before members follow the phase that needs it; what takes away is done
//! after every member follows the phase that does without it.

use serde::{Deserialize, Serialize};

mod phases;

pub use phases::{PHASES, PhaseInfo};

use super::{BackfillTotals, Illegal, Lifecycle, Status, VerifyTotals};
use crate::evolve::{Alteration, FillRange, Stage};
use crate::journal::Event;

/// The durable place of a `require`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Written down; the store is as before.
    Planned,
    /// The field is there and may be empty: writes of the old shape get the
    /// default, reads of the new one are repaired.
    Expand,
    /// As expand; records without the field are filled.
    Backfill,
    /// As backfill; the store refuses a record without the field.
    Enforce,
    /// Reads are no longer repaired and nothing fills the field for others.
    Contract,
    /// What was ours in the store is gone. No way back.
    Complete,
    /// Given up; the store is as before.
    Withdrawn,
}

/// What happens in a `require`, beside what every kind has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// The alterations of a stage begin; the next phase needs them.
    Began {
        /// The stage.
        stage: Stage,
    },
    /// One alteration is about to be made.
    Altering {
        /// Its stage.
        stage: Stage,
        /// Which.
        what: Alteration,
    },
    /// It is made, or was there already.
    Altered {
        /// Its stage.
        stage: Stage,
        /// Which.
        what: Alteration,
        /// How often its lock was asked for.
        tries: u32,
        /// How long the lock was held, microseconds.
        held_micros: u64,
    },
    /// The stage was given up, and what it had added is taken away again.
    Abandoned {
        /// The stage.
        stage: Stage,
        /// Why, without row values.
        reason: String,
        /// Keys of the records that stood in its way, some of them.
        keys: Vec<String>,
    },
    /// Members must follow this phase from now on, under this epoch.
    Entering {
        /// The phase.
        to: Phase,
        /// Its epoch, one above the last.
        epoch: u64,
    },
    /// Every live member follows, and the store is as the phase has it.
    Entered {
        /// The phase.
        to: Phase,
    },
    /// A backfill begins; its ranges, and with them its end, are fixed now.
    FillStarted {
        /// The run's name.
        run: String,
        /// The ranges.
        ranges: Vec<FillRange>,
    },
    /// It reached the end of every range.
    FillFinished {
        /// The run's name.
        run: String,
        /// What it did: `read` records looked at, `changed` filled.
        totals: BackfillTotals,
    },
}

impl Step {
    /// The step's name, as the journal writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Began { .. } => "began",
            Step::Altering { .. } => "altering",
            Step::Altered { .. } => "altered",
            Step::Abandoned { .. } => "abandoned",
            Step::Entering { .. } => "entering",
            Step::Entered { .. } => "entered",
            Step::FillStarted { .. } => "fill-started",
            Step::FillFinished { .. } => "fill-finished",
        }
    }
}

/// How far the backfill is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filling {
    /// Not started since the field was added.
    #[default]
    NotRun,
    /// Its ranges are fixed.
    Running {
        /// The run's name, under which the store keeps its checkpoints.
        run: String,
        /// The ranges.
        ranges: Vec<FillRange>,
    },
    /// Finished.
    Done {
        /// The run's name.
        run: String,
        /// What it did.
        totals: BackfillTotals,
    },
}

/// The state that the journal's entries add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The phase. While `entering` is set members follow `entering` already.
    pub phase: Phase,
    /// The phase that is being entered.
    pub entering: Option<Phase>,
    /// Grows by one at each change of phase.
    pub epoch: u64,
    /// What stands beside the phase.
    pub status: Status,
    /// The stage whose alterations began and whose phase is not entered yet.
    pub began: Option<Stage>,
    /// The alteration on its way.
    pub altering: Option<Alteration>,
    /// How often the field was added: a store that was opened with it before it
    /// went and came back must be opened again.
    pub added: u64,
    /// The backfill.
    pub filling: Filling,
    /// The last verification since the backfill ended, and its sequence.
    pub verified: Option<(u64, VerifyTotals)>,
    /// The sequence at which the present phase was entered; 0 at the start.
    pub entered_at: u64,
}

impl Lifecycle for State {
    fn initial() -> State {
        State {
            phase: Phase::Planned,
            entering: None,
            epoch: 1,
            status: Status::Running,
            began: None,
            altering: None,
            added: 0,
            filling: Filling::NotRun,
            verified: None,
            entered_at: 0,
        }
    }

    fn next(&self, seq: u64, event: &Event) -> Result<State, Illegal> {
        let first = matches!(event, Event::Created { .. });
        if first != (seq == 1) {
            let why = if first { "the migration is written down already" } else { "the migration is not written down" };
            return self.refuse(event, why);
        }
        if self.is_over() {
            return self.refuse(event, "the migration is over");
        }
        match event {
            Event::Created { .. } => Ok(self.clone()),
            Event::Require { step } => self.step(seq, event, step),
            Event::Verified { totals } => self.verified(seq, event, *totals),
            Event::Paused { .. } => match self.status {
                Status::Running => Ok(State { status: Status::Paused, ..self.clone() }),
                Status::Paused => self.refuse(event, "it is paused already"),
                Status::Failed { .. } => self.refuse(event, "an activity has failed; resume first"),
            },
            Event::Resumed => match self.status {
                Status::Running => self.refuse(event, "it is running"),
                Status::Paused | Status::Failed { .. } => Ok(State { status: Status::Running, ..self.clone() }),
            },
            Event::Failed { reason } => Ok(State { status: Status::Failed { reason: reason.clone() }, ..self.clone() }),
            _ => self.refuse(event, "it belongs to another kind of migration"),
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn phase_name(&self) -> &'static str {
        self.effective_phase().name()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Complete | Phase::Withdrawn => true,
            Phase::Planned | Phase::Expand | Phase::Backfill | Phase::Enforce | Phase::Contract => false,
        }
    }
}

impl State {
    /// The phase that members act on.
    pub fn effective_phase(&self) -> Phase {
        self.entering.unwrap_or(self.phase)
    }

    /// Whether the column is there for certain, and is written by v2 clients.
    pub fn has_field(&self) -> bool {
        match self.effective_phase() {
            Phase::Expand | Phase::Backfill | Phase::Enforce | Phase::Contract | Phase::Complete => true,
            Phase::Planned | Phase::Withdrawn => false,
        }
    }

    /// Whether a read that finds the field empty gives the fill's value.
    pub fn repairs_reads(&self) -> bool {
        match self.effective_phase() {
            Phase::Planned | Phase::Expand | Phase::Backfill | Phase::Enforce => true,
            Phase::Contract | Phase::Complete | Phase::Withdrawn => false,
        }
    }

    /// Whether clients of the old shape may create records.
    pub fn takes_outdated_creates(&self) -> bool {
        self.repairs_reads() || self.effective_phase() == Phase::Withdrawn
    }

    /// Whether something is on its way that a coordinator has to finish.
    pub fn is_unsettled(&self) -> bool {
        self.entering.is_some() || self.began.is_some()
    }

    fn refuse<T>(&self, event: &Event, why: impl Into<String>) -> Result<T, Illegal> {
        Err(Illegal { event: event.name().to_owned(), phase: self.phase.name(), why: why.into() })
    }

    fn step(&self, seq: u64, event: &Event, step: &Step) -> Result<State, Illegal> {
        match step {
            Step::Began { stage } => self.begin(event, *stage),
            Step::Altering { stage, what } => {
                self.in_stage(event, *stage)?;
                Ok(State { altering: Some(*what), ..self.clone() })
            }
            Step::Altered { stage, what, .. } => {
                self.in_stage(event, *stage)?;
                if self.altering != Some(*what) {
                    return self.refuse(event, "this alteration was not announced");
                }
                Ok(State { altering: None, ..self.clone() })
            }
            Step::Abandoned { stage, .. } => {
                if self.began != Some(*stage) {
                    return self.refuse(event, "the stage did not begin");
                }
                // What was found says that the proof no longer holds.
                let filling = if *stage == Stage::Enforce { Filling::NotRun } else { self.filling.clone() };
                Ok(State { began: None, altering: None, verified: None, filling, ..self.clone() })
            }
            Step::Entering { to, epoch } => self.enter(event, *to, *epoch),
            Step::Entered { to } => self.entered(seq, event, *to),
            Step::FillStarted { run, ranges } => {
                self.settled(event)?;
                if self.phase != Phase::Backfill {
                    return self.refuse(event, "records are filled in backfill only");
                }
                if matches!(self.filling, Filling::Running { .. }) {
                    return self.refuse(event, "a backfill is not finished");
                }
                let filling = Filling::Running { run: run.clone(), ranges: ranges.clone() };
                Ok(State { filling, verified: None, ..self.clone() })
            }
            Step::FillFinished { run, totals } => match &self.filling {
                Filling::Running { run: running, .. } if running == run && !self.is_unsettled() => {
                    let filling = Filling::Done { run: run.clone(), totals: *totals };
                    Ok(State { filling, verified: None, ..self.clone() })
                }
                _ => self.refuse(event, format!("backfill {run} is not running")),
            },
        }
    }

    fn settled(&self, event: &Event) -> Result<(), Illegal> {
        match (self.entering, self.began) {
            (Some(to), _) => self.refuse(event, format!("{to} is being entered")),
            (None, Some(stage)) => self.refuse(event, format!("the alterations of {} are on their way", stage.name())),
            (None, None) => Ok(()),
        }
    }

    fn begin(&self, event: &Event, stage: Stage) -> Result<State, Illegal> {
        self.settled(event)?;
        if self.phase.adds_before_next() != Some(stage) {
            return self.refuse(event, format!("{} does not begin here", stage.name()));
        }
        if stage == Stage::Enforce {
            if !matches!(self.filling, Filling::Done { .. }) {
                return self.refuse(event, "the backfill is not finished");
            }
            if self.verified.is_none() {
                return self.refuse(event, "no verification has ended since the backfill");
            }
        }
        let added = self.added + u64::from(stage == Stage::Expand);
        Ok(State { began: Some(stage), added, ..self.clone() })
    }

    /// The stage whose alterations may be made now.
    pub fn stage(&self) -> Option<Stage> {
        match self.entering {
            Some(to) => self.phase.takes_away(to),
            None => self.began,
        }
    }

    fn in_stage(&self, event: &Event, stage: Stage) -> Result<(), Illegal> {
        match self.stage() {
            Some(now) if now == stage => Ok(()),
            Some(_) | None => self.refuse(event, format!("{} is not on its way", stage.name())),
        }
    }

    fn enter(&self, event: &Event, to: Phase, epoch: u64) -> Result<State, Illegal> {
        if let Some(entering) = self.entering {
            return self.refuse(event, format!("{entering} is being entered"));
        }
        if epoch != self.epoch + 1 {
            let why = format!("epoch {} must come after {}, not {epoch}", self.epoch + 1, self.epoch);
            return self.refuse(event, why);
        }
        if !self.phase.info().ways.iter().any(|(_, way)| *way == to) {
            return self.refuse(event, format!("{to} is no next phase"));
        }
        let is_back = matches!(self.phase.takes_away(to), Some(Stage::Back | Stage::Remove));
        match (is_back, self.phase.adds_before_next(), self.began) {
            // Going back gives up what began.
            (true, _, _) => {}
            (false, Some(needed), began) if to != Phase::Withdrawn => {
                if began != Some(needed) || self.altering.is_some() {
                    return self.refuse(event, format!("the alterations of {} are not made", needed.name()));
                }
            }
            (false, _, Some(began)) => {
                return self.refuse(event, format!("the alterations of {} are on their way", began.name()));
            }
            (false, _, None) => {}
        }
        if self.phase == Phase::Planned && to == Phase::Planned && self.began.is_none() {
            return self.refuse(event, "there is nothing to take back");
        }
        Ok(State { entering: Some(to), epoch, began: None, altering: None, ..self.clone() })
    }

    fn entered(&self, seq: u64, event: &Event, to: Phase) -> Result<State, Illegal> {
        if self.entering != Some(to) {
            return self.refuse(event, format!("{to} is not being entered"));
        }
        if self.altering.is_some() {
            return self.refuse(event, "an alteration is on its way");
        }
        let mut next = State { phase: to, entering: None, entered_at: seq, ..self.clone() };
        if matches!(to, Phase::Planned | Phase::Expand) {
            // Outdated writers may have come back: what was proven is proven again.
            next.filling = Filling::NotRun;
            next.verified = None;
        }
        Ok(next)
    }

    fn verified(&self, seq: u64, event: &Event, totals: VerifyTotals) -> Result<State, Illegal> {
        self.settled(event)?;
        if !self.has_field() {
            return self.refuse(event, "the field is not there");
        }
        if matches!(self.filling, Filling::Running { .. }) {
            return self.refuse(event, "the backfill is not finished");
        }
        Ok(State { verified: Some((seq, totals)), ..self.clone() })
    }
}

#[cfg(test)]
#[path = "require_tests.rs"]
mod tests;
