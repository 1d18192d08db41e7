//! The read-only page, its JSON twins, server-sent events and metrics.
//!
//! It holds the board, the reading half of the journal and the reading half of providers, nothing else: there is no way
//! from here to change live state. Everything is rendered when asked for; no client has a copy of its own.

mod answers;
mod api;
mod escape;
mod event;
mod event_kept;
mod event_page;
mod guard;
mod history;
mod live;
mod logs;
mod metrics;
mod named;
mod pages;
mod picture;
mod places;
mod problem;
mod redact;
mod response;
mod routes;
mod run_words;
mod samples;
mod session;
mod shape;
mod team;
mod waiting;
mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codeops_core::model::{ProviderName, Secret};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::edge::{self, Bounds};
use crate::journal::Reader;
use crate::port::{Board, Clock, Observer, Senders, SettingsState, Vitals, Watcher, Whose};

pub use metrics::Counters;
pub use waiting::wait;

/// Takes out of a text what must not be shown: what those who wrote it know.
pub type Redact = Arc<dyn Fn(Whose<'_>, &str) -> String + Send + Sync>;

/// All that the page reads.
#[derive(Clone)]
pub struct Page {
    /// The last picture of everything.
    pub watcher: Watcher,
    /// What happened.
    pub journal: Reader,
    /// The reading half of every provider, for logs and stats.
    pub observers: BTreeMap<ProviderName, Arc<dyn Observer>>,
    /// What every answer passes before it leaves.
    pub redact: Redact,
    /// The receivers of the settings, and the teams whose resources alone their alerts may reach.
    pub receivers: Senders,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which worker makes no progress.
    pub vitals: Vitals,
    /// What is counted; the same for as long as the process lives.
    pub counters: Counters,
    /// Whether the settings' file can be used.
    pub settings: SettingsState,
    /// Who may look, and how much.
    pub config: PageConfig,
}

/// Who may look, and how much.
#[derive(Debug, Clone)]
pub struct PageConfig {
    /// Host names, without port, under which the page is known beside `localhost` and the listening address.
    pub hosts: Vec<String>,
    /// What a reader must show; needed wherever the address is not loopback.
    pub token: Option<Secret<String>>,
    /// The daemon's version.
    pub version: String,
    /// The age of the last observation from which the page calls itself stale: a little more than the resync interval.
    pub stale_after: Duration,
    /// Bounds on what clients may take.
    pub limits: Limits,
}

impl Default for PageConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            token: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stale_after: Duration::from_secs(180),
            limits: Limits::default(),
        }
    }
}

/// Bounds on what clients may take, and how often stats are sampled.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; a further one closes the one that was idle longest.
    pub connections: usize,
    /// Streams (events and followed logs) at a time; further ones get 503.
    pub streams: usize,
    /// Those of one peer, so that nobody takes all. A reverse proxy is one peer, and so is all that runs on this machine.
    pub streams_of_one_peer: usize,
    /// Answers with kept log lines at a time, and those of one peer.
    pub reads: usize,
    /// See [`Limits::reads`].
    pub reads_of_one_peer: usize,
    /// How long one of them may take.
    pub read: Duration,
    /// Bytes of answers that are not read yet.
    pub unread: usize,
    /// Those of one peer.
    pub unread_of_one_peer: usize,
    /// How long a client may leave its answer unread, or take too little of it, before its connection is cut.
    pub stall: Duration,
    /// How long a client may take to send a request's head, or stay idle between two.
    pub head: Duration,
    /// How often the use of resources is sampled.
    pub sample: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 64,
            streams_of_one_peer: 16,
            reads: 32,
            reads_of_one_peer: 16,
            read: Duration::from_secs(300),
            unread: 48 << 20,
            unread_of_one_peer: 32 << 20,
            stall: Duration::from_secs(10),
            head: Duration::from_secs(10),
            sample: Duration::from_secs(10),
        }
    }
}

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Other machines could reach it and nobody would have to say who they are.
    #[error("the page listens on {0}, which other machines may reach: give it a token, or listen on 127.0.0.1")]
    TokenNeeded(SocketAddr),
    /// The listener is of no use.
    #[error("the page's listener does not tell its address")]
    Listener(#[source] std::io::Error),
}

/// What every request sees.
struct Web {
    page: Page,
    address: SocketAddr,
    samples: Mutex<samples::Samples>,
    tally: Arc<response::Tally>,
    teams: team::Teams,
    streams: Arc<places::Places>,
    reads: Arc<places::Places>,
    answers: answers::Answers,
    cancel: CancellationToken,
}

impl Web {
    fn board(&self) -> Arc<Board> {
        self.page.watcher.board()
    }

    fn now(&self) -> jiff::Timestamp {
        self.page.clock.now()
    }

    fn samples(&self) -> MutexGuard<'_, samples::Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the page's clients may take.
fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        what: "the page",
        connections: limits.connections,
        of_one_peer: None,
        head: limits.head,
        head_bytes: 16 * 1024,
        stall: limits.stall,
        single: None,
        drain: Duration::from_secs(2),
    }
}

/// Serves the page until cancelled; open answers get two seconds to end.
///
/// # Errors
/// [`WebError`], at the start only.
pub async fn serve(listener: TcpListener, page: Page, cancel: CancellationToken) -> Result<(), WebError> {
    let address = listener.local_addr().map_err(WebError::Listener)?;
    if !address.ip().is_loopback() && page.config.token.is_none() {
        return Err(WebError::TokenNeeded(address));
    }
    let limits = page.config.limits;
    let tally = page.counters.tally();
    let web = Arc::new(Web {
        page,
        address,
        samples: Mutex::default(),
        tally,
        teams: team::Teams::default(),
        streams: Arc::new(places::Places::new("streams", limits.streams, limits.streams_of_one_peer)),
        reads: Arc::new(places::Places::new("answers with log lines", limits.reads, limits.reads_of_one_peer)),
        answers: answers::Answers::new(limits.unread, limits.unread_of_one_peer),
        cancel: cancel.clone(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(samples::run(Arc::clone(&web)));
    tasks.spawn(metrics::count(Arc::clone(&web)));
    tasks.spawn(response::follow(Arc::clone(&web)));
    edge::serve(listener, routes::router(&web), bounds(&limits), &cancel).await;
    tasks.shutdown().await;
    Ok(())
}
