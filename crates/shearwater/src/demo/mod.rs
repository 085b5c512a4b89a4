//! The demo: a whole migration under load, judged from what its clients saw.
//!
//! It makes a legacy store, starts the gateway in this process, lets clients,
//! list walkers and a direct writer work over real TCP and on real stores of
//! any kind, takes the migration there, back and there again, and then looks at
//! the evidence.

pub mod absorb;
pub mod check;
mod compare;
mod conduct;
pub(crate) mod dice;
mod direct;
mod estate;
pub mod history;
pub(crate) mod house;
pub(crate) mod http;
mod people;
pub(crate) mod plot;
mod progress;
mod register;
pub mod report;
mod sabotage;
mod stage;
mod traffic;
mod verdict;
mod walker;
mod walks;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::error::StoreError;
use shearwater_core::journal::JournalError;
use shearwater_core::store::Side;
use shearwater_stores::journal::JournalPlace;

use self::compare::Left;
use self::conduct::{Chronicle, Conductor};
use self::estate::Estate;
use self::house::{Crowd, House, Plan};
use self::plot::{Place, Places};
use self::progress::Screen;
use self::register::Register;
pub use self::report::DemoReport;
use self::stage::Stage;
use self::verdict::Evidence;

/// What `shearwater demo` was asked for. Its URLs may hold passwords.
#[derive(Clone)]
pub struct DemoOptions {
    /// The URL of a database for the legacy store; `None`: a SQLite file of the
    /// demo's own. It must not have tables of the demo's names, and is left
    /// without them unless `keep` is given.
    pub source: Option<String>,
    /// The same for the new store.
    pub target: Option<String>,
    /// The journal; `None`: a file of the demo's own.
    pub journal: Option<JournalPlace>,
    /// Records in the legacy store.
    pub records: u32,
    /// Clients of the gateway, half of them outdated (v1); list walkers and the
    /// direct writer come on top.
    pub clients: u32,
    /// The seed of data and choices; `None`: a new one, which the result names.
    pub seed: Option<u64>,
    /// What to print on standard output.
    pub output: Output,
    /// Where to leave spec, journal and those stores that are the demo's own;
    /// `None`: nothing is left anywhere. Must not exist or be empty.
    pub keep: Option<PathBuf>,
    /// How long clients work in each step.
    pub dwell: Duration,
    /// The gate on the predicted pause of a change of authority, ms.
    pub pause_ms_max: u64,
    /// How long one command, with the gates before it, may take before the demo
    /// is given up.
    pub patience: Duration,
    /// A protection to weaken, to see that the demo can fail. For tests.
    pub sabotage: Sabotage,
}

impl Default for DemoOptions {
    fn default() -> DemoOptions {
        DemoOptions {
            source: None,
            target: None,
            journal: None,
            records: 20_000,
            clients: 8,
            seed: None,
            output: Output::Table,
            keep: None,
            dwell: Duration::from_millis(1_500),
            pause_ms_max: 300,
            patience: Duration::from_secs(120),
            sabotage: Sabotage::None,
        }
    }
}

/// What the demo prints on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tables.
    Table,
    /// One JSON object, on the last line.
    Json,
    /// Nothing.
    Nothing,
}

/// A protection that the demo weakens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// None.
    None,
    /// In the reverse window the source claims some follower writes without
    /// doing them, so that the rollback loses them.
    ForgetfulSource,
}

/// The demo could not be played to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DemoError(pub String);

impl DemoError {
    /// The same with the place in front.
    fn within(self, place: &str) -> DemoError {
        DemoError(format!("{place}: {}", self.0))
    }
}

impl From<JournalError> for DemoError {
    fn from(error: JournalError) -> DemoError {
        DemoError(format!("journal: {error}"))
    }
}

impl From<StoreError> for DemoError {
    fn from(error: StoreError) -> DemoError {
        let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        DemoError(format!("store: {error}{hint}"))
    }
}

impl From<std::io::Error> for DemoError {
    fn from(error: std::io::Error) -> DemoError {
        DemoError(error.to_string())
    }
}

/// Plays the demo and prints its result. [`DemoReport::passed`] decides the
/// exit status.
pub async fn run(options: DemoOptions) -> Result<DemoReport, DemoError> {
    let report = play(&options).await?;
    let text = match options.output {
        Output::Table => report.text(),
        Output::Json => report.json().map(|json| json + "\n").map_err(|error| DemoError(error.to_string()))?,
        Output::Nothing => String::new(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report)
}

async fn play(options: &DemoOptions) -> Result<DemoReport, DemoError> {
    // Removed when the demo ends, unless it is to be kept.
    let (place, _directory) = house::place(options.keep.as_deref())?;
    let of = |given: &Option<String>, variable, file| match given {
        Some(url) => Place::given(url, variable),
        None => Place::file(&place.join(file)),
    };
    let source = of(&options.source, plot::SOURCE_VARIABLE, "legacy.db");
    let target = of(&options.target, plot::TARGET_VARIABLE, "users.db");
    let places = Places { source, target };
    let mut estate = Estate::open(&places).await?;
    let played = play_in(options, &place, &places, &mut estate).await;
    // What played wrongly matters more than what was left behind by it.
    match options.keep.is_some() {
        true => played,
        false => match (played, estate.leave_clean().await) {
            (Ok(_), Err(left)) => Err(left.within("what the demo made cannot be removed")),
            (played, _) => played,
        },
    }
}

async fn play_in(
    options: &DemoOptions,
    place: &std::path::Path,
    places: &Places,
    estate: &mut Estate,
) -> Result<DemoReport, DemoError> {
    let began = Instant::now();
    let seed = options.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000);
    estate.make_legacy(options.records, seed).await?;
    let spec = places.spec(&migration_name(options), options.pause_ms_max);
    let variables = |name: &str| places.variable(name);
    let (journal, sabotage) = (options.journal.as_ref(), options.sabotage);
    let house = House::open(Plan { place, spec: &spec, variables: &variables, journal, sabotage }).await?;
    estate.stores = Some((house.setup.source.clone(), house.setup.target.clone()));
    let stage = Stage::new(Register::new((0..options.records).map(people::key_text)), seed);
    let stage = Arc::new(stage.over(house.setup.source.clone(), &places.target.url));
    let screen = Screen::new(stage.clone());
    let conductor = Conductor {
        setup: house.setup.clone(),
        member: house.member.clone(),
        stage: stage.clone(),
        dwell: options.dwell,
        patience: options.patience,
    };
    let mut evidence = Evidence::new(options.records);

    // What stops the show half-way is an error among the findings, so that the
    // evidence until then is judged all the same.
    let legacy_url = &places.source.url;
    let mut scene = Scene { house: &house, conductor: &conductor, stage: &stage, screen: &screen, legacy_url, estate };
    if let Err(error) = scene.play(options.clients, &mut evidence).await {
        stage.error(format!("the demo stopped: {error}"));
    }
    screen.step("judging the history");
    let chronicle = Chronicle::read(&house.setup).await?;
    let (source, target) = (house.setup.source.kind().to_owned(), house.setup.target.kind().to_owned());
    house.close().await;
    screen.end();
    let mut report = verdict::judge(evidence, &chronicle, &stage);
    (report.source, report.target) = (source, target);
    report.seed = seed;
    report.duration_s = began.elapsed().as_secs_f64();
    Ok(report)
}

/// The migration's name: unique in a journal that is not the demo's own.
fn migration_name(options: &DemoOptions) -> String {
    match options.journal {
        None => "users-move".to_owned(),
        Some(_) => format!("demo-{}", uuid::Uuid::new_v4().simple()),
    }
}

/// Everything that takes part.
struct Scene<'a> {
    house: &'a House,
    conductor: &'a Conductor,
    stage: &'a Arc<Stage>,
    screen: &'a Screen,
    legacy_url: &'a str,
    estate: &'a mut Estate,
}

impl Scene<'_> {
    async fn play(&mut self, clients: u32, evidence: &mut Evidence) -> Result<(), DemoError> {
        // There, back, and there again, under load.
        let cron_job = estate::legacy_application(self.legacy_url).await?;
        let crowd = Crowd::open(self.house, self.stage, clients, cron_job);
        let played = self.conductor.play(self.screen).await;
        self.stage.stop();
        crowd.leave(evidence).await?;
        if let Err(stopped) = played {
            self.left_behind(evidence).await?;
            return Err(stopped);
        }

        // All is quiet: the source must have followed.
        self.screen.step("comparing the stores");
        self.conductor.drained().await?;
        let source = Left::in_source(self.stage, &self.estate.documents().await?)?;
        let target = self.target(evidence).await?;
        evidence.stores_differ += source.differences(&target);
        evidence.dead_letters = self.house.setup.journal.dead_letter_count().await?;

        // Complete, under load again.
        self.stage.resume();
        let crowd = Crowd::open_gateway_clients(self.house, self.stage, clients..clients * 2);
        let completed = self.conductor.complete(self.screen).await;
        self.stage.stop();
        crowd.leave(evidence).await?;
        completed?;
        self.target(evidence).await.map(drop)
    }

    /// What the authority holds when the show was stopped half-way.
    async fn left_behind(&mut self, evidence: &mut Evidence) -> Result<(), DemoError> {
        match self.conductor.member.view().state.authority() {
            Some(Side::Source) => {
                let left = Left::in_source(self.stage, &self.estate.documents().await?)?;
                evidence.history.ops.extend(left.acts(self.stage));
            }
            Some(Side::Target) => drop(self.target(evidence).await?),
            // In the middle of a change of authority: nobody may say.
            None => {}
        }
        Ok(())
    }

    /// What the target holds now, which goes into the evidence.
    async fn target(&self, evidence: &mut Evidence) -> Result<Left, DemoError> {
        let setup = &self.house.setup;
        let left = Left::in_target(self.stage, setup.target.as_ref(), &setup.mapping).await?;
        evidence.history.ops.extend(left.acts(self.stage));
        Ok(left)
    }
}
