//! The fence, the marks, the foreign writes, and capturing late what somebody
//! has written past us.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, Select, TransactWriteItem};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence, Image};
use shearwater_core::{Key, Stamp};

use super::DynamoDb;
use super::action::{Words, admits_writes, put, stamped, unchanged, update};
use super::error::{Effect, no_sidecar};
use super::item::{DIRTY, Dirty, Held, Mark, RESERVED, adopted, stamp_text, tombstone};
use super::look::life_of;
use super::session::{Unwritten, units};
use super::sidecar::{
    DUE, FENCES, FOREIGN, K, MARK_PARTITIONS, MarkRecord, P, T, due_stamp, epoch, fence_key, foreign_item, foreign_key,
    mark_item, mark_key, mark_partition_of, read_fence, read_foreign, read_mark, role_word, s,
};
use super::table::Schema;
use super::value::Item;

/// Marks cleared in one transaction: two actions for each.
const CLEARED_AT_ONCE: usize = 25;

/// Requests that one call has under way.
const REQUESTS_AT_ONCE: usize = 4;

/// How often a fence is tried to be set while writers hold its items.
const FENCE_TRIES_MAX: u32 = 5;

/// A part of the sidecar's table.
pub(super) struct Take {
    pub(super) partition: String,
    /// The index that orders it.
    pub(super) index: Option<&'static str>,
    /// A condition on the sort key; none: all of the partition.
    pub(super) sort: Words,
}

impl Take {
    fn words(&self) -> Words {
        Words::new("#p = :p").name("#p", P).value(":p", s(self.partition.as_str())).and(self.sort.clone())
    }
}

impl DynamoDb {
    /// The items of a part of the sidecar, in order, at most `items_max`;
    /// `None`: there is no sidecar.
    pub(super) async fn query_all(&self, take: &Take, items_max: usize) -> StoreResult<Option<Vec<Item>>> {
        let (words, mut found, mut after) = (take.words(), Vec::new(), None::<Item>);
        while found.len() < items_max {
            let limit = i32::try_from(items_max - found.len()).ok();
            let answer = self.session.call("reading the sidecar", Effect::Reads, || {
                self.session
                    .client
                    .query()
                    .table_name(&self.names.sidecar)
                    .set_index_name(take.index.map(str::to_owned))
                    .consistent_read(true)
                    .key_condition_expression(&words.text)
                    .set_expression_attribute_names(words.names_if_any())
                    .set_expression_attribute_values(words.values_if_any())
                    .set_limit(limit)
                    .set_exclusive_start_key(after.clone())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            });
            let answer = match answer.await {
                Ok(answer) => answer,
                Err(failed) if failed.error.kind == StoreErrorKind::NotFound => return Ok(None),
                Err(failed) => return Err(failed.error),
            };
            self.session.reads.used(units(answer.consumed_capacity.as_slice()));
            found.extend(answer.items.unwrap_or_default());
            after = answer.last_evaluated_key;
            if after.is_none() {
                break;
            }
        }
        Ok(Some(found))
    }

    /// How many dirty marks a partition has; `None`: there is no sidecar.
    async fn count_due(&self, partition: String) -> StoreResult<Option<u64>> {
        let take = Take { partition, index: Some(DUE), sort: Words::default() };
        let (words, mut count, mut after) = (take.words(), 0, None::<Item>);
        loop {
            let answer = self.session.call("counting marks", Effect::Reads, || {
                self.session
                    .client
                    .query()
                    .table_name(&self.names.sidecar)
                    .index_name(DUE)
                    .select(Select::Count)
                    .consistent_read(true)
                    .key_condition_expression(&words.text)
                    .set_expression_attribute_names(words.names_if_any())
                    .set_expression_attribute_values(words.values_if_any())
                    .set_exclusive_start_key(after.clone())
                    .send()
            });
            let answer = match answer.await {
                Ok(answer) => answer,
                Err(failed) if failed.error.kind == StoreErrorKind::NotFound => return Ok(None),
                Err(failed) => return Err(failed.error),
            };
            count += u64::try_from(answer.count).unwrap_or(0);
            after = answer.last_evaluated_key;
            if after.is_none() {
                return Ok(Some(count));
            }
        }
    }

    /// Deletes an item of the sidecar that is as `condition` says; how many were.
    pub(super) async fn delete_sidecar_item(&self, item: &Item, condition: Words) -> StoreResult<u64> {
        let key: Item = [P, K].iter().filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect();
        let action = super::action::delete(&self.names.sidecar, key, &condition)?;
        match self.session.transact("tidying the sidecar", &[action]).await {
            Ok(()) => Ok(1),
            Err(Unwritten::Conditions(_)) => Ok(0),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }

    /// Captures late what somebody has written past us: a new stamp, a mark, and
    /// the hash of what is there now. Does nothing when it has changed again.
    pub(super) async fn adopt(
        &self,
        schema: &Schema,
        fence: Fence,
        held: &Held,
        mark: Option<&MarkRecord>,
    ) -> StoreResult<()> {
        let table = &self.names.layout.table;
        tracing::warn!(
            table = table.as_str(),
            "a record was written by a program that does not go through the gateway"
        );
        let last = mark.map_or(Stamp::ZERO, |mark| mark.stamp).max(held.stamp);
        let stamp = Stamp::new(fence.epoch, self.next_counter(last.counter));
        let new = Mark { stamp, dirty: Dirty::Yes };
        let key = schema.item_of(table, &held.key)?;
        let condition = unchanged(schema, held.guard);
        let record = match &held.image {
            None => put(table, tombstone(key, new), &condition)?,
            Some(image) => {
                let item = super::item::write(&self.names, schema, &held.key, &Image::of(image.record.clone()), None)?;
                let ours = adopted(schema, &item, &image.parked, new)
                    .map_err(|what| super::error::corrupt(table, RESERVED, what))?;
                let words = condition.name("#r", RESERVED).value(":ours", ours);
                update(table, key, "SET #r = :ours", &words)?
            }
        };
        let number = self.turn();
        let actions = [
            admits_writes(&self.names.sidecar, number, fence)?,
            record,
            put(&self.names.sidecar, mark_item(&held.key, stamp, life_of(held)), &Words::default())?,
        ];
        match self.session.transact("capturing a write past us", &actions).await {
            Ok(()) | Err(Unwritten::Conditions(_)) => Ok(()),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }

    /// Notes that somebody else has written here while this store follows.
    pub(super) async fn note_foreign(&self, key: &Key) -> StoreResult<()> {
        let action = put(&self.names.sidecar, foreign_item(key), &Words::default())?;
        match self.session.transact("noting a foreign write", &[action]).await {
            Ok(()) | Err(Unwritten::Conditions(_)) => Ok(()),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }

    async fn read_fence(&self) -> StoreResult<Option<Fence>> {
        match self.session.batch_get("reading the fence", vec![(&self.names.sidecar, fence_key(0))]).await {
            Ok(mut found) => {
                let items = found.remove(&self.names.sidecar).unwrap_or_default();
                items.first().map(read_fence).transpose()
            }
            Err(failed) if failed.error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    fn without_sidecar(&self) -> StoreError {
        no_sidecar(&self.names.layout.table)
    }

    /// The two actions that clear one mark.
    fn clearing(&self, schema: &Schema, mark: &DirtyMark) -> StoreResult<[TransactWriteItem; 2]> {
        let table = &self.names.layout.table;
        let item = stamped(stamp_text(mark.stamp)).name("#d", DIRTY);
        let marked = Words::new("#stamp = :stamp AND attribute_exists(#t)")
            .name("#stamp", "stamp")
            .name("#t", T)
            .value(":stamp", s(mark.stamp.to_string()));
        Ok([
            update(table, schema.item_of(table, &mark.key)?, "REMOVE #r.#d", &item)?,
            update(&self.names.sidecar, mark_key(&mark.key), "REMOVE #t", &marked)?,
        ])
    }

    /// Clears marks of different keys; how many were as they are said to be.
    async fn clear_some(&self, schema: &Schema, mut marks: Vec<DirtyMark>) -> StoreResult<u64> {
        while !marks.is_empty() {
            let mut actions = Vec::with_capacity(2 * marks.len());
            for mark in &marks {
                actions.extend(self.clearing(schema, mark)?);
            }
            match self.session.transact("clearing marks", &actions).await {
                Ok(()) => return Ok(marks.len() as u64),
                Err(Unwritten::Conditions(unmet)) => {
                    let mut at = 0;
                    marks.retain(|_| {
                        at += 1;
                        !unmet.iter().any(|action| action / 2 == at - 1)
                    });
                }
                Err(Unwritten::Failed(error)) if error.kind == StoreErrorKind::NotFound => {
                    return Err(self.without_sidecar());
                }
                Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => return Err(error),
            }
        }
        Ok(0)
    }
}

/// Marks in waves of different keys: one item comes once in a transaction.
fn waves(marks: Vec<DirtyMark>) -> Vec<Vec<DirtyMark>> {
    let mut waves: Vec<Vec<DirtyMark>> = Vec::new();
    for mark in marks {
        if waves.iter().flatten().any(|other| *other == mark) {
            continue;
        }
        match waves.iter_mut().find(|wave| wave.iter().all(|other| other.key != mark.key)) {
            Some(wave) => wave.push(mark),
            None => waves.push(vec![mark]),
        }
    }
    waves
}

#[async_trait]
impl Capture for DynamoDb {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        self.make_table().await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        self.install_sidecar(fence).await
    }

    async fn remove(&self) -> StoreResult<()> {
        self.remove_sidecar().await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        self.read_fence().await
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let words = Words::new("#role = :role AND #epoch = :epoch")
            .name("#role", "role")
            .name("#epoch", "epoch")
            .value(":role", s(role_word(expect.role)))
            .value(":epoch", epoch(expect.epoch))
            .value(":newrole", s(role_word(new.role)))
            .value(":newepoch", epoch(new.epoch));
        let set = "SET #role = :newrole, #epoch = :newepoch";
        let all = (0..FENCES).map(|number| update(&self.names.sidecar, fence_key(number), set, &words));
        let actions = all.collect::<StoreResult<Vec<_>>>()?;
        let mut tries = 0;
        loop {
            match self.session.transact("setting the fence", &actions).await {
                Ok(()) => return Ok(new),
                Err(Unwritten::Conditions(_)) => return self.read_fence().await?.ok_or_else(|| self.without_sidecar()),
                Err(Unwritten::Failed(error)) if error.kind == StoreErrorKind::NotFound => {
                    return Err(self.without_sidecar());
                }
                // Every write under way checks one of the items.
                Err(Unwritten::Failed(error))
                    if error.kind == StoreErrorKind::Unavailable && tries < FENCE_TRIES_MAX =>
                {
                    tries += 1;
                }
                Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => return Err(error),
            }
        }
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        let sort = match after {
            Some(stamp) => Words::new("#t > :t").name("#t", T).value(":t", s(due_stamp(stamp))),
            None => Words::default(),
        };
        let parts = (0..MARK_PARTITIONS).map(|number| {
            let take = Take { partition: mark_partition_of(number), index: Some(DUE), sort: sort.clone() };
            async move { self.query_all(&take, marks_max).await }
        });
        let found: Vec<Option<Vec<Item>>> = stream::iter(parts).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let found: Option<Vec<Vec<Item>>> = found.into_iter().collect();
        let items = found.ok_or_else(|| self.without_sidecar())?;
        let marks = items.iter().flatten().map(read_mark);
        let mut marks: Vec<DirtyMark> = marks
            .map(|mark| mark.map(|mark| DirtyMark { key: mark.key, stamp: mark.stamp }))
            .collect::<StoreResult<_>>()?;
        marks.sort_by_key(|mark| mark.stamp);
        marks.truncate(marks_max);
        Ok(marks)
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        let parts = (0..MARK_PARTITIONS).map(|number| self.count_due(mark_partition_of(number)));
        let counts: Vec<Option<u64>> = stream::iter(parts).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let counts: Option<Vec<u64>> = counts.into_iter().collect();
        counts.map(|counts| counts.iter().sum()).ok_or_else(|| self.without_sidecar())
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        let schema = self.schema().await?;
        let table = &self.names.layout.table;
        let marks = marks.into_iter().filter(|mark| schema.item_of(table, &mark.key).is_ok()).collect();
        let mut cleared = 0;
        for wave in waves(marks) {
            let mut some = Vec::new();
            for marks in wave.chunks(CLEARED_AT_ONCE) {
                some.push(self.clear_some(schema, marks.to_vec()).boxed());
            }
            let counts: Vec<u64> = stream::iter(some).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await?;
            cleared += counts.iter().sum::<u64>();
        }
        Ok(cleared)
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        let take = Take { partition: FOREIGN.to_owned(), index: None, sort: Words::default() };
        let found = self.query_all(&take, keys_max).await?.ok_or_else(|| self.without_sidecar())?;
        found.iter().map(read_foreign).collect()
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        let mut cleared = 0;
        for key in keys {
            let there = Words::new("attribute_exists(#p)").name("#p", P);
            cleared += self.delete_sidecar_item(&foreign_key(&key), there).await?;
        }
        Ok(cleared)
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        let there = self.describe(&self.names.sidecar).await?.is_some();
        Ok(if there { vec![self.names.sidecar.clone(), RESERVED.to_owned()] } else { Vec::new() })
    }
}
