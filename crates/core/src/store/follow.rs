//! Writing as the follower: guarded puts, and the checkpoints that commit with them.

use async_trait::async_trait;

use super::{Cursor, Image};
use crate::error::{StoreError, StoreResult};
use crate::{Key, Stamp};

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
