//! Guarded puts: what a follower takes, and what it keeps.

use std::ops::Range;
use std::sync::Arc;

use futures::future::join_all;
use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Cursor, Image, Put, Role, Store};

use super::bench::{Bench, Flavour, doc, fence, installed, key, layout, put, record, record_of, tombstone};

async fn apply(store: &Arc<dyn Store>, puts: Vec<Put>) -> Vec<Applied> {
    store.apply(1, puts, None).await.unwrap()
}

/// A stamp and the age of the record there, `None` for no record.
type Held = (Stamp, Option<i64>);

fn put_of(id: &str, (stamp, age): Held) -> Put {
    match age {
        Some(age) => put(id, age, stamp),
        None => tombstone(id, stamp),
    }
}

/// The rule of guarded puts, in three lines.
fn expected(held: Held, given: Held) -> (Applied, Held) {
    if held.0 > given.0 {
        (Applied::Stale { held: held.0 }, held)
    } else if held.1 == given.1 {
        (Applied::Unchanged, given)
    } else {
        (Applied::Changed, given)
    }
}

pub(super) async fn every_order_of_stamps(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    let stamps = [Stamp::ZERO, Stamp::new(1, 9), Stamp::new(1, 10), Stamp::new(2, 1)];
    let contents = [None, Some(1), Some(2)];
    let states: Vec<Held> = stamps.iter().flat_map(|s| contents.map(|c| (*s, c))).collect();
    let mut puts = Vec::new();
    for (from, held) in states.iter().enumerate() {
        for (to, given) in states.iter().enumerate() {
            let id = format!("{from}-{to}");
            apply(&store, vec![put_of(&id, *held)]).await;
            puts.push((id, *held, *given));
        }
    }
    let answers = apply(&store, puts.iter().map(|(id, _, given)| put_of(id, *given)).collect()).await;
    for ((id, held, given), answer) in puts.into_iter().zip(answers) {
        let (applied, after) = expected(held, given);
        assert_eq!(answer, applied, "{held:?} then {given:?}");
        let fetched = store.fetch(&key(&id)).await.unwrap();
        let found = fetched.image.map(|image| image.record);
        assert_eq!(found, after.1.map(|age| record(&id, age)), "{held:?} then {given:?}");
        assert_eq!((fetched.stamp, fetched.dirty), (Some(after.0), false), "{held:?} then {given:?}");
    }
}

/// Batches of the same keys side by side, a backfill's and a deletion's among
/// them: of every key the highest stamp wins, in whatever order they come. In odd
/// rounds the records are there before, so that all batches see the same mark.
pub(super) async fn batches_side_by_side_leave_the_highest_stamp(bench: &dyn Bench) {
    const KEYS: usize = 24;
    const HIGHEST: u64 = 5;
    let store = installed(bench, Role::Follower).await;
    for round in 0..6 {
        let id = |n: usize| format!("r{round}-{n:02}");
        let batch = |counter: u64, keys: Range<usize>| -> Vec<Put> {
            let stamp = if counter == 0 { Stamp::ZERO } else { Stamp::new(1, counter) };
            let age = (counter != 3).then_some(counter as i64);
            keys.map(|n| put_of(&id(n), (stamp, age))).collect()
        };
        if round % 2 == 1 {
            apply(&store, batch(1, 0..KEYS)).await;
        }
        let mut batches = Vec::new();
        for counter in [0, HIGHEST, 2, 3, 4] {
            for keys in [0..KEYS * 3 / 4, KEYS / 4..KEYS] {
                batches.push(apply(&store, batch(counter, keys)));
            }
        }
        for answers in join_all(batches).await {
            assert!(answers.iter().all(|answer| !matches!(answer, Applied::Refused(_))), "{answers:?}");
        }
        for n in 0..KEYS {
            let fetched = store.fetch(&key(&id(n))).await.unwrap();
            assert_eq!(fetched.stamp, Some(Stamp::new(1, HIGHEST)), "{}", id(n));
            assert_eq!(fetched.image.map(|image| image.record), Some(record(&id(n), HIGHEST as i64)));
        }
    }
}

pub(super) async fn a_second_backfill_changes_nothing(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    let puts: Vec<Put> = (0..100).map(|n| put(&format!("k{n}"), n, Stamp::ZERO)).collect();
    assert!(apply(&store, puts.clone()).await.iter().all(|a| *a == Applied::Changed));
    assert!(apply(&store, puts.clone()).await.iter().all(|a| *a == Applied::Unchanged));
    apply(&store, vec![put("k3", 1_000, Stamp::new(1, 1)), tombstone("k4", Stamp::new(1, 2))]).await;
    let third = apply(&store, puts).await;
    let stale: Vec<usize> = (0..100).filter(|n| third[*n] != Applied::Unchanged).collect();
    assert_eq!(stale, [3, 4]);
    assert_eq!(third[3], Applied::Stale { held: Stamp::new(1, 1) });
    assert_eq!(record_of(&store, "k3").await, Some(record("k3", 1_000)));
    assert_eq!(record_of(&store, "k4").await, None);
}

pub(super) async fn a_tombstone_keeps_an_older_record_out(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    let gone = Stamp::new(1, 5);
    assert_eq!(apply(&store, vec![tombstone("a", gone)]).await, [Applied::Unchanged], "there was no record");
    let late = apply(&store, vec![put("a", 1, Stamp::ZERO), put("a", 1, Stamp::new(1, 4))]).await;
    assert_eq!(late, [Applied::Stale { held: gone }, Applied::Stale { held: gone }]);
    assert_eq!(record_of(&store, "a").await, None);
    assert_eq!(apply(&store, vec![put("a", 1, Stamp::new(1, 6))]).await, [Applied::Changed]);
    assert_eq!(record_of(&store, "a").await, Some(record("a", 1)));
}

fn checkpoint(range: u32, read: u64, changed: u64) -> Checkpoint {
    let cursor = (read > 0).then(|| Cursor(format!("[[\"t\",\"{read}\"]]")));
    Checkpoint { run: "run 1".into(), range, cursor, done: false, read, changed, dead: 0, bytes: 9 * read }
}

/// From one number of records to the next; what `to` says of changes is not believed.
fn step(from: &Checkpoint, read: u64) -> Option<CheckpointStep> {
    Some(CheckpointStep { from: from.clone(), to: checkpoint(from.range, read, 99) })
}

pub(super) async fn checkpoints_commit_with_their_rows(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    assert_eq!(store.checkpoints("run 1").await.unwrap(), []);
    store.apply(1, vec![put("a", 1, Stamp::ZERO)], step(&checkpoint(1, 0, 0), 1)).await.unwrap();
    store.apply(1, vec![], step(&checkpoint(0, 0, 0), 0)).await.unwrap();
    let puts = vec![put("a", 1, Stamp::ZERO), put("b", 1, Stamp::ZERO), tombstone("c", Stamp::ZERO)];
    store.apply(1, puts, step(&checkpoint(1, 1, 1), 4)).await.unwrap();
    let saved = [checkpoint(0, 0, 0), checkpoint(1, 4, 2)];
    assert_eq!(store.checkpoints("run 1").await.unwrap(), saved, "what the batch changed is counted with it");
    assert_eq!(store.checkpoints("run 2").await.unwrap(), []);
    store.set_fence(fence(Role::Follower, 1), fence(Role::Follower, 2)).await.unwrap();
    let error = store.apply(1, vec![put("c", 1, Stamp::ZERO)], step(&saved[1], 5)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::EpochStale { current: 2 });
    assert_eq!(record_of(&store, "c").await, None);
    assert_eq!(store.checkpoints("run 1").await.unwrap(), saved);
    assert!(store.apply(3, vec![put("c", 1, Stamp::ZERO)], None).await.is_ok(), "a newer epoch is no reason to refuse");
}

pub(super) async fn a_checkpoint_does_not_pass_a_refused_put(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    let mut other_key = put("b", 1, Stamp::ZERO);
    other_key.key = key("not b");
    let puts = vec![put("a", 1, Stamp::ZERO), other_key, put("c", 1, Stamp::ZERO)];
    let from = checkpoint(0, 2, 1);
    let answers = store.apply(1, puts, step(&from, 5)).await.unwrap();
    assert!(matches!(answers[1], Applied::Refused(_)), "{answers:?}");
    assert_eq!(record_of(&store, "c").await, Some(record("c", 1)), "the others are in");
    let held = checkpoint(0, 2, 3);
    assert_eq!(
        store.checkpoints("run 1").await.unwrap(),
        std::slice::from_ref(&held),
        "and counted, at the place before the batch"
    );
    store.apply(1, vec![], step(&held, 5)).await.unwrap();
    assert_eq!(store.checkpoints("run 1").await.unwrap(), [checkpoint(0, 5, 3)], "once the letter is kept");
}

pub(super) async fn the_authority_takes_no_puts(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let error = store.apply(1, vec![put("a", 1, Stamp::new(9, 9))], step(&checkpoint(0, 0, 0), 1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::FenceClosed);
    assert_eq!(record_of(&store, "a").await, None);
    let bare = bench.fresh(layout(bench.flavour())).await;
    let error = bare.apply(1, vec![put("a", 1, Stamp::ZERO)], None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Sidecar);
    let closed = installed(bench, Role::Closed).await;
    assert_eq!(apply(&closed, vec![put("a", 1, Stamp::ZERO)]).await, [Applied::Changed]);
}

fn with_email(id: &str, email: &str, stamp: Stamp) -> Put {
    let mut put = put(id, 1, stamp);
    put.image.as_mut().unwrap().record.set("email", email);
    put
}

pub(super) async fn unique_values_pass_between_records_of_a_batch(bench: &dyn Bench) {
    for stamp in [Stamp::ZERO, Stamp::new(1, 7)] {
        let store = installed(bench, Role::Follower).await;
        let ids = ["a", "b", "c", "d"];
        let puts = |emails: [&str; 4]| ids.iter().zip(emails).map(|(id, e)| with_email(id, e, stamp)).collect();
        apply(&store, puts(["1", "2", "3", "4"])).await;
        for emails in [["2", "1", "3", "4"], ["3", "2", "4", "1"], ["5", "3", "2", "4"], ["1", "5", "3", "2"]] {
            let answers = apply(&store, puts(emails)).await;
            assert!(!answers.iter().any(|a| matches!(a, Applied::Refused(_))), "{emails:?}: {answers:?}");
            for (id, email) in ids.iter().zip(emails) {
                let found = record_of(&store, id).await.unwrap();
                assert_eq!(found.get("email"), Some(&email.into()), "{emails:?} {id}");
                assert_eq!(found.get("tags"), record(id, 1).get("tags"), "child rows too");
            }
        }
        // A value of a record that the batch deletes is free in the batch.
        let answers = apply(&store, vec![with_email("a", "2", stamp), tombstone("d", stamp)]).await;
        assert_eq!(answers, [Applied::Changed, Applied::Changed]);
    }
}

pub(super) async fn a_refused_put_leaves_the_others(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    apply(&store, vec![with_email("holder", "taken", Stamp::ZERO), with_email("b", "b", Stamp::ZERO)]).await;
    let mut other_key = put("c", 1, Stamp::ZERO);
    other_key.key = key("not c");
    let puts = vec![
        with_email("a", "taken", Stamp::ZERO),
        with_email("b", "taken", Stamp::new(1, 1)),
        other_key,
        put("d", 1, Stamp::ZERO),
    ];
    let answers = apply(&store, puts).await;
    let is_refused = |answer: &Applied, field: &str| {
        matches!(answer, Applied::Refused(error)
            if error.kind == StoreErrorKind::Refused { field: Some(field.into()) })
    };
    assert!(is_refused(&answers[2], "id"), "{:?}", answers[2]);
    assert_eq!(answers[3], Applied::Changed);
    assert_eq!(record_of(&store, "d").await, Some(record("d", 1)));
    if bench.flavour() == Flavour::Document {
        return;
    }
    assert!(is_refused(&answers[0], "email") && is_refused(&answers[1], "email"), "{answers:?}");
    assert_eq!(record_of(&store, "a").await, None);
    let kept = store.fetch(&key("b")).await.unwrap();
    assert_eq!((kept.stamp, kept.image.unwrap().record), (Some(Stamp::ZERO), record("b", 1)), "as it was before");
    let answers = apply(&store, vec![with_email("holder", "free", Stamp::ZERO), with_email("a", "taken", Stamp::ZERO)]);
    assert_eq!(answers.await, [Applied::Changed, Applied::Changed], "a later try succeeds");
}

pub(super) async fn puts_carry_parked_fields(bench: &dyn Bench) {
    let store = installed(bench, Role::Closed).await;
    let parked = |age: i64, parked: &str, stamp: Stamp| {
        let mut put = put("a", age, stamp);
        put.image.as_mut().unwrap().parked = doc(parked);
        put
    };
    let check = async |put: Put, expect: Applied| {
        let image: Option<Image> = put.image.clone();
        assert_eq!(apply(&store, vec![put]).await, [expect]);
        assert_eq!(store.fetch(&key("a")).await.unwrap().image, image);
    };
    check(parked(1, r#"{"x":1}"#, Stamp::ZERO), Applied::Changed).await;
    check(parked(1, r#"{"x":1}"#, Stamp::ZERO), Applied::Unchanged).await;
    check(parked(1, r#"{"x":2}"#, Stamp::ZERO), Applied::Changed).await;
    check(parked(1, r#"{"x":2}"#, Stamp::new(1, 1)), Applied::Unchanged).await;
    check(parked(1, "{}", Stamp::new(1, 2)), Applied::Changed).await;
    check(parked(1, r#"{"x":2}"#, Stamp::new(1, 2)), Applied::Changed).await;
    check(tombstone("a", Stamp::new(1, 3)), Applied::Changed).await;
    check(parked(1, "{}", Stamp::new(1, 4)), Applied::Changed).await;
}
