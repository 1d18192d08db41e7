//! Forwards HTTP/1 request by request: a client's idle connection belongs to the keeper and holds no instance. Bodies are
//! streamed; an upgrade (such as a websocket) becomes a plain copy of bytes both ways.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::clients::{Busy, Client};
use super::prompt::Prompt;
use super::rotation::{Backend, Flight, Rotation};
use super::upload::Upload;
use crate::keeper::tasks::Tasks;

type Answer = Response<Either<Tracked, Full<Bytes>>>;

/// Headers that speak of one connection only (RFC 9110, 7.6.1). `Transfer-Encoding` is hyper's own affair on each side.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What `Connection` may name in vain: it speaks of the request or the answer, or tells the app who asks.
const END_TO_END: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::SET_COOKIE,
    header::AUTHORIZATION,
    header::ORIGIN,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
];

/// How long a client may take for a request's head, or idle between two.
const HEAD: Duration = Duration::from_secs(30);

/// What a connection needs to be served.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) app: Arc<str>,
    pub(super) rotation: Arc<Rotation>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) client: Arc<Client>,
}

/// Serves one client's connection until it closes or has to make room, or, once `closing` is cancelled, until its request
/// in flight is answered.
pub(super) async fn serve(forwarder: Forwarder, stream: Prompt, peer: SocketAddr, closing: CancellationToken) {
    let end = forwarder.client.end.clone();
    let service = hyper::service::service_fn(move |request| {
        let forwarder = forwarder.clone();
        async move { Ok::<_, hyper::Error>(forwarder.answer(request, peer.ip()).await) }
    });
    let connection = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .half_close(true)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // An error is the client's: it went away, or spoke no HTTP and was told so.
    tokio::select! {
        served = connection.as_mut() => return drop(served),
        () = end.cancelled() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

impl Forwarder {
    async fn answer(&self, mut request: Request<Incoming>, peer: IpAddr) -> Answer {
        let busy = self.client.busy();
        if request.headers().get_all(header::HOST).iter().count() > 1 {
            return plain(StatusCode::BAD_REQUEST, "the request names two hosts\n".to_owned());
        }
        let upgrade = upgrade_of(request.headers());
        let client_side = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
        prepare(&mut request, upgrade.as_ref(), peer);
        let mut request = request.map(|body| Upload::new(body, self.client.stall()));
        let mut tried: Vec<Arc<Backend>> = Vec::new();
        loop {
            let Some(flight) = self.rotation.pick(&tried) else { return self.nobody(&tried) };
            let backend = flight.0.clone();
            let pooled = backend.pool.take();
            let fresh = pooled.is_none();
            let connected = match pooled {
                Some(sender) => Ok(sender),
                None => self.connect(&backend).await,
            };
            let Ok(mut sender) = connected else {
                tried.push(backend);
                continue;
            };
            match sender.try_send_request(request).await {
                Ok(mut response) => {
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS
                        && let Some(client_side) = client_side
                    {
                        self.switch(client_side, hyper::upgrade::on(&mut response), flight, busy);
                        return response.map(|_| Either::Right(Full::default()));
                    }
                    strip(response.headers_mut());
                    let reuse = upgrade.is_none().then_some(sender);
                    return response.map(|body| Either::Left(Tracked { body, flight, reuse, _busy: busy }));
                }
                // The connection had closed and nothing was sent: the same request may go again, also to this instance if
                // it was an idle one. One that closes what it just accepted would do so for ever.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        request = unsent;
                        if fresh {
                            tried.push(backend);
                        }
                    }
                    None => return self.broken(error.error()),
                },
            }
        }
    }

    async fn connect(&self, backend: &Backend) -> io::Result<client::SendRequest<Upload>> {
        let stream = backend.connect().await?;
        let (sender, connection) = client::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its error reaches the request that waits on it.
        self.tasks.spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    /// Copies bytes both ways until both sides are done or the instance's time is up.
    fn switch(&self, client: OnUpgrade, instance: OnUpgrade, flight: Flight, busy: Busy) {
        self.tasks.spawn(async move {
            let _busy = busy;
            let (Ok(client), Ok(instance)) = tokio::join!(client, instance) else { return };
            let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
            tokio::select! {
                // Whoever broke it off, both sides are closed now.
                copied = tokio::io::copy_bidirectional(&mut client, &mut instance) => drop(copied),
                () = flight.0.cut.cancelled() => {}
            }
        });
    }

    fn nobody(&self, tried: &[Arc<Backend>]) -> Answer {
        let why = match tried.len() {
            0 => format!("app/{} has no healthy instance at the moment\n", self.app),
            n => format!("none of the {n} healthy instances of app/{} took the request\n", self.app),
        };
        plain(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    fn broken(&self, error: &hyper::Error) -> Answer {
        let given_up = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        if let Some(why) = given_up.filter(|cause| error.is_user() && cause.kind() == io::ErrorKind::TimedOut) {
            return plain(StatusCode::REQUEST_TIMEOUT, format!("the request is given up: {why}\n"));
        }
        plain(
            StatusCode::BAD_GATEWAY,
            format!("the instance of app/{} broke off before it answered: {error}\n", self.app),
        )
    }
}

fn plain(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The protocol a request wants to change to, if it does.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    let says = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
    };
    headers.get_all(header::CONNECTION).iter().any(says).then(|| upgrade.clone())
}

/// Makes a client's request one for an instance.
fn prepare(request: &mut Request<Incoming>, upgrade: Option<&HeaderValue>, peer: IpAddr) {
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    let host = headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost")).clone();
    headers.entry(FORWARDED_HOST).or_insert(host);
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    let mut chain = String::new();
    for earlier in headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()) {
        chain.push_str(earlier);
        chain.push_str(", ");
    }
    chain.push_str(&peer.to_string());
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

/// Takes away what speaks of one connection only, and what `Connection` names beside [`END_TO_END`].
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP).chain([&KEEP_ALIVE, &PROXY_CONNECTION]) {
        headers.remove(name);
    }
}

/// An instance's body on its way to the client. When it is through, the flight is over and the connection idle.
struct Tracked {
    body: Incoming,
    flight: Flight,
    reuse: Option<client::SendRequest<Upload>>,
    _busy: Busy,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(sender) = self.reuse.take() {
            self.flight.0.pool.put(sender);
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::clients::Clients;
    use super::*;

    #[test]
    fn what_speaks_of_one_connection_is_taken_away() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private, Host, cookie, content-length, x-forwarded-for"),
            ("host", "shop"),
            ("cookie", "a=b"),
            ("content-length", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("accept", "*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let kept: BTreeSet<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(kept, BTreeSet::from(["host", "cookie", "content-length", "x-forwarded-for", "accept"]));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(upgrade_of(&headers), None);
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert_eq!(upgrade_of(&headers), Some(HeaderValue::from_static("websocket")));
    }

    /// One instance in rotation, which listens here.
    fn only(port: u16) -> Arc<Rotation> {
        let template = codeops_core::model::Digest::of(&serde_json::json!(1));
        let id = codeops_core::model::InstanceId::new(&template, 1).expect("valid");
        let backend = Arc::new(Backend::new(id, Some(port)));
        backend.set_ready(true);
        let rotation = Rotation::default();
        rotation.add(backend);
        Arc::new(rotation)
    }

    /// Nothing else happens in this runtime, so its time passes at once.
    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stalls_for_good_is_answered_408() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpStream;
        let instance = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let rotation = only(instance.local_addr().expect("it is bound").port());
        let (front, tasks) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound"), Tasks::default());
        let address = front.local_addr().expect("it is bound");
        let (client, served) = tokio::join!(TcpStream::connect(address), front.accept());
        let (mut client, (served, peer)) = (client.expect("connected"), served.expect("accepted"));
        let of = Clients::new(1).take_in();
        let forwarder = Forwarder { app: "shop".into(), rotation, tasks: Arc::default(), client: of };
        tasks.spawn(serve(forwarder, Prompt::new(served), peer, CancellationToken::new()));
        client.write_all(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf").await.expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer, and the end");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn an_instance_that_closes_what_it_accepts_is_tried_once_a_request() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpStream;
        let instance = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = instance.local_addr().expect("it is bound").port();
        let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = accepted.clone();
        std::thread::spawn(move || {
            for stream in instance.incoming() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                drop(stream);
            }
        });
        let rotation = only(port);
        let (front, tasks) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound"), Tasks::default());
        let address = front.local_addr().expect("it is bound");
        for asked in 1..=100 {
            let (client, served) = tokio::join!(TcpStream::connect(address), front.accept());
            let (mut client, (served, peer)) = (client.expect("connected"), served.expect("accepted"));
            let client_of = Clients::new(1).take_in();
            let forwarder =
                Forwarder { app: "shop".into(), rotation: rotation.clone(), tasks: Arc::default(), client: client_of };
            tasks.spawn(serve(forwarder, Prompt::new(served), peer, CancellationToken::new()));
            client.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
            assert!(accepted.load(std::sync::atomic::Ordering::SeqCst) <= asked, "tried more than once");
        }
    }
}
