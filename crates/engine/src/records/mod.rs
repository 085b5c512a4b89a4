//! Clients' reads and writes under PROTOCOL.md, in either shape, in any phase.

use std::borrow::Cow;
use std::sync::Arc;

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::journal::JournalError;
use shearwater_core::mapping::MappingError;
use shearwater_core::store::{Estimate, Fetched, Side};
use shearwater_core::value::hash;
use shearwater_core::{Key, Stamp};

use crate::breaker::Breaker;
use crate::member::NotServing;
use crate::shadow::{Shadow, ShadowCounts};
use crate::{Member, Setup};

pub(crate) mod edit;
mod follow;
mod hold;
pub(crate) mod idempotency;
pub(crate) mod list;
pub(crate) mod read;
mod request;
pub(crate) mod scan_page;
pub(crate) mod translate;
pub(crate) mod turns;
mod unique;
pub(crate) mod write;

pub use hold::HeldWrites;
pub use request::{
    ClientChange, Condition, Edit, Etag, Got, Idempotency, KeyKept, LeftOut, ListAsk, ListGot, ServeError, Shape,
    WriteDone,
};

/// When a client may try again after a failure that passes by itself, ms.
pub(crate) const RETRY_AFTER_MS: u64 = 1_000;

/// Bounds of the data path.
#[derive(Clone, Copy, Debug)]
pub struct RecordsOptions {
    /// How long an answer waits for the follower in dual-write and shadow-read, ms.
    pub follower_brief_ms: u64,
    /// How long it waits in read-ramp, ms.
    pub follower_ramped_ms: u64,
    /// How long a write is held in a change of authority, ms, before 503.
    pub hold_ms_max: u64,
    /// In shadow-read, one of so many reads is compared with the follower.
    pub shadow_one_in: u32,
    /// For the tests of PROTOCOL.md's holes: the protection that is switched
    /// off. `None` everywhere else.
    pub without: Option<Protection>,
}

impl Default for RecordsOptions {
    fn default() -> RecordsOptions {
        RecordsOptions {
            follower_brief_ms: 100,
            follower_ramped_ms: 1_000,
            hold_ms_max: 2_000,
            shadow_one_in: 8,
            without: None,
        }
    }
}

/// A protection of the data path that a test can switch off, to see that the
/// hole it closes is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// H6: ramped reads of dirty keys go to the authority.
    DirtyKeysFromAuthority,
    /// H7: the ramp goes by the key, not by the request.
    RampByKey,
    /// H13: fields that the client's shape does not have are kept.
    KeepOtherShape,
    /// H15: a follower's failure leaves the key dirty; nothing is compensated.
    NeverCompensate,
    /// H17: the Idempotency-Key's row goes with the write.
    IdempotencyRow,
    /// H19: what the target would refuse is refused before the authority write in a ramp.
    CheckTargetFirst,
    /// H20: fields that the authority's shape cannot hold are parked beside it.
    Park,
}

/// The data path of one member.
pub struct Records {
    path: Arc<DataPath>,
}

/// What reads, writes and their background tasks share.
pub(crate) struct DataPath {
    pub(crate) setup: Setup,
    pub(crate) member: Arc<Member>,
    pub(crate) options: RecordsOptions,
    pub(crate) shadow: Shadow,
    held: hold::HeldTimes,
    in_flight: idempotency::InFlight,
    turns: turns::Turns,
    source_breaker: Arc<Breaker>,
    target_breaker: Arc<Breaker>,
    clears: follow::Clears,
}

impl Records {
    /// The data path over an opened migration. Call it inside the runtime: it
    /// starts the task that clears dirty marks off the client's path.
    pub fn new(setup: Setup, member: Arc<Member>, options: RecordsOptions) -> Records {
        let clears = follow::Clears::start(&setup, &member);
        let path = Arc::new(DataPath {
            shadow: Shadow::new(options.shadow_one_in),
            held: hold::HeldTimes::default(),
            in_flight: idempotency::InFlight::default(),
            turns: turns::Turns::default(),
            source_breaker: Arc::default(),
            target_breaker: Arc::default(),
            clears,
            setup,
            member,
            options,
        });
        crate::shadow::start_flushing(&path);
        Records { path }
    }

    /// One record.
    pub async fn get(&self, shape: Shape, key: &Key) -> Result<Option<Got>, ServeError> {
        self.path.get(shape, key).await
    }

    /// One page of a list.
    pub async fn list(&self, ask: ListAsk) -> Result<ListGot, ServeError> {
        self.path.list(ask).await
    }

    /// How many records there are by the store's own estimate.
    pub async fn estimate(&self) -> Result<Estimate, ServeError> {
        self.path.estimate().await
    }

    /// Changes, all or none.
    pub async fn write(
        &self,
        shape: Shape,
        changes: Vec<ClientChange>,
        idempotency: Option<Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        self.path.write(shape, changes, idempotency).await
    }

    /// How long writes were held in changes of authority.
    pub fn held_writes(&self) -> HeldWrites {
        self.path.held.summary()
    }

    /// What shadow reads of this process have found so far.
    pub fn shadow_counts(&self) -> ShadowCounts {
        self.path.shadow.counts()
    }

    /// Waits for the shadow reads on their way and adds their counts to the
    /// journal's note `shadow`.
    pub async fn flush_shadow(&self) -> Result<(), JournalError> {
        self.path.shadow.settle().await;
        self.path.shadow.flush(&*self.path.setup.journal, self.path.member.id()).await
    }

    /// Whether a side's breaker is open, for status and metrics.
    pub fn breaker_is_open(&self, follower: Side) -> bool {
        self.path.breaker(follower).is_open()
    }
}

impl DataPath {
    fn breaker(&self, follower: Side) -> &Arc<Breaker> {
        match follower {
            Side::Source => &self.source_breaker,
            Side::Target => &self.target_breaker,
        }
    }

    fn without(&self, protection: Protection) -> bool {
        self.options.without == Some(protection)
    }

    /// A key of one side's shape in the other's.
    pub(crate) fn key_across<'k>(&self, from: Side, to: Side, key: &'k Key) -> Result<Cow<'k, Key>, MappingError> {
        match from == to {
            true => Ok(Cow::Borrowed(key)),
            false => self.setup.mapping.key_towards(to, key).map(Cow::Owned),
        }
    }

    /// A fetched record in a client's shape.
    pub(crate) fn show(&self, served_by: Side, shape: Shape, fetched: Fetched) -> Result<Option<Got>, ServeError> {
        let Some(image) = fetched.image else { return Ok(None) };
        let etag = etag_of(fetched.stamp, &image);
        if served_by == shape.side() {
            return Ok(Some(Got { key: fetched.key, record: image.record, etag }));
        }
        let key = self.key_across(served_by, shape.side(), &fetched.key).map_err(unprocessable)?.into_owned();
        let record = self.setup.mapping.towards(shape.side(), &image).map_err(unprocessable)?.record;
        Ok(Some(Got { key, record, etag }))
    }
}

/// The version that a client gets: the authority's stamp, or a hash of what
/// the store holds where it has no sidecar.
fn etag_of(stamp: Option<Stamp>, image: &shearwater_core::store::Image) -> Etag {
    match stamp {
        Some(stamp) => Etag::Stamp(stamp),
        None => Etag::Content(hash::document(&image.record)),
    }
}

pub(crate) fn unprocessable(error: MappingError) -> ServeError {
    ServeError::Unprocessable {
        code: error.code.to_owned(),
        field: error.path,
        message: error.message,
        hint: error.hint,
    }
}

impl From<NotServing> for ServeError {
    fn from(error: NotServing) -> ServeError {
        ServeError::Unavailable { reason: error.to_string(), retry_after_ms: RETRY_AFTER_MS }
    }
}

impl From<JournalError> for ServeError {
    fn from(error: JournalError) -> ServeError {
        ServeError::Unavailable { reason: error.to_string(), retry_after_ms: RETRY_AFTER_MS }
    }
}

/// A store's error where the client is told of it; what is tried again or
/// rerouted is handled before.
impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> ServeError {
        let unavailable = |reason: String| ServeError::Unavailable { reason, retry_after_ms: RETRY_AFTER_MS };
        match &error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Full => unavailable(error.message),
            StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => unavailable(error.message),
            StoreErrorKind::OutcomeUnknown => ServeError::OutcomeUnknown,
            StoreErrorKind::ExpectFailed { .. } => ServeError::Contended,
            StoreErrorKind::Refused { field } => ServeError::Unprocessable {
                code: error.code().to_owned(),
                field: field.clone().unwrap_or_default(),
                message: error.message,
                hint: error.hint,
            },
            StoreErrorKind::IdempotencyReused => ServeError::IdempotencyReused,
            StoreErrorKind::Sidecar
            | StoreErrorKind::NotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Unsupported => ServeError::Broken(error.message),
        }
    }
}
