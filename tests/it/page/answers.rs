//! Alerts, runs and pages for the page to show: one that was proven over, one that is on, one that came to a person, one on a
//! schedule that calls another, and alerts that nothing answers; with labels that try to be markup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops::journal::{Outcome, Record};
use codeops_core::model::{
    Action, Alert, AlertId, CatchUp, CauseKind, Concurrency, Disposition, Does, Fingerprint, Key, Labels, Limits,
    Matcher, Notified, OnError, PageEvent, PageId, PageOpened, Part, Period, Playbook, PlaybookStep, ResourceId, Retry,
    RunCause, RunEvent, RunId, RunState, Rung, Schedule, Signal, StepOutcome, StepRef, Trigger, WaitFor,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::fixture::{EVIL, MemoryLog, ago, app, name, revision};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An alert that began so many seconds ago.
pub(crate) fn alert(alertname: &str, on: &str, secs: i64) -> Arc<Alert> {
    let labels = labels(&[("alertname", alertname), ("app", on), ("severity", "critical"), ("pod", EVIL)]);
    let id = AlertId { source: name("main"), fingerprint: Fingerprint::of(&labels), starts_at: at_ms(secs) };
    let annotations = [("summary".to_owned(), format!("{on} does not answer {EVIL}"))].into();
    let url = Some("http://prometheus.example/graph".to_owned());
    Arc::new(Alert { id, receiver: name("alertmanager"), labels, annotations, url, expires_at: None })
}

fn at_ms(secs: i64) -> Timestamp {
    Timestamp::from_millisecond(ago(secs).as_millisecond()).expect("the fixture is valid")
}

fn step(text: &str, does: Does) -> PlaybookStep {
    let (when, timeout, retry, on_error) = (None, None, None, OnError::Otherwise);
    PlaybookStep { name: name(text), does, when, timeout, retry, on_error, idempotent: false }
}

fn action(action: Action) -> Does {
    Does::Action { action, target: None, with: BTreeMap::new() }
}

fn resolved() -> Does {
    Does::Wait { what: WaitFor::Resolved, quiet: Period::default() }
}

fn playbook(text: &str, on: Trigger, steps: Vec<PlaybookStep>, otherwise: Option<Vec<PlaybookStep>>) -> Arc<Playbook> {
    Arc::new(Playbook {
        name: name(text),
        team: name("storefront"),
        folder: "playbooks".to_owned(),
        on,
        target: None,
        concurrency: Concurrency::default(),
        limits: Limits { timeout: Period::default(), runs: None },
        steps,
        otherwise,
    })
}

/// The playbook that answers most.
pub(crate) fn app_down() -> Arc<Playbook> {
    let matcher: Matcher = "alertname=AppDown".parse().expect("the fixture is valid");
    let mut restart = step("restart", action(Action::AppRestart));
    restart.retry = Some(Retry { attempts: 2, backoff: Period::default() });
    let steps =
        vec![step("look", Does::Script { file: "scripts/look.sh".to_owned() }), restart, step("proof", resolved())];
    let otherwise = vec![
        step("replace", action(Action::AppReplace)),
        step("proof", resolved()),
        step("call", Does::Page { policy: None }),
    ];
    playbook("app-down", Trigger::Alert(vec![matcher]), steps, Some(otherwise))
}

/// Writes one run's log.
pub(crate) struct Story<'a> {
    log: &'a MemoryLog,
    run: RunId,
    target: Option<ResourceId>,
    /// Seconds ago.
    secs: i64,
}

impl<'a> Story<'a> {
    /// Opens it.
    pub(crate) fn open(
        log: &'a MemoryLog,
        run: u64,
        secs: i64,
        playbook: Arc<Playbook>,
        target: Option<&str>,
        cause: RunCause,
        alert: Value,
    ) -> Self {
        let event = RunEvent::Opened {
            authority: playbook.team.clone(),
            playbook,
            revision: revision('3'),
            target: target.map(app),
            cause,
            rung: Rung::Steps,
            policy: Some(name("storefront-oncall")),
            alert,
            group: None,
            because: None,
            owner: None,
            mark: None,
        };
        log.add(ago(secs), Record::Run { run: RunId(run), resource: target.map(app), event });
        Self { log, run: RunId(run), target: target.map(app), secs }
    }

    /// For an alert, which came in at the same time.
    pub(crate) fn answer(log: &'a MemoryLog, run: u64, alert: &Arc<Alert>, on: &str, secs: i64) -> Self {
        let seen = json!({"source": "main", "fingerprint": alert.id.fingerprint, "labels": alert.labels,
            "annotations": alert.annotations, "startsAt": alert.id.starts_at.to_string(), "url": alert.url});
        fire(log, alert, secs);
        let cause = RunCause::Alert { alert: alert.id.clone() };
        let story = Self::open(log, run, secs, app_down(), Some(on), cause, seen);
        dispose(log, alert, secs, Disposition::Run { run: RunId(run) });
        story
    }

    pub(crate) fn then(&mut self, after: i64, event: RunEvent) {
        self.secs -= after;
        let resource = self.target.clone().filter(|_| matches!(event, RunEvent::Ended { .. }));
        self.log.add(ago(self.secs), Record::Run { run: self.run, resource, event });
    }

    pub(crate) fn begin(&mut self, part: Part, index: u32, attempt: u32) {
        let deadline = ago(self.secs - 180);
        let key = Key(format!("memory:1:{}:{index}:{attempt}", self.run));
        self.then(1, RunEvent::StepBegun { step: StepRef { part, index }, attempt, key, deadline });
    }

    pub(crate) fn end(&mut self, part: Part, index: u32, after: i64, outcome: StepOutcome, evidence: &str) {
        let (step, evidence) = (StepRef { part, index }, evidence.to_owned());
        self.then(after, RunEvent::StepEnded { step, attempt: 1, outcome, evidence });
    }

    pub(crate) fn over(&mut self, state: RunState, why: &str) {
        self.then(1, RunEvent::Ended { state, why: why.to_owned() });
    }
}

fn fire(log: &MemoryLog, alert: &Arc<Alert>, secs: i64) {
    let signals = vec![Signal::Firing(Arc::clone(alert))];
    log.add(ago(secs), Record::Alerts { receiver: name("alertmanager"), delivery: Vec::new(), signals, spoiled: 0 });
}

fn dispose(log: &MemoryLog, alert: &Arc<Alert>, secs: i64, disposition: Disposition) {
    log.add(ago(secs), Record::Disposed { alerts: vec![alert.id.clone()], disposition });
}

fn resolve(log: &MemoryLog, alert: &Alert, secs: i64) {
    let (source, fingerprint) = (alert.id.source.clone(), alert.id.fingerprint.clone());
    let signals = vec![Signal::Resolved { source, fingerprint, starts_at: None, ended_at: ago(secs), name: None }];
    log.add(ago(secs), Record::Alerts { receiver: name("alertmanager"), delivery: Vec::new(), signals, spoiled: 0 });
}

pub(crate) fn done(output: Value) -> StepOutcome {
    StepOutcome::Done { output }
}

fn failed(error: &str) -> StepOutcome {
    StepOutcome::Failed { error: error.to_owned() }
}

/// All of it.
pub(crate) fn answers(log: &MemoryLog) {
    helped(log);
    paged(log);
    scheduled(log);
    let quiet = alert("DiskSlow", "search", 700);
    fire(log, &quiet, 700);
    dispose(log, &quiet, 700, Disposition::Quiet { why: "muted by the mute time nights".to_owned() });
    let on = alert("AppDown", "shop", 60);
    let mut run = Story::answer(log, 5, &on, "shop", 60);
    run.begin(Part::Steps, 0, 1);
    run.end(Part::Steps, 0, 2, done(json!({"free": 12, "verdict": EVIL})), &format!("df -h\n/dev/vda1 42% /\n{EVIL}"));
    run.begin(Part::Steps, 1, 1);
    run.end(Part::Steps, 1, 9, done(Value::Null), "");
    run.begin(Part::Steps, 2, 1);
}

/// An event, a step, a run, a call and an alert of one team, and some of none, each with a text; `forged` tries to make an item one
/// team's.
pub(crate) fn guesses(log: &MemoryLog, text: &str, forged: &str) {
    let fires = |receiver: &str, what: &str| {
        let mut alert = Arc::unwrap_or_clone(alert("AppDown", receiver, 30));
        alert.receiver = name(receiver);
        alert.labels.insert("team".to_owned(), "storefront".to_owned());
        alert.annotations.insert("summary".to_owned(), format!("{what} {forged}{text}"));
        alert.id.fingerprint = Fingerprint::of(&alert.labels);
        let signals = vec![Signal::Firing(Arc::new(alert))];
        log.add(ago(30), Record::Alerts { receiver: name(receiver), delivery: Vec::new(), signals, spoiled: 0 });
    };
    fires("storefronts", "alert-of-team");
    fires("alertmanager", "alert-of-all");
    let cause = RunCause::Schedule { due: ago(30) };
    let mut run = Story::open(log, 9, 30, app_down(), None, cause, Value::Null);
    run.then(0, RunEvent::Paused { why: Some(format!("run-of-team {forged}{text}")) });
    // A run of this team may answer what another's alert carries.
    for (id, receiver, what) in [(10, "storefronts", "seen-of-team"), (11, "alertmanager", "seen-of-all")] {
        let cause = RunCause::Schedule { due: ago(30) };
        let carried = serde_json::json!({
            "receiver": receiver,
            "labels": {"alertname": format!("{what} {text}")},
            "annotations": {"summary": format!("{what} {text}")},
        });
        Story::open(log, id, 30, app_down(), None, cause, carried);
    }
    for (page, run, what) in [(8, Some(RunId(9)), "call-of-team"), (9, None, "call-of-all")] {
        let (title, body) = (format!("{what} {forged}{text}"), format!("{what} {forged}{text}"));
        let event = PageEvent::Opened(PageOpened { run, title, body, ..PageOpened::default() });
        log.add(ago(20), Record::Page { page: PageId(page), event });
    }
    let accepted = Record::RevisionAccepted {
        revision: revision('3'),
        owner: "acme-ops/prod".parse().expect("the fixture is valid"),
        commits: Vec::new(),
        blast_percent: 25,
        files: BTreeMap::new(),
        by_file: BTreeMap::new(),
        gone: BTreeSet::new(),
        claims: BTreeMap::new(),
        changed: BTreeMap::new(),
        asked: BTreeMap::new(),
    };
    log.add(ago(15), accepted);
    let intent = Record::Intent {
        key: Key("memory:1:8".to_owned()),
        resource: app("cart"),
        team: name("storefront"),
        provider: name("local"),
        word: "start".to_owned(),
        subject: "9f86d081-1".to_owned(),
        cause: "revision".to_owned(),
        cause_kind: Some(CauseKind::Revision),
    };
    let intent = log.add(ago(12), intent);
    let outcome = Outcome::Done { note: Some(format!("step-of-team {forged}{text}")) };
    log.add(ago(11), Record::Result { intent, resource: app("cart"), what: None, aim: None, outcome });
    let what = format!("event-of-team {forged}{text}");
    log.add(ago(10), Record::Drift { resource: app("shop"), what });
    log.add(ago(5), Record::Source { error: Some(format!("event-of-all {forged}{text}")), held: None });
}

/// The run that is on comes to its end.
pub(crate) fn proven(log: &MemoryLog) {
    let mut run = Story { log, run: RunId(5), target: Some(app("shop")), secs: 2 };
    run.end(Part::Steps, 2, 1, done(Value::Null), "");
    run.over(RunState::Resolved, "the alert is over and it stayed away");
}

/// A restart that helped.
fn helped(log: &MemoryLog) {
    let down = alert("AppDown", "cart", 7_000);
    let mut run = Story::answer(log, 1, &down, "cart", 7_000);
    run.begin(Part::Steps, 0, 1);
    run.end(Part::Steps, 0, 1, done(json!("all is well with the disk")), "");
    run.begin(Part::Steps, 1, 1);
    run.end(Part::Steps, 1, 12, done(Value::Null), "");
    run.begin(Part::Steps, 2, 1);
    resolve(log, &down, 6_940);
    run.end(Part::Steps, 2, 40, done(Value::Null), "");
    run.over(RunState::Resolved, "the alert is over and stayed so");
}

/// Nothing helped; a person was called.
fn paged(log: &MemoryLog) {
    let down = alert("AppDown", "pricing", 2_100);
    let mut run = Story::answer(log, 2, &down, "pricing", 2_100);
    run.begin(Part::Steps, 0, 1);
    run.end(Part::Steps, 0, 3, failed(&format!("it ended with code 3: {EVIL}")), "cannot read the disk\n");
    run.then(0, RunEvent::Turned { why: "step look failed".to_owned() });
    run.begin(Part::Otherwise, 0, 1);
    run.end(Part::Otherwise, 0, 20, StepOutcome::Unknown { error: "the provider did not say".to_owned() }, "");
    let (step, why) = (StepRef { part: Part::Otherwise, index: 1 }, "its condition does not hold".to_owned());
    run.then(0, RunEvent::StepSkipped { step, why });
    run.begin(Part::Otherwise, 2, 1);
    let title = format!("pricing: {EVIL}");
    let policy = Some(name("storefront-oncall"));
    let opened = PageEvent::Opened(PageOpened {
        run: Some(RunId(2)),
        policy,
        title,
        body: format!("what was tried\n{EVIL}"),
        ..PageOpened::default()
    });
    let notified = Notified::Receiver(name("chat"));
    let told = [
        opened,
        PageEvent::Begun { notified: notified.clone(), receiver: None, over: false },
        PageEvent::Failed { notified: notified.clone(), error: "503".to_owned(), refused: None },
        PageEvent::Accepted { notified },
    ];
    for (event, secs) in told.into_iter().zip([2_070, 2_069, 2_060, 2_050]) {
        log.add(ago(secs), Record::Page { page: PageId(1), event });
    }
    run.end(Part::Otherwise, 2, 20, done(json!({"page": "p1"})), "");
    run.over(RunState::Paged, "receiver/chat accepted page p1");
}

/// A nightly job that calls another playbook.
fn scheduled(log: &MemoryLog) {
    let schedule = Schedule { cron: "0 4 * * *".to_owned(), timezone: None, catch_up: CatchUp::Last };
    let steps = vec![step("tidy", Does::Playbook(name("tidy")))];
    let nightly = playbook("nightly", Trigger::Schedule(schedule), steps, None);
    let due = ago(9_000) - SignedDuration::from_secs(1);
    let mut run = Story::open(log, 3, 9_000, nightly, None, RunCause::Schedule { due }, Value::Null);
    run.begin(Part::Steps, 0, 1);
    let tidy = playbook("tidy", Trigger::Called, vec![step("ask", Does::Script { file: "tidy.sh".to_owned() })], None);
    let cause = RunCause::Call { run: RunId(3), step: StepRef { part: Part::Steps, index: 0 } };
    let mut called = Story::open(log, 4, 8_998, tidy, None, cause, Value::Null);
    called.begin(Part::Steps, 0, 1);
    called.end(Part::Steps, 0, 4, done(json!({"removed": 12})), "");
    called.over(RunState::Resolved, "its steps did what they should");
    run.end(Part::Steps, 0, 6, done(Value::Null), "");
    run.over(RunState::Resolved, "its steps did what they should");
}

/// An app that came back too often, with the alert that its page tells of, and an alert that reached nobody.
pub(crate) fn latched_and_unheard(log: &MemoryLog) {
    let (latching, unheard) = (alert("AppDown", "shop", 40), alert("DiskFull", "cart", 30));
    fire(log, &latching, 40);
    fire(log, &unheard, 30);
    let cause = RunCause::Alert { alert: latching.id.clone() };
    Story::open(log, 9, 35, app_down(), Some("shop"), cause, Value::Null);
    dispose(log, &latching, 35, Disposition::Run { run: RunId(9) });
    dispose(log, &unheard, 30, Disposition::Left { why: "a storm, and there is nobody to page".to_owned() });
    log.add(ago(35), Record::Latched { subject: codeops_core::model::Subject::Resource(app("shop")) });
}

/// A run that was cancelled while it waited.
pub(crate) fn cut_off(log: &MemoryLog) {
    let down = alert("AppDown", "cart", 20);
    let mut run = Story::answer(log, 7, &down, "cart", 20);
    run.begin(Part::Steps, 2, 1);
    run.over(RunState::Cancelled, "its playbook is gone");
}

/// A receiver whose Watchdog is missed, and a page that says so.
pub(crate) fn silent(log: &MemoryLog) {
    let (title, body) = ("monitoring is silent".to_owned(), "It has never been heard".to_owned());
    let silent = Some(name("am"));
    let event = PageEvent::Opened(PageOpened { title, body, silent, ..PageOpened::default() });
    log.add(ago(20), Record::Page { page: PageId(90), event });
}
