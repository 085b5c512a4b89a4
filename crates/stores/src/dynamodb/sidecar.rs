//! The sidecar's table: one beside each table that is captured.
//!
//! Its partition key `p` says what an item is, its sort key `k` which one. The
//! index `due` orders the dirty marks by stamp and the idempotency rows by time;
//! it is a local one, and so as exact as the table.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Checkpoint, Fence, IdempotencyRow, Role};
use shearwater_core::value::json;
use shearwater_core::{Key, Stamp, Value};

use super::value::Item;

/// Partition and sort key of the table, and the index with its sort key.
pub(super) const P: &str = "p";
pub(super) const K: &str = "k";
pub(super) const DUE: &str = "due";
pub(super) const T: &str = "t";

/// The fence stands in so many items, of which a write checks one: transactions
/// that check the same item at the same time lose to one another.
pub(super) const FENCES: usize = 8;

/// Marks are spread over so many partitions, each good for hundreds of writes a
/// second; all of them are asked for what is due.
pub(super) const MARK_PARTITIONS: usize = 4;

/// Idempotency rows are spread over so many partitions.
pub(super) const IDEMPOTENCY_PARTITIONS: usize = 4;

/// The format of what stands here, kept with the fence.
const FORMAT: &str = "1";

/// Bytes of a sort key: DynamoDB's limit, less the byte that tells the forms apart.
const SORT_BYTES_MAX: usize = 1023;

/// The partition of the checkpoints, and of the foreign writes.
pub(super) const CHECKPOINTS: &str = "checkpoint";
pub(super) const FOREIGN: &str = "foreign";

/// A text.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// The key of an item here.
fn key_item(partition: impl Into<String>, sort: Vec<u8>) -> Item {
    Item::from([(P.to_owned(), s(partition)), (K.to_owned(), AttributeValue::B(Blob::new(sort)))])
}

/// Bytes of any length as a sort key: as they are, or by their hash, which
/// nobody can choose.
fn sort_key(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() <= SORT_BYTES_MAX {
        return [&[0], bytes].concat();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    [&[1], digest.as_ref()].concat()
}

fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

fn unreadable(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, format!("the sidecar holds {what} that cannot be read"))
}

/// The key of one of the fence's items.
pub(super) fn fence_key(number: usize) -> Item {
    key_item(format!("fence.{}", number % FENCES), vec![0])
}

/// The role's word.
pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Authority => "authority",
        Role::Follower => "follower",
        Role::Closed => "closed",
    }
}

/// An epoch as it is kept and compared.
pub(super) fn epoch(epoch: u64) -> AttributeValue {
    AttributeValue::N(epoch.to_string())
}

/// One of the fence's items.
pub(super) fn fence_item(number: usize, fence: Fence) -> Item {
    let mut item = fence_key(number);
    item.insert("role".to_owned(), s(role_word(fence.role)));
    item.insert("epoch".to_owned(), epoch(fence.epoch));
    item.insert("format".to_owned(), s(FORMAT));
    item
}

/// Reads one of the fence's items.
pub(super) fn read_fence(item: &Item) -> StoreResult<Fence> {
    let role = match text_of(item, "role") {
        Some("authority") => Role::Authority,
        Some("follower") => Role::Follower,
        Some("closed") => Role::Closed,
        _ => return Err(unreadable("a fence")),
    };
    if text_of(item, "format") != Some(FORMAT) {
        return Err(StoreError::new(StoreErrorKind::Sidecar, "the sidecar is of another version"));
    }
    let Some(AttributeValue::N(epoch)) = item.get("epoch") else { return Err(unreadable("a fence")) };
    Ok(Fence { role, epoch: epoch.parse().map_err(|_| unreadable("a fence"))? })
}

/// Whether an item of this table is one of the fence's.
pub(super) fn is_fence(item: &Item) -> bool {
    text_of(item, P).is_some_and(|partition| partition.starts_with("fence."))
}

/// The partition of a key's mark.
fn mark_partition(key: &Key) -> String {
    mark_partition_of((key.hash() % MARK_PARTITIONS as u64) as usize)
}

/// One of the marks' partitions.
pub(super) fn mark_partition_of(number: usize) -> String {
    format!("mark.{number}")
}

/// The key of a key's mark.
pub(super) fn mark_key(key: &Key) -> Item {
    key_item(mark_partition(key), sort_key(&key.order_bytes()))
}

/// Whether the record under a marked key is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    There,
    Gone,
}

/// The stamp that was given to a key last. It stays when the mark is cleared, so
/// that it is seen when somebody else takes the item's own away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MarkRecord {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    pub(super) life: Life,
}

/// A stamp such that texts compare as stamps do.
pub(super) fn due_stamp(stamp: Stamp) -> String {
    format!("{:016x}{:016x}", stamp.epoch, stamp.counter)
}

/// A key's dirty mark.
pub(super) fn mark_item(key: &Key, stamp: Stamp, life: Life) -> Item {
    let mut item = mark_key(key);
    item.insert("key".to_owned(), s(key_text(key)));
    item.insert("stamp".to_owned(), s(stamp.to_string()));
    item.insert(T.to_owned(), s(due_stamp(stamp)));
    if life == Life::Gone {
        item.insert("gone".to_owned(), AttributeValue::Bool(true));
    }
    item
}

/// Reads a mark.
pub(super) fn read_mark(item: &Item) -> StoreResult<MarkRecord> {
    let read = || {
        let key = read_key_text(text_of(item, "key")?)?;
        let stamp = text_of(item, "stamp")?.parse().ok()?;
        let life = if item.contains_key("gone") { Life::Gone } else { Life::There };
        Some(MarkRecord { key, stamp, life })
    };
    read().ok_or_else(|| unreadable("a mark"))
}

/// A key's parts as one text.
pub(super) fn key_text(key: &Key) -> String {
    json::to_string(&Value::Array(key.values().to_vec()))
}

/// Reads [`key_text`]'s form back.
pub(super) fn read_key_text(text: &str) -> Option<Key> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Array(parts)) => Some(Key::composite(parts)),
        _ => None,
    }
}

/// The key of a foreign write's item.
pub(super) fn foreign_key(key: &Key) -> Item {
    key_item(FOREIGN, sort_key(&key.order_bytes()))
}

/// A foreign write.
pub(super) fn foreign_item(key: &Key) -> Item {
    let mut item = foreign_key(key);
    item.insert("key".to_owned(), s(key_text(key)));
    item
}

/// Reads a foreign write.
pub(super) fn read_foreign(item: &Item) -> StoreResult<Key> {
    text_of(item, "key").and_then(read_key_text).ok_or_else(|| unreadable("a foreign write"))
}

/// One of the partitions of idempotency rows.
pub(super) fn idempotency_partition(number: usize) -> String {
    format!("idempotency.{number}")
}

/// The key of an idempotency row.
pub(super) fn idempotency_key(key: &str) -> Item {
    let partition = (Key::single(key).hash() % IDEMPOTENCY_PARTITIONS as u64) as usize;
    key_item(idempotency_partition(partition), sort_key(key.as_bytes()))
}

/// A time such that texts compare as times do.
pub(super) fn due_time(at_ms: i64) -> String {
    // Shifted, so that times before 1970 come first.
    format!("{:016x}", (at_ms as u64) ^ (1 << 63))
}

/// An idempotency row.
pub(super) fn idempotency_item(row: &IdempotencyRow) -> Item {
    let mut item = idempotency_key(&row.key);
    item.insert("key".to_owned(), s(row.key.as_str()));
    item.insert("hash".to_owned(), s(format!("{:032x}", row.request_hash)));
    item.insert("answer".to_owned(), s(row.answer.as_str()));
    item.insert("at_ms".to_owned(), s(row.at_ms.to_string()));
    item.insert(T.to_owned(), s(due_time(row.at_ms)));
    item
}

/// Reads an idempotency row.
pub(super) fn read_idempotency(item: &Item) -> StoreResult<IdempotencyRow> {
    let read = || {
        Some(IdempotencyRow {
            key: text_of(item, "key")?.to_owned(),
            request_hash: u128::from_str_radix(text_of(item, "hash")?, 16).ok()?,
            answer: text_of(item, "answer")?.to_owned(),
            at_ms: text_of(item, "at_ms")?.parse().ok()?,
        })
    };
    read().ok_or_else(|| unreadable("an idempotency row"))
}

/// What the checkpoints of a run have in common.
pub(super) fn run_prefix(run: &str) -> Vec<u8> {
    let digest = ring::digest::digest(&ring::digest::SHA256, run.as_bytes());
    digest.as_ref().to_vec()
}

/// A checkpoint.
pub(super) fn checkpoint_item(checkpoint: &Checkpoint) -> StoreResult<Item> {
    let sort = [run_prefix(&checkpoint.run).as_slice(), &checkpoint.range.to_be_bytes()].concat();
    let text = serde_json::to_string(checkpoint)
        .map_err(|error| StoreError::new(StoreErrorKind::Unsupported, format!("a checkpoint: {error}")))?;
    let mut item = key_item(CHECKPOINTS, sort);
    item.insert("checkpoint".to_owned(), s(text));
    Ok(item)
}

/// Reads a checkpoint.
pub(super) fn read_checkpoint(item: &Item) -> StoreResult<Checkpoint> {
    let text = text_of(item, "checkpoint").ok_or_else(|| unreadable("a checkpoint"))?;
    serde_json::from_str(text).map_err(|_| unreadable("a checkpoint"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for role in [Role::Authority, Role::Follower, Role::Closed] {
            let fence = Fence { role, epoch: u64::MAX };
            assert_eq!(read_fence(&fence_item(11, fence)).unwrap(), fence);
        }
        let key = Key::composite(vec!["a\0".into(), Value::Int(-1)]);
        let stamp = Stamp::new(3, 41);
        for life in [Life::There, Life::Gone] {
            let found = read_mark(&mark_item(&key, stamp, life)).unwrap();
            assert_eq!(found, MarkRecord { key: key.clone(), stamp, life });
        }
        assert_eq!(read_foreign(&foreign_item(&key)).unwrap(), key);
        let row = IdempotencyRow { key: "k".repeat(2_000), request_hash: u128::MAX, answer: String::new(), at_ms: -1 };
        assert_eq!(read_idempotency(&idempotency_item(&row)).unwrap(), row);
        assert_eq!(read_fence(&Item::new()).unwrap_err().kind, StoreErrorKind::Sidecar);
    }

    #[test]
    fn what_is_due_compares_as_texts() {
        let stamps = [Stamp::ZERO, Stamp::new(0, 1), Stamp::new(1, 0), Stamp::new(1, 16), Stamp::new(16, 2)];
        assert!(stamps.windows(2).all(|pair| due_stamp(pair[0]) < due_stamp(pair[1])));
        assert!([i64::MIN, -1, 0, 9, 10, i64::MAX].windows(2).all(|pair| due_time(pair[0]) < due_time(pair[1])));
    }

    #[test]
    fn long_keys_have_short_sort_keys() {
        let AttributeValue::B(sort) = &mark_key(&Key::single("x".repeat(2_048)))[K] else { panic!("no bytes") };
        assert!(sort.as_ref().len() <= 1_024);
        let AttributeValue::B(sort) = &mark_key(&Key::single("x".repeat(1_000)))[K] else { panic!("no bytes") };
        assert!(sort.as_ref().len() > 1_000 && sort.as_ref().len() <= 1_024, "itself");
    }
}
