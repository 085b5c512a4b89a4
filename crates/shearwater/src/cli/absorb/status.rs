//! `status` of an `absorb`: moved, remaining, rate, the day it reaches zero.

use serde_json::json;
use shearwater_core::lifecycle::Status as Beside;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::absorb::Setup;
use shearwater_engine::absorb::report::{Report, report};

use super::opened;
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::status::{Status, WATCH_INTERVAL, members_text};
use crate::render::{Format, amount, table};
use crate::wiring;

/// Shows where an absorb stands; `None`: the migration is of another kind.
pub async fn run(context: &Context, args: &Status) -> Outcome<Option<Exit>> {
    let watch = args.watch;
    let Some(opened) = opened(context).await? else { return Ok(None) };
    loop {
        let (report, members) = look(&opened.setup).await?;
        let mut text = text(&report, &members);
        if watch && context.console.watched && context.console.format == Format::Text {
            text = format!("\u{1b}[H\u{1b}[J{text}");
        }
        let mut json = serde_json::to_value(&report).unwrap_or_default();
        json["next"] = json!(next(&report));
        context.console.answer(&json, &text)?;
        let is_over = [Phase::Complete.name(), Phase::Withdrawn.name()].contains(&report.phase);
        if !watch || is_over {
            return Ok(Some(Exit::Done));
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            _ = wiring::interrupted() => return Ok(Some(Exit::Done)),
        }
    }
}

async fn look(setup: &Setup) -> Outcome<(Report, String)> {
    let report = report(setup).await.map_err(|halt| match halt.into_refusal() {
        Ok(refusal) => Failure::from(refusal),
        Err(halt) => Failure::new(Exit::Failed, "status", halt.to_string()),
    })?;
    let members = setup.journal.members().await?;
    let members = members_text(&members, report.epoch);
    Ok((report, members))
}

fn next(report: &Report) -> String {
    let remaining = report.counts.map_or(0, |counts| counts.remaining);
    match report.phase {
        "planned" => "shearwater start SPEC".to_owned(),
        "prepare" => "shearwater advance (to lazy), or shearwater withdraw".to_owned(),
        "lazy" => "shearwater advance (to drain), when few are left".to_owned(),
        "drain" if remaining > 0 => "shearwater bulk moves what remains; [stragglers] deactivate the rest".to_owned(),
        "drain" => "shearwater complete, the last exit; or shearwater rollback".to_owned(),
        "rollback" => "nothing: records go back; `shearwater serve` goes on if its process died".to_owned(),
        _ => "nothing".to_owned(),
    }
}

fn text(report: &Report, members: &str) -> String {
    let phase = match report.entering {
        Some(to) => format!("{}, entering {to} (epoch {})", report.phase, report.epoch),
        None => format!("{} (epoch {})", report.phase, report.epoch),
    };
    let status = match &report.status {
        Beside::Running => "running".to_owned(),
        Beside::Paused => "paused".to_owned(),
        Beside::Failed { reason } => format!("failed: {reason}"),
    };
    let mut rows = vec![
        ("migration", report.migration.clone()),
        ("phase", phase),
        ("status", status),
        ("what", report.what.to_owned()),
    ];
    if let Some(counts) = report.counts {
        rows.push(("moved", amount::count(counts.moved)));
        rows.push(("remaining", amount::count(counts.remaining)));
    }
    if let Some(rate) = report.moved_per_hour {
        let zero = match report.drained_at_ms {
            Some(at_ms) => format!("; none left about {}", amount::moment(at_ms)),
            None => "; it does not reach zero by itself".to_owned(),
        };
        rows.push(("rate", format!("{} an hour{zero}", amount::count(rate as u64))));
    }
    if let Some((key, at)) = &report.oldest {
        let at = at.as_object().and_then(|tag| tag.values().next()).unwrap_or(at);
        let at = at.as_str().map_or_else(|| at.to_string(), str::to_owned);
        rows.push(("oldest", format!("{key}, last active {at}")));
    }
    if report.deactivated_today > 0 {
        rows.push(("deactivated today", amount::count(report.deactivated_today)));
    }
    rows.push(("dead letters", amount::count(report.dead_letters)));
    rows.push(("members", members.to_owned()));
    rows.push(("rollback", rollback(report)));
    rows.push(("next", next(report)));
    table::pairs(&rows)
}

/// What going back would cost now.
fn rollback(report: &Report) -> String {
    match (report.phase, report.counts) {
        ("complete", _) => "not possible any more".to_owned(),
        ("withdrawn" | "planned", _) => "nothing to take back: the source serves".to_owned(),
        ("rollback", _) => "it is under way".to_owned(),
        ("prepare", _) => "no record has to go back; what only v2 has, kept beside records, goes for good".to_owned(),
        (_, Some(counts)) => {
            format!("loses nothing; {} back, one by one", amount::counted(counts.moved, "record goes", "records go"))
        }
        (_, None) => "loses nothing".to_owned(),
    }
}
