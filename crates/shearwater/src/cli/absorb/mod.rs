//! The commands on an `absorb`: one file for each group, behind one question at
//! the top: is the migration one of this kind?

use std::sync::Arc;

use serde_json::{Value, json};
use shearwater_core::absorb::Shapes;
use shearwater_core::absorb::identity::Pairs;
use shearwater_core::journal::{Command, Journal};
use shearwater_core::lifecycle::Lifecycle;
use shearwater_core::lifecycle::absorb::{Phase, State, Step};
use shearwater_core::shape::Layout;
use shearwater_core::spec::{self, AbsorbSpec, Colour};
use shearwater_core::store::{Side, Store};
use shearwater_engine::absorb::{
    Absorbing, Asked, Carrier, Claims, Crosswalk, Flagged, Joined, Lookups, Options, Referred, Setup, run as engine,
};
use shearwater_engine::coordinator::{Coordinator, CoordinatorOptions};
use shearwater_engine::member::MemberOptions;
use shearwater_engine::{Member, Serve};
use shearwater_stores::Create;

use super::exit::{Exit, Failure, Outcome};
use super::{Context, Verb};
use crate::render::amount;
use crate::wiring;

pub mod bulk;
pub mod deactivations;
pub mod lists;
pub mod plan;
pub mod start;
pub mod status;

/// The spec file of an `absorb`, read and checked.
pub struct AbsorbFile {
    /// Its text.
    pub text: String,
    /// What it says.
    pub spec: Arc<AbsorbSpec>,
    /// The compiled rules.
    pub shapes: Arc<Shapes>,
}

/// With its rules compiled.
pub fn compiled(name: &str, text: String, spec: AbsorbSpec, colour: Colour) -> Outcome<AbsorbFile> {
    let shapes = Shapes::compile(&spec).map_err(|error| {
        let problem = spec::Problem {
            code: error.code,
            message: error.message,
            span: spec::locate(&text, &["fields", error.path.split(['.', '[']).next().unwrap_or_default()]),
            hint: error.hint,
        };
        Failure::new(Exit::Problems, error.code, spec::render_problems_in(colour, name, &text, &[problem]))
    })?;
    Ok(AbsorbFile { text, spec: Arc::new(spec), shapes: Arc::new(shapes) })
}

/// An absorb that a command works on.
pub struct Opened {
    /// The migration's journal and stores.
    pub setup: Setup,
}

/// Does a command if it is about an `absorb`; `None`: it is not.
pub(super) async fn run(context: &Context, verb: &Verb) -> Outcome<Option<Exit>> {
    let command = match verb {
        Verb::Plan(args) => return plan::run(context, &args.spec).await,
        Verb::Start(args) => return start::run(context, &args.spec).await,
        Verb::Status(args) => return status::run(context, args).await,
        Verb::Bulk(args) => return bulk::run(context, args).await.map(Some),
        Verb::Deactivations(args) => return deactivations::run(context, args).await.map(Some),
        Verb::Advance(_) => Command::Advance,
        Verb::Rollback(_) => Command::Rollback,
        Verb::Complete(_) => Command::Complete,
        Verb::Withdraw(_) => Command::Withdraw,
        Verb::Pause(_) => Command::Pause,
        Verb::Resume(_) => Command::Resume,
        Verb::Verify(_) => Command::Verify,
        _ => return Ok(None),
    };
    match opened(context).await? {
        Some(opened) => step(context, &opened.setup, command).await.map(Some),
        None => Ok(None),
    }
}

/// The migration that a command is about, if it is an `absorb`.
pub async fn opened(context: &Context) -> Outcome<Option<Opened>> {
    let journals = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&journals, context.migration.as_deref()).await?;
    match wiring::spec_of(journal.as_ref(), context.console.colour).await? {
        wiring::AnySpec::Absorb(spec) => Ok(Some(Opened { setup: setup(journal, &spec).await? })),
        _ => Ok(None),
    }
}

/// A migration with its stores.
pub async fn setup(journal: Arc<dyn Journal>, spec: &AbsorbFile) -> Outcome<Setup> {
    let source = &spec.spec.base.source;
    let (url, flagged) = (source.url.clone(), spec.shapes.flagged().clone());
    let flagged = Flagged::by(move || {
        let (url, layout) = (url.clone(), flagged.clone());
        Box::pin(async move { shearwater_stores::open(&url, layout, Create::Never).await })
    });
    let target = open(spec, Side::Target, spec.shapes.shape(Side::Target)).await?;
    let plain = open(spec, Side::Source, spec.shapes.shape(Side::Source)).await?;
    let crosswalk = match spec.shapes.identity() {
        Some(identity) => {
            let pairs = open_as(spec, Side::Target, &identity.pairs.layout(), Create::IfMissing).await?;
            let claims = claims(spec, &identity.pairs).await?;
            let (source, target) = (plain.clone(), target.clone());
            Crosswalk::new(spec.shapes.clone(), Asked { pairs, claims, source, target })
        }
        None => None,
    };
    Ok(Setup {
        plain,
        target,
        crosswalk,
        lookups: Arc::new(lookups(spec).await?),
        flagged,
        spec: spec.spec.clone(),
        shapes: spec.shapes.clone(),
        journal,
    })
}

/// What is looked up for a migration's records, with the tables that are asked.
pub async fn lookups(spec: &AbsorbFile) -> Outcome<Lookups> {
    let (mut references, mut tables) = (Vec::new(), Vec::new());
    for reference in spec.shapes.references() {
        // The table may not be there yet: whoever needs it is told.
        let pairs = open_as(spec, Side::Target, &reference.pairs().layout(), Create::IfMissing).await?;
        let records = open(spec, Side::Target, &reference.layout()).await?;
        let claims = claims(spec, reference.pairs()).await?;
        references.push(Referred::new(reference.clone(), pairs, claims, records));
    }
    let joins = spec.shapes.joins();
    for join in &joins.tables {
        tables.push(open(spec, Side::Source, &joins.layout(join)).await?);
    }
    Ok(Lookups { references, joined: Joined::new(joins.clone(), tables) })
}

async fn claims(spec: &AbsorbFile, pairs: &Pairs) -> Outcome<Claims> {
    Ok(Claims::new(open_as(spec, Side::Target, &pairs.claims(), Create::IfMissing).await?))
}

/// Opens one store; both have been there before us.
pub async fn open(spec: &AbsorbFile, side: Side, layout: &Layout) -> Outcome<Arc<dyn Store>> {
    open_as(spec, side, layout, Create::Never).await
}

async fn open_as(spec: &AbsorbFile, side: Side, layout: &Layout, create: Create) -> Outcome<Arc<dyn Store>> {
    let (name, store) = match side {
        Side::Source => ("source", &spec.spec.base.source),
        Side::Target => ("target", &spec.spec.base.target),
    };
    shearwater_stores::open(&store.url, layout.clone(), create)
        .await
        .map_err(|error| Failure::from(error).within(&format!("{name} {}", store.shown_url)))
}

/// The state that a migration's entries add up to.
pub async fn state(journal: &dyn Journal) -> Outcome<State> {
    let entries = wiring::entries(journal).await?;
    State::replay(&entries)
        .map_err(|illegal| Failure::new(Exit::Store, "journal/damaged", format!("the journal is damaged: {illegal}")))
}

/// This process's part in serving an `absorb`.
pub async fn served(journal: Arc<dyn Journal>, spec: &AbsorbFile) -> Outcome<Arc<dyn Serve>> {
    let setup = setup(journal, spec).await?;
    let member = Member::<State>::join_journal(setup.journal.clone(), "serve", MemberOptions::default()).await?;
    let coordinator = engine::spawn(setup.clone(), member.clone(), CoordinatorOptions::default(), None);
    Ok(Absorbing::new(setup, member, Some(coordinator), Options::default()))
}

/// This process's part while a command works.
pub struct Hands {
    setup: Setup,
    /// The member, whose view a bulk update follows.
    pub member: Arc<Member<State>>,
    coordinator: Coordinator,
}

impl Hands {
    /// Joins the migration.
    pub async fn join(setup: &Setup) -> Outcome<Hands> {
        let member = Member::<State>::join_journal(setup.journal.clone(), "cli", MemberOptions::default()).await?;
        let coordinator = engine::spawn(setup.clone(), member.clone(), CoordinatorOptions::default(), None);
        Ok(Hands { setup: setup.clone(), member, coordinator })
    }

    /// Has a command done and waits for its end.
    pub async fn act(&self, command: Command) -> Outcome<Value> {
        tokio::select! {
            outcome = wiring::outcome_in(self.setup.journal.as_ref(), command) => outcome,
            failure = wiring::interrupted() => Err(failure),
        }
    }

    /// Leaves after the step at hand.
    pub async fn leave(self) {
        self.coordinator.stop().await;
        self.member.leave().await;
    }
}

/// Has one command done.
pub async fn act(setup: &Setup, command: Command) -> Outcome<Value> {
    let hands = Hands::join(setup).await?;
    let outcome = hands.act(command).await;
    hands.leave().await;
    outcome
}

/// Has a command done, and says where that led.
async fn step(context: &Context, setup: &Setup, command: Command) -> Outcome<Exit> {
    let before = state(setup.journal.as_ref()).await?;
    let takes_sidecars = matches!(
        (&command, before.phase),
        (Command::Rollback, Phase::Prepare) | (Command::Withdraw, Phase::Planned | Phase::Prepare)
    );
    if takes_sidecars && before.entering.is_none() && before.uses_sidecars() {
        warn_of_loss(context, setup).await?;
    }
    let report = act(setup, command.clone()).await?;
    let after = state(setup.journal.as_ref()).await?;
    let json = json!({
        "migration": setup.journal.migration(),
        "from": before.phase.name(),
        "phase": after.phase.name(),
        "epoch": after.epoch,
        "report": report,
    });
    let mut text = match command {
        Command::Pause => "background work rests; clients are served all the same\n".to_owned(),
        Command::Resume => "background work goes on\n".to_owned(),
        Command::Verify => verified(&report),
        _ if before.phase == after.phase => format!("{} (epoch {})\n", after.phase.name(), after.epoch),
        _ => format!("{} -> {} (epoch {})\n", before.phase.name(), after.phase.name(), after.epoch),
    };
    if before.phase != after.phase {
        text.push_str(&format!("{}\n", after.phase.info().what));
    }
    if after.phase == Phase::Prepare {
        text.push_str(&census_text(&after));
    }
    context.console.answer(&json, &text)?;
    let mismatches = report.get("mismatches").and_then(Value::as_u64).unwrap_or(0);
    Ok(if mismatches > 0 { Exit::Mismatches } else { Exit::Done })
}

/// The ways that are no way back for what stands beside records.
async fn warn_of_loss(context: &Context, setup: &Setup) -> Outcome<()> {
    let carrier = Carrier { setup: setup.clone(), without: None };
    let beside =
        carrier.beside().await.map_err(|fault| Failure::new(Exit::Store, "absorb/beside", fault.to_string()))?;
    if beside > 0 {
        let records = amount::counted(beside, "record has", "records have");
        context.console.note(&format!(
            "warning: {records} fields that only v2 has, kept beside them; with the sidecar these go for good. In \
             prepare nothing is lost: `advance` goes forward again"
        ));
    }
    Ok(())
}

fn verified(report: &Value) -> String {
    let number = |name: &str| amount::count(report.get(name).and_then(Value::as_u64).unwrap_or(0));
    format!(
        "{} compared: {} missing, {} extra, {} different, {} refused\n",
        number("compared"),
        number("missing"),
        number("extra"),
        number("different"),
        number("refused"),
    )
}

/// What the census found, in a few lines.
pub fn census_text(state: &State) -> String {
    let Some(census) = &state.census else { return String::new() };
    let collisions: Vec<String> =
        census.collisions.iter().map(|(field, count)| format!("{field} {}", amount::count(*count))).collect();
    let collisions = if collisions.is_empty() { "none".to_owned() } else { collisions.join(", ") };
    format!(
        "{} looked at; values that the target has already: {collisions}; refused by the rules: {}\n",
        amount::counted(census.records, "record", "records"),
        amount::count(census.refused),
    )
}

/// A step in a few words, for `history`.
pub fn step_text(step: &Step) -> String {
    match step {
        Step::Preparing => String::new(),
        Step::Prepared { census } => {
            let collisions: u64 = census.collisions.iter().map(|(_, count)| count).sum();
            format!(
                "{}, {}",
                amount::counted(census.records, "record", "records"),
                amount::counted(collisions, "collision", "collisions")
            )
        }
        Step::Entering { to, epoch } => format!("{}, epoch {epoch}", to.name()),
        Step::Entered { to } => to.name().to_owned(),
        Step::Closing { epoch } | Step::Undoing { epoch } => format!("epoch {epoch}"),
        Step::Aborted { reason, epoch } => format!("{reason}; epoch {epoch}"),
        Step::Deactivated { records } | Step::Reactivated { records } | Step::Returned { records } => {
            amount::counted(*records, "record", "records")
        }
    }
}
