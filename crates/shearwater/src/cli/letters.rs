//! `dead-letters`: what was refused and why, and trying again.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shearwater_core::journal::{Command, DeadLetter, Journal};
use shearwater_core::store::Side;

use super::Context;
use super::exit::{Exit, Outcome};
use crate::render::{amount, table};
use crate::wiring;

/// Letters shown when no number is given.
const SHOWN_DEFAULT: usize = 100;

/// Letters read from the journal at once.
const READ_MAX: usize = 1_000;

/// Arguments of `dead-letters`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater dead-letters\n  shearwater dead-letters --max 1000 --json\n  shearwater dead-letters retry"
)]
pub struct DeadLetters {
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = SHOWN_DEFAULT)]
    max: usize,
    #[command(subcommand)]
    verb: Option<LetterVerb>,
}

/// What to do with them.
#[derive(Subcommand)]
enum LetterVerb {
    /// Map and write them again, from what the authority holds now
    Retry,
}

/// Shows or retries dead letters.
pub async fn run(context: &Context, args: DeadLetters) -> Outcome<Exit> {
    match args.verb {
        None => show(context, args.max).await,
        Some(LetterVerb::Retry) => retry(context).await,
    }
}

async fn show(context: &Context, max: usize) -> Outcome<Exit> {
    let journals = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&journals, context.migration.as_deref()).await?;
    let total = journal.dead_letter_count().await?;
    let mut letters: Vec<DeadLetter> = Vec::new();
    while letters.len() < max {
        let after = letters.last().map(|letter| letter.key.as_str());
        let some = journal.dead_letters(after, READ_MAX.min(max - letters.len())).await?;
        if some.is_empty() {
            break;
        }
        letters.extend(some);
    }
    let json = json!({
        "migration": journal.migration(),
        "total": total,
        "dead_letters": letters.iter().map(|letter| serde_json::to_value(letter).unwrap_or(Value::Null)).collect::<Vec<_>>(),
    });
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let side = match letter.authority {
                Side::Source => "source",
                Side::Target => "target",
            };
            vec![
                letter.key.clone(),
                side.to_owned(),
                letter.code.clone(),
                letter.reason.clone(),
                letter.attempts.to_string(),
            ]
        })
        .collect();
    let text = match (total, rows.len() as u64) {
        (0, _) => "no dead letters\n".to_owned(),
        (total, shown) => {
            let mut text = table::with_header(&["key", "of", "code", "reason", "tries"], &rows);
            if shown < total {
                text.push_str(&format!("{} of {}; --max N shows more\n", amount::count(shown), amount::count(total)));
            }
            text
        }
    };
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

async fn retry(context: &Context) -> Outcome<Exit> {
    if let Some(opened) = super::absorb::opened(context).await? {
        let journal = opened.setup.journal.clone();
        let before = journal.dead_letter_count().await?;
        let report = super::absorb::act(&opened.setup, Command::RetryDeadLetters).await?;
        return told(context, journal.as_ref(), before, report).await;
    }
    let opened = context.open().await?;
    let journal = &opened.setup.journal;
    let before = journal.dead_letter_count().await?;
    let report = wiring::act(&opened.setup, Command::RetryDeadLetters).await?;
    told(context, journal.as_ref(), before, report).await
}

async fn told(context: &Context, journal: &dyn Journal, before: u64, report: Value) -> Outcome<Exit> {
    let left = journal.dead_letter_count().await?;
    let json = json!({ "migration": journal.migration(), "before": before, "left": left, "report": report });
    let text =
        format!("{} before, {} left\n", amount::counted(before, "dead letter", "dead letters"), amount::count(left));
    context.console.answer(&json, &text)?;
    Ok(if left == 0 { Exit::Done } else { Exit::Failed })
}
