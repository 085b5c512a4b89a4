//! Reads by key through the gateway, against a bare handler that does the same
//! SQLite read: same client, same connections, same keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Method;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::task::JoinSet;

use super::backfill;
use crate::demo::DemoError;
use crate::demo::dice::Dice;
use crate::demo::house::{House, Plan};
use crate::demo::http::{Ask, Http};

/// Records that are read from.
const RECORDS: u32 = 20_000;

/// Connections of the client: enough to keep two cores busy.
const CONNECTIONS: u64 = 8;

/// Rounds in which the two take turns, so that neither has the quiet machine.
const ROUNDS: u64 = 4;

/// Requests per second of both, in one situation.
pub struct Read {
    /// The situation.
    pub what: String,
    /// Through the gateway.
    pub gateway_per_s: f64,
    /// From the bare handler.
    pub bare_per_s: f64,
}

/// Measures in two situations: before the start, and in dual-write.
pub async fn measure(time_ms: u64) -> Result<Vec<Read>, DemoError> {
    let directory = tempfile::Builder::new().prefix("shearwater-bench-").tempdir()?;
    let place = directory.path();
    backfill::make_documents(place, RECORDS)?;
    let house = House::open(Plan::plain(place, &backfill::spec_in(place))).await?;
    let bare = Bare::open(place)?;
    let address = bare.serve().await?;
    let mut reads = vec![side_by_side("reads by key, planned, requests/s", house.address, address, time_ms).await?];
    backfill::backfilled(&house).await?;
    reads.push(side_by_side("reads by key, dual-write, requests/s", house.address, address, time_ms).await?);
    house.close().await;
    Ok(reads)
}

async fn side_by_side(what: &str, gateway: SocketAddr, bare: SocketAddr, time_ms: u64) -> Result<Read, DemoError> {
    let turn = Duration::from_millis(time_ms / ROUNDS);
    let (mut of_gateway, mut of_bare) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        of_gateway += per_s(gateway, turn).await?;
        of_bare += per_s(bare, turn).await?;
    }
    let rounds = ROUNDS as f64;
    Ok(Read { what: what.to_owned(), gateway_per_s: of_gateway / rounds, bare_per_s: of_bare / rounds })
}

/// Requests per second that the client gets answered with 200.
async fn per_s(address: SocketAddr, turn: Duration) -> Result<f64, DemoError> {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        clients.spawn(async move {
            let (mut http, mut dice, mut answered) = (Http::new(address), Dice::new(number, 1), 0u64);
            while began.elapsed() < turn {
                let path = format!("/v1/users/u-{:08}", dice.below(RECORDS as usize));
                let ask = Ask { method: Method::GET, path: &path, headers: &[], body: None };
                let answer = http.ask(&ask).await.map_err(|broken| DemoError(broken.0))?;
                if answer.status != 200 {
                    return Err(DemoError(format!("a read was answered with {}", answer.status)));
                }
                answered += 1;
            }
            Ok(answered)
        });
    }
    let mut answered = 0;
    while let Some(client) = clients.join_next().await {
        answered += client.map_err(|error| DemoError(error.to_string()))??;
    }
    Ok(answered as f64 / began.elapsed().as_secs_f64())
}

/// The bare handler: a connection from a small pool, one prepared statement.
#[derive(Clone)]
struct Bare {
    file: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Bare {
    fn open(place: &Path) -> Result<Bare, DemoError> {
        Ok(Bare { file: place.join("legacy.db"), idle: Arc::default() })
    }

    async fn serve(self) -> Result<SocketAddr, DemoError> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/v1/users/{key}", get(read)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    fn read(&self, key: &str) -> rusqlite::Result<Option<String>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let found = connection
            .prepare_cached("SELECT doc FROM users WHERE _id = ?1")?
            .query_row([key], |row| row.get(0))
            .optional();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        found
    }
}

async fn read(State(bare): State<Bare>, UrlPath(key): UrlPath<String>) -> Response {
    match bare.read(&key) {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
