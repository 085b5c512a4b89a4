//! `verify` and `repair`.

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::Command;

use super::exit::{Exit, Outcome};
use super::{Context, history, require};
use crate::render::{amount, progress, table};
use crate::wiring;

/// Arguments of `verify`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater verify\n  shearwater verify --json | jq .report")]
pub struct Verify {}

/// Arguments of `repair`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater repair            # says what it would do\n  shearwater repair --apply"
)]
pub struct Repair {
    /// Do it; without this nothing is written
    #[arg(long)]
    apply: bool,
}

/// Compares every record of both stores.
pub async fn verify(context: &Context) -> Outcome<Exit> {
    if let Some(opened) = context.require().await? {
        return require::verify(context, &opened).await;
    }
    let opened = context.open().await?;
    let journal = &opened.setup.journal;
    let following = progress::follow(context.console, journal.clone());
    let report = wiring::act(&opened.setup, Command::Verify).await;
    drop(following);
    let report = report?;
    let state = wiring::state(journal.as_ref()).await?;
    let totals = state.verified.map(|(_, totals)| totals).unwrap_or_default();
    let mismatches = totals.mismatches();
    let json = json!({ "migration": journal.migration(), "mismatches": mismatches, "report": report });
    let mut text = format!("{}\n", history::verified(&totals));
    text.push_str(&findings(&report));
    if mismatches > 0 {
        text.push_str("`shearwater repair` says what would mend them\n");
    }
    context.console.answer(&json, &text)?;
    Ok(if mismatches == 0 { Exit::Done } else { Exit::Mismatches })
}

/// Mends what the last verification found.
pub async fn repair(context: &Context, args: Repair) -> Outcome<Exit> {
    let opened = context.open().await?;
    let journal = &opened.setup.journal;
    let following = progress::follow(context.console, journal.clone());
    let report = wiring::act(&opened.setup, Command::Repair { dry_run: !args.apply }).await;
    drop(following);
    let report = report?;
    let json = json!({ "migration": journal.migration(), "applied": args.apply, "report": report });
    let mut text = match args.apply {
        true => "repaired\n".to_owned(),
        false => "nothing was written; --apply does it\n".to_owned(),
    };
    text.push_str(&numbers(&report));
    text.push_str(&findings(&report));
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

/// The plain numbers of a report.
fn numbers(report: &Value) -> String {
    let rows: Vec<(&str, String)> = report
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), amount::count(value.as_u64()?))))
        .collect();
    if rows.is_empty() { String::new() } else { table::pairs(&rows) }
}

/// The findings of a report: one line for each record, with its fields.
fn findings(report: &Value) -> String {
    let Some(list) = report.get("findings").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
        return String::new();
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|finding| {
            let key = [finding.get("source_key"), finding.get("target_key")].into_iter().map(text);
            let fields = finding.get("fields").and_then(Value::as_array).into_iter().flatten().map(|field| {
                let [path, what, expected, found] =
                    ["path", "what", "expected", "found"].map(|name| text(field.get(name)));
                format!("{path}: {what}, expected {expected}, found {found}")
            });
            let why: Vec<String> = std::iter::once(text(finding.get("reason"))).chain(fields).collect();
            let why: Vec<String> = why.into_iter().filter(|part| !part.is_empty()).collect();
            vec![
                key.into_iter().find(|key| !key.is_empty()).unwrap_or_default(),
                text(finding.get("kind")),
                why.join("; "),
            ]
        })
        .collect();
    format!("\n{}", table::with_header(&["key", "finding", "fields"], &rows))
}
