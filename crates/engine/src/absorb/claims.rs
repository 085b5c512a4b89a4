//! Claims on a table of assigned keys: which other migrations translate their
//! references by it. They stand in a table beside it, in the store that all of
//! them share, because their journals may be different ones.

use std::sync::Arc;

use shearwater_core::absorb::identity::CLAIMANT;
use shearwater_core::error::{StoreErrorKind, StoreResult};
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::store::{Change, Fetched, Image, Store, Write};
use shearwater_core::{Document, Key, Value};

use super::carry::unchanged;

/// Claims that are told of; there is one for each migration that refers to another.
const CLAIMS_MAX: usize = 100;

/// The claims on one table of assigned keys.
pub struct Claims {
    store: Arc<dyn Store>,
}

impl Claims {
    /// Over their table, opened with [`shearwater_core::absorb::identity::Pairs::claims`].
    pub fn new(store: Arc<dyn Store>) -> Claims {
        Claims { store }
    }

    /// The migrations that have a claim.
    pub async fn all(&self) -> StoreResult<Vec<String>> {
        let query = ListQuery { filter: Filter::All, order: vec![], after: None, limit: CLAIMS_MAX };
        let page = match self.store.list(&query).await {
            // Nobody has ever had one.
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Vec::new()),
            page => page?,
        };
        let name = |key: &Key| match key.values() {
            [Value::Text(name)] => Some(name.clone()),
            _ => None,
        };
        Ok(page.records.iter().filter_map(|found| name(&found.key)).collect())
    }

    /// A migration claims the table; doing it twice does nothing.
    pub async fn make(&self, migration: &str) -> StoreResult<()> {
        self.store.provision().await?;
        let record: Document = [(CLAIMANT, Value::text(migration))].into_iter().collect();
        let found = self.store.fetch(&Key::single(migration)).await?;
        if found.image.is_some() {
            return Ok(());
        }
        self.write(&found, Some(Image::of(record))).await
    }

    /// A migration gives its claim up; the last takes the table along.
    pub async fn give_up(&self, migration: &str) -> StoreResult<()> {
        let found = match self.store.fetch(&Key::single(migration)).await {
            // Nobody has ever had one, or the last is gone.
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if found.image.is_some() {
            self.write(&found, None).await?;
        }
        match self.store.flags() {
            Some(flags) if self.all().await?.is_empty() => flags.drop_own_table().await,
            _ => Ok(()),
        }
    }

    async fn write(&self, found: &Fetched, image: Option<Image>) -> StoreResult<()> {
        let change = Change { key: found.key.clone(), image, expect: unchanged(found) };
        self.store.write(Write { epoch: None, changes: vec![change], idempotency: None }).await?;
        Ok(())
    }
}
