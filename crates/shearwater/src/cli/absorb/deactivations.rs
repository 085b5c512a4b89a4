//! `deactivations`: who was deactivated for inactivity, and the way to undo it.

use clap::Args;
use serde_json::json;
use shearwater_core::journal::Command;
use shearwater_engine::absorb::Carrier;
use shearwater_engine::absorb::undo::Since;

use super::{Opened, act, opened, state};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::render::{amount, table};

/// Deactivations shown when nothing else is asked for: each is looked up.
const SHOWN_MAX: usize = 100;

/// Arguments of `deactivations`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater deactivations bob\n  shearwater deactivations bob --undo 17 --undo 23\n  shearwater deactivations bob --undo-all\n\nAn undone record lives in the source again, as it was before, and is spared from then on: move it by an update\nor with `bulk` before `complete`. It still counts for the day's most. Keys are those of v1."
)]
pub struct DeactivationsArgs {
    /// The migration
    name: String,
    /// Undo this record's deactivation
    #[arg(long, value_name = "KEY")]
    undo: Vec<String>,
    /// Undo all that are listed
    #[arg(long, conflicts_with = "undo")]
    undo_all: bool,
    /// Show at most so many, the last first
    #[arg(long, value_name = "N", default_value_t = SHOWN_MAX)]
    max: usize,
}

/// Lists deactivations, or undoes them.
pub async fn run(context: &Context, args: &DeactivationsArgs) -> Outcome<Exit> {
    let named = Context {
        console: context.console,
        journal: context.journal.clone(),
        journal_flag: context.journal_flag.clone(),
        migration: Some(args.name.clone()),
    };
    let Some(opened) = opened(&named).await? else { return Err(only_absorb()) };
    if !args.undo.is_empty() || args.undo_all {
        let keys = (!args.undo_all).then(|| args.undo.clone());
        let report = act(&opened.setup, Command::UndoDeactivations { keys }).await?;
        let undone = report["undone"].as_u64().unwrap_or(0);
        let text = format!("{} undone\n", amount::counted(undone, "deactivation", "deactivations"));
        context.console.answer(&report, &text)?;
        return Ok(Exit::Done);
    }
    list(context, args, &opened).await
}

/// The refusal for a migration of another kind.
fn only_absorb() -> Failure {
    Failure::new(Exit::Failed, "kind/not-an-absorb", "`deactivations` is for migrations of kind `absorb`")
}

async fn list(context: &Context, args: &DeactivationsArgs, opened: &Opened) -> Outcome<Exit> {
    let carrier = Carrier { setup: opened.setup.clone(), without: None };
    let failed =
        |fault: shearwater_engine::absorb::Fault| Failure::new(Exit::Store, "deactivations", fault.to_string());
    let state = state(opened.setup.journal.as_ref()).await?;
    let days = carrier.deactivations().await.map_err(failed)?;
    let total: usize = days.iter().map(|day| day.entries.len()).sum();
    let mut rows = Vec::new();
    let last_first = days.iter().rev().flat_map(|day| day.entries.iter().rev().map(|entry| (day.day, entry)));
    for (day, entry) in last_first.take(args.max) {
        let since = match state.uses_sidecars() {
            true => carrier.since(&state, entry).await.map_err(failed)?,
            false => Since::Changed,
        };
        let date = amount::moment(day.saturating_mul(86_400_000)).chars().take(10).collect::<String>();
        rows.push((date, entry.key.clone(), since));
    }
    let listed: Vec<serde_json::Value> =
        rows.iter().map(|(day, key, since)| json!({ "day": day, "key": key, "now": since })).collect();
    let json = json!({ "migration": opened.setup.journal.migration(), "total": total, "deactivations": listed });
    let mut text = match rows.is_empty() {
        true => "nobody was deactivated\n".to_owned(),
        false => {
            let cells: Vec<Vec<String>> =
                rows.iter().map(|(day, key, since)| vec![day.clone(), key.clone(), words(*since).to_owned()]).collect();
            table::with_header(&["day", "key", "now"], &cells)
        }
    };
    if rows.len() < total {
        text.push_str(&format!(
            "{} of {}; --max N shows more\n",
            amount::count(rows.len() as u64),
            amount::count(total as u64)
        ));
    }
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

fn words(since: Since) -> &'static str {
    match since {
        Since::Deactivated => "deactivated",
        Since::InSource => "lives in the source",
        Since::Changed => "changed since",
    }
}
