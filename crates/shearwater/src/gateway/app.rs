//! From a request to its handler: paths, methods, tokens and bounds. One
//! function instead of a tower of layers, because a read by key is shorter
//! than most layers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
use futures::FutureExt;
use http_body_util::BodyExt;
use shearwater_core::limits::BODY_BYTES_MAX;
use shearwater_engine::records::Shape;
use tokio::sync::Semaphore;

use super::auth::Guard;
use super::entity::Entity;
use super::problem::{Kind, Problem};
use super::reads::One;
use super::writes::Incoming;
use super::{bulk, reads, writes};

/// Methods of a collection.
const COLLECTION_METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";

/// Methods of a record.
const RECORD_METHODS: &str = "GET, HEAD, PUT, PATCH, DELETE";

/// Bytes of a body that is too large, read only to be thrown away.
const DISCARDED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// When a client is to come back after it met too many others, ms.
const OVERLOADED_RETRY_MS: u64 = 1_000;

/// What all requests share.
pub struct App {
    /// The served entities.
    pub entities: Vec<Arc<Entity>>,
    /// The token, if one is needed.
    pub guard: Option<Guard>,
    /// One for each request in flight.
    pub permits: Semaphore,
    /// How long one request may take.
    pub request_time_max: Duration,
    /// How long a body may take to arrive: less than the whole request, because
    /// then it is certain that nothing has been written.
    pub body_time_max: Duration,
    /// Whether the server is ending.
    pub stopping: AtomicBool,
    /// The API's description.
    pub openapi: Bytes,
}

impl App {
    /// Answers a request.
    pub async fn answer(self: Arc<App>, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/healthz" => return text(StatusCode::OK, "ok"),
            "/readyz" => return self.ready(),
            _ => {}
        }
        if let Some(guard) = &self.guard
            && let Err(problem) = guard.check(request.headers())
        {
            return problem.into_response();
        }
        match request.uri().path() {
            "/metrics" => return text(StatusCode::OK, crate::metrics::render()),
            "/openapi.json" => return json(self.openapi.clone()),
            _ => {}
        }
        self.entity(request).await
    }

    /// Ready while every migration's lease is valid and nobody asked to stop.
    fn ready(&self) -> Response<Body> {
        if self.stopping.load(Ordering::Acquire) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "stopping");
        }
        match self.entities.iter().find(|entity| !entity.serve.is_serving()) {
            None => text(StatusCode::OK, "ready"),
            Some(entity) => text(StatusCode::SERVICE_UNAVAILABLE, format!("the lease for {} has ended", entity.name)),
        }
    }

    async fn entity(&self, request: Request<Body>) -> Response<Body> {
        let Some((entity, shape, segment)) = self.find(request.uri().path()) else {
            let names: Vec<_> = self.entities.iter().map(|entity| format!("/v1/{0}, /v2/{0}", entity.name)).collect();
            return Problem::new(Kind::NoSuchPath, "nothing is served under this path")
                .hint(format!("there are {}", names.join(", ")))
                .into_response();
        };
        let entity = entity.clone();
        let method = request.method().clone();
        let begun = Instant::now();
        let response = match self.permits.try_acquire() {
            Err(_) => Problem::new(Kind::Overloaded, "too many requests are in flight")
                .retry_after_ms(OVERLOADED_RETRY_MS)
                .into_response(),
            Ok(_permit) => {
                let handled =
                    AssertUnwindSafe(handle(&entity, shape, segment, request, self.body_time_max)).catch_unwind();
                match tokio::time::timeout(self.request_time_max, handled).await {
                    Ok(Ok(Ok(response))) => response,
                    Ok(Ok(Err(problem))) => told(problem).into_response(),
                    Ok(Err(_)) => panicked(&method).into_response(),
                    Err(_) => writes::timed_out(&method).into_response(),
                }
            }
        };
        entity.version(shape).usage.request(&method, response.status().as_u16(), begun.elapsed());
        response
    }

    /// The entity and version of a path, and the place where its key begins.
    fn find(&self, path: &str) -> Option<(&Arc<Entity>, Shape, Option<usize>)> {
        let (shape, rest) = match path.split_at_checked(4)? {
            ("/v1/", rest) => (Shape::V1, rest),
            ("/v2/", rest) => (Shape::V2, rest),
            _ => return None,
        };
        let (name, segment) = match rest.split_once('/') {
            Some((name, _)) => (name, Some(4 + name.len() + 1)),
            None => (rest, None),
        };
        let entity = self.entities.iter().find(|entity| entity.name == name)?;
        Some((entity, shape, segment))
    }
}

/// Logs what is our fault; problems of clients are theirs.
fn told(problem: Problem) -> Problem {
    if problem.kind == Kind::Broken {
        tracing::error!(detail = %problem.detail, "a request could not be answered");
    }
    problem
}

fn panicked(method: &Method) -> Problem {
    tracing::error!(%method, "a request's handler panicked");
    match method.is_safe() {
        true => Problem::new(Kind::Broken, "the request's handler broke off"),
        false => super::problem::outcome_unknown(),
    }
}

async fn handle(
    entity: &Arc<Entity>,
    shape: Shape,
    segment: Option<usize>,
    request: Request<Body>,
    body_time_max: Duration,
) -> Result<Response<Body>, Problem> {
    let version = entity.version(shape);
    let (head, body) = request.into_parts();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let key = segment.map(|start| &path[start..]);
    if let Some(key) = key
        && key.contains('/')
    {
        return Err(Problem::new(Kind::NoSuchPath, "nothing is served under a record").hint("percent-encode / in keys"));
    }
    if matches!(head.method, Method::GET | Method::HEAD) {
        return match key {
            Some(segment) => reads::one(entity, version, One { segment, query, headers: &head.headers }).await,
            None => reads::list(entity, version, query, &head.headers).await,
        };
    }
    let body = match tokio::time::timeout(body_time_max, read_body(&head, body)).await {
        Ok(body) => body?,
        Err(_) => return Err(Problem::new(Kind::TimedOut, "the body did not arrive in time").retry_after_ms(1_000)),
    };
    let incoming = Incoming { method: &head.method, path, query, headers: &head.headers, body: &body };
    match (key, head.method.as_str()) {
        (None, "POST") => writes::insert(entity, version, incoming).await,
        (None, "PATCH") => bulk::patch(entity, version, incoming).await,
        (None, "DELETE") => bulk::delete(entity, version, incoming).await,
        (Some(segment), "PUT") => writes::replace(entity, version, segment, incoming).await,
        (Some(segment), "PATCH") => writes::patch(entity, version, segment, incoming).await,
        (Some(segment), "DELETE") => writes::delete(entity, version, segment, incoming).await,
        (key, _) => {
            let (allow, what) = match key {
                Some(_) => (RECORD_METHODS, "a record"),
                None => (COLLECTION_METHODS, "the collection"),
            };
            let mut problem = Problem::new(Kind::MethodNotAllowed, format!("{what} does not take this method"));
            problem.allow = Some(allow);
            Err(problem.hint(format!("it takes {allow}")))
        }
    }
}

/// The whole body. One that is too large is read to its end and thrown away, if
/// that is not too far: a client that is still sending would not see the answer.
async fn read_body(head: &Parts, mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        Problem::new(Kind::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
            .hint("send the records in several requests")
    };
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > DISCARDED_BYTES_MAX {
        return Err(too_large());
    }
    let (mut bytes, mut read) = (Vec::with_capacity(announced.min(BODY_BYTES_MAX)), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Kind::BadJson, "the body ended before it was complete"))?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len();
        match read {
            0..=BODY_BYTES_MAX => bytes.extend_from_slice(data),
            _ if read <= DISCARDED_BYTES_MAX => bytes = Vec::new(),
            _ => return Err(too_large()),
        }
    }
    match read > BODY_BYTES_MAX {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}
