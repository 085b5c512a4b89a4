//! The traits that every store implements. Their meaning lives in the
//! conformance suite of `shearwater-stores`, which every store passes.
//!
//! A store speaks its own shape only: documents of the source are v1, documents
//! of the target are v2; the mapping stands between them, in the engine and in
//! the gateway.

use async_trait::async_trait;

use crate::error::{StoreError, StoreResult};
use crate::query::{ListPage, ListQuery};
use crate::shape::{FieldType, Layout};
use crate::value::Document;
use crate::{Key, Stamp};

/// Which of the two stores; fixed, even after the cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where the records were at the start.
    Source,
    /// Where they will be.
    Target,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}

/// A record as one store holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// The record in this store's shape, key fields included.
    pub record: Document,
    /// Fields of the other shape that this store's shape cannot hold (H20);
    /// kept in the sidecar, in the same atomic write. Empty for most records.
    pub parked: Document,
}

impl Image {
    /// An image without parked fields.
    pub fn of(record: Document) -> Image {
        Image { record, parked: Document::new() }
    }
}

/// The answer of a read by key: also says that there is no record.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The key that was asked for.
    pub key: Key,
    /// The record, or `None` when there is none (never was, or a tombstone).
    pub image: Option<Image>,
    /// Its stamp, of one snapshot with the record; [`Stamp::ZERO`] when nobody
    /// has written the key since capture began; `None` when the store has no sidecar.
    pub stamp: Option<Stamp>,
    /// Whether the follower has not confirmed this stamp yet.
    pub dirty: bool,
}

/// A part of the key space in the store's own scan order; the texts are opaque
/// to all but the connector that made them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScanRange {
    /// Its number, from 0.
    pub id: u32,
    /// The lowest key, inclusive; `None`: from the beginning.
    pub low: Option<String>,
    /// The highest key, inclusive; `None`: to the end as it is when the scan gets there.
    pub high: Option<String>,
}

/// A place in a scan, opaque to all but the connector that made it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor(pub String);

/// How much one scan call may return.
#[derive(Clone, Copy, Debug)]
pub struct ChunkMax {
    /// Records.
    pub records: usize,
    /// Bytes of documents, approximately; at least one record is returned.
    pub bytes: usize,
}

/// What one scan call returned.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Existing records with their stamps, all of one snapshot. A row that
    /// cannot be read as the layout says is an `Err` in its place, with its key
    /// when that can be read.
    pub records: Vec<Result<Fetched, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
    /// Bytes of documents read, approximately.
    pub bytes: usize,
}

/// The keys that one scan call returned.
#[derive(Clone, Debug)]
pub struct KeyChunk {
    /// Keys of existing records; a key that cannot be read is an `Err` in its place.
    pub keys: Vec<Result<Key, BadRow>>,
    /// Where to go on; `None` when the range is finished.
    pub next: Option<Cursor>,
}

/// A row that the layout cannot read.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// The key, when that much can be read.
    pub key: Option<Key>,
    /// What is wrong.
    pub error: StoreError,
}

/// Rough size of a store's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Records.
    pub records: u64,
    /// Whether `records` is exact.
    pub exact: bool,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Reading.
#[async_trait]
pub trait Reader: Send + Sync {
    /// One record by key, with its stamp, from one snapshot.
    async fn fetch(&self, key: &Key) -> StoreResult<Fetched>;

    /// Many records by key, in the order asked, from one snapshot.
    async fn fetch_many(&self, keys: &[Key]) -> StoreResult<Vec<Fetched>>;

    /// Splits the key space into at most `parts` ranges of similar size that
    /// cover every record existing now, without overlap.
    async fn split(&self, parts: usize) -> StoreResult<Vec<ScanRange>>;

    /// The next records of a range in scan order, after `after`.
    async fn scan(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<Chunk>;

    /// As [`Reader::scan`], the keys only. A store that reads keys for less
    /// than records says so by doing it itself.
    async fn scan_keys(&self, range: &ScanRange, after: Option<&Cursor>, max: ChunkMax) -> StoreResult<KeyChunk> {
        let chunk = self.scan(range, after, max).await?;
        let keys = chunk.records.into_iter().map(|record| match record {
            Ok(fetched) => Ok(fetched.key),
            Err(BadRow { key: Some(key), .. }) => Ok(key),
            Err(bad) => Err(bad),
        });
        Ok(KeyChunk { keys: keys.collect(), next: chunk.next })
    }

    /// Whether there is a record under each key, in the order asked, from one
    /// snapshot. A store may answer an error where a record cannot be read.
    async fn present(&self, keys: &[Key]) -> StoreResult<Vec<bool>> {
        Ok(self.fetch_many(keys).await?.into_iter().map(|fetched| fetched.image.is_some()).collect())
    }

    /// Rough size, cheap.
    async fn estimate(&self) -> StoreResult<Estimate>;

    /// One page of a filtered, ordered list (see [`crate::query`] for the meaning).
    async fn list(&self, query: &ListQuery) -> StoreResult<ListPage>;

    /// As [`Reader::list`], without records that have nothing parked beside
    /// them. A store may answer those too: whoever asks looks at what is parked.
    /// A store that finds them for less than by reading all says so by doing it
    /// itself.
    async fn list_parked(&self, query: &ListQuery) -> StoreResult<ListPage> {
        self.list(query).await
    }

    /// How the store answers such a list; `None`: it does not tell. Reads no
    /// more of the records than it takes to say so.
    async fn explain(&self, _query: &ListQuery, _among: Among) -> StoreResult<Option<ListPlan>> {
        Ok(None)
    }
}

/// Which records a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    All,
    /// Those with something parked beside them.
    Parked,
}

/// How a store answers a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlan {
    /// How much it reads for a page.
    pub reads: Reads,
    /// The steps in the store's own words, where it has some.
    pub steps: Vec<String>,
    /// The statement that makes the index it would need to read no more than
    /// the page; `None`: it needs none, or none would help.
    pub index: Option<String>,
}

/// How much a store reads for a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// About as much as the page has, wherever in the list it is.
    Page,
    /// Every record that may match.
    Everything,
}

/// What must be true of the record for a change to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// No record under the key.
    Absent,
    /// A record under the key.
    Present,
    /// A record (or, for a put, its absence) with exactly this stamp.
    Stamp(Stamp),
    /// A record whose canonical hash (of `Image::record`) is this; for stores
    /// without a sidecar.
    Content(u128),
}

/// One change of an authority write.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record's key.
    pub key: Key,
    /// The whole new record, or `None` to delete it.
    pub image: Option<Image>,
    /// The precondition.
    pub expect: Expect,
}

/// What a client's `Idempotency-Key` left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// The client's key, prefixed by the gateway with what it is scoped to.
    pub key: String,
    /// Hash of the request, to refuse another one under the same key.
    pub request_hash: u128,
    /// The answer to give again, as the gateway wrote it. `{stamp}` in it
    /// stands for the stamp of the write's first change.
    pub answer: String,
    /// When it was written, ms since 1970.
    pub at_ms: i64,
}

/// One atomic authority write: all of its changes or none.
#[derive(Clone, Debug)]
pub struct Write {
    /// The member's epoch; `None` only for a store without a sidecar.
    pub epoch: Option<u64>,
    /// The changes, in order. A changed key is a delete and a put.
    pub changes: Vec<Change>,
    /// The idempotency row to store with them.
    pub idempotency: Option<IdempotencyRow>,
}

/// What an authority write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Applied: one stamp for each change (`None`: the store has no sidecar).
    Applied(Vec<Option<Stamp>>),
    /// Not applied: the idempotency key was used before by the same request;
    /// this is what it left.
    Replayed(IdempotencyRow),
}

/// Writing as the authority: checks the fence and the preconditions, applies
/// the changes, assigns stamps, sets dirty marks and stores the idempotency
/// row in one atomic operation, durable when it returns.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Applies a write.
    async fn write(&self, write: Write) -> StoreResult<Written>;

    /// What an idempotency key left behind here.
    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>>;

    /// Forgets idempotency rows older than a time; returns how many.
    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64>;
}

/// A record or a tombstone on its way to the follower.
#[derive(Clone, Debug)]
pub struct Put {
    /// The record's key in this store's shape.
    pub key: Key,
    /// The record, or `None` for a tombstone.
    pub image: Option<Image>,
    /// The authority's stamp.
    pub stamp: Stamp,
}

/// What became of one [`Put`].
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The follower changed.
    Changed,
    /// The follower held this already (equal stamp and equal content, or a
    /// lower stamp and equal content: then its stamp was raised).
    Unchanged,
    /// The follower holds a higher stamp; nothing was done.
    Stale {
        /// The stamp it holds.
        held: Stamp,
    },
    /// The follower refuses this record; the others of the batch went in.
    Refused(StoreError),
}

/// Progress of a backfill range, kept in the follower so that it commits with
/// the rows that it covers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// The backfill run that it belongs to.
    pub run: String,
    /// The range.
    pub range: u32,
    /// Where to go on; `None` with `done`.
    pub cursor: Option<Cursor>,
    /// Whether the range is finished.
    pub done: bool,
    /// Records read so far.
    pub read: u64,
    /// Records that the follower changed for, those of the batch that it was
    /// saved with included.
    pub changed: u64,
    /// Dead letters made.
    pub dead: u64,
    /// Bytes read so far.
    pub bytes: u64,
}

/// What a batch makes of its range's checkpoint. Which records it changes is
/// known only inside its transaction, so the store asks [`CheckpointStep::after`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointStep {
    /// The checkpoint before the batch; of the same run and range.
    pub from: Checkpoint,
    /// Where the range is when the batch is in; its `changed` is not looked at.
    pub to: Checkpoint,
}

impl CheckpointStep {
    /// The checkpoint to save in the batch's own transaction, from the answer
    /// to each of its puts: `to`, or `from` as long as the dead letter of a
    /// refused put is not kept, with what the batch changed counted in either.
    pub fn after(&self, answers: &[Applied]) -> Checkpoint {
        let changed = answers.iter().filter(|answer| matches!(answer, Applied::Changed)).count() as u64;
        let refused = answers.iter().any(|answer| matches!(answer, Applied::Refused(_)));
        let at = if refused { &self.from } else { &self.to };
        Checkpoint { changed: self.from.changed + changed, ..at.clone() }
    }
}

/// Writing as the follower: guarded puts. A put is applied when the stamp held
/// for its key is lower, or is equal while the content differs (at one stamp
/// the authority has one content, so this only mends a follower that strayed).
#[async_trait]
pub trait Follower: Send + Sync {
    /// Applies puts in one transaction, with the checkpoint if there is one;
    /// one answer for each put, in order. Refused when this store is the
    /// authority or its epoch is above `epoch`. Unique values that only pass
    /// between records of the batch are no refusal. The checkpoint that is saved
    /// is [`CheckpointStep::after`] of the answers: it never stands behind the
    /// rows, and never passes a refused put. The caller keeps that one's dead
    /// letter first and then goes on with an empty batch, so that no crash loses
    /// the letter.
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>>;

    /// The checkpoints of a run, by range.
    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>>;
}

/// What a store does with writes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Stamps and marks every write, whoever makes it.
    Authority,
    /// Takes guarded puts; notes writes that are not ours as foreign.
    Follower,
    /// Takes guarded puts; refuses every other write.
    Closed,
}

/// A store's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fence {
    /// What it does with writes.
    pub role: Role,
    /// The lowest epoch that it accepts; also the epoch of new stamps.
    pub epoch: u64,
}

/// A key that the follower has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyMark {
    /// The key in this store's shape.
    pub key: Key,
    /// The stamp to confirm.
    pub stamp: Stamp,
}

/// The sidecar: stamps, marks, tombstones, fence, kept where every writer's
/// transaction includes them.
#[async_trait]
pub trait Capture: Send + Sync {
    /// Creates what the layout needs in this store (tables of the target) when
    /// it is not there; never changes what is. Returns the statements run.
    async fn provision(&self) -> StoreResult<Vec<String>>;

    /// Makes the layout's foreign keys ([`Layout::references`]) hold, and keeps
    /// those that hold already; returns the statements run. `complete` calls it
    /// on the target, once nothing follows there any more: until then a row may
    /// come before the row that it refers to, so `provision` adds no foreign key
    /// that our own writes would trip over. Rows without the row that they need
    /// are an error ([`crate::error::StoreErrorKind::Refused`]) that names the
    /// table, the column and some of their keys. Only called for a layout that
    /// has references.
    async fn constrain(&self) -> StoreResult<Vec<String>> {
        Err(StoreError::new(
            crate::error::StoreErrorKind::Unsupported,
            "this connector cannot add foreign keys to its tables",
        )
        .with_hint("take `references` out of the spec and add the foreign keys by hand"))
    }

    /// Installs the sidecar with this fence; does nothing when it is installed
    /// already (the fence stays as it is). Atomic.
    async fn install(&self, fence: Fence) -> StoreResult<()>;

    /// As [`Capture::install`], and so that [`Reader::list_parked`] finds its
    /// records for less than by looking at all: a store that takes an index for
    /// that makes it here.
    async fn install_for_parked(&self, fence: Fence) -> StoreResult<()> {
        self.install(fence).await
    }

    /// Removes the sidecar and all reserved names. Does nothing when there is none.
    async fn remove(&self) -> StoreResult<()>;

    /// The fence, or `None` when no sidecar is installed.
    async fn fence(&self) -> StoreResult<Option<Fence>>;

    /// Sets the fence if it is `expect` now; durable when it returns, and no
    /// write admitted under the old one is still on its way. Answers the fence
    /// that holds afterwards.
    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence>;

    /// Dirty marks, oldest stamp first, above `after`.
    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>>;

    /// How many dirty marks there are.
    async fn dirty_count(&self) -> StoreResult<u64>;

    /// Clears marks whose stamp is still the given one; returns how many.
    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64>;

    /// Keys written here as a follower by somebody else.
    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>>;

    /// Forgets foreign writes of these keys.
    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64>;

    /// Every name (table, trigger, index) that the sidecar has in this store now.
    async fn sidecar_names(&self) -> StoreResult<Vec<String>>;
}

/// What `plan` and `init` read from a store.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Kind and version of the store, for people.
    pub product: String,
    /// Tables with their columns.
    pub tables: Vec<InspectedTable>,
    /// Settings and facts of the whole store that matter, each a sentence.
    pub hazards: Vec<String>,
    /// What a text column that `provision` makes refuses.
    pub text: Bounds,
    /// Whether the words of a declared type bound what its column holds.
    pub declarations: Declarations,
    /// Field types that a document of this store has not: what is written of
    /// them comes back as text, or as another kind of number, once no migration
    /// runs there.
    pub lacks: Vec<FieldType>,
    /// As [`Store::covers`].
    pub covers: Covers,
}

/// What the words of a declared type mean to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Declarations {
    /// `varchar(40)` refuses longer texts.
    #[default]
    Bind,
    /// Nothing is refused for them.
    Hint,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Rows of columns; a document stands in one of them.
    #[default]
    Columns,
    /// Documents themselves: the columns are fields that some of them have, and
    /// the layout's document column is none.
    Documents,
}

/// A table as the store describes it.
#[derive(Clone, Debug, Default)]
pub struct InspectedTable {
    /// Its name.
    pub name: String,
    /// What its rows are.
    pub form: Form,
    /// Its columns.
    pub columns: Vec<InspectedColumn>,
    /// Its primary key's columns.
    pub key: Vec<String>,
    /// Its unique constraints, each a list of columns.
    pub unique: Vec<Vec<String>>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Facts of this table alone that matter, each a sentence: triggers of the
    /// user, cascades that capture does not see, privileges that are missing.
    pub hazards: Vec<String>,
    /// Rough size.
    pub estimate: Estimate,
}

/// A foreign key: rows of this table need a row of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name; empty where the store gives none.
    pub name: String,
    /// Columns of this table.
    pub columns: Vec<String>,
    /// The other table.
    pub table: String,
    /// Columns of the other table, in the same order.
    pub references: Vec<String>,
    /// Whether deleting or changing the other row changes this one by itself
    /// (`CASCADE`, `SET NULL`, `SET DEFAULT`). Where capture does not see such
    /// changes, the connector says so among the table's hazards.
    pub cascades: bool,
}

/// What a column's values must be, as far as the store bounds them; `None`:
/// nothing but the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Characters of a text.
    pub chars_max: Option<u64>,
    /// Bytes of a text or of bytes.
    pub bytes_max: Option<u64>,
    /// Digits of a decimal in all, and after the point.
    pub digits: Option<(u32, i32)>,
    /// The lowest and the highest integer.
    pub integers: Option<(i64, u64)>,
    /// Digits of a second's fraction.
    pub fraction_digits: Option<u8>,
    /// The only values, for an enumeration.
    pub labels: Option<Vec<String>>,
    /// Whether a text that holds U+0000 is refused.
    pub refuses_nul: bool,
    /// The column's character set when it does not hold all of Unicode.
    pub charset: Option<String>,
}

/// A column as the store describes it.
#[derive(Clone, Debug, Default)]
pub struct InspectedColumn {
    /// Its name.
    pub name: String,
    /// Its declared type in the store's words.
    pub declared: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its default, in the store's words.
    pub default: Option<String>,
    /// Whether the store computes it.
    pub generated: bool,
    /// Whether the store numbers it by itself when it is left out.
    pub identity: bool,
    /// The statement that brings the store's numbering past the highest value
    /// there is, where writing values does not do so by itself.
    pub renumber: Option<String>,
    /// The field type that reads it exactly; `None`: this connector cannot read it.
    pub ty: Option<FieldType>,
    /// What its values must be.
    pub bounds: Bounds,
    /// Its collation when that takes different texts for equal, or orders them
    /// otherwise than by bytes.
    pub collation: Option<String>,
    /// Whether that collation takes different texts for equal (letter case,
    /// accents, blanks at the end).
    pub folds: bool,
}

/// Looking at a store without changing it.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// What is there. Writes nothing.
    async fn inspect(&self) -> StoreResult<Inspection>;
}

/// How background work weighs on a store now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that wait for a lock that a session of ours holds.
    pub lock_waits: u64,
    /// How far the store's slowest replica is behind, ms; 0 when it has none.
    pub replica_lag_ms: u64,
}

/// Stores that can tell how background work weighs on them.
#[async_trait]
pub trait Vitals: Send + Sync {
    /// Looks now; cheap enough to be asked twice a second. An error means that
    /// nobody knows, and background work rests until somebody does.
    async fn load(&self) -> StoreResult<Load>;
}

/// Whose writes a store captures and fences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    /// Everybody's, also of programs that have never heard of us.
    #[default]
    Everyone,
    /// Those through the gateway; what others write is noticed when it is looked
    /// at, and they are not stopped.
    Gateway,
}

/// Stores that can carry a flag of ours beside each record, in the user's own
/// table: a column that is false for every record that nobody has flagged, and
/// an index that finds those that are not, in the order of their keys.
#[async_trait]
pub trait Flags: Send + Sync {
    /// Adds the column and its index, without a lock that other programs wait
    /// for longer than a moment; what is there already stays. A column of this
    /// name that is not ours is an error. Returns the statements run.
    async fn add_flag(&self, flag: &str) -> StoreResult<Vec<String>>;

    /// Removes both, if they are ours. Returns the statements run.
    async fn remove_flag(&self, flag: &str) -> StoreResult<Vec<String>>;

    /// Drops the layout's table if it is there and its name says that it is
    /// ours; any other is an error.
    async fn drop_own_table(&self) -> StoreResult<()>;

    /// How many records are flagged, or are not.
    async fn count_flagged(&self, flag: &str, flagged: Flagged) -> StoreResult<u64>;
}

/// What the names of tables of our own begin with that are opened as stores; sidecars have names of theirs.
pub const OWN_TABLES: &str = "shearwater_keys_";

/// Refuses to drop what is not ours.
///
/// # Errors
/// [`crate::error::StoreErrorKind::Unsupported`]
pub fn must_be_own(table: &str) -> StoreResult<()> {
    if table.starts_with(OWN_TABLES) {
        return Ok(());
    }
    let message = format!("table {table:?} is not ours to drop");
    Err(StoreError::new(crate::error::StoreErrorKind::Unsupported, message))
}

/// Whether a record is flagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flagged {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// A store that can take part in a migration.
pub trait Store: Reader + Writer + Follower + Capture + Inspect {
    /// The layout that it was opened with.
    fn layout(&self) -> &Layout;

    /// The kind, for example `sqlite`.
    fn kind(&self) -> &'static str;

    /// How many batches of puts it applies side by side with profit. 1: its
    /// writers only queue for one another.
    fn appliers(&self) -> usize {
        1
    }

    /// How many changes one [`Write`] takes at most.
    fn changes_max(&self) -> usize {
        usize::MAX
    }

    /// A record as this store gives it back when it has noted nothing beside it.
    /// A store that lacks types, or the order of fields, says here what it makes
    /// of them; what clients write is made so before it is written and answered.
    fn kept(&self, record: Document) -> Document {
        record
    }

    /// Whose writes are stamped and marked as they are made, and refused while
    /// the store is closed.
    fn covers(&self) -> Covers {
        Covers::Everyone
    }

    /// How background work weighs on it, where the store can tell.
    fn vitals(&self) -> Option<&dyn Vitals> {
        None
    }

    /// Rows as they are, where the layout has no more than one table and the
    /// store can pass them.
    fn verbatim(&self) -> Option<&dyn crate::verbatim::Verbatim> {
        None
    }

    /// Its flags, where the layout has columns and the store can add one;
    /// a document carries its flag as a field.
    fn flags(&self) -> Option<&dyn Flags> {
        None
    }
}
