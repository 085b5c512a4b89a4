//! The sidecar: marks, the fence, direct writers.

use std::sync::Arc;

use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Applied, Change, DirtyMark, Expect, Image, Role, Store, Write, Written};

use super::bench::{
    Bench, Bypass, DirectChange, delete_change, doc, fence, installed, key, layout, put, put_change, record, record_of,
    write,
};

pub(super) async fn dirty_marks_come_oldest_first(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let mut expected = Vec::new();
    for id in ["c", "a", "b", "e", "d"] {
        let stamp = write(&store, vec![put_change(id, 1, Expect::Any)]).await[0];
        expected.push(DirtyMark { key: key(id), stamp });
    }
    let again = write(&store, vec![put_change("a", 2, Expect::Any)]).await[0];
    expected.remove(1);
    expected.push(DirtyMark { key: key("a"), stamp: again });
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let marks = store.dirty(after, 2).await.unwrap();
        let Some(last) = marks.last() else { break };
        after = Some(last.stamp);
        found.extend(marks);
    }
    assert_eq!(found, expected);
    assert_eq!(store.dirty_count().await.unwrap(), 5);
}

pub(super) async fn clearing_is_compare_and_set(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let first = write(&store, vec![put_change("a", 1, Expect::Any)]).await[0];
    let second = write(&store, vec![put_change("a", 2, Expect::Any)]).await[0];
    let mark = |id: &str, stamp: Stamp| DirtyMark { key: key(id), stamp };
    let stale = vec![mark("a", first), mark("nobody", second), mark("a", Stamp::new(2, second.counter))];
    assert_eq!(store.clear(stale).await.unwrap(), 0, "an older confirmation is void");
    assert_eq!(store.dirty_count().await.unwrap(), 1);
    assert_eq!(store.clear(vec![mark("a", second), mark("a", second)]).await.unwrap(), 1);
    assert_eq!(store.dirty(None, 9).await.unwrap(), []);
    let fetched = store.fetch(&key("a")).await.unwrap();
    assert_eq!((fetched.stamp, fetched.dirty), (Some(second), false), "the stamp stays");
}

pub(super) async fn the_fence_is_compare_and_set(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let (open, closed) = (fence(Role::Authority, 1), fence(Role::Closed, 2));
    assert_eq!(store.fence().await.unwrap(), Some(open));
    assert_eq!(store.set_fence(fence(Role::Authority, 2), closed).await.unwrap(), open, "another epoch was expected");
    assert_eq!(store.set_fence(fence(Role::Closed, 1), closed).await.unwrap(), open, "another role was expected");
    assert_eq!(store.set_fence(open, closed).await.unwrap(), closed);
    assert_eq!(store.set_fence(open, fence(Role::Authority, 3)).await.unwrap(), closed);
    assert_eq!(store.fence().await.unwrap(), Some(closed));
    let bare = bench.fresh(layout(bench.flavour())).await;
    assert_eq!(bare.set_fence(open, closed).await.unwrap_err().kind, StoreErrorKind::Sidecar);
}

pub(super) async fn installing_twice_changes_nothing(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let stamp = write(&store, vec![put_change("a", 1, Expect::Any)]).await[0];
    store.install(fence(Role::Closed, 7)).await.unwrap();
    assert_eq!(store.fence().await.unwrap(), Some(fence(Role::Authority, 1)));
    assert_eq!(store.fetch(&key("a")).await.unwrap().stamp, Some(stamp));
    assert_eq!(store.provision().await.unwrap(), Vec::<String>::new(), "tables that are there stay as they are");
}

pub(super) async fn removal_leaves_no_reserved_name(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    write(&store, vec![put_change("a", 1, Expect::Any)]).await;
    assert!(!store.sidecar_names().await.unwrap().is_empty());
    store.remove().await.unwrap();
    assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new());
    let tables = store.inspect().await.unwrap().tables;
    assert!(tables.iter().all(|t| !t.name.contains("shearwater")), "{tables:?}");
    assert_eq!(record_of(&store, "a").await, Some(bench.bare(record("a", 1))), "the records stay");
    bench.directly(&store, DirectChange::SetAge("a".into(), 3)).await.unwrap();
    store.remove().await.unwrap();
    store.install(fence(Role::Authority, 4)).await.unwrap();
    assert_eq!(store.fetch(&key("a")).await.unwrap().stamp, Some(Stamp::ZERO), "a new capture begins anew");
}

pub(super) async fn stamps_rise_over_a_change_of_roles(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let first = write(&store, vec![put_change("a", 1, Expect::Any)]).await[0];
    store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    let theirs = Stamp::new(2, 1);
    assert_eq!(store.apply(2, vec![put("a", 2, theirs)], None).await.unwrap(), [Applied::Changed]);
    let fetched = store.fetch(&key("a")).await.unwrap();
    assert_eq!((fetched.stamp, fetched.dirty), (Some(theirs), false), "what the other authority wrote is confirmed");
    assert_eq!(store.dirty_count().await.unwrap(), 0);
    store.set_fence(fence(Role::Closed, 2), fence(Role::Authority, 3)).await.unwrap();
    let change = put_change("a", 3, Expect::Stamp(theirs));
    let written = store.write(Write { epoch: Some(3), changes: vec![change], idempotency: None }).await.unwrap();
    let Written::Applied(stamps) = written else { panic!("replayed") };
    assert!(first < theirs && theirs < stamps[0].unwrap(), "{stamps:?}");
}

async fn marked(store: &Arc<dyn Store>) -> Vec<shearwater_core::Key> {
    store.dirty(None, 100).await.unwrap().into_iter().map(|mark| mark.key).collect()
}

async fn look_at(store: &Arc<dyn Store>, ids: &[&str]) {
    for id in ids {
        store.fetch(&key(id)).await.unwrap();
    }
}

pub(super) async fn a_direct_writer_is_captured(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    let parked = doc(r#"{"nick":"kept"}"#);
    for id in ["a", "b", "c"] {
        let image = Image { record: record(id, 1), parked: parked.clone() };
        write(&store, vec![Change { key: key(id), image: Some(image), expect: Expect::Any }]).await;
    }
    let marks = store.dirty(None, 9).await.unwrap();
    let last = marks[2].stamp;
    assert_eq!(store.clear(marks).await.unwrap(), 3);

    bench.directly(&store, DirectChange::SetAge("a".into(), 9)).await.unwrap();
    bench.directly(&store, DirectChange::Delete("b".into())).await.unwrap();
    bench.directly(&store, DirectChange::Rename("c".into(), "moved".into())).await.unwrap();
    if bench.bypass() != Bypass::Captured {
        look_at(&store, &["a", "b", "c", "moved"]).await;
    }
    let mut found = marked(&store).await;
    found.sort();
    let seen: &[&str] = match bench.bypass() {
        Bypass::Captured | Bypass::Noticed => &["a", "b", "c", "moved"],
        Bypass::NoticedWhereItStands => &["a", "moved"],
    };
    assert_eq!(found, seen.iter().map(|id| key(id)).collect::<Vec<_>>());
    for &id in seen {
        let fetched = store.fetch(&key(id)).await.unwrap();
        assert!(fetched.dirty && fetched.stamp.unwrap() > last, "{fetched:?}");
        let expected = (id == "a" || id == "moved").then_some(&parked);
        assert_eq!(fetched.image.as_ref().map(|image| &image.parked), expected, "{id}");
        assert_eq!(
            fetched.image.and_then(|i| i.record.get("age").cloned()),
            match id {
                "a" => Some(9.into()),
                "moved" => Some(1.into()),
                _ => None,
            }
        );
    }
}

pub(super) async fn a_direct_writer_to_a_follower_is_noted(bench: &dyn Bench) {
    let store = installed(bench, Role::Follower).await;
    let puts = ["a", "b", "c"].map(|id| put(id, 1, Stamp::new(1, 1))).to_vec();
    store.apply(1, puts, None).await.unwrap();
    assert_eq!(store.foreign(9).await.unwrap(), [], "our own writes are not foreign");
    for age in [2, 3] {
        bench.directly(&store, DirectChange::SetAge("a".into(), age)).await.unwrap();
    }
    bench.directly(&store, DirectChange::Delete("b".into())).await.unwrap();
    // What is only noticed when looked at must still be there to be noticed.
    let mut expected = vec![key("a"), key("b")];
    if bench.bypass() != Bypass::Captured {
        look_at(&store, &["a", "b"]).await;
        expected.pop();
    }
    let mut foreign = store.foreign(9).await.unwrap();
    foreign.sort();
    assert_eq!(foreign, expected);
    assert_eq!(store.foreign(1).await.unwrap().len(), 1);
    assert_eq!(store.dirty_count().await.unwrap(), 0, "a follower's keys are not dirty");
    let mended =
        store.apply(1, vec![put("a", 1, Stamp::new(1, 1)), put("b", 1, Stamp::new(1, 1))], None).await.unwrap();
    assert_eq!(mended, [Applied::Changed, Applied::Changed]);
    assert_eq!(store.clear_foreign(vec![key("a"), key("nobody")]).await.unwrap(), 1);
    assert_eq!(store.foreign(9).await.unwrap(), expected[1..]);
}

pub(super) async fn a_direct_writer_is_refused_when_closed(bench: &dyn Bench) {
    let store = installed(bench, Role::Authority).await;
    write(&store, vec![put_change("a", 1, Expect::Any)]).await;
    store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    if bench.bypass() != Bypass::Captured {
        bench.directly(&store, DirectChange::SetAge("a".into(), 2)).await.unwrap();
        look_at(&store, &["a"]).await;
        assert_eq!(store.foreign(9).await.unwrap(), [key("a")], "what cannot be refused is told");
        assert_eq!(store.dirty_count().await.unwrap(), 1, "and is no write of the authority");
        return;
    }
    for change in [
        DirectChange::SetAge("a".into(), 2),
        DirectChange::Delete("a".into()),
        DirectChange::Rename("a".into(), "b".into()),
    ] {
        let error = bench.directly(&store, change.clone()).await.unwrap_err();
        assert!(error.contains("shearwater") && error.contains("closed"), "{change:?}: {error}");
    }
    assert_eq!(record_of(&store, "a").await, Some(record("a", 1)));
    store.set_fence(fence(Role::Closed, 2), fence(Role::Authority, 3)).await.unwrap();
    bench.directly(&store, DirectChange::SetAge("a".into(), 2)).await.unwrap();
}

pub(super) async fn a_second_handle_sees_everything(bench: &dyn Bench) {
    let first = bench.fresh(layout(bench.flavour())).await;
    let second = bench.again(&first).await;
    assert_eq!(second.fetch(&key("a")).await.unwrap().stamp, None);
    first.install(fence(Role::Authority, 1)).await.unwrap();
    assert_eq!(second.fetch(&key("a")).await.unwrap().stamp, Some(Stamp::ZERO), "the sidecar was installed elsewhere");
    let ours = write(&second, vec![put_change("a", 1, Expect::Absent)]).await;
    assert_eq!(first.fetch(&key("a")).await.unwrap().stamp, Some(ours[0]));
    first.set_fence(fence(Role::Authority, 1), fence(Role::Authority, 2)).await.unwrap();
    let write = Write { epoch: Some(1), changes: vec![delete_change("a", Expect::Any)], idempotency: None };
    assert_eq!(second.write(write).await.unwrap_err().kind, StoreErrorKind::EpochStale { current: 2 });
    second.remove().await.unwrap();
    assert_eq!(first.fetch(&key("a")).await.unwrap().stamp, None, "the sidecar was removed elsewhere");
    assert_eq!(first.fence().await.unwrap(), None);
}
