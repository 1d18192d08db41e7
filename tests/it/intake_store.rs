//! Alerts, runs and pages in the journal on SQLite: taken in once and for good, folded the same way live and after a
//! restart, kept as a history after the memory has let go of them.
#![expect(clippy::unwrap_used, reason = "a test, and what helps it, fails by panicking")]

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::Poll;

use codeops::journal::{
    AlertPage, AlertQuery, Entry, Journal, Log, LogError, PageQuery, Query, Receipt, Record, RunQuery, SignalQuery,
};
use codeops::port::{Clock, SystemClock};
use codeops::store::{Keep, Sqlite, audit};
use codeops_core::model::{
    Alert, AlertId, AlertState, Disposition, Fingerprint, Labels, Name, PageEvent, PageId, PageOpened, Run, RunEvent,
    RunId, RunState, Signal,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::clock::ManualClock;
use crate::support::fault_log::{Crash, FaultLog, MemoryLog};

/// Where a child of these tests finds its store.
const CHILD: &str = "CODEOPS_TEST_INTAKE_STORE";

/// When the alerts of these tests began.
const BEGAN: i64 = 1_699_999_000;

fn golden(name: &str) -> Record {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records");
    serde_json::from_str(&std::fs::read_to_string(folder.join(name).with_extension("json")).unwrap()).unwrap()
}

fn opened() -> RunEvent {
    let Record::Run { event, .. } = golden("run-opened") else { panic!("a run") };
    event
}

fn page_opened() -> PageOpened {
    let Record::Page { event: PageEvent::Opened(opened), .. } = golden("page-opened") else { panic!("a page") };
    opened
}

fn ended(run: RunId, state: RunState) -> Record {
    Record::Run { run, resource: None, event: RunEvent::Ended { state, why: "so it was".to_owned() } }
}

fn receiver() -> Name {
    "alertmanager".parse().unwrap()
}

/// One of many alerts, which differ by their `app`.
fn alert(app: &str) -> Alert {
    let labels: Labels = [("alertname", "AppDown"), ("app", app)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let starts_at = Timestamp::from_second(BEGAN).unwrap();
    Alert {
        id: AlertId { source: "main".parse().unwrap(), fingerprint: Fingerprint::of(&labels), starts_at },
        receiver: receiver(),
        labels,
        annotations: Labels::new(),
        url: None,
        expires_at: None,
    }
}

fn firing(alert: Alert) -> Vec<Signal> {
    vec![Signal::Firing(Arc::new(alert))]
}

fn resolved(alert: &Alert) -> Vec<Signal> {
    let (source, fingerprint) = (alert.id.source.clone(), alert.id.fingerprint.clone());
    vec![Signal::Resolved { source, fingerprint, starts_at: None, ended_at: Timestamp::MAX, name: None }]
}

fn ids(of: &[&str]) -> Vec<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

const NEW: Receipt = Receipt { duplicate: false, new: 1 };
const NOTHING: Receipt = Receipt { duplicate: false, new: 0 };
const DUPLICATE: Receipt = Receipt { duplicate: true, new: 0 };

fn minutes(minutes: i64) -> codeops_core::model::Period {
    format!("{minutes}m").parse().unwrap()
}

fn on(folder: &Path, clock: &Arc<ManualClock>) -> Journal {
    Journal::new(Arc::new(Sqlite::open(folder, Arc::<ManualClock>::clone(clock)).unwrap()))
}

/// All entries, newest first.
async fn all(journal: &Journal) -> Vec<Entry> {
    journal.read(Query { limit: 1000, ..Query::default() }).await.unwrap().items
}

#[tokio::test]
async fn a_delivery_is_taken_once_also_after_a_restart_and_anew_after_a_day() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    let take = async |journal: &Journal, of: &[&str], signals| journal.receive(&receiver(), &ids(of), signals, 0).await;
    assert_eq!(take(&journal, &["d1", "d2"], firing(alert("shop"))).await, Ok(NEW));
    assert_eq!(take(&journal, &["d1", "d2"], firing(alert("shop"))).await, Ok(DUPLICATE));
    assert_eq!(take(&journal, &["d2"], resolved(&alert("shop"))).await, Ok(DUPLICATE), "whatever it now says");
    assert_eq!(take(&journal, &["d2", "d3"], resolved(&alert("shop"))).await, Ok(NEW), "one of its ids is new");
    let other = journal.receive(&"grafana".parse().unwrap(), &ids(&["d1"]), firing(alert("auth")), 0).await;
    assert_eq!(other, Ok(NEW), "an id is its receiver's own");
    let text = format!("{:?}", all(&journal).await);
    assert!(!text.contains("\"d1\""), "ids may be secrets of their sender: {text}");
    drop(journal);

    let journal = on(folder.path(), &clock);
    clock.advance(minutes(24 * 60 - 1));
    assert_eq!(take(&journal, &["d1"], firing(alert("shop"))).await, Ok(DUPLICATE));
    clock.advance(minutes(1));
    assert_eq!(take(&journal, &["d1"], firing(alert("shop"))).await, Ok(NEW));
    drop(journal);
    let rows = |sql: &str| -> i64 {
        Connection::open(folder.path().join("journal.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(rows("SELECT count(*) FROM deliveries"), 1, "those of the day before are gone");
    assert_eq!(
        rows("SELECT count(*) FROM deliveries WHERE receiver = 'alertmanager'"),
        1,
        "and whose they are is kept"
    );
}

/// As the third format had it.
fn back_to_one_table_of_alerts(db: &Connection) {
    db.execute_batch(
        "DROP INDEX entries_by_category;
         CREATE INDEX entries_by_category ON entries (category, seq);
         DROP INDEX alerts_over;
         ALTER TABLE alerts ADD COLUMN active INTEGER NOT NULL DEFAULT 0;
         CREATE INDEX alerts_active ON alerts (row) WHERE active = 1;
         CREATE INDEX alerts_over ON alerts (since) WHERE active = 0;
         INSERT INTO alerts SELECT row, source, name, state, since, run, body, 1 FROM active_alerts;
         DROP TABLE active_alerts;",
    )
    .unwrap();
}

#[tokio::test]
async fn alerts_that_an_older_codeops_wrote_are_still_there_those_that_are_over_too() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    for name in ["shop", "docs"] {
        journal.receive(&receiver(), &[], firing(alert(name)), 0).await.unwrap();
    }
    journal.receive(&receiver(), &[], resolved(&alert("docs")), 0).await.unwrap();
    clock.advance(minutes(60 * 24));
    journal.receive(&receiver(), &[], firing(alert("edge")), 0).await.unwrap();
    let listed =
        async |journal: &Journal| journal.alerts(AlertQuery { limit: 9, ..AlertQuery::default() }).await.unwrap();
    let (before, memory) = (listed(&journal).await, journal.memory().read().unwrap().clone());
    assert_eq!((before.items.len(), memory.response.alerts.len()), (3, 2), "one is over");
    drop(journal);
    let db = Connection::open(folder.path().join("journal.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 3;").unwrap();
    back_to_one_table_of_alerts(&db);
    drop(db);
    let journal = on(folder.path(), &clock);
    assert_eq!((listed(&journal).await, journal.memory().read().unwrap().clone()), (before, memory));
    let first = journal.alerts(AlertQuery { limit: 2, ..AlertQuery::default() }).await.unwrap();
    let rest = journal.alerts(AlertQuery { before: first.next, limit: 2, ..AlertQuery::default() }).await.unwrap();
    let names = |page: &AlertPage| page.items.iter().map(|it| it.alert.labels["app"].clone()).collect::<Vec<_>>();
    assert_eq!((names(&first), names(&rest)), (vec!["edge".to_owned(), "docs".to_owned()], vec!["shop".to_owned()]));
}

#[tokio::test]
async fn deliveries_that_an_older_codeops_wrote_are_still_known() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    let take = async |journal: &Journal| journal.receive(&receiver(), &ids(&["d1"]), firing(alert("shop")), 0).await;
    assert_eq!(take(&journal).await, Ok(NEW));
    drop(journal);
    let db = Connection::open(folder.path().join("journal.db")).unwrap();
    db.execute_batch("ALTER TABLE deliveries DROP COLUMN receiver; PRAGMA user_version = 2;").unwrap();
    back_to_one_table_of_alerts(&db);
    drop(db);
    assert_eq!(take(&on(folder.path(), &clock)).await, Ok(DUPLICATE));
}

#[tokio::test]
async fn of_many_that_bring_the_same_delivery_at_once_one_brings_it() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let journal = journal.clone();
        callers
            .spawn(async move { journal.receive(&receiver(), &ids(&["d"]), firing(alert("shop")), 0).await.unwrap() });
    }
    let receipts = callers.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.duplicate).count(), 1);
    assert_eq!(all(&journal).await.len(), 1);
}

#[tokio::test]
async fn what_is_known_already_does_not_fill_the_journal() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    let take = async |signals| journal.receive(&receiver(), &[], signals, 0).await.unwrap();
    assert_eq!(take(resolved(&alert("shop"))).await, NOTHING, "nothing is known of it");
    assert_eq!(take(firing(alert("shop"))).await, NEW);
    for _ in 0..5 {
        clock.advance(minutes(1));
        assert_eq!(take(firing(alert("shop"))).await, NOTHING);
    }
    let mut worse = alert("shop");
    worse.annotations.insert("summary".to_owned(), "worse".to_owned());
    assert_eq!(take(firing(worse.clone())).await, NEW);
    assert_eq!(take(resolved(&worse)).await, NEW);
    assert_eq!(take(resolved(&worse)).await, NOTHING);
    assert_eq!(take(firing(worse)).await, NEW, "it is back");
    assert_eq!(all(&journal).await.len(), 4);
    let spoiled = journal.receive(&receiver(), &[], Vec::new(), 3).await.unwrap();
    assert_eq!((spoiled, all(&journal).await.len()), (NOTHING, 5), "what could not be read is written down");
}

#[tokio::test]
async fn a_source_that_repeats_itself_every_minute_keeps_its_alert_alive_at_half_the_cost() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    for _ in 0..60 {
        let until = minutes(4).after(clock.now());
        journal.receive(&receiver(), &[], firing(Alert { expires_at: Some(until), ..alert("shop") }), 0).await.unwrap();
        clock.advance(minutes(1));
        let memory = journal.memory();
        let expires_at = memory.read().unwrap().response.alerts.values().next().unwrap().alert.expires_at;
        assert!(expires_at > Some(clock.now()), "one lost turn is no end");
    }
    assert_eq!(all(&journal).await.len(), 30);
}

#[tokio::test]
async fn what_closes_an_alert_is_not_lost_beside_what_opens_it() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    let both: Vec<Signal> = firing(alert("shop")).into_iter().chain(resolved(&alert("shop"))).collect();
    journal.receive(&receiver(), &[], both, 0).await.unwrap();
    let memory = journal.memory();
    assert_eq!(memory.read().unwrap().response.alerts[&alert("shop").id].state, AlertState::Resolved);
}

/// Whether what is asked for once has no answer yet: it is on its way by then.
async fn waits<T>(mut asked: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await
}

/// Another process that writes, such as a backup, holds the writer up; a sender gives up meanwhile, and what it sent is written
/// later all the same.
#[tokio::test]
async fn what_a_sender_gave_up_and_still_waits_to_be_written_counts() {
    let folder = TempDir::new().unwrap();
    let store: Arc<dyn Log> = Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap());
    let journal = Journal::new(Arc::clone(&store));
    journal.receive(&receiver(), &[], firing(alert("back")), 0).await.unwrap();
    let holder = Connection::open(folder.path().join("journal.db")).unwrap();
    for (app, given_up, then, state) in [
        ("back", resolved(&alert("back")), firing(alert("back")), AlertState::Firing),
        ("over", firing(alert("over")), resolved(&alert("over")), AlertState::Resolved),
    ] {
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let of = receiver();
        let mut first = Box::pin(journal.receive(&of, &[], given_up, 0));
        assert!(waits(first.as_mut()).await);
        drop(first);
        assert!(store.is_behind(), "{app}: it is written all the same");
        let mut told = Box::pin(journal.receive(&of, &[], then, 0));
        assert!(waits(told.as_mut()).await);
        holder.execute_batch("ROLLBACK").unwrap();
        assert_eq!(told.await, Ok(NEW), "{app}: it is no answer to what is known, but to what waits");
        let memory = journal.memory().read().unwrap().response.clone();
        assert_eq!(memory.alerts[&alert(app).id].state, state, "{app}");
    }
    let written = all(&journal).await.len();
    assert_eq!(journal.receive(&receiver(), &[], firing(alert("back")), 0).await, Ok(NOTHING));
    assert_eq!(all(&journal).await.len(), written, "and what says nothing new is left out as ever");
}

#[tokio::test]
async fn when_too_much_waits_senders_are_told_at_once_and_the_daemons_own_records_are_not() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    // Another process that writes, such as a restore, holds the writer up.
    let holder = Connection::open(folder.path().join("journal.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut senders = JoinSet::new();
    for n in 0..2000 {
        let journal = journal.clone();
        senders.spawn(async move { journal.receive(&receiver(), &[], firing(alert(&format!("app-{n}"))), 0).await });
    }
    let refused = senders.join_next().await.unwrap().unwrap();
    assert_eq!(refused, Err(LogError::Overloaded), "while nothing can be written");
    let own = journal.record(vec![golden("note")]);
    holder.execute_batch("ROLLBACK").unwrap();
    own.await.unwrap();
    let (taken, refused): (Vec<_>, Vec<_>) = senders.join_all().await.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|it| *it == Err(LogError::Overloaded)));
    assert!(taken.len() >= 700, "{}", taken.len());
    let memory = journal.memory();
    assert_eq!(memory.read().unwrap().response.alerts.len(), taken.len(), "what was refused was not taken");
    assert_eq!(journal.receive(&receiver(), &[], firing(alert("later")), 0).await, Ok(NEW), "and then it goes on");
}

#[tokio::test]
async fn a_sender_that_missed_the_answer_tries_again_and_nothing_comes_twice() {
    for (crash, again) in [(Crash::Before(0), NEW), (Crash::After(0), DUPLICATE)] {
        let log = FaultLog::new(Arc::new(SystemClock), Some(crash));
        let taken = Journal::new(log.clone()).receive(&receiver(), &ids(&["d"]), firing(alert("shop")), 0).await;
        assert!(matches!(taken, Err(LogError::Poisoned(_))));
        let journal = Journal::new(log.reopen(None));
        let taken = journal.receive(&receiver(), &ids(&["d"]), firing(alert("shop")), 0).await;
        assert_eq!(taken, Ok(again), "{crash:?}");
        let memory = journal.memory();
        assert_eq!(memory.read().unwrap().response.alerts.len(), 1);
    }
}

#[tokio::test]
async fn runs_and_pages_opened_at_once_have_ids_of_their_own_also_after_a_restart() {
    let folder = TempDir::new().unwrap();
    for round in 0..2_u64 {
        let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let journal = journal.clone();
            callers.spawn(async move {
                let left = |run| {
                    let disposition = Disposition::Run { run };
                    vec![Record::Disposed { alerts: vec![alert("shop").id], disposition }]
                };
                let mut opened_here = Vec::new();
                for _ in 0..10 {
                    let (run, entries) = journal.open_run(opened(), left).await.unwrap();
                    assert_eq!(entries.len(), 2);
                    let (page, _) = journal.open_page(page_opened(), |_| Vec::new()).await.unwrap();
                    opened_here.push((run, page));
                }
                opened_here
            });
        }
        let all: Vec<(RunId, PageId)> = callers.join_all().await.into_iter().flatten().collect();
        let expected: BTreeSet<u64> = (round * 160 + 1..=round * 160 + 160).collect();
        assert_eq!(all.iter().map(|(run, _)| run.0).collect::<BTreeSet<_>>(), expected);
        assert_eq!(all.iter().map(|(_, page)| page.0).collect::<BTreeSet<_>>(), expected);
        let memory = journal.memory();
        let memory = memory.read().unwrap();
        assert_eq!(memory.response.runs.len() as u64, 160 * (round + 1));
    }
}

#[tokio::test]
async fn what_is_over_is_found_in_the_history_page_by_page() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    for _ in 0..5 {
        let (run, _) = journal.open_run(opened(), |_| Vec::new()).await.unwrap();
        journal.record(vec![ended(run, RunState::Failed)]).await.unwrap();
        journal.open_page(page_opened(), |_| Vec::new()).await.unwrap();
    }
    // Opened and over in one go.
    let Record::Run { event, .. } = golden("run-opened-scheduled") else { panic!("a run") };
    let over = |run| vec![ended(run, RunState::Skipped)];
    let (skipped, _) = journal.open_run(event, over).await.unwrap();
    assert!(journal.memory().read().unwrap().response.runs.is_empty());

    let asked = |limit| RunQuery { limit, ..RunQuery::default() };
    let ids = |runs: &[Arc<Run>]| runs.iter().map(|run| run.id.0).collect::<Vec<_>>();
    let first = journal.runs(asked(4)).await.unwrap();
    assert_eq!((ids(&first.items), first.next), (vec![6, 5, 4, 3], Some(RunId(3))));
    let rest = journal.runs(RunQuery { before: first.next, ..asked(4) }).await.unwrap();
    assert_eq!((ids(&rest.items), rest.next), (vec![2, 1], None));
    let target = Some("app/shop".parse().unwrap());
    let on_shop = journal.runs(RunQuery { target, ..asked(100) }).await.unwrap();
    assert_eq!(on_shop.items.len(), 5);
    let nightly = RunQuery { playbook: Some("nightly".parse().unwrap()), state: Some(RunState::Skipped), ..asked(100) };
    assert_eq!(ids(&journal.runs(nightly).await.unwrap().items), [skipped.0]);
    assert_eq!(journal.run(RunId(2)).await.unwrap().unwrap().state(), RunState::Failed);
    assert_eq!(journal.run(RunId(99)).await.unwrap(), None);

    let of_run = PageQuery { run: Some(RunId(1)), limit: 3, ..PageQuery::default() };
    let pages = journal.pages(of_run).await.unwrap();
    assert_eq!((pages.items.len(), pages.next), (3, Some(PageId(3))));
    assert_eq!(journal.page(PageId(2)).await.unwrap().unwrap().title, "AppDown on app/shop");

    let log = journal.read(Query { run: Some(RunId(2)), limit: 10, ..Query::default() }).await.unwrap().items;
    assert_eq!(log.len(), 2, "one run's log");
    assert!(log.iter().all(|entry| entry.record.run() == Some(RunId(2))));
}

#[tokio::test]
async fn alerts_are_found_by_what_they_are_and_by_whom_they_were_answered() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    for app in ["a", "b", "c"] {
        journal.receive(&receiver(), &[], firing(alert(app)), 0).await.unwrap();
    }
    let answered = |run| {
        let disposition = Disposition::Run { run };
        vec![Record::Disposed { alerts: vec![alert("b").id], disposition }]
    };
    journal.open_run(opened(), answered).await.unwrap();
    journal.receive(&receiver(), &[], resolved(&alert("a")), 0).await.unwrap();
    clock.advance(minutes(90));
    journal.record(vec![golden("watchdog")]).await.unwrap();
    assert_eq!(journal.memory().read().unwrap().response.alerts.len(), 2, "one does not matter any more");
    journal.receive(&receiver(), &[], firing(alert("a")), 0).await.unwrap();

    let asked = |limit| AlertQuery { limit, ..AlertQuery::default() };
    let apps = async |query: AlertQuery| {
        let page = journal.alerts(query).await.unwrap();
        let apps = page.items.iter().map(|it| format!("{} {}", it.alert.labels["app"], it.state));
        (apps.collect::<Vec<_>>(), page.next)
    };
    let (first, next) = apps(asked(2)).await;
    assert_eq!(first, ["a firing", "c firing"]);
    let (rest, none) = apps(AlertQuery { before: next, ..asked(2) }).await;
    assert_eq!((rest, none), (ids(&["b firing", "a resolved"]), None));
    let state = Some(AlertState::Resolved);
    assert_eq!(apps(AlertQuery { state, ..asked(9) }).await.0, ["a resolved"]);
    let target = Some("app/shop".parse().unwrap());
    assert_eq!(apps(AlertQuery { target, ..asked(9) }).await.0, ["b firing"]);
    let other = AlertQuery { source: Some("other".parse().unwrap()), ..asked(9) };
    assert_eq!(apps(other).await.0, ids(&[]));
    assert_eq!(apps(AlertQuery { name: Some("AppDown".to_owned()), ..asked(9) }).await.0.len(), 4);
}

#[tokio::test]
async fn the_deliveries_of_a_period_are_read_oldest_first() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
    let journal = on(folder.path(), &clock);
    let from = clock.now();
    for n in 0..6 {
        journal.receive(&receiver(), &[], firing(alert(&format!("\"type\":\"alerts\" {n}"))), 0).await.unwrap();
        let note = Record::Note { resource: None, text: "\"type\":\"alerts\"".to_owned() };
        journal.record(vec![golden("watchdog"), golden("alertState"), note]).await.unwrap();
        clock.advance(minutes(1));
    }
    let asked = SignalQuery { from: minutes(1).after(from), to: minutes(5).after(from), after: None, limit: 3 };
    let first = journal.signals_between(asked).await.unwrap();
    let seqs = |entries: &[Entry]| entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>();
    assert_eq!(seqs(&first.items), [5, 9, 13]);
    let rest = journal.signals_between(SignalQuery { after: first.next, ..asked }).await.unwrap();
    assert_eq!((seqs(&rest.items), rest.next), (vec![17], None));
    let archive = Sqlite::open_read(folder.path()).unwrap();
    assert_eq!(archive.signals_between(&asked).unwrap(), first);
}

/// A clock that tests of retention set.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// How many alerts, runs and pages there are.
async fn histories(journal: &Journal) -> [usize; 3] {
    let alerts = journal.alerts(AlertQuery { limit: 10, ..AlertQuery::default() }).await.unwrap().items.len();
    let runs = journal.runs(RunQuery { limit: 10, ..RunQuery::default() }).await.unwrap().items.len();
    let pages = journal.pages(PageQuery { limit: 10, ..PageQuery::default() }).await.unwrap().items.len();
    [alerts, runs, pages]
}

#[tokio::test]
async fn histories_are_kept_as_long_as_entries_and_what_matters_for_as_long_as_it_does() {
    let folder = TempDir::new().unwrap();
    let day = |day: i64| {
        let hours = SignedDuration::from_hours(24 * day);
        Arc::new(At(Timestamp::from_second(BEGAN).unwrap().saturating_add(hours).unwrap()))
    };
    let open = |clock| Journal::new(Arc::new(Sqlite::open_keeping(folder.path(), clock, Keep::default()).unwrap()));
    let journal = open(day(0));
    for app in ["gone", "stays"] {
        journal.receive(&receiver(), &[], firing(alert(app)), 0).await.unwrap();
        let (run, _) = journal.open_run(opened(), |_| Vec::new()).await.unwrap();
        let (page, _) = journal.open_page(page_opened(), |_| Vec::new()).await.unwrap();
        if app == "gone" {
            journal.receive(&receiver(), &[], resolved(&alert(app)), 0).await.unwrap();
            let event = PageEvent::Withdrawn { why: "it is over".to_owned() };
            journal.record(vec![ended(run, RunState::Failed), Record::Page { page, event }]).await.unwrap();
        }
    }
    drop(journal);
    for (now, kept) in [(89, 2), (92, 1)] {
        let journal = open(day(now));
        journal.record(vec![golden("watchdog")]).await.unwrap();
        drop(journal);
        let journal = open(day(now));
        // What need not be kept goes when nothing else waits.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while histories(&journal).await != [kept; 3] && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(histories(&journal).await, [kept; 3], "day {now}");
        let memory = journal.memory();
        let memory = memory.read().unwrap();
        let response = &memory.response;
        assert_eq!((response.alerts.len(), response.runs.len(), response.pages.len()), (1, 1, 1));
    }
}

#[tokio::test]
async fn a_store_of_the_first_format_is_brought_forward_with_all_that_is_in_it() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    journal.record(vec![golden("pinned"), golden("intent")]).await.unwrap();
    let memory = journal.memory().read().unwrap().clone();
    drop(journal);
    let head = audit::head(folder.path()).unwrap();
    Connection::open(folder.path().join("journal.db"))
        .unwrap()
        .execute_batch(
            "DROP INDEX entries_by_run; ALTER TABLE entries DROP COLUMN run;
             DROP TABLE active_alerts; DROP TABLE alerts; DROP TABLE runs; DROP TABLE pages; DROP TABLE deliveries;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
    assert_eq!(*journal.memory().read().unwrap(), memory);
    journal.open_run(opened(), |_| Vec::new()).await.unwrap();
    drop(journal);
    assert!(audit::verify(folder.path(), Some(head)).unwrap().against_export);
    let verified = audit::verify(folder.path(), None).unwrap();
    assert_eq!(verified.entries, 3);
    Connection::open(folder.path().join("journal.db")).unwrap().execute("UPDATE entries SET run = 9", []).unwrap();
    assert!(audit::verify(folder.path(), None).is_err(), "the index of runs is covered too");
}

/// Not a test by itself: takes deliveries and opens runs for them for ever, and prints each that was acknowledged.
#[tokio::test]
async fn child_that_receives() {
    let Some(folder) = told() else { return };
    let journal = Journal::new(Arc::new(Sqlite::open(&folder, Arc::new(SystemClock)).unwrap()));
    let begun = journal.epoch();
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let journal = journal.clone();
        callers.spawn(async move {
            for n in 0_u64.. {
                let name = format!("{begun}-{caller}-{n}");
                journal.receive(&receiver(), &ids(&[&name]), firing(alert(&name)), 0).await.unwrap();
                println!("\nack {name}");
                let disposed = |run| {
                    let (alerts, disposition) = (vec![alert(&name).id], Disposition::Run { run });
                    vec![Record::Disposed { alerts, disposition }, ended(run, RunState::Resolved)]
                };
                let (run, _) = journal.open_run(opened(), disposed).await.unwrap();
                println!("\nrun {run} {name}");
            }
        });
    }
    callers.join_all().await;
}

#[expect(clippy::disallowed_methods, reason = "how a child of this test is told what to do")]
fn told() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[tokio::test]
async fn killed_at_any_point_no_acknowledged_alert_or_run_is_lost_and_none_comes_twice() {
    let folder = TempDir::new().unwrap();
    for cut in [1, 9, 60] {
        #[expect(clippy::disallowed_methods, reason = "a test starts itself, to be killed")]
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "intake_store::child_that_receives", "--nocapture", "--test-threads=1"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut alerts, mut runs) = (Vec::new(), Vec::new());
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", name] => alerts.push(name.to_owned()),
                ["run", run, name] => runs.push((run.parse::<RunId>().unwrap(), name.to_owned())),
                _ => {}
            }
            if alerts.len() == cut {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        audit::verify(folder.path(), None).unwrap();
        let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::new(SystemClock)).unwrap()));
        assert!(alerts.len() >= cut);
        for name in alerts {
            assert!(journal.memory().read().unwrap().response.alerts.contains_key(&alert(&name).id));
            assert_eq!(journal.receive(&receiver(), &ids(&[&name]), firing(alert(&name)), 0).await, Ok(DUPLICATE));
        }
        for (run, name) in runs {
            let found = journal.run(run).await.unwrap().unwrap();
            assert_eq!(found.state(), RunState::Resolved);
            let disposition = Disposition::Run { run };
            let memory = journal.memory();
            assert_eq!(memory.read().unwrap().response.alerts[&alert(&name).id].disposition, disposition);
        }
    }
}

/// Any record about one of a few alerts, runs and pages, as a JSON document.
fn any_record() -> impl Strategy<Value = Value> {
    let names = [
        "alertState",
        "disposed",
        "disposed-left",
        "disposed-quiet",
        "renewed",
        "disposed-received",
        "disposed-waits",
        "run-opened",
        "run-opened-scheduled",
        "run-joined",
        "run-asked",
        "run-stepSkipped",
        "run-stepBegun",
        "run-stepEnded",
        "run-stepEnded-failed",
        "run-raised",
        "run-turned",
        "run-paused",
        "run-ended",
        "page-opened",
        "page-opened-silent",
        "page-begun",
        "page-failed",
        "page-accepted",
        "page-withdrawn",
        "page-closed",
        "scheduled",
        "watchdog",
        "latched",
        "unlatched",
        "renamed",
        "forgotten",
    ];
    let id = |n: u8| alert(&format!("app-{}", n % 6)).id.to_string();
    let signals = (0..6_u8, 0..4_u8, prop::option::of(0..20_i64)).prop_map(move |(app, kind, expires)| {
        let mut alert = serde_json::to_value(alert(&format!("app-{app}"))).unwrap();
        let fingerprint = id(app).split('/').nth(1).unwrap().to_owned();
        if let Some(expires) = expires {
            alert["expires_at"] = json!(Timestamp::from_second(BEGAN + expires * 60).unwrap());
        }
        match kind {
            0 | 1 => json!({"firing": alert}),
            2 => json!({"resolved": {"source": "main", "fingerprint": fingerprint, "startsAt": null,
                "endedAt": "2026-11-20T08:29:00Z"}}),
            _ => json!({"silenced": {"source": "main", "fingerprint": fingerprint}}),
        }
    });
    let delivery = prop::collection::vec(0..9_u8, 0..3)
        .prop_map(|ids| ids.iter().map(|id| format!("{id:02x}").repeat(16)).collect::<Vec<_>>());
    let alerts = (prop::collection::vec(signals, 0..5), delivery).prop_map(|(signals, delivery)| {
        json!({"type": "alerts", "receiver": "alertmanager", "delivery": delivery, "signals": signals, "spoiled": 0})
    });
    let others = (prop::sample::select(names.to_vec()), 0..6_u8, 1..6_u64).prop_map(move |(name, app, number)| {
        let mut record = serde_json::to_value(golden(name)).unwrap();
        for (key, value) in [
            ("alerts", json!([id(app)])),
            ("run", json!(RunId(number))),
            ("page", json!(PageId(number))),
            ("disposition", json!({"run": {"run": RunId(number)}})),
        ] {
            if record.get(key).is_some() && (key != "disposition" || name == "disposed") {
                record[key] = value;
            }
        }
        record
    });
    prop_oneof![alerts, others]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_live_and_reopened_and_of_all_entries_is_the_same_and_so_is_the_history(
        groups in prop::collection::vec((prop::collection::vec(any_record(), 1..8), 0..90_i64), 1..24),
        cut in 0..24_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new());
            let mut journal = on(folder.path(), &clock);
            let plain = MemoryLog::new(Arc::<ManualClock>::clone(&clock));
            for (n, (group, minute)) in groups.into_iter().enumerate() {
                let group: Vec<Record> = group.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect();
                journal.record(group.clone()).await.unwrap();
                plain.append(group).await.unwrap();
                if n == cut {
                    let live = journal.memory().read().unwrap().clone();
                    drop(journal);
                    journal = on(folder.path(), &clock);
                    prop_assert_eq!(journal.memory().read().unwrap().clone(), live);
                }
                clock.advance(minutes(minute));
            }
            let live = journal.memory().read().unwrap().clone();
            let folded = plain.memory().read().unwrap().clone();
            prop_assert_eq!(&live, &folded);
            let asked = AlertQuery { limit: 1000, ..AlertQuery::default() };
            prop_assert_eq!(journal.alerts(asked.clone()).await.unwrap(), plain.alerts(asked).await.unwrap());
            let asked = RunQuery { limit: 1000, ..RunQuery::default() };
            prop_assert_eq!(journal.runs(asked.clone()).await.unwrap(), plain.runs(asked).await.unwrap());
            let asked = PageQuery { limit: 1000, ..PageQuery::default() };
            prop_assert_eq!(journal.pages(asked.clone()).await.unwrap(), plain.pages(asked).await.unwrap());
            drop(journal);
            prop_assert_eq!(on(folder.path(), &clock).memory().read().unwrap().clone(), live);
            audit::verify(folder.path(), None).unwrap();
            Ok(())
        })?;
    }
}

/// How many bytes this journal's deliveries take as JSON.
fn written(log: &FaultLog) -> usize {
    log.entries().iter().map(|entry| serde_json::to_string(&entry.record).unwrap().len()).sum()
}

/// An alert with so many bytes of labels.
fn large(app: &str, bytes: usize) -> Alert {
    let mut alert = alert(app);
    alert.labels.extend((0..bytes / 4_000).map(|n| (format!("l{n}"), "x".repeat(4_000))));
    alert.id.fingerprint = Fingerprint::of(&alert.labels);
    alert
}

#[tokio::test]
async fn one_alert_that_comes_and_goes_fills_no_disk_and_costs_no_other_receiver() {
    let clock = ManualClock::new();
    let log = FaultLog::new(Arc::<ManualClock>::clone(&clock), None);
    let journal = Journal::new(Arc::<FaultLog>::clone(&log));
    let flap = async |rounds: usize| {
        let mut refused = 0;
        for _ in 0..rounds {
            let fires = journal.receive(&receiver(), &[], firing(large("shop", 1_000_000)), 0).await;
            refused += usize::from(fires == Err(LogError::Full));
            let over = journal.receive(&receiver(), &[], resolved(&large("shop", 1_000_000)), 0).await;
            assert!(over.is_ok(), "what is over is taken: {over:?}");
        }
        refused
    };
    assert!(flap(400).await > 100, "it is told to come again");
    let burst = written(&log);
    assert!(burst < 300_000_000, "{burst}");
    let memory = |of: &Journal| of.memory().read().unwrap().response.clone();
    assert_eq!(memory(&journal).full(log.now()), [&receiver()].into());

    // What is told by others, and by it once there is room, is taken.
    let other: Name = "grafana".parse().unwrap();
    assert_eq!(journal.receive(&other, &ids(&["1"]), firing(alert("auth")), 0).await, Ok(NEW));
    assert_eq!(journal.receive(&receiver(), &[], firing(alert("small")), 0).await, Err(LogError::Full));
    clock.advance(minutes(60));
    flap(400).await;
    let hour = written(&log) - burst;
    assert!((100_000_000..125_000_000).contains(&hour), "32 KiB a second: {hour}");
    clock.advance(minutes(24 * 60));
    assert_eq!(journal.receive(&receiver(), &[], firing(alert("small")), 0).await, Ok(NEW));
    assert!(memory(&journal).full(log.now()).is_empty());
}

#[tokio::test]
async fn what_brings_nothing_fills_no_disk_either() {
    let clock = ManualClock::new();
    let log = FaultLog::new(Arc::<ManualClock>::clone(&clock), None);
    let journal = Journal::new(Arc::<FaultLog>::clone(&log));
    let spend = |bytes: u64| {
        let spent = codeops_core::model::Spent { bytes, at: log.now() };
        let memory = Log::memory(&*log);
        memory.write().unwrap().response.spent.insert(receiver(), spent);
    };
    journal.receive(&receiver(), &[], firing(alert("shop")), 0).await.unwrap();
    spend(codeops_core::model::Spent::MOST);
    let nothing = async |id: &str| journal.receive(&receiver(), &ids(&[id]), Vec::new(), 0).await;
    assert_eq!(nothing("1").await, Ok(NOTHING), "that takes little");
    spend(codeops_core::model::Spent::MOST + codeops_core::model::Spent::RESERVE);
    let before = log.entries().len();
    assert_eq!(nothing("2").await, Err(LogError::Full));
    assert_eq!(journal.receive(&receiver(), &[], Vec::new(), 1).await, Err(LogError::Full));
    // Of many ends, and ends of what is not known, the one that closes something is taken.
    let stranger = resolved(&alert("stranger"));
    let many: Vec<Signal> =
        (0..100).flat_map(|_| resolved(&alert("shop")).into_iter().chain(stranger.clone())).collect();
    let of = receiver();
    let under_way = tokio::join!(journal.receive(&of, &[], many, 0), journal.receive(&of, &[], stranger.clone(), 0));
    assert_eq!(under_way.0, Err(LogError::Full));
    let entries = log.entries();
    let signals = entries[before..].iter().map(|entry| match &entry.record {
        Record::Alerts { signals, .. } => signals.len(),
        _ => 0,
    });
    assert_eq!(signals.sum::<usize>(), 1);
    let memory = journal.memory().read().unwrap().response.clone();
    assert_eq!(memory.alerts[&alert("shop").id].state, AlertState::Resolved);
}

#[tokio::test]
async fn a_storm_of_ordinary_alerts_is_taken_at_once() {
    let log = FaultLog::new(ManualClock::new(), None);
    let journal = Journal::new(Arc::<FaultLog>::clone(&log));
    for n in 0..50 {
        let signals = (0..1_000).flat_map(|k| firing(large(&format!("{n}-{k}"), 0))).collect();
        journal.receive(&receiver(), &ids(&[&n.to_string()]), signals, 0).await.unwrap();
    }
    let memory = journal.memory().read().unwrap().response.clone();
    assert!(memory.full(log.now()).is_empty());
    assert!(memory.spent_of(&receiver(), log.now()) < codeops_core::model::Spent::MOST / 10);
}

#[tokio::test]
async fn an_alert_that_still_fires_writes_only_until_when() {
    let clock = ManualClock::new();
    let log = FaultLog::new(Arc::<ManualClock>::clone(&clock), None);
    let journal = Journal::new(Arc::<FaultLog>::clone(&log));
    let told = |of: &FaultLog| {
        let expires_at = of.now().checked_add(SignedDuration::from_mins(4)).ok();
        firing(Alert { expires_at, ..large("shop", 200_000) })
    };
    journal.receive(&receiver(), &[], told(&log), 0).await.unwrap();
    let first = written(&log);
    for _ in 0..10 {
        clock.advance(minutes(3));
        assert_eq!(journal.receive(&receiver(), &[], told(&log), 0).await, Ok(NEW));
    }
    assert!(written(&log) - first < 10 * 500, "{}", written(&log) - first);
    let memory = journal.memory().read().unwrap().response.clone();
    let known = &memory.alerts[&large("shop", 200_000).id];
    let until = log.now().checked_add(SignedDuration::from_mins(4)).ok();
    assert_eq!((known.state, known.alert.expires_at), (AlertState::Firing, until));
    assert!(known.alert.labels.len() > 40, "what it is stays known");
    // In other words it is written whole.
    let mut other = large("shop", 200_000);
    other.annotations.insert("summary".to_owned(), "worse".to_owned());
    journal.receive(&receiver(), &[], firing(other), 0).await.unwrap();
    assert!(written(&log) - first > 200_000);
}
