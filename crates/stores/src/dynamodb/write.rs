//! Writing as the authority: one transaction that checks the fence, puts the
//! items under the condition that nobody wrote them since they were looked at,
//! and sets the marks and the idempotency row.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::store::{Change, Expect, Fence, IdempotencyRow, Image, Role, Write, Writer, Written};
use shearwater_core::value::hash;
use shearwater_core::{Key, Stamp};

use super::DynamoDb;
use super::action::{self, Words, admits_writes, put, unchanged};
use super::capture::Take;
use super::error::no_sidecar;
use super::item::{Dirty, Guard, Held, Mark, tombstone};
use super::look::{Beside, Look};
use super::session::{TRANSACTION_ACTIONS_MAX, TRANSACTION_BYTES_MAX, Unwritten};
use super::sidecar::{
    DUE, IDEMPOTENCY_PARTITIONS, Life, P, T, due_time, idempotency_item, idempotency_partition, mark_item, s,
};
use super::table::Schema;
use super::value::Item;

/// What stands for the first change's stamp in an idempotency row's answer.
const STAMP_PLACE: &str = "{stamp}";

/// The pause before a write that lost to another one looks again; it grows with
/// each try.
const LOST_PAUSE: Duration = Duration::from_millis(2);

/// 2020-01-01T00:00:00Z, from which counters count microseconds.
const COUNTERS_BEGIN_S: u64 = 1_577_836_800;

/// Bits of a counter that tell handles apart that write in one microsecond.
pub(super) const HANDLE_BITS: u32 = 12;

/// A key's state while the changes of a write are gone through.
struct Slot<'a> {
    /// As it was looked at.
    held: Held,
    exists: bool,
    stamp: Stamp,
    content: Option<u128>,
    /// The last change of the key, if any so far.
    last: Option<(&'a Change, Option<Stamp>)>,
}

impl Slot<'_> {
    fn of(held: Held) -> Self {
        let content = held.image.as_ref().map(|image| hash::document(&image.record));
        Slot { exists: held.image.is_some(), stamp: held.stamp, content, last: None, held }
    }
}

impl DynamoDb {
    /// Counters for new stamps: above `above`, above all that this handle has
    /// given out, and near the clock, so that the stamps of a key rise even if
    /// somebody took the last one away.
    fn counters(&self, above: u64, count: usize) -> u64 {
        let step = 1_u64 << HANDLE_BITS;
        let micros = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
        let clock = (micros as u64).saturating_sub(COUNTERS_BEGIN_S * 1_000_000) << HANDLE_BITS;
        let begin = |last: u64| {
            let least = clock.max(last).max(above);
            ((least >> HANDLE_BITS) + 1) << HANDLE_BITS | self.handle
        };
        let taken = self.counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(begin(last) + step * (count.max(1) as u64 - 1))
        });
        begin(taken.unwrap_or_else(|last| last))
    }

    /// One counter: see [`DynamoDb::counters`].
    pub(super) fn next_counter(&self, above: u64) -> u64 {
        self.counters(above, 1)
    }

    async fn try_write(&self, schema: &Schema, write: &Write) -> StoreResult<Option<Written>> {
        let keys: Vec<Key> = write.changes.iter().map(|change| change.key.clone()).collect();
        let beside = match &write.idempotency {
            Some(row) => Beside::Idempotency(&row.key),
            None => Beside::Fence,
        };
        let look = self.look(schema, &keys, beside).await?;
        let Some(fence) = look.fence else { return self.write_plain(schema, write, &look).await };
        let table = &self.names.layout.table;
        check_fence(table, fence, write.epoch)?;
        if let (Some(asked), Some(found)) = (&write.idempotency, &look.idempotency) {
            return replayed(asked, found).map(Some);
        }
        let slots = self.go_through(write, &look, Some(fence))?;
        let number = self.turn();
        let mut actions = vec![admits_writes(&self.names.sidecar, number, fence)?];
        for (key, _) in &slots.order {
            let slot = &slots.by_key[key];
            let Some((change, Some(stamp))) = slot.last else { continue };
            let mark = Mark { stamp, dirty: Dirty::Yes };
            let item = self.item_of(schema, key, change.image.as_ref(), Some(mark))?;
            actions.push(put(table, item, &unchanged(schema, slot.held.guard))?);
            let life = if change.image.is_some() { Life::There } else { Life::Gone };
            actions.push(put(&self.names.sidecar, mark_item(key, stamp, life), &Words::default())?);
        }
        if let Some(row) = &write.idempotency {
            let first = slots.stamps.first().copied().flatten();
            let condition = Words::new("attribute_not_exists(#p)").name("#p", P);
            actions.push(put(&self.names.sidecar, idempotency_item(&with_stamp(row, first)), &condition)?);
        }
        self.commit(write, &actions).await.map(|done| done.map(|()| Written::Applied(slots.stamps)))
    }

    /// Writing where no sidecar is: before the start, and after `complete`.
    async fn write_plain(&self, schema: &Schema, write: &Write, look: &Look) -> StoreResult<Option<Written>> {
        let table = &self.names.layout.table;
        if let Some(epoch) = write.epoch {
            let error = no_sidecar(table);
            return Err(StoreError { message: format!("{}, but the write has epoch {epoch}", error.message), ..error });
        }
        if write.idempotency.is_some() {
            let what = format!("table {table:?} has no sidecar to keep an idempotency key in");
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("idempotency keys work from the start of the migration to its end"));
        }
        if write.changes.iter().any(|change| change.image.as_ref().is_some_and(|image| !image.parked.is_empty())) {
            return Err(
                no_sidecar(table).with_hint("fields of the other shape can be parked only while the migration runs")
            );
        }
        let slots = self.go_through(write, look, None)?;
        let mut actions = Vec::with_capacity(slots.order.len());
        for (key, expect) in &slots.order {
            let slot = &slots.by_key[key];
            let Some((change, _)) = slot.last else { continue };
            let condition = match expect {
                Expect::Any => Words::default(),
                Expect::Absent | Expect::Present | Expect::Stamp(_) => there(schema, &slot.held),
                Expect::Content(_) => self.same_content(schema, &slot.held)?,
            };
            actions.push(match &change.image {
                Some(image) => put(table, self.item_of(schema, key, Some(image), None)?, &condition)?,
                None => action::delete(table, schema.item_of(table, key)?, &condition)?,
            });
        }
        self.commit(write, &actions).await.map(|done| done.map(|()| Written::Applied(slots.stamps)))
    }

    fn item_of(&self, schema: &Schema, key: &Key, image: Option<&Image>, mark: Option<Mark>) -> StoreResult<Item> {
        match (image, mark) {
            (Some(image), mark) => super::item::write(&self.names, schema, key, image, mark),
            (None, Some(mark)) => Ok(tombstone(schema.item_of(&self.names.layout.table, key)?, mark)),
            (None, None) => schema.item_of(&self.names.layout.table, key),
        }
    }

    /// That an item without a sidecar is as it was read, attribute by attribute.
    /// One that somebody adds meanwhile is not seen.
    pub(super) fn same_content(&self, schema: &Schema, held: &Held) -> StoreResult<Words> {
        let Some(image) = &held.image else { return Ok(there(schema, held)) };
        let item = super::item::write(&self.names, schema, &held.key, image, None)?;
        let mut words = there(schema, held);
        for (at, (name, value)) in item.into_iter().enumerate() {
            let (placeholder, bound) = (format!("#a{at}"), format!(":a{at}"));
            words = words
                .and(Words::new(format!("{placeholder} = {bound}")).name(&placeholder, &name).value(&bound, value));
        }
        Ok(words)
    }

    /// Checks the changes one after the other, each against what those before it
    /// have made, and gives out the stamps.
    fn go_through<'a>(&self, write: &'a Write, look: &Look, fence: Option<Fence>) -> StoreResult<Slots<'a>> {
        let mut slots = Slots { by_key: HashMap::new(), order: Vec::new(), stamps: Vec::new() };
        for change in &write.changes {
            if !slots.by_key.contains_key(&change.key) {
                slots.order.push((change.key.clone(), change.expect));
                slots.by_key.insert(change.key.clone(), Slot::of(look.held(&change.key)));
            }
        }
        let above = slots.by_key.values().map(|slot| slot.stamp).max().unwrap_or(Stamp::ZERO);
        let mut counter = self.counters(above.counter, write.changes.len());
        for (at, change) in write.changes.iter().enumerate() {
            let Some(slot) = slots.by_key.get_mut(&change.key) else { continue };
            if !holds(slot, change, fence, &self.names.layout.table)? {
                let found = (slot.exists && fence.is_some()).then_some(slot.stamp);
                return Err(StoreError::new(
                    StoreErrorKind::ExpectFailed { change: at, found, exists: slot.exists },
                    format!("table {:?}: the record is not as change {at} expects it", self.names.layout.table),
                ));
            }
            let stamp = fence.map(|fence| Stamp::new(fence.epoch, counter));
            counter += 1 << HANDLE_BITS;
            slot.exists = change.image.is_some();
            slot.content = change.image.as_ref().map(|image| hash::document(&image.record));
            slot.stamp = stamp.unwrap_or(slot.stamp);
            slot.last = Some((change, stamp));
            slots.stamps.push(stamp);
        }
        Ok(slots)
    }

    /// Commits; `None`: others were quicker, look again.
    async fn commit(&self, write: &Write, actions: &[TransactWriteItem]) -> StoreResult<Option<()>> {
        let table = &self.names.layout.table;
        let told = |what: String| {
            StoreError::new(StoreErrorKind::Refused { field: None }, format!("table {table:?}: {what}"))
                .with_hint("send it in several requests")
        };
        if actions.len() > TRANSACTION_ACTIONS_MAX {
            let (changes, most) = (write.changes.len(), changes_max());
            return Err(told(format!("a write of {changes} changes; one transaction of DynamoDB takes {most}")));
        }
        let bytes = action::bytes(actions);
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(told(format!("a write of {bytes} bytes; one transaction of DynamoDB takes 4 MiB")));
        }
        if actions.is_empty() {
            return Ok(Some(()));
        }
        match self.session.transact("writing", actions).await {
            Ok(()) => Ok(Some(())),
            Err(Unwritten::Conditions(_)) => Ok(None),
            // The sidecar was removed between the look and the write.
            Err(Unwritten::Failed(error)) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(Unwritten::Failed(error) | Unwritten::Refused(_, error)) => Err(error),
        }
    }
}

/// Changes in one write: DynamoDB's 100 actions, less the fence and an
/// idempotency row, for two items each.
pub(super) const fn changes_max() -> usize {
    (TRANSACTION_ACTIONS_MAX - 2) / 2
}

/// The keys of a write, in the order in which they come first, each with what
/// its first change expects.
struct Slots<'a> {
    by_key: HashMap<Key, Slot<'a>>,
    order: Vec<(Key, Expect)>,
    stamps: Vec<Option<Stamp>>,
}

fn there(schema: &Schema, held: &Held) -> Words {
    match held.guard {
        Guard::Absent => unchanged(schema, Guard::Absent),
        Guard::Plain | Guard::Stamped(_) => {
            let partition = schema.partition().map_or("", |attribute| attribute.name.as_str());
            Words::new("attribute_exists(#pk)").name("#pk", partition)
        }
    }
}

fn holds(slot: &Slot<'_>, change: &Change, fence: Option<Fence>, table: &str) -> StoreResult<bool> {
    Ok(match change.expect {
        Expect::Any => true,
        Expect::Absent => !slot.exists,
        Expect::Present => slot.exists,
        Expect::Stamp(_) if fence.is_none() => return Err(no_sidecar(table)),
        Expect::Stamp(stamp) => slot.stamp == stamp && (slot.exists || change.image.is_some()),
        Expect::Content(content) => slot.content == Some(content),
    })
}

/// Refuses a write that the fence does not admit.
fn check_fence(table: &str, fence: Fence, epoch: Option<u64>) -> StoreResult<()> {
    let stale = |what: String| {
        let kind = StoreErrorKind::EpochStale { current: fence.epoch };
        Err(StoreError::new(kind, format!("table {table:?}: {what}, the store is at {}", fence.epoch)))
    };
    let closed = |what: &str| Err(StoreError::new(StoreErrorKind::FenceClosed, format!("table {table:?} {what}")));
    match (fence.role, epoch) {
        (Role::Closed, _) => closed("is closed for writes"),
        (Role::Follower, _) => closed("is a follower: it takes no writes of its own"),
        (Role::Authority, Some(epoch)) if epoch >= fence.epoch => Ok(()),
        (Role::Authority, Some(epoch)) => stale(format!("the write has epoch {epoch}")),
        (Role::Authority, None) => stale("the write has no epoch".to_owned()),
    }
}

fn replayed(asked: &IdempotencyRow, found: &IdempotencyRow) -> StoreResult<Written> {
    if found.request_hash == asked.request_hash {
        return Ok(Written::Replayed(found.clone()));
    }
    let what = "the idempotency key was used before by another request";
    Err(StoreError::new(StoreErrorKind::IdempotencyReused, what))
}

fn with_stamp(row: &IdempotencyRow, first: Option<Stamp>) -> IdempotencyRow {
    let answer = match first {
        Some(stamp) => row.answer.replace(STAMP_PLACE, &stamp.to_string()),
        None => row.answer.clone(),
    };
    IdempotencyRow { answer, ..row.clone() }
}

#[async_trait]
impl Writer for DynamoDb {
    async fn write(&self, write: Write) -> StoreResult<Written> {
        let schema = self.schema().await?;
        let table = &self.names.layout.table;
        for change in &write.changes {
            schema.item_of(table, &change.key)?;
            if let Some(image) = &change.image {
                // What cannot be held is refused before anything is asked.
                let mark = Mark { stamp: Stamp::new(1, 1), dirty: Dirty::Yes };
                super::item::write(&self.names, schema, &change.key, image, Some(mark))?;
            }
        }
        for tries in 1..=REWRITE_ATTEMPTS_MAX {
            if let Some(written) = self.try_write(schema, &write).await? {
                return Ok(written);
            }
            tokio::time::sleep(LOST_PAUSE * u32::try_from(tries).unwrap_or(1)).await;
        }
        let what = format!("table {table:?}: others write the same records all the time");
        Err(StoreError::new(StoreErrorKind::Unavailable, what))
    }

    async fn recall(&self, idempotency_key: &str) -> StoreResult<Option<IdempotencyRow>> {
        let schema = self.schema().await?;
        Ok(self.look(schema, &[], Beside::Idempotency(idempotency_key)).await?.idempotency)
    }

    async fn forget_idempotency(&self, before_ms: i64) -> StoreResult<u64> {
        let mut forgotten = 0;
        for number in 0..IDEMPOTENCY_PARTITIONS {
            let words = Words::new("#t < :before").name("#t", T).value(":before", s(due_time(before_ms)));
            let take = Take { partition: idempotency_partition(number), index: Some(DUE), sort: words };
            let Some(old) = self.query_all(&take, usize::MAX).await? else { return Ok(forgotten) };
            for item in old {
                let at = item.get(T).cloned().unwrap_or(AttributeValue::Null(true));
                forgotten +=
                    self.delete_sidecar_item(&item, Words::new("#t = :t").name("#t", T).value(":t", at)).await?;
            }
        }
        Ok(forgotten)
    }
}
