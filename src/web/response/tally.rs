//! Did the machine deal with it? What ended in the last seven days, by playbook; and the counts that `/metrics` shows. Read once
//! from the history and followed from then on, so that no look at the page reads it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codeops_core::model::{Does, Name, PageEvent, PageId, Run, RunCause, RunEvent, RunId, RunState, Signal};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::error::RecvError;

use crate::journal::{Category, LogError, PageQuery, Query, Record, RunQuery, Seq};
use crate::web::Web;
use crate::web::api::ALERT_STATES;

/// How far back it looks.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Runs and pages counted at most: the oldest go first.
const MOST: usize = 20_000;
/// Read at once; entries that were missed are read back for at most so many pages.
const CHUNK: usize = 100;
const MISSED: usize = 50;
/// Seconds, from a first step's 5 ms to a fix that took an hour.
const BUCKETS: [f64; 14] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0];

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// One run that ended.
#[derive(Debug, Clone)]
struct Ended {
    at: Timestamp,
    playbook: Name,
    state: RunState,
    /// Whether an alert was the cause.
    answers: bool,
    /// Whether a person was called in it.
    called: bool,
    /// From when what it answers came in to its first step.
    first: Option<SignedDuration>,
    /// To its end.
    whole: SignedDuration,
}

#[derive(Debug, Default)]
struct Seen {
    runs: BTreeMap<RunId, Ended>,
    pages: BTreeMap<PageId, Timestamp>,
}

/// How far it was counted.
#[derive(Debug, Clone, Copy)]
struct Followed {
    /// When that began.
    began: Timestamp,
    /// The last entry taken in.
    last: Seq,
}

/// What was counted, for as long as the process lives.
#[derive(Debug)]
pub(in crate::web) struct Tally {
    seen: Mutex<Seen>,
    followed: Mutex<Option<Followed>>,
    received: Family<Labels, Counter>,
    runs: Family<Labels, Counter>,
    pages: Family<Labels, Counter>,
    first: Histograms,
    resolution: Histograms,
}

impl Default for Tally {
    fn default() -> Self {
        let histograms = || Histograms::new_with_constructor(|| Histogram::new(BUCKETS));
        let pages = Family::default();
        for outcome in ["accepted", "withdrawn"] {
            drop(Family::<Labels, Counter>::get_or_create(&pages, &vec![("outcome", outcome.to_owned())]));
        }
        Self {
            seen: Mutex::default(),
            followed: Mutex::default(),
            received: Family::default(),
            runs: Family::default(),
            pages,
            first: histograms(),
            resolution: histograms(),
        }
    }
}

/// How the last seven days went.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct Week {
    pub(in crate::web) all: Share,
    /// By playbook, in the order of their names.
    pub(in crate::web) playbooks: Vec<(Name, Share)>,
    pub(in crate::web) pages: usize,
}

impl Week {
    pub(in crate::web) fn calls(&self) -> String {
        crate::web::words::plural(self.pages, "page")
    }
}

/// How some runs that answered alerts went.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct Share {
    pub(in crate::web) runs: usize,
    /// Proven over, and no person was called.
    pub(in crate::web) alone: usize,
    /// A person was called.
    pub(in crate::web) called: usize,
    /// Medians.
    pub(in crate::web) first: Option<SignedDuration>,
    pub(in crate::web) resolution: Option<SignedDuration>,
}

impl Share {
    fn of(runs: &[&Ended]) -> Self {
        let solved = |run: &&&Ended| is_solved(run.state);
        Self {
            runs: runs.len(),
            alone: runs.iter().filter(solved).filter(|run| !run.called).count(),
            called: runs.iter().filter(|run| run.called).count(),
            first: median(runs.iter().filter_map(|run| run.first).collect()),
            resolution: median(runs.iter().filter(solved).map(|run| run.whole).collect()),
        }
    }

    /// `12 of 14`.
    pub(in crate::web) fn part(&self) -> String {
        format!("{} of {}", self.alone, self.runs)
    }

    pub(in crate::web) fn first_step(&self) -> String {
        self.first.map_or_else(|| "–".to_owned(), crate::web::words::took)
    }

    pub(in crate::web) fn resolved_in(&self) -> String {
        self.resolution.map_or_else(|| "–".to_owned(), crate::web::words::took)
    }
}

fn is_solved(state: RunState) -> bool {
    matches!(state, RunState::Resolved | RunState::Replaced)
}

fn median(mut times: Vec<SignedDuration>) -> Option<SignedDuration> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

impl Tally {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followed(&self) -> MutexGuard<'_, Option<Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the last seven days went, as far as alerts were answered.
    pub(in crate::web) fn week(&self, now: Timestamp) -> Week {
        let since = now.checked_sub(WEEK).unwrap_or(Timestamp::MIN);
        let seen = self.seen();
        let answers: Vec<&Ended> = seen.runs.values().filter(|run| run.answers && run.at > since).collect();
        let mut by_playbook: BTreeMap<&Name, Vec<&Ended>> = BTreeMap::new();
        for run in &answers {
            by_playbook.entry(&run.playbook).or_default().push(run);
        }
        Week {
            all: Share::of(&answers),
            playbooks: by_playbook.into_iter().map(|(name, runs)| (name.clone(), Share::of(&runs))).collect(),
            pages: seen.pages.values().filter(|at| **at > since).count(),
        }
    }

    /// Takes in a run that is over; one that ended from `began` on is counted for `/metrics`, once.
    fn take(&self, run: &Run, came_in: Timestamp, began: Timestamp) {
        let Some((state, _, at)) = &run.ended else { return };
        let since = |at: Timestamp| at.duration_since(came_in).max(SignedDuration::ZERO);
        let first = run.steps.iter().find(|record| record.attempts > 0).map(|record| since(record.begun_at));
        let is_page = |does: &Does| matches!(does, Does::Page { .. });
        let ended = Ended {
            at: *at,
            playbook: run.playbook.name.clone(),
            state: *state,
            answers: matches!(run.cause, RunCause::Alert { .. }),
            called: *state == RunState::Paged
                || run.steps.iter().any(|it| it.attempts > 0 && run.step(it.step).is_some_and(|it| is_page(&it.does))),
            first,
            whole: since(*at),
        };
        let counts = *at >= began;
        let mut seen = self.seen();
        if seen.runs.insert(run.id, ended).is_some() || !counts {
            bound(&mut seen.runs);
            return;
        }
        bound(&mut seen.runs);
        drop(seen);
        let playbook = vec![("playbook", run.playbook.name.to_string())];
        let labels = vec![("playbook", run.playbook.name.to_string()), ("state", state.word().to_owned())];
        self.runs.get_or_create(&labels).inc();
        if let Some(first) = first {
            self.first.get_or_create(&playbook).observe(first.as_secs_f64());
        }
        if is_solved(*state) {
            self.resolution.get_or_create(&playbook).observe(since(*at).as_secs_f64());
        }
    }

    /// Adds its families to what is scraped.
    pub(in crate::web) fn describe(&self, registry: &mut Registry, web: &Web) {
        let (alerts, active, open) =
            (Family::<Labels, Gauge>::default(), Gauge::<i64>::default(), Gauge::<i64>::default());
        web.page.journal.response(|response| {
            for state in ALERT_STATES {
                let count = response.alerts.values().filter(|alert| alert.state == state).count();
                alerts.get_or_create(&vec![("state", state.word().to_owned())]).set(whole(count));
            }
            active.set(whole(response.runs.len()));
            open.set(whole(response.pages.len()));
        });
        let (kept, bytes, full) = (
            Family::<Labels, Gauge>::default(),
            Family::<Labels, Gauge>::default(),
            Family::<Labels, Gauge>::default(),
        );
        let (silent, now) = (Family::<Labels, Gauge>::default(), web.now());
        web.page.journal.response(|response| {
            for (receiver, of) in &response.kept {
                let labels = vec![("receiver", receiver.to_string())];
                kept.get_or_create(&labels).set(whole(of.alerts));
                bytes.get_or_create(&labels).set(whole(of.bytes));
            }
            for receiver in response.kept.keys().chain(response.spent.keys()) {
                let labels = vec![("receiver", receiver.to_string())];
                full.get_or_create(&labels).set(i64::from(response.is_full(receiver, now)));
            }
            let muted = response.silent();
            for receiver in response.watchdogs.keys().chain(muted.keys().copied()) {
                let labels = vec![("receiver", receiver.to_string())];
                silent.get_or_create(&labels).set(i64::from(muted.contains_key(receiver)));
            }
        });
        registry.register("codeops_receiver_alerts", "Alerts that are remembered, by receiver", kept);
        registry.register("codeops_receiver_bytes", "The bytes of what they say, by receiver", bytes);
        registry.register("codeops_receiver_full", "Whether a receiver may bring no more alerts for now", full);
        registry.register("codeops_receiver_silent", "Whether a Watchdog is missed", silent);
        registry.register("codeops_alerts", "Alerts that fire, and those whose end is younger than an hour", alerts);
        let help = "Firing alerts that came in with something new, by receiver; what is told again as it is known does not count";
        registry.register("codeops_alerts_received", help, self.received.clone());
        registry.register("codeops_runs", "Runs that ended, by playbook and how", self.runs.clone());
        registry.register("codeops_runs_active", "Runs that are not over", active);
        let help = "From when an alert came in, or a time was due, to the first step of its run";
        registry.register("codeops_run_first_step_seconds", help, self.first.clone());
        let help = "From when an alert came in, or a time was due, to the end of a run that dealt with it";
        registry.register("codeops_run_resolution_seconds", help, self.resolution.clone());
        registry.register("codeops_pages", "Calls to people that ended, by how", self.pages.clone());
        registry.register("codeops_pages_open", "Calls to people that nobody has accepted yet", open);
    }
}

fn bound<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    while map.len() > MOST {
        map.pop_first();
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads the last seven days, and follows from then on until cancelled; where a life of the daemon was followed before, from
/// where that ended.
pub(in crate::web) async fn follow(web: Arc<Web>) {
    let mut tail = web.page.journal.tail();
    let before = *web.tally.followed();
    let (began, mut last) = match before {
        Some(Followed { began, last }) => (began, catch_up(&web, last, began).await),
        None => (web.now(), newest(&web).await),
    };
    if before.is_none()
        && let Err(error) = read_back(&web, began).await
    {
        tracing::warn!(%error, "the runs of the last days cannot be read; the page counts from now on");
    }
    *web.tally.followed() = Some(Followed { began, last });
    loop {
        let entry = tokio::select! {
            () = web.cancel.cancelled() => return,
            entry = tail.recv() => entry,
        };
        match entry {
            Ok(entry) if entry.seq > last => {
                last = entry.seq;
                take(&web, entry.at, &entry.record, began).await;
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => last = catch_up(&web, last, began).await,
            Err(RecvError::Closed) => return,
        }
        *web.tally.followed() = Some(Followed { began, last });
    }
}

async fn newest(web: &Web) -> Seq {
    let page = web.page.journal.read(Query { limit: 1, ..Query::default() }).await;
    page.ok().and_then(|page| page.items.first().map(|entry| entry.seq)).unwrap_or(Seq(0))
}

async fn take(web: &Web, at: Timestamp, record: &Record, began: Timestamp) {
    let of = |outcome: &str| vec![("outcome", outcome.to_owned())];
    match record {
        Record::Alerts { receiver, signals, .. } => {
            let firing = signals.iter().filter(|signal| matches!(signal, Signal::Firing(_))).count();
            let counter = web.tally.received.get_or_create(&vec![("receiver", receiver.to_string())]).clone();
            counter.inc_by(u64::try_from(firing).unwrap_or(u64::MAX));
        }
        Record::Run { run, event: RunEvent::Ended { .. }, .. } => {
            if let Ok(Some(run)) = web.page.journal.run(*run).await {
                web.tally.take(&run, came_in(web, &run), began);
            }
        }
        Record::Page { page, event: PageEvent::Opened(_) } => {
            let mut seen = web.tally.seen();
            seen.pages.insert(*page, at);
            bound(&mut seen.pages);
        }
        Record::Page { event: PageEvent::Accepted { .. }, .. } => {
            web.tally.pages.get_or_create(&of("accepted")).inc();
        }
        Record::Page { event: PageEvent::Withdrawn { .. }, .. } => {
            web.tally.pages.get_or_create(&of("withdrawn")).inc();
        }
        _ => {}
    }
}

/// When what a run answers came in, as far as it is remembered; else when it was opened.
fn came_in(web: &Web, run: &Run) -> Timestamp {
    match &run.cause {
        RunCause::Alert { alert } => {
            let known = web.page.journal.response(|it| it.alerts.get(alert).map(|alert| alert.received_at));
            known.unwrap_or(run.opened_at).min(run.opened_at)
        }
        RunCause::Schedule { due } => (*due).min(run.opened_at),
        RunCause::Call { .. } => run.opened_at,
    }
}

async fn read_back(web: &Web, began: Timestamp) -> Result<(), LogError> {
    let since = began.checked_sub(WEEK).unwrap_or(Timestamp::MIN);
    let mut query = RunQuery { limit: CHUNK, ..RunQuery::default() };
    for _ in 0..MOST / CHUNK {
        let listed = web.page.journal.runs(query.clone()).await?;
        listed.items.iter().for_each(|run| web.tally.take(run, came_in(web, run), began));
        query.before = listed.next;
        if listed.next.is_none() || listed.items.last().is_none_or(|run| run.opened_at < since) {
            break;
        }
    }
    let mut query = PageQuery { limit: CHUNK, ..PageQuery::default() };
    for _ in 0..MOST / CHUNK {
        let listed = web.page.journal.pages(query.clone()).await?;
        web.tally.seen().pages.extend(listed.items.iter().map(|page| (page.id, page.opened_at)));
        query.before = listed.next;
        if listed.next.is_none() || listed.items.last().is_none_or(|page| page.opened_at < since) {
            break;
        }
    }
    Ok(())
}

/// Reads what the tail let fall, newest first, and answers how far it came.
async fn catch_up(web: &Web, last: Seq, began: Timestamp) -> Seq {
    let categories = vec![Category::Alert, Category::Run];
    let mut query = Query { categories, since: Some(last), limit: CHUNK, ..Query::default() };
    let reached = newest(web).await;
    for _ in 0..MISSED {
        let Ok(page) = web.page.journal.read(query.clone()).await else { break };
        for entry in page.items.iter().filter(|entry| entry.seq <= reached) {
            take(web, entry.at, &entry.record, began).await;
        }
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    reached
}
