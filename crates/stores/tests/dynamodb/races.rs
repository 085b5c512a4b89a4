//! Requests that are on their way while others write what they have looked at:
//! each condition of each request, met by the interleaving that it is for.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::*;
use shearwater_core::value::hash;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::dynamodb;
use tokio::task::JoinHandle;

use crate::direct::Direct;
use crate::given::{captured, fence, layout, open, put, records, user, users, write};
use crate::proxy::{Fault, Gate, Proxy};

/// A store, and a handle on it one of whose requests is held on its way.
struct Scene {
    url: String,
    store: Arc<dyn Store>,
    slow: Arc<dyn Store>,
    proxy: Proxy,
    gate: Gate,
}

impl Scene {
    async fn over(url: String, store: Arc<dyn Store>) -> Scene {
        let proxy = Proxy::before(&url).await;
        let slow = open(&proxy.url, layout("users", &["id"])).await.unwrap();
        Scene { url, store, slow, proxy, gate: Gate::default() }
    }

    /// With items of each kind: one that nobody has written since capture began,
    /// and one that somebody has; its stamp.
    async fn new(role: Role) -> (Scene, Stamp) {
        let url = dynamodb().database("races");
        let store = users(&url).await;
        let plain = Write { epoch: None, changes: vec![put(user("plain", 0), Expect::Absent)], idempotency: None };
        store.write(plain).await.unwrap();
        store.install(fence(Role::Authority, 1)).await.unwrap();
        let stamp = write(&store, vec![put(user("stamped", 0), Expect::Absent)]).await.unwrap()[0];
        if role != Role::Authority {
            store.set_fence(fence(Role::Authority, 1), fence(role, 1)).await.unwrap();
        }
        (Scene::over(url, store).await, stamp)
    }

    /// Holds the next transaction, which the work makes.
    async fn hold<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.proxy.next("TransactWriteItems", 1, Fault::Held(self.gate.clone()));
        let working = tokio::spawn(work);
        self.gate.reached.notified().await;
        working
    }

    async fn release<T>(&self, working: JoinHandle<T>) -> T {
        self.gate.opened.notify_one();
        working.await.unwrap()
    }

    async fn n_of(&self, id: &str) -> Option<i64> {
        let found = self.store.fetch(&Key::single(id)).await.unwrap().image;
        found.map(|image| match image.record.get("n") {
            Some(shearwater_core::Value::Int(n)) => *n,
            other => panic!("{other:?}"),
        })
    }
}

const IDS: [&str; 3] = ["absent", "plain", "stamped"];

/// Two who have seen the same: the one who comes later finds that it is not so any more.
#[tokio::test]
async fn a_write_that_was_overtaken_looks_again() {
    let (scene, stamp) = Scene::new(Role::Authority).await;
    for id in IDS {
        let expect = match id {
            "absent" => Expect::Absent,
            "plain" => Expect::Stamp(Stamp::ZERO),
            _ => Expect::Stamp(stamp),
        };
        let slow = scene.slow.clone();
        let writing = scene.hold(async move { write(&slow, vec![put(user(id, 1), expect)]).await }).await;
        let quick = write(&scene.store, vec![put(user(id, 2), Expect::Any)]).await.unwrap()[0];
        let error = scene.release(writing).await.unwrap_err();
        let expected = StoreErrorKind::ExpectFailed { change: 0, found: Some(quick), exists: true };
        assert_eq!((error.kind, scene.n_of(id).await), (expected, Some(2)), "{id}");
        // One who expects nothing comes after it all the same.
        let slow = scene.slow.clone();
        let writing = scene.hold(async move { write(&slow, vec![put(user(id, 3), Expect::Any)]).await }).await;
        let quick = write(&scene.store, vec![put(user(id, 4), Expect::Any)]).await.unwrap()[0];
        let last = scene.release(writing).await.unwrap()[0];
        assert!(last > quick && scene.n_of(id).await == Some(3), "{id}: {last:?} {quick:?}");
        let marks = scene.store.dirty(None, 9).await.unwrap();
        assert!(marks.contains(&DirtyMark { key: Key::single(id), stamp: last }), "{id}: {marks:?}");
    }
}

/// The same of puts: the higher stamp stays, whoever comes first.
#[tokio::test]
async fn a_put_that_was_overtaken_is_stale() {
    let (scene, _) = Scene::new(Role::Follower).await;
    let of = |id: &str, n: i64| {
        let (key, stamp) = (Key::single(id), Stamp::new(1, (1 << 62) + n as u64));
        let image = (n % 2 == 0).then(|| Image::of(user(id, n)));
        Put { key, image, stamp }
    };
    for (id, at) in IDS.into_iter().zip([10, 20, 30]) {
        // A record before a record, and a deletion before one.
        for (late, early) in [(at, at + 2), (at + 3, at + 4)] {
            let (slow, put) = (scene.slow.clone(), of(id, late));
            let putting = scene.hold(async move { slow.apply(1, vec![put], None).await }).await;
            let put = of(id, early);
            let held = put.stamp;
            assert_eq!(scene.store.apply(1, vec![put], None).await.unwrap(), [Applied::Changed]);
            let applied = scene.release(putting).await.unwrap();
            assert_eq!((applied, scene.n_of(id).await), (vec![Applied::Stale { held }], Some(early)), "{id} {late}");
        }
    }
}

/// What a mark was cleared for is not what stands there any more.
#[tokio::test]
async fn a_mark_is_cleared_for_its_write_alone() {
    let (scene, stamp) = Scene::new(Role::Authority).await;
    let mark = DirtyMark { key: Key::single("stamped"), stamp };
    let (slow, marks) = (scene.slow.clone(), vec![mark]);
    let clearing = scene.hold(async move { slow.clear(marks).await }).await;
    let later = write(&scene.store, vec![put(user("stamped", 1), Expect::Any)]).await.unwrap()[0];
    assert_eq!(scene.release(clearing).await.unwrap(), 0);
    let later = DirtyMark { key: Key::single("stamped"), stamp: later };
    assert_eq!(scene.store.dirty(None, 9).await.unwrap(), std::slice::from_ref(&later));
    assert!(scene.store.fetch(&later.key).await.unwrap().dirty);
    // Nor is it cleared while a program has taken our attribute away.
    let (slow, marks) = (scene.slow.clone(), vec![later.clone()]);
    let clearing = scene.hold(async move { slow.clear(marks).await }).await;
    let item = [("id", AttributeValue::S("stamped".into())), ("n", AttributeValue::N("9".into()))];
    Direct::connect(&scene.url).put("users", item.map(|(name, value)| (name.to_owned(), value)).into()).await;
    assert_eq!(scene.release(clearing).await.unwrap(), 0);
    assert_eq!(scene.store.dirty_count().await.unwrap(), 1, "nobody has followed what stands there");
}

/// Of two requests under one idempotency key that meet on their way, one is done.
#[tokio::test]
async fn an_idempotency_key_that_was_used_meanwhile_is_replayed() {
    let (scene, _) = Scene::new(Role::Authority).await;
    let row = |answer: &str| IdempotencyRow { key: "once".into(), request_hash: 7, answer: answer.into(), at_ms: 1 };
    let of = |id: &str| Write {
        epoch: Some(1),
        changes: vec![put(user(id, 1), Expect::Absent)],
        idempotency: Some(row(id)),
    };
    let (slow, twin) = (scene.slow.clone(), of("second"));
    let writing = scene.hold(async move { slow.write(twin).await }).await;
    assert!(matches!(scene.store.write(of("first")).await.unwrap(), Written::Applied(_)));
    let told = scene.release(writing).await.unwrap();
    assert!(matches!(&told, Written::Replayed(row) if row.answer == "first"), "{told:?}");
    assert_eq!((scene.n_of("first").await, scene.n_of("second").await), (Some(1), None));
    // One that is forgotten is the one that was looked at, and no later one.
    let (slow, gate) = (scene.slow.clone(), scene.gate.clone());
    scene.proxy.next("TransactWriteItems", 1, Fault::Held(gate));
    let forgetting = tokio::spawn(async move { slow.forget_idempotency(2).await });
    scene.gate.reached.notified().await;
    assert_eq!(scene.store.forget_idempotency(2).await.unwrap(), 1);
    let again = Write { idempotency: Some(IdempotencyRow { at_ms: 5, ..row("third") }), ..of("third") };
    scene.store.write(again).await.unwrap();
    assert_eq!(scene.release(forgetting).await.unwrap(), 0);
    assert!(scene.store.recall("once").await.unwrap().is_some_and(|row| row.answer == "third"));
}

/// A write that was admitted under a role or an epoch that has passed, each by
/// itself; and a checkpoint of such puts.
#[tokio::test]
async fn what_is_on_its_way_has_the_role_and_the_epoch_of_the_fence() {
    let (scene, _) = Scene::new(Role::Authority).await;
    let (open, later) = (fence(Role::Authority, 1), fence(Role::Authority, 2));
    let refusals =
        [(fence(Role::Closed, 1), StoreErrorKind::FenceClosed), (later, StoreErrorKind::EpochStale { current: 2 })];
    for (meanwhile, refusal) in refusals {
        let slow = scene.slow.clone();
        let writing = scene.hold(async move { write(&slow, vec![put(user("a", 1), Expect::Any)]).await }).await;
        scene.store.set_fence(open, meanwhile).await.unwrap();
        let error = scene.release(writing).await.unwrap_err();
        assert_eq!((error.kind, scene.n_of("a").await), (refusal, None));
        scene.store.set_fence(meanwhile, open).await.unwrap();
    }
    let at = |read: u64| Checkpoint {
        run: "run".into(),
        range: 0,
        cursor: None,
        done: false,
        read,
        changed: 0,
        dead: 0,
        bytes: 0,
    };
    let url = dynamodb().database("epochs");
    let scene = Scene::over(url.clone(), captured(&url, Role::Follower).await).await;
    // More than one transaction takes, so that the checkpoint has one of its own; and none.
    for (count, epoch) in [(60, 1), (0, 2)] {
        let one = |n: i64| {
            let record = user(&format!("k{n}"), n);
            Put { key: Key::single(format!("k{n}")), image: Some(Image::of(record)), stamp: Stamp::ZERO }
        };
        let (slow, puts) = (scene.slow.clone(), (0..count).map(one).collect());
        let step = CheckpointStep { from: at(0), to: at(60) };
        let waves = usize::from(count > 0) * 2;
        (0..waves).for_each(|_| scene.proxy.next("TransactWriteItems", 1, Fault::Late(Gate::open())));
        scene.proxy.next("TransactWriteItems", 1, Fault::Held(scene.gate.clone()));
        let applying = tokio::spawn(async move { slow.apply(epoch, puts, Some(step)).await });
        scene.gate.reached.notified().await;
        scene.store.set_fence(fence(Role::Follower, epoch), fence(Role::Follower, epoch + 1)).await.unwrap();
        let error = scene.release(applying).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::EpochStale { current: epoch + 1 });
        assert_eq!(scene.store.checkpoints("run").await.unwrap(), [], "{count}");
    }
    // And a put to what has become the authority, whatever epoch the put has.
    let put = Put { key: Key::single("a"), image: Some(Image::of(user("a", 1))), stamp: Stamp::new(9, 9) };
    let slow = scene.slow.clone();
    let putting = scene.hold(async move { slow.apply(9, vec![put], None).await }).await;
    scene.store.set_fence(fence(Role::Follower, 3), fence(Role::Authority, 4)).await.unwrap();
    let error = scene.release(putting).await.unwrap_err();
    assert_eq!((error.kind, scene.n_of("a").await), (StoreErrorKind::FenceClosed, None));
}

/// What a program wrote past us is captured as it is, or not at all.
#[tokio::test]
async fn what_is_captured_late_is_what_stands_there() {
    let (scene, stamp) = Scene::new(Role::Authority).await;
    let direct = Direct::connect(&scene.url);
    direct.set("users", "id", "stamped", "n", AttributeValue::N("5".into())).await;
    let slow = scene.slow.clone();
    let fetching = scene.hold(async move { slow.fetch(&Key::single("stamped")).await }).await;
    let quick = write(&scene.store, vec![put(user("stamped", 6), Expect::Any)]).await.unwrap()[0];
    let fetched = scene.release(fetching).await.unwrap();
    assert_eq!((fetched.image, fetched.stamp), (Some(Image::of(user("stamped", 6))), Some(quick)));
    assert!(quick > stamp);
    // And under the fence that holds.
    direct.set("users", "id", "stamped", "n", AttributeValue::N("7".into())).await;
    let slow = scene.slow.clone();
    let fetching = scene.hold(async move { slow.fetch(&Key::single("stamped")).await }).await;
    scene.store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    let fetched = scene.release(fetching).await.unwrap();
    assert_eq!(fetched.stamp, Some(quick), "nobody stamps while the store is closed");
    assert_eq!(scene.store.foreign(9).await.unwrap(), [Key::single("stamped")]);
}

/// Where no sidecar is, what a change expects still holds when it is written.
#[tokio::test]
async fn a_plain_write_that_was_overtaken_looks_again() {
    let url = dynamodb().database("bare");
    let scene = Scene::over(url.clone(), users(&url).await).await;
    let plain = |change: Change| Write { epoch: None, changes: vec![change], idempotency: None };
    let gone = |id: &str, expect: Expect| Change { key: Key::single(id), image: None, expect };
    for id in ["content", "present"] {
        scene.store.write(plain(put(user(id, 0), Expect::Absent))).await.unwrap();
    }
    let content = Expect::Content(hash::document(&user("content", 0)));
    let cases = [
        (put(user("absent", 1), Expect::Absent), put(user("absent", 2), Expect::Any), Some(2)),
        (put(user("content", 1), content), put(user("content", 2), Expect::Any), Some(2)),
        (gone("present", Expect::Present), gone("present", Expect::Any), None),
    ];
    for (late, early, left) in cases {
        let (key, slow) = (late.key.clone(), scene.slow.clone());
        let writing = scene.hold(async move { slow.write(plain(late)).await }).await;
        scene.store.write(plain(early)).await.unwrap();
        let error = scene.release(writing).await.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::ExpectFailed { .. }), "{key:?}: {error:?}");
        let n = scene.n_of(&key.to_text()).await;
        assert_eq!(n, left, "{key:?}");
    }
    assert_eq!(records(&scene.store).await.len(), 2);
}
