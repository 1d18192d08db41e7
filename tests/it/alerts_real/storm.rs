//! Fifty thousand alerts at once: each that was acknowledged is answered, or told of in a page.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use codeops_core::model::{AlertMemory, Disposition, Memory, RunId};
use tokio::time::Instant;

use super::world::{Daemon, TOKEN, people, request};
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::sink::{HttpSink, Reply};

const ALERTS: usize = 50_000;
/// As many as an Alertmanager sends at once where many fire.
const BATCH: usize = 100;
const SENDERS: usize = 8;
/// What the daemon may have in memory in all of it.
const MEMORY: u64 = 768 << 20;
/// A storm page leaves at most once a minute: the last of the alerts wait for the next.
const PATIENCE: Duration = Duration::from_secs(150);

const REPOSITORY: &str = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\n\
    spec: {defaults: {provider: local}, resolveDelay: 2s}\n";
/// Half of the alerts have a playbook that takes each for itself; the others nobody expected.
const PLAYBOOK: &str = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: slow, team: core}\nspec:\n  \
    on: {alert: {alertname: Slow}}\n  concurrency: {per: playbook, whenBusy: queue}\n  \
    steps: [{name: proof, wait: resolved, timeout: 2s}]\n---\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_fifty_thousand_alerts_loses_none() {
    let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("answer.yaml", &format!("{PLAYBOOK}{}", people(&sink.url("/page"))));
    repo.commit("First");
    let settings = "fallback: oncall\nreceivers: {storm: {format: generic, auth: {bearer: {file: TOKEN}}}}\n";
    let daemon = Daemon::start(repo, settings).await;

    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let refused: usize = std::thread::scope(|scope| {
        let send = || {
            let mut refused = 0;
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= ALERTS {
                    return refused;
                }
                refused += deliver(&daemon, first);
            }
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("no answer but 200 and 503")).sum()
    });
    println!("{ALERTS} alerts acknowledged in {:?}, {refused} deliveries told to come again", began.elapsed());

    let deadline = Instant::now() + PATIENCE;
    let memory = loop {
        let memory = daemon.memory();
        let waiting = waiting(&memory);
        if memory.response.alerts.len() == ALERTS && waiting == 0 {
            break memory;
        }
        assert!(
            Instant::now() < deadline,
            "{waiting} of {} still wait\n{}",
            memory.response.alerts.len(),
            daemon.log()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    println!("each has its receipt after {:?}", began.elapsed());
    let receipts = receipts(memory.response.alerts.values().map(|alert| &**alert));
    println!("{receipts:?}, {} pages", sink.taken().len());
    assert!(sink.taken().len() < 100, "a storm of pages: {}", sink.taken().len());
    let untold = receipts.keys().filter(|why| why.starts_with("latched")).count();
    assert_eq!(untold, 0, "alerts that nobody was told of: {receipts:?}");
    let told = sink.taken().iter().any(|page| page.body.contains("alert storm"));
    assert!(told, "no page tells of the storm");
    let peak = peak(daemon.pid());
    println!("the daemon had {} MiB at most", peak >> 20);
    assert!(peak < MEMORY, "the daemon had {} MiB", peak >> 20);
}

/// Delivers one batch until it is acknowledged; answers how often it was told to come again.
fn deliver(daemon: &Daemon, first: usize) -> usize {
    let alert = |n: usize| {
        let name = if n.is_multiple_of(2) { "Slow" } else { "Unexpected" };
        format!(r#"{{"labels":{{"alertname":"{name}","host":"h{n}"}},"startsAt":"2026-11-20T10:00:00Z"}}"#)
    };
    let alerts: Vec<String> = (first..(first + BATCH).min(ALERTS)).map(alert).collect();
    let body = format!(r#"{{"alerts":[{}]}}"#, alerts.join(","));
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    for refused in 0..1_000 {
        match request(daemon.hooks, "POST /hooks/alerts/storm", &headers, &body) {
            Some((200, _)) => return refused,
            Some((503, _)) | None => std::thread::sleep(Duration::from_millis(20)),
            Some((status, answer)) => panic!("{status}: {answer}"),
        }
    }
    panic!("a delivery was never taken")
}

/// How many alerts have no receipt, or one of a run that is still on.
fn waiting(memory: &Memory) -> usize {
    let on = |run: &RunId| memory.response.runs.contains_key(run);
    let waits = |alert: &AlertMemory| match &alert.disposition {
        Disposition::Received | Disposition::Waits { .. } | Disposition::Quiet { .. } => true,
        Disposition::Run { run } => on(run),
        Disposition::Left { .. } => false,
    };
    memory.response.alerts.values().filter(|alert| waits(alert)).count()
}

/// What became of how many.
fn receipts<'a>(alerts: impl Iterator<Item = &'a AlertMemory>) -> BTreeMap<String, usize> {
    let mut receipts = BTreeMap::new();
    for alert in alerts {
        let what = match &alert.disposition {
            Disposition::Received => "received".to_owned(),
            Disposition::Waits { why } | Disposition::Quiet { why } | Disposition::Left { why } => why.clone(),
            Disposition::Run { run } => format!("run {run}"),
        };
        *receipts.entry(what).or_default() += 1;
    }
    receipts
}

/// The most memory a process has had, in bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
