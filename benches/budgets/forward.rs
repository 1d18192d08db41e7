//! Requests a second through a keeper's port against the same requests sent straight to the instance.
//!
//! The two are measured in turns on the same connections' count, and the median of the turns' ratios counts: what else the
//! machine does then weighs on both sides.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::daemon::{self, Place};
use super::restart::manifest;
use super::table::Row;

const CONNECTIONS: usize = 16;
const TURNS: usize = 7;
const LASTS: Duration = Duration::from_secs(2);

pub(crate) fn measure() -> Vec<Row> {
    let ports = [daemon::free_port(), daemon::free_port()];
    let apps = [("works", ports[0], 200), ("trivial", ports[1], 0)];
    let files = apps.map(|(name, port, micros)| (format!("apps/{name}.yaml"), manifest(name, port, micros)));
    let place = Place::with(&files);
    let running = place.start();
    running.until_fine(apps.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let turns = |app: &str, port: u16| -> (f64, f64) {
        let (_, own) = running.instance(app).unwrap();
        let mut pairs: Vec<(f64, f64)> = (0..TURNS)
            .map(|_| {
                let direct = runtime.block_on(rate(own));
                (runtime.block_on(rate(port)) / direct, direct)
            })
            .collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs[TURNS / 2]
    };
    let ((works, direct), (trivial, plain)) = (turns("works", ports[0]), turns("trivial", ports[1]));
    let how = format!("of {direct:.0}/s direct");
    vec![
        Row::share("forward", "forwarded requests, app working 200 µs a request", 80.0, works * 100.0, &how),
        Row::told("forward", "… a trivial app", format!("{:.0} % (of {plain:.0}/s direct)", trivial * 100.0)),
    ]
}

/// Requests a second that a port answers.
async fn rate(port: u16) -> f64 {
    let mut callers = JoinSet::new();
    let end = Instant::now() + LASTS;
    for _ in 0..CONNECTIONS {
        callers.spawn(call(port, end));
    }
    callers.join_all().await.into_iter().sum::<usize>() as f64 / LASTS.as_secs_f64()
}

/// One connection, kept alive, one request after the other.
async fn call(port: u16, end: Instant) -> usize {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut answer = [0; 4_096];
    let mut done = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut have = 0;
        while !answer[..have].ends_with(b"\r\n\r\nok\n") {
            let read = stream.read(&mut answer[have..]).await.unwrap();
            assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&answer[..have]));
            have += read;
        }
        done += 1;
    }
    done
}
