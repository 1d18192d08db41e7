//! From the moment an alert is sent to the answer that it is on the disk: over real connections, into the real store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codeops::hooks::{self, AlertLimits, Alerts, HookLimits, Hooks, Receivers};
use codeops::journal::Journal;
use codeops::port::SystemClock;
use codeops::store::Sqlite;
use codeops_core::desired::parse_settings;
use codeops_core::model::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::table::Row;

const CONNECTIONS: usize = 16;
const EACH: usize = 400;

pub(crate) fn measure() -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (all, took) = runtime.block_on(deliveries());
    let rate = all.len() as f64 / took.as_secs_f64();
    let what = format!("alert sent → durable and answered, {CONNECTIONS} connections");
    vec![
        Row::p99("alerts", &what, Duration::from_millis(20), &all),
        Row::told("alerts", "deliveries a second over HTTP", format!("{rate:.0}")),
    ]
}

async fn deliveries() -> (Vec<Duration>, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let settings = "receivers: {bench: {format: alertmanager, auth: {bearer: {env: T}}}}";
    let receivers: BTreeMap<_, _> = parse_settings("daemon.yaml", settings).unwrap().receivers;
    let limits = AlertLimits { per_second: 1_000_000, burst: 1_000_000, ..AlertLimits::default() };
    let hooks = Hooks {
        git_secret: Secret::new("secret".to_owned()),
        fetch_now: Box::new(|| {}),
        alerts: Some(Alerts {
            receivers: Receivers::new(&receivers, limits, |_| Ok(Secret::new("secret".to_owned()))).unwrap(),
            intake: Arc::new(Journal::new(Arc::new(store))),
            listing: None,
            limits,
        }),
        clock: Arc::new(SystemClock),
        limits: HookLimits::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cancel, mut edge) = (CancellationToken::new(), JoinSet::new());
    edge.spawn(hooks::serve(listener, hooks, cancel.clone()));
    let (begun, mut senders, mut all) = (Instant::now(), JoinSet::new(), Vec::new());
    for sender in 0..CONNECTIONS {
        senders.spawn(async move {
            let mut times = Vec::new();
            for number in 0..EACH {
                let begun = Instant::now();
                send(address, sender, number).await;
                times.push(begun.elapsed());
            }
            times
        });
    }
    while let Some(times) = senders.join_next().await {
        all.extend(times.unwrap());
    }
    let took = begun.elapsed();
    cancel.cancel();
    while edge.join_next().await.is_some() {}
    (all, took)
}

async fn send(address: std::net::SocketAddr, sender: usize, number: usize) {
    let body = format!(
        "{{\"version\":\"4\",\"status\":\"firing\",\"alerts\":[{{\"status\":\"firing\",\"labels\":{{\"alertname\":\"AppDown\",\"app\":\"a{sender}-{number}\"}},\"startsAt\":\"2026-11-20T20:00:00Z\"}}]}}"
    );
    let head = format!(
        "POST /hooks/alerts/bench HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
