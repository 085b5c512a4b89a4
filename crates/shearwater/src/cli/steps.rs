//! Commands that move a migration: one journal command each.

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::{Phase, State};
use shearwater_core::store::Side;

use super::exit::{Exit, Failure, Outcome};
use super::{Context, require};
use crate::render::{amount, progress};
use crate::wiring;

/// Arguments of `advance`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater advance\n  shearwater advance --journal /var/lib/shearwater/journal --json"
)]
pub struct Advance {}

/// Arguments of `ramp`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater ramp 1%\n  shearwater ramp 50")]
pub struct Ramp {
    /// Percent of the keys, 0 to 100
    #[arg(value_parser = percent)]
    percent: u8,
}

/// Arguments of `rollback`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater rollback")]
pub struct Rollback {}

/// Arguments of `complete`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater status && shearwater complete")]
pub struct Complete {}

/// Arguments of `withdraw`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater rollback && shearwater withdraw")]
pub struct Withdraw {}

/// Arguments of `pause`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater pause")]
pub struct Pause {}

/// Arguments of `resume`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater resume")]
pub struct Resume {}

fn percent(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<u8>() {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err("expected a percentage from 0 to 100, for example 25%".to_owned()),
    }
}

/// To the next phase.
pub async fn advance(context: &Context) -> Outcome<Exit> {
    step(context, Command::Advance).await
}

/// Sets the read ramp.
pub async fn ramp(context: &Context, args: Ramp) -> Outcome<Exit> {
    step(context, Command::Ramp { percent: args.percent }).await
}

/// Back to the source.
pub async fn rollback(context: &Context) -> Outcome<Exit> {
    step(context, Command::Rollback).await
}

/// Finishes the migration.
pub async fn complete(context: &Context) -> Outcome<Exit> {
    step(context, Command::Complete).await
}

/// Gives the migration up.
pub async fn withdraw(context: &Context) -> Outcome<Exit> {
    step(context, Command::Withdraw).await
}

/// Lets background work rest.
pub async fn pause(context: &Context) -> Outcome<Exit> {
    step(context, Command::Pause).await
}

/// Lets background work go on.
pub async fn resume(context: &Context) -> Outcome<Exit> {
    step(context, Command::Resume).await
}

/// Has a command done, and says where that led.
async fn step(context: &Context, command: Command) -> Outcome<Exit> {
    if let Some(opened) = context.require().await? {
        return require::step(context, &opened, command).await;
    }
    let opened = context.open().await?;
    let setup = &opened.setup;
    let before = wiring::state(setup.journal.as_ref()).await?;
    check_possible(&before, &command)?;
    let following = progress::follow(context.console, setup.journal.clone());
    let report = wiring::act(setup, command.clone()).await;
    drop(following);
    let report = report?;
    let after = wiring::state(setup.journal.as_ref()).await?;
    let json = json!({
        "migration": setup.journal.migration(),
        "from": before.phase.name(),
        "phase": after.phase.name(),
        "epoch": after.epoch,
        "ramp_percent": after.ramp_percent,
        "report": report,
    });
    context.console.answer(&json, &text(&before, &after, &command, &report))?;
    Ok(Exit::Done)
}

/// What can be told without asking the engine, because it depends on the phase only.
fn check_possible(state: &State, command: &Command) -> Outcome<()> {
    let phase = state.phase;
    let (message, hint) = match command {
        Command::Complete if phase != Phase::ReverseWindow => {
            ("complete", "only from reverse-window, after the cutover; `shearwater status` says what is next")
        }
        Command::Withdraw if phase != Phase::Planned => {
            ("withdraw", "only from planned; `shearwater rollback` goes back there")
        }
        Command::Ramp { .. } if phase != Phase::ReadRamp => {
            ("ramp", "only in read-ramp; `shearwater advance` goes there")
        }
        _ => return Ok(()),
    };
    Err(Failure::new(Exit::Failed, "phase/not-possible", format!("{message} is not possible in phase {phase}"))
        .hint(hint))
}

fn text(before: &State, after: &State, command: &Command, report: &Value) -> String {
    let mut text = match command {
        Command::Ramp { percent } => format!("{percent} % of the keys are read from the target\n"),
        Command::Pause => "background work rests; clients are served all the same\n".to_owned(),
        Command::Resume => "background work goes on\n".to_owned(),
        _ if before.phase == after.phase => format!("{} (epoch {})\n", after.phase, after.epoch),
        _ => format!("{} -> {} (epoch {})\n", before.phase, after.phase, after.epoch),
    };
    text.push_str(&format!("{}\n", after.phase.info().what));
    if before.authority() != after.authority()
        && let Some(side) = after.authority()
    {
        let side = match side {
            Side::Source => "source",
            Side::Target => "target",
        };
        text.push_str(&format!("the {side} decides from now on\n"));
    }
    if let Some(pause) = report.get("pause_micros").and_then(Value::as_u64) {
        text.push_str(&format!("writes were held for {}.{} ms\n", pause / 1_000, pause % 1_000 / 100));
    }
    if let Some(drained) = report.get("drained").and_then(Value::as_u64) {
        text.push_str(&format!("{} drained meanwhile\n", amount::counted(drained, "key was", "keys were")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_with_or_without_its_sign() {
        for (text, expected) in
            [("0", Some(0)), ("25%", Some(25)), ("100%", Some(100)), ("101", None), ("-1", None), ("x", None)]
        {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
    }
}
