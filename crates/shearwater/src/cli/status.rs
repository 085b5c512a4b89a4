//! `status`: where the migration stands, what is next, what a rollback costs now.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::journal::{Journal, Member};
use shearwater_core::lifecycle::{BackfillState, Phase, State, Status as Beside};
use shearwater_core::store::{Side, Store};

use super::exit::{Exit, Outcome};
use super::gates::{Facts, Gate, gates};
use super::{Context, history};
use crate::render::progress::{NOTE, Shown};
use crate::render::{Format, amount, table};
use crate::wiring::{self, SpecFile, Which};

/// How often `--watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `status`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater status\n  shearwater status --watch\n  shearwater status --json | jq -r .phase"
)]
pub struct Status {
    /// Look again every second, until Ctrl-C or the end of the migration
    #[arg(long)]
    watch: bool,
}

/// Everything that status tells.
struct Standing {
    migration: String,
    state: State,
    spec: SpecFile,
    members: Vec<Member>,
    dead_letters: u64,
    progress: Option<Shown>,
    source: Look,
    target: Look,
}

/// What one store answers.
#[derive(Default)]
struct Look {
    unreachable: Option<String>,
    backlog: Option<u64>,
    sidecars: Vec<String>,
}

/// Shows where the migration stands.
pub async fn run(context: &Context, args: Status) -> Outcome<Exit> {
    let file = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&file, context.migration.as_deref()).await?;
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

/// Stores stay open while status watches.
#[derive(Default)]
struct Stores {
    source: Option<Arc<dyn Store>>,
    target: Option<Arc<dyn Store>>,
}

async fn look(context: &Context, journal: &Arc<dyn Journal>, stores: &mut Stores) -> Outcome<Standing> {
    let state = wiring::state(journal.as_ref()).await?;
    let spec = wiring::spec_of(journal.as_ref(), context.console.colour).await?;
    let source = look_at(&spec, Which::Source, &mut stores.source).await;
    let target = look_at(&spec, Which::Target, &mut stores.target).await;
    Ok(Standing {
        migration: journal.migration().to_owned(),
        members: journal.members().await?,
        dead_letters: journal.dead_letter_count().await?,
        progress: journal.note(NOTE).await?.as_deref().and_then(Shown::read),
        state,
        spec,
        source,
        target,
    })
}

/// Looks at a store; one that does not answer is told, and the rest is shown.
async fn look_at(spec: &SpecFile, which: Which, open: &mut Option<Arc<dyn Store>>) -> Look {
    let unreachable = |why: String| Look { unreachable: Some(why), ..Look::default() };
    let store = match open {
        Some(store) => store.clone(),
        None => match wiring::open_store(spec, which).await {
            Ok(store) => open.insert(store).clone(),
            Err(failure) => return unreachable(failure.message),
        },
    };
    let sidecars = match store.sidecar_names().await {
        Ok(names) => names,
        Err(error) => return unreachable(error.message),
    };
    // Without a sidecar there are no marks to count.
    let backlog = match sidecars.is_empty() {
        true => None,
        false => store.dirty_count().await.ok(),
    };
    Look { unreachable: None, backlog, sidecars }
}

impl Standing {
    fn side(&self, side: Side) -> &Look {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Keys that the authority has and the follower has not confirmed.
    fn backlog(&self) -> Option<u64> {
        self.side(self.state.authority()?).backlog
    }

    fn gates(&self) -> Vec<Gate> {
        let facts = Facts { backlog: self.backlog(), dead_letters: self.dead_letters };
        gates(&self.state, &self.spec.spec.gates, facts)
    }

    fn next(&self) -> String {
        match self.state.phase {
            Phase::Planned if self.state.rolled_back => "shearwater start SPEC, or shearwater withdraw".to_owned(),
            Phase::Planned => "shearwater start SPEC".to_owned(),
            Phase::DualWrite => "shearwater advance (to shadow-read)".to_owned(),
            Phase::ShadowRead => "shearwater advance (to read-ramp)".to_owned(),
            Phase::ReadRamp if self.state.ramp_percent < 100 => {
                format!("shearwater ramp N% (now {} %), then shearwater advance (the cutover)", self.state.ramp_percent)
            }
            Phase::ReadRamp => "shearwater advance (the cutover)".to_owned(),
            Phase::Cutover | Phase::Rollback => {
                "nothing: it is under way; `shearwater resume` or `serve` goes on if its process died".to_owned()
            }
            Phase::ReverseWindow => "shearwater complete, the last exit; or shearwater rollback".to_owned(),
            Phase::Complete | Phase::Withdrawn => "nothing".to_owned(),
        }
    }

    /// What going back to the source would cost now.
    fn rollback(&self) -> String {
        match self.state.phase {
            Phase::Planned => "nothing to take back: the source serves".to_owned(),
            Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp => {
                "nothing is lost or held: the source decides, the target stops following".to_owned()
            }
            Phase::Cutover => "not while the authority moves".to_owned(),
            Phase::Rollback => "it is under way".to_owned(),
            Phase::ReverseWindow => match self.target.backlog {
                Some(keys) => format!(
                    "nothing is lost; {} to follow first, then writes are held for at most {} ms",
                    amount::counted(keys, "key", "keys"),
                    self.spec.spec.gates.pause_ms_max
                ),
                None => "nothing is lost, but how many keys are to follow first is not known".to_owned(),
            },
            Phase::Complete => "not possible any more".to_owned(),
            Phase::Withdrawn => "nothing to take back".to_owned(),
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
        let info = self.state.phase.info();
        let look = |look: &Look| json!({ "unreachable": look.unreachable, "backlog": look.backlog, "sidecars": look.sidecars });
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
            "ways": info.ways.iter().filter(|way| way.command != "-")
                .map(|way| json!({ "command": way.command, "to": way.to.name() })).collect::<Vec<_>>(),
            "gates": self.gates().iter()
                .map(|gate| json!({ "name": gate.name, "open": gate.open, "found": gate.found })).collect::<Vec<_>>(),
            "backlog": self.backlog(),
            "dead_letters": self.dead_letters,
            "members": self.members.iter().map(|member| json!({ "id": member.id, "epoch": member.epoch })).collect::<Vec<_>>(),
            "backfill": backfill_json(&self.state.backfill),
            "progress": self.progress.as_ref().filter(|shown| !shown.ended).map(|shown| json!({
                "activity": shown.activity, "done": shown.done, "total": shown.total,
                "records_per_s": shown.records_per_s, "eta_s": shown.eta_s,
            })),
            "verified": self.state.verified.map(|(_, totals)| json!({
                "compared": totals.compared, "missing": totals.missing, "extra": totals.extra,
                "different": totals.different, "refused": totals.refused,
            })),
            "rollback": self.rollback(),
            "source": look(&self.source),
            "target": look(&self.target),
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
        if let Some(backlog) = self.backlog() {
            rows.push(("backlog", amount::counted(backlog, "key to follow", "keys to follow")));
        }
        rows.push(("dead letters", amount::count(self.dead_letters)));
        rows.push(("backfill", backfill_text(&state.backfill)));
        if let Some(shown) = self.progress.as_ref().filter(|shown| !shown.ended) {
            rows.push(("progress", shown.line()));
        }
        if let Some((_, totals)) = &state.verified {
            rows.push(("verified", history::verified(totals)));
        }
        rows.push(("members", members_text(&self.members, state.epoch)));
        for (name, look) in [("source", &self.source), ("target", &self.target)] {
            rows.push((name, look_text(look)));
        }
        rows.push(("rollback", self.rollback()));
        rows.push(("next", self.next()));
        let mut text = table::pairs(&rows);
        let gates: Vec<Vec<String>> = self
            .gates()
            .into_iter()
            .map(|gate| vec![gate.name.to_owned(), if gate.open { "open" } else { "CLOSED" }.to_owned(), gate.found])
            .collect();
        if !gates.is_empty() {
            text.push('\n');
            text.push_str(&table::with_header(&["gate", "", "found"], &gates));
        }
        text
    }
}

fn backfill_json(backfill: &BackfillState) -> Value {
    match backfill {
        BackfillState::NotRun => json!({ "state": "not-run" }),
        BackfillState::Running { run, ranges } => json!({ "state": "running", "run": run, "ranges": ranges.len() }),
        BackfillState::Done { run, totals } => json!({
            "state": "done", "run": run, "read": totals.read, "changed": totals.changed, "dead": totals.dead,
            "bytes": totals.bytes, "elapsed_ms": totals.elapsed_ms,
        }),
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

fn members_text(members: &[Member], epoch: u64) -> String {
    match members {
        [] => "none serve".to_owned(),
        members => members
            .iter()
            .map(|member| match member.epoch == epoch {
                true => member.id.clone(),
                false => format!("{} (still at epoch {})", member.id, member.epoch),
            })
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn look_text(look: &Look) -> String {
    match (&look.unreachable, look.sidecars.len() as u64) {
        (Some(why), _) => format!("does not answer: {why}"),
        (None, 0) => "nothing of ours in it".to_owned(),
        (None, names) => {
            format!("{} of ours in it, until complete or withdraw", amount::counted(names, "name", "names"))
        }
    }
}
