//! One way to serve HTTP to whoever connects, for every edge: bounded in connections, head size, time and patience, and
//! drained at the end. It knows nothing of what is served.

mod stall;

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use stall::Impatient;

/// Further headers of one request are refused.
const HEADERS: usize = 64;
/// How long to wait when no connection can be taken, such as for want of descriptors.
const AGAIN: Duration = Duration::from_millis(50);

/// What clients of one address may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What is served, for the log: `the page`.
    pub what: &'static str,
    /// Connections at a time.
    pub connections: usize,
    /// Whether further ones wait in the kernel's queue; else they are closed at once.
    pub queue: bool,
    /// How long a client may take to send a request's head, or stay idle between two.
    pub head: Duration,
    /// The largest head, in bytes.
    pub head_bytes: usize,
    /// How long a client may leave its answer unread.
    pub stall: Duration,
    /// Where each connection carries one request alone: how long all of it may take.
    pub single: Option<Duration>,
    /// How long what is under way may go on at the end.
    pub drain: Duration,
}

/// Serves `router` until cancelled, then drains.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, cancel: &CancellationToken) {
    let what = bounds.what;
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < bounds.connections;
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if room || !bounds.queue => accepted,
        };
        match accepted {
            Ok((stream, _)) if room => {
                connections.spawn(connection(stream, router.clone(), bounds, cancel.clone()));
            }
            Ok(_) => tracing::warn!(what, limit = bounds.connections, "too many connections; one was closed"),
            Err(error) => {
                tracing::warn!(what, %error, "a connection cannot be taken; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    drop(listener);
    // Each ends by itself within its time.
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, bounds: Bounds, cancel: CancellationToken) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(bounds.single.is_none())
        .max_buf_size(bounds.head_bytes)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Impatient::new(stream, bounds.stall)), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let whole = async {
        match bounds.single {
            Some(whole) => tokio::time::sleep(whole).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = whole => Ok(()),
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(bounds.drain, served).await.unwrap_or(Ok(()))
        }
    };
    // One that breaks or is too slow concerns its client alone.
    if let Err(error) = ended {
        tracing::debug!(what = bounds.what, %error, "a connection ended early");
    }
}
