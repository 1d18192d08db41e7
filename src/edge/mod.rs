//! One way to serve HTTP to whoever connects, for every edge: bounded in connections, head size, time and patience, and
//! drained at the end. It knows nothing of what is served.

mod seldom;
mod stall;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use stall::{Answered, Impatient};

pub use seldom::Seldom;

/// Further headers of one request are refused.
const HEADERS: usize = 64;
/// How long a connection that makes room for another may go on with its answer.
const LEAVE: Duration = Duration::from_secs(1);
/// What the system buffers of an answer on each connection, so that all of them together hold little.
const BUFFER: usize = 64 << 10;
/// One of so many connections may be about to leave; whoever floods has no time given to more.
const LEAVING: usize = 8;
/// How long to wait when no connection can be taken, such as for want of descriptors.
const AGAIN: Duration = Duration::from_millis(50);

/// What clients of one address may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What is served, for the log: `the page`.
    pub what: &'static str,
    /// Connections at a time. A further one takes the place of one of the peer that has most: the one that was idle longest.
    pub connections: usize,
    /// Connections of one peer at a time, where they are bounded: further ones take the place of its own that was idle
    /// longest. A reverse proxy is one peer, and so is a network of IPv6 as one customer has it.
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

/// With each request: whether its connection has to make room for another. What is yet to come of it is refused then, with a word to
/// come again; what is under way is answered.
#[derive(Clone, Debug)]
pub struct Leaves(CancellationToken);

impl Leaves {
    /// Waits until it has to.
    pub async fn has_to(&self) {
        self.0.cancelled().await;
    }
}

/// With each request: who counts as one client. An address, of IPv6 its first half, since whoever has one has all that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection as seen from outside.
struct Open {
    peer: Peer,
    answered: Answered,
    /// Ends it.
    end: CancellationToken,
    /// How long it may then go on, once that is said.
    leave: Arc<OnceLock<Duration>>,
}

/// Serves `router` until cancelled, then drains. Nobody waits for room: of the peer that has most connections, the one that
/// was not answered for longest makes it. Idle connections, however many and from however many addresses, keep nobody out.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, cancel: &CancellationToken) {
    let what = bounds.what;
    let mut connections = JoinSet::new();
    let mut open: HashMap<Id, Open> = HashMap::new();
    let told = Seldom::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer_of(peer.ip())),
            Err(error) => {
                tracing::warn!(what, %error, "a connection cannot be taken; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let leave = time_to_leave(connections.len() - open.len(), bounds.connections);
        if bounds.of_one_peer.is_some_and(|most| open.values().filter(|open| open.peer == peer).count() >= most) {
            make_room(&mut open, bounds, &told, peer, leave);
        } else if open.len() >= bounds.connections
            && let Some(busiest) = busiest(&open)
        {
            make_room(&mut open, bounds, &told, busiest, leave);
        }
        if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(&stream, BUFFER) {
            tracing::debug!(what, %error, "the buffer of a connection cannot be bounded");
        }
        let (answered, end, leave) = (Answered::new(), CancellationToken::new(), Arc::default());
        let io = Impatient::new(stream, bounds.stall, answered.clone());
        let ends = (end.clone(), Arc::clone(&leave));
        let task = connections.spawn(connection(io, peer, router.clone(), bounds, cancel.clone(), ends));
        open.insert(task.id(), Open { peer, answered, end, leave });
    }
    drop(listener);
    // Each ends by itself within its time.
    while connections.join_next().await.is_some() {}
}

/// How long a connection that makes room may go on, while so many others that did are `leaving`.
fn time_to_leave(leaving: usize, connections: usize) -> Duration {
    if leaving < (connections / LEAVING).max(1) { LEAVE } else { Duration::ZERO }
}

fn peer_of(address: IpAddr) -> Peer {
    Peer(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    })
}

/// The peer that has most connections; of several, the one that was answered longest ago.
fn busiest(open: &HashMap<Id, Open>) -> Option<Peer> {
    let mut peers: HashMap<Peer, (usize, Reverse<Instant>)> = HashMap::new();
    for Open { peer, answered, .. } in open.values() {
        let last = Reverse(answered.last());
        let of = peers.entry(*peer).or_insert((0, last));
        *of = (of.0 + 1, of.1.max(last));
    }
    peers.into_iter().max_by_key(|(_, most)| *most).map(|(peer, _)| peer)
}

/// Closes the connection of this peer that was not answered for longest; what is under way on it may go on for so long.
fn make_room(open: &mut HashMap<Id, Open>, bounds: Bounds, told: &Seldom, peer: Peer, leave: Duration) {
    let of_peer = open.iter().filter(|(_, open)| open.peer == peer);
    let oldest = of_peer.min_by_key(|(_, open)| open.answered.last()).map(|(id, _)| *id);
    if let Some(oldest) = oldest.and_then(|id| open.remove(&id)) {
        let (what, limit) = (bounds.what, bounds.connections);
        if let Some(more) = told.admits("too many connections; the one that was idle longest is closed") {
            tracing::warn!(what, limit, peer = %peer.0, more, "too many connections; the one that was idle longest is closed");
        }
        let _ = oldest.leave.set(leave);
        oldest.end.cancel();
    }
}

async fn connection(
    io: Impatient<TcpStream>,
    peer: Peer,
    router: Router,
    bounds: Bounds,
    cancel: CancellationToken,
    (end, leave): (CancellationToken, Arc<OnceLock<Duration>>),
) {
    let (router, leaves) = (TowerToHyperService::new(router), Leaves(end.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(leaves.clone());
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(bounds.single.is_none())
        .max_buf_size(bounds.head_bytes)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(io), service);
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
        () = end.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(leave.get().copied().unwrap_or(LEAVE), served).await.unwrap_or(Ok(()))
        }
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
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that answers `well`, its address, and its end.
    async fn server(connections: usize, of_one_peer: usize) -> (SocketAddr, CancellationToken, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let long = Duration::from_secs(60);
        let bounds = Bounds {
            what: "a test",
            connections,
            of_one_peer: Some(of_one_peer),
            head: long,
            head_bytes: 64 << 10,
            stall: long,
            single: Some(long),
            drain: Duration::ZERO,
        };
        let (mut server, cancel) = (JoinSet::new(), CancellationToken::new());
        let late = async |axum::Extension(leaves): axum::Extension<Leaves>| {
            leaves.has_to().await;
            "late"
        };
        let router = Router::new().route("/", get(async || "well")).route("/late", get(late));
        let end = cancel.clone();
        server.spawn(async move { serve(listener, router, bounds, &end).await });
        (address, cancel, server)
    }

    /// A connection from this address of loopback that has sent half a head.
    async fn half_open(from: &str, to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("an address of loopback");
        let mut stream = socket.connect(to).await.expect("connected");
        stream.write_all(b"GET / HT").await.expect("sent");
        stream
    }

    async fn answer(address: SocketAddr) -> String {
        let mut next = TcpStream::connect(address).await.expect("connected");
        next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn half_open_connections_of_many_addresses_keep_nobody_out() {
        let (address, cancel, server) = server(8, 4).await;
        let mut first = half_open("127.0.0.9", address).await;
        let mut strangers = Vec::new();
        for number in 0..40 {
            strangers.push(half_open(&format!("127.0.1.{}", number % 4), address).await);
        }
        assert!(answer(address).await.ends_with("well"));
        // Who holds one alone keeps it while others hold more.
        first.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("well"), "{answer}");
        cancel.cancel();
        server.join_all().await;
    }

    #[tokio::test]
    async fn what_is_under_way_is_answered_though_it_has_to_make_room() {
        let (address, cancel, server) = server(8, 2).await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        first.write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        // Once it is in, more come than the peer may have.
        assert!(answer(address).await.ends_with("well"));
        let _open = [half_open("127.0.0.1", address).await, half_open("127.0.0.1", address).await];
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("late"), "{answer}");
        cancel.cancel();
        server.join_all().await;
    }

    #[test]
    fn of_a_flood_only_a_few_have_time_to_leave() {
        let times: Vec<Duration> = (0..400).map(|leaving| time_to_leave(leaving, 256)).collect();
        assert_eq!(times.iter().filter(|time| **time == LEAVE).count(), 32);
        assert_eq!((time_to_leave(0, 1), time_to_leave(1, 1)), (LEAVE, Duration::ZERO));
    }

    #[test]
    fn whoever_has_a_network_of_ipv6_is_one_peer() {
        let of = |text: &str| peer_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[tokio::test]
    async fn half_open_connections_of_a_peer_do_not_keep_its_next_one_out() {
        let (address, cancel, server) = server(8, 2).await;
        let mut open = [half_open("127.0.0.1", address).await, half_open("127.0.0.1", address).await];
        let answer = answer(address).await;
        assert!(answer.ends_with("well"), "{answer}");
        // The older of the two made room.
        assert_eq!(open[0].read(&mut [0]).await.unwrap_or(0), 0);
        cancel.cancel();
        server.join_all().await;
    }
}
