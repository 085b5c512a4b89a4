//! An `absorb` as a process serves it: both shapes, over records wherever they live.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value as Json;
use shearwater_core::Key;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::lifecycle::Lifecycle;
use shearwater_core::lifecycle::absorb::{Phase, State};
use shearwater_core::mapping::MappingError;
use shearwater_core::shape::Layout;
use shearwater_core::store::{Estimate, Image};

use super::write::persist;
use super::{Carrier, Protection, Setup, report};
use crate::coordinator::Coordinator;
use crate::foreground::Asked;
use crate::ledger::Halt;
use crate::member::{Confirmed, Member};
use crate::records::idempotency::InFlight;
use crate::records::{ClientChange, Got, Idempotency, LeftOut, ListAsk, ListGot, ServeError, Shape, WriteDone};
use crate::serve::{Serve, Standing, WriteRefusal};

/// Attempts of a read that a change of phase overtook.
const READ_ATTEMPTS_MAX: usize = 16;

/// How an absorb is served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// For the tests of the protocol's holes: the protection that is switched off.
    pub without: Option<Protection>,
}

/// An `absorb` that this process serves.
pub struct Absorbing {
    carrier: Carrier,
    member: Arc<Member<State>>,
    in_flight: InFlight,
    coordinator: Mutex<Option<Coordinator>>,
}

impl Absorbing {
    /// A migration to serve, and the coordinator if this process runs one.
    pub fn new(
        setup: Setup,
        member: Arc<Member<State>>,
        coordinator: Option<Coordinator>,
        options: Options,
    ) -> Arc<Absorbing> {
        let carrier = Carrier { setup, without: options.without };
        Arc::new(Absorbing { carrier, member, in_flight: InFlight::default(), coordinator: Mutex::new(coordinator) })
    }

    /// What moves its records.
    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// This process's member.
    pub fn member(&self) -> &Arc<Member<State>> {
        &self.member
    }
}

#[async_trait]
impl Serve for Absorbing {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.carrier.setup.journal
    }

    fn entity(&self) -> &str {
        &self.carrier.setup.spec.base.entity
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
            entering: view.state.entering.map(Phase::name),
            status: view.state.status.clone(),
            epoch: view.state.epoch(),
            seq: view.seq,
        }
    }

    fn layout(&self, shape: Shape) -> &Layout {
        self.carrier.setup.shapes.shape(shape.side())
    }

    fn fields(&self, shape: Shape) -> Vec<String> {
        match (shape, self.layout(shape)) {
            (_, rows @ Layout::Rows(_)) => rows.field_names().into_iter().map(str::to_owned).collect(),
            (Shape::V1, Layout::Document(layout)) => layout.key.clone(),
            (Shape::V2, Layout::Document(_)) => {
                self.carrier.setup.spec.base.fields.iter().map(|rule| rule.name.clone()).collect()
            }
        }
    }

    fn key_of(&self, shape: Shape, image: &Image) -> Result<Key, MappingError> {
        self.carrier.setup.shapes.key_of(shape.side(), image)
    }

    fn key_from_v2(&self, shape: Shape, key: &Key) -> Option<Key> {
        match shape {
            Shape::V2 => Some(key.clone()),
            Shape::V1 => self.carrier.setup.shapes.mapping().key_reverse(key).ok(),
        }
    }

    async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let place = self.carrier.locate(&reading.view.state, shape, key).await;
            if self.member.confirm(&reading)? == Confirmed::Yes {
                return Ok(self.carrier.got(shape, &place?).await?);
            }
        }
        Err(super::write::later("phases change faster than the stores answer"))
    }

    async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let page = self.carrier.list(&reading.view.state, &ask).await;
            if self.member.confirm(&reading)? == Confirmed::Yes {
                return Ok(page?);
            }
        }
        Err(super::write::later("phases change faster than the stores answer"))
    }

    async fn list_shown(&self, ask: ListAsk) -> Result<(ListGot, Vec<LeftOut>), ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let page = self.carrier.list_shown(&reading.view.state, &ask).await;
            if self.member.confirm(&reading)? == Confirmed::Yes {
                return Ok(page?);
            }
        }
        Err(super::write::later("phases change faster than the stores answer"))
    }

    /// Every record that came from the source has a row there, wherever it lives.
    async fn estimate(&self) -> Result<Estimate, ServeError> {
        let reading = self.member.admit_read()?;
        let store = match reading.view.state.is_target_only() {
            true => &self.carrier.setup.target,
            false => &self.carrier.setup.plain,
        };
        Ok(store.estimate().await?)
    }

    async fn write(
        &self,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        let _turn = idempotency.as_ref().map(|i| self.in_flight.enter(&i.key)).transpose()?;
        let asking = self.member.foreground().asking();
        let done = persist(|| async {
            let admission = self.member.admit()?;
            self.carrier.attempt(&admission.view.state, shape, &changes, idempotency.as_ref()).await
        })
        .await?;
        self.member.foreground().answered(Asked::Write, &asking);
        Ok(done)
    }

    fn refusals(&self) -> &'static [WriteRefusal] {
        super::refusals::REFUSALS
    }

    async fn report(&self) -> Result<Json, Halt> {
        let report = report::report(&self.carrier.setup).await?;
        serde_json::to_value(report).map_err(|error| Halt::Broken(error.to_string()))
    }

    async fn retire(&self) -> Result<(), JournalError> {
        let coordinator = self.coordinator.lock().map(|mut held| held.take()).unwrap_or_default();
        if let Some(coordinator) = coordinator {
            coordinator.stop().await;
        }
        Ok(())
    }

    async fn leave(&self) {
        self.member.leave().await;
    }
}
