//! Where the demo takes place: the stores, the journal, the coordinator and
//! the gateway, all in this process, and the crowd that comes in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::Store;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::{RecordsOptions, Shape};
use shearwater_engine::run::{self, Coordinator, CoordinatorOptions};
use shearwater_engine::{Member, Records, Setup};
use shearwater_stores::journal::JournalFile;
use shearwater_stores::{Create, open};
use tokio::task::{JoinHandle, JoinSet};

use super::direct::{DirectWriter, Directly};
use super::sabotage::Forgetful;
use super::stage::Stage;
use super::traffic::{Client, Witness};
use super::verdict::Evidence;
use super::walker::Walker;
use super::{DemoError, DemoOptions, Sabotage, plot};

/// Who the journal says did it.
const ACTOR: &str = "demo";

/// The migration, opened and served.
pub struct House {
    /// Journal, stores, mapping.
    pub setup: Setup,
    /// This process's member.
    pub member: Arc<Member>,
    /// The legacy store's file.
    pub legacy: PathBuf,
    /// Where the gateway listens.
    pub address: SocketAddr,
    coordinator: Coordinator,
    gateway: crate::gateway::Serving,
    /// Removed when the demo ends, unless it was to be kept.
    _directory: Option<tempfile::TempDir>,
}

impl House {
    /// Makes the legacy store, the spec and the journal, and opens the gateway.
    pub async fn build(options: &DemoOptions, seed: u64) -> Result<House, DemoError> {
        let (place, directory) = place(options)?;
        let legacy = place.join("legacy.db");
        let (file, records) = (legacy.clone(), options.records);
        blocking(move || plot::make_legacy(&file, records, seed)).await??;
        let setup = setup(&place, options.sabotage).await?;
        let member = Member::join(&setup, ACTOR, MemberOptions::default()).await?;
        let records = Arc::new(Records::new(setup.clone(), member.clone(), RecordsOptions::default()));
        let coordinator = run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
        let gateway = crate::gateway::serve(todo!()).await?;
        let address = gateway.address();
        Ok(House { setup, member, legacy, address, coordinator, gateway, _directory: directory })
    }

    /// Ends everything in order.
    pub async fn close(self) {
        self.gateway.stop().await;
        self.coordinator.stop().await;
        self.member.leave().await;
    }
}

/// The directory to play in: the one to keep, or one that is removed.
fn place(options: &DemoOptions) -> Result<(PathBuf, Option<tempfile::TempDir>), DemoError> {
    let Some(keep) = &options.keep else {
        let directory = tempfile::Builder::new().prefix("shearwater-demo-").tempdir()?;
        return Ok((directory.path().to_owned(), Some(directory)));
    };
    std::fs::create_dir_all(keep).map_err(|e| DemoError(format!("{}: {e}", keep.display())))?;
    if std::fs::read_dir(keep)?.next().is_some() {
        return Err(DemoError(format!("{} is not empty; --keep needs an empty or a new directory", keep.display())));
    }
    Ok((keep.canonicalize()?, None))
}

async fn setup(place: &Path, sabotage: Sabotage) -> Result<Setup, DemoError> {
    let text = plot::spec_in(place);
    std::fs::write(place.join("users-move.toml"), &text)?;
    let spec = spec::parse(&text, &|_| None)
        .map_err(|problems| DemoError(spec::render_problems("users-move.toml", &text, &problems)))?;
    let mapping = Mapping::compile(&spec).map_err(|error| DemoError(format!("the mapping: {error}")))?;
    let mut source = open(&spec.source.url, mapping.source().clone(), Create::Never).await?;
    if sabotage == Sabotage::ForgetfulSource {
        source = Arc::new(Forgetful::new(source)) as Arc<dyn Store>;
    }
    let target = open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await?;
    let journal = JournalFile::open(&place.join("shearwater.journal"), true).await?;
    let journal = journal.create(&spec.migration, &text, ACTOR).await?;
    Ok(Setup { spec: Arc::new(spec), mapping: Arc::new(mapping), journal, source, target })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DemoError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DemoError(error.to_string()))
}

/// Everybody who works on the house at one time.
pub struct Crowd {
    witnesses: JoinSet<Witness>,
    direct: Option<JoinHandle<Directly>>,
}

impl Crowd {
    /// Lets clients, walkers and the direct writer in.
    pub fn open(house: &House, stage: &Arc<Stage>, clients: u32) -> Crowd {
        let mut crowd = Crowd::open_gateway_clients(house, stage, 0..clients);
        let writer = DirectWriter::new(stage.clone(), house.legacy.clone());
        crowd.direct = Some(tokio::task::spawn_blocking(move || writer.run()));
        crowd
    }

    /// Lets clients with these numbers and the walkers in.
    pub fn open_gateway_clients(house: &House, stage: &Arc<Stage>, numbers: std::ops::Range<u32>) -> Crowd {
        let mut witnesses = JoinSet::new();
        for number in numbers {
            witnesses.spawn(Client::new(number, house.address, stage.clone()).run());
        }
        for shape in [Shape::V1, Shape::V2] {
            witnesses.spawn(Walker::new(shape, house.address, stage.clone()).run());
        }
        Crowd { witnesses, direct: None }
    }

    /// Waits until everybody has left (the stage must be stopping), and takes
    /// down what they saw.
    pub async fn leave(mut self, evidence: &mut Evidence) -> Result<(), DemoError> {
        while let Some(witness) = self.witnesses.join_next().await {
            let witness = witness.map_err(|error| DemoError(format!("a client failed: {error}")))?;
            evidence.history.merge(witness.history);
            evidence.timed.extend(witness.timed);
        }
        if let Some(direct) = self.direct {
            let did = direct.await.map_err(|error| DemoError(format!("the direct writer failed: {error}")))?;
            evidence.history.merge(did.history);
            evidence.tries.extend(did.tries);
        }
        Ok(())
    }
}
