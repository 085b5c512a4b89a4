//! `status`: where the migration stands, what is next, what a rollback costs now.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::{Journal, Member};
use shearwater_core::lifecycle::{BackfillState, Phase, State, Status as Beside};
use shearwater_core::store::Store;
use shearwater_engine::Setup;
use shearwater_engine::report::{self, StatusReport};

use super::exit::{Exit, Failure, Outcome};
use super::{Context, history, require};
use crate::render::progress::{NOTE, Shown};
use crate::render::{Format, amount, table};
use crate::wiring::{self, SpecFile, Which};

/// How often `--watch` looks again.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `status`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater status\n  shearwater status --watch\n  shearwater status --json | jq -r .phase"
)]
pub struct Status {
    /// Look again every second, until Ctrl-C or the end of the migration
    #[arg(long)]
    pub(super) watch: bool,
}

/// Everything that status tells.
struct Standing {
    migration: String,
    state: State,
    members: Vec<Member>,
    dead_letters: u64,
    progress: Option<Shown>,
    source: Look,
    target: Look,
    /// What the engine measured; `None` while a store does not answer.
    report: Option<StatusReport>,
}

/// What one store answers.
enum Look {
    /// Why it does not.
    Away(String),
    /// The names that Shearwater has in it.
    There { sidecars: Vec<String> },
}

/// Stores stay open while status watches.
#[derive(Default)]
struct Stores {
    source: Option<Arc<dyn Store>>,
    target: Option<Arc<dyn Store>>,
}

/// Shows where the migration stands.
pub async fn run(context: &Context, args: Status) -> Outcome<Exit> {
    if let Some(opened) = context.require().await? {
        return require::status(context, &opened, args.watch).await;
    }
    let journals = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&journals, context.migration.as_deref()).await?;
    let mut stores = Stores::default();
    loop {
        let standing = look(context, &journal, &mut stores).await?;
        let mut text = standing.text();
        if args.watch && context.console.watched && context.console.format == Format::Text {
            // Home, and clear what is below: the table is redrawn in place.
            text = format!("\u{1b}[H\u{1b}[J{text}");
        }
        context.console.answer(&standing.json(), &text)?;
        if !args.watch || matches!(standing.state.phase, Phase::Complete | Phase::Withdrawn) {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            _ = wiring::interrupted() => return Ok(Exit::Done),
        }
    }
}

async fn look(context: &Context, journal: &Arc<dyn Journal>, stores: &mut Stores) -> Outcome<Standing> {
    let spec = wiring::spec_of(journal.as_ref(), context.console.colour).await?.into_move()?;
    let source = look_at(&spec, Which::Source, &mut stores.source).await;
    let target = look_at(&spec, Which::Target, &mut stores.target).await;
    let report = match (&stores.source, &stores.target) {
        (Some(source), Some(target)) => {
            let setup = Setup {
                spec: spec.spec.clone(),
                mapping: spec.mapping.clone(),
                journal: journal.clone(),
                source: source.clone(),
                target: target.clone(),
            };
            // A store may go away between two looks; the rest is shown all the same.
            report::status(&setup).await.ok()
        }
        _ => None,
    };
    Ok(Standing {
        migration: journal.migration().to_owned(),
        state: wiring::state(journal.as_ref()).await?,
        members: journal.members().await?,
        dead_letters: journal.dead_letter_count().await?,
        progress: journal.note(NOTE).await?.as_deref().and_then(Shown::read).filter(|shown| !shown.ended),
        source,
        target,
        report,
    })
}

/// Looks at a store; one that does not answer is told, and the rest is shown.
async fn look_at(spec: &SpecFile, which: Which, open: &mut Option<Arc<dyn Store>>) -> Look {
    let store = match open {
        Some(store) => store.clone(),
        None => match wiring::open_existing(spec, which).await {
            Ok(store) => open.insert(store).clone(),
            Err(Failure { message, .. }) => return Look::Away(message),
        },
    };
    match store.sidecar_names().await {
        Ok(sidecars) => Look::There { sidecars },
        Err(error) => {
            *open = None;
            Look::Away(error.message)
        }
    }
}

impl Standing {
    fn next(&self) -> String {
        match self.state.phase {
            Phase::Planned if self.state.captured => "shearwater start SPEC, or shearwater withdraw".to_owned(),
            Phase::Planned => "shearwater start SPEC".to_owned(),
            Phase::DualWrite if self.state.verified.is_none() => {
                "shearwater verify, then shearwater advance (to shadow-read)".to_owned()
            }
            Phase::DualWrite => "shearwater advance (to shadow-read)".to_owned(),
            Phase::ShadowRead => "shearwater advance (to read-ramp)".to_owned(),
            Phase::ReadRamp if self.state.ramp_percent < 100 => {
                "shearwater ramp N%, up to 100%, then shearwater advance (the cutover)".to_owned()
            }
            Phase::ReadRamp => "shearwater advance (the cutover)".to_owned(),
            Phase::Cutover | Phase::Rollback => {
                "nothing: it is under way; `shearwater serve` finishes it if its process died".to_owned()
            }
            Phase::ReverseWindow => "shearwater complete, the last exit; or shearwater rollback".to_owned(),
            Phase::Complete | Phase::Withdrawn => "nothing".to_owned(),
        }
    }

    /// What going back to the source would cost now.
    fn rollback(&self) -> String {
        match self.state.phase {
            Phase::Planned | Phase::Withdrawn => "nothing to take back: the source serves".to_owned(),
            Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => {
                "loses nothing, holds nothing: the target stops following".to_owned()
            }
            Phase::Cutover => "not while the authority moves".to_owned(),
            Phase::Rollback => "it is under way".to_owned(),
            Phase::ReverseWindow => match self.report.as_ref().map(|report| &report.rollback) {
                Some(ready) if ready.dead_letters > 0 => format!(
                    "barred by {}, which the source refused",
                    amount::counted(ready.dead_letters, "dead letter", "dead letters")
                ),
                Some(ready) => format!(
                    "loses nothing; {} to follow first, then writes are held for about {} ms",
                    amount::counted(ready.keys_not_followed, "key", "keys"),
                    ready.predicted_pause_ms,
                ),
                None => "not known while a store does not answer".to_owned(),
            },
            Phase::Complete => "not possible any more".to_owned(),
        }
    }

    fn beside(&self) -> (&'static str, Option<&str>) {
        match &self.state.status {
            Beside::Running => ("running", None),
            Beside::Paused => ("paused", None),
            Beside::Failed { reason } => ("failed", Some(reason)),
        }
    }

    fn json(&self) -> Value {
        let (status, reason) = self.beside();
        let ways = self.state.phase.info().ways.iter().filter(|way| way.command != "-");
        json!({
            "migration": self.migration,
            "phase": self.state.phase.name(),
            "entering": self.state.entering.map(Phase::name),
            "epoch": self.state.epoch,
            "status": status,
            "reason": reason,
            "authority": self.state.authority(),
            "follower": self.state.follower(),
            "ramp_percent": self.state.ramp_percent,
            "next": self.next(),
            "ways": ways.map(|way| json!({ "command": way.command, "to": way.to.name() })).collect::<Vec<_>>(),
            "gates": self.report.as_ref().and_then(|report| report.next.as_ref()).map(|next| &next.gates),
            "backlog": self.report.as_ref().map(|report| report.facts.backlog),
            "dead_letters": self.dead_letters,
            "members": self.members.iter()
                .map(|member| json!({ "id": member.id, "epoch": member.epoch })).collect::<Vec<_>>(),
            "backfill": backfill_json(&self.state.backfill),
            "progress": self.progress.as_ref().map(|shown| json!({
                "activity": shown.activity, "done": shown.done, "total": shown.total,
                "records_per_s": shown.records_per_s, "eta_s": shown.eta_s, "rests": shown.rests,
            })),
            "verified": self.state.verified.map(|(_, totals)| totals),
            "rollback": self.report.as_ref().map(|report| &report.rollback),
            "last_switch": self.report.as_ref().and_then(|report| report.last_switch.as_ref()),
            "source": self.source.json(),
            "target": self.target.json(),
        })
    }

    fn text(&self) -> String {
        let state = &self.state;
        let (status, reason) = self.beside();
        let phase = match state.entering {
            Some(to) => format!("{}, entering {to} (epoch {})", state.phase, state.epoch),
            None => format!("{} (epoch {})", state.phase, state.epoch),
        };
        let mut rows = vec![
            ("migration", self.migration.clone()),
            ("phase", phase),
            ("status", reason.map_or(status.to_owned(), |reason| format!("{status}: {reason}"))),
            ("what", state.phase.info().what.to_owned()),
            ("decides", state.phase.info().authority.to_owned()),
        ];
        if state.phase == Phase::ReadRamp {
            rows.push(("ramp", format!("{} % of the keys are read from the target", state.ramp_percent)));
        }
        if let Some(report) = &self.report {
            rows.push(("backlog", amount::counted(report.facts.backlog, "key to follow", "keys to follow")));
        }
        rows.push(("dead letters", amount::count(self.dead_letters)));
        rows.push(("backfill", backfill_text(&state.backfill)));
        if let Some(shown) = &self.progress {
            rows.push(("progress", shown.line()));
        }
        if let Some((_, totals)) = &state.verified {
            rows.push(("verified", history::verified(totals)));
        }
        rows.push(("members", members_text(&self.members, state.epoch)));
        rows.push(("source", self.source.text()));
        rows.push(("target", self.target.text()));
        rows.push(("rollback", self.rollback()));
        rows.push(("next", self.next()));
        let mut text = table::pairs(&rows);
        text.push_str(&self.gates_text());
        text
    }

    /// The gates of the next step, with what opens the closed ones.
    fn gates_text(&self) -> String {
        let Some(next) = self.report.as_ref().and_then(|report| report.next.as_ref()) else { return String::new() };
        let rows: Vec<Vec<String>> = next
            .gates
            .iter()
            .map(|gate| {
                let word = if gate.open { "open" } else { "CLOSED" };
                let hint = gate.hint.map_or(String::new(), |hint| format!("; {hint}"));
                vec![gate.code.to_owned(), word.to_owned(), format!("{}{hint}", gate.message)]
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        format!("\nbefore {}\n{}", next.to, table::with_header(&["gate", "", "found"], &rows))
    }
}

impl Look {
    fn json(&self) -> Value {
        match self {
            Look::Away(why) => json!({ "away": why, "sidecars": null }),
            Look::There { sidecars } => json!({ "away": null, "sidecars": sidecars }),
        }
    }

    fn text(&self) -> String {
        match self {
            Look::Away(why) => format!("does not answer: {why}"),
            Look::There { sidecars } if sidecars.is_empty() => "nothing of ours in it".to_owned(),
            Look::There { sidecars } => {
                let names = amount::counted(sidecars.len() as u64, "name", "names");
                format!("{names} of ours in it, until complete or withdraw")
            }
        }
    }
}

fn backfill_json(backfill: &BackfillState) -> Value {
    match backfill {
        BackfillState::NotRun => json!({ "state": "not-run" }),
        BackfillState::Running { run, ranges } => json!({ "state": "running", "run": run, "ranges": ranges.len() }),
        BackfillState::Done { run, totals } => json!({ "state": "done", "run": run, "totals": totals }),
    }
}

fn backfill_text(backfill: &BackfillState) -> String {
    match backfill {
        BackfillState::NotRun => "not begun".to_owned(),
        BackfillState::Running { ranges, .. } => {
            format!("begun, in {}", amount::counted(ranges.len() as u64, "range", "ranges"))
        }
        BackfillState::Done { totals, .. } => format!("finished: {}", history::backfill(totals)),
    }
}

pub(super) fn members_text(members: &[Member], epoch: u64) -> String {
    if members.is_empty() {
        return "none serve".to_owned();
    }
    let names = members.iter().map(|member| match member.epoch == epoch {
        true => member.id.clone(),
        false => format!("{} (still at epoch {})", member.id, member.epoch),
    });
    names.collect::<Vec<_>>().join(", ")
}
