//! The fence against writes that are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shearwater_core::Key;
use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Expect, Image, Put, Role, Store};
use shearwater_testbed::dynamodb;

use crate::given::{captured, fence, layout, open, put, records, user, write};
use crate::proxy::{Fault, Gate, Proxy};

/// Writes until it is told to stop or the fence refuses; the ids that went in.
async fn writer(store: Arc<dyn Store>, name: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut done = Vec::new();
    for n in 0.. {
        let id = format!("{name}-{n}");
        match write(&store, vec![put(user(&id, n), Expect::Absent)]).await {
            Ok(_) => done.push(id),
            Err(error) => {
                let fenced = matches!(error.kind, StoreErrorKind::FenceClosed | StoreErrorKind::EpochStale { .. });
                assert!(fenced, "{error:?}");
                break;
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    done
}

/// When `set_fence` returns, no write admitted under the old fence is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_after_the_fence() {
    let url = dynamodb().database("fence");
    let store = captured(&url, Role::Authority).await;
    let again = open(&url, layout("users", &["id"])).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for n in 0..6 {
        let handle = if n % 2 == 0 { store.clone() } else { again.clone() };
        writers.push(tokio::spawn(writer(handle, format!("w{n}"), stop.clone())));
    }
    while store.dirty_count().await.unwrap() < 30 {}
    let closed = fence(Role::Closed, 2);
    assert_eq!(store.set_fence(fence(Role::Authority, 1), closed).await.unwrap(), closed);
    let at_once = records(&store).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += writer.await.unwrap().len();
    }
    assert_eq!(records(&store).await, at_once, "nothing came after the fence was set");
    assert_eq!(at_once.len(), acknowledged, "and what was acknowledged is there");
    assert_eq!(store.dirty_count().await.unwrap(), acknowledged as u64);
}

/// A write that was admitted and is on its way when the fence is set does nothing.
#[tokio::test]
async fn a_write_on_its_way_meets_the_new_fence() {
    let url = dynamodb().database("way");
    let store = captured(&url, Role::Authority).await;
    let proxy = Proxy::before(&url).await;
    let slow = open(&proxy.url, layout("users", &["id"])).await.unwrap();
    let gate = Gate::default();
    proxy.next("TransactWriteItems", 1, Fault::Held(gate.clone()));
    let writing = tokio::spawn(async move { write(&slow, vec![put(user("a", 1), Expect::Any)]).await });
    gate.reached.notified().await;
    store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    gate.opened.notify_one();
    assert_eq!(writing.await.unwrap().unwrap_err().kind, StoreErrorKind::FenceClosed);
    assert_eq!(records(&store).await, []);
}

/// The same of a put, and of an epoch that has grown old on the way.
#[tokio::test]
async fn a_put_on_its_way_meets_the_new_fence() {
    let url = dynamodb().database("put");
    let store = captured(&url, Role::Closed).await;
    let proxy = Proxy::before(&url).await;
    for (from, to, expected) in [
        (fence(Role::Closed, 1), fence(Role::Closed, 2), StoreErrorKind::EpochStale { current: 2 }),
        (fence(Role::Closed, 2), fence(Role::Authority, 3), StoreErrorKind::FenceClosed),
    ] {
        let slow = open(&proxy.url, layout("users", &["id"])).await.unwrap();
        let gate = Gate::default();
        proxy.next("TransactWriteItems", 1, Fault::Held(gate.clone()));
        let put = Put { key: Key::single("a"), image: Some(Image::of(user("a", 1))), stamp: Stamp::ZERO };
        let applying = tokio::spawn(async move { slow.apply(from.epoch, vec![put], None).await });
        gate.reached.notified().await;
        store.set_fence(from, to).await.unwrap();
        gate.opened.notify_one();
        assert_eq!(applying.await.unwrap().unwrap_err().kind, expected);
        assert_eq!(records(&store).await, []);
    }
}

/// A follower's puts stop as the store becomes the authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_end_when_the_follower_becomes_the_authority() {
    let url = dynamodb().database("opens");
    let store = captured(&url, Role::Closed).await;
    let puts = |n: i64| -> Vec<Put> {
        let image = Some(Image::of(user("a", n)));
        vec![Put { key: Key::single("a"), image, stamp: Stamp::new(1, n as u64 + 1) }]
    };
    let applier = {
        let store = open(&url, layout("users", &["id"])).await.unwrap();
        tokio::spawn(async move {
            for n in 0.. {
                if let Err(error) = store.apply(1, puts(n), None).await {
                    return (n - 1, error);
                }
            }
            unreachable!()
        })
    };
    while store.fetch(&Key::single("a")).await.unwrap().stamp == Some(Stamp::ZERO) {}
    let open = fence(Role::Authority, 2);
    assert_eq!(store.set_fence(fence(Role::Closed, 1), open).await.unwrap(), open);
    let at_once = store.fetch(&Key::single("a")).await.unwrap();
    let (last, error) = applier.await.unwrap();
    assert_eq!(error.kind, StoreErrorKind::FenceClosed, "{error:?}");
    assert_eq!(store.fetch(&Key::single("a")).await.unwrap(), at_once);
    assert_eq!(at_once.image, Some(Image::of(user("a", last))));
}

/// An old epoch does nothing once the fence is raised, however it races.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_set_the_fence_one_does() {
    let url = dynamodb().database("both");
    let store = captured(&url, Role::Authority).await;
    let again = open(&url, layout("users", &["id"])).await.unwrap();
    let from = fence(Role::Authority, 1);
    let (a, b) =
        tokio::join!(store.set_fence(from, fence(Role::Closed, 2)), again.set_fence(from, fence(Role::Authority, 3)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b, "both are told which one holds");
    assert_eq!(store.fence().await.unwrap(), Some(a));
}
