//! Writing as the follower: guarded puts, each under the condition that the item
//! is as it was when it was compared, in transactions that check the fence.
//!
//! A batch that fits in one transaction commits with its checkpoint; of a larger
//! one the checkpoint comes last, so that it is never ahead of the records. (What
//! a crash leaves between the two is done again and changes nothing.)

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use aws_smithy_types::Blob;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Follower, Put, Role};
use shearwater_core::{Key, Stamp};

use super::DynamoDb;
use super::action::{Words, admits_puts, delete, put, unchanged, update};
use super::capture::Take;
use super::error::no_sidecar;
use super::item::{Dirty, Held, Mark, tombstone, write};
use super::look::{Beside, Look};
use super::session::{TRANSACTION_BYTES_MAX, Unwritten};
use super::sidecar::{CHECKPOINTS, K, T, checkpoint_item, mark_key, read_checkpoint, run_prefix, s};
use super::table::Schema;
use super::value::{Item, item_size};

/// Puts in one transaction: DynamoDB's 100 actions, less the fence and the
/// checkpoint, for an item and perhaps a mark each.
const PUTS_MAX: usize = 49;

/// Transactions of one batch at a time.
const TRANSACTIONS_AT_ONCE: usize = 4;

/// What comes of one put before it is written.
enum Decided {
    /// Nothing is written.
    Done(Applied),
    /// This item is (`None`: it is deleted), and that is the answer then.
    Write(Option<Item>, Applied),
}

/// A put that is on its way, with its place in the batch.
struct Pending<'a> {
    at: usize,
    put: &'a Put,
}

/// A put in a transaction.
struct Writing<'a> {
    pending: Pending<'a>,
    applied: Applied,
    /// The place of its action.
    action: usize,
}

impl DynamoDb {
    fn decide(&self, schema: &Schema, put: &Put, held: &Held) -> Decided {
        if held.stamp > put.stamp {
            return Decided::Done(Applied::Stale { held: held.stamp });
        }
        let same = !held.strayed && held.image == put.image;
        if same && held.stamp == put.stamp {
            return Decided::Done(Applied::Unchanged);
        }
        let mark = Mark { stamp: put.stamp, dirty: Dirty::No };
        let item = match &put.image {
            Some(image) => write(&self.names, schema, &put.key, image, Some(mark)).map(Some),
            // Nobody has deleted it while it was captured: there is nothing to remember.
            None if put.stamp == Stamp::ZERO => Ok(None),
            None => schema.item_of(&self.names.layout.table, &put.key).map(|key| Some(tombstone(key, mark))),
        };
        match item {
            Ok(item) => Decided::Write(item, if same { Applied::Unchanged } else { Applied::Changed }),
            Err(error) => Decided::Done(Applied::Refused(error)),
        }
    }

    /// Refuses puts that the fence does not admit.
    fn check_puts(&self, look: &Look, epoch: u64) -> StoreResult<()> {
        let table = &self.names.layout.table;
        let fence = look.fence.ok_or_else(|| no_sidecar(table))?;
        if fence.role == Role::Authority {
            let what = format!("table {table:?} is the authority: it takes no puts");
            return Err(StoreError::new(StoreErrorKind::FenceClosed, what));
        }
        if fence.epoch > epoch {
            let what = format!("table {table:?}: the puts have epoch {epoch}, the store is at {}", fence.epoch);
            return Err(StoreError::new(StoreErrorKind::EpochStale { current: fence.epoch }, what));
        }
        Ok(())
    }

    /// Applies some puts of different keys; `last` is written with them.
    async fn apply_some(
        &self,
        schema: &Schema,
        epoch: u64,
        mut pending: Vec<Pending<'_>>,
        last: Option<&CheckpointStep>,
    ) -> StoreResult<Vec<(usize, Applied)>> {
        let mut answers = Vec::with_capacity(pending.len());
        for tries in 1..=REWRITE_ATTEMPTS_MAX {
            let keys: Vec<Key> = pending.iter().map(|pending| pending.put.key.clone()).collect();
            let look = self.look(schema, &keys, Beside::Fence).await?;
            self.check_puts(&look, epoch)?;
            let mut actions = vec![admits_puts(&self.names.sidecar, self.turn(), epoch)?];
            let mut writing: Vec<Writing<'_>> = Vec::with_capacity(pending.len());
            for one in pending {
                let held = look.held(&one.put.key);
                match self.decide(schema, one.put, &held) {
                    Decided::Done(applied) => answers.push((one.at, applied)),
                    Decided::Write(item, applied) => {
                        writing.push(Writing {
                            action: actions.len(),
                            applied,
                            pending: Pending { at: one.at, put: one.put },
                        });
                        actions.extend(self.actions_of(schema, one.put, &held, item)?);
                    }
                }
            }
            if let Some(step) = last {
                let mut all: Vec<Applied> = answers.iter().map(|(_, applied)| applied.clone()).collect();
                all.extend(writing.iter().map(|one| one.applied.clone()));
                actions.push(self.checkpoint_action(&step.after(&all))?);
            }
            if actions.len() == 1 {
                return Ok(answers);
            }
            match self.session.transact("applying", &actions).await {
                Ok(()) => {
                    answers.extend(writing.into_iter().map(|one| (one.pending.at, one.applied)));
                    return Ok(answers);
                }
                // Somebody wrote an item, or the fence moved: look again.
                Err(Unwritten::Conditions(_)) => {}
                Err(Unwritten::Refused(action, error)) => {
                    let Some(at) = writing.iter().position(|one| one.action == action) else { return Err(error) };
                    answers.push((writing.remove(at).pending.at, Applied::Refused(error)));
                }
                Err(Unwritten::Failed(error)) => return Err(error),
            }
            pending = writing.into_iter().map(|one| one.pending).collect();
            tokio::time::sleep(std::time::Duration::from_millis(2) * tries as u32).await;
        }
        let what = format!("table {:?}: others write the same records all the time", self.names.layout.table);
        Err(StoreError::new(StoreErrorKind::Unavailable, what))
    }

    /// The item, and what the other authority's write makes of a mark of ours: it
    /// is confirmed by it.
    fn actions_of(
        &self,
        schema: &Schema,
        one: &Put,
        held: &Held,
        item: Option<Item>,
    ) -> StoreResult<Vec<TransactWriteItem>> {
        let (table, condition) = (&self.names.layout.table, unchanged(schema, held.guard));
        let mut actions = vec![match item {
            Some(item) => put(table, item, &condition)?,
            None => delete(table, schema.item_of(table, &one.key)?, &condition)?,
        }];
        if held.dirty == Dirty::Yes {
            let words =
                Words::default().name("#t", T).name("#stamp", "stamp").value(":stamp", s(one.stamp.to_string()));
            actions.push(update(&self.names.sidecar, mark_key(&one.key), "SET #stamp = :stamp REMOVE #t", &words)?);
        }
        Ok(actions)
    }

    fn checkpoint_action(&self, checkpoint: &Checkpoint) -> StoreResult<TransactWriteItem> {
        put(&self.names.sidecar, checkpoint_item(checkpoint)?, &Words::default())
    }
}

/// Puts of one transaction each: of different keys, as many as fit.
fn batches(puts: &[Put]) -> Vec<Vec<Vec<Pending<'_>>>> {
    let mut waves = Vec::new();
    let mut rest: Vec<Pending<'_>> = puts.iter().enumerate().map(|(at, put)| Pending { at, put }).collect();
    while !rest.is_empty() {
        let mut seen: HashSet<&Key> = HashSet::new();
        // A key that comes again waits for the wave after.
        let (wave, again): (Vec<_>, Vec<_>) = rest.into_iter().partition(|pending| seen.insert(&pending.put.key));
        let mut batches: Vec<Vec<Pending<'_>>> = Vec::new();
        let mut bytes = 0;
        for pending in wave {
            let size = size_of(pending.put);
            let full = batches.last().is_none_or(|last| last.len() >= PUTS_MAX || bytes + size > TRANSACTION_BYTES_MAX);
            if full {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(last) = batches.last_mut() {
                last.push(pending);
            }
        }
        waves.push(batches);
        rest = again;
    }
    waves
}

/// Bytes of a put's item, about: what is noted beside it may double it.
fn size_of(put: &Put) -> usize {
    let fields = put.image.iter().flat_map(|image| image.record.iter());
    let item: Item =
        fields.filter_map(|(name, value)| Some((name.to_owned(), super::value::to_attribute(value).ok()?))).collect();
    2 * item_size(&item)
}

#[async_trait]
impl Follower for DynamoDb {
    async fn apply(&self, epoch: u64, puts: Vec<Put>, checkpoint: Option<CheckpointStep>) -> StoreResult<Vec<Applied>> {
        let schema = self.schema().await?;
        if checkpoint.is_some() {
            self.session.writes.admit().await;
        }
        let waves = batches(&puts);
        let together = match waves.as_slice() {
            [] => true,
            [only] => only.len() == 1,
            _ => false,
        };
        if together {
            let pending: Vec<Pending<'_>> = waves.into_iter().flatten().flatten().collect();
            let answers = self.apply_some(schema, epoch, pending, checkpoint.as_ref()).await?;
            return in_order(answers, puts.len());
        }
        let mut answers = Vec::with_capacity(puts.len());
        for wave in waves {
            let background = checkpoint.is_some();
            let mut transactions = Vec::with_capacity(wave.len());
            for pending in wave {
                let transaction = async move {
                    if background {
                        self.session.writes.admit().await;
                    }
                    self.apply_some(schema, epoch, pending, None).await
                };
                transactions.push(transaction.boxed());
            }
            let transactions = stream::iter(transactions).buffer_unordered(TRANSACTIONS_AT_ONCE);
            let done: Vec<Vec<(usize, Applied)>> = transactions.try_collect().await?;
            answers.extend(done.into_iter().flatten());
        }
        let answers = in_order(answers, puts.len())?;
        if let Some(step) = &checkpoint {
            let actions =
                [admits_puts(&self.names.sidecar, self.turn(), epoch)?, self.checkpoint_action(&step.after(&answers))?];
            match self.session.transact("saving a checkpoint", &actions).await {
                Ok(()) => {}
                Err(Unwritten::Conditions(_)) => {
                    self.check_puts(&self.look(schema, &[], Beside::Fence).await?, epoch)?;
                }
                Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => return Err(error),
            }
        }
        Ok(answers)
    }

    async fn checkpoints(&self, run: &str) -> StoreResult<Vec<Checkpoint>> {
        let prefix = AttributeValue::B(Blob::new(run_prefix(run)));
        let sort = Words::new("begins_with(#k, :run)").name("#k", K).value(":run", prefix);
        let take = Take { partition: CHECKPOINTS.to_owned(), index: None, sort };
        let found = self.query_all(&take, usize::MAX).await?.unwrap_or_default();
        found.iter().map(read_checkpoint).collect()
    }
}

fn in_order(answers: Vec<(usize, Applied)>, count: usize) -> StoreResult<Vec<Applied>> {
    let mut by_place: HashMap<usize, Applied> = answers.into_iter().collect();
    let ordered: Option<Vec<Applied>> = (0..count).map(|at| by_place.remove(&at)).collect();
    let lost = || StoreError::new(StoreErrorKind::Unavailable, "DynamoDB: a put of the batch has no answer");
    ordered.ok_or_else(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_of(id: &str) -> Put {
        Put { key: Key::single(id), image: None, stamp: Stamp::ZERO }
    }

    #[test]
    fn a_key_that_comes_again_waits_for_the_wave_after() {
        let puts: Vec<Put> = ["a", "b", "a", "c", "a"].into_iter().map(put_of).collect();
        let waves = batches(&puts);
        let places: Vec<Vec<usize>> =
            waves.iter().map(|wave| wave.iter().flatten().map(|pending| pending.at).collect()).collect();
        assert_eq!(places, [vec![0, 1, 3], vec![2], vec![4]]);
    }

    #[test]
    fn batches_fit_in_transactions() {
        let puts: Vec<Put> = (0..120).map(|n| put_of(&n.to_string())).collect();
        let sizes: Vec<usize> = batches(&puts)[0].iter().map(Vec::len).collect();
        assert_eq!(sizes, [49, 49, 22]);
    }
}
