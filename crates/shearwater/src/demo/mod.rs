//! The demo: a whole migration under load, judged from what its clients saw.
//!
//! It makes a legacy store, starts the gateway in this process, lets clients,
//! list walkers and a direct writer work over real TCP and real files, takes
//! the migration there, back and there again, and then looks at the evidence.

pub mod check;
mod compare;
mod conduct;
pub(crate) mod dice;
mod direct;
pub mod history;
pub(crate) mod house;
pub(crate) mod http;
mod people;
mod plot;
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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::error::StoreError;
use shearwater_core::journal::JournalError;

use self::compare::Left;
use self::conduct::{Chronicle, Conductor};
use self::house::{Crowd, House};
use self::progress::Screen;
use self::register::Register;
pub use self::report::DemoReport;
use self::stage::Stage;
use self::verdict::Evidence;

/// What `shearwater demo` was asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Records in the legacy store.
    pub records: u32,
    /// Clients of the gateway, half of them outdated (v1); list walkers and the
    /// direct writer come on top.
    pub clients: u32,
    /// The seed of data and choices; `None`: a new one, which the result names.
    pub seed: Option<u64>,
    /// What to print on standard output.
    pub output: Output,
    /// Where to leave stores, spec and journal; `None`: nowhere. Must not exist
    /// or be empty.
    pub keep: Option<PathBuf>,
    /// How long clients work in each step.
    pub dwell: Duration,
    /// The gate on the predicted pause of a change of authority, ms.
    pub pause_ms_max: u64,
    /// A protection to weaken, to see that the demo can fail. For tests.
    pub sabotage: Sabotage,
}

impl Default for DemoOptions {
    fn default() -> DemoOptions {
        DemoOptions {
            records: 20_000,
            clients: 8,
            seed: None,
            output: Output::Table,
            keep: None,
            dwell: Duration::from_millis(1_500),
            pause_ms_max: 300,
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

impl From<JournalError> for DemoError {
    fn from(error: JournalError) -> DemoError {
        DemoError(format!("journal: {error}"))
    }
}

impl From<StoreError> for DemoError {
    fn from(error: StoreError) -> DemoError {
        DemoError(format!("store: {error}"))
    }
}

impl From<rusqlite::Error> for DemoError {
    fn from(error: rusqlite::Error) -> DemoError {
        DemoError(format!("legacy store: {error}"))
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
    let began = Instant::now();
    let seed = options.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000);
    // Removed when the demo ends, unless it is to be kept.
    let (place, _directory) = house::place(options.keep.as_deref())?;
    let legacy = place.join("legacy.db");
    let (file, records) = (legacy.clone(), options.records);
    house::blocking(move || plot::make_legacy(&file, records, seed)).await??;
    let house = House::open(&place, &plot::spec_in(&place, options.pause_ms_max), options.sabotage).await?;
    let stage = Arc::new(Stage::new(Register::new((0..options.records).map(people::key_text)), seed));
    let screen = Screen::new(stage.clone());
    let conductor = Conductor {
        setup: house.setup.clone(),
        member: house.member.clone(),
        stage: stage.clone(),
        dwell: options.dwell,
    };
    let mut evidence = Evidence::new(options.records);

    // What stops the show half-way is an error among the findings, so that the
    // evidence until then is judged all the same.
    let scene = Scene { house: &house, conductor: &conductor, stage: &stage, screen: &screen, legacy: &legacy };
    if let Err(error) = scene.play(options.clients, &mut evidence).await {
        stage.error(format!("the demo stopped: {error}"));
    }
    screen.step("judging the history");
    let chronicle = Chronicle::read(&house.setup).await?;
    house.close().await;
    screen.end();
    let mut report = verdict::judge(evidence, &chronicle, &stage);
    report.seed = seed;
    report.duration_s = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Everything that takes part.
struct Scene<'a> {
    house: &'a House,
    conductor: &'a Conductor,
    stage: &'a Arc<Stage>,
    screen: &'a Screen,
    legacy: &'a Path,
}

impl Scene<'_> {
    async fn play(&self, clients: u32, evidence: &mut Evidence) -> Result<(), DemoError> {
        // There, back, and there again, under load.
        let crowd = Crowd::open(self.house, self.stage, clients, self.legacy.to_owned());
        let played = self.conductor.play(self.screen).await;
        self.stage.stop();
        crowd.leave(evidence).await?;
        played?;

        // All is quiet: the source must have followed.
        self.screen.step("comparing the stores");
        self.conductor.drained().await?;
        let source = Left::in_source(self.stage, self.legacy)?;
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

    /// What the target holds now, which goes into the evidence.
    async fn target(&self, evidence: &mut Evidence) -> Result<Left, DemoError> {
        let setup = &self.house.setup;
        let left = Left::in_target(self.stage, setup.target.as_ref(), &setup.mapping).await?;
        evidence.history.ops.extend(left.acts(self.stage));
        Ok(left)
    }
}
