//! `deactivations`: who was deactivated for inactivity, and the way to undo it.

use std::collections::HashMap;

use clap::Args;
use serde_json::json;
use shearwater_core::journal::Command;
use shearwater_engine::absorb::Carrier;
use shearwater_engine::absorb::deactivations::Entry;
use shearwater_engine::absorb::undo::Since;

use super::{Opened, act, opened, state};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::render::{amount, table};

/// Deactivations shown when nothing else is asked for: each is looked up.
const SHOWN_MAX: usize = 100;

const MS_PER_DAY: i64 = 86_400_000;

/// Arguments of `deactivations`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater deactivations bob\n  shearwater deactivations bob --undo 17 23\n  shearwater deactivations bob --undo-all\n\nKeys are those of v1. An undone record lives in the source again, with what it had before, and is\nspared from then on: move it by an update or with `bulk` before `complete`. It still counts for the\nday's most. A record that somebody has changed since stays as it is, and is named."
)]
pub struct DeactivationsArgs {
    /// The migration
    name: String,
    /// Undo these records' deactivations
    #[arg(long, value_name = "KEY", num_args = 1..)]
    undo: Vec<String>,
    /// Undo all that are listed
    #[arg(long, conflicts_with = "undo")]
    undo_all: bool,
    /// Show at most so many, the last first
    #[arg(long, value_name = "N", default_value_t = SHOWN_MAX, conflicts_with_all = ["undo", "undo_all"])]
    max: usize,
}

/// Lists deactivations, or undoes them.
pub async fn run(context: &Context, args: &DeactivationsArgs) -> Outcome<Exit> {
    let Some(opened) = opened(&context.naming(&args.name)).await? else { return Err(only_absorb()) };
    match args.undo.is_empty() && !args.undo_all {
        true => list(context, args, &opened).await,
        false => undo(context, args, &opened).await,
    }
}

/// The refusal for a migration of another kind.
pub fn only_absorb() -> Failure {
    Failure::new(Exit::Failed, "kind/not-an-absorb", "`deactivations` is for migrations of kind `absorb`")
}

async fn undo(context: &Context, args: &DeactivationsArgs, opened: &Opened) -> Outcome<Exit> {
    let keys = (!args.undo_all).then(|| args.undo.clone());
    let report = act(&opened.setup, Command::UndoDeactivations { keys }).await?;
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    let named = |name: &str| -> Vec<String> {
        let keys = report[name].as_array().into_iter().flatten();
        keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
    };
    let undone = amount::counted(number("undone"), "deactivation", "deactivations");
    let mut text = format!("{undone} undone, {} back already\n", amount::count(number("already")));
    let stay = [
        ("changed", "changed_keys", "changed since, and left as they are"),
        ("held", "held_keys", "held by other records of the target that name them, and left there"),
    ];
    for (count, keys, why) in stay.into_iter().filter(|(count, ..)| number(count) > 0) {
        text.push_str(&format!("{} {why}: {}\n", amount::count(number(count)), named(keys).join(" ")));
    }
    let unlisted = named("unlisted");
    if !unlisted.is_empty() {
        text.push_str(&format!("not on the list of deactivations: {}\n", unlisted.join(" ")));
    }
    context.console.answer(&report, &text)?;
    Ok(if number("changed") == 0 && number("held") == 0 && unlisted.is_empty() { Exit::Done } else { Exit::Failed })
}

/// One line of the list.
struct Row {
    day: i64,
    key: String,
    entries: Vec<Entry>,
}

async fn rows(carrier: &Carrier) -> Result<Vec<Row>, shearwater_engine::absorb::Fault> {
    let (mut rows, mut places): (Vec<Row>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    carrier
        .each_noted(|noted| {
            for entry in noted.entries {
                let at = *places.entry(entry.key.clone()).or_insert_with(|| {
                    rows.push(Row { day: noted.day, key: entry.key.clone(), entries: Vec::new() });
                    rows.len() - 1
                });
                rows[at].day = noted.day;
                rows[at].entries.push(entry);
            }
        })
        .await?;
    // Written down last, shown first.
    rows.sort_by_key(|row| row.day);
    rows.reverse();
    Ok(rows)
}

async fn list(context: &Context, args: &DeactivationsArgs, opened: &Opened) -> Outcome<Exit> {
    let carrier = Carrier { setup: opened.setup.clone(), without: None };
    let failed =
        |fault: shearwater_engine::absorb::Fault| Failure::new(Exit::Store, "deactivations", fault.to_string());
    let state = state(opened.setup.journal.as_ref()).await?;
    let rows = rows(&carrier).await.map_err(failed)?;
    let (mut listed, mut cells) = (Vec::new(), Vec::new());
    for row in rows.iter().take(args.max) {
        let now = carrier.since(&state, &row.key, &row.entries).await.map_err(failed)?;
        let date: String = amount::moment(row.day.saturating_mul(MS_PER_DAY)).chars().take(10).collect();
        listed.push(json!({ "day": date, "key": row.key, "now": now }));
        cells.push(vec![date, row.key.clone(), words(now).to_owned()]);
    }
    let json = json!({ "migration": opened.setup.journal.migration(), "total": rows.len(), "deactivations": listed });
    let mut text = match cells.is_empty() {
        true => "nobody was deactivated\n".to_owned(),
        false => table::with_header(&["day", "key", "now"], &cells),
    };
    if cells.len() < rows.len() {
        let (shown, all) = (amount::count(cells.len() as u64), amount::count(rows.len() as u64));
        text.push_str(&format!("{shown} of {all}; --max N shows more\n"));
    }
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

fn words(since: Since) -> &'static str {
    match since {
        Since::Deactivated => "deactivated",
        Since::InSource => "lives in the source",
        Since::Changed => "changed since",
        Since::Past => "past: the migration is over, or not prepared",
    }
}
