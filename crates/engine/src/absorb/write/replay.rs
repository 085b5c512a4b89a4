//! The answer of an earlier request with the same idempotency key, in whichever
//! store it was left.

use shearwater_core::lifecycle::absorb::State;
use shearwater_core::{Document, Key};

use crate::absorb::Carrier;
use crate::records::idempotency::read_row;
use crate::records::{Etag, Got, Idempotency, KeyKept, ServeError, Shape, WriteDone};

impl Carrier {
    /// What a request with this idempotency key left before, in either store.
    pub(super) async fn first_answer(
        &self,
        state: &State,
        shape: Shape,
        idempotency: &Idempotency,
    ) -> Result<Option<WriteDone>, ServeError> {
        if !state.uses_sidecars() {
            return Ok(None);
        }
        let source = self.setup.source().await?;
        let mut row = source.recall(&idempotency.key).await?;
        if row.is_none() {
            row = self.setup.target.recall(&idempotency.key).await?;
        }
        let Some(row) = row else { return Ok(None) };
        if row.request_hash != idempotency.request_hash {
            return Err(ServeError::IdempotencyReused);
        }
        let (_, outcomes) = read_row(&row)
            .ok_or_else(|| ServeError::Broken("an idempotency row cannot be read as an answer".to_owned()))?;
        let mut done = WriteDone { replayed: true, followed: true, key_kept: KeyKept::Kept, ..WriteDone::default() };
        for outcome in outcomes {
            done.created.push(outcome.created);
            done.deleted.push(None);
            done.records.push(match outcome.record {
                None => None,
                Some(record) => Some(self.version_now(state, shape, outcome.key, record).await?),
            });
        }
        Ok(Some(done))
    }

    /// A remembered record with its version if it is still as it was.
    async fn version_now(&self, state: &State, shape: Shape, key: Key, record: Document) -> Result<Got, ServeError> {
        let place = self.locate(state, shape, &key).await?;
        match self.got(shape, &place).await? {
            Some(now) if now.record == record => Ok(now),
            _ => {
                let etag = Etag::Content(shearwater_core::value::hash::document(&record));
                Ok(Got { key, record, etag })
            }
        }
    }
}
