//! The backfill of a new required field in MongoDB and DynamoDB, beside what a
//! careful person writes: batches that are read, and each document updated if it
//! still has no value.

use std::time::Instant;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client as DynamoDbClient;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Collection};
use shearwater::bench::sheet::{Line, Sheet};
use shearwater_stores::outsider::Collection as Place;
use shearwater_testbed::{DynamoDb, Mongodb, Topology};

/// Ours against the loop by hand: ours also notes each value that it makes, so
/// that it can be told from one that somebody chose.
const MONGODB_RATIO_MIN: f64 = 0.4;

/// Ours against the loop by hand, which keeps as many writes under way.
const DYNAMODB_RATIO_MIN: f64 = 0.8;

/// Documents of a batch by hand.
const BATCH: usize = 1_000;

/// Items that are written at a time by hand.
const ITEMS_AT_ONCE: usize = 16;

/// Of so many rows of the other tables there is one item: the local DynamoDB is slow.
const ROWS_PER_ITEM: u64 = 50;

/// Of so many rows of the other tables there is one document.
const ROWS_PER_DOCUMENT: u64 = 5;

/// Measures both.
pub async fn measure(sheet: &mut Sheet, rows: u64) {
    let mongodb = Mongodb::start(Topology::Single);
    let documents = rows / ROWS_PER_DOCUMENT;
    eprintln!("bench: MongoDB, {documents} documents");
    let by_hand = mongodb_by_hand(&mongodb.database("hand"), documents).await;
    let url = mongodb.database("ours");
    users(&url, documents).await;
    let ours = super::through_the_program(&url, "_id", documents);
    let what = format!("MongoDB, {documents} documents: backfill, documents/s");
    sheet.add(Line::ratio(&what, ours.rows_per_s, "updateOne in bulk by hand", by_hand, MONGODB_RATIO_MIN));

    let dynamodb = DynamoDb::start();
    let items = rows / ROWS_PER_ITEM;
    eprintln!("bench: DynamoDB, {items} items");
    let (hand, ours) = (dynamodb.database("hand"), dynamodb.database("ours"));
    table(&hand, items).await;
    table(&ours, items).await;
    let by_hand = dynamodb_by_hand(&hand, dynamodb.port(), items).await;
    let ours = super::through_the_program(&ours, "_id", items);
    let what = format!("DynamoDB Local, {items} items: backfill, items/s");
    sheet.add(Line::ratio(&what, ours.rows_per_s, "Scan and UpdateItem by hand", by_hand, DYNAMODB_RATIO_MIN));
}

fn status(active: bool) -> &'static str {
    if active { "ACTIVE" } else { "INACTIVE" }
}

async fn users(url: &str, documents: u64) -> Collection<Document> {
    let database = Client::with_uri_str(url).await.unwrap().default_database().unwrap();
    let users = database.collection("users");
    let all: Vec<u64> = (0..documents).collect();
    for some in all.chunks(10_000) {
        let some = some.iter().map(
            |n| doc! { "_id": format!("u{n:09}"), "name": format!("user {n}"), "email": "x@example.org", "active": n % 3 != 0 },
        );
        users.insert_many(some).await.unwrap();
    }
    users
}

/// Documents per second of batches in the order of `_id`.
async fn mongodb_by_hand(url: &str, documents: u64) -> f64 {
    let users = users(url, documents).await;
    let database = Client::with_uri_str(url).await.unwrap().default_database().unwrap();
    let began = Instant::now();
    let (mut after, mut filled) = (Bson::MinKey, 0);
    loop {
        let find = users.find(doc! { "_id": { "$gt": &after } }).projection(doc! { "active": 1 });
        let found: Vec<Document> =
            find.sort(doc! { "_id": 1 }).limit(BATCH as i64).await.unwrap().try_collect().await.unwrap();
        let Some(last) = found.last() else { break };
        after = last.get("_id").unwrap().clone();
        let update = |one: &Document| {
            let value = status(one.get_bool("active").unwrap());
            doc! { "q": { "_id": one.get("_id").unwrap(), "status": null }, "u": { "$set": { "status": value } } }
        };
        let updates: Vec<Document> = found.iter().map(update).collect();
        let answer = database.run_command(doc! { "update": "users", "updates": updates }).await.unwrap();
        filled += answer.get_i32("nModified").unwrap() as u64;
    }
    assert_eq!(filled, documents);
    documents as f64 / began.elapsed().as_secs_f64()
}

async fn table(url: &str, items: u64) {
    let place = Place { table: "users".to_owned(), key: "_id".to_owned(), document: "doc".to_owned() };
    let mut program = shearwater_stores::open_outsider(url, place).await.unwrap();
    let one = |n: u64| {
        let item = format!(
            r#"{{"_id":"u{n:09}","active":{},"email":"x@example.org","name":"user {n}"}}"#,
            !n.is_multiple_of(3)
        );
        (format!("u{n:09}"), item)
    };
    program.make(&mut (0..items).map(one)).await.unwrap();
}

/// Items per second of pages of a scan.
async fn dynamodb_by_hand(url: &str, port: u16, items: u64) -> f64 {
    let key = url.split("access_key=").nth(1).unwrap().split('&').next().unwrap();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new(key, "testbed", None, None, "bench"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(format!("http://127.0.0.1:{port}"));
    let client = DynamoDbClient::from_conf(config.build());
    let began = Instant::now();
    let (mut after, mut filled) = (None, 0);
    loop {
        let scan = client.scan().table_name("users").limit(BATCH as i32).set_exclusive_start_key(after);
        let page = scan.consistent_read(true).send().await.unwrap();
        let updates = page.items.unwrap_or_default().into_iter().map(|item| {
            let client = &client;
            async move {
                let value = status(*item["active"].as_bool().unwrap());
                let update = client.update_item().table_name("users").key("_id", item["_id"].clone());
                let update = update.update_expression("SET #s = :s").condition_expression("attribute_not_exists(#s)");
                let update = update.expression_attribute_names("#s", "status");
                update.expression_attribute_values(":s", AttributeValue::S(value.to_owned())).send().await.map(|_| 1)
            }
        });
        filled += stream::iter(updates)
            .buffer_unordered(ITEMS_AT_ONCE)
            .try_fold(0, |all, one| async move { Ok(all + one) })
            .await
            .unwrap();
        after = page.last_evaluated_key;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(filled, items);
    items as f64 / began.elapsed().as_secs_f64()
}
