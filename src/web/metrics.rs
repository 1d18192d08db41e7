//! `/metrics`: OpenMetrics, or the text format of Prometheus, made from the board at each scrape. Labels come from declarations, never from alerts, and
//! never hold a secret or a text that grows without bound.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use codeops_core::model::{Instance, InstanceId, ResourceId};
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Web;
use super::problem::Problem;
use super::redact::AsIs;
use super::response::Tally;
use super::words::Mark;
use crate::port::{Board, Vitals};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

/// What cannot be read from one board alone: counted as boards come.
#[derive(Debug)]
struct Counted {
    passes: Histogram,
    restarts: Family<Labels, Counter>,
    seen: Mutex<BTreeMap<ResourceId, Vec<(InstanceId, u32)>>>,
    tally: Arc<Tally>,
}

/// What the page counts, which outlives one life of it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Counted>);

impl Default for Counted {
    fn default() -> Self {
        let buckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        Self {
            passes: Histogram::new(buckets),
            restarts: Family::default(),
            seen: Mutex::default(),
            tally: Arc::default(),
        }
    }
}

impl Counters {
    /// What became of alerts, runs and pages.
    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.0.tally)
    }
}

impl Counted {
    fn restarts(&self, board: &Board) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, view) in &board.resources {
            // What could not be looked at is as it was seen last.
            let Some(live) = &view.live else { continue };
            let instances = live.instances.as_slice();
            let now = || instances.iter().map(|instance| (&instance.id, instance.restarts));
            // Most boards change little: what is as it was costs no allocation.
            if seen.get(id).is_some_and(|before| same(before, instances)) {
                continue;
            }
            let before = seen.insert(id.clone(), now().map(|(id, count)| (id.clone(), count)).collect());
            let before = before.unwrap_or_default();
            let was = |id: &InstanceId| before.iter().find(|(seen, _)| seen == id).map_or(0, |(_, count)| *count);
            let more = now().map(|(id, count)| u64::from(count.saturating_sub(was(id)))).sum();
            self.restarts.get_or_create(&vec![("id", id.to_string())]).inc_by(more);
        }
        // The first board of a life knows of nothing yet.
        if !board.ready {
            return;
        }
        seen.retain(|id, _| {
            let kept = board.resources.contains_key(id);
            if !kept {
                self.restarts.remove(&vec![("id", id.to_string())]);
            }
            kept
        });
    }
}

fn same(before: &[(InstanceId, u32)], now: &[Instance]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|((id, count), now)| *id == now.id && *count == now.restarts)
}

/// Counts what boards bring until cancelled.
pub(super) async fn count(web: Arc<Web>) {
    let mut watcher = web.page.watcher.clone();
    let mut last: Option<Timestamp> = None;
    let mut board = watcher.board();
    loop {
        if board.fresh_at.is_some() && board.fresh_at != last {
            last = board.fresh_at;
            web.page.counters.0.passes.observe(f64::from(u32::try_from(board.pass_micros).unwrap_or(u32::MAX)) / 1e6);
        }
        web.page.counters.0.restarts(&board);
        tokio::select! {
            () = web.cancel.cancelled() => return,
            next = watcher.changed() => match next {
                Ok(next) => board = next,
                Err(_) => return,
            },
        }
    }
}

const OPENMETRICS: &str = "application/openmetrics-text";

/// The scrape: OpenMetrics for those who ask for it, else the older format that everything reads.
pub(super) async fn metrics(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut registry = Registry::default();
    let board = web.board();
    describe_resources(&mut registry, &board);
    describe_trust(&mut registry, &board);
    describe_daemon(&mut registry, &web, &board);
    web.tally.describe(&mut registry, &web);
    describe_process(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Problem::unavailable("the metrics could not be written"))?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (kind, text) = match accept.contains(OPENMETRICS) {
        true => (format!("{OPENMETRICS}; version=1.0.0; charset=utf-8"), text),
        false => ("text/plain; version=0.0.4; charset=utf-8".to_owned(), classic(&text)),
    };
    let mut answer = ([(header::CONTENT_TYPE, kind)], text).into_response();
    // It holds names and numbers.
    answer.extensions_mut().insert(AsIs);
    Ok(answer)
}

/// OpenMetrics in the text format of Prometheus: there a counter is described by the name that its samples have, and
/// nothing marks the end.
fn classic(text: &str) -> String {
    let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: std::collections::BTreeSet<String> = text.lines().filter_map(counter).collect();
    let described = |line: &str| -> Option<String> {
        let (word, rest) = line.strip_prefix("# ")?.split_once(' ')?;
        let (name, rest) = rest.split_once(' ')?;
        let is_counter = matches!(word, "HELP" | "TYPE") && counters.contains(name);
        is_counter.then(|| format!("# {word} {name}_total {rest}\n"))
    };
    let lines = text.lines().filter(|line| *line != "# EOF");
    lines.map(|line| described(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

fn describe_resources(registry: &mut Registry, board: &Board) {
    let (info, instances) = (Gauges::default(), Gauges::default());
    for (id, view) in &board.resources {
        let labels = vec![
            ("id", id.to_string()),
            ("team", view.team.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("provider", view.provider.to_string()),
            ("sync", view.sync.to_string()),
            ("health", view.health.to_string()),
        ];
        info.get_or_create(&labels).set(1);
        for instance in view.live.iter().flat_map(|live| &live.instances) {
            let mark = Mark::of_instance(instance.state, instance.health);
            instances.get_or_create(&vec![("id", id.to_string()), ("state", mark.class().to_owned())]).inc();
        }
    }
    registry.register("codeops_resource_info", "Resources and how they stand", info);
    registry.register("codeops_instances", "Instances by resource and state", instances);
    let (overall, states) = (board.overall(), Gauges::default());
    let counts = [
        ("fine", overall.fine),
        ("held", overall.held),
        ("degraded", overall.degraded),
        ("progressing", overall.progressing),
        ("unknown", overall.unknown),
        ("suspended", overall.suspended),
    ];
    for (state, count) in counts {
        states.get_or_create(&vec![("state", state.to_owned())]).set(whole(count));
    }
    registry.register("codeops_resources", "Resources by state; the states do not overlap", states);
    let holds = Gauge::<i64>::default();
    holds.set(whole(board.holds.len()));
    registry.register("codeops_holds", "Change sets that only a commit releases", holds);
}

fn describe_trust(registry: &mut Registry, board: &Board) {
    let revision = Gauges::default();
    if let Some(view) = &board.revision {
        let labels = vec![("revision", view.id.to_string()), ("state", view.state.to_string())];
        revision.get_or_create(&labels).set(1);
    }
    registry.register("codeops_revision_info", "The revision in force", revision);
    let up = Gauge::<i64>::default();
    up.set(i64::from(board.source.error.is_none()));
    let held = Gauge::<i64>::default();
    held.set(i64::from(board.source.held.is_some()));
    registry.register("codeops_source_held", "Whether the newest commit is not followed", held);
    registry.register("codeops_source_up", "Whether the repository answered last time", up);
    seconds(
        registry,
        "codeops_source_last_fetch_timestamp_seconds",
        "When the repository last answered",
        board.source.fetched_at,
    );
    seconds(registry, "codeops_observed_timestamp_seconds", "When live state was last observed", board.fresh_at);
    let (up, answered) = (Gauges::default(), Family::<Labels, Seconds>::default());
    for (name, view) in &board.providers {
        let labels = vec![("provider", name.to_string()), ("kind", view.word.to_owned())];
        up.get_or_create(&labels).set(i64::from(view.error.is_none()));
        if let Some(at) = view.answered_at {
            answered.get_or_create(&labels).set(at.as_duration().as_secs_f64());
        }
    }
    registry.register("codeops_provider_up", "Whether a provider answered last time", up);
    registry.register("codeops_provider_last_answer_timestamp_seconds", "When a provider last answered", answered);
}

fn describe_daemon(registry: &mut Registry, web: &Web, board: &Board) {
    let ready = Gauge::<i64>::default();
    let stuck = web.page.vitals.stuck().map(|stuck| stuck.worker);
    ready.set(i64::from(board.ready && board.broken.is_none() && stuck.is_none()));
    registry.register("codeops_ready", "Whether a first pass has finished and the journal takes records", ready);
    let workers = Gauges::default();
    for worker in Vitals::WORKERS {
        workers.get_or_create(&vec![("worker", worker.to_owned())]).set(i64::from(stuck == Some(worker)));
    }
    registry.register("codeops_worker_stuck", "Whether a part of the daemon makes no progress", workers);
    registry.register(
        "codeops_reconcile_duration_seconds",
        "How long full passes took",
        web.page.counters.0.passes.clone(),
    );
    registry.register("codeops_restarts", "Restarts of instances by resource", web.page.counters.0.restarts.clone());
    let settings = Gauge::<i64>::default();
    settings.set(i64::from(web.page.settings.error().is_none()));
    let name = "codeops_settings_last_reload_successful";
    registry.register(name, "Whether the settings' file could be used when it was last read", settings);
    let streams = Gauge::<i64>::default();
    streams.set(whole(web.streams.count()));
    registry.register("codeops_streams", "Open event and log streams", streams);
    let build = Gauges::default();
    build.get_or_create(&vec![("version", web.page.config.version.clone())]).set(1);
    registry.register("codeops_build_info", "The daemon's version", build);
}

/// The process's own use, as Linux tells it; left out where it does not.
fn describe_process(registry: &mut Registry) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: state is field 0, utime 11, stime 12.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|text| text.parse::<u32>().ok());
    if let Some((user, system)) = ticks(11).zip(ticks(12)) {
        let cpu = Counter::<f64, AtomicU64>::default();
        // Linux reports these in hundredths of a second on every architecture (USER_HZ).
        cpu.inc_by((f64::from(user) + f64::from(system)) / 100.0);
        registry.register("process_cpu_seconds", "Processor time used", cpu);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok()) {
        let memory = Gauge::<i64>::default();
        memory.set(kib.saturating_mul(1_024));
        registry.register("process_resident_memory_bytes", "Memory held", memory);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let descriptors = Gauge::<i64>::default();
        descriptors.set(whole(open.count()));
        registry.register("process_open_fds", "Open file descriptors", descriptors);
    }
}

fn seconds(registry: &mut Registry, name: &str, help: &str, at: Option<Timestamp>) {
    if let Some(at) = at {
        let gauge = Seconds::default();
        gauge.set(at.as_duration().as_secs_f64());
        registry.register(name, help, gauge);
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
