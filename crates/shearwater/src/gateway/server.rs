//! Starting and stopping: listeners, background work, graceful end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use shearwater_core::journal::JournalError;
use shearwater_engine::Serve;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::app::App;
use super::auth::{self, TokenNeeded};
use super::connections::{self, ConnectionBounds};
use super::entity::Entity;
use crate::control::ControlApp;

/// Requests in flight: each holds at most one body and one page in memory.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1_024;

/// How long one request may take: longer than any pause of writes, shorter
/// than what proxies wait.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a stop waits for requests in flight before it cuts them off.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// How often counts of requests go to the journal.
const USAGE_EVERY: Duration = Duration::from_secs(5);

/// How a process serves. It holds tokens, so it does not print itself.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where the gateway listens; port 0 takes a free one.
    pub gateway: SocketAddr,
    /// The gateway's bearer token; only loopback may do without.
    pub gateway_token: Option<String>,
    /// Where the control API listens, if it does.
    pub control: Option<SocketAddr>,
    /// The control API's bearer token; only loopback may do without.
    pub control_token: Option<String>,
    /// Bounds of the gateway's connections.
    pub connections: ConnectionBounds,
    /// Requests in flight; above, clients are told to come back.
    pub requests_in_flight_max: usize,
    /// How long one request may take.
    pub request_time_max: Duration,
    /// How long a stop waits for requests in flight.
    pub drain_time_max: Duration,
    /// How long `readyz` says "stopping" before the listener closes, so that
    /// load balancers can look away first.
    pub unready_time: Duration,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            gateway: SocketAddr::from(([127, 0, 0, 1], 0)),
            gateway_token: None,
            control: None,
            control_token: None,
            connections: ConnectionBounds::default(),
            requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            request_time_max: REQUEST_TIME_MAX,
            drain_time_max: DRAIN_TIME_MAX,
            unready_time: Duration::ZERO,
        }
    }
}

/// Why serving did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not to be had.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// The gateway or the control API.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It would be open to everybody.
    #[error(transparent)]
    TokenNeeded(#[from] TokenNeeded),
    /// The journal could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Two migrations have the same entity.
    #[error("two migrations serve the entity {0:?}; one process serves an entity once")]
    EntityTwice(String),
}

impl ServeError {
    /// What the reader can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ServeError::Listen { source, address, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    Some(format!("another program listens on port {}; stop it or choose another port", address.port()))
                }
                io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need a privilege; choose a higher one".into())
                }
                io::ErrorKind::AddrNotAvailable => {
                    Some("this machine has no such address; 127.0.0.1 is always there".into())
                }
                _ => None,
            },
            ServeError::TokenNeeded(_) => Some("set a token, or listen on 127.0.0.1".into()),
            ServeError::Journal(_) => None,
            ServeError::EntityTwice(_) => {
                Some("serve them in two processes, or give one of them another entity".into())
            }
        }
    }
}

/// A running server.
pub struct ServeHandle {
    /// Where the gateway listens.
    pub addr: SocketAddr,
    /// Where the control API listens, if it does.
    pub control_addr: Option<SocketAddr>,
    app: Arc<App>,
    close: watch::Sender<bool>,
    listeners: Vec<JoinHandle<io::Result<()>>>,
    background: Vec<JoinHandle<()>>,
    drain_time_max: Duration,
    unready_time: Duration,
}

/// Serves these migrations until the handle is stopped.
pub async fn serve(options: ServeOptions, migrations: Vec<Arc<dyn Serve>>) -> Result<ServeHandle, ServeError> {
    crate::metrics::recorder();
    let guard = auth::guard("the gateway", options.gateway, options.gateway_token.as_deref())?;
    let control_guard = match options.control {
        Some(address) => auth::guard("the control API", address, options.control_token.as_deref())?,
        None => None,
    };
    let listener = listen("the gateway", options.gateway).await?;
    let control_listener = match options.control {
        Some(address) => Some(listen("the control API", address).await?),
        None => None,
    };
    let mut entities: Vec<Arc<Entity>> = Vec::new();
    for migration in migrations {
        let name = migration.entity();
        if entities.iter().any(|entity| entity.name == name) {
            return Err(ServeError::EntityTwice(name.to_owned()));
        }
        entities.push(Arc::new(Entity::open(migration).await?));
    }
    let app = Arc::new(App {
        openapi: Bytes::from(super::openapi::document(&entities).to_string()),
        entities,
        guard,
        permits: Semaphore::new(options.requests_in_flight_max),
        request_time_max: options.request_time_max,
        body_time_max: options.request_time_max / 2,
        stopping: AtomicBool::new(false),
    });
    let (close, closed) = watch::channel(false);
    let addr = listener.1;
    let mut listeners = vec![connections::spawn(listener.0, router(app.clone()), options.connections, closed.clone())];
    let control_addr = control_listener.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = control_listener {
        let control = Arc::new(ControlApp::new(app.entities.iter().map(|entity| entity.serve.clone()), control_guard));
        listeners.push(crate::control::spawn(listener, control, closed));
    }
    let background = vec![tokio::spawn(crate::metrics::keep_up()), tokio::spawn(keep_usage(app.clone()))];
    tracing::info!(%addr, control = ?control_addr, entities = app.entities.len(), "serving");
    Ok(ServeHandle {
        addr,
        control_addr,
        app,
        close,
        listeners,
        background,
        drain_time_max: options.drain_time_max,
        unready_time: options.unready_time,
    })
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn router(app: Arc<App>) -> Router {
    Router::new().fallback(move |request: Request<Body>| app.clone().answer(request))
}

async fn keep_usage(app: Arc<App>) {
    let mut ticks = tokio::time::interval(USAGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        save_usage(&app).await;
    }
}

async fn save_usage(app: &App) {
    for entity in &app.entities {
        if let Err(error) = entity.save_usage().await {
            tracing::warn!(entity = %entity.name, %error, "counts of requests were not saved");
        }
    }
}

impl ServeHandle {
    /// Stops: not ready any more, then no new connections, then requests in
    /// flight end (or are waited for no longer when their time is over), then
    /// the coordinators give up their leases and the members leave: a step that
    /// a coordinator has begun may need its own member to follow.
    pub async fn stop(self) {
        self.app.stopping.store(true, Ordering::Release);
        tokio::time::sleep(self.unready_time).await;
        self.close.send_replace(true);
        let deadline = tokio::time::Instant::now() + self.drain_time_max;
        for mut listener in self.listeners {
            match tokio::time::timeout_at(deadline, &mut listener).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(%error, "a listener ended with an error"),
                Ok(Err(error)) => tracing::warn!(%error, "a listener broke off"),
                Err(_) => {
                    tracing::warn!("requests were still in flight when the time to drain was over");
                    listener.abort();
                }
            }
        }
        for task in self.background {
            task.abort();
        }
        save_usage(&self.app).await;
        for entity in &self.app.entities {
            if let Err(error) = entity.serve.retire().await {
                tracing::warn!(entity = %entity.name, %error, "its last counts were not saved");
            }
        }
        for entity in &self.app.entities {
            entity.serve.leave().await;
        }
    }
}
