//! One way to serve HTTP to whoever connects, for every edge: bounded in connections, head size, time and patience, and
//! drained at the end. It knows nothing of what is served.

mod peers;
mod stall;

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use peers::Peers;
use stall::{Answered, Impatient};

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
    /// Whether further ones wait in the kernel's queue; else each closes the one that was idle longest.
    pub queue: bool,
    /// How many of them one peer alone may have.
    pub of_one_peer: usize,
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
    let peers = Peers::new(bounds.of_one_peer);
    let mut connections = JoinSet::new();
    let mut open: HashMap<Id, Open> = HashMap::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept(), if !bounds.queue || connections.len() < bounds.connections => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(what, %error, "a connection cannot be taken; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Some(share) = peers.admit(peer.ip()) else {
            tracing::debug!(what, peer = %peer.ip(), limit = bounds.of_one_peer, "too many connections of one peer");
            continue;
        };
        if open.len() >= bounds.connections {
            make_room(&mut open, &bounds);
        }
        let (answered, end) = (Answered::new(), CancellationToken::new());
        let io = Impatient::new(stream, bounds.stall, answered.clone());
        let (router, ending, cancel) = (router.clone(), end.clone(), cancel.clone());
        let task = connections.spawn(async move {
            let _share = share;
            tokio::select! {
                () = ending.cancelled() => {}
                () = connection(io, router, bounds, cancel) => {}
            }
        });
        open.insert(task.id(), Open { answered, end });
    }
    drop(listener);
    // Each ends by itself within its time.
    while connections.join_next().await.is_some() {}
}

/// One connection as seen from outside.
struct Open {
    answered: Answered,
    /// Ends it at once.
    end: CancellationToken,
}

/// Idle connections, however many, keep nobody out: whoever was not answered for longest goes.
fn make_room(open: &mut HashMap<Id, Open>, bounds: &Bounds) {
    let oldest = open.iter().min_by_key(|(_, open)| open.answered.last()).map(|(id, _)| *id);
    if let Some(oldest) = oldest.and_then(|id| open.remove(&id)) {
        let (what, limit) = (bounds.what, bounds.connections);
        tracing::warn!(what, limit, "too many connections; the one that was idle longest is closed");
        oldest.end.cancel();
    }
}

async fn connection(io: Impatient<TcpStream>, router: Router, bounds: Bounds, cancel: CancellationToken) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(bounds.single.is_none())
        .max_buf_size(bounds.head_bytes)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
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
