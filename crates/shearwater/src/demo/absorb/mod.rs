//! `demo --kind absorb`: Bob's users become Alice's people under load, with a
//! rollback in the middle; judged from what clients, her own program and list
//! walkers saw.

mod crowd;
mod stores;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use shearwater_core::Document;
use shearwater_core::absorb::Shapes;
use shearwater_core::journal::{Command, Event};
use shearwater_core::lifecycle::absorb::{State, Step};
use shearwater_core::query::Filter;
use shearwater_core::spec::{self, Migration};
use shearwater_core::store::Side;
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::{Absorbing, Bulk, Flagged, Line, Options, Setup, run as engine};
use shearwater_engine::coordinator::CoordinatorOptions;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::Shape;
use shearwater_engine::run::ask_in;
use shearwater_engine::{Member, Serve};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};

use super::check::{Finding, Verdict, check};
use super::history::{Act, History, KeyId, Op, Seen};
use super::plot::{self, Place, Places};
use super::{DemoError, DemoOptions, Output, house};
use crate::gateway::{ServeOptions, serve};
use crate::render::{amount, table};

/// Entries that a demo's journal has at most: a few for each step.
const ENTRIES_MAX: usize = 10_000;

/// Who the journal says did it.
const ACTOR: &str = "demo";

/// What everybody shares.
pub struct Floor {
    began: Instant,
    stop: AtomicBool,
    versions: AtomicU32,
    requests: AtomicU64,
    direct_writes: AtomicU64,
    errors: std::sync::Mutex<Vec<String>>,
    seed: u64,
    records: u32,
}

impl Floor {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A number that no other write uses.
    fn version(&self) -> u32 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    fn error(&self, what: String) {
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        errors.push(what);
    }
}

/// What the demo found.
#[derive(Clone, Debug)]
pub struct AbsorbReport {
    /// The kind of Bob's store.
    pub source: String,
    /// The kind of Alice's store.
    pub target: String,
    /// Bob's users at the beginning.
    pub records: u32,
    /// The seed of data and choices.
    pub seed: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Writes of Alice's own program to records that came from Bob.
    pub direct_writes: u64,
    /// Lists walked to their end.
    pub walks: u64,
    /// Records that went back in the rollback.
    pub returned: u64,
    /// Records deactivated because nobody had seen them for long.
    pub deactivated: u64,
    /// Records moved by the bulk update.
    pub moved_in_bulk: u64,
    /// The history's verdict.
    pub verdict: Verdict,
    /// Outcomes that nobody expected.
    pub errors: Vec<String>,
    /// Seconds.
    pub duration_s: f64,
}

impl AbsorbReport {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.verdict.total() == 0 && self.verdict.unchecked_keys == 0 && self.errors.is_empty()
    }

    /// The first things that are wrong: what, with whom, when.
    fn findings(&self) -> Vec<String> {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let told = |finding: &Finding| {
            let (begun, ended) = (seconds(finding.begun_ns), seconds(finding.ended_ns));
            format!("{:?} of user {} between {begun:.3} and {ended:.3} s", finding.fault, finding.key.0)
        };
        self.verdict.findings.iter().map(told).collect()
    }

    /// As JSON.
    pub fn json(&self) -> serde_json::Value {
        let verdict = &self.verdict;
        json!({
            "kind": "absorb", "source": self.source, "target": self.target, "passed": self.passed(), "records": self.records, "seed": self.seed,
            "requests": self.requests, "direct_writes": self.direct_writes, "walks": self.walks,
            "returned": self.returned, "deactivated": self.deactivated, "moved_in_bulk": self.moved_in_bulk,
            "lost": verdict.lost, "resurrected": verdict.resurrected, "backwards_reads": verdict.backwards_reads,
            "phantoms": verdict.phantoms, "list_repeats": verdict.list_repeats, "list_gaps": verdict.list_gaps,
            "unchecked_keys": verdict.unchecked_keys, "findings": self.findings(), "errors": self.errors, "duration_s": self.duration_s,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let verdict = &self.verdict;
        let count = |n: u64| amount::count(n);
        let mut rows = vec![
            ("from, into", format!("{}, {}", self.source, self.target)),
            ("Bob's users", count(u64::from(self.records))),
            ("requests", count(self.requests)),
            ("Alice's own writes of them", count(self.direct_writes)),
            ("lists walked, in five orders", count(self.walks)),
            ("went back in the rollback", count(self.returned)),
            ("deactivated as inactive", count(self.deactivated)),
            ("moved by the bulk update", count(self.moved_in_bulk)),
            ("lost writes", count(verdict.lost)),
            ("deleted records that came back", count(verdict.resurrected)),
            ("reads that went backwards", count(verdict.backwards_reads + verdict.phantoms)),
            ("list repeats and gaps", count(verdict.list_repeats + verdict.list_gaps)),
            ("seed", self.seed.to_string()),
            ("seconds", format!("{:.1}", self.duration_s)),
        ];
        if let Some(finding) = self.findings().first() {
            rows.push(("for example", finding.clone()));
        }
        if let Some(error) = self.errors.first() {
            rows.push(("errors", format!("{}, for example: {error}", self.errors.len())));
        }
        rows.push(("verdict", if self.passed() { "nothing is wrong" } else { "SOMETHING IS WRONG" }.to_owned()));
        table::pairs(&rows)
    }
}

/// Plays the demo and prints its result.
pub async fn run(options: DemoOptions) -> Result<AbsorbReport, DemoError> {
    let (place, _directory) = house::place(options.keep.as_deref())?;
    let seed = options.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000);
    let floor = Arc::new(Floor {
        began: Instant::now(),
        stop: AtomicBool::new(false),
        versions: AtomicU32::new(1),
        requests: AtomicU64::new(0),
        direct_writes: AtomicU64::new(0),
        errors: std::sync::Mutex::default(),
        seed,
        records: options.records,
    });
    let of = |given: &Option<String>, variable, file| match given {
        Some(url) => Place::given(url, variable),
        None => Place::file(&place.join(file)).with("?sync=normal"),
    };
    let source = of(&options.source, plot::SOURCE_VARIABLE, "bob.db");
    let target = of(&options.target, plot::TARGET_VARIABLE, "alice.db");
    let places = Places { source, target };
    let mut estate = stores::Estate::open(&places).await?;
    let mut opened = None;
    let played = play(&options, Stand { place: &place, places: &places }, &mut estate, &floor, &mut opened).await;
    // Whoever is still at work after a failure leaves.
    floor.stop.store(true, Ordering::Relaxed);
    // What played wrongly matters more than what was left behind by it.
    let report = match options.keep.is_some() {
        true => played?,
        false => match (played, estate.leave_clean(opened).await) {
            (Ok(_), Err(left)) => return Err(left.within("what the demo made cannot be removed")),
            (played, _) => played?,
        },
    };
    let text = match options.output {
        Output::Table => report.text(),
        Output::Json => report.json().to_string() + "\n",
        Output::Nothing => String::new(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report)
}

/// Where the demo is played.
#[derive(Clone, Copy)]
struct Stand<'a> {
    place: &'a Path,
    places: &'a Places,
}

async fn setup(options: &DemoOptions, stand: Stand<'_>, estate: &mut stores::Estate) -> Result<Setup, DemoError> {
    let (migration, journal) = match &options.journal {
        None => ("users-absorb".to_owned(), JournalPlace::File(stand.place.join("shearwater.journal"))),
        Some(journal) => (format!("demo-{}", uuid::Uuid::new_v4().simple()), journal.clone()),
    };
    let text = stores::spec(stand.places, &migration);
    std::fs::write(stand.place.join("users-absorb.toml"), &text)?;
    let spec = match spec::parse(&text, &|name| stand.places.variable(name)) {
        Ok(Migration::Absorb(spec)) => *spec,
        Ok(_) => return Err(DemoError("the demo's spec is of another kind".into())),
        Err(problems) => return Err(DemoError(spec::render_problems("users-absorb.toml", &text, &problems))),
    };
    let shapes = Arc::new(Shapes::compile(&spec).map_err(|error| DemoError(format!("the rules: {error}")))?);
    let layouts = [shapes.shape(Side::Source), shapes.shape(Side::Target)];
    estate.make(stand.places, layouts, options.records).await?;
    let journals = JournalStore::open(&journal, Create::IfMissing).await?;
    let journal = journals.create(&spec.base.migration, &text, ACTOR).await?;
    let (url, layout) = (spec.base.source.url.clone(), shapes.flagged().clone());
    let flagged = Flagged::by(move || {
        let (url, layout) = (url.clone(), layout.clone());
        Box::pin(async move { shearwater_stores::open(&url, layout, Create::Never).await })
    });
    let open = async |url: &str, side| shearwater_stores::open(url, shapes.shape(side).clone(), Create::Never).await;
    Ok(Setup {
        plain: open(&spec.base.source.url, Side::Source).await?,
        target: open(&spec.base.target.url, Side::Target).await?,
        flagged,
        spec: Arc::new(spec),
        shapes: shapes.clone(),
        journal,
        crosswalk: None,
        lookups: Arc::default(),
    })
}

async fn play(
    options: &DemoOptions,
    stand: Stand<'_>,
    estate: &mut stores::Estate,
    floor: &Arc<Floor>,
    opened: &mut Option<Setup>,
) -> Result<AbsorbReport, DemoError> {
    let setup = setup(options, stand, estate).await?;
    *opened = Some(setup.clone());
    let member = Member::<State>::join_journal(setup.journal.clone(), ACTOR, MemberOptions::default()).await?;
    let coordinator = engine::spawn(setup.clone(), member.clone(), CoordinatorOptions::default(), None);
    let served = Absorbing::new(setup.clone(), member.clone(), Some(coordinator), Options::default());
    let serve_options = ServeOptions { unready_time: Duration::ZERO, ..ServeOptions::default() };
    let migrations: Vec<Arc<dyn Serve>> = vec![served.clone()];
    let gateway = serve(serve_options, migrations).await.map_err(|error| DemoError(error.to_string()))?;
    let act = async |command: Command| -> Result<serde_json::Value, DemoError> {
        let shown = format!("{command:?}");
        let outcome = ask_in(setup.journal.as_ref(), command, options.patience).await?;
        outcome.map_err(|refusal| DemoError(format!("{shown}: {refusal}")))
    };
    let dwell = async || tokio::time::sleep(options.dwell).await;

    act(Command::Advance).await?;
    let crowd = crowd::Crowd::open(floor, gateway.addr, stand.places, options.clients).await?;
    dwell().await;
    act(Command::Advance).await?;
    dwell().await;
    // Back under load, with all that was written there.
    let moved_before = served.carrier().counts().await.map_err(|fault| DemoError(fault.to_string()))?.moved;
    act(Command::Rollback).await?;
    dwell().await;
    act(Command::Advance).await?;
    dwell().await;
    act(Command::Advance).await?;
    deactivated_all(&served, options.patience).await?;
    let moved_in_bulk = drain(&served, &member).await?;
    let verified = act(Command::Verify).await?;
    act(Command::Complete).await?;
    dwell().await;
    floor.stop.store(true, Ordering::Relaxed);
    let mut history = crowd.leave().await?;
    if verified["mismatches"].as_u64() != Some(0) {
        floor.error(format!("the verification found something: {verified}"));
    }
    gateway.stop().await;
    left(&setup, floor, &mut history).await?;
    let walks = history.walks.len() as u64;
    let deactivated = deactivated(&setup).await?;
    let errors = floor.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok(AbsorbReport {
        source: setup.plain.kind().to_owned(),
        target: setup.target.kind().to_owned(),
        records: options.records,
        seed: floor.seed,
        requests: floor.requests.load(Ordering::Relaxed),
        direct_writes: floor.direct_writes.load(Ordering::Relaxed),
        walks,
        returned: moved_before,
        deactivated,
        moved_in_bulk,
        verdict: check(&history),
        errors,
        duration_s: floor.began.elapsed().as_secs_f64(),
    })
}

/// Waits until nobody is left who has been inactive for long.
async fn deactivated_all(served: &Arc<Absorbing>, patience: Duration) -> Result<(), DemoError> {
    const POLL: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        let preview = served.carrier().preview().await.map_err(|fault| DemoError(fault.to_string()))?;
        if preview.next.is_empty() {
            return Ok(());
        }
        if began.elapsed() > patience {
            return Err(DemoError("inactive users are not deactivated".into()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How many were deactivated, as the journal has it.
async fn deactivated(setup: &Setup) -> Result<u64, DemoError> {
    let entries = setup.journal.read(0, ENTRIES_MAX).await?;
    let records = |event: &Event| match event {
        Event::Absorb { step: Step::Deactivated { records } } => *records,
        _ => 0,
    };
    Ok(entries.iter().map(|entry| records(&entry.event)).sum())
}

/// Moves whoever is left, by a rule, while clients go on.
async fn drain(served: &Arc<Absorbing>, member: &Arc<Member<State>>) -> Result<u64, DemoError> {
    let told = |fault: shearwater_engine::absorb::Fault| DemoError(fault.to_string());
    let carrier = served.carrier();
    let bulk = Bulk { carrier, mode: Mode::Apply, only: Filter::All };
    let fields: Document = [("manager", shearwater_core::Value::text("bulk"))].into_iter().collect();
    let mut moved = 0;
    while carrier.counts().await.map_err(told)?.remaining > 0 {
        let mut after = None;
        loop {
            let keys = bulk.next_unmoved(after).await.map_err(told)?;
            let Some(last) = keys.last().cloned() else { break };
            after = Some(last);
            for key in keys {
                let line = Line { key, shape: Shape::V1, fields: fields.clone() };
                match bulk.line(&member.view().state.clone(), &line).await {
                    Moved::Yes => moved += 1,
                    // A client deleted it meanwhile.
                    Moved::Failed(shearwater_engine::records::ServeError::NotFound) => {}
                    Moved::Failed(error) => return Err(DemoError(format!("the bulk update: {error}"))),
                    Moved::Already | Moved::LeftAlone | Moved::Lacks(_) => {}
                }
            }
        }
    }
    Ok(moved)
}

/// What is in Alice's store at the end goes into the history.
async fn left(setup: &Setup, floor: &Floor, history: &mut History) -> Result<(), DemoError> {
    let versions = stores::left(setup.target.as_ref()).await?;
    let now = floor.now_ns();
    for key in 0..floor.records {
        let seen = versions.get(&key).map_or(Seen::Absent, |version| Seen::Version(*version));
        history.ops.push(Op { key: KeyId(key), act: Act::Left(seen), begun_ns: now, ended_ns: now });
    }
    Ok(())
}
