//! Raw scans of a source: what it sends as fast as it is asked, thrown away.

use std::time::Instant;

use futures::StreamExt;
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mongodb::bson::{Document, RawDocumentBuf};
use serde_json::{Value, json};

use crate::pairs::{Place, collection};

/// Documents that MongoDB sends at once: as our scan asks for.
const BATCH: u32 = 2_000;

/// Segments that are scanned side by side in DynamoDB: one, and as many as this
/// machine has cores for.
const SEGMENTS: [usize; 2] = [1, 2];

/// Documents per second that one cursor reads out of MongoDB, undecoded.
pub async fn mongodb_per_s(place: &Place, records: u64) -> f64 {
    let users = collection::<RawDocumentBuf>(&place.source).await;
    let began = Instant::now();
    let cursor = users.find(Document::new()).batch_size(BATCH).await.unwrap();
    let bytes: usize =
        cursor.map(|document| document.unwrap().as_bytes().len()).fold(0, |a, b| async move { a + b }).await;
    assert!(bytes > 0);
    records as f64 / began.elapsed().as_secs_f64()
}

/// Items per second of a strongly consistent scan of DynamoDB in its largest pages,
/// over as many segments as are fastest, by plain HTTP requests.
pub async fn dynamodb_per_s(place: &Place, records: u64) -> f64 {
    let mut fastest: f64 = 0.0;
    for segments in SEGMENTS {
        let began = Instant::now();
        let counts = join_all((0..segments).map(|segment| segment_scanned(&place.source, segment, segments))).await;
        assert_eq!(counts.iter().sum::<u64>(), records);
        fastest = fastest.max(records as f64 / began.elapsed().as_secs_f64());
    }
    fastest
}

/// What is read of a page.
#[derive(serde::Deserialize)]
struct Page {
    #[serde(rename = "Count")]
    count: u64,
    #[serde(rename = "LastEvaluatedKey")]
    last: Option<Value>,
}

async fn segment_scanned(url: &str, segment: usize, segments: usize) -> u64 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let host = url.split('/').nth(2).unwrap();
    let access_key = url.split("access_key=").nth(1).unwrap().split('&').next().unwrap();
    let login = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, \
         Signature=0"
    );
    let (mut count, mut after) = (0, None);
    loop {
        let mut ask =
            json!({ "TableName": "users", "ConsistentRead": true, "Segment": segment, "TotalSegments": segments });
        if let Some(after) = after {
            ask["ExclusiveStartKey"] = after;
        }
        let request = Request::post(format!("http://{host}/"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", &login)
            .body(Full::new(Bytes::from(ask.to_string())))
            .unwrap();
        let answer = client.request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let told = || String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
        let page: Page = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {}", told()));
        count += page.count;
        match page.last {
            Some(last) => after = Some(last),
            None => return count,
        }
    }
}
