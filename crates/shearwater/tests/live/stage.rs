//! A migration that this process takes part in, and coordinates or not; no gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shearwater_core::journal::{Command, Journal, Refusal};
use shearwater_core::lifecycle::{BackfillState, Phase, State};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::Side;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::run::{self, Coordinator, CoordinatorOptions};
use shearwater_engine::{Member, Setup, verify};
use shearwater_stores::journal::JournalFile;
use shearwater_stores::{Create, open};

/// How long one command may take before the test is given up.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// The pause before something that opens by itself is asked again.
const POLL: Duration = Duration::from_millis(20);

pub struct Stage {
    pub setup: Setup,
    pub member: Arc<Member>,
    coordinator: Option<Coordinator>,
    place: Option<tempfile::TempDir>,
}

impl Stage {
    /// Writes a migration down in a journal of its own and coordinates it. The
    /// spec's URLs are `${SOURCE}` and `${TARGET}`.
    pub async fn open(text: &str, source: &str, target: &str) -> Stage {
        let place = tempfile::tempdir().unwrap();
        let journal = JournalFile::open(&place.path().join("journal"), true).await.unwrap();
        let journal = journal.create("live", text, "live").await.unwrap();
        let mut stage = Stage::watch(text, source, target, journal).await;
        stage.place = Some(place);
        stage.coordinator = Some(run::spawn(stage.setup.clone(), stage.member.clone(), CoordinatorOptions::default()));
        stage
    }

    /// Takes part in a migration that others coordinate.
    pub async fn watch(text: &str, source: &str, target: &str, journal: Arc<dyn Journal>) -> Stage {
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        let environment = |name: &str| match name {
            "SOURCE" => Some(source.to_owned()),
            "TARGET" => Some(target.to_owned()),
            _ => None,
        };
        let spec = spec::parse_move(text, &environment);
        let spec = spec.unwrap_or_else(|problems| panic!("{}", spec::render_problems("spec", text, &problems)));
        let mapping = Mapping::compile(&spec).unwrap();
        let source = open(&spec.source.url, mapping.source().clone(), Create::Never).await.unwrap();
        let target = open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await.unwrap();
        let setup = Setup { spec: Arc::new(spec), mapping: Arc::new(mapping), journal, source, target };
        let member = Member::join(&setup, "live", MemberOptions::default()).await.unwrap();
        Stage { setup, member, coordinator: None, place: None }
    }

    /// Asks once.
    pub async fn ask(&self, command: Command) -> Result<serde_json::Value, Refusal> {
        run::ask(&self.setup, command, COMMAND_MAX).await.unwrap()
    }

    /// Has a command done; what may open by itself is asked again.
    pub async fn act(&self, command: Command) -> serde_json::Value {
        let began = Instant::now();
        loop {
            match self.ask(command.clone()).await {
                Ok(report) => return report,
                Err(refusal) if may_pass(&refusal) && began.elapsed() < COMMAND_MAX => {
                    println!("{command:?} waits: {}: {}", refusal.code, refusal.message);
                    tokio::time::sleep(POLL).await;
                }
                Err(refusal) => panic!("{command:?} was refused: {refusal:?}"),
            }
        }
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let seen = async {
            let mut view = self.member.view();
            while !wanted(&view.state) {
                view = self.member.seen_above(view.seq).await;
            }
        };
        if tokio::time::timeout(COMMAND_MAX, seen).await.is_err() {
            panic!("waited for {what}: {:?}", self.member.view().state);
        }
    }

    /// Waits for the end of the backfill.
    pub async fn backfilled(&self) {
        self.until("the backfill", |state| matches!(state.backfill, BackfillState::Done { .. })).await;
    }

    /// Verifies, which must find nothing.
    pub async fn verified(&self) {
        let report = self.act(Command::Verify).await;
        let found = verify::last(&self.setup).await.unwrap().unwrap();
        assert_eq!(found.totals.mismatches(), 0, "{report:#}");
        println!("verified: {} compared, {} unsettled", report["compared"], report["unsettled"]);
    }

    /// From dual-write over shadow-read and read-ramp to the other store; the report of the switch.
    pub async fn cut_over(&self) -> serde_json::Value {
        self.verified().await;
        self.act(Command::Advance).await;
        self.act(Command::Advance).await;
        self.act(Command::Ramp { percent: 100 }).await;
        let report = self.act(Command::Advance).await;
        assert_eq!(self.member.view().state.phase, Phase::ReverseWindow);
        println!("cutover: {report}");
        report
    }

    /// Back to the source; the report of the switch.
    pub async fn roll_back(&self) -> serde_json::Value {
        let report = self.act(Command::Rollback).await;
        println!("rollback: {report}");
        report
    }

    /// Waits until the follower has everything.
    pub async fn drained(&self) {
        let began = Instant::now();
        let authority = match self.member.view().state.phase {
            Phase::ReverseWindow => Side::Target,
            _ => Side::Source,
        };
        while self.setup.store(authority).dirty_count().await.unwrap() > 0 {
            assert!(began.elapsed() < COMMAND_MAX, "the follower did not catch up");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends everything in order.
    pub async fn close(self) {
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
        self.member.leave().await;
        drop(self.place);
    }
}

/// Whether a refusal passes by itself: gates, stores that are away, and changes
/// of authority that were given up in time.
fn may_pass(refusal: &Refusal) -> bool {
    ["gate/", "busy/", "switch/", "store/unavailable", "store/outcome-unknown"]
        .iter()
        .any(|code| refusal.code.starts_with(code))
}
