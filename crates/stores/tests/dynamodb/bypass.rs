//! Programs that write past the gateway: noticed when a record is looked at.

use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::Key;
use shearwater_core::store::{Applied, Change, Expect, Image, Put, Role};
use shearwater_testbed::dynamodb;

use crate::direct::{Direct, Item};
use crate::given::{captured, put, records, user, write};

fn item(id: &str, n: i64) -> Item {
    [("id", AttributeValue::S(id.into())), ("n", AttributeValue::N(n.to_string()))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// `PutItem` replaces an item whole, and so takes our attribute away: the stamp
/// that the follower has must not keep the newer content out for ever.
#[tokio::test]
async fn an_item_put_whole_is_captured_with_a_higher_stamp() {
    let url = dynamodb().database("whole");
    let store = captured(&url, Role::Authority).await;
    let stamps = write(&store, ["a", "b", "c"].map(|id| put(user(id, 1), Expect::Absent)).to_vec()).await.unwrap();
    let marks = store.dirty(None, 9).await.unwrap();
    assert_eq!(store.clear(marks).await.unwrap(), 3);
    let direct = Direct::connect(&url);
    direct.put("users", item("a", 2)).await;
    direct.delete("users", "id", "b").await;
    direct.set("users", "id", "c", "n", AttributeValue::N("2".into())).await;
    direct.put("users", item("new", 2)).await;
    for (at, id) in ["a", "b", "c"].into_iter().enumerate() {
        let fetched = store.fetch(&Key::single(id)).await.unwrap();
        assert!(fetched.dirty && fetched.stamp > Some(stamps[at]), "{id}: {fetched:?}");
        let expected = (id != "b").then(|| Image::of(user(id, 2)));
        assert_eq!(fetched.image, expected, "{id}");
        assert_eq!(store.fetch(&Key::single(id)).await.unwrap(), fetched, "captured once");
    }
    assert_eq!(store.dirty_count().await.unwrap(), 3);
    // Nobody has written this one while it was captured, so there is nothing to tell it by.
    assert_eq!(store.fetch(&Key::single("new")).await.unwrap().stamp, Some(shearwater_core::Stamp::ZERO));
    // A tombstone that somebody puts an item over is a record again.
    direct.put("users", item("b", 3)).await;
    let back = store.fetch(&Key::single("b")).await.unwrap();
    assert!(back.dirty && back.image == Some(Image::of(user("b", 3))), "{back:?}");
}

/// A scan, and with it a backfill and a verification, notices what it passes.
#[tokio::test]
async fn a_scan_captures_what_was_changed_past_us() {
    let url = dynamodb().database("passes");
    let store = captured(&url, Role::Authority).await;
    write(&store, ["a", "b"].map(|id| put(user(id, 1), Expect::Absent)).to_vec()).await.unwrap();
    let marks = store.dirty(None, 9).await.unwrap();
    store.clear(marks).await.unwrap();
    Direct::connect(&url).set("users", "id", "a", "n", AttributeValue::N("9".into())).await;
    assert_eq!(records(&store).await[0].1, user("a", 9));
    let marks = store.dirty(None, 9).await.unwrap();
    assert_eq!(marks.iter().map(|mark| mark.key.clone()).collect::<Vec<_>>(), [Key::single("a")]);
}

/// What a follower was given and somebody changed is mended by the same put.
#[tokio::test]
async fn a_follower_that_strayed_is_mended() {
    let url = dynamodb().database("strayed");
    let store = captured(&url, Role::Closed).await;
    let stamp = shearwater_core::Stamp::new(1, 5);
    let given = || Put { key: Key::single("a"), image: Some(Image::of(user("a", 1))), stamp };
    assert_eq!(store.apply(1, vec![given()], None).await.unwrap(), [Applied::Changed]);
    Direct::connect(&url).set("users", "id", "a", "n", AttributeValue::N("9".into())).await;
    assert_eq!(store.fetch(&Key::single("a")).await.unwrap().image, Some(Image::of(user("a", 9))));
    assert_eq!(store.foreign(9).await.unwrap(), [Key::single("a")]);
    assert_eq!(store.apply(1, vec![given()], None).await.unwrap(), [Applied::Changed]);
    assert_eq!(store.apply(1, vec![given()], None).await.unwrap(), [Applied::Unchanged]);
    assert_eq!(store.clear_foreign(vec![Key::single("a")]).await.unwrap(), 1);
    store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!(store.foreign(9).await.unwrap(), [], "and stays mended");
}

/// A removal that was interrupted is finished by the next one, and an
/// installation begins anew after it.
#[tokio::test]
async fn what_is_left_of_a_capture_is_removed() {
    let url = dynamodb().database("left");
    let store = captured(&url, Role::Authority).await;
    write(&store, vec![put(user("a", 1), Expect::Absent), put(user("b", 1), Expect::Absent)]).await.unwrap();
    let delete = Change { key: Key::single("b"), image: None, expect: Expect::Present };
    write(&store, vec![delete]).await.unwrap();
    let direct = Direct::connect(&url);
    for number in 0..8 {
        let delete = direct.client.delete_item().table_name("_shearwater.users");
        let delete = delete.key("p", AttributeValue::S(format!("fence.{number}")));
        delete.key("k", AttributeValue::B(aws_smithy_types::Blob::new([0]))).send().await.unwrap();
    }
    assert_eq!(store.fence().await.unwrap(), None, "as after a crash in the middle");
    store.install(crate::given::fence(Role::Authority, 4)).await.unwrap();
    let fetched = store.fetch(&Key::single("a")).await.unwrap();
    assert_eq!((fetched.stamp, fetched.dirty), (Some(shearwater_core::Stamp::ZERO), false));
    assert_eq!(store.dirty_count().await.unwrap(), 0);
    assert!(direct.get("users", "id", "b").await.is_none(), "the tombstone is gone");
    store.remove().await.unwrap();
    assert!(!direct.get("users", "id", "a").await.unwrap().contains_key("_shearwater"));
}
