//! MongoDB, in the document layout: a collection of a replica set.
//!
//! What the protocol needs stands in one reserved field of each document that was
//! written since capture began ([`record`]); the fence, idempotency keys,
//! checkpoints and the keys of foreign writes in one collection of our own beside
//! the user's. An authority's write is one transaction that touches the fence
//! ([`fence`], [`write`]), and on a standalone server, which has none, one
//! conditional operation within an intent ([`intent`]); a follower's put is one conditional operation
//! ([`apply`]). Programs that write the collection by themselves are not stamped:
//! what they change in a document that has the field is noticed by its hash, and
//! verification finds the rest.

mod along;
mod apply;
mod bracket;
mod capture;
mod condition;
mod config;
mod decimal;
mod encode;
mod error;
pub(crate) mod evolve;
mod fence;
mod flat;
mod inspect;
mod intent;
mod key;
mod list;
mod moments;
pub(crate) mod outsider;
mod provision;
mod raw;
mod record;
mod scan;
mod session;
mod stripes;
mod tombstone;
mod value;
mod vitals;
mod walk;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use mongodb::bson::{Document as Bson, RawDocumentBuf};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::flat::Gives;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::{Covers, Inspection, Role, Store, Vitals};
use shearwater_core::{Document, Key};

use self::error::{Tried, failure};
use self::fence::{Fences, State};
use self::key::Keys;
use self::raw::{Doc, Owned};
use self::record::{RESERVED, Records, Row, Sidecar};
use self::session::{Server, filter};
use self::stripes::Stripes;
use self::tombstone::UniquePath;
use crate::Create;
use crate::seen_size::SeenSize;

/// The longest name of a collection with its database, bytes.
const NAMESPACE_BYTES_MAX: usize = 255;

/// Keys asked for in one command.
const KEYS_MAX: usize = 5_000;

/// A store in a collection.
pub(crate) struct MongoDb(Arc<Inner>);

/// What every call works with.
struct Inner {
    server: Server,
    layout: Layout,
    records: Records,
    fences: Fences,
    stripes: Stripes,
    seen_size: SeenSize,
    facts: RwLock<Facts>,
}

/// What was seen of the collection's rules.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// The unique indexes' first fields.
    unique: Vec<UniquePath>,
    /// Whether there is a validator, which tombstones and our field must pass by:
    /// that takes a privilege, so it is asked for only where it is needed.
    validated: Validated,
}

/// Whether a collection has a validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Validated {
    #[default]
    No,
    Yes,
}

/// Opens a store: see [`crate::open`].
pub(crate) async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<MongoDb> {
    let Layout::Document(document) = &layout else {
        let what = "MongoDB has collections of documents, not tables of columns: the layout `rows` is none of its";
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("write layout = \"document\" in the section of this store"));
    };
    let table = document.table.clone();
    if table.to_ascii_lowercase().starts_with(RESERVED) {
        let what = format!("collection {table:?}: names that begin with {RESERVED} are ours");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what));
    }
    if document.key.iter().any(|name| name == RESERVED) {
        let what = format!("collection {table:?}: the field {RESERVED} is ours and cannot be its key");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what));
    }
    let server = Server::open(url).await?;
    let own = format!("{RESERVED}.{table}");
    if server.name.len() + 1 + own.len() > NAMESPACE_BYTES_MAX || table.contains(['$', '\0']) || table.is_empty() {
        let what = format!("collection {table:?}: MongoDB has no collection of this name");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("a name is not empty, has no `$` and no U+0000, and is not too long"));
    }
    let inner = Inner {
        records: Records { keys: Keys::of(&table, &document.key), table: table.clone() },
        fences: Fences::of(&table, own),
        layout,
        server,
        stripes: Stripes::new(),
        seen_size: SeenSize::default(),
        facts: RwLock::new(Facts::default()),
    };
    match inspect::collection(&inner.server, &inner.records.table).await? {
        Some(found) => found.check()?,
        None if create == Create::IfMissing => {}
        None => {
            let what = format!("MongoDB: {}: there is no collection {table:?}", inner.server.place);
            return Err(
                StoreError::new(StoreErrorKind::NotFound, what).with_hint("check the URL's database and the name")
            );
        }
    }
    inner.look_at_rules().await?;
    Ok(MongoDb(Arc::new(inner)))
}

/// Looks at a whole database: see [`crate::inspect`].
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    inspect::inspect(&Server::open(url).await?).await
}

/// Whether BSON has values of this type.
pub(crate) fn has_type(ty: FieldType) -> bool {
    !matches!(ty, FieldType::Date | FieldType::Time | FieldType::Timestamp)
}

/// That the sidecar is not there.
fn no_sidecar(table: &str) -> StoreError {
    let what = format!("collection {table:?} has no sidecar");
    StoreError::new(StoreErrorKind::Sidecar, what).with_hint("`start` installs it, `complete` and `withdraw` remove it")
}

impl Inner {
    /// The fence, if a sidecar is installed.
    async fn state(&self) -> StoreResult<Option<State>> {
        self.fences.state(self).await.map_err(|failure| failure.error)
    }

    /// The fence of a call that needs the sidecar.
    async fn needed_state(&self) -> StoreResult<State> {
        self.state().await?.ok_or_else(|| no_sidecar(&self.records.table))
    }

    /// The collection's rules, as they were seen last.
    fn facts(&self) -> Facts {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the collection's rules.
    async fn look_at_rules(&self) -> StoreResult<()> {
        let facts = Facts {
            unique: inspect::unique_paths(&self.server, &self.records.table).await?,
            validated: inspect::validated(&self.server, &self.records.table).await?,
        };
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
        Ok(())
    }

    /// Lets a command's documents pass the collection's validator, if it has one.
    fn unvalidated(&self, command: &mut Doc) {
        if self.facts.read().unwrap_or_else(PoisonError::into_inner).validated == Validated::Yes {
            command.yes("bypassDocumentValidation");
        }
    }

    /// Every document of a small answer.
    async fn all(
        &self,
        what: &str,
        collection: &str,
        condition: Vec<u8>,
        projection: Option<Bson>,
    ) -> Tried<Vec<RawDocumentBuf>> {
        let collection = self.server.collection(collection);
        let mut find = collection.find(filter(condition)?);
        if let Some(projection) = projection {
            find = find.projection(projection);
        }
        let failed = |e| failure(what, &e).of_a_repeatable();
        self.server.rows(find).await.map_err(failed)?.all().await.map_err(failed)
    }

    /// The documents of these `_id`s, by their keys.
    async fn rows_of<'a>(&self, ids: impl Iterator<Item = &'a Owned>) -> Tried<HashMap<Key, Row>> {
        let ids: Vec<&Owned> = ids.collect();
        let mut rows = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(KEYS_MAX) {
            let found = self.all("reading records", &self.records.table, one_of(chunk), None).await?;
            for row in found.into_iter().map(|raw| self.records.read(raw)) {
                if let Ok(key) = &row.key {
                    rows.insert(key.clone(), row);
                }
            }
        }
        Ok(rows)
    }

    /// Notes the documents that somebody else has changed where nobody but us
    /// should. On a standalone server, what was read is made durable first.
    async fn note_foreign<'a>(
        &self,
        state: Option<State>,
        rows: impl Iterator<Item = &'a Row> + Clone,
    ) -> StoreResult<()> {
        let is_new = |row: &Row| row.mark.as_ref().is_some_and(|mark| mark.dirty);
        if state.is_some() && !self.server.has_transactions() && rows.clone().any(is_new) {
            intent::flush(self).await?;
        }
        if state.is_none_or(|state| state.fence.role == Role::Authority) {
            return Ok(());
        }
        let ids: Vec<Owned> = rows
            .filter(|row| row.is_foreign())
            .filter_map(|row| raw::find(row.raw.as_bytes(), key::ID).map(Owned::of))
            .collect();
        match ids.is_empty() {
            true => Ok(()),
            false => capture::note_foreign(self, &ids).await.map_err(|failure| failure.error),
        }
    }
}

/// The filter of several `_id`s.
fn one_of(ids: &[&Owned]) -> Vec<u8> {
    let mut doc = Doc::new();
    doc.begin("_id").begin_array("$in");
    for (n, id) in ids.iter().enumerate() {
        doc.put(&n.to_string(), id.get());
    }
    doc.end()
}

/// Whether a fence that was read says that the sidecar is there.
fn sidecar_of(state: Option<State>) -> Sidecar {
    if state.is_some() { Sidecar::Installed } else { Sidecar::Absent }
}

impl MongoDb {
    /// Runs work to its end even when the caller goes away.
    async fn to_the_end<T: Send + 'static>(
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        let ended = |_| StoreError::new(StoreErrorKind::OutcomeUnknown, "MongoDB: a request failed inside the program");
        tokio::spawn(work).await.map_err(ended)?
    }
}

impl Store for MongoDb {
    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn appliers(&self) -> usize {
        apply::APPLIERS
    }

    fn changes_max(&self) -> usize {
        if self.0.server.has_transactions() { usize::MAX } else { 1 }
    }

    fn kept(&self, mut record: Document) -> Document {
        // MongoDB moves it to the front.
        let id = if self.0.records.keys.is_id() { record.remove(key::ID) } else { None };
        match id {
            None => record,
            Some(id) => std::iter::once((key::ID.to_owned(), id)).chain(record).collect(),
        }
    }

    fn covers(&self) -> Covers {
        Covers::Gateway
    }

    fn vitals(&self) -> Option<&dyn Vitals> {
        Some(self)
    }

    fn gives(&self) -> Option<&dyn Gives> {
        // Where the key is other fields, `_id` has to be looked at beside them.
        if self.0.records.keys.is_id() { Some(self) } else { None }
    }
}
