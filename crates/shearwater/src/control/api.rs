//! Paths of the control API.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use futures::FutureExt;
use serde_json::{Value, json};
use shearwater_core::journal::{Journal, JournalError};
use shearwater_engine::ledger::Halt;
use shearwater_engine::verify::MISMATCHES_NOTE;
use shearwater_engine::{Serve, run};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::status::status;
use super::verbs::{self, Refused, VERBS};
use crate::gateway::auth::Guard;
use crate::gateway::connections::{self, ConnectionBounds};
use crate::gateway::problem::{Kind, Problem};
use crate::gateway::query::parameters;

/// Bytes of a body: verbs take a few short fields.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long an answer waits for a verb: longer than a change of phase, shorter
/// than a backfill, which goes on all the same.
const VERB_WAIT: Duration = Duration::from_secs(600);

/// Entries or dead letters in one answer.
const ENTRIES_MAX: usize = 1_000;

/// The control API of some migrations.
pub struct ControlApp {
    migrations: Vec<Arc<dyn Serve>>,
    guard: Option<Guard>,
}

/// Serves the control API until `closed` says so.
pub fn spawn(listener: TcpListener, app: Arc<ControlApp>, closed: watch::Receiver<bool>) -> JoinHandle<io::Result<()>> {
    let router = Router::new().fallback(move |request: Request<Body>| app.clone().answer(request));
    connections::spawn(listener, router, ConnectionBounds::default(), closed)
}

impl ControlApp {
    /// For these migrations; with a guard, requests must carry its token.
    pub fn new(migrations: impl IntoIterator<Item = Arc<dyn Serve>>, guard: Option<Guard>) -> ControlApp {
        ControlApp { migrations: migrations.into_iter().collect(), guard }
    }

    async fn answer(self: Arc<ControlApp>, request: Request<Body>) -> Response<Body> {
        if request.uri().path() == "/healthz" {
            return text("ok".into());
        }
        if let Some(Err(problem)) = self.guard.as_ref().map(|guard| guard.check(request.headers())) {
            return problem.into_response();
        }
        if request.uri().path() == "/metrics" {
            return text(crate::metrics::render());
        }
        match AssertUnwindSafe(self.handle(request)).catch_unwind().await {
            Ok(Ok(body)) => json_answer(&body),
            Ok(Err(problem)) => problem.into_response(),
            Err(_) => Problem::new(Kind::Broken, "the request's handler broke off").into_response(),
        }
    }

    async fn handle(&self, request: Request<Body>) -> Result<Value, Problem> {
        let (head, body) = request.into_parts();
        let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["migrations"]) => Ok(self.overview()),
            (&Method::GET, ["migrations", name]) => {
                to_json(&status(self.migration(name)?).await.map_err(status_problem)?)
            }
            (&Method::GET, ["migrations", name, what]) => {
                report(self.migration(name)?.journal().as_ref(), what, head.uri.query().unwrap_or_default()).await
            }
            (&Method::POST, ["migrations", name, verb]) => {
                let journal = self.migration(name)?.journal().clone();
                let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
                    Problem::new(Kind::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
                })?;
                act(journal.as_ref(), verb, &body).await
            }
            (_, ["migrations", ..]) => {
                let mut problem = Problem::new(Kind::MethodNotAllowed, "this method is not served here");
                problem.allow = Some("GET, POST");
                Err(problem)
            }
            _ => Err(Problem::new(Kind::NoSuchPath, "nothing is served under this path").hint("begin at /migrations")),
        }
    }

    fn migration(&self, name: &str) -> Result<&dyn Serve, Problem> {
        let found = self.migrations.iter().find(|migration| migration.journal().migration() == name);
        found.map(Arc::as_ref).ok_or_else(|| {
            let names: Vec<_> = self.migrations.iter().map(|migration| migration.journal().migration()).collect();
            Problem::new(Kind::NoSuchPath, "this process serves no migration of this name")
                .hint(format!("it serves {}", names.join(", ")))
        })
    }

    /// What this process acts on, without asking the journal.
    fn overview(&self) -> Value {
        let row = |migration: &Arc<dyn Serve>| {
            let standing = migration.standing();
            json!({
                "migration": migration.journal().migration(),
                "entity": migration.entity(),
                "phase": standing.phase,
                "entering": standing.entering,
                "status": standing.status,
                "epoch": standing.epoch,
                "seq": standing.seq,
            })
        };
        self.migrations.iter().map(row).collect()
    }
}

async fn act(journal: &dyn Journal, verb: &str, body: &[u8]) -> Result<Value, Problem> {
    let command = verbs::command(verb, body).map_err(|refused| match refused {
        Refused::NoSuchVerb => {
            let names: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
            Problem::new(Kind::NoSuchPath, "there is no such verb").hint(format!("the verbs are {}", names.join(", ")))
        }
        Refused::Body(detail) => Problem::new(Kind::BadJson, detail),
    })?;
    tracing::info!(migration = journal.migration(), verb, "asked for");
    match run::ask_in(journal, command, VERB_WAIT).await.map_err(journal_problem)? {
        Ok(report) => Ok(report),
        Err(refusal) => {
            let mut problem = Problem::new(Kind::Refused, refusal.message);
            problem.code = Some(refusal.code.into());
            problem.hint = refusal.hint;
            Err(problem)
        }
    }
}

async fn report(journal: &dyn Journal, what: &str, query: &str) -> Result<Value, Problem> {
    match what {
        "history" => history(journal, after(query)?).await,
        "dead-letters" => {
            let after = after(query)?;
            let letters = journal.dead_letters(after.as_deref(), ENTRIES_MAX).await.map_err(journal_problem)?;
            to_json(&letters)
        }
        "mismatches" => match journal.note(MISMATCHES_NOTE).await.map_err(journal_problem)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|_| Problem::new(Kind::Broken, "the journal's findings cannot be read")),
            None => Ok(Value::Null),
        },
        _ => Err(Problem::new(Kind::NoSuchPath, "there is no such report")
            .hint("there are history, dead-letters and mismatches; verbs are asked for with POST")),
    }
}

async fn history(journal: &dyn Journal, after: Option<String>) -> Result<Value, Problem> {
    let after = match after {
        None => 0,
        Some(text) => text.parse().map_err(|_| Problem::new(Kind::BadQuery, "after is no entry's number"))?,
    };
    to_json(&journal.read(after, ENTRIES_MAX).await.map_err(journal_problem)?)
}

/// The only parameter: where to go on.
fn after(query: &str) -> Result<Option<String>, Problem> {
    let mut found = None;
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "after" => found = Some(value),
            _ => return Err(Problem::new(Kind::UnknownParameter, "only the parameter after is known here")),
        }
    }
    Ok(found)
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Problem::new(Kind::Broken, error.to_string()))
}

fn journal_problem(error: JournalError) -> Problem {
    match error {
        JournalError::Unavailable(_) | JournalError::Server { .. } => {
            Problem::new(Kind::Unavailable, error.to_string()).retry_after_ms(1_000)
        }
        JournalError::Conflict { .. }
        | JournalError::Unknown(_)
        | JournalError::Absent(_)
        | JournalError::Exists(_)
        | JournalError::Newer { .. }
        | JournalError::Damaged(_) => Problem::new(Kind::Broken, error.to_string()),
    }
}

fn status_problem(halt: Halt) -> Problem {
    match halt {
        Halt::Journal(error) => journal_problem(error),
        Halt::Store { .. } | Halt::OneStore(_) | Halt::Lost | Halt::Stopped => {
            Problem::new(Kind::Unavailable, halt.to_string()).retry_after_ms(1_000)
        }
        Halt::Illegal(_) | Halt::Refused(_) | Halt::Broken(_) => Problem::new(Kind::Broken, halt.to_string()),
    }
}

fn json_answer(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
