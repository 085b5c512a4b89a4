//! The wrappers that fail on cue do what they say: a test that leans on them
//! must not pass because they do nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::*;
use shearwater_core::{Document, Key, Stamp};
use shearwater_stores::Create;
use shearwater_stores::faults::{Call, Cue, Faulty, Weakened, Weakness, When};

async fn store(role: Role) -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::Document(DocumentLayout { table: "t".into(), key: vec!["id".into()], document: "doc".into() });
    let url = format!("sqlite:{}?sync=normal", dir.path().join("t.db").display());
    let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    store.install(Fence { role, epoch: 2 }).await.unwrap();
    (dir, store)
}

fn image(n: i64) -> Option<Image> {
    let mut record = Document::new();
    record.set("id", "a");
    record.set("n", n);
    Some(Image::of(record))
}

fn put(n: i64, stamp: Stamp) -> Vec<Put> {
    vec![Put { key: Key::single("a"), image: image(n), stamp }]
}

fn write(epoch: u64, n: i64) -> Write {
    let change = Change { key: Key::single("a"), image: image(n), expect: Expect::Any };
    Write { epoch: Some(epoch), changes: vec![change], idempotency: None }
}

async fn found(store: &Arc<dyn Store>) -> Option<Image> {
    store.fetch(&Key::single("a")).await.unwrap().image
}

#[tokio::test]
async fn a_call_fails_before_or_after_the_store_did_it() {
    let (_dir, inner) = store(Role::Authority).await;
    let faulty = Faulty::around(inner.clone());
    faulty.fail(Call::Write, When::Before, StoreErrorKind::Unavailable);
    assert_eq!(faulty.write(write(2, 1)).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(found(&inner).await, None);
    faulty.fail(Call::Write, When::After, StoreErrorKind::OutcomeUnknown);
    assert_eq!(faulty.write(write(2, 2)).await.unwrap_err().kind, StoreErrorKind::OutcomeUnknown);
    assert_eq!(found(&inner).await, image(2), "the store did it all the same");
    assert!(faulty.write(write(2, 3)).await.is_ok(), "once");
    assert_eq!(faulty.calls(Call::Write), 3);

    faulty.cue(Cue::fail(Call::Fetch, When::Before, StoreErrorKind::Denied).after(1).always());
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(faulty.fetch(&Key::single("a")).await.map(|_| ()).map_err(|e| e.kind));
    }
    assert_eq!(kinds, [Ok(()), Err(StoreErrorKind::Denied), Err(StoreErrorKind::Denied)]);
    faulty.heal();
    assert!(faulty.fetch(&Key::single("a")).await.is_ok());
}

#[tokio::test]
async fn a_cut_lets_some_calls_pass() {
    let (_dir, inner) = store(Role::Authority).await;
    let faulty = Faulty::around(inner.clone());
    faulty.cut_after(2);
    assert!(faulty.write(write(2, 1)).await.is_ok());
    assert!(faulty.dirty_count().await.is_ok());
    assert_eq!(faulty.write(write(2, 2)).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(faulty.fence().await.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(found(&inner).await, image(1));
    faulty.heal();
    assert!(faulty.write(write(2, 3)).await.is_ok());
}

#[tokio::test]
async fn a_held_call_waits_to_be_released() {
    let (_dir, inner) = store(Role::Authority).await;
    let faulty = Faulty::around(inner.clone());
    let (cue, held) = Cue::hold(Call::Write, When::After);
    faulty.cue(cue);
    let task = tokio::spawn({
        let faulty = faulty.clone();
        async move { faulty.write(write(2, 1)).await }
    });
    held.reached().await;
    assert_eq!(found(&inner).await, image(1), "done, but not answered");
    assert!(!task.is_finished());
    held.release();
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn each_weakness_opens_its_hole_and_no_other() {
    let (older, newer) = (Stamp::new(1, 1), Stamp::new(1, 2));
    for weak in [None, Some(Weakness::IgnoreGuard), Some(Weakness::DropTombstones)] {
        let (_dir, inner) = store(Role::Follower).await;
        let weakened = Weakened::around(inner.clone(), weak);
        weakened.apply(2, put(2, newer), None).await.unwrap();
        weakened.apply(2, put(1, older), None).await.unwrap();
        let overwritten = found(&inner).await == image(1);
        assert_eq!(overwritten, weak == Some(Weakness::IgnoreGuard), "H1 {weak:?}");
        let gone = vec![Put { key: Key::single("a"), image: None, stamp: Stamp::new(1, 3) }];
        weakened.apply(2, gone, None).await.unwrap();
        weakened.apply(2, put(1, Stamp::ZERO), None).await.unwrap();
        assert_eq!(found(&inner).await.is_some(), weak.is_some(), "H2 {weak:?}");
    }
    for weak in [None, Some(Weakness::SkipDirtyMarks), Some(Weakness::ClearAnyMark)] {
        let (_dir, inner) = store(Role::Authority).await;
        let weakened = Weakened::around(inner.clone(), weak);
        weakened.write(write(2, 1)).await.unwrap();
        let marked = inner.dirty_count().await.unwrap() == 1;
        assert_eq!(marked, weak != Some(Weakness::SkipDirtyMarks), "H4a {weak:?}");
        weakened.clear(vec![DirtyMark { key: Key::single("a"), stamp: Stamp::new(1, 999) }]).await.unwrap();
        assert_eq!(inner.dirty_count().await.unwrap() == 1, weak.is_none(), "H4c {weak:?}");
    }
    for weak in [None, Some(Weakness::IgnoreFence)] {
        let (_dir, inner) = store(Role::Closed).await;
        let weakened = Weakened::around(inner.clone(), weak);
        assert_eq!(weakened.write(write(1, 1)).await.is_ok(), weak.is_some(), "H5 {weak:?}");
        assert_eq!(weakened.apply(1, put(2, Stamp::new(9, 9)), None).await.is_ok(), weak.is_some(), "H5 {weak:?}");
        assert_eq!(inner.fence().await.unwrap(), Some(Fence { role: Role::Closed, epoch: 2 }));
    }
}
