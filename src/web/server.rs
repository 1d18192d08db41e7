//! Accepts connections, bounded in number, head size and time, and drains them at the end.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::stall::Impatient;

/// How long open answers may go on once the daemon ends.
const DRAIN: Duration = Duration::from_secs(2);
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// Serves `app` until cancelled.
pub(super) async fn accept(listener: TcpListener, app: Router, limits: Limits, cancel: &CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < limits.connections => {
                connections.spawn(connection(stream, app.clone(), limits, cancel.clone()));
            }
            Ok(_) => tracing::warn!(limit = limits.connections, "the page has too many connections; one was closed"),
            Err(error) => {
                tracing::warn!(%error, "the page cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, app: Router, limits: Limits, cancel: CancellationToken) {
    let io = TokioIo::new(Impatient::new(stream, limits.stall));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(io, TowerToHyperService::new(app));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the page ended early");
    }
}
