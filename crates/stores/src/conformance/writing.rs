//! Writing as the authority.

use std::collections::HashSet;
use std::sync::Arc;

use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Change, DirtyMark, Expect, IdempotencyRow, Image, Role, Store, Write, Written};
use shearwater_core::value::hash;

use super::bench::{
    Bench, delete_change, doc, fence, installed, key, layout, put_change, record, record_of, write, write_all,
};

async fn error_of(store: &Arc<dyn Store>, epoch: Option<u64>, changes: Vec<Change>) -> StoreErrorKind {
    store.write(Write { epoch, changes, idempotency: None }).await.unwrap_err().kind
}

pub(super) async fn every_change_is_stamped_and_marked(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let first = write_all(bench, &store, vec![put_change("a", 1, Expect::Any), put_change("b", 1, Expect::Any)]).await;
    let second = write(&store, vec![delete_change("a", Expect::Any)]).await;
    assert!(Stamp::ZERO < first[0] && first[0] < first[1] && first[1] < second[0], "{first:?} {second:?}");
    let gone = store.fetch(&key("a")).await.unwrap();
    assert_eq!((gone.image, gone.stamp, gone.dirty), (None, Some(second[0]), true), "a tombstone");
    let marks = store.dirty(None, 10).await.unwrap();
    assert_eq!(marks, [DirtyMark { key: key("b"), stamp: first[1] }, DirtyMark { key: key("a"), stamp: second[0] }]);
    assert_eq!(store.dirty_count().await.unwrap(), 2);
}

pub(super) async fn a_write_is_all_or_nothing(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let before = write(&store, vec![put_change("a", 1, Expect::Any)]).await;
    let changes = vec![
        put_change("a", 2, Expect::Any),
        put_change("b", 2, Expect::Any),
        delete_change("a", Expect::Any),
        put_change("c", 2, Expect::Present),
    ];
    let error = error_of(&store, Some(1), changes).await;
    assert_eq!(error, StoreErrorKind::ExpectFailed { change: 3, found: None, exists: false });
    assert_eq!(record_of(&store, "a").await, Some(record("a", 1)));
    assert_eq!(store.fetch(&key("b")).await.unwrap().stamp, Some(Stamp::ZERO));
    assert_eq!(store.dirty(None, 10).await.unwrap(), [DirtyMark { key: key("a"), stamp: before[0] }]);
}

pub(super) async fn expectations_hold_or_nothing_is_written(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let there = write(&store, vec![put_change("there", 1, Expect::Absent)]).await[0];
    let gone = {
        write(&store, vec![put_change("gone", 1, Expect::Absent)]).await;
        write(&store, vec![delete_change("gone", Expect::Present)]).await[0]
    };
    let other = Stamp::new(1, 999);
    let content = Expect::Content(hash::document(&record("there", 1)));
    let check = async |id: &str, expect: Expect, delete: bool, holds: bool| {
        let mut changes = vec![if delete { delete_change(id, expect) } else { put_change(id, 1, expect) }];
        if bench.changes_max() > 1 {
            // A second change that fails undoes the first: only the expectation is asked.
            changes.push(put_change("nobody", 1, Expect::Present));
        } else if holds {
            // One at a time changes what the next ones ask about.
            return expectation_alone(bench, id, expect, delete).await;
        }
        let error = error_of(&store, Some(1), changes).await;
        let StoreErrorKind::ExpectFailed { change, found, exists } = error else { panic!("{error:?}") };
        assert_eq!(change, usize::from(holds), "{id} {expect:?}, delete: {delete}");
        if !holds {
            assert_eq!((exists, found), (id == "there", (id == "there").then_some(there)), "{id} {expect:?}");
        }
    };
    for delete in [false, true] {
        check("there", Expect::Any, delete, true).await;
        check("there", Expect::Absent, delete, false).await;
        check("there", Expect::Present, delete, true).await;
        check("there", Expect::Stamp(there), delete, true).await;
        check("there", Expect::Stamp(other), delete, false).await;
        check("there", Expect::Stamp(Stamp::ZERO), delete, false).await;
        check("there", content, delete, true).await;
        check("there", Expect::Content(1), delete, false).await;
        check("gone", Expect::Absent, delete, true).await;
        check("gone", Expect::Present, delete, false).await;
        check("gone", Expect::Stamp(other), delete, false).await;
        check("gone", content, delete, false).await;
    }
    // A put may expect the absence that a stamp names; a delete needs a record.
    check("gone", Expect::Stamp(gone), false, true).await;
    check("gone", Expect::Stamp(gone), true, false).await;
}

/// An expectation that holds, of a store that takes one change at a time: of a
/// record and of a deleted one that are as in
/// [`expectations_hold_or_nothing_is_written`].
async fn expectation_alone(bench: &dyn Bench, id: &str, expect: Expect, delete: bool) {
    let store = installed(bench, Role::Authority).await;
    let mut last = write(&store, vec![put_change(id, 1, Expect::Absent)]).await[0];
    if id == "gone" {
        last = write(&store, vec![delete_change(id, Expect::Present)]).await[0];
    }
    let expect = if matches!(expect, Expect::Stamp(_)) { Expect::Stamp(last) } else { expect };
    let change = if delete { delete_change(id, expect) } else { put_change(id, 2, expect) };
    write(&store, vec![change]).await;
    assert_eq!(record_of(&store, id).await, (!delete).then(|| record(id, 2)), "{id} {expect:?}");
}

pub(super) async fn a_changed_key_is_one_write(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let first = write(&store, vec![put_change("old", 1, Expect::Absent)]).await[0];
    let mut moved = record("old", 1);
    moved.set("id", "new");
    let changes = vec![
        delete_change("old", Expect::Stamp(first)),
        Change { key: key("new"), image: Some(Image::of(moved.clone())), expect: Expect::Absent },
    ];
    let stamps = write(&store, changes).await;
    assert_eq!(record_of(&store, "old").await, None);
    assert_eq!(record_of(&store, "new").await, Some(moved), "with the unique value that the old one had");
    assert_eq!(store.fetch(&key("old")).await.unwrap().stamp, Some(stamps[0]));
    assert_eq!(store.fetch(&key("new")).await.unwrap().stamp, Some(stamps[1]));
}

fn idempotency(key: &str, request_hash: u128, at_ms: i64) -> Option<IdempotencyRow> {
    Some(IdempotencyRow { key: key.into(), request_hash, answer: "{\"etag\":\"{stamp}\"}".into(), at_ms })
}

pub(super) async fn an_idempotency_key_is_used_once(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let request = |id: &str, hash: u128| Write {
        epoch: Some(1),
        changes: vec![put_change(id, 1, Expect::Absent)],
        idempotency: idempotency("POST /v1 'k\0'", hash, 7),
    };
    let Written::Applied(stamps) = store.write(request("a", u128::MAX)).await.unwrap() else { panic!("replayed") };
    let stamp = stamps[0].unwrap();
    let expected = IdempotencyRow {
        key: "POST /v1 'k\0'".into(),
        request_hash: u128::MAX,
        answer: format!("{{\"etag\":\"{stamp}\"}}"),
        at_ms: 7,
    };
    assert_eq!(store.recall("POST /v1 'k\0'").await.unwrap(), Some(expected.clone()));
    assert_eq!(store.recall("other").await.unwrap(), None);
    assert_eq!(store.write(request("b", u128::MAX)).await.unwrap(), Written::Replayed(expected));
    assert_eq!(record_of(&store, "b").await, None, "a replay writes nothing");
    let reused = store.write(request("b", 5)).await.unwrap_err();
    assert_eq!(reused.kind, StoreErrorKind::IdempotencyReused);
    let mut failing = request("a", 6);
    failing.idempotency = idempotency("second", 6, 8);
    store.write(failing).await.unwrap_err();
    assert_eq!(store.recall("second").await.unwrap(), None, "it commits with its write or not at all");
    assert_eq!(store.fetch(&key("a")).await.unwrap().stamp, Some(stamp));
}

/// Twins that meet at one record: whoever comes second finds the first one's
/// answer, and not a record that is no more as it expects it.
pub(super) async fn twins_of_one_request_are_applied_once_and_replayed(bench: &dyn Bench) {
    const TWINS: usize = 4;
    let store = installed(bench, Role::Authority).await;
    let second = bench.again(&store).await;
    for round in 0..12 {
        // A record is made, and then deleted at its version.
        for (what, expect) in [("make", Expect::Absent), ("delete", Expect::Any)] {
            let expect = match store.fetch(&key("a")).await.unwrap() {
                found if found.image.is_some() => Expect::Stamp(found.stamp.unwrap()),
                _ => expect,
            };
            let mut change = put_change("a", round, expect);
            change.image = change.image.filter(|_| what == "make");
            let row = idempotency(&format!("{what} {round}"), 1, 1);
            let request = Write { epoch: Some(1), changes: vec![change], idempotency: row };
            let twins: Vec<_> = (0..TWINS)
                .map(|n| {
                    let (store, request) = (if n % 2 == 0 { &store } else { &second }.clone(), request.clone());
                    tokio::spawn(async move { store.write(request).await })
                })
                .collect();
            let mut applied = 0;
            for twin in twins {
                let written = twin.await.unwrap().unwrap_or_else(|e| panic!("{what} {round}: {e:?}"));
                applied += usize::from(matches!(written, Written::Applied(_)));
            }
            assert_eq!(applied, 1, "{what} {round}");
        }
    }
}

pub(super) async fn old_idempotency_keys_are_forgotten(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    for at_ms in [10, 20, 30] {
        let changes = vec![put_change("a", at_ms, Expect::Any)];
        let row = idempotency(&format!("k{at_ms}"), 1, at_ms);
        store.write(Write { epoch: Some(1), changes, idempotency: row }).await.unwrap();
    }
    assert_eq!(store.forget_idempotency(30).await.unwrap(), 2);
    assert_eq!(store.recall("k20").await.unwrap(), None);
    assert!(store.recall("k30").await.unwrap().is_some());
}

pub(super) async fn older_epochs_are_refused(bench: &dyn Bench) {
    let store = bench.fresh(layout(bench.flavour())).await;
    store.install(fence(Role::Authority, 5)).await.unwrap();
    let changes = || vec![put_change("a", 1, Expect::Any)];
    let stale = StoreErrorKind::EpochStale { current: 5 };
    assert_eq!(error_of(&store, Some(4), changes()).await, stale);
    assert_eq!(error_of(&store, None, changes()).await, stale);
    assert_eq!(record_of(&store, "a").await, None);
    for epoch in [5, 6] {
        let write = Write { epoch: Some(epoch), changes: changes(), idempotency: None };
        let Written::Applied(stamps) = store.write(write).await.unwrap() else { panic!("replayed") };
        assert_eq!(stamps[0].unwrap().epoch, 5, "stamps have the fence's epoch");
    }
}

pub(super) async fn only_the_authority_takes_writes(bench: &dyn Bench) {
    for role in [Role::Closed, Role::Follower] {
        let store = installed(bench, role).await;
        let error = error_of(&store, Some(9), vec![put_change("a", 1, Expect::Any)]).await;
        assert_eq!(error, StoreErrorKind::FenceClosed, "{role:?}");
        assert_eq!(record_of(&store, "a").await, None);
    }
}

pub(super) async fn a_store_without_a_sidecar_has_no_stamps(bench: &dyn Bench) {
    let store = bench.fresh(layout(bench.flavour())).await;
    let plain = |change: Change| Write { epoch: None, changes: vec![change], idempotency: None };
    let written = store.write(plain(put_change("a", 1, Expect::Absent))).await.unwrap();
    assert_eq!(written, Written::Applied(vec![None]));
    let fetched = store.fetch(&key("a")).await.unwrap();
    assert_eq!((fetched.stamp, fetched.dirty), (None, false));
    let content = hash::document(&fetched.image.unwrap().record);
    let error = error_of(&store, None, vec![put_change("a", 2, Expect::Content(content ^ 1))]).await;
    assert_eq!(error, StoreErrorKind::ExpectFailed { change: 0, found: None, exists: true });
    store.write(plain(put_change("a", 2, Expect::Content(content)))).await.unwrap();
    assert_eq!(record_of(&store, "a").await, Some(bench.bare(record("a", 2))));
    assert_eq!(error_of(&store, Some(1), vec![put_change("a", 3, Expect::Any)]).await, StoreErrorKind::Sidecar);
    assert_eq!(store.fence().await.unwrap(), None);
    assert_eq!(store.recall("k").await.unwrap(), None);
    assert_eq!(store.dirty_count().await.unwrap_err().kind, StoreErrorKind::Sidecar);
}

pub(super) async fn parked_fields_stay_beside_their_record(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let image = Image { record: record("a", 1), parked: doc(r#"{"nick":"x\u0000y","n":{"@decimal":"1.10"}}"#) };
    let change = Change { key: key("a"), image: Some(image.clone()), expect: Expect::Any };
    write(&store, vec![change]).await;
    assert_eq!(store.fetch(&key("a")).await.unwrap().image, Some(image));
    write(&store, vec![put_change("a", 2, Expect::Any)]).await;
    assert_eq!(store.fetch(&key("a")).await.unwrap().image, Some(Image::of(record("a", 2))), "the image says it all");
}

pub(super) async fn a_record_is_replaced_whole(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    write(&store, vec![put_change("a", 1, Expect::Any)]).await;
    let smaller = doc(r#"{"id":"a","email":null,"age":null,"score":null,"active":null,"tags":[]}"#);
    let change = Change { key: key("a"), image: Some(Image::of(smaller.clone())), expect: Expect::Present };
    write(&store, vec![change]).await;
    assert_eq!(record_of(&store, "a").await, Some(smaller));
}

pub(super) async fn concurrent_writers_each_get_their_own_stamp(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let second = bench.again(&store).await;
    let mut tasks = Vec::new();
    for n in 0..40i64 {
        let store = if n % 2 == 0 { store.clone() } else { second.clone() };
        tasks.push(tokio::spawn(async move {
            let fails = n % 5 == 4;
            let expect = if fails { Expect::Stamp(Stamp::new(9, 9)) } else { Expect::Any };
            let changes = vec![put_change(&format!("k{}", n % 7), n, expect)];
            (n, store.write(Write { epoch: Some(1), changes, idempotency: None }).await)
        }));
    }
    let (mut stamps, mut last) = (HashSet::new(), vec![(Stamp::ZERO, -1); 7]);
    for task in tasks {
        let (n, result) = task.await.unwrap();
        match result {
            Ok(Written::Applied(found)) => {
                assert!(stamps.insert(found[0].unwrap()), "{found:?} was given twice");
                let last = &mut last[(n % 7) as usize];
                *last = (*last).max((found[0].unwrap(), n));
            }
            Ok(replayed) => panic!("{replayed:?}"),
            Err(error) => assert!(n % 5 == 4 && matches!(error.kind, StoreErrorKind::ExpectFailed { .. }), "{error:?}"),
        }
    }
    assert_eq!(stamps.len(), 32);
    for (id, (stamp, n)) in last.into_iter().enumerate() {
        let fetched = store.fetch(&key(&format!("k{id}"))).await.unwrap();
        assert_eq!((fetched.stamp, fetched.image), (Some(stamp), Some(Image::of(record(&format!("k{id}"), n)))));
    }
}
