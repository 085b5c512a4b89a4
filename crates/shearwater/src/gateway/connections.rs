//! Connections: how many there may be, and how long one may take to say what it
//! wants.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

/// Connections of one listener: each holds some kilobytes, a task and a file of
/// the process. More wait in the listener's queue until one ends.
pub const CONNECTIONS_MAX: usize = 4_096;

/// How long a connection may take for the head of its next request, idle or
/// slow: longer than the 60 s that load balancers keep an idle connection, so
/// that theirs is the end that closes it.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(75);

/// Bounds of one listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBounds {
    /// How many there may be.
    pub connections_max: usize,
    /// How long one may take for the head of its next request.
    pub header_time_max: Duration,
}

impl Default for ConnectionBounds {
    fn default() -> ConnectionBounds {
        ConnectionBounds { connections_max: CONNECTIONS_MAX, header_time_max: HEADER_TIME_MAX }
    }
}

/// Serves a router until `closed` says so, then waits for its connections.
pub fn spawn(
    mut listener: TcpListener,
    router: Router,
    bounds: ConnectionBounds,
    mut closed: watch::Receiver<bool>,
) -> JoinHandle<io::Result<()>> {
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(bounds.connections_max));
        let (graceful, service) = (GracefulShutdown::new(), TowerToHyperService::new(router));
        loop {
            let (stream, permit) = tokio::select! {
                // A handle that was dropped closes as well.
                _ = closed.wait_for(|closed| *closed) => break,
                Some(accepted) = accept(&mut listener, &permits) => accepted,
            };
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(bounds.header_time_max);
            let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection broke off");
                }
                drop(permit);
            });
        }
        drop(listener);
        graceful.shutdown().await;
        Ok(())
    })
}

/// The next connection, when there is room for one.
async fn accept(listener: &mut TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    let (stream, _) = Listener::accept(listener).await;
    // Answers are small and complete; waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its packets back");
    }
    Some((stream, permit))
}
