//! The one place that opens journals and stores and starts the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shearwater_core::journal::{Command, Entry, Event, Journal, JournalError};
use shearwater_core::lifecycle::require::Phase as RequirePhase;
use shearwater_core::lifecycle::{Lifecycle, Phase, State};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec::{self, Colour, Spec};
use shearwater_core::store::Store;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::RecordsOptions;
use shearwater_engine::run::{self, Coordinator, CoordinatorOptions};
use shearwater_engine::serve::Served;
use shearwater_engine::{Member, Serve, Setup};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

use crate::cli::exit::{Exit, Failure, Outcome};

pub mod require;

/// Entries read at once.
const ENTRIES_READ_MAX: usize = 1_000;

/// A spec is written by people; a larger file is something else.
const SPEC_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How often the journal is asked whether a request has ended.
const OUTCOME_POLL: Duration = Duration::from_millis(20);

/// A spec file of any kind, read and checked.
pub enum AnySpec {
    /// Of a `move`.
    Move(SpecFile),
    /// Of a `require`.
    Require(RequireFile),
    /// Of an `absorb`.
    Absorb(crate::cli::absorb::AbsorbFile),
}

/// The spec file of a `require`, read and checked.
pub struct RequireFile {
    /// Its text.
    pub text: String,
    /// What it says.
    pub spec: Arc<spec::RequireSpec>,
}

impl AnySpec {
    /// The spec of a `move`, for a command that only a `move` has.
    pub fn into_move(self) -> Outcome<SpecFile> {
        match self {
            AnySpec::Move(spec) => Ok(spec),
            AnySpec::Require(_) => {
                let message = "this command is for migrations of kind `move`; this one is a `require`";
                Err(Failure::new(Exit::Usage, "kind/not-a-move", message))
            }
            AnySpec::Absorb(_) => {
                let message = "this is a migration of kind `absorb`; the command is for a `move`";
                Err(Failure::new(Exit::Failed, "kind/not-a-move", message)
                    .hint("`shearwater status` says what is next"))
            }
        }
    }
}

/// The spec file of a `move`, read and checked.
pub struct SpecFile {
    /// Its text.
    pub text: String,
    /// What it says.
    pub spec: Arc<Spec>,
    /// The compiled mapping.
    pub mapping: Arc<Mapping>,
}

/// Reads and checks a spec file; every problem at once.
pub fn read_spec(path: &Path, colour: Colour) -> Outcome<AnySpec> {
    let unreadable = |error: &std::io::Error| Failure::file("read the spec", path, error);
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > SPEC_BYTES_MAX {
        let message = format!("{} has {size} bytes; a spec has at most {SPEC_BYTES_MAX}", path.display());
        return Err(Failure::new(Exit::Problems, "spec/too-large", message).hint("is this a spec?"));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let message = format!("{} is not UTF-8 at byte {}", path.display(), error.utf8_error().valid_up_to());
        Failure::new(Exit::Problems, "spec/encoding", message).hint("save it as UTF-8")
    })?;
    check_spec(&path.display().to_string(), text, colour)
}

/// Checks a spec's text; `name` is what messages call it.
pub fn check_spec(name: &str, text: String, colour: Colour) -> Outcome<AnySpec> {
    let environment = |variable: &str| std::env::var(variable).ok();
    let spec = spec::parse(&text, &environment).map_err(|problems| {
        let mut failure =
            Failure::new(Exit::Problems, "spec/problems", spec::render_problems_in(colour, name, &text, &problems));
        failure.detail = Some(Box::new(problems.iter().map(|problem| problem_json(&text, problem)).collect()));
        failure
    })?;
    match spec {
        spec::Migration::Move(spec) => Ok(AnySpec::Move(compiled(name, text, spec, colour)?)),
        spec::Migration::Require(spec) => Ok(AnySpec::Require(RequireFile { text, spec: Arc::new(spec) })),
        spec::Migration::Absorb(spec) => Ok(AnySpec::Absorb(crate::cli::absorb::compiled(name, text, *spec, colour)?)),
    }
}

/// With its mapping.
fn compiled(name: &str, text: String, spec: Spec, colour: Colour) -> Outcome<SpecFile> {
    let mapping = Mapping::compile(&spec).map_err(|error| {
        let problem = spec::Problem {
            code: error.code,
            message: error.message,
            span: spec::locate(&text, &["fields", error.path.split(['.', '[']).next().unwrap_or_default()]),
            hint: error.hint,
        };
        Failure::new(Exit::Problems, error.code, spec::render_problems_in(colour, name, &text, &[problem]))
    })?;
    Ok(SpecFile { text, spec: Arc::new(spec), mapping: Arc::new(mapping) })
}

fn problem_json(text: &str, problem: &spec::Problem) -> serde_json::Value {
    let before = &text[..problem.span.0.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    serde_json::json!({
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "line": line,
        "column": column,
    })
}

/// Opens a journal that must be there.
pub async fn open_journal(place: &JournalPlace) -> Outcome<JournalStore> {
    JournalStore::open(place, Create::Never).await.map_err(|error| journal_failure(error, place))
}

/// Opens a journal if there is one.
pub async fn find_journal(place: &JournalPlace) -> Outcome<Option<JournalStore>> {
    match JournalStore::open(place, Create::Never).await {
        Ok(journals) => Ok(Some(journals)),
        Err(JournalError::Absent(_)) => Ok(None),
        Err(error) => Err(journal_failure(error, place)),
    }
}

/// Opens a journal, or makes it.
pub async fn make_journal(place: &JournalPlace) -> Outcome<JournalStore> {
    JournalStore::open(place, Create::IfMissing).await.map_err(|error| journal_failure(error, place))
}

fn journal_failure(error: JournalError, place: &JournalPlace) -> Failure {
    match error {
        // It names its place already.
        JournalError::Absent(_) => error.into(),
        _ => Failure::from(error).within(&place.to_string()),
    }
}

/// The journal of the migration that was named, or of the only one there is.
pub async fn migration(journals: &JournalStore, name: Option<&str>) -> Outcome<Arc<dyn Journal>> {
    let names = journals.names().await?;
    let name = match (name, names.as_slice()) {
        (Some(name), _) if names.iter().any(|known| known == name) => name,
        (Some(name), _) => {
            let message = format!("there is no migration {name:?} in this journal");
            let hint = match names.is_empty() {
                true => "the journal is empty; `shearwater start SPEC` writes a migration down".to_owned(),
                false => format!("there are: {}", names.join(", ")),
            };
            return Err(Failure::new(Exit::Failed, "journal/unknown", message).hint(hint));
        }
        (None, [only]) => only,
        (None, []) => {
            return Err(Failure::new(Exit::Failed, "journal/empty", "the journal has no migration")
                .hint("`shearwater start SPEC` writes one down"));
        }
        (None, _) => {
            let message = format!("the journal has {} migrations", names.len());
            return Err(Failure::new(Exit::Usage, "journal/which", message)
                .hint(format!("name one with --migration: {}", names.join(", "))));
        }
    };
    Ok(journals.migration(name).await?)
}

/// Every entry of a migration.
pub async fn entries(journal: &dyn Journal) -> Outcome<Vec<Entry>> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let after = all.last().map_or(0, |entry| entry.seq);
        let some = journal.read(after, ENTRIES_READ_MAX).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// The state that a migration's entries add up to.
pub async fn state(journal: &dyn Journal) -> Outcome<State> {
    let entries = entries(journal).await?;
    State::replay(&entries)
        .map_err(|illegal| Failure::new(Exit::Store, "journal/damaged", format!("the journal is damaged: {illegal}")))
}

/// The spec that a migration was started with.
pub async fn spec_of(journal: &dyn Journal, colour: Colour) -> Outcome<AnySpec> {
    let first = journal.read(0, 1).await?;
    match first.into_iter().next().map(|entry| entry.event) {
        Some(Event::Created { spec }) => check_spec(&format!("journal:{}", journal.migration()), spec, colour),
        _ => Err(Failure::new(Exit::Store, "journal/damaged", "the journal does not begin with a spec")),
    }
}

/// Whether a migration of any kind was given up.
pub async fn is_withdrawn(journal: &dyn Journal, colour: Colour) -> Outcome<bool> {
    Ok(match spec_of(journal, colour).await? {
        AnySpec::Move(_) => state(journal).await?.phase == Phase::Withdrawn,
        AnySpec::Require(_) => require::state(journal).await?.phase == RequirePhase::Withdrawn,
        AnySpec::Absorb(_) => {
            let phase = crate::cli::absorb::state(journal).await?.phase;
            phase == shearwater_core::lifecycle::absorb::Phase::Withdrawn
        }
    })
}

/// A migration with its stores.
pub async fn open_setup(journal: Arc<dyn Journal>, spec: &SpecFile) -> Outcome<Setup> {
    Ok(Setup {
        source: open_store(spec, Which::Source).await?,
        target: open_store(spec, Which::Target).await?,
        spec: spec.spec.clone(),
        mapping: spec.mapping.clone(),
        journal,
    })
}

/// Which store of a spec to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The source, which must be there.
    Source,
    /// The target, whose database is made when it is not there.
    Target,
}

/// Opens one store of a spec.
pub async fn open_store(spec: &SpecFile, which: Which) -> Outcome<Arc<dyn Store>> {
    let create = match which {
        Which::Source => Create::Never,
        Which::Target => Create::IfMissing,
    };
    open_as(spec, which, create).await
}

/// Opens one store of a spec, and makes nothing.
pub async fn open_existing(spec: &SpecFile, which: Which) -> Outcome<Arc<dyn Store>> {
    open_as(spec, which, Create::Never).await
}

async fn open_as(spec: &SpecFile, which: Which, create: Create) -> Outcome<Arc<dyn Store>> {
    let (side, store, layout) = match which {
        Which::Source => ("source", &spec.spec.source, spec.mapping.source()),
        Which::Target => ("target", &spec.spec.target, spec.mapping.target()),
    };
    shearwater_stores::open(&store.url, layout.clone(), create)
        .await
        .map_err(|error| Failure::from(error).within(&format!("{side} {}", store.shown_url)))
}

/// What a command on a migration works with.
pub struct Opened {
    /// The migration's journal and stores.
    pub setup: Setup,
    /// The spec as the journal has it.
    pub spec: SpecFile,
}

/// Opens the migration that a command is about.
pub async fn open(journal: &JournalPlace, name: Option<&str>, colour: Colour) -> Outcome<Opened> {
    let journals = open_journal(journal).await?;
    let journal = migration(&journals, name).await?;
    let spec = spec_of(journal.as_ref(), colour).await?.into_move()?;
    let setup = open_setup(journal, &spec).await?;
    Ok(Opened { setup, spec })
}

/// This process's part in a migration while a command works on it. Its
/// coordinator takes over when no other one lives, and only waits when one does.
pub struct Hands {
    setup: Setup,
    member: Arc<Member>,
    coordinator: Coordinator,
}

impl Hands {
    /// Joins the migration.
    pub async fn join(setup: &Setup) -> Outcome<Hands> {
        let member = Member::join(setup, "cli", MemberOptions::default()).await?;
        let coordinator = run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
        Ok(Hands { setup: setup.clone(), member, coordinator })
    }

    /// Has a command done and waits for its end. Ctrl-C ends the waiting at a
    /// point from which the same command goes on.
    pub async fn act(&self, command: Command) -> Outcome<serde_json::Value> {
        tokio::select! {
            outcome = outcome(&self.setup, command) => outcome,
            failure = interrupted() => Err(failure),
        }
    }

    /// Leaves after the step at hand.
    pub async fn leave(self) {
        self.coordinator.stop().await;
        self.member.leave().await;
    }
}

/// Has one command done.
pub async fn act(setup: &Setup, command: Command) -> Outcome<serde_json::Value> {
    let hands = Hands::join(setup).await?;
    let outcome = hands.act(command).await;
    hands.leave().await;
    outcome
}

/// This process's part in serving a migration.
pub async fn served(journal: Arc<dyn Journal>, colour: Colour) -> Outcome<Arc<dyn Serve>> {
    match spec_of(journal.as_ref(), colour).await? {
        AnySpec::Move(spec) => {
            let setup = open_setup(journal, &spec).await?;
            let member = Member::join(&setup, "serve", MemberOptions::default()).await?;
            let coordinator = run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
            Ok(Served::new(setup, member, Some(coordinator), RecordsOptions::default()))
        }
        AnySpec::Absorb(spec) => crate::cli::absorb::served(journal, &spec).await,
        AnySpec::Require(file) => require::served(journal, &file, colour).await,
    }
}

/// Waits for Ctrl-C.
pub async fn interrupted() -> Failure {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Failure::new(Exit::Interrupted, "interrupted", "stopped; nothing is lost")
            .hint("run the same command again to go on"),
        Err(error) => Failure::new(Exit::Failed, "signal", format!("cannot listen for Ctrl-C: {error}")),
    }
}

/// Asks, or waits for the same request of an earlier run that was interrupted.
async fn outcome(setup: &Setup, command: Command) -> Outcome<serde_json::Value> {
    outcome_in(setup.journal.as_ref(), command).await
}

/// The same for a migration of any kind.
pub async fn outcome_in(journal: &dyn Journal, command: Command) -> Outcome<serde_json::Value> {
    let open = journal.open_requests().await?;
    let id = match open.iter().find(|request| request.command == command) {
        Some(request) => request.id,
        None => journal.ask(command).await?,
    };
    loop {
        if let Some(outcome) = journal.request(id).await?.and_then(|request| request.outcome) {
            return outcome.map_err(Failure::from);
        }
        tokio::time::sleep(OUTCOME_POLL).await;
    }
}

/// A name in the temporary directory that no other process uses.
pub fn scratch_path(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("shearwater-{what}-{}", uuid::Uuid::new_v4().simple()))
}
