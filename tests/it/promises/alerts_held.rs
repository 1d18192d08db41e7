//! Freezes, suspensions, maintenance and bakes: what holds playbooks, and never the calls to people.

use codeops::journal::Record;
use codeops_core::model::{Alert, AlertId, Fingerprint, Health, Period, RunState, Signal, Sync};
use std::sync::Arc;

use super::alerts::{APP_DOWN, PEOPLE, begin, begin_with, begun, firing, labels, only_run, resolved};
use crate::support::flow::{Flow, app, app_with, id, path};
use crate::support::memory_provider::Script;
use crate::support::scripted_effects::Fare;

/// A daemon whose one receiver may freeze everything.
pub(super) async fn freezable() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.may_freeze.insert("main".parse().expect("a name"));
    flow.rules.may_freeze.insert("main".parse().expect("a name"));
    flow.start().await;
    flow
}

pub(super) async fn freeze(flow: &Flow) {
    flow.tell(vec![firing(flow, "CodeopsFreeze", "all")]).await;
    flow.elapse(5).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_night_holds_playbooks_but_not_intake_and_paging() {
    let mut flow = freezable().await;
    begin(&mut flow, &["shop", "auth"]).await;
    freeze(&flow).await;
    assert_eq!(flow.outside.count("webhook"), 0, "an order calls nobody");
    flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "DiskFull", "auth")]).await;
    flow.commit(&[(&path("auth"), &app("auth", "v2"))]).await;
    flow.elapse(300).await;
    let runs = flow.runs().await;
    assert!(runs.iter().all(|run| begun(run) == ["call"]), "nothing acts: {runs:#?}");
    assert_eq!(runs.iter().map(|run| run.state()).collect::<Vec<_>>(), [RunState::Paged; 2]);
    assert_eq!(flow.outside.count("webhook"), 2, "what a playbook would answer, and what none does");
    let why = runs
        .iter()
        .find(|run| run.target.is_some())
        .and_then(|run| run.alert.pointer("/annotations/codeops").map(ToString::to_string));
    assert!(why.as_ref().is_some_and(|why| why.contains("frozen until lifted: ")), "{why:?}");
    assert_eq!(flow.serving("auth"), ["v1", "v1"], "nor does a commit");
    flow.tell(vec![resolved(&flow, "CodeopsFreeze", "all"), resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(3_600).await;
    assert_eq!(flow.serving("auth"), ["v2"], "it goes on by itself");
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert!(flow.runs().await.iter().any(|run| begun(run).contains(&"look".to_owned())), "and so do playbooks");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_a_freeze_finds_at_its_steps_or_in_otherwise_calls_a_person() {
    for at in [10, 100] {
        let mut flow = freezable().await;
        begin(&mut flow, &["shop"]).await;
        // A freeze while it looks, or while it waits for its proof: what is on finishes, nothing begins.
        flow.outside.fares("scripts/look.sh", Fare::Slow(20));
        let started = flow.effects().len();
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(at).await;
        freeze(&flow).await;
        flow.elapse(600).await;
        let run = only_run(&flow).await;
        assert_eq!(run.state(), RunState::Paged, "{run:#?}");
        assert_eq!(flow.outside.count("webhook"), 1);
        assert!(at > 20 || flow.effects().len() == started, "nothing was done in the freeze");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_only_observes_as_its_settings_say_calls_a_person() {
    for before in [false, true] {
        let mut flow = Flow::new().await;
        begin(&mut flow, &["shop"]).await;
        flow.outside.fares("scripts/look.sh", Fare::Slow(20));
        if before {
            flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
            flow.elapse(10).await;
        }
        let started = flow.effects().len();
        (flow.rules.observe, flow.responds.observe) = (true, true);
        flow.restart().await;
        if !before {
            flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        }
        flow.elapse(600).await;
        let run = only_run(&flow).await;
        assert_eq!((run.state(), flow.outside.count("webhook")), (RunState::Paged, 1), "{run:#?}");
        assert_eq!(flow.effects().len(), started, "nothing is done");
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(600).await;
        assert_eq!(flow.outside.count("webhook over"), 1, "who was called is told that it is over");
    }
}

#[tokio::test(start_paused = true)]
async fn maintenance_keeps_runs_that_are_on_still() {
    let maintained = PEOPLE.replace(
        "{route: {policy: people}}",
        "{route: {policy: people}, maintenance: [{match: ['app=\"shop\"'], from: 2023-11-14T00:00:00Z, \
         until: 2023-11-30T00:00:00Z, reason: new disks}]}",
    );
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(20));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.commit(&[("people.yaml", &maintained)]).await;
    flow.elapse(300).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Waiting, vec!["look".to_owned()]), "{run:#?}");
    assert!(run.paused.is_some());
    assert_eq!(flow.outside.count("webhook"), 0, "people chose it");
    flow.commit(&[("people.yaml", PEOPLE)]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert!(begun(&run).contains(&"restart".to_owned()), "it goes on: that was none of its time");
}

#[tokio::test(start_paused = true)]
async fn an_alert_on_a_suspended_app_calls_a_person_and_nothing_is_done() {
    let suspended = app_with("shop", "v1", "", "replicas: 2, suspend: true, ");
    // Before a run, in its first step, and while it waits for its proof.
    for at in [None, Some(5), Some(100)] {
        let mut flow = Flow::new().await;
        begin(&mut flow, &["shop"]).await;
        flow.outside.fares("scripts/look.sh", Fare::Slow(20));
        if let Some(at) = at {
            flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
            flow.elapse(at).await;
        }
        flow.commit(&[(&path("shop"), &suspended)]).await;
        flow.elapse(10).await;
        let started = flow.effects().len();
        if at.is_none() {
            flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        }
        flow.elapse(600).await;
        let run = only_run(&flow).await;
        assert_eq!(run.state(), RunState::Paged, "{at:?} {run:#?}");
        assert_eq!(flow.outside.count("webhook"), 1, "{at:?}");
        assert!(flow.effects().len() == started, "{at:?}: nothing is done to it");
        assert_eq!(run.target.as_ref().map(ToString::to_string).as_deref(), Some("app/shop"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_called_script_does_not_run_on_a_suspended_target() {
    let playbook = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: app-down, team: core}
spec:
  on: {alert: {alertname: AppDown}}
  steps: [{name: sub, playbook: sub}]
---
apiVersion: codeops/v1
kind: Playbook
metadata: {name: sub, team: core}
spec:
  target: app/shop
  steps: [{name: look, script: scripts/look.sh}]
";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], playbook).await;
    flow.commit(&[(&path("shop"), &app_with("shop", "v1", "", "replicas: 2, suspend: true, "))]).await;
    flow.elapse(10).await;
    flow.tell(vec![firing(&flow, "AppDown", "auth")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.runs().await.len(), 2);
    assert_eq!(flow.outside.count("scripts/look.sh"), 0);
}

/// `app/NAME` with its check at this path, which bakes for ten minutes.
fn checked(name: &str, port: usize, at: &str) -> (String, String) {
    let spec = format!("port: {port}, health: {{http: {at}}}, replicas: 2, ");
    (path(name), app_with(name, "v1", "", &spec).replace("10s", "10m"))
}

async fn commits(flow: &mut Flow, files: &[(String, String)]) {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
}

fn pins(flow: &Flow) -> Vec<String> {
    flow.records(|record| match record {
        Record::Pinned { resource, .. } => Some(resource.to_string()),
        _ => None,
    })
}

const ANSWERED: [&str; 3] = ["look", "restart", "proof"];

#[tokio::test(start_paused = true)]
async fn an_outage_of_what_waits_for_its_new_check_is_answered_and_pins_nothing() {
    let mut flow = Flow::new().await;
    let names = ["a", "b", "c", "d", "e", "f", "shop"];
    begin(&mut flow, &names).await;
    for at in ["/healthz", "/ready"] {
        let all: Vec<_> = names.iter().zip(8_000..).map(|(name, port)| checked(name, port, at)).collect();
        commits(&mut flow, &all).await;
        flow.elapse(if at == "/healthz" { 3_600 } else { 60 }).await;
    }
    assert_eq!((flow.view("shop").sync, pins(&flow).len()), (Sync::OutOfSync, 0), "it waits: {}", flow.why("shop"));
    let before = flow.instances("shop");
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!((begun(&*only_run(&flow).await), pins(&flow)), (ANSWERED.map(str::to_owned).to_vec(), vec![]));
    assert_ne!(flow.instances("shop"), before, "it is restarted");
}

#[tokio::test(start_paused = true)]
async fn an_alert_in_the_bake_time_of_a_check_takes_it_back_and_the_run_acts() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    for at in ["/healthz", "/ready"] {
        commits(&mut flow, &[checked("shop", 8_000, at)]).await;
        flow.elapse(if at == "/healthz" { 3_600 } else { 60 }).await;
    }
    let before = flow.instances("shop");
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(pins(&flow), ["app/shop"]);
    assert_eq!(begun(&*only_run(&flow).await), ANSWERED);
    assert_ne!(flow.instances("shop"), before, "what serves has been proven: only a restart could mend it");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fired_before_a_version_was_there_does_not_take_it_back() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let old = firing(&flow, "AppDown", "shop");
    flow.elapse(5).await;
    flow.commit(&[(&path("shop"), &app_with("shop", "v2", "", "replicas: 2, ").replace("10s", "10m"))]).await;
    flow.elapse(60).await;
    flow.tell(vec![old]).await;
    flow.elapse(60).await;
    assert_eq!(pins(&flow), Vec::<String>::new(), "it may be what mends it");
    assert_eq!(flow.serving("shop"), ["v2", "v2"]);
    assert_eq!(begun(&*only_run(&flow).await), ANSWERED);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fired_before_a_check_was_changed_does_not_take_the_new_one_back() {
    let checked = |at: &str| {
        let health = format!("replicas: 2, port: 8080, health: {{http: {at}}}, ");
        app_with("shop", "v1", "", &health).replace("10s", "10m")
    };
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.commit(&[(&path("shop"), &checked("/healthz"))]).await;
    flow.elapse(3_600).await;
    let old = firing(&flow, "AppDown", "shop");
    flow.elapse(5).await;
    flow.commit(&[(&path("shop"), &checked("/ready"))]).await;
    flow.elapse(60).await;
    flow.tell(vec![old]).await;
    flow.elapse(60).await;
    assert_eq!(pins(&flow), Vec::<String>::new(), "it may be what mends it");
    let new = firing(&flow, "AppDown", "shop");
    flow.tell(vec![new]).await;
    flow.elapse(60).await;
    assert_eq!(pins(&flow), ["app/shop"], "and one that fires after it takes it back");
}

#[tokio::test(start_paused = true)]
async fn an_alert_in_the_bake_time_that_joins_a_run_or_is_one_of_many_rolls_back_too() {
    let bakes = || app_with("shop", "v2", "", "replicas: 2, ").replace("10s", "10m");
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(25));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(1).await;
    flow.commit(&[(&path("shop"), &bakes())]).await;
    flow.elapse(20).await;
    assert_eq!(flow.serving("shop"), ["v2", "v2"]);
    let mut other = labels("AppDown", "shop");
    other.insert("zone".into(), "b".into());
    let Signal::Firing(alert) = firing(&flow, "AppDown", "shop") else { unreachable!() };
    let of_other = AlertId { fingerprint: Fingerprint::of(&other), ..alert.id.clone() };
    flow.tell(vec![Signal::Firing(Arc::new(Alert { id: of_other, labels: other, ..(*alert).clone() }))]).await;
    flow.elapse(60).await;
    assert_eq!(only_run(&flow).await.alerts.len(), 2);
    assert_eq!(flow.serving("shop"), ["v1", "v1"]);

    let mut storm = Flow::new().await;
    let names: Vec<String> = (0..40).map(|n| format!("app-{n}")).chain(["shop".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin_with(&mut storm, &names, APP_DOWN).await;
    storm.commit(&[(&path("shop"), &bakes())]).await;
    storm.elapse(60).await;
    assert_eq!(storm.serving("shop"), ["v2", "v2"]);
    let told = names[..40].iter().map(|name| firing(&storm, "AppDown", name)).collect();
    storm.tell(told).await;
    storm.elapse(2).await;
    storm.tell(vec![firing(&storm, "AppDown", "shop")]).await;
    storm.elapse(30).await;
    assert!(storm.runs().await.iter().all(|run| run.target != Some(id("shop"))), "it is one of the storm");
    assert_eq!(storm.serving("shop"), ["v1", "v1"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_run_began_to_replace_stays_once_the_run_is_over() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let before = flow.instances("shop");
    let template = flow.live("shop").expect("it lives").instances[0].template.clone();
    flow.elapse(700).await;
    flow.local().set_health(&template, Script::UnhealthyUntil(Period::from_secs(600)));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(120).await;
    assert_ne!(flow.instances("shop"), before, "one begins anew");
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(120).await;
    let run = only_run(&flow).await;
    assert_eq!(run.state(), RunState::Resolved, "{run:#?}");
    flow.elapse(1_200).await;
    assert_eq!(flow.instances("shop"), before, "nothing is taken away for an alert that is over");
    assert_eq!(flow.status("shop"), (Sync::Synced, Health::Healthy));
    let drifts = flow.records(|record| matches!(record, Record::Drift { .. }).then_some(()));
    assert!(drifts.is_empty(), "it was not the world that moved");
}

/// What its labels name is what it is about, whatever the playbook that answers it acts on.
#[tokio::test(start_paused = true)]
async fn an_alert_in_the_bake_time_takes_back_what_its_labels_name_and_what_its_playbook_is_on() {
    for (baking, other) in [("shop", "auth"), ("auth", "shop")] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop", "auth"], &APP_DOWN.replace("app/{{ alert.labels.app }}", "app/auth")).await;
        flow.commit(&[(&path(baking), &app_with(baking, "v2", "", "replicas: 2, ").replace("10s", "10m"))]).await;
        flow.elapse(60).await;
        assert_eq!(flow.serving(baking), ["v2", "v2"]);
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        assert_eq!(
            (flow.serving(baking), pins(&flow)),
            (vec!["v1".into(), "v1".into()], vec![format!("app/{baking}")])
        );
        assert_eq!(flow.serving(other), ["v1", "v1"]);
        let run = only_run(&flow).await;
        assert_eq!(run.target, Some(id("auth")));
        let told = run.alert["takenBack"].as_str().unwrap_or_default();
        assert!(told.starts_with(&format!("app/{baking} goes back to its last good version")), "{told}");
    }
}

/// Whoever is called learns that the deploy was taken back: nobody shall do it twice, or look for what is gone.
#[tokio::test(start_paused = true)]
async fn an_alert_in_the_bake_time_that_no_playbook_answers_rolls_back_and_the_page_says_so() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "auth"]).await;
    flow.commit(&[(&path("shop"), &app_with("shop", "v2", "", "replicas: 2, ").replace("10s", "10m"))]).await;
    flow.elapse(60).await;
    assert_eq!(flow.serving("shop"), ["v2", "v2"]);
    flow.tell(vec![firing(&flow, "DiskFull", "auth")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.serving("shop"), ["v2", "v2"], "it is about another");
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!((flow.serving("shop"), pins(&flow)), (vec!["v1".into(), "v1".into()], vec!["app/shop".to_owned()]));
    let pages = flow.outside.bodies();
    let page = pages.last().expect("a person is called");
    assert!(page.contains("What was done: app/shop goes back to its last good version"), "{page}");
    assert!(page.contains("Nothing else: no playbook answers it") && !page.contains("Nothing was done"), "{page}");
    assert!(pages[0].contains("Nothing was done"), "{}", pages[0]);
}
