//! Durable intake as senders see it: one new alert a delivery, 16 connections at once, over real connections into the real
//! store, against a bare server that appends the same bodies to a plain file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use codeops::hooks::{self, AlertLimits, Alerts, HookLimits, Hooks, Receivers};
use codeops::journal::Journal;
use codeops::port::{Clock, SystemClock};
use codeops::store::Sqlite;
use codeops_core::desired::parse_settings;
use codeops_core::model::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plain::Plain;
use super::table::Row;

const CONNECTIONS: usize = 16;
const TURNS: usize = 5;
const LASTS: Duration = Duration::from_secs(2);

pub(crate) fn measure() -> Vec<Row> {
    // Beside the build and not in the temporary folder, which often is memory and syncs for nothing.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let (cancel, mut edges) = (CancellationToken::new(), JoinSet::new());
        let store = Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let intake = serve_intake(Journal::new(Arc::new(store)), Arc::new(SystemClock), &cancel, &mut edges).await;
        let plain = serve_plain(&folder.path().join("plain"), &mut edges).await;
        for turn in 0..TURNS {
            let raw = deliveries(plain, turn).await.len() as f64;
            let taken = deliveries(intake, turn).await;
            ratios.push((taken.len() as f64 / raw, raw / LASTS.as_secs_f64()));
            times.extend(taken);
        }
        cancel.cancel();
        edges.shutdown().await;
    });
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, raw) = ratios[TURNS / 2];
    let how = format!("of {raw:.0}/s that a bare server appends to a plain file");
    let rate = times.len() as f64 / (LASTS * u32::try_from(TURNS).unwrap()).as_secs_f64();
    vec![
        Row::share("alerts", "durable intake over HTTP, 16 connections", 80.0, ratio * 100.0, &how),
        Row::p99("alerts", "… until the answer is there", Duration::from_millis(20), &times),
        Row::told("alerts", "… deliveries a second", format!("{rate:.0}")),
    ]
}

/// The hooks address as the daemon serves it.
pub(crate) async fn serve_intake(
    journal: Journal,
    clock: Arc<dyn Clock>,
    cancel: &CancellationToken,
    edges: &mut JoinSet<()>,
) -> SocketAddr {
    let settings = "receivers: {bench: {format: alertmanager, auth: {bearer: {env: T}}}}";
    let receivers: BTreeMap<_, _> = parse_settings("daemon.yaml", settings).unwrap().receivers;
    let limits = AlertLimits { per_second: 1_000_000, burst: 1_000_000, ..AlertLimits::default() };
    let hooks = Hooks {
        git_secret: Secret::new("secret".to_owned()),
        fetch_now: Box::new(|| {}),
        alerts: Some(Alerts {
            receivers: Receivers::new(&receivers, limits, |_| Ok(Secret::new("secret".to_owned()))).unwrap(),
            intake: Arc::new(journal),
            listing: None,
            limits,
        }),
        clock,
        limits: HookLimits::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    edges.spawn(hooks::serve(listener, hooks, cancel.clone()));
    address
}

/// A server that does nothing with a body but append it to a plain file, and answers when it is on the disk: what the same
/// deliveries cost at the least on this machine.
async fn serve_plain(file: &Path, edges: &mut JoinSet<()>) -> SocketAddr {
    let (file, _writer) = Plain::create(file);
    let append = async |State(file): State<Plain>, body: Bytes| file.append(body.to_vec()).await;
    let router = Router::new().route("/hooks/alerts/bench", post(append)).with_state(file);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    edges.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// How long each took of those that were answered in the time given.
async fn deliveries(address: SocketAddr, turn: usize) -> Vec<Duration> {
    let end = Instant::now() + LASTS;
    let mut senders = JoinSet::new();
    for sender in 0..CONNECTIONS {
        senders.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                send(address, &format!("a{turn}-{sender}-{}", times.len())).await;
                times.push(begun.elapsed());
            }
            times
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

async fn send(address: SocketAddr, app: &str) {
    tell(address, app, "firing").await;
}

/// Delivers one alert, and waits until it is taken.
pub(crate) async fn tell(address: SocketAddr, app: &str, status: &str) {
    let body = format!(
        "{{\"version\":\"4\",\"status\":\"{status}\",\"alerts\":[{{\"status\":\"{status}\",\"labels\":{{\"alertname\":\"AppDown\",\"app\":\"{app}\"}},\"startsAt\":\"2026-11-20T20:00:00Z\"}}]}}"
    );
    let head = format!(
        "POST /hooks/alerts/bench HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
