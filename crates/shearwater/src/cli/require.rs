//! The commands of a `require`: the same verbs as those of a `move`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shearwater_core::evolve::Enforcer;
use shearwater_core::journal::{Command, Event, Journal, JournalError};
use shearwater_core::lifecycle::require::{Phase, State};
use shearwater_engine::require::{self, RequireReport, Setup};

use super::exit::{Exit, Failure, Outcome};
use super::{Context, require_plan};
use crate::render::{amount, progress, table};
use crate::wiring::{self, AnySpec, RequireFile};

/// How often `status --watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A `require` that a command is about.
pub struct Opened {
    setup: Setup,
}

impl Context {
    /// The migration that a command is about, if it is a `require`.
    pub(super) async fn require(&self) -> Outcome<Option<Opened>> {
        let journals = wiring::open_journal(&self.journal).await?;
        let journal = wiring::migration(&journals, self.migration.as_deref()).await?;
        match wiring::spec_of(journal.as_ref(), self.console.colour).await? {
            AnySpec::Require(file) => {
                let setup = wiring::require::open_setup(journal, &file, self.console.colour).await?;
                Ok(Some(Opened { setup }))
            }
            _ => Ok(None),
        }
    }
}

/// `start`: writes the migration down, and enters expand.
pub(super) async fn start(context: &Context, file: &RequireFile) -> Outcome<Exit> {
    let journal = written_down(context, file).await?;
    let setup = wiring::require::open_setup(journal.clone(), file, context.console.colour).await?;
    if wiring::require::state(journal.as_ref()).await?.phase == Phase::Planned {
        wiring::require::act(&setup, Command::Advance).await?;
    }
    let state = wiring::require::state(journal.as_ref()).await?;
    let json = json!({ "migration": journal.migration(), "phase": state.phase, "epoch": state.epoch });
    let text = format!(
        "{} is in {} (epoch {})\n{}\nnext: shearwater advance\n",
        journal.migration(),
        state.phase,
        state.epoch,
        state.phase.info().what
    );
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

/// The migration's journal: written down after planning, or found from earlier.
pub(super) async fn written_down(context: &Context, file: &RequireFile) -> Outcome<Arc<dyn Journal>> {
    if let Some(journals) = wiring::find_journal(&context.journal).await? {
        match journals.migration(&file.spec.migration).await {
            Ok(journal) => {
                same_spec(journal.as_ref(), file).await?;
                return Ok(journal);
            }
            Err(JournalError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for hazard in require_plan::hazards(context, file).await? {
        context.console.note(&format!("hazard: {hazard}"));
    }
    let journals = wiring::make_journal(&context.journal).await?;
    Ok(journals.create(&file.spec.migration, &file.text, "cli").await?)
}

async fn same_spec(journal: &dyn Journal, file: &RequireFile) -> Outcome<()> {
    match journal.read(0, 1).await?.first().map(|entry| &entry.event) {
        Some(Event::Created { spec }) if *spec == file.text => Ok(()),
        _ => Err(Failure::new(
            Exit::Failed,
            "journal/other-spec",
            format!("migration {:?} was started with another spec", journal.migration()),
        )
        .hint("go on with the spec as it was, or give the migration another name")),
    }
}

/// `advance`, `rollback`, `complete`, `withdraw`, `pause`, `resume`.
pub(super) async fn step(context: &Context, opened: &Opened, command: Command) -> Outcome<Exit> {
    let setup = &opened.setup;
    let journal = setup.journal.as_ref();
    let before = wiring::require::state(journal).await?;
    let following = progress::follow(context.console, setup.journal.clone());
    let report = wiring::require::act(setup, command.clone()).await;
    let filled = match (&report, &command) {
        // The backfill begins by itself, and goes on only while somebody coordinates.
        (Ok(_), Command::Advance) => wiring::require::filled(setup).await,
        _ => Ok(()),
    };
    drop(following);
    let report = report?;
    filled?;
    let after = wiring::require::state(journal).await?;
    let json = json!({
        "migration": journal.migration(), "from": before.phase, "phase": after.phase, "epoch": after.epoch,
        "report": report,
    });
    context.console.answer(&json, &step_text(&before, &after, &command, &report))?;
    Ok(Exit::Done)
}

fn step_text(before: &State, after: &State, command: &Command, report: &Value) -> String {
    let mut text = match command {
        Command::Pause => "background work rests; clients are served all the same\n".to_owned(),
        Command::Resume => "background work goes on\n".to_owned(),
        _ if before.phase == after.phase => format!("{} (epoch {})\n", after.phase, after.epoch),
        _ => format!("{} -> {} (epoch {})\n", before.phase, after.phase, after.epoch),
    };
    text.push_str(&format!("{}\n", after.phase.info().what));
    if let Some(dropped) = report.get("values_dropped").and_then(Value::as_u64).filter(|dropped| *dropped > 0) {
        let values = amount::counted(dropped, "value", "values");
        text.push_str(&format!("{values} that writers had chosen went with the column\n"));
    }
    text
}

/// `verify`. In backfill it waits for the end of the run first.
pub(super) async fn verify(context: &Context, opened: &Opened) -> Outcome<Exit> {
    let setup = &opened.setup;
    let following = progress::follow(context.console, setup.journal.clone());
    wiring::require::filled(setup).await?;
    let report = wiring::require::act(setup, Command::Verify).await;
    drop(following);
    let report = report?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mismatches = number("mismatches");
    let mut text = format!(
        "{} compared: {} without a value, {} with a wrong one, {} unreadable; {} chosen by writers\n",
        amount::count(number("compared")),
        amount::count(number("missing")),
        amount::count(number("different")),
        amount::count(number("refused")),
        amount::count(number("chosen")),
    );
    for finding in report.get("findings").and_then(Value::as_array).into_iter().flatten() {
        let word = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        text.push_str(&format!("  {}: {}\n", word("key"), word("what")));
    }
    let json = json!({ "migration": setup.journal.migration(), "mismatches": mismatches, "report": report });
    context.console.answer(&json, &text)?;
    Ok(if mismatches == 0 { Exit::Done } else { Exit::Mismatches })
}

/// `status`.
pub(super) async fn status(context: &Context, opened: &Opened, watch: bool) -> Outcome<Exit> {
    loop {
        let report = require::status(&opened.setup).await?;
        let members = opened.setup.journal.members().await?.len() as u64;
        let mut json = serde_json::to_value(&report).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            object.insert("members".to_owned(), members.into());
        }
        context.console.answer(&json, &status_text(&report, members))?;
        if !watch || matches!(report.phase, Phase::Complete | Phase::Withdrawn) {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            _ = wiring::interrupted() => return Ok(Exit::Done),
        }
    }
}

fn status_text(report: &RequireReport, members: u64) -> String {
    let phase = match report.entering {
        Some(to) => format!("{}, entering {to} (epoch {})", report.phase, report.epoch),
        None => format!("{} (epoch {})", report.phase, report.epoch),
    };
    let mut rows = vec![
        ("migration", report.migration.clone()),
        ("phase", phase),
        ("", report.phase.info().what.to_owned()),
        ("members", amount::count(members)),
        ("backfill", backfill_text(report)),
        ("verified", verified_text(report)),
        ("outdated writes", outdated_text(report)),
        ("longest lock", format!("{} ms", report.lock_held_micros_max.div_ceil(1_000))),
        ("rollback", rollback_text(report)),
    ];
    let enforcer = match report.enforced_by {
        Enforcer::Store => "the store, whoever writes",
        Enforcer::Gateway => "the gateway alone: this store takes what others write past it",
    };
    rows.push(("enforced by", enforcer.to_owned()));
    if let Some(locks) = report.locks.as_ref().filter(|locks| !locks.blockers.is_empty()) {
        let who: Vec<String> =
            locks.blockers.iter().map(|b| format!("{} ({}, for {} ms)", b.session, b.what, b.for_ms)).collect();
        rows.push(("waits for", format!("{}, {} tries: {}", locks.what.name(), locks.tries, who.join("; "))));
    }
    if let Some(next) = &report.next {
        let closed: Vec<&str> = next.gates.iter().filter(|g| !g.open).map(|g| g.message.as_str()).collect();
        let told = if closed.is_empty() { String::new() } else { format!("; closed: {}", closed.join("; ")) };
        rows.push(("next", format!("shearwater {} (to {}){told}", next.command, next.to)));
    }
    table::pairs(&rows)
}

fn backfill_text(report: &RequireReport) -> String {
    match (&report.filled, &report.progress) {
        (Some(totals), _) => {
            let p99_ms = report.batches.map_or(0, |batches| batches.p99_micros.div_ceil(1_000));
            format!(
                "{} filled in {}, batches p99 {p99_ms} ms",
                amount::counted(totals.changed, "record", "records"),
                amount::span_ms(totals.elapsed_ms)
            )
        }
        (None, Some(shown)) if report.backfill == "running" => {
            format!("{} of about {} records", amount::count(shown.done), amount::count(shown.total))
        }
        (None, _) => report.backfill.replace('-', " "),
    }
}

fn verified_text(report: &RequireReport) -> String {
    match &report.verified {
        None => "not since the backfill".to_owned(),
        Some(totals) => format!(
            "{} compared: {} without a value, {} with a wrong one, {} unreadable",
            amount::count(totals.compared),
            amount::count(totals.missing),
            amount::count(totals.different),
            amount::count(totals.refused)
        ),
    }
}

fn outdated_text(report: &RequireReport) -> String {
    let quiet = amount::span_ms(u64::try_from(report.outdated.quiet_ms).unwrap_or(0));
    let direct = match report.outdated.direct {
        Some(seen) => format!(", {} past the gateway", amount::count(seen)),
        None => String::new(),
    };
    format!("{} counted{direct}, none for {quiet}", amount::count(report.outdated.writes))
}

fn rollback_text(report: &RequireReport) -> String {
    let way = &report.rollback;
    match way.to {
        None => "none".to_owned(),
        Some(to) if way.values_dropped > 0 => format!(
            "to {to}, about {} ms; {} that writers chose would go",
            way.expected_ms,
            amount::counted(way.values_dropped, "value", "values")
        ),
        Some(to) => format!("to {to}, about {} ms; loses nothing", way.expected_ms),
    }
}
