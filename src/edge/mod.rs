//! One way to serve HTTP to whoever connects, for every edge: bounded in connections, head size, time and patience, and
//! drained at the end. It knows nothing of what is served.

mod stall;

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

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
    /// Whether further ones wait in the kernel's queue; else the one that was idle longest is closed.
    pub queue: bool,
    /// Connections of one peer at a time, where they are bounded: further ones take the place of its own that was idle
    /// longest. A reverse proxy is one peer.
    pub of_one_peer: Option<usize>,
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

/// One connection as seen from outside.
struct Open {
    peer: IpAddr,
    answered: Answered,
    /// Ends it at once.
    end: CancellationToken,
}

/// Serves `router` until cancelled, then drains. Where further connections do not wait, whoever was not answered for
/// longest makes room: idle connections, however many, keep nobody out.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, cancel: &CancellationToken) {
    let what = bounds.what;
    let mut connections = JoinSet::new();
    let mut open: HashMap<Id, Open> = HashMap::new();
    loop {
        let room = open.len() < bounds.connections;
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept(), if room || !bounds.queue => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(what, %error, "a connection cannot be taken; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        if bounds.of_one_peer.is_some_and(|most| open.values().filter(|open| open.peer == peer).count() >= most) {
            make_room(&mut open, bounds, |open| open.peer == peer);
        } else if !room {
            make_room(&mut open, bounds, |_| true);
        }
        let (answered, end) = (Answered::new(), CancellationToken::new());
        let io = Impatient::new(stream, bounds.stall, answered.clone());
        let task = connections.spawn(connection(io, router.clone(), bounds, cancel.clone(), end.clone()));
        open.insert(task.id(), Open { peer, answered, end });
    }
    drop(listener);
    // Each ends by itself within its time.
    while connections.join_next().await.is_some() {}
}

fn make_room(open: &mut HashMap<Id, Open>, bounds: Bounds, among: impl Fn(&Open) -> bool) {
    let oldest =
        open.iter().filter(|(_, open)| among(open)).min_by_key(|(_, open)| open.answered.last()).map(|(id, _)| *id);
    if let Some(oldest) = oldest.and_then(|id| open.remove(&id)) {
        let (what, limit, peer) = (bounds.what, bounds.connections, oldest.peer);
        tracing::warn!(what, limit, %peer, "too many connections; the one that was idle longest is closed");
        oldest.end.cancel();
    }
}

async fn connection(
    io: Impatient<TcpStream>,
    router: Router,
    bounds: Bounds,
    cancel: CancellationToken,
    end: CancellationToken,
) {
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
        () = end.cancelled() => Ok(()),
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn half_open_connections_of_a_peer_do_not_keep_its_next_one_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let long = Duration::from_secs(60);
        let bounds = Bounds {
            what: "a test",
            connections: 8,
            queue: true,
            of_one_peer: Some(2),
            head: long,
            head_bytes: 64 << 10,
            stall: long,
            single: Some(long),
            drain: Duration::ZERO,
        };
        let (mut server, cancel) = (JoinSet::new(), CancellationToken::new());
        let (router, end) = (Router::new().route("/", get(async || "well")), cancel.clone());
        server.spawn(async move { serve(listener, router, bounds, &end).await });
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(b"GET / HT").await.expect("sent");
            open.push(stream);
        }
        let mut next = TcpStream::connect(address).await.expect("connected");
        next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("well"), "{answer}");
        // The older of the two made room.
        assert_eq!(open[0].read(&mut [0]).await.unwrap_or(0), 0);
        cancel.cancel();
        server.join_all().await;
    }
}
