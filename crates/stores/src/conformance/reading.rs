//! Reading by key, scanning, splitting.

use std::sync::Arc;

use shearwater_core::shape::FieldType;
use shearwater_core::store::{ChunkMax, Cursor, Expect, Image, Role, ScanRange, Store};
use shearwater_core::{Key, Stamp};

use super::bench::{
    Bench, Place, Ranges, delete_change, fence, holds, installed, key, layout, put_change, record, write, write_all,
};

const ALL: ScanRange = ScanRange { id: 0, low: None, high: None };

fn chunk(records: usize) -> ChunkMax {
    ChunkMax { records, bytes: 1 << 20 }
}

/// Every key of a range, scanned in chunks.
pub(super) async fn scanned(store: &Arc<dyn Store>, range: &ScanRange, max: ChunkMax) -> Vec<Key> {
    let (mut keys, mut after): (Vec<Key>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let chunk = store.scan(range, after.as_ref(), max).await.unwrap();
        keys.extend(chunk.records.into_iter().map(|r| r.unwrap().key));
        match chunk.next {
            Some(next) => after = Some(next),
            None => return keys,
        }
    }
}

async fn filled(bench: &dyn Bench, records: usize) -> (Arc<dyn Store>, Vec<Key>) {
    let store = installed(bench, Role::Authority).await;
    let ids: Vec<String> = (0..records).map(|n| format!("k{n:03}")).collect();
    if !ids.is_empty() {
        write_all(bench, &store, ids.iter().map(|id| put_change(id, 1, Expect::Absent)).collect()).await;
    }
    (store, ids.iter().map(|id| key(id)).collect())
}

pub(super) async fn an_absent_key_has_no_record(bench: &dyn Bench) {
    let store = bench.fresh(layout(bench.flavour())).await;
    let fetched = store.fetch(&key("nobody")).await.unwrap();
    assert_eq!((fetched.image, fetched.stamp, fetched.dirty), (None, None, false));
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let fetched = store.fetch(&key("nobody")).await.unwrap();
    assert_eq!((fetched.image, fetched.stamp, fetched.dirty), (None, Some(Stamp::ZERO), false));
}

pub(super) async fn what_was_written_is_read_back(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let stamps = write(&store, vec![put_change("a", 5, Expect::Any)]).await;
    let fetched = store.fetch(&key("a")).await.unwrap();
    assert_eq!(fetched.key, key("a"));
    assert_eq!(fetched.image, Some(Image::of(record("a", 5))));
    assert_eq!((fetched.stamp, fetched.dirty), (Some(stamps[0]), true));
}

pub(super) async fn fetch_many_keeps_the_order_asked(bench: &dyn Bench) {
    let (store, keys) = filled(bench, 50).await;
    let mut asked: Vec<Key> = keys.iter().rev().cloned().collect();
    asked.insert(7, key("nobody"));
    asked.push(keys[3].clone());
    let fetched = store.fetch_many(&asked).await.unwrap();
    assert_eq!(fetched.iter().map(|f| f.key.clone()).collect::<Vec<_>>(), asked);
    assert!(fetched.iter().all(|f| f.image.is_none() == (f.key == key("nobody"))));
    assert_eq!(store.fetch_many(&[]).await.unwrap(), []);
}

pub(super) async fn scans_give_every_record_once(bench: &dyn Bench) {
    for records in [0, 1, 2, 7, 50] {
        let (store, mut keys) = filled(bench, records).await;
        keys.sort();
        for max in [1, 2, 7, 1_000] {
            let mut found = scanned(&store, &ALL, chunk(max)).await;
            found.sort();
            assert_eq!(found, keys, "{records} records in chunks of {max}");
        }
    }
}

pub(super) async fn scans_keep_both_bounds(bench: &dyn Bench) {
    let (store, _) = filled(bench, 20).await;
    let first = store.scan(&ALL, None, chunk(6)).await.unwrap();
    assert_eq!(first.records.len(), 6);
    assert!(first.next.is_some() && first.bytes > 0);
    let small = store.scan(&ALL, None, ChunkMax { records: 100, bytes: 1 }).await.unwrap();
    assert_eq!(small.records.len(), 1, "at least one record is returned");
    let some = store.scan(&ALL, None, ChunkMax { records: 100, bytes: first.bytes / 2 }).await.unwrap();
    assert!((2..6).contains(&some.records.len()), "{} records in half the bytes", some.records.len());
}

pub(super) async fn scans_tell_stamps(bench: &dyn Bench) {
    let (store, _) = filled(bench, 3).await;
    store.remove().await.unwrap();
    let scan = async || store.scan(&ALL, None, chunk(10)).await.unwrap().records.into_iter().map(Result::unwrap);
    assert!(scan().await.all(|f| f.stamp.is_none() && !f.dirty));
    store.install(fence(Role::Authority, 1)).await.unwrap();
    assert!(scan().await.all(|f| f.stamp == Some(Stamp::ZERO) && !f.dirty));
    let stamps =
        write_all(bench, &store, vec![put_change("k001", 9, Expect::Present), delete_change("k002", Expect::Present)])
            .await;
    let mut found: Vec<_> = scan().await.map(|f| (f.key, f.stamp.unwrap(), f.dirty, f.image.is_some())).collect();
    found.sort();
    assert_eq!(found, [(key("k000"), Stamp::ZERO, false, true), (key("k001"), stamps[0], true, true)]);
}

pub(super) async fn splits_cover_without_overlap(bench: &dyn Bench) {
    for records in [0, 1, 5, 60] {
        let (store, mut keys) = filled(bench, records).await;
        for parts in [1, 2, 3, 8, 100] {
            let ranges = store.split(parts).await.unwrap();
            assert!((1..=parts).contains(&ranges.len()), "{} ranges of {parts}", ranges.len());
            assert_eq!(ranges.iter().map(|r| r.id as usize).collect::<Vec<_>>(), (0..ranges.len()).collect::<Vec<_>>());
            let mut found = Vec::new();
            for range in &ranges {
                let part = scanned(&store, range, chunk(4)).await;
                let even = parts == 1 || part.len() <= records.div_ceil(parts) + 1;
                assert!(even || bench.ranges() == Ranges::Hashed, "similar size");
                found.extend(part);
            }
            found.sort();
            keys.sort();
            assert_eq!(found, keys, "{records} records in {parts} parts");
        }
        // A key between two ranges, or beyond them all, belongs to one of them.
        let ranges = store.split(4).await.unwrap();
        let mut later = vec!["", "k0015", "zz"];
        later.retain(|id| holds(bench, Place::Key, FieldType::Text, &(*id).into()));
        write_all(bench, &store, later.iter().map(|id| put_change(id, 1, Expect::Absent)).collect()).await;
        let mut found = Vec::new();
        for range in &ranges {
            found.extend(scanned(&store, range, chunk(100)).await);
        }
        assert_eq!(found.len(), records + later.len(), "records that came later");
    }
}

pub(super) async fn keys_alone_are_those_of_the_records(bench: &dyn Bench) {
    let (store, mut keys) = filled(bench, 31).await;
    write_all(bench, &store, vec![delete_change("k003", Expect::Present), put_change("it's", 1, Expect::Absent)]).await;
    keys.retain(|k| *k != key("k003"));
    keys.push(key("it's"));
    keys.sort();
    for (parts, max) in [(1, 1), (1, 1_000), (4, 3)] {
        let mut found = Vec::new();
        for range in store.split(parts).await.unwrap() {
            let mut after = None;
            loop {
                let some = store.scan_keys(&range, after.as_ref(), chunk(max)).await.unwrap();
                assert!(some.keys.len() <= max);
                found.extend(some.keys.into_iter().map(Result::unwrap));
                after = some.next;
                if after.is_none() {
                    break;
                }
            }
        }
        found.sort();
        assert_eq!(found, keys, "{parts} parts, chunks of {max}");
    }
    let asked = [key("k000"), key("k003"), key("nobody"), key("it's"), key("k000"), key("K000")];
    assert_eq!(store.present(&asked).await.unwrap(), [true, false, false, true, true, false]);
    assert_eq!(store.present(&[]).await.unwrap(), Vec::<bool>::new());
}

pub(super) async fn estimates_count_records(bench: &dyn Bench) {
    let (store, keys) = filled(bench, 40).await;
    let estimate = store.estimate().await.unwrap();
    assert!(!estimate.exact || estimate.records == keys.len() as u64, "{estimate:?}");
    assert!(estimate.bytes > 0, "{estimate:?}");
}
