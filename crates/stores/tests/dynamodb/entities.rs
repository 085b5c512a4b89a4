//! One table with several entities, told apart by what their keys begin with.

use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, ListQuery, Literal};
use shearwater_core::store::{Change, Expect, Image, Role, Write};
use shearwater_core::{Key, Value};
use shearwater_stores::Create;
use shearwater_testbed::dynamodb;

use crate::direct::{Direct, Item};
use crate::given::{MANY, check_error, doc, fence, layout, open, records};

fn item(pk: &str, sk: &str) -> Item {
    [("PK", pk), ("SK", sk), ("name", "x")].map(|(name, text)| (name.to_owned(), AttributeValue::S(text.into()))).into()
}

/// Three profiles, six orders of them, and a product.
async fn table() -> String {
    let url = dynamodb().database("entities");
    let all = shearwater_stores::open(&url, layout("app", &["PK", "SK"]), Create::IfMissing).await.unwrap();
    all.provision().await.unwrap();
    let direct = Direct::connect(&url);
    for user in ["1", "2", "3"] {
        direct.put("app", item(&format!("USER#{user}"), "PROFILE#")).await;
        for order in ["a", "b"] {
            direct.put("app", item(&format!("USER#{user}"), &format!("ORDER#{order}"))).await;
        }
    }
    direct.put("app", item("PRODUCT#1", "PROFILE#")).await;
    url
}

#[tokio::test]
async fn each_entity_is_a_store_of_its_own() {
    let url = table().await;
    let key = &["PK", "SK"];
    let orders = open(&format!("{url}&pk_prefix=USER%23&sk_prefix=ORDER%23"), layout("app", key)).await.unwrap();
    let profiles = open(&format!("{url}&pk_prefix=USER%23&sk_prefix=PROFILE%23"), layout("app", key)).await.unwrap();
    assert_eq!((records(&orders).await.len(), records(&profiles).await.len()), (6, 3));
    let mut by_ranges = 0;
    for range in orders.split(3).await.unwrap() {
        by_ranges += orders.scan(&range, None, MANY).await.unwrap().records.len();
        let keys = orders.scan_keys(&range, None, MANY).await.unwrap().keys;
        assert!(keys.iter().all(|key| key.as_ref().unwrap().to_text().contains("ORDER#")));
    }
    assert_eq!(by_ranges, 6);

    let list = async |filter: Filter| {
        let query = ListQuery { filter, order: vec![], after: None, limit: 10 };
        orders.list(&query).await.unwrap().records.len()
    };
    let is = |field: &str, text: &str| {
        let (path, literal) = (Path::field(field), Literal::Typed(Value::text(text)));
        Filter::Compare { path, op: CompareOp::Eq, literal }
    };
    assert_eq!(list(Filter::All).await, 6);
    assert_eq!(list(is("PK", "USER#2")).await, 2, "a partition, and of it the orders");
    assert_eq!(list(Filter::And(vec![is("PK", "USER#2"), is("SK", "ORDER#b")])).await, 1);
    assert_eq!(list(Filter::And(vec![is("PK", "USER#2"), is("SK", "PROFILE#")])).await, 0, "another entity's");
    assert_eq!(list(is("PK", "PRODUCT#1")).await, 0);
}

#[tokio::test]
async fn captures_of_two_entities_do_not_meet() {
    let url = table().await;
    let key = &["PK", "SK"];
    let orders = open(&format!("{url}&pk_prefix=USER%23&sk_prefix=ORDER%23"), layout("app", key)).await.unwrap();
    let profiles = open(&format!("{url}&pk_prefix=USER%23&sk_prefix=PROFILE%23"), layout("app", key)).await.unwrap();
    orders.install(fence(Role::Authority, 1)).await.unwrap();
    profiles.install(fence(Role::Closed, 7)).await.unwrap();
    let change = |pk: &str, sk: &str| Change {
        key: Key::composite(vec![pk.into(), sk.into()]),
        image: Some(Image::of(doc(&format!(r#"{{"PK":"{pk}","SK":"{sk}","n":1}}"#)))),
        expect: Expect::Any,
    };
    let write = |change| Write { epoch: Some(1), changes: vec![change], idempotency: None };
    orders.write(write(change("USER#1", "ORDER#a"))).await.unwrap();
    let told = orders.write(write(change("USER#1", "PROFILE#"))).await.unwrap_err();
    check_error(&told, "store/refused", "keys of this entity begin with \"ORDER#\"", "");
    assert_eq!(orders.fetch(&Key::composite(vec!["USER#1".into(), "PROFILE#".into()])).await.unwrap().image, None);
    assert_eq!((orders.dirty_count().await.unwrap(), profiles.dirty_count().await.unwrap()), (1, 0));
    assert_eq!(profiles.fence().await.unwrap(), Some(fence(Role::Closed, 7)));
    orders.remove().await.unwrap();
    assert_eq!(profiles.fence().await.unwrap(), Some(fence(Role::Closed, 7)), "the other one's capture stays");
    assert!(orders.sidecar_names().await.unwrap().is_empty());
    let direct = Direct::connect(&url);
    let scanned = direct.client.scan().table_name("app").send().await.unwrap();
    assert_eq!(scanned.count, 10);
    assert!(scanned.items().iter().all(|item| !item.contains_key("_shearwater")));
}

#[tokio::test]
async fn a_prefix_is_of_a_key_of_texts() {
    let url = dynamodb().database("typed");
    let numbered = format!("{url}&key_types=S,N");
    let store = shearwater_stores::open(&numbered, layout("app", &["PK", "SK"]), Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    let told = open(&format!("{url}&sk_prefix=5"), layout("app", &["PK", "SK"])).await.err().unwrap();
    check_error(&told, "store/unsupported", "no such key of texts", "");
    let single = format!("{url}&key_types=S");
    let told = shearwater_stores::open(&single, layout("other", &["a", "b"]), Create::IfMissing);
    check_error(&told.await.err().unwrap(), "store/unsupported", "gives 1 types, the key has 2 fields", "");
}
