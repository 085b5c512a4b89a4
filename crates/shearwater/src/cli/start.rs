//! `start` and `copy`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::{Command, Event, Journal, JournalError};
use shearwater_core::lifecycle::{BackfillState, Phase, Status};
use shearwater_core::plan::Weight;

use super::exit::{Exit, Failure, Outcome};
use super::{Context, history, plan, require};
use crate::render::{amount, progress};
use crate::wiring::{self, AnySpec, Hands, SpecFile};

/// How often the journal is looked at for the backfill's end.
const BACKFILL_POLL: Duration = Duration::from_millis(20);

/// Arguments of `start`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater plan users.toml && shearwater start users.toml\n\nRun it again after an interruption: it goes on where it stopped."
)]
pub struct Start {
    /// The spec
    pub(super) spec: PathBuf,
}

/// Arguments of `copy`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater copy users.toml     # copy, without dual writes\n  shearwater copy users.toml     # again: only what changed meanwhile"
)]
pub struct Copy {
    /// The spec
    pub(super) spec: PathBuf,
}

/// Writes the migration down, enters dual-write, copies what exists.
pub async fn run(context: &Context, args: Start) -> Outcome<Exit> {
    let spec = match wiring::read_spec(&args.spec, context.console.colour)? {
        AnySpec::Move(spec) => spec,
        AnySpec::Require(file) => return require::start(context, &file).await,
        // Those of another kind were answered before.
        other => other.into_move()?,
    };
    let journal = written_down(context, &spec, &args.spec.display().to_string()).await?;
    let setup = wiring::open_setup(journal.clone(), &spec).await?;
    let following = progress::follow(context.console, journal.clone());
    let hands = Hands::join(&setup).await?;
    let begun = begin(&hands, journal.as_ref()).await;
    hands.leave().await;
    drop(following);
    begun?;
    let state = wiring::state(journal.as_ref()).await?;
    let totals = match &state.backfill {
        BackfillState::Done { totals, .. } => *totals,
        BackfillState::NotRun | BackfillState::Running { .. } => {
            return Err(Failure::new(Exit::Failed, "backfill/unfinished", "the backfill has not finished")
                .hint("run the same command again to go on"));
        }
    };
    let dead = journal.dead_letter_count().await?;
    let json = json!({
        "migration": journal.migration(),
        "phase": state.phase.name(),
        "epoch": state.epoch,
        "read": totals.read,
        "changed": totals.changed,
        "bytes": totals.bytes,
        "elapsed_ms": totals.elapsed_ms,
        "dead_letters": dead,
    });
    let mut text = format!("{} is in {} (epoch {})\n", journal.migration(), state.phase, state.epoch);
    text.push_str(&format!("backfill: {}\n", history::backfill(&totals)));
    text.push_str(match dead {
        0 => "next: shearwater verify, then shearwater advance\n",
        _ => "next: shearwater dead-letters says what was refused\n",
    });
    context.console.answer(&json, &text)?;
    Ok(Exit::Done)
}

/// The migration's journal: written down after planning, or found from earlier.
/// Planning is done until something was put into the stores.
pub(super) async fn written_down(context: &Context, spec: &SpecFile, file: &str) -> Outcome<Arc<dyn Journal>> {
    let earlier = earlier(context, spec).await?;
    if let Some(journal) = earlier {
        let state = wiring::state(journal.as_ref()).await?;
        if state.phase != Phase::Planned || state.captured {
            return Ok(journal);
        }
        planned(context, spec, file).await?;
        return Ok(journal);
    }
    planned(context, spec, file).await?;
    let journals = wiring::make_journal(&context.journal).await?;
    Ok(journals.create(&spec.spec.migration, &spec.text, "cli").await?)
}

/// What an earlier command wrote down under this name.
async fn earlier(context: &Context, spec: &SpecFile) -> Outcome<Option<Arc<dyn Journal>>> {
    let Some(journals) = wiring::find_journal(&context.journal).await? else { return Ok(None) };
    match journals.migration(&spec.spec.migration).await {
        Ok(journal) => {
            same_spec(journal.as_ref(), spec).await?;
            Ok(Some(journal))
        }
        Err(JournalError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Plans, tells hazards, and refuses to go on with problems.
async fn planned(context: &Context, spec: &SpecFile, file: &str) -> Outcome<()> {
    let planned = plan::make(spec, plan::Look::Brief).await?;
    let problems = planned.plan.count(Weight::Problem) as u64;
    if problems > 0 {
        let told = plan::findings_text(&planned.plan, file, &spec.text);
        context.console.note(told.trim_end());
        let problems = amount::counted(problems, "problem", "problems");
        return Err(Failure::new(
            Exit::Problems,
            "plan/problems",
            format!("the plan has {problems}; nothing was written"),
        )
        .hint(format!("shearwater plan {file}")));
    }
    for finding in planned.plan.findings.iter().filter(|finding| finding.weight == Weight::Hazard) {
        context.console.note(&format!("hazard[{}]: {}", finding.code, finding.message));
    }
    Ok(())
}

/// A started migration keeps the spec that it was started with.
async fn same_spec(journal: &dyn Journal, spec: &SpecFile) -> Outcome<()> {
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

/// Into dual-write, and through the backfill; whatever is done already is not done again.
async fn begin(hands: &Hands, journal: &dyn Journal) -> Outcome<()> {
    let state = wiring::state(journal).await?;
    match state.phase {
        Phase::Planned => {
            hands.act(Command::Advance).await?;
        }
        Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => {}
        Phase::Cutover | Phase::ReverseWindow | Phase::Rollback | Phase::Complete | Phase::Withdrawn => {
            return Err(Failure::new(
                Exit::Failed,
                "phase/not-possible",
                format!("{} is in {} already", journal.migration(), state.phase),
            )
            .hint("`shearwater status` says what is next"));
        }
    }
    tokio::select! {
        copied = copied(journal) => copied,
        failure = wiring::interrupted() => Err(failure),
    }
}

/// Waits for the end of the backfill, which whoever coordinates keeps going.
async fn copied(journal: &dyn Journal) -> Outcome<()> {
    loop {
        let state = wiring::state(journal).await?;
        match (&state.backfill, &state.status) {
            (BackfillState::Done { .. }, _) => return Ok(()),
            (_, Status::Failed { reason }) => {
                return Err(Failure::new(Exit::Failed, "backfill/failed", format!("the backfill stopped: {reason}"))
                    .hint("mend the cause, then `shearwater resume` and this command again"));
            }
            (_, Status::Paused) => {
                return Err(Failure::new(Exit::Failed, "backfill/paused", "background work is paused")
                    .hint("`shearwater resume`, then this command again"));
            }
            (BackfillState::NotRun | BackfillState::Running { .. }, Status::Running) => {
                tokio::time::sleep(BACKFILL_POLL).await;
            }
        }
    }
}

/// Only copies: the migration is written down, but never leaves `planned`.
pub async fn copy(context: &Context, args: Copy) -> Outcome<Exit> {
    let spec = wiring::read_spec(&args.spec, context.console.colour)?.into_move()?;
    let journal = written_down(context, &spec, &args.spec.display().to_string()).await?;
    let setup = wiring::open_setup(journal.clone(), &spec).await?;
    let following = progress::follow(context.console, journal.clone());
    let copied = tokio::select! {
        copied = shearwater_engine::copy::copy(&setup) => copied.map_err(Failure::from),
        failure = wiring::interrupted() => Err(failure),
    };
    drop(following);
    let report = copied?;
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let refused = number("refused");
    let text = format!(
        "{} read, {} changed, {} removed, {refused} refused, in {}\n",
        amount::count(number("read")),
        amount::count(number("changed")),
        amount::count(number("removed")),
        amount::span_ms(number("elapsed_ms")),
    );
    context.console.answer(&json!({ "migration": journal.migration(), "report": report }), &text)?;
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}
