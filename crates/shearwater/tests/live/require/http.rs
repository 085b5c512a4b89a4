//! One client's connection to the gateway.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    pub text: String,
    pub body: Value,
}

impl Answer {
    /// Whether the field was refused because the store has no place for it (yet).
    pub fn is_no_place(&self) -> bool {
        self.text.contains("cannot be kept yet")
    }

    pub fn rows(&self) -> Vec<Value> {
        self.body.as_array().cloned().unwrap_or_else(|| panic!("not a list: {self:?}"))
    }
}

/// A client's way to the gateway; connections are kept.
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    gateway: String,
}

impl Http {
    pub fn to(gateway: &str) -> Http {
        Http { client: Client::builder(TokioExecutor::new()).build_http(), gateway: gateway.to_owned() }
    }

    /// One request; a connection that breaks is a failed request.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>, if_match: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.gateway));
        request = request.header("Prefer", "return=representation").header("Content-Type", "application/json");
        if let Some(etag) = if_match {
            request = request.header("If-Match", etag);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = self.client.request(request).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let status = answer.status().as_u16();
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        let text = answer.into_body().collect().await.unwrap_or_else(|e| panic!("{method} {path}: {e}")).to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        // What is written is answered as a list of one.
        let body = match body {
            Value::Array(mut rows) if method != "GET" && rows.len() == 1 => rows.remove(0),
            body => body,
        };
        Answer { status, etag, text, body }
    }
}
