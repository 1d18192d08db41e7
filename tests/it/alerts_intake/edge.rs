//! A running hooks address over a journal in memory that can be told to fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codeops::hooks::{self, AlertLimits, Alerts, HookLimits, Hooks, Intake, Receivers};
use codeops::journal::{Journal, LogError, Receipt, Record};
use codeops::port::{AlertListing, Clock, GroupListing, UpSince};
use codeops_core::config::{ReceiverSettings, SecretSource};
use codeops_core::model::{Alert, AlertId, AlertState, Fingerprint, Kept, Labels, Name, Period, Secret, Signal};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bodies::receivers;
use crate::support::clock::ManualClock;
use crate::support::fault_log::MemoryLog;

pub(super) const TOKEN: &str = "a token of the tests";

/// The proof of a receiver that takes a token: each has its own.
pub(super) fn bearer(receiver: &str) -> (&'static str, &'static str) {
    let tokens = [
        ("am", "Bearer token of am"),
        ("am2", "Bearer token of am2"),
        ("prometheus", "Bearer token of prometheus"),
        ("graf-basic", "Basic Z3JhZmFuYTpwYXNzIG9mIGdyYWYtYmFzaWM="),
        ("pd-bearer", "Bearer token of pd-bearer"),
        ("events", "Bearer token of events"),
        ("datadog", "bearer token of datadog"),
        ("alerts", "Bearer token of alerts"),
        ("mapped", "Bearer token of mapped"),
    ];
    ("Authorization", tokens.into_iter().find(|(name, _)| *name == receiver).expect("a receiver with a token").1)
}

pub(super) struct Edge {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    intake: Arc<Failing>,
    listing: Arc<Listing>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Edge {
    pub(super) async fn start() -> Self {
        Self::with(AlertLimits::default(), receivers()).await
    }

    pub(super) async fn with(limits: AlertLimits, settings: BTreeMap<String, ReceiverSettings>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let clock = ManualClock::new();
        // The fixtures' day.
        clock.advance(Period::from_secs(1_795_205_000 - 1_700_000_000));
        let log = MemoryLog::new(clock.clone());
        let intake = Arc::new(Failing {
            journal: Journal::new(log.clone()),
            error: Mutex::default(),
            unheard: Mutex::default(),
        });
        let listing = Arc::new(Listing::default());
        let settings = settings.into_iter().map(|(name, settings)| (name.parse().expect("a name"), settings)).collect();
        let hooks = Hooks {
            git_secret: Secret::new("git".to_owned()),
            fetch_now: Box::new(|| {}),
            alerts: Some(Alerts {
                receivers: Receivers::new(&settings, limits, secret).expect("receivers"),
                intake: intake.clone(),
                listing: Some(listing.clone()),
                limits,
            }),
            clock: clock.clone(),
            limits: HookLimits::default(),
        };
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(hooks::serve(listener, hooks, cancel.clone()));
        Self { address, clock, log, intake, listing, cancel, tasks }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Period::from_secs(seconds));
    }

    /// Lets the journal answer with this error from now on.
    pub(super) fn fail(&self, error: Option<LogError>) {
        *self.intake.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Lets it fail from now on to note that a Watchdog was heard.
    pub(super) fn fail_to_hear(&self, error: Option<LogError>) {
        *self.intake.unheard.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// As if a receiver had brought as many alerts as it may, or room were there again.
    pub(super) fn fill(&self, receiver: &str, full: bool) {
        let memory = self.intake.journal.memory();
        let mut memory = memory.write().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept { alerts: if full { Kept::MOST_ALERTS } else { 1 }, bytes: 0 };
        memory.response.kept.insert(receiver.parse().expect("a name"), kept);
    }

    pub(super) fn records(&self) -> usize {
        self.log.entries().len()
    }

    fn all(&self) -> Vec<Record> {
        self.log.entries().into_iter().map(|entry| entry.record).collect()
    }

    pub(super) fn signals(&self) -> Vec<Signal> {
        let of = |record| match record {
            Record::Alerts { signals, .. } => signals,
            _ => Vec::new(),
        };
        self.all().into_iter().flat_map(of).collect()
    }

    pub(super) fn spoiled(&self, receiver: &str) -> u32 {
        let of = |record: &Record| match record {
            Record::Alerts { receiver: by, spoiled, .. } if by.as_str() == receiver => *spoiled,
            _ => 0,
        };
        self.all().iter().map(of).sum()
    }

    pub(super) fn heard(&self) -> usize {
        self.all().iter().filter(|record| matches!(record, Record::Watchdog { .. })).count()
    }

    /// What fires, as the journal remembers it.
    pub(super) fn firing(&self) -> Vec<Arc<Alert>> {
        let memory = self.intake.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let fires = memory.response.alerts.values().filter(|alert| alert.state == AlertState::Firing);
        fires.map(|alert| Arc::clone(&alert.alert)).collect()
    }

    /// As if sources had been asked, and said this of all alerts.
    pub(super) async fn are(&self, state: AlertState) {
        let alerts = self.firing().iter().map(|alert| alert.id.clone()).collect();
        let record = Record::AlertState { alerts, state, why: "asked".to_owned() };
        self.intake.journal.record(vec![record]).await.expect("it is written down");
    }

    pub(super) fn states(&self) -> Vec<AlertState> {
        let memory = self.intake.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.response.alerts.values().map(|alert| alert.state).collect()
    }

    /// Lets the Alertmanager have been started then.
    pub(super) fn listing_is_up_since(&self, at: Timestamp) {
        *self.listing.up.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// What its twelfth page is known by where it was sent to.
    pub(super) fn page_key(&self) -> String {
        self.intake.journal.key_of("p12").0
    }

    /// Lets the Alertmanager not answer from now on, or answer again.
    pub(super) fn listing_fails(&self, fails: bool) {
        *self.listing.fails.lock().unwrap_or_else(PoisonError::into_inner) = fails;
    }

    /// Whom the rest of a delivery was asked of, and for which group.
    pub(super) fn listing_hangs(&self) {
        *self.listing.hangs.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(super) fn asked(&self) -> Vec<(String, Labels)> {
        self.listing.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.slow(&[request.as_bytes(), body].concat()).await
    }

    /// Sends bytes and no end, and gives what comes back.
    pub(super) async fn slow(&self, bytes: &[u8]) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut from, mut to) = stream.into_split();
        let mut answer = Vec::new();
        // A server that refuses early does not read all of it.
        let (_, _) = tokio::join!(to.write_all(bytes), from.read_to_end(&mut answer));
        read(&answer)
    }

    /// A connection on which bytes were sent, and no more for now.
    pub(super) async fn half(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        // One that is refused may be closed before all is sent.
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Sends bytes, then nothing more, and gives what comes back.
    pub(super) async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        read(&answer)
    }

    pub(super) async fn stop(mut self) {
        self.cancel.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it drains");
    }
}

fn read(answer: &[u8]) -> (u16, String) {
    let answer = String::from_utf8_lossy(answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer)
}

fn secret(source: &SecretSource) -> Result<Secret<String>, String> {
    match source {
        SecretSource::Env(value) => Ok(Secret::new(value.clone())),
        SecretSource::File(path) => Err(format!("{path}: tests read no files")),
    }
}

/// The journal, unless it is told to fail.
struct Failing {
    journal: Journal,
    error: Mutex<Option<LogError>>,
    /// What it says instead of noting that a Watchdog was heard.
    unheard: Mutex<Option<LogError>>,
}

#[async_trait]
impl Intake for Failing {
    async fn receive(
        &self,
        receiver: &Name,
        ids: &[String],
        signals: Vec<Signal>,
        spoiled: u32,
    ) -> Result<Receipt, LogError> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match error {
            Some(error) => Err(error),
            None => self.journal.receive(receiver, ids, signals, spoiled).await,
        }
    }

    async fn heard(&self, receiver: &Name) -> Result<(), LogError> {
        let error = self.unheard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.map_or(Ok(()), Err)?;
        Intake::heard(&self.journal, receiver).await
    }

    fn began(&self, source: &Name, fingerprint: &Fingerprint) -> Option<Timestamp> {
        Intake::began(&self.journal, source, fingerprint)
    }

    fn is_silenced(&self, alert: &AlertId) -> bool {
        Intake::is_silenced(&self.journal, alert)
    }

    fn open(&self, receiver: &Name, group: &Labels) -> Vec<AlertId> {
        Intake::open(&self.journal, receiver, group)
    }

    fn is_own_page(&self, key: &str) -> bool {
        Intake::is_own_page(&self.journal, key)
    }
}

/// An Alertmanager that has three more alerts: one fires, one is silenced, and of one it tells somebody else.
#[derive(Default)]
struct Listing {
    asked: Mutex<Vec<(String, Labels)>>,
    fails: Mutex<bool>,
    hangs: Mutex<bool>,
    up: Mutex<Timestamp>,
}

#[async_trait]
impl AlertListing for Listing {
    async fn group(&self, receiver: &Name, labels: &Labels) -> Result<GroupListing, String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((receiver.to_string(), labels.clone()));
        if *self.fails.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err("it does not answer".to_owned());
        }
        if *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) {
            std::future::pending::<()>().await;
        }
        let alert = |name: &str, state: &str, route: &str| {
            serde_json::json!({
                "annotations": {}, "endsAt": "2026-11-20T20:03:41.503Z", "fingerprint": "b0dc1ba3d1a5c8a7",
                "receivers": [{"name": route}], "startsAt": "2026-11-20T19:59:41.503Z",
                "status": {"inhibitedBy": [], "silencedBy": [], "state": state}, "updatedAt": "2026-11-20T19:59:41.511Z",
                "generatorURL": "http://prometheus:9090/graph", "labels": {"alertname": name},
            })
        };
        let all = [
            alert("LeftOut", "active", "codeops"),
            alert("Quiet", "suppressed", "codeops"),
            alert("Theirs", "active", "others"),
        ];
        Ok(GroupListing {
            body: serde_json::json!(all).to_string().into_bytes(),
            up: UpSince(*self.up.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }
}
