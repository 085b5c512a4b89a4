//! DynamoDB, in the `document` layout: an item for each record.
//!
//! Stamp and dirty mark stand in the item, in one attribute of ours; the fence,
//! the marks by age, idempotency rows and checkpoints stand in a table beside the
//! user's. A write is one transaction over both.

mod action;
mod apply;
mod budget;
mod capture;
mod config;
mod error;
pub(crate) mod evolve;
mod inspect;
mod item;
mod list;
mod look;
mod number;
pub(crate) mod outsider;
mod provision;
mod scan;
mod session;
mod sidecar;
mod table;
mod value;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shearwater_core::Document;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::{Covers, Store};
use tokio::sync::OnceCell;

use self::config::Config;
pub(crate) use self::inspect::inspect;
use self::session::Session;
use self::table::{Names, Schema};
use crate::Create;

/// Batches of puts that are applied side by side with profit: partitions are
/// written independently of each other.
const APPLIERS: usize = 4;

/// A store in a table of DynamoDB.
pub(crate) struct DynamoDb {
    session: Arc<Session>,
    config: Config,
    names: Names,
    schema: OnceCell<Schema>,
    /// The last counter given out.
    counter: AtomicU64,
    /// What tells this handle's counters from others' in the same microsecond.
    handle: u64,
    /// Which of the fence's items is checked next.
    turns: AtomicUsize,
    /// Bytes of an item on average, as seen last.
    item_bytes: AtomicUsize,
}

/// Opens a store: see [`crate::open`].
pub(crate) async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<DynamoDb> {
    let config = Config::parse(url)?;
    let session = Session::open(&config);
    DynamoDb::over(config, session, layout, create).await
}

/// A record, or a part of one, as the store gives it back when nothing is noted beside it.
pub(crate) fn kept(record: Document) -> Document {
    // What cannot be held is left as it is, for the write to refuse it by name.
    item::kept(&Schema { key: Vec::new() }, &record).unwrap_or(record)
}

/// Whether there are attributes of this type.
pub(crate) fn has_type(ty: FieldType) -> bool {
    !inspect::LACKS.contains(&ty)
}

impl DynamoDb {
    async fn over(config: Config, session: Session, layout: Layout, create: Create) -> StoreResult<DynamoDb> {
        let names = Names::of(layout, &config)?;
        let store = DynamoDb {
            session: Arc::new(session),
            names,
            schema: OnceCell::new(),
            counter: AtomicU64::new(0),
            handle: u64::from(uuid::Uuid::new_v4().as_fields().0) & ((1 << write::HANDLE_BITS) - 1),
            turns: AtomicUsize::new(0),
            item_bytes: AtomicUsize::new(scan::item_bytes_assumed()),
            config,
        };
        // A table that is there must have the layout's key; one that is not may be made.
        match store.schema().await {
            Err(error) if error.kind == StoreErrorKind::NotFound && create == Create::IfMissing => {
                match store.describe(&store.names.layout.table).await? {
                    Some(_) => Err(error),
                    None => Schema::to_make(&store.names, &store.config).map(|_| store),
                }
            }
            Err(error) => Err(error),
            Ok(_) => Ok(store),
        }
    }

    /// The table's key.
    async fn schema(&self) -> StoreResult<&Schema> {
        self.schema
            .get_or_try_init(|| async {
                let table = self.describe(&self.names.layout.table).await?.ok_or_else(|| self.no_table())?;
                Schema::of(&self.names, &self.config, &table)
            })
            .await
    }

    fn no_table(&self) -> StoreError {
        let what = format!("DynamoDB ({}): there is no table {:?}", self.session.place, self.names.layout.table);
        StoreError::new(StoreErrorKind::NotFound, what).with_hint("is it in this region, and of this account?")
    }

    /// Which of the fence's items is checked now.
    fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

impl Store for DynamoDb {
    fn layout(&self) -> &Layout {
        &self.names.whole
    }

    fn kind(&self) -> &'static str {
        "dynamodb"
    }

    fn appliers(&self) -> usize {
        APPLIERS
    }

    fn changes_max(&self) -> usize {
        write::changes_max()
    }

    fn covers(&self) -> Covers {
        Covers::Gateway
    }

    fn kept(&self, record: Document) -> Document {
        // What cannot be held is left as it is, for the write to refuse it by name.
        let kept = self.schema.get().and_then(|schema| item::kept(schema, &record));
        kept.unwrap_or(record)
    }
}
