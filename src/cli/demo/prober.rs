//! Asks both apps for their page again and again, as clients do, and counts what fails. It runs through every act.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// The pause between two requests of one worker.
const PAUSE: Duration = Duration::from_millis(10);

/// A request that takes longer has failed: queued behind a keeper's return it takes a fraction of this.
const PATIENCE: Duration = Duration::from_secs(5);

/// The workers and their common tally; they end with it.
pub(super) struct Prober {
    tally: Arc<Mutex<Tally>>,
    _workers: JoinSet<()>,
}

/// What was seen since the last time somebody asked.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// Requests that ended.
    pub(super) requests: usize,
    /// Failures: how many of each kind.
    pub(super) failures: BTreeMap<String, usize>,
    /// The longest any request took.
    pub(super) slowest: Duration,
    /// The versions that answered, by app.
    pub(super) versions: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Tally {
    /// How many failed.
    pub(super) fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// In a few words.
    pub(super) fn told(&self) -> String {
        let slowest = super::narrator::took(self.slowest);
        let kinds: Vec<String> = self.failures.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        match self.failed() {
            0 => format!("{} requests, none failed, the slowest took {slowest}", self.requests),
            failed => format!(
                "{} requests, {failed} failed ({}), the slowest took {slowest}",
                self.requests,
                kinds.join(", ")
            ),
        }
    }
}

impl Prober {
    /// Begins to ask these apps, each with a connection that is kept and with a new one for each request.
    pub(super) fn start(apps: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let mut workers = JoinSet::new();
        for (app, url) in apps {
            for kept in [0, 1] {
                let client =
                    reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(kept).build()?;
                workers.spawn(work(app, url.clone(), client, Arc::clone(&tally)));
            }
        }
        Ok(Self { tally, _workers: workers })
    }

    /// Takes the tally and begins a new one.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut *locked(&self.tally))
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn work(app: &'static str, url: String, client: reqwest::Client, tally: Arc<Mutex<Tally>>) {
    loop {
        let begun = Instant::now();
        let answer = ask(&client, &url).await;
        let took = begun.elapsed();
        {
            let mut tally = locked(&tally);
            tally.requests += 1;
            tally.slowest = tally.slowest.max(took);
            match answer {
                Ok(version) => drop(tally.versions.entry(app).or_default().insert(version)),
                Err(failure) => *tally.failures.entry(failure).or_default() += 1,
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The version that answers, or how it failed, in a word or two.
async fn ask(client: &reqwest::Client, url: &str) -> Result<String, String> {
    let response = client.get(url).send().await.map_err(|error| kind(&error))?;
    let status = response.status();
    let version = response.headers().get("x-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    response.bytes().await.map_err(|error| kind(&error))?;
    if status.is_success() { Ok(version) } else { Err(format!("answered {}", status.as_u16())) }
}

fn kind(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "refused".to_owned(),
        Some(std::io::ErrorKind::ConnectionReset) => "reset".to_owned(),
        _ => "cut off".to_owned(),
    }
}
