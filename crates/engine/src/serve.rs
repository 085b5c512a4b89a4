//! A migration as a process serves it, whatever its kind: the gateway and the
//! control API know nothing else of it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value as Json;
use shearwater_core::Key;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::lifecycle::Status;
use shearwater_core::mapping::MappingError;
use shearwater_core::path::{Path, Step};
use shearwater_core::shape::Layout;
use shearwater_core::spec::{FieldRule, RuleFrom};
use shearwater_core::store::{Estimate, Image, Side};

use crate::coordinator::Coordinator;
use crate::ledger::Halt;
use crate::records::{
    ClientChange, Got, Idempotency, LeftOut, ListAsk, ListGot, RecordsOptions, ServeError, Shape, WriteDone,
};
use crate::{Member, Records, Setup, report};

/// Where this process believes the migration to be, without asking the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The phase.
    pub phase: &'static str,
    /// The phase that is being entered.
    pub entering: Option<&'static str>,
    /// What stands beside the phase.
    pub status: Status,
    /// The epoch.
    pub epoch: u64,
    /// The last entry seen.
    pub seq: u64,
}

/// Which writes something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// Any.
    All,
    /// Those that change several records at once.
    OfSeveral,
}

/// Why a kind of migration refuses a write that another would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRefusal {
    /// The stable code.
    pub code: &'static str,
    /// What it means, in one sentence without a full stop.
    pub what: &'static str,
    /// Which writes can end in it.
    pub requests: Requests,
}

/// One migration and this process's part in it.
#[async_trait]
pub trait Serve: Send + Sync {
    /// The journal.
    fn journal(&self) -> &Arc<dyn Journal>;

    /// The entity's name in the gateway's paths.
    fn entity(&self) -> &str;

    /// This process's name in the journal.
    fn member_id(&self) -> &str;

    /// Whether its lease holds, so that requests are answered.
    fn is_serving(&self) -> bool;

    /// Where it believes the migration to be.
    fn standing(&self) -> Standing;

    /// The layout of a shape.
    fn layout(&self, shape: Shape) -> &Layout;

    /// The top-level fields of a shape that the spec speaks of, key fields included.
    fn fields(&self, shape: Shape) -> Vec<String>;

    /// The key of a record of a shape.
    fn key_of(&self, shape: Shape, image: &Image) -> Result<Key, MappingError>;

    /// The key in a shape of the record that v2 calls by `key`; `None` when
    /// the shape has none for it.
    fn key_from_v2(&self, shape: Shape, key: &Key) -> Option<Key>;

    /// One record.
    async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError>;

    /// One page of a list.
    async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError>;

    /// As [`Serve::list`]; records met for the page that the shape cannot show,
    /// which fail a list, are left out and told. A kind whose lists have none
    /// does not do it itself.
    async fn list_shown(&self, ask: ListAsk) -> Result<(ListGot, Vec<LeftOut>), ServeError> {
        Ok((self.list(ask).await?, Vec::new()))
    }

    /// How many records there are by the stores' own estimate.
    async fn estimate(&self) -> Result<Estimate, ServeError>;

    /// Changes, all or none.
    async fn write(
        &self,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError>;

    /// What it refuses of clients' writes beside what every kind does.
    fn refusals(&self) -> &'static [WriteRefusal] {
        &[]
    }

    /// Where the migration stands: a JSON object with `migration`, `phase`,
    /// `epoch`, `status`, and what else its kind has to tell.
    async fn report(&self) -> Result<Json, Halt>;

    /// Ends background work, in order: counts are saved, the coordinator gives
    /// its lease up. Requests are still answered.
    async fn retire(&self) -> Result<(), JournalError>;

    /// Stops answering, waits for requests in flight, ends the lease. Called
    /// after every migration of the process has retired: a step that one of
    /// them has begun may need this member to follow.
    async fn leave(&self);
}

/// A `move` that this process serves.
pub struct Served {
    setup: Setup,
    member: Arc<Member>,
    records: Records,
    coordinator: Mutex<Option<Coordinator>>,
}

impl Served {
    /// A migration to serve, and the coordinator if this process runs one. Call
    /// it inside the runtime.
    pub fn new(
        setup: Setup,
        member: Arc<Member>,
        coordinator: Option<Coordinator>,
        options: RecordsOptions,
    ) -> Arc<Served> {
        let records = Records::new(setup.clone(), member.clone(), options);
        Arc::new(Served { setup, member, records, coordinator: Mutex::new(coordinator) })
    }
}

#[async_trait]
impl Serve for Served {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.setup.journal
    }

    fn entity(&self) -> &str {
        &self.setup.spec.entity
    }

    fn member_id(&self) -> &str {
        self.member.id()
    }

    fn is_serving(&self) -> bool {
        self.member.admit().is_ok()
    }

    fn standing(&self) -> Standing {
        let view = self.member.view();
        Standing {
            phase: view.state.phase.name(),
            entering: view.state.entering.map(|phase| phase.name()),
            status: view.state.status.clone(),
            epoch: view.state.epoch,
            seq: view.seq,
        }
    }

    fn layout(&self, shape: Shape) -> &Layout {
        match shape {
            Shape::V1 => self.setup.mapping.source(),
            Shape::V2 => self.setup.mapping.target(),
        }
    }

    fn fields(&self, shape: Shape) -> Vec<String> {
        match shape {
            Shape::V1 => v1_fields(&self.setup),
            Shape::V2 => self.setup.mapping.target().field_names().into_iter().map(str::to_owned).collect(),
        }
    }

    fn key_of(&self, shape: Shape, image: &Image) -> Result<Key, MappingError> {
        self.setup.mapping.key_of(shape.side(), image)
    }

    fn key_from_v2(&self, shape: Shape, key: &Key) -> Option<Key> {
        match shape.side() {
            Side::Target => Some(key.clone()),
            Side::Source => self.setup.mapping.key_reverse(key).ok(),
        }
    }

    async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        self.records.get(shape, key).await
    }

    async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError> {
        self.records.list(ask).await
    }

    async fn estimate(&self) -> Result<Estimate, ServeError> {
        self.records.estimate().await
    }

    async fn write(
        &self,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        self.records.write(shape, changes, idempotency).await
    }

    async fn report(&self) -> Result<Json, Halt> {
        let report = report::status(&self.setup).await?;
        serde_json::to_value(report).map_err(|error| Halt::Broken(error.to_string()))
    }

    async fn retire(&self) -> Result<(), JournalError> {
        let flushed = self.records.flush_shadow().await;
        let coordinator = self.coordinator.lock().map(|mut held| held.take()).unwrap_or_default();
        if let Some(coordinator) = coordinator {
            coordinator.stop().await;
        }
        flushed
    }

    async fn leave(&self) {
        self.member.leave().await;
    }
}

/// The top-level fields of v1 that the spec speaks of.
fn v1_fields(setup: &Setup) -> Vec<String> {
    let mut names: Vec<String> = match setup.mapping.source() {
        rows @ Layout::Rows(_) => rows.field_names().into_iter().map(str::to_owned).collect(),
        Layout::Document(layout) => layout.key.clone(),
    };
    for name in setup.spec.fields.iter().flat_map(roots) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn roots(rule: &FieldRule) -> Vec<String> {
    let root = |path: &Path| match path.steps().first() {
        Some(Step::Field(name)) => Some(name.clone()),
        _ => None,
    };
    match &rule.from {
        RuleFrom::Path(path) => root(path).into_iter().collect(),
        RuleFrom::Sql { back, .. } => back.iter().filter_map(|(path, _)| root(path)).collect(),
        RuleFrom::Constant(_) | RuleFrom::TargetOnly => Vec::new(),
    }
}
