//! Where the demo takes place: the stores, the journal, the coordinator and
//! the gateway, all in this process, and the crowd that comes in. The bench
//! uses it too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::{Covers, Store};
use shearwater_engine::member::MemberOptions;
use shearwater_engine::records::{RecordsOptions, Shape};
use shearwater_engine::run::{self, CoordinatorOptions};
use shearwater_engine::serve::Served;
use shearwater_engine::{Member, Setup};
use shearwater_stores::journal::{JournalPlace, JournalStore};
use shearwater_stores::outsider::Outsider;
use shearwater_stores::{Create, open};
use tokio::task::{JoinHandle, JoinSet};

use super::direct::{DirectWriter, Directly};
use super::sabotage::Forgetful;
use super::stage::Stage;
use super::traffic::{Client, Witness};
use super::verdict::Evidence;
use super::walker::Walker;
use super::{DemoError, Sabotage};
use crate::gateway::{ServeHandle, ServeOptions, serve};

/// Who the journal says did it.
const ACTOR: &str = "demo";

/// What a house is opened with.
pub struct Plan<'a> {
    /// The directory.
    pub place: &'a Path,
    /// The spec.
    pub spec: &'a str,
    /// What the spec's references stand for.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// The journal; `None`: a file in the directory.
    pub journal: Option<&'a JournalPlace>,
    /// A protection to weaken.
    pub sabotage: Sabotage,
}

impl<'a> Plan<'a> {
    /// A spec without references, and the journal in the directory.
    pub fn plain(place: &'a Path, spec: &'a str) -> Plan<'a> {
        Plan { place, spec, variables: &|_| None, journal: None, sabotage: Sabotage::None }
    }
}

/// A migration, opened and served in this process.
pub struct House {
    /// Journal, stores, mapping.
    pub setup: Setup,
    /// This process's member.
    pub member: Arc<Member>,
    /// Where the gateway listens.
    pub address: SocketAddr,
    gateway: ServeHandle,
}

impl House {
    /// Writes the spec into a directory, and the journal too unless it is
    /// elsewhere; the legacy store must be there.
    pub async fn open(plan: Plan<'_>) -> Result<House, DemoError> {
        House::serve(setup(plan).await?).await
    }

    /// Starts a coordinator and opens the gateway.
    async fn serve(setup: Setup) -> Result<House, DemoError> {
        let member = Member::join(&setup, ACTOR, MemberOptions::default()).await?;
        let coordinator = run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
        let served = Served::new(setup.clone(), member.clone(), Some(coordinator), RecordsOptions::default());
        let options = ServeOptions { unready_time: Duration::ZERO, ..ServeOptions::default() };
        let gateway = serve(options, vec![served]).await.map_err(|error| DemoError(error.to_string()))?;
        Ok(House { setup, member, address: gateway.addr, gateway })
    }

    /// Ends everything in order.
    pub async fn close(self) {
        self.gateway.stop().await;
    }
}

/// The directory to play in: the one to keep, or one that is removed at the end.
pub fn place(keep: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), DemoError> {
    let Some(keep) = keep else {
        let directory = tempfile::Builder::new().prefix("shearwater-demo-").tempdir()?;
        return Ok((directory.path().to_owned(), Some(directory)));
    };
    std::fs::create_dir_all(keep).map_err(|e| DemoError(format!("{}: {e}", keep.display())))?;
    if std::fs::read_dir(keep)?.next().is_some() {
        return Err(DemoError(format!("{} is not empty; --keep needs an empty or a new directory", keep.display())));
    }
    Ok((keep.canonicalize()?, None))
}

async fn setup(plan: Plan<'_>) -> Result<Setup, DemoError> {
    let Plan { place, spec: text, variables, journal, sabotage } = plan;
    std::fs::write(place.join("users-move.toml"), text)?;
    let spec = spec::parse_move(text, variables)
        .map_err(|problems| DemoError(spec::render_problems("users-move.toml", text, &problems)))?;
    let mapping = Mapping::compile(&spec).map_err(|error| DemoError(format!("the mapping: {error}")))?;
    let mut source = open(&spec.source.url, mapping.source().clone(), Create::Never).await?;
    if sabotage == Sabotage::ForgetfulSource {
        source = Arc::new(Forgetful::new(source)) as Arc<dyn Store>;
    }
    let target = open(&spec.target.url, mapping.target().clone(), Create::IfMissing).await?;
    let beside = JournalPlace::File(place.join("shearwater.journal"));
    let journals = JournalStore::open(journal.unwrap_or(&beside), Create::IfMissing).await?;
    let journal = journals.create(&spec.migration, text, ACTOR).await?;
    Ok(Setup { spec: Arc::new(spec), mapping: Arc::new(mapping), journal, source, target })
}

/// Everybody who works on the house at one time.
pub struct Crowd {
    witnesses: JoinSet<Witness>,
    direct: Option<JoinHandle<Directly>>,
}

impl Crowd {
    /// Lets clients, walkers and the direct writer in; where the source captures
    /// what goes through the gateway only, nobody may write past it.
    pub fn open(house: &House, stage: &Arc<Stage>, clients: u32, legacy: Box<dyn Outsider>) -> Crowd {
        let mut crowd = Crowd::open_gateway_clients(house, stage, 0..clients);
        if house.setup.source.covers() == Covers::Gateway {
            return crowd;
        }
        let writer = DirectWriter::new(stage.clone(), legacy);
        let here = tokio::runtime::Handle::current();
        crowd.direct = Some(tokio::task::spawn_blocking(move || here.block_on(writer.run())));
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
