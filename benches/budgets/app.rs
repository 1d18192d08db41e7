//! The app that is forwarded to: this very binary, answering HTTP on `$PORT` after so many microseconds of work.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The first word that makes this binary the app; a port and microseconds follow.
pub(crate) const WORD: &str = "serve-as-app";

/// Serves until killed, on one thread: what it can do is a limit of the app and not of the machine.
pub(crate) fn serve(words: &[String]) -> ExitCode {
    let port: u16 = words[0].parse().unwrap();
    let work = Duration::from_micros(words[1].parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            connections.spawn_local(async move {
                let answer = service_fn(move |_: Request<hyper::body::Incoming>| async move {
                    spin(work);
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok\n"))))
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

/// Work is work of the processor, not sleep.
fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}
