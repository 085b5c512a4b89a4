//! The two keys of a record: computed by rule, or assigned once and kept in a
//! crosswalk, a table of ours in the target.
//!
//! A pair is one row under the source's key, with the target's key unique. It
//! is written only where there is none, so whoever assigns, however often it is
//! tried and whoever else tries, a record has one key: that of the first row.
//! The table stays until the migration is complete or withdrawn; a rollback
//! leaves it.

use std::sync::Arc;

use shearwater_core::absorb::identity::{Identity, Pairs, TARGET};
use shearwater_core::absorb::{Held, Shapes};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::path::Path;
use shearwater_core::query::{Collation, CompareOp, Filter, Keyset, ListQuery, Literal, OrderTerm};
use shearwater_core::shape::FieldType;
use shearwater_core::spec::Assign;
use shearwater_core::store::{Change, Expect, Fetched, Image, Store, Write};
use shearwater_core::{Key, Value};

use super::{BATCH, Carrier, Claims, Fault};
use crate::failpoint;
use crate::records::turns;

/// Attempts at assigning keys while others assign the same numbers.
const ASSIGN_ATTEMPTS_MAX: usize = 64;

/// The table of pairs, read; also another migration's.
pub struct Pairing {
    pairs: Pairs,
    store: Arc<dyn Store>,
}

impl Pairing {
    /// Over the store of the pairs, opened with [`Pairs::layout`].
    pub fn new(pairs: Pairs, store: Arc<dyn Store>) -> Pairing {
        Pairing { pairs, store }
    }

    /// The keys in the target of keys of the source, as far as they have one.
    pub async fn known(&self, keys: &[Key]) -> StoreResult<Vec<Option<Key>>> {
        let rows: Vec<Key> = keys.iter().map(|key| self.pairs.row_key(key)).collect();
        let found = self.store.fetch_many(&rows).await?;
        Ok(found.into_iter().map(|row| Some(self.pairs.pair(&row.image?)?.1)).collect())
    }

    /// The source's key of one of the target.
    pub async fn source_of(&self, key: &Key) -> StoreResult<Option<Key>> {
        let [value] = key.values() else { return Ok(None) };
        let literal = Literal::Typed(self.pairs.stored(value));
        let filter = Filter::Compare { path: Path::field(TARGET), op: CompareOp::Eq, literal };
        let query = ListQuery { filter, order: vec![], after: None, limit: 1 };
        let page = self.store.list(&query).await?;
        let pair = page.records.into_iter().find_map(|row| self.pairs.pair(&row.image?));
        Ok(pair.filter(|(_, target)| target == key).map(|(source, _)| source))
    }
}

/// The table of pairs, in which keys are assigned.
pub struct Crosswalk {
    identity: Identity,
    pairing: Pairing,
    claims: Claims,
    pub(super) shapes: Arc<Shapes>,
    pub(super) source: Arc<dyn Store>,
    pub(super) target: Arc<dyn Store>,
}

/// The stores that a crosswalk asks.
pub struct Asked {
    /// That of the pairs, opened with [`Pairs::layout`].
    pub pairs: Arc<dyn Store>,
    /// The claims on them.
    pub claims: Claims,
    /// The source, as its programs know it.
    pub source: Arc<dyn Store>,
    /// The target.
    pub target: Arc<dyn Store>,
}

impl Crosswalk {
    /// Over the stores that it asks; `None`: keys are computed.
    pub fn new(shapes: Arc<Shapes>, asked: Asked) -> Option<Arc<Crosswalk>> {
        let identity = shapes.identity()?.clone();
        let Asked { pairs, claims, source, target } = asked;
        let pairing = Pairing::new(identity.pairs.clone(), pairs);
        Some(Arc::new(Crosswalk { identity, pairing, claims, shapes, source, target }))
    }

    /// Whether a key of the target is one that the table can hold.
    pub(super) fn can_keep(&self, key: &Key) -> bool {
        match (self.identity.ty, key.values()) {
            (FieldType::Text, [value]) => matches!(self.identity.pairs.stored(value), Value::Uuid(_)),
            (_, values) => values.len() == 1,
        }
    }

    /// Makes the table.
    pub async fn install(&self) -> Result<(), Fault> {
        if self.pairing.store.flags().is_none() {
            let message = format!("{} keeps no table of keys", self.pairing.store.kind());
            let error = StoreError::new(StoreErrorKind::Unsupported, message);
            return Err(Fault::target(error.with_hint("compute the key by a rule with `back` instead of [identity]")));
        }
        self.pairing.store.provision().await.map_err(Fault::target)?;
        Ok(())
    }

    /// Whether the table stays after the end, for the references of others.
    pub fn is_kept(&self) -> bool {
        self.identity.is_kept
    }

    /// The other migrations that still translate by the table.
    pub async fn claimants(&self) -> Result<Vec<String>, Fault> {
        self.claims.all().await.map_err(Fault::target)
    }

    /// Removes the table, if it is there.
    pub async fn remove(&self) -> Result<(), Fault> {
        match self.pairing.store.flags() {
            Some(flags) => flags.drop_own_table().await.map_err(Fault::target),
            None => Ok(()),
        }
    }

    /// The keys in the target of keys of the source, as far as they have one.
    pub async fn known(&self, keys: &[Key]) -> Result<Vec<Option<Key>>, Fault> {
        self.pairing.known(keys).await.map_err(Fault::target)
    }

    /// The source's key of one of the target.
    pub async fn source_of(&self, key: &Key) -> Result<Option<Key>, Fault> {
        self.pairing.source_of(key).await.map_err(Fault::target)
    }

    /// The keys in the target of different keys of the source, assigned now
    /// where there is none.
    pub async fn assign(&self, keys: &[Key]) -> Result<Vec<Key>, Fault> {
        for attempt in 0..ASSIGN_ATTEMPTS_MAX {
            let known = self.known(keys).await?;
            let missing: Vec<&Key> =
                keys.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(key, _)| key).collect();
            if missing.is_empty() {
                return Ok(known.into_iter().flatten().collect());
            }
            match self.add(&missing).await {
                Ok(()) => {}
                Err(Fault::Store(_, error)) if is_lost(&error) => turns::rest(attempt).await,
                Err(fault) => return Err(fault),
            }
        }
        let message = "others assign keys faster than this process";
        Err(Fault::target(StoreError::new(StoreErrorKind::Unavailable, message)))
    }

    async fn add(&self, keys: &[&Key]) -> Result<(), Fault> {
        let mut next = match self.identity.assign {
            Assign::Next { first } => self.next_free(first).await?,
            Assign::Uuid5 { .. } => 0,
        };
        let met = self.met(keys).await?;
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let own = met.get(*key).and_then(|own| own.values().first().cloned());
            let value = match own.or_else(|| self.identity.assign.of_key(key, self.identity.ty)) {
                Some(value) => value,
                None => {
                    let value = Value::Int(next);
                    next = next.checked_add(1).ok_or_else(exhausted)?;
                    value
                }
            };
            let image = Some(self.identity.pairs.row(key, &value));
            changes.push(Change { key: self.identity.pairs.row_key(key), image, expect: Expect::Absent });
        }
        for some in changes.chunks(self.pairing.store.changes_max().max(1)) {
            let write = Write { epoch: None, changes: some.to_vec(), idempotency: None };
            self.pairing.store.write(write).await.map_err(Fault::target)?;
            failpoint::hit("absorb-keys-assigned");
        }
        Ok(())
    }

    /// The number above all that the target has and that were assigned.
    async fn next_free(&self, first: i64) -> Result<i64, Fault> {
        let mut next = first;
        let highest = [(&self.pairing.store, TARGET), (&self.target, self.identity.field.as_str())];
        for (store, field) in highest {
            let order = vec![OrderTerm {
                path: Path::field(field),
                descending: true,
                nulls_first: false,
                collation: Collation::Binary,
            }];
            let query = ListQuery { filter: Filter::All, order, after: None, limit: 1 };
            let page = store.list(&query).await.map_err(Fault::target)?;
            match page.records.first().and_then(|found| found.image.as_ref()?.record.get(field)) {
                Some(Value::Int(highest)) => next = next.max(highest.checked_add(1).ok_or_else(exhausted)?),
                Some(Value::UInt(_)) => return Err(exhausted()),
                _ => {}
            }
        }
        Ok(next)
    }
}

/// Whether somebody else was first with the record, or with the number.
fn is_lost(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::ExpectFailed { .. } | StoreErrorKind::Refused { .. })
}

fn exhausted() -> Fault {
    let error = StoreError::new(StoreErrorKind::Full, "there is no number above the target's highest key");
    Fault::target(error.with_hint("assign UUIDs, or compute the key by a rule"))
}

impl Carrier {
    /// A record's key in the target, assigned now if it has none.
    pub async fn target_key(&self, key: &Key) -> Result<Key, Fault> {
        match &self.setup.crosswalk {
            None => Ok(self.setup.shapes.mapping().key_forward(key)?),
            Some(crosswalk) => {
                let keys = crosswalk.assign(std::slice::from_ref(key)).await?;
                keys.into_iter().next().ok_or_else(|| unassigned().into())
            }
        }
    }

    /// A record's key in the target; `None`: it has none (yet).
    pub async fn known_target_key(&self, state: &State, key: &Key) -> Result<Option<Key>, Fault> {
        match &self.setup.crosswalk {
            None => Ok(self.setup.shapes.mapping().key_forward(key).ok()),
            Some(_) if state.is_target_only() => self.by_origin(key).await,
            Some(_) if !state.uses_sidecars() => Ok(None),
            Some(crosswalk) => Ok(crosswalk.known(std::slice::from_ref(key)).await?.into_iter().flatten().next()),
        }
    }

    /// The source's key of one of the target; `None`: it has none.
    pub async fn known_source_key(&self, state: &State, key: &Key) -> Result<Option<Key>, Fault> {
        match &self.setup.crosswalk {
            None => Ok(self.setup.shapes.mapping().key_reverse(key).ok()),
            Some(_) if !state.uses_sidecars() => Ok(None),
            Some(crosswalk) => crosswalk.source_of(key).await,
        }
    }

    /// When the crosswalk is gone: by the field that keeps the source's key.
    async fn by_origin(&self, key: &Key) -> Result<Option<Key>, Fault> {
        let (Some(path), [value]) = (self.setup.shapes.origin_field(), key.values()) else { return Ok(None) };
        let filter = Filter::Compare { path, op: CompareOp::Eq, literal: Literal::Typed(value.clone()) };
        let query = ListQuery { filter, order: vec![], after: None, limit: 1 };
        let page = self.setup.target.list(&query).await.map_err(Fault::target)?;
        Ok(page.records.into_iter().next().map(|found| found.key))
    }

    /// Gives records that were read from the source the keys that they, and
    /// those that they name, have in the target, where those are assigned.
    pub async fn with_keys(&self, records: &mut [Fetched]) -> Result<(), Fault> {
        if let Some(crosswalk) = &self.setup.crosswalk {
            for some in records.chunks_mut(BATCH) {
                let keys: Vec<Key> = some.iter().map(|found| found.key.clone()).collect();
                for (found, key) in some.iter_mut().zip(crosswalk.assign(&keys).await?) {
                    if let Some(image) = &mut found.image {
                        self.setup.shapes.with_key(image, &key);
                    }
                }
            }
        }
        let mut rows: Vec<&mut Image> = records.iter_mut().filter_map(|found| found.image.as_mut()).collect();
        self.refer(&mut rows).await
    }

    /// The same for one row.
    pub async fn with_own_key(&self, key: &Key, held: &mut Held) -> Result<(), Fault> {
        if self.setup.crosswalk.is_some() {
            let key = self.target_key(key).await?;
            self.setup.shapes.with_key(&mut held.v1, &key);
        }
        self.refer(&mut [&mut held.v1]).await
    }

    /// Gives every record of the source its key, so that v2 clients can name
    /// any of them; `go_on` is asked between two pages.
    pub async fn assign_all(&self, mut go_on: impl FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
        let Some(crosswalk) = &self.setup.crosswalk else { return Ok(()) };
        let mut after: Option<Key> = None;
        loop {
            go_on()?;
            let after_key = after.map(|key| Keyset { values: vec![], key });
            let query = ListQuery { filter: Filter::All, order: vec![], after: after_key, limit: BATCH };
            let page = self.setup.plain.list(&query).await.map_err(Fault::source)?;
            let keys: Vec<Key> = page.records.into_iter().map(|found| found.key).collect();
            crosswalk.assign(&keys).await?;
            after = keys.last().cloned();
            if !page.more || after.is_none() {
                return Ok(());
            }
        }
    }

    /// A record of the source in shape v2.
    pub async fn forward(&self, key: &Key, v1: &Image) -> Result<Image, Fault> {
        let mut v1 = v1.clone();
        if self.setup.crosswalk.is_some() {
            let key = self.target_key(key).await?;
            self.setup.shapes.with_key(&mut v1, &key);
        }
        self.refer(&mut [&mut v1]).await?;
        Ok(Image::of(self.setup.shapes.forward(&v1)?.v2))
    }
}

/// Why v2 has no records yet.
pub(super) fn unassigned() -> shearwater_core::mapping::MappingError {
    shearwater_core::mapping::MappingError {
        code: "absorb/unassigned",
        path: String::new(),
        message: "records get their keys of the target in `prepare`".to_owned(),
        hint: Some("`shearwater advance`".to_owned()),
    }
}
