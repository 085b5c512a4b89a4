//! A write that the authority did not simply apply: what became of it, and what
//! is to be done next.

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::store::{Expect, IdempotencyRow, Side};
use shearwater_core::{Key, Stamp};

use super::Destination;
use super::prepare::Prepared;
use crate::records::{DataPath, Idempotency, ServeError};

/// What became of a write that did not answer simply.
pub(super) enum Settled {
    Applied(Vec<Option<Stamp>>),
    Replayed(IdempotencyRow),
    Hold,
    Raced,
}

impl DataPath {
    /// What to do when the authority did not simply apply the write.
    pub(super) async fn after_error(
        &self,
        to: &Destination,
        prepared: &Prepared,
        idempotency: Option<&Idempotency>,
        error: StoreError,
    ) -> Result<Settled, ServeError> {
        match &error.kind {
            StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. } => Ok(Settled::Hold),
            StoreErrorKind::ExpectFailed { change, exists: true, .. } if prepared.moves_onto(*change) => {
                Err(ServeError::Exists)
            }
            // The sidecar came or went between the read and the write.
            StoreErrorKind::ExpectFailed { .. } | StoreErrorKind::Sidecar => Ok(Settled::Raced),
            StoreErrorKind::OutcomeUnknown => self.settle(to.authority, prepared, idempotency).await,
            StoreErrorKind::Unavailable
            | StoreErrorKind::Refused { .. }
            | StoreErrorKind::IdempotencyReused
            | StoreErrorKind::NotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Full
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Unsupported => Err(error.into()),
        }
    }

    /// Asks the authority what became of a write. Its row or its content proves
    /// that it was applied; nothing proves that it never will be.
    async fn settle(
        &self,
        authority: Side,
        prepared: &Prepared,
        idempotency: Option<&Idempotency>,
    ) -> Result<Settled, ServeError> {
        let store = self.setup.store(authority);
        if let Some(idempotency) = idempotency {
            return match store.recall(&idempotency.key).await {
                Ok(Some(row)) if row.request_hash == idempotency.request_hash => Ok(Settled::Replayed(row)),
                Ok(_) | Err(_) => Err(ServeError::OutcomeUnknown),
            };
        }
        let keys: Vec<Key> = prepared.changes.iter().map(|change| change.key.clone()).collect();
        let Ok(now) = store.fetch_many(&keys).await else { return Err(ServeError::OutcomeUnknown) };
        let applied = prepared.changes.iter().zip(&now).all(|(change, now)| {
            let moved = match change.expect {
                Expect::Stamp(before) => now.stamp > Some(before),
                Expect::Absent => true,
                Expect::Any | Expect::Present | Expect::Content(_) => false,
            };
            moved && now.image == change.image
        });
        if applied {
            Ok(Settled::Applied(now.iter().map(|f| f.stamp).collect()))
        } else {
            Err(ServeError::OutcomeUnknown)
        }
    }
}
