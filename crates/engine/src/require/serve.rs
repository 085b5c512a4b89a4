//! The data path: one table in two shapes. Outdated clients see it without the
//! field and never wipe it; new ones always see it, repaired while a record may
//! still be without, and must send it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value as Json;
use shearwater_core::error::StoreError;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::lifecycle::require::{Phase, State};
use shearwater_core::mapping::MappingError;
use shearwater_core::path::{Path, Step};
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Estimate, Fetched, Image, Store};
use shearwater_core::value::{Value, hash};
use shearwater_core::{Document, Key};

use super::{Member, Setup, report};
use crate::coordinator::Coordinator;
use crate::foreground::Asked;
use crate::ledger::Halt;
use crate::member::Confirmed;
use crate::records::idempotency::InFlight;
use crate::records::list::{answer, page_of};
use crate::records::read::{READ_ATTEMPTS_MAX, moving};
use crate::records::scan_page::page_by_scan;
use crate::records::{ClientChange, Etag, Got, Idempotency, ListAsk, ListGot, ServeError, Shape, WriteDone};
use crate::serve::{Serve, Standing};

/// A `require` that this process serves.
pub struct Served {
    pub(super) path: DataPath,
    coordinator: Mutex<Option<Coordinator>>,
}

/// What reads and writes share.
pub(super) struct DataPath {
    pub(super) setup: Setup,
    pub(super) member: Arc<Member>,
    pub(super) in_flight: InFlight,
    /// The store with the field, and which addition of the field it knows.
    with_field: tokio::sync::Mutex<Option<(u64, Arc<dyn Store>)>>,
}

impl Served {
    /// A migration to serve, and the coordinator if this process runs one.
    pub fn new(setup: Setup, member: Arc<Member>, coordinator: Option<Coordinator>) -> Arc<Served> {
        let path =
            DataPath { setup, member, in_flight: InFlight::default(), with_field: tokio::sync::Mutex::new(None) };
        Arc::new(Served { path, coordinator: Mutex::new(coordinator) })
    }
}

impl DataPath {
    /// The store as the phase has it.
    pub(super) async fn store(&self, state: &State) -> Result<Arc<dyn Store>, ServeError> {
        let mut held = self.with_field.lock().await;
        if !state.has_field() {
            *held = None;
            return Ok(self.setup.old.clone());
        }
        if let Some((added, store)) = &*held
            && *added == state.added
        {
            return Ok(store.clone());
        }
        let store = self.setup.opener.open(&self.setup.v2).await.map_err(|error| away(&error))?;
        *held = Some((state.added, store.clone()));
        Ok(store)
    }

    pub(super) fn field(&self) -> &str {
        &self.setup.spec.field.name
    }

    pub(super) fn layout(&self, shape: Shape) -> &Layout {
        match shape {
            Shape::V1 => &self.setup.v1,
            Shape::V2 => &self.setup.v2,
        }
    }

    /// A record as new clients see it: with the field, repaired where it is empty.
    pub(super) fn repaired(&self, state: &State, record: &Document) -> Result<Document, ServeError> {
        let has_value = record.get(self.field()).is_some_and(|value| !value.is_null());
        if has_value || !state.repairs_reads() {
            return Ok(record.clone());
        }
        let value = self.fill(record)?;
        let mut whole = record.clone();
        whole.set(self.field(), value);
        Ok(whole)
    }

    /// The fill's value for a record.
    pub(super) fn fill(&self, record: &Document) -> Result<Value, ServeError> {
        self.setup.fill.value(record).map_err(|error| ServeError::Unprocessable {
            code: "record/fill".to_owned(),
            field: self.field().to_owned(),
            message: error.to_string(),
            hint: Some("the record has a value that its column's declared type does not have".to_owned()),
        })
    }

    /// A record with its version, in a client's shape; the version is the same
    /// in both shapes and in every phase, as long as nobody writes the record.
    pub(super) fn view(&self, state: &State, shape: Shape, key: Key, record: &Document) -> Result<Got, ServeError> {
        let whole = self.repaired(state, record)?;
        let etag = Etag::Content(hash::document(&whole));
        Ok(Got { key, record: self.shown(shape, whole), etag })
    }

    /// A whole record in a client's shape.
    pub(super) fn shown(&self, shape: Shape, mut whole: Document) -> Document {
        if shape == Shape::V1 {
            whole.remove(self.field());
        }
        whole
    }

    fn show(&self, state: &State, shape: Shape, fetched: Fetched) -> Result<Option<Got>, ServeError> {
        let Some(image) = fetched.image else { return Ok(None) };
        self.view(state, shape, fetched.key, &image.record).map(Some)
    }

    async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        let foreground = self.member.foreground();
        let asking = foreground.asking();
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let state = &reading.view.state;
            let read = async { Ok::<_, ServeError>(self.store(state).await?.fetch(key).await?) }.await;
            match (self.member.confirm(&reading)?, read) {
                // The column may have come or gone meanwhile: read again.
                (Confirmed::MovedOn, _) => continue,
                (Confirmed::Yes, read) => {
                    let shown = self.show(state, shape, read?);
                    foreground.answered(Asked::Read, &asking);
                    return shown;
                }
            }
        }
        Err(moving())
    }

    async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let reading = self.member.admit_read()?;
            let state = &reading.view.state;
            let page = async {
                let store = self.store(state).await?;
                let show = |fetched| self.show(state, ask.shape, fetched);
                if self.must_repair_to_list(state, &ask) {
                    return page_by_scan(store.as_ref(), &ask, ask.limit, show).await;
                }
                let query = ListQuery {
                    filter: ask.filter.clone(),
                    order: ask.order.clone(),
                    after: ask.after.clone(),
                    limit: ask.limit,
                };
                page_of(store.as_ref(), &query, &ask, show).await
            }
            .await;
            match (self.member.confirm(&reading)?, page) {
                (Confirmed::MovedOn, _) => continue,
                (Confirmed::Yes, page) => return Ok(answer(&ask, page?)),
            }
        }
        Err(moving())
    }

    /// Whether the store would filter or sort by the field where records may
    /// not have it yet: then every record is repaired first.
    fn must_repair_to_list(&self, state: &State, ask: &ListAsk) -> bool {
        let may_be_empty = match state.effective_phase() {
            Phase::Planned => true,
            Phase::Expand | Phase::Backfill => !self.setup.evolve.needs_no_backfill(),
            Phase::Enforce | Phase::Contract | Phase::Complete | Phase::Withdrawn => false,
        };
        may_be_empty && (names(&ask.filter, self.field()) || ask.order.iter().any(|t| is(&t.path, self.field())))
    }

    async fn estimate(&self) -> Result<Estimate, ServeError> {
        let reading = self.member.admit_read()?;
        Ok(self.store(&reading.view.state).await?.estimate().await?)
    }
}

fn away(error: &StoreError) -> ServeError {
    ServeError::Unavailable { reason: error.message.clone(), retry_after_ms: 1_000 }
}

fn is(path: &Path, field: &str) -> bool {
    matches!(path.steps().first(), Some(Step::Field(name)) if name == field)
}

/// Whether a filter looks at the field.
fn names(filter: &Filter, field: &str) -> bool {
    match filter {
        Filter::All => false,
        Filter::And(filters) | Filter::Or(filters) => filters.iter().any(|filter| names(filter, field)),
        Filter::Not(inner) => names(inner, field),
        Filter::Compare { path, .. }
        | Filter::In { path, .. }
        | Filter::Like { path, .. }
        | Filter::Is { path, .. } => is(path, field),
    }
}

#[async_trait]
impl Serve for Served {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.path.setup.journal
    }

    fn entity(&self) -> &str {
        &self.path.setup.spec.entity
    }

    fn member_id(&self) -> &str {
        self.path.member.id()
    }

    fn is_serving(&self) -> bool {
        self.path.member.admit().is_ok()
    }

    fn standing(&self) -> Standing {
        let view = self.path.member.view();
        Standing {
            phase: view.state.phase.name(),
            entering: view.state.entering.map(Phase::name),
            status: view.state.status.clone(),
            epoch: view.state.epoch,
            seq: view.seq,
        }
    }

    fn layout(&self, shape: Shape) -> &Layout {
        self.path.layout(shape)
    }

    fn fields(&self, shape: Shape) -> Vec<String> {
        self.path.layout(shape).field_names().into_iter().map(str::to_owned).collect()
    }

    fn key_of(&self, shape: Shape, image: &Image) -> Result<Key, MappingError> {
        key_of(self.path.layout(shape), &image.record)
    }

    fn key_from_v2(&self, _shape: Shape, key: &Key) -> Option<Key> {
        Some(key.clone())
    }

    async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        self.path.get(shape, key).await
    }

    async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError> {
        self.path.list(ask).await
    }

    async fn estimate(&self) -> Result<Estimate, ServeError> {
        self.path.estimate().await
    }

    async fn write(
        &self,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        self.path.write(shape, &changes, idempotency.as_ref()).await
    }

    async fn report(&self) -> Result<Json, Halt> {
        let report = report::status(&self.path.setup).await?;
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
        self.path.member.leave().await;
    }
}

/// The key of a record: the values of its key fields.
pub(super) fn key_of(layout: &Layout, record: &Document) -> Result<Key, MappingError> {
    let mut values = Vec::with_capacity(layout.key_fields().len());
    for name in layout.key_fields() {
        match record.get(name) {
            Some(value) if !value.is_null() => values.push(value.clone()),
            _ => {
                return Err(MappingError {
                    path: name.clone(),
                    code: "record/key",
                    message: "the record has no key".to_owned(),
                    hint: None,
                });
            }
        }
    }
    Ok(Key::composite(values))
}
