//! `start` of an `absorb`: writes it down, and prepares both stores.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use shearwater_core::journal::{Command, Event, Journal, JournalError};
use shearwater_core::lifecycle::absorb::Phase;

use super::{AbsorbFile, act, census_text, plan, setup, state};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::render::amount;
use crate::wiring;

/// Writes an absorb down and prepares it; `None`: the spec is of another kind.
pub async fn run(context: &Context, file: &Path) -> Outcome<Option<Exit>> {
    let wiring::AnySpec::Absorb(spec) = wiring::read_spec(file, context.console.colour)? else { return Ok(None) };
    let journal = written_down(context, &spec).await?;
    let setup = setup(journal.clone(), &spec).await?;
    if state(journal.as_ref()).await?.phase == Phase::Planned {
        act(&setup, Command::Advance).await?;
    }
    let now = state(journal.as_ref()).await?;
    let census = now.census.clone().unwrap_or_default();
    let json = json!({
        "migration": journal.migration(),
        "phase": now.phase.name(),
        "epoch": now.epoch,
        "records": census.records,
        "collisions": census.collisions.iter().map(|(field, count)| json!({ "field": field, "records": count })).collect::<Vec<_>>(),
        "refused": census.refused,
    });
    let mut text = format!("{} is in {} (epoch {})\n", journal.migration(), now.phase.name(), now.epoch);
    text.push_str(&census_text(&now));
    text.push_str("next: shearwater advance (to lazy: records move when they are updated)\n");
    context.console.answer(&json, &text)?;
    Ok(Some(Exit::Done))
}

/// The migration's journal: written down after looking at both stores, or found from earlier.
pub async fn written_down(context: &Context, spec: &AbsorbFile) -> Outcome<Arc<dyn Journal>> {
    let name = &spec.spec.base.migration;
    if let Some(journals) = wiring::find_journal(&context.journal).await? {
        match journals.migration(name).await {
            Ok(journal) => {
                same_spec(journal.as_ref(), spec).await?;
                return Ok(journal);
            }
            Err(JournalError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let planned = plan::look(spec).await?;
    for hazard in &planned.hazards {
        context.console.note(&format!("hazard: {hazard}"));
    }
    if let Some(problem) = planned.problems.first() {
        let problems = amount::counted(planned.problems.len() as u64, "problem", "problems");
        let message = format!("the plan has {problems}, for example: {problem}");
        return Err(Failure::new(Exit::Problems, "plan/problems", message).hint("`shearwater plan SPEC` shows them"));
    }
    let journals = wiring::make_journal(&context.journal).await?;
    Ok(journals.create(name, &spec.text, "cli").await?)
}

/// A started migration keeps the spec that it was started with.
async fn same_spec(journal: &dyn Journal, spec: &AbsorbFile) -> Outcome<()> {
    let first = journal.read(0, 1).await?;
    match first.first().map(|entry| &entry.event) {
        Some(Event::Created { spec: text }) if *text == spec.text => Ok(()),
        _ => Err(Failure::new(
            Exit::Failed,
            "journal/other-spec",
            format!("migration {:?} was started with another spec", journal.migration()),
        )
        .hint("go on with the spec as it was, or give the migration another name")),
    }
}
