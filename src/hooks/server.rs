//! Takes connections on the hooks address and bounds them: how many, how long, how slow. Drains when cancelled.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::peers::Peers;

/// More connections wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// One peer alone has at most so many; a reverse proxy is one peer, and this is plenty for it.
const OF_ONE_PEER: usize = 64;
/// A sender that has not sent its headers by then is cut.
const HEADERS: Duration = Duration::from_secs(5);
/// One connection carries one request and is over by then.
const WHOLE: Duration = Duration::from_secs(15);
/// What is under way when the daemon ends may finish for so long.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves until cancelled, then drains.
pub(super) async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Peers::new(OF_ONE_PEER);
    let mut connections = JoinSet::new();
    loop {
        // Ended ones are collected as they end.
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            () = cancel.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(share) = peers.admit(peer.ip()) else {
                    tracing::debug!(peer = %peer.ip(), limit = OF_ONE_PEER, "too many connections of one peer");
                    continue;
                };
                let router = router.clone();
                connections.spawn(async move {
                    let _held = (place, share);
                    // A connection that breaks or is too slow concerns its sender alone.
                    let _ = tokio::time::timeout(WHOLE, connection(stream, router)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the hooks address cannot be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .keep_alive(false)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}
