//! Alerts at the nasty moments: late, early, too often, too many, for what is not there, and with the daemon dying in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops::daemon::{GRACE, unwritable};
use codeops::journal::{Journal, Record};
use codeops_core::desired::Severity;
use codeops_core::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Fingerprint, Labels, Name, Run, RunState, Signal,
};
use jiff::Timestamp;

use crate::support::fault_log::Crash;
use crate::support::flow::{Flow, REPOSITORY, TEAM, app_with, path};
use crate::support::scripted_effects::Fare;

/// Whom a page calls, and where alerts go.
pub(super) const PEOPLE: &str = "apiVersion: codeops/v1
kind: Receiver
metadata: {name: sink, team: core}
spec: {webhook: {url: https://sink.example/page}}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: people, team: core}
spec: {levels: [{notify: [receiver/sink]}]}
---
apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: routing, team: core}
spec: {route: {policy: people}}
";

/// Answers AppDown by a restart and waits for the proof.
pub(super) const APP_DOWN: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: app-down, team: core}
spec:
  on: {alert: {alertname: AppDown}}
  target: app/{{ alert.labels.app }}
  steps:
    - {name: look, script: scripts/look.sh, timeout: 30s}
    - {name: restart, action: app.restart}
    - {name: proof, wait: resolved, quiet: 10s, timeout: 3m}
";

pub(super) const LOOK: &str = "#!/bin/sh\necho {}\n";

pub(super) fn labels(name: &str, app: &str) -> Labels {
    [("alertname", name), ("app", app)].into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The one receiver, and the one source.
fn main() -> Name {
    "main".parse().expect("a name")
}

pub(super) fn firing(flow: &Flow, name: &str, app: &str) -> Signal {
    let labels = labels(name, app);
    let starts_at = Timestamp::from_millisecond(flow.clock.now().as_millisecond()).expect("within range");
    let id = AlertId { source: main(), fingerprint: Fingerprint::of(&labels), starts_at };
    let receiver = main();
    let alert = Alert { id, receiver, labels, annotations: Labels::new(), url: None, expires_at: None };
    Signal::Firing(Arc::new(alert))
}

pub(super) fn resolved(flow: &Flow, name: &str, app: &str) -> Signal {
    let fingerprint = Fingerprint::of(&labels(name, app));
    Signal::Resolved { source: main(), fingerprint, starts_at: None, ended_at: flow.clock.now(), name: None }
}

/// A repository that answers AppDown, with these apps healthy and baked.
pub(super) async fn begin(flow: &mut Flow, apps: &[&str]) {
    begin_with(flow, apps, APP_DOWN).await;
}

pub(super) async fn begin_with(flow: &mut Flow, apps: &[&str], playbook: &str) {
    let repository = REPOSITORY.replace("spec: {", "spec: {resolveDelay: 30s, ");
    let mut files = vec![
        ("codeops.yaml".to_owned(), repository),
        ("team.yaml".to_owned(), TEAM.to_owned()),
        ("people.yaml".to_owned(), PEOPLE.to_owned()),
        ("playbook.yaml".to_owned(), playbook.to_owned()),
        ("scripts/look.sh".to_owned(), LOOK.to_owned()),
    ];
    files.extend(apps.iter().map(|name| (path(name), app_with(name, "v1", "", "replicas: 2, "))));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    let board = flow.board();
    let mistakes: Vec<_> = board.diagnostics.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

pub(super) async fn only_run(flow: &Flow) -> Arc<Run> {
    let runs = flow.runs().await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    Arc::clone(&runs[0])
}

pub(super) fn begun(run: &Run) -> Vec<String> {
    run.steps
        .iter()
        .filter(|record| record.skipped.is_none())
        .filter_map(|record| Some(run.step(record.step)?.name.to_string()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_answered_and_proven_over() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let before = flow.serving("shop");
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Waiting, vec!["look".into(), "restart".into(), "proof".into()]));
    assert_eq!(flow.outside.count("scripts/look.sh"), 1);
    assert_eq!(flow.serving("shop"), before, "the same version serves");
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(30).await;
    let run = only_run(&flow).await;
    assert_eq!(run.state(), RunState::Resolved, "{run:#?}");
    assert!(flow.response().runs.is_empty() && flow.response().pages.is_empty());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_a_playbook_cannot_prove_is_replaced_and_then_a_person_is_called_with_the_evidence() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(3_600).await;
    let run = only_run(&flow).await;
    assert_eq!(run.state(), RunState::Paged, "{run:#?}");
    // It is healthy by its own check, so that replacing it would not help.
    assert_eq!(begun(&run), ["look", "restart", "proof", "call"]);
    assert_eq!(flow.outside.count("webhook"), 1);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn who_was_called_is_told_once_that_it_is_over_also_by_the_next_daemon() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(3_600).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Paged);
    assert_eq!((flow.outside.count("webhook over"), flow.response().calls.len()), (0, 1), "it still fires");
    flow.outside.fares("webhook over", Fare::Failed);
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(90).await;
    assert!(flow.outside.count("webhook over") >= 1 && flow.response().calls.len() == 1, "not accepted yet");
    flow.restart().await;
    flow.outside.fares("webhook over", Fare::Done(serde_json::Value::Null));
    let before = flow.outside.count("webhook over");
    flow.elapse(600).await;
    assert_eq!((flow.outside.count("webhook over"), flow.response().calls.len()), (before + 1, 0));
    assert_eq!(flow.outside.count("webhook"), 1, "it was one page");
    let keys: BTreeSet<String> = flow.outside.done().into_iter().map(|(_, key)| key).collect();
    assert!(keys.iter().filter(|key| key.ends_with(":p1")).count() == 1, "one key for one page: {keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_does_not_accept_is_tried_until_it_does() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(3_600).await;
    let run = only_run(&flow).await;
    assert!(!run.state().is_over(), "nobody has it yet");
    assert!(flow.outside.count("webhook") > 5);
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(600).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Paged);
}

/// Whoever accepts a page that says that it is over knows: nobody is told twice, whatever failed before.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_accepted_once_all_is_over_is_not_resolved_again() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(600).await;
    assert!(flow.outside.count("webhook") > 1 && flow.response().pages.len() == 1, "nobody has it yet");
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(1).await;
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(1_200).await;
    let bodies = flow.outside.bodies();
    assert!(bodies.last().is_some_and(|body| body.starts_with("All its alerts are over by now")), "{bodies:?}");
    assert_eq!((flow.outside.count("webhook over"), flow.response().calls.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_calls_a_person_from_memory_and_the_daemon_begins_anew_after_a_minute() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.restart().await;
    flow.settle().await;
    let appends = flow.log.appends();
    flow.restart_with(Some(Crash::Before(appends))).await;
    flow.settle().await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    assert!(flow.log.crashed(), "this could not be written");
    let journal = Journal::new(Arc::clone(&flow.log) as Arc<dyn codeops::journal::Log>);
    let began = tokio::time::Instant::now();
    let gives_up = unwritable(&journal);
    let called = async {
        flow.elapse(40).await;
        assert!(flow.outside.count("webhook") >= 2, "until a channel accepts it: {:?}", flow.outside.done());
        flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
        flow.elapse(15).await;
        let sent = flow.outside.done();
        flow.elapse(60).await;
        assert_eq!(flow.outside.done(), sent, "and then no more");
        let keys: BTreeSet<&String> = sent.iter().map(|(_, key)| key).collect();
        assert_eq!(keys.len(), 1, "it is one call, however often it is sent");
    };
    let (why, waited) = tokio::join!(async { (gives_up.await, began.elapsed()) }, called).0;
    assert!(!why.is_empty() && waited >= GRACE && waited < GRACE * 2, "{why} {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_level_is_told_in_time_though_the_first_has_not_answered_yet() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let levels = "[{notify: [receiver/sink]}, {notify: [receiver/other], after: 8s}]";
    let other = "---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: other, team: core}\nspec: {webhook: {url: https://sink.example/other}}\n";
    let people = PEOPLE.replace("[{notify: [receiver/sink]}]", levels) + other;
    flow.commit(&[("people.yaml", &people)]).await;
    flow.settle().await;
    flow.outside.fares("webhook", Fare::Slow(25));
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(7).await;
    assert_eq!(flow.outside.count("webhook"), 1);
    flow.elapse(2).await;
    assert_eq!(flow.outside.count("webhook"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_resolved_before_its_turn_or_between_steps_is_not_acted_on() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(20));
    let started = flow.effects().len();
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(120).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Resolved, vec!["look".into(), "proof".into()]));
    assert_eq!(flow.effects().len(), started, "nothing was done to what works again");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_before_an_alert_counts_as_not_proven() {
    for (said, expected) in [(AlertState::Resolved, RunState::Resolved), (AlertState::Silenced, RunState::Cancelled)] {
        let mut flow = Flow::stopped(&["local"]);
        flow.responds.askable.insert("main".parse().unwrap());
        flow.start().await;
        begin(&mut flow, &["shop"]).await;
        flow.outside.answers(&Fingerprint::of(&labels("AppDown", "shop")), said);
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(1_200).await;
        let run = only_run(&flow).await;
        assert_eq!(run.state(), expected, "{said}: {run:#?}");
        assert_eq!(flow.outside.count("webhook"), 0, "nobody is called");
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_on_one_thing_join_one_run_and_a_storm_is_one_page() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(2).await;
    let mut other = labels("AppDown", "shop");
    other.insert("zone".into(), "b".into());
    let Signal::Firing(alert) = firing(&flow, "AppDown", "shop") else { unreachable!() };
    let id = AlertId { fingerprint: Fingerprint::of(&other), ..alert.id.clone() };
    flow.tell(vec![Signal::Firing(Arc::new(Alert { id, labels: other, ..(*alert).clone() }))]).await;
    flow.elapse(2).await;
    assert_eq!(only_run(&flow).await.alerts.len(), 2);

    let mut storm = Flow::new().await;
    let names: Vec<String> = (0..60).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut storm, &names).await;
    let signals = names.iter().map(|name| firing(&storm, "AppDown", name)).collect();
    storm.tell(signals).await;
    storm.elapse(120).await;
    let (runs, response) = (storm.runs().await, storm.response());
    assert_eq!(runs.len(), codeops_core::playbook::STORM_RUNS);
    let left = response
        .alerts
        .values()
        .filter(|it| matches!(&it.disposition, Disposition::Left { why } if why.contains("storm")));
    assert_eq!(left.count(), 60 - runs.len(), "each has its receipt");
    assert_eq!(storm.outside.count("webhook"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_nobody_can_be_told_of_says_so_and_claims_no_page() {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.fallback = None;
    flow.start().await;
    let names: Vec<String> = (0..60).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut flow, &names).await;
    flow.commit(&[("people.yaml", "")]).await;
    flow.settle().await;
    flow.tell(names.iter().map(|name| firing(&flow, "AppDown", name)).collect()).await;
    flow.elapse(120).await;
    let response = flow.response();
    let left = |said: &str| {
        let is = |it: &&Arc<AlertMemory>| matches!(&it.disposition, Disposition::Left { why } if why.contains(said));
        response.alerts.values().filter(is).count()
    };
    assert_eq!((left("nobody to page"), left("tells of it")), (60 - codeops_core::playbook::STORM_RUNS, 0));
    assert!(response.pages.is_empty(), "{:#?}", response.pages);
}

#[tokio::test(start_paused = true)]
async fn a_drill_takes_one_instance_away_and_the_app_comes_through() {
    let drill = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: drill, team: core}
spec:
  on: {schedule: \"0 3 * * *\"}
  target: app/shop
  steps:
    - {name: take-one, action: app.replace, with: {instances: one}}
    - {name: proof, wait: healthy, quiet: 1m, timeout: 10m}
";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], drill).await;
    let before = flow.instances("shop");
    flow.elapse(86_400).await;
    let after = flow.instances("shop");
    assert_eq!(only_run(&flow).await.state(), RunState::Resolved);
    assert_eq!(after.iter().filter(|id| before.contains(id)).count(), 1, "{before:?} {after:?}");
    assert_eq!(after.len(), 2);
    // The last healthy one is never taken away.
    flow.commit(&[(&path("shop"), &app_with("shop", "v1", "", "replicas: 1, "))]).await;
    flow.settle().await;
    let only = flow.instances("shop");
    flow.elapse(86_400).await;
    let runs = flow.runs().await;
    let last = runs.last().expect("a run");
    assert!(format!("{:?}", last.steps).contains("never taken away"), "{last:#?}");
    assert_eq!(flow.instances("shop"), only);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_begins_a_rung_higher_and_the_third_time_a_person_is_called_and_it_is_latched() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let mut started = Vec::new();
    for _ in 0..3 {
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(240).await;
        let runs = flow.runs().await;
        started.push(begun(runs.last().unwrap()).first().cloned());
    }
    // It is healthy by its own check, so that the second time nothing is replaced, and nothing waited for.
    assert_eq!(started, [Some("look".to_owned()), Some("call".to_owned()), Some("call".to_owned())]);
    assert_eq!(flow.outside.count("webhook"), 2);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.runs().await.len(), 3, "latched");
    assert_eq!(flow.outside.count("webhook"), 2);
    // An hour of health later it may be tried again.
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(3_700).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.runs().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_alert_in_the_bake_time_rolls_back_and_the_run_only_proves() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.commit(&[(&path("shop"), &app_with("shop", "v2", "", "replicas: 2, ").replace("10s", "10m"))]).await;
    flow.elapse(60).await;
    assert_eq!(flow.serving("shop"), ["v2", "v2"]);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.serving("shop"), ["v1", "v1"]);
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(120).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Resolved, vec!["proof".to_owned()]), "{run:#?}");
    assert!(flow.view("shop").why.as_ref().is_some_and(|why| why.contains("AppDown")), "{:?}", flow.view("shop").why);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_no_playbook_answers_and_a_target_that_is_not_there_call_a_person() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "DiskFull", "shop"), firing(&flow, "AppDown", "nosuch")]).await;
    flow.elapse(60).await;
    let runs = flow.runs().await;
    assert!(runs.iter().all(|run| run.state() == RunState::Paged), "{runs:#?}");
    assert_eq!(flow.outside.count("webhook"), runs.len());
}

#[tokio::test(start_paused = true)]
async fn alerts_without_a_target_share_a_page_only_where_their_group_is_one() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let people = PEOPLE.replace("route: {policy: people}", "route: {policy: people, groupBy: [alertname]}");
    flow.commit(&[("people.yaml", &people)]).await;
    flow.elapse(5).await;
    flow.outside.fares("webhook", Fare::Slow(20));
    let signals = ["a", "b"].map(|app| firing(&flow, "DiskFull", app));
    flow.tell(signals.into_iter().chain([firing(&flow, "Heat", "a")]).collect()).await;
    flow.elapse(60).await;
    let runs = flow.runs().await;
    let mut shared: Vec<usize> = runs.iter().map(|run| run.alerts.len()).collect();
    shared.sort_unstable();
    assert_eq!(shared, [1, 2], "{runs:#?}");
}

#[tokio::test(start_paused = true)]
async fn removing_the_playbook_cancels_its_run_before_the_next_step_and_calls_a_person() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(20));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.commit(&[("playbook.yaml", "")]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Cancelled, vec!["look".to_owned()]));
    assert_eq!(flow.outside.count("webhook"), 1, "the alert still fires");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_runs_once_a_time_and_catches_up_with_the_last_it_missed() {
    let nightly = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: nightly, team: core}
spec:
  on: {schedule: \"0 3 * * *\", timezone: Europe/Berlin}
  steps: [{name: look, script: scripts/look.sh}]
";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &[], nightly).await;
    flow.elapse(3 * 86_400).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 3);
    flow.kill().await;
    tokio::time::sleep(std::time::Duration::from_secs(3 * 86_400)).await;
    flow.restart().await;
    flow.elapse(3_600).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 4, "the last one missed, and no other");
    assert!(flow.runs().await.iter().all(|run| run.state() == RunState::Resolved));
}

/// What fails every hour for one reason is one thing to look at.
#[tokio::test(start_paused = true)]
async fn a_schedule_that_fails_alike_calls_a_person_once_until_it_has_succeeded() {
    let hourly = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: hourly, team: core}
spec:
  on: {schedule: \"0 * * * *\"}
  steps: [{name: look, script: scripts/look.sh}, {name: ask, http: {method: GET, url: \"https://a.example/\"}}]
  otherwise: [{name: call, page: {policy: people}}, {name: both, page: {policy: people}}]
";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &[], hourly).await;
    let (calls, over) = (|flow: &Flow| flow.outside.count("webhook"), |flow: &Flow| flow.outside.count("webhook over"));
    let failing = |flow: &Flow| Some(flow.response().schedules.values().next()?.failing.as_ref()?.times);
    flow.outside.fares("scripts/look.sh", Fare::Failed);
    flow.elapse(3_600).await;
    assert_eq!(calls(&flow), 2, "both of one run");
    assert!(flow.outside.bodies()[0].contains("Nobody is called for the same failure again"));
    flow.elapse(2 * 3_600).await;
    flow.restart().await;
    flow.elapse(3_600).await;
    let last = flow.runs().await.last().map(Arc::clone).expect("runs");
    let (state, why, _) = last.ended.clone().expect("it is over");
    assert_eq!((calls(&flow), state), (2, RunState::Failed));
    assert!(why.contains("its own steps called nobody: page p2 told of the same failure"), "{why}");
    // Another step fails.
    flow.outside.fares("scripts/look.sh", Fare::Done(serde_json::json!({})));
    flow.outside.fares("http", Fare::Failed);
    flow.elapse(2 * 3_600).await;
    assert_eq!((calls(&flow), over(&flow)), (4, 0));
    assert_eq!(failing(&flow), Some(6));
    // It succeeds, which is told to whoever was called, and fails as before.
    flow.outside.fares("http", Fare::Done(serde_json::json!({})));
    flow.elapse(3_600).await;
    assert_eq!((failing(&flow), over(&flow)), (None, 4), "each page that was out");
    assert!(flow.outside.bodies().iter().any(|body| body.contains("of playbook hourly has ended well")));
    flow.outside.fares("http", Fare::Failed);
    flow.elapse(2 * 3_600).await;
    assert_eq!(calls(&flow), 6);
    // It fails on: somebody is called once a day.
    flow.elapse(20 * 3_600).await;
    assert_eq!(calls(&flow), 6);
    flow.elapse(3 * 3_600).await;
    assert_eq!(calls(&flow), 8);
    let again = flow.outside.bodies().pop().expect("a page");
    assert!(again.contains("It fails since") && again.contains("runs before this one"), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_changes_or_comes_back_counts_from_then_on() {
    let at = |cron: &str| {
        format!(
            "apiVersion: codeops/v1
kind: Playbook
metadata: {{name: nightly, team: core}}
spec:
  on: {{schedule: \"{cron}\"}}
  steps: [{{name: look, script: scripts/look.sh}}]
"
        )
    };
    let mut flow = Flow::new().await;
    // It is 22:13 when this begins.
    begin_with(&mut flow, &[], &at("0 3 * * *")).await;
    flow.elapse(86_400).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 1);
    // A time that has just passed, and one that this schedule would have had often before.
    let now = flow.clock.now().to_zoned(jiff::tz::TimeZone::UTC);
    let just_now = format!("{} {} * * *", now.minute(), now.hour());
    for changed in [just_now.as_str(), "*/5 * * * *"] {
        flow.commit(&[("playbook.yaml", &at(changed))]).await;
        flow.elapse(2).await;
        assert_eq!(flow.outside.count("scripts/look.sh"), 1, "{changed}: a time before the commit");
    }
    flow.elapse(300).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 2, "its own times count");
    flow.commit(&[("playbook.yaml", &at("0 3 * * *"))]).await;
    flow.elapse(30).await;
    flow.commit(&[("playbook.yaml", "")]).await;
    flow.elapse(2 * 86_400).await;
    flow.commit(&[("playbook.yaml", &at("0 3 * * *"))]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 2, "not for the nights on which it was not there");
    flow.elapse(86_400).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 3);
}

/// One alert that is answered and proven, one that is not.
async fn scenario(flow: &mut Flow) {
    begin(flow, &["shop", "auth"]).await;
    for signal in [firing(flow, "AppDown", "shop"), firing(flow, "AppDown", "auth")] {
        tell(flow, signal).await;
    }
    go_on(flow, 90).await;
    let over = resolved(flow, "AppDown", "shop");
    tell(flow, over).await;
    go_on(flow, 900).await;
}

/// A sender tries again until it is taken.
async fn tell(flow: &mut Flow, signal: Signal) {
    flow.tell(vec![signal.clone()]).await;
    if flow.log.crashed() {
        flow.restart().await;
        flow.tell(vec![signal]).await;
    }
}

async fn go_on(flow: &mut Flow, seconds: u64) {
    for _ in 0..seconds / 10 {
        flow.elapse(10).await;
        if flow.log.crashed() {
            flow.restart().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_boundary_of_a_run_it_ends_and_nothing_is_done_twice() {
    let mut whole = Flow::new().await;
    scenario(&mut whole).await;
    let mut states: Vec<RunState> = whole.runs().await.iter().map(|run| run.state()).collect();
    states.sort();
    assert_eq!(states, [RunState::Resolved, RunState::Paged]);
    let appends = whole.log.appends();
    for at in 0..appends {
        for crash in [Crash::Before(at), Crash::After(at)] {
            let mut flow = Flow::stopped(&["local"]);
            flow.restart_with(Some(crash)).await;
            scenario(&mut flow).await;
            let runs = flow.runs().await;
            assert!(flow.response().runs.is_empty(), "{crash:?}: nothing is left on: {:#?}", flow.response().runs);
            assert!(flow.response().alerts.values().all(|it| it.disposition != Disposition::Received), "{crash:?}");
            let ends: Vec<RunState> = runs.iter().map(|run| run.state()).collect();
            assert!(
                ends.iter().all(|state| matches!(state, RunState::Resolved | RunState::Paged | RunState::Replaced)),
                "{crash:?} {ends:?}"
            );
            // A script that is not idempotent is never run twice for one step.
            let scripts: Vec<(String, String)> =
                flow.outside.done().into_iter().filter(|(word, _)| word == "scripts/look.sh").collect();
            let keys: BTreeSet<&String> = scripts.iter().map(|(_, key)| key).collect();
            assert_eq!(keys.len(), scripts.len(), "{crash:?}");
            flow.check();
        }
    }
}

/// What a playbook takes away is no drift.
#[tokio::test(start_paused = true)]
async fn a_restart_by_a_playbook_is_not_told_as_drift() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let drifts = |flow: &Flow| {
        let drift = |record: &Record| matches!(record, Record::Drift { .. });
        flow.log.entries().iter().filter(|entry| drift(&entry.record)).count()
    };
    let before = drifts(&flow);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(120).await;
    let run = only_run(&flow).await;
    assert_eq!(begun(&run), ["look", "restart", "proof"]);
    assert_eq!(drifts(&flow), before);
}
