//! `history`: the journal's entries.

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::{Entry, Event};
use shearwater_core::lifecycle::require::Step;
use shearwater_core::lifecycle::{BackfillTotals, VerifyTotals};
use shearwater_core::store::Side;

use super::Context;
use super::exit::{Exit, Outcome};
use crate::render::{amount, table};
use crate::wiring;

/// Arguments of `history`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater history\n  shearwater history --json | jq '.entries[].event'")]
pub struct History {}

/// Shows what has happened.
pub async fn run(context: &Context) -> Outcome<Exit> {
    let journals = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&journals, context.migration.as_deref()).await?;
    let entries = wiring::entries(journal.as_ref()).await?;
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                entry.seq.to_string(),
                amount::moment(entry.at_ms),
                entry.event.name().to_owned(),
                what(&entry.event),
                entry.actor.clone(),
            ]
        })
        .collect();
    let json = json!({
        "migration": journal.migration(),
        "entries": entries.iter().map(entry_json).collect::<Vec<_>>(),
    });
    context.console.answer(&json, &table::with_header(&["#", "when", "event", "what", "who"], &rows))?;
    Ok(Exit::Done)
}

fn entry_json(entry: &Entry) -> Value {
    serde_json::to_value(entry).unwrap_or(Value::Null)
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

/// An event's content in a few words.
fn what(event: &Event) -> String {
    match event {
        Event::Created { spec } => format!("a spec of {} lines", spec.lines().count()),
        Event::Capturing | Event::Captured | Event::Resumed => String::new(),
        Event::Entering { to, epoch } => format!("{to}, epoch {epoch}"),
        Event::Entered { to } => to.to_string(),
        Event::BackfillStarted { ranges, .. } => amount::counted(ranges.len() as u64, "range", "ranges"),
        Event::BackfillFinished { totals, .. } => backfill(totals),
        Event::Verified { totals } => verified(totals),
        Event::Repaired { repaired } => amount::counted(*repaired, "record", "records"),
        Event::RampSet { percent } => format!("{percent} %"),
        Event::SwitchBegan { from, to, epoch, budget_ms, predicted_ms } => {
            format!("{} to {}, epoch {epoch}, predicted {predicted_ms} ms of {budget_ms} ms", side(*from), side(*to))
        }
        Event::Switched { drained } => format!("{} drained", amount::counted(*drained, "key", "keys")),
        Event::Opened { pause_micros } => {
            format!("writes were held for {}.{} ms", pause_micros / 1_000, pause_micros % 1_000 / 100)
        }
        Event::SwitchAborted { reason, epoch } => format!("{reason}; epoch {epoch}"),
        Event::Require { step } => required(step),
        Event::Absorb { step } => super::absorb::step_text(step),
        Event::Paused { reason } | Event::Failed { reason } => reason.clone(),
    }
}

/// A step of a `require` in a few words.
fn required(step: &Step) -> String {
    match step {
        Step::Began { stage } => stage.name().to_owned(),
        Step::Altering { stage, what } => format!("{}: {}", stage.name(), what.name()),
        Step::Altered { stage, what, tries, held_micros } => {
            let held = format!("{}.{} ms", held_micros / 1_000, held_micros % 1_000 / 100);
            let tries = amount::counted(u64::from(*tries), "try", "tries");
            format!("{}: {}, {tries}, locked for {held}", stage.name(), what.name())
        }
        Step::Abandoned { stage, reason, keys } => format!("{}: {reason} (keys: {})", stage.name(), keys.join(", ")),
        Step::Entering { to, epoch } => format!("{to}, epoch {epoch}"),
        Step::Entered { to } => to.to_string(),
        Step::FillStarted { ranges, .. } => amount::counted(ranges.len() as u64, "range", "ranges"),
        Step::FillFinished { totals, .. } => format!(
            "{} looked at, {} filled in {}",
            amount::count(totals.read),
            amount::count(totals.changed),
            amount::span_ms(totals.elapsed_ms)
        ),
    }
}

/// A backfill's totals in a few words.
pub(super) fn backfill(totals: &BackfillTotals) -> String {
    format!(
        "{} read, {} changed, {}, {} in {}",
        amount::count(totals.read),
        amount::count(totals.changed),
        amount::counted(totals.dead, "dead letter", "dead letters"),
        amount::bytes(totals.bytes),
        amount::span_ms(totals.elapsed_ms),
    )
}

/// A verification's totals in a few words.
pub(super) fn verified(totals: &VerifyTotals) -> String {
    format!(
        "{} compared: {} missing, {} extra, {} different, {} refused",
        amount::count(totals.compared),
        amount::count(totals.missing),
        amount::count(totals.extra),
        amount::count(totals.different),
        amount::count(totals.refused),
    )
}
