//! The journal's own share of durable intake, without HTTP: deliveries of one new alert each from 16 senders at once, each of
//! which waits until its own is on the disk, against the same bytes appended to a plain file. And the memory that a daemon's
//! store needs for many alerts and runs. `alerts` measures intake as senders see it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use codeops::journal::{Journal, Record};
use codeops::port::SystemClock;
use codeops::store::Sqlite;
use codeops_core::model::{Alert, AlertId, Disposition, Fingerprint, Labels, RunEvent, Signal};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plain::Plain;
use super::table::{Row, quantile};

/// The word that starts this program as the one whose memory is measured.
pub(crate) const WORD: &str = "intake-memory";

const CALLERS: usize = 16;
const TURNS: usize = 5;
const LASTS: Duration = Duration::from_secs(2);
const ALERTS: usize = 10_000;
const RUNS: usize = 1_000;

pub(crate) fn measure() -> Vec<Row> {
    // Beside the build and not in the temporary folder, which often is memory and syncs for nothing.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let state = folder.path().join("state");
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let journal = Journal::new(Arc::new(Sqlite::open(&state, Arc::new(SystemClock)).unwrap()));
        let counted = Arc::new(AtomicU64::new(0));
        for turn in 0..TURNS {
            let raw = plain(&folder.path().join(format!("plain{turn}")), &counted).await;
            let taken = intake(&journal, &counted).await;
            ratios.push((taken.len() as f64 / raw as f64, raw as f64 / LASTS.as_secs_f64()));
            times.extend(taken);
        }
    });
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, raw) = ratios[TURNS / 2];
    let how = format!("{:.0} % of {raw:.0}/s appended to a plain file", ratio * 100.0);
    let kib = runtime.block_on(memory(&folder.path().join("many")));
    vec![
        Row::told("intake", "the journal alone, without HTTP, 16 senders", how),
        Row::p99("intake", "… until it is on the disk", Duration::from_millis(20), &times),
        Row::told("intake", "… the slowest", format!("{:.1} ms", quantile(&times, 1.0).as_secs_f64() * 1e3)),
        Row::memory("intake", "store with 10,000 active alerts and 1,000 queued runs", 128, &[kib]),
    ]
}

/// An alert that was never there before, as one of a few hundred bytes that Alertmanager sends.
fn alert(counted: &AtomicU64) -> Alert {
    let number = counted.fetch_add(1, Ordering::Relaxed);
    let label = |(name, value): (&str, String)| (name.to_owned(), value);
    let labels: Labels = BTreeMap::from(
        [
            ("alertname", "AppDown".to_owned()),
            ("app", format!("shop-{}", number % 500)),
            ("instance", format!("10.1.{}.{}:9100", number / 250, number % 250)),
            ("job", "apps".to_owned()),
            ("severity", "page".to_owned()),
        ]
        .map(label),
    );
    let summary = "the app has not answered its check for a minute; see the runbook".to_owned();
    Alert {
        id: AlertId {
            source: "main".parse().unwrap(),
            fingerprint: Fingerprint::of(&labels),
            starts_at: Timestamp::from_second(1_795_163_400).unwrap(),
        },
        receiver: "alertmanager".parse().unwrap(),
        labels,
        annotations: BTreeMap::from([label(("summary", summary))]),
        url: Some("http://prometheus.example:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1".to_owned()),
        expires_at: None,
    }
}

fn signals(counted: &AtomicU64) -> Vec<Signal> {
    vec![Signal::Firing(Arc::new(alert(counted)))]
}

/// How long each delivery took that was taken in the time given.
async fn intake(journal: &Journal, counted: &Arc<AtomicU64>) -> Vec<Duration> {
    let mut callers = JoinSet::new();
    let end = Instant::now() + LASTS;
    for _ in 0..CALLERS {
        let (journal, counted) = (journal.clone(), Arc::clone(counted));
        callers.spawn(async move {
            let receiver = "alertmanager".parse().unwrap();
            let mut times = Vec::new();
            while Instant::now() < end {
                let (signals, id) = (signals(&counted), counted.load(Ordering::Relaxed).to_string());
                let begun = Instant::now();
                let receipt = journal.receive(&receiver, &[id], signals, 0).await.unwrap();
                times.push(begun.elapsed());
                assert!(receipt.new == 1 || receipt.duplicate);
            }
            times
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// How many of the same were appended to a plain file by the same number of callers.
async fn plain(path: &Path, counted: &Arc<AtomicU64>) -> usize {
    let (file, writer) = Plain::create(path);
    let mut callers = JoinSet::new();
    let end = Instant::now() + LASTS;
    for _ in 0..CALLERS {
        let (file, counted) = (file.clone(), Arc::clone(counted));
        callers.spawn(async move {
            let receiver = "alertmanager".parse::<codeops_core::model::Name>().unwrap();
            let mut done = 0;
            while Instant::now() < end {
                let delivery = vec![codeops::journal::delivery_id(&receiver, "1")];
                let signals = signals(&counted);
                let record = Record::Alerts { receiver: receiver.clone(), delivery, signals, spoiled: 0 };
                file.append(serde_json::to_vec(&record).unwrap()).await;
                done += 1;
            }
            done
        });
    }
    drop(file);
    let done = callers.join_all().await.into_iter().sum();
    writer.join().unwrap();
    done
}

/// KiB that a process needs, all in all, which opens a store of many alerts and runs.
async fn memory(state: &Path) -> u64 {
    let journal = Journal::new(Arc::new(Sqlite::open(state, Arc::new(SystemClock)).unwrap()));
    let opened: RunEvent = serde_json::from_str(&opened()).unwrap();
    let counted = AtomicU64::new(0);
    for _ in 0..ALERTS / 100 {
        let alerts: Vec<Alert> = (0..100).map(|_| alert(&counted)).collect();
        let ids: Vec<AlertId> = alerts.iter().map(|alert| alert.id.clone()).collect();
        let signals = alerts.into_iter().map(|alert| Signal::Firing(Arc::new(alert))).collect();
        journal.receive(&"alertmanager".parse().unwrap(), &[], signals, 0).await.unwrap();
        for alerts in ids.chunks(ALERTS / RUNS) {
            let (event, alerts) = (opened.clone(), alerts.to_vec());
            let disposed = |run| vec![Record::Disposed { alerts, disposition: Disposition::Run { run } }];
            journal.open_run(event, disposed).await.unwrap();
        }
    }
    drop(journal);
    #[expect(clippy::disallowed_methods, reason = "a bench starts itself, to be measured from its beginning")]
    let child = Command::new(std::env::current_exe().unwrap()).arg(WORD).arg(state).output().unwrap();
    String::from_utf8(child.stdout).unwrap().trim().parse().unwrap()
}

/// Opens the store and tells the KiB that this process takes.
pub(crate) fn tell(arguments: &[String]) -> ExitCode {
    let store = Sqlite::open(Path::new(&arguments[0]), Arc::new(SystemClock)).unwrap();
    let memory = codeops::journal::Log::memory(&store);
    let response = memory.read().unwrap().response.clone();
    assert_eq!((response.alerts.len(), response.runs.len()), (ALERTS, RUNS));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    println!("{}", line.split_whitespace().nth(1).unwrap());
    ExitCode::SUCCESS
}

/// A run's first event, as the golden file has it.
fn opened() -> String {
    let file = include_str!("../../tests/golden/records/run-opened.json");
    let record: serde_json::Value = serde_json::from_str(file).unwrap();
    record["event"].to_string()
}
